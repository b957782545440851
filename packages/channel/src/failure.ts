/**
 * The end of a channel by force, and the answers to a peer that broke a rule.
 * BOLT 1 § The error and warning Messages; BOLT 5 § Failing a Channel.
 * Before both have signed, failing is forgetting: nothing is on the chain. After it, our latest commitment goes there (onchain/).
 */
import { unreachable, utf8Encode } from '@leyden/codec'
import { type ErrorMessage, printable, type Warning } from '@leyden/lnwire'
import { depthOf } from './depth.ts'
import type { ChannelEffect } from './effect.ts'
import type { ChannelEnv } from './env.ts'
import { next, type Next, offline, send } from './next.ts'
import { forceClose } from './onchain/resolution.ts'
import type { Channel, CloseKind } from './state.ts'
import { violation, type Violation } from './violations.ts'

/** Whether the opening has not come to where both have signed. */
export const isOpening = (channel: Channel): boolean => {
  switch (channel.phase.name) {
    case 'awaitingAccept':
    case 'awaitingFunding':
    case 'awaitingFundingCreated':
    case 'awaitingFundingSigned':
      return true
    default:
      return false
  }
}

/** The peer may not know the final id yet while the channel is being opened. */
const wireId = (channel: Channel) => (isOpening(channel) ? channel.temporaryChannelId : channel.channelId)

const errorMessage = (channel: Channel, text: string): ErrorMessage => ({
  type: 'error',
  channelId: wireId(channel),
  data: utf8Encode(text),
})

const warningMessage = (channel: Channel, text: string): Warning => ({
  type: 'warning',
  channelId: wireId(channel),
  data: utf8Encode(text),
})

/** It was never funded, as far as we are concerned: what the wallet had set aside is free again. */
const forget = (channel: Channel, how: CloseKind): Next => {
  const hasWallet = channel.phase.name === 'awaitingFunding' || channel.phase.name === 'awaitingFundingSigned'
  const { fundingTx, ...rest } = channel
  return next(
    { ...rest, phase: { name: 'closed', how } },
    ...(hasWallet
      ? ([{ to: 'owner', type: 'fundingReleased', ...(fundingTx === undefined ? {} : { tx: fundingTx }) }] as const)
      : []),
    { to: 'owner', type: 'closed', how },
  )
}

/** We accepted, own nothing of it and have not seen it in the chain: there is nothing to publish. */
const hasNothing = (channel: Channel): boolean =>
  channel.role === 'accepter' &&
  channel.phase.name === 'awaitingReady' &&
  depthOf(channel) === 0 &&
  channel.active.every((active) => active.localMsat === 0n)

/** Ends the channel without a word to the peer. A cooperative close that is signed already goes on. */
const end = (channel: Channel, reason: string, env: ChannelEnv): Next => {
  const { phase } = channel
  if (phase.name === 'closed') return next(channel)
  const failed: Channel = { ...channel, error: reason }
  if (isOpening(channel)) return forget(failed, 'neverFunded')
  if (hasNothing(channel)) return forget(failed, 'abandoned')
  if (phase.name === 'closing') return next(failed)
  return forceClose(failed, env)
}

/** Ends the channel and tells the peer why. */
export const failChannel = (channel: Channel, reason: string, env: ChannelEnv): Next => {
  if (channel.phase.name === 'closed') return next(channel)
  const { channel: ended, effects } = end(channel, reason, env)
  return channel.link === 'offline' ? { channel: ended, effects } : next(ended, send(errorMessage(channel, reason)), ...effects)
}

/** Nobody has funded it, or we wanted it no more. */
export const abandon = (channel: Channel): Next => forget(channel, 'neverFunded')

/** The owner's wish: also where a cooperative close is signed and does not get mined. */
export const forceCloseChannel = (channel: Channel, reason: string, env: ChannelEnv): Next => {
  if (channel.phase.name !== 'closing') return failChannel(channel, reason, env)
  return forceClose({ ...channel, error: reason }, env)
}

/** The peer proved that we lost data: our commitment would be punished, so we ask for theirs and wait. BOLT 2 § Message Retransmission. */
export const askToBeClosed = (channel: Channel): Next => {
  const reason = 'we_fell_behind'
  return next(
    { ...channel, phase: { name: 'closing' }, error: reason },
    send(errorMessage(channel, reason)),
    { to: 'owner', type: 'violated', violation: violation(reason, { localCommitmentNumber: channel.localCommitmentNumber }) },
    { to: 'owner', type: 'closing', how: 'remote' },
  )
}

/** What to say to a peer that speaks about a channel which is over. BOLT 2 § Message Retransmission: retransmit the error. */
export const repeatError = (channel: Channel): ChannelEffect => send(errorMessage(channel, channel.error ?? 'channel_is_closing'))

/** The peer broke a rule: the channel is as it was before the message, and this is the answer. */
export const answer = (channel: Channel, wrong: Violation, env: ChannelEnv): Next => {
  const told: ChannelEffect = { to: 'owner', type: 'violated', violation: wrong }
  const warning = send(warningMessage(channel, wrong.code))
  switch (wrong.answer) {
    case 'ignore':
      return next(channel, told)
    case 'warn':
      return next(channel, warning, told)
    case 'disconnect':
      return next(offline(channel), warning, { to: 'peer', type: 'disconnect' }, told)
    case 'fail': {
      const failed = failChannel(channel, wrong.code, env)
      return next(failed.channel, ...failed.effects, told)
    }
    default:
      return unreachable(wrong.answer)
  }
}

/** The peer has failed the channel. BOLT 1 § The error and warning Messages, receiver. */
export const receiveError = (channel: Channel, message: ErrorMessage, env: ChannelEnv): Next => {
  if (channel.phase.name === 'closed') return next(channel)
  const text = printable(message.data)
  const ended = end(channel, text, env)
  return next(
    ended.channel,
    { to: 'owner', type: 'violated', violation: violation('error_received', { text }) },
    ...ended.effects,
  )
}

/** For the log. */
export const receiveWarning = (channel: Channel, message: Warning): Next =>
  next(channel, {
    to: 'owner',
    type: 'violated',
    violation: violation('warning_received', { text: printable(message.data) }, 'ignore'),
  })
