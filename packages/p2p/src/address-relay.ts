/**
 * Addresses of nodes, passed on: addr, addrv2, getaddr. Bitcoin Core net_processing.cpp; BIP 155.
 * A peer may tell of one address in ten seconds (a thousand after getaddr); a fresh one goes on to two others, the same two for a
 * day; getaddr is answered once per connection, with one sample per day for all who ask, so that nobody learns when we heard of what.
 */
import { MAX_ADDRESSES } from './address-codec.ts'
import { isBanned, isDiscouraged } from './ban.ts'
import { SERVICE, type MessageOf } from './message.ts'
import { endpointKey, isRoutable, isV1Compatible, isValidAddress, networkName, type TimedAddress } from './net-address.ts'
import { createAddressRelay, isInbound, may, type AddressRelay, type PeerState } from './peer.ts'
import { close, misbehaving, note, randomDelay, send, type Peering } from './peering.ts'
import { hasDesirableServices } from './services.ts'

const TOKENS_PER_SECOND = 0.1
const MAX_TOKENS = MAX_ADDRESSES
const MAX_PERCENT = 23
const SEND_INTERVAL_MS = 30_000
const OWN_INTERVAL_MS = 24 * 3_600_000
const ROTATION_SECONDS = 24n * 3600n
const FRESH_SECONDS = 600
/** Lists no longer than that are passed on. */
const MAX_PASSED_ON = 10
const PENALTY_SECONDS = 2 * 3600
/** How long a sample is given to all who ask: 21 to 27 hours. */
const CACHE_MS = 21 * 3_600_000
const CACHE_SPREAD_MS = 6 * 3_600_000
const ADDR_FETCH_TIMEOUT_MS = 10 * SEND_INTERVAL_MS

/** Whether addresses go over this connection; from now on they do, if they may. */
export const setUpAddressRelay = ({ ports }: Peering, peer: PeerState): boolean => {
  if (peer.type === 'block-relay-only') return false
  peer.addressRelay ??= createAddressRelay(ports.random)
  return true
}

const canHold = (peer: PeerState, { endpoint }: TimedAddress): boolean => peer.wantsAddrV2 || isV1Compatible(endpoint)

/** Queues an address for a peer; with a full queue it takes the place of another by chance. */
const push = ({ ports }: Peering, peer: PeerState, relay: AddressRelay, address: TimedAddress): void => {
  const { endpoint } = address
  if (!isValidAddress(endpoint) || relay.known.has(endpointKey(endpoint)) || !canHold(peer, address)) return
  if (relay.toSend.length < MAX_ADDRESSES) relay.toSend.push(address)
  else relay.toSend[Math.floor(ports.random() * relay.toSend.length)] = address
}

/** Passes an address on to two peers (one or two, when we cannot reach its network ourselves). */
const passOn = (peering: Peering, from: PeerState, address: TimedAddress): void => {
  const { keyedHash, now } = peering.ports
  const { endpoint } = address
  const isReachable = endpoint.network === 'ipv4' || endpoint.network === 'ipv6'
  const name = endpointKey(endpoint)
  const day = (BigInt(Math.floor(now() / 1000)) + (keyedHash(`rotation ${name}`) & 0xffff_ffffn)) / ROTATION_SECONDS
  const count = isReachable || (keyedHash(`relay ${name} ${day}`) & 1n) === 1n ? 2 : 1
  const chosen = [...peering.peers.values()]
    .filter((peer) => peer.addressRelay !== undefined && peer !== from && canHold(peer, address))
    .map((peer) => ({ peer, rank: keyedHash(`relay ${name} ${day} ${peer.id}`) }))
    .sort((a, b) => (a.rank > b.rank ? -1 : 1))
    .slice(0, count)
  for (const { peer } of chosen) push(peering, peer, peer.addressRelay as AddressRelay, address)
}

/** Bitcoin Core serviceflags: a node that keeps a useful address book. */
const mayBeNode = (peering: Peering, services: bigint): boolean =>
  (services & (SERVICE.network | SERVICE.networkLimited)) !== 0n || hasDesirableServices(peering, services)

const shuffled = <T>(items: readonly T[], random: () => number): T[] => {
  const mixed = [...items]
  for (let i = mixed.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[mixed[i], mixed[j]] = [mixed[j] as T, mixed[i] as T]
  }
  return mixed
}

/** Lets the tokens grow with time. */
const refill = (peer: PeerState, now: number): void => {
  if (peer.addressTokens < MAX_TOKENS) {
    const grown = (Math.max(0, now - peer.tokensAt) / 1000) * TOKENS_PER_SECOND
    peer.addressTokens = Math.min(MAX_TOKENS, peer.addressTokens + grown)
  }
  peer.tokensAt = now
}

