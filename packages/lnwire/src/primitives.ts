/**
 * The fundamental types of Lightning messages: ids as branded lower-case hex, amounts as branded bigint, and their codecs.
 * BOLT 1 § Fundamental Types, BOLT 2 § Definition of channel_id, BOLT 7 § Definition of short_channel_id.
 * A txid travels in internal byte order and is shown reversed, so `txid` is the one codec here whose hex differs from the wire.
 * Points of protocol messages are checked to be on the curve (`validPoint`); node ids in gossip only by shape, because the
 * signature check that follows refuses a bad one and most announcements are already known.
 */
import { bytes, bytesToHex, type Codec, DecodeError, hex, hexToBytes, map, u32, u64, type Unit } from '@leyden/codec'
import { BlockHeight, FeeratePerKw, MAX_MONEY, Msat, Sat, type Txid, txidFromBytes, txidToBytes } from '@leyden/bitcoin'
import { isValidPoint } from '@leyden/crypto'

/** A node's public key: 33 bytes, compressed, as lower-case hex. */
export type NodeId = Unit<string, 'node_id'>
/** 32 bytes as lower-case hex: the funding outpoint of a channel, or random bytes before there is one. */
export type ChannelId = Unit<string, 'channel_id'>
/** SHA-256 of a preimage: 32 bytes as lower-case hex. */
export type PaymentHash = Unit<string, 'payment_hash'>
/** What settles an HTLC: 32 bytes as lower-case hex. Worth money before it is revealed: never log one. */
export type Preimage = Unit<string, 'preimage'>
/** Block height, transaction index and output index of a funding output, packed in 64 bits; or an alias of that shape. */
export type ShortChannelId = Unit<bigint, 'short_channel_id'>
/** Numbers HTLCs per channel and per offerer, from 0. */
export type HtlcId = bigint

const hexOf = (name: string, pattern: RegExp, text: string): string => {
  if (!pattern.test(text)) throw new RangeError(`not a ${name}`)
  return text
}
const HASH = /^[0-9a-f]{64}$/
const POINT = /^0[23][0-9a-f]{64}$/

/** @throws RangeError unless 66 lower-case hex characters that begin with 02 or 03. Whether it lies on the curve is not checked. */
export const NodeId = (text: string): NodeId => hexOf('node id', POINT, text) as NodeId
/** @throws RangeError unless 64 lower-case hex characters. */
export const ChannelId = (text: string): ChannelId => hexOf('channel id', HASH, text) as ChannelId
/** @throws RangeError unless 64 lower-case hex characters. */
export const PaymentHash = (text: string): PaymentHash => hexOf('payment hash', HASH, text) as PaymentHash
/** @throws RangeError unless 64 lower-case hex characters. */
export const Preimage = (text: string): Preimage => hexOf('preimage', HASH, text) as Preimage

/** @throws RangeError unless 33 bytes that begin with 02 or 03. */
export const nodeIdFromPoint = (point: Uint8Array): NodeId => NodeId(bytesToHex(point))
/** The 33-byte compressed point. */
export const nodeIdToPoint = (id: NodeId): Uint8Array => hexToBytes(id)

/** All zeros: an error or warning about every channel with the peer. BOLT 1 § The error and warning Messages. */
export const ALL_CHANNELS: ChannelId = ChannelId('0'.repeat(64))

/**
 * The id of a channel: the funding txid, its last two bytes XORed with the output index. BOLT 2 § Definition of channel_id.
 * @throws RangeError if `vout` does not fit in 16 bits.
 */
export const channelIdFromOutpoint = (fundingTxid: Txid, vout: number): ChannelId => {
  if (!Number.isInteger(vout) || vout < 0 || vout > 0xffff) throw new RangeError('funding output index')
  const id = Uint8Array.from(txidToBytes(fundingTxid))
  id[30] = (id[30] ?? 0) ^ (vout >> 8)
  id[31] = (id[31] ?? 0) ^ (vout & 0xff)
  return ChannelId(bytesToHex(id))
}

/** @throws RangeError unless 0 <= n < 2^64. */
export const ShortChannelId = (n: bigint): ShortChannelId => {
  if (n < 0n || n > 0xffffffffffffffffn) throw new RangeError('short_channel_id')
  return n as ShortChannelId
}

/** Packs block (24 bits), transaction index (24 bits) and output index (16 bits). @throws RangeError if one does not fit. */
export const scid = (block: number, tx: number, output: number): ShortChannelId => {
  const fits = (n: number, max: number): boolean => Number.isInteger(n) && n >= 0 && n <= max
  if (!fits(block, 0xffffff) || !fits(tx, 0xffffff) || !fits(output, 0xffff)) throw new RangeError('short_channel_id')
  return ((BigInt(block) << 40n) | (BigInt(tx) << 16n) | BigInt(output)) as ShortChannelId
}

