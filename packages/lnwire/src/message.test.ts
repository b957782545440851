import { BlockHeight, FeeratePerKw, MAX_MONEY, Msat, Sat, Txid } from '@leyden/bitcoin'
import { bytesToHex, concat, DecodeError, hexToBytes } from '@leyden/codec'
import { pointFromSecret } from '@leyden/crypto'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeMessage, encodeMessage, type Message, messageCodecs, type MessageType } from './message.ts'
import { ChannelId, NodeId, PaymentHash, Preimage, ShortChannelId } from './primitives.ts'

const points = Array.from({ length: 8 }, (_, i) => pointFromSecret(new Uint8Array(32).fill(i + 1)))
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
const upTo = (maxLength: number) => fc.uint8Array({ maxLength })
const hex32 = bytes(32).map(bytesToHex)
const u8 = fc.nat(0xff)
const u16 = fc.nat(0xffff)
const u32 = fc.nat(0xffffffff)
const u64 = fc.bigInt(0n, 2n ** 64n - 1n)
const channelId = hex32.map(ChannelId)
const txid = hex32.map(Txid)
const sat = fc.bigInt(0n, MAX_MONEY).map(Sat)
const msat = fc.bigInt(0n, MAX_MONEY * 1000n).map(Msat)
const feeratePerKw = u32.map(FeeratePerKw)
const scid = u64.map(ShortChannelId)
const scids = fc.array(scid, { maxLength: 20 })
const point = fc.constantFrom(...points)
const nodeId = point.map((p) => NodeId(bytesToHex(p)))
const signature = bytes(64)
const features = upTo(12)
const chainHash = bytes(32)
const timestamp = fc.integer({ min: 1, max: 0xffffffff })
const opening = {
  dustLimitSatoshis: sat,
  maxHtlcValueInFlightMsat: msat,
  channelReserveSatoshis: sat,
  htlcMinimumMsat: msat,
  toSelfDelay: u16,
  maxAcceptedHtlcs: u16,
  fundingPubkey: point,
  revocationBasepoint: point,
  paymentBasepoint: point,
  delayedPaymentBasepoint: point,
  htlcBasepoint: point,
  firstPerCommitmentPoint: point,
}
const openingTlvs = { upfrontShutdownScript: upTo(40), channelType: features }
const closing = { channelId, closerScriptpubkey: upTo(40), closeeScriptpubkey: upTo(40), feeSatoshis: sat, locktime: u32 }
const closingTlvs = { closerOutputOnly: signature, closeeOutputOnly: signature, closerAndCloseeOutputs: signature }
const attributionData = fc.record({ htlcHoldTimes: bytes(80), truncatedHmacs: bytes(840) })
const address = fc.oneof(
  fc.record({ type: fc.constant('ipv4' as const), host: fc.ipV4(), port: u16 }),
  fc.record({ type: fc.constant('dns' as const), host: fc.domain(), port: u16 }),
  fc.record({ type: fc.constant('ipv6' as const), host: fc.constantFrom('::', '2001:db8::1', 'fe80::1:0:0:2'), port: u16 }),
  fc.record({
    type: fc.constant('tor_v3' as const),
    host: fc.constant(`${'pg6mmjiyjmcrsslv'.repeat(4).slice(0, 56)}.onion`),
    port: u16,
  }),
)

