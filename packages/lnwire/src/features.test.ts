import { bytesToHex, hexToBytes } from '@leyden/codec'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  combineVectors,
  decodeChannelType,
  decodeFeatures,
  encodeChannelType,
  encodeFeatures,
  featureBit,
  findMissingDependency,
  hasFeature,
  negotiateFeatures,
  NO_FEATURES,
  offeredFeatures,
} from './features.ts'

/** A vector with these bits. */
const vector = (...bits: number[]): Uint8Array => {
  const out = new Uint8Array((Math.max(-1, ...bits) >> 3) + 1)
  for (const bit of bits) out[out.length - 1 - (bit >> 3)]! |= 1 << (bit & 7)
  return out
}

describe('vectors', () => {
  it('reads required and optional bits, and required wins over both', () => {
    expect(decodeFeatures(vector(0, 1, 15, 22))).toEqual({
      known: { option_data_loss_protect: 'required', payment_secret: 'optional', option_anchors: 'required' },
    })
  })
  it('keeps the lowest unknown even bit and forgets unknown odd ones', () => {
    expect(decodeFeatures(vector(101, 200, 102, 501))).toEqual({ known: {}, unknownEven: 102 })
    expect(decodeFeatures(new Uint8Array(65_000)).unknownEven).toBeUndefined()
  })
  it('writes the shortest vector', () => {
    expect(bytesToHex(encodeFeatures({ known: { option_simple_close: 'optional' } }))).toBe('2000000000000000')
    expect(encodeFeatures(NO_FEATURES)).toEqual(new Uint8Array(0))
  })
  it('reads back what it writes, and reads any bytes', () => {
    const names = Object.keys(decodeFeatures(new Uint8Array(20).fill(0xff)).known) as (keyof typeof NO_FEATURES.known)[]
    const known = fc.dictionary(fc.constantFrom(...names), fc.constantFrom('optional', 'required'))
    fc.assert(
      fc.property(known, (some) => {
        const features = { known: { ...some } }
        expect(decodeFeatures(encodeFeatures(features))).toEqual(features)
      }),
    )
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => void decodeFeatures(bytes)))
  })
  it('combines the two vectors of init', () => {
    expect(combineVectors(hexToBytes('0102'), hexToBytes('f00000'))).toEqual(hexToBytes('f00102'))
  })
})

describe('dependencies', () => {
  it('finds a missing dependency', () => {
    expect(findMissingDependency(decodeFeatures(vector(61)))).toEqual({
      feature: 'option_simple_close',
      dependency: 'option_shutdown_anysegwit',
    })
    expect(findMissingDependency(decodeFeatures(vector(61, 27)))).toBeUndefined()
  })
  it('assumes the dependencies that everybody has', () => {
    expect(findMissingDependency(decodeFeatures(vector(17)))).toBeUndefined()
  })
})

describe('negotiation', () => {
  const local = offeredFeatures('init')
  it('agrees with itself on everything', () => {
    expect(negotiateFeatures(local, local)).toEqual(local)
  })
  it('keeps what both offer, what we require and what is assumed', () => {
    const features = negotiateFeatures(local, decodeFeatures(vector(23, 17, 35)))
    expect(features).toEqual({
      known: {
        option_data_loss_protect: 'required',
        var_onion_optin: 'required',
        option_static_remotekey: 'required',
        payment_secret: 'required',
        option_channel_type: 'optional',
        basic_mpp: 'optional',
        option_anchors: 'optional',
      },
    })
  })
  it('refuses a peer that requires what we do not offer, known or unknown', () => {
    expect(negotiateFeatures(local, decodeFeatures(vector(28)))).toEqual({ problem: 'unknown_required', bit: 28 })
    expect(negotiateFeatures(local, decodeFeatures(vector(150)))).toEqual({ problem: 'unknown_required', bit: 150 })
  })
  it('ignores unknown odd bits', () => {
    expect(negotiateFeatures(local, decodeFeatures(vector(151, 29)))).not.toHaveProperty('problem')
  })
  it('refuses a vector without its dependencies', () => {
    expect(negotiateFeatures(local, decodeFeatures(vector(61)))).toMatchObject({ problem: 'missing_dependency' })
  })
  it('S12: refuses a peer that requires anchors with HTLC fees, never offers them, and refuses the channel type', () => {
    expect(negotiateFeatures(local, decodeFeatures(vector(20)))).toEqual({ problem: 'unknown_required', bit: 20 })
    expect(negotiateFeatures(local, decodeFeatures(vector(21)))).not.toHaveProperty('problem')
    for (const context of ['init', 'node', 'channel', 'invoice'] as const) {
      const ours = encodeFeatures(offeredFeatures(context))
      expect(((ours.at(-3) ?? 0) >> 4) & 3).toBe(0)
    }
    expect(decodeChannelType(vector(12, 20))).toBeUndefined()
  })
})

describe('contexts', () => {
  it('sets no bit where it does not belong', () => {
    expect(offeredFeatures('channel')).toEqual(NO_FEATURES)
    expect(offeredFeatures('invoice')).toEqual({
      known: { var_onion_optin: 'required', payment_secret: 'required', basic_mpp: 'optional' },
    })
    expect(hasFeature(offeredFeatures('node'), 'option_anchors')).toBe(true)
  })
  it('offers all dependencies of what it offers', () => {
    expect(findMissingDependency(offeredFeatures('init'))).toBeUndefined()
    expect(featureBit('option_simple_close')).toBe(60)
  })
})

describe('channel types', () => {
  it('reads back what it writes', () => {
    for (const commitment of ['static_remotekey', 'anchors'] as const)
      for (const scidAlias of [false, true])
        for (const zeroconf of [false, true]) {
          const type = { commitment, scidAlias, zeroconf }
          expect(decodeChannelType(encodeChannelType(type))).toEqual(type)
        }
    expect(bytesToHex(encodeChannelType({ commitment: 'anchors', scidAlias: false, zeroconf: false }))).toBe('401000')
  })
  it('refuses odd bits, unknown bits, no bits and padding', () => {
    for (const bytes of [vector(13), vector(12, 23), vector(12, 18), vector(22), vector(), hexToBytes('001000')])
      expect(decodeChannelType(bytes)).toBeUndefined()
  })
})
