/** TCP ports of this machine. */
import { createServer } from 'node:net'

/** Whether something listens on 127.0.0.1:port. */
export const isPortTaken = (port: number): Promise<boolean> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => (error.code === 'EADDRINUSE' ? resolve(true) : reject(error)))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(false)))
  })

/** Below the range from which systems take ports for outgoing connections, so that a port stays free between two starts of a daemon. */
const FIRST = 20_000
const PORTS = 10_000
const given = new Set<number>()

/** A port that nobody listens on now, never given out before by this process. */
export const freePort = async (): Promise<number> => {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * PORTS)
    if (given.has(port) || (await isPortTaken(port))) continue
    given.add(port)
    return port
  }
}
