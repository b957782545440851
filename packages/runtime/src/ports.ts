/**
 * What a node takes from the world, as ports: time, randomness and byte streams. Services give real ones, sim/ gives seeded ones.
 * The store port is in store/port.ts.
 */

/** Ends a timer or a subscription; calling it again does nothing. */
export type Cancel = () => void

/** Time in milliseconds since 1970, and timers. */
export interface Clock {
  now(): number
  /** Calls `fn` once, at least `delayMs` from now, never from within this call. */
  setTimer(delayMs: number, fn: () => void): Cancel
}

/** Randomness for keys, nonces and ids: unpredictable outside of a simulation. */
export interface Random {
  bytes(length: number): Uint8Array
}

/** A stream of bytes in both directions, in order, without message borders: what is sent may arrive split or joined. */
export interface Connection {
  /** Who is at the other end, for logs and limits; proves nothing. */
  readonly remoteAddress: string
  /** Bytes taken by `send` that have not left yet: a sender that sees it grow stops sending. */
  readonly bufferedBytes: number
  /** Takes all the bytes; they must not be changed afterwards. After a close it does nothing. */
  send(bytes: Uint8Array): void
  /** One receiver. What came before it was set is kept for it; it is never called from within this call. */
  onData(fn: (bytes: Uint8Array) => void): void
  /** One receiver, called once, after the last data, when either end closed or the line broke. Also when that is already so. */
  onClose(fn: (reason: string) => void): void
  /** Sends what is buffered, then closes. */
  close(): void
}

/** Waits for connections until closed. Connections that it gave stay open. */
export interface Listener {
  readonly address: string
  close(): Promise<void>
}

/** Makes connections. Addresses are `host:port`. */
export interface Net {
  /** Resolves when others can dial. Rejects when the address cannot be had. */
  listen(address: string, onConnection: (connection: Connection) => void): Promise<Listener>
  /** Rejects when nobody answers there. */
  dial(address: string): Promise<Connection>
}
