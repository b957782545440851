import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { txid, wtxid } from '@leyden/bitcoin'
import { createOrphanage, MAX_ORPHANS } from './orphanage.ts'
import { blockOf, headerOn, someTxid, spending } from './testing.ts'
import type { BlockHash } from '@leyden/bitcoin'

const parent = spending({ txid: someTxid(1) }, 1, 3)
const child = (vout: number, tag = 0) => spending({ txid: txid(parent), vout }, tag)

describe('orphans', () => {
  it('are judged again when a parent comes, for the peer that gave them', () => {
    const orphans = createOrphanage()
    expect([orphans.add(child(0), 7, 0), orphans.add(child(0), 8, 0), orphans.add(child(1), 8, 0)]).toEqual([true, false, true])
    expect(orphans.nextToReconsider(7)).toBeUndefined()
    orphans.parentArrived(parent)
    expect(orphans.nextToReconsider(7)).toEqual(child(0))
    expect(orphans.nextToReconsider(7)).toBeUndefined()
    expect(orphans.nextToReconsider(8)).toEqual(child(1))
  })

  it('leave with their peer, after twenty minutes, and when a block holds them or spends what they spend', () => {
    const orphans = createOrphanage()
    orphans.add(child(0), 1, 0)
    orphans.add(child(1), 2, 0)
    orphans.add(child(2), 2, 60_000)
    expect(orphans.erasePeer(1)).toBe(1)
    expect(orphans.limit(20 * 60_000)).toEqual({ evicted: 0, expired: 1 })
    const rival = child(2, 5)
    expect(orphans.eraseForBlock(blockOf(headerOn(someTxid(9) as BlockHash, 0), [rival]))).toBe(1)
    expect([orphans.size, orphans.weight]).toEqual([0, 0])
  })

  it('tell the children of a transaction, newest first, of one peer and of the others', () => {
    const orphans = createOrphanage()
    orphans.add(child(0), 1, 0)
    orphans.add(child(1), 1, 1)
    orphans.add(child(2), 2, 0)
    expect(orphans.childrenFrom(parent, 1)).toEqual([child(1), child(0)])
    expect(orphans.childrenFromOthers(parent, 1)).toEqual([{ tx: child(2), peer: 2 }])
  })

  it('B7: stay within their number and weight, and a flood of one peer costs it its own before those of others', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 90_000 })), { maxLength: 150 }),
        (adds) => {
          const orphans = createOrphanage(20)
          const honest = spending({ txid: someTxid(5) }, 999)
          orphans.add(honest, 9, 0)
          adds.forEach(([peer, size], i) => {
            orphans.add(spending({ txid: someTxid(100 + i) }, i, 1, size), peer, 0)
            orphans.limit(0)
            expect(orphans.size).toBeLessThanOrEqual(20)
            expect(orphans.weight).toBeLessThanOrEqual(4_000_000)
          })
          expect(orphans.has(wtxid(honest))).toBe(true)
        },
      ),
      { numRuns: 20 },
    )
    expect(createOrphanage().add(spending({ txid: someTxid(1) }, 0, 1, 400_001), 1, 0)).toBe(false)
    expect(MAX_ORPHANS).toBe(100)
  })
})
