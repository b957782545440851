/**
 * Whether the mempool takes a transaction by its own merit. Bitcoin Core 28.1 validation.cpp, MemPoolAccept (PreChecks to Finalize).
 * Checks come in Core's order, cheap ones first, scripts last. Packages are accept-package.ts, which shares the steps here.
 * The view must hold the confirmed coins that the inputs spend and those of the transaction's own outputs (`coinsOfInterest`).
 */
import {
  checkTx,
  checkTxInputs,
  COINBASE_MATURITY,
  forkIdAt,
  hasWitness,
  isCoinbase,
  isFinalTx,
  MANDATORY_SCRIPT_FLAGS,
  outpointKey,
  scriptErrorText,
  sigOpsCost,
  STANDARD_SCRIPT_FLAGS,
  txBaseSize,
  txid,
  VERIFY,
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
import { sequenceLocksPass } from './connect.ts'
import { amountText, feeForVsize, feeratePerKvb } from './fee-rate.ts'
import { medianTimePast, type HeaderEntry } from './header-tree.ts'
import { findUnspentDust, hasDust } from './mempool-dust.ts'
import { createEntry } from './mempool-entry.ts'
import { checkAncestors } from './mempool-limits.ts'
import { checkReplacement } from './mempool-replace.ts'
import { trimMempool, rollingFeeratePerKvb } from './mempool-room.ts'
import { checkTruc } from './mempool-truc.ts'
import { addToMempool, byTxid, removeWithDescendants, type Mempool, type MempoolEntry } from './mempool.ts'
import {
  checkStandard,
  checkStandardInputs,
  MAX_STANDARD_TX_SIGOPS_COST,
  MIN_STANDARD_TX_NONWITNESS_SIZE,
  TRUC_VERSION,
} from './policy.ts'
import { isRejection, rejection, type Rejection } from './violation.ts'

/** Where the chain stands, for the mempool: what is accepted must be valid in the block after `tip`. */
export type AcceptContext = {
  /** Says which fork the signatures must commit to. */
  readonly network: Network
  readonly tip: HeaderEntry
  readonly view: CoinView
  /** Seconds. */
  readonly now: number
  /** When the transaction came, if that was before now. */
  readonly time?: number
  /** Transactions whose scripts have passed the standard flags before. */
  readonly scriptsPassed?: (id: Wtxid) => boolean
  /** Signatures found here are not checked again; valid ones are added. */
  readonly signatures?: SignatureMemory
  /** It was in a block that has been taken back: fee floors do not apply, and nothing leaves for lack of room. */
  readonly fromBlock?: boolean
  /** Judge only. */
  readonly testOnly?: boolean
  /** Satoshi that the caller is willing to pay for this transaction. */
  readonly maxFee?: bigint
  /** Satoshi per 1000 virtual bytes that the caller is willing to pay for any transaction of a package. */
  readonly maxFeeratePerKvb?: number
  /** The package is our own: its child may also stand on what waits in the pool already. */
  readonly ownPackage?: boolean
}

/** What became of a transaction. `known`: it was here. `otherWitness`: it was here with another witness, which stays. */
export type Verdict =
  | {
      readonly status: 'accepted'
      readonly entry: MempoolEntry
      /** Of all that were judged together. */
      readonly effectiveFeeratePerKvb: number
      readonly effectiveIncludes: readonly Wtxid[]
      readonly replaced: readonly MempoolEntry[]
    }
  | { readonly status: 'known' | 'otherWitness'; readonly entry: MempoolEntry }
  | { readonly status: 'rejected'; readonly rejection: Rejection }

/** What differs between one transaction alone, one of a package on its own, and several together. */
export type Manner = {
  readonly allowReplacement: boolean
  readonly allowSiblingEviction: boolean
  readonly allowCarveOuts: boolean
  /** Part of a package: room is made only when all of it is in. */
  readonly inPackage: boolean
  /** The floors of fees are asked of the package as a whole. */
  readonly packageFees: boolean
}

const ALONE: Manner = {
  allowReplacement: true,
  allowSiblingEviction: true,
  allowCarveOuts: true,
  inPackage: false,
  packageFees: false,
}

/** A transaction on its way in. */
export type Candidate = {
  readonly tx: Tx
  readonly entry: MempoolEntry
  readonly prevouts: readonly TxOutput[]
  /** What it would replace directly. */
  readonly conflicts: ReadonlySet<MempoolEntry>
  readonly siblingEviction: boolean
  /** What it stands on in the pool. */
  readonly ancestors: ReadonlySet<MempoolEntry>
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
  const nonStandard = pool.policy.requireStandard ? checkStandard(tx, pool.policy) : undefined
  if (nonStandard !== undefined) return nonStandard
  if (txBaseSize(tx) < MIN_STANDARD_TX_NONWITNESS_SIZE) return rejection('policy', 'tx-size-small')
  if (!isFinalTx(tx, tip.height + 1, medianTimePast(tip))) return rejection('premature', 'non-final')
  if (pool.wtxids.has(wtxid(tx))) return rejection('conflict', 'txn-already-in-mempool')
  if (pool.entries.has(txid(tx))) return rejection('conflict', 'txn-same-nonwitness-data-in-mempool')
  return undefined
}

const OPT_IN_SEQUENCE = 0xffff_fffd

/** BIP 125: the transaction itself says that it may be replaced. */
export const signalsReplacement = ({ inputs }: Tx): boolean => inputs.some(({ sequence }) => sequence <= OPT_IN_SEQUENCE)

const findConflicts = (pool: Mempool, tx: Tx, { allowReplacement }: Manner): Set<MempoolEntry> | Rejection => {
  const conflicts = new Set<MempoolEntry>()
  for (const { outpoint } of tx.inputs) {
    const rival = pool.spenders.get(outpointKey(outpoint))
    if (rival === undefined) continue
    if (!allowReplacement) return rejection('policy', 'bip125-replacement-disallowed')
    const mayGo = pool.policy.fullRbf || signalsReplacement(rival.tx) || rival.tx.version === TRUC_VERSION
    if (!mayGo) return rejection('policy', 'txn-mempool-conflict')
    conflicts.add(rival)
  }
  return conflicts
}

/** `others`: transactions of the same package, already judged. */
const findCoins = (pool: Mempool, tx: Tx, { view, tip }: AcceptContext, others: ReadonlyMap<Txid, Tx>): Coin[] | Rejection => {
  const coins: Coin[] = []
  for (const { outpoint } of tx.inputs) {
    const parent = others.get(outpoint.txid) ?? pool.entries.get(outpoint.txid)?.tx
    const output = parent?.outputs[outpoint.vout]
    const coin =
      output !== undefined
        ? { output, height: tip.height + 1, coinbase: false }
        : parent === undefined
          ? view.get(outpointKey(outpoint))
          : undefined
    if (coin === undefined) {
      const known = tx.outputs.some((_, vout) => view.has(outpointKey({ txid: txid(tx), vout })))
      return known ? rejection('conflict', 'txn-already-known') : rejection('missing', 'bad-txns-inputs-missingorspent')
    }
    coins.push(coin)
  }
  return coins
}

/** What a transaction pays, or why its coins cannot be spent so. */
const checkCoins = (tx: Tx, coins: readonly Coin[], { tip }: AcceptContext): ReturnType<typeof paidBy> | Rejection => {
  if (!sequenceLocksPass(tx, coins, tip)) return rejection('premature', 'non-BIP68-final')
  return paidBy(tx, coins, tip.height + 1)
}

const paidBy = (tx: Tx, coins: readonly Coin[], height: number) => {
  const paid = checkTxInputs(tx, coins, height)
  if (typeof paid !== 'string') return paid
  if (paid === 'bad-txns-premature-spend-of-coinbase') {
    const young = coins.find((coin) => coin.coinbase && height - coin.height < COINBASE_MATURITY)
    return rejection('premature', paid, `tried to spend coinbase at depth ${height - (young?.height ?? height)}`)
  }
  if (paid !== 'bad-txns-in-belowout') return rejection('consensus', paid)
  const valueIn = coins.reduce((sum, { output }) => sum + output.value, 0n)
  const valueOut = tx.outputs.reduce((sum, { value }) => sum + value, 0n)
  return rejection('consensus', paid, `value in (${amountText(valueIn)}) < value out (${amountText(valueOut)})`)
}

/** Whether coins that may be spent at all may be spent so in the block after `tip`: relative locks (BIP 68), young coinbases. */
export const isSpendableNext = (tx: Tx, coins: readonly Coin[], tip: HeaderEntry): boolean =>
  sequenceLocksPass(tx, coins, tip) &&
  !coins.some(({ coinbase, height }) => coinbase && tip.height + 1 - height < COINBASE_MATURITY)

/** The two floors of fees, for a transaction or a package. */
export const checkFees = (pool: Mempool, modifiedFee: bigint, vsize: number, { now }: AcceptContext): Rejection | undefined => {
  const rolling = feeForVsize(rollingFeeratePerKvb(pool, now), vsize)
  if (rolling > 0n && modifiedFee < rolling) return rejection('fee', 'mempool min fee not met', `${modifiedFee} < ${rolling}`)
  const relay = feeForVsize(pool.policy.minRelayFeeratePerKvb, vsize)
  return modifiedFee < relay ? rejection('fee', 'min relay fee not met', `${modifiedFee} < ${relay}`) : undefined
}

/** What fee policy says of one transaction. */
const checkOwnFees = (
  pool: Mempool,
  { tx, modifiedFee, vsize }: MempoolEntry,
  context: AcceptContext,
  { packageFees }: Manner,
): Rejection | undefined => {
  if (context.fromBlock === true) return undefined
  // A package cannot lift this: if the child went, it would lie here below the floor. Version 3 alone is kept small enough.
  const relay = feeForVsize(pool.policy.minRelayFeeratePerKvb, vsize)
  if (tx.version !== TRUC_VERSION && modifiedFee < relay)
    return rejection('policy', 'min relay fee not met', `${modifiedFee} < ${relay}`)
  return packageFees ? undefined : checkFees(pool, modifiedFee, vsize, context)
}

const NO_OTHERS: ReadonlyMap<Txid, Tx> = new Map()

/** All checks but replacement and scripts. `others`: transactions of the same package, already judged. */
export const examine = (
  pool: Mempool,
  tx: Tx,
  context: AcceptContext,
  manner: Manner,
  others: ReadonlyMap<Txid, Tx> = NO_OTHERS,
): Candidate | Rejection => {
  const malformed = checkForm(pool, tx, context)
  if (malformed !== undefined) return malformed
  const conflicts = findConflicts(pool, tx, manner)
  if (isRejection(conflicts)) return conflicts
  const coins = findCoins(pool, tx, context, others)
  if (isRejection(coins)) return coins
  const paid = checkCoins(tx, coins, context)
  if (isRejection(paid)) return paid
  const { policy } = pool
  const prevouts = coins.map(({ output }) => output)
  const nonStandard = policy.requireStandard ? checkStandardInputs(tx, prevouts) : undefined
  if (nonStandard !== undefined) return nonStandard
  const sigopCost = sigOpsCost(tx, prevouts, STANDARD_SCRIPT_FLAGS)
  const modifiedFee = paid.fee + (pool.deltas.get(txid(tx)) ?? 0n)
  const entry = createEntry({
    tx,
    fee: paid.fee,
    modifiedFee,
    sigopCost,
    bytesPerSigop: policy.bytesPerSigop,
    time: context.time ?? context.now,
    height: context.tip.height,
    sequence: context.fromBlock === true ? 0 : pool.sequence,
    spendsCoinbase: coins.some(({ coinbase }) => coinbase),
  })
  if (policy.requireStandard && (paid.fee !== 0n || modifiedFee !== 0n) && hasDust(tx, policy.dustFeeratePerKvb))
    return rejection('policy', 'dust', 'tx with dust output must be 0-fee')
  if (sigopCost > MAX_STANDARD_TX_SIGOPS_COST) return rejection('policy', 'bad-txns-too-many-sigops', String(sigopCost))
  const poor = checkOwnFees(pool, entry, context, manner)
  if (poor !== undefined) return poor
  return place(pool, { tx, entry, prevouts }, conflicts, manner)
}

/** Where the transaction would stand among those that wait. */
const place = (
  pool: Mempool,
  found: Pick<Candidate, 'tx' | 'entry' | 'prevouts'>,
  conflicts: Set<MempoolEntry>,
  { allowCarveOuts, allowSiblingEviction }: Manner,
): Candidate | Rejection => {
  const { tx, entry } = found
  const ancestors = checkAncestors(pool, tx, entry.vsize, { conflicts, allowCarveOuts })
  if (typeof ancestors === 'string') return rejection('policy', 'too-long-mempool-chain', ancestors)
  const restricted = checkTruc(tx, entry.vsize, ancestors, conflicts)
  const { sibling } = restricted ?? {}
  if (restricted !== undefined) {
    if (sibling === undefined || !allowSiblingEviction) return rejection('policy', 'TRUC-violation', restricted.detail)
    conflicts.add(sibling)
  }
  const [spent] = byTxid([...ancestors].filter((ancestor) => conflicts.has(ancestor)))
  if (spent !== undefined)
    return rejection('consensus', 'bad-txns-spends-conflicting-tx', `${entry.txid} spends conflicting transaction ${spent.txid}`)
  return { ...found, conflicts, siblingEviction: sibling !== undefined, ancestors }
}

/** Runs every input's script with the standard flags. */
export const checkScriptsOf = (tx: Tx, prevouts: readonly TxOutput[], context: AcceptContext): Rejection | undefined => {
  const { scriptsPassed, signatures, network, tip } = context
  if (scriptsPassed?.(wtxid(tx)) === true) return undefined
  const forkId = forkIdAt(network, tip.height + 1)
  const run = (flags: number): ReturnType<typeof verifyTx> => verifyTx(tx, prevouts, withForkId(flags, forkId), signatures)
  const failed = run(STANDARD_SCRIPT_FLAGS)
  if (failed === undefined) return undefined
  const mandatory = run(MANDATORY_SCRIPT_FLAGS)
  const byPolicy = mandatory === undefined || mandatory.inputIndex > failed.inputIndex
  const name = byPolicy ? 'non-mandatory-script-verify-flag' : 'mandatory-script-verify-flag-failed'
  // Everything but the witness may be right: then it was taken off on the way here.
  const stripped =
    !hasWitness(tx) &&
    run(STANDARD_SCRIPT_FLAGS & ~(VERIFY.WITNESS | VERIFY.CLEANSTACK)) === undefined &&
    run(STANDARD_SCRIPT_FLAGS & ~VERIFY.CLEANSTACK) !== undefined
  return rejection(stripped ? 'stripped' : byPolicy ? 'policy' : 'consensus', `${name} (${scriptErrorText(failed.error)})`)
}

export const unspentDust = (tx: Tx): Rejection =>
  rejection('policy', 'missing-ephemeral-spends', `tx ${txid(tx)} did not spend parent's ephemeral dust`)

const refused = (why: Rejection): Verdict => ({ status: 'rejected', rejection: why })

/** Takes one transaction into the pool, or says why not. The pool changes unless `testOnly`. */
export const acceptTransaction = (pool: Mempool, tx: Tx, context: AcceptContext, manner: Manner = ALONE): Verdict => {
  const candidate = examine(pool, tx, context, manner)
  if (isRejection(candidate)) return refused(candidate)
  const { entry, prevouts, conflicts, siblingEviction } = candidate
  const { modifiedFee, vsize } = entry
  const effectiveFeeratePerKvb = feeratePerKvb(modifiedFee, vsize)
  if (context.maxFeeratePerKvb !== undefined && effectiveFeeratePerKvb > context.maxFeeratePerKvb)
    return refused(rejection('policy', 'max feerate exceeded'))
  if (pool.policy.requireStandard && findUnspentDust(pool, [tx]) !== undefined) return refused(unspentDust(tx))
  const replaced =
    conflicts.size === 0 ? conflicts : checkReplacement(pool, { tx, modifiedFee, vsize, conflicts }, siblingEviction)
  if (isRejection(replaced)) return refused(replaced)
  const invalid = checkScriptsOf(tx, prevouts, context)
  if (invalid !== undefined) return refused(invalid)
  if (context.maxFee !== undefined && entry.fee > context.maxFee) return refused(rejection('policy', 'max-fee-exceeded'))
  const accepted: Verdict = {
    status: 'accepted',
    entry,
    effectiveFeeratePerKvb,
    effectiveIncludes: [entry.wtxid],
    replaced: [...replaced],
  }
  if (context.testOnly === true) return accepted
  removeWithDescendants(pool, replaced, 'replaced')
  const fromBlock = context.fromBlock === true
  addToMempool(pool, entry, { fromBlock, inPackage: manner.inPackage })
  if (manner.inPackage || fromBlock) return accepted
  trimMempool(pool, context.now)
  return pool.entries.has(entry.txid) ? accepted : refused(rejection('fee', 'mempool full'))
}
