/** The log port: structured lines, as pino writes them. Never a secret, never a preimage, never a peer's text unsanitised (S70). */
export interface Log {
  debug(data: object, message: string): void
  info(data: object, message: string): void
  warn(data: object, message: string): void
  error(data: object, message: string): void
}

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }

const MAX_PEER_TEXT = 200

/** Text from a peer, fit for a log or an answer: printable ASCII, one line, at most 200 characters. */
export const printable = (bytes: Uint8Array): string => {
  let out = ''
  for (const byte of bytes.subarray(0, MAX_PEER_TEXT)) out += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '?'
  return out
}
