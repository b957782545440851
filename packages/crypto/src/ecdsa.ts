/**
 * ECDSA over secp256k1: SEC 1 § 4.1, deterministic nonces of RFC 6979. Signatures are 64 bytes compact, R then S; DER is in der.ts.
 * Two strictnesses: Lightning and policy want low S (BIP 62), consensus takes both.
 * What a peer or a transaction chose (signature, point) only ever makes a verification false; a wrong hash length throws.
 */
import { backend, type RecoverableSignature } from './backend.ts'
import { CryptoError, expectLength } from './error.ts'
import { isHighScalar, isScalar, isValidSecret, negateScalar, reduceScalar } from './scalar.ts'

const sign = (hash: Uint8Array, secret: Uint8Array, extra?: Uint8Array): RecoverableSignature => {
  expectLength(hash, 32, 'hash')
  if (!isValidSecret(secret)) throw new CryptoError('invalid_secret', 'ecdsa signing')
  // RFC 6979 § 3.2 d takes the hash modulo n; the native library takes it raw (they differ once in 2^128)
  return backend.ecdsaSign(reduceScalar(hash), secret, extra)
}

/** 64-byte compact signature of a 32-byte hash, low S, RFC 6979. Throws {@link CryptoError} on an invalid secret. */
export const ecdsaSign = (hash: Uint8Array, secret: Uint8Array): Uint8Array => sign(hash, secret).signature

/**
 * As {@link ecdsaSign}, repeated until R is below 2^255, so that its DER has at most 70 bytes: on-chain transactions, one byte less.
 * The second and later tries add a counter (32 bytes little-endian, from 1) to the RFC 6979 input, as Bitcoin Core does.
 */
export const ecdsaSignLowR = (hash: Uint8Array, secret: Uint8Array): Uint8Array => {
  let { signature } = sign(hash, secret)
  const extra = new Uint8Array(32)
  const counter = new DataView(extra.buffer)
  for (let tries = 1; (signature[0] as number) >= 0x80; tries++) {
    counter.setUint32(0, tries, true)
    signature = sign(hash, secret, extra).signature
  }
  return signature
}

/** As {@link ecdsaSign}, with the recovery id 0 to 3. BOLT 11 invoices, signed messages. */
export const ecdsaSignRecoverable = (hash: Uint8Array, secret: Uint8Array): RecoverableSignature => sign(hash, secret)

const isSignature = (signature: Uint8Array): boolean => signature instanceof Uint8Array && signature.length === 64
const isPointSized = (point: Uint8Array): boolean => point instanceof Uint8Array && (point.length === 33 || point.length === 65)

const verify = (signature: Uint8Array, hash: Uint8Array, point: Uint8Array): boolean => {
  try {
    return backend.ecdsaVerify(signature, hash, point)
  } catch {
    return false
  }
}

/** Whether the signature is valid and its S low. The point has 33 or 65 bytes. */
export const ecdsaVerify = (signature: Uint8Array, hash: Uint8Array, point: Uint8Array): boolean => {
  expectLength(hash, 32, 'hash')
  return isSignature(signature) && isPointSized(point) && verify(signature, hash, point)
}

/** As {@link ecdsaVerify}, high S too: the rule of consensus, which BIP 146 left to policy. Hybrid points (6, 7) are valid. */
export const ecdsaVerifyLax = (signature: Uint8Array, hash: Uint8Array, point: Uint8Array): boolean => {
  expectLength(hash, 32, 'hash')
  return isSignature(signature) && isPointSized(point) && verify(lowS(signature), hash, point)
}

/** The signature with n - S where S is high; others, and those out of range, as they are. */
const lowS = (signature: Uint8Array): Uint8Array => {
  const s = signature.subarray(32, 64)
  if (!isHighScalar(s) || !isScalar(s)) return signature
  const low = new Uint8Array(signature)
  low.set(negateScalar(s), 32)
  return low
}

/** Whether R is below 2^255, the form which {@link ecdsaSignLowR} makes. */
export const hasLowR = (signature: Uint8Array): boolean => {
  expectLength(signature, 64, 'signature')
  return (signature[0] as number) < 0x80
}

/** The point (33 bytes) whose secret made the signature, high S or low; undefined where there is none. SEC 1 § 4.1.6. */
export const ecdsaRecover = (signature: Uint8Array, recoveryId: number, hash: Uint8Array): Uint8Array | undefined => {
  expectLength(hash, 32, 'hash')
  if (!isSignature(signature) || !Number.isInteger(recoveryId) || recoveryId < 0 || recoveryId > 3) return undefined
  try {
    return backend.ecdsaRecover(signature, recoveryId, hash)
  } catch {
    return undefined
  }
}
