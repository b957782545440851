/**
 * Fee rates from what confirmed: Bitcoin Core 28.1 policy/fees.cpp, CBlockPolicyEstimator. Three horizons: hours, days, a week.
 * Only transactions that this node saw enter its mempool by their own merit and then saw in a block teach anything; where there is
 * too little of that, fee-estimate.ts reads the blocks themselves.
 */
import type { Txid } from '@leyden/bitcoin'
import { feeratePerKvb } from './fee-rate.ts'
import {
  bucketOf,
  createFeeStats,
  FEE_BUCKETS,
  findFeerate,
  maxConfirms,
  noteBlock,
  noteConfirmed,
  noteGone,
  noteWaiting,
  type FeeAnswer,
  type FeeStats,
  type Horizon,
} from './fee-stats.ts'
import type { EntryOrigin, MempoolEntry } from './mempool.ts'

export type HorizonName = 'short' | 'medium' | 'long'

export const FEE_HORIZONS: { readonly [name in HorizonName]: Horizon } = {
  short: { periods: 12, scale: 1, decay: 0.962 },
  medium: { periods: 24, scale: 2, decay: 0.9952 },
  long: { periods: 42, scale: 24, decay: 0.99931 },
}
const NAMES = ['short', 'medium', 'long'] as const

/** The longest wait that anything is said about, in blocks. */
export const MAX_FEE_TARGET: number = maxConfirms(FEE_HORIZONS.long)

/** Transactions a block that a range of rates must have seen. */
const SUFFICIENT: { readonly [name in HorizonName]: number } = { short: 0.5, medium: 0.1, long: 0.1 }

/** Shares that must have confirmed within half the target, the target, and twice the target. */
const HALF_SUCCESS = 0.6
const SUCCESS = 0.85
const DOUBLE_SUCCESS = 0.95

/** Blocks after which what an earlier run learnt says nothing about how far ahead can be estimated. */
const OLDEST_HISTORY_BLOCKS = 6 * 1008

export type FeeEstimator = {
  readonly stats: { readonly [name in HorizonName]: FeeStats }
  /** What waits and will teach something. */
  readonly tracked: Map<Txid, { readonly height: number; readonly bucket: number }>
  /** The highest block seen. */
  best: number
  /** The block of this run that taught first; 0 for none. */
  first: number
  /** The blocks between which an earlier run learnt. */
  historicalFirst: number
  historicalBest: number
}

export const createFeeEstimator = (): FeeEstimator => ({
  stats: {
    short: createFeeStats(FEE_HORIZONS.short),
    medium: createFeeStats(FEE_HORIZONS.medium),
    long: createFeeStats(FEE_HORIZONS.long),
  },
  tracked: new Map(),
  best: 0,
  first: 0,
  historicalFirst: 0,
  historicalBest: 0,
})

const each = ({ stats }: FeeEstimator, act: (stats: FeeStats) => void): void => {
  for (const name of NAMES) act(stats[name])
}

/** A transaction has entered the mempool. `current`: our chain is up to date, so that waiting is the miners' doing. */
export const learnEntry = (estimator: FeeEstimator, entry: MempoolEntry, origin: EntryOrigin, current: boolean): void => {
  const { tracked, best } = estimator
  if (tracked.has(entry.txid) || entry.height !== best) return
  if (origin.fromBlock || origin.inPackage || !current || entry.parents.size > 0) return
  const bucket = bucketOf(feeratePerKvb(entry.fee, entry.vsize))
  tracked.set(entry.txid, { height: entry.height, bucket })
  each(estimator, (stats) => noteWaiting(stats, entry.height, bucket))
}

const forget = (estimator: FeeEstimator, id: Txid, inBlock: boolean): boolean => {
  const known = estimator.tracked.get(id)
  if (known === undefined) return false
  each(estimator, (stats) => noteGone(stats, known.height, estimator.best, known.bucket, inBlock))
  return estimator.tracked.delete(id)
}

/** It has left the mempool, and not into a block. */
export const learnRemoval = (estimator: FeeEstimator, id: Txid): void => void forget(estimator, id, false)

/** A block has taken these from the mempool. A height that was seen before teaches nothing. */
export const learnBlock = (estimator: FeeEstimator, confirmed: readonly MempoolEntry[], height: number): void => {
  if (height <= estimator.best) return
  estimator.best = height
  each(estimator, (stats) => noteBlock(stats, height))
  let counted = 0
  for (const entry of confirmed) {
    if (!forget(estimator, entry.txid, true) || height <= entry.height) continue
    const rate = feeratePerKvb(entry.fee, entry.vsize)
    each(estimator, (stats) => noteConfirmed(stats, height - entry.height, rate))
    counted++
  }
  if (estimator.first === 0 && counted > 0) estimator.first = height
}

const blockSpan = ({ first, best }: FeeEstimator): number => (first === 0 ? 0 : best - first)
const historicalSpan = ({ historicalFirst, historicalBest, best }: FeeEstimator): number =>
  historicalFirst === 0 || best - historicalBest > OLDEST_HISTORY_BLOCKS ? 0 : historicalBest - historicalFirst

/** The longest wait that the data says anything about. */
const maxUsableTarget = (estimator: FeeEstimator): number =>
  Math.min(MAX_FEE_TARGET, Math.floor(Math.max(blockSpan(estimator), historicalSpan(estimator)) / 2))

