/**
 * Raising the fee of somebody else's transaction with coins of ours: an HTLC transaction of an anchor channel, signed
 * SINGLE|ANYONECANPAY, that takes more inputs and outputs (BOLT 3 § HTLC-Timeout and HTLC-Success Transactions), or a parent that a
 * child pays for by spending its anchor (BOLT 3 § to_local_anchor).
 * An attempt has an id that is stable over bumps. The next attempt of that id replaces the one before: it spends the same coins and
 * perhaps more confirmed ones, and pays what BIP 125 wants (rules 2, 3, 4). Asking again for no more than was paid gives the same
 * transaction again: to be asked every block does not raise the fee (S10). Fees stay within the limit (S16), or there is a refusal.
 */
import {
  outpointKey,
  p2wshOf,
  txid,
  txWeight,
  type FeeratePerKw,
  type Outpoint,
  type Sat,
  type Tx,
  type TxOutput,
} from '@leyden/bitcoin'
import type { Txid, TxInput } from '@leyden/bitcoin'
import { spendableCoins } from './balance.ts'
import { recordOwn, seeTransaction } from './coins.ts'
import { conflictsOf, drop, openDraft, pendingSpenders, samePrefix, seal, type Draft } from './draft.ts'
import { dustLimit, feeOf, foreignInputWeight, outputWeight, overheadWeight, RELAY_FEERATE_PER_KW } from './fee.ts'
import {
  candidateOf,
  coinsSpentBy,
  inputOf,
  nextChange,
  replacementFee,
  spentOutput,
  sumCoins,
  sumValues,
  type CoinCandidate,
} from './fund.ts'
import type { KeyPath, WalletKeys } from './keys.ts'
import { refusal, type Refusal } from './refusal.ts'
import { selectCoins, type SelectionTask } from './select.ts'
import { signInputs } from './sign.ts'
import { isPending, takePath, type Wallet, type WalletTx } from './state.ts'

/** An output that a foreign input spends. Without a script it is P2WSH, of the last item of the input's witness. */
export type ForeignOutput = { readonly value: Sat; readonly scriptPubKey?: Uint8Array }

export interface ForeignRequest {
  /** Stable over attempts. */
  readonly id: string
  /** Its inputs and outputs keep their places; witnesses that are there are kept. */
  readonly tx: Tx
  /** What its inputs spend, in their order. */
  readonly spent: readonly ForeignOutput[]
  /** Weight of each witness (its count included) where the transaction lacks it. */
  readonly witnessWeights?: readonly number[]
  /** The transaction whose outputs the inputs that are not ours spend, and what it spends: with them the wallet sees when both are lost. */
  readonly parent?: { readonly txid: Txid; readonly inputs: readonly Outpoint[] }
  readonly feeratePerKw: FeeratePerKw
  /** The most that the whole fee may be. */
  readonly maxFeeSat: bigint
  readonly label?: string
  readonly nowMs: number
}

export interface CpfpRequest {
  readonly id: string
  /** `inputs`: what it spends. With them the wallet sees when it can never be mined, and frees the child's coins by itself. */
  readonly parent: {
    readonly txid: Txid
    readonly weight: number
    readonly feeSat: bigint
    readonly inputs?: readonly Outpoint[]
  }
  /** The output of the parent that the child spends beside our coins; `witnessWeight` is that of the witness to come, count included. */
  readonly anchor: {
    readonly outpoint: Outpoint
    readonly output: TxOutput
    readonly witnessWeight: number
    readonly sequence?: number
  }
  /** What parent and child together shall pay. */
  readonly feeratePerKw: FeeratePerKw
  /** The most that the child's fee may be. */
  readonly maxFeeSat: bigint
  readonly label?: string
  readonly nowMs: number
}

export interface Bumped {
  readonly wallet: Wallet
  /** Our inputs are signed. Foreign ones are as they were given; for cpfp, input 0 (the anchor) has no witness yet. */
  readonly tx: Tx
  readonly txid: Txid
  /** Of this transaction alone. */
  readonly feeSat: Sat
  /** What all inputs spend, in their order: for whoever signs the foreign ones. */
  readonly spent: readonly TxOutput[]
  readonly changeIndex?: number
  /** The attempt before was good enough: this is it. */
  readonly unchanged?: true
}

