/**
 * update_fee: the opener pays for commitments and says at which rate. BOLT 2 § Updating Fees.
 * At most one update per stage is kept: a newer proposal that nobody has signed replaces the older one (S43).
 */
import type { FeeratePerKw } from '@leyden/bitcoin'
import type { UpdateFee } from '@leyden/lnwire'
import { commitmentsAhead, dustExposureMsat, leftAfterFee, reserveMsat } from './balances.ts'
import type { ChannelEnv } from './env.ts'
import type { ChannelMessage } from './input.ts'
import { next, type Next, refused, send } from './next.ts'
import { feerateBounds } from './policy.ts'
import type { Channel, FeeUpdate } from './state.ts'
import { leastIn, specAt } from './transactions/spec.ts'
import { refusal, type Refusal, violation, type Violation } from './violations.ts'

/** A rise of a quarter is worth an update; less would make one of every new estimate. */
const RAISE_PERCENT = 125
/** So is a fall to half. Under anchors a low rate can be bumped later, a high one is wasted only if the channel closes. */
const LOWER_PERCENT = 50

export const feeMessage = (channel: Channel, feeratePerKw: FeeratePerKw): ChannelMessage => ({
  type: 'update_fee',
  channelId: channel.channelId,
  feeratePerKw,
})

/** With the proposal in place of one that nobody has signed. */
const propose = (channel: Channel, feeratePerKw: FeeratePerKw): Channel => {
  const update: FeeUpdate = { feeratePerKw, stage: 0 }
  return { ...channel, feeUpdates: [...channel.feeUpdates.filter(({ stage }) => stage !== 0), update] }
}

const lastFeerate = (channel: Channel): FeeratePerKw => channel.feeUpdates.at(-1)?.feeratePerKw ?? channel.feeratePerKw

/**
 * Whether updates are allowed: not once nothing is left but the closing transaction. BOLT 2 § Closing Initiation: shutdown.
 * An HTLC whose removal is under way does not count: the peer may take it for gone, and begin to close, before our update arrives.
 */
const mayUpdate = (channel: Channel): boolean =>
  channel.phase.name === 'normal' ||
  (channel.phase.name === 'shuttingDown' && channel.htlcs.some(({ removal }) => removal === undefined))

/** Whether we could bear this feerate on both commitments, and what it would trim. */
const checkFee = (channel: Channel, candidate: Channel, env: ChannelEnv): Refusal | undefined => {
  for (const active of candidate.active)
    for (const { holder, spec } of commitmentsAhead(candidate, active)) {
      const left = leftAfterFee(channel, spec, holder).local
      if (left < reserveMsat(channel, 'local'))
        return refusal('insufficient_balance', { missingMsat: reserveMsat(channel, 'local') - left })
      if (channel.type.format !== 'anchors' && spec.feeratePerKw > channel.feeratePerKw) {
        const exposure = dustExposureMsat(channel, spec, holder, env.feerates.commitment)
        if (exposure > env.policy.maxDustExposureMsat)
          return refusal('dust_exposure', { mostMsat: env.policy.maxDustExposureMsat })
      }
    }
  return undefined
}

/** The owner sets the feerate. */
export const updateFee = (channel: Channel, feeratePerKw: FeeratePerKw, env: ChannelEnv): Next => {
  const no = (why: Refusal): Next => refused(channel, 'updateFee', why)
  if (channel.role !== 'opener') return no(refusal('not_opener'))
  if (!mayUpdate(channel)) return no(refusal('channel_not_usable', { phase: channel.phase.name }))
  if (channel.link !== 'online') return no(refusal('peer_offline'))
  if (feeratePerKw < env.feerates.minimum) return no(refusal('feerate_too_low', { least: env.feerates.minimum }))
  const candidate = propose(channel, feeratePerKw)
  const why = checkFee(channel, candidate, env)
  return why === undefined ? next(candidate, send(feeMessage(channel, feeratePerKw))) : no(why)
}

/** The estimate has moved: where we pay, follow it if it moved far and nothing is under way. Never a refusal: it was nobody's wish. */
export const followFeerate = (channel: Channel, estimate: FeeratePerKw, env: ChannelEnv): Next => {
  if (channel.role !== 'opener' || channel.link !== 'online' || !mayUpdate(channel) || channel.feeUpdates.length > 0)
    return next(channel)
  const wanted = Math.max(estimate, env.feerates.minimum) as FeeratePerKw
  const current = lastFeerate(channel)
  const moved = wanted * 100 >= current * RAISE_PERCENT || wanted * 100 <= current * LOWER_PERCENT
  if (!moved || wanted === current) return next(channel)
  const candidate = propose(channel, wanted)
  return checkFee(channel, candidate, env) === undefined ? next(candidate, send(feeMessage(channel, wanted))) : next(channel)
}

/** Before an unsigned update_fee is sent anew: it goes if we cannot bear it any more. */
export const refitFee = (channel: Channel, env: ChannelEnv): Channel => {
  if (channel.role !== 'opener' || !channel.feeUpdates.some(({ stage }) => stage === 0)) return channel
  const without: Channel = { ...channel, feeUpdates: channel.feeUpdates.filter(({ stage }) => stage !== 0) }
  return mayUpdate(channel) && checkFee(without, channel, env) === undefined ? channel : without
}

/** BOLT 2 § Updating Fees, receiver. S28, S31. */
export const receiveFee = (channel: Channel, message: UpdateFee, env: ChannelEnv): Next | Violation => {
  const { feeratePerKw } = message
  if (channel.role === 'opener') return violation('fee_from_accepter', {}, 'disconnect')
  const { least, most } = feerateBounds(env)
  // A fall is let pass where the rate stays no lower than what we have: it may be our estimate that is wrong.
  if (feeratePerKw > most || (feeratePerKw < least && feeratePerKw < lastFeerate(channel)))
    // Not a reason to go to the chain: nothing is signed, and it may be our estimate that is late.
    return violation('feerate_out_of_range', { least, most, got: feeratePerKw }, 'disconnect')
  const candidate = propose(channel, feeratePerKw)
  for (const active of candidate.active) {
    const spec = specAt(candidate, active, 'local', leastIn('localNext'))
    const left = leftAfterFee(channel, spec, 'local').remote
    const reserve = reserveMsat(channel, 'remote')
    if (left < reserve) return violation('fee_not_affordable', { reserve, left }, 'disconnect')
    if (channel.type.format !== 'anchors' && feeratePerKw > channel.feeratePerKw) {
      const most = env.policy.maxDustExposureMsat
      for (const { holder, spec: ahead } of commitmentsAhead(candidate, active)) {
        const exposure = dustExposureMsat(channel, { ...ahead, feeratePerKw }, holder, env.feerates.commitment)
        if (exposure > most) return violation('dust_exposure', { most, got: exposure }, 'disconnect')
      }
    }
  }
  return next(candidate)
}
