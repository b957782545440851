/**
 * Transactions for others: announcing them and giving them. Bitcoin Core net_processing.cpp; BIP 35, 133, 339.
 * Announcements gather and leave at random moments, to all inbound peers at the same ones, and what entered the pool after the last of
 * them is not given: so that nobody can tell by asking where a transaction came from.
 */
import { encodeTxWithoutWitness, txid, wtxid, type Tx } from '@leyden/bitcoin'
import { INV, MAX_INV, SERVICE, type InvItem } from './message.ts'
import { isInbound, may, type PeerState, type TxRelay } from './peer.ts'
import { close, note, randomDelay, send, type Peering, type PoolTx } from './peering.ts'

const INBOUND_INTERVAL_MS = 5000
const OUTBOUND_INTERVAL_MS = 2000
/** Seven a second on average for an inbound peer. */
const TARGET = 35
const MAX_AT_ONCE = 1000
/** B7: to one peer; what does not fit is learnt from others. */
export const MAX_TO_SEND = 50_000
const FEE_FILTER_INTERVAL_MS = 10 * 60_000
const FEE_FILTER_CHANGE_MS = 5 * 60_000
const FEEFILTER_VERSION = 70_013
const MAX_MONEY = 2_100_000_000_000_000n

const idFor = (peer: PeerState, tx: Tx): string => (peer.wtxidRelay ? wtxid(tx) : txid(tx))

/** Queues a transaction for every peer that does not know it. */
export const relayTransaction = (peering: Peering, tx: Tx): void => {
  for (const peer of peering.peers.values()) {
    const relay = peer.txRelay
    if (relay === undefined || relay.nextInvAt === 0 || relay.toSend.size >= MAX_TO_SEND) continue
    const id = idFor(peer, tx)
    if (!relay.known.has(id)) relay.toSend.add(id)
  }
}

/** A transaction has entered the pool. */
export const transactionAdded = (peering: Peering, tx: Tx): void => {
  peering.sequences.set(tx, peering.poolSequence++)
  relayTransaction(peering, tx)
}

const findForPeer = (peering: Peering, relay: TxRelay, { kind, hash }: InvItem): Tx | undefined => {
  const { pool } = peering.ports
  const entry = kind === INV.wtx ? pool.byWtxid(hash) : pool.byTxid(hash)
  const since = entry?.sequence === 0 || entry === undefined ? 0 : (peering.sequences.get(entry.tx) ?? 0)
  if (entry !== undefined && since < relay.lastInvSequence) return entry.tx
  return peering.recentTransactions.get(hash)
}

/** Gives a transaction that a peer asked for; false when it may not have it. */
export const serveTransaction = (peering: Peering, peer: PeerState, relay: TxRelay, item: InvItem): boolean => {
  const tx = findForPeer(peering, relay, item)
  if (tx === undefined) return false
  if (item.kind === INV.tx) send(peering, peer, { type: 'raw', command: 'tx', payload: encodeTxWithoutWitness(tx) })
  else send(peering, peer, { type: 'tx', tx })
  peering.ports.pool.spread(txid(tx))
  return true
}

/** BIP 35: everything in the pool, for those who may ask. */
export const receiveMempool = (peering: Peering, peer: PeerState): void => {
  const stop = (reason: string): void => {
    if (may(peer, 'noban')) return
    note(peering, `mempool request with ${reason}, disconnect peer=${peer.id}`)
    close(peering, peer, `mempool request with ${reason}`)
  }
  if ((peer.ourServices & SERVICE.bloom) === 0n && !may(peer, 'mempool')) return stop('bloom filters disabled')
  if (peering.ports.uploadTargetReached(false) && !may(peer, 'mempool')) return stop('bandwidth limit reached')
  if (peer.txRelay !== undefined) peer.txRelay.wantsMempool = true
}

const paysFor = ({ fee, vsize }: PoolTx, feeFilterPerKvb: bigint): boolean => fee * 1000n >= feeFilterPerKvb * BigInt(vsize)

const nextInvAt = (peering: Peering, peer: PeerState, now: number): number => {
  if (!isInbound(peer)) return now + randomDelay(peering, OUTBOUND_INTERVAL_MS)
  if (peering.nextInvToInboundsAt < now) peering.nextInvToInboundsAt = now + randomDelay(peering, INBOUND_INTERVAL_MS)
  return peering.nextInvToInboundsAt
}

/** What is announced now, in the order in which it can be used. */
const choose = (peering: Peering, peer: PeerState, relay: TxRelay): string[] => {
  const { pool } = peering.ports
  const limit = Math.min(MAX_AT_ONCE, TARGET + Math.floor(relay.toSend.size / 1000) * 5)
  const candidates: PoolTx[] = []
  for (const id of relay.toSend) {
    const entry = peer.wtxidRelay ? pool.byWtxid(id) : pool.byTxid(id)
    if (entry === undefined || relay.known.has(id) || !paysFor(entry, relay.feeFilterPerKvb)) relay.toSend.delete(id)
    else candidates.push(entry)
  }
  const chosen = candidates.sort((a, b) => pool.compare(a, b)).slice(0, limit)
  return chosen.map((entry) => (peer.wtxidRelay ? entry.wtxid : entry.txid))
}