/** The last attempt of an id that counts, pending or mined. */
export const findBump = (wallet: Pick<Wallet, 'transactions'>, id: string): WalletTx | undefined => {
  let found: WalletTx | undefined
  for (const record of wallet.transactions.values())
    if (record.bump === id && record.dropped === undefined && (found === undefined || record.block !== undefined)) found = record
  return found
}

/** A transaction to be completed: what is foreign in it, and what it must pay. */
type Frame = {
  readonly id: string
  readonly version: number
  readonly lockTime: number
  readonly inputs: readonly TxInput[]
  readonly spent: readonly TxOutput[]
  readonly inputsWeight: number
  readonly outputs: readonly TxOutput[]
  readonly mustHaveChange: boolean
  /** Fee by the target alone. */
  readonly wantedFee: (weight: number) => bigint
  readonly maxFeeSat: bigint
  readonly label: string | undefined
  readonly parent?: NonNullable<WalletTx['parent']>
  readonly nowMs: number
  /** Height of the last block. */
  readonly tip: number
}

const max = (a: bigint, b: bigint): bigint => (a > b ? a : b)
const min = (a: bigint, b: bigint): bigint => (a < b ? a : b)

/** The transaction of `frame` with these coins and this change; signed by us. */
const assemble = (
  frame: Frame,
  keys: WalletKeys,
  coins: readonly CoinCandidate[],
  change: TxOutput | undefined,
): { tx: Tx; spent: readonly TxOutput[] } => {
  const unsigned: Tx = {
    version: frame.version,
    inputs: [...frame.inputs, ...coins.map(inputOf)],
    outputs: change === undefined ? frame.outputs : [...frame.outputs, change],
    lockTime: frame.lockTime,
  }
  const spent = [...frame.spent, ...coins.map((one) => spentOutput(one, keys))]
  const paths: (KeyPath | undefined)[] = [...frame.inputs.map(() => undefined), ...coins.map(({ coin }) => coin.path)]
  return { tx: signInputs(unsigned, spent, paths, keys, frame.tip), spent }
}

/**
 * Whether something that is no attempt itself stands on this one: a channel's funding, a payment. That happens when a reorganisation
 * takes out an attempt whose change was spent since: to replace it would make what stands on it impossible.
 */
const isReliedOn = (wallet: Wallet, record: WalletTx): boolean =>
  record.tx.outputs.some((_, vout) => {
    const spender = pendingSpenders(wallet).get(outpointKey({ txid: record.txid, vout }))
    const child = spender === undefined ? undefined : wallet.transactions.get(spender)
    return child !== undefined && (child.bump === undefined || isReliedOn(wallet, child))
  })

/**
 * A pending transaction that spends what `tx` spends and that something stands on (a channel's funding, a payment): to be broadcast in
 * the place of `tx`. It is there after a reorganisation that took out a claim whose proceeds were spent since.
 */
export const findReliedOn = (wallet: Wallet, tx: Tx): Tx | undefined =>
  conflictsOf(pendingSpenders(wallet), tx)
    .map((id) => wallet.transactions.get(id))
    .find((record) => record !== undefined && isReliedOn(wallet, record))?.tx

/** The attempt before, when it pays what is wanted now or all that it may: with the foreign witnesses that are given now. */
const reuse = (wallet: Wallet, keys: WalletKeys, frame: Frame, previous: WalletTx, weight: number): Bumped | undefined => {
  const { tx, feeSat } = previous
  if (feeSat === undefined) return undefined
  if (feeSat < min(frame.wantedFee(weight), frame.maxFeeSat) && !isReliedOn(wallet, previous)) return undefined
  const asked: Tx = { version: frame.version, inputs: frame.inputs, outputs: frame.outputs, lockTime: frame.lockTime }
  if (!samePrefix(tx, asked, frame.inputs.length, frame.outputs.length)) return undefined
  const coins = coinsSpentBy(wallet, tx)
  if (frame.inputs.length + coins.length !== tx.inputs.length) return undefined
  const changeIndex = frame.outputs.length
  const inputs = tx.inputs.map((input, i) => {
    const given = frame.inputs[i]
    return given !== undefined && given.witness.length > 0 ? { ...input, witness: given.witness } : input
  })
  return {
    wallet,
    tx: { ...tx, inputs },
    txid: previous.txid,
    feeSat,
    spent: [...frame.spent, ...coins.map((one) => spentOutput(one, keys))],
    ...(tx.outputs.length > changeIndex ? { changeIndex } : {}),
    unchanged: true,
  }
}

