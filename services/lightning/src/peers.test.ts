/** Peers over a net and a clock that the test moves, and once over real sockets. */
import { bytesToHex, concat } from '@leyden/codec'
import { pointFromSecret } from '@leyden/crypto'
import { encodeMessage, type Message, type NodeId, nodeIdFromPoint, offeredFeatures } from '@leyden/lnwire'
import { type Connection, createSimulation, type Net, type Simulation } from '@leyden/runtime'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { silentLog } from './log.ts'
import { createPeers, type Peers, type PeersOptions } from './peers.ts'
import { systemClock, systemRandom } from './system.ts'
import { tcpNet } from './tcp.ts'
import { withWebSocket } from './websocket.ts'

/** Waits for what must come, however slow the machine. */
const soon = <T>(check: () => T | Promise<T>): Promise<T> => vi.waitFor(check, 15_000)

const secretOf = (n: number): Uint8Array => {
  const secret = new Uint8Array(32)
  secret[30] = n >> 8
  secret[31] = n & 0xff
  return secret
}
const idOf = (n: number): NodeId => nodeIdFromPoint(pointFromSecret(secretOf(n)))
const chainHash = new Uint8Array(32).fill(6)
const stfu = (text: string): Message => ({
  type: 'warning',
  channelId: '00'.repeat(32) as never,
  data: new TextEncoder().encode(text),
})
const SECOND = 1000

/** A node that has nothing but peers, and notes what it is told. */
const nodeOn = (
  n: number,
  ports: Pick<PeersOptions, 'net' | 'clock' | 'random'>,
  options: Partial<PeersOptions> = {},
): { readonly peers: Peers; readonly told: string[]; readonly id: NodeId; readonly names: Map<string, string> } => {
  const told: string[] = []
  const names = new Map<string, string>()
  const nameOf = (id: NodeId): string => names.get(id) ?? id
  const peers = createPeers({
    ...ports,
    log: silentLog,
    nodeSecret: secretOf(n),
    features: offeredFeatures('init'),
    chainHash,
    isKnown: () => true,
    onReady: (id) => told.push(`ready ${nameOf(id)}`),
    onMessage: (id, message, raw) => {
      told.push(`${message.type} of ${nameOf(id)}, ${raw.length} bytes`)
      return Promise.resolve()
    },
    onClosed: (id) => told.push(`closed ${nameOf(id)}`),
    ...options,
  })
  return { peers, told, id: idOf(n), names }
}

const world = (seed = 1) => {
  const sim = createSimulation(seed, { leastDelayMs: 1, mostDelayMs: 20 })
  return {
    sim,
    node: (name: string, n: number, options: Partial<PeersOptions> = {}) => nodeOn(n, sim.boot(name), options),
    run: (forMs = SECOND) => sim.run({ forMs }),
  }
}
/** Runs the simulation until a promise of it has settled. */
const settle = async <T>(sim: Simulation, promise: Promise<T>): Promise<T> => {
  let over = false
  const noted = promise.finally(() => {
    over = true
  })
  noted.catch(() => undefined)
  await sim.run({ until: () => over, forMs: 120 * SECOND })
  return await noted
}

