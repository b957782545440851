/** The link inside one process: the ledger's answers by function call, the same events in the same order as over the wire. */
import type { ChainSource, LedgerSource } from './contract.ts'
import { findOutput, follow, type Follower } from './follow.ts'

/** The chain of a ledger in this process. `onEvent` must not throw: an error there is a fault of the consumer and is not caught. */
export const inProcessChain = (source: LedgerSource): ChainSource => {
  let follower: Follower | undefined
  return {
    start(cursor, onEvent, recent) {
      if (follower !== undefined) throw new Error('a chain source is started once')
      follower = follow(source, cursor, recent, (event) => onEvent(event))
    },
    broadcast: (transactions) => source.broadcast(transactions),
    fees: async () => source.fees(),
    findOutput: (position) => findOutput(source, position),
    stop: async () => follower?.stop(),
  }
}
