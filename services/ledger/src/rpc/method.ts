/** What an RPC method is, and what it may use. */
import type { LedgerEngine } from '../engine.ts'
import type { MempoolFileStore } from '../mempool-file.ts'
import type { PeerService } from '../p2p/service.ts'
import type { Arguments } from './call.ts'
import type { Json } from './json.ts'

/** The categories of Bitcoin Core's debug log: while any is on, debug lines are written. */
export type LogCategories = {
  all(): Readonly<Record<string, boolean>>
  /** Whether there is such a category; '', '1' and 'all' are all of them. */
  set(name: string, on: boolean): boolean
}

export type RpcContext = {
  readonly engine: LedgerEngine
  readonly mempoolFile: MempoolFileStore
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Lets the clock stand still at a moment, milliseconds since 1970; 0 lets it run. */
  readonly setTime: (ms: number) => void
  readonly startedAtMs: number
  readonly userAgent: string
  /** Secrets of the keys that sign blocks, where blocks are signed. */
  readonly signers: readonly Uint8Array[]
  readonly peers: PeerService
  /** Ends the process in an orderly way, after the answers under way have left. */
  readonly stop: () => void
  /** Aborted when the process ends: who waits answers at once. */
  readonly stopping: AbortSignal
  /** Where the log is written; '' for nowhere that has a path. */
  readonly logPath: string
  readonly logCategories: LogCategories
  /** What is published over ZeroMQ. */
  readonly zmq: readonly { readonly topic: string; readonly address: string; readonly hwm: number }[]
}

/** While the ledger starts there is only this. */
export type Starting = {
  /** What it is doing, in one sentence. */
  readonly status: () => string
  readonly obeysStop: () => boolean
  readonly stop: () => void
}

/** `since`: milliseconds of the process's steady clock. */
export type ActiveCall = { readonly method: string; readonly since: number }
export type MethodContext = RpcContext & {
  /** The calls under way. */
  readonly active: ReadonlySet<ActiveCall>
  /** A name that the caller's text has twice in the object of an argument, by its place and name. Not found in batches. */
  readonly duplicate: (at: number, name: string) => string | undefined
}

export type Method = {
  /** Parameter names in order: for named arguments and for `help`. */
  readonly params: readonly string[]
  readonly about: string
  run(context: MethodContext, args: Arguments): Json | Promise<Json>
}

export type Methods = { readonly [name: string]: Method }
