/**
 * Running one script on a stack: every opcode and limit. Bitcoin Core interpreter.cpp EvalScript, BIP 62, 65, 112, 141, 342.
 * Which scripts run, and on what, is interpreter.ts. Stack items are views and never written to.
 * Failure is thrown as ScriptFailure; a malformed number as DecodeError (Core: UNKNOWN_ERROR, or MINIMALDATA's sibling).
 */
import { equalBytes } from '@leyden/codec'
import { hash160, ripemd160, sha1, sha256, sha256d } from '@leyden/crypto'
import { OP } from './opcode.ts'
import { fail, VERIFY } from './script-rules.ts'
import {
  decodeScriptNum,
  encodeScriptNum,
  findAndDelete,
  MAX_PUBKEYS_PER_MULTISIG,
  MAX_SCRIPT_ELEMENT_SIZE,
  MAX_SCRIPT_SIZE,
  pushBytes,
  readOp,
  type OpCursor,
} from './script.ts'
import {
  checkPublicKeyEncoding,
  checkSignatureEncoding,
  SEQUENCE_LOCKTIME_DISABLE_FLAG,
  type Checker,
  type SigVersion,
} from './signature-check.ts'

export const MAX_OPS_PER_SCRIPT = 201
export const MAX_STACK_SIZE = 1000
/** BIP 342: weight that a passed signature check uses up. */
const WEIGHT_PER_SIGOP = 50

export type Stack = Uint8Array[]

/** What a tapscript carries along: its leaf, the annex, and the weight that is left for signatures. */
export type TapscriptBudget = { readonly leafHash: Uint8Array; readonly annex: Uint8Array | undefined; weightLeft: number }

const FALSE = new Uint8Array(0)
const TRUE = Uint8Array.of(1)
const bool = (value: boolean): Uint8Array => (value ? TRUE : FALSE)

/** False is empty, zeros, or negative zero. */
export const castToBool = (item: Uint8Array): boolean => {
  for (let i = 0; i < item.length; i++) {
    if (item[i] !== 0) return !(i === item.length - 1 && item[i] === 0x80)
  }
  return false
}

