import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { DecodeError, equalBytes, hexToBytes, Reader } from '@leyden/codec'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  blockHash,
  blockTotalSize,
  blockWeight,
  decodeBlock,
  decodeHeader,
  encodeBlock,
  encodeHeader,
  merkleBranch,
  merkleRoot,
  merkleRootFromBranch,
  merkleTree,
} from './block.ts'
import { checkBlock, checkBlockAt, checkMerkleRoot, checkWitnessCommitment, isMutation } from './consensus/block.ts'
import { scriptFlagsAt } from './consensus/rules.ts'
import { sigOpsCost } from './consensus/tx.ts'
import { hashFromHex } from './ids.ts'
import { verifyTx } from './interpreter.ts'
import { chainHash, customNetwork, networks } from './networks.ts'
import { readOutput, txid, txTotalSize, wtxid, type TxOutput } from './tx.ts'

const root = process.env['LEYDEN_VECTORS'] ?? fileURLToPath(new URL('../../../../shared/vectors', import.meta.url))
const absent = !existsSync(`${root}/blocks`)
if (absent) process.stderr.write('block vectors skipped: no LEYDEN_VECTORS\n')
const load = (name: string): Uint8Array => new Uint8Array(readFileSync(`${root}/blocks/${name}.raw`))

/** testnet3, where some of the blocks come from: testnet4's parameters without BIP 94. */
const testnet3 = customNetwork(networks.testnet4, { name: 'testnet3', magic: hexToBytes('0b110907'), enforceBip94: false })

const undoOf = (name: string): TxOutput[] => {
  const r = new Reader(load(`${name}-undo`))
  const outputs: TxOutput[] = []
  while (r.remaining > 0) outputs.push(readOutput(r))
  return outputs
}

describe.skipIf(absent)('raw blocks (skipped without LEYDEN_VECTORS)', () => {
  it.each([
    ['block300025', networks.mainnet, 300_025],
    ['block426884', networks.mainnet, 426_884],
    ['block482683', networks.mainnet, 482_683],
    ['block898352', testnet3, 898_352],
    ['block928816', testnet3, 928_816],
    ['block928848', testnet3, 928_848],
    ['block1087400', testnet3, 1_087_400],
  ] as const)('B1: %s decodes, encodes to the same bytes and passes every check', (name, network, height) => {
    const bytes = load(name)
    const block = decodeBlock(bytes)
    expect(equalBytes(encodeBlock(block), bytes)).toBe(true)
    // Copies know nothing of the bytes they came from
    const copy = { ...block, transactions: block.transactions.map((tx) => ({ ...tx })) }
    expect(equalBytes(encodeBlock(copy), bytes)).toBe(true)
    expect(blockTotalSize(copy)).toBe(bytes.length)
    expect(blockWeight(copy)).toBe(blockWeight(block))
    expect(copy.transactions.map(wtxid)).toEqual(block.transactions.map(wtxid))
    expect(blockTotalSize(block)).toBe(bytes.length)
    expect(merkleRoot(block.transactions.map(txid))).toBe(block.header.merkleRoot)
    expect(checkBlock(block, network)).toBeUndefined()
    expect(checkBlockAt(block, network, { height, medianTimePast: block.header.time })).toBeUndefined()
    expect(decodeHeader(encodeHeader(block.header))).toEqual(block.header)
  })

  it.each([
    ['block300025', networks.mainnet, 300_025],
    ['block928816', testnet3, 928_816],
    ['block928848', testnet3, 928_848],
    ['block1087400', testnet3, 1_087_400],
  ] as const)('%s: every script passes against the outputs that it spends', (name, network, height) => {
    const block = decodeBlock(load(name))
    const spent = undoOf(name)
    const flags = scriptFlagsAt(network, height, blockHash(block.header))
    let at = 0
    let cost = 0
    const failures: unknown[] = []
    for (const tx of block.transactions.slice(1)) {
      const prevouts = spent.slice(at, (at += tx.inputs.length))
      cost += sigOpsCost(tx, prevouts, flags)
      const failure = verifyTx(tx, prevouts, flags)
      if (failure !== undefined) failures.push({ txid: txid(tx), ...failure })
    }
    expect(failures).toEqual([])
    expect(at).toBe(spent.length)
    expect(cost).toBeLessThanOrEqual(80_000)
  })
})

