/**
 * The ledger's rows in the store: which key holds what. Chain data in Bitcoin's own encodings, the rest as records.
 * Every batch that moves the tip holds all that the move means: coins, undo data, index and tip together, so after a crash at
 * any instant the store shows one chain.
 */
import { packRecord, Reader, unpackRecord, Writer } from '@leyden/codec'
import {
  blockHashFromBytes,
  blockHashToBytes,
  consensusDigest,
  decodeBlock,
  decodeHeader,
  decodeTx,
  encodeBlock,
  encodeHeader,
  encodeTx,
  findNetwork,
  txid,
  txidToBytes,
  type Block,
  type BlockHash,
  type BlockHeader,
  type Coin,
  type Network,
  type NetworkFork,
  type Outpoint,
  type Tx,
  type Txid,
} from '@leyden/bitcoin'
import {
  decodeCoin,
  decodeUndo,
  encodeCoin,
  encodeUndo,
  type BlockFailure,
  type BlockFees,
  type CoinChanges,
  type HeaderEntry,
  type MempoolEntry,
  type Undo,
} from '@leyden/ledger'
import { key, keyRange, type Store, type Write } from '@leyden/runtime'

/** Raised when rows change in a way that old code cannot read. */
const SCHEMA = 1

const coinKey = ({ txid, vout }: Outpoint): Uint8Array => key('coin', txidToBytes(txid), vout)
const blockKey = (hash: BlockHash): Uint8Array => key('block', blockHashToBytes(hash))
const undoKey = (hash: BlockHash): Uint8Array => key('undo', blockHashToBytes(hash))
const headerKey = (height: number, hash: BlockHash): Uint8Array => key('header', height, blockHashToBytes(hash))
const positionKey = (id: Txid): Uint8Array => key('transaction', txidToBytes(id))
const mempoolKey = (id: Txid): Uint8Array => key('mempool', txidToBytes(id))
const TIP = key('tip')
const ABOUT = key('about')

/** What is known of a block beside its header. */
export type HeaderFacts = {
  readonly stored: boolean
  readonly failed: BlockFailure
  readonly order: number
  readonly fees?: BlockFees | undefined
}

export type HeaderRow = HeaderFacts & { readonly header: BlockHeader }

/** Where a transaction of the active chain stands. */
export type TxPosition = { readonly blockHash: BlockHash; readonly index: number }

export const headerWrite = (entry: HeaderEntry, facts: HeaderFacts): Write => ({
  key: headerKey(entry.height, entry.hash),
  value: packRecord({ header: encodeHeader(entry.header), ...facts }),
})

export const blockWrite = (hash: BlockHash, block: Block): Write => ({ key: blockKey(hash), value: encodeBlock(block) })

export const coinWrites = ({ created, spent }: CoinChanges): Write[] => [
  ...spent.map((outpoint) => ({ key: coinKey(outpoint), value: undefined })),
  ...created.map(([outpoint, coin]) => ({ key: coinKey(outpoint), value: encodeCoin(coin) })),
]

const encodePosition = (hash: BlockHash, index: number): Uint8Array => {
  const writer = new Writer(36)
  writer.bytes(blockHashToBytes(hash))
  writer.u32(index)
  return writer.finish()
}

const tipWrite = (entry: HeaderEntry): Write => ({ key: TIP, value: blockHashToBytes(entry.hash) })

export const connectWrites = (entry: HeaderEntry, block: Block, changes: CoinChanges, undo: Undo): Write[] => [
  ...coinWrites(changes),
  ...block.transactions.map((tx, index) => ({ key: positionKey(txid(tx)), value: encodePosition(entry.hash, index) })),
  { key: undoKey(entry.hash), value: encodeUndo(undo) },
  tipWrite(entry),
]

export const disconnectWrites = (entry: HeaderEntry, block: Block, changes: CoinChanges): Write[] => [
  ...coinWrites(changes),
  ...block.transactions.map((tx) => ({ key: positionKey(txid(tx)), value: undefined })),
  { key: undoKey(entry.hash), value: undefined },
  tipWrite(entry.parent as HeaderEntry),
]

export const mempoolWrite = (entry: MempoolEntry): Write => ({
  key: mempoolKey(entry.txid),
  value: packRecord({ time: entry.time, tx: encodeTx(entry.tx) }),
})

export const mempoolDelete = (id: Txid): Write => ({ key: mempoolKey(id), value: undefined })

/** The store belongs to another network or to other code than this. */
export class StoreMismatch extends Error {
  constructor(detail: string) {
    super(detail)
    this.name = 'StoreMismatch'
  }
}

/** Whose chain a store holds. `consensus` is missing where the name says it all: regtest, whose rules a test may move, and the like. */
type About = {
  readonly schema: number
  readonly network: string
  readonly genesis: string
  readonly consensus?: string
  readonly fork?: NetworkFork
}

