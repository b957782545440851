/**
 * Which blocks to fetch from whom. Bitcoin Core net_processing.cpp.
 * Several peers at once, at most 16 blocks in flight each, within a window of 1024 above what the chain and the peer share, which
 * moves as the lowest come. Who holds the window up alone is given 2 seconds (more when we close several in a row: then it may be
 * our line), and closed. B10: no peer can keep blocks from us that another has.
 */
import { blockHash, type BlockHash } from '@leyden/bitcoin'
import { hasBlock, isDownloadPeer, leastWork, punishForBlock, updateBest } from './availability.ts'
import { INV, type InvItem, type MessageOf } from './message.ts'
import type { ChainEntry, PeerState } from './peer.ts'
import { close, misbehaving, note, send, STALLING_TIMEOUT_MS, type Peering } from './peering.ts'
import { isLimited, servesBlocks, servesWitnesses } from './services.ts'

export const MAX_IN_FLIGHT = 16
export const DOWNLOAD_WINDOW = 1024
const MAX_STALLING_TIMEOUT_MS = 64_000
const STALLING_DECAY = 0.85
/** Blocks that a node without history serves, and two more for races. */
const LIMITED_BLOCKS = 288 - 2
/** Blocks beyond the tip that nobody asked for are not taken further than that. */
const MAX_AHEAD = 288
/** Within so many block intervals of now the tip is near enough to fetch what is announced at once. */
const NEAR_TIP_INTERVALS = 20
/** Block intervals that a block may take; half of one more for each other peer that we download from. */
const TIMEOUT_INTERVALS = 1
const TIMEOUT_PER_PEER = 0.5

/** Forgets that a block was asked for, of this peer or of anyone. */
export const dropRequest = (peering: Peering, hash: BlockHash, from?: PeerState): void => {
  const id = peering.blocksInFlight.get(hash)
  if (id === undefined || (from !== undefined && id !== from.id)) return
  peering.blocksInFlight.delete(hash)
  const peer = peering.peers.get(id)
  if (peer === undefined) return
  const [first] = peer.inFlight.keys()
  if (first === hash) peer.downloadingSince = Math.max(peer.downloadingSince, peering.ports.now())
  peer.inFlight.delete(hash)
  peer.stallingSince = 0
}

const hasBody = ({ ports, blocksTaking }: Peering, entry: ChainEntry): boolean =>
  blocksTaking.has(entry.hash) || ports.chain.hasBody(entry)

const markRequested = (peering: Peering, peer: PeerState, entry: ChainEntry): void => {
  dropRequest(peering, entry.hash)
  if (peer.inFlight.size === 0) peer.downloadingSince = peering.ports.now()
  peer.inFlight.set(entry.hash, entry)
  peering.blocksInFlight.set(entry.hash, peer.id)
}

/** All requests to a peer that is gone are free for others. */
export const dropDownloads = (peering: Peering, peer: PeerState): void => {
  for (const hash of peer.inFlight.keys()) if (peering.blocksInFlight.get(hash) === peer.id) peering.blocksInFlight.delete(hash)
  peer.inFlight.clear()
}

const blockItem = (peer: PeerState, entry: ChainEntry): InvItem => ({
  kind: servesWitnesses(peer) ? INV.witnessBlock : INV.block,
  hash: entry.hash,
})

export const isNearTip = ({ ports }: Peering): boolean =>
  ports.chain.tip().header.time * 1000 > ports.now() - ports.chain.spacing * 1000 * NEAR_TIP_INTERVALS

/** Near the tip a block is asked of the peer that announced it, without waiting for its turn. */
export const fetchTowards = (peering: Peering, peer: PeerState, last: ChainEntry): void => {
  const { chain } = peering.ports
  if (!isNearTip(peering) || chain.isInvalid(last) || chain.tip().chainWork > last.chainWork) return
  const wanted: ChainEntry[] = []
  let at: ChainEntry | undefined = last
  for (; at !== undefined && !chain.isActive(at) && wanted.length <= MAX_IN_FLIGHT; at = at.parent)
    if (!hasBody(peering, at) && !peering.blocksInFlight.has(at.hash) && servesWitnesses(peer)) wanted.push(at)
  if (at === undefined || !chain.isActive(at))
    return note(peering, `Large reorg, won't direct fetch to ${last.hash} (${last.height})`)
  const asked = wanted.reverse().slice(0, Math.max(0, MAX_IN_FLIGHT - peer.inFlight.size))
  if (asked.length === 0) return
  for (const entry of asked) {
    markRequested(peering, peer, entry)
    note(peering, `Requesting block ${entry.hash} from  peer=${peer.id}`)
  }
  send(peering, peer, { type: 'getdata', items: asked.map((entry) => blockItem(peer, entry)) })
}