/** Weight of an attempt with its foreign witnesses, whether they are there or not. */
const fullWeight = (frame: Frame, tx: Tx): number => {
  const there = tx.inputs.slice(0, frame.inputs.length).reduce((sum, input) => sum + foreignInputWeight(input), 0)
  return txWeight(tx) - there + frame.inputsWeight
}

const taskOf = (draft: Draft, frame: Frame, change: TxOutput, previous: WalletTx | undefined): SelectionTask<CoinCandidate> => {
  const outputsWeight = frame.outputs.reduce((sum, output) => sum + outputWeight(output), 0)
  const changeWeight = outputWeight(change)
  const previousWeight = previous === undefined ? 0 : fullWeight(frame, previous.tx)
  const forced = previous === undefined ? [] : coinsSpentBy(draft, previous.tx)
  const isForced = new Set(forced.map(({ key }) => key))
  return {
    forced,
    candidates: spendableCoins(draft, 1)
      .map(candidateOf)
      .filter(({ key }) => !isForced.has(key)),
    needSat: sumValues(frame.outputs) - sumValues(frame.spent),
    weightOf: (count, coinsWeight, withChange) =>
      overheadWeight(frame.inputs.length + count, frame.outputs.length + (withChange ? 1 : 0)) +
      frame.inputsWeight +
      coinsWeight +
      outputsWeight +
      (withChange ? changeWeight : 0),
    feeFor: (weight) => {
      const wanted = min(frame.wantedFee(weight), frame.maxFeeSat)
      const least = feeOf(RELAY_FEERATE_PER_KW, weight)
      if (previous === undefined) return max(wanted, least)
      return max(wanted, max(least, replacementFee(previous.feeSat ?? 0n, previousWeight, weight)))
    },
    minimumChangeSat: dustLimit(change.scriptPubKey),
    mustHaveChange: frame.mustHaveChange,
    maximumFeeSat: frame.maxFeeSat,
  }
}

/** Confirmed coins; for a first attempt change of our own pending transactions too, where confirmed ones do not suffice. */
const selectFor = (draft: Draft, task: SelectionTask<CoinCandidate>, previous: WalletTx | undefined) => {
  const selection = selectCoins(task)
  if (selection !== undefined || previous !== undefined) return selection
  return selectCoins({ ...task, candidates: spendableCoins(draft, 0).map(candidateOf) })
}

const complete = (wallet: Wallet, keys: WalletKeys, frame: Frame): Bumped | Refusal => {
  const before = findBump(wallet, frame.id)
  if (before?.block !== undefined) return refusal('already_confirmed', { id: frame.id, txid: before.txid }) // S18
  const previous = before !== undefined && isPending(before) ? before : undefined
  if (previous !== undefined) {
    const same = reuse(wallet, keys, frame, previous, fullWeight(frame, previous.tx))
    if (same !== undefined) return same
  }
  const draft = openDraft(wallet)
  if (previous !== undefined) drop(draft, previous.txid)
  const change = nextChange(draft, keys, 'p2wpkh')
  const task = taskOf(draft, frame, change.output, previous)
  const selection = selectFor(draft, task, previous)
  if (selection === undefined) {
    const { maximumFeeSat: _, ...unlimited } = task
    const costly = selectFor(draft, unlimited, previous)
    return costly === undefined
      ? refusal('insufficient_balance', { id: frame.id, availableSat: sumCoins([...task.forced, ...task.candidates]) })
      : refusal('over_budget', { id: frame.id, feeSat: costly.feeSat, maxFeeSat: frame.maxFeeSat })
  }
  const changeOutput = selection.changeSat > 0n ? { ...change.output, value: selection.changeSat as Sat } : undefined
  const { tx, spent } = assemble(frame, keys, selection.coins, changeOutput)
  if (changeOutput !== undefined) draft.branches = takePath(draft.branches, change.kind, 1).branches
  recordOwn(draft, keys, tx, frame.nowMs, {
    feeSat: selection.feeSat as Sat,
    bump: frame.id,
    ...(frame.label === undefined ? {} : { label: frame.label }),
    ...(frame.parent === undefined ? {} : { parent: frame.parent }),
  })
  return {
    wallet: seal(draft),
    tx,
    txid: txid(tx),
    feeSat: selection.feeSat as Sat,
    spent,
    ...(changeOutput === undefined ? {} : { changeIndex: frame.outputs.length }),
  }
}