describe('connecting', () => {
  it('resolves when both have said init, and carries messages both ways', async () => {
    const { node, sim, run } = world()
    const a = node('a', 1)
    const b = node('b', 2)
    a.names.set(b.id, 'b')
    b.names.set(a.id, 'a')
    await settle(sim, b.peers.listen('b:1'))
    const info = await settle(sim, a.peers.connect(b.id, 'b:1'))
    expect(info).toMatchObject({ nodeId: b.id, address: 'b:1', inbound: false })
    expect(await settle(sim, a.peers.connect(b.id, 'elsewhere:1'))).toEqual(info)
    a.peers.send(b.id, stfu('x'))
    b.peers.sendRaw(a.id, encodeMessage(stfu('yz')))
    await run()
    expect([a.told, b.told]).toEqual([
      ['ready b', 'warning of b, 38 bytes'],
      ['ready a', 'warning of a, 37 bytes'],
    ])
    expect(b.peers.list().map(({ nodeId, inbound }) => [nodeId, inbound])).toEqual([[a.id, true]])
    expect(a.peers.info(b.id)?.features.known.option_static_remotekey).toBeDefined()
    a.peers.disconnect(b.id)
    await run()
    expect([a.told.at(-1), b.told.at(-1), a.peers.list(), b.peers.info(a.id)]).toEqual(['closed b', 'closed a', [], undefined])
  })

  it('answers in the order of the nonces, also to what comes in one piece and is answered at once', async () => {
    const { node, sim, run } = world()
    let held: Uint8Array[] | undefined
    let release = (): void => undefined
    const inOnePiece = (net: Net): Net => ({
      ...net,
      dial: async (address) => {
        const connection = await net.dial(address)
        release = () => {
          connection.send(concat(...(held ?? [])))
          held = undefined
        }
        return { ...connection, send: (bytes) => (held === undefined ? connection.send(bytes) : void held.push(bytes)) }
      },
    })
    const answering = node('a', 1, {
      onMessage: (id) => {
        answering.peers.send(id, stfu('at once'))
        return Promise.resolve()
      },
    })
    const ports = sim.boot('b')
    const asking = nodeOn(2, { ...ports, net: inOnePiece(ports.net) })
    await settle(sim, answering.peers.listen('a:1'))
    await settle(sim, asking.peers.connect(answering.id, 'a:1'))
    held = []
    asking.peers.send(answering.id, stfu('?'))
    asking.peers.send(answering.id, { type: 'ping', numPongBytes: 3, ignored: new Uint8Array(0) })
    asking.peers.send(answering.id, stfu('?'))
    release()
    await run()
    const answer = `warning of ${answering.id}, ${encodeMessage(stfu('at once')).length} bytes`
    expect(asking.told).toEqual([`ready ${answering.id}`, answer, answer])
  })

  it('shares one dial between callers', async () => {
    const { node, sim } = world()
    const a = node('a', 1)
    const b = node('b', 2)
    await settle(sim, b.peers.listen('b:1'))
    const both = [a.peers.connect(b.id, 'b:1'), a.peers.connect(b.id, 'b:1')]
    expect(both[0]).toBe(both[1])
    await settle(sim, Promise.all(both))
    expect(b.told.length).toBe(1)
  })

  it('refuses an id that is no point, its own, and another than the node has, each with a reason', async () => {
    const { node, sim } = world()
    const a = node('a', 1)
    const b = node('b', 2)
    await settle(sim, b.peers.listen('b:1'))
    const noPoint = `02${'00'.repeat(31)}05` as NodeId
    await expect(settle(sim, a.peers.connect(noPoint, 'b:1'))).rejects.toThrow('not a point on the curve')
    await expect(settle(sim, a.peers.connect(a.id, 'b:1'))).rejects.toThrow('the id of this node itself')
    await expect(settle(sim, a.peers.connect(idOf(3), 'b:1'))).rejects.toThrow('is the node id right?')
    await expect(settle(sim, a.peers.connect(b.id, 'nobody:1'))).rejects.toThrow('nobody answers')
    expect(b.told).toEqual([])
  })

  it('gives up on a node that takes the connection and says nothing', async () => {
    const { node, sim } = world()
    const a = node('a', 1)
    const silent = sim.boot('silent')
    await settle(
      sim,
      silent.net.listen('silent:1', (connection) => connection.onData(() => undefined)),
    )
    await expect(settle(sim, a.peers.connect(idOf(2), 'silent:1'))).rejects.toThrow('no handshake in time')
  })

  it('refuses a node of another chain', async () => {
    const { node, sim } = world()
    const a = node('a', 1)
    const b = node('b', 2, { chainHash: new Uint8Array(32).fill(7) })
    await settle(sim, b.peers.listen('b:1'))
    await expect(settle(sim, a.peers.connect(b.id, 'b:1'))).rejects.toThrow('it is on another network')
  })
})

