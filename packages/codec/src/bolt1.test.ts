/** Vectors of BOLT 1 (CC BY 4.0): Appendix A (BigSize), Appendix B (TLV), Appendix D (signed integers). */
import { describe, expect, it } from 'vitest'
import { bytesToHex, hexToBytes } from './bytes.ts'
import {
  bigSize,
  bigSize64,
  type Codec,
  decode,
  encode,
  hex,
  map,
  s16,
  s32,
  s64,
  s8,
  struct,
  tryDecode,
  tu32,
  tu64,
  u16,
  u64,
} from './codec.ts'
import { DecodeError, type DecodeErrorCode } from './decode-error.ts'
import { tlvStream } from './tlv.ts'

/** Name, bytes, value; no value where decoding must fail. */
const BIG_SIZE: readonly (readonly [name: string, bytes: string, value: bigint | undefined])[] = [
  ['zero', '00', 0n],
  ['one byte high', 'fc', 252n],
  ['two byte low', 'fd00fd', 253n],
  ['two byte high', 'fdffff', 65535n],
  ['four byte low', 'fe00010000', 65536n],
  ['four byte high', 'feffffffff', 4294967295n],
  ['eight byte low', 'ff0000000100000000', 4294967296n],
  ['eight byte high', 'ffffffffffffffffff', 18446744073709551615n],
  ['two byte not canonical', 'fd00fc', undefined],
  ['four byte not canonical', 'fe0000ffff', undefined],
  ['eight byte not canonical', 'ff00000000ffffffff', undefined],
  ['two byte short read', 'fd00', undefined],
  ['four byte short read', 'feffff', undefined],
  ['eight byte short read', 'ffffffffff', undefined],
  ['one byte no read', '', undefined],
  ['two byte no read', 'fd', undefined],
  ['four byte no read', 'fe', undefined],
  ['eight byte no read', 'ff', undefined],
]

/** Value, bytes. */
const SIGNED: readonly (readonly [value: bigint, bytes: string])[] = [
  [0n, '00'],
  [42n, '2a'],
  [-42n, 'd6'],
  [127n, '7f'],
  [-128n, '80'],
  [128n, '0080'],
  [-129n, 'ff7f'],
  [15000n, '3a98'],
  [-15000n, 'c568'],
  [32767n, '7fff'],
  [-32768n, '8000'],
  [32768n, '00008000'],
  [-32769n, 'ffff7fff'],
  [21000000n, '01406f40'],
  [-21000000n, 'febf90c0'],
  [2147483647n, '7fffffff'],
  [-2147483648n, '80000000'],
  [2147483648n, '0000000080000000'],
  [-2147483649n, 'ffffffff7fffffff'],
  [500000000000n, '000000746a528800'],
  [-500000000000n, 'ffffff8b95ad7800'],
  [9223372036854775807n, '7fffffffffffffff'],
  [-9223372036854775808n, '8000000000000000'],
]

/** The curve is not codec's: the vectors only need the first byte to be looked at. */
const point: Codec<string> = map(
  hex(33),
  (text) => {
    if (!/^0[23]/.test(text)) throw new DecodeError('invalid', 'not a compressed point')
    return text
  },
  (text) => text,
)
const n1 = tlvStream({
  tlv1: [1, tu64],
  tlv2: [2, u64],
  tlv3: [3, struct({ nodeId: point, amountMsat1: u64, amountMsat2: u64 })],
  tlv4: [254, u16],
})
const n2 = tlvStream({ tlv1: [0, tu64], tlv2: [11, tu32] })

/** Streams that no namespace takes, and the code of our refusal. */
const INVALID_ANYWHERE: readonly (readonly [stream: string, code: DecodeErrorCode])[] = [
  ['fd', 'truncated'],
  ['fd01', 'truncated'],
  ['fd000100', 'not_canonical'],
  ['fd0101', 'truncated'],
  ['0ffd', 'truncated'],
  ['0ffd26', 'truncated'],
  ['0ffd2602', 'truncated'],
  ['0ffd000100', 'not_canonical'],
  ['0ffd0201' + '00'.repeat(258), 'truncated'],
  ['1200', 'unknown_even_type'],
  ['fd010200', 'unknown_even_type'],
  ['fe0100000200', 'unknown_even_type'],
  ['ff010000000000000200', 'unknown_even_type'],
]

/** Streams that n1 does not take, and the code of our refusal. */
const INVALID_N1: readonly (readonly [stream: string, code: DecodeErrorCode])[] = [
  ['0109ffffffffffffffffff', 'trailing'],
  ['010100', 'not_canonical'],
  ['01020001', 'not_canonical'],
  ['0103000100', 'not_canonical'],
  ['010400010000', 'not_canonical'],
  ['01050001000000', 'not_canonical'],
  ['0106000100000000', 'not_canonical'],
  ['010700010000000000', 'not_canonical'],
  ['01080001000000000000', 'not_canonical'],
  ['020701010101010101', 'truncated'],
  ['0209010101010101010101', 'trailing'],
  ['0321023da092f6980e58d2c037173180e9a465476026ee50f96695963e8efe436f54eb', 'truncated'],
  ['0329023da092f6980e58d2c037173180e9a465476026ee50f96695963e8efe436f54eb0000000000000001', 'truncated'],
  ['0330023da092f6980e58d2c037173180e9a465476026ee50f96695963e8efe436f54eb000000000000000100000000000001', 'truncated'],
  ['0331043da092f6980e58d2c037173180e9a465476026ee50f96695963e8efe436f54eb00000000000000010000000000000002', 'invalid'],
  ['0332023da092f6980e58d2c037173180e9a465476026ee50f96695963e8efe436f54eb0000000000000001000000000000000001', 'trailing'],
  ['fd00fe00', 'truncated'],
  ['fd00fe0101', 'truncated'],
  ['fd00fe03010101', 'trailing'],
  ['0000', 'unknown_even_type'],
  ['0208000000000000022601012a', 'unordered'],
  ['0208000000000000023102080000000000000451', 'unordered'],
  ['1f000f012a', 'unordered'],
  ['1f001f012a', 'unordered'],
]

