/**
 * The address book: endpoints of other nodes in two tables of buckets, `new` (heard of) and `tried` (reached). A secret key decides the
 * bucket from the groups of address and source, so that one source fills at most 64 of 1024 buckets and one group of addresses
 * at most 8 of 256. Bitcoin Core addrman.cpp, whose bucket arithmetic this is: every table has a bound and nothing else grows.
 */
import { Writer } from '@leyden/codec'
import { sha256d } from '@leyden/crypto'
import { endpointKey, groupOf, isRoutable, networkName, toV1Bytes, isV1Compatible } from './net-address.ts'
import type { Endpoint, NetAddress, PublicNetwork, TimedAddress } from './net-address.ts'

const NEW_BUCKETS = 1024
const TRIED_BUCKETS = 256
const BUCKET_SIZE = 64
const TRIED_BUCKETS_PER_GROUP = 8n
const NEW_BUCKETS_PER_SOURCE_GROUP = 64n
const NEW_BUCKETS_PER_ADDRESS = 8
const HORIZON = 30 * 86_400
const RETRIES = 3
const MAX_FAILURES = 10
const MIN_FAIL = 7 * 86_400
const REPLACEMENT = 4 * 3600
const TEST_WINDOW = 40 * 60
const MAX_COLLISIONS = 10

type Entry = {
  readonly endpoint: Endpoint
  readonly source: NetAddress
  /** Seconds since 1970, 0 for never. */
  time: number
  services: bigint
  lastTry: number
  lastCountedTry: number
  lastSuccess: number
  attempts: number
  /** Slots of the new table that hold it. */
  readonly slots: Set<number>
  tried: boolean
}

/** An entry as it is stored. */
export type AddrmanRow = {
  readonly endpoint: Endpoint
  readonly source: NetAddress
  readonly time: number
  readonly services: bigint
  readonly lastSuccess: number
  readonly attempts: number
  readonly tried: boolean
}

export type AddrmanEntry = TimedAddress & { readonly source: NetAddress; readonly bucket: number; readonly position: number }
export type AddrmanCounts = { readonly new: number; readonly tried: number }

export interface Addrman {
  /** Notes addresses that `source` told of, their times made older by `penalty` seconds. How many were new to us. */
  add(addresses: readonly TimedAddress[], source: NetAddress, penalty: number, now: number): number
  /** Was reached: moves to the tried table, unless another sits there that first has to be tested. */
  good(endpoint: Endpoint, now: number): boolean
  /** A connection is tried. `countFailure`: it tells something about the other, not about our own line. */
  attempt(endpoint: Endpoint, countFailure: boolean, now: number): void
  /** A connection to it has lasted. */
  connected(endpoint: Endpoint, now: number): void
  setServices(endpoint: Endpoint, services: bigint): void
  /** One to connect to, by chance; undefined when there is none. */
  select(newOnly: boolean, now: number): { readonly address: TimedAddress; readonly lastTry: number } | undefined
  /** A tried address whose place another wants, to be tested. */
  selectCollision(): { readonly address: TimedAddress; readonly lastTry: number } | undefined
  /** Settles who gets the place, where that can be told by now. */
  resolveCollisions(now: number): void
  /** Some addresses by chance: at most `max` (0: all), at most `percent` of all (0: all). `filtered`: without the hopeless. */
  sample(max: number, percent: number, now: number, network?: PublicNetwork, filtered?: boolean): TimedAddress[]
  count(network?: PublicNetwork): AddrmanCounts
  table(tried: boolean): AddrmanEntry[]
  rows(): AddrmanRow[]
}

export type AddrmanOptions = {
  /** 32 bytes that nobody else knows. */
  readonly key: Uint8Array
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly rows?: readonly AddrmanRow[]
}

const keyBytes = (endpoint: Endpoint): Uint8Array => {
  const writer = new Writer(20)
  writer.bytes(isV1Compatible(endpoint) ? toV1Bytes(endpoint) : endpoint.bytes)
  writer.u16(endpoint.port)
  return writer.finish()
}

/** Never in a list of this length: addresses, keys and groups are short. */
const writeShort = (writer: Writer, bytes: Uint8Array): void => {
  writer.u8(bytes.length)
  writer.bytes(bytes)
}

const hashOf = (key: Uint8Array, write: (writer: Writer) => void): bigint => {
  const writer = new Writer(96)
  writer.bytes(key)
  write(writer)
  const digest = sha256d(writer.finish())
  return new DataView(digest.buffer, digest.byteOffset).getBigUint64(0, true)
}

const triedBucket = (key: Uint8Array, endpoint: Endpoint): number => {
  const spread = hashOf(key, (writer) => writeShort(writer, keyBytes(endpoint))) % TRIED_BUCKETS_PER_GROUP
  const hash = hashOf(key, (writer) => {
    writeShort(writer, groupOf(endpoint))
    writer.u64le(spread)
  })
  return Number(hash % BigInt(TRIED_BUCKETS))
}

