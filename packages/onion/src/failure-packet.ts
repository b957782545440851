/**
 * Failures on their way back: encrypted by the erring node and again by every hop, opened by the origin. BOLT 4 § Returning Errors.
 * Wrapping keeps the length, so a packet that came in one update_fail_htlc fits into the next. Attribution data is not here.
 */
import { concat, DecodeError, encode, Reader, sized, u16 } from '@leyden/codec'
import { equalConstantTime, hmacSha256 } from '@leyden/crypto'
import { decodeFailure, encodeFailure, type Failure } from './failure-message.ts'
import { applyStream, deriveKey } from './keys.ts'

/** Message and padding together. BOLT 4 § Erring node. */
const PADDED_BYTES = 256
/** Longest route of TLV payloads: the origin decrypts so often, whoever failed. BOLT 4 § Origin node. */
const MAX_HOPS = 27
/** Longest packet that the origin looks at. The largest failure with a channel_update takes a tenth; 27 decryptions of 64 kB are an attack. */
const MAX_PACKET_BYTES = 4096
const DUMMY_SECRET = new Uint8Array(32)

const lengthPrefixed = sized(u16, 65_535)

/** The hop's layer, on or off. Same length out as in. `sharedSecret` is that of the hop's onion. */
export const wrapFailure = (sharedSecret: Uint8Array, packet: Uint8Array): Uint8Array =>
  applyStream(deriveKey('ammag', sharedSecret), packet)

/** The packet that an erring node puts into update_fail_htlc. `sharedSecret` is that of its onion. */
export const buildFailure = (sharedSecret: Uint8Array, failure: Failure): Uint8Array => {
  const message = encodeFailure(failure)
  const padding = new Uint8Array(Math.max(0, PADDED_BYTES - message.length))
  const body = concat(encode(lengthPrefixed, message), encode(lengthPrefixed, padding))
  return wrapFailure(sharedSecret, concat(hmacSha256(deriveKey('um', sharedSecret), body), body))
}

const readMessage = (body: Uint8Array): Failure | undefined => {
  try {
    return decodeFailure(lengthPrefixed.decode(new Reader(body)))
  } catch (error) {
    if (error instanceof DecodeError) return undefined
    throw error
  }
}

/** Who failed, counted from 0 at the first hop, and what it said. A hop that authenticates bytes that are no message gives no `failure`. */
export type ReturnedFailure = { readonly index: number; readonly failure: Failure | undefined }

/**
 * Opens a packet that came back to the origin. `sharedSecrets` are those of the onion; the index is always one of theirs.
 * undefined if no hop of the route wrote it, or it is over 4096 bytes: then anybody on the route may have garbled it. Never throws.
 */
export const unwrapFailure = (sharedSecrets: readonly Uint8Array[], packet: Uint8Array): ReturnedFailure | undefined => {
  if (packet.length > MAX_PACKET_BYTES) return undefined
  let found: ReturnedFailure | undefined
  let rest = packet
  for (let i = 0; i < Math.max(MAX_HOPS, sharedSecrets.length); i++) {
    const sharedSecret = sharedSecrets[i] ?? DUMMY_SECRET
    rest = wrapFailure(sharedSecret, rest)
    const body = rest.subarray(32)
    const genuine = equalConstantTime(hmacSha256(deriveKey('um', sharedSecret), body), rest.slice(0, 32))
    if (genuine && found === undefined && i < sharedSecrets.length) found = { index: i, failure: readMessage(body) }
  }
  return found
}
