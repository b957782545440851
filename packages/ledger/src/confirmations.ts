/**
 * How many confirmations are enough: the odds that somebody with a share of the work replaces the last blocks, and what follows from
 * them for a channel of a given value. specs/security-model.md explains the model and its limits.
 * Nakamoto, "Bitcoin" (2008) § 11: the attacker's blocks as a Poisson variable. Rosenfeld, "Analysis of Hashrate-Based Double
 * Spending" (2014) § 2-4: exactly, as a negative binomial one. Both let him begin one block ahead and win with one block more.
 * Small odds are summed over what the attacker wins by, never as 1 minus the rest: so also 1e-12 is right.
 */
import { MAX_MONEY, Sat } from '@leyden/bitcoin'

/** Beyond this nobody waits, and sums would take long. */
const MAX_CONFIRMATIONS = 10_000
/** What is left of a sum is dropped when it can no longer be seen. */
const NEGLIGIBLE = 1e-18

/** The race of an attacker, where it differs from Rosenfeld's. */
export type RaceOptions = {
  /** Blocks that he has of his own when the transaction goes out: 1. */
  readonly premined?: 0 | 1
  /** After the confirmations he stops as soon as he is so many blocks behind, at least 1. Never by default. */
  readonly giveUpBehind?: number
}

const checkRace = (attackerShare: number, confirmations: number): void => {
  if (!(attackerShare >= 0 && attackerShare <= 1)) throw new RangeError(`no share of the work: ${attackerShare}`)
  if (!Number.isInteger(confirmations) || confirmations < 0 || confirmations > MAX_CONFIRMATIONS)
    throw new RangeError(`no number of confirmations: ${confirmations}`)
}

/** The chance that he ever gains `blocks` on the others, who would make him stop by gaining `room` on him (gambler's ruin). */
const chanceToGain = (attackerShare: number, blocks: number, room: number): number => {
  if (blocks <= 0) return 1
  if (room <= 0) return 0
  const honestShare = 1 - attackerShare
  if (attackerShare < honestShare) {
    const ratio = attackerShare / honestShare
    return (ratio ** blocks * (1 - ratio ** room)) / (1 - ratio ** (room + blocks))
  }
  if (room === Infinity) return 1
  if (attackerShare === honestShare) return room / (room + blocks)
  const ratio = honestShare / attackerShare
  return (1 - ratio ** room) / (1 - ratio ** (room + blocks))
}

/** The chance of each count from 0, by its logarithm: the first one, and what to add to go on from m to m + 1. */
type Counts = { readonly mean: number; readonly logFirst: number; readonly logStep: (m: number) => number }

/** Sums `value(m)`, which is 0 to 1 where `last` is not given, weighed with the chance of each count m. */
const expected = ({ mean, logFirst, logStep }: Counts, value: (m: number) => number, last = Infinity): number => {
  let sum = 0
  let logChance = logFirst
  for (let m = 0; m <= last; m++) {
    const chance = Math.exp(logChance)
    sum += chance * value(m)
    if (last === Infinity && m > mean && chance <= NEGLIGIBLE * sum) break
    logChance += logStep(m)
  }
  return sum
}

/** How many blocks an attacker finds while the others find so many: a negative binomial variable. */
const blocksInRace = (attackerShare: number, confirmations: number): Counts => ({
  mean: (confirmations * attackerShare) / (1 - attackerShare),
  logFirst: confirmations * Math.log(1 - attackerShare),
  logStep: (m) => Math.log(attackerShare) + Math.log((m + confirmations) / (m + 1)),
})

/**
 * The chance that an attacker with this share of the work (0 to 1) ever takes back a transaction with so many confirmations:
 * Nakamoto's formula, which assumes that the honest blocks came at their average pace. Throws RangeError on what is no share or count.
 */
export const nakamotoProbability = (attackerShare: number, confirmations: number): number => {
  checkRace(attackerShare, confirmations)
  if (attackerShare >= 0.5 || confirmations === 0) return 1
  if (attackerShare === 0) return 0
  const ratio = attackerShare / (1 - attackerShare)
  const mean = confirmations * ratio
  const poisson: Counts = { mean, logFirst: -mean, logStep: (k) => Math.log(mean / (k + 1)) }
  return expected(poisson, (k) => chanceToGain(attackerShare, confirmations - k, Infinity))
}

/** The same without the assumption; and for an attacker who begins level or gives up. Throws RangeError likewise. */
export const reorgProbability = (attackerShare: number, confirmations: number, options: RaceOptions = {}): number => {
  checkRace(attackerShare, confirmations)
  const { premined = 1, giveUpBehind = Infinity } = options
  if (!(giveUpBehind >= 1)) throw new RangeError(`cannot give up ${giveUpBehind} blocks behind`)
  if (attackerShare === 1 || (attackerShare >= 0.5 && giveUpBehind === Infinity)) return 1
  const counts = blocksInRace(attackerShare, confirmations)
  const wins = (m: number): number => {
    const behind = confirmations - m - premined
    return chanceToGain(attackerShare, behind + 1, giveUpBehind - behind)
  }
  if (attackerShare < 0.5) return expected(counts, wins)
  return 1 - expected(counts, (m) => 1 - wins(m), confirmations)
}

/**
 * The blocks that an attacker throws away, failing, weighed with the chance that he fails: those that he had when the transaction
 * got its last confirmation, the one that he began with included. What he mines in vain afterwards is not counted: less than he loses.
 */
export const forgoneBlocks = (attackerShare: number, confirmations: number): number => {
  checkRace(attackerShare, confirmations)
  if (attackerShare >= 0.5) return 0
  const lost = (m: number): number => (m + 1) * (1 - chanceToGain(attackerShare, confirmations - m, Infinity))
  return expected(blocksInRace(attackerShare, confirmations), lost, confirmations)
}

