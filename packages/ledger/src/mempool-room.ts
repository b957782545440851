/**
 * Room in the mempool: what is too old leaves, then what pays least, and eviction sets the price of entry, which halves twice a day
 * once blocks come again. Bitcoin Core 28.1 txmempool.cpp, GetMinFee, TrimToSize, Expire.
 */
import { feeratePerKvb } from './fee-rate.ts'
import { removeWithDescendants, type Mempool, type MempoolEntry } from './mempool.ts'

/** Seconds in which the price of entry falls by half while the pool is at least half full. */
const ROLLING_HALFLIFE_SECONDS = 12 * 3600
const ROLLING_STEP_SECONDS = 10

/** What eviction has made the price of entry, now (seconds); 0 when it asks for nothing. Satoshi per 1000 virtual bytes. */
export const rollingFeeratePerKvb = (pool: Mempool, now: number): number => {
  const { incrementalFeeratePerKvb: step, maxBytes } = pool.policy
  if (!pool.blockSinceRise || pool.rollingFeeratePerKvb === 0) return Math.round(pool.rollingFeeratePerKvb)
  if (now > pool.rollingSince + ROLLING_STEP_SECONDS) {
    const emptiness = pool.memory < maxBytes / 4 ? 4 : pool.memory < maxBytes / 2 ? 2 : 1
    pool.rollingFeeratePerKvb /= 2 ** ((now - pool.rollingSince) / (ROLLING_HALFLIFE_SECONDS / emptiness))
    pool.rollingSince = now
    if (pool.rollingFeeratePerKvb < step / 2) {
      pool.rollingFeeratePerKvb = 0
      return 0
    }
  }
  return Math.max(Math.round(pool.rollingFeeratePerKvb), step)
}

/** Satoshi per 1000 virtual bytes that a newcomer has to pay at least. `now` in seconds. */
export const minFeeratePerKvb = (pool: Mempool, now: number): number =>
  Math.max(pool.policy.minRelayFeeratePerKvb, rollingFeeratePerKvb(pool, now))

const raisePrice = (pool: Mempool, feerate: number): void => {
  if (feerate <= pool.rollingFeeratePerKvb) return
  pool.rollingFeeratePerKvb = feerate
  pool.blockSinceRise = false
}

/** Lets go of what is too old and then, while there is too much, of the packages that pay least. Gives what went. */
export const trimMempool = (pool: Mempool, now: number): readonly MempoolEntry[] => {
  const { maxBytes, expirySeconds, incrementalFeeratePerKvb } = pool.policy
  const gone: MempoolEntry[] = []
  const expired: MempoolEntry[] = []
  for (let oldest = pool.ageOrder.first; oldest !== undefined; oldest = pool.ageOrder.first) {
    if (oldest.time >= now - expirySeconds) break
    expired.push(...removeWithDescendants(pool, [oldest], 'expiry'))
  }
  gone.push(...expired)
  for (let worst = pool.evictionOrder.first; worst !== undefined && pool.memory > maxBytes; worst = pool.evictionOrder.first) {
    raisePrice(pool, feeratePerKvb(worst.descendantFee, worst.descendantVsize) + incrementalFeeratePerKvb)
    gone.push(...removeWithDescendants(pool, [worst], 'sizelimit'))
  }
  return gone
}
