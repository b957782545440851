/**
 * The ledger engine: one chain, one mempool, one queue of jobs, behind plain functions. Ports in, no sockets, no clock of its own:
 * the simulation runs this very file over a disk and a clock that it makes up.
 * Everything that changes something waits in one queue, and resolves when it is durable; what comes together is made durable
 * together. The tip that is shown is the durable one, while the mempool may be a few blocks ahead: `settled` brings them together.
 */
import {
  blockHash,
  checkSignetSolution,
  encodeBlock,
  FeeratePerKw,
  Sat,
  txid,
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
  buildBlock,
  chooseTransactions,
  estimateFeerate,
  findNonce,
  inOrder,
  isViolation,
  locator,
  minFeeratePerKvb,
  placeHeader,
  type Assumption,
  type BlockViolation,
  type HeaderEntry,
  type HeaderTree,
  type Mempool,
  type ScriptCache,
  type ScriptChecker,
  type Undo,
} from '@leyden/ledger'
import { FEE_TARGETS, type BroadcastResult, type FeeEstimates, type LedgerEvent, type LedgerSource } from '@leyden/link'
import { decodeKey, type Clock, type Log, type Random, type Store } from '@leyden/runtime'
import { takeTransactions, type TakeOptions, type TransactionOutcome } from './broadcast.ts'
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
} from './chain.ts'
import { loadBlock, loadBlockBytes, loadUndo, storedBlock, storedUndo } from './chain-blocks.ts'
import { openChain } from './open-chain.ts'
import type { Directory } from './directory.ts'
import { flush, isDirty, makeRoom, recover, startFlush, whenDurable } from './flush.ts'
import type { Rebuild } from './rebuild.ts'
import { pruneHeight, pruneTo, type Pruning } from './prune.ts'

export type { BlockOutcome } from './chain.ts'
export type { TakeOptions, TransactionOutcome } from './broadcast.ts'

