/**
 * The ledger's rows in the store: which key holds what. Chain data in Bitcoin's own encodings, the rest as records.
 * Blocks and what they spent are in files (block-files.ts); a header row says where. Every batch that moves the tip holds all that
 * the move means: coins, places, indices and tip together, so after a crash at any instant the store shows one chain.
 */
import { concat, packRecord, Reader, unpackRecord, Writer } from '@leyden/codec'
import {
  blockHashFromBytes,
  blockHashToBytes,
  consensusDigest,
  decodeHeader,
  encodeHeader,
  findNetwork,
  type BlockHash,
  type BlockHeader,
  type Coin,
  type Network,
  type NetworkFork,
  type Outpoint,
  type Txid,
} from '@leyden/bitcoin'
import { decodeCoin, encodeCoin, type BlockFailure, type BlockFees, type HeaderEntry } from '@leyden/ledger'
import { decodeKey, key, keyRange, type Store, type Write } from '@leyden/runtime'
import type { FileFacts, Place } from './block-files.ts'

/** Raised when rows change in a way that old code cannot read. */
const SCHEMA = 2

/** Values of hex digits by their character codes. */
const DIGITS = Uint8Array.from({ length: 103 }, (_, code) => Math.max(0, '0123456789abcdef'.indexOf(String.fromCharCode(code))))

/**
 * As `key(kind, bytes of the hash, ...)` of which `prefix` is the key of the kind and `tail` that of the rest, at a fifth of the
 * time: a block has thousands of these.
 */
const hashKey = (prefix: Uint8Array, display: string, tail: Uint8Array): Uint8Array => {
  const out = new Uint8Array(prefix.length + 66 + tail.length)
  out.set(prefix)
  let at = prefix.length
  out[at++] = 4
  for (let i = 62; i >= 0; i -= 2) {
    const byte = ((DIGITS[display.charCodeAt(i)] as number) << 4) | (DIGITS[display.charCodeAt(i + 1)] as number)
    out[at++] = byte
    if (byte === 0) out[at++] = 0xff
  }
  out[at++] = 0
  out.set(tail, at)
  return out.subarray(0, at + tail.length)
}

const NOTHING = new Uint8Array(0)
const COIN = key('coin')
const TRANSACTION = key('transaction')
const VOUTS = Array.from({ length: 256 }, (_, vout) => key(vout))
const coinKey = ({ txid, vout }: Outpoint): Uint8Array => hashKey(COIN, txid, VOUTS[vout] ?? key(vout))
const headerKey = (height: number, hash: BlockHash): Uint8Array => key('header', height, blockHashToBytes(hash))
const fileKey = (file: number): Uint8Array => key('file', file)
const positionKey = (id: Txid): Uint8Array => hashKey(TRANSACTION, id, NOTHING)
const filterKey = (hash: BlockHash): Uint8Array => key('filter', blockHashToBytes(hash))
const TIP = key('tip')
const ABOUT = key('about')

/** Where a block that came is kept, and how many transactions it has. Without a place its bytes have been pruned. */
export type StoredBlock = { readonly transactions: number; readonly block?: Place | undefined; readonly undo?: Place | undefined }

/** What is known of a block beside its header. */
export type HeaderFacts = {
  readonly stored: boolean
  readonly failed: BlockFailure
  readonly order: number
  readonly fees?: BlockFees | undefined
  readonly at?: StoredBlock | undefined
}

export type HeaderRow = HeaderFacts & { readonly header: BlockHeader }

/** Where a transaction of the active chain stands. */
export type TxPosition = { readonly blockHash: BlockHash; readonly index: number }

export const headerWrite = (entry: HeaderEntry, facts: HeaderFacts): Write => ({
  key: headerKey(entry.height, entry.hash),
  value: packRecord({ header: encodeHeader(entry.header), ...facts }),
})

export const coinWrite = (outpoint: Outpoint, coin: Coin | undefined): Write => ({
  key: coinKey(outpoint),
  value: coin === undefined ? undefined : encodeCoin(coin),
})

export const tipWrite = (entry: HeaderEntry): Write => ({ key: TIP, value: blockHashToBytes(entry.hash) })

export const positionWrite = (id: Txid, position: TxPosition | undefined): Write => {
  if (position === undefined) return { key: positionKey(id), value: undefined }
  const writer = new Writer(36)
  writer.bytes(blockHashToBytes(position.blockHash))
  writer.u32(position.index)
  return { key: positionKey(id), value: writer.finish() }
}

/** `undefined` for a pair of files that is to be deleted. */
export const fileWrite = (file: number, facts: FileFacts | undefined): Write => ({
  key: fileKey(file),
  value: facts === undefined ? undefined : packRecord(facts),
})

/** The store belongs to another network or to other code than this. */
export class StoreMismatch extends Error {
  constructor(detail: string) {
    super(detail)
    this.name = 'StoreMismatch'
  }
}

/** Whose chain a store holds. `consensus` is missing where the name says it all: regtest, whose rules a test may move, and the like. */
export type About = {
  readonly schema: number
  readonly network: string
  readonly genesis: string
  readonly consensus?: string
  readonly fork?: NetworkFork
  /** Block files have been deleted. */
  readonly pruned?: boolean
  /** The index was made from the block files: blocks up to this in their order were not checked then. */
  readonly fromFiles?: number
  /** Rows are being taken away, to be made again. */
  readonly rebuilding?: 'everything' | 'chainstate'
}

