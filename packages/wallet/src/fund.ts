/**
 * Making transactions of our own coins: choose, add change, sign, record. Raising the fee of one is here too.
 * The result's wallet has the coins marked as spent: whoever keeps it can make the next transaction at once, and the two never share
 * a coin (B12). Calls must be serialized, each on the wallet that the one before gave.
 * Inputs and outputs are ordered as in BIP 69: the order tells nobody which output is change.
 */
import { compareBytes } from '@leyden/codec'
import { outpointKey, txid, txWeight, type FeeratePerKw, type Outpoint, type Sat, type Tx, type TxInput } from '@leyden/bitcoin'
import type { TxOutput, Txid } from '@leyden/bitcoin'
import { spendableCoins } from './balance.ts'
import { recordOwn, type Making } from './coins.ts'
import { drop, findCredit, openDraft, pendingSpenders, seal, type Draft } from './draft.ts'
import { dustLimit, feeOf, inputWeight, MAX_STANDARD_WEIGHT, outputWeight, overheadWeight, RELAY_FEERATE_PER_KW } from './fee.ts'
import type { AddressKind, KeyPath, WalletKeys } from './keys.ts'
import { refusal, type Refusal } from './refusal.ts'
import { selectCoins, type Candidate, type Selection, type SelectionTask } from './select.ts'
import { signInputs } from './sign.ts'
import { coinOf, takePath, type Coin, type Wallet } from './state.ts'

/** Sequence that signals replaceability (BIP 125) and sets no relative lock time. */
export const SEQUENCE_REPLACEABLE = 0xffff_fffd

export interface FundRequest {
  /** With `all` exactly one; its value is then what is left after the fee, whatever stands here. */
  readonly outputs: readonly TxOutput[]
  readonly feeratePerKw: FeeratePerKw
  /** Spend every coin that may be spent. What `keepSat` wants kept comes back as change. */
  readonly all?: true
  /** Coins to spend in any case. */
  readonly inputs?: readonly Outpoint[]
  /** 0: unconfirmed change of our own may be spent, if confirmed coins do not suffice. Default 0. */
  readonly minConfirmations?: number
  /** What must stay spendable afterwards (S46: anchors need coins to raise fees). Default 0. */
  readonly keepSat?: bigint
  readonly maxFeeSat?: bigint
  /**
   * Somebody relies on the transaction's id: it is held (not broadcast, coins locked) until commitHeld or releaseHeld,
   * and never replaced.
   */
  readonly lockId?: string
  readonly label?: string
  readonly reference?: string
  readonly changeKind?: AddressKind
  readonly lockTime?: number
  /** Milliseconds since 1970. */
  readonly nowMs: number
}

export interface Funded {
  readonly wallet: Wallet
  /** Signed. */
  readonly tx: Tx
  readonly txid: Txid
  readonly feeSat: Sat
  readonly changeIndex?: number
}

/** A coin on its way into a transaction. */
export type CoinCandidate = Candidate & { readonly coin: Coin }

export const candidateOf = (coin: Coin): CoinCandidate => ({
  key: outpointKey(coin.outpoint),
  valueSat: coin.valueSat,
  weight: inputWeight(coin.path.kind),
  coin,
})

export const inputOf = ({ coin }: CoinCandidate): TxInput => ({
  outpoint: coin.outpoint,
  scriptSig: new Uint8Array(0),
  sequence: SEQUENCE_REPLACEABLE,
  witness: [],
})

export const spentOutput = ({ coin }: CoinCandidate, keys: WalletKeys): TxOutput => ({
  value: coin.valueSat,
  scriptPubKey: keys.scriptPubKey(coin.path),
})

export const sumValues = (outputs: readonly TxOutput[]): bigint => outputs.reduce((sum, { value }) => sum + value, 0n)
export const sumCoins = (coins: readonly Candidate[]): bigint => coins.reduce((sum, { valueSat }) => sum + valueSat, 0n)

/** What follows for selection from the outputs that a transaction of ours will have, and from the change that it may have. */
const taskFor = (
  outputs: readonly TxOutput[],
  change: TxOutput,
): Pick<SelectionTask<CoinCandidate>, 'needSat' | 'weightOf' | 'minimumChangeSat'> => {
  const outputsWeight = outputs.reduce((sum, output) => sum + outputWeight(output), 0)
  const changeWeight = outputWeight(change)
  return {
    needSat: sumValues(outputs),
    minimumChangeSat: dustLimit(change.scriptPubKey),
    weightOf: (count, coinsWeight, withChange) =>
      overheadWeight(count, outputs.length + (withChange ? 1 : 0)) +
      coinsWeight +
      outputsWeight +
      (withChange ? changeWeight : 0),
  }
}

