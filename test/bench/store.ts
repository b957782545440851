/** Durable commits: LMDB with a sync at each, one writer, twenty at once, and in groups of fifty; and reads. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { key, memoryStore, type Store } from '@leyden/runtime'
import { lmdbStore } from '@leyden/runtime/store/lmdb'
import { heading, type Settings, short, table, times } from './report.ts'

/** About what one HTLC's row holds besides its onion. */
const VALUE = new Uint8Array(300).fill(7)

interface Result {
  readonly perSecond: number
  readonly latenciesMs: readonly number[]
}

/** `writers` loops of commits of `rows` rows, for so long. */
const commits = async (store: Store, ms: number, writers: number, rows: number): Promise<Result> => {
  const latenciesMs: number[] = []
  const start = performance.now()
  let next = 0
  await Promise.all(
    Array.from({ length: writers }, async () => {
      while (performance.now() - start < ms) {
        const batch = Array.from({ length: rows }, () => ({ key: key('bench', next++), value: VALUE }))
        const at = performance.now()
        await store.write(batch)
        latenciesMs.push(performance.now() - at)
      }
    }),
  )
  return { perSecond: (latenciesMs.length * rows * 1000) / (performance.now() - start), latenciesMs }
}

const reads = async (store: Store, ms: number): Promise<Result> => {
  const latenciesMs: number[] = []
  const start = performance.now()
  for (let i = 0; performance.now() - start < ms; i = (i + 7919) % 1000) {
    const at = performance.now()
    await store.get(key('bench', i))
    latenciesMs.push(performance.now() - at)
  }
  return { perSecond: (latenciesMs.length * 1000) / (performance.now() - start), latenciesMs }
}

export const quantile = (values: readonly number[], q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))] ?? Number.NaN

export const benchStore = async ({ quick }: Settings): Promise<void> => {
  heading('store: rows of 300 bytes, each commit durable when it resolves')
  const ms = quick ? 300 : 2000
  const directory = mkdtempSync(join(tmpdir(), 'leyden-bench-'))
  const stores = { lmdb: lmdbStore({ path: join(directory, 'db') }), memory: memoryStore() }
  try {
    const rows: string[][] = []
    for (const [name, store] of Object.entries(stores)) {
      await commits(store, ms / 4, 1, 1)
      const one = await commits(store, ms, 1, 1)
      const results: [string, Result][] = [
        ['one writer, single rows', one],
        ['20 writers, single rows', await commits(store, ms, 20, 1)],
        ['one writer, groups of 50', await commits(store, ms, 1, 50)],
        ['reads', await reads(store, ms / 2)],
      ]
      for (const [what, { perSecond, latenciesMs }] of results)
        rows.push([
          `${name}, ${what}`,
          short(perSecond),
          short(quantile(latenciesMs, 0.5)),
          short(quantile(latenciesMs, 0.99)),
          what === 'reads' ? '' : times(perSecond / one.perSecond),
        ])
    }
    table(['', 'rows/s', 'p50 ms', 'p99 ms', 'to one writer'], rows)
  } finally {
    await stores.lmdb.close()
    rmSync(directory, { recursive: true, force: true })
  }
}
