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

const word = (bytes: Uint8Array, at: number): bigint => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return view.getBigUint64(at, true)
}

/** SipHash-2-4 of bytes under a key of 16 bytes. Unsigned 64 bits. */
export const sipHash = (key: Uint8Array, data: Uint8Array): bigint => {
  if (key.length !== 16) throw new RangeError(`key of ${key.length} bytes, not 16`)
  const state = new Uint32Array(8)
  const set = (i: number, n: bigint): void => {
    state[2 * i] = Number(n & 0xffff_ffffn)
    state[2 * i + 1] = Number((n >> 32n) & 0xffff_ffffn)
  }
  const [k0, k1] = [word(key, 0), word(key, 8)]
  set(0, 0x736f_6d65_7073_6575n ^ k0)
  set(1, 0x646f_7261_6e64_6f6dn ^ k1)
  set(2, 0x6c79_6765_6e65_7261n ^ k0)
  set(3, 0x7465_6462_7974_6573n ^ k1)
  const add = (a: number, b: number): void => {
    const low = state[2 * a]! + state[2 * b]!
    state[2 * a + 1] = state[2 * a + 1]! + state[2 * b + 1]! + (low > 0xffff_ffff ? 1 : 0)
    state[2 * a] = low
  }
  /** Rotates word `a` left by `bits`, then mixes word `b` in. */
  const turn = (a: number, bits: number, b: number): void => {
    let low = state[2 * a]!
    let high = state[2 * a + 1]!
    if (bits >= 32) [low, high] = [high, low]
    const n = bits % 32
    if (n > 0) [low, high] = [(low << n) | (high >>> (32 - n)), (high << n) | (low >>> (32 - n))]
    state[2 * a] = b < 0 ? low : low ^ state[2 * b]!
    state[2 * a + 1] = b < 0 ? high : high ^ state[2 * b + 1]!
  }
  const round = (): void => {
    add(0, 1)
    turn(1, 13, 0)
    turn(0, 32, -1)
    add(2, 3)
    turn(3, 16, 2)
    add(0, 3)
    turn(3, 21, 0)
    add(2, 1)
    turn(1, 17, 2)
    turn(2, 32, -1)
  }
  const mix = (low: number, high: number): void => {
    state[6] = state[6]! ^ low
    state[7] = state[7]! ^ high
    round()
    round()
    state[0] = state[0]! ^ low
    state[1] = state[1]! ^ high
  }
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const whole = data.length - (data.length % 8)
  for (let at = 0; at < whole; at += 8) mix(view.getUint32(at, true), view.getUint32(at + 4, true))
  const last = new Uint8Array(8)
  last.set(data.subarray(whole))
  last[7] = data.length & 0xff
  const end = new DataView(last.buffer)
  mix(end.getUint32(0, true), end.getUint32(4, true))
  state[4] = state[4]! ^ 0xff
  for (let i = 0; i < 4; i++) round()
  const low = state[0]! ^ state[2]! ^ state[4]! ^ state[6]!
  const high = state[1]! ^ state[3]! ^ state[5]! ^ state[7]!
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)
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

/** A set of items as a Golomb-coded set under the hash of a block: the count, then the differences. Duplicates count once. */
export const encodeFilter = (hash: BlockHash, items: Iterable<Uint8Array>): Uint8Array => {
  const distinct = new Map<string, Uint8Array>()
  for (const item of items) distinct.set(bytesToHex(item), item)
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
