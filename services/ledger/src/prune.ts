/**
 * Pruning: block files whose blocks are far below the tip are deleted whole, the oldest first. Bitcoin Core node/blockstorage.cpp.
 * The rows say so first, in the batch of a flush; the files go after it. Headers, coins and indices stay.
 */
import type { BlockHash } from '@leyden/bitcoin'
import type { HeaderEntry } from '@leyden/ledger'
import { aboutWrite } from './chain-rows.ts'
import { tipOf, type Chain } from './chain.ts'

/** `manual`: only when asked; a target: whenever the files are larger. */
export type Pruning = 'off' | 'manual' | { readonly targetBytes: number }

/** Bitcoin Core validation.h, MIN_BLOCKS_TO_KEEP: a reorganisation deeper than that needs the whole chain again. */
const MIN_BLOCKS_TO_KEEP = 288
/** Room for what is appended until the next look. Bitcoin Core blockstorage.h, BLOCKFILE_CHUNK_SIZE and UNDOFILE_CHUNK_SIZE. */
const HEADROOM_BYTES = 17 * 1024 * 1024

/** Height up to which blocks may go: an index that has not had a block needs it. */
const highestToPrune = (chain: Chain): number =>
  Math.min(tipOf(chain).height - MIN_BLOCKS_TO_KEEP, ...chain.indexes.map(({ best }) => best.height))

const pruneFiles = (chain: Chain, files: ReadonlySet<number>): void => {
  if (files.size === 0) return
  for (const [hash, { block, transactions }] of chain.stored) {
    if (block === undefined || !files.has(block.file)) continue
    chain.stored.set(hash, { transactions })
    const entry = chain.tree.entries.get(hash)
    if (entry !== undefined) chain.touched.add(entry)
  }
  for (const file of files) {
    chain.files.drop(file)
    chain.doomed.push(file)
  }
  chain.about = { ...chain.about, pruned: true }
  chain.rows.put([aboutWrite(chain.about)])
  chain.options.log.info({ files: [...files], height: pruneHeight(chain) }, 'old blocks are pruned')
}

/** Prunes what lies at `height` or below as far as whole files allow. */
export const pruneTo = (chain: Chain, height: number): void => {
  const limit = Math.min(height, highestToPrune(chain))
  const files = new Set<number>()
  for (const [file, { highest }] of chain.files.facts) if (file !== chain.files.current && highest <= limit) files.add(file)
  pruneFiles(chain, files)
}

/** Prunes while the files are larger than the target. */
export const pruneToTarget = (chain: Chain): void => {
  const { files } = chain
  const { pruning } = chain.options
  if (typeof pruning === 'string' || tipOf(chain).height <= chain.options.pruneAfterHeight) return
  const headroom = Math.min(HEADROOM_BYTES, Math.floor(pruning.targetBytes / 8))
  let size = files.size() + headroom
  if (size < pruning.targetBytes) return
  const limit = highestToPrune(chain)
  const doomed = new Set<number>()
  for (const file of [...files.facts.keys()].sort((a, b) => a - b)) {
    if (size < pruning.targetBytes) break
    const { blockBytes, undoBytes, highest } = files.facts.get(file) as { blockBytes: number; undoBytes: number; highest: number }
    if (file === files.current || highest > limit) continue
    doomed.add(file)
    size -= blockBytes + undoBytes
  }
  pruneFiles(chain, doomed)
}

const isWhole = ({ stored }: Chain, hash: BlockHash): boolean => {
  const at = stored.get(hash)
  return at?.block !== undefined && at.undo !== undefined
}

/** Height of the last block of the active chain that is not here, undefined when all are. */
export const pruneHeight = (chain: Chain): number | undefined => {
  if (chain.about.pruned !== true) return undefined
  let at: HeaderEntry | undefined = tipOf(chain)
  while (at !== undefined && at.height > 0 && isWhole(chain, at.hash)) at = at.parent
  return at === undefined || at.height === 0 ? undefined : at.height
}
