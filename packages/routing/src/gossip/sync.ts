/**
 * Asking peers for their view, and answering theirs. BOLT 7 § Query Messages, § Rebroadcasting.
 * Asking: the first few peers get a filter (what is new) and a range query (what we missed); the ids that we lack are asked for in
 * batches, one query in flight. Answering: one query at a time; messages leave in chunks as the socket takes them, within a budget (S56, S61).
 * Lists are never compressed: the codec refuses those that are (S60).
 */
import { encodeMessage, type Message, type NodeId, scidParts, type ShortChannelId } from '@leyden/lnwire'
import { equalBytes } from '@leyden/codec'
import { type Graph, type GraphChannel, sortedIds, takeToken } from './graph.ts'
import type { Gossip, GossipEffect, GossipEnv, GossipMessage, GossipPeer, Item, Stream } from './state.ts'
import { gossipViolation } from './validate.ts'

type Emit = (effect: GossipEffect) => void
type Received<T extends GossipMessage['type']> = Extract<GossipMessage, { type: T }>

/** Ids in one reply_channel_range: with timestamps and checksums each takes 24 bytes of the 65,535. */
const REPLY_IDS = 2600
/** No block is beyond. */
const MAX_BLOCK = 0xffff_ffff
/** Queries that a peer may send at once, and how long it takes to earn another. */
const QUERY_BURST = 60
const QUERY_INTERVAL_SECONDS = 5

const send = (emit: Emit, peer: NodeId, message: Message): void =>
  emit({ to: 'peer', type: 'send', peer, raw: encodeMessage(message) })

const newestUpdate = (graph: Graph): number => {
  let newest = 0
  for (const { policies } of graph.channels.values())
    for (const policy of policies) if (policy !== undefined && policy.timestamp > newest) newest = policy.timestamp
  return newest
}

export const connectPeer = (gossip: Gossip, id: NodeId, queries: boolean, env: GossipEnv, emit: Emit): void => {
  const subscribers = [...gossip.peers.values()].filter((peer) => peer.subscribed && peer.id !== id).length
  const subscribed = subscribers < env.limits.syncPeers
  gossip.peers.set(id, {
    id,
    queries,
    filter: undefined,
    subscribed,
    answer: undefined,
    backlog: undefined,
    relay: undefined,
    rate: { tokens: env.limits.sendBurst, at: env.now },
    queryRate: { tokens: QUERY_BURST, at: env.now },
    range: undefined,
    asked: undefined,
    wanted: new Set(),
    deaf: false,
  })
  if (subscribed) subscribe(gossip, id, env, emit)
}

/** Subscribes to what is new since we last heard anything (with an hour to spare), and asks for all ids. */
const subscribe = (gossip: Gossip, id: NodeId, env: GossipEnv, emit: Emit): void => {
  const peer = gossip.peers.get(id)
  if (peer === undefined) return
  const oldest = Math.max(env.now - env.limits.staleSeconds, 0)
  const firstTimestamp = Math.max(Math.min(newestUpdate(gossip.graph), env.now) - 3600, oldest)
  send(emit, id, {
    type: 'gossip_timestamp_filter',
    chainHash: env.chainHash,
    firstTimestamp,
    timestampRange: 0xffff_ffff - firstTimestamp,
  })
  if (!peer.queries) return
  const numberOfBlocks = env.height + 1000
  peer.range = { end: numberOfBlocks, next: 0, at: env.now }
  send(emit, id, { type: 'query_channel_range', chainHash: env.chainHash, firstBlocknum: 0, numberOfBlocks })
}

/** Another peer takes the place of one that left. */
export const disconnectPeer = (gossip: Gossip, id: NodeId, env: GossipEnv, emit: Emit): void => {
  const left = gossip.peers.get(id)
  gossip.peers.delete(id)
  if (left?.subscribed !== true) return
  const next = [...gossip.peers.values()].find((peer) => !peer.subscribed)
  if (next === undefined) return
  gossip.peers.set(next.id, { ...next, subscribed: true })
  subscribe(gossip, next.id, env, emit)
}

