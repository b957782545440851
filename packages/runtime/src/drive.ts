/**
 * The drive: the only place that releases effects. Jobs that wait are taken as one group, run one after the other, and what they
 * changed is written in one durable batch; only then does any effect leave, in order, and any promise resolve.
 * A write that fails leaves the states as they were and holds everything back; the same rows are written again until the store takes
 * them. (The rows, not the jobs: a commit whose answer was lost may have happened, and writing it again changes nothing.)
 * A job, a kind or an effect that throws is a fault: nothing of its group leaves, and the drive stops for good.
 * States that rest (kind.ts) are in the store alone, under keys of their own that a start does not read. The commit that sets one moves
 * it there; a job that may need it asks for it by `wake`, and it is read inside of the group, when no write is under way.
 */
import { packRecord, unpackRecord } from '@leyden/codec'
import { decodeKey, key, keyRange } from './key.ts'
import type { Kind, KindRow, KindWrite } from './kind.ts'
import type { Machine } from './machine.ts'
import type { Cancel, Clock } from './ports.ts'
import { checkKey, type Row, type Store, StoreClosed, type Write } from './store/port.ts'

/** Jobs in one group: bounds the size of a batch and the wait of its first job. */
const MAX_GROUP = 1024
const FIRST_RETRY_MS = 50
const LONGEST_RETRY_MS = 5000

const OUTBOX = 'outbox'
const OUTBOX_NEXT = key('outbox-next')
/** Before the name of a kind in the keys of its instances that rest. */
const RESTING = 'resting'
/** Instances moved in one write, where a start finds that they rest. */
const MOVED_AT_ONCE = 1000

/** Names one row of the outbox. Never used twice in the life of a store. */
export type OutboxId = number

/** An effect that must survive a crash: it waits here until its receiver consumes it. `payload` is plain data. */
export type OutboxRow = { readonly id: OutboxId; readonly destination: string; readonly payload: unknown }

/** What a job sees and changes. Valid only while the job runs. */
export interface Batch<Effect> {
  /** The state after the jobs before this one. One that rests is seen if the job asked for it, and else may be missing. */
  get<State>(kind: Kind<State>, id: string): State | undefined
  /**
   * Undefined ends the instance and deletes its rows. Where states of the kind rest, a job that makes an instance must have asked for
   * it: else one that rests would be lost, and that is a fault.
   */
  set<State>(kind: Kind<State>, id: string, state: State | undefined): void
  /** All instances but those that rest, in no certain order; changes made while walking are not seen by the walk. */
  all<State>(kind: Kind<State>): IterableIterator<readonly [id: string, state: State]>
  /** An effect to release after the commit. */
  emit(effect: Effect): void
  /** A function to call after the commit, in order with the effects. */
  afterCommit(fn: () => void): void
  /** A row beside the kinds (index, log); undefined deletes. The first part of its key must not be the name of a kind. */
  put(rowKey: Uint8Array, value: Uint8Array | undefined): void
  /** Adds a row to a destination's outbox. */
  outbox(destination: string, payload: unknown): OutboxId
  /** Takes a row out; false when it is not there any more: then the receiver has had it, and must do nothing. */
  consume(id: OutboxId): boolean
}

/** A synchronous piece of work. It must touch nothing but its batch: what else it does is not undone by a crash. */
export type Job<Effect, T> = (batch: Batch<Effect>) => T

/** An instance that a job wants to see though it may rest. Made by {@link waking}. */
export interface Waking {
  readonly kind: Kind<never>
  readonly id: string
}
export const waking = <State>(kind: Kind<State>, id: string): Waking => ({ kind: kind as unknown as Kind<never>, id })

/** The drive no longer takes or finishes work: it was stopped, or a fault stopped it (the `cause`). */
export class DriveStopped extends Error {
  constructor(options?: ErrorOptions) {
    super(options === undefined ? 'the drive is stopped' : 'the drive was stopped by a fault', options)
    this.name = 'DriveStopped'
  }
}

export type DriveOptions<Effect> = {
  readonly store: Store
  readonly kinds: readonly Kind<unknown>[]
  readonly clock: Clock
  /** Sends one effect. Called only after the commit that holds it; it must not throw for what the network or a peer does. */
  readonly release: (effect: Effect) => void
  /** Runs once at the end of each group, inside it: what is better done once for many jobs (one commitment_signed for many HTLCs). */
  readonly settle?: (batch: Batch<Effect>) => void
  /** A bug or a damaged record. Called once; the drive has stopped. The process should end and be started again. */
  readonly onFault: (fault: unknown) => void
  /** A write failed for the `attempts`-th time in a row; it is tried again in `retryMs`. */
  readonly onStall?: (stall: { readonly error: unknown; readonly attempts: number; readonly retryMs: number }) => void
  /** The store takes writes again. */
  readonly onRecovered?: () => void
}

