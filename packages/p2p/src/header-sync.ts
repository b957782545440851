/**
 * Headers first: asking for them, judging what comes, and what follows for the peer. Bitcoin Core net_processing.cpp; BIP 130.
 * While we are far behind one peer at a time is asked, near the tip all are. B9: headers that do not lead to enough work are not
 * kept; a chain long enough to get there is counted first (presync.ts).
 */
import { blockHash, type BlockHash, type BlockHeader } from '@leyden/bitcoin'
import { hasBlock, isDownloadPeer, leastWork, punishForBlock } from './availability.ts'
import { fetchTowards } from './download.ts'
import { MAX_HEADERS, PROTOCOL_VERSION, type MessageOf } from './message.ts'
import { isOutboundOrBlockRelay, may, type ChainEntry, type PeerState } from './peer.ts'
import { close, misbehaving, note, send, type ChainPort, type HeadersRefusal, type Peering } from './peering.ts'
import { createPresync, nextOfPresync, stepPresync } from './presync.ts'
import { servesBlocks } from './services.ts'

/** So long we wait for headers before we ask again. */
const RESPONSE_MS = 2 * 60_000
const SYNC_TIMEOUT_MS = 15 * 60_000
const SYNC_TIMEOUT_PER_HEADER_MS = 1
const RECENT_MS = 24 * 3_600_000
const MAX_PROTECTED = 4
const NO_STOP = '00'.repeat(32) as BlockHash

/** Asks for headers after the locator, unless an answer is awaited. Whether it did. */
export const askHeaders = (peering: Peering, peer: PeerState, locator: readonly BlockHash[]): boolean => {
  const now = peering.ports.now()
  if (now - peer.askedHeadersAt <= RESPONSE_MS) return false
  send(peering, peer, { type: 'getheaders', version: PROTOCOL_VERSION, hashes: locator.slice(0, 101), stop: NO_STOP })
  peer.askedHeadersAt = now
  return true
}

const isRefusal = (answer: ChainEntry | HeadersRefusal): answer is HeadersRefusal => 'reason' in answer

const isKnownWork = ({ chain }: { readonly chain: ChainPort }, entry: ChainEntry | undefined): boolean =>
  entry !== undefined && (chain.ancestor(chain.bestHeader(), entry.height) === entry || chain.isActive(entry))

const isContinuous = (headers: readonly BlockHeader[]): boolean =>
  headers.every((header, i) => i === 0 || header.previousHash === blockHash(headers[i - 1] as BlockHeader))

/** Goes on with the presync of the peer. The headers to be judged now; undefined when it had nothing to do with them. */
const continuePresync = (
  peering: Peering,
  peer: PeerState,
  headers: readonly BlockHeader[],
): readonly BlockHeader[] | undefined => {
  const sync = peer.presync
  if (sync === undefined) return undefined
  const { chain, keyedHash } = peering.ports
  const salt = `presync ${peer.id} ${sync.commitOffset}`
  const result = stepPresync(sync, headers, headers.length === MAX_HEADERS, chain, (hash) =>
    Number(keyedHash(`${salt} ${hash}`) & 1n),
  )
  if (result.ok) peer.askedHeadersAt = 0
  if (result.more) {
    askHeaders(peering, peer, [nextOfPresync(sync), ...chain.locator(sync.start)])
    note(peering, `more getheaders (from ${nextOfPresync(sync)}) to peer=${peer.id}`)
  } else peer.presync = undefined
  return result.ok ? result.ready : undefined
}

/** Whether the headers were dealt with as those of a chain that may have too little work. */
const holdBack = (peering: Peering, peer: PeerState, start: ChainEntry, headers: readonly BlockHeader[]): boolean => {
  const { chain, random, now } = peering.ports
  const work = headers.reduce((sum, header) => sum + chain.workOf(header), start.chainWork)
  const least = leastWork({ chain })
  if (work >= least) return false
  if (headers.length === MAX_HEADERS) {
    peer.presync = createPresync(chain, start, least, random, Math.floor(now() / 1000))
    note(peering, `Initial headers sync started with peer=${peer.id}: height=${start.height}`)
    continuePresync(peering, peer, headers)
  } else note(peering, `Ignoring low-work chain (height=${start.height + headers.length}) from peer=${peer.id}`)
  return true
}

const afterHeaders = (peering: Peering, peer: PeerState, last: ChainEntry, isNew: boolean, mayHaveMore: boolean): void => {
  const { chain } = peering.ports
  hasBlock(peering, peer, last.hash)
  if (isNew && last.chainWork > chain.tip().chainWork) peer.lastAnnouncementAt = peering.ports.now()
  const best = peer.best as ChainEntry
  if (chain.isInitialDownload() && !mayHaveMore && best.chainWork < chain.minimumWork && isOutboundOrBlockRelay(peer)) {
    note(peering, `Disconnecting outbound peer ${peer.id} -- headers chain has insufficient work`, 'info')
    return close(peering, peer, 'headers chain has insufficient work')
  }
  if (peer.type !== 'outbound-full-relay' || peer.chainSync.isProtected) return
  if (peering.protectedOutbound >= MAX_PROTECTED || best.chainWork < chain.tip().chainWork) return
  note(peering, `Protecting outbound peer=${peer.id} from eviction`)
  peer.chainSync.isProtected = true
  peering.protectedOutbound++
}

