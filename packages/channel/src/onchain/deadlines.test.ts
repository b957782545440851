import { BlockHeight, FeeratePerKw, Sat } from '@leyden/bitcoin'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { defaultPolicy } from '../policy.ts'
import type { Channel, Htlc } from '../state.ts'
import { nextBid, REPLACEMENT_STEP } from './bump.ts'
import { mustGoOnChain } from './deadlines.ts'
import { makeWorld, preimageOf, START_HEIGHT, type SceneHtlc } from './testbed.ts'

const channelWith = (htlc: Partial<SceneHtlc>, change: (htlc: Htlc) => Htlc = (same) => same): Channel => {
  const base = { from: 'alice', id: 0n, sat: 50_000, expiry: START_HEIGHT + 40, preimage: 1, ...htlc } as const
  const { channel } = makeWorld({ format: 'anchors', htlcs: [base] }).alice
  return { ...channel, htlcs: channel.htlcs.map(change) }
}
const at = (channel: Channel, blocks: number) => mustGoOnChain(channel, BlockHeight(START_HEIGHT + blocks), defaultPolicy)?.code
const fulfilled = (htlc: Htlc): Htlc => ({ ...htlc, removal: { kind: 'fulfilled', preimage: preimageOf(1) }, removalStage: 1 })

describe('when HTLCs force us to the chain', () => {
  test('one that we offered, a few blocks after its expiry', () => {
    const channel = channelWith({})
    expect([at(channel, 40), at(channel, 41), at(channel, 42)]).toEqual([undefined, undefined, 'offered_htlc_expired'])
  })
  test('not one that was never signed', () => {
    expect(at(channelWith({ stage: 0 }), 100)).toBeUndefined()
  })
  test('one that we received and fulfilled, well before its expiry', () => {
    const channel = channelWith({ from: 'bob' }, fulfilled)
    expect([at(channel, 21), at(channel, 22), at(channel, 50)]).toEqual([
      undefined,
      'received_htlc_expiring',
      'received_htlc_expiring',
    ])
  })
  test('not one that we received and cannot fulfil, or that has no output anywhere', () => {
    expect(at(channelWith({ from: 'bob' }), 50)).toBeUndefined()
    expect(at(channelWith({ from: 'bob', sat: 100 }, fulfilled), 50)).toBeUndefined()
  })
})

describe('bids', () => {
  const terms = {
    previous: undefined,
    market: FeeratePerKw(1_000),
    minimum: FeeratePerKw(253),
    budgetSat: Sat(10_000n),
    weight: 500,
  }
  test('follow the market far from the deadline, reach the budget at it', () => {
    const bid = (blocksLeft: number | undefined) => nextBid({ ...terms, blocksLeft })
    expect([bid(undefined), bid(100), bid(18), bid(9), bid(0), bid(-5)]).toEqual([1_000, 1_000, 1_000, 5_750, 20_000, 20_000])
  })
  test('wait for a better market when there is no deadline', () => {
    const dear = { ...terms, market: FeeratePerKw(30_000), blocksLeft: undefined }
    expect([nextBid(dear), nextBid({ ...dear, previous: FeeratePerKw(500) }), nextBid({ ...dear, blocksLeft: 5 })]).toEqual([
      undefined,
      500,
      20_000,
    ])
  })
  test('none when the budget does not even cover the minimum', () => {
    expect(nextBid({ ...terms, budgetSat: Sat(100n), blocksLeft: 3 })).toBeUndefined()
  })
  test('S8, S10: over any course of the market they never fall, never exceed the budget, and move in steps that nodes accept', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ market: fc.integer({ min: 253, max: 100_000 }), blocksLeft: fc.integer({ min: -5, max: 40 }) }), {
          maxLength: 30,
        }),
        fc.bigInt({ min: 200n, max: 100_000n }),
        (course, budget) => {
          let previous: FeeratePerKw | undefined
          for (const { market, blocksLeft } of course) {
            const bid = nextBid({ ...terms, previous, market: FeeratePerKw(market), budgetSat: Sat(budget), blocksLeft })
            if (bid === undefined) continue
            const step = previous === undefined || bid === previous ? REPLACEMENT_STEP : bid - previous
            expect(step).toBeGreaterThanOrEqual(REPLACEMENT_STEP)
            expect((BigInt(bid) * 500n) / 1_000n).toBeLessThanOrEqual(budget)
            previous = bid
          }
        },
      ),
    )
  })
})
