/**
 * Policy: what we relay and mine, stricter than consensus. Bitcoin Core 28.1 policy/policy.{h,cpp}, kernel/mempool_options.h.
 * Nothing here may be asked about a block. One dust output is let through here: mempool-dust.ts says under which conditions.
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
  txWeight,
  witnessProgram,
  type Tx,
  type TxOutput,
} from '@leyden/bitcoin'
import { feeForVsize } from './fee-rate.ts'
import { rejection, type Rejection } from './violation.ts'

/** How long chains of unconfirmed transactions may get, each transaction counted among its ancestors and descendants. */
export type ChainLimits = {
  readonly ancestorCount: number
  readonly ancestorVsize: number
  readonly descendantCount: number
  readonly descendantVsize: number
}

/** What the owner of a node may choose. Rates in satoshi per 1000 virtual bytes. */
export type MempoolPolicy = {
  /** Bytes of memory, as `entryMemory` counts them. */
  readonly maxBytes: number
  readonly expirySeconds: number
  /** Relay floor. */
  readonly minRelayFeeratePerKvb: number
  /** Step of a replacement, and by how much eviction raises the price of entry. */
  readonly incrementalFeeratePerKvb: number
  /** Decides what is dust. */
  readonly dustFeeratePerKvb: number
  /** The longest OP_RETURN script, opcode and push counted; undefined for none at all. */
  readonly maxDataCarrierBytes: number | undefined
  readonly permitBareMultisig: boolean
  /** False on test networks only: any form that consensus allows. */
  readonly requireStandard: boolean
  /** False: only what signals replaceability (BIP 125), or is version 3, may be replaced. */
  readonly fullRbf: boolean
  /** Virtual bytes that a signature operation counts at least. */
  readonly bytesPerSigop: number
  readonly limits: ChainLimits
}

export const DEFAULT_POLICY: MempoolPolicy = {
  maxBytes: 300_000_000,
  expirySeconds: 336 * 3600,
  minRelayFeeratePerKvb: 1000,
  incrementalFeeratePerKvb: 1000,
  dustFeeratePerKvb: 3000,
  maxDataCarrierBytes: 83,
  permitBareMultisig: true,
  requireStandard: true,
  fullRbf: true,
  bytesPerSigop: 20,
  limits: { ancestorCount: 25, ancestorVsize: 101_000, descendantCount: 25, descendantVsize: 101_000 },
}

const MAX_STANDARD_TX_WEIGHT = 400_000
/** CVE-2017-12842: a transaction of 64 bytes can pass for an inner node of a merkle tree. */
export const MIN_STANDARD_TX_NONWITNESS_SIZE = 65
const MAX_STANDARD_SCRIPTSIG_SIZE = 1650
export const MAX_STANDARD_TX_SIGOPS_COST = 16_000
const MAX_P2SH_SIGOPS = 15
const MAX_P2WSH_STACK_ITEMS = 100
const MAX_P2WSH_STACK_ITEM_SIZE = 80
const MAX_TAPSCRIPT_STACK_ITEM_SIZE = 80
const MAX_P2WSH_SCRIPT_SIZE = 3600
const MAX_MULTISIG_KEYS = 3
const MAX_DUST_OUTPUTS = 1

/** Topologically restricted until confirmation (BIP 431); the highest version that is standard. */
export const TRUC_VERSION = 3

/** Virtual size that mempool and miner count: signature operations beyond the usual density weigh as bytes. */
export const policyVsize = (weight: number, sigopCost: number, bytesPerSigop: number): number =>
  Math.ceil(Math.max(weight, sigopCost * bytesPerSigop) / 4)

/** Satoshi below which an output costs more to spend than it holds. */
export const dustThreshold = (output: TxOutput, dustFeeratePerKvb: number): bigint => {
  if (isUnspendable(output.scriptPubKey)) return 0n
  const spendBytes = witnessProgram(output.scriptPubKey) === undefined ? 148 : 67
  return feeForVsize(dustFeeratePerKvb, outputLength(output) + spendBytes)
}

export const isDust = (output: TxOutput, dustFeeratePerKvb: number): boolean =>
  output.value < dustThreshold(output, dustFeeratePerKvb)

/** Form of the transaction alone. Not asked when the policy wants no standard form. */
export const checkStandard = (tx: Tx, policy: MempoolPolicy): Rejection | undefined => {
  const no = (reason: string): Rejection => rejection('policy', reason)
  if (tx.version < 1 || tx.version > TRUC_VERSION) return no('version')
  if (txWeight(tx) > MAX_STANDARD_TX_WEIGHT) return no('tx-size')
  for (const { scriptSig } of tx.inputs) {
    if (scriptSig.length > MAX_STANDARD_SCRIPTSIG_SIZE) return no('scriptsig-size')
    if (!isPushOnly(scriptSig)) return no('scriptsig-not-pushonly')
  }
  let dataOutputs = 0
  let dustOutputs = 0
  for (const output of tx.outputs) {
    const kind = classifyScript(output.scriptPubKey)
    if (kind.type === 'nonstandard') return no('scriptpubkey')
    if (kind.type === 'multisig' && kind.points.length > MAX_MULTISIG_KEYS) return no('scriptpubkey')
    if (kind.type === 'op_return') {
      const { maxDataCarrierBytes: most } = policy
      if (most === undefined || output.scriptPubKey.length > most) return no('scriptpubkey')
      dataOutputs++
    } else if (kind.type === 'multisig' && !policy.permitBareMultisig) return no('bare-multisig')
    else if (isDust(output, policy.dustFeeratePerKvb)) dustOutputs++
  }
  if (dustOutputs > MAX_DUST_OUTPUTS) return no('dust')
  return dataOutputs > 1 ? no('multi-op-return') : undefined
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
  if (!inputsAreStandard(tx, prevouts)) return rejection('inputs', 'bad-txns-nonstandard-inputs')
  if (!witnessIsStandard(tx, prevouts)) return rejection('policy', 'bad-witness-nonstandard')
  return undefined
}
