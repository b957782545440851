/**
 * The tree of headers: every header that we know, its height and the work behind it, and which chain is best.
 * Bitcoin Core chain.h, CChain; BIP 113 (median time past).
 * Entries link to their parents; what is learnt later about a block (stored, failed) is a mutable field, changed only by the
 * owner of the tree after the same fact is durable. A block is `stored` only when its parent is: so every stored entry has
 * all its ancestors' blocks.
 */
import {
  blockHash,
  BlockHeight,
  checkHeader as checkHeaderRules,
  checkProofOfWork,
  MEDIAN_TIME_SPAN,
  medianTimePast as medianOf,
  workFromBits,
  type BlockHash,
  type BlockHeader,
  type Network,
} from '@leyden/bitcoin'
import { blockViolation, type BlockViolation } from './violation.ts'

/** `self`: this block broke a rule (or the owner invalidated it); `ancestor`: one below it did. */
export type BlockFailure = 'none' | 'self' | 'ancestor'

export type HeaderEntry = {
  readonly hash: BlockHash
  readonly header: BlockHeader
  readonly height: BlockHeight
  /** Sum of the expected hashes from genesis to here. */
  readonly chainWork: bigint
  readonly parent: HeaderEntry | undefined
  /** A far ancestor, so that walks back take logarithmic time. */
  readonly skip: HeaderEntry | undefined
  /** Whether the block's transactions are in the store. */
  stored: boolean
  failed: BlockFailure
  /** Order of arrival of the block: of equal work the first seen wins. */
  order: number
}

export type HeaderTree = {
  readonly network: Network
  readonly entries: Map<BlockHash, HeaderEntry>
  readonly genesis: HeaderEntry
}

const lowestSetBitCleared = (n: number): number => n & (n - 1)

/** Height of the skip link: of each pair, one goes far and one goes near (Bitcoin Core chain.cpp, GetSkipHeight). */
const skipHeight = (height: number): number => {
  if (height < 2) return 0
  return height % 2 === 1 ? lowestSetBitCleared(lowestSetBitCleared(height - 1)) + 1 : lowestSetBitCleared(height)
}

/** The ancestor at a height; undefined above the entry. */
export const ancestorAt = (entry: HeaderEntry, height: number): HeaderEntry | undefined => {
  if (height > entry.height || height < 0) return undefined
  let at = entry
  while (at.height > height) {
    const { skip, parent } = at
    at = skip !== undefined && skip.height >= height ? skip : (parent as HeaderEntry)
  }
  return at
}

const makeEntry = (header: BlockHeader, parent: HeaderEntry | undefined): HeaderEntry => {
  const height = BlockHeight(parent === undefined ? 0 : parent.height + 1)
  return {
    hash: blockHash(header),
    header,
    height,
    chainWork: (parent?.chainWork ?? 0n) + workFromBits(header.bits),
    parent,
    skip: parent === undefined ? undefined : ancestorAt(parent, skipHeight(height)),
    stored: false,
    failed: parent === undefined || parent.failed === 'none' ? 'none' : 'ancestor',
    order: 0,
  }
}

/** A tree with the genesis block alone, stored. */
export const createHeaderTree = (network: Network, genesisHeader: BlockHeader): HeaderTree => {
  const genesis = makeEntry(genesisHeader, undefined)
  genesis.stored = true
  return { network, genesis, entries: new Map([[genesis.hash, genesis]]) }
}

/** Median time of the entry and its ten ancestors, seconds. BIP 113. */
export const medianTimePast = (entry: HeaderEntry): number => {
  const times: number[] = []
  for (let at: HeaderEntry | undefined = entry; at !== undefined && times.length < MEDIAN_TIME_SPAN; at = at.parent)
    times.push(at.header.time)
  return medianOf(times)
}

/** Header at a height of the entry's own chain. Throws RangeError above it. */
export const headerAt = (entry: HeaderEntry, height: number): BlockHeader => {
  const found = ancestorAt(entry, height)
  if (found === undefined) throw new RangeError(`no header at height ${height} below ${entry.height}`)
  return found.header
}

/**
 * The entry that a header becomes, not yet added; the known one when it is known; or the rule it breaks.
 * `now` in seconds. Bitcoin Core validation.cpp, AcceptBlockHeader.
 */
export const placeHeader = (tree: HeaderTree, header: BlockHeader, now: number): HeaderEntry | BlockViolation => {
  const known = tree.entries.get(blockHash(header))
  if (known !== undefined) return known.failed === 'none' ? known : blockViolation('duplicate')
  if (checkProofOfWork(header, tree.network) !== undefined) return blockViolation('high-hash')
  const parent = tree.entries.get(header.previousHash)
  if (parent === undefined) return blockViolation('prev-blk-not-found')
  if (parent.failed !== 'none') return blockViolation('bad-prevblk')
  const broken = checkHeaderRules(header, {
    network: tree.network,
    previous: parent,
    medianTimePast: medianTimePast(parent),
    now,
    headerAt: (height) => headerAt(parent, height),
  })
  return broken === undefined ? makeEntry(header, parent) : blockViolation(broken)
}

/** The entry that a header on `parent` would become if the work were done. Not to be added to a tree. */
export const draftEntry = (header: BlockHeader, parent: HeaderEntry): HeaderEntry => makeEntry(header, parent)

