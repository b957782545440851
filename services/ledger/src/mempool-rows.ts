/**
 * The mempool's rows in the store: one for each transaction of which anything is known, and one of what was learnt about fees.
 */
import { packRecord, unpackRecord } from '@leyden/codec'
import { decodeTx, encodeTx, txidFromBytes, txidToBytes, type Tx, type Txid } from '@leyden/bitcoin'
import {
  createFeeEstimator,
  restoreFeeEstimator,
  saveFeeEstimator,
  type FeeEstimator,
  type FeeEstimatorRecord,
  type MempoolEntry,
} from '@leyden/ledger'
import { decodeKey, key, keyRange, type Store, type Write } from '@leyden/runtime'

const mempoolKey = (id: Txid): Uint8Array => key('mempool', txidToBytes(id))
const FEES = key('feeEstimates')

/** What is known of a transaction: that it waits, and what its owner has added to its fee (satoshi). */
export type MempoolFacts = {
  readonly entry: MempoolEntry | undefined
  readonly delta: bigint | undefined
  readonly unbroadcast: boolean
}

export type MempoolRow = {
  readonly txid: Txid
  /** Undefined: only its fee is spoken of, it does not wait here. */
  readonly tx: Tx | undefined
  /** Seconds; when it came. */
  readonly time: number
  readonly delta: bigint
  readonly unbroadcast: boolean
}

type Packed = { time: number; tx?: Uint8Array; delta?: bigint; unbroadcast?: boolean }

export const mempoolWrite = (id: Txid, { entry, delta, unbroadcast }: MempoolFacts): Write => {
  const row: Packed = { time: entry?.time ?? 0 }
  if (entry !== undefined) row.tx = encodeTx(entry.tx)
  if (delta !== undefined) row.delta = delta
  if (unbroadcast) row.unbroadcast = true
  return { key: mempoolKey(id), value: packRecord(row) }
}

export const mempoolDelete = (id: Txid): Write => ({ key: mempoolKey(id), value: undefined })

/** Rows of an earlier run, oldest first. */
export const readMempool = async (store: Store): Promise<MempoolRow[]> => {
  const rows: MempoolRow[] = []
  for await (const [rowKey, value] of store.range(keyRange('mempool'))) {
    const [, id] = decodeKey(rowKey) as [string, Uint8Array]
    const row = unpackRecord(value) as Packed
    rows.push({
      txid: txidFromBytes(id),
      tx: row.tx === undefined ? undefined : decodeTx(row.tx),
      time: row.time,
      delta: row.delta ?? 0n,
      unbroadcast: row.unbroadcast === true,
    })
  }
  return rows.sort((a, b) => a.time - b.time)
}

/** After this many seconds what was learnt about fees is too old to be served. Bitcoin Core's MAX_FILE_AGE. */
const MAX_FEES_AGE_SECONDS = 60 * 3600

/** `now` in seconds. */
export const feesWrite = (estimator: FeeEstimator, now: number): Write => ({
  key: FEES,
  value: packRecord({ savedAt: now, record: saveFeeEstimator(estimator) }),
})

/** What the last run learnt about fees, unless that was too long ago. */
export const readFees = async (store: Store, now: number, acceptStale: boolean): Promise<FeeEstimator> => {
  const row = await store.get(FEES)
  if (row === undefined) return createFeeEstimator()
  const { savedAt, record } = unpackRecord(row) as { savedAt: number; record: FeeEstimatorRecord }
  return now - savedAt > MAX_FEES_AGE_SECONDS && !acceptStale ? createFeeEstimator() : restoreFeeEstimator(record)
}
