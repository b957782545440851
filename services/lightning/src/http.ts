/**
 * Serves the wallet API on a socket: Hono's app over node:http, and its events over WebSocket on the same path (`/v1/events`).
 */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { serve, type ServerType } from '@hono/node-server'
import { createApi, type WalletService } from '@leyden/api'
import { type WebSocket, WebSocketServer } from 'ws'
import type { Log } from './log.ts'
import { parseAddress } from './tcp.ts'

const MAX_EVENT_SOCKETS = 64
const HEARTBEAT_MS = 15_000
/** What a reader of events may leave unread before we wait for it. */
const MAX_UNREAD_BYTES = 256 * 1024
/** What an answer under way or a WebSocket that is told to close gets, when the server stops. */
const STOP_MS = 1_000

export interface HttpOptions {
  readonly service: WalletService
  readonly address: string
  readonly allowedHosts: readonly string[]
  readonly version: string
  readonly log: Log
}

export interface HttpServer {
  /** `http://host:port`, with the port that was taken. */
  readonly url: string
  stop(): Promise<void>
}

/** Sends one event and resolves when more may follow. */
const sendEvent = (client: WebSocket, text: string): Promise<void> =>
  new Promise((resolve) => {
    client.send(text, () => resolve())
    if (client.bufferedAmount < MAX_UNREAD_BYTES) resolve()
  })

const refuse = (socket: Duplex, status: string): void => {
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}

/** Rejects with a clear message when the address cannot be had. */
export const serveHttp = ({ service, address, allowedHosts, version, log }: HttpOptions): Promise<HttpServer> => {
  const { host, port } = parseAddress(address)
  const stopping = new AbortController()
  const app = createApi({
    service,
    version,
    allowedHosts: [host, ...allowedHosts],
    stopping: stopping.signal,
    onFault: (error) =>
      log.error({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }, 'a request met a fault'),
  })
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 1024, perMessageDeflate: false })

  const serveEvents = (client: WebSocket, after: string | undefined): void => {
    const gone = new AbortController()
    let alive = true
    const heartbeat = setInterval(() => {
      if (!alive) return client.terminate()
      alive = false
      client.ping()
    }, HEARTBEAT_MS)
    client.on('pong', () => {
      alive = true
    })
    client.on('close', () => {
      clearInterval(heartbeat)
      gone.abort()
    })
    client.on('error', () => client.terminate())
    const pump = async (): Promise<void> => {
      const signal = AbortSignal.any([gone.signal, stopping.signal])
      for await (const event of service.events(after, signal)) await sendEvent(client, JSON.stringify(event))
      client.close(1001, 'the node is stopping')
    }
    pump().catch((error: unknown) => {
      log.error({ error: String(error) }, 'an event stream met a fault')
      client.close(1011)
    })
  }

  /** The same checks as for a GET, by asking the app itself. */
  const upgrade = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    const base = `http://${host.includes(':') ? `[${host}]` : host}`
    const url = URL.canParse(request.url ?? '', base) ? new URL(request.url ?? '', base) : undefined
    if (url?.pathname !== '/v1/events') return refuse(socket, '404 Not Found')
    if (stopping.signal.aborted) return refuse(socket, '503 Service Unavailable')
    if (sockets.clients.size >= MAX_EVENT_SOCKETS) return refuse(socket, '429 Too Many Requests')
    const headers = new Headers()
    for (const name of ['host', 'origin', 'authorization', 'last-event-id']) {
      const value = request.headers[name]
      if (typeof value === 'string') headers.set(name, value)
    }
    const probe = await app.request(`/v1/events${url.search}`, { method: 'HEAD', headers })
    if (probe.status !== 200) return refuse(socket, `${probe.status} Refused`)
    if (socket.destroyed) return
    const after = headers.get('last-event-id') ?? ''
    sockets.handleUpgrade(request, socket, head, (client) =>
      serveEvents(client, after === '' ? (url.searchParams.get('after') ?? undefined) : after),
    )
  }

  return new Promise((resolve, reject) => {
    const server: ServerType = serve({ fetch: app.fetch, hostname: host, port }, (info) => {
      resolve({
        url: `http://${host.includes(':') ? `[${host}]` : host}:${info.port}`,
        async stop() {
          stopping.abort()
          const closed = new Promise<void>((resolve) => {
            server.close(() => resolve())
          })
          // A connection is idle only once the stream on it has ended.
          const idle = setInterval(() => {
            if ('closeIdleConnections' in server) server.closeIdleConnections()
          }, 20)
          const cut = setTimeout(() => {
            if ('closeAllConnections' in server) server.closeAllConnections()
            for (const client of sockets.clients) client.terminate()
          }, STOP_MS)
          await closed
          clearInterval(idle)
          clearTimeout(cut)
        },
      })
    })
    server.on('error', (error: NodeJS.ErrnoException) => {
      log.warn({ error: error.message }, 'the API server met an error')
      reject(
        new Error(
          error.code === 'EADDRINUSE'
            ? `the API address ${address} is taken by another process: stop it, or choose another with --api`
            : `cannot listen on ${address}: ${error.message}`,
        ),
      )
    })
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on('error', () => socket.destroy()) // gone before it was answered; without a listener this would end the process
      upgrade(request, socket, head).catch((error: unknown) => {
        log.error({ error: String(error) }, 'an upgrade failed')
        socket.destroy()
      })
    })
  })
}
