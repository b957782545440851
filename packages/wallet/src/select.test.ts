import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { feeOf, selectCoins, type Candidate, type SelectionTask } from './index.ts'

const DUST = 294n
const CHANGE_WEIGHT = 124

const coinsOf = (values: readonly bigint[]): Candidate[] =>
  values
    .map((valueSat, i) => ({ key: `coin ${i}`, valueSat, weight: i % 2 === 0 ? 271 : 230 }))
    .sort((a, b) => (a.valueSat > b.valueSat ? -1 : a.valueSat < b.valueSat ? 1 : a.key < b.key ? -1 : 1))

const taskOf = (
  coins: readonly Candidate[],
  needSat: bigint,
  feeratePerKw: number,
  more: Partial<SelectionTask<Candidate>> = {},
) =>
  ({
    forced: [],
    candidates: coins,
    needSat,
    weightOf: (count: number, weight: number, withChange: boolean) =>
      42 + (count > 252 ? 8 : 0) + 124 + weight + (withChange ? CHANGE_WEIGHT : 0),
    feeFor: (weight: number) => feeOf(feeratePerKw, weight),
    minimumChangeSat: DUST,
    exact: { feeratePerKw, spendWeight: 271 },
    ...more,
  }) satisfies SelectionTask<Candidate>

const sumOf = (coins: readonly Candidate[]) => coins.reduce((sum, { valueSat }) => sum + valueSat, 0n)

const tasks = fc.record({
  values: fc.array(fc.bigInt(1n, 2_000_000n), { maxLength: 30 }),
  needSat: fc.bigInt(294n, 3_000_000n),
  feeratePerKw: fc.integer({ min: 250, max: 50_000 }),
})

/** Any task: what was chosen is enough, exact, without dust; or nobody could have paid. */
const checkSelection = ({
  values,
  needSat,
  feeratePerKw,
}: {
  values: bigint[]
  needSat: bigint
  feeratePerKw: number
}): boolean => {
  const coins = coinsOf(values)
  const task = taskOf(coins, needSat, feeratePerKw)
  const found = selectCoins(task)
  if (found === undefined) {
    // Nobody could: not even with every coin that is worth its input
    const worthwhile = coins.filter((coin) => coin.valueSat > feeOf(feeratePerKw, coin.weight))
    const weight = task.weightOf(
      worthwhile.length,
      worthwhile.reduce((n, coin) => n + coin.weight, 0),
      false,
    )
    expect(sumOf(worthwhile)).toBeLessThan(needSat + feeOf(feeratePerKw, weight) + 30n)
    return false
  }
  const weight = task.weightOf(
    found.coins.length,
    found.coins.reduce((n, coin) => n + coin.weight, 0),
    found.changeSat > 0n,
  )
  expect(sumOf(found.coins)).toBe(needSat + found.feeSat + found.changeSat)
  expect(new Set(found.coins.map(({ key }) => key)).size).toBe(found.coins.length)
  expect(found.changeSat === 0n || found.changeSat >= DUST).toBe(true)
  expect(found.feeSat).toBeGreaterThanOrEqual(feeOf(feeratePerKw, weight))
  const excess = found.feeSat - feeOf(feeratePerKw, weight)
  if (found.changeSat > 0n) expect(excess).toBe(0n)
  // No change: what is lost is less than making and spending it would cost, or than dust and making it
  else expect(excess).toBeLessThanOrEqual(feeOf(feeratePerKw, CHANGE_WEIGHT + 271) + DUST)
  return true
}

describe('coin selection', () => {
  it('pays what is needed and the rate, makes no dust, uses each coin once', () => {
    let chosen = 0
    fc.assert(
      fc.property(tasks, (task) => {
        if (checkSelection(task)) chosen++
      }),
      { numRuns: 300 },
    )
    expect(chosen).toBeGreaterThan(0)
  })

  it('answers the same for the same coins', () => {
    fc.assert(
      fc.property(tasks, ({ values, needSat, feeratePerKw }) => {
        const once = selectCoins(taskOf(coinsOf(values), needSat, feeratePerKw))
        expect(selectCoins(taskOf(coinsOf(values), needSat, feeratePerKw))).toEqual(once)
      }),
      { numRuns: 50 },
    )
  })

  it('finds the coins that fit exactly, without change', () => {
    const rate = 1000
    const coins = coinsOf([100_000n, 30_271n, 20_230n, 7_000n])
    const need = 50_501n - feeOf(rate, 42 + 124 + 271 + 271)
    const found = selectCoins(taskOf(coins, need, rate))
    expect(found?.changeSat).toBe(0n)
    expect(found?.coins.map(({ valueSat }) => valueSat).sort()).toEqual([20_230n, 30_271n])
  })

  it('prefers the smallest coin that is enough by itself', () => {
    const found = selectCoins(taskOf(coinsOf([500_000n, 80_000n, 60_000n, 1_000n]), 50_000n, 1000))
    expect(found?.coins.map(({ valueSat }) => valueSat)).toEqual([60_000n])
  })

  it('takes forced coins always, and more only where they are not enough', () => {
    const [forced, ...candidates] = coinsOf([90_000n, 40_000n, 10_000n]) as [Candidate, ...Candidate[]]
    expect(selectCoins(taskOf(candidates, 20_000n, 1000, { forced: [forced] }))?.coins).toEqual([forced])
    expect(selectCoins(taskOf(candidates, 100_000n, 1000, { forced: [forced] }))?.coins).toContain(forced)
  })

  it('gives the rest to the fee rather than make dust, but never against the limit', () => {
    const coins = coinsOf([50_000n])
    const fee = feeOf(1000, 42 + 124 + 271)
    const task = taskOf(coins, 50_000n - fee - 200n, 1000)
    expect(selectCoins(task)).toMatchObject({ changeSat: 0n, feeSat: fee + 200n })
    expect(selectCoins({ ...task, maximumFeeSat: fee + 100n })).toBeUndefined()
  })

  it('makes change where there must be some', () => {
    const task = taskOf(coinsOf([1_000n, 700n]), 0n, 250, { mustHaveChange: true })
    expect(selectCoins(task)?.changeSat).toBeGreaterThanOrEqual(DUST)
    expect(selectCoins({ ...task, candidates: coinsOf([400n]) })).toBeUndefined()
  })

  it('does not take coins that cost more than they hold', () => {
    const found = selectCoins(taskOf(coinsOf([60_000n, 60_000n, ...Array.from({ length: 20 }, () => 300n)]), 100_000n, 10_000))
    expect(found?.coins.map(({ valueSat }) => valueSat)).toEqual([60_000n, 60_000n])
  })

  it('works with thousands of coins', () => {
    const coins = coinsOf(Array.from({ length: 3000 }, (_, i) => 1000n + BigInt((i * 7919) % 5003)))
    const found = selectCoins(taskOf(coins, 2_000_000n, 250))
    expect(sumOf(found!.coins)).toBe(2_000_000n + found!.feeSat + found!.changeSat)
  })
})
