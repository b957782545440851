/**
 * Frames of the P2P protocol, version 1: magic, command, length, checksum, payload. Bitcoin Core net.h, V1Transport.
 * A length is checked before anything is kept for it; a frame of another network ends the connection. One with a wrong checksum
 * or command is dropped alone: what comes after it may be fine.
 */
import { bytesToHex, concat, DecodeError, equalBytes, Reader, Writer } from '@leyden/codec'
import { sha256d } from '@leyden/crypto'
import { commandOf, encodePayload, type Outgoing } from './message.ts'

export const FRAME_HEADER_BYTES = 24
const COMMAND_BYTES = 12
/** Bitcoin Core's MAX_PROTOCOL_MESSAGE_LENGTH: a block, just. */
export const MAX_PAYLOAD_BYTES = 4_000_000

/** Bytes of a message on the wire. */
export const encodeFrame = (magic: Uint8Array, message: Outgoing): Uint8Array => {
  const payload = encodePayload(message)
  const name = commandOf(message)
  const writer = new Writer(FRAME_HEADER_BYTES + payload.length)
  writer.bytes(magic)
  const command = new Uint8Array(COMMAND_BYTES)
  for (let i = 0; i < name.length; i++) command[i] = name.charCodeAt(i)
  writer.bytes(command)
  writer.u32le(payload.length)
  writer.bytes(sha256d(payload).subarray(0, 4))
  writer.bytes(payload)
  return writer.finish()
}

/** The command in its twelve bytes. Not valid when it is not printable or goes on after its end. */
const readCommand = (bytes: Uint8Array): { readonly name: string; readonly isValid: boolean } => {
  let end = bytes.indexOf(0)
  if (end < 0) end = bytes.length
  const printable = bytes.subarray(0, end).filter((byte) => byte >= 0x20 && byte <= 0x7e)
  const isValid = printable.length === end && bytes.subarray(end).every((byte) => byte === 0)
  return { name: String.fromCharCode(...printable), isValid }
}

/** A message not yet read, or why it is not one. */
export type Frame =
  | { readonly command: string; readonly payload: Uint8Array; readonly problem?: undefined }
  | { readonly problem: string; readonly payload: Uint8Array }

/** Takes bytes as they arrive, gives whole frames. */
export type FrameReader = {
  /** Bytes held for a frame that is not complete. */
  readonly held: number
  /** The frames that are complete now. Throws {@link DecodeError}: the connection must end. */
  push(chunk: Uint8Array): Frame[]
}

type Header = { readonly command: ReturnType<typeof readCommand>; readonly size: number; readonly checksum: Uint8Array }

export const createFrameReader = (magic: Uint8Array): FrameReader => {
  let chunks: Uint8Array[] = []
  let length = 0
  let needed = FRAME_HEADER_BYTES
  let header: Header | undefined
  const take = (count: number): Uint8Array => {
    const all = chunks.length === 1 ? (chunks[0] as Uint8Array) : concat(...chunks)
    chunks = all.length > count ? [all.subarray(count)] : []
    length -= count
    return all.subarray(0, count)
  }
  const readHeader = (bytes: Uint8Array): Header => {
    const reader = new Reader(bytes)
    const found = reader.bytes(4)
    if (!equalBytes(magic, found))
      throw new DecodeError('invalid', `Header error: Wrong MessageStart ${bytesToHex(found)} received`)
    const command = readCommand(reader.bytes(COMMAND_BYTES))
    const size = reader.u32le()
    if (size > MAX_PAYLOAD_BYTES)
      throw new DecodeError('too_large', `Header error: Size too large (${command.name}, ${size} bytes)`)
    return { command, size, checksum: reader.bytes(4).slice() }
  }
  const readFrame = ({ command, size, checksum }: Header, payload: Uint8Array): Frame => {
    const actual = sha256d(payload).subarray(0, 4)
    if (!equalBytes(checksum, actual)) {
      const [expected, got] = [bytesToHex(actual), bytesToHex(checksum)]
      const problem = `Header error: Wrong checksum (${command.name}, ${size} bytes), expected ${expected} was ${got}`
      return { problem, payload }
    }
    if (!command.isValid) return { problem: `Header error: Invalid message type (${command.name}, ${size} bytes)`, payload }
    return { command: command.name, payload }
  }
  return {
    get held() {
      return length
    },
    push(chunk) {
      chunks.push(chunk)
      length += chunk.length
      const frames: Frame[] = []
      while (length >= needed) {
        const bytes = take(needed)
        if (header === undefined) {
          header = readHeader(bytes)
          needed = header.size
          if (needed > 0) continue
          frames.push(readFrame(header, new Uint8Array(0)))
        } else frames.push(readFrame(header, bytes))
        header = undefined
        needed = FRAME_HEADER_BYTES
      }
      return frames
    },
  }
}
