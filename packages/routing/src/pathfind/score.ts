/**
 * What past attempts say about edges: a failure makes an edge dear for a while, the more so for amounts like the one that failed.
 * Not persisted and bounded: after a restart everything gets another chance.
 * A search asks for the price of thousands of edges, so an edge is found by a hash of numbers, not by a text.
 */
import type { Msat } from '@leyden/bitcoin'
import { concat, DecodeError, equalBytes, tryDecode } from '@leyden/codec'
import { channelUpdate, type ShortChannelId } from '@leyden/lnwire'
import { type Direction, directionOf, policyOf } from '../gossip/graph.ts'
import { checkChannelUpdate } from '../gossip/validate.ts'
import { type Edge, edgeKey, type EdgePolicy } from './route.ts'

/** An edge over which something failed, and nothing as large has passed since. */
interface FailedEdge {
  readonly edge: EdgeNumbers
  readonly atMs: number
  /** The least that failed, msat, for comparison. */
  readonly amount: number
  /** Failures since the last success. */
  readonly times: number
}

/** What a node said when it refused; it holds for us alone, and not for long. */
export interface LearntPolicy {
  readonly edge: Edge
  readonly policy: EdgePolicy
  readonly atMs: number
}

/** Both oldest change first. */
export interface Scores {
  /** By hash of the edge. Of two edges with one hash the later is kept. */
  readonly failed: Map<number, FailedEdge>
  /** By edgeKey. */
  readonly learnt: Map<string, LearntPolicy>
}

export const emptyScores = (): Scores => ({ failed: new Map(), learnt: new Map() })

/** An edge as a search knows it: the halves of its short_channel_id, and which end speaks. */
export interface EdgeNumbers {
  readonly high: number
  readonly low: number
  readonly direction: Direction
}

export const edgeNumbers = (edge: {
  readonly shortChannelId: ShortChannelId
  readonly from: string
  readonly to: string
}): EdgeNumbers => ({
  high: Number(edge.shortChannelId >> 32n),
  low: Number(edge.shortChannelId & 0xffff_ffffn),
  direction: edge.from < edge.to ? 0 : 1,
})

/** 30 bits, as many as V8 keeps without a box on every machine. The mixing is that of MurmurHash3. */
const hashOf = (high: number, low: number, direction: number): number => {
  let hash = Math.imul(high ^ (low >>> 15), 0x85ebca6b) ^ Math.imul(low + direction, 0xc2b2ae35)
  hash = Math.imul(hash ^ (hash >>> 13), 0x27d4eb2f)
  return (hash ^ (hash >>> 15)) & 0x3fff_ffff
}

const MAX_FAILED = 50_000
const MAX_LEARNT = 1000
const HALF_LIFE_MS = 30 * 60_000
/** Price of an edge that has just failed for this amount, in millionths of the amount and at least, in msat. */
const FAILURE_MILLIONTHS = 50_000
const FAILURE_LEAST = 10_000
const MAX_TIMES = 10

/** Puts last what changed last, and forgets the first over so many. */
const put = <K, V>(map: Map<K, V>, key: K, value: V, most: number): void => {
  map.delete(key)
  map.set(key, value)
  for (const oldest of map.keys()) {
    if (map.size <= most) break
    map.delete(oldest)
  }
}

const find = (scores: Scores, high: number, low: number, direction: number): FailedEdge | undefined => {
  const failed = scores.failed.get(hashOf(high, low, direction))
  if (failed === undefined) return undefined
  const { edge } = failed
  return edge.high === high && edge.low === low && edge.direction === direction ? failed : undefined
}

/** An HTLC of this amount did not get over the edge. */
export const recordFailure = (scores: Scores, edge: Edge, amountMsat: Msat, nowMs: number): void => {
  const numbers = edgeNumbers(edge)
  const { high, low, direction } = numbers
  const before = find(scores, high, low, direction)
  const amount = Math.min(before?.amount ?? Infinity, Number(amountMsat))
  const times = Math.min((before?.times ?? 0) + 1, MAX_TIMES)
  put(scores.failed, hashOf(high, low, direction), { edge: numbers, atMs: nowMs, amount, times }, MAX_FAILED)
}

/** An HTLC of this amount got over the edge, whatever became of it further on. */
export const recordSuccess = (scores: Scores, edge: Edge, amountMsat: Msat): void => {
  const { high, low, direction } = edgeNumbers(edge)
  const before = find(scores, high, low, direction)
  if (before !== undefined && before.amount <= Number(amountMsat)) scores.failed.delete(hashOf(high, low, direction))
}

/** What using the edge costs on top, in msat for comparison; 0 for an edge of which nothing bad is known. */
export const penalty = (scores: Scores, high: number, low: number, direction: number, amount: number, nowMs: number): number => {
  const failed = find(scores, high, low, direction)
  if (failed === undefined) return 0
  const weight = 2 ** (-Math.max(nowMs - failed.atMs, 0) / HALF_LIFE_MS)
  const likeness = Math.min(amount / Math.max(failed.amount, 1), 1)
  const price = Math.max((amount * FAILURE_MILLIONTHS) / 1_000_000, FAILURE_LEAST)
  return price * failed.times * weight * likeness
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
  put(scores.learnt, edgeKey(edge), { edge, policy: policyOf(message, raw), atMs: nowMs }, MAX_LEARNT)
  return true
}

/** What nodes said last about edges of theirs, while it is fresh. */
export const learntPolicies = (scores: Scores, nowMs: number): readonly LearntPolicy[] =>
  [...scores.learnt.values()].filter(({ atMs }) => nowMs - atMs < POLICY_LIFE_MS)
