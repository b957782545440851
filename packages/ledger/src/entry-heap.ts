/**
 * Mempool entries with the first of some order always at hand: a binary heap that knows where each entry sits, so that one whose
 * rank changes moves without a search. The place is kept on the entry itself, one slot for each order.
 */
import type { MempoolEntry } from './mempool-entry.ts'

export type HeapSlot = 'evictionSlot' | 'ageSlot'

export class EntryHeap {
  readonly #entries: MempoolEntry[] = []
  readonly #slot: HeapSlot
  readonly #before: (a: MempoolEntry, b: MempoolEntry) => boolean

  /** `before`: whether `a` comes strictly before `b`. */
  constructor(slot: HeapSlot, before: (a: MempoolEntry, b: MempoolEntry) => boolean) {
    this.#slot = slot
    this.#before = before
  }

  get first(): MempoolEntry | undefined {
    return this.#entries[0]
  }

  add(entry: MempoolEntry): void {
    this.#up(entry, this.#entries.length)
  }

  /** The rank of an entry that is in the heap has changed. */
  moved(entry: MempoolEntry): void {
    this.#settle(entry, entry[this.#slot])
  }

  remove(entry: MempoolEntry): void {
    const at = entry[this.#slot]
    const last = this.#entries.pop()
    entry[this.#slot] = -1
    if (last !== undefined && last !== entry) this.#settle(last, at)
  }

  clear(): void {
    this.#entries.length = 0
  }

  #settle(entry: MempoolEntry, at: number): void {
    const parent = this.#entries[(at - 1) >> 1]
    if (at > 0 && parent !== undefined && this.#before(entry, parent)) this.#up(entry, at)
    else this.#down(entry, at)
  }

  #put(entry: MempoolEntry, at: number): void {
    this.#entries[at] = entry
    entry[this.#slot] = at
  }

  #up(entry: MempoolEntry, from: number): void {
    let at = from
    while (at > 0) {
      const above = (at - 1) >> 1
      const parent = this.#entries[above] as MempoolEntry
      if (!this.#before(entry, parent)) break
      this.#put(parent, at)
      at = above
    }
    this.#put(entry, at)
  }

  #down(entry: MempoolEntry, from: number): void {
    const { length } = this.#entries
    let at = from
    for (;;) {
      let below = 2 * at + 1
      if (below >= length) break
      if (below + 1 < length && this.#before(this.#entries[below + 1] as MempoolEntry, this.#entries[below] as MempoolEntry))
        below++
      const child = this.#entries[below] as MempoolEntry
      if (!this.#before(child, entry)) break
      this.#put(child, at)
      at = below
    }
    this.#put(entry, at)
  }
}
