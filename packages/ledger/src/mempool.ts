/**
 * The mempool: transactions that wait for a block, and how they hang together. Bitcoin Core 28.1 txmempool.cpp.
 * This file holds the pool and changes it; what may enter is decided in accept.ts, what leaves for lack of room in mempool-room.ts.
 * No transaction waits here for a parent that we do not have, and no two spend the same output.
 * The sums that an entry carries about its ancestors and descendants are right after every call.
 */
import { outpointKey, txid, type Tx, type Txid, type Wtxid } from '@leyden/bitcoin'
import { EntryHeap } from './entry-heap.ts'
import { LINK_BYTES, NO_ENTRIES, type MempoolEntry } from './mempool-entry.ts'
import { DEFAULT_POLICY, type MempoolPolicy } from './policy.ts'

export type { MempoolEntry } from './mempool-entry.ts'

/** Why an entry leaves. */
export type RemovalReason = 'block' | 'conflict' | 'expiry' | 'reorg' | 'replaced' | 'sizelimit'

/** How an entry came in. */
export type EntryOrigin = {
  /** From a block that was taken back: fee floors did not apply. */
  readonly fromBlock: boolean
  /** Together with others that may pay for it. */
  readonly inPackage: boolean
}

/** Told of every change at once, with the pool's count of changes. Must not change the pool. */
export type MempoolListener = {
  readonly added?: (entry: MempoolEntry, sequence: number, origin: EntryOrigin) => void
  readonly removed?: (entry: MempoolEntry, reason: RemovalReason, sequence: number) => void
}

export type Mempool = {
  readonly policy: MempoolPolicy
  readonly entries: Map<Txid, MempoolEntry>
  /** Outpoint key to the entry that spends it. */
  readonly spenders: Map<string, MempoolEntry>
  readonly wtxids: Map<Wtxid, Txid>
  /** What the owner adds to fees or takes from them, in the eyes of miner and limits; satoshi, also of what is not here yet. */
  readonly deltas: Map<Txid, bigint>
  /** Ours, not seen to have reached any peer yet. */
  readonly unbroadcast: Set<Txid>
  /** Lowest `keepRate` first. */
  readonly evictionOrder: EntryHeap
  /** Oldest first. */
  readonly ageOrder: EntryHeap
  readonly listener: MempoolListener
  vsize: number
  fees: bigint
  /** Bytes, as `entryMemory` and the links count them. */
  memory: number
  /** Counts changes, from 1. */
  sequence: number
  /** Counts changes that may change a block template, priorities among them. */
  updates: number
  /** Rate that eviction has made the price of entry, satoshi per 1000 virtual bytes; falls with time once a block has come. */
  rollingFeeratePerKvb: number
  /** Seconds. */
  rollingSince: number
  blockSinceRise: boolean
}

/** The rate of the better of the entry alone and the entry with its descendants: what leaves first has the least. */
const keepRateOf = ({ modifiedFee, vsize, descendantFee, descendantVsize }: MempoolEntry): number =>
  Math.max(Number(modifiedFee) / vsize, Number(descendantFee) / descendantVsize)

export const createMempool = (policy: MempoolPolicy = DEFAULT_POLICY, listener: MempoolListener = {}): Mempool => ({
  policy,
  entries: new Map(),
  spenders: new Map(),
  wtxids: new Map(),
  deltas: new Map(),
  unbroadcast: new Set(),
  // Of two that pay the same the younger leaves first.
  evictionOrder: new EntryHeap('evictionSlot', (a, b) => (a.keepRate === b.keepRate ? a.time > b.time : a.keepRate < b.keepRate)),
  ageOrder: new EntryHeap('ageSlot', (a, b) => a.time < b.time),
  listener,
  vsize: 0,
  fees: 0n,
  memory: 0,
  sequence: 1,
  updates: 0,
  rollingFeeratePerKvb: 0,
  rollingSince: 0,
  blockSinceRise: false,
})

const closure = (seeds: Iterable<MempoolEntry>, next: (entry: MempoolEntry) => ReadonlySet<MempoolEntry>): Set<MempoolEntry> => {
  const found = new Set(seeds)
  // A Set that grows while it is walked is walked to its new end.
  for (const entry of found) for (const other of next(entry)) found.add(other)
  return found
}

/** These and all in the pool that they stand on. */
export const withAncestors = (entries: Iterable<MempoolEntry>): Set<MempoolEntry> => closure(entries, (entry) => entry.parents)

/** These and all in the pool that stand on them. */
export const withDescendants = (entries: Iterable<MempoolEntry>): Set<MempoolEntry> => closure(entries, (entry) => entry.children)

