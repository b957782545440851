import { describe, expect, it } from 'vitest'
import { checkAgreement, Pair } from './testing.ts'

describe('a channel', () => {
  it('opens, pays both ways and settles', () => {
    const pair = new Pair().open()
    expect(pair.alice.channel.phase.name).toBe('normal')
    expect(pair.bob.channel.phase.name).toBe('normal')
    checkAgreement(pair)
    pair.offer('alice', 10_000_000n, 1)
    pair.offer('bob', 20_000_000n, 2)
    pair.settle()
    checkAgreement(pair)
    expect(pair.told('bob', 'htlcCommitted').map((effect) => effect.htlc.id)).toEqual([0n])
    pair.fulfill('bob', 0n, 1)
    pair.fail('alice', 0n)
    pair.settle()
    checkAgreement(pair)
    expect(pair.balances('alice')).toEqual({ local: 690_000_000n, remote: 310_000_000n })
    expect(pair.balances('bob')).toEqual({ local: 310_000_000n, remote: 690_000_000n })
    expect(pair.told('alice', 'htlcFulfilled')).toHaveLength(1)
    expect(pair.told('bob', 'htlcFailed')).toHaveLength(1)
  })
})
