/**
 * Which transactions the next block takes: by fee rate of a transaction together with what it stands on and is not yet taken.
 * Bitcoin Core node/miner.cpp, addPackageTxs.
 */
import type { Txid } from '@leyden/bitcoin'
import { inOrder, totalOf, withAncestors, type Mempool, type MempoolEntry } from './mempool.ts'
import { MIN_RELAY_FEERATE_PER_KVB } from './policy.ts'

/** Consensus allows 4,000,000 weight and 80,000 signature operations; the coinbase has a share of its own. */
const MAX_WEIGHT = 4_000_000 - 8000
const MAX_SIGOPS_COST = 80_000 - 400
/** Near a full block, this many packages that do not fit end the search. */
const MAX_MISFITS = 1000

export type BlockChoice = {
  /** Parents before children. */
  readonly entries: readonly MempoolEntry[]
  readonly fees: bigint
  readonly weight: number
}

type Package = { readonly entry: MempoolEntry; fee: bigint; vsize: number }

const better = (a: Package, b: Package): boolean => {
  const left = a.fee * BigInt(b.vsize)
  const right = b.fee * BigInt(a.vsize)
  return left !== right ? left > right : a.entry.txid < b.entry.txid
}

/** Chooses for one block of at most `maxWeight` units of weight, coinbase and header not counted. */
export const chooseTransactions = (pool: Mempool, maxWeight = MAX_WEIGHT): BlockChoice => {
  const open = new Map<Txid, Package>()
  for (const entry of pool.entries.values()) {
    const { fee, vsize } = totalOf(withAncestors(pool, [entry.txid]).values())
    open.set(entry.txid, { entry, fee, vsize })
  }
  const taken: MempoolEntry[] = []
  const takenIds = new Set<Txid>()
  let weight = 0
  let sigops = 0
  let fees = 0n
  let misfits = 0
  while (open.size > 0 && misfits < MAX_MISFITS) {
    let best: Package | undefined
    for (const candidate of open.values()) if (best === undefined || better(candidate, best)) best = candidate
    if (best === undefined || best.fee * 1000n < BigInt(MIN_RELAY_FEERATE_PER_KVB) * BigInt(best.vsize)) break
    const members = inOrder(pool, withAncestors(pool, [best.entry.txid]).values()).filter(({ txid }) => !takenIds.has(txid))
    const moreWeight = members.reduce((n, entry) => n + entry.weight, 0)
    const moreSigops = members.reduce((n, entry) => n + entry.sigopCost, 0)
    if (weight + moreWeight > maxWeight || sigops + moreSigops > MAX_SIGOPS_COST) {
      open.delete(best.entry.txid)
      misfits++
      continue
    }
    for (const entry of members) {
      taken.push(entry)
      takenIds.add(entry.txid)
      open.delete(entry.txid)
      weight += entry.weight
      sigops += entry.sigopCost
      fees += entry.fee
    }
    for (const entry of members) discount(pool, open, entry)
  }
  return { entries: taken, fees, weight }
}

/** What stands on a taken transaction no longer has to pay for it. */
const discount = (pool: Mempool, open: Map<Txid, Package>, taken: MempoolEntry): void => {
  const seen = new Set<Txid>()
  const waiting = [...taken.children]
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    if (seen.has(id)) continue
    seen.add(id)
    const entry = pool.entries.get(id)
    if (entry === undefined) continue
    waiting.push(...entry.children)
    const candidate = open.get(id)
    if (candidate === undefined) continue
    candidate.fee -= taken.fee
    candidate.vsize -= taken.vsize
  }
}
