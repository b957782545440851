import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
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
