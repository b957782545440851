/**
 * Records of our own: msgpackr for what we store or send between our own services, never for a consensus or BOLT byte.
 * Plain data only: objects, arrays, strings, numbers, bigint, booleans, null, undefined, Uint8Array. No Map, Set or class.
 */
import { Packr } from 'msgpackr'
import { DecodeError } from './decode-error.ts'

const packr = new Packr({
  useRecords: false,
  moreTypes: true,
  useBigIntExtension: true,
  int64AsType: 'bigint',
  copyBuffers: true,
})

/** The bytes of a plain value. A number stays a number, a bigint a bigint. */
export const packRecord = (value: unknown): Uint8Array => {
  const packed = packr.pack(value)
  return new Uint8Array(packed.buffer, packed.byteOffset, packed.length).slice()
}

/** The value of {@link packRecord}. Throws {@link DecodeError} when the bytes are damaged, before allocating more than they hold. */
export const unpackRecord = (bytes: Uint8Array): unknown => {
  try {
    return packr.unpack(bytes)
  } catch (error) {
    throw new DecodeError('invalid', `record: ${error instanceof Error ? error.message : String(error)}`)
  }
}
