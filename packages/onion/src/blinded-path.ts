/**
 * Route blinding: paths whose nodes only know their neighbours. BOLT 4 § Route Blinding.
 * The recipient builds a path, each node on it decrypts what the recipient wrote for it. Whether a payment may use the path
 * (constraints, path_id) is decided by the payment with the decoded data.
 */
import { Msat } from '@leyden/bitcoin'
import {
  type Codec,
  concat,
  DecodeError,
  encode,
  type Infer,
  restBytes,
  struct,
  tlvStream,
  tryDecode,
  tu32,
  u16,
  u32,
} from '@leyden/codec'
import {
  chacha20poly1305Decrypt,
  chacha20poly1305Encrypt,
  ecdh,
  isValidPoint,
  pointFromSecret,
  pointMultiply,
  secretMultiply,
  sha256,
} from '@leyden/crypto'
import { type NodeId, nodeId, nodeIdFromPoint, nodeIdToPoint, shortChannelId, validPoint } from '@leyden/lnwire'
import { tuMsat } from './hop-payload.ts'
import { deriveKey } from './keys.ts'

const NONCE = new Uint8Array(12)
const NO_DATA = new Uint8Array(0)

/** BOLT 4 § Inside encrypted_recipient_data. */
export const recipientData: Codec<RecipientData> = tlvStream({
  padding: [1, restBytes],
  shortChannelId: [2, shortChannelId],
  nextNodeId: [4, nodeId],
  pathId: [6, restBytes],
  nextPathKeyOverride: [8, validPoint],
  paymentRelay: [10, struct({ cltvExpiryDelta: u16, feeProportionalMillionths: u32, feeBaseMsat: tu32 })],
  paymentConstraints: [12, struct({ maxCltvExpiry: u32, htlcMinimumMsat: tuMsat })],
  allowedFeatures: [14, restBytes],
})
export type PaymentRelay = {
  readonly cltvExpiryDelta: number
  readonly feeProportionalMillionths: number
  readonly feeBaseMsat: number
}
export type RecipientData = {
  readonly padding?: Uint8Array | undefined
  readonly shortChannelId?: Infer<typeof shortChannelId> | undefined
  readonly nextNodeId?: NodeId | undefined
  readonly pathId?: Uint8Array | undefined
  readonly nextPathKeyOverride?: Uint8Array | undefined
  readonly paymentRelay?: PaymentRelay | undefined
  readonly paymentConstraints?: { readonly maxCltvExpiry: number; readonly htlcMinimumMsat: Msat } | undefined
  readonly allowedFeatures?: Uint8Array | undefined
}

export type BlindedHop = { readonly blindedNodeId: NodeId; readonly encryptedRecipientData: Uint8Array }
export type BlindedPath = {
  /** The introduction point, by its real id. */
  readonly firstNodeId: NodeId
  /** 33 bytes. */
  readonly firstPathKey: Uint8Array
  readonly hops: readonly BlindedHop[]
}

/** rho encrypts what the recipient says to the hop. */
const rhoOf = (sharedSecret: Uint8Array): Uint8Array => deriveKey('rho', sharedSecret)
const nextFactor = (pathKey: Uint8Array, sharedSecret: Uint8Array): Uint8Array => sha256(concat(pathKey, sharedSecret))

/**
 * A path over real nodes, the last of them the recipient. `data` is an encoded `recipientData`; all should have the same length.
 * `sessionKey` is 32 fresh random bytes, a valid secret. @throws RangeError without hops, CryptoError if a node id is no point.
 */
export const buildBlindedPath = (
  sessionKey: Uint8Array,
  hops: readonly { readonly nodeId: NodeId; readonly data: Uint8Array }[],
): BlindedPath => {
  const [first] = hops
  if (first === undefined) throw new RangeError('a blinded path needs a hop')
  let secret = sessionKey
  const blinded = hops.map((hop, i): BlindedHop => {
    const point = nodeIdToPoint(hop.nodeId)
    const pathKey = pointFromSecret(secret)
    const sharedSecret = ecdh(secret, point)
    if (i + 1 < hops.length) secret = secretMultiply(secret, nextFactor(pathKey, sharedSecret))
    return {
      blindedNodeId: nodeIdFromPoint(pointMultiply(point, deriveKey('blinded_node_id', sharedSecret))),
      encryptedRecipientData: chacha20poly1305Encrypt(rhoOf(sharedSecret), NONCE, NO_DATA, hop.data),
    }
  })
  return { firstNodeId: first.nodeId, firstPathKey: pointFromSecret(sessionKey), hops: blinded }
}

/** What a node of a blinded path learns. `nextPathKey` goes into the update_add_htlc that it sends on. */
export type Unblinded = { readonly data: RecipientData; readonly nextPathKey: Uint8Array }

/**
 * Decrypts what the recipient wrote for us. undefined if it was not written with this path key, or is not a valid stream: the answer to
 * that is invalid_onion_blinding. Never throws on what a peer sends.
 */
export const unblind = (
  nodeSecret: Uint8Array,
  pathKey: Uint8Array,
  encryptedRecipientData: Uint8Array,
): Unblinded | undefined => {
  if (!isValidPoint(pathKey)) return undefined
  const sharedSecret = ecdh(nodeSecret, pathKey)
  const plain = chacha20poly1305Decrypt(rhoOf(sharedSecret), NONCE, NO_DATA, encryptedRecipientData)
  if (plain === undefined) return undefined
  const data = tryDecode(recipientData, plain)
  if (data instanceof DecodeError) return undefined
  const nextPathKey = data.nextPathKeyOverride ?? pointMultiply(pathKey, nextFactor(pathKey, sharedSecret))
  return { data, nextPathKey }
}

/** The encoded data of a hop. */
export const encodeRecipientData = (data: RecipientData): Uint8Array => encode(recipientData, data)

/** What a blinded hop sends on of what it received; undefined if that does not cover the base fee. BOLT 4 § payload format. */
export const blindedAmountToForward = (received: Msat, relay: PaymentRelay): Msat | undefined => {
  const left = received - BigInt(relay.feeBaseMsat)
  if (left < 0n) return undefined
  const proportional = BigInt(relay.feeProportionalMillionths)
  return Msat((left * 1_000_000n + 1_000_000n + proportional - 1n) / (1_000_000n + proportional))
}
