import { describe, expect, it } from 'vitest'
import { createDrive, type Drive, DriveStopped, type OutboxRow, step } from './drive.ts'
import { key, keyRange } from './key.ts'
import { type Kind, recordKind } from './kind.ts'
import type { Machine } from './machine.ts'
import type { Clock } from './ports.ts'
import { crashStore, type CrashStore } from './sim/crash-store.ts'
import { createSimulation } from './sim/simulation.ts'
import { Disk, memoryStore } from './store/memory.ts'
import type { Store } from './store/port.ts'

type Counter = { readonly value: number }
const counter = recordKind<Counter>('counter', 1)
const account = recordKind<bigint>('account', 1)

/** Timers that a test fires by hand. */
const handClock = () => {
  const timers: { readonly delayMs: number; readonly fn: () => void }[] = []
  const clock: Clock = {
    now: () => 0,
    setTimer(delayMs, fn) {
      const timer = { delayMs, fn }
      timers.push(timer)
      return () => {
        const at = timers.indexOf(timer)
        if (at >= 0) timers.splice(at, 1)
      }
    },
  }
  return { clock, timers, fire: () => timers.shift()?.fn() }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const open = async (store: Store, more: { readonly kinds?: readonly Kind<unknown>[] } = {}) => {
  const released: string[] = []
  const faults: unknown[] = []
  const stalls: { readonly attempts: number; readonly retryMs: number }[] = []
  const recovered: number[] = []
  const hand = handClock()
  const drive = createDrive<string>({
    store,
    kinds: more.kinds ?? [counter, account],
    clock: hand.clock,
    release: (effect) => {
      if (effect === 'bad effect') throw new Error('release failed')
      released.push(effect)
    },
    onFault: (fault) => faults.push(fault),
    onStall: ({ attempts, retryMs }) => stalls.push({ attempts, retryMs }),
    onRecovered: () => recovered.push(1),
  })
  await drive.load()
  return { drive, released, faults, stalls, recovered, ...hand }
}

const increment = (drive: Drive<string>, id = 'a'): Promise<number> =>
  drive.submit((batch) => {
    const value = (batch.get(counter, id)?.value ?? 0) + 1
    batch.set(counter, id, { value })
    batch.emit(`${id}=${value}`)
    return value
  })

describe('committing', () => {
  it('takes the jobs that wait as one group and writes once; each sees the ones before it', async () => {
    const store = crashStore()
    const { drive, released } = await open(store)
    expect(await Promise.all([increment(drive), increment(drive), increment(drive, 'b')])).toEqual([1, 2, 1])
    expect(store.writes).toBe(1)
    expect(released).toEqual(['a=1', 'a=2', 'b=1'])
    expect([...drive.states(counter)]).toEqual([
      ['a', { value: 2 }],
      ['b', { value: 1 }],
    ])
  })

  it('jobs that come while a write is under way make the next group', async () => {
    const applies: (() => void)[] = []
    const store = crashStore({ delay: (apply) => applies.push(apply) })
    const { drive, released } = await open(store)
    const first = increment(drive)
    await settle()
    const later = Promise.all([increment(drive), increment(drive)])
    await settle()
    expect([store.writes, released, drive.states(counter).size]).toEqual([1, [], 0])
    applies.shift()?.()
    await first
    await settle()
    expect([store.writes, released]).toEqual([2, ['a=1']])
    applies.shift()?.()
    expect(await later).toEqual([2, 3])
    expect(released).toEqual(['a=1', 'a=2', 'a=3'])
  })

  it('releases effects and after-commit calls in order, only when the rows are on the disk', async () => {
    const disk = new Disk()
    const { drive, released } = await open(crashStore({ disk }))
    await drive.submit((batch) => {
      batch.put(key('log', 1), Uint8Array.of(7))
      batch.emit('first')
      batch.afterCommit(() => released.push(`row ${disk.read(key('log', 1))?.join()}`))
      batch.emit('last')
      expect(disk.size).toBe(0)
    })
    expect(released).toEqual(['first', 'row 7', 'last'])
  })

  it('an effect may submit: its job comes after the whole release', async () => {
    const { drive, released } = await open(crashStore())
    let inner: Promise<number> | undefined
    await drive.submit((batch) => {
      batch.afterCommit(() => {
        inner = increment(drive)
      })
      batch.emit('after')
    })
    await inner
    expect(released).toEqual(['after', 'a=1'])
  })

  it('keeps states, raw rows and ended instances over a restart', async () => {
    const disk = new Disk()
    const before = await open(crashStore({ disk }))
    await before.drive.submit((batch) => {
      batch.set(counter, 'a', { value: 5 })
      batch.set(counter, 'gone', { value: 6 })
      batch.set(account, 'a', 2n ** 60n)
      batch.put(key('log', 1), Uint8Array.of(1))
    })
    await before.drive.submit((batch) => {
      batch.set(counter, 'gone', undefined)
      expect(batch.get(counter, 'gone')).toBeUndefined()
      expect([...batch.all(counter)]).toEqual([['a', { value: 5 }]])
    })
    await before.drive.stop()
    const { drive } = await open(crashStore({ disk }))
    expect([...drive.states(counter)]).toEqual([['a', { value: 5 }]])
    expect(drive.states(account).get('a')).toBe(2n ** 60n)
    expect(disk.read(key('log', 1))).toEqual(Uint8Array.of(1))
  })

  it('writes only the rows that changed', async () => {
    type List = readonly string[]
    const list: Kind<List> = {
      name: 'list',
      load: (_, rows) => rows.map(([, value]) => String.fromCharCode(...value)),
      diff(before, after) {
        const length = Math.max(before?.length ?? 0, after?.length ?? 0)
        return Array.from({ length }, (__, i) => i)
          .filter((i) => before?.[i] !== after?.[i])
          .map((i) => ({
            suffix: String(i),
            value: after?.[i] === undefined ? undefined : Uint8Array.from(after[i], (c) => c.charCodeAt(0)),
          }))
      },
    }
    const disk = new Disk()
    const sizes: number[] = []
    const inner = crashStore({ disk })
    const store: Store = {
      ...inner,
      write: (rows) => {
        sizes.push(rows.length)
        return inner.write(rows)
      },
    }
    const { drive } = await open(store, { kinds: [list] })
    await drive.submit((batch) => batch.set(list, 'x', ['a', 'b', 'c']))
    await drive.submit((batch) => batch.set(list, 'x', ['a', 'B', 'c']))
    await drive.submit((batch) => {
      const now = batch.get(list, 'x')
      if (now !== undefined) batch.set(list, 'x', now)
    })
    expect(sizes).toEqual([3, 1])
    expect((await open(crashStore({ disk }), { kinds: [list] })).drive.states(list).get('x')).toEqual(['a', 'B', 'c'])
  })

  it('steps a machine of any kind by its shape', async () => {
    const machine: Machine<Counter, number, string, { readonly unit: string }> = {
      step: (state, input, env) => ({ state: { value: state.value + input }, effects: [`${input} ${env.unit}`] }),
      resume: () => [],
    }
    const { drive } = await open(crashStore())
    await drive.submit((batch) => batch.set(counter, 'a', { value: 1 }))
    expect(await drive.submit((batch) => step(batch, counter, machine, 'a', 4, { unit: 'steps' }))).toEqual(['4 steps'])
    expect(drive.states(counter).get('a')).toEqual({ value: 5 })
    expect(await drive.submit((batch) => step(batch, counter, machine, 'none', 4, { unit: 'steps' }))).toBeUndefined()
  })
})

describe('a failing disk', () => {
  it('S51: holds everything back while writes fail, with the states as they were, and goes on when they succeed', async () => {
    const disk = new Disk()
    const store = crashStore({ disk })
    const { drive, released, stalls, recovered, fire, timers } = await open(store)
    await increment(drive)
    store.failWrites(3)
    const results = Promise.all([increment(drive), increment(drive)])
    await settle()
    const late = increment(drive, 'late')
    for (const attempts of [1, 2, 3]) {
      expect(stalls.at(-1)).toEqual({ attempts, retryMs: 50 * 2 ** (attempts - 1) })
      expect(drive.stalled).toBe(true)
      expect(released).toEqual(['a=1'])
      expect([...drive.states(counter)]).toEqual([['a', { value: 1 }]])
      expect(timers).toHaveLength(1)
      fire()
      await settle()
    }
    expect(await results).toEqual([2, 3])
    expect(await late).toBe(1)
    expect(released).toEqual(['a=1', 'a=2', 'a=3', 'late=1'])
    expect([drive.stalled, recovered, stalls.length]).toEqual([false, [1], 3])
    expect([...(await open(crashStore({ disk }))).drive.states(counter)]).toEqual([
      ['a', { value: 3 }],
      ['late', { value: 1 }],
    ])
  })

  it('stopping while writes fail gives up: nothing leaves and the disk is as before', async () => {
    const disk = new Disk()
    const store = crashStore({ disk })
    const { drive, released, faults } = await open(store)
    store.failWrites(Number.POSITIVE_INFINITY)
    const result = increment(drive).catch((error: unknown) => error)
    await settle()
    const waiting = increment(drive).catch((error: unknown) => error)
    await drive.stop()
    expect(await result).toBeInstanceOf(DriveStopped)
    expect(await waiting).toBeInstanceOf(DriveStopped)
    expect([released, faults, disk.size]).toEqual([[], [], 0])
  })

  it('stopping with a good disk finishes what waits', async () => {
    const { drive, released } = await open(crashStore())
    const result = increment(drive)
    await drive.stop()
    expect(await result).toBe(1)
    expect(released).toEqual(['a=1'])
    await expect(increment(drive)).rejects.toBeInstanceOf(DriveStopped)
  })
})

describe('a fault', () => {
  const cases: readonly (readonly [string, (drive: Drive<string>) => Promise<unknown>, string])[] = [
    [
      'a job that throws',
      (drive) =>
        drive.submit((batch) => {
          batch.set(counter, 'a', { value: 9 })
          throw new Error('bug in a job')
        }),
      'bug in a job',
    ],
    ['a job that is asynchronous', (drive) => drive.submit(async () => undefined), 'must be synchronous'],
    ['an impossible key', (drive) => drive.submit((batch) => batch.put(new Uint8Array(5000), undefined)), 'a key of 5000 bytes'],
    [
      'a kind that this drive does not have',
      (drive) => drive.submit((batch) => batch.get(recordKind('other', 1), 'a')),
      'no kind other',
    ],
  ]
  it.each(cases)('%s: nothing of its group leaves, and the drive stops', async (_, cause, text) => {
    const disk = new Disk()
    const { drive, released, faults } = await open(crashStore({ disk }))
    const good = increment(drive).catch((error: unknown) => error)
    const bad = cause(drive).catch((error: unknown) => error)
    expect(await good).toBeInstanceOf(DriveStopped)
    expect(await bad).toMatchObject({ name: 'DriveStopped', cause: { message: expect.stringContaining(text) as string } })
    expect(faults).toHaveLength(1)
    expect([released, disk.size, drive.states(counter).size]).toEqual([[], 0, 0])
    await expect(increment(drive)).rejects.toBeInstanceOf(DriveStopped)
    await drive.stop()
  })

  it('an effect that cannot be released stops what comes after it', async () => {
    const { drive, released, faults } = await open(crashStore())
    await expect(
      drive.submit((batch) => {
        batch.emit('good')
        batch.emit('bad effect')
        batch.emit('never')
      }),
    ).rejects.toBeInstanceOf(DriveStopped)
    expect(released).toEqual(['good'])
    expect(faults).toHaveLength(1)
  })

  it('a batch used after its job is one', async () => {
    const { drive } = await open(crashStore())
    const batch = await drive.submit((one) => one)
    expect(() => batch.emit('late')).toThrow('after its job had ended')
    expect(() => [...batch.all(counter)]).toThrow('after its job had ended')
  })

  it('a damaged record stops the load', async () => {
    const disk = new Disk()
    disk.apply([{ key: key('counter', 'a', ''), value: Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff) }])
    await expect(open(crashStore({ disk }))).rejects.toThrow('truncated')
    disk.apply([{ key: key('counter', 5), value: Uint8Array.of(0) }])
    await expect(open(crashStore({ disk }))).rejects.toThrow('foreign row')
  })

  it('jobs before load, two loads, and kinds of one name are refused', async () => {
    const drive = createDrive<string>({
      store: crashStore(),
      kinds: [counter],
      clock: handClock().clock,
      release: () => undefined,
      onFault: () => undefined,
    })
    await expect(increment(drive)).rejects.toThrow('not loaded')
    await drive.load()
    await expect(drive.load()).rejects.toThrow('once')
    await expect(open(crashStore(), { kinds: [counter, recordKind('counter', 2)] })).rejects.toThrow('taken')
    await expect(open(crashStore(), { kinds: [recordKind('outbox', 2)] })).rejects.toThrow('taken')
  })
})