const byOutpoint = (a: CoinCandidate, b: CoinCandidate): number => {
  if (a.coin.outpoint.txid !== b.coin.outpoint.txid) return a.coin.outpoint.txid < b.coin.outpoint.txid ? -1 : 1
  return a.coin.outpoint.vout - b.coin.outpoint.vout
}

/** BIP 69: by value, then by script. */
const byAmount = (a: TxOutput, b: TxOutput): number =>
  a.value === b.value ? compareBytes(a.scriptPubKey, b.scriptPubKey) : a.value < b.value ? -1 : 1

/** Signs, records and seals: the end of every transaction that is all ours. */
const finish = (
  draft: Draft,
  keys: WalletKeys,
  selection: Selection<CoinCandidate>,
  outputs: readonly TxOutput[],
  change: { readonly output: TxOutput; readonly kind: AddressKind },
  request: { readonly nowMs: number; readonly lockTime?: number },
  making: Making,
): Funded | Refusal => {
  const coins = [...selection.coins].sort(byOutpoint)
  const changeOutput = { ...change.output, value: selection.changeSat as Sat }
  const all = (selection.changeSat > 0n ? [...outputs, changeOutput] : [...outputs]).sort(byAmount)
  const unsigned: Tx = { version: 2, inputs: coins.map(inputOf), outputs: all, lockTime: request.lockTime ?? 0 }
  const weight =
    overheadWeight(coins.length, all.length) +
    coins.reduce((n, coin) => n + coin.weight, 0) +
    all.reduce((n, one) => n + outputWeight(one), 0)
  if (weight > MAX_STANDARD_WEIGHT) return refusal('too_large', { weight, maximum: MAX_STANDARD_WEIGHT })
  const tx = signInputs(
    unsigned,
    coins.map((one) => spentOutput(one, keys)),
    coins.map(({ coin }) => coin.path),
    keys,
    draft.tip.height,
  )
  if (selection.changeSat > 0n) draft.branches = takePath(draft.branches, change.kind, 1).branches
  recordOwn(draft, keys, tx, request.nowMs, { ...making, feeSat: selection.feeSat as Sat })
  const changeIndex = all.indexOf(changeOutput)
  return {
    wallet: seal(draft),
    tx,
    txid: txid(tx),
    feeSat: selection.feeSat as Sat,
    ...(changeIndex < 0 ? {} : { changeIndex }),
  }
}

/** The next change output of a wallet, worth nothing yet. */
export const nextChange = (
  wallet: Pick<Wallet, 'branches'>,
  keys: WalletKeys,
  kind: AddressKind,
): { readonly output: TxOutput; readonly path: KeyPath; readonly kind: AddressKind } => {
  const { path } = takePath(wallet.branches, kind, 1)
  return { output: { value: 0n as Sat, scriptPubKey: keys.scriptPubKey(path) }, path, kind }
}

const findForced = (coins: readonly Coin[], wanted: readonly Outpoint[]): CoinCandidate[] | Refusal => {
  const forced = new Map<string, CoinCandidate>()
  for (const outpoint of wanted) {
    const key = outpointKey(outpoint)
    const coin = coins.find((one) => outpointKey(one.outpoint) === key)
    if (coin === undefined) return refusal('coin_unavailable', { outpoint: key })
    forced.set(key, candidateOf(coin))
  }
  return [...forced.values()]
}

