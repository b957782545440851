/**
 * Transactions: shape, bytes, ids, weight. BIP 141 and BIP 144.
 * Decoding checks only the form, as Bitcoin Core does: amounts out of range, no inputs, duplicates and so on are judged by
 * consensus/tx.ts (checkTx). Run it on everything that came from a peer before trusting an amount.
 * Decoded scripts are views into the given bytes. A Tx never changes, so its ids are remembered beside it.
 */
import { compactSize, DecodeError, Reader, Writer, type Codec } from '@leyden/codec'
import { sha256d } from '@leyden/crypto'
import { txidFromBytes, wtxidFromBytes, ZERO_HASH, type Outpoint, type Txid, type Wtxid } from './ids.ts'
import type { Sat } from './units.ts'

/** `sequence` is a uint32. An empty `witness` means none. */
export type TxInput = {
  readonly outpoint: Outpoint
  readonly scriptSig: Uint8Array
  readonly sequence: number
  readonly witness: readonly Uint8Array[]
}

export type TxOutput = { readonly value: Sat; readonly scriptPubKey: Uint8Array }

/** `version` is read as uint32 (BIP 68 compares it so), `lockTime` is a uint32. */
export type Tx = {
  readonly version: number
  readonly inputs: readonly TxInput[]
  readonly outputs: readonly TxOutput[]
  readonly lockTime: number
}

/** Sequence that opts out of lock times, BIP 68 and BIP 125. */
export const SEQUENCE_FINAL = 0xffff_ffff

/** The vout of a coinbase's only input. */
export const NULL_VOUT = 0xffff_ffff

const NO_WITNESS: readonly Uint8Array[] = []
const NO_BYTES = new Uint8Array(0)

/** Smallest encodings, used to refuse a count that cannot fit before anything is allocated. */
const MIN_INPUT_BYTES = 41
const MIN_OUTPUT_BYTES = 9

/** Bytes of a CompactSize number. */
export const compactSizeLength = (n: number): number => (n < 0xfd ? 1 : n <= 0xffff ? 3 : n <= 0xffff_ffff ? 5 : 9)

export const writeVarBytes = (w: Writer, b: Uint8Array): void => {
  compactSize.encode(w, b.length)
  w.bytes(b)
}

const readCount = (r: Reader, minItemBytes: number, what: string): number => {
  const n = compactSize.decode(r)
  if (n * minItemBytes > r.remaining) throw new DecodeError('truncated', `${what}: count ${n} does not fit`)
  return n
}

export const readVarBytes = (r: Reader): Uint8Array => {
  const n = compactSize.decode(r)
  return n === 0 ? NO_BYTES : r.bytes(n)
}

export const hasWitness = (tx: Tx): boolean => tx.inputs.some((input) => input.witness.length > 0)

export const writeOutpoint = (w: Writer, outpoint: Outpoint): void => {
  w.reversedHex(outpoint.txid)
  w.u32le(outpoint.vout)
}

export const writeOutput = (w: Writer, output: TxOutput): void => {
  w.u64le(BigInt.asUintN(64, output.value))
  writeVarBytes(w, output.scriptPubKey)
}

const writeInputs = (w: Writer, tx: Tx): void => {
  compactSize.encode(w, tx.inputs.length)
  for (const input of tx.inputs) {
    writeOutpoint(w, input.outpoint)
    writeVarBytes(w, input.scriptSig)
    w.u32le(input.sequence)
  }
}

const writeOutputs = (w: Writer, tx: Tx): void => {
  compactSize.encode(w, tx.outputs.length)
  for (const output of tx.outputs) writeOutput(w, output)
}

export const writeWitness = (w: Writer, witness: readonly Uint8Array[]): void => {
  compactSize.encode(w, witness.length)
  for (const item of witness) writeVarBytes(w, item)
}

const writeTx = (w: Writer, tx: Tx, withWitness: boolean): void => {
  w.u32le(tx.version)
  if (withWitness) {
    w.u8(0)
    w.u8(1)
  }
  writeInputs(w, tx)
  writeOutputs(w, tx)
  if (withWitness) for (const input of tx.inputs) writeWitness(w, input.witness)
  w.u32le(tx.lockTime)
}

/** An input while its transaction is read: its witness comes after all outputs. */
type ReadInput = Omit<TxInput, 'witness'> & { witness: readonly Uint8Array[] }

