import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bytesToHex, hexToBytes } from './bytes.ts'
import * as c from './codec.ts'
import { Reader, Writer } from './cursor.ts'
import { DecodeError } from './decode-error.ts'

const codeOf = <T>(codec: c.Codec<T>, hex: string): unknown => {
  const result = c.tryDecode(codec, hexToBytes(hex))
  return result instanceof DecodeError ? result.code : result
}
const hexOf = <T>(codec: c.Codec<T>, value: T): string => bytesToHex(c.encode(codec, value))

describe('Reader and Writer', () => {
  it('a writer grows as it is written, and gives exactly what was', () => {
    const writer = new Writer(1)
    writer.u8(1)
    writer.u32(2)
    writer.bytes(new Uint8Array(1000).fill(3))
    writer.u64le(4n)
    expect(writer.length).toBe(1013)
    const bytes = writer.finish()
    expect([bytes.length, bytes[4], bytes[5], bytes[1004], bytes[1005]]).toEqual([1013, 2, 3, 3, 4])
  })
  it('a reader inside a larger array never reads past its own end', () => {
    const reader = new Reader(Uint8Array.of(9, 1, 2, 3, 9).subarray(1, 4))
    expect([reader.u16(), reader.remaining, reader.position]).toEqual([0x0102, 1, 2])
    expect(() => reader.u16()).toThrow(DecodeError)
    expect(() => reader.expectEnd()).toThrow('trailing')
    expect(reader.rest()).toEqual(Uint8Array.of(3))
    expect(() => reader.expectEnd()).not.toThrow()
    expect(() => reader.u8()).toThrow('truncated')
  })
  it('S55: a length is checked against the bytes that are there; one that is none is our fault', () => {
    const reader = new Reader(new Uint8Array(4))
    expect(() => reader.bytes(2 ** 40)).toThrow(DecodeError)
    for (const bad of [-1, 0.5, Number.NaN]) expect(() => reader.bytes(bad)).toThrow(RangeError)
    expect(reader.remaining).toBe(4)
  })
})

describe('fixed integers', () => {
  const cases: readonly (readonly [string, c.Codec<number> | c.Codec<bigint>, number | bigint, string])[] = [
    ['u8', c.u8, 0xff, 'ff'],
    ['u16', c.u16, 0x0102, '0102'],
    ['u16le', c.u16le, 0x0102, '0201'],
    ['u32', c.u32, 0xfffe_fdfc, 'fffefdfc'],
    ['u32le', c.u32le, 0xfffe_fdfc, 'fcfdfeff'],
    ['i32le', c.i32le, -2, 'feffffff'],
    ['u64', c.u64, 2n ** 64n - 2n, 'fffffffffffffffe'],
    ['u64le', c.u64le, 2n ** 64n - 2n, 'feffffffffffffff'],
  ]
  it.each(cases)('%s', (_, codec, value, hex) => {
    expect(hexOf(codec as c.Codec<unknown>, value)).toBe(hex)
    expect(codeOf(codec as c.Codec<unknown>, hex)).toBe(value)
    expect(codeOf(codec as c.Codec<unknown>, hex.slice(2))).toBe('truncated')
    expect(codeOf(codec as c.Codec<unknown>, `${hex}00`)).toBe('trailing')
  })
  it('S34: a value of ours that does not fit is a RangeError, never a shorter number', () => {
    const bad: readonly (readonly [c.Codec<number>, number])[] = [
      [c.u8, 256],
      [c.u8, -1],
      [c.u16, 65536],
      [c.u16le, 1.5],
      [c.u32, 2 ** 32],
      [c.u32le, Number.NaN],
      [c.i32le, 2 ** 31],
      [c.i32le, -(2 ** 31) - 1],
      [c.tu16, 65536],
      [c.tu32, 2 ** 32],
      [c.tu32, -1],
      [c.compactSize, -1],
      [c.compactSize, 2 ** 53],
      [c.bigSize, -1],
      [c.bigSize, 0.5],
    ]
    for (const [codec, value] of bad) expect(() => c.encode(codec, value)).toThrow(RangeError)
    for (const codec of [c.u64, c.u64le, c.tu64, c.bigSize64])
      for (const value of [-1n, 2n ** 64n]) expect(() => c.encode(codec, value)).toThrow(RangeError)
  })
})

describe('truncated integers', () => {
  it('have no leading zero and fill what they are in', () => {
    for (const [value, hex] of [
      [0, ''],
      [1, '01'],
      [256, '0100'],
      [65535, 'ffff'],
    ] as const) {
      expect([hexOf(c.tu16, value), codeOf(c.tu16, hex)]).toEqual([hex, value])
      expect([hexOf(c.tu32, value), codeOf(c.tu32, hex)]).toEqual([hex, value])
      expect([hexOf(c.tu64, BigInt(value)), codeOf(c.tu64, hex)]).toEqual([hex, BigInt(value)])
    }
    expect([codeOf(c.tu16, '00'), codeOf(c.tu16, '010000')]).toEqual(['not_canonical', 'trailing'])
    expect([codeOf(c.tu32, '000001'), codeOf(c.tu32, '0100000000')]).toEqual(['not_canonical', 'trailing'])
  })
})

