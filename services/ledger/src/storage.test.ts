/** The ledger over its store and block files: group commit, pruning, indices, building again, disks that fail. */
import { describe, expect, it } from 'vitest'
import { bytesToHex } from '@leyden/codec'
import { basicFilter, filterHeader, networks, p2wshOf, Sat, txid, type Block, type BlockHash, type Tx } from '@leyden/bitcoin'
import { crashStore, Disk, keyRange, memoryStore, type Log, type Store } from '@leyden/runtime'
import { encodeCoin, type HeaderEntry } from '@leyden/ledger'
import { readAllCoins } from './chain-rows.ts'
import { bogoSize, coinBytes } from './coin-stats.ts'
import { createLedgerEngine, type LedgerEngine, type LedgerEngineOptions } from './engine.ts'
import { MUHASH_EMPTY, muHashFinish, muHashInsert } from './muhash.ts'
import { FileDisk } from './memory-directory.ts'
import { ANYONE, outputOf, pay, virtualClock } from './testing.ts'

const network = networks.regtest
const SUBSIDY = 5_000_000_000n
const elsewhere = p2wshOf(Uint8Array.of(0x51, 0x52))

type Machine = { readonly disk: Disk; readonly files: FileDisk }
const machine = (): Machine => ({ disk: new Disk(), files: new FileDisk() })
const copyOf = ({ disk, files }: Machine): Machine => ({ disk: disk.copy(), files: files.copy() })
type Extra = Partial<LedgerEngineOptions>
const open = ({ disk, files }: Machine, options: Extra = {}): Promise<LedgerEngine> =>
  createLedgerEngine({
    store: memoryStore(disk),
    directory: files.open(),
    network,
    clock: virtualClock(),
    maxFileBytes: 16 * 1024,
    pruneAfterHeight: 100,
    ...options,
  })
const hashAt = (engine: LedgerEngine, height: number): BlockHash => engine.hashAtHeight(height as never) as BlockHash
const entryAt = (engine: LedgerEngine, height: number): HeaderEntry =>
  engine.tree.entries.get(hashAt(engine, height)) as HeaderEntry
const blockAt = async (engine: LedgerEngine, height: number): Promise<Block> =>
  (await engine.blockByHash(hashAt(engine, height))) as Block
const coinsOf = async (store: Store): Promise<Map<string, string>> => {
  const coins = new Map<string, string>()
  for await (const [key, coin] of readAllCoins(store)) coins.set(bytesToHex(key), bytesToHex(encodeCoin(coin)))
  return coins
}
const rowsOf = async (store: Store, kind: string): Promise<number> => {
  let count = 0
  for await (const _ of store.range(keyRange(kind))) count++
  return count
}
/** A chain with payments in it, and a branch that lost. */
const grown = async (engine: LedgerEngine, blocks = 130): Promise<Tx[]> => {
  await engine.generateToAddress(110, ANYONE)
  const paid: Tx[] = []
  for (let height = 1; height <= 9; height++) {
    const tx = pay([outputOf((await blockAt(engine, height)).transactions[0] as Tx)], [SUBSIDY / 2n, SUBSIDY / 4n])
    paid.push(tx)
    await engine.submitTransaction(tx)
    if (height % 3 === 0) await engine.generateToAddress(1, ANYONE)
  }
  const lost = hashAt(engine, engine.tip().height)
  await engine.invalidateBlock(lost)
  await engine.generateToAddress(blocks - 112, elsewhere)
  await engine.reconsiderBlock(lost)
  return paid
}

