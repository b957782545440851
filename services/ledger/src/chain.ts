/**
 * The chain on its store: takes blocks, moves the tip to the best chain, keeps the mempool in step.
 * The rules are in @leyden/ledger; here is only the order of things: read the coins that a step needs, step, write one batch,
 * and only when it is durable let memory follow. A failed write leaves memory as it was; the next job tries to go on.
 * Not safe to run two jobs at once: engine.ts has one queue.
 */
import {
  blockHash,
  forkIdAt,
  outpointKey,
  txid,
  wtxid,
  type Block,
  type BlockHash,
  type Coin,
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
  createHeaderTree,
  createMempool,
  disconnectBlock,
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
  type ScriptChecker,
} from '@leyden/ledger'
import type { Log, Store, Write } from '@leyden/runtime'
import {
  blockWrite,
  claimStore,
  connectWrites,
  disconnectWrites,
  headerWrite,
  mempoolDelete,
  mempoolWrite,
  readBlock,
  readCoins,
  readHeaders,
  readMempool,
  readTip,
  readUndo,
  type HeaderFacts,
} from './chain-rows.ts'

export type ChainOptions = {
  readonly store: Store
  readonly network: Network
  /** Seconds. */
  readonly now: () => number
  readonly log: Log
  /** The tip has moved by one block; memory shows it already. `settled`: it is the best that there is, nothing will follow at once. */
  readonly onTip: (change: 'connected' | 'disconnected', entry: HeaderEntry, settled: boolean) => void
  readonly onTransaction: (tx: Tx) => void
  /** Runs the scripts of blocks. Without one they run in this thread. */
  readonly checkScripts?: ScriptChecker
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
  /** What blocks told about fees, as far as known. */
  readonly fees: Map<BlockHash, BlockFees>
  /** Transactions whose mempool rows on disk are behind. */
  readonly dirty: Set<Txid>
  /** Transactions whose scripts have passed the standard flags lately: two generations, the older dropped when the newer is full. */
  passed: Set<Wtxid>
  passedBefore: Set<Wtxid>
  best: HeaderEntry
  nextOrder: number
  /** The least that a block has: who is preferred goes below. */
  leastOrder: number
}

/** In one generation. */
const MAX_PASSED = 25_000

export const tipOf = ({ active }: Chain): HeaderEntry => active.at(-1) as HeaderEntry

/** Remembers that scripts have passed, so that the block that takes the transaction need not run them again. */
export const rememberPassed = (chain: Chain, id: Wtxid): void => {
  chain.passed.add(id)
  if (chain.passed.size < MAX_PASSED) return
  chain.passedBefore = chain.passed
  chain.passed = new Set()
}

/** Whether the scripts of the transaction are known to pass. */
export const hasPassed = ({ passed, passedBefore }: Chain, id: Wtxid): boolean => passed.has(id) || passedBefore.has(id)

/** Whether the next block after this one has other script rules than it had: signatures that were good no longer are. */
const endsRules = ({ options: { network } }: Chain, { height }: HeaderEntry): boolean =>
  forkIdAt(network, height) !== forkIdAt(network, height + 1)

const forgetPassed = (chain: Chain): void => {
  chain.passed = new Set()
  chain.passedBefore = new Set()
}

/** Opens the chain of a store, or begins one; the mempool of the last run is judged anew. */
export const openChain = async (options: ChainOptions): Promise<Chain> => {
  const { store, network, log } = options
  const tree = createHeaderTree(network, network.genesis.header)
  await claimStore(store, network, tree.genesis.hash)
  const fees = new Map<BlockHash, BlockFees>()
  let nextOrder = 1
  let leastOrder = 0
  for await (const row of readHeaders(store)) {
    const entry = restoreEntry(tree, row.header, { stored: row.stored, failed: row.failed, order: row.order })
    if (entry === undefined) continue
    if (row.fees !== undefined) fees.set(entry.hash, row.fees)
    nextOrder = Math.max(nextOrder, row.order + 1)
    leastOrder = Math.min(leastOrder, row.order)
  }
  const tipHash = await readTip(store)
  const tip = tipHash === undefined ? tree.genesis : tree.entries.get(tipHash)
  if (tip === undefined) throw new Error(`the data directory is damaged: no header for its tip ${tipHash}`)
  const active: HeaderEntry[] = []
  for (let at: HeaderEntry | undefined = tip; at !== undefined; at = at.parent) active[at.height] = at
  const chain: Chain = {
    options,
    tree,
    active,
    fees,
    pool: createMempool(),
    dirty: new Set(),
    passed: new Set(),
    passedBefore: new Set(),
    best: bestStored(tree),
    nextOrder,
    leastOrder,
  }
  const waiting = await readMempool(store)
  for (const { tx } of waiting) chain.dirty.add(txid(tx))
  await fillPool(chain, waiting)
  await activate(chain)
  log.info({ height: tipOf(chain).height, hash: tipOf(chain).hash, mempool: chain.pool.entries.size }, 'chain open')
  return chain
}

