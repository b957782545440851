/**
 * What a commitment contains: balances, HTLCs and feerate, derived from the channel's settled balances and the stage of each update.
 * BOLT 2 § Normal Operation; BOLT 3 § Commitment Transaction. Always from the view of the *holder* of the commitment:
 * `toLocal` is the holder's, `offered` is offered by the holder. Building the transaction is commitment.ts.
 */
import { unreachable } from '@leyden/codec'
import type { FeeratePerKw } from '@leyden/bitcoin'
import type { BlockHeight, Msat } from '@leyden/bitcoin'
import type { PaymentHash } from '@leyden/lnwire'
import type { Active, Channel, FeeUpdate, Htlc, Side, Stage } from '../state.ts'

/** An HTLC as the holder of a commitment sees it. */
export interface SpecHtlc {
  readonly direction: 'offered' | 'received'
  readonly id: bigint
  readonly amountMsat: Msat
  readonly paymentHash: PaymentHash
  readonly cltvExpiry: BlockHeight
}

export interface CommitmentSpec {
  readonly toLocalMsat: bigint
  readonly toRemoteMsat: bigint
  readonly feeratePerKw: FeeratePerKw
  readonly htlcs: readonly SpecHtlc[]
}

/**
 * Which commitment. `local`: our latest. `localNext`: the one that their commitment_signed, come now, would make.
 * `remote`: theirs whose predecessor is revoked. `remoteSigned`: theirs that we signed last (the same as `remote` unless we await a
 * revocation). `remoteNext`: the one that our commitment_signed, sent now, would make.
 */
export type Which = 'local' | 'localNext' | 'remote' | 'remoteSigned' | 'remoteNext'

/** The least stage at which an update proposed by `by` is in commitment `which`. BOLT 2 § Normal Operation. */
export const stageIn = (which: Which, by: Side): Stage => {
  switch (which) {
    case 'local':
      return by === 'remote' ? 1 : 3
    case 'localNext':
      return by === 'remote' ? 0 : 2
    case 'remote':
      return by === 'local' ? 2 : 4
    case 'remoteSigned':
      return by === 'local' ? 1 : 3
    case 'remoteNext':
      return by === 'local' ? 0 : 2
    default:
      return unreachable(which)
  }
}

export const other = (side: Side): Side => (side === 'local' ? 'remote' : 'local')

/** The least stages at which the updates of each proposer are in a commitment. */
export type Least = Readonly<Record<Side, Stage>>

/** {@link stageIn} for both proposers. */
export const leastIn = (which: Which): Least => ({ local: stageIn(which, 'local'), remote: stageIn(which, 'remote') })

/** Whether an HTLC has been added to the commitment that `least` describes. */
export const isAddedAt = (htlc: Htlc, least: Least): boolean => htlc.stage >= least[htlc.offeredBy]

/** Whether an HTLC has been removed from the commitment that `least` describes. */
export const isRemovedAt = (htlc: Htlc, least: Least): boolean =>
  htlc.removalStage !== undefined && htlc.removalStage >= least[other(htlc.offeredBy)]

const feerateAt = (
  channel: { readonly role: Channel['role']; readonly feeratePerKw: FeeratePerKw; readonly feeUpdates: readonly FeeUpdate[] },
  least: Least,
): FeeratePerKw => {
  const from = least[channel.role === 'opener' ? 'local' : 'remote']
  return channel.feeUpdates.filter((update) => update.stage >= from).at(-1)?.feeratePerKw ?? channel.feeratePerKw
}

/** The feerate that a commitment pays. */
export const feerateIn = (
  channel: { readonly role: Channel['role']; readonly feeratePerKw: FeeratePerKw; readonly feeUpdates: readonly FeeUpdate[] },
  which: Which,
): FeeratePerKw => feerateAt(channel, leastIn(which))

/** The contents of a commitment. Balances may be negative where a peer's proposal does not fit: the caller checks. */
export const specOf = (channel: Channel, active: Active, which: Which): CommitmentSpec =>
  specAt(channel, active, which === 'local' || which === 'localNext' ? 'local' : 'remote', leastIn(which))

/** The contents of a commitment of `holder` that has all updates of at least these stages: also one that nobody has signed yet. */
export const specAt = (channel: Channel, active: Active, holder: Side, least: Least): CommitmentSpec => {
  const balance: Record<Side, bigint> = { local: active.localMsat, remote: active.remoteMsat }
  const htlcs: SpecHtlc[] = []
  for (const htlc of channel.htlcs) {
    if (!isAddedAt(htlc, least)) continue
    balance[htlc.offeredBy] -= htlc.amountMsat
    if (isRemovedAt(htlc, least)) {
      balance[htlc.removal?.kind === 'fulfilled' ? other(htlc.offeredBy) : htlc.offeredBy] += htlc.amountMsat
      continue
    }
    const { id, amountMsat, paymentHash, cltvExpiry } = htlc
    htlcs.push({ direction: htlc.offeredBy === holder ? 'offered' : 'received', id, amountMsat, paymentHash, cltvExpiry })
  }
  return {
    toLocalMsat: balance[holder],
    toRemoteMsat: balance[other(holder)],
    feeratePerKw: feerateAt(channel, least),
    htlcs,
  }
}
