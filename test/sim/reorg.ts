/**
 * How often do attackers win against the ledger, and how often should they? npm run sim -- reorg
 *   [--seed N] [--races N] [--share Q --give-up BLOCKS] [--confirmations 1,3,6]
 * Prints frequencies with their 95 % intervals beside the formulas, and says whether one is further off than chance allows.
 */
import { parseArgs } from 'node:util'
import { nakamotoProbability, reorgProbability } from '@leyden/ledger'
import { seededRandom } from '@leyden/runtime'
import { playRaces, type Attack, type Score } from './race.ts'

/** So many standard deviations off are no chance any more: once in 16,000. */
export const MOST_DEVIATIONS = 4
/** Of a normal variable: between minus and plus this lie 95 %. */
const Z95 = 1.96

/** How far the count of wins is from what the formula expects of an attacker who gives up, in standard deviations. */
export const deviations = ({ share, confirmations, giveUpBehind }: Attack, { races, won }: Score): number => {
  const probability = reorgProbability(share, confirmations, { giveUpBehind })
  return (won - races * probability) / Math.sqrt(races * probability * (1 - probability))
}

/** Wilson's interval: the probabilities with which so many wins would be no surprise. */
export const interval = ({ races, won }: Score): readonly [number, number] => {
  const share = won / races
  const middle = share + Z95 ** 2 / (2 * races)
  const half = Z95 * Math.sqrt((share * (1 - share)) / races + Z95 ** 2 / (4 * races ** 2))
  const scale = 1 + Z95 ** 2 / races
  return [Math.max(0, middle - half) / scale, Math.min(scale, middle + half) / scale]
}

/** The attackers of the issue that asked for this: the second one never has to give up, but a simulation must end. */
const ATTACKERS = [
  { share: 0.3, giveUpBehind: 10 },
  { share: 0.51, giveUpBehind: 30 },
] as const

const COLUMNS = [
  'share',
  'confirmations',
  'gives up',
  'races',
  'won',
  'frequency',
  '95 % interval',
  'expected',
  'off by',
  'Rosenfeld',
  'Nakamoto',
  'deepest reorg',
  'blocks',
]

const percent = (probability: number): string => `${(100 * probability).toFixed(2)} %`

const row = (attack: Attack, score: Score): readonly string[] => {
  const [low, high] = interval(score)
  const { share, confirmations, giveUpBehind } = attack
  return [
    String(share),
    String(confirmations),
    `${giveUpBehind} behind`,
    String(score.races),
    String(score.won),
    percent(score.won / score.races),
    `${percent(low)} - ${percent(high)}`,
    percent(reorgProbability(share, confirmations, { giveUpBehind })),
    `${deviations(attack, score).toFixed(2)} sd`,
    percent(reorgProbability(share, confirmations)),
    percent(nakamotoProbability(share, confirmations)),
    String(score.deepest),
    String(score.mined),
  ]
}

const table = (rows: readonly (readonly string[])[]): string => {
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0)))
  return rows.map((cells) => cells.map((cell, column) => cell.padStart(widths[column] ?? 0)).join('  ')).join('\n')
}

/** Plays what the arguments ask for. True when all is as the formula says. */
export const runReorg = async (args: readonly string[], print: (text: string) => void): Promise<boolean> => {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seed: { type: 'string', default: '1' },
      races: { type: 'string', default: '300' },
      share: { type: 'string' },
      'give-up': { type: 'string', default: '10' },
      confirmations: { type: 'string', default: '1,2,3,6' },
    },
  })
  const count = Number(values.races)
  const attackers =
    values.share === undefined ? ATTACKERS : [{ share: Number(values.share), giveUpBehind: Number(values['give-up']) }]
  const depths = values.confirmations.split(',').map(Number)
  const begun = process.cpuUsage()
  const rows: (readonly string[])[] = [COLUMNS]
  let off = 0
  for (const attacker of attackers)
    for (const confirmations of depths) {
      const attack = { ...attacker, confirmations }
      const random = seededRandom(Number(values.seed)).fork(`${attack.share} ${confirmations}`)
      const score = await playRaces(attack, count, random)
      if (Math.abs(deviations(attack, score)) > MOST_DEVIATIONS) off++
      rows.push(row(attack, score))
      print(`${attack.share} of the work, ${confirmations} confirmations: ${score.won} of ${score.races} races won`)
    }
  print(`\n${table(rows)}\n`)
  print(
    `"expected" is Rosenfeld's formula for an attacker who gives up; Rosenfeld and Nakamoto are for one who never does.
In every race the ledger stayed where it was until it was shown more work, and then had the UTXO set of the winner.`,
  )
  const { user, system } = process.cpuUsage(begun)
  print(`seed ${values.seed}, ${((user + system) / 1_000_000).toFixed(1)} s of a processor`)
  if (off > 0) print(`${off} frequencies are more than ${MOST_DEVIATIONS} standard deviations off`)
  return off === 0
}
