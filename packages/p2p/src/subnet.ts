/**
 * Ranges of addresses, as ban lists and permissions name them: one address, or a prefix of IPv4, IPv6 or CJDNS addresses.
 * Bitcoin Core netaddress.cpp, CSubNet; netbase.cpp, LookupSubNet.
 */
import { compareBytes, equalBytes } from '@leyden/codec'
import { addressText, networkRank, parseAddress, type NetAddress } from './net-address.ts'

/** `mask` is all ones for a single address of a network without prefixes. */
export type Subnet = { readonly address: NetAddress; readonly mask: Uint8Array }

const maskOf = (length: number, bits: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (0xff00 >> Math.max(0, Math.min(8, bits - 8 * i))) & 0xff)

const masked = (bytes: Uint8Array, mask: Uint8Array): Uint8Array => bytes.map((byte, i) => byte & (mask[i] as number))

const hasPrefixes = ({ network }: NetAddress): boolean => network === 'ipv4' || network === 'ipv6' || network === 'cjdns'

/** The range of one address alone. */
export const singleAddress = (address: NetAddress): Subnet => ({
  address,
  mask: maskOf(address.bytes.length, address.bytes.length * 8),
})

/** Bits of a mask whose ones all come first; undefined for any other. */
const prefixOf = (mask: Uint8Array): number | undefined => {
  let bits = 0
  for (let i = 0; i < mask.length * 8; i++) {
    if (((mask[i >> 3] as number) & (0x80 >> (i & 7))) === 0) break
    bits++
  }
  return equalBytes(mask, maskOf(mask.length, bits)) ? bits : undefined
}

/** `1.2.3.4`, `1.2.0.0/16`, `1.2.0.0/255.255.0.0`, `2001::/32`; undefined for anything else. */
export const parseSubnet = (text: string): Subnet | undefined => {
  const slash = text.lastIndexOf('/')
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash))
  if (address === undefined) return undefined
  if (slash < 0) return singleAddress(address)
  if (!hasPrefixes(address)) return undefined
  const suffix = text.slice(slash + 1)
  const { length } = address.bytes
  let mask: Uint8Array | undefined
  if (/^\d{1,3}$/.test(suffix)) mask = Number(suffix) <= length * 8 ? maskOf(length, Number(suffix)) : undefined
  else {
    const named = parseAddress(suffix)
    mask = named?.network === address.network && prefixOf(named.bytes) !== undefined ? named.bytes : undefined
  }
  return mask === undefined ? undefined : { address: { ...address, bytes: masked(address.bytes, mask) }, mask }
}

/** Prefix length, or the address alone where there are no prefixes. */
export const subnetText = ({ address, mask }: Subnet): string =>
  hasPrefixes(address) ? `${addressText(address)}/${prefixOf(mask)}` : addressText(address)

export const subnetMatches = ({ address, mask }: Subnet, other: NetAddress): boolean =>
  address.network === other.network && equalBytes(masked(other.bytes, mask), address.bytes)

/** By network, address, mask. */
export const compareSubnets = (a: Subnet, b: Subnet): number =>
  networkRank(a.address) - networkRank(b.address) ||
  compareBytes(a.address.bytes, b.address.bytes) ||
  compareBytes(a.mask, b.mask)
