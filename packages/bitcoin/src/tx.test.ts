import { concat, DecodeError, hexToBytes, Reader } from '@leyden/codec'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { outpointFromKey, outpointKey, Txid, txidFromBytes, txidToBytes } from './ids.ts'
import { networks } from './networks.ts'
import {
  decodeTx,
  decodeTxWithoutWitness,
  encodeTx,
  encodeTxWithoutWitness,
  txBaseSize,
  txCodec,
  txid,
  txTotalSize,
  txVsize,
  txWeight,
  wtxid,
  type Tx,
} from './tx.ts'
import {
  feeForWeight,
  FeeratePerKw,
  feeratePerKwOf,
  FeeratePerVbyte,
  MAX_MONEY,
  Msat,
  msatToSatFloor,
  Sat,
  satToMsat,
} from './units.ts'

const bytes = fc.uint8Array({ maxLength: 300 })
const txs: fc.Arbitrary<Tx> = fc.record({
  version: fc.nat(0xffffffff),
  inputs: fc.array(
    fc.record({
      outpoint: fc.record({
        txid: fc.uint8Array({ minLength: 32, maxLength: 32 }).map(txidFromBytes),
        vout: fc.nat(0xffffffff),
      }),
      scriptSig: bytes,
      sequence: fc.nat(0xffffffff),
      witness: fc.array(bytes, { maxLength: 3 }),
    }),
    { minLength: 1, maxLength: 4 },
  ),
  outputs: fc.array(fc.record({ value: fc.bigInt(0n, MAX_MONEY).map(Sat), scriptPubKey: bytes }), { maxLength: 4 }),
  lockTime: fc.nat(0xffffffff),
})

describe('transactions', () => {
  it('property: what is encoded decodes to itself, sizes are those of the bytes, the witness is not in the txid', () => {
    expect(() =>
      fc.assert(
        fc.property(txs, (tx) => {
          expect(decodeTx(encodeTx(tx))).toEqual(tx)
          expect(txTotalSize(tx)).toBe(encodeTx(tx).length)
          expect(txBaseSize(tx)).toBe(encodeTxWithoutWitness(tx).length)
          expect(txWeight(tx)).toBe(3 * txBaseSize(tx) + txTotalSize(tx))
          const bare = decodeTxWithoutWitness(encodeTxWithoutWitness(tx))
          expect(txid(bare)).toBe(txid(tx))
          expect(wtxid(bare)).toBe(txid(tx))
        }),
        { numRuns: 60 },
      ),
    ).not.toThrow()
  })
  it('property: one that was decoded and a copy of its fields have the same ids, sizes and bytes', () => {
    const told = (tx: Tx) => [
      txid(tx),
      wtxid(tx),
      txBaseSize(tx),
      txTotalSize(tx),
      String(encodeTx(tx)),
      String(encodeTxWithoutWitness(tx)),
    ]
    expect(() =>
      fc.assert(
        fc.property(txs, fc.nat(9), (tx, before) => {
          const r = new Reader(concat(new Uint8Array(before), encodeTx(tx), new Uint8Array(3)))
          r.bytes(before)
          const decoded = txCodec.decode(r)
          expect(r.remaining).toBe(3)
          expect(told(decoded)).toEqual(told(tx))
          expect(told(decoded)).toEqual(told({ ...decoded }))
        }),
        { numRuns: 60 },
      ),
    ).not.toThrow()
  })
  it('property: any bytes decode or throw DecodeError, and what decodes encodes to the same bytes', () => {
    const holds = (input: Uint8Array): boolean => {
      try {
        // A copy knows nothing of the bytes it came from
        return String(encodeTx({ ...decodeTx(input) })) === String(input)
      } catch (error) {
        return error instanceof DecodeError
      }
    }
    const mutated = fc.tuple(txs, fc.nat(), fc.nat(255)).map(([tx, at, byte]) => {
      const encoded = encodeTx(tx)
      encoded[at % encoded.length] = byte
      return encoded
    })
    expect(() => fc.assert(fc.property(fc.oneof(fc.uint8Array({ maxLength: 100 }), mutated), holds))).not.toThrow()
  })
  it('the size of the native P2WPKH example of BIP 143', () => {
    const tx = decodeTx(
      hexToBytes(
        '01000000000102fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f00000000494830450221008b9d1dc26ba6a9cb62127b02742fa9d754cd3bebf337f7a55d114c8e5cdd30be022040529b194ba3f9281a99f2b1c0a19c0489bc22ede944ccf4ecbab4cc618ef3ed01eeffffffef51e1b804cc89d182d279655c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02202cb206000000001976a9148280b37df378db99f66f85c95a783a76ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac000247304402203609e17b84f6a7d30c80bfa610b5b4542f32a8a0d5447a12fb1366d7f01cc44a0220573a954c4518331561406f90300e8f3358f51928d43c212a8caed02de67eebee0121025476c2e83188368da1ff3e292e7acafcdb3566bb0ad253f62fc70f07aeee635711000000',
      ),
    )
    expect([txBaseSize(tx), txTotalSize(tx), txWeight(tx), txVsize(tx)]).toEqual([233, 343, 1042, 261])
    expect(wtxid(tx)).not.toBe(txid(tx))
  })
  it('the id of the first transaction', () => {
    expect(txid(networks.mainnet.genesis.transactions[0]!)).toBe(
      '4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b',
    )
  })
  it('refuses a witness marker without witness, unknown flags, counts that cannot fit, long counts', () => {
    const empty = '01000000'
    for (const bad of [
      `${empty}000101${'00'.repeat(36)}00ffffffff000000000000`,
      `${empty}0002${'00'.repeat(60)}`,
      `${empty}feffffff7f`,
      `${empty}fd0100${'00'.repeat(60)}`,
      `${empty}ffffffffffffffffff`,
    ])
      expect(() => decodeTx(hexToBytes(bad))).toThrow(DecodeError)
  })
})

