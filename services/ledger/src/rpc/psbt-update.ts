/**
 * What is added to a partially signed transaction: outputs that it spends, from this node; scripts, keys and origins, from descriptors;
 * signatures, from the private keys in them. BIP 174 § Updater, § Signer; Bitcoin Core node/psbt.cpp, psbt.cpp.
 */
import { bytesToHex, concat, equalBytes } from '@leyden/codec'
import {
  classifyScript,
  forkSighashType,
  isP2sh,
  p2pkh,
  SIGHASH,
  sighashCache,
  sighashLegacy,
  sighashTaproot,
  sighashV0,
  spentOutput,
  taprootOutput,
  type DerivedKey,
  type Knowledge,
  type Psbt,
  type PsbtDerivation,
  type PsbtInput,
  type PsbtOutput,
  type TxOutput,
} from '@leyden/bitcoin'
import {
  derFromCompact,
  ecdsaSignLowR,
  hash160,
  pointFromXOnly,
  randomBytes,
  ripemd160,
  schnorrSign,
  taprootTweakSecret,
} from '@leyden/crypto'
import type { LedgerEngine } from '../engine.ts'

type Scripts = { readonly redeemScript: Uint8Array | undefined; readonly witnessScript: Uint8Array | undefined }

/** Inner scripts of an output script that are known. */
const scriptsFor = (outer: Uint8Array, { scripts }: Knowledge, given: Partial<Scripts> = {}): Scripts => {
  const redeemScript = isP2sh(outer) ? (given.redeemScript ?? scripts.get(bytesToHex(outer.subarray(2, 22)))) : undefined
  const form = classifyScript(redeemScript ?? outer)
  const witnessScript = form.type === 'p2wsh' ? (given.witnessScript ?? scripts.get(bytesToHex(ripemd160(form.hash)))) : undefined
  return { redeemScript, witnessScript }
}

const keyOfHash = ({ keys }: Knowledge, hash: Uint8Array): DerivedKey | undefined => keys.get(bytesToHex(hash))

/** Known keys of the innermost script. */
const keysIn = (script: Uint8Array, knowledge: Knowledge): readonly DerivedKey[] => {
  const form = classifyScript(script)
  const hashes =
    form.type === 'p2pkh' || form.type === 'p2wpkh'
      ? [form.hash]
      : form.type === 'p2pk'
        ? [hash160(form.point)]
        : form.type === 'multisig'
          ? form.points.map(hash160)
          : []
  return hashes.flatMap((hash) => keyOfHash(knowledge, hash) ?? [])
}

const derivationsOf = (keys: readonly DerivedKey[], before: readonly PsbtDerivation[]): PsbtDerivation[] => {
  const added = keys.filter(({ point }) => !before.some((one) => equalBytes(one.point, point)))
  return [...before, ...added.map(({ point, origin }) => ({ point, fingerprint: origin.fingerprint, path: origin.path }))]
}

/** A key that is known by its x only. */
const keyOfXOnly = (knowledge: Knowledge, xOnly: Uint8Array): DerivedKey | undefined =>
  keyOfHash(knowledge, hash160(pointFromXOnly(xOnly))) ?? keyOfHash(knowledge, hash160(Uint8Array.of(3, ...xOnly)))

type About = Pick<PsbtInput | PsbtOutput, 'redeemScript' | 'witnessScript' | 'derivations' | 'tapInternalKey' | 'tapDerivations'>

/** Fields that tell of an output script, for an input or an output. */
const aboutScript = (
  outer: Uint8Array,
  before: About,
  knowledge: Knowledge,
  withOrigins: boolean,
): About & { merkleRoot?: Uint8Array } => {
  const form = classifyScript(outer)
  if (form.type === 'p2tr') {
    const known = knowledge.taproots.get(bytesToHex(form.outputKey))
    if (known === undefined) return before
    const key = keyOfXOnly(knowledge, known.internalKey)
    const { merkleRoot } = taprootOutput(known.internalKey, known.tree)
    const isNew =
      key !== undefined && withOrigins && !before.tapDerivations.some(({ point }) => equalBytes(point, known.internalKey))
    return {
      ...before,
      tapInternalKey: known.internalKey,
      tapDerivations: isNew
        ? [
            ...before.tapDerivations,
            { point: known.internalKey, leafHashes: [], fingerprint: key.origin.fingerprint, path: key.origin.path },
          ]
        : before.tapDerivations,
      ...(merkleRoot === undefined ? {} : { merkleRoot }),
    }
  }
  const { redeemScript, witnessScript } = scriptsFor(outer, knowledge, before as Partial<Scripts>)
  const keys = keysIn(witnessScript ?? redeemScript ?? outer, knowledge)
  return {
    ...before,
    ...(redeemScript === undefined ? {} : { redeemScript }),
    ...(witnessScript === undefined ? {} : { witnessScript }),
    derivations: withOrigins ? derivationsOf(keys, before.derivations) : before.derivations,
  }
}

const isSegwit = (outer: Uint8Array, redeemScript: Uint8Array | undefined): boolean =>
  ['p2wpkh', 'p2wsh', 'p2tr', 'witness_unknown'].includes(classifyScript(redeemScript ?? outer).type)

