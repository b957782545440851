/**
 * What past attempts say about edges: a failure makes an edge dear for a while, the more so for amounts like the one that failed.
 * Not persisted and bounded: after a restart everything gets another chance.
 */
import type { Msat } from '@leyden/bitcoin'
import { concat, DecodeError, equalBytes, tryDecode } from '@leyden/codec'
import { channelUpdate } from '@leyden/lnwire'
import { directionOf, policyOf } from '../gossip/graph.ts'
import { checkChannelUpdate } from '../gossip/validate.ts'
import { type Edge, edgeKey, type EdgePolicy } from './route.ts'

interface EdgeScore {
  readonly failedAtMs: number
  readonly failedMsat: bigint
  /** Failures since the last success. */
  readonly failures: number
  /** The most that went through, and when. */
  readonly passedMsat: bigint
  readonly passedAtMs: number
  /** What the node said when it refused; it holds for us alone, and not for long. */
  readonly policy?: EdgePolicy
  readonly policyAtMs?: number
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

const POLICY_LIFE_MS = 60 * 60_000
const CHANNEL_UPDATE_TYPE = Uint8Array.of(0x01, 0x02)

/**
 * Takes over the channel_update of a failure message, with or without its type in front, if it is of that edge and signed by its end.
 * It never reaches the graph: who relays it tells that he paid over this channel. BOLT 4 § Failure Messages. Whether it was taken.
 */
export const learnPolicy = (scores: Scores, edge: Edge, update: Uint8Array, chainHash: Uint8Array, nowMs: number): boolean => {
  const raw = equalBytes(update.subarray(0, 2), CHANNEL_UPDATE_TYPE) ? update : concat(CHANNEL_UPDATE_TYPE, update)
  const message = tryDecode(channelUpdate, raw)
  if (message instanceof DecodeError || message.shortChannelId !== edge.shortChannelId) return false
  if (!equalBytes(message.chainHash, chainHash) || directionOf(message) !== (edge.from < edge.to ? 0 : 1)) return false
  if (checkChannelUpdate(message, raw, edge.from) !== undefined) return false
  const key = edgeKey(edge)
  put(scores, key, { ...(scores.get(key) ?? UNTRIED), policy: policyOf(message, raw), policyAtMs: nowMs })
  return true
}

/** What the node said last about an edge, while it is fresh. */
export const learntPolicy = (scores: Scores, key: string, nowMs: number): EdgePolicy | undefined => {
  const score = scores.get(key)
  return score?.policyAtMs !== undefined && nowMs - score.policyAtMs < POLICY_LIFE_MS ? score.policy : undefined
}
