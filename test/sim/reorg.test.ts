import { describe, expect, it } from 'vitest'
import { reorgProbability } from '@leyden/ledger'
import { seededRandom } from '@leyden/runtime'
import { openRaces, playRaces, replayedCoins } from './race.ts'
import { deviations, interval, MOST_DEVIATIONS } from './reorg.ts'

describe('attackers against the ledger', () => {
  /**
   * Of n races with probability p, n p are won, give or take the square root of n p (1 - p). Four of these are exceeded once in 16,000
   * seeds; the seed is fixed, so it passes always or never.
   */
  it.each([
    { share: 0.3, confirmations: 2, giveUpBehind: 6, races: 150 },
    { share: 0.51, confirmations: 2, giveUpBehind: 6, races: 60 },
  ])('win as often as the formula says: %o', async ({ races, ...attack }) => {
    const score = await playRaces(attack, races, seededRandom(1))
    expect(score.races).toBe(races)
    expect(Math.abs(deviations(attack, score))).toBeLessThan(MOST_DEVIATIONS)
    // Wide enough to pass, and no wider: an attacker with another share would not.
    const other = { ...attack, share: attack.share - 0.2 }
    expect(Math.abs(deviations(other, score))).toBeGreaterThan(MOST_DEVIATIONS)
    expect(score.deepest).toBeGreaterThanOrEqual(attack.confirmations)
  })

  it('leave the UTXO set of their chain when they win, and of the other when they give up', async () => {
    const races = await openRaces(seededRandom(3))
    const outcomes = new Set<boolean>()
    while (outcomes.size < 2) {
      const { won, depth } = await races.play({ share: 0.3, confirmations: 3, giveUpBehind: 3 })
      expect(depth >= 3).toBe(won)
      outcomes.add(won)
      expect(races.victim.tip()).toEqual(races.attacker.tip())
      expect(await races.coins()).toEqual(await replayedCoins(races.attacker))
    }
    await races.close()
  })

  it('play the same races again for the same seed', async () => {
    const attack = { share: 0.45, confirmations: 1, giveUpBehind: 3 }
    expect(await playRaces(attack, 10, seededRandom(5))).toEqual(await playRaces(attack, 10, seededRandom(5)))
  })
})

describe('the interval of a frequency', () => {
  it('is that of Wilson', () => {
    // Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3.
    const rounded = (races: number, won: number): string[] =>
      interval({ races, won, mined: 0, deepest: 0 }).map((end) => end.toFixed(4))
    expect(rounded(263, 81)).toEqual(['0.2553', '0.3662'])
    expect(rounded(148, 15)).toEqual(['0.0624', '0.1605'])
    expect(rounded(20, 0)).toEqual(['0.0000', '0.1611'])
    expect(rounded(29, 1)).toEqual(['0.0061', '0.1718'])
  })

  it('holds the probability of the formula for most counts', () => {
    const probability = reorgProbability(0.3, 2, { giveUpBehind: 6 })
    const [low, high] = interval({ races: 1000, won: Math.round(1000 * probability), mined: 0, deepest: 0 })
    expect(low).toBeLessThan(probability)
    expect(high).toBeGreaterThan(probability)
  })
})
