/** For the tests of this package: a chain, a mempool, a clock and chance that a test decides. */
import {
  blockHash,
  BlockHash,
  buildScript,
  OP,
  Sat,
  txid,
  Txid,
  wtxid,
  type Block,
  type BlockHeader,
  type Tx,
} from '@leyden/bitcoin'
import { createAddrman } from './addrman.ts'
import { createBanList } from './ban.ts'
import { SERVICE, type KnownMessage, type Message, type MessageOf, type Outgoing } from './message.ts'
import { parseEndpoint, type Endpoint } from './net-address.ts'
import type { ChainEntry, ConnectionType, PeerState, Permission } from './peer.ts'
import { createPeering, type ChainPort, type Effect, type Peering, type PeeringSettings, type PoolTx } from './peering.ts'
import { stepPeering, type PeeringInput } from './step.ts'

export const START_MS = 1_750_000_000_000
/** A header with this nonce has no proof of work. */
export const NO_WORK = 0xbad
const SERVICES = SERVICE.network | SERVICE.witness | SERVICE.networkLimited

/** A seeded random in [0, 1): mulberry32. */
export const seeded = (seed: number): (() => number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b_79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

export const coinbaseOf = (tag: number): Tx => ({
  version: 1,
  inputs: [
    {
      outpoint: { txid: Txid('00'.repeat(32)), vout: 0xffff_ffff },
      scriptSig: buildScript(BigInt(tag)),
      sequence: 0,
      witness: [],
    },
  ],
  outputs: [{ value: Sat(50n), scriptPubKey: buildScript(OP.OP_TRUE) }],
  lockTime: 0,
})

export const headerOn = (parent: BlockHash, time: number, tag = 0): BlockHeader => ({
  version: 4,
  previousHash: parent,
  merkleRoot: tag.toString(16).padStart(64, '0'),
  time,
  bits: 0x207f_ffff,
  nonce: 1,
})

/** So many headers on one another. */
export const chainOn = (parent: BlockHash, count: number, time: number, tag = 0): BlockHeader[] => {
  const headers: BlockHeader[] = []
  for (let i = 0; i < count; i++)
    headers.push(headerOn(headers.length === 0 ? parent : blockHash(headers.at(-1)!), time + i, tag))
  return headers
}

const GENESIS = headerOn(BlockHash('00'.repeat(32)), START_MS / 1000 - 3600, 1)

export type FakeEntry = ChainEntry & { body: boolean; complete: boolean; invalid: boolean; readonly children: FakeEntry[] }

/** A chain where every header weighs 2 and a body is what the test says is stored. */
export const fakeChain = (now: () => number) => {
  const genesis: FakeEntry = {
    hash: blockHash(GENESIS),
    header: GENESIS,
    height: 0,
    chainWork: 2n,
    parent: undefined,
    body: true,
    complete: true,
    invalid: false,
    children: [],
  }
  const entries = new Map<string, FakeEntry>([[genesis.hash, genesis]])
  let tip = genesis
  let best = genesis
  const state = { minimumWork: 0n, initialDownload: false, room: true }
  const ancestor = (entry: ChainEntry, height: number): ChainEntry | undefined => {
    let at: ChainEntry | undefined = entry
    while (at !== undefined && at.height > height) at = at.parent
    return height < 0 || height > entry.height ? undefined : at
  }
  const add = (header: BlockHeader): FakeEntry => {
    const known = entries.get(blockHash(header))
    if (known !== undefined) return known
    const parent = entries.get(header.previousHash) as FakeEntry
    const entry: FakeEntry = {
      hash: blockHash(header),
      header,
      height: parent.height + 1,
      chainWork: parent.chainWork + 2n,
      parent,
      body: false,
      complete: false,
      invalid: false,
      children: [],
    }
    entries.set(entry.hash, entry)
    parent.children.push(entry)
    if (entry.chainWork > best.chainWork) best = entry
    return entry
  }
  const isComplete = (entry: ChainEntry): boolean => (entry as FakeEntry).complete
  /** The body of a header is stored; the tip follows. */
  const store = (hash: BlockHash): void => {
    const entry = entries.get(hash) as FakeEntry
    entry.body = true
    const waiting = [entry]
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      if (!at.body || at.parent === undefined || !isComplete(at.parent)) continue
      at.complete = true
      if (at.chainWork > tip.chainWork) tip = at
      waiting.push(...at.children)
    }
  }
  const port: ChainPort = {
    get minimumWork() {
      return state.minimumWork
    },
    spacing: 600,
    find: (hash) => entries.get(hash),
    tip: () => tip,
    bestHeader: () => best,
    isActive: (entry) => ancestor(tip, entry.height) === entry,
    activeAt: (height) => ancestor(tip, height),
    ancestor,
    fork(a, b) {
      const low = Math.min(a.height, b.height)
      let [left, right] = [ancestor(a, low)!, ancestor(b, low)!]
      while (left !== right) [left, right] = [left.parent!, right.parent!]
      return left
    },
    locator: (entry) => [entry.hash, genesis.hash],
    hasBody: (entry) => (entry as FakeEntry).body,
    canServe: (entry) => (entry as FakeEntry).body,
    isComplete,
    isInvalid: (entry) => (entry as FakeEntry).invalid,
    isInitialDownload: () => state.initialDownload,
    hasRoom: () => state.room,
    workOf: () => 2n,
    meetsTarget: ({ nonce }) => nonce !== NO_WORK,
    mayFollow: () => true,
    medianTime: ({ header }) => header.time,
    submitHeaders(headers) {
      for (const header of headers) if (header.time * 1000 > now() + 7_200_000) return { reason: 'time-too-new' }
      return headers.map(add).at(-1)!
    },
    mutation: () => undefined,
  }
  return { port, state, genesis, entries, add, store, tip: () => tip }
}