describe('ids', () => {
  it('are lower-case hex in display order', () => {
    const internal = Uint8Array.from({ length: 32 }, (_, i) => i)
    expect(txidFromBytes(internal).slice(0, 6)).toBe('1f1e1d')
    expect(txidToBytes(txidFromBytes(internal))).toEqual(internal)
    expect(() => Txid('AB'.repeat(32))).toThrow(RangeError)
    expect(() => Txid('ab')).toThrow(RangeError)
    expect(() => txidFromBytes(new Uint8Array(31))).toThrow(RangeError)
  })
  it('outpoints as keys', () => {
    const outpoint = { txid: Txid('ab'.repeat(32)), vout: 4_294_967_295 }
    expect(outpointFromKey(outpointKey(outpoint))).toEqual(outpoint)
    for (const bad of ['', `${'ab'.repeat(32)}:`, `${'ab'.repeat(32)}:01`, `${'ab'.repeat(32)}:4294967296`])
      expect(() => outpointFromKey(bad)).toThrow(RangeError)
  })
})

describe('units', () => {
  it('check their range', () => {
    expect(() => Sat(-1n)).toThrow(RangeError)
    expect(() => Sat(MAX_MONEY + 1n)).toThrow(RangeError)
    expect(() => Msat(MAX_MONEY * 1000n + 1n)).toThrow(RangeError)
    expect(() => FeeratePerKw(1.5)).toThrow(RangeError)
    expect(() => FeeratePerVbyte(NaN)).toThrow(RangeError)
  })
  it('convert, rounding down', () => {
    expect(satToMsat(Sat(3n))).toBe(3000n)
    expect(msatToSatFloor(Msat(3999n))).toBe(3n)
    expect(feeForWeight(FeeratePerKw(253), 724)).toBe(183n)
    expect(feeratePerKwOf(FeeratePerVbyte(1.001))).toBe(251)
  })
})
