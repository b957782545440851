/**
 * Transactions whose parents we do not have (yet). Bitcoin Core txorphanage.{h,cpp}.
 * Bounded in number and in weight, each kept 20 minutes at most; whoever fills it first loses its own: past its share a peer's oldest
 * orphan goes, so that no peer can push out those of others (Bitcoin Core picks at random).
 */
import { txid, txWeight, wtxid, type Block, type Outpoint, type Tx, type Wtxid } from '@leyden/bitcoin'

export const MAX_ORPHANS = 100
/** Weight of one, and of all together. */
const MAX_ORPHAN_WEIGHT = 400_000
const MAX_TOTAL_WEIGHT = 10 * MAX_ORPHAN_WEIGHT
const EXPIRY_MS = 20 * 60_000
const SWEEP_MS = 5 * 60_000

type Orphan = {
  readonly tx: Tx
  readonly wtxid: Wtxid
  readonly peer: number
  readonly weight: number
  readonly expiresAt: number
}

export interface Orphanage {
  readonly size: number
  readonly weight: number
  has(wtxid: string): boolean
  /** Whether it was taken; not when it is there or too large. */
  add(tx: Tx, peer: number, now: number): boolean
  erase(wtxid: string): boolean
  /** How many went. */
  erasePeer(peer: number): number
  /** What a block contains or makes impossible goes. How many went. */
  eraseForBlock(block: Block): number
  /** Holds the bounds. How many had to go for room, and how many were too old. */
  limit(now: number): { readonly evicted: number; readonly expired: number }
  /** A parent has come: its children may be valid now. */
  parentArrived(parent: Tx): void
  /** One of the peer's orphans of which a parent has come. */
  nextToReconsider(peer: number): Tx | undefined
  /** Children of a transaction that this peer gave, newest first. */
  childrenFrom(parent: Tx, peer: number): Tx[]
  childrenFromOthers(parent: Tx, peer: number): { readonly tx: Tx; readonly peer: number }[]
  all(): readonly { readonly tx: Tx; readonly peer: number }[]
}

const outpointName = ({ txid, vout }: Outpoint): string => `${txid}:${vout}`

export const createOrphanage = (maxOrphans: number = MAX_ORPHANS): Orphanage => {
  const orphans = new Map<string, Orphan>()
  const byOutpoint = new Map<string, Set<Orphan>>()
  const toReconsider = new Map<number, Set<string>>()
  let weight = 0
  let nextSweep = 0

  const remove = (id: string): boolean => {
    const orphan = orphans.get(id)
    if (orphan === undefined) return false
    orphans.delete(id)
    weight -= orphan.weight
    for (const { outpoint } of orphan.tx.inputs) {
      const spenders = byOutpoint.get(outpointName(outpoint))
      spenders?.delete(orphan)
      if (spenders?.size === 0) byOutpoint.delete(outpointName(outpoint))
    }
    return true
  }
  const childrenOf = (parent: Tx): Set<Orphan> => {
    const found = new Set<Orphan>()
    const id = txid(parent)
    parent.outputs.forEach((_, vout) => {
      for (const child of byOutpoint.get(outpointName({ txid: id, vout })) ?? []) found.add(child)
    })
    return found
  }
  /** The oldest of the peer that holds the most. */
  const victim = (): Orphan | undefined => {
    const held = new Map<number, number>()
    for (const { peer, weight } of orphans.values()) held.set(peer, (held.get(peer) ?? 0) + weight)
    let greediest: number | undefined
    for (const [peer, total] of held) if (greediest === undefined || total > (held.get(greediest) ?? 0)) greediest = peer
    return [...orphans.values()].find(({ peer }) => peer === greediest)
  }

  const excess = (): Orphan | undefined => (orphans.size > maxOrphans || weight > MAX_TOTAL_WEIGHT ? victim() : undefined)

  return {
    get size() {
      return orphans.size
    },
    get weight() {
      return weight
    },
    has: (id) => orphans.has(id),
    add(tx, peer, now) {
      const id = wtxid(tx)
      const size = txWeight(tx)
      if (orphans.has(id) || size > MAX_ORPHAN_WEIGHT) return false
      const orphan: Orphan = { tx, wtxid: id, peer, weight: size, expiresAt: now + EXPIRY_MS }
      orphans.set(id, orphan)
      weight += size
      for (const { outpoint } of tx.inputs) {
        const spenders = byOutpoint.get(outpointName(outpoint)) ?? new Set()
        spenders.add(orphan)
        byOutpoint.set(outpointName(outpoint), spenders)
      }
      return true
    },
    erase: remove,
    erasePeer(peer) {
      toReconsider.delete(peer)
      const gone = [...orphans.values()].filter((orphan) => orphan.peer === peer)
      for (const orphan of gone) remove(orphan.wtxid)
      return gone.length
    },
    eraseForBlock(block) {
      const gone = new Set<Orphan>()
      for (const tx of block.transactions)
        for (const { outpoint } of tx.inputs) for (const orphan of byOutpoint.get(outpointName(outpoint)) ?? []) gone.add(orphan)
      for (const orphan of gone) remove(orphan.wtxid)
      return gone.size
    },
    limit(now) {
      let expired = 0
      if (nextSweep <= now) {
        for (const orphan of orphans.values())
          if (orphan.expiresAt <= now) {
            remove(orphan.wtxid)
            expired++
          }
        const soonest = Math.min(now + EXPIRY_MS - SWEEP_MS, ...[...orphans.values()].map(({ expiresAt }) => expiresAt))
        nextSweep = soonest + SWEEP_MS
      }
      let evicted = 0
      for (let orphan = excess(); orphan !== undefined; orphan = excess()) {
        remove(orphan.wtxid)
        evicted++
      }
      return { evicted, expired }
    },
    parentArrived(parent) {
      for (const { wtxid, peer } of childrenOf(parent)) {
        const waiting = toReconsider.get(peer) ?? new Set()
        waiting.add(wtxid)
        toReconsider.set(peer, waiting)
      }
    },
    nextToReconsider(peer) {
      const waiting = toReconsider.get(peer)
      for (const id of waiting ?? []) {
        waiting?.delete(id)
        const orphan = orphans.get(id)
        if (orphan !== undefined) return orphan.tx
      }
      toReconsider.delete(peer)
      return undefined
    },
    childrenFrom: (parent, peer) =>
      [...childrenOf(parent)]
        .filter((orphan) => orphan.peer === peer)
        .sort((a, b) => b.expiresAt - a.expiresAt)
        .map(({ tx }) => tx),
    childrenFromOthers: (parent, peer) =>
      [...childrenOf(parent)].filter((orphan) => orphan.peer !== peer).map(({ tx, peer }) => ({ tx, peer })),
    all: () => [...orphans.values()],
  }
}
