/**
 * Addresses of nodes: networks, text, groups, and which of them can be reached from anywhere. BIP 155; RFC 1918, 3849, 3927, 3964,
 * 4193, 4380, 4843, 4862, 5737, 5952, 6052, 6145, 6598, 7343; Tor rend-spec-v3 § 6. Bitcoin Core netaddress.{h,cpp}.
 * Names are not resolved here: only an address that is written as one is an address.
 */
import { concat, equalBytes } from '@leyden/codec'
import { sha3 } from '@leyden/crypto'

/** Networks that addresses belong to; `internal` never leaves a node. */
export type AddressNetwork = 'ipv4' | 'ipv6' | 'onion' | 'i2p' | 'cjdns' | 'internal'

/** 4 bytes for IPv4, 16 for IPv6 and CJDNS, 32 for onion (the key) and I2P (the hash). */
export type NetAddress = { readonly network: AddressNetwork; readonly bytes: Uint8Array }
export type Endpoint = NetAddress & { readonly port: number }
/** An endpoint as nodes tell each other of it. `time` in seconds since 1970. */
export type TimedAddress = { readonly endpoint: Endpoint; readonly services: bigint; readonly time: number }

/** The networks that calls may name, in Bitcoin Core's order. */
export const PUBLIC_NETWORKS = ['ipv4', 'ipv6', 'onion', 'i2p', 'cjdns'] as const
export type PublicNetwork = (typeof PUBLIC_NETWORKS)[number]

const V4_IN_V6 = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff)
const INTERNAL_IN_V6 = Uint8Array.of(0xfd, 0x6b, 0x88, 0xc0, 0x87, 0x24)
const TOR_V2_IN_V6 = Uint8Array.of(0xfd, 0x87, 0xd8, 0x7e, 0xeb, 0x43)
const ONION_VERSION = 3

const startsWith = (bytes: Uint8Array, ...prefix: readonly number[]): boolean => prefix.every((byte, i) => bytes[i] === byte)

/** The address in the 16 bytes of the first version of the protocol; all zero where it has none. */
export const toV1Bytes = ({ network, bytes }: NetAddress): Uint8Array => {
  if (network === 'ipv4') return concat(V4_IN_V6, bytes)
  if (network === 'internal') return concat(INTERNAL_IN_V6, bytes)
  return network === 'ipv6' ? bytes : new Uint8Array(16)
}

/** What 16 bytes mean. The second version of onion addresses is no longer one. */
export const fromV1Bytes = (bytes: Uint8Array): NetAddress => {
  if (startsWith(bytes, ...V4_IN_V6)) return { network: 'ipv4', bytes: bytes.slice(12) }
  if (startsWith(bytes, ...INTERNAL_IN_V6)) return { network: 'internal', bytes: bytes.slice(6) }
  if (startsWith(bytes, ...TOR_V2_IN_V6)) return { network: 'ipv6', bytes: new Uint8Array(16) }
  return { network: 'ipv6', bytes: bytes.slice() }
}

/** Whether a peer that does not know BIP 155 can be told of it. */
export const isV1Compatible = ({ network }: NetAddress): boolean =>
  network === 'ipv4' || network === 'ipv6' || network === 'internal'

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567'

const encodeBase32 = (bytes: Uint8Array): string => {
  let text = ''
  let bits = 0
  let value = 0
  for (const byte of bytes) {
    value = (value << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += BASE32.charAt((value >> bits) & 31)
    }
    value &= (1 << bits) - 1
  }
  return bits > 0 ? text + BASE32.charAt((value << (5 - bits)) & 31) : text
}

const decodeBase32 = (text: string): Uint8Array | undefined => {
  const bytes: number[] = []
  let bits = 0
  let value = 0
  for (const char of text) {
    const digit = BASE32.indexOf(char)
    if (digit < 0) return undefined
    value = (value << 5) | digit
    bits += 5
    if (bits >= 8) {
      bits -= 8
      bytes.push((value >> bits) & 0xff)
    }
    value &= (1 << bits) - 1
  }
  return value === 0 ? Uint8Array.from(bytes) : undefined
}

const onionChecksum = (key: Uint8Array): Uint8Array =>
  sha3(concat(new TextEncoder().encode('.onion checksum'), key, Uint8Array.of(ONION_VERSION))).subarray(0, 2)

/** RFC 5952: the longest run of zero groups is left out. */
const v6Text = (bytes: Uint8Array): string => {
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i] as number) << 8) | (bytes[2 * i + 1] as number))
  let best = { start: -1, length: 1 }
  for (let start = 0; start < 8; start++) {
    let length = 0
    while (start + length < 8 && groups[start + length] === 0) length++
    if (length > best.length) best = { start, length }
  }
  const hex = groups.map((group) => group.toString(16))
  if (best.start < 0) return hex.join(':')
  return `${hex.slice(0, best.start).join(':')}::${hex.slice(best.start + best.length).join(':')}`
}

