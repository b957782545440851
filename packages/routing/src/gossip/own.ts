/**
 * Our own channels in gossip. BOLT 7, origin node.
 * A channel that is not announced (yet) is told to its peer alone, by the peer's alias, with dont_forward. The peer's own update is kept:
 * invoices need it for their hints. Announced channels are signed again well before others would prune them.
 */
import { type ChannelId, type ChannelUpdate, MESSAGE_FLAG_DONT_FORWARD, type NodeId, type ShortChannelId } from '@leyden/lnwire'
import { buildChannelAnnouncement, buildChannelUpdate, buildNodeAnnouncement, type OwnPolicy } from './announce.ts'
import { applyAnnouncement, applyNode, applyUpdate, directionOf, policyOf, type Policy } from './graph.ts'
import { channelRow, localUpdateRow, nodeRow, ownGoneRows, remoteUpdateRow, type StoredOwn, updateRow } from './rows.ts'
import type { Gossip, GossipEffect, GossipEnv, GossipInput, OwnChannel, OwnState } from './state.ts'
import { checkChannelAnnouncement, checkChannelUpdate } from './validate.ts'
import type { RouteHint } from '../pathfind/route.ts'

type Emit = (effect: GossipEffect) => void

const samePolicy = (a: OwnPolicy, update: ChannelUpdate, enabled: boolean): boolean =>
  a.enabled === enabled &&
  a.cltvExpiryDelta === update.cltvExpiryDelta &&
  a.feeBaseMsat === update.feeBaseMsat &&
  a.feeProportionalMillionths === update.feeProportionalMillionths &&
  a.htlcMinimumMsat === update.htlcMinimumMsat &&
  a.htlcMaximumMsat === update.htlcMaximumMsat

/** Sends to every connected peer, whatever its filter: what we say ourselves is always worth telling. */
const tellAll = (gossip: Gossip, raws: readonly Uint8Array[], emit: Emit): void => {
  for (const peer of gossip.peers.keys()) for (const raw of raws) emit({ to: 'peer', type: 'send', peer, raw })
}

/** The id under which the channel is spoken of: the real one when announced, else the peer's alias. */
const updateId = (own: OwnState): ShortChannelId | undefined =>
  own.announced ? own.shortChannelId : (own.remoteAlias ?? own.shortChannelId)

/** Signs an update when there is none that says the same, or when it ages. */
const refresh = (gossip: Gossip, own: OwnState, env: GossipEnv, emit: Emit): OwnState => {
  const shortChannelId = updateId(own)
  if (shortChannelId === undefined) return own
  const last = own.localUpdate?.message
  const lastPolicy = own.localUpdate && policyOf(own.localUpdate.message, own.localUpdate.raw)
  const same = last?.shortChannelId === shortChannelId && lastPolicy && samePolicy(own.policy, last, lastPolicy.enabled)
  const wasPrivate = last !== undefined && (last.messageFlags & MESSAGE_FLAG_DONT_FORWARD) !== 0
  if (last && same && wasPrivate === !own.announced && env.now - last.timestamp < env.limits.refreshSeconds) return own
  const update = buildChannelUpdate(
    {
      chainHash: env.chainHash,
      shortChannelId,
      localNodeId: env.localNodeId,
      remoteNodeId: own.remoteNodeId,
      timestamp: Math.max(env.now, (last?.timestamp ?? 0) + 1, 1),
      policy: own.policy,
      private: !own.announced,
    },
    env.sign,
  )
  const rows = [localUpdateRow(own.channelId, update.raw)]
  if (own.announced) {
    applyUpdate(gossip.graph, update.message, update.raw)
    rows.push(updateRow(shortChannelId, directionOf(update.message), update.raw))
    tellAll(gossip, [update.raw], emit)
    emit({ to: 'owner', type: 'graphChanged' })
  } else if (gossip.peers.has(own.remoteNodeId)) emit({ to: 'peer', type: 'send', peer: own.remoteNodeId, raw: update.raw })
  emit({ to: 'store', type: 'rows', rows })
  return { ...own, localUpdate: update }
}

