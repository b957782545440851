/**
 * Schema combinators: one declaration gives the type, the encoder and the decoder.
 * Decoders reject what is not canonical: for every accepted input, encoding the value gives the input again
 * (but for unknown odd TLV records and message extensions, which BOLT 1 tells a reader to skip).
 */
import { bytesToHex, hexToBytes } from './bytes.ts'
import { Reader, Writer } from './cursor.ts'
import { DecodeError } from './decode-error.ts'

/** Writes and reads one kind of value. `decode` throws {@link DecodeError}; `encode` throws RangeError on a value of ours that does not fit. */
export interface Codec<T> {
  encode(writer: Writer, value: T): void
  decode(reader: Reader): T
}

/** The value type of a codec. */
export type Infer<C> = C extends Codec<infer T> ? T : never

/** The bytes of `value`. */
export const encode = <T>(codec: Codec<T>, value: T): Uint8Array => {
  const writer = new Writer()
  codec.encode(writer, value)
  return writer.finish()
}

/** The value that exactly these bytes spell. Throws {@link DecodeError}. */
export const decode = <T>(codec: Codec<T>, bytes: Uint8Array): T => {
  const reader = new Reader(bytes)
  const value = codec.decode(reader)
  reader.expectEnd()
  return value
}

/** As {@link decode}, with the error as a value. */
export const tryDecode = <T>(codec: Codec<T>, bytes: Uint8Array): T | DecodeError => {
  try {
    return decode(codec, bytes)
  } catch (error) {
    if (error instanceof DecodeError) return error
    throw error
  }
}

const fixed = <T>(write: (w: Writer, v: T) => void, read: (r: Reader) => T): Codec<T> => ({ encode: write, decode: read })

export const u8: Codec<number> = fixed(
  (w, v) => w.u8(v),
  (r) => r.u8(),
)
export const u16: Codec<number> = fixed(
  (w, v) => w.u16(v),
  (r) => r.u16(),
)
export const u32: Codec<number> = fixed(
  (w, v) => w.u32(v),
  (r) => r.u32(),
)
export const u64: Codec<bigint> = fixed(
  (w, v) => w.u64(v),
  (r) => r.u64(),
)
export const u16le: Codec<number> = fixed(
  (w, v) => w.u16le(v),
  (r) => r.u16le(),
)
export const u32le: Codec<number> = fixed(
  (w, v) => w.u32le(v),
  (r) => r.u32le(),
)
export const i32le: Codec<number> = fixed(
  (w, v) => w.i32le(v),
  (r) => r.i32le(),
)
export const u64le: Codec<bigint> = fixed(
  (w, v) => w.u64le(v),
  (r) => r.u64le(),
)

/** BOLT 1 `s8`, `s16`, `s32`, `s64`: two's complement, most significant byte first. */
const signed = (bytes: 1 | 2 | 4): Codec<number> => {
  const unsigned = bytes === 1 ? u8 : bytes === 2 ? u16 : u32
  const half = 2 ** (8 * bytes - 1)
  return {
    encode(writer, value) {
      if (!Number.isInteger(value) || value < -half || value >= half)
        throw new RangeError(`${value} does not fit ${bytes} signed bytes`)
      unsigned.encode(writer, value < 0 ? value + 2 * half : value)
    },
    decode(reader) {
      const value = unsigned.decode(reader)
      return value < half ? value : value - 2 * half
    },
  }
}
export const s8: Codec<number> = signed(1)
export const s16: Codec<number> = signed(2)
export const s32: Codec<number> = signed(4)
export const s64: Codec<bigint> = {
  encode(writer, value) {
    if (BigInt.asIntN(64, value) !== value) throw new RangeError(`${value} does not fit 8 signed bytes`)
    writer.u64(BigInt.asUintN(64, value))
  },
  decode: (reader) => BigInt.asIntN(64, reader.u64()),
}

/** BOLT 1 truncated integer: fills the rest of its field, without leading zero bytes. */
const truncated = (width: number): Codec<bigint> => ({
  encode(writer, value) {
    if (value < 0n || value >> BigInt(8 * width) !== 0n) throw new RangeError(`${value} does not fit ${width} bytes`)
    for (let shift = width - 1; shift >= 0; shift--) {
      const rest = value >> BigInt(8 * shift)
      if (rest !== 0n) writer.u8(Number(rest & 0xffn))
    }
  },
  decode(reader) {
    if (reader.remaining > width) throw new DecodeError('trailing', `truncated integer over ${width} bytes`)
    const bytes = reader.rest()
    if (bytes[0] === 0) throw new DecodeError('not_canonical', 'truncated integer with a leading zero')
    let value = 0n
    for (const byte of bytes) value = (value << 8n) | BigInt(byte)
    return value
  },
})
const truncatedNumber = (width: number): Codec<number> => map(truncated(width), Number, BigInt)

/** BOLT 1 `tu16`, `tu32`, `tu64`: the whole rest of a TLV value. */
export const tu64: Codec<bigint> = truncated(8)

/** Another type over the same bytes. `to` may throw {@link DecodeError} to refuse a value. */
export const map = <A, B>(codec: Codec<A>, to: (a: A) => B, from: (b: B) => A): Codec<B> => ({
  encode: (writer, value) => codec.encode(writer, from(value)),
  decode: (reader) => to(codec.decode(reader)),
})

export const tu16: Codec<number> = truncatedNumber(2)
export const tu32: Codec<number> = truncatedNumber(4)

