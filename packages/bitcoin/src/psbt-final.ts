/**
 * Finishing a PSBT: which output an input spends, the final scripts of an input, the transaction at the end.
 * BIP 174 § Input Finalizer, § Transaction Extractor; BIP 371. Understands single keys (P2PKH, P2WPKH, taproot key spend),
 * multisig scripts, and P2SH around version 0 witnesses.
 */
import { concat, equalBytes } from '@leyden/codec'
import { hash160 } from '@leyden/crypto'
import type { Psbt, PsbtInput } from './psbt.ts'
import { SIGHASH } from './sighash.ts'
import { buildScript, classifyScript, isP2sh, p2shOf, p2wshOf, pushBytes } from './script.ts'
import { txid, type Tx, type TxOutput } from './tx.ts'

/** The output that an input spends, as far as the PSBT says; undefined when it says nothing or contradicts itself. */
export const spentOutput = (psbt: Psbt, inputIndex: number): TxOutput | undefined => {
  const input = psbt.inputs[inputIndex]
  const outpoint = psbt.tx.inputs[inputIndex]?.outpoint
  if (input === undefined || outpoint === undefined) return undefined
  const { nonWitnessUtxo, witnessUtxo } = input
  if (nonWitnessUtxo === undefined) return witnessUtxo
  const output = txid(nonWitnessUtxo) === outpoint.txid ? nonWitnessUtxo.outputs[outpoint.vout] : undefined
  if (output === undefined || witnessUtxo === undefined) return output
  return witnessUtxo.value === output.value && equalBytes(witnessUtxo.scriptPubKey, output.scriptPubKey) ? output : undefined
}

/** Why an input cannot be finished (yet). */
export type PsbtFinalProblem =
  | 'no_spent_output'
  | 'script_mismatch'
  | 'missing_signature'
  | 'wrong_sighash_type'
  | 'unknown_script'

type Final = { readonly scriptSig: Uint8Array; readonly witness: readonly Uint8Array[] }

const signatureBy = (input: PsbtInput, matches: (point: Uint8Array) => boolean) =>
  input.partialSignatures.find(({ point }) => matches(point))

/** Arguments that satisfy a script of signatures only, in the order of the stack. */
const satisfy = (script: Uint8Array, input: PsbtInput): readonly Uint8Array[] | PsbtFinalProblem => {
  const form = classifyScript(script)
  if (form.type === 'p2pkh' || form.type === 'p2wpkh') {
    const signed = signatureBy(input, (point) => equalBytes(hash160(point), form.hash))
    return signed === undefined ? 'missing_signature' : [signed.signature, signed.point]
  }
  if (form.type === 'p2pk') {
    const signed = signatureBy(input, (point) => equalBytes(point, form.point))
    return signed === undefined ? 'missing_signature' : [signed.signature]
  }
  if (form.type !== 'multisig') return 'unknown_script'
  const signatures = form.points.flatMap((point) => signatureBy(input, (other) => equalBytes(other, point))?.signature ?? [])
  if (signatures.length < form.required) return 'missing_signature'
  return [new Uint8Array(0), ...signatures.slice(0, form.required)]
}

const finalWitness = (program: Uint8Array, input: PsbtInput): readonly Uint8Array[] | PsbtFinalProblem => {
  if (classifyScript(program).type === 'p2wpkh') return satisfy(program, input)
  const script = input.witnessScript
  if (script === undefined || !equalBytes(p2wshOf(script), program)) return 'script_mismatch'
  const args = satisfy(script, input)
  return typeof args === 'string' ? args : [...args, script]
}

const finalOf = (spent: TxOutput, input: PsbtInput): Final | PsbtFinalProblem => {
  const outer = spent.scriptPubKey
  const form = classifyScript(outer).type
  const nothing = new Uint8Array(0)
  if (form === 'p2tr') {
    const signature = input.tapKeySignature
    return signature === undefined ? 'missing_signature' : { scriptSig: nothing, witness: [signature] }
  }
  const redeemScript = isP2sh(outer) ? input.redeemScript : undefined
  if (isP2sh(outer) && (redeemScript === undefined || !equalBytes(p2shOf(redeemScript), outer))) return 'script_mismatch'
  const script = redeemScript ?? outer
  const push = redeemScript === undefined ? nothing : pushBytes(redeemScript)
  const type = classifyScript(script).type
  if (type === 'p2wpkh' || type === 'p2wsh') {
    const witness = finalWitness(script, input)
    return typeof witness === 'string' ? witness : { scriptSig: push, witness }
  }
  const args = satisfy(script, input)
  return typeof args === 'string' ? args : { scriptSig: concat(buildScript(...args), push), witness: [] }
}

const hasOtherType = ({ sighashType, partialSignatures, tapKeySignature }: PsbtInput): boolean => {
  if (sighashType === undefined) return false
  const tapType = tapKeySignature === undefined || tapKeySignature.length === 64 ? SIGHASH.default : tapKeySignature[64]
  return (
    partialSignatures.some(({ signature }) => signature.at(-1) !== sighashType) ||
    (tapKeySignature !== undefined && tapType !== sighashType)
  )
}

/** The PSBT with that input finished, or why it cannot be. An input that is finished already stays as it is. */
export const finalizePsbtInput = (psbt: Psbt, inputIndex: number): Psbt | PsbtFinalProblem => {
  const input = psbt.inputs[inputIndex]
  if (input === undefined) throw new RangeError(`no input ${inputIndex}`)
  if (input.finalScriptSig !== undefined || input.finalScriptWitness !== undefined) return psbt
  const spent = spentOutput(psbt, inputIndex)
  if (spent === undefined) return 'no_spent_output'
  if (hasOtherType(input)) return 'wrong_sighash_type'
  const final = finalOf(spent, input)
  if (typeof final === 'string') return final
  const finished: PsbtInput = {
    ...(input.nonWitnessUtxo && { nonWitnessUtxo: input.nonWitnessUtxo }),
    ...(input.witnessUtxo && { witnessUtxo: input.witnessUtxo }),
    ...(final.scriptSig.length > 0 && { finalScriptSig: final.scriptSig }),
    ...(final.witness.length > 0 && { finalScriptWitness: final.witness }),
    partialSignatures: [],
    derivations: [],
    tapDerivations: [],
    others: input.others,
  }
  return { ...psbt, inputs: psbt.inputs.map((one, i) => (i === inputIndex ? finished : one)) }
}

/** The signed transaction when every input is finished, else undefined. Scripts are not run here. */
export const extractPsbtTx = (psbt: Psbt): Tx | undefined => {
  const isFinal = (input: PsbtInput) => input.finalScriptSig !== undefined || input.finalScriptWitness !== undefined
  if (!psbt.inputs.every(isFinal)) return undefined
  const inputs = psbt.tx.inputs.map((input, i) => ({
    ...input,
    scriptSig: psbt.inputs[i]?.finalScriptSig ?? new Uint8Array(0),
    witness: psbt.inputs[i]?.finalScriptWitness ?? [],
  }))
  return { ...psbt.tx, inputs }
}
