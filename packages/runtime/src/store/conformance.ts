/**
 * What every store must do, as cases to run: `for (const { name, run } of storeConformance(make)) it(name, run)`.
 * It knows no test framework, so that a store of another package can be held to it.
 */
import { bytesToHex, concat, equalBytes } from '@leyden/codec'
import { MAX_KEY_BYTES, type RangeOptions, type Row, type Store, type Write } from './port.ts'

/** An empty store and the way to open the same rows again after closing it. */
export type StoreUnderTest = { readonly store: Store; readonly reopen: () => Promise<Store> }

export type ConformanceCase = { readonly name: string; readonly run: () => Promise<void> }

const b = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes)
const put = (key: Uint8Array, value: Uint8Array): Write => ({ key, value })
const remove = (key: Uint8Array): Write => ({ key, value: undefined })

const check = (holds: boolean, what: string): void => {
  if (!holds) throw new Error(what)
}
const show = (value: Uint8Array | undefined): string => (value === undefined ? 'nothing' : bytesToHex(value))
const same = (got: Uint8Array | undefined, want: Uint8Array | undefined, what: string): void =>
  check(
    got === want || (got !== undefined && want !== undefined && equalBytes(got, want)),
    `${what}: ${show(got)}, not ${show(want)}`,
  )
const rejects = async (promise: Promise<unknown>, kind: string): Promise<void> => {
  const outcome = await promise.then(
    () => 'nothing thrown',
    (error: unknown) => (error instanceof Error ? error.name : String(error)),
  )
  check(outcome === kind, `${outcome} where ${kind} belongs`)
}
const collect = async (store: Store, options: RangeOptions): Promise<Row[]> => {
  const rows: Row[] = []
  for await (const row of store.range(options)) rows.push(row)
  return rows
}
const collectKeys = async (rows: AsyncIterable<Row>): Promise<string> => {
  const keys: string[] = []
  for await (const [key] of rows) keys.push(bytesToHex(key))
  return keys.join(' ')
}
const keysOf = (store: Store, options: RangeOptions): Promise<string> => collectKeys(store.range(options))
const sameText = (got: string, want: string): void => check(got === want, `${got}, not ${want}`)

const wide = (n: number): Uint8Array => b(7, n >> 8, n & 0xff)

