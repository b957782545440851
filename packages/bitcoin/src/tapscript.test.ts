import { pointFromSecret, schnorrSign, taprootTweakSecret, xOnlyFromPoint } from '@leyden/crypto'
import { describe, expect, it } from 'vitest'
import { Txid } from './ids.ts'
import { MANDATORY_SCRIPT_FLAGS, STANDARD_SCRIPT_FLAGS, VERIFY, verifyInput } from './interpreter.ts'
import { buildScript, OP, type ScriptPart } from './script.ts'
import { scriptFromText } from './script-text.ts'
import { SIGHASH, sighashTaproot } from './sighash.ts'
import { taprootOutput } from './taproot.ts'
import type { Tx, TxOutput } from './tx.ts'
import { Sat } from './units.ts'

const SECRET = new Uint8Array(32).fill(7)
const KEY = xOnlyFromPoint(pointFromSecret(SECRET))
const AUX = new Uint8Array(32)

const unsigned: Tx = {
  version: 2,
  inputs: [
    { outpoint: { txid: Txid('33'.repeat(32)), vout: 0 }, scriptSig: new Uint8Array(0), sequence: 0xfffffffd, witness: [] },
  ],
  outputs: [{ value: Sat(900n), scriptPubKey: buildScript(OP.OP_1, KEY) }],
  lockTime: 0,
}

type Options = {
  readonly leafVersion?: number
  readonly annex?: Uint8Array
  readonly flags?: number
  /** What stands for the control block. */
  readonly control?: (control: Uint8Array) => Uint8Array
}

/** Spends a leaf with what `args` gives; `sign` signs for KEY with the code separator at that position. */
const spend = (
  script: Uint8Array,
  args: (sign: (codeSeparator?: number, type?: number) => Uint8Array) => Uint8Array[],
  { leafVersion = 0xc0, annex, flags = MANDATORY_SCRIPT_FLAGS, control = (same) => same }: Options = {},
): string => {
  const output = taprootOutput(KEY, [{ script, leafVersion }, { script: Uint8Array.of(OP.OP_RETURN) }])
  const { leafHash, controlBlock } = output.spends[0]!
  const spent: TxOutput[] = [{ value: Sat(1000n), scriptPubKey: output.scriptPubKey }]
  const sign = (codeSeparator = 0xffffffff, type: number = SIGHASH.default): Uint8Array => {
    const hash = sighashTaproot(unsigned, 0, spent, type, { leafHash, codeSeparator, annex })
    const signature = schnorrSign(hash, SECRET, AUX)
    return type === SIGHASH.default ? signature : Uint8Array.of(...signature, type)
  }
  const witness = [...args(sign), script, control(controlBlock), ...(annex === undefined ? [] : [annex])]
  const tx: Tx = { ...unsigned, inputs: [{ ...unsigned.inputs[0]!, witness }] }
  return verifyInput({ tx, inputIndex: 0, prevouts: spent, flags }) ?? 'OK'
}

const script = (...parts: ScriptPart[]): Uint8Array => buildScript(...parts)
const CHECKSIG = script(KEY, OP.OP_CHECKSIG)
const EMPTY = new Uint8Array(0)

