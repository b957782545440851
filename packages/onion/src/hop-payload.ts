/**
 * What the origin tells each hop: the TLV stream inside an onion layer. BOLT 4 § payload format.
 * Reading checks that the fields that a position needs are there and, inside a blinded path, that no others are; amounts and expiries
 * are compared with the HTLC by the payment.
 */
import { BlockHeight, MAX_MONEY, Msat } from '@leyden/bitcoin'
import { type Codec, DecodeError, encode, map, restBytes, struct, tlvStream, tryDecode, tu32, tu64 } from '@leyden/codec'
import { hash32, type Preimage, preimage, type ShortChannelId, shortChannelId, validPoint } from '@leyden/lnwire'

/** Keysend: the preimage travels in the onion. bLIP 3. */
const KEYSEND_TYPE = 5_482_373_484

/** BOLT 1 § Fundamental Types: truncated amounts too are at most 21 million BTC. */
export const tuMsat: Codec<Msat> = map(
  tu64,
  (n) => {
    if (n > MAX_MONEY * 1000n) throw new DecodeError('out_of_range', 'millisatoshi amount')
    return Msat(n)
  },
  (n) => n,
)
const tuHeight: Codec<BlockHeight> = map(tu32, BlockHeight, (n) => n)

const payloadTlvs = tlvStream({
  amtToForward: [2, tuMsat],
  outgoingCltvValue: [4, tuHeight],
  shortChannelId: [6, shortChannelId],
  paymentData: [8, struct({ paymentSecret: hash32, totalMsat: tuMsat })],
  encryptedRecipientData: [10, restBytes],
  currentPathKey: [12, validPoint],
  paymentMetadata: [16, restBytes],
  totalAmountMsat: [18, tuMsat],
  keysendPreimage: [KEYSEND_TYPE, preimage],
})

type Amounts = {
  /** What this hop sends on, or receives if it is the last. */
  readonly amtToForward: Msat
  readonly outgoingCltvValue: BlockHeight
}

export type ForwardPayload = Amounts & { readonly kind: 'forward'; readonly shortChannelId: ShortChannelId }
export type FinalPayload = Amounts & {
  readonly kind: 'final'
  /** 32 bytes as hex, with the total of all parts. Without it the total is this part. */
  readonly paymentData?: { readonly paymentSecret: string; readonly totalMsat: Msat } | undefined
  readonly paymentMetadata?: Uint8Array | undefined
  readonly keysendPreimage?: Preimage | undefined
}
/** A hop of a blinded path that is not its last: what to do is in the encrypted data. */
export type BlindedForwardPayload = {
  readonly kind: 'blinded_forward'
  readonly encryptedRecipientData: Uint8Array
  /** Set for the first node of the path, the introduction point. */
  readonly currentPathKey?: Uint8Array | undefined
}
export type BlindedFinalPayload = Amounts & {
  readonly kind: 'blinded_final'
  readonly encryptedRecipientData: Uint8Array
  readonly currentPathKey?: Uint8Array | undefined
  readonly totalAmountMsat: Msat
}
export type HopPayload = ForwardPayload | FinalPayload | BlindedForwardPayload | BlindedFinalPayload

/** The payload's TLV stream, without its length. */
export const encodeHopPayload = (payload: HopPayload): Uint8Array => encode(payloadTlvs, payload)

/** What invalid_onion_payload reports: the TLV type that is wrong or missing, 0 if the stream itself is bad. */
export type InvalidPayload = { readonly kind: 'invalid'; readonly tlvType: bigint }

const invalid = (tlvType: number): InvalidPayload => ({ kind: 'invalid', tlvType: BigInt(tlvType) })

/**
 * Reads a peeled payload for our position: `final` as `peelOnion` said, `hasPathKey` if update_add_htlc carried a path key.
 * BOLT 4 § payload format, the reader. Never throws.
 */
export const readHopPayload = (
  payload: Uint8Array,
  position: { readonly final: boolean; readonly hasPathKey: boolean },
): HopPayload | InvalidPayload => {
  const fields = tryDecode(payloadTlvs, payload)
  if (fields instanceof DecodeError) return invalid(0)
  const { amtToForward, outgoingCltvValue, encryptedRecipientData, currentPathKey, totalAmountMsat } = fields
  if (encryptedRecipientData !== undefined) {
    if (position.hasPathKey === (currentPathKey !== undefined)) return invalid(12)
    const blinded = { encryptedRecipientData, ...(currentPathKey === undefined ? {} : { currentPathKey }) }
    if (fields.shortChannelId !== undefined) return invalid(6)
    if (fields.paymentData !== undefined) return invalid(8)
    if (fields.paymentMetadata !== undefined) return invalid(16)
    if (fields.keysendPreimage !== undefined) return invalid(KEYSEND_TYPE)
    if (!position.final) {
      if (amtToForward !== undefined) return invalid(2)
      if (outgoingCltvValue !== undefined) return invalid(4)
      if (totalAmountMsat !== undefined) return invalid(18)
      return { kind: 'blinded_forward', ...blinded }
    }
    if (amtToForward === undefined) return invalid(2)
    if (outgoingCltvValue === undefined) return invalid(4)
    if (totalAmountMsat === undefined) return invalid(18)
    return { kind: 'blinded_final', amtToForward, outgoingCltvValue, totalAmountMsat, ...blinded }
  }
  if (position.hasPathKey) return invalid(10)
  if (currentPathKey !== undefined) return invalid(12)
  if (amtToForward === undefined) return invalid(2)
  if (outgoingCltvValue === undefined) return invalid(4)
  if (!position.final) {
    if (fields.shortChannelId === undefined) return invalid(6)
    return { kind: 'forward', amtToForward, outgoingCltvValue, shortChannelId: fields.shortChannelId }
  }
  const { paymentData, paymentMetadata, keysendPreimage } = fields
  return {
    kind: 'final',
    amtToForward,
    outgoingCltvValue,
    ...(paymentData === undefined ? {} : { paymentData }),
    ...(paymentMetadata === undefined ? {} : { paymentMetadata }),
    ...(keysendPreimage === undefined ? {} : { keysendPreimage }),
  }
}
