/**
 * How long chains of unconfirmed transactions may get, of one newcomer and of a package, with the carve-out for anchors.
 * Bitcoin Core 28.1 txmempool.cpp (CalculateMemPoolAncestors, CheckPackageLimits), validation.cpp (PreChecks).
 */
import type { Tx } from '@leyden/bitcoin'
import { NO_ENTRIES } from './mempool-entry.ts'
import { parentsIn, type Mempool, type MempoolEntry } from './mempool.ts'
import { TRUC_VERSION, type ChainLimits } from './policy.ts'

/** One more child of at most this size, if it has that one parent only: the carve-out that anchor outputs rely on. */
const CARVE_OUT_VSIZE = 10_000

/** All that these stand on, themselves counted; or which limit is broken by `count` newcomers of `vsize` together on top of them. */
const ancestorsWithin = (
  parents: ReadonlySet<MempoolEntry>,
  vsize: number,
  count: number,
  limits: ChainLimits,
): ReadonlySet<MempoolEntry> | string => {
  if (parents.size === 0) return NO_ENTRIES
  const ancestors = new Set(parents)
  let total = vsize
  for (const ancestor of ancestors) {
    total += ancestor.vsize
    if (ancestor.descendantVsize + vsize > limits.descendantVsize)
      return `exceeds descendant size limit for tx ${ancestor.txid} [limit: ${limits.descendantVsize}]`
    if (ancestor.descendantCount + count > limits.descendantCount)
      return `too many descendants for tx ${ancestor.txid} [limit: ${limits.descendantCount}]`
    if (total > limits.ancestorVsize) return `exceeds ancestor size limit [limit: ${limits.ancestorVsize}]`
    for (const parent of ancestor.parents) ancestors.add(parent)
    if (ancestors.size + count > limits.ancestorCount && ancestor.parents.size > 0)
      return `too many unconfirmed ancestors [limit: ${limits.ancestorCount}]`
  }
  return ancestors
}

const findAncestors = (
  parents: ReadonlySet<MempoolEntry>,
  vsize: number,
  limits: ChainLimits,
): ReadonlySet<MempoolEntry> | string =>
  parents.size + 1 > limits.ancestorCount
    ? `too many unconfirmed parents [limit: ${limits.ancestorCount}]`
    : ancestorsWithin(parents, vsize, 1, limits)

export type AncestorOptions = {
  /** Entries in the pool that spend the same outputs. */
  readonly conflicts: ReadonlySet<MempoolEntry>
  /** Whether one that replaces one other, and one small second child, may go a little beyond. Not within packages. */
  readonly allowCarveOuts: boolean
}

/** All in the pool that a newcomer stands on; or what limit it would break. */
export const checkAncestors = (
  pool: Mempool,
  tx: Tx,
  vsize: number,
  { conflicts, allowCarveOuts }: AncestorOptions,
): ReadonlySet<MempoolEntry> | string => {
  const parents = parentsIn(pool, tx)
  let { limits } = pool.policy
  const [rival] = conflicts
  // It takes the place of that one: the chain does not grow in number, and its size is counted without.
  if (allowCarveOuts && conflicts.size === 1 && rival !== undefined)
    limits = {
      ...limits,
      descendantCount: limits.descendantCount + 1,
      descendantVsize: limits.descendantVsize + rival.descendantVsize,
    }
  const ancestors = findAncestors(parents, vsize, limits)
  if (typeof ancestors !== 'string' || !allowCarveOuts) return ancestors
  if (vsize > CARVE_OUT_VSIZE || tx.version === TRUC_VERSION) return ancestors
  const carvedOut = findAncestors(parents, vsize, {
    ancestorCount: 2,
    ancestorVsize: limits.ancestorVsize,
    descendantCount: limits.descendantCount + 1,
    descendantVsize: limits.descendantVsize + CARVE_OUT_VSIZE,
  })
  return typeof carvedOut === 'string' ? ancestors : carvedOut
}

/** What limit a package breaks; it is counted as if every member stood on all that any member stands on. */
export const checkPackageLimits = (pool: Mempool, transactions: readonly Tx[], vsize: number): string | undefined => {
  const { limits } = pool.policy
  const { length: count } = transactions
  if (count > limits.ancestorCount) return `package count ${count} exceeds ancestor count limit [limit: ${limits.ancestorCount}]`
  if (count > limits.descendantCount)
    return `package count ${count} exceeds descendant count limit [limit: ${limits.descendantCount}]`
  if (vsize > limits.ancestorVsize) return `package size ${vsize} exceeds ancestor size limit [limit: ${limits.ancestorVsize}]`
  if (vsize > limits.descendantVsize)
    return `package size ${vsize} exceeds descendant size limit [limit: ${limits.descendantVsize}]`
  const parents = new Set<MempoolEntry>()
  for (const tx of transactions) {
    for (const parent of parentsIn(pool, tx)) parents.add(parent)
    if (parents.size + count > limits.ancestorCount) return `too many unconfirmed parents [limit: ${limits.ancestorCount}]`
  }
  const ancestors = ancestorsWithin(parents, vsize, count, limits)
  return typeof ancestors === 'string' ? `possibly ${ancestors}` : undefined
}
