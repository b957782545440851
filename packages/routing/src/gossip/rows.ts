/**
 * How the graph is stored: a row per raw message, under a suffix that names it.
 * `c/<id>` channel (record of raw, capacity, outpoint, spentAt) · `u/<id>/<direction>` update · `n/<node>` node announcement ·
 * `r/<channel id>` the remote's update for a channel of ours · `s/<channel id>` our own update.
 * Ids are 16 hex digits. What is damaged or of another chain is skipped: it can be had again.
 */
import { packRecord, tryDecode, DecodeError, unpackRecord } from '@leyden/codec'
import { BlockHeight, type Outpoint, Sat, Txid } from '@leyden/bitcoin'
import { ChannelId, channelUpdate, type ChannelUpdate, type NodeId, type ShortChannelId } from '@leyden/lnwire'
import { applyAnnouncement, applyNode, applyUpdate, type Direction, type GraphChannel, policyOf, type Policy } from './graph.ts'
import { emptyGossip, type Gossip, type GossipRow } from './state.ts'
import { readChannel, readNode, readPolicy } from './stored.ts'

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

/** Takes the rows of the store one by one, in any order, and keeps their arrays. */
export interface GossipLoader {
  row(suffix: string, value: Uint8Array): void
  /** The state that the rows hold. `own` goes into `ownChannel` inputs by `restoreOwn` of own.ts. */
  done(): { readonly gossip: Gossip; readonly own: StoredOwn }
}

const SHELF_BYTES = 1 << 20

/**
 * Copies of arrays, side by side in larger ones: memory of its own for each of two hundred thousand messages costs more than the messages.
 * A larger one lives as long as something in it: so this is for what is loaded together, not for what comes later.
 */
const shelf = (): ((bytes: Uint8Array) => Uint8Array) => {
  let board = new Uint8Array(0)
  let at = 0
  return (bytes) => {
    if (at + bytes.length > board.length) {
      board = new Uint8Array(Math.max(SHELF_BYTES, bytes.length))
      at = 0
    }
    board.set(bytes, at)
    at += bytes.length
    return board.subarray(at - bytes.length, at)
  }
}

/** Signatures are not checked again. Rows that do not decode are skipped. */
export const gossipLoader = (): GossipLoader => {
  const gossip = emptyGossip()
  const { graph } = gossip
  const keep = shelf()
  const own: StoredOwn = { local: new Map(), remote: new Map() }
  /** Of channels that have not come yet: none, when rows come in the order of their keys. */
  const later: (readonly [suffix: string, value: Uint8Array])[] = []

  const channel = (value: Uint8Array): void => {
    const stored = unpackRecord(value) as StoredChannel
    const message = readChannel(stored.raw)
    if (message === undefined) return
    applyAnnouncement(graph, message, keep(stored.raw), {
      heardAt: stored.heardAt,
      capacitySat: stored.capacitySat === undefined ? undefined : Sat(stored.capacitySat),
      outpoint: outpointOf(stored.outpoint),
      spentAt: stored.spentAt === undefined ? undefined : BlockHeight(stored.spentAt),
    })
  }
  /** Whether there is something that the row belongs to. */
  const place = (suffix: string, raw: Uint8Array): boolean => {
    if (suffix.startsWith('u/')) {
      const message = readPolicy(raw)
      if (message === undefined) return true
      if (!graph.channels.has(message.shortChannelId)) return false
      applyUpdate(graph, message, keep(raw))
    } else if (suffix.startsWith('n/')) {
      const message = readNode(raw)
      if (message === undefined) return true
      if (!graph.nodes.has(message.nodeId)) return false
      applyNode(graph, message, keep(raw))
    } else {
      const message = tryDecode(channelUpdate, raw)
      if (message instanceof DecodeError) return true
      if (suffix.startsWith('r/')) own.remote.set(ChannelId(suffix.slice(2)), policyOf(message, raw))
      else if (suffix.startsWith('s/')) own.local.set(ChannelId(suffix.slice(2)), { message, raw })
    }
    return true
  }
  return {
    row(suffix, value) {
      if (suffix.startsWith('c/')) channel(value)
      else if (!place(suffix, value)) later.push([suffix, value])
    },
    done() {
      for (const [suffix, value] of later) place(suffix, value)
      return { gossip, own }
    },
  }
}

/** The state that these rows hold: {@link gossipLoader}. */
export const loadGossip = (rows: Iterable<readonly [suffix: string, value: Uint8Array]>): ReturnType<GossipLoader['done']> => {
  const loader = gossipLoader()
  for (const [suffix, value] of rows) loader.row(suffix, value)
  return loader.done()
}
