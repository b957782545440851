/**
 * What a peer has, what its chain is worth to us, and what a refused block says of it. Bitcoin Core net_processing.cpp.
 */
import type { BlockHash } from '@leyden/bitcoin'
import type { PeerState } from './peer.ts'
import { misbehaving, type ChainPort, type Peering } from './peering.ts'
import { servesBlocks } from './services.ts'

const NEAR_TIP_BLOCKS = 144n

/** Looks the block up that the peer announced before its header came. */
export const updateBest = ({ ports }: Peering, peer: PeerState): void => {
  if (peer.lastUnknown === undefined) return
  const entry = ports.chain.find(peer.lastUnknown)
  if (entry === undefined) return
  if (peer.best === undefined || entry.chainWork >= peer.best.chainWork) peer.best = entry
  peer.lastUnknown = undefined
}

/** The peer has this block. */
export const hasBlock = (peering: Peering, peer: PeerState, hash: BlockHash): void => {
  updateBest(peering, peer)
  const entry = peering.ports.chain.find(hash)
  if (entry === undefined) peer.lastUnknown = hash
  else if (peer.best === undefined || entry.chainWork >= peer.best.chainWork) peer.best = entry
}

/** Work below which headers are not kept: that of the chain 144 blocks below our tip, and the network's least. */
export const leastWork = ({ chain }: { readonly chain: ChainPort }): bigint => {
  const tip = chain.tip()
  const slack = NEAR_TIP_BLOCKS * chain.workOf(tip.header)
  const near = tip.chainWork > slack ? tip.chainWork - slack : 0n
  return near > chain.minimumWork ? near : chain.minimumWork
}

/** Reasons for which nobody is to blame. */
const INNOCENT = new Set(['time-too-new', 'too-many-headers', 'too-little-chainwork'])

/** What a refused header or block says of who sent it. */
export const punishForBlock = (peering: Peering, peer: PeerState, reason: string, text = ''): void => {
  if (INNOCENT.has(reason)) return
  // Known to be bad since before: an inbound peer may build on what it heard; one that we chose is of no use.
  if (reason === 'duplicate-invalid' && peer.type === 'inbound') return
  misbehaving(peering, peer, text)
}

/** Whether we would have its headers and blocks: always of those that we chose, of others when nobody else gives any. */
export const isDownloadPeer = (peering: Peering, peer: PeerState): boolean => {
  if (peer.preferredDownload) return true
  if (!servesBlocks(peer) || peer.type === 'addr-fetch') return false
  return peering.blocksInFlight.size === 0 || ![...peering.peers.values()].some((other) => other.preferredDownload)
}
