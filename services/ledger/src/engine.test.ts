import { describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { bytesToHex } from '@leyden/codec'
import { blockHash, merkleRoot, networks, p2wshOf, txid, type Block, type BlockHash, type Coin, type Tx } from '@leyden/bitcoin'
import { inProcessChain, type ChainEvent } from '@leyden/link'
import { crashStore, type CrashStore, Disk, memoryStore, type Store } from '@leyden/runtime'
import { buildBlock, encodeCoin, findNonce } from '@leyden/ledger'
import { readAllCoins } from './chain-rows.ts'
import { createLedgerEngine, GenerateError, type LedgerEngine } from './engine.ts'
import { FileDisk } from './memory-directory.ts'
import { ANYONE, outputOf, pay, virtualClock } from './testing.ts'

const network = networks.regtest
const SUBSIDY = 5_000_000_000n
/** Other places for the reward, so that blocks of two branches differ. */
const elsewhere = (n: number): Uint8Array => p2wshOf(Uint8Array.of(0x51, 0x51 + n))

/** Opening a store again also opens its files again. */
const filesOf = new WeakMap<Disk, FileDisk>()
const filesBeside = (disk: Disk): FileDisk => {
  const files = filesOf.get(disk) ?? new FileDisk()
  filesOf.set(disk, files)
  return files
}
const openOn = (disk: Disk, store: Store = memoryStore(disk), clock = virtualClock()): Promise<LedgerEngine> =>
  createLedgerEngine({ store, directory: filesBeside(disk).open(), network, clock })
const open = (clock = virtualClock()): Promise<LedgerEngine> => openOn(new Disk(), undefined, clock)
const blockOf = async (engine: LedgerEngine, hash: BlockHash): Promise<Block> => (await engine.blockByHash(hash)) as Block
const coinbaseOf = async (engine: LedgerEngine, hash: BlockHash): Promise<Tx> =>
  (await blockOf(engine, hash)).transactions[0] as Tx
/** An engine with coinbases that may be spent. */
const funded = async (disk = new Disk()): Promise<{ engine: LedgerEngine; coinbases: Tx[]; hashes: BlockHash[] }> => {
  const engine = await openOn(disk)
  const hashes = await engine.generateToAddress(110, ANYONE)
  const coinbases = await Promise.all(hashes.slice(0, 10).map((hash) => coinbaseOf(engine, hash)))
  return { engine, coinbases, hashes }
}
const spend = (coinbase: Tx, fee = 1000n): Tx => pay([outputOf(coinbase)], [SUBSIDY - fee])
const coinsOf = async (store: Store): Promise<Map<string, string>> => {
  const coins = new Map<string, string>()
  for await (const [rowKey, coin] of readAllCoins(store)) coins.set(bytesToHex(rowKey), bytesToHex(encodeCoin(coin as Coin)))
  return coins
}
/** The coins of a fresh ledger that was given the active chain of this one. */
const replayed = async (engine: LedgerEngine): Promise<Map<string, string>> => {
  const disk = new Disk()
  const fresh = await openOn(disk)
  for (let height = 1; height <= engine.tip().height; height++) {
    const block = await blockOf(engine, engine.hashAtHeight(height as never) as BlockHash)
    expect(await fresh.submitBlock(block)).toEqual({ status: 'connected' })
  }
  return coinsOf(memoryStore(disk))
}

describe('mining', () => {
  it('makes blocks that the engine takes, with what waits in the mempool', async () => {
    const { engine, coinbases } = await funded()
    expect(engine.tip().height).toBe(110)
    const tx = spend(coinbases[0]!)
    expect(await engine.submitTransaction(tx)).toMatchObject({ status: 'accepted', txid: txid(tx) })
    const [hash] = (await engine.generateToAddress(1, ANYONE)) as [BlockHash]
    const block = await blockOf(engine, hash)
    expect(block.transactions.map(txid)).toEqual([expect.any(String), txid(tx)])
    expect(block.transactions[0]!.outputs[0]!.value).toBe(SUBSIDY + 1000n)
    expect(engine.mempool()).toEqual([])
    expect(await engine.isUnspent(outputOf(tx))).toBe(true)
    expect(await engine.isUnspent(outputOf(coinbases[0]!))).toBe(false)
    expect(await engine.position(txid(tx))).toEqual({ blockHash: hash, index: 1 })
  })

  it('takes the time of the clock, or just after the median of the past', async () => {
    const clock = virtualClock()
    const engine = await open(clock)
    await engine.generateToAddress(20, ANYONE)
    const times: number[] = []
    for (let height = 1; height <= 20; height++)
      times.push(engine.headerByHash(engine.hashAtHeight(height as never)!)!.header.time)
    const now = Math.floor(clock.now() / 1000)
    expect(times.slice(0, 6)).toEqual([0, 1, 1, 2, 2, 2].map((later) => now + later))
    clock.advance(3_600_000)
    const [hash] = (await engine.generateToAddress(1, ANYONE)) as [BlockHash]
    expect(engine.headerByHash(hash)!.header.time).toBe(now + 3600)
  })

  it("makes bitcoind's coinbases: the height, then OP_0", async () => {
    const engine = await open()
    const hashes = await engine.generateToAddress(128, ANYONE)
    const scripts = await Promise.all(
      [1, 16, 17, 128].map(async (height) => (await coinbaseOf(engine, hashes[height - 1]!)).inputs[0]!.scriptSig),
    )
    expect(scripts.map(bytesToHex)).toEqual(['5100', '6000', '011100', '02800000'])
  })

  it('shows many blocks a hundred at a time, lets others in between, and ends early when told to', async () => {
    const engine = await open()
    const ending = new AbortController()
    const shown: number[] = []
    const { height, template } = { height: () => engine.tip().height, template: () => engine.template(ANYONE) }
    let asked: number | undefined
    engine.subscribe(({ type }) => {
      if (type !== 'tipChanged') return
      shown.push(height())
      if (shown.length === 1) void template().then(({ parent }) => (asked = parent.height))
      if (shown.length === 3) ending.abort()
    })
    const hashes = await engine.generateToAddress(1000, ANYONE, { signal: ending.signal })
    expect(shown.slice(0, 3)).toEqual([100, 200, 300])
    expect(asked).toBeLessThan(200)
    expect(hashes).toHaveLength(height())
    expect(height()).toBeLessThan(500)
  })

  it('makes another block than those that are known already, by an extra nonce', async () => {
    const engine = await open()
    const extraNonces: string[] = []
    const mined = new Set<BlockHash>()
    for (const mine of [
      async () => (await engine.generateToAddress(1, ANYONE))[0]!,
      async () => (await engine.generateToAddress(1, ANYONE))[0]!,
      async () => blockHash((await engine.generateBlock(ANYONE, [])).header),
    ]) {
      const hash = await mine()
      mined.add(hash)
      expect(engine.tip()).toEqual({ height: 1, hash })
      extraNonces.push(bytesToHex((await coinbaseOf(engine, hash)).inputs[0]!.scriptSig.slice(1)))
      await engine.invalidateBlock(hash)
    }
    expect(mined.size).toBe(3)
    expect(extraNonces).toEqual(['00', '0101', '0102'])
  })

  it('of chosen transactions takes exactly these, and refuses what no block may hold', async () => {
    const { engine, coinbases } = await funded()
    await engine.submitTransaction(spend(coinbases[0]!))
    const mine = spend(coinbases[1]!, 7n)
    const block = await engine.generateBlock(ANYONE, [mine])
    expect(block.transactions.slice(1)).toEqual([mine])
    expect(block.transactions[0]!.outputs[0]!.value).toBe(SUBSIDY)
    expect(engine.mempool()).toHaveLength(1)
    await expect(engine.generateBlock(ANYONE, [mine])).rejects.toThrow(GenerateError)
    await expect(engine.generateBlock(ANYONE, [pay([outputOf(coinbases[2]!)], [SUBSIDY * 2n])])).rejects.toThrow(GenerateError)
    const unsigned = { ...spend(coinbases[2]!), inputs: spend(coinbases[2]!).inputs.map((input) => ({ ...input, witness: [] })) }
    await expect(engine.generateBlock(ANYONE, [unsigned])).rejects.toThrow('Witness program was passed an empty witness')
    expect(engine.tip().height).toBe(111)
  })
})

describe('a reorganisation', () => {
  /** A branch of so many blocks that another ledger mined on the first `base` blocks of this one. */
  const branch = async (engine: LedgerEngine, base: number, length: number, include: readonly Tx[] = []): Promise<Block[]> => {
    const other = await open()
    for (let height = 1; height <= base; height++)
      await other.submitBlock(await blockOf(engine, engine.hashAtHeight(height as never)!))
    for (const tx of include) expect((await other.submitTransaction(tx)).status).toBe('accepted')
    const hashes = await other.generateToAddress(length, elsewhere(1))
    return Promise.all(hashes.map((hash) => blockOf(other, hash)))
  }

  it('goes to the branch with more work, and takes what was confirmed back into the mempool', async () => {
    const { engine, coinbases } = await funded()
    const funding = spend(coinbases[0]!)
    const child = pay([outputOf(funding)], [SUBSIDY - 2000n])
    await engine.submitTransaction(funding)
    await engine.generateToAddress(1, ANYONE)
    await engine.submitTransaction(child)
    await engine.generateToAddress(5, ANYONE)
    const before = engine.tip()
    const blocks = await branch(engine, 110, 7)
    for (const block of blocks.slice(0, 6)) expect(await engine.submitBlock(block)).toEqual({ status: 'side' })
    expect(engine.tip()).toEqual(before)
    expect(await engine.submitBlock(blocks[6]!)).toEqual({ status: 'connected' })
    expect(engine.tip().height).toBe(117)
    expect(engine.mempool().map(txid)).toEqual([txid(funding), txid(child)])
    expect(await engine.isUnspent(outputOf(funding))).toBe(false)
    await engine.generateToAddress(1, ANYONE)
    expect(engine.mempool()).toEqual([])
    expect(await engine.isUnspent(outputOf(child))).toBe(true)
  })

  it('drops from the mempool what the new branch has spent otherwise, or made immature', async () => {
    const { engine, coinbases } = await funded()
    const ours = spend(coinbases[0]!)
    await engine.submitTransaction(ours)
    await engine.generateToAddress(1, ANYONE)
    const late = spend(await coinbaseOf(engine, engine.hashAtHeight(12 as never)!))
    expect((await engine.submitTransaction(late)).status).toBe('accepted')
    const theirs = pay([outputOf(coinbases[0]!)], [SUBSIDY - 9000n])
    const other = await branch(engine, 110, 2, [theirs])
    for (const block of other) await engine.submitBlock(block)
    expect(engine.tip().height).toBe(112)
    expect(engine.mempool().map(txid)).toEqual([txid(late)])
    await engine.invalidateBlock(engine.hashAtHeight(105 as never)!)
    expect(engine.tip().height).toBe(104)
    expect(engine.mempool().map(txid)).toEqual([txid(theirs)])
  })

  it('over empty blocks also judges the mempool anew: what a lower tip makes immature or not final leaves', async () => {
    const { engine, hashes } = await funded()
    const immature = spend(await coinbaseOf(engine, hashes[10]!))
    const early = pay([outputOf(await coinbaseOf(engine, hashes[0]!))], [SUBSIDY - 1000n], { lockTime: 110 })
    await engine.broadcast([immature])
    await engine.broadcast([early])
    expect(engine.mempool()).toHaveLength(2)
    await engine.invalidateBlock(hashes[109]!)
    expect(engine.mempool()).toEqual([])
    await engine.generateToAddress(2, elsewhere(1))
    expect(engine.tip().height).toBe(111)
  })

  it('refuses a branch that turns out invalid, and stays where it was', async () => {
    const { engine } = await funded()
    const before = engine.tip()
    const good = await branch(engine, 109, 1)
    await engine.submitBlock(good[0]!)
    const bad = await branch(engine, 109, 1)
    expect(await engine.submitBlock(bad[0]!)).toEqual({ status: 'duplicate' })
    expect(engine.tip()).toEqual(before)
    const greedy = await (async () => {
      const other = await open()
      for (let height = 1; height <= 109; height++)
        await other.submitBlock(await blockOf(engine, engine.hashAtHeight(height as never)!))
      await other.submitBlock(good[0]!)
      return findNonce(
        buildBlock({
          network,
          parent: other.tipEntry(),
          now: 0,
          transactions: [pay([outputOf(good[0]!.transactions[0]!)], [1n])],
          fees: 0n,
          scriptPubKey: elsewhere(2),
          extraNonce: 0,
        }),
      )
    })()
    const { violation } = (await engine.submitBlock(greedy as Block)) as { violation: { reason: string } }
    expect(violation.reason).toBe('bad-txns-premature-spend-of-coinbase')
    expect(engine.tip()).toEqual(before)
    expect(await engine.submitBlock(greedy as Block)).toMatchObject({ violation: { reason: 'duplicate-invalid' } })
  })

  it('B5: a mutated copy of a block does not condemn the block (CVE-2012-2459)', async () => {
    const { engine, coinbases } = await funded()
    const other = await branch(engine, 110, 1, [spend(coinbases[0]!), spend(coinbases[1]!)])
    const block = other[0]!
    const mutated = { ...block, transactions: [...block.transactions, block.transactions[2]!] }
    expect(await engine.submitBlock(mutated)).toMatchObject({ violation: { reason: 'bad-txns-duplicate', mutated: true } })
    expect(await engine.submitBlock(block)).toEqual({ status: 'connected' })
  })

  it('a block whose witness was changed leaves its header behind, on which the right one is taken', async () => {
    const { engine, coinbases } = await funded()
    const [block] = (await branch(engine, 110, 1, [spend(coinbases[0]!)])) as [Block]
    const [first, second] = block.transactions as [Tx, Tx]
    const changed = { ...second, inputs: second.inputs.map((input) => ({ ...input, witness: [] })) }
    const mutated = { ...block, transactions: [first, changed] }
    expect(await engine.submitBlock(mutated)).toMatchObject({ violation: { reason: 'bad-witness-merkle-match', mutated: true } })
    const entry = engine.tree.entries.get(blockHash(block.header))
    expect(entry).toMatchObject({ stored: false, failed: 'none' })
    expect(engine.isValidated(entry!)).toBe(false)
    expect(await engine.submitBlock(block)).toEqual({ status: 'connected' })
    expect(engine.isValidated(entry!)).toBe(true)
  })

  it('a block that is bad by itself is told so every time: its header was never taken', async () => {
    const { engine, coinbases } = await funded()
    const [block] = (await branch(engine, 110, 1, [spend(coinbases[0]!)])) as [Block]
    const transactions = [...block.transactions, block.transactions[0]!]
    const twice = findNonce({ header: { ...block.header, merkleRoot: merkleRoot(transactions.map(txid)) }, transactions })!
    const refused = { status: 'rejected', violation: { violation: true, reason: 'bad-cb-multiple' } }
    expect(await engine.submitBlock(twice)).toEqual(refused)
    expect(await engine.submitBlock(twice)).toEqual(refused)
    expect(engine.tree.entries.has(blockHash(twice.header))).toBe(false)
  })

  it('is made by hand with invalidateBlock and taken back with reconsiderBlock', async () => {
    const { engine, hashes } = await funded()
    const tip = engine.tip()
    await engine.invalidateBlock(hashes[99]!)
    expect(engine.tip()).toEqual({ height: 99, hash: hashes[98] })
    await engine.generateToAddress(1, ANYONE)
    expect(engine.tip().height).toBe(100)
    await engine.reconsiderBlock(hashes[99]!)
    expect(engine.tip()).toEqual(tip)
    await expect(engine.invalidateBlock('00'.repeat(32) as BlockHash)).rejects.toThrow('no block')
  })

  it('of any tree of blocks leaves the coins of a replay', async () => {
    const base = await funded()
    const baseBlocks = await Promise.all(base.hashes.map((hash) => blockOf(base.engine, hash)))
    const plan = fc.array(fc.record({ back: fc.nat(3), spends: fc.nat(3) }), { minLength: 2, maxLength: 8 })
    await fc.assert(
      fc.asyncProperty(plan, async (steps) => {
        const disk = new Disk()
        const engine = await openOn(disk)
        for (const block of baseBlocks) await engine.submitBlock(block)
        let n = 0
        for (const { back, spends } of steps) {
          const height = Math.max(105, engine.tip().height - back)
          if (height < engine.tip().height) await engine.invalidateBlock(engine.hashAtHeight((height + 1) as never)!)
          for (let i = 0; i < spends; i++) await engine.submitTransaction(spend(base.coinbases[i]!, BigInt(1000 + 1000 * n)))
          await engine.generateToAddress(1, elsewhere(n++ % 15))
        }
        for (const entry of engine.tree.entries.values()) if (entry.failed === 'self') await engine.reconsiderBlock(entry.hash)
        expect(await coinsOf(memoryStore(disk))).toEqual(await replayed(engine))
      }),
      { numRuns: 4 },
    )
  })
})

describe('after a restart', () => {
  it('the chain, its branches and the mempool are there', async () => {
    const disk = new Disk()
    const { engine, coinbases, hashes } = await funded(disk)
    const tx = spend(coinbases[0]!)
    await engine.submitTransaction(tx)
    await engine.invalidateBlock(hashes[105]!)
    await engine.generateToAddress(2, elsewhere(3))
    await engine.submitTransaction(spend(coinbases[1]!))
    const tip = engine.tip()
    await engine.close()
    const again = await openOn(disk)
    expect(again.tip()).toEqual(tip)
    expect(again.mempool().map(txid)).toEqual([txid(spend(coinbases[1]!))])
    await again.reconsiderBlock(hashes[105]!)
    expect(again.tip().hash).toBe(hashes.at(-1))
    expect(again.mempool()).toHaveLength(2)
  })

  it('a store of another network is refused', async () => {
    const disk = new Disk()
    await openOn(disk)
    const directory = filesBeside(disk).open()
    const wrong = createLedgerEngine({ store: memoryStore(disk), directory, network: networks.signet, clock: virtualClock() })
    await expect(wrong).rejects.toThrow('holds the chain of regtest')
  })
})

describe('a store that crashes or fails at any write', () => {
  /** What is done to the ledger; each step is one or more writes. */
  const script = async (engine: LedgerEngine, coinbases: readonly Tx[], blocks: readonly Block[]): Promise<void> => {
    await engine.submitTransaction(spend(coinbases[0]!))
    await engine.generateToAddress(1, ANYONE)
    await engine.submitTransaction(spend(coinbases[1]!))
    await engine.generateToAddress(2, ANYONE)
    for (const block of blocks) await engine.submitBlock(block)
    await engine.submitTransaction(spend(coinbases[2]!))
    await engine.generateToAddress(1, elsewhere(5))
  }
  const prepare = async (): Promise<{ rows: () => Disk; coinbases: Tx[]; blocks: Block[] }> => {
    const { engine, coinbases, hashes } = await funded()
    const chain = await Promise.all(hashes.map((hash) => blockOf(engine, hash)))
    await engine.invalidateBlock(hashes.at(-1)!)
    const other = await open()
    for (const block of chain.slice(0, -1)) await other.submitBlock(block)
    const side = await Promise.all((await other.generateToAddress(5, elsewhere(4))).map((hash) => blockOf(other, hash)))
    const template = new Disk()
    const first = await openOn(template)
    for (const block of chain) await first.submitBlock(block)
    const saved = template.page({ gte: Uint8Array.of(0), lt: Uint8Array.of(255) }, Number.MAX_SAFE_INTEGER)
    const rows = (): Disk => {
      const disk = new Disk()
      disk.apply(saved.map(([key, value]) => ({ key, value })))
      filesOf.set(disk, filesBeside(template).copy())
      return disk
    }
    return { rows, coinbases, blocks: side }
  }

  it('comes back whole from a crash at every write, and can do all of it again', async () => {
    const { rows, coinbases, blocks } = await prepare()
    const first = rows()
    const counted = crashStore({ disk: first })
    await script(await openOn(first, counted), coinbases, blocks)
    const writes = counted.writes
    expect(writes).toBeGreaterThan(8)
    const replays = new Map<BlockHash, Map<string, string>>()
    const crashes: ((store: CrashStore, files: FileDisk) => void)[] = []
    for (let write = 1; write <= writes; write++)
      for (const when of ['before', 'after'] as const) crashes.push((store) => store.crashAt({ write, when }))
    // The files too: before anything is written, written and not synced, one file of two.
    const steps = filesBeside(first).steps
    expect(steps).toBeGreaterThan(8)
    for (let step = 1; step <= steps; step++) crashes.push((store, files) => files.crashAt(step, () => store.crash()))
    for (const crash of crashes) {
      const disk = rows()
      const store = crashStore({ disk })
      crash(store, filesBeside(disk))
      const engine = await Promise.race([openOn(disk, store), crashed(store)])
      if (engine !== undefined) await Promise.race([script(engine, coinbases, blocks), crashed(store)])
      expect(store.crashed).toBe(true)
      const again = await openOn(disk)
      const { hash } = again.tip()
      const expected = replays.get(hash) ?? (await replayed(again))
      replays.set(hash, expected)
      expect(await coinsOf(memoryStore(disk))).toEqual(expected)
      for (const block of blocks) await again.submitBlock(block)
      expect(again.tip().height).toBeGreaterThanOrEqual(114)
      await again.generateToAddress(1, elsewhere(6))
      expect(again.mempool()).toEqual([])
      await again.broadcast([spend(coinbases[0]!), spend(coinbases[1]!)])
      await again.generateToAddress(1, elsewhere(7))
      expect(await again.isUnspent(outputOf(spend(coinbases[0]!)))).toBe(true)
    }
  }, 60_000)

  it('goes on after writes that were refused, memory and disk in agreement', async () => {
    const { rows, coinbases, blocks } = await prepare()
    const refused: string[] = []
    for (let failures = 1; failures <= 3; failures++) {
      const disk = rows()
      const store = crashStore({ disk })
      const engine = await openOn(disk, store)
      const jobs: (() => Promise<unknown>)[] = [
        () => engine.submitTransaction(spend(coinbases[0]!)),
        () => engine.generateToAddress(1, ANYONE),
        ...blocks.map((block) => () => engine.submitBlock(block)),
        () => engine.submitTransaction(spend(coinbases[1]!)),
        () => engine.generateToAddress(1, elsewhere(5)),
      ]
      for (const job of jobs) {
        store.failWrites(failures)
        const answer = await job().catch(String)
        if (typeof answer === 'string') refused.push(answer)
        // What is answered is on the disk, or refused.
        const shown = await engine.coin(outputOf(coinbases[0]!)).catch(String)
        const onDisk = await openOn(copyOf(disk))
        const there = typeof shown === 'string' ? shown : await onDisk.coin(outputOf(coinbases[0]!))
        expect(shown).toEqual(there)
        expect(onDisk.tip()).toEqual(engine.tip())
        store.failWrites(0)
        await job()
      }
      await engine.idle()
      const again = await openOn(disk)
      expect(again.tip()).toEqual(engine.tip())
      expect(engine.tip().height).toBeGreaterThanOrEqual(115)
      expect(await coinsOf(memoryStore(disk))).toEqual(await replayed(again))
    }
    expect(refused.length).toBeGreaterThan(10)
    expect(new Set(refused)).toEqual(new Set(['Error: no space left on device']))
  })
})

const crashed = async (store: { readonly crashed: boolean }): Promise<void> => {
  while (!store.crashed) await new Promise((resolve) => setTimeout(resolve, 1))
}
const copyOf = (disk: Disk): Disk => {
  const copy = new Disk()
  copy.apply(
    disk.page({ gte: Uint8Array.of(0), lt: Uint8Array.of(255) }, Number.MAX_SAFE_INTEGER).map(([key, value]) => ({ key, value })),
  )
  filesOf.set(copy, filesBeside(disk).copy())
  return copy
}

describe('for those who follow the chain', () => {
  it('tells of blocks, reorganisations and transactions in order', async () => {
    const { engine, coinbases, hashes } = await funded()
    const events: ChainEvent[] = []
    const source = inProcessChain(engine)
    source.start(engine.tip(), (event) => void events.push(event))
    const settled = async (): Promise<string[]> => {
      await engine.idle()
      await new Promise((resolve) => setTimeout(resolve, 5))
      return events.splice(0).map((event) => ('height' in event ? `${event.type} ${event.height}` : event.type))
    }
    expect(await settled()).toEqual(['synced'])
    await engine.submitTransaction(spend(coinbases[0]!))
    expect(await settled()).toEqual(['transactionSeen'])
    await engine.generateToAddress(1, ANYONE)
    expect(await settled()).toEqual(['blockConnected 111', 'synced'])
    const rival = await open()
    for (const hash of hashes.slice(0, 109)) await rival.submitBlock(await blockOf(engine, hash))
    for (const hash of await rival.generateToAddress(3, elsewhere(1))) await engine.submitBlock(await blockOf(rival, hash))
    const back = ['blockDisconnected 111', 'blockDisconnected 110']
    const forth = ['blockConnected 110', 'blockConnected 111', 'blockConnected 112']
    expect(await settled()).toEqual([...back, ...forth, 'synced', 'transactionSeen'])
    await source.stop()
  })

  it('answers broadcasts: known is fine, a bad one says why, a child pays for its parent', async () => {
    const { engine, coinbases } = await funded()
    const tx = spend(coinbases[0]!)
    expect(await engine.broadcast([tx])).toEqual({ ok: true })
    expect(await engine.broadcast([tx])).toEqual({ ok: true })
    await engine.generateToAddress(1, ANYONE)
    expect(await engine.broadcast([tx])).toEqual({ ok: true })
    await engine.broadcast([pay([outputOf(tx)], [SUBSIDY - 5000n])])
    await engine.generateToAddress(1, ANYONE)
    expect(await engine.broadcast([tx])).toEqual({ ok: true })
    const double = pay([outputOf(coinbases[0]!)], [SUBSIDY - 9000n])
    expect(await engine.broadcast([double])).toEqual({ ok: false, reason: 'bad-txns-inputs-missingorspent', permanent: false })
    const greedy = pay([outputOf(coinbases[1]!)], [SUBSIDY + 1n])
    expect(await engine.broadcast([greedy])).toEqual({ ok: false, reason: 'bad-txns-in-belowout', permanent: true })
    const rival = spend(coinbases[2]!, 2000n)
    const parent = pay([outputOf(coinbases[2]!)], [SUBSIDY - 1000n], { lockTime: 1 })
    const child = pay([outputOf(parent)], [SUBSIDY - 9000n])
    await engine.broadcast([rival])
    expect(await engine.broadcast([parent])).toMatchObject({ ok: false, reason: 'insufficient fee', permanent: false })
    expect(await engine.broadcast([parent, child])).toEqual({ ok: true })
    expect(engine.mempool().map(txid)).toEqual([txid(parent), txid(child)])
  })

  it('names fee rates that any transaction at them can pay', async () => {
    const engine = await open()
    expect(engine.fees()).toEqual({ feeratePerKw: { 2: 253, 6: 253, 12: 253, 144: 253 }, minimumFeeratePerKw: 253 })
  })

  it('judges without taking when asked to', async () => {
    const { engine, coinbases } = await funded()
    const parent = spend(coinbases[0]!)
    const child = pay([outputOf(parent)], [SUBSIDY - 5000n])
    const outcomes = await engine.submitTransactions([parent, child], { dryRun: true })
    expect(outcomes.map(({ status }) => status)).toEqual(['accepted', 'accepted'])
    expect(engine.mempool()).toEqual([])
    expect(await engine.submitTransaction(spend(coinbases[0]!, 1_000_000n), { maxFeeratePerKvb: 10_000 })).toMatchObject({
      rejection: { reason: 'max-fee-exceeded' },
    })
  })

  it('needs no key where the challenge of a signed network asks for nothing', async () => {
    const openWith = (challenge: number): Promise<LedgerEngine> =>
      createLedgerEngine({
        store: memoryStore(),
        directory: new FileDisk().open(),
        network: { ...network, signetChallenge: Uint8Array.of(challenge) },
        clock: virtualClock(),
      })
    expect(await (await openWith(0x51)).generateToAddress(2, ANYONE)).toHaveLength(2)
    await expect((await openWith(0x00)).generateToAddress(1, ANYONE)).rejects.toThrow('signed')
  })
})
