/**
 * Whether an input may spend its output: script and output script, P2SH (BIP 16), witness version 0 (BIP 141), taproot
 * and tapscript (BIP 341, BIP 342). Running a single script is evaluation.ts.
 * Only scripts are judged here: amounts, lock times and double spends are consensus/.
 */
import { DecodeError, equalBytes } from '@leyden/codec'
import { sha256, taggedHash, xOnlyTweakAddCheck } from '@leyden/crypto'
import { castToBool, evaluate, MAX_STACK_SIZE, type Stack, type TapscriptBudget } from './evaluation.ts'
import { fail, forkIdOf, ScriptFailure, VERIFY, type ScriptError } from './script-rules.ts'
import {
  isOpSuccess,
  isP2sh,
  isPushOnly,
  MAX_SCRIPT_ELEMENT_SIZE,
  p2pkh,
  pushBytes,
  readOp,
  witnessProgram,
  type OpCursor,
} from './script.ts'
import { sighashCache, type SighashCache } from './sighash.ts'
import { inputChecker, type Checker, type SignatureMemory } from './signature-check.ts'
import { tapBranchHash, tapLeafHash, TAPSCRIPT_LEAF_VERSION } from './taproot.ts'
import { witnessLength, type Tx, type TxOutput } from './tx.ts'

export {
  forkIdOf,
  MANDATORY_SCRIPT_FLAGS,
  MAX_FORK_ID,
  STANDARD_SCRIPT_FLAGS,
  VERIFY,
  withForkId,
  type ScriptError,
} from './script-rules.ts'

const ANNEX_TAG = 0x50
const CONTROL_BASE_SIZE = 33
const CONTROL_NODE_SIZE = 32
const CONTROL_MAX_SIZE = CONTROL_BASE_SIZE + CONTROL_NODE_SIZE * 128
const LEAF_MASK = 0xfe
/** BIP 342: every input starts with this much above the size of its witness. */
const WEIGHT_OFFSET = 50

/** True when an OP_SUCCESS decides; fails on a malformed script before one. BIP 342 § Script execution. */
const succeedsByOpSuccess = (script: Uint8Array, flags: number): boolean => {
  const op: OpCursor = { opcode: 0, from: 0, to: 0, next: 0 }
  for (let at = 0; at < script.length; at = op.next) {
    if (!readOp(script, at, op)) fail('BAD_OPCODE')
    if (isOpSuccess(op.opcode)) {
      if ((flags & VERIFY.DISCOURAGE_OP_SUCCESS) !== 0) fail('DISCOURAGE_OP_SUCCESS')
      return true
    }
  }
  return false
}

const runWitnessScript = (
  initial: readonly Uint8Array[],
  script: Uint8Array,
  flags: number,
  checker: Checker,
  budget?: TapscriptBudget,
): void => {
  if (budget !== undefined) {
    if (succeedsByOpSuccess(script, flags)) return
    if (initial.length > MAX_STACK_SIZE) fail('STACK_SIZE')
  }
  if (initial.some((item) => item.length > MAX_SCRIPT_ELEMENT_SIZE)) fail('PUSH_SIZE')
  const stack: Stack = [...initial]
  evaluate(stack, script, flags, budget === undefined ? 'witness_v0' : 'tapscript', checker, budget)
  if (stack.length !== 1) fail('CLEANSTACK')
  if (!castToBool(stack[0]!)) fail('EVAL_FALSE')
}

const verifyVersion0 = (witness: readonly Uint8Array[], program: Uint8Array, flags: number, checker: Checker): void => {
  if (program.length === 32) {
    const script = witness.at(-1)
    if (script === undefined) return fail('WITNESS_PROGRAM_WITNESS_EMPTY')
    if (!equalBytes(sha256(script), program)) fail('WITNESS_PROGRAM_MISMATCH')
    return runWitnessScript(witness.slice(0, -1), script, flags, checker)
  }
  if (program.length !== 20) return fail('WITNESS_PROGRAM_WRONG_LENGTH')
  if (witness.length !== 2) fail('WITNESS_PROGRAM_MISMATCH')
  runWitnessScript(witness, p2pkh(program), flags, checker)
}

