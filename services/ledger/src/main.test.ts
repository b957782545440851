import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { encodeAddress, networks } from '@leyden/bitcoin'
import { loadConfig } from './config.ts'
import { startLedger } from './daemon.ts'
import { ANYONE } from './testing.ts'

const PROGRAM = fileURLToPath(new URL('./main.ts', import.meta.url))
const ADDRESS = encodeAddress(ANYONE, networks.regtest) as string
let datadir: string
beforeAll(() => {
  datadir = mkdtempSync(join(tmpdir(), 'leyden-ledger-'))
})
afterAll(() => rmSync(datadir, { recursive: true }))

type Daemon = { readonly child: ChildProcess; readonly rpcUrl: string; readonly exit: Promise<number | null> }

const run = (args: readonly string[]): ChildProcess =>
  spawn(process.execPath, ['--conditions=@leyden/source', '--import', import.meta.resolve('tsx'), PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
const exitOf = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.once('exit', (code) => resolve(code)))
const startDaemon = async (): Promise<Daemon> => {
  const child = run([`--datadir=${datadir}`, '--rpcPort=0', '--p2pPort=0', '--linkPort', '0'])
  const exit = exitOf(child)
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const rpcUrl = await new Promise<string>((resolve, reject) => {
    void exit.then((code) => reject(new Error(`ended with ${code}: ${said}`)))
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const entry = JSON.parse(line) as { msg: string; rpc?: string }
      if (entry.msg === 'ready' && entry.rpc !== undefined) resolve(entry.rpc)
    })
  })
  return { child, rpcUrl, exit }
}
const call = async <T>({ rpcUrl }: Daemon, method: string, ...params: readonly unknown[]): Promise<T> => {
  const answer = await fetch(rpcUrl, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(readFileSync(join(datadir, '.cookie'), 'utf8'))}` },
    body: JSON.stringify({ method, params }),
  })
  return ((await answer.json()) as { result: T }).result
}

describe('the daemon', () => {
  it('keeps every block that it has told of through kill -9, refuses a second one on its directory, and stops on SIGTERM', async () => {
    const first = await startDaemon()
    const told: string[] = []
    const generating = (async () => {
      for (;;) told.push(...(await call<string[]>(first, 'generatetoaddress', 3, ADDRESS)))
    })().catch(() => undefined)
    while (told.length < 9) await new Promise((resolve) => setTimeout(resolve, 5))
    first.child.kill('SIGKILL')
    await Promise.all([generating, first.exit])

    const second = await startDaemon()
    const height = await call<number>(second, 'getblockcount')
    expect(height).toBeGreaterThanOrEqual(told.length)
    for (const [i, hash] of told.entries()) expect(await call(second, 'getblockhash', i + 1)).toBe(hash)
    expect(await call<string[]>(second, 'generatetoaddress', 1, ADDRESS)).toHaveLength(1)

    const rival = run([`--datadir=${datadir}`, '--rpcPort=0', '--p2pPort=0', '--linkPort=0'])
    let said = ''
    rival.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()))
    expect(await exitOf(rival)).toBe(1)
    expect(said).toContain('in use')

    second.child.kill('SIGTERM')
    expect(await second.exit).toBe(0)
    expect(() => readFileSync(join(datadir, '.cookie'))).toThrow('ENOENT')
  })

  it('stops by RPC', async () => {
    const daemon = await startDaemon()
    expect(await call(daemon, 'stop')).toBe('Leyden ledger stopping')
    expect(await daemon.exit).toBe(0)
  })
})

describe('starting', () => {
  it('says which port is taken, and leaves nothing open', async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', () => resolve()))
    const { port } = other.address() as { port: number }
    const config = { datadir: join(datadir, 'port'), p2pPort: 0, linkPort: 0 }
    await expect(startLedger({ ...config, rpcPort: port })).rejects.toThrow(`the RPC port ${port} on 127.0.0.1 is taken`)
    await expect(startLedger({ ...config, rpcPort: 0, p2pPort: port })).rejects.toThrow(
      `the P2P port ${port} on 127.0.0.1 is taken`,
    )
    await new Promise<void>((resolve) => other.close(() => resolve()))
    const ledger = await startLedger({ ...config, rpcPort: 0 })
    await ledger.stop()
  })

  it('mines by itself when told to', async () => {
    const config = { datadir: join(datadir, 'miner'), rpcPort: 0, p2pPort: 0, linkPort: 0 }
    const ledger = await startLedger({ ...config, minerAddress: ADDRESS, blockEvery: 0.05 })
    while (ledger.engine.tip().height < 2) await new Promise((resolve) => setTimeout(resolve, 10))
    await ledger.stop()
    await expect(startLedger({ ...config, minerAddress: ADDRESS })).rejects.toThrow('belong together')
  })
})

describe('the configuration', () => {
  it('takes flags over environment over file over defaults', () => {
    const home = mkdtempSync(join(datadir, 'config-'))
    writeFileSync(join(home, 'ledger.json'), JSON.stringify({ rpcPort: 1, p2pPort: 1, linkPort: 1, connect: ['a:1'] }))
    const env = { LEYDEN_LEDGER_DATADIR: home, LEYDEN_LEDGER_RPC_PORT: '2', LEYDEN_LEDGER_P2P_PORT: '2' }
    expect(loadConfig({ rpcPort: '3' }, env)).toMatchObject({
      datadir: home,
      network: 'regtest',
      rpcPort: 3,
      p2pPort: 2,
      linkPort: 1,
      connect: ['a:1'],
    })
  })

  it('names the setting that is wrong, and where it stands', () => {
    const home = mkdtempSync(join(datadir, 'config-'))
    const load = (flags: object, env = {}): unknown => loadConfig({ datadir: home, ...flags }, env)
    expect(() => load({ network: 'florinnet' })).toThrow('network (from --network)')
    expect(() => load({}, { LEYDEN_LEDGER_LINK_PORT: '-1' })).toThrow('linkPort (from LEYDEN_LEDGER_LINK_PORT)')
    expect(() => load({ rpcUser: 'a' })).toThrow('belong together')
    expect(() => load({ minerAddress: 'bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4', blockEvery: '1' })).toThrow('mainnet')
    writeFileSync(join(home, 'ledger.json'), '{"colour": 1}')
    expect(() => load({})).toThrow('unknown setting "colour"')
    writeFileSync(join(home, 'ledger.json'), '{')
    expect(() => load({})).toThrow('is not JSON')
  })
})
