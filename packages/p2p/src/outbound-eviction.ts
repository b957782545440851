/**
 * Outbound connections that are of no use: on a chain with less work, or one too many. Bitcoin Core net_processing.cpp
 * (ConsiderEviction, EvictExtraOutboundPeers, CheckForStaleTipAndEvictPeers).
 */
import { askHeaders } from './header-sync.ts'
import { isNearTip } from './download.ts'
import { networkName } from './net-address.ts'
import { isOutboundOrBlockRelay, type PeerState } from './peer.ts'
import { close, note, type Peering } from './peering.ts'

const CHAIN_SYNC_TIMEOUT_MS = 20 * 60_000
const HEADERS_RESPONSE_MS = 2 * 60_000
const STALE_CHECK_MS = 10 * 60_000
const EVICTION_CHECK_MS = 45_000
const MINIMUM_CONNECTED_MS = 30_000
const STALE_INTERVALS = 3
export const MAX_FULL_OUTBOUND = 8
export const MAX_BLOCK_RELAY = 2

/** A peer whose chain has had less work than ours for 20 minutes is asked once more for headers, and then closed. */
export const checkChainSync = (peering: Peering, peer: PeerState): void => {
  const { chain, now } = peering.ports
  const { chainSync, best } = peer
  if (chainSync.isProtected || !isOutboundOrBlockRelay(peer) || !peer.syncStarted) return
  const tip = chain.tip()
  if (best !== undefined && best.chainWork >= tip.chainWork) {
    Object.assign(chainSync, { deadline: 0, header: undefined, asked: false })
    return
  }
  const hasReached = chainSync.header !== undefined && best !== undefined && best.chainWork >= chainSync.header.chainWork
  if (chainSync.deadline === 0 || hasReached) {
    Object.assign(chainSync, { deadline: now() + CHAIN_SYNC_TIMEOUT_MS, header: tip, asked: false })
    return
  }
  if (now() <= chainSync.deadline) return
  if (chainSync.asked) {
    note(peering, `Disconnecting outbound peer ${peer.id} for old chain, best known block = ${best?.hash ?? '<none>'}`, 'info')
    return close(peering, peer, 'old chain')
  }
  const from = chainSync.header?.parent ?? chainSync.header ?? tip
  askHeaders(peering, peer, chain.locator(from))
  note(peering, `sending getheaders to outbound peer=${peer.id} to verify chain work`)
  chainSync.asked = true
  chainSync.deadline = now() + HEADERS_RESPONSE_MS
}

const isOld = ({ ports }: Peering, peer: PeerState): boolean => ports.now() - peer.connectedAt >= MINIMUM_CONNECTED_MS

const evictExtraBlockRelay = (peering: Peering): void => {
  const peers = [...peering.peers.values()].filter(({ type, closing }) => type === 'block-relay-only' && !closing)
  if (peers.length <= MAX_BLOCK_RELAY) return
  const [youngest, next] = peers.sort((a, b) => b.id - a.id) as [PeerState, PeerState, ...PeerState[]]
  const victim = youngest.lastBlockAt > next.lastBlockAt ? next : youngest
  if (!isOld(peering, victim) || victim.inFlight.size > 0) return
  note(peering, `disconnecting extra block-relay-only peer=${victim.id}`)
  close(peering, victim, 'extra block-relay-only connection')
}

/** The only connection to a network stays. */
const isOnlyOfNetwork = (peering: Peering, peer: PeerState): boolean => {
  const network = peer.endpoint === undefined ? undefined : networkName(peer.endpoint)
  return ![...peering.peers.values()].some(
    (other) =>
      other !== peer &&
      (other.type === 'outbound-full-relay' || other.type === 'manual') &&
      other.endpoint !== undefined &&
      networkName(other.endpoint) === network,
  )
}

const evictExtraFullOutbound = (peering: Peering): void => {
  const peers = [...peering.peers.values()].filter(({ type, closing }) => type === 'outbound-full-relay' && !closing)
  if (peers.length <= MAX_FULL_OUTBOUND) return
  const [worst] = peers
    .filter((peer) => !peer.chainSync.isProtected && !isOnlyOfNetwork(peering, peer))
    .sort((a, b) => a.lastAnnouncementAt - b.lastAnnouncementAt || b.id - a.id)
  if (worst === undefined || !isOld(peering, worst) || worst.inFlight.size > 0) return
  note(peering, `disconnecting extra outbound peer=${worst.id}`)
  close(peering, worst, 'extra outbound connection')
  peering.wantsExtraOutbound = false
}

/** Now and then: closes what is too many, and asks for one more connection when no block has come for long. */
export const checkOutbound = (peering: Peering): void => {
  const { chain, now } = peering.ports
  if (now() < peering.evictionCheckAt) return
  peering.evictionCheckAt = now() + EVICTION_CHECK_MS
  evictExtraBlockRelay(peering)
  evictExtraFullOutbound(peering)
  if (now() > peering.staleCheckAt) {
    if (peering.lastTipAt === 0) peering.lastTipAt = now()
    const isStale = peering.lastTipAt < now() - STALE_INTERVALS * chain.spacing * 1000 && peering.blocksInFlight.size === 0
    if (isStale && peering.settings.usesAddressBook) {
      const seconds = Math.floor((now() - peering.lastTipAt) / 1000)
      note(
        peering,
        `Potential stale tip detected, will try using extra outbound peer (last tip update: ${seconds} seconds ago)`,
        'info',
      )
      peering.wantsExtraOutbound = true
    } else peering.wantsExtraOutbound = false
    peering.staleCheckAt = now() + STALE_CHECK_MS
  }
  if (!peering.initialSyncDone && isNearTip(peering)) peering.initialSyncDone = true
}
