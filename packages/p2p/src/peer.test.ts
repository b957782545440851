import { describe, expect, it } from 'vitest'
import { BlockHash, networks, Sat, txid, wtxid, type Tx } from '@leyden/bitcoin'
import { arrived, assign, createDownload, MAX_IN_FLIGHT, release, STALL_MS, stalled } from './download.ts'
import { INV, type InvItem, type KnownMessage, type Message, type VersionMessage } from './message.ts'
import { createPeer, stepPeer, type PeerEffect, type PeerEnv, type PeerInput, type PeerState } from './peer.ts'

const id = (n: number): string => n.toString(16).padStart(64, '0')
const hash = (n: number): BlockHash => BlockHash(id(n))
const genesis = networks.regtest.genesis
const address = { services: 9n, ip: new Uint8Array(16), port: 0 }
const version = (change: Partial<VersionMessage> = {}): VersionMessage => ({
  type: 'version',
  version: 70_016,
  services: 9n,
  time: 0n,
  receiver: address,
  sender: address,
  nonce: 5n,
  userAgent: '/x/',
  startHeight: 3,
  relay: true,
  ...change,
})
const env = (change: Partial<PeerEnv> = {}): PeerEnv => ({
  nowMs: 1000,
  services: 9n,
  userAgent: '/Leyden/',
  tipHeight: 7,
  locator: () => [hash(1)],
  hasTx: () => false,
  hasHeader: () => true,
  freshNonce: () => 99n,
  isOwnNonce: () => false,
  ...change,
})
const give = (peer: PeerState, message: Message, change: Partial<PeerEnv> = {}): PeerEffect[] =>
  stepPeer(peer, { from: 'peer', type: 'message', message }, env(change))
const sent = (effects: readonly PeerEffect[]): string[] =>
  effects.map((effect) => (effect.type === 'send' ? effect.message.type : `${effect.to}:${effect.type}`))
const messages = (effects: readonly PeerEffect[]): KnownMessage[] =>
  effects.flatMap((effect) => (effect.type === 'send' ? [effect.message] : []))
const ready = (change: Partial<VersionMessage> = {}, withWtxid = true): PeerState => {
  const peer = createPeer({ inbound: true, nonce: 1n, nowMs: 0 })
  give(peer, version(change))
  if (withWtxid) give(peer, { type: 'wtxidrelay' })
  give(peer, { type: 'verack' })
  return peer
}
const tx: Tx = {
  version: 2,
  inputs: [
    {
      outpoint: { txid: txid(genesis.transactions[0]!), vout: 0 },
      scriptSig: new Uint8Array(0),
      sequence: 0,
      witness: [Uint8Array.of(1)],
    },
  ],
  outputs: [{ value: Sat(1n), scriptPubKey: new Uint8Array(0) }],
  lockTime: 0,
}
const manyTxs = (from: number, count: number): InvItem[] =>
  Array.from({ length: count }, (_, i) => ({ kind: INV.wtx, hash: id(from + i) }))

describe('the handshake', () => {
  it('is begun by who dials and answered by who is called', () => {
    const outbound = createPeer({ inbound: false, nonce: 1n, nowMs: 0 })
    const hello = stepPeer(outbound, { from: 'owner', type: 'connected' }, env())
    expect(messages(hello)).toMatchObject([{ type: 'version', version: 70_016, nonce: 1n, startHeight: 7, relay: true }])
    expect(sent(give(outbound, version()))).toEqual(['wtxidrelay', 'verack'])
    const inbound = createPeer({ inbound: true, nonce: 1n, nowMs: 0 })
    expect(stepPeer(inbound, { from: 'owner', type: 'connected' }, env())).toEqual([])
    expect(sent(give(inbound, version()))).toEqual(['version', 'wtxidrelay', 'verack'])
    expect(sent(give(inbound, { type: 'verack' }))).toEqual(['owner:ready', 'sendheaders', 'feefilter', 'getheaders', 'ping'])
    expect(give(inbound, { type: 'verack' })).toEqual([])
  })

  it('ends with ourselves, with the very old, and out of order', () => {
    const peer = () => createPeer({ inbound: true, nonce: 1n, nowMs: 0 })
    expect(give(peer(), version(), { isOwnNonce: () => true })).toMatchObject([
      { type: 'close', reason: 'connected to ourselves' },
    ])
    expect(give(peer(), version({ version: 31_799 }))).toMatchObject([{ type: 'close' }])
    expect(give(peer(), { type: 'ping', nonce: 1n })).toMatchObject([{ type: 'close', reason: 'ping before version' }])
    expect(give(ready(), { type: 'wtxidrelay' })).toMatchObject([{ type: 'close' }])
    const slow = peer()
    expect(stepPeer(slow, { from: 'clock', type: 'tick' }, env({ nowMs: 60_001 }))).toMatchObject([
      { type: 'close', reason: 'no handshake' },
    ])
  })

  it('does not offer wtxid relay to who cannot have it (BIP 339)', () => {
    const peer = createPeer({ inbound: true, nonce: 1n, nowMs: 0 })
    expect(sent(give(peer, version({ version: 70_015 })))).toEqual(['version', 'verack'])
    give(peer, { type: 'wtxidrelay' })
    expect(peer.wtxidRelay).toBe(false)
  })
})

