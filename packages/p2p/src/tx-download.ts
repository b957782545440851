/**
 * Transactions of others: which to ask for, and what follows when one is taken or refused. Bitcoin Core 28 net_processing.cpp;
 * BIP 339. Asked for by wtxid, once at a time (tx-request.ts); an orphan waits for its parents, which are asked for by txid
 * (orphanage.ts); a parent that pays too little is tried again together with one child that waits for it.
 */
import { hasWitness, txid, wtxid, type Block, type Tx } from '@leyden/bitcoin'
import { INV, isTxKind, MAX_INV, type InvItem, type MessageOf } from './message.ts'
import { hasBlock } from './availability.ts'
import { receiveBlockInv } from './header-sync.ts'
import { may, type PeerState } from './peer.ts'
import { close, misbehaving, note, refusesTransactions, send, type Peering, type TxJob, type TxVerdict } from './peering.ts'
import { servesWitnesses } from './services.ts'
import { relayTransaction } from './tx-announce.ts'
import type { BlockHash } from '@leyden/bitcoin'
import type { TxKind } from './tx-request.ts'

const MAX_IN_FLIGHT = 100
export const MAX_ANNOUNCEMENTS = 5000
const TXID_DELAY_MS = 2000
const NONPREFERRED_DELAY_MS = 2000
const OVERLOADED_DELAY_MS = 2000
const REQUEST_TIMEOUT_MS = 60_000
const MAX_GETDATA = 1000

/** Whether we have it, or want it no more. `withReconsiderable`: also what more fee would help. */
const hasTransaction = (peering: Peering, hash: string, kind: TxKind, withReconsiderable: boolean): boolean => {
  const { orphanage, reconsiderable, confirmed, rejects } = peering
  const { pool } = peering.ports
  // An orphan of this txid may have another witness; without any, txid and wtxid are one.
  if (orphanage.has(hash)) return true
  if (withReconsiderable && reconsiderable.has(hash)) return true
  if (confirmed.has(hash) || rejects.has(hash)) return true
  return (kind === 'wtx' ? pool.byWtxid(hash) : pool.byTxid(hash)) !== undefined
}

const announce = (peering: Peering, peer: PeerState, hash: string, kind: TxKind): void => {
  const { requests, ports, peers } = peering
  if (!may(peer, 'relay') && requests.count(peer.id) >= MAX_ANNOUNCEMENTS) return
  let delay = peer.preferredDownload ? 0 : NONPREFERRED_DELAY_MS
  if (kind === 'tx' && [...peers.values()].some(({ wtxidRelay }) => wtxidRelay)) delay += TXID_DELAY_MS
  if (!may(peer, 'relay') && requests.inFlight(peer.id) >= MAX_IN_FLIGHT) delay += OVERLOADED_DELAY_MS
  requests.announced(peer.id, hash, kind, peer.preferredDownload, ports.now() + delay)
}

export const receiveInv = (peering: Peering, peer: PeerState, { items, count }: MessageOf<'inv'>): void => {
  const { chain } = peering.ports
  if (count !== undefined) return misbehaving(peering, peer, `inv message size = ${count}`)
  const refuses = refusesTransactions(peering, peer)
  let newBlock: BlockHash | undefined
  for (const { kind, hash } of items) {
    if (kind === (peer.wtxidRelay ? INV.tx : INV.wtx)) continue
    if (kind === INV.block) {
      const known = chain.find(hash as BlockHash) !== undefined
      note(peering, `got inv: block ${hash}  ${known ? 'have' : 'new'} peer=${peer.id}`)
      hasBlock(peering, peer, hash as BlockHash)
      if (!known && !peering.blocksInFlight.has(hash as BlockHash)) newBlock = hash as BlockHash
    } else if (isTxKind(kind)) {
      if (refuses) {
        note(peering, `transaction (${hash}) inv sent in violation of protocol, disconnecting peer=${peer.id}`)
        return close(peering, peer, 'transaction announced against our wish')
      }
      const name: TxKind = kind === INV.wtx ? 'wtx' : 'tx'
      const known = hasTransaction(peering, hash, name, true)
      note(peering, `got inv: ${name} ${hash}  ${known ? 'have' : 'new'} peer=${peer.id}`)
      peer.txRelay?.known.add(hash)
      if (!known && !chain.isInitialDownload()) announce(peering, peer, hash, name)
    }
  }
  if (newBlock !== undefined) receiveBlockInv(peering, peer, newBlock)
}

