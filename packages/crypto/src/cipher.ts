/**
 * ChaCha20 and ChaCha20-Poly1305, RFC 8439. BOLT 8 transport, BOLT 4 onion streams and blinded data.
 * Nonces are the caller's: BOLT 8 § Cryptographic Messaging Overview writes its counter little-endian after four zeros.
 */
import { chacha20 as nobleChacha20, chacha20poly1305 } from '@noble/ciphers/chacha.js'
import { CryptoError, expectLength } from './error.ts'

const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** The data xor the key stream, block counter from zero. Encrypting zeros gives the stream itself. RFC 8439 § 2.4. */
export const chacha20 = (key: Uint8Array, nonce: Uint8Array, data: Uint8Array): Uint8Array => {
  expectLength(key, KEY_BYTES, 'chacha20 key')
  expectLength(nonce, NONCE_BYTES, 'chacha20 nonce')
  return nobleChacha20(key, nonce, data)
}

/** Ciphertext with its 16-byte tag at the end. RFC 8439 § 2.8. */
export const chacha20poly1305Encrypt = (
  key: Uint8Array,
  nonce: Uint8Array,
  associatedData: Uint8Array,
  plaintext: Uint8Array,
): Uint8Array => {
  expectLength(key, KEY_BYTES, 'chacha20poly1305 key')
  expectLength(nonce, NONCE_BYTES, 'chacha20poly1305 nonce')
  return chacha20poly1305(key, nonce, associatedData).encrypt(plaintext)
}

/** The plaintext, or undefined where the tag does not match or is missing. RFC 8439 § 2.8. */
export const chacha20poly1305Decrypt = (
  key: Uint8Array,
  nonce: Uint8Array,
  associatedData: Uint8Array,
  ciphertext: Uint8Array,
): Uint8Array | undefined => {
  expectLength(key, KEY_BYTES, 'chacha20poly1305 key')
  expectLength(nonce, NONCE_BYTES, 'chacha20poly1305 nonce')
  if (!(ciphertext instanceof Uint8Array)) throw new CryptoError('invalid_length', 'ciphertext is not bytes')
  if (ciphertext.length < TAG_BYTES) return undefined
  const cipher = chacha20poly1305(key, nonce, associatedData)
  try {
    return cipher.decrypt(ciphertext)
  } catch {
    return undefined
  }
}
