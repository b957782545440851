import { describe, expect, it } from 'vitest'
import { networks } from '@leyden/bitcoin'
import { memoryStore } from '@leyden/runtime'
import { createLedgerEngine } from './engine.ts'
import { ANYONE, pay, outputOf, virtualClock } from './testing.ts'

describe('generate', () => {
  it('mines 150 blocks', async () => {
    const engine = await createLedgerEngine({ store: memoryStore(), network: networks.regtest, clock: virtualClock() })
    const hashes = await engine.generateToAddress(150, ANYONE)
    expect(hashes).toHaveLength(150)
    expect(engine.tip()).toEqual({ height: 150, hash: hashes.at(-1) })
    const block = await engine.blockByHash(hashes[0]!)
    const tx = pay([outputOf(block!.transactions[0]!)], [49_9999_0000n])
    expect((await engine.submitTransaction(tx)).status).toBe('accepted')
    await engine.generateToAddress(1, ANYONE)
    expect(engine.mempool()).toEqual([])
  })
})
