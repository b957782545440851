/**
 * Signing the inputs of a raw transaction with given keys, and joining signatures of several copies of it.
 * Bitcoin Core script/sign.cpp. Understands P2PK, P2PKH, multisig, each also in P2SH, P2WSH or both, P2WPKH, and taproot key spends
 * (the key as BIP 86 tweaks it, or as it stands).
 * A signature that a transaction already carries is found by checking it against each key, not by its place.
 */
import { concat, equalBytes } from '@leyden/codec'
import {
  buildScript,
  classifyScript,
  forkSighashType,
  p2pkh,
  p2shOf,
  p2wshOf,
  parseScript,
  pushBytes,
  SIGHASH,
  sighashCache,
  sighashLegacy,
  sighashTaproot,
  sighashV0,
  type Tx,
  type TxInput,
  type TxOutput,
} from '@leyden/bitcoin'
import {
  compactFromDerLax,
  derFromCompact,
  ecdsaSignLowR,
  ecdsaVerifyLax,
  hash160,
  pointCompress,
  randomBytes,
  schnorrSign,
  taprootTweakPoint,
  taprootTweakSecret,
  xOnlyFromPoint,
} from '@leyden/crypto'

/** `point` is compressed or not, as the key says of itself. */
export type SigningKey = { readonly secret: Uint8Array; readonly point: Uint8Array }

export type SignOptions = {
  readonly keys: readonly SigningKey[]
  /** Redeem and witness scripts that the caller knows. */
  readonly scripts: readonly Uint8Array[]
  /** Copies of the transaction whose signatures may be used. */
  readonly copies: readonly Tx[]
  readonly sighashType: number
  /** What signatures commit to besides; 0 for nothing. */
  readonly forkId: number
}

type Found = { readonly scriptSig: Uint8Array; readonly witness: readonly Uint8Array[] }
type Version = 'base' | 'witness_v0'

const NOTHING = new Uint8Array(0)

const pushesOf = (script: Uint8Array): Uint8Array[] => {
  try {
    return parseScript(script).flatMap(({ data }) => (data === undefined || data.length === 0 ? [] : [data]))
  } catch {
    return []
  }
}

