/**
 * Signatures and lock times as a running script checks them, for one input of one transaction.
 * BIP 66, BIP 146, BIP 65, BIP 112, BIP 143, BIP 340 to 342. Encodings first, then curves.
 * The hash of the last (scriptCode, type) is kept, so a multisig of n keys hashes once, not n times.
 */
import { compactFromDerLax, ecdsaVerifyLax, schnorrVerify } from '@leyden/crypto'
import { fail, VERIFY } from './script-rules.ts'
import {
  forkSighashType,
  isTaprootSighashType,
  SIGHASH,
  sighashLegacy,
  sighashTaproot,
  sighashV0,
  type SighashCache,
} from './sighash.ts'
import { SEQUENCE_FINAL, type Tx, type TxOutput } from './tx.ts'

/** Which rules run: before segwit, BIP 143, BIP 342. */
export type SigVersion = 'base' | 'witness_v0' | 'tapscript'

/**
 * Signatures known to be valid: what was signed, the key as it stands in the script, the signature as 64 bytes. Whoever keeps it decides
 * how long; it must never answer for another triple than the one it was told.
 */
export interface SignatureMemory {
  has(kind: 'ecdsa' | 'schnorr', hash: Uint8Array, key: Uint8Array, signature: Uint8Array): boolean
  add(kind: 'ecdsa' | 'schnorr', hash: Uint8Array, key: Uint8Array, signature: Uint8Array): void
}

/** What a script is checked against. `spent` are the outputs spent by all inputs, in order. */
export type InputContext = {
  readonly tx: Tx
  readonly inputIndex: number
  readonly spent: readonly TxOutput[]
  readonly cache: SighashCache
  /** What signatures commit to besides; 0 for nothing. */
  readonly forkId?: number
  readonly signatures?: SignatureMemory | undefined
}

/** Lock times from this value on are times in seconds, below it heights. */
export const LOCKTIME_THRESHOLD = 500_000_000
/** BIP 68. */
export const SEQUENCE_LOCKTIME_DISABLE_FLAG = 0x8000_0000
export const SEQUENCE_LOCKTIME_TYPE_FLAG = 0x0040_0000
export const SEQUENCE_LOCKTIME_MASK = 0xffff

/** BIP 66, with the sighash byte at the end. */
const isStrictSignature = (sig: Uint8Array): boolean => {
  const size = sig.length
  if (size < 9 || size > 73) return false
  if (sig[0] !== 0x30 || sig[1] !== size - 3) return false
  const lengthR = sig[3]!
  if (5 + lengthR >= size) return false
  const lengthS = sig[5 + lengthR]!
  if (lengthR + lengthS + 7 !== size) return false
  return isStrictInteger(sig, 2, lengthR) && isStrictInteger(sig, lengthR + 4, lengthS)
}

const isStrictInteger = (sig: Uint8Array, at: number, length: number): boolean => {
  if (sig[at] !== 0x02 || length === 0) return false
  const first = sig[at + 2]!
  if (first & 0x80) return false
  return length === 1 || first !== 0 || (sig[at + 3]! & 0x80) !== 0
}

/** Half of the order of secp256k1, big-endian. */
const HALF_ORDER = Uint8Array.from(
  '7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0'.match(/../g)!.map((byte) => parseInt(byte, 16)),
)

const isHighS = (sig: Uint8Array): boolean => {
  const compact = compactFromDerLax(sig.subarray(0, -1))
  if (compact === undefined) return false // R or S not below the order: no verification accepts it
  for (let i = 0; i < 32; i++) {
    const d = compact[32 + i]! - HALF_ORDER[i]!
    if (d !== 0) return d > 0
  }
  return false
}

/** Fails with SIG_DER, SIG_HIGH_S or SIG_HASHTYPE as the flags say. Empty is allowed: it is how to fail on purpose. */
export const checkSignatureEncoding = (sig: Uint8Array, flags: number): void => {
  if (sig.length === 0) return
  if ((flags & (VERIFY.DERSIG | VERIFY.LOW_S | VERIFY.STRICTENC)) !== 0 && !isStrictSignature(sig)) fail('SIG_DER')
  if ((flags & VERIFY.LOW_S) !== 0 && isHighS(sig)) fail('SIG_HIGH_S')
  if ((flags & VERIFY.STRICTENC) !== 0) {
    const type = sig[sig.length - 1]! & ~SIGHASH.anyoneCanPay
    if (type < SIGHASH.all || type > SIGHASH.single) fail('SIG_HASHTYPE')
  }
}

const isCompressed = (key: Uint8Array): boolean => key.length === 33 && (key[0] === 2 || key[0] === 3)

/** Fails with PUBKEYTYPE or WITNESS_PUBKEYTYPE as the flags say. */
export const checkPublicKeyEncoding = (key: Uint8Array, flags: number, version: SigVersion): void => {
  if ((flags & VERIFY.STRICTENC) !== 0 && !isCompressed(key) && !(key.length === 65 && key[0] === 4)) fail('PUBKEYTYPE')
  if ((flags & VERIFY.WITNESS_PUBKEYTYPE) !== 0 && version === 'witness_v0' && !isCompressed(key)) fail('WITNESS_PUBKEYTYPE')
}

