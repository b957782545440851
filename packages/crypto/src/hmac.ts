/** HMAC (RFC 2104) and HKDF (RFC 5869). BOLT 8 and BOLT 4 take their keys from these. */
import { hkdf } from '@noble/hashes/hkdf.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 as nobleSha256, sha512 } from '@noble/hashes/sha2.js'
import { CryptoError } from './error.ts'
import { sha256 } from './hash.ts'

/** RFC 2104 § 2: SHA-256's block, and what the key in it is mixed with. */
const BLOCK_BYTES = 64
const HASH_BYTES = 32
const INNER = 0x36
const OUTER = 0x5c

/** HMAC-SHA-256: 32 bytes. The key comes first, of any length. Made of whole hashes, so that a platform's own can serve (`useHashes`). */
export const hmacSha256 = (key: Uint8Array, data: Uint8Array): Uint8Array => {
  const short = key.length > BLOCK_BYTES ? sha256(key) : key
  const inner = new Uint8Array(BLOCK_BYTES + data.length).fill(INNER, 0, BLOCK_BYTES)
  const outer = new Uint8Array(BLOCK_BYTES + HASH_BYTES).fill(OUTER, 0, BLOCK_BYTES)
  for (let i = 0; i < short.length; i++) {
    inner[i] = INNER ^ (short[i] as number)
    outer[i] = OUTER ^ (short[i] as number)
  }
  inner.set(data, BLOCK_BYTES)
  outer.set(sha256(inner), BLOCK_BYTES)
  const mac = sha256(outer)
  inner.fill(0, 0, BLOCK_BYTES)
  outer.fill(0)
  return mac
}

/** HMAC-SHA-512: 64 bytes. */
export const hmacSha512 = (key: Uint8Array, data: Uint8Array): Uint8Array => hmac(sha512, key, data)

/** RFC 5869 § 2.3: at most 255 blocks of the hash. */
const MAX_HKDF_BYTES = 255 * 32

/** HKDF-SHA-256 (extract, then expand) to `length` bytes, at most 8,160; throws {@link CryptoError} beyond. */
export const hkdfSha256 = (ikm: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array => {
  if (!Number.isSafeInteger(length) || length < 0 || length > MAX_HKDF_BYTES)
    throw new CryptoError('invalid_length', `hkdf output of ${length} bytes`)
  return hkdf(nobleSha256, ikm, salt, info, length)
}
