/**
 * The public network as we know it: channels by short_channel_id, nodes by id, each with the raw message that announced it.
 * BOLT 7. Changed in place: 50,000 channels are not copied for one update. It holds no money; it is rebuilt from stored messages,
 * and what is lost of it the peers tell again. Each change is made here, since searches walk a copy in numbers that follows it (topology.ts).
 * Nothing here verifies a signature: validate.ts does, before.
 */
import type { BlockHeight, Msat, Outpoint, Sat } from '@leyden/bitcoin'
import {
  CHANNEL_FLAG_DIRECTION,
  CHANNEL_FLAG_DISABLE,
  type ChannelAnnouncement,
  type ChannelUpdate,
  decodeFeatures,
  type NodeAnnouncement,
  type NodeId,
  type ShortChannelId,
} from '@leyden/lnwire'
import { Topology } from './topology.ts'

/** 0: set by node 1 and used from node 1 to node 2. 1: the other way. BOLT 7 § The channel_update Message. */
export type Direction = 0 | 1

/** What one end asks for to forward over a channel. */
export interface Policy {
  /** Seconds since 1970. */
  readonly timestamp: number
  readonly enabled: boolean
  readonly cltvExpiryDelta: number
  readonly feeBaseMsat: number
  readonly feeProportionalMillionths: number
  readonly htlcMinimumMsat: Msat
  readonly htlcMaximumMsat: Msat
  /** The message as it came. */
  readonly raw: Uint8Array
}

export interface GraphChannel {
  readonly shortChannelId: ShortChannelId
  readonly node1: NodeId
  readonly node2: NodeId
  /** False when it requires a feature that we do not know: kept and relayed, never routed through. */
  readonly usable: boolean
  readonly raw: Uint8Array
  /** Unknown where the ledger could not answer. */
  readonly capacitySat?: Sat
  readonly outpoint?: Outpoint
  /** When we heard of it, seconds since 1970. */
  readonly heardAt: number
  readonly policies: readonly [Policy | undefined, Policy | undefined]
  /** The funding output was spent in this block: not routed through any more, forgotten 72 blocks later. */
  readonly spentAt: BlockHeight | undefined
  /** Budget of each direction for updates. */
  readonly rates: readonly [Rate, Rate]
  /** Its number in the topology. */
  readonly slot: number
}

/** A token bucket: `tokens` at second `at`. */
export interface Rate {
  tokens: number
  at: number
}

export interface GraphNode {
  readonly id: NodeId
  /** The channels that touch it, in no order. */
  readonly channels: ReadonlySet<GraphChannel>
  readonly announcement: { readonly message: NodeAnnouncement; readonly raw: Uint8Array } | undefined
  /** False when its announcement requires a feature that we do not know. */
  readonly usable: boolean
  /** Its number in the topology. */
  readonly index: number
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }
/** As this file alone sees them. */
type Channel = Writable<Omit<GraphChannel, 'policies'>> & { readonly policies: [Policy | undefined, Policy | undefined] }
type Node = Writable<Omit<GraphNode, 'channels'>> & { readonly channels: Set<Channel> }

export interface Graph {
  readonly channels: ReadonlyMap<ShortChannelId, GraphChannel>
  readonly nodes: ReadonlyMap<NodeId, GraphNode>
  readonly topology: Topology
  /** Ids in ascending order; undefined after a change, until it is asked for again. */
  sorted: readonly ShortChannelId[] | undefined
}

export const emptyGraph = (): Graph => ({ channels: new Map(), nodes: new Map(), topology: new Topology(), sorted: undefined })

const channelsOf = (graph: Graph) => graph.channels as Map<ShortChannelId, Channel>
const nodesOf = (graph: Graph) => graph.nodes as Map<NodeId, Node>

/** All ids, ascending. */
export const sortedIds = (graph: Graph): readonly ShortChannelId[] => {
  graph.sorted ??= [...graph.channels.keys()].toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  return graph.sorted
}

const nodeOf = (graph: Graph, id: NodeId): Node => {
  const known = nodesOf(graph).get(id)
  if (known !== undefined) return known
  const node: Node = { id, channels: new Set(), announcement: undefined, usable: true, index: graph.topology.addNode(id) }
  nodesOf(graph).set(id, node)
  return node
}

/** The most that an edge carries: what its end allows and, where we know it, what is in the channel. Msat. */
export const mostOver = (channel: Pick<GraphChannel, 'capacitySat'>, htlcMaximumMsat: bigint): bigint => {
  const capacityMsat = channel.capacitySat === undefined ? htlcMaximumMsat : channel.capacitySat * 1000n
  return capacityMsat < htlcMaximumMsat ? capacityMsat : htlcMaximumMsat
}

/** Brings the edge of that direction into the topology, or takes it out. */
const mirror = (graph: Graph, channel: Channel, direction: Direction): void => {
  const policy = channel.policies[direction]
  const from = graph.nodes.get(speakerOf(channel, direction))
  if (policy?.enabled !== true || !channel.usable || channel.spentAt !== undefined || from?.usable !== true)
    return graph.topology.remove(channel.slot, direction)
  graph.topology.put(channel.slot, direction, {
    cltvExpiryDelta: policy.cltvExpiryDelta,
    feeBaseMsat: policy.feeBaseMsat,
    feeProportionalMillionths: policy.feeProportionalMillionths,
    leastMsat: Number(policy.htlcMinimumMsat),
    mostMsat: Number(mostOver(channel, policy.htlcMaximumMsat)),
  })
}

