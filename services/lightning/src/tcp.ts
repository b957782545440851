/**
 * The Net port over TCP. BOLT 8 listens on plain TCP; addresses are `host:port`, IPv6 in brackets; port 0 takes a free one.
 */
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Connection, Net } from '@leyden/runtime'

/** Splits `host:port`. Throws on anything else. */
export const parseAddress = (address: string): { host: string; port: number } => {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s[\]]+)):(\d{1,5})$/.exec(address)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host === undefined || !(port <= 65_535)) throw new Error(`"${address}" is not host:port`)
  return { host, port }
}

export const formatAddress = (host: string, port: number): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`

const connectionOf = (socket: Socket): Connection => {
  socket.setNoDelay(true)
  socket.pause()
  let reason: string | undefined
  let onClose: ((reason: string) => void) | undefined
  let lastError = 'the peer closed the connection'
  socket.on('error', (error) => {
    lastError = error.message
  })
  socket.on('close', () => {
    reason = lastError
    const fn = onClose
    onClose = undefined
    if (fn !== undefined) queueMicrotask(() => fn(lastError))
  })
  socket.on('end', () => socket.end())
  let corked = false
  const uncork = (): void => {
    corked = false
    socket.uncork()
  }
  return {
    remoteAddress: formatAddress(socket.remoteAddress ?? '', socket.remotePort ?? 0),
    get bufferedBytes() {
      return socket.writableLength
    },
    send(bytes) {
      if (socket.destroyed || !socket.writable) return
      // What one commit releases is sent in one piece: the other side then finds it together, and answers it by one commit of its own.
      if (!corked) {
        corked = true
        socket.cork()
        process.nextTick(uncork)
      }
      socket.write(bytes)
    },
    onData(fn) {
      socket.on('data', (chunk: Buffer) => fn(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length)))
      socket.resume()
    },
    onClose(fn) {
      if (reason === undefined) onClose = fn
      else queueMicrotask(() => fn(reason as string))
    },
    close() {
      socket.end()
      setTimeout(() => socket.destroy(), 1000).unref()
    },
  }
}

/** What went wrong at a socket. A name with several addresses gives one error for each of them, and no words of its own. */
export const reasonOf = (error: Error): string => {
  const [first] = error instanceof AggregateError ? (error.errors as unknown[]) : []
  return first instanceof Error ? first.message : error.message
}

/** Stops listening; resolves when the port is free. Connections that were given stay. */
export const stopListening = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close()
    setImmediate(resolve)
  })

/** TCP sockets of this machine. A port that is taken rejects with a message that says so. */
export const tcpNet = (): Net => ({
  listen: (address, onConnection) =>
    new Promise((resolve, reject) => {
      const { host, port } = parseAddress(address)
      const server = createServer((socket) => onConnection(connectionOf(socket)))
      server.on('error', (error: NodeJS.ErrnoException) =>
        reject(
          error.code === 'EADDRINUSE'
            ? new Error(`${address} is taken by another process: stop it, or listen on another port`)
            : new Error(`cannot listen on ${address}: ${error.message}`),
        ),
      )
      server.listen(port, host, () => {
        const bound = server.address()
        resolve({
          address: typeof bound === 'object' && bound !== null ? formatAddress(host, bound.port) : address,
          close: () => stopListening(server),
        })
      })
    }),
  dial: (address) =>
    new Promise((resolve, reject) => {
      const { host, port } = parseAddress(address)
      const socket = connect({ host, port })
      const fail = (error: Error): void => reject(new Error(`cannot reach ${address}: ${reasonOf(error)}`))
      socket.once('error', fail)
      socket.once('connect', () => {
        socket.off('error', fail)
        resolve(connectionOf(socket))
      })
    }),
})
