/**
 * Onion packets: build at the origin, peel at each hop. BOLT 4 § Packet Structure, § Packet Construction, § Onion Decryption.
 * A packet is 1366 bytes: version, ephemeral point, 1300 bytes of payloads, HMAC. Payloads are opaque here (hop-payload.ts), framed by
 * their length and the HMAC of the next packet. Whether an HMAC was seen before (a replay) is the payment's question, not asked here.
 */
import { bigSize, concat, DecodeError, encode, equalBytes, Reader } from '@leyden/codec'
import {
  ecdh,
  equalConstantTime,
  hmacSha256,
  isValidPoint,
  pointFromSecret,
  pointMultiply,
  secretMultiply,
  sha256,
} from '@leyden/crypto'
import { type NodeId, nodeIdToPoint } from '@leyden/lnwire'
import { applyStream, deriveKey, stream } from './keys.ts'

/** BOLT 4 § Packet Structure. */
export const ONION_PACKET_BYTES = 1366
/** What all payloads of a route, each with its length and HMAC, may take together. */
export const ONION_PAYLOADS_BYTES = 1300

const HMAC_BYTES = 32
const NO_HMAC = new Uint8Array(HMAC_BYTES)
const VERSION = 0

/** BOLT 4 § Failure Messages: BADONION|PERM codes that go into update_fail_malformed_htlc. */
export const INVALID_ONION_VERSION = 0xc004
export const INVALID_ONION_HMAC = 0xc005
export const INVALID_ONION_KEY = 0xc006
export const INVALID_ONION_BLINDING = 0xc018

export type OnionHop = {
  /** Whose key opens this layer: a node id, or a blinded one. */
  readonly nodeId: NodeId
  /** The TLV stream of this hop, without its length. At least two bytes. */
  readonly payload: Uint8Array
}

export type Onion = {
  /** 1366 bytes, for the first hop. */
  readonly packet: Uint8Array
  /** 32 bytes for each hop: what decrypts a failure that comes back. */
  readonly sharedSecrets: readonly Uint8Array[]
}

/** Why no onion can be built for a route. */
export type OnionProblem =
  | { readonly problem: 'onion_too_big'; readonly bytes: number }
  | { readonly problem: 'invalid_node_id'; readonly index: number }

const frameOf = (payload: Uint8Array, hmac: Uint8Array): Uint8Array => concat(encode(bigSize, payload.length), payload, hmac)

/** Bytes that payloads of these lengths take in an onion. They fit if it is at most 1300. */
export const onionPayloadsBytes = (payloads: readonly Uint8Array[]): number =>
  payloads.reduce((sum, payload) => sum + frameOf(payload, NO_HMAC).length, 0)

/** How a point is blinded for the next hop. BOLT 4 § Blinding Ephemeral Onion Keys. */
const blindingFactor = (point: Uint8Array, sharedSecret: Uint8Array): Uint8Array => sha256(concat(point, sharedSecret))

/** Shared secrets with each hop, in order. */
const shareSecrets = (sessionKey: Uint8Array, points: readonly Uint8Array[]): readonly Uint8Array[] => {
  let ephemeral = sessionKey
  return points.map((point, i) => {
    const secret = ecdh(ephemeral, point)
    if (i + 1 < points.length) ephemeral = secretMultiply(ephemeral, blindingFactor(pointFromSecret(ephemeral), secret))
    return secret
  })
}

/** What the zeros that each hop appends have become when the last hop sees them. BOLT 4 § Filler Generation. */
const fillerOf = (frameBytes: readonly number[], rhoKeys: readonly Uint8Array[]): Uint8Array => {
  let filler: Uint8Array = new Uint8Array(0)
  frameBytes.slice(0, -1).forEach((bytes, i) => {
    const from = ONION_PAYLOADS_BYTES - filler.length
    const key = stream(rhoKeys[i] as Uint8Array, ONION_PAYLOADS_BYTES + bytes).subarray(from)
    filler = concat(filler, new Uint8Array(bytes)).map((byte, at) => byte ^ (key[at] as number))
  })
  return filler
}

/**
 * The packet for a route, and the secrets shared with its hops.
 * `sessionKey` is 32 fresh random bytes, a valid secret, used for one packet only. `associatedData` (the payment hash) is authenticated
 * at every hop, but not carried. @throws RangeError without hops or with a payload under two bytes.
 */