export const aboutWrite = (about: About): Write => ({ key: ABOUT, value: packRecord(about) })

/** Whether nothing has been written to the store. */
export const isFresh = async (store: Store): Promise<boolean> => (await store.get(ABOUT)) === undefined

const isSameFork = (a: NetworkFork | undefined, b: NetworkFork | undefined): boolean => a?.id === b?.id && a?.height === b?.height

const hasHeaderFrom = async (store: Store, height: number): Promise<boolean> => {
  for await (const _ of store.range({ ...keyRange('header'), gte: key('header', height) })) return true
  return false
}

/**
 * Marks a fresh store as this network's; throws {@link StoreMismatch} when it is another's. The store of a ledger that this network forks
 * from is taken over as long as it has nothing from the fork's height on.
 */
export const claimStore = async (store: Store, network: Network, genesis: BlockHash): Promise<About> => {
  const { name, fork } = network
  const own: About = {
    schema: SCHEMA,
    network: name,
    genesis,
    ...(name !== 'signet' && findNetwork(name) !== undefined ? {} : { consensus: consensusDigest(network) }),
    ...(fork === undefined ? {} : { fork }),
  }
  const claim = async (about: About): Promise<About> => {
    await store.write([aboutWrite(about)])
    return about
  }
  const row = await store.get(ABOUT)
  if (row === undefined) return claim(own)
  const about = unpackRecord(row) as About
  if (about.genesis !== genesis) throw new StoreMismatch(`the data directory holds the chain of ${about.network}, not of ${name}`)
  if (about.schema !== SCHEMA)
    throw new StoreMismatch(
      `the data directory has format ${about.schema}, this program reads ${SCHEMA}. ` +
        'Give it another data directory, or delete the directory of the chain in this one: the blocks are asked for again',
    )
  if (about.consensus !== undefined && about.consensus !== own.consensus)
    throw new StoreMismatch(
      `the data directory holds a chain of ${about.network} under other rules than those of ${name}: ` +
        'use the network file that it was made with, or another data directory',
    )
  if (isSameFork(about.fork, fork)) return about
  if (about.fork !== undefined)
    throw new StoreMismatch(
      `the data directory holds the fork ${about.fork.id} of ${about.network}, not ${name}: use another data directory`,
    )
  if (fork !== undefined && (await hasHeaderFrom(store, fork.height)))
    throw new StoreMismatch(
      `the data directory holds blocks of ${about.network} at the fork's height ${fork.height} already: ` +
        'use a copy from before that height, or an empty directory and a peer of the fork',
    )
  return claim({ ...about, ...own })
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

/** Index rows: the block up to which an index has been made. */
export const indexWrite = (name: string, entry: HeaderEntry): Write => ({
  key: key('index', name),
  value: blockHashToBytes(entry.hash),
})

export const readIndexBest = async (store: Store, name: string): Promise<BlockHash | undefined> => {
  const row = await store.get(key('index', name))
  return row === undefined ? undefined : blockHashFromBytes(row)
}

/** The basic filter of a block (BIP 158) behind the header of the filter. */
export const filterWrite = (hash: BlockHash, header: Uint8Array, filter: Uint8Array): Write => ({
  key: filterKey(hash),
  value: concat(header, filter),
})

export type StoredFilter = { readonly header: Uint8Array; readonly filter: Uint8Array }

/** From what may know rows that are not in the store yet. */
export const readFilter = async (rows: Pick<Store, 'get'>, hash: BlockHash): Promise<StoredFilter | undefined> => {
  const row = await rows.get(filterKey(hash))
  return row === undefined ? undefined : { header: row.subarray(0, 32), filter: row.subarray(32) }
}

/** What the index knows of the block files, by their number. */
export const readFiles = async (store: Store): Promise<Map<number, FileFacts>> => {
  const files = new Map<number, FileFacts>()
  for await (const [rowKey, value] of store.range(keyRange('file')))
    files.set(decodeKey(rowKey)[1] as number, unpackRecord(value) as FileFacts)
  return files
}

export const readCoins = async (store: Store, outpoints: readonly Outpoint[]): Promise<(Coin | undefined)[]> => {
  const rows = await store.getMany(outpoints.map(coinKey))
  return rows.map((row) => (row === undefined ? undefined : decodeCoin(row)))
}

/** From what may know rows that are not in the store yet. */
export const readPosition = async (rows: Pick<Store, 'get'>, id: Txid): Promise<TxPosition | undefined> => {
  const row = await rows.get(positionKey(id))
  if (row === undefined) return undefined
  const reader = new Reader(row)
  return { blockHash: blockHashFromBytes(reader.bytes(32)), index: reader.u32() }
}

/** Every coin of the UTXO set, in key order: by the bytes of the txid, then by vout. */
export async function* readAllCoins(store: Pick<Store, 'range'>): AsyncIterable<readonly [Uint8Array, Coin]> {
  for await (const [rowKey, value] of store.range(keyRange('coin'))) yield [rowKey, decodeCoin(value)]
}
