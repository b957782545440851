/**
 * A whole network in one thread on virtual time, from one seed: the same seed gives the same trace, whatever machine runs it.
 * An event runs, then every promise that it settled, then the next event in the order of time. Code under simulation must take time,
 * randomness, disk and net from its host's ports and wait for nothing else.
 */
import type { Cancel, Clock, Net, Random } from '../ports.ts'
import { Disk } from '../store/memory.ts'
import { crashStore, type CrashPoint, type CrashStore } from './crash-store.ts'
import { createNetwork, type NetworkOptions, type SimNetwork } from './network.ts'
import { seededRandom, type SeededRandom } from './random.ts'

export type SimulationOptions = NetworkOptions & {
  /** Virtual time at the start, ms since 1970. */
  readonly startMs?: number
  /** How long a write to a disk takes at most, in ms. */
  readonly mostWriteMs?: number
}

/** One life of a host, from boot to crash. Its ports die with it. */
export interface SimHost {
  readonly name: string
  readonly clock: Clock
  readonly random: Random
  readonly net: Net
  /** Over the host's disk, which outlives it. */
  readonly store: CrashStore
  readonly alive: boolean
  /** Power off: timers, lines and writes in flight are gone. */
  crash(): void
}

export interface Simulation {
  readonly random: SeededRandom
  readonly network: SimNetwork
  /** Virtual time in ms since 1970. */
  now(): number
  /** Runs `fn` as an event. The label goes into the trace. */
  schedule(delayMs: number, label: string, fn: () => void): Cancel
  /** Starts a host on its disk (empty at first). It must not be alive. `crashAt`: see CrashStore; the whole host crashes there. */
  boot(name: string, crashAt?: CrashPoint): SimHost
  /** What outlives a host. */
  disk(name: string): Disk
  /** Runs events until none is left, or `until` holds, or the next is after `untilMs` from now, or `mostEvents` ran. Returns how many ran. */
  run(limits?: { readonly until?: () => boolean; readonly forMs?: number; readonly mostEvents?: number }): Promise<number>
  /** Adds a line of a test's own to the trace. */
  trace(line: string): void
  /** Fingerprint of all that has happened so far: 16 hex digits. */
  traceHash(): string
}

type Event = { readonly at: number; readonly order: number; readonly label: string; readonly fn: () => void; cancelled: boolean }

/** Two 32-bit lanes: not cryptographic, good enough to tell two runs apart. */
const createTrace = () => {
  let a = 0x9e3779b9
  let b = 0x85ebca6b
  const mix = (value: number): void => {
    a = Math.imul(a ^ value, 0x01000193)
    b = Math.imul((b ^ value ^ (b >>> 13)) >>> 0, 0x5bd1e995)
    b ^= b >>> 15
  }
  return {
    line: (text: string, bytes?: Uint8Array): void => {
      for (let i = 0; i < text.length; i++) mix(text.charCodeAt(i))
      mix(0x1_0000)
      if (bytes !== undefined) for (const byte of bytes) mix(byte)
      mix(0x1_0001)
    },
    hash: (): string => [a, b].map((lane) => (lane >>> 0).toString(16).padStart(8, '0')).join(''),
  }
}

/** A binary heap of events, earliest first; of the same time, first scheduled first. */
const createAgenda = () => {
  const heap: Event[] = []
  const before = (i: number, j: number): boolean => {
    const [x, y] = [heap[i] as Event, heap[j] as Event]
    return x.at < y.at || (x.at === y.at && x.order < y.order)
  }
  const swap = (i: number, j: number): void => {
    const kept = heap[i] as Event
    heap[i] = heap[j] as Event
    heap[j] = kept
  }
  return {
    peek: (): Event | undefined => heap[0],
    push(event: Event): void {
      heap.push(event)
      for (let i = heap.length - 1; i > 0;) {
        const parent = (i - 1) >> 1
        if (!before(i, parent)) break
        swap(i, parent)
        i = parent
      }
    },
    pop(): Event | undefined {
      const first = heap[0]
      const last = heap.pop()
      if (first === undefined || last === undefined || heap.length === 0) return first
      heap[0] = last
      for (let i = 0; ;) {
        let least = i
        for (const child of [2 * i + 1, 2 * i + 2]) if (child < heap.length && before(child, least)) least = child
        if (least === i) return first
        swap(i, least)
        i = least
      }
    },
  }
}

