/**
 * Making the chain in memory durable: everything that has changed since the last flush goes to the disk as one (group commit).
 * First the block files, synced; then one batch of the store with coins, places, indices, mempool and tip. So whatever instant a crash
 * comes at, the store shows one chain, and every block that it names is whole.
 * What is being written is frozen: blocks that connect meanwhile go to the next flush. After a failure nothing is lost but time:
 * memory stays ahead of the disk, everything goes back to what waits, and the next flush tries it all again.
 */
import type { Tx } from '@leyden/bitcoin'
import type { HeaderEntry } from '@leyden/ledger'
import type { Write } from '@leyden/runtime'
import { fileWrite, tipWrite } from './chain-rows.ts'
import { mempoolRows } from './chain-pool.ts'
import { headerRow, tipOf, type Chain } from './chain.ts'
import { pruneToTarget } from './prune.ts'

/** What others may be told once it is durable. */
export type Durable = { readonly tip: HeaderEntry; readonly returned: readonly Tx[] }

type Waiter = { readonly done: () => void; readonly failed: (error: unknown) => void }

/** Where the flushes of a chain stand. */
export type Flushes = {
  /** The one under way. */
  running: Promise<void> | undefined
  /** Why the last one failed. */
  failure: Error | undefined
  /** Those who wait for what is in memory now. */
  waiters: Waiter[]
  /** Tip of the last flush, on the disk. */
  tip: HeaderEntry
  /** When the first block came that waits, milliseconds. */
  since: number | undefined
}

/** Longest time that a block waits in memory while others keep coming. */
const MAX_WAIT_MS = 2000
/** Rows that are encoded before others have a turn. */
const ROWS_AT_ONCE = 4096
/** Header row, places, map entries. */
const ENTRY_BYTES = 600

export const newFlushes = (tip: HeaderEntry): Flushes => ({
  running: undefined,
  failure: undefined,
  waiters: [],
  tip,
  since: undefined,
})

/** Estimated memory of what is not on the disk. */
export const dirtyBytes = ({ coins, rows, files, touched }: Chain): number =>
  coins.dirtyBytes + rows.dirtyBytes + files.unwritten + touched.size * ENTRY_BYTES

/** Whether memory is ahead of the disk, not counting what is being written. */
export const isDirty = (chain: Chain): boolean =>
  chain.touched.size > 0 ||
  chain.dirty.size > 0 ||
  chain.doomed.length > 0 ||
  chain.returned.length > 0 ||
  chain.settled !== chain.told ||
  tipOf(chain) !== chain.flushes.tip ||
  chain.rows.dirtyBytes > 0 ||
  chain.coins.dirtyBytes > 0

const writeOut = async (chain: Chain): Promise<void> => {
  pruneToTarget(chain)
  const { options, files, coins, rows, flushes } = chain
  const tip = tipOf(chain)
  const frozen = {
    touched: [...chain.touched],
    dirty: [...chain.dirty],
    doomed: chain.doomed,
    returned: chain.returned,
    waiters: flushes.waiters,
    settled: chain.settled,
    changed: files.takeChanged(),
  }
  const batch: Write[] = [
    ...frozen.touched.map((entry) => headerRow(chain, entry)),
    ...frozen.changed.map((file) => fileWrite(file, files.facts.get(file))),
    ...mempoolRows(chain),
    tipWrite(tip),
  ]
  for (const row of rows.freeze()) batch.push(row)
  const coinRows = coins.freeze()
  const persisted = files.persist()
  persisted.catch(() => undefined) // it is waited for below
  chain.touched = new Set()
  chain.dirty.clear()
  chain.doomed = []
  chain.returned = []
  chain.told = frozen.settled
  flushes.waiters = []
  flushes.tip = tip
  flushes.since = undefined
  try {
    for (const row of coinRows) if (batch.push(row) % ROWS_AT_ONCE === 0) await options.breathe()
    await persisted
    await options.store.write(batch)
  } catch (error) {
    coins.failed()
    rows.failed()
    for (const entry of frozen.touched) chain.touched.add(entry)
    for (const id of frozen.dirty) chain.dirty.add(id)
    chain.doomed = [...frozen.doomed, ...chain.doomed]
    chain.returned = [...frozen.returned, ...chain.returned]
    files.markChanged(frozen.changed)
    // Not what was told before: whatever it was, the next flush has to tell it.
    chain.told = undefined
    flushes.failure = error instanceof Error ? error : new Error(String(error))
    for (const { failed } of frozen.waiters) failed(flushes.failure)
    throw flushes.failure
  }
  coins.landed()
  rows.landed()
  if (flushes.failure !== undefined) options.log.info({}, 'the chain can be written again')
  flushes.failure = undefined
  for (const file of frozen.doomed)
    try {
      await files.remove(file)
    } catch (error) {
      options.log.warn({ file, error: String(error) }, 'a pruned block file could not be deleted: the next start does it')
    }
  options.onDurable({ tip: frozen.settled, returned: frozen.returned })
  for (const { done } of frozen.waiters) done()
}

const start = (chain: Chain): Promise<void> => {
  const { flushes, options } = chain
  const run = writeOut(chain)
    .catch((error: Error) => {
      options.log.error({ error: error.message }, 'the chain could not be written: nothing is taken until it can be')
      throw error
    })
    .finally(() => {
      flushes.running = undefined
      options.onFlushed()
    })
  flushes.running = run
  run.catch(() => undefined)
  return run
}

/** Begins a flush unless one is under way or there is nothing to write. */
export const startFlush = (chain: Chain): void => {
  if (chain.flushes.running === undefined && isDirty(chain)) void start(chain)
}

/** Resolves when everything that is in memory now is durable. */
export const flush = async (chain: Chain): Promise<void> => {
  while (chain.flushes.running !== undefined) await chain.flushes.running.catch(() => undefined)
  if (isDirty(chain)) await start(chain)
}

/** Resolves when what is in memory now is durable, whoever sees to that. */
export const whenDurable = (chain: Chain): Promise<void> => {
  const { flushes } = chain
  if (!isDirty(chain)) return flushes.running ?? Promise.resolve()
  return new Promise((done, failed) => {
    flushes.waiters.push({ done, failed })
  })
}

/**
 * To be called after each block: flushes now and then, and lets the disk catch up when memory is too far ahead. In the middle of a
 * reorganisation only when it must: what the lost blocks held is in no mempool yet, and a crash would forget it.
 */
export const makeRoom = async (chain: Chain): Promise<void> => {
  const { flushes, options, maxDirtyBytes } = chain
  const isFull = dirtyBytes(chain) >= maxDirtyBytes
  flushes.since ??= options.nowMs()
  const isDue = tipOf(chain) === chain.best && options.nowMs() - flushes.since >= MAX_WAIT_MS
  if (!isFull && !isDue) return
  if (isFull && flushes.running !== undefined) await flushes.running
  startFlush(chain)
}

/** After a failed flush: nothing new is taken before the disk has caught up. Throws what is wrong with it. */
export const recover = async (chain: Chain): Promise<void> => {
  if (chain.flushes.failure !== undefined) await flush(chain)
}
