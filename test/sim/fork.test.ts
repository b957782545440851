/** The same simulations on a ledger that has forked: every signature of wallets and channels must commit to the fork, or nothing is mined. */
import { customNetwork, networks } from '@leyden/bitcoin'
import { describe } from 'vitest'
import { testSeeds } from './runs.ts'

/** The chain that every world begins with crosses the height. */
const network = customNetwork(networks.regtest, {
  name: 'regtest-fork',
  magic: Uint8Array.of(0xf0, 0xf1, 0xf2, 0xf3),
  fork: { id: 1_234_567, height: 60 },
})

describe('a network of three nodes on a fork', () => {
  testSeeds(1, 6, { network })
  testSeeds(31, 3, { network, oldCopy: true })
})
