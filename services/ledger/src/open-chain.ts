/**
 * Opening the chain of a store: what it says of itself, its block files, the tree of headers, the mempool of the last run. After a
 * crash, what is stored beyond the tip is connected here.
 */
import { encodeBlock, type BlockHash, type Txid } from '@leyden/bitcoin'
import {
  ancestorAt,
  bestStored,
  createHeaderTree,
  createScriptCache,
  restoreEntry,
  type BlockFees,
  type HeaderEntry,
} from '@leyden/ledger'
import { blockFileNumbers, openBlockFiles, recordMagic } from './block-files.ts'
import { openIndexes } from './chain-indexes.ts'
import {
  claimStore,
  isFresh,
  readFiles,
  readHeaders,
  readTip,
  StoreMismatch,
  type About,
  type StoredBlock,
} from './chain-rows.ts'
import { fillPool, openPool } from './chain-pool.ts'
import { tieLoose } from './chain-blocks.ts'
import { activate, settle, tipOf, type Chain, type ChainOptions } from './chain.ts'
import { createCoinsCache } from './coins-cache.ts'
import { flush, newFlushes } from './flush.ts'
import { readFees, readMempool } from './mempool-rows.ts'
import { rebuild } from './rebuild.ts'
import { createRowBuffer } from './row-buffer.ts'
import { Stopping, turns, type Progress } from './warmup.ts'

/** Of the cache, the part for what is not on the disk: two of these may be held at once, one being written. */
const DIRTY_PART = 4
/** A flush that is larger takes too long. */
const MAX_DIRTY_BYTES = 48 * 1024 * 1024

/**
 * Opens the chain of a store, or begins one; the mempool of the last run is judged anew.
 * Throws Stopping when the start is to go no further: what it has come to by then is durable.
 */
export const openChain = async (options: ChainOptions): Promise<Chain> => {
  const { store, network, log, cacheBytes, directory, startup } = options
  const tree = createHeaderTree(network, network.genesis.header)
  startup.begin({ doing: 'Loading block index' })
  const about = await claim(options, tree.genesis.hash)
  startup.begin({ doing: 'Loading block index' })
  const turn = turns(options)
  const files = await openBlockFiles(
    { directory, magic: recordMagic(network), maxFileBytes: options.maxFileBytes },
    await readFiles(store),
  )
  // As bitcoind does: programs that read its files expect the genesis block to stand first.
  if (files.facts.size === 0) files.appendBlock(tree.genesis.hash, 0, encodeBlock(network.genesis))
  const fees = new Map<BlockHash, BlockFees>()
  const stored = new Map<BlockHash, StoredBlock>()
  let nextOrder = 1
  let leastOrder = 0
  for await (const row of readHeaders(store)) {
    await turn()
    const entry = restoreEntry(tree, row.header, { stored: row.stored, failed: row.failed, order: row.order })
    if (entry === undefined) continue
    if (row.fees !== undefined) fees.set(entry.hash, row.fees)
    if (row.at !== undefined) stored.set(entry.hash, row.at)
    nextOrder = Math.max(nextOrder, row.order + 1)
    leastOrder = Math.min(leastOrder, row.order)
  }
  const tipHash = await readTip(store)
  const tip = tipHash === undefined ? tree.genesis : tree.entries.get(tipHash)
  if (tip === undefined) throw new Error(`the data directory is damaged: no header for its tip ${tipHash}`)
  const active: HeaderEntry[] = []
  for (let at: HeaderEntry | undefined = tip; at !== undefined; at = at.parent) active[at.height] = at
  const rows = createRowBuffer(store)
  const maxDirtyBytes = Math.min(MAX_DIRTY_BYTES, Math.floor(cacheBytes / DIRTY_PART))
  const dirty = new Set<Txid>()
  const estimator = await readFees(store, options.now(), options.acceptStaleFees)
  const pool = openPool({
    policy: options.policy,
    dirty,
    estimator,
    isCurrent: () => isCurrent(chain),
    listener: options.onMempool,
  })
  const chain: Chain = {
    options,
    tree,
    active,
    coins: createCoinsCache(store, cacheBytes - 2 * maxDirtyBytes),
    rows,
    files,
    indexes: await openIndexes(store, rows, options.indexes, tree.genesis, network, (hash) => tree.entries.get(hash)),
    stored,
    loose: new Map(),
    named: new WeakSet(tree.entries.values()),
    fees,
    pool,
    estimator,
    dirty,
    touched: new Set(),
    doomed: [],
    returned: [],
    settled: tip,
    told: tip,
    flushes: newFlushes(tip),
    maxDirtyBytes,
    progress: { since: options.nowMs(), blocks: 0, transactions: 0 },
    about,
    scripts: options.scriptCache ?? createScriptCache(),
    best: bestStored(tree),
    nextOrder,
    leastOrder,
  }
  gatherLoose(chain)
  if (options.persistMempool) await loadPool(chain)
  await connectStored(chain)
  checkIndexes(chain)
  settle(chain)
  await flush(chain)
  log.info({ height: tipOf(chain).height, hash: tipOf(chain).hash, mempool: chain.pool.entries.size }, 'chain open')
  return chain
}

