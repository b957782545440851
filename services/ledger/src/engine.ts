/**
 * The ledger engine: one chain, one mempool, one queue of jobs, behind plain functions. Ports in, no sockets, no clock of its own:
 * the simulation runs this very file over a disk and a clock that it makes up.
 * Everything that changes something waits in one queue, and resolves when it is durable; what comes together is made durable
 * together. The tip that is shown is the durable one, while the mempool may be a few blocks ahead: `settled` brings them together.
 */
import {
  blockHash,
  encodeBlock,
  FeeratePerKw,
  txidFromBytes,
  type Block,
  type BlockHash,
  type BlockHeader,
  type BlockHeight,
  type Coin,
  type Network,
  type Outpoint,
  type Tx,
  type Txid,
} from '@leyden/bitcoin'
import {
  addHeader,
  ancestorAt,
  bestHeader,
  checkBlockAlone,
  DEFAULT_POLICY,
  DEFAULT_TEMPLATE_LIMITS,
  estimateFeerate,
  inOrder,
  isViolation,
  locator,
  minFeeratePerKvb,
  placeHeader,
  type Assumption,
  prioritise,
  smartFeerate,
  type BlockFees,
  type BlockViolation,
  type FeeEstimator,
  type HeaderEntry,
  type HeaderTree,
  type Mempool,
  type ScriptCache,
  type MempoolListener,
  type MempoolPolicy,
  type PackageVerdict,
  type TemplateLimits,
  type ScriptChecker,
  type Undo,
} from '@leyden/ledger'
import { FEE_TARGETS, type BroadcastResult, type FeeEstimates, type LedgerEvent, type LedgerSource } from '@leyden/link'
import { decodeKey, type Clock, type Log, type Store } from '@leyden/runtime'
import { takePackage, takeTransactions, type TakeOptions, type TransactionOutcome } from './broadcast.ts'
import { advanceIndex, type ChainIndex, type IndexName } from './chain-indexes.ts'
import { readAllCoins, readFilter, readPosition, type StoredFilter, type TxPosition } from './chain-rows.ts'
import {
  feeHistory,
  invalidate,
  loadView,
  prefer,
  reconsider,
  settle,
  takeBlock,
  tipOf,
  wasConnected,
  type BlockOutcome,
  type ChainStep,
} from './chain.ts'
import { loadBlock, loadBlockBytes, loadUndo, storedBlock, storedUndo } from './chain-blocks.ts'
import { openChain } from './open-chain.ts'
import { readCoinStats, type CoinStats } from './coin-stats.ts'
import type { Directory } from './directory.ts'
import { flush, isDirty, makeRoom, recover, startFlush, whenDurable } from './flush.ts'
import { feesWrite } from './mempool-rows.ts'
import { createMining, type Mining } from './mining.ts'
import type { Rebuild } from './rebuild.ts'
import { pruneHeight, pruneTo, type Pruning } from './prune.ts'
import { NO_STARTUP, type Startup } from './warmup.ts'

export type { BlockOutcome } from './chain.ts'
export type { TakeOptions, TransactionOutcome } from './broadcast.ts'
export { GenerateError, type BlockTemplate } from './mining.ts'

