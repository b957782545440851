import { describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { bytesToHex, concat, DecodeError, hexToBytes } from '@leyden/codec'
import { BlockHash, networks } from '@leyden/bitcoin'
import { createFrameReader, encodeFrame, MAX_PAYLOAD_BYTES } from './framing.ts'
import { decodePayload, encodePayload, INV, type KnownMessage } from './message.ts'

const { magic, genesis } = networks.regtest
const mainnetMagic = networks.mainnet.magic
const hash = BlockHash('0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206')
const address = { services: 9n, ip: new Uint8Array(16), port: 8333 }
const samples: readonly KnownMessage[] = [
  {
    type: 'version',
    version: 70_016,
    services: 1033n,
    time: 1_700_000_000n,
    receiver: address,
    sender: address,
    nonce: 0xffff_ffff_ffff_ffffn,
    userAgent: '/Leyden:0.1.0/',
    startHeight: 120,
    relay: true,
  },
  { type: 'verack' },
  { type: 'wtxidrelay' },
  { type: 'sendheaders' },
  { type: 'ping', nonce: 7n },
  { type: 'pong', nonce: 7n },
  { type: 'inv', items: [{ kind: INV.block, hash }] },
  { type: 'getdata', items: [{ kind: INV.witnessBlock, hash }] },
  { type: 'notfound', items: [] },
  { type: 'getheaders', version: 70_016, hashes: [hash], stop: BlockHash('00'.repeat(32)) },
  { type: 'headers', headers: [genesis.header] },
  { type: 'block', block: genesis },
  { type: 'tx', tx: genesis.transactions[0]! },
  { type: 'feefilter', feeratePerKvb: 1000n },
  { type: 'mempool' },
]

describe('messages', () => {
  it('come back as they were', () => {
    for (const message of samples) expect(decodePayload(message.type, encodePayload(message))).toEqual(message)
  })

  it('have the bytes that Bitcoin gives them', () => {
    const verack = encodeFrame(mainnetMagic, { type: 'verack' })
    expect(bytesToHex(verack)).toBe('f9beb4d976657261636b000000000000000000005df6e0e2')
    const { header } = genesis
    expect(encodePayload({ type: 'headers', headers: [header] })).toHaveLength(82)
    expect(bytesToHex(encodePayload({ type: 'inv', items: [{ kind: INV.block, hash }] }))).toBe(
      '010200000006226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f',
    )
  })

  it('of an unknown command are skipped, whatever they hold', () => {
    expect(decodePayload('sendaddrv2', new Uint8Array(0))).toEqual({ type: 'unknown', command: 'sendaddrv2' })
    expect(decodePayload('constructor', Uint8Array.of(1))).toEqual({ type: 'unknown', command: 'constructor' })
  })

  it('of an old version may lack the relay flag; what follows it is skipped', () => {
    const full = encodePayload(samples[0]!)
    expect(decodePayload('version', full.subarray(0, full.length - 1))).toMatchObject({ relay: true })
    expect(decodePayload('version', concat(full, Uint8Array.of(1, 2, 3)))).toMatchObject({ nonce: 0xffff_ffff_ffff_ffffn })
  })

  it('S70: a user agent is told in printable characters only', () => {
    const sample = samples[0] as Extract<KnownMessage, { type: 'version' }>
    const payload = encodePayload({ ...sample, userAgent: '/x\n\u001b[31m\u202e/' })
    expect(decodePayload('version', payload)).toMatchObject({ userAgent: '/x??[31m???/' })
  })

  it('B7: with more inventory, headers or locators than anyone may send are refused before they are read (CVE-2018-17145)', () => {
    expect(() => decodePayload('inv', hexToBytes('fd51c3'))).toThrow('50001 items')
    expect(() => decodePayload('getdata', hexToBytes('feffffffff'))).toThrow('4294967295 items')
    expect(() => decodePayload('headers', hexToBytes('fdd107'))).toThrow('2001 items')
    expect(() => decodePayload('getheaders', hexToBytes('8011010066'))).toThrow('102 items')
  })

  it('that say one thing and hold another are refused', () => {
    expect(() => decodePayload('ping', new Uint8Array(9))).toThrow(DecodeError)
    expect(() => decodePayload('inv', hexToBytes('01'))).toThrow(DecodeError)
    const judge = (command: string, bytes: Uint8Array): unknown => {
      try {
        return decodePayload(command, bytes) && undefined
      } catch (error) {
        return error instanceof DecodeError ? undefined : error
      }
    }
    fc.assert(
      fc.property(fc.constantFrom(...samples.map(({ type }) => type)), fc.uint8Array({ maxLength: 200 }), (command, bytes) => {
        expect(judge(command, bytes)).toBeUndefined()
      }),
    )
  })
})

describe('frames', () => {
  it('come whole out of any pieces', () => {
    const wire = concat(...samples.map((message) => encodeFrame(magic, message)))
    fc.assert(
      fc.property(fc.array(fc.nat(wire.length), { maxLength: 30 }), (cuts) => {
        const reader = createFrameReader(magic)
        const edges = [0, ...cuts.sort((a, b) => a - b), wire.length]
        const messages = edges.slice(1).flatMap((to, i) => reader.push(wire.subarray(edges[i], to)))
        expect(messages).toEqual(samples)
      }),
    )
  })

  it('of another network, too long, or with a wrong checksum end the connection', () => {
    const good = encodeFrame(magic, { type: 'ping', nonce: 1n })
    expect(() => createFrameReader(mainnetMagic).push(good)).toThrow('magic')
    const broken = good.slice()
    broken[30] = 1
    expect(() => createFrameReader(magic).push(broken)).toThrow('checksum')
    const long = good.slice(0, 24)
    new DataView(long.buffer).setUint32(16, MAX_PAYLOAD_BYTES + 1, true)
    expect(() => createFrameReader(magic).push(long)).toThrow('too_large')
    const loud = good.slice()
    loud[5] = 0xff
    expect(() => createFrameReader(magic).push(loud)).toThrow('unprintable')
  })
})
