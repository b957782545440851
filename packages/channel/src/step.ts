/**
 * The channel as one function: an input comes in, the next state and the effects come out. BOLT 2.
 * Total: every message in every phase has an answer (S69), and a peer cannot make it throw. What throws is a fault of ours.
 * Nothing is signed before `flush`: the driver sends it once for all inputs of a moment.
 */
import { unreachable } from '@leyden/codec'
import { announce, receiveAnnouncementSignatures } from './announce.ts'
import { checkNegotiation, closeChannel, isNegotiating, progress, receiveShutdown } from './close.ts'
import { receiveClosingComplete, receiveClosingSig } from './closing-complete.ts'
import { receiveClosingSigned } from './closing-signed.ts'
import { flush, receiveCommitmentSigned, receiveRevokeAndAck } from './commit.ts'
import { fundingBlock, fundingDisconnect, receiveChannelReady } from './depth.ts'
import type { ChannelEffect } from './effect.ts'
import type { ChannelEnv } from './env.ts'
import {
  abandon,
  answer,
  askToBeClosed,
  failChannel,
  forceCloseChannel,
  isOpening,
  receiveError,
  receiveWarning,
  repeatError,
} from './failure.ts'
import { followFeerate, receiveFee, updateFee } from './fee.ts'
import { dropStaleOffers, offerHtlc, receiveAdd, receiveFail, receiveFailMalformed, receiveFulfill, removeHtlc } from './htlc.ts'
import { conflictRefusal, isForgotten, isFundingLost, learnFunding, loseFunding, noteConflict } from './funding-loss.ts'
import type { ChannelInput, ChannelMessage } from './input.ts'
import { andThen, next, type Next, offline, publishWhole, refused } from './next.ts'
import { mustGoOnChain } from './onchain/deadlines.ts'
import { onchainBlock, onchainDisconnect, onchainPreimage, onchainSeen, resumeOnchain } from './onchain/resolution.ts'
import { fundingFeerate, receiveAccept, receiveFundingCreated, receiveFundingSigned, sendFundingCreated } from './open-v1.ts'
import { FUNDING_TIMEOUT_BLOCKS } from './policy.ts'
import { connect, receiveReestablish } from './reestablish.ts'
import type { Channel, Phase } from './state.ts'
import { isViolation, refusal, violation, type Violation } from './violations.ts'

type MessageType = ChannelMessage['type']
type PhaseName = Phase['name']

const LIVE: readonly PhaseName[] = ['normal', 'shuttingDown']
const FUNDED: readonly PhaseName[] = ['awaitingReady', 'normal', 'shuttingDown']

/** The phases in which a message may come on a connection that is in step. Elsewhere it is out of order. */
const EXPECTED: Readonly<Record<Exclude<MessageType, 'error' | 'warning' | 'channel_reestablish'>, readonly PhaseName[]>> = {
  // One that opens a channel makes one: acceptChannel. Here the id is taken.
  open_channel: [],
  accept_channel: ['awaitingAccept'],
  funding_created: ['awaitingFundingCreated'],
  funding_signed: ['awaitingFundingSigned'],
  channel_ready: [...FUNDED, 'closing'],
  announcement_signatures: [...FUNDED, 'closing'],
  update_add_htlc: LIVE,
  update_fulfill_htlc: LIVE,
  update_fail_htlc: LIVE,
  update_fail_malformed_htlc: LIVE,
  update_fee: LIVE,
  commitment_signed: LIVE,
  revoke_and_ack: LIVE,
  shutdown: [...FUNDED, 'closing'],
  closing_signed: ['shuttingDown', 'closing'],
  closing_complete: ['shuttingDown', 'closing'],
  closing_sig: ['shuttingDown', 'closing'],
  // option_quiesce is not negotiated.
  stfu: [],
}

/**
 * Whether both have said channel_ready, also when one wants to close already. Then the depth does not tell: a reorganisation may have
 * made it less. That they have heard ours is seen from what they send: without its point they could sign nothing.
 */
