/**
 * The HTTP server of JSON-RPC, as bitcoind's: who may connect (addresses), who may call (passwords, whitelists), how many calls run and
 * wait at once, caps on headers and bodies. Bitcoin Core 28.1 httpserver.cpp, httprpc.cpp. What is answered is dispatch.ts.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { BlockList, Socket } from 'node:net'
import { limitLog, type Log } from '@leyden/runtime'
import { authorizedUser, type Credentials, type Whitelist } from '../credentials.ts'
import { listenOn } from '../listen.ts'
import { isInSubnets } from '../subnet.ts'
import { createDispatch } from './dispatch.ts'
import type { Json } from './json-text.ts'
import type { RpcContext, Starting } from './method.ts'
import { answerRest } from './rest.ts'

/** A block in hex is at most 8 MB. Bitcoin Core's MAX_SIZE. */
const MAX_BODY_BYTES = 0x200_0000
const MAX_HEADER_BYTES = 8192
const WRONG_PASSWORD_DELAY_MS = 250
/** How long calls under way may take to end when we stop. */
const STOP_TIMEOUT_MS = 20_000

export type RpcServerOptions = {
  /** What is answered until `open`. */
  readonly starting: Starting
  readonly credentials: Credentials
  readonly whitelist: Whitelist
  /** Addresses that may connect. */
  readonly allowed: BlockList
  readonly threads: number
  /** Calls that wait while that many run; more are refused. */
  readonly workQueue: number
  /** A connection on which nothing happens so long is closed. */
  readonly timeoutMs: number
  /** Whether `/rest/` is served, to whoever may connect. */
  readonly rest: boolean
  readonly log: Log
}

export type RpcServer = {
  /** Listens on one more address; port 0 takes a free one. Throws PortTaken. */
  listen(host: string, port: number): Promise<number>
  /** From now on calls are answered. */
  open(context: RpcContext): void
  /** Refuses new calls, lets those under way end. */
  close(): Promise<void>
}

/** Runs at most so many at once, lets so many wait, refuses the rest. */
const createWorkQueue = (threads: number, depth: number) => {
  let running = 0
  const waiting: (() => void)[] = []
  return async <T>(work: () => Promise<T>, refused: T): Promise<T> => {
    if (running >= threads) {
      if (waiting.length >= depth) return refused
      await new Promise<void>((resolve) => waiting.push(resolve))
    } else {
      running++
    }
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next === undefined) running--
      else next()
    }
  }
}

const readBytes = (request: IncomingMessage): Promise<Buffer | undefined> =>
  new Promise((resolve) => {
    const chunks: Buffer[] = []
    let size = 0
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > MAX_BODY_BYTES) {
        request.pause()
        resolve(undefined)
        return
      }
      chunks.push(chunk)
    })
    request.on('end', () => resolve(Buffer.concat(chunks)))
    request.on('error', () => resolve(undefined))
  })

type Reply = { readonly status: number; readonly text?: string | Uint8Array; readonly headers?: Readonly<Record<string, string>> }

const UNAUTHORIZED: Reply = { status: 401, headers: { 'WWW-Authenticate': 'Basic realm="jsonrpc"' } }
const BUSY: Reply = { status: 503, text: 'Work queue depth exceeded' }
const TOO_LARGE: Reply = { status: 413, headers: { Connection: 'close' } }

/** The server; it listens nowhere yet. */
export const createRpcServer = (options: RpcServerOptions): RpcServer => {
  const { starting, credentials, whitelist, allowed, timeoutMs } = options
  const log = limitLog(options.log, () => Date.now())
  let context: RpcContext | undefined
  const dispatch = createDispatch(() => context ?? starting, log)
  const run = createWorkQueue(options.threads, options.workQueue)
  const servers: Server[] = []
  const underWay = new Set<ServerResponse>()
  let isClosing = false
  let closed: Promise<void> | undefined
  let allEnded: (() => void) | undefined

  const call = async (request: IncomingMessage): Promise<Reply> => {
    if (request.method !== 'POST') return { status: 405, text: 'JSONRPC server handles only POST requests' }
    const header = request.headers.authorization
    if (header === undefined) return UNAUTHORIZED
    const user = authorizedUser(header, credentials)
    if (user === undefined) {
      log.warn({ remote: request.socket.remoteAddress }, 'RPC call with a wrong password')
      await new Promise((resolve) => setTimeout(resolve, WRONG_PASSWORD_DELAY_MS))
      return UNAUTHORIZED
    }
    if (Number(request.headers['content-length'] ?? 0) > MAX_BODY_BYTES) return TOO_LARGE
    const body = (await readBytes(request))?.toString('utf8')
    if (body === undefined) return TOO_LARGE
    const calls = whitelist(user)
    if (calls !== undefined && calls.size === 0) return { status: 403 }
    const { status, text } = await dispatch.answer(body, calls)
    return text === undefined ? { status } : { status, text: `${text}\n`, headers: { 'Content-Type': 'application/json' } }
  }

  const rest = async (request: IncomingMessage, url: string): Promise<Reply> => {
    const body = await readBytes(request)
    if (body === undefined) return TOO_LARGE
    const open = context && {
      engine: context.engine,
      call: (method: string, params: readonly Json[]) => dispatch.call(method, params),
    }
    const reply = await answerRest(open ?? starting, url, body)
    if (reply === undefined) return { status: 404 }
    return { status: reply.status, text: reply.bytes ?? reply.text ?? '', headers: { 'Content-Type': reply.type } }
  }

  const answer = async (request: IncomingMessage): Promise<Reply> => {
    if (isClosing) return { status: 503, headers: { Connection: 'close' } }
    if (!isInSubnets(allowed, request.socket.remoteAddress ?? '')) return { status: 403 }
    if (!['GET', 'POST', 'HEAD', 'PUT'].includes(request.method ?? '')) return { status: 405 }
    const url = request.url ?? ''
    if (options.rest && url.startsWith('/rest/')) return run<Reply>(() => rest(request, url), BUSY)
    if (url !== '/') return { status: 404 }
    return run<Reply>(() => call(request), BUSY)
  }

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    underWay.add(response)
    response.on('close', () => {
      underWay.delete(response)
      if (isClosing && underWay.size === 0) allEnded?.()
    })
    let reply: Reply
    try {
      reply = await answer(request)
    } catch (error) {
      log.error({ error: String(error) }, 'RPC request failed')
      reply = { status: 500 }
    }
    const text = reply.text ?? ''
    const closing = isClosing ? { Connection: 'close' } : {}
    response.writeHead(reply.status, { ...reply.headers, ...closing, 'Content-Length': Buffer.byteLength(text) }).end(text)
    if (!request.complete) request.resume()
  }

  const broken = (_error: Error, socket: Socket): void => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
    else socket.destroy()
  }

  const close = async (): Promise<void> => {
    isClosing = true
    const ended = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())))
    for (const server of servers) server.closeIdleConnections()
    if (underWay.size > 0)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, STOP_TIMEOUT_MS)
        allEnded = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    for (const server of servers) server.closeAllConnections()
    await Promise.all(ended)
  }

  return {
    async listen(host, port) {
      const server = createServer({ maxHeaderSize: MAX_HEADER_BYTES, keepAliveTimeout: timeoutMs, requestTimeout: timeoutMs })
      server.on('request', (request, response) => void handle(request, response))
      server.on('clientError', broken)
      const bound = await listenOn(server, 'RPC', host, port)
      servers.push(server)
      return bound
    },
    open(opened) {
      context = opened
    },
    close: () => (closed ??= close()),
  }
}
