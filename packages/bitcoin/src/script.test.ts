import { bytesToHex, DecodeError, hexToBytes } from '@leyden/codec'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  buildScript,
  classifyScript,
  countSigOps,
  decodeScriptNum,
  encodeScriptNum,
  findAndDelete,
  isPushOnly,
  isUnspendable,
  lastPush,
  multisigScript,
  OP,
  P2A,
  p2pkh,
  p2sh,
  p2tr,
  p2wpkh,
  p2wsh,
  parseScript,
  pushBytes,
  witnessProgram,
} from './script.ts'
import { scriptFromText, scriptToText } from './script-text.ts'

const hex = (script: Uint8Array): string => bytesToHex(script)
const H20 = new Uint8Array(20).fill(0xab)
const H32 = new Uint8Array(32).fill(0xcd)
const POINT = Uint8Array.of(2, ...H32)

describe('numbers', () => {
  it.each([
    [0n, ''],
    [1n, '01'],
    [-1n, '81'],
    [127n, '7f'],
    [128n, '8000'],
    [-128n, '8080'],
    [255n, 'ff00'],
    [256n, '0001'],
    [0x7fffffffn, 'ffffff7f'],
    [-0x7fffffffn, 'ffffffff'],
    [0xffffffffn, 'ffffffff00'],
  ])('%s is %s', (n, encoded) => {
    expect(hex(encodeScriptNum(n))).toBe(encoded)
    expect(hex(encodeScriptNum(Number(n)))).toBe(encoded)
    expect(BigInt(decodeScriptNum(hexToBytes(encoded), 5))).toBe(n)
  })
  it('refuses long and padded ones', () => {
    expect(() => decodeScriptNum(new Uint8Array(5))).toThrow(DecodeError)
    for (const padded of ['00', '80', '0100', '0180']) expect(() => decodeScriptNum(hexToBytes(padded))).toThrow(DecodeError)
    expect(decodeScriptNum(hexToBytes('0180'), 4, false)).toBe(-1)
    expect(decodeScriptNum(hexToBytes('80'), 4, false)).toBe(0)
  })
  it('property: what is encoded decodes to itself', () => {
    expect(() =>
      fc.assert(
        fc.property(fc.integer({ min: -(2 ** 31) + 1, max: 2 ** 31 - 1 }), (n) => decodeScriptNum(encodeScriptNum(n)) === n),
      ),
    ).not.toThrow()
  })
})

describe('building and parsing', () => {
  it('pushes minimally', () => {
    expect(hex(buildScript(0n, 1n, 16n, 17n, -1n, 144n))).toBe('00516001114f029000')
    expect(hex(buildScript(new Uint8Array(0), Uint8Array.of(1), Uint8Array.of(0x81), Uint8Array.of(0)))).toBe('00514f0100')
    expect(hex(buildScript(new Uint8Array(75))).slice(0, 2)).toBe('4b')
    expect(hex(buildScript(new Uint8Array(76))).slice(0, 4)).toBe('4c4c')
    expect(hex(buildScript(new Uint8Array(256))).slice(0, 6)).toBe('4d0001')
    expect(hex(pushBytes(Uint8Array.of(1)))).toBe('0101')
    expect(() => buildScript(256)).toThrow(RangeError)
  })
  it('parses what it built, and refuses a push past the end', () => {
    expect(parseScript(buildScript(OP.OP_DUP, H20, 3n))).toEqual([{ opcode: 0x76 }, { opcode: 20, data: H20 }, { opcode: 0x53 }])
    for (const bad of ['01', '4c', '4c01', '4d01', '4dffff00', '4e00000001', '4effffffff'])
      expect(() => parseScript(hexToBytes(bad))).toThrow(DecodeError)
  })
  it('property: any bytes parse or throw DecodeError, and push-only scripts have a last push', () => {
    const holds = (script: Uint8Array): boolean => {
      countSigOps(script, true)
      classifyScript(script)
      scriptToText(script)
      if (isPushOnly(script)) return script.length === 0 || lastPush(script) !== undefined
      try {
        parseScript(script)
        return true
      } catch (error) {
        return error instanceof DecodeError
      }
    }
    expect(() => fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), holds))).not.toThrow()
  })
})