const isUsable = (channel: Channel): boolean =>
  channel.phase.name === 'normal' || (channel.phase.name === 'shuttingDown' && channel.remoteNextPoint !== undefined)

const outOfOrder = (channel: Channel, message: ChannelMessage): Violation =>
  violation(
    'out_of_order',
    { message: message.type, phase: channel.phase.name },
    // What is funded is worth another try: the next connection starts in step.
    isOpening(channel) ? 'fail' : 'disconnect',
  )

const receive = (channel: Channel, message: ChannelMessage, env: ChannelEnv): Next | Violation => {
  // A peer that still waits for it, because our last word was lost with the connection, need not wait for ever.
  if (channel.phase.name === 'closed')
    return message.type === 'channel_reestablish' ? next(channel, repeatError(channel)) : next(channel)
  if (message.type === 'error') return receiveError(channel, message, env)
  if (message.type === 'warning') return receiveWarning(channel, message)
  if (channel.phase.name === 'closing' && !isNegotiating(channel))
    return message.type === 'channel_reestablish' ? next(channel, repeatError(channel)) : next(channel)
  if (channel.link === 'offline') return next(channel)
  if (message.type === 'channel_reestablish') {
    if (channel.link !== 'reestablishing') return outOfOrder(channel, message)
    const back = receiveReestablish(channel, message, env)
    return !isViolation(back) && back.channel.fellBehind && !channel.fellBehind ? askToBeClosed(back.channel) : back
  }
  if (channel.link === 'reestablishing') {
    // Some send these two early. They bind nobody: what they say is kept.
    const isEarly = message.type === 'channel_ready' || message.type === 'announcement_signatures'
    if (isEarly && EXPECTED[message.type].includes(channel.phase.name)) return dispatch(channel, message, env)
    return outOfOrder(channel, message)
  }
  return EXPECTED[message.type].includes(channel.phase.name) ? dispatch(channel, message, env) : outOfOrder(channel, message)
}

type Dispatched = Exclude<ChannelMessage, { type: 'error' | 'warning' | 'channel_reestablish' }>

const dispatch = (channel: Channel, message: Dispatched, env: ChannelEnv): Next | Violation => {
  switch (message.type) {
    case 'accept_channel':
      return receiveAccept(channel, message, env)
    case 'funding_created':
      return receiveFundingCreated(channel, message, env)
    case 'funding_signed':
      return receiveFundingSigned(channel, message, env)
    case 'channel_ready':
      return receiveChannelReady(channel, message)
    case 'announcement_signatures':
      return receiveAnnouncementSignatures(channel, message, env)
    case 'shutdown':
      return receiveShutdown(channel, message, env)
    case 'closing_signed':
      return checkNegotiation(channel, 'legacy') ?? receiveClosingSigned(channel, message, env)
    case 'closing_complete':
      return checkNegotiation(channel, 'simple') ?? receiveClosingComplete(channel, message, env)
    case 'closing_sig':
      return checkNegotiation(channel, 'simple') ?? receiveClosingSig(channel, message, env)
    case 'open_channel':
    case 'stfu':
      return outOfOrder(channel, message)
    case 'update_add_htlc':
    case 'update_fulfill_htlc':
    case 'update_fail_htlc':
    case 'update_fail_malformed_htlc':
    case 'update_fee':
    case 'commitment_signed':
    case 'revoke_and_ack':
      return isUsable(channel) ? update(channel, message, env) : outOfOrder(channel, message)
    default:
      return unreachable(message)
  }
}

type Update = Extract<Dispatched, { type: `update_${string}` | 'commitment_signed' | 'revoke_and_ack' }>

