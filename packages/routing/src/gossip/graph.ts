/**
 * The public network as we know it: channels by short_channel_id, nodes by id, each with the raw message that announced it.
 * BOLT 7. Changed in place: 50,000 channels are not copied for one update. It holds no money; it is rebuilt from stored messages,
 * and what is lost of it the peers tell again. Each change is made here, since searches walk a copy in numbers that follows it (topology.ts).
 * Nothing here verifies a signature: validate.ts does, before. Raw messages are kept as they are given, not copied.
 */
import type { BlockHeight, Msat, Outpoint, Sat } from '@leyden/bitcoin'
import { decode } from '@leyden/codec'
import {
  CHANNEL_FLAG_DIRECTION,
  CHANNEL_FLAG_DISABLE,
  type ChannelAnnouncement,
  type ChannelUpdate,
  decodeFeatures,
  nodeAnnouncement,
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
  readonly capacitySat: Sat | undefined
  readonly outpoint: Outpoint | undefined
  /** When we heard of it, seconds since 1970. */
  readonly heardAt: number
  readonly policies: readonly [Policy | undefined, Policy | undefined]
  /** The funding output was spent in this block: not routed through any more, forgotten 72 blocks later. */
  readonly spentAt: BlockHeight | undefined
  /** Budget of each direction for updates, once one has come: see `rateOf`. */
  readonly rates: readonly [Rate, Rate] | undefined
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
  readonly channels: readonly GraphChannel[]
  /** What it says of itself, as it came: see `announcedNode`. */
  readonly announcement: { readonly timestamp: number; readonly raw: Uint8Array } | undefined
  /** False when its announcement requires a feature that we do not know. */
  readonly usable: boolean
  /** Its number in the topology. */
  readonly index: number
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }
/** As this file alone sees them. */
type Channel = Writable<Omit<GraphChannel, 'policies'>> & { readonly policies: [Policy | undefined, Policy | undefined] }
type Node = Writable<Omit<GraphNode, 'channels'>> & { readonly channels: Channel[] }

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
  const node: Node = { id, channels: [], announcement: undefined, usable: true, index: graph.topology.addNode(id) }
  nodesOf(graph).set(id, node)
  return node
}

/** No feature that has to be known is unknown. */
const isUsable = (features: Uint8Array): boolean => features.length === 0 || decodeFeatures(features).unknownEven === undefined

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

/** What the graph takes of messages. Stored ones are read for no more than this. */
export type AnnouncedChannel = Pick<ChannelAnnouncement, 'features' | 'shortChannelId' | 'nodeId1' | 'nodeId2'>
export type AnnouncedPolicy = Omit<ChannelUpdate, 'type' | 'signature' | 'chainHash' | 'messageFlags'>
export type AnnouncedNode = Pick<NodeAnnouncement, 'features' | 'timestamp' | 'nodeId'>

/** The bucket of a direction. Most channels are quiet: it is made when it is asked for. */
export const rateOf = (graph: Graph, id: ShortChannelId, direction: Direction): Rate => {
  const channel = channelsOf(graph).get(id)
  if (channel === undefined) throw new RangeError(`no channel ${id}`)
  const full = (): Rate => ({ tokens: UPDATE_BURST, at: channel.heardAt })
  channel.rates ??= [full(), full()]
  return channel.rates[direction]
}

/** Adds a channel that was verified. A channel that is known already stays as it is. */
export const applyAnnouncement = (
  graph: Graph,
  message: AnnouncedChannel,
  raw: Uint8Array,
  found: {
    readonly capacitySat?: Sat | undefined
    readonly outpoint?: Outpoint | undefined
    readonly spentAt?: BlockHeight | undefined
    readonly heardAt: number
  },
): GraphChannel => {
  const known = graph.channels.get(message.shortChannelId)
  if (known !== undefined) return known
  const [one, two] = [nodeOf(graph, message.nodeId1), nodeOf(graph, message.nodeId2)]
  const channel: Channel = {
    shortChannelId: message.shortChannelId,
    // one text for all channels of a node
    node1: one.id,
    node2: two.id,
    usable: isUsable(message.features),
    raw,
    capacitySat: found.capacitySat,
    outpoint: found.outpoint,
    heardAt: found.heardAt,
    policies: [undefined, undefined],
    spentAt: found.spentAt,
    rates: undefined,
    slot: graph.topology.addChannel(message.shortChannelId, one.index, two.index),
  }
  channelsOf(graph).set(channel.shortChannelId, channel)
  graph.sorted = undefined
  one.channels.push(channel)
  two.channels.push(channel)
  return channel
}

export const directionOf = (update: Pick<ChannelUpdate, 'channelFlags'>): Direction =>
  (update.channelFlags & CHANNEL_FLAG_DIRECTION) === 0 ? 0 : 1

/** The node that speaks in an update of that direction. */
export const speakerOf = (channel: Pick<GraphChannel, 'node1' | 'node2'>, direction: Direction): NodeId =>
  direction === 0 ? channel.node1 : channel.node2

export const policyOf = (update: AnnouncedPolicy, raw: Uint8Array): Policy => ({
  timestamp: update.timestamp,
  enabled: (update.channelFlags & CHANNEL_FLAG_DISABLE) === 0,
  cltvExpiryDelta: update.cltvExpiryDelta,
  feeBaseMsat: update.feeBaseMsat,
  feeProportionalMillionths: update.feeProportionalMillionths,
  htlcMinimumMsat: update.htlcMinimumMsat,
  htlcMaximumMsat: update.htlcMaximumMsat,
  raw,
})

/** Takes over a verified update if it is newer; whether it was. */
export const applyUpdate = (graph: Graph, update: AnnouncedPolicy, raw: Uint8Array): boolean => {
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
export const applyNode = (graph: Graph, message: AnnouncedNode, raw: Uint8Array): boolean => {
  const node = nodesOf(graph).get(message.nodeId)
  if (node === undefined || (node.announcement?.timestamp ?? 0) >= message.timestamp) return false
  node.announcement = { timestamp: message.timestamp, raw }
  const usable = isUsable(message.features)
  if (node.usable === usable) return true
  node.usable = usable
  for (const channel of node.channels) mirror(graph, channel, channel.node1 === node.id ? 0 : 1)
  return true
}

/** What a node says of itself. Read again each time: few are asked for, and ten thousand would take more memory than all channels. */
export const announcedNode = (graph: Graph, id: NodeId): NodeAnnouncement | undefined => {
  const announcement = graph.nodes.get(id)?.announcement
  return announcement && decode(nodeAnnouncement, announcement.raw)
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
    if (node === undefined) continue
    const last = node.channels.pop()
    if (last !== undefined && last !== channel) node.channels[node.channels.indexOf(channel)] = last
    if (node.channels.length > 0) continue
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
