import { describe } from 'vitest'
import { testSeeds } from './runs.ts'

describe('a network of three nodes', () => {
  testSeeds(151, 50)
})
