/**
 * Taking transactions into the mempool: one, or a child with its parents.
 * Everything is decided in one turn of the event loop, after the coins are read; what was taken is made durable before anyone is told.
 */
import { txid, wtxid, type Tx, type Txid } from '@leyden/bitcoin'
import {
  acceptPair,
  acceptTransaction,
  applyAcceptance,
  coinsOfInterest,
  feeratePerKvb,
  isRejection,
  rejection,
  revertAcceptance,
  trimToSize,
  type AcceptContext,
  type Acceptance,
  type MempoolEntry,
  type Rejection,
} from '@leyden/ledger'
import { loadView, passedAt, rememberPassed, tipOf, type Chain } from './chain.ts'
import { flush } from './flush.ts'

export type TransactionOutcome = {
  readonly tx: Tx
  readonly txid: Txid
  /** `known`: it was in the mempool before. */
  readonly status: 'accepted' | 'known' | 'rejected'
  readonly rejection?: Rejection
  readonly entry?: MempoolEntry
  /** Taken only together with these. */
  readonly pairedWith?: readonly Txid[]
  readonly replaced: readonly Txid[]
}

export type TakeOptions = {
  /** Judge only. */
  readonly dryRun?: boolean
  /** Satoshi per 1000 virtual bytes above which the caller believes in a mistake. */
  readonly maxFeeratePerKvb?: number
  /** Take the transactions as a package: a child may pay for its parent. */
  readonly asPackage?: boolean
}

/** Bitcoin Core policy/packages.h. */
export const MAX_PACKAGE_COUNT = 25

const overpays = ({ added }: Acceptance, max: number | undefined): boolean =>
  max !== undefined && added.some(({ fee, vsize }) => feeratePerKvb(fee, vsize) > max)

/** Takes the transactions in their order, parents first. One outcome for each. */
export const takeTransactions = async (
  chain: Chain,
  transactions: readonly Tx[],
  { dryRun = false, maxFeeratePerKvb, asPackage = false }: TakeOptions = {},
): Promise<readonly TransactionOutcome[]> => {
  const { pool, options } = chain
  const view = await loadView(chain, coinsOfInterest(transactions))
  const context: AcceptContext = {
    network: options.network,
    tip: tipOf(chain),
    view,
    now: options.now(),
    scriptsPassed: passedAt(chain, tipOf(chain).height + 1),
    signatures: chain.scripts.signatures,
  }
  const applied: Acceptance[] = []
  const outcomes = new Map<Txid, TransactionOutcome>()

  const settle = (tx: Tx, answer: Acceptance | Rejection, parent?: Tx): void => {
    const id = txid(tx)
    const refusal = isRejection(answer)
      ? answer
      : overpays(answer, maxFeeratePerKvb)
        ? rejection('policy', 'max-fee-exceeded')
        : undefined
    if (refusal !== undefined || isRejection(answer)) {
      outcomes.set(id, { tx, txid: id, status: 'rejected', rejection: refusal as Rejection, replaced: [] })
      return
    }
    applyAcceptance(pool, answer)
    applied.push(answer)
    const replaced = answer.replaced.map((entry) => entry.txid)
    for (const entry of answer.added) {
      const paired = parent === undefined ? {} : { pairedWith: answer.added.map((other) => other.txid) }
      outcomes.set(entry.txid, { tx: entry.tx, txid: entry.txid, status: 'accepted', entry, replaced, ...paired })
    }
  }

  const child = transactions.at(-1)
  for (const tx of transactions) {
    const known = pool.entries.get(txid(tx))
    if (known !== undefined && !applied.some(({ added }) => added.includes(known))) {
      const sameWitness = known.wtxid === wtxid(tx)
      const why = rejection('conflict', sameWitness ? 'txn-already-in-mempool' : 'txn-same-nonwitness-data-in-mempool')
      outcomes.set(known.txid, { tx, txid: known.txid, status: 'known', rejection: why, entry: known, replaced: [] })
      continue
    }
    if (outcomes.get(txid(tx))?.status === 'accepted') continue
    const answer = acceptTransaction(pool, tx, context)
    const mayPair = asPackage && child !== undefined && tx !== child && isRejection(answer) && answer.kind === 'fee'
    const pair = mayPair ? acceptPair(pool, tx, child, context) : undefined
    if (pair === undefined || isRejection(pair)) settle(tx, answer)
    else settle(tx, pair, tx)
  }

  if (dryRun) {
    for (const acceptance of applied.toReversed()) revertAcceptance(pool, acceptance)
    return inCallOrder(transactions, outcomes)
  }
  for (const { txid } of trimToSize(pool)) {
    chain.dirty.add(txid)
    const evicted = outcomes.get(txid)
    if (evicted?.status === 'accepted')
      outcomes.set(txid, { tx: evicted.tx, txid, status: 'rejected', rejection: rejection('fee', 'mempool full'), replaced: [] })
  }
  const taken = applied.flatMap(({ added }) => added)
  if (taken.length > 0) await save(chain, applied)
  for (const entry of taken) {
    if (pool.entries.get(entry.txid) !== entry) continue
    rememberPassed(chain, entry.wtxid)
    options.onTransaction(entry.tx)
  }
  return inCallOrder(transactions, outcomes)
}

const inCallOrder = (transactions: readonly Tx[], outcomes: ReadonlyMap<Txid, TransactionOutcome>): TransactionOutcome[] =>
  transactions.map((tx) => outcomes.get(txid(tx)) as TransactionOutcome)

/** Durable, or as if it had not been. */
const save = async (chain: Chain, applied: readonly Acceptance[]): Promise<void> => {
  const touched = applied.flatMap(({ added, replaced }) => [...added, ...replaced]).map((entry) => entry.txid)
  for (const id of touched) chain.dirty.add(id)
  try {
    await flush(chain)
  } catch (error) {
    for (const acceptance of applied.toReversed()) revertAcceptance(chain.pool, acceptance)
    throw error
  }
}
