/**
 * The blocks of a chain in its block files: reading those that are stored, keeping those that come.
 * A block is stored for good once it was: pruning takes its bytes away, and then whoever needs them is told.
 */
import { decodeBlock, encodeBlock, type Block, type BlockHash } from '@leyden/bitcoin'
import { addHeader, decodeUndo, encodeUndo, isBetter, type HeaderEntry, type ReorgPlan, type Undo } from '@leyden/ledger'
import type { RecordKind } from './block-files.ts'
import type { Chain } from './chain.ts'

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

/** Whether the bytes of the block are here. */
export const hasBytes = ({ stored }: Chain, { hash }: HeaderEntry): boolean => stored.get(hash)?.block !== undefined

/** Keeps the bytes of a block that has passed the rules that need no coins, whether or not its parent's are here. */
export const keepBytes = (chain: Chain, entry: HeaderEntry, block: Block): void => {
  const { tree, files, stored, touched, loose, named } = chain
  addHeader(tree, entry)
  touched.add(entry)
  if (hasBytes(chain, entry)) return
  const place = files.appendBlock(entry.hash, entry.height, encodeBlock(block))
  stored.set(entry.hash, { transactions: block.transactions.length, block: place })
  const parent = entry.parent as HeaderEntry
  if (entry.stored || parent.stored) return
  loose.set(parent.hash, [...(loose.get(parent.hash) ?? []), entry])
  // What it stands on has to be known after a restart.
  for (let at: HeaderEntry | undefined = parent; at !== undefined && !at.stored && !named.has(at); at = at.parent) {
    named.add(at)
    touched.add(at)
  }
}

/** Blocks that came before their parents are stored as soon as those are: what stands on this one, and on that. */
export const tieLoose = (chain: Chain, entry: HeaderEntry): void => {
  const waiting = [entry]
  for (let parent = waiting.pop(); parent !== undefined; parent = waiting.pop()) {
    const children = chain.loose.get(parent.hash) ?? []
    chain.loose.delete(parent.hash)
    for (const child of children) {
      if (!hasBytes(chain, child)) continue
      child.stored = true
      child.order = chain.nextOrder++
      chain.touched.add(child)
      if (child.failed === 'none' && isBetter(child, chain.best)) chain.best = child
      waiting.push(child)
    }
  }
}

/** Keeps the bytes of a block whose parent is stored: it may become the tip. */
export const storeBlock = (chain: Chain, entry: HeaderEntry, block: Block, order: number): void => {
  if (!entry.stored) keepBytes(chain, entry, block)
  addHeader(chain.tree, entry)
  entry.stored = true
  entry.order = order
  chain.nextOrder = Math.max(chain.nextOrder, order + 1)
  chain.touched.add(entry)
  tieLoose(chain, entry)
}

/** Keeps what the block spent, unless that has been done when it was connected before: it is always the same. */
export const storeUndo = ({ files, stored }: Chain, { hash }: HeaderEntry, undo: Undo): void => {
  const at = stored.get(hash)
  if (at?.block === undefined || at.undo !== undefined) return
  stored.set(hash, { ...at, undo: files.appendUndo(at.block, hash, encodeUndo(undo)) })
}

/** Throws {@link PrunedData} before anything is moved when a block on the way is no longer here. */
export const checkPresent = ({ stored, about }: Chain, { disconnect, connect }: ReorgPlan): void => {
  if (about.pruned !== true) return
  for (const { hash, height } of disconnect)
    if (stored.get(hash)?.undo === undefined)
      throw new PrunedData(`a reorganisation needs block ${hash} at height ${height}, which`)
  for (const { hash, height } of connect)
    if (stored.get(hash)?.block === undefined)
      throw new PrunedData(`a reorganisation needs block ${hash} at height ${height}, which`)
}