/** Announces our node when it has a public channel and nothing newer says the same. */
const announceNode = (gossip: Gossip, env: GossipEnv, emit: Emit, changed: boolean): void => {
  const node = gossip.graph.nodes.get(env.localNodeId)
  if (gossip.nodeInfo === undefined || node === undefined) return
  const last = node.announcement?.timestamp ?? 0
  if (last !== 0 && !changed && env.now - last < env.limits.refreshSeconds) return
  const announcement = buildNodeAnnouncement(env.localNodeId, gossip.nodeInfo, Math.max(env.now, last + 1), env.sign)
  applyNode(gossip.graph, announcement.message, announcement.raw)
  gossip.localNode = announcement
  emit({ to: 'store', type: 'rows', rows: [nodeRow(env.localNodeId, announcement.raw)] })
  tellAll(gossip, [announcement.raw], emit)
}

export const nodeInfoChanged = (
  gossip: Gossip,
  input: Extract<GossipInput, { type: 'nodeInfo' }>,
  env: GossipEnv,
  emit: Emit,
): void => {
  gossip.nodeInfo = input.info
  const known = gossip.graph.nodes.get(env.localNodeId)?.announcement
  if (known === undefined) return announceNode(gossip, env, emit, true)
  const again = buildNodeAnnouncement(env.localNodeId, input.info, known.timestamp, env.sign)
  const same = again.raw.length === known.raw.length && again.raw.every((byte, i) => byte === known.raw[i])
  return announceNode(gossip, env, emit, !same)
}

export const ownChannelChanged = (gossip: Gossip, channel: OwnChannel, env: GossipEnv, emit: Emit): void => {
  const before = gossip.own.get(channel.channelId)
  const announced = channel.shortChannelId !== undefined && gossip.graph.channels.has(channel.shortChannelId)
  const own: OwnState = {
    ...channel,
    announced,
    ...(before?.localUpdate === undefined ? {} : { localUpdate: before.localUpdate }),
    ...(before?.remotePolicy === undefined ? {} : { remotePolicy: before.remotePolicy }),
  }
  gossip.own.set(channel.channelId, own)
  gossip.own.set(channel.channelId, refresh(gossip, own, env, emit))
}

/** After a restart, before the channel's first `ownChannel`: what the rows knew about it. */
export const restoreOwn = (gossip: Gossip, channel: OwnChannel, stored: StoredOwn): void => {
  const localUpdate = stored.local.get(channel.channelId)
  const remotePolicy = stored.remote.get(channel.channelId)
  gossip.own.set(channel.channelId, {
    ...channel,
    announced: channel.shortChannelId !== undefined && gossip.graph.channels.has(channel.shortChannelId),
    ...(localUpdate === undefined ? {} : { localUpdate }),
    ...(remotePolicy === undefined ? {} : { remotePolicy }),
  })
}

export const ownChannelClosed = (gossip: Gossip, channelId: ChannelId, emit: Emit): void => {
  if (gossip.own.delete(channelId)) emit({ to: 'store', type: 'rows', rows: ownGoneRows(channelId) })
}

/**
 * Builds the announcement, checks it as a stranger would, and tells everybody. A wrong signature of the remote announces nothing.
 * The remote may have been first: then its announcement came by gossip, and what is left to do is our own update.
 */
export const announceChannel = (
  gossip: Gossip,
  input: Extract<GossipInput, { type: 'announce' }>,
  env: GossipEnv,
  emit: Emit,
): void => {
  const own = gossip.own.get(input.channelId)
  if (own === undefined) return
  if (!gossip.graph.channels.has(input.shortChannelId)) {
    const announcement = buildChannelAnnouncement(
      { chainHash: env.chainHash, shortChannelId: input.shortChannelId, features: new Uint8Array(0) },
      { nodeId: env.localNodeId, ...input.local },
      { nodeId: own.remoteNodeId, ...input.remote },
    )
    const wrong = checkChannelAnnouncement(announcement.message, announcement.raw)
    if (wrong !== undefined) {
      emit({ to: 'peer', type: 'warn', peer: own.remoteNodeId, violation: wrong, close: false })
      return
    }
    gossip.pending.delete(input.shortChannelId)
    const channel = applyAnnouncement(gossip.graph, announcement.message, announcement.raw, {
      capacitySat: own.capacitySat,
      outpoint: input.outpoint,
      heardAt: env.now,
    })
    emit({ to: 'store', type: 'rows', rows: [channelRow(channel)] })
    emit({ to: 'chain', type: 'watch', shortChannelId: channel.shortChannelId, outpoint: input.outpoint })
    tellAll(gossip, [announcement.raw], emit)
    emit({ to: 'owner', type: 'graphChanged' })
  }
  const announced: OwnState = { ...own, shortChannelId: input.shortChannelId, announced: true }
  gossip.own.set(input.channelId, announced)
  gossip.own.set(input.channelId, refresh(gossip, announced, env, emit))
  announceNode(gossip, env, emit, false)
}

