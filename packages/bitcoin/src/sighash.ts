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
import { writeOutpoint, writeOutput, writeVarBytes, type Tx, type TxOutput } from './tx.ts'
import type { Sat } from './units.ts'

export const SIGHASH = { default: 0, all: 1, none: 2, single: 3, anyoneCanPay: 0x80 } as const

/**
 * What to hash for a signature of this type on a fork: the id in the upper 24 bits, which are zero on Bitcoin. The type itself when the
 * id is 0. Every function here takes the result for a type; a signature still ends with the bare type.
 * specs/decisions/0008-fork-ids.md.
 */
export const forkSighashType = (type: number, forkId: number): number => ((type & 0xff) | (forkId << 8)) >>> 0

/**
 * Where everything here is written before it is hashed. Hashes that are part of a message are made before the message is begun: there is
 * one such place.
 */
const scratch = new Writer(4096)
const begin = (): Writer => {
  scratch.clear()
  return scratch
}

const hashOfOutput = (output: TxOutput): Uint8Array => {
  const w = begin()
  writeOutput(w, output)
  return sha256(w.written())
}

/** Single SHA-256 over parts of one transaction, made when first asked for (BIP 341 names). */
export interface SighashCache {
  readonly tx: Tx
  prevouts(): Uint8Array
  sequences(): Uint8Array
  outputs(): Uint8Array
  doublePrevouts(): Uint8Array
  doubleSequences(): Uint8Array
  doubleOutputs(): Uint8Array
  /** These two remember the list of spent outputs that they saw last. */
  amounts(spent: readonly TxOutput[]): Uint8Array
  scriptPubKeys(spent: readonly TxOutput[]): Uint8Array
}

class TxHashes implements SighashCache {
  readonly tx: Tx
  #prevouts: Uint8Array | undefined
  #sequences: Uint8Array | undefined
  #outputs: Uint8Array | undefined
  #doublePrevouts: Uint8Array | undefined
  #doubleSequences: Uint8Array | undefined
  #doubleOutputs: Uint8Array | undefined
  #spent: readonly TxOutput[] | undefined
  #amounts: Uint8Array | undefined
  #scriptPubKeys: Uint8Array | undefined

  constructor(tx: Tx) {
    this.tx = tx
  }

  prevouts(): Uint8Array {
    if (this.#prevouts !== undefined) return this.#prevouts
    const w = begin()
    for (const { outpoint } of this.tx.inputs) writeOutpoint(w, outpoint)
    return (this.#prevouts = sha256(w.written()))
  }
  sequences(): Uint8Array {
    if (this.#sequences !== undefined) return this.#sequences
    const w = begin()
    for (const { sequence } of this.tx.inputs) w.u32le(sequence)
    return (this.#sequences = sha256(w.written()))
  }
  outputs(): Uint8Array {
    if (this.#outputs !== undefined) return this.#outputs
    const w = begin()
    for (const output of this.tx.outputs) writeOutput(w, output)
    return (this.#outputs = sha256(w.written()))
  }
  doublePrevouts(): Uint8Array {
    return (this.#doublePrevouts ??= sha256(this.prevouts()))
  }
  doubleSequences(): Uint8Array {
    return (this.#doubleSequences ??= sha256(this.sequences()))
  }
  doubleOutputs(): Uint8Array {
    return (this.#doubleOutputs ??= sha256(this.outputs()))
  }

  #see(spent: readonly TxOutput[]): void {
    if (this.#spent === spent) return
    this.#spent = spent
    this.#amounts = undefined
    this.#scriptPubKeys = undefined
  }
  amounts(spent: readonly TxOutput[]): Uint8Array {
    this.#see(spent)
    if (this.#amounts !== undefined) return this.#amounts
    const w = begin()
    for (const { value } of spent) w.u64le(BigInt.asUintN(64, value))
    return (this.#amounts = sha256(w.written()))
  }
  scriptPubKeys(spent: readonly TxOutput[]): Uint8Array {
    this.#see(spent)
    if (this.#scriptPubKeys !== undefined) return this.#scriptPubKeys
    const w = begin()
    for (const { scriptPubKey } of spent) writeVarBytes(w, scriptPubKey)
    return (this.#scriptPubKeys = sha256(w.written()))
  }
}

/** One for all inputs of a transaction. */
export const sighashCache = (tx: Tx): SighashCache => new TxHashes(tx)

const hashOfAnnex = (annex: Uint8Array): Uint8Array => {
  const w = begin()
  writeVarBytes(w, annex)
  return sha256(w.written())
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
  const w = begin()
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
  return sha256d(w.written())
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
  const paired = tx.outputs[inputIndex]
  const prevouts = anyoneCanPay ? ZERO_32 : hashes.doublePrevouts()
  const sequences = anyoneCanPay || single || none ? ZERO_32 : hashes.doubleSequences()
  const outputs =
    !single && !none ? hashes.doubleOutputs() : single && paired !== undefined ? sha256(hashOfOutput(paired)) : ZERO_32
  const w = begin()
  w.u32le(tx.version)
  w.bytes(prevouts)
  w.bytes(sequences)
  writeOutpoint(w, input.outpoint)
  writeVarBytes(w, scriptCode)
  w.u64le(BigInt.asUintN(64, value))
  w.u32le(input.sequence)
  w.bytes(outputs)
  w.u32le(tx.lockTime)
  w.u32le(type >>> 0)
  return sha256d(w.written())
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
  const paired = outputType === SIGHASH.single ? tx.outputs[inputIndex] : undefined
  if (outputType === SIGHASH.single && paired === undefined) throw new RangeError(`SIGHASH_SINGLE: no output ${inputIndex}`)
  const all = anyoneCanPay
    ? undefined
    : [hashes.prevouts(), hashes.amounts(spent), hashes.scriptPubKeys(spent), hashes.sequences()]
  const outputs = outputType === SIGHASH.all ? hashes.outputs() : undefined
  const pairedHash = paired === undefined ? undefined : hashOfOutput(paired)
  const { annex } = options
  const annexHash = annex === undefined ? undefined : hashOfAnnex(annex)

  const w = begin()
  if (forkId !== 0) w.u32le(forkId)
  w.u8(0)
  w.u8(type)
  w.u32le(tx.version)
  w.u32le(tx.lockTime)
  if (all !== undefined) for (const hash of all) w.bytes(hash)
  if (outputs !== undefined) w.bytes(outputs)
  w.u8((options.leafHash === undefined ? 0 : 2) + (annex === undefined ? 0 : 1))
  if (anyoneCanPay) {
    writeOutpoint(w, input.outpoint)
    writeOutput(w, spentHere)
    w.u32le(input.sequence)
  } else w.u32le(inputIndex)
  if (annexHash !== undefined) w.bytes(annexHash)
  if (pairedHash !== undefined) w.bytes(pairedHash)
  if (options.leafHash !== undefined) {
    w.bytes(options.leafHash)
    w.u8(0)
    w.u32le(options.codeSeparator ?? 0xffff_ffff)
  }
  return taggedHash(forkId === 0 ? 'TapSighash' : FORK_TAG, w.written())
}
