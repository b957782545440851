/**
 * The chain on its store: takes blocks, moves the tip to the best chain, keeps the mempool in step.
 * The rules are in @leyden/ledger; here is only the order of things: read what a step needs, step, change memory. Memory is ahead
 * of the disk until the next flush (flush.ts): what is told to others waits for that. Between two awaits memory is always one
 * chain, because a flush may begin at any of them.
 * Not safe to run two jobs at once: engine.ts has one queue.
 */
import {
  blockHash,
  decodeBlock,
  encodeBlock,
  forkIdAt,
  STANDARD_SCRIPT_FLAGS,
  withForkId,
  outpointKey,
  txid,
  wtxid,
  type Block,
  type BlockHash,
  type Network,
  type Outpoint,
  type Tx,
  type Txid,
  type Wtxid,
} from '@leyden/bitcoin'
import {
  acceptTransaction,
  addHeader,
  applyAcceptance,
  applyBlockRemoval,
  bestStored,
  blockFees,
  checkBlockAbove,
  checkBlockAlone,
  checkScriptsHere,
  clearMempool,
  coinsNeeded,
  coinsOfInterest,
  connectCoins,
  decodeUndo,
  createHeaderTree,
  createMempool,
  createScriptCache,
  disconnectBlock,
  encodeUndo,
  failureOf,
  FEE_HISTORY_BLOCKS,
  inOrder,
  isBetter,
  isRejection,
  isViolation,
  pardonOf,
  placeHeader,
  planBlockRemoval,
  planReorg,
  removeExpired,
  restoreEntry,
  scriptViolation,
  type BlockFailure,
  type BlockFees,
  type BlockViolation,
  type CoinView,
  type HeaderEntry,
  type HeaderTree,
  type Mempool,
  type ReorgPlan,
  type ScriptCache,
  type ScriptChecker,
  type Undo,
} from '@leyden/ledger'
import type { Log, Store, Write } from '@leyden/runtime'
import { blockFileNumbers, openBlockFiles, type BlockFiles, type RecordKind } from './block-files.ts'
import { indexRows, openIndexes, unindexRows, type ChainIndex, type IndexName } from './chain-indexes.ts'
import {
  claimStore,
  headerWrite,
  mempoolDelete,
  mempoolWrite,
  isFresh,
  readFiles,
  readHeaders,
  readMempool,
  readTip,
  StoreMismatch,
  type About,
  type StoredBlock,
} from './chain-rows.ts'
import { createCoinsCache, type CoinsCache } from './coins-cache.ts'
import type { Directory } from './directory.ts'
import { flush, makeRoom, newFlushes, type Durable, type Flushes } from './flush.ts'
import type { Pruning } from './prune.ts'
import { createRowBuffer, type RowBuffer } from './row-buffer.ts'

export type ChainOptions = {
  readonly store: Store
  /** Where block files are. */
  readonly directory: Directory
  readonly network: Network
  /** Seconds. */
  readonly now: () => number
  readonly nowMs: () => number
  readonly log: Log
  readonly cacheBytes: number
  readonly indexes: readonly IndexName[]
  readonly pruning: Pruning
  /** No chain that is lower is pruned by itself. */
  readonly pruneAfterHeight: number
  readonly maxFileBytes?: number | undefined
  /** A flush has landed: this may be told now. */
  readonly onDurable: (what: Durable) => void
  /** A flush has ended, well or not. */
  readonly onFlushed: () => void
  /** A transaction was taken, and is durable. */
  readonly onTransaction: (tx: Tx) => void
  /** Runs the scripts of blocks. Without one they run in this thread. */
  readonly checkScripts?: ScriptChecker
  /** What is known of scripts; a small one by default. */
  readonly scriptCache?: ScriptCache
}

/** What became of a block. `side`: valid so far, but not on the best chain. */
export type BlockOutcome =
  | { readonly status: 'connected' | 'side' | 'duplicate' }
  | { readonly status: 'rejected'; readonly violation: BlockViolation }

