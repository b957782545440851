/** The parts of the devnet that need no network: daemons as children, the lock, waiting, ports, the table. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { createDaemon, type Daemon, type Exit } from './daemon.ts'
import { lockDatadir } from './lock.ts'
import { freePort, isPortTaken } from './port.ts'
import { createProgress, table } from './progress.ts'
import { waitFor } from './wait.ts'

const directories: string[] = []
const directory = (): string => {
  const path = mkdtempSync(join(tmpdir(), 'leyden-devnet-test-'))
  directories.push(path)
  return path
}
const daemons: Daemon[] = []
afterEach(async () => {
  for (const daemon of daemons.splice(0)) await daemon.kill()
  for (const path of directories.splice(0)) rmSync(path, { recursive: true, force: true })
})

const READY = `console.log(JSON.stringify({ level: 30, msg: 'ready' }))`
const daemon = (code: string, onCrash?: (exit: Exit) => void): { daemon: Daemon; log: () => string } => {
  const path = directory()
  writeFileSync(join(path, 'program.mjs'), code)
  const made = createDaemon({
    name: 'it',
    program: pathToFileURL(join(path, 'program.mjs')),
    args: ['an argument'],
    env: { LEYDEN_TOLD: 'yes' },
    logFile: join(path, 'logs', 'log'),
    ...(onCrash === undefined ? {} : { onCrash }),
  })
  daemons.push(made)
  return { daemon: made, log: () => readFileSync(join(path, 'logs', 'log'), 'utf8') }
}

describe('a daemon', () => {
  it('is started when it says ready, logs to a file, stops on SIGTERM, and can be started again', async () => {
    const crashed = vi.fn<(exit: Exit) => void>()
    const { daemon: one, log } = daemon(
      `process.on('SIGTERM', () => { console.log('bye'); process.exit(0) })
       setInterval(() => {}, 1000); console.log(process.argv[2], process.env.LEYDEN_TOLD, process.env.LEYDEN_OTHER); ${READY}`,
      crashed,
    )
    vi.stubEnv('LEYDEN_OTHER', 'a setting for somebody else')
    await one.start()
    vi.unstubAllEnvs()
    expect(one.running).toBe(true)
    expect(await one.stop()).toMatchObject({ code: 0, signal: null })
    expect(one.running).toBe(false)
    expect(await one.stop()).toBeUndefined()
    await one.start()
    expect(await one.kill()).toMatchObject({ signal: 'SIGKILL' })
    await vi.waitFor(() => expect(log().split('\n')).toEqual(expect.arrayContaining(['an argument yes undefined', 'bye'])))
    expect(crashed).not.toHaveBeenCalled()
  })

  it('that ends before it is ready tells why', async () => {
    const { daemon: one } = daemon(`console.error('the port is taken'); process.exit(3)`)
    await expect(one.start()).rejects.toThrow('it ended with code 3: the port is taken')
    expect(one.running).toBe(false)
  })

  it('that dies by itself is told of, once, with its last error', async () => {
    const crashed = vi.fn<(exit: Exit) => void>()
    const { daemon: one } = daemon(
      `${READY}; setTimeout(() => { console.log(JSON.stringify({ level: 50, msg: 'the disk is on fire' })); process.exit(70) }, 100)`,
      crashed,
    )
    await one.start()
    await vi.waitFor(() => expect(crashed).toHaveBeenCalledTimes(1), { timeout: 10_000 })
    expect(crashed).toHaveBeenCalledWith({ code: 70, signal: null, said: 'the disk is on fire' })
  })
})

describe('the lock of a data directory', () => {
  it('holds until it is let go, and is taken over from a process that is gone', () => {
    const path = directory()
    const release = lockDatadir(path)
    release()
    lockDatadir(path)()
    writeFileSync(join(path, 'devnet.lock'), '999999999\n')
    const again = lockDatadir(path)
    expect(readFileSync(join(path, 'devnet.lock'), 'utf8')).toBe(`${process.pid}\n`)
    again()
    expect(existsSync(join(path, 'devnet.lock'))).toBe(false)
  })

  it('names the process that has it', () => {
    const path = directory()
    writeFileSync(join(path, 'devnet.lock'), `${process.ppid}\n`)
    expect(() => lockDatadir(path)).toThrow(`process ${process.ppid}`)
  })
})

describe('waiting', () => {
  it('gives what the check found, and takes a check that throws for not yet', async () => {
    let asked = 0
    const check = (): number | undefined => {
      asked++
      if (asked === 1) throw new Error('not there')
      return asked < 3 ? undefined : asked
    }
    expect(await waitFor('three', check, { everyMs: 1 })).toBe(3)
  })

  it('ends with what was waited for and what the last check said', async () => {
    const check = (): never => {
      throw new Error('nobody answers')
    }
    await expect(waitFor('the tip', check, { timeoutMs: 20, everyMs: 5 })).rejects.toThrow(/the tip \(nobody answers\)/)
  })

  it('ends when it is no longer wanted', async () => {
    await expect(waitFor('ever', () => false, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
  })
})

describe('ports', () => {
  it('are known to be taken or free', async () => {
    const port = await freePort()
    expect(await isPortTaken(port)).toBe(false)
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
    expect(await isPortTaken(port)).toBe(true)
    await new Promise((resolve) => server.close(resolve))
    expect(await freePort()).not.toBe(port)
  })
})

describe('progress', () => {
  it('tells each step with its time, and the one that failed', async () => {
    let text = ''
    const progress = createProgress({ isTTY: false, write: (part: string | Uint8Array) => ((text += String(part)), true) })
    expect(await progress.step('one', async (detail) => (detail('half'), 7))).toBe(7)
    await expect(progress.step('two', () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    progress.note('done')
    expect(text).toMatch(/^ {2}one \.\.\. \d\.\d s\n {2}two \.\.\. failed\ndone\n$/)
  })

  it('pads a table to its widest cells', () => {
    expect(
      table([
        ['a', 'bb'],
        ['ccc', 'd'],
      ]),
    ).toBe('  a     bb\n  ccc   d')
  })
})