describe('blocks that come together', () => {
  it('are made durable together: mined, or handed in without waiting', async () => {
    const first = machine()
    const counted = crashStore({ disk: first.disk })
    const engine = await open(first, { store: counted })
    const before = counted.writes
    const hashes = await engine.generateToAddress(120, ANYONE)
    expect(counted.writes - before).toBeLessThan(5)
    expect(await rowsOf(memoryStore(first.disk), 'header')).toBe(120)

    const blocks = await Promise.all(hashes.map(async (hash) => (await engine.blockByHash(hash)) as Block))
    const second = machine()
    const other = crashStore({ disk: second.disk })
    const follower = await open(second, { store: other })
    const tips: number[] = []
    follower.subscribe(() => tips.push(follower.tip().height))
    const start = other.writes
    const outcomes = await Promise.all(blocks.map((block) => follower.submitBlock(block)))
    expect(outcomes).toEqual(blocks.map(() => ({ status: 'connected' })))
    expect(other.writes - start).toBeLessThan(5)
    expect(tips.at(-1)).toBe(120)
    expect(await coinsOf(memoryStore(second.disk))).toEqual(await coinsOf(memoryStore(first.disk)))
  })

  it('are not shown before they are on the disk', async () => {
    const one = machine()
    const engine = await open(one)
    const shown: [number, number][] = []
    engine.subscribe(({ type }) => {
      if (type !== 'tipChanged') return
      const durable = [...one.disk.page(keyRange('header'), 1e9)].length
      shown.push([engine.tip().height, durable])
    })
    const seen: Promise<unknown>[] = []
    for (let i = 0; i < 20; i++) {
      seen.push(engine.generateToAddress(1, ANYONE))
      await Promise.resolve()
    }
    await Promise.all(seen)
    expect(shown.length).toBeGreaterThan(0)
    for (const [height, durable] of shown) expect(durable).toBeGreaterThanOrEqual(height)
    expect(engine.tip().height).toBe(20)
  })

  it('keep memory within the cache: a small one flushes as it goes, and comes to the same coins', async () => {
    const source = await open(machine())
    await grown(source, 140)
    const [large, small] = [machine(), machine()]
    const counts: number[] = []
    for (const [one, cacheBytes] of [
      [large, 64 * 1024 * 1024],
      [small, 40_000],
    ] as const) {
      const store = crashStore({ disk: one.disk })
      const engine = await open(one, { store, cacheBytes })
      const before = store.writes
      const blocks: Block[] = []
      for (let height = 1; height <= source.tip().height; height++) blocks.push(await blockAt(source, height))
      await Promise.all(blocks.map((block) => engine.submitBlock(block)))
      counts.push(store.writes - before)
    }
    expect(counts[0]).toBeLessThan(4)
    expect(counts[1]).toBeGreaterThan(8)
    expect(await coinsOf(memoryStore(small.disk))).toEqual(await coinsOf(memoryStore(large.disk)))
  })
})

