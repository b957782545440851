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

/** Price of an amount being locked for so many more blocks, if all goes wrong. Msat, for comparison only. */
export const delayPrice = (amountMsat: number, blocks: number): number =>
  (amountMsat * blocks * RISK_MILLIONTHS_PER_BLOCK) / 1_000_000

/** Every hop is one more that can fail: a small price, so that of equal paths the shorter wins. Msat. */
export const HOP_PRICE = 100
