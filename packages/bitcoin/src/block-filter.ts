/**
 * Compact filters of a block: a Golomb-coded set of the scripts that it pays to and spends from, for wallets that look for their own.
 * BIP 158 (basic filter), BIP 157 § Filter Headers.
 * The filter hashes each script with SipHash under the block's hash; 64-bit words are held as pairs of 32 bits.
 */
import { bytesToHex, compactSize, concat, DecodeError, Reader, Writer } from '@leyden/codec'
import { sha256d } from '@leyden/crypto'
import { blockHash, type Block } from './block.ts'
import { blockHashToBytes, type BlockHash } from './ids.ts'
import { OP } from './opcode.ts'

/** BIP 158: bits of a remainder, and one in how many strangers matches. */
const P = 19n
const M = 784_931n
const P_MASK = (1n << P) - 1n

const TWO_32 = 2 ** 32

/** SipHash-2-4 of bytes under a key of 16 bytes. Unsigned 64 bits. Run for every script of every block: nothing is allocated. */
export const sipHash = (key: Uint8Array, data: Uint8Array): bigint => {
  if (key.length !== 16) throw new RangeError(`key of ${key.length} bytes, not 16`)
  const word = (at: number): number => key[at]! | (key[at + 1]! << 8) | (key[at + 2]! << 16) | (key[at + 3]! << 24)
  // Four words of 64 bits, low and high halves as int32
  let a = 0x7073_6575 ^ word(0)
  let aHigh = 0x736f_6d65 ^ word(4)
  let b = 0x6e64_6f6d ^ word(8)
  let bHigh = 0x646f_7261 ^ word(12)
  let c = 0x6e65_7261 ^ word(0)
  let cHigh = 0x6c79_6765 ^ word(4)
  let d = 0x7974_6573 ^ word(8)
  let dHigh = 0x7465_6462 ^ word(12)
  const whole = data.length >> 3
  for (let step = 0; step <= whole + 1; step++) {
    const isEnd = step === whole + 1
    let low = 0
    let high = 0
    if (isEnd) c ^= 0xff
    else {
      const at = step * 8
      for (let i = Math.min(8, data.length - at) - 1; i >= 4; i--) high = (high << 8) | data[at + i]!
      for (let i = Math.min(4, data.length - at) - 1; i >= 0; i--) low = (low << 8) | data[at + i]!
      if (step === whole) high |= (data.length & 0xff) << 24
      d ^= low
      dHigh ^= high
    }
    for (let rounds = isEnd ? 4 : 2; rounds > 0; rounds--) {
      let sum = (a >>> 0) + (b >>> 0)
      aHigh = (aHigh + bHigh + (sum >= TWO_32 ? 1 : 0)) | 0
      a = sum | 0
      let t = (b << 13) | (bHigh >>> 19)
      bHigh = ((bHigh << 13) | (b >>> 19)) ^ aHigh
      b = t ^ a
      t = a
      a = aHigh
      aHigh = t
      sum = (c >>> 0) + (d >>> 0)
      cHigh = (cHigh + dHigh + (sum >= TWO_32 ? 1 : 0)) | 0
      c = sum | 0
      t = (d << 16) | (dHigh >>> 16)
      dHigh = ((dHigh << 16) | (d >>> 16)) ^ cHigh
      d = t ^ c
      sum = (a >>> 0) + (d >>> 0)
      aHigh = (aHigh + dHigh + (sum >= TWO_32 ? 1 : 0)) | 0
      a = sum | 0
      t = (d << 21) | (dHigh >>> 11)
      dHigh = ((dHigh << 21) | (d >>> 11)) ^ aHigh
      d = t ^ a
      sum = (c >>> 0) + (b >>> 0)
      cHigh = (cHigh + bHigh + (sum >= TWO_32 ? 1 : 0)) | 0
      c = sum | 0
      t = (b << 17) | (bHigh >>> 15)
      bHigh = ((bHigh << 17) | (b >>> 15)) ^ cHigh
      b = t ^ c
      t = c
      c = cHigh
      cHigh = t
    }
    if (!isEnd) {
      a ^= low
      aHigh ^= high
    }
  }
  return (BigInt((aHigh ^ bHigh ^ cHigh ^ dHigh) >>> 0) << 32n) | BigInt((a ^ b ^ c ^ d) >>> 0)
}

