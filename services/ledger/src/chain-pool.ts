/**
 * The mempool of a chain: what it does when blocks are lost, its rows, and what its comings and goings teach about fees.
 * Bitcoin Core 28.1 validation.cpp (MaybeUpdateMempoolForReorg), kernel/mempool_persist.cpp. The rules are in @leyden/ledger.
 * A row on disk holds what is known of one transaction: itself if it waits, and what the owner has added to its fee.
 */
import { isFinalTx, outpointKey, txid, wtxid, type Coin, type Outpoint, type Tx, type Txid } from '@leyden/bitcoin'
import {
  acceptTransaction,
  coinsOfInterest,
  createMempool,
  hasRelativeLock,
  inOrder,
  isSpendableNext,
  learnEntry,
  learnRemoval,
  linkChildren,
  medianTimePast,
  removeWithDescendants,
  trimMempool,
  type CoinView,
  type FeeEstimator,
  type Mempool,
  type MempoolEntry,
  type MempoolListener,
  type MempoolPolicy,
} from '@leyden/ledger'
import type { Write } from '@leyden/runtime'
import { loadView, passedAt, rememberPassed, tipOf, type Chain } from './chain.ts'
import { mempoolDelete, mempoolWrite } from './mempool-rows.ts'

export type PoolParts = {
  readonly policy: MempoolPolicy
  /** Collects the transactions whose rows fall behind. */
  readonly dirty: Set<Txid>
  readonly estimator: FeeEstimator
  /** Whether the chain is up to date. */
  readonly isCurrent: () => boolean
  /** Told of every change too. */
  readonly listener: MempoolListener
}

/** An empty mempool whose changes mark its rows and teach the estimator. */
export const openPool = ({ policy, dirty, estimator, isCurrent, listener }: PoolParts): Mempool =>
  createMempool(policy, {
    added(entry, sequence, origin) {
      dirty.add(entry.txid)
      learnEntry(estimator, entry, origin, isCurrent())
      listener.added?.(entry, sequence, origin)
    },
    removed(entry, reason, sequence) {
      dirty.add(entry.txid)
      if (reason !== 'block') learnRemoval(estimator, entry.txid)
      listener.removed?.(entry, reason, sequence)
    },
  })

/** Rows that bring the mempool on disk up to the one in memory. */
export const mempoolRows = ({ pool, dirty, options }: Chain): Write[] =>
  options.persistMempool
    ? [...dirty].map((id) => {
        const entry = pool.entries.get(id)
        const delta = pool.deltas.get(id)
        if (entry === undefined && delta === undefined) return mempoolDelete(id)
        return mempoolWrite(id, { entry, delta, unbroadcast: pool.unbroadcast.has(id) })
      })
    : []

/** Each after those of the others that it spends from; otherwise in their order. */
const parentsFirst = <T extends { readonly tx: Tx }>(items: readonly T[]): T[] => {
  const byId = new Map(items.map((item) => [txid(item.tx), item]))
  const ordered = new Set<T>()
  for (const first of items) {
    const path = [first]
    for (let item = path.at(-1); item !== undefined; item = path.at(-1)) {
      const missing = item.tx.inputs
        .map(({ outpoint }) => byId.get(outpoint.txid))
        .find((parent) => parent !== undefined && !ordered.has(parent))
      if (missing === undefined) {
        ordered.add(item)
        path.pop()
      } else path.push(missing)
    }
  }
  return [...ordered]
}

export type Waiting = { readonly tx: Tx; readonly time: number }

export type FillSteps = {
  /** Before the first change. */
  readonly begin?: () => void
  /** Before each transaction; only where no flush can begin. */
  readonly pause?: () => Promise<void>
}

/**
 * Puts transactions into the pool again; what is no longer valid stays out. One that pays too little stays if what stands on it pays
 * for both: once they came in together.
 */
export const fillPool = async (chain: Chain, waiting: readonly Waiting[], { begin, pause }: FillSteps = {}): Promise<void> => {
  const { pool, options } = chain
  const view = await loadView(chain, coinsOfInterest(waiting.map(({ tx }) => tx)))
  // From here on nothing is waited for, unless the caller knows better: a flush finds all of the changes or none.
  begin?.()
  const { minRelayFeeratePerKvb } = pool.policy
  const now = options.now()
  for (const { tx, time } of parentsFirst(waiting)) {
    if (pause !== undefined) await pause()
    chain.dirty.add(txid(tx))
    takeBack(chain, tx, view, time)
  }
  for (let worst = pool.evictionOrder.first; worst !== undefined; worst = pool.evictionOrder.first) {
    if (worst.keepRate * 1000 >= minRelayFeeratePerKvb) break
    removeWithDescendants(pool, [worst], 'sizelimit')
  }
  trimMempool(pool, now)
}

