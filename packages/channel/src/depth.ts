/**
 * From a signed channel to a usable one: the funding transaction in the chain, channel_ready, the short channel id.
 * BOLT 2 § The channel_ready Message. Announcing is announce.ts.
 * A reorg of the funding transaction takes the confirmation away and nothing else: the channel stays usable, and where the
 * transaction comes back at another place the short channel id changes.
 */
import { type BlockHash, type BlockHeight, BlockHeight as heightOf, isCoinbase, type Tx, txid } from '@leyden/bitcoin'
import { type ChannelReady, scid } from '@leyden/lnwire'
import { reset } from './announce.ts'
import type { ChannelEnv } from './env.ts'
import type { ChannelMessage } from './input.ts'
import { next, type Next, publishWhole, send } from './next.ts'
import { fundingFeerate, isFundedBy } from './open-v1.ts'
import { COINBASE_DEPTH_BLOCKS } from './policy.ts'
import type { Active, Channel } from './state.ts'
import { violation, type Violation } from './violations.ts'

/** Confirmations of the funding transaction: 0 while it is in no block. */
export const depthOf = (channel: Channel): number => {
  const confirmed = channel.active[0]?.funding.confirmed
  return confirmed === undefined ? 0 : Math.max(0, channel.height - confirmed.height + 1)
}

const neededDepth = (channel: Channel): number =>
  channel.active[0]?.funding.confirmed?.coinbase
    ? Math.max(channel.minimumDepthBlocks, COINBASE_DEPTH_BLOCKS)
    : channel.minimumDepthBlocks

export const isDeepEnough = (channel: Channel): boolean => depthOf(channel) >= neededDepth(channel)

/**
 * Whether we have said channel_ready, in a phase that does not tell. What has been updated was ready, however shallow a
 * reorganisation has made its funding since.
 */
export const wasReady = (channel: Channel): boolean =>
  channel.localCommitmentNumber > 0 ||
  channel.remoteCommitmentNumber > 0 ||
  channel.htlcs.length > 0 ||
  channel.feeUpdates.length > 0 ||
  isDeepEnough(channel)

export const channelReadyMessage = (channel: Channel, env: ChannelEnv): ChannelMessage => ({
  type: 'channel_ready',
  channelId: channel.channelId,
  secondPerCommitmentPoint: env.signer.perCommitmentPoint(channel.keyIndex, 1),
  shortChannelId: channel.localAlias,
})

const withFunding = (channel: Channel, change: (funding: Active['funding']) => Active['funding']): Channel => ({
  ...channel,
  active: channel.active.map((active, i) => (i === 0 ? { ...active, funding: change(active.funding) } : active)),
})

const told = (channel: Channel): Next =>
  next(channel, {
    to: 'owner',
    type: 'ready',
    ...(channel.shortChannelId === undefined ? {} : { shortChannelId: channel.shortChannelId }),
  })

/** Both have said channel_ready: from here on it carries payments. */
const enterNormal = (channel: Channel): Next => {
  const { phase } = channel
  if (phase.name !== 'awaitingReady' || !phase.localReady || !phase.remoteReady) return next(channel)
  return told({ ...channel, phase: { name: 'normal' } })
}

/** Says channel_ready once the funding transaction is deep enough. Offline it counts as said: reestablish.ts says it. */
const becomeReady = (channel: Channel, env: ChannelEnv): Next => {
  const { phase } = channel
  if (phase.name !== 'awaitingReady' || phase.localReady || !isDeepEnough(channel)) return next(channel)
  const ready = enterNormal({ ...channel, phase: { ...phase, localReady: true } })
  return channel.link === 'online' ? next(ready.channel, send(channelReadyMessage(channel, env)), ...ready.effects) : ready
}

/** BOLT 2 § The channel_ready Message. A second one only tells another alias (S69). */
export const receiveChannelReady = (channel: Channel, message: ChannelReady): Next => {
  const alias = message.shortChannelId === undefined ? {} : { remoteAlias: message.shortChannelId }
  const { phase } = channel
  const first = channel.remoteNextPoint === undefined
  const point = first ? { remoteNextPoint: message.secondPerCommitmentPoint } : {}
  const heard: Channel = { ...channel, ...alias, ...point }
  return phase.name === 'awaitingReady' ? enterNormal({ ...heard, phase: { ...phase, remoteReady: true } }) : next(heard)
}

/** The funding transaction is in a block. S24: it must have our output; S25: a coinbase counts only when it is mature. */
const confirm = (
  channel: Channel,
  found: { readonly tx: Tx; readonly txIndex: number; readonly height: BlockHeight; readonly hash: BlockHash },
): Next | Violation => {
  const [active] = channel.active
  if (active === undefined) return next(channel)
  const { tx, txIndex, height, hash } = found
  if (!isFundedBy(channel, tx, active.funding.outpoint.vout)) return violation('funding_output_wrong', { txid: txid(tx) })
  const confirmed = { height, txIndex, blockHash: hash, coinbase: isCoinbase(tx) }
  const shortChannelId = scid(height, txIndex, active.funding.outpoint.vout)
  const before = channel.shortChannelId
  const { fundingConflict: _, ...free } = channel
  const placed = withFunding({ ...free, shortChannelId }, (funding) => {
    const { leftAtHeight: _, ...stays } = funding
    return { ...stays, confirmed }
  })
  if (before === undefined || before === shortChannelId) return next(placed)
  const moved = reset(placed)
  return channel.phase.name === 'normal' ? told(moved) : next(moved)
}

/** A block: the funding transaction may be in it or get deeper. */
export const fundingBlock = (
  channel: Channel,
  block: {
    readonly height: BlockHeight
    readonly hash: BlockHash
    readonly transactions: readonly { readonly tx: Tx; readonly txIndex: number }[]
  },
  env: ChannelEnv,
): Next | Violation => {
  const { height, hash } = block
  let current: Channel = { ...channel, height }
  const effects: Next['effects'][number][] = []
  const fundingTxid = channel.active[0]?.funding.outpoint.txid
  for (const { tx, txIndex } of block.transactions) {
    if (txid(tx) !== fundingTxid) continue
    const placed = confirm(current, { tx, txIndex, height, hash })
    if ('kind' in placed) return placed
    current = placed.channel
    effects.push(...placed.effects)
  }
  if (current.fundingTx !== undefined && fundingTxid !== undefined) {
    const depth = depthOf(current)
    if (depth >= env.policy.safeDepthBlocks) {
      const { fundingTx: _, ...rest } = current
      current = rest
    } else if (depth === 0 && current.phase.name !== 'awaitingFundingSigned')
      effects.push(publishWhole(current, current.fundingTx, fundingFeerate(current, env)))
  }
  const ready = becomeReady(current, env)
  return { channel: ready.channel, effects: [...effects, ...ready.effects] }
}

/** Without a conflict of the funding transaction that was in this block or above: it may come back (funding-loss.ts). */
const withoutConflictFrom = (channel: Channel, height: BlockHeight): Channel => {
  const { fundingConflict, ...rest } = channel
  return fundingConflict === undefined || fundingConflict.height < height ? channel : rest
}

/** The last block is not in the best chain any more. */
export const fundingDisconnect = (channel: Channel, height: BlockHeight, hash: BlockHash): Channel => {
  const lower: Channel = { ...withoutConflictFrom(channel, height), height: heightOf(Math.max(0, height - 1)) }
  return withFunding(lower, (funding) => {
    if (funding.confirmed === undefined || funding.confirmed.blockHash !== hash) return funding
    const { confirmed: _, ...unconfirmed } = funding
    return { ...unconfirmed, leftAtHeight: height }
  })
}