const hasKeySize = (key: Uint8Array): boolean => {
  const first = key[0]
  if (first === 2 || first === 3) return key.length === 33
  return (first === 4 || first === 6 || first === 7) && key.length === 65
}

/** Checks of one input. */
export interface Checker {
  /** Signature in lax DER with its sighash byte, against the scriptCode. */
  ecdsa(sig: Uint8Array, key: Uint8Array, scriptCode: Uint8Array, version: SigVersion): boolean
  /** 64 or 65 bytes; fails with a SCHNORR_SIG error otherwise. */
  schnorr(
    sig: Uint8Array,
    key32: Uint8Array,
    leaf: { leafHash?: Uint8Array; codeSeparator?: number; annex?: Uint8Array | undefined },
  ): void
  lockTime(n: number): boolean
  sequence(n: number): boolean
}

class InputChecker implements Checker {
  readonly #input: InputContext
  readonly #forkId: number
  #lastCode: Uint8Array | undefined
  #lastType = 0
  #lastVersion: SigVersion = 'base'
  #lastHash: Uint8Array | undefined

  constructor(input: InputContext) {
    this.#input = input
    this.#forkId = input.forkId ?? 0
  }

  #ecdsaHash(scriptCode: Uint8Array, type: number, version: SigVersion): Uint8Array {
    if (this.#lastHash !== undefined && this.#lastCode === scriptCode && this.#lastType === type && this.#lastVersion === version)
      return this.#lastHash
    const { tx, inputIndex, spent, cache } = this.#input
    const hashed = forkSighashType(type, this.#forkId)
    const hash =
      version === 'witness_v0'
        ? sighashV0(tx, inputIndex, scriptCode, spent[inputIndex]!.value, hashed, cache)
        : sighashLegacy(tx, inputIndex, scriptCode, hashed)
    this.#lastCode = scriptCode
    this.#lastType = type
    this.#lastVersion = version
    this.#lastHash = hash
    return hash
  }

  ecdsa(sig: Uint8Array, key: Uint8Array, scriptCode: Uint8Array, version: SigVersion): boolean {
    if (sig.length === 0 || !hasKeySize(key)) return false
    const compact = compactFromDerLax(sig.subarray(0, -1))
    if (compact === undefined) return false
    const { tx, inputIndex, signatures } = this.#input
    const type = sig[sig.length - 1]!
    // The number one, which such a signature signs, commits to no fork.
    const signsOne = version === 'base' && (type & 0x1f) === SIGHASH.single && inputIndex >= tx.outputs.length
    if (this.#forkId !== 0 && signsOne) return false
    const hash = this.#ecdsaHash(scriptCode, type, version)
    if (signatures?.has('ecdsa', hash, key, compact) === true) return true
    const valid = ecdsaVerifyLax(compact, hash, key)
    if (valid) signatures?.add('ecdsa', hash, key, compact)
    return valid
  }

  schnorr(
    sig: Uint8Array,
    key32: Uint8Array,
    leaf: { leafHash?: Uint8Array; codeSeparator?: number; annex?: Uint8Array | undefined },
  ): void {
    const { tx, inputIndex, spent, cache, signatures } = this.#input
    if (sig.length !== 64 && sig.length !== 65) fail('SCHNORR_SIG_SIZE')
    const type = sig.length === 65 ? sig[64]! : SIGHASH.default
    if (sig.length === 65 && type === SIGHASH.default) fail('SCHNORR_SIG_HASHTYPE')
    if (!isTaprootSighashType(type)) fail('SCHNORR_SIG_HASHTYPE')
    if ((type & 3) === SIGHASH.single && inputIndex >= tx.outputs.length) fail('SCHNORR_SIG_HASHTYPE')
    const hash = sighashTaproot(tx, inputIndex, spent, forkSighashType(type, this.#forkId), { ...leaf, cache })
    const bare = sig.subarray(0, 64)
    if (signatures?.has('schnorr', hash, key32, bare) === true) return
    if (!schnorrVerify(bare, hash, key32)) fail('SCHNORR_SIG')
    signatures?.add('schnorr', hash, key32, bare)
  }

  lockTime(n: number): boolean {
    const { tx, inputIndex } = this.#input
    if (tx.lockTime < LOCKTIME_THRESHOLD !== n < LOCKTIME_THRESHOLD) return false
    return n <= tx.lockTime && tx.inputs[inputIndex]!.sequence !== SEQUENCE_FINAL
  }

  sequence(n: number): boolean {
    const { tx, inputIndex } = this.#input
    const { sequence } = tx.inputs[inputIndex]!
    if (tx.version < 2) return false
    if ((sequence & SEQUENCE_LOCKTIME_DISABLE_FLAG) !== 0) return false
    // The operand has up to 39 bits: only its low 32 matter here, and the caller has looked at the disable flag
    const mask = SEQUENCE_LOCKTIME_TYPE_FLAG | SEQUENCE_LOCKTIME_MASK
    const wanted = Number(BigInt.asUintN(32, BigInt(n))) & mask
    const actual = sequence & mask
    if (wanted < SEQUENCE_LOCKTIME_TYPE_FLAG !== actual < SEQUENCE_LOCKTIME_TYPE_FLAG) return false
    return wanted <= actual
  }
}

export const inputChecker = (input: InputContext): Checker => new InputChecker(input)
