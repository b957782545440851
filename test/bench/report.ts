/** How the benchmarks measure a loop, and how they show figures: rows of text in columns, nothing asserted. */
import { Bench, type Fn } from 'tinybench'

export interface Settings {
  /** Shorter runs, coarser figures. */
  readonly quick: boolean
}

/** One measured operation. */
export interface Figure {
  readonly name: string
  readonly perSecond: number
  readonly meanUs: number
  readonly p50Us: number
  readonly p99Us: number
}

/** Runs each function again and again for a while, one after the other, warmed up. */
export const measure = async ({ quick }: Settings, tasks: Readonly<Record<string, Fn>>): Promise<readonly Figure[]> => {
  const bench = new Bench({
    time: quick ? 100 : 600,
    warmupTime: quick ? 20 : 150,
    warmupIterations: 3,
    iterations: 5,
    throws: true,
  })
  for (const [name, run] of Object.entries(tasks)) bench.add(name, run)
  await bench.run()
  return bench.tasks.map(({ name, result }) => {
    if (result.state !== 'completed') throw new Error(`${name}: ${result.state}`)
    const { mean, p50, p99 } = result.latency
    return { name, perSecond: 1000 / mean, meanUs: mean * 1000, p50Us: p50 * 1000, p99Us: p99 * 1000 }
  })
}

/** A figure in three digits or so: 1,234 or 12.3 or 0.123. */
export const short = (n: number): string =>
  n >= 100 ? Math.round(n).toLocaleString('en-US') : n >= 10 ? n.toFixed(1) : n >= 1 ? n.toFixed(2) : n.toFixed(3)

export const times = (ratio: number): string => `${short(ratio)}x`
export const percent = (share: number): string => `${(share * 100).toFixed(1)} %`

const print = (line: string): void => void process.stdout.write(`${line}\n`)

export const heading = (text: string): void => print(`\n${text}\n${'-'.repeat(text.length)}`)
export const note = (text: string): void => print(text)

/** The first column to the left, the others to the right. */
export const table = (head: readonly string[], rows: readonly (readonly string[])[]): void => {
  const all = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)))
  for (const row of all)
    print(
      `  ${widths
        .map((width, column) => (column === 0 ? (row[0] ?? '').padEnd(width) : (row[column] ?? '').padStart(width)))
        .join('   ')
        .trimEnd()}`,
    )
}
