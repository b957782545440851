/**
 * The ledger engine: one chain, one mempool, one queue of jobs, behind plain functions. Ports in, no sockets, no clock of its own:
 * the simulation runs this very file over a disk and a clock that it makes up.
 * Answers that are synchronous agree with each other within one turn of the event loop; everything that changes something waits
 * in one queue, and resolves when it is durable.
 */
import {
  blockHash,
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
  type BlockViolation,
  type HeaderEntry,
  type HeaderTree,
  type Mempool,
  type ScriptChecker,
  type Undo,
} from '@leyden/ledger'
import { FEE_TARGETS, type BroadcastResult, type FeeEstimates, type LedgerEvent, type LedgerSource } from '@leyden/link'
import { decodeKey, type Clock, type Log, type Random, type Store } from '@leyden/runtime'
import { takeTransactions, type TakeOptions, type TransactionOutcome } from './broadcast.ts'
import { readAllCoins, readBlockBytes, readPosition, readUndo, type TxPosition } from './chain-rows.ts'
import {
  feeHistory,
  invalidate,
  loadBlock,
  loadView,
  openChain,
  prefer,
  reconsider,
  takeBlock,
  tipOf,
  type BlockOutcome,
} from './chain.ts'

export type { BlockOutcome } from './chain.ts'
export type { TakeOptions, TransactionOutcome } from './broadcast.ts'

export type LedgerEngineOptions = {
  readonly store: Store
  readonly network: Network
  readonly clock: Clock
  readonly random?: Random
  readonly log?: Log
  /** Puts the solution of a signed network into a block of ours; undefined when our keys do not suffice. */
  readonly signBlock?: (block: Block) => Block | undefined
  /** Runs the scripts of blocks. Without one they run in this thread. */
  readonly checkScripts?: ScriptChecker
}

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
  locator(): BlockHash[]
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
const MAX_HEADERS_WITHOUT_BLOCK = 100_000

/** Satoshi per 1000 weight so that any transaction, its size rounded up to whole virtual bytes, still pays the rate. */
const perKw = (perKvb: number): FeeratePerKw => FeeratePerKw(Math.max(253, Math.ceil((perKvb / 4) * 1.012)))

/** Opens the chain that the store holds, or begins one at the network's genesis. Throws StoreMismatch on a store of another network. */
export const createLedgerEngine = async (options: LedgerEngineOptions): Promise<LedgerEngine> => {
  const { store, network, clock, log = SILENT, checkScripts } = options
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
  /** The tip that is shown: in the middle of a reorganisation still the old one. */
  let shown: HeaderEntry | undefined
  const publish = (entry: HeaderEntry): void => {
    if (shown === undefined || shown === entry) return
    shown = entry
    emit({ type: 'tipChanged' })
  }
  const chain = await openChain({
    store,
    network,
    now,
    log,
    onTip: (change, entry, settled) => {
      log.debug({ height: entry.height, hash: entry.hash }, `block ${change}`)
      if (settled) publish(entry)
    },
    onTransaction: (tx) => emit({ type: 'transactionSeen', tx }),
    ...(checkScripts === undefined ? {} : { checkScripts }),
  })
  const { tree, pool, active } = chain
  shown = tipOf(chain)
  const shownTip = (): HeaderEntry => shown as HeaderEntry
  const shownAt = (height: number): HeaderEntry | undefined =>
    shown === tipOf(chain) ? active[height] : ancestorAt(shownTip(), height)

  let queue: Promise<unknown> = Promise.resolve()
  let closed = false
  const inQueue = <T>(job: () => Promise<T>): Promise<T> => {
    if (closed) return Promise.reject(new Error('the ledger is closed'))
    const run = queue.then(job).finally(() => {
      if (tipOf(chain) === chain.best) publish(chain.best)
    })
    queue = run.catch(() => undefined)
    return run
  }

  let headersWithoutBlock = 0
  let bestSeen = bestHeader(tree)
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
    const signed = network.signetChallenge === undefined ? block : options.signBlock?.(block)
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
      if ((await readPosition(store, id)) !== undefined) continue
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
    locator: () => locator(shownTip()),
    hashAtHeight: (height: BlockHeight) => shownAt(height)?.hash,
    headerByHash: (hash) => tree.entries.get(hash),
    blockByHash: (hash) => loadBlock(chain, hash),
    blockBytes: (hash) => readBlockBytes(store, hash),
    undo: (hash) => readUndo(store, hash),
    mempool: () => inOrder(pool).map(({ tx }) => tx),
    coin: async (outpoint) => [...(await loadView(chain, [outpoint])).values()][0],
    isUnspent: async (outpoint) => (await loadView(chain, [outpoint])).size > 0,
    scanCoins: (visit) =>
      inQueue(async () => {
        for await (const [rowKey, coin] of readAllCoins(store)) {
          const [, id, vout] = decodeKey(rowKey) as [string, Uint8Array, number]
          if (!visit({ txid: txidFromBytes(id), vout }, coin)) break
        }
        return tipOf(chain)
      }),
    position: (id) => readPosition(store, id),
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
      for (let i = 0; i < count; i++) {
        const block = await inQueue(async () => takeOwn(work(buildFromPool(scriptPubKey), maxTries)))
        hashes.push(blockHash(block.header))
      }
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
    },
  }
}