const CASES: readonly (readonly [name: string, run: (test: StoreUnderTest) => Promise<void>])[] = [
  [
    'gives back what was written, and nothing for what was not',
    async ({ store }) => {
      await store.write([put(b(1), b(9, 8, 7)), put(b(1, 0), b())])
      same(await store.get(b(1)), b(9, 8, 7), 'a row')
      same(await store.get(b(1, 0)), b(), 'an empty value')
      same(await store.get(b(2)), undefined, 'no row')
      const many = await store.getMany([b(2), b(1), b(1)])
      check(many.length === 3, 'an answer for each key')
      same(many[0], undefined, 'first')
      same(many[1], b(9, 8, 7), 'second')
      same(many[2], b(9, 8, 7), 'third')
    },
  ],
  [
    'the bytes it gives are the caller’s own',
    async ({ store }) => {
      await store.write([put(b(1), b(5))])
      const first = await store.get(b(1))
      first?.fill(0)
      same(await store.get(b(1)), b(5), 'after the copy was changed')
      const [row] = await collect(store, { gte: b(1), lt: b(2) })
      row?.[1].fill(0)
      same(await store.get(b(1)), b(5), 'after the row was changed')
    },
  ],
  [
    'replaces and deletes; deleting what is not there is no error',
    async ({ store }) => {
      await store.write([put(b(1), b(1)), put(b(2), b(2))])
      await store.write([put(b(1), b(3)), remove(b(2)), remove(b(3))])
      same(await store.get(b(1)), b(3), 'replaced')
      same(await store.get(b(2)), undefined, 'deleted')
    },
  ],
  [
    'of two writes to one key in a batch the later holds',
    async ({ store }) => {
      await store.write([put(b(1), b(1)), put(b(1), b(2)), put(b(2), b(1)), remove(b(2)), remove(b(3)), put(b(3), b(4))])
      same(await store.get(b(1)), b(2), 'put twice')
      same(await store.get(b(2)), undefined, 'put, then deleted')
      same(await store.get(b(3)), b(4), 'deleted, then put')
    },
  ],
  [
    'a batch with an impossible key stores nothing and rejects with RangeError',
    async ({ store }) => {
      await rejects(store.write([put(b(1), b(1)), put(b(), b(1))]), 'RangeError')
      await rejects(store.write([put(b(1), b(1)), put(new Uint8Array(MAX_KEY_BYTES + 1), b(1))]), 'RangeError')
      same(await store.get(b(1)), undefined, 'the possible half')
      const longest = new Uint8Array(MAX_KEY_BYTES).fill(255)
      await store.write([put(longest, b(1)), put(b(0), b(2))])
      same(await store.get(longest), b(1), 'the longest key')
      same(await store.get(b(0)), b(2), 'a zero key')
      await store.write([])
    },
  ],
  [
    'walks a range in the order of the bytes, both ways, bounded and limited',
    async ({ store }) => {
      const keys = [b(0), b(0, 0), b(1), b(1, 0), b(1, 0xff), b(2), b(0x7f), b(0x80), b(0xfe), b(0xff), b(0xff, 0xff)]
      await store.write(keys.toReversed().map((key) => put(key, key)))
      const all = keys.map(bytesToHex)
      const end = b(0xff, 0xff, 0xff)
      sameText(await keysOf(store, { gte: b(0), lt: end }), all.join(' '))
      sameText(await keysOf(store, { gte: b(0), lt: end, reverse: true }), all.toReversed().join(' '))
      sameText(await keysOf(store, { gte: b(1), lt: b(2) }), '01 0100 01ff')
      sameText(await keysOf(store, { gte: b(1), lt: b(2), reverse: true }), '01ff 0100 01')
      sameText(await keysOf(store, { gte: b(1), lt: b(2), reverse: true, limit: 2 }), '01ff 0100')
      sameText(await keysOf(store, { gte: b(1), lt: b(1) }), '')
      sameText(await keysOf(store, { gte: b(2), lt: b(1) }), '')
      sameText(await keysOf(store, { gte: b(2), lt: b(1), reverse: true }), '')
      sameText(await keysOf(store, { gte: b(0), lt: end, limit: 3 }), '00 0000 01')
      sameText(await keysOf(store, { gte: b(0), lt: end, limit: 0 }), '')
    },
  ],
  [
    'walks more rows than it reads at once, while rows behind and ahead of the walk change',
    async ({ store }) => {
      const count = 1000
      await store.write(Array.from({ length: count }, (_, n) => put(wide(n), b(1))))
      for (const reverse of [false, true]) {
        let seen = 0
        for await (const [key] of store.range({ gte: b(7), lt: b(8), reverse })) {
          same(key, wide(reverse ? count - 1 - seen : seen), 'the next row')
          seen++
          if (seen === 300) await store.write([put(b(6, 1), b(1)), put(wide(seen), b(2)), put(b(9), b(1))])
        }
        check(seen === count, `${seen} of ${count} rows`)
      }
      sameText(String((await collect(store, { gte: b(7), lt: b(8), limit: 600 })).length), '600')
    },
  ],
  [
    'a snapshot stays as it was taken, whatever is written, until it is closed',
    async ({ store }) => {
      const count = 600
      await store.write(Array.from({ length: count }, (_, n) => put(wide(n), b(1))))
      const snapshot = await store.snapshot()
      const whole = { gte: b(0), lt: b(9) }
      for (const reverse of [false, true]) {
        let seen = 0
        for await (const [key, value] of snapshot.range({ ...whole, reverse })) {
          same(key, wide(reverse ? count - 1 - seen : seen), 'the next row')
          same(value, b(1), 'its value')
          if (seen++ === 100) await store.write([put(b(1), b(1)), put(wide(300), b(2)), remove(wide(400)), put(b(8), b(1))])
        }
        check(seen === count, `${seen} of ${count} rows`)
      }
      const later = await store.snapshot()
      sameText(await collectKeys(later.range({ ...whole, limit: 2 })), `01 ${bytesToHex(wide(0))}`)
      snapshot.close()
      snapshot.close()
      await rejects(collectKeys(snapshot.range(whole)), 'StoreClosed')
      sameText(
        await collectKeys(later.range({ gte: wide(399), lt: wide(402) })),
        [399, 401].map((n) => bytesToHex(wide(n))).join(' '),
      )
      // The one that is left open does not keep the store from closing.
      await store.close()
      await rejects(collectKeys(later.range(whole)), 'StoreClosed')
      await rejects(store.snapshot(), 'StoreClosed')
    },
  ],
  [
    'batches take effect in the order of the calls, also when none is awaited',
    async ({ store }) => {
      const writes: Promise<void>[] = []
      for (let n = 0; n < 200; n++) writes.push(store.write([put(b(1), wide(n)), n % 2 === 0 ? put(b(2), b(n)) : remove(b(2))]))
      await Promise.all(writes)
      same(await store.get(b(1)), wide(199), 'the last write')
      same(await store.get(b(2)), undefined, 'the last delete')
    },
  ],
  [
    'what a resolved write stored is there after closing and opening again',
    async ({ store, reopen }) => {
      const large = new Uint8Array(300_000).map((_, n) => n & 0xff)
      await store.write([put(b(1), large), put(b(2), b(2))])
      await store.write([remove(b(2))])
      await store.close()
      const again = await reopen()
      same(await again.get(b(1)), large, 'a large value')
      same(await again.get(b(2)), undefined, 'a deleted row')
      await again.close()
    },
  ],
  [
    'close waits for the writes in flight; afterwards everything rejects',
    async ({ store, reopen }) => {
      const write = store.write([put(concat(b(1), b(1)), b(1))])
      await store.close()
      await write
      await rejects(store.get(b(1)), 'StoreClosed')
      await rejects(store.getMany([b(1)]), 'StoreClosed')
      await rejects(store.write([put(b(1), b(1))]), 'StoreClosed')
      await rejects(collect(store, { gte: b(0), lt: b(9) }), 'StoreClosed')
      await store.close()
      const again = await reopen()
      same(await again.get(b(1, 1)), b(1), 'the write in flight')
      await again.close()
    },
  ],
]

/** The suite over one implementation. `make` gives a fresh empty store for each case. */
export const storeConformance = (make: () => Promise<StoreUnderTest>): readonly ConformanceCase[] =>
  CASES.map(([name, run]) => ({
    name,
    run: async () => {
      const test = await make()
      try {
        await run(test)
      } finally {
        await test.store.close()
      }
    },
  }))
