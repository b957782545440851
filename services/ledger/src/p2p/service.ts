/** What the rest of the ledger sees of its peers, and what they are started with. */
import type { BlockHash, Tx } from '@leyden/bitcoin'
import type { ConnectionType, PeerState, Subnet } from '@leyden/p2p'
import type { Clock, Log, Random } from '@leyden/runtime'
import type { LedgerEngine } from '../engine.ts'
import type { HostAndPort } from '../listen.ts'
import type { Book } from './book.ts'
import type { BufferLimits, PeerConnection } from './connection.ts'
import type { Grants } from './permissions.ts'
import type { UploadState } from './upload.ts'

export type PeerServiceOptions = {
  readonly engine: LedgerEngine
  readonly clock: Clock
  readonly random: Random
  readonly datadir: string
  /** Where to listen; the first tells the port. */
  readonly addresses: readonly HostAndPort[]
  readonly listen: boolean
  readonly userAgent: string
  readonly maxConnections: number
  readonly maxUploadBytes: number
  readonly peerTimeout: number
  readonly dialTimeoutMs: number
  readonly maxOrphans: number
  readonly blocksOnly: boolean
  readonly minimumWork: bigint
  readonly maxTipAge: number
  readonly grants: Grants
  readonly buffers: BufferLimits
  /** Find peers in the address book. */
  readonly usesAddressBook: boolean
  readonly usesSeeds: boolean
  /** Write all messages of peers into files below the data directory. */
  readonly capturesMessages: boolean
  readonly isNetworkActive: boolean
  /** The same address book buckets everywhere: for tests. */
  readonly deterministicBook: boolean
  readonly cjdns: boolean
  readonly banSeconds: number
  /** Give block filters to light clients, where their index is kept. */
  readonly servesFilters: boolean
  readonly log: Log
}

/** One peer, for those who ask. */
export type PeerView = { readonly state: PeerState; readonly connection: PeerConnection; readonly network: string }

export interface PeerService {
  readonly port: number
  readonly book: Book
  readonly services: bigint
  readonly cjdns: boolean
  readonly blocksOnly: boolean
  /** How long a ban lasts that says nothing else. */
  readonly banSeconds: number
  peers(): readonly PeerView[]
  /** Dials once; nothing when it is connected already. Rejects when nobody answers, and with RangeError on a bad name. */
  connect(name: string, type: ConnectionType): Promise<void>
  /** Whether one more connection of a type may be made. */
  hasPlace(type: ConnectionType): boolean
  /** Stays connected to a peer from now on; false when it does already. */
  add(name: string): boolean
  remove(name: string): boolean
  added(): readonly { readonly name: string; readonly connectedTo: string | undefined }[]
  disconnectByName(name: string): boolean
  disconnectById(id: number): boolean
  disconnectSubnet(subnet: Subnet): void
  setActive(active: boolean): void
  isActive(): boolean
  /** Far behind, for all that is known. */
  isInitialDownload(): boolean
  /** Lets every peer be pinged. */
  ping(): void
  /** Bytes since the start. */
  traffic(): { readonly received: number; readonly sent: number }
  upload(): UploadState
  /** Sends any bytes as a message: for tests. False: no such peer. */
  sendRaw(id: number, command: string, payload: Uint8Array): boolean
  /** Asks one peer for a block whose header we have. Why not, in Bitcoin Core's words. */
  fetchBlock(id: number, hash: BlockHash): string | undefined
  /** Seconds: the middle of what outbound peers' clocks differ from ours. */
  timeOffset(): number
  /** Brings the next announcement of what nobody has asked for yet nearer: for tests. */
  hasten(seconds: number): void
  orphans(): readonly { readonly tx: Tx; readonly peer: number }[]
  close(): Promise<void>
}