const newBucket = (key: Uint8Array, endpoint: Endpoint, source: NetAddress): number => {
  const sourceGroup = groupOf(source)
  const spread =
    hashOf(key, (writer) => {
      writeShort(writer, groupOf(endpoint))
      writeShort(writer, sourceGroup)
    }) % NEW_BUCKETS_PER_SOURCE_GROUP
  const hash = hashOf(key, (writer) => {
    writeShort(writer, sourceGroup)
    writer.u64le(spread)
  })
  return Number(hash % BigInt(NEW_BUCKETS))
}

const positionIn = (key: Uint8Array, endpoint: Endpoint, tried: boolean, bucket: number): number => {
  const hash = hashOf(key, (writer) => {
    writer.u8(tried ? 0x4b : 0x4e)
    writer.u32le(bucket)
    writeShort(writer, keyBytes(endpoint))
  })
  return Number(hash % BigInt(BUCKET_SIZE))
}

/** Not worth a place that another wants. */
const isHopeless = (entry: Entry, now: number): boolean => {
  if (now - entry.lastTry <= 60) return false
  if (entry.time > now + 600 || now - entry.time > HORIZON) return true
  if (entry.lastSuccess === 0 && entry.attempts >= RETRIES) return true
  return now - entry.lastSuccess > MIN_FAIL && entry.attempts >= MAX_FAILURES
}

const chanceOf = (entry: Entry, now: number): number =>
  (now - entry.lastTry < 600 ? 0.01 : 1) * 0.66 ** Math.min(entry.attempts, 8)

