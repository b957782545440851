/**
 * What a newcomer may do to the pool: how long chains may get (with the carve-out for anchors), topologically restricted
 * transactions (BIP 431), and what a replacement has to pay (BIP 125 rules 2 to 5 with full replaceability).
 * Bitcoin Core 28.1 policy/rbf.cpp, policy/truc_policy.cpp, txmempool.cpp (CalculateMemPoolAncestors).
 */
import type { Txid } from '@leyden/bitcoin'
import { feeratePerKvb, inOrder, totalOf, withAncestors, withDescendants, type Mempool, type MempoolEntry } from './mempool.ts'
import {
  CARVE_OUT_VSIZE,
  feeForVsize,
  INCREMENTAL_FEERATE_PER_KVB,
  MAX_ANCESTORS,
  MAX_ANCESTOR_VSIZE,
  MAX_DESCENDANTS,
  MAX_DESCENDANT_VSIZE,
  MAX_REPLACED,
  TRUC_CHILD_MAX_VSIZE,
  TRUC_MAX_VSIZE,
  TRUC_VERSION,
} from './policy.ts'
import { rejection, type Rejection } from './violation.ts'

/** A transaction that passed what can be said of it alone; `conflicts` are those in the pool that cannot stay beside it. */
export type Candidate = { readonly entry: MempoolEntry; readonly conflicts: ReadonlySet<Txid> }

/** The one other child of a restricted parent: the newcomer may take its place by paying as a replacement does. */
export const findSibling = (pool: Mempool, entry: MempoolEntry, conflicts: ReadonlySet<Txid>): Txid | undefined => {
  if (entry.tx.version !== TRUC_VERSION || entry.parents.size !== 1) return undefined
  const [parentId] = entry.parents
  const parent = pool.entries.get(parentId as Txid)
  if (parent?.children.size !== 1) return undefined
  const [siblingId] = parent.children
  const sibling = pool.entries.get(siblingId as Txid)
  return sibling === undefined || sibling.children.size > 0 || conflicts.has(sibling.txid) ? undefined : sibling.txid
}

const checkRestricted = ({ entry }: Candidate, ancestors: readonly MempoolEntry[]): Rejection | undefined => {
  const no = (detail: string): Rejection => rejection('policy', 'TRUC-violation', detail)
  const restricted = entry.tx.version === TRUC_VERSION
  for (const ancestor of ancestors)
    if ((ancestor.tx.version === TRUC_VERSION) !== restricted)
      return no(
        restricted
          ? `version=3 tx ${entry.txid} (wtxid=${entry.wtxid}) cannot spend from non-version=3 tx ${ancestor.txid} (wtxid=${ancestor.wtxid})`
          : `non-version=3 tx ${entry.txid} (wtxid=${entry.wtxid}) cannot spend from version=3 tx ${ancestor.txid} (wtxid=${ancestor.wtxid})`,
      )
  if (!restricted) return undefined
  if (entry.vsize > TRUC_MAX_VSIZE)
    return no(`version=3 tx ${entry.txid} is too big: ${entry.vsize} > ${TRUC_MAX_VSIZE} virtual bytes`)
  if (ancestors.length > 1) return no(`tx ${entry.txid} (wtxid=${entry.wtxid}) would have too many ancestors`)
  if (ancestors.length === 1 && entry.vsize > TRUC_CHILD_MAX_VSIZE)
    return no(`version=3 child tx ${entry.txid} is too big: ${entry.vsize} > ${TRUC_CHILD_MAX_VSIZE} virtual bytes`)
  return undefined
}

