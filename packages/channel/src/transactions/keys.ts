/**
 * Keys of a commitment, and the signer that holds our secrets. BOLT 3 § Keys.
 * Everything here is from the view of the commitment's *holder*: `delayed` and `htlc` are the holder's, `payment` is the other's.
 * All secrets of a channel follow from one seed and its key index, so a restart or a restored backup signs the same.
 */
import { bigintToBytesBE, concat, unreachable, utf8Encode, equalBytes } from '@leyden/codec'
import {
  ecdsaSign,
  hkdfSha256,
  pointAdd,
  pointFromSecret,
  pointMultiply,
  pointTweakAdd,
  secretAdd,
  secretMultiply,
  sha256,
} from '@leyden/crypto'
import type { KeyUse, Signer } from '../env.ts'
import type { Basepoints } from '../state.ts'
import { secretOfNumber } from './shachain.ts'

/** `basepoint + SHA256(per_commitment_point || basepoint) * G`. 33 bytes. */
export const derivePublicKey = (basepoint: Uint8Array, perCommitmentPoint: Uint8Array): Uint8Array =>
  pointTweakAdd(basepoint, sha256(concat(perCommitmentPoint, basepoint)))

/** The secret of {@link derivePublicKey}. `basepoint` is that of `basepointSecret`, for who has it at hand. */
export const deriveSecret = (
  basepointSecret: Uint8Array,
  perCommitmentPoint: Uint8Array,
  basepoint: Uint8Array = pointFromSecret(basepointSecret),
): Uint8Array => secretAdd(basepointSecret, sha256(concat(perCommitmentPoint, basepoint)))

/** BOLT 3 § revocationpubkey Derivation. The base is the other side's, the point the holder's. */
export const deriveRevocationPublicKey = (revocationBasepoint: Uint8Array, perCommitmentPoint: Uint8Array): Uint8Array =>
  pointAdd(
    pointMultiply(revocationBasepoint, sha256(concat(revocationBasepoint, perCommitmentPoint))),
    pointMultiply(perCommitmentPoint, sha256(concat(perCommitmentPoint, revocationBasepoint))),
  )

/** The secret of {@link deriveRevocationPublicKey}: known only to who has both secrets. */
export const deriveRevocationSecret = (revocationBasepointSecret: Uint8Array, perCommitmentSecret: Uint8Array): Uint8Array => {
  const basepoint = pointFromSecret(revocationBasepointSecret)
  const point = pointFromSecret(perCommitmentSecret)
  return secretAdd(
    secretMultiply(revocationBasepointSecret, sha256(concat(basepoint, point))),
    secretMultiply(perCommitmentSecret, sha256(concat(point, basepoint))),
  )
}

/** The public keys in the scripts of one commitment. 33 bytes each. */
export interface CommitmentKeys {
  /** The holder's; named point of this commitment. */
  readonly perCommitmentPoint: Uint8Array
  /** In the other's power once the holder has revoked. */
  readonly revocation: Uint8Array
  /** The holder's to_local and second-stage outputs. */
  readonly delayed: Uint8Array
  readonly holderHtlc: Uint8Array
  readonly otherHtlc: Uint8Array
  /** The other's to_remote: its payment_basepoint itself. BOLT 3 § remotepubkey Derivation. */
  readonly otherPayment: Uint8Array
}

/** Keys of the commitment of `holder` that has this point. */
export const commitmentKeys = (holder: Basepoints, other: Basepoints, perCommitmentPoint: Uint8Array): CommitmentKeys => ({
  perCommitmentPoint,
  revocation: deriveRevocationPublicKey(other.revocationBasepoint, perCommitmentPoint),
  delayed: derivePublicKey(holder.delayedPaymentBasepoint, perCommitmentPoint),
  holderHtlc: derivePublicKey(holder.htlcBasepoint, perCommitmentPoint),
  otherHtlc: derivePublicKey(other.htlcBasepoint, perCommitmentPoint),
  otherPayment: other.paymentBasepoint,
})

const SECRET_NAMES = ['funding', 'revocation', 'payment', 'delayed', 'htlc', 'commitment_seed'] as const
type Secrets = Readonly<Record<(typeof SECRET_NAMES)[number], Uint8Array>>

