/**
 * All peers of a node as one machine: what the parts share, and the ports through which they see chain, mempool, clock and chance.
 * Sans I/O: inputs are connections, messages and the answers of chain and mempool; effects are messages, closes and questions.
 * Who does what: handshake.ts, keepalive.ts, header-sync.ts, download.ts, block-relay.ts, tx-download.ts, tx-announce.ts,
 * address-relay.ts, outbound-eviction.ts; the order of things is in step.ts.
 */
import type { Block, BlockHash, BlockHeader, Tx, Txid, Wtxid } from '@leyden/bitcoin'
import type { Addrman } from './addrman.ts'
import type { BanList } from './ban.ts'
import type { FilterQuery } from './filter-relay.ts'
import type { Outgoing } from './message.ts'
import type { Endpoint, TimedAddress } from './net-address.ts'
import { createOrphanage, type Orphanage } from './orphanage.ts'
import { may, type ChainEntry, type PeerState } from './peer.ts'
import { createRecentFilter, type Recent } from './recent.ts'
import { createTxRequests, type TxRequests } from './tx-request.ts'

/** Headers that broke a rule, with Bitcoin Core's reason. */
export type HeadersRefusal = { readonly reason: string }

/** The chain, as far as peers are concerned. Every answer is at once. */
export interface ChainPort {
  readonly minimumWork: bigint
  /** Seconds between blocks. */
  readonly spacing: number
  find(hash: BlockHash): ChainEntry | undefined
  tip(): ChainEntry
  /** The header with the most work. */
  bestHeader(): ChainEntry
  isActive(entry: ChainEntry): boolean
  activeAt(height: number): ChainEntry | undefined
  ancestor(entry: ChainEntry, height: number): ChainEntry | undefined
  fork(a: ChainEntry, b: ChainEntry): ChainEntry
  locator(entry: ChainEntry): BlockHash[]
  /** Its body is here, whether or not those below are. */
  hasBody(entry: ChainEntry): boolean
  /** Its body is here and can be read again. */
  canServe(entry: ChainEntry): boolean
  /** Its body and those of all below have been here; they may have been pruned since. */
  isComplete(entry: ChainEntry): boolean
  isInvalid(entry: ChainEntry): boolean
  /** Far behind: transactions make no sense yet. */
  isInitialDownload(): boolean
  /** Whether more blocks may be given to the chain before it has answered for those it has. */
  hasRoom(): boolean
  /** Expected hashes for a header. */
  workOf(header: BlockHeader): bigint
  meetsTarget(header: BlockHeader): boolean
  /** Whether difficulty may go from these bits to those at a height. */
  mayFollow(height: number, before: number, bits: number): boolean
  /** Seconds. */
  medianTime(entry: ChainEntry): number
  submitHeaders(headers: readonly BlockHeader[]): ChainEntry | HeadersRefusal
  /** Why a block's body is not the one of its header; undefined when it is. */
  mutation(block: Block, parent: ChainEntry): string | undefined
}

export type PoolTx = {
  readonly tx: Tx
  readonly txid: Txid
  readonly wtxid: Wtxid
  readonly fee: bigint
  readonly vsize: number
  /** 0: it was in a block before, so there is nothing to hide of when it came. */
  readonly sequence?: number
}

/** The mempool, as far as peers are concerned. */
export interface PoolPort {
  byTxid(id: string): PoolTx | undefined
  byWtxid(id: string): PoolTx | undefined
  all(): readonly PoolTx[]
  /** For the order of announcements: fewest ancestors first, then the better paid. */
  compare(a: PoolTx, b: PoolTx): number
  /** Satoshi per 1000 virtual bytes that a newcomer has to pay, and below which nothing is relayed. */
  minFeeratePerKvb(): number
  minRelayFeeratePerKvb(): number
  /** A peer has asked for it: it need not be announced again. */
  spread(id: Txid): void
}

export type PeeringSettings = {
  readonly services: bigint
  readonly userAgent: string
  /** Relay no transactions of peers without the relay permission. */
  readonly blocksOnly: boolean
  /** Seconds without a handshake or traffic after which a connection ends. */
  readonly peerTimeout: number
  readonly maxOrphans: number
  /** Where others find us; undefined when nowhere. */
  readonly ownAddress: Endpoint | undefined
  /** Outbound connections that are kept, and addresses of the book used for them. */
  readonly usesAddressBook: boolean
}

export type PeeringPorts = {
  readonly chain: ChainPort
  readonly pool: PoolPort
  /** Milliseconds since 1970; a test may set it. */
  readonly now: () => number
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** 64 bits that nobody can guess. */
  readonly freshNonce: () => bigint
  /** Under a key that only this node has. */
  readonly keyedHash: (text: string) => bigint
  readonly addrman: Addrman
  readonly bans: BanList
  /** Bytes of blocks and all else that may still be uploaded today are used up. `historical`: kept for new blocks. */
  readonly uploadTargetReached: (historical: boolean) => boolean
}

/** What a judged transaction turned out to be. `kind` as in @leyden/ledger's Rejection; `stripped`: its witness is missing. */
export type TxVerdict = {
  readonly tx: Tx
  readonly accepted: boolean
  readonly kind?: 'consensus' | 'policy' | 'conflict' | 'missing' | 'premature' | 'fee' | 'stripped' | 'inputs'
  readonly reason?: string
}

