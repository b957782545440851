import { beforeEach, describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { txid, type Tx } from '@leyden/bitcoin'
import { acceptPackage } from './accept-package.ts'
import { improvesDiagram } from './mempool-replace.ts'
import { grow, outputOf, pay, toyChain, toyPool, type ToyPool } from './testing.ts'

const base = toyChain()
const coinbases = grow(base, 110)
let toy: ToyPool
beforeEach(() => {
  toy = toyPool(base, coinbases)
})
const pair = (parent: Tx, child: Tx) => acceptPackage(toy.pool, [parent, child], toy.context([parent, child]))
const why = (parent: Tx, child: Tx): string => {
  const { problem } = pair(parent, child)
  return problem === undefined ? 'ok' : `${problem.reason}${problem.detail === undefined ? '' : `, ${problem.detail}`}`
}

describe('a parent with its child that replace others', () => {
  it('pay more than all that goes and for their own relay', () => {
    toy.add(toy.spend(0, 10_000))
    const parent = toy.spend(0, 200)
    expect(why(parent, toy.on(parent, 9799))).toMatch(
      /insufficient anti-DoS fees, .* less fees than conflicting txs; 0.00009999 < 0.0001$/,
    )
    expect(why(parent, toy.on(parent, 9850))).toMatch(
      /insufficient anti-DoS fees, .* not enough additional fees to relay; 0.0000005 </,
    )
    expect(why(parent, toy.on(parent, 30_000))).toBe('ok')
  })

  it('are one chunk: the child pays the better rate', () => {
    const rival = toy.add(toy.spend(0, 1000))
    toy.add(toy.on(rival, 9000))
    const parent = toy.spend(0, 5000)
    const amounts = Array.from({ length: 40 }, () => 100_000_000n)
    const child = pay([outputOf(parent)], [4_999_995_000n - 4_000_000_000n - 9000n, ...amounts])
    expect(why(parent, child)).toMatch(
      /^package RBF failed: package feerate is less than or equal to parent feerate, package feerate 0\.0000\d+ BTC\/kvB <=/,
    )
  })

  it('stand on nothing in the pool', () => {
    const before = toy.add(toy.spend(1, 1000))
    toy.add(toy.spend(0, 1000))
    const parent = pay([outputOf(coinbases[0] as Tx), outputOf(before)], [9_999_998_000n - 300n])
    const child = toy.on(parent, 50_000)
    expect(why(parent, child)).toMatch(/transaction failed|new transaction cannot have mempool ancestors/)
    expect(toy.pool.entries.has(txid(child))).toBe(false)
  })

  it('replace only what stands alone or in twos', () => {
    const first = toy.add(toy.spend(0, 1000, {}, 2))
    const second = toy.add(toy.on(first, 1000, 0))
    toy.add(toy.on(second, 1000))
    const parent = toy.spend(0, 300)
    expect(why(parent, toy.on(parent, 50_000))).toBe(`package RBF failed: ${txid(first)} has 2 descendants, max 1 allowed`)
  })

  it('make every block that may follow better', () => {
    // The rival is small and pays a high rate: the package pays more in all, but later.
    toy.add(toy.spend(0, 20_000))
    const parent = toy.spend(0, 200)
    const wide = (fee: bigint): Tx =>
      pay([outputOf(parent)], [999_999_800n - fee, ...Array.from({ length: 40 }, () => 100_000_000n)])
    expect(why(parent, wide(24_000n))).toBe('package RBF failed: insufficient feerate: does not improve feerate diagram')
    expect(why(parent, wide(600_000n))).toBe('ok')
  })
})

describe('a fee rate diagram', () => {
  it('is better when it is nowhere lower and somewhere higher', () => {
    const chunk = (fee: number, vsize: number) => ({ fee: BigInt(fee), vsize })
    expect(improvesDiagram([chunk(1000, 100)], [chunk(1000, 100)])).toBe(false)
    expect(improvesDiagram([chunk(1000, 100)], [chunk(1001, 100)])).toBe(true)
    expect(improvesDiagram([chunk(1000, 100)], [chunk(1000, 99)])).toBe(true)
    expect(improvesDiagram([chunk(1000, 100)], [chunk(2000, 300)])).toBe(false)
    expect(improvesDiagram([chunk(900, 100), chunk(100, 100)], [chunk(1000, 100)])).toBe(true)
    expect(improvesDiagram([], [chunk(1, 100)])).toBe(true)
  })

  it('is what sums at every size say', () => {
    const chunks = fc
      .array(fc.record({ fee: fc.bigInt({ min: 0n, max: 50n }), vsize: fc.integer({ min: 1, max: 12 }) }), { maxLength: 5 })
      .map((list) => list.sort((a, b) => Number(b.fee) / b.vsize - Number(a.fee) / a.vsize || a.vsize - b.vsize))
    /** Fee within so many virtual bytes, a chunk in parts too. */
    const within = (list: readonly { fee: bigint; vsize: number }[], vsize: number): number => {
      let left = vsize
      let fee = 0
      for (const chunk of list) {
        const part = Math.min(left, chunk.vsize)
        fee += (Number(chunk.fee) * part) / chunk.vsize
        left -= part
      }
      return fee
    }
    fc.assert(
      fc.property(chunks, chunks, (before, after) => {
        let better = false
        let worse = false
        for (let vsize = 1; vsize <= 60; vsize++) {
          const difference = within(after, vsize) - within(before, vsize)
          if (difference > 1e-9) better = true
          if (difference < -1e-9) worse = true
        }
        expect(improvesDiagram(before, after)).toBe(better && !worse)
      }),
    )
  })
})
