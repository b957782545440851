/** The durable event log over the drive and a store in memory. */
import { createDrive, type Drive, memoryStore, type Store } from '@leyden/runtime'
import { describe, expect, it, vi } from 'vitest'
import { createEventLog, eventCounterKind, type EventLog } from './events.ts'
import { systemClock } from './system.ts'

/** Waits for what must come, however slow the machine. */
const soon = <T>(check: () => T | Promise<T>): Promise<T> => vi.waitFor(check, 15_000)

interface Opened {
  readonly drive: Drive<never>
  readonly log: EventLog
  readonly append: (...heights: number[]) => Promise<void>
}

const open = async (store: Store): Promise<Opened> => {
  const drive = createDrive<never>({
    store,
    kinds: [eventCounterKind as never],
    clock: systemClock,
    release: () => undefined,
    onFault: (fault) => {
      throw fault
    },
  })
  await drive.load()
  const log = createEventLog(
    store,
    { ...systemClock, now: () => 1_767_225_600_000 },
    () => drive.states(eventCounterKind).get('')?.last ?? 0,
  )
  return {
    drive,
    log,
    append: (...heights) =>
      drive.submit((batch) => {
        for (const height of heights) log.append(batch, 'chain.tip', { height })
      }),
  }
}

/** Reads in the background. */
const reading = (log: EventLog, after?: string) => {
  const abort = new AbortController()
  const ids: string[] = []
  const done = (async () => {
    for await (const event of log.read(after, abort.signal)) ids.push(event.id)
  })()
  return { ids, done, stop: () => abort.abort() }
}

describe('the event log', () => {
  it('gives events with growing ids, and what they tell', async () => {
    const { log, append } = await open(memoryStore())
    await append(7)
    for await (const event of log.read('0', AbortSignal.timeout(5000))) {
      expect(event).toEqual({ id: '1', type: 'chain.tip', createdAt: '2026-01-01T00:00:00.000Z', data: { height: 7 } })
      break
    }
  })

  it('goes on where a reader was, then live', async () => {
    const { log, append } = await open(memoryStore())
    await append(1, 2, 3)
    const readers = { all: reading(log, '0'), some: reading(log, '2'), live: reading(log) }
    await append(4)
    await append(5, 6)
    await soon(() =>
      expect([readers.all.ids, readers.some.ids, readers.live.ids]).toEqual([
        ['1', '2', '3', '4', '5', '6'],
        ['3', '4', '5', '6'],
        ['4', '5', '6'],
      ]),
    )
    for (const reader of Object.values(readers)) {
      reader.stop()
      await reader.done
    }
  })

  it('goes on after a restart, with the same ids', async () => {
    const store = memoryStore()
    const first = await open(store)
    await first.append(1, 2)
    await first.drive.stop()
    const second = await open(store)
    await second.append(3)
    const reader = reading(second.log, '1')
    await soon(() => expect(reader.ids).toEqual(['2', '3']))
    reader.stop()
    await reader.done
  })

  it('shows nothing of a batch that was not committed', async () => {
    const store = memoryStore()
    const { log, drive } = await open({
      ...store,
      get: (rowKey) => store.get(rowKey),
      getMany: (keys) => store.getMany(keys),
      range: (options) => store.range(options),
      write: () => Promise.reject(new Error('disk full')),
      close: () => store.close(),
    })
    const reader = reading(log, '0')
    const submitted = drive.submit((batch) => log.append(batch, 'chain.tip', {}))
    submitted.catch(() => undefined)
    await soon(() => expect(drive.stalled).toBe(true))
    expect(reader.ids).toEqual([])
    reader.stop()
    await reader.done
    await drive.stop()
  })

  it('reads more than fits into one step', async () => {
    const { log, append } = await open(memoryStore())
    await append(...Array.from({ length: 1000 }, (_, i) => i))
    const reader = reading(log, '0')
    await soon(() => expect(reader.ids.length).toBe(1000))
    expect(reader.ids).toEqual(Array.from({ length: 1000 }, (_, i) => String(i + 1)))
    reader.stop()
    await reader.done
  })

  it('loses nothing for a reader whose last event this log never had', async () => {
    const { log, append } = await open(memoryStore())
    await append(1)
    const reader = reading(log, '500')
    await append(2)
    await soon(() => expect(reader.ids).toEqual(['2']))
    reader.stop()
    await reader.done
  })

  it('ends for a signal that was there before, one that comes while it reads, and at the close of the log', async () => {
    const store = memoryStore()
    const { log, append } = await open(store)
    await append(1)
    const before = reading(log)
    before.stop()
    await before.done
    // In the middle of a read of an empty range.
    const during = reading(log)
    await Promise.resolve()
    during.stop()
    await during.done
    const waiting = [reading(log), reading(log, '0')]
    await soon(() => expect(waiting[1]?.ids).toEqual(['1']))
    const late = reading(log)
    log.close()
    await Promise.all([...waiting.map(({ done }) => done), late.done])
    await reading(log, '0').done
  })
})