describe('pruning', () => {
  const pruned = async (pruning: LedgerEngineOptions['pruning'], blocks: number): Promise<[LedgerEngine, Machine]> => {
    const one = machine()
    const engine = await open(one, { pruning: pruning ?? 'off', indexes: ['basic block filter index'] })
    await engine.generateToAddress(blocks, ANYONE)
    return [engine, one]
  }

  it('deletes old blocks when told to, whole files, never the last 288, and says what is gone', async () => {
    const [engine, one] = await pruned('manual', 500)
    const before = engine.storage()
    expect(before.prunedHeight).toBeUndefined()
    const files = one.files.names().length
    await engine.prune(100)
    const { prunedHeight, bytes } = engine.storage()
    expect(prunedHeight).toBeGreaterThan(50)
    expect(prunedHeight).toBeLessThanOrEqual(100)
    expect(bytes).toBeLessThan(before.bytes)
    expect(one.files.names().length).toBeLessThan(files)
    expect(engine.blockData(entryAt(engine, prunedHeight!))).toBe('pruned')
    expect(engine.blockData(entryAt(engine, prunedHeight! + 1))).toBe('here')
    expect(await engine.blockByHash(hashAt(engine, prunedHeight!))).toBeUndefined()
    expect(engine.transactionCount(entryAt(engine, 1))).toBe(1)
    expect((await engine.filter(hashAt(engine, 1)))?.filter.length).toBeGreaterThan(0)

    await engine.prune(500)
    const last = engine.storage().prunedHeight!
    expect(last).toBeLessThanOrEqual(500 - 288)
    expect(last).toBeGreaterThan(150)
    await engine.close()
    const again = await open(one, { pruning: 'manual', indexes: [] })
    expect(again.storage().prunedHeight).toBe(last)
    expect(await blockAt(again, last + 1)).toMatchObject({ header: entryAt(again, last + 1).header })
    await again.generateToAddress(3, ANYONE)
    await again.invalidateBlock(hashAt(again, 400))
    expect(again.tip().height).toBe(399)
  })

  it('keeps the files below a target by itself', async () => {
    const targetBytes = 120_000
    const [engine, one] = await pruned({ targetBytes }, 700)
    expect(engine.storage().bytes).toBeLessThanOrEqual(targetBytes)
    expect(engine.storage().prunedHeight).toBeGreaterThan(0)
    expect(engine.blockData(entryAt(engine, 700 - 288))).toBe('here')
    const onDisk = one.files.names().reduce((sum, name) => sum + (one.files.contents(name)?.length ?? 0), 0)
    expect(onDisk).toBe(engine.storage().bytes)
  })

  it('does nothing to a chain that is too short for it', async () => {
    const [engine] = await pruned({ targetBytes: 1000 }, 90)
    expect(engine.storage().prunedHeight).toBeUndefined()
  })

  it('a reorganisation that needs what is gone is refused before it begins, with what to do', async () => {
    const [engine] = await pruned('manual', 450)
    await engine.prune(450)
    const gone = engine.storage().prunedHeight!
    const tip = engine.tip()
    await expect(engine.invalidateBlock(hashAt(engine, gone))).rejects.toThrow(/has been pruned.*--reindex/)
    expect(engine.tip()).toEqual(tip)
    await engine.generateToAddress(1, ANYONE)
    expect(engine.tip().height).toBe(451)
  })

  it('an index that has not had what is gone is refused, one that is in step is not', async () => {
    const [engine, one] = await pruned('manual', 450)
    await engine.prune(450)
    await engine.close()
    const late = open(one, { pruning: 'manual', indexes: ['coinstatsindex'] })
    await expect(late).rejects.toThrow('coinstatsindex best block of the index goes beyond pruned data')
    const again = await open(one, { pruning: 'manual', indexes: ['basic block filter index'] })
    expect(again.indexes()).toEqual([{ name: 'basic block filter index', height: 450, synced: true }])
  })

  it('a crash between the rows and the files leaves files that the next start deletes', async () => {
    const [engine, one] = await pruned('manual', 450)
    const before = one.files.names()
    one.files.crashAt(1, () => undefined) // the first removal
    void engine.prune(450)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(one.files.names()).toEqual(before)
    const again = await open(one, { pruning: 'manual', indexes: [] })
    expect(again.storage().prunedHeight).toBeGreaterThan(0)
    expect(one.files.names().length).toBeLessThan(before.length)
    expect(again.tip().height).toBe(450)
  })
})

