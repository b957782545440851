import { Msat } from '@leyden/bitcoin'
import { concat, decode, DecodeError, encode, hexToBytes, utf8Encode } from '@leyden/codec'
import { ecdsaSign, ecdsaVerify, pointFromSecret, sha256d } from '@leyden/crypto'
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { aliasText, type ChannelUpdate, signedHash } from './bolt7.ts'
import { printable } from './bolt1.ts'
import { decodeMessage, encodeMessage, type Message } from './message.ts'
import { nodeAddress, nodeAddresses, type NodeAddress } from './node-address.ts'
import { scid } from './primitives.ts'

const update: ChannelUpdate = {
  type: 'channel_update',
  signature: new Uint8Array(64),
  chainHash: new Uint8Array(32).fill(6),
  shortChannelId: scid(1, 2, 3),
  timestamp: 1,
  messageFlags: 1,
  channelFlags: 0,
  cltvExpiryDelta: 40,
  htlcMinimumMsat: Msat(1n),
  feeBaseMsat: 1000,
  feeProportionalMillionths: 1,
  htlcMaximumMsat: Msat(1_000_000n),
}

describe('signed messages', () => {
  it('hashes everything behind the signature, unknown trailing fields included', () => {
    const raw = encodeMessage(update)
    expect(signedHash(raw, 'channel_update')).toEqual(sha256d(raw.subarray(66)))
    const extended = concat(raw, hexToBytes('f1012a'))
    expect(decodeMessage(extended)).toEqual(update)
    const secret = new Uint8Array(32).fill(9)
    const signature = ecdsaSign(signedHash(extended, 'channel_update'), secret)
    extended.set(signature, 2)
    expect(ecdsaVerify(signature, signedHash(extended, 'channel_update'), pointFromSecret(secret))).toBe(true)
    expect(ecdsaVerify(signature, signedHash(raw, 'channel_update'), pointFromSecret(secret))).toBe(false)
  })
  it('refuses to hash what is too short', () => {
    expect(() => signedHash(new Uint8Array(66), 'channel_update')).toThrow(RangeError)
  })
  it('S58: refuses timestamp 0 at parse', () => {
    const raw = encodeMessage(update)
    raw.set(hexToBytes('00000000'), 2 + 64 + 32 + 8)
    expect(decodeMessage(raw)).toMatchObject({ code: 'out_of_range' })
  })
})

describe('queries', () => {
  const query = (field: string): Uint8Array =>
    concat(hexToBytes('0105'), new Uint8Array(32), Uint8Array.of(0, field.length / 2), hexToBytes(field))
  it('S60: refuses the zlib encoding and every other unknown one', () => {
    for (const encoding of ['01', '02', 'ff'])
      expect(decodeMessage(query(`${encoding}789c01`))).toMatchObject({ code: 'invalid' })
    const range = concat(hexToBytes('0108'), new Uint8Array(32), hexToBytes('000000000000000101000101'))
    expect(decodeMessage(range)).toMatchObject({ code: 'invalid' })
  })
  it('refuses a list that is not whole ids, and one without an encoding', () => {
    expect(decodeMessage(query('0000000000000001'))).toBeInstanceOf(DecodeError)
    expect(decodeMessage(query(''))).toBeInstanceOf(DecodeError)
  })
  it('reads an empty list', () => {
    expect(decodeMessage(query('00'))).toMatchObject({ shortChannelIds: [] })
  })
})

const vectorsDir = process.env['LEYDEN_VECTORS'] ?? new URL('../../../../shared/vectors', import.meta.url).pathname
const vectors = `${vectorsDir}/bolts/bolt07-extended-queries.json`
if (!existsSync(vectors)) process.stderr.write(`skipped: no vectors at ${vectors}\n`)

describe.skipIf(!existsSync(vectors))('bolt07 extended queries vectors', () => {
  type Case = { readonly msg: { readonly [field: string]: unknown }; readonly hex: string }
  const cases = (existsSync(vectors) ? JSON.parse(readFileSync(vectors, 'utf8')) : []) as Case[]
  const zlib = cases.filter(({ msg }) => JSON.stringify(msg).includes('ZLIB'))
  const plain = cases.filter((one) => !zlib.includes(one))
  it.each(plain)('$msg.type $hex reads back as written', ({ hex }) => {
    const decoded = decodeMessage(hexToBytes(hex))
    expect(decoded).not.toBeInstanceOf(DecodeError)
    expect(encodeMessage(decoded as Message)).toEqual(hexToBytes(hex))
  })
  it.each(zlib)('S60: refuses $hex, which the spec has since forbidden', ({ hex }) => {
    expect(decodeMessage(hexToBytes(hex))).toMatchObject({ code: 'invalid' })
  })
})

