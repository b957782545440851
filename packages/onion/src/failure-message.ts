/**
 * What a hop says went wrong. BOLT 4 § Failure Messages.
 * Codes carry four flags in their top bits. A message that we do not know, or whose data is not what its code demands, becomes `unknown`
 * with its code, so that the flags still count. Extra bytes are ignored.
 */
import {
  bigSize64,
  type Codec,
  concat,
  DecodeError,
  encode,
  type Infer,
  Reader,
  sized,
  struct,
  u16,
  u32,
  u64,
  bytes,
} from '@leyden/codec'

/** The hop could not read the onion; its predecessor reports. */
export const BADONION = 0x8000
/** Do not try again. */
export const PERM = 0x4000
/** About the node, not a channel. */
export const NODE = 0x2000
/** A parameter of the channel was violated. */
export const UPDATE = 0x1000

const channelUpdate = sized(u16, 65_535)
const onionHash = struct({ sha256OfOnion: bytes(32) })
const nothing = struct({})

/** Code and data of each failure, by its name in the spec. */
const TABLE = {
  temporary_node_failure: [NODE | 2, nothing],
  permanent_node_failure: [PERM | NODE | 2, nothing],
  required_node_feature_missing: [PERM | NODE | 3, nothing],
  invalid_onion_version: [BADONION | PERM | 4, onionHash],
  invalid_onion_hmac: [BADONION | PERM | 5, onionHash],
  invalid_onion_key: [BADONION | PERM | 6, onionHash],
  temporary_channel_failure: [UPDATE | 7, struct({ channelUpdate })],
  permanent_channel_failure: [PERM | 8, nothing],
  required_channel_feature_missing: [PERM | 9, nothing],
  unknown_next_peer: [PERM | 10, nothing],
  amount_below_minimum: [UPDATE | 11, struct({ htlcMsat: u64, channelUpdate })],
  fee_insufficient: [UPDATE | 12, struct({ htlcMsat: u64, channelUpdate })],
  incorrect_cltv_expiry: [UPDATE | 13, struct({ cltvExpiry: u32, channelUpdate })],
  expiry_too_soon: [UPDATE | 14, struct({ channelUpdate })],
  incorrect_or_unknown_payment_details: [PERM | 15, struct({ htlcMsat: u64, height: u32 })],
  final_incorrect_cltv_expiry: [18, struct({ cltvExpiry: u32 })],
  final_incorrect_htlc_amount: [19, struct({ incomingHtlcAmt: u64 })],
  channel_disabled: [UPDATE | 20, struct({ disabledFlags: u16, channelUpdate })],
  expiry_too_far: [21, nothing],
  invalid_onion_payload: [PERM | 22, struct({ tlvType: bigSize64, offset: u16 })],
  mpp_timeout: [23, nothing],
  invalid_onion_blinding: [BADONION | PERM | 24, onionHash],
} as const

export type FailureType = keyof typeof TABLE
type KnownFailure = { [T in FailureType]: { readonly type: T } & Infer<(typeof TABLE)[T][1]> }[FailureType]
/** `code` as received; `data` is everything behind it. */
export type UnknownFailure = { readonly type: 'unknown'; readonly code: number; readonly data: Uint8Array }
/** A failure message. `channelUpdate` may be empty and must never reach gossip. */
export type Failure = KnownFailure | UnknownFailure

const byCode = new Map(
  Object.entries(TABLE).map(([type, [code, codec]]) => [code as number, { type, codec: codec as Codec<object> }]),
)

/** The 16-bit code, flags included. */
export const failureCode = (failure: Failure): number => (failure.type === 'unknown' ? failure.code : TABLE[failure.type][0])

/** Code and data. */
export const encodeFailure = (failure: Failure): Uint8Array => {
  const code = encode(u16, failureCode(failure))
  if (failure.type === 'unknown') return concat(code, failure.data)
  return concat(code, encode(TABLE[failure.type][1] as Codec<object>, failure))
}

/** Reads a failure message; undefined without a code. Never throws. */
export const decodeFailure = (raw: Uint8Array): Failure | undefined => {
  if (raw.length < 2) return undefined
  const reader = new Reader(raw)
  const code = reader.u16()
  const known = byCode.get(code)
  if (known !== undefined) {
    try {
      return { type: known.type, ...known.codec.decode(reader) } as KnownFailure
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error
    }
  }
  return { type: 'unknown', code, data: raw.slice(2) }
}

/**
 * The failure that update_fail_malformed_htlc from downstream turns into on its way upstream. BOLT 2 § Removing an HTLC.
 * The caller has checked that the code has BADONION set.
 */
export const failureFromMalformed = (malformed: {
  readonly failureCode: number
  readonly sha256OfOnion: Uint8Array
}): Failure => {
  const data = encode(bytes(32), malformed.sha256OfOnion)
  return decodeFailure(concat(encode(u16, malformed.failureCode), data)) as Failure
}
