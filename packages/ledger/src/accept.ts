/**
 * Whether the mempool takes a transaction, or a child with its parents. Bitcoin Core 28.1 validation.cpp, MemPoolAccept.
 * Pure: nothing changes until the owner applies the answer. The view must hold the confirmed coins that the inputs spend and
 * those of the transaction's own outputs (`coinsOfInterest` names them).
 * Every input is run through the script interpreter with the standard flags.
 */
import {
  checkTx,
  checkTxInputs,
  forkIdAt,
  isCoinbase,
  isFinalTx,
  MANDATORY_SCRIPT_FLAGS,
  outpointKey,
  scriptErrorText,
  STANDARD_SCRIPT_FLAGS,
  sigOpsCost,
  txid,
  txWeight,
  verifyTx,
  withForkId,
  wtxid,
  type Coin,
  type Network,
  type Outpoint,
  type SignatureMemory,
  type Tx,
  type Txid,
  type TxOutput,
  type Wtxid,
} from '@leyden/bitcoin'
import type { CoinView } from './coin.ts'
import { medianTimePast, type HeaderEntry } from './header-tree.ts'
import {
  addToMempool,
  minFeeratePerKvb,
  removeFromMempool,
  removeWithDescendants,
  type Mempool,
  type MempoolEntry,
} from './mempool.ts'
import { checkLimits, checkReplacement, findSibling, type Candidate } from './mempool-limits.ts'
import {
  checkStandard,
  checkStandardInputs,
  feeForVsize,
  MAX_STANDARD_TX_SIGOPS_COST,
  MIN_RELAY_FEERATE_PER_KVB,
  policyVsize,
  TRUC_VERSION,
} from './policy.ts'
import { sequenceLocksPass } from './connect.ts'
import { isRejection, rejection, type Rejection } from './violation.ts'

/** Where the chain stands, for the mempool: what is accepted must be valid in the block after `tip`. */
export type AcceptContext = {
  /** Says which fork the signatures must commit to. */
  readonly network: Network
  readonly tip: HeaderEntry
  readonly view: CoinView
  /** Seconds. */
  readonly now: number
  /** Transactions whose scripts have passed the standard flags before. */
  readonly scriptsPassed?: (id: Wtxid) => boolean
  /** Signatures found here are not checked again; valid ones are added. */
  readonly signatures?: SignatureMemory
  /** It was in a block that has been taken back: fee floors do not apply. */
  readonly fromBlock?: boolean
}

/** What to do: `added` enter in this order after `replaced` (with their descendants) have left. */
export type Acceptance = {
  readonly accepted: true
  readonly added: readonly MempoolEntry[]
  readonly replaced: readonly MempoolEntry[]
}

/** Confirmed coins that judging the transactions may need. */
export const coinsOfInterest = (transactions: readonly Tx[]): Outpoint[] => {
  const wanted = new Map<string, Outpoint>()
  for (const tx of transactions) {
    for (const { outpoint } of tx.inputs) wanted.set(outpointKey(outpoint), outpoint)
    const id = txid(tx)
    tx.outputs.forEach((_, vout) => wanted.set(outpointKey({ txid: id, vout }), { txid: id, vout }))
  }
  return [...wanted.values()]
}

const checkForm = (pool: Mempool, tx: Tx, { tip }: AcceptContext): Rejection | undefined => {
  const broken = checkTx(tx)
  if (broken !== undefined) return rejection('consensus', broken)
  if (isCoinbase(tx)) return rejection('consensus', 'coinbase')
  const nonStandard = checkStandard(tx)
  if (nonStandard !== undefined) return nonStandard
  if (!isFinalTx(tx, tip.height + 1, medianTimePast(tip))) return rejection('premature', 'non-final')
  if (pool.wtxids.has(wtxid(tx))) return rejection('conflict', 'txn-already-in-mempool')
  if (pool.entries.has(txid(tx))) return rejection('conflict', 'txn-same-nonwitness-data-in-mempool')
  return undefined
}

