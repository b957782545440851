/**
 * The gossip machine: what reaches it, from whom, and what follows. BOLT 7.
 * An announcement goes through: known? -> signatures -> does the ledger have this output? -> graph, rows, relay. Updates and node
 * announcements that come while the ledger is asked are held with it, one per direction and node.
 */
import { DecodeError, equalBytes, unreachable } from '@leyden/codec'
import {
  type ChannelUpdate,
  decodeMessage,
  MESSAGE_FLAG_DONT_FORWARD,
  type NodeAnnouncement,
  type NodeId,
  scidParts,
  type ShortChannelId,
} from '@leyden/lnwire'
import {
  applyAnnouncement,
  applyNode,
  applySpend,
  applyUpdate,
  directionOf,
  type GraphChannel,
  rateOf,
  removeChannel,
  speakerOf,
  takeToken,
  UPDATE_BURST,
  UPDATE_INTERVAL_SECONDS,
} from './graph.ts'
import {
  announceChannel,
  greetPeer,
  nodeInfoChanged,
  noteRemotePolicy,
  ownChannelChanged,
  ownChannelClosed,
  receiveOwnUpdate,
  refreshOwn,
} from './own.ts'
import { channelGoneRows, channelRow, nodeRow, updateRow } from './rows.ts'
import type { FundingLookup, Gossip, GossipEffect, GossipEnv, GossipInput, GossipMessage, Item, Pending } from './state.ts'
import {
  askNext,
  checkTimeouts,
  connectPeer,
  disconnectPeer,
  flush,
  pump,
  receiveFilter,
  receiveIdsEnd,
  receiveIdsQuery,
  receiveRangeQuery,
  receiveRangeReply,
  want,
} from './sync.ts'
import {
  checkChannelAnnouncement,
  checkChannelUpdate,
  checkNodeAnnouncement,
  type GossipViolation,
  isFundingOutput,
} from './validate.ts'

type Emit = (effect: GossipEffect) => void
type Received<T extends GossipMessage['type']> = Extract<GossipMessage, { type: T }>

const PRUNE_SECONDS = 600
/** BOLT 7 § The announcement_signatures Message. */
const CONFIRMATIONS = 6
/** An announcement may be ahead of us by so many blocks. */
const EARLY_BLOCKS = 12

const warn = (emit: Emit, peer: NodeId, violation: GossipViolation): void =>
  emit({ to: 'peer', type: 'warn', peer, violation, close: true })

const freshKey = (item: Item): string =>
  item.kind === 'node' ? `n${item.id}` : item.kind === 'update' ? `u${item.id}/${item.direction}` : `c${item.id}`
const markFresh = (gossip: Gossip, item: Item, from: NodeId | undefined): void => {
  gossip.fresh.set(freshKey(item), { item, from })
}

const receiveAnnouncement = (
  gossip: Gossip,
  peer: NodeId,
  message: Received<'channel_announcement'>,
  raw: Uint8Array,
  env: GossipEnv,
  emit: Emit,
): void => {
  const id = message.shortChannelId
  if (!equalBytes(message.chainHash, env.chainHash)) return
  if (gossip.graph.channels.has(id) || gossip.pending.has(id) || gossip.refused.has(id)) return
  const { block } = scidParts(id)
  if (block > env.height + EARLY_BLOCKS) return
  if (gossip.pending.size >= env.limits.maxPending) return
  const wrong = checkChannelAnnouncement(message, raw)
  if (wrong !== undefined) return warn(emit, peer, wrong)
  // The sender may have seen the latest blocks before us: it is asked about when we have.
  const deepAt = block + CONFIRMATIONS - 1
  const askAt = env.height < deepAt ? deepAt : undefined
  gossip.pending.set(id, { message, raw: raw.slice(), peer, updates: [undefined, undefined], askAt })
  if (askAt === undefined) emit({ to: 'chain', type: 'lookupFunding', shortChannelId: id })
}

/** Announcements that came before the blocks that they speak of. */
const askEarly = (gossip: Gossip, env: GossipEnv, emit: Emit): void => {
  for (const [shortChannelId, pending] of gossip.pending) {
    if (pending.askAt === undefined || pending.askAt > env.height) continue
    pending.askAt = undefined
    emit({ to: 'chain', type: 'lookupFunding', shortChannelId })
  }
}

