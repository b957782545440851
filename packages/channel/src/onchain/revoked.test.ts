/**
 * Bob publishes a commitment that he revoked: everything in it becomes Alice's, by every way that he can take. BOLT 5 § Revoked
 * Transaction Close Handling.
 */
import { outpointKey, txid } from '@leyden/bitcoin'
import { describe, expect, test } from 'vitest'
import type { CommitmentFormat } from '../state.ts'
import {
  balanceOf,
  bobHtlcTransaction,
  bobJoinedHtlcTransactions,
  bobPastCommitment,
  fullySigned,
  isClosed,
  makeWorld,
  mine,
  outcomes,
  pastRows,
  run,
  START_HEIGHT,
  transactionsOf,
  type SceneHtlc,
  type World,
} from './testbed.ts'

const FORMATS: readonly CommitmentFormat[] = ['static_remotekey', 'anchors']

/** All settled by now. Those of Bob can be timed out by him at once. */
const PAST: readonly SceneHtlc[] = [
  { from: 'alice', id: 0n, sat: 30_000, expiry: START_HEIGHT + 30, preimage: 0x10 },
  { from: 'alice', id: 1n, sat: 31_000, expiry: START_HEIGHT + 31, preimage: 0x11 },
  { from: 'bob', id: 10n, sat: 40_000, expiry: START_HEIGHT - 5, preimage: 0x20 },
  { from: 'bob', id: 11n, sat: 41_000, expiry: START_HEIGHT - 5, preimage: 0x21 },
]
const NUMBER = 3

const cheat = (format: CommitmentFormat, live: readonly SceneHtlc[] = []) => {
  const world = makeWorld({ format, htlcs: live })
  world.alice.past = pastRows(PAST, 2, 4)
  const built = bobPastCommitment(world, NUMBER, { bobSat: 700_000n, htlcs: PAST })
  return { world, built, tx: fullySigned(world, built) }
}

/** Whether Alice has all of the channel, but for the fees of the commitment and of her claims. */
const hasAll = (world: World): boolean => balanceOf(world, 'alice') > 988_000n && balanceOf(world, 'bob') === 0n

describe.each(FORMATS)('%s', (format) => {
  test('every output is taken at once', () => {
    const { world, built, tx } = cheat(format)
    mine(world, [tx])
    expect(world.alice.channel.onchain?.spend).toMatchObject({ kind: 'revoked', number: NUMBER })
    // to_local, to_remote and four HTLCs
    expect(world.alice.publications.size).toBe(6)
    mine(world, transactionsOf(world, world.alice))
    run(world, () => isClosed(world.alice), ['alice'])
    expect(hasAll(world)).toBe(true)
    expect(built.htlcs.length).toBe(4)
    expect(world.alice.channel.phase).toEqual({ name: 'closed', how: 'revoked' })
    expect(world.alice.owner.map((effect) => effect.type)).toEqual(['closing', 'violated', 'closed'])
  })

  test('what his HTLC transactions take away is taken from them', () => {
    const { world, built, tx } = cheat(format)
    mine(world, [tx])
    mine(world, [bobHtlcTransaction(world, built, 0n, 0x10), bobHtlcTransaction(world, built, 10n)])
    const second = world.alice.channel.onchain!.outputs.filter(({ createdAt }) => createdAt === world.height)
    expect(second.length).toBe(2)
    run(world, () => isClosed(world.alice), ['alice'])
    expect(hasAll(world)).toBe(true)
  })

  test('in the same block as well', () => {
    const { world, built, tx } = cheat(format)
    // under anchors an HTLC output rests one block
    const htlcTxs = format === 'anchors' ? [] : [bobHtlcTransaction(world, built, 0n, 0x10)]
    mine(world, [tx, ...htlcTxs])
    run(world, () => isClosed(world.alice), ['alice'])
    expect(hasAll(world)).toBe(true)
  })

  test('without rows of the past at least the balances are taken, and HTLCs that are still in the channel', () => {
    const live: SceneHtlc[] = [{ from: 'bob', id: 9n, sat: 50_000, expiry: START_HEIGHT + 90, preimage: 0x29, inBobFrom: 2 }]
    const world = makeWorld({ format, htlcs: live })
    const built = bobPastCommitment(world, NUMBER, { bobSat: 700_000n, htlcs: live })
    mine(world, [fullySigned(world, built)])
    expect(world.alice.publications.size).toBe(3)
    run(world, () => isClosed(world.alice), ['alice'])
    expect(hasAll(world)).toBe(true)
  })

  test('S5: HTLCs of ours that are alike all fail back, whether or not the revoked commitment held them', () => {
    const twins: SceneHtlc[] = [7n, 8n, 9n].map((id) => ({
      from: 'alice',
      id,
      sat: 50_000,
      expiry: START_HEIGHT + 90,
      preimage: 0x29,
      inBobFrom: id === 7n ? 2 : 6,
    }))
    const world = makeWorld({ format, htlcs: twins })
    mine(world, [fullySigned(world, bobPastCommitment(world, NUMBER, { bobSat: 700_000n, htlcs: twins.slice(0, 1) }))])
    run(world, () => outcomes(world.alice).length === 3, ['alice'])
    expect(outcomes(world.alice)).toEqual(['failed 7 onchain', 'failed 8 onchain', 'failed 9 onchain'])
    expect(world.height).toBeLessThan(START_HEIGHT + 10)
    run(world, () => isClosed(world.alice), ['alice'])
    expect(outcomes(world.alice).length).toBe(3)
  })

  test('a preimage that he shows to cheat settles the HTLC upstream; only its twin in hash goes with it', () => {
    const live: SceneHtlc[] = [
      { from: 'alice', id: 7n, sat: 50_000, expiry: START_HEIGHT + 90, preimage: 0x29, inBobFrom: 2 },
      { from: 'alice', id: 8n, sat: 51_000, expiry: START_HEIGHT + 90, preimage: 0x30, inBobFrom: 2 },
    ]
    const world = makeWorld({ format, htlcs: live })
    const built = bobPastCommitment(world, NUMBER, { bobSat: 700_000n, htlcs: live })
    mine(world, [fullySigned(world, built)])
    mine(world, [bobHtlcTransaction(world, built, 7n, 0x29)])
    expect(outcomes(world.alice)).toEqual(['fulfilled 7'])
    run(world, () => isClosed(world.alice), ['alice'])
    expect(outcomes(world.alice)).toEqual(['failed 8 onchain', 'fulfilled 7'])
    expect(hasAll(world)).toBe(true)
  })
})

