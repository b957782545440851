/** The API on a real socket: what a proxy, a browser or a stranger does to it. The wallet behind it is the smallest that answers. */
import { connect } from 'node:net'
import { Problem, type ApiEvent, type WalletService } from '@leyden/api'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { WebSocket } from 'ws'
import { type HttpServer, serveHttp } from './http.ts'
import { silentLog } from './log.ts'

/** Waits for what must come, however slow the machine. */
const soon = <T>(check: () => T | Promise<T>): Promise<T> => vi.waitFor(check, 15_000)

const TOKEN = 'c7'.repeat(32)
const AT = '2026-01-01T00:00:00.000Z'
const authorization = `Bearer ${TOKEN}`

/** A wallet of events and one slow method. */
const smallWallet = () => {
  const log: ApiEvent[] = []
  const waiting = new Set<() => void>()
  const state = { readers: 0, finish: (): void => undefined }
  const service = {
    authenticate: (token: string) => token === TOKEN,
    ready: () => ({ ready: true }),
    uptimeSeconds: () => 1,
    fees: () => Promise.resolve({ fastPerVbyte: 3, normalPerVbyte: 2, slowPerVbyte: 1, minimumPerVbyte: 1 }),
    newAddress: (type: 'p2wpkh' | 'p2tr') => Promise.resolve({ address: 'bcrt1q', type, index: 0, used: false }),
    decode: (text: string) =>
      text === 'bad'
        ? Promise.reject(new Problem('invalid_request', 'neither invoice nor address'))
        : Promise.resolve({ kind: 'address' as const, network: 'regtest', address: text, type: 'p2wpkh' }),
    balance: () =>
      new Promise<never>((_, reject) => {
        state.finish = () => reject(new Problem('syncing', 'wait'))
      }),
    async *events(after: string | undefined, signal: AbortSignal): AsyncIterable<ApiEvent> {
      let last = after === undefined ? log.length : Number(after)
      state.readers++
      try {
        while (!signal.aborted) {
          const next = log[last]
          if (next === undefined)
            await new Promise<void>((resolve) => {
              waiting.add(resolve)
              signal.addEventListener('abort', () => resolve())
            })
          else {
            last++
            yield next
          }
        }
      } finally {
        state.readers--
      }
    },
  }
  return {
    state,
    service: service as unknown as WalletService,
    publish: (data: Record<string, unknown> = {}): void => {
      log.push({ id: String(log.length + 1), type: 'chain.tip', createdAt: AT, data })
      for (const wake of waiting) wake()
    },
  }
}

const closing: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

const start = async (address = '127.0.0.1:0') => {
  const wallet = smallWallet()
  const server: HttpServer = await serveHttp({
    service: wallet.service,
    address,
    allowedHosts: ['wallet.example'],
    version: '0.1.0',
    log: silentLog,
  })
  let stopped: Promise<void> | undefined
  const stop = (): Promise<void> => (stopped ??= server.stop())
  closing.push(stop)
  const get = (path: string, headers: Record<string, string> = {}) =>
    fetch(`${server.url}${path}`, { headers: { authorization, ...headers } })
  /** An answer to raw bytes. */
  const raw = (text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const { hostname, port } = new URL(server.url)
      const socket = connect(Number(port), hostname, () => socket.write(text))
      let answer = ''
      socket.on('data', (chunk) => {
        answer += chunk.toString()
      })
      socket.on('close', () => resolve(answer))
      socket.on('error', reject)
      setTimeout(() => socket.destroy(), 3000).unref()
    })
  return { ...wallet, server, stop, get, raw }
}

/** A WebSocket on the events, with what it got. */
const socketOn = (url: string, headers: Record<string, string> = { authorization }) => {
  const socket = new WebSocket(url.replace('http', 'ws'), { headers })
  const ids: string[] = []
  socket.on('message', (data: Buffer) => ids.push((JSON.parse(data.toString()) as ApiEvent).id))
  const opened = new Promise<void>((resolve, reject) => {
    socket.on('open', resolve)
    socket.on('error', reject)
  })
  opened.catch(() => undefined)
  const closed = new Promise<number>((resolve) => {
    socket.on('close', resolve)
  })
  return { socket, ids, opened, closed }
}