const SALT = utf8Encode('leyden/channel/v1')

const secretsOf = (seed: Uint8Array, keyIndex: number): Secrets => {
  const index = bigintToBytesBE(BigInt(keyIndex), 8)
  return Object.fromEntries(
    SECRET_NAMES.map((name) => [name, hkdfSha256(seed, SALT, concat(index, utf8Encode(name)), 32)]),
  ) as Secrets
}

/** Channels whose derived secrets are kept ready, and commitments whose own are. */
const REMEMBERED_CHANNELS = 1_000
const REMEMBERED_COMMITMENTS = 4_000

const remember = <K, T>(most: number, make: (key: K) => T): ((key: K) => T) => {
  const made = new Map<K, T>()
  return (key) => {
    let value = made.get(key)
    if (value === undefined) {
      value = make(key)
      if (made.size >= most) made.clear()
      made.set(key, value)
    }
    return value
  }
}

/** The secrets of all channels of a node, from a 32-byte seed. `nodeSecret` signs gossip. */
export const createSigner = (seed: Uint8Array, nodeSecret: Uint8Array): Signer => {
  if (seed.length !== 32) throw new RangeError('channel seed of 32 bytes')
  const secrets = remember(REMEMBERED_CHANNELS, (keyIndex: number) => secretsOf(seed, keyIndex))
  const basepoints = remember(REMEMBERED_CHANNELS, (keyIndex: number): Basepoints => {
    const { funding, revocation, payment, delayed, htlc } = secrets(keyIndex)
    return {
      fundingPubkey: pointFromSecret(funding),
      revocationBasepoint: pointFromSecret(revocation),
      paymentBasepoint: pointFromSecret(payment),
      delayedPaymentBasepoint: pointFromSecret(delayed),
      htlcBasepoint: pointFromSecret(htlc),
    }
  })
  /** A commitment is signed once and its HTLCs one by one, all with the same key. */
  let lastHtlc: { readonly keyIndex: number; readonly point: Uint8Array; readonly secret: Uint8Array } | undefined
  const htlcSecret = (keyIndex: number, point: Uint8Array): Uint8Array => {
    if (lastHtlc?.keyIndex !== keyIndex || !equalBytes(lastHtlc.point, point))
      lastHtlc = { keyIndex, point, secret: deriveSecret(secrets(keyIndex).htlc, point, basepoints(keyIndex).htlcBasepoint) }
    return lastHtlc.secret
  }
  const secretFor = (keyIndex: number, use: KeyUse): Uint8Array => {
    const own = secrets(keyIndex)
    switch (use.key) {
      case 'funding':
        return own.funding
      case 'payment':
        return own.payment
      case 'htlc':
        return htlcSecret(keyIndex, use.perCommitmentPoint)
      case 'delayed':
        return deriveSecret(own.delayed, use.perCommitmentPoint, basepoints(keyIndex).delayedPaymentBasepoint)
      case 'revocation':
        return deriveRevocationSecret(own.revocation, use.perCommitmentSecret)
      default:
        return unreachable(use)
    }
  }
  /** Asked for when the point is told, when the commitment is built and when it is revoked; each time some dozen hashes from the seed. */
  const commitment = remember(REMEMBERED_COMMITMENTS, (name: string) => {
    const [keyIndex, number] = name.split('/').map(Number) as [number, number]
    const secret = secretOfNumber(secrets(keyIndex).commitment_seed, number)
    return { secret, point: pointFromSecret(secret) }
  })
  const commitmentOf = (keyIndex: number, number: number): ReturnType<typeof commitment> => commitment(`${keyIndex}/${number}`)
  return {
    basepoints,
    perCommitmentPoint: (keyIndex, number) => commitmentOf(keyIndex, number).point,
    releaseSecret: (keyIndex, number) => commitmentOf(keyIndex, number).secret,
    sign: (keyIndex, use, hash) => ecdsaSign(hash, secretFor(keyIndex, use)),
    publicKey: (keyIndex, use) => pointFromSecret(secretFor(keyIndex, use)),
    signNode: (hash) => ecdsaSign(hash, nodeSecret),
  }
}