const refuse = (gossip: Gossip, id: ShortChannelId, env: GossipEnv): void => {
  gossip.refused.add(id)
  for (const oldest of gossip.refused) {
    if (gossip.refused.size <= env.limits.maxRefused) break
    gossip.refused.delete(oldest)
  }
}

const fundingFound = (gossip: Gossip, id: ShortChannelId, found: FundingLookup, env: GossipEnv, emit: Emit): void => {
  const pending = gossip.pending.get(id)
  if (pending === undefined) return
  gossip.pending.delete(id)
  if (accepts(pending, found, env)) {
    const channel = applyAnnouncement(gossip.graph, pending.message, pending.raw, {
      heardAt: env.now,
      ...(found.status === 'unspent' ? { capacitySat: found.valueSat, outpoint: found.outpoint } : {}),
    })
    emit({ to: 'store', type: 'rows', rows: [channelRow(channel)] })
    if (channel.outpoint !== undefined) emit({ to: 'chain', type: 'watch', shortChannelId: id, outpoint: channel.outpoint })
    markFresh(gossip, { kind: 'announcement', id }, pending.peer)
    hearHeld(gossip, channel, pending, env, emit)
    emit({ to: 'owner', type: 'graphChanged' })
  } else if (found.status !== 'unspent' || found.confirmations >= CONFIRMATIONS) refuse(gossip, id, env)
  const peer = gossip.peers.get(pending.peer)
  if (peer !== undefined) askNext(gossip, peer, env, emit)
}

/** A channel has come to the graph: now counts what was said of it before, its two ends, and the remote of a channel of ours. */
const hearHeld = (gossip: Gossip, channel: GraphChannel, pending: Pending | undefined, env: GossipEnv, emit: Emit): void => {
  for (const held of pending?.updates ?? [])
    if (held !== undefined) receiveUpdate(gossip, held.peer, held.message, held.raw, env, emit)
  for (const own of gossip.own.values()) {
    const raw = own.shortChannelId === channel.shortChannelId ? own.remotePolicy?.raw : undefined
    const said = raw === undefined ? undefined : decodeMessage(raw)
    if (raw === undefined || said === undefined || said instanceof DecodeError || said.type !== 'channel_update') continue
    if (said.shortChannelId !== channel.shortChannelId || (said.messageFlags & MESSAGE_FLAG_DONT_FORWARD) !== 0) continue
    receiveUpdate(gossip, own.remoteNodeId, said, raw, env, emit)
  }
  for (const nodeId of [channel.node1, channel.node2]) {
    const held = gossip.heldNodes.get(nodeId)
    if (held === undefined) continue
    gossip.heldNodes.delete(nodeId)
    receiveNode(gossip, held.peer, held.message, held.raw, env, emit)
  }
}

const accepts = (pending: Pending, found: FundingLookup, env: GossipEnv): boolean => {
  switch (found.status) {
    case 'unspent':
      return found.confirmations >= CONFIRMATIONS && isFundingOutput(pending.message, found)
    case 'unknown':
      return env.acceptUnverified
    case 'missing':
      return false
    default:
      return unreachable(found)
  }
}

/** Pruned or not yet believed. */
const isStale = (timestamp: number, env: GossipEnv): boolean =>
  timestamp < env.now - env.limits.staleSeconds || timestamp > env.now + env.limits.futureSeconds

