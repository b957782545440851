/**
 * One input of the peering machine, and what follows. Bitcoin Core net_processing.cpp (ProcessMessages, SendMessages).
 * A peer's messages are taken in order; the next waits while an answer of chain or mempool is due, or while the peer does not read
 * what it is served (see canTake). After every message, and at every tick, the peer gets what is due to it.
 */
import type { Block, BlockHash, Tx } from '@leyden/bitcoin'
import { receiveAddresses, receiveGetAddr, sendAddresses } from './address-relay.ts'
import { discourage } from './ban.ts'
import {
  announceBlocks,
  blockRead,
  queueAnnouncements,
  receiveGetBlocks,
  receiveGetData,
  receiveGetHeaders,
  recentOf,
  serveData,
} from './block-relay.ts'
import {
  blockTaken,
  checkDownload,
  dropDownloads,
  fetchBlocks,
  receiveBlock,
  relaxStalling,
  type BlockVerdict,
} from './download.ts'
import { filtersRead, receiveFilterRequest } from './filter-relay.ts'
import { receiveHandshake, sayVersion } from './handshake.ts'
import { checkHeadersDeadline, receiveHeaders, saySendHeaders, startHeaders } from './header-sync.ts'
import { checkSilence, keepAlive, receivePing, receivePong, type Traffic } from './keepalive.ts'
import type { Message, Outgoing } from './message.ts'
import { isLocal } from './net-address.ts'
import { checkChainSync, checkOutbound } from './outbound-eviction.ts'
import { createPeer, isInbound, may, type PeerOptions, type PeerState } from './peer.ts'
import { close, note, type Effect, type Peering, type TxJob, type TxVerdict } from './peering.ts'
import {
  announceTransactions,
  receiveFeeFilter,
  receiveMempool,
  relayTransaction,
  sendFeeFilter,
  transactionAdded,
} from './tx-announce.ts'
import {
  blockConnected,
  dropTransactions,
  forgetRejects,
  receiveInv,
  receiveNotFound,
  receiveTx,
  reconsiderOrphan,
  requestTransactions,
  transactionsTaken,
} from './tx-download.ts'

export type PeeringInput =
  | { readonly type: 'connected'; readonly peer: PeerOptions }
  | { readonly type: 'disconnected'; readonly peer: number }
  /** `size`: bytes of the payload. */
  | { readonly type: 'message'; readonly peer: number; readonly message: Message; readonly size: number }
  /** A payload that is not what its command says. */
  | {
      readonly type: 'undecodable'
      readonly peer: number
      readonly command: string
      readonly size: number
      readonly detail: string
    }
  /** Time has passed. */
  | { readonly type: 'tick'; readonly traffic: (peer: number) => Traffic }
  /** What one peer sent has left: it can be served again. */
  | { readonly type: 'drained'; readonly peer: number }
  | { readonly type: 'blockTaken'; readonly peer: number; readonly verdict: BlockVerdict }
  | { readonly type: 'transactionsTaken'; readonly peer: number; readonly verdicts: readonly TxVerdict[]; readonly job: TxJob }
  | { readonly type: 'blockRead'; readonly peer: number; readonly hash: BlockHash; readonly payload: Uint8Array | undefined }
  | { readonly type: 'filtersRead'; readonly peer: number; readonly messages: readonly Outgoing[] }
  | { readonly type: 'tipChanged' }
  /** A block of the active chain, after the tip has moved over it. */
  | { readonly type: 'blockConnected'; readonly block: Block }
  | { readonly type: 'blockDisconnected' }
  | { readonly type: 'transactionAdded'; readonly tx: Tx }
  /** Announce it again: nobody has asked for it yet. */
  | { readonly type: 'rebroadcast'; readonly tx: Tx }