describe('standard forms', () => {
  it.each([
    [p2pkh(H20), 'p2pkh'],
    [p2sh(H20), 'p2sh'],
    [p2wpkh(H20), 'p2wpkh'],
    [p2wsh(H32), 'p2wsh'],
    [p2tr(H32), 'p2tr'],
    [P2A, 'p2a'],
    [buildScript(POINT, OP.OP_CHECKSIG), 'p2pk'],
    [multisigScript(1, [POINT, POINT]), 'multisig'],
    [buildScript(OP.OP_RETURN, H32), 'op_return'],
    [buildScript(OP.OP_16, H32), 'witness_unknown'],
    [buildScript(OP.OP_0, new Uint8Array(21)), 'nonstandard'],
    [new Uint8Array(0), 'nonstandard'],
    [Uint8Array.of(OP.OP_CHECKMULTISIG), 'nonstandard'],
  ])('%#: %s', (script, type) => {
    expect(classifyScript(script).type).toBe(type)
  })
  it('a witness program has 2 to 40 bytes and one direct push', () => {
    expect(witnessProgram(buildScript(OP.OP_1, new Uint8Array(40)))?.program.length).toBe(40)
    expect(witnessProgram(buildScript(OP.OP_1, new Uint8Array(41)))).toBeUndefined()
    expect(witnessProgram(Uint8Array.of(0x51, 1, 7))).toBeUndefined()
    expect(witnessProgram(Uint8Array.of(0x51, 0x4c, 2, 1, 1))).toBeUndefined()
  })
  it('checks the sizes of hashes and keys', () => {
    expect(() => p2wpkh(H32)).toThrow(RangeError)
    expect(() => p2tr(H20)).toThrow(RangeError)
    expect(() => multisigScript(3, [POINT, POINT])).toThrow(RangeError)
  })
  it('OP_RETURN and oversized scripts can never be spent', () => {
    expect(isUnspendable(Uint8Array.of(OP.OP_RETURN))).toBe(true)
    expect(isUnspendable(new Uint8Array(10_001))).toBe(true)
    expect(isUnspendable(P2A)).toBe(false)
  })
})

describe('findAndDelete (Bitcoin Core script_tests.cpp)', () => {
  it.each([
    ['5151', '', '5151'],
    ['515253', '52', '5153'],
    ['5353535354', '53', '54'],
    ['0302ff03', '0302ff03', ''],
    ['0302ff030302ff03', '0302ff03', ''],
    ['0302ff030302ff03', '02', '0302ff030302ff03'],
    ['0302ff030302ff03', 'ff', '0302ff030302ff03'],
    ['0302ff030302ff03', '03', '02ff0302ff03'],
    ['02feed5169', 'feed51', '02feed5169'],
    ['02feed5169', '02feed51', '69'],
    ['516902feed5169', 'feed51', '516902feed5169'],
    ['516902feed5169', '02feed51', '516969'],
    ['0003feed', '03feed', '00'],
    ['0003feed', '00', '03feed'],
  ])('%s without %s is %s', (script, needle, expected) => {
    expect(hex(findAndDelete(hexToBytes(script), hexToBytes(needle)))).toBe(expected)
  })
})

describe('text', () => {
  it('reads and shows scripts', () => {
    expect(scriptToText(p2pkh(H20))).toBe(`OP_DUP OP_HASH160 ${'ab'.repeat(20)} OP_EQUALVERIFY OP_CHECKSIG`)
    expect(scriptToText(buildScript(0n, 1n, 144n, -1n, OP.OP_CHECKSEQUENCEVERIFY))).toBe('0 1 144 -1 OP_CHECKSEQUENCEVERIFY')
    expect(scriptToText(hexToBytes('5105'))).toBe('1 [error]')
    expect(scriptToText(hexToBytes('51fe'))).toBe('1 OP_UNKNOWN')
    expect(hex(scriptFromText("1 -1 'a' 0x4c01ff OP_DUP DUP 1000"))).toBe('514f01614c01ff767602e803')
    expect(() => scriptFromText('NOSUCHWORD')).toThrow(RangeError)
  })
})
