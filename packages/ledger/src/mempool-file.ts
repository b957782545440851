/**
 * The mempool as Bitcoin Core writes it into mempool.dat: transactions with time and fee delta, deltas of what is not there, and what
 * no peer has asked for yet. Bitcoin Core 28.1 node/mempool_persist.cpp. Version 2 is masked with a key of its own, version 1 is not.
 */
import { compactSize, DecodeError, Reader, Writer } from '@leyden/codec'
import { txCodec, txidFromBytes, txidToBytes, type Tx, type Txid } from '@leyden/bitcoin'
import { inOrder, type Mempool } from './mempool.ts'

export type MempoolFile = {
  /** Parents before children. `time` in seconds, `delta` in satoshi. */
  readonly transactions: readonly { readonly tx: Tx; readonly time: number; readonly delta: bigint }[]
  /** Of transactions that are not among them. */
  readonly deltas: ReadonlyMap<Txid, bigint>
  readonly unbroadcast: ReadonlySet<Txid>
}

const MASKED_VERSION = 2n
const PLAIN_VERSION = 1n
const MAX_KEY_BYTES = 64
/** Sizes of the smallest entries, to refuse a count that cannot fit. */
const MIN_TX_BYTES = 10 + 16
const DELTA_BYTES = 40
const ID_BYTES = 32

/** In place; each byte with the byte of the key at its offset in the file. */
const mask = (bytes: Uint8Array, from: number, key: Uint8Array): void => {
  if (key.length === 0) return
  for (let i = from; i < bytes.length; i++) bytes[i]! ^= key[i % key.length]!
}

export const fileOf = (pool: Mempool): MempoolFile => ({
  transactions: inOrder(pool.entries.values()).map(({ tx, time, txid }) => ({ tx, time, delta: pool.deltas.get(txid) ?? 0n })),
  deltas: new Map([...pool.deltas].filter(([id]) => !pool.entries.has(id))),
  unbroadcast: pool.unbroadcast,
})

/** `key`: up to 64 bytes that the file is masked with; none writes the plain version. */
export const encodeMempoolFile = ({ transactions, deltas, unbroadcast }: MempoolFile, key: Uint8Array): Uint8Array => {
  const w = new Writer(1024)
  w.u64le(key.length > 0 ? MASKED_VERSION : PLAIN_VERSION)
  if (key.length > 0) {
    compactSize.encode(w, key.length)
    w.bytes(key)
  }
  const from = key.length > 0 ? 8 + 1 + key.length : 8
  w.u64le(BigInt(transactions.length))
  for (const { tx, time, delta } of transactions) {
    txCodec.encode(w, tx)
    w.u64le(BigInt(time))
    w.u64le(BigInt.asUintN(64, delta))
  }
  compactSize.encode(w, deltas.size)
  for (const [id, delta] of deltas) {
    w.bytes(txidToBytes(id))
    w.u64le(BigInt.asUintN(64, delta))
  }
  compactSize.encode(w, unbroadcast.size)
  for (const id of unbroadcast) w.bytes(txidToBytes(id))
  const bytes = w.finish()
  mask(bytes, from, key)
  return bytes
}

const readCount = (r: Reader, count: number, leastBytes: number): number => {
  if (count * leastBytes > r.remaining) throw new DecodeError('truncated', `${count} entries do not fit`)
  return count
}

/** Reverse of encodeMempoolFile; `bytes` are unmasked in place. Throws DecodeError. */
export const decodeMempoolFile = (bytes: Uint8Array): MempoolFile => {
  const r = new Reader(bytes)
  const version = r.u64le()
  if (version !== PLAIN_VERSION && version !== MASKED_VERSION)
    throw new DecodeError('invalid', `unknown version ${version} of a mempool file`)
  if (version === MASKED_VERSION) {
    const length = compactSize.decode(r)
    if (length > MAX_KEY_BYTES) throw new DecodeError('out_of_range', `key of ${length} bytes`)
    const key = r.bytes(length).slice()
    mask(bytes, bytes.length - r.remaining, key)
  }
  const transactions: { tx: Tx; time: number; delta: bigint }[] = []
  for (let left = readCount(r, Number(r.u64le()), MIN_TX_BYTES); left > 0; left--)
    transactions.push({ tx: txCodec.decode(r), time: Number(r.u64le()), delta: BigInt.asIntN(64, r.u64le()) })
  const deltas = new Map<Txid, bigint>()
  for (let left = readCount(r, compactSize.decode(r), DELTA_BYTES); left > 0; left--)
    deltas.set(txidFromBytes(r.bytes(32)), BigInt.asIntN(64, r.u64le()))
  const unbroadcast = new Set<Txid>()
  for (let left = readCount(r, compactSize.decode(r), ID_BYTES); left > 0; left--) unbroadcast.add(txidFromBytes(r.bytes(32)))
  r.expectEnd()
  return { transactions, deltas, unbroadcast }
}