const CHUNK = 128

/** The entries of a chain above one of its entries, lowest first, up to a height: in pieces, because most callers stop early. */
const between = function* (
  { ports: { chain } }: Peering,
  above: ChainEntry,
  best: ChainEntry,
  highest: number,
): Generator<ChainEntry> {
  for (let low = above.height; low < highest; low += CHUNK) {
    const piece: ChainEntry[] = []
    let at = chain.ancestor(best, Math.min(low + CHUNK, highest))
    for (; at !== undefined && at.height > low; at = at.parent) piece.push(at)
    yield* piece.reverse()
  }
}

type Plan = { readonly wanted: readonly ChainEntry[]; readonly staller: number | undefined }
const NOTHING: Plan = { wanted: [], staller: undefined }

/** The next blocks to ask of a peer, lowest first; or which other peer keeps the window from moving. */
const plan = (peering: Peering, peer: PeerState, count: number): Plan => {
  const { chain } = peering.ports
  updateBest(peering, peer)
  const { best } = peer
  const tip = chain.tip()
  if (best === undefined || best.chainWork < tip.chainWork || best.chainWork < chain.minimumWork) return NOTHING
  peer.lastCommon ??= chain.activeAt(Math.min(best.height, tip.height)) as ChainEntry
  peer.lastCommon = chain.fork(peer.lastCommon, best)
  if (peer.lastCommon === best) return NOTHING
  const windowEnd = peer.lastCommon.height + DOWNLOAD_WINDOW
  const highest = Math.min(best.height, windowEnd + 1)
  const wanted: ChainEntry[] = []
  let waitingFor: number | undefined
  for (const entry of between(peering, peer.lastCommon, best, highest)) {
    if (chain.isInvalid(entry) || !servesWitnesses(peer)) return { wanted, staller: undefined }
    if (hasBody(peering, entry) || chain.isActive(entry)) {
      if (chain.isComplete(entry) || chain.isActive(entry)) peer.lastCommon = entry
      continue
    }
    const asked = peering.blocksInFlight.get(entry.hash)
    if (asked !== undefined) {
      waitingFor ??= asked
      continue
    }
    if (entry.height > windowEnd)
      return { wanted, staller: wanted.length === 0 && waitingFor !== peer.id ? waitingFor : undefined }
    if (isLimited(peer) && best.height - entry.height >= LIMITED_BLOCKS) continue
    wanted.push(entry)
    if (wanted.length === count) break
  }
  return { wanted, staller: undefined }
}

/** Asks a peer for as many blocks as it may have in flight. */
export const fetchBlocks = (peering: Peering, peer: PeerState): void => {
  const { chain, now } = peering.ports
  const mayAsk = (isDownloadPeer(peering, peer) && !isLimited(peer)) || !chain.isInitialDownload()
  if (!servesBlocks(peer) || !mayAsk || peer.inFlight.size >= MAX_IN_FLIGHT) return
  const { wanted, staller } = plan(peering, peer, MAX_IN_FLIGHT - peer.inFlight.size)
  for (const entry of wanted) {
    markRequested(peering, peer, entry)
    note(peering, `Requesting block ${entry.hash} (${entry.height}) peer=${peer.id}`)
  }
  if (wanted.length > 0) send(peering, peer, { type: 'getdata', items: wanted.map((entry) => blockItem(peer, entry)) })
  const slow = staller === undefined || peer.inFlight.size > 0 ? undefined : peering.peers.get(staller)
  if (slow === undefined || slow.stallingSince !== 0) return
  slow.stallingSince = now()
  note(peering, `Stall started peer=${slow.id}`)
}

/** Closes a peer that holds up the window, or does not give a block in the time of a block. */
export const checkDownload = (peering: Peering, peer: PeerState): void => {
  const { chain, now } = peering.ports
  if (peer.stallingSince !== 0 && peer.stallingSince < now() - peering.stallingTimeout) {
    note(peering, `Peer=${peer.id} is stalling block download, disconnecting`, 'info')
    const longer = Math.min(2 * peering.stallingTimeout, MAX_STALLING_TIMEOUT_MS)
    if (longer !== peering.stallingTimeout) {
      peering.stallingTimeout = longer
      note(peering, `Increased stalling timeout temporarily to ${longer / 1000} seconds`)
    }
    return close(peering, peer, 'block download stalled')
  }
  if (peer.inFlight.size === 0) return
  const others = [...peering.peers.values()].filter((other) => other !== peer && other.inFlight.size > 0).length
  const allowed = chain.spacing * 1000 * (TIMEOUT_INTERVALS + TIMEOUT_PER_PEER * others)
  if (now() <= peer.downloadingSince + allowed) return
  const [hash] = peer.inFlight.keys()
  note(peering, `Timeout downloading block ${hash} from peer=${peer.id}, disconnecting`, 'info')
  close(peering, peer, 'timeout downloading a block')
}

