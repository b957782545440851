/**
 * Connections to peers: one per node id, BOLT 8 and BOLT 1 by lnwire's machine, over the byte streams of the Net port.
 * Decides nothing about channels: it hands up `ready`, `message` and `closed`, and redials peers that the node wants.
 * Caps: connections of strangers, bytes and messages that wait for the node (S53, S57).
 */
import type { Cancel, Clock, Connection, Listener, Net, Random } from '@leyden/runtime'
import {
  type CloseReason,
  createPeer,
  type Features,
  type Message,
  type NodeId,
  nodeIdFromPoint,
  nodeIdToPoint,
  type Peer,
  type PeerEffect,
} from '@leyden/lnwire'
import { unreachable } from '@leyden/codec'
import { isValidPoint, isValidSecret, pointFromSecret } from '@leyden/crypto'
import type { Log } from './log.ts'

/** Connections without a channel that we keep at the most. */
const MAX_STRANGERS = 64
/** Handshakes under way at once from outside. */
const MAX_HANDSHAKES = 32
/** What one peer may have waiting for us, and we for it. */
const MAX_INBOX_MESSAGES = 2000
const MAX_INBOX_BYTES = 4 * 1024 * 1024
const MAX_OUTBOX_BYTES = 16 * 1024 * 1024
const TICK_MS = 5_000
const DIAL_TIMEOUT_MS = 15_000
const FIRST_REDIAL_MS = 1_000
const LONGEST_REDIAL_MS = 60_000
/** Two connections that become ready within this time, one from each side, were dialled at once: both sides keep the same one. */
const CROSSING_MS = 10_000

export interface PeersOptions {
  readonly net: Net
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly nodeSecret: Uint8Array
  readonly features: Features
  readonly chainHash: Uint8Array
  /** Whether we have a channel with this peer: its connection is never refused. */
  isKnown(nodeId: NodeId): boolean
  /** `session` numbers the connection: what is meant for one must not leave by the next. */
  onReady(nodeId: NodeId, remoteFeatures: Features, session: number): void
  /** Resolves when the message has been dealt with. */
  onMessage(nodeId: NodeId, message: Message, raw: Uint8Array): Promise<void>
  onClosed(nodeId: NodeId): void
}

export interface PeerInfo {
  readonly nodeId: NodeId
  readonly address: string
  readonly inbound: boolean
  readonly features: Features
}

export interface Peers {
  listen(address: string): Promise<Listener>
  /** Resolves when init has been exchanged; at once when it has been. Rejects with what went wrong. */
  connect(nodeId: NodeId, address: string): Promise<PeerInfo>
  /** Keeps dialling this peer, with growing pauses, until `forget`. */
  keep(nodeId: NodeId, addresses: readonly string[]): void
  forget(nodeId: NodeId): void
  /** Over the connection `session`, or whichever there is; dropped when that is gone. */
  send(nodeId: NodeId, message: Message, session?: number): void
  sendRaw(nodeId: NodeId, raw: Uint8Array): void
  disconnect(nodeId: NodeId, session?: number): void
  info(nodeId: NodeId): PeerInfo | undefined
  list(): readonly PeerInfo[]
  stop(): Promise<void>
}

/** One socket with its machine. */
interface Session {
  readonly number: number
  readonly connection: Connection
  readonly peer: Peer
  readonly inbound: boolean
  nodeId: NodeId | undefined
  ready: boolean
  readyAtMs: number
  over: boolean
  features: Features | undefined
  inboxMessages: number
  inboxBytes: number
  /** What the machine wants done, in its order; `performing` while it is being done. */
  readonly todo: PeerEffect[]
  performing: boolean
  readonly settled: ((result: PeerInfo | Error) => void)[]
}

