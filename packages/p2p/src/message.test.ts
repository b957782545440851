import { describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { bytesToHex, concat, DecodeError, hexToBytes } from '@leyden/codec'
import { BlockHash, networks } from '@leyden/bitcoin'
import { createFrameReader, encodeFrame, MAX_PAYLOAD_BYTES } from './framing.ts'
import { decodePayload, encodePayload, INV, type KnownMessage } from './message.ts'
import { parseEndpoint } from './net-address.ts'

const { magic, genesis } = networks.regtest
const mainnetMagic = networks.mainnet.magic
const hash = BlockHash('0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206')
const address = { services: 9n, ip: new Uint8Array(16), port: 8333 }
const v4 = parseEndpoint('1.2.3.4:8333', 0)!
const v6 = parseEndpoint('[2001:4d48::1]:8333', 0)!
const onion = parseEndpoint('pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion:1', 0)!
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
  { type: 'getaddr' },
  { type: 'sendaddrv2' },
  { type: 'sendcmpct', highBandwidth: true, version: 2n },
  { type: 'getblocks', version: 70_016, hashes: [hash], stop: hash },
  { type: 'addr', addresses: [{ endpoint: v4, services: 1n, time: 1_700_000_000 }], count: 1 },
  {
    type: 'addrv2',
    addresses: [v4, v6, onion].map((endpoint) => ({ endpoint, services: 1033n, time: 1_700_000_000 })),
    count: 3,
  },
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
    expect(decodePayload('sendtxrcncl', new Uint8Array(0))).toEqual({ type: 'unknown', command: 'sendtxrcncl' })
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
    expect(decodePayload('version', payload)).toMatchObject({ userAgent: '/x31m/' })
  })

  it('B7: with more inventory, headers or locators than anyone may send are not read beyond their count (CVE-2018-17145)', () => {
    expect(decodePayload('inv', hexToBytes('fd51c3'))).toEqual({ type: 'inv', items: [], count: 50_001 })
    expect(decodePayload('getdata', hexToBytes('feffffffff'))).toEqual({ type: 'getdata', items: [], count: 4_294_967_295 })
    expect(decodePayload('headers', hexToBytes('fdd107'))).toEqual({ type: 'headers', headers: [], count: 2001 })
    expect(decodePayload('getheaders', hexToBytes('8011010066'))).toMatchObject({ hashes: [], count: 102 })
    expect(decodePayload('addr', hexToBytes('fde903'))).toEqual({ type: 'addr', addresses: [], count: 1001 })
  })

  it('that say one thing and hold another are refused', () => {
    expect(() => decodePayload('ping', new Uint8Array(7))).toThrow(DecodeError)
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
        const frames = edges.slice(1).flatMap((to, i) => reader.push(wire.subarray(edges[i], to)))
        expect(frames.map((frame) => frame.problem === undefined && decodePayload(frame.command, frame.payload))).toEqual(samples)
        expect(reader.held).toBe(0)
      }),
    )
  })

  it('of another network or too long end the connection', () => {
    const good = encodeFrame(magic, { type: 'ping', nonce: 1n })
    expect(() => createFrameReader(mainnetMagic).push(good)).toThrow('Wrong MessageStart fabfb5da')
    const long = good.slice(0, 24)
    new DataView(long.buffer).setUint32(16, MAX_PAYLOAD_BYTES + 1, true)
    expect(() => createFrameReader(magic).push(long)).toThrow('Size too large (ping, 4000001 bytes)')
  })

  it('with a wrong checksum or an unprintable command are lost alone', () => {
    const good = encodeFrame(magic, { type: 'ping', nonce: 1n })
    const broken = good.slice()
    broken[30] = 1
    const loud = good.slice()
    loud[5] = 0xff
    const problems = createFrameReader(magic)
      .push(concat(broken, loud, good))
      .map(({ problem }) => problem?.slice(0, 34))
    expect(problems).toEqual(['Header error: Wrong checksum (ping', 'Header error: Invalid message type', undefined])
  })
})
