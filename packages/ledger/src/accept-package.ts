/**
 * Transactions that come together: a child with its parents, which it may pay for, and lists that are only tested.
 * Bitcoin Core 28.1 validation.cpp (AcceptPackage, AcceptMultipleTransactions), policy/packages.cpp.
 */
import { outpointKey, txid, txWeight, wtxid, type Tx, type Txid, type Wtxid } from '@leyden/bitcoin'
import {
  acceptTransaction,
  checkFees,
  checkScriptsOf,
  examine,
  unspentDust,
  type AcceptContext,
  type Candidate,
  type Manner,
  type Verdict,
} from './accept.ts'
import { feeratePerKvb } from './fee-rate.ts'
import { findUnspentDust } from './mempool-dust.ts'
import { checkPackageLimits } from './mempool-limits.ts'
import { checkPackageReplacement } from './mempool-replace.ts'
import { trimMempool } from './mempool-room.ts'
import { checkTrucInPackage } from './mempool-truc.ts'
import { addToMempool, removeWithDescendants, type Mempool, type MempoolEntry } from './mempool.ts'
import { isRejection, rejection, type Rejection } from './violation.ts'

export const MAX_PACKAGE_COUNT = 25
const MAX_PACKAGE_WEIGHT = 404_000

/** What is wrong with a package: as a whole by `policy`, or with one of its transactions. */
export type PackageProblem = { readonly kind: 'policy' | 'transaction'; readonly reason: string; readonly detail?: string }

/** `problem` undefined: every transaction is in the pool. A transaction without verdict was not judged. */
export type PackageVerdict = {
  readonly problem?: PackageProblem
  readonly verdicts: ReadonlyMap<Wtxid, Verdict>
}

/** One of a package by its own merit. */
const MEMBER_ALONE: Manner = {
  allowReplacement: true,
  allowSiblingEviction: true,
  allowCarveOuts: false,
  inPackage: true,
  packageFees: false,
}
/** A child with its parents. */
const TOGETHER: Manner = { ...MEMBER_ALONE, allowSiblingEviction: false, packageFees: true }
/** A list of transactions that need not hang together. */
const TESTED_TOGETHER: Manner = {
  allowReplacement: false,
  allowSiblingEviction: false,
  allowCarveOuts: false,
  inPackage: false,
  packageFees: false,
}

const byPolicy = (reason: string, detail?: string): PackageVerdict => ({
  problem: { kind: 'policy', reason, ...(detail === undefined || detail === '' ? {} : { detail }) },
  verdicts: new Map(),
})

const FAILED: PackageProblem = { kind: 'transaction', reason: 'transaction failed' }

const failedAt = (tx: Tx, why: Rejection, before: ReadonlyMap<Wtxid, Verdict> = new Map()): PackageVerdict => ({
  problem: FAILED,
  verdicts: new Map(before).set(wtxid(tx), { status: 'rejected', rejection: why }),
})

/** What is wrong with a list of transactions as such. */
export const packageProblem = (transactions: readonly Tx[]): string | undefined => {
  if (transactions.length > MAX_PACKAGE_COUNT) return 'package-too-many-transactions'
  if (transactions.length > 1 && transactions.reduce((sum, tx) => sum + txWeight(tx), 0) > MAX_PACKAGE_WEIGHT)
    return 'package-too-large'
  const later = new Set(transactions.map(txid))
  if (later.size < transactions.length) return 'package-contains-duplicates'
  for (const tx of transactions) {
    if (tx.inputs.some(({ outpoint }) => later.has(outpoint.txid))) return 'package-not-sorted'
    later.delete(txid(tx))
  }
  const spent = new Set<string>()
  for (const { inputs } of transactions) {
    if (inputs.length === 0 || inputs.some(({ outpoint }) => spent.has(outpointKey(outpoint)))) return 'conflict-in-package'
    for (const { outpoint } of inputs) spent.add(outpointKey(outpoint))
  }
  return undefined
}

/** The last spends from every other. */
export const isChildWithParents = (transactions: readonly Tx[]): boolean => {
  const child = transactions.at(-1)
  if (child === undefined || transactions.length < 2) return false
  const spent = new Set(child.inputs.map(({ outpoint }) => outpoint.txid))
  return transactions.slice(0, -1).every((tx) => spent.has(txid(tx)))
}

