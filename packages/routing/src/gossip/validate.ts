/**
 * Checks of gossip messages: signatures over the raw bytes, order of the nodes, the funding output. BOLT 7, receiving node.
 * Each gives a violation (the sender made or passed on a forgery: it is warned) or undefined.
 * Whether a message is new, known or stale is not judged here.
 */
import { compareBytes, equalBytes } from '@leyden/codec'
import { multisigScript, p2wshOf, type Sat } from '@leyden/bitcoin'
import { ecdsaVerify } from '@leyden/crypto'
import {
  type ChannelAnnouncement,
  type ChannelUpdate,
  type NodeAnnouncement,
  type NodeId,
  nodeIdToPoint,
  signedHash,
} from '@leyden/lnwire'

export type GossipViolationCode =
  | 'nodes_not_ordered'
  | 'bad_signature'
  | 'query_while_answering'
  | 'flags_do_not_match_ids'
  | 'invalid_range'

/** A rule of BOLT 7 that a peer broke. */
export interface GossipViolation {
  readonly kind: 'violation'
  readonly code: GossipViolationCode
  /** Which message, and which of its signatures. */
  readonly detail: string
}

export const gossipViolation = (code: GossipViolationCode, detail: string): GossipViolation => ({
  kind: 'violation',
  code,
  detail,
})

/** The four signatures, and node 1 before node 2. BOLT 7 § The channel_announcement Message. */
export const checkChannelAnnouncement = (message: ChannelAnnouncement, raw: Uint8Array): GossipViolation | undefined => {
  if (message.nodeId1 >= message.nodeId2) return gossipViolation('nodes_not_ordered', 'channel_announcement')
  const hash = signedHash(raw, 'channel_announcement')
  const signatures = [
    ['node_signature_1', message.nodeSignature1, nodeIdToPoint(message.nodeId1)],
    ['node_signature_2', message.nodeSignature2, nodeIdToPoint(message.nodeId2)],
    ['bitcoin_signature_1', message.bitcoinSignature1, message.bitcoinKey1],
    ['bitcoin_signature_2', message.bitcoinSignature2, message.bitcoinKey2],
  ] as const
  for (const [name, signature, point] of signatures)
    if (!ecdsaVerify(signature, hash, point)) return gossipViolation('bad_signature', `channel_announcement ${name}`)
  return undefined
}

/** The signature of the end that speaks. */
export const checkChannelUpdate = (message: ChannelUpdate, raw: Uint8Array, speaker: NodeId): GossipViolation | undefined =>
  ecdsaVerify(message.signature, signedHash(raw, 'channel_update'), nodeIdToPoint(speaker))
    ? undefined
    : gossipViolation('bad_signature', 'channel_update')

export const checkNodeAnnouncement = (message: NodeAnnouncement, raw: Uint8Array): GossipViolation | undefined =>
  ecdsaVerify(message.signature, signedHash(raw, 'node_announcement'), nodeIdToPoint(message.nodeId))
    ? undefined
    : gossipViolation('bad_signature', 'node_announcement')

/** The P2WSH of both keys, the lesser first. BOLT 3 § Funding Transaction Output. */
export const fundingScript = (bitcoinKey1: Uint8Array, bitcoinKey2: Uint8Array): Uint8Array =>
  p2wshOf(multisigScript(2, [bitcoinKey1, bitcoinKey2].toSorted(compareBytes)))

/** Whether an output is the one that an announcement claims (S24). */
export const isFundingOutput = (
  message: Pick<ChannelAnnouncement, 'bitcoinKey1' | 'bitcoinKey2'>,
  output: { readonly scriptPubKey: Uint8Array; readonly valueSat: Sat },
): boolean => output.valueSat > 0n && equalBytes(output.scriptPubKey, fundingScript(message.bitcoinKey1, message.bitcoinKey2))