const findCoins = (pool: Mempool, tx: Tx, { view, tip }: AcceptContext): Coin[] | Rejection => {
  const coins: Coin[] = []
  for (const { outpoint } of tx.inputs) {
    const output = pool.entries.get(outpoint.txid)?.tx.outputs[outpoint.vout]
    const coin = output === undefined ? view.get(outpointKey(outpoint)) : { output, height: tip.height + 1, coinbase: false }
    if (coin === undefined) {
      const known = tx.outputs.some((_, vout) => view.has(outpointKey({ txid: txid(tx), vout })))
      return known ? rejection('conflict', 'txn-already-known') : rejection('missing', 'bad-txns-inputs-missingorspent')
    }
    coins.push(coin)
  }
  return coins
}

const checkScripts = (tx: Tx, prevouts: readonly TxOutput[], context: AcceptContext): Rejection | undefined => {
  const { scriptsPassed, signatures, network, tip } = context
  if (scriptsPassed?.(wtxid(tx)) === true) return undefined
  const forkId = forkIdAt(network, tip.height + 1)
  const failed = verifyTx(tx, prevouts, withForkId(STANDARD_SCRIPT_FLAGS, forkId), signatures)
  if (failed === undefined) return undefined
  const detail = `input ${failed.inputIndex}`
  const mandatory = verifyTx(tx, prevouts, withForkId(MANDATORY_SCRIPT_FLAGS, forkId), signatures)
  return mandatory === undefined
    ? rejection('policy', `non-mandatory-script-verify-flag (${scriptErrorText(failed.error)})`, detail)
    : rejection('consensus', `mandatory-script-verify-flag-failed (${scriptErrorText(failed.error)})`, detail)
}

/** All checks but what it must pay, which a child may do for it. */
const examine = (
  pool: Mempool,
  tx: Tx,
  context: AcceptContext,
): (Candidate & { readonly prevouts: readonly TxOutput[] }) | Rejection => {
  const malformed = checkForm(pool, tx, context)
  if (malformed !== undefined) return malformed
  const conflicts = new Set<Txid>()
  for (const { outpoint } of tx.inputs) {
    const rival = pool.spenders.get(outpointKey(outpoint))
    if (rival !== undefined) conflicts.add(rival)
  }
  const coins = findCoins(pool, tx, context)
  if (isRejection(coins)) return coins
  const { tip, now } = context
  if (!sequenceLocksPass(tx, coins, tip)) return rejection('premature', 'non-BIP68-final')
  const paid = checkTxInputs(tx, coins, tip.height + 1)
  if (typeof paid === 'string')
    return rejection(paid === 'bad-txns-premature-spend-of-coinbase' ? 'premature' : 'consensus', paid)
  const prevouts = coins.map(({ output }) => output)
  const nonStandard = checkStandardInputs(tx, prevouts)
  if (nonStandard !== undefined) return nonStandard
  const sigopCost = sigOpsCost(tx, prevouts, STANDARD_SCRIPT_FLAGS)
  if (sigopCost > MAX_STANDARD_TX_SIGOPS_COST) return rejection('policy', 'bad-txns-too-many-sigops', String(sigopCost))
  const weight = txWeight(tx)
  const entry: MempoolEntry = {
    tx,
    txid: txid(tx),
    wtxid: wtxid(tx),
    fee: paid.fee,
    weight,
    vsize: policyVsize(weight, sigopCost),
    sigopCost,
    time: now,
    height: tip.height,
    parents: new Set(tx.inputs.map(({ outpoint }) => outpoint.txid).filter((id) => pool.entries.has(id))),
    children: new Set(),
  }
  const sibling = findSibling(pool, entry, conflicts)
  if (sibling !== undefined) conflicts.add(sibling)
  return { entry, conflicts, prevouts }
}

