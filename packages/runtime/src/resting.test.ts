/** Instances whose states rest: out of memory, in the store, and never lost on the way. */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createDrive, type Drive, DriveStopped, waking } from './drive.ts'
import { key, keyRange } from './key.ts'
import { type Kind, recordKind } from './kind.ts'
import { crashStore, type CrashStore } from './sim/crash-store.ts'
import { Disk } from './store/memory.ts'

interface Task {
  readonly value: number
  readonly done: boolean
}
const rests = ({ done }: Task): boolean => done
const task = recordKind<Task>('task', 1, { rests })

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const open = async (store: CrashStore, kind: Kind<Task> = task) => {
  const timers: (() => void)[] = []
  const faults: unknown[] = []
  const drive = createDrive<never>({
    store,
    kinds: [kind as unknown as Kind<unknown>],
    clock: { now: () => 0, setTimer: (_, fn) => (timers.push(fn), () => undefined) },
    release: () => undefined,
    onFault: (fault) => faults.push(fault),
  })
  await drive.load()
  return { drive, faults, fire: () => timers.shift()?.() }
}

const put = (drive: Drive<never>, id: string, state: Task | undefined): Promise<Task | undefined> =>
  drive.submit(
    (batch) => {
      const before = batch.get(task, id)
      batch.set(task, id, state)
      return before
    },
    [waking(task, id)],
  )
const sleepers = async (drive: Drive<never>): Promise<Map<string, Task>> => {
  const found = new Map<string, Task>()
  for await (const [id, state] of drive.resting(task)) found.set(id, state)
  return found
}
const rowsAt = (disk: Disk, ...parts: string[]): number => disk.page(keyRange(...parts), 99).length

const live = (value: number): Task => ({ value, done: false })
const done = (value: number): Task => ({ value, done: true })

describe('an instance that rests', () => {
  it('leaves memory with the commit, stays in the store, and a start does not read it', async () => {
    const disk = new Disk()
    const { drive } = await open(crashStore({ disk }))
    await put(drive, 'a', live(1))
    await put(drive, 'b', live(2))
    await put(drive, 'a', done(3))
    expect([...drive.states(task)]).toEqual([['b', live(2)]])
    expect([rowsAt(disk, 'task'), rowsAt(disk, 'resting', 'task')]).toEqual([1, 1])
    const again = await open(crashStore({ disk }))
    for (const one of [drive, again.drive]) {
      expect([...one.states(task).keys()]).toEqual(['b'])
      expect([await one.stored(task, 'a'), await one.stored(task, 'b'), await one.stored(task, 'c')]).toEqual([
        done(3),
        live(2),
        undefined,
      ])
      expect(await sleepers(one)).toEqual(new Map([['a', done(3)]]))
    }
    disk.apply([{ key: key('resting', 'task', 'damaged', ''), value: Uint8Array.of(0xc1) }])
    const third = await open(crashStore({ disk }))
    await expect(third.drive.stored(task, 'damaged')).rejects.toThrow('record')
  })

  it('is seen by a job that asks for it, may be woken, and is then in one place only', async () => {
    const disk = new Disk()
    const { drive } = await open(crashStore({ disk }))
    await put(drive, 'a', done(1))
    expect(await drive.submit((batch) => [batch.get(task, 'a'), [...batch.all(task)]])).toEqual([undefined, []])
    expect(await put(drive, 'a', live(2))).toEqual(done(1))
    expect([rowsAt(disk, 'task'), rowsAt(disk, 'resting'), drive.states(task).get('a')]).toEqual([1, 0, live(2)])
    await put(drive, 'a', done(3))
    await put(drive, 'a', done(4))
    expect([rowsAt(disk, 'task'), await drive.stored(task, 'a')]).toEqual([0, done(4)])
    await put(drive, 'a', undefined)
    expect([disk.size, await drive.stored(task, 'a')]).toEqual([0, undefined])
  })

  it('is seen as it was left by the group before, and by the jobs of its own group', async () => {
    const applies: (() => void)[] = []
    const { drive } = await open(crashStore({ delay: (apply) => applies.push(apply) }))
    const first = put(drive, 'a', live(1))
    await tick()
    const ends = drive.submit((batch) => batch.set(task, 'a', done(2)))
    const after = drive.submit((batch) => batch.get(task, 'a'))
    applies.shift()?.()
    await first
    await tick()
    const later = put(drive, 'a', live(3)) // waits for the commit in which it comes to rest
    await tick()
    applies.shift()?.()
    expect([await ends, await after]).toEqual([undefined, done(2)])
    await tick()
    applies.shift()?.()
    expect(await later).toEqual(done(2))
  })

  it('is always found by who reads it, also while it is being woken or laid to rest', async () => {
    const inner = crashStore()
    let tell = (): void => {}
    let reading: (() => void) | undefined
    const store: CrashStore = {
      ...inner,
      // on the disk some time before the drive is told
      async write(rows) {
        await inner.write(rows)
        await new Promise<void>((resolve) => (tell = resolve))
      },
      async *range(range) {
        const rows = []
        for await (const row of inner.range(range)) rows.push(row)
        if (reading !== undefined) await new Promise<void>((resolve) => (reading = resolve)) // what it answers is of then
        yield* rows
      },
    }
    const { drive } = await open(store)
    let before: Task | undefined
    for (const state of [live(1), done(2), live(3), done(4), done(5)]) {
      const written = put(drive, 'a', state)
      await tick()
      expect(await drive.stored(task, 'a')).toEqual(before)
      tell()
      await written
      expect(await drive.stored(task, 'a')).toEqual(state)
      before = state
    }
    const miss = key('resting', 'task', 'b', '')
    expect(await inner.get(miss)).toBeUndefined()
    // it is read as missing, and made and told before the answer is there
    reading = () => undefined
    const read = drive.stored(task, 'b')
    await tick()
    const answer = reading
    reading = undefined
    const made = put(drive, 'b', done(6))
    await tick()
    tell()
    await made
    answer()
    expect(await read).toEqual(done(6))
  })

  it('cannot be overwritten by a job that did not ask: a fault, and nothing is written', async () => {
    const disk = new Disk()
    const { drive, faults } = await open(crashStore({ disk }))
    await put(drive, 'a', done(1))
    const copy = disk.copy()
    await expect(drive.submit((batch) => batch.set(task, 'a', live(2)))).rejects.toBeInstanceOf(DriveStopped)
    expect(String(faults[0])).toContain('had not asked')
    expect(disk).toEqual(copy)
  })

  it('is moved by a start that finds it among the live ones, as its kind had none that rest', async () => {
    const disk = new Disk()
    const before = recordKind<Task>('task', 1)
    const old = await open(crashStore({ disk }), before)
    await old.drive.submit((batch) => {
      for (let n = 0; n < 2500; n++) batch.set(before, `${n}`, n % 5 === 0 ? live(n) : done(n))
    })
    for (const write of [1, 2, 99]) {
      const store = crashStore({ disk })
      store.crashAt({ write, when: 'after' })
      await Promise.race([open(store), tick().then(tick)])
      const { drive } = await open(crashStore({ disk: disk.copy() }))
      expect([drive.states(task).size, (await sleepers(drive)).size]).toEqual([500, 2000])
      expect(await drive.stored(task, '7')).toEqual(done(7))
    }
  })
})

