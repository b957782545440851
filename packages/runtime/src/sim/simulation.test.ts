import { describe, expect, it } from 'vitest'
import type { Connection } from '../ports.ts'
import { seededRandom } from './random.ts'
import { createSimulation, type Simulation } from './simulation.ts'

const FIRST = [393288148, 2174103013, 3814759091]

describe('seededRandom', () => {
  it('is the same everywhere: first draws of seed 1', () => {
    const random = seededRandom(1)
    expect([random.u32(), random.u32(), random.u32()]).toEqual(FIRST)
    expect([...seededRandom(7).bytes(4)]).toEqual([...seededRandom(7).bytes(4)])
  })

  it('draws within bounds, and every value', () => {
    const random = seededRandom(2)
    const seen = new Set(Array.from({ length: 400 }, () => random.below(6)))
    expect(seen).toEqual(new Set([0, 1, 2, 3, 4, 5]))
    expect(() => random.below(0)).toThrow(RangeError)
    expect(() => random.pick([])).toThrow(RangeError)
    expect([random.chance(0), random.chance(1)]).toEqual([false, true])
  })

  it('forks are independent of each other', () => {
    const one = seededRandom(3).fork('a').u32()
    expect(one).toBe(seededRandom(3).fork('a').u32())
    expect(one).not.toBe(seededRandom(3).fork('b').u32())
  })
})

const text = (bytes: Uint8Array): string => String.fromCharCode(...bytes)
const bytes = (t: string): Uint8Array => Uint8Array.from(t, (c) => c.charCodeAt(0))

/** Three clients each send their letters in pieces to one server; returns what the server got, in total and by line. */
const chatter = async (
  seed: number,
  cutShare = 0,
): Promise<{ hash: string; order: string; perLine: string[]; ended: number }> => {
  const simulation = createSimulation(seed, { cutShare, mostDelayMs: 50 })
  const server = simulation.boot('server')
  const perLine: string[] = []
  let order = ''
  let ended = 0
  void server.net.listen('server:1', (connection) => {
    const at = perLine.push('') - 1
    connection.onData((data) => {
      perLine[at] += text(data)
      order += text(data)
    })
    connection.onClose(() => ended++)
  })
  for (const name of ['a', 'b', 'c']) {
    const client = simulation.boot(name)
    void client.net.dial('server:1').then(async (connection) => {
      for (let n = 0; n < 5; n++) connection.send(bytes(`${name}${n}`.repeat(4)))
      client.clock.setTimer(10, () => connection.close())
    })
  }
  await simulation.run()
  return { hash: simulation.traceHash(), order, perLine, ended }
}