const checkRelayFee = ({ fee, vsize, tx }: MempoolEntry, { fromBlock }: AcceptContext): Rejection | undefined => {
  const least = feeForVsize(MIN_RELAY_FEERATE_PER_KVB, vsize)
  if (fromBlock === true || tx.version === TRUC_VERSION || fee >= least) return undefined
  return rejection('policy', 'min relay fee not met', `${fee} < ${least}`)
}

const checkPoolFee = (pool: Mempool, fee: bigint, vsize: number, { fromBlock }: AcceptContext): Rejection | undefined => {
  const floor = minFeeratePerKvb(pool)
  const least = feeForVsize(floor, vsize)
  if (fromBlock === true || fee >= least) return undefined
  return rejection(
    'fee',
    floor > MIN_RELAY_FEERATE_PER_KVB ? 'mempool min fee not met' : 'min relay fee not met',
    `${fee} < ${least}`,
  )
}

/** One transaction by its own merit. */
export const acceptTransaction = (pool: Mempool, tx: Tx, context: AcceptContext): Acceptance | Rejection => {
  const candidate = examine(pool, tx, context)
  if (isRejection(candidate)) return candidate
  const { entry, prevouts } = candidate
  const replaced = checkReplacement(pool, [candidate])
  const refusal =
    checkRelayFee(entry, context) ??
    checkPoolFee(pool, entry.fee, entry.vsize, context) ??
    checkLimits(pool, candidate) ??
    (isRejection(replaced) ? replaced : undefined) ??
    checkScripts(tx, prevouts, context)
  if (refusal !== undefined) return refusal
  return { accepted: true, added: [entry], replaced: isRejection(replaced) ? [] : replaced }
}

/** Applies an acceptance. */
export const applyAcceptance = (pool: Mempool, { added, replaced }: Acceptance): void => {
  removeWithDescendants(
    pool,
    replaced.map(({ txid }) => txid),
  )
  for (const entry of added) addToMempool(pool, entry)
}

/** Undoes applyAcceptance, when nothing has happened since. */
export const revertAcceptance = (pool: Mempool, { added, replaced }: Acceptance): void => {
  for (const entry of added.toReversed()) removeFromMempool(pool, entry.txid)
  for (const entry of replaced) addToMempool(pool, entry)
}

/** One parent that pays too little by itself, and the child that pays for both. Either may replace others; both enter or none. */
export const acceptPair = (pool: Mempool, parent: Tx, child: Tx, context: AcceptContext): Acceptance | Rejection => {
  const first = examine(pool, parent, context)
  if (isRejection(first)) return first
  const refusal = checkRelayFee(first.entry, context) ?? checkLimits(pool, first) ?? checkScripts(parent, first.prevouts, context)
  if (refusal !== undefined) return refusal
  const firstReplaced = removeWithDescendants(pool, first.conflicts)
  const alone: Acceptance = { accepted: true, added: [first.entry], replaced: firstReplaced }
  addToMempool(pool, first.entry)
  const second = examine(pool, child, context)
  const secondRefusal = isRejection(second)
    ? second
    : (checkRelayFee(second.entry, context) ?? checkLimits(pool, second) ?? checkScripts(child, second.prevouts, context))
  revertAcceptance(pool, alone)
  if (isRejection(second)) return second
  if (secondRefusal !== undefined) return secondRefusal
  if (!child.inputs.some(({ outpoint }) => outpoint.txid === first.entry.txid))
    return rejection('policy', 'package-not-child-with-parents')
  const fee = first.entry.fee + second.entry.fee
  const vsize = first.entry.vsize + second.entry.vsize
  const poor = checkPoolFee(pool, fee, vsize, context)
  if (poor !== undefined) return poor
  const replaced = checkReplacement(pool, [first, second])
  if (isRejection(replaced)) return replaced
  return { accepted: true, added: [first.entry, second.entry], replaced }
}
