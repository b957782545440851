/**
 * One connection as a machine: handshake, keep-alive, headers, blocks and transactions in both directions. Sans I/O.
 * Bitcoin Core net_processing.cpp; BIP 130 (sendheaders), BIP 133 (feefilter), BIP 144 (witness), BIP 339 (wtxidrelay).
 * What the chain knows is asked through effects to `chain` and comes back as inputs from it; which blocks to fetch from whom is
 * download.ts. Everything that a peer can make grow has a cap (CVE-2018-17145); who breaks a rule loses the connection.
 */
import { unreachable } from '@leyden/codec'
import { txid, wtxid, type Block, type BlockHash, type BlockHeader, type Tx } from '@leyden/bitcoin'
import {
  INV,
  PROTOCOL_VERSION,
  WTXID_RELAY_VERSION,
  MAX_HEADERS,
  type InvItem,
  type KnownMessage,
  type Message,
  type VersionMessage,
} from './message.ts'

/** Bitcoin Core's limits. */
const MIN_PEER_VERSION = 31_800
const HANDSHAKE_TIMEOUT_MS = 60_000
const PING_INTERVAL_MS = 120_000
const PONG_TIMEOUT_MS = 20 * 60_000
const MAX_TX_REQUESTS = 100
const TX_REQUEST_TIMEOUT_MS = 60_000
const MAX_ANNOUNCED = 5000
const MAX_KNOWN = 10_000
const MAX_TO_TELL = 5000
const MAX_UNCONNECTING_HEADERS = 10
const MAX_INV_PER_MESSAGE = 1000
const MAX_ANNOUNCED_HEADERS = 8

/** A set that forgets: at most `max` members, the oldest half dropped at once (one by one would be slow in a Set). */
export type Recent = { recent: Set<string>; older: Set<string> }
const noneRecent = (): Recent => ({ recent: new Set(), older: new Set() })
const isRecent = ({ recent, older }: Recent, value: string): boolean => recent.has(value) || older.has(value)
const remember = (known: Recent, value: string, max: number): void => {
  known.recent.add(value)
  if (known.recent.size < max / 2) return
  known.older = known.recent
  known.recent = new Set()
}

export type PeerState = {
  readonly inbound: boolean
  readonly nonce: bigint
  readonly startedAtMs: number
  saidVersion: boolean
  theirs: VersionMessage | undefined
  ready: boolean
  wtxidRelay: boolean
  wantsHeaders: boolean
  feeFilterPerKvb: bigint
  ping: { readonly nonce: bigint; readonly sentAtMs: number } | undefined
  lastPingAtMs: number
  unconnecting: number
  /** The best block that we have told it of. */
  told: BlockHash | undefined
  /** Transactions that it has (by the id that we use with it). */
  readonly known: Recent
  /** Announced by it, not asked for yet: id to kind. */
  readonly announced: Map<string, number>
  /** Asked for: id to time. */
  readonly requested: Map<string, number>
  /** To be announced to it. */
  readonly toTell: Set<string>
}

/** What a step may ask of the world: plain values. */
export type PeerEnv = {
  readonly nowMs: number
  readonly services: bigint
  readonly userAgent: string
  readonly tipHeight: number
  readonly locator: () => readonly BlockHash[]
  /** Whether we have the transaction, or have refused it lately. */
  readonly hasTx: (id: string) => boolean
  readonly hasHeader: (hash: BlockHash) => boolean
  /** A number that nobody can guess. */
  readonly freshNonce: () => bigint
  /** Nonces of our own connections: who sends one is us. */
  readonly isOwnNonce: (nonce: bigint) => boolean
}

export type PeerInput =
  | { readonly from: 'owner'; readonly type: 'connected' }
  | { readonly from: 'peer'; readonly type: 'message'; readonly message: Message }
  | { readonly from: 'clock'; readonly type: 'tick' }
  /** The headers that it sent are in our tree. `last` was new to us or known; `full`: there may be more. */
  | { readonly from: 'chain'; readonly type: 'headersTaken'; readonly last: BlockHash; readonly full: boolean }
  /** They break a rule. */
  | { readonly from: 'chain'; readonly type: 'headersRefused'; readonly reason: string }
  /** A block of its breaks a rule. */
  | { readonly from: 'chain'; readonly type: 'blockRefused'; readonly reason: string }
  /** Our tip has changed: headers from what the peer knows to the tip, lowest first; empty when there are too many. */
  | { readonly from: 'chain'; readonly type: 'tipChanged'; readonly tip: BlockHash; readonly headers: readonly BlockHeader[] }
  | { readonly from: 'chain'; readonly type: 'transactionSeen'; readonly tx: Tx; readonly feeratePerKvb: bigint }
  /** Blocks to fetch from it. */
  | { readonly from: 'owner'; readonly type: 'fetch'; readonly hashes: readonly BlockHash[] }

