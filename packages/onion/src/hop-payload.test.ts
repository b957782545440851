import { BlockHeight, Msat } from '@leyden/bitcoin'
import { bytesToHex, concat, hexToBytes } from '@leyden/codec'
import { pointFromSecret } from '@leyden/crypto'
import { Preimage, scid } from '@leyden/lnwire'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeHopPayload, type HopPayload, readHopPayload } from './hop-payload.ts'

const point = pointFromSecret(new Uint8Array(32).fill(1))
const amounts = { amtToForward: Msat(15_000n), outgoingCltvValue: BlockHeight(1500) }
const encryptedRecipientData = hexToBytes('0102')
const forward: HopPayload = { kind: 'forward', ...amounts, shortChannelId: scid(0, 0, 1) }
const final: HopPayload = {
  kind: 'final',
  ...amounts,
  paymentData: { paymentSecret: '24'.repeat(32), totalMsat: Msat(20_000n) },
  paymentMetadata: hexToBytes('2a'),
  keysendPreimage: Preimage('11'.repeat(32)),
}
const blindedForward: HopPayload = { kind: 'blinded_forward', encryptedRecipientData }
const introduction: HopPayload = { kind: 'blinded_forward', encryptedRecipientData, currentPathKey: point }
const blindedFinal: HopPayload = { kind: 'blinded_final', ...amounts, encryptedRecipientData, totalAmountMsat: Msat(20_000n) }

const middle = { final: false, hasPathKey: false }
const last = { final: true, hasPathKey: false }
const blindedMiddle = { final: false, hasPathKey: true }
const blindedLast = { final: true, hasPathKey: true }
const invalid = (tlvType: bigint) => ({ kind: 'invalid', tlvType })

describe('hop payloads', () => {
  it('writes the payloads of the onion vector', () => {
    expect(bytesToHex(encodeHopPayload(forward))).toBe('02023a98040205dc06080000000000000001')
  })
  it.each([
    [forward, middle],
    [final, last],
    [{ kind: 'final', ...amounts } as HopPayload, last],
    [blindedForward, blindedMiddle],
    [introduction, middle],
    [blindedFinal, blindedLast],
    [{ ...blindedFinal, currentPathKey: point }, last],
  ])('reads back as written: %o', (payload, position) => {
    expect(readHopPayload(encodeHopPayload(payload), position)).toEqual(payload)
  })
  it('refuses unknown even records and skips odd ones', () => {
    const raw = concat(encodeHopPayload(forward), hexToBytes('fd013c020102'))
    expect(readHopPayload(raw, middle)).toEqual(invalid(0n))
    expect(readHopPayload(concat(encodeHopPayload(forward), hexToBytes('fd013b020102')), middle)).toEqual(forward)
  })
  it.each([
    ['an amount', encodeHopPayload({ kind: 'forward', outgoingCltvValue: amounts.outgoingCltvValue } as HopPayload), middle, 2n],
    ['an expiry', encodeHopPayload({ kind: 'forward', amtToForward: amounts.amtToForward } as HopPayload), middle, 4n],
    ['a channel', encodeHopPayload({ kind: 'final', ...amounts }), middle, 6n],
    ['a path key for encrypted data', encodeHopPayload(blindedForward), middle, 12n],
    ['encrypted data inside a blinded path', encodeHopPayload(forward), blindedMiddle, 10n],
    [
      'a total at the end of a blinded path',
      encodeHopPayload({ ...blindedFinal, totalAmountMsat: undefined } as never),
      blindedLast,
      18n,
    ],
  ])('misses %s', (_, raw, position, tlvType) => {
    expect(readHopPayload(raw, position)).toEqual(invalid(tlvType))
  })
  it.each([
    ['two path keys', introduction, blindedMiddle, 12n],
    ['a path key without encrypted data', { ...forward, currentPathKey: point } as HopPayload, middle, 12n],
    ['a channel in a blinded path', { ...forward, encryptedRecipientData } as HopPayload, blindedMiddle, 6n],
    ['an amount in a blinded path', { ...blindedForward, ...amounts } as HopPayload, blindedMiddle, 2n],
    ['payment data in a blinded path', { ...final, encryptedRecipientData } as HopPayload, blindedLast, 8n],
  ])('refuses %s', (_, payload, position, tlvType) => {
    expect(readHopPayload(encodeHopPayload(payload), position)).toEqual(invalid(tlvType))
  })
  it.each(['0208ffffffffffffffff', '020200ff', '0201', '040500ffffffff', '0c210400', '2a00'])(
    'S65: refuses the stream %s',
    (hex) => {
      expect(readHopPayload(hexToBytes(hex), last)).toEqual(invalid(0n))
    },
  )
  it('S65: random bytes never throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.boolean(), fc.boolean(), (raw, isFinal, hasPathKey) => {
        expect(typeof readHopPayload(raw, { final: isFinal, hasPathKey }).kind).toBe('string')
      }),
      { numRuns: 500 },
    )
  })
})