/** The coins of the active chain among these. */
export const loadView = async ({ options: { store } }: Chain, outpoints: readonly Outpoint[]): Promise<CoinView> => {
  const coins = await readCoins(store, outpoints)
  const view = new Map<string, Coin>()
  outpoints.forEach((outpoint, i) => {
    const coin = coins[i]
    if (coin !== undefined) view.set(outpointKey(outpoint), coin)
  })
  return view
}

/** A block that is stored, genesis included. */
export const loadBlock = async ({ options: { store, network }, tree }: Chain, hash: BlockHash): Promise<Block | undefined> =>
  hash === tree.genesis.hash ? network.genesis : readBlock(store, hash)

const storedBlock = async (chain: Chain, entry: HeaderEntry): Promise<Block> => {
  const block = await loadBlock(chain, entry.hash)
  if (block === undefined) throw new Error(`the data directory is damaged: block ${entry.hash} is missing`)
  return block
}

const factsOf = ({ fees }: Chain, entry: HeaderEntry, changes: Partial<HeaderFacts> = {}): HeaderFacts => ({
  stored: entry.stored,
  failed: entry.failed,
  order: entry.order,
  fees: fees.get(entry.hash),
  ...changes,
})

/** Rows that bring the mempool on disk up to the one in memory, `without` those that are about to leave. */
export const mempoolRows = ({ pool, dirty }: Chain, without: ReadonlySet<Txid> = new Set()): Write[] => {
  const ids = new Set([...dirty, ...without])
  return [...ids].map((id) => {
    const entry = without.has(id) ? undefined : pool.entries.get(id)
    return entry === undefined ? mempoolDelete(id) : mempoolWrite(entry)
  })
}

/** Writes the rows of the mempool that are behind. A failure is no harm: they stay marked. */
export const savePool = async (chain: Chain): Promise<void> => {
  const { store, log } = chain.options
  const ids = [...chain.dirty]
  if (ids.length === 0) return
  try {
    await store.write(mempoolRows(chain))
    for (const id of ids) chain.dirty.delete(id)
  } catch (error) {
    log.warn({ error: String(error) }, 'mempool rows could not be written')
  }
}

