/**
 * A daemon as a child process that can be started, stopped, killed and started again. Its logs go to a file; the line "ready" among
 * them tells that it serves. It runs in a process group of its own, so that Ctrl-C reaches only us and the order of stopping is ours;
 * guard.ts stops it when we are gone without a word.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const READY_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 20_000
/** The log line that tells that a daemon serves: "ready", "ledger ready". */
const READY = /(^| )ready$/
const PINO_ERROR = 50
/** Lines kept of what a daemon said, to explain an early end. */
const KEPT_LINES = 20

export interface DaemonOptions {
  readonly name: string
  /** The program: a .ts of the workspace (run by tsx) or built .js. */
  readonly program: URL
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly logFile: string
  /** Each line of its log as it comes. */
  readonly onLine?: (line: string) => void
  /** It ended although nobody asked it to, after it had been ready. */
  readonly onCrash?: (exit: Exit) => void
}

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** The last words that were no log lines, or the last errors in the log. */
  readonly said: string
}

export interface Daemon {
  readonly name: string
  readonly pid: number | undefined
  readonly running: boolean
  /** Resolves when it serves. Rejects with what it said when it ends before, or is not ready within a minute. */
  start(): Promise<void>
  /** SIGTERM, then SIGKILL when it does not end. Resolves when it is gone; at once when it does not run. */
  stop(): Promise<Exit | undefined>
  /** SIGKILL, as a power cut would do to the process. Resolves when it is gone. */
  kill(): Promise<Exit | undefined>
}

/** Inside the workspace everything runs from source, by tsx; what was built runs as it is. */
const fromSource = import.meta.url.endsWith('.ts')
const guard = new URL(fromSource ? './guard.ts' : './guard.js', import.meta.url)
const loaderFlags = (): string[] => (fromSource ? ['--conditions=@leyden/source', '--import', import.meta.resolve('tsx')] : [])

/** The environment without settings meant for other daemons. */
const cleanEnv = (): Record<string, string | undefined> =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('LEYDEN_') && name !== 'NODE_OPTIONS'))

export const describeExit = ({ code, signal, said }: Exit): string =>
  `${signal === null ? `ended with code ${code}` : `was ended by ${signal}`}${said === '' ? '' : `: ${said}`}`

interface Run {
  readonly child: ChildProcess
  readonly ready: Promise<void>
  readonly exited: Promise<Exit>
}

export const createDaemon = (options: DaemonOptions): Daemon => {
  const { name, program, args, logFile } = options
  let run: Run | undefined
  let wanted = false

  const launch = (): Run => {
    mkdirSync(dirname(logFile), { recursive: true, mode: 0o700 })
    const log = createWriteStream(logFile, { flags: 'a', mode: 0o600 })
    const child = spawn(process.execPath, [...loaderFlags(), '--import', guard.href, fileURLToPath(program), ...args], {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...cleanEnv(), ...options.env },
    })
    const errors: string[] = []
    const plain: string[] = []
    const keep = (list: string[], line: string): void => {
      list.push(line)
      if (list.length > KEPT_LINES) list.shift()
    }
    let becameReady = false
    let markReady = (): void => {}
    const told = new Promise<void>((resolve) => {
      markReady = resolve
    })
    const hear = (line: string): void => {
      log.write(`${line}\n`)
      options.onLine?.(line)
      let entry: { readonly msg?: unknown; readonly level?: unknown } | undefined
      try {
        entry = JSON.parse(line) as typeof entry
      } catch {
        keep(plain, line)
        return
      }
      if (READY.test(String(entry?.msg))) markReady()
      if (Number(entry?.level) >= PINO_ERROR) keep(errors, String(entry?.msg))
    }
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream as NodeJS.ReadableStream }).on('line', hear)
    const exited = new Promise<Exit>((resolve) => {
      const end = (code: number | null, signal: NodeJS.Signals | null, cause?: Error): void => {
        log.end()
        const said = cause?.message ?? (plain.length > 0 ? plain.join('\n') : errors.slice(-3).join('; '))
        const exit = { code, signal, said }
        if (run?.child === child) run = undefined
        resolve(exit)
        if (becameReady && wanted) {
          wanted = false
          options.onCrash?.(exit)
        }
      }
      child.once('error', (error) => end(null, null, error))
      child.once('close', (code, signal) => end(code, signal))
    })
    const early = exited.then((exit): never => {
      throw new Error(`${name} ${describeExit(exit)}`)
    })
    const ready = new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`${name} was not ready after ${READY_TIMEOUT_MS / 1000} s; its log is ${logFile}`)),
        READY_TIMEOUT_MS,
      )
      Promise.race([told, early]).then(
        () => {
          clearTimeout(timer)
          becameReady = true
          resolve()
        },
        (error: unknown) => {
          clearTimeout(timer)
          reject(error instanceof Error ? error : new Error(String(error)))
        },
      )
    })
    return { child, ready, exited }
  }

  const end = async (signal: NodeJS.Signals): Promise<Exit | undefined> => {
    wanted = false
    const current = run
    if (current === undefined) return undefined
    current.ready.catch(() => {})
    current.child.kill(signal)
    const timer = setTimeout(() => current.child.kill('SIGKILL'), STOP_TIMEOUT_MS)
    const exit = await current.exited
    clearTimeout(timer)
    return exit
  }

  return {
    name,
    get pid() {
      return run?.child.pid
    },
    get running() {
      return run !== undefined
    },
    async start() {
      if (run !== undefined) return await run.ready
      wanted = true
      run = launch()
      const { ready } = run
      try {
        await ready
      } catch (error) {
        await end('SIGKILL')
        throw error
      }
    },
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
  }
}