describe('indices', () => {
  it('that are switched on later are built behind the chain, and are as those that were there from the start', async () => {
    const [early, late] = [machine(), machine()]
    const first = await open(early, { indexes: ['txindex', 'basic block filter index'] })
    await grown(first)
    const second = await open(late, { indexes: [] })
    for (let height = 1; height <= first.tip().height; height++) await second.submitBlock(await blockAt(first, height))
    const coinbase = txid((await blockAt(first, 5)).transactions[0] as Tx)
    expect(second.indexes()).toEqual([])
    expect(await second.position(coinbase)).toBeUndefined()
    await second.close()

    const again = await open(late, { indexes: ['txindex', 'basic block filter index'] })
    while (again.indexes().some(({ synced }) => !synced)) await again.idle()
    expect(await again.position(coinbase)).toEqual(await first.position(coinbase))
    let header: Uint8Array = new Uint8Array(32)
    for (let height = 0; height <= first.tip().height; height++) {
      const hash = hashAt(first, height)
      const spent = height === 0 ? [] : ((await first.undo(hash)) ?? []).map(({ output }) => output)
      const filter = basicFilter(await blockAt(first, height), spent)
      header = filterHeader(filter, header)
      expect(await first.filter(hash)).toEqual({ filter, header })
      expect(await again.filter(hash)).toEqual({ filter, header })
    }
    expect(await rowsOf(memoryStore(late.disk), 'transaction')).toBe(await rowsOf(memoryStore(early.disk), 'transaction'))
  })

  it('are walked as they were when the walk began, while the chain goes on', async () => {
    let walking = false
    let mined: Promise<readonly BlockHash[]> | undefined
    const breathe = async (): Promise<void> => {
      if (walking) await (mined ??= engine.generateToAddress(1, ANYONE))
    }
    const engine = await open(machine(), { breathe })
    await engine.generateToAddress(101, ANYONE)
    const coinbase = (await blockAt(engine, 1)).transactions[0] as Tx
    const many = pay(
      [outputOf(coinbase)],
      Array.from({ length: 1500 }, () => 1000n),
    )
    await engine.generateBlock(ANYONE, [many])
    walking = true
    const heights = new Set<number>()
    let count = 0
    const tip = await engine.scanCoins((_, coin) => {
      heights.add(coin.height)
      return ++count > 0
    })
    expect(await mined).toHaveLength(1)
    expect(engine.tip().height).toBe(103)
    expect(tip.height).toBe(102)
    expect([count, Math.max(...heights)]).toEqual([101 + 1500, 102])
  })

  it('of figures about all coins say what a walk over the coins says, after every block, branches too', async () => {
    const engine = await open(machine(), { indexes: ['coinstatsindex'] })
    const walked = async (): Promise<[BlockHash, object]> => {
      const sum = { outputs: 0, bogoSize: 0, amount: 0n }
      let product = MUHASH_EMPTY
      const tip = await engine.scanCoins((outpoint, coin) => {
        product = muHashInsert(product, coinBytes(outpoint, coin))
        sum.outputs++
        sum.bogoSize += bogoSize(coin)
        sum.amount += coin.output.value
        return true
      })
      return [tip.hash, { ...sum, muhash: muHashFinish(product) }]
    }
    await engine.generateToAddress(101, ANYONE)
    const seen = [await walked()]
    const parent = pay([outputOf((await blockAt(engine, 1)).transactions[0] as Tx)], [SUBSIDY / 2n, SUBSIDY / 4n])
    const burn = { ...parent, outputs: [...parent.outputs, { value: Sat(1000n), scriptPubKey: Uint8Array.of(0x6a) }] }
    await engine.submitTransaction(burn)
    await engine.generateToAddress(1, ANYONE)
    seen.push(await walked())
    await engine.invalidateBlock(hashAt(engine, 101))
    await engine.generateToAddress(3, elsewhere)
    seen.push(await walked())
    expect(new Set(seen.map(([hash]) => hash)).size).toBe(3)
    for (const [hash, figures] of seen) {
      const stats = await engine.coinStats(hash)
      expect(stats).toMatchObject(figures)
      expect(stats!.subsidy).toBe(stats!.amount + stats!.unspendable)
    }
    expect((await engine.coinStats(hashAt(engine, 0)))!.unspendableGenesis).toBe(SUBSIDY)
    expect((await engine.coinStats(seen[1]![0]))!.unspendableScripts).toBe(1000n)
  })

  it('follow a reorganisation, also one that happened while they were off', async () => {
    const one = machine()
    const engine = await open(one)
    const paid = await grown(engine)
    const last = paid.at(-1) as Tx
    const at = await engine.position(txid(last))
    expect(at).toBeDefined()
    await engine.close()
    const without = await open(one, { indexes: [] })
    await without.invalidateBlock(at!.blockHash)
    await without.generateBlock(elsewhere, [])
    await without.generateToAddress(3, elsewhere)
    const now = without.tip()
    await without.close()
    const again = await open(one)
    while (again.indexes().some(({ synced }) => !synced)) await again.idle()
    expect(again.tip()).toEqual(now)
    const moved = await again.position(txid(last))
    expect(moved?.blockHash).not.toBe(at!.blockHash)
    expect(again.tree.entries.get(moved!.blockHash)).toBe(entryAt(again, again.tree.entries.get(moved!.blockHash)!.height))
  })
})

