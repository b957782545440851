import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { networks, p2wshOf, type Block, type BlockHash } from '@leyden/bitcoin'
import { Disk, memoryStore } from '@leyden/runtime'
import { createLedgerEngine, type LedgerEngine } from './engine.ts'
import { FileDisk } from './memory-directory.ts'
import { ANYONE, virtualClock } from './testing.ts'

const network = networks.regtest
type Place = { readonly disk: Disk; readonly files: FileDisk }
const emptyPlace = (): Place => ({ disk: new Disk(), files: new FileDisk() })
const openOn = ({ disk, files }: Place): Promise<LedgerEngine> =>
  createLedgerEngine({ store: memoryStore(disk), directory: files.open(), network, clock: virtualClock() })

/** So many blocks of another ledger, on this one's genesis. */
const minedElsewhere = async (count: number, tag = 2): Promise<Block[]> => {
  const other = await openOn(emptyPlace())
  const hashes: BlockHash[] = await other.generateToAddress(count, p2wshOf(Uint8Array.of(0x50 + tag)))
  return Promise.all(hashes.map(async (hash) => (await other.blockByHash(hash))!))
}
const headersOf = (blocks: readonly Block[]) => blocks.map(({ header }) => header)

describe('blocks that come before their parents', () => {
  it('are kept, and follow when those have come, in whatever order that is', async () => {
    const blocks = await minedElsewhere(8)
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray(blocks, { minLength: 8 }), async (order) => {
        const engine = await openOn(emptyPlace())
        engine.submitHeaders(headersOf(blocks))
        for (const block of order) expect((await engine.submitBlock(block)).status).not.toBe('rejected')
        await engine.settled()
        expect(engine.tip().height).toBe(8)
      }),
      { numRuns: 20 },
    )
  })

  it('can be read before they follow, are known when they come again, and outlive a restart', async () => {
    const [first, second, third] = (await minedElsewhere(3)) as [Block, Block, Block]
    const disk = emptyPlace()
    const engine = await openOn(disk)
    engine.submitHeaders(headersOf([first, second, third]))
    expect(await engine.submitBlock(third)).toEqual({ status: 'side' })
    expect(await engine.submitBlock(third)).toEqual({ status: 'duplicate' })
    expect(await engine.submitBlock(second)).toEqual({ status: 'side' })
    expect(engine.tip().height).toBe(0)
    const entry = engine.headerByHash(second.header.previousHash)!
    expect(engine.blockData(entry as never)).toBe('missing')
    await engine.close()
    const again = await openOn(disk)
    expect(again.tip().height).toBe(0)
    expect(await again.submitBlock(first)).toEqual({ status: 'connected' })
    expect(again.tip().height).toBe(3)
    await again.close()
    expect((await openOn(disk)).tip().height).toBe(3)
  })

  it('do not follow a parent that breaks a rule', async () => {
    const blocks = await minedElsewhere(3)
    const [first, second] = blocks as [Block, Block, Block]
    const engine = await openOn(emptyPlace())
    engine.submitHeaders(headersOf(blocks))
    expect(await engine.submitBlock(second)).toEqual({ status: 'side' })
    const own = await engine.generateToAddress(1, ANYONE)
    await engine.invalidateBlock(second.header.previousHash)
    expect(await engine.submitBlock(first)).toMatchObject({ status: 'rejected' })
    await engine.settled()
    expect(engine.tip().hash).toBe(own[0])
  })
})
