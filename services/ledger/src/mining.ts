/**
 * Making blocks on the tip: templates from the mempool, blocks of chosen transactions, and work where it is cheap.
 * Bitcoin Core 28.1 node/miner.cpp, rpc/mining.cpp (generateBlocks), validation.cpp (TestBlockValidity).
 */
import { blockHash, checkBlock, checkHeaderAt, checkSignetSolution, type Block, type BlockHash, type Tx } from '@leyden/bitcoin'
import {
  blockViolation,
  buildBlock,
  checkBlockAbove,
  checkScriptsHere,
  chooseTransactions,
  coinsNeeded,
  connectCoins,
  draftEntry,
  findNonce,
  headerAt,
  isViolation,
  medianTimePast,
  scriptViolation,
  type BlockViolation,
  type HeaderEntry,
  type TemplateLimits,
} from '@leyden/ledger'
import { loadView, passedAt, takeBlock, tipOf, type Chain } from './chain.ts'

/** A block was made and not taken: the reason is a bug, a bad transaction given by the caller, or difficulty out of reach. */
export class GenerateError extends Error {
  constructor(detail: string) {
    super(detail)
    this.name = 'GenerateError'
  }
}

/** A block that nobody has worked for yet. */
export type BlockTemplate = {
  readonly block: Block
  readonly parent: HeaderEntry
  /** Of each transaction after the coinbase: satoshi, and signature operations. */
  readonly fees: readonly bigint[]
  readonly sigopCosts: readonly number[]
}

export type MiningOptions = {
  readonly chain: Chain
  /** Runs a job when no other is under way. What it changed is in memory then. */
  readonly inMemory: <T>(job: () => Promise<T>) => Promise<T>
  /** Runs work of several jobs, and resolves when all that they changed is durable. */
  readonly gather: <T>(work: () => Promise<T>) => Promise<T>
  readonly limits: TemplateLimits
  /** What headers carry instead of the usual version. For tests. */
  readonly blockVersion?: number | undefined
  /** Puts the solution of a signed network into a block of ours; undefined when our keys do not suffice. */
  readonly signBlock?: ((block: Block) => Block | undefined) | undefined
}

export type GenerateOptions = {
  readonly maxTries?: number
  /** Aborted when no more blocks are to be made; those that have been are the answer. */
  readonly signal?: AbortSignal
}

export interface Mining {
  template(scriptPubKey: Uint8Array): Promise<BlockTemplate>
  /**
   * Mines up to so many blocks, fewer when `maxTries` hashes do not suffice. They are durable, and shown, a hundred at a time.
   * Throws {@link GenerateError}.
   */
  generateToAddress(count: number, scriptPubKey: Uint8Array, options?: GenerateOptions): Promise<BlockHash[]>
  /** Mines one block of exactly these transactions, and leaves their fees unclaimed, as bitcoind does. Throws {@link GenerateError}. */
  generateBlock(scriptPubKey: Uint8Array, transactions: readonly Tx[], submit?: boolean): Promise<Block>
  /** Which rule a block on the tip would break, whoever works for it: proof of work and a signet's signature are not asked. */
  testBlock(block: Block): Promise<BlockViolation | undefined>
  /** Weight and number of transactions of the block made last; undefined before the first. */
  lastMade(): { readonly weight: number; readonly count: number } | undefined
}

/**
 * So many become durable, and are told of, together. A peer that is further behind than 288 does not ask one who has pruned the rest
 * (BIP 159): it must see each part in time to keep up.
 */
const BLOCKS_AT_ONCE = 100
/** After so many, a few milliseconds, peers and other jobs have their turn. */
const BLOCKS_A_TURN = 8

const DEFAULT_MAX_TRIES = 1_000_000
/** Then whatever else waits has its turn: a fraction of a second. */
const TRIES_AT_ONCE = 20_000

/** Checks a block that would stand on the tip, all but the work for it. */
const test = async (chain: Chain, block: Block): Promise<BlockViolation | undefined> => {
  const { options } = chain
  const { network } = options
  const parent = tipOf(chain)
  if (block.header.previousHash !== parent.hash) return blockViolation('inconclusive-not-best-prevblk')
  const context = {
    network,
    previous: parent,
    medianTimePast: medianTimePast(parent),
    now: options.now(),
    headerAt: (height: number) => headerAt(parent, height),
  }
  const broken = checkHeaderAt(block.header, context) ?? checkBlock(block, network, false)
  if (broken !== undefined) return blockViolation(broken)
  const above = checkBlockAbove(block, network, parent)
  if (above !== undefined) return above
  const view = await loadView(chain, coinsNeeded(block))
  const entry = draftEntry(block.header, parent)
  const result = connectCoins(block, { network, entry, view, scriptsPassed: passedAt(chain, entry.height) })
  if (isViolation(result)) return result
  const failed = await (options.checkScripts ?? checkScriptsHere)(result.scripts)
  return failed === undefined ? undefined : scriptViolation(result.scripts, failed)
}