const readInput = (r: Reader): ReadInput => {
  const outpoint = { txid: txidFromBytes(r.bytes(32)), vout: r.u32le() }
  const scriptSig = readVarBytes(r)
  return { outpoint, scriptSig, sequence: r.u32le(), witness: NO_WITNESS }
}

const readInputs = (r: Reader, count: number): ReadInput[] => {
  const inputs: ReadInput[] = []
  for (let i = 0; i < count; i++) inputs.push(readInput(r))
  return inputs
}

/** The amount is the int64 of the bytes, unchecked: see checkTx. */
export const readOutput = (r: Reader): TxOutput => {
  const value = r.i64le() as Sat
  return { value, scriptPubKey: readVarBytes(r) }
}

const readOutputs = (r: Reader): TxOutput[] => {
  const count = readCount(r, MIN_OUTPUT_BYTES, 'outputs')
  const outputs: TxOutput[] = []
  for (let i = 0; i < count; i++) outputs.push(readOutput(r))
  return outputs
}

export const readWitness = (r: Reader): Uint8Array[] => {
  const count = readCount(r, 1, 'witness')
  const witness: Uint8Array[] = []
  for (let i = 0; i < count; i++) witness.push(readVarBytes(r))
  return witness
}

/**
 * What is known of a transaction beside its fields. `bytes` are those it was decoded from: encodings that are not canonical do not
 * decode, so they are what encoding would give. Its witness begins at `witnessAt`, 0 for none.
 */
type Facts = {
  readonly bytes: Uint8Array | undefined
  readonly witnessAt: number
  txid: Txid | undefined
  wtxid: Wtxid | undefined
}

const allFacts = new WeakMap<Tx, Facts>()

const factsOf = (tx: Tx): Facts => {
  let facts = allFacts.get(tx)
  if (facts === undefined) {
    facts = { bytes: undefined, witnessAt: 0, txid: undefined, wtxid: undefined }
    allFacts.set(tx, facts)
  }
  return facts
}

const withBytes = (tx: Tx, r: Reader, start: number, witnessAt: number): Tx => {
  allFacts.set(tx, { bytes: r.since(start), witnessAt, txid: undefined, wtxid: undefined })
  return tx
}

const readTx = (r: Reader): Tx => {
  const start = r.position
  const version = r.u32le()
  let inputCount = readCount(r, MIN_INPUT_BYTES, 'inputs')
  let flags = 0
  if (inputCount === 0) {
    flags = r.u8()
    if (flags === 0) return withBytes({ version, inputs: [], outputs: [], lockTime: r.u32le() }, r, start, 0)
    if (flags !== 1) throw new DecodeError('invalid', `unknown transaction flags ${flags}`)
    inputCount = readCount(r, MIN_INPUT_BYTES, 'inputs')
  }
  const inputs = readInputs(r, inputCount)
  const outputs = readOutputs(r)
  let witnessAt = 0
  if (flags === 1) {
    witnessAt = r.position - start
    for (const input of inputs) input.witness = readWitness(r)
    if (inputs.every((input) => input.witness.length === 0))
      throw new DecodeError('not_canonical', 'witness marker without a witness')
  }
  return withBytes({ version, inputs, outputs, lockTime: r.u32le() }, r, start, witnessAt)
}

/** Version, and marker and flag behind it. */
const HEAD_BYTES = 4
const MARKER_BYTES = 2
const LOCK_TIME_BYTES = 4

const writeWhole = (w: Writer, tx: Tx): void => {
  const bytes = allFacts.get(tx)?.bytes
  if (bytes === undefined) writeTx(w, tx, hasWitness(tx))
  else w.bytes(bytes)
}

const writeBase = (w: Writer, tx: Tx): void => {
  const facts = allFacts.get(tx)
  if (facts?.bytes === undefined) return writeTx(w, tx, false)
  const { bytes, witnessAt } = facts
  if (witnessAt === 0) return w.bytes(bytes)
  w.bytes(bytes.subarray(0, HEAD_BYTES))
  w.bytes(bytes.subarray(HEAD_BYTES + MARKER_BYTES, witnessAt))
  w.bytes(bytes.subarray(bytes.length - LOCK_TIME_BYTES))
}

/** BIP 144: the witness form when an input has a witness, else the old form. */
export const txCodec: Codec<Tx> = { encode: writeWhole, decode: readTx }

