import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { spawn } from 'node:child_process'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { crashStore } from '../sim/crash-store.ts'
import { type ConformanceCase, storeConformance } from './conformance.ts'
import { lmdbStore, StoreInUse } from './lmdb.ts'
import { Disk, memoryStore } from './memory.ts'

const directories: string[] = []
const directory = (): string => {
  const path = mkdtempSync(join(tmpdir(), 'leyden-store-'))
  directories.push(path)
  return path
}
afterEach(() => {
  for (const path of directories.splice(0)) rmSync(path, { recursive: true, force: true })
})

const suites: readonly (readonly [string, readonly ConformanceCase[]])[] = [
  [
    'memory',
    storeConformance(async () => {
      const disk = new Disk()
      return { store: memoryStore(disk), reopen: async () => memoryStore(disk) }
    }),
  ],
  [
    'crash',
    storeConformance(async () => {
      const disk = new Disk()
      return { store: crashStore({ disk }), reopen: async () => crashStore({ disk }) }
    }),
  ],
  [
    'lmdb',
    storeConformance(async () => {
      const path = directory()
      return { store: lmdbStore({ path }), reopen: async () => lmdbStore({ path }) }
    }),
  ],
]

describe.each(suites)('the %s store', (_, cases) => {
  it.each(cases)('$name', async ({ run }) => {
    await expect(run()).resolves.toBeUndefined()
  })
})

describe('the lock of a data directory', () => {
  const lockOf = (path: string): string => join(path, 'leyden.lock')

  it('refuses a directory that this process has open, and gives it back on close', async () => {
    const path = directory()
    const store = lmdbStore({ path })
    expect(() => lmdbStore({ path })).toThrow(StoreInUse)
    await store.close()
    await lmdbStore({ path }).close()
  })

  it('refuses a directory that another living process holds, with its number in the message', async () => {
    const path = directory()
    const other = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
    try {
      writeFileSync(lockOf(path), JSON.stringify({ pid: other.pid, host: hostname(), started: '' }))
      expect(() => lmdbStore({ path })).toThrow(`in use by process ${other.pid}`)
    } finally {
      const ended = new Promise((resolve) => other.once('exit', resolve))
      other.kill('SIGKILL')
      await ended
    }
    const store = lmdbStore({ path }) // its holder died: the lock is stale
    expect(JSON.parse(readFileSync(lockOf(path), 'utf8'))).toMatchObject({ pid: process.pid })
    await store.close()
  })

  it.runIf(process.platform === 'linux')('takes over a lock whose process number now belongs to a younger process', async () => {
    const path = directory()
    writeFileSync(lockOf(path), JSON.stringify({ pid: process.ppid, host: hostname(), started: 'another-boot/1' }))
    const store = lmdbStore({ path })
    expect(JSON.parse(readFileSync(lockOf(path), 'utf8'))).toMatchObject({ pid: process.pid })
    await store.close()
  })

  it.skipIf(process.platform !== 'linux')(
    'takes over from a process that has ended and was never fetched by its parent',
    async () => {
      // The shell becomes sleep, which knows nothing of the child that it has inherited; the child ends after that.
      const parent = spawn('sh', ['-c', 'sleep 0.5 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })
      try {
        const pid = Number(await new Promise((resolve) => parent.stdout.once('data', (text: Buffer) => resolve(text.toString()))))
        await vi.waitFor(() => expect(readFileSync(`/proc/${pid}/stat`, 'utf8')).toMatch(/\) Z /), 20_000)
        expect(() => process.kill(pid, 0)).not.toThrow()
        const path = directory()
        writeFileSync(lockOf(path), JSON.stringify({ pid, host: hostname(), started: '' }))
        await lmdbStore({ path }).close()
      } finally {
        parent.kill('SIGKILL')
      }
    },
  )

  it('respects what it cannot judge: a lock of another machine, and a damaged one', () => {
    const path = directory()
    writeFileSync(lockOf(path), JSON.stringify({ pid: 1, host: 'elsewhere', started: '' }))
    expect(() => lmdbStore({ path })).toThrow('held by process 1 on elsewhere')
    writeFileSync(lockOf(path), 'x')
    expect(() => lmdbStore({ path })).toThrow('not readable as a lock')
  })
})

describe('a disk that is full', () => {
  it('fails every write, stores nothing of them, and takes writes again when there is room', async () => {
    let free = 1_000
    const store = lmdbStore({ path: directory(), leastFreeBytes: 1_000, freeBytes: () => free })
    const write = (name: string, rows: number): Promise<void> =>
      store.write(
        Array.from({ length: rows }, (_, i) => ({
          key: new TextEncoder().encode(name + i),
          value: new Uint8Array(1000).fill(i),
        })),
      )
    const has = async (name: string): Promise<boolean> => (await store.get(new TextEncoder().encode(`${name}0`))) !== undefined
    await write('before', 3)
    free = 999
    const outcomes = await Promise.allSettled([write('a', 1), write('b', 3)])
    outcomes.push(...(await Promise.allSettled([write('c', 2)])))
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
    expect((outcomes[0] as PromiseRejectedResult).reason).toMatchObject({
      message: expect.stringContaining('999 bytes are free') as string,
    })
    free = 1_000
    await write('after', 2)
    // Each of its rows may touch a page of its own.
    await expect(write('large', 1001)).rejects.toThrow('no space: 1000 bytes are free')
    free = 1_000 + 1001 * (4096 + 1010)
    await write('large', 1001)
    expect(await Promise.all(['before', 'a', 'b', 'c', 'after', 'large'].map(has))).toEqual([
      true,
      false,
      false,
      false,
      true,
      true,
    ])
    await store.close()
  })
})