export type PeerEffect =
  | { readonly to: 'peer'; readonly type: 'send'; readonly message: KnownMessage }
  | { readonly to: 'peer'; readonly type: 'close'; readonly reason: string }
  | { readonly to: 'owner'; readonly type: 'ready'; readonly version: VersionMessage }
  | { readonly to: 'chain'; readonly type: 'takeHeaders'; readonly headers: readonly BlockHeader[] }
  | { readonly to: 'chain'; readonly type: 'takeBlock'; readonly block: Block }
  | { readonly to: 'chain'; readonly type: 'takeTx'; readonly tx: Tx }
  /** It asks for headers, blocks, transactions, the whole mempool. */
  | { readonly to: 'chain'; readonly type: 'serveHeaders'; readonly locator: readonly BlockHash[]; readonly stop: BlockHash }
  | { readonly to: 'chain'; readonly type: 'serveData'; readonly items: readonly InvItem[] }
  | { readonly to: 'chain'; readonly type: 'serveMempool' }
  /** It does not have these blocks. */
  | { readonly to: 'owner'; readonly type: 'blocksMissing'; readonly hashes: readonly BlockHash[] }

export const createPeer = (options: { inbound: boolean; nonce: bigint; nowMs: number }): PeerState => ({
  inbound: options.inbound,
  nonce: options.nonce,
  startedAtMs: options.nowMs,
  saidVersion: false,
  theirs: undefined,
  ready: false,
  wtxidRelay: false,
  wantsHeaders: false,
  feeFilterPerKvb: 0n,
  ping: undefined,
  lastPingAtMs: options.nowMs,
  unconnecting: 0,
  told: undefined,
  known: noneRecent(),
  announced: new Map(),
  requested: new Map(),
  toTell: new Set(),
})

const send = (message: KnownMessage): PeerEffect => ({ to: 'peer', type: 'send', message })
const close = (reason: string): PeerEffect[] => [{ to: 'peer', type: 'close', reason }]
const NO_ADDRESS = { services: 0n, ip: new Uint8Array(16), port: 0 }

/** Takes one input; changes `peer` (which belongs to this machine alone) and gives what to do. */
export const stepPeer = (peer: PeerState, input: PeerInput, env: PeerEnv): PeerEffect[] => {
  switch (input.type) {
    case 'connected':
      return peer.inbound ? [] : [sayVersion(peer, env)]
    case 'message':
      return receive(peer, input.message, env)
    case 'tick':
      return tick(peer, env)
    case 'headersTaken':
      peer.unconnecting = 0
      return input.full ? [askHeaders([input.last, ...env.locator()])] : []
    case 'headersRefused':
      return close(`bad headers: ${input.reason}`)
    case 'blockRefused':
      return close(`bad block: ${input.reason}`)
    case 'tipChanged':
      return tellTip(peer, input.tip, input.headers)
    case 'transactionSeen':
      return noteTx(peer, input.tx, input.feeratePerKvb)
    case 'fetch':
      return input.hashes.length === 0
        ? []
        : [send({ type: 'getdata', items: input.hashes.map((hash) => ({ kind: INV.witnessBlock, hash })) })]
    default:
      return unreachable(input)
  }
}

const sayVersion = (peer: PeerState, env: PeerEnv): PeerEffect => {
  peer.saidVersion = true
  return send({
    type: 'version',
    version: PROTOCOL_VERSION,
    services: env.services,
    time: BigInt(Math.floor(env.nowMs / 1000)),
    receiver: NO_ADDRESS,
    sender: { ...NO_ADDRESS, services: env.services },
    nonce: peer.nonce,
    userAgent: env.userAgent,
    startHeight: env.tipHeight,
    relay: true,
  })
}

const askHeaders = (hashes: readonly BlockHash[]): PeerEffect =>
  send({ type: 'getheaders', version: PROTOCOL_VERSION, hashes: hashes.slice(0, 101), stop: '00'.repeat(32) as BlockHash })

