/**
 * Building the chain again: from the block files alone (-reindex), or coins and indices from the blocks that the index knows
 * (-reindex-chainstate). Here the rows are taken away and, for the first, the index of blocks is made from what the files hold; then
 * the chain is opened as always, stands at the genesis block, and connects everything.
 * A store says that it is being rebuilt until that much is done, so one that was interrupted begins again.
 */
import { compactSize, Reader } from '@leyden/codec'
import { blockHash, decodeHeader, HEADER_BYTES, type BlockHash, type BlockHeader, type Network } from '@leyden/bitcoin'
import { addHeader, createHeaderTree, isViolation, placeHeader, type HeaderEntry } from '@leyden/ledger'
import { keyRange, type Log, type Store, type Write } from '@leyden/runtime'
import {
  blockFileName,
  blockFileNumbers,
  recordChecksum,
  recordMagic,
  RECORD_OVERHEAD,
  scanRecords,
  type FileFacts,
  type Place,
} from './block-files.ts'
import { aboutWrite, fileWrite, headerWrite, StoreMismatch, type About } from './chain-rows.ts'
import type { Directory } from './directory.ts'
import { turns, type Progress, type Startup } from './warmup.ts'

export type Rebuild = 'everything' | 'chainstate'

/** Rows in one batch. */
const BATCH = 5000
/** A year beyond any clock: the headers were accepted when they came. */
const ANY_TIME = 0xffff_ffff

const deleteRows = async (store: Store, kind: string, { check }: Startup): Promise<void> => {
  let batch: Write[] = []
  for await (const [key] of store.range(keyRange(kind))) {
    batch.push({ key, value: undefined })
    if (batch.length < BATCH) continue
    check()
    await store.write(batch)
    batch = []
  }
  await store.write(batch)
}

export type RebuildParts = {
  readonly store: Store
  readonly directory: Directory
  readonly network: Network
  readonly log: Log
  readonly startup: Startup
  readonly breathe: () => Promise<void>
}

type Found = { readonly hash: BlockHash; readonly header: BlockHeader; readonly transactions: number; readonly place: Place }

/** Every whole block of the files, in their order. */
async function* findBlocks(parts: RebuildParts): AsyncIterable<Found> {
  const { directory, network, log, startup } = parts
  const turn = turns(parts)
  const sizes = new Map((await directory.list()).map(({ name, size }) => [name, size]))
  const files = await blockFileNumbers(directory)
  const sizeOf = (file: number): number => sizes.get(blockFileName(file)) ?? 0
  let before = 0
  let at = 0
  const of = files.reduce((sum, file) => sum + sizeOf(file), 0)
  const progress = (): Progress => ({ done: before + at, of, unit: 'bytes' })
  startup.begin({ doing: 'Reindexing blocks', progress, isLong: true })
  for (const file of files) {
    const name = blockFileName(file)
    let blocks = 0
    let damaged = 0
    for await (const { bytes, offset, checksum } of scanRecords(directory, name, recordMagic(network))) {
      startup.check()
      await turn()
      at = offset
      const header = decodeHeader(bytes.subarray(0, HEADER_BYTES))
      const hash = blockHash(header)
      if (checksum !== recordChecksum(hash, bytes)) {
        damaged++
        continue
      }
      blocks++
      const transactions = compactSize.decode(new Reader(bytes.subarray(HEADER_BYTES)))
      yield { hash, header, transactions, place: { file, offset, length: bytes.length } }
    }
    before += sizeOf(file)
    at = 0
    log.info({ file: name, blocks, ...(damaged === 0 ? {} : { damaged }) }, 'block file read')
  }
}

/** Makes the rows of the index from the block files: the tree of all blocks whose ancestors are here too. Gives how many. */
const indexFiles = async (parts: RebuildParts): Promise<number> => {
  const { store, directory, network, log } = parts
  const tree = createHeaderTree(network, network.genesis.header)
  const facts = new Map<number, FileFacts>()
  /** Blocks whose parent has not been met, by that parent. */
  const early = new Map<BlockHash, Found[]>()
  let batch: Write[] = []
  let order = 0
  const count = ({ file, offset, length }: Place, height: number): void => {
    const before = facts.get(file)
    facts.set(file, {
      blockBytes: Math.max(before?.blockBytes ?? 0, offset + length + RECORD_OVERHEAD - 8),
      undoBytes: 0,
      blocks: (before?.blocks ?? 0) + 1,
      lowest: Math.min(before?.lowest ?? height, height),
      highest: Math.max(before?.highest ?? 0, height),
    })
  }
  const place = async (found: Found): Promise<HeaderEntry | undefined> => {
    const { hash, header, transactions, place } = found
    if (hash === tree.genesis.hash) {
      count(place, 0)
      return undefined
    }
    if (tree.entries.has(hash)) return undefined
    const entry = placeHeader(tree, header, ANY_TIME)
    if (isViolation(entry)) {
      if (entry.reason === 'prev-blk-not-found')
        early.set(header.previousHash, [...(early.get(header.previousHash) ?? []), found])
      else log.warn({ hash, reason: entry.reason }, 'a block in the files breaks a rule')
      return undefined
    }
    entry.stored = true
    entry.order = ++order
    addHeader(tree, entry)
    count(place, entry.height)
    batch.push(headerWrite(entry, { stored: true, failed: 'none', order, at: { transactions, block: place } }))
    if (batch.length >= BATCH) {
      await store.write(batch)
      batch = []
    }
    return entry
  }
  for await (const found of findBlocks(parts)) {
    const ready = [found]
    for (let next = ready.pop(); next !== undefined; next = ready.pop()) {
      if ((await place(next)) === undefined) continue
      ready.push(...(early.get(next.hash) ?? []))
      early.delete(next.hash)
    }
  }
  if (facts.size === 0 && (await blockFileNumbers(directory)).length > 0)
    throw new StoreMismatch(
      `${directory.path} holds no whole block of ${network.name} from its first on: nothing has been changed there. ` +
        'Is it the directory of another network? If not, delete the block files: the blocks are asked for again',
    )
  await store.write([...batch, ...[...facts].map(([file, fact]) => fileWrite(file, fact))])
  log.info({ blocks: tree.entries.size - 1, loose: early.size }, 'the index of blocks is made from the files')
  return order
}

/**
 * Takes away what is to be made again. Gives what the store says of itself afterwards.
 * Throws StoreMismatch when the block files cannot give it, Stopping when it is to be left off: the next start begins it again.
 */
export const rebuild = async (what: Rebuild, known: About, parts: RebuildParts): Promise<About> => {
  const { store, directory, log, startup } = parts
  const { rebuilding: _, pruned, ...about } = known
  if (what === 'chainstate' && pruned === true)
    throw new StoreMismatch('Prune mode is incompatible with -reindex-chainstate. Use full -reindex instead.')
  log.info({ what }, 'the chain is built again from the block files')
  startup.begin({ doing: 'Deleting what is built again', isLong: true })
  await store.write([aboutWrite({ ...known, rebuilding: what })])
  for (const kind of ['tip', 'index', 'transaction', 'filter', 'coinstats', 'coin']) await deleteRows(store, kind, startup)
  if (what === 'chainstate') {
    await store.write([aboutWrite(about)])
    return about
  }
  for (const kind of ['header', 'file']) await deleteRows(store, kind, startup)
  // Without the lowest blocks the others lead nowhere.
  if (pruned === true) for (const file of await blockFileNumbers(directory)) await directory.remove(blockFileName(file))
  const indexed: About = { ...about, fromFiles: await indexFiles(parts) }
  await store.write([aboutWrite(indexed)])
  return indexed
}
