/**
 * Committing updates: commitment_signed and revoke_and_ack. BOLT 2 § Committing Updates So Far, § Completing the Transition.
 * We revoke in the same step in which we accept a signature, so what the remote proposes goes from stage 0 to 2 at once, and what we
 * proposed from 2 to 4. What a commitment contains is transactions/spec.ts; here only the stages move.
 * An HTLC reaches the owner after the *second* revocation: before it, a peer can still make it vanish.
 */
import { equalBytes, hexToBytes } from '@leyden/codec'
import { Msat } from '@leyden/bitcoin'
import { isValidSecret, pointFromSecret } from '@leyden/crypto'
import type { CommitmentSigned, RevokeAndAck } from '@leyden/lnwire'
import { dustExposureMsat } from './balances.ts'
import type { ChannelEffect } from './effect.ts'
import type { ChannelEnv } from './env.ts'
import type { ChannelMessage } from './input.ts'
import { next, type Next, send } from './next.ts'
import type { Active, Channel, FeeUpdate, Htlc, Side, Stage } from './state.ts'
import { localCommitment, remoteCommitment } from './transactions/commitment.ts'
import { insertSecret } from './transactions/shachain.ts'
import { checkLocalSignatures, signRemoteCommitment } from './transactions/signatures.ts'
import { isAddedAt, isRemovedAt, leastIn, other, specOf } from './transactions/spec.ts'
import { isViolation, violation, type Violation } from './violations.ts'

/** Which stages move, by who proposed the update. */
type Moves = Readonly<Record<Side, { readonly from: Stage; readonly to: Stage }>>

/** We signed the remote's next commitment. */
const SIGNED: Moves = { local: { from: 0, to: 1 }, remote: { from: 2, to: 3 } }
/** The remote revoked the one before. */
const REVOKED: Moves = { local: { from: 1, to: 2 }, remote: { from: 3, to: 4 } }
/** The remote signed our next commitment and we revoked the one before. */
const ACCEPTED: Moves = { local: { from: 2, to: 4 }, remote: { from: 0, to: 2 } }

const moved = (stage: Stage, by: Side, moves: Moves): Stage => (stage === moves[by].from ? moves[by].to : stage)

const moveHtlc = (htlc: Htlc, moves: Moves): Htlc => {
  const stage = moved(htlc.stage, htlc.offeredBy, moves)
  const removalStage = htlc.removalStage === undefined ? undefined : moved(htlc.removalStage, other(htlc.offeredBy), moves)
  if (stage === htlc.stage && removalStage === htlc.removalStage) return htlc
  return { ...htlc, stage, ...(removalStage === undefined ? {} : { removalStage }) }
}

/** The feerate that has become irrevocable, and what is still on the way. Of two at one stage the newer stays. */
const moveFees = (channel: Channel, moves: Moves): Pick<Channel, 'feeratePerKw' | 'feeUpdates'> => {
  const by: Side = channel.role === 'opener' ? 'local' : 'remote'
  let { feeratePerKw } = channel
  const feeUpdates: FeeUpdate[] = []
  for (const update of channel.feeUpdates) {
    const stage = moved(update.stage, by, moves)
    if (stage === 4) {
      feeratePerKw = update.feeratePerKw
      feeUpdates.length = 0
      continue
    }
    if (feeUpdates.at(-1)?.stage === stage) feeUpdates.pop()
    feeUpdates.push(stage === update.stage ? update : { ...update, stage })
  }
  return { feeratePerKw, feeUpdates }
}

const move = (channel: Channel, moves: Moves): Channel => {
  const htlcs = channel.htlcs.map((htlc) => moveHtlc(htlc, moves))
  const changed = htlcs.some((htlc, i) => htlc !== channel.htlcs[i])
  return {
    ...channel,
    htlcs: changed ? htlcs : channel.htlcs,
    ...(channel.feeUpdates.length === 0 ? {} : moveFees(channel, moves)),
  }
}

/** The removal is irrevocable: the amount becomes somebody's balance, the HTLC goes, and a failure is told. */
const fold = (channel: Channel): Next => {
  const gone = channel.htlcs.filter((htlc) => htlc.removalStage === 4)
  if (gone.length === 0) return next(channel)
  let shift = 0n
  for (const htlc of gone)
    if (htlc.removal?.kind === 'fulfilled') shift += (htlc.offeredBy === 'remote' ? 1n : -1n) * htlc.amountMsat
  const active = channel.active.map((entry): Active => ({
    ...entry,
    localMsat: Msat(entry.localMsat + shift),
    remoteMsat: Msat(entry.remoteMsat - shift),
  }))
  const effects = gone.flatMap((htlc): readonly ChannelEffect[] => {
    if (htlc.told || htlc.offeredBy === 'remote' || htlc.origin === undefined || htlc.removal === undefined) return []
    const { id: htlcId, origin, removal } = htlc
    if (removal.kind === 'fulfilled') return []
    const failure = removal.kind === 'failed' ? ({ kind: 'remote', reason: removal.reason } as const) : removal
    return [{ to: 'owner', type: 'htlcFailed', htlcId, origin, failure }]
  })
  return next({ ...channel, active, htlcs: channel.htlcs.filter((htlc) => htlc.removalStage !== 4) }, ...effects)
}

