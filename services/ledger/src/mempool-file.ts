/** mempool.dat on the disk: written as a whole under another name first, so that a crash leaves the old one. */
import { open, readFile, rename, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { txid, type Txid } from '@leyden/bitcoin'
import type { Log, Random } from '@leyden/runtime'
import { decodeMempoolFile, encodeMempoolFile, fileOf } from '@leyden/ledger'
import type { LedgerEngine } from './engine.ts'
import { NO_STARTUP, Stopping, type Stage, type Startup } from './warmup.ts'

/** A file beyond this is not read: no mempool of ours is so large. */
const MAX_FILE_BYTES = 2 ** 30
/** Transactions judged in one go. */
const CHUNK = 500
const MASK_BYTES = 8

const LOADING: Stage = { doing: 'Loading mempool', isLong: true }

export type ImportOptions = {
  /** As if they came now. */
  readonly useCurrentTime: boolean
  readonly applyDeltas: boolean
  readonly applyUnbroadcast: boolean
  /** Deltas of transactions that have one already are left alone; else they add up. */
  readonly keepDeltas?: boolean
  readonly startup?: Startup
}

export type MempoolFileStore = {
  readonly path: string
  /** Writes what waits now. */
  save(): Promise<void>
  /** Takes what a file holds. Rejects when it cannot be read. */
  load(path: string, options: ImportOptions): Promise<void>
  /** Takes what its own file holds, as of then; without one nothing happens. Throws Stopping when it is to be left off. */
  loadOwn(log: Log, startup?: Startup): Promise<void>
}

export const mempoolFileStore = (engine: LedgerEngine, path: string, random: Random, now: () => number): MempoolFileStore => {
  const store: MempoolFileStore = {
    path,
    async save() {
      const bytes = encodeMempoolFile(fileOf(engine.pool), random.bytes(MASK_BYTES))
      const draft = await open(`${path}.new`, 'w', 0o600)
      try {
        await draft.writeFile(bytes)
        await draft.sync()
      } finally {
        await draft.close()
      }
      await rename(`${path}.new`, path)
      const directory = await open(dirname(path), 'r')
      try {
        await directory.sync()
      } finally {
        await directory.close()
      }
    },
    async load(from, { useCurrentTime, applyDeltas, applyUnbroadcast, keepDeltas = false, startup = NO_STARTUP }) {
      const { size } = await stat(from)
      if (size > MAX_FILE_BYTES) throw new RangeError(`${from} has ${size} bytes`)
      const file = decodeMempoolFile(new Uint8Array(await readFile(from)))
      const { pool } = engine
      const apply = async (id: Txid, delta: bigint): Promise<void> => {
        if (applyDeltas && delta !== 0n && !(keepDeltas && pool.deltas.has(id))) await engine.prioritise(id, delta)
      }
      const oldest = Math.floor(now() / 1000) - pool.policy.expirySeconds
      let at = 0
      startup.begin({ ...LOADING, progress: () => ({ done: at, of: file.transactions.length, unit: 'transactions' }) })
      for (; at < file.transactions.length; at += CHUNK) {
        startup.check()
        const chunk = file.transactions.slice(at, at + CHUNK)
        for (const { tx, delta } of chunk) await apply(txid(tx), delta)
        const young = useCurrentTime ? chunk : chunk.filter(({ time }) => time > oldest)
        const times = useCurrentTime ? {} : { times: young.map(({ time }) => time) }
        await engine.submitTransactions(
          young.map(({ tx }) => tx),
          times,
        )
      }
      for (const [id, delta] of file.deltas) await apply(id, delta)
      if (applyUnbroadcast) for (const id of file.unbroadcast) engine.holdUnbroadcast(id)
    },
    async loadOwn(log, startup = NO_STARTUP) {
      startup.begin(LOADING)
      try {
        await store.load(path, { useCurrentTime: false, applyDeltas: true, applyUnbroadcast: true, keepDeltas: true, startup })
      } catch (error) {
        if (error instanceof Stopping) throw error
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') log.warn({ path, error: String(error) }, 'mempool file not read')
      }
    },
  }
  return store
}
