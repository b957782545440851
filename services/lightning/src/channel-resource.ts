/**
 * A channel as the wallet API shows it: state in five words, amounts in plain integers, and for every satoshi that cannot be spent
 * the reason why.
 */
import type { Channel as ChannelResource } from '@leyden/api'
import { capacityNow, type Channel, type ChannelPolicy, finalAtHeight, type Phase } from '@leyden/channel'
import type { BlockHeight } from '@leyden/bitcoin'
import { formatScid } from '@leyden/lnwire'

type State = ChannelResource['state']

const STATES: { readonly [N in Phase['name']]: State } = {
  awaitingAccept: 'opening',
  awaitingFunding: 'opening',
  awaitingFundingCreated: 'opening',
  awaitingFundingSigned: 'opening',
  awaitingReady: 'opening',
  normal: 'normal',
  shuttingDown: 'shuttingDown',
  closing: 'closing',
  closed: 'closed',
}

/** A JSON integer. All amounts are below 2^53 msat but the sum of all money; that one is refused at the door. */
export const jsonInteger = (n: bigint): number => {
  const out = Number(n)
  if (!Number.isSafeInteger(out)) throw new RangeError('an amount over 2^53-1')
  return out
}

/** What of our balance is bound, and why. */
const heldOf = (channel: Channel, localMsat: bigint, sendableMsat: bigint): ChannelResource['held'] => {
  const held: ChannelResource['held'] = []
  const add = (amountMsat: bigint, reason: string): void => {
    if (amountMsat > 0n) held.push({ amountMsat: jsonInteger(amountMsat), reason })
  }
  const pending = channel.htlcs.filter((htlc) => htlc.offeredBy === 'local').reduce((sum, htlc) => sum + htlc.amountMsat, 0n)
  add(pending, 'in payments under way')
  if (channel.fundingConflict !== undefined) {
    add(localMsat, 'not there: another transaction has taken what the funding transaction would spend')
    return held
  }
  switch (channel.phase.name) {
    case 'normal': {
      const reserve = channel.local.reserveSat * 1000n
      const kept = reserve < localMsat ? reserve : localMsat
      add(kept, 'reserve: what we must keep as long as the channel is open, against cheating')
      if (channel.role === 'opener')
        add(localMsat - kept - sendableMsat, 'commitment fee and room for it to rise: the opener of a channel pays it')
      else
        add(localMsat - kept - sendableMsat, 'limits on payments in flight, or the other side could not pay the commitment fee')
      break
    }
    case 'closed':
      break
    case 'closing':
      add(localMsat, 'in a closing transaction, on its way to the wallet')
      break
    case 'shuttingDown':
      add(localMsat, 'the channel is being closed')
      break
    default:
      add(localMsat, 'the channel is not open yet')
  }
  return held
}

export interface ChannelView {
  readonly height: BlockHeight
  readonly policy: Pick<ChannelPolicy, 'safeDepthBlocks'>
  readonly connected: boolean
  readonly alias: string | undefined
}

export const channelResource = (channel: Channel, { height, policy, connected, alias }: ChannelView): ChannelResource => {
  const [active] = channel.active
  const funding = active?.funding
  const opening = active === undefined
  const openerMsat = channel.capacitySat * 1000n - channel.pushMsat
  const settled =
    active ??
    (channel.role === 'opener'
      ? { localMsat: openerMsat, remoteMsat: channel.pushMsat }
      : { localMsat: channel.pushMsat, remoteMsat: openerMsat })
  // Settled balances contain what is offered in HTLCs; what is shown as ours does not.
  const offered = (side: 'local' | 'remote'): bigint =>
    channel.htlcs.filter((htlc) => htlc.offeredBy === side).reduce((sum, htlc) => sum + htlc.amountMsat, 0n)
  const localMsat = settled.localMsat - (opening ? 0n : offered('local'))
  const remoteMsat = settled.remoteMsat - (opening ? 0n : offered('remote'))
  const { sendableMsat, receivableMsat } = capacityNow(channel)
  const { fundingConflict: conflict } = channel
  const closeTxid = channel.onchain?.spend?.txid ?? channel.onchain?.toldClosing
  const type = [
    channel.type.format,
    ...(channel.type.scidAlias ? ['scid_alias'] : []),
    ...(channel.type.zeroConf ? ['zeroconf'] : []),
  ]
  return {
    channelId: channel.channelId,
    ...(channel.shortChannelId === undefined ? {} : { shortChannelId: formatScid(channel.shortChannelId) }),
    peer: { nodeId: channel.remoteNodeId, ...(alias === undefined ? {} : { alias }), connected },
    state: STATES[channel.phase.name],
    detail: channel.phase.name === 'closed' ? `closed: ${channel.phase.how}` : channel.phase.name,
    capacitySat: jsonInteger(channel.capacitySat),
    localMsat: jsonInteger(localMsat),
    remoteMsat: jsonInteger(remoteMsat),
    canSendMsat: jsonInteger(sendableMsat),
    canReceiveMsat: jsonInteger(receivableMsat),
    localReserveSat: jsonInteger(channel.local.reserveSat),
    remoteReserveSat: jsonInteger(channel.remote.reserveSat),
    held: heldOf(channel, localMsat, sendableMsat),
    htlcs: channel.htlcs.map((htlc) => ({
      direction: htlc.offeredBy === 'local' ? 'outgoing' : 'incoming',
      id: jsonInteger(htlc.id),
      amountMsat: jsonInteger(htlc.amountMsat),
      paymentHash: htlc.paymentHash,
      cltvExpiry: htlc.cltvExpiry,
    })),
    ...(funding === undefined ? {} : { fundingTxid: funding.outpoint.txid, fundingVout: funding.outpoint.vout }),
    confirmations: funding?.confirmed === undefined ? 0 : Math.max(0, height - funding.confirmed.height + 1),
    ...(conflict === undefined
      ? {}
      : { fundingConflict: { ...conflict, finalAtHeight: finalAtHeight(channel, conflict, policy) } }),
    feeratePerKw: channel.feeratePerKw,
    announced: channel.announcement?.remoteNodeSignature !== undefined,
    opener: channel.role === 'opener' ? 'local' : 'remote',
    channelType: type.join('+'),
    ...(closeTxid === undefined ? {} : { closeTxid }),
    ...(channel.phase.name === 'closed' ? { closeKind: channel.phase.how } : {}),
    ...(channel.error === undefined ? {} : { error: channel.error }),
  }
}
