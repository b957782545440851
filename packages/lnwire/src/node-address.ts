/**
 * Address descriptors of node_announcement and of init's remote_addr. BOLT 7 § The node_announcement Message.
 * Hosts are text: dotted IPv4, IPv6 as RFC 5952 writes it, `<56 base32>.onion`, a DNS name. An unknown type has no length, so it and
 * everything behind it is kept as bytes. A Tor v2 address or a host name that is no host name is kept, but not understood.
 */
import { type Codec, DecodeError, Reader, type Writer } from '@leyden/codec'

export type NodeAddress =
  | { readonly type: 'ipv4' | 'ipv6' | 'tor_v3' | 'dns'; readonly host: string; readonly port: number }
  /** Descriptors that we do not understand, first byte included. */
  | { readonly type: 'unknown'; readonly bytes: Uint8Array }

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567'

const onionText = (data: Uint8Array): string => {
  let bits = 0
  let value = 0
  let text = ''
  for (const byte of data) {
    value = ((value << 8) | byte) & 0xfff
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += BASE32[(value >> bits) & 31] ?? ''
    }
  }
  return `${text}.onion`
}

const onionBytes = (host: string): Uint8Array => {
  const match = /^([a-z2-7]{56})\.onion$/.exec(host)
  if (!match?.[1]) throw new RangeError('not a Tor v3 address')
  const out: number[] = []
  let bits = 0
  let value = 0
  for (const char of match[1]) {
    value = ((value << 5) | BASE32.indexOf(char)) & 0xfff
    bits += 5
    if (bits >= 8) {
      bits -= 8
      out.push((value >> bits) & 0xff)
    }
  }
  return Uint8Array.from(out)
}

const ipv6Text = (data: Uint8Array): string => {
  const groups: number[] = []
  for (let i = 0; i < 16; i += 2) groups.push(((data[i] ?? 0) << 8) | (data[i + 1] ?? 0))
  let best = { start: -1, length: 1 }
  for (let start = 0; start < 8; start++) {
    let length = 0
    while (start + length < 8 && groups[start + length] === 0) length++
    if (length > best.length) best = { start, length }
  }
  const part = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(':')
  return best.start < 0 ? part(0, 8) : `${part(0, best.start)}::${part(best.start + best.length, 8)}`
}

const ipv6Bytes = (host: string): Uint8Array => {
  const halves = host.split('::')
  const groupsOf = (text: string): string[] => (text === '' ? [] : text.split(':'))
  const head = groupsOf(halves[0] ?? '')
  const tail = groupsOf(halves[1] ?? '')
  const missing = 8 - head.length - tail.length
  const complete = halves.length === 1 ? missing === 0 : halves.length === 2 && missing >= 1
  const groups = [...head, ...Array.from({ length: Math.max(missing, 0) }, () => '0'), ...tail]
  if (!complete || !groups.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) throw new RangeError('not an IPv6 address')
  return Uint8Array.from(
    groups.flatMap((group) => {
      const n = Number.parseInt(group, 16)
      return [n >> 8, n & 0xff]
    }),
  )
}

const ipv4Bytes = (host: string): Uint8Array => {
  const parts = host.split('.')
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256))
    throw new RangeError('not an IPv4 address')
  return Uint8Array.from(parts.map(Number))
}

/** Letters, digits, hyphens and dots, as in a URL: nothing that could do harm where it is shown. */
const HOST_NAME = /^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,253}[A-Za-z0-9_.])?$/

const hostBytes = (host: string): Uint8Array => {
  if (!HOST_NAME.test(host)) throw new RangeError('not an ASCII host name')
  return Uint8Array.from([host.length, ...Array.from(host, (char) => char.charCodeAt(0))])
}

const decodeOne = (reader: Reader): NodeAddress | undefined => {
  switch (reader.u8()) {
    case 1:
      return { type: 'ipv4', host: Array.from(reader.bytes(4)).join('.'), port: reader.u16() }
    case 2:
      return { type: 'ipv6', host: ipv6Text(reader.bytes(16)), port: reader.u16() }
    case 4:
      return { type: 'tor_v3', host: onionText(reader.bytes(35)), port: reader.u16() }
    case 5: {
      const host = String.fromCharCode(...reader.bytes(reader.u8()))
      const port = reader.u16()
      return HOST_NAME.test(host) ? { type: 'dns', host, port } : undefined
    }
    default:
      return undefined
  }
}

/** One descriptor. @throws RangeError on encoding a host that is none of its type. */
const encodeOne = (writer: Writer, address: NodeAddress): void => {
  switch (address.type) {
    case 'unknown':
      writer.bytes(address.bytes)
      return
    case 'ipv4':
      writer.u8(1)
      writer.bytes(ipv4Bytes(address.host))
      break
    case 'ipv6':
      writer.u8(2)
      writer.bytes(ipv6Bytes(address.host))
      break
    case 'tor_v3':
      writer.u8(4)
      writer.bytes(onionBytes(address.host))
      break
    case 'dns':
      writer.u8(5)
      writer.bytes(hostBytes(address.host))
      break
  }
  writer.u16(address.port)
}

/** One descriptor that fills its bytes: init's remote_addr. One that is not understood becomes `unknown`. */
export const nodeAddress: Codec<NodeAddress> = {
  encode: encodeOne,
  decode(reader) {
    if (reader.remaining === 0) throw new DecodeError('truncated', 'address descriptor')
    const [first, ...more] = nodeAddresses.decode(reader)
    if (first === undefined || more.length > 0) throw new DecodeError('trailing', 'address descriptor')
    return first
  },
}

/** Descriptors until the bytes end. */
export const nodeAddresses: Codec<readonly NodeAddress[]> = {
  encode(writer, addresses) {
    for (const address of addresses) encodeOne(writer, address)
  },
  decode(reader) {
    const all = reader.rest()
    const out: NodeAddress[] = []
    let at = 0
    while (at < all.length) {
      const one = new Reader(all.subarray(at))
      const address = decodeOne(one)
      if (address === undefined) {
        out.push({ type: 'unknown', bytes: all.slice(at) })
        break
      }
      out.push(address)
      at += one.position
    }
    return out
  },
}
