/**
 * Transaction ids, block hashes and outpoints.
 * Ids are lower-case hex in display order: the bytes of the double SHA-256 reversed, as RPC and explorers show them.
 * Inside transactions, headers and BOLT fields the same hash stands in internal order: convert with the *ToBytes functions.
 */
import { hexToBytes, type Unit } from '@leyden/codec'

const HASH_HEX = /^[0-9a-f]{64}$/

const checkHash = (name: string, hex: string): string => {
  if (typeof hex !== 'string' || !HASH_HEX.test(hex)) throw new RangeError(`${name} is not 64 lower-case hex characters`)
  return hex
}

/** Hash of a transaction without its witness. Throws RangeError when not 64 lower-case hex characters. */
export type Txid = Unit<string, 'txid'>
export const Txid = (hex: string): Txid => checkHash('txid', hex) as Txid

/** Hash of a transaction with its witness (BIP 141). */
export type Wtxid = Unit<string, 'wtxid'>
export const Wtxid = (hex: string): Wtxid => checkHash('wtxid', hex) as Wtxid

/** Hash of a block header. */
export type BlockHash = Unit<string, 'block_hash'>
export const BlockHash = (hex: string): BlockHash => checkHash('block_hash', hex) as BlockHash

/** Thirty-two zero bytes in either order: the previous hash of a genesis block, the outpoint of a coinbase. */
export const ZERO_HASH = '00'.repeat(32)

/** Character codes of the two digits of every byte. */
const DIGITS = Uint8Array.from({ length: 512 }, (_, i) => {
  const digit = i % 2 === 0 ? i >> 5 : (i >> 1) & 15
  return digit < 10 ? 48 + digit : 87 + digit
})
const digits: number[] = Array.from({ length: 64 }, () => 0)

/** Hash in internal order to display hex. On the path of every input of every block: one string, no intermediate copies. */
export const hashToHex = (internal: Uint8Array): string => {
  if (internal.length !== 32) throw new RangeError(`hash has ${internal.length} bytes, not 32`)
  for (let i = 0; i < 32; i++) {
    const byte = internal[31 - i]!
    digits[2 * i] = DIGITS[2 * byte]!
    digits[2 * i + 1] = DIGITS[2 * byte + 1]!
  }
  return String.fromCharCode(...digits)
}

/** Display hex to the hash in internal order. */
export const hashFromHex = (display: string): Uint8Array => hexToBytes(display).reverse()

export const txidFromBytes = (internal: Uint8Array): Txid => hashToHex(internal) as Txid
export const txidToBytes = (id: Txid): Uint8Array => hashFromHex(id)
export const wtxidFromBytes = (internal: Uint8Array): Wtxid => hashToHex(internal) as Wtxid
export const wtxidToBytes = (id: Wtxid): Uint8Array => hashFromHex(id)
export const blockHashFromBytes = (internal: Uint8Array): BlockHash => hashToHex(internal) as BlockHash
export const blockHashToBytes = (hash: BlockHash): Uint8Array => hashFromHex(hash)

/** One output of one transaction. `vout` is a uint32. */
export type Outpoint = { readonly txid: Txid; readonly vout: number }

/** `txid:vout`, for Map keys and logs. */
export const outpointKey = (outpoint: Outpoint): string => `${outpoint.txid}:${outpoint.vout}`

/** Reverse of outpointKey. Throws RangeError on anything else. */
export const outpointFromKey = (key: string): Outpoint => {
  const vout = key.slice(65)
  if (key[64] !== ':' || !/^(0|[1-9]\d{0,9})$/.test(vout) || Number(vout) > 0xffff_ffff)
    throw new RangeError('not an outpoint: expected txid:vout')
  return { txid: Txid(key.slice(0, 64)), vout: Number(vout) }
}

export const sameOutpoint = (a: Outpoint, b: Outpoint): boolean => a.vout === b.vout && a.txid === b.txid
