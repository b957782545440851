import { describe, expect, it } from 'vitest'
import { discourage } from './ban.ts'
import { endpointText, parseAddress, parseEndpoint } from './net-address.ts'
import { world } from './testing.ts'

type World = ReturnType<typeof world>
const told = (w: World, ...texts: string[]) => {
  const addresses = texts.map((text) => ({
    endpoint: parseEndpoint(text, 8333)!,
    services: 9n,
    time: Math.floor(w.now() / 1000),
  }))
  return { type: 'addrv2', addresses, count: addresses.length } as const
}
const addressesTo = (w: World, ...ids: number[]): string[][] => {
  const effects = w.take()
  return ids.map((id) =>
    w
      .sent(id, effects)
      .flatMap((message) =>
        message.type === 'addr' || message.type === 'addrv2'
          ? message.addresses.map(({ endpoint }) => endpointText(endpoint))
          : [],
      ),
  )
}

describe('addresses', () => {
  it('that are fresh and few go on to two others, later, and are kept', () => {
    const w = world()
    for (const id of [1, 2, 3, 4, 5]) {
      w.greet(id)
      w.say(id, { type: 'getaddr' })
    }
    w.tick(100_000)
    w.take()
    w.say(1, told(w, '1.2.3.4'))
    w.tick(1_000_000)
    const heard = addressesTo(w, 1, 2, 3, 4, 5)
    expect(heard[0]).toEqual([])
    expect(heard.flat()).toEqual(['1.2.3.4:8333', '1.2.3.4:8333'])
    expect(w.addrman.count().new).toBe(1)
  })

  it('B7: are limited in their rate: what comes too fast is not looked at', () => {
    const w = world()
    const peer = w.greet(1)
    const texts = Array.from({ length: 100 }, (_, i) => `${i + 1}.7.7.7`)
    w.say(1, told(w, ...texts))
    expect(peer.addressesProcessed).toBe(1)
    expect(peer.addressesLimited).toBe(99)
    w.tick(100_000)
    w.say(1, told(w, ...texts))
    expect(peer.addressesProcessed).toBe(11)
    const trusted = w.greet(2, 'inbound', { permissions: ['addr'] })
    w.say(2, told(w, ...texts))
    expect(trusted.addressesProcessed).toBe(100)
  })

  it('more than a thousand in a message cost the connection', () => {
    const w = world()
    const peer = w.greet(1)
    w.say(1, { type: 'addr', addresses: [], count: 1001 })
    expect(peer.closing).toBe(true)
  })

  it('are given once, to who connected to us, and the same to all for a day', () => {
    const w = world()
    for (let i = 1; i < 200; i++)
      w.addrman.add(told(w, `${i}.1.1.1`).addresses, parseAddress(`${i}.2.2.2`)!, 0, Math.floor(w.now() / 1000))
    for (const id of [1, 2]) w.greet(id)
    w.greet(3, 'outbound-full-relay')
    for (const id of [1, 2, 3]) w.say(id, { type: 'getaddr' })
    w.tick(1_000_000)
    const [first, second, third] = addressesTo(w, 1, 2, 3)
    expect(first!.length).toBe(Math.floor(w.addrman.count().new * 0.23))
    expect(new Set(second)).toEqual(new Set(first))
    expect(third).toEqual([])
    w.say(1, { type: 'getaddr' })
    w.tick(1_000_000)
    expect(addressesTo(w, 1)).toEqual([[]])
  })

  it('of the discouraged are not kept, and connections for blocks alone take no part', () => {
    const w = world()
    discourage(w.bans, parseAddress('9.9.9.9')!)
    w.greet(1)
    w.say(1, told(w, '9.9.9.9'))
    const quiet = w.greet(2, 'block-relay-only')
    w.say(2, told(w, '8.8.8.8'))
    expect(w.addrman.count().new).toBe(0)
    expect(quiet.addressRelay).toBeUndefined()
  })
})