/** What the next message of a peer may be: any, a block (others wait for blocks under way, and they for room), or none. */
export const canTake = ({ ports }: Peering, peer: PeerState): 'any' | 'block' | 'none' => {
  if (peer.closing || peer.sendPaused || peer.pending > 0 || peer.getdata.length > 0) return 'none'
  if (peer.blocksPending === 0) return 'any'
  return ports.chain.hasRoom() ? 'block' : 'none'
}

const UNSUPPORTED_BLOOM = new Set(['filterload', 'filteradd', 'filterclear'])

const receiveUnknown = (peering: Peering, peer: PeerState, command: string): void => {
  if (UNSUPPORTED_BLOOM.has(command)) {
    note(peering, `${command} received despite not offering bloom services from peer=${peer.id}; disconnecting`)
    return close(peering, peer, `${command} without bloom services`)
  }
  note(peering, `Unknown command "${command}" from peer=${peer.id}`)
}

const receive = (peering: Peering, peer: PeerState, message: Message, size: number): void => {
  const name = message.type === 'unknown' ? message.command : message.type
  note(peering, `received: ${name} (${size} bytes) peer=${peer.id}`)
  if (receiveHandshake(peering, peer, message)) return
  switch (message.type) {
    case 'addr':
    case 'addrv2':
      return receiveAddresses(peering, peer, message)
    case 'getaddr':
      return receiveGetAddr(peering, peer)
    case 'inv':
      return receiveInv(peering, peer, message)
    case 'getdata':
      return receiveGetData(peering, peer, message)
    case 'notfound':
      return receiveNotFound(peering, peer, message)
    case 'getheaders':
      return receiveGetHeaders(peering, peer, message)
    case 'getblocks':
      return receiveGetBlocks(peering, peer, message)
    case 'headers':
      return receiveHeaders(peering, peer, message)
    case 'block':
      return receiveBlock(peering, peer, message)
    case 'tx':
      return receiveTx(peering, peer, message)
    case 'mempool':
      return receiveMempool(peering, peer)
    case 'ping':
      return receivePing(peering, peer, message)
    case 'pong':
      return receivePong(peering, peer, message.nonce, size)
    case 'feefilter':
      return receiveFeeFilter(peering, peer, message.feeratePerKvb)
    case 'getcfilters':
    case 'getcfheaders':
    case 'getcfcheckpt':
      return receiveFilterRequest(peering, peer, message)
    case 'unknown':
      return receiveUnknown(peering, peer, message.command)
    default:
      // What belongs to the handshake was taken there.
      return undefined
  }
}

/** Closes a peer that broke a rule, and remembers its address: unless the operator vouches for it, or it is this host. */
const punish = (peering: Peering, peer: PeerState): void => {
  if (!peer.misbehaved) return
  peer.misbehaved = false
  if (may(peer, 'noban')) return note(peering, `Warning: not punishing noban peer ${peer.id}!`, 'warn')
  if (peer.type === 'manual') return note(peering, `Warning: not punishing manually connected peer ${peer.id}!`, 'warn')
  const { endpoint } = peer
  if (endpoint === undefined || isLocal(endpoint)) {
    note(peering, `Warning: disconnecting but not discouraging local peer ${peer.id}!`)
    return close(peering, peer, 'misbehaving')
  }
  note(peering, `Disconnecting and discouraging peer ${peer.id}!`)
  discourage(peering.ports.bans, endpoint)
  const sameHost = [...peering.peers.values()].filter((other) =>
    other.endpoint?.bytes.every((byte, i) => byte === endpoint.bytes[i]),
  )
  for (const other of sameHost) if (other.endpoint?.network === endpoint.network) close(peering, other, 'misbehaving')
}

/** Everything that is due to a peer now, in Bitcoin Core's order. */
const attend = (peering: Peering, peer: PeerState): void => {
  punish(peering, peer)
  if (peer.closing || !peer.ready) return
  if (peer.getdata.length > 0) serveData(peering, peer)
  reconsiderOrphan(peering, peer)
  const duties = [
    keepAlive,
    sendAddresses,
    saySendHeaders,
    startHeaders,
    announceBlocks,
    announceTransactions,
    checkDownload,
    checkHeadersDeadline,
    checkChainSync,
    fetchBlocks,
    requestTransactions,
    sendFeeFilter,
  ]
  for (const duty of duties) {
    if (peer.closing) return
    duty(peering, peer)
  }
}

