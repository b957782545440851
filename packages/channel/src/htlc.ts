/**
 * Adding and removing HTLCs, proposed by us (from the owner) or by the remote. BOLT 2 § Adding an HTLC, § Removing an HTLC.
 * A proposal binds nobody until it is signed: commit.ts moves it on. What the remote proposes is checked against exactly the
 * commitment that it will sign (ours, next); what we propose, against the worst that both commitments may become.
 * A removal may be asked for while the remote is away: it waits at stage 0 and reestablish.ts sends it.
 */
import { bytesToHex, hexToBytes, unreachable } from '@leyden/codec'
import type { BlockHeight, Msat } from '@leyden/bitcoin'
import { sha256 } from '@leyden/crypto'
import {
  PaymentHash,
  Preimage,
  type UpdateAddHtlc,
  type UpdateFailHtlc,
  type UpdateFailMalformedHtlc,
  type UpdateFulfillHtlc,
} from '@leyden/lnwire'
import {
  commitmentsAhead,
  dustExposureMsat,
  FEE_SPIKE_MULTIPLE,
  leftAfterFee,
  offeredBy,
  openerOf,
  reserveMsat,
} from './balances.ts'
import type { ChannelEffect } from './effect.ts'
import type { ChannelEnv } from './env.ts'
import type { ChannelInput, ChannelMessage } from './input.ts'
import { next, type Next, refused, send } from './next.ts'
import { CLTV_LIMIT, MAX_CLTV_AHEAD_BLOCKS } from './policy.ts'
import type { Channel, Htlc, Removal, Side } from './state.ts'
import { leastIn, specAt } from './transactions/spec.ts'
import { refusal, type Refusal, violation, type Violation } from './violations.ts'

export type OfferHtlc = Extract<ChannelInput, { type: 'offerHtlc' }>

/** BOLT 4 § Failure Messages: set in every code that says the onion could not be read. */
const BADONION = 0x8000

/** The update_add_htlc of an HTLC that we offer: the first time, and again after a reconnect. */
export const addMessage = (channel: Channel, htlc: Htlc): ChannelMessage => ({
  type: 'update_add_htlc',
  channelId: channel.channelId,
  id: htlc.id,
  amountMsat: htlc.amountMsat,
  paymentHash: htlc.paymentHash,
  cltvExpiry: htlc.cltvExpiry,
  onionRoutingPacket: htlc.onion,
  ...(htlc.pathKey === undefined ? {} : { pathKey: htlc.pathKey }),
})

/** The message that removes an HTLC that we received. */
export const removalMessage = (channel: Channel, id: bigint, removal: Removal): ChannelMessage => {
  const { channelId } = channel
  switch (removal.kind) {
    case 'fulfilled':
      return { type: 'update_fulfill_htlc', channelId, id, paymentPreimage: Preimage(bytesToHex(removal.preimage)) }
    case 'failed':
      return { type: 'update_fail_htlc', channelId, id, reason: removal.reason }
    case 'malformed': {
      const { sha256OfOnion, failureCode } = removal
      return { type: 'update_fail_malformed_htlc', channelId, id, sha256OfOnion, failureCode }
    }
    default:
      return unreachable(removal)
  }
}

/** Whether we may offer this at all. BOLT 2 § Adding an HTLC, sender; S67. */
const checkTerms = (channel: Channel, offer: OfferHtlc, env: ChannelEnv): Refusal | undefined => {
  const { remote } = channel
  if (channel.phase.name !== 'normal') return refusal('channel_not_usable', { phase: channel.phase.name })
  if (channel.link !== 'online') return refusal('peer_offline')
  if (channel.fundingConflict !== undefined) return refusal('funding_conflicted')
  if (offer.amountMsat === 0n || offer.amountMsat < remote.htlcMinimumMsat)
    return refusal('amount_below_minimum', { least: remote.htlcMinimumMsat })
  if (offer.cltvExpiry >= CLTV_LIMIT || offer.cltvExpiry > env.height + MAX_CLTV_AHEAD_BLOCKS)
    return refusal('expiry_too_far', { most: env.height + MAX_CLTV_AHEAD_BLOCKS })
  if (offer.cltvExpiry <= env.height) return refusal('expiry_too_soon', { height: env.height })
  return undefined
}