export const createMining = (given: MiningOptions): Mining => {
  const { chain, inMemory, gather, limits, blockVersion, signBlock } = given
  const { options, pool } = chain
  let last: { weight: number; count: number } | undefined

  const build = (scriptPubKey: Uint8Array, transactions: readonly Tx[], fees: bigint, extraNonce: number): Block =>
    buildBlock({
      network: options.network,
      parent: tipOf(chain),
      now: options.now(),
      transactions,
      fees,
      scriptPubKey,
      extraNonce,
      ...(blockVersion === undefined ? {} : { version: blockVersion }),
    })

  const fromPool = (scriptPubKey: Uint8Array, extraNonce = 0): BlockTemplate => {
    const parent = tipOf(chain)
    const place = { height: parent.height + 1, medianTimePast: medianTimePast(parent) }
    const { entries, fees, weight } = chooseTransactions(pool, place, limits)
    last = { weight, count: entries.length }
    const block = build(
      scriptPubKey,
      entries.map(({ tx }) => tx),
      fees,
      extraNonce,
    )
    return { block, parent, fees: entries.map(({ fee }) => fee), sigopCosts: entries.map(({ sigopCost }) => sigopCost) }
  }

  /** Undefined when `tries` hashes do not suffice. */
  const work = async (block: Block, tries: number): Promise<Block | undefined> => {
    // Also true where nothing is signed, and where the challenge asks for nothing.
    const signed = checkSignetSolution(block, options.network) ? block : signBlock?.(block)
    if (signed === undefined)
      throw new GenerateError('the blocks of this network are signed, and signingKeys holds too few keys: see signblock')
    for (let from = 0; from < tries && from <= 0xffff_ffff; from += TRIES_AT_ONCE) {
      const worked = findNonce(signed, Math.min(TRIES_AT_ONCE, tries - from), from)
      if (worked !== undefined) return worked
      await new Promise((resolve) => setImmediate(resolve))
    }
    return undefined
  }

  /**
   * Works for a block that is not known yet. Only after invalidateblock can the one that comes first be known, made in the same second:
   * an extra nonce makes it another one. Undefined when `tries` hashes do not suffice.
   */
  const workForNew = async (draft: (extraNonce: number) => Block, tries: number): Promise<Block | undefined> => {
    let left = tries
    for (let extraNonce = 0; ; extraNonce++) {
      const worked = await work(draft(extraNonce), left)
      if (worked === undefined || !chain.tree.entries.has(blockHash(worked.header))) return worked
      left -= worked.header.nonce + 1
    }
  }

  const take = async (block: Block): Promise<void> => {
    const outcome = await takeBlock(chain, block)
    if (outcome.status !== 'connected') throw new GenerateError('ProcessNewBlock, block not accepted')
  }

  return {
    template: (scriptPubKey) => inMemory(async () => fromPool(scriptPubKey)),
    async generateToAddress(count, scriptPubKey, { maxTries = DEFAULT_MAX_TRIES, signal } = {}) {
      const hashes: BlockHash[] = []
      let tries = maxTries
      /** Whether it is to go on. */
      const mineOne = async (): Promise<boolean> => {
        const made = await inMemory(async () => {
          const worked = await workForNew((extraNonce) => fromPool(scriptPubKey, extraNonce).block, tries)
          if (worked !== undefined) await take(worked)
          return worked
        })
        if (made === undefined) return false
        tries -= made.header.nonce
        hashes.push(blockHash(made.header))
        if (hashes.length % BLOCKS_A_TURN === 0) await options.breathe()
        return hashes.length < count && signal?.aborted !== true
      }
      const mineSome = async (): Promise<boolean> => {
        for (let i = 0; i < BLOCKS_AT_ONCE; i++) if (!(await mineOne())) return false
        return true
      }
      while (hashes.length < count && (await gather(mineSome)));
      return hashes
    },
    generateBlock: (scriptPubKey, transactions, submit = true) =>
      gather(() =>
        inMemory(async () => {
          const draft = (extraNonce: number): Block => build(scriptPubKey, transactions, 0n, extraNonce)
          const broken = await test(chain, draft(0))
          if (broken !== undefined) {
            const detail = broken.detail === undefined ? '' : `, ${broken.detail}`
            throw new GenerateError(`testBlockValidity failed: ${broken.reason}${detail}`)
          }
          const worked = await workForNew(draft, DEFAULT_MAX_TRIES)
          if (worked === undefined) throw new GenerateError('Failed to make block.')
          if (submit) await take(worked)
          return worked
        }),
      ),
    testBlock: (block) => inMemory(() => test(chain, block)),
    lastMade: () => last,
  }
}
