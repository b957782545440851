/**
 * Which transaction to ask of which peer, and when. Bitcoin Core txrequest.{h,cpp}.
 * For every hash at most one request is under way; of several peers that announced it the preferred ones come first, then in an
 * order that nobody can foresee; who does not answer in time loses to the next. An announcement is remembered until a peer
 * has given the transaction, it is no longer wanted, or every peer that announced it has failed.
 */

/** `wtx` is asked by wtxid, `tx` by txid. */
export type TxKind = 'tx' | 'wtx'

type Announcement = {
  readonly peer: number
  readonly hash: string
  readonly kind: TxKind
  readonly preferred: boolean
  /** Order among peers of one preference. */
  readonly priority: number
  state: 'waiting' | 'requested' | 'completed'
  /** Milliseconds: when it may be asked for; once requested, when the answer is late. */
  at: number
}

export type TxRequest = { readonly hash: string; readonly kind: TxKind }

export interface TxRequests {
  /** Notes an announcement, unless this peer made it before. */
  announced(peer: number, hash: string, kind: TxKind, preferred: boolean, notBefore: number): void
  /** What to ask of this peer now. `expired` is told of requests that were not answered in time. */
  requestable(peer: number, now: number, expired?: (peer: number, request: TxRequest) => void): TxRequest[]
  requested(peer: number, hash: string, deadline: number): void
  /** The peer has given the transaction, or said that it has none. */
  answered(peer: number, hash: string): void
  /** Nobody need be asked any more. */
  forget(hash: string): void
  dropPeer(peer: number): void
  /** Announcements of a peer that are kept; requests under way to it. */
  count(peer: number): number
  inFlight(peer: number): number
  readonly size: number
}

/** `random` in [0, 1) decides between peers. */
export const createTxRequests = (random: () => number): TxRequests => {
  const byHash = new Map<string, Map<number, Announcement>>()
  const byPeer = new Map<number, Map<string, Announcement>>()
  const requests = new Map<string, Announcement>()
  const inFlight = new Map<number, number>()
  let size = 0

  const setInFlight = (announcement: Announcement, change: 1 | -1): void => {
    inFlight.set(announcement.peer, (inFlight.get(announcement.peer) ?? 0) + change)
    if (change === 1) requests.set(announcement.hash, announcement)
    else requests.delete(announcement.hash)
  }
  const erase = (announcement: Announcement): void => {
    if (announcement.state === 'requested') setInFlight(announcement, -1)
    const peers = byHash.get(announcement.hash)
    peers?.delete(announcement.peer)
    if (peers?.size === 0) byHash.delete(announcement.hash)
    const hashes = byPeer.get(announcement.peer)
    hashes?.delete(announcement.hash)
    if (hashes?.size === 0) byPeer.delete(announcement.peer)
    size--
  }
  const forget = (hash: string): void => {
    for (const announcement of byHash.get(hash)?.values() ?? []) erase(announcement)
  }
  /** When nobody is left to ask, nothing is left to remember. */
  const complete = (announcement: Announcement): void => {
    const others = [...(byHash.get(announcement.hash)?.values() ?? [])]
    if (others.every((other) => other === announcement || other.state === 'completed')) return forget(announcement.hash)
    if (announcement.state === 'requested') setInFlight(announcement, -1)
    announcement.state = 'completed'
  }
  const isFirst = (announcement: Announcement, now: number): boolean => {
    for (const other of byHash.get(announcement.hash)?.values() ?? []) {
      if (other === announcement || other.state !== 'waiting' || other.at > now) continue
      if (other.preferred !== announcement.preferred ? other.preferred : other.priority > announcement.priority) return false
    }
    return true
  }

  return {
    announced(peer, hash, kind, preferred, notBefore) {
      const hashes = byPeer.get(peer) ?? new Map<string, Announcement>()
      if (hashes.has(hash)) return
      const announcement: Announcement = { peer, hash, kind, preferred, priority: random(), state: 'waiting', at: notBefore }
      hashes.set(hash, announcement)
      byPeer.set(peer, hashes)
      const peers = byHash.get(hash) ?? new Map<number, Announcement>()
      peers.set(peer, announcement)
      byHash.set(hash, peers)
      size++
    },
    requestable(peer, now, expired) {
      // Requests are made in time order and all live equally long, so the late ones come first.
      for (const announcement of requests.values()) {
        if (announcement.at > now) break
        expired?.(announcement.peer, { hash: announcement.hash, kind: announcement.kind })
        complete(announcement)
      }
      const found: TxRequest[] = []
      for (const announcement of byPeer.get(peer)?.values() ?? []) {
        if (announcement.state !== 'waiting' || announcement.at > now || requests.has(announcement.hash)) continue
        if (isFirst(announcement, now)) found.push({ hash: announcement.hash, kind: announcement.kind })
      }
      return found
    },
    requested(peer, hash, deadline) {
      const announcement = byPeer.get(peer)?.get(hash)
      if (announcement?.state !== 'waiting') return
      const other = requests.get(hash)
      if (other !== undefined) {
        setInFlight(other, -1)
        other.state = 'completed'
      }
      announcement.state = 'requested'
      announcement.at = deadline
      setInFlight(announcement, 1)
    },
    answered(peer, hash) {
      const announcement = byPeer.get(peer)?.get(hash)
      if (announcement !== undefined && announcement.state !== 'completed') complete(announcement)
    },
    forget,
    dropPeer(peer) {
      for (const announcement of byPeer.get(peer)?.values() ?? []) {
        complete(announcement)
        if (byPeer.get(peer)?.has(announcement.hash) === true) erase(announcement)
      }
      inFlight.delete(peer)
    },
    count: (peer) => byPeer.get(peer)?.size ?? 0,
    inFlight: (peer) => inFlight.get(peer) ?? 0,
    get size() {
      return size
    },
  }
}
