/**
 * ZMTP 3.0, the wire protocol of ZeroMQ (RFC 23), as a publisher needs it: the greeting without security (RFC 37, NULL), frames, and what
 * subscribers say: messages of 3.0, commands of 3.1, pings. No sockets here.
 */
import { concat, equalBytes, utf8Decode, utf8Encode } from '@leyden/codec'

/** Signature, version 3.0, mechanism NULL, not a server, filler. */
export const GREETING: Uint8Array = concat(
  Uint8Array.of(0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f),
  Uint8Array.of(3, 0),
  utf8Encode('NULL'),
  new Uint8Array(48),
)

const FLAG = { more: 1, long: 2, command: 4 } as const

/** What a subscriber can have us hold: nothing of it is long. */
const MAX_FRAME_BYTES = 1024

const frame = (flags: number, body: Uint8Array): Uint8Array => {
  if (body.length < 256) return concat(Uint8Array.of(flags, body.length), body)
  const head = new Uint8Array(9)
  head[0] = flags | FLAG.long
  new DataView(head.buffer).setBigUint64(1, BigInt(body.length))
  return concat(head, body)
}

const command = (name: string, data: Uint8Array): Uint8Array =>
  frame(FLAG.command, concat(Uint8Array.of(name.length), utf8Encode(name), data))

const property = (name: string, value: string): Uint8Array => {
  const length = new Uint8Array(4)
  new DataView(length.buffer).setUint32(0, value.length)
  return concat(Uint8Array.of(name.length), utf8Encode(name), length, utf8Encode(value))
}

/** Ends the handshake of a publisher. */
export const READY: Uint8Array = command('READY', property('Socket-Type', 'PUB'))

/** One message of several parts. */
export const encodeMessage = (parts: readonly Uint8Array[]): Uint8Array =>
  concat(...parts.map((part, i) => frame(i < parts.length - 1 ? FLAG.more : 0, part)))

/** What a subscriber says. `topic`: the beginning of the messages that it wants, or wants no longer. */
export type Said =
  | { readonly type: 'subscribe' | 'cancel'; readonly topic: Uint8Array }
  /** `reply`: bytes to send back. */
  | { readonly type: 'reply'; readonly reply: Uint8Array }
  | { readonly type: 'broken'; readonly detail: string }

export type SubscriberReader = {
  /** Takes bytes as they come; what they complete, in order. After `broken` the connection must end. */
  receive(bytes: Uint8Array): readonly Said[]
}

const broken = (detail: string): Said => ({ type: 'broken', detail })

const readCommand = (body: Uint8Array): readonly Said[] => {
  const length = body[0] ?? 0
  const name = utf8Decode(body.subarray(1, 1 + length))
  const data = body.slice(1 + length)
  if (name === 'READY') return [{ type: 'reply', reply: new Uint8Array(0) }]
  if (name === 'SUBSCRIBE') return [{ type: 'subscribe', topic: data }]
  if (name === 'CANCEL') return [{ type: 'cancel', topic: data }]
  if (name === 'PING') return [{ type: 'reply', reply: command('PONG', data.slice(2)) }]
  return name === 'ERROR' ? [broken('the subscriber tells of an error')] : []
}

const readMessage = (body: Uint8Array): readonly Said[] => {
  if (body[0] === 1) return [{ type: 'subscribe', topic: body.slice(1) }]
  return body[0] === 0 ? [{ type: 'cancel', topic: body.slice(1) }] : []
}

/** Reads what a subscriber sends: its greeting, then frames. */
export const createSubscriberReader = (): SubscriberReader => {
  let held = new Uint8Array(0)
  let greeted = false
  let isReady = false

  const takeFrame = (): readonly Said[] | undefined => {
    const flags = held[0]
    if (flags === undefined || held.length < 2) return undefined
    const isLong = (flags & FLAG.long) !== 0
    const head = isLong ? 9 : 2
    if (held.length < head) return undefined
    const length = isLong ? Number(new DataView(held.buffer, held.byteOffset).getBigUint64(1)) : (held[1] as number)
    if (length > MAX_FRAME_BYTES) return [broken('a frame that is too long')]
    if (held.length < head + length) return undefined
    const body = held.slice(head, head + length)
    held = held.slice(head + length)
    if ((flags & FLAG.command) !== 0) {
      isReady = true
      return readCommand(body)
    }
    return isReady ? readMessage(body) : [broken('a message before the handshake')]
  }

  return {
    receive(bytes) {
      held = concat(held, bytes) as Uint8Array<ArrayBuffer>
      const said: Said[] = []
      if (!greeted) {
        if (held.length > 0 && held[0] !== 0xff) return [broken('not ZMTP')]
        if (held.length < GREETING.length) return []
        if (held[9] !== 0x7f || (held[10] as number) < 3) return [broken('an older ZMTP')]
        if (!equalBytes(held.slice(12, 32), GREETING.slice(12, 32))) return [broken('a security mechanism')]
        held = held.slice(GREETING.length)
        greeted = true
      }
      for (;;) {
        const taken = takeFrame()
        if (taken === undefined) return said
        said.push(...taken)
        if (taken.some(({ type }) => type === 'broken')) return said
      }
    },
  }
}
