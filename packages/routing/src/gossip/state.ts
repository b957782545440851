/**
 * The gossip machine's state, inputs and effects. BOLT 7.
 * Unlike the machines that hold money this one is changed in place, and is stepped outside of the driver's jobs: its `rows` are written
 * by a job of their own afterwards. A row that was lost is told again by a peer or, if ours, signed again.
 * Whatever a peer can make grow has a bound here (S59).
 */
import type { BlockHeight, Outpoint, Sat } from '@leyden/bitcoin'
import type {
  ChannelAnnouncement,
  ChannelId,
  ChannelUpdate,
  Message,
  NodeAnnouncement,
  NodeId,
  ShortChannelId,
} from '@leyden/lnwire'
import type { NodeInfo, OwnPolicy, SignNode } from './announce.ts'
import { emptyGraph, type Direction, type Graph, type Policy, type Rate } from './graph.ts'
import type { GossipViolation } from './validate.ts'

export interface GossipLimits {
  /** Announcements that wait for the ledger's answer. */
  readonly maxPending: number
  /** Node announcements that wait for a pending channel. */
  readonly maxHeldNodes: number
  /** Ids that we still want to ask one peer for. */
  readonly maxWanted: number
  /** Ids in one query of ours. */
  readonly queryBatch: number
  /** Ids that were refused or had no funding: not asked for again. */
  readonly maxRefused: number
  /** Messages that go to one peer in one step. */
  readonly sendChunk: number
  /** Messages that one peer may be sent: at once, and per second in the long run (S56, S61). */
  readonly sendBurst: number
  readonly sendPerSecond: number
  /** Relayed messages that wait for one peer. */
  readonly maxRelay: number
  /** A peer that has not answered a query for so long is not asked any more. */
  readonly queryTimeoutSeconds: number
  /** Peers whose gossip we subscribe to. */
  readonly syncPeers: number
  /** Relayed gossip is sent in batches this far apart. BOLT 7 § Rebroadcasting: 60 seconds. */
  readonly flushSeconds: number
  /** BOLT 7 § Pruning the Network View. */
  readonly staleSeconds: number
  /** Updates further in the future are dropped. */
  readonly futureSeconds: number
  /** Our own updates are signed again at this age. */
  readonly refreshSeconds: number
  /** A spent channel is forgotten after so many blocks. */
  readonly forgetBlocks: number
}

export const DEFAULT_LIMITS: GossipLimits = {
  maxPending: 2000,
  maxHeldNodes: 2000,
  maxWanted: 100_000,
  queryBatch: 500,
  maxRefused: 20_000,
  sendChunk: 500,
  sendBurst: 200_000,
  sendPerSecond: 500,
  maxRelay: 20_000,
  queryTimeoutSeconds: 60,
  syncPeers: 5,
  flushSeconds: 60,
  staleSeconds: 1_209_600,
  futureSeconds: 86_400,
  refreshSeconds: 6 * 86_400,
  forgetBlocks: 72,
}

export interface GossipEnv {
  /** 32 bytes, internal order. */
  readonly chainHash: Uint8Array
  readonly localNodeId: NodeId
  /** Seconds since 1970. */
  readonly now: number
  readonly height: BlockHeight
  readonly sign: SignNode
  /** Accept channels whose funding output the ledger cannot look up. For test networks whose every node is known. */
  readonly acceptUnverified: boolean
  readonly limits: GossipLimits
}

/** A channel of ours, public or not. */
export interface OwnChannel {
  readonly channelId: ChannelId
  readonly remoteNodeId: NodeId
  readonly capacitySat: Sat
  /** The real one, when confirmed. */
  readonly shortChannelId?: ShortChannelId
  /** What the remote calls the channel when it forwards to us; what we put into invoices. */
  readonly remoteAlias?: ShortChannelId
  readonly localAlias: ShortChannelId
  readonly policy: OwnPolicy
}

