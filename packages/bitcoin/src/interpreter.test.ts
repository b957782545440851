import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { hexToBytes } from '@leyden/codec'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkTx } from './consensus/tx.ts'
import { Txid, ZERO_HASH, outpointKey, type Outpoint } from './ids.ts'
import { MANDATORY_SCRIPT_FLAGS, VERIFY, verifyInput, verifyTx } from './interpreter.ts'
import { p2wshOf } from './script.ts'
import { scriptFromText } from './script-text.ts'
import { decodeTx, encodeTx, isCoinbase, NULL_VOUT, txid, type Tx, type TxOutput } from './tx.ts'
import type { Sat } from './units.ts'

const root = process.env['LEYDEN_VECTORS'] ?? fileURLToPath(new URL('../../../../shared/vectors', import.meta.url))
const absent = !existsSync(`${root}/bitcoin-core`)
if (absent) process.stderr.write('interpreter vectors skipped: no LEYDEN_VECTORS\n')
const rows = <T>(name: string): T[] => JSON.parse(readFileSync(`${root}/bitcoin-core/${name}.json`, 'utf8')) as T[]

const ALL_FLAGS = Object.values(VERIFY).reduce((a, b) => a | b, 0)

const flagsOf = (names: string): number =>
  names.split(',').reduce((flags, name) => {
    if (name === '') return flags
    const flag = (VERIFY as { [name: string]: number })[name]
    if (flag === undefined) throw new Error(`unknown flag ${name}`)
    return flags | flag
  }, 0)

/** WITNESS and CLEANSTACK make sense only with what they build on. */
const fill = (flags: number): number => {
  const withWitness = flags & VERIFY.CLEANSTACK ? flags | VERIFY.WITNESS : flags
  return withWitness & VERIFY.WITNESS ? withWitness | VERIFY.P2SH : withWitness
}
const trim = (flags: number): number => {
  const withoutWitness = flags & VERIFY.P2SH ? flags : flags & ~VERIFY.WITNESS
  return withoutWitness & VERIFY.WITNESS ? withoutWitness : withoutWitness & ~VERIFY.CLEANSTACK
}

/** The pair of transactions that script_tests.json describes. */
const spend = (scriptSig: Uint8Array, scriptPubKey: Uint8Array, witness: Uint8Array[], value: bigint): [Tx, TxOutput] => {
  const output = { value: value as Sat, scriptPubKey }
  const credit: Tx = {
    version: 1,
    inputs: [
      {
        outpoint: { txid: Txid(ZERO_HASH), vout: NULL_VOUT },
        scriptSig: Uint8Array.of(0, 0),
        sequence: 0xffffffff,
        witness: [],
      },
    ],
    outputs: [output],
    lockTime: 0,
  }
  const tx: Tx = {
    version: 1,
    inputs: [{ outpoint: { txid: txid(credit), vout: 0 }, scriptSig, sequence: 0xffffffff, witness }],
    outputs: [{ value: value as Sat, scriptPubKey: new Uint8Array(0) }],
    lockTime: 0,
  }
  return [tx, output]
}

const run = (scriptSig: string, scriptPubKey: string, flags: number = MANDATORY_SCRIPT_FLAGS, witness: Uint8Array[] = []) => {
  const [tx, output] = spend(scriptFromText(scriptSig), scriptFromText(scriptPubKey), witness, 0n)
  return verifyInput({ tx, inputIndex: 0, prevouts: [output], flags }) ?? 'OK'
}

