/**
 * Which coins to spend. First an exact match without change by branch and bound (Murch, "An Evaluation of Coin Selection Strategies"),
 * then the smallest coin that is enough by itself, then the greatest first, with those taken out again that turn out not to be needed.
 * Deterministic: candidates come greatest first, in a total order.
 * Change below dust is never made: it goes to the fee, or, where there must be change, more coins are taken.
 */
import { feeOf } from './fee.ts'

export interface Candidate {
  readonly key: string
  readonly valueSat: bigint
  /** Of the input that spends it. */
  readonly weight: number
}

export interface SelectionTask<C extends Candidate> {
  /** Coins that must be spent. */
  readonly forced: readonly C[]
  /** Others, greatest value first. */
  readonly candidates: readonly C[]
  /** Outputs less foreign inputs: what coins must bring beside the fee. May be negative. */
  readonly needSat: bigint
  /** Weight of the whole transaction with so many coins, of this weight together, with or without the change output. */
  weightOf(coinCount: number, coinsWeight: number, withChange: boolean): number
  /** Fee that a transaction of this weight must pay. Grows with the weight. */
  feeFor(weight: number): bigint
  /** The least that the change output may hold. */
  readonly minimumChangeSat: bigint
  /** The transaction has no output but the change. */
  readonly mustHaveChange?: boolean
  /** No more than this, excess that is not worth a change output included. */
  readonly maximumFeeSat?: bigint
  /** Where the fee is nothing but this rate: allows to look for an exact match; `spendWeight` is what spending change will cost. */
  readonly exact?: { readonly feeratePerKw: number; readonly spendWeight: number }
}

export interface Selection<C extends Candidate> {
  readonly coins: readonly C[]
  readonly feeSat: bigint
  /** 0n: no change output. */
  readonly changeSat: bigint
}

const sumOf = (coins: readonly Candidate[]): { value: bigint; weight: number } =>
  coins.reduce((sum, coin) => ({ value: sum.value + coin.valueSat, weight: sum.weight + coin.weight }), { value: 0n, weight: 0 })

/** What a set of coins makes, or undefined when it is not enough. */
export const settle = <C extends Candidate>(task: SelectionTask<C>, coins: readonly C[]): Selection<C> | undefined => {
  const { value, weight } = sumOf(coins)
  const left = value - task.needSat
  const feeWithChange = task.feeFor(task.weightOf(coins.length, weight, true))
  const changeSat = left - feeWithChange
  const limit = task.maximumFeeSat
  if (changeSat >= task.minimumChangeSat && changeSat > 0n && (limit === undefined || feeWithChange <= limit))
    return { coins, feeSat: feeWithChange, changeSat }
  if (task.mustHaveChange === true) return undefined
  const fee = task.feeFor(task.weightOf(coins.length, weight, false))
  return left >= fee && (limit === undefined || left <= limit) ? { coins, feeSat: left, changeSat: 0n } : undefined
}

/** Bitcoin Core's TOTAL_TRIES. */
const MAX_TRIES = 100_000
/** A count of more inputs takes two bytes more: the sums below would be off. */
const MAX_EXACT_INPUTS = 252
/** The search goes as deep as there are coins. */
const MAX_EXACT_CANDIDATES = 1000

/** Amounts here are thousandths of a satoshi, in which a rate per 1000 weight has no remainder. */
const branchAndBound = <C extends Candidate>(task: SelectionTask<C>): readonly C[] | undefined => {
  if (task.exact === undefined || task.mustHaveChange === true) return undefined
  const { feeratePerKw, spendWeight } = task.exact
  const rate = BigInt(feeratePerKw)
  const worth = (coin: Candidate): bigint => coin.valueSat * 1000n - rate * BigInt(coin.weight)
  const forced = sumOf(task.forced)
  const base = task.weightOf(task.forced.length, forced.weight, false)
  const target = task.needSat * 1000n + rate * BigInt(base) - forced.value * 1000n
  const upper = target + rate * BigInt(task.weightOf(0, 0, true) - task.weightOf(0, 0, false) + spendWeight)
  const coins = task.candidates
    .filter((coin) => worth(coin) > 0n && worth(coin) <= upper)
    .sort((a, b) => compare(worth(b), worth(a)))
    .slice(0, MAX_EXACT_CANDIDATES)
  const worths = coins.map(worth)
  // What is left from each place on: to stop early where even all of it is not enough
  const rest = Array.from({ length: coins.length + 1 }, () => 0n)
  for (let i = coins.length - 1; i >= 0; i--) rest[i] = rest[i + 1]! + worths[i]!

  let best: { picked: number[]; excess: bigint } | undefined
  let tries = MAX_TRIES
  const picked: number[] = []
  const visit = (at: number, sum: bigint): void => {
    if (tries-- <= 0 || sum > upper || best?.excess === 0n) return
    if (sum >= target) {
      if (best === undefined || sum - target < best.excess) best = { picked: [...picked], excess: sum - target }
      return
    }
    if (at >= coins.length || sum + rest[at]! < target || picked.length + task.forced.length >= MAX_EXACT_INPUTS) return
    picked.push(at)
    visit(at + 1, sum + worths[at]!)
    picked.pop()
    // Equal coins are interchangeable: having left one out, leave them all out
    let next = at + 1
    while (next < coins.length && worths[next] === worths[at]) next++
    visit(next, sum)
  }
  visit(0, 0n)
  return best?.picked.map((index) => coins[index]!)
}

const compare = (a: bigint, b: bigint): number => (a === b ? 0 : a < b ? -1 : 1)

/** Undefined: the coins are not enough. */
export const selectCoins = <C extends Candidate>(task: SelectionTask<C>): Selection<C> | undefined => {
  const { forced, candidates } = task
  const alone = forced.length > 0 ? settle(task, forced) : undefined
  if (alone !== undefined) return alone
  const exact = branchAndBound(task)
  const match = exact === undefined ? undefined : settle(task, [...forced, ...exact])
  if (match !== undefined) return match

  for (let i = candidates.length - 1; i >= 0; i--) {
    const single = settle(task, [...forced, candidates[i]!])
    // A single coin whose rest is lost to the fee is taken only if nothing better comes
    if (single !== undefined && single.changeSat > 0n) return single
  }
  const taken: C[] = [...forced]
  let enough: Selection<C> | undefined
  for (const coin of candidates) {
    if (coin.valueSat <= task.feeFor(coin.weight) - task.feeFor(0)) continue
    taken.push(coin)
    enough = settle(task, taken)
    if (enough !== undefined) break
  }
  if (enough === undefined) return undefined
  for (let i = taken.length - 1; i >= forced.length; i--) {
    const fewer = taken.toSpliced(i, 1)
    const settled = settle(task, fewer)
    if (settled === undefined || settled.feeSat > enough.feeSat) continue
    enough = settled
    taken.splice(i, 1)
  }
  return { ...enough, coins: [...enough.coins] }
}

/** The fee of the rate alone, for most tasks. */
export const feeAtRate =
  (feeratePerKw: number) =>
  (weight: number): bigint =>
    feeOf(feeratePerKw, weight)