describe('the outbox', () => {
  it('keeps rows in order until they are consumed, over restarts, and never uses a number twice', async () => {
    const disk = new Disk()
    const first = await open(crashStore({ disk }))
    const ids = await first.drive.submit((batch) => [
      batch.outbox('web', { n: 1n }),
      batch.outbox('tower', 'x'),
      batch.outbox('web', Uint8Array.of(2)),
    ])
    expect(ids).toEqual([0, 1, 2])
    const { drive } = await open(crashStore({ disk }))
    expect(drive.outbox('web')).toEqual([
      { id: 0, destination: 'web', payload: { n: 1n } },
      { id: 2, destination: 'web', payload: Uint8Array.of(2) },
    ])
    expect(await drive.submit((batch) => [batch.consume(0), batch.consume(0), batch.consume(2), batch.consume(7)])).toEqual([
      true,
      false,
      true,
      false,
    ])
    expect(drive.outbox('web')).toEqual([])
    await drive.submit((batch) => batch.consume(1))
    const last = await open(crashStore({ disk }))
    expect(await last.drive.submit((batch) => batch.outbox('web', 0))).toBe(3)
  })

  it('a row added and consumed in one group is never written', async () => {
    const disk = new Disk()
    const { drive } = await open(crashStore({ disk }))
    await drive.submit((batch) => expect(batch.consume(batch.outbox('web', 1))).toBe(true))
    expect(drive.outbox('web')).toEqual([])
    expect(disk.page({ ...keyRange('outbox'), limit: 9 }, 9)).toEqual([])
  })

  it('one receiver a destination', async () => {
    const { drive } = await open(crashStore())
    drive.deliver('web', () => undefined)
    expect(() => drive.deliver('web', () => undefined)).toThrow('has a receiver')
  })
})