describe.skipIf(absent)('vectors of Bitcoin Core (skipped without LEYDEN_VECTORS)', () => {
  it('B3: script_tests.json: every script ends with the expected error', () => {
    const wrong: unknown[] = []
    let count = 0
    for (const row of rows<(string | (string | number)[])[]>('script_tests')) {
      if (row.length < 4) continue
      const withWitness = typeof row[0] !== 'string'
      const items = withWitness ? (row[0] as (string | number)[]) : []
      const [sig, pub, flagNames, expected] = row.slice(withWitness ? 1 : 0) as [string, string, string, string]
      const amount = withWitness ? BigInt(Math.round(Number(items.at(-1)) * 1e8)) : 0n
      const witness = items.slice(0, -1).map((item) => hexToBytes(item as string))
      const [tx, output] = spend(scriptFromText(sig), scriptFromText(pub), witness, amount)
      const flags = fill(flagsOf(flagNames))
      const got = verifyInput({ tx, inputIndex: 0, prevouts: [output], flags }) ?? 'OK'
      if (got !== expected) wrong.push({ got, expected, row })
      count++
    }
    expect(wrong).toEqual([])
    expect(count).toBeGreaterThan(1100)
  })

  type TxRow = [[string, number, string, (number | string)?][], string, string]

  const spentBy = (row: TxRow): { tx: Tx; prevouts: TxOutput[] } => {
    const tx = decodeTx(hexToBytes(row[1]))
    const known = new Map(
      row[0].map(([id, vout, script, amount]) => {
        const outpoint: Outpoint = { txid: Txid(id), vout: vout >>> 0 }
        return [outpointKey(outpoint), { value: BigInt(amount ?? 0) as Sat, scriptPubKey: scriptFromText(script) }]
      }),
    )
    return { tx, prevouts: tx.inputs.map((input) => known.get(outpointKey(input.outpoint))!) }
  }

  it('B3: tx_valid.json: valid with every flag but the named ones, and with any fewer', () => {
    const wrong: unknown[] = []
    let count = 0
    for (const row of rows<TxRow>('tx_valid')) {
      if (row.length !== 3) continue
      const { tx, prevouts } = spentBy(row)
      expect(encodeTx(tx)).toEqual(hexToBytes(row[1]))
      const excluded = row[2] === 'NONE' ? 0 : flagsOf(row[2])
      const flags = trim(ALL_FLAGS & ~excluded)
      if (checkTx(tx) !== undefined) wrong.push({ check: checkTx(tx), row })
      const got = verifyTx(tx, prevouts, flags)
      if (got !== undefined) wrong.push({ got, row })
      for (const one of Object.values(VERIFY)) {
        const fewer = verifyTx(tx, prevouts, trim(flags & ~one))
        if (fewer !== undefined) wrong.push({ fewer, without: one, row })
        // Each excluded flag is needed: with it the transaction fails
        if ((excluded & one) !== 0 && verifyTx(tx, prevouts, fill(ALL_FLAGS & ~(excluded & ~one))) === undefined)
          wrong.push({ validWith: one, row })
      }
      count++
    }
    expect(wrong).toEqual([])
    expect(count).toBeGreaterThan(100)
  })

  it('B3: tx_invalid.json: invalid with the named flags', () => {
    const wrong: unknown[] = []
    let count = 0
    for (const row of rows<TxRow>('tx_invalid')) {
      if (row.length !== 3) continue
      const { tx, prevouts } = spentBy(row)
      count++
      if (row[2] === 'BADTX') {
        if (checkTx(tx) === undefined) wrong.push(row)
        continue
      }
      if (checkTx(tx) !== undefined || isCoinbase(tx)) wrong.push({ check: checkTx(tx), row })
      const flags = row[2] === 'NONE' ? 0 : fill(flagsOf(row[2]))
      if (verifyTx(tx, prevouts, flags) === undefined) wrong.push(row)
      for (const one of Object.values(VERIFY)) {
        if (verifyTx(tx, prevouts, fill(flags | one)) === undefined) wrong.push({ validWith: one, row })
        if ((flags & one) !== 0 && trim(flags & ~one) !== flags && verifyTx(tx, prevouts, trim(flags & ~one)) !== undefined)
          wrong.push({ invalidWithout: one, row })
      }
    }
    expect(wrong).toEqual([])
    expect(count).toBeGreaterThan(80)
  })
})

describe('B4: limits of the stack and of items', () => {
  const full = (count: number) => Array.from({ length: count }, () => '1').join(' ')
  it('runs OP_NIP, OP_SWAP, OP_DROP on a stack of 1000 items', () => {
    for (const word of ['NIP', 'SWAP', 'DROP', 'ROT', '2SWAP', '2DROP', '16 ROLL DROP', 'TOALTSTACK'])
      expect(run(full(word.startsWith('16') ? 999 : 1000), word, VERIFY.P2SH)).toBe('OK')
  })
  it('refuses the item after the thousandth, altstack included', () => {
    expect(run(full(1000), 'DUP', VERIFY.P2SH)).toBe('STACK_SIZE')
    expect(run(full(1000), 'OVER', VERIFY.P2SH)).toBe('STACK_SIZE')
    expect(run(full(1000), 'TUCK', VERIFY.P2SH)).toBe('STACK_SIZE')
    expect(run(full(1000), 'TOALTSTACK 1 1', VERIFY.P2SH)).toBe('STACK_SIZE')
  })
  it('refuses OP_NIP on fewer than two items', () => {
    expect(run('1', 'NIP')).toBe('INVALID_STACK_OPERATION')
    expect(run('', 'NIP')).toBe('INVALID_STACK_OPERATION')
  })
  it('takes 520 bytes and refuses 521', () => {
    expect(run(`0x4d0802 0x${'01'.repeat(520)}`, 'DROP 1', VERIFY.P2SH)).toBe('OK')
    expect(run(`0x4d0902 0x${'01'.repeat(521)}`, 'DROP 1', VERIFY.P2SH)).toBe('PUSH_SIZE')
  })
})

