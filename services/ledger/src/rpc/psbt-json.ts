/** A partially signed transaction as JSON. Bitcoin Core rpc/rawtransaction.cpp, decodepsbt. */
import { bytesToHex, compactSize, Reader } from '@leyden/codec'
import {
  extendedKeyText,
  pathText,
  spentOutput,
  type Network,
  type Psbt,
  type PsbtDerivation,
  type PsbtInput,
  type PsbtOutput,
  type PsbtRecord,
  type PsbtTapDerivation,
} from '@leyden/bitcoin'
import { btc, type Json } from './json-text.ts'
import { scriptJson, scriptSigJson, sighashName, txJson } from './json.ts'

type Fields = { [name: string]: Json }

/** Records that are read here and kept as bytes in `others`. BIP 174, BIP 371. */
const KEPT = {
  globalXpub: 0x01,
  globalVersion: 0xfb,
  ripemd160: 0x0a,
  sha256: 0x0b,
  hash160: 0x0c,
  hash256: 0x0d,
  tapScriptSignature: 0x14,
  tapLeafScript: 0x15,
  outputTapTree: 0x06,
  proprietary: 0xfc,
} as const

const path = (steps: readonly number[]): string => `m${pathText(steps)}`
const scriptText = (script: Uint8Array, network: Network): Json => {
  const { asm, hex, type } = scriptJson(script, network) as { asm: Json; hex: Json; type: Json }
  return { asm, hex, type }
}
const derivationsJson = (derivations: readonly PsbtDerivation[]): Json =>
  derivations.map(({ point, fingerprint, path: steps }) => ({
    pubkey: bytesToHex(point),
    master_fingerprint: bytesToHex(fingerprint),
    path: path(steps),
  }))
const tapDerivationsJson = (derivations: readonly PsbtTapDerivation[]): Json =>
  derivations.map(({ point, fingerprint, path: steps, leafHashes }) => ({
    pubkey: bytesToHex(point),
    master_fingerprint: bytesToHex(fingerprint),
    path: path(steps),
    leaf_hashes: leafHashes.map(bytesToHex),
  }))

const ofType = (records: readonly PsbtRecord[], type: number): readonly PsbtRecord[] =>
  records.filter(({ key }) => key[0] === type)
const pairs = (records: readonly PsbtRecord[], keyFrom: number): Json =>
  Object.fromEntries(records.map(({ key, value }) => [bytesToHex(key.slice(keyFrom)), bytesToHex(value)]))

const proprietaryJson = (records: readonly PsbtRecord[]): Json =>
  records.map(({ key, value }) => {
    const reader = new Reader(key.slice(1))
    const identifier = reader.bytes(compactSize.decode(reader))
    const subtype = compactSize.decode(reader)
    return { identifier: bytesToHex(identifier), subtype, key: bytesToHex(reader.rest()), value: bytesToHex(value) }
  })

/** What all maps may have: proprietary records, and those that nobody here reads. */
const restJson = (records: readonly PsbtRecord[], known: readonly number[], always: boolean): Fields => {
  const proprietary = ofType(records, KEPT.proprietary)
  const unknown = records.filter(({ key }) => !known.includes(key[0] as number) && key[0] !== KEPT.proprietary)
  return {
    ...(always || proprietary.length > 0 ? { proprietary: proprietaryJson(proprietary) } : {}),
    ...(always || unknown.length > 0 ? { unknown: pairs(unknown, 0) } : {}),
  }
}

const nonEmpty = (name: string, list: readonly unknown[], value: () => Json): Fields =>
  list.length === 0 ? {} : { [name]: value() }

