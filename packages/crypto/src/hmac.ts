/** HMAC (RFC 2104) and HKDF (RFC 5869). BOLT 8 and BOLT 4 take their keys from these. */
import { hkdf } from '@noble/hashes/hkdf.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256, sha512 } from '@noble/hashes/sha2.js'
import { CryptoError } from './error.ts'

/** HMAC-SHA-256: 32 bytes. The key comes first, of any length. */
export const hmacSha256 = (key: Uint8Array, data: Uint8Array): Uint8Array => hmac(sha256, key, data)

/** HMAC-SHA-512: 64 bytes. */
export const hmacSha512 = (key: Uint8Array, data: Uint8Array): Uint8Array => hmac(sha512, key, data)

/** RFC 5869 § 2.3: at most 255 blocks of the hash. */
const MAX_HKDF_BYTES = 255 * 32

/** HKDF-SHA-256 (extract, then expand) to `length` bytes, at most 8,160; throws {@link CryptoError} beyond. */
export const hkdfSha256 = (ikm: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array => {
  if (!Number.isSafeInteger(length) || length < 0 || length > MAX_HKDF_BYTES)
    throw new CryptoError('invalid_length', `hkdf output of ${length} bytes`)
  return hkdf(sha256, ikm, salt, info, length)
}