describe('the API on a socket', () => {
  it('names the port that it took', async () => {
    const { server, get } = await start()
    expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:[1-9]\d*$/)
    expect(await (await get('/health')).json()).toEqual({ status: 'ok', uptimeSeconds: 1 })
  })

  it('says that the address is taken, and how to go on', async () => {
    const { server } = await start()
    const taken = server.url.slice('http://'.length)
    await expect(start(taken)).rejects.toThrow(
      `the API address ${taken} is taken by another process: stop it, or choose another with --api`,
    )
    await expect(start('256.0.0.1:1')).rejects.toThrow('cannot listen on 256.0.0.1:1')
  })

  it('takes bodies and their absence as the routes say', async () => {
    const { server } = await start()
    const post = (path: string, init: RequestInit = {}, headers: Record<string, string> = {}) =>
      fetch(`${server.url}${path}`, { method: 'POST', ...init, headers: { authorization, ...headers } })
    const json = { 'content-type': 'application/json' }
    expect(await (await post('/v1/addresses')).json()).toMatchObject({ type: 'p2wpkh' })
    expect(await (await post('/v1/addresses', { body: '' }, json)).json()).toMatchObject({ type: 'p2wpkh' })
    expect(await (await post('/v1/addresses', { body: '{"type":"p2tr"}' }, json)).json()).toMatchObject({ type: 'p2tr' })
    expect(await (await post('/v1/addresses', { body: '{"type":"p2tr"}' })).json()).toMatchObject({
      errors: [{ pointer: 'header/content-type' }],
    })
    expect((await post('/v1/decode', { body: '{"text":"bad"}' }, json)).status).toBe(400)
    const big = await post('/v1/decode', { body: JSON.stringify({ text: 'x'.repeat(1_000_000) }) }, json).catch(() => undefined)
    expect([400, undefined]).toContain(big?.status)
    const streamed = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('{"text":"bcrt1q"}'))
        controller.close()
      },
    })
    expect((await post('/v1/decode', { body: streamed, duplex: 'half' } as RequestInit, json)).status).toBe(200)
  })

  it('refuses a Host that is not its own, on the wire', async () => {
    const { raw } = await start()
    const request = (host: string) => `GET /health HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`
    expect(await raw(request('wallet.example:80'))).toMatch(/^HTTP\/1\.1 200 /)
    for (const host of ['evil.example', '127.0.0.1.evil.example', 'a b', ''])
      expect([host, (await raw(request(host))).split(' ')[1]]).toEqual([host, '400'])
  })

  it('survives what is not HTTP', async () => {
    const { raw, get } = await start()
    for (const text of ['\0\0\0\0', 'GET\r\n\r\n', `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`]) {
      const answer = await raw(text).catch(() => '')
      expect(['', 'HTTP/1.1 4']).toContain(answer.slice(0, 10))
    }
    expect((await get('/health')).status).toBe(200)
  })
})