type Shape = readonly [required: { [name: string]: fc.Arbitrary<unknown> }, tlvs?: { [name: string]: fc.Arbitrary<unknown> }]
const shapes: { readonly [T in MessageType]: Shape } = {
  init: [
    { globalfeatures: features, features },
    { networks: fc.array(chainHash, { maxLength: 3 }), remoteAddr: upTo(20) },
  ],
  error: [{ channelId, data: upTo(100) }],
  warning: [{ channelId, data: upTo(100) }],
  ping: [{ numPongBytes: u16, ignored: upTo(100) }],
  pong: [{ ignored: upTo(100) }],
  peer_storage: [{ blob: upTo(100) }],
  peer_storage_retrieval: [{ blob: upTo(100) }],
  open_channel: [
    {
      ...opening,
      chainHash,
      temporaryChannelId: channelId,
      fundingSatoshis: sat,
      pushMsat: msat,
      feeratePerKw,
      channelFlags: u8,
    },
    openingTlvs,
  ],
  accept_channel: [{ ...opening, temporaryChannelId: channelId, minimumDepth: u32 }, openingTlvs],
  funding_created: [{ temporaryChannelId: channelId, fundingTxid: txid, fundingOutputIndex: u16, signature }],
  funding_signed: [{ channelId, signature }],
  channel_ready: [{ channelId, secondPerCommitmentPoint: point }, { shortChannelId: scid }],
  shutdown: [{ channelId, scriptpubkey: upTo(40) }],
  closing_signed: [
    { channelId, feeSatoshis: sat, signature },
    { feeRange: fc.record({ minFeeSatoshis: sat, maxFeeSatoshis: sat }) },
  ],
  closing_complete: [closing, closingTlvs],
  closing_sig: [closing, closingTlvs],
  stfu: [{ channelId, initiator: u8 }],
  update_add_htlc: [
    {
      channelId,
      id: u64,
      amountMsat: msat,
      paymentHash: hex32.map(PaymentHash),
      cltvExpiry: u32.map(BlockHeight),
      onionRoutingPacket: bytes(1366),
    },
    { pathKey: point },
  ],
  update_fulfill_htlc: [{ channelId, id: u64, paymentPreimage: hex32.map(Preimage) }, { attributionData }],
  update_fail_htlc: [{ channelId, id: u64, reason: upTo(300) }, { attributionData }],
  update_fail_malformed_htlc: [{ channelId, id: u64, sha256OfOnion: bytes(32), failureCode: u16 }],
  commitment_signed: [{ channelId, signature, htlcSignatures: fc.array(signature, { maxLength: 5 }) }, { fundingTxid: txid }],
  revoke_and_ack: [{ channelId, perCommitmentSecret: bytes(32), nextPerCommitmentPoint: point }],
  update_fee: [{ channelId, feeratePerKw }],
  channel_reestablish: [
    {
      channelId,
      nextCommitmentNumber: u64,
      nextRevocationNumber: u64,
      yourLastPerCommitmentSecret: bytes(32),
      myCurrentPerCommitmentPoint: point,
    },
    {
      nextFunding: fc.record({ nextFundingTxid: txid, retransmitFlags: u8 }),
      myCurrentFundingLocked: fc.record({ myCurrentFundingLockedTxid: txid, retransmitFlags: u8 }),
    },
  ],
  announcement_signatures: [{ channelId, shortChannelId: scid, nodeSignature: signature, bitcoinSignature: signature }],
  channel_announcement: [
    {
      nodeSignature1: signature,
      nodeSignature2: signature,
      bitcoinSignature1: signature,
      bitcoinSignature2: signature,
      features,
      chainHash,
      shortChannelId: scid,
      nodeId1: nodeId,
      nodeId2: nodeId,
      bitcoinKey1: point,
      bitcoinKey2: point,
    },
  ],
  node_announcement: [
    {
      signature,
      features,
      timestamp,
      nodeId,
      rgbColor: bytes(3),
      alias: bytes(32),
      addresses: fc.array(address, { maxLength: 4 }),
    },
  ],
  channel_update: [
    {
      signature,
      chainHash,
      shortChannelId: scid,
      timestamp,
      messageFlags: u8,
      channelFlags: u8,
      cltvExpiryDelta: u16,
      htlcMinimumMsat: msat,
      feeBaseMsat: u32,
      feeProportionalMillionths: u32,
      htlcMaximumMsat: msat,
    },
  ],
  query_short_channel_ids: [{ chainHash, shortChannelIds: scids }, { queryFlags: fc.array(fc.nat(300), { maxLength: 20 }) }],
  reply_short_channel_ids_end: [{ chainHash, fullInformation: u8 }],
  query_channel_range: [{ chainHash, firstBlocknum: u32, numberOfBlocks: u32 }, { queryOptionFlags: u32 }],
  reply_channel_range: [
    { chainHash, firstBlocknum: u32, numberOfBlocks: u32, syncComplete: u8, shortChannelIds: scids },
    {
      timestamps: fc.array(fc.record({ timestampNodeId1: u32, timestampNodeId2: u32 }), { maxLength: 20 }),
      checksums: fc.array(fc.record({ checksumNodeId1: u32, checksumNodeId2: u32 }), { maxLength: 20 }),
    },
  ],
  gossip_timestamp_filter: [{ chainHash, firstTimestamp: u32, timestampRange: u32 }],
}
const arbitraryOf = (type: MessageType): fc.Arbitrary<Message> => {
  const [required, tlvs = {}] = shapes[type]
  return fc
    .record({ ...required, ...tlvs }, { requiredKeys: Object.keys(required) })
    .map((value) => ({ type, ...value }) as unknown as Message)
}
const types = Object.keys(messageCodecs) as MessageType[]
const anyMessage = fc.oneof(...types.map(arbitraryOf))