/** As an operator writes it, without a port. */
export const addressText = (address: NetAddress): string => {
  const { network, bytes } = address
  switch (network) {
    case 'ipv4':
      return bytes.join('.')
    case 'onion':
      return `${encodeBase32(concat(bytes, onionChecksum(bytes), Uint8Array.of(ONION_VERSION)))}.onion`
    case 'i2p':
      return `${encodeBase32(bytes)}.b32.i2p`
    case 'internal':
      return `${encodeBase32(bytes)}.internal`
    default:
      return v6Text(bytes)
  }
}

/** With a port, IPv6 in brackets. */
export const endpointText = (endpoint: Endpoint): string => {
  const text = addressText(endpoint)
  return text.includes(':') ? `[${text}]:${endpoint.port}` : `${text}:${endpoint.port}`
}

/** A text that two equal endpoints share. */
export const endpointKey = ({ network, bytes, port }: Endpoint): string => `${network}:${bytes.join('.')}:${port}`

/** inet_aton's forms: 127.1 is 127.0.0.1. */
const parseV4 = (text: string): Uint8Array | undefined => {
  const parts = text.split('.')
  if (parts.length > 4 || parts.some((part) => !/^(0|[1-9]\d{0,9})$/.test(part))) return undefined
  const numbers = parts.map(Number)
  const last = numbers.pop() as number
  if (numbers.some((n) => n > 255) || last >= 256 ** (4 - numbers.length)) return undefined
  const bytes = Uint8Array.from({ length: 4 }, (_, i) => numbers[i] ?? 0)
  for (let i = 3, rest = last; i >= numbers.length; i--, rest = Math.floor(rest / 256)) bytes[i] = rest % 256
  return bytes
}

const parseV6 = (text: string): Uint8Array | undefined => {
  if (!/^[0-9a-fA-F:.]+$/.test(text) || !text.includes(':')) return undefined
  let source = text
  const tail = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text)
  if (tail !== null) {
    const v4 = parseV4(tail[2] as string)
    if (v4 === undefined) return undefined
    const word = (at: number): string => (((v4[at] as number) << 8) | (v4[at + 1] as number)).toString(16)
    source = `${tail[1]}${word(0)}:${word(2)}`
  }
  const halves = source.split('::')
  if (halves.length > 2) return undefined
  const [front, back] = halves.map((half) => (half === '' ? [] : half.split(':')))
  const head = front ?? []
  const end = back ?? []
  const gap = 8 - head.length - end.length
  if (halves.length === 1 ? gap !== 0 : gap < 1) return undefined
  const groups = [...head, ...Array.from({ length: gap }, () => '0'), ...end]
  if (groups.some((group) => !/^[0-9a-fA-F]{1,4}$/.test(group))) return undefined
  return Uint8Array.from(
    groups.flatMap((group) => {
      const value = Number.parseInt(group, 16)
      return [value >> 8, value & 0xff]
    }),
  )
}

const parseOnion = (text: string): Uint8Array | undefined => {
  const bytes = text.length === 56 ? decodeBase32(text) : undefined
  if (bytes?.length !== 35 || bytes[34] !== ONION_VERSION) return undefined
  const key = bytes.slice(0, 32)
  return equalBytes(onionChecksum(key), bytes.slice(32, 34)) ? key : undefined
}

/** An address without a port; undefined when the text is none. `cjdns`: fc00::/8 is CJDNS. */
export const parseAddress = (text: string, cjdns = false): NetAddress | undefined => {
  if (text.length > 100) return undefined
  const lower = text.toLowerCase()
  if (lower.endsWith('.onion')) {
    const bytes = parseOnion(lower.slice(0, -6))
    return bytes === undefined ? undefined : { network: 'onion', bytes }
  }
  if (lower.endsWith('.b32.i2p')) {
    const bytes = lower.length === 60 ? decodeBase32(lower.slice(0, 52)) : undefined
    return bytes?.length === 32 ? { network: 'i2p', bytes } : undefined
  }
  const v4 = parseV4(text)
  if (v4 !== undefined) return { network: 'ipv4', bytes: v4 }
  const v6 = parseV6(text)
  if (v6 === undefined) return undefined
  if (cjdns && v6[0] === 0xfc) return { network: 'cjdns', bytes: v6 }
  return fromV1Bytes(v6)
}

/** Host and port of a text that may lack the port; undefined when the port is bad. */
export const splitHostPort = (
  text: string,
  defaultPort: number,
): { readonly host: string; readonly port: number } | undefined => {
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?$/.exec(text)
  if (match === null) return text.includes(':') && parseV6(text) !== undefined ? { host: text, port: defaultPort } : undefined
  const host = match[1] ?? match[2] ?? ''
  const port = match[3] === undefined ? defaultPort : Number(match[3])
  return host === '' || port < 1 || port > 65_535 ? undefined : { host, port }
}

/** An endpoint in text; undefined when it names no address (a host name, for example). */
export const parseEndpoint = (text: string, defaultPort: number, cjdns = false): Endpoint | undefined => {
  const parts = splitHostPort(text, defaultPort)
  const address = parts === undefined ? undefined : parseAddress(parts.host, cjdns)
  return address === undefined || parts === undefined ? undefined : { ...address, port: parts.port }
}

