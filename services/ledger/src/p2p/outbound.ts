/**
 * Connections that we make: those that the operator named, again and again, and others from the address book until there are enough.
 * Bitcoin Core net.cpp (ThreadOpenAddedConnections, ThreadOpenConnections, ThreadDNSAddressSeed).
 */
import { lookup } from 'node:dns/promises'
import {
  addressText,
  endpointText,
  groupOf,
  isBanned,
  isDiscouraged,
  isRoutable,
  MAX_BLOCK_RELAY,
  MAX_FULL_OUTBOUND,
  parseAddress,
  SERVICE,
  splitHostPort,
  type Addrman,
  type BanList,
  type ConnectionType,
  type Endpoint,
  type Peering,
} from '@leyden/p2p'
import { bytesToHex } from '@leyden/codec'
import type { Log } from '@leyden/runtime'
import { seedsOf } from './seeds.ts'

const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 30_000
const FEELER_INTERVAL_MS = 2 * 60_000
/** Attempts to pick an address that may be dialled. */
const MAX_PICKS = 100
const RETRY_SECONDS = 600
const DIAL_PAUSE_MS = 500
/** With fewer addresses than that the seeds are asked. */
const ENOUGH_ADDRESSES = 1000
const SEED_WAIT_MS = 11_000
const MAX_PER_SEED = 32
const SEED_AGE_SECONDS = 3 * 86_400

/** Opens a connection; rejects when nobody answers. */
export type Dial = (name: string, endpoint: Endpoint | undefined, type: ConnectionType) => Promise<void>

export type OutboundOptions = {
  readonly peering: Peering
  readonly addrman: Addrman
  readonly bans: BanList
  readonly dial: Dial
  readonly isConnected: (name: string) => boolean
  readonly isActive: () => boolean
  /** Milliseconds. */
  readonly now: () => number
  readonly random: () => number
  readonly networkName: string
  readonly defaultPort: number
  /** Places for connections that we choose. */
  readonly maxFullRelay: number
  readonly maxBlockRelay: number
  readonly usesAddressBook: boolean
  readonly usesSeeds: boolean
  readonly log: Log
}

type Wish = { timer: NodeJS.Timeout | undefined; attempts: number; readonly key: string }

export interface Outbound {
  /** A named peer to stay connected to; false when it is already one. */
  add(name: string): boolean
  remove(name: string): boolean
  added(): readonly string[]
  /** A named peer's connection has ended: it is dialled again. */
  lost(name: string): void
  /** One round of what is due. */
  tick(): void
  close(): void
}

/** Names that lead to the same place are one peer. */
const keyOf = (name: string, defaultPort: number): string => {
  const parts = splitHostPort(name, defaultPort)
  if (parts === undefined) return name
  const address = parseAddress(parts.host)
  return address === undefined ? `${parts.host}:${parts.port}` : endpointText({ ...address, port: parts.port })
}