export type LedgerEngineOptions = {
  readonly store: Store
  /** Where block files are kept. */
  readonly directory: Directory
  readonly network: Network
  readonly clock: Clock
  readonly log?: Log
  /** Puts the solution of a signed network into a block of ours; undefined when our keys do not suffice. */
  readonly signBlock?: (block: Block) => Block | undefined
  /** What the mempool takes, where that is not the default. */
  readonly policy?: Partial<MempoolPolicy>
  /** Whether the mempool outlives a restart; it does unless this is false. */
  readonly persistMempool?: boolean
  /** Whether fee estimates are served however old they are. */
  readonly acceptStaleFees?: boolean
  /** What blocks of ours may hold, where that is not the default. */
  readonly template?: Partial<TemplateLimits>
  /** What headers of blocks of ours carry instead of the usual version. */
  readonly blockVersion?: number | undefined
  /** Runs the scripts of blocks. Without one they run in this thread. */
  readonly checkScripts?: ScriptChecker
  /** Blocks whose scripts need not run. */
  readonly assumption?: Assumption
  /** What is known of scripts; a small one by default, whose places anyone can compute. */
  readonly scriptCache?: ScriptCache
  /** Memory for coins, in the store and not yet there. 64 MiB by default. */
  readonly cacheBytes?: number
  /** Indices to keep; that of transactions by default. */
  readonly indexes?: readonly IndexName[]
  readonly pruning?: Pruning
  /** Block files are no larger: bitcoind's 128 MiB by default. */
  readonly maxFileBytes?: number
  /** Lets others have a turn in the middle of long work; nothing by default. */
  readonly breathe?: () => Promise<void>
  /** Is told how far the start is, and may end it. */
  readonly startup?: Startup
  /** Build the chain again before anything else: from the block files alone, or coins and indices from the blocks in the index. */
  readonly rebuild?: Rebuild | undefined
  /** A chain that is lower is not pruned; 1000 by default. */
  readonly pruneAfterHeight?: number
}

/** What of the chain is on the disk. */
export type StorageState = {
  /** Of the block files. */
  readonly bytes: number
  readonly pruning: Pruning
  /** Height of the last block of the active chain that is not here any more. */
  readonly prunedHeight: number | undefined
  readonly pruneAfterHeight: number
}

export type IndexState = { readonly name: IndexName; readonly height: number; readonly synced: boolean }

export interface LedgerEngine extends LedgerSource, Mining {
  readonly network: Network
  /** For reading only. */
  readonly tree: HeaderTree
  /** For reading only. */
  readonly pool: Mempool
  tipEntry(): HeaderEntry
  /** The header with the most work that we know, its block here or not. */
  bestHeaderEntry(): HeaderEntry
  isActive(entry: HeaderEntry): boolean
  /** Whether every rule of the block is known to hold: it was on the active chain once. */
  isValidated(entry: HeaderEntry): boolean
  locator(): BlockHash[]
  /** Resolves when everything that was taken is durable, and so shown: from then to the next wait all answers agree. */
  settled(): Promise<void>
  /** Whether the bytes of a block are here. `pruned`: they were. */
  blockData(entry: HeaderEntry): 'here' | 'pruned' | 'missing'
  /** Of a block that came, pruned or not. */
  transactionCount(entry: HeaderEntry): number | undefined
  storage(): StorageState
  /** Deletes old blocks up to this height, whole files only and never the last 288. */
  prune(height: number): Promise<void>
  indexes(): readonly IndexState[]
  /** Figures about all coins after the block, from their index. */
  coinStats(hash: BlockHash): Promise<CoinStats | undefined>
  /** From the index of filters. */
  filter(hash: BlockHash): Promise<StoredFilter | undefined>
  /** Serialized as in Bitcoin; undefined when not stored. */
  blockBytes(hash: BlockHash): Promise<Uint8Array | undefined>
  undo(hash: BlockHash): Promise<Undo | undefined>
  coin(outpoint: Outpoint): Promise<Coin | undefined>
  /**
   * Every coin, by the bytes of the txid and then by vout, all of one tip, which is the answer; the chain goes on meanwhile. `visit`
   * says whether to go on.
   */
  scanCoins(visit: (outpoint: Outpoint, coin: Coin) => boolean): Promise<HeaderEntry>
  /** Where the active chain has the transaction. */
  position(id: Txid): Promise<TxPosition | undefined>
  /** What our own mempool has taught about fees. For reading only. */
  readonly estimator: FeeEstimator
  /** Tells of all that enters or leaves the mempool, at once. */
  watchMempool(listener: MempoolListener): () => void
  /**
   * Tells of each block as it is put on top or taken off, in order with what watchMempool tells. It may not be durable yet: it is once
   * the tip that `subscribe` tells of shows it.
   */
  watchSteps(listener: (step: ChainStep) => void): () => void
  /** Headers in order, each on the one before or on one that we know. Known ones are skipped. The last entry, or what is wrong. */
  submitHeaders(headers: readonly BlockHeader[]): HeaderEntry | BlockViolation
  submitBlock(block: Block): Promise<BlockOutcome>
  submitTransaction(tx: Tx, options?: TakeOptions): Promise<TransactionOutcome>
  /** Parents first. */
  submitTransactions(transactions: readonly Tx[], options?: TakeOptions): Promise<readonly TransactionOutcome[]>
  /** A child with its parents, taken or tested as one. */
  submitPackage(transactions: readonly Tx[], options?: TakeOptions): Promise<PackageVerdict>
  /** Adds to the fee of a transaction, here or not yet here, in the eyes of miner and limits. Satoshi. */
  prioritise(id: Txid, change: bigint): Promise<void>
  /** A peer has asked for the transaction: it is on its way. */
  reached(id: Txid): void
  /** Counts the transaction, if it waits, as ours that no peer has asked for yet. */
  holdUnbroadcast(id: Txid): void
  /** Tells of a transaction that waits, again. */
  announceAgain(id: Txid): void
  /** Writes down what was learnt about fees. */
  saveFees(): Promise<void>
  invalidateBlock(hash: BlockHash): Promise<void>
  reconsiderBlock(hash: BlockHash): Promise<void>
  /** Of blocks with as much work this one wins. */
  preferBlock(hash: BlockHash): Promise<void>
  /** Resolves when every job so far has ended. */
  idle(): Promise<void>
  /** Refuses new jobs, waits for those under way. The store stays open. */
  close(): Promise<void>
}

