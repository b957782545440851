/**
 * Who can still pay what: balances after fees, in-flight sums and dust exposure of commitments, signed or only thinkable.
 * BOLT 2 § Adding an HTLC, § Updating Fees, § Bounding exposure to trimmed in-flight HTLCs; BOLT 3 § Fee Payment.
 * All sums are plain bigint and may be negative: peers chose the amounts. The rule of trimming is weight.ts's, the same as for building.
 */
import type { FeeratePerKw } from '@leyden/bitcoin'
import type { Active, Channel, Side } from './state.ts'
import { type CommitmentSpec, type Least, leastIn, specAt } from './transactions/spec.ts'
import { commitmentFee, isTrimmed, openerCost, untrimmedHtlcs } from './transactions/weight.ts'

export const openerOf = (channel: Pick<Channel, 'role'>): Side => (channel.role === 'opener' ? 'local' : 'remote')

/** Every update that either side has proposed: what a commitment will contain when nothing more comes. */
export const EVERYTHING: Least = { local: 0, remote: 0 }

/** What each side has left on a commitment of `holder`, in msat, after the opener has paid for it. May be negative. */
export const leftAfterFee = (
  channel: Channel,
  spec: CommitmentSpec,
  holder: Side,
  more: { readonly feeratePerKw?: number; readonly htlcOutputs?: number } = {},
): Record<Side, bigint> => {
  const { format } = channel.type
  const feeratePerKw = (more.feeratePerKw ?? spec.feeratePerKw) as FeeratePerKw
  const outputs = untrimmedHtlcs(format, { ...spec, feeratePerKw }, channel[holder].dustLimitSat).length + (more.htlcOutputs ?? 0)
  const left: Record<Side, bigint> =
    holder === 'local'
      ? { local: spec.toLocalMsat, remote: spec.toRemoteMsat }
      : { local: spec.toRemoteMsat, remote: spec.toLocalMsat }
  left[openerOf(channel)] -= openerCost(format, feeratePerKw, outputs) * 1000n
  return left
}

/** What `side` must keep, in msat. */
export const reserveMsat = (channel: Channel, side: Side): bigint => channel[side].reserveSat * 1000n

/** Number and sum of the HTLCs that `side` offers on a commitment of `holder`. */
export const offeredBy = (spec: CommitmentSpec, side: Side, holder: Side): { readonly count: number; readonly msat: bigint } => {
  const direction = side === holder ? 'offered' : 'received'
  let count = 0
  let msat = 0n
  for (const htlc of spec.htlcs) {
    if (htlc.direction !== direction) continue
    count += 1
    msat += htlc.amountMsat
  }
  return { count, msat }
}

/**
 * What would go to miners if a commitment of `holder` were published: trimmed HTLCs, and where we pay the fee the part of it that
 * is above our own estimate (S27, S28). In msat.
 */
export const dustExposureMsat = (channel: Channel, spec: CommitmentSpec, holder: Side, estimate: FeeratePerKw): bigint => {
  const { format } = channel.type
  const { dustLimitSat } = channel[holder]
  let exposure = 0n
  let outputs = 0
  for (const htlc of spec.htlcs) {
    if (isTrimmed(format, htlc, spec.feeratePerKw, dustLimitSat)) exposure += htlc.amountMsat
    else outputs += 1
  }
  if (channel.role === 'opener' && spec.feeratePerKw > estimate) {
    const excess = commitmentFee(format, spec.feeratePerKw, outputs) - commitmentFee(format, estimate, outputs)
    exposure += excess * 1000n
  }
  return exposure
}

/** The two commitments that an update of ours goes into: theirs next, and ours once everything proposed is in it. */
export const commitmentsAhead = (
  channel: Channel,
  active: Active,
): readonly { readonly holder: Side; readonly spec: CommitmentSpec }[] => [
  { holder: 'remote', spec: specAt(channel, active, 'remote', leastIn('remoteNext')) },
  { holder: 'local', spec: specAt(channel, active, 'local', EVERYTHING) },
]

const least = (...amounts: readonly bigint[]): bigint => amounts.reduce((a, b) => (a < b ? a : b))
const most = (a: bigint, b: bigint): bigint => (a > b ? a : b)

/** How often the present feerate the opener must be able to pay before it offers more. BOLT 2 § Adding an HTLC, fee spike buffer. */
export const FEE_SPIKE_MULTIPLE = 2

/** Asked of the same state again and again: by who looks for a route, then by who takes it. A channel is never changed in place. */
const knownCapacities = new WeakMap<Channel, ChannelCapacity>()

/** At most so much in one more HTLC, in msat. */
export interface ChannelCapacity {
  readonly sendableMsat: bigint
  readonly receivableMsat: bigint
}

/**
 * What the channel can carry now: at most `sendableMsat` in one more HTLC that we offer, `receivableMsat` in one that they offer.
 * Zero while it is not in use. An estimate for routing: `offerHtlc` is the judge.
 */
export const capacityNow = (channel: Channel): ChannelCapacity => {
  let capacity = knownCapacities.get(channel)
  if (capacity === undefined) knownCapacities.set(channel, (capacity = capacityOf(channel)))
  return capacity
}

const capacityOf = (channel: Channel): ChannelCapacity => {
  if (channel.phase.name !== 'normal' || channel.fundingConflict !== undefined) return { sendableMsat: 0n, receivableMsat: 0n }
  let sendable: bigint | undefined
  let receivable: bigint | undefined
  for (const active of channel.active)
    for (const { holder, spec } of commitmentsAhead(channel, active)) {
      const isOpener = channel.role === 'opener'
      const spiked = leftAfterFee(channel, spec, holder, { feeratePerKw: spec.feeratePerKw * FEE_SPIKE_MULTIPLE, htlcOutputs: 2 })
      const plain = leftAfterFee(channel, spec, holder, { htlcOutputs: 1 })
      const sent = offeredBy(spec, 'local', holder)
      const received = offeredBy(spec, 'remote', holder)
      const openerPays = (side: Side): bigint => (plain[side] >= reserveMsat(channel, side) ? channel.capacitySat * 1000n : 0n)
      const canSend = least(
        (isOpener ? spiked.local : plain.local) - reserveMsat(channel, 'local'),
        channel.remote.maxHtlcValueInFlightMsat - sent.msat,
        sent.count < channel.remote.maxAcceptedHtlcs ? channel.capacitySat * 1000n : 0n,
        isOpener ? channel.capacitySat * 1000n : openerPays('remote'),
      )
      const canReceive = least(
        (isOpener ? plain.remote : spiked.remote) - reserveMsat(channel, 'remote'),
        channel.local.maxHtlcValueInFlightMsat - received.msat,
        received.count < channel.local.maxAcceptedHtlcs ? channel.capacitySat * 1000n : 0n,
        isOpener ? openerPays('local') : channel.capacitySat * 1000n,
      )
      sendable = sendable === undefined ? canSend : least(sendable, canSend)
      receivable = receivable === undefined ? canReceive : least(receivable, canReceive)
    }
  return { sendableMsat: most(0n, sendable ?? 0n), receivableMsat: most(0n, receivable ?? 0n) }
}
