import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createAddrman, type Addrman } from './addrman.ts'
import { endpointText, parseAddress, parseEndpoint, type Endpoint } from './net-address.ts'
import { seeded } from './testing.ts'

const NOW = 1_750_000_000
const endpoint = (text: string): Endpoint => parseEndpoint(text, 8333, true)!
const told = (text: string, time = NOW) => ({ endpoint: endpoint(text), services: 9n, time })
/** The key with which Bitcoin Core's tests make their buckets. */
const KEY = Uint8Array.of(1, ...new Uint8Array(31))
const book = (rows?: Parameters<typeof createAddrman>[0]['rows']): Addrman =>
  createAddrman({ key: KEY, random: seeded(1), ...(rows === undefined ? {} : { rows }) })
const places = (addrman: Addrman, tried: boolean): string[] =>
  addrman.table(tried).map(({ endpoint, bucket, position }) => `${endpointText(endpoint)} ${bucket}/${position}`)

describe('the address book', () => {
  it('has the buckets of Bitcoin Core (rpc_net.py)', () => {
    const addrman = book()
    const heard = [
      '2.0.0.0',
      '[fc00:1:2:3:4:5:6:7]:8333',
      'c4gfnttsuwqomiygupdqqqyy5y5emnk5c73hrfvatri67prd7vyq.b32.i2p',
      '[2803:0:1234:abcd::1]:45324',
    ]
    const reached = [
      '1.2.3.4',
      '[1233:3432:2434:2343:3234:2345:6546:4534]:8333',
      'pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion',
      'nrfj6inpyf73gpkyool35hcmne5zwfmse3jl3aw23vk7chdemalyaqad.onion:45324',
    ]
    for (const text of [...heard, ...reached]) expect(addrman.add([told(text)], endpoint(text), 0, NOW)).toBe(1)
    for (const text of reached) expect(addrman.good(endpoint(text), NOW)).toBe(true)
    const bare = (lines: readonly string[]): string[] => lines.map((line) => line.split(' ')[1] as string)
    expect(bare(places(addrman, false))).toEqual(['82/8', '336/24', '613/6', '963/46'])
    expect(bare(places(addrman, true))).toEqual(['6/33', '72/61', '139/46', '197/34'])
    // Its place in the tried table is that of 1.2.3.4, which first has to be tested.
    expect(addrman.add([told('1.2.5.45')], endpoint('1.2.5.45'), 0, NOW)).toBe(1)
    expect(addrman.good(endpoint('1.2.5.45'), NOW)).toBe(false)
    expect(addrman.selectCollision()?.address.endpoint).toEqual(endpoint('1.2.3.4'))
    addrman.resolveCollisions(NOW + 5 * 3600)
    expect(places(addrman, true)[0]).toBe('1.2.5.45:8333 6/33')
    expect(addrman.count()).toEqual({ new: 5, tried: 4 })
  })

  it('takes nothing that nobody can reach, and nothing twice', () => {
    const addrman = book()
    expect(addrman.add([told('127.0.0.1'), told('10.0.0.1')], parseAddress('1.1.1.1')!, 0, NOW)).toBe(0)
    expect(addrman.add([told('1.2.3.4'), told('1.2.3.4')], parseAddress('1.1.1.1')!, 0, NOW)).toBe(1)
  })

  it('gives a sample, never more than asked for, and no address that has failed for long', () => {
    const addrman = book()
    for (let i = 0; i < 200; i++) addrman.add([told(`${i + 1}.1.1.1`)], parseAddress(`${i + 1}.2.2.2`)!, 0, NOW)
    const { new: all } = addrman.count()
    expect(addrman.sample(0, 23, NOW)).toHaveLength(Math.floor(all * 0.23))
    expect(addrman.sample(10, 0, NOW)).toHaveLength(10)
    const [one] = addrman.sample(1, 0, NOW)
    for (let i = 0; i < 3; i++) {
      addrman.attempt(one!.endpoint, true, NOW + i)
      addrman.good(endpoint('99.1.1.1'), NOW + i + 1)
    }
    expect(addrman.sample(0, 0, NOW + 1000).some(({ endpoint }) => endpointText(endpoint) === endpointText(one!.endpoint))).toBe(
      false,
    )
    expect(addrman.sample(0, 0, NOW + 31 * 86_400)).toEqual([])
    expect(addrman.select(false, NOW)).toBeDefined()
    expect(book().select(false, NOW)).toBeUndefined()
  })

  it('is the same after a restart', () => {
    const addrman = book()
    for (let i = 0; i < 100; i++) addrman.add([told(`${i + 1}.1.1.1`)], parseAddress('5.5.5.5')!, 0, NOW)
    addrman.good(endpoint('7.1.1.1'), NOW)
    const again = book(addrman.rows())
    expect(places(again, false)).toEqual(places(addrman, false))
    expect(places(again, true)).toEqual(places(addrman, true))
    expect(again.rows()).toEqual(expect.arrayContaining(addrman.rows()))
  })

  it('B7: one source fills at most 64 of the buckets, whatever it tells', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255)), { minLength: 500, maxLength: 1500 }), (parts) => {
        const addrman = book()
        addrman.add(
          parts.map(([a, b, c]) => told(`${(a % 200) + 11}.${b}.${c}.1`)),
          parseAddress('8.8.8.8')!,
          0,
          NOW,
        )
        const buckets = new Set(addrman.table(false).map(({ bucket }) => bucket))
        expect(buckets.size).toBeLessThanOrEqual(64)
      }),
      { numRuns: 5 },
    )
  })
})
