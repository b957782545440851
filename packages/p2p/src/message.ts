/**
 * Messages of Bitcoin's P2P protocol, version 70016, as codecs. Bitcoin Core protocol.h, net_processing.cpp; BIP 31, 35, 130, 133,
 * 144, 152 (sendcmpct alone), 155, 157, 339. Only what this node says or acts on; any other command is `unknown`.
 * Every list has the cap that Bitcoin Core enforces: over it nothing is read, and `count` tells how many were claimed.
 */
import {
  array,
  bytes,
  compactSize,
  DecodeError,
  map,
  Reader,
  sized,
  struct,
  u16,
  u32le,
  u64le,
  u8,
  utf8Encode,
} from '@leyden/codec'
import { Writer, type Codec, type Infer } from '@leyden/codec'
import { blockCodec, BlockHash, hashFromHex, hashToHex, headerCodec, txCodec, type BlockHeader } from '@leyden/bitcoin'
import { addressesV1, addressesV2 } from './address-codec.ts'

export const PROTOCOL_VERSION = 70_016
/** BIP 339 needs it of both sides; with it comes addrv2 (BIP 155). */
export const WTXID_RELAY_VERSION = 70_016

/** Service bits that a node announces. */
export const SERVICE = { network: 1n, bloom: 4n, witness: 8n, compactFilters: 64n, networkLimited: 1024n, v2: 2048n } as const

/** Kinds of inventory. */
export const INV = { tx: 1, block: 2, wtx: 5, witnessTx: 0x4000_0001, witnessBlock: 0x4000_0002 } as const
/** Kinds that are asked for, and never announced. */
const FILTERED_BLOCK = 3
const COMPACT_BLOCK = 4
const INV_NAMES: Readonly<Record<number, string>> = {
  [INV.tx]: 'tx',
  [INV.wtx]: 'wtx',
  [INV.block]: 'block',
  [INV.witnessTx]: 'witness-tx',
  [INV.witnessBlock]: 'witness-block',
  [FILTERED_BLOCK]: 'merkleblock',
  [COMPACT_BLOCK]: 'cmpctblock',
}

export const MAX_INV = 50_000
export const MAX_HEADERS = 2000
export const MAX_LOCATOR = 101
const MAX_USER_AGENT = 256

const hash: Codec<string> = map(bytes(32), hashToHex, hashFromHex)
const blockHash: Codec<BlockHash> = map(hash, BlockHash, (value) => value)

const netAddress = struct({ services: u64le, ip: bytes(16), port: u16 })

/** What is shown of texts that a stranger chose. */
const UNSAFE = /[^A-Za-z0-9 .,;\-_/:?@()]/g

const readUserAgent = (reader: Reader): string => {
  const length = compactSize.decode(reader)
  if (length > MAX_USER_AGENT) throw new DecodeError('too_large', `user agent of ${length} bytes`)
  return Array.from(reader.bytes(length), (byte) => String.fromCharCode(byte))
    .join('')
    .replaceAll(UNSAFE, '')
}

export type Version = {
  readonly version: number
  readonly services: bigint
  /** Seconds since 1970, signed 64 bits as unsigned. */
  readonly time: bigint
  readonly receiver: Infer<typeof netAddress>
  readonly sender: Infer<typeof netAddress>
  readonly nonce: bigint
  readonly userAgent: string
  readonly startHeight: number
  /** False: tell me of no transactions. */
  readonly relay: boolean
}

const NO_ADDRESS = { services: 0n, ip: new Uint8Array(16), port: 0 }

/** What old versions left out at the end has a default. What follows is of a later version and skipped. */
const version: Codec<Version> = {
  encode(writer, value) {
    writer.u32le(value.version)
    writer.u64le(value.services)
    writer.u64le(value.time)
    netAddress.encode(writer, value.receiver)
    netAddress.encode(writer, value.sender)
    writer.u64le(value.nonce)
    const agent = utf8Encode(value.userAgent)
    compactSize.encode(writer, agent.length)
    writer.bytes(agent)
    writer.i32le(value.startHeight)
    writer.u8(value.relay ? 1 : 0)
  },
  decode(reader) {
    const head = { version: reader.i32le(), services: reader.u64le(), time: reader.u64le(), receiver: netAddress.decode(reader) }
    const rest =
      reader.remaining === 0 ? { sender: NO_ADDRESS, nonce: 1n } : { sender: netAddress.decode(reader), nonce: reader.u64le() }
    const userAgent = reader.remaining === 0 ? '' : readUserAgent(reader)
    const startHeight = reader.remaining === 0 ? -1 : reader.i32le()
    const relay = reader.remaining === 0 || reader.u8() !== 0
    reader.rest()
    return { ...head, ...rest, userAgent, startHeight, relay }
  },
}

const nothing: Codec<object> = {
  encode: () => undefined,
  decode: (reader) => {
    reader.rest()
    return {}
  },
}

/** A list that nobody reads when it claims to be longer than the protocol allows. */
const limited = <T>(item: Codec<T>, max: number): Codec<{ readonly items: readonly T[]; readonly count?: number }> => ({
  encode(writer, { items }) {
    compactSize.encode(writer, items.length)
    for (const one of items) item.encode(writer, one)
  },
  decode(reader) {
    const count = compactSize.decode(reader)
    if (count > max) {
      reader.rest()
      return { items: [], count }
    }
    const items: T[] = []
    for (let i = 0; i < count; i++) items.push(item.decode(reader))
    return { items }
  },
})

