/**
 * Setup, control and peer storage messages.
 * BOLT 1 § Setup Messages, § Control Messages, § Peer storage.
 * Features stay bytes here: features.ts gives them meaning. So does the text of errors: it is the peer's, see `printable`.
 */
import { bytes, type Infer, message, restArray, restBytes, sized, u16 } from '@leyden/codec'
import { channelId } from './primitives.ts'

/** What fits after type and a two-byte length in 65535 bytes. */
const MAX_BLOB = 65_531

/** BOLT 1 § The init Message. */
export const init = message(
  16,
  'init',
  { globalfeatures: sized(u16, MAX_BLOB), features: sized(u16, MAX_BLOB) },
  { networks: [1, restArray(bytes(32))], remoteAddr: [3, restBytes] },
)
export type Init = Infer<typeof init>

/** BOLT 1 § The error and warning Messages. The channels it names have failed. */
export const error = message(17, 'error', { channelId, data: sized(u16, MAX_BLOB - 32) })
export type ErrorMessage = Infer<typeof error>

/** BOLT 1 § The error and warning Messages. */
export const warning = message(1, 'warning', { channelId, data: sized(u16, MAX_BLOB - 32) })
export type Warning = Infer<typeof warning>

/** BOLT 1 § The ping and pong Messages. */
export const ping = message(18, 'ping', { numPongBytes: u16, ignored: sized(u16, MAX_BLOB - 2) })
export type Ping = Infer<typeof ping>

/** BOLT 1 § The ping and pong Messages. */
export const pong = message(19, 'pong', { ignored: sized(u16, MAX_BLOB) })
export type Pong = Infer<typeof pong>

/** BOLT 1 § Peer storage. */
export const peerStorage = message(7, 'peer_storage', { blob: sized(u16, MAX_BLOB) })
export type PeerStorage = Infer<typeof peerStorage>

/** BOLT 1 § Peer storage. */
export const peerStorageRetrieval = message(9, 'peer_storage_retrieval', { blob: sized(u16, MAX_BLOB) })
export type PeerStorageRetrieval = Infer<typeof peerStorageRetrieval>

/** Longest text of a peer that we show. */
const MAX_SHOWN = 512

/**
 * A peer's words made safe to log or show: printable ASCII as it is, everything else (line breaks, escapes, bidirectional marks) as `?`,
 * at most 512 characters. BOLT 1 forbids to print them verbatim.
 */
export const printable = (data: Uint8Array): string => {
  let text = ''
  for (const byte of data.subarray(0, MAX_SHOWN)) text += byte >= 32 && byte <= 126 ? String.fromCharCode(byte) : '?'
  return data.length > MAX_SHOWN ? `${text}...` : text
}
