/**
 * kill -9 of a real ledger at moments that nobody chose, while blocks connect and branches replace each other: what it told is there,
 * its coins are those of its blocks, and it goes on by itself.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { encodeAddress, networks, p2wshOf } from '@leyden/bitcoin'

const PROGRAM = fileURLToPath(new URL('./main.ts', import.meta.url))
/** More of them find what happens rarely. */
const KILLS = Number(process.env['LEYDEN_KILL_ROUNDS'] ?? 1) * 4
const address = (n: number): string => encodeAddress(p2wshOf(Uint8Array.of(0x51, n & 127)), networks.regtest) as string

let datadir: string
beforeAll(() => {
  datadir = mkdtempSync(join(tmpdir(), 'leyden-kill-'))
})
afterAll(() => rmSync(datadir, { recursive: true }))

type Daemon = { readonly child: ChildProcess; readonly rpcUrl: string; readonly ended: Promise<unknown> }

const start = async (...more: string[]): Promise<Daemon> => {
  const args = [`--datadir=${datadir}`, '--rpcPort=0', '--p2pPort=0', '--linkPort=0', '--dbCacheMib=4', ...more]
  const node = ['--conditions=@leyden/source', '--import', import.meta.resolve('tsx'), PROGRAM]
  const child = spawn(process.execPath, [...node, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const rpcUrl = await new Promise<string>((resolve, reject) => {
    void ended.then((code) => reject(new Error(`ended with ${String(code)}: ${said}`)))
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const entry = JSON.parse(line) as { msg: string; rpc?: string }
      if (entry.msg === 'ready' && entry.rpc !== undefined) resolve(entry.rpc)
    })
  })
  return { child, rpcUrl, ended }
}
const call = async <T>({ rpcUrl }: Daemon, method: string, ...params: readonly unknown[]): Promise<T> => {
  const answer = await fetch(rpcUrl, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(readFileSync(join(datadir, '.cookie'), 'utf8'))}` },
    body: JSON.stringify({ method, params }),
  })
  const { result, error } = (await answer.json()) as { result: T; error: unknown }
  if (error !== null) throw new Error(JSON.stringify(error))
  return result
}

type Told = { readonly hash: string; readonly chainwork: string }

/** Mines and reorganises until the process is gone. What it answered goes to `told`. */
const work = async (daemon: Daemon, told: Told[]): Promise<void> => {
  for (let n = 0; ; n++) {
    const hashes = await call<string[]>(daemon, 'generatetoaddress', 1 + (n % 7), address(n))
    for (const hash of hashes) told.push({ hash, chainwork: '' })
    const tip = await call<{ bestblockhash: string; chainwork: string }>(daemon, 'getblockchaininfo')
    told.push({ hash: tip.bestblockhash, chainwork: tip.chainwork })
    if (n % 2 === 0) continue
    const height = await call<number>(daemon, 'getblockcount')
    const lost = await call<string>(daemon, 'getblockhash', Math.max(1, height - 4))
    await call(daemon, 'invalidateblock', lost)
    await call(daemon, 'generatetoaddress', 7, address(n + 60))
    await call(daemon, 'reconsiderblock', lost)
  }
}

type Coins = { readonly hash_serialized_3: string; readonly bestblock: string; readonly txouts: number }

it(
  'kill -9 while connecting and reorganising leaves one chain that goes on',
  async () => {
    for (let kill = 0; kill < KILLS; kill++) {
      const daemon = await start()
      const told: Told[] = []
      const ends = work(daemon, told).catch(() => undefined)
      while (told.length < 12) await new Promise((resolve) => setTimeout(resolve, 2))
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 120))
      daemon.child.kill('SIGKILL')
      await Promise.all([ends, daemon.ended])

      const again = await start()
      for (const { hash } of told) expect((await call<{ hash: string }>(again, 'getblockheader', hash)).hash).toBe(hash)
      expect(await call(again, 'verifychain', 4, 30)).toBe(true)
      expect(await call<string[]>(again, 'generatetoaddress', 1, address(kill))).toHaveLength(1)
      again.child.kill('SIGKILL')
      await again.ended
    }
    const last = await start()
    // A kill may have come between the two calls: what was declared bad would be good again to a chain that is built anew
    for (const { hash, status } of await call<{ hash: string; status: string }[]>(last, 'getchaintips'))
      if (status === 'invalid') await call(last, 'reconsiderblock', hash)
    const coins = await call<Coins>(last, 'gettxoutsetinfo')
    expect(await call(last, 'verifychain', 4, 0)).toBe(true)
    last.child.kill('SIGTERM')
    expect(await last.ended).toBe(0)
    for (const flag of ['--reindexChainstate=true', '--reindex=true']) {
      const rebuilt = await start(flag)
      expect(await call<Coins>(rebuilt, 'gettxoutsetinfo')).toEqual(coins)
      rebuilt.child.kill('SIGTERM')
      await rebuilt.ended
    }
  },
  60_000 + KILLS * 30_000,
)
