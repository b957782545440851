/**
 * Rows that are written and not yet in the store: newer over frozen over the store, like the coins but by their bytes.
 * For what blocks add beside the coins: positions of transactions, filters and the like.
 */
import type { Store, Write } from '@leyden/runtime'

export interface RowBuffer {
  readonly dirtyBytes: number
  get(key: Uint8Array): Promise<Uint8Array | undefined>
  put(rows: readonly Write[]): void
  /** Everything since the last one, to be written at once. Then either `landed` or `failed` is called, before the next. */
  freeze(): Write[]
  landed(): void
  failed(): void
}

/** Estimate for a map entry, two arrays and a string beside the bytes. */
const ROW_BYTES = 400

const textOf = (key: Uint8Array): string => Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')

export const createRowBuffer = (store: Store): RowBuffer => {
  let current = new Map<string, Write>()
  let frozen = new Map<string, Write>()
  let currentBytes = 0
  let frozenBytes = 0
  return {
    get dirtyBytes() {
      return currentBytes
    },
    async get(key) {
      const text = textOf(key)
      const row = current.get(text) ?? frozen.get(text)
      return row === undefined ? store.get(key) : row.value
    },
    put(rows) {
      for (const row of rows) {
        const text = textOf(row.key)
        if (!current.has(text)) currentBytes += ROW_BYTES
        currentBytes += row.value?.length ?? 0
        current.set(text, row)
      }
    },
    freeze() {
      frozen = current
      frozenBytes = currentBytes
      current = new Map()
      currentBytes = 0
      return [...frozen.values()]
    },
    landed() {
      frozen = new Map()
      frozenBytes = 0
    },
    failed() {
      for (const [text, row] of current) frozen.set(text, row)
      current = frozen
      currentBytes += frozenBytes
      frozen = new Map()
      frozenBytes = 0
    },
  }
}