/** Adds what is known. Whole earlier transactions come from the mempool and the index of transactions, single outputs from the chain. */
export const updatePsbt = async (engine: LedgerEngine, psbt: Psbt, knowledge: Knowledge, withOrigins = true): Promise<Psbt> => {
  const inputs: PsbtInput[] = []
  for (const [i, input] of psbt.inputs.entries()) {
    const { outpoint } = psbt.tx.inputs[i]!
    let updated = input
    if (input.nonWitnessUtxo === undefined) {
      const waiting = engine.pool.entries.get(outpoint.txid)?.tx
      const position = waiting === undefined ? await engine.position(outpoint.txid) : undefined
      const block = position === undefined ? undefined : await engine.blockByHash(position.blockHash)
      const previous = waiting ?? (position === undefined ? undefined : block?.transactions[position.index])
      if (previous !== undefined && outpoint.vout < previous.outputs.length) updated = { ...updated, nonWitnessUtxo: previous }
    }
    let output = spentOutput({ ...psbt, inputs: psbt.inputs.with(i, updated) }, i)
    output ??= (await engine.coin(outpoint))?.output
    if (output === undefined) {
      inputs.push(updated)
      continue
    }
    const { merkleRoot, ...about } = aboutScript(output.scriptPubKey, updated, knowledge, withOrigins)
    updated = { ...updated, ...about, ...(merkleRoot === undefined ? {} : { tapMerkleRoot: merkleRoot }) }
    if (updated.witnessUtxo === undefined && isSegwit(output.scriptPubKey, updated.redeemScript))
      updated = { ...updated, witnessUtxo: output }
    inputs.push(updated)
  }
  const outputs = psbt.outputs.map((output, i) => {
    const { merkleRoot: _root, ...about } = aboutScript(psbt.tx.outputs[i]!.scriptPubKey, output, knowledge, withOrigins)
    return { ...output, ...about }
  })
  return { ...psbt, inputs, outputs }
}

/**
 * Signatures of the known private keys, of one input. `type` 0 is that of the input, or the usual one; they commit to
 * the ledger's fork.
 */
export const signPsbtInput = (psbt: Psbt, index: number, knowledge: Knowledge, type: number, forkId: number): Psbt => {
  const input = psbt.inputs[index]!
  const spent = spentOutput(psbt, index)
  if (spent === undefined || input.finalScriptSig !== undefined || input.finalScriptWitness !== undefined) return psbt
  const signed = (changes: Partial<PsbtInput>): Psbt => ({ ...psbt, inputs: psbt.inputs.with(index, { ...input, ...changes }) })
  const cache = sighashCache(psbt.tx)
  const wanted = type === SIGHASH.default ? (input.sighashType ?? SIGHASH.default) : type
  const form = classifyScript(spent.scriptPubKey)
  if (form.type === 'p2tr') {
    const known = knowledge.taproots.get(bytesToHex(form.outputKey))
    const secret = known === undefined ? undefined : keyOfXOnly(knowledge, known.internalKey)?.secret
    const prevouts = psbt.inputs.map((_, i) => spentOutput(psbt, i))
    if (known === undefined || secret === undefined || !prevouts.every((output): output is TxOutput => output !== undefined))
      return psbt
    const { merkleRoot } = taprootOutput(known.internalKey, known.tree)
    const hash = sighashTaproot(psbt.tx, index, prevouts, forkSighashType(wanted, forkId), { cache })
    const signature = schnorrSign(hash, taprootTweakSecret(secret, merkleRoot), randomBytes(32))
    return signed({ tapKeySignature: wanted === SIGHASH.default ? signature : concat(signature, Uint8Array.of(wanted)) })
  }
  const { redeemScript, witnessScript } = scriptsFor(spent.scriptPubKey, knowledge, input as Partial<Scripts>)
  const inner = redeemScript ?? spent.scriptPubKey
  const innerForm = classifyScript(inner)
  const isWitness = innerForm.type === 'p2wpkh' || innerForm.type === 'p2wsh'
  // Before segwit a signature does not cover the amount, which only the whole transaction proves.
  if (!isWitness && input.nonWitnessUtxo === undefined) return psbt
  const script = innerForm.type === 'p2wsh' ? witnessScript : inner
  if (script === undefined) return psbt
  const code = innerForm.type === 'p2wpkh' ? p2pkh(innerForm.hash) : script
  const ecdsaType = wanted === SIGHASH.default ? SIGHASH.all : wanted
  const hash = isWitness
    ? sighashV0(psbt.tx, index, code, spent.value, forkSighashType(ecdsaType, forkId), cache)
    : sighashLegacy(psbt.tx, index, code, forkSighashType(ecdsaType, forkId))
  const added = keysIn(script, knowledge).flatMap(({ point, secret }) => {
    const isThere = input.partialSignatures.some((one) => equalBytes(one.point, point))
    if (secret === undefined || isThere || (isWitness && point.length !== 33)) return []
    return [{ point, signature: concat(derFromCompact(ecdsaSignLowR(hash, secret)), Uint8Array.of(ecdsaType)) }]
  })
  return added.length === 0 ? psbt : signed({ partialSignatures: [...input.partialSignatures, ...added] })
}
