import { describe, expect, it } from 'vitest'
import { networks, txid, type Tx, type Txid } from '@leyden/bitcoin'
import { Disk, memoryStore } from '@leyden/runtime'
import { createLedgerEngine, GenerateError, type LedgerEngine, type LedgerEngineOptions } from './engine.ts'
import { FileDisk } from './memory-directory.ts'
import { ANYONE, outputOf, pay, virtualClock } from './testing.ts'

const SUBSIDY = 5_000_000_000n

/** Rows and block files that outlive an engine. */
const machine = () => {
  const [disk, files, clock] = [new Disk(), new FileDisk(), virtualClock()]
  const start = (options: Partial<LedgerEngineOptions> = {}): Promise<LedgerEngine> =>
    createLedgerEngine({ store: memoryStore(disk), directory: files.open(), network: networks.regtest, clock, ...options })
  return { start, clock }
}
const funded = async (engine: LedgerEngine): Promise<Tx[]> => {
  const hashes = await engine.generateToAddress(110, ANYONE)
  const blocks = await Promise.all(hashes.slice(0, 8).map((hash) => engine.blockByHash(hash)))
  return blocks.map((block) => block?.transactions[0] as Tx)
}
const spend = (coinbase: Tx, fee = 1000n, outputs = 1): Tx => {
  const share = (SUBSIDY - fee) / BigInt(outputs)
  return pay(
    [outputOf(coinbase)],
    Array.from({ length: outputs }, () => share),
  )
}
const ids = (engine: LedgerEngine): Txid[] => engine.mempool().map(txid)

describe('a restart', () => {
  it('keeps what waits, since when, what was added to fees, and what no peer has asked for', async () => {
    const { start, clock } = machine()
    const engine = await start()
    const [first, second, third] = (await funded(engine)).slice(0, 3).map((coinbase) => spend(coinbase)) as [Tx, Tx, Tx]
    await engine.submitTransaction(first, { local: true })
    clock.advance(60_000)
    await engine.submitTransaction(second, { local: true })
    engine.reached(txid(second))
    await engine.prioritise(txid(second), 5000n)
    await engine.prioritise(txid(third), -300n)
    const before = [...engine.pool.entries.values()].map(({ txid: id, time, height }) => [id, time, height])
    await engine.close()
    const again = await start()
    expect([...again.pool.entries.values()].map(({ txid: id, time, height }) => [id, time, height])).toEqual(before)
    expect([...again.pool.unbroadcast]).toEqual([txid(first)])
    expect(again.pool.entries.get(txid(second))?.modifiedFee).toBe(6000n)
    await again.submitTransaction(third)
    expect(again.pool.entries.get(txid(third))?.modifiedFee).toBe(700n)
  })

  it('keeps a parent that pays nothing with the child that pays for both', async () => {
    const { start } = machine()
    const engine = await start()
    const [coinbase] = (await funded(engine)) as [Tx]
    const parent = pay([outputOf(coinbase)], [SUBSIDY], { version: 3 })
    const child = pay([outputOf(parent)], [SUBSIDY - 5000n], { version: 3 })
    expect((await engine.submitPackage([parent, child])).problem).toBe(undefined)
    await engine.close()
    expect(ids(await start())).toEqual([txid(parent), txid(child)])
    const dear = await start({ policy: { minRelayFeeratePerKvb: 100_000 } })
    expect(ids(dear)).toEqual([])
  })

  it('forgets all of it when it is told to', async () => {
    const { start } = machine()
    const engine = await start({ persistMempool: false })
    const [coinbase] = (await funded(engine)) as [Tx]
    await engine.submitTransaction(spend(coinbase))
    await engine.close()
    expect(ids(await start({ persistMempool: false }))).toEqual([])
    expect(ids(await start())).toEqual([])
  })
})

describe('a lost block', () => {
  it('gives back what it held, linked with what stands on it', async () => {
    const engine = await machine().start()
    const [coinbase] = (await funded(engine)) as [Tx]
    const parent = spend(coinbase, 1000n, 2)
    await engine.submitTransaction(parent)
    const [mined] = await engine.generateToAddress(1, ANYONE)
    const child = pay([outputOf(parent)], [2_000_000_000n])
    await engine.submitTransaction(child)
    expect(engine.pool.entries.get(txid(child))?.ancestorCount).toBe(1)
    await engine.invalidateBlock(mined as never)
    expect(ids(engine)).toEqual([txid(parent), txid(child)])
    expect(engine.pool.entries.get(txid(child))).toMatchObject({ ancestorCount: 2 })
    expect(engine.pool.entries.get(txid(parent))).toMatchObject({ descendantCount: 2, sequence: 0 })
  })

  it('takes along what stood on a transaction that another has replaced', async () => {
    const { start } = machine()
    const engine = await start()
    const [coinbase] = (await funded(engine)) as [Tx]
    const parent = spend(coinbase, 1000n, 2)
    await engine.submitTransaction(parent)
    const fork = engine.tipEntry().hash
    await engine.generateToAddress(1, ANYONE)
    const child = pay([outputOf(parent)], [2_000_000_000n])
    await engine.submitTransaction(child)
    await engine.invalidateBlock(engine.tipEntry().hash)
    const rival = spend(coinbase, 2000n)
    await engine.generateBlock(ANYONE, [rival])
    expect(engine.tipEntry().parent?.hash).toBe(fork)
    expect(ids(engine)).toEqual([])
  })
})

describe('blocks of ours', () => {
  it('are tested before they are worked for', async () => {
    const engine = await machine().start()
    const [coinbase] = (await funded(engine)) as [Tx]
    const greedy = pay([outputOf(coinbase)], [SUBSIDY + 1n])
    await expect(engine.generateBlock(ANYONE, [greedy])).rejects.toThrow(
      new GenerateError(`testBlockValidity failed: bad-txns-in-belowout, tx ${txid(greedy)}`),
    )
    const { block } = await engine.template(ANYONE)
    expect(await engine.testBlock(block)).toBe(undefined)
    const late = { ...block, header: { ...block.header, time: block.header.time + 8000 } }
    expect((await engine.testBlock(late))?.reason).toBe('time-too-new')
    expect(
      (await engine.testBlock({ ...block, header: { ...block.header, previousHash: block.header.merkleRoot as never } }))?.reason,
    ).toBe('inconclusive-not-best-prevblk')
  })

  it('stop when the hashes that were allowed are spent', async () => {
    const engine = await machine().start()
    expect(await engine.generateToAddress(3, ANYONE, { maxTries: 0 })).toEqual([])
    expect(engine.lastMade()).toEqual({ weight: 4000, count: 0 })
  })
})

describe('who watches the mempool', () => {
  it('is told of what enters and leaves, with the count of changes', async () => {
    const engine = await machine().start()
    const [coinbase] = (await funded(engine)) as [Tx]
    const seen: string[] = []
    const end = engine.watchMempool({
      added: (entry, sequence) => void seen.push(`${sequence} + ${entry.fee}`),
      removed: (entry, reason, sequence) => void seen.push(`${sequence} - ${entry.fee} ${reason}`),
    })
    await engine.submitTransaction(spend(coinbase, 1000n))
    await engine.submitTransaction(spend(coinbase, 9000n))
    await engine.generateToAddress(1, ANYONE)
    end()
    expect(seen).toEqual(['1 + 1000', '2 - 1000 replaced', '3 + 9000', '4 - 9000 block'])
  })
})
