/** The tables of specs/security-model.md against the code: a number there that is no longer true shows here. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { Sat } from '@leyden/bitcoin'
import { confirmationsFor, DEFAULT_MAX_LOSS_SAT, nakamotoProbability, reorgProbability } from '@leyden/ledger'

const page = readFileSync(new URL('../specs/security-model.md', import.meta.url), 'utf8')
/** The rows under the heading row that begins like this, heading and ruler left out. */
const rowsUnder = (heading: string): string[] => {
  const lines = page.split('\n')
  const from = lines.findIndex((line) => line.startsWith(`| ${heading} |`)) + 2
  return lines.slice(from, lines.indexOf('', from))
}
const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
const percent = (share: number): string => `${Math.round(share * 100)} %`

/** Three digits; below a thousandth as a power of ten. */
const odds = (probability: number): string => {
  if (probability === 1) return '100 %'
  if (probability < 0.001) return probability.toExponential(1)
  return `${(100 * probability).toFixed(probability >= 0.1 ? 1 : 2)} %`
}
const VALUES = [20_000n, 500_000n, 1_000_000n, 5_000_000n, 16_777_215n, 100_000_000n, 1_000_000_000n, 10_000_000_000n]
const REWARD = 312_500_000n
const needed = (attackerShare: number, rewardSat: bigint): string[] =>
  VALUES.map((value) => confirmationsFor({ valueSat: Sat(value), attackerShare, rewardSat: Sat(rewardSat) })?.toString() ?? '-')

describe('specs/security-model.md', () => {
  it('has the confirmations for less than 0.1 %', () => {
    const solve = (probability: typeof nakamotoProbability, share: number): string => {
      let confirmations = 0
      while (probability(share, confirmations) >= 0.001) confirmations++
      return String(confirmations)
    }
    const shares = [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45]
    expect(rowsUnder('share of the work')).toEqual([
      row(['confirmations by Nakamoto', ...shares.map((share) => solve(nakamotoProbability, share))]),
      row(['confirmations by Rosenfeld', ...shares.map((share) => solve(reorgProbability, share))]),
    ])
  })

  it('has the odds', () => {
    const depths = [1, 2, 3, 4, 5, 6, 8, 10, 12, 20, 60, 144]
    const shares = [0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5]
    expect(rowsUnder('share | 1')).toEqual(
      shares.map((share) => row([percent(share), ...depths.map((depth) => odds(reorgProbability(share, depth)))])),
    )
  })

  it('has the confirmations per value, against attackers and with rewards', () => {
    const shares = [0.1, 0.05, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4]
    expect(rowsUnder('share | 20,000 sat')).toEqual(shares.map((share) => row([percent(share), ...needed(share, REWARD)])))
    const rewards = [REWARD, 1_000_000n, 100_000n, 10_000n, 1_000n]
    expect(rowsUnder('reward per block')).toEqual(
      rewards.map((reward) => row([`${reward.toLocaleString('en')} sat`, ...needed(0.1, reward)])),
    )
  })

  it('says up to which value a number of confirmations is enough', () => {
    for (const [confirmations, words] of [
      [3, 'Three confirmations up to'],
      [4, 'four up to'],
      [5, 'five up to'],
      [6, 'six up to'],
    ] as const) {
      const most = BigInt(Math.floor(Number(DEFAULT_MAX_LOSS_SAT) / reorgProbability(0.1, confirmations)))
      expect(page).toContain(`${words} ${most.toLocaleString('en')}`)
      const rewardSat = Sat(REWARD)
      expect(confirmationsFor({ valueSat: Sat(most), rewardSat })).toBe(confirmations)
      expect(confirmationsFor({ valueSat: Sat(most + 1n), rewardSat })).toBe(confirmations + 1)
    }
  })
})