const connected = (peering: Peering, options: PeerOptions): void => {
  const peer = createPeer(options)
  peering.peers.set(peer.id, peer)
  note(peering, `Added connection peer=${peer.id}`)
  if (!isInbound(peer)) sayVersion(peering, peer)
}

const disconnected = (peering: Peering, peer: PeerState): void => {
  peer.closing = true
  peering.peers.delete(peer.id)
  dropDownloads(peering, peer)
  dropTransactions(peering, peer)
  if (peer.chainSync.isProtected) peering.protectedOutbound--
  // Connections for blocks alone leave no trace in the address book.
  if (peer.ready && !isInbound(peer) && peer.type !== 'block-relay-only' && peer.endpoint !== undefined)
    peering.ports.addrman.connected(peer.endpoint, Math.floor(peering.ports.now() / 1000))
  note(peering, `Cleared nodestate for peer=${peer.id}`)
}

const tipChanged = (peering: Peering): void => {
  const { chain, now } = peering.ports
  const tip = chain.tip()
  const before = peering.lastTip
  if (tip === before) return
  peering.lastTip = tip
  peering.lastTipAt = now()
  relaxStalling(peering)
  if (chain.isInitialDownload()) return
  forgetRejects(peering)
  queueAnnouncements(peering, tip, chain.fork(before, tip))
}

const tick = (peering: Peering, traffic: (peer: number) => Traffic): void => {
  checkOutbound(peering)
  for (const peer of peering.peers.values()) {
    if (!peer.closing) checkSilence(peering, peer, traffic(peer.id))
    attend(peering, peer)
  }
}

const take = (peering: Peering, input: PeeringInput): void => {
  const peer = 'peer' in input && typeof input.peer === 'number' ? peering.peers.get(input.peer) : undefined
  switch (input.type) {
    case 'connected':
      return connected(peering, input.peer)
    case 'tick':
      return tick(peering, input.traffic)
    case 'blockTaken':
      return blockTaken(peering, peer, input.verdict)
    case 'transactionsTaken':
      return transactionsTaken(peering, input.peer, input.verdicts, input.job)
    case 'tipChanged':
      return tipChanged(peering)
    case 'blockConnected':
      peering.recentTransactions = recentOf(input.block)
      return blockConnected(peering, input.block)
    case 'blockDisconnected':
      return peering.confirmed.clear()
    case 'transactionAdded':
      return transactionAdded(peering, input.tx)
    case 'rebroadcast':
      return relayTransaction(peering, input.tx)
    default:
  }
  if (peer === undefined) return
  if (input.type === 'disconnected') disconnected(peering, peer)
  else if (input.type === 'message') receive(peering, peer, input.message, input.size)
  else if (input.type === 'filtersRead') filtersRead(peering, peer, input.messages)
  else if (input.type === 'blockRead') blockRead(peering, peer, input.hash, input.payload)
  else if (input.type === 'undecodable') {
    note(peering, `received: ${input.command} (${input.size} bytes) peer=${peer.id}`)
    if (input.command === 'pong' && peer.ready) return receivePong(peering, peer, undefined, input.size)
    note(peering, `ProcessMessages(${input.command}, ${input.size} bytes): Exception '${input.detail}' caught`)
  }
}

/** Takes one input and gives what to do. */
export const stepPeering = (peering: Peering, input: PeeringInput): readonly Effect[] => {
  take(peering, input)
  const peer = 'peer' in input && typeof input.peer === 'number' ? peering.peers.get(input.peer) : undefined
  if (peer !== undefined) attend(peering, peer)
  const { effects } = peering
  peering.effects = []
  return effects
}
