/**
 * Gossip messages and queries. BOLT 7.
 * Signatures cover the bytes as received, unknown trailing fields included: `signedHash` takes raw bytes, never a decoded value,
 * and whoever relays an announcement relays those bytes.
 * The zlib encoding of id lists is refused, as the spec now demands. Timestamp 0 is refused at parse.
 */
import {
  type Codec,
  bigSize,
  bytes,
  DecodeError,
  type Infer,
  map,
  message,
  type Reader,
  restArray,
  sized,
  struct,
  u16,
  u32,
  u8,
  type Writer,
  encode,
  decode,
} from '@leyden/codec'
import { sha256d } from '@leyden/crypto'
import { nodeAddresses } from './node-address.ts'
import { chainHash, channelId, msatLimit, nodeId, point, shortChannelId, signature } from './primitives.ts'

/** `messageFlags` of channel_update. Bit 0 is always set. */
export const MESSAGE_FLAG_MUST_BE_ONE = 1
export const MESSAGE_FLAG_DONT_FORWARD = 2
/** `channelFlags` of channel_update: which end speaks (0: node 1), and whether it is closed to payments for now. */
export const CHANNEL_FLAG_DIRECTION = 1
export const CHANNEL_FLAG_DISABLE = 2

const features = sized(u16, 65_535)

const timestamp: Codec<number> = map(
  u32,
  (seconds) => {
    if (seconds === 0) throw new DecodeError('out_of_range', 'timestamp 0')
    return seconds
  },
  (seconds) => seconds,
)

/** A codec for the whole content of a length-prefixed field. */
const within = <T>(length: Codec<number>, inner: Codec<T>): Codec<T> =>
  map(
    sized(length, 65_535),
    (field) => decode(inner, field),
    (value) => encode(inner, value),
  )

/** `encoding_type` 0 (uncompressed) and then items to the end. BOLT 7 § Query Messages. */
const uncompressed = <T>(item: Codec<T>): Codec<readonly T[]> => {
  const items = restArray(item)
  return {
    encode(writer: Writer, value) {
      writer.u8(0)
      items.encode(writer, value)
    },
    decode(reader: Reader) {
      const encoding = reader.u8()
      if (encoding !== 0) throw new DecodeError('invalid', `id list encoding ${encoding}`)
      return items.decode(reader)
    },
  }
}

/** BOLT 7 § The announcement_signatures Message. */
export const announcementSignatures = message(259, 'announcement_signatures', {
  channelId,
  shortChannelId,
  nodeSignature: signature,
  bitcoinSignature: signature,
})
export type AnnouncementSignatures = Infer<typeof announcementSignatures>

/** BOLT 7 § The channel_announcement Message. */
export const channelAnnouncement = message(256, 'channel_announcement', {
  nodeSignature1: signature,
  nodeSignature2: signature,
  bitcoinSignature1: signature,
  bitcoinSignature2: signature,
  features,
  chainHash,
  shortChannelId,
  nodeId1: nodeId,
  nodeId2: nodeId,
  bitcoinKey1: point,
  bitcoinKey2: point,
})
export type ChannelAnnouncement = Infer<typeof channelAnnouncement>

/** BOLT 7 § The node_announcement Message. `alias` is the node's own word: see `aliasText`. */
export const nodeAnnouncement = message(257, 'node_announcement', {
  signature,
  features,
  timestamp,
  nodeId,
  rgbColor: bytes(3),
  alias: bytes(32),
  addresses: within(u16, nodeAddresses),
})
export type NodeAnnouncement = Infer<typeof nodeAnnouncement>

/** BOLT 7 § The channel_update Message. */
export const channelUpdate = message(258, 'channel_update', {
  signature,
  chainHash,
  shortChannelId,
  timestamp,
  messageFlags: u8,
  channelFlags: u8,
  cltvExpiryDelta: u16,
  htlcMinimumMsat: msatLimit,
  feeBaseMsat: u32,
  feeProportionalMillionths: u32,
  htlcMaximumMsat: msatLimit,
})
export type ChannelUpdate = Infer<typeof channelUpdate>

/** BOLT 7 § The query_short_channel_ids/reply_short_channel_ids_end Messages. At most 8,191 ids fit. */
export const queryShortChannelIds = message(
  261,
  'query_short_channel_ids',
  { chainHash, shortChannelIds: within(u16, uncompressed(shortChannelId)) },
  { queryFlags: [1, uncompressed(bigSize)] },
)
export type QueryShortChannelIds = Infer<typeof queryShortChannelIds>

/** BOLT 7 § The query_short_channel_ids/reply_short_channel_ids_end Messages. */
export const replyShortChannelIdsEnd = message(262, 'reply_short_channel_ids_end', { chainHash, fullInformation: u8 })
export type ReplyShortChannelIdsEnd = Infer<typeof replyShortChannelIdsEnd>

/** BOLT 7 § The query_channel_range and reply_channel_range Messages. */
export const queryChannelRange = message(
  263,
  'query_channel_range',
  { chainHash, firstBlocknum: u32, numberOfBlocks: u32 },
  { queryOptionFlags: [1, bigSize] },
)
export type QueryChannelRange = Infer<typeof queryChannelRange>

/** BOLT 7 § The query_channel_range and reply_channel_range Messages. */
export const replyChannelRange = message(
  264,
  'reply_channel_range',
  {
    chainHash,
    firstBlocknum: u32,
    numberOfBlocks: u32,
    syncComplete: u8,
    shortChannelIds: within(u16, uncompressed(shortChannelId)),
  },
  {
    timestamps: [1, uncompressed(struct({ timestampNodeId1: u32, timestampNodeId2: u32 }))],
    checksums: [3, restArray(struct({ checksumNodeId1: u32, checksumNodeId2: u32 }))],
  },
)
export type ReplyChannelRange = Infer<typeof replyChannelRange>

/** BOLT 7 § The gossip_timestamp_filter Message. Here 0 is a time like any other. */
export const gossipTimestampFilter = message(265, 'gossip_timestamp_filter', {
  chainHash,
  firstTimestamp: u32,
  timestampRange: u32,
})
export type GossipTimestampFilter = Infer<typeof gossipTimestampFilter>

/** Offset of the first signed byte: two of type and the signatures in front. */
const SIGNED_FROM = { channel_announcement: 2 + 4 * 64, node_announcement: 2 + 64, channel_update: 2 + 64 } as const
export type SignedGossip = keyof typeof SIGNED_FROM

/**
 * The 32 bytes that the signatures of a gossip message sign: double SHA-256 of everything behind them, type excluded.
 * `raw` is the message as received (or as encoded with any signature), type first.
 * @throws RangeError if it is too short to be such a message.
 */
export const signedHash = (raw: Uint8Array, type: SignedGossip): Uint8Array => {
  const from = SIGNED_FROM[type]
  if (raw.length <= from) throw new RangeError(`too short for ${type}`)
  return sha256d(raw.subarray(from))
}

/**
 * An alias fit to show: UTF-8 without trailing zeros; control, format (bidirectional, zero-width), private and unassigned characters and
 * line separators become U+FFFD, as do bytes that are not UTF-8.
 */
export const aliasText = (alias: Uint8Array): string => {
  let end = alias.length
  while (end > 0 && alias[end - 1] === 0) end--
  const text = new TextDecoder('utf-8').decode(alias.subarray(0, end))
  return text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, '\u{FFFD}')
}