const verifyTaproot = (witness: readonly Uint8Array[], program: Uint8Array, flags: number, checker: Checker): void => {
  if ((flags & VERIFY.TAPROOT) === 0) return
  if (witness.length === 0) fail('WITNESS_PROGRAM_WITNESS_EMPTY')
  const last = witness.at(-1)!
  const annex = witness.length >= 2 && last[0] === ANNEX_TAG ? last : undefined
  const stack = annex === undefined ? witness : witness.slice(0, -1)
  if (stack.length === 1) return checker.schnorr(stack[0]!, program, { annex })

  const control = stack.at(-1)!
  const script = stack.at(-2)!
  if (
    control.length < CONTROL_BASE_SIZE ||
    control.length > CONTROL_MAX_SIZE ||
    (control.length - CONTROL_BASE_SIZE) % CONTROL_NODE_SIZE !== 0
  )
    fail('TAPROOT_WRONG_CONTROL_SIZE')
  const leafVersion = control[0]! & LEAF_MASK
  const leafHash = tapLeafHash(script, leafVersion)
  let root = leafHash
  for (let at = CONTROL_BASE_SIZE; at < control.length; at += CONTROL_NODE_SIZE)
    root = tapBranchHash(root, control.subarray(at, at + CONTROL_NODE_SIZE))
  const internalKey = control.subarray(1, CONTROL_BASE_SIZE)
  const tweak = taggedHash('TapTweak', internalKey, root)
  if (!xOnlyTweakAddCheck(program, control[0]! & 1, internalKey, tweak)) fail('WITNESS_PROGRAM_MISMATCH')
  if (leafVersion === TAPSCRIPT_LEAF_VERSION) {
    const budget = { leafHash, annex, weightLeft: witnessLength(witness) + WEIGHT_OFFSET }
    return runWitnessScript(stack.slice(0, -2), script, flags, checker, budget)
  }
  if ((flags & VERIFY.DISCOURAGE_UPGRADABLE_TAPROOT_VERSION) !== 0) fail('DISCOURAGE_UPGRADABLE_TAPROOT_VERSION')
}

const verifyProgram = (
  witness: readonly Uint8Array[],
  { version, program }: { version: number; program: Uint8Array },
  flags: number,
  checker: Checker,
  inP2sh: boolean,
): void => {
  if (version === 0) return verifyVersion0(witness, program, flags, checker)
  if (version === 1 && program.length === 32 && !inP2sh) return verifyTaproot(witness, program, flags, checker)
  const isAnchor = version === 1 && program.length === 2 && program[0] === 0x4e && program[1] === 0x73
  if (isAnchor && !inP2sh) return
  if ((flags & VERIFY.DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM) !== 0) fail('DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM')
}

const topIsTrue = (stack: Stack): boolean => stack.length > 0 && castToBool(stack.at(-1)!)

/** Everything that decides whether a script may spend an output. */
export type ScriptCheck = {
  readonly scriptSig: Uint8Array
  readonly scriptPubKey: Uint8Array
  readonly witness: readonly Uint8Array[]
  readonly flags: number
  readonly checker: Checker
}

