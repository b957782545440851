/** Opening a port, with an error that says what to do when it cannot be had. */
import type { Server } from 'node:net'

/** A port that this machine does not give us. */
export class PortTaken extends Error {
  constructor(what: string, host: string, port: number) {
    super(`the ${what} port ${port} on ${host} is taken by another program: stop that one, or choose another port`)
    this.name = 'PortTaken'
  }
}

/** Listens; port 0 takes a free one. The port that it listens on. Throws {@link PortTaken}. */
export const listenOn = (server: Server, what: string, host: string, port: number): Promise<number> =>
  new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void =>
      reject(
        error.code === 'EADDRINUSE'
          ? new PortTaken(what, host, port)
          : new Error(`cannot listen on the ${what} port ${port} on ${host}: ${error.message}`),
      )
    server.once('error', failed)
    server.listen(port, host, () => {
      server.off('error', failed)
      const bound = server.address()
      resolve(typeof bound === 'object' && bound !== null ? bound.port : port)
    })
  })

export type HostAndPort = { readonly host: string; readonly port: number }
/** `host`, `host:port`, `[ipv6]:port` or a bare IPv6 address. */
export const hostAndPort = (text: string, fallback: number): HostAndPort => {
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  return host === undefined ? { host: text, port: fallback } : { host, port: Number(match?.[3] ?? fallback) }
}
