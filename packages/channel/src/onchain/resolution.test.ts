/**
 * Whole closes, from the first block to the last satoshi. Every transaction passes the script interpreter, lock times and amounts
 * before it is mined (testbed.ts). BOLT 5.
 */
import { describe, expect, test } from 'vitest'
import type { CommitmentFormat } from '../state.ts'
import {
  balanceOf,
  bobCommitment,
  close,
  fullySigned,
  isClosed,
  makeWorld,
  mine,
  outcomes,
  reveal,
  run,
  type SceneHtlc,
  START_HEIGHT,
} from './testbed.ts'

const FORMATS: readonly CommitmentFormat[] = ['static_remotekey', 'anchors']
/** Of both directions: claimed with a preimage, timed out, too small for an output. */
const HTLCS: readonly SceneHtlc[] = [
  { from: 'alice', id: 0n, sat: 50_000, expiry: START_HEIGHT + 60, preimage: 0x10 },
  { from: 'alice', id: 1n, sat: 60_000, expiry: START_HEIGHT + 61, preimage: 0x11 },
  { from: 'alice', id: 2n, sat: 100, expiry: START_HEIGHT + 62, preimage: 0x12 },
  { from: 'bob', id: 0n, sat: 70_000, expiry: START_HEIGHT + 60, preimage: 0x20 },
  { from: 'bob', id: 1n, sat: 80_000, expiry: START_HEIGHT + 64, preimage: 0x21 },
  { from: 'bob', id: 2n, sat: 200, expiry: START_HEIGHT + 65, preimage: 0x22 },
]

/** Fees of commitment, claims and HTLC transactions are allowed for; nothing else may be missing. */
const expectAbout = (got: bigint, due: bigint, claims: number, opener: boolean): void => {
  expect(got).toBeLessThanOrEqual(due)
  expect(got).toBeGreaterThan(due - 1_000n * BigInt(claims) - (opener ? 2_500n : 0n))
}

describe.each(FORMATS)('%s: every output finds its owner', (format) => {
  test.each(['alice', 'bob'] as const)('when %s closes', (closer) => {
    const world = makeWorld({ format, htlcs: HTLCS })
    close(world, closer)
    reveal(world, 'bob', 0n, 0x10)
    reveal(world, 'alice', 0n, 0x20)
    run(world)
    expect(outcomes(world.alice)).toEqual(['failed 1 onchain', 'failed 2 onchain', 'fulfilled 0'])
    expect(outcomes(world.bob)).toEqual(['failed 1 onchain', 'failed 2 onchain', 'fulfilled 0'])
    expectAbout(balanceOf(world, 'alice'), 600_000n - 50_000n - 100n + 70_000n, 4, true)
    expectAbout(balanceOf(world, 'bob'), 400_000n + 50_000n - 200n - 70_000n, 4, false)
    const how = (name: string) => (name === closer ? 'local' : 'remote')
    expect(world.alice.channel.phase).toEqual({ name: 'closed', how: how('alice') })
    expect(world.bob.channel.phase).toEqual({ name: 'closed', how: how('bob') })
  })

  test('when they publish the commitment that we signed last', () => {
    const pending: SceneHtlc = {
      from: 'alice',
      id: 3n,
      sat: 90_000,
      expiry: START_HEIGHT + 40,
      preimage: 0x13,
      stage: 1,
      inBobFrom: 8,
    }
    const world = makeWorld({ format, htlcs: [...HTLCS, pending] })
    close(world, 'bob')
    run(world)
    expect(world.alice.channel.onchain?.spend?.kind).toBe('remoteSigned')
    expect(outcomes(world.alice)).toEqual(['failed 0 onchain', 'failed 1 onchain', 'failed 2 onchain', 'failed 3 onchain'])
    expectAbout(balanceOf(world, 'alice'), 600_000n - 100n, 5, true)
    expectAbout(balanceOf(world, 'bob'), 400_000n - 200n, 4, false)
  })

  test('when they publish the one before it: the HTLC that it lacks fails once the commitment is buried', () => {
    const pending: SceneHtlc = {
      from: 'alice',
      id: 3n,
      sat: 90_000,
      expiry: START_HEIGHT + 40,
      preimage: 0x13,
      stage: 1,
      inBobFrom: 8,
    }
    const world = makeWorld({ format, htlcs: [pending] })
    mine(world, [fullySigned(world, bobCommitment(world, 'remote'))])
    expect(world.alice.channel.onchain?.spend?.kind).toBe('remote')
    for (let depth = 1; depth < 6; depth++) {
      expect(outcomes(world.alice)).toEqual([])
      mine(world)
    }
    expect(outcomes(world.alice)).toEqual(['failed 3 onchain'])
    run(world, () => isClosed(world.alice), ['alice'])
    expectAbout(balanceOf(world, 'alice'), 600_000n, 1, true)
  })
})

test('an opener without HTLCs gets its balance after the delay, the accepter at once', () => {
  const world = makeWorld({ format: 'anchors' })
  close(world, 'alice')
  run(world, () => isClosed(world.alice) && isClosed(world.bob))
  expect(world.height).toBeLessThan(START_HEIGHT + 25)
  expectAbout(balanceOf(world, 'alice'), 600_000n, 1, true)
  expectAbout(balanceOf(world, 'bob'), 400_000n, 1, false)
})
