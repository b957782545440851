/**
 * Per-commitment secrets: made from a seed, and the remote's kept compactly.
 * BOLT 3 § Per-commitment Secret Requirements, § Efficient Per-commitment Secret Storage.
 * Doors speak of commitment numbers, which count up from 0; the spec's index counts down from 2^48 - 1.
 */
import { equalBytes } from '@leyden/codec'
import { sha256 } from '@leyden/crypto'
import { violation, type Violation } from '../violations.ts'

/** Index of commitment number 0. */
export const FIRST_INDEX = 2 ** 48 - 1

const INDEX_BITS = 48

/** At most 49 entries; entry `b` has an index with `b` trailing zeros. Plain data. */
export type RevocationStore = readonly { readonly index: number; readonly secret: Uint8Array }[]

export const EMPTY_REVOCATIONS: RevocationStore = []

const bitSet = (index: number, bit: number): boolean => Math.floor(index / 2 ** bit) % 2 === 1

/** The secret of `index` from that of an index which agrees with it in all but the lowest `bits` bits, which are zero there. */
const derive = (base: Uint8Array, bits: number, index: number): Uint8Array => {
  let secret = base
  for (let bit = bits - 1; bit >= 0; bit--) {
    if (!bitSet(index, bit)) continue
    const flipped = secret.slice()
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    secret = sha256(flipped)
  }
  return secret
}

/** Secret of the spec's index, 0 to 2^48 - 1. 32 bytes. BOLT 3 `generate_from_seed`. */
export const generateFromSeed = (seed: Uint8Array, index: number): Uint8Array => derive(seed, INDEX_BITS, index)

/** The spec's index of a commitment number. Throws RangeError outside 0 to 2^48 - 1. */
export const indexOfNumber = (number: number): number => {
  if (!Number.isSafeInteger(number) || number < 0 || number > FIRST_INDEX) throw new RangeError(`commitment number ${number}`)
  return FIRST_INDEX - number
}

/** Secret of our own commitment `number`. */
export const secretOfNumber = (seed: Uint8Array, number: number): Uint8Array => generateFromSeed(seed, indexOfNumber(number))

const trailingZeros = (index: number): number => {
  for (let bit = 0; bit < INDEX_BITS; bit++) if (bitSet(index, bit)) return bit
  return INDEX_BITS
}

/** The store with one more secret; a violation when earlier secrets do not derive from it. BOLT 3 `insert_secret`. */
export const insertSecret = (store: RevocationStore, number: number, secret: Uint8Array): RevocationStore | Violation => {
  const index = indexOfNumber(number)
  const bucket = trailingZeros(index)
  for (const known of store.slice(0, bucket))
    if (!equalBytes(derive(secret, bucket, known.index), known.secret))
      return violation('revocation_secret_inconsistent', { number })
  if (bucket > store.length) return violation('revocation_secret_skipped', { number })
  return [...store.slice(0, bucket), { index, secret }, ...store.slice(bucket + 1)]
}

/** The secret that the remote revealed for commitment `number`, or undefined. BOLT 3 `derive_old_secret`. */
export const findSecret = (store: RevocationStore, number: number): Uint8Array | undefined => {
  const index = indexOfNumber(number)
  for (const [bucket, known] of store.entries())
    if (index - (index % 2 ** bucket) === known.index) return derive(known.secret, bucket, index)
  return undefined
}
