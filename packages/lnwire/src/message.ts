/**
 * Every message we know, by number and by name. BOLT 1 § Lightning Message Format.
 * Decoding answers with one of three: a message, a message of unknown type (odd: ignore it; even: close the connection), or why the
 * bytes are no message. It throws nothing, whatever the bytes.
 */
import { type Codec, DecodeError, encode, tryDecode } from '@leyden/codec'
import * as bolt1 from './bolt1.ts'
import * as bolt2 from './bolt2.ts'
import * as bolt7 from './bolt7.ts'

/** Longest message, type included. BOLT 1 § Lightning Message Format, BOLT 8 § Lightning Message Specification. */
export const MAX_MESSAGE_BYTES = 65_535

export type Message =
  | bolt1.Init
  | bolt1.ErrorMessage
  | bolt1.Warning
  | bolt1.Ping
  | bolt1.Pong
  | bolt1.PeerStorage
  | bolt1.PeerStorageRetrieval
  | bolt2.OpenChannel
  | bolt2.AcceptChannel
  | bolt2.FundingCreated
  | bolt2.FundingSigned
  | bolt2.ChannelReady
  | bolt2.Shutdown
  | bolt2.ClosingSigned
  | bolt2.ClosingComplete
  | bolt2.ClosingSig
  | bolt2.Stfu
  | bolt2.UpdateAddHtlc
  | bolt2.UpdateFulfillHtlc
  | bolt2.UpdateFailHtlc
  | bolt2.UpdateFailMalformedHtlc
  | bolt2.CommitmentSigned
  | bolt2.RevokeAndAck
  | bolt2.UpdateFee
  | bolt2.ChannelReestablish
  | bolt7.AnnouncementSignatures
  | bolt7.ChannelAnnouncement
  | bolt7.NodeAnnouncement
  | bolt7.ChannelUpdate
  | bolt7.QueryShortChannelIds
  | bolt7.ReplyShortChannelIdsEnd
  | bolt7.QueryChannelRange
  | bolt7.ReplyChannelRange
  | bolt7.GossipTimestampFilter

export type MessageType = Message['type']
/** The message of one type. */
export type MessageOfType<T extends MessageType> = Extract<Message, { type: T }>

/** A message whose type number nobody here knows. */
export type UnknownMessage = {
  readonly type: 'unknown'
  readonly typeNumber: number
  readonly odd: boolean
  readonly payload: Uint8Array
}

type CodecTable = { readonly [T in MessageType]: Codec<MessageOfType<T>> & { readonly id: number; readonly name: T } }

/** The codec of each message, by its name in the spec. */
export const messageCodecs: CodecTable = {
  init: bolt1.init,
  error: bolt1.error,
  warning: bolt1.warning,
  ping: bolt1.ping,
  pong: bolt1.pong,
  peer_storage: bolt1.peerStorage,
  peer_storage_retrieval: bolt1.peerStorageRetrieval,
  open_channel: bolt2.openChannel,
  accept_channel: bolt2.acceptChannel,
  funding_created: bolt2.fundingCreated,
  funding_signed: bolt2.fundingSigned,
  channel_ready: bolt2.channelReady,
  shutdown: bolt2.shutdown,
  closing_signed: bolt2.closingSigned,
  closing_complete: bolt2.closingComplete,
  closing_sig: bolt2.closingSig,
  stfu: bolt2.stfu,
  update_add_htlc: bolt2.updateAddHtlc,
  update_fulfill_htlc: bolt2.updateFulfillHtlc,
  update_fail_htlc: bolt2.updateFailHtlc,
  update_fail_malformed_htlc: bolt2.updateFailMalformedHtlc,
  commitment_signed: bolt2.commitmentSigned,
  revoke_and_ack: bolt2.revokeAndAck,
  update_fee: bolt2.updateFee,
  channel_reestablish: bolt2.channelReestablish,
  announcement_signatures: bolt7.announcementSignatures,
  channel_announcement: bolt7.channelAnnouncement,
  node_announcement: bolt7.nodeAnnouncement,
  channel_update: bolt7.channelUpdate,
  query_short_channel_ids: bolt7.queryShortChannelIds,
  reply_short_channel_ids_end: bolt7.replyShortChannelIdsEnd,
  query_channel_range: bolt7.queryChannelRange,
  reply_channel_range: bolt7.replyChannelRange,
  gossip_timestamp_filter: bolt7.gossipTimestampFilter,
}

const byNumber: ReadonlyMap<number, Codec<Message>> = new Map(
  Object.values(messageCodecs).map((codec) => [codec.id, codec as Codec<Message>]),
)

/** The message that exactly these bytes spell (type first, transport stripped). Never throws. */
export const decodeMessage = (raw: Uint8Array): Message | UnknownMessage | DecodeError => {
  if (raw.length < 2) return new DecodeError('truncated', 'message type')
  if (raw.length > MAX_MESSAGE_BYTES) return new DecodeError('too_large', 'message')
  const typeNumber = ((raw[0] ?? 0) << 8) | (raw[1] ?? 0)
  const codec = byNumber.get(typeNumber)
  if (codec !== undefined) return tryDecode(codec, raw)
  return { type: 'unknown', typeNumber, odd: typeNumber % 2 === 1, payload: raw.slice(2) }
}

/**
 * The bytes of a message, type first.
 * @throws RangeError if a field does not fit or the whole exceeds 65,535 bytes.
 */
export const encodeMessage = (message: Message): Uint8Array => {
  const raw = encode(messageCodecs[message.type] as Codec<Message>, message)
  if (raw.length > MAX_MESSAGE_BYTES) throw new RangeError(`${message.type} of ${raw.length} bytes`)
  return raw
}
