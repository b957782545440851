/**
 * libsecp256k1 as a prebuilt native addon: the package `secp256k1`, of which only bindings.js is loaded. Its index falls back to
 * `elliptic`, which has open advisories; never load it.
 * The addon offers no BIP 340, but every operation BIP 340 is made of: the signer below keeps to its constant-time scalar
 * arithmetic, and both are several times quicker than WebAssembly.
 * The addon writes into its first argument for secrets, so secrets are copied.
 */
import { equalBytes } from '@leyden/codec'
import type { CurveBackend } from '../backend.ts'
import { taggedHash } from '../hash.ts'
import { randomBytes } from '../random.ts'
import { isScalar, isValidSecret, negateScalar, reduceScalar } from '../scalar.ts'

/** The part of bindings.js in use. Every function throws an Error on bad input. */
type Bindings = {
  contextRandomize(seed: Uint8Array): void
  privateKeyTweakAdd(secretToChange: Uint8Array, tweak: Uint8Array): Uint8Array
  privateKeyTweakMul(secretToChange: Uint8Array, tweak: Uint8Array): Uint8Array
  publicKeyVerify(point: Uint8Array): boolean
  publicKeyCreate(secret: Uint8Array): Uint8Array
  publicKeyConvert(point: Uint8Array, compressed: boolean): Uint8Array
  publicKeyCombine(points: Uint8Array[]): Uint8Array
  publicKeyTweakAdd(point: Uint8Array, tweak: Uint8Array): Uint8Array
  publicKeyTweakMul(point: Uint8Array, tweak: Uint8Array): Uint8Array
  ecdsaSign(hash: Uint8Array, secret: Uint8Array, options: { data?: Uint8Array }): { signature: Uint8Array; recid: number }
  ecdsaVerify(signature: Uint8Array, hash: Uint8Array, point: Uint8Array): boolean
  ecdsaRecover(signature: Uint8Array, recoveryId: number, hash: Uint8Array): Uint8Array
  ecdh(point: Uint8Array, secret: Uint8Array): Uint8Array
}

const EVEN = 2

const withPrefix = (prefix: number, xOnly: Uint8Array): Uint8Array => {
  const point = new Uint8Array(33)
  point[0] = prefix
  point.set(xOnly, 1)
  return point
}

const nativeBackend = (bindings: Bindings): CurveBackend => {
  const secretAdd = (a: Uint8Array, b: Uint8Array): Uint8Array => bindings.privateKeyTweakAdd(new Uint8Array(a), b)
  const secretMultiply = (a: Uint8Array, b: Uint8Array): Uint8Array => bindings.privateKeyTweakMul(new Uint8Array(a), b)
  const challenge = (r: Uint8Array, xOnly: Uint8Array, message: Uint8Array): Uint8Array =>
    reduceScalar(taggedHash('BIP0340/challenge', r, xOnly, message))

  /** The secret, negated where its point has an odd y, with that point's x. BIP 340 § Default Signing. */
  const evenPair = (secret: Uint8Array): { secret: Uint8Array; x: Uint8Array } => {
    const point = bindings.publicKeyCreate(secret)
    return { secret: point[0] === EVEN ? secret : negateScalar(secret), x: point.subarray(1) }
  }

  /** BIP 340 § Default Signing. */
  const schnorrSign = (message: Uint8Array, secret: Uint8Array, aux: Uint8Array): Uint8Array => {
    const key = evenPair(secret)
    const masked = taggedHash('BIP0340/aux', aux)
    for (let i = 0; i < 32; i++) masked[i] = (masked[i] as number) ^ (key.secret[i] as number)
    const nonce = evenPair(reduceScalar(taggedHash('BIP0340/nonce', masked, key.x, message)))
    const product = secretMultiply(key.secret, challenge(nonce.x, key.x, message))
    const signature = new Uint8Array(64)
    signature.set(nonce.x, 0)
    signature.set(bindings.privateKeyTweakAdd(product, nonce.secret), 32)
    return signature
  }

  /**
   * s·G - e·P in one operation. Recovery of an ECDSA key (SEC 1 § 4.1.6) from a point X of x-coordinate r, with the numbers s' and z',
   * gives r^-1·(s'·X - z'·G): where X is P, that is the wanted point for s' = -e·r and z' = -s·r.
   */
  const combine = (s: Uint8Array, e: Uint8Array, xOnly: Uint8Array): Uint8Array => {
    const signature = new Uint8Array(64)
    signature.set(xOnly, 0)
    signature.set(secretMultiply(negateScalar(e), xOnly), 32)
    return bindings.ecdsaRecover(signature, 0, secretMultiply(negateScalar(s), xOnly))
  }

  /** BIP 340 § Verification: R = s·G - e·P has an even y and the x that the signature states. A wrong R.x >= p never equals. */
  const schnorrVerify = (signature: Uint8Array, message: Uint8Array, xOnly: Uint8Array): boolean => {
    const r = signature.subarray(0, 32)
    const s = signature.subarray(32, 64)
    const e = challenge(r, xOnly, message)
    if (!isScalar(s) || !isValidSecret(e)) return false
    // As a number modulo n, s may be zero and the key's x too large for ECDSA: then in two steps
    const point =
      isValidSecret(s) && isValidSecret(xOnly)
        ? combine(s, e, xOnly)
        : bindings.publicKeyTweakAdd(bindings.publicKeyTweakMul(withPrefix(EVEN, xOnly), negateScalar(e)), s)
    return point[0] === EVEN && equalBytes(point.subarray(1), r)
  }

  return {
    name: 'native',
    isValidPoint: (point) => bindings.publicKeyVerify(point),
    pointFromSecret: (secret) => bindings.publicKeyCreate(secret),
    pointCompress: (point) => bindings.publicKeyConvert(point, true),
    pointAdd: (a, b) => bindings.publicKeyCombine([a, b]),
    pointMultiply: (point, scalar) => bindings.publicKeyTweakMul(point, scalar),
    pointTweakAdd: (point, scalar) => bindings.publicKeyTweakAdd(point, scalar),
    secretAdd,
    secretMultiply,
    ecdh: (secret, point) => bindings.ecdh(point, secret),
    ecdsaSign: (hash, secret, extra) => {
      const out = bindings.ecdsaSign(hash, secret, extra === undefined ? {} : { data: extra })
      return { signature: out.signature, recoveryId: out.recid }
    },
    ecdsaVerify: (signature, hash, point) => bindings.ecdsaVerify(signature, hash, point),
    ecdsaRecover: (signature, recoveryId, hash) => bindings.ecdsaRecover(signature, recoveryId, hash),
    schnorrSign,
    schnorrVerify,
  }
}

let loaded: CurveBackend | undefined

/** The native backend, or undefined where this runtime or platform has no addon. */
export const loadNative = async (): Promise<CurveBackend | undefined> => {
  if (loaded !== undefined) return loaded
  const module: string = 'secp256k1/bindings.js'
  try {
    const { default: bindings } = (await import(/* @vite-ignore */ module)) as { default: Bindings }
    bindings.contextRandomize(randomBytes(32)) // blinds secret-key operations against side channels; results are the same
    loaded = nativeBackend(bindings)
  } catch {
    return undefined
  }
  return loaded
}
