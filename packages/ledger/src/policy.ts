/**
 * Policy: what we relay and mine, stricter than consensus. Bitcoin Core 28.1 policy/policy.{h,cpp}, policy/truc_policy.h.
 * Nothing here may be asked about a block.
 */
import {
  classifyScript,
  countSigOps,
  isPushOnly,
  isUnspendable,
  lastPush,
  MAX_SCRIPT_ELEMENT_SIZE,
  MAX_STACK_SIZE,
  OP,
  outputLength,
  parseScript,
  txBaseSize,
  txWeight,
  witnessProgram,
  type Tx,
  type TxOutput,
} from '@leyden/bitcoin'
import { rejection, type Rejection } from './violation.ts'

/** Satoshi per 1000 virtual bytes: relay floor, step of a replacement, the rate that decides what is dust. */
export const MIN_RELAY_FEERATE_PER_KVB = 1000
export const INCREMENTAL_FEERATE_PER_KVB = 1000
export const DUST_FEERATE_PER_KVB = 3000

export const MAX_STANDARD_TX_WEIGHT = 400_000
/** CVE-2017-12842: a transaction of 64 bytes can pass for an inner node of a merkle tree. */
export const MIN_STANDARD_TX_NONWITNESS_SIZE = 65
export const MAX_STANDARD_SCRIPTSIG_SIZE = 1650
export const MAX_OP_RETURN_BYTES = 83
export const MAX_STANDARD_TX_SIGOPS_COST = 16_000
const MAX_P2SH_SIGOPS = 15
const MAX_P2WSH_STACK_ITEMS = 100
const MAX_P2WSH_STACK_ITEM_SIZE = 80
const MAX_TAPSCRIPT_STACK_ITEM_SIZE = 80
const MAX_P2WSH_SCRIPT_SIZE = 3600
const BYTES_PER_SIGOP = 20

/** Unconfirmed chains. */
export const MAX_ANCESTORS = 25
export const MAX_ANCESTOR_VSIZE = 101_000
export const MAX_DESCENDANTS = 25
export const MAX_DESCENDANT_VSIZE = 101_000
/** One more child of at most this size, if it has that one parent only: the carve-out that anchor outputs rely on. */
export const CARVE_OUT_VSIZE = 10_000
export const MAX_REPLACED = 100

/** BIP 431: topologically restricted until confirmation. */
export const TRUC_VERSION = 3
export const TRUC_MAX_VSIZE = 10_000
export const TRUC_CHILD_MAX_VSIZE = 1000

/** Fee of so many virtual bytes, rounded up as Bitcoin Core 28's CFeeRate::GetFee. */
export const feeForVsize = (feeratePerKvb: number, vsize: number): bigint => BigInt(Math.ceil((feeratePerKvb * vsize) / 1000))

/** Virtual size that mempool and miner count: signature operations beyond the usual density weigh as bytes. */
export const policyVsize = (weight: number, sigopCost: number): number =>
  Math.ceil(Math.max(weight, sigopCost * BYTES_PER_SIGOP) / 4)

/** Satoshi below which an output costs more to spend than it holds. */
export const dustThreshold = (output: TxOutput): bigint => {
  if (isUnspendable(output.scriptPubKey)) return 0n
  const spendBytes = witnessProgram(output.scriptPubKey) === undefined ? 148 : 67
  return feeForVsize(DUST_FEERATE_PER_KVB, outputLength(output) + spendBytes)
}

const outputProblem = (output: TxOutput): string | undefined => {
  const kind = classifyScript(output.scriptPubKey)
  if (kind.type === 'nonstandard') return 'scriptpubkey'
  if (kind.type === 'multisig' && kind.points.length > 3) return 'scriptpubkey'
  if (kind.type === 'op_return') return output.scriptPubKey.length > MAX_OP_RETURN_BYTES ? 'scriptpubkey' : undefined
  return output.value < dustThreshold(output) ? 'dust' : undefined
}

