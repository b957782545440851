/**
 * The chain on its store: takes blocks, moves the tip to the best chain, keeps the mempool in step.
 * The rules are in @leyden/ledger; here is only the order of things: read what a step needs, step, change memory. Memory is ahead
 * of the disk until the next flush (flush.ts): what is told to others waits for that. Between two awaits memory is always one
 * chain, because a flush may begin at any of them.
 * Not safe to run two jobs at once: engine.ts has one queue.
 */
import {
  blockHash,
  blockTotalSize,
  forkIdAt,
  STANDARD_SCRIPT_FLAGS,
  withForkId,
  outpointKey,
  type Block,
  type BlockHash,
  type Network,
  type Outpoint,
  type Tx,
  type Txid,
  type Wtxid,
} from '@leyden/bitcoin'
import {
  addHeader,
  assumesScripts,
  bestHeader,
  bestStored,
  blockFees,
  checkBlockAbove,
  checkBlockAlone,
  checkBlockBody,
  checkScriptsHere,
  coinsNeeded,
  connectCoins,
  disconnectBlock,
  failureOf,
  FEE_HISTORY_BLOCKS,
  isBetter,
  isViolation,
  learnBlock,
  mayRepeatCoins,
  pardonOf,
  placeHeader,
  planReorg,
  removeForBlock,
  scriptViolation,
  trimMempool,
  type Assumption,
  type BlockFailure,
  type BlockFees,
  type BlockViolation,
  type CoinView,
  type FeeEstimator,
  type HeaderEntry,
  type HeaderTree,
  type Mempool,
  type MempoolListener,
  type MempoolPolicy,
  type ScriptCache,
  type ScriptChecker,
} from '@leyden/ledger'
import type { Log, Store, Write } from '@leyden/runtime'
import type { BlockFiles } from './block-files.ts'
import { checkPresent, hasBytes, keepBytes, storeBlock, storedBlock, storedUndo, storeUndo } from './chain-blocks.ts'
import { indexRows, unindexRows, type ChainIndex, type IndexName } from './chain-indexes.ts'
import { loseBlock, noLostBlocks, refillPool, rejudgePool, type LostBlocks } from './chain-pool.ts'
import { headerWrite, type About, type StoredBlock } from './chain-rows.ts'
import type { CoinsCache } from './coins-cache.ts'
import type { Directory } from './directory.ts'
import { makeRoom, type Durable, type Flushes } from './flush.ts'
import type { Pruning } from './prune.ts'
import type { Rebuild } from './rebuild.ts'
import type { RowBuffer } from './row-buffer.ts'
import type { Startup } from './warmup.ts'

export type ChainStep = { readonly type: 'connected' | 'disconnected'; readonly entry: HeaderEntry }

