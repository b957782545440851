/**
 * Rules of a transaction: by itself (checkTx), against the coins that it spends (checkTxInputs), and when it may be mined
 * (lock time, BIP 68 sequence locks). Bitcoin Core consensus/tx_check.cpp, tx_verify.cpp. Scripts are interpreter.ts.
 * A version is a uint32: BIP 68 holds for 0xffffffff too.
 */
import { outpointKey, sameOutpoint } from '../ids.ts'
import { VERIFY } from '../script-rules.ts'
import { countSigOps, isP2sh, isPushOnly, lastPush, witnessProgram } from '../script.ts'
import {
  LOCKTIME_THRESHOLD,
  SEQUENCE_LOCKTIME_DISABLE_FLAG,
  SEQUENCE_LOCKTIME_MASK,
  SEQUENCE_LOCKTIME_TYPE_FLAG,
} from '../signature-check.ts'
import { isCoinbase, isNullOutpoint, SEQUENCE_FINAL, txBaseSize, type Tx, type TxOutput } from '../tx.ts'
import { MAX_MONEY, Sat } from '../units.ts'
import { COINBASE_MATURITY, MAX_BLOCK_WEIGHT, WITNESS_SCALE_FACTOR } from './rules.ts'

/** Why a transaction can never be valid. */
export type TxError =
  | 'bad-txns-vin-empty'
  | 'bad-txns-vout-empty'
  | 'bad-txns-oversize'
  | 'bad-txns-vout-negative'
  | 'bad-txns-vout-toolarge'
  | 'bad-txns-txouttotal-toolarge'
  | 'bad-txns-inputs-duplicate'
  | 'bad-cb-length'
  | 'bad-txns-prevout-null'

/** Few inputs are compared with each other, more go into a set. */
const FEW_INPUTS = 4

const repeatsInput = ({ inputs }: Tx): boolean => {
  if (inputs.length > FEW_INPUTS) return new Set(inputs.map(({ outpoint }) => outpointKey(outpoint))).size !== inputs.length
  for (let i = 1; i < inputs.length; i++)
    for (let j = 0; j < i; j++) if (sameOutpoint(inputs[i]!.outpoint, inputs[j]!.outpoint)) return true
  return false
}

/** What needs no context. Undefined: nothing is wrong. Duplicate inputs are refused here (CVE-2018-17144). */
export const checkTx = (tx: Tx): TxError | undefined => {
  if (tx.inputs.length === 0) return 'bad-txns-vin-empty'
  if (tx.outputs.length === 0) return 'bad-txns-vout-empty'
  if (txBaseSize(tx) * WITNESS_SCALE_FACTOR > MAX_BLOCK_WEIGHT) return 'bad-txns-oversize'
  let total = 0n
  for (const { value } of tx.outputs) {
    if (value < 0n) return 'bad-txns-vout-negative'
    if (value > MAX_MONEY) return 'bad-txns-vout-toolarge'
    total += value
    if (total > MAX_MONEY) return 'bad-txns-txouttotal-toolarge'
  }
  if (repeatsInput(tx)) return 'bad-txns-inputs-duplicate'
  if (isCoinbase(tx)) {
    const { length } = tx.inputs[0]!.scriptSig
    return length < 2 || length > 100 ? 'bad-cb-length' : undefined
  }
  return tx.inputs.some((input) => isNullOutpoint(input.outpoint)) ? 'bad-txns-prevout-null' : undefined
}

/** An unspent output: where it was made decides when it may be spent. */
export type Coin = { readonly output: TxOutput; readonly height: number; readonly coinbase: boolean }

export type TxInputsError =
  | 'bad-txns-inputs-missingorspent'
  | 'bad-txns-premature-spend-of-coinbase'
  | 'bad-txns-inputvalues-outofrange'
  | 'bad-txns-in-belowout'

/**
 * The fee, or why these coins cannot pay. `coins` in the order of the inputs, undefined where there is none;
 * `spendHeight` is the height of the block that would hold it. For a transaction that passed checkTx and is no coinbase.
 */