/** Form of the transaction alone. */
export const checkStandard = (tx: Tx): Rejection | undefined => {
  const no = (reason: string): Rejection => rejection('policy', reason)
  if (tx.version < 1 || tx.version > TRUC_VERSION) return no('version')
  if (txWeight(tx) > MAX_STANDARD_TX_WEIGHT) return no('tx-size')
  for (const { scriptSig } of tx.inputs) {
    if (scriptSig.length > MAX_STANDARD_SCRIPTSIG_SIZE) return no('scriptsig-size')
    if (!isPushOnly(scriptSig)) return no('scriptsig-not-pushonly')
  }
  let dataOutputs = 0
  let dust = false
  for (const output of tx.outputs) {
    const problem = outputProblem(output)
    if (problem === 'scriptpubkey') return no(problem)
    if (problem === 'dust') dust = true
    if (classifyScript(output.scriptPubKey).type === 'op_return') dataOutputs++
  }
  if (dust) return no('dust')
  if (dataOutputs > 1) return no('multi-op-return')
  if (txBaseSize(tx) < MIN_STANDARD_TX_NONWITNESS_SIZE) return no('tx-size-small')
  return undefined
}

/** Whether the pushes of a P2SH input can be run: no item too long, none that is no push at all, not too many. */
const pushesRun = (scriptSig: Uint8Array): boolean => {
  const items = parseScript(scriptSig)
  return (
    items.length <= MAX_STACK_SIZE &&
    items.every(({ opcode, data }) => opcode !== OP.OP_RESERVED && (data?.length ?? 0) <= MAX_SCRIPT_ELEMENT_SIZE)
  )
}

const inputsAreStandard = (tx: Tx, prevouts: readonly TxOutput[]): boolean =>
  tx.inputs.every((input, i) => {
    const { type } = classifyScript((prevouts[i] as TxOutput).scriptPubKey)
    if (type === 'nonstandard' || type === 'witness_unknown') return false
    if (type !== 'p2sh') return true
    const redeemScript = lastPush(input.scriptSig)
    return redeemScript !== undefined && pushesRun(input.scriptSig) && countSigOps(redeemScript, true) <= MAX_P2SH_SIGOPS
  })

const taprootWitnessIsStandard = (witness: readonly Uint8Array[]): boolean => {
  const last = witness.at(-1)
  if (witness.length >= 2 && last?.[0] === 0x50) return false // an annex, which means nothing yet
  if (witness.length < 2) return witness.length === 1
  if (last === undefined || last.length === 0) return false
  const isTapscript = ((last[0] as number) & 0xfe) === 0xc0
  return !isTapscript || witness.slice(0, -2).every((item) => item.length <= MAX_TAPSCRIPT_STACK_ITEM_SIZE)
}

const witnessIsStandard = (tx: Tx, prevouts: readonly TxOutput[]): boolean =>
  tx.inputs.every((input, i) => {
    const { witness } = input
    if (witness.length === 0) return true
    let script = (prevouts[i] as TxOutput).scriptPubKey
    const outer = classifyScript(script).type
    if (outer === 'p2a') return false
    if (outer === 'p2sh') {
      const redeemScript = lastPush(input.scriptSig)
      if (redeemScript === undefined) return false
      script = redeemScript
    }
    const program = witnessProgram(script)
    if (program === undefined) return false
    if (program.version === 0 && program.program.length === 32) {
      const items = witness.slice(0, -1)
      if ((witness.at(-1) as Uint8Array).length > MAX_P2WSH_SCRIPT_SIZE || items.length > MAX_P2WSH_STACK_ITEMS) return false
      return items.every((item) => item.length <= MAX_P2WSH_STACK_ITEM_SIZE)
    }
    return program.version !== 1 || program.program.length !== 32 || outer === 'p2sh' || taprootWitnessIsStandard(witness)
  })

/** What it spends, and the witnesses with which. */
export const checkStandardInputs = (tx: Tx, prevouts: readonly TxOutput[]): Rejection | undefined => {
  if (!inputsAreStandard(tx, prevouts)) return rejection('policy', 'bad-txns-nonstandard-inputs')
  if (!witnessIsStandard(tx, prevouts)) return rejection('policy', 'bad-witness-nonstandard')
  return undefined
}
