/**
 * Forwarding: one record per HTLC that came in, written together with the HTLC that goes out. BOLT 4 § Accepting and Forwarding a
 * Payment (forwarding node), § Failure Messages; BOLT 7 § HTLC Fees; BOLT 2 § cltv_expiry_delta Selection.
 * A record that exists is never offered again (S47); outcomes find it by channel and id (S48). A preimage goes back at once, and once
 * there is one the HTLC is never failed, whatever is said later (S2).
 */
import { hexToBytes, bytesToHex, equalBytes, unreachable } from '@leyden/codec'
import { sha256 } from '@leyden/crypto'
import { type ChannelId, Preimage } from '@leyden/lnwire'
import { BADONION, buildFailure, type Failure, failureFromMalformed, type ForwardPayload, wrapFailure } from '@leyden/onion'
import { forwardingFee, type OwnPolicy } from '@leyden/routing'
import type { ChannelView, CommittedHtlc, HtlcFailure } from './channel-port.ts'
import { NOTHING, type Outcome, type PaymentEffect, type PaymentEnv } from './env.ts'
import { failWith } from './receive.ts'
import { type Forward, forwardKey, type PaymentRecords } from './records.ts'

const NO_UPDATE = new Uint8Array(0)

/** A problem with what one policy asks for; undefined: it is content. */
const policyProblem = (
  policy: OwnPolicy,
  htlc: CommittedHtlc,
  payload: ForwardPayload,
  channelUpdate: Uint8Array,
): Failure | undefined => {
  const { amtToForward, outgoingCltvValue } = payload
  if (!policy.enabled) return { type: 'channel_disabled', disabledFlags: 0, channelUpdate }
  if (amtToForward < policy.htlcMinimumMsat) return { type: 'amount_below_minimum', htlcMsat: htlc.amountMsat, channelUpdate }
  if (amtToForward > policy.htlcMaximumMsat) return { type: 'temporary_channel_failure', channelUpdate }
  if (htlc.amountMsat < amtToForward + forwardingFee(policy, amtToForward))
    return { type: 'fee_insufficient', htlcMsat: htlc.amountMsat, channelUpdate }
  if (htlc.cltvExpiry < outgoingCltvValue + policy.cltvExpiryDelta)
    return { type: 'incorrect_cltv_expiry', cltvExpiry: htlc.cltvExpiry, channelUpdate }
  return undefined
}

/** Why we do not forward, in the order of BOLT 4; undefined: we do. */
const findProblem = (
  incoming: ChannelId,
  channel: ChannelView,
  htlc: CommittedHtlc,
  payload: ForwardPayload,
  env: PaymentEnv,
): Failure | undefined => {
  const channelUpdate = channel.channelUpdate ?? NO_UPDATE
  // S63: back over the channel that it came by is of use to nobody honest
  if (channel.channelId === incoming) return { type: 'temporary_channel_failure', channelUpdate }
  const problem = policyProblem(channel.policy, htlc, payload, channelUpdate)
  const older = channel.olderPolicies ?? []
  if (problem !== undefined && older.every((policy) => policyProblem(policy, htlc, payload, channelUpdate) !== undefined))
    return problem
  if (payload.outgoingCltvValue <= env.height + env.policy.minRelayExpiryBlocks) return { type: 'expiry_too_soon', channelUpdate }
  // S67
  if (htlc.cltvExpiry > env.height + env.policy.maxCltvDelta) return { type: 'expiry_too_far' }
  if (!channel.usable || payload.amtToForward > channel.canSendMsat || payload.amtToForward < channel.htlcMinimumMsat)
    return { type: 'temporary_channel_failure', channelUpdate }
  return undefined
}

const stored = (forward: Forward): Outcome['writes'] => [
  { kind: 'forward', id: forwardKey(forward.incoming.channelId, forward.incoming.htlcId), record: forward },
]
const changed = (forward: Forward): PaymentEffect => ({ to: 'owner', type: 'forwardChanged', forward })

/** An HTLC whose onion names a next hop. */
export const relayHtlc = (
  records: PaymentRecords,
  incoming: ChannelId,
  htlc: CommittedHtlc,
  peeled: { readonly payload: ForwardPayload; readonly nextPacket: Uint8Array; readonly sharedSecret: Uint8Array },
  env: PaymentEnv,
): Outcome => {
  const { payload, nextPacket, sharedSecret } = peeled
  const before = records.forward(forwardKey(incoming, htlc.id))
  if (before !== undefined) return answerAgain(before)
  const channel = env.findChannel(payload.shortChannelId)
  const failure: Failure | undefined =
    channel === undefined ? { type: 'unknown_next_peer' } : findProblem(incoming, channel, htlc, payload, env)
  if (failure !== undefined || channel === undefined)
    return { writes: [], effects: [failWith(incoming, htlc.id, sharedSecret, failure ?? { type: 'unknown_next_peer' })] }
  const forward: Forward = {
    incoming: {
      channelId: incoming,
      htlcId: htlc.id,
      amountMsat: htlc.amountMsat,
      cltvExpiry: htlc.cltvExpiry,
      sharedSecret,
    },
    outgoing: {
      channelId: channel.channelId,
      shortChannelId: payload.shortChannelId,
      amountMsat: payload.amtToForward,
      cltvExpiry: payload.outgoingCltvValue,
    },
    paymentHash: htlc.paymentHash,
    status: 'offered',
    createdAtMs: env.nowMs,
  }
  return {
    writes: stored(forward),
    effects: [
      changed(forward),
      {
        to: 'channel',
        channelId: channel.channelId,
        command: {
          from: 'owner',
          type: 'offerHtlc',
          amountMsat: payload.amtToForward,
          paymentHash: htlc.paymentHash,
          cltvExpiry: payload.outgoingCltvValue,
          onion: nextPacket,
          origin: { kind: 'relay', channelId: incoming, htlcId: htlc.id },
        },
      },
    ],
  }
}