const receiveUpdate = (
  gossip: Gossip,
  peer: NodeId,
  message: ChannelUpdate,
  raw: Uint8Array,
  env: GossipEnv,
  emit: Emit,
): void => {
  const id = message.shortChannelId
  if (!equalBytes(message.chainHash, env.chainHash) || isStale(message.timestamp, env)) return
  const direction = directionOf(message)
  const channel = gossip.graph.channels.get(id)
  if (channel === undefined) {
    if (receiveOwnUpdate(gossip, message, raw, peer, env, emit) !== undefined) return
    const pending = gossip.pending.get(id)
    if (pending !== undefined) {
      if ((pending.updates[direction]?.message.timestamp ?? 0) < message.timestamp)
        pending.updates[direction] = { message, raw: raw.slice(), peer }
      return
    }
    const asked = gossip.peers.get(peer)
    if (asked === undefined || (message.messageFlags & MESSAGE_FLAG_DONT_FORWARD) !== 0) return
    if (scidParts(id).block <= env.height) want(gossip, asked, id, env)
    return askNext(gossip, asked, env, emit)
  }
  if ((channel.policies[direction]?.timestamp ?? 0) >= message.timestamp) return
  if (channel.spentAt !== undefined) return
  // before the signature: a flood costs no verification
  const rate = rateOf(gossip.graph, id, direction)
  if (!takeToken(rate, env.now, UPDATE_BURST, UPDATE_INTERVAL_SECONDS)) return
  const speaker = speakerOf(channel, direction)
  // our own word comes from us alone
  if (speaker === env.localNodeId) return
  const wrong = checkChannelUpdate(message, raw, speaker)
  if (wrong !== undefined) {
    rate.tokens += 1
    return warn(emit, peer, wrong)
  }
  const kept = raw.slice()
  applyUpdate(gossip.graph, message, kept)
  emit({ to: 'store', type: 'rows', rows: [updateRow(id, direction, kept)] })
  noteRemotePolicy(gossip, message, kept, env, emit)
  if ((message.messageFlags & MESSAGE_FLAG_DONT_FORWARD) === 0) markFresh(gossip, { kind: 'update', id, direction }, peer)
  emit({ to: 'owner', type: 'graphChanged' })
}

const receiveNode = (
  gossip: Gossip,
  peer: NodeId,
  message: NodeAnnouncement,
  raw: Uint8Array,
  env: GossipEnv,
  emit: Emit,
): void => {
  if (message.nodeId === env.localNodeId || message.timestamp > env.now + env.limits.futureSeconds) return
  const node = gossip.graph.nodes.get(message.nodeId)
  if (node === undefined) {
    const held = gossip.heldNodes.get(message.nodeId)
    if (held === undefined && gossip.heldNodes.size >= env.limits.maxHeldNodes) return
    if (gossip.pending.size === 0 || (held?.message.timestamp ?? 0) >= message.timestamp) return
    gossip.heldNodes.set(message.nodeId, { message, raw: raw.slice(), peer })
    return
  }
  if ((node.announcement?.timestamp ?? 0) >= message.timestamp) return
  const wrong = checkNodeAnnouncement(message, raw)
  if (wrong !== undefined) return warn(emit, peer, wrong)
  const kept = raw.slice()
  applyNode(gossip.graph, message, kept)
  emit({ to: 'store', type: 'rows', rows: [nodeRow(message.nodeId, kept)] })
  // more than one DNS name: kept, not passed on
  if (message.addresses.filter((address) => address.type === 'dns').length <= 1)
    markFresh(gossip, { kind: 'node', id: message.nodeId }, peer)
}

const receive = (gossip: Gossip, peerId: NodeId, message: GossipMessage, raw: Uint8Array, env: GossipEnv, emit: Emit): void => {
  const peer = gossip.peers.get(peerId)
  if (peer === undefined) return
  switch (message.type) {
    case 'channel_announcement':
      return receiveAnnouncement(gossip, peerId, message, raw, env, emit)
    case 'channel_update':
      return receiveUpdate(gossip, peerId, message, raw, env, emit)
    case 'node_announcement':
      return receiveNode(gossip, peerId, message, raw, env, emit)
    case 'query_channel_range':
      return receiveRangeQuery(gossip, peer, message, env, emit)
    case 'reply_channel_range':
      return receiveRangeReply(gossip, peer, message, env, emit)
    case 'query_short_channel_ids':
      return receiveIdsQuery(gossip, peer, message, env, emit)
    case 'reply_short_channel_ids_end':
      return receiveIdsEnd(gossip, peer, env, emit)
    case 'gossip_timestamp_filter':
      return receiveFilter(gossip, peer, message, env, emit)
    default:
      return unreachable(message)
  }
}