describe('the network', () => {
  it('the same seed gives the same run, another seed another', async () => {
    const [one, again, other] = [await chatter(1), await chatter(1), await chatter(2)]
    expect(again).toEqual(one)
    expect(other.hash).not.toBe(one.hash)
    expect(one.hash).toMatch(/^[0-9a-f]{16}$/)
  })

  it('keeps the order within a line and lets lines overtake each other; close comes after the last data', async () => {
    const { perLine, order, ended } = await chatter(1)
    const expected = ['a', 'b', 'c'].map((name) => [0, 1, 2, 3, 4].map((n) => `${name}${n}`.repeat(4)).join(''))
    expect(perLine.toSorted()).toEqual(expected)
    expect(order).not.toBe(perLine.join(''))
    expect(ended).toBe(3)
  })

  it('a line that breaks by chance delivers a beginning of what was sent, and closes at both ends', async () => {
    let broken = 0
    for (let seed = 0; seed < 20; seed++) {
      const { perLine, ended } = await chatter(seed, 0.2)
      expect(ended).toBe(perLine.length)
      for (const got of perLine) {
        const whole = [0, 1, 2, 3, 4].map((n) => `${got[0] ?? 'a'}${n}`.repeat(4)).join('')
        expect(whole.startsWith(got)).toBe(true)
        if (got !== whole) broken++
      }
    }
    expect(broken).toBeGreaterThan(10)
  })

  const line = async (simulation: Simulation) => {
    const [a, b] = [simulation.boot('a'), simulation.boot('b')]
    const events: string[] = []
    const ends: Connection[] = []
    void b.net.listen('b:1', (connection) => {
      ends[1] = connection
      connection.onData((data) => events.push(`b got ${text(data)}`))
      connection.onClose((reason) => events.push(`b: ${reason}`))
    })
    void a.net.dial('b:1').then((connection) => {
      ends[0] = connection
      connection.onClose((reason) => events.push(`a: ${reason}`))
    })
    await simulation.run()
    return { a, b, ends, events }
  }
  const dial = async (simulation: Simulation, from: { readonly net: { dial(address: string): Promise<Connection> } }) => {
    let outcome = 'nothing'
    from.net.dial('b:1').then(
      () => (outcome = 'connected'),
      (error: unknown) => (outcome = String(error)),
    )
    await simulation.run()
    return outcome
  }

  it('cuts, blocks and unblocks a pair of hosts', async () => {
    const simulation = createSimulation(5)
    const { a, events } = await line(simulation)
    expect(simulation.network.lines()).toEqual([['a', 'b']])
    expect(simulation.network.cut('b', 'a')).toBe(1)
    await simulation.run()
    expect(events.toSorted()).toEqual(['a: cut', 'b: cut'])
    simulation.network.block('a', 'b')
    expect(await dial(simulation, a)).toBe('Error: nobody answers at b:1')
    simulation.network.unblock('a', 'b')
    expect(await dial(simulation, a)).toBe('connected')
  })

  it('keeps what came before the receiver was set, and counts what is under way', async () => {
    const simulation = createSimulation(6, { splitShare: 0 })
    const { ends, events } = await line(simulation)
    ends[1]?.send(bytes('early'))
    expect(ends[1]?.bufferedBytes).toBe(5)
    await simulation.run()
    expect(ends[1]?.bufferedBytes).toBe(0)
    ends[0]?.onData((data) => events.push(`a got ${text(data)}`))
    expect(events).toEqual([])
    await simulation.run()
    expect(events).toEqual(['a got early'])
  })

  it('a crash silences the host: its timers, lines, ports and writes; the other end sees a broken line', async () => {
    const simulation = createSimulation(7)
    const { a, b, ends, events } = await line(simulation)
    b.clock.setTimer(1, () => events.push('timer of the dead'))
    void b.store.write([{ key: bytes('k'), value: bytes('v') }]).then(() => events.push('write of the dead'))
    ends[0]?.send(bytes('hello'))
    b.crash()
    await simulation.run()
    expect(events).toEqual(['a: b crashed'])
    expect(await dial(simulation, a)).toBe('Error: nobody answers at b:1')
    const again = simulation.boot('b')
    expect([b.alive, again.alive, simulation.disk('b').size]).toEqual([false, true, 0])
    expect(() => simulation.boot('b')).toThrow('b is running')
  })

  it('a host crashes with its store at a chosen write', async () => {
    const simulation = createSimulation(8)
    const host = simulation.boot('a', { write: 2, when: 'after' })
    const done: number[] = []
    for (const n of [1, 2, 3]) void host.store.write([{ key: Uint8Array.of(n), value: bytes('v') }]).then(() => done.push(n))
    await simulation.run()
    expect([host.alive, done, simulation.disk('a').size]).toEqual([false, [1], 2])
  })
})

describe('run', () => {
  it('lets all promises of an event settle before the next event, and stops where it is told', async () => {
    const simulation = createSimulation(1, { startMs: 1000 })
    const seen: string[] = []
    const hops = async (name: string): Promise<void> => {
      for (let n = 0; n < 100; n++) await Promise.resolve()
      seen.push(`${name} at ${simulation.now()}`)
    }
    simulation.schedule(5, 'late', () => void hops('late'))
    simulation.schedule(5, 'later', () => void hops('later'))
    simulation.schedule(1, 'early', () => void hops('early'))
    simulation.schedule(3, 'never', () => seen.push('never'))()
    expect(await simulation.run({ mostEvents: 1 })).toBe(1)
    expect(seen).toEqual(['early at 1001'])
    expect(await simulation.run({ forMs: 2 })).toBe(0)
    expect(simulation.now()).toBe(1003)
    expect(await simulation.run({ until: () => seen.length === 2 })).toBe(1)
    await simulation.run({ forMs: 1000 })
    expect(seen).toEqual(['early at 1001', 'late at 1005', 'later at 1005'])
    expect(simulation.now()).toBe(2005)
  })
})