describe('tapscript (BIP 342)', () => {
  it('runs a signature check, with every sighash type and with an annex', () => {
    expect(spend(CHECKSIG, (sign) => [sign()])).toBe('OK')
    for (const type of [1, 2, 3, 0x81, 0x82, 0x83]) expect(spend(CHECKSIG, (sign) => [sign(undefined, type)])).toBe('OK')
    expect(spend(CHECKSIG, (sign) => [sign()], { annex: Uint8Array.of(0x50, 1, 2) })).toBe('OK')
  })
  it('an empty signature is false, a wrong one fails the script', () => {
    expect(spend(CHECKSIG, () => [EMPTY])).toBe('EVAL_FALSE')
    expect(spend(CHECKSIG, () => [new Uint8Array(64)])).toBe('SCHNORR_SIG')
    expect(spend(CHECKSIG, () => [new Uint8Array(63)])).toBe('SCHNORR_SIG_SIZE')
    expect(spend(CHECKSIG, (sign) => [Uint8Array.of(...sign(), 0)])).toBe('SCHNORR_SIG_HASHTYPE')
    expect(spend(CHECKSIG, (sign) => [Uint8Array.of(...sign(), 4)])).toBe('SCHNORR_SIG_HASHTYPE')
  })
  it('OP_CHECKSIGADD counts valid signatures', () => {
    const twoOfThree = script(KEY, OP.OP_CHECKSIG, KEY, OP.OP_CHECKSIGADD, KEY, OP.OP_CHECKSIGADD, OP.OP_2, OP.OP_NUMEQUAL)
    expect(spend(twoOfThree, (sign) => [sign(), EMPTY, sign()])).toBe('OK')
    expect(spend(twoOfThree, (sign) => [sign(), sign(), sign()])).toBe('EVAL_FALSE')
    expect(spend(twoOfThree, (sign) => [EMPTY, EMPTY, sign()])).toBe('EVAL_FALSE')
    expect(spend(script(OP.OP_CHECKSIGADD), () => [EMPTY, EMPTY])).toBe('INVALID_STACK_OPERATION')
  })
  it('signs the position of the last executed code separator', () => {
    const separated = script(OP.OP_CODESEPARATOR, KEY, OP.OP_CHECKSIGVERIFY, OP.OP_CODESEPARATOR, KEY, OP.OP_CHECKSIG)
    expect(spend(separated, (sign) => [sign(3), sign(0)])).toBe('OK')
    expect(spend(separated, (sign) => [sign(3), sign()])).toBe('SCHNORR_SIG')
    const skipped = script(OP.OP_0, OP.OP_IF, OP.OP_CODESEPARATOR, OP.OP_ENDIF, KEY, OP.OP_CHECKSIG)
    expect(spend(skipped, (sign) => [sign()])).toBe('OK')
  })
  it('unknown key types succeed, and are discouraged; an empty key fails', () => {
    const future = script(new Uint8Array(33).fill(2), OP.OP_CHECKSIG)
    expect(spend(future, () => [Uint8Array.of(1)])).toBe('OK')
    expect(spend(future, () => [Uint8Array.of(1)], { flags: STANDARD_SCRIPT_FLAGS })).toBe('DISCOURAGE_UPGRADABLE_PUBKEYTYPE')
    expect(spend(script(OP.OP_0, OP.OP_CHECKSIG), () => [EMPTY])).toBe('PUBKEYTYPE')
  })
  it('each passed signature uses up 50 of the weight of the witness', () => {
    const many = (count: number) =>
      script(KEY, ...Array.from({ length: count }, () => [OP.OP_2DUP, OP.OP_CHECKSIGVERIFY]).flat(), OP.OP_CHECKSIG)
    // Witness: count 1, signature 65, script 1+33+2n+1, control 66; and 50 on top
    expect(spend(many(3), (sign) => [sign()])).toBe('OK')
    expect(spend(many(4), (sign) => [sign()])).toBe('TAPSCRIPT_VALIDATION_WEIGHT')
    expect(spend(many(4), (sign) => [sign()], { annex: new Uint8Array(60).fill(0x50) })).toBe('OK')
  })
  it('OP_SUCCESS decides by its presence, before limits and before what follows', () => {
    const success = Uint8Array.of(OP.OP_RETURN, 0x50, 0x4e)
    expect(spend(success, () => [])).toBe('OK')
    expect(spend(success, () => [], { flags: STANDARD_SCRIPT_FLAGS })).toBe('DISCOURAGE_OP_SUCCESS')
    expect(spend(success, () => [new Uint8Array(521)])).toBe('OK')
    expect(spend(Uint8Array.of(0x4e, 0x50), () => [])).toBe('BAD_OPCODE')
    for (const opcode of [OP.OP_CAT, OP.OP_MUL, 0xbb, 0xfe]) expect(spend(Uint8Array.of(opcode), () => [])).toBe('OK')
    expect(spend(Uint8Array.of(0xff), () => [])).toBe('BAD_OPCODE')
  })
  it('has no CHECKMULTISIG and insists on minimal IF arguments', () => {
    expect(spend(scriptFromText('0 0 0 CHECKMULTISIG'), () => [])).toBe('TAPSCRIPT_CHECKMULTISIG')
    expect(spend(scriptFromText('IF 1 ELSE 1 ENDIF'), () => [Uint8Array.of(2)])).toBe('TAPSCRIPT_MINIMALIF')
    expect(spend(scriptFromText('NOTIF 1 ELSE 1 ENDIF'), () => [Uint8Array.of(0)])).toBe('TAPSCRIPT_MINIMALIF')
    expect(spend(scriptFromText('IF 1 ELSE 1 ENDIF'), () => [EMPTY])).toBe('OK')
  })
  it('limits items and the stack, not the script and its opcodes', () => {
    const long = script(...Array.from({ length: 20_000 }, () => OP.OP_NOP), OP.OP_1)
    expect(spend(long, () => [])).toBe('OK')
    const thousand = Array.from({ length: 1000 }, () => EMPTY)
    expect(spend(script(OP.OP_1), () => [...thousand, EMPTY])).toBe('STACK_SIZE')
    expect(spend(script(OP.OP_1), () => [new Uint8Array(521)])).toBe('PUSH_SIZE')
    expect(spend(script(OP.OP_DROP, ...Array.from({ length: 499 }, () => OP.OP_2DROP), OP.OP_0, OP.OP_NOT), () => thousand)).toBe(
      'CLEANSTACK',
    )
    expect(spend(script(...Array.from({ length: 500 }, () => OP.OP_2DROP), OP.OP_1), () => thousand)).toBe('OK')
  })
  it('unknown leaf versions succeed, and are discouraged', () => {
    expect(spend(Uint8Array.of(OP.OP_RETURN), () => [], { leafVersion: 0xc2 })).toBe('OK')
    expect(spend(Uint8Array.of(OP.OP_RETURN), () => [], { leafVersion: 0xc2, flags: STANDARD_SCRIPT_FLAGS })).toBe(
      'DISCOURAGE_UPGRADABLE_TAPROOT_VERSION',
    )
  })
  it('checks size, parity and path of the control block', () => {
    const withControl = (control: (c: Uint8Array) => Uint8Array) => spend(CHECKSIG, (sign) => [sign()], { control })
    expect(withControl((c) => c.slice(0, 32))).toBe('TAPROOT_WRONG_CONTROL_SIZE')
    expect(withControl((c) => c.slice(0, -1))).toBe('TAPROOT_WRONG_CONTROL_SIZE')
    expect(withControl((c) => Uint8Array.of(...c, ...new Uint8Array(32 * 128)))).toBe('TAPROOT_WRONG_CONTROL_SIZE')
    expect(withControl((c) => Uint8Array.of(c[0]! ^ 1, ...c.slice(1)))).toBe('WITNESS_PROGRAM_MISMATCH')
    expect(withControl((c) => Uint8Array.of(...c, ...new Uint8Array(32)))).toBe('WITNESS_PROGRAM_MISMATCH')
  })
})

