/**
 * What a transition gives: the channel after it and the effects, in the order in which they leave; and the few effects that several
 * transitions make.
 */
import type { FeeratePerKw, Tx } from '@leyden/bitcoin'
import { Sat, txid } from '@leyden/bitcoin'
import type { ChannelEffect } from './effect.ts'
import type { ChannelMessage } from './input.ts'
import type { Channel } from './state.ts'
import type { Refusal } from './violations.ts'

export interface Next {
  readonly channel: Channel
  readonly effects: readonly ChannelEffect[]
}

export const next = (channel: Channel, ...effects: readonly ChannelEffect[]): Next => ({ channel, effects })

/** One transition after another. */
export const andThen = (first: Next, ...following: readonly ((channel: Channel) => Next)[]): Next =>
  following.reduce((done, follow) => {
    const { channel, effects } = follow(done.channel)
    return { channel, effects: effects.length === 0 ? done.effects : [...done.effects, ...effects] }
  }, first)

export const send = (message: ChannelMessage): ChannelEffect => ({ to: 'peer', type: 'send', message })

export const refused = (channel: Channel, command: string, refusal: Refusal): Next =>
  next(channel, { to: 'owner', type: 'refused', command, refusal })

/** A transaction that pays its own fee and that nobody has to bump: the funding transaction, a cooperative close. */
export const publishWhole = (channel: Channel, tx: Tx, feeratePerKw: FeeratePerKw): ChannelEffect => ({
  to: 'chain',
  type: 'publish',
  publication: {
    id: `${channel.channelId}/${txid(tx)}`,
    channelId: channel.channelId,
    kind: 'whole',
    tx,
    spentValuesSat: [],
    feeratePerKw,
    budgetSat: Sat(0n),
  },
})

/** The channel without its connection: what the remote proposed and did not sign is gone. BOLT 2 § Message Retransmission. */
export const offline = (channel: Channel): Channel => {
  const theirs = channel.htlcs.filter((htlc) => htlc.offeredBy === 'remote' && htlc.stage === 0)
  const dropsRemoval = channel.htlcs.some((htlc) => htlc.offeredBy === 'local' && htlc.removalStage === 0)
  const htlcs =
    theirs.length === 0 && !dropsRemoval
      ? channel.htlcs
      : channel.htlcs
          .filter((htlc) => !theirs.includes(htlc))
          .map((htlc) => {
            if (htlc.offeredBy === 'remote' || htlc.removalStage !== 0) return htlc
            const { removal: _, removalStage: __, ...kept } = htlc
            return kept
          })
  const dropsFee = channel.role === 'accepter' && channel.feeUpdates.some((update) => update.stage === 0)
  const { announcement, closing, ...rest } = channel
  return {
    ...rest,
    htlcs,
    nextRemoteHtlcId: channel.nextRemoteHtlcId - BigInt(theirs.length),
    feeUpdates: dropsFee ? channel.feeUpdates.filter((update) => update.stage !== 0) : channel.feeUpdates,
    ...(announcement === undefined ? {} : { announcement: { ...announcement, sent: false } }),
    ...(closing === undefined ? {} : { closing: closingOffline(closing) }),
    link: 'offline',
  }
}

/** Negotiation of the closing transaction restarts with the next connection. BOLT 2 § Legacy Closing Negotiation. */
const closingOffline = (closing: NonNullable<Channel['closing']>): NonNullable<Channel['closing']> => {
  const { lastOfferSat: _, remoteOfferSat: __, offer, ...kept } = closing
  return { ...kept, received: false, wantsOffer: closing.wantsOffer || offer !== undefined }
}