/** Whether the last HTLC of `candidate` fits on top of all that `channel` has. BOLT 2 § Adding an HTLC, sender; S27, S31. */
const checkRoom = (channel: Channel, candidate: Channel, env: ChannelEnv): Refusal | undefined => {
  const { remote, role } = channel
  const opener = openerOf(channel)
  for (const [index, active] of channel.active.entries()) {
    for (const [which, { holder, spec }] of commitmentsAhead(candidate, active).entries()) {
      const ours = offeredBy(spec, 'local', holder)
      if (ours.count > remote.maxAcceptedHtlcs) return refusal('too_many_htlcs', { most: remote.maxAcceptedHtlcs })
      if (ours.msat > remote.maxHtlcValueInFlightMsat)
        return refusal('too_much_in_flight', { mostMsat: remote.maxHtlcValueInFlightMsat })
      const left = leftAfterFee(channel, spec, holder)
      const spiked =
        role === 'opener'
          ? leftAfterFee(channel, spec, holder, { feeratePerKw: spec.feeratePerKw * FEE_SPIKE_MULTIPLE, htlcOutputs: 1 })
          : left
      if (spiked.local < reserveMsat(channel, 'local'))
        return refusal('insufficient_balance', { missingMsat: reserveMsat(channel, 'local') - spiked.local, funding: index })
      if (opener === 'remote' && left.remote < reserveMsat(channel, 'remote')) {
        const previous = commitmentsAhead(channel, active)[which]
        // Dust adds nothing to the fee: it may be offered even where the opener is poor.
        if (previous === undefined || left.remote < leftAfterFee(channel, previous.spec, holder).remote)
          return refusal('opener_cannot_pay_fee')
      }
      const estimate = env.feerates.commitment
      const exposure = dustExposureMsat(channel, spec, holder, estimate)
      const { maxDustExposureMsat } = env.policy
      if (exposure <= maxDustExposureMsat) continue
      const previous = commitmentsAhead(channel, active)[which]
      if (previous === undefined || exposure > dustExposureMsat(channel, previous.spec, holder, estimate))
        return refusal('dust_exposure', { mostMsat: maxDustExposureMsat })
    }
  }
  return undefined
}

/** The owner offers an HTLC. Sent at once, signed at the next flush. */
export const offerHtlc = (channel: Channel, offer: OfferHtlc, env: ChannelEnv): Next => {
  const htlc: Htlc = {
    offeredBy: 'local',
    id: channel.nextLocalHtlcId,
    amountMsat: offer.amountMsat,
    paymentHash: offer.paymentHash,
    cltvExpiry: offer.cltvExpiry,
    onion: offer.onion,
    origin: offer.origin,
    stage: 0,
    ...(offer.pathKey === undefined ? {} : { pathKey: offer.pathKey }),
  }
  const candidate: Channel = { ...channel, htlcs: [...channel.htlcs, htlc], nextLocalHtlcId: htlc.id + 1n }
  const why = checkTerms(channel, offer, env) ?? checkRoom(channel, candidate, env)
  if (why !== undefined) return next(channel, { to: 'owner', type: 'offerRefused', origin: offer.origin, refusal: why })
  return next(candidate, send(addMessage(channel, htlc)))
}

