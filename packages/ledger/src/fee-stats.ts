/**
 * How long transactions of each fee rate took to confirm, over one horizon: moving averages per bucket of rates, and what waits.
 * Bitcoin Core 28.1 policy/fees.cpp, TxConfirmStats.
 * A success rate counts what confirmed in time among all that confirmed, that still waits, and that left unconfirmed.
 */

/** `decay`: what a block leaves of the averages. `scale`: blocks to a period. */
export type Horizon = { readonly periods: number; readonly scale: number; readonly decay: number }

/** Upper bounds of the buckets, satoshi per 1000 virtual bytes, the last without bound. */
export const FEE_BUCKETS: readonly number[] = (() => {
  const bounds: number[] = []
  for (let bound = 1000; bound <= 1e7; bound *= 1.05) bounds.push(bound)
  return [...bounds, 1e99]
})()

export const bucketOf = (feeratePerKvb: number): number => {
  let low = 0
  let high = FEE_BUCKETS.length - 1
  while (low < high) {
    const middle = (low + high) >> 1
    if ((FEE_BUCKETS[middle] as number) >= feeratePerKvb) high = middle
    else low = middle + 1
  }
  return low
}

export type FeeStats = {
  readonly horizon: Horizon
  /** Averages by bucket: how many confirmed at all, and the sum of their rates. */
  readonly confirmed: Float64Array
  readonly feerates: Float64Array
  /** By period, then bucket: confirmed within so many periods; left unconfirmed after so many. */
  readonly within: Float64Array
  readonly failed: Float64Array
  /** What waits, by the height at which it came (a ring of the horizon's blocks), then bucket; and what waits longer. */
  readonly waiting: Int32Array
  readonly waitingLong: Int32Array
}

const COUNT = FEE_BUCKETS.length

export const maxConfirms = ({ periods, scale }: Horizon): number => periods * scale

export const createFeeStats = (horizon: Horizon): FeeStats => ({
  horizon,
  confirmed: new Float64Array(COUNT),
  feerates: new Float64Array(COUNT),
  within: new Float64Array(COUNT * horizon.periods),
  failed: new Float64Array(COUNT * horizon.periods),
  waiting: new Int32Array(COUNT * maxConfirms(horizon)),
  waitingLong: new Int32Array(COUNT),
})

const ringRow = ({ horizon }: FeeStats, height: number): number => {
  const size = maxConfirms(horizon)
  return (((height % size) + size) % size) * COUNT
}

/** A transaction has begun to wait. */
export const noteWaiting = (stats: FeeStats, height: number, bucket: number): void => {
  stats.waiting[ringRow(stats, height) + bucket]!++
}

/** It waits no longer. `best`: the height up to which blocks were seen. */
export const noteGone = (stats: FeeStats, height: number, best: number, bucket: number, inBlock: boolean): void => {
  const { horizon, waiting, waitingLong, failed } = stats
  const waited = best === 0 ? 0 : best - height
  if (waited < 0) return
  if (waited >= maxConfirms(horizon)) {
    if (waitingLong[bucket]! > 0) waitingLong[bucket]!--
  } else {
    const at = ringRow(stats, height) + bucket
    if (waiting[at]! > 0) waiting[at]!--
  }
  if (inBlock || waited < horizon.scale) return
  const periods = Math.min(Math.floor(waited / horizon.scale), horizon.periods)
  for (let period = 0; period < periods; period++) failed[period * COUNT + bucket]!++
}

/** A block at this height has come: what waits longer than the horizon is put aside, and the averages decay. */
export const noteBlock = (stats: FeeStats, height: number): void => {
  const { horizon, waiting, waitingLong } = stats
  const row = ringRow(stats, height)
  for (let bucket = 0; bucket < COUNT; bucket++) {
    waitingLong[bucket]! += waiting[row + bucket]!
    waiting[row + bucket] = 0
  }
  for (const averages of [stats.confirmed, stats.feerates, stats.within, stats.failed])
    for (let i = 0; i < averages.length; i++) averages[i]! *= horizon.decay
}

