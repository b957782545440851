import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { decodeBlock } from './block.ts'
import { basicFilter, encodeFilter, filterHeader, filterMatches, sipHash } from './block-filter.ts'
import { BlockHash } from './ids.ts'
import { scriptErrorText } from './script-error-text.ts'

const vectors = process.env['LEYDEN_VECTORS'] ?? join(import.meta.dirname, '../../../../shared/vectors')
const files = ['bips/0158/testnet-19.json', 'bitcoin-core/blockfilters.json'].map((name) => join(vectors, name))
const present = files.every((file) => existsSync(file))
if (!present) process.stdout.write('block filter vectors are absent: set LEYDEN_VECTORS\n')

type Row = readonly [number, string, string, readonly string[], string, string, string, string]

describe.skipIf(!present)('vectors of BIP 158', () => {
  it.each(present ? files : [])('%s', (file) => {
    const rows = (JSON.parse(readFileSync(file, 'utf8')) as unknown[]).slice(1) as Row[]
    expect(rows.length).toBeGreaterThan(5)
    for (const [, hash, hex, scripts, previous, filter, header] of rows) {
      const spent = scripts.map((script) => ({ scriptPubKey: hexToBytes(script) }))
      const made = basicFilter(decodeBlock(hexToBytes(hex)), spent)
      expect(bytesToHex(made)).toBe(filter)
      const before = hexToBytes(previous).reverse()
      expect(bytesToHex(filterHeader(made, before).reverse())).toBe(header)
      const found = spent.filter(({ scriptPubKey }) => scriptPubKey.length > 0)
      expect(found.every(({ scriptPubKey }) => filterMatches(made, BlockHash(hash), [scriptPubKey]))).toBe(true)
    }
  })
})

describe('filters', () => {
  it('hash as SipHash-2-4 does', () => {
    // The first of the reference vectors of SipHash: key 00..0f, messages "" and 00..0e.
    const key = Uint8Array.from({ length: 16 }, (_, i) => i)
    expect(sipHash(key, new Uint8Array(0))).toBe(0x726fdb47dd0e0e31n)
    expect(
      sipHash(
        key,
        Uint8Array.from({ length: 15 }, (_, i) => i),
      ),
    ).toBe(0xa129ca6149be45e5n)
  })

  it('property: hash as the reference of SipHash-2-4 with whole words does', () => {
    const MASK = (1n << 64n) - 1n
    const reference = (key: Uint8Array, data: Uint8Array): bigint => {
      const wordAt = (bytes: Uint8Array, at: number): bigint => {
        let word = 0n
        for (let i = 7; i >= 0; i--) word = (word << 8n) | BigInt(bytes[at + i] ?? 0)
        return word
      }
      const left = (n: bigint, bits: bigint): bigint => ((n << bits) | (n >> (64n - bits))) & MASK
      const [k0, k1] = [wordAt(key, 0), wordAt(key, 8)]
      let v0 = k0 ^ 0x736f6d6570736575n
      let v1 = k1 ^ 0x646f72616e646f6dn
      let v2 = k0 ^ 0x6c7967656e657261n
      let v3 = k1 ^ 0x7465646279746573n
      const rounds = (count: number): void => {
        for (let i = 0; i < count; i++) {
          v0 = (v0 + v1) & MASK
          v1 = left(v1, 13n) ^ v0
          v0 = left(v0, 32n)
          v2 = (v2 + v3) & MASK
          v3 = left(v3, 16n) ^ v2
          v0 = (v0 + v3) & MASK
          v3 = left(v3, 21n) ^ v0
          v2 = (v2 + v1) & MASK
          v1 = left(v1, 17n) ^ v2
          v2 = left(v2, 32n)
        }
      }
      const whole = data.length - (data.length % 8)
      for (let at = 0; at <= whole; at += 8) {
        const m = at < whole ? wordAt(data, at) : wordAt(data.subarray(whole), 0) | (BigInt(data.length & 0xff) << 56n)
        v3 ^= m
        rounds(2)
        v0 ^= m
      }
      v2 ^= 0xffn
      rounds(4)
      return v0 ^ v1 ^ v2 ^ v3
    }
    const bytes = fc.uint8Array({ maxLength: 300 })
    expect(() =>
      fc.assert(
        fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), bytes, (key, data) => {
          expect(sipHash(key, data)).toBe(reference(key, data))
        }),
        { numRuns: 500 },
      ),
    ).not.toThrow()
  })

  it('find every item and hardly a stranger', () => {
    const hash = BlockHash('12'.repeat(32))
    const items = Array.from({ length: 300 }, (_, i) => Uint8Array.of(i & 0xff, i >> 8, 7))
    const filter = encodeFilter(hash, [...items, ...items])
    expect(items.every((item) => filterMatches(filter, hash, [item]))).toBe(true)
    expect(filterMatches(filter, hash, [Uint8Array.of(1, 2, 3, 4)])).toBe(false)
    expect(filterMatches(encodeFilter(hash, []), hash, items)).toBe(false)
    expect(() => filterMatches(filter.subarray(0, 20), hash, [Uint8Array.of(9, 9, 9, 9)])).toThrow('too early')
  })
})

it('says script failures as Bitcoin Core does', () => {
  expect(scriptErrorText('NULLFAIL')).toBe('Signature must be zero for failed CHECK(MULTI)SIG operation')
  expect(scriptErrorText('UNKNOWN_ERROR')).toBe('unknown error')
})