describe('a second connection of the same peer', () => {
  it('takes the place of the first', async () => {
    const { node, sim, run } = world()
    const a = node('a', 1)
    const first = node('b', 2)
    a.names.set(first.id, 'b')
    await settle(sim, a.peers.listen('a:1'))
    await settle(sim, first.peers.connect(a.id, 'a:1'))
    const second = node('b again', 2)
    await settle(sim, second.peers.connect(a.id, 'a:1'))
    await run()
    expect(a.told).toEqual(['ready b', 'closed b', 'ready b'])
    expect([first.peers.list().length, second.peers.list().length]).toEqual([0, 1])
  })

  it.each([1, 2, 3, 4, 5, 6, 7, 8])('is one connection in the end when both dial at once (seed %i)', async (seed) => {
    const { node, sim, run } = world(seed)
    const a = node('a', 1)
    const b = node('b', 2)
    await settle(sim, Promise.all([a.peers.listen('a:1'), b.peers.listen('b:1')]))
    const infos = await settle(sim, Promise.all([a.peers.connect(b.id, 'b:1'), b.peers.connect(a.id, 'a:1')]))
    expect(infos.map(({ nodeId }) => nodeId)).toEqual([b.id, a.id])
    await run()
    const lower = a.id < b.id ? a : b
    expect([a, b].map((one) => one.peers.list().map(({ inbound }) => inbound))).toEqual([[lower !== a], [lower !== b]])
    expect(sim.network.lines().length).toBe(1)
  })
})

describe('a peer that is kept', () => {
  it('is dialled at once, and again with growing pauses, until it answers', async () => {
    const { node, sim, run } = world()
    const host = sim.boot('a')
    const dialledMs: number[] = []
    const start = sim.now()
    const dial: Net['dial'] = (address) => {
      dialledMs.push(sim.now() - start)
      return host.net.dial(address)
    }
    const a = nodeOn(1, { ...host, net: { ...host.net, dial } })
    a.peers.keep(idOf(2), ['b:1'])
    await run(600 * SECOND)
    const pauses = dialledMs.map((ms, i) => ms - (dialledMs[i - 1] ?? 0))
    expect(pauses[0]).toBe(0)
    // 1, 2, 4 ... 60 seconds, give or take a half, and the time that a refusal takes.
    for (const [i, pause] of pauses.slice(1).entries()) {
      const whole = Math.min(60, 2 ** (i + 1)) * SECOND
      expect([pause >= whole / 2, pause <= whole + 100]).toEqual([true, true])
    }
    expect(pauses.length).toBeGreaterThan(10)
    const b = node('b', 2)
    await settle(sim, b.peers.listen('b:1'))
    await run(100 * SECOND)
    expect(a.told).toEqual([`ready ${b.id}`])
  })

  it('is dialled again soon after a cut, at the next of its addresses when one does not answer, and not after forget', async () => {
    const { node, sim, run } = world()
    const a = node('a', 1)
    const b = node('b', 2)
    a.names.set(b.id, 'b')
    await settle(sim, b.peers.listen('b:1'))
    a.peers.keep(b.id, ['gone:1', 'b:1'])
    await run(10 * SECOND)
    expect(a.told).toEqual(['ready b'])
    expect(sim.network.cut('a', 'b')).toBe(1)
    await run(20 * SECOND)
    expect(a.told).toEqual(['ready b', 'closed b', 'ready b'])
    a.peers.forget(b.id)
    sim.network.cut('a', 'b')
    await run(120 * SECOND)
    expect(a.told.at(-1)).toBe('closed b')
  })

  it('is not dialled while it is connected', async () => {
    const { node, sim, run } = world()
    const a = node('a', 1)
    const b = node('b', 2)
    await settle(sim, Promise.all([a.peers.listen('a:1'), b.peers.listen('b:1')]))
    await settle(sim, b.peers.connect(a.id, 'a:1'))
    a.peers.keep(b.id, ['b:1'])
    await run(60 * SECOND)
    expect([a.told.length, b.told.length]).toEqual([1, 1])
  })

  it('notices a line that died without a word', async () => {
    const { node, sim, run } = world()
    const a = node('a', 1)
    const b = node('b', 2)
    a.names.set(b.id, 'b')
    // A net that swallows all that b sends, once told to.
    let dead = false
    const swallow = (connection: Connection): Connection => ({
      remoteAddress: connection.remoteAddress,
      bufferedBytes: 0,
      send: (bytes) => {
        if (!dead) connection.send(bytes)
      },
      onData: (fn) => connection.onData(fn),
      onClose: (fn) => connection.onClose(fn),
      close: () => connection.close(),
    })
    const host = sim.boot('c')
    const c = nodeOn(3, { ...host, net: { ...host.net, dial: async (address) => swallow(await host.net.dial(address)) } })
    a.names.set(c.id, 'c')
    await settle(sim, a.peers.listen('a:1'))
    await settle(sim, c.peers.connect(a.id, 'a:1'))
    dead = true
    await run(80 * SECOND)
    expect(a.told).toEqual(['ready c', 'closed c'])
  })
})

