import { pointFromSecret } from '@leyden/crypto'
import { describe, expect, it } from 'vitest'
import { blockToSign, signBlock, signBlockPsbt, solveBlock } from './block-signing.ts'
import { merkleRoot, witnessCommitment, witnessCommitmentScript, type Block } from './block.ts'
import { checkSignetSolution } from './consensus/signet.ts'
import { Txid, ZERO_HASH } from './ids.ts'
import { customSignet, type Network } from './networks.ts'
import { combinePsbts, psbtFromBase64, psbtToBase64 } from './psbt.ts'
import { buildScript, multisigScript, OP, p2pkhOf, p2wpkhOf, p2wshOf } from './script.ts'
import { NULL_VOUT, SEQUENCE_FINAL, txid, wtxid, type Tx } from './tx.ts'
import { Sat } from './units.ts'

const SECRETS = [1, 2, 3].map((n) => new Uint8Array(32).fill(n)) as [Uint8Array, Uint8Array, Uint8Array]
const POINTS = SECRETS.map(pointFromSecret) as [Uint8Array, Uint8Array, Uint8Array]
const TWO_OF_THREE = multisigScript(2, POINTS)
const network = customSignet(TWO_OF_THREE)

const RESERVED = new Uint8Array(32)
const coinbase: Tx = {
  version: 2,
  inputs: [
    {
      outpoint: { txid: Txid(ZERO_HASH), vout: NULL_VOUT },
      scriptSig: Uint8Array.of(0x51, 0x51),
      sequence: SEQUENCE_FINAL,
      witness: [RESERVED],
    },
  ],
  outputs: [
    { value: Sat(5n), scriptPubKey: Uint8Array.of(OP.OP_TRUE) },
    { value: Sat(0n), scriptPubKey: new Uint8Array(0) },
  ],
  lockTime: 0,
}
const committed: Tx = {
  ...coinbase,
  outputs: [
    coinbase.outputs[0]!,
    { value: Sat(0n), scriptPubKey: witnessCommitmentScript(witnessCommitment([wtxid(coinbase)], RESERVED)) },
  ],
}
const block: Block = {
  header: { ...network.genesis.header, merkleRoot: merkleRoot([txid(committed)]), time: 1_700_000_000 },
  transactions: [committed],
}
const otherBlock: Block = { ...block, header: { ...block.header, time: block.header.time + 1 } }

describe('a block on a ledger with a challenge of 2 of 3', () => {
  it('is solved by any two, each signing a PSBT of its own that travels as text', () => {
    const asked = blockToSign(block, network)
    const text = psbtToBase64(asked.psbt)
    for (const pair of [
      [0, 1],
      [0, 2],
      [2, 1],
    ] as const) {
      const [first, second] = pair.map((i) => signBlockPsbt(psbtFromBase64(text), [SECRETS[i]!])) as [
        typeof asked.psbt,
        typeof asked.psbt,
      ]
      expect(solveBlock(block, first, network)).toBe('missing_signature')
      const solved = solveBlock(asked.block, combinePsbts(first, second), network) as Block
      expect(checkSignetSolution(solved, network)).toBe(true)
      expect(solved.header.merkleRoot).toBe(merkleRoot(solved.transactions.map(txid)))
    }
  })

  it('is not solved by one key, by strangers, or by signatures of another block', () => {
    expect(signBlock(block, [SECRETS[0]], network)).toBeUndefined()
    expect(signBlock(block, [SECRETS[0], new Uint8Array(32).fill(9)], network)).toBeUndefined()
    const { psbt } = blockToSign(otherBlock, network)
    expect(solveBlock(block, signBlockPsbt(psbt, SECRETS), network)).toBe('other_block')
    expect(checkSignetSolution(block, network)).toBe(false)
  })

  it('is bound in version, previous block, transactions and time, and free in nonce and bits', () => {
    const solved = signBlock(block, SECRETS, network) as Block
    const judge = (changes: Partial<Block['header']>): boolean =>
      checkSignetSolution({ ...solved, header: { ...solved.header, ...changes } }, network)
    expect([judge({}), judge({ nonce: 7 }), judge({ bits: 0x207fffff })]).toEqual([true, true, true])
    expect([judge({ version: 5 }), judge({ time: 9 }), judge({ previousHash: solved.header.merkleRoot as never })]).toEqual([
      false,
      false,
      false,
    ])
    const [first] = solved.transactions as [Tx]
    const greedy = { ...first, outputs: [{ ...first.outputs[0]!, value: Sat(6n) }, first.outputs[1]!] }
    expect(checkSignetSolution({ ...solved, transactions: [greedy] }, network)).toBe(false)
  })
})

describe('a challenge', () => {
  const kinds: Readonly<Record<string, Uint8Array>> = {
    key: buildScript(POINTS[0], OP.OP_CHECKSIG),
    'hash of a key': p2pkhOf(POINTS[0]),
    'witness hash of a key': p2wpkhOf(POINTS[0]),
    'one of two': multisigScript(1, [POINTS[1], POINTS[0]]),
  }
  it.each(Object.entries(kinds))('may be a %s', (_, challenge) => {
    const own: Network = customSignet(challenge)
    const solved = signBlock(block, [SECRETS[0]], own)
    expect(solved !== undefined && checkSignetSolution(solved, own)).toBe(true)
    expect(signBlock(block, [SECRETS[2]], own)).toBeUndefined()
  })

  it('may ask for nothing', () => {
    expect(signBlock(block, [], customSignet(Uint8Array.of(OP.OP_TRUE)))).toBe(block)
  })

  it('may be a script hash, whose script the PSBT holds', () => {
    const own = customSignet(p2wshOf(TWO_OF_THREE))
    const { psbt } = blockToSign(block, own)
    expect(signBlockPsbt(psbt, SECRETS)).toEqual(psbt)
    const known = { ...psbt, inputs: [{ ...psbt.inputs[0]!, witnessScript: TWO_OF_THREE }] }
    const solved = solveBlock(block, signBlockPsbt(known, SECRETS), own) as Block
    expect(checkSignetSolution(solved, own)).toBe(true)
  })
})
