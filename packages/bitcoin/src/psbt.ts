/**
 * Partially signed transactions, version 0: BIP 174, and of BIP 371 what a key spend of taproot needs.
 * Records that we do not read (preimages, taproot scripts, proprietary, extended keys) are kept byte for byte in `others`.
 * Signing is the wallet's. A witnessUtxo's amount is only a claim: who signs several inputs asks for nonWitnessUtxo as well,
 * which spentOutput checks against the outpoint.
 */
import { base64 } from '@scure/base'
import { bytesToHex, compactSize, DecodeError, equalBytes, Reader, Writer } from '@leyden/codec'
import { isValidPublicKey } from '@leyden/crypto'
import {
  decodeTx,
  decodeTxWithoutWitness,
  encodeTx,
  encodeTxWithoutWitness,
  readOutput,
  readWitness,
  txid,
  writeOutput,
  writeVarBytes,
  writeWitness,
  type Tx,
  type TxOutput,
} from './tx.ts'

/** A record of a map: `key` begins with its type. */
export type PsbtRecord = { readonly key: Uint8Array; readonly value: Uint8Array }

/** Where a key comes from: fingerprint of the master key (4 bytes) and the path, hardened steps with bit 31. */
export type PsbtDerivation = { readonly point: Uint8Array; readonly fingerprint: Uint8Array; readonly path: readonly number[] }

/** As PsbtDerivation, for an x-only key of taproot and the leaves that it signs (none: the key spend). */
export type PsbtTapDerivation = PsbtDerivation & { readonly leafHashes: readonly Uint8Array[] }

/** `signature`: DER and sighash byte. */
export type PsbtPartialSignature = { readonly point: Uint8Array; readonly signature: Uint8Array }

export type PsbtInput = {
  readonly nonWitnessUtxo?: Tx
  readonly witnessUtxo?: TxOutput
  readonly partialSignatures: readonly PsbtPartialSignature[]
  readonly sighashType?: number
  readonly redeemScript?: Uint8Array
  readonly witnessScript?: Uint8Array
  readonly derivations: readonly PsbtDerivation[]
  readonly finalScriptSig?: Uint8Array
  readonly finalScriptWitness?: readonly Uint8Array[]
  /** 64 or 65 bytes. */
  readonly tapKeySignature?: Uint8Array
  readonly tapDerivations: readonly PsbtTapDerivation[]
  readonly tapInternalKey?: Uint8Array
  readonly tapMerkleRoot?: Uint8Array
  readonly others: readonly PsbtRecord[]
}

export type PsbtOutput = {
  readonly redeemScript?: Uint8Array
  readonly witnessScript?: Uint8Array
  readonly derivations: readonly PsbtDerivation[]
  readonly tapInternalKey?: Uint8Array
  readonly tapDerivations: readonly PsbtTapDerivation[]
  readonly others: readonly PsbtRecord[]
}

/** `tx` is unsigned; `inputs` and `outputs` go with its inputs and outputs. */
export type Psbt = {
  readonly tx: Tx
  readonly inputs: readonly PsbtInput[]
  readonly outputs: readonly PsbtOutput[]
  readonly others: readonly PsbtRecord[]
}

const MAGIC = Uint8Array.of(0x70, 0x73, 0x62, 0x74, 0xff)

const GLOBAL = { unsignedTx: 0x00, version: 0xfb } as const
const IN = {
  nonWitnessUtxo: 0x00,
  witnessUtxo: 0x01,
  partialSignature: 0x02,
  sighashType: 0x03,
  redeemScript: 0x04,
  witnessScript: 0x05,
  derivation: 0x06,
  finalScriptSig: 0x07,
  finalScriptWitness: 0x08,
  tapKeySignature: 0x13,
  tapDerivation: 0x16,
  tapInternalKey: 0x17,
  tapMerkleRoot: 0x18,
} as const
const OUT = { redeemScript: 0x00, witnessScript: 0x01, derivation: 0x02, tapInternalKey: 0x05, tapDerivation: 0x07 } as const

const EMPTY_INPUT: PsbtInput = { partialSignatures: [], derivations: [], tapDerivations: [], others: [] }
const EMPTY_OUTPUT: PsbtOutput = { derivations: [], tapDerivations: [], others: [] }

