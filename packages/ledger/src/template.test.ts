import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  customNetwork,
  networks,
  outpointKey,
  p2pkh,
  p2sh,
  p2tr,
  p2wpkh,
  p2wsh,
  Sat,
  txid,
  txVsize,
  txWeight,
  type Tx,
} from '@leyden/bitcoin'
import { blockFees, estimateFeerate, type BlockFees } from './fee-estimate.ts'
import { createEntry } from './mempool-entry.ts'
import { addToMempool, createMempool, inOrder, prioritise, withAncestors, type Mempool, type MempoolEntry } from './mempool.ts'
import { blockTime } from './miner.ts'
import { dustThreshold } from './policy.ts'
import { chooseTransactions } from './template.ts'
import { grow, mine, outputOf, pay, toyChain } from './testing.ts'

const coin = (n: number) => outputOf(pay([], [BigInt(n + 1)]))
const put = (pool: Mempool, tx: Tx, fee: number | bigint, sigopCost = 0): Tx => {
  const paid = Sat(BigInt(fee))
  const facts = { tx, fee: paid, modifiedFee: paid, sigopCost, bytesPerSigop: 20, time: 0, height: 0, sequence: 1 }
  addToMempool(pool, createEntry({ ...facts, spendsCoinbase: false }), { fromBlock: false, inPackage: false })
  return tx
}
const PLACE = { height: 1, medianTimePast: 0 }
/** `room`: weight beside the coinbase's share. */
const choose = (pool: Mempool, room = 3_992_000) =>
  chooseTransactions(pool, PLACE, { maxWeight: 4000 + room, minFeeratePerKvb: 1000 })
const chosen = (pool: Mempool, room?: number): string[] => choose(pool, room).entries.map((entry) => entry.txid)

describe('the next block', () => {
  it('takes what pays best first, and nothing below the floor', () => {
    const pool = createMempool()
    const poor = put(pool, pay([coin(0)], [1n]), 200)
    const rich = put(pool, pay([coin(1)], [1n]), 5000)
    put(pool, pay([coin(2)], [1n]), 10)
    expect(chosen(pool)).toEqual([txid(rich), txid(poor)])
    expect(choose(pool).fees).toBe(5200n)
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
    expect(chosen(pool, 4 * txVsize(big))).toEqual([txid(small)])
    expect(chosen(pool, 4 * txVsize(big) + 1)).toEqual([txid(big)])
    expect(choose(pool).weight).toBe(4000 + txWeight(big) + txWeight(small))
  })

  it('sees fees as the owner has changed them, and claims what is paid', () => {
    const pool = createMempool()
    const low = put(pool, pay([coin(0)], [1n]), 1000)
    const high = put(pool, pay([coin(1)], [1n]), 5000)
    prioritise(pool, txid(low), 10_000n)
    expect(chosen(pool)).toEqual([txid(low), txid(high)])
    prioritise(pool, txid(high), -5000n)
    expect(chosen(pool)).toEqual([txid(low)])
    expect(choose(pool).fees).toBe(1000n)
  })

  it('leaves out what is not final yet, and what spends from it', () => {
    const pool = createMempool()
    const early = put(pool, pay([coin(0)], [1000n], { lockTime: 1 }), 5000)
    put(pool, pay([outputOf(early)], [1n]), 50_000)
    const now = put(pool, pay([coin(1)], [1n], { lockTime: 0 }), 1000)
    expect(chosen(pool)).toEqual([txid(now)])
  })

  it('stays below the signature operations of a block', () => {
    const pool = createMempool()
    const many = put(pool, pay([coin(0)], [1n]), 50_000_000, 79_600)
    const few = put(pool, pay([coin(1)], [1n]), 1000, 100)
    expect(chosen(pool)).toEqual([txid(few)])
    expect(chosen(pool)).not.toContain(txid(many))
  })

  it('is of the best rate, and whole, whatever hangs on whatever', () => {
    const step = fc.record({ on: fc.option(fc.nat(40)), fee: fc.nat(30_000), out: fc.nat(2) })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const pool = createMempool()
        const made: Tx[] = []
        for (const [n, { on, fee, out }] of steps.entries()) {
          const parent = on === null ? undefined : made[on % Math.max(1, made.length)]
          const from = parent === undefined ? coin(n) : outputOf(parent, out)
          if (pool.spenders.has(outpointKey(from))) continue
          made.push(put(pool, pay([from], [BigInt(n) + 1n, 2n, 3n]), fee))
        }
        const { entries } = choose(pool, 8000)
        const seen = new Set<MempoolEntry>()
        for (const entry of entries) {
          for (const parent of entry.parents) expect(seen.has(parent)).toBe(true)
          seen.add(entry)
        }
        // Against the plain way of it: rank all again after each choice.
        expect(entries.map(({ txid: id }) => id)).toEqual(plainly(pool, 8000))
      }),
      { numRuns: 60 },
    )
  })
})

