/** The event stream as a browser reads it. */
import { afterEach, describe, expect, it, vi } from 'vitest'
import { testApi } from './testing.ts'

/** Waits for what must come, however slow the machine. */
const soon = <T>(check: () => T | Promise<T>): Promise<T> => vi.waitFor(check, 15_000)

afterEach(() => void vi.useRealTimers())

/** Reads a stream of events piece by piece. */
const readerOf = (response: Response) => {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  const decoder = new TextDecoder()
  let text = ''
  return {
    /** All text so far, once it holds `part`. */
    async until(part: string): Promise<string> {
      while (!text.includes(part)) {
        const { done, value } = await reader.read()
        if (done) throw new Error(`the stream ended before "${part}": ${text}`)
        text += decoder.decode(value, { stream: true })
      }
      return text
    },
    async end(): Promise<string> {
      for (;;) {
        const { done, value } = await reader.read()
        if (done) return text
        text += decoder.decode(value, { stream: true })
      }
    },
    cancel: () => reader.cancel(),
  }
}

describe('GET /v1/events', () => {
  it('begins with what comes from now on, in the form of server-sent events', async () => {
    const { call, wallet } = testApi()
    wallet.publish('invoice.created')
    const response = await call('GET', '/v1/events')
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/event-stream'])
    const reader = readerOf(response)
    await reader.until(': open\n\n')
    wallet.publish('payment.succeeded', { paymentHash: 'ab' })
    const text = await reader.until('payment.succeeded"')
    expect(text).toBe(
      ': open\n\nevent: payment.succeeded\n' +
        'data: {"id":"2","type":"payment.succeeded","createdAt":"2026-01-01T00:00:00.000Z","data":{"paymentHash":"ab"}}\n' +
        'id: 2\n\n',
    )
    await reader.cancel()
  })

  it('goes on after Last-Event-ID or ?after=, the header first', async () => {
    const { call, wallet } = testApi()
    for (let i = 0; i < 5; i++) wallet.publish('chain.tip', { height: i })
    const idsOf = (text: string) => [...text.matchAll(/^id: (\d+)$/gm)].map((match) => match[1])
    const requests: [string, Record<string, string>, string[]][] = [
      ['/v1/events?after=0', {}, ['1', '2', '3', '4', '5']],
      ['/v1/events?after=3', {}, ['4', '5']],
      ['/v1/events', { 'last-event-id': '4' }, ['5']],
      ['/v1/events?after=0', { 'last-event-id': '3' }, ['4', '5']],
      ['/v1/events?after=4', { 'last-event-id': '' }, ['5']],
    ]
    for (const [path, headers, ids] of requests) {
      const reader = readerOf(await call('GET', path, { headers }))
      expect([path, idsOf(await reader.until('id: 5\n'))]).toEqual([path, ids])
      await reader.cancel()
    }
  })

  it('refuses a Last-Event-ID that is none', async () => {
    const { call } = testApi()
    const response = await call('GET', '/v1/events', { headers: { 'last-event-id': 'x' } })
    expect(await response.json()).toMatchObject({ errors: [{ pointer: 'header/last-event-id' }] })
  })

  it('beats every fifteen seconds', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    const { call } = testApi()
    const reader = readerOf(await call('GET', '/v1/events'))
    await reader.until(': open')
    vi.advanceTimersByTime(15_000)
    await reader.until(': heartbeat\n\n')
    await reader.cancel()
    await soon(() => expect(vi.getTimerCount()).toBe(0))
  })

  it('lets go of the wallet when the reader leaves', async () => {
    const { call, wallet } = testApi()
    const reader = readerOf(await call('GET', '/v1/events'))
    await reader.until(': open')
    await soon(() => expect(wallet.readers()).toBe(1))
    await reader.cancel()
    await soon(() => expect(wallet.readers()).toBe(0))
  })

  it('ends when the server stops', async () => {
    const stopping = new AbortController()
    const { call, wallet } = testApi({ stopping: stopping.signal })
    const reader = readerOf(await call('GET', '/v1/events'))
    await reader.until(': open')
    await soon(() => expect(wallet.readers()).toBe(1))
    stopping.abort()
    expect(await reader.end()).toBe(': open\n\n')
    await soon(() => expect(wallet.readers()).toBe(0))
  })

  it('ends without a word about the fault behind it', async () => {
    const onFault = vi.fn<(error: unknown) => void>()
    const { call, wallet } = testApi({ onFault })
    wallet.fail.set('events', new Error('disk'))
    expect(await readerOf(await call('GET', '/v1/events')).end()).toBe(': open\n\n')
    expect(onFault.mock.calls).toEqual([[new Error('disk')]])
  })

  it('opens nothing for HEAD', async () => {
    const { call, wallet } = testApi()
    expect((await call('HEAD', '/v1/events')).status).toBe(200)
    expect(wallet.calls).toEqual([])
  })
})