/** Why a connection ended, for the log and for who asked for it. */
const inWords = (reason: CloseReason): string => {
  switch (reason.code) {
    case 'handshake_failed':
      return `the handshake failed (${reason.problem}): is this the id of the node at that address?`
    case 'features':
      return reason.problem.problem === 'unknown_required'
        ? `it requires feature bit ${reason.problem.bit}, which this node does not have`
        : `its feature ${reason.problem.feature} lacks ${reason.problem.dependency}`
    case 'invalid_message':
      return `message ${reason.typeNumber} did not decode: ${reason.error.code}`
    case 'unknown_even_message':
      return `an unknown message that must be understood: ${reason.typeNumber}`
    case 'handshake_timeout':
      return 'no handshake in time'
    case 'pong_timeout':
      return 'no answer to a ping'
    case 'forged':
      return 'bytes that the peer did not encrypt'
    case 'no_init':
      return 'it did not begin with init'
    case 'second_init':
      return 'it sent init twice'
    case 'no_common_chain':
      return 'it is on another network'
    case 'ping_flood':
      return 'too many pings'
    case 'disconnected':
      return 'the connection was lost'
    case 'closed_by_owner':
      return 'closed by this node'
    default:
      return unreachable(reason)
  }
}

export const createPeers = (options: PeersOptions): Peers => {
  const { net, clock, random, log } = options
  const sessions = new Set<Session>()
  const byNode = new Map<NodeId, Session>()
  const kept = new Map<NodeId, { addresses: readonly string[]; attempts: number; cancel: Cancel | undefined }>()
  const listeners: Listener[] = []
  const dialling = new Map<NodeId, Promise<PeerInfo>>()
  const ownId = nodeIdFromPoint(pointFromSecret(options.nodeSecret))
  let nextSession = 1
  let stopped = false

  const ephemeral = (): Uint8Array => {
    for (;;) {
      const secret = random.bytes(32)
      if (isValidSecret(secret)) return secret
    }
  }

  const infoOf = (session: Session): PeerInfo => ({
    nodeId: session.nodeId as NodeId,
    address: session.connection.remoteAddress,
    inbound: session.inbound,
    features: session.features ?? { known: {} },
  })

  const end = (session: Session, reason: string): void => {
    if (session.over) return
    session.over = true
    sessions.delete(session)
    session.connection.close()
    for (const settle of session.settled.splice(0)) settle(new Error(reason))
    const { nodeId } = session
    if (nodeId !== undefined && byNode.get(nodeId) === session) {
      byNode.delete(nodeId)
      log.info({ peer: nodeId, reason }, 'peer disconnected')
      options.onClosed(nodeId)
      redial(nodeId)
    }
  }

  const strangers = (): number => {
    let count = 0
    for (const id of byNode.keys()) if (!options.isKnown(id)) count++
    return count
  }

  /** The connection that the lower node id dialled stays. An old one that is only not known to be dead has no such claim. */
  const crossed = (older: Session, newer: Session): boolean =>
    older.inbound !== newer.inbound && clock.now() - older.readyAtMs < CROSSING_MS

  const becomeReady = (session: Session, nodeId: NodeId, features: Features): void => {
    session.nodeId = nodeId
    session.features = features
    if (!options.isKnown(nodeId) && session.inbound && strangers() >= MAX_STRANGERS)
      return end(session, 'too many peers without a channel')
    const older = byNode.get(nodeId)
    if (older !== undefined && crossed(older, session) && session.inbound === ownId < nodeId) {
      for (const settle of session.settled.splice(0)) settle(infoOf(older))
      return end(session, 'the peer and we dialled at once')
    }
    if (older !== undefined) end(older, 'replaced by a newer connection')
    if (session.over) return
    byNode.set(nodeId, session)
    session.ready = true
    session.readyAtMs = clock.now()
    const keep = kept.get(nodeId)
    if (keep !== undefined) {
      keep.cancel?.()
      keep.cancel = undefined
      keep.attempts = 0
    }
    log.info({ peer: nodeId, address: session.connection.remoteAddress, inbound: session.inbound }, 'peer connected')
    options.onReady(nodeId, features, session.number)
    for (const settle of session.settled.splice(0)) settle(infoOf(session))
  }

  const receive = (session: Session, message: Message, raw: Uint8Array): void => {
    if (session.inboxMessages >= MAX_INBOX_MESSAGES || session.inboxBytes + raw.length > MAX_INBOX_BYTES)
      return end(session, 'the peer sends faster than we can take')
    session.inboxMessages++
    session.inboxBytes += raw.length
    options.onMessage(session.nodeId as NodeId, message, raw).then(
      () => {
        session.inboxMessages--
        session.inboxBytes -= raw.length
      },
      (error: unknown) => {
        log.debug({ peer: session.nodeId, error: String(error) }, 'a message was not dealt with')
        end(session, 'the node is stopping')
      },
    )
  }

  const performOne = (session: Session, effect: PeerEffect): void => {
    switch (effect.type) {
      case 'write':
        session.connection.send(effect.bytes)
        break
      case 'close':
        session.connection.close()
        break
      case 'ready':
        becomeReady(session, effect.nodeId, effect.features)
        break
      case 'message':
        if (session.ready && !session.over) receive(session, effect.message, effect.raw)
        break
      case 'closed':
        end(session, inWords(effect.reason))
        break
    }
  }

  /**
   * A message that is handed up may be answered at once, in the middle of what its chunk led to. What is written then comes after all that
   * was encrypted before it: the peer decrypts in the order of the nonces.
   */
  const perform = (session: Session, effects: readonly PeerEffect[]): void => {
    for (const effect of effects) session.todo.push(effect)
    if (session.performing) return
    session.performing = true
    try {
      for (const effect of session.todo) performOne(session, effect)
    } finally {
      session.todo.length = 0
      session.performing = false
    }
    if (!session.over && session.connection.bufferedBytes > MAX_OUTBOX_BYTES) end(session, 'the peer does not read what we send')
  }

  const begin = (connection: Connection, inbound: boolean, remoteNodeId: NodeId | undefined): Session => {
    const shared = {
      localSecret: options.nodeSecret,
      ephemeralSecret: ephemeral(),
      localFeatures: options.features,
      chainHash: options.chainHash,
      nowMs: clock.now(),
    }
    const session: Session = {
      number: nextSession++,
      connection,
      peer: createPeer(
        remoteNodeId === undefined ? { ...shared, role: 'responder' } : { ...shared, role: 'initiator', remoteNodeId },
      ),
      inbound,
      nodeId: undefined,
      ready: false,
      readyAtMs: 0,
      over: false,
      features: undefined,
      inboxMessages: 0,
      inboxBytes: 0,
      todo: [],
      performing: false,
      settled: [],
    }
    sessions.add(session)
    perform(session, session.peer.start())
    connection.onData((bytes) => {
      if (!session.over) perform(session, session.peer.step({ from: 'peer', type: 'bytes', bytes }))
    })
    connection.onClose((reason) => {
      end(session, session.ready || inbound ? reason : `it hung up during the handshake: is the node id right? (${reason})`)
    })
    return session
  }

  const withTimeout = <T>(work: Promise<T>, ms: number, late: (value: T) => void): Promise<T> =>
    new Promise((resolve, reject) => {
      let over = false
      const cancel = clock.setTimer(ms, () => {
        over = true
        reject(new Error('no answer in time'))
      })
      work.then(
        (value) => {
          cancel()
          if (over) late(value)
          else resolve(value)
        },
        (error: unknown) => {
          cancel()
          reject(error instanceof Error ? error : new Error(String(error)))
        },
      )
    })

  const dial = async (nodeId: NodeId, address: string): Promise<PeerInfo> => {
    const connection = await withTimeout(net.dial(address), DIAL_TIMEOUT_MS, (late) => late.close())
    if (stopped) {
      connection.close()
      throw new Error('the node is stopping')
    }
    const session = begin(connection, false, nodeId)
    return await new Promise((resolve, reject) => {
      if (session.over) return reject(new Error('the peer hung up'))
      session.settled.push((result) => (result instanceof Error ? reject(result) : resolve(result)))
    })
  }

  const connect = (nodeId: NodeId, address: string): Promise<PeerInfo> => {
    if (!isValidPoint(nodeIdToPoint(nodeId)))
      return Promise.reject(new Error('no node has this id: it is not a point on the curve'))
    if (nodeId === ownId) return Promise.reject(new Error('this is the id of this node itself'))
    const present = byNode.get(nodeId)
    if (present !== undefined) return Promise.resolve(infoOf(present))
    const under = dialling.get(nodeId)
    if (under !== undefined) return under
    const attempt = dial(nodeId, address).finally(() => dialling.delete(nodeId))
    dialling.set(nodeId, attempt)
    return attempt
  }

  /** Dials a peer that is kept: at once the first time, else after a pause that grows with the attempts. */
  const redial = (nodeId: NodeId, first = false): void => {
    const keep = kept.get(nodeId)
    if (stopped || keep === undefined || keep.cancel !== undefined || byNode.has(nodeId) || keep.addresses.length === 0) return
    const pause = Math.min(LONGEST_REDIAL_MS, FIRST_REDIAL_MS * 2 ** Math.min(keep.attempts, 10))
    const jitter = 0.5 + (random.bytes(1)[0] as number) / 512
    keep.cancel = clock.setTimer(first ? 0 : pause * jitter, () => {
      keep.cancel = undefined
      if (stopped || kept.get(nodeId) !== keep || byNode.has(nodeId)) return
      const address = keep.addresses[keep.attempts % keep.addresses.length] as string
      keep.attempts++
      connect(nodeId, address).catch((error: unknown) => {
        log.debug({ peer: nodeId, address, error: String(error) }, 'could not reach the peer')
        redial(nodeId)
      })
    })
  }

  const tick = (): void => {
    if (stopped) return
    const nowMs = clock.now()
    for (const session of sessions) perform(session, session.peer.step({ from: 'clock', type: 'tick', nowMs }))
    cancelTick = clock.setTimer(TICK_MS, tick)
  }
  let cancelTick: Cancel = clock.setTimer(TICK_MS, tick)

  const post = (
    nodeId: NodeId,
    input:
      | { from: 'owner'; type: 'send'; message: Message }
      | { from: 'owner'; type: 'sendRaw'; raw: Uint8Array }
      | { from: 'owner'; type: 'close' },
    number?: number,
  ): void => {
    const session = byNode.get(nodeId)
    if (session === undefined || session.over || (number !== undefined && session.number !== number)) return
    perform(session, session.peer.step(input))
  }

  return {
    async listen(address) {
      const listener = await net.listen(address, (connection) => {
        let shaking = 0
        for (const session of sessions) if (session.inbound && !session.ready) shaking++
        if (stopped || shaking >= MAX_HANDSHAKES) connection.close()
        else begin(connection, true, undefined)
      })
      listeners.push(listener)
      return listener
    },
    connect,
    keep(nodeId, addresses) {
      const keep = kept.get(nodeId)
      if (keep === undefined) kept.set(nodeId, { addresses, attempts: 0, cancel: undefined })
      else keep.addresses = addresses
      redial(nodeId, keep === undefined)
    },
    forget(nodeId) {
      kept.get(nodeId)?.cancel?.()
      kept.delete(nodeId)
    },
    send: (nodeId, message, session) => post(nodeId, { from: 'owner', type: 'send', message }, session),
    sendRaw: (nodeId, raw) => post(nodeId, { from: 'owner', type: 'sendRaw', raw }),
    disconnect: (nodeId, session) => post(nodeId, { from: 'owner', type: 'close' }, session),
    info: (nodeId) => {
      const session = byNode.get(nodeId)
      return session === undefined ? undefined : infoOf(session)
    },
    list: () => [...byNode.values()].map(infoOf),
    async stop() {
      stopped = true
      cancelTick()
      for (const keep of kept.values()) keep.cancel?.()
      kept.clear()
      for (const session of sessions) end(session, 'the node is stopping')
      await Promise.all(listeners.map((listener) => listener.close()))
    },
  }
}