/** Why the mempool judges: what a peer sent, an orphan whose parent came, or a parent with the child that pays for it. */
export type TxJob = { readonly purpose: 'relay' | 'orphan' | 'package'; readonly senders: readonly number[] }

export type Effect =
  | { readonly type: 'send'; readonly peer: number; readonly message: Outgoing }
  | { readonly type: 'close'; readonly peer: number; readonly reason: string }
  | { readonly type: 'log'; readonly level: 'debug' | 'info' | 'warn'; readonly text: string }
  /** Answered by `blockTaken`. */
  | { readonly type: 'takeBlock'; readonly peer: number; readonly block: Block }
  /** Answered by `transactionsTaken`. */
  | { readonly type: 'takeTransactions'; readonly peer: number; readonly transactions: readonly Tx[]; readonly job: TxJob }
  /** Answered by `blockRead`. */
  | { readonly type: 'readBlock'; readonly peer: number; readonly hash: BlockHash; readonly witness: boolean }
  /** Answered by `filtersRead`. */
  | { readonly type: 'readFilters'; readonly peer: number; readonly query: FilterQuery }

export type Peering = {
  readonly ports: PeeringPorts
  readonly settings: PeeringSettings
  readonly peers: Map<number, PeerState>
  effects: Effect[]
  readonly requests: TxRequests
  readonly orphanage: Orphanage
  /** Transactions not taken, until the tip moves; those that more fee would help are apart, with packages that failed. */
  readonly rejects: Recent
  readonly reconsiderable: Recent
  readonly confirmed: Recent
  /** Which peer a block was asked of. */
  readonly blocksInFlight: Map<BlockHash, number>
  /** Given to the chain, which has not answered. */
  readonly blocksTaking: Set<BlockHash>
  stallingTimeout: number
  /** Milliseconds. */
  lastTipAt: number
  lastTip: ChainEntry
  staleCheckAt: number
  evictionCheckAt: number
  /** One outbound connection more than usual may be made: the tip has not moved for long. */
  wantsExtraOutbound: boolean
  initialSyncDone: boolean
  nextInvToInboundsAt: number
  lastInvThatAsked: BlockHash | undefined
  protectedOutbound: number
  /** How many transactions have entered the pool, and when each did. */
  poolSequence: number
  readonly sequences: WeakMap<Tx, number>
  /** Of the newest block: still given to who asks. */
  recentTransactions: ReadonlyMap<string, Tx>
  /** Answers to getaddr, by the network that asks. */
  readonly addressCache: Map<string, { readonly addresses: readonly TimedAddress[]; readonly until: number }>
}

const MAX_REJECTS = 120_000
const MAX_CONFIRMED = 48_000
export const STALLING_TIMEOUT_MS = 2000

export const createPeering = (ports: PeeringPorts, settings: PeeringSettings): Peering => ({
  ports,
  settings,
  peers: new Map(),
  effects: [],
  requests: createTxRequests(ports.random),
  orphanage: createOrphanage(settings.maxOrphans),
  rejects: createRecentFilter(MAX_REJECTS, ports.random),
  reconsiderable: createRecentFilter(MAX_REJECTS, ports.random),
  confirmed: createRecentFilter(MAX_CONFIRMED, ports.random),
  blocksInFlight: new Map(),
  blocksTaking: new Set(),
  stallingTimeout: STALLING_TIMEOUT_MS,
  lastTipAt: 0,
  lastTip: ports.chain.tip(),
  staleCheckAt: 0,
  evictionCheckAt: 0,
  wantsExtraOutbound: false,
  initialSyncDone: false,
  nextInvToInboundsAt: 0,
  lastInvThatAsked: undefined,
  protectedOutbound: 0,
  poolSequence: 1,
  sequences: new WeakMap(),
  recentTransactions: new Map(),
  addressCache: new Map(),
})

export const send = (peering: Peering, peer: PeerState, message: Outgoing): void => {
  if (!peer.closing) peering.effects.push({ type: 'send', peer: peer.id, message })
}

export const note = (peering: Peering, text: string, level: 'debug' | 'info' | 'warn' = 'debug'): void =>
  void peering.effects.push({ type: 'log', level, text })

/** Ends the connection once what was sent has left. */
export const close = (peering: Peering, peer: PeerState, reason: string): void => {
  if (peer.closing) return
  peer.closing = true
  peering.effects.push({ type: 'close', peer: peer.id, reason })
}

/** It broke a rule: at the next turn it is closed, unless the operator protects it. */
export const misbehaving = (peering: Peering, peer: PeerState, reason = ''): void => {
  peer.misbehaved = true
  note(peering, `Misbehaving: peer=${peer.id}${reason === '' ? '' : `: ${reason}`}`)
}

/** A delay of this mean, so distributed that the past tells nothing of the next. */
export const randomDelay = ({ ports }: Peering, averageMs: number): number => -averageMs * Math.log1p(-ports.random())

/** Whether it may send us transactions. */
export const refusesTransactions = ({ settings }: Peering, peer: PeerState): boolean =>
  peer.type === 'block-relay-only' || peer.type === 'feeler' || (settings.blocksOnly && !may(peer, 'relay'))