/** Streams that n2 does not take, and the code of our refusal. */
const INVALID_N2: readonly (readonly [stream: string, code: DecodeErrorCode])[] = [['ffffffffffffffffff000000', 'unordered']]

/** Streams that every namespace takes and sees nothing in. */
const IGNORED = ['', '2100', 'fd020100', 'fd00fd00', 'fd00ff00', 'fe0200000100', 'ff020000000000000100']

/** Streams of n1 and what they say. */
const VALID_N1: readonly (readonly [stream: string, value: object])[] = [
  ['0100', { tlv1: 0n }],
  ['010101', { tlv1: 1n }],
  ['01020100', { tlv1: 256n }],
  ['0103010000', { tlv1: 65536n }],
  ['010401000000', { tlv1: 16777216n }],
  ['01050100000000', { tlv1: 4294967296n }],
  ['0106010000000000', { tlv1: 1099511627776n }],
  ['010701000000000000', { tlv1: 281474976710656n }],
  ['01080100000000000000', { tlv1: 72057594037927936n }],
  ['02080000000000000226', { tlv2: 0x226n }],
  [
    '0331023da092f6980e58d2c037173180e9a465476026ee50f96695963e8efe436f54eb00000000000000010000000000000002',
    {
      tlv3: {
        nodeId: '023da092f6980e58d2c037173180e9a465476026ee50f96695963e8efe436f54eb',
        amountMsat1: 1n,
        amountMsat2: 2n,
      },
    },
  ],
  ['fd00fe020226', { tlv4: 550 }],
]

const codeOf = <T>(codec: Codec<T>, stream: string): unknown => {
  const result = tryDecode(codec, hexToBytes(stream))
  return result instanceof DecodeError ? result.code : result
}

describe('BOLT 1 Appendix A: BigSize', () => {
  it.each(BIG_SIZE)('%s', (name, text, value) => {
    const refusal = name.includes('not canonical') ? 'not_canonical' : 'truncated'
    expect(codeOf(bigSize64, text)).toBe(value ?? refusal)
    const short = value === undefined ? refusal : value > Number.MAX_SAFE_INTEGER ? 'out_of_range' : Number(value)
    expect(codeOf(bigSize, text)).toBe(short)
  })

  it.each(BIG_SIZE.filter(([, , value]) => value !== undefined))('encodes %s', (_, text, value) => {
    expect(bytesToHex(encode(bigSize64, value as bigint))).toBe(text)
  })
})

describe('BOLT 1 Appendix D: signed integers', () => {
  it.each(SIGNED)('%s is %s', (value, text) => {
    const narrow = { 2: s8, 4: s16, 8: s32 }[text.length]
    const [written, read] =
      narrow === undefined
        ? [encode(s64, value), decode(s64, hexToBytes(text))]
        : [encode(narrow, Number(value)), BigInt(decode(narrow, hexToBytes(text)))]
    expect([bytesToHex(written), read]).toEqual([text, value])
  })

  it('refuses what does not fit', () => {
    for (const [codec, half] of [
      [s8, 2 ** 7],
      [s16, 2 ** 15],
      [s32, 2 ** 31],
    ] as const) {
      expect(() => encode(codec, half)).toThrow(RangeError)
      expect(() => encode(codec, -half - 1)).toThrow(RangeError)
      expect(() => encode(codec, 0.5)).toThrow(RangeError)
    }
    expect(() => encode(s64, 2n ** 63n)).toThrow(RangeError)
    expect(() => encode(s64, -(2n ** 63n) - 1n)).toThrow(RangeError)
  })
})

describe('BOLT 1 Appendix B: TLV streams', () => {
  it.each(INVALID_ANYWHERE)('%s is refused by every namespace: %s', (stream, code) => {
    expect([codeOf(n1, stream), codeOf(n2, stream)]).toEqual([code, code])
  })
  it.each(INVALID_N1)('%s is refused by n1: %s', (stream, code) => {
    expect(codeOf(n1, stream)).toBe(code)
  })
  it.each(INVALID_N2)('%s is refused by n2: %s', (stream, code) => {
    expect(codeOf(n2, stream)).toBe(code)
  })
  it.each(IGNORED)('%s is skipped', (stream) => {
    expect([codeOf(n1, stream), codeOf(n2, stream)]).toEqual([{}, {}])
  })
  it.each(VALID_N1)('%s is understood and written back', (stream, value) => {
    expect(decode(n1, hexToBytes(stream))).toEqual(value)
    expect(bytesToHex(encode(n1, value))).toBe(stream)
  })

  it('an invalid stream behind a valid one is refused, a higher valid one is not', () => {
    for (const [low] of VALID_N1) {
      for (const [bad] of INVALID_ANYWHERE) expect(tryDecode(n1, hexToBytes(low + bad))).toBeInstanceOf(DecodeError)
      for (const [high, value] of VALID_N1) {
        const joined = tryDecode(n1, hexToBytes(low + high))
        const rises = Object.keys(decode(n1, hexToBytes(low))).join('') < Object.keys(value).join('')
        expect(joined instanceof DecodeError ? joined.code : joined).toEqual(
          rises ? { ...decode(n1, hexToBytes(low)), ...value } : 'unordered',
        )
      }
    }
  })
})
