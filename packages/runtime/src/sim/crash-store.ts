/**
 * A memory store that fails and crashes on command. The disk under it is what a restart sees.
 * A crash before a write leaves nothing of it on the disk; a crash after one leaves all of it there, but nobody was told.
 */
import { Disk, memoryStore } from '../store/memory.ts'
import { type Store, StoreClosed, type Write } from '../store/port.ts'

export type CrashPoint = { readonly write: number; readonly when: 'before' | 'after' }

export interface CrashStore extends Store {
  /** Writes begun so far; the first is write 1. */
  readonly writes: number
  readonly crashed: boolean
  /** Crashes at write number `write` of this store, just before or just after it reaches the disk. */
  crashAt(point: CrashPoint): void
  /** From now on no operation ever settles. */
  crash(): void
  /** The next `count` writes reject, as on a full disk; nothing of them is stored. */
  failWrites(count: number): void
}

export type CrashStoreOptions = {
  readonly disk?: Disk
  /** Runs `apply` some time later, in the order of the calls: how long a write takes. At once by default. */
  readonly delay?: (apply: () => void) => void
  readonly onCrash?: () => void
}

const never = <T>(): Promise<T> => new Promise<T>(() => undefined)

export const crashStore = (options: CrashStoreOptions = {}): CrashStore => {
  const disk = options.disk ?? new Disk()
  const inner = memoryStore(disk)
  const delay = options.delay ?? ((apply: () => void) => apply())
  let writes = 0
  let crashed = false
  let failing = 0
  let closed = false
  let point: CrashPoint | undefined

  const crash = (): void => {
    if (crashed) return
    crashed = true
    options.onCrash?.()
  }
  const alive = async <T>(answer: Promise<T>): Promise<T> => {
    if (crashed) return never()
    try {
      const value = await answer
      return crashed ? await never<T>() : value
    } catch (error) {
      if (crashed) return never()
      throw error
    }
  }
  const write = (batch: readonly Write[]): Promise<void> => {
    if (crashed) return never()
    const number = ++writes
    return new Promise((resolve, reject) => {
      delay(() => {
        if (crashed) return
        if (point?.write === number && point.when === 'before') return crash()
        if (failing > 0) {
          failing--
          reject(new Error('no space left on device'))
          return
        }
        if (point?.write === number && point.when === 'after') {
          disk.apply(batch)
          return crash()
        }
        try {
          if (closed) throw new StoreClosed()
          disk.apply(batch)
          resolve()
        } catch (error) {
          reject(error as Error)
        }
      })
    })
  }
  return {
    get writes() {
      return writes
    },
    get crashed() {
      return crashed
    },
    crashAt(at) {
      point = at
    },
    crash,
    failWrites(count) {
      failing = count
    },
    get: (key) => alive(inner.get(key)),
    getMany: (keys) => alive(inner.getMany(keys)),
    async *range(range) {
      for await (const row of inner.range(range)) yield await alive(Promise.resolve(row))
    },
    async snapshot() {
      const snapshot = await alive(inner.snapshot())
      return {
        async *range(range) {
          for await (const row of snapshot.range(range)) yield await alive(Promise.resolve(row))
        },
        close: () => snapshot.close(),
      }
    },
    write,
    close() {
      return alive(
        inner.close().then(() => {
          closed = true
        }),
      )
    },
  }
}