/** The remote proposes an HTLC. BOLT 2 § Adding an HTLC, receiver. */
export const receiveAdd = (channel: Channel, add: UpdateAddHtlc): Next | Violation => {
  const { local } = channel
  if (channel.closing?.remoteScript !== undefined) return violation('add_after_shutdown', { id: add.id }, 'disconnect')
  if (add.id !== channel.nextRemoteHtlcId)
    return violation('htlc_id_skipped', { expected: channel.nextRemoteHtlcId, got: add.id }, 'disconnect')
  if (add.amountMsat === 0n || add.amountMsat < local.htlcMinimumMsat)
    return violation('htlc_below_minimum', { least: local.htlcMinimumMsat, got: add.amountMsat }, 'disconnect')
  if (add.cltvExpiry >= CLTV_LIMIT) return violation('cltv_expiry_is_a_time', { got: add.cltvExpiry }, 'disconnect')
  const htlc: Htlc = {
    offeredBy: 'remote',
    id: add.id,
    amountMsat: add.amountMsat,
    paymentHash: add.paymentHash,
    cltvExpiry: add.cltvExpiry,
    onion: add.onionRoutingPacket,
    stage: 0,
    ...(add.pathKey === undefined ? {} : { pathKey: add.pathKey }),
  }
  const candidate: Channel = { ...channel, htlcs: [...channel.htlcs, htlc], nextRemoteHtlcId: add.id + 1n }
  for (const active of candidate.active) {
    const spec = specAt(candidate, active, 'local', leastIn('localNext'))
    const theirs = offeredBy(spec, 'remote', 'local')
    if (theirs.count > local.maxAcceptedHtlcs)
      return violation('too_many_htlcs', { most: local.maxAcceptedHtlcs, got: theirs.count }, 'disconnect')
    if (theirs.msat > local.maxHtlcValueInFlightMsat)
      return violation('too_much_in_flight', { most: local.maxHtlcValueInFlightMsat, got: theirs.msat }, 'disconnect')
    const left = leftAfterFee(channel, spec, 'local').remote
    const reserve = reserveMsat(channel, 'remote')
    if (left < reserve) return violation('reserve_breached', { reserve, left }, 'disconnect')
  }
  return next(candidate)
}

const findHtlc = (channel: Channel, offeredBySide: Side, id: bigint): Htlc | undefined =>
  channel.htlcs.find((htlc) => htlc.offeredBy === offeredBySide && htlc.id === id)

const replaceHtlc = (channel: Channel, before: Htlc, after: Htlc): Channel => ({
  ...channel,
  htlcs: channel.htlcs.map((htlc) => (htlc === before ? after : htlc)),
})

/** The owner removes an HTLC that we received. Asked again, or too late, it changes nothing (S42). */
export const removeHtlc = (channel: Channel, id: bigint, removal: Removal): Next => {
  const command = removal.kind === 'fulfilled' ? 'fulfillHtlc' : removal.kind === 'failed' ? 'failHtlc' : 'failMalformedHtlc'
  const htlc = findHtlc(channel, 'remote', id)
  if (htlc === undefined || htlc.stage !== 4) return refused(channel, command, refusal('htlc_unknown', { id }))
  if (removal.kind === 'fulfilled' && bytesToHex(sha256(removal.preimage)) !== htlc.paymentHash)
    return refused(channel, command, refusal('preimage_wrong', { id }))
  if (htlc.removal !== undefined) {
    // A preimage may still replace a failure that nobody has seen (S2): the remote is away.
    const unsent = channel.link !== 'online' && htlc.removalStage === 0
    if (!(unsent && removal.kind === 'fulfilled' && htlc.removal.kind !== 'fulfilled'))
      return htlc.removal.kind === removal.kind
        ? next(channel)
        : refused(channel, command, refusal('htlc_already_removed', { id }))
  }
  const removed = replaceHtlc(channel, htlc, { ...htlc, removal, removalStage: 0 })
  return channel.link === 'online' ? next(removed, send(removalMessage(channel, id, removal))) : next(removed)
}

/** An HTLC of ours that the remote may remove now: irrevocably committed and not yet removed. */
const removable = (channel: Channel, id: bigint): Htlc | Violation => {
  const htlc = findHtlc(channel, 'local', id)
  if (htlc === undefined || htlc.stage !== 4) return violation('htlc_unknown', { id }, 'disconnect')
  if (htlc.removal !== undefined) return violation('htlc_already_removed', { id }, 'disconnect')
  return htlc
}

const isHtlc = (found: Htlc | Violation): found is Htlc => !('kind' in found)

/** A preimage: told at once, because knowing it is irrevocable. BOLT 2 § Forwarding HTLCs. */
export const receiveFulfill = (channel: Channel, message: UpdateFulfillHtlc): Next | Violation => {
  const htlc = removable(channel, message.id)
  if (!isHtlc(htlc)) return htlc
  const preimage = hexToBytes(message.paymentPreimage)
  if (PaymentHash(bytesToHex(sha256(preimage))) !== htlc.paymentHash)
    return violation('preimage_wrong', { id: message.id }, 'disconnect')
  const removed: Htlc = { ...htlc, removal: { kind: 'fulfilled', preimage }, removalStage: 0, told: true }
  return next(replaceHtlc(channel, htlc, removed), ...(htlc.told ? [] : tellFulfilled(htlc, preimage)))
}

