/**
 * BOLT over WebSocket: the byte stream of BOLT 8 in binary frames, for peers that cannot open TCP sockets (browsers).
 * Addresses are `ws:host:port`. `withWebSocket` adds them to a Net.
 */
import { createServer } from 'node:http'
import type { Connection, Net } from '@leyden/runtime'
import { WebSocket, WebSocketServer } from 'ws'
import { formatAddress, parseAddress, reasonOf, stopListening } from './tcp.ts'

const PREFIX = 'ws:'
/** One noise frame is at most 65,551 bytes; a sender may join a few. */
const MAX_FRAME_BYTES = 1024 * 1024
const HANDSHAKE_TIMEOUT_MS = 15_000

const connectionOf = (socket: WebSocket, remoteAddress: string): Connection => {
  let reason: string | undefined
  let onClose: ((reason: string) => void) | undefined
  let onData: ((bytes: Uint8Array) => void) | undefined
  let early: Uint8Array[] = []
  let lastError = 'the peer closed the connection'
  socket.binaryType = 'nodebuffer'
  socket.on('error', (error) => {
    lastError = error.message
  })
  socket.on('message', (data: Buffer, isBinary) => {
    if (!isBinary) return socket.close(1003, 'binary frames only')
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.length)
    if (onData === undefined) early.push(bytes)
    else onData(bytes)
  })
  socket.on('close', () => {
    reason = lastError
    if (onClose !== undefined) queueMicrotask(() => onClose?.(lastError))
  })
  return {
    remoteAddress,
    get bufferedBytes() {
      return socket.bufferedAmount
    },
    send(bytes) {
      if (socket.readyState === WebSocket.OPEN) socket.send(bytes)
    },
    onData(fn) {
      onData = fn
      const kept = early
      early = []
      if (kept.length > 0) queueMicrotask(() => kept.forEach(fn))
    },
    onClose(fn) {
      onClose = fn
      if (reason !== undefined) queueMicrotask(() => fn(reason as string))
    },
    close() {
      socket.close()
      setTimeout(() => socket.terminate(), 1000).unref()
    },
  }
}

/** `net`, with `ws:host:port` beside its own addresses. */
export const withWebSocket = (net: Net): Net => ({
  listen(address, onConnection) {
    if (!address.startsWith(PREFIX)) return net.listen(address, onConnection)
    const { host, port } = parseAddress(address.slice(PREFIX.length))
    return new Promise((resolve, reject) => {
      const http = createServer((_, response) => response.writeHead(426).end())
      const server = new WebSocketServer({ server: http, maxPayload: MAX_FRAME_BYTES, perMessageDeflate: false })
      server.on('connection', (socket, request) => {
        const { remoteAddress = '', remotePort = 0 } = request.socket
        onConnection(connectionOf(socket, `${PREFIX}${formatAddress(remoteAddress, remotePort)}`))
      })
      server.on('error', () => undefined) // reported by http
      http.on('error', (error: NodeJS.ErrnoException) =>
        reject(
          new Error(
            error.code === 'EADDRINUSE'
              ? `${address} is taken by another process: stop it, or listen on another port`
              : `cannot listen on ${address}: ${error.message}`,
          ),
        ),
      )
      http.listen(port, host, () => {
        const bound = http.address()
        resolve({
          address: typeof bound === 'object' && bound !== null ? `${PREFIX}${formatAddress(host, bound.port)}` : address,
          close: async () => {
            server.close()
            const stopped = stopListening(http)
            http.closeAllConnections() // none that was given: those are no longer HTTP's
            await stopped
          },
        })
      })
    })
  },
  dial(address) {
    if (!address.startsWith(PREFIX)) return net.dial(address)
    const target = address.slice(PREFIX.length)
    parseAddress(target)
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://${target}`, {
        maxPayload: MAX_FRAME_BYTES,
        perMessageDeflate: false,
        handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      })
      socket.on('error', (error) => reject(new Error(`cannot reach ${address}: ${reasonOf(error)}`)))
      socket.once('open', () => resolve(connectionOf(socket, address)))
    })
  },
})