export const createOutbound = (options: OutboundOptions): Outbound => {
  const { peering, addrman, bans, dial, now, random, log, defaultPort } = options
  const wishes = new Map<string, Wish>()
  let closed = false
  let dialling = 0
  let nextDialAt = 0
  let nextFeelerAt = now() + FEELER_INTERVAL_MS * random() * 2
  let seedsAt = options.usesSeeds ? now() : Infinity
  const startedAt = now()

  const attempt = (name: string, wish: Wish): void => {
    wish.timer = undefined
    if (closed || wishes.get(name) !== wish || options.isConnected(name)) return
    const again = (): void => schedule(name, wish)
    if (!options.isActive()) return again()
    dial(name, undefined, 'manual').catch((error: unknown) => {
      log.debug({ address: name, error: String(error) }, 'peer away: will try again')
      again()
    })
  }
  const schedule = (name: string, wish: Wish): void => {
    if (closed || wish.timer !== undefined || wishes.get(name) !== wish) return
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(wish.attempts++, 10))
    wish.timer = setTimeout(() => attempt(name, wish), pause)
  }

  const groups = (): ReadonlySet<string> =>
    new Set(
      [...peering.peers.values()]
        .filter(({ type, endpoint }) => type !== 'inbound' && type !== 'manual' && endpoint !== undefined)
        .map(({ endpoint }) => bytesToHex(groupOf(endpoint as Endpoint))),
    )

  const pick = (type: ConnectionType): Endpoint | undefined => {
    const seconds = Math.floor(now() / 1000)
    const taken = groups()
    addrman.resolveCollisions(seconds)
    for (let i = 0; i < MAX_PICKS; i++) {
      const choice =
        type === 'feeler' ? (addrman.selectCollision() ?? addrman.select(true, seconds)) : addrman.select(false, seconds)
      if (choice === undefined) return undefined
      const { endpoint, services } = choice.address
      if (endpoint.network !== 'ipv4' && endpoint.network !== 'ipv6') continue
      if (!isRoutable(endpoint) || isBanned(bans, endpoint, seconds) || isDiscouraged(bans, endpoint)) continue
      if (type !== 'feeler' && taken.has(bytesToHex(groupOf(endpoint)))) continue
      if (seconds - choice.lastTry < RETRY_SECONDS && i < MAX_PICKS / 3) continue
      if (type !== 'feeler' && (services & SERVICE.witness) === 0n) continue
      if (endpoint.port !== defaultPort && i < MAX_PICKS / 2) continue
      if (!options.isConnected(endpointText(endpoint))) return endpoint
    }
    return undefined
  }

  const open = (type: ConnectionType): void => {
    const endpoint = pick(type)
    if (endpoint === undefined) return
    dialling++
    nextDialAt = now() + DIAL_PAUSE_MS
    addrman.attempt(endpoint, peering.peers.size > 1, Math.floor(now() / 1000))
    dial(endpointText(endpoint), endpoint, type)
      .catch((error: unknown) => log.debug({ address: endpointText(endpoint), error: String(error) }, 'no connection'))
      .finally(() => dialling--)
  }

  /** What is missing most. */
  const missing = (): ConnectionType | undefined => {
    const peers = [...peering.peers.values()]
    const of = (type: ConnectionType): number => peers.filter((peer) => peer.type === type).length
    const extra = peering.wantsExtraOutbound ? 1 : 0
    if (of('outbound-full-relay') < options.maxFullRelay + extra) return 'outbound-full-relay'
    if (of('block-relay-only') < options.maxBlockRelay) return 'block-relay-only'
    if (now() < nextFeelerAt) return undefined
    nextFeelerAt = now() - FEELER_INTERVAL_MS * Math.log1p(-random())
    return 'feeler'
  }

  const askSeeds = async (): Promise<void> => {
    seedsAt = Infinity
    const { tried, new: heard } = addrman.count()
    if (tried + heard >= ENOUGH_ADDRESSES && startedAt + SEED_WAIT_MS > now()) return
    for (const seed of seedsOf(options.networkName)) {
      if (closed || peering.peers.size >= 2) return
      try {
        const found = await lookup(`x9.${seed}`, { all: true })
        const seconds = Math.floor(now() / 1000)
        const addresses = found.slice(0, MAX_PER_SEED).flatMap(({ address }) => {
          const parsed = parseAddress(address)
          if (parsed === undefined) return []
          const time = seconds - SEED_AGE_SECONDS - Math.floor(random() * 4 * 86_400)
          return [{ endpoint: { ...parsed, port: defaultPort }, services: SERVICE.network | SERVICE.witness, time }]
        })
        const [first] = addresses
        if (first !== undefined) addrman.add(addresses, first.endpoint, 0, seconds)
        log.info({ seed, addresses: addresses.length }, 'addresses from a DNS seed')
      } catch (error) {
        log.debug({ seed, error: String(error) }, 'a DNS seed does not answer')
      }
    }
  }

  return {
    add(name) {
      const key = keyOf(name, defaultPort)
      if ([...wishes].some(([other, wish]) => other === name || wish.key === key)) return false
      const wish: Wish = { timer: undefined, attempts: 0, key }
      wishes.set(name, wish)
      attempt(name, wish)
      return true
    },
    remove(name) {
      const wish = wishes.get(name)
      clearTimeout(wish?.timer)
      return wishes.delete(name)
    },
    added: () => [...wishes.keys()],
    lost(name) {
      const wish = wishes.get(name)
      if (wish === undefined) return
      schedule(name, wish)
    },
    tick() {
      if (!options.usesAddressBook || !options.isActive() || closed) return
      if (now() >= seedsAt) void askSeeds()
      if (dialling >= 2 || now() < nextDialAt) return
      const type = missing()
      if (type !== undefined) open(type)
    },
    close() {
      closed = true
      for (const { timer } of wishes.values()) clearTimeout(timer)
      wishes.clear()
    },
  }
}

/** Where a name leads: the address that it is, or what the resolver says. */
export const resolveName = async (
  name: string,
  defaultPort: number,
): Promise<{ host: string; endpoint: Endpoint | undefined; port: number }> => {
  const parts = splitHostPort(name, defaultPort)
  if (parts === undefined) throw new RangeError(`"${name.slice(0, 100)}" is not host:port`)
  const written = parseAddress(parts.host)
  if (written !== undefined) {
    const { port } = parts
    return { host: addressText(written), port, endpoint: { ...written, port } }
  }
  const { address } = await lookup(parts.host)
  const found = parseAddress(address)
  return { host: address, port: parts.port, endpoint: found === undefined ? undefined : { ...found, port: parts.port } }
}

export const limitsFor = (
  maxConnections: number,
): { readonly fullRelay: number; readonly blockRelay: number; readonly inbound: number } => {
  const fullRelay = Math.min(MAX_FULL_OUTBOUND, maxConnections)
  const blockRelay = Math.min(MAX_BLOCK_RELAY, maxConnections - fullRelay)
  const feelers = 1
  return { fullRelay, blockRelay, inbound: Math.max(0, maxConnections - fullRelay - blockRelay - feelers) }
}
