/**
 * Whether the other side is still there: ping and pong with their times, and the limits of silence. Bitcoin Core net.cpp
 * (InactivityCheck), net_processing.cpp (MaybeSendPing); BIP 31.
 */
import type { MessageOf } from './message.ts'
import type { PeerState } from './peer.ts'
import { close, note, send, type Peering } from './peering.ts'

const BIP31_VERSION = 60_000
const PING_INTERVAL_MS = 2 * 60_000
/** Longest silence, and longest wait for a pong. */
const TIMEOUT_MS = 20 * 60_000

/** When bytes last went each way, milliseconds, 0 for never. */
export type Traffic = { readonly sentAt: number; readonly receivedAt: number }

/** Whether the peer has had its time to speak. */
const isDue = ({ settings }: Peering, peer: PeerState, now: number): boolean =>
  peer.connectedAt + settings.peerTimeout * 1000 < now

/** Ends the connection of a peer that does not speak. */
export const checkSilence = (peering: Peering, peer: PeerState, { sentAt, receivedAt }: Traffic): void => {
  const now = peering.ports.now()
  if (!isDue(peering, peer, now)) return
  const fail = (text: string): void => {
    note(peering, `${text} peer=${peer.id}`)
    close(peering, peer, text)
  }
  const seconds = (ms: number): number => Math.floor(ms / 1000)
  if (receivedAt === 0 || sentAt === 0) {
    const yes = (at: number): string => (at === 0 ? '0' : '1')
    return fail(`socket no message in first ${peering.settings.peerTimeout} seconds, ${yes(receivedAt)} ${yes(sentAt)}`)
  }
  if (now > sentAt + TIMEOUT_MS) return fail(`socket sending timeout: ${seconds(now - sentAt)}s`)
  if (now > receivedAt + TIMEOUT_MS) return fail(`socket receive timeout: ${seconds(now - receivedAt)}s`)
  if (!peer.ready) return fail('version handshake timeout')
}

/** Pings when it is time or was asked for; ends the connection when the last ping is unanswered for long. */
export const keepAlive = (peering: Peering, peer: PeerState): void => {
  const { ping } = peer
  const now = peering.ports.now()
  if (isDue(peering, peer, now) && ping.nonce !== 0n && now > ping.startedAt + TIMEOUT_MS) {
    note(peering, `ping timeout: ${((now - ping.startedAt) / 1000).toFixed(6)}s peer=${peer.id}`)
    return close(peering, peer, 'no answer to a ping')
  }
  const isTime = ping.nonce === 0n && now > ping.startedAt + PING_INTERVAL_MS
  if (!ping.queued && !isTime) return
  ping.queued = false
  ping.startedAt = now
  if (peer.commonVersion <= BIP31_VERSION)
    return send(peering, peer, { type: 'raw', command: 'ping', payload: new Uint8Array(0) })
  let nonce = peering.ports.freshNonce()
  if (nonce === 0n) nonce = 1n
  ping.nonce = nonce
  send(peering, peer, { type: 'ping', nonce })
}

export const receivePing = (peering: Peering, peer: PeerState, { nonce }: MessageOf<'ping'>): void => {
  if (peer.commonVersion > BIP31_VERSION) send(peering, peer, { type: 'pong', nonce })
}

/** `nonce` undefined: the pong was too short to hold one, and ends the wait as well. `size` in bytes. */
export const receivePong = (peering: Peering, peer: PeerState, nonce: bigint | undefined, size: number): void => {
  const { ping } = peer
  const expected = ping.nonce
  let problem = ''
  let finished = false
  if (nonce === undefined) {
    problem = 'Short payload'
    finished = true
  } else if (expected === 0n) problem = 'Unsolicited pong without ping'
  else if (nonce === expected) {
    finished = true
    const time = peering.ports.now() - ping.startedAt
    if (time >= 0) {
      ping.last = time
      ping.least = Math.min(ping.least ?? Infinity, time)
    } else problem = 'Timing mishap'
  } else {
    problem = nonce === 0n ? 'Nonce zero' : 'Nonce mismatch'
    finished = nonce === 0n
  }
  const hex = (n: bigint | undefined): string => (n ?? 0n).toString(16)
  if (problem !== '')
    note(peering, `pong peer=${peer.id}: ${problem}, ${hex(expected)} expected, ${hex(nonce)} received, ${size} bytes`)
  if (finished) ping.nonce = 0n
}
