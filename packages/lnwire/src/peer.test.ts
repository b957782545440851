import { concat, hexToBytes } from '@leyden/codec'
import { pointFromSecret } from '@leyden/crypto'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeFeatures, type Features, offeredFeatures } from './features.ts'
import { encodeMessage, type Message } from './message.ts'
import {
  createPeer,
  HANDSHAKE_TIMEOUT_MS,
  type Peer,
  type PeerEffect,
  type PeerInput,
  PING_AFTER_MS,
  PING_BURST,
  PONG_TIMEOUT_MS,
} from './peer.ts'
import { ALL_CHANNELS, ChannelId, nodeIdFromPoint } from './primitives.ts'

const secretA = new Uint8Array(32).fill(0x11)
const secretB = new Uint8Array(32).fill(0x21)
const nodeA = nodeIdFromPoint(pointFromSecret(secretA))
const nodeB = nodeIdFromPoint(pointFromSecret(secretB))
const chainHash = new Uint8Array(32).fill(6)
const localFeatures = offeredFeatures('init')

type Changes = { readonly localFeatures?: Features; readonly chainHash?: Uint8Array; readonly remoteAddress?: Uint8Array }
const common = { localFeatures, chainHash, nowMs: 0 }
const initiator = (changes: Changes = {}): Peer =>
  createPeer({
    role: 'initiator',
    localSecret: secretA,
    ephemeralSecret: new Uint8Array(32).fill(0x12),
    remoteNodeId: nodeB,
    ...common,
    ...changes,
  })
const responder = (changes: Changes = {}): Peer =>
  createPeer({ role: 'responder', localSecret: secretB, ephemeralSecret: new Uint8Array(32).fill(0x22), ...common, ...changes })

const written = (effects: readonly PeerEffect[]): Uint8Array =>
  concat(...effects.flatMap((effect) => (effect.type === 'write' ? [effect.bytes] : [])))
const owned = (effects: readonly PeerEffect[]): PeerEffect[] => effects.filter(({ to }) => to === 'owner')
const received = (bytes: Uint8Array): PeerInput => ({ from: 'peer', type: 'bytes', bytes })
const tick = (nowMs: number): PeerInput => ({ from: 'clock', type: 'tick', nowMs })

/** Two peers and the wire between them. `cut` splits what one writes into the chunks that the other reads. */
const pair = (
  changes: { readonly a?: Changes; readonly b?: Changes } = {},
  cut: (b: Uint8Array) => Uint8Array[] = (b) => [b],
) => {
  const a = initiator(changes.a)
  const b = responder(changes.b)
  const log: { readonly a: PeerEffect[]; readonly b: PeerEffect[] } = { a: [], b: [] }
  const flow = (side: 'a' | 'b', effects: readonly PeerEffect[]): void => {
    log[side].push(...owned(effects))
    const other = side === 'a' ? 'b' : 'a'
    const bytes = written(effects)
    if (bytes.length === 0) return
    for (const chunk of cut(bytes)) flow(other, (other === 'a' ? a : b).step(received(chunk)))
  }
  flow('b', b.start())
  flow('a', a.start())
  const step = (side: 'a' | 'b', input: PeerInput): void => flow(side, (side === 'a' ? a : b).step(input))
  const send = (side: 'a' | 'b', message: Message): void => step(side, { from: 'owner', type: 'send', message })
  const sendRaw = (side: 'a' | 'b', raw: Uint8Array): void => step(side, { from: 'owner', type: 'sendRaw', raw })
  return { a, b, log, step, send, sendRaw }
}
const closedReason = (effects: readonly PeerEffect[]): unknown => {
  const last = effects.at(-1)
  return last?.type === 'closed' ? last.reason : undefined
}
const fee: Message = { type: 'warning', channelId: ChannelId('22'.repeat(32)), data: hexToBytes('aa') }