/** The input with what could be signed or found, which may be nothing. `spent`: all outputs that the transaction spends. */
export const signInput = (tx: Tx, inputIndex: number, spent: readonly TxOutput[], options: SignOptions): TxInput => {
  const input = tx.inputs[inputIndex] as TxInput
  const { value, scriptPubKey } = spent[inputIndex] as TxOutput
  const { keys, sighashType, forkId } = options
  const present = [tx, ...options.copies].flatMap(({ inputs }) => {
    const one = inputs[inputIndex]
    return one === undefined ? [] : [...pushesOf(one.scriptSig), ...one.witness]
  })
  const scripts = [...options.scripts, ...options.scripts.map(p2wshOf), ...present]
  const cache = sighashCache(tx)
  const mayMake = (sighashType & ~SIGHASH.anyoneCanPay) !== SIGHASH.single || inputIndex < tx.outputs.length

  const hashFor = (script: Uint8Array, version: Version, type: number): Uint8Array =>
    version === 'base'
      ? sighashLegacy(tx, inputIndex, script, forkSighashType(type, forkId))
      : sighashV0(tx, inputIndex, script, value, forkSighashType(type, forkId), cache)

  const signatureOf = (point: Uint8Array, script: Uint8Array, version: Version): Uint8Array | undefined => {
    const held = present.find((bytes) => {
      if (bytes.length < 9 || bytes.length > 73 || bytes[0] !== 0x30) return false
      const compact = compactFromDerLax(bytes.subarray(0, -1))
      return compact !== undefined && ecdsaVerifyLax(compact, hashFor(script, version, bytes.at(-1) as number), point)
    })
    if (held !== undefined) return held
    const key = keys.find((one) => equalBytes(one.point, point))
    if (key === undefined || !mayMake || (version === 'witness_v0' && point.length !== 33)) return undefined
    const type = sighashType === SIGHASH.default ? SIGHASH.all : sighashType
    return concat(derFromCompact(ecdsaSignLowR(hashFor(script, version, type), key.secret)), Uint8Array.of(type))
  }

  const pointOf = (hash: Uint8Array): Uint8Array | undefined =>
    [...keys.map(({ point }) => point), ...present.filter(({ length }) => length === 33 || length === 65)].find((point) =>
      equalBytes(hash160(point), hash),
    )

  /** Arguments of a script of signatures. */
  const satisfy = (script: Uint8Array, version: Version): readonly Uint8Array[] | undefined => {
    const form = classifyScript(script)
    if (form.type === 'p2pk') {
      const signature = signatureOf(form.point, script, version)
      return signature === undefined ? undefined : [signature]
    }
    if (form.type === 'p2pkh' || form.type === 'p2wpkh') {
      const point = pointOf(form.hash)
      const signature = point === undefined ? undefined : signatureOf(point, p2pkh(form.hash), version)
      return point === undefined || signature === undefined ? undefined : [signature, point]
    }
    if (form.type !== 'multisig') return undefined
    const signatures = form.points
      .map((point) => signatureOf(point, script, version))
      .filter((signature) => signature !== undefined)
      .slice(0, form.required)
    // Places of missing signatures stay empty, so that others can add theirs.
    const missing = Array.from({ length: form.required - signatures.length }, () => NOTHING)
    return [NOTHING, ...signatures, ...missing]
  }

  const witnessOf = (program: Uint8Array): readonly Uint8Array[] | undefined => {
    if (classifyScript(program).type === 'p2wpkh') return satisfy(program, 'witness_v0')
    const script = scripts.find((one) => equalBytes(p2wshOf(one), program))
    const args = script === undefined ? undefined : satisfy(script, 'witness_v0')
    return script === undefined || args === undefined ? undefined : [...args, script]
  }

  const taprootWitness = (outputKey: Uint8Array): readonly Uint8Array[] | undefined => {
    for (const key of keys) {
      const xOnly = xOnlyFromPoint(pointCompress(key.point))
      const tweaked = equalBytes(taprootTweakPoint(xOnly).xonly, outputKey)
      if (!mayMake || (!tweaked && !equalBytes(xOnly, outputKey))) continue
      const hash = sighashTaproot(tx, inputIndex, spent, forkSighashType(sighashType, forkId), { cache })
      const signature = schnorrSign(hash, tweaked ? taprootTweakSecret(key.secret) : key.secret, randomBytes(32))
      return [sighashType === SIGHASH.default ? signature : concat(signature, Uint8Array.of(sighashType))]
    }
    return undefined
  }

  const find = (): Found | undefined => {
    const form = classifyScript(scriptPubKey)
    if (form.type === 'p2tr') {
      const witness = taprootWitness(form.outputKey)
      return witness === undefined ? undefined : { scriptSig: NOTHING, witness }
    }
    if (form.type === 'p2wpkh' || form.type === 'p2wsh') {
      const witness = witnessOf(scriptPubKey)
      return witness === undefined ? undefined : { scriptSig: NOTHING, witness }
    }
    if (form.type !== 'p2sh') {
      const args = satisfy(scriptPubKey, 'base')
      return args === undefined ? undefined : { scriptSig: buildScript(...args), witness: [] }
    }
    const nested = keys.map(({ point }) => buildScript(0, hash160(point)))
    const redeemScript = [...scripts, ...nested].find((one) => equalBytes(p2shOf(one), scriptPubKey))
    if (redeemScript === undefined) return undefined
    const inner = classifyScript(redeemScript).type
    if (inner === 'p2wpkh' || inner === 'p2wsh') {
      const witness = witnessOf(redeemScript)
      return witness === undefined ? undefined : { scriptSig: pushBytes(redeemScript), witness }
    }
    const args = satisfy(redeemScript, 'base')
    return args === undefined ? undefined : { scriptSig: concat(buildScript(...args), pushBytes(redeemScript)), witness: [] }
  }

  const found = find()
  if (found !== undefined) return { ...input, ...found }
  // What this cannot sign stays as one of the copies has it.
  const finished = [tx, ...options.copies]
    .map(({ inputs }) => inputs[inputIndex])
    .find((one) => one !== undefined && (one.scriptSig.length > 0 || one.witness.length > 0))
  return finished === undefined ? input : { ...input, scriptSig: finished.scriptSig, witness: finished.witness }
}