/** What we keep of it. */
export interface OwnState extends OwnChannel {
  /** The last update that we signed. */
  readonly localUpdate?: { readonly message: ChannelUpdate; readonly raw: Uint8Array }
  /** What the remote asks for to forward to us. */
  readonly remotePolicy?: Policy
  readonly announced: boolean
}

/** A message to be sent when its turn comes: looked up then, so that only the latest version leaves. */
export type Item =
  | { readonly kind: 'announcement'; readonly id: ShortChannelId }
  | { readonly kind: 'update'; readonly id: ShortChannelId; readonly direction: Direction }
  | { readonly kind: 'node'; readonly id: NodeId }

/** Messages on their way to a peer. */
export interface Stream {
  /** Ids of channels (all that belongs to each), or single items. */
  readonly items: readonly (Item | ShortChannelId)[]
  at: number
  /** Node announcements that this stream has sent. */
  readonly nodes: Set<NodeId>
  /** Only what lies in the peer's filter. */
  readonly filtered: boolean
}

export interface GossipPeer {
  readonly id: NodeId
  /** It offered gossip_queries: it can be asked. */
  readonly queries: boolean
  /** What it asked to be sent; nothing until it asks. */
  filter: { readonly first: number; readonly end: number } | undefined
  /** We take gossip from it. */
  readonly subscribed: boolean
  /** Answer to its query_short_channel_ids. One at a time (S61). */
  answer: Stream | undefined
  /** What its filter lets through of the past. */
  backlog: Stream | undefined
  /** New gossip, from the last flush. */
  relay: Stream | undefined
  readonly rate: Rate
  /** Its own queries. */
  readonly queryRate: Rate
  /** Our query_channel_range. `next` is the first block of the next reply at least. */
  range: { readonly end: number; next: number; readonly at: number } | undefined
  /** Our query_short_channel_ids. */
  asked: { readonly at: number } | undefined
  readonly wanted: Set<ShortChannelId>
  /** It let a query of ours time out. */
  deaf: boolean
}

/** An announcement whose signatures are right, and whose funding output the ledger looks for. */
export interface Pending {
  readonly message: ChannelAnnouncement
  readonly raw: Uint8Array
  readonly peer: NodeId
  readonly updates: [Held | undefined, Held | undefined]
  /** We have not seen enough blocks yet: the ledger is asked at this height. Undefined: it has been asked. */
  askAt: number | undefined
}
export interface Held {
  readonly message: ChannelUpdate
  readonly raw: Uint8Array
  readonly peer: NodeId
}

export interface Gossip {
  readonly graph: Graph
  readonly peers: Map<NodeId, GossipPeer>
  readonly pending: Map<ShortChannelId, Pending>
  readonly heldNodes: Map<NodeId, { readonly message: NodeAnnouncement; readonly raw: Uint8Array; readonly peer: NodeId }>
  /** Ids without a funding output, oldest first. */
  readonly refused: Set<ShortChannelId>
  readonly own: Map<ChannelId, OwnState>
  nodeInfo: NodeInfo | undefined
  localNode: { readonly message: NodeAnnouncement; readonly raw: Uint8Array } | undefined
  /** What changed since the last flush, and who told us. */
  readonly fresh: Map<string, { readonly item: Item; readonly from: NodeId | undefined }>
  lastFlush: number
  lastPrune: number
}

export const emptyGossip = (): Gossip => ({
  graph: emptyGraph(),
  peers: new Map(),
  pending: new Map(),
  heldNodes: new Map(),
  refused: new Set(),
  own: new Map(),
  nodeInfo: undefined,
  localNode: undefined,
  fresh: new Map(),
  lastFlush: 0,
  lastPrune: 0,
})

/** A row of the store, under the prefix of the owner's choice; `value` undefined deletes it. */
export interface GossipRow {
  readonly suffix: string
  readonly value: Uint8Array | undefined
}

/** The messages that belong here. */
export type GossipMessage = Extract<
  Message,
  {
    readonly type:
      | 'channel_announcement'
      | 'channel_update'
      | 'node_announcement'
      | 'query_short_channel_ids'
      | 'reply_short_channel_ids_end'
      | 'query_channel_range'
      | 'reply_channel_range'
      | 'gossip_timestamp_filter'
  }
