import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  bigintToBytesBE,
  bigintToBytesLE,
  bytesToBigintBE,
  bytesToBigintLE,
  bytesToHex,
  compareBytes,
  concat,
  equalBytes,
  hexToBytes,
  reverse,
  utf8Decode,
  utf8Encode,
} from './bytes.ts'
import { Writer } from './cursor.ts'
import { DecodeError } from './decode-error.ts'

const anyBytes = fc.uint8Array({ maxLength: 80 })

describe('hex', () => {
  it('reads both cases and writes lower case', () => {
    expect(hexToBytes('00fFaB')).toEqual(Uint8Array.of(0, 255, 171))
    expect(bytesToHex(Uint8Array.of(0, 255, 171))).toBe('00ffab')
    expect(bytesToHex(new Uint8Array(0))).toBe('')
    const long = Uint8Array.from({ length: 200_000 }, (_, i) => i % 251)
    expect(bytesToHex(long)).toBe(Buffer.from(long).toString('hex'))
    expect(hexToBytes('')).toEqual(new Uint8Array())
  })
  it('gives every array back', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        expect(hexToBytes(bytesToHex(bytes))).toEqual(bytes)
      }),
    )
  })
  it('refuses an odd length and anything that is no hex digit', () => {
    for (const text of ['0', '0g', 'g0', ' 0', '0x', '00 0', '-1', '\u0660\u0660', '/0', ':0', '@0', '`0'])
      expect(() => hexToBytes(text)).toThrow(DecodeError)
  })
})

describe('arrays of bytes', () => {
  it('joins, reverses and compares', () => {
    expect(concat()).toEqual(new Uint8Array())
    expect(concat(Uint8Array.of(1), new Uint8Array(), Uint8Array.of(2, 3))).toEqual(Uint8Array.of(1, 2, 3))
    const source = Uint8Array.of(1, 2, 3)
    expect(reverse(source)).toEqual(Uint8Array.of(3, 2, 1))
    expect(source).toEqual(Uint8Array.of(1, 2, 3))
    expect(equalBytes(source, Uint8Array.of(1, 2, 3))).toBe(true)
    expect(equalBytes(source, Uint8Array.of(1, 2))).toBe(false)
    expect(equalBytes(source, Uint8Array.of(1, 2, 4))).toBe(false)
  })
  it('orders as the hex orders', () => {
    fc.assert(
      fc.property(anyBytes, anyBytes, (a, b) => {
        const [x, y] = [bytesToHex(a), bytesToHex(b)]
        expect(Math.sign(compareBytes(a, b))).toBe(x < y ? -1 : x > y ? 1 : 0)
      }),
    )
  })
})

describe('UTF-8', () => {
  it('gives every well-formed string back', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => utf8Decode(utf8Encode(text)) === text))
    expect(utf8Decode(utf8Encode('\ufeffx'))).toBe('\ufeffx')
  })
  it('refuses what is none', () => {
    for (const hex of ['80', 'c0af', 'ed a0 80', 'f4908080', 'e282'])
      expect(() => utf8Decode(hexToBytes(hex.replaceAll(' ', '')))).toThrow(DecodeError)
  })
})

describe('integers', () => {
  it('are written in exactly the width asked for', () => {
    expect(bigintToBytesBE(258n, 4)).toEqual(Uint8Array.of(0, 0, 1, 2))
    expect(bigintToBytesLE(258n, 4)).toEqual(Uint8Array.of(2, 1, 0, 0))
    expect(bigintToBytesBE(0n, 0)).toEqual(new Uint8Array())
    expect([bytesToBigintBE(new Uint8Array()), bytesToBigintLE(new Uint8Array())]).toEqual([0n, 0n])
    expect(bytesToBigintBE(Uint8Array.of(1, 2))).toBe(258n)
    expect(bytesToBigintLE(Uint8Array.of(1, 2))).toBe(513n)
  })
  it('come back, in either order, from a view inside another array too', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 256n - 1n }), fc.integer({ min: 32, max: 40 }), (n, width) => {
        for (const [write, read] of [
          [bigintToBytesBE, bytesToBigintBE],
          [bigintToBytesLE, bytesToBigintLE],
        ] as const) {
          const bytes = write(n, width)
          expect([bytes.length, read(bytes)]).toEqual([width, n])
          expect(read(concat(Uint8Array.of(9), bytes, Uint8Array.of(9)).subarray(1, 1 + width))).toBe(n)
        }
        expect(bigintToBytesLE(n, width)).toEqual(reverse(bigintToBytesBE(n, width)))
      }),
    )
  })
  it('S34: refuses a sign, a number too wide and a width that is none', () => {
    for (const write of [bigintToBytesBE, bigintToBytesLE]) {
      expect(() => write(-1n, 8)).toThrow(RangeError)
      expect(() => write(256n, 1)).toThrow(RangeError)
      expect(() => write(2n ** 64n, 8)).toThrow(RangeError)
      expect(() => write(5n, 0)).toThrow(RangeError)
      expect(() => write(5n, -1)).toThrow(RangeError)
      expect(() => write(5n, 1.5)).toThrow(RangeError)
    }
  })
})

describe('a Writer', () => {
  it('writes hex in reverse, and nothing but lower-case hex', () => {
    const writer = new Writer(1)
    writer.u8(7)
    writer.reversedHex('0001feff')
    writer.reversedHex('')
    expect(bytesToHex(writer.finish())).toBe('07fffe0100')
    for (const wrong of ['0', 'zz', '0G', 'AB', '0\u{100}', '\u{130}0'])
      expect(() => new Writer().reversedHex(wrong)).toThrow(DecodeError)
  })

  it('begins anew in its memory, and keeps a megabyte of it at most', () => {
    const writer = new Writer(4)
    writer.u32(1)
    writer.u32(2)
    const seen = writer.written()
    expect(bytesToHex(seen)).toBe('0000000100000002')
    writer.clear()
    writer.u8(9)
    expect(bytesToHex(writer.written())).toBe('09')
    expect(seen[0]).toBe(9)
    writer.bytes(new Uint8Array(3 << 20).fill(5))
    writer.clear()
    writer.u16(0x0102)
    expect(writer.written().buffer.byteLength).toBe(1 << 20)
    expect(bytesToHex(writer.finish())).toBe('0102')
  })
})
