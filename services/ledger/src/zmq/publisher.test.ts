import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bytesToHex, concat, utf8Encode } from '@leyden/codec'
import type { Log } from '@leyden/runtime'
import { openPublisher, parseEndpoint } from './publisher.ts'
import { createSubscriberReader, encodeMessage, GREETING, READY } from './zmtp.ts'

const SILENT: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
/** READY of a SUB socket, as libzmq sends it. */
const SUB_READY = Uint8Array.of(
  4,
  25,
  5,
  ...utf8Encode('READY'),
  11,
  ...utf8Encode('Socket-Type'),
  0,
  0,
  0,
  3,
  ...utf8Encode('SUB'),
)
const subscription = (topic: string): Uint8Array => Uint8Array.of(0, topic.length + 1, 1, ...utf8Encode(topic))

describe('what a subscriber sends', () => {
  it('is a greeting and frames, in pieces of any size', () => {
    const said = [GREETING, SUB_READY, subscription('raw'), Uint8Array.of(0, 2, 0, 0x61)]
    const reader = createSubscriberReader()
    const heard = [...concat(...said)].flatMap((byte) => reader.receive(Uint8Array.of(byte)))
    expect(heard).toEqual([
      { type: 'reply', reply: new Uint8Array(0) },
      { type: 'subscribe', topic: utf8Encode('raw') },
      { type: 'cancel', topic: utf8Encode('a') },
    ])
  })

  it('may be commands of ZMTP 3.1, and pings are answered', () => {
    const reader = createSubscriberReader()
    reader.receive(concat(GREETING, SUB_READY))
    const subscribe = Uint8Array.of(4, 12, 9, ...utf8Encode('SUBSCRIBE'), 0x61, 0x62)
    expect(reader.receive(subscribe)).toEqual([{ type: 'subscribe', topic: utf8Encode('ab') }])
    const ping = Uint8Array.of(4, 8, 4, ...utf8Encode('PING'), 0, 1, 0x78)
    expect(reader.receive(ping)).toEqual([{ type: 'reply', reply: Uint8Array.of(4, 6, 4, ...utf8Encode('PONG'), 0x78) }])
  })

  it('is refused when it is something else, too long, or before its time', () => {
    const broken = (...parts: Uint8Array[]) =>
      createSubscriberReader()
        .receive(concat(...parts))
        .at(-1)?.type
    expect(broken(utf8Encode('GET / HTTP/1.1'))).toBe('broken')
    expect(broken(concat(GREETING.slice(0, 12), utf8Encode('CURVE'), new Uint8Array(47)))).toBe('broken')
    expect(broken(GREETING, subscription('x'))).toBe('broken')
    expect(broken(GREETING, SUB_READY, Uint8Array.of(2, 0, 0, 0, 1, 0, 0, 0, 0))).toBe('broken')
  })
})

describe('messages', () => {
  it('have a frame for each part, long ones with eight bytes of length', () => {
    expect(bytesToHex(encodeMessage([Uint8Array.of(0x61), Uint8Array.of(1, 2)]))).toBe('01016100020102')
    expect(bytesToHex(encodeMessage([new Uint8Array(300)]).slice(0, 9))).toBe('02000000000000012c')
  })
})

describe('a publisher', () => {
  let directory: string
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'leyden-zmq-'))
  })
  afterAll(() => rmSync(directory, { recursive: true }))

  const until = async (has: () => boolean): Promise<void> => {
    while (!has()) await new Promise((resolve) => setTimeout(resolve, 2))
  }
  const subscriber = async (path: string, topic: string): Promise<{ socket: Socket; heard: () => string }> => {
    const socket = connect({ path })
    let heard = new Uint8Array(0)
    socket.on('data', (chunk: Buffer) => (heard = concat(heard, new Uint8Array(chunk)) as typeof heard))
    socket.write(concat(GREETING, SUB_READY, subscription(topic)))
    await until(() => heard.length >= GREETING.length + READY.length)
    return { socket, heard: () => bytesToHex(heard.slice(GREETING.length + READY.length)) }
  }

  it('sends what begins with a topic to those who asked for it', async () => {
    const path = join(directory, 'a')
    const publisher = await openPublisher(`ipc://${path}`, 10, SILENT)
    const all = await subscriber(path, '')
    const some = await subscriber(path, 'raw')
    const raw = [utf8Encode('rawtx'), Uint8Array.of(1)]
    const hash = [utf8Encode('hashtx'), Uint8Array.of(2)]
    const expected = [raw, hash].map((parts) => bytesToHex(encodeMessage(parts))) as [string, string]
    // A subscription counts once it has arrived: until then messages pass by.
    while (all.heard() === '' || some.heard() === '') {
      publisher.send(raw)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
    publisher.send(hash)
    publisher.send(raw)
    await until(() => all.heard().endsWith(expected[1] + expected[0]) && some.heard().endsWith(expected[0]))
    expect(some.heard()).not.toContain(expected[1])
    all.socket.destroy()
    some.socket.destroy()
    await publisher.close()
  })

  it('listens where an address says', async () => {
    expect(parseEndpoint('tcp://127.0.0.1:28332')).toEqual({ host: '127.0.0.1', port: 28_332 })
    expect(parseEndpoint('tcp://[::1]:5')).toEqual({ host: '::1', port: 5 })
    expect(parseEndpoint('tcp://*:5')).toEqual({ host: '0.0.0.0', port: 5 })
    for (const text of ['foo', 'tcp://a', 'tcp://a:99999', 'udp://a:1']) expect(parseEndpoint(text)).toBeUndefined()
    await expect(openPublisher('foo', 1, SILENT)).rejects.toThrow('is not tcp://host:port or ipc://path')
  })
})