export interface Drive<Effect> {
  /** Reads every instance that does not rest, and the outbox. Once, before the first job. Rejects on a damaged record. */
  load(): Promise<void>
  /** The committed instances of a kind, but for those that rest. */
  states<State>(kind: Kind<State>): ReadonlyMap<string, State>
  /** A committed instance, whether it rests or not. Needs no commit: answers while the disk takes no writes. */
  stored<State>(kind: Kind<State>, id: string): Promise<State | undefined>
  /** The instances of a kind that rest, from the store; one that begins or ceases to rest meanwhile may be missing. */
  resting<State>(kind: Kind<State>): AsyncIterable<readonly [id: string, state: State]>
  /**
   * Queues a job; resolves with its result once that is durable and its effects are released. Rejects with {@link DriveStopped}.
   * `wake`: what it must see though it may rest.
   */
  submit<T>(job: Job<Effect, T>, wake?: readonly Waking[]): Promise<T>
  /** The committed rows that wait for a destination, oldest first. */
  outbox(destination: string): readonly OutboxRow[]
  /**
   * Makes `receive` the receiver of a destination inside this process: each row, present and future, is consumed in the same commit
   * as what `receive` does with it: exactly once, whatever crashes.
   */
  deliver(destination: string, receive: (batch: Batch<Effect>, row: OutboxRow) => void): void
  /** Whether the last write failed and is being tried again. */
  readonly stalled: boolean
  /** Finishes what waits, unless the store does not take it; then closes nothing but itself. */
  stop(): Promise<void>
}

/** Steps one instance inside a job and stores its next state. The effects are the caller's to route. Undefined: no such instance. */
export const step = <State, Input, Effect, Env>(
  batch: Batch<never>,
  kind: Kind<State>,
  machine: Machine<State, Input, Effect, Env>,
  id: string,
  input: Input,
  env: Env,
): readonly Effect[] | undefined => {
  const state = batch.get(kind, id)
  if (state === undefined) return undefined
  const next = machine.step(state, input, env)
  if (next.state !== state) batch.set(kind, id, next.state)
  return next.effects
}