describe('what a peer can do to us', () => {
  /** Bytes from one that is no peer. */
  const stranger = async (
    sim: Simulation,
    name: string,
    address: string,
  ): Promise<{ send: (bytes: Uint8Array) => void; closed: string[] }> => {
    const host = sim.boot(name)
    const connection = await settle(sim, host.net.dial(address))
    const closed: string[] = []
    connection.onData(() => undefined)
    connection.onClose((reason) => closed.push(reason))
    return { send: (bytes) => connection.send(bytes), closed }
  }

  it('garbage costs the one connection that it came on', async () => {
    const { node, sim, run } = world()
    const a = node('a', 1)
    const b = node('b', 2)
    a.names.set(b.id, 'b')
    await settle(sim, a.peers.listen('a:1'))
    await settle(sim, b.peers.connect(a.id, 'a:1'))
    for (const [i, bytes] of [
      new Uint8Array(50),
      new Uint8Array(50).fill(0xff),
      sim.random.bytes(500),
      new TextEncoder().encode('GET / HTTP/1.1\r\n'.repeat(5)),
    ].entries()) {
      const one = await stranger(sim, `stranger ${i}`, 'a:1')
      one.send(bytes)
      await run()
      expect([i, one.closed.length]).toEqual([i, 1])
    }
    b.peers.send(a.id, stfu('x'))
    await run()
    expect(a.told).toEqual(['ready b', 'warning of b, 37 bytes'])
  })

  it('a message that does not decode, or an unknown even one, ends the connection; an unknown odd one does not', async () => {
    const { node, sim, run } = world()
    const a = node('a', 1)
    a.names.set(idOf(2), 'b')
    await settle(sim, a.peers.listen('a:1'))
    for (const [i, [hex, ends]] of (
      [
        ['0080ff', true],
        ['fffe00', true],
        ['ffff00', false],
        ['', true],
        ['00', true],
      ] as const
    ).entries()) {
      const b = node(`b${i}`, 2)
      await settle(sim, b.peers.connect(a.id, 'a:1'))
      a.told.length = 0
      b.peers.sendRaw(a.id, Uint8Array.from(Buffer.from(hex, 'hex')))
      await run()
      expect([hex, a.told.includes('closed b')]).toEqual([hex, ends])
      b.peers.disconnect(a.id)
      await run()
    }
  })

  it('S43, S57: messages that we cannot take in time end the connection, by number and by bytes', async () => {
    for (const [count, size] of [
      [2001, 0],
      [70, 65_000],
    ] as const) {
      const { node, sim, run } = world()
      const pending: (() => void)[] = []
      const a = node('a', 1, { onMessage: () => new Promise((resolve) => pending.push(resolve)) })
      const b = node('b', 2)
      a.names.set(b.id, 'b')
      await settle(sim, a.peers.listen('a:1'))
      await settle(sim, b.peers.connect(a.id, 'a:1'))
      const message = stfu('x'.repeat(size))
      for (let i = 0; i < count; i++) b.peers.send(a.id, message)
      await run(5 * SECOND)
      expect(a.told.at(-1)).toBe('closed b')
      expect(pending.length).toBeLessThanOrEqual(2000)
      expect(pending.length * encodeMessage(message).length).toBeLessThanOrEqual(4 * 1024 * 1024)
    }
  })

  it('S57: what was dealt with makes room again', async () => {
    const { node, sim, run } = world()
    const a = node('a', 1)
    const b = node('b', 2)
    await settle(sim, a.peers.listen('a:1'))
    await settle(sim, b.peers.connect(a.id, 'a:1'))
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 1500; i++) b.peers.send(a.id, stfu('x'))
      await run(5 * SECOND)
    }
    expect([a.told.length, a.peers.list().length]).toEqual([1 + 4500, 1])
  })

  it('S53: strangers are 64 at the most, and never in the way of those whom we have a channel with', async () => {
    const { node, sim, run } = world()
    const known = idOf(1000)
    const a = node('a', 1, { isKnown: (id) => id === known })
    await settle(sim, a.peers.listen('a:1'))
    const others = Array.from({ length: 66 }, (_, i) => node(`n${i}`, 2 + i))
    for (const other of others)
      await settle(
        sim,
        other.peers.connect(a.id, 'a:1').catch(() => undefined),
      )
    await run()
    expect(a.peers.list().length).toBe(64)
    const friend = node('friend', 1000)
    await settle(sim, friend.peers.connect(a.id, 'a:1'))
    expect([a.peers.list().length, a.peers.info(known)?.nodeId]).toEqual([65, known])
  })

  it('S53: handshakes that stand still are 32 at the most, and time out', async () => {
    const { node, sim, run } = world()
    const a = node('a', 1)
    await settle(sim, a.peers.listen('a:1'))
    const strangers = []
    for (let i = 0; i < 40; i++) strangers.push(await stranger(sim, `s${i}`, 'a:1'))
    await run(2 * SECOND)
    expect(strangers.filter(({ closed }) => closed.length > 0).length).toBe(8)
    await run(40 * SECOND)
    expect(strangers.filter(({ closed }) => closed.length > 0).length).toBe(40)
    const b = node('b', 2)
    await settle(sim, b.peers.connect(a.id, 'a:1'))
  })

  it('one that reads nothing is let go before it fills our memory', async () => {
    const { node, sim } = world()
    const a = node('a', 1)
    const b = node('b', 2)
    a.names.set(b.id, 'b')
    await settle(sim, a.peers.listen('a:1'))
    await settle(sim, b.peers.connect(a.id, 'a:1'))
    const big = stfu('x'.repeat(65_000))
    for (let i = 0; i < 300; i++) a.peers.send(b.id, big)
    expect(a.told.at(-1)).toBe('closed b')
  })

  it('a message to one that is not there goes nowhere', () => {
    const { node } = world()
    const a = node('a', 1)
    a.peers.send(idOf(2), stfu('x'))
    a.peers.sendRaw(idOf(2), new Uint8Array(2))
    a.peers.disconnect(idOf(2))
    expect([a.told, a.peers.info(idOf(2))]).toEqual([[], undefined])
  })
})

