/** What is told while the ledger starts, and starts that end early: in memory, and as a real process. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { blockHash, encodeAddress, encodeBlock, networks, Sat, type Block } from '@leyden/bitcoin'
import { buildBlock, findNonce } from '@leyden/ledger'
import { Disk, memoryStore } from '@leyden/runtime'
import { openBlockFiles, recordMagic } from './block-files.ts'
import { readFiles } from './chain-rows.ts'
import { startLedger } from './daemon.ts'
import { createLedgerEngine, type LedgerEngine } from './engine.ts'
import { FileDisk } from './memory-directory.ts'
import type { Rebuild } from './rebuild.ts'
import { ANYONE, virtualClock } from './testing.ts'
import { createWarmup, Stopping, type Startup } from './warmup.ts'

const network = networks.regtest
const ADDRESS = encodeAddress(ANYONE, network) as string
const PROGRAM = fileURLToPath(new URL('./main.ts', import.meta.url))
let root: string
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'leyden-warmup-'))
})
afterAll(() => rmSync(root, { recursive: true }))

describe('what is going on', () => {
  it('is told in one sentence, with how far it is once that is known', () => {
    const warmup = createWarmup(new AbortController().signal)
    expect(warmup.status()).toBe('RPC server started')
    warmup.begin({ doing: 'Loading block index' })
    expect([warmup.status(), warmup.obeysStop()]).toEqual(['Loading block index…', false])
    let done = 0
    warmup.begin({ doing: 'Verifying blocks', progress: () => ({ done, of: 3, unit: 'blocks' }), isLong: true })
    done = 2
    expect([warmup.status(), warmup.obeysStop()]).toEqual(['Verifying blocks… 2 of 3 blocks (66.6%)', true])
  })
})

type Machine = { readonly disk: Disk; readonly files: FileDisk }
const open = ({ disk, files }: Machine, options: { rebuild?: Rebuild; startup?: Startup } = {}): Promise<LedgerEngine> =>
  createLedgerEngine({ store: memoryStore(disk), directory: files.open(), network, clock: virtualClock(), ...options })

/** Ends the start when so many of the blocks are connected. */
const endingAt = (height: number, told: string[] = []): Startup => {
  const ending = new AbortController()
  const warmup = createWarmup(ending.signal)
  return {
    begin: warmup.begin,
    check() {
      told.push(warmup.status())
      if (told.at(-1)?.startsWith(`Verifying blocks… ${height} of`) === true) ending.abort()
      warmup.check()
    },
  }
}

describe('a chain that is built again and told to end', () => {
  it('keeps what it has connected, and the next start goes on from there', async () => {
    const machine = { disk: new Disk(), files: new FileDisk() }
    const first = await open(machine)
    await first.generateToAddress(120, ANYONE)
    const tip = first.tip()
    await first.close()
    const told: string[] = []
    await expect(open(machine, { rebuild: 'everything', startup: endingAt(50, told) })).rejects.toThrow(Stopping)
    expect(told).toContainEqual(expect.stringMatching(/^Reindexing blocks… \d+ of \d+ bytes/))
    const after: string[] = []
    const again = await open(machine, { startup: endingAt(-1, after) })
    expect(after.find((status) => status.startsWith('Verifying'))).toBe('Verifying blocks… 50 of 120 blocks (41.6%)')
    expect(again.tip()).toEqual(tip)
  })

  it('judges on the next start what the first had only read', async () => {
    const machine = { disk: new Disk(), files: new FileDisk() }
    const first = await open(machine)
    await first.generateToAddress(20, ANYONE)
    const parent = first.tipEntry()
    const plan = { network, parent, now: parent.header.time + 1, transactions: [], fees: 0n, scriptPubKey: ANYONE, extraNonce: 1 }
    const good = findNonce(buildBlock(plan)) as Block
    const [coinbase] = good.transactions as [Block['transactions'][0]]
    const poor = { ...coinbase, outputs: coinbase.outputs.map((output, i) => (i === 0 ? { ...output, value: Sat(1n) } : output)) }
    await first.close()
    const directory = machine.files.open()
    const files = await openBlockFiles({ directory, magic: recordMagic(network) }, await readFiles(memoryStore(machine.disk)))
    // Under the header of the good one: its merkle root is of other transactions.
    files.appendBlock(blockHash(good.header), 21, encodeBlock({ ...good, transactions: [poor] }))
    await files.persist()
    await expect(open(machine, { rebuild: 'everything', startup: endingAt(10) })).rejects.toThrow(Stopping)
    const again = await open(machine)
    expect(again.tip().hash).toBe(parent.hash)
    expect(again.tree.entries.get(blockHash(good.header))?.failed).toBe('self')
  })

  it('does not begin when it was told before', async () => {
    const datadir = join(root, 'never')
    await expect(startLedger({ datadir }, undefined, { signal: AbortSignal.abort() })).rejects.toThrow(Stopping)
    expect(existsSync(datadir)).toBe(false)
  })
})

