import { bytesToHex, concat, hexToBytes } from '@leyden/codec'
import { hmacSha256 } from '@leyden/crypto'
import * as fc from 'fast-check'
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import {
  BADONION,
  decodeFailure,
  encodeFailure,
  type Failure,
  failureCode,
  failureFromMalformed,
  NODE,
  PERM,
  UPDATE,
} from './failure-message.ts'
import { buildFailure, unwrapFailure, wrapFailure } from './failure-packet.ts'
import { deriveKey } from './keys.ts'

const vectorsDir = process.env['LEYDEN_VECTORS'] ?? new URL('../../../../shared/vectors', import.meta.url).pathname
const vectorFile = `${vectorsDir}/bolts/bolt04-onion-error-test.json`
if (!existsSync(vectorFile)) process.stderr.write(`skipped: no vectors at ${vectorFile}\n`)
const vector = existsSync(vectorFile)
  ? (JSON.parse(readFileSync(vectorFile, 'utf8')) as {
      readonly generate: {
        readonly failure_message: string
        readonly hops: readonly { readonly hop_shared_secret: string; readonly ammag_key: string; readonly um_key?: string }[]
      }
      readonly errorpacket: string
    })
  : undefined

describe.skipIf(vector === undefined)('bolt04 onion error vector', () => {
  const { generate, errorpacket } = vector ?? { generate: { failure_message: '', hops: [] }, errorpacket: '' }
  const secrets = generate.hops.map((hop) => hexToBytes(hop.hop_shared_secret))
  it('derives the keys', () => {
    expect(generate.hops.map(({ ammag_key }) => ammag_key)).toEqual(secrets.map((s) => bytesToHex(deriveKey('ammag', s))))
    expect(generate.hops[4]?.um_key).toBe(bytesToHex(deriveKey('um', secrets[4] as Uint8Array)))
  })
  it('builds at the erring node, wraps at each hop, and opens at the origin', () => {
    const failure = decodeFailure(hexToBytes(generate.failure_message)) as Failure
    expect(failure).toEqual({ type: 'temporary_node_failure' })
    let packet = buildFailure(secrets[4] as Uint8Array, failure)
    for (const secret of secrets.slice(0, 4).toReversed()) packet = wrapFailure(secret, packet)
    expect(bytesToHex(packet)).toBe(errorpacket)
    expect(unwrapFailure(secrets, packet)).toEqual({ index: 4, failure })
  })
})

const hash = new Uint8Array(32).fill(7)
const update = hexToBytes('0102030405')
const examples: readonly (readonly [number, Failure])[] = [
  [NODE | 2, { type: 'temporary_node_failure' }],
  [PERM | NODE | 2, { type: 'permanent_node_failure' }],
  [PERM | NODE | 3, { type: 'required_node_feature_missing' }],
  [BADONION | PERM | 4, { type: 'invalid_onion_version', sha256OfOnion: hash }],
  [BADONION | PERM | 5, { type: 'invalid_onion_hmac', sha256OfOnion: hash }],
  [BADONION | PERM | 6, { type: 'invalid_onion_key', sha256OfOnion: hash }],
  [UPDATE | 7, { type: 'temporary_channel_failure', channelUpdate: update }],
  [PERM | 8, { type: 'permanent_channel_failure' }],
  [PERM | 9, { type: 'required_channel_feature_missing' }],
  [PERM | 10, { type: 'unknown_next_peer' }],
  [UPDATE | 11, { type: 'amount_below_minimum', htlcMsat: 1n, channelUpdate: update }],
  [UPDATE | 12, { type: 'fee_insufficient', htlcMsat: 1n, channelUpdate: new Uint8Array(0) }],
  [UPDATE | 13, { type: 'incorrect_cltv_expiry', cltvExpiry: 5, channelUpdate: update }],
  [UPDATE | 14, { type: 'expiry_too_soon', channelUpdate: update }],
  [PERM | 15, { type: 'incorrect_or_unknown_payment_details', htlcMsat: 100n, height: 800_000 }],
  [18, { type: 'final_incorrect_cltv_expiry', cltvExpiry: 9 }],
  [19, { type: 'final_incorrect_htlc_amount', incomingHtlcAmt: 9n }],
  [UPDATE | 20, { type: 'channel_disabled', disabledFlags: 0, channelUpdate: update }],
  [21, { type: 'expiry_too_far' }],
  [PERM | 22, { type: 'invalid_onion_payload', tlvType: 2n ** 63n, offset: 3 }],
  [23, { type: 'mpp_timeout' }],
  [BADONION | PERM | 24, { type: 'invalid_onion_blinding', sha256OfOnion: hash }],
]

