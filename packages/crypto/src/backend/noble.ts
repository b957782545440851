/**
 * The reference backend: @noble/secp256k1, plain TypeScript on bigint, in any runtime. Audited, slow, not constant-time.
 */
import { bigintToBytesBE, bytesToBigintBE, concat } from '@leyden/codec'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 as nobleSha256 } from '@noble/hashes/sha2.js'
import * as secp from '@noble/secp256k1'
import type { CurveBackend } from '../backend.ts'
import { sha256 } from '../hash.ts'
import { ORDER } from '../scalar.ts'

secp.hashes.sha256 = nobleSha256
secp.hashes.hmacSha256 = (key, message) => hmac(nobleSha256, key, message)

/**
 * Hybrid keys (prefix 6 or 7 tells the parity of the y that follows) are valid to consensus and to libsecp256k1, unknown to noble.
 * One whose parity is wrong is left as it is, for noble to refuse.
 */
const withoutHybrid = (point: Uint8Array): Uint8Array => {
  const prefix = point[0] as number
  if (point.length !== 65 || (prefix !== 6 && prefix !== 7) || ((point[64] as number) & 1) !== prefix - 6) return point
  const plain = new Uint8Array(point)
  plain[0] = 4
  return plain
}

const parse = (point: Uint8Array): secp.Point => secp.Point.fromBytes(withoutHybrid(point))

/** A scalar of 1 to n-1. */
const nonZero = (scalar: bigint): bigint => {
  if (scalar < 1n || scalar >= ORDER) throw new RangeError('scalar out of range')
  return scalar
}
const below = (scalar: bigint): bigint => {
  if (scalar >= ORDER) throw new RangeError('scalar out of range')
  return scalar
}
const toSecret = (n: bigint): Uint8Array => bigintToBytesBE(nonZero(n % ORDER), 32)

/** The reference. Every other backend must agree with it. */
export const nobleBackend: CurveBackend = {
  name: 'noble',
  isValidPoint: (point) => secp.utils.isValidPublicKey(withoutHybrid(point)),
  pointFromSecret: (secret) => secp.getPublicKey(secret, true),
  pointCompress: (point) => parse(point).toBytes(true),
  pointAdd: (a, b) => parse(a).add(parse(b)).toBytes(true),
  pointMultiply: (point, scalar) =>
    parse(point)
      .multiply(nonZero(bytesToBigintBE(scalar)))
      .toBytes(true),
  pointTweakAdd: (point, scalar) => {
    const tweak = below(bytesToBigintBE(scalar))
    const start = parse(point)
    return (tweak === 0n ? start : start.add(secp.Point.BASE.multiply(tweak))).toBytes(true)
  },
  secretAdd: (a, b) => toSecret(nonZero(bytesToBigintBE(a)) + below(bytesToBigintBE(b))),
  secretMultiply: (a, b) => toSecret(nonZero(bytesToBigintBE(a)) * nonZero(bytesToBigintBE(b))),
  ecdh: (secret, point) => sha256(secp.getSharedSecret(secret, withoutHybrid(point), true)),
  ecdsaSign: (hash, secret, extra) => {
    const out = secp.sign(hash, secret, { prehash: false, format: 'recovered', extraEntropy: extra ?? false })
    return { signature: out.slice(1), recoveryId: out[0] as number }
  },
  ecdsaVerify: (signature, hash, point) => secp.verify(signature, hash, withoutHybrid(point), { prehash: false, lowS: true }),
  ecdsaRecover: (signature, recoveryId, hash) =>
    secp.recoverPublicKey(concat(Uint8Array.of(recoveryId), signature), hash, { prehash: false }),
  schnorrSign: (message, secret, aux) => secp.schnorr.sign(message, secret, aux),
  schnorrVerify: (signature, message, xOnly) => secp.schnorr.verify(signature, message, xOnly),
}