describe('B2: a version is a uint32', () => {
  const withVersion = (version: number) => {
    const [tx, output] = spend(new Uint8Array(0), scriptFromText('1 CHECKSEQUENCEVERIFY'), [], 0n)
    const spending: Tx = { ...tx, version, inputs: [{ ...tx.inputs[0]!, sequence: 1 }] }
    return (
      verifyInput({ tx: decodeTx(encodeTx(spending)), inputIndex: 0, prevouts: [output], flags: MANDATORY_SCRIPT_FLAGS }) ?? 'OK'
    )
  }
  it('version 0xffffffff is not less than 2: OP_CHECKSEQUENCEVERIFY can pass', () => {
    expect(withVersion(0xffffffff)).toBe('OK')
    expect(withVersion(2)).toBe('OK')
    expect(withVersion(1)).toBe('UNSATISFIED_LOCKTIME')
  })
})

describe('B3: any bytes', () => {
  /** Bytes that are mostly opcodes, so that runs go deep. */
  const script = fc.array(fc.oneof(fc.integer({ min: 0x4f, max: 0xba }), fc.nat(255), fc.constantFrom(0, 1, 2)), {
    maxLength: 40,
  })
  const witness = fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 5 })
  const programs = fc.oneof(
    script.map((bytes) => Uint8Array.from(bytes)),
    fc.uint8Array({ minLength: 32, maxLength: 32 }).map((program) => Uint8Array.of(0x51, 32, ...program)),
    fc.uint8Array({ minLength: 20, maxLength: 20 }).map((program) => Uint8Array.of(0, 20, ...program)),
  )
  it('property: every script ends in an error or in success, the same each time, and no added flag repairs a failure', () => {
    const holds = (sig: number[], pub: Uint8Array, items: Uint8Array[], bits: number, more: number): boolean => {
      const [tx, output] = spend(Uint8Array.from(sig), pub, items, 1n)
      const verify = (flags: number) => verifyInput({ tx, inputIndex: 0, prevouts: [output], flags })
      const flags = fill(bits & ALL_FLAGS)
      const result = verify(flags)
      if (verify(flags) !== result) return false
      return result === undefined || verify(fill(flags | (more & ALL_FLAGS))) !== undefined
    }
    const property = fc.property(script, programs, witness, fc.nat(), fc.nat(), holds)
    expect(() => fc.assert(property, { numRuns: 2000 })).not.toThrow()
  })
  it('property: P2WSH runs any script as any other', () => {
    const holds = (bytes: number[], items: Uint8Array[]): boolean => {
      const inner = Uint8Array.from(bytes)
      const [tx, output] = spend(new Uint8Array(0), p2wshOf(inner), [...items, inner], 1n)
      const result = verifyInput({ tx, inputIndex: 0, prevouts: [output], flags: MANDATORY_SCRIPT_FLAGS })
      return result === undefined || /^[A-Z_0-9]+$/.test(result)
    }
    expect(() => fc.assert(fc.property(script, witness, holds), { numRuns: 500 })).not.toThrow()
  })
})

describe('use', () => {
  it('needs every spent output', () => {
    const [tx] = spend(new Uint8Array(0), new Uint8Array(0), [], 0n)
    expect(() => verifyInput({ tx, inputIndex: 0, prevouts: [], flags: 0 })).toThrow(RangeError)
    expect(() => verifyInput({ tx, inputIndex: 1, prevouts: [], flags: 0 })).toThrow(RangeError)
  })
  it('refuses flags that need others', () => {
    expect(() => run('1', '1', VERIFY.WITNESS)).toThrow(RangeError)
  })
})