describe('connecting', () => {
  it('tells both owners who is there and what was negotiated', () => {
    const { log } = pair()
    const ready = { to: 'owner', type: 'ready', features: localFeatures, remoteFeatures: localFeatures }
    expect(log.a).toEqual([{ ...ready, nodeId: nodeB, remoteInit: expect.objectContaining({ networks: [chainHash] }) }])
    expect(log.b).toEqual([{ ...ready, nodeId: nodeA, remoteInit: expect.objectContaining({ networks: [chainHash] }) }])
  })
  it('carries messages both ways, whatever the chunks', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 20 }), (sizes) => {
        const cut = (bytes: Uint8Array): Uint8Array[] => {
          const chunks: Uint8Array[] = []
          for (let at = 0, i = 0; at < bytes.length; i++) {
            const size = sizes[i % sizes.length] ?? 1
            chunks.push(bytes.subarray(at, at + size))
            at += size
          }
          return chunks
        }
        const { log, send } = pair({}, cut)
        send('a', fee)
        send('b', fee)
        const message = { to: 'owner', type: 'message', message: fee, raw: encodeMessage(fee) }
        expect(log.a.slice(1)).toEqual([message])
        expect(log.b.slice(1)).toEqual([message])
      }),
      { numRuns: 15 },
    )
  })
  it('reads many messages from one chunk, over key rotations', () => {
    const { a, b } = pair()
    const sent = Array.from({ length: 1200 }, () => written(a.step({ from: 'owner', type: 'send', message: fee })))
    expect(owned(b.step(received(concat(...sent))))).toHaveLength(1200)
  })
  it('tells the remote its address', () => {
    const { log } = pair({ b: { remoteAddress: hexToBytes('01c00002010001') } })
    expect(log.a[0]).toMatchObject({ remoteInit: { remoteAddr: hexToBytes('01c00002010001') } })
  })
  it('ends when the remote is someone else', () => {
    const a = createPeer({
      role: 'initiator',
      localSecret: secretA,
      ephemeralSecret: new Uint8Array(32).fill(0x12),
      remoteNodeId: nodeA,
      ...common,
    })
    const b = responder()
    b.start()
    const effects = b.step(received(written(a.start())))
    expect(effects).toEqual([
      { to: 'peer', type: 'close' },
      { to: 'owner', type: 'closed', reason: { code: 'handshake_failed', problem: 'act1_bad_tag' } },
    ])
    expect(b.step(received(new Uint8Array(100)))).toEqual([])
  })
  it('refuses features that do not go together, with a warning', () => {
    const { log } = pair({ a: { localFeatures: decodeFeatures(Uint8Array.of(0x10, 0, 0, 0)) } })
    expect(closedReason(log.b)).toEqual({ code: 'features', problem: { problem: 'unknown_required', bit: 28 } })
    expect(log.a.at(-1)).toMatchObject({ type: 'message', message: { type: 'warning', channelId: ALL_CHANNELS } })
  })
  it('refuses a peer of another chain', () => {
    const { log } = pair({ a: { chainHash: new Uint8Array(32).fill(7) } })
    expect(closedReason(log.b)).toEqual({ code: 'no_common_chain' })
  })
  it('gives up on a handshake that does not end', () => {
    const b = responder()
    b.start()
    expect(b.step(tick(HANDSHAKE_TIMEOUT_MS))).toEqual([])
    expect(closedReason(b.step(tick(HANDSHAKE_TIMEOUT_MS + 1)))).toEqual({ code: 'handshake_timeout' })
  })
  it('throws when the owner sends before it is ready, and is silent after the end', () => {
    const a = initiator()
    a.start()
    expect(() => a.step({ from: 'owner', type: 'send', message: fee })).toThrow('before the connection was ready')
    expect(closedReason(a.step({ from: 'peer', type: 'disconnected' }))).toEqual({ code: 'disconnected' })
    expect(a.step({ from: 'owner', type: 'send', message: fee })).toEqual([])
  })
})