/** As Bitcoin Core orders ids: by their bytes, of which the text shows the last first. */
const compareTxids = (a: Txid, b: Txid): number => {
  for (let at = a.length - 2; at >= 0; at -= 2) {
    const [left, right] = [a.slice(at, at + 2), b.slice(at, at + 2)]
    if (left !== right) return left < right ? -1 : 1
  }
  return 0
}

/** Bitcoin Core's order of a set of entries: of several that are wrong, the first is the one that it tells. */
export const byTxid = (entries: Iterable<MempoolEntry>): MempoolEntry[] =>
  [...entries].sort((a, b) => compareTxids(a.txid, b.txid))

/** Parents before children, then those that pay more: Bitcoin Core's order by depth and score. */
export const inOrder = (entries: Iterable<MempoolEntry>): MempoolEntry[] =>
  [...entries].sort(
    (a, b) =>
      a.ancestorCount - b.ancestorCount ||
      Number(b.modifiedFee) / b.vsize - Number(a.modifiedFee) / a.vsize ||
      compareTxids(b.txid, a.txid),
  )

/** The entries that a transaction spends from. */
export const parentsIn = ({ entries }: Mempool, { inputs }: Tx): ReadonlySet<MempoolEntry> => {
  let parents: Set<MempoolEntry> | undefined
  for (const { outpoint } of inputs) {
    const parent = entries.get(outpoint.txid)
    if (parent !== undefined) (parents ??= new Set()).add(parent)
  }
  return parents ?? NO_ENTRIES
}

const touched = ({ evictionOrder }: Mempool, entry: MempoolEntry): void => {
  entry.keepRate = keepRateOf(entry)
  if (entry.evictionSlot >= 0) evictionOrder.moved(entry)
}

/** Most entries have no links: they share one empty set until they need their own. */
const owned = (set: ReadonlySet<MempoolEntry>): Set<MempoolEntry> => (set === NO_ENTRIES ? new Set() : (set as Set<MempoolEntry>))

const link = (pool: Mempool, parent: MempoolEntry, child: MempoolEntry): void => {
  parent.children = owned(parent.children).add(child)
  child.parents = owned(child.parents).add(parent)
  pool.memory += 2 * LINK_BYTES
}

const unlink = (pool: Mempool, parent: MempoolEntry, child: MempoolEntry): void => {
  if (!parent.children.has(child)) return
  owned(parent.children).delete(child)
  owned(child.parents).delete(parent)
  pool.memory -= 2 * LINK_BYTES
}

/** Adds an entry that accept.ts allowed and on which nothing in the pool stands (see linkChildren). */
export const addToMempool = (pool: Mempool, entry: MempoolEntry, origin: EntryOrigin): void => {
  const parents = parentsIn(pool, entry.tx)
  const ancestors = withAncestors(parents)
  for (const parent of parents) link(pool, parent, entry)
  for (const ancestor of ancestors) {
    entry.ancestorCount++
    entry.ancestorVsize += ancestor.vsize
    entry.ancestorFee += ancestor.modifiedFee
    entry.ancestorSigopCost += ancestor.sigopCost
    ancestor.descendantCount++
    ancestor.descendantVsize += entry.vsize
    ancestor.descendantFee += entry.modifiedFee
    touched(pool, ancestor)
  }
  for (const { outpoint } of entry.tx.inputs) pool.spenders.set(outpointKey(outpoint), entry)
  entry.keepRate = keepRateOf(entry)
  pool.entries.set(entry.txid, entry)
  pool.wtxids.set(entry.wtxid, entry.txid)
  pool.evictionOrder.add(entry)
  pool.ageOrder.add(entry)
  pool.vsize += entry.vsize
  pool.fees += entry.fee
  pool.memory += entry.memory
  pool.updates++
  pool.listener.added?.(entry, pool.sequence++, origin)
}

const remove = (pool: Mempool, entry: MempoolEntry, reason: RemovalReason): void => {
  const sequence = pool.sequence++
  for (const parent of entry.parents) unlink(pool, parent, entry)
  for (const child of entry.children) unlink(pool, entry, child)
  for (const { outpoint } of entry.tx.inputs) pool.spenders.delete(outpointKey(outpoint))
  pool.entries.delete(entry.txid)
  pool.wtxids.delete(entry.wtxid)
  pool.unbroadcast.delete(entry.txid)
  pool.evictionOrder.remove(entry)
  pool.ageOrder.remove(entry)
  pool.vsize -= entry.vsize
  pool.fees -= entry.fee
  pool.memory -= entry.memory
  pool.updates++
  pool.listener.removed?.(entry, reason, sequence)
}

