/**
 * The closing transaction and its fee follow from BOLT 3; there are no vectors. Signatures are run through the script interpreter in
 * onchain tests.
 */
import { bytesToHex } from '@leyden/codec'
import { FeeratePerKw, outputLength, p2tr, p2wpkh, Sat, Txid, type Tx } from '@leyden/bitcoin'
import { describe, expect, test } from 'vitest'
import { closingFee, closingWeight, legacyClosing, simpleClosing } from './closing-tx.ts'

const outpoint = { txid: Txid('11'.repeat(32)), vout: 1 }
const a = p2wpkh(new Uint8Array(20).fill(1))
const b = p2wpkh(new Uint8Array(20).fill(2))
const outputsOf = (tx: Tx | undefined) => tx?.outputs.map(({ value, scriptPubKey }) => [value, bytesToHex(scriptPubKey)])

describe('legacy closing transaction', () => {
  const build = (openerMsat: bigint, accepterMsat: bigint, feeSat: bigint) =>
    legacyClosing({
      outpoint,
      opener: { msat: openerMsat, scriptPubKey: b },
      accepter: { msat: accepterMsat, scriptPubKey: a },
      feeSat: Sat(feeSat),
      dustLimitSat: Sat(546n),
    })

  test('rounds down, the opener pays, outputs in order', () => {
    const tx = build(50_000_999n, 49_000_001n, 1_000n)
    expect(outputsOf(tx)).toEqual([
      [49_000n, bytesToHex(a)],
      [49_000n, bytesToHex(b)],
    ])
    expect(tx).toMatchObject({ version: 2, lockTime: 0, inputs: [{ outpoint, sequence: 0xffff_ffff }] })
  })
  test('leaves out what is below the dust limit, keeps what equals it', () => {
    expect(outputsOf(build(1_545_000n, 546_000n, 1_000n))).toEqual([[546n, bytesToHex(a)]])
    expect(outputsOf(build(1_546_000n, 545_999n, 1_000n))).toEqual([[546n, bytesToHex(b)]])
  })
  test('an opener that cannot pay the fee has no closing transaction', () => {
    expect(build(999_999n, 50_000_000n, 1_000n)).toBeUndefined()
    expect(build(1_000_000n, 545_000n, 1_000n)).toBeUndefined()
  })
})

describe('closing transaction of option_simple_close', () => {
  const opReturn = Uint8Array.of(0x6a, 6, 1, 2, 3, 4, 5, 6)
  const build = (outputs: Parameters<typeof simpleClosing>[0]['outputs'], closerScript = b) =>
    simpleClosing({
      outpoint,
      closer: { msat: 50_000_999n, scriptPubKey: closerScript },
      closee: { msat: 20_000_999n, scriptPubKey: a },
      feeSat: Sat(1_000n),
      lockTime: 700_000,
      outputs,
    })
  test('the closer pays; sequence and locktime as given', () => {
    const tx = build('closer_and_closee_outputs')
    expect(outputsOf(tx)).toEqual([
      [20_000n, bytesToHex(a)],
      [49_000n, bytesToHex(b)],
    ])
    expect(tx).toMatchObject({ version: 2, lockTime: 700_000, inputs: [{ sequence: 0xffff_fffd }] })
  })
  test('one output', () => {
    expect(outputsOf(build('closer_output_only'))).toEqual([[49_000n, bytesToHex(b)]])
    expect(outputsOf(build('closee_output_only'))).toEqual([[20_000n, bytesToHex(a)]])
  })
  test('an OP_RETURN output holds nothing', () => {
    expect(outputsOf(build('closer_and_closee_outputs', opReturn))).toEqual([
      [0n, bytesToHex(opReturn)],
      [20_000n, bytesToHex(a)],
    ])
  })
})

test('closing weight counts the scripts', () => {
  const script = p2tr(new Uint8Array(32))
  expect(closingWeight([a, b])).toBe(closingWeight([]) + 2 * 4 * outputLength({ value: Sat(0n), scriptPubKey: a }))
  expect(closingFee(FeeratePerKw(1_000), [a, script])).toBe(BigInt(closingWeight([a, script])))
  // a P2WPKH pair, as BOLT 3 counts signatures (73 bytes)
  expect(closingWeight([a, b])).toBe(676)
})