describe('building again', () => {
  const prepared = async (): Promise<{ one: Machine; tip: unknown; coins: Map<string, string> }> => {
    const one = machine()
    const engine = await open(one)
    await grown(engine)
    const tip = engine.tip()
    await engine.close()
    return { one, tip, coins: await coinsOf(memoryStore(one.disk)) }
  }

  it('from the block files alone comes to the same chain, branches and coins', async () => {
    const { one, tip, coins } = await prepared()
    const index = copyOf(one)
    const none = { ...copyOf(one), disk: new Disk() }
    await expect(open(none)).rejects.toThrow('Start once with --reindex')
    for (const lost of [index, none]) {
      const engine = await open(lost, { rebuild: 'everything' })
      expect(engine.tip()).toEqual(tip)
      expect(await coinsOf(memoryStore(lost.disk))).toEqual(coins)
      expect([...engine.tree.entries.values()].filter((entry) => entry.stored && !engine.isActive(entry))).not.toEqual([])
      await engine.generateToAddress(2, ANYONE)
      await engine.close()
      const again = await open(lost)
      expect(again.tip().height).toBe((tip as { height: number }).height + 2)
    }
  })

  it('of coins and indices from the blocks in the index comes to the same', async () => {
    const { one, tip, coins } = await prepared()
    const engine = await open(one, { rebuild: 'chainstate' })
    expect(engine.tip()).toEqual(tip)
    expect(await coinsOf(memoryStore(one.disk))).toEqual(coins)
    expect(engine.indexes()).toEqual([{ name: 'txindex', height: engine.tip().height, synced: true }])
  })

  it('goes on without what is damaged', async () => {
    const { one } = await prepared()
    const bytes = one.files.contents('blk00001.dat') as Uint8Array
    bytes[bytes.length >>> 1]! ^= 0xff
    const engine = await open(one, { rebuild: 'everything' })
    expect(engine.tip().height).toBeGreaterThan(10)
    expect(engine.tip().height).toBeLessThan(110)
    await engine.generateToAddress(1, ANYONE)
  })

  it('that is interrupted at any write begins again', async () => {
    const { one, tip, coins } = await prepared()
    const counted = copyOf(one)
    const counting = crashStore({ disk: counted.disk })
    await open(counted, { store: counting, rebuild: 'everything' })
    expect(counting.writes).toBeGreaterThan(8)
    for (let write = 1; write <= counting.writes; write++) {
      const copy = copyOf(one)
      const store = crashStore({ disk: copy.disk })
      store.crashAt({ write, when: 'after' })
      const opening = open(copy, { store, rebuild: 'everything' })
      while (!store.crashed) await new Promise((resolve) => setTimeout(resolve, 1))
      void opening
      const engine = await open(copy)
      expect(engine.tip()).toEqual(tip)
      expect(await coinsOf(memoryStore(copy.disk))).toEqual(coins)
    }
  })

  it('refuses a directory of another network, and leaves it as it is', async () => {
    const { one } = await prepared()
    const names = one.files.names()
    const other = createLedgerEngine({
      store: memoryStore(),
      directory: one.files.open(),
      network: networks.signet,
      clock: virtualClock(),
      rebuild: 'everything',
    })
    await expect(other).rejects.toThrow('no whole block of signet')
    expect(one.files.names()).toEqual(names)
  })
})

describe('a disk for block files', () => {
  it('that is full refuses blocks and says so; when there is room it goes on, and nothing is lost', async () => {
    const one = machine()
    const lines: string[] = []
    const say = (_: object, text: string): void => void lines.push(text)
    const log: Log = { debug: () => undefined, info: say, warn: say, error: say }
    const engine = await open(one, { log })
    const source = await open(machine())
    await grown(source)
    for (let height = 1; height <= 60; height++) await engine.submitBlock(await blockAt(source, height))
    const tip = engine.tip()
    one.files.failWrites(1000)
    for (let height = 61; height <= 64; height++)
      await expect(engine.submitBlock(await blockAt(source, height))).rejects.toThrow(/ENOSPC/)
    await expect(engine.generateToAddress(1, ANYONE)).rejects.toThrow(/ENOSPC/)
    expect(engine.tip()).toEqual(tip)
    expect(lines).toContain('the chain could not be written: nothing is taken until it can be')
    one.files.failWrites(0)
    for (let height = 61; height <= source.tip().height; height++) await engine.submitBlock(await blockAt(source, height))
    expect(engine.tip()).toEqual(source.tip())
    expect(lines).toContain('the chain can be written again')
    const again = await open(one)
    expect(again.tip()).toEqual(source.tip())
    for (let height = 1; height <= again.tip().height; height++)
      expect(await blockAt(again, height)).toEqual(await blockAt(source, height))
  })

  it('that damaged a block is noticed when the block is read, and the chain goes on', async () => {
    const one = machine()
    const engine = await open(one)
    await engine.generateToAddress(10, ANYONE)
    const bytes = one.files.contents('blk00000.dat') as Uint8Array
    bytes[400]! ^= 1
    await expect(engine.blockByHash(hashAt(engine, 1))).rejects.toThrow(/blk00000\.dat.*is not what was written/)
    await engine.generateToAddress(1, ANYONE)
    expect(engine.tip().height).toBe(11)
  })
})