/** What we owe the owner: received HTLCs that have just become irrevocable. */
const tellCommitted = (channel: Channel, env: ChannelEnv): Next => {
  const isNew = (htlc: Htlc): boolean => htlc.offeredBy === 'remote' && htlc.stage === 4 && !htlc.told
  const fresh = channel.htlcs.filter(isNew)
  if (fresh.length === 0) return next(channel)
  const exposed = overexposed(channel, fresh, env)
  const effects = fresh.map((htlc): ChannelEffect => {
    const { id, amountMsat, paymentHash, cltvExpiry, onion, pathKey } = htlc
    return {
      to: 'owner',
      type: 'htlcCommitted',
      ...(channel.fundingConflict !== undefined
        ? { failNow: 'funding_conflicted' as const }
        : exposed.has(htlc)
          ? { failNow: 'dust_exposure' as const }
          : {}),
      htlc: { id, amountMsat, paymentHash, cltvExpiry, onion, ...(pathKey === undefined ? {} : { pathKey }) },
    }
  })
  return next({ ...channel, htlcs: channel.htlcs.map((htlc) => (isNew(htlc) ? { ...htlc, told: true } : htlc)) }, ...effects)
}

/** Those of the new HTLCs that take the dust exposure of a commitment over the limit, in order of arrival. S27. */
const overexposed = (channel: Channel, fresh: readonly Htlc[], env: ChannelEnv): ReadonlySet<Htlc> => {
  const found = new Set<Htlc>()
  const limit = env.policy.maxDustExposureMsat
  const estimate = env.feerates.commitment
  for (const active of channel.active)
    for (const [holder, which] of [
      ['local', 'local'],
      ['remote', 'remoteSigned'],
    ] as const) {
      const exposure = (htlcs: readonly Htlc[]): bigint =>
        dustExposureMsat(channel, specOf({ ...channel, htlcs }, active, which), holder, estimate)
      if (exposure(channel.htlcs) <= limit) continue
      let counted = channel.htlcs.filter((htlc) => !fresh.includes(htlc))
      let before = exposure(counted)
      for (const htlc of fresh) {
        const more = [...counted, htlc]
        const after = exposure(more)
        if (after > limit && after > before) found.add(htlc)
        else {
          counted = more
          before = after
        }
      }
    }
  return found
}

/** Whether the remote's next commitment would differ from the one that we signed last. */
const hasChanges = (channel: Channel): boolean =>
  channel.htlcs.some(
    (htlc) =>
      isUnsigned(htlc.stage, htlc.offeredBy) ||
      (htlc.removalStage !== undefined && isUnsigned(htlc.removalStage, other(htlc.offeredBy))),
  ) || channel.feeUpdates.some(({ stage }) => isUnsigned(stage, channel.role === 'opener' ? 'local' : 'remote'))

const isUnsigned = (stage: Stage, by: Side): boolean => stage === SIGNED[by].from

/** Whether `flush` would sign: there is something new for the remote's commitment, and no signature of ours is unanswered. */
export const needsFlush = (channel: Channel): boolean =>
  channel.link === 'online' &&
  (channel.phase.name === 'normal' || channel.phase.name === 'shuttingDown') &&
  channel.awaitingRevocation === undefined &&
  channel.remoteNextPoint !== undefined &&
  hasChanges(channel)

/** The commitment_signed for the remote commitment that we signed last. Deterministic: signing it again gives the same. */
export const commitmentSignedMessage = (channel: Channel, env: ChannelEnv): ChannelMessage => {
  const [active] = channel.active
  const point = channel.remoteNextPoint
  if (active === undefined || point === undefined) throw new Error(`channel ${channel.channelId} has no commitment to sign`)
  const built = remoteCommitment(channel, active, 'remoteSigned', point)
  const { signature, htlcSignatures } = signRemoteCommitment(channel, built, env.signer)
  return { type: 'commitment_signed', channelId: channel.channelId, signature, htlcSignatures }
}