export const receiveAddresses = (peering: Peering, peer: PeerState, message: MessageOf<'addr'> | MessageOf<'addrv2'>): void => {
  const { ports } = peering
  const { type, addresses, count } = message
  if (!setUpAddressRelay(peering, peer)) return note(peering, `ignoring ${type} message from ${peer.type} peer=${peer.id}`)
  if (count > MAX_ADDRESSES) return misbehaving(peering, peer, `${type} message size = ${count}`)
  const relay = peer.addressRelay as AddressRelay
  const now = Math.floor(ports.now() / 1000)
  refill(peer, ports.now())
  const kept: TimedAddress[] = []
  let processed = 0
  let limited = 0
  for (const told of shuffled(addresses, ports.random)) {
    if (peer.addressTokens >= 1) peer.addressTokens--
    else if (!may(peer, 'addr')) {
      limited++
      continue
    }
    if (!mayBeNode(peering, told.services)) continue
    const { endpoint } = told
    const isOdd = told.time <= 100_000_000 || told.time > now + FRESH_SECONDS
    const address = isOdd ? { ...told, time: now - 5 * 86_400 } : told
    relay.known.add(endpointKey(endpoint))
    if (isDiscouraged(ports.bans, endpoint) || isBanned(ports.bans, endpoint, now)) continue
    processed++
    const isFresh = address.time > now - FRESH_SECONDS && !peer.saidGetAddr && addresses.length <= MAX_PASSED_ON
    if (isFresh && isRoutable(endpoint)) passOn(peering, peer, address)
    if (endpoint.network === 'ipv4' || endpoint.network === 'ipv6') kept.push(address)
  }
  peer.addressesProcessed += processed
  peer.addressesLimited += limited
  note(
    peering,
    `Received addr: ${addresses.length} addresses (${processed} processed, ${limited} rate-limited) from peer=${peer.id}`,
  )
  if (peer.endpoint !== undefined) {
    const added = ports.addrman.add(kept, peer.endpoint, PENALTY_SECONDS, now)
    if (added > 0) note(peering, `Added ${added} addresses (of ${kept.length}) from ${peer.name}`)
  }
  if (addresses.length < MAX_ADDRESSES) peer.saidGetAddr = false
  if (peer.type === 'addr-fetch' && addresses.length > 1) {
    note(peering, `addrfetch connection completed peer=${peer.id}; disconnecting`)
    close(peering, peer, 'address fetch completed')
  }
}

/** One sample a day for everybody who comes over one network to one address of ours: whoever asks at two cannot join them. */
const sampleFor = (peering: Peering, peer: PeerState): readonly TimedAddress[] => {
  const { addrman, now, random, bans } = peering.ports
  const seconds = Math.floor(now() / 1000)
  const take = (): TimedAddress[] =>
    addrman
      .sample(MAX_ADDRESSES, MAX_PERCENT, seconds)
      .filter(({ endpoint }) => !isDiscouraged(bans, endpoint) && !isBanned(bans, endpoint, seconds))
  if (may(peer, 'addr')) return take()
  const way = `${peer.endpoint === undefined ? 'unknown' : networkName(peer.endpoint)} ${peer.local}`
  const cached = peering.addressCache.get(way)
  if (cached !== undefined && cached.until >= now()) return cached.addresses
  const addresses = take()
  peering.addressCache.set(way, { addresses, until: now() + CACHE_MS + random() * CACHE_SPREAD_MS })
  return addresses
}

export const receiveGetAddr = (peering: Peering, peer: PeerState): void => {
  // Asked over connections that we made, we would tell the other which addresses it told us of: it could follow us.
  if (!isInbound(peer)) return note(peering, `Ignoring "getaddr" from ${peer.type} connection. peer=${peer.id}`)
  setUpAddressRelay(peering, peer)
  if (peer.gotGetAddr) return note(peering, `Ignoring repeated "getaddr". peer=${peer.id}`)
  peer.gotGetAddr = true
  const relay = peer.addressRelay as AddressRelay
  relay.toSend = []
  for (const address of sampleFor(peering, peer)) push(peering, peer, relay, address)
}

/** Sends what has gathered, now and then. */
export const sendAddresses = (peering: Peering, peer: PeerState): void => {
  const relay = peer.addressRelay
  if (relay === undefined) return
  const { ports, settings } = peering
  const now = ports.now()
  if (peer.type === 'addr-fetch' && now - peer.connectedAt > ADDR_FETCH_TIMEOUT_MS) {
    note(peering, `addrfetch connection timeout; disconnecting peer=${peer.id}`)
    return close(peering, peer, 'address fetch timed out')
  }
  if (settings.ownAddress !== undefined && relay.nextOwnAt < now && !ports.chain.isInitialDownload()) {
    if (relay.nextOwnAt !== 0) relay.known.clear()
    push(peering, peer, relay, { endpoint: settings.ownAddress, services: peer.ourServices, time: Math.floor(now / 1000) })
    relay.nextOwnAt = now + randomDelay(peering, OWN_INTERVAL_MS)
  }
  if (now <= relay.nextSendAt) return
  relay.nextSendAt = now + randomDelay(peering, SEND_INTERVAL_MS)
  const addresses = relay.toSend.filter(({ endpoint }) => !relay.known.has(endpointKey(endpoint)))
  relay.toSend = []
  if (addresses.length === 0) return
  for (const { endpoint } of addresses) relay.known.add(endpointKey(endpoint))
  send(peering, peer, { type: peer.wantsAddrV2 ? 'addrv2' : 'addr', addresses, count: addresses.length })
}
