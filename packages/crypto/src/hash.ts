/**
 * Hash functions: FIPS 180-4, RIPEMD-160, and Bitcoin's compositions of them (BIP 340 for tagged hashes).
 * For large inputs node's own SHA-256 is quicker; for the short ones that a node hashes all day this one is as quick.
 */
import { concat, utf8Encode } from '@leyden/codec'
import { ripemd160 as nobleRipemd160, sha1 as nobleSha1 } from '@noble/hashes/legacy.js'
import { sha256 as nobleSha256, sha512 as nobleSha512 } from '@noble/hashes/sha2.js'

/** SHA-256: 32 bytes. */
export const sha256 = (data: Uint8Array): Uint8Array => nobleSha256(data)

/** SHA-256 of SHA-256: 32 bytes. Txids, block hashes, base58 checksums, signed gossip. */
export const sha256d = (data: Uint8Array): Uint8Array => nobleSha256(nobleSha256(data))

/** RIPEMD-160 of SHA-256: 20 bytes. Key and script hashes. */
export const hash160 = (data: Uint8Array): Uint8Array => nobleRipemd160(nobleSha256(data))

/** RIPEMD-160: 20 bytes. */
export const ripemd160 = (data: Uint8Array): Uint8Array => nobleRipemd160(data)

/** SHA-1: 20 bytes. Only for OP_SHA1 of consensus scripts. */
export const sha1 = (data: Uint8Array): Uint8Array => nobleSha1(data)

/** SHA-512: 64 bytes. */
export const sha512 = (data: Uint8Array): Uint8Array => nobleSha512(data)

type Sha256State = ReturnType<typeof nobleSha256.create>

/** SHA-256 after `SHA256(tag) || SHA256(tag)`, one block: tags are few, so their state is kept. */
const tagStates = new Map<string, Sha256State>()
const MAX_TAG_STATES = 64

const stateOfTag = (tag: Uint8Array): Sha256State => {
  const tagHash = nobleSha256(tag)
  return nobleSha256.create().update(concat(tagHash, tagHash))
}

const stateOfName = (name: string): Sha256State => {
  let state = tagStates.get(name)
  if (state === undefined) {
    state = stateOfTag(utf8Encode(name))
    if (tagStates.size < MAX_TAG_STATES) tagStates.set(name, state)
  }
  return state.clone()
}

/**
 * BIP 340 tagged hash of the parts, in order: `SHA256(SHA256(tag) || SHA256(tag) || parts)`, 32 bytes.
 * A tag given as bytes (BOLT 12's `LnNonce` tag, which ends in a record) is used as it is.
 */
export const taggedHash = (tag: string | Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array => {
  const state = typeof tag === 'string' ? stateOfName(tag) : stateOfTag(tag)
  for (const part of parts) state.update(part)
  return state.digest()
}