/** And none of the parents spends from another. */
export const isChildWithParentsTree = (transactions: readonly Tx[]): boolean => {
  if (!isChildWithParents(transactions)) return false
  const parents = transactions.slice(0, -1)
  const ids = new Set(parents.map(txid))
  return !parents.some(({ inputs }) => inputs.some(({ outpoint }) => ids.has(outpoint.txid)))
}

type Totals = { readonly modifiedFee: bigint; readonly vsize: number }

const totalsOf = (candidates: readonly Candidate[]): Totals => {
  let modifiedFee = 0n
  let vsize = 0
  for (const { entry } of candidates) {
    modifiedFee += entry.modifiedFee
    vsize += entry.vsize
  }
  return { modifiedFee, vsize }
}

/** Chain limits, and what the package pushes out. */
const checkAgainstPool = (
  pool: Mempool,
  candidates: readonly Candidate[],
  totals: Totals,
): ReadonlySet<MempoolEntry> | PackageVerdict => {
  const transactions = candidates.map(({ tx }) => tx)
  const tooLong = checkPackageLimits(pool, transactions, totals.vsize)
  if (tooLong !== undefined) return byPolicy('package-mempool-limits', tooLong)
  const conflicts = new Set(candidates.flatMap((candidate) => [...candidate.conflicts]))
  if (conflicts.size === 0) return conflicts
  const [parent, child] = candidates
  if (parent === undefined || child === undefined || candidates.length !== 2 || !isChildWithParents(transactions))
    return byPolicy('package RBF failed: package must be 1-parent-1-child')
  if (candidates.some(({ ancestors }) => ancestors.size > 0))
    return byPolicy('package RBF failed: new transaction cannot have mempool ancestors')
  const { modifiedFee: parentFee, vsize: parentVsize } = parent.entry
  const replaced = checkPackageReplacement(pool, { ...totals, tx: child.tx, conflicts, parentFee, parentVsize })
  return 'reason' in replaced ? byPolicy(replaced.reason, replaced.detail) : replaced
}

/** Several at once, all or none. The pool changes unless `testOnly`. */
const acceptTogether = (pool: Mempool, transactions: readonly Tx[], context: AcceptContext, manner: Manner): PackageVerdict => {
  const malformed = packageProblem(transactions)
  if (malformed !== undefined) return byPolicy(malformed)
  const candidates: Candidate[] = []
  const others = new Map<Txid, Tx>()
  for (const tx of transactions) {
    const candidate = examine(pool, tx, context, manner, others)
    if (isRejection(candidate)) return failedAt(tx, candidate)
    const { modifiedFee, vsize } = candidate.entry
    if (context.maxFeeratePerKvb !== undefined && feeratePerKvb(modifiedFee, vsize) > context.maxFeeratePerKvb)
      return failedAt(tx, rejection('policy', 'max feerate exceeded'))
    candidates.push(candidate)
    others.set(txid(tx), tx)
  }
  for (const { tx, entry, ancestors } of candidates) {
    const wrong = checkTrucInPackage(tx, entry.vsize, transactions, ancestors)
    if (wrong !== undefined) return byPolicy('TRUC-violation', wrong)
  }
  const totals = totalsOf(candidates)
  const last = transactions.at(-1) as Tx
  const poor = manner.packageFees ? checkFees(pool, totals.modifiedFee, totals.vsize, context) : undefined
  if (poor !== undefined) return failedAt(last, poor)
  const replaced = candidates.length > 1 ? checkAgainstPool(pool, candidates, totals) : new Set<MempoolEntry>()
  if ('verdicts' in replaced) return replaced
  const careless = pool.policy.requireStandard ? findUnspentDust(pool, transactions) : undefined
  if (careless !== undefined)
    return { ...failedAt(careless, unspentDust(careless)), problem: { kind: 'transaction', reason: 'unspent-dust' } }
  const together = candidates.map(({ entry }) => entry.wtxid)
  const verdicts = new Map<Wtxid, Verdict>()
  for (const { tx, entry, prevouts } of candidates) {
    const invalid = checkScriptsOf(tx, prevouts, context)
    if (invalid !== undefined) return failedAt(tx, invalid, context.testOnly === true ? verdicts : undefined)
    const { modifiedFee, vsize } = manner.packageFees ? totals : entry
    verdicts.set(entry.wtxid, {
      status: 'accepted',
      entry,
      effectiveFeeratePerKvb: feeratePerKvb(modifiedFee, vsize),
      effectiveIncludes: manner.packageFees ? together : [entry.wtxid],
      replaced: [...replaced],
    })
  }
  if (context.testOnly === true) return { verdicts }
  removeWithDescendants(pool, replaced, 'replaced')
  for (const { entry } of candidates) addToMempool(pool, entry, { fromBlock: false, inPackage: true })
  return { verdicts }
}