const receiveVersion = (peer: PeerState, message: VersionMessage, env: PeerEnv): PeerEffect[] => {
  if (peer.theirs !== undefined) return []
  if (env.isOwnNonce(message.nonce)) return close('connected to ourselves')
  if (message.version < MIN_PEER_VERSION) return close(`obsolete version ${message.version}`)
  peer.theirs = message
  const effects: PeerEffect[] = peer.saidVersion ? [] : [sayVersion(peer, env)]
  if (message.version >= WTXID_RELAY_VERSION) effects.push(send({ type: 'wtxidrelay' }))
  return [...effects, send({ type: 'verack' })]
}

const becomeReady = (peer: PeerState, env: PeerEnv): PeerEffect[] => {
  if (peer.ready || peer.theirs === undefined) return []
  peer.ready = true
  return [
    { to: 'owner', type: 'ready', version: peer.theirs },
    send({ type: 'sendheaders' }),
    send({ type: 'feefilter', feeratePerKvb: 1000n }),
    askHeaders(env.locator()),
    sendPing(peer, env),
  ]
}

const sendPing = (peer: PeerState, env: PeerEnv): PeerEffect => {
  const nonce = env.freshNonce()
  peer.ping = { nonce, sentAtMs: env.nowMs }
  peer.lastPingAtMs = env.nowMs
  return send({ type: 'ping', nonce })
}

const receive = (peer: PeerState, message: Message, env: PeerEnv): PeerEffect[] => {
  if (message.type === 'unknown') return []
  if (message.type === 'version') return receiveVersion(peer, message, env)
  if (peer.theirs === undefined) return close(`${message.type} before version`)
  if (message.type === 'verack') return becomeReady(peer, env)
  if (message.type === 'wtxidrelay') {
    if (peer.ready) return close('wtxidrelay after verack')
    if (peer.theirs.version >= WTXID_RELAY_VERSION) peer.wtxidRelay = true
    return []
  }
  if (!peer.ready) return []
  switch (message.type) {
    case 'ping':
      return [send({ type: 'pong', nonce: message.nonce })]
    case 'pong':
      if (peer.ping?.nonce === message.nonce) peer.ping = undefined
      return []
    case 'sendheaders':
      peer.wantsHeaders = true
      return []
    case 'feefilter':
      peer.feeFilterPerKvb = message.feeratePerKvb
      return []
    case 'inv':
      return receiveInv(peer, message.items, env)
    case 'headers':
      return receiveHeaders(peer, message.headers, env)
    case 'block':
      return [{ to: 'chain', type: 'takeBlock', block: message.block }]
    case 'tx':
      return receiveTx(peer, message.tx, env)
    case 'notfound':
      return receiveNotFound(peer, message.items, env)
    case 'getheaders':
      return [{ to: 'chain', type: 'serveHeaders', locator: message.hashes, stop: message.stop }]
    case 'getdata':
      return [{ to: 'chain', type: 'serveData', items: message.items }]
    case 'mempool':
      return [{ to: 'chain', type: 'serveMempool' }]
    default:
      return unreachable(message)
  }
}

const receiveInv = (peer: PeerState, items: readonly InvItem[], env: PeerEnv): PeerEffect[] => {
  const effects: PeerEffect[] = []
  const txKind = peer.wtxidRelay ? INV.wtx : INV.tx
  let newBlock = false
  for (const { kind, hash } of items) {
    if (kind === INV.block) newBlock ||= !env.hasHeader(hash as BlockHash)
    if (kind !== txKind) continue
    remember(peer.known, hash, MAX_KNOWN)
    if (env.hasTx(hash) || peer.requested.has(hash) || peer.announced.size >= MAX_ANNOUNCED) continue
    peer.announced.set(hash, kind)
  }
  if (newBlock) effects.push(askHeaders(env.locator()))
  return [...effects, ...requestTxs(peer, env)]
}

/** Asks for what it has announced, as far as it has answered before. */
const requestTxs = (peer: PeerState, env: PeerEnv): PeerEffect[] => {
  const items: InvItem[] = []
  for (const [hash, kind] of peer.announced) {
    if (peer.requested.size >= MAX_TX_REQUESTS) break
    peer.announced.delete(hash)
    if (env.hasTx(hash)) continue
    peer.requested.set(hash, env.nowMs)
    items.push({ kind: kind === INV.wtx ? INV.wtx : INV.witnessTx, hash })
  }
  return items.length === 0 ? [] : [send({ type: 'getdata', items })]
}

