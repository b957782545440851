/** A real process on a real disk, killed without warning. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { createDrive } from './drive.ts'
import { recordKind } from './kind.ts'
import { lmdbStore } from './store/lmdb.ts'

const directories: string[] = []
afterEach(() => {
  for (const path of directories.splice(0)) rmSync(path, { recursive: true, force: true })
})

const program = `
  import { createDrive, recordKind } from '@leyden/runtime'
  import { lmdbStore } from '@leyden/runtime/store/lmdb'
  import { writeSync } from 'node:fs'
  const counter = recordKind('counter', 1)
  const drive = createDrive({
    store: lmdbStore({ path: process.argv[1] }),
    kinds: [counter],
    clock: { now: Date.now, setTimer: (ms, fn) => { const t = setTimeout(fn, ms); return () => clearTimeout(t) } },
    release: (effect) => writeSync(1, effect + '\\n'),
    onFault: (fault) => { throw fault },
  })
  await drive.load()
  const count = () => drive.submit((batch) => {
    const value = (batch.get(counter, 'a') ?? 0) + 1
    batch.set(counter, 'a', value)
    batch.outbox('log', value)
    batch.emit(value)
  }).then(count)
  await Promise.all([count(), count(), count()])
`

describe('kill -9', () => {
  it('S51: what left the process is on the disk, and the disk opens again', async () => {
    const path = mkdtempSync(join(tmpdir(), 'leyden-kill-'))
    directories.push(path)
    for (const life of [1, 2, 3]) {
      const child = spawn(
        process.execPath,
        ['--conditions=@leyden/source', '--import', 'tsx', '--input-type=module', '-e', program, path],
        { stdio: ['ignore', 'pipe', 'inherit'], cwd: import.meta.dirname },
      )
      let output = ''
      child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
      const closed = new Promise((resolve) => child.once('close', resolve))
      while (output.split('\n').length < 200 && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 5))
      expect(() => lmdbStore({ path })).toThrow(`in use by process ${child.pid}`)
      child.kill('SIGKILL')
      await closed

      const store = lmdbStore({ path })
      const counter = recordKind<number>('counter', 1)
      const drive = createDrive<never>({
        store,
        kinds: [counter],
        clock: { now: () => 0, setTimer: () => () => undefined },
        release: () => undefined,
        onFault: () => undefined,
      })
      await drive.load()
      const stored = drive.states(counter).get('a') ?? 0
      const released = output.split('\n').slice(0, -1).map(Number)
      expect(released.length, `life ${life}`).toBeGreaterThanOrEqual(199)
      expect(released).toEqual(released.map((_, n) => (released[0] ?? 0) + n))
      expect(stored).toBeGreaterThanOrEqual(released.at(-1) ?? 0)
      expect(drive.outbox('log').map((row) => row.payload)).toEqual(Array.from({ length: stored }, (_, n) => n + 1))
      await drive.stop()
      await store.close()
    }
  })
})