const isSameFork = (a: NetworkFork | undefined, b: NetworkFork | undefined): boolean => a?.id === b?.id && a?.height === b?.height

const hasHeaderFrom = async (store: Store, height: number): Promise<boolean> => {
  for await (const _ of store.range({ ...keyRange('header'), gte: key('header', height) })) return true
  return false
}

/**
 * Marks a fresh store as this network's; throws {@link StoreMismatch} when it is another's. The store of a ledger that this network forks
 * from is taken over as long as it has nothing from the fork's height on.
 */
export const claimStore = async (store: Store, network: Network, genesis: BlockHash): Promise<void> => {
  const { name, fork } = network
  const own: About = {
    schema: SCHEMA,
    network: name,
    genesis,
    ...(name !== 'signet' && findNetwork(name) !== undefined ? {} : { consensus: consensusDigest(network) }),
    ...(fork === undefined ? {} : { fork }),
  }
  const claim = (): Promise<void> => store.write([{ key: ABOUT, value: packRecord(own) }])
  const row = await store.get(ABOUT)
  if (row === undefined) return claim()
  const about = unpackRecord(row) as About
  if (about.genesis !== genesis) throw new StoreMismatch(`the data directory holds the chain of ${about.network}, not of ${name}`)
  if (about.schema !== SCHEMA)
    throw new StoreMismatch(`the data directory has format ${about.schema}, this program reads ${SCHEMA}`)
  if (about.consensus !== undefined && about.consensus !== own.consensus)
    throw new StoreMismatch(
      `the data directory holds a chain of ${about.network} under other rules than those of ${name}: ` +
        'use the network file that it was made with, or another data directory',
    )
  if (isSameFork(about.fork, fork)) return
  if (about.fork !== undefined)
    throw new StoreMismatch(
      `the data directory holds the fork ${about.fork.id} of ${about.network}, not ${name}: use another data directory`,
    )
  if (fork !== undefined && (await hasHeaderFrom(store, fork.height)))
    throw new StoreMismatch(
      `the data directory holds blocks of ${about.network} at the fork's height ${fork.height} already: ` +
        'use a copy from before that height, or an empty directory and a peer of the fork',
    )
  await claim()
}

export const readTip = async (store: Store): Promise<BlockHash | undefined> => {
  const row = await store.get(TIP)
  return row === undefined ? undefined : blockHashFromBytes(row)
}

/** Every header row, parents before children. */
export async function* readHeaders(store: Store): AsyncIterable<HeaderRow> {
  for await (const [, value] of store.range(keyRange('header'))) {
    const row = unpackRecord(value) as HeaderFacts & { header: Uint8Array }
    yield { ...row, header: decodeHeader(row.header) }
  }
}

export const readBlock = async (store: Store, hash: BlockHash): Promise<Block | undefined> => {
  const row = await store.get(blockKey(hash))
  return row === undefined ? undefined : decodeBlock(row)
}

export const readBlockBytes = (store: Store, hash: BlockHash): Promise<Uint8Array | undefined> => store.get(blockKey(hash))

export const readUndo = async (store: Store, hash: BlockHash): Promise<Undo | undefined> => {
  const row = await store.get(undoKey(hash))
  return row === undefined ? undefined : decodeUndo(row)
}

export const readCoins = async (store: Store, outpoints: readonly Outpoint[]): Promise<(Coin | undefined)[]> => {
  const rows = await store.getMany(outpoints.map(coinKey))
  return rows.map((row) => (row === undefined ? undefined : decodeCoin(row)))
}

export const readPosition = async (store: Store, id: Txid): Promise<TxPosition | undefined> => {
  const row = await store.get(positionKey(id))
  if (row === undefined) return undefined
  const reader = new Reader(row)
  return { blockHash: blockHashFromBytes(reader.bytes(32)), index: reader.u32() }
}

/** Mempool rows of an earlier run, oldest first. */
export const readMempool = async (store: Store): Promise<{ time: number; tx: Tx }[]> => {
  const rows: { time: number; tx: Tx }[] = []
  for await (const [, value] of store.range(keyRange('mempool'))) {
    const row = unpackRecord(value) as { time: number; tx: Uint8Array }
    rows.push({ time: row.time, tx: decodeTx(row.tx) })
  }
  return rows.sort((a, b) => a.time - b.time)
}

/** Every coin of the UTXO set, in key order: by the bytes of the txid, then by vout. */
export async function* readAllCoins(store: Store): AsyncIterable<readonly [Uint8Array, Coin]> {
  for await (const [rowKey, value] of store.range(keyRange('coin'))) yield [rowKey, decodeCoin(value)]
}