/** The choice made slowly: the best package by ancestor rate is looked for among all, again and again. */
const plainly = (pool: Mempool, room: number): string[] => {
  const taken: MempoolEntry[] = []
  const failed = new Set<MempoolEntry>()
  let weight = 0
  for (;;) {
    const ranked = [...pool.entries.values()]
      .filter((entry) => !taken.includes(entry) && !failed.has(entry))
      .map((entry) => {
        const members = [...withAncestors([entry])].filter((one) => !taken.includes(one))
        const fee = members.reduce((sum, one) => sum + Number(one.fee), 0)
        const vsize = members.reduce((sum, one) => sum + one.vsize, 0)
        return { entry, members, fee, vsize, rank: Math.min(fee / vsize, Number(entry.fee) / entry.vsize) }
      })
      .sort((a, b) => b.rank - a.rank || (a.entry.txid < b.entry.txid ? -1 : 1))
    const [best] = ranked
    if (best === undefined || best.fee < best.vsize) break
    if (weight + 4 * best.vsize >= room) {
      failed.add(best.entry)
      continue
    }
    for (const entry of inOrder(best.members)) {
      taken.push(entry)
      weight += entry.weight
    }
  }
  return taken.map(({ txid: id }) => id)
}

describe('a fee estimate', () => {
  const full = (low: number): BlockFees => ({ weight: 3_990_000, lowFeeratePerKvb: low })
  const empty: BlockFees = { weight: 10_000, lowFeeratePerKvb: 90_000 }

  it('is the floor while blocks have room', () => {
    expect(estimateFeerate(createMempool(), [], 6, 0)).toBe(1000)
    expect(estimateFeerate(createMempool(), [empty, empty, empty], 2, 0)).toBe(1000)
  })

  it('is what would have been enough at any time in the recent past', () => {
    const history = [full(5000), full(9000), full(3000), full(8000), full(7000), empty, full(4000)]
    expect(estimateFeerate(createMempool(), history, 1, 0)).toBe(9000)
    expect(estimateFeerate(createMempool(), history, 2, 0)).toBe(7000)
    expect(estimateFeerate(createMempool(), history, 6, 0)).toBe(1000)
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
    const next = estimateFeerate(pool, [], 1, 0)
    expect(next).toBeGreaterThan(4000)
    expect(estimateFeerate(pool, [], 2, 0)).toBe(1000)
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
    const loose = { ...strict, enforceBip94: false }
    expect(blockTime(loose, parent, 0)).toBeLessThan(parent.header.time - 600)
  })
})

describe('dust', () => {
  const least = (scriptPubKey: Uint8Array): bigint => dustThreshold({ value: Sat(0n), scriptPubKey }, 3000)
  it('is what Bitcoin Core says (BOLT 3 § Dust Limits)', () => {
    expect(least(p2pkh(new Uint8Array(20)))).toBe(546n)
    expect(least(p2sh(new Uint8Array(20)))).toBe(540n)
    expect(least(p2wpkh(new Uint8Array(20)))).toBe(294n)
    expect(least(p2wsh(new Uint8Array(32)))).toBe(330n)
    expect(least(p2tr(new Uint8Array(32)))).toBe(330n)
    expect(least(Uint8Array.of(0x6a))).toBe(0n)
  })
})
