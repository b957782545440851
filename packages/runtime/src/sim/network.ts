/**
 * A network of byte streams between named hosts, on virtual time. Bytes of one connection arrive in order, cut anywhere, and in one piece
 * when they arrive at one time; different connections overtake each other. Lines break by command, by blocking a pair of hosts, or by
 * chance.
 */
import { concat } from '@leyden/codec'
import type { Connection, Listener, Net } from '../ports.ts'
import type { SeededRandom } from './random.ts'

export type NetworkOptions = {
  /** Delay of one way, in ms: uniform from least to most. */
  readonly leastDelayMs?: number
  readonly mostDelayMs?: number
  /** Share of sends (0 to 1) that arrive in two pieces. */
  readonly splitShare?: number
  /** Share of sends (0 to 1) at which the line breaks. */
  readonly cutShare?: number
}

/** What the network needs of the scheduler. */
export type NetworkScheduler = {
  readonly schedule: (delayMs: number, label: string, fn: () => void) => void
  readonly now: () => number
  readonly trace: (line: string, bytes?: Uint8Array) => void
  readonly random: SeededRandom
}

export interface SimNetwork {
  /** The net port of one life of a host. */
  attach(host: string): Net & { detach(): void }
  /** Breaks every line between two hosts now; new ones can be made. Returns how many broke. */
  cut(a: string, b: string): number
  /** Breaks every line between two hosts and refuses new ones until `unblock`. */
  block(a: string, b: string): void
  unblock(a: string, b: string): void
  /** From now on no line breaks by chance. */
  calm(): void
  /** From now on lines break by chance, at this share of sends (0 to 1). */
  roughen(share: number): void
  /** Pairs of hosts that have a line, each once. */
  lines(): readonly (readonly [string, string])[]
}

type End = {
  readonly host: string
  connection: Connection
  onData: ((bytes: Uint8Array) => void) | undefined
  onClose: ((reason: string) => void) | undefined
  waiting: Uint8Array[]
  /** What is on its way to this end, in order. */
  coming: { readonly atMs: number; readonly bytes: Uint8Array }[]
  closedBecause: string | undefined
  /** When the last of what was sent towards this end arrives. */
  lastArrival: number
  inFlight: number
}
type Line = { readonly id: number; readonly ends: readonly [End, End]; broken: boolean; closing: boolean }
type Port = { readonly host: string; readonly onConnection: (connection: Connection) => void }

const pairOf = (a: string, b: string): string => (a < b ? `${a} ${b}` : `${b} ${a}`)

