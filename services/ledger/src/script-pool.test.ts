import { concat } from '@leyden/codec'
import { derFromCompact, ecdsaSign, pointFromSecret } from '@leyden/crypto'
import { forkSighashType, p2pkhOf, p2wpkhOf, Sat, SIGHASH, sighashV0, withForkId, type Block, type Tx } from '@leyden/bitcoin'
import { checkScripts, createScriptCache, pendingSpends, type ScriptCacheMemory, type ScriptChecks } from '@leyden/ledger'
import type { Log } from '@leyden/runtime'
import * as fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { failureIn, inputsToCheck, isFinished, makeScriptJob, openScriptJob, runNextPiece } from './script-job.ts'
import { createScriptPool, scriptThreadsOf, type ScriptPool } from './script-pool.ts'
import { ANYONE, pay, TRUE_SCRIPT } from './testing.ts'

const STANDARD = 0x1fffff
const id = (n: number): Tx['inputs'][number]['outpoint']['txid'] => n.toString(16).padStart(64, '0') as never

/** A block whose transaction i has `inputs[i]` inputs; `broken` are inputs counted through the block. Only its scripts make sense. */
const checksOf = (inputs: readonly number[], broken: readonly number[] = [], passed: readonly number[] = []): ScriptChecks => {
  let n = 0
  const spends = inputs.map((count) =>
    pay(
      Array.from({ length: count }, () => ({
        txid: id(n),
        vout: 0,
        witness: broken.includes(n++) ? [Uint8Array.of(0)] : [TRUE_SCRIPT],
      })),
      [1],
    ),
  )
  const coinbase = pay([{ txid: id(0xffff), vout: 0 }], [1])
  const block = { header: { time: 0 }, transactions: [coinbase, ...spends] } as unknown as Block
  const undo = Array.from({ length: n }, () => ({ output: { value: Sat(1n), scriptPubKey: ANYONE }, height: 1, coinbase: false }))
  const pending = spends.flatMap((_, i) => (passed.includes(i + 1) ? [] : [i + 1]))
  return { block, undo, flags: STANDARD, pending }
}

const deaths: string[] = []
const log: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: (_, text) => void deaths.push(text),
}
const pools: ScriptPool[] = []
/** `wait`: this thread leaves the rest to the others after its first piece, for as long as it says so. */
const poolOf = (
  threads: number,
  worker?: string,
  wait: (pool: ScriptPool) => boolean = () => false,
  known?: ScriptCacheMemory,
): ScriptPool => {
  const turn = async (): Promise<void> => {
    do await new Promise((resolve) => setImmediate(resolve))
    while (wait(pool))
  }
  const pool = createScriptPool({ threads, log, turn, known, ...(worker === undefined ? {} : { worker: new URL(worker) }) })
  pools.push(pool)
  return pool
}
afterAll(() => Promise.all(pools.map((pool) => pool.close())))

describe('the memory of a job', () => {
  it('gives, run by any number of threads in any order, the answer of one thread', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 12 }),
        fc.array(fc.nat(60), { maxLength: 3 }),
        fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 4 }),
        fc.integer({ min: 1, max: 7 }),
        fc.array(fc.nat(3), { minLength: 40, maxLength: 80 }),
        (inputs, broken, passed, pieceInputs, turns) => {
          const checks = checksOf(inputs, broken, passed)
          fc.pre(checks.pending.length > 0)
          const memory = makeScriptJob(checks, pieceInputs)
          const spends = [...pendingSpends(checks)]
          const threads = Array.from({ length: 4 }, (_, i) => openScriptJob(memory, i === 1 ? spends : undefined))
          for (const turn of turns) runNextPiece(threads[turn]!)
          while (runNextPiece(threads[0]!));
          expect(isFinished(threads[1]!)).toBe(true)
          expect(failureIn(threads[2]!)).toEqual(checkScripts(checks))
        },
      ),
    )
  })

  it('carries the id of a fork, which is above the 32 bits of the flags', () => {
    const secret = new Uint8Array(32).fill(4)
    const point = pointFromSecret(secret)
    const output = { value: Sat(9n), scriptPubKey: p2wpkhOf(point) }
    const unsigned = pay([{ txid: id(1), vout: 0, witness: [] }], [1])
    const hash = sighashV0(unsigned, 0, p2pkhOf(point), output.value, forkSighashType(SIGHASH.all, 77))
    const signature = concat(derFromCompact(ecdsaSign(hash, secret)), Uint8Array.of(SIGHASH.all))
    const tx = { ...unsigned, inputs: [{ ...unsigned.inputs[0]!, witness: [signature, point] }] }
    const block = { header: { time: 0 }, transactions: [unsigned, tx] } as unknown as Block
    const failure = (forkId: number) => {
      const checks = { block, undo: [{ output, height: 1, coinbase: false }], flags: withForkId(STANDARD, forkId), pending: [1] }
      const job = openScriptJob(makeScriptJob(checks, 4))
      while (runNextPiece(job));
      return failureIn(job)?.error
    }
    expect([failure(77), failure(78), failure(0)]).toEqual([undefined, 'NULLFAIL', 'NULLFAIL'])
  })

  it('cuts a transaction of many inputs', () => {
    const checks = checksOf([1, 100, 1], [80])
    const job = openScriptJob(makeScriptJob(checks, 10))
    let pieces = 0
    while (runNextPiece(job)) pieces++
    expect(inputsToCheck(checks)).toBe(102)
    expect(pieces).toBe(9)
    expect(failureIn(job)).toEqual({ txIndex: 2, inputIndex: 79, error: 'WITNESS_PROGRAM_MISMATCH' })
  })
})