describe('keeping alive', () => {
  it('answers pings, sends its own, and leaves who is silent', () => {
    const peer = ready()
    expect(messages(give(peer, { type: 'ping', nonce: 3n }))).toEqual([{ type: 'pong', nonce: 3n }])
    const tick = (nowMs: number): PeerEffect[] => stepPeer(peer, { from: 'clock', type: 'tick' }, env({ nowMs }))
    expect(tick(200_000)).toEqual([])
    give(peer, { type: 'pong', nonce: 99n })
    expect(messages(tick(200_000))).toEqual([{ type: 'ping', nonce: 99n }])
    expect(tick(200_000 + 20 * 60_000 + 1)).toMatchObject([{ type: 'close' }])
  })
})

describe('headers and blocks', () => {
  it('are asked for when an unknown block is announced', () => {
    const inv: Message = { type: 'inv', items: [{ kind: INV.block, hash: hash(9) }] }
    expect(give(ready(), inv)).toEqual([])
    expect(messages(give(ready(), inv, { hasHeader: () => false }))).toMatchObject([{ type: 'getheaders', hashes: [hash(1)] }])
  })

  it('that connect go to the chain; others are asked for a few times, then the connection ends', () => {
    const peer = ready()
    const headers: Message = { type: 'headers', headers: [genesis.header] }
    expect(give(peer, headers)).toEqual([{ to: 'chain', type: 'takeHeaders', headers: [genesis.header] }])
    for (let i = 0; i < 10; i++) expect(sent(give(peer, headers, { hasHeader: () => false }))).toEqual(['getheaders'])
    expect(give(peer, headers, { hasHeader: () => false })).toMatchObject([{ type: 'close' }])
    expect(give(ready(), { type: 'headers', headers: [] })).toEqual([])
  })

  it('go on after a full list, and end the connection when they break a rule', () => {
    const chain = (input: PeerInput): PeerEffect[] => stepPeer(ready(), input, env())
    const taken = { from: 'chain', type: 'headersTaken', last: hash(8) } as const
    expect(chain({ ...taken, full: false })).toEqual([])
    expect(messages(chain({ ...taken, full: true }))).toMatchObject([{ hashes: [hash(8), hash(1)] }])
    expect(chain({ from: 'chain', type: 'headersRefused', reason: 'high-hash' })).toMatchObject([{ type: 'close' }])
    expect(chain({ from: 'chain', type: 'blockRefused', reason: 'bad-cb-amount' })).toMatchObject([{ type: 'close' }])
  })

  it('are told by header to who wants it so (BIP 130), else by inventory, each tip once', () => {
    const peer = ready()
    const news = { from: 'chain', type: 'tipChanged', tip: hash(5), headers: [genesis.header] } as const
    expect(messages(stepPeer(peer, news, env()))).toEqual([{ type: 'inv', items: [{ kind: INV.block, hash: hash(5) }] }])
    expect(stepPeer(peer, news, env())).toEqual([])
    give(peer, { type: 'sendheaders' })
    expect(messages(stepPeer(peer, { ...news, tip: hash(6) }, env()))).toEqual([{ type: 'headers', headers: [genesis.header] }])
    expect(sent(stepPeer(peer, { ...news, tip: hash(7), headers: [] }, env()))).toEqual(['inv'])
  })
})

