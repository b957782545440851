import { describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { Sat, type Coin } from '@leyden/bitcoin'
import { coinsNeeded, coinsOf, decodeCoin, decodeUndo, encodeCoin, encodeUndo } from './coin.ts'
import { ANYONE, grow, outputOf, pay, toyChain } from './testing.ts'

const coin: fc.Arbitrary<Coin> = fc.record({
  output: fc.record({
    value: fc.bigInt(0n, 2_100_000_000_000_000n).map(Sat),
    scriptPubKey: fc.uint8Array({ maxLength: 300 }).map((bytes) => Uint8Array.from(bytes)),
  }),
  height: fc.nat(0x7fff_fffe),
  coinbase: fc.boolean(),
})

describe('coins in the store', () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(coin, (one) => {
        expect(decodeCoin(encodeCoin(one))).toEqual(one)
      }),
    )
    fc.assert(
      fc.property(fc.array(coin, { maxLength: 20 }), (coins) => {
        expect(decodeUndo(encodeUndo(coins))).toEqual(coins)
      }),
    )
  })

  it('S52: damaged undo data is refused before anything is allocated for it', () => {
    expect(() => decodeUndo(Uint8Array.of(0xfe, 0xff, 0xff, 0xff, 0xff))).toThrow('undo of')
    const good = encodeUndo([{ output: { value: Sat(1n), scriptPubKey: ANYONE }, height: 1, coinbase: false }])
    expect(() => decodeUndo(good.subarray(0, good.length - 1))).toThrow('truncated')
    expect(() => decodeUndo(Uint8Array.of(...good, 0))).toThrow('trailing')
  })

  it('leave out outputs that nobody can spend', () => {
    const tx = pay([], [1n, 2n])
    const burnt = { ...tx, outputs: [{ value: Sat(0n), scriptPubKey: Uint8Array.of(0x6a) }, ...tx.outputs] }
    expect(coinsOf(burnt, 7, false).map(([{ vout }]) => vout)).toEqual([1, 2])
  })
})

describe('coinsNeeded', () => {
  it('names what a block spends from outside, and all that it makes', () => {
    const chain = toyChain()
    const [coinbase] = grow(chain, 1)
    const first = pay([outputOf(coinbase!)], [1n])
    const second = pay([outputOf(first)], [1n])
    const block = { header: chain.tip.header, transactions: [coinbase!, first, second] }
    const needed = coinsNeeded(block)
    expect(needed).toEqual([outputOf(coinbase!), { ...outputOf(coinbase!), vout: 1 }, outputOf(first), outputOf(second)])
  })
})