const inputJson = (psbt: Psbt, index: number, network: Network): Json => {
  const input = psbt.inputs[index] as PsbtInput
  const { others } = input
  const fields: Fields = {}
  if (input.witnessUtxo !== undefined)
    fields['witness_utxo'] = {
      amount: btc(input.witnessUtxo.value),
      scriptPubKey: scriptJson(input.witnessUtxo.scriptPubKey, network),
    }
  if (input.nonWitnessUtxo !== undefined) {
    const { hex: _hex, ...tx } = txJson(input.nonWitnessUtxo, network)
    fields['non_witness_utxo'] = tx
  }
  if (input.partialSignatures.length > 0)
    fields['partial_signatures'] = Object.fromEntries(
      input.partialSignatures.map(({ point, signature }) => [bytesToHex(point), bytesToHex(signature)]),
    )
  if (input.sighashType !== undefined) fields['sighash'] = sighashName(input.sighashType)
  if (input.redeemScript !== undefined) fields['redeem_script'] = scriptText(input.redeemScript, network)
  if (input.witnessScript !== undefined) fields['witness_script'] = scriptText(input.witnessScript, network)
  Object.assign(
    fields,
    nonEmpty('bip32_derivs', input.derivations, () => derivationsJson(input.derivations)),
  )
  if (input.finalScriptSig !== undefined) fields['final_scriptSig'] = scriptSigJson(input.finalScriptSig)
  if (input.finalScriptWitness !== undefined) fields['final_scriptwitness'] = input.finalScriptWitness.map(bytesToHex)
  for (const hash of ['ripemd160', 'sha256', 'hash160', 'hash256'] as const) {
    const records = ofType(others, KEPT[hash])
    Object.assign(
      fields,
      nonEmpty(`${hash}_preimages`, records, () => pairs(records, 1)),
    )
  }
  if (input.tapKeySignature !== undefined) fields['taproot_key_path_sig'] = bytesToHex(input.tapKeySignature)
  const scriptSignatures = ofType(others, KEPT.tapScriptSignature)
  Object.assign(
    fields,
    nonEmpty('taproot_script_path_sigs', scriptSignatures, () =>
      scriptSignatures.map(({ key, value }) => ({
        pubkey: bytesToHex(key.slice(1, 33)),
        leaf_hash: bytesToHex(key.slice(33)),
        sig: bytesToHex(value),
      })),
    ),
  )
  const leaves = ofType(others, KEPT.tapLeafScript)
  Object.assign(
    fields,
    nonEmpty('taproot_scripts', leaves, () =>
      leaves.map(({ key, value }) => ({
        script: bytesToHex(value.slice(0, -1)),
        leaf_ver: value.at(-1) ?? 0,
        control_blocks: [bytesToHex(key.slice(1))],
      })),
    ),
  )
  Object.assign(
    fields,
    nonEmpty('taproot_bip32_derivs', input.tapDerivations, () => tapDerivationsJson(input.tapDerivations)),
  )
  if (input.tapInternalKey !== undefined) fields['taproot_internal_key'] = bytesToHex(input.tapInternalKey)
  if (input.tapMerkleRoot !== undefined) fields['taproot_merkle_root'] = bytesToHex(input.tapMerkleRoot)
  const known = [KEPT.ripemd160, KEPT.sha256, KEPT.hash160, KEPT.hash256, KEPT.tapScriptSignature, KEPT.tapLeafScript]
  return { ...fields, ...restJson(others, known, false) }
}

const outputJson = (output: PsbtOutput, network: Network): Json => {
  const fields: Fields = {}
  if (output.redeemScript !== undefined) fields['redeem_script'] = scriptText(output.redeemScript, network)
  if (output.witnessScript !== undefined) fields['witness_script'] = scriptText(output.witnessScript, network)
  Object.assign(
    fields,
    nonEmpty('bip32_derivs', output.derivations, () => derivationsJson(output.derivations)),
  )
  if (output.tapInternalKey !== undefined) fields['taproot_internal_key'] = bytesToHex(output.tapInternalKey)
  const [tree] = ofType(output.others, KEPT.outputTapTree)
  if (tree !== undefined) {
    const reader = new Reader(tree.value)
    const leaves: Json[] = []
    while (reader.remaining > 0) {
      const [depth, version] = [reader.u8(), reader.u8()]
      leaves.push({ depth, leaf_ver: version, script: bytesToHex(reader.bytes(compactSize.decode(reader))) })
    }
    fields['taproot_tree'] = leaves
  }
  Object.assign(
    fields,
    nonEmpty('taproot_bip32_derivs', output.tapDerivations, () => tapDerivationsJson(output.tapDerivations)),
  )
  return { ...fields, ...restJson(output.others, [KEPT.outputTapTree], false) }
}

const xpubJson = ({ key, value }: PsbtRecord): Json => {
  const reader = new Reader(value)
  const fingerprint = bytesToHex(reader.bytes(4))
  const steps: number[] = []
  while (reader.remaining > 0) steps.push(reader.u32le())
  return { xpub: extendedKeyText(key.slice(1)), master_fingerprint: fingerprint, path: path(steps) }
}

export const psbtJson = (psbt: Psbt, network: Network): Json => {
  const { hex: _hex, ...tx } = txJson(psbt.tx, network)
  const spent = psbt.inputs.map((_, i) => spentOutput(psbt, i))
  const paid = psbt.tx.outputs.reduce((sum, { value }) => sum + value, 0n)
  const fee = spent.every((output) => output !== undefined)
    ? spent.reduce((sum, output) => sum + output.value, 0n) - paid
    : undefined
  return {
    tx,
    global_xpubs: ofType(psbt.others, KEPT.globalXpub).map(xpubJson),
    psbt_version: 0,
    ...restJson(psbt.others, [KEPT.globalXpub, KEPT.globalVersion], true),
    inputs: psbt.inputs.map((_, i) => inputJson(psbt, i, network)),
    outputs: psbt.outputs.map((output) => outputJson(output, network)),
    ...(fee === undefined ? {} : { fee: btc(fee) }),
  }
}
