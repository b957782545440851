/**
 * What nodes offer, and what we want of one that we chose to connect to. Bitcoin Core protocol.h, net_processing.cpp.
 */
import { SERVICE } from './message.ts'
import type { PeerState } from './peer.ts'
import type { Peering } from './peering.ts'

/** A node with the latest blocks alone is of use only when we are this near to the tip. */
const LIMITED_PEER_BLOCKS = 144

/** What an outbound connection is good for: witnesses always, all blocks unless we are near the tip. */
export const desirableServices = ({ ports }: Peering, services: bigint): bigint => {
  const { chain } = ports
  const depth = (ports.now() / 1000 - chain.tip().header.time) / chain.spacing
  const limited = (services & SERVICE.networkLimited) !== 0n && depth < LIMITED_PEER_BLOCKS
  return SERVICE.witness | (limited ? SERVICE.networkLimited : SERVICE.network)
}

/** Whether it offers what a connection that we chose is for. */
export const hasDesirableServices = (peering: Peering, services: bigint): boolean => {
  const wanted = desirableServices(peering, services)
  return (services & wanted) === wanted
}

/** Whether it can give us blocks. */
export const servesBlocks = ({ services }: PeerState): boolean => (services & (SERVICE.network | SERVICE.networkLimited)) !== 0n

/** Whether it has the latest blocks alone. */
export const isLimited = ({ services }: PeerState): boolean =>
  (services & SERVICE.network) === 0n && (services & SERVICE.networkLimited) !== 0n

export const servesWitnesses = ({ services }: PeerState): boolean => (services & SERVICE.witness) !== 0n
