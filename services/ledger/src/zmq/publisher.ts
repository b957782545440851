/**
 * A ZeroMQ publisher: whoever connects and subscribes gets the messages that begin with its topics. A subscriber that does not read is
 * sent no more than `hwm` messages ahead, and misses the rest, as ZeroMQ's PUB sockets do.
 */
import { existsSync, rmSync, statSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import type { Log } from '@leyden/runtime'
import { createSubscriberReader, encodeMessage, GREETING, READY } from './zmtp.ts'

const MAX_SUBSCRIBERS = 128
const MAX_TOPICS = 64

export type Publisher = {
  send(parts: readonly Uint8Array[]): void
  close(): Promise<void>
}

type Subscriber = { readonly socket: Socket; readonly topics: Set<string>; ready: boolean; unsent: number }

/** Where to listen: `tcp://host:port` (`*` is every address) or `ipc://path`; undefined when the text is neither. */
export const parseEndpoint = (
  address: string,
): { readonly host?: string; readonly port?: number; readonly path?: string } | undefined => {
  const path = /^ipc:\/\/(.+)$/.exec(address)?.[1]
  if (path !== undefined) return { path }
  const match = /^tcp:\/\/(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(address)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host === undefined || !(port <= 65_535)) return undefined
  return { host: host === '*' ? '0.0.0.0' : host, port }
}

const listen = (server: Server, address: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const endpoint = parseEndpoint(address)
    if (endpoint === undefined) return reject(new Error(`${address} is not tcp://host:port or ipc://path`))
    const { path } = endpoint
    // What a process that was killed left behind.
    if (path !== undefined && existsSync(path) && statSync(path).isSocket()) rmSync(path)
    server.once('error', reject)
    server.listen(endpoint, () => {
      server.off('error', reject)
      resolve()
    })
  })

const hex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')

/** Listens. Throws what the system says. */
export const openPublisher = async (address: string, hwm: number, log: Log): Promise<Publisher> => {
  const subscribers = new Set<Subscriber>()

  const serve = (socket: Socket): void => {
    if (subscribers.size >= MAX_SUBSCRIBERS) {
      socket.destroy()
      return
    }
    const subscriber: Subscriber = { socket, topics: new Set(), ready: false, unsent: 0 }
    const reader = createSubscriberReader()
    subscribers.add(subscriber)
    socket.setNoDelay(true)
    socket.on('error', (error) => log.debug({ address, error: error.message }, 'ZeroMQ subscriber'))
    socket.on('close', () => subscribers.delete(subscriber))
    socket.on('data', (chunk: Buffer) => {
      for (const said of reader.receive(new Uint8Array(chunk))) {
        if (said.type === 'broken') {
          log.debug({ address, detail: said.detail }, 'ZeroMQ subscriber refused')
          socket.destroy()
          return
        }
        if (said.type === 'subscribe' && subscriber.topics.size < MAX_TOPICS) subscriber.topics.add(hex(said.topic))
        if (said.type === 'cancel') subscriber.topics.delete(hex(said.topic))
        if (said.type === 'reply') {
          subscriber.ready = true
          if (said.reply.length > 0) socket.write(said.reply)
        }
      }
    })
    socket.write(GREETING)
    socket.write(READY)
  }

  const server = createServer(serve)
  await listen(server, address)
  return {
    send(parts) {
      const topic = hex(parts[0] as Uint8Array)
      let encoded: Uint8Array | undefined
      for (const subscriber of subscribers) {
        if (!subscriber.ready || (hwm > 0 && subscriber.unsent >= hwm)) continue
        if (![...subscriber.topics].some((wanted) => topic.startsWith(wanted))) continue
        encoded ??= encodeMessage(parts)
        subscriber.unsent++
        subscriber.socket.write(encoded, () => {
          subscriber.unsent--
        })
      }
    },
    close: () =>
      new Promise((resolve) => {
        for (const { socket } of subscribers) socket.destroySoon()
        server.close(() => resolve())
      }),
  }
}