/** Puts transactions into the pool again, parents first; what is no longer valid stays out. */
const fillPool = async (chain: Chain, waiting: readonly { readonly tx: Tx; readonly time: number }[]): Promise<void> => {
  const view = await loadView(chain, coinsOfInterest(waiting.map(({ tx }) => tx)))
  const tip = tipOf(chain)
  for (const { tx, time } of waiting) {
    const answer = acceptTransaction(chain.pool, tx, {
      network: chain.options.network,
      tip,
      view,
      now: time,
      fromBlock: true,
      scriptsPassed: (id) => hasPassed(chain, id),
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
  clearMempool(pool)
  await fillPool(chain, [...returned.map((tx) => ({ tx, time: options.now() })), ...before.map(({ tx, time }) => ({ tx, time }))])
  for (const { tx, txid } of inOrder(pool)) if (!known.has(txid)) options.onTransaction(tx)
  await savePool(chain)
}

/** Puts the block on the tip, its own `extra` rows in the same batch; or says which rule it breaks, with nothing changed. */
const connectTip = async (
  chain: Chain,
  entry: HeaderEntry,
  block: Block,
  order: number,
  extra: readonly Write[] = [],
): Promise<BlockViolation | undefined> => {
  const { options, pool, fees, dirty } = chain
  const view = await loadView(chain, coinsNeeded(block))
  const result = connectCoins(block, { network: options.network, entry, view, scriptsPassed: (id) => hasPassed(chain, id) })
  if (isViolation(result)) return result
  const failed = await (options.checkScripts ?? checkScriptsHere)(result.scripts)
  if (failed !== undefined) return scriptViolation(result.scripts, failed)
  const told = blockFees(block, result.fees)
  const removal = planBlockRemoval(pool, block.transactions)
  const leaving = new Set([...removal.confirmed, ...removal.conflicted].map(({ txid }) => txid))
  await options.store.write([
    ...extra,
    headerWrite(entry, factsOf(chain, entry, { stored: true, order, fees: told })),
    ...connectWrites(entry, block, result.changes, result.undo),
    ...mempoolRows(chain, leaving),
  ])
  dirty.clear()
  addHeader(chain.tree, entry)
  entry.stored = true
  entry.order = order
  chain.nextOrder = Math.max(chain.nextOrder, order + 1)
  fees.set(entry.hash, told)
  chain.active.push(entry)
  if (isBetter(entry, chain.best)) chain.best = entry
  applyBlockRemoval(pool, removal)
  for (const { txid } of removeExpired(pool, options.now())) dirty.add(txid)
  if (endsRules(chain, entry)) {
    forgetPassed(chain)
    await refillPool(chain, [])
  }
  options.onTip('connected', entry, chain.best === entry)
  return undefined
}

/** Takes the tip off; gives its transactions, coinbase left out. */
const disconnectTip = async (chain: Chain): Promise<readonly Tx[]> => {
  const { options, active } = chain
  const entry = tipOf(chain)
  const block = await storedBlock(chain, entry)
  const undo = await readUndo(options.store, entry.hash)
  if (undo === undefined) throw new Error(`the data directory is damaged: undo data of block ${entry.hash} is missing`)
  await options.store.write(disconnectWrites(entry, block, disconnectBlock(block, undo, entry.height)))
  active.pop()
  if (endsRules(chain, entry)) forgetPassed(chain)
  options.onTip('disconnected', entry, false)
  return block.transactions.slice(1)
}

const applyMarks = async (chain: Chain, marks: readonly (readonly [HeaderEntry, BlockFailure])[]): Promise<void> => {
  if (marks.length > 0)
    await chain.options.store.write(marks.map(([entry, failed]) => headerWrite(entry, factsOf(chain, entry, { failed }))))
  for (const [entry, failed] of marks) entry.failed = failed
  chain.best = bestStored(chain.tree)
}

/** Blocks that a reorganisation took off, and their transactions, lowest block first. */
type LostBlocks = { count: number; readonly transactions: Tx[] }

/** Moves the tip to `target`, which may fail on the way: then what failed is marked and the tip stands below it. */
const moveTo = async (chain: Chain, target: HeaderEntry, lost: LostBlocks): Promise<void> => {
  const plan = planReorg(tipOf(chain), target)
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
    await applyMarks(chain, failureOf(chain.tree, entry))
    return
  }
}

/** Moves the tip until it is the best that is stored. Also finishes what a crash or a failed write left half done. */
export const activate = async (chain: Chain): Promise<void> => {
  if (tipOf(chain) === chain.best) return
  const lost: LostBlocks = { count: 0, transactions: [] }
  try {
    while (tipOf(chain) !== chain.best) await moveTo(chain, chain.best, lost)
  } finally {
    // Also after empty blocks: a lower tip makes coinbases immature and lock times open again.
    if (lost.count > 0) await refillPool(chain, lost.transactions)
  }
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
  const extra = [blockWrite(entry.hash, block)]
  const order = chain.nextOrder
  if (parent === tipOf(chain)) {
    const broken = await connectTip(chain, entry, block, order, extra)
    return broken === undefined ? { status: 'connected' } : reject(chain, entry, broken)
  }
  await options.store.write([...extra, headerWrite(entry, factsOf(chain, entry, { stored: true, order }))])
  addHeader(tree, entry)
  entry.stored = true
  entry.order = order
  chain.nextOrder = order + 1
  if (isBetter(entry, chain.best)) chain.best = entry
  await activate(chain)
  if (entry.failed !== 'none') return { status: 'rejected', violation: { violation: true, reason: 'duplicate-invalid' } }
  return { status: chain.active[entry.height] === entry ? 'connected' : 'side' }
}

/** A block is refused. Its hash is remembered as bad unless only these bytes are (CVE-2012-2459). */
const reject = async (chain: Chain, entry: HeaderEntry, violation: BlockViolation): Promise<BlockOutcome> => {
  if (violation.mutated !== true) {
    addHeader(chain.tree, entry)
    await applyMarks(chain, failureOf(chain.tree, entry))
  }
  return { status: 'rejected', violation }
}

/** The owner declares a block bad: the tip moves to the best chain without it. */
export const invalidate = async (chain: Chain, entry: HeaderEntry): Promise<void> => {
  if (entry === chain.tree.genesis) throw new RangeError('the genesis block cannot be invalidated')
  await applyMarks(chain, failureOf(chain.tree, entry))
  await activate(chain)
}

/** Takes that back, and every other judgement on the blocks below and above. */
export const reconsider = async (chain: Chain, entry: HeaderEntry): Promise<void> => {
  await applyMarks(chain, pardonOf(chain.tree, entry))
  await activate(chain)
}

/** Treats the block as if it had come before all others of as much work. Nothing happens when the tip has more. */
export const prefer = async (chain: Chain, entry: HeaderEntry): Promise<void> => {
  await activate(chain)
  if (!entry.stored || entry.failed !== 'none' || entry.chainWork < tipOf(chain).chainWork) return
  entry.order = --chain.leastOrder
  chain.best = bestStored(chain.tree)
  await activate(chain)
}

/** What the latest blocks told about fees, oldest first. */
export const feeHistory = ({ active, fees }: Chain): BlockFees[] =>
  active
    .slice(-FEE_HISTORY_BLOCKS)
    .map(({ hash }) => fees.get(hash))
    .filter((told) => told !== undefined)
