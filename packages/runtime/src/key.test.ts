import { compareBytes, DecodeError, hexToBytes } from '@leyden/codec'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeKey, key, keyRange, type KeyPart } from './key.ts'

const u64 = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn })
const part: fc.Arbitrary<KeyPart> = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 6 }),
  fc.constantFrom('', '\0', '\0\0', 'a\0', 'a', 'a\u0001', '\u00ff', '\uffff', '\u{10000}'),
  fc.double({ noNaN: true }).map((n) => (n === 0 ? 0 : n)),
  fc.integer(),
  u64,
  fc.uint8Array({ maxLength: 5 }),
)
const tuple = fc.array(part, { maxLength: 4 })

const rank = (p: KeyPart): number => (typeof p === 'number' ? 1 : typeof p === 'bigint' ? 2 : typeof p === 'string' ? 3 : 4)
const compareText = (a: string, b: string): number => compareBytes(new TextEncoder().encode(a), new TextEncoder().encode(b))
const compareParts = (a: KeyPart, b: KeyPart): number => {
  if (rank(a) !== rank(b)) return rank(a) - rank(b)
  if (typeof a === 'string') return compareText(a, b as string)
  if (a instanceof Uint8Array) return compareBytes(a, b as Uint8Array)
  return a < (b as number | bigint) ? -1 : a > (b as number | bigint) ? 1 : 0
}
const compareTuples = (a: readonly KeyPart[], b: readonly KeyPart[]): number => {
  for (const [i, x] of a.entries()) {
    const y = b[i]
    if (y === undefined) return 1
    const order = compareParts(x, y)
    if (order !== 0) return order
  }
  return a.length - b.length
}

describe('key', () => {
  it('has this form', () => {
    expect(key('ab', 1)).toEqual(hexToBytes('0361620001bff0000000000000'))
    expect(key('a\0b', 2n)).toEqual(hexToBytes('036100ff6200020000000000000002'))
    expect(key(Uint8Array.of(0, 255))).toEqual(hexToBytes('0400ffff00'))
  })

  it('gives the tuple back', () => {
    fc.assert(
      fc.property(tuple, (parts) => {
        expect(decodeKey(key(...parts))).toEqual(parts)
      }),
    )
  })

  it('sorts as the tuples sort', () => {
    fc.assert(
      fc.property(tuple, tuple, (a, b) => {
        expect(Math.sign(compareBytes(key(...a), key(...b)))).toBe(Math.sign(compareTuples(a, b)))
      }),
    )
  })

  it('keeps the order of numbers of either sign and of huge strings of zeros', () => {
    const numbers = [-Infinity, -1e300, -2, -1.5, -Number.MIN_VALUE, 0, Number.MIN_VALUE, 1, 2, 10, 2 ** 53, Infinity]
    const keys = numbers.map((n) => key(n))
    expect(keys.toSorted(compareBytes)).toEqual(keys)
    expect(key(-0)).toEqual(key(0))
  })

  it('a range holds exactly the tuples that begin with it', () => {
    fc.assert(
      fc.property(tuple, tuple, (prefix, other) => {
        const { gte, lt } = keyRange(...prefix)
        const inside = (bytes: Uint8Array): boolean => compareBytes(bytes, gte) >= 0 && compareBytes(bytes, lt) < 0
        expect(inside(key(...prefix, ...other))).toBe(true)
        const begins = other.length >= prefix.length && compareTuples(other.slice(0, prefix.length), prefix) === 0
        expect(inside(key(...other))).toBe(begins)
      }),
    )
  })

  it('refuses what has no order or no bytes', () => {
    expect(() => key(Number.NaN)).toThrow(RangeError)
    expect(() => key(-1n)).toThrow(RangeError)
    expect(() => key(2n ** 64n)).toThrow(RangeError)
    expect(() => key('\ud800')).toThrow(RangeError)
  })

  it('refuses bytes that are no key', () => {
    for (const hex of ['05', '0361', '01', '0200', '036100ff', '03ff00'])
      expect(() => decodeKey(hexToBytes(hex))).toThrow(DecodeError)
  })
})