describe('stopping', () => {
  it('ends every connection, dials nobody again and frees the port', async () => {
    const { node, sim, run } = world()
    const a = node('a', 1)
    const b = node('b', 2)
    a.names.set(b.id, 'b')
    await settle(sim, b.peers.listen('b:1'))
    a.peers.keep(b.id, ['b:1'])
    await run()
    await settle(sim, a.peers.stop())
    await run(200 * SECOND)
    expect([a.told, b.told.length]).toEqual([['ready b', 'closed b'], 2])
    await settle(sim, b.peers.stop())
    await expect(settle(sim, node('c', 3).peers.connect(b.id, 'b:1'))).rejects.toThrow('nobody answers')
  })
})

describe('over real sockets', () => {
  const closing: (() => Promise<void>)[] = []
  afterEach(async () => {
    for (const close of closing.splice(0)) await close()
  })

  it.each(['127.0.0.1:0', 'ws:127.0.0.1:0'])('handshake and messages on %s', async (address) => {
    const net: Net = withWebSocket(tcpNet())
    const real = { net, clock: systemClock, random: systemRandom }
    const a = nodeOn(1, real)
    const b = nodeOn(2, real)
    closing.push(
      () => a.peers.stop(),
      () => b.peers.stop(),
    )
    const listener = await b.peers.listen(address)
    await a.peers.connect(b.id, listener.address)
    for (let i = 0; i < 1500; i++) a.peers.send(b.id, stfu('x'.repeat(i))) // past two key rotations
    b.peers.send(a.id, stfu('back'))
    await soon(() => expect(b.told.length).toBe(1501))
    await soon(() => expect(a.told.length).toBe(2))
    expect(b.told.at(-1)).toBe(`warning of ${a.id}, ${36 + 1499} bytes`)
    a.peers.disconnect(b.id)
    await soon(() => expect(b.told.at(-1)).toBe(`closed ${a.id}`))
  })

  it('nothing of a stranger on the port reaches the node', async () => {
    const net = tcpNet()
    const b = nodeOn(2, { net, clock: systemClock, random: systemRandom })
    closing.push(() => b.peers.stop())
    const listener = await b.peers.listen('127.0.0.1:0')
    const connection = await net.dial(listener.address)
    const closed = new Promise<string>((resolve) => {
      connection.onClose(resolve)
    })
    connection.onData(() => undefined)
    connection.send(new Uint8Array(50).fill(bytesToHex(new Uint8Array(1)).length))
    await closed
    expect(b.told).toEqual([])
  })
})