/** Resolves when every promise that can settle without an event has: a turn of the event loop comes after all microtasks. */
const createDrain = () => {
  const { port1, port2 } = new MessageChannel()
  let resume: (() => void) | undefined
  port1.addEventListener('message', () => resume?.())
  port1.start()
  return {
    drain: (): Promise<void> =>
      new Promise((resolve) => {
        resume = resolve
        port2.postMessage(0)
      }),
    close: (): void => port1.close(),
  }
}

export const createSimulation = (seed: number, options: SimulationOptions = {}): Simulation => {
  const random = seededRandom(seed)
  const diskRandom = random.fork('disks')
  const mostWriteMs = options.mostWriteMs ?? 4
  const agenda = createAgenda()
  const trace = createTrace()
  const disks = new Map<string, Disk>()
  const lives = new Map<string, SimHost>()
  let time = options.startMs ?? 1_700_000_000_000
  let order = 0

  const schedule = (delayMs: number, label: string, fn: () => void): Cancel => {
    const event: Event = { at: time + Math.max(0, delayMs), order: order++, label, fn, cancelled: false }
    agenda.push(event)
    return () => {
      event.cancelled = true
    }
  }
  const network = createNetwork({ schedule, now: () => time, trace: trace.line, random: random.fork('network') }, options)

  const diskOf = (name: string): Disk => {
    let disk = disks.get(name)
    if (disk === undefined) disks.set(name, (disk = new Disk()))
    return disk
  }
  const boot = (name: string, crashAt?: CrashPoint): SimHost => {
    if (lives.get(name)?.alive === true) throw new Error(`${name} is running`)
    const disk = diskOf(name)
    trace.line(`boot ${name}`)
    let alive = true
    let lastWrite = 0
    const net = network.attach(name)
    const ifAlive = (fn: () => void) => (): void => {
      if (alive) fn()
    }
    const crash = (): void => {
      if (!alive) return
      alive = false
      trace.line(`crash ${name}`)
      net.detach()
      store.crash()
    }
    const store = crashStore({
      disk,
      onCrash: crash,
      delay: (apply) => {
        lastWrite = Math.max(lastWrite, time + diskRandom.below(mostWriteMs + 1))
        schedule(lastWrite - time, `write of ${name}`, ifAlive(apply))
      },
    })
    if (crashAt !== undefined) store.crashAt(crashAt)
    const host: SimHost = {
      name,
      clock: {
        now: () => time,
        setTimer: (delayMs, fn) => schedule(delayMs, `timer of ${name}`, ifAlive(fn)),
      },
      random: random.fork(name),
      net,
      store,
      get alive() {
        return alive
      },
      crash,
    }
    lives.set(name, host)
    return host
  }

  return {
    random,
    network,
    now: () => time,
    schedule,
    boot,
    disk: diskOf,
    async run(limits = {}) {
      const end = limits.forMs === undefined ? Number.POSITIVE_INFINITY : time + limits.forMs
      const mostEvents = limits.mostEvents ?? Number.POSITIVE_INFINITY
      const { drain, close } = createDrain()
      let count = 0
      try {
        await drain()
        while (count < mostEvents && limits.until?.() !== true) {
          const next = agenda.peek()
          if (next === undefined) break
          if (next.at > end) {
            time = end
            break
          }
          agenda.pop()
          if (next.cancelled) continue
          time = Math.max(time, next.at)
          trace.line(`${time} ${next.label}`)
          next.fn()
          count++
          await drain()
        }
        if (agenda.peek() === undefined && end !== Number.POSITIVE_INFINITY) time = Math.max(time, end)
      } finally {
        close()
      }
      return count
    },
    trace: trace.line,
    traceHash: trace.hash,
  }
}
