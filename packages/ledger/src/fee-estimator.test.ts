import { describe, expect, it } from 'vitest'
import { Sat, type Tx } from '@leyden/bitcoin'
import {
  createFeeEstimator,
  learnBlock,
  learnEntry,
  learnRemoval,
  MAX_FEE_TARGET,
  rawFeerate,
  restoreFeeEstimator,
  saveFeeEstimator,
  smartFeerate,
  type FeeEstimator,
} from './fee-estimator.ts'
import { bucketOf, FEE_BUCKETS } from './fee-stats.ts'
import { createEntry } from './mempool-entry.ts'
import type { MempoolEntry } from './mempool.ts'
import { outputOf, pay } from './testing.ts'

let made = 0
const coin = (): Tx => pay([], [BigInt(++made)])
/** A transaction that waits since `height` and pays so much for each virtual byte. */
const entry = (height: number, perVbyte: number): MempoolEntry => {
  const tx = pay([outputOf(coin())], [1n])
  const facts = { tx, modifiedFee: 0n, sigopCost: 0, bytesPerSigop: 20, time: 0, height, sequence: 1, spendsCoinbase: false }
  const { vsize } = createEntry({ ...facts, fee: Sat(0n) })
  return createEntry({ ...facts, fee: Sat(BigInt(vsize * perVbyte)) })
}
const ALONE = { fromBlock: false, inPackage: false }
const enter = (estimator: FeeEstimator, one: MempoolEntry): MempoolEntry => {
  learnEntry(estimator, one, ALONE, true)
  return one
}

/** Blocks in which what pays 20 a virtual byte confirms at once and what pays 2 after ten blocks. */
const train = (blocks: number): FeeEstimator => {
  const estimator = createFeeEstimator()
  learnBlock(estimator, [], 1)
  const slow: MempoolEntry[][] = []
  for (let height = 1; height <= blocks; height++) {
    const fast = Array.from({ length: 10 }, () => enter(estimator, entry(height, 20)))
    slow.push(Array.from({ length: 10 }, () => enter(estimator, entry(height, 2))))
    const late = slow.length > 10 ? (slow.shift() ?? []) : []
    learnBlock(estimator, [...fast, ...late], height + 1)
  }
  return estimator
}

describe('fee estimates', () => {
  it('are none before anything has confirmed, and reach half as far as the past', () => {
    const estimator = createFeeEstimator()
    expect(smartFeerate(estimator, 6, false)).toEqual({ feerate: 0, target: 0 })
    expect(smartFeerate(estimator, MAX_FEE_TARGET + 1, false)).toEqual({ feerate: 0, target: MAX_FEE_TARGET + 1 })
    expect(smartFeerate(train(9), 6, false)).toMatchObject({ target: 4 })
  })

  it('tell what confirms soon from what confirms late', () => {
    const estimator = train(60)
    const soon = smartFeerate(estimator, 2, true)
    expect(soon).toEqual({ feerate: 20_000, target: 2 })
    expect(smartFeerate(estimator, 1, true)).toEqual(soon)
    expect(smartFeerate(estimator, 24, true)).toEqual({ feerate: 2000, target: 24 })
  })

  it('say what they rest on, for each horizon that reaches so far', () => {
    const estimator = train(60)
    const short = rawFeerate(estimator, 2, 0.95, 'short')
    expect(short?.feerate).toBeCloseTo(20_000)
    expect(short?.fail).toMatchObject({ withinTarget: 0 })
    expect(short?.fail.inMempool).toBeGreaterThan(50)
    expect(rawFeerate(estimator, 13, 0.95, 'short')).toBe(undefined)
    expect(rawFeerate(estimator, 49, 0.95, 'medium')).toBe(undefined)
    expect(rawFeerate(estimator, 49, 0.95, 'long')).toBeDefined()
  })

  it('learn nothing from packages, children, lost blocks, or while we are behind', () => {
    const estimator = createFeeEstimator()
    learnBlock(estimator, [], 5)
    learnEntry(estimator, entry(5, 10), { fromBlock: true, inPackage: false }, true)
    learnEntry(estimator, entry(5, 10), { fromBlock: false, inPackage: true }, true)
    learnEntry(estimator, entry(5, 10), ALONE, false)
    learnEntry(estimator, entry(4, 10), ALONE, true)
    const child = entry(5, 10)
    child.parents = new Set([entry(5, 10)])
    learnEntry(estimator, child, ALONE, true)
    expect(estimator.tracked.size).toBe(0)
    enter(estimator, entry(5, 10))
    expect(estimator.tracked.size).toBe(1)
  })

  it('count what left unconfirmed', () => {
    const estimator = train(20)
    const left = (): number => rawFeerate(estimator, 2, 0.95, 'short')?.fail.leftMempool ?? 0
    const before = left()
    const poor = Array.from({ length: 5 }, () => enter(estimator, entry(21, 2)))
    const young = enter(estimator, entry(21, 2))
    learnRemoval(estimator, young.txid)
    expect(left()).toBe(before)
    for (let height = 22; height <= 24; height++) learnBlock(estimator, [], height)
    for (const one of poor) learnRemoval(estimator, one.txid)
    expect(left()).toBe(5)
  })

  it('outlive a restart', () => {
    const estimator = train(60)
    const again = restoreFeeEstimator(saveFeeEstimator(estimator))
    expect(smartFeerate(again, 2, true)).toEqual(smartFeerate(estimator, 2, true))
    expect(again.historicalBest - again.historicalFirst).toBe(59)
    expect(again.tracked.size).toBe(0)
    const record = saveFeeEstimator(estimator)
    expect(smartFeerate(restoreFeeEstimator({ ...record, buckets: 7 }), 2, true).feerate).toBe(0)
    expect(smartFeerate(restoreFeeEstimator({ ...record, historicalFirst: 99 }), 2, true).feerate).toBe(0)
  })

  it('sort rates into ranges, each a twentieth wider than the one before', () => {
    expect(FEE_BUCKETS.length).toBe(190)
    expect([0, 1000, 1000.1, 1050, 1050.1, 1e12].map(bucketOf)).toEqual([0, 0, 1, 1, 2, 189])
  })
})
