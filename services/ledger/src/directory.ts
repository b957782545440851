/**
 * The files port: one directory of files that grow at their end, as the block files need it, and the real one on a disk.
 * The one in memory, which tests and the simulation use, is in memory-directory.ts and behaves as badly as a disk may.
 * What was written is durable only when `sync` has resolved; before, a crash may leave any part of it.
 */
import { mkdirSync, readdirSync, statSync } from 'node:fs'
import { open, rm, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'

export type FileSize = { readonly name: string; readonly size: number }

export interface Directory {
  /** What the files are called in messages: the path of the directory. */
  readonly path: string
  list(): Promise<readonly FileSize[]>
  /** Writes at `offset`, and makes the file where there is none. Not durable yet; after a rejection any part may be there. */
  write(name: string, offset: number, bytes: Uint8Array): Promise<void>
  /** Makes durable what was written to the file, and that there is such a file. */
  sync(name: string): Promise<void>
  /** Fewer bytes than asked for where the file ends; none where there is no file. */
  read(name: string, offset: number, length: number): Promise<Uint8Array>
  /** Cuts the file to `size`, durably. */
  truncate(name: string, size: number): Promise<void>
  /** Nothing happens when there is no such file. */
  remove(name: string): Promise<void>
  close(): Promise<void>
}

/** Files held open at once: the newest are written, some old ones read. */
const MAX_OPEN = 24

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT'

/** Opens (or makes) the directory `path`. */
export const diskDirectory = (path: string): Directory => {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  /** By name, the one used last at the end. */
  const handles = new Map<string, Promise<FileHandle>>()
  const fresh = new Set<string>()
  /** Operations under way on a file, so that none loses its handle. */
  const users = new Map<string, number>()
  let closed = false

  const openHandle = async (name: string, make: boolean): Promise<FileHandle> => {
    try {
      return await open(join(path, name), 'r+')
    } catch (error) {
      if (!make || !isMissing(error)) throw error
      fresh.add(name)
      return open(join(path, name), 'w+', 0o600)
    }
  }
  const closeIdle = async (): Promise<void> => {
    for (const [name, handle] of handles) {
      if (handles.size <= MAX_OPEN) return
      if (users.has(name)) continue
      handles.delete(name)
      await (await handle).close()
    }
  }
  const use = async <T>(name: string, make: boolean, act: (handle: FileHandle) => Promise<T>): Promise<T> => {
    if (closed) throw new Error(`${path} is closed`)
    const handle = handles.get(name) ?? openHandle(name, make)
    handles.delete(name)
    handles.set(name, handle)
    users.set(name, (users.get(name) ?? 0) + 1)
    try {
      return await act(await handle)
    } catch (error) {
      await handle.catch(() => handles.delete(name))
      throw error
    } finally {
      const left = (users.get(name) as number) - 1
      if (left === 0) users.delete(name)
      else users.set(name, left)
      await closeIdle()
    }
  }
  const syncDirectory = async (): Promise<void> => {
    if (process.platform === 'win32') return
    const handle = await open(path, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  }

  return {
    path,
    async list() {
      return readdirSync(path, { withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map(({ name }) => ({ name, size: statSync(join(path, name)).size }))
    },
    write: (name, offset, bytes) =>
      use(name, true, async (handle) => {
        let done = 0
        while (done < bytes.length) {
          const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, offset + done)
          if (bytesWritten === 0) throw new Error(`${join(path, name)} takes no more bytes`)
          done += bytesWritten
        }
      }),
    async sync(name) {
      await use(name, false, (handle) => handle.datasync())
      if (!fresh.has(name)) return
      await syncDirectory()
      fresh.delete(name)
    },
    async read(name, offset, length) {
      try {
        return await use(name, false, async (handle) => {
          const bytes = new Uint8Array(length)
          let done = 0
          while (done < length) {
            const { bytesRead } = await handle.read(bytes, done, length - done, offset + done)
            if (bytesRead === 0) break
            done += bytesRead
          }
          return done === length ? bytes : bytes.subarray(0, done)
        })
      } catch (error) {
        if (isMissing(error)) return new Uint8Array(0)
        throw error
      }
    },
    truncate: (name, size) =>
      use(name, false, async (handle) => {
        await handle.truncate(size)
        await handle.sync()
      }),
    async remove(name) {
      const handle = handles.get(name)
      handles.delete(name)
      await (await handle?.catch(() => undefined))?.close()
      await rm(join(path, name), { force: true })
    },
    async close() {
      closed = true
      const open = [...handles.values()]
      handles.clear()
      for (const handle of open) await (await handle.catch(() => undefined))?.close()
    },
  }
}
