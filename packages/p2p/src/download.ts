/**
 * Which blocks to fetch from whom. One run of blocks at a time, in the order of the chain, from one peer; a peer that does not
 * deliver loses the run to another (block stalling). Pure.
 */
import type { BlockHash } from '@leyden/bitcoin'

/** Blocks asked of one peer at a time. */
export const MAX_IN_FLIGHT = 16
/** A peer that delivers nothing for so long has stalled. */
export const STALL_MS = 10_000

export type Download = {
  peer: number | undefined
  readonly inFlight: Set<BlockHash>
  lastProgressMs: number
  /** Peers that stalled or lacked a block, and until when they are not asked. */
  readonly resting: Map<number, number>
}

const REST_MS = 60_000

export const createDownload = (): Download => ({ peer: undefined, inFlight: new Set(), lastProgressMs: 0, resting: new Map() })

/** A peer and the blocks that we want of its chain, lowest first. */
export type Source = { readonly peer: number; readonly wanted: readonly BlockHash[] }

/** What to ask for now. `sources` in the order of preference. */
export const assign = (
  download: Download,
  sources: readonly Source[],
  nowMs: number,
): { readonly peer: number; readonly hashes: readonly BlockHash[] } | undefined => {
  for (const [peer, until] of download.resting) if (until <= nowMs) download.resting.delete(peer)
  if (download.inFlight.size > MAX_IN_FLIGHT / 2) return undefined
  if (download.inFlight.size === 0) download.peer = undefined
  const free = sources.filter(
    ({ peer, wanted }) => !download.resting.has(peer) && wanted.some((hash) => !download.inFlight.has(hash)),
  )
  const source = download.peer === undefined ? free[0] : free.find(({ peer }) => peer === download.peer)
  if (source === undefined) return undefined
  const hashes = source.wanted.filter((hash) => !download.inFlight.has(hash)).slice(0, MAX_IN_FLIGHT - download.inFlight.size)
  if (download.inFlight.size === 0) download.lastProgressMs = nowMs
  download.peer = source.peer
  for (const hash of hashes) download.inFlight.add(hash)
  return { peer: source.peer, hashes }
}

/** A block has arrived, from whomever. */
export const arrived = (download: Download, hash: BlockHash, nowMs: number): void => {
  if (download.inFlight.delete(hash)) download.lastProgressMs = nowMs
}

/** The peer is gone, or does not have what it announced: its run is free for another. */
export const release = (download: Download, peer: number, nowMs: number): void => {
  if (download.peer !== peer) return
  download.peer = undefined
  download.inFlight.clear()
  download.resting.set(peer, nowMs + REST_MS)
}

/** The peer that has stalled, if one has. */
export const stalled = (download: Download, nowMs: number): number | undefined =>
  download.peer !== undefined && download.inFlight.size > 0 && nowMs - download.lastProgressMs > STALL_MS
    ? download.peer
    : undefined
