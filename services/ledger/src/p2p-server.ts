/**
 * The P2P sockets: other nodes of the network, each a machine of @leyden/p2p, all on one chain.
 * A peer's messages are taken one after the other; while they wait, or while it does not read what we send, its socket is not read:
 * so no peer can make us hold more than a few messages of its.
 */
import { connect, createServer, type Socket } from 'node:net'
import { bytesToBigintLE, DecodeError, unreachable } from '@leyden/codec'
import { randomBytes } from '@leyden/crypto'
import {
  blockHash,
  txid,
  wtxid,
  type Block,
  type BlockHash,
  type BlockHeader,
  type Tx,
  type Txid,
  type Wtxid,
} from '@leyden/bitcoin'
import { ancestorAt, feeratePerKvb, forkPoint, isViolation, type HeaderEntry } from '@leyden/ledger'
import {
  arrived,
  assign,
  createDownload,
  createFrameReader,
  createPeer,
  encodeFrame,
  INV,
  isFullList,
  MAX_HEADERS,
  release,
  SERVICE,
  stalled,
  stepPeer,
  type InvItem,
  type KnownMessage,
  type PeerEffect,
  type PeerEnv,
  type PeerInput,
  type PeerState,
} from '@leyden/p2p'
import { limitLog, type Log } from '@leyden/runtime'
import type { LedgerEngine } from './engine.ts'
import { listenOn } from './listen.ts'
import type { AddedPeer, PeerInfo } from './rpc/method.ts'

const MAX_INBOUND = 125
const TICK_MS = 200
/** Messages of one peer that wait; its socket is not read beyond. */
const MAX_WAITING_MESSAGES = 64
/** Bytes that a peer has not read; it is not served beyond. */
const MAX_UNSENT_BYTES = 8 * 1024 * 1024
/** Who does not read for so long is closed. */
const DRAIN_TIMEOUT_MS = 60_000
const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 30_000
const DIAL_TIMEOUT_MS = 10_000
/** Refused transactions that are not asked for again until the tip moves. */
const MAX_REFUSED = 20_000

export type PeerService = {
  readonly port: number
  peers(): readonly PeerInfo[]
  /** Connects to `host:port`: once, or again and again until disconnected. Throws RangeError on a bad address. */
  connect(address: string, once: boolean): Promise<void>
  disconnect(address: string): boolean
  disconnectById(id: number): boolean
  /** Those that are tried again and again. */
  added(): readonly AddedPeer[]
  /** Lets every peer be pinged at the next tick, unless an answer is awaited. */
  ping(): void
  /** Bytes since the start. */
  traffic(): { readonly received: number; readonly sent: number }
  close(): Promise<void>
}

export type PeerServiceOptions = {
  readonly engine: LedgerEngine
  readonly host: string
  readonly port: number
  /** Whether others may connect; default true. */
  readonly listen?: boolean
  readonly userAgent: string
  readonly log: Log
}

type Connection = {
  readonly id: number
  readonly address: string
  readonly socket: Socket
  readonly state: PeerState
  readonly connectedAt: number
  /** The best of its chain that we know. */
  best: HeaderEntry | undefined
  /** When it last did these, milliseconds since 1970; 0 for never. */
  readonly last: { sent: number; received: number; transaction: number; block: number }
  waiting: number
  work: Promise<void>
  closed: boolean
}

const parseAddress = (address: string): { readonly host: string; readonly port: number } => {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s]+)):(\d{1,5})$/.exec(address)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host === undefined || !(port > 0 && port <= 65_535)) throw new RangeError(`"${address.slice(0, 100)}" is not host:port`)
  return { host, port }
}

