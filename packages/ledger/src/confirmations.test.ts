import { describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { Sat } from '@leyden/bitcoin'
import {
  confirmationsFor,
  confirmationSteps,
  DEFAULT_ATTACKER_SHARE,
  DEFAULT_CHANNELS_AT_ONCE,
  DEFAULT_MAX_LOSS_SAT,
  DEFAULT_RISK_SHARE,
  forgoneBlocks,
  nakamotoProbability,
  reorgProbability,
} from './confirmations.ts'

/** The least number of confirmations at which the odds are below 0.1 %. */
const solve = (probability: (share: number, confirmations: number) => number, share: number): number => {
  let confirmations = 0
  while (probability(share, confirmations) >= 0.001) confirmations++
  return confirmations
}
const SHARES = [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45]

describe("Nakamoto's formula", () => {
  it('gives the table of his paper for a tenth of the work', () => {
    const published =
      '1.0000000 0.2045873 0.0509779 0.0131722 0.0034552 0.0009137 0.0002428 0.0000647 0.0000173 0.0000046 0.0000012'
    const odds = Array.from({ length: 11 }, (_, z) => nakamotoProbability(0.1, z).toFixed(7))
    expect(odds.join(' ')).toBe(published)
  })

  it('gives the table of his paper for three tenths', () => {
    const published =
      '1.0000000 0.1773523 0.0416605 0.0101008 0.0024804 0.0006132 0.0001522 0.0000379 0.0000095 0.0000024 0.0000006'
    const odds = Array.from({ length: 11 }, (_, i) => nakamotoProbability(0.3, 5 * i).toFixed(7))
    expect(odds.join(' ')).toBe(published)
  })

  it('needs the confirmations of his paper for less than 0.1 %', () => {
    expect(SHARES.map((share) => solve(nakamotoProbability, share))).toEqual([5, 8, 11, 15, 24, 41, 89, 340])
  })
})

/** Rosenfeld's equation (1) as it is printed, for small numbers. */
const printed = (q: number, n: number): number => {
  const p = 1 - q
  let sum = 0
  let choose = 1
  for (let m = 0; m <= n; m++) {
    sum += choose * (p ** n * q ** m - p ** m * q ** n)
    choose = (choose * (m + n)) / (m + 1)
  }
  return 1 - sum
}

/** Plays all races at once, block by block: the chance of every state, until hardly any race goes on. */
const enumerate = (q: number, z: number, premined: number, giveUpBehind: number): { won: number; forgone: number } => {
  let won = 0
  let forgone = 0
  let races = new Map<string, number>([[`0 ${premined} 0`, 1]])
  for (let block = 0; block < 4000 && races.size > 0; block++) {
    const after = new Map<string, number>()
    for (const [state, chance] of races) {
      if (chance < 1e-16) continue
      const [honest, own, atLast] = state.split(' ').map(Number) as [number, number, number]
      if (honest >= z && own > honest) {
        won += chance
        continue
      }
      if (honest >= z && honest - own >= giveUpBehind) {
        forgone += chance * atLast
        continue
      }
      // Beyond the confirmations only the distance counts.
      const next = (h: number, a: number, factor: number): void => {
        const last = h === z && h > honest ? a : atLast
        const far = Math.max(0, h - z)
        const key = `${h - far} ${a - far} ${last}`
        after.set(key, (after.get(key) ?? 0) + chance * factor)
      }
      next(honest + 1, own, 1 - q)
      next(honest, own + 1, q)
    }
    races = after
  }
  return { won, forgone }
}

describe("Rosenfeld's formula", () => {
  it('gives the percentages of his table 1', () => {
    const table: Record<string, string> = {
      0.02: '4.000 0.237 0.016 0.001 0.000 0.000 0.000 0.000 0.000 0.000',
      0.08: '16.000 3.635 0.905 0.235 0.063 0.017 0.005 0.001 0.000 0.000',
      0.1: '20.000 5.600 1.712 0.546 0.178 0.059 0.020 0.007 0.002 0.001',
      0.3: '60.000 43.200 32.616 25.207 19.762 15.645 12.475 10.003 8.055 6.511',
      0.5: '100.000 100.000 100.000 100.000 100.000 100.000 100.000 100.000 100.000 100.000',
    }
    for (const [share, published] of Object.entries(table)) {
      const percentages = Array.from({ length: 10 }, (_, i) => (100 * reorgProbability(Number(share), i + 1)).toFixed(3))
      expect([share, percentages.join(' ')]).toEqual([share, published])
    }
  })

  it('needs more confirmations for less than 0.1 % than Nakamoto thought', () => {
    expect(SHARES.map((share) => solve(reorgProbability, share))).toEqual([6, 9, 13, 20, 32, 58, 133, 539])
  })

  it('is the sum that he prints, also where that one has lost its digits', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.001, max: 0.499, noNaN: true }), fc.integer({ min: 0, max: 25 }), (share, confirmations) => {
        expect(Math.abs(reorgProbability(share, confirmations) - printed(share, confirmations))).toBeLessThan(1e-10)
      }),
    )
    expect(reorgProbability(0.02, 20) / 1.00316e-23).toBeCloseTo(1, 5)
    expect(reorgProbability(0.45, 9000)).toBeGreaterThan(0)
  })

  it('falls with every confirmation and rises with the share', () => {
    const share = fc.double({ min: 0.02, max: 0.49, noNaN: true })
    fc.assert(
      fc.property(share, fc.integer({ min: 0, max: 150 }), (q, z) => {
        expect(reorgProbability(q, z + 1)).toBeLessThan(reorgProbability(q, z))
        expect(reorgProbability(q, z + 1)).toBeLessThan(reorgProbability(q + 0.01, z + 1))
        expect(reorgProbability(q, z + 1, { premined: 0 })).toBeLessThan(reorgProbability(q, z + 1))
      }),
    )
  })

  it.each([
    [0.1, 1, 1, 6],
    [0.3, 2, 1, 4],
    [0.3, 3, 0, 5],
    [0.5, 2, 1, 6],
    [0.51, 3, 1, 8],
    [0.6, 3, 0, 1],
  ] as const)(
    'is what comes out of playing every race to its end: share %d, %d confirmations',
    (q, z, premined, giveUpBehind) => {
      expect(reorgProbability(q, z, { premined, giveUpBehind })).toBeCloseTo(enumerate(q, z, premined, giveUpBehind).won, 9)
    },
  )

  it('counts the blocks that are thrown away like every race played to its end', () => {
    for (const [q, z] of [
      [0.1, 1],
      [0.1, 6],
      [0.25, 3],
    ] as const)
      expect(forgoneBlocks(q, z)).toBeCloseTo(enumerate(q, z, 1, 40).forgone, 7)
  })

  it('knows the ends: nobody, everybody, and no confirmation at all', () => {
    expect([reorgProbability(0, 0), reorgProbability(0, 1), reorgProbability(0.5, 144), reorgProbability(1, 3)]).toEqual([
      1, 0, 1, 1,
    ])
    expect([nakamotoProbability(0, 0), nakamotoProbability(0, 1), nakamotoProbability(0.5, 144)]).toEqual([1, 0, 1])
    for (const [share, confirmations] of [
      [-0.1, 1],
      [1.1, 1],
      [Number.NaN, 1],
      [0.1, -1],
      [0.1, 1.5],
    ] as const) {
      expect(() => nakamotoProbability(share, confirmations)).toThrow(RangeError)
      expect(() => reorgProbability(share, confirmations)).toThrow(RangeError)
    }
    expect(() => reorgProbability(0.1, 1, { giveUpBehind: 0 })).toThrow(RangeError)
  })
})