/** The host itself. */
export const isLocal = ({ network, bytes }: NetAddress): boolean =>
  network === 'ipv4'
    ? bytes[0] === 127 || bytes[0] === 0
    : network === 'ipv6' && bytes.every((byte, i) => byte === (i === 15 ? 1 : 0))

const isValid = ({ network, bytes }: NetAddress): boolean => {
  if (network === 'internal') return false
  if (network === 'ipv4') return bytes.some((byte) => byte !== 0) && bytes.some((byte) => byte !== 255)
  if (network === 'cjdns') return bytes[0] === 0xfc
  if (network !== 'ipv6') return true
  return bytes.some((byte) => byte !== 0) && !startsWith(bytes, 0x20, 0x01, 0x0d, 0xb8)
}

const isPrivateV4 = (bytes: Uint8Array): boolean => {
  const [a, b, c] = bytes as unknown as [number, number, number]
  return (
    a === 10 ||
    (a === 192 && b === 168) ||
    (a === 172 && b >= 16 && b <= 31) ||
    (a === 198 && (b === 18 || b === 19)) ||
    (a === 169 && b === 254) ||
    (a === 100 && b >= 64 && b <= 127) ||
    (a === 192 && b === 0 && c === 2) ||
    (a === 198 && b === 51 && c === 100) ||
    (a === 203 && b === 0 && c === 113)
  )
}

const isPrivateV6 = (bytes: Uint8Array): boolean =>
  startsWith(bytes, 0xfe, 0x80, 0, 0, 0, 0, 0, 0) ||
  ((bytes[0] as number) & 0xfe) === 0xfc ||
  (startsWith(bytes, 0x20, 0x01, 0x00) && (((bytes[3] as number) & 0xf0) === 0x10 || ((bytes[3] as number) & 0xf0) === 0x20))

/** Whether others may find it there. */
export const isRoutable = (address: NetAddress): boolean => {
  if (!isValid(address) || isLocal(address)) return false
  if (address.network === 'ipv4') return !isPrivateV4(address.bytes)
  return address.network !== 'ipv6' || !isPrivateV6(address.bytes)
}

/** Whether an address could be one of a node. */
export const isValidAddress = isValid

/** The IPv4 address that an address of some other form stands for: mapped, translated, 6to4, Teredo. */
const linkedV4 = ({ network, bytes }: NetAddress): Uint8Array | undefined => {
  if (network === 'ipv4') return bytes
  if (network !== 'ipv6') return undefined
  if (startsWith(bytes, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0)) return bytes.subarray(12)
  if (startsWith(bytes, 0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0)) return bytes.subarray(12)
  if (startsWith(bytes, 0x20, 0x02)) return bytes.subarray(2, 6)
  return startsWith(bytes, 0x20, 0x01, 0, 0) ? bytes.subarray(12).map((byte) => ~byte) : undefined
}

const NET_CLASS = { unroutable: 0, ipv4: 1, ipv6: 2, onion: 3, i2p: 4, cjdns: 5, internal: 6 } as const

/** The network as calls show it. */
export const networkName = (address: NetAddress): PublicNetwork | 'not_publicly_routable' => {
  const found = netClass(address)
  return found === 'unroutable' || found === 'internal' ? 'not_publicly_routable' : found
}

const netClass = (address: NetAddress): keyof typeof NET_CLASS => {
  if (address.network === 'internal') return 'internal'
  if (!isRoutable(address)) return 'unroutable'
  return linkedV4(address) === undefined ? address.network : 'ipv4'
}

/** Order of networks in lists. */
export const networkRank = ({ network }: NetAddress): number => NET_CLASS[network]

/** How many leading bits of an address tell its group. */
const groupBits = (address: NetAddress): number => {
  const { network, bytes } = address
  if (isLocal(address)) return 0
  if (network === 'internal') return bytes.length * 8
  if (!isRoutable(address)) return 0
  if (network === 'onion' || network === 'i2p') return 4
  if (network === 'cjdns') return 12
  return startsWith(bytes, 0x20, 0x01, 0x04, 0x70) ? 36 : 32
}

/**
 * The group of addresses that one party may well own: /16 of IPv4, /32 of IPv6. Bytes as Bitcoin Core's netgroup.cpp has them, which
 * decide the buckets of the address book.
 */
export const groupOf = (address: NetAddress): Uint8Array => {
  const head = Uint8Array.of(NET_CLASS[netClass(address)])
  const v4 = isRoutable(address) ? linkedV4(address) : undefined
  if (v4 !== undefined) return concat(head, v4.subarray(0, 2))
  const bits = groupBits(address)
  const whole = Math.floor(bits / 8)
  const rest = bits % 8
  const body = address.bytes.subarray(0, whole)
  if (rest === 0) return concat(head, body)
  return concat(head, body, Uint8Array.of((address.bytes[whole] as number) | ((1 << (8 - rest)) - 1)))
}
