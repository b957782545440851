/**
 * What past attempts say about edges: a failure makes an edge dear for a while, the more so for amounts like the one that failed.
 * Not persisted and bounded: after a restart everything gets another chance.
 */
import type { Msat } from '@leyden/bitcoin'
import { type Edge, edgeKey } from './route.ts'

interface EdgeScore {
  readonly failedAtMs: number
  readonly failedMsat: bigint
  /** Failures since the last success. */
  readonly failures: number
  /** The most that went through, and when. */
  readonly passedMsat: bigint
  readonly passedAtMs: number
}

/** By edgeKey, oldest change first. */
export type Scores = Map<string, EdgeScore>

const MAX_EDGES = 50_000
const HALF_LIFE_MS = 30 * 60_000
/** Price of an edge that has just failed for this amount, in millionths of the amount and at least, in msat. */
const FAILURE_MILLIONTHS = 50_000
const FAILURE_LEAST = 10_000

const put = (scores: Scores, key: string, score: EdgeScore): void => {
  scores.delete(key)
  scores.set(key, score)
  for (const oldest of scores.keys()) {
    if (scores.size <= MAX_EDGES) break
    scores.delete(oldest)
  }
}

const UNTRIED: EdgeScore = { failedAtMs: 0, failedMsat: 0n, failures: 0, passedMsat: 0n, passedAtMs: 0 }

/** An HTLC of this amount did not get over the edge. */
export const recordFailure = (
  scores: Scores,
  edge: Pick<Edge, 'shortChannelId' | 'from'>,
  amountMsat: Msat,
  nowMs: number,
): void => {
  const key = edgeKey(edge)
  const before = scores.get(key) ?? UNTRIED
  const lower = before.failures > 0 && before.failedMsat < amountMsat ? before.failedMsat : amountMsat
  put(scores, key, { ...before, failedAtMs: nowMs, failedMsat: lower, failures: Math.min(before.failures + 1, 10) })
}

/** An HTLC of this amount got over the edge, whatever became of it further on. */
export const recordSuccess = (
  scores: Scores,
  edge: Pick<Edge, 'shortChannelId' | 'from'>,
  amountMsat: Msat,
  nowMs: number,
): void => {
  const key = edgeKey(edge)
  const before = scores.get(key) ?? UNTRIED
  const failures = before.failedMsat > amountMsat ? before.failures : 0
  put(scores, key, { ...before, failures, passedMsat: amountMsat, passedAtMs: nowMs })
}

/** What using the edge costs on top, in msat for comparison; 0 for an edge of which nothing bad is known. */
export const penalty = (scores: Scores, key: string, amountMsat: number, nowMs: number): number => {
  const score = scores.get(key)
  if (score === undefined || score.failures === 0) return 0
  const weight = 2 ** (-Math.max(nowMs - score.failedAtMs, 0) / HALF_LIFE_MS)
  const likeness = Math.min(amountMsat / Math.max(Number(score.failedMsat), 1), 1)
  const price = Math.max((amountMsat * FAILURE_MILLIONTHS) / 1_000_000, FAILURE_LEAST)
  return price * score.failures * weight * likeness
}