const SILENT: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

/** A header that nobody has sent the block of costs memory only, and not without end. */
const MAX_HEADERS_WITHOUT_BLOCK = 2_000_000

/** What building an index may take before other jobs have their turn. */
const INDEX_TURN_MS = 50
const INDEX_TURN_BLOCKS = 100

/** Coins of a scan in one turn of the event loop. */
const COINS_AT_ONCE = 1000

/** Satoshi per 1000 weight so that any transaction, its size rounded up to whole virtual bytes, still pays the rate. */
const perKw = (perKvb: number): FeeratePerKw => FeeratePerKw(Math.max(253, Math.ceil((perKvb / 4) * 1.012)))

/**
 * Opens the chain that the store holds, or begins one at the network's genesis. Throws StoreMismatch on a store of another network,
 * Stopping when the start is to go no further.
 */
export const createLedgerEngine = async (options: LedgerEngineOptions): Promise<LedgerEngine> => {
  const { store, directory, network, clock, log = SILENT, checkScripts, scriptCache, assumption } = options
  const watchers = new Set<MempoolListener>()
  const stepWatchers = new Set<(step: ChainStep) => void>()
  const listeners = new Set<(event: LedgerEvent) => void>()
  const emit = (event: LedgerEvent): void => {
    for (const listener of listeners)
      try {
        listener(event)
      } catch (error) {
        log.error({ error: String(error) }, 'a follower of the ledger threw')
      }
  }
  const now = (): number => Math.floor(clock.now() / 1000)
  /** The tip that is shown: durable, and in the middle of a reorganisation still the old one. */
  let shown: HeaderEntry | undefined
  /** After the chain is open. */
  let schedule: () => void = () => undefined
  let bestHeaderSeen = (): HeaderEntry | undefined => undefined
  const chain = await openChain({
    store,
    directory,
    network,
    now,
    nowMs: () => clock.now(),
    breathe: options.breathe ?? (() => Promise.resolve()),
    startup: options.startup ?? NO_STARTUP,
    log,
    cacheBytes: options.cacheBytes ?? 64 * 1024 * 1024,
    indexes: options.indexes ?? ['txindex'],
    pruning: options.pruning ?? 'off',
    pruneAfterHeight: options.pruneAfterHeight ?? 1000,
    maxFileBytes: options.maxFileBytes,
    rebuild: options.rebuild,
    onDurable({ tip, returned }) {
      if (shown === undefined) return
      if (shown !== tip) {
        shown = tip
        emit({ type: 'tipChanged' })
      }
      for (const tx of returned) emit({ type: 'transactionSeen', tx })
    },
    onFlushed: () => schedule(),
    onTransaction: (tx) => emit({ type: 'transactionSeen', tx }),
    onStep: (step) => {
      for (const watcher of stepWatchers) watcher(step)
    },
    policy: { ...DEFAULT_POLICY, ...options.policy },
    persistMempool: options.persistMempool !== false,
    acceptStaleFees: options.acceptStaleFees === true,
    onMempool: {
      added: (entry, sequence, origin) => {
        for (const { added } of watchers) added?.(entry, sequence, origin)
      },
      removed: (entry, reason, sequence) => {
        for (const { removed } of watchers) removed?.(entry, reason, sequence)
      },
    },
    ...(checkScripts === undefined ? {} : { checkScripts }),
    ...(scriptCache === undefined ? {} : { scriptCache }),
    ...(assumption === undefined ? {} : { assumption }),
    bestHeader: () => bestHeaderSeen(),
  })
  const { tree, pool, active } = chain
  shown = tipOf(chain)
  const shownTip = (): HeaderEntry => shown as HeaderEntry
  const shownAt = (height: number): HeaderEntry | undefined =>
    shown === tipOf(chain) ? active[height] : ancestorAt(shownTip(), height)

  let queue: Promise<unknown> = Promise.resolve()
  let closed = false
  /** Jobs that wait or run, and callers that are about to bring more: while there are any, blocks gather for one flush. */
  let busy = 0
  schedule = () => {
    const { failure, waiters } = chain.flushes
    if (busy === 0 && (failure === undefined || waiters.length > 0)) startFlush(chain)
  }
  /** Runs the job after all before it. What it changed is in memory then, and not yet durable. */
  const inMemory = <T>(job: () => Promise<T>): Promise<T> => {
    if (closed) return Promise.reject(new Error('the ledger is closed'))
    busy++
    const run = queue.then(async () => {
      try {
        await recover(chain)
        return await job()
      } finally {
        settle(chain)
        busy--
        schedule()
      }
    })
    queue = run.catch(() => undefined)
    return run
  }
  const durable = (): Promise<void> => {
    const done = whenDurable(chain)
    schedule()
    return done
  }
  /** Runs the job, and resolves when what it changed is durable. */
  const inQueue = async <T>(job: () => Promise<T>): Promise<T> => {
    const answer = await inMemory(job)
    await durable()
    return answer
  }
  const settled = async (): Promise<void> => {
    if (isDirty(chain) || chain.flushes.running !== undefined) await flush(chain)
  }

  let headersWithoutBlock = 0
  let bestSeen = bestHeader(tree)
  bestHeaderSeen = () => {
    if (bestSeen.failed !== 'none') bestSeen = bestHeader(tree)
    return bestSeen.chainWork > chain.best.chainWork ? bestSeen : chain.best
  }

  const knownEntry = (hash: BlockHash): HeaderEntry => {
    const entry = tree.entries.get(hash)
    if (entry === undefined) throw new RangeError(`no block ${hash}`)
    return entry
  }

  const submitHeaders = (headers: readonly BlockHeader[]): HeaderEntry | BlockViolation => {
    let last = tree.genesis
    for (const header of headers) {
      const known = tree.entries.has(blockHash(header))
      const entry = placeHeader(tree, header, now())
      if (isViolation(entry)) return entry
      last = entry
      if (known) continue
      if (headersWithoutBlock >= MAX_HEADERS_WITHOUT_BLOCK) return { violation: true, reason: 'too-many-headers' }
      headersWithoutBlock++
      addHeader(tree, entry)
    }
    if (last.chainWork > bestSeen.chainWork) bestSeen = last
    return last
  }

  const submitBlock = (block: Block): Promise<BlockOutcome> => {
    // What needs nothing of the chain can be done while the block before is still under way. The answer is asked for again in its turn
    if (tree.entries.get(blockHash(block.header))?.stored !== true) checkBlockAlone(block, network)
    return inQueue(async () => {
      const known = tree.entries.get(blockHash(block.header))
      const outcome = await takeBlock(chain, block)
      if (known !== undefined && outcome.status !== 'duplicate' && known.stored) headersWithoutBlock--
      return outcome
    })
  }

  const mining = createMining({
    chain,
    inMemory,
    gather: async (work) => {
      busy++
      try {
        return await work()
      } finally {
        busy--
        schedule()
        await durable()
      }
    },
    limits: { ...DEFAULT_TEMPLATE_LIMITS, ...options.template },
    blockVersion: options.blockVersion,
    signBlock: options.signBlock,
  })

  const submitTransactions = (transactions: readonly Tx[], take: TakeOptions = {}): Promise<readonly TransactionOutcome[]> =>
    (take.durable === false || take.dryRun === true ? inMemory : inQueue)(() => takeTransactions(chain, transactions, take))

  const broadcast = async (transactions: readonly Tx[]): Promise<BroadcastResult> => {
    const outcomes = await submitTransactions(transactions, { asPackage: transactions.length > 1, local: true })
    for (const { status, rejection, txid: id } of outcomes) {
      if (status !== 'rejected' || rejection === undefined || rejection.reason === 'txn-already-known') continue
      if ((await readPosition(chain.rows, id)) !== undefined) continue
      return { ok: false, reason: rejection.reason, permanent: rejection.kind === 'consensus' }
    }
    return { ok: true }
  }

  /** What our own mempool has learnt; where that is too little, what blocks and mempool show. */
  const feerateFor = (target: number, history: readonly BlockFees[]): number => {
    const { feerate } = smartFeerate(chain.estimator, target, true)
    return feerate > 0 ? Math.max(feerate, minFeeratePerKvb(pool, now())) : estimateFeerate(pool, history, target, now())
  }
  const fees = (): FeeEstimates => {
    const history = feeHistory(chain)
    const rates = FEE_TARGETS.map((target) => [target, perKw(feerateFor(target, history))] as const)
    return {
      feeratePerKw: Object.fromEntries(rates) as FeeEstimates['feeratePerKw'],
      minimumFeeratePerKw: perKw(minFeeratePerKvb(pool, now())),
    }
  }

  const saveFees = (): Promise<void> => store.write([feesWrite(chain.estimator, now())])

  /** Brings indices up that are behind, some blocks at a time so that other jobs come between. */
  const catchUp = async (index: ChainIndex): Promise<void> => {
    const source = {
      block: (entry: HeaderEntry) => storedBlock(chain, entry),
      undo: (entry: HeaderEntry) => storedUndo(chain, entry),
    }
    if (index.best === tipOf(chain)) return
    log.info({ index: index.name, from: index.best.height, to: tipOf(chain).height }, 'an index is being built')
    const step = (): Promise<boolean> =>
      inMemory(async () => {
        const until = clock.now() + INDEX_TURN_MS
        for (let i = 0; i < INDEX_TURN_BLOCKS; i++) {
          if (!(await advanceIndex(index, chain.rows, tipOf(chain), source))) return false
          if (clock.now() > until) break
        }
        await makeRoom(chain)
        return !closed
      })
    while (await step());
    if (!closed) log.info({ index: index.name, height: index.best.height }, 'an index is in step')
  }
  for (const index of chain.indexes)
    catchUp(index).catch((error: unknown) => {
      if (!closed) log.error({ index: index.name, error: String(error) }, 'an index cannot be built')
    })

  return {
    network,
    tree,
    pool,
    tip: () => ({ height: shownTip().height, hash: shownTip().hash }),
    tipEntry: shownTip,
    bestHeaderEntry() {
      if (bestSeen.failed !== 'none') bestSeen = bestHeader(tree)
      return bestSeen.chainWork > shownTip().chainWork ? bestSeen : shownTip()
    },
    isActive: (entry) => shownAt(entry.height) === entry,
    isValidated: (entry) => wasConnected(chain, entry),
    locator: () => locator(shownTip()),
    hashAtHeight: (height: BlockHeight) => shownAt(height)?.hash,
    headerByHash: (hash) => tree.entries.get(hash),
    blockByHash: (hash) => loadBlock(chain, hash),
    settled,
    blockData(entry) {
      if (entry === tree.genesis || chain.stored.get(entry.hash)?.block !== undefined) return 'here'
      return entry.stored ? 'pruned' : 'missing'
    },
    transactionCount: (entry) => (entry === tree.genesis ? 1 : chain.stored.get(entry.hash)?.transactions),
    storage: () => ({
      bytes: chain.files.size(),
      pruning: chain.options.pruning,
      prunedHeight: pruneHeight(chain),
      pruneAfterHeight: chain.options.pruneAfterHeight,
    }),
    prune: (height) => inQueue(async () => pruneTo(chain, height)),
    indexes: () => chain.indexes.map(({ name, best }) => ({ name, height: best.height, synced: best === tipOf(chain) })),
    coinStats: (hash) => readCoinStats(chain.rows, hash),
    filter: (hash) => readFilter(chain.rows, hash),
    blockBytes: async (hash) => (hash === tree.genesis.hash ? encodeBlock(network.genesis) : loadBlockBytes(chain, hash)),
    undo: (hash) => loadUndo(chain, hash),
    mempool: () => inOrder(pool.entries.values()).map(({ tx }) => tx),
    async coin(outpoint) {
      await settled()
      return [...(await loadView(chain, [outpoint])).values()][0]
    },
    async isUnspent(outpoint) {
      await settled()
      return (await loadView(chain, [outpoint])).size > 0
    },
    async scanCoins(visit) {
      const { snapshot, tip } = await inMemory(async () => {
        await flush(chain)
        return { snapshot: await store.snapshot(), tip: tipOf(chain) }
      })
      let count = 0
      try {
        for await (const [rowKey, coin] of readAllCoins(snapshot)) {
          const [, id, vout] = decodeKey(rowKey) as [string, Uint8Array, number]
          if (!visit({ txid: txidFromBytes(id), vout }, coin)) break
          if (++count % COINS_AT_ONCE === 0) await chain.options.breathe()
        }
      } finally {
        snapshot.close()
      }
      return tip
    },
    async position(id) {
      await settled()
      return readPosition(chain.rows, id)
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    broadcast,
    fees,
    estimator: chain.estimator,
    watchMempool(listener) {
      watchers.add(listener)
      return () => void watchers.delete(listener)
    },
    watchSteps(listener) {
      stepWatchers.add(listener)
      return () => void stepWatchers.delete(listener)
    },
    submitHeaders,
    submitBlock,
    submitTransactions,
    submitTransaction: async (tx, take) => (await submitTransactions([tx], take))[0] as TransactionOutcome,
    submitPackage: (transactions, take = {}) =>
      (take.dryRun === true ? inMemory : inQueue)(() => takePackage(chain, transactions, take)),
    prioritise: (id, change) =>
      inQueue(async () => {
        prioritise(pool, id, change)
        chain.dirty.add(id)
      }),
    reached(id) {
      if (pool.unbroadcast.delete(id)) chain.dirty.add(id)
    },
    holdUnbroadcast(id) {
      if (!pool.entries.has(id)) return
      pool.unbroadcast.add(id)
      chain.dirty.add(id)
    },
    announceAgain(id) {
      const entry = pool.entries.get(id)
      if (entry !== undefined) emit({ type: 'transactionSeen', tx: entry.tx })
    },
    saveFees,
    ...mining,
    invalidateBlock: (hash) => inQueue(() => invalidate(chain, knownEntry(hash))),
    reconsiderBlock: (hash) => inQueue(() => reconsider(chain, knownEntry(hash))),
    preferBlock: (hash) => inQueue(() => prefer(chain, knownEntry(hash))),
    idle: () => inQueue(async () => undefined),
    async close() {
      closed = true
      await queue
      await flush(chain)
      await saveFees().catch((error: unknown) => log.warn({ error: String(error) }, 'fee estimates could not be written'))
    },
  }
}