/** What one horizon says; undefined when it does not reach so far. */
export const rawFeerate = (
  estimator: FeeEstimator,
  target: number,
  threshold: number,
  name: HorizonName,
): FeeAnswer | undefined =>
  target < 1 || target > maxConfirms(FEE_HORIZONS[name])
    ? undefined
    : findFeerate(estimator.stats[name], target, SUFFICIENT[name], threshold, estimator.best)

const rateIn = (estimator: FeeEstimator, target: number, threshold: number, name: HorizonName): number =>
  rawFeerate(estimator, target, threshold, name)?.feerate ?? -1

/** From the shortest horizon that reaches the target; a shorter one may lower the answer by what it says at its end. */
const combined = (estimator: FeeEstimator, target: number, threshold: number, checkShorter: boolean): number => {
  if (target < 1) return -1
  const reaching = NAMES.find((name) => target <= maxConfirms(FEE_HORIZONS[name]))
  if (reaching === undefined) return -1
  let estimate = rateIn(estimator, target, threshold, reaching)
  if (!checkShorter) return estimate
  for (const name of ['medium', 'short'] as const) {
    const end = maxConfirms(FEE_HORIZONS[name])
    if (target <= end) continue
    const shorter = rateIn(estimator, end, threshold, name)
    if (shorter > 0 && (estimate === -1 || shorter < estimate)) estimate = shorter
  }
  return estimate
}

/** What holds over the longer horizons too. */
const conservatively = (estimator: FeeEstimator, doubleTarget: number): number => {
  const medium = doubleTarget <= maxConfirms(FEE_HORIZONS.short) ? rateIn(estimator, doubleTarget, DOUBLE_SUCCESS, 'medium') : -1
  const long = doubleTarget <= maxConfirms(FEE_HORIZONS.medium) ? rateIn(estimator, doubleTarget, DOUBLE_SUCCESS, 'long') : -1
  return Math.max(medium, long)
}

/**
 * Rate at which a transaction confirms within `target` blocks: satoshi per 1000 virtual bytes, 0 when too little is known.
 * `target` of the answer is the one that could be answered, at least 2.
 */
export const smartFeerate = (
  estimator: FeeEstimator,
  target: number,
  conservative: boolean,
): { readonly feerate: number; readonly target: number } => {
  if (target < 1 || target > MAX_FEE_TARGET) return { feerate: 0, target }
  const usable = Math.min(Math.max(target, 2), maxUsableTarget(estimator))
  if (usable <= 1) return { feerate: 0, target: usable }
  let rate = Math.max(
    combined(estimator, Math.floor(usable / 2), HALF_SUCCESS, true),
    combined(estimator, usable, SUCCESS, true),
    combined(estimator, 2 * usable, DOUBLE_SUCCESS, !conservative),
  )
  if (conservative || rate === -1) rate = Math.max(rate, conservatively(estimator, 2 * usable))
  return { feerate: rate < 0 ? 0 : Math.round(rate), target: usable }
}

/** What outlives a restart. What waits is not among it: it counts as having left. */
export type FeeEstimatorRecord = {
  readonly buckets: number
  readonly best: number
  readonly historicalFirst: number
  readonly historicalBest: number
  readonly stats: { readonly [name in HorizonName]: { readonly [field in (typeof SAVED)[number]]: Uint8Array } }
}

const SAVED = ['confirmed', 'feerates', 'within', 'failed'] as const

const bytesOf = (numbers: Float64Array): Uint8Array => {
  const bytes = new Uint8Array(numbers.length * 8)
  const view = new DataView(bytes.buffer)
  numbers.forEach((n, i) => view.setFloat64(i * 8, n, true))
  return bytes
}

const saveStats = (stats: FeeStats): { [field in (typeof SAVED)[number]]: Uint8Array } => ({
  confirmed: bytesOf(stats.confirmed),
  feerates: bytesOf(stats.feerates),
  within: bytesOf(stats.within),
  failed: bytesOf(stats.failed),
})

export const saveFeeEstimator = (estimator: FeeEstimator): FeeEstimatorRecord => {
  const { stats, best, first, historicalFirst, historicalBest } = estimator
  const ownIsLonger = blockSpan(estimator) > historicalSpan(estimator) / 2
  return {
    buckets: FEE_BUCKETS.length,
    best,
    historicalFirst: ownIsLonger ? first : historicalFirst,
    historicalBest: ownIsLonger ? best : historicalBest,
    stats: { short: saveStats(stats.short), medium: saveStats(stats.medium), long: saveStats(stats.long) },
  }
}

/** Reverse of saveFeeEstimator; a fresh one when the record is of other buckets or damaged. */
export const restoreFeeEstimator = (record: FeeEstimatorRecord): FeeEstimator => {
  const estimator = createFeeEstimator()
  const fits = NAMES.every((name) =>
    SAVED.every((field) => record.stats?.[name]?.[field]?.length === estimator.stats[name][field].length * 8),
  )
  const { best, historicalFirst, historicalBest } = record
  if (record.buckets !== FEE_BUCKETS.length || !fits) return estimator
  if (historicalFirst > historicalBest || historicalBest > best) return estimator
  for (const name of NAMES)
    for (const field of SAVED) {
      const bytes = record.stats[name][field]
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
      const numbers = estimator.stats[name][field]
      for (let i = 0; i < numbers.length; i++) numbers[i] = view.getFloat64(i * 8, true)
    }
  return Object.assign(estimator, { best, historicalFirst, historicalBest })
}