/** BOLT 1 § BigSize, all 64 bits. */
export const bigSize64: Codec<bigint> = {
  encode(writer, value) {
    if (value < 0xfdn) writer.u8(Number(value))
    else if (value < 0x1_0000n) {
      writer.u8(0xfd)
      writer.u16(Number(value))
    } else if (value < 0x1_0000_0000n) {
      writer.u8(0xfe)
      writer.u32(Number(value))
    } else {
      writer.u8(0xff)
      writer.u64(value)
    }
  },
  decode(reader) {
    const first = reader.u8()
    if (first < 0xfd) return BigInt(first)
    const value = first === 0xfd ? BigInt(reader.u16()) : first === 0xfe ? BigInt(reader.u32()) : reader.u64()
    const least = first === 0xfd ? 0xfdn : first === 0xfe ? 0x1_0000n : 0x1_0000_0000n
    if (value < least) throw new DecodeError('not_canonical', 'BigSize not minimal')
    return value
  },
}

const toSafe = (value: bigint): number => {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new DecodeError('out_of_range', 'size over 2^53-1')
  return Number(value)
}

/** BOLT 1 § BigSize up to 2^53-1: lengths, counts and types. */
export const bigSize: Codec<number> = map(bigSize64, toSafe, BigInt)

/** Bitcoin's CompactSize, minimal, up to 2^53-1. */
export const compactSize: Codec<number> = {
  encode(writer, value) {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is not a size`)
    if (value < 0xfd) writer.u8(value)
    else if (value < 0x1_0000) {
      writer.u8(0xfd)
      writer.u16le(value)
    } else if (value < 0x1_0000_0000) {
      writer.u8(0xfe)
      writer.u32le(value)
    } else {
      writer.u8(0xff)
      writer.u64le(BigInt(value))
    }
  },
  decode(reader) {
    const first = reader.u8()
    if (first < 0xfd) return first
    const value = first === 0xfd ? reader.u16le() : first === 0xfe ? reader.u32le() : toSafe(reader.u64le())
    const least = first === 0xfd ? 0xfd : first === 0xfe ? 0x1_0000 : 0x1_0000_0000
    if (value < least) throw new DecodeError('not_canonical', 'CompactSize not minimal')
    return value
  },
}

/** Exactly `length` bytes (copied out of the input). */
export const bytes = (length: number): Codec<Uint8Array> => ({
  encode(writer, value) {
    if (value.length !== length) throw new RangeError(`${value.length} bytes where ${length} belong`)
    writer.bytes(value)
  },
  decode: (reader) => reader.bytes(length).slice(),
})

/** All bytes that are left (copied). */
export const restBytes: Codec<Uint8Array> = fixed(
  (w, v) => w.bytes(v),
  (r) => r.rest().slice(),
)

/** Bytes behind their length; at most `maxBytes` of them. */
export const sized = (length: Codec<number>, maxBytes: number): Codec<Uint8Array> => ({
  encode(writer, value) {
    if (value.length > maxBytes) throw new RangeError(`${value.length} bytes, at most ${maxBytes}`)
    length.encode(writer, value.length)
    writer.bytes(value)
  },
  decode(reader) {
    const count = length.decode(reader)
    if (count > maxBytes) throw new DecodeError('too_large', `${count} bytes, at most ${maxBytes}`)
    return reader.bytes(count).slice()
  },
})

/** Exactly `length` bytes as lower-case hex. */
export const hex = (length: number): Codec<string> => map(bytes(length), bytesToHex, hexToBytes)

/** Items behind their count; at most `maxItems`. */
export const array = <T>(item: Codec<T>, count: Codec<number>, maxItems: number): Codec<readonly T[]> => ({
  encode(writer, value) {
    if (value.length > maxItems) throw new RangeError(`${value.length} items, at most ${maxItems}`)
    count.encode(writer, value.length)
    for (const one of value) item.encode(writer, one)
  },
  decode(reader) {
    const length = count.decode(reader)
    if (length > maxItems) throw new DecodeError('too_large', `${length} items, at most ${maxItems}`)
    const out: T[] = []
    for (let i = 0; i < length; i++) out.push(item.decode(reader))
    return out
  },
})

/** Items until the bytes end. Each item reads at least one byte. */
export const restArray = <T>(item: Codec<T>): Codec<readonly T[]> => ({
  encode(writer, value) {
    for (const one of value) item.encode(writer, one)
  },
  decode(reader) {
    const out: T[] = []
    while (reader.remaining > 0) {
      const before = reader.remaining
      out.push(item.decode(reader))
      if (reader.remaining === before) throw new DecodeError('invalid', 'empty item')
    }
    return out
  },
})

/** Named codecs, in wire order. */
// eslint-disable-next-line typescript/no-explicit-any
export type Fields = { readonly [name: string]: Codec<any> }
export type StructOf<F extends Fields> = { readonly [K in keyof F]: Infer<F[K]> }

/** Fields one after the other, in the order of declaration. */
export const struct = <F extends Fields>(fields: F): Codec<StructOf<F>> => {
  const entries = Object.entries(fields)
  return {
    encode(writer, value) {
      for (const [name, codec] of entries) codec.encode(writer, value[name])
    },
    decode(reader) {
      const out: { [name: string]: unknown } = {}
      for (const [name, codec] of entries) out[name] = codec.decode(reader)
      return out as StructOf<F>
    },
  }
}