/** Asks a peer for what it is its turn to give. */
export const requestTransactions = (peering: Peering, peer: PeerState): void => {
  const { requests, ports } = peering
  const now = ports.now()
  const due = requests.requestable(peer.id, now, (late, { hash, kind }) =>
    note(peering, `timeout of inflight ${kind} ${hash} from peer=${late}`),
  )
  let items: InvItem[] = []
  for (const { hash, kind } of due) {
    if (hasTransaction(peering, hash, kind, false)) {
      requests.forget(hash)
      continue
    }
    note(peering, `Requesting ${kind} ${hash} peer=${peer.id}`)
    items.push({ kind: kind === 'wtx' ? INV.wtx : servesWitnesses(peer) ? INV.witnessTx : INV.tx, hash })
    requests.requested(peer.id, hash, now + REQUEST_TIMEOUT_MS)
    if (items.length < MAX_GETDATA) continue
    send(peering, peer, { type: 'getdata', items })
    items = []
  }
  if (items.length > 0) send(peering, peer, { type: 'getdata', items })
}

export const receiveNotFound = (peering: Peering, peer: PeerState, { items, count }: MessageOf<'notfound'>): void => {
  if (count !== undefined || items.length > MAX_INV) return
  for (const { kind, hash } of items) if (isTxKind(kind)) peering.requests.answered(peer.id, hash)
}

const judge = (peering: Peering, peer: PeerState, transactions: readonly Tx[], job: TxJob): void => {
  peer.pending++
  peering.effects.push({ type: 'takeTransactions', peer: peer.id, transactions, job })
}

const packageName = (parent: Tx, child: Tx): string => `package ${wtxid(parent)} ${wtxid(child)}`

/** Tries a parent that pays too little again, with a child of it that waits; one that the same peer gave first. */
const tryWithChild = (peering: Peering, peer: PeerState, parent: Tx): void => {
  const { orphanage, reconsiderable, ports } = peering
  const fresh = (child: Tx): boolean => !reconsiderable.has(packageName(parent, child))
  const own = orphanage.childrenFrom(parent, peer.id).find(fresh)
  const others = orphanage.childrenFromOthers(parent, peer.id).filter(({ tx }) => fresh(tx))
  const other = others[Math.floor(ports.random() * others.length)]
  const child = own ?? other?.tx
  if (child === undefined) return
  const sender = own === undefined ? (other?.peer ?? peer.id) : peer.id
  judge(peering, peer, [parent, child], { purpose: 'package', senders: [peer.id, sender] })
}

export const receiveTx = (peering: Peering, peer: PeerState, { tx }: MessageOf<'tx'>): void => {
  const { requests, ports, reconsiderable } = peering
  if (refusesTransactions(peering, peer)) {
    note(peering, `transaction sent in violation of protocol peer=${peer.id}`)
    return close(peering, peer, 'transaction sent against our wish')
  }
  if (ports.chain.isInitialDownload()) return
  const [id, witnessId] = [txid(tx), wtxid(tx)]
  peer.txRelay?.known.add(peer.wtxidRelay ? witnessId : id)
  requests.answered(peer.id, id)
  if (hasWitness(tx)) requests.answered(peer.id, witnessId)
  if (!hasTransaction(peering, witnessId, 'wtx', true))
    return judge(peering, peer, [tx], { purpose: 'relay', senders: [peer.id] })
  if (may(peer, 'forcerelay')) {
    const known = ports.pool.byTxid(id) !== undefined
    const what = `${id} (wtxid=${witnessId}) from`
    if (known) relayTransaction(peering, tx)
    note(
      peering,
      known
        ? `Force relaying tx ${what} peer=${peer.id}`
        : `Not relaying non-mempool transaction ${what} forcerelay peer=${peer.id}`,
      'info',
    )
  }
  if (reconsiderable.has(witnessId)) tryWithChild(peering, peer, tx)
}

/** It came from nobody's orphanage and is a transaction of the pool now. */
const accept = (peering: Peering, id: number, tx: Tx): void => {
  const { requests, orphanage } = peering
  requests.forget(txid(tx))
  requests.forget(wtxid(tx))
  orphanage.parentArrived(tx)
  orphanage.erase(wtxid(tx))
  note(peering, `AcceptToMemoryPool: peer=${id}: accepted ${txid(tx)} (wtxid=${wtxid(tx)})`)
}

const refuse = (peering: Peering, id: number, { tx, kind, reason }: TxVerdict): void => {
  const { requests, rejects, reconsiderable, orphanage, peers } = peering
  const witnessId = wtxid(tx)
  note(peering, `${txid(tx)} (wtxid=${witnessId}) from peer=${id} was not accepted: ${reason ?? ''}`)
  if (kind === 'missing') return
  if (kind !== 'stripped') {
    ;(kind === 'fee' ? reconsiderable : rejects).add(witnessId)
    requests.forget(witnessId)
    // What it spends is not standard, whatever the witness: its txid can be refused as well.
    if (kind === 'inputs' && hasWitness(tx)) {
      rejects.add(txid(tx))
      requests.forget(txid(tx))
    }
  }
  const sender = peers.get(id)
  if (kind === 'consensus' && sender !== undefined) misbehaving(peering, sender)
  orphanage.erase(witnessId)
}