/** Sends the next query for ids that we lack, if none is in flight. */
export const askNext = (gossip: Gossip, peer: GossipPeer, env: GossipEnv, emit: Emit): void => {
  if (peer.asked !== undefined || peer.deaf || !peer.queries || peer.wanted.size === 0) return
  // what waits for the ledger first, so that the next answer finds room
  if (gossip.pending.size + env.limits.queryBatch > env.limits.maxPending) return
  const ids: ShortChannelId[] = []
  for (const id of peer.wanted) {
    if (ids.length === env.limits.queryBatch) break
    peer.wanted.delete(id)
    if (isWanted(gossip, id)) ids.push(id)
  }
  if (ids.length === 0) return
  peer.asked = { at: env.now }
  send(emit, peer.id, {
    type: 'query_short_channel_ids',
    chainHash: env.chainHash,
    shortChannelIds: ids.toSorted((a, b) => (a < b ? -1 : 1)),
  })
}

const isWanted = (gossip: Gossip, id: ShortChannelId): boolean =>
  !gossip.graph.channels.has(id) && !gossip.pending.has(id) && !gossip.refused.has(id)

/** Remembers to ask a peer for a channel; within the bound (S59). */
export const want = (gossip: Gossip, peer: GossipPeer, id: ShortChannelId, env: GossipEnv): void => {
  if (peer.wanted.size < env.limits.maxWanted && isWanted(gossip, id)) peer.wanted.add(id)
}

export const receiveRangeReply = (
  gossip: Gossip,
  peer: GossipPeer,
  message: Received<'reply_channel_range'>,
  env: GossipEnv,
  emit: Emit,
): void => {
  const { range } = peer
  if (range === undefined || !equalBytes(message.chainHash, env.chainHash)) return
  const end = message.firstBlocknum + message.numberOfBlocks
  if (message.firstBlocknum < range.next && range.next > 0) {
    peer.range = undefined
    emit({
      to: 'peer',
      type: 'warn',
      peer: peer.id,
      violation: gossipViolation('invalid_range', 'replies go back'),
      close: false,
    })
    return
  }
  for (const id of message.shortChannelIds) {
    const { block } = scidParts(id)
    // a channel needs six confirmations before it may be announced: what lies beyond the chain cannot be real
    if (block <= env.height) want(gossip, peer, id, env)
  }
  peer.range = message.syncComplete === 1 && end >= range.end ? undefined : { ...range, next: message.firstBlocknum, at: env.now }
  askNext(gossip, peer, env, emit)
}

export const receiveIdsEnd = (gossip: Gossip, peer: GossipPeer, env: GossipEnv, emit: Emit): void => {
  peer.asked = undefined
  askNext(gossip, peer, env, emit)
}

/** Queries that were not answered in time: the peer is not asked again. */
export const checkTimeouts = (gossip: Gossip, env: GossipEnv, emit: Emit): void => {
  for (const peer of gossip.peers.values()) {
    const since = Math.min(peer.asked?.at ?? env.now, peer.range?.at ?? env.now)
    if (env.now - since >= env.limits.queryTimeoutSeconds) {
      peer.deaf = true
      peer.asked = undefined
      peer.range = undefined
      peer.wanted.clear()
    }
    askNext(gossip, peer, env, emit)
  }
}

/** Whether the peer may ask now: one query at a time, and not more often than is of use (S61). */
const mayQuery = (peer: GossipPeer, env: GossipEnv, emit: Emit): boolean => {
  if (peer.answer === undefined && takeToken(peer.queryRate, env.now, QUERY_BURST, QUERY_INTERVAL_SECONDS)) return true
  const violation = gossipViolation('query_while_answering', 'a query came before the last was answered, or too soon')
  emit({ to: 'peer', type: 'warn', peer: peer.id, violation, close: false })
  return false
}

/** First index whose id is not below. */
const lowerBound = (ids: readonly ShortChannelId[], id: bigint): number => {
  let low = 0
  let high = ids.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((ids[middle] ?? 0n) < id) low = middle + 1
    else high = middle
  }
  return low
}

const CRC32C_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let crc = n
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1
  return crc
})

/** RFC 3720 appendix B.4. */
export const crc32c = (...parts: readonly Uint8Array[]): number => {
  let crc = 0xffff_ffff
  for (const part of parts) for (const byte of part) crc = (crc >>> 8) ^ (CRC32C_TABLE[(crc ^ byte) & 0xff] ?? 0)
  return (crc ^ 0xffff_ffff) >>> 0
}

/** Of a channel_update without signature and timestamp: type 2, signature 64, chain hash and id 40, timestamp 4. */
export const updateChecksum = (raw: Uint8Array): number => crc32c(raw.subarray(66, 106), raw.subarray(110))