/** Hash of an item, spread evenly over [0, range). */
const hashedInto = (key: Uint8Array, item: Uint8Array, range: bigint): bigint => (sipHash(key, item) * range) >> 64n

const keyOf = (hash: BlockHash): Uint8Array => blockHashToBytes(hash).subarray(0, 16)

/** Bits, most significant first. */
class BitWriter {
  readonly #bytes: number[] = []
  #bits = 0
  bit(one: boolean): void {
    if (this.#bits % 8 === 0) this.#bytes.push(0)
    if (one) this.#bytes[this.#bytes.length - 1]! |= 0x80 >> (this.#bits % 8)
    this.#bits++
  }
  finish(): Uint8Array {
    return Uint8Array.from(this.#bytes)
  }
}

/** A string of its own for each array of bytes. */
const textOf = (bytes: Uint8Array): string =>
  bytes.length > 1024 ? bytesToHex(bytes) : `.${String.fromCharCode.apply(null, bytes as unknown as number[])}`

/** A set of items as a Golomb-coded set under the hash of a block: the count, then the differences. Duplicates count once. */
export const encodeFilter = (hash: BlockHash, items: Iterable<Uint8Array>): Uint8Array => {
  const distinct = new Map<string, Uint8Array>()
  for (const item of items) distinct.set(textOf(item), item)
  const w = new Writer()
  compactSize.encode(w, distinct.size)
  if (distinct.size === 0) return w.finish()
  const key = keyOf(hash)
  const range = BigInt(distinct.size) * M
  const values = BigUint64Array.from([...distinct.values()].map((item) => hashedInto(key, item, range))).sort()
  const bits = new BitWriter()
  let last = 0n
  for (const value of values) {
    const delta = value - last
    last = value
    for (let n = delta >> P; n > 0n; n--) bits.bit(true)
    bits.bit(false)
    const remainder = Number(delta & P_MASK)
    for (let n = Number(P) - 1; n >= 0; n--) bits.bit(((remainder >> n) & 1) === 1)
  }
  return concat(w.finish(), bits.finish())
}

/** BIP 158 § Contents: output scripts but OP_RETURN, and the scripts of what is spent (coinbase left out); never empty ones. */
export const basicFilter = (block: Block, spent: readonly { readonly scriptPubKey: Uint8Array }[]): Uint8Array => {
  const paid = block.transactions.flatMap(({ outputs }) => outputs.map(({ scriptPubKey }) => scriptPubKey))
  const items = [...paid.filter((script) => script[0] !== OP.OP_RETURN), ...spent.map(({ scriptPubKey }) => scriptPubKey)].filter(
    (script) => script.length > 0,
  )
  return encodeFilter(blockHash(block.header), items)
}

/** BIP 157: commits to the filter and to all before it. 32 bytes in internal order; zeros stand before the genesis block. */
export const filterHeader = (filter: Uint8Array, previous: Uint8Array): Uint8Array => sha256d(concat(sha256d(filter), previous))

/** Whether one of the items may be in the filter. Wrong one time in 784931 for each. Throws DecodeError on a damaged filter. */
export const filterMatches = (filter: Uint8Array, hash: BlockHash, items: readonly Uint8Array[]): boolean => {
  const reader = new Reader(filter)
  const count = compactSize.decode(reader)
  if (count === 0 || items.length === 0) return false
  const key = keyOf(hash)
  const range = BigInt(count) * M
  const wanted = new Set(items.map((item) => hashedInto(key, item, range)))
  const bytes = reader.bytes(reader.remaining)
  let at = 0
  const bit = (): number => {
    const byte = bytes[at >> 3]
    if (byte === undefined) throw new DecodeError('truncated', 'the filter ends too early')
    return (byte >> (7 - (at++ % 8))) & 1
  }
  let value = 0n
  for (let i = 0; i < count; i++) {
    let quotient = 0n
    while (bit() === 1) quotient++
    let remainder = 0
    for (let n = 0; n < Number(P); n++) remainder = remainder * 2 + bit()
    value += (quotient << P) | BigInt(remainder)
    if (wanted.has(value)) return true
  }
  return false
}
