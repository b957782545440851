/**
 * The contract between the ledger and whoever follows its chain (channel service, watchtower). Types only.
 * `LedgerSource` is what the ledger engine offers; `ChainSource` is what a node takes. `inProcessChain` joins the two by function
 * calls, `linkServer` and `linkClient` by frames; what a consumer sees is the same.
 *
 * Resuming. A consumer stores the cursor of the last block that it has durably taken, and hands it to `start`, with the blocks just
 * below it as `recent` (newest first, without gaps; RECENT_BLOCKS of them are enough). What the active chain no longer has of these
 * comes first as blockDisconnected, from the top down, one event per block with its own hash; then blockConnected from the fork on.
 * Headers that the ledger still knows are used below `recent`, so a deeper fork is found as well. Where neither knows a common block
 * the consumer gets `away` with the reason 'unknown_chain', and nothing else until the ledger's chain comes to contain one.
 */
import type { Block, BlockHash, BlockHeader, BlockHeight, FeeratePerKw, Outpoint, Tx, TxOutput } from '@leyden/bitcoin'

/** How many blocks below its cursor a consumer should remember: a day of blocks, deeper than any reorganisation that was ever seen. */
export const RECENT_BLOCKS = 144

/** One block of a chain: its height and its hash. */
export type ChainCursor = { readonly height: BlockHeight; readonly hash: BlockHash }

/** What a consumer of the chain is told, strictly in this order of events. */
export type ChainEvent =
  /** The next block: its parent is the block of the event before (or the cursor). */
  | { readonly type: 'blockConnected'; readonly height: BlockHeight; readonly hash: BlockHash; readonly block: Block }
  /** The topmost block that the consumer knows is no longer in the active chain. */
  | { readonly type: 'blockDisconnected'; readonly height: BlockHeight; readonly hash: BlockHash }
  /** Entered the mempool. Best effort: sent once caught up, the whole mempool first (parents before children); may repeat. */
  | { readonly type: 'transactionSeen'; readonly tx: Tx }
  /** Everything up to `tip`, the ledger's tip, has been sent. Comes again after each new block. */
  | { readonly type: 'synced'; readonly tip: ChainCursor }
  /** The ledger cannot be reached, or cannot go on: decisions on time must not trust the last tip for long. */
  | { readonly type: 'away'; readonly reason: string }
  /** It can again; events go on where they stopped. */
  | { readonly type: 'back' }

/** Takes one event. When it returns a promise the next event comes after that promise: the source's back-pressure. */
export type OnChainEvent = (event: ChainEvent) => void | Promise<void>

/**
 * What became of a broadcast. Already in the mempool or the chain is `ok`. `reason` is Bitcoin Core's reject name where it has one.
 * `permanent`: these very transactions can never be accepted; anything else is worth another try.
 */
export type BroadcastResult = { readonly ok: true } | { readonly ok: false; readonly reason: string; readonly permanent: boolean }

/** Confirmation targets, in blocks, that are estimated. */
export const FEE_TARGETS = [2, 6, 12, 144] as const
export type FeeTarget = (typeof FEE_TARGETS)[number]

/** Fee rates in satoshi per 1000 weight. */
export type FeeEstimates = {
  readonly feeratePerKw: { readonly [target in FeeTarget]: FeeratePerKw }
  /** Below this the ledger's mempool takes nothing. */
  readonly minimumFeeratePerKw: FeeratePerKw
}

/** Where an output stands in the active chain (BOLT 7's short_channel_id). */
export type OutputPosition = { readonly height: BlockHeight; readonly transactionIndex: number; readonly vout: number }

/** An output of the active chain. `unspent`: no transaction in the active chain spends it. */
export type FoundOutput = { readonly outpoint: Outpoint; readonly output: TxOutput; readonly unspent: boolean }

/** The chain as a consumer sees it, in its own process or far away. */
export interface ChainSource {
  /**
   * Begins the events; called once. `cursor` undefined: from the present tip on (a new node), first event `synced`.
   * `recent`: see the head of this file.
   */
  start(cursor: ChainCursor | undefined, onEvent: OnChainEvent, recent?: readonly ChainCursor[]): void
  /** One transaction, or a child with its parents (parents first) as a package. Unreachable is `{ok: false, reason: 'away', permanent: false}`. */
  broadcast(transactions: readonly Tx[]): Promise<BroadcastResult>
  /** Rejects with {@link LinkAway} while the ledger cannot be reached. */
  fees(): Promise<FeeEstimates>
  /** The output at a position; undefined when there is none. Rejects with {@link LinkAway} while the ledger cannot be reached. */
  findOutput(position: OutputPosition): Promise<FoundOutput | undefined>
  /** No event is sent after it resolves. */
  stop(): Promise<void>
}

/** The ledger cannot be asked now. */
export class LinkAway extends Error {
  constructor(reason: string) {
    super(`the ledger is away: ${reason}`)
    this.name = 'LinkAway'
  }
}

/** What happened in the ledger. `tipChanged` says only that something did: the follower asks for the rest. */
export type LedgerEvent = { readonly type: 'tipChanged' } | { readonly type: 'transactionSeen'; readonly tx: Tx }

/** What link needs of a ledger engine. The synchronous answers must agree with each other within one turn of the event loop. */
export interface LedgerSource {
  /** The topmost block of the active chain that is fully validated. */
  tip(): ChainCursor
  /** The hash at a height of the active chain; undefined above the tip. */
  hashAtHeight(height: BlockHeight): BlockHash | undefined
  /** A header that it knows, in the active chain or off it. */
  headerByHash(hash: BlockHash): { readonly height: BlockHeight; readonly header: BlockHeader } | undefined
  /** The whole block; undefined when it is not stored (pruned or never seen). */
  blockByHash(hash: BlockHash): Promise<Block | undefined>
  /** What is in the mempool, parents before children. */
  mempool(): readonly Tx[]
  /** Whether the active chain has this output and no transaction of the active chain spends it. */
  isUnspent(outpoint: Outpoint): Promise<boolean>
  /** Calls `onEvent` after each change, when the answers above already show it. Returns the end of the subscription. */
  subscribe(onEvent: (event: LedgerEvent) => void): () => void
  broadcast(transactions: readonly Tx[]): Promise<BroadcastResult>
  fees(): FeeEstimates | Promise<FeeEstimates>
}
