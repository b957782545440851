import { describe } from 'vitest'
import { testSeeds } from './runs.ts'

describe('a node that is started on an old copy of its data costs nobody else a satoshi', () => {
  testSeeds(1, 20, { oldCopy: true })
})