type Started = {
  readonly child: ChildProcess
  readonly datadir: string
  readonly exit: Promise<number | null>
  /** The address of JSON-RPC, once it listens. */
  readonly url: Promise<string>
  readonly ready: Promise<unknown>
}
const start = (name: string, ...flags: readonly string[]): Started => {
  const datadir = join(root, name)
  const ports = ['--rpcPort=0', '--p2pPort=0', '--linkPort=0']
  const args = ['--conditions=@leyden/source', '--import', import.meta.resolve('tsx'), PROGRAM, `--datadir=${datadir}`]
  const child = spawn(process.execPath, [...args, ...ports, ...flags], { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })
  const line = (wanted: string): Promise<{ rpc: string }> =>
    new Promise((resolve) => {
      lines.on('line', (text) => {
        const entry = JSON.parse(text) as { msg: string; rpc: string }
        if (entry.msg === wanted) resolve(entry)
      })
    })
  const url = line('JSON-RPC is there, and answers once the chain is open').then(({ rpc }) => rpc)
  const exit = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
  return { child, datadir, exit, url, ready: line('ready') }
}
type Answered = { readonly status: number; readonly body: unknown }
const post = async ({ url, datadir }: Started, body: unknown, password?: string): Promise<Answered> => {
  const address = await url
  const credentials = password ?? readFileSync(join(datadir, '.cookie'), 'utf8')
  const headers = { authorization: `Basic ${btoa(credentials)}` }
  const answer = await fetch(address, { method: 'POST', headers, body: JSON.stringify(body) })
  const text = await answer.text()
  return { status: answer.status, body: text === '' ? undefined : JSON.parse(text) }
}
const call = async <T>(started: Started, method: string, ...params: readonly unknown[]): Promise<T> => {
  const { body } = await post(started, { method, params })
  return (body as { result: T }).result
}

describe('the daemon', () => {
  it.skipIf(process.platform === 'win32')('answers every call by what it is doing until it is ready', async () => {
    const datadir = join(root, 'fifo')
    execFileSync('mkdir', ['-p', datadir])
    const fifo = join(datadir, 'mempool.dat')
    // It waits for this file until somebody writes into it.
    execFileSync('mkfifo', [fifo])
    const started = start('fifo', '--mempoolFile=mempool.dat', '--rest=true')
    const error = { code: -28, message: 'Loading mempool…' }
    const busy = { status: 500, body: { result: null, error, id: 1 } }
    const ask = (method: string): Promise<Answered> => post(started, { id: 1, method })
    await expect.poll(() => ask('getblockcount'), { timeout: 20_000 }).toEqual(busy)
    for (const method of ['uptime', 'help', 'getrpcinfo', 'no such call']) expect(await ask(method)).toEqual(busy)
    expect(await post(started, { jsonrpc: '2.0', id: 1, method: 'uptime' })).toEqual({
      status: 200,
      body: { jsonrpc: '2.0', error, id: 1 },
    })
    expect(await post(started, [{ id: 1, method: 'uptime' }])).toEqual({ status: 200, body: [busy.body] })
    expect(await post(started, { method: 'uptime' }, 'a:b')).toEqual({ status: 401, body: undefined })
    const rest = await fetch(`${await started.url}/rest/chaininfo.json`)
    expect([rest.status, await rest.text()]).toEqual([503, 'Service temporarily unavailable: Loading mempool…\r\n'])

    writeFileSync(fifo, 'nothing that it can read')
    await started.ready
    expect(await call(started, 'getblockcount')).toBe(0)
    rmSync(fifo)
    started.child.kill('SIGTERM')
    expect(await started.exit).toBe(0)
  })

  it('ends in the middle of a reindex, by signal or by stop, and the next start finishes it', async () => {
    const first = start('reindex')
    await first.ready
    const hashes = await call<string[]>(first, 'generatetoaddress', 300, ADDRESS)
    await call(first, 'stop')
    expect(await first.exit).toBe(0)

    const signalled = start('reindex', '--reindex=true')
    await signalled.url
    signalled.child.kill('SIGTERM')
    expect(await signalled.exit).toBe(0)

    const stopped = start('reindex', '--reindex=true')
    await expect.poll(() => call(stopped, 'stop'), { timeout: 20_000 }).toBe('Leyden ledger stopping')
    expect(await stopped.exit).toBe(0)
    expect(existsSync(join(stopped.datadir, '.cookie'))).toBe(false)

    const last = start('reindex')
    await last.ready
    expect(await call(last, 'getbestblockhash')).toBe(hashes.at(-1))
    last.child.kill('SIGTERM')
    expect(await last.exit).toBe(0)
  })
})
