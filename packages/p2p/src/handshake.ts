/**
 * The first messages of a connection: version, what each side can, verack. Bitcoin Core net_processing.cpp; BIP 155, 339.
 * Abilities are told between version and verack; who tells one later loses the connection, because both sides would disagree on
 * what was meant before.
 */
import { setUpAddressRelay } from './address-relay.ts'
import { PROTOCOL_VERSION, SERVICE, WTXID_RELAY_VERSION, type Message, type MessageOf, type Version } from './message.ts'
import { isRoutable, isV1Compatible, toV1Bytes } from './net-address.ts'
import { createTxRelay, isInbound, may, type PeerState } from './peer.ts'
import { close, note, refusesTransactions, send, type Peering } from './peering.ts'
import { desirableServices, hasDesirableServices } from './services.ts'

const MIN_VERSION = 31_800
/** Compact blocks are spoken of from here on. */
const SHORT_IDS_VERSION = 70_014
const COMPACT_BLOCKS_VERSION = 2n
const MAX_ADDRESSES_OF_GETADDR = 1000

const NO_ADDRESS = { services: 0n, ip: new Uint8Array(16), port: 0 }

/** Our own version message. */
export const sayVersion = (peering: Peering, peer: PeerState): void => {
  const { settings, ports } = peering
  const { endpoint } = peer
  const told = endpoint !== undefined && isRoutable(endpoint) && isV1Compatible(endpoint)
  send(peering, peer, {
    type: 'version',
    version: PROTOCOL_VERSION,
    services: peer.ourServices,
    time: BigInt(Math.floor(ports.now() / 1000)),
    receiver: told ? { services: 0n, ip: toV1Bytes(endpoint), port: endpoint.port } : NO_ADDRESS,
    sender: { ...NO_ADDRESS, services: peer.ourServices },
    nonce: peer.nonce,
    userAgent: settings.userAgent,
    startHeight: ports.chain.tip().height,
    relay: !refusesTransactions(peering, peer),
  })
}

const expectsServices = ({ type }: PeerState): boolean => type !== 'inbound' && type !== 'manual' && type !== 'feeler'

const isOwnNonce = ({ peers }: Peering, peer: PeerState, nonce: bigint): boolean =>
  [...peers.values()].some((other) => other !== peer && !isInbound(other) && !other.ready && other.nonce === nonce)

/** Seconds that its clock is ahead of ours. */
const offsetOf = ({ ports }: Peering, { time }: Version): number => {
  const signed = BigInt.asIntN(64, time)
  return Number(signed < 0n ? 0n : signed) - Math.floor(ports.now() / 1000)
}

const receiveVersion = (peering: Peering, peer: PeerState, message: MessageOf<'version'>): void => {
  if (peer.theirs !== undefined) return note(peering, `redundant version message from peer=${peer.id}`)
  const { addrman } = peering.ports
  const { services, version, relay } = message
  if (!isInbound(peer) && peer.endpoint !== undefined) addrman.setServices(peer.endpoint, services)
  if (expectsServices(peer) && !hasDesirableServices(peering, services)) {
    const expected = desirableServices(peering, services)
    const hex = (n: bigint): string => n.toString(16).padStart(8, '0')
    note(
      peering,
      `peer=${peer.id} does not offer the expected services (${hex(services)} offered, ${hex(expected)} expected); disconnecting`,
    )
    return close(peering, peer, 'does not offer the expected services')
  }
  if (version < MIN_VERSION) {
    note(peering, `peer=${peer.id} using obsolete version ${version}; disconnecting`)
    return close(peering, peer, `obsolete version ${version}`)
  }
  if (isInbound(peer) && isOwnNonce(peering, peer, message.nonce)) {
    note(peering, `connected to self at ${peer.name}, disconnecting`)
    return close(peering, peer, 'connected to ourselves')
  }
  if (isInbound(peer)) sayVersion(peering, peer)
  peer.theirs = message
  peer.services = services
  peer.commonVersion = Math.min(version, PROTOCOL_VERSION)
  peer.timeOffset = offsetOf(peering, message)
  if (peer.commonVersion >= WTXID_RELAY_VERSION) {
    send(peering, peer, { type: 'wtxidrelay' })
    send(peering, peer, { type: 'sendaddrv2' })
  }
  const offersBloom = (peer.ourServices & SERVICE.bloom) !== 0n
  if (peer.type !== 'block-relay-only' && peer.type !== 'feeler' && (relay || offersBloom))
    peer.txRelay = createTxRelay(relay, peering.ports.random)
  send(peering, peer, { type: 'verack' })
  peer.preferredDownload =
    (!isInbound(peer) || may(peer, 'noban')) &&
    peer.type !== 'addr-fetch' &&
    (services & (SERVICE.network | SERVICE.networkLimited)) !== 0n
  if (!isInbound(peer)) {
    if (setUpAddressRelay(peering, peer)) {
      send(peering, peer, { type: 'getaddr' })
      peer.saidGetAddr = true
      peer.addressTokens += MAX_ADDRESSES_OF_GETADDR
    }
    if (peer.endpoint !== undefined) addrman.good(peer.endpoint, Math.floor(peering.ports.now() / 1000))
  }
  note(
    peering,
    `receive version message: ${message.userAgent}: version ${version}, blocks=${message.startHeight}, txrelay=${relay ? 1 : 0}, peer=${peer.id}`,
  )
  if (peer.type === 'feeler') {
    note(peering, `feeler connection completed peer=${peer.id}; disconnecting`)
    close(peering, peer, 'feeler')
  }
}

const becomeReady = (peering: Peering, peer: PeerState): void => {
  if (peer.ready) return note(peering, `ignoring redundant verack message from peer=${peer.id}`)
  const { version, startHeight } = peer.theirs as Version
  note(
    peering,
    `New ${peer.type} v1 peer connected: version: ${version}, blocks=${startHeight}, peer=${peer.id}`,
    isInbound(peer) ? 'debug' : 'info',
  )
  if (peer.commonVersion >= SHORT_IDS_VERSION)
    send(peering, peer, { type: 'sendcmpct', highBandwidth: false, version: COMPACT_BLOCKS_VERSION })
  peer.ready = true
}

/** Takes what belongs to the handshake; false when the message is for others, which then have a peer that is ready. */
export const receiveHandshake = (peering: Peering, peer: PeerState, message: Message): boolean => {
  const name = message.type === 'unknown' ? message.command : message.type
  if (message.type === 'version') receiveVersion(peering, peer, message)
  else if (peer.theirs === undefined)
    note(peering, `non-version message before version handshake. Message "${name}" from peer=${peer.id}`)
  else if (message.type === 'verack') becomeReady(peering, peer)
  else if (message.type === 'sendheaders') peer.wantsHeaders = true
  else if (message.type === 'sendcmpct') {
    if (message.version === COMPACT_BLOCKS_VERSION) peer.highBandwidthFrom = message.highBandwidth
  } else if (message.type === 'wtxidrelay' || message.type === 'sendaddrv2') {
    if (peer.ready) {
      note(peering, `${name} received after verack from peer=${peer.id}; disconnecting`)
      close(peering, peer, `${name} after verack`)
    } else if (message.type === 'sendaddrv2') peer.wantsAddrV2 = true
    else if (peer.commonVersion >= WTXID_RELAY_VERSION) peer.wtxidRelay = true
  } else if (name === 'sendtxrcncl')
    note(peering, `sendtxrcncl from peer=${peer.id} ignored, as our node does not have txreconciliation enabled`)
  else if (!peer.ready) note(peering, `Unsupported message "${name}" prior to verack from peer=${peer.id}`)
  else return false
  return true
}
