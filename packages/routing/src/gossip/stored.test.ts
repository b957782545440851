/** What a start reads of stored messages is what their codecs read. BOLT 7. */
import { MAX_MONEY } from '@leyden/bitcoin'
import { decode, encode, hexToBytes } from '@leyden/codec'
import { channelAnnouncement, channelUpdate, nodeAnnouncement, NodeId } from '@leyden/lnwire'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readChannel, readNode, readPolicy } from './stored.ts'

const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
const u32 = fc.integer({ min: 0, max: 0xffff_ffff })
const nodeId = bytesOf(32).map((x) => NodeId(`02${Buffer.from(x).toString('hex')}`))
const scid = fc.bigInt(0n, 2n ** 64n - 1n)
const features = fc.uint8Array({ maxLength: 40 })
/** An extension that nobody knows, or none. */
const tail = fc.constantFrom(new Uint8Array(0), Uint8Array.of(1, 2, 3, 4))
const withTail = (raw: Uint8Array, rest: Uint8Array): Uint8Array => Uint8Array.from([...raw, ...rest])

describe('stored messages', () => {
  it('channel_announcement', () => {
    fc.assert(
      fc.property(
        bytesOf(64),
        features,
        scid,
        nodeId,
        nodeId,
        tail,
        (signature, featureBits, shortChannelId, nodeId1, nodeId2, rest) => {
          const raw = encode(channelAnnouncement, {
            type: 'channel_announcement',
            nodeSignature1: signature,
            nodeSignature2: signature,
            bitcoinSignature1: signature,
            bitcoinSignature2: signature,
            features: featureBits,
            chainHash: signature.slice(0, 32),
            shortChannelId: shortChannelId as never,
            nodeId1,
            nodeId2,
            bitcoinKey1: hexToBytes(nodeId1),
            bitcoinKey2: hexToBytes(nodeId2),
          })
          const message = decode(channelAnnouncement, withTail(raw, rest))
          expect(readChannel(withTail(raw, rest))).toStrictEqual({
            features: message.features,
            shortChannelId: message.shortChannelId,
            nodeId1: message.nodeId1,
            nodeId2: message.nodeId2,
          })
          for (const length of [0, 2, 300, raw.length - 1]) expect(readChannel(raw.subarray(0, length))).toBe(undefined)
          expect(readPolicy(raw)).toBe(undefined)
          expect(readNode(raw)).toBe(undefined)
        },
      ),
      { numRuns: 100 },
    )
  })

  it('channel_update', () => {
    const limit = fc.oneof(fc.bigInt(0n, MAX_MONEY * 1000n), fc.constant(MAX_MONEY * 1000n))
    const u8 = fc.integer({ min: 0, max: 255 })
    fc.assert(
      fc.property(
        fc.tuple(bytesOf(64), scid, u32, u8, u8, u32, limit, u32, limit, tail),
        ([signature, id, time, one, two, fee, least, rate, most, rest]) => {
          const raw = encode(channelUpdate, {
            type: 'channel_update',
            signature,
            chainHash: signature.slice(0, 32),
            shortChannelId: id as never,
            timestamp: Math.max(time, 1),
            messageFlags: one,
            channelFlags: two,
            cltvExpiryDelta: time & 0xffff,
            htlcMinimumMsat: least as never,
            feeBaseMsat: fee,
            feeProportionalMillionths: rate,
            htlcMaximumMsat: most as never,
          })
          const {
            type: _type,
            signature: _signature,
            chainHash: _chainHash,
            messageFlags: _flags,
            ...message
          } = decode(channelUpdate, raw)
          expect(readPolicy(withTail(raw, rest))).toStrictEqual(message)
          // no limit, as some write it
          raw.fill(255, raw.length - 8)
          expect(readPolicy(raw)?.htlcMaximumMsat).toBe(decode(channelUpdate, raw).htlcMaximumMsat)
          for (const length of [0, 1, 100, raw.length - 1]) expect(readPolicy(raw.subarray(0, length))).toBe(undefined)
          expect(readChannel(raw)).toBe(undefined)
        },
      ),
      { numRuns: 100 },
    )
  })

  it('node_announcement', () => {
    fc.assert(
      fc.property(bytesOf(64), features, u32, nodeId, tail, (signature, featureBits, time, id, rest) => {
        const raw = encode(nodeAnnouncement, {
          type: 'node_announcement',
          signature,
          features: featureBits,
          timestamp: Math.max(time, 1),
          nodeId: id,
          rgbColor: signature.slice(0, 3),
          alias: signature.slice(0, 32),
          addresses: [],
        })
        expect(readNode(withTail(raw, rest))).toStrictEqual({ features: featureBits, timestamp: Math.max(time, 1), nodeId: id })
        for (const length of [0, 2, 67, 68 + featureBits.length + 36]) expect(readNode(raw.subarray(0, length))).toBe(undefined)
      }),
      { numRuns: 100 },
    )
  })
})
