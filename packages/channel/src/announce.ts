/**
 * Exchanging the signatures of the channel announcement. BOLT 7 § The announcement_signatures Message.
 * Both sign the same channel_announcement, which names the short channel id: after a reorg that changes it all starts again.
 * Making and spreading the announcement is the owner's; it gets the four signatures in `announceable`.
 */
import { hexToBytes } from '@leyden/codec'
import { chainHash } from '@leyden/bitcoin'
import { ecdsaVerify } from '@leyden/crypto'
import { type AnnouncementSignatures, encodeMessage, nodeIdToPoint, type ShortChannelId, signedHash } from '@leyden/lnwire'
import type { ChannelEnv } from './env.ts'
import { next, type Next, send } from './next.ts'
import { ANNOUNCE_DEPTH_BLOCKS } from './policy.ts'
import type { Channel } from './state.ts'
import { violation, type Violation } from './violations.ts'

const NO_SIGNATURE = new Uint8Array(64)

/** What both nodes and both funding keys sign. 32 bytes. BOLT 7 § The channel_announcement Message. */
const announcementHash = (channel: Channel, shortChannelId: ShortChannelId, env: ChannelEnv): Uint8Array => {
  const local = { nodeId: channel.localNodeId, key: channel.local.fundingPubkey }
  const remote = { nodeId: channel.remoteNodeId, key: channel.remote.fundingPubkey }
  const [first, second] = local.nodeId < remote.nodeId ? [local, remote] : [remote, local]
  const raw = encodeMessage({
    type: 'channel_announcement',
    nodeSignature1: NO_SIGNATURE,
    nodeSignature2: NO_SIGNATURE,
    bitcoinSignature1: NO_SIGNATURE,
    bitcoinSignature2: NO_SIGNATURE,
    features: hexToBytes(''),
    chainHash: chainHash(env.network),
    shortChannelId,
    nodeId1: first.nodeId,
    nodeId2: second.nodeId,
    bitcoinKey1: first.key,
    bitcoinKey2: second.key,
  })
  return signedHash(raw, 'channel_announcement')
}

/** The announcement that was under way names a place where the channel is not any more. */
export const reset = (channel: Channel): Channel => {
  const { announcement: _, ...rest } = channel
  return rest
}

const isDue = (channel: Channel): boolean => {
  const confirmed = channel.active[0]?.funding.confirmed
  return (
    channel.announce &&
    channel.phase.name === 'normal' &&
    channel.link === 'online' &&
    confirmed !== undefined &&
    channel.height - confirmed.height + 1 >= ANNOUNCE_DEPTH_BLOCKS
  )
}

/** Sends our signatures when they are due, and tells the owner when all are here. Called after whatever may have made it so. */
export const announce = (channel: Channel, env: ChannelEnv): Next => {
  const { announcement, shortChannelId } = channel
  if (!isDue(channel) || shortChannelId === undefined || announcement?.told || announcement?.sent) return next(channel)
  return complete(sendSignatures(channel, shortChannelId, env), shortChannelId, env)
}

const sendSignatures = (channel: Channel, shortChannelId: ShortChannelId, env: ChannelEnv): Next => {
  const hash = announcementHash(channel, shortChannelId, env)
  return next(
    { ...channel, announcement: { ...channel.announcement, sent: true } },
    send({
      type: 'announcement_signatures',
      channelId: channel.channelId,
      shortChannelId,
      nodeSignature: env.signer.signNode(hash),
      bitcoinSignature: env.signer.sign(channel.keyIndex, { key: 'funding' }, hash),
    }),
  )
}

const complete = ({ channel, effects }: Next, shortChannelId: ShortChannelId, env: ChannelEnv): Next => {
  const { announcement } = channel
  const { remoteNodeSignature, remoteBitcoinSignature } = announcement ?? {}
  if (
    announcement === undefined ||
    remoteNodeSignature === undefined ||
    remoteBitcoinSignature === undefined ||
    announcement.told
  )
    return { channel, effects }
  const hash = announcementHash(channel, shortChannelId, env)
  return {
    channel: { ...channel, announcement: { ...announcement, told: true } },
    effects: [
      ...effects,
      {
        to: 'owner',
        type: 'announceable',
        shortChannelId,
        remoteNodeSignature,
        remoteBitcoinSignature,
        localNodeSignature: env.signer.signNode(hash),
        localBitcoinSignature: env.signer.sign(channel.keyIndex, { key: 'funding' }, hash),
      },
    ],
  }
}

/** Theirs: checked at once, used when ours are due; answered with ours if they have not had them on this connection. */
export const receiveAnnouncementSignatures = (
  channel: Channel,
  message: AnnouncementSignatures,
  env: ChannelEnv,
): Next | Violation => {
  const { shortChannelId } = channel
  if (!channel.announce) return violation('announcement_unwanted', {}, 'warn')
  // Not one that is being closed.
  if (channel.phase.name !== 'normal' && channel.phase.name !== 'awaitingReady') return next(channel)
  // Not in a block yet, as far as we know: they send it again at the next connection.
  if (shortChannelId === undefined) return next(channel)
  if (message.shortChannelId !== shortChannelId)
    return violation('announcement_of_other_channel', { expected: shortChannelId, got: message.shortChannelId }, 'warn')
  const hash = announcementHash(channel, shortChannelId, env)
  const { nodeSignature, bitcoinSignature } = message
  if (
    !ecdsaVerify(nodeSignature, hash, nodeIdToPoint(channel.remoteNodeId)) ||
    !ecdsaVerify(bitcoinSignature, hash, channel.remote.fundingPubkey)
  )
    return violation('announcement_signature_invalid', {}, 'disconnect')
  const { announcement } = channel
  const heard: Channel = {
    ...channel,
    announcement: {
      sent: false,
      ...announcement,
      remoteNodeSignature: nodeSignature,
      remoteBitcoinSignature: bitcoinSignature,
    },
  }
  if (!isDue(heard)) return next(heard)
  const answered = heard.announcement?.sent ? next(heard) : sendSignatures(heard, shortChannelId, env)
  return complete(answered, shortChannelId, env)
}
