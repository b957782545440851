/**
 * What a signature signs: before segwit, BIP 143 (version 0), BIP 341 and 342 (taproot, tapscript).
 * All three take the scriptCode as the interpreter has it: from the last executed OP_CODESEPARATOR on; before segwit also
 * without the signature itself (script.ts findAndDelete).
 * Hashes over all inputs or all outputs are made once in a SighashCache, so n inputs cost O(n), not O(n^2).
 * A fork's id (forkSighashType) rides above the low byte of the type, in the 32 bits that are hashed and of which one byte travels.
 */
import { compactSize, Writer } from '@leyden/codec'
import { sha256, sha256d, taggedHash } from '@leyden/crypto'
import { OP } from './opcode.ts'
import { readOp, type OpCursor } from './script.ts'
import { outputLength, txBaseSize, writeOutpoint, writeOutput, writeVarBytes, type Tx, type TxOutput } from './tx.ts'
import type { Sat } from './units.ts'

export const SIGHASH = { default: 0, all: 1, none: 2, single: 3, anyoneCanPay: 0x80 } as const

/**
 * What to hash for a signature of this type on a fork: the id in the upper 24 bits, which are zero on Bitcoin. The type itself when the
 * id is 0. Every function here takes the result for a type; a signature still ends with the bare type.
 * specs/decisions/0008-fork-ids.md.
 */
export const forkSighashType = (type: number, forkId: number): number => ((type & 0xff) | (forkId << 8)) >>> 0

const lazy = <T>(make: () => T): (() => T) => {
  let made: { value: T } | undefined
  return () => (made ??= { value: make() }).value
}

const hashOf = (bytes: number, write: (w: Writer) => void): Uint8Array => {
  const w = new Writer(bytes)
  write(w)
  return sha256(w.finish())
}

/** Single SHA-256 over parts of one transaction, made when first asked for (BIP 341 names). */
export type SighashCache = {
  readonly tx: Tx
  readonly prevouts: () => Uint8Array
  readonly sequences: () => Uint8Array
  readonly outputs: () => Uint8Array
  readonly doublePrevouts: () => Uint8Array
  readonly doubleSequences: () => Uint8Array
  readonly doubleOutputs: () => Uint8Array
  readonly amounts: (spent: readonly TxOutput[]) => Uint8Array
  readonly scriptPubKeys: (spent: readonly TxOutput[]) => Uint8Array
}

/** One for all inputs of a transaction. `amounts` and `scriptPubKeys` remember the list of spent outputs they saw last. */
export const sighashCache = (tx: Tx): SighashCache => {
  const prevouts = lazy(() =>
    hashOf(36 * tx.inputs.length, (w) => tx.inputs.forEach((input) => writeOutpoint(w, input.outpoint))),
  )
  const sequences = lazy(() => hashOf(4 * tx.inputs.length, (w) => tx.inputs.forEach((input) => w.u32le(input.sequence))))
  const outputs = lazy(() =>
    hashOf(
      tx.outputs.reduce((n, output) => n + outputLength(output), 0),
      (w) => tx.outputs.forEach((output) => writeOutput(w, output)),
    ),
  )
  const overSpent = (make: (spent: readonly TxOutput[]) => Uint8Array): ((spent: readonly TxOutput[]) => Uint8Array) => {
    let last: { spent: readonly TxOutput[]; hash: Uint8Array } | undefined
    return (spent) => (last?.spent === spent ? last : (last = { spent, hash: make(spent) })).hash
  }
  return {
    tx,
    prevouts,
    sequences,
    outputs,
    doublePrevouts: lazy(() => sha256(prevouts())),
    doubleSequences: lazy(() => sha256(sequences())),
    doubleOutputs: lazy(() => sha256(outputs())),
    amounts: overSpent((spent) =>
      hashOf(8 * spent.length, (w) => spent.forEach((output) => w.u64le(BigInt.asUintN(64, output.value)))),
    ),
    scriptPubKeys: overSpent((spent) =>
      hashOf(35 * spent.length, (w) => spent.forEach((output) => writeVarBytes(w, output.scriptPubKey))),
    ),
  }
}