export type ChainOptions = {
  readonly store: Store
  /** Where block files are. */
  readonly directory: Directory
  readonly network: Network
  /** Seconds. */
  readonly now: () => number
  readonly nowMs: () => number
  /** Lets others have a turn. */
  readonly breathe: () => Promise<void>
  readonly startup: Startup
  readonly log: Log
  readonly cacheBytes: number
  readonly indexes: readonly IndexName[]
  readonly pruning: Pruning
  /** No chain that is lower is pruned by itself. */
  readonly pruneAfterHeight: number
  readonly maxFileBytes?: number | undefined
  /** What to build again before anything else. */
  readonly rebuild?: Rebuild | undefined
  /** A flush has landed: this may be told now. */
  readonly onDurable: (what: Durable) => void
  /** A flush has ended, well or not. */
  readonly onFlushed: () => void
  /** A transaction was taken, and is durable. */
  readonly onTransaction: (tx: Tx) => void
  /** A block came on top, or was taken off, in memory: not durable yet. */
  readonly onStep?: (step: ChainStep) => void
  readonly policy: MempoolPolicy
  /** Whether the mempool outlives a restart. */
  readonly persistMempool: boolean
  /** Whether fee estimates are served however old they are. */
  readonly acceptStaleFees: boolean
  /** Told of all that enters or leaves the mempool. */
  readonly onMempool: MempoolListener
  /** Runs the scripts of blocks. Without one they run in this thread. */
  readonly checkScripts?: ScriptChecker
  /** Blocks whose scripts need not run. */
  readonly assumption?: Assumption
  /** The header with the most work that has not failed; undefined while that is not known. */
  readonly bestHeader?: () => HeaderEntry | undefined
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
  /** Blocks that came before their parents, by these. */
  readonly loose: Map<BlockHash, readonly HeaderEntry[]>
  /** Headers without a block that are on disk, or will be: a block above them is. */
  readonly named: WeakSet<HeaderEntry>
  /** What blocks told about fees, as far as known. */
  readonly fees: Map<BlockHash, BlockFees>
  /** What our own mempool has taught about fees. */
  readonly estimator: FeeEstimator
  /** Transactions whose mempool rows on disk are behind. */
  readonly dirty: Set<Txid>
  /** Blocks whose rows on disk are behind. */
  touched: Set<HeaderEntry>
  /** Block files to delete once no row names them. */
  doomed: number[]
  /** Transactions that were taken, or came back in a reorganisation: told of when they are durable. */
  returned: Tx[]
  /** The tip that others may be shown once it is durable: in the middle of a reorganisation still the old one. */
  settled: HeaderEntry
  /** The one that the last flush told of; undefined after a flush that failed. */
  told: HeaderEntry | undefined
  readonly flushes: Flushes
  readonly maxDirtyBytes: number
  /** What has connected since a moment, milliseconds. */
  progress: { readonly since: number; blocks: number; transactions: number }
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

/** What need not run of the scripts of a block. */
const knownToPass = (chain: Chain, entry: HeaderEntry): ((id: Wtxid) => boolean) => {
  const { assumption, bestHeader } = chain.options
  const best = bestHeader?.()
  const isAssumed = assumption !== undefined && best !== undefined && assumesScripts(chain.tree, entry, best, assumption)
  return isAssumed ? () => true : passedAt(chain, entry.height)
}

/** Whether the next block after this one has other script rules than it had: signatures that were good no longer are. */
const endsRules = ({ options: { network } }: Chain, { height }: HeaderEntry): boolean =>
  forkIdAt(network, height) !== forkIdAt(network, height + 1)

/** What the tip has come to may be shown, once durable, unless a reorganisation is under way. */
export const settle = (chain: Chain): void => {
  if (tipOf(chain) === chain.best) chain.settled = chain.best
}

/** The coins of the active chain among these. */
export const loadView = ({ coins }: Chain, outpoints: readonly Outpoint[]): Promise<CoinView> => coins.read(outpoints)

/** The row of a block as memory has it. */
export const headerRow = ({ fees, stored }: Chain, entry: HeaderEntry): Write =>
  headerWrite(entry, {
    stored: entry.stored,
    failed: entry.failed,
    order: entry.order,
    fees: fees.get(entry.hash),
    at: stored.get(entry.hash),
  })

/** Puts the block on the tip; or says which rule it breaks, with nothing changed. */
const connectTip = async (chain: Chain, entry: HeaderEntry, block: Block, order: number): Promise<BlockViolation | undefined> => {
  const { options, pool, fees, coins, rows } = chain
  const mayRepeat = mayRepeatCoins(options.network, entry)
  const view = await loadView(chain, coinsNeeded(block, mayRepeat))
  const result = connectCoins(block, { network: options.network, entry, view, scriptsPassed: knownToPass(chain, entry) })
  if (isViolation(result)) return result
  // Other threads run scripts while this one makes the rows of the indices
  const verdict = (options.checkScripts ?? checkScriptsHere)(result.scripts)
  const [failed, { inStep, writes }] = await Promise.all([verdict, indexRows(chain.indexes, rows, entry, block, result.undo)])
  if (failed !== undefined) return scriptViolation(result.scripts, failed)
  // From here to the end of the changes nothing is waited for: a flush finds all of them or none.
  storeBlock(chain, entry, block, order)
  storeUndo(chain, entry, result.undo)
  coins.connect(result.changes, mayRepeat && result.changes.created.some(([outpoint]) => view.has(outpointKey(outpoint))))
  rows.put(writes)
  for (const index of inStep) index.best = entry
  fees.set(entry.hash, blockFees(block, result.fees))
  chain.active.push(entry)
  if (isBetter(entry, chain.best)) chain.best = entry
  const { confirmed } = removeForBlock(pool, block.transactions, options.now())
  options.onStep?.({ type: 'connected', entry })
  learnBlock(chain.estimator, confirmed, entry.height)
  trimMempool(pool, options.now())
  if (endsRules(chain, entry)) await rejudgePool(chain)
  settle(chain)
  options.log.debug({ height: entry.height, hash: entry.hash }, 'block connected')
  tellProgress(chain, block.transactions.length)
  await makeRoom(chain)
  return undefined
}

const PROGRESS_MS = 10_000

/** While many blocks connect, says now and then how far it is. */
const tellProgress = (chain: Chain, transactions: number): void => {
  const { progress, options, coins, tree } = chain
  const now = options.nowMs()
  progress.blocks++
  progress.transactions += transactions
  const ms = now - progress.since
  if (ms < PROGRESS_MS) return
  const { height } = tipOf(chain)
  if (progress.blocks > 1) {
    const to = Math.max(height, bestHeader(tree).height)
    const perSecond = (count: number): number => Math.round((count * 1000) / ms)
    const rates = { blocksPerSecond: perSecond(progress.blocks), transactionsPerSecond: perSecond(progress.transactions) }
    const percent = Math.floor((height * 1000) / to) / 10
    options.log.info({ height, of: to, percent, ...rates, cacheMiB: Math.round(coins.bytes / 1_048_576) }, 'progress')
  }
  chain.progress = { since: now, blocks: 0, transactions: 0 }
}

/** Takes the tip off. */
const disconnectTip = async (chain: Chain, lost: LostBlocks): Promise<void> => {
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
  options.onStep?.({ type: 'disconnected', entry })
  if (endsRules(chain, entry)) lost.rulesChanged = true
  loseBlock(chain, lost, block.transactions.slice(1), blockTotalSize(block))
  options.log.debug({ height: entry.height, hash: entry.hash }, 'block disconnected')
  await makeRoom(chain)
}

const applyMarks = (chain: Chain, marks: readonly (readonly [HeaderEntry, BlockFailure])[]): void => {
  for (const [entry, failed] of marks) {
    entry.failed = failed
    chain.touched.add(entry)
  }
  chain.best = bestStored(chain.tree)
}

/** The blocks that turned out to be bad, and why. */
type Failures = Map<HeaderEntry, BlockViolation>

/** What an index was made of from the files has met no rule yet but those of its header, in this run or an earlier one. */
const isUnchecked = (chain: Chain, entry: HeaderEntry): boolean => {
  const { about, options } = chain
  if (options.rebuild !== undefined) return true
  return about.fromFiles !== undefined && entry.order <= about.fromFiles && !wasConnected(chain, entry)
}

/** Moves the tip to `target`, which may fail on the way: then what failed is marked and the tip stands below it. */
const moveTo = async (chain: Chain, target: HeaderEntry, lost: LostBlocks, failures: Failures): Promise<void> => {
  const plan = planReorg(tipOf(chain), target)
  checkPresent(chain, plan)
  if (plan.disconnect.length > 0)
    chain.options.log.info({ from: tipOf(chain).hash, to: target.hash, depth: plan.disconnect.length }, 'reorganisation')
  for (let i = 0; i < plan.disconnect.length; i++) await disconnectTip(chain, lost)
  const { network, startup } = chain.options
  for (const entry of plan.connect) {
    startup.check()
    const block = await storedBlock(chain, entry)
    const broken = isUnchecked(chain, entry) ? checkBlockBody(block, network, entry.parent as HeaderEntry) : undefined
    const violation = broken ?? (await connectTip(chain, entry, block, entry.order))
    if (violation === undefined) continue
    chain.options.log.warn({ hash: entry.hash, height: entry.height, ...violation }, 'invalid block')
    applyMarks(chain, failureOf(chain.tree, entry))
    failures.set(entry, violation)
    return
  }
}

/** What lost blocks held goes back into the mempool. Also after empty blocks: coinbases may be immature again, lock times open. */
const giveBack = async (chain: Chain, lost: LostBlocks): Promise<void> => {
  if (lost.count > 0) for (const { tx } of await refillPool(chain, lost)) chain.returned.push(tx)
}

/**
 * Moves the tip until it is the best that is stored. Also finishes what a crash, a failed write or an end in the middle left half done.
 * Throws Stopping when the ledger is to end, between two blocks.
 */
export const activate = async (chain: Chain): Promise<Failures> => {
  const failures: Failures = new Map()
  if (tipOf(chain) === chain.best) return failures
  const lost = noLostBlocks()
  try {
    while (tipOf(chain) !== chain.best) await moveTo(chain, chain.best, lost, failures)
  } finally {
    await giveBack(chain, lost)
  }
  return failures
}

/** Takes a block from anyone. */
export const takeBlock = async (chain: Chain, block: Block): Promise<BlockOutcome> => {
  const { options, tree } = chain
  await activate(chain)
  const known = tree.entries.get(blockHash(block.header))
  if (known?.failed === 'none' && (known === tree.genesis || hasBytes(chain, known))) return { status: 'duplicate' }
  if (known !== undefined && known.failed !== 'none')
    return { status: 'rejected', violation: { violation: true, reason: 'duplicate-invalid' } }
  const alone = checkBlockAlone(block, options.network)
  if (alone !== undefined) return { status: 'rejected', violation: alone }
  const entry = placeHeader(tree, block.header, options.now())
  if (isViolation(entry)) return { status: 'rejected', violation: entry }
  const parent = entry.parent as HeaderEntry
  const violation = checkBlockAbove(block, options.network, parent)
  if (violation !== undefined) return reject(chain, entry, violation)
  // Before its parent, or pruned since: its bytes are kept, and nothing follows.
  if (!parent.stored || entry.stored) {
    keepBytes(chain, entry, block)
    return { status: 'side' }
  }
  const order = chain.nextOrder
  if (parent === tipOf(chain)) {
    const broken = await connectTip(chain, entry, block, order)
    if (broken !== undefined) {
      // Its body is the one of its header: whoever asks may see what was wrong, and reconsiderblock may try again.
      if (broken.mutated !== true) storeBlock(chain, entry, block, order)
      return reject(chain, entry, broken)
    }
    // What had come before it can follow now.
    await activate(chain)
    return { status: chain.active[entry.height] === entry ? 'connected' : 'side' }
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

/** Of so many, what each block held goes back into the mempool before the next is lost, as in Bitcoin Core; of more, all at the end. */
const MAX_BLOCKS_GIVEN_BACK = 10

/** The owner declares a block bad: the tip moves to the best chain without it. */
export const invalidate = async (chain: Chain, entry: HeaderEntry): Promise<void> => {
  if (entry === chain.tree.genesis) throw new RangeError('the genesis block cannot be invalidated')
  if (chain.active[entry.height] === entry) checkPresent(chain, planReorg(tipOf(chain), entry.parent as HeaderEntry))
  applyMarks(chain, failureOf(chain.tree, entry))
  if (tipOf(chain).height - entry.height < MAX_BLOCKS_GIVEN_BACK)
    while (chain.active[entry.height] === entry) {
      const lost = noLostBlocks()
      await disconnectTip(chain, lost)
      await giveBack(chain, lost)
    }
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
