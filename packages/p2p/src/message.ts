/**
 * Messages of Bitcoin's P2P protocol, version 70016, as codecs. Bitcoin Core protocol.h, net_processing.cpp; BIP 31, 35, 130, 133,
 * 144, 339. Only what this node says or acts on; any other command is `unknown` and ignored, as the protocol wants.
 * Every list has the cap that Bitcoin Core enforces.
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
  utf8Encode,
  Writer,
  type Codec,
  type Infer,
} from '@leyden/codec'
import { blockCodec, BlockHash, hashFromHex, hashToHex, headerCodec, txCodec, type BlockHeader } from '@leyden/bitcoin'

export const PROTOCOL_VERSION = 70_016
/** BIP 339 needs it of both sides. */
export const WTXID_RELAY_VERSION = 70_016

/** Service bits that a node announces. */
export const SERVICE = { network: 1n, witness: 8n, networkLimited: 1024n } as const

/** Kinds of inventory. */
export const INV = { tx: 1, block: 2, wtx: 5, witnessTx: 0x4000_0001, witnessBlock: 0x4000_0002 } as const

export const MAX_INV = 50_000
export const MAX_HEADERS = 2000
const MAX_LOCATOR = 101
const MAX_USER_AGENT = 256

const hash: Codec<string> = map(bytes(32), hashToHex, hashFromHex)
const blockHash: Codec<BlockHash> = map(hash, BlockHash, (value) => value)

const netAddress = struct({ services: u64le, ip: bytes(16), port: u16 })

const userAgent: Codec<string> = map(
  sized(compactSize, MAX_USER_AGENT),
  (raw) => Array.from(raw, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '?')).join(''),
  utf8Encode,
)

const versionHead = struct({
  version: u32le,
  services: u64le,
  time: u64le,
  receiver: netAddress,
  sender: netAddress,
  nonce: u64le,
  userAgent,
  startHeight: u32le,
})
/** `relay` false: tell me of no transactions. It may be missing. What follows is of a later version and skipped. */
const version: Codec<Infer<typeof versionHead> & { readonly relay: boolean }> = {
  encode(writer, value) {
    versionHead.encode(writer, value)
    writer.u8(value.relay ? 1 : 0)
  },
  decode(reader) {
    const head = versionHead.decode(reader)
    const relay = reader.remaining === 0 || reader.u8() !== 0
    reader.rest()
    return { ...head, relay }
  },
}

const nothing: Codec<object> = {
  encode: () => undefined,
  decode: (reader) => {
    reader.rest()
    return {}
  },
}

const invItem = struct({ kind: u32le, hash })
const inventory = struct({ items: array(invItem, compactSize, MAX_INV) })
const locator = struct({ version: u32le, hashes: array(blockHash, compactSize, MAX_LOCATOR), stop: blockHash })

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

const ping = struct({ nonce: u64le })

const codecs = {
  version,
  verack: nothing,
  wtxidrelay: nothing,
  sendheaders: nothing,
  ping,
  pong: ping,
  inv: inventory,
  getdata: inventory,
  notfound: inventory,
  getheaders: locator,
  headers: struct({ headers: array(listedHeader, compactSize, MAX_HEADERS) }),
  block: struct({ block: blockCodec }),
  tx: struct({ tx: txCodec }),
  feefilter: struct({ feeratePerKvb: u64le }),
  mempool: nothing,
} as const

type Codecs = typeof codecs
export type Command = keyof Codecs
type Bodies = { readonly [C in Command]: { readonly type: C } & Infer<Codecs[C]> }

/** A message, by its command. */
export type Message = Bodies[Command] | { readonly type: 'unknown'; readonly command: string }
export type KnownMessage = Bodies[Command]
export type VersionMessage = Bodies['version']
export type InvItem = Infer<typeof invItem>

const isCommand = (command: string): command is Command => Object.hasOwn(codecs, command)

/** Payload of a message. */
export const encodePayload = (message: KnownMessage): Uint8Array => {
  const writer = new Writer()
  ;(codecs[message.type] as Codec<unknown>).encode(writer, message)
  return writer.finish()
}

/** Message of a command and its payload. Throws {@link DecodeError}. */
export const decodePayload = (command: string, payload: Uint8Array): Message => {
  if (!isCommand(command)) return { type: 'unknown', command }
  const reader = new Reader(payload)
  const body = (codecs[command] as Codec<object>).decode(reader)
  if (reader.remaining > 0) throw new DecodeError('trailing', `${reader.remaining} bytes after a ${command}`)
  return { type: command, ...body } as Message
}
