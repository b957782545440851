/**
 * Blocks whose scripts need not run because others have: those below a block that the owner (or who wrote the program) has seen to be
 * valid. Bitcoin Core validation.cpp, ConnectBlock; chain.cpp, GetBlockProofEquivalentTime.
 * Everything else about them is checked. A false hash cannot be used to make a short false chain look good: the chain must have the
 * network's work, and two weeks of the work that it has now must lie on the block.
 */
import { workFromBits, type BlockHash, type Network } from '@leyden/bitcoin'
import { descendsFrom, type HeaderEntry, type HeaderTree } from './header-tree.ts'

/** What the owner believes. */
export type Assumption = {
  /** A block known to be valid, and with it all below. */
  readonly block: BlockHash
  /** Work that the best chain of headers must have before anything is believed. */
  readonly minimumWork: bigint
}

const TWO_WEEKS_SECONDS = 14 * 24 * 3600

/** How long the work between two entries of one chain takes at the difficulty of the upper one. Seconds. */
const secondsOfWork = (lower: HeaderEntry, upper: HeaderEntry, { targetSpacingSeconds }: Network): bigint =>
  ((upper.chainWork - lower.chainWork) * BigInt(targetSpacingSeconds)) / workFromBits(upper.header.bits)

/** Whether the scripts of the block need not run. `bestHeader` has the most work of all headers, its block stored or not. */
export const assumesScripts = (
  { entries, network }: HeaderTree,
  entry: HeaderEntry,
  bestHeader: HeaderEntry,
  { block, minimumWork }: Assumption,
): boolean => {
  const assumed = entries.get(block)
  return (
    assumed !== undefined &&
    descendsFrom(assumed, entry) &&
    descendsFrom(bestHeader, entry) &&
    bestHeader.chainWork >= minimumWork &&
    secondsOfWork(entry, bestHeader, network) > BigInt(TWO_WEEKS_SECONDS)
  )
}
