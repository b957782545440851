/**
 * Hash functions: FIPS 180-4, RIPEMD-160, and Bitcoin's compositions of them (BIP 340 for tagged hashes).
 * @noble/hashes computes them everywhere. A service may hand over its platform's own SHA-256 and RIPEMD-160 (`useHashes`), three times as
 * quick for what a node hashes all day and ten times for large inputs.
 */
import { concat, equalBytes, utf8Encode } from '@leyden/codec'
import { ripemd160 as nobleRipemd160, sha1 as nobleSha1 } from '@noble/hashes/legacy.js'
import { sha256 as nobleSha256, sha512 as nobleSha512 } from '@noble/hashes/sha2.js'
import { sha3_256 as nobleSha3 } from '@noble/hashes/sha3.js'
import { CryptoError } from './error.ts'

/** Another implementation: whole inputs in, 32 and 20 bytes out, in an array of their own. */
export type Hashes = {
  readonly sha256: (data: Uint8Array) => Uint8Array
  readonly ripemd160: (data: Uint8Array) => Uint8Array
}

const NOBLE: Hashes = { sha256: (data) => nobleSha256(data), ripemd160: (data) => nobleRipemd160(data) }
let hashes: Hashes = NOBLE

/** Lengths around the edges of SHA-256's and RIPEMD-160's blocks, and one of many blocks. */
const TRIED_LENGTHS = [0, 1, 32, 33, 55, 56, 63, 64, 65, 119, 120, 128, 1000]

/**
 * Hashes by another implementation from now on; without one, by @noble/hashes again. Throws {@link CryptoError} `self_test_failed`, and
 * changes nothing, where it does not agree with @noble/hashes.
 */
export const useHashes = (other: Hashes = NOBLE): void => {
  for (const length of TRIED_LENGTHS) {
    const data = new Uint8Array(length + 1).map((_, i) => i * 7 + length).subarray(1)
    if (!equalBytes(other.sha256(data), nobleSha256(data)) || !equalBytes(other.ripemd160(data), nobleRipemd160(data)))
      throw new CryptoError('self_test_failed', `hashes of ${length} bytes`)
  }
  hashes = other
}

/** SHA-256: 32 bytes. */
export const sha256 = (data: Uint8Array): Uint8Array => hashes.sha256(data)

/** SHA-256 of SHA-256: 32 bytes. Txids, block hashes, base58 checksums, signed gossip. */
export const sha256d = (data: Uint8Array): Uint8Array => hashes.sha256(hashes.sha256(data))

/** RIPEMD-160 of SHA-256: 20 bytes. Key and script hashes. */
export const hash160 = (data: Uint8Array): Uint8Array => hashes.ripemd160(hashes.sha256(data))

/** RIPEMD-160: 20 bytes. */
export const ripemd160 = (data: Uint8Array): Uint8Array => hashes.ripemd160(data)

/** SHA-1: 20 bytes. Only for OP_SHA1 of consensus scripts. */
export const sha1 = (data: Uint8Array): Uint8Array => nobleSha1(data)

/** SHA3-256 (FIPS 202): 32 bytes. Only for the checksum of an onion address. */
export const sha3 = (data: Uint8Array): Uint8Array => nobleSha3(data)

/** SHA-512: 64 bytes. */
export const sha512 = (data: Uint8Array): Uint8Array => nobleSha512(data)

/** `SHA256(tag) || SHA256(tag)`: tags are few, so these are kept. */
const tagPrefixes = new Map<string, Uint8Array>()
const MAX_TAG_PREFIXES = 64

const prefixOfTag = (tag: Uint8Array): Uint8Array => {
  const tagHash = sha256(tag)
  return concat(tagHash, tagHash)
}

const prefixOfName = (name: string): Uint8Array => {
  let prefix = tagPrefixes.get(name)
  if (prefix === undefined) {
    prefix = prefixOfTag(utf8Encode(name))
    if (tagPrefixes.size < MAX_TAG_PREFIXES) tagPrefixes.set(name, prefix)
  }
  return prefix
}

/**
 * BIP 340 tagged hash of the parts, in order: `SHA256(SHA256(tag) || SHA256(tag) || parts)`, 32 bytes.
 * A tag given as bytes (BOLT 12's `LnNonce` tag, which ends in a record) is used as it is.
 */
export const taggedHash = (tag: string | Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array => {
  const prefix = typeof tag === 'string' ? prefixOfName(tag) : prefixOfTag(tag)
  let length = prefix.length
  for (const part of parts) length += part.length
  if (length > scratch.length) return sha256(concat(prefix, ...parts))
  scratch.set(prefix)
  let at = prefix.length
  for (const part of parts) {
    scratch.set(part, at)
    at += part.length
  }
  const hash = sha256(scratch.subarray(0, length))
  scratch.fill(0, 0, length) // a nonce is hashed this way too
  return hash
}

/** Where short messages are put together. */
const scratch = new Uint8Array(1024)
