/**
 * What travels between the two ends of a link: packed records, one to a message of the transport (a WebSocket message).
 * Blocks and transactions inside are their consensus bytes. Version 1. A frame of an unknown type or form ends the session.
 * Every list and every frame has a cap; the record walker of codec checks lengths before anything is allocated.
 */
import {
  type Block,
  BlockHash,
  BlockHeight,
  decodeBlock,
  decodeTx,
  encodeBlock,
  encodeTx,
  FeeratePerKw,
  Sat,
  type Tx,
  Txid,
} from '@leyden/bitcoin'
import { DecodeError, packRecord, unpackRecord, unreachable } from '@leyden/codec'
import {
  type BroadcastResult,
  type ChainCursor,
  FEE_TARGETS,
  type FeeEstimates,
  type FeeTarget,
  type FoundOutput,
  type OutputPosition,
  RECENT_BLOCKS,
} from './contract.ts'

export const LINK_VERSION = 1

/** A block has at most 4,000,000 bytes (BIP 141); the rest is ours. Also bounds what a client may send. */
export const MAX_FRAME_BYTES = 4_500_000
/** Bitcoin Core's MAX_PACKAGE_COUNT: the most transactions in one broadcast. */
export const MAX_PACKAGE = 25
/** Blocks below the cursor in one hello. */
export const MAX_RECENT = 2 * RECENT_BLOCKS
const MAX_TEXT = 1000

/** From the client. `cursor` undefined: begin at the present tip. `seq` counts the events of one session from 1. */
export type ClientFrame =
  | {
      readonly type: 'hello'
      readonly version: number
      readonly genesis: BlockHash
      readonly cursor: ChainCursor | undefined
      readonly recent: readonly ChainCursor[]
    }
  | { readonly type: 'ack'; readonly seq: number }
  | { readonly type: 'ping' }
  | { readonly type: 'broadcast'; readonly id: number; readonly transactions: readonly Tx[] }
  | { readonly type: 'fees'; readonly id: number }
  | { readonly type: 'findOutput'; readonly id: number; readonly position: OutputPosition }

/** From the server. After `refused` it closes. */
export type ServerFrame =
  | { readonly type: 'welcome'; readonly version: number }
  | { readonly type: 'refused'; readonly reason: string }
  | { readonly type: 'ping' }
  | { readonly type: 'blockConnected'; readonly seq: number; readonly height: BlockHeight; readonly block: Block }
  | {
      readonly type: 'blockDisconnected'
      readonly seq: number
      readonly height: BlockHeight
      readonly hash: BlockHash
      readonly previous: BlockHash
    }
  | { readonly type: 'transactionSeen'; readonly seq: number; readonly tx: Tx }
  | { readonly type: 'synced'; readonly seq: number; readonly tip: ChainCursor }
  | { readonly type: 'away'; readonly seq: number; readonly reason: string }
  | { readonly type: 'back'; readonly seq: number }
  | { readonly type: 'broadcastResult'; readonly id: number; readonly result: BroadcastResult }
  | { readonly type: 'feesResult'; readonly id: number; readonly fees: FeeEstimates }
  | { readonly type: 'findOutputResult'; readonly id: number; readonly found: FoundOutput | undefined }
  | { readonly type: 'failed'; readonly id: number; readonly reason: string }

type Packed = { readonly [name: string]: unknown }

const bad = (detail: string): never => {
  throw new DecodeError('invalid', `link frame: ${detail}`)
}
const object = (value: unknown): Packed =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
    ? (value as Packed)
    : bad('not an object')
const count = (value: unknown): number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : bad('not a count')
const text = (value: unknown): string => (typeof value === 'string' && value.length <= MAX_TEXT ? value : bad('not a short text'))
const flag = (value: unknown): boolean => (typeof value === 'boolean' ? value : bad('not a flag'))
const raw = (value: unknown): Uint8Array => (value instanceof Uint8Array ? value : bad('not bytes'))
const list = (value: unknown, most: number): readonly unknown[] =>
  Array.isArray(value) && value.length <= most ? (value as readonly unknown[]) : bad(`not a list of at most ${most}`)
/** A constructor of a unit throws RangeError on what it does not take. */
const checked = <T>(make: () => T): T => {
  try {
    return make()
  } catch (error) {
    if (error instanceof RangeError) return bad(error.message)
    throw error
  }
}
const heightOf = (value: unknown): BlockHeight => checked(() => BlockHeight(count(value)))
const hashOf = (value: unknown): BlockHash => checked(() => BlockHash(text(value)))
const cursorOf = (value: unknown): ChainCursor => {
  const { height, hash } = object(value)
  return { height: heightOf(height), hash: hashOf(hash) }
}
const feerateOf = (value: unknown): FeeratePerKw => checked(() => FeeratePerKw(count(value)))

