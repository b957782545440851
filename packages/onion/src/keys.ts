/**
 * Keys and streams of the onion. BOLT 4 § Key Generation, § Pseudo Random Byte Stream.
 * The nonce is always zero: no key is used for two packets.
 */
import { utf8Encode } from '@leyden/codec'
import { chacha20, hmacSha256 } from '@leyden/crypto'

export type KeyType = 'rho' | 'mu' | 'um' | 'pad' | 'ammag' | 'blinded_node_id'

const ZERO_NONCE = new Uint8Array(12)

/** 32 bytes derived from a 32-byte shared secret. */
export const deriveKey = (type: KeyType, secret: Uint8Array): Uint8Array => hmacSha256(utf8Encode(type), secret)

/** `data` XORed with the stream of `key`. Twice is the identity. */
export const applyStream = (key: Uint8Array, data: Uint8Array): Uint8Array => chacha20(key, ZERO_NONCE, data)

/** The first `length` bytes of the stream of `key`. */
export const stream = (key: Uint8Array, length: number): Uint8Array => chacha20(key, ZERO_NONCE, new Uint8Array(length))