/** BIP 174 § Creator: a PSBT without signatures for a transaction, whose scripts and witnesses it drops. */
export const createPsbt = (tx: Tx): Psbt => ({
  tx: { ...tx, inputs: tx.inputs.map((input) => ({ ...input, scriptSig: new Uint8Array(0), witness: [] })) },
  inputs: tx.inputs.map(() => EMPTY_INPUT),
  outputs: tx.outputs.map(() => EMPTY_OUTPUT),
  others: [],
})

const invalid = (detail: string): never => {
  throw new DecodeError('invalid', `psbt: ${detail}`)
}

// ---- decoding

/** One record split: its type, the rest of its key, a reader-free value. */
type Split = PsbtRecord & { readonly type: number; readonly keyData: Uint8Array }

const readMap = (r: Reader): Split[] => {
  const seen = new Set<string>()
  const records: Split[] = []
  for (;;) {
    const keyLength = compactSize.decode(r)
    if (keyLength === 0) return records
    const key = r.bytes(keyLength)
    const keyReader = new Reader(key)
    const type = compactSize.decode(keyReader)
    const value = r.bytes(compactSize.decode(r))
    const id = bytesToHex(key)
    if (seen.has(id)) invalid(`record ${id.slice(0, 20)} twice`)
    seen.add(id)
    records.push({ key, value, type, keyData: keyReader.rest() })
  }
}

const withReader = <T>(bytes: Uint8Array, read: (r: Reader) => T): T => {
  const r = new Reader(bytes)
  const value = read(r)
  r.expectEnd()
  return value
}

const noKeyData = (record: Split): void => {
  if (record.keyData.length > 0) invalid(`key data in record of type ${record.type}`)
}

const pointOf = (record: Split): Uint8Array =>
  isValidPublicKey(record.keyData) ? record.keyData : invalid(`not a public key in record of type ${record.type}`)

const sized = (bytes: Uint8Array, lengths: readonly number[], what: string): Uint8Array =>
  lengths.includes(bytes.length) ? bytes : invalid(`${what} of ${bytes.length} bytes`)

const readPath = (r: Reader): Pick<PsbtDerivation, 'fingerprint' | 'path'> => {
  const fingerprint = r.bytes(4)
  const path: number[] = []
  while (r.remaining > 0) path.push(r.u32le())
  return { fingerprint, path }
}

const readDerivation = (record: Split): PsbtDerivation => ({
  point: pointOf(record),
  ...withReader(record.value, readPath),
})

const readTapDerivation = (record: Split): PsbtTapDerivation => ({
  point: sized(record.keyData, [32], 'x-only key'),
  ...withReader(record.value, (r) => {
    const count = compactSize.decode(r)
    if (count * 32 > r.remaining) invalid('leaf hashes do not fit')
    const leafHashes = Array.from({ length: count }, () => r.bytes(32))
    return { leafHashes, ...readPath(r) }
  }),
})

const signatureOf = (record: Split): PsbtPartialSignature => {
  const point = pointOf(record)
  return record.value.length === 0 ? invalid('empty signature') : { point, signature: record.value }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer I)[] ? I[] : T[K] }

/** Records whose key is only their type. */
const readSingleInput = (input: Mutable<PsbtInput>, record: Split): boolean => {
  const { value } = record
  switch (record.type) {
    case IN.nonWitnessUtxo:
      input.nonWitnessUtxo = decodeTx(value)
      break
    case IN.witnessUtxo:
      input.witnessUtxo = withReader(value, readOutput)
      break
    case IN.sighashType:
      input.sighashType = withReader(value, (r) => r.u32le())
      break
    case IN.redeemScript:
      input.redeemScript = value
      break
    case IN.witnessScript:
      input.witnessScript = value
      break
    case IN.finalScriptSig:
      input.finalScriptSig = value
      break
    case IN.finalScriptWitness:
      input.finalScriptWitness = withReader(value, readWitness)
      break
    case IN.tapKeySignature:
      input.tapKeySignature = sized(value, [64, 65], 'taproot signature')
      break
    case IN.tapInternalKey:
      input.tapInternalKey = sized(value, [32], 'taproot internal key')
      break
    case IN.tapMerkleRoot:
      input.tapMerkleRoot = sized(value, [32], 'taproot merkle root')
      break
    default:
      return false
  }
  noKeyData(record)
  return true
}