/** Serves the network. Throws PortTaken. */
export const listenForPeers = async (options: PeerServiceOptions): Promise<PeerService> => {
  const { engine, host, port, userAgent } = options
  const log = limitLog(options.log, () => Date.now())
  const { network, tree, pool } = engine
  const connections = new Map<number, Connection>()
  const dialled = new Map<
    string,
    { again: boolean; timer: NodeJS.Timeout | undefined; attempts: number; live: Connection | undefined }
  >()
  const download = createDownload()
  const refused = new Set<string>()
  /** Bytes of connections that have ended. */
  const past = { received: 0, sent: 0 }
  let nextId = 1
  let closing = false

  const freshNonce = (): bigint => bytesToBigintLE(randomBytes(8))
  const env = (connection: Connection): PeerEnv => ({
    nowMs: Date.now(),
    services: SERVICE.network | SERVICE.witness | SERVICE.networkLimited,
    userAgent,
    tipHeight: engine.tip().height,
    locator: () => engine.locator(),
    hasTx: (id) => pool.entries.has(id as Txid) || pool.wtxids.has(id as Wtxid) || refused.has(id),
    hasHeader: (hash) => tree.entries.has(hash),
    freshNonce,
    isOwnNonce: (nonce) => [...connections.values()].some((other) => other !== connection && other.state.nonce === nonce),
  })

  const end = (connection: Connection, reason: string): void => {
    if (connection.closed) return
    connection.closed = true
    log.info({ peer: connection.id, address: connection.address, reason }, 'peer gone')
    connections.delete(connection.id)
    past.received += connection.socket.bytesRead
    past.sent += connection.socket.bytesWritten
    connection.socket.destroy()
    release(download, connection.id, Date.now())
    fetchBlocks()
  }

  const send = (connection: Connection, message: KnownMessage): void => {
    if (connection.closed) return
    connection.last.sent = Date.now()
    connection.socket.write(encodeFrame(network.magic, message))
  }

  /** Waits until the peer has read enough of what it was sent. */
  const drained = async (connection: Connection): Promise<void> => {
    const { socket } = connection
    if (socket.writableLength <= MAX_UNSENT_BYTES || connection.closed) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => end(connection, 'does not read'), DRAIN_TIMEOUT_MS)
      const done = (): void => {
        clearTimeout(timer)
        socket.off('drain', done)
        socket.off('close', done)
        resolve()
      }
      socket.on('drain', done)
      socket.on('close', done)
    })
  }

  const step = (connection: Connection, input: PeerInput): Promise<void> | undefined => {
    if (connection.closed) return undefined
    let last: Promise<void> | undefined
    for (const effect of stepPeer(connection.state, input, env(connection))) last = carryOut(connection, effect, last)
    return last
  }

  /** Effects that ask the chain come one after the other; sends leave at once. */
  const carryOut = (connection: Connection, effect: PeerEffect, before: Promise<void> | undefined): Promise<void> | undefined => {
    switch (effect.type) {
      case 'send':
        send(connection, effect.message)
        return before
      case 'close':
        end(connection, effect.reason)
        return before
      case 'ready':
        log.info(
          {
            peer: connection.id,
            address: connection.address,
            userAgent: effect.version.userAgent,
            height: effect.version.startHeight,
          },
          'peer ready',
        )
        return before
      case 'takeHeaders':
        takeHeaders(connection, effect.headers)
        return before
      case 'blocksMissing':
        release(download, connection.id, Date.now())
        fetchBlocks()
        return before
      case 'takeBlock':
        return after(before, () => takeBlock(connection, effect.block))
      case 'takeTx':
        return after(before, () => takeTx(connection, effect.tx))
      case 'serveHeaders':
        serveHeaders(connection, effect.locator, effect.stop)
        return before
      case 'serveData':
        return after(before, () => serveData(connection, effect.items))
      case 'serveMempool':
        for (const { tx, fee, vsize } of pool.entries.values()) tellTx(connection, tx, feeratePerKvb(fee, vsize))
        return before
      default:
        return unreachable(effect)
    }
  }
  const after = async (before: Promise<void> | undefined, job: () => Promise<void>): Promise<void> => {
    await before
    await job()
  }

  const takeHeaders = (connection: Connection, headers: readonly BlockHeader[]): void => {
    const answer = engine.submitHeaders(headers)
    if (isViolation(answer)) {
      // A clock that runs ahead, and our own cap, are nobody's fault.
      if (answer.reason === 'time-too-new' || answer.reason === 'too-many-headers' || answer.reason === 'bad-prevblk') return
      void step(connection, { from: 'chain', type: 'headersRefused', reason: answer.reason })
      return
    }
    if (connection.best === undefined || answer.chainWork > connection.best.chainWork) connection.best = answer
    void step(connection, { from: 'chain', type: 'headersTaken', last: answer.hash, full: isFullList(headers) })
    fetchBlocks()
  }

  /** Blocks between what is stored and the peer's best header, lowest first; none when its chain has no more work than ours. */
  const wantedFrom = ({ best }: Connection): BlockHash[] => {
    const tip = engine.tipEntry()
    if (best === undefined || best.failed !== 'none' || best.chainWork <= tip.chainWork) return []
    let low = forkPoint(best, tip).height as number
    let high = best.height as number
    // What is stored has its ancestors stored: the border is found by halving.
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if (ancestorAt(best, middle)?.stored === true) low = middle
      else high = middle - 1
    }
    const wanted: BlockHash[] = []
    for (let height = low + 1; height <= best.height && wanted.length < 64; height++)
      wanted.push((ancestorAt(best, height) as HeaderEntry).hash)
    return wanted
  }

  const fetchBlocks = (): void => {
    if (closing) return
    const sources = [...connections.values()]
      .filter(({ state }) => state.ready && ((state.theirs?.services ?? 0n) & SERVICE.witness) !== 0n)
      .map((connection) => ({ peer: connection.id, wanted: wantedFrom(connection) }))
      .filter(({ wanted }) => wanted.length > 0)
    const order = assign(download, sources, Date.now())
    const connection = order === undefined ? undefined : connections.get(order.peer)
    if (order !== undefined && connection !== undefined)
      void step(connection, { from: 'owner', type: 'fetch', hashes: order.hashes })
  }

  const takeBlock = async (connection: Connection, block: Block): Promise<void> => {
    const hash = blockHash(block.header)
    arrived(download, hash, Date.now())
    const outcome = await engine.submitBlock(block)
    if (outcome.status === 'rejected') {
      const { reason } = outcome.violation
      log.warn({ peer: connection.id, hash, reason }, 'block refused')
      if (reason === 'prev-blk-not-found') {
        const headers = {
          type: 'getheaders',
          version: 70_016,
          hashes: engine.locator(),
          stop: '00'.repeat(32) as BlockHash,
        } as const
        send(connection, headers)
      } else if (reason !== 'time-too-new') void step(connection, { from: 'chain', type: 'blockRefused', reason })
    } else {
      if (outcome.status !== 'duplicate') connection.last.block = Date.now()
      const entry = tree.entries.get(hash)
      if (entry !== undefined && (connection.best === undefined || entry.chainWork > connection.best.chainWork))
        connection.best = entry
    }
    fetchBlocks()
  }

  const takeTx = async (connection: Connection, tx: Tx): Promise<void> => {
    const outcome = await engine.submitTransaction(tx)
    if (outcome.status === 'accepted') connection.last.transaction = Date.now()
    const { rejection } = outcome
    if (
      outcome.status !== 'rejected' ||
      rejection === undefined ||
      rejection.kind === 'missing' ||
      rejection.kind === 'premature'
    )
      return
    refused.add(wtxid(tx))
    if (refused.size > MAX_REFUSED) refused.clear()
  }

  const serveHeaders = (connection: Connection, locator: readonly BlockHash[], stop: BlockHash): void => {
    const shared = locator.map((hash) => tree.entries.get(hash)).find((entry) => entry !== undefined && engine.isActive(entry))
    const headers: BlockHeader[] = []
    const tip = engine.tipEntry()
    for (let height = (shared?.height ?? 0) + 1; height <= tip.height && headers.length < MAX_HEADERS; height++) {
      const entry = ancestorAt(tip, height) as HeaderEntry
      headers.push(entry.header)
      if (entry.hash === stop) break
    }
    send(connection, { type: 'headers', headers })
  }

  const serveData = async (connection: Connection, items: readonly InvItem[]): Promise<void> => {
    const missing: InvItem[] = []
    for (const item of items) {
      if (connection.closed) return
      const message = await findItem(item)
      if (message === undefined) missing.push(item)
      else send(connection, message)
      await drained(connection)
    }
    if (missing.length > 0) send(connection, { type: 'notfound', items: missing })
  }

  const findItem = async ({ kind, hash }: InvItem): Promise<KnownMessage | undefined> => {
    if (kind === INV.block || kind === INV.witnessBlock) {
      const block = await engine.blockByHash(hash as BlockHash)
      return block === undefined ? undefined : { type: 'block', block }
    }
    const id = kind === INV.wtx ? pool.wtxids.get(hash as Wtxid) : (hash as Txid)
    const entry = id === undefined ? undefined : pool.entries.get(id)
    return entry === undefined ? undefined : { type: 'tx', tx: entry.tx }
  }

  const tellTx = (connection: Connection, tx: Tx, rate: number): void =>
    void step(connection, { from: 'chain', type: 'transactionSeen', tx, feeratePerKvb: BigInt(Math.floor(rate)) })

  const tellTip = (connection: Connection): void => {
    const tip = engine.tipEntry()
    const told = connection.state.told === undefined ? undefined : tree.entries.get(connection.state.told)
    const known = [told, connection.best].filter((entry) => entry !== undefined).map((entry) => forkPoint(entry, tip))
    const base = known.sort((a, b) => b.height - a.height)[0]
    if (base === tip) return
    const headers: BlockHeader[] = []
    if (base !== undefined && tip.height - base.height <= 8)
      for (let height = base.height + 1; height <= tip.height; height++)
        headers.push((ancestorAt(tip, height) as HeaderEntry).header)
    void step(connection, { from: 'chain', type: 'tipChanged', tip: tip.hash, headers })
  }

  const open = (socket: Socket, address: string, inbound: boolean): Connection => {
    const state = createPeer({ inbound, nonce: freshNonce(), nowMs: Date.now() })
    const connection: Connection = {
      id: nextId++,
      address,
      socket,
      state,
      connectedAt: Date.now(),
      best: undefined,
      last: { sent: 0, received: 0, transaction: 0, block: 0 },
      waiting: 0,
      work: Promise.resolve(),
      closed: false,
    }
    connections.set(connection.id, connection)
    log.info({ peer: connection.id, address, inbound }, 'peer connected')
    socket.setNoDelay(true)
    const reader = createFrameReader(network.magic)
    socket.on('data', (chunk: Buffer) => {
      if (connection.closed) return
      connection.last.received = Date.now()
      try {
        for (const message of reader.push(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length))) {
          connection.waiting++
          connection.work = connection.work
            .then(() => step(connection, { from: 'peer', type: 'message', message }))
            .then(() => drained(connection))
            .catch((error: unknown) => {
              log.error({ peer: connection.id, error: String(error) }, 'a message of a peer could not be handled')
              end(connection, 'our fault')
            })
            .finally(() => {
              connection.waiting--
              if (connection.waiting < MAX_WAITING_MESSAGES / 2 && socket.isPaused()) socket.resume()
            })
        }
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error
        end(connection, error.message)
      }
      if (connection.waiting >= MAX_WAITING_MESSAGES) socket.pause()
    })
    socket.on('error', (error) => end(connection, error.message))
    socket.on('close', () => end(connection, 'the connection was closed'))
    void step(connection, { from: 'owner', type: 'connected' })
    return connection
  }

  const dial = (address: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const target = parseAddress(address)
      const wish = dialled.get(address)
      const socket = connect({ ...target, timeout: DIAL_TIMEOUT_MS })
      let connection: Connection | undefined
      socket.once('timeout', () => {
        if (connection === undefined) socket.destroy(new Error('no answer'))
      })
      socket.once('connect', () => {
        socket.setTimeout(0)
        connection = open(socket, address, false)
        if (wish !== undefined) {
          wish.attempts = 0
          wish.live = connection
        }
        resolve()
      })
      socket.once('error', (error) => {
        if (connection === undefined) reject(new Error(`cannot reach ${address}: ${error.message}`))
      })
      socket.once('close', () => {
        if (wish === undefined || !wish.again || closing || dialled.get(address) !== wish) return
        wish.live = undefined
        const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(wish.attempts++, 10))
        wish.timer = setTimeout(
          () => void dial(address).catch((error: unknown) => log.debug({ error: String(error) }, 'peer away')),
          pause,
        )
      })
    })

  const server = createServer((socket) => {
    const inbound = [...connections.values()].filter(({ state }) => state.inbound).length
    if (inbound >= MAX_INBOUND) {
      socket.destroy()
      return
    }
    const remote = socket.remoteAddress ?? ''
    open(socket, `${remote.includes(':') ? `[${remote}]` : remote}:${socket.remotePort}`, true)
  })
  const bound = options.listen === false ? 0 : await listenOn(server, 'P2P', host, port)

  let tipNews = false
  const unsubscribe = engine.subscribe((event) => {
    if (event.type === 'tipChanged') {
      refused.clear()
      tipNews = true
      return
    }
    const entry = pool.entries.get(txid(event.tx))
    if (entry === undefined) return
    for (const connection of connections.values()) tellTx(connection, event.tx, feeratePerKvb(entry.fee, entry.vsize))
  })
  const tellNews = (): void => {
    if (!tipNews) return
    tipNews = false
    for (const connection of connections.values()) if (connection.state.ready) tellTip(connection)
  }
  const ticker = setInterval(() => {
    tellNews()
    const slow = stalled(download, Date.now())
    const connection = slow === undefined ? undefined : connections.get(slow)
    if (connection !== undefined) end(connection, 'block download stalled')
    for (const one of connections.values()) void step(one, { from: 'clock', type: 'tick' })
    fetchBlocks()
  }, TICK_MS)

  return {
    port: bound,
    peers: () =>
      [...connections.values()].map(({ id, address, state, connectedAt, socket, best, last }) => ({
        id,
        address,
        inbound: state.inbound,
        version: state.theirs?.version ?? 0,
        userAgent: state.theirs?.userAgent ?? '',
        startHeight: state.theirs?.startHeight ?? 0,
        connectedAt,
        services: state.theirs?.services ?? 0n,
        relaysTransactions: state.theirs?.relay ?? false,
        lastSentAt: last.sent,
        lastReceivedAt: last.received,
        lastTransactionAt: last.transaction,
        lastBlockAt: last.block,
        bytesSent: socket.bytesWritten,
        bytesReceived: socket.bytesRead,
        syncedHeaders: best?.height ?? -1,
        syncedBlocks: best === undefined ? -1 : forkPoint(best, engine.tipEntry()).height,
      })),
    async connect(address, once) {
      parseAddress(address)
      if (once) return dial(address)
      if (dialled.has(address)) return
      dialled.set(address, { again: true, timer: undefined, attempts: 0, live: undefined })
      await dial(address).catch((error: unknown) => log.warn({ address, error: String(error) }, 'peer away: will try again'))
    },
    disconnect(address) {
      const wish = dialled.get(address)
      clearTimeout(wish?.timer)
      dialled.delete(address)
      const live = [...connections.values()].filter((connection) => connection.address === address)
      for (const connection of live) end(connection, 'disconnected by the owner')
      return wish !== undefined || live.length > 0
    },
    disconnectById(id) {
      const connection = connections.get(id)
      if (connection !== undefined) end(connection, 'disconnected by the owner')
      return connection !== undefined
    },
    added: () =>
      [...dialled]
        .filter(([, { again }]) => again)
        .map(([address, { live }]) => ({ address, connected: live !== undefined && !live.closed })),
    ping() {
      for (const { state } of connections.values()) state.lastPingAtMs = 0
    },
    traffic: () => {
      const sockets = [...connections.values()].map(({ socket }) => socket)
      return {
        received: sockets.reduce((sum, { bytesRead }) => sum + bytesRead, past.received),
        sent: sockets.reduce((sum, { bytesWritten }) => sum + bytesWritten, past.sent),
      }
    },
    async close() {
      closing = true
      clearInterval(ticker)
      unsubscribe()
      for (const wish of dialled.values()) clearTimeout(wish.timer)
      dialled.clear()
      const stopped = new Promise<void>((resolve) => server.close(() => resolve()))
      const work = [...connections.values()].map((connection) => connection.work)
      for (const connection of connections.values()) end(connection, 'we stop')
      await Promise.all(work)
      await stopped
    },
  }
}