const wholeMempool = (peering: Peering, peer: PeerState, relay: TxRelay): string[] => {
  relay.wantsMempool = false
  return peering.ports.pool
    .all()
    .filter((entry) => {
      relay.toSend.delete(idFor(peer, entry.tx))
      return paysFor(entry, relay.feeFilterPerKvb)
    })
    .map((entry) => idFor(peer, entry.tx))
}

/** Announces what has gathered, when its moment has come. */
export const announceTransactions = (peering: Peering, peer: PeerState): void => {
  const relay = peer.txRelay
  if (relay === undefined) return
  const now = peering.ports.now()
  let isTime = may(peer, 'noban')
  if (relay.nextInvAt < now) {
    isTime = true
    relay.nextInvAt = nextInvAt(peering, peer, now)
  }
  if (!isTime) return
  if (!relay.relays) relay.toSend.clear()
  const ids = relay.wantsMempool ? wholeMempool(peering, peer, relay) : []
  if (relay.toSend.size > 0) ids.push(...choose(peering, peer, relay))
  const kind = peer.wtxidRelay ? INV.wtx : INV.tx
  for (const id of ids) {
    relay.toSend.delete(id)
    relay.known.add(id)
  }
  for (let at = 0; at < ids.length; at += MAX_INV)
    send(peering, peer, { type: 'inv', items: ids.slice(at, at + MAX_INV).map((hash) => ({ kind, hash })) })
  relay.lastInvSequence = peering.poolSequence
}

/** Rates that a filter may have: a tenth apart, so that it does not tell our pool's exact minimum. */
const FILTER_STEPS: readonly bigint[] = (() => {
  const steps = [0n]
  for (let rate = 500; rate <= 10_000_000; rate *= 1.1) steps.push(BigInt(Math.floor(rate)))
  return steps
})()

/** One of the two steps around the rate, mostly the lower. */
const roundFilter = ({ ports }: Peering, rate: bigint): bigint => {
  let at = FILTER_STEPS.findIndex((step) => step >= rate)
  if (at < 0) at = FILTER_STEPS.length
  if (at > 0 && (at === FILTER_STEPS.length || ports.random() * 3 >= 1)) at--
  return FILTER_STEPS[at] as bigint
}

const LARGEST_FILTER = FILTER_STEPS.at(-1) as bigint

/** What a full pool asks on top of what is asked of any transaction: mostly nothing. */
const poolFilter = ({ ports: { pool } }: Peering): bigint => {
  const rate = pool.minFeeratePerKvb()
  return rate <= pool.minRelayFeeratePerKvb() ? 0n : BigInt(Math.ceil(rate))
}

/** Tells what we ask of a transaction's fee; while far behind, that we want none. */
export const sendFeeFilter = (peering: Peering, peer: PeerState): void => {
  const { ports, settings } = peering
  if (settings.blocksOnly || peer.commonVersion < FEEFILTER_VERSION || may(peer, 'forcerelay')) return
  if (peer.type === 'block-relay-only') return
  const now = ports.now()
  const current = ports.chain.isInitialDownload() ? MAX_MONEY : poolFilter(peering)
  if (current !== MAX_MONEY && peer.feeFilterSent === LARGEST_FILTER) peer.nextFeeFilterAt = 0
  if (now > peer.nextFeeFilterAt) {
    const rounded = roundFilter(peering, current)
    const least = BigInt(Math.ceil(ports.pool.minRelayFeeratePerKvb()))
    const feeratePerKvb = rounded > least ? rounded : least
    if (feeratePerKvb !== peer.feeFilterSent) send(peering, peer, { type: 'feefilter', feeratePerKvb })
    peer.feeFilterSent = feeratePerKvb
    peer.nextFeeFilterAt = now + randomDelay(peering, FEE_FILTER_INTERVAL_MS)
  } else if (now + FEE_FILTER_CHANGE_MS < peer.nextFeeFilterAt) {
    const sent = peer.feeFilterSent
    if (current < (3n * sent) / 4n || current > (4n * sent) / 3n)
      peer.nextFeeFilterAt = now + ports.random() * FEE_FILTER_CHANGE_MS
  }
}

export const receiveFeeFilter = (peering: Peering, peer: PeerState, feeratePerKvb: bigint): void => {
  if (feeratePerKvb > MAX_MONEY) return
  if (peer.txRelay !== undefined) peer.txRelay.feeFilterPerKvb = feeratePerKvb
  note(peering, `received: feefilter of ${feeratePerKvb} sat/kvB from peer=${peer.id}`)
}