describe('every message', () => {
  it.each(types)('%s reads back as it was written', (type) => {
    fc.assert(
      fc.property(arbitraryOf(type), (message) => {
        const raw = encodeMessage(message)
        expect(decodeMessage(raw)).toEqual(message)
        expect((raw[0] ?? 0) * 256 + (raw[1] ?? 0)).toBe(messageCodecs[type].id)
      }),
      { numRuns: 25 },
    )
  })
  it('has a number of its own', () => {
    expect(new Set(Object.values(messageCodecs).map(({ id }) => id)).size).toBe(types.length)
    for (const [type, codec] of Object.entries(messageCodecs)) expect(codec.name).toBe(type)
  })
})

describe('S65: bytes that are no message', () => {
  /** What the bytes are, and what that is when written and read again: the same. */
  const check = (raw: Uint8Array): void => {
    const message = decodeMessage(raw)
    const again = message instanceof DecodeError || message.type === 'unknown' ? message : decodeMessage(encodeMessage(message))
    expect(again).toEqual(message)
  }
  it('random bytes never throw', () => {
    expect.hasAssertions()
    fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), check), { numRuns: 500 })
    const typed = fc.tuple(fc.constantFrom(...Object.values(messageCodecs)), fc.uint8Array({ maxLength: 1600 }))
    fc.assert(
      fc.property(typed, ([{ id }, body]) => check(concat(Uint8Array.of(id >> 8, id & 0xff), body))),
      { numRuns: 1000 },
    )
  })
  it('mutated messages never throw', () => {
    expect.hasAssertions()
    const edits = fc.array(fc.tuple(fc.nat(), fc.constantFrom('set', 'cut', 'insert', 'swap'), u8), {
      minLength: 1,
      maxLength: 4,
    })
    fc.assert(
      fc.property(anyMessage, edits, (message, changes) => {
        let raw = encodeMessage(message)
        for (const [where, kind, value] of changes) {
          const at = raw.length === 0 ? 0 : where % raw.length
          if (kind === 'set') raw[at] = value
          else if (kind === 'cut') raw = raw.slice(0, at)
          else if (kind === 'insert') raw = concat(raw.slice(0, at), Uint8Array.of(value), raw.slice(at))
          else raw = concat(raw.slice(at), raw.slice(0, at))
        }
        check(raw)
      }),
      { numRuns: 1000 },
    )
  })
  it('every truncation of every message is refused or is a shorter extension', () => {
    expect.hasAssertions()
    for (const type of types) {
      const raw = encodeMessage(fc.sample(arbitraryOf(type), { numRuns: 1, seed: 7 })[0] as Message)
      for (let end = 0; end < raw.length; end += raw.length > 500 ? 13 : 1) check(raw.subarray(0, end))
    }
  })
})

