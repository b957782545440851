/**
 * Which transactions the next block takes: by fee rate of a transaction together with what it stands on and is not yet taken.
 * Bitcoin Core 28.1 node/miner.cpp, addPackageTxs.
 * The pool's sums give every package its first rank, and only what stands on something taken is ranked again: the time is that of a
 * heap over the pool and a walk over what is chosen.
 */
import { isFinalTx } from '@leyden/bitcoin'
import { feeForVsize } from './fee-rate.ts'
import { inOrder, withAncestors, withDescendants, type Mempool, type MempoolEntry } from './mempool.ts'

/** Consensus allows 4,000,000 weight and 80,000 signature operations; the coinbase has a share of its own. */
const COINBASE_WEIGHT = 4000
const COINBASE_SIGOPS_COST = 400
const MAX_SIGOPS_COST = 80_000
export const DEFAULT_BLOCK_MAX_WEIGHT = 4_000_000 - 4000
/** Near a full block, this many packages in a row that do not fit end the search. */
const MAX_MISFITS = 1000

export type TemplateLimits = {
  /** Of the whole block; the coinbase's share counts within it. */
  readonly maxWeight: number
  /** Packages that pay less are left out. Satoshi per 1000 virtual bytes. */
  readonly minFeeratePerKvb: number
}

export const DEFAULT_TEMPLATE_LIMITS: TemplateLimits = { maxWeight: DEFAULT_BLOCK_MAX_WEIGHT, minFeeratePerKvb: 1000 }

/** The block that would hold them: its height, and the median time past of the one before. */
export type TemplatePlace = { readonly height: number; readonly medianTimePast: number }

export type BlockChoice = {
  /** Parents before children. */
  readonly entries: readonly MempoolEntry[]
  readonly fees: bigint
  /** With the coinbase's share. */
  readonly weight: number
}

/** A transaction with what it stands on and is not taken yet. `rank`: the worse of its own rate and the package's. */
type Package = { readonly entry: MempoolEntry; fee: bigint; vsize: number; sigopCost: number; rank: number }

const rankOf = ({ entry, fee, vsize }: Omit<Package, 'rank'>): number =>
  Math.min(Number(entry.modifiedFee) / entry.vsize, Number(fee) / vsize)

const packageOf = (entry: MempoolEntry): Package => {
  const whole = { entry, fee: entry.ancestorFee, vsize: entry.ancestorVsize, sigopCost: entry.ancestorSigopCost }
  return { ...whole, rank: rankOf(whole) }
}

const better = (a: Package, b: Package): boolean => (a.rank === b.rank ? a.entry.txid < b.entry.txid : a.rank > b.rank)

/** Packages, best first. One whose rank has changed is put in again: the older stays behind and is skipped when it comes up. */
class Ranking {
  readonly #heap: Package[]
  /** What is in force of an entry that is still to be placed. */
  readonly #current: Map<MempoolEntry, Package>

  constructor(packages: readonly Package[]) {
    this.#heap = [...packages]
    this.#current = new Map(packages.map((item) => [item.entry, item]))
    for (let at = (packages.length >> 1) - 1; at >= 0; at--) this.#down(this.#heap[at] as Package, at)
  }

  /** Takes the best out; undefined when nothing is left. */
  next(): Package | undefined {
    for (let top = this.#heap[0]; top !== undefined; top = this.#heap[0]) {
      const last = this.#heap.pop() as Package
      if (this.#heap.length > 0) this.#down(last, 0)
      if (this.#current.get(top.entry) !== top) continue
      this.#current.delete(top.entry)
      return top
    }
    return undefined
  }

  /** It is in the block. */
  drop(entry: MempoolEntry): void {
    this.#current.delete(entry)
  }

  /** `taken` is in the block: this entry no longer has to pay for it. `failed`: it was passed over before, and comes again. */
  discount(entry: MempoolEntry, taken: MempoolEntry, failed: Map<MempoolEntry, Package>): void {
    const { fee, vsize, sigopCost } = (this.#current.get(entry) ?? failed.get(entry)) as Package
    failed.delete(entry)
    const left = {
      entry,
      fee: fee - taken.modifiedFee,
      vsize: vsize - taken.vsize,
      sigopCost: sigopCost - taken.sigopCost,
    }
    const changed = { ...left, rank: rankOf(left) }
    this.#current.set(entry, changed)
    this.#up(changed, this.#heap.length)
  }

  #up(item: Package, from: number): void {
    let at = from
    while (at > 0) {
      const above = (at - 1) >> 1
      const parent = this.#heap[above] as Package
      if (!better(item, parent)) break
      this.#heap[at] = parent
      at = above
    }
    this.#heap[at] = item
  }

  #down(item: Package, from: number): void {
    const { length } = this.#heap
    let at = from
    for (;;) {
      let below = 2 * at + 1
      if (below >= length) break
      if (below + 1 < length && better(this.#heap[below + 1] as Package, this.#heap[below] as Package)) below++
      const child = this.#heap[below] as Package
      if (!better(child, item)) break
      this.#heap[at] = child
      at = below
    }
    this.#heap[at] = item
  }
}

/** Chooses for the next block. */
export const chooseTransactions = (
  pool: Mempool,
  place: TemplatePlace,
  { maxWeight, minFeeratePerKvb }: TemplateLimits = DEFAULT_TEMPLATE_LIMITS,
): BlockChoice => {
  const most = Math.min(Math.max(maxWeight, COINBASE_WEIGHT), DEFAULT_BLOCK_MAX_WEIGHT)
  const ranking = new Ranking([...pool.entries.values()].map(packageOf))
  const taken = new Set<MempoolEntry>()
  const failed = new Map<MempoolEntry, Package>()
  let weight = COINBASE_WEIGHT
  let sigops = COINBASE_SIGOPS_COST
  let fees = 0n
  let misfits = 0
  for (let best = ranking.next(); best !== undefined; best = ranking.next()) {
    if (best.fee < feeForVsize(minFeeratePerKvb, best.vsize)) break
    const fits = weight + 4 * best.vsize < most && sigops + best.sigopCost < MAX_SIGOPS_COST
    const members = fits ? [...withAncestors([best.entry])].filter((entry) => !taken.has(entry)) : []
    if (!fits || !members.every(({ tx }) => isFinalTx(tx, place.height, place.medianTimePast))) {
      failed.set(best.entry, best)
      if (!fits && ++misfits > MAX_MISFITS && weight > most - COINBASE_WEIGHT) break
      continue
    }
    misfits = 0
    for (const entry of inOrder(members)) {
      taken.add(entry)
      ranking.drop(entry)
      weight += entry.weight
      sigops += entry.sigopCost
      fees += entry.fee
    }
    for (const entry of members)
      for (const descendant of withDescendants(entry.children))
        if (!taken.has(descendant)) ranking.discount(descendant, entry, failed)
  }
  return { entries: [...taken], fees, weight }
}