describe('the confirmations of a channel', () => {
  const rewardSat = Sat(312_500_000n)
  const defaults = (valueSat: bigint): number | undefined => confirmationsFor({ valueSat: Sat(valueSat), rewardSat })

  it('are 3 for small ones and 6 for the largest without option_support_large_channel', () => {
    const values = [20_000n, 500_000n, 1_000_000n, 5_000_000n, 16_777_215n, 100_000_000n, 1_000_000_000n]
    expect(values.map(defaults)).toEqual([3, 3, 4, 5, 6, 8, 10])
  })

  it('are the least that keep every bound of the rule', () => {
    const value = fc.bigInt({ min: 1n, max: 100_000_000_000n })
    const reward = fc.bigInt({ min: 1n, max: 5_000_000_000n })
    fc.assert(
      fc.property(value, reward, fc.constantFrom(0.05, 0.1, 0.2, 0.3), (valueSat, rewardOfBlock, attackerShare) => {
        const holds = (z: number): boolean => {
          const chance = reorgProbability(attackerShare, z)
          const gain = chance * Number(valueSat) * DEFAULT_CHANNELS_AT_ONCE
          return (
            chance <= DEFAULT_RISK_SHARE &&
            chance * Number(valueSat) <= Number(DEFAULT_MAX_LOSS_SAT) &&
            gain <= forgoneBlocks(attackerShare, z) * Number(rewardOfBlock)
          )
        }
        const found = confirmationsFor({ valueSat: Sat(valueSat), rewardSat: Sat(rewardOfBlock), attackerShare })
        const expected = Array.from({ length: 144 }, (_, i) => i + 1).find(holds)
        expect(found).toBe(expected)
      }),
      { numRuns: 40 },
    )
  })

  it('grow where blocks bring so little that an attack pays', () => {
    const rule = { valueSat: Sat(1_000_000_000n), maxLossSat: Sat(1_000_000_000n) }
    expect(confirmationsFor(rule)).toBe(3)
    expect(confirmationsFor({ ...rule, rewardSat })).toBe(3)
    expect(confirmationsFor({ ...rule, rewardSat: Sat(10_000_000n) })).toBe(6)
    expect(confirmationsFor({ ...rule, rewardSat: Sat(10_000_000n), channelsAtOnce: 1000 })).toBe(10)
    expect(confirmationsFor({ ...rule, rewardSat: Sat(0n) })).toBeUndefined()
  })

  it('are none that help against half of the work, or within the most that is allowed', () => {
    const valueSat = Sat(100_000n)
    expect(confirmationsFor({ valueSat, attackerShare: 0.5 })).toBeUndefined()
    expect(confirmationsFor({ valueSat, attackerShare: 0.3, mostConfirmations: 15 })).toBeUndefined()
    expect(confirmationsFor({ valueSat, attackerShare: 0.3, mostConfirmations: 16 })).toBe(16)
    expect(confirmationsFor({ valueSat, attackerShare: 0, leastConfirmations: 2 })).toBe(2)
    expect(confirmationsFor({ valueSat, attackerShare: 0 })).toBe(1)
    expect(() => confirmationsFor({ valueSat, riskShare: 2 })).toThrow(RangeError)
    expect(() => confirmationsFor({ valueSat, channelsAtOnce: 0 })).toThrow(RangeError)
    expect(DEFAULT_ATTACKER_SHARE).toBe(0.1)
  })
})

describe('the steps', () => {
  it('say of every value what the rule says of it', () => {
    const reward = fc.option(fc.bigInt({ min: 0n, max: 5_000_000_000n }), { nil: undefined })
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: 2_100_000_000_000_000n }),
        reward,
        fc.constantFrom(0, 0.1, 0.3, 0.45),
        (value, per, share) => {
          const rule = { attackerShare: share, ...(per === undefined ? {} : { rewardSat: Sat(per) }) }
          const steps = confirmationSteps(rule)
          const told = (valueSat: bigint): number | undefined => steps.find(({ mostSat }) => valueSat <= mostSat)?.blocks
          for (const valueSat of [value, ...steps.slice(0, 3).map(({ mostSat }) => mostSat)])
            expect(told(valueSat)).toBe(confirmationsFor({ ...rule, valueSat: Sat(valueSat) }))
        },
      ),
      { numRuns: 25 },
    )
  })
})
