import { describe } from 'vitest'
import { testSeeds } from './runs.ts'

describe('a funding that its opener spends twice costs nobody who has not trusted it', () => {
  testSeeds(1, 12, { doubleSpends: true })
})