export type Chain = {
  readonly options: ChainOptions
  readonly tree: HeaderTree
  /** The active chain by height. */
  readonly active: HeaderEntry[]
  readonly pool: Mempool
  readonly coins: CoinsCache
  readonly rows: RowBuffer
  readonly files: BlockFiles
  readonly indexes: readonly ChainIndex[]
  /** Where the blocks that came are kept. */
  readonly stored: Map<BlockHash, StoredBlock>
  /** What blocks told about fees, as far as known. */
  readonly fees: Map<BlockHash, BlockFees>
  /** Transactions whose mempool rows on disk are behind. */
  readonly dirty: Set<Txid>
  /** Blocks whose rows on disk are behind. */
  touched: Set<HeaderEntry>
  /** Block files to delete once no row names them. */
  doomed: number[]
  /** Transactions that a reorganisation brought back into the mempool, to be told of. */
  returned: Tx[]
  /** The tip that others may be shown once it is durable: in the middle of a reorganisation still the old one. */
  settled: HeaderEntry
  /** The one that the last flush told of; undefined after a flush that failed. */
  told: HeaderEntry | undefined
  readonly flushes: Flushes
  readonly maxDirtyBytes: number
  about: About
  readonly scripts: ScriptCache
  best: HeaderEntry
  nextOrder: number
  /** The least that a block has: who is preferred goes below. */
  leastOrder: number
}

export const tipOf = ({ active }: Chain): HeaderEntry => active.at(-1) as HeaderEntry

/** The strictest rules that scripts of a block at this height can have to pass: those of the mempool before it. */
const strictFlags = ({ network }: ChainOptions, height: number): number =>
  withForkId(STANDARD_SCRIPT_FLAGS, forkIdAt(network, height))

/** Remembers that scripts have passed in the mempool, so that the block that takes the transaction need not run them again. */
export const rememberPassed = (chain: Chain, id: Wtxid): void =>
  chain.scripts.rememberPassed(id, strictFlags(chain.options, tipOf(chain).height + 1))

/** Tells of transactions whether their scripts are known to pass in a block at this height. */
export const passedAt =
  ({ scripts, options }: Chain, height: number) =>
  (id: Wtxid): boolean =>
    scripts.hasPassed(id, strictFlags(options, height))

/** Whether the next block after this one has other script rules than it had: signatures that were good no longer are. */
const endsRules = ({ options: { network } }: Chain, { height }: HeaderEntry): boolean =>
  forkIdAt(network, height) !== forkIdAt(network, height + 1)

/** Of the cache, the part for what is not on the disk: two of these may be held at once, one being written. */
const DIRTY_PART = 4
/** A flush that is larger takes too long. */
const MAX_DIRTY_BYTES = 96 * 1024 * 1024

