/**
 * Messages of peers, each to where it belongs: a channel of that peer, an opening, or gossip. BOLT 1, BOLT 2 § Message Retransmission.
 * What names a channel of somebody else is as if it named none.
 */
import { channelKind, type ChannelMessage } from '@leyden/channel'
import { unreachable, utf8Encode } from '@leyden/codec'
import { ALL_CHANNELS, type ChannelId, type Message, type MessageOfType, type NodeId, printable } from '@leyden/lnwire'
import type { Batch, Drive } from '@leyden/runtime'
import { type Channels, channelsOf } from './channels.ts'
import type { GossipNode } from './gossip.ts'
import type { Log } from './log.ts'
import type { NodeEffect } from './node-effect.ts'
import type { Openings } from './openings.ts'

export interface InboxOptions {
  readonly drive: Drive<NodeEffect>
  /** For what peers cause. */
  readonly peerLog: Log
  readonly channels: Pick<Channels, 'step'>
  readonly openings: Pick<Openings, 'receive'>
  readonly gossip: Pick<GossipNode, 'input'>
  readonly session: (nodeId: NodeId) => number | undefined
}

/** Takes one message; resolves when what follows from it is durable. */
export type Inbox = (nodeId: NodeId, message: Message, raw: Uint8Array) => Promise<void>

export const createInbox = ({ drive, peerLog, channels, openings, gossip, session }: InboxOptions): Inbox => {
  const toChannel = (batch: Batch<NodeEffect>, nodeId: NodeId, id: ChannelId, message: ChannelMessage): void => {
    if (batch.get(channelKind, id)?.remoteNodeId === nodeId) {
      channels.step(batch, id, { from: 'peer', type: 'message', message })
      return
    }
    // A channel that we do not know is told so; everything else about it is ignored.
    if (message.type === 'channel_reestablish')
      batch.emit({
        to: 'peer',
        type: 'send',
        nodeId,
        session: session(nodeId),
        message: { type: 'error', channelId: id, data: utf8Encode('no such channel') },
      })
  }

  const receiveError = (batch: Batch<NodeEffect>, nodeId: NodeId, message: MessageOfType<'error' | 'warning'>): void => {
    peerLog.warn(
      { peer: nodeId, channelId: message.channelId, text: printable(message.data) },
      `the peer sent ${message.type === 'error' ? 'an error' : 'a warning'}`,
    )
    if (message.channelId !== ALL_CHANNELS) return toChannel(batch, nodeId, message.channelId, message)
    for (const channel of channelsOf(batch, nodeId))
      channels.step(batch, channel.channelId, { from: 'peer', type: 'message', message })
  }

  return async (nodeId, message, raw) => {
    switch (message.type) {
      case 'channel_announcement':
      case 'channel_update':
      case 'node_announcement':
      case 'query_short_channel_ids':
      case 'reply_short_channel_ids_end':
      case 'query_channel_range':
      case 'reply_channel_range':
      case 'gossip_timestamp_filter':
        gossip.input({ from: 'peer', type: 'message', peer: nodeId, message, raw })
        return
      case 'open_channel':
        return await drive.submit((batch) => openings.receive(batch, nodeId, message))
      case 'accept_channel':
      case 'funding_created':
        return await drive.submit((batch) => toChannel(batch, nodeId, message.temporaryChannelId, message))
      case 'error':
      case 'warning':
        return await drive.submit((batch) => receiveError(batch, nodeId, message))
      case 'channel_ready':
      case 'channel_reestablish':
      case 'funding_signed':
      case 'shutdown':
      case 'closing_signed':
      case 'closing_complete':
      case 'closing_sig':
      case 'stfu':
      case 'update_add_htlc':
      case 'update_fulfill_htlc':
      case 'update_fail_htlc':
      case 'update_fail_malformed_htlc':
      case 'update_fee':
      case 'commitment_signed':
      case 'revoke_and_ack':
      case 'announcement_signatures':
        return await drive.submit((batch) => toChannel(batch, nodeId, message.channelId, message))
      // Handled by the connection, or of features that we do not offer.
      case 'init':
      case 'ping':
      case 'pong':
      case 'peer_storage':
      case 'peer_storage_retrieval':
        return
      default:
        return unreachable(message)
    }
  }
}