const forget = (gossip: Gossip, id: ShortChannelId, emit: Emit): void => {
  const gone = removeChannel(gossip.graph, id)
  if (gone === undefined) return
  emit({ to: 'store', type: 'rows', rows: channelGoneRows(id, gone.nodes) })
  if (gone.channel.outpoint !== undefined) emit({ to: 'chain', type: 'unwatch', outpoint: gone.channel.outpoint })
  emit({ to: 'owner', type: 'graphChanged' })
}

/** Old when one of its ends has not spoken for two weeks: both are needed to use it. */
const isAbandoned = (channel: GraphChannel, env: GossipEnv): boolean =>
  channel.node1 !== env.localNodeId &&
  channel.node2 !== env.localNodeId &&
  channel.policies.some((policy) => (policy?.timestamp ?? channel.heardAt) < env.now - env.limits.staleSeconds)

const prune = (gossip: Gossip, env: GossipEnv, emit: Emit): void => {
  if (env.now - gossip.lastPrune < PRUNE_SECONDS) return
  gossip.lastPrune = env.now
  for (const channel of gossip.graph.channels.values()) {
    const closed = channel.spentAt !== undefined && env.height >= channel.spentAt + env.limits.forgetBlocks
    if (closed || isAbandoned(channel, env)) forget(gossip, channel.shortChannelId, emit)
  }
  if (gossip.pending.size === 0) gossip.heldNodes.clear()
  refreshOwn(gossip, env, emit)
}

const setSpent = (gossip: Gossip, id: ShortChannelId, spentAt: GraphChannel['spentAt'], emit: Emit): void => {
  const channel = applySpend(gossip.graph, id, spentAt)
  if (channel === undefined) return
  emit({ to: 'store', type: 'rows', rows: [channelRow(channel)] })
  emit({ to: 'owner', type: 'graphChanged' })
}

/** Takes one input; changes `gossip` in place; gives the effects in order. */
export const stepGossip = (gossip: Gossip, input: GossipInput, env: GossipEnv): readonly GossipEffect[] => {
  const effects: GossipEffect[] = []
  const emit: Emit = (effect) => {
    effects.push(effect)
  }
  switch (input.type) {
    case 'connected':
      connectPeer(gossip, input.peer, input.queries, env, emit)
      greetPeer(gossip, input.peer, emit)
      break
    case 'disconnected':
      disconnectPeer(gossip, input.peer, env, emit)
      break
    case 'message':
      receive(gossip, input.peer, input.message, input.raw, env, emit)
      break
    case 'writable': {
      const peer = gossip.peers.get(input.peer)
      if (peer !== undefined) pump(gossip, peer, env, emit)
      break
    }
    case 'funding':
      fundingFound(gossip, input.shortChannelId, input.found, env, emit)
      break
    case 'fundingSpent':
      setSpent(gossip, input.shortChannelId, input.height, emit)
      break
    case 'fundingUnspent':
      setSpent(gossip, input.shortChannelId, undefined, emit)
      break
    case 'nodeInfo':
      nodeInfoChanged(gossip, input, env, emit)
      break
    case 'ownChannel':
      ownChannelChanged(gossip, input.channel, env, emit)
      break
    case 'ownChannelClosed':
      ownChannelClosed(gossip, input.channelId, emit)
      break
    case 'announce': {
      const pending = gossip.pending.get(input.shortChannelId)
      announceChannel(gossip, input, env, emit)
      const channel = gossip.graph.channels.get(input.shortChannelId)
      // The remote may have announced it before us: what it said of it and of itself was held.
      if (channel !== undefined) hearHeld(gossip, channel, pending, env, emit)
      break
    }
    case 'tick':
      askEarly(gossip, env, emit)
      prune(gossip, env, emit)
      checkTimeouts(gossip, env, emit)
      flush(gossip, env)
      for (const peer of gossip.peers.values()) pump(gossip, peer, env, emit)
      break
    default:
      return unreachable(input)
  }
  return effects
}

/** After a restart: every funding output is watched again. */
export const resumeGossip = (gossip: Gossip): readonly GossipEffect[] =>
  [...gossip.graph.channels.values()].flatMap((channel): readonly GossipEffect[] =>
    channel.outpoint === undefined
      ? []
      : [{ to: 'chain', type: 'watch', shortChannelId: channel.shortChannelId, outpoint: channel.outpoint }],
  )