const cacheOf = (tx: Tx, cache: SighashCache | undefined): SighashCache => {
  if (cache === undefined) return sighashCache(tx)
  if (cache.tx !== tx) throw new RangeError('sighash cache of another transaction')
  return cache
}

const inputAt = (tx: Tx, inputIndex: number) => {
  const input = tx.inputs[inputIndex]
  if (input === undefined) throw new RangeError(`no input ${inputIndex}`)
  return input
}

/** The script without its OP_CODESEPARATORs; the same array when it has none. */
const withoutCodeSeparators = (script: Uint8Array): Uint8Array => {
  if (!script.includes(OP.OP_CODESEPARATOR)) return script
  const out = new Uint8Array(script.length)
  const op: OpCursor = { opcode: 0, from: 0, to: 0, next: 0 }
  let length = 0
  let at = 0
  while (at < script.length && readOp(script, at, op)) {
    if (op.opcode !== OP.OP_CODESEPARATOR) {
      out.set(script.subarray(at, op.next), length)
      length += op.next - at
    }
    at = op.next
  }
  out.set(script.subarray(at), length)
  return out.subarray(0, length + script.length - at)
}

/** SIGHASH_SINGLE without a matching output signs the number one, in the byte order of the hash. */
const HASH_ONE = new Uint8Array(32)
HASH_ONE[0] = 1

/** Before segwit. `type` is all 32 bits as hashed; only its last byte travels with a signature. 32 bytes. */
export const sighashLegacy = (tx: Tx, inputIndex: number, scriptCode: Uint8Array, type: number): Uint8Array => {
  const signed = inputAt(tx, inputIndex)
  const anyoneCanPay = (type & SIGHASH.anyoneCanPay) !== 0
  const single = (type & 0x1f) === SIGHASH.single
  const none = (type & 0x1f) === SIGHASH.none
  if (single && inputIndex >= tx.outputs.length) return HASH_ONE.slice()
  const script = withoutCodeSeparators(scriptCode)
  const w = new Writer(txBaseSize(tx) + script.length + 16)
  w.u32le(tx.version)
  if (anyoneCanPay) {
    compactSize.encode(w, 1)
    writeOutpoint(w, signed.outpoint)
    writeVarBytes(w, script)
    w.u32le(signed.sequence)
  } else {
    compactSize.encode(w, tx.inputs.length)
    tx.inputs.forEach((input, i) => {
      writeOutpoint(w, input.outpoint)
      if (i === inputIndex) writeVarBytes(w, script)
      else w.u8(0)
      w.u32le(i !== inputIndex && (single || none) ? 0 : input.sequence)
    })
  }
  const outputCount = none ? 0 : single ? inputIndex + 1 : tx.outputs.length
  compactSize.encode(w, outputCount)
  for (let i = 0; i < outputCount; i++) {
    if (single && i !== inputIndex) {
      w.u64le(0xffff_ffff_ffff_ffffn)
      w.u8(0)
    } else writeOutput(w, tx.outputs[i]!)
  }
  w.u32le(tx.lockTime)
  w.u32le(type >>> 0)
  return sha256d(w.finish())
}

const ZERO_32 = new Uint8Array(32)

/** BIP 143. `value` is that of the output spent. 32 bytes. */
export const sighashV0 = (
  tx: Tx,
  inputIndex: number,
  scriptCode: Uint8Array,
  value: Sat,
  type: number,
  cache?: SighashCache,
): Uint8Array => {
  const input = inputAt(tx, inputIndex)
  const hashes = cacheOf(tx, cache)
  const anyoneCanPay = (type & SIGHASH.anyoneCanPay) !== 0
  const single = (type & 0x1f) === SIGHASH.single
  const none = (type & 0x1f) === SIGHASH.none
  const w = new Writer(164 + scriptCode.length)
  w.u32le(tx.version)
  w.bytes(anyoneCanPay ? ZERO_32 : hashes.doublePrevouts())
  w.bytes(anyoneCanPay || single || none ? ZERO_32 : hashes.doubleSequences())
  writeOutpoint(w, input.outpoint)
  writeVarBytes(w, scriptCode)
  w.u64le(BigInt.asUintN(64, value))
  w.u32le(input.sequence)
  const paired = tx.outputs[inputIndex]
  if (!single && !none) w.bytes(hashes.doubleOutputs())
  else if (single && paired !== undefined) w.bytes(sha256(hashOf(outputLength(paired), (one) => writeOutput(one, paired))))
  else w.bytes(ZERO_32)
  w.u32le(tx.lockTime)
  w.u32le(type >>> 0)
  return sha256d(w.finish())
}

