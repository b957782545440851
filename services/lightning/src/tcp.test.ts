/** The Net port over real sockets, TCP and WebSocket alike. */
import { createServer, type Socket, connect } from 'node:net'
import type { Connection, Listener, Net } from '@leyden/runtime'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { WebSocket } from 'ws'
import { parseAddress, tcpNet } from './tcp.ts'
import { withWebSocket } from './websocket.ts'

/** Waits for what must come, however slow the machine. */
const soon = <T>(check: () => T | Promise<T>): Promise<T> => vi.waitFor(check, 15_000)

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

const net = withWebSocket(tcpNet())
const listen = async (address: string, onConnection: (connection: Connection) => void = () => undefined): Promise<Listener> => {
  const listener = await net.listen(address, onConnection)
  closing.push(() => listener.close())
  return listener
}

/** Both ends of one connection. */
const pair = async (address: string): Promise<readonly [dialled: Connection, accepted: Connection, Listener]> => {
  let accept: (connection: Connection) => void = () => undefined
  const accepted = new Promise<Connection>((resolve) => {
    accept = resolve
  })
  const listener = await listen(address, accept)
  const dialled = await net.dial(listener.address)
  closing.push(() => dialled.close())
  return [dialled, await accepted, listener]
}

/** Everything that a connection hears. */
const record = (connection: Connection) => {
  const heard: number[] = []
  const closed: string[] = []
  connection.onData((bytes) => heard.push(...bytes))
  connection.onClose((reason) => closed.push(reason))
  return { heard, closed }
}

const bytesOf = (length: number, from = 0): Uint8Array => Uint8Array.from({ length }, (_, i) => (from + i) % 251)

it('sends in one piece over TCP what is sent at once', async () => {
  const [a, b] = await pair('127.0.0.1:0')
  const pieces: string[] = []
  b.onData((bytes) => pieces.push(String(bytes)))
  for (const one of [1, 2, 3]) a.send(Uint8Array.of(one, one))
  expect(a.bufferedBytes).toBe(6)
  await soon(() => expect(pieces).toEqual(['1,1,2,2,3,3']))
  a.send(Uint8Array.of(4))
  a.close()
  await soon(() => expect(pieces).toEqual(['1,1,2,2,3,3', '4']))
})

describe.each(['127.0.0.1:0', 'ws:127.0.0.1:0'])('a net on %s', (address) => {
  it('names the port that it took', async () => {
    const listener = await listen(address)
    expect(listener.address).toMatch(address.startsWith('ws:') ? /^ws:127\.0\.0\.1:[1-9]\d*$/ : /^127\.0\.0\.1:[1-9]\d*$/)
  })

  it('carries bytes in order, however they were split', async () => {
    const [a, b] = await pair(address)
    const heard = { a: record(a), b: record(b) }
    const sent = bytesOf(200_000)
    for (let at = 0, size = 1; at < sent.length; at += size, size = (size * 7) % 4099) a.send(sent.subarray(at, at + size))
    b.send(bytesOf(3, 9))
    b.send(bytesOf(2, 100))
    await soon(() => expect(heard.b.heard.length).toBeGreaterThanOrEqual(sent.length))
    expect(heard.b.heard).toEqual([...sent])
    await soon(() => expect(heard.a.heard).toEqual([9, 10, 11, 100, 101]))
    expect([a.remoteAddress, b.remoteAddress].every((one) => one.includes('127.0.0.1:'))).toBe(true)
  })

  it('keeps what came before there was a receiver, and calls it later, not from within', async () => {
    const [a, b] = await pair(address)
    a.send(bytesOf(5))
    await new Promise((resolve) => {
      setTimeout(resolve, 50)
    })
    const { heard } = record(b)
    expect(heard).toEqual([])
    await soon(() => expect(heard).toEqual([0, 1, 2, 3, 4]))
  })

  it('sends what was given before a close, then tells both ends once', async () => {
    const [a, b] = await pair(address)
    const heard = { a: record(a), b: record(b) }
    const sent = bytesOf(100_000)
    a.send(sent)
    a.close()
    a.send(bytesOf(1))
    await soon(() => expect(heard.b.closed.length).toBe(1))
    expect(heard.b.heard).toEqual([...sent])
    await soon(() => expect(heard.a.closed.length).toBe(1))
    a.close()
    b.close()
    b.send(bytesOf(1))
  })

  it('tells of a close also who asks afterwards', async () => {
    const [a, b] = await pair(address)
    record(b)
    record(a)
    b.close()
    await soon(async () => {
      const { closed } = record(a)
      await new Promise((resolve) => {
        setTimeout(resolve, 5)
      })
      expect(closed.length).toBe(1)
    })
  })

  it('counts what has not left yet', async () => {
    const [a, b] = await pair(address)
    expect(a.bufferedBytes).toBe(0)
    for (let i = 0; i < 64; i++) a.send(new Uint8Array(1024 * 1024 - 1))
    expect(a.bufferedBytes).toBeGreaterThan(16 * 1024 * 1024)
    a.close()
    b.close()
  })

  it('says that the port is taken, and how to go on', async () => {
    const { address: taken } = await listen(address)
    await expect(net.listen(taken, () => undefined)).rejects.toThrow(
      `${taken} is taken by another process: stop it, or listen on another port`,
    )
  })

  it('frees the port at once, and leaves connections alone', async () => {
    const [a, b, listener] = await pair(address)
    const heard = record(b)
    await listener.close()
    await listen(listener.address)
    a.send(bytesOf(2))
    await soon(() => expect(heard).toEqual({ heard: [0, 1], closed: [] }))
  })

  it('names the address that does not answer', async () => {
    const listener = await listen(address)
    await listener.close()
    await expect(net.dial(listener.address)).rejects.toThrow(new RegExp(`^cannot reach ${listener.address}: .*ECONNREFUSED`))
  })
})