/** Everything into one output, but for what must be kept. */
const sweep = (
  coins: readonly CoinCandidate[],
  output: TxOutput,
  change: TxOutput,
  request: FundRequest,
): { selection: Selection<CoinCandidate>; outputs: readonly TxOutput[] } | Refusal => {
  const worthwhile = coins.filter(({ valueSat, weight }) => valueSat > feeOf(request.feeratePerKw, weight))
  const keepSat = request.keepSat ?? 0n
  const minimumChangeSat = dustLimit(change.scriptPubKey)
  const changeSat = keepSat === 0n ? 0n : keepSat > minimumChangeSat ? keepSat : minimumChangeSat
  const { weightOf } = taskFor([output], change)
  const weight = weightOf(
    worthwhile.length,
    worthwhile.reduce((sum, one) => sum + one.weight, 0),
    changeSat > 0n,
  )
  const feeSat = feeOf(request.feeratePerKw, weight)
  const availableSat = sumCoins(worthwhile)
  const value = availableSat - feeSat - changeSat
  const minimumSat = dustLimit(output.scriptPubKey)
  if (value < minimumSat || value <= 0n)
    return refusal(availableSat - feeSat < minimumSat || keepSat === 0n ? 'insufficient_balance' : 'reserve_needed', {
      availableSat,
      feeSat,
      keepSat,
      minimumSat,
    })
  return { selection: { coins: worthwhile, feeSat, changeSat }, outputs: [{ ...output, value: value as Sat }] }
}

const checkOutputs = ({ outputs, all }: FundRequest): Refusal | undefined => {
  if (outputs.length === 0 || (all === true && outputs.length !== 1)) return refusal('invalid_outputs', { count: outputs.length })
  if (all === true) return undefined
  for (const [index, { value, scriptPubKey }] of outputs.entries()) {
    const minimumSat = dustLimit(scriptPubKey)
    if (value < minimumSat) return refusal('dust_output', { index, valueSat: value, minimumSat })
  }
  return undefined
}

const choose = (
  draft: Draft,
  change: TxOutput,
  request: FundRequest,
  minConfirmations: number,
): { selection: Selection<CoinCandidate>; outputs: readonly TxOutput[] } | Refusal => {
  const coins = spendableCoins(draft, minConfirmations)
  const forced = findForced(coins, request.inputs ?? [])
  if (!Array.isArray(forced)) return forced
  const [first] = request.outputs
  if (request.all === true && first !== undefined) return sweep(coins.map(candidateOf), first, change, request)

  const { feeratePerKw } = request
  const isForced = new Set(forced.map(({ key }) => key))
  const keepSat = request.keepSat ?? 0n
  const total = spendableCoins(draft).reduce((sum, { valueSat }) => sum + valueSat, 0n)
  const task: SelectionTask<CoinCandidate> = {
    ...taskFor(request.outputs, change),
    forced,
    candidates: coins.map(candidateOf).filter(({ key }) => !isForced.has(key)),
    feeFor: (weight) => feeOf(feeratePerKw, weight),
    exact: { feeratePerKw, spendWeight: inputWeight(request.changeKind ?? 'p2wpkh') },
  }
  const selection = selectCoins(task)
  const amounts = { availableSat: total, neededSat: task.needSat, keepSat }
  if (selection === undefined) return refusal('insufficient_balance', amounts)
  if (total - sumCoins(selection.coins) + selection.changeSat < keepSat)
    return refusal('reserve_needed', { ...amounts, feeSat: selection.feeSat })
  return { selection, outputs: request.outputs }
}

/**
 * A signed transaction that pays `outputs` from our coins, recorded in the wallet. Refuses with `insufficient_balance`,
 * `reserve_needed`, `dust_output`, `coin_unavailable`, `over_budget`, `invalid_outputs` or `too_large`; nothing has changed then.
 */
export const fund = (wallet: Wallet, keys: WalletKeys, request: FundRequest): Funded | Refusal => {
  const wrong = checkOutputs(request)
  if (wrong !== undefined) return wrong
  const draft = openDraft(wallet)
  const change = nextChange(draft, keys, request.changeKind ?? 'p2wpkh')
  const least = request.minConfirmations ?? 0
  // Confirmed coins first: a chain of unconfirmed transactions is one more thing to go wrong
  const confirmed = request.all === true || least > 0 ? undefined : choose(draft, change.output, request, 1)
  const chosen = confirmed !== undefined && 'selection' in confirmed ? confirmed : choose(draft, change.output, request, least)
  if (!('selection' in chosen)) return chosen
  const { selection, outputs } = chosen
  if (request.maxFeeSat !== undefined && selection.feeSat > request.maxFeeSat)
    return refusal('over_budget', { feeSat: selection.feeSat, maxFeeSat: request.maxFeeSat })
  const { lockId, label, reference } = request
  return finish(draft, keys, selection, outputs, change, request, {
    ...(lockId === undefined ? {} : { lockId, held: true as const }),
    ...(label === undefined ? {} : { label }),
    ...(reference === undefined ? {} : { reference }),
  })
}

