/**
 * A connection comes back: what did the other not get? BOLT 2 § Message Retransmission.
 * Everything to send again is derived from the stored state: updates that we signed, the commitment_signed over exactly the same
 * commitment, our last revoke_and_ack, in the order in which they went out at first (S50). What we proposed and had not signed is
 * proposed anew, as far as it still fits. A peer that proves that it knows more than we do stops us from publishing; one that only says so does not (S22).
 */
import { equalBytes } from '@leyden/codec'
import { isValidSecret, pointFromSecret } from '@leyden/crypto'
import { type ChannelReestablish, type Features, hasFeature } from '@leyden/lnwire'
import { isNegotiating, shutdownMessage } from './close.ts'
import { commitmentSignedMessage, NO_SECRET, revocationMessage } from './commit.ts'
import { channelReadyMessage, wasReady } from './depth.ts'
import type { ChannelEnv } from './env.ts'
import { feeMessage, refitFee } from './fee.ts'
import { addMessage, refitOffers, removalMessage } from './htlc.ts'
import type { ChannelMessage } from './input.ts'
import { next, type Next, send } from './next.ts'
import type { Channel, Stage } from './state.ts'
import { findSecret } from './transactions/shachain.ts'
import { violation, type Violation } from './violations.ts'

/** What we say first on a new connection. */
export const reestablishMessage = (channel: Channel, env: ChannelEnv): ChannelMessage => {
  const { channelId, keyIndex, localCommitmentNumber, remoteCommitmentNumber } = channel
  const secret = remoteCommitmentNumber === 0 ? NO_SECRET : findSecret(channel.revocations, remoteCommitmentNumber - 1)
  if (secret === undefined) throw new Error(`channel ${channelId} lacks the secret of commitment ${remoteCommitmentNumber - 1}`)
  return {
    type: 'channel_reestablish',
    channelId,
    nextCommitmentNumber: BigInt(localCommitmentNumber + 1),
    nextRevocationNumber: BigInt(remoteCommitmentNumber),
    yourLastPerCommitmentSecret: secret,
    myCurrentPerCommitmentPoint: env.signer.perCommitmentPoint(keyIndex, localCommitmentNumber),
  }
}

/** The peer is there: what was negotiated holds for this connection, and we wait for its channel_reestablish. */
export const connect = (channel: Channel, features: Features, env: ChannelEnv): Next =>
  next(
    {
      ...channel,
      link: 'reestablishing',
      simpleClose: hasFeature(features, 'option_simple_close'),
      anySegwit: hasFeature(features, 'option_shutdown_anysegwit'),
    },
    send(reestablishMessage(channel, env)),
  )

/** Our updates of one stage, as messages: what only makes room first, so that none of them looks unaffordable on its way. */
const updatesAt = (channel: Channel, stage: Stage): readonly ChannelMessage[] => [
  ...channel.htlcs.flatMap((htlc) =>
    htlc.offeredBy === 'remote' && htlc.removal !== undefined && htlc.removalStage === stage
      ? [removalMessage(channel, htlc.id, htlc.removal)]
      : [],
  ),
  ...(channel.role === 'opener' ? channel.feeUpdates : [])
    .filter((update) => update.stage === stage)
    .map((update) => feeMessage(channel, update.feeratePerKw)),
  ...channel.htlcs.filter((htlc) => htlc.offeredBy === 'local' && htlc.stage === stage).map((htlc) => addMessage(channel, htlc)),
]

/** Whether the peer has shown the secret of our commitment `number`: nobody who did not get it from us can. */
const provesRevocation = (channel: Channel, number: bigint, secret: Uint8Array, env: ChannelEnv): boolean =>
  number < 2n ** 48n &&
  isValidSecret(secret) &&
  equalBytes(pointFromSecret(secret), env.signer.perCommitmentPoint(channel.keyIndex, Number(number)))

/** The peer knows a later state of ours than we do. We wait for it to close; our own commitment would be punished. */
const fallBehind = (channel: Channel, message: ChannelReestablish): Channel | Violation => {
  const behind = violation('we_fell_behind', {
    ours: channel.localCommitmentNumber,
    theirs: message.nextRevocationNumber,
  })
  return channel.fellBehind ? behind : { ...channel, fellBehind: true }
}

/** What has to go out again, or why the channel cannot go on. */
export const receiveReestablish = (channel: Channel, message: ChannelReestablish, env: ChannelEnv): Next | Violation => {
  const { localCommitmentNumber, remoteCommitmentNumber, awaitingRevocation } = channel
  const { nextCommitmentNumber, nextRevocationNumber, yourLastPerCommitmentSecret: secret } = message
  const revoked = BigInt(localCommitmentNumber)
  if (nextRevocationNumber > revoked && provesRevocation(channel, nextRevocationNumber - 1n, secret, env)) {
    const behind = fallBehind(channel, message)
    return 'kind' in behind ? behind : next(behind)
  }
  if (nextCommitmentNumber === 0n) return violation('commitment_number_zero')
  if (nextRevocationNumber !== revoked && nextRevocationNumber !== revoked - 1n)
    return violation('revocation_number_wrong', { expected: revoked, got: nextRevocationNumber })
  const secretIsRight =
    nextRevocationNumber === 0n
      ? equalBytes(secret, NO_SECRET)
      : provesRevocation(channel, nextRevocationNumber - 1n, secret, env)
  if (!secretIsRight) return violation('last_secret_wrong', { number: nextRevocationNumber })
  const expected = BigInt(remoteCommitmentNumber + 1)
  const lostSignature = awaitingRevocation !== undefined && nextCommitmentNumber === expected
  const gotSignature = nextCommitmentNumber === expected + (awaitingRevocation === undefined ? 0n : 1n)
  if (!lostSignature && !gotSignature) return violation('commitment_number_wrong', { expected, got: nextCommitmentNumber })

  const messages: ChannelMessage[] = []
  if (nextCommitmentNumber === 1n && localCommitmentNumber === 0 && saidReady(channel))
    messages.push(channelReadyMessage(channel, env))
  const revocation = nextRevocationNumber === revoked ? [] : [revocationMessage(channel, env)]
  const signature = lostSignature ? [...updatesAt(channel, 1), commitmentSignedMessage(channel, env)] : []
  const signedLast = awaitingRevocation !== undefined && awaitingRevocation.afterLocalNumber === localCommitmentNumber
  messages.push(...(signedLast ? [...revocation, ...signature] : [...signature, ...revocation]))
  const { closing } = channel
  if (closing?.sent && closing.localScript !== undefined && isNegotiating(channel))
    messages.push(shutdownMessage(channel, closing.localScript))
  const fitted = refitOffers(refitFee(channel, env), env)
  messages.push(...updatesAt(fitted.channel, 0))
  return next({ ...fitted.channel, link: 'online' }, ...messages.map(send), ...fitted.effects)
}

/** Whether channel_ready has gone out, on this connection or an earlier one. */
const saidReady = (channel: Channel): boolean => {
  const { phase } = channel
  if (phase.name === 'awaitingReady') return phase.localReady
  return phase.name === 'normal' || wasReady(channel)
}
