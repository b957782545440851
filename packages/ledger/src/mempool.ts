/**
 * The mempool: transactions that wait for a block, and how they hang together.
 * This file holds the pool and changes it; what may enter is decided in accept.ts, which never changes anything.
 * No transaction waits here for a parent that we do not have, and no two spend the same output.
 */
import { outpointKey, txid, type Sat, type Tx, type Txid, type Wtxid } from '@leyden/bitcoin'
import { INCREMENTAL_FEERATE_PER_KVB, MIN_RELAY_FEERATE_PER_KVB } from './policy.ts'

export type MempoolEntry = {
  readonly tx: Tx
  readonly txid: Txid
  readonly wtxid: Wtxid
  readonly fee: Sat
  readonly weight: number
  /** Virtual bytes as policy counts them. */
  readonly vsize: number
  readonly sigopCost: number
  /** When it came, seconds. */
  readonly time: number
  /** Height of the tip when it came. */
  readonly height: number
  /** Transactions in the pool that it spends from, and that spend from it: kept by add and remove. */
  readonly parents: Set<Txid>
  readonly children: Set<Txid>
}

export type Mempool = {
  readonly entries: Map<Txid, MempoolEntry>
  /** Outpoint key to the transaction in the pool that spends it. */
  readonly spenders: Map<string, Txid>
  readonly wtxids: Map<Wtxid, Txid>
  readonly maxVsize: number
  vsize: number
  fees: bigint
  /** Rate that eviction has made the price of entry, satoshi per 1000 virtual bytes; falls with each block. */
  evictionFeeratePerKvb: number
}

/** Bitcoin Core's default of 300 MB counts memory; virtual bytes take about four times their size there and here. */
const DEFAULT_MAX_VSIZE = 75_000_000

export const createMempool = (maxVsize = DEFAULT_MAX_VSIZE): Mempool => ({
  entries: new Map(),
  spenders: new Map(),
  wtxids: new Map(),
  maxVsize,
  vsize: 0,
  fees: 0n,
  evictionFeeratePerKvb: 0,
})

/** Satoshi per 1000 virtual bytes that a newcomer has to pay at least. */
export const minFeeratePerKvb = (pool: Mempool): number => Math.max(MIN_RELAY_FEERATE_PER_KVB, pool.evictionFeeratePerKvb)

const closure = (
  pool: Mempool,
  seeds: Iterable<Txid>,
  next: (entry: MempoolEntry) => Iterable<Txid>,
): Map<Txid, MempoolEntry> => {
  const found = new Map<Txid, MempoolEntry>()
  const waiting = [...seeds]
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    const entry = pool.entries.get(id)
    if (entry === undefined || found.has(id)) continue
    found.set(id, entry)
    waiting.push(...next(entry))
  }
  return found
}

/** These transactions and all in the pool that they stand on. */
export const withAncestors = (pool: Mempool, ids: Iterable<Txid>): Map<Txid, MempoolEntry> =>
  closure(pool, ids, (entry) => entry.parents)

/** These transactions and all in the pool that stand on them. */
export const withDescendants = (pool: Mempool, ids: Iterable<Txid>): Map<Txid, MempoolEntry> =>
  closure(pool, ids, (entry) => entry.children)

/** Entries with every parent before its children. */
export const inOrder = (pool: Mempool, entries: Iterable<MempoolEntry> = pool.entries.values()): MempoolEntry[] => {
  const chosen = new Set(entries)
  const ordered = new Set<MempoolEntry>()
  for (const first of chosen) {
    const path = [first]
    for (let entry = path.at(-1); entry !== undefined; entry = path.at(-1)) {
      const missing = [...entry.parents]
        .map((id) => pool.entries.get(id))
        .find((parent) => parent !== undefined && chosen.has(parent) && !ordered.has(parent))
      if (missing === undefined) {
        ordered.add(entry)
        path.pop()
      } else path.push(missing)
    }
  }
  return [...ordered]
}

/** Adds an entry that accept.ts allowed; its links are made here. */
export const addToMempool = (pool: Mempool, entry: MempoolEntry): void => {
  entry.parents.clear()
  entry.children.clear()
  for (const { outpoint } of entry.tx.inputs) {
    pool.spenders.set(outpointKey(outpoint), entry.txid)
    const parent = pool.entries.get(outpoint.txid)
    if (parent === undefined) continue
    entry.parents.add(parent.txid)
    parent.children.add(entry.txid)
  }
  entry.tx.outputs.forEach((_, vout) => {
    const spender = pool.spenders.get(outpointKey({ txid: entry.txid, vout }))
    const child = spender === undefined ? undefined : pool.entries.get(spender)
    if (child === undefined) return
    child.parents.add(entry.txid)
    entry.children.add(child.txid)
  })
  pool.entries.set(entry.txid, entry)
  pool.wtxids.set(entry.wtxid, entry.txid)
  pool.vsize += entry.vsize
  pool.fees += entry.fee
}