/** Answers at once: ids are small. Every reply covers the blocks after the one before, up to what was asked for. */
export const receiveRangeQuery = (
  gossip: Gossip,
  peer: GossipPeer,
  query: Received<'query_channel_range'>,
  env: GossipEnv,
  emit: Emit,
): void => {
  if (!mayQuery(peer, env, emit)) return
  const known = equalBytes(query.chainHash, env.chainHash)
  const { firstBlocknum } = query
  const end = Math.min(firstBlocknum + query.numberOfBlocks, MAX_BLOCK)
  const sorted = known ? sortedIds(gossip.graph) : []
  const ids = sorted
    .slice(lowerBound(sorted, BigInt(firstBlocknum) << 40n), lowerBound(sorted, BigInt(end) << 40n))
    .filter((id) => isTold(gossip.graph.channels.get(id)))
  const flags = query.queryOptionFlags ?? 0
  let from = firstBlocknum
  for (let at = 0; at === 0 || at < ids.length; at += REPLY_IDS) {
    const chunk = ids.slice(at, at + REPLY_IDS)
    const last = at + REPLY_IDS >= ids.length
    const next = ids[at + REPLY_IDS]
    const final = chunk.at(-1)
    // a block whose channels do not fit into one reply goes on in the next
    const to = last || final === undefined ? end : scidParts(final).block + 1
    const channels = chunk.map((id) => gossip.graph.channels.get(id))
    send(emit, peer.id, {
      type: 'reply_channel_range',
      chainHash: query.chainHash,
      firstBlocknum: from,
      numberOfBlocks: Math.max(to - from, 1),
      syncComplete: last ? 1 : 0,
      shortChannelIds: chunk,
      ...((flags & 1) === 0
        ? {}
        : {
            timestamps: channels.map((channel) => ({
              timestampNodeId1: channel?.policies[0]?.timestamp ?? 0,
              timestampNodeId2: channel?.policies[1]?.timestamp ?? 0,
            })),
          }),
      ...((flags & 2) === 0
        ? {}
        : {
            checksums: channels.map((channel) => ({
              checksumNodeId1: channel?.policies[0] === undefined ? 0 : updateChecksum(channel.policies[0].raw),
              checksumNodeId2: channel?.policies[1] === undefined ? 0 : updateChecksum(channel.policies[1].raw),
            })),
          }),
    })
    from = next === undefined ? to : Math.min(to, scidParts(next).block)
  }
}

/** Without an update an announcement is not told, nor is that of a channel which is closed. */
const isTold = (channel: GraphChannel | undefined): channel is GraphChannel =>
  channel !== undefined && channel.spentAt === undefined && (channel.policies[0] ?? channel.policies[1]) !== undefined

export const receiveIdsQuery = (
  gossip: Gossip,
  peer: GossipPeer,
  query: Received<'query_short_channel_ids'>,
  env: GossipEnv,
  emit: Emit,
): void => {
  const { queryFlags } = query
  if (queryFlags !== undefined && queryFlags.length !== query.shortChannelIds.length) {
    const violation = gossipViolation('flags_do_not_match_ids', 'query_short_channel_ids')
    emit({ to: 'peer', type: 'warn', peer: peer.id, violation, close: true })
    return
  }
  if (!mayQuery(peer, env, emit)) return
  const known = equalBytes(query.chainHash, env.chainHash)
  const seen = new Set<ShortChannelId>()
  const items: (Item | ShortChannelId)[] = []
  query.shortChannelIds.forEach((id, i) => {
    const channel = gossip.graph.channels.get(id)
    // repeated ids are answered once (S61)
    if (!known || channel === undefined || seen.has(id)) return
    seen.add(id)
    const flags = queryFlags?.[i]
    if (flags === undefined) {
      items.push(id)
      return
    }
    if (flags & 1) items.push({ kind: 'announcement', id })
    if (flags & 2) items.push({ kind: 'update', id, direction: 0 })
    if (flags & 4) items.push({ kind: 'update', id, direction: 1 })
    if (flags & 8) items.push({ kind: 'node', id: channel.node1 })
    if (flags & 16) items.push({ kind: 'node', id: channel.node2 })
  })
  peer.answer = { items, at: 0, nodes: new Set(), filtered: false }
  pump(gossip, peer, env, emit)
}

