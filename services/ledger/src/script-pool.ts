/**
 * Runs the scripts of blocks in worker threads beside this one. As `-par` of bitcoind: so many threads in all, this one included.
 * This thread takes pieces of the work as the others do, and looks at its event loop between any two. Workers start with the first
 * block that is worth it and wait for the next. A worker that dies is replaced and the block done again; if that happens twice,
 * this thread does the block alone: whatever is wrong with threads here, no block is judged by it.
 */
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import {
  checkScripts,
  knownSignatures,
  pendingSpends,
  type FailedScript,
  type ScriptCacheMemory,
  type ScriptChecker,
  type ScriptChecks,
} from '@leyden/ledger'
import type { Log } from '@leyden/runtime'
import {
  failureIn,
  inputsToCheck,
  isFinished,
  makeScriptJob,
  openScriptJob,
  runNextPiece,
  stopScriptJob,
  type ScriptJob,
} from './script-job.ts'

/** Fewer inputs than these are not worth waking anyone for. */
const LEAST_INPUTS = 32
/** A piece is a few milliseconds at most, if its scripts are ordinary. */
const MOST_INPUTS_IN_PIECE = 32
/** Bitcoin Core validation.h, MAX_SCRIPTCHECK_THREADS, and this thread. */
const MAX_THREADS = 16

export type ScriptPoolOptions = {
  /** In all, this one included; 1 is this one alone. */
  readonly threads: number
  readonly log: Log
  /** Signatures found there are not checked again. */
  readonly known?: ScriptCacheMemory | undefined
  /** Entry file of the workers. */
  readonly worker?: URL
  /** What this thread does between two pieces. */
  readonly turn?: () => Promise<void>
}

export type ScriptPool = {
  readonly check: ScriptChecker
  /** Worker threads that run now. */
  readonly workers: () => number
  /** Pieces that the workers have run so far. */
  readonly piecesByWorkers: () => number
  /** Ends the workers. A job under way is done to its end first. */
  close(): Promise<void>
}

/** What `scriptThreads` means: 0 all cores, below 0 all but so many; one to sixteen. */
export const scriptThreadsOf = (setting: number): number =>
  Math.min(MAX_THREADS, Math.max(1, setting > 0 ? setting : availableParallelism() + setting))

const isSource = import.meta.url.endsWith('.ts')
const WORKER = new URL(isSource ? './script-worker.mjs' : './script-worker.js', import.meta.url)

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** A job that has lost a worker on the way. */
type Running = { readonly job: ScriptJob; broken: boolean; progress: () => void }

export const createScriptPool = ({ threads, log, known, worker = WORKER, turn = nextTurn }: ScriptPoolOptions): ScriptPool => {
  const signatures = knownSignatures(known)
  const workers = new Set<Worker>()
  let running: Running | undefined
  let closed = false
  let piecesByWorkers = 0
  let last: Promise<unknown> = Promise.resolve()
  /** Blocks under way or in line. */
  let waiting = 0

  const startWorker = (): Worker => {
    const thread = new Worker(worker, { workerData: known, execArgv: isSource ? ['--conditions=@leyden/source'] : [] })
    workers.add(thread)
    thread.on('message', (pieces: number) => {
      piecesByWorkers += pieces
      running?.progress()
    })
    thread.on('error', (error) => log.error({ error: String(error) }, 'a script thread failed'))
    thread.on('exit', (code) => {
      if (!workers.delete(thread) || running === undefined) return
      log.error({ code }, 'a script thread ended')
      running.broken = true
      stopScriptJob(running.job)
      running.progress()
    })
    return thread
  }

  /** Undefined when a worker died meanwhile. */
  const attempt = async (checks: ScriptChecks, inputs: number): Promise<{ failed: FailedScript | undefined } | undefined> => {
    const pieceInputs = Math.min(MOST_INPUTS_IN_PIECE, Math.ceil(inputs / (4 * threads)))
    const spends = [...pendingSpends(checks)]
    const memory = makeScriptJob(checks, pieceInputs, spends)
    const job = openScriptJob(memory, spends)
    const mine: Running = { job, broken: false, progress: () => undefined }
    running = mine
    try {
      while (workers.size < threads - 1) startWorker()
      for (const thread of workers) {
        thread.ref()
        thread.postMessage(memory)
      }
      while (runNextPiece(job, signatures)) await turn()
      await new Promise<void>((resolve) => {
        mine.progress = () => {
          if (mine.broken || isFinished(job)) resolve()
        }
        mine.progress()
      })
    } finally {
      stopScriptJob(job)
      running = undefined
      for (const thread of workers) thread.unref()
    }
    return mine.broken ? undefined : { failed: failureIn(job) }
  }

  const checkInThreads = async (checks: ScriptChecks, inputs: number): Promise<FailedScript | undefined> => {
    const outcome = (await attempt(checks, inputs)) ?? (await attempt(checks, inputs))
    return outcome === undefined ? checkScripts(checks, signatures) : outcome.failed
  }

  return {
    check(checks) {
      if (closed) return Promise.reject(new Error('the script threads are closed'))
      const inputs = inputsToCheck(checks)
      const begin = async (): Promise<FailedScript | undefined> =>
        inputs < LEAST_INPUTS ? checkScripts(checks, signatures) : checkInThreads(checks, inputs)
      // At once where nothing is under way: the other threads have begun when this one goes on with something else
      const run = waiting === 0 ? begin() : last.then(begin)
      waiting++
      last = run.then(
        () => waiting--,
        () => waiting--,
      )
      return run
    },
    workers: () => workers.size,
    piecesByWorkers: () => piecesByWorkers,
    async close() {
      closed = true
      await last
      const ending = [...workers]
      workers.clear()
      await Promise.all(ending.map((thread) => thread.terminate()))
    },
  }
}