const fulfilIncoming = (forward: Forward, preimage: Uint8Array): PaymentEffect => ({
  to: 'channel',
  channelId: forward.incoming.channelId,
  command: { from: 'owner', type: 'fulfillHtlc', htlcId: forward.incoming.htlcId, preimage },
})
const failIncoming = (forward: Forward, reason: Uint8Array): PaymentEffect => ({
  to: 'channel',
  channelId: forward.incoming.channelId,
  command: { from: 'owner', type: 'failHtlc', htlcId: forward.incoming.htlcId, reason },
})

/** Deletes the forwards that have ended and whose incoming HTLC is gone, by `isThere`: nobody can ask for them any more. */
export const forgetForwards = (records: PaymentRecords, isThere: (channelId: ChannelId, htlcId: bigint) => boolean): Outcome => {
  const writes: Outcome['writes'][number][] = []
  for (const { incoming } of records.forwards()) {
    const id = forwardKey(incoming.channelId, incoming.htlcId)
    const now = records.forward(id)
    if (now === undefined || now.status === 'offered' || isThere(incoming.channelId, incoming.htlcId)) continue
    writes.push({ kind: 'forward', id, record: undefined })
  }
  return { writes, effects: [] }
}

/** The same HTLC again, after a restart: the outcome if there is one, and never a second offer. */
export const answerAgain = (forward: Forward): Outcome => {
  if (forward.preimage !== undefined) return { writes: [], effects: [fulfilIncoming(forward, hexToBytes(forward.preimage))] }
  if (forward.status === 'failed' && forward.reason !== undefined)
    return { writes: [], effects: [failIncoming(forward, forward.reason)] }
  return NOTHING
}

/** The outgoing HTLC's preimage, off chain or on. Also after a failure was passed on: then too the claim is tried. */
export const forwardFulfilled = (forward: Forward | undefined, preimage: Uint8Array, env: PaymentEnv): Outcome => {
  if (forward === undefined || forward.preimage !== undefined) return NOTHING
  if (!equalBytes(sha256(preimage), hexToBytes(forward.paymentHash))) return NOTHING
  const { reason: _, ...rest } = forward
  const fulfilled: Forward = { ...rest, status: 'fulfilled', preimage: Preimage(bytesToHex(preimage)), endedAtMs: env.nowMs }
  return { writes: stored(fulfilled), effects: [fulfilIncoming(fulfilled, preimage), changed(fulfilled)] }
}

const reasonOf = (
  forward: Forward,
  failure: HtlcFailure | { readonly kind: 'refused' },
  channelUpdate: Uint8Array,
): Uint8Array => {
  const { sharedSecret } = forward.incoming
  switch (failure.kind) {
    case 'remote':
      return wrapFailure(sharedSecret, failure.reason)
    case 'malformed':
      return buildFailure(
        sharedSecret,
        (failure.failureCode & BADONION) === 0
          ? { type: 'temporary_channel_failure', channelUpdate }
          : failureFromMalformed(failure),
      )
    case 'onchain':
      return buildFailure(sharedSecret, { type: 'permanent_channel_failure' })
    case 'neverSent':
    case 'refused':
      return buildFailure(sharedSecret, { type: 'temporary_channel_failure', channelUpdate })
    default:
      return unreachable(failure)
  }
}

/** The outgoing HTLC is irrevocably gone, or never was. S2: not if its preimage is known. */
export const forwardFailed = (
  forward: Forward | undefined,
  failure: HtlcFailure | { readonly kind: 'refused' },
  env: PaymentEnv,
): Outcome => {
  if (forward?.status !== 'offered' || forward.preimage !== undefined) return NOTHING
  const channelUpdate = env.findChannel(forward.outgoing.shortChannelId)?.channelUpdate ?? NO_UPDATE
  const reason = reasonOf(forward, failure, channelUpdate)
  const failed: Forward = { ...forward, status: 'failed', reason, endedAtMs: env.nowMs }
  return { writes: stored(failed), effects: [failIncoming(failed, reason), changed(failed)] }
}
