/**
 * Blocks and headers for others: what they ask for, and what they are told of. Bitcoin Core net_processing.cpp; BIP 130.
 * A block outside the active chain is given only while it is young, so that nobody can tell nodes apart by the stale blocks that they
 * keep. One getdata is served at a time, as fast as the peer reads; its next message waits until then.
 */
import type { Block, BlockHash, BlockHeader, Tx } from '@leyden/bitcoin'
import { txid, wtxid } from '@leyden/bitcoin'
import { updateBest } from './availability.ts'
import { INV, invText, isBlockKind, isTxKind, isWitnessBlockKind, MAX_HEADERS, MAX_INV, MAX_LOCATOR, SERVICE } from './message.ts'
import type { InvItem, MessageOf } from './message.ts'
import { may, type ChainEntry, type PeerState } from './peer.ts'
import { close, misbehaving, note, send, type Peering } from './peering.ts'
import { serveTransaction } from './tx-announce.ts'

const STALE_SECONDS = 30 * 86_400
const HISTORICAL_SECONDS = 7 * 86_400
const LIMITED_BLOCKS = 288
const MAX_GETBLOCKS = 500
const MAX_ANNOUNCED = 8

/** Whether its age and its work let a block outside the active chain be given. */
export const isServed = ({ ports: { chain } }: Peering, entry: ChainEntry): boolean => {
  if (chain.isActive(entry)) return true
  const best = chain.bestHeader()
  if (chain.isInvalid(entry) || !chain.isComplete(entry)) return false
  const perBlock = chain.workOf(best.header)
  const workSeconds = (Number(best.chainWork - entry.chainWork) / Number(perBlock)) * chain.spacing
  return best.header.time - entry.header.time < STALE_SECONDS && workSeconds < STALE_SECONDS
}

/** The highest block of the active chain that the locator names or leads to. */
const sharedWith = ({ ports: { chain } }: Peering, locator: readonly BlockHash[]): ChainEntry => {
  for (const hash of locator) {
    const entry = chain.find(hash)
    if (entry === undefined) continue
    if (chain.isActive(entry)) return entry
    if (chain.ancestor(entry, chain.tip().height) === chain.tip()) return chain.tip()
  }
  return chain.activeAt(0) as ChainEntry
}

export const receiveGetHeaders = (peering: Peering, peer: PeerState, { hashes, stop, count }: MessageOf<'getheaders'>): void => {
  const { chain } = peering.ports
  if (count !== undefined) {
    note(peering, `getheaders locator size ${count} > ${MAX_LOCATOR}, disconnect peer=${peer.id}`)
    return close(peering, peer, 'locator too long')
  }
  const tip = chain.tip()
  if (tip.chainWork < chain.minimumWork && !may(peer, 'download')) {
    note(peering, `Ignoring getheaders from peer=${peer.id} because active chain has too little work; sending empty response`)
    return send(peering, peer, { type: 'headers', headers: [] })
  }
  let at: ChainEntry | undefined
  if (hashes.length === 0) {
    at = chain.find(stop)
    if (at === undefined) return
    if (!isServed(peering, at))
      return note(peering, `ignoring request from peer=${peer.id} for old block header that isn't in the main chain`)
  } else at = chain.activeAt(sharedWith(peering, hashes).height + 1)
  const headers: BlockHeader[] = []
  let last = tip
  while (at !== undefined) {
    headers.push(at.header)
    last = at
    if (headers.length === MAX_HEADERS || at.hash === stop) break
    at = chain.isActive(at) ? chain.activeAt(at.height + 1) : undefined
  }
  peer.bestSent = at === undefined ? tip : last
  send(peering, peer, { type: 'headers', headers })
}

export const receiveGetBlocks = (peering: Peering, peer: PeerState, { hashes, stop, count }: MessageOf<'getblocks'>): void => {
  const { chain } = peering.ports
  if (count !== undefined) {
    note(peering, `getblocks locator size ${count} > ${MAX_LOCATOR}, disconnect peer=${peer.id}`)
    return close(peering, peer, 'locator too long')
  }
  let left = MAX_GETBLOCKS
  for (let at = chain.activeAt(sharedWith(peering, hashes).height + 1); at !== undefined; at = chain.activeAt(at.height + 1)) {
    if (at.hash === stop || !chain.canServe(at) || peer.toInv.length >= MAX_INV) break
    peer.toInv.push(at.hash)
    if (--left > 0) continue
    peer.continuation = at.hash
    break
  }
}

export const receiveGetData = (peering: Peering, peer: PeerState, { items, count }: MessageOf<'getdata'>): void => {
  if (count !== undefined) return misbehaving(peering, peer, `getdata message size = ${count}`)
  note(peering, `received getdata (${items.length} invsz) peer=${peer.id}`)
  const [first] = items
  if (first !== undefined) note(peering, `received getdata for: ${invText(first)} peer=${peer.id}`)
  peer.getdata.push(...items)
  serveData(peering, peer)
}

/** Why a block is not given; undefined when it is to be read. */
const refusal = (peering: Peering, peer: PeerState, entry: ChainEntry): 'ignore' | 'close' | undefined => {
  const { chain, uploadTargetReached } = peering.ports
  if (!isServed(peering, entry)) {
    note(peering, `ignoring request from peer=${peer.id} for old block that isn't in the main chain`)
    return 'ignore'
  }
  const isHistorical = chain.bestHeader().header.time - entry.header.time > HISTORICAL_SECONDS
  if (isHistorical && uploadTargetReached(true) && !may(peer, 'download')) {
    note(peering, `historical block serving limit reached, disconnect peer=${peer.id}`)
    return 'close'
  }
  const isPruned = (peer.ourServices & SERVICE.network) === 0n
  if (isPruned && !may(peer, 'noban') && chain.tip().height - entry.height > LIMITED_BLOCKS + 2) {
    note(peering, `Ignore block request below NODE_NETWORK_LIMITED threshold, disconnect peer=${peer.id}`)
    return 'close'
  }
  return chain.canServe(entry) ? undefined : 'ignore'
}