type Queued<Effect> = {
  readonly wake: readonly Waking[]
  readonly job: Job<Effect, unknown>
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/** What a group of jobs has changed so far. */
class Overlay<Effect> {
  readonly changed = new Map<string, Map<string, unknown>>()
  /** What was asked for and was not in memory, as the store has it; undefined: it rests not, and is nowhere. */
  readonly woken: ReadonlyMap<string, ReadonlyMap<string, unknown>>
  readonly rows = new Map<string, Write>()
  readonly released: (() => void)[] = []
  readonly added = new Map<OutboxId, OutboxRow>()
  readonly consumed = new Map<OutboxId, OutboxRow>()
  readonly release: (effect: Effect) => void
  nextId: OutboxId
  constructor(release: (effect: Effect) => void, nextId: OutboxId, woken: ReadonlyMap<string, ReadonlyMap<string, unknown>>) {
    this.release = release
    this.woken = woken
    this.nextId = nextId
  }
}

const rowName = (rowKey: Uint8Array): string => String.fromCharCode(...rowKey)
const outboxKey = (row: { readonly destination: string; readonly id: OutboxId }): Uint8Array =>
  key(OUTBOX, row.destination, row.id)

const isThenable = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'

export const createDrive = <Effect>(options: DriveOptions<Effect>): Drive<Effect> => {
  const { store, clock } = options
  const kinds = new Map<string, Kind<unknown>>()
  const states = new Map<string, Map<string, unknown>>()
  for (const kind of options.kinds) {
    if (kinds.has(kind.name) || [OUTBOX, 'outbox-next', RESTING].includes(kind.name))
      throw new Error(`the name ${kind.name} is taken`)
    kinds.set(kind.name, kind)
    states.set(kind.name, new Map())
  }
  const outbox = new Map<OutboxId, OutboxRow>()
  let nextId: OutboxId = 0

  let phase: 'new' | 'loading' | 'ready' | 'stopping' | 'stopped' = 'new'
  let fault: unknown
  let queue: Queued<Effect>[] = []
  let running: Promise<void> | undefined
  /** The group whose rows are being written, and how many were. */
  let writing: Overlay<Effect> | undefined
  let applied = 0
  let attempts = 0
  let endWait: (() => void) | undefined
  const receivers = new Map<string, (batch: Batch<Effect>, row: OutboxRow) => void>()

  const stateMap = <State>(kind: Kind<State>): Map<string, State> => {
    const map = states.get(kind.name)
    if (map === undefined || kinds.get(kind.name) !== (kind as Kind<unknown>))
      throw new Error(`no kind ${kind.name} in this drive`)
    return map as Map<string, State>
  }

  const openBatch = (overlay: Overlay<Effect>): { batch: Batch<Effect>; close: () => void } => {
    let open = true
    const check = (): void => {
      if (!open) throw new Error('a batch was used after its job had ended')
    }
    const batch: Batch<Effect> = {
      get<State>(kind: Kind<State>, id: string) {
        check()
        const committed = stateMap(kind)
        const changed = overlay.changed.get(kind.name)
        if (changed?.has(id) === true) return changed.get(id) as State | undefined
        return committed.get(id) ?? (overlay.woken.get(kind.name)?.get(id) as State | undefined)
      },
      set(kind, id, state) {
        check()
        const committed = stateMap(kind)
        let changed = overlay.changed.get(kind.name)
        const isKnown = committed.has(id) || changed?.has(id) === true || overlay.woken.get(kind.name)?.has(id) === true
        if (kind.rests !== undefined && !isKnown)
          throw new Error(`${kind.name} ${id} was set by a job that had not asked whether it rests`)
        if (changed === undefined) overlay.changed.set(kind.name, (changed = new Map()))
        changed.set(id, state)
      },
      *all<State>(kind: Kind<State>): IterableIterator<readonly [string, State]> {
        check()
        const changed = new Map(overlay.changed.get(kind.name) as Map<string, State | undefined> | undefined)
        for (const [id, state] of stateMap(kind)) if (!changed.has(id)) yield [id, state]
        for (const [id, state] of changed) if (state !== undefined) yield [id, state]
      },
      emit(effect) {
        check()
        overlay.released.push(() => overlay.release(effect))
      },
      afterCommit(fn) {
        check()
        overlay.released.push(fn)
      },
      put(rowKey, value) {
        check()
        checkKey(rowKey)
        overlay.rows.set(rowName(rowKey), { key: rowKey, value })
      },
      outbox(destination, payload) {
        check()
        const row: OutboxRow = { id: overlay.nextId++, destination, payload }
        overlay.added.set(row.id, row)
        return row.id
      },
      consume(id) {
        check()
        if (overlay.added.delete(id)) return true
        const row = outbox.get(id)
        if (row === undefined || overlay.consumed.has(id)) return false
        overlay.consumed.set(id, row)
        return true
      },
    }
    return {
      batch,
      close: () => {
        open = false
      },
    }
  }

  const isResting = (kind: Kind<unknown>, state: unknown): boolean => state !== undefined && kind.rests?.(state) === true
  const changes = (kind: Kind<unknown>, before: unknown, after: unknown): readonly KindWrite[] =>
    before === after ? [] : kind.diff(before, after)

  /** The rows that make the group durable. */
  const rowsOf = (overlay: Overlay<Effect>): Write[] => {
    const rows: Write[] = []
    for (const [name, changed] of overlay.changed) {
      const kind = kinds.get(name) as Kind<unknown>
      const committed = states.get(name) as Map<string, unknown>
      for (const [id, after] of changed) {
        const rests = isResting(kind, after)
        // one of the two at the most: where it is before this group, and where it is afterwards
        const [before, slept] = [committed.get(id), overlay.woken.get(name)?.get(id)]
        for (const { suffix, value } of changes(kind, before, rests ? undefined : after))
          rows.push({ key: key(name, id, suffix), value })
        for (const { suffix, value } of changes(kind, slept, rests ? after : undefined))
          rows.push({ key: key(RESTING, name, id, suffix), value })
      }
    }
    rows.push(...overlay.rows.values())
    for (const row of overlay.consumed.values()) rows.push({ key: outboxKey(row), value: undefined })
    for (const row of overlay.added.values()) rows.push({ key: outboxKey(row), value: packRecord(row.payload) })
    if (overlay.nextId !== nextId) rows.push({ key: OUTBOX_NEXT, value: packRecord(overlay.nextId) })
    return rows
  }

  const apply = (overlay: Overlay<Effect>): void => {
    for (const [name, changed] of overlay.changed) {
      const kind = kinds.get(name) as Kind<unknown>
      const committed = states.get(name) as Map<string, unknown>
      for (const [id, after] of changed)
        if (after === undefined || isResting(kind, after)) committed.delete(id)
        else committed.set(id, after)
    }
    writing = undefined
    applied++
    for (const id of overlay.consumed.keys()) outbox.delete(id)
    for (const [id, row] of overlay.added) outbox.set(id, row)
    nextId = overlay.nextId
  }

  const wait = (delayMs: number): Promise<void> =>
    new Promise((resolve) => {
      const cancel: Cancel = clock.setTimer(delayMs, resolve)
      endWait = () => {
        cancel()
        resolve()
      }
    })

  /** Writes until the store takes it. False: the drive is being stopped and the store still refuses. */
  const writeDurably = async (rows: readonly Write[]): Promise<boolean> => {
    for (;;) {
      try {
        await store.write(rows)
        if (attempts > 0) {
          attempts = 0
          options.onRecovered?.()
        }
        return true
      } catch (error) {
        if (error instanceof RangeError || error instanceof StoreClosed) throw error // our bug: trying again cannot help
        if (phase !== 'ready') return false
        attempts++
        const retryMs = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (attempts - 1))
        options.onStall?.({ error, attempts, retryMs })
        await wait(retryMs)
      }
    }
  }

  const runGroup = async (group: readonly Queued<Effect>[]): Promise<void> => {
    const overlay = new Overlay(options.release, nextId, await readWoken(group))
    const results: unknown[] = []
    for (const { job } of group) {
      const { batch, close } = openBatch(overlay)
      try {
        const result = job(batch)
        if (isThenable(result)) throw new Error('a job must be synchronous, this one gave a promise')
        results.push(result)
      } finally {
        close()
      }
    }
    if (options.settle !== undefined) {
      const { batch, close } = openBatch(overlay)
      options.settle(batch)
      close()
    }
    const rows = rowsOf(overlay)
    writing = overlay
    if (rows.length > 0 && !(await writeDurably(rows))) {
      for (const { reject } of group) reject(new DriveStopped())
      return
    }
    apply(overlay)
    for (const release of overlay.released) release()
    for (const [index, { resolve }] of group.entries()) resolve(results[index])
    for (const row of overlay.added.values()) offer(row)
  }

  const rejectAll = (jobs: readonly Queued<Effect>[]): void => {
    for (const { reject } of jobs) reject(new DriveStopped(fault === undefined ? undefined : { cause: fault }))
  }

  const run = async (): Promise<void> => {
    await Promise.resolve() // what is submitted in this turn makes one group
    while (queue.length > 0) {
      const group = queue.slice(0, MAX_GROUP)
      queue = queue.slice(MAX_GROUP)
      try {
        await runGroup(group)
      } catch (error) {
        phase = 'stopped'
        fault = error
        rejectAll(group)
        rejectAll(queue)
        queue = []
        options.onFault(error)
      }
      if (phase === 'stopping' && attempts > 0) {
        rejectAll(queue)
        queue = []
      }
    }
    running = undefined
  }

  const enqueue = <T>(job: Job<Effect, T>, wake: readonly Waking[] = []): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      queue.push({ wake, job, resolve: resolve as (value: unknown) => void, reject })
      running ??= run()
    })

  const offer = (row: OutboxRow): void => {
    const receive = receivers.get(row.destination)
    if (receive === undefined || phase !== 'ready') return
    enqueue((batch) => {
      if (batch.consume(row.id)) receive(batch, row)
    }).catch(() => undefined) // stopped: the row waits for the next start
  }

  /** The instances whose rows stand under `prefix`. */
  const instances = async function* <State>(
    kind: Kind<State>,
    prefix: readonly string[],
    only?: string,
  ): AsyncGenerator<readonly [id: string, state: State, rows: readonly KindRow[]]> {
    let id: string | undefined
    let rows: KindRow[] = []
    for await (const [rowKey, value] of store.range(keyRange(...prefix, ...(only === undefined ? [] : [only])))) {
      const [owner, suffix, ...more] = decodeKey(rowKey).slice(prefix.length)
      if (typeof owner !== 'string' || typeof suffix !== 'string' || more.length > 0)
        throw new Error(`a foreign row among those of ${kind.name}`)
      if (owner !== id) {
        if (id !== undefined) yield [id, kind.load(id, rows), rows]
        id = owner
        rows = []
      }
      rows.push([suffix, value])
    }
    if (id !== undefined) yield [id, kind.load(id, rows), rows]
  }

  const readResting = async <State>(kind: Kind<State>, id: string): Promise<State | undefined> => {
    for await (const [, state] of instances(kind, [RESTING, kind.name], id)) return state
    return undefined
  }

  /** What the jobs of a group ask for. Between groups nothing is being written: what is read here is as of the commit before. */
  const readWoken = async (group: readonly Queued<Effect>[]): Promise<ReadonlyMap<string, ReadonlyMap<string, unknown>>> => {
    const woken = new Map<string, Map<string, unknown>>()
    for (const { wake } of group)
      for (const { kind, id } of wake) {
        let read = woken.get(kind.name)
        if (read === undefined) woken.set(kind.name, (read = new Map()))
        if (stateMap(kind).has(id) || read.has(id)) continue
        read.set(id, await readResting(kind as unknown as Kind<unknown>, id))
      }
    return woken
  }

  const loadKind = async (kind: Kind<unknown>): Promise<void> => {
    const map = states.get(kind.name) as Map<string, unknown>
    let moves: Write[] = []
    let moved = 0
    for await (const [id, state, rows] of instances(kind, [kind.name])) {
      if (!isResting(kind, state)) {
        map.set(id, state)
        continue
      }
      // written when its kind had no states that rest
      for (const [suffix] of rows) moves.push({ key: key(kind.name, id, suffix), value: undefined })
      for (const { suffix, value } of kind.diff(undefined, state)) moves.push({ key: key(RESTING, kind.name, id, suffix), value })
      if (++moved % MOVED_AT_ONCE !== 0) continue
      await store.write(moves)
      moves = []
    }
    if (moves.length > 0) await store.write(moves)
  }

  const loadOutbox = async (): Promise<void> => {
    const found: OutboxRow[] = []
    const readRow = ([rowKey, value]: Row): OutboxRow => {
      const [, destination, id] = decodeKey(rowKey)
      if (typeof destination !== 'string' || typeof id !== 'number') throw new Error('a foreign row in the outbox')
      return { id, destination, payload: unpackRecord(value) }
    }
    for await (const row of store.range(keyRange(OUTBOX))) found.push(readRow(row))
    for (const row of found.toSorted((a, b) => a.id - b.id)) outbox.set(row.id, row)
    const next = await store.get(OUTBOX_NEXT)
    if (next === undefined) return
    const id = unpackRecord(next)
    if (typeof id !== 'number' || !Number.isSafeInteger(id)) throw new Error('the number of the next outbox row is damaged')
    nextId = id
  }

  return {
    async load() {
      if (phase !== 'new') throw new Error('a drive is loaded once')
      phase = 'loading'
      for (const kind of kinds.values()) await loadKind(kind)
      await loadOutbox()
      phase = 'ready'
      for (const row of outbox.values()) offer(row)
    },
    states: (kind) => stateMap(kind),
    async stored<State>(kind: Kind<State>, id: string) {
      const committed = stateMap(kind)
      // while a group is written that wakes it, the store may have it here or there
      const inMemory = (): State | undefined => committed.get(id) ?? (writing?.woken.get(kind.name)?.get(id) as State | undefined)
      for (;;) {
        const before = inMemory()
        if (before !== undefined) return before
        const groups = applied
        const found = await readResting(kind, id)
        if (found !== undefined || (applied === groups && inMemory() === undefined)) return found
      }
    },
    async *resting(kind) {
      stateMap(kind)
      for await (const [id, state] of instances(kind, [RESTING, kind.name])) yield [id, state] as const
    },
    submit(job, wake) {
      if (phase === 'ready') return enqueue(job, wake)
      if (phase === 'new' || phase === 'loading') return Promise.reject(new Error('the drive is not loaded'))
      return Promise.reject(new DriveStopped(fault === undefined ? undefined : { cause: fault }))
    },
    outbox: (destination) => [...outbox.values()].filter((row) => row.destination === destination),
    deliver(destination, receive) {
      if (receivers.has(destination)) throw new Error(`${destination} has a receiver`)
      receivers.set(destination, receive)
      for (const row of outbox.values()) if (row.destination === destination) offer(row)
    },
    get stalled() {
      return attempts > 0
    },
    async stop() {
      if (phase === 'ready') phase = 'stopping'
      endWait?.()
      await running
      phase = 'stopped'
    },
  }
}