/** Coins of a pending transaction of ours, as if it were not there. */
export const coinsSpentBy = (wallet: Pick<Wallet, 'transactions'>, tx: Tx): CoinCandidate[] => {
  const coins: CoinCandidate[] = []
  for (const { outpoint } of tx.inputs) {
    const found = findCredit(wallet, outpoint)
    if (found !== undefined) coins.push(candidateOf(coinOf(found.record, found.credit)))
  }
  return coins
}

/**
 * What a replacement must pay. BIP 125 rules 3 and 4: the old fee and the relay fee of the new transaction on top; and Bitcoin Core:
 * a higher rate than the old one.
 */
export const replacementFee = (oldFeeSat: bigint, oldWeight: number, weight: number): bigint => {
  const added = oldFeeSat + feeOf(RELAY_FEERATE_PER_KW, weight)
  const sameRate = (oldFeeSat * BigInt(weight)) / BigInt(oldWeight) + 1n
  return added > sameRate ? added : sameRate
}

export interface FeeBumpRequest {
  readonly txid: Txid
  readonly feeratePerKw: FeeratePerKw
  readonly maxFeeSat?: bigint
  readonly nowMs: number
}

/**
 * Replaces a pending transaction of ours by one with the same payments and a higher fee (BIP 125): from its change, then from
 * more confirmed coins. The old one is dropped. Refuses `unknown_transaction`, `already_confirmed`, `no_longer_valid`,
 * `not_replaceable`, `has_descendants`, `over_budget`, `insufficient_balance`.
 */
export const bumpFee = (wallet: Wallet, keys: WalletKeys, request: FeeBumpRequest): Funded | Refusal => {
  const old = wallet.transactions.get(request.txid)
  if (old === undefined) return refusal('unknown_transaction', { txid: request.txid })
  if (old.block !== undefined) return refusal('already_confirmed', { txid: old.txid })
  if (old.dropped !== undefined) return refusal('no_longer_valid', { txid: old.txid })
  const oldFeeSat = old.feeSat
  if (old.lockId !== undefined || old.bump !== undefined || old.debits.length !== old.tx.inputs.length || oldFeeSat === undefined)
    return refusal('not_replaceable', { txid: old.txid })
  const spenders = pendingSpenders(wallet)
  if (old.tx.outputs.some((_, vout) => spenders.has(outpointKey({ txid: old.txid, vout }))))
    return refusal('has_descendants', { txid: old.txid })

  const draft = openDraft(wallet)
  const oldChange = new Set(old.credits.filter(({ path }) => path.change === 1).map(({ vout }) => vout))
  const payments = old.tx.outputs.filter((_, vout) => !oldChange.has(vout))
  // A transaction to our own change alone: one output must stay
  const outputs = payments.length > 0 ? payments : old.tx.outputs.slice(0, 1)
  const forced = coinsSpentBy(draft, old.tx)
  drop(draft, old.txid)
  const change = nextChange(draft, keys, 'p2wpkh')
  const isForced = new Set(forced.map(({ key }) => key))
  const oldWeight = txWeight(old.tx)
  const task: SelectionTask<CoinCandidate> = {
    ...taskFor(outputs, change.output),
    forced,
    candidates: spendableCoins(draft, 1)
      .map(candidateOf)
      .filter(({ key }) => !isForced.has(key)),
    feeFor: (weight) => {
      const least = replacementFee(oldFeeSat, oldWeight, weight)
      const wanted = feeOf(request.feeratePerKw, weight)
      return wanted > least ? wanted : least
    },
  }
  const selection = selectCoins(task)
  if (selection === undefined) return refusal('insufficient_balance', { neededSat: task.needSat })
  if (request.maxFeeSat !== undefined && selection.feeSat > request.maxFeeSat)
    return refusal('over_budget', { feeSat: selection.feeSat, maxFeeSat: request.maxFeeSat })
  const { label, reference } = old
  return finish(
    draft,
    keys,
    selection,
    outputs,
    change,
    { nowMs: request.nowMs, lockTime: old.tx.lockTime },
    {
      ...(label === undefined ? {} : { label }),
      ...(reference === undefined ? {} : { reference }),
    },
  )
}