describe('transactions', () => {
  it('are announced at the next tick, once, and not to who has them or asks for more fee', () => {
    const peer = ready()
    const seen = { from: 'chain', type: 'transactionSeen', tx, feeratePerKvb: 1500n } as const
    const tick = (): PeerEffect[] => stepPeer(peer, { from: 'clock', type: 'tick' }, env())
    expect(stepPeer(peer, seen, env())).toEqual([])
    expect(messages(tick())).toEqual([{ type: 'inv', items: [{ kind: INV.wtx, hash: wtxid(tx) }] }])
    stepPeer(peer, seen, env())
    expect(tick()).toEqual([])
    const other = ready()
    give(other, { type: 'feefilter', feeratePerKvb: 2000n })
    stepPeer(other, seen, env())
    expect(stepPeer(other, { from: 'clock', type: 'tick' }, env())).toEqual([])
    const old = ready({ version: 70_015 }, false)
    stepPeer(old, seen, env())
    expect(messages(stepPeer(old, { from: 'clock', type: 'tick' }, env()))).toEqual([
      { type: 'inv', items: [{ kind: INV.tx, hash: txid(tx) }] },
    ])
  })

  it('are fetched when they are new, and taken', () => {
    const peer = ready()
    const inv: Message = { type: 'inv', items: [{ kind: INV.wtx, hash: wtxid(tx) }] }
    expect(give(peer, inv, { hasTx: () => true })).toEqual([])
    expect(messages(give(peer, inv))).toEqual([{ type: 'getdata', items: [{ kind: INV.wtx, hash: wtxid(tx) }] }])
    expect(give(peer, inv)).toEqual([])
    expect(give(peer, { type: 'tx', tx })).toEqual([{ to: 'chain', type: 'takeTx', tx }])
    expect(give(peer, { type: 'tx', tx }, { hasTx: () => true })).toEqual([])
  })

  it('B7: are asked for a hundred at a time, and no flood of announcements makes the state grow (CVE-2018-17145)', () => {
    const peer = ready()
    expect(messages(give(peer, { type: 'inv', items: manyTxs(1, 50_000) }))).toMatchObject([{ items: { length: 100 } }])
    for (let n = 1; n < 3; n++) expect(give(peer, { type: 'inv', items: manyTxs(n * 50_000, 50_000) })).toEqual([])
    expect(peer.announced.size).toBeLessThanOrEqual(5000)
    expect(peer.requested.size).toBe(100)
    expect(peer.known.recent.size + peer.known.older.size).toBeLessThanOrEqual(10_000)
    const more = messages(give(peer, { type: 'notfound', items: manyTxs(1, 100) }))
    expect(more).toMatchObject([{ type: 'getdata', items: { length: 100 } }])
    stepPeer(peer, { from: 'clock', type: 'tick' }, env({ nowMs: 70_000 }))
    expect(peer.requested.size).toBeLessThanOrEqual(100)
  })
})

describe('downloading blocks', () => {
  const wanted = Array.from({ length: 40 }, (_, n) => hash(n + 1))

  it('B10: goes in order from one peer, a window at a time, and to another when that one stalls', () => {
    const download = createDownload()
    const sources = [1, 2].map((peer) => ({ peer, wanted }))
    expect(assign(download, sources, 0)).toEqual({ peer: 1, hashes: wanted.slice(0, MAX_IN_FLIGHT) })
    expect(assign(download, sources, 0)).toBeUndefined()
    for (const one of wanted.slice(0, 8)) arrived(download, one, 5000)
    const rest = sources.map((source) => ({ ...source, wanted: wanted.slice(8) }))
    expect(assign(download, rest, 5000)).toEqual({ peer: 1, hashes: wanted.slice(16, 24) })
    expect(stalled(download, 5000 + STALL_MS)).toBeUndefined()
    expect(stalled(download, 5001 + STALL_MS)).toBe(1)
    release(download, 1, 20_000)
    expect(assign(download, rest, 20_000)).toEqual({ peer: 2, hashes: wanted.slice(8, 24) })
    release(download, 2, 20_000)
    expect(assign(download, rest, 20_001)).toBeUndefined()
    expect(assign(download, rest, 80_001)).toMatchObject({ peer: 1 })
  })

  it('asks nobody when nobody has what we want', () => {
    expect(assign(createDownload(), [{ peer: 1, wanted: [] }], 0)).toBeUndefined()
    expect(stalled(createDownload(), 1e9)).toBeUndefined()
  })
})
