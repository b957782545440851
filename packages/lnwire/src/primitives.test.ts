import { Txid, txidFromBytes } from '@leyden/bitcoin'
import { decode, DecodeError, encode, hexToBytes } from '@leyden/codec'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  ChannelId,
  channelIdFromOutpoint,
  formatScid,
  NodeId,
  nodeIdFromPoint,
  nodeIdToPoint,
  parseScid,
  scid,
  scidParts,
  ShortChannelId,
  txid,
} from './primitives.ts'

describe('short_channel_id', () => {
  it('packs and unpacks', () => {
    fc.assert(
      fc.property(fc.nat(0xffffff), fc.nat(0xffffff), fc.nat(0xffff), (block, tx, output) => {
        const id = scid(block, tx, output)
        expect(scidParts(id)).toEqual({ block, tx, output })
        expect(parseScid(formatScid(id))).toBe(id)
      }),
    )
    expect(formatScid(scid(539268, 845, 1))).toBe('539268x845x1')
  })
  it.each(['', '1x2', '1x2x3x4', '01x2x3', '16777216x0x0', '0x16777216x0', '0x0x65536', '-1x2x3', '1x2x3 ', '1:2:3'])(
    'is not %s',
    (text) => {
      expect(parseScid(text)).toBeUndefined()
    },
  )
  it('refuses parts and numbers that do not fit', () => {
    expect(() => scid(2 ** 24, 0, 0)).toThrow(RangeError)
    expect(() => scid(0, 0.5, 0)).toThrow(RangeError)
    expect(() => ShortChannelId(2n ** 64n)).toThrow(RangeError)
  })
})

describe('ids', () => {
  it('is the funding txid with its last two bytes XORed with the output index', () => {
    const internal = hexToBytes(`${'00'.repeat(30)}1234`)
    expect(channelIdFromOutpoint(txidFromBytes(internal), 0x0102)).toBe(`${'00'.repeat(30)}1336`)
    expect(() => channelIdFromOutpoint(txidFromBytes(internal), 65_536)).toThrow(RangeError)
  })
  it('travels as internal bytes and is shown reversed', () => {
    const id = Txid(`${'00'.repeat(31)}ff`)
    expect(encode(txid, id)[0]).toBe(0xff)
    expect(decode(txid, encode(txid, id))).toBe(id)
  })
  it('refuses what is not lower-case hex of the right length', () => {
    expect(() => ChannelId('AA'.repeat(32))).toThrow(RangeError)
    expect(() => ChannelId('aa')).toThrow(RangeError)
    expect(() => NodeId('04'.padEnd(66, '0'))).toThrow(RangeError)
    expect(() => decode(txid, new Uint8Array(31))).toThrow(DecodeError)
  })
  it('turns points into node ids and back', () => {
    const id = NodeId('02'.padEnd(66, 'a'))
    expect(nodeIdFromPoint(nodeIdToPoint(id))).toBe(id)
  })
})
