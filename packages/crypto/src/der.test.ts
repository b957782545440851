import { bytesToHex, hexToBytes } from '@leyden/codec'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compactFromDer, compactFromDerLax, derFromCompact, isStrictDer } from './der.ts'
import { ecdsaSign } from './ecdsa.ts'
import { ORDER } from './scalar.ts'

const r32 = '4e45e16932b8af514961a1d3a1a25fdf3f4f7732e9d624c6c61548ab5fb8cd41'
const s32 = '181522ec8eca07de4860a4acdd12909d831cc56cbbac4622082221a8768d1d09'
const der = `30440220${r32}0220${s32}`
const compact = r32 + s32
const hexOf = (bytes: Uint8Array | undefined): string | undefined => bytes && bytesToHex(bytes)
const strict = (hex: string): string | undefined => hexOf(compactFromDer(hexToBytes(hex)))
const lax = (hex: string): string | undefined => hexOf(compactFromDerLax(hexToBytes(hex)))

describe('DER', () => {
  it('reads a strict signature both ways', () => {
    expect(strict(der)).toBe(compact)
    expect(lax(der)).toBe(compact)
    expect(bytesToHex(derFromCompact(hexToBytes(compact)))).toBe(der)
  })

  it('writes the shortest integers', () => {
    const small = `${'00'.repeat(31)}01${'00'.repeat(30)}0080`
    expect(bytesToHex(derFromCompact(hexToBytes(small)))).toBe('300702010102020080')
    expect(strict('300702010102020080')).toBe(small)
    expect(bytesToHex(derFromCompact(new Uint8Array(64)))).toBe('3006020100020100')
    expect(() => derFromCompact(new Uint8Array(63))).toThrow('invalid_length')
  })

  it('takes every signature back', () => {
    const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 })
    fc.assert(
      fc.property(bytes32, bytes32, (hash, secret) => {
        secret[0] = 1
        const signature = ecdsaSign(hash, secret)
        const encoded = derFromCompact(signature)
        expect(isStrictDer(encoded)).toBe(true)
        expect(compactFromDer(encoded)).toEqual(signature)
        expect(compactFromDerLax(encoded)).toEqual(signature)
      }),
    )
  })

  // what strict DER (BIP 66) forbids, and what the lax parser makes of it
  it.each([
    ['another tag', der.replace(/^30/, '31'), undefined],
    ['a wrong sequence length', der.replace(/^3044/, '3045'), compact],
    ['a byte after it', `${der}00`, compact],
    ['a missing byte', der.slice(0, -2), undefined],
    ['R of no bytes', `302402000220${s32}`, `${'00'.repeat(32)}${s32}`],
    ['R that is no integer', der.replace('0220', '0320'), undefined],
    ['a negative R', `304402208${r32.slice(1)}0220${s32}`, `8${r32.slice(1)}${s32}`],
    ['a padded R', `3045022100${r32}0220${s32}`, compact],
    ['a heavily padded S', `30480220${r32}022400000000${s32}`, compact],
    ['long form lengths', `30820046028120${r32}02820020${s32}`, compact],
    ['a long form with eight bytes of zeros', `304c02880000000000000020${r32}0220${s32}`, compact],
    ['a long form of four bytes', `3048028401000020${r32}0220${s32}`, undefined],
    ['a length beyond the end', `30440220${r32}0221${s32}`, undefined],
    ['nothing', '', undefined],
    ['a sequence tag only', '30', undefined],
    ['a sequence whose length bytes run out', '3085', undefined],
    ['R only', `30220220${r32}`, undefined],
  ])('%s', (_, hex, expected) => {
    expect(isStrictDer(hexToBytes(hex))).toBe(false)
    expect(strict(hex)).toBeUndefined()
    expect(lax(hex)).toBe(expected)
  })

  it('knows a well-formed signature whose numbers are out of range', () => {
    const order = ORDER.toString(16)
    for (const hex of [`3045022100${order}0220${s32}`, `3045022101${r32}0220${s32}`]) {
      expect(isStrictDer(hexToBytes(hex))).toBe(true)
      expect(strict(hex)).toBeUndefined()
      expect(lax(hex)).toBeUndefined()
    }
  })

  it('the lax parser agrees with the strict one and never throws', () => {
    const nearDer = fc
      .tuple(fc.constant(hexToBytes(der)), fc.array(fc.tuple(fc.nat(71), fc.nat(255)), { maxLength: 3 }), fc.nat(71))
      .map(([bytes, edits, cut]) => {
        const out = new Uint8Array(bytes)
        for (const [at, value] of edits) if (at < out.length) out[at] = value
        return cut < 20 ? out.subarray(0, out.length - cut) : out
      })
    fc.assert(
      fc.property(fc.oneof(nearDer, fc.uint8Array({ maxLength: 80 })), (bytes) => {
        const laxly = compactFromDerLax(bytes)
        expect(compactFromDer(bytes) ?? laxly).toEqual(laxly)
      }),
      { numRuns: 1000 },
    )
  })
})
