/**
 * Follows a ledger from a cursor: turns "the chain is now so" into the ordered events of contract.ts. Used by both forms of the link.
 * One loop asks what the next event is, gives it, and asks again: the chain may change at every await, nothing is remembered of it
 * but the blocks that the consumer has.
 */
import { type Block, type BlockHeight, txid } from '@leyden/bitcoin'
import {
  type ChainCursor,
  type ChainEvent,
  type FoundOutput,
  type LedgerSource,
  type OutputPosition,
  RECENT_BLOCKS,
} from './contract.ts'

/** Mempool transactions that wait for a slow consumer; more are dropped (transactionSeen is best effort). */
const MAX_WAITING_TRANSACTIONS = 10_000

/** As OnChainEvent; `top` is the consumer's topmost block when it has taken the event. */
export type OnFollowed = (event: ChainEvent, top: ChainCursor | undefined) => void | Promise<void>

export interface Follower {
  /** No event is given after it resolves. */
  stop(): Promise<void>
}

/** The cursor and what lies below it without a gap, lowest first. */
export const knownBlocks = (cursor: ChainCursor, recent: readonly ChainCursor[] = []): ChainCursor[] => {
  const known = [cursor]
  for (const block of recent) {
    const lowest = known.at(-1) as ChainCursor
    if (block.height === lowest.height && block.hash === lowest.hash) continue // a list that begins with the cursor itself
    if (block.height !== lowest.height - 1) break
    known.push(block)
  }
  return known.reverse()
}

export const follow = (
  source: LedgerSource,
  cursor: ChainCursor | undefined,
  recent: readonly ChainCursor[] | undefined,
  onEvent: OnFollowed,
): Follower => {
  let known = cursor === undefined ? [] : knownBlocks(cursor, recent)
  let stopped = false
  let awayReason: string | undefined
  let syncedAt: string | undefined
  let showMempool = true
  let seen: ChainEvent[] = []
  let woken = false
  let wake: (() => void) | undefined

  const isStopped = (): boolean => stopped
  const rouse = (): void => {
    woken = true
    wake?.()
  }
  const sleep = async (): Promise<void> => {
    if (!woken && !stopped)
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    woken = false
    wake = undefined
  }

  const isActive = (block: ChainCursor): boolean => source.hashAtHeight(block.height) === block.hash
  const parentOf = (block: ChainCursor, below: ChainCursor | undefined): ChainCursor | undefined => {
    if (below !== undefined) return below
    const found = source.headerByHash(block.hash)
    if (found === undefined || block.height === 0) return undefined
    return { height: (block.height - 1) as BlockHeight, hash: found.header.previousHash }
  }
  /** The highest block of the consumer's chain that the active chain has. */
  const findFork = (): ChainCursor | undefined => {
    let at = known.length - 1
    let block = known[at]
    while (block !== undefined && !isActive(block)) block = parentOf(block, known[--at])
    return block
  }

  const give = async (event: ChainEvent): Promise<void> => {
    if (!stopped) await onEvent(event, known.at(-1))
  }
  const goAway = async (reason: string): Promise<void> => {
    if (awayReason !== reason) await give({ type: 'away', reason })
    awayReason = reason
    await sleep()
  }
  const comeBack = async (): Promise<void> => {
    if (awayReason === undefined) return
    awayReason = undefined
    await give({ type: 'back' })
  }

  const disconnect = async (top: ChainCursor): Promise<void> => {
    const fork = findFork()
    if (fork === undefined) return goAway('unknown_chain')
    // The ledger knows nothing against our blocks, it has not got as far: a ledger that is still fetching its chain.
    if (fork.height === source.tip().height) return goAway('behind')
    await comeBack()
    const parent = parentOf(top, known.at(-2)) as ChainCursor // the fork is below, so there is one
    known = known.length > 1 ? known.slice(0, -1) : [parent]
    syncedAt = undefined
    await give({ type: 'blockDisconnected', height: top.height, hash: top.hash })
  }

  const connect = async (top: ChainCursor): Promise<void> => {
    const height = (top.height + 1) as BlockHeight
    const hash = source.hashAtHeight(height)
    if (hash === undefined) return goAway('behind')
    let block: Block | undefined
    try {
      block = await source.blockByHash(hash)
    } catch {
      return goAway('unreadable_block') // the ledger's disk, not ours; it is asked again when something changes there
    }
    if (source.hashAtHeight(height) !== hash || !isActive(top)) return // changed meanwhile
    if (block === undefined) return goAway('missing_block')
    await comeBack()
    known.push({ height, hash })
    syncedAt = undefined
    if (known.length > 2 * RECENT_BLOCKS) known = known.slice(-RECENT_BLOCKS)
    await give({ type: 'blockConnected', height, hash, block })
  }

  const idle = async (top: ChainCursor): Promise<void> => {
    await comeBack()
    if (syncedAt !== top.hash) {
      syncedAt = top.hash
      return give({ type: 'synced', tip: top })
    }
    if (showMempool) {
      showMempool = false
      for (const tx of source.mempool()) seen.push({ type: 'transactionSeen', tx })
    }
    const event = seen.shift()
    return event === undefined ? sleep() : give(event)
  }

  const run = async (): Promise<void> => {
    await Promise.resolve()
    while (!isStopped()) {
      const tip = source.tip()
      const top = known.at(-1)
      if (top === undefined) known = [tip]
      else if (!isActive(top)) await disconnect(top)
      else if (top.height < tip.height) await connect(top)
      else await idle(top)
    }
  }

  const unsubscribe = source.subscribe((event) => {
    if (event.type === 'transactionSeen') {
      if (showMempool || seen.length >= MAX_WAITING_TRANSACTIONS) return // the mempool will be shown as a whole
      seen.push(event)
    }
    rouse()
  })
  const running = run()
  return {
    async stop() {
      stopped = true
      seen = []
      unsubscribe()
      wake?.()
      await running
    },
  }
}

/** The output at a position of the active chain. */
export const findOutput = async (source: LedgerSource, position: OutputPosition): Promise<FoundOutput | undefined> => {
  const hash = source.hashAtHeight(position.height)
  const block = hash === undefined ? undefined : await source.blockByHash(hash)
  const tx = block?.transactions[position.transactionIndex]
  const output = tx?.outputs[position.vout]
  if (tx === undefined || output === undefined) return undefined
  const outpoint = { txid: txid(tx), vout: position.vout }
  return { outpoint, output, unspent: await source.isUnspent(outpoint) }
}