/** The peer is back: it hears again what we ask for over channels that only the two of us know, and of the public ones. */
export const greetPeer = (gossip: Gossip, peer: NodeId, emit: Emit): void => {
  for (const own of gossip.own.values())
    if (own.remoteNodeId === peer && own.localUpdate !== undefined)
      emit({ to: 'peer', type: 'send', peer, raw: own.localUpdate.raw })
}

/** A channel_update that its peer sent for a channel of ours which the graph does not know. Undefined: not one of ours. */
export const receiveOwnUpdate = (
  gossip: Gossip,
  update: ChannelUpdate,
  raw: Uint8Array,
  peer: NodeId,
  env: GossipEnv,
  emit: Emit,
): 'ours' | undefined => {
  for (const own of gossip.own.values()) {
    const ids = [own.shortChannelId, own.localAlias, own.remoteAlias]
    if (!ids.includes(update.shortChannelId)) continue
    if (own.remoteNodeId !== peer) continue
    // their direction, or it is our own update come back
    if (directionOf(update) !== (own.remoteNodeId < env.localNodeId ? 0 : 1)) return 'ours'
    if ((own.remotePolicy?.timestamp ?? 0) >= update.timestamp) return 'ours'
    const wrong = checkChannelUpdate(update, raw, own.remoteNodeId)
    if (wrong !== undefined) {
      emit({ to: 'peer', type: 'warn', peer, violation: wrong, close: true })
      return 'ours'
    }
    keepRemotePolicy(gossip, own, policyOf(update, raw.slice()), emit)
    return 'ours'
  }
  return undefined
}

const keepRemotePolicy = (gossip: Gossip, own: OwnState, policy: Policy, emit: Emit): void => {
  gossip.own.set(own.channelId, { ...own, remotePolicy: policy })
  emit({ to: 'store', type: 'rows', rows: [remoteUpdateRow(own.channelId, policy)] })
  emit({ to: 'owner', type: 'remotePolicy', channelId: own.channelId, policy })
}

/** A public update may be the remote's word about a channel of ours. */
export const noteRemotePolicy = (gossip: Gossip, update: ChannelUpdate, raw: Uint8Array, env: GossipEnv, emit: Emit): void => {
  for (const own of gossip.own.values())
    if (
      own.shortChannelId === update.shortChannelId &&
      directionOf(update) === (own.remoteNodeId < env.localNodeId ? 0 : 1) &&
      (own.remotePolicy?.timestamp ?? 0) < update.timestamp
    )
      keepRemotePolicy(gossip, own, policyOf(update, raw), emit)
}

/** Signs again what ages. */
export const refreshOwn = (gossip: Gossip, env: GossipEnv, emit: Emit): void => {
  for (const own of gossip.own.values())
    if (own.localUpdate !== undefined && env.now - own.localUpdate.message.timestamp >= env.limits.refreshSeconds)
      gossip.own.set(own.channelId, refresh(gossip, own, env, emit))
  announceNode(gossip, env, emit, false)
}

/** How a payer reaches us over channels that are not announced: one hint for each whose remote has said what it asks for. BOLT 11, `r`. */
export const routeHints = (gossip: Gossip): readonly RouteHint[] =>
  [...gossip.own.values()].flatMap((own): readonly RouteHint[] => {
    const shortChannelId = own.remoteAlias ?? own.shortChannelId
    const { remotePolicy } = own
    if (own.announced || shortChannelId === undefined || remotePolicy?.enabled !== true) return []
    const { feeBaseMsat, feeProportionalMillionths, cltvExpiryDelta } = remotePolicy
    return [[{ nodeId: own.remoteNodeId, shortChannelId, feeBaseMsat, feeProportionalMillionths, cltvExpiryDelta }]]
  })
