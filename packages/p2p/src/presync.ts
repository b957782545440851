/**
 * Headers of a chain whose work is not known to suffice. B9: such headers cost their sender next to nothing, so none is kept.
 * First they are only counted, with one bit of a salted hash per 615 headers kept as a commitment; when their work suffices they are
 * asked for again, and given on when the bits agree over a buffer long enough to make a second, different chain hopeless.
 * Bitcoin Core headerssync.{h,cpp}.
 */
import { blockHash, type BlockHash, type BlockHeader } from '@leyden/bitcoin'
import type { ChainEntry } from './peer.ts'
import type { ChainPort } from './peering.ts'

const COMMITMENT_PERIOD = 615
const BUFFER_HEADERS = 14_621
/** The fastest that median time allows, blocks a second, and how far in the future a block may be. */
const MAX_BLOCKS_PER_SECOND = 6
const MAX_FUTURE_SECONDS = 2 * 3600

export type Presync = {
  readonly start: ChainEntry
  readonly minimumWork: bigint
  readonly commitOffset: number
  readonly maxCommitments: number
  phase: 'presync' | 'redownload'
  readonly commitments: number[]
  /** First phase. */
  last: { readonly hash: BlockHash; readonly bits: number; readonly time: number }
  height: number
  work: bigint
  /** Second phase. */
  buffer: BlockHeader[]
  bufferLast: { readonly hash: BlockHash; readonly bits: number }
  bufferHeight: number
  bufferWork: bigint
  /** The commitments of the second phase that were compared. */
  compared: number
  enough: boolean
}

/** `ready`: may be judged by the tree. `more`: ask on from `next`. Without success the sync is over. */
export type PresyncResult = { readonly ok: boolean; readonly ready: readonly BlockHeader[]; readonly more: boolean }

export const createPresync = (
  chain: ChainPort,
  start: ChainEntry,
  minimumWork: bigint,
  random: () => number,
  nowSeconds: number,
): Presync => ({
  start,
  minimumWork,
  commitOffset: Math.floor(random() * COMMITMENT_PERIOD),
  maxCommitments: Math.floor(
    (MAX_BLOCKS_PER_SECOND * (Math.max(0, nowSeconds - chain.medianTime(start)) + MAX_FUTURE_SECONDS)) / COMMITMENT_PERIOD,
  ),
  phase: 'presync',
  commitments: [],
  last: { hash: start.hash, bits: start.header.bits, time: start.header.time },
  height: start.height,
  work: start.chainWork,
  buffer: [],
  bufferLast: { hash: start.hash, bits: start.header.bits },
  bufferHeight: start.height,
  bufferWork: start.chainWork,
  compared: 0,
  enough: false,
})

const OVER: PresyncResult = { ok: false, ready: [], more: false }

/** Counts headers; false when they do not go on from the last, or no chain could be so. */
const countHeaders = (
  sync: Presync,
  headers: readonly BlockHeader[],
  chain: ChainPort,
  commitment: (hash: BlockHash) => number,
): boolean => {
  for (const header of headers) {
    if (header.previousHash !== sync.last.hash || !chain.mayFollow(sync.height + 1, sync.last.bits, header.bits)) return false
    const hash = blockHash(header)
    sync.height++
    if (sync.height % COMMITMENT_PERIOD === sync.commitOffset) {
      sync.commitments.push(commitment(hash))
      if (sync.commitments.length > sync.maxCommitments) return false
    }
    sync.work += chain.workOf(header)
    sync.last = { hash, bits: header.bits, time: header.time }
  }
  if (sync.work >= sync.minimumWork) sync.phase = 'redownload'
  return true
}

const compareHeader = (
  sync: Presync,
  header: BlockHeader,
  chain: ChainPort,
  commitment: (hash: BlockHash) => number,
): boolean => {
  const height = sync.bufferHeight + 1
  if (header.previousHash !== sync.bufferLast.hash || !chain.mayFollow(height, sync.bufferLast.bits, header.bits)) return false
  const hash = blockHash(header)
  sync.bufferWork += chain.workOf(header)
  if (sync.bufferWork >= sync.minimumWork) sync.enough = true
  if (!sync.enough && height % COMMITMENT_PERIOD === sync.commitOffset) {
    if (sync.commitments[sync.compared] !== commitment(hash)) return false
    sync.compared++
  }
  sync.buffer.push(header)
  sync.bufferHeight = height
  sync.bufferLast = { hash, bits: header.bits }
  return true
}

/** Takes the next list. `full`: it was as long as one may be. `commitment`: a bit of the hash under a secret. */
export const stepPresync = (
  sync: Presync,
  headers: readonly BlockHeader[],
  full: boolean,
  chain: ChainPort,
  commitment: (hash: BlockHash) => number,
): PresyncResult => {
  if (sync.phase === 'presync') {
    if (!countHeaders(sync, headers, chain, commitment)) return OVER
    return { ok: true, ready: [], more: full || (sync.phase as string) === 'redownload' }
  }
  if (!headers.every((header) => compareHeader(sync, header, chain, commitment))) return OVER
  const count = sync.enough ? sync.buffer.length : Math.max(0, sync.buffer.length - BUFFER_HEADERS)
  const ready = sync.buffer.slice(0, count)
  sync.buffer = sync.buffer.slice(count)
  const done = sync.enough && sync.buffer.length === 0
  return { ok: true, ready, more: !done && full }
}

/** Where the next list begins: after this block. */
export const nextOfPresync = (sync: Presync): BlockHash => (sync.phase === 'presync' ? sync.last.hash : sync.bufferLast.hash)
