import { describe, expect, it } from 'vitest'
import { blockHash, type BlockHash } from '@leyden/bitcoin'
import { SERVICE } from './message.ts'
import { chainOn, START_MS, world } from './testing.ts'

const SERVICES = SERVICE.network | SERVICE.witness | SERVICE.compactFilters
const someChain = (count: number) => {
  const w = world({ services: SERVICES })
  const headers = chainOn(w.chain.genesis.hash, count, START_MS / 1000 - count)
  for (const header of headers) {
    w.chain.add(header)
    w.chain.store(blockHash(header))
  }
  w.step({ type: 'tipChanged' })
  const peer = w.greet(1)
  Object.assign(peer, { ourServices: SERVICES })
  w.take()
  return { w, peer, hashes: headers.map(blockHash) }
}
const queries = (w: ReturnType<typeof world>) =>
  w.take().flatMap((effect) => (effect.type === 'readFilters' ? [effect.query] : []))

describe('block filters', () => {
  it('are read for the range that was asked for, and sent in order before anything else is taken', () => {
    const { w, peer, hashes } = someChain(5)
    w.say(1, { type: 'getcfilters', filterType: 0, startHeight: 2, stop: hashes[3]! })
    expect(queries(w)).toEqual([{ kind: 'filters', stop: hashes[3], before: hashes[0], hashes: hashes.slice(1, 4) }])
    expect(peer.pending).toBe(1)
    const message = { type: 'cfilter', filterType: 0, block: hashes[1]!, filter: Uint8Array.of(1) } as const
    w.step({ type: 'filtersRead', peer: 1, messages: [message] })
    expect(w.sent(1)).toContainEqual(message)
    expect(peer.pending).toBe(0)
    w.say(1, { type: 'getcfheaders', filterType: 0, startHeight: 0, stop: hashes[1]! })
    expect(queries(w)).toEqual([
      { kind: 'headers', stop: hashes[1], before: undefined, hashes: [w.chain.genesis.hash, hashes[0], hashes[1]] },
    ])
  })

  it('have checkpoints every thousand blocks', () => {
    const { w, hashes } = someChain(2500)
    w.say(1, { type: 'getcfcheckpt', filterType: 0, stop: hashes[2499]! })
    expect(queries(w)).toEqual([
      { kind: 'checkpoints', stop: hashes[2499], before: undefined, hashes: [hashes[999], hashes[1999]] },
    ])
  })

  it.each([
    ['another type', { filterType: 1 }],
    ['an end before the start', { startHeight: 9 }],
    ['an unknown block', { stop: 'ab'.repeat(32) as BlockHash }],
  ])('asked for with %s cost the connection', (_, fields) => {
    const { w, peer, hashes } = someChain(5)
    w.say(1, { type: 'getcfilters', filterType: 0, startHeight: 1, stop: hashes[3]!, ...fields })
    expect([queries(w), peer.closing]).toEqual([[], true])
  })

  it('are asked for a thousand at a time at most, and not of who does not offer them', () => {
    const { w, peer, hashes } = someChain(1100)
    w.say(1, { type: 'getcfilters', filterType: 0, startHeight: 1, stop: hashes[1000]! })
    expect(peer.closing).toBe(true)
    const other = w.greet(2)
    w.say(2, { type: 'getcfcheckpt', filterType: 0, stop: hashes[3]! })
    expect(other.closing).toBe(true)
  })
})
