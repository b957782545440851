/**
 * The files port in memory, for tests and the simulation: the files live in a `FileDisk` that outlives the directory, and opening
 * another directory on it is a restart after a crash. What was not synced is then torn: half of it is there, and the last byte of
 * that is wrong. Anything that still runs on the directory of before waits for ever.
 */
import type { Directory } from './directory.ts'

type File = { bytes: Uint8Array; size: number; synced: number }

/** Files that survive the directory that writes them. */
export class FileDisk {
  readonly #files = new Map<string, File>()
  #life = 0
  #failing = 0
  #steps = 0
  #lastStep = Number.POSITIVE_INFINITY
  #crashed = false
  #onCrash: () => void = () => undefined

  /** Writes, syncs, cuts and removals so far. */
  get steps(): number {
    return this.#steps
  }

  /** The step with this number from now does not happen, and nothing after it, until the disk is opened again after that. */
  crashAt(step: number, onCrash: () => void): void {
    this.#lastStep = this.#steps + step
    this.#onCrash = onCrash
  }

  /** The next `count` writes and syncs reject as on a full disk; half of a write is there all the same. */
  failWrites(count: number): void {
    this.#failing = count
  }

  /** Bytes of a file that are there, synced or not; to be read or damaged. */
  contents(name: string): Uint8Array | undefined {
    const file = this.#files.get(name)
    return file?.bytes.subarray(0, file.size)
  }

  names(): string[] {
    return [...this.#files.keys()].sort()
  }

  copy(): FileDisk {
    const disk = new FileDisk()
    for (const [name, file] of this.#files) disk.#files.set(name, { ...file, bytes: file.bytes.slice() })
    return disk
  }

  /** Makes this disk hold what another one holds. */
  become(other: FileDisk): void {
    this.#files.clear()
    for (const [name, file] of other.#files) this.#files.set(name, { ...file, bytes: file.bytes.slice() })
  }

  #tear(): void {
    for (const [name, file] of this.#files) {
      const torn = Math.floor((file.size - file.synced) / 2)
      if (torn <= 0) {
        file.size = Math.min(file.size, file.synced)
        if (file.size === 0) this.#files.delete(name)
        continue
      }
      file.size = file.synced + torn
      file.bytes[file.size - 1] = 0xff ^ (file.bytes[file.size - 1] as number)
      file.synced = file.size
    }
  }

  /** A restart: what was not synced is torn. */
  open(): Directory {
    const life = ++this.#life
    if (this.#crashed) this.#lastStep = Number.POSITIVE_INFINITY
    this.#crashed = false
    this.#tear()
    const files = this.#files
    const step = async <T>(act: () => T | Promise<T>): Promise<T> => {
      await Promise.resolve()
      if (life !== this.#life) return new Promise<T>(() => undefined)
      return act()
    }
    const change = (act: () => void): Promise<void> =>
      step(() => {
        if (++this.#steps >= this.#lastStep) {
          this.#crashed = true
          this.#life++
          this.#onCrash()
          return new Promise<void>(() => undefined)
        }
        return act()
      })
    const fails = (): boolean => {
      if (this.#failing === 0) return false
      this.#failing--
      return true
    }
    const put = (name: string, offset: number, bytes: Uint8Array): void => {
      const file = files.get(name) ?? { bytes: new Uint8Array(4096), size: 0, synced: 0 }
      files.set(name, file)
      const end = offset + bytes.length
      if (end > file.bytes.length) {
        const grown = new Uint8Array(Math.max(end, file.bytes.length * 2))
        grown.set(file.bytes.subarray(0, file.size))
        file.bytes = grown
      }
      file.bytes.set(bytes, offset)
      file.size = Math.max(file.size, end)
      file.synced = Math.min(file.synced, offset)
    }
    return {
      path: 'memory',
      list: () => step(() => [...files].map(([name, { size }]) => ({ name, size }))),
      write: (name, offset, bytes) =>
        change(() => {
          const failed = fails()
          put(name, offset, failed ? bytes.subarray(0, bytes.length >>> 1) : bytes)
          if (failed) throw new Error('ENOSPC: no space left on device, write')
        }),
      sync: (name) =>
        change(() => {
          if (fails()) throw new Error('EIO: i/o error, fdatasync')
          const file = files.get(name)
          if (file === undefined) throw new Error(`ENOENT: no such file, ${name}`)
          file.synced = file.size
        }),
      read: (name, offset, length) =>
        step(() => {
          const file = files.get(name)
          return file === undefined ? new Uint8Array(0) : file.bytes.slice(offset, Math.min(offset + length, file.size))
        }),
      truncate: (name, size) =>
        change(() => {
          const file = files.get(name)
          if (file === undefined) return
          file.size = Math.min(file.size, size)
          file.synced = Math.min(file.synced, size)
        }),
      remove: (name) => change(() => void files.delete(name)),
      close: () => step(() => undefined),
    }
  }
}
