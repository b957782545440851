/**
 * Our own copies of gossip messages, read for what the graph keeps of them. BOLT 7 § The channel_announcement, channel_update and
 * node_announcement Messages. A start reads all of them, and most of their bytes are signatures and keys that it does not look at.
 * They were decoded in full before they were stored; what has become shorter, or is another message, is undefined.
 */
import { bytesToHex } from '@leyden/codec'
import { MAX_MONEY, Msat } from '@leyden/bitcoin'
import { channelAnnouncement, channelUpdate, nodeAnnouncement, type NodeId, type ShortChannelId } from '@leyden/lnwire'
import type { AnnouncedChannel, AnnouncedNode, AnnouncedPolicy } from './graph.ts'

const [TYPE, SIGNATURE, LENGTH, HASH, POINT, SCID, TIMESTAMP] = [2, 64, 2, 32, 33, 8, 4]

const viewOf = (raw: Uint8Array): DataView => new DataView(raw.buffer, raw.byteOffset, raw.length)

const nodeIdAt = (raw: Uint8Array, at: number): NodeId => bytesToHex(raw.subarray(at, at + POINT)) as NodeId

export const readChannel = (raw: Uint8Array): AnnouncedChannel | undefined => {
  const view = viewOf(raw)
  const start = TYPE + 4 * SIGNATURE
  if (raw.length < start + LENGTH || view.getUint16(0) !== channelAnnouncement.id) return undefined
  const features = raw.subarray(start + LENGTH, start + LENGTH + view.getUint16(start))
  const id = start + LENGTH + features.length + HASH
  if (raw.length < id + SCID + 4 * POINT) return undefined
  return {
    features,
    shortChannelId: view.getBigUint64(id) as ShortChannelId,
    nodeId1: nodeIdAt(raw, id + SCID),
    nodeId2: nodeIdAt(raw, id + SCID + POINT),
  }
}

const UPDATE_BYTES = 138
const MOST = MAX_MONEY * 1000n
/** A bound over all money is no bound. */
const limit = (msat: bigint): Msat => Msat(msat > MOST ? MOST : msat)

export const readPolicy = (raw: Uint8Array): AnnouncedPolicy | undefined => {
  const view = viewOf(raw)
  if (raw.length < UPDATE_BYTES || view.getUint16(0) !== channelUpdate.id) return undefined
  const id = TYPE + SIGNATURE + HASH
  const flags = id + SCID + TIMESTAMP
  return {
    shortChannelId: view.getBigUint64(id) as ShortChannelId,
    timestamp: view.getUint32(id + SCID),
    channelFlags: view.getUint8(flags + 1),
    cltvExpiryDelta: view.getUint16(flags + 2),
    htlcMinimumMsat: limit(view.getBigUint64(flags + 4)),
    feeBaseMsat: view.getUint32(flags + 12),
    feeProportionalMillionths: view.getUint32(flags + 16),
    htlcMaximumMsat: limit(view.getBigUint64(flags + 20)),
  }
}

export const readNode = (raw: Uint8Array): AnnouncedNode | undefined => {
  const view = viewOf(raw)
  const start = TYPE + SIGNATURE
  if (raw.length < start + LENGTH || view.getUint16(0) !== nodeAnnouncement.id) return undefined
  const features = raw.subarray(start + LENGTH, start + LENGTH + view.getUint16(start))
  const at = start + LENGTH + features.length
  if (raw.length < at + TIMESTAMP + POINT) return undefined
  return { features, timestamp: view.getUint32(at), nodeId: nodeIdAt(raw, at + TIMESTAMP) }
}