const update = (channel: Channel, message: Update, env: ChannelEnv): Next | Violation => {
  switch (message.type) {
    case 'update_add_htlc':
      return receiveAdd(channel, message)
    case 'update_fulfill_htlc':
      return receiveFulfill(channel, message)
    case 'update_fail_htlc':
      return receiveFail(channel, message)
    case 'update_fail_malformed_htlc':
      return receiveFailMalformed(channel, message)
    case 'update_fee':
      return receiveFee(channel, message, env)
    case 'commitment_signed':
      return receiveCommitmentSigned(channel, message, env)
    case 'revoke_and_ack':
      return receiveRevokeAndAck(channel, message, env)
    default:
      return unreachable(message)
  }
}

type PeerInput = Extract<ChannelInput, { from: 'peer' }>
type OwnerInput = Extract<ChannelInput, { from: 'owner' }>
type ChainInput = Extract<ChannelInput, { from: 'chain' }>

const fromPeer = (channel: Channel, input: PeerInput, env: ChannelEnv): Next | Violation => {
  switch (input.type) {
    case 'message':
      return receive(channel, input.message, env)
    case 'connected':
      if (channel.phase.name === 'closed') return next(channel)
      if (isOpening(channel)) return abandon(channel)
      if (channel.phase.name !== 'closing' || isNegotiating(channel)) return connect(offline(channel), input.remoteFeatures, env)
      return channel.error === undefined ? next(channel) : next(channel, repeatError(channel))
    case 'disconnected':
      // BOLT 2 § Message Retransmission: what is not signed by both need not be remembered.
      return isOpening(channel) ? abandon(channel) : next(offline(channel))
    default:
      return unreachable(input)
  }
}

const fromOwner = (channel: Channel, input: OwnerInput, env: ChannelEnv): Next | Violation => {
  const phase = channel.phase.name
  switch (input.type) {
    case 'funded':
      if (phase === 'awaitingFunding')
        return andThen(sendFundingCreated(channel, input.tx, input.outputIndex, env), (current) =>
          next(learnFunding(current, input.tx, true)),
        )
      return next(channel, { to: 'owner', type: 'fundingReleased', tx: input.tx })
    case 'fundingFailed':
      return phase === 'awaitingFunding' ? failChannel(channel, 'funding_failed', env) : next(channel)
    case 'offerHtlc':
      return offerHtlc(channel, input, env)
    case 'fulfillHtlc':
      if (phase === 'closing') return onchainPreimage(channel, input, env)
      return removeHtlc(channel, input.htlcId, { kind: 'fulfilled', preimage: input.preimage })
    case 'failHtlc':
      // On the chain an HTLC that we received simply runs out.
      if (phase === 'closing') return next(channel)
      return removeHtlc(channel, input.htlcId, { kind: 'failed', reason: input.reason })
    case 'failMalformedHtlc': {
      if (phase === 'closing') return next(channel)
      const { failureCode, sha256OfOnion } = input
      return removeHtlc(channel, input.htlcId, { kind: 'malformed', failureCode, sha256OfOnion })
    }
    case 'updateFee':
      return updateFee(channel, input.feeratePerKw, env)
    case 'close':
      if (isOpening(channel)) return failChannel(channel, 'opening_cancelled', env)
      if (channel.fundingConflict !== undefined) return refused(channel, 'close', conflictRefusal(channel, env))
      return closeChannel(channel, input, env)
    case 'forceClose':
      if (phase === 'closed') return refused(channel, 'forceClose', refusal('channel_not_usable', { phase }))
      if (channel.fundingConflict !== undefined) return refused(channel, 'forceClose', conflictRefusal(channel, env))
      return forceCloseChannel(channel, input.reason, env)
    case 'flush':
      return flush(channel, env)
    default:
      return unreachable(input)
  }
}

