/**
 * Records of our own: msgpackr for what we store or send between our own services, never for a consensus or BOLT byte.
 * Plain data only: objects, arrays, strings, numbers, bigint, booleans, null, undefined, Uint8Array. No Map, Set or class.
 * A file of ours can be damaged and a frame can be hostile: the bytes are walked once, without allocating, before they are unpacked.
 */
import { Packr } from 'msgpackr'
import { Reader } from './cursor.ts'
import { DecodeError } from './decode-error.ts'

const packr = new Packr({
  useRecords: false,
  moreTypes: true,
  useBigIntExtension: true,
  int64AsType: 'bigint',
  copyBuffers: true,
})

/** How deep values may nest, both ways. */
const MAX_DEPTH = 64
const LONE_SURROGATE = /\p{Surrogate}/u

const checkText = (text: string): void => {
  if (LONE_SURROGATE.test(text)) throw new RangeError('a record cannot hold half a surrogate pair')
}

/** Throws RangeError on a value that would not come back as it is. */
const checkPlain = (value: unknown, depth: number): void => {
  switch (typeof value) {
    case 'string':
      return checkText(value)
    case 'number':
    case 'bigint':
    case 'boolean':
    case 'undefined':
      return
    case 'object':
      break
    case 'function':
    case 'symbol':
      throw new RangeError(`a record cannot hold a ${typeof value}`)
  }
  if (value === null || value instanceof Uint8Array) return
  if (depth === MAX_DEPTH) throw new RangeError(`a record nests at most ${MAX_DEPTH} deep`)
  if (Array.isArray(value)) {
    for (const one of value) checkPlain(one, depth + 1)
    return
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) throw new RangeError('a record holds plain objects only')
  for (const [name, one] of Object.entries(value)) {
    if (name === '__proto__') throw new RangeError('a record cannot hold the name __proto__')
    checkText(name)
    checkPlain(one, depth + 1)
  }
}

/** The bytes of a plain value. A number stays a number (-0 becomes 0), a bigint a bigint. Throws RangeError on what is not plain. */
export const packRecord = (value: unknown): Uint8Array => {
  checkPlain(value, 0)
  const packed = packr.pack(value)
  return new Uint8Array(packed.buffer, packed.byteOffset, packed.length).slice()
}

/** Extension types of msgpackr that stand for plain values. */
const EXTENSION_UNDEFINED = 0x00
const EXTENSION_BIGINT = 0x42
const EXTENSION_TYPED_ARRAY = 0x74
const UINT8_ARRAY = 1

const skipExtension = (reader: Reader, length: number): void => {
  const type = reader.u8()
  const body = reader.bytes(length)
  if (type === EXTENSION_BIGINT && length > 0) return
  if (type === EXTENSION_TYPED_ARRAY && body[0] === UINT8_ARRAY) return
  if (type === EXTENSION_UNDEFINED && length === 1 && body[0] === 0) return
  throw new DecodeError('invalid', `record: extension ${type}`)
}

const skipItems = (reader: Reader, count: number, bytesEach: number, depth: number): void => {
  if (count * bytesEach > reader.remaining)
    throw new DecodeError('truncated', `record: ${count} items in ${reader.remaining} bytes`)
  if (depth === MAX_DEPTH) throw new DecodeError('too_large', `record: more than ${MAX_DEPTH} deep`)
  for (let i = 0; i < count; i++) {
    if (bytesEach === 2) skipName(reader)
    skipValue(reader, depth + 1)
  }
}

const skipName = (reader: Reader): void => {
  const first = reader.u8()
  if (first >= 0xa0 && first <= 0xbf) reader.bytes(first & 0x1f)
  else if (first === 0xd9) reader.bytes(reader.u8())
  else if (first === 0xda) reader.bytes(reader.u16())
  else if (first === 0xdb) reader.bytes(reader.u32())
  else throw new DecodeError('invalid', 'record: a name that is no string')
}

/** Walks one MessagePack value; every length is checked against the bytes that are there. */
const skipValue = (reader: Reader, depth: number): void => {
  const first = reader.u8()
  if (first <= 0x7f || first >= 0xe0) return // small integers
  if (first <= 0x8f) return skipItems(reader, first & 0x0f, 2, depth)
  if (first <= 0x9f) return skipItems(reader, first & 0x0f, 1, depth)
  if (first <= 0xbf) return void reader.bytes(first & 0x1f)
  switch (first) {
    case 0xc0: // null, false, true
    case 0xc2:
    case 0xc3:
      return
    case 0xc4: // bytes and strings
    case 0xd9:
      return void reader.bytes(reader.u8())
    case 0xc5:
    case 0xda:
      return void reader.bytes(reader.u16())
    case 0xc6:
    case 0xdb:
      return void reader.bytes(reader.u32())
    case 0xc7: // extensions
      return skipExtension(reader, reader.u8())
    case 0xc8:
      return skipExtension(reader, reader.u16())
    case 0xc9:
      return skipExtension(reader, reader.u32())
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
      return skipExtension(reader, 1 << (first - 0xd4))
    case 0xcc: // numbers
    case 0xd0:
      return void reader.bytes(1)
    case 0xcd:
    case 0xd1:
      return void reader.bytes(2)
    case 0xce:
    case 0xd2:
    case 0xca:
      return void reader.bytes(4)
    case 0xcf:
    case 0xd3:
    case 0xcb:
      return void reader.bytes(8)
    case 0xdc: // arrays and objects
      return skipItems(reader, reader.u16(), 1, depth)
    case 0xdd:
      return skipItems(reader, reader.u32(), 1, depth)
    case 0xde:
      return skipItems(reader, reader.u16(), 2, depth)
    case 0xdf:
      return skipItems(reader, reader.u32(), 2, depth)
    default:
      throw new DecodeError('invalid', `record: byte ${first.toString(16)}`)
  }
}

/** The value of {@link packRecord}. Throws {@link DecodeError} when the bytes are damaged, before allocating more than they hold. */
export const unpackRecord = (bytes: Uint8Array): unknown => {
  const reader = new Reader(bytes)
  skipValue(reader, 0)
  reader.expectEnd()
  try {
    return packr.unpack(bytes)
  } catch (error) {
    throw new DecodeError('invalid', `record: ${error instanceof Error ? error.message : String(error)}`)
  }
}