export const buildOnion = (options: {
  readonly sessionKey: Uint8Array
  readonly hops: readonly OnionHop[]
  readonly associatedData: Uint8Array
}): Onion | OnionProblem => {
  const { sessionKey, hops, associatedData } = options
  if (hops.length === 0) throw new RangeError('an onion needs a hop')
  if (hops.some(({ payload }) => payload.length < 2)) throw new RangeError('payload of less than two bytes')
  const bytes = onionPayloadsBytes(hops.map(({ payload }) => payload))
  if (bytes > ONION_PAYLOADS_BYTES) return { problem: 'onion_too_big', bytes }
  const points = hops.map(({ nodeId }) => nodeIdToPoint(nodeId))
  const bad = points.findIndex((point) => !isValidPoint(point))
  if (bad >= 0) return { problem: 'invalid_node_id', index: bad }

  const sharedSecrets = shareSecrets(sessionKey, points)
  const rhoKeys = sharedSecrets.map((secret) => deriveKey('rho', secret))
  const frameBytes = hops.map(({ payload }) => frameOf(payload, NO_HMAC).length)
  const filler = fillerOf(frameBytes, rhoKeys)

  let payloads = stream(deriveKey('pad', sessionKey), ONION_PAYLOADS_BYTES)
  let hmac: Uint8Array = NO_HMAC
  for (let i = hops.length - 1; i >= 0; i--) {
    const frame = frameOf((hops[i] as OnionHop).payload, hmac)
    const shifted = concat(frame, payloads.subarray(0, ONION_PAYLOADS_BYTES - frame.length))
    payloads = applyStream(rhoKeys[i] as Uint8Array, shifted)
    if (i === hops.length - 1) payloads.set(filler, ONION_PAYLOADS_BYTES - filler.length)
    hmac = hmacSha256(deriveKey('mu', sharedSecrets[i] as Uint8Array), concat(payloads, associatedData))
  }
  return { packet: concat(Uint8Array.of(VERSION), pointFromSecret(sessionKey), payloads, hmac), sharedSecrets }
}

export type Peeled =
  | { readonly kind: 'forward'; readonly payload: Uint8Array; readonly nextPacket: Uint8Array; readonly sharedSecret: Uint8Array }
  | { readonly kind: 'final'; readonly payload: Uint8Array; readonly sharedSecret: Uint8Array }
  /** For update_fail_malformed_htlc. */
  | { readonly kind: 'malformed'; readonly failureCode: number; readonly sha256OfOnion: Uint8Array }

/** The secret that opens onions for our blinded node id. BOLT 4 § Route Blinding. `pathKey` is a valid point. */
export const blindedSecret = (nodeSecret: Uint8Array, pathKey: Uint8Array): Uint8Array =>
  secretMultiply(nodeSecret, deriveKey('blinded_node_id', ecdh(nodeSecret, pathKey)))

/** Splits the unwrapped payloads. undefined if the length is not canonical, under two, or beyond the payloads. */
const readFrame = (
  unwrapped: Uint8Array,
): { readonly payload: Uint8Array; readonly hmac: Uint8Array; readonly bytes: number } | undefined => {
  const reader = new Reader(unwrapped.subarray(0, ONION_PAYLOADS_BYTES))
  try {
    const length = bigSize.decode(reader)
    if (length < 2) return undefined
    const payload = reader.bytes(length).slice()
    const hmac = reader.bytes(HMAC_BYTES).slice()
    return { payload, hmac, bytes: reader.position }
  } catch (error) {
    if (error instanceof DecodeError) return undefined
    throw error
  }
}

/**
 * Opens our layer. `associatedData` is the payment hash, `pathKey` that of update_add_htlc, if it has one. Never throws on a bad packet.
 * Inside a blinded path every reason is the same, so that failures tell nothing. BOLT 4 § Failure Messages, erring node.
 */
export const peelOnion = (
  packet: Uint8Array,
  nodeSecret: Uint8Array,
  associatedData: Uint8Array,
  pathKey?: Uint8Array,
): Peeled => {
  const malformed = (failureCode: number): Peeled => ({
    kind: 'malformed',
    failureCode: pathKey === undefined ? failureCode : INVALID_ONION_BLINDING,
    sha256OfOnion: sha256(packet),
  })
  if (packet.length !== ONION_PACKET_BYTES || packet[0] !== VERSION) return malformed(INVALID_ONION_VERSION)
  const point = packet.slice(1, 34)
  const payloads = packet.subarray(34, 34 + ONION_PAYLOADS_BYTES)
  if (!isValidPoint(point)) return malformed(INVALID_ONION_KEY)
  if (pathKey !== undefined && !isValidPoint(pathKey)) return malformed(INVALID_ONION_BLINDING)

  const sharedSecret = ecdh(pathKey === undefined ? nodeSecret : blindedSecret(nodeSecret, pathKey), point)
  const hmac = hmacSha256(deriveKey('mu', sharedSecret), concat(payloads, associatedData))
  if (!equalConstantTime(hmac, packet.slice(34 + ONION_PAYLOADS_BYTES))) return malformed(INVALID_ONION_HMAC)

  const unwrapped = applyStream(deriveKey('rho', sharedSecret), concat(payloads, new Uint8Array(ONION_PAYLOADS_BYTES)))
  const frame = readFrame(unwrapped)
  // Only the origin can have written this, and there is no code for it among those of malformed onions.
  if (frame === undefined) return malformed(INVALID_ONION_HMAC)
  if (equalBytes(frame.hmac, NO_HMAC)) return { kind: 'final', payload: frame.payload, sharedSecret }
  const nextPacket = concat(
    Uint8Array.of(VERSION),
    pointMultiply(point, blindingFactor(point, sharedSecret)),
    unwrapped.subarray(frame.bytes, frame.bytes + ONION_PAYLOADS_BYTES),
    frame.hmac,
  )
  return { kind: 'forward', payload: frame.payload, nextPacket, sharedSecret }
}
