/** Core Lightning as a user of our ledger and as a peer of our nodes. */
import { describe } from 'vitest'
import { clnInstalled, startCln } from './cln.ts'
import { meetStrangers } from './stranger.ts'

describe.skipIf(!clnInstalled)('Core Lightning', () => {
  meetStrangers('cln', startCln)
})