const feesOf = (value: unknown): FeeEstimates => {
  const { feeratePerKw, minimumFeeratePerKw } = object(value)
  const byTarget = object(feeratePerKw)
  const rates = Object.fromEntries(FEE_TARGETS.map((target) => [target, feerateOf(byTarget[target])]))
  return { feeratePerKw: rates as { [target in FeeTarget]: FeeratePerKw }, minimumFeeratePerKw: feerateOf(minimumFeeratePerKw) }
}
const resultOf = (value: unknown): BroadcastResult => {
  const { ok, reason, permanent } = object(value)
  return flag(ok) ? { ok: true } : { ok: false, reason: text(reason), permanent: flag(permanent) }
}
const foundOf = (value: unknown): FoundOutput | undefined => {
  if (value === undefined) return undefined
  const { txid, vout, value: sat, scriptPubKey, unspent } = object(value)
  return checked(() => ({
    outpoint: { txid: Txid(text(txid)), vout: count(vout) },
    output: { value: Sat(typeof sat === 'bigint' ? sat : bad('not an amount')), scriptPubKey: raw(scriptPubKey) },
    unspent: flag(unspent),
  }))
}
const packFound = (found: FoundOutput | undefined): unknown =>
  found && { ...found.outpoint, value: found.output.value, scriptPubKey: found.output.scriptPubKey, unspent: found.unspent }

const open = (bytes: Uint8Array): Packed => {
  if (bytes.length > MAX_FRAME_BYTES) throw new DecodeError('too_large', `link frame of ${bytes.length} bytes`)
  return object(unpackRecord(bytes))
}

export const encodeClientFrame = (frame: ClientFrame): Uint8Array =>
  packRecord(frame.type === 'broadcast' ? { ...frame, transactions: frame.transactions.map(encodeTx) } : frame)

/** Throws {@link DecodeError}. */
export const decodeClientFrame = (bytes: Uint8Array): ClientFrame => {
  const frame = open(bytes)
  switch (frame['type']) {
    case 'hello':
      return {
        type: 'hello',
        version: count(frame['version']),
        genesis: hashOf(frame['genesis']),
        cursor: frame['cursor'] === undefined ? undefined : cursorOf(frame['cursor']),
        recent: list(frame['recent'], MAX_RECENT).map(cursorOf),
      }
    case 'ack':
      return { type: 'ack', seq: count(frame['seq']) }
    case 'ping':
      return { type: 'ping' }
    case 'broadcast': {
      const transactions = list(frame['transactions'], MAX_PACKAGE).map((tx) => decodeTx(raw(tx)))
      return { type: 'broadcast', id: count(frame['id']), transactions }
    }
    case 'fees':
      return { type: 'fees', id: count(frame['id']) }
    case 'findOutput': {
      const { height, transactionIndex, vout } = object(frame['position'])
      const position = { height: heightOf(height), transactionIndex: count(transactionIndex), vout: count(vout) }
      return { type: 'findOutput', id: count(frame['id']), position }
    }
    default:
      return bad('unknown type')
  }
}

export const encodeServerFrame = (frame: ServerFrame): Uint8Array => {
  switch (frame.type) {
    case 'blockConnected':
      return packRecord({ ...frame, block: encodeBlock(frame.block) })
    case 'transactionSeen':
      return packRecord({ ...frame, tx: encodeTx(frame.tx) })
    case 'findOutputResult':
      return packRecord({ ...frame, found: packFound(frame.found) })
    case 'away':
    case 'back':
    case 'blockDisconnected':
    case 'broadcastResult':
    case 'failed':
    case 'feesResult':
    case 'ping':
    case 'refused':
    case 'synced':
    case 'welcome':
      return packRecord(frame)
    default:
      return unreachable(frame)
  }
}

/** Throws {@link DecodeError}. */
export const decodeServerFrame = (bytes: Uint8Array): ServerFrame => {
  const frame = open(bytes)
  const seq = (): number => count(frame['seq'])
  const id = (): number => count(frame['id'])
  switch (frame['type']) {
    case 'welcome':
      return { type: 'welcome', version: count(frame['version']) }
    case 'refused':
      return { type: 'refused', reason: text(frame['reason']) }
    case 'ping':
      return { type: 'ping' }
    case 'blockConnected':
      return { type: 'blockConnected', seq: seq(), height: heightOf(frame['height']), block: decodeBlock(raw(frame['block'])) }
    case 'blockDisconnected':
      return {
        type: 'blockDisconnected',
        seq: seq(),
        height: heightOf(frame['height']),
        hash: hashOf(frame['hash']),
        previous: hashOf(frame['previous']),
      }
    case 'transactionSeen':
      return { type: 'transactionSeen', seq: seq(), tx: decodeTx(raw(frame['tx'])) }
    case 'synced':
      return { type: 'synced', seq: seq(), tip: cursorOf(frame['tip']) }
    case 'away':
      return { type: 'away', seq: seq(), reason: text(frame['reason']) }
    case 'back':
      return { type: 'back', seq: seq() }
    case 'broadcastResult':
      return { type: 'broadcastResult', id: id(), result: resultOf(frame['result']) }
    case 'feesResult':
      return { type: 'feesResult', id: id(), fees: feesOf(frame['fees']) }
    case 'findOutputResult':
      return { type: 'findOutputResult', id: id(), found: foundOf(frame['found']) }
    case 'failed':
      return { type: 'failed', id: id(), reason: text(frame['reason']) }
    default:
      return bad('unknown type')
  }
}