const receiveTx = (peer: PeerState, tx: Tx, env: PeerEnv): PeerEffect[] => {
  const id = peer.wtxidRelay ? wtxid(tx) : txid(tx)
  remember(peer.known, id, MAX_KNOWN)
  const asked = peer.requested.delete(id)
  const effects = requestTxs(peer, env)
  // What nobody asked for costs us a verification: once known it is not looked at again.
  return !asked && env.hasTx(id) ? effects : [{ to: 'chain', type: 'takeTx', tx }, ...effects]
}

const receiveNotFound = (peer: PeerState, items: readonly InvItem[], env: PeerEnv): PeerEffect[] => {
  const blocks: BlockHash[] = []
  for (const { kind, hash } of items) {
    if (kind === INV.block || kind === INV.witnessBlock) blocks.push(hash as BlockHash)
    else peer.requested.delete(hash)
  }
  const effects = requestTxs(peer, env)
  return blocks.length === 0 ? effects : [{ to: 'owner', type: 'blocksMissing', hashes: blocks }, ...effects]
}

const receiveHeaders = (peer: PeerState, headers: readonly BlockHeader[], env: PeerEnv): PeerEffect[] => {
  const [first] = headers
  if (first === undefined) return []
  if (!env.hasHeader(first.previousHash)) {
    peer.unconnecting++
    if (peer.unconnecting > MAX_UNCONNECTING_HEADERS) return close('headers that connect to nothing')
    return [askHeaders(env.locator())]
  }
  return [{ to: 'chain', type: 'takeHeaders', headers }]
}

const tellTip = (peer: PeerState, tip: BlockHash, headers: readonly BlockHeader[]): PeerEffect[] => {
  if (!peer.ready || peer.told === tip) return []
  peer.told = tip
  if (peer.wantsHeaders && headers.length > 0 && headers.length <= MAX_ANNOUNCED_HEADERS)
    return [send({ type: 'headers', headers })]
  return [send({ type: 'inv', items: [{ kind: INV.block, hash: tip }] })]
}

const noteTx = (peer: PeerState, tx: Tx, feeratePerKvb: bigint): PeerEffect[] => {
  if (!peer.ready || peer.theirs?.relay !== true || feeratePerKvb < peer.feeFilterPerKvb) return []
  const id = peer.wtxidRelay ? wtxid(tx) : txid(tx)
  if (!isRecent(peer.known, id) && peer.toTell.size < MAX_TO_TELL) peer.toTell.add(id)
  return []
}

/** Announces the transactions that have gathered: in one message, at the next tick, so that their origin is harder to see. */
const tellTxs = (peer: PeerState): PeerEffect[] => {
  const items: InvItem[] = []
  for (const hash of peer.toTell) {
    if (items.length >= MAX_INV_PER_MESSAGE) break
    peer.toTell.delete(hash)
    if (isRecent(peer.known, hash)) continue
    remember(peer.known, hash, MAX_KNOWN)
    items.push({ kind: peer.wtxidRelay ? INV.wtx : INV.tx, hash })
  }
  return items.length === 0 ? [] : [send({ type: 'inv', items })]
}

const tick = (peer: PeerState, env: PeerEnv): PeerEffect[] => {
  const { nowMs } = env
  if (!peer.ready) return nowMs - peer.startedAtMs > HANDSHAKE_TIMEOUT_MS ? close('no handshake') : []
  if (peer.ping !== undefined && nowMs - peer.ping.sentAtMs > PONG_TIMEOUT_MS) return close('no answer to a ping')
  for (const [hash, at] of peer.requested) if (nowMs - at > TX_REQUEST_TIMEOUT_MS) peer.requested.delete(hash)
  const effects = [...tellTxs(peer), ...requestTxs(peer, env)]
  if (peer.ping === undefined && nowMs - peer.lastPingAtMs >= PING_INTERVAL_MS) effects.push(sendPing(peer, env))
  return effects
}

/** Whether a list of headers is as long as one may be: then more are to be had. */
export const isFullList = (headers: readonly BlockHeader[]): boolean => headers.length === MAX_HEADERS