export const receiveHeaders = (peering: Peering, peer: PeerState, message: MessageOf<'headers'>): void => {
  const { chain } = peering.ports
  if (message.count !== undefined) return misbehaving(peering, peer, `headers message size = ${message.count}`)
  const { length } = message.headers
  if (length === 0) {
    peer.presync = undefined
    peer.askedHeadersAt = 0
    return
  }
  if (!message.headers.every((header) => chain.meetsTarget(header)))
    return misbehaving(peering, peer, 'header with invalid proof of work')
  if (!isContinuous(message.headers)) return misbehaving(peering, peer, 'non-continuous headers sequence')
  const validated = continuePresync(peering, peer, message.headers)
  const headers = validated ?? message.headers
  if (headers.length === 0) return
  const isSyncing = peer.presync !== undefined
  const start = chain.find((headers[0] as BlockHeader).previousHash)
  const lastHash = blockHash(headers.at(-1) as BlockHeader)
  if (start === undefined) {
    if (askHeaders(peering, peer, chain.locator(chain.bestHeader())))
      note(
        peering,
        `received header ${blockHash(headers[0] as BlockHeader)}: missing prev block, sending getheaders to peer=${peer.id}`,
      )
    return hasBlock(peering, peer, lastHash)
  }
  peer.askedHeadersAt = 0
  const known = chain.find(lastHash)
  const isTrusted = validated !== undefined || isKnownWork({ chain }, known) || may(peer, 'noban')
  if (!isTrusted && holdBack(peering, peer, start, headers)) return
  const last = chain.submitHeaders(headers)
  if (isRefusal(last)) {
    note(peering, `peer=${peer.id}: invalid header received: ${last.reason}`)
    return punishForBlock(peering, peer, last.reason, 'invalid header received')
  }
  if (length === MAX_HEADERS && !isSyncing && askHeaders(peering, peer, chain.locator(last)))
    note(peering, `more getheaders (${last.height}) to end to peer=${peer.id}`)
  afterHeaders(peering, peer, last, known === undefined, length === MAX_HEADERS)
  if (!peer.closing) fetchTowards(peering, peer, last)
}

/** A block was announced by inv: its headers are asked for, but not of many peers while we are far behind. */
export const receiveBlockInv = (peering: Peering, peer: PeerState, hash: BlockHash): void => {
  const { chain } = peering.ports
  if (!peer.syncStarted && (peer.invAskedHeaders || hash === peering.lastInvThatAsked)) return
  if (askHeaders(peering, peer, chain.locator(chain.bestHeader()))) note(peering, `getheaders to peer=${peer.id} for ${hash}`)
  if (peer.syncStarted) return
  peer.invAskedHeaders = true
  peering.lastInvThatAsked = hash
}

/** Begins to ask a peer for headers: one at a time, all when the newest header is of today. */
export const startHeaders = (peering: Peering, peer: PeerState): void => {
  if (peer.syncStarted || !servesBlocks(peer)) return
  const { chain, now } = peering.ports
  const best = chain.bestHeader()
  const isRecent = best.header.time * 1000 > now() - RECENT_MS
  const others = [...peering.peers.values()].some((other) => other.syncStarted)
  if (!isRecent && (others || !isDownloadPeer(peering, peer))) return
  // From the block before the best, so that the answer is never empty and tells what the peer has.
  if (!askHeaders(peering, peer, chain.locator(best.parent ?? best))) return
  note(
    peering,
    `initial getheaders (${(best.parent ?? best).height}) to peer=${peer.id} (startheight:${peer.theirs?.startHeight ?? -1})`,
  )
  peer.syncStarted = true
  const behind = Math.max(0, now() - best.header.time * 1000) / (chain.spacing * 1000)
  peer.headersDeadline = now() + SYNC_TIMEOUT_MS + behind * SYNC_TIMEOUT_PER_HEADER_MS
}

/** Gives up on a peer that was to give us the headers and does not, when there are others. */
export const checkHeadersDeadline = (peering: Peering, peer: PeerState): void => {
  const { chain, now } = peering.ports
  if (!peer.syncStarted || peer.headersDeadline === Infinity) return
  if (chain.bestHeader().header.time * 1000 > now() - RECENT_MS) {
    peer.headersDeadline = Infinity
    return
  }
  const peers = [...peering.peers.values()]
  const isOnly = peers.filter(({ syncStarted }) => syncStarted).length === 1
  const hasOther = peers.some((other) => other !== peer && other.preferredDownload)
  if (now() <= peer.headersDeadline || !isOnly || !hasOther) return
  if (may(peer, 'noban')) {
    note(peering, `Timeout downloading headers from noban peer=${peer.id}, not disconnecting`, 'info')
    peer.syncStarted = false
    peer.headersDeadline = 0
    return
  }
  note(peering, `Timeout downloading headers from peer=${peer.id}, disconnecting`, 'info')
  close(peering, peer, 'timeout downloading headers')
}

/** Tells that we like to hear of blocks by headers, once it has shown a chain with enough work. */
export const saySendHeaders = (peering: Peering, peer: PeerState): void => {
  if (peer.saidSendHeaders || peer.best === undefined || peer.best.chainWork <= peering.ports.chain.minimumWork) return
  send(peering, peer, { type: 'sendheaders' })
  peer.saidSendHeaders = true
}
