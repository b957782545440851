/**
 * The link's sockets: WebSocket connections from channel services, each handed to a session of @leyden/link.
 * The token is the cookie (or user and password), as for JSON-RPC. A browser page cannot connect: it cannot send the header.
 */
import { createServer, type IncomingMessage } from 'node:http'
import { ledgerId } from '@leyden/bitcoin'
import { linkServer, MAX_FRAME_BYTES } from '@leyden/link'
import { limitLog, type Log } from '@leyden/runtime'
import { WebSocket, WebSocketServer } from 'ws'
import { authorizedUser, type Credentials } from './credentials.ts'
import type { LedgerEngine } from './engine.ts'
import { listenOn } from './listen.ts'
import { systemClock } from './system.ts'

const MAX_CONNECTIONS = 64
/** A client that reads nothing is closed before its frames fill the memory. */
const MAX_BUFFERED_BYTES = 128 * 1024 * 1024

export type LinkListener = { readonly port: number; close(): Promise<void> }

export type LinkListenerOptions = {
  readonly engine: LedgerEngine
  readonly credentials: Credentials
  readonly host: string
  readonly port: number
  readonly log: Log
}

const refuse = (request: IncomingMessage, status: string): void => {
  request.socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}

/** Serves the link. Throws PortTaken. */
export const listenForLinks = async (options: LinkListenerOptions): Promise<LinkListener> => {
  const { engine, credentials, host, port } = options
  const log = limitLog(options.log, () => Date.now())
  const genesis = ledgerId(engine.network)
  const sockets = new WebSocketServer({ noServer: true, maxPayload: MAX_FRAME_BYTES, perMessageDeflate: false })
  const http = createServer((_request, response) => {
    response.writeHead(426, { Connection: 'close' }).end()
  })

  const serve = (socket: WebSocket, remote: string): void => {
    log.info({ remote }, 'link connected')
    const session = linkServer({
      source: engine,
      genesis,
      clock: systemClock,
      line: {
        send(frame) {
          if (socket.readyState !== WebSocket.OPEN) return
          if (socket.bufferedAmount > MAX_BUFFERED_BYTES) return socket.terminate()
          socket.send(frame)
        },
        close(reason) {
          log.info({ remote, reason }, 'link closed')
          socket.close(1000, reason.slice(0, 100).replaceAll(/[^\x20-\x7e]/g, '?'))
        },
      },
    })
    socket.on('message', (data: Buffer, isBinary) => {
      if (!isBinary) return socket.close(1003)
      session.receive(new Uint8Array(data.buffer, data.byteOffset, data.length))
    })
    socket.on('error', (error) => log.debug({ remote, error: error.message }, 'link socket'))
    socket.on('close', () => session.closed('the connection was closed'))
  }

  http.on('upgrade', (request, stream, head) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost')
    if (pathname !== '/' && pathname !== '/link') return refuse(request, '404 Not Found')
    if (authorizedUser(request.headers.authorization, credentials) === undefined) {
      log.warn({ remote: request.socket.remoteAddress }, 'link refused: wrong or missing token')
      return refuse(request, '401 Unauthorized')
    }
    if (sockets.clients.size >= MAX_CONNECTIONS) return refuse(request, '503 Service Unavailable')
    sockets.handleUpgrade(request, stream, head, (socket) => serve(socket, request.socket.remoteAddress ?? ''))
  })

  const bound = await listenOn(http, 'link', host, port)
  return {
    port: bound,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets.clients) socket.terminate()
        http.close(() => resolve())
        http.closeAllConnections()
      }),
  }
}
