/**
 * What the end on the chain means for HTLCs and for the channel: when one that we offered has failed for good, and when all is done.
 * BOLT 5 § HTLC Output Handling, § General Nomenclature ("irrevocably resolved").
 * An HTLC is failed only when no reorg can bring it back and nobody showed its preimage: the incoming twin is given up with it.
 */
import type { ChannelEffect } from '../effect.ts'
import type { ChannelEnv } from '../env.ts'
import type { Channel, Htlc } from '../state.ts'
import { claimOf } from './claim.ts'
import { isWorthClaiming } from './publications.ts'
import { closeKindOf, type FundingSpend, type Onchain, type OnchainOutput } from './state.ts'

interface Next {
  readonly channel: Channel
  readonly effects: readonly ChannelEffect[]
}

const isDeep = (channel: Channel, height: number, env: ChannelEnv): boolean =>
  channel.height - height + 1 >= env.policy.safeDepthBlocks

/** No fee is low enough to make anything of it. */
const isWorthless = (
  channel: Channel,
  onchain: Onchain,
  spend: FundingSpend,
  output: OnchainOutput,
  env: ChannelEnv,
): boolean => {
  const claim = claimOf(channel, spend, output, env.policy, env.signer)
  return claim !== undefined && !isWorthClaiming(channel, claim, onchain, env)
}

const hasLongExpired = (channel: Channel, cltvExpiry: number, env: ChannelEnv): boolean =>
  channel.height >= cltvExpiry + env.policy.safeDepthBlocks

/** Whether nothing can be gained from an output any more, whatever reorgs may come. */
const isResolved = (channel: Channel, onchain: Onchain, spend: FundingSpend, output: OnchainOutput, env: ChannelEnv): boolean => {
  const { spent, htlc, path } = output
  if (spent !== undefined) return isDeep(channel, spent.height, env)
  if (!isDeep(channel, output.createdAt, env)) return false
  if (path.by !== 'revocation' && htlc !== undefined && !hasLongExpired(channel, htlc.cltvExpiry, env)) return false
  const claim = claimOf(channel, spend, output, env.policy, env.signer)
  return claim === undefined || isWorthless(channel, onchain, spend, output, env)
}

/** Whether an HTLC that we offered is gone for good without a preimage. */
const hasFailed = (channel: Channel, onchain: Onchain, htlc: Htlc, env: ChannelEnv): boolean => {
  const { spend, outputs } = onchain
  if (spend === undefined) return false
  if (!isDeep(channel, spend.height, env)) return false
  const output = outputs.find((each) => each.htlc?.offeredBy === 'local' && each.htlc.id === htlc.id)
  if (output === undefined) {
    // of a commitment that we cannot read, an HTLC may have an output that we do not know
    const readable = spend.kind !== 'future' && spend.kind !== 'unknown'
    return readable || hasLongExpired(channel, htlc.cltvExpiry, env)
  }
  return isResolved(channel, onchain, spend, output, env)
}

const failureOf = ({ stage, removal }: Htlc): (ChannelEffect & { type: 'htlcFailed' })['failure'] => {
  if (stage === 0) return { kind: 'neverSent' }
  if (removal?.kind === 'failed') return { kind: 'remote', reason: removal.reason }
  if (removal?.kind === 'malformed')
    return { kind: 'malformed', failureCode: removal.failureCode, sha256OfOnion: removal.sha256OfOnion }
  return { kind: 'onchain' }
}

const tell = (channel: Channel, isDue: (htlc: Htlc) => boolean): Next => {
  const effects: ChannelEffect[] = []
  const htlcs = channel.htlcs.map((htlc) => {
    if (htlc.offeredBy !== 'local' || htlc.told === true) return htlc
    const known = htlc.removal?.kind === 'fulfilled' ? htlc.removal.preimage : undefined
    if (known === undefined && !isDue(htlc)) return htlc
    const { id: htlcId, origin } = htlc
    if (origin !== undefined)
      effects.push(
        known === undefined
          ? { to: 'owner', type: 'htlcFailed', htlcId, origin, failure: failureOf(htlc) }
          : { to: 'owner', type: 'htlcFulfilled', htlcId, origin, preimage: known },
      )
    return { ...htlc, told: true }
  })
  return effects.length === 0 && htlcs.every((htlc, i) => htlc === channel.htlcs[i])
    ? { channel, effects }
    : { channel: { ...channel, htlcs }, effects }
}

/** HTLCs that no signed commitment ever held: they can be failed as soon as the channel is over. */
export const tellNeverSent = (channel: Channel): Next => tell(channel, ({ stage }) => stage === 0)

/** No commitment can ever be mined: every HTLC that we offered and whose preimage nobody has shown has failed. */
export const tellFundingLost = (channel: Channel): Next => tell(channel, () => true)

/** Tells the owner of HTLCs that have failed for good (S2, S3, S5), and ends the channel when nothing is left to do. */
export const settle = (channel: Channel, env: ChannelEnv): Next => {
  const { onchain } = channel
  if (onchain?.spend === undefined || channel.phase.name === 'closed') return { channel, effects: [] }
  const { spend, outputs } = onchain
  const told = tell(channel, (htlc) => htlc.stage === 0 || hasFailed(channel, onchain, htlc, env))
  const isDone =
    isDeep(channel, spend.height, env) &&
    told.channel.htlcs.every((htlc) => htlc.offeredBy === 'remote' || htlc.told === true) &&
    outputs.every((output) => isResolved(channel, onchain, spend, output, env))
  if (!isDone) return told
  const how = closeKindOf(spend.kind)
  return {
    channel: { ...told.channel, phase: { name: 'closed', how } },
    effects: [...told.effects, { to: 'owner', type: 'closed', how }],
  }
}
