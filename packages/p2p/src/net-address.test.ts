import { describe, expect, it } from 'vitest'
import { bytesToHex } from '@leyden/codec'
import { ban, createBanList, discourage, isBanned, isDiscouraged, isSubnetBanned, listBans, unban, banRows } from './ban.ts'
import {
  addressText,
  endpointText,
  groupOf,
  isLocal,
  isRoutable,
  networkName,
  parseAddress,
  parseEndpoint,
} from './net-address.ts'
import { parseSubnet, subnetMatches, subnetText } from './subnet.ts'

const ONION = 'pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion'
const I2P = 'c4gfnttsuwqomiygupdqqqyy5y5emnk5c73hrfvatri67prd7vyq.b32.i2p'
const address = (text: string) => parseAddress(text)!

describe('addresses', () => {
  it('are read and written as people write them', () => {
    const forms: readonly (readonly [string, string])[] = [
      ['1.2.3.4', '1.2.3.4'],
      ['127.1', '127.0.0.1'],
      ['2001:0:0:0:0:0:0:1', '2001::1'],
      ['0:0:1:0:0:0:1:0', '0:0:1::1:0'],
      ['::ffff:1.2.3.4', '1.2.3.4'],
      ['::1', '::1'],
      [ONION, ONION],
      [I2P, I2P],
    ]
    expect(forms.map(([text]) => addressText(address(text)))).toEqual(forms.map(([, shown]) => shown))
    const bad = [
      '',
      '1.2.3',
      '256.1.1.1',
      '1.2.3.4.5',
      '1::2::3',
      'g::',
      'example.org',
      `a${ONION.slice(1)}`,
      '01.2.3.4',
      '12345::',
    ]
    expect(bad.map((text) => parseAddress(text)).map((one, i) => (bad[i] === '1.2.3' ? one && addressText(one) : one))).toEqual(
      bad.map((text) => (text === '1.2.3' ? '1.2.0.3' : undefined)),
    )
    expect(endpointText(parseEndpoint('[2001::1]:8333', 1)!)).toBe('[2001::1]:8333')
    expect(parseEndpoint('1.2.3.4', 8333)?.port).toBe(8333)
    expect(parseEndpoint('1.2.3.4:0', 8333)).toBeUndefined()
  })

  it('are routable only where everybody can find them', () => {
    const local = [
      '127.0.0.1',
      '10.0.0.1',
      '192.168.1.1',
      '172.16.0.1',
      '169.254.1.1',
      '100.64.0.1',
      '198.18.0.1',
      '203.0.113.1',
      '0.0.0.0',
    ]
    expect(local.filter((text) => isRoutable(address(text)))).toEqual([])
    expect(['::1', 'fe80::1', 'fc00::1', '2001:db8::1', '2001:10::1', '::'].filter((text) => isRoutable(address(text)))).toEqual(
      [],
    )
    expect(['1.2.3.4', '172.32.0.1', '2001:4860::1', ONION, I2P].every((text) => isRoutable(address(text)))).toBe(true)
    expect(isLocal(address('127.5.5.5'))).toBe(true)
    expect(networkName(address('127.0.0.1'))).toBe('not_publicly_routable')
    expect(networkName(address('2002:102:304::'))).toBe('ipv4')
  })

  it('form groups: /16 of IPv4, /32 of IPv6, by what they stand for', () => {
    const group = (text: string): string => bytesToHex(groupOf(address(text)))
    expect(['1.2.3.4', '2002:102:304::1', '2001:4860::1', '2001:470:1234:5::1', '127.0.0.1', '10.0.0.1'].map(group)).toEqual([
      '010102',
      '010102',
      '0220014860',
      '02200104701f',
      '00',
      '00',
    ])
  })
})

describe('ranges', () => {
  it('are prefixes or masks, and one address is a range', () => {
    const texts = ['1.2.3.4/16', '1.2.3.4/255.255.0.0', '1.2.3.4', '2001:4d48:ac57:400::/19', ONION]
    expect(texts.map((text) => subnetText(parseSubnet(text)!))).toEqual([
      '1.2.0.0/16',
      '1.2.0.0/16',
      '1.2.3.4/32',
      '2001:4000::/19',
      ONION,
    ])
    const bad = ['1.2.3.4/33', '1.2.3.4/255.0.255.0', '1.2.3.4/x', `${ONION}/3`, '::1/129', '/8']
    expect(bad.map(parseSubnet)).toEqual(bad.map(() => undefined))
    expect(subnetMatches(parseSubnet('10.0.0.0/8')!, address('10.9.9.9'))).toBe(true)
    expect(subnetMatches(parseSubnet('10.0.0.0/8')!, address('11.0.0.0'))).toBe(false)
    expect(subnetMatches(parseSubnet('0.0.0.0/0')!, address('::2'))).toBe(false)
  })
})

describe('bans', () => {
  it('hold for a range until their time, in the order of the ranges, and come back from a file', () => {
    const list = createBanList()
    const range = parseSubnet('127.0.0.0/24')!
    ban(list, range, 2000, 1000)
    ban(list, range, 1500, 1000)
    ban(list, parseSubnet(ONION)!, 1100, 1000)
    ban(list, parseSubnet('1.1.1.1')!, 3000, 1000)
    expect(isBanned(list, address('127.0.0.9'), 1999)).toBe(true)
    expect(isBanned(list, address('127.0.0.9'), 2000)).toBe(false)
    expect(isSubnetBanned(list, parseSubnet('127.0.0.1')!, 1000)).toBe(false)
    expect(listBans(list, 1000).map(({ subnet }) => subnetText(subnet))).toEqual(['1.1.1.1/32', '127.0.0.0/24', ONION])
    const again = createBanList([...banRows(list, 1500), { address: 'nonsense' }, { address: 5 }])
    expect(listBans(again, 1500).map(({ until }) => until)).toEqual([3000, 2000])
    expect([unban(again, range), unban(again, range)]).toEqual([true, false])
  })

  it('are not needed for the discouraged, who are remembered by their address', () => {
    const list = createBanList()
    discourage(list, address('1.2.3.4'))
    expect([isDiscouraged(list, address('1.2.3.4')), isDiscouraged(list, address('1.2.3.5'))]).toEqual([true, false])
    expect(listBans(list, 0)).toEqual([])
  })
})