/** Its parents are not here: unless we have refused one, it waits, and they are asked for. */
const adopt = (peering: Peering, peer: PeerState, tx: Tx): void => {
  const { rejects, reconsiderable, orphanage, requests, ports } = peering
  const parents = new Set(tx.inputs.map(({ outpoint }) => outpoint.txid))
  const poor = [...parents].filter((id) => reconsiderable.has(id) && ports.pool.byTxid(id) === undefined)
  if ([...parents].some((id) => rejects.has(id)) || poor.length > 1) {
    note(peering, `not keeping orphan with rejected parents ${txid(tx)} (wtxid=${wtxid(tx)})`)
    rejects.add(txid(tx))
    rejects.add(wtxid(tx))
    requests.forget(txid(tx))
    requests.forget(wtxid(tx))
    return
  }
  for (const id of parents) {
    peer.txRelay?.known.add(id)
    if (!hasTransaction(peering, id, 'tx', false)) announce(peering, peer, id, 'tx')
  }
  if (orphanage.add(tx, peer.id, ports.now())) note(peering, `stored orphan tx ${txid(tx)} (wtxid=${wtxid(tx)})`)
  requests.forget(txid(tx))
  requests.forget(wtxid(tx))
  const { evicted, expired } = orphanage.limit(ports.now())
  if (expired > 0) note(peering, `Erased ${expired} orphan tx due to expiration`)
  if (evicted > 0) note(peering, `orphanage overflow, removed ${evicted} tx`)
}

/** The mempool has judged. */
export const transactionsTaken = (peering: Peering, id: number, verdicts: readonly TxVerdict[], job: TxJob): void => {
  const peer = peering.peers.get(id)
  if (peer !== undefined) peer.pending--
  if (job.purpose === 'package') return packageTaken(peering, verdicts, job)
  const [verdict] = verdicts
  if (verdict === undefined) return
  const { tx } = verdict
  if (verdict.accepted) {
    accept(peering, id, tx)
    if (peer !== undefined && job.purpose === 'relay') peer.lastTransactionAt = peering.ports.now()
    return
  }
  refuse(peering, id, verdict)
  if (peer === undefined || job.purpose === 'orphan') return
  if (verdict.kind === 'missing') adopt(peering, peer, tx)
  if (verdict.kind === 'fee') tryWithChild(peering, peer, tx)
}

/** The child first: it leaves the orphanage before its parent would have it judged again. */
const packageTaken = (peering: Peering, verdicts: readonly TxVerdict[], { senders }: TxJob): void => {
  const [parent, child] = verdicts
  if (parent === undefined || child === undefined) return
  const accepted = parent.accepted && child.accepted
  note(
    peering,
    `package evaluation for parent ${txid(parent.tx)}, child ${txid(child.tx)}: package ${accepted ? 'accepted' : 'rejected'}`,
  )
  if (!accepted) peering.reconsiderable.add(packageName(parent.tx, child.tx))
  for (const [at, verdict] of [
    [1, child],
    [0, parent],
  ] as const) {
    if (verdict.accepted) accept(peering, senders[at] as number, verdict.tx)
    else refuse(peering, senders[at] as number, verdict)
  }
}

/** Has one of the peer's orphans judged whose parent has come. */
export const reconsiderOrphan = (peering: Peering, peer: PeerState): void => {
  if (peer.pending > 0) return
  const tx = peering.orphanage.nextToReconsider(peer.id)
  if (tx !== undefined) judge(peering, peer, [tx], { purpose: 'orphan', senders: [peer.id] })
}

/** What a block contains need not be asked for, and what it makes impossible need not wait. */
export const blockConnected = (peering: Peering, block: Block): void => {
  const { orphanage, confirmed, requests } = peering
  const erased = orphanage.eraseForBlock(block)
  if (erased > 0) note(peering, `Erased ${erased} orphan transaction(s) included or conflicted by block`)
  for (const tx of block.transactions)
    for (const id of new Set<string>([txid(tx), wtxid(tx)])) {
      confirmed.add(id)
      requests.forget(id)
    }
}

/** On a new tip what was refused may be fine. */
export const forgetRejects = ({ rejects, reconsiderable }: Peering): void => {
  rejects.clear()
  reconsiderable.clear()
}

/** A peer is gone with what it announced and its orphans. */
export const dropTransactions = (peering: Peering, peer: PeerState): void => {
  peering.requests.dropPeer(peer.id)
  const erased = peering.orphanage.erasePeer(peer.id)
  if (erased > 0) note(peering, `Erased ${erased} orphan transaction(s) from peer=${peer.id}`)
}