export const createNetwork = (scheduler: NetworkScheduler, options: NetworkOptions = {}): SimNetwork => {
  const { random } = scheduler
  const least = options.leastDelayMs ?? 1
  const most = Math.max(least, options.mostDelayMs ?? 20)
  const splitShare = options.splitShare ?? 0.2
  let cutShare = options.cutShare ?? 0
  const ports = new Map<string, Port>()
  const lines = new Set<Line>()
  const blocked = new Set<string>()
  let nextLine = 1

  const delay = (): number => least + random.below(most - least + 1)

  const tell = (end: End, reason: string): void => {
    if (end.closedBecause !== undefined) return
    end.closedBecause = reason
    end.onClose?.(reason)
  }
  const isOpen = (end: End): boolean => end.closedBecause === undefined

  const breakLine = (line: Line, reason: string): void => {
    if (line.broken) return
    line.broken = true
    lines.delete(line)
    scheduler.trace(`line ${line.id} breaks: ${reason}`)
    for (const end of line.ends) scheduler.schedule(delay(), `line ${line.id} to ${end.host} is lost`, () => tell(end, reason))
  }

  const arrive = (line: Line, to: End, bytes: Uint8Array): void => {
    if (line.broken || !isOpen(to)) return
    scheduler.trace(`line ${line.id} to ${to.host}`, bytes)
    if (to.onData === undefined) to.waiting.push(bytes)
    else to.onData(bytes)
  }

  const carry = (line: Line, from: End, to: End, bytes: Uint8Array): void => {
    to.lastArrival = Math.max(to.lastArrival, scheduler.now() + delay())
    from.inFlight += bytes.length
    to.coming.push({ atMs: to.lastArrival, bytes })
    scheduler.schedule(to.lastArrival - scheduler.now(), `line ${line.id} ${bytes.length} bytes to ${to.host}`, () => {
      // The first of several that arrive now takes them all along.
      const count = to.coming.filter(({ atMs }) => atMs <= scheduler.now()).length
      if (count === 0) return
      const piece = concat(...to.coming.splice(0, count).map((one) => one.bytes))
      from.inFlight -= piece.length
      arrive(line, to, piece)
    })
  }

  const openEnd = (line: () => Line, host: string, remote: string, me: 0 | 1): End => {
    const self = (): End => line().ends[me]
    const other = (): End => line().ends[me === 0 ? 1 : 0]
    const connection: Connection = {
      remoteAddress: remote,
      get bufferedBytes() {
        return self().inFlight
      },
      send(bytes) {
        const at = line()
        if (at.broken || at.closing || !isOpen(self()) || bytes.length === 0) return
        if (cutShare > 0 && random.chance(cutShare)) return breakLine(at, 'broken by chance')
        if (bytes.length > 1 && random.chance(splitShare)) {
          const cutAt = 1 + random.below(bytes.length - 1)
          carry(at, self(), other(), bytes.slice(0, cutAt))
          carry(at, self(), other(), bytes.slice(cutAt))
        } else carry(at, self(), other(), bytes.slice())
      },
      onData(fn) {
        const end = self()
        end.onData = fn
        if (end.waiting.length === 0) return
        scheduler.schedule(0, `line ${line().id} kept data to ${host}`, () => {
          const kept = end.waiting
          end.waiting = []
          for (const bytes of kept) if (isOpen(end)) fn(bytes)
        })
      },
      onClose(fn) {
        const end = self()
        end.onClose = fn
        const reason = end.closedBecause
        if (reason !== undefined) scheduler.schedule(0, `line ${line().id} was closed`, () => fn(reason))
      },
      close() {
        const at = line()
        const [end, far] = [self(), other()]
        if (!isOpen(end)) return
        at.closing = true
        lines.delete(at)
        scheduler.trace(`line ${at.id} closed by ${host}`)
        const lastMs = Math.max(0, far.lastArrival - scheduler.now())
        scheduler.schedule(0, `line ${at.id} closed at ${host}`, () => tell(end, 'closed'))
        scheduler.schedule(lastMs + delay(), `line ${at.id} closes at ${far.host}`, () => {
          at.broken = true
          tell(far, 'closed by the other end')
        })
      },
    }
    return {
      host,
      connection,
      onData: undefined,
      onClose: undefined,
      waiting: [],
      coming: [],
      closedBecause: undefined,
      lastArrival: 0,
      inFlight: 0,
    }
  }

  const connect = (from: string, to: string, address: string): Line => {
    const id = nextLine++
    const line: Line = {
      id,
      ends: [openEnd(() => line, from, address, 0), openEnd(() => line, to, `${from}:${40_000 + id}`, 1)],
      broken: false,
      closing: false,
    }
    lines.add(line)
    return line
  }

  const between = (a: string, b: string): Line[] =>
    [...lines].filter(({ ends }) => pairOf(ends[0].host, ends[1].host) === pairOf(a, b))

  const cut = (a: string, b: string, reason: string): number => {
    const found = between(a, b)
    for (const line of found) breakLine(line, reason)
    return found.length
  }

  return {
    attach(host) {
      let attached = true
      const mine = new Set<string>()
      return {
        async listen(address, onConnection): Promise<Listener> {
          if (!attached) return new Promise<Listener>(() => undefined)
          if (ports.has(address)) throw new Error(`${address} is in use`)
          const port: Port = { host, onConnection }
          ports.set(address, port)
          mine.add(address)
          return {
            address,
            async close() {
              if (ports.get(address) === port) ports.delete(address)
              mine.delete(address)
            },
          }
        },
        dial: (address) =>
          new Promise<Connection>((resolve, reject) => {
            if (!attached) return
            scheduler.schedule(delay(), `${host} dials ${address}`, () => {
              if (!attached) return
              const port = ports.get(address)
              if (port === undefined || blocked.has(pairOf(host, port.host))) {
                scheduler.schedule(delay(), `${host} is refused`, () => {
                  if (attached) reject(new Error(`nobody answers at ${address}`))
                })
                return
              }
              const line = connect(host, port.host, address)
              port.onConnection(line.ends[1].connection)
              scheduler.schedule(delay(), `${host} is connected`, () => {
                if (attached) resolve(line.ends[0].connection)
              })
            })
          }),
        detach() {
          attached = false
          for (const address of mine) ports.delete(address)
          for (const line of lines) {
            const [a, b] = line.ends
            for (const end of [a, b])
              if (end.host === host) {
                end.closedBecause = 'this host crashed'
                end.onData = undefined
                end.onClose = undefined
              }
            if (a.host === host || b.host === host) breakLine(line, `${host} crashed`)
          }
        },
      }
    },
    cut: (a, b) => cut(a, b, 'cut'),
    block(a, b) {
      blocked.add(pairOf(a, b))
      cut(a, b, 'blocked')
    },
    unblock(a, b) {
      blocked.delete(pairOf(a, b))
    },
    calm() {
      cutShare = 0
    },
    roughen(share) {
      cutShare = share
    },
    lines: () => [...lines].map(({ ends }) => [ends[0].host, ends[1].host] as const),
  }
}
