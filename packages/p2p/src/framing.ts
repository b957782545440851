/**
 * Frames of the P2P protocol, version 1: magic, command, length, checksum, payload. Bitcoin Core net.h, V1Transport.
 * A length is checked before anything is kept for it; a frame of another network ends the connection.
 */
import { concat, DecodeError, Reader, Writer } from '@leyden/codec'
import { sha256d } from '@leyden/crypto'
import { decodePayload, encodePayload, type KnownMessage, type Message } from './message.ts'

const HEADER_BYTES = 24
const COMMAND_BYTES = 12
/** Bitcoin Core's MAX_PROTOCOL_MESSAGE_LENGTH: a block, just. */
export const MAX_PAYLOAD_BYTES = 4_000_000

/** Bytes of a message on the wire. */
export const encodeFrame = (magic: Uint8Array, message: KnownMessage): Uint8Array => {
  const payload = encodePayload(message)
  const writer = new Writer(HEADER_BYTES + payload.length)
  writer.bytes(magic)
  const command = new Uint8Array(COMMAND_BYTES)
  for (let i = 0; i < message.type.length; i++) command[i] = message.type.charCodeAt(i)
  writer.bytes(command)
  writer.u32le(payload.length)
  writer.bytes(sha256d(payload).subarray(0, 4))
  writer.bytes(payload)
  return writer.finish()
}

const readCommand = (bytes: Uint8Array): string => {
  let end = bytes.indexOf(0)
  if (end < 0) end = bytes.length
  if (bytes.subarray(end).some((byte) => byte !== 0)) throw new DecodeError('invalid', 'command with bytes after its end')
  for (const byte of bytes.subarray(0, end))
    if (byte < 0x20 || byte > 0x7e) throw new DecodeError('invalid', 'command with unprintable characters')
  return String.fromCharCode(...bytes.subarray(0, end))
}

/** Takes bytes as they arrive, gives whole messages. */
export type FrameReader = {
  /** The messages that are complete now. Throws {@link DecodeError}: the connection must end. */
  push(chunk: Uint8Array): Message[]
}

export const createFrameReader = (magic: Uint8Array): FrameReader => {
  let chunks: Uint8Array[] = []
  let length = 0
  let needed = HEADER_BYTES
  const take = (count: number): Uint8Array => {
    const all = concat(...chunks)
    chunks = all.length > count ? [all.subarray(count)] : []
    length -= count
    return all.subarray(0, count)
  }
  let header: { readonly command: string; readonly size: number; readonly checksum: Uint8Array } | undefined
  const readHeader = (bytes: Uint8Array): NonNullable<typeof header> => {
    const reader = new Reader(bytes)
    const found = reader.bytes(4)
    if (magic.some((byte, i) => byte !== found[i])) throw new DecodeError('invalid', 'magic of another network')
    const command = readCommand(reader.bytes(COMMAND_BYTES))
    const size = reader.u32le()
    if (size > MAX_PAYLOAD_BYTES) throw new DecodeError('too_large', `a ${command} of ${size} bytes`)
    return { command, size, checksum: reader.bytes(4).slice() }
  }
  return {
    push(chunk) {
      chunks.push(chunk)
      length += chunk.length
      const messages: Message[] = []
      while (length >= needed) {
        const bytes = take(needed)
        if (header === undefined) {
          header = readHeader(bytes)
          needed = header.size
          continue
        }
        const { command, checksum } = header
        header = undefined
        needed = HEADER_BYTES
        const actual = sha256d(bytes)
        if (checksum.some((byte, i) => byte !== actual[i])) throw new DecodeError('invalid', `checksum of a ${command}`)
        messages.push(decodePayload(command, bytes))
      }
      return messages
    },
  }
}
