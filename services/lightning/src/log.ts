/** The log port: structured lines, as pino writes them. Never a secret, a preimage, or a text of a peer that lnwire has not sanitised (S70). */
export interface Log {
  debug(data: object, message: string): void
  info(data: object, message: string): void
  warn(data: object, message: string): void
  error(data: object, message: string): void
}

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }
