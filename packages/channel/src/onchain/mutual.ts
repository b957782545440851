/**
 * Cooperative closes on the chain. BOLT 5 § Mutual Close Handling.
 * There is nothing to claim, but it is watched as long as any other close: a reorg can put a revoked commitment in its place (S13).
 */
import { FeeratePerKw, Sat, txid, txWeight, type Tx } from '@leyden/bitcoin'
import type { Publication } from '../effect.ts'
import type { Channel } from '../state.ts'

/** A signed spend of the funding output that pays for itself and cannot be changed any more. */
export const spendPublication = (channel: Channel, tx: Tx): Publication => {
  const feeSat = Sat(channel.capacitySat - tx.outputs.reduce((sum, { value }) => sum + value, 0n))
  return {
    id: `${channel.channelId}/${txid(tx)}`,
    channelId: channel.channelId,
    kind: 'whole',
    tx,
    spentValuesSat: [channel.capacitySat],
    feeratePerKw: FeeratePerKw(Number((feeSat * 1000n) / BigInt(txWeight(tx)))),
    budgetSat: feeSat,
  }
}

/** Every closing transaction that both have signed, the latest last: whichever is mined, is good. */
export const closingPublications = (channel: Channel): Publication[] =>
  (channel.closing?.transactions ?? []).map((tx) => spendPublication(channel, tx))