describe('addresses', () => {
  it.each([
    ['127.0.0.1:9735', { host: '127.0.0.1', port: 9735 }],
    ['[::1]:0', { host: '::1', port: 0 }],
    ['a.example:65535', { host: 'a.example', port: 65_535 }],
  ])('%s', (text, address) => {
    expect(parseAddress(text)).toEqual(address)
  })

  it.each(['', 'host', 'host:', ':1', '::1:1', 'host:65536', 'host:-1', 'a b:1', 'host:1:2', '[host]:1'])(
    'not %s',
    async (text) => {
      expect(() => parseAddress(text)).toThrow(`"${text}" is not host:port`)
      await expect(net.dial(text)).rejects.toThrow('is not host:port')
    },
  )

  it('gives a reason for a name with several addresses', async () => {
    const { address } = await listen('127.0.0.1:0')
    const port = parseAddress(address).port
    await closing.pop()?.()
    await expect(net.dial(`localhost:${port}`)).rejects.toThrow(/^cannot reach localhost:\d+: .+/)
  })
})

describe('a WebSocket that does not speak BOLT', () => {
  it('is closed for text and for a frame that is too long', async () => {
    for (const frame of ['text', new Uint8Array(1024 * 1024 + 1)]) {
      const accepted: Connection[] = []
      const { address } = await listen('ws:127.0.0.1:0', (connection) => {
        accepted.push(connection)
        record(connection)
      })
      const socket = new WebSocket(`ws://${address.slice(3)}`)
      const closed = new Promise<number>((resolve) => {
        socket.on('close', resolve)
      })
      socket.on('error', () => undefined)
      socket.on('open', () => socket.send(frame))
      expect([1003, 1006, 1009]).toContain(await closed)
      expect(accepted.length).toBe(1)
    }
  })

  it('is told to upgrade when it is no WebSocket', async () => {
    const { address } = await listen('ws:127.0.0.1:0')
    const response = await fetch(`http://${address.slice(3)}/`)
    expect(response.status).toBe(426)
  })
})

describe('a listener that is no WebSocket', () => {
  it('is a dial that fails with a reason', async () => {
    const sockets: Socket[] = []
    const server = createServer((socket) => {
      sockets.push(socket)
      socket.on('error', () => undefined)
      socket.end('SSH-2.0\r\n')
    })
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    closing.push(() => server.close())
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    await expect(net.dial(`ws:127.0.0.1:${port}`)).rejects.toThrow(/^cannot reach ws:127\.0\.0\.1:\d+: .+/)
  })
})

describe('a peer that resets', () => {
  it('is a close with a reason, not a crash', async () => {
    const plain: Net = tcpNet()
    const closed = new Promise<string>((resolve) => {
      plain
        .listen('127.0.0.1:0', (connection) => {
          connection.onData(() => undefined)
          connection.onClose(resolve)
          connection.send(bytesOf(1000))
        })
        .then((listener) => {
          closing.push(() => listener.close())
          const socket = connect(parseAddress(listener.address))
          socket.on('error', () => undefined)
          socket.once('data', () => socket.resetAndDestroy())
        }, resolve)
    })
    expect(await closed).toMatch(/ECONNRESET|closed/)
  })
})
