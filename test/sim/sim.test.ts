import { describe, expect, it } from 'vitest'
import { CASES } from './cases.ts'
import { testSeed } from './runs.ts'
import { runSeed } from './scenario.ts'

describe('a seed', () => {
  for (const seed of [7, 1007])
    it(`gives the same run again: ${seed}`, { timeout: 120_000 }, async () => {
      const first = await runSeed(seed)
      const second = await runSeed(seed)
      expect(second.traceHash).toBe(first.traceHash)
      expect(second.lines).toEqual(first.lines)
    })

  it('gives another run than the next one', { timeout: 120_000 }, async () => {
    const [one, other] = [await runSeed(7, { actions: 1 }), await runSeed(8, { actions: 1 })]
    expect(one.traceHash).not.toBe(other.traceHash)
  })
})

describe('seeds that broke something once', () => {
  for (const { seed, found: _, ...options } of CASES) testSeed(seed, options)
})
