/**
 * Taking transactions into the mempool: one, several in their order, or a child with its parents.
 * Everything is decided in one turn of the event loop, after the coins are read. What was taken is told of when the next flush has made
 * it durable (flush.ts), unless the caller can do without: a peer's transaction that a crash loses comes again.
 */
import { unreachable } from '@leyden/codec'
import { txid, txVsize, wtxid, type Tx, type Txid, type Wtxid } from '@leyden/bitcoin'
import {
  acceptPackage,
  acceptTransaction,
  coinsOfInterest,
  feeForVsize,
  isChildWithParents,
  rejection,
  testTogether,
  type AcceptContext,
  type MempoolEntry,
  type PackageVerdict,
  type Rejection,
  type Verdict,
} from '@leyden/ledger'
import { loadView, passedAt, rememberPassed, tipOf, type Chain } from './chain.ts'

export type TransactionOutcome = {
  readonly tx: Tx
  readonly txid: Txid
  /** `known`: it was in the mempool before. */
  readonly status: 'accepted' | 'known' | 'rejected'
  readonly rejection?: Rejection
  readonly entry?: MempoolEntry
  /** Satoshi per 1000 virtual bytes of all that it was judged together with, and who they are. */
  readonly effectiveFeeratePerKvb?: number
  readonly effectiveIncludes?: readonly Wtxid[]
  readonly replaced: readonly Txid[]
}

export type TakeOptions = {
  /** Judge only. */
  readonly dryRun?: boolean
  /** Satoshi per 1000 virtual bytes above which the caller believes in a mistake. */
  readonly maxFeeratePerKvb?: number
  /** Take the transactions as a package: a child may pay for its parents. */
  readonly asPackage?: boolean
  /** False: may be told of before it is durable. */
  readonly durable?: boolean
  /** Ours: told to peers again and again until one of them has asked for it. */
  readonly local?: boolean
  /** When each of them came, if that was before now. Seconds. */
  readonly times?: readonly number[]
}

const contextOf = async (chain: Chain, transactions: readonly Tx[]): Promise<AcceptContext> => {
  const { options } = chain
  const view = await loadView(chain, coinsOfInterest(transactions))
  return {
    network: options.network,
    tip: tipOf(chain),
    view,
    now: options.now(),
    scriptsPassed: passedAt(chain, tipOf(chain).height + 1),
    signatures: chain.scripts.signatures,
  }
}

const outcomeOf = (tx: Tx, verdict: Verdict): TransactionOutcome => {
  const head = { tx, txid: txid(tx) }
  switch (verdict.status) {
    case 'rejected':
      return { ...head, status: 'rejected', rejection: verdict.rejection, replaced: [] }
    case 'known':
    case 'otherWitness': {
      const reason = verdict.status === 'known' ? 'txn-already-in-mempool' : 'txn-same-nonwitness-data-in-mempool'
      return { ...head, status: 'known', rejection: rejection('conflict', reason), entry: verdict.entry, replaced: [] }
    }
    case 'accepted': {
      const { entry, effectiveFeeratePerKvb, effectiveIncludes } = verdict
      const replaced = verdict.replaced.map((other) => other.txid)
      return { ...head, status: 'accepted', entry, effectiveFeeratePerKvb, effectiveIncludes, replaced }
    }
    default:
      return unreachable(verdict)
  }
}

const judgeOne = (
  chain: Chain,
  tx: Tx,
  context: AcceptContext,
  { dryRun, maxFeeratePerKvb }: TakeOptions,
  time: number | undefined,
): Verdict => {
  const known = chain.pool.entries.get(txid(tx))
  if (known !== undefined) return { status: known.wtxid === wtxid(tx) ? 'known' : 'otherWitness', entry: known }
  const maxFee = maxFeeratePerKvb === undefined ? {} : { maxFee: feeForVsize(maxFeeratePerKvb, txVsize(tx)) }
  return acceptTransaction(chain.pool, tx, { ...context, ...maxFee, time: time ?? context.now, testOnly: dryRun === true })
}

/** What was taken is remembered, and told. */
const settle = (chain: Chain, entries: readonly MempoolEntry[], { local, durable }: TakeOptions): void => {
  const { pool, options } = chain
  for (const entry of entries) {
    if (pool.entries.get(entry.txid) !== entry) continue
    rememberPassed(chain, entry.wtxid)
    if (local === true) pool.unbroadcast.add(entry.txid)
    if (durable === false) options.onTransaction(entry.tx)
    else chain.returned.push(entry.tx)
  }
}

const acceptedIn = (verdicts: Iterable<Verdict>): MempoolEntry[] =>
  [...verdicts].flatMap((verdict) => (verdict.status === 'accepted' ? [verdict.entry] : []))

/** Several at once: tested as a list, or taken as a child with its parents. */
export const takePackage = async (
  chain: Chain,
  transactions: readonly Tx[],
  options: TakeOptions = {},
): Promise<PackageVerdict> => {
  const { dryRun, maxFeeratePerKvb, local = false } = options
  const context = await contextOf(chain, transactions)
  if (dryRun === true) return testTogether(chain.pool, transactions, context)
  const limit = maxFeeratePerKvb === undefined ? {} : { maxFeeratePerKvb }
  const answer = acceptPackage(chain.pool, transactions, { ...context, ...limit, ownPackage: local })
  settle(chain, acceptedIn(answer.verdicts.values()), options)
  return answer
}

/** Takes the transactions in their order, parents first. One outcome for each. */
export const takeTransactions = async (
  chain: Chain,
  transactions: readonly Tx[],
  options: TakeOptions = {},
): Promise<readonly TransactionOutcome[]> => {
  const together = options.dryRun === true ? transactions.length > 1 : options.asPackage === true
  if (together && (options.dryRun === true || isChildWithParents(transactions))) {
    const { problem, verdicts } = await takePackage(chain, transactions, options)
    const unjudged = rejection('policy', problem?.reason ?? 'unknown', problem?.detail)
    return transactions.map((tx) => outcomeOf(tx, verdicts.get(wtxid(tx)) ?? { status: 'rejected', rejection: unjudged }))
  }
  const context = await contextOf(chain, transactions)
  const verdicts = transactions.map((tx, i) => judgeOne(chain, tx, context, options, options.times?.[i]))
  if (options.dryRun !== true) settle(chain, acceptedIn(verdicts), options)
  return transactions.map((tx, i) => outcomeOf(tx, verdicts[i] as Verdict))
}