/** A transaction that spends an output, in a chosen number of bytes of witness. */
export const spending = (from: { txid: string; vout?: number }, tag = 0, outputs = 1, witness = 1): Tx => ({
  version: 2,
  inputs: [
    {
      outpoint: { txid: Txid(from.txid), vout: from.vout ?? 0 },
      scriptSig: new Uint8Array(0),
      sequence: tag,
      witness: witness === 0 ? [] : [new Uint8Array(witness)],
    },
  ],
  outputs: Array.from({ length: outputs }, (_, i) => ({ value: Sat(BigInt(i) + 1000n), scriptPubKey: buildScript(OP.OP_TRUE) })),
  lockTime: tag,
})

export const someTxid = (n: number): string => n.toString(16).padStart(64, '0')

/** The machine over the fakes, with what it said since the last look. */
export const world = (settings: Partial<PeeringSettings> = {}, seed = 1) => {
  const random = seeded(seed)
  let nowMs = START_MS
  let nonce = 0n
  const chain = fakeChain(() => nowMs)
  const pool = new Map<string, PoolTx>()
  const bans = createBanList()
  const addrman = createAddrman({ key: new Uint8Array(32), random })
  const peering: Peering = createPeering(
    {
      chain: chain.port,
      pool: {
        byTxid: (id) => pool.get(id),
        byWtxid: (id) => [...pool.values()].find((entry) => entry.wtxid === id),
        all: () => [...pool.values()],
        compare: () => 0,
        minFeeratePerKvb: () => 0,
        minRelayFeeratePerKvb: () => 1000,
        spread: () => undefined,
      },
      now: () => nowMs,
      random,
      freshNonce: () => ++nonce,
      keyedHash: (text) => Array.from(text).reduce((hash, char) => (hash * 31n + BigInt(char.charCodeAt(0))) % 2n ** 61n, 7n),
      addrman,
      bans,
      uploadTargetReached: () => false,
    },
    {
      services: SERVICES,
      userAgent: '/test/',
      blocksOnly: false,
      peerTimeout: 60,
      maxOrphans: 100,
      ownAddress: undefined,
      usesAddressBook: false,
      ...settings,
    },
  )
  let effects: Effect[] = []
  const step = (input: PeeringInput): void => void effects.push(...stepPeering(peering, input))
  const take = (): Effect[] => {
    const all = effects
    effects = []
    return all
  }
  const say = (peer: number, message: Message): void => step({ type: 'message', peer, message, size: 0 })
  const connect = (
    id: number,
    type: ConnectionType = 'inbound',
    options: { permissions?: readonly Permission[]; endpoint?: Endpoint } = {},
  ): PeerState => {
    const endpoint = options.endpoint ?? parseEndpoint(`${20 + (id % 200)}.${id >> 8}.${id & 255}.1:8333`, 0)!
    const permissions = new Set(options.permissions)
    step({
      type: 'connected',
      peer: {
        id,
        type,
        permissions,
        endpoint,
        name: `peer ${id}`,
        nonce: BigInt(1000 + id),
        connectedAt: nowMs,
        ourServices: SERVICES,
        preferEvict: false,
        local: '127.0.0.1:1',
      },
    })
    return peering.peers.get(id)!
  }
  const version = (fields: Partial<MessageOf<'version'>> = {}): KnownMessage => ({
    type: 'version',
    version: 70_016,
    services: SERVICES,
    time: BigInt(Math.floor(nowMs / 1000)),
    receiver: { services: 0n, ip: new Uint8Array(16), port: 0 },
    sender: { services: 0n, ip: new Uint8Array(16), port: 0 },
    nonce: 5n,
    userAgent: '/other/',
    startHeight: 0,
    relay: true,
    ...fields,
  })
  /** A peer whose handshake is done. */
  const greet = (id: number, type: ConnectionType = 'inbound', options: Parameters<typeof connect>[2] = {}): PeerState => {
    const peer = connect(id, type, options)
    say(id, version())
    say(id, { type: 'wtxidrelay' })
    say(id, { type: 'sendaddrv2' })
    say(id, { type: 'verack' })
    return peer
  }
  const tick = (ms = 0): void => {
    nowMs += ms
    step({ type: 'tick', traffic: () => ({ sentAt: nowMs, receivedAt: nowMs }) })
  }
  /** What was sent to a peer since the last look at it. */
  const sent = (peer: number, all = take()): Outgoing[] =>
    all.flatMap((effect) => (effect.type === 'send' && effect.peer === peer ? [effect.message] : []))
  const entry = (tx: Tx): PoolTx => ({ tx, txid: txid(tx), wtxid: wtxid(tx), fee: 10_000n, vsize: 100 })
  const accept = (tx: Tx): void => {
    pool.set(txid(tx), entry(tx))
    step({ type: 'transactionAdded', tx })
  }
  return { peering, chain, pool, bans, addrman, step, take, say, connect, version, greet, tick, sent, accept, now: () => nowMs }
}

export const blockOf = (header: BlockHeader, transactions: readonly Tx[] = []): Block => ({
  header,
  transactions: [coinbaseOf(1), ...transactions],
})