describe('events over WebSocket', () => {
  it('gives what comes, and what came after a given event', async () => {
    const { server, publish } = await start()
    publish()
    publish()
    const live = socketOn(`${server.url}/v1/events`)
    const resumed = socketOn(`${server.url}/v1/events?after=1`)
    const byHeader = socketOn(`${server.url}/v1/events?after=0`, { authorization, 'last-event-id': '1' })
    await Promise.all([live.opened, resumed.opened, byHeader.opened])
    await soon(() => expect([resumed.ids, byHeader.ids]).toEqual([['2'], ['2']]))
    publish({ height: 5 })
    await soon(() => expect([live.ids, resumed.ids]).toEqual([['3'], ['2', '3']]))
    for (const { socket } of [live, resumed, byHeader]) socket.close()
  })

  it.each([
    ['without a token', '/v1/events', {}, '401'],
    ['with a wrong one', '/v1/events', { authorization: 'Bearer x' }, '401'],
    ['from a page elsewhere', '/v1/events', { authorization, origin: 'https://evil.example' }, '400'],
    ['after what is no event', '/v1/events?after=x', { authorization }, '400'],
    ['on another path', '/v1/node', { authorization }, '404'],
    ['on no path', '//', { authorization }, '404'],
  ])('refuses one %s', async (_, path, headers, status) => {
    const { server, state } = await start()
    const { opened } = socketOn(`${server.url}${path}`, headers as unknown as Record<string, string>)
    await expect(opened).rejects.toThrow(`Unexpected server response: ${status}`)
    expect(state.readers).toBe(0)
  })

  it('lets go of the log when the reader leaves, and survives one that leaves at once', async () => {
    const { server, state, raw, get } = await start()
    const one = socketOn(`${server.url}/v1/events`)
    await one.opened
    await soon(() => expect(state.readers).toBe(1))
    one.socket.terminate()
    await soon(() => expect(state.readers).toBe(0))
    const handshake = `GET /v1/events HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n`
    expect(await raw(`${handshake}\r\n`)).toMatch(/^HTTP\/1\.1 401 /)
    const { hostname, port } = new URL(server.url)
    for (let i = 0; i < 20; i++)
      await new Promise<void>((resolve) => {
        const socket = connect(Number(port), hostname, () => {
          socket.write(`${handshake}Authorization: ${authorization}\r\n\r\n`, () => {
            socket.resetAndDestroy()
            resolve()
          })
        })
        socket.on('error', () => undefined)
      })
    expect((await get('/health')).status).toBe(200)
    await soon(() => expect(state.readers).toBe(0))
  })

  it('serves 64 readers and no more', async () => {
    const { server } = await start()
    const readers = Array.from({ length: 64 }, () => socketOn(`${server.url}/v1/events`))
    await Promise.all(readers.map(({ opened }) => opened))
    await expect(socketOn(`${server.url}/v1/events`).opened).rejects.toThrow('429')
    for (const { socket } of readers) socket.terminate()
  })

  it('waits for a reader that reads slowly, and loses nothing', async () => {
    const { server, publish } = await start()
    const text = 'x'.repeat(100_000)
    for (let i = 0; i < 100; i++) publish({ text })
    const { socket, ids, opened } = socketOn(`${server.url}/v1/events?after=0`)
    await opened
    socket.pause()
    await new Promise((resolve) => {
      setTimeout(resolve, 100)
    })
    socket.resume()
    await soon(() => expect(ids.length).toBe(100))
    expect(ids).toEqual(Array.from({ length: 100 }, (_, i) => String(i + 1)))
    socket.close()
  })

  it('closes one that sends more than a command', async () => {
    const { server } = await start()
    const { socket, opened, closed } = socketOn(`${server.url}/v1/events`)
    await opened
    socket.send('x'.repeat(5000))
    expect([1006, 1009]).toContain(await closed)
  })
})

describe('stopping', () => {
  it('ends streams and sockets in good order, and frees the port', async () => {
    const { server, stop, get, publish, state } = await start()
    const stream = (await get('/v1/events')).body as ReadableStream<Uint8Array>
    const socket = socketOn(`${server.url}/v1/events`)
    await socket.opened
    await soon(() => expect(state.readers).toBe(2))
    publish()
    await soon(() => expect(socket.ids).toEqual(['1']))
    const text = new Response(stream).text()
    await stop()
    expect(await text).toContain('id: 1\n') // ended, not cut: a cut would throw
    expect(await socket.closed).toBe(1001)
    expect(state.readers).toBe(0)
    const again = await start(server.url.slice('http://'.length))
    expect(await again.raw('GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')).toMatch(/^HTTP\/1\.1 200 /)
  })

  it('does not wait for a request that never ends, nor for a reader that does not answer', async () => {
    const { server, stop, get } = await start()
    const hanging = get('/v1/balance')
    hanging.catch(() => undefined)
    const { socket, opened } = socketOn(`${server.url}/v1/events`)
    await opened
    socket.pause()
    await stop()
    await expect(hanging).rejects.toThrow('fetch failed')
    socket.terminate()
  })

  it('lets a request under way finish', async () => {
    const { stop, get, state } = await start()
    const first = state.finish
    const answer = get('/v1/balance')
    await soon(() => expect(state.finish).not.toBe(first))
    const stopped = stop()
    state.finish()
    expect((await answer).status).toBe(503)
    await stopped
  })
})