describe('whatever happens', () => {
  const id = fc.constantFrom('a', 'b', 'c')
  const state = fc.option(fc.record({ value: fc.nat(99), done: fc.boolean() }), { nil: undefined })
  /** Jobs of one group; `reads` are asked for and returned. */
  const group = fc.array(fc.record({ id, state, reads: fc.array(id) }), { minLength: 1, maxLength: 4 })
  const step = fc.record({
    group,
    fate: fc.constantFrom('written', 'written', 'refused', 'crashBefore', 'crashAfter', 'restart'),
  })

  it('the drive and the store hold what a plain map holds', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const disk = new Disk()
        let store = crashStore({ disk })
        let { drive, fire, faults } = await open(store)
        let model = new Map<string, Task>()
        let when: 'before' | 'after' | undefined
        const check = async (): Promise<void> => {
          for (const one of ['a', 'b', 'c']) expect(await drive.stored(task, one)).toEqual(model.get(one))
          expect(new Map(drive.states(task))).toEqual(new Map([...model].filter(([, { done }]) => !done)))
          expect(await sleepers(drive)).toEqual(new Map([...model].filter(([, { done }]) => done)))
          expect(disk.size).toBe(model.size)
        }
        for (const { group, fate } of steps) {
          const next = new Map(model)
          const expected = group.map((job) => {
            const seen = job.reads.map((one) => next.get(one))
            if (job.state === undefined) next.delete(job.id)
            else next.set(job.id, job.state)
            return seen
          })
          if (fate === 'refused') store.failWrites(2)
          if (fate === 'crashBefore' || fate === 'crashAfter') {
            when = fate === 'crashBefore' ? 'before' : 'after' // at the next write, which a later group may make
            store.crashAt({ write: store.writes + 1, when })
          }
          const results = Promise.all(
            group.map((job) =>
              drive.submit(
                (batch) => {
                  const seen = job.reads.map((one) => batch.get(task, one))
                  batch.set(task, job.id, job.state)
                  return seen
                },
                [job.id, ...job.reads].map((one) => waking(task, one)),
              ),
            ),
          )
          await tick()
          while (drive.stalled) {
            await check()
            fire()
            await tick()
          }
          expect(store.crashed ? expected : await results).toEqual(expected)
          if (!store.crashed || when === 'after') model = next
          if (store.crashed || fate === 'restart') ({ drive, fire, faults } = await open((store = crashStore({ disk }))))
          await check()
          expect(faults).toEqual([])
        }
      }),
      { numRuns: 150 },
    )
  })
})