/** With every block that comes the patience with stallers goes back to the usual. */
export const relaxStalling = (peering: Peering): void => {
  if (peering.stallingTimeout === STALLING_TIMEOUT_MS) return
  peering.stallingTimeout = Math.max(Math.floor((peering.stallingTimeout * STALLING_DECAY) / 1000) * 1000, STALLING_TIMEOUT_MS)
  note(peering, `Decreased stalling timeout to ${peering.stallingTimeout / 1000} seconds`)
}

/** Whether a block that nobody asked for is worth taking: it may become the tip, and soon. */
const isWelcome = ({ ports: { chain }, blocksTaking }: Peering, entry: ChainEntry): boolean => {
  const tip = chain.tip()
  // What it stands on and is being taken moves the tip before this one's turn, if it is whole down to the chain.
  let below = entry.parent
  while (below !== undefined && blocksTaking.has(below.hash)) below = below.parent
  const underWay = below !== undefined && chain.isComplete(below) ? entry.height - below.height - 1 : 0
  const furthest = tip.height + underWay + MAX_AHEAD
  // One that was here and is pruned is not wanted again.
  return (
    !chain.isComplete(entry) &&
    entry.chainWork >= tip.chainWork &&
    entry.height <= furthest &&
    entry.chainWork >= chain.minimumWork
  )
}

export const receiveBlock = (peering: Peering, peer: PeerState, { block }: MessageOf<'block'>): void => {
  const { chain } = peering.ports
  const hash = blockHash(block.header)
  note(peering, `received block ${hash} peer=${peer.id}`)
  const parent = chain.find(block.header.previousHash)
  const mutation = parent === undefined ? undefined : chain.mutation(block, parent)
  if (mutation !== undefined) {
    note(peering, `Block mutated: ${mutation}`)
    misbehaving(peering, peer, 'mutated block')
    return dropRequest(peering, hash, peer)
  }
  const requested = peering.blocksInFlight.has(hash)
  dropRequest(peering, hash, peer)
  if (!chain.meetsTarget(block.header)) return refuseBlock(peering, peer, 'high-hash')
  if (parent === undefined) return refuseBlock(peering, peer, 'prev-blk-not-found')
  if (chain.find(hash) === undefined && parent.chainWork + chain.workOf(block.header) < leastWork({ chain })) {
    note(peering, `AcceptBlockHeader: not adding new block header ${hash}, missing anti-dos proof-of-work validation`)
    return refuseBlock(peering, peer, 'too-little-chainwork')
  }
  const entry = chain.submitHeaders([block.header])
  if ('reason' in entry) return refuseBlock(peering, peer, entry.reason)
  if (hasBody(peering, entry) || (!requested && !isWelcome(peering, entry))) return
  peer.blocksPending++
  peering.blocksTaking.add(hash)
  peering.effects.push({ type: 'takeBlock', peer: peer.id, block })
}

const refuseBlock = (peering: Peering, peer: PeerState, reason: string): void => {
  note(peering, `AcceptBlock FAILED (${reason})`)
  punishForBlock(peering, peer, reason)
}

/** What became of a block. */
export type BlockVerdict = { readonly hash: BlockHash; readonly taken: boolean; readonly reason?: string }

export const blockTaken = (peering: Peering, peer: PeerState | undefined, verdict: BlockVerdict): void => {
  if (peer !== undefined) peer.blocksPending--
  const { hash, taken, reason } = verdict
  peering.blocksTaking.delete(hash)
  if (reason !== undefined) {
    note(peering, `AcceptBlock FAILED (${reason}): ${hash}`)
    if (peer !== undefined) punishForBlock(peering, peer, reason)
    return
  }
  if (taken) dropRequest(peering, hash)
  if (peer === undefined) return
  if (taken) peer.lastBlockAt = peering.ports.now()
  hasBlock(peering, peer, hash)
}

/** Asks one peer for one block that the operator wants. Why not, in Bitcoin Core's words. */
export const fetchOne = (peering: Peering, id: number, entry: ChainEntry): string | undefined => {
  const peer = peering.peers.get(id)
  if (peer === undefined || !peer.ready) return 'Peer does not exist'
  if (!servesWitnesses(peer)) return 'Pre-SegWit peer'
  if (peer.inFlight.has(entry.hash)) return 'Already requested from this peer'
  markRequested(peering, peer, entry)
  send(peering, peer, { type: 'getdata', items: [blockItem(peer, entry)] })
  return undefined
}