/** Whether the pool would take all of these, each paying for itself and replacing nothing. The pool does not change. */
export const testTogether = (pool: Mempool, transactions: readonly Tx[], context: AcceptContext): PackageVerdict =>
  acceptTogether(pool, transactions, { ...context, testOnly: true }, TESTED_TOGETHER)

const confirmedOrOwn = (transactions: readonly Tx[], { view }: AcceptContext): boolean => {
  const child = transactions.at(-1) as Tx
  const parents = new Set(transactions.slice(0, -1).map(txid))
  return child.inputs.every(({ outpoint }) => parents.has(outpoint.txid) || view.has(outpointKey(outpoint)))
}

/**
 * A child with all its unconfirmed parents, parents first. Each enters by its own merit if it can; those that only pay too little, or
 * stand on such, are then judged together.
 */
export const acceptPackage = (pool: Mempool, transactions: readonly Tx[], context: AcceptContext): PackageVerdict => {
  const malformed = packageProblem(transactions)
  if (malformed !== undefined) return byPolicy(malformed)
  if (!isChildWithParents(transactions)) return byPolicy('package-not-child-with-parents')
  if (context.ownPackage !== true && !confirmedOrOwn(transactions, context))
    return byPolicy('package-not-child-with-unconfirmed-parents')
  const settled = new Map<Wtxid, Verdict>()
  const alone = new Map<Wtxid, Verdict>()
  const open: Tx[] = []
  let hopeless = false
  for (const tx of transactions) {
    const id = wtxid(tx)
    const known = pool.entries.get(txid(tx))
    if (known !== undefined) {
      settled.set(id, { status: known.wtxid === id ? 'known' : 'otherWitness', entry: known })
      continue
    }
    const verdict = acceptTransaction(pool, tx, context, MEMBER_ALONE)
    if (verdict.status !== 'rejected') {
      settled.set(id, verdict)
      continue
    }
    alone.set(id, verdict)
    const { kind } = verdict.rejection
    if (kind === 'fee' || kind === 'missing') open.push(tx)
    else hopeless = true
  }
  const together = evaluateOpen(pool, open, hopeless, context)
  trimMempool(pool, context.now)
  let { problem } = together
  const verdicts = new Map<Wtxid, Verdict>()
  for (const tx of transactions) {
    const id = wtxid(tx)
    const verdict = together.verdicts.get(id) ?? settled.get(id) ?? alone.get(id)
    if (verdict === undefined) continue
    if (verdict.status === 'rejected' || pool.entries.has(txid(tx))) verdicts.set(id, verdict)
    else {
      problem = FAILED
      verdicts.set(id, { status: 'rejected', rejection: rejection('policy', 'mempool full') })
    }
  }
  return { ...(problem === undefined ? {} : { problem }), verdicts }
}

const evaluateOpen = (pool: Mempool, open: readonly Tx[], hopeless: boolean, context: AcceptContext): PackageVerdict => {
  if (hopeless) return { problem: FAILED, verdicts: new Map() }
  const [only] = open
  if (only === undefined) return { verdicts: new Map() }
  if (open.length > 1) return acceptTogether(pool, open, context, TOGETHER)
  const verdict = acceptTransaction(pool, only, context, MEMBER_ALONE)
  return { ...(verdict.status === 'rejected' ? { problem: FAILED } : {}), verdicts: new Map([[wtxid(only), verdict]]) }
}