/** Blocks that are here and their parents are not. */
const gatherLoose = (chain: Chain): void => {
  for (const hash of chain.stored.keys()) {
    const entry = chain.tree.entries.get(hash)
    if (entry === undefined || entry.stored || entry.parent === undefined) continue
    chain.loose.set(entry.parent.hash, [...(chain.loose.get(entry.parent.hash) ?? []), entry])
  }
  for (const hash of chain.loose.keys()) {
    const parent = chain.tree.entries.get(hash)
    if (parent?.stored === true) tieLoose(chain, parent)
  }
}

/** Seconds: with an older tip we are behind, and waiting is not the miners' doing. Bitcoin Core's MAX_FEE_ESTIMATION_TIP_AGE. */
const MAX_CURRENT_AGE = 3 * 3600

const isCurrent = (chain: Chain): boolean =>
  tipOf(chain) === chain.best && tipOf(chain).header.time >= chain.options.now() - MAX_CURRENT_AGE

/** The mempool of the last run. */
const loadPool = async (chain: Chain): Promise<void> => {
  const rows = await readMempool(chain.options.store)
  for (const row of rows) if (row.delta !== 0n) chain.pool.deltas.set(row.txid, row.delta)
  const waiting = rows.flatMap(({ tx, time }) => (tx === undefined ? [] : [{ tx, time }]))
  let done = 0
  const turn = turns(chain.options)
  const progress = (): Progress => ({ done, of: waiting.length, unit: 'transactions' })
  chain.options.startup.begin({ doing: 'Loading mempool', progress, isLong: true })
  // Nobody flushes yet: it may be waited between two transactions.
  await fillPool(chain, waiting, {
    pause: async () => {
      done++
      await turn()
    },
  })
  for (const row of rows) if (row.unbroadcast && chain.pool.entries.has(row.txid)) chain.pool.unbroadcast.add(row.txid)
}

/** Connects what is stored beyond the tip: after a crash, or when the chain is built again. */
const connectStored = async (chain: Chain): Promise<void> => {
  const progress = (): Progress => ({ done: tipOf(chain).height, of: chain.best.height, unit: 'blocks' })
  if (tipOf(chain) !== chain.best) chain.options.startup.begin({ doing: 'Verifying blocks', progress, isLong: true })
  try {
    await activate(chain)
  } catch (error) {
    if (error instanceof Stopping) await flush(chain)
    throw error
  }
}

/** An index needs blocks that have been pruned. */
export class IndexBehindPruned extends StoreMismatch {}

/** An index that is behind needs the blocks that it has not had. */
const checkIndexes = (chain: Chain): void => {
  // bitcoind opens that of filters before that of figures: where both lack something, it names the first.
  for (const { name, best } of chain.indexes.toReversed()) {
    const next = ancestorAt(tipOf(chain), best.height + 1) ?? best
    if (best !== tipOf(chain) && chain.stored.get(next.hash)?.undo === undefined)
      throw new IndexBehindPruned(
        `${name} best block of the index goes beyond pruned data. ` +
          'Please disable the index or reindex (which will download the whole blockchain again)',
      )
  }
}

/** Marks a fresh store as this network's, and takes away what is to be built again. Throws StoreMismatch when it is another's, or fresh beside block files that are not. */
const claim = async (options: ChainOptions, genesis: BlockHash): Promise<About> => {
  const { store, directory, network, rebuild: rebuilding } = options
  if (rebuilding === undefined && (await isFresh(store)) && (await blockFileNumbers(directory)).length > 0)
    throw new StoreMismatch(
      `${directory.path} has block files that no index names. Start once with --reindex to build the chain again from them, or delete them`,
    )
  const about = await claimStore(store, network, genesis)
  const what = about.rebuilding === 'everything' ? 'everything' : (rebuilding ?? about.rebuilding)
  return what === undefined ? about : rebuild(what, about, options)
}
