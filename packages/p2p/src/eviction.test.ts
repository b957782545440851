import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { selectToEvict, type EvictionCandidate } from './eviction.ts'

const candidate = (id: number, fields: Partial<EvictionCandidate> = {}): EvictionCandidate => ({
  id,
  connectedAt: id,
  minPing: Infinity,
  lastBlockAt: 0,
  lastTransactionAt: 0,
  servesBlocks: true,
  relaysTransactions: true,
  hasBloomFilter: false,
  keyedGroup: String(id % 97),
  preferEvict: false,
  isLocal: false,
  network: 'ipv4',
  ...fields,
})
const many = (count: number, fields: (id: number) => Partial<EvictionCandidate> = () => ({})): EvictionCandidate[] =>
  Array.from({ length: count }, (_, id) => candidate(id, fields(id)))
const everEvicted = (candidates: readonly EvictionCandidate[]): number | undefined => selectToEvict(candidates)

describe('eviction', () => {
  it('takes nobody while there are few', () => {
    expect(everEvicted(many(20))).toBeUndefined()
  })

  it('spares the quickest, the latest givers of transactions and blocks, and half of the rest by age', () => {
    const swift = many(60, (id) => ({ minPing: id < 8 ? id : 1000 }))
    const giving = many(60, (id) => ({ lastTransactionAt: id < 4 ? 100 : 0, lastBlockAt: id >= 10 && id < 14 ? 100 : 0 }))
    expect(everEvicted(swift)).toBeGreaterThanOrEqual(8)
    const victim = everEvicted(giving)!
    expect(victim < 4 || (victim >= 10 && victim < 14)).toBe(false)
    expect(victim).toBeGreaterThan(20)
  })

  it('takes the newest of the most crowded group, and those first that misbehaved before', () => {
    const crowd = many(60, (id) => ({ keyedGroup: id >= 30 ? 'crowd' : String(id) }))
    expect(everEvicted(crowd)).toBeGreaterThanOrEqual(30)
    expect(everEvicted(many(60, (id) => ({ preferEvict: id === 50 })))).toBe(50)
  })

  it('never takes one of the oldest quarter when all else is equal, in any order of arrival', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(many(80), { minLength: 80 }), (order) => {
        expect(everEvicted(order)).toBeGreaterThanOrEqual(20)
      }),
    )
  })
})