/** BIP 341 and 342: `leafHash` makes it a script spend; `codeSeparator` is the opcode position, 0xffffffff for none. */
export type TaprootSighashOptions = {
  readonly leafHash?: Uint8Array | undefined
  readonly codeSeparator?: number | undefined
  /** As in the witness, with its 0x50 prefix. */
  readonly annex?: Uint8Array | undefined
  readonly cache?: SighashCache | undefined
}

/** Tag of taproot messages on a fork. */
const FORK_TAG = 'LeydenForkSighash'

/** The eight types that BIP 341 knows. */
export const isTaprootSighashType = (type: number): boolean => type <= 0x03 || (type >= 0x81 && type <= 0x83)

/**
 * BIP 341 signature message, hashed with its tag. `spent` are the outputs that all inputs spend, in their order.
 * On a fork the id, four bytes little-endian, comes first, under a tag of its own.
 * Throws RangeError on an unknown type or on SIGHASH_SINGLE without a matching output: there is nothing to sign then.
 */
export const sighashTaproot = (
  tx: Tx,
  inputIndex: number,
  spent: readonly TxOutput[],
  typeWithFork: number,
  options: TaprootSighashOptions = {},
): Uint8Array => {
  const forkId = typeWithFork >>> 8
  const type = typeWithFork & 0xff
  const input = inputAt(tx, inputIndex)
  const spentHere = spent[inputIndex]
  if (spentHere === undefined || spent.length !== tx.inputs.length) throw new RangeError('every spent output is needed')
  if (!isTaprootSighashType(type)) throw new RangeError(`unknown sighash type ${type}`)
  const hashes = cacheOf(tx, options.cache)
  const anyoneCanPay = (type & SIGHASH.anyoneCanPay) !== 0
  const outputType = type === SIGHASH.default ? SIGHASH.all : type & 3
  const w = new Writer(256)
  if (forkId !== 0) w.u32le(forkId)
  w.u8(0)
  w.u8(type)
  w.u32le(tx.version)
  w.u32le(tx.lockTime)
  if (!anyoneCanPay) {
    w.bytes(hashes.prevouts())
    w.bytes(hashes.amounts(spent))
    w.bytes(hashes.scriptPubKeys(spent))
    w.bytes(hashes.sequences())
  }
  if (outputType === SIGHASH.all) w.bytes(hashes.outputs())
  w.u8((options.leafHash === undefined ? 0 : 2) + (options.annex === undefined ? 0 : 1))
  if (anyoneCanPay) {
    writeOutpoint(w, input.outpoint)
    writeOutput(w, spentHere)
    w.u32le(input.sequence)
  } else w.u32le(inputIndex)
  const annex = options.annex
  if (annex !== undefined) w.bytes(hashOf(annex.length + 9, (one) => writeVarBytes(one, annex)))
  if (outputType === SIGHASH.single) {
    const paired = tx.outputs[inputIndex]
    if (paired === undefined) throw new RangeError(`SIGHASH_SINGLE: no output ${inputIndex}`)
    w.bytes(hashOf(outputLength(paired), (one) => writeOutput(one, paired)))
  }
  if (options.leafHash !== undefined) {
    w.bytes(options.leafHash)
    w.u8(0)
    w.u32le(options.codeSeparator ?? 0xffff_ffff)
  }
  return taggedHash(forkId === 0 ? 'TapSighash' : FORK_TAG, w.finish())
}
