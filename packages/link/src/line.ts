/** One transport connection as both ends of a link see it: whole messages in, whole messages out. The sockets are a service's. */

/** What a session may do with its connection. */
export interface Line {
  send(frame: Uint8Array): void
  /** Ends the connection. Whether or not `closed` is called afterwards makes no difference. */
  close(reason: string): void
}

/** What the owner of the connection tells the session. */
export interface LineEnd {
  receive(frame: Uint8Array): void
  /** The connection is gone. */
  closed(reason: string): void
}

/** Timers, in the shape of the runtime's clock port. */
export interface LinkClock {
  setTimer(delayMs: number, fn: () => void): () => void
}

/** Each end pings this often; who hears nothing for SILENCE_MS closes. */
export const HEARTBEAT_MS = 10_000
export const SILENCE_MS = 30_000

/** Pings the other end and notices its silence. */
export const startHeartbeat = (clock: LinkClock, ping: () => void, silent: () => void) => {
  let quietMs = 0
  let cancel: () => void
  const beat = (): void => {
    quietMs += HEARTBEAT_MS
    if (quietMs > SILENCE_MS) return silent()
    ping()
    cancel = clock.setTimer(HEARTBEAT_MS, beat)
  }
  cancel = clock.setTimer(HEARTBEAT_MS, beat)
  return {
    heard: (): void => {
      quietMs = 0
    },
    stop: (): void => cancel(),
  }
}
