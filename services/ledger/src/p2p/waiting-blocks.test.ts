import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { blockHash, networks, type Block, type BlockHash } from '@leyden/bitcoin'
import { createWaitingBlocks } from './waiting-blocks.ts'

const { genesis } = networks.regtest
const GENESIS = blockHash(genesis.header)
const chain = (count: number): Block[] => {
  const blocks: Block[] = []
  let previousHash = GENESIS
  for (let i = 0; i < count; i++) {
    const block = { header: { ...genesis.header, previousHash, time: i }, transactions: genesis.transactions }
    blocks.push(block)
    previousHash = blockHash(block.header)
  }
  return blocks
}
const hashes = (blocks: readonly Block[]): BlockHash[] => blocks.map(({ header }) => blockHash(header))

describe('blocks on their way into the chain', () => {
  it('come out in the order of the chain, each once, in whatever order they came', () => {
    const blocks = chain(12)
    fc.assert(
      fc.property(fc.shuffledSubarray(blocks, { minLength: 12 }), (order) => {
        const waiting = createWaitingBlocks()
        const stored = new Set([GENESIS])
        const taken: BlockHash[] = []
        for (const block of order) {
          waiting.add(block, 1)
          for (const { hash } of waiting.ready((parent) => stored.has(parent))) taken.push(hash)
        }
        expect(taken).toEqual(hashes(blocks))
        for (const hash of taken) waiting.settled(hash, false)
        expect(hashes(blocks).some((hash) => waiting.has(hash))).toBe(false)
      }),
    )
  })

  it('go several at once, before the chain has answered for the first', () => {
    const waiting = createWaitingBlocks()
    const [first, second] = chain(2) as [Block, Block]
    waiting.add(first, 1)
    expect(waiting.ready((parent) => parent === GENESIS)).toHaveLength(1)
    waiting.add(second, 2)
    expect(waiting.isTaking(blockHash(first.header))).toBe(true)
    expect(waiting.ready(() => false).map(({ peer }) => peer)).toEqual([2])
  })

  it('are given up with what they stand on', () => {
    const waiting = createWaitingBlocks()
    const blocks = chain(4)
    waiting.add(blocks[0]!, 1)
    waiting.ready((parent) => parent === GENESIS)
    waiting.add(blocks[2]!, 1)
    waiting.add(blocks[3]!, 1)
    waiting.add(blocks[1]!, 1)
    waiting.settled(hashes(blocks)[0]!, true)
    expect(hashes(blocks).filter((hash) => waiting.has(hash))).toEqual([])
  })
})