describe('key path (BIP 341)', () => {
  const output = taprootOutput(KEY)
  const spent: TxOutput[] = [{ value: Sat(1000n), scriptPubKey: output.scriptPubKey }]
  const verify = (witness: Uint8Array[], flags = MANDATORY_SCRIPT_FLAGS) =>
    verifyInput({ tx: { ...unsigned, inputs: [{ ...unsigned.inputs[0]!, witness }] }, inputIndex: 0, prevouts: spent, flags }) ??
    'OK'
  const sign = (annex?: Uint8Array) =>
    schnorrSign(sighashTaproot(unsigned, 0, spent, 0, { annex }), taprootTweakSecret(SECRET), AUX)
  it('takes one signature, with or without an annex, and nothing else', () => {
    expect(verify([sign()])).toBe('OK')
    expect(verify([sign(Uint8Array.of(0x50)), Uint8Array.of(0x50)])).toBe('OK')
    expect(verify([sign(), Uint8Array.of(0x50)])).toBe('SCHNORR_SIG')
    expect(verify([])).toBe('WITNESS_PROGRAM_WITNESS_EMPTY')
    expect(verify([EMPTY])).toBe('SCHNORR_SIG_SIZE')
  })
  it('anyone can spend before taproot holds', () => {
    expect(verify([], MANDATORY_SCRIPT_FLAGS & ~VERIFY.TAPROOT)).toBe('OK')
  })
})
