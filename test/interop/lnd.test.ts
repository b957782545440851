/** LND as a user of our ledger and as a peer of our nodes. */
import { describe } from 'vitest'
import { lndInstalled, startLnd } from './lnd.ts'
import { meetStrangers } from './stranger.ts'

describe.skipIf(!lndInstalled)('LND', () => {
  meetStrangers('lnd', startLnd)
})
