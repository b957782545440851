import { BlockList } from 'node:net'
import { describe, expect, it } from 'vitest'
import { addSubnet, isInSubnets, localSubnets } from './subnet.ts'

describe('networks that may connect', () => {
  it('are addresses, networks with a length or with a mask, of both families', () => {
    const list = new BlockList()
    for (const text of ['1.2.3.4', '10.0.0.0/8', '192.168.0.0/255.255.0.0', '[2001:db8::]/32'])
      expect(addSubnet(list, text)).toBe(true)
    for (const text of ['1.2.3.4', '10.9.9.9', '192.168.7.7', '2001:db8:1::1', '::ffff:10.1.1.1'])
      expect(isInSubnets(list, text)).toBe(true)
    for (const text of ['1.2.3.5', '11.0.0.1', '192.169.0.1', '2001:db9::1', '', 'x']) expect(isInSubnets(list, text)).toBe(false)
  })

  it('are not other texts', () => {
    for (const text of ['', 'localhost', '1.2.3', '1.2.3.4/33', '1.2.3.4/255.0.255.0', '::1/129', '1.2.3.4/8/8'])
      expect(addSubnet(new BlockList(), text)).toBe(false)
  })

  it('always have this machine', () => {
    expect(['127.0.0.1', '127.9.9.9', '::1', '1.1.1.1'].map((address) => isInSubnets(localSubnets(), address))).toEqual([
      true,
      true,
      true,
      false,
    ])
  })
})