describe('failure messages', () => {
  it.each(examples)('%i reads back as written, extra bytes ignored', (code, failure) => {
    expect(failureCode(failure)).toBe(code)
    const raw = encodeFailure(failure)
    expect(decodeFailure(raw)).toEqual(failure)
    expect(decodeFailure(concat(raw, hexToBytes('020401')))).toEqual(failure)
  })
  it('keeps code and data of what it does not know or cannot read', () => {
    expect(decodeFailure(hexToBytes('4fff0102'))).toEqual({ type: 'unknown', code: 0x4fff, data: hexToBytes('0102') })
    expect(decodeFailure(hexToBytes('400f0102'))).toEqual({ type: 'unknown', code: 0x400f, data: hexToBytes('0102') })
    expect(decodeFailure(hexToBytes('40'))).toBeUndefined()
  })
  it('S65: any bytes are a failure or none, and read back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (raw) => {
        const failure = decodeFailure(raw)
        expect(failure === undefined).toBe(raw.length < 2)
        expect(failure === undefined ? undefined : decodeFailure(encodeFailure(failure))).toEqual(failure)
      }),
    )
  })
  it('makes a failure of update_fail_malformed_htlc', () => {
    expect(failureFromMalformed({ failureCode: 0xc005, sha256OfOnion: hash })).toEqual({
      type: 'invalid_onion_hmac',
      sha256OfOnion: hash,
    })
    expect(failureFromMalformed({ failureCode: 0x8fff, sha256OfOnion: hash })).toEqual({
      type: 'unknown',
      code: 0x8fff,
      data: hash,
    })
  })
})

describe('failure packets', () => {
  const secrets = Array.from({ length: 5 }, (_, i) => new Uint8Array(32).fill(i + 1))
  const failure: Failure = { type: 'unknown_next_peer' }
  const returnFrom = (index: number, packet: Uint8Array): Uint8Array =>
    secrets
      .slice(0, index)
      .toReversed()
      .reduce((p, s) => wrapFailure(s, p), packet)

  it('names the hop that failed, at every position', () => {
    for (const [index, secret] of secrets.entries())
      expect(unwrapFailure(secrets, returnFrom(index, buildFailure(secret, failure)))).toEqual({ index, failure })
  })
  it('is 292 bytes whatever the message', () => {
    for (const [, one] of examples) expect(buildFailure(hash, one)).toHaveLength(32 + 2 + 256 + 2)
    const big: Failure = { type: 'temporary_channel_failure', channelUpdate: new Uint8Array(400) }
    expect(unwrapFailure([hash], buildFailure(hash, big))).toEqual({ index: 0, failure: big })
  })
  it('is read up to 4096 bytes', () => {
    const update = (bytes: number): Failure => ({ type: 'temporary_channel_failure', channelUpdate: new Uint8Array(bytes) })
    const room = 4096 - 32 - 2 - 4 - 2
    expect(unwrapFailure([hash], buildFailure(hash, update(room)))).toEqual({ index: 0, failure: update(room) })
    expect(unwrapFailure([hash], buildFailure(hash, update(room + 1)))).toBeUndefined()
  })
  it('S62: a hop adds not a byte, however long the packet', () => {
    for (const length of [0, 1, 292, 65_491]) expect(wrapFailure(hash, new Uint8Array(length))).toHaveLength(length)
  })
  it('gives nothing for garbled, empty, short and long packets', () => {
    const packet = returnFrom(3, buildFailure(secrets[3] as Uint8Array, failure))
    expect(
      unwrapFailure(
        secrets,
        packet.map((byte, i) => (i === 40 ? byte ^ 1 : byte)),
      ),
    ).toBeUndefined()
    for (const length of [0, 1, 31, 32, 35, 36, 5000]) expect(unwrapFailure(secrets, new Uint8Array(length))).toBeUndefined()
  })
  it('S64: never names a position outside the route, not even for a packet of the dummy hops', () => {
    const dummy = new Uint8Array(32)
    let packet = buildFailure(dummy, failure)
    for (let i = 0; i < 9; i++) packet = wrapFailure(dummy, packet)
    expect(unwrapFailure(secrets, returnFrom(5, packet))).toBeUndefined()
    expect(unwrapFailure([], packet)).toBeUndefined()
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        expect(unwrapFailure(secrets, bytes)).toBeUndefined()
      }),
      { numRuns: 20 },
    )
  })
  it('names a hop that authenticates bytes that are no message', () => {
    const seal = (body: Uint8Array): Uint8Array => wrapFailure(hash, concat(hmacSha256(deriveKey('um', hash), body), body))
    for (const body of ['', '00', '0000', '000140', 'ffff0001'])
      expect(unwrapFailure([hash], seal(hexToBytes(body)))).toEqual({ index: 0, failure: undefined })
  })
})
