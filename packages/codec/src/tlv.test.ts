import { describe, expect, it } from 'vitest'
import { hexToBytes } from './bytes.ts'
import { bytes, decode, encode, type Infer, tryDecode, tu32, u16, u8 } from './codec.ts'
import { DecodeError } from './decode-error.ts'
import { message, tlvStream } from './tlv.ts'

/** Hex with a space between the parts. */
const fromHex = (text: string): Uint8Array => hexToBytes(text.replaceAll(' ', ''))

const ping = message(18, 'ping', { numPongBytes: u16, ignored: bytes(2) }, { late: [3, u8], early: [1, tu32] })
type Ping = Infer<typeof ping>

describe('message', () => {
  it('is its number, its fields, then its records in the order of their types', () => {
    const value: Ping = { type: 'ping', numPongBytes: 1, ignored: Uint8Array.of(7, 8), early: 256, late: 5 }
    expect([ping.id, ping.name]).toEqual([18, 'ping'])
    expect(encode(ping, value)).toEqual(fromHex('0012 0001 0708 01020100 030105'))
    expect(decode(ping, encode(ping, value))).toEqual(value)
  })
  it('records may be left out or undefined', () => {
    const value: Ping = { type: 'ping', numPongBytes: 1, ignored: Uint8Array.of(7, 8), late: undefined }
    expect(encode(ping, value)).toEqual(fromHex('001200010708'))
    expect(decode(ping, fromHex('001200010708'))).toEqual({ type: 'ping', numPongBytes: 1, ignored: Uint8Array.of(7, 8) })
  })
  it('skips an unknown odd record, refuses an even one, another number and a record with a tail', () => {
    expect(decode(ping, fromHex('001200010708 0500'))).toEqual({
      type: 'ping',
      numPongBytes: 1,
      ignored: Uint8Array.of(7, 8),
    })
    const code = (hex: string): unknown => (tryDecode(ping, fromHex(hex)) as DecodeError).code
    expect(code('001200010708 0400')).toBe('unknown_even_type')
    expect(code('001300010708')).toBe('invalid')
    expect(code('001200010708 03020505')).toBe('trailing')
    expect(code('0012000107')).toBe('truncated')
  })
  it('a message without records of its own still obeys the rules of an extension', () => {
    const plain = message(1, 'plain', {})
    expect(decode(plain, fromHex('0001 0100'))).toEqual({ type: 'plain' })
    expect((tryDecode(plain, fromHex('0001 0200')) as DecodeError).code).toBe('unknown_even_type')
  })
})

describe('tlvStream', () => {
  it('writes types up to 64 bits in the order of their numbers, whatever the order of declaration', () => {
    const codec = tlvStream({ b: [2n ** 64n - 1n, u8], a: [0, u8] })
    expect(encode(codec, { b: 1, a: 2 })).toEqual(fromHex('000102 ffffffffffffffffff 0101'))
  })
  it('S55: a length beyond the stream is refused, however large', () => {
    for (const hex of ['0105', '01feffffffff', '01ffffffffffffffffff']) {
      const result = tryDecode(tlvStream({}), fromHex(hex))
      expect(result).toBeInstanceOf(DecodeError)
    }
  })
})