/** Ten transfers from one account to another through the outbox, with a crash at write `write`, then restarts without one. */
const transfers = async (write: number, when: 'before' | 'after', seed: number) => {
  const simulation = createSimulation(seed)
  let crashes = 0
  const life = (crashAt: boolean): CrashStore => {
    const host = simulation.boot('bank', crashAt ? { write, when } : undefined)
    const drive = createDrive<number>({
      store: host.store,
      kinds: [account, counter],
      clock: host.clock,
      release: () => undefined,
      onFault: (fault) => {
        throw fault
      },
    })
    drive.deliver('to', (batch, row: OutboxRow) => {
      batch.set(account, 'to', (batch.get(account, 'to') ?? 0n) + (row.payload as bigint))
    })
    const send = (): void => {
      void drive
        .submit((batch) => {
          const sent = batch.get(counter, 'sent')?.value ?? 0
          if (sent === 10) return false
          batch.set(counter, 'sent', { value: sent + 1 })
          batch.set(account, 'from', (batch.get(account, 'from') ?? 1000n) - 10n)
          batch.outbox('to', 10n)
          return true
        })
        .then((more) => (more ? send() : undefined))
    }
    void drive.load().then(send)
    return host.store
  }
  const first = life(true)
  await simulation.run()
  if (first.crashed) {
    crashes++
    life(false)
    await simulation.run()
  }
  const { drive } = await open(memoryStore(simulation.disk('bank')))
  return {
    crashes,
    from: drive.states(account).get('from'),
    to: drive.states(account).get('to'),
    left: drive.outbox('to').length,
    hash: simulation.traceHash(),
  }
}