test('S11: HTLC transactions that he joins into one under anchors lose every output of it', () => {
  const { world, built, tx } = cheat('anchors')
  mine(world, [tx])
  const joined = bobJoinedHtlcTransactions(world, built, [[10n], [11n]])
  expect(joined.outputs.length).toBe(2)
  mine(world, [joined])
  run(world, () => isClosed(world.alice), ['alice'])
  const taken = new Set(world.mined.flatMap(({ inputs }) => inputs.map(({ outpoint }) => outpointKey(outpoint))))
  for (const vout of [0, 1]) expect(taken.has(outpointKey({ txid: txid(joined), vout }))).toBe(true)
  expect(hasAll(world)).toBe(true)
})

test('S6: a transaction of his that spends several outputs leaves the claims of all others as they were', () => {
  const { world, built, tx } = cheat('anchors')
  mine(world, [tx])
  const before = new Map(world.alice.publications)
  const joined = bobJoinedHtlcTransactions(world, built, [[10n], [11n]])
  const gone = new Set(joined.inputs.map(({ outpoint }) => outpointKey(outpoint)))
  mine(world, [joined])
  const kept = [...before].filter(([, { tx: claim }]) => !gone.has(outpointKey(claim.inputs[0]!.outpoint)))
  expect(kept.length).toBe(4)
  for (const [id, { tx: claim }] of kept)
    expect(world.alice.publications.get(id)?.tx.inputs.map(({ outpoint }) => outpoint)).toEqual([claim.inputs[0]?.outpoint])
  // and two more for the outputs of his transaction
  expect(world.alice.publications.size).toBe(6)
})

test('a commitment that we lost the data of gives us our balance back', () => {
  const world = makeWorld({ format: 'anchors' })
  world.alice.channel = { ...world.alice.channel, fellBehind: true }
  mine(world, [fullySigned(world, bobPastCommitment(world, 40, { bobSat: 450_000n }))])
  expect(world.alice.channel.onchain?.spend).toMatchObject({ kind: 'future', number: 40 })
  run(world, () => isClosed(world.alice), ['alice'])
  expect(balanceOf(world, 'alice')).toBeGreaterThan(547_000n)
  expect(world.alice.owner.map((effect) => effect.type)).toEqual(['closing', 'violated', 'closed'])
})