/** Adds what placeHeader gave. */
export const addHeader = (tree: HeaderTree, entry: HeaderEntry): void => {
  tree.entries.set(entry.hash, entry)
}

/** An entry from our own store, whose rules were checked when it came. Parents first; undefined when the parent is not there. */
export const restoreEntry = (
  tree: HeaderTree,
  header: BlockHeader,
  known: { stored: boolean; failed: BlockFailure; order: number },
): HeaderEntry | undefined => {
  const parent = tree.entries.get(header.previousHash)
  if (parent === undefined) return undefined
  const entry = Object.assign(makeEntry(header, parent), known)
  addHeader(tree, entry)
  return entry
}

/** Where two branches part. */
export const forkPoint = (a: HeaderEntry, b: HeaderEntry): HeaderEntry => {
  let left = ancestorAt(a, Math.min(a.height, b.height)) as HeaderEntry
  let right = ancestorAt(b, Math.min(a.height, b.height)) as HeaderEntry
  while (left !== right) {
    if (left.skip !== right.skip && left.skip !== undefined && right.skip !== undefined) {
      left = left.skip
      right = right.skip
    } else {
      left = left.parent as HeaderEntry
      right = right.parent as HeaderEntry
    }
  }
  return left
}

/** From one tip to another: blocks to take back, topmost first, then blocks to put on, lowest first. */
export type ReorgPlan = {
  readonly fork: HeaderEntry
  readonly disconnect: readonly HeaderEntry[]
  readonly connect: readonly HeaderEntry[]
}

export const planReorg = (from: HeaderEntry, to: HeaderEntry): ReorgPlan => {
  const fork = forkPoint(from, to)
  const walk = (start: HeaderEntry): HeaderEntry[] => {
    const entries: HeaderEntry[] = []
    for (let at = start; at !== fork; at = at.parent as HeaderEntry) entries.push(at)
    return entries
  }
  return { fork, disconnect: walk(from), connect: walk(to).reverse() }
}

/** More work; of equal work, the block that came first. */
export const isBetter = (a: HeaderEntry, b: HeaderEntry): boolean =>
  a.chainWork !== b.chainWork ? a.chainWork > b.chainWork : a.order < b.order

/** The best entry of which every block is stored and none has failed. Looks at every entry. */
export const bestStored = (tree: HeaderTree): HeaderEntry => {
  let best = tree.genesis
  for (const entry of tree.entries.values()) if (entry.stored && entry.failed === 'none' && isBetter(entry, best)) best = entry
  return best
}

/** The header with the most work that has not failed, its block stored or not. */
export const bestHeader = (tree: HeaderTree): HeaderEntry => {
  let best = tree.genesis
  for (const entry of tree.entries.values()) if (entry.failed === 'none' && entry.chainWork > best.chainWork) best = entry
  return best
}

/** Whether `entry` is `ancestor` or descends from it. */
export const descendsFrom = (entry: HeaderEntry, ancestor: HeaderEntry): boolean =>
  ancestorAt(entry, ancestor.height) === ancestor

/** What changes in the failure marks when a block is found (or declared) bad. The owner stores, then applies. */
export const failureOf = (tree: HeaderTree, bad: HeaderEntry): (readonly [HeaderEntry, BlockFailure])[] => {
  const marks: (readonly [HeaderEntry, BlockFailure])[] = []
  for (const entry of tree.entries.values()) {
    if (entry === bad) marks.push([entry, 'self'])
    else if (entry.height > bad.height && entry.failed === 'none' && descendsFrom(entry, bad)) marks.push([entry, 'ancestor'])
  }
  return marks
}

/** What changes when a block, what it stands on and what stands on it are to be judged anew. Bitcoin Core ResetBlockFailureFlags. */
export const pardonOf = (tree: HeaderTree, entry: HeaderEntry): (readonly [HeaderEntry, BlockFailure])[] => {
  const pardoned = new Set<HeaderEntry>()
  const byHeight = [...tree.entries.values()].filter((other) => other.failed !== 'none').sort((a, b) => a.height - b.height)
  for (const other of byHeight) {
    const parentFine = other.parent === undefined || other.parent.failed === 'none' || pardoned.has(other.parent)
    if (descendsFrom(other, entry) || descendsFrom(entry, other) || (other.failed === 'ancestor' && parentFine))
      pardoned.add(other)
  }
  return [...pardoned].map((other) => [other, 'none'] as const)
}

/** Hashes from the entry back, ever further apart, genesis last: how a peer finds what we share. */
export const locator = (entry: HeaderEntry): BlockHash[] => {
  const hashes: BlockHash[] = []
  let step = 1
  let height: number = entry.height
  while (height > 0) {
    hashes.push((ancestorAt(entry, height) as HeaderEntry).hash)
    if (hashes.length > 10) step *= 2
    height -= step
  }
  hashes.push((ancestorAt(entry, 0) as HeaderEntry).hash)
  return hashes
}

/** The chain tips: entries that no other stands on. Bitcoin Core's getchaintips. */
export const leaves = (tree: HeaderTree): HeaderEntry[] => {
  const parents = new Set<HeaderEntry>()
  for (const entry of tree.entries.values()) if (entry.parent !== undefined) parents.add(entry.parent)
  return [...tree.entries.values()].filter((entry) => !parents.has(entry))
}
