/**
 * The durable log of what happened, as API clients see it: monotonic ids, written in the same commit as the change that it tells.
 * A reader names the last id that it has and gets the rest, then live ones; nothing is sent that is not in the log.
 */
import { packRecord, unpackRecord } from '@leyden/codec'
import type { ApiEvent, EventType } from '@leyden/api'
import { type Batch, type Clock, decodeKey, key, recordKind, type Store } from '@leyden/runtime'

/** Events kept; older ones go as new ones come. */
const KEPT = 100_000
const READ_AT_ONCE = 256
const LOG = 'event'
const ONLY = ''

/** The number of the last event. */
export const eventCounterKind = recordKind<{ readonly last: number }>('event-counter', 1)

interface StoredEvent {
  readonly type: EventType
  readonly createdAtMs: number
  readonly data: Record<string, unknown>
}

export interface EventLog {
  /** Adds an event to the commit of this batch. `data` is JSON: no bigint, no bytes. */
  append<E>(batch: Batch<E>, type: EventType, data: Record<string, unknown>): void
  /** Events after `after` (exclusive); undefined: only what comes from now on. Ends when `signal` aborts or the log is closed. */
  read(after: string | undefined, signal: AbortSignal): AsyncIterable<ApiEvent>
  close(): void
}

export const createEventLog = (store: Store, clock: Clock, committedLast: () => number): EventLog => {
  const waiting = new Set<() => void>()
  let closed = false
  const wake = (): void => {
    for (const fn of waiting) fn()
  }
  return {
    append(batch, type, data) {
      const last = (batch.get(eventCounterKind, ONLY)?.last ?? 0) + 1
      batch.set(eventCounterKind, ONLY, { last })
      const event: StoredEvent = { type, createdAtMs: clock.now(), data }
      batch.put(key(LOG, last), packRecord(event))
      if (last > KEPT) batch.put(key(LOG, last - KEPT), undefined)
      batch.afterCommit(wake)
    },
    async *read(after, signal) {
      // An id from the future is of another log (data was restored): what comes from now on must not be lost for it.
      let last = after === undefined ? committedLast() : Math.min(Number(after), committedLast())
      for (;;) {
        if (signal.aborted || closed) return
        let found = 0
        for await (const [rowKey, value] of store.range({
          gte: key(LOG, last + 1),
          lt: key(LOG, Infinity),
          limit: READ_AT_ONCE,
        })) {
          const event = unpackRecord(value) as StoredEvent
          const id = Number(decodeKey(rowKey)[1])
          last = id
          found++
          yield { id: String(id), type: event.type, createdAt: new Date(event.createdAtMs).toISOString(), data: event.data }
          if (signal.aborted) return
        }
        if (found > 0 || committedLast() > last || signal.aborted || closed) continue
        await new Promise<void>((resolve) => {
          const done = (): void => {
            waiting.delete(done)
            signal.removeEventListener('abort', done)
            resolve()
          }
          waiting.add(done)
          signal.addEventListener('abort', done)
        })
      }
    },
    close() {
      closed = true
      wake()
    },
  }
}
