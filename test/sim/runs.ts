/** The tests of a range of seeds; each test file takes a part, so that the workers share them. */
import { expect, it } from 'vitest'
import { type RunOptions, runSeed } from './scenario.ts'

/** How much of a trace is shown for a seed that breaks something. The whole: run.ts --verbose --seed N. */
const SHOWN_LINES = 60

/** One seed must break nothing. */
export const testSeed = (seed: number, options: RunOptions = {}): void => {
  it(`seed ${seed}`, { timeout: 120_000 }, async () => {
    const { broken, lines, traceHash } = await runSeed(seed, options)
    const story = broken.length === 0 ? [] : [...broken, `seed ${seed} ${traceHash} ended so:`, ...lines.slice(-SHOWN_LINES)]
    expect(story.join('\n')).toBe('')
  })
}

export const testSeeds = (first: number, count: number, options: RunOptions = {}): void => {
  for (let seed = first; seed < first + count; seed++) testSeed(seed, options)
}
