/**
 * Transactions by chance for two mempools: children, replacements, packages of versions 1 to 4, outputs of every form, fees too low and
 * too high, locks that are open and not. From a seed (mutants.ts); inputs are spent with the script OP_1, so nothing is signed.
 */
import { concat } from '@leyden/codec'
import { buildScript, OP, P2A, p2sh, p2tr, pushBytes, Sat, txid, type Tx, type TxInput, type Txid } from '@leyden/bitcoin'
import { hash160, pointFromSecret, xOnlyFromPoint } from '@leyden/crypto'
import { ANYONE, take, type Dice, type Ground } from './mutants.ts'

const POINT = pointFromSecret(new Uint8Array(32).fill(0x33))

/** An output that may be spent, of the chain or of a transaction that waits. */
export type Spendable = { readonly txid: Txid; readonly vout: number; readonly value: bigint }

const form = (from: Dice): Uint8Array => {
  const roll = from.below(24)
  if (roll < 14) return ANYONE
  switch (roll) {
    case 14:
      return P2A
    case 15:
      return concat(Uint8Array.of(OP.OP_RETURN), pushBytes(new Uint8Array(from.pick([0, 10, 75, 80, 81, 100]))))
    case 16:
      return p2sh(hash160(Uint8Array.of(OP.OP_1)))
    case 17:
      return p2tr(xOnlyFromPoint(POINT))
    case 18:
      return buildScript(
        1n,
        ...Array.from({ length: 1 + from.below(4) }, () => POINT),
        BigInt(1 + from.below(4)),
        OP.OP_CHECKMULTISIG,
      )
    case 19:
      return buildScript(POINT, OP.OP_CHECKSIG)
    case 20:
      return Uint8Array.of(OP.OP_1 + from.below(3))
    case 21:
      return concat(Uint8Array.of(OP.OP_1 + from.below(16)), pushBytes(from.bytes(2 + from.below(39))))
    case 22:
      return buildScript(OP.OP_0, from.bytes(from.pick([20, 32, 31])))
    default:
      return from.bytes(from.below(30))
  }
}

/** A transaction from one to three of the coins of chain and mempool. */
export const payment = (from: Dice, place: Ground, waiting: readonly Spendable[]): Tx => {
  const coins: Spendable[] = Array.from({ length: from.pick([1, 1, 1, 2, 3]) }, () =>
    waiting.length > 0 && !from.oneIn(3)
      ? from.pick(waiting)
      : from.oneIn(20)
        ? from.pick(place.unripe)
        : from.pick(place.coins.slice(0, 12)),
  )
  const unique = coins.filter(
    ({ txid: id, vout }, i) => from.oneIn(15) || coins.findIndex((c) => c.txid === id && c.vout === vout) === i,
  )
  const total = unique.reduce((sum, { value }) => sum + value, 0n)
  const fee = BigInt(from.pick([0, 50, 110, 150, 200, 300, 1000, 1500, 3000, 10_000, 50_000, 400_000, 20_000_000]))
  const count = from.pick([1, 1, 2, 2, 3, 20])
  const small = from.oneIn(6) ? BigInt(from.pick([0, 100, 240, 293, 294, 330, 329, 546])) : undefined
  const left = total - fee - (small ?? 0n)
  const rest = left < 0n ? total : left // of coins that are worth less than the fee: outputs above the inputs, or no fee
  const outputs = Array.from({ length: count }, (_, i) => ({
    value: Sat(i === 0 ? rest - (rest / BigInt(count)) * BigInt(count - 1) : rest / BigInt(count)),
    scriptPubKey: form(from),
  }))
  if (small !== undefined) outputs.push({ value: Sat(small), scriptPubKey: form(from) })
  const inputs = unique.map((coin): TxInput => {
    const input = take(coin, from.pick([0xffff_fffd, 0xffff_fffe, 0xffff_ffff, 0, 1, 0x40_0001, 30]))
    if (from.oneIn(30)) return { ...input, witness: [] }
    if (from.oneIn(30)) return { ...input, witness: [new Uint8Array(from.pick([1, 80, 81])), ...input.witness] }
    if (from.oneIn(40)) return { ...input, scriptSig: Uint8Array.of(OP.OP_1) }
    return input
  })
  const lockTime = from.oneIn(8)
    ? from.pick([place.height - 1, place.height, place.height + 5, place.medianTime - 1, place.medianTime + 9999])
    : 0
  return { version: from.pick([1, 2, 2, 2, 2, 2, 3, 3, 3, 0, 4]), inputs, outputs, lockTime }
}

/** What others may spend of it with OP_1. */
export const openOutputs = (tx: Tx): Spendable[] =>
  tx.outputs.flatMap(({ value, scriptPubKey }, vout) =>
    value > 5000n && scriptPubKey.length === ANYONE.length && scriptPubKey.every((byte, i) => byte === ANYONE[i])
      ? [{ txid: txid(tx), vout, value }]
      : [],
  )
