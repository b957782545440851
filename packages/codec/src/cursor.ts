/**
 * Writer and Reader: a growing buffer and a bounded view. Big-endian unless a name says `le`.
 * A Reader never allocates for a length before it has checked that so many bytes are there.
 */
import { DecodeError } from './decode-error.ts'

const MAX_U64 = 0xffff_ffff_ffff_ffffn

const inRange = (n: number, max: number): number => {
  if (!Number.isInteger(n) || n < 0 || n > max) throw new RangeError(`${n} is not an integer from 0 to ${max}`)
  return n
}

/** What a Writer keeps of its memory when it begins anew. */
const MAX_KEPT = 1 << 20

/** The value of a lower-case hex digit; 0xff for another character. */
const DIGITS = new Uint8Array(128).fill(0xff)
for (let i = 0; i < 16; i++) DIGITS['0123456789abcdef'.charCodeAt(i)] = i
const digitOf = (code: number): number => (code < 128 ? (DIGITS[code] as number) : 0xff)

/** Collects bytes. `finish` gives them and ends the Writer; one that is only looked at (`written`) may be used again (`clear`). */
export class Writer {
  #buffer: Uint8Array
  #view: DataView
  #length = 0

  constructor(capacity = 256) {
    this.#buffer = new Uint8Array(capacity)
    this.#view = new DataView(this.#buffer.buffer)
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length
  }

  #reserve(count: number): number {
    const at = this.#length
    const need = at + count
    if (need > this.#buffer.length) {
      const grown = new Uint8Array(Math.max(need, this.#buffer.length * 2))
      grown.set(this.#buffer.subarray(0, at))
      this.#buffer = grown
      this.#view = new DataView(grown.buffer)
    }
    this.#length = need
    return at
  }

  bytes(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.length)
    this.#buffer.set(bytes, at)
  }
  u8(n: number): void {
    inRange(n, 0xff)
    const at = this.#reserve(1)
    this.#view.setUint8(at, n)
  }
  u16(n: number): void {
    inRange(n, 0xffff)
    const at = this.#reserve(2)
    this.#view.setUint16(at, n)
  }
  u32(n: number): void {
    inRange(n, 0xffff_ffff)
    const at = this.#reserve(4)
    this.#view.setUint32(at, n)
  }
  u64(n: bigint): void {
    if (n < 0n || n > MAX_U64) throw new RangeError('not an unsigned 64-bit integer')
    const at = this.#reserve(8)
    this.#view.setBigUint64(at, n)
  }
  u16le(n: number): void {
    inRange(n, 0xffff)
    const at = this.#reserve(2)
    this.#view.setUint16(at, n, true)
  }
  u32le(n: number): void {
    inRange(n, 0xffff_ffff)
    const at = this.#reserve(4)
    this.#view.setUint32(at, n, true)
  }
  i32le(n: number): void {
    if (!Number.isInteger(n) || n < -0x8000_0000 || n > 0x7fff_ffff) throw new RangeError('not a signed 32-bit integer')
    const at = this.#reserve(4)
    this.#view.setInt32(at, n, true)
  }
  u64le(n: bigint): void {
    if (n < 0n || n > MAX_U64) throw new RangeError('not an unsigned 64-bit integer')
    const at = this.#reserve(8)
    this.#view.setBigUint64(at, n, true)
  }

  /** The bytes that lower-case hex spells, in reverse: hashes as Bitcoin shows them. Throws {@link DecodeError} on anything else. */
  reversedHex(hex: string): void {
    const count = hex.length >>> 1
    const at = this.#reserve(count)
    const last = at + count - 1
    let wrong = hex.length & 1
    for (let i = 0; i < count; i++) {
      const high = digitOf(hex.charCodeAt(2 * i))
      const low = digitOf(hex.charCodeAt(2 * i + 1))
      wrong |= (high | low) & 0xf0
      this.#buffer[last - i] = (high << 4) | low
    }
    if (wrong !== 0) throw new DecodeError('invalid', 'not lower-case hex')
  }

  /** Begins anew, in the same memory: for a Writer whose bytes were only looked at by `written`. */
  clear(): void {
    this.#length = 0
    if (this.#buffer.length <= MAX_KEPT) return
    this.#buffer = new Uint8Array(MAX_KEPT)
    this.#view = new DataView(this.#buffer.buffer)
  }

  /** The bytes written so far, as a view that the next write or `clear` makes worthless. */
  written(): Uint8Array {
    return this.#buffer.subarray(0, this.#length)
  }

  /** The bytes written, in an array of exactly that length. */
  finish(): Uint8Array {
    return this.#length === this.#buffer.length ? this.#buffer : this.#buffer.slice(0, this.#length)
  }
}

/** Walks over bytes. Every read throws {@link DecodeError} `truncated` past the end. */
export class Reader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at = 0

  constructor(bytes: Uint8Array) {
    // A Node Buffer would hand out slices that share memory.
    this.#bytes = bytes.constructor === Uint8Array ? bytes : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  /** Bytes not read yet. */
  get remaining(): number {
    return this.#bytes.length - this.#at
  }
  /** Bytes read so far. */
  get position(): number {
    return this.#at
  }

  #take(count: number): number {
    if (!Number.isInteger(count) || count < 0) throw new RangeError(`${count} is no number of bytes`)
    if (count > this.remaining) throw new DecodeError('truncated', `${count} bytes wanted, ${this.remaining} left`)
    const at = this.#at
    this.#at = at + count
    return at
  }

  /** A view (not a copy) of the next `count` bytes. */
  bytes(count: number): Uint8Array {
    const at = this.#take(count)
    return this.#bytes.subarray(at, at + count)
  }
  u8(): number {
    return this.#view.getUint8(this.#take(1))
  }
  u16(): number {
    return this.#view.getUint16(this.#take(2))
  }
  u32(): number {
    return this.#view.getUint32(this.#take(4))
  }
  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8))
  }
  u16le(): number {
    return this.#view.getUint16(this.#take(2), true)
  }
  u32le(): number {
    return this.#view.getUint32(this.#take(4), true)
  }
  i32le(): number {
    return this.#view.getInt32(this.#take(4), true)
  }
  u64le(): bigint {
    return this.#view.getBigUint64(this.#take(8), true)
  }
  i64le(): bigint {
    return this.#view.getBigInt64(this.#take(8), true)
  }
  /** A view of what was read since the reader was at `position`. */
  since(position: number): Uint8Array {
    return this.#bytes.subarray(position, this.#at)
  }
  /** All that is left, as a view. */
  rest(): Uint8Array {
    return this.bytes(this.remaining)
  }
  /** Throws {@link DecodeError} `trailing` unless everything was read. */
  expectEnd(): void {
    if (this.remaining > 0) throw new DecodeError('trailing', `${this.remaining} bytes after the end`)
  }
}