export type LedgerEngineOptions = {
  readonly store: Store
  /** Where block files are kept. */
  readonly directory: Directory
  readonly network: Network
  readonly clock: Clock
  readonly random?: Random
  readonly log?: Log
  /** Puts the solution of a signed network into a block of ours; undefined when our keys do not suffice. */
  readonly signBlock?: (block: Block) => Block | undefined
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

/** A block was made and not taken: the reason is a bug, a bad transaction given by the caller, or difficulty out of reach. */
export class GenerateError extends Error {
  constructor(detail: string) {
    super(detail)
    this.name = 'GenerateError'
  }
}

export interface LedgerEngine extends LedgerSource {
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
  /** From the index of filters. */
  filter(hash: BlockHash): Promise<StoredFilter | undefined>
  /** Serialized as in Bitcoin; undefined when not stored. */
  blockBytes(hash: BlockHash): Promise<Uint8Array | undefined>
  undo(hash: BlockHash): Promise<Undo | undefined>
  coin(outpoint: Outpoint): Promise<Coin | undefined>
  /**
   * Every coin, by the bytes of the txid and then by vout, all of one tip, which is the answer. Nothing else happens meanwhile: for
   * audits and small chains. `visit` says whether to go on.
   */
  scanCoins(visit: (outpoint: Outpoint, coin: Coin) => boolean): Promise<HeaderEntry>
  /** Where the active chain has the transaction. */
  position(id: Txid): Promise<TxPosition | undefined>
  /** Satoshi per 1000 virtual bytes. */
  estimateFeeratePerKvb(target: number): number
  /** Headers in order, each on the one before or on one that we know. Known ones are skipped. The last entry, or what is wrong. */
  submitHeaders(headers: readonly BlockHeader[]): HeaderEntry | BlockViolation
  submitBlock(block: Block): Promise<BlockOutcome>
  submitTransaction(tx: Tx, options?: TakeOptions): Promise<TransactionOutcome>
  /** Parents first. */
  submitTransactions(transactions: readonly Tx[], options?: TakeOptions): Promise<readonly TransactionOutcome[]>
  /** A block on the tip that nobody has worked for yet. */
  template(scriptPubKey: Uint8Array, transactions?: readonly Tx[]): Promise<Block>
  /** Mines so many blocks. Throws {@link GenerateError}. */
  generateToAddress(count: number, scriptPubKey: Uint8Array, maxTries?: number): Promise<BlockHash[]>
  /** Mines one block of exactly these transactions. Throws {@link GenerateError}. */
  generateBlock(scriptPubKey: Uint8Array, transactions: readonly Tx[], submit?: boolean): Promise<Block>
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

/** Satoshi per 1000 weight so that any transaction, its size rounded up to whole virtual bytes, still pays the rate. */
const perKw = (perKvb: number): FeeratePerKw => FeeratePerKw(Math.max(253, Math.ceil((perKvb / 4) * 1.012)))

/** Opens the chain that the store holds, or begins one at the network's genesis. Throws StoreMismatch on a store of another network. */
export const createLedgerEngine = async (options: LedgerEngineOptions): Promise<LedgerEngine> => {
  const { store, directory, network, clock, log = SILENT, checkScripts, scriptCache, assumption } = options
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
  let extraNonce = (options.random?.bytes(3) ?? new Uint8Array(3)).reduce((n, byte) => n * 256 + byte, 0)

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

  const submitBlock = (block: Block): Promise<BlockOutcome> =>
    inQueue(async () => {
      const known = tree.entries.get(blockHash(block.header))
      const outcome = await takeBlock(chain, block)
      if (known !== undefined && outcome.status !== 'duplicate' && known.stored) headersWithoutBlock--
      return outcome
    })

  const buildOnTip = (scriptPubKey: Uint8Array, transactions: readonly Tx[], fees: bigint): Block => {
    const parent = tipOf(chain)
    return buildBlock({ network, parent, now: now(), transactions, fees, scriptPubKey, extraNonce: extraNonce++ & 0x7fff_ffff })
  }
  const buildFromPool = (scriptPubKey: Uint8Array): Block => {
    const choice = chooseTransactions(pool)
    return buildOnTip(
      scriptPubKey,
      choice.entries.map(({ tx }) => tx),
      choice.fees,
    )
  }
  /** Fees of transactions that may not be in the pool; undefined where an input is unknown. */
  const feesOf = async (transactions: readonly Tx[]): Promise<bigint | undefined> => {
    const view = await loadView(
      chain,
      transactions.flatMap(({ inputs }) => inputs.map(({ outpoint }) => outpoint)),
    )
    const own = new Map(transactions.map((tx) => [txid(tx), tx]))
    let fees = 0n
    for (const tx of transactions) {
      for (const { outpoint } of tx.inputs) {
        const output = own.get(outpoint.txid)?.outputs[outpoint.vout] ?? view.get(`${outpoint.txid}:${outpoint.vout}`)?.output
        if (output === undefined) return undefined
        fees += output.value
      }
      for (const { value } of tx.outputs) fees -= value
    }
    return fees < 0n ? undefined : fees
  }
  const buildExactly = async (scriptPubKey: Uint8Array, transactions: readonly Tx[]): Promise<Block> => {
    const fees = await feesOf(transactions)
    if (fees === undefined) throw new GenerateError('bad-txns-inputs-missingorspent')
    return buildOnTip(scriptPubKey, transactions, Sat(fees))
  }
  const work = (block: Block, maxTries?: number): Block => {
    // Also true where nothing is signed, and where the challenge asks for nothing.
    const signed = checkSignetSolution(block, network) ? block : options.signBlock?.(block)
    if (signed === undefined)
      throw new GenerateError('the blocks of this network are signed, and signingKeys holds too few keys: see signblock')
    const worked = findNonce(signed, maxTries)
    if (worked === undefined) throw new GenerateError('no nonce found: the difficulty of this network is out of reach')
    return worked
  }
  const takeOwn = async (block: Block): Promise<Block> => {
    const outcome = await takeBlock(chain, block)
    if (outcome.status === 'rejected') throw new GenerateError(outcome.violation.reason)
    if (outcome.status !== 'connected') throw new GenerateError(`block not on the active chain: ${outcome.status}`)
    return block
  }

  const submitTransactions = (transactions: readonly Tx[], take: TakeOptions = {}): Promise<readonly TransactionOutcome[]> =>
    inQueue(() => takeTransactions(chain, transactions, take))

  const broadcast = async (transactions: readonly Tx[]): Promise<BroadcastResult> => {
    const outcomes = await submitTransactions(transactions, { asPackage: transactions.length > 1 })
    for (const { status, rejection, txid: id } of outcomes) {
      if (status !== 'rejected' || rejection === undefined || rejection.reason === 'txn-already-known') continue
      if ((await readPosition(chain.rows, id)) !== undefined) continue
      return { ok: false, reason: rejection.reason, permanent: rejection.kind === 'consensus' }
    }
    return { ok: true }
  }

  const fees = (): FeeEstimates => {
    const history = feeHistory(chain)
    const rates = FEE_TARGETS.map((target) => [target, perKw(estimateFeerate(pool, history, target))] as const)
    return {
      feeratePerKw: Object.fromEntries(rates) as FeeEstimates['feeratePerKw'],
      minimumFeeratePerKw: perKw(minFeeratePerKvb(pool)),
    }
  }

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
    filter: (hash) => readFilter(chain.rows, hash),
    blockBytes: async (hash) => (hash === tree.genesis.hash ? encodeBlock(network.genesis) : loadBlockBytes(chain, hash)),
    undo: (hash) => loadUndo(chain, hash),
    mempool: () => inOrder(pool).map(({ tx }) => tx),
    async coin(outpoint) {
      await settled()
      return [...(await loadView(chain, [outpoint])).values()][0]
    },
    async isUnspent(outpoint) {
      await settled()
      return (await loadView(chain, [outpoint])).size > 0
    },
    scanCoins: (visit) =>
      inMemory(async () => {
        await flush(chain)
        for await (const [rowKey, coin] of readAllCoins(store)) {
          const [, id, vout] = decodeKey(rowKey) as [string, Uint8Array, number]
          if (!visit({ txid: txidFromBytes(id), vout }, coin)) break
        }
        return tipOf(chain)
      }),
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
    estimateFeeratePerKvb: (target) => estimateFeerate(pool, feeHistory(chain), target),
    submitHeaders,
    submitBlock,
    submitTransactions,
    submitTransaction: async (tx, take) => (await submitTransactions([tx], take))[0] as TransactionOutcome,
    template: (scriptPubKey, transactions) =>
      inQueue(async () => (transactions === undefined ? buildFromPool(scriptPubKey) : buildExactly(scriptPubKey, transactions))),
    async generateToAddress(count, scriptPubKey, maxTries) {
      const hashes: BlockHash[] = []
      busy++
      try {
        for (let i = 0; i < count; i++) {
          const block = await inMemory(async () => takeOwn(work(buildFromPool(scriptPubKey), maxTries)))
          hashes.push(blockHash(block.header))
        }
      } finally {
        busy--
        schedule()
      }
      await durable()
      return hashes
    },
    generateBlock: (scriptPubKey, transactions, submit = true) =>
      inQueue(async () => {
        const block = work(await buildExactly(scriptPubKey, transactions))
        return submit ? takeOwn(block) : block
      }),
    invalidateBlock: (hash) => inQueue(() => invalidate(chain, knownEntry(hash))),
    reconsiderBlock: (hash) => inQueue(() => reconsider(chain, knownEntry(hash))),
    preferBlock: (hash) => inQueue(() => prefer(chain, knownEntry(hash))),
    idle: () => inQueue(async () => undefined),
    async close() {
      closed = true
      await queue
      await flush(chain)
    },
  }
}
