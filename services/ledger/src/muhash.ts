/**
 * MuHash3072: the hash of a set, whatever the order of its elements. Bitcoin Core crypto/muhash.cpp.
 * Each element becomes a number of 3072 bits; the set is their product modulo a prime.
 */
import { bigintToBytesLE, bytesToBigintLE } from '@leyden/codec'
import { chacha20, sha256 } from '@leyden/crypto'

const BYTES = 384
export const MUHASH_PRIME = 2n ** 3072n - 1_103_717n
const NONCE = new Uint8Array(12)
const ZEROS = new Uint8Array(BYTES)

export const muHashElement = (data: Uint8Array): bigint => bytesToBigintLE(chacha20(sha256(data), NONCE, ZEROS))

/** Product of the empty set. */
export const MUHASH_EMPTY = 1n

export const muHashInsert = (product: bigint, data: Uint8Array): bigint => (product * muHashElement(data)) % MUHASH_PRIME

/** 32 bytes. */
export const muHashFinish = (product: bigint): Uint8Array => sha256(bigintToBytesLE(product, BYTES))

/** x with a * x = 1 modulo the prime, by Euclid. */
const inverse = (a: bigint): bigint => {
  let [r, next] = [MUHASH_PRIME, a]
  let [x, nextX] = [0n, 1n]
  while (next !== 0n) {
    const quotient = r / next
    ;[r, next] = [next, r - quotient * next]
    ;[x, nextX] = [nextX, x - quotient * nextX]
  }
  return x < 0n ? x + MUHASH_PRIME : x
}

/** Hash of a set of which some elements were put in (`product`) and some taken out again (`removed`). 32 bytes. */
export const muHashOf = (product: bigint, removed: bigint): Uint8Array =>
  muHashFinish(removed === 1n ? product : (product * inverse(removed)) % MUHASH_PRIME)

/** 384 bytes, and back. */
export const muHashToBytes = (product: bigint): Uint8Array => bigintToBytesLE(product, BYTES)
export const muHashFromBytes = (bytes: Uint8Array): bigint => bytesToBigintLE(bytes)
