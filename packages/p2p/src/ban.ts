/**
 * Who may not connect: the operator's ban list, and addresses that have misbehaved (discouraged), which lose their place first when
 * places are short. Bitcoin Core banman.{h,cpp}. Bans are kept over restarts; discouragement is not.
 */
import { type NetAddress } from './net-address.ts'
import { createRecent, type Recent } from './recent.ts'
import { compareSubnets, parseSubnet, singleAddress, subnetMatches, subnetText, type Subnet } from './subnet.ts'

/** Bitcoin Core's DEFAULT_MISBEHAVING_BANTIME. */
export const DEFAULT_BAN_SECONDS = 86_400
const MAX_DISCOURAGED = 50_000

/** Seconds since 1970. */
export type Ban = { readonly subnet: Subnet; readonly createdAt: number; readonly until: number }
/** A ban as it is stored. */
export type BanRow = {
  readonly address: string
  readonly ban_created: number
  readonly banned_until: number
  readonly version: 1
}

export type BanList = {
  readonly bans: Map<string, Ban>
  readonly discouraged: Recent
}

/** `rows` may hold anything: a file that others wrote. */
export const createBanList = (rows: readonly Readonly<Record<string, unknown>>[] = []): BanList => {
  const bans = new Map<string, Ban>()
  for (const row of rows) {
    const { address, ban_created: created, banned_until: until } = row
    const subnet = parseSubnet(typeof address === 'string' ? address : '')
    if (subnet !== undefined) bans.set(subnetText(subnet), { subnet, createdAt: Number(created) || 0, until: Number(until) || 0 })
  }
  return { bans, discouraged: createRecent(MAX_DISCOURAGED) }
}

/** Drops what has run out. */
const sweep = ({ bans }: BanList, now: number): void => {
  for (const [name, { until }] of bans) if (now > until) bans.delete(name)
}

/** Bans a range until a time; a ban that lasts longer already stays. */
export const ban = ({ bans }: BanList, subnet: Subnet, until: number, now: number): void => {
  const name = subnetText(subnet)
  if ((bans.get(name)?.until ?? 0) < until) bans.set(name, { subnet, createdAt: now, until })
}

/** Whether there was such a ban. */
export const unban = ({ bans }: BanList, subnet: Subnet): boolean => bans.delete(subnetText(subnet))

/** Whether this very range is banned. */
export const isSubnetBanned = ({ bans }: BanList, subnet: Subnet, now: number): boolean =>
  now < (bans.get(subnetText(subnet))?.until ?? 0)

export const isBanned = ({ bans }: BanList, address: NetAddress, now: number): boolean =>
  [...bans.values()].some(({ subnet, until }) => now < until && subnetMatches(subnet, address))

/** In the order of their ranges. */
export const listBans = (list: BanList, now: number): Ban[] => {
  sweep(list, now)
  return [...list.bans.values()].sort((a, b) => compareSubnets(a.subnet, b.subnet))
}

export const banRows = (list: BanList, now: number): BanRow[] =>
  listBans(list, now).map(({ subnet, createdAt, until }) => ({
    address: subnetText(subnet),
    ban_created: createdAt,
    banned_until: until,
    version: 1,
  }))

const nameOf = (address: NetAddress): string => subnetText(singleAddress(address))

/** Remembers that somebody at the address has misbehaved. */
export const discourage = ({ discouraged }: BanList, address: NetAddress): void => discouraged.add(nameOf(address))

export const isDiscouraged = ({ discouraged }: BanList, address: NetAddress): boolean => discouraged.has(nameOf(address))
