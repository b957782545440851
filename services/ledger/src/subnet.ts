/** Networks of addresses, for who may call: `1.2.3.4`, `1.2.3.0/24`, `1.2.3.0/255.255.255.0`, `::/0`. Bitcoin Core netaddress.cpp, CSubNet. */
import { BlockList, isIP } from 'node:net'

const maskLength = (mask: string): number | undefined => {
  if (/^\d{1,3}$/.test(mask)) return Number(mask)
  if (isIP(mask) !== 4) return undefined
  const bits = mask
    .split('.')
    .map((part) => Number(part).toString(2).padStart(8, '0'))
    .join('')
  return /^1*0*$/.test(bits) ? bits.replace(/0+$/, '').length : undefined
}

/** Adds a network to those that addresses are tested against; false when the text is none. */
export const addSubnet = (list: BlockList, text: string): boolean => {
  const [first, mask, ...rest] = text.split('/') as [string, ...string[]]
  const address = first.replace(/^\[(.*)\]$/, '$1')
  const family = isIP(address)
  if (family === 0 || rest.length > 0) return false
  const kind = family === 6 ? 'ipv6' : 'ipv4'
  const longest = family === 6 ? 128 : 32
  const length = mask === undefined ? longest : maskLength(mask)
  if (length === undefined || length > longest) return false
  list.addSubnet(address, length, kind)
  return true
}

/** Who may always call: this machine. */
export const localSubnets = (): BlockList => {
  const list = new BlockList()
  list.addSubnet('127.0.0.0', 8, 'ipv4')
  list.addAddress('::1', 'ipv6')
  return list
}

/** Whether the address of a socket, IPv4 in IPv6 too, is in one of them. */
export const isInSubnets = (list: BlockList, address: string): boolean => {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '')
  const family = isIP(plain)
  return family !== 0 && list.check(plain, family === 6 ? 'ipv6' : 'ipv4')
}