/** Takes one entry out; what spends from it stays (its parent is in a block now, or the caller removes it too). */
export const removeFromMempool = (pool: Mempool, id: Txid): MempoolEntry | undefined => {
  const entry = pool.entries.get(id)
  if (entry === undefined) return undefined
  pool.entries.delete(id)
  pool.wtxids.delete(entry.wtxid)
  pool.vsize -= entry.vsize
  pool.fees -= entry.fee
  for (const { outpoint } of entry.tx.inputs)
    if (pool.spenders.get(outpointKey(outpoint)) === id) pool.spenders.delete(outpointKey(outpoint))
  for (const parent of entry.parents) pool.entries.get(parent)?.children.delete(id)
  for (const child of entry.children) pool.entries.get(child)?.parents.delete(id)
  return entry
}

/** Takes these and all that stand on them out; gives what went, parents first. */
export const removeWithDescendants = (pool: Mempool, ids: Iterable<Txid>): MempoolEntry[] => {
  const gone = inOrder(pool, withDescendants(pool, ids).values())
  for (const entry of gone) removeFromMempool(pool, entry.txid)
  return gone
}

/** Empties the pool; the price of entry stays. */
export const clearMempool = (pool: Mempool): void => {
  pool.entries.clear()
  pool.spenders.clear()
  pool.wtxids.clear()
  pool.vsize = 0
  pool.fees = 0n
}

/** What leaves the pool when a block is connected. */
export type BlockRemoval = { readonly confirmed: readonly MempoolEntry[]; readonly conflicted: readonly MempoolEntry[] }

/** A block's transactions leave, and whatever spends what they spend, with all that stands on it. */
export const planBlockRemoval = (pool: Mempool, transactions: readonly Tx[]): BlockRemoval => {
  const mined = new Set(transactions.map(txid))
  const rivals = new Set<Txid>()
  for (const tx of transactions)
    for (const { outpoint } of tx.inputs) {
      const spender = pool.spenders.get(outpointKey(outpoint))
      if (spender !== undefined && !mined.has(spender)) rivals.add(spender)
    }
  return {
    confirmed: [...mined].map((id) => pool.entries.get(id)).filter((entry) => entry !== undefined),
    conflicted: inOrder(pool, withDescendants(pool, rivals).values()),
  }
}

/** Applies planBlockRemoval; the price of entry falls by half with each block. */
export const applyBlockRemoval = (pool: Mempool, { confirmed, conflicted }: BlockRemoval): void => {
  for (const { txid } of conflicted) removeFromMempool(pool, txid)
  for (const { txid } of confirmed) removeFromMempool(pool, txid)
  pool.evictionFeeratePerKvb = Math.floor(pool.evictionFeeratePerKvb / 2)
}

/** Bitcoin Core's DEFAULT_MEMPOOL_EXPIRY_HOURS. */
const EXPIRY_SECONDS = 336 * 3600

/** What has waited for two weeks goes. */
export const removeExpired = (pool: Mempool, now: number): MempoolEntry[] =>
  removeWithDescendants(
    pool,
    [...pool.entries.values()].filter((entry) => entry.time < now - EXPIRY_SECONDS).map((entry) => entry.txid),
  )

/**
 * Over its size the pool lets go of the packages that pay least, down to 98 % (so that a flood pays for a scan only once in a
 * while), and asks more of newcomers from then on.
 */
export const trimToSize = (pool: Mempool): MempoolEntry[] => {
  if (pool.vsize <= pool.maxVsize) return []
  const rated = [...pool.entries.values()].map((entry) => {
    const { fee, vsize } = totalOf(withDescendants(pool, [entry.txid]).values())
    return { id: entry.txid, rate: Math.max(feeratePerKvb(fee, vsize), feeratePerKvb(entry.fee, entry.vsize)) }
  })
  rated.sort((a, b) => a.rate - b.rate)
  const gone: MempoolEntry[] = []
  for (const { id, rate } of rated) {
    if (pool.vsize <= pool.maxVsize * 0.98) break
    if (!pool.entries.has(id)) continue
    pool.evictionFeeratePerKvb = Math.max(pool.evictionFeeratePerKvb, Math.ceil(rate) + INCREMENTAL_FEERATE_PER_KVB)
    gone.push(...removeWithDescendants(pool, [id]))
  }
  return gone
}

/** Sums over entries. */
export const totalOf = (entries: Iterable<MempoolEntry>): { fee: bigint; vsize: number; count: number } => {
  let fee = 0n
  let vsize = 0
  let count = 0
  for (const entry of entries) {
    fee += entry.fee
    vsize += entry.vsize
    count++
  }
  return { fee, vsize, count }
}

/** Satoshi per 1000 virtual bytes. */
export const feeratePerKvb = (fee: bigint, vsize: number): number => (Number(fee) * 1000) / vsize
