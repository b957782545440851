/**
 * What the operator grants to peers by their address: `noban,relay@10.0.0.0/8`. Bitcoin Core net_permissions.cpp, whose words the
 * errors have.
 */
import { parseSubnet, PERMISSIONS, subnetMatches, type NetAddress, type Permission, type Subnet } from '@leyden/p2p'

export type Grant = {
  readonly permissions: ReadonlySet<Permission>
  /** No permissions were named: the usual ones are meant. */
  readonly isImplicit: boolean
  readonly inbound: boolean
  readonly outbound: boolean
}
export type Whitelisted = Grant & { readonly subnet: Subnet }

/** A permission that is none. The message is Bitcoin Core's. */
export class PermissionError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'PermissionError'
  }
}

/** What a permission brings with it. */
const IMPLIED: Partial<Record<Permission, Permission>> = { noban: 'download', forcerelay: 'relay' }

const withImplied = (permissions: Iterable<Permission>): Set<Permission> => {
  const all = new Set(permissions)
  for (const permission of all) {
    const implied = IMPLIED[permission]
    if (implied !== undefined) all.add(implied)
  }
  return all
}

const isPermission = (name: string): name is Permission => (PERMISSIONS as readonly string[]).includes(name)

/** Splits `permissions@rest`. Throws {@link PermissionError}. */
export const parseGrant = (text: string): Grant & { readonly rest: string } => {
  const at = text.indexOf('@')
  if (at < 0) return { permissions: new Set(), isImplicit: true, inbound: true, outbound: false, rest: text }
  const named = new Set<Permission>()
  let inbound = false
  let outbound = false
  for (const word of text.slice(0, at).split(',')) {
    const name = word === 'bloom' ? 'bloomfilter' : word
    if (name === 'all') for (const permission of PERMISSIONS) named.add(permission)
    else if (name === 'in') inbound = true
    else if (name === 'out') outbound = true
    else if (isPermission(name)) named.add(name)
    else if (name !== '') throw new PermissionError(`Invalid P2P permission: '${name}'`)
  }
  if ((inbound || outbound) && named.size === 0) throw new PermissionError(`Only direction was set, no permissions: '${text}'`)
  return { permissions: withImplied(named), isImplicit: false, inbound: inbound || !outbound, outbound, rest: text.slice(at + 1) }
}

/** An entry of the whitelist. Throws {@link PermissionError}. */
export const parseWhitelisted = (text: string): Whitelisted => {
  const { rest, ...grant } = parseGrant(text)
  const subnet = parseSubnet(rest)
  if (subnet === undefined) throw new PermissionError(`Invalid netmask specified in -whitelist: '${rest}'`)
  return { ...grant, subnet }
}

export type Grants = {
  readonly whitelist: readonly Whitelisted[]
  /** Of everybody who connects to us. */
  readonly inbound: ReadonlySet<Permission>
  /** Whether entries without permissions mean these as well. */
  readonly relay: boolean
  readonly forceRelay: boolean
}

/** The permissions of a peer: those of every entry that its address is in. */
export const permissionsFor = (
  address: NetAddress | undefined,
  direction: 'inbound' | 'outbound',
  { whitelist, inbound, relay, forceRelay }: Grants,
): ReadonlySet<Permission> => {
  const granted = new Set<Permission>(direction === 'inbound' ? inbound : [])
  for (const entry of whitelist) {
    if (address === undefined || !entry[direction] || !subnetMatches(entry.subnet, address)) continue
    for (const permission of entry.permissions) granted.add(permission)
    if (!entry.isImplicit) continue
    for (const permission of ['noban', 'mempool'] as const) granted.add(permission)
    if (relay || forceRelay) granted.add('relay')
    if (forceRelay) granted.add('forcerelay')
  }
  return withImplied(granted)
}
