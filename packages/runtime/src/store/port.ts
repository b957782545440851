/**
 * The store port: an ordered map from bytes to bytes, written in atomic durable batches. Implementations stand beside this file and
 * pass one suite (conformance.ts). Nothing outside of store/ names a database.
 */

/** One row to put, or to delete when `value` is undefined. */
export type Write = { readonly key: Uint8Array; readonly value: Uint8Array | undefined }

/** A row that was read. */
export type Row = readonly [key: Uint8Array, value: Uint8Array]

/** Keys are 1 to MAX_KEY_BYTES long in every store. */
export const MAX_KEY_BYTES = 1024

/** Rows from `gte` up to but not `lt`, ascending unless `reverse`, at most `limit`. */
export type RangeOptions = {
  readonly gte: Uint8Array
  readonly lt: Uint8Array
  readonly reverse?: boolean
  readonly limit?: number
}

export interface Store {
  get(key: Uint8Array): Promise<Uint8Array | undefined>
  /** One answer for each key, in their order. */
  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]>
  /** A row that is there during the whole walk is given exactly once; one written meanwhile may or may not be given. */
  range(options: RangeOptions): AsyncIterable<Row>
  /** What is stored at this instant. */
  snapshot(): Promise<Snapshot>
  /**
   * Atomic; durable when it resolves; when it rejects nothing of it is stored. Batches take effect in the order of the calls; of two
   * writes to one key in a batch the later holds. Rejects with RangeError on an impossible key (a bug of the caller, not of the disk).
   * The bytes must not be changed before it settles.
   */
  write(batch: readonly Write[]): Promise<void>
  /** Waits for the writes in flight. Afterwards everything rejects with {@link StoreClosed}. */
  close(): Promise<void>
}

/** The rows of one instant, whatever is written afterwards. While it is open a store may grow by what is deleted: close it. */
export interface Snapshot {
  range(options: RangeOptions): AsyncIterable<Row>
  close(): void
}

export class StoreClosed extends Error {
  constructor() {
    super('the store is closed')
    this.name = 'StoreClosed'
  }
}

/** Throws RangeError on a key that no store takes. */
export const checkKey = (key: Uint8Array): void => {
  if (key.length === 0 || key.length > MAX_KEY_BYTES)
    throw new RangeError(`a key of ${key.length} bytes: 1 to ${MAX_KEY_BYTES} are possible`)
}
