/**
 * How the graph is stored: a row per raw message, under a suffix that names it.
 * `c/<id>` channel (record of raw, capacity, outpoint, spentAt) · `u/<id>/<direction>` update · `n/<node>` node announcement ·
 * `r/<channel id>` the remote's update for a channel of ours · `s/<channel id>` our own update.
 * Ids are 16 hex digits. What is damaged or of another chain is skipped: it can be had again.
 */
import { packRecord, tryDecode, DecodeError, unpackRecord } from '@leyden/codec'
import { BlockHeight, type Outpoint, Sat, Txid } from '@leyden/bitcoin'
import {
  channelAnnouncement,
  ChannelId,
  channelUpdate,
  type ChannelUpdate,
  nodeAnnouncement,
  type NodeId,
  type ShortChannelId,
} from '@leyden/lnwire'
import { applyAnnouncement, applyNode, applyUpdate, type Direction, type GraphChannel, policyOf, type Policy } from './graph.ts'
import { emptyGossip, type Gossip, type GossipRow } from './state.ts'

const idText = (id: ShortChannelId): string => id.toString(16).padStart(16, '0')

export const channelRow = (channel: GraphChannel): GossipRow => ({
  suffix: `c/${idText(channel.shortChannelId)}`,
  value: packRecord({
    raw: channel.raw,
    capacitySat: channel.capacitySat,
    outpoint: channel.outpoint,
    spentAt: channel.spentAt,
    heardAt: channel.heardAt,
  }),
})
export const updateRow = (id: ShortChannelId, direction: Direction, raw: Uint8Array): GossipRow => ({
  suffix: `u/${idText(id)}/${direction}`,
  value: raw,
})
export const nodeRow = (id: NodeId, raw: Uint8Array): GossipRow => ({ suffix: `n/${id}`, value: raw })
export const remoteUpdateRow = (id: ChannelId, policy: Policy): GossipRow => ({ suffix: `r/${id}`, value: policy.raw })
export const localUpdateRow = (id: ChannelId, raw: Uint8Array): GossipRow => ({ suffix: `s/${id}`, value: raw })

export const ownGoneRows = (id: ChannelId): readonly GossipRow[] => [
  { suffix: `r/${id}`, value: undefined },
  { suffix: `s/${id}`, value: undefined },
]
export const channelGoneRows = (id: ShortChannelId, nodes: readonly NodeId[]): readonly GossipRow[] => [
  { suffix: `c/${idText(id)}`, value: undefined },
  { suffix: `u/${idText(id)}/0`, value: undefined },
  { suffix: `u/${idText(id)}/1`, value: undefined },
  ...nodes.map((node): GossipRow => ({ suffix: `n/${node}`, value: undefined })),
]

type StoredChannel = {
  raw: Uint8Array
  capacitySat?: bigint
  outpoint?: { txid: string; vout: number }
  spentAt?: number
  heardAt: number
}

const outpointOf = (stored: StoredChannel['outpoint']): Outpoint | undefined =>
  stored && { txid: Txid(stored.txid), vout: stored.vout }

/** What was known of our own channels: given back when the owner names the channel again. */
export interface StoredOwn {
  readonly local: Map<ChannelId, { readonly message: ChannelUpdate; readonly raw: Uint8Array }>
  readonly remote: Map<ChannelId, Policy>
}

/**
 * The state that these rows hold, in any order, signatures not checked again. Rows that do not decode are skipped.
 * `own` goes into `ownChannel` inputs by `restoreOwn` of own.ts.
 */
export const loadGossip = (
  rows: Iterable<readonly [suffix: string, value: Uint8Array]>,
): { readonly gossip: Gossip; readonly own: StoredOwn } => {
  const gossip = emptyGossip()
  const own: StoredOwn = { local: new Map(), remote: new Map() }
  const later: (readonly [string, Uint8Array])[] = []
  for (const row of rows) {
    const [suffix, value] = row
    if (!suffix.startsWith('c/')) {
      later.push(row)
      continue
    }
    const stored = unpackRecord(value) as StoredChannel
    const message = tryDecode(channelAnnouncement, stored.raw)
    if (message instanceof DecodeError) continue
    const outpoint = outpointOf(stored.outpoint)
    applyAnnouncement(gossip.graph, message, stored.raw, {
      heardAt: stored.heardAt,
      ...(stored.capacitySat === undefined ? {} : { capacitySat: Sat(stored.capacitySat) }),
      ...(outpoint === undefined ? {} : { outpoint }),
      ...(stored.spentAt === undefined ? {} : { spentAt: BlockHeight(stored.spentAt) }),
    })
  }
  for (const [suffix, raw] of later) {
    if (suffix.startsWith('n/')) {
      const message = tryDecode(nodeAnnouncement, raw)
      if (!(message instanceof DecodeError)) applyNode(gossip.graph, message, raw)
      continue
    }
    const message = tryDecode(channelUpdate, raw)
    if (message instanceof DecodeError) continue
    if (suffix.startsWith('u/')) applyUpdate(gossip.graph, message, raw)
    else if (suffix.startsWith('r/')) own.remote.set(ChannelId(suffix.slice(2)), policyOf(message, raw))
    else if (suffix.startsWith('s/')) own.local.set(ChannelId(suffix.slice(2)), { message, raw: raw.slice() })
  }
  return { gossip, own }
}
