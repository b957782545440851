/**
 * Indices over the active chain that an operator may want: where each transaction stands (-txindex), the filters of BIP 158
 * (-blockfilterindex), figures about all coins after each block (-coinstatsindex). An index that is in step takes each block as it connects, in the same batch; one that was switched on later,
 * or was off for a while, is behind and catches up block by block while the ledger runs.
 */
import { basicFilter, filterHeader, txid, type Block, type Network } from '@leyden/bitcoin'
import { ancestorAt, type HeaderEntry, type Undo } from '@leyden/ledger'
import type { Store, Write } from '@leyden/runtime'
import { filterWrite, indexWrite, positionWrite, readFilter, readIndexBest, readPosition } from './chain-rows.ts'
import { coinStatsWrite } from './coin-stats.ts'
import type { RowBuffer } from './row-buffer.ts'

export type IndexName = 'txindex' | 'coinstatsindex' | 'basic block filter index'

type Kind = {
  /** Rows that the block adds, above those of its parent. */
  readonly connect: (rows: RowBuffer, entry: HeaderEntry, block: Block, undo: Undo) => Promise<Write[]>
  /** Rows that go when the block goes. */
  readonly disconnect: (rows: RowBuffer, entry: HeaderEntry, block: Block) => Promise<Write[]>
}

export type ChainIndex = Kind & {
  readonly name: IndexName
  /** The last block that it has. */
  best: HeaderEntry
}

const NO_HEADER = new Uint8Array(32)

const kindsOf = (network: Network): Readonly<Record<IndexName, Kind>> => ({
  txindex: {
    connect: async (_, { hash }, block) =>
      block.transactions.map((tx, index) => positionWrite(txid(tx), { blockHash: hash, index })),
    async disconnect(rows, { hash }, block) {
      const held = await Promise.all(
        block.transactions.map(async (tx) => [txid(tx), await readPosition(rows, txid(tx))] as const),
      )
      return held.filter(([, position]) => position?.blockHash === hash).map(([id]) => positionWrite(id, undefined))
    },
  },
  'basic block filter index': {
    async connect(rows, { hash, parent }, block, undo) {
      const before = parent === undefined ? NO_HEADER : (await readFilter(rows, parent.hash))?.header
      if (before === undefined) throw new Error(`the data directory is damaged: the filter below block ${hash} is missing`)
      const filter = basicFilter(
        block,
        undo.map(({ output }) => output),
      )
      return [filterWrite(hash, filterHeader(filter, before), filter)]
    },
    // By hash, they harm nobody; and the block may come back.
    disconnect: async () => [],
  },
  coinstatsindex: {
    connect: async (rows, entry, block, undo) => [await coinStatsWrite(rows, network, entry, block, undo)],
    disconnect: async () => [],
  },
})

/** Opens the indices that are wanted. One without rows begins at the genesis block. */
export const openIndexes = async (
  store: Store,
  rows: RowBuffer,
  names: readonly IndexName[],
  genesis: HeaderEntry,
  network: Network,
  find: (hash: HeaderEntry['hash']) => HeaderEntry | undefined,
): Promise<ChainIndex[]> => {
  const indexes: ChainIndex[] = []
  const kinds = kindsOf(network)
  for (const name of names) {
    const hash = await readIndexBest(store, name)
    const best = hash === undefined ? undefined : find(hash)
    if (best === undefined) {
      // Core's transaction index leaves the coinbase of the genesis block out: nobody can spend it.
      if (name !== 'txindex') rows.put(await kinds[name].connect(rows, genesis, network.genesis, []))
      rows.put([indexWrite(name, genesis)])
    }
    indexes.push({ name, best: best ?? genesis, ...kinds[name] })
  }
  return indexes
}

/** Rows of every index in step for a block that goes on top; to be put, and `best` moved, when the block is connected. */
export const indexRows = async (
  indexes: readonly ChainIndex[],
  rows: RowBuffer,
  entry: HeaderEntry,
  block: Block,
  undo: Undo,
): Promise<{ readonly inStep: readonly ChainIndex[]; readonly writes: readonly Write[] }> => {
  const inStep = indexes.filter(({ best }) => best === entry.parent)
  const writes: Write[] = []
  for (const index of inStep) writes.push(...(await index.connect(rows, entry, block, undo)), indexWrite(index.name, entry))
  return { inStep, writes }
}

/** The same for a block that is taken off. */
export const unindexRows = async (
  indexes: readonly ChainIndex[],
  rows: RowBuffer,
  entry: HeaderEntry,
  block: Block,
): Promise<{ readonly inStep: readonly ChainIndex[]; readonly writes: readonly Write[] }> => {
  const inStep = indexes.filter(({ best }) => best === entry)
  const writes: Write[] = []
  for (const index of inStep)
    writes.push(...(await index.disconnect(rows, entry, block)), indexWrite(index.name, entry.parent as HeaderEntry))
  return { inStep, writes }
}

export type BlockSource = {
  readonly block: (entry: HeaderEntry) => Promise<Block>
  readonly undo: (entry: HeaderEntry) => Promise<Undo>
}

/** Brings an index one block nearer to the tip. False when it is there. */
export const advanceIndex = async (
  index: ChainIndex,
  rows: RowBuffer,
  tip: HeaderEntry,
  source: BlockSource,
): Promise<boolean> => {
  const { best, name } = index
  if (best === tip) return false
  const onChain = ancestorAt(tip, best.height) === best
  const entry = onChain ? (ancestorAt(tip, best.height + 1) as HeaderEntry) : best
  const block = await source.block(entry)
  const next = onChain ? entry : (entry.parent as HeaderEntry)
  const writes = onChain
    ? await index.connect(rows, entry, block, await source.undo(entry))
    : await index.disconnect(rows, entry, block)
  rows.put([...writes, indexWrite(name, next)])
  index.best = next
  return true
}
