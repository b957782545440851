/**
 * When HTLCs force us to the chain. BOLT 2 § cltv_expiry_delta Selection, § Requirements (timeouts of offered and received HTLCs).
 */
import type { BlockHeight, Sat } from '@leyden/bitcoin'
import type { ChannelPolicy } from '../env.ts'
import type { Channel, Htlc } from '../state.ts'
import { feerateIn } from '../transactions/spec.ts'
import { isTrimmed } from '../transactions/weight.ts'

export type ChainReason =
  /** One that we offered has expired, and the remote has neither failed nor fulfilled it for good. */
  | { readonly code: 'offered_htlc_expired'; readonly htlcId: bigint; readonly cltvExpiry: BlockHeight }
  /** One that we hold the preimage of is about to expire. */
  | { readonly code: 'received_htlc_expiring'; readonly htlcId: bigint; readonly cltvExpiry: BlockHeight }

/** Whether a received HTLC has an output on some valid commitment: on the chain nothing else is worth the way. */
const hasOutput = (channel: Channel, htlc: Htlc): boolean => {
  const has = (direction: 'offered' | 'received', dustLimitSat: Sat, which: 'local' | 'remote'): boolean =>
    !isTrimmed(channel.type.format, { direction, amountMsat: htlc.amountMsat }, feerateIn(channel, which), dustLimitSat)
  return has('received', channel.local.dustLimitSat, 'local') || has('offered', channel.remote.dustLimitSat, 'remote')
}

/** Why the channel must be closed on the chain now; undefined when it need not. `height` is the tip. */
export const mustGoOnChain = (channel: Channel, height: BlockHeight, policy: ChannelPolicy): ChainReason | undefined => {
  for (const htlc of channel.htlcs) {
    const { offeredBy, id: htlcId, cltvExpiry, stage, removal } = htlc
    if (offeredBy === 'local') {
      if (stage > 0 && height >= cltvExpiry + policy.timeoutGraceBlocks)
        return { code: 'offered_htlc_expired', htlcId, cltvExpiry }
    } else if (removal?.kind === 'fulfilled' && height + policy.fulfillDeadlineBlocks >= cltvExpiry && hasOutput(channel, htlc))
      return { code: 'received_htlc_expiring', htlcId, cltvExpiry }
  }
  return undefined
}
