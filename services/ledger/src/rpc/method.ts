/** What an RPC method is, and what it may use. */
import type { LedgerEngine } from '../engine.ts'
import type { Arguments } from './call.ts'
import type { Json } from './json.ts'

/** A peer as getpeerinfo shows it. */
export type PeerInfo = {
  readonly id: number
  readonly address: string
  readonly inbound: boolean
  readonly version: number
  readonly userAgent: string
  readonly startHeight: number
  readonly connectedAt: number
  readonly services: bigint
  readonly relaysTransactions: boolean
  /** Milliseconds since 1970, 0 for never. */
  readonly lastSentAt: number
  readonly lastReceivedAt: number
  /** When it last gave us one that we took. */
  readonly lastTransactionAt: number
  readonly lastBlockAt: number
  readonly bytesSent: number
  readonly bytesReceived: number
  /** Height of the best header that we know of its chain, -1 for none. */
  readonly syncedHeaders: number
  /** Height up to which its chain is ours, -1 when unknown. */
  readonly syncedBlocks: number
}

export type AddedPeer = { readonly address: string; readonly connected: boolean }

/** The categories of Bitcoin Core's debug log: while any is on, debug lines are written. */
export type LogCategories = {
  all(): Readonly<Record<string, boolean>>
  /** Whether there is such a category; '', '1' and 'all' are all of them. */
  set(name: string, on: boolean): boolean
}

export type RpcContext = {
  readonly engine: LedgerEngine
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Lets the clock stand still at a moment, milliseconds since 1970; 0 lets it run. */
  readonly setTime: (ms: number) => void
  readonly startedAtMs: number
  readonly userAgent: string
  readonly peers: () => readonly PeerInfo[]
  /** Connects to `host:port` and keeps trying; or once. */
  readonly connectPeer: (address: string, once: boolean) => Promise<void>
  readonly disconnectPeer: (address: string) => boolean
  readonly disconnectPeerById: (id: number) => boolean
  /** Those that we keep trying to reach. */
  readonly addedPeers: () => readonly AddedPeer[]
  readonly pingPeers: () => void
  /** Bytes since the start. */
  readonly traffic: () => { readonly received: number; readonly sent: number }
  /** Ends the process in an orderly way, after the answers under way have left. */
  readonly stop: () => void
  /** Aborted when the process ends: who waits answers at once. */
  readonly stopping: AbortSignal
  /** Where the log is written; '' for nowhere that has a path. */
  readonly logPath: string
  readonly logCategories: LogCategories
}

/** `since`: milliseconds of the process's steady clock. */
export type ActiveCall = { readonly method: string; readonly since: number }
/** `active`: the calls under way. */
export type MethodContext = RpcContext & { readonly active: ReadonlySet<ActiveCall> }

export type Method = {
  /** Parameter names in order: for named arguments and for `help`. */
  readonly params: readonly string[]
  readonly about: string
  run(context: MethodContext, args: Arguments): Json | Promise<Json>
}

export type Methods = { readonly [name: string]: Method }