const scriptOf = (input: TxInput | undefined, { scriptPubKey }: ForeignOutput): Uint8Array => {
  if (scriptPubKey !== undefined) return scriptPubKey
  const witnessScript = input?.witness.at(-1)
  if (witnessScript === undefined) throw new RangeError('the script of a foreign output is neither given nor in a witness')
  return p2wshOf(witnessScript)
}

/**
 * Completes a transaction that has inputs and outputs of somebody else already: they keep their indexes, our inputs and change come
 * after. A transaction that pays enough by itself comes back as it is. Refuses `insufficient_balance` when our coins do not
 * suffice, `over_budget` when the limit does not even allow the relay fee or what a replacement must pay, `already_confirmed`.
 * Throws RangeError when `spent` does not fit the transaction.
 */
export const fundForeign = (wallet: Wallet, keys: WalletKeys, request: ForeignRequest): Bumped | Refusal => {
  const { tx, feeratePerKw } = request
  if (request.spent.length !== tx.inputs.length) throw new RangeError('every output that the transaction spends is needed')
  const spent = request.spent.map((output, i) => ({ value: output.value, scriptPubKey: scriptOf(tx.inputs[i], output) }))
  const inputsWeight = tx.inputs.reduce(
    (sum, input, i) => sum + foreignInputWeight(input, input.witness.length > 0 ? undefined : request.witnessWeights?.[i]),
    0,
  )
  const feeSat = sumValues(spent) - sumValues(tx.outputs)
  const weight = txWeight(tx) + inputsWeight - tx.inputs.reduce((sum, input) => sum + foreignInputWeight(input), 0)
  if (feeSat >= feeOf(feeratePerKw, weight) && findBump(wallet, request.id) === undefined)
    return { wallet, tx, txid: txid(tx), feeSat: feeSat as Sat, spent, unchanged: true }
  return complete(wallet, keys, {
    id: request.id,
    version: tx.version,
    lockTime: tx.lockTime,
    inputs: tx.inputs,
    spent,
    inputsWeight,
    outputs: tx.outputs,
    mustHaveChange: false,
    wantedFee: (whole) => feeOf(feeratePerKw, whole),
    maxFeeSat: request.maxFeeSat,
    label: request.label,
    ...(request.parent === undefined ? {} : { parent: request.parent }),
    nowMs: request.nowMs,
    tip: wallet.tip.height,
  })
}

/**
 * A child that spends the anchor (input 0, to be signed by the caller, who then gives it to completeBump) and coins of ours, so that
 * parent and child together pay the rate. Its only output is our change. Refuses as fundForeign, and `not_needed` when the parent
 * pays the rate by itself.
 */
export const cpfp = (wallet: Wallet, keys: WalletKeys, request: CpfpRequest): Bumped | Refusal => {
  const { parent, anchor, feeratePerKw } = request
  if (parent.feeSat >= feeOf(feeratePerKw, parent.weight))
    return refusal('not_needed', { txid: parent.txid, feeSat: parent.feeSat })
  const input: TxInput = {
    outpoint: anchor.outpoint,
    scriptSig: new Uint8Array(0),
    sequence: anchor.sequence ?? 0xffff_fffd,
    witness: [],
  }
  return complete(wallet, keys, {
    id: request.id,
    version: 2,
    lockTime: 0,
    inputs: [input],
    spent: [anchor.output],
    inputsWeight: foreignInputWeight(input, anchor.witnessWeight),
    outputs: [],
    mustHaveChange: true,
    wantedFee: (weight) => feeOf(feeratePerKw, parent.weight + weight) - parent.feeSat,
    maxFeeSat: request.maxFeeSat,
    label: request.label,
    parent: { txid: parent.txid, inputs: parent.inputs ?? [] },
    nowMs: request.nowMs,
    tip: wallet.tip.height,
  })
}

/** Keeps the foreign witnesses that the caller has added: the same transaction (by id), now complete. */
export const completeBump = (wallet: Wallet, keys: WalletKeys, tx: Tx, nowMs: number): Wallet =>
  wallet.transactions.has(txid(tx)) ? seeTransaction(wallet, keys, tx, nowMs).wallet : wallet

/** Gives up all pending attempts of an id: their coins are free again. One that something stands on stays, as long as it can be mined. */
export const releaseBump = (wallet: Wallet, id: string): Wallet => {
  const found = findBump(wallet, id)
  if (found === undefined || !isPending(found) || isReliedOn(wallet, found)) return wallet
  const draft = openDraft(wallet)
  drop(draft, found.txid)
  return seal(draft)
}