/** What is known about a channel and the ledger that it stands on, and what its owner wants to bear. */
export type ConfirmationRule = {
  /** All that the channel could ever owe us: for most, its capacity. */
  readonly valueSat: Sat
  /** The most work that we think one attacker can have, 0 to 1. {@link DEFAULT_ATTACKER_SHARE}. */
  readonly attackerShare?: number
  /** The chance of losing a race never exceeds it. {@link DEFAULT_RISK_SHARE}. */
  readonly riskShare?: number
  /** The chance times the value never exceeds it. {@link DEFAULT_MAX_LOSS_SAT}. */
  readonly maxLossSat?: Sat
  /** What a block brings whoever mines it, subsidy and fees. Left out where blocks bring nothing: then gain and cost are not compared. */
  readonly rewardSat?: Sat
  /** Channels of this value that one reorganisation could take back at once. {@link DEFAULT_CHANNELS_AT_ONCE}. */
  readonly channelsAtOnce?: number
  /** The least and the most that may come out: 1 and 144. */
  readonly leastConfirmations?: number
  readonly mostConfirmations?: number
}

/** Rosenfeld's and Nakamoto's usual example. */
export const DEFAULT_ATTACKER_SHARE = 0.1
/** With a tenth of the work: three confirmations. */
export const DEFAULT_RISK_SHARE = 0.02
/** With a tenth of the work: six confirmations for the largest channel without option_support_large_channel (BOLT 2). */
export const DEFAULT_MAX_LOSS_SAT = 10_000n
export const DEFAULT_CHANNELS_AT_ONCE = 10
/** A day: the most that a channel may ask for. */
const DEFAULT_MOST_CONFIRMATIONS = 144

/**
 * The least number of confirmations at which, against the attacker of the rule, all of this holds:
 * the chance is at most `riskShare`; chance x value is at most `maxLossSat`; and what he gains on average, chance x value x channels,
 * is at most what he forgoes on average, the rewards of the blocks that he throws away when he fails.
 * Undefined when no number up to the most does: always with half of the work. Throws RangeError on shares and counts that are none.
 */
export const confirmationsFor = (rule: ConfirmationRule): number | undefined => {
  const {
    attackerShare = DEFAULT_ATTACKER_SHARE,
    riskShare = DEFAULT_RISK_SHARE,
    channelsAtOnce = DEFAULT_CHANNELS_AT_ONCE,
  } = rule
  const { leastConfirmations = 1, mostConfirmations = DEFAULT_MOST_CONFIRMATIONS } = rule
  if (!(riskShare >= 0 && riskShare <= 1)) throw new RangeError(`no share of risk: ${riskShare}`)
  if (!Number.isInteger(channelsAtOnce) || channelsAtOnce < 1) throw new RangeError(`no number of channels: ${channelsAtOnce}`)
  checkRace(attackerShare, leastConfirmations)
  checkRace(attackerShare, mostConfirmations)
  // Averages, not amounts: all the money there is has fewer than 53 bits.
  const value = Number(rule.valueSat)
  const maxLoss = Number(rule.maxLossSat ?? DEFAULT_MAX_LOSS_SAT)
  for (let confirmations = leastConfirmations; confirmations <= mostConfirmations; confirmations++) {
    const chance = reorgProbability(attackerShare, confirmations)
    if (chance > riskShare || chance * value > maxLoss) continue
    if (rule.rewardSat === undefined) return confirmations
    const gain = chance * value * channelsAtOnce
    if (gain <= forgoneBlocks(attackerShare, confirmations) * Number(rule.rewardSat)) return confirmations
  }
  return undefined
}

/** A channel of at most so much needs so many confirmations. */
export type ConfirmationStep = { readonly mostSat: Sat; readonly blocks: number }

/**
 * {@link confirmationsFor} for every value at once, ascending: the first step whose `mostSat` a value does not exceed counts, and for
 * what is above the last no number is enough. Throws RangeError likewise.
 */
export const confirmationSteps = (rule: Omit<ConfirmationRule, 'valueSat'>): readonly ConfirmationStep[] => {
  const { attackerShare = DEFAULT_ATTACKER_SHARE, channelsAtOnce = DEFAULT_CHANNELS_AT_ONCE } = rule
  const { leastConfirmations = 1, mostConfirmations = DEFAULT_MOST_CONFIRMATIONS, rewardSat } = rule
  const maxLoss = Number(rule.maxLossSat ?? DEFAULT_MAX_LOSS_SAT)
  const enough = (blocks: number, value: bigint): boolean =>
    confirmationsFor({ ...rule, valueSat: Sat(value), leastConfirmations: blocks, mostConfirmations: blocks }) !== undefined
  const steps: ConfirmationStep[] = []
  let before = -1n
  for (let blocks = leastConfirmations; blocks <= mostConfirmations && before < MAX_MONEY; blocks++) {
    const chance = reorgProbability(attackerShare, blocks)
    const paid = rewardSat === undefined ? Infinity : (forgoneBlocks(attackerShare, blocks) * Number(rewardSat)) / channelsAtOnce
    const most = Math.min(Math.min(maxLoss, paid) / chance, Number(MAX_MONEY))
    let mostSat = Number.isFinite(most) ? BigInt(Math.floor(most)) : MAX_MONEY
    // Rounding may have gone either way by a hair.
    if (mostSat > 0n && !enough(blocks, mostSat)) mostSat -= 1n
    if (mostSat <= before || !enough(blocks, mostSat)) continue
    steps.push({ mostSat: Sat(mostSat), blocks })
    before = mostSat
  }
  return steps
}
