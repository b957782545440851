/**
 * A funding transaction that can never be mined: something that it spends, or that it stands on, is spent by another transaction in
 * the chain. The opener cheats, or a reorganisation has replaced what the wallet's coins came from. BOLT 2 § The channel_ready Message.
 *
 * While a conflict is in the chain nothing of the channel can be mined, so nothing of it is broadcast, nothing is offered in it, and
 * what comes in is failed: a peer that has spent its funding twice must not be paid elsewhere for HTLCs that are worth nothing. The
 * channel itself waits, because a reorganisation may bring its funding back: it ends when the conflict is as deep as we want a fact of
 * the chain to be, and at least as deep as the funding itself had to be to be trusted. Only then have HTLCs that we offered failed, and
 * with them those of other channels that hang on them; the peer may show a preimage for as long as it likes before.
 *
 * What we could be owed is never forgotten on anybody's word. The opener's wallet knows what its transaction stands on. The accepter
 * knows its inputs once it has seen it, and from the block on keeps it to publish it again itself, so that the opener cannot let it
 * lapse. Where the accepter does not know, an error of the opener ends only what holds nothing of ours; all else is published until it
 * is mined. Two weeks without the funding end a channel that was never confirmed, as BOLT 2 has it (what was pushed to us is then not
 * lost but not watched: their commitment pays it to a key of our seed), and one that was and has nothing of ours.
 */
import { type BlockHeight, BlockHeight as heightOf, isCoinbase, outpointKey, type Tx, txid, txWeight } from '@leyden/bitcoin'
import { depthOf } from './depth.ts'
import type { ChannelEnv, ChannelPolicy } from './env.ts'
import { repeatError } from './failure.ts'
import type { ChannelInput } from './input.ts'
import { next, type Next } from './next.ts'
import { tellFundingLost } from './onchain/outcome.ts'
import { FUNDING_TIMEOUT_BLOCKS } from './policy.ts'
import type { Channel, FundingConflict } from './state.ts'
import { refusal, type Refusal } from './violations.ts'

type BlockConnected = ChannelInput & { readonly type: 'blockConnected' }

/** Of a peer's funding transaction that we keep: some 150 inputs. Of a heavier one the accepter knows as little as of one unseen. */
const MOST_KEPT_WEIGHT = 40_000

/** The channel with what its funding transaction spends, if this is it. `keep`: to be published again, should it leave the chain. */
export const learnFunding = (channel: Channel, tx: Tx, keep: boolean): Channel => {
  if (txid(tx) !== channel.active[0]?.funding.outpoint.txid || isCoinbase(tx)) return channel
  const { fundingInputs, fundingTx } = channel
  const isNew = fundingInputs === undefined || (keep && fundingTx === undefined)
  if (!isNew || (channel.role === 'accepter' && txWeight(tx) > MOST_KEPT_WEIGHT)) return channel
  return {
    ...channel,
    fundingInputs: tx.inputs.map(({ outpoint }) => outpoint),
    ...(keep ? { fundingTx: fundingTx ?? tx } : {}),
  }
}

/** The height at which a conflict is final. */
export const finalAtHeight = (
  channel: Channel,
  { height }: FundingConflict,
  { safeDepthBlocks }: Pick<ChannelPolicy, 'safeDepthBlocks'>,
): BlockHeight => heightOf(height + Math.max(safeDepthBlocks, channel.minimumDepthBlocks) - 1)

const conflictIn = (channel: Channel, { height, transactions }: BlockConnected): FundingConflict | undefined => {
  const funding = channel.active[0]?.funding.outpoint.txid
  const inputs = new Set(channel.fundingInputs?.map(outpointKey))
  for (const { tx } of transactions) {
    const id = txid(tx)
    if (id !== funding && tx.inputs.some(({ outpoint }) => inputs.has(outpointKey(outpoint)))) return { txid: id, height }
  }
  return undefined
}

/** A block: another transaction may take what the funding needs. The first to do so counts. */
export const noteConflict = (channel: Channel, block: BlockConnected, env: ChannelEnv): Next => {
  if (depthOf(channel) > 0 || channel.fundingConflict !== undefined) return next(channel)
  const conflict = block.fundingConflict ?? conflictIn(channel, block)
  if (conflict === undefined) return next(channel)
  return next(
    { ...channel, fundingConflict: conflict },
    { to: 'owner', type: 'fundingConflicted', conflict, finalAtHeight: finalAtHeight(channel, conflict, env.policy) },
  )
}

/** Why the owner cannot close it: nothing would be mined, and it may not be forgotten while its funding may come back. */
export const conflictRefusal = (channel: Channel, env: ChannelEnv): Refusal => {
  const { fundingConflict: conflict } = channel
  if (conflict === undefined) return refusal('funding_conflicted')
  return refusal('funding_conflicted', { conflict: conflict.txid, finalAtHeight: finalAtHeight(channel, conflict, env.policy) })
}

/** Whether the funding can never be mined, whatever reorganisations may come. */
export const isFundingLost = (channel: Channel, env: ChannelEnv): boolean => {
  const { fundingConflict: conflict } = channel
  return conflict !== undefined && channel.height >= finalAtHeight(channel, conflict, env.policy)
}

/** The channel has ended: what was offered in it has failed, and whatever the wallet still holds for it is free. */
export const loseFunding = (channel: Channel): Next => {
  const told = tellFundingLost(channel)
  const { fundingTx, ...rest } = told.channel
  const ended: Channel = { ...rest, error: channel.error ?? 'funding_lost', phase: { name: 'closed', how: 'fundingLost' } }
  return next(
    ended,
    ...(channel.link === 'offline' ? [] : [repeatError({ ...ended, error: 'funding_lost' })]),
    ...told.effects,
    ...(channel.role === 'opener' && fundingTx !== undefined
      ? [{ to: 'owner', type: 'fundingReleased', tx: fundingTx } as const]
      : []),
    { to: 'owner', type: 'closed', how: 'fundingLost' },
  )
}

/**
 * We accepted, and nobody has funded it in two weeks (S53), or its funding has not come back in two weeks and nothing of it is ours.
 * BOLT 2 § The channel_ready Message.
 */
export const isForgotten = (channel: Channel): boolean => {
  const { role, phase, active, htlcs, height, openedAtHeight, shortChannelId } = channel
  if (role !== 'accepter' || phase.name === 'closed' || depthOf(channel) > 0) return false
  const since = shortChannelId === undefined ? openedAtHeight : active[0]?.funding.leftAtHeight
  if (since === undefined || height < since + FUNDING_TIMEOUT_BLOCKS) return false
  return shortChannelId === undefined || (htlcs.length === 0 && active.every(({ localMsat }) => localMsat === 0n))
}
