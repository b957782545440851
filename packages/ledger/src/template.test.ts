import { describe, expect, it } from 'vitest'
import {
  customNetwork,
  networks,
  p2pkh,
  p2sh,
  p2tr,
  p2wpkh,
  p2wsh,
  Sat,
  txid,
  txVsize,
  txWeight,
  wtxid,
  type Tx,
} from '@leyden/bitcoin'
import { blockFees, estimateFeerate, type BlockFees } from './fee-estimate.ts'
import { addToMempool, createMempool, type Mempool } from './mempool.ts'
import { blockTime } from './miner.ts'
import { dustThreshold } from './policy.ts'
import { chooseTransactions } from './template.ts'
import { grow, mine, outputOf, pay, toyChain } from './testing.ts'

const coin = (n: number) => outputOf(pay([], [BigInt(n + 1)]))
const put = (pool: Mempool, tx: Tx, fee: number | bigint): Tx => {
  addToMempool(pool, {
    tx,
    txid: txid(tx),
    wtxid: wtxid(tx),
    fee: Sat(BigInt(fee)),
    weight: txWeight(tx),
    vsize: txVsize(tx),
    sigopCost: 0,
    time: 0,
    height: 0,
    parents: new Set(),
    children: new Set(),
  })
  return tx
}
const chosen = (pool: Mempool, maxWeight?: number): string[] =>
  chooseTransactions(pool, maxWeight).entries.map((entry) => entry.txid)

describe('the next block', () => {
  it('takes what pays best first, and nothing below the floor', () => {
    const pool = createMempool()
    const poor = put(pool, pay([coin(0)], [1n]), 200)
    const rich = put(pool, pay([coin(1)], [1n]), 5000)
    put(pool, pay([coin(2)], [1n]), 10)
    expect(chosen(pool)).toEqual([txid(rich), txid(poor)])
    expect(chooseTransactions(pool).fees).toBe(5200n)
  })

  it('takes a parent for its child, before it', () => {
    const pool = createMempool()
    const parent = put(pool, pay([coin(0)], [1000n]), 0)
    const middle = put(pool, pay([coin(1)], [1n]), 3000)
    const child = put(pool, pay([outputOf(parent)], [1n]), 9000)
    expect(chosen(pool)).toEqual([txid(parent), txid(child), txid(middle)])
  })

  it('does not charge a second child for a parent that is in already', () => {
    const pool = createMempool()
    const parent = put(pool, pay([coin(0)], [1000n, 1000n]), 0)
    const first = put(pool, pay([outputOf(parent, 0)], [1n]), 9000)
    const second = put(pool, pay([outputOf(parent, 1)], [1n]), 2000)
    const other = put(pool, pay([coin(1)], [1n]), 1500)
    expect(chosen(pool)).toEqual([txid(parent), txid(first), txid(second), txid(other)])
  })

  it('passes over what does not fit', () => {
    const pool = createMempool()
    const big = put(
      pool,
      pay(
        [coin(0)],
        Array.from({ length: 50 }, () => 1n),
      ),
      1_000_000,
    )
    const small = put(pool, pay([coin(1)], [1n]), 1000)
    expect(chosen(pool, txWeight(big) - 1)).toEqual([txid(small)])
    expect(chosen(pool, txWeight(big))).toEqual([txid(big)])
  })
})

describe('a fee estimate', () => {
  const full = (low: number): BlockFees => ({ weight: 3_990_000, lowFeeratePerKvb: low })
  const empty: BlockFees = { weight: 10_000, lowFeeratePerKvb: 90_000 }

  it('is the floor while blocks have room', () => {
    expect(estimateFeerate(createMempool(), [], 6)).toBe(1000)
    expect(estimateFeerate(createMempool(), [empty, empty, empty], 2)).toBe(1000)
  })

  it('is what would have been enough at any time in the recent past', () => {
    const history = [full(5000), full(9000), full(3000), full(8000), full(7000), empty, full(4000)]
    expect(estimateFeerate(createMempool(), history, 1)).toBe(9000)
    expect(estimateFeerate(createMempool(), history, 2)).toBe(7000)
    expect(estimateFeerate(createMempool(), history, 6)).toBe(1000)
  })

  it('rises when more waits than the next blocks can take', () => {
    const pool = createMempool()
    for (let n = 0; n < 12; n++) {
      const tx = pay(
        [coin(n)],
        Array.from({ length: 2300 }, () => 1n),
      )
      put(pool, tx, 2 * (n + 1) * txVsize(tx))
    }
    const next = estimateFeerate(pool, [], 1)
    expect(next).toBeGreaterThan(4000)
    expect(estimateFeerate(pool, [], 2)).toBe(1000)
  })

  it('reads a block: its weight, and the rate of its lowest tenth', () => {
    const txs = Array.from({ length: 20 }, (_, n) => pay([coin(n)], [1n]))
    const block = mine(toyChain(), txs)
    const size = txVsize(txs[0]!)
    const told = blockFees(
      block,
      txs.map((_, n) => BigInt(size * (n + 1))),
    )
    expect(told.lowFeeratePerKvb).toBe(2000)
  })
})

describe('the time of a block', () => {
  it('is now, or just after the median of the past', () => {
    const chain = toyChain()
    const past = chain.tip.header.time
    expect(blockTime(networks.regtest, chain.tip, past + 50)).toBe(past + 50)
    expect(blockTime(networks.regtest, chain.tip, 0)).toBe(past + 1)
  })

  it('does not go back over the start of a period (BIP 94)', () => {
    const strict = customNetwork(networks.regtest, {
      name: 'strict',
      magic: Uint8Array.of(1, 2, 3, 4),
      enforceBip94: true,
      targetTimespanSeconds: 600,
    })
    const chain = toyChain(strict)
    grow(chain, 3)
    const late = { ...chain.tip.header, time: chain.tip.header.time + 90_000 }
    const parent = { ...chain.tip, header: late, parent: chain.tip }
    expect(blockTime(strict, parent, 0)).toBe(parent.header.time - 600)
    expect(blockTime(networks.regtest, parent, 0)).toBeLessThan(parent.header.time - 600)
  })
})

describe('dust', () => {
  const least = (scriptPubKey: Uint8Array): bigint => dustThreshold({ value: Sat(0n), scriptPubKey })
  it('is what Bitcoin Core says (BOLT 3 § Dust Limits)', () => {
    expect(least(p2pkh(new Uint8Array(20)))).toBe(546n)
    expect(least(p2sh(new Uint8Array(20)))).toBe(540n)
    expect(least(p2wpkh(new Uint8Array(20)))).toBe(294n)
    expect(least(p2wsh(new Uint8Array(32)))).toBe(330n)
    expect(least(p2tr(new Uint8Array(32)))).toBe(330n)
    expect(least(Uint8Array.of(0x6a))).toBe(0n)
  })
})