export const checkTxInputs = (
  tx: Tx,
  coins: readonly (Coin | undefined)[],
  spendHeight: number,
): { fee: Sat } | TxInputsError => {
  for (let i = 0; i < tx.inputs.length; i++) if (coins[i] === undefined) return 'bad-txns-inputs-missingorspent'
  let valueIn = 0n
  for (let i = 0; i < tx.inputs.length; i++) {
    const coin = coins[i]!
    if (coin.coinbase && spendHeight - coin.height < COINBASE_MATURITY) return 'bad-txns-premature-spend-of-coinbase'
    const { value } = coin.output
    valueIn += value
    if (value < 0n || value > MAX_MONEY || valueIn > MAX_MONEY) return 'bad-txns-inputvalues-outofrange'
  }
  const valueOut = tx.outputs.reduce((sum, output) => sum + output.value, 0n)
  return valueIn < valueOut ? 'bad-txns-in-belowout' : { fee: Sat(valueIn - valueOut) }
}

/**
 * Whether the lock time allows a block at `height`; `time` is the median time past of the block before it (BIP 113),
 * or the time of the block itself where BIP 113 does not hold yet.
 */
export const isFinalTx = (tx: Tx, height: number, time: number): boolean => {
  if (tx.lockTime === 0) return true
  if (tx.lockTime < (tx.lockTime < LOCKTIME_THRESHOLD ? height : time)) return true
  return tx.inputs.every((input) => input.sequence === SEQUENCE_FINAL)
}

/** The last height and the last median time at which it is still locked; -1 for none. */
export type SequenceLocks = { readonly height: number; readonly time: number }

/** BIP 68: 512 seconds a step. */
const SEQUENCE_TIME_GRANULARITY = 9

/**
 * BIP 68. `coinHeights` in the order of the inputs; `medianTimeAt(h)` is the median time past of the block at height h.
 * Callers before csvHeight do not ask.
 */
export const sequenceLocks = (
  tx: Tx,
  coinHeights: readonly number[],
  medianTimeAt: (height: number) => number,
): SequenceLocks => {
  if (coinHeights.length !== tx.inputs.length) throw new RangeError('a height for every input is needed')
  let height = -1
  let time = -1
  if (tx.version >= 2) {
    tx.inputs.forEach(({ sequence }, i) => {
      if ((sequence & SEQUENCE_LOCKTIME_DISABLE_FLAG) !== 0) return
      const coinHeight = coinHeights[i]!
      const amount = sequence & SEQUENCE_LOCKTIME_MASK
      if ((sequence & SEQUENCE_LOCKTIME_TYPE_FLAG) === 0) height = Math.max(height, coinHeight + amount - 1)
      else {
        const from = medianTimeAt(Math.max(coinHeight - 1, 0))
        time = Math.max(time, from + amount * 2 ** SEQUENCE_TIME_GRANULARITY - 1)
      }
    })
  }
  return { height, time }
}

/** Whether a block at `height`, with that median time past before it, may hold the transaction. */
export const sequenceLocksMet = (locks: SequenceLocks, height: number, medianTimePast: number): boolean =>
  locks.height < height && locks.time < medianTimePast

/** Signature operations as before segwit: in all scripts, a multisig counts 20. */
export const legacySigOps = (tx: Tx): number => {
  let count = 0
  for (const { scriptSig } of tx.inputs) if (scriptSig.length > 0) count += countSigOps(scriptSig, false)
  for (const { scriptPubKey } of tx.outputs) count += countSigOps(scriptPubKey, false)
  return count
}

const witnessSigOps = (program: { version: number; program: Uint8Array }, witness: readonly Uint8Array[]): number => {
  if (program.version !== 0) return 0
  if (program.program.length === 20) return 1
  const script = program.program.length === 32 ? witness.at(-1) : undefined
  return script === undefined ? 0 : countSigOps(script, true)
}

/** BIP 141 cost of signature operations. `prevouts` in the order of the inputs; not read for a coinbase. */
export const sigOpsCost = (tx: Tx, prevouts: readonly TxOutput[], flags: number): number => {
  let cost = legacySigOps(tx) * WITNESS_SCALE_FACTOR
  if (isCoinbase(tx)) return cost
  tx.inputs.forEach((input, i) => {
    const spent = prevouts[i]
    if (spent === undefined) throw new RangeError('every spent output is needed')
    const { scriptPubKey } = spent
    const redeemScript = isP2sh(scriptPubKey) ? lastPush(input.scriptSig) : undefined
    if ((flags & VERIFY.P2SH) !== 0 && redeemScript !== undefined) cost += countSigOps(redeemScript, true) * WITNESS_SCALE_FACTOR
    if ((flags & VERIFY.WITNESS) === 0) return
    const program =
      witnessProgram(scriptPubKey) ??
      (redeemScript !== undefined && isPushOnly(input.scriptSig) ? witnessProgram(redeemScript) : undefined)
    if (program !== undefined) cost += witnessSigOps(program, input.witness)
  })
  return cost
}
