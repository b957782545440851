/**
 * One socket of a peer: bytes to frames and back, with a bound on what waits in either direction. Bitcoin Core net.cpp.
 * Frames wait undecoded until the machine takes them; a peer that sends faster is not read, one that does not read is not served.
 */
import type { Socket } from 'node:net'
import { DecodeError } from '@leyden/codec'
import { commandOf, createFrameReader, encodeFrame, FRAME_HEADER_BYTES, type Frame, type Outgoing } from '@leyden/p2p'
import type { Capture } from './capture.ts'

/** What waits to be taken, and what waits to be read by the other: Bitcoin Core's -maxreceivebuffer and -maxsendbuffer. */
export type BufferLimits = { readonly receiveBytes: number; readonly sendBytes: number }

/** Commands that count by their name; others are one (an attacker could make up any number). */
const COUNTED = new Set(
  (
    'version verack addr addrv2 sendaddrv2 inv getdata merkleblock getblocks getheaders tx headers block getaddr mempool ping pong ' +
    'notfound filterload filteradd filterclear sendheaders feefilter sendcmpct cmpctblock getblocktxn blocktxn getcfilters cfilter ' +
    'getcfheaders cfheaders getcfcheckpt cfcheckpt wtxidrelay sendtxrcncl'
  ).split(' '),
)
/** So long a peer may take to read the rest before it is cut off. */
const LINGER_MS = 1000

export type ConnectionEvents = {
  /** Frames have arrived, or the peer has read enough to be served again. */
  readonly onReady: () => void
  /** The bytes are of no protocol, or the socket is closed. */
  readonly onEnd: (reason: string) => void
  readonly onDrain: () => void
  readonly onSent: (bytes: number) => void
  /** Writes down what is taken and sent. */
  readonly capture?: Capture | undefined
}

export interface PeerConnection {
  /** Milliseconds by the clock that may be set, 0 for never. */
  readonly sentAt: number
  readonly receivedAt: number
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly sentByCommand: ReadonlyMap<string, number>
  readonly receivedByCommand: ReadonlyMap<string, number>
  readonly local: string
  /** More waits than may. */
  readonly isFull: boolean
  next(): Frame | undefined
  shift(): void
  send(message: Outgoing): void
  close(): void
}

const count = (totals: Map<string, number>, name: string, bytes: number): void => {
  const key = COUNTED.has(name) ? name : '*other*'
  totals.set(key, (totals.get(key) ?? 0) + bytes)
}

export const endpointOfSocket = (host: string | undefined, port: number | undefined): string =>
  host?.includes(':') === true ? `[${host}]:${port ?? 0}` : `${host ?? ''}:${port ?? 0}`

/** An IPv4 address inside an IPv6 one is shown as what it is. */
export const plainHost = (host: string | undefined): string => (host ?? '').replace(/^::ffff:(\d+\.\d+\.\d+\.\d+)$/, '$1')

export const createConnection = (
  socket: Socket,
  magic: Uint8Array,
  now: () => number,
  { receiveBytes, sendBytes }: BufferLimits,
  events: ConnectionEvents,
): PeerConnection => {
  const reader = createFrameReader(magic)
  const queue: Frame[] = []
  const sentByCommand = new Map<string, number>()
  const receivedByCommand = new Map<string, number>()
  let queuedBytes = 0
  let closed = false
  let sentAt = 0
  let receivedAt = 0
  const local = endpointOfSocket(plainHost(socket.localAddress), socket.localPort)

  socket.setNoDelay(true)
  socket.on('data', (chunk: Buffer) => {
    if (closed) return
    receivedAt = now()
    try {
      for (const frame of reader.push(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length))) {
        const bytes = FRAME_HEADER_BYTES + frame.payload.length
        count(receivedByCommand, frame.problem === undefined ? frame.command : '', bytes)
        queuedBytes += bytes
        queue.push(frame)
      }
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error
      closed = true
      return events.onEnd(error.message)
    }
    if (queuedBytes >= receiveBytes) socket.pause()
    events.onReady()
  })
  socket.on('drain', () => events.onDrain())
  socket.on('error', (error) => events.onEnd(error.message))
  socket.on('close', () => events.onEnd('the connection was closed'))

  return {
    local,
    get sentAt() {
      return sentAt
    },
    get receivedAt() {
      return receivedAt
    },
    get bytesSent() {
      return socket.bytesWritten
    },
    get bytesReceived() {
      return socket.bytesRead
    },
    sentByCommand,
    receivedByCommand,
    get isFull() {
      return socket.writableLength > sendBytes
    },
    next: () => queue[0],
    shift() {
      const frame = queue.shift()
      if (frame === undefined) return
      if (frame.problem === undefined) events.capture?.('recv', frame.command, frame.payload)
      queuedBytes -= FRAME_HEADER_BYTES + frame.payload.length
      if (queuedBytes < receiveBytes / 2 && socket.isPaused()) socket.resume()
    },
    send(message) {
      if (closed) return
      const frame = encodeFrame(magic, message)
      events.capture?.('sent', commandOf(message), frame.subarray(FRAME_HEADER_BYTES))
      sentAt = now()
      count(sentByCommand, commandOf(message), frame.length)
      events.onSent(frame.length)
      socket.write(frame)
    },
    close() {
      closed = true
      queue.length = 0
      queuedBytes = 0
      socket.destroySoon()
      setTimeout(() => socket.destroy(), LINGER_MS).unref()
    },
  }
}
