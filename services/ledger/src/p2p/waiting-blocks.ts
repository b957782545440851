/**
 * Blocks on their way into the chain: those whose parent is not here yet, held until it is, and those that the chain is taking.
 * Several go to the chain at once, so that none waits for the disk to confirm the one before; both sets have a cap in bytes.
 */
import { blockHash, txTotalSize, type Block, type BlockHash } from '@leyden/bitcoin'

/** Held for their parents. */
const MAX_HELD_BYTES = 128 * 1024 * 1024
/** Given to the chain and not settled. */
const MAX_TAKING_BYTES = 32 * 1024 * 1024

export type Waiting = { readonly block: Block; readonly hash: BlockHash; readonly peer: number; readonly bytes: number }

export interface WaitingBlocks {
  has(hash: BlockHash): boolean
  /** The chain is taking it. */
  isTaking(hash: BlockHash): boolean
  /** Whether more may be fetched of what cannot be connected yet. */
  hasRoom(): boolean
  /** False: no room, the block is lost. */
  add(block: Block, peer: number): boolean
  /** What the chain is to take now: blocks whose parent is stored or on its way. In order. */
  ready(isStored: (hash: BlockHash) => boolean): readonly Waiting[]
  /** The chain has taken or refused it; `refused`: what stands on it goes too. */
  settled(hash: BlockHash, refused: boolean): void
}

export const createWaitingBlocks = (): WaitingBlocks => {
  const held = new Map<BlockHash, Waiting>()
  const byParent = new Map<BlockHash, Set<Waiting>>()
  const taking = new Map<BlockHash, Waiting>()
  let heldBytes = 0
  let takingBytes = 0

  const drop = (waiting: Waiting): void => {
    if (!held.delete(waiting.hash)) return
    heldBytes -= waiting.bytes
    const siblings = byParent.get(waiting.block.header.previousHash)
    siblings?.delete(waiting)
    if (siblings?.size === 0) byParent.delete(waiting.block.header.previousHash)
  }
  const dropAbove = (hash: BlockHash): void => {
    for (const waiting of byParent.get(hash) ?? []) {
      drop(waiting)
      dropAbove(waiting.hash)
    }
  }

  return {
    has: (hash) => held.has(hash) || taking.has(hash),
    isTaking: (hash) => taking.has(hash),
    hasRoom: () => heldBytes < MAX_HELD_BYTES,
    add(block, peer) {
      const hash = blockHash(block.header)
      if (held.has(hash) || taking.has(hash)) return true
      const bytes = block.transactions.reduce((sum, tx) => sum + txTotalSize(tx), 100)
      if (heldBytes > 0 && heldBytes + bytes > 2 * MAX_HELD_BYTES) return false
      const waiting = { block, hash, peer, bytes }
      held.set(hash, waiting)
      heldBytes += bytes
      const siblings = byParent.get(block.header.previousHash) ?? new Set()
      siblings.add(waiting)
      byParent.set(block.header.previousHash, siblings)
      return true
    },
    ready(isStored) {
      const found: Waiting[] = []
      const go = (waiting: Waiting): void => {
        if (takingBytes >= MAX_TAKING_BYTES) return
        drop(waiting)
        taking.set(waiting.hash, waiting)
        takingBytes += waiting.bytes
        found.push(waiting)
        for (const child of byParent.get(waiting.hash) ?? []) go(child)
      }
      for (const [parent, children] of byParent)
        if (taking.has(parent) || isStored(parent)) for (const waiting of children) go(waiting)
      return found
    },
    settled(hash, refused) {
      const waiting = taking.get(hash)
      if (waiting !== undefined) {
        taking.delete(hash)
        takingBytes -= waiting.bytes
      }
      if (refused) dropAbove(hash)
    },
  }
}