/** It took so many blocks (from 1) to confirm. */
export const noteConfirmed = (stats: FeeStats, blocks: number, feeratePerKvb: number): void => {
  if (blocks < 1) return
  const { horizon, confirmed, feerates, within } = stats
  const bucket = bucketOf(feeratePerKvb)
  for (let period = Math.ceil(blocks / horizon.scale); period <= horizon.periods; period++)
    within[(period - 1) * COUNT + bucket]!++
  confirmed[bucket]!++
  feerates[bucket]! += feeratePerKvb
}

/** A range of rates and what became of transactions there. */
export type FeeRange = {
  /** -1: there is no such range. */
  readonly start: number
  readonly end: number
  readonly withinTarget: number
  readonly totalConfirmed: number
  readonly inMempool: number
  readonly leftMempool: number
}

const NO_RANGE: FeeRange = { start: -1, end: -1, withinTarget: 0, totalConfirmed: 0, inMempool: 0, leftMempool: 0 }

export type FeeAnswer = {
  /** Satoshi per 1000 virtual bytes; -1 when the data does not say. */
  readonly feerate: number
  readonly pass: FeeRange
  readonly fail: FeeRange
}

type Counts = { withinTarget: number; totalConfirmed: number; inMempool: number; leftMempool: number }
const noCounts = (): Counts => ({ withinTarget: 0, totalConfirmed: 0, inMempool: 0, leftMempool: 0 })

const rangeOf = (low: number, high: number, counts: Counts): FeeRange => ({
  start: low > 0 ? (FEE_BUCKETS[low - 1] as number) : 0,
  end: FEE_BUCKETS[high] as number,
  ...counts,
})

/** The average rate of the bucket that holds the median transaction of the range. */
const medianOf = ({ confirmed, feerates }: FeeStats, low: number, high: number): number => {
  let half = 0
  for (let bucket = low; bucket <= high; bucket++) half += confirmed[bucket]!
  if (half === 0) return -1
  half /= 2
  for (let bucket = low; bucket <= high; bucket++) {
    if (confirmed[bucket]! >= half) return feerates[bucket]! / confirmed[bucket]!
    half -= confirmed[bucket]!
  }
  return -1
}

/** What has waited for at least `target` blocks, by bucket. */
const waitingFor = (stats: FeeStats, target: number, best: number): Float64Array => {
  const { horizon, waiting, waitingLong } = stats
  const sums = Float64Array.from(waitingLong)
  for (let blocks = target; blocks < maxConfirms(horizon); blocks++) {
    const row = ringRow(stats, best - blocks)
    for (let bucket = 0; bucket < COUNT; bucket++) sums[bucket]! += waiting[row + bucket]!
  }
  return sums
}

/**
 * The lowest rates of which at least `threshold` confirmed within `target` blocks, looked for from the highest down. Buckets are taken
 * together until they hold `sufficient` transactions a block.
 */
export const findFeerate = (stats: FeeStats, target: number, sufficient: number, threshold: number, best: number): FeeAnswer => {
  const { horizon, confirmed, within, failed } = stats
  const row = (Math.ceil(target / horizon.scale) - 1) * COUNT
  const waiting = waitingFor(stats, target, best)
  let counts = noCounts()
  let partial = 0
  let near = COUNT - 1
  let fresh = true
  let passing = true
  let found: { low: number; high: number; counts: Counts } | undefined
  let fail = NO_RANGE
  for (let bucket = COUNT - 1; bucket >= 0; bucket--) {
    if (fresh) {
      near = bucket
      fresh = false
    }
    counts.withinTarget += within[row + bucket]!
    partial += confirmed[bucket]!
    counts.totalConfirmed += confirmed[bucket]!
    counts.leftMempool += failed[row + bucket]!
    counts.inMempool += waiting[bucket]!
    if (partial < sufficient / (1 - horizon.decay)) continue
    partial = 0
    if (counts.withinTarget / (counts.totalConfirmed + counts.leftMempool + counts.inMempool) < threshold) {
      if (passing) fail = rangeOf(bucket, near, counts)
      passing = false
      continue
    }
    fail = NO_RANGE
    passing = true
    found = { low: bucket, high: near, counts }
    counts = noCounts()
    fresh = true
  }
  const feerate = found === undefined ? -1 : medianOf(stats, found.low, found.high)
  // Too few transactions below what passed: they count as not good enough.
  if (passing && !fresh) fail = rangeOf(0, near, counts)
  return { feerate, pass: found === undefined ? NO_RANGE : rangeOf(found.low, found.high, found.counts), fail }
}
