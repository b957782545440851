/**
 * What is known of one connection, and what it may do. Bitcoin Core net.h (connection types, permissions), net_processing.cpp (Peer,
 * CNodeState). The fields belong to the machine of peering.ts and its parts: nobody else writes them.
 * Every collection here has a cap at the place that fills it (CVE-2018-17145).
 */
import type { BlockHash, BlockHeader } from '@leyden/bitcoin'
import type { InvItem, Version } from './message.ts'
import type { Endpoint, TimedAddress } from './net-address.ts'
import type { Presync } from './presync.ts'
import { createRecentFilter, type Recent } from './recent.ts'

export type ConnectionType = 'inbound' | 'outbound-full-relay' | 'manual' | 'feeler' | 'block-relay-only' | 'addr-fetch'

/** What the operator grants. In Bitcoin Core's order. */
export const PERMISSIONS = ['bloomfilter', 'noban', 'forcerelay', 'relay', 'mempool', 'download', 'addr'] as const
export type Permission = (typeof PERMISSIONS)[number]

/** A header in the tree and what follows from its place. The tree's own entries have more. */
export type ChainEntry = {
  readonly hash: BlockHash
  readonly header: BlockHeader
  readonly height: number
  readonly chainWork: bigint
  readonly parent: ChainEntry | undefined
}

/** Transactions in both directions; a connection for blocks alone has none. */
export type TxRelay = {
  /** False: it wants to hear of none. */
  relays: boolean
  /** What it has, or has been told of, by the id that we use with it. */
  readonly known: Recent
  /** To be announced to it. */
  readonly toSend: Set<string>
  wantsMempool: boolean
  /** Milliseconds, 0 before the first. */
  nextInvAt: number
  /** What entered the pool later is not given: nobody may learn from us when we learnt of it. */
  lastInvSequence: number
  feeFilterPerKvb: bigint
}

export type AddressRelay = {
  readonly known: Recent
  toSend: TimedAddress[]
  nextSendAt: number
  nextOwnAt: number
}

export type PeerState = {
  readonly id: number
  readonly type: ConnectionType
  readonly permissions: ReadonlySet<Permission>
  /** Where it is; undefined when it was dialled by name through something that hides it. */
  readonly endpoint: Endpoint | undefined
  /** As it was dialled or accepted, for logs. */
  readonly name: string
  readonly nonce: bigint
  readonly connectedAt: number
  readonly ourServices: bigint
  /** Our end of the connection. */
  readonly local: string
  /** Discouraged when it came: first to give way. */
  readonly preferEvict: boolean

  theirs: Version | undefined
  services: bigint
  commonVersion: number
  ready: boolean
  closing: boolean
  misbehaved: boolean
  wtxidRelay: boolean
  wantsAddrV2: boolean
  timeOffset: number
  highBandwidthFrom: boolean

  /** Milliseconds; `nonce` 0 when no answer is awaited. */
  readonly ping: { nonce: bigint; startedAt: number; queued: boolean; last: number | undefined; least: number | undefined }

  wantsHeaders: boolean
  saidSendHeaders: boolean
  syncStarted: boolean
  headersDeadline: number
  askedHeadersAt: number
  invAskedHeaders: boolean
  preferredDownload: boolean
  presync: Presync | undefined
  /** The best of its chain that we know. */
  best: ChainEntry | undefined
  /** It has announced this block, whose header we do not have. */
  lastUnknown: BlockHash | undefined
  /** The best header that we have sent it. */
  bestSent: ChainEntry | undefined
  /** Up to here its chain is ours or stored. */
  lastCommon: ChainEntry | undefined
  /** Asked of it, oldest first. */
  readonly inFlight: Map<BlockHash, ChainEntry>
  downloadingSince: number
  /** Since when it alone holds up the window, 0 for not. */
  stallingSince: number
  /** To be announced by headers, or by inv. */
  toAnnounce: BlockHash[]
  toInv: BlockHash[]
  continuation: BlockHash | undefined
  lastAnnouncementAt: number
  readonly chainSync: { deadline: number; header: ChainEntry | undefined; asked: boolean; isProtected: boolean }
  lastBlockAt: number
  lastTransactionAt: number

  txRelay: TxRelay | undefined
  feeFilterSent: bigint
  nextFeeFilterAt: number
  addressRelay: AddressRelay | undefined
  saidGetAddr: boolean
  gotGetAddr: boolean
  addressTokens: number
  tokensAt: number
  addressesProcessed: number
  addressesLimited: number

  /** Asked for by it and not yet served. */
  getdata: InvItem[]
  /** It does not read what we send: it is served nothing until it does. */
  sendPaused: boolean
  /** Answers of chain and mempool that its next message has to wait for. */
  pending: number
  /** Blocks of its that are being taken. */
  blocksPending: number
}

export type PeerOptions = Pick<
  PeerState,
  'id' | 'type' | 'permissions' | 'endpoint' | 'name' | 'nonce' | 'connectedAt' | 'ourServices' | 'preferEvict' | 'local'
>

export const createPeer = (options: PeerOptions): PeerState => ({
  ...options,
  theirs: undefined,
  services: 0n,
  commonVersion: 0,
  ready: false,
  closing: false,
  misbehaved: false,
  wtxidRelay: false,
  wantsAddrV2: false,
  timeOffset: 0,
  highBandwidthFrom: false,
  ping: { nonce: 0n, startedAt: 0, queued: false, last: undefined, least: undefined },
  wantsHeaders: false,
  saidSendHeaders: false,
  syncStarted: false,
  headersDeadline: 0,
  askedHeadersAt: 0,
  invAskedHeaders: false,
  preferredDownload: false,
  presync: undefined,
  best: undefined,
  lastUnknown: undefined,
  bestSent: undefined,
  lastCommon: undefined,
  inFlight: new Map(),
  downloadingSince: 0,
  stallingSince: 0,
  toAnnounce: [],
  toInv: [],
  continuation: undefined,
  lastAnnouncementAt: 0,
  chainSync: { deadline: 0, header: undefined, asked: false, isProtected: false },
  lastBlockAt: 0,
  lastTransactionAt: 0,
  txRelay: undefined,
  feeFilterSent: 0n,
  nextFeeFilterAt: 0,
  addressRelay: undefined,
  saidGetAddr: false,
  gotGetAddr: false,
  addressTokens: 1,
  tokensAt: options.connectedAt,
  addressesProcessed: 0,
  addressesLimited: 0,
  getdata: [],
  sendPaused: false,
  pending: 0,
  blocksPending: 0,
})

const MAX_KNOWN_TRANSACTIONS = 50_000
const MAX_KNOWN_ADDRESSES = 5000

export const createTxRelay = (relays: boolean, random: () => number): TxRelay => ({
  relays,
  known: createRecentFilter(MAX_KNOWN_TRANSACTIONS, random),
  toSend: new Set(),
  wantsMempool: false,
  nextInvAt: 0,
  lastInvSequence: 1,
  feeFilterPerKvb: 0n,
})

export const createAddressRelay = (random: () => number): AddressRelay => ({
  known: createRecentFilter(MAX_KNOWN_ADDRESSES, random),
  toSend: [],
  nextSendAt: 0,
  nextOwnAt: 0,
})

export const isInbound = ({ type }: PeerState): boolean => type === 'inbound'
/** Chosen by us, and so to be given up when it is of no use; a manual one is the operator's. */
export const isOutboundOrBlockRelay = ({ type }: PeerState): boolean =>
  type === 'outbound-full-relay' || type === 'block-relay-only'
export const may = ({ permissions }: PeerState, permission: Permission): boolean => permissions.has(permission)
