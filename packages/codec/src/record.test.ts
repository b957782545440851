import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hexToBytes } from './bytes.ts'
import { DecodeError } from './decode-error.ts'
import { packRecord, unpackRecord } from './record.ts'

const text = fc.string({ unit: 'binary' }).filter((name) => name !== '__proto__')
const number = fc.oneof(fc.integer(), fc.double(), fc.maxSafeInteger()).map((n) => (n === 0 ? 0 : n))
const plain = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    number,
    text,
    fc.boolean(),
    fc.constantFrom(null, undefined),
    fc.bigInt(),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(text, tie('value'), { maxKeys: 20, noNullPrototype: true }),
  ),
})).value

describe('records', () => {
  it('give plain values back exactly: a bigint stays one, bytes stay bytes, undefined stays', () => {
    const value = {
      small: 5n,
      wide: 2n ** 70n,
      negative: -(2n ** 70n),
      edges: [2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n, -(2n ** 63n), -(2n ** 63n) - 1n],
      numbers: [0, -1, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 63, 1.5, Number.NaN, -Infinity],
      bytes: new Uint8Array(70_000).fill(3),
      none: undefined,
      nothing: null,
      nested: [[], {}, '', [undefined]],
    }
    expect(unpackRecord(packRecord(value))).toStrictEqual(value)
  })
  it('gives any plain value back', () => {
    fc.assert(
      fc.property(plain, (value) => {
        expect(unpackRecord(packRecord(value))).toStrictEqual(value)
      }),
    )
  })
  it('bytes come back as bytes of their own, from a Buffer too', () => {
    const packed = packRecord([Buffer.from([1, 2]), Uint8Array.of(3)])
    const [first, second] = unpackRecord(packed) as [Uint8Array, Uint8Array]
    packed.fill(0)
    expect([first, second]).toEqual([Uint8Array.of(1, 2), Uint8Array.of(3)])
  })
  it('refuses to pack what would not come back', () => {
    let deep: unknown = 1
    for (let n = 0; n < 100; n++) deep = [deep]
    const cyclic: unknown[] = []
    cyclic.push(cyclic)
    const proto: unknown = JSON.parse('{"__proto__": 1}')
    for (const value of [
      new Map(),
      new Set(),
      new Date(),
      /x/,
      new Error('x'),
      () => 1,
      Symbol('x'),
      new Uint16Array(1),
      deep,
      cyclic,
      proto,
      '\ud800',
      { a: [new Map()] },
    ])
      expect(() => packRecord(value)).toThrow(RangeError)
  })
})

const outcome = (bytes: Uint8Array): string => {
  try {
    unpackRecord(bytes)
    return 'a value'
  } catch (error) {
    return error instanceof DecodeError ? 'DecodeError' : String(error)
  }
}

describe('damaged records', () => {
  it('S52: no length is believed before the bytes are there', () => {
    const huge = [
      'ddffffffff',
      'dd00ffffffc0',
      'dfffffffff',
      'dbffffffff',
      'c6ffffffff',
      'c9ffffffff42',
      'dcffff',
      'deffff',
      '9f',
      '8f',
      'bf',
    ]
    for (const hex of huge) expect(() => unpackRecord(hexToBytes(hex))).toThrow('truncated')
    // Nested, each list claims what is left and no more: nothing grows beyond the input.
    expect(() => unpackRecord(new Uint8Array(100_000).fill(0x91))).toThrow('too_large')
    expect(() => unpackRecord(hexToBytes('dd00000003dd00000002c0c0'))).toThrow('truncated')
  })
  it('refuses bytes that stand for no plain value, a name that is no string, and a tail', () => {
    for (const hex of [
      'c1',
      'd6ff00000001',
      'd40073',
      'd47800',
      'c7016500',
      'd6690000000090',
      'd40001',
      'c70142',
      'c7027402ff',
      '810101',
      '8190c0',
      'c0c0',
      '',
    ])
      expect(() => unpackRecord(hexToBytes(hex))).toThrow(DecodeError)
  })
  it('a flipped byte or a cut gives a value or a DecodeError, nothing else', () => {
    fc.assert(
      fc.property(plain, fc.nat(), fc.nat({ max: 255 }), fc.boolean(), (value, at, byte, cut) => {
        const bytes = packRecord(value)
        const where = at % bytes.length
        if (!cut) bytes[where] = byte
        expect(outcome(cut ? bytes.subarray(0, where) : bytes)).toMatch(/value|DecodeError/)
      }),
      { numRuns: 500 },
    )
  })
  it('random bytes give a value or a DecodeError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        expect(outcome(bytes)).toMatch(/value|DecodeError/)
      }),
      { numRuns: 2000 },
    )
  })
})
