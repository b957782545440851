/** What a partially signed transaction lacks. Bitcoin Core node/psbt.cpp, AnalyzePSBT. */
import { bytesToHex, equalBytes } from '@leyden/codec'
import {
  classifyScript,
  extractPsbtTx,
  finalizePsbtInput,
  isP2sh,
  isUnspendable,
  MAX_MONEY,
  spentOutput,
  txVsize,
  type Psbt,
  type PsbtInput,
} from '@leyden/bitcoin'
import { hash160 } from '@leyden/crypto'
import { btc, type Json } from './json-text.ts'

type Missing = {
  readonly pubkeys?: readonly string[]
  readonly signatures?: readonly string[]
  readonly redeemscript?: string
  readonly witnessscript?: string
}

/** Roles of BIP 174 from the first to the last. */
const ROLES = ['creator', 'updater', 'signer', 'finalizer', 'extractor'] as const
type Role = (typeof ROLES)[number]

/** The longest signature of a key that is looked for until it is short, with its sighash byte. */
const ROOM_FOR_SIGNATURE = 71
const ROOM_FOR_SCHNORR = 64

type State = {
  readonly missing: Missing
  /** With room where signatures are missing; undefined when even their places are not known. */ readonly filled:
    | PsbtInput
    | undefined
}

const NOTHING_MISSING: Missing = {}

const stateOf = (input: PsbtInput, outer: Uint8Array): State => {
  const outerForm = classifyScript(outer)
  if (outerForm.type === 'p2tr') {
    if (input.tapKeySignature !== undefined) return { missing: NOTHING_MISSING, filled: input }
    const key = input.tapInternalKey
    if (key === undefined)
      return { missing: { pubkeys: [bytesToHex(hash160(Uint8Array.of(2, ...outerForm.outputKey)))] }, filled: undefined }
    return {
      missing: { signatures: [bytesToHex(hash160(Uint8Array.of(2, ...key)))] },
      filled: { ...input, tapKeySignature: new Uint8Array(ROOM_FOR_SCHNORR) },
    }
  }
  if (isP2sh(outer) && input.redeemScript === undefined)
    return { missing: { redeemscript: bytesToHex(outer.subarray(2, 22)) }, filled: undefined }
  const inner = input.redeemScript ?? outer
  const innerForm = classifyScript(inner)
  if (innerForm.type === 'p2wsh' && input.witnessScript === undefined)
    return { missing: { witnessscript: bytesToHex(innerForm.hash) }, filled: undefined }
  const form = classifyScript(innerForm.type === 'p2wsh' ? (input.witnessScript as Uint8Array) : inner)
  const hasSignature = (point: Uint8Array): boolean => input.partialSignatures.some((one) => equalBytes(one.point, point))
  const room = (points: readonly Uint8Array[]): PsbtInput => {
    const { sighashType: _type, ...rest } = input
    const places = points.map((point) => ({ point, signature: new Uint8Array(ROOM_FOR_SIGNATURE).fill(input.sighashType ?? 1) }))
    return { ...rest, partialSignatures: [...input.partialSignatures, ...places] }
  }
  if (form.type === 'p2pkh' || form.type === 'p2wpkh') {
    const points = [...input.partialSignatures, ...input.derivations].map(({ point }) => point)
    const point = points.find((one) => equalBytes(hash160(one), form.hash))
    if (point === undefined) return { missing: { pubkeys: [bytesToHex(form.hash)] }, filled: undefined }
    if (hasSignature(point)) return { missing: NOTHING_MISSING, filled: input }
    return { missing: { signatures: [bytesToHex(form.hash)] }, filled: room([point]) }
  }
  if (form.type !== 'p2pk' && form.type !== 'multisig') return { missing: { pubkeys: [] }, filled: undefined }
  const points = form.type === 'p2pk' ? [form.point] : form.points
  const required = form.type === 'p2pk' ? 1 : form.required
  const signed = points.filter(hasSignature).length
  if (signed >= required) return { missing: NOTHING_MISSING, filled: input }
  const open = points.filter((point) => !hasSignature(point))
  return {
    missing: { signatures: open.map((point) => bytesToHex(hash160(point))) },
    filled: room(open.slice(0, required - signed)),
  }
}

const roleFor = (missing: Missing): Role => {
  const names = Object.keys(missing)
  if (names.length === 0) return 'finalizer'
  return names.length === 1 && names[0] === 'signatures' ? 'signer' : 'updater'
}

export const analyzePsbt = (psbt: Psbt): Json => {
  const refuse = (error: string): Json => ({ inputs: [], next: 'creator', error })
  const spent = psbt.inputs.map((_, i) => spentOutput(psbt, i))
  for (const [i, output] of spent.entries()) {
    if (output === undefined) continue
    if (output.value > MAX_MONEY) return refuse(`PSBT is not valid. Input ${i} has invalid value`)
    if (isUnspendable(output.scriptPubKey)) return refuse(`PSBT is not valid. Input ${i} spends unspendable output`)
  }
  const paid = psbt.tx.outputs.reduce((sum, { value }) => sum + value, 0n)
  if (paid > MAX_MONEY) return refuse('PSBT is not valid. Output amount invalid')
  let filled: Psbt | undefined = psbt
  const inputs = psbt.inputs.map((input, i): { readonly json: Json; readonly role: Role } => {
    const output = spent[i]
    const isFinal = input.finalScriptSig !== undefined || input.finalScriptWitness !== undefined
    if (output === undefined) {
      filled = undefined
      return { json: { has_utxo: false, is_final: false, next: 'updater' }, role: 'updater' }
    }
    if (isFinal) return { json: { has_utxo: true, is_final: true, next: 'extractor' }, role: 'extractor' }
    const state = stateOf(input, output.scriptPubKey)
    const role = roleFor(state.missing)
    if (state.filled === undefined) filled = undefined
    else if (filled !== undefined) filled = { ...filled, inputs: filled.inputs.with(i, state.filled) }
    const missing = Object.keys(state.missing).length === 0 ? {} : { missing: state.missing }
    return { json: { has_utxo: true, is_final: false, next: role, ...missing }, role }
  })
  const next = ROLES[Math.min(...inputs.map(({ role }) => ROLES.indexOf(role)), ROLES.length - 1)] as Role
  const head = { inputs: inputs.map(({ json }) => json) }
  if (!spent.every((output) => output !== undefined)) return { ...head, next }
  const fee = spent.reduce((sum, { value }) => sum + value, 0n) - paid
  if (fee < 0n || fee > MAX_MONEY) return refuse('PSBT is not valid. Output amount invalid')
  let whole: Psbt | undefined = filled
  for (let i = 0; whole !== undefined && i < psbt.inputs.length; i++) {
    const finished: Psbt | string = finalizePsbtInput(whole, i)
    whole = typeof finished === 'string' ? undefined : finished
  }
  const tx = whole === undefined ? undefined : extractPsbtTx(whole)
  const vsize = tx === undefined ? undefined : txVsize(tx)
  const size = vsize === undefined ? {} : { estimated_vsize: vsize, estimated_feerate: btc((fee * 1000n) / BigInt(vsize)) }
  return { ...head, ...size, fee: btc(fee), next }
}
