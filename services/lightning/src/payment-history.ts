/**
 * Payments and invoices by time: one row in the store for each record, live or ended, written in the commit that makes the record.
 * A page reads these rows and then the records that they name, and no others: most have ended and are not in memory.
 * The rows are walked from the newest: written in the order of time, they fill the pages of a database.
 */
import { bytesToHex, hexToBytes } from '@leyden/codec'
import type { PaymentHash } from '@leyden/lnwire'
import { type Batch, decodeKey, type Drive, key, keyRange, type Kind, type Store } from '@leyden/runtime'
import type { NodeEffect } from './node-effect.ts'

/** What is kept by time. */
interface Timed {
  readonly paymentHash: PaymentHash
  readonly createdAtMs: number
}

export interface PageWish {
  readonly limit: number
  readonly cursor?: string | undefined
}

/** Newest first. `nextCursor` asks for what is older than the last of `data`; null: nothing is. */
export interface Page<T> {
  readonly data: readonly T[]
  readonly nextCursor: string | null
}

export interface History<T extends Timed> {
  /** To be called in the commit that writes a record: `before` as it was, undefined where it is new. */
  place(batch: Batch<NodeEffect>, before: T | undefined, record: T): void
  /** Undefined: `cursor` is none of this list. One shows the same place for ever, whatever becomes of the record that it was made of. */
  page(wish: PageWish): Promise<Page<T> | undefined>
  /** Gives rows to the records of a store that has none yet. Once, before the first record is made. */
  complete(): Promise<void>
}

const NOTHING = new Uint8Array(0)
const PLACED_AT_ONCE = 1000
const CURSOR = /^(\d{1,16}(?:\.\d{1,9})?)-([0-9a-f]{64})$/

/** Where a record stands among those of `name`. */
export const historyKey = (name: string, { createdAtMs, paymentHash }: Timed): Uint8Array =>
  key(name, createdAtMs, hexToBytes(paymentHash))
const completeKey = (name: string): Uint8Array => key('complete', name)

/** `name` is the first part of the rows' keys, and that of no kind. */
export const createHistory = <T extends Timed>(
  name: string,
  kind: Kind<T>,
  { store, drive }: { readonly store: Store; readonly drive: Drive<NodeEffect> },
): History<T> => ({
  place(batch, before, record) {
    if (before?.createdAtMs === record.createdAtMs) return
    if (before !== undefined) batch.put(historyKey(name, before), undefined)
    batch.put(historyKey(name, record), NOTHING)
  },

  async page({ limit, cursor }) {
    const all = keyRange(name)
    let { lt } = all
    if (cursor !== undefined) {
      const [, createdAtMs, hash] = CURSOR.exec(cursor) ?? []
      if (createdAtMs === undefined || hash === undefined) return undefined
      lt = key(name, Number(createdAtMs), hexToBytes(hash))
    }
    const named: Timed[] = []
    for await (const [rowKey] of store.range({ gte: all.gte, lt, reverse: true, limit: limit + 1 })) {
      const [, time, hash] = decodeKey(rowKey)
      if (typeof time !== 'number' || !(hash instanceof Uint8Array)) throw new Error(`a foreign row among those of ${name}`)
      named.push({ createdAtMs: time, paymentHash: bytesToHex(hash) as PaymentHash })
    }
    const shown = named.slice(0, limit)
    const records = await Promise.all(shown.map(({ paymentHash }) => drive.stored(kind, paymentHash)))
    const last = shown.at(-1)
    return {
      // a row without its record is of a commit that is on the disk already and not yet told
      data: records.filter((record) => record !== undefined),
      nextCursor: named.length > limit && last !== undefined ? `${last.createdAtMs}-${last.paymentHash}` : null,
    }
  },

  async complete() {
    if ((await store.get(completeKey(name))) !== undefined) return
    let waiting: T[] = []
    const flush = (last: boolean): Promise<void> =>
      drive.submit((batch) => {
        for (const record of waiting) batch.put(historyKey(name, record), NOTHING)
        if (last) batch.put(completeKey(name), NOTHING)
        waiting = []
      })
    for (const [, record] of drive.states(kind)) waiting.push(record)
    for await (const [, record] of drive.resting(kind)) {
      waiting.push(record)
      if (waiting.length >= PLACED_AT_ONCE) await flush(false)
    }
    await flush(true)
  },
})
