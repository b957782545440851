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
}

export type RpcContext = {
  readonly engine: LedgerEngine
  /** Milliseconds since 1970. */
  readonly now: () => number
  readonly startedAtMs: number
  readonly userAgent: string
  readonly peers: () => readonly PeerInfo[]
  /** Connects to `host:port` and keeps trying; or once. */
  readonly connectPeer: (address: string, once: boolean) => Promise<void>
  readonly disconnectPeer: (address: string) => boolean
  /** Ends the process in an orderly way, after the answer has left. */
  readonly stop: () => void
}

export type Method = {
  /** Parameter names in order: for named arguments and for `help`. */
  readonly params: readonly string[]
  readonly about: string
  run(context: RpcContext, args: Arguments): Json | Promise<Json>
}

export type Methods = { readonly [name: string]: Method }