/** Nested IFs as a depth and the first depth that is false: nothing else can be observed. */
class Conditions {
  #depth = 0
  #firstFalse = -1
  get empty(): boolean {
    return this.#depth === 0
  }
  get allTrue(): boolean {
    return this.#firstFalse < 0
  }
  push(value: boolean): void {
    if (this.#firstFalse < 0 && !value) this.#firstFalse = this.#depth
    this.#depth++
  }
  pop(): void {
    this.#depth--
    if (this.#firstFalse === this.#depth) this.#firstFalse = -1
  }
  toggleTop(): void {
    if (this.#firstFalse < 0) this.#firstFalse = this.#depth - 1
    else if (this.#firstFalse === this.#depth - 1) this.#firstFalse = -1
  }
}

const isDisabled = (opcode: number): boolean =>
  (opcode >= OP.OP_CAT && opcode <= OP.OP_RIGHT) ||
  (opcode >= OP.OP_INVERT && opcode <= OP.OP_XOR) ||
  opcode === OP.OP_2MUL ||
  opcode === OP.OP_2DIV ||
  (opcode >= OP.OP_MUL && opcode <= OP.OP_RSHIFT)

const isMinimalPush = (data: Uint8Array, opcode: number): boolean => {
  const size = data.length
  if (size === 0) return opcode === OP.OP_0
  if (size === 1 && ((data[0]! >= 1 && data[0]! <= 16) || data[0] === 0x81)) return false
  if (size <= 75) return opcode === size
  if (size <= 255) return opcode === OP.OP_PUSHDATA1
  return size > 65535 || opcode === OP.OP_PUSHDATA2
}

/** State of one run. */
type Run = {
  readonly stack: Stack
  readonly flags: number
  readonly version: SigVersion
  readonly checker: Checker
  readonly budget: TapscriptBudget | undefined
  readonly minimal: boolean
  /** From the last executed OP_CODESEPARATOR on. One array until the next, so that sighashes can be remembered. */
  scriptCode: Uint8Array
  codeSeparator: number
  opCount: number
}

const need = (stack: Stack, count: number): void => {
  if (stack.length < count) fail('INVALID_STACK_OPERATION')
}

/** The item at `depth` below the top, 0 is the top. The caller has checked that it is there. */
const peek = (stack: Stack, depth = 0): Uint8Array => stack[stack.length - 1 - depth]!

const peekNum = (run: Run, depth = 0, maxBytes = 4): number => decodeScriptNum(peek(run.stack, depth), maxBytes, run.minimal)

const checkSigBeforeTapscript = (run: Run, sig: Uint8Array, key: Uint8Array): boolean => {
  let scriptCode = run.scriptCode
  if (run.version === 'base') scriptCode = withoutSignature(run, scriptCode, sig)
  checkSignatureEncoding(sig, run.flags)
  checkPublicKeyEncoding(key, run.flags, run.version)
  const valid = run.checker.ecdsa(sig, key, scriptCode, run.version)
  if (!valid && (run.flags & VERIFY.NULLFAIL) !== 0 && sig.length > 0) fail('NULLFAIL')
  return valid
}

const withoutSignature = (run: Run, scriptCode: Uint8Array, sig: Uint8Array): Uint8Array => {
  const without = findAndDelete(scriptCode, pushBytes(sig))
  if (without !== scriptCode && (run.flags & VERIFY.CONST_SCRIPTCODE) !== 0) fail('SIG_FINDANDDELETE')
  return without
}

/** BIP 342 § Rules for signature opcodes; the order of the checks is consensus. */
const checkSigTapscript = (run: Run, sig: Uint8Array, key: Uint8Array): boolean => {
  const budget = run.budget!
  const signed = sig.length > 0
  if (signed) {
    budget.weightLeft -= WEIGHT_PER_SIGOP
    if (budget.weightLeft < 0) fail('TAPSCRIPT_VALIDATION_WEIGHT')
  }
  if (key.length === 0) fail('PUBKEYTYPE')
  if (key.length === 32) {
    if (signed)
      run.checker.schnorr(sig, key, { leafHash: budget.leafHash, codeSeparator: run.codeSeparator, annex: budget.annex })
  } else if ((run.flags & VERIFY.DISCOURAGE_UPGRADABLE_PUBKEYTYPE) !== 0) fail('DISCOURAGE_UPGRADABLE_PUBKEYTYPE')
  return signed
}

const checkSig = (run: Run, sig: Uint8Array, key: Uint8Array): boolean =>
  run.version === 'tapscript' ? checkSigTapscript(run, sig, key) : checkSigBeforeTapscript(run, sig, key)

/** ([sig ...] sigs [key ...] keys -- bool), and one item more, which nothing reads. */
const checkMultisig = (run: Run): boolean => {
  const { stack, flags } = run
  if (run.version === 'tapscript') fail('TAPSCRIPT_CHECKMULTISIG')
  need(stack, 1)
  const keyCount = peekNum(run)
  if (keyCount < 0 || keyCount > MAX_PUBKEYS_PER_MULTISIG) fail('PUBKEY_COUNT')
  run.opCount += keyCount
  if (run.opCount > MAX_OPS_PER_SCRIPT) fail('OP_COUNT')
  need(stack, keyCount + 2)
  const sigCount = peekNum(run, keyCount + 1)
  if (sigCount < 0 || sigCount > keyCount) fail('SIG_COUNT')
  const firstSig = keyCount + 2
  const itemCount = firstSig + sigCount
  need(stack, itemCount + 1)

  let scriptCode = run.scriptCode
  if (run.version === 'base')
    for (let i = 0; i < sigCount; i++) scriptCode = withoutSignature(run, scriptCode, peek(stack, firstSig + i))

  let sigs = sigCount
  let keys = keyCount
  let valid = true
  while (valid && sigs > 0) {
    const sig = peek(stack, firstSig + sigCount - sigs)
    const key = peek(stack, 1 + keyCount - keys)
    checkSignatureEncoding(sig, flags)
    checkPublicKeyEncoding(key, flags, run.version)
    if (run.checker.ecdsa(sig, key, scriptCode, run.version)) sigs--
    keys--
    if (sigs > keys) valid = false
  }
  if (!valid && (flags & VERIFY.NULLFAIL) !== 0)
    for (let i = 0; i < sigCount; i++) if (peek(stack, firstSig + i).length > 0) fail('NULLFAIL')
  stack.length -= itemCount
  if ((flags & VERIFY.NULLDUMMY) !== 0 && peek(stack).length > 0) fail('SIG_NULLDUMMY')
  stack.pop()
  return valid
}

const lockTimeVerify = (run: Run): void => {
  if ((run.flags & VERIFY.CHECKLOCKTIMEVERIFY) === 0) return
  need(run.stack, 1)
  const n = peekNum(run, 0, 5)
  if (n < 0) fail('NEGATIVE_LOCKTIME')
  if (!run.checker.lockTime(n)) fail('UNSATISFIED_LOCKTIME')
}

const sequenceVerify = (run: Run): void => {
  if ((run.flags & VERIFY.CHECKSEQUENCEVERIFY) === 0) return
  need(run.stack, 1)
  const n = peekNum(run, 0, 5)
  if (n < 0) fail('NEGATIVE_LOCKTIME')
  if (Math.floor(n / SEQUENCE_LOCKTIME_DISABLE_FLAG) % 2 === 1) return
  if (!run.checker.sequence(n)) fail('UNSATISFIED_LOCKTIME')
}

const condition = (run: Run, opcode: number): boolean => {
  const { stack, version } = run
  if (stack.length < 1) fail('UNBALANCED_CONDITIONAL')
  const item = stack.pop()!
  const isMinimal = item.length === 0 || (item.length === 1 && item[0] === 1)
  if (!isMinimal && version === 'tapscript') fail('TAPSCRIPT_MINIMALIF')
  if (!isMinimal && version === 'witness_v0' && (run.flags & VERIFY.MINIMALIF) !== 0) fail('MINIMALIF')
  return castToBool(item) === (opcode === OP.OP_IF)
}

const unary = (opcode: number, n: number): number => {
  switch (opcode) {
    case OP.OP_1ADD:
      return n + 1
    case OP.OP_1SUB:
      return n - 1
    case OP.OP_NEGATE:
      return -n
    case OP.OP_ABS:
      return Math.abs(n)
    case OP.OP_NOT:
      return n === 0 ? 1 : 0
    default:
      return n === 0 ? 0 : 1 // OP_0NOTEQUAL
  }
}

const binary = (opcode: number, a: number, b: number): number => {
  switch (opcode) {
    case OP.OP_ADD:
      return a + b
    case OP.OP_SUB:
      return a - b
    case OP.OP_BOOLAND:
      return a !== 0 && b !== 0 ? 1 : 0
    case OP.OP_BOOLOR:
      return a !== 0 || b !== 0 ? 1 : 0
    case OP.OP_NUMEQUAL:
    case OP.OP_NUMEQUALVERIFY:
      return a === b ? 1 : 0
    case OP.OP_NUMNOTEQUAL:
      return a !== b ? 1 : 0
    case OP.OP_LESSTHAN:
      return a < b ? 1 : 0
    case OP.OP_GREATERTHAN:
      return a > b ? 1 : 0
    case OP.OP_LESSTHANOREQUAL:
      return a <= b ? 1 : 0
    case OP.OP_GREATERTHANOREQUAL:
      return a >= b ? 1 : 0
    case OP.OP_MIN:
      return Math.min(a, b)
    default:
      return Math.max(a, b) // OP_MAX
  }
}

const hashFunction = (opcode: number): ((data: Uint8Array) => Uint8Array) => {
  switch (opcode) {
    case OP.OP_RIPEMD160:
      return ripemd160
    case OP.OP_SHA1:
      return sha1
    case OP.OP_SHA256:
      return sha256
    case OP.OP_HASH160:
      return hash160
    default:
      return sha256d // OP_HASH256
  }
}

/** Opcodes that only move items. False when `opcode` is not one of them. */
const moveItems = (stack: Stack, altStack: Stack, opcode: number, run: Run): boolean => {
  switch (opcode) {
    case OP.OP_TOALTSTACK:
      need(stack, 1)
      altStack.push(stack.pop()!)
      return true
    case OP.OP_FROMALTSTACK:
      if (altStack.length < 1) fail('INVALID_ALTSTACK_OPERATION')
      stack.push(altStack.pop()!)
      return true
    case OP.OP_2DROP:
      need(stack, 2)
      stack.length -= 2
      return true
    case OP.OP_2DUP:
      need(stack, 2)
      stack.push(peek(stack, 1), peek(stack, 0))
      return true
    case OP.OP_3DUP:
      need(stack, 3)
      stack.push(peek(stack, 2), peek(stack, 1), peek(stack, 0))
      return true
    case OP.OP_2OVER:
      need(stack, 4)
      stack.push(peek(stack, 3), peek(stack, 2))
      return true
    case OP.OP_2ROT:
      need(stack, 6)
      stack.push(...stack.splice(-6, 2))
      return true
    case OP.OP_2SWAP:
      need(stack, 4)
      stack.push(...stack.splice(-4, 2))
      return true
    case OP.OP_IFDUP:
      need(stack, 1)
      if (castToBool(peek(stack))) stack.push(peek(stack))
      return true
    case OP.OP_DEPTH:
      stack.push(encodeScriptNum(stack.length))
      return true
    case OP.OP_DROP:
      need(stack, 1)
      stack.pop()
      return true
    case OP.OP_DUP:
      need(stack, 1)
      stack.push(peek(stack))
      return true
    case OP.OP_NIP:
      need(stack, 2)
      stack.splice(-2, 1)
      return true
    case OP.OP_OVER:
      need(stack, 2)
      stack.push(peek(stack, 1))
      return true
    case OP.OP_PICK:
    case OP.OP_ROLL: {
      need(stack, 2)
      const n = peekNum(run)
      stack.pop()
      if (n < 0 || n >= stack.length) fail('INVALID_STACK_OPERATION')
      const item = peek(stack, n)
      if (opcode === OP.OP_ROLL) stack.splice(stack.length - 1 - n, 1)
      stack.push(item)
      return true
    }
    case OP.OP_ROT:
      need(stack, 3)
      stack.push(...stack.splice(-3, 1))
      return true
    case OP.OP_SWAP:
      need(stack, 2)
      stack.push(...stack.splice(-2, 1))
      return true
    case OP.OP_TUCK:
      need(stack, 2)
      stack.splice(-2, 0, peek(stack))
      return true
    case OP.OP_SIZE:
      need(stack, 1)
      stack.push(encodeScriptNum(peek(stack).length))
      return true
    default:
      return false
  }
}

/** Opcodes that compute: comparison, numbers, hashes, signatures, lock times. */
const compute = (run: Run, opcode: number): void => {
  const { stack } = run
  switch (opcode) {
    case OP.OP_NOP:
      return
    case OP.OP_CHECKLOCKTIMEVERIFY:
      return lockTimeVerify(run)
    case OP.OP_CHECKSEQUENCEVERIFY:
      return sequenceVerify(run)
    case OP.OP_NOP1:
    case OP.OP_NOP4:
    case OP.OP_NOP5:
    case OP.OP_NOP6:
    case OP.OP_NOP7:
    case OP.OP_NOP8:
    case OP.OP_NOP9:
    case OP.OP_NOP10:
      if ((run.flags & VERIFY.DISCOURAGE_UPGRADABLE_NOPS) !== 0) fail('DISCOURAGE_UPGRADABLE_NOPS')
      return
    case OP.OP_VERIFY:
      need(stack, 1)
      if (!castToBool(peek(stack))) fail('VERIFY')
      stack.pop()
      return
    case OP.OP_RETURN:
      return fail('OP_RETURN')
    case OP.OP_EQUAL:
    case OP.OP_EQUALVERIFY: {
      need(stack, 2)
      const equal = equalBytes(peek(stack, 1), peek(stack, 0))
      stack.length -= 2
      if (opcode === OP.OP_EQUAL) stack.push(bool(equal))
      else if (!equal) fail('EQUALVERIFY')
      return
    }
    case OP.OP_1ADD:
    case OP.OP_1SUB:
    case OP.OP_NEGATE:
    case OP.OP_ABS:
    case OP.OP_NOT:
    case OP.OP_0NOTEQUAL: {
      need(stack, 1)
      const n = peekNum(run)
      stack[stack.length - 1] = encodeScriptNum(unary(opcode, n))
      return
    }
    case OP.OP_ADD:
    case OP.OP_SUB:
    case OP.OP_BOOLAND:
    case OP.OP_BOOLOR:
    case OP.OP_NUMEQUAL:
    case OP.OP_NUMEQUALVERIFY:
    case OP.OP_NUMNOTEQUAL:
    case OP.OP_LESSTHAN:
    case OP.OP_GREATERTHAN:
    case OP.OP_LESSTHANOREQUAL:
    case OP.OP_GREATERTHANOREQUAL:
    case OP.OP_MIN:
    case OP.OP_MAX: {
      need(stack, 2)
      const result = binary(opcode, peekNum(run, 1), peekNum(run, 0))
      stack.length -= 2
      if (opcode !== OP.OP_NUMEQUALVERIFY) stack.push(encodeScriptNum(result))
      else if (result === 0) fail('NUMEQUALVERIFY')
      return
    }
    case OP.OP_WITHIN: {
      need(stack, 3)
      const n = peekNum(run, 2)
      const min = peekNum(run, 1)
      const max = peekNum(run, 0)
      stack.length -= 3
      stack.push(bool(min <= n && n < max))
      return
    }
    case OP.OP_RIPEMD160:
    case OP.OP_SHA1:
    case OP.OP_SHA256:
    case OP.OP_HASH160:
    case OP.OP_HASH256:
      need(stack, 1)
      stack[stack.length - 1] = hashFunction(opcode)(peek(stack))
      return
    case OP.OP_CHECKSIG:
    case OP.OP_CHECKSIGVERIFY: {
      need(stack, 2)
      const valid = checkSig(run, peek(stack, 1), peek(stack, 0))
      stack.length -= 2
      if (opcode === OP.OP_CHECKSIG) stack.push(bool(valid))
      else if (!valid) fail('CHECKSIGVERIFY')
      return
    }
    case OP.OP_CHECKSIGADD: {
      if (run.version !== 'tapscript') fail('BAD_OPCODE')
      need(stack, 3)
      const n = peekNum(run, 1)
      const valid = checkSig(run, peek(stack, 2), peek(stack, 0))
      stack.length -= 3
      stack.push(encodeScriptNum(n + (valid ? 1 : 0)))
      return
    }
    case OP.OP_CHECKMULTISIG:
      stack.push(bool(checkMultisig(run)))
      return
    case OP.OP_CHECKMULTISIGVERIFY:
      if (!checkMultisig(run)) fail('CHECKMULTISIGVERIFY')
      return
    default:
      fail('BAD_OPCODE')
  }
}

/** Runs `script` on `stack`, which it changes. Throws ScriptFailure, or DecodeError from a malformed number. */
export const evaluate = (
  stack: Stack,
  script: Uint8Array,
  flags: number,
  version: SigVersion,
  checker: Checker,
  budget?: TapscriptBudget,
): void => {
  const beforeTapscript = version !== 'tapscript'
  if (beforeTapscript && script.length > MAX_SCRIPT_SIZE) fail('SCRIPT_SIZE')
  const minimal = (flags & VERIFY.MINIMALDATA) !== 0
  const run: Run = { stack, flags, version, checker, budget, minimal, scriptCode: script, codeSeparator: 0xffff_ffff, opCount: 0 }
  const altStack: Stack = []
  const conditions = new Conditions()
  const op: OpCursor = { opcode: 0, from: 0, to: 0, next: 0 }

  for (let at = 0, position = 0; at < script.length; at = op.next, position++) {
    const executing = conditions.allTrue
    if (!readOp(script, at, op)) fail('BAD_OPCODE')
    const { opcode } = op
    if (op.to - op.from > MAX_SCRIPT_ELEMENT_SIZE) fail('PUSH_SIZE')
    if (beforeTapscript && opcode > OP.OP_16 && ++run.opCount > MAX_OPS_PER_SCRIPT) fail('OP_COUNT')
    if (isDisabled(opcode)) fail('DISABLED_OPCODE')
    if (opcode === OP.OP_CODESEPARATOR && version === 'base' && (flags & VERIFY.CONST_SCRIPTCODE) !== 0) fail('OP_CODESEPARATOR')

    if (opcode >= OP.OP_IF && opcode <= OP.OP_ENDIF) {
      if (opcode === OP.OP_IF || opcode === OP.OP_NOTIF) conditions.push(executing && condition(run, opcode))
      else if (opcode === OP.OP_VERIF || opcode === OP.OP_VERNOTIF) fail('BAD_OPCODE')
      else if (conditions.empty) fail('UNBALANCED_CONDITIONAL')
      else if (opcode === OP.OP_ELSE) conditions.toggleTop()
      else conditions.pop()
    } else if (executing) {
      if (opcode <= OP.OP_PUSHDATA4) {
        const data = script.subarray(op.from, op.to)
        if (minimal && !isMinimalPush(data, opcode)) fail('MINIMALDATA')
        stack.push(data)
      } else if (opcode === OP.OP_1NEGATE || (opcode >= OP.OP_1 && opcode <= OP.OP_16)) {
        stack.push(encodeScriptNum(opcode - (OP.OP_1 - 1)))
      } else if (opcode === OP.OP_CODESEPARATOR) {
        run.scriptCode = script.subarray(op.next)
        run.codeSeparator = position
      } else if (!moveItems(stack, altStack, opcode, run)) compute(run, opcode)
    }
    if (stack.length + altStack.length > MAX_STACK_SIZE) fail('STACK_SIZE')
  }
  if (!conditions.empty) fail('UNBALANCED_CONDITIONAL')
}
