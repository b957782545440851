/**
 * The blocks of a chain in its block files: reading those that are stored, keeping those that come.
 * A block is stored for good once it was: pruning takes its bytes away, and then whoever needs them is told.
 */
import { decodeBlock, encodeBlock, type Block, type BlockHash } from '@leyden/bitcoin'
import { addHeader, decodeUndo, encodeUndo, type HeaderEntry, type ReorgPlan, type Undo } from '@leyden/ledger'
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

/** Keeps the bytes of a block that has passed the rules that need no coins. */
export const storeBlock = (chain: Chain, entry: HeaderEntry, block: Block, order: number): void => {
  const { tree, files, stored, touched } = chain
  if (!entry.stored) {
    const place = files.appendBlock(entry.hash, entry.height, encodeBlock(block))
    stored.set(entry.hash, { transactions: block.transactions.length, block: place })
  }
  addHeader(tree, entry)
  entry.stored = true
  entry.order = order
  chain.nextOrder = Math.max(chain.nextOrder, order + 1)
  touched.add(entry)
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