const fromChain = (channel: Channel, input: ChainInput, env: ChannelEnv): Next | Violation => {
  if (channel.phase.name === 'closed') return next(channel)
  switch (input.type) {
    case 'blockConnected': {
      if (isOpening(channel)) {
        const isStale = input.height >= channel.openedAtHeight + FUNDING_TIMEOUT_BLOCKS
        return isStale ? failChannel(channel, 'opening_timed_out', env) : next({ ...channel, height: input.height })
      }
      const learnt = input.transactions.reduce((current, { tx }) => learnFunding(current, tx, true), channel)
      const noted = noteConflict(learnt, input, env)
      const funded = fundingBlock(noted.channel, input, env)
      if (isViolation(funded)) return funded
      const placed: Next = { channel: funded.channel, effects: [...noted.effects, ...funded.effects] }
      if (isFundingLost(funded.channel, env)) return andThen(placed, loseFunding)
      if (isForgotten(funded.channel)) return andThen(placed, funded.channel.shortChannelId === undefined ? abandon : loseFunding)
      return andThen(
        placed,
        (current) => onchainBlock(current, input, env),
        (current) => dropStaleOffers(current, input.height),
        (current) => keepDeadlines(current, env),
      )
    }
    case 'blockDisconnected':
      if (isOpening(channel)) return next(fundingDisconnect(channel, input.height, input.hash))
      return onchainDisconnect(fundingDisconnect(channel, input.height, input.hash), input, env)
    case 'transactionSeen':
      return isOpening(channel) ? next(channel) : onchainSeen(learnFunding(channel, input.tx, false), input.tx, env)
    case 'feerate':
      return followFeerate(channel, input.commitmentFeeratePerKw, env)
    default:
      return unreachable(input)
  }
}

/** An HTLC that the peer does not resolve in time closes the channel. BOLT 2 § cltv_expiry_delta Selection. */
const keepDeadlines = (channel: Channel, env: ChannelEnv): Next => {
  if (channel.phase.name !== 'normal' && channel.phase.name !== 'shuttingDown') return next(channel)
  const reason = mustGoOnChain(channel, channel.height, env.policy)
  return reason === undefined ? next(channel) : failChannel(channel, reason.code, env)
}

const apply = (channel: Channel, input: ChannelInput, env: ChannelEnv): Next | Violation => {
  switch (input.from) {
    case 'peer':
      return fromPeer(channel, input, env)
    case 'owner':
      return fromOwner(channel, input, env)
    case 'chain':
      return fromChain(channel, input, env)
    default:
      return unreachable(input)
  }
}

/** Nothing of a channel can be mined while its funding cannot: it is not even sent (funding-loss.ts). */
const withoutVain = ({ fundingConflict }: Channel, effects: readonly ChannelEffect[]): readonly ChannelEffect[] =>
  fundingConflict === undefined ? effects : effects.filter(({ type }) => type !== 'publish')

/** One input. Effects leave in this order, once the state is durable. */
export const step = (
  channel: Channel,
  input: ChannelInput,
  env: ChannelEnv,
): { readonly state: Channel; readonly effects: readonly ChannelEffect[] } => {
  const applied = apply(channel, input, env)
  const done = andThen(
    isViolation(applied) ? answer(channel, applied, env) : applied,
    (current) => progress(current, env),
    (current) => announce(current, env),
  )
  return { state: done.channel, effects: withoutVain(done.channel, done.effects) }
}

/**
 * After a restart: what has to be watched and published again, as it was; nothing is decided anew. A channel that was being opened
 * is given up by the input `disconnected`, which the service sends to every channel that it has loaded.
 */
export const resume = (channel: Channel, env: ChannelEnv): readonly ChannelEffect[] => {
  if (channel.phase.name === 'closed' || isOpening(channel)) return []
  const { fundingTx } = channel
  const isUnconfirmed = channel.active[0]?.funding.confirmed === undefined
  return withoutVain(channel, [
    ...resumeOnchain(channel, env),
    ...(fundingTx !== undefined && isUnconfirmed ? [publishWhole(channel, fundingTx, fundingFeerate(channel, env))] : []),
  ])
}
