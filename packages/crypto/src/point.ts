/**
 * Points and secrets: addition, multiplication, ECDH. Points are 33 bytes compressed (SEC 1 § 2.3), secrets and scalars 32 bytes.
 * These throw CryptoError on invalid input: check what a peer sent with `isValidPoint` when it arrives.
 */
import { bigintToBytesBE, bytesToBigintBE, concat } from '@leyden/codec'
import { backend } from './backend.ts'
import { CryptoError } from './error.ts'
import { isScalar, isValidSecret, negateScalar } from './scalar.ts'

export { isValidSecret }

/** Whether these are 33 bytes of a compressed point on the curve. */
export const isValidPoint = (point: Uint8Array): boolean => point instanceof Uint8Array && point.length === 33 && parses(point)

/** Whether these are 33 or 65 bytes of a point on the curve, hybrid prefixes too: what consensus calls a valid public key. */
export const isValidPublicKey = (key: Uint8Array): boolean =>
  key instanceof Uint8Array && (key.length === 33 || key.length === 65) && parses(key)

/** Whether these are 32 bytes that are the x of a point. BIP 340 § Public Key Conversion. */
export const isValidXOnly = (xOnly: Uint8Array): boolean =>
  xOnly instanceof Uint8Array && xOnly.length === 32 && parses(pointFromXOnly(xOnly))

const parses = (point: Uint8Array): boolean => {
  try {
    return backend.isValidPoint(point)
  } catch {
    return false
  }
}

const expectSecret = (secret: Uint8Array): void => {
  if (!isValidSecret(secret)) throw new CryptoError('invalid_secret', 'not 32 bytes of 1 to n-1')
}
const expectScalar = (scalar: Uint8Array): void => {
  if (!isScalar(scalar)) throw new CryptoError('invalid_scalar', 'not 32 bytes below n')
}
const expectNonZero = (scalar: Uint8Array): void => {
  if (!isValidSecret(scalar)) throw new CryptoError('invalid_scalar', 'not 32 bytes of 1 to n-1')
}
const expectCompressed = (point: Uint8Array): void => {
  if (!(point instanceof Uint8Array) || point.length !== 33) throw new CryptoError('invalid_point', 'not 33 bytes')
}

/** Runs the backend; where it fails, says whether a point was invalid or there is no result. */
const attempt = (run: () => Uint8Array, ...points: readonly Uint8Array[]): Uint8Array => {
  try {
    return run()
  } catch {
    if (!points.every(parses)) throw new CryptoError('invalid_point', 'not on the curve')
    throw new CryptoError('no_result', 'the point at infinity or zero')
  }
}

/** The point of a secret: secret times G. */
export const pointFromSecret = (secret: Uint8Array): Uint8Array => {
  expectSecret(secret)
  return attempt(() => backend.pointFromSecret(secret))
}

/** 33 bytes of a key of 33 or 65 (also hybrid) bytes. */
export const pointCompress = (key: Uint8Array): Uint8Array => {
  if (key.length !== 33 && key.length !== 65) throw new CryptoError('invalid_point', 'neither 33 nor 65 bytes')
  return attempt(() => backend.pointCompress(key), key)
}

/** SEC 2 § 2.4.1: the field of secp256k1. */
const FIELD = 2n ** 256n - 2n ** 32n - 977n

/** 65 bytes of a compressed point, which is on the curve. The curve is y^2 = x^3 + 7, and a root is a power because the field is 3 mod 4. */
export const pointUncompress = (point: Uint8Array): Uint8Array => {
  expectCompressed(point)
  const x = bytesToBigintBE(point.subarray(1))
  let base = (x ** 3n + 7n) % FIELD
  let root = 1n
  for (let exponent = (FIELD + 1n) / 4n; exponent > 0n; exponent >>= 1n) {
    if ((exponent & 1n) === 1n) root = (root * base) % FIELD
    base = (base * base) % FIELD
  }
  const y = Number(root & 1n) === (point[0] as number) - 2 ? root : FIELD - root
  return concat(Uint8Array.of(4), point.subarray(1), bigintToBytesBE(y, 32))
}

/** The 32-byte x of a compressed point. BIP 340. Does not check that it is on the curve. */
export const xOnlyFromPoint = (point: Uint8Array): Uint8Array => {
  expectCompressed(point)
  return new Uint8Array(point.subarray(1))
}

/** The point with this x and an even y: lift_x of BIP 340. Does not check that it exists: see `isValidXOnly`. */
export const pointFromXOnly = (xOnly: Uint8Array): Uint8Array => {
  if (!(xOnly instanceof Uint8Array) || xOnly.length !== 32) throw new CryptoError('invalid_point', 'not 32 bytes')
  const point = new Uint8Array(33)
  point[0] = 2
  point.set(xOnly, 1)
  return point
}

/** a + b. `no_result` where b is -a. */
export const pointAdd = (a: Uint8Array, b: Uint8Array): Uint8Array => {
  expectCompressed(a)
  expectCompressed(b)
  return attempt(() => backend.pointAdd(a, b), a, b)
}

/** scalar times point, scalar of 1 to n-1. Its time may depend on the scalar: where that is a secret key, use `ecdh`. */
export const pointMultiply = (point: Uint8Array, scalar: Uint8Array): Uint8Array => {
  expectCompressed(point)
  expectNonZero(scalar)
  return attempt(() => backend.pointMultiply(point, scalar), point)
}

/** point + scalar times G, scalar of 0 to n-1. BOLT 3 § Key Derivation. */
export const pointTweakAdd = (point: Uint8Array, scalar: Uint8Array): Uint8Array => {
  expectCompressed(point)
  expectScalar(scalar)
  return attempt(() => backend.pointTweakAdd(point, scalar), point)
}

/** -point. */
export const pointNegate = (point: Uint8Array): Uint8Array => {
  if (!isValidPoint(point)) throw new CryptoError('invalid_point', 'not on the curve')
  const out = new Uint8Array(point)
  out[0] = (out[0] as number) ^ 1
  return out
}

/** a + b modulo n: a secret and a scalar of 0 to n-1. `no_result` where the sum is zero. */
export const secretAdd = (a: Uint8Array, b: Uint8Array): Uint8Array => {
  expectSecret(a)
  expectScalar(b)
  return attempt(() => backend.secretAdd(a, b))
}

/** a times b modulo n, both 1 to n-1. */
export const secretMultiply = (a: Uint8Array, b: Uint8Array): Uint8Array => {
  expectSecret(a)
  expectNonZero(b)
  return attempt(() => backend.secretMultiply(a, b))
}

/** n - a. */
export const secretNegate = (a: Uint8Array): Uint8Array => {
  expectSecret(a)
  return negateScalar(a)
}

/** SHA-256 of the compressed shared point: BOLT 8 § Handshake State, BOLT 4 § Shared Secret. */
export const ecdh = (secret: Uint8Array, point: Uint8Array): Uint8Array => {
  expectSecret(secret)
  expectCompressed(point)
  return attempt(() => backend.ecdh(secret, point), point)
}