const readInput = (records: readonly Split[]): PsbtInput => {
  const input: Mutable<PsbtInput> = { partialSignatures: [], derivations: [], tapDerivations: [], others: [] }
  for (const record of records) {
    if (readSingleInput(input, record)) continue
    if (record.type === IN.partialSignature) input.partialSignatures.push(signatureOf(record))
    else if (record.type === IN.derivation) input.derivations.push(readDerivation(record))
    else if (record.type === IN.tapDerivation) input.tapDerivations.push(readTapDerivation(record))
    else input.others.push({ key: record.key, value: record.value })
  }
  return input
}

const readPsbtOutput = (records: readonly Split[]): PsbtOutput => {
  const output: Mutable<PsbtOutput> = { derivations: [], tapDerivations: [], others: [] }
  for (const record of records) {
    if (record.type === OUT.derivation) output.derivations.push(readDerivation(record))
    else if (record.type === OUT.tapDerivation) output.tapDerivations.push(readTapDerivation(record))
    else if (record.type === OUT.redeemScript || record.type === OUT.witnessScript || record.type === OUT.tapInternalKey) {
      noKeyData(record)
      if (record.type === OUT.redeemScript) output.redeemScript = record.value
      else if (record.type === OUT.witnessScript) output.witnessScript = record.value
      else output.tapInternalKey = sized(record.value, [32], 'taproot internal key')
    } else output.others.push({ key: record.key, value: record.value })
  }
  return output
}

const readUnsignedTx = (records: readonly Split[]): Tx => {
  const record = records.find(({ type }) => type === GLOBAL.unsignedTx) ?? invalid('no unsigned transaction')
  noKeyData(record)
  const tx = decodeTxWithoutWitness(record.value)
  if (tx.inputs.some((input) => input.scriptSig.length > 0)) invalid('the unsigned transaction is signed')
  return tx
}

/** Whole input. Throws DecodeError: bad form, repeated keys, keys of wrong sizes, another version than 0. */
export const decodePsbt = (bytes: Uint8Array): Psbt => {
  const r = new Reader(bytes)
  const magic = r.bytes(MAGIC.length)
  if (!MAGIC.every((byte, i) => byte === magic[i])) invalid('not a PSBT')
  const global = readMap(r)
  const version = global.find(({ type }) => type === GLOBAL.version)
  if (version !== undefined && withReader(version.value, (value) => value.u32le()) !== 0) invalid('not version 0')
  const tx = readUnsignedTx(global)
  const inputs = tx.inputs.map(() => readInput(readMap(r)))
  const outputs = tx.outputs.map(() => readPsbtOutput(readMap(r)))
  r.expectEnd()
  inputs.forEach((input, i) => {
    const previous = input.nonWitnessUtxo
    if (previous === undefined) return
    const { outpoint } = tx.inputs[i]!
    if (txid(previous) !== outpoint.txid || outpoint.vout >= previous.outputs.length) invalid(`input ${i}: another transaction`)
  })
  const others = global.filter(({ type }) => type !== GLOBAL.unsignedTx).map(({ key, value }) => ({ key, value }))
  return { tx, inputs, outputs, others }
}

// ---- encoding

const toBytes = (write: (w: Writer) => void): Uint8Array => {
  const w = new Writer()
  write(w)
  return w.finish()
}

const recordOf = (type: number, value: Uint8Array, keyData?: Uint8Array): PsbtRecord => ({
  key: keyData === undefined ? Uint8Array.of(type) : Uint8Array.of(type, ...keyData),
  value,
})

const optional = (type: number, value: Uint8Array | undefined): PsbtRecord[] =>
  value === undefined ? [] : [recordOf(type, value)]

const writePath = (w: Writer, { fingerprint, path }: PsbtDerivation): void => {
  w.bytes(fingerprint)
  for (const step of path) w.u32le(step)
}

const derivationRecord = (type: number, derivation: PsbtDerivation): PsbtRecord =>
  recordOf(
    type,
    toBytes((w) => writePath(w, derivation)),
    derivation.point,
  )

const tapDerivationRecord = (type: number, derivation: PsbtTapDerivation): PsbtRecord =>
  recordOf(
    type,
    toBytes((w) => {
      compactSize.encode(w, derivation.leafHashes.length)
      for (const hash of derivation.leafHashes) w.bytes(hash)
      writePath(w, derivation)
    }),
    derivation.point,
  )

