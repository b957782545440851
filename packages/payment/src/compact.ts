/**
 * Records that have ended, in few bytes: there may be millions. Values in a fixed order instead of names, hex digits as bytes, five bits
 * for a character of an invoice. A record that a shape does not fit, to the last field, is not packed: nothing is left out silently.
 * A shape is never changed but by a field at its end; what was written before then lacks it.
 */
import { bytesToHex, hexToBytes } from '@leyden/codec'

/** How a value is kept: as it is, or in fewer bytes, or as a record or a list of records of a shape. */
type How = 'plain' | 'hex' | 'bech32' | { readonly record: Shape } | { readonly list: Shape }
export type Shape = readonly (readonly [field: string, how: How])[]

const HEX = /^(?:[0-9a-f]{2})*$/
const CHARACTERS = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'

type Fields = Readonly<Record<string, unknown>>
const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)

/** The data part, five bits each; the last byte is filled with zeros. */
const packBech32 = (text: string): readonly [string, number, Uint8Array] | undefined => {
  const start = text.lastIndexOf('1') + 1
  const data = text.slice(start)
  const out = new Uint8Array(Math.ceil((data.length * 5) / 8))
  let bits = 0
  for (const character of data) {
    const value = CHARACTERS.indexOf(character)
    if (value < 0) return undefined
    for (let bit = 4; bit >= 0; bit--, bits++)
      if ((value >> bit) & 1) out[bits >> 3] = (out[bits >> 3] as number) | (0x80 >> (bits & 7))
  }
  return [text.slice(0, start), data.length, out]
}

const unpackBech32 = ([start, length, bytes]: readonly [string, number, Uint8Array]): string => {
  let text = start
  for (let at = 0; at < length; at++) {
    let value = 0
    for (let bit = at * 5; bit < at * 5 + 5; bit++) value = (value << 1) | (((bytes[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1)
    text += CHARACTERS[value]
  }
  return text
}

/** Undefined: it does not fit. */
const packValue = (how: How, value: unknown): unknown => {
  if (how === 'plain') return value === null ? undefined : value
  if (how === 'hex') return typeof value === 'string' && HEX.test(value) ? hexToBytes(value) : undefined
  if (how === 'bech32') return typeof value === 'string' ? packBech32(value) : undefined
  if ('record' in how) return pack(how.record, value)
  if (!Array.isArray(value)) return undefined
  const items = value.map((item) => pack(how.list, item))
  return items.includes(undefined) ? undefined : items
}

const unpackValue = (how: How, value: unknown): unknown => {
  if (how === 'plain') return value
  if (how === 'hex') return bytesToHex(value as Uint8Array)
  if (how === 'bech32') return unpackBech32(value as readonly [string, number, Uint8Array])
  if ('record' in how) return unpack(how.record, value)
  return (value as readonly unknown[]).map((item) => unpack(how.list, item))
}

/** The values of a record in the order of the shape, null for what is absent; undefined when it does not fit. */
export const pack = (shape: Shape, record: unknown): readonly unknown[] | undefined => {
  if (!isFields(record)) return undefined
  let left = Object.keys(record).length
  const values: unknown[] = []
  for (const [field, how] of shape) {
    if (!(field in record)) {
      values.push(null)
      continue
    }
    left--
    const value = packValue(how, record[field])
    if (value === undefined) return undefined
    values.push(value)
  }
  return left === 0 ? values : undefined
}

/** The record again, as it was. */
export const unpack = (shape: Shape, values: unknown): Fields => {
  const record: Record<string, unknown> = {}
  for (const [at, [field, how]] of shape.entries()) {
    const value = (values as readonly unknown[])[at] ?? null
    if (value !== null) record[field] = unpackValue(how, value)
  }
  return record
}