describe('CompactSize', () => {
  it('is little-endian and minimal', () => {
    for (const [value, hex] of [
      [0, '00'],
      [252, 'fc'],
      [253, 'fdfd00'],
      [65535, 'fdffff'],
      [65536, 'fe00000100'],
      [2 ** 32 - 1, 'feffffffff'],
      [2 ** 32, 'ff0000000001000000'],
      [Number.MAX_SAFE_INTEGER, 'ffffffffffffff1f00'],
    ] as const)
      expect([hexOf(c.compactSize, value), codeOf(c.compactSize, hex)]).toEqual([hex, value])
    expect(['fdfc00', 'feffff0000', 'ffffffffff00000000'].map((hex) => codeOf(c.compactSize, hex))).toEqual(
      Array.from({ length: 3 }, () => 'not_canonical'),
    )
    expect(codeOf(c.compactSize, 'ff00000000000020ff')).toBe('out_of_range')
    expect(codeOf(c.compactSize, 'fd00')).toBe('truncated')
  })
})

describe('byte fields', () => {
  it('are copies, of the length declared', () => {
    const input = Uint8Array.of(1, 2)
    const value = c.decode(c.bytes(2), input)
    input[0] = 9
    expect(value).toEqual(Uint8Array.of(1, 2))
    const rest = c.decode(c.restBytes, input)
    input[0] = 8
    expect(rest).toEqual(Uint8Array.of(9, 2))
    expect(() => c.encode(c.bytes(2), Uint8Array.of(1))).toThrow(RangeError)
    expect(codeOf(c.bytes(3), '0102')).toBe('truncated')
    expect(codeOf(c.hex(2), 'AB0f')).toBe('ab0f')
    expect(hexOf(c.hex(2), 'ab0f')).toBe('ab0f')
  })
  it('S55: a length over the cap or over what is there is refused before anything is allocated', () => {
    const codec = c.sized(c.u32, 10)
    expect(codeOf(codec, '00000002aabb')).toEqual(Uint8Array.of(0xaa, 0xbb))
    expect(codeOf(codec, 'ffffffff')).toBe('too_large')
    expect(codeOf(codec, '0000000a')).toBe('truncated')
    expect(codeOf(c.sized(c.bigSize, Number.MAX_SAFE_INTEGER), 'ff001fffffffffffff')).toBe('truncated')
    expect(() => c.encode(codec, new Uint8Array(11))).toThrow(RangeError)
  })
})

describe('lists and structs', () => {
  it('a counted list has a cap, both ways', () => {
    const codec = c.array(c.u16, c.u8, 3)
    expect([hexOf(codec, [1, 2]), codeOf(codec, '0200010002')]).toEqual(['0200010002', [1, 2]])
    expect([codeOf(codec, '04'), codeOf(codec, '0300010002')]).toEqual(['too_large', 'truncated'])
    expect(() => c.encode(codec, [1, 2, 3, 4])).toThrow(RangeError)
  })
  it('a list to the end takes whole items only, and never loops on empty ones', () => {
    const codec = c.restArray(c.u16)
    expect([codeOf(codec, ''), codeOf(codec, '00010002'), codeOf(codec, '000100')]).toEqual([[], [1, 2], 'truncated'])
    expect(codeOf(c.restArray(c.bytes(0)), '00')).toBe('invalid')
  })
  it('a struct keeps the order of its declaration', () => {
    const codec = c.struct({ b: c.u8, a: c.u16le })
    expect([hexOf(codec, { a: 1, b: 2 }), codeOf(codec, '020100')]).toEqual(['020100', { b: 2, a: 1 }])
  })
  it('map refuses a value with the code that it chooses', () => {
    const even = c.map(
      c.u8,
      (n) => {
        if (n % 2 !== 0) throw new DecodeError('invalid', 'odd')
        return n / 2
      },
      (n) => n * 2,
    )
    expect([codeOf(even, '04'), codeOf(even, '05'), hexOf(even, 3)]).toEqual([2, 'invalid', '06'])
  })
  it('an error that is no DecodeError is not taken for one', () => {
    const broken: c.Codec<number> = c.map(
      c.u8,
      () => {
        throw new TypeError('bug')
      },
      (n: number) => n,
    )
    expect(() => c.tryDecode(broken, Uint8Array.of(1))).toThrow(TypeError)
  })
})

describe('any codec', () => {
  const everything = c.struct({
    flag: c.u8,
    size: c.bigSize,
    wide: c.bigSize64,
    compact: c.compactSize,
    id: c.hex(4),
    blob: c.sized(c.u16, 300),
    list: c.array(c.struct({ n: c.u64, m: c.i32le, s: c.s16 }), c.u8, 5),
    tail: c.restBytes,
  })
  const value = fc.record({
    flag: fc.nat({ max: 255 }),
    size: fc.maxSafeNat(),
    wide: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    compact: fc.maxSafeNat(),
    id: fc.uint8Array({ minLength: 4, maxLength: 4 }).map(bytesToHex),
    blob: fc.uint8Array({ maxLength: 300 }),
    list: fc.array(
      fc.record({
        n: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        m: fc.integer(),
        s: fc.integer({ min: -32768, max: 32767 }),
      }),
      { maxLength: 5 },
    ),
    tail: fc.uint8Array({ maxLength: 20 }),
  })
  it('gives back what was encoded', () => {
    fc.assert(
      fc.property(value, (one) => {
        expect(c.decode(everything, c.encode(everything, one))).toEqual(one)
      }),
    )
  })
  it('accepts only what it would write itself, and throws nothing but DecodeError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const result = c.tryDecode(everything, bytes)
        expect(result instanceof DecodeError ? bytes : c.encode(everything, result)).toEqual(bytes)
      }),
      { numRuns: 1000 },
    )
    fc.assert(
      fc.property(value, fc.nat(), fc.nat({ max: 255 }), (one, at, byte) => {
        const bytes = c.encode(everything, one)
        bytes[at % bytes.length] = byte
        const result = c.tryDecode(everything, bytes)
        expect(result instanceof DecodeError ? bytes : c.encode(everything, result)).toEqual(bytes)
      }),
    )
  })
})