describe('a pool of script threads', () => {
  it('counts threads as bitcoind counts -par', () => {
    expect(scriptThreadsOf(3)).toBe(3)
    expect(scriptThreadsOf(99)).toBe(16)
    expect(scriptThreadsOf(-1000)).toBe(1)
    expect(scriptThreadsOf(0)).toBeGreaterThanOrEqual(1)
  })

  it('passes and fails blocks as this thread alone does, many at once', async () => {
    const pool = poolOf(3, undefined, (pool) => pool.piecesByWorkers() === 0)
    const many = [
      checksOf(Array.from({ length: 200 }, () => 2)),
      checksOf(
        Array.from({ length: 200 }, () => 2),
        [399, 250, 77],
      ),
      checksOf([500], [499]),
      checksOf([1], [0]),
      checksOf([40, 40, 40], [3], [1]),
    ]
    expect(await Promise.all(many.map((checks) => pool.check(checks)))).toEqual(many.map((checks) => checkScripts(checks)))
    expect(pool.workers()).toBe(2)
    expect(pool.piecesByWorkers()).toBeGreaterThan(0)
  })

  it('wakes nobody for a small block, and has no workers when it is one thread', async () => {
    const pool = poolOf(3)
    expect(await pool.check(checksOf([3, 4], [6]))).toEqual({ txIndex: 2, inputIndex: 3, error: 'WITNESS_PROGRAM_MISMATCH' })
    expect(pool.workers()).toBe(0)
    const alone = poolOf(1)
    expect(await alone.check(checksOf([300], [299]))).toMatchObject({ inputIndex: 299 })
    expect(alone.workers()).toBe(0)
  })

  it('judges no block by threads that die', async () => {
    const checks = checksOf([300], [299])
    const untilDead = (pool: ScriptPool): boolean => pool.workers() > 0
    expect(await poolOf(2, 'data:text/javascript,process.exit(3)', untilDead).check(checks)).toEqual(checkScripts(checks))
    // Takes every piece, finishes none, ends
    const thief = `data:text/javascript,${encodeURIComponent(`
      import { parentPort } from 'node:worker_threads'
      parentPort.on('message', (memory) => {
        const words = new Int32Array(memory, 0, 8)
        Atomics.store(words, 0, words[3])
        process.exit(1)
      })`)}`
    expect(await poolOf(2, thief, untilDead).check(checks)).toEqual(checkScripts(checks))
    expect(deaths).toEqual(Array.from({ length: 4 }, () => 'a script thread ended'))
  })

  it('finishes what it has begun when it is closed, and takes nothing more', async () => {
    const pool = poolOf(2)
    const checks = checksOf([200], [150])
    const answer = pool.check(checks)
    await pool.close()
    expect(await answer).toEqual(checkScripts(checks))
    expect(pool.workers()).toBe(0)
    await expect(pool.check(checks)).rejects.toThrow('closed')
  })

  it('reads the signatures that this thread knows, in every thread', async () => {
    const secret = new Uint8Array(32).fill(7)
    const point = pointFromSecret(secret)
    const output = { value: Sat(1n), scriptPubKey: p2wpkhOf(point) }
    const base = checksOf([64])
    const [coinbase, spend] = base.block.transactions as [Tx, Tx]
    // Signatures of something else: only who knows them as valid takes them
    const signatures = spend.inputs.map((_, i) => ecdsaSign(new Uint8Array(32).fill(i), secret))
    const inputs = spend.inputs.map((input, i) => ({
      ...input,
      witness: [concat(derFromCompact(signatures[i]!), Uint8Array.of(SIGHASH.all)), point],
    }))
    const undo = base.undo.map((coin) => ({ ...coin, output }))
    const checks = {
      ...base,
      block: { ...base.block, transactions: [coinbase, { ...spend, inputs }] },
      undo,
      flags: 0 | base.flags,
    }
    const cache = createScriptCache()
    const alone = poolOf(1, undefined, undefined, cache.shared)
    const pool = poolOf(2, undefined, (pool) => pool.piecesByWorkers() === 0, cache.shared)
    expect(await alone.check(checks)).toMatchObject({ inputIndex: 0, error: 'NULLFAIL' })
    spend.inputs.forEach((_, i) => {
      const hash = sighashV0(spend, i, p2pkhOf(point), output.value, SIGHASH.all)
      cache.signatures.add('ecdsa', hash, point, signatures[i]!)
    })
    expect(await alone.check(checks)).toBeUndefined()
    expect(await pool.check(checks)).toBeUndefined()
    expect(pool.piecesByWorkers()).toBeGreaterThan(0)
    expect(await poolOf(2).check(checks)).toMatchObject({ inputIndex: 0 })
  })
})