const invItem = struct({ kind: u32le, hash })
const inventory = limited(invItem, MAX_INV)

/** The hashes of a list that is too long come without them, and with their `count`. */
const locator: Codec<{
  readonly version: number
  readonly hashes: readonly BlockHash[]
  readonly stop: BlockHash
  readonly count?: number
}> = {
  encode(writer, { version, hashes, stop }) {
    writer.u32le(version)
    limited(blockHash, MAX_LOCATOR).encode(writer, { items: hashes })
    blockHash.encode(writer, stop)
  },
  decode(reader) {
    const version = reader.u32le()
    const { items, count } = limited(blockHash, MAX_LOCATOR).decode(reader)
    if (count !== undefined) return { version, hashes: [], stop: BlockHash('00'.repeat(32)), count }
    return { version, hashes: items, stop: blockHash.decode(reader) }
  },
}

/** A header in a list is followed by a transaction count, always zero. */
const listedHeader: Codec<BlockHeader> = {
  encode(writer, header) {
    headerCodec.encode(writer, header)
    compactSize.encode(writer, 0)
  },
  decode(reader) {
    const header = headerCodec.decode(reader)
    compactSize.decode(reader)
    return header
  },
}

const headers: Codec<{ readonly headers: readonly BlockHeader[]; readonly count?: number }> = {
  encode: (writer, value) => limited(listedHeader, MAX_HEADERS).encode(writer, { items: value.headers }),
  decode(reader) {
    const { items, count } = limited(listedHeader, MAX_HEADERS).decode(reader)
    return count === undefined ? { headers: items } : { headers: items, count }
  },
}

const ping = struct({ nonce: u64le })

const filterHash = bytes(32)
const filterRange = struct({ filterType: u8, startHeight: u32le, stop: blockHash })
/** So many filter headers, or hashes of filters, may come in one message. */
const MAX_FILTER_HASHES = 2000
const MAX_CHECKPOINTS = 100_000

const codecs = {
  version,
  verack: nothing,
  wtxidrelay: nothing,
  sendaddrv2: nothing,
  sendheaders: nothing,
  sendcmpct: struct({
    highBandwidth: map(
      u8,
      (n) => n !== 0,
      (value) => (value ? 1 : 0),
    ),
    version: u64le,
  }),
  ping,
  pong: ping,
  addr: addressesV1,
  addrv2: addressesV2,
  getaddr: nothing,
  inv: inventory,
  getdata: inventory,
  notfound: inventory,
  getheaders: locator,
  getblocks: locator,
  headers,
  block: struct({ block: blockCodec }),
  tx: struct({ tx: txCodec }),
  feefilter: struct({ feeratePerKvb: u64le }),
  mempool: nothing,
  getcfilters: filterRange,
  getcfheaders: filterRange,
  getcfcheckpt: struct({ filterType: u8, stop: blockHash }),
  cfilter: struct({ filterType: u8, block: blockHash, filter: sized(compactSize, 4_000_000) }),
  cfheaders: struct({
    filterType: u8,
    stop: blockHash,
    previous: filterHash,
    hashes: array(filterHash, compactSize, MAX_FILTER_HASHES),
  }),
  cfcheckpt: struct({ filterType: u8, stop: blockHash, headers: array(filterHash, compactSize, MAX_CHECKPOINTS) }),
} as const

type Codecs = typeof codecs
export type Command = keyof Codecs
type Bodies = { readonly [C in Command]: { readonly type: C } & Infer<Codecs[C]> }

/** A message, by its command. */
export type Message = Bodies[Command] | { readonly type: 'unknown'; readonly command: string }
export type KnownMessage = Bodies[Command]
/** What is sent: a message, or bytes that are one already. */
export type Outgoing = KnownMessage | { readonly type: 'raw'; readonly command: string; readonly payload: Uint8Array }
export type InvItem = Infer<typeof invItem>
/** The message of one command. */
export type MessageOf<C extends Command> = Bodies[C]

export const commandOf = (message: Outgoing): string => (message.type === 'raw' ? message.command : message.type)

const isCommand = (command: string): command is Command => Object.hasOwn(codecs, command)

/** `wtx 00..`, as logs show it. */
export const invText = ({ kind, hash }: InvItem): string =>
  `${INV_NAMES[kind] ?? `0x${kind.toString(16).padStart(8, '0')}`} ${hash}`

/** Whether a kind is of a transaction. */
export const isTxKind = (kind: number): boolean => kind === INV.tx || kind === INV.wtx || kind === INV.witnessTx
/** Whether a kind is of a block, in any form. */
export const isBlockKind = (kind: number): boolean =>
  kind === INV.block || kind === INV.witnessBlock || kind === COMPACT_BLOCK || kind === FILTERED_BLOCK
/** Whether a block is asked for with its witnesses: a compact one is answered by a whole one. */
export const isWitnessBlockKind = (kind: number): boolean => kind === INV.witnessBlock || kind === COMPACT_BLOCK

/** Payload of a message. */
export const encodePayload = (message: Outgoing): Uint8Array => {
  if (message.type === 'raw') return message.payload
  const writer = new Writer()
  ;(codecs[message.type] as Codec<unknown>).encode(writer, message)
  return writer.finish()
}

/** Message of a command and its payload. Bytes after its end are of a later version. Throws {@link DecodeError}. */
export const decodePayload = (command: string, payload: Uint8Array): Message => {
  if (!isCommand(command)) return { type: 'unknown', command }
  const body = (codecs[command] as Codec<object>).decode(new Reader(payload))
  return { type: command, ...body } as Message
}