const serveBlock = (peering: Peering, peer: PeerState, { kind, hash }: InvItem): void => {
  const entry = peering.ports.chain.find(hash as BlockHash)
  const no = entry === undefined ? 'ignore' : refusal(peering, peer, entry)
  if (no === 'close') return close(peering, peer, 'a block that is not served')
  if (no === 'ignore') return
  peer.pending++
  peering.effects.push({ type: 'readBlock', peer: peer.id, hash: hash as BlockHash, witness: isWitnessBlockKind(kind) })
}

/** Serves what was asked for until a block has to be read or the peer does not keep up. */
export const serveData = (peering: Peering, peer: PeerState): void => {
  const missing: InvItem[] = []
  let served = 0
  for (const item of peer.getdata) {
    if (peer.sendPaused || peer.pending > 0 || peer.closing) break
    served++
    if (isTxKind(item.kind)) {
      if (peer.txRelay !== undefined && !serveTransaction(peering, peer, peer.txRelay, item)) missing.push(item)
    } else if (isBlockKind(item.kind)) serveBlock(peering, peer, item)
  }
  if (served > 0) peer.getdata = peer.getdata.slice(served)
  if (missing.length > 0) send(peering, peer, { type: 'notfound', items: missing })
}

/** A block was read for a peer; `payload` undefined: it is gone. */
export const blockRead = (peering: Peering, peer: PeerState, hash: BlockHash, payload: Uint8Array | undefined): void => {
  peer.pending--
  if (payload === undefined) return close(peering, peer, 'a block cannot be read')
  send(peering, peer, { type: 'raw', command: 'block', payload })
  if (peer.continuation === hash) {
    peer.continuation = undefined
    send(peering, peer, { type: 'inv', items: [{ kind: INV.block, hash: peering.ports.chain.tip().hash }] })
  }
  serveData(peering, peer)
}

const hasHeader = ({ ports: { chain } }: Peering, peer: PeerState, entry: ChainEntry): boolean =>
  [peer.best, peer.bestSent].some((known) => known !== undefined && chain.ancestor(known, entry.height) === entry)

/** The tip has moved: its new blocks, lowest first, are announced at the next turn. */
export const queueAnnouncements = (peering: Peering, tip: ChainEntry, fork: ChainEntry): void => {
  const hashes: BlockHash[] = []
  for (let at: ChainEntry | undefined = tip; at !== undefined && at !== fork && hashes.length < MAX_ANNOUNCED; at = at.parent)
    hashes.push(at.hash)
  hashes.reverse()
  for (const peer of peering.peers.values()) {
    if (!peer.ready) continue
    // More than can be announced by headers is announced by its last alone.
    peer.toAnnounce = [...peer.toAnnounce, ...hashes].slice(-(MAX_ANNOUNCED + 1))
  }
}

/** The headers by which a peer can be told; undefined when they would not connect for it, or it does not want them. */
const announcedHeaders = (peering: Peering, peer: PeerState): readonly ChainEntry[] | undefined => {
  const { chain } = peering.ports
  if (!peer.wantsHeaders || peer.toAnnounce.length > MAX_ANNOUNCED) return undefined
  const found: ChainEntry[] = []
  let previous: ChainEntry | undefined
  for (const hash of peer.toAnnounce) {
    const entry = chain.find(hash)
    if (entry === undefined || !chain.isActive(entry)) return undefined
    if (previous !== undefined && entry.parent !== previous) return undefined
    previous = entry
    if (found.length > 0) found.push(entry)
    else if (hasHeader(peering, peer, entry)) continue
    else if (entry.parent === undefined || hasHeader(peering, peer, entry.parent)) found.push(entry)
    else return undefined
  }
  return found
}

/** Tells of new blocks, by headers where they connect, else by inv of the last. */
export const announceBlocks = (peering: Peering, peer: PeerState): void => {
  const { chain } = peering.ports
  if (peer.toAnnounce.length > 0) {
    updateBest(peering, peer)
    const headers = announcedHeaders(peering, peer)
    if (headers === undefined) {
      const entry = chain.find(peer.toAnnounce.at(-1) as BlockHash)
      if (entry !== undefined && !hasHeader(peering, peer, entry)) peer.toInv.push(entry.hash)
    } else if (headers.length > 0) {
      send(peering, peer, { type: 'headers', headers: headers.map(({ header }) => header) })
      peer.bestSent = headers.at(-1)
    }
    peer.toAnnounce = []
  }
  if (peer.toInv.length === 0) return
  send(peering, peer, { type: 'inv', items: peer.toInv.slice(0, MAX_INV).map((hash) => ({ kind: INV.block, hash })) })
  peer.toInv = []
}

/** The transactions of the newest block, by both ids: whoever was just told of one may still ask for it. */
export const recentOf = ({ transactions }: Block): ReadonlyMap<string, Tx> => {
  const recent = new Map<string, Tx>()
  for (const tx of transactions) recent.set(txid(tx), tx).set(wtxid(tx), tx)
  return recent
}
