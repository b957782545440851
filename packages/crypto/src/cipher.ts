/**
 * ChaCha20 and ChaCha20-Poly1305, RFC 8439. BOLT 8 transport, BOLT 4 onion streams and blinded data.
 * Nonces are the caller's: BOLT 8 § Cryptographic Messaging Overview writes its counter little-endian after four zeros.
 * @noble/ciphers computes them everywhere. A service may hand over its platform's own (`useCiphers`), four times as quick for an onion or
 * a message that carries one, and slower for a few bytes: those stay here.
 */
import { equalBytes } from '@leyden/codec'
import { chacha20 as nobleChacha20, chacha20poly1305 } from '@noble/ciphers/chacha.js'
import { CryptoError, expectLength } from './error.ts'

/** Another implementation. Keys and nonces have their lengths, a ciphertext has room for its tag; results in arrays of their own. */
export type Ciphers = {
  readonly encrypt: (key: Uint8Array, nonce: Uint8Array, associatedData: Uint8Array, plaintext: Uint8Array) => Uint8Array
  /** Throws where the tag does not match. */
  readonly decrypt: (key: Uint8Array, nonce: Uint8Array, associatedData: Uint8Array, ciphertext: Uint8Array) => Uint8Array
  readonly chacha20: (key: Uint8Array, nonce: Uint8Array, data: Uint8Array) => Uint8Array
}

const NOBLE: Ciphers = {
  encrypt: (key, nonce, associatedData, plaintext) => chacha20poly1305(key, nonce, associatedData).encrypt(plaintext),
  decrypt: (key, nonce, associatedData, ciphertext) => chacha20poly1305(key, nonce, associatedData).decrypt(ciphertext),
  chacha20: (key, nonce, data) => nobleChacha20(key, nonce, data),
}
let ciphers: Ciphers = NOBLE

/** From this length on another implementation is used. */
const LEAST_BYTES = 256
const ciphersFor = (bytes: Uint8Array): Ciphers => (bytes.length < LEAST_BYTES ? NOBLE : ciphers)

/** Around the edges of ChaCha20's blocks and Poly1305's. */
const TRIED_LENGTHS = [0, 1, 15, 16, 17, 63, 64, 65, 1300]

/** The other does what @noble/ciphers does, and refuses what was changed. */
const agrees = (other: Ciphers, length: number): boolean => {
  const [key, nonce, associatedData, data] = [32, 12, length % 40, length].map((size) =>
    new Uint8Array(size + 1).map((_, i) => i * 11 + size).subarray(1),
  ) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array]
  const sealed = NOBLE.encrypt(key, nonce, associatedData, data)
  if (!equalBytes(other.encrypt(key, nonce, associatedData, data), sealed)) return false
  if (!equalBytes(other.decrypt(key, nonce, associatedData, sealed), data)) return false
  if (!equalBytes(other.chacha20(key, nonce, data), NOBLE.chacha20(key, nonce, data))) return false
  sealed[length] = (sealed[length] as number) ^ 1
  try {
    other.decrypt(key, nonce, associatedData, sealed)
    return false
  } catch {
    return true
  }
}

/**
 * Long inputs by another implementation from now on; without one, by @noble/ciphers again. Throws {@link CryptoError} `self_test_failed`,
 * and changes nothing, where it does not agree with @noble/ciphers.
 */
export const useCiphers = (other: Ciphers = NOBLE): void => {
  for (const length of TRIED_LENGTHS)
    if (!agrees(other, length)) throw new CryptoError('self_test_failed', `ciphers of ${length} bytes`)
  ciphers = other
}

const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** The data xor the key stream, block counter from zero. Encrypting zeros gives the stream itself. RFC 8439 § 2.4. */
export const chacha20 = (key: Uint8Array, nonce: Uint8Array, data: Uint8Array): Uint8Array => {
  expectLength(key, KEY_BYTES, 'chacha20 key')
  expectLength(nonce, NONCE_BYTES, 'chacha20 nonce')
  return ciphersFor(data).chacha20(key, nonce, data)
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
  return ciphersFor(plaintext).encrypt(key, nonce, associatedData, plaintext)
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
  try {
    return ciphersFor(ciphertext).decrypt(key, nonce, associatedData, ciphertext)
  } catch {
    return undefined
  }
}
