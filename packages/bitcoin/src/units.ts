/**
 * Amounts, fee rates and heights, each with its own type.
 * Amounts are branded bigint, fee rates and heights branded number; the constructor is the check.
 * MAX_MONEY is a sanity bound of consensus (Bitcoin Core consensus/amount.h), not the exact supply.
 * Weight is BIP 141: four times the bytes without witness plus the bytes of the witness.
 */
import type { Unit } from '@leyden/codec'

const inRange = (name: string, n: bigint, max: bigint): bigint => {
  if (typeof n !== 'bigint' || n < 0n || n > max) throw new RangeError(`${name} out of range: ${String(n)}`)
  return n
}

const inNumberRange = (name: string, n: number, max: number): number => {
  if (!Number.isSafeInteger(n) || n < 0 || n > max) throw new RangeError(`${name} out of range: ${String(n)}`)
  return n
}

/** The most satoshi that an output or a sum of outputs may hold: 21,000,000 BTC. */
export const MAX_MONEY = 2_100_000_000_000_000n

/** Satoshi in one bitcoin. */
export const SAT_PER_BTC = 100_000_000n

/** Satoshi, 0 to 21e14. Throws RangeError outside. */
export type Sat = Unit<bigint, 'sat'>
export const Sat = (n: bigint): Sat => inRange('sat', n, MAX_MONEY) as Sat

/** Millisatoshi, 0 to 21e17. Throws RangeError outside. */
export type Msat = Unit<bigint, 'msat'>
export const Msat = (n: bigint): Msat => inRange('msat', n, MAX_MONEY * 1000n) as Msat

/** Satoshi per 1000 units of weight, the unit of BOLT 2's feerate_per_kw. An integer, 0 to 2^32 - 1. */
export type FeeratePerKw = Unit<number, 'feerate_per_kw'>
export const FeeratePerKw = (n: number): FeeratePerKw => inNumberRange('feerate_per_kw', n, 0xffff_ffff) as FeeratePerKw

/** Satoshi per virtual byte, the unit that people read. May be fractional; finite and not negative. */
export type FeeratePerVbyte = Unit<number, 'feerate_per_vbyte'>
export const FeeratePerVbyte = (n: number): FeeratePerVbyte => {
  if (!Number.isFinite(n) || n < 0) throw new RangeError(`feerate_per_vbyte out of range: ${String(n)}`)
  return n as FeeratePerVbyte
}

/** Height of a block, 0 (genesis) to 2^32 - 1. */
export type BlockHeight = Unit<number, 'block_height'>
export const BlockHeight = (n: number): BlockHeight => inNumberRange('block_height', n, 0xffff_ffff) as BlockHeight

/** 1 satoshi is 1000 millisatoshi. */
export const satToMsat = (sat: Sat): Msat => Msat(sat * 1000n)

/** Whole satoshi in an amount; what is left over is dropped. */
export const msatToSatFloor = (msat: Msat): Sat => Sat(msat / 1000n)

/** Fee of a transaction of `weight` units, rounded down as BOLT 3 § Fee Calculation does. */
export const feeForWeight = (feeratePerKw: FeeratePerKw, weight: number): Sat =>
  Sat((BigInt(feeratePerKw) * BigInt(inNumberRange('weight', weight, Number.MAX_SAFE_INTEGER))) / 1000n)

/** Smallest integer rate per 1000 weight that is at least `rate` (a vbyte is four units of weight). */
export const feeratePerKwOf = (rate: FeeratePerVbyte): FeeratePerKw => FeeratePerKw(Math.ceil(rate * 250))

/** The same rate in satoshi per virtual byte. */
export const feeratePerVbyteOf = (rate: FeeratePerKw): FeeratePerVbyte => FeeratePerVbyte(rate / 250)