/** Takes these and all that stand on them out; gives what went, parents first. */
export const removeWithDescendants = (
  pool: Mempool,
  entries: Iterable<MempoolEntry>,
  reason: RemovalReason,
): readonly MempoolEntry[] => {
  const gone = withDescendants(entries)
  for (const entry of gone)
    for (const ancestor of withAncestors(entry.parents)) {
      if (gone.has(ancestor)) continue
      ancestor.descendantCount--
      ancestor.descendantVsize -= entry.vsize
      ancestor.descendantFee -= entry.modifiedFee
      touched(pool, ancestor)
    }
  const ordered = inOrder(gone)
  for (const entry of ordered) remove(pool, entry, reason)
  return ordered
}

/** Takes one out whose parents have gone the same way; what stands on it stays. */
const removeConfirmed = (pool: Mempool, entry: MempoolEntry): void => {
  for (const descendant of withDescendants(entry.children)) {
    descendant.ancestorCount--
    descendant.ancestorVsize -= entry.vsize
    descendant.ancestorFee -= entry.modifiedFee
    descendant.ancestorSigopCost -= entry.sigopCost
  }
  // In a block that skips a parent the parent is a rival of the block: it is gone already.
  for (const ancestor of withAncestors(entry.parents)) {
    ancestor.descendantCount--
    ancestor.descendantVsize -= entry.vsize
    ancestor.descendantFee -= entry.modifiedFee
    touched(pool, ancestor)
  }
  remove(pool, entry, 'block')
}

/** What leaves the pool when a block is connected. */
export type BlockRemoval = { readonly confirmed: readonly MempoolEntry[]; readonly conflicted: readonly MempoolEntry[] }

/** A block's transactions leave, and whatever spends what they spend, with all that stands on it. `now` in seconds. */
export const removeForBlock = (pool: Mempool, transactions: readonly Tx[], now: number): BlockRemoval => {
  const confirmed: MempoolEntry[] = []
  const conflicted: MempoolEntry[] = []
  for (const tx of transactions) {
    const id = txid(tx)
    const entry = pool.entries.get(id)
    if (entry !== undefined) {
      removeConfirmed(pool, entry)
      confirmed.push(entry)
    }
    for (const { outpoint } of tx.inputs) {
      const rival = pool.spenders.get(outpointKey(outpoint))
      if (rival === undefined) continue
      pool.deltas.delete(rival.txid)
      conflicted.push(...removeWithDescendants(pool, [rival], 'conflict'))
    }
    pool.deltas.delete(id)
  }
  pool.rollingSince = now
  pool.blockSinceRise = true
  return { confirmed, conflicted }
}

/**
 * Links entries that came back from a lost block, parents first, with those in the pool that stand on them and were there before;
 * gives the entries whose chains have become too long by that, to be removed.
 */
export const linkChildren = (pool: Mempool, returned: readonly MempoolEntry[]): Set<MempoolEntry> => {
  const own = new Set(returned)
  const tooLong = new Set<MempoolEntry>()
  const { ancestorCount, ancestorVsize } = pool.policy.limits
  for (const entry of returned.toReversed()) {
    entry.tx.outputs.forEach((_, vout) => {
      const child = pool.spenders.get(outpointKey({ txid: entry.txid, vout }))
      if (child !== undefined && !own.has(child) && !entry.children.has(child)) link(pool, entry, child)
    })
    for (const descendant of withDescendants(entry.children)) {
      if (own.has(descendant)) continue
      entry.descendantCount++
      entry.descendantVsize += descendant.vsize
      entry.descendantFee += descendant.modifiedFee
      descendant.ancestorCount++
      descendant.ancestorVsize += entry.vsize
      descendant.ancestorFee += entry.modifiedFee
      descendant.ancestorSigopCost += entry.sigopCost
      if (descendant.ancestorCount > ancestorCount || descendant.ancestorVsize > ancestorVsize) tooLong.add(descendant)
    }
    touched(pool, entry)
  }
  return tooLong
}

/** Changes the fee of a transaction, here or not yet here, in the eyes of miner and limits. Satoshi; adds to what was said before. */
export const prioritise = (pool: Mempool, id: Txid, change: bigint): void => {
  const delta = (pool.deltas.get(id) ?? 0n) + change
  if (delta === 0n) pool.deltas.delete(id)
  else pool.deltas.set(id, delta)
  const entry = pool.entries.get(id)
  if (entry === undefined) return
  entry.modifiedFee += change
  for (const ancestor of withAncestors([entry])) {
    ancestor.descendantFee += change
    touched(pool, ancestor)
  }
  for (const descendant of withDescendants([entry])) descendant.ancestorFee += change
  pool.updates++
}
