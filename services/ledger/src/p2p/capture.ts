/**
 * The messages of each peer in files, for who looks into a protocol (-capturemessages): Bitcoin Core 28.1 net.cpp, CaptureMessageToFile. Its
 * contrib/message-capture/message-capture-parser.py reads them. Received ones are written as they are taken, not as they arrive.
 * A directory per peer, named by its address; a record is the time in microseconds, the command, the length, and the payload.
 */
import { appendFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { utf8Encode, Writer } from '@leyden/codec'
import type { Log } from '@leyden/runtime'

const COMMAND_BYTES = 12

export type Direction = 'recv' | 'sent'
/** Writes down one message of a peer. Never throws: what cannot be written is logged. */
export type Capture = (direction: Direction, command: string, payload: Uint8Array) => void

/** For each peer, by its address and port, a capture into its own directory below this one. `now`: milliseconds since 1970. */
export const captureInto =
  (directory: string, now: () => number, log: Log) =>
  (peer: string): Capture => {
    const own = join(directory, peer.replaceAll(/[^0-9A-Za-z.[\]-]/g, '_'))
    return (direction, command, payload) => {
      const name = utf8Encode(command).subarray(0, COMMAND_BYTES)
      const writer = new Writer()
      writer.u64le(BigInt(Math.floor(now() * 1000)))
      writer.bytes(name)
      writer.bytes(new Uint8Array(COMMAND_BYTES - name.length))
      writer.u32le(payload.length)
      writer.bytes(payload)
      try {
        mkdirSync(own, { recursive: true, mode: 0o700 })
        appendFileSync(join(own, `msgs_${direction}.dat`), writer.finish(), { mode: 0o600 })
      } catch (error) {
        log.warn({ peer, error: String(error) }, 'a message was not captured')
      }
    }
  }