const tellFulfilled = (htlc: Htlc, preimage: Uint8Array): readonly ChannelEffect[] =>
  htlc.origin === undefined ? [] : [{ to: 'owner', type: 'htlcFulfilled', htlcId: htlc.id, origin: htlc.origin, preimage }]

/** A failure: told when it is irrevocable (commit.ts). */
export const receiveFail = (channel: Channel, message: UpdateFailHtlc): Next | Violation => {
  const htlc = removable(channel, message.id)
  if (!isHtlc(htlc)) return htlc
  return next(replaceHtlc(channel, htlc, { ...htlc, removal: { kind: 'failed', reason: message.reason }, removalStage: 0 }))
}

export const receiveFailMalformed = (channel: Channel, message: UpdateFailMalformedHtlc): Next | Violation => {
  const { id, failureCode, sha256OfOnion } = message
  const htlc = removable(channel, id)
  if (!isHtlc(htlc)) return htlc
  if ((failureCode & BADONION) === 0) return violation('badonion_missing', { id, failureCode }, 'disconnect')
  const removal: Removal = { kind: 'malformed', failureCode, sha256OfOnion }
  return next(replaceHtlc(channel, htlc, { ...htlc, removal, removalStage: 0 }))
}

/**
 * Offers that the remote has never been bound to and that make no sense any more: the later ones move up, because ids may not skip.
 * Only while it is away, where what we proposed and did not sign counts for nothing. BOLT 2 § Message Retransmission.
 */
export const dropStaleOffers = (channel: Channel, height: BlockHeight): Next => {
  const isStale = (htlc: Htlc): boolean => htlc.offeredBy === 'local' && htlc.stage === 0 && htlc.cltvExpiry <= height + 1
  if (channel.link !== 'offline' || !channel.htlcs.some(isStale)) return next(channel)
  return dropOffers(channel, isStale)
}

const dropOffers = (channel: Channel, drop: (htlc: Htlc) => boolean): Next => {
  const effects: ChannelEffect[] = []
  const htlcs: Htlc[] = []
  let dropped = 0n
  for (const htlc of channel.htlcs) {
    if (drop(htlc)) {
      dropped += 1n
      if (htlc.origin !== undefined)
        effects.push({ to: 'owner', type: 'htlcFailed', htlcId: htlc.id, origin: htlc.origin, failure: { kind: 'neverSent' } })
    } else htlcs.push(htlc.offeredBy === 'local' && htlc.stage === 0 ? { ...htlc, id: htlc.id - dropped } : htlc)
  }
  return next({ ...channel, htlcs, nextLocalHtlcId: channel.nextLocalHtlcId - dropped }, ...effects)
}

/**
 * Before our unsigned offers are made anew: what has become irrevocable since may have left no room for some of them, and where the
 * channel closes there is none for any.
 */
export const refitOffers = (channel: Channel, env: ChannelEnv): Next => {
  const isUnsigned = (htlc: Htlc): boolean => htlc.offeredBy === 'local' && htlc.stage === 0
  if (!channel.htlcs.some(isUnsigned)) return next(channel)
  const dropped = new Set<Htlc>()
  let fitted: Channel = { ...channel, htlcs: channel.htlcs.filter((htlc) => !isUnsigned(htlc)) }
  for (const htlc of channel.htlcs.filter(isUnsigned)) {
    const candidate: Channel = { ...fitted, htlcs: [...fitted.htlcs, htlc] }
    if (channel.phase.name === 'normal' && checkRoom(fitted, candidate, env) === undefined) fitted = candidate
    else dropped.add(htlc)
  }
  return dropped.size === 0 ? next(channel) : dropOffers(channel, (htlc) => dropped.has(htlc))
}

/** Amounts in msat that the two sides have in flight, for whoever shows the channel. */
export const inFlight = (channel: Channel): { readonly offeredMsat: bigint; readonly receivedMsat: bigint } => {
  const sum = (side: Side): bigint =>
    channel.htlcs.filter((htlc) => htlc.offeredBy === side).reduce((total, htlc) => total + (htlc.amountMsat as Msat), 0n)
  return { offeredMsat: sum('local'), receivedMsat: sum('remote') }
}