/** The three parts of a short_channel_id. */
export const scidParts = (id: ShortChannelId): { readonly block: number; readonly tx: number; readonly output: number } => ({
  block: Number(id >> 40n),
  tx: Number((id >> 16n) & 0xffffffn),
  output: Number(id & 0xffffn),
})

/** `539268x845x1`, the text form of BOLT 7. */
export const formatScid = (id: ShortChannelId): string => {
  const { block, tx, output } = scidParts(id)
  return `${block}x${tx}x${output}`
}

/** The reverse of `formatScid`; undefined if the text is anything else. */
export const parseScid = (text: string): ShortChannelId | undefined => {
  const match = /^(0|[1-9]\d{0,7})x(0|[1-9]\d{0,7})x(0|[1-9]\d{0,4})$/.exec(text)
  if (!match) return undefined
  const [block, tx, output] = [Number(match[1]), Number(match[2]), Number(match[3])]
  return block > 0xffffff || tx > 0xffffff || output > 0xffff ? undefined : scid(block, tx, output)
}

const branded = <B extends string>(codec: Codec<string>): Codec<B> =>
  map(
    codec,
    (text) => text as B,
    (id) => id,
  )

/** Any 32 bytes as lower-case hex. */
export const hash32: Codec<string> = hex(32)
export const channelId: Codec<ChannelId> = branded<ChannelId>(hex(32))
export const paymentHash: Codec<PaymentHash> = branded<PaymentHash>(hex(32))
export const preimage: Codec<Preimage> = branded<Preimage>(hex(32))

/** 33 bytes that begin with 02 or 03. */
export const nodeId: Codec<NodeId> = map(
  hex(33),
  (text) => {
    if (!POINT.test(text)) throw new DecodeError('invalid', 'point prefix')
    return text as NodeId
  },
  (id) => id,
)

const pointOf = (accept: (point: Uint8Array) => boolean): Codec<Uint8Array> => {
  const check = (point: Uint8Array): Uint8Array => {
    if (!accept(point)) throw new DecodeError('invalid', 'point')
    return point
  }
  return map(bytes(33), check, (point) => point)
}

/** 33 bytes that begin with 02 or 03; may lie off the curve. */
export const point: Codec<Uint8Array> = pointOf((p) => p[0] === 2 || p[0] === 3)
/** 33 bytes, a compressed point on the curve. */
export const validPoint: Codec<Uint8Array> = pointOf(isValidPoint)

/** 64 bytes, compact ECDSA. Whether it signs anything is the receiver's check. */
export const signature: Codec<Uint8Array> = bytes(64)
/** 32 bytes, the genesis hash in internal byte order. BOLT 0 § Glossary. */
export const chainHash: Codec<Uint8Array> = bytes(32)
export const htlcId: Codec<HtlcId> = u64

/** Internal byte order on the wire, display order in memory. */
export const txid: Codec<Txid> = map(bytes(32), txidFromBytes, txidToBytes)

const MAX_MSAT = MAX_MONEY * 1000n

/** u64, at most 21 million BTC. BOLT 1 § Fundamental Types. */
export const sat: Codec<Sat> = map(
  u64,
  (n) => {
    if (n > MAX_MONEY) throw new DecodeError('out_of_range', 'satoshi amount')
    return Sat(n)
  },
  (n) => n,
)

/** u64, at most 21 million BTC. BOLT 1 § Fundamental Types. */
export const msat: Codec<Msat> = map(
  u64,
  (n) => {
    if (n > MAX_MSAT) throw new DecodeError('out_of_range', 'millisatoshi amount')
    return Msat(n)
  },
  (n) => n,
)

/**
 * A u64 bound on amounts rather than an amount. Peers write 2^64 - 1 for "no limit": whatever exceeds all money is read as all money.
 */
export const msatLimit: Codec<Msat> = map(
  u64,
  (n) => Msat(n > MAX_MSAT ? MAX_MSAT : n),
  (n) => n,
)

export const feeratePerKw: Codec<FeeratePerKw> = map(u32, FeeratePerKw, (n) => n)
export const blockHeight: Codec<BlockHeight> = map(u32, BlockHeight, (n) => n)
export const shortChannelId: Codec<ShortChannelId> = map(
  u64,
  (n) => n as ShortChannelId,
  (n) => n,
)
