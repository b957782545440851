/**
 * The base ledger on a chain with every output type: blocks and scripts on one core and on all, beside the curve operations of the
 * same scripts alone; mempool, headers, coins, start. Each figure comes from a process of its own, through the real daemon.
 */
import { fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { backendName } from '@leyden/crypto'
import { benchChain, curveWorkOf, FIRST_HEIGHT, outputTypes, TRANSACTIONS_IN_BLOCK } from './chain.ts'
import type { Measured } from './ledger-run.ts'
import { heading, note, type Settings, short, table, times } from './report.ts'

const RUN = fileURLToPath(new URL('ledger-run.ts', import.meta.url))

const measureApart = (what: string, blocks: number, threads: number, datadir: string): Promise<Measured> =>
  new Promise((resolve, reject) => {
    const child = fork(RUN, [what, String(blocks), String(threads), datadir])
    let answer: Measured | undefined
    child.on('message', (message) => {
      answer = message as Measured
    })
    child.on('exit', (code) => (answer === undefined ? reject(new Error(`${what} ended with ${code}`)) : resolve(answer)))
  })

/** The share of each of so many processes, at once. */
const curveAlone = async (blocks: number, threads: number): Promise<Measured> => {
  const all = await Promise.all(Array.from({ length: threads }, () => measureApart('curve', blocks, threads, '')))
  const sum = (of: (one: Measured) => number): number => all.reduce((n, one) => n + of(one), 0)
  return {
    ms: Math.max(...all.map(({ ms }) => ms)),
    count: sum(({ count }) => count),
    cpuMs: sum(({ cpuMs }) => cpuMs),
    peakBytes: sum(({ peakBytes }) => peakBytes),
  }
}

const perSecond = ({ count, ms }: Measured): number => (count * 1000) / ms
const megabytes = ({ peakBytes }: Measured): string => short(peakBytes / 1e6)
const cores = ({ cpuMs, ms }: Measured): string => short(cpuMs / ms)

export const benchLedger = async ({ quick }: Settings): Promise<void> => {
  const blocks = quick ? 2 : 10
  /** One more, with which the measured process warms up. */
  const chainBlocks = blocks + 1
  const transactions = blocks * TRANSACTIONS_IN_BLOCK
  const bytes = benchChain(chainBlocks)
    .slice(FIRST_HEIGHT)
    .reduce((n, block) => n + block.length, 0)
  const work = curveWorkOf(blocks)
  const checks = work.ecdsa + work.schnorr
  heading(`ledger: ${transactions.toLocaleString('en-US')} transactions in ${blocks} blocks, ${short(bytes / 1e6)} MB`)
  note(
    `  outputs in turn: ${outputTypes()
      .map(({ name }) => name)
      .join(', ')}`,
  )
  note(
    `  ${(2 * transactions).toLocaleString('en-US')} inputs, ${checks.toLocaleString('en-US')} signature checks, curve: ${backendName}`,
  )

  const directory = mkdtempSync(join(tmpdir(), 'leyden-bench-'))
  try {
    const all = availableParallelism()
    const rows: string[][] = []
    for (const threads of all === 1 ? [1] : [1, all]) {
      const datadir = join(directory, `chain-${threads}`)
      const curve = await curveAlone(blocks, threads)
      const connect = await measureApart('connect', chainBlocks, threads, datadir)
      const scripts = await measureApart('scripts', chainBlocks, threads, datadir)
      const row = (name: string, one: Measured): string[] => [
        `${name}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`,
        short((blocks * 1000) / one.ms),
        short((transactions * 1000) / one.ms),
        short((checks * 1000) / one.ms),
        cores(one),
        megabytes(one),
        times(one.ms / curve.ms),
        times(one.cpuMs / curve.cpuMs),
      ]
      rows.push(row('curve alone', curve), row('scripts', scripts), row('blocks, durable', connect))
    }
    table(['', 'blocks/s', 'transactions/s', 'checks/s', 'cores', 'peak MB', 'time to curve', 'CPU to curve'], rows)
    note('  CPU counts where others use the cores too: time is what it should be when they do not')

    const chain = join(directory, `chain-${all}`)
    const others: [string, Measured][] = [
      ['transactions into the mempool', await measureApart('mempool', chainBlocks, all, join(directory, 'mempool'))],
      ['headers', await measureApart('headers', chainBlocks, all, join(directory, 'headers'))],
      ['coin look-ups', await measureApart('coins', chainBlocks, all, chain)],
      ['start with the chain', await measureApart('start', chainBlocks, all, chain)],
    ]
    table(
      ['', 'a second', 'ms in all', 'cores', 'peak MB'],
      others.map(([name, one]) => [name, short(perSecond(one)), short(one.ms), cores(one), megabytes(one)]),
    )
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