const inputRecords = (input: PsbtInput): PsbtRecord[] => {
  const { nonWitnessUtxo, witnessUtxo, sighashType, finalScriptWitness } = input
  return [
    ...optional(IN.nonWitnessUtxo, nonWitnessUtxo && encodeTx(nonWitnessUtxo)),
    ...optional(IN.witnessUtxo, witnessUtxo && toBytes((w) => writeOutput(w, witnessUtxo))),
    ...input.partialSignatures.map(({ point, signature }) => recordOf(IN.partialSignature, signature, point)),
    ...optional(IN.sighashType, sighashType === undefined ? undefined : toBytes((w) => w.u32le(sighashType))),
    ...optional(IN.redeemScript, input.redeemScript),
    ...optional(IN.witnessScript, input.witnessScript),
    ...input.derivations.map((derivation) => derivationRecord(IN.derivation, derivation)),
    ...optional(IN.finalScriptSig, input.finalScriptSig),
    ...optional(IN.finalScriptWitness, finalScriptWitness && toBytes((w) => writeWitness(w, finalScriptWitness))),
    ...optional(IN.tapKeySignature, input.tapKeySignature),
    ...input.tapDerivations.map((derivation) => tapDerivationRecord(IN.tapDerivation, derivation)),
    ...optional(IN.tapInternalKey, input.tapInternalKey),
    ...optional(IN.tapMerkleRoot, input.tapMerkleRoot),
    ...input.others,
  ]
}

const outputRecords = (output: PsbtOutput): PsbtRecord[] => [
  ...optional(OUT.redeemScript, output.redeemScript),
  ...optional(OUT.witnessScript, output.witnessScript),
  ...output.derivations.map((derivation) => derivationRecord(OUT.derivation, derivation)),
  ...optional(OUT.tapInternalKey, output.tapInternalKey),
  ...output.tapDerivations.map((derivation) => tapDerivationRecord(OUT.tapDerivation, derivation)),
  ...output.others,
]

/** Records in the order of their types; those of one type as given. */
const writeMap = (w: Writer, records: readonly PsbtRecord[]): void => {
  for (const { key, value } of records.toSorted((a, b) => a.key[0]! - b.key[0]!)) {
    writeVarBytes(w, key)
    writeVarBytes(w, value)
  }
  w.u8(0)
}

export const encodePsbt = (psbt: Psbt): Uint8Array => {
  const w = new Writer()
  w.bytes(MAGIC)
  writeMap(w, [recordOf(GLOBAL.unsignedTx, encodeTxWithoutWitness(psbt.tx)), ...psbt.others])
  for (const input of psbt.inputs) writeMap(w, inputRecords(input))
  for (const output of psbt.outputs) writeMap(w, outputRecords(output))
  return w.finish()
}

/** Records of both, ordered by key; of two with one key, the first. */
const union = (a: readonly PsbtRecord[], b: readonly PsbtRecord[]): PsbtRecord[] => {
  const byKey = new Map([...b, ...a].map((record) => [bytesToHex(record.key), record]))
  return [...byKey.entries()].toSorted(([x], [y]) => (x < y ? -1 : 1)).map(([, record]) => record)
}

/** BIP 174 § Combiner: what both know. Throws RangeError unless both are about the same transaction. */
export const combinePsbts = (a: Psbt, b: Psbt): Psbt => {
  const unsigned = encodeTxWithoutWitness(a.tx)
  if (!equalBytes(unsigned, encodeTxWithoutWitness(b.tx))) throw new RangeError('PSBTs of different transactions')
  const w = new Writer()
  w.bytes(MAGIC)
  writeMap(w, [recordOf(GLOBAL.unsignedTx, unsigned), ...union(a.others, b.others)])
  a.inputs.forEach((input, i) => writeMap(w, union(inputRecords(input), inputRecords(b.inputs[i]!))))
  a.outputs.forEach((output, i) => writeMap(w, union(outputRecords(output), outputRecords(b.outputs[i]!))))
  return decodePsbt(w.finish())
}

/** The text form of BIP 174. */
export const psbtToBase64 = (psbt: Psbt): string => base64.encode(encodePsbt(psbt))

/** Throws DecodeError, also on text that is not base64. */
export const psbtFromBase64 = (text: string): Psbt => {
  let bytes: Uint8Array
  try {
    bytes = base64.decode(text.trim())
  } catch {
    return invalid('not base64')
  }
  return decodePsbt(bytes)
}