/** Bytes as they travel; with witness when there is one. */
export const encodeTx = (tx: Tx): Uint8Array => {
  const w = new Writer(txTotalSize(tx))
  writeWhole(w, tx)
  return w.finish()
}

/** The old form, which the txid commits to. */
export const encodeTxWithoutWitness = (tx: Tx): Uint8Array => {
  const w = new Writer(txBaseSize(tx))
  writeBase(w, tx)
  return w.finish()
}

/** Whole input, one transaction. Throws DecodeError. Amounts are not judged: see checkTx. */
export const decodeTx = (bytes: Uint8Array): Tx => {
  const r = new Reader(bytes)
  const tx = readTx(r)
  r.expectEnd()
  return tx
}

/** Reads the old form, in which a transaction may have no inputs (PSBT, funding drafts). Throws DecodeError. */
export const decodeTxWithoutWitness = (bytes: Uint8Array): Tx => {
  const r = new Reader(bytes)
  const version = r.u32le()
  const inputs = readInputs(r, readCount(r, MIN_INPUT_BYTES, 'inputs'))
  const tx = { version, inputs, outputs: readOutputs(r), lockTime: r.u32le() }
  r.expectEnd()
  return tx
}

/** Double SHA-256 without witness, display order. */
export const txid = (tx: Tx): Txid => {
  const facts = factsOf(tx)
  return (facts.txid ??= txidFromBytes(sha256d(facts.witnessAt === 0 ? wholeOf(tx, facts, false) : encodeTxWithoutWitness(tx))))
}

/** Double SHA-256 with witness, display order. Equal to the txid when there is none. */
export const wtxid = (tx: Tx): Wtxid => {
  if (!hasWitness(tx)) return txid(tx) as string as Wtxid
  const facts = factsOf(tx)
  return (facts.wtxid ??= wtxidFromBytes(sha256d(wholeOf(tx, facts, true))))
}

/** The bytes it was decoded from, not to be written to, or else freshly encoded ones. */
const wholeOf = (tx: Tx, { bytes }: Facts, withWitness: boolean): Uint8Array =>
  bytes ?? (withWitness ? encodeTx(tx) : encodeTxWithoutWitness(tx))

const varBytesLength = (b: Uint8Array): number => compactSizeLength(b.length) + b.length

/** Bytes of a witness stack as serialized, count included. */
export const witnessLength = (witness: readonly Uint8Array[]): number => {
  let n = compactSizeLength(witness.length)
  for (const item of witness) n += varBytesLength(item)
  return n
}

/** Bytes of an output as serialized. */
export const outputLength = (output: TxOutput): number => 8 + varBytesLength(output.scriptPubKey)

/** Bytes without witness. */
export const txBaseSize = (tx: Tx): number => {
  const facts = allFacts.get(tx)
  if (facts?.bytes !== undefined)
    return facts.witnessAt === 0 ? facts.bytes.length : facts.witnessAt - MARKER_BYTES + LOCK_TIME_BYTES
  let n = 8 + compactSizeLength(tx.inputs.length) + compactSizeLength(tx.outputs.length)
  for (const input of tx.inputs) n += 40 + varBytesLength(input.scriptSig)
  for (const output of tx.outputs) n += outputLength(output)
  return n
}

/** Bytes of encodeTx(tx). */
export const txTotalSize = (tx: Tx): number => {
  const bytes = allFacts.get(tx)?.bytes
  if (bytes !== undefined) return bytes.length
  let n = txBaseSize(tx)
  if (hasWitness(tx)) {
    n += 2
    for (const input of tx.inputs) n += witnessLength(input.witness)
  }
  return n
}

/** BIP 141 weight: three times the size without witness plus the whole size. */
export const txWeight = (tx: Tx): number => txBaseSize(tx) * 3 + txTotalSize(tx)

/** Virtual bytes: a quarter of the weight, rounded up. */
export const txVsize = (tx: Tx): number => Math.ceil(txWeight(tx) / 4)

/** One input that spends nothing. */
export const isCoinbase = (tx: Tx): boolean => {
  const first = tx.inputs[0]
  return tx.inputs.length === 1 && first !== undefined && isNullOutpoint(first.outpoint)
}

export const isNullOutpoint = (outpoint: Outpoint): boolean => outpoint.vout === NULL_VOUT && outpoint.txid === ZERO_HASH