export const receiveFilter = (
  gossip: Gossip,
  peer: GossipPeer,
  message: Received<'gossip_timestamp_filter'>,
  env: GossipEnv,
  emit: Emit,
): void => {
  if (!equalBytes(message.chainHash, env.chainHash)) return
  peer.filter = { first: message.firstTimestamp, end: message.firstTimestamp + message.timestampRange }
  const past = message.firstTimestamp <= env.now && message.timestampRange > 0
  peer.backlog = past ? { items: sortedIds(gossip.graph), at: 0, nodes: new Set(), filtered: true } : undefined
  pump(gossip, peer, env, emit)
}

/** The raw messages that an item stands for now. */
const messagesOf = (gossip: Gossip, stream: Stream, peer: GossipPeer, item: Item | ShortChannelId): readonly Uint8Array[] => {
  const passes = (timestamp: number): boolean =>
    !stream.filtered || (peer.filter !== undefined && timestamp >= peer.filter.first && timestamp < peer.filter.end)
  const nodeOnce = (id: NodeId): readonly Uint8Array[] => {
    const announcement = gossip.graph.nodes.get(id)?.announcement
    if (announcement === undefined || stream.nodes.has(id) || !passes(announcement.timestamp)) return []
    stream.nodes.add(id)
    return [announcement.raw]
  }
  if (typeof item === 'bigint') {
    const channel = gossip.graph.channels.get(item)
    if (!isTold(channel)) return []
    const updates = channel.policies.filter((policy) => policy !== undefined && passes(policy.timestamp))
    const announcement = updates.length > 0 || !stream.filtered ? [channel.raw] : []
    return [
      ...announcement,
      ...updates.map((policy) => policy?.raw ?? new Uint8Array(0)),
      ...nodeOnce(channel.node1),
      ...nodeOnce(channel.node2),
    ]
  }
  if (item.kind === 'node') return nodeOnce(item.id)
  const channel = gossip.graph.channels.get(item.id)
  if (channel === undefined) return []
  if (item.kind === 'announcement') return isTold(channel) ? [channel.raw] : []
  const policy = channel.policies[item.direction]
  return policy !== undefined && passes(policy.timestamp) ? [policy.raw] : []
}

/** Sends what is due to a peer: at most a chunk, within its budget. */
export const pump = (gossip: Gossip, peer: GossipPeer, env: GossipEnv, emit: Emit): void => {
  const { sendBurst, sendPerSecond, sendChunk } = env.limits
  peer.rate.tokens = Math.min(sendBurst, peer.rate.tokens + Math.max(env.now - peer.rate.at, 0) * sendPerSecond)
  peer.rate.at = env.now
  let left = Math.min(sendChunk, Math.floor(peer.rate.tokens))
  const flow = (stream: Stream): boolean => {
    while (stream.at < stream.items.length && left > 0) {
      const item = stream.items[stream.at++]
      if (item === undefined) continue
      for (const raw of messagesOf(gossip, stream, peer, item)) {
        emit({ to: 'peer', type: 'send', peer: peer.id, raw })
        left--
        peer.rate.tokens--
      }
    }
    return stream.at >= stream.items.length
  }
  if (peer.answer !== undefined && flow(peer.answer)) {
    peer.answer = undefined
    send(emit, peer.id, { type: 'reply_short_channel_ids_end', chainHash: env.chainHash, fullInformation: 1 })
  }
  if (peer.backlog !== undefined && flow(peer.backlog)) peer.backlog = undefined
  if (peer.relay !== undefined && flow(peer.relay)) peer.relay = undefined
}

/** Queues what is new for every peer that asked for gossip, except to whom it came from. BOLT 7 § Rebroadcasting. */
export const flush = (gossip: Gossip, env: GossipEnv): void => {
  if (env.now - gossip.lastFlush < env.limits.flushSeconds) return
  gossip.lastFlush = env.now
  if (gossip.fresh.size === 0) return
  const order = { announcement: 0, update: 1, node: 2 }
  const fresh = [...gossip.fresh.values()].toSorted((a, b) => order[a.item.kind] - order[b.item.kind])
  gossip.fresh.clear()
  for (const peer of gossip.peers.values()) {
    if (peer.filter === undefined) continue
    const rest = peer.relay?.items.slice(peer.relay.at) ?? []
    const room = env.limits.maxRelay - rest.length
    const items = [
      ...rest,
      ...fresh
        .filter(({ from }) => from !== peer.id)
        .slice(0, Math.max(room, 0))
        .map(({ item }) => item),
    ]
    if (items.length > 0) peer.relay = { items, at: 0, nodes: new Set(), filtered: true }
  }
}