describe('BOLT 1 § Appendix C: Message Extension', () => {
  it.each(['001000000000', '001000000000c9012acb0104'])('accepts %s', (hex) => {
    expect(decodeMessage(hexToBytes(hex))).toEqual({
      type: 'init',
      globalfeatures: new Uint8Array(0),
      features: new Uint8Array(0),
    })
  })
  it.each(['00100000000001', '001000000000ca012a', '001000000000c90101c90102'])('refuses %s', (hex) => {
    expect(decodeMessage(hexToBytes(hex))).toBeInstanceOf(DecodeError)
  })
})

describe('the message table', () => {
  it('names unknown types and whether they may be ignored', () => {
    expect(decodeMessage(hexToBytes('8001aa'))).toEqual({
      type: 'unknown',
      typeNumber: 0x8001,
      odd: true,
      payload: hexToBytes('aa'),
    })
    expect(decodeMessage(hexToBytes('8000'))).toEqual({
      type: 'unknown',
      typeNumber: 0x8000,
      odd: false,
      payload: new Uint8Array(0),
    })
  })
  it('refuses less than a type and more than 65,535 bytes', () => {
    expect(decodeMessage(hexToBytes('00'))).toMatchObject({ code: 'truncated' })
    expect(decodeMessage(new Uint8Array(65_536))).toMatchObject({ code: 'too_large' })
  })
  it('S55: refuses a length beyond the end before it allocates', () => {
    const raw = concat(hexToBytes('0011'), new Uint8Array(32), hexToBytes('ffff00'))
    expect(decodeMessage(raw)).toBeInstanceOf(DecodeError)
    const hugeTlv = hexToBytes('00100000000001ff0000000100000000')
    expect(decodeMessage(hugeTlv)).toMatchObject({ code: 'truncated' })
  })
  it('S62: refuses to encode a message over 65,535 bytes, and carries the longest failure reason', () => {
    const fail = { type: 'update_fail_htlc', channelId: ChannelId('11'.repeat(32)), id: 0n } as const
    const longest = 65_535 - 2 - 32 - 8 - 2
    expect(encodeMessage({ ...fail, reason: new Uint8Array(longest) }).length).toBe(65_535)
    expect(() => encodeMessage({ ...fail, reason: new Uint8Array(longest + 1) })).toThrow(RangeError)
    const attributionData = { htlcHoldTimes: new Uint8Array(80), truncatedHmacs: new Uint8Array(840) }
    expect(() => encodeMessage({ ...fail, reason: new Uint8Array(longest), attributionData })).toThrow(RangeError)
  })
  it('S34: refuses amounts over 21 million BTC', () => {
    const open = fc.sample(arbitraryOf('open_channel'), { numRuns: 1, seed: 1 })[0] as Message
    const raw = encodeMessage({ ...open, fundingSatoshis: Sat(MAX_MONEY) } as Message)
    expect(decodeMessage(raw)).not.toBeInstanceOf(DecodeError)
    raw.set(hexToBytes('000775f05a074001'), 2 + 32 + 32)
    expect(decodeMessage(raw)).toMatchObject({ code: 'out_of_range' })
  })
  it('reads a bound beyond all money as all money', () => {
    const open = fc.sample(arbitraryOf('open_channel'), { numRuns: 1, seed: 1 })[0] as Message
    const raw = encodeMessage(open)
    raw.set(hexToBytes('ffffffffffffffff'), 2 + 32 + 32 + 24)
    expect(decodeMessage(raw)).toMatchObject({ maxHtlcValueInFlightMsat: MAX_MONEY * 1000n })
  })
  it('refuses a point that is off the curve', () => {
    const raw = encodeMessage({
      type: 'channel_ready',
      channelId: ChannelId('11'.repeat(32)),
      secondPerCommitmentPoint: points[0]!,
    })
    raw.set(hexToBytes('02'.padEnd(66, '0')), 34)
    expect(decodeMessage(raw)).toMatchObject({ code: 'invalid' })
  })
})