>

export type GossipInput =
  /** Init is exchanged. `queries`: the peer offers gossip_queries. */
  | { readonly from: 'peer'; readonly type: 'connected'; readonly peer: NodeId; readonly queries: boolean }
  | { readonly from: 'peer'; readonly type: 'disconnected'; readonly peer: NodeId }
  /** `raw` is the message as received, type first. */
  | {
      readonly from: 'peer'
      readonly type: 'message'
      readonly peer: NodeId
      readonly message: GossipMessage
      readonly raw: Uint8Array
    }
  /** What was sent before has left: there is room for more. Ticks do it too. */
  | { readonly from: 'peer'; readonly type: 'writable'; readonly peer: NodeId }
  /** Answers `lookupFunding`. `output` is the unspent output at that place, if there is one; `unknown`: the ledger has no index of it. */
  | {
      readonly from: 'chain'
      readonly type: 'funding'
      readonly shortChannelId: ShortChannelId
      readonly found: FundingLookup
    }
  | {
      readonly from: 'chain'
      readonly type: 'fundingSpent'
      readonly shortChannelId: ShortChannelId
      readonly height: BlockHeight
    }
  /** A reorganisation took the spend out again. */
  | { readonly from: 'chain'; readonly type: 'fundingUnspent'; readonly shortChannelId: ShortChannelId }
  | { readonly from: 'owner'; readonly type: 'nodeInfo'; readonly info: NodeInfo }
  /** A channel of ours is usable, or its policy, capacity or ids have changed. */
  | { readonly from: 'owner'; readonly type: 'ownChannel'; readonly channel: OwnChannel }
  | { readonly from: 'owner'; readonly type: 'ownChannelClosed'; readonly channelId: ChannelId }
  /** Both sides' announcement_signatures are here and the funding transaction is deep enough. */
  | {
      readonly from: 'owner'
      readonly type: 'announce'
      readonly channelId: ChannelId
      readonly shortChannelId: ShortChannelId
      readonly outpoint: Outpoint
      readonly local: SideSignatures
      readonly remote: SideSignatures
    }
  /** At least once a second. */
  | { readonly from: 'clock'; readonly type: 'tick' }

export type FundingLookup =
  | {
      readonly status: 'unspent'
      readonly outpoint: Outpoint
      readonly scriptPubKey: Uint8Array
      readonly valueSat: Sat
      readonly confirmations: number
    }
  | { readonly status: 'missing' | 'unknown' }

export interface SideSignatures {
  readonly bitcoinKey: Uint8Array
  readonly nodeSignature: Uint8Array
  readonly bitcoinSignature: Uint8Array
}

export type GossipEffect =
  | { readonly to: 'peer'; readonly type: 'send'; readonly peer: NodeId; readonly raw: Uint8Array }
  /** Send a warning; close the connection too if `close`. */
  | {
      readonly to: 'peer'
      readonly type: 'warn'
      readonly peer: NodeId
      readonly violation: GossipViolation
      readonly close: boolean
    }
  | { readonly to: 'store'; readonly type: 'rows'; readonly rows: readonly GossipRow[] }
  /** Find the output at this place of the chain, answer `funding`. */
  | { readonly to: 'chain'; readonly type: 'lookupFunding'; readonly shortChannelId: ShortChannelId }
  /** Tell `fundingSpent` when it is spent. Repeated by `resume`. */
  | { readonly to: 'chain'; readonly type: 'watch'; readonly shortChannelId: ShortChannelId; readonly outpoint: Outpoint }
  | { readonly to: 'chain'; readonly type: 'unwatch'; readonly outpoint: Outpoint }
  | { readonly to: 'owner'; readonly type: 'graphChanged' }
  /** The remote of a channel of ours has said what it asks for. */
  | { readonly to: 'owner'; readonly type: 'remotePolicy'; readonly channelId: ChannelId; readonly policy: Policy }
