/**
 * Fee rates in satoshi per 1000 virtual bytes, whole numbers cut toward zero, and how Bitcoin Core's messages write them.
 * Bitcoin Core 28.1 policy/feerate.cpp, util/moneystr.cpp. Two rates that differ by less than one unit are equal here as there.
 */

/** The rate that a fee is. A fee may be negative when the owner has lowered it (prioritisetransaction). */
export const feeratePerKvb = (fee: bigint, vsize: number): number => (vsize > 0 ? Number((fee * 1000n) / BigInt(vsize)) : 0)

/** Fee of so many virtual bytes, rounded up. */
export const feeForVsize = (feeratePerKvb: number, vsize: number): bigint => BigInt(Math.ceil((feeratePerKvb * vsize) / 1000))

const split = (sat: bigint): { sign: string; whole: string; rest: string } => {
  const digits = (sat < 0n ? -sat : sat).toString().padStart(9, '0')
  return { sign: sat < 0n ? '-' : '', whole: digits.slice(0, -8), rest: digits.slice(-8) }
}

/** Satoshi as bitcoins with at least two decimals: `0.00001`, `1.50`. */
export const amountText = (sat: bigint): string => {
  const { sign, whole, rest } = split(sat)
  return `${sign}${whole}.${rest.slice(0, 2)}${rest.slice(2).replace(/0+$/, '')}`
}

/** A rate as `0.00001000 BTC/kvB`. */
export const feerateText = (feeratePerKvb: number): string => {
  const { sign, whole, rest } = split(BigInt(feeratePerKvb))
  return `${sign}${whole}.${rest} BTC/kvB`
}
