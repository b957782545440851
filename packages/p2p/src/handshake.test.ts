import { describe, expect, it } from 'vitest'
import { commandOf, type Effect } from './index.ts'
import { world } from './testing.ts'

const commands = (effects: readonly Effect[]): string[] =>
  effects.flatMap((effect) =>
    effect.type === 'send' ? [commandOf(effect.message)] : effect.type === 'close' ? [`close: ${effect.reason}`] : [],
  )

describe('a handshake', () => {
  it('goes as in Bitcoin Core: version, what each can, verack, and only then the rest', () => {
    const w = world()
    w.connect(1)
    expect(commands(w.take())).toEqual([])
    w.say(1, { type: 'ping', nonce: 1n })
    expect(commands(w.take())).toEqual([])
    w.say(1, w.version())
    expect(commands(w.take())).toEqual(['version', 'wtxidrelay', 'sendaddrv2', 'verack'])
    w.say(1, { type: 'wtxidrelay' })
    w.say(1, { type: 'verack' })
    expect(commands(w.take())).toEqual(['sendcmpct', 'ping', 'getheaders', 'feefilter'])
    w.say(1, { type: 'ping', nonce: 9n })
    expect(w.sent(1)).toContainEqual({ type: 'pong', nonce: 9n })
  })

  it('is begun by who dials, and asks for addresses where they are passed on', () => {
    const w = world()
    w.connect(1, 'outbound-full-relay')
    expect(commands(w.take())).toEqual(['version'])
    w.say(1, w.version())
    expect(commands(w.take())).toEqual(['wtxidrelay', 'sendaddrv2', 'verack', 'getaddr'])
    w.connect(2, 'block-relay-only')
    const [hello] = w.sent(2)
    expect(hello).toMatchObject({ type: 'version', relay: false })
    w.say(2, w.version())
    expect(commands(w.take())).toEqual(['wtxidrelay', 'sendaddrv2', 'verack'])
  })

  it.each(['wtxidrelay', 'sendaddrv2'] as const)('loses a peer that says %s after verack', (type) => {
    const w = world()
    w.greet(1)
    w.take()
    w.say(1, { type })
    expect(commands(w.take())).toEqual([`close: ${type} after verack`])
  })

  it('ends with an old version, with ourselves, with a chosen peer that has not what it was chosen for', () => {
    const w = world()
    w.connect(1)
    w.say(1, w.version({ version: 31_799 }))
    w.connect(2, 'manual')
    w.connect(3)
    w.say(3, w.version({ nonce: 1002n }))
    w.connect(4, 'outbound-full-relay')
    w.say(4, w.version({ services: 1n }))
    w.connect(5, 'feeler')
    w.say(5, w.version({ services: 0n }))
    expect(commands(w.take()).filter((text) => text.startsWith('close'))).toEqual([
      'close: obsolete version 31799',
      'close: connected to ourselves',
      'close: does not offer the expected services',
      'close: feeler',
    ])
  })

  it('that does not come about within a minute ends, as does silence for twenty', () => {
    const w = world()
    w.connect(1)
    w.tick(61_000)
    expect(commands(w.take())).toEqual(['close: version handshake timeout'])
    w.connect(2)
    w.step({ type: 'tick', traffic: () => ({ sentAt: 0, receivedAt: 0 }) })
    expect(commands(w.take())).toEqual([])
    w.tick(1)
    const idle = w.now() - 21 * 60_000
    w.greet(3)
    w.take()
    w.tick(62_000)
    w.step({ type: 'tick', traffic: (id) => ({ sentAt: w.now(), receivedAt: id === 3 ? idle : w.now() }) })
    expect(commands(w.take())).toContain('close: socket receive timeout: 1322s')
  })
})

describe('pings', () => {
  it('are sent every two minutes and answered within twenty, and tell the time that they take', () => {
    const w = world()
    const peer = w.greet(1)
    const [ping] = w.sent(1).filter((message) => message.type === 'ping')
    w.tick(250)
    w.take()
    w.say(1, { type: 'pong', nonce: 77n })
    expect(peer.ping.last).toBeUndefined()
    w.say(1, { type: 'pong', nonce: (ping as { nonce: bigint }).nonce })
    expect(peer.ping).toMatchObject({ nonce: 0n, last: 250, least: 250 })
    w.tick(120_000)
    expect(w.sent(1).map(commandOf)).toContain('ping')
    w.tick(1_200_001)
    expect(commands(w.take())).toContain('close: no answer to a ping')
  })
})