/** How many updates one direction may send at once, and how long it takes to earn another. Restraint against floods. */
export const UPDATE_BURST = 12
export const UPDATE_INTERVAL_SECONDS = 60

/** Adds a channel that was verified. A channel that is known already stays as it is. */
export const applyAnnouncement = (
  graph: Graph,
  message: ChannelAnnouncement,
  raw: Uint8Array,
  found: { readonly capacitySat?: Sat; readonly outpoint?: Outpoint; readonly spentAt?: BlockHeight; readonly heardAt: number },
): GraphChannel => {
  const known = graph.channels.get(message.shortChannelId)
  if (known !== undefined) return known
  const [one, two] = [nodeOf(graph, message.nodeId1), nodeOf(graph, message.nodeId2)]
  const channel: Channel = {
    shortChannelId: message.shortChannelId,
    node1: message.nodeId1,
    node2: message.nodeId2,
    usable: decodeFeatures(message.features).unknownEven === undefined,
    raw: raw.slice(),
    ...(found.capacitySat === undefined ? {} : { capacitySat: found.capacitySat }),
    ...(found.outpoint === undefined ? {} : { outpoint: found.outpoint }),
    heardAt: found.heardAt,
    policies: [undefined, undefined],
    spentAt: found.spentAt,
    rates: [
      { tokens: UPDATE_BURST, at: found.heardAt },
      { tokens: UPDATE_BURST, at: found.heardAt },
    ],
    slot: graph.topology.addChannel(message.shortChannelId, one.index, two.index),
  }
  channelsOf(graph).set(channel.shortChannelId, channel)
  graph.sorted = undefined
  one.channels.add(channel)
  two.channels.add(channel)
  return channel
}

export const directionOf = (update: Pick<ChannelUpdate, 'channelFlags'>): Direction =>
  (update.channelFlags & CHANNEL_FLAG_DIRECTION) === 0 ? 0 : 1

/** The node that speaks in an update of that direction. */
export const speakerOf = (channel: Pick<GraphChannel, 'node1' | 'node2'>, direction: Direction): NodeId =>
  direction === 0 ? channel.node1 : channel.node2

export const policyOf = (update: ChannelUpdate, raw: Uint8Array): Policy => ({
  timestamp: update.timestamp,
  enabled: (update.channelFlags & CHANNEL_FLAG_DISABLE) === 0,
  cltvExpiryDelta: update.cltvExpiryDelta,
  feeBaseMsat: update.feeBaseMsat,
  feeProportionalMillionths: update.feeProportionalMillionths,
  htlcMinimumMsat: update.htlcMinimumMsat,
  htlcMaximumMsat: update.htlcMaximumMsat,
  raw: raw.slice(),
})

/** Takes over a verified update if it is newer; whether it was. */
export const applyUpdate = (graph: Graph, update: ChannelUpdate, raw: Uint8Array): boolean => {
  const channel = channelsOf(graph).get(update.shortChannelId)
  if (channel === undefined) return false
  const direction = directionOf(update)
  if ((channel.policies[direction]?.timestamp ?? 0) >= update.timestamp) return false
  channel.policies[direction] = policyOf(update, raw)
  mirror(graph, channel, direction)
  return true
}

/** The funding output was spent in a block, or after a reorganisation it was not. Gives the channel if that is news. */
export const applySpend = (graph: Graph, id: ShortChannelId, spentAt: BlockHeight | undefined): GraphChannel | undefined => {
  const channel = channelsOf(graph).get(id)
  if (channel === undefined || channel.spentAt === spentAt) return undefined
  channel.spentAt = spentAt
  mirror(graph, channel, 0)
  mirror(graph, channel, 1)
  return channel
}

/** Takes over a verified node announcement if it is newer and the node has a channel; whether it did. */
export const applyNode = (graph: Graph, message: NodeAnnouncement, raw: Uint8Array): boolean => {
  const node = nodesOf(graph).get(message.nodeId)
  if (node === undefined || (node.announcement?.message.timestamp ?? 0) >= message.timestamp) return false
  node.announcement = { message, raw: raw.slice() }
  const usable = decodeFeatures(message.features).unknownEven === undefined
  if (node.usable === usable) return true
  node.usable = usable
  for (const channel of node.channels) mirror(graph, channel, channel.node1 === node.id ? 0 : 1)
  return true
}

/** Forgets a channel, and nodes that have none left. Gives what was forgotten. */
export const removeChannel = (
  graph: Graph,
  id: ShortChannelId,
): { readonly channel: GraphChannel; readonly nodes: readonly NodeId[] } | undefined => {
  const channel = channelsOf(graph).get(id)
  if (channel === undefined) return undefined
  channelsOf(graph).delete(id)
  graph.topology.removeChannel(channel.slot)
  graph.sorted = undefined
  const gone: NodeId[] = []
  for (const nodeId of [channel.node1, channel.node2]) {
    const node = nodesOf(graph).get(nodeId)
    node?.channels.delete(channel)
    if (node?.channels.size !== 0) continue
    nodesOf(graph).delete(nodeId)
    graph.topology.removeNode(node.index)
    gone.push(nodeId)
  }
  return { channel, nodes: gone }
}

/** Takes a token if there is one. A bucket holds `burst` tokens and earns one every `intervalSeconds`. */
export const takeToken = (rate: Rate, now: number, burst: number, intervalSeconds: number): boolean => {
  const earned = Math.max(now - rate.at, 0) / intervalSeconds
  rate.tokens = Math.min(burst, rate.tokens + earned)
  rate.at = now
  if (rate.tokens < 1) return false
  rate.tokens -= 1
  return true
}
