/**
 * Our own gossip: channel_announcement out of both sides' signatures, channel_update, node_announcement. BOLT 7, origin node.
 * `sign` is the node key over a 32-byte hash, 64 bytes compact. An announcement has four signatures; the two of the remote come in
 * its announcement_signatures, and the hash that all of them sign is `channelAnnouncementHash`.
 */
import type { Msat } from '@leyden/bitcoin'
import { compareBytes, utf8Encode } from '@leyden/codec'
import {
  CHANNEL_FLAG_DISABLE,
  type ChannelAnnouncement,
  type ChannelUpdate,
  encodeMessage,
  MESSAGE_FLAG_DONT_FORWARD,
  MESSAGE_FLAG_MUST_BE_ONE,
  type NodeAddress,
  type NodeAnnouncement,
  nodeAddress,
  type NodeId,
  type ShortChannelId,
  signedHash,
} from '@leyden/lnwire'
import { encode } from '@leyden/codec'

/** Signs a gossip hash with the node key. */
export type SignNode = (hash: Uint8Array) => Uint8Array

/** A message with the bytes that were signed. */
export interface Signed<T> {
  readonly message: T
  readonly raw: Uint8Array
}

const NO_SIGNATURE = new Uint8Array(64)

/** One side of a channel that is to be announced. */
export interface AnnouncedSide {
  readonly nodeId: NodeId
  /** funding_pubkey. */
  readonly bitcoinKey: Uint8Array
  readonly nodeSignature: Uint8Array
  readonly bitcoinSignature: Uint8Array
}

export interface AnnouncementFields {
  readonly chainHash: Uint8Array
  readonly shortChannelId: ShortChannelId
  /** Of the channel, usually empty. */
  readonly features: Uint8Array
}

/** Puts the sides into the order of the spec; the message is not checked here. */
export const buildChannelAnnouncement = (
  fields: AnnouncementFields,
  a: AnnouncedSide,
  b: AnnouncedSide,
): Signed<ChannelAnnouncement> => {
  const [one, two] = a.nodeId < b.nodeId ? [a, b] : [b, a]
  const message: ChannelAnnouncement = {
    type: 'channel_announcement',
    nodeSignature1: one.nodeSignature,
    nodeSignature2: two.nodeSignature,
    bitcoinSignature1: one.bitcoinSignature,
    bitcoinSignature2: two.bitcoinSignature,
    ...fields,
    nodeId1: one.nodeId,
    nodeId2: two.nodeId,
    bitcoinKey1: one.bitcoinKey,
    bitcoinKey2: two.bitcoinKey,
  }
  return { message, raw: encodeMessage(message) }
}

/** What each side signs, with its node key and with its funding key. 32 bytes. */
export const channelAnnouncementHash = (
  fields: AnnouncementFields,
  a: Pick<AnnouncedSide, 'nodeId' | 'bitcoinKey'>,
  b: Pick<AnnouncedSide, 'nodeId' | 'bitcoinKey'>,
): Uint8Array => {
  const unsigned = { nodeSignature: NO_SIGNATURE, bitcoinSignature: NO_SIGNATURE }
  return signedHash(buildChannelAnnouncement(fields, { ...a, ...unsigned }, { ...b, ...unsigned }).raw, 'channel_announcement')
}

/** What we ask for to forward over a channel of ours. */
export interface OwnPolicy {
  readonly enabled: boolean
  readonly cltvExpiryDelta: number
  readonly feeBaseMsat: number
  readonly feeProportionalMillionths: number
  readonly htlcMinimumMsat: Msat
  readonly htlcMaximumMsat: Msat
}

/** `private`: for the peer alone, it sets dont_forward. `timestamp` must be greater than that of the update before. */
export const buildChannelUpdate = (
  fields: {
    readonly chainHash: Uint8Array
    readonly shortChannelId: ShortChannelId
    readonly localNodeId: NodeId
    readonly remoteNodeId: NodeId
    readonly timestamp: number
    readonly policy: OwnPolicy
    readonly private: boolean
  },
  sign: SignNode,
): Signed<ChannelUpdate> => {
  const { enabled, ...policy } = fields.policy
  const unsigned: ChannelUpdate = {
    type: 'channel_update',
    signature: NO_SIGNATURE,
    chainHash: fields.chainHash,
    shortChannelId: fields.shortChannelId,
    timestamp: fields.timestamp,
    messageFlags: MESSAGE_FLAG_MUST_BE_ONE | (fields.private ? MESSAGE_FLAG_DONT_FORWARD : 0),
    channelFlags: (fields.localNodeId < fields.remoteNodeId ? 0 : 1) | (enabled ? 0 : CHANNEL_FLAG_DISABLE),
    ...policy,
  }
  const message = { ...unsigned, signature: sign(signedHash(encodeMessage(unsigned), 'channel_update')) }
  return { message, raw: encodeMessage(message) }
}

/** How we present ourselves. */
export interface NodeInfo {
  /** At most 32 bytes of UTF-8; longer ones are cut between characters. */
  readonly alias: string
  /** Red, green, blue. */
  readonly rgbColor: Uint8Array
  readonly addresses: readonly NodeAddress[]
  /** The vector of context `node`. */
  readonly features: Uint8Array
}

const aliasBytes = (alias: string): Uint8Array => {
  const out = new Uint8Array(32)
  let length = 0
  for (const character of alias) {
    const bytes = utf8Encode(character)
    if (length + bytes.length > 32) break
    out.set(bytes, length)
    length += bytes.length
  }
  return out
}

/** Addresses in ascending order, at most one DNS name, none without a port. */
export const buildNodeAnnouncement = (
  nodeId: NodeId,
  info: NodeInfo,
  timestamp: number,
  sign: SignNode,
): Signed<NodeAnnouncement> => {
  const listed = info.addresses.filter((address) => address.type !== 'unknown' && address.port > 0)
  const dns = listed.find((address) => address.type === 'dns')
  const addresses = listed
    .filter((address) => address.type !== 'dns' || address === dns)
    .toSorted((a, b) => compareBytes(encode(nodeAddress, a), encode(nodeAddress, b)))
  const unsigned: NodeAnnouncement = {
    type: 'node_announcement',
    signature: NO_SIGNATURE,
    features: info.features,
    timestamp,
    nodeId,
    rgbColor: info.rgbColor,
    alias: aliasBytes(info.alias),
    addresses,
  }
  const message = { ...unsigned, signature: sign(signedHash(encodeMessage(unsigned), 'node_announcement')) }
  return { message, raw: encodeMessage(message) }
}