/** Judges a transaction that was here or in a block before. */
const takeBack = (chain: Chain, tx: Tx, view: CoinView, time: number): MempoolEntry | undefined => {
  const verdict = acceptTransaction(chain.pool, tx, {
    network: chain.options.network,
    tip: tipOf(chain),
    view,
    now: chain.options.now(),
    time,
    fromBlock: true,
    scriptsPassed: passedAt(chain, tipOf(chain).height + 1),
    signatures: chain.scripts.signatures,
  })
  if (verdict.status !== 'accepted') return undefined
  rememberPassed(chain, wtxid(tx))
  return verdict.entry
}

/** After the rules of scripts have changed: everything is judged anew. */
export const rejudgePool = async (chain: Chain): Promise<void> => {
  const entries = inOrder(chain.pool.entries.values())
  await fillPool(chain, entries, { begin: () => void removeWithDescendants(chain.pool, entries, 'reorg') })
}

/** The most bytes of lost blocks' transactions that are kept to come back: Bitcoin Core's MAX_DISCONNECTED_TX_POOL_BYTES. */
const MAX_LOST_BYTES = 20_000_000

/** What a reorganisation has taken off, highest block first. */
export type LostBlocks = {
  count: number
  readonly blocks: (readonly Tx[])[]
  bytes: number
  /** Scripts have other rules below: what waits is judged anew. */
  rulesChanged: boolean
}

export const noLostBlocks = (): LostBlocks => ({ count: 0, blocks: [], bytes: 0, rulesChanged: false })

/** A block has been taken off; `bytes` is its size. Of too much the highest blocks are forgotten, with what stands on them. */
export const loseBlock = ({ pool }: Chain, lost: LostBlocks, transactions: readonly Tx[], bytes: number): void => {
  lost.count++
  lost.blocks.push(transactions)
  lost.bytes += bytes
  if (lost.bytes <= MAX_LOST_BYTES || lost.blocks.length < 2) return
  // The blocks are of about one size: the average is near enough for a bound.
  lost.bytes -= lost.bytes / lost.blocks.length
  for (const tx of lost.blocks.shift() ?? []) removeWithDescendants(pool, spendersOf(pool, tx), 'reorg')
}

const spendersOf = (pool: Mempool, tx: Tx): MempoolEntry[] => {
  const id = txid(tx)
  return tx.outputs.flatMap((_, vout) => pool.spenders.get(outpointKey({ txid: id, vout })) ?? [])
}

const needsCoins = (entry: MempoolEntry): boolean => entry.spendsCoinbase || hasRelativeLock(entry.tx)

/** What on the new tip can no longer be in the next block. */
const isSpoilt = (chain: Chain, entry: MempoolEntry, view: CoinView): boolean => {
  const { tx } = entry
  const tip = tipOf(chain)
  if (!isFinalTx(tx, tip.height + 1, medianTimePast(tip))) return true
  if (!needsCoins(entry)) return false
  const coins: Coin[] = []
  for (const { outpoint } of tx.inputs) {
    const output = chain.pool.entries.get(outpoint.txid)?.tx.outputs[outpoint.vout]
    const coin = output === undefined ? view.get(outpointKey(outpoint)) : { output, height: tip.height + 1, coinbase: false }
    if (coin === undefined) return true
    coins.push(coin)
  }
  return !isSpendableNext(tx, coins, tip)
}

/**
 * After a reorganisation: what was in the lost blocks comes back, what stood on such as does not come back leaves, and what a lower
 * tip makes immature or not final leaves. Gives what came back.
 */
export const refillPool = async (chain: Chain, lost: LostBlocks): Promise<readonly MempoolEntry[]> => {
  const { pool, options } = chain
  const returned = lost.blocks.toReversed().flat()
  const inputs: Outpoint[] = [...pool.entries.values()]
    .filter(needsCoins)
    .flatMap(({ tx }) => tx.inputs.map(({ outpoint }) => outpoint))
  const view = await loadView(chain, [...coinsOfInterest(returned), ...inputs])
  const back: MempoolEntry[] = []
  for (const tx of returned) {
    const entry = takeBack(chain, tx, view, options.now())
    if (entry !== undefined) back.push(entry)
    else {
      // Unless the new chain has it too, whatever spends from it has lost its parent.
      const id = txid(tx)
      const orphans = spendersOf(pool, tx).filter(({ tx: child }) =>
        child.inputs.some(({ outpoint }) => outpoint.txid === id && !view.has(outpointKey(outpoint))),
      )
      removeWithDescendants(pool, orphans, 'reorg')
    }
  }
  const here = back.filter((entry) => pool.entries.get(entry.txid) === entry)
  removeWithDescendants(pool, linkChildren(pool, here), 'sizelimit')
  const spoilt = [...pool.entries.values()].filter((entry) => isSpoilt(chain, entry, view))
  removeWithDescendants(pool, spoilt, 'reorg')
  if (lost.rulesChanged) await rejudgePool(chain)
  trimMempool(pool, options.now())
  return here.filter(({ txid: id }) => pool.entries.has(id))
}