export const createAddrman = ({ key, random, rows = [] }: AddrmanOptions): Addrman => {
  const entries = new Map<string, Entry>()
  const newTable = new Map<number, Entry>()
  const triedTable = new Map<number, Entry>()
  const collisions = new Set<Entry>()
  let lastGood = 1

  const randomBelow = (bound: number): number => Math.floor(random() * bound)
  const newSlot = (endpoint: Endpoint, source: NetAddress): number => {
    const bucket = newBucket(key, endpoint, source)
    return bucket * BUCKET_SIZE + positionIn(key, endpoint, false, bucket)
  }
  const triedSlot = (endpoint: Endpoint): number => {
    const bucket = triedBucket(key, endpoint)
    return bucket * BUCKET_SIZE + positionIn(key, endpoint, true, bucket)
  }
  const remove = (entry: Entry): void => {
    entries.delete(endpointKey(entry.endpoint))
    collisions.delete(entry)
  }
  const clearNew = (slot: number): void => {
    const entry = newTable.get(slot)
    if (entry === undefined) return
    newTable.delete(slot)
    entry.slots.delete(slot)
    if (entry.slots.size === 0 && !entry.tried) remove(entry)
  }
  const putNew = (slot: number, entry: Entry): void => {
    clearNew(slot)
    newTable.set(slot, entry)
    entry.slots.add(slot)
    entries.set(endpointKey(entry.endpoint), entry)
  }

  const addOne = ({ endpoint, services, time }: TimedAddress, source: NetAddress, penalty: number, now: number): boolean => {
    if (!isRoutable(endpoint)) return false
    const known = entries.get(endpointKey(endpoint))
    const isSelf = source.network === endpoint.network && source.bytes.every((byte, i) => byte === endpoint.bytes[i])
    const older = isSelf ? 0 : penalty
    if (known !== undefined) {
      const interval = now - time < 86_400 ? 3600 : 86_400
      if (known.time < time - interval - older) known.time = Math.max(0, time - older)
      known.services |= services
      if (time <= known.time || known.tried || known.slots.size === NEW_BUCKETS_PER_ADDRESS) return false
      if (known.slots.size > 0 && randomBelow(2 ** known.slots.size) !== 0) return false
    }
    const entry: Entry = known ?? {
      endpoint,
      source,
      time: Math.max(0, time - older),
      services,
      lastTry: 0,
      lastCountedTry: 0,
      lastSuccess: 0,
      attempts: 0,
      slots: new Set(),
      tried: false,
    }
    const slot = newSlot(endpoint, source)
    const holder = newTable.get(slot)
    if (holder === entry) return false
    const free = holder === undefined || isHopeless(holder, now) || (holder.slots.size > 1 && entry.slots.size === 0)
    if (free) putNew(slot, entry)
    return free
  }

  const makeTried = (entry: Entry): void => {
    for (const slot of entry.slots) newTable.delete(slot)
    entry.slots.clear()
    const slot = triedSlot(entry.endpoint)
    const evicted = triedTable.get(slot)
    triedTable.set(slot, entry)
    entry.tried = true
    collisions.delete(entry)
    if (evicted === undefined) return
    evicted.tried = false
    putNew(newSlot(evicted.endpoint, evicted.source), evicted)
  }

  const makeGood = (endpoint: Endpoint, testFirst: boolean, now: number): boolean => {
    lastGood = now
    const entry = entries.get(endpointKey(endpoint))
    if (entry === undefined) return false
    entry.lastSuccess = now
    entry.lastTry = now
    entry.attempts = 0
    if (entry.tried) return false
    if (testFirst && triedTable.has(triedSlot(endpoint))) {
      if (collisions.size < MAX_COLLISIONS) collisions.add(entry)
      return false
    }
    makeTried(entry)
    return true
  }

  const toAddress = ({ endpoint, services, time }: Entry): TimedAddress => ({ endpoint, services, time })

  for (const row of rows) {
    if (!isRoutable(row.endpoint) || entries.has(endpointKey(row.endpoint))) continue
    const entry: Entry = { ...row, lastTry: 0, lastCountedTry: 0, slots: new Set(), tried: false }
    if (row.tried && !triedTable.has(triedSlot(row.endpoint))) {
      entries.set(endpointKey(row.endpoint), entry)
      makeTried(entry)
    } else if (!newTable.has(newSlot(row.endpoint, row.source))) putNew(newSlot(row.endpoint, row.source), entry)
  }

  return {
    add: (addresses, source, penalty, now) =>
      addresses.reduce((added, address) => added + (addOne(address, source, penalty, now) ? 1 : 0), 0),
    good: (endpoint, now) => makeGood(endpoint, true, now),
    attempt(endpoint, countFailure, now) {
      const entry = entries.get(endpointKey(endpoint))
      if (entry === undefined) return
      entry.lastTry = now
      if (!countFailure || entry.lastCountedTry >= lastGood) return
      entry.lastCountedTry = now
      entry.attempts++
    },
    connected(endpoint, now) {
      const entry = entries.get(endpointKey(endpoint))
      if (entry !== undefined && now - entry.time > 20 * 60) entry.time = now
    },
    setServices(endpoint, services) {
      const entry = entries.get(endpointKey(endpoint))
      if (entry !== undefined) entry.services = services
    },
    select(newOnly, now) {
      const fromTried = triedTable.size > 0 && !newOnly && (newTable.size === 0 || random() < 0.5)
      const table = [...(fromTried ? triedTable : newTable).values()]
      if (table.length === 0) return undefined
      for (let factor = 1; ; factor *= 1.2) {
        const entry = table[randomBelow(table.length)] as Entry
        if (random() < factor * chanceOf(entry, now)) return { address: toAddress(entry), lastTry: entry.lastTry }
      }
    },
    selectCollision() {
      const waiting = [...collisions][randomBelow(collisions.size)]
      const holder = waiting === undefined ? undefined : triedTable.get(triedSlot(waiting.endpoint))
      return holder === undefined ? undefined : { address: toAddress(holder), lastTry: holder.lastTry }
    },
    resolveCollisions(now) {
      for (const entry of collisions) {
        const holder = triedTable.get(triedSlot(entry.endpoint))
        if (holder === undefined) makeGood(entry.endpoint, false, now)
        else if (now - holder.lastSuccess < REPLACEMENT) collisions.delete(entry)
        else if (now - holder.lastTry < REPLACEMENT) {
          if (now - holder.lastTry > 60) makeGood(entry.endpoint, false, now)
        } else if (now - entry.lastSuccess > TEST_WINDOW) makeGood(entry.endpoint, false, now)
      }
    },
    sample(max, percent, now, network, filtered = true) {
      const all = [...entries.values()]
      let wanted = percent === 0 ? all.length : Math.floor((percent * all.length) / 100)
      if (max !== 0) wanted = Math.min(wanted, max)
      const chosen: TimedAddress[] = []
      for (let at = 0; at < all.length && chosen.length < wanted; at++) {
        const pick = at + randomBelow(all.length - at)
        const entry = all[pick] as Entry
        all[pick] = all[at] as Entry
        if (network !== undefined && networkName(entry.endpoint) !== network) continue
        if (!filtered || !isHopeless(entry, now)) chosen.push(toAddress(entry))
      }
      return chosen
    },
    count(network) {
      let tried = 0
      let total = 0
      for (const entry of entries.values()) {
        if (network !== undefined && entry.endpoint.network !== network) continue
        total++
        if (entry.tried) tried++
      }
      return { new: total - tried, tried }
    },
    table: (tried) =>
      [...(tried ? triedTable : newTable)]
        .sort(([a], [b]) => a - b)
        .map(([slot, entry]) => ({
          ...toAddress(entry),
          source: entry.source,
          bucket: Math.floor(slot / BUCKET_SIZE),
          position: slot % BUCKET_SIZE,
        })),
    rows: () =>
      [...entries.values()].map(({ endpoint, source, time, services, lastSuccess, attempts, tried }) => ({
        endpoint,
        source,
        time,
        services,
        lastSuccess,
        attempts,
        tried,
      })),
  }
}
