import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { merkleRoot, type Block } from './block.ts'
import { networks } from './networks.ts'
import { decodeMerkleProof, encodeMerkleProof } from './partial-merkle.ts'
import { txid } from './tx.ts'

const [coinbase] = networks.regtest.genesis.transactions
const blockOf = (count: number): Block => {
  const transactions = Array.from({ length: count }, (_, lockTime) => ({ ...coinbase!, lockTime }))
  return { header: { ...networks.regtest.genesis.header, merkleRoot: merkleRoot(transactions.map(txid)) }, transactions }
}

describe('merkle proofs', () => {
  it('name exactly what they were made for, and break with any changed byte behind the header', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.infiniteStream(fc.boolean()), fc.nat(), (count, picks, at) => {
        const block = blockOf(count)
        const wanted = block.transactions.map(txid).filter(() => picks.next().value)
        const proof = encodeMerkleProof(block, new Set(wanted))
        expect(decodeMerkleProof(proof)).toEqual({ header: block.header, count, txids: wanted })
        const broken = proof.slice()
        broken[84 + (at % (proof.length - 84))]! ^= 1
        let answer: unknown
        try {
          answer = decodeMerkleProof(broken)
        } catch {
          return
        }
        expect(answer).not.toEqual({ header: block.header, count, txids: wanted })
      }),
      { numRuns: 60 },
    )
  })

  it('of a real block without a wanted transaction is its root alone', () => {
    const proof = encodeMerkleProof(networks.regtest.genesis, new Set())
    expect(proof).toHaveLength(80 + 4 + 1 + 32 + 1 + 1)
    expect(decodeMerkleProof(proof)?.txids).toEqual([])
  })
})
