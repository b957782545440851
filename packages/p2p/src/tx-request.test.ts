import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { seeded } from './testing.ts'
import { createTxRequests } from './tx-request.ts'

describe('requests for transactions', () => {
  it('go to one peer at a time, the preferred first, and to the next when the first is late', () => {
    const requests = createTxRequests(seeded(1))
    requests.announced(1, 'a', 'wtx', false, 0)
    requests.announced(2, 'a', 'wtx', true, 0)
    expect(requests.requestable(1, 0)).toEqual([])
    expect(requests.requestable(2, 0)).toEqual([{ hash: 'a', kind: 'wtx' }])
    requests.requested(2, 'a', 60)
    expect([requests.requestable(1, 59), requests.requestable(2, 59), requests.inFlight(2)]).toEqual([[], [], 1])
    const late: unknown[] = []
    expect(requests.requestable(1, 60, (peer, request) => late.push([peer, request]))).toEqual([{ hash: 'a', kind: 'wtx' }])
    expect(late).toEqual([[2, { hash: 'a', kind: 'wtx' }]])
    requests.requested(1, 'a', 120)
    requests.answered(1, 'a')
    expect([requests.size, requests.count(1), requests.count(2)]).toEqual([0, 0, 0])
  })

  it('wait for their time, so that a preferred peer may announce in the meantime', () => {
    const requests = createTxRequests(seeded(1))
    requests.announced(1, 'a', 'tx', false, 2000)
    expect(requests.requestable(1, 1999)).toEqual([])
    requests.announced(2, 'a', 'tx', true, 1000)
    expect(requests.requestable(2, 1000)).toEqual([{ hash: 'a', kind: 'tx' }])
    expect(requests.requestable(1, 2000)).toEqual([])
  })

  it('go to another when a peer leaves, and are forgotten when nobody is left', () => {
    const requests = createTxRequests(seeded(1))
    requests.announced(1, 'a', 'wtx', true, 0)
    requests.announced(2, 'a', 'wtx', false, 0)
    requests.requested(1, 'a', 60)
    requests.dropPeer(1)
    expect(requests.requestable(2, 1)).toEqual([{ hash: 'a', kind: 'wtx' }])
    requests.dropPeer(2)
    expect(requests.size).toBe(0)
  })

  it('reach every transaction that some honest peer announced, whatever others do', () => {
    type Act = {
      readonly kind: 'announce' | 'notfound' | 'ask' | 'leave'
      readonly peer: number
      readonly hash: number
      readonly wait: number
    }
    const act: fc.Arbitrary<Act> = fc.record({
      kind: fc.constantFrom('announce', 'notfound', 'ask', 'leave'),
      peer: fc.integer({ min: 1, max: 4 }),
      hash: fc.integer({ min: 0, max: 5 }),
      wait: fc.integer({ min: 0, max: 30 }),
    })
    fc.assert(
      fc.property(fc.array(act, { maxLength: 60 }), fc.integer(), (acts, seed) => {
        const requests = createTxRequests(seeded(seed))
        const wanted = new Set<string>()
        let now = 0
        const ask = (peer: number): void => {
          for (const { hash } of requests.requestable(peer, now)) {
            requests.requested(peer, hash, now + 60)
            // The honest peer answers at once; the others never do.
            if (peer !== 0) continue
            wanted.delete(hash)
            requests.forget(hash)
          }
        }
        for (const { kind, peer, hash, wait } of acts) {
          now += wait
          const name = String(hash)
          if (kind === 'announce') {
            requests.announced(peer, name, 'wtx', hash % 2 === 0, now)
            requests.announced(0, name, 'wtx', false, now)
            wanted.add(name)
          } else if (kind === 'notfound') requests.answered(peer, name)
          else if (kind === 'leave') requests.dropPeer(peer)
          else ask(peer)
        }
        // Each of the four others can hold a transaction up for one time limit.
        for (let round = 0; round < 6; round++) {
          now += 61
          for (const peer of [1, 2, 3, 4, 0]) ask(peer)
        }
        expect([...wanted]).toEqual([])
      }),
    )
  })
})
