/**
 * What to bid for a claim, and how the bid rises. BOLT 5 § Revoked Transaction Close Handling (security_delay), BIP 125.
 * A bid follows the market until the deadline is near, then rises towards the budget; it never exceeds the budget (S10, S16) and
 * never falls (S8). Without a deadline it only follows the market, and waits while the market asks for more than the budget.
 */
import { FeeratePerKw, type Sat } from '@leyden/bitcoin'

/** A bid rises over the last so many blocks, or over all of them if there are fewer. BOLT 5 recommends 18 for security_delay. */
export const RAMP_BLOCKS = 18

/** Nodes replace a transaction only for one satoshi per virtual byte more. BIP 125 rule 4, Bitcoin Core's incremental relay fee. */
export const REPLACEMENT_STEP = 250

export interface BidTerms {
  readonly previous: FeeratePerKw | undefined
  /** What is mined soon now, and what nodes relay at all. */
  readonly market: FeeratePerKw
  readonly minimum: FeeratePerKw
  readonly budgetSat: Sat
  readonly weight: number
  /** Until the deadline, if there is one; may be negative. */
  readonly blocksLeft: number | undefined
  /** How many blocks there were for it in all. */
  readonly blocksGiven?: number
}

/** The rate at which the whole budget is spent. */
const mostOf = (budgetSat: Sat, weight: number): number => Math.min(0xffff_ffff, Number((budgetSat * 1000n) / BigInt(weight)))

/** Feerate to bid now; undefined when the claim is not worth making at present. */
export const nextBid = (terms: BidTerms): FeeratePerKw | undefined => {
  const { previous, market, minimum, blocksLeft } = terms
  const most = mostOf(terms.budgetSat, terms.weight)
  if (most < minimum) return previous
  const base = Math.max(market, minimum)
  if (blocksLeft === undefined && base > most) return previous
  const ramp = Math.max(1, Math.min(RAMP_BLOCKS, terms.blocksGiven ?? RAMP_BLOCKS))
  const share = blocksLeft === undefined ? 0 : Math.min(1, Math.max(0, (ramp - blocksLeft) / ramp))
  const target = Math.min(most, Math.floor(base + Math.max(0, most - base) * share * share))
  if (previous === undefined) return FeeratePerKw(target)
  return target >= previous + REPLACEMENT_STEP ? FeeratePerKw(target) : previous
}
