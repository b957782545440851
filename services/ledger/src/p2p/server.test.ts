import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { BlockHash, blockHash, encodeBlock, networks, p2wshOf, txid } from '@leyden/bitcoin'
import {
  ban,
  createFrameReader,
  decodePayload,
  encodeFrame,
  INV,
  parseSubnet,
  unban,
  type KnownMessage,
  type Message,
} from '@leyden/p2p'
import type { LedgerConfigInput } from '../config.ts'
import { startLedger, type RunningLedger } from '../daemon.ts'
import { ANYONE, outputOf, pay } from '../testing.ts'

const { magic, genesis } = networks.regtest
const running: { ledger: RunningLedger; datadir: string }[] = []
const start = async (
  connectTo: readonly RunningLedger[] = [],
  settings: Partial<LedgerConfigInput> = {},
): Promise<RunningLedger> => {
  const datadir = mkdtempSync(join(tmpdir(), 'leyden-p2p-'))
  const peers = connectTo.map(({ p2pPort }) => `127.0.0.1:${p2pPort}`)
  const ledger = await startLedger({
    datadir,
    rpcPort: 0,
    linkPort: 0,
    p2pPort: 0,
    connect: peers,
    // Transactions are announced at once to whom we trust.
    whitelist: ['noban,in,out@127.0.0.1'],
    ...settings,
  })
  running.push({ ledger, datadir })
  return ledger
}
afterEach(async () => {
  for (const { ledger, datadir } of running.splice(0).reverse()) {
    await ledger.stop()
    rmSync(datadir, { recursive: true })
  }
})
const until = async (what: string, holds: () => boolean | Promise<boolean>): Promise<void> => {
  for (let i = 0; i < 2000; i++) {
    if (await holds()) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error(`waited in vain until ${what}`)
}
const sameTip = (a: RunningLedger, b: RunningLedger): Promise<void> =>
  until('both have one tip', () => a.engine.tip().hash === b.engine.tip().hash)

describe('two ledgers', () => {
  it('write down what they tell each other when told to', async () => {
    const quiet = await start()
    const teller = await start([quiet], { captureMessages: true })
    await until('they have spoken', () => teller.peers.peers().some(({ state }) => state.ready))
    const { datadir } = running.at(-1)!
    const files = join(datadir, 'message_capture', `127.0.0.1_${quiet.p2pPort}`)
    for (const name of ['msgs_recv.dat', 'msgs_sent.dat'])
      expect(readFileSync(join(files, name)).subarray(8, 20).toString()).toBe(`version${'\0'.repeat(5)}`)
    expect(existsSync(join(running[0]!.datadir, 'message_capture'))).toBe(false)
  })

  it('have one chain: from genesis, block by block, and over a reorganisation', async () => {
    const a = await start()
    await a.engine.generateToAddress(40, ANYONE)
    const b = await start([a])
    await sameTip(a, b)
    await b.engine.generateToAddress(2, ANYONE)
    await sameTip(a, b)
    expect(a.engine.tip().height).toBe(42)

    const c = await start()
    for (let height = 1; height <= 40; height++) {
      const block = await a.engine.blockByHash(a.engine.hashAtHeight(height as never)!)
      await c.engine.submitBlock(block!)
    }
    await c.engine.generateToAddress(5, p2wshOf(Uint8Array.of(0x52)))
    await c.engine.idle()
    const d = await start([c, a])
    await sameTip(c, d)
    await sameTip(c, a)
    await sameTip(c, b)
    expect(b.engine.tip().height).toBe(45)
  })

  it('tell each other of transactions, parents first', async () => {
    const a = await start()
    const hashes = await a.engine.generateToAddress(105, ANYONE)
    const b = await start([a])
    const c = await start([b])
    await sameTip(a, c)
    await until('they are connected', async () => b.engine.tip().height === 105)
    const coinbase = (await a.engine.blockByHash(hashes[0]!))!.transactions[0]!
    const parent = pay([outputOf(coinbase)], [4_999_000_000n])
    const child = pay([outputOf(parent)], [4_998_000_000n])
    await a.engine.submitTransactions([parent, child])
    await until('all have both', () => b.engine.pool.entries.size === 2 && c.engine.pool.entries.size === 2)
    expect(c.engine.mempool().map(txid)).toEqual([txid(parent), txid(child)])
    const [block] = await c.engine.generateToAddress(1, ANYONE)
    await until('all have the block', () => a.engine.tip().hash === block)
    expect(a.engine.mempool()).toEqual([])
  })
})

describe('several ledgers', () => {
  it('agree on the chain with the most work after they were apart, and transactions that it lacks come back', async () => {
    const a = await start()
    const hashes = await a.engine.generateToAddress(101, ANYONE)
    const b = await start([a])
    const c = await start([b])
    const d = await start([c, a])
    await Promise.all([b, c, d].map((one) => sameTip(a, one)))
    c.peers.setActive(false)
    d.peers.setActive(false)
    const coinbase = (await a.engine.blockByHash(hashes[0]!))!.transactions[0]!
    const tx = pay([outputOf(coinbase)], [4_999_000_000n])
    await a.engine.submitTransaction(tx)
    await a.engine.generateToAddress(3, ANYONE)
    await sameTip(a, b)
    const [, , , , tip] = await c.engine.generateToAddress(5, p2wshOf(Uint8Array.of(0x55)))
    expect(d.engine.tip().height).toBe(101)
    c.peers.setActive(true)
    d.peers.setActive(true)
    await until('all have the longer chain', () => [a, b, c, d].every(({ engine }) => engine.tip().hash === tip))
    expect(a.engine.mempool().map(txid)).toEqual([txid(tx)])
    const [last] = await b.engine.generateToAddress(1, ANYONE)
    await until('all have the block that takes it in', () => [a, b, c, d].every(({ engine }) => engine.tip().hash === last))
    expect(a.engine.mempool()).toEqual([])
  })

  it('give a new one its blocks together', async () => {
    const a = await start()
    await a.engine.generateToAddress(300, ANYONE)
    const b = await start([a])
    await sameTip(a, b)
    const c = await start([a, b])
    await sameTip(a, c)
    const given = c.peers.peers().map(({ connection }) => connection.receivedByCommand.get('block') ?? 0)
    expect(given).toHaveLength(2)
    expect(Math.min(...given)).toBeGreaterThan(0)
  })
})

/** A peer of the test's own making. */
const dial = async (
  ledger: RunningLedger,
): Promise<{ say: (message: KnownMessage) => void; raw: Socket; heard: Message[]; closed: () => boolean }> => {
  const socket = connect(ledger.p2pPort, '127.0.0.1')
  const heard: Message[] = []
  let closed = false
  const reader = createFrameReader(magic)
  socket.on('data', (chunk: Buffer) => {
    for (const frame of reader.push(new Uint8Array(chunk)))
      if (frame.problem === undefined) heard.push(decodePayload(frame.command, frame.payload))
  })
  socket.on('error', () => undefined)
  socket.on('close', () => {
    closed = true
  })
  await new Promise<void>((resolve) => socket.once('connect', () => resolve()))
  const say = (message: KnownMessage): void => void socket.write(encodeFrame(magic, message))
  return { say, raw: socket, heard, closed: () => closed }
}
const address = { services: 9n, ip: new Uint8Array(16), port: 0 }
const greet = async (ledger: RunningLedger): Promise<Awaited<ReturnType<typeof dial>>> => {
  const peer = await dial(ledger)
  peer.say({
    type: 'version',
    version: 70_016,
    services: 9n,
    time: 0n,
    receiver: address,
    sender: address,
    nonce: 1n,
    userAgent: '/test/',
    startHeight: 0,
    relay: true,
  })
  peer.say({ type: 'verack' })
  await until('the handshake is done', () => peer.heard.some(({ type }) => type === 'getheaders'))
  return peer
}

describe('a peer', () => {
  it('is served headers and blocks, and told what is not there', async () => {
    const ledger = await start()
    const hashes = await ledger.engine.generateToAddress(3, ANYONE)
    const peer = await greet(ledger)
    peer.say({ type: 'getheaders', version: 70_016, hashes: [hashes[0]!], stop: BlockHash('00'.repeat(32)) })
    await until('headers come', () => peer.heard.some(({ type }) => type === 'headers'))
    const headers = peer.heard.find((message) => message.type === 'headers')!
    expect(headers.headers.map(blockHash)).toEqual(hashes.slice(1))
    peer.say({
      type: 'getdata',
      items: [
        { kind: INV.witnessBlock, hash: hashes[2]! },
        { kind: INV.wtx, hash: '11'.repeat(32) },
      ],
    })
    await until('the block comes', () => peer.heard.some(({ type }) => type === 'notfound'))
    const block = peer.heard.find((message) => message.type === 'block')!
    expect(encodeBlock(block.block)).toEqual(await ledger.engine.blockBytes(hashes[2]!))
    peer.raw.destroy()
  })

  it('that sends bytes of no protocol, a bad header or a bad block loses its connection, and nobody else does', async () => {
    const ledger = await start([], { whitelist: [] })
    await ledger.engine.generateToAddress(2, ANYONE)
    const good = await greet(ledger)
    const noisy = await dial(ledger)
    noisy.raw.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await until('the noisy one is gone', noisy.closed)
    const lazy = await greet(ledger)
    lazy.say({ type: 'headers', headers: [{ ...genesis.header, previousHash: blockHash(genesis.header), bits: 0x1d00ffff }] })
    await until('the lazy one is gone', lazy.closed)
    const liar = await greet(ledger)
    const block = await ledger.engine.generateBlock(p2wshOf(Uint8Array.of(0x53)), [], false)
    liar.say({ type: 'block', block: { ...block, transactions: [...block.transactions, ...block.transactions] } })
    await until('the liar is gone', liar.closed)
    good.say({ type: 'block', block })
    await until('the good block is taken', () => ledger.engine.tip().hash === blockHash(block.header))
    expect(good.closed()).toBe(false)
    good.raw.destroy()
  })

  it('that is banned cannot come back until the ban ends', async () => {
    const ledger = await start([], { whitelist: [] })
    const { bans } = ledger.peers.book
    const range = parseSubnet('127.0.0.0/8')!
    const now = Math.floor(Date.now() / 1000)
    const before = await greet(ledger)
    ban(bans, range, now + 1000, now)
    ledger.peers.disconnectSubnet(range)
    await until('it is gone', before.closed)
    const again = await dial(ledger)
    await until('it is turned away', again.closed)
    expect(again.heard).toEqual([])
    unban(bans, range)
    expect((await greet(ledger)).closed()).toBe(false)
  })

  it('that asks for more than it reads is not served, and the others are', async () => {
    const ledger = await start([], { whitelist: [], maxSendBuffer: 10 })
    // Large blocks, so that no buffer of the system holds many.
    const [hash] = await ledger.engine.generateToAddress(1, new Uint8Array(900_000).fill(0x6a))
    const slow = await greet(ledger)
    slow.raw.pause()
    const items = Array.from({ length: 50_000 }, () => ({ kind: INV.witnessBlock, hash: hash! }))
    for (let i = 0; i < 5; i++) slow.say({ type: 'getdata', items })
    await until('it is held back', () => ledger.peers.peers().some(({ state }) => state.sendPaused))
    const [view] = ledger.peers.peers()
    expect(view!.state.getdata.length).toBeLessThanOrEqual(50_000)
    const quick = await greet(ledger)
    quick.say({ type: 'ping', nonce: 5n })
    await until('another is served', () => quick.heard.some((message) => message.type === 'pong' && message.nonce === 5n))
    slow.raw.destroy()
    quick.raw.destroy()
  })

  it('B9: with headers of low work costs no disk and is asked for no blocks', async () => {
    const ledger = await start()
    await ledger.engine.generateToAddress(10, ANYONE)
    const other = await start()
    await other.engine.generateToAddress(5, p2wshOf(Uint8Array.of(0x54)))
    const peer = await greet(ledger)
    const headers = [1, 2, 3, 4, 5].map(
      (height) => other.engine.headerByHash(other.engine.hashAtHeight(height as never)!)!.header,
    )
    peer.say({ type: 'headers', headers })
    peer.say({ type: 'ping', nonce: 77n })
    await until('the ping is answered', () => peer.heard.some((message) => message.type === 'pong' && message.nonce === 77n))
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(ledger.engine.headerByHash(other.engine.tip().hash)).toBeDefined()
    expect(peer.heard.filter(({ type }) => type === 'getdata')).toEqual([])
    peer.raw.destroy()
  })
})