describe('addresses', () => {
  const onion = 'vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd.onion'
  const addresses: readonly NodeAddress[] = [
    { type: 'ipv4', host: '192.0.2.7', port: 9735 },
    { type: 'ipv6', host: '2001:db8::ff00:42:8329', port: 1 },
    { type: 'tor_v3', host: onion, port: 65_535 },
    { type: 'dns', host: 'node.example.com', port: 9735 },
  ]
  it('reads back what it writes', () => {
    expect(decode(nodeAddresses, encode(nodeAddresses, addresses))).toEqual(addresses)
    for (const address of addresses) expect(decode(nodeAddress, encode(nodeAddress, address))).toEqual(address)
  })
  it.each([
    ['00000000000000000000000000000000', '::'],
    ['00000000000000000000000000000001', '::1'],
    ['20010db8000000010000000000000001', '2001:db8:0:1::1'],
    ['20010db8000100020003000400050006', '2001:db8:1:2:3:4:5:6'],
    ['fe800000000000000000000000000000', 'fe80::'],
  ])('writes IPv6 %s as %s', (hex, host) => {
    const wire = concat(Uint8Array.of(2), hexToBytes(hex), Uint8Array.of(0, 1))
    expect(decode(nodeAddress, wire)).toEqual({ type: 'ipv6', host, port: 1 })
    expect(encode(nodeAddress, { type: 'ipv6', host, port: 1 })).toEqual(wire)
  })
  it('keeps unknown descriptors and all behind them', () => {
    const wire = concat(encode(nodeAddress, addresses[0]!), hexToBytes('0901020304'))
    expect(decode(nodeAddresses, wire)).toEqual([addresses[0], { type: 'unknown', bytes: hexToBytes('0901020304') }])
    expect(encode(nodeAddresses, decode(nodeAddresses, wire))).toEqual(wire)
  })
  it('S70: does not understand a host name with other characters', () => {
    const host = utf8Encode('a\nb')
    const wire = concat(Uint8Array.of(5, host.length), host, Uint8Array.of(0, 1))
    expect(decode(nodeAddress, wire)).toEqual({ type: 'unknown', bytes: wire })
  })
  it('refuses a descriptor that is cut off', () => {
    expect(() => decode(nodeAddresses, hexToBytes('01c000'))).toThrow(DecodeError)
  })
  it.each(['256.1.1.1', '1.2.3', 'x', '01.2.3.4'])('refuses to write %s as IPv4', (host) => {
    expect(() => encode(nodeAddress, { type: 'ipv4', host, port: 1 })).toThrow(RangeError)
  })
  it.each(['1::2::3', '1:2:3:4:5:6:7:8:9', '::g', '1:2', '1:2:3:4:5:6:7:8::'])('refuses to write %s as IPv6', (host) => {
    expect(() => encode(nodeAddress, { type: 'ipv6', host, port: 1 })).toThrow(RangeError)
  })
})

describe('S70: words of others', () => {
  it('shows printable ASCII only, and not too much of it', () => {
    expect(printable(utf8Encode('bad\n\u001b[31m \u202e fee'))).toBe('bad??[31m ??? fee')
    expect(printable(new Uint8Array(5000).fill(65))).toHaveLength(515)
  })
  it('shows aliases without control, bidirectional and line characters', () => {
    const padded = (text: string): Uint8Array => concat(utf8Encode(text), new Uint8Array(32)).subarray(0, 32)
    expect(aliasText(padded('Zoë ⚡'))).toBe('Zoë ⚡')
    expect(aliasText(padded('a\u202eb\u2028c\nd\0e'))).toBe('a\u{FFFD}b\u{FFFD}c\u{FFFD}d\u{FFFD}e')
    expect(aliasText(hexToBytes('ff41'))).toBe('\u{FFFD}A')
  })
})