/** Signs all that is pending for the remote's commitment. Nothing to sign, or a signature unanswered: nothing happens. */
export const flush = (channel: Channel, env: ChannelEnv): Next => {
  if (!needsFlush(channel)) return next(channel)
  const number = channel.remoteCommitmentNumber + 1
  const before = leastIn('remoteSigned')
  const after = leastIn('remoteNext')
  const numbered = channel.htlcs.map((htlc): Htlc => {
    const enters = !isAddedAt(htlc, before) && isAddedAt(htlc, after)
    const leaves = isAddedAt(htlc, after) && !isRemovedAt(htlc, before) && isRemovedAt(htlc, after)
    if (!enters && !leaves) return htlc
    return { ...htlc, ...(enters ? { inRemoteFrom: number } : {}), ...(leaves ? { outOfRemoteFrom: number } : {}) }
  })
  const signed: Channel = {
    ...move({ ...channel, htlcs: numbered }, SIGNED),
    awaitingRevocation: { afterLocalNumber: channel.localCommitmentNumber },
  }
  return next(signed, send(commitmentSignedMessage(signed, env)))
}

/** The revoke_and_ack for the commitment before our latest. */
export const revocationMessage = (channel: Channel, env: ChannelEnv): ChannelMessage => {
  const { channelId, keyIndex, localCommitmentNumber } = channel
  return {
    type: 'revoke_and_ack',
    channelId,
    perCommitmentSecret: env.signer.releaseSecret(keyIndex, localCommitmentNumber - 1),
    nextPerCommitmentPoint: env.signer.perCommitmentPoint(keyIndex, localCommitmentNumber + 1),
  }
}

/** A new commitment of ours: checked whole, then the one before is revoked. BOLT 2 § Committing Updates So Far, receiver. */
export const receiveCommitmentSigned = (channel: Channel, message: CommitmentSigned, env: ChannelEnv): Next | Violation => {
  const [active] = channel.active
  if (active === undefined) throw new Error(`channel ${channel.channelId} has no funding`)
  // Late ones, for a funding that has been abandoned or replaced, are ignored (S39).
  if (message.fundingTxid !== undefined && message.fundingTxid !== active.funding.outpoint.txid) return next(channel)
  const spec = specOf(channel, active, 'localNext')
  if (spec.toLocalMsat < 0n || spec.toRemoteMsat < 0n)
    return violation('balance_negative', { local: spec.toLocalMsat, remote: spec.toRemoteMsat })
  const { signature, htlcSignatures } = message
  const wrong = checkLocalSignatures(channel, localCommitment(channel, active, 'localNext', env.signer), {
    signature,
    htlcSignatures,
  })
  if (wrong !== undefined) return wrong
  const accepted: Channel = {
    ...move(channel, ACCEPTED),
    localCommitmentNumber: channel.localCommitmentNumber + 1,
    active: [{ ...active, remoteSignature: signature, remoteHtlcSignatures: htlcSignatures }],
  }
  const folded = fold(accepted)
  return next(folded.channel, send(revocationMessage(folded.channel, env)), ...folded.effects)
}

/** The remote has revoked: what we signed is now its only commitment. BOLT 2 § Completing the Transition, receiver. */
export const receiveRevokeAndAck = (channel: Channel, message: RevokeAndAck, env: ChannelEnv): Next | Violation => {
  const { remotePoint, remoteNextPoint, remoteCommitmentNumber } = channel
  if (channel.awaitingRevocation === undefined) return violation('revocation_unexpected', {}, 'disconnect')
  if (remotePoint === undefined || remoteNextPoint === undefined)
    throw new Error(`channel ${channel.channelId} has no remote point`)
  const secret = message.perCommitmentSecret
  if (!isValidSecret(secret) || !equalBytes(pointFromSecret(secret), remotePoint))
    return violation('revocation_secret_wrong', { number: remoteCommitmentNumber })
  const revocations = insertSecret(channel.revocations, remoteCommitmentNumber, secret)
  if (isViolation(revocations)) return revocations
  const { awaitingRevocation: _, ...rest } = move(channel, REVOKED)
  const folded = fold({
    ...rest,
    revocations,
    remoteCommitmentNumber: remoteCommitmentNumber + 1,
    remotePoint: remoteNextPoint,
    remoteNextPoint: message.nextPerCommitmentPoint,
  })
  const told = tellCommitted(folded.channel, env)
  return next(told.channel, ...folded.effects, ...told.effects)
}

/** 32 zero bytes: no secret received yet. BOLT 2 § Message Retransmission. */
export const NO_SECRET: Uint8Array = hexToBytes('00'.repeat(32))
