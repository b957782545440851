/**
 * What a hop costs a payer: its fee (BOLT 7 § HTLC Fees, exact, bigint) and, to compare paths, a price on locked time.
 * Prices of comparison are plain numbers of millisatoshi: nobody is paid by them.
 */
import { Msat } from '@leyden/bitcoin'

/** fee_base_msat + amount * fee_proportional_millionths / 1000000, rounded down. */
export const forwardingFee = (
  policy: { readonly feeBaseMsat: number; readonly feeProportionalMillionths: number },
  amountMsat: bigint,
): Msat => Msat(BigInt(policy.feeBaseMsat) + (amountMsat * BigInt(policy.feeProportionalMillionths)) / 1_000_000n)

/** One block of delay costs so many millionths of the amount: about 8 % a year. */
const RISK_MILLIONTHS_PER_BLOCK = 1.5

/** Every hop is one more that can fail: a small price, so that of equal paths the shorter wins. Msat. */
const HOP_PRICE = 100

/** What counts how much when paths are compared. */
export interface Weights {
  readonly fee: number
  /** Of the risk that lies in an amount being locked. */
  readonly risk: number
  /** Price of a block of delay, whatever the amount, and of a hop. */
  readonly block: number
  readonly hop: number
  /** Of failures in the past. */
  readonly past: number
}

/** What a payer wants. */
export const CHEAPEST: Weights = { fee: 1, risk: 1, block: 0, hop: HOP_PRICE, past: 1 }

/** Twenty hops weigh less than a msat or a block, but each weighs something: a path does not cost less than a part of it. */
const TRIFLE = 2 ** -10
/** When the cheapest path breaks one of the limits: what keeps within that one. */
export const LEAST_FEE: Weights = { fee: 1, risk: 0, block: 0, hop: TRIFLE, past: 0 }
export const FEWEST_BLOCKS: Weights = { fee: 0, risk: 0, block: 1, hop: TRIFLE, past: 0 }
export const FEWEST_HOPS: Weights = { fee: 0, risk: 0, block: 0, hop: 1, past: 0 }

/** Price of an amount being locked for one block more. Msat, for comparison only. */
export const blockPrice = (weights: Weights, amountMsat: number): number =>
  (weights.risk * amountMsat * RISK_MILLIONTHS_PER_BLOCK) / 1_000_000 + weights.block