describe('crashes', () => {
  it('S47: an outbox row is delivered exactly once, whatever write the process dies at', async () => {
    let crashes = 0
    for (let write = 1; write <= 24; write++)
      for (const when of ['before', 'after'] as const) {
        const end = await transfers(write, when, write)
        crashes += end.crashes
        expect([when, write, end.from, end.to, end.left]).toEqual([when, write, 900n, 100n, 0])
      }
    expect(crashes).toBeGreaterThan(20)
  })

  it('the same seed crashes and recovers in the same way', async () => {
    const runs = [await transfers(7, 'after', 5), await transfers(7, 'after', 5), await transfers(7, 'after', 6)]
    expect(runs[1]).toEqual(runs[0])
    expect(runs[2]?.hash).not.toBe(runs[0]?.hash)
  })

  it('no effect leaves before its state is durable', async () => {
    for (const when of ['before', 'after'] as const)
      for (let write = 1; write <= 6; write++) {
        const disk = new Disk()
        const store = crashStore({ disk })
        const { drive, released } = await open(store)
        store.crashAt({ write, when })
        for (let n = 0; n < 6 && !store.crashed; n++) await Promise.race([increment(drive), settle().then(settle)])
        const durable = (await open(crashStore({ disk }))).drive.states(counter).get('a')?.value ?? 0
        expect(durable).toBe(when === 'before' ? write - 1 : write)
        expect(released).toEqual(Array.from({ length: write - 1 }, (_, n) => `a=${n + 1}`))
      }
  })
})
