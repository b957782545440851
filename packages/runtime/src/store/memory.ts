/**
 * The store in memory, for tests and simulation. The rows live in a `Disk` that can outlive the store: opening another store on the
 * same disk is a restart.
 */
import { checkKey, type RangeOptions, type Row, type Snapshot, type Store, StoreClosed, type Write } from './port.ts'
import { walkPages } from './range.ts'

/** One character a byte: comparing such strings is comparing the bytes. */
const toText = (bytes: Uint8Array): string => {
  let out = ''
  for (const byte of bytes) out += String.fromCharCode(byte)
  return out
}
const toBytes = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))

/** Ordered rows that survive the store that writes them. */
export class Disk {
  readonly #values = new Map<string, Uint8Array>()
  /** The keys of #values in order. */
  readonly #keys: string[] = []
  #batches = 0

  /** The rows of this instant. */
  copy(): Disk {
    const copy = new Disk()
    for (const key of this.#keys) copy.#keys.push(key)
    for (const [key, value] of this.#values) copy.#values.set(key, value)
    return copy
  }

  /** Number of rows. */
  get size(): number {
    return this.#keys.length
  }

  /** Batches applied so far: as long as it stays, so do the rows. */
  get batches(): number {
    return this.#batches
  }

  #position(key: string): number {
    let low = 0
    let high = this.#keys.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#keys[middle] as string) < key) low = middle + 1
      else high = middle
    }
    return low
  }

  read(key: Uint8Array): Uint8Array | undefined {
    return this.#values.get(toText(key))?.slice()
  }

  /** Applies a whole batch. Throws RangeError, before it changes anything, on an impossible key. */
  apply(batch: readonly Write[]): void {
    for (const { key } of batch) checkKey(key)
    this.#batches++
    for (const { key, value } of batch) {
      const text = toText(key)
      const known = this.#values.has(text)
      if (value === undefined) {
        if (!known) continue
        this.#values.delete(text)
        this.#keys.splice(this.#position(text), 1)
      } else {
        if (!known) this.#keys.splice(this.#position(text), 0, text)
        this.#values.set(text, value.slice())
      }
    }
  }

  /** A page of rows. */
  page(options: RangeOptions, limit: number): Row[] {
    const from = this.#position(toText(options.gte))
    const to = this.#position(toText(options.lt))
    const count = Math.min(limit, Math.max(0, to - from))
    const keys = options.reverse === true ? this.#keys.slice(to - count, to).reverse() : this.#keys.slice(from, from + count)
    return keys.map((text) => [toBytes(text), (this.#values.get(text) as Uint8Array).slice()])
  }
}

/** A store over `disk`, or over one of its own. */
export const memoryStore = (disk: Disk = new Disk()): Store => {
  let closed = false
  const ask = async <T>(answer: () => T): Promise<T> => {
    await Promise.resolve()
    if (closed) throw new StoreClosed()
    return answer()
  }
  return {
    get: (key) => ask(() => disk.read(key)),
    getMany: (keys) => ask(() => keys.map((key) => disk.read(key))),
    range: (options) => walkPages(options, (rest, limit) => ask(() => disk.page(rest, limit))),
    snapshot: () =>
      ask((): Snapshot => {
        const copy = disk.copy()
        let ended = false
        const page = (rest: RangeOptions, limit: number): Promise<Row[]> =>
          ask(() => {
            if (ended) throw new StoreClosed()
            return copy.page(rest, limit)
          })
        return {
          range: (options) => walkPages(options, page),
          close: () => void (ended = true),
        }
      }),
    write: (batch) => (closed ? Promise.reject(new StoreClosed()) : ask(() => disk.apply(batch))),
    async close() {
      await ask(() => undefined).catch(() => undefined)
      closed = true
    },
  }
}
