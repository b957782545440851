/// <reference types="node" />
/**
 * The store on disk: LMDB, one database in one directory, every commit synced before it is reported.
 * The only file of this package that touches the machine. Writes go through one queue: what waits is committed as one transaction.
 * A data directory belongs to one process, held by the file `leyden.lock` in it. LMDB itself would let a second one in.
 * A write that fails inside LMDB (3.5.6) can damage the memory of the process. So it is not asked to write on a disk that is nearly full,
 * and after a failure it is not asked again: a restart finds everything that was committed.
 */
import { linkSync, mkdirSync, readFileSync, renameSync, statfsSync, unlinkSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { open, type Transaction } from 'lmdb'
import { checkKey, type RangeOptions, type Row, type Snapshot, type Store, StoreClosed, type Write } from './port.ts'
import { walkPages } from './range.ts'

/** The data directory is held by a process that runs, or that cannot be seen from here. */
export class StoreInUse extends Error {
  constructor(detail: string) {
    super(detail)
    this.name = 'StoreInUse'
  }
}

/** Free space that the disk must have for a write to be tried; more than a write of LARGE_ROWS takes. */
const LEAST_FREE_BYTES = 64 * 1024 * 1024

/** A write of more rows needs room of its own besides. */
const LARGE_ROWS = 1000
const PAGE_BYTES = 4096

/** What a write may take of the disk: LMDB copies each page that it touches, and every row may be on another one. */
const roomFor = (group: readonly Waiting[]): number => {
  let rows = 0
  let bytes = 0
  for (const { batch } of group) {
    rows += batch.length
    for (const { key, value } of batch) bytes += key.length + (value?.length ?? 0)
  }
  return rows > LARGE_ROWS ? bytes + rows * PAGE_BYTES : 0
}

const freeBytesOf = (directory: string): number => {
  const { bavail, bsize } = statfsSync(directory)
  return bavail * bsize
}

export type LmdbOptions = {
  readonly path: string
  /** Below it writes are refused, and taken again when there is room. 64 MiB by default. */
  readonly leastFreeBytes?: number
  /** What the disk of a directory has left; what the system says by default. */
  readonly freeBytes?: (directory: string) => number
}

/** Rows in one LMDB transaction; a single larger batch still goes in one. */
const MAX_GROUP = 20_000

const LOCK_NAME = 'leyden.lock'
const heldHere = new Set<string>()

type Holder = { readonly pid: number; readonly host: string; readonly started: string }

/** When a process started, in the terms of the running kernel; empty where the system does not say. Tells a pid used twice apart. */
const startOf = (pid: number): string => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}/${ticks}`
  } catch {
    return ''
  }
}

const codeOf = (error: unknown): unknown => (error instanceof Error && 'code' in error ? error.code : undefined)

/** A process that has ended but was not fetched by its parent is gone, though a signal still finds it. Only Linux says so. */
const isZombie = (pid: number): boolean => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return /^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))
  } catch {
    return false
  }
}

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return !isZombie(pid)
  } catch (error) {
    return codeOf(error) === 'EPERM'
  }
}

const readHolder = (text: string): Holder | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return undefined
    const { pid, host, started } = value as Partial<Holder>
    return Number.isSafeInteger(pid) && typeof host === 'string' && typeof started === 'string'
      ? { pid: pid as number, host, started }
      : undefined
  } catch {
    return undefined
  }
}

/** Why a lock must be respected; undefined when its holder is certainly gone. */
const claimOf = (file: string, text: string): string | undefined => {
  const holder = readHolder(text)
  if (holder === undefined) return `${file} is not readable as a lock. If no other process uses this directory, delete the file`
  if (holder.host !== hostname())
    return `the directory is held by process ${holder.pid} on ${holder.host}. If that process is gone for certain, delete ${file}`
  if (holder.pid === process.pid) return undefined
  if (!isRunning(holder.pid)) return undefined
  const started = startOf(holder.pid)
  if (started !== '' && holder.started !== '' && started !== holder.started) return undefined
  return `the directory is in use by process ${holder.pid}. Stop it first; two programs on one directory would lose money`
}

/** Takes the lock of a directory or throws {@link StoreInUse}. Returns the release. */
const lock = (directory: string): (() => void) => {
  const file = join(directory, LOCK_NAME)
  if (heldHere.has(directory)) throw new StoreInUse(`${directory} is already open in this process`)
  const own = join(directory, `${LOCK_NAME}.${process.pid}`)
  const holder: Holder = { pid: process.pid, host: hostname(), started: startOf(process.pid) }
  writeFileSync(own, JSON.stringify(holder))
  try {
    for (let attempt = 0; ; attempt++) {
      try {
        linkSync(own, file) // whole or not at all, and never over another
        break
      } catch (error) {
        if (codeOf(error) !== 'EEXIST' || attempt === 3) throw error
      }
      let text: string
      try {
        text = readFileSync(file, 'utf8')
      } catch (error) {
        if (codeOf(error) === 'ENOENT') continue
        throw error
      }
      const claim = claimOf(file, text)
      if (claim !== undefined) throw new StoreInUse(claim)
      removeStale(file, text)
    }
  } finally {
    unlinkSync(own)
  }
  heldHere.add(directory)
  return () => {
    heldHere.delete(directory)
    try {
      unlinkSync(file)
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error
    }
  }
}

/** Takes away a lock whose holder is gone, unless another process has already put its own in the place. */
const removeStale = (file: string, text: string): void => {
  const aside = `${file}.${process.pid}.stale`
  try {
    renameSync(file, aside)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return
    throw error
  }
  if (readFileSync(aside, 'utf8') !== text) linkSync(aside, file)
  unlinkSync(aside)
}

const plain = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
const toBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)

/** Digs out what LMDB says of a failed commit: it hides the reason behind a second promise. */
const commitFailure = async (error: unknown): Promise<Error> => {
  const hidden: unknown = error instanceof Error && 'commitError' in error ? error.commitError : undefined
  if (!(hidden instanceof Promise)) return error instanceof Error ? error : new Error(String(error))
  const reason: unknown = await Promise.race([
    hidden.catch((cause: unknown) => cause),
    new Promise((done) => {
      setImmediate(done)
    }),
  ])
  return new Error(`write failed: ${reason instanceof Error ? reason.message : 'the commit was refused'}`, {
    cause: reason ?? error,
  })
}

const ignore = (): void => undefined

type Waiting = { readonly batch: readonly Write[]; readonly done: () => void; readonly failed: (error: unknown) => void }

/**
 * Opens (or makes) the store in the directory `path`. Throws {@link StoreInUse} when another process has it, and what the system says
 * when the directory cannot be used.
 */
export const lmdbStore = (options: LmdbOptions): Store => {
  const { leastFreeBytes = LEAST_FREE_BYTES, freeBytes = freeBytesOf } = options
  const directory = resolve(options.path)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const unlock = lock(directory)
  const database = (() => {
    try {
      return open<Buffer, Buffer>(join(directory, 'leyden.mdb'), {
        encoding: 'binary',
        keyEncoding: 'binary',
        // A commit is reported when it is synced, not when it is only visible.
        overlappingSync: false,
        noSync: false,
        noMetaSync: false,
        cache: false,
        // It would begin each turn's transaction with a promise that nobody holds: a full disk would then end the process.
        eventTurnBatching: false,
      })
    } catch (error) {
      unlock()
      throw error
    }
  })()

  let closing: Promise<void> | undefined
  let waiting: Waiting[] = []
  let flushing: Promise<void> | undefined

  const ask = async <T>(answer: () => T): Promise<T> => {
    if (closing !== undefined) throw new StoreClosed()
    return answer()
  }
  const read = (key: Uint8Array): Uint8Array | undefined => {
    const found = database.getBinary(toBuffer(key))
    return found === undefined ? undefined : plain(found)
  }
  const readPage = (range: RangeOptions, limit: number, transaction?: Transaction): readonly Row[] => {
    // LMDB's reverse walk takes in its start and leaves out its end: the other way round than ours.
    const reverse = range.reverse === true
    const [low, high] = [toBuffer(range.gte), toBuffer(range.lt)]
    if (limit === 0 || Buffer.compare(low, high) >= 0) return []
    const rows: Row[] = []
    const of = transaction === undefined ? {} : { transaction }
    for (const { key, value } of database.getRange(
      reverse ? { start: high, end: low, reverse, ...of } : { start: low, end: high, ...of },
    )) {
      if (reverse && key.equals(high)) continue
      rows.push([plain(key), plain(value)]) // copies already, as those of getBinary
      if (rows.length === limit) return rows
    }
    const lowest = reverse ? database.get(low, of) : undefined
    if (lowest !== undefined) rows.push([range.gte.slice(), plain(lowest)])
    return rows
  }

  const snapshots = new Set<Snapshot>()
  const takeSnapshot = (): Snapshot => {
    const transaction = database.useReadTransaction()
    const page = (range: RangeOptions, limit: number): Promise<readonly Row[]> =>
      ask(() => {
        if (!snapshots.has(snapshot)) throw new StoreClosed()
        return readPage(range, limit, transaction)
      })
    const snapshot: Snapshot = {
      range: (range) => walkPages(range, page),
      close: () => {
        if (snapshots.delete(snapshot)) transaction.done()
      },
    }
    snapshots.add(snapshot)
    return snapshot
  }

  let broken: Error | undefined
  const commit = async (group: readonly Waiting[]): Promise<void> => {
    const refuse = (reason: Error): void => {
      for (const { failed } of group) failed(reason)
    }
    if (broken !== undefined) return refuse(broken)
    const free = freeBytes(directory)
    const needed = leastFreeBytes + roomFor(group)
    if (free < needed)
      return refuse(new Error(`no space: ${free} bytes are free on the disk of ${directory}, ${needed} must be: make room`))
    try {
      let row: Promise<boolean> | undefined
      const ok = await database.batch(() => {
        for (const { batch } of group)
          for (const { key, value } of batch) {
            const before = row
            row = value === undefined ? database.remove(toBuffer(key)) : database.put(toBuffer(key), toBuffer(value))
            if (row !== before) row.catch(ignore) // the batch's own promise reports the failure
          }
      })
      if (!ok) throw new Error('the commit was refused')
    } catch (error) {
      const failure = await commitFailure(error)
      broken = new Error(`${failure.message}. Nothing more is written until the program is started again`, { cause: failure })
      return refuse(broken)
    }
    for (const { done } of group) done()
  }
  const flush = async (): Promise<void> => {
    while (waiting.length > 0) {
      let rows = 0
      let count = 0
      while (count < waiting.length && (count === 0 || rows < MAX_GROUP)) rows += waiting[count++]?.batch.length ?? 0
      const group = waiting.slice(0, count)
      waiting = waiting.slice(count)
      await commit(group)
    }
    flushing = undefined
  }

  return {
    get: (key) => ask(() => read(key)),
    getMany: (keys) => ask(() => keys.map(read)),
    range: (range) => walkPages(range, (rest, limit) => ask(() => readPage(rest, limit))),
    snapshot: () => ask(takeSnapshot),
    write(batch) {
      if (closing !== undefined) return Promise.reject(new StoreClosed())
      for (const { key } of batch)
        try {
          checkKey(key)
        } catch (error) {
          return Promise.reject(error as RangeError)
        }
      if (batch.length === 0) return Promise.resolve()
      return new Promise<void>((done, failed) => {
        waiting.push({ batch, done, failed })
        // A turn later, so that everything written in this one shares the commit.
        flushing ??= Promise.resolve().then(flush)
      })
    },
    close() {
      closing ??= (async () => {
        await flushing
        for (const snapshot of snapshots) snapshot.close()
        await database.close()
        unlock()
      })()
      return closing
    },
  }
}