/** Ancestors and descendants, counted as if the conflicts had left. */
export const checkLimits = (pool: Mempool, candidate: Candidate): Rejection | undefined => {
  const { entry, conflicts } = candidate
  const gone = withDescendants(pool, conflicts)
  const ancestors = [...withAncestors(pool, entry.parents).values()]
  const spent = ancestors.find(({ txid }) => gone.has(txid))
  if (spent !== undefined)
    return rejection('policy', 'bad-txns-spends-conflicting-tx', `${entry.txid} spends conflicting transaction ${spent.txid}`)
  const restricted = checkRestricted(candidate, ancestors)
  if (restricted !== undefined) return restricted
  const no = (detail: string): Rejection => rejection('policy', 'too-long-mempool-chain', detail)
  if (ancestors.length + 1 > MAX_ANCESTORS) return no(`too many unconfirmed ancestors [limit: ${MAX_ANCESTORS}]`)
  if (totalOf(ancestors).vsize + entry.vsize > MAX_ANCESTOR_VSIZE)
    return no(`exceeds ancestor size limit [limit: ${MAX_ANCESTOR_VSIZE}]`)
  const carvedOut = ancestors.length === 1 && entry.vsize <= CARVE_OUT_VSIZE
  for (const ancestor of ancestors) {
    const below = [...withDescendants(pool, [ancestor.txid]).values()].filter(({ txid }) => !gone.has(txid))
    const { count, vsize } = totalOf(below)
    if (ancestor.tx.version === TRUC_VERSION && count + 1 > 2)
      return rejection(
        'policy',
        'TRUC-violation',
        `tx ${ancestor.txid} (wtxid=${ancestor.wtxid}) would exceed descendant count limit`,
      )
    if (count + 1 > MAX_DESCENDANTS + (carvedOut ? 1 : 0))
      return no(`too many descendants for tx ${ancestor.txid} [limit: ${MAX_DESCENDANTS}]`)
    if (vsize + entry.vsize > MAX_DESCENDANT_VSIZE + (carvedOut ? CARVE_OUT_VSIZE : 0))
      return no(`exceeds descendant size limit for tx ${ancestor.txid} [limit: ${MAX_DESCENDANT_VSIZE}]`)
  }
  return undefined
}

const addsUnconfirmed = (
  pool: Mempool,
  { entry }: Candidate,
  direct: readonly MempoolEntry[],
  own: ReadonlySet<Txid>,
): boolean => {
  const before = new Set(direct.flatMap(({ tx }) => tx.inputs.map(({ outpoint }) => outpoint.txid)))
  return entry.tx.inputs.some(({ outpoint: { txid } }) => pool.entries.has(txid) && !before.has(txid) && !own.has(txid))
}

/**
 * What these candidates (one, or a parent and its child) push out, parents first; none when nothing conflicts.
 * They must pay more than all of it together, by their own relay cost, and at a better rate than each that they replace directly.
 */
export const checkReplacement = (pool: Mempool, candidates: readonly Candidate[]): MempoolEntry[] | Rejection => {
  const directIds = new Set(candidates.flatMap(({ conflicts }) => [...conflicts]))
  const direct = [...directIds].map((id) => pool.entries.get(id)).filter((entry) => entry !== undefined)
  if (direct.length === 0) return []
  const newcomers = candidates.map(({ entry }) => entry)
  const own = new Set(newcomers.map(({ txid }) => txid))
  const id = newcomers.at(-1)?.txid
  const { fee, vsize } = totalOf(newcomers)
  const rate = feeratePerKvb(fee, vsize)
  for (const rival of direct)
    if (rate <= feeratePerKvb(rival.fee, rival.vsize))
      return rejection(
        'fee',
        'insufficient fee',
        `rejecting replacement ${id}; new feerate ${rate} <= old feerate of ${rival.txid}`,
      )
  const all = withDescendants(pool, directIds)
  if (all.size > MAX_REPLACED)
    return rejection('policy', 'too many potential replacements', `rejecting replacement ${id}; ${all.size} > ${MAX_REPLACED}`)
  for (const candidate of candidates)
    if (candidate.conflicts.size > 0 && addsUnconfirmed(pool, candidate, direct, own))
      return rejection('policy', 'replacement-adds-unconfirmed', `replacement ${candidate.entry.txid} adds unconfirmed input`)
  const lost = totalOf(all.values()).fee
  if (fee < lost)
    return rejection('fee', 'insufficient fee', `rejecting replacement ${id}, less fees than conflicting txs; ${fee} < ${lost}`)
  const step = feeForVsize(INCREMENTAL_FEERATE_PER_KVB, vsize)
  if (fee - lost < step)
    return rejection(
      'fee',
      'insufficient fee',
      `rejecting replacement ${id}, not enough additional fees to relay; ${fee - lost} < ${step}`,
    )
  return inOrder(pool, all.values())
}