describe('messages that end the connection', () => {
  it('ignores an unknown odd type and closes on an unknown even one', () => {
    const { log, sendRaw } = pair()
    sendRaw('a', hexToBytes('800102'))
    expect(log.b).toHaveLength(1)
    sendRaw('a', hexToBytes('8000'))
    expect(closedReason(log.b)).toEqual({ code: 'unknown_even_message', typeNumber: 0x8000 })
    expect(log.a.at(-1)).toMatchObject({ type: 'message', message: { type: 'warning' } })
  })
  it('warns and closes on bytes that do not decode', () => {
    const { log, sendRaw } = pair()
    sendRaw('a', hexToBytes('0024aa'))
    expect(closedReason(log.b)).toMatchObject({ code: 'invalid_message', typeNumber: 36, error: { code: 'truncated' } })
    expect(log.a.at(-1)).toMatchObject({ type: 'message', message: { type: 'warning' } })
  })
  it('closes on an empty message and on a second init', () => {
    const one = pair()
    one.sendRaw('a', new Uint8Array(0))
    expect(closedReason(one.log.b)).toMatchObject({ code: 'invalid_message' })
    const two = pair()
    two.sendRaw('a', hexToBytes('001000000000'))
    expect(closedReason(two.log.b)).toEqual({ code: 'second_init' })
  })
  it('passes errors and warnings up', () => {
    const { log, send } = pair()
    send('a', { type: 'error', channelId: ALL_CHANNELS, data: hexToBytes('41') })
    expect(log.b.at(-1)).toMatchObject({ type: 'message', message: { type: 'error' } })
  })
  it('closes on forged bytes', () => {
    const { b } = pair()
    expect(closedReason(b.step(received(new Uint8Array(18))))).toEqual({ code: 'forged' })
  })
  it('S57: random bytes end the connection with the first frame, and nothing is buffered after', () => {
    expect.hasAssertions()
    fc.assert(
      fc.property(fc.boolean(), fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 8 }), (connected, chunks) => {
        const peer = connected ? pair().b : responder()
        if (!connected) peer.start()
        const effects = chunks.flatMap((chunk) => peer.step(received(chunk)))
        const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
        const ended = bytes >= (connected ? 18 : 50)
        expect(closedReason(effects) !== undefined).toBe(ended)
        expect(effects).toHaveLength(ended ? 2 : 0)
        expect(peer.step(received(new Uint8Array(100))).length === 0).toBe(ended)
      }),
      { numRuns: 40 },
    )
  })
  it('S62: refuses an oversized message of the owner and stays usable', () => {
    const { a, log, send } = pair()
    expect(() => a.step({ from: 'owner', type: 'sendRaw', raw: new Uint8Array(65_536) })).toThrow(RangeError)
    send('a', fee)
    expect(log.b.at(-1)).toMatchObject({ type: 'message', message: fee })
  })
})

describe('liveness', () => {
  it('answers a ping with as many bytes as it asks for, and none from 65532 on', () => {
    const { a, b } = pair()
    const ping = (numPongBytes: number): Uint8Array =>
      written(
        b.step(
          received(
            written(a.step({ from: 'owner', type: 'send', message: { type: 'ping', numPongBytes, ignored: new Uint8Array(3) } })),
          ),
        ),
      )
    expect(ping(7)).toHaveLength(18 + 4 + 7 + 16)
    expect(ping(65_531)).toHaveLength(18 + 65_535 + 16)
    expect(ping(65_532)).toHaveLength(0)
  })
  it('pings after silence, is content with the pong, and pings again', () => {
    const { log, step } = pair()
    step('a', tick(PING_AFTER_MS - 1))
    step('a', tick(PING_AFTER_MS))
    step('a', tick(PING_AFTER_MS + PONG_TIMEOUT_MS + 1))
    step('a', tick(PING_AFTER_MS * 20))
    step('a', tick(PING_AFTER_MS * 40))
    expect(log.a).toHaveLength(1)
  })
  it('closes when nothing answers', () => {
    const { a } = pair()
    expect(written(a.step(tick(PING_AFTER_MS)))).toHaveLength(18 + 6 + 16)
    expect(a.step(tick(PING_AFTER_MS + PONG_TIMEOUT_MS))).toEqual([])
    expect(closedReason(a.step(tick(PING_AFTER_MS + PONG_TIMEOUT_MS + 1)))).toEqual({ code: 'pong_timeout' })
  })
  it('closes on a flood of pings and forgives with time', () => {
    const ping: Message = { type: 'ping', numPongBytes: 0, ignored: new Uint8Array(0) }
    const { log, send, step } = pair()
    for (let i = 0; i < PING_BURST; i++) send('a', ping)
    step('b', tick(2000))
    send('a', ping)
    send('a', ping)
    expect(log.b).toHaveLength(1)
    send('a', ping)
    expect(closedReason(log.b)).toEqual({ code: 'ping_flood' })
  })
})
