/** What failures teach: prices that fade, and policies that a node has signed. BOLT 4 § Failure Messages. */
import { Msat } from '@leyden/bitcoin'
import { ecdsaSign, pointFromSecret, sha256 } from '@leyden/crypto'
import { nodeIdFromPoint, scid } from '@leyden/lnwire'
import { describe, expect, it } from 'vitest'
import { buildChannelUpdate } from '../gossip/announce.ts'
import type { Edge } from './route.ts'
import {
  edgeNumbers,
  emptyScores,
  learnPolicy,
  learntPolicies,
  penalty,
  recordFailure,
  recordSuccess,
  type Scores,
} from './score.ts'

const keyOf = (name: string) => {
  const secret = sha256(new TextEncoder().encode(name))
  return { secret, id: nodeIdFromPoint(pointFromSecret(secret)) }
}
const [alice, bob, carol] = [keyOf('alice'), keyOf('bob'), keyOf('carol')]
const chainHash = new Uint8Array(32)
const id = scid(1, 2, 3)
const edge = { shortChannelId: id, from: alice.id, to: bob.id }
const update = (from = alice, to = bob, signer = from, chain = chainHash): Uint8Array =>
  buildChannelUpdate(
    {
      chainHash: chain,
      shortChannelId: id,
      localNodeId: from.id,
      remoteNodeId: to.id,
      timestamp: 1_700_000_000,
      policy: {
        enabled: true,
        cltvExpiryDelta: 77,
        feeBaseMsat: 5,
        feeProportionalMillionths: 6,
        htlcMinimumMsat: Msat(1n),
        htlcMaximumMsat: Msat(1000n),
      },
      private: false,
    },
    (hash) => ecdsaSign(hash, signer.secret),
  ).raw

describe('policies in failures', () => {
  it('are taken with or without the message type in front, for an hour', () => {
    for (const raw of [update(), update().subarray(2)]) {
      const scores = emptyScores()
      expect(learnPolicy(scores, edge, raw, chainHash, 0)).toBe(true)
      expect(learntPolicies(scores, 3_599_999)).toMatchObject([{ edge, policy: { cltvExpiryDelta: 77, feeBaseMsat: 5 } }])
      expect(learntPolicies(scores, 3_600_000)).toStrictEqual([])
    }
  })

  it('of another edge, chain, direction or signer, or no message at all, are not', () => {
    const scores = emptyScores()
    const wrong = [
      update(bob, alice),
      update(alice, bob, carol),
      update(alice, bob, alice, new Uint8Array(32).fill(1)),
      new Uint8Array(0),
      new Uint8Array(200),
    ]
    for (const raw of wrong) expect(learnPolicy(scores, edge, raw, chainHash, 0)).toBe(false)
    expect(learnPolicy(scores, { ...edge, shortChannelId: scid(9, 9, 9) }, update(), chainHash, 0)).toBe(false)
    expect(scores).toStrictEqual(emptyScores())
  })
})

const priceOf = (scores: Scores, of: Edge, amount: number, nowMs: number): number => {
  const { high, low, direction } = edgeNumbers(of)
  return penalty(scores, high, low, direction, amount, nowMs)
}

describe('prices', () => {
  it('fall by half every half hour, and with smaller amounts; a success ends them', () => {
    const scores = emptyScores()
    recordFailure(scores, edge, Msat(1_000_000n), 0)
    expect(priceOf(scores, edge, 1_000_000, 0)).toBe(50_000)
    expect(priceOf(scores, edge, 1_000_000, 1_800_000)).toBe(25_000)
    expect(priceOf(scores, edge, 500_000, 0)).toBe(12_500)
    recordSuccess(scores, edge, Msat(400_000n))
    expect(priceOf(scores, edge, 1_000_000, 0)).toBe(50_000)
    recordSuccess(scores, edge, Msat(1_000_000n))
    expect(priceOf(scores, edge, 1_000_000, 0)).toBe(0)
  })

  it('are those of one direction of one channel', () => {
    const scores = emptyScores()
    recordFailure(scores, edge, Msat(1000n), 0)
    expect(priceOf(scores, edge, 1000, 0)).toBe(10_000)
    expect(priceOf(scores, { ...edge, from: edge.to, to: edge.from }, 1000, 0)).toBe(0)
    for (const other of [scid(1, 2, 4), scid(1, 3, 3), scid(2, 2, 3)])
      expect(priceOf(scores, { ...edge, shortChannelId: other }, 1000, 0)).toBe(0)
  })

  it('are kept for the edges that failed last', () => {
    const scores = emptyScores()
    for (let i = 0; i < 50_010; i++) recordFailure(scores, { ...edge, shortChannelId: scid(i, i, 1) }, Msat(1000n), 0)
    expect(scores.failed.size).toBe(50_000)
    expect(priceOf(scores, { ...edge, shortChannelId: scid(5, 5, 1) }, 1000, 0)).toBe(0)
    expect(priceOf(scores, { ...edge, shortChannelId: scid(50_009, 50_009, 1) }, 1000, 0)).toBe(10_000)
  })
})