describe('genesis', () => {
  it.each([
    ['mainnet', '000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f'],
    ['testnet4', '00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043'],
    ['signet', '00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6'],
    ['regtest', '0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206'],
  ] as const)('%s has its known hash and is a valid block', (name, hash) => {
    const network = networks[name]
    expect(blockHash(network.genesis.header)).toBe(hash)
    expect(checkBlock(network.genesis, network)).toBeUndefined()
    expect(chainHash(network)).toEqual(hashFromHex(hash))
  })
  it('signet: the magic follows from the challenge', () => {
    expect(networks.signet.magic).toEqual(hexToBytes('0a03cf40'))
  })
})

describe('B5: repeated transactions (CVE-2012-2459)', () => {
  const block = networks.regtest.genesis
  const leaf = (n: number) => new Uint8Array(32).fill(n)

  it('a list with its tail repeated has the same root and is called mutated', () => {
    const short = [1, 2, 3, 4, 5, 6].map(leaf)
    const long = [1, 2, 3, 4, 5, 6, 5, 6].map(leaf)
    expect(merkleTree(long).root).toEqual(merkleTree(short).root)
    expect(merkleTree(short).mutated).toBe(false)
    expect(merkleTree(long).mutated).toBe(true)
  })
  it('such a block is refused as a mutation: its hash is not condemned', () => {
    const mutated = { ...block, transactions: [block.transactions[0]!, block.transactions[0]!] }
    const rooted = { ...mutated, header: { ...block.header, merkleRoot: merkleRoot(mutated.transactions.map(txid)) } }
    expect(checkMerkleRoot(rooted)).toBe('bad-txns-duplicate')
    expect(isMutation('bad-txns-duplicate')).toBe(true)
    expect(isMutation('bad-txnmrklroot')).toBe(true)
    expect(isMutation('bad-cb-missing')).toBe(false)
  })
  it('a branch proves a leaf at its index, and no position that does not exist', () => {
    const leaves = [1, 2, 3].map(leaf)
    const { root: expected } = merkleTree(leaves)
    for (const [index, one] of leaves.entries())
      expect(merkleRootFromBranch(one, index, merkleBranch(leaves, index))).toEqual(expected)
    // Position 3 would be the duplicate of leaf 2: its left sibling is itself
    expect(merkleRootFromBranch(leaves[2]!, 3, merkleBranch(leaves, 2))).toBeUndefined()
    expect(merkleRootFromBranch(leaves[0]!, 4, merkleBranch(leaves, 0))).toBeUndefined()
  })
  it('property: branches of any list lead to its root', () => {
    const lists = fc.uniqueArray(fc.uint8Array({ minLength: 32, maxLength: 32 }), {
      minLength: 1,
      maxLength: 20,
      selector: String,
    })
    const holds = (leaves: Uint8Array[]): boolean => {
      const { root: expected } = merkleTree(leaves)
      return leaves.every((one, i) => String(merkleRootFromBranch(one, i, merkleBranch(leaves, i))) === String(expected))
    }
    expect(() => fc.assert(fc.property(lists, holds), { numRuns: 30 })).not.toThrow()
  })
})

describe('bytes that are no block', () => {
  it('refuses a truncated block, a long one, and a count that cannot fit', () => {
    const bytes = encodeBlock(networks.regtest.genesis)
    for (const bad of [
      bytes.slice(0, -1),
      Uint8Array.of(...bytes, 0),
      Uint8Array.of(...bytes.slice(0, 80), 0xfe, 0xff, 0xff, 0xff, 0x7f),
    ])
      expect(() => decodeBlock(bad)).toThrow(DecodeError)
  })
  it('refuses witness data without a commitment', () => {
    const { header, transactions } = networks.regtest.genesis
    const [coinbase] = transactions
    const withWitness = { ...coinbase!, inputs: [{ ...coinbase!.inputs[0]!, witness: [new Uint8Array(32)] }] }
    expect(checkWitnessCommitment({ header, transactions: [withWitness] }, true)).toBe('unexpected-witness')
    expect(checkWitnessCommitment({ header, transactions }, true)).toBeUndefined()
  })
  it('weight counts witness bytes once and others four times', () => {
    const block = networks.regtest.genesis
    expect(blockWeight(block)).toBe(4 * encodeBlock(block).length)
    expect(txTotalSize(block.transactions[0]!)).toBe(encodeBlock(block).length - 81)
  })
})
