/**
 * Serves the wallet API on a socket: Hono's app over node:http, and its events over WebSocket on the same path (`/v1/events`).
 */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { serve, type ServerType } from '@hono/node-server'
import { createApi, type WalletService } from '@leyden/api'
import { WebSocketServer } from 'ws'
import type { Log } from './log.ts'
import { parseAddress } from './tcp.ts'

const MAX_EVENT_SOCKETS = 64
const HEARTBEAT_MS = 15_000

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

const refuse = (socket: Duplex, status: string): void => {
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}

/** Rejects with a clear message when the address cannot be had. */
export const serveHttp = ({ service, address, allowedHosts, version, log }: HttpOptions): Promise<HttpServer> => {
  const { host, port } = parseAddress(address)
  const app = createApi({
    service,
    version,
    allowedHosts: [host, ...allowedHosts],
    onFault: (error) =>
      log.error({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }, 'a request met a fault'),
  })
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 1024, perMessageDeflate: false })
  const stopping = new AbortController()

  /** The same checks as for a GET, by asking the app itself. */
  const upgrade = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    const url = new URL(request.url ?? '/', `http://${host}:${port}`)
    if (url.pathname !== '/v1/events') return refuse(socket, '404 Not Found')
    if (sockets.clients.size >= MAX_EVENT_SOCKETS) return refuse(socket, '429 Too Many Requests')
    const headers = new Headers()
    for (const name of ['host', 'origin', 'authorization']) {
      const value = request.headers[name]
      if (typeof value === 'string') headers.set(name, value)
    }
    const probe = await app.request('/v1/node', { headers })
    await probe.body?.cancel()
    if (probe.status !== 200) return refuse(socket, `${probe.status} Refused`)
    const after = url.searchParams.get('after') ?? undefined
    if (after !== undefined && !/^\d{1,16}$/.test(after)) return refuse(socket, '400 Bad Request')
    sockets.handleUpgrade(request, socket, head, (client) => {
      const abort = new AbortController()
      const heartbeat = setInterval(() => client.ping(), HEARTBEAT_MS)
      const end = (): void => {
        clearInterval(heartbeat)
        abort.abort()
      }
      client.on('close', end)
      client.on('error', end)
      stopping.signal.addEventListener('abort', () => client.close(1001, 'the node is stopping'))
      const pump = async (): Promise<void> => {
        for await (const event of service.events(after, abort.signal)) client.send(JSON.stringify(event))
      }
      pump().catch((error: unknown) => {
        log.warn({ error: String(error) }, 'an event stream ended')
        client.close(1011)
      })
    })
  }

  return new Promise((resolve, reject) => {
    const server: ServerType = serve({ fetch: app.fetch, hostname: host, port }, (info) => {
      server.off('error', fail)
      resolve({
        url: `http://${host.includes(':') ? `[${host}]` : host}:${info.port}`,
        stop: () =>
          new Promise((stopped) => {
            stopping.abort()
            server.close(() => stopped())
            if ('closeIdleConnections' in server) {
              server.closeIdleConnections()
              setTimeout(() => server.closeAllConnections(), 500).unref()
            }
          }),
      })
    })
    const fail = (error: NodeJS.ErrnoException): void =>
      reject(
        new Error(
          error.code === 'EADDRINUSE'
            ? `the API address ${address} is taken by another process: stop it, or choose another with --api`
            : `cannot listen on ${address}: ${error.message}`,
        ),
      )
    server.on('error', fail)
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      upgrade(request, socket, head).catch((error: unknown) => {
        log.error({ error: String(error) }, 'an upgrade failed')
        socket.destroy()
      })
    })
  })
}
