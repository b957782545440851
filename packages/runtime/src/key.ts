/**
 * Keys of the store: tuples of strings, numbers, bigints and bytes, as bytes whose lexicographic order is the order of the tuples.
 * Each part begins with a tag, so parts of different types sort numbers < bigints < strings < bytes. Strings sort by code point
 * (UTF-8), numbers by value (IEEE 754 with the sign folded in), bigints are unsigned 64 bit. A text or bytes part ends in 0x00, and a
 * 0x00 inside is written 0x00 0xff: no key is a prefix of another but where its tuple is.
 */
import { concat, DecodeError, Reader, utf8Decode, utf8Encode } from '@leyden/codec'

export type KeyPart = string | number | bigint | Uint8Array

const NUMBER = 1
const BIGINT = 2
const TEXT = 3
const BYTES = 4
const LONE_SURROGATE = /\p{Surrogate}/u
const MAX_U64 = 0xffff_ffff_ffff_ffffn

const escaped = (tag: number, bytes: Uint8Array): Uint8Array => {
  let zeros = 0
  for (const byte of bytes) if (byte === 0) zeros++
  const out = new Uint8Array(bytes.length + zeros + 2)
  out[0] = tag
  let at = 1
  for (const byte of bytes) {
    out[at++] = byte
    if (byte === 0) out[at++] = 0xff
  }
  return out
}

const encodeText = (text: string): Uint8Array => {
  // Names and ids are ASCII, and there are many.
  const out = new Uint8Array(text.length + 2)
  out[0] = TEXT
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 0 || code > 0x7f) {
      if (LONE_SURROGATE.test(text)) throw new RangeError('a key cannot hold half a surrogate pair')
      return escaped(TEXT, utf8Encode(text))
    }
    out[i + 1] = code
  }
  return out
}

const encodePart = (part: KeyPart): Uint8Array => {
  if (typeof part === 'string') return encodeText(part)
  if (part instanceof Uint8Array) return escaped(BYTES, part)
  const out = new Uint8Array(9)
  const view = new DataView(out.buffer)
  if (typeof part === 'bigint') {
    if (part < 0n || part > MAX_U64) throw new RangeError('a bigint in a key is unsigned and 64 bits wide')
    out[0] = BIGINT
    view.setBigUint64(1, part)
    return out
  }
  if (Number.isNaN(part)) throw new RangeError('NaN has no place in an order')
  out[0] = NUMBER
  view.setFloat64(1, part === 0 ? 0 : part)
  if (part < 0) for (let i = 1; i < 9; i++) out[i] = 0xff ^ (out[i] as number)
  else out[1] = 0x80 | (out[1] as number)
  return out
}

/** The key of a tuple. Throws RangeError on NaN, on a lone surrogate and on a bigint outside 64 unsigned bits. */
export const key = (...parts: readonly KeyPart[]): Uint8Array => concat(...parts.map(encodePart))

/** Up to the terminator: a view, or a copy when a 0x00 was inside. */
const readEscaped = (bytes: Uint8Array, reader: Reader): Uint8Array => {
  let out: Uint8Array | undefined
  for (;;) {
    const start = reader.position
    const zero = bytes.indexOf(0, start)
    if (zero === -1) throw new DecodeError('truncated', 'key part without an end')
    const piece = reader.bytes(zero - start)
    reader.u8()
    out = out === undefined ? piece : concat(out, piece)
    // A tag or the end follows a terminator; 0xff is no tag.
    if (bytes[reader.position] !== 0xff) return out
    reader.u8()
    out = concat(out, Uint8Array.of(0))
  }
}

/** The tuple of a key. Throws {@link DecodeError} on bytes that `key` never gives. */
export const decodeKey = (bytes: Uint8Array): KeyPart[] => {
  const parts: KeyPart[] = []
  const reader = new Reader(bytes)
  while (reader.remaining > 0) {
    const tag = reader.u8()
    if (tag === TEXT) parts.push(utf8Decode(readEscaped(bytes, reader)))
    else if (tag === BYTES) parts.push(readEscaped(bytes, reader).slice())
    else if (tag === BIGINT) parts.push(reader.u64())
    else if (tag === NUMBER) parts.push(readNumber(reader))
    else throw new DecodeError('invalid', `key part of kind ${tag}`)
  }
  return parts
}

const readNumber = (reader: Reader): number => {
  const raw = reader.bytes(8).slice()
  if ((raw[0] as number) & 0x80) raw[0] = 0x7f & (raw[0] as number)
  else for (let i = 0; i < 8; i++) raw[i] = 0xff ^ (raw[i] as number)
  return new DataView(raw.buffer).getFloat64(0)
}

/** The range of all keys whose tuple begins with these parts, the tuple itself included. */
export const keyRange = (...parts: readonly KeyPart[]): { gte: Uint8Array; lt: Uint8Array } => {
  const gte = key(...parts)
  return { gte, lt: concat(gte, Uint8Array.of(0xff)) }
}
