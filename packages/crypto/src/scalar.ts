/**
 * Scalars: 32 bytes big-endian, modulo n, the order of secp256k1 (SEC 2 § 2.4.1).
 * Only comparisons and plain arithmetic; sums of secret keys go through the backend (point.ts).
 */
import { bigintToBytesBE, bytesToBigintBE, compareBytes, hexToBytes } from '@leyden/codec'

const ORDER_HEX = 'fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141'

/** n, the order of the group. SEC 2 § 2.4.1. */
export const ORDER: bigint = BigInt(`0x${ORDER_HEX}`)

const ORDER_BYTES = hexToBytes(ORDER_HEX)
/** floor(n / 2): the largest low S. BIP 62 § Low S values in signatures. */
const HALF_ORDER_BYTES = hexToBytes('7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0')

const isZero = (bytes: Uint8Array): boolean => {
  let any = 0
  for (let i = 0; i < bytes.length; i++) any |= bytes[i] as number
  return any === 0
}

/** Whether these are 32 bytes below n. */
export const isScalar = (bytes: Uint8Array): boolean =>
  bytes instanceof Uint8Array && bytes.length === 32 && compareBytes(bytes, ORDER_BYTES) < 0

/** Whether these are a secret key: 32 bytes, 1 to n-1. */
export const isValidSecret = (secret: Uint8Array): boolean => isScalar(secret) && !isZero(secret)

/** Whether a scalar is above n/2. */
export const isHighScalar = (scalar: Uint8Array): boolean => compareBytes(scalar, HALF_ORDER_BYTES) > 0

/** n minus a scalar of 1 to n-1; zero stays zero. Byte by byte, without a branch on the value but the last. */
export const negateScalar = (scalar: Uint8Array): Uint8Array => {
  const out = new Uint8Array(32)
  if (isZero(scalar)) return out
  let borrow = 0
  for (let i = 31; i >= 0; i--) {
    const difference = (ORDER_BYTES[i] as number) - (scalar[i] as number) - borrow
    out[i] = difference & 0xff
    borrow = (difference >> 8) & 1
  }
  return out
}

/** 32 bytes taken modulo n. The value itself where it is below n. */
export const reduceScalar = (bytes: Uint8Array): Uint8Array =>
  compareBytes(bytes, ORDER_BYTES) < 0 ? bytes : bigintToBytesBE(bytesToBigintBE(bytes) - ORDER, 32)