/** Opens the chain of a store, or begins one; the mempool of the last run is judged anew. */
export const openChain = async (options: ChainOptions): Promise<Chain> => {
  const { store, network, log, cacheBytes, directory } = options
  const tree = createHeaderTree(network, network.genesis.header)
  const about = await claim(options, tree.genesis.hash)
  const files = await openBlockFiles(
    { directory, magic: network.magic, maxFileBytes: options.maxFileBytes },
    await readFiles(store),
  )
  const fees = new Map<BlockHash, BlockFees>()
  const stored = new Map<BlockHash, StoredBlock>()
  let nextOrder = 1
  let leastOrder = 0
  for await (const row of readHeaders(store)) {
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
  const chain: Chain = {
    options,
    tree,
    active,
    coins: createCoinsCache(store, cacheBytes - 2 * maxDirtyBytes),
    rows,
    files,
    indexes: await openIndexes(store, rows, options.indexes, tree.genesis, network.genesis, (hash) => tree.entries.get(hash)),
    stored,
    fees,
    pool: createMempool(),
    dirty: new Set(),
    touched: new Set(),
    doomed: [],
    returned: [],
    settled: tip,
    told: tip,
    flushes: newFlushes(tip),
    maxDirtyBytes,
    about,
    scripts: options.scriptCache ?? createScriptCache(),
    best: bestStored(tree),
    nextOrder,
    leastOrder,
  }
  const waiting = await readMempool(store)
  for (const { tx } of waiting) chain.dirty.add(txid(tx))
  await fillPool(chain, waiting)
  await activate(chain)
  settle(chain)
  await flush(chain)
  log.info({ height: tipOf(chain).height, hash: tipOf(chain).hash, mempool: chain.pool.entries.size }, 'chain open')
  return chain
}

/** Marks a fresh store as this network's. Throws StoreMismatch when it is another's, or fresh beside block files that are not. */
const claim = async ({ store, directory, network }: ChainOptions, genesis: BlockHash): Promise<About> => {
  if ((await isFresh(store)) && (await blockFileNumbers(directory)).length > 0)
    throw new StoreMismatch(
      `${directory.path} has block files that no index names. Start once with --reindex to build the chain again from them, or delete them`,
    )
  return claimStore(store, network, genesis)
}

/** What the tip has come to may be shown, once durable, unless a reorganisation is under way. */
export const settle = (chain: Chain): void => {
  if (tipOf(chain) === chain.best) chain.settled = chain.best
}

/** The coins of the active chain among these. */
export const loadView = ({ coins }: Chain, outpoints: readonly Outpoint[]): Promise<CoinView> => coins.read(outpoints)

/** The bytes of a block are no longer here. */
export class PrunedData extends Error {
  constructor(what: string) {
    super(`${what} has been pruned. Start once with --reindex to ask peers for the whole chain again`)
    this.name = 'PrunedData'
  }
}

const loadRecord = async (chain: Chain, kind: RecordKind, hash: BlockHash): Promise<Uint8Array | undefined> => {
  const place = chain.stored.get(hash)?.[kind]
  if (place === undefined) return undefined
  try {
    return await chain.files.read(kind, place, hash)
  } catch (error) {
    // It may have been pruned while it was being read.
    if (chain.stored.get(hash)?.[kind] === undefined) return undefined
    throw error
  }
}

/** A block as it came, undefined when it is not here. */
export const loadBlockBytes = (chain: Chain, hash: BlockHash): Promise<Uint8Array | undefined> => loadRecord(chain, 'block', hash)

/** A block that is stored, genesis included. */
export const loadBlock = async (chain: Chain, hash: BlockHash): Promise<Block | undefined> => {
  if (hash === chain.tree.genesis.hash) return chain.options.network.genesis
  const bytes = await loadBlockBytes(chain, hash)
  return bytes === undefined ? undefined : decodeBlock(bytes)
}

/** What the block spent, for one that has been on the active chain. */
export const loadUndo = async (chain: Chain, hash: BlockHash): Promise<Undo | undefined> => {
  const bytes = await loadRecord(chain, 'undo', hash)
  return bytes === undefined ? undefined : decodeUndo(bytes)
}

/** Throws {@link PrunedData}. */
export const storedBlock = async (chain: Chain, entry: HeaderEntry): Promise<Block> => {
  const block = await loadBlock(chain, entry.hash)
  if (block !== undefined) return block
  if (chain.about.pruned === true) throw new PrunedData(`block ${entry.hash} at height ${entry.height}`)
  throw new Error(`the data directory is damaged: block ${entry.hash} is missing`)
}

/** Throws {@link PrunedData}. */
export const storedUndo = async (chain: Chain, entry: HeaderEntry): Promise<Undo> => {
  const undo = await loadUndo(chain, entry.hash)
  if (undo !== undefined) return undo
  if (chain.about.pruned === true) throw new PrunedData(`undo data of block ${entry.hash} at height ${entry.height}`)
  throw new Error(`the data directory is damaged: undo data of block ${entry.hash} is missing`)
}

/** The row of a block as memory has it. */
export const headerRow = ({ fees, stored }: Chain, entry: HeaderEntry): Write =>
  headerWrite(entry, {
    stored: entry.stored,
    failed: entry.failed,
    order: entry.order,
    fees: fees.get(entry.hash),
    at: stored.get(entry.hash),
  })

/** Rows that bring the mempool on disk up to the one in memory. */
export const mempoolRows = ({ pool, dirty }: Chain): Write[] =>
  [...dirty].map((id) => {
    const entry = pool.entries.get(id)
    return entry === undefined ? mempoolDelete(id) : mempoolWrite(entry)
  })

/** Puts transactions into the pool again, parents first; what is no longer valid stays out. */
const fillPool = async (
  chain: Chain,
  waiting: readonly { readonly tx: Tx; readonly time: number }[],
  begin?: () => void,
): Promise<void> => {
  const view = await loadView(chain, coinsOfInterest(waiting.map(({ tx }) => tx)))
  begin?.()
  const tip = tipOf(chain)
  for (const { tx, time } of waiting) {
    const answer = acceptTransaction(chain.pool, tx, {
      network: chain.options.network,
      tip,
      view,
      now: time,
      fromBlock: true,
      scriptsPassed: passedAt(chain, tip.height + 1),
      signatures: chain.scripts.signatures,
    })
    if (isRejection(answer)) continue
    applyAcceptance(chain.pool, answer)
    rememberPassed(chain, wtxid(tx))
  }
}

/** After a reorganisation: what was in the lost blocks comes back, and all that waits is judged on the new tip. */
const refillPool = async (chain: Chain, returned: readonly Tx[]): Promise<void> => {
  const { pool, dirty, options } = chain
  const before = inOrder(pool)
  const known = new Set(before.map(({ txid }) => txid))
  for (const { txid } of before) dirty.add(txid)
  for (const tx of returned) dirty.add(txid(tx))
  const waiting = [...returned.map((tx) => ({ tx, time: options.now() })), ...before.map(({ tx, time }) => ({ tx, time }))]
  await fillPool(chain, waiting, () => clearMempool(pool))
  for (const { tx, txid } of inOrder(pool)) if (!known.has(txid)) chain.returned.push(tx)
}

/** Keeps the bytes of a block that has passed the rules that need no coins. */
const storeBlock = (chain: Chain, entry: HeaderEntry, block: Block, order: number): void => {
  const { tree, files, stored, touched } = chain
  if (!entry.stored) {
    const place = files.appendBlock(entry.hash, entry.height, encodeBlock(block))
    stored.set(entry.hash, { transactions: block.transactions.length, block: place })
  }
  addHeader(tree, entry)
  entry.stored = true
  entry.order = order
  chain.nextOrder = Math.max(chain.nextOrder, order + 1)
  touched.add(entry)
}

/** Keeps what the block spent, unless that has been done when it was connected before: it is always the same. */
const storeUndo = ({ files, stored }: Chain, { hash }: HeaderEntry, undo: Undo): void => {
  const at = stored.get(hash)
  if (at?.block === undefined || at.undo !== undefined) return
  stored.set(hash, { ...at, undo: files.appendUndo(at.block, hash, encodeUndo(undo)) })
}

/** Puts the block on the tip; or says which rule it breaks, with nothing changed. */
const connectTip = async (chain: Chain, entry: HeaderEntry, block: Block, order: number): Promise<BlockViolation | undefined> => {
  const { options, pool, fees, dirty, coins, rows } = chain
  const view = await loadView(chain, coinsNeeded(block))
  const result = connectCoins(block, { network: options.network, entry, view, scriptsPassed: passedAt(chain, entry.height) })
  if (isViolation(result)) return result
  const failed = await (options.checkScripts ?? checkScriptsHere)(result.scripts)
  if (failed !== undefined) return scriptViolation(result.scripts, failed)
  const { inStep, writes } = await indexRows(chain.indexes, rows, entry, block, result.undo)
  // From here to the end of the changes nothing is waited for: a flush finds all of them or none.
  const removal = planBlockRemoval(pool, block.transactions)
  for (const { txid } of [...removal.confirmed, ...removal.conflicted]) dirty.add(txid)
  storeBlock(chain, entry, block, order)
  storeUndo(chain, entry, result.undo)
  coins.connect(
    result.changes,
    result.changes.created.some(([outpoint]) => view.has(outpointKey(outpoint))),
  )
  rows.put(writes)
  for (const index of inStep) index.best = entry
  fees.set(entry.hash, blockFees(block, result.fees))
  chain.active.push(entry)
  if (isBetter(entry, chain.best)) chain.best = entry
  applyBlockRemoval(pool, removal)
  for (const { txid } of removeExpired(pool, options.now())) dirty.add(txid)
  if (endsRules(chain, entry)) await refillPool(chain, [])
  settle(chain)
  options.log.debug({ height: entry.height, hash: entry.hash }, 'block connected')
  await makeRoom(chain)
  return undefined
}

/** Takes the tip off; gives its transactions, coinbase left out. */
const disconnectTip = async (chain: Chain): Promise<readonly Tx[]> => {
  const { options, active, coins, rows } = chain
  const entry = tipOf(chain)
  const block = await storedBlock(chain, entry)
  const undo = await storedUndo(chain, entry)
  const changes = disconnectBlock(block, undo, entry.height)
  const { inStep, writes } = await unindexRows(chain.indexes, rows, entry, block)
  coins.disconnect(changes)
  rows.put(writes)
  for (const index of inStep) index.best = entry.parent as HeaderEntry
  active.pop()
  options.log.debug({ height: entry.height, hash: entry.hash }, 'block disconnected')
  await makeRoom(chain)
  return block.transactions.slice(1)
}

const applyMarks = (chain: Chain, marks: readonly (readonly [HeaderEntry, BlockFailure])[]): void => {
  for (const [entry, failed] of marks) {
    entry.failed = failed
    chain.touched.add(entry)
  }
  chain.best = bestStored(chain.tree)
}

/** Blocks that a reorganisation took off, and their transactions, lowest block first. */
type LostBlocks = { count: number; readonly transactions: Tx[] }

/** Throws {@link PrunedData} before anything is moved when a block on the way is no longer here. */
const checkPresent = ({ stored, about }: Chain, { disconnect, connect }: ReorgPlan): void => {
  if (about.pruned !== true) return
  for (const { hash, height } of disconnect)
    if (stored.get(hash)?.undo === undefined)
      throw new PrunedData(`a reorganisation needs block ${hash} at height ${height}, which`)
  for (const { hash, height } of connect)
    if (stored.get(hash)?.block === undefined)
      throw new PrunedData(`a reorganisation needs block ${hash} at height ${height}, which`)
}

/** The blocks that turned out to be bad, and why. */
type Failures = Map<HeaderEntry, BlockViolation>

/** Moves the tip to `target`, which may fail on the way: then what failed is marked and the tip stands below it. */
const moveTo = async (chain: Chain, target: HeaderEntry, lost: LostBlocks, failures: Failures): Promise<void> => {
  const plan = planReorg(tipOf(chain), target)
  checkPresent(chain, plan)
  if (plan.disconnect.length > 0)
    chain.options.log.info({ from: tipOf(chain).hash, to: target.hash, depth: plan.disconnect.length }, 'reorganisation')
  for (let i = 0; i < plan.disconnect.length; i++) {
    lost.transactions.unshift(...(await disconnectTip(chain)))
    lost.count++
  }
  for (const entry of plan.connect) {
    const violation = await connectTip(chain, entry, await storedBlock(chain, entry), entry.order)
    if (violation === undefined) continue
    chain.options.log.warn({ hash: entry.hash, height: entry.height, ...violation }, 'invalid block')
    applyMarks(chain, failureOf(chain.tree, entry))
    failures.set(entry, violation)
    return
  }
}

/** Moves the tip until it is the best that is stored. Also finishes what a crash or a failed write left half done. */
export const activate = async (chain: Chain): Promise<Failures> => {
  const failures: Failures = new Map()
  if (tipOf(chain) === chain.best) return failures
  const lost: LostBlocks = { count: 0, transactions: [] }
  try {
    while (tipOf(chain) !== chain.best) await moveTo(chain, chain.best, lost, failures)
  } finally {
    // Also after empty blocks: a lower tip makes coinbases immature and lock times open again.
    if (lost.count > 0) await refillPool(chain, lost.transactions)
  }
  return failures
}

/** Takes a block from anyone. */
export const takeBlock = async (chain: Chain, block: Block): Promise<BlockOutcome> => {
  const { options, tree } = chain
  await activate(chain)
  const known = tree.entries.get(blockHash(block.header))
  if (known?.failed === 'none' && known.stored) return { status: 'duplicate' }
  if (known !== undefined && known.failed !== 'none')
    return { status: 'rejected', violation: { violation: true, reason: 'duplicate-invalid' } }
  const alone = checkBlockAlone(block, options.network)
  if (alone !== undefined) return { status: 'rejected', violation: alone }
  const entry = placeHeader(tree, block.header, options.now())
  if (isViolation(entry)) return { status: 'rejected', violation: entry }
  const parent = entry.parent as HeaderEntry
  if (!parent.stored) return { status: 'rejected', violation: { violation: true, reason: 'prev-blk-not-found' } }
  const violation = checkBlockAbove(block, options.network, parent)
  if (violation !== undefined) return reject(chain, entry, violation)
  const order = chain.nextOrder
  if (parent === tipOf(chain)) {
    const broken = await connectTip(chain, entry, block, order)
    return broken === undefined ? { status: 'connected' } : reject(chain, entry, broken)
  }
  storeBlock(chain, entry, block, order)
  if (isBetter(entry, chain.best)) chain.best = entry
  const failures = await activate(chain)
  if (entry.failed !== 'none')
    return { status: 'rejected', violation: failures.get(entry) ?? { violation: true, reason: 'bad-prevblk' } }
  return { status: chain.active[entry.height] === entry ? 'connected' : 'side' }
}

/** A block is refused, its header is kept. Its hash is remembered as bad unless only these bytes are (CVE-2012-2459). */
const reject = (chain: Chain, entry: HeaderEntry, violation: BlockViolation): BlockOutcome => {
  addHeader(chain.tree, entry)
  if (violation.mutated !== true) applyMarks(chain, failureOf(chain.tree, entry))
  return { status: 'rejected', violation }
}

/** The owner declares a block bad: the tip moves to the best chain without it. */
export const invalidate = async (chain: Chain, entry: HeaderEntry): Promise<void> => {
  if (entry === chain.tree.genesis) throw new RangeError('the genesis block cannot be invalidated')
  applyMarks(chain, failureOf(chain.tree, entry))
  await activate(chain)
}

/** Takes that back, and every other judgement on the blocks below and above. */
export const reconsider = async (chain: Chain, entry: HeaderEntry): Promise<void> => {
  applyMarks(chain, pardonOf(chain.tree, entry))
  await activate(chain)
}

/** Treats the block as if it had come before all others of as much work. Nothing happens when the tip has more. */
export const prefer = async (chain: Chain, entry: HeaderEntry): Promise<void> => {
  await activate(chain)
  if (!entry.stored || entry.failed !== 'none' || entry.chainWork < tipOf(chain).chainWork) return
  entry.order = --chain.leastOrder
  chain.touched.add(entry)
  chain.best = bestStored(chain.tree)
  await activate(chain)
}

/** Whether the block was on the active chain once, so that every rule is known to hold. */
export const wasConnected = ({ fees, tree }: Chain, entry: HeaderEntry): boolean => entry === tree.genesis || fees.has(entry.hash)

/** What the latest blocks told about fees, oldest first. */
export const feeHistory = ({ active, fees }: Chain): BlockFees[] =>
  active
    .slice(-FEE_HISTORY_BLOCKS)
    .map(({ hash }) => fees.get(hash))
    .filter((told) => told !== undefined)