const runScripts = ({ scriptSig, scriptPubKey, witness, flags, checker }: ScriptCheck): void => {
  const withWitness = (flags & VERIFY.WITNESS) !== 0
  const withP2sh = (flags & VERIFY.P2SH) !== 0
  if ((withWitness || (flags & VERIFY.CLEANSTACK) !== 0) && !withP2sh) throw new RangeError('flags need P2SH')
  if ((flags & VERIFY.SIGPUSHONLY) !== 0 && !isPushOnly(scriptSig)) fail('SIG_PUSHONLY')

  // The two scripts run one after the other on one stack, never joined (CVE-2010-5141)
  let stack: Stack = []
  evaluate(stack, scriptSig, flags, 'base', checker)
  const afterScriptSig = withP2sh ? [...stack] : []
  evaluate(stack, scriptPubKey, flags, 'base', checker)
  if (!topIsTrue(stack)) fail('EVAL_FALSE')

  let hadWitness = false
  const bare = withWitness ? witnessProgram(scriptPubKey) : undefined
  if (bare !== undefined) {
    hadWitness = true
    if (scriptSig.length > 0) fail('WITNESS_MALLEATED')
    verifyProgram(witness, bare, flags, checker, false)
    stack.length = 1
  }

  if (withP2sh && isP2sh(scriptPubKey)) {
    if (!isPushOnly(scriptSig)) fail('SIG_PUSHONLY')
    stack = afterScriptSig
    const redeemScript = stack.pop()!
    evaluate(stack, redeemScript, flags, 'base', checker)
    if (!topIsTrue(stack)) fail('EVAL_FALSE')
    const nested = withWitness ? witnessProgram(redeemScript) : undefined
    if (nested !== undefined) {
      hadWitness = true
      if (!equalBytes(scriptSig, pushBytes(redeemScript))) fail('WITNESS_MALLEATED_P2SH')
      verifyProgram(witness, nested, flags, checker, true)
      stack.length = 1
    }
  }

  if ((flags & VERIFY.CLEANSTACK) !== 0 && stack.length !== 1) fail('CLEANSTACK')
  if (withWitness && !hadWitness && witness.length > 0) fail('WITNESS_UNEXPECTED')
}

/** Runs the scripts of one spend. Undefined: it may. Throws RangeError on flags that make no sense together. */
export const verifyScript = (check: ScriptCheck): ScriptError | undefined => {
  try {
    runScripts(check)
    return undefined
  } catch (error) {
    if (error instanceof ScriptFailure) return error.code
    if (error instanceof DecodeError) return 'UNKNOWN_ERROR'
    throw error
  }
}

/**
 * One input of a transaction. `prevouts` are the outputs that all inputs spend, in their order. `flags` may carry a fork's id
 * (script-rules.ts withForkId).
 */
export type InputCheck = {
  readonly tx: Tx
  readonly inputIndex: number
  readonly prevouts: readonly TxOutput[]
  readonly flags: number
  /** One for all inputs of the transaction makes n inputs cost O(n). */
  readonly cache?: SighashCache | undefined
  /** Signatures found here are not checked again; valid ones are added. */
  readonly signatures?: SignatureMemory | undefined
}

/** Undefined when the input may spend its output, else why not. Throws RangeError when an output is missing. */
export const verifyInput = ({ tx, inputIndex, prevouts, flags, cache, signatures }: InputCheck): ScriptError | undefined => {
  const input = tx.inputs[inputIndex]
  const spent = prevouts[inputIndex]
  if (input === undefined || spent === undefined || prevouts.length !== tx.inputs.length)
    throw new RangeError(`input ${inputIndex}: every spent output is needed`)
  const checker = inputChecker({
    tx,
    inputIndex,
    spent: prevouts,
    cache: cache ?? sighashCache(tx),
    forkId: forkIdOf(flags),
    signatures,
  })
  return verifyScript({ scriptSig: input.scriptSig, scriptPubKey: spent.scriptPubKey, witness: input.witness, flags, checker })
}

/** Every input; the first that may not spend its output, or undefined. */
export const verifyTx = (
  tx: Tx,
  prevouts: readonly TxOutput[],
  flags: number,
  signatures?: SignatureMemory,
): { readonly inputIndex: number; readonly error: ScriptError } | undefined => {
  const cache = sighashCache(tx)
  for (let inputIndex = 0; inputIndex < tx.inputs.length; inputIndex++) {
    const error = verifyInput({ tx, inputIndex, prevouts, flags, cache, signatures })
    if (error !== undefined) return { inputIndex, error }
  }
  return undefined
}
