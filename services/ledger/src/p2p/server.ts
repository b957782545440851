/**
 * The P2P sockets and the peering machine behind them, wired to one engine. Bitcoin Core net.cpp.
 * Inputs of sockets, engine and clock go into the machine of @leyden/p2p one at a time; what it answers is done here.
 */
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { bytesToBigintLE, DecodeError, utf8Encode } from '@leyden/codec'
import { hmacSha256 } from '@leyden/crypto'
import { blockHash, decodeBlock, encodeBlock, txTotalSize, type Block, type BlockHash, type Tx } from '@leyden/bitcoin'
import { ancestorAt, forkPoint, type HeaderEntry } from '@leyden/ledger'
import {
  addressText,
  canTake,
  createPeering,
  decodePayload,
  endpointText,
  fetchOne,
  groupOf,
  isBanned,
  isDiscouraged,
  isLocal,
  networkName,
  parseAddress,
  selectToEvict,
  SERVICE,
  servesBlocks,
  stepPeering,
  subnetMatches,
  type ConnectionType,
  type Effect,
  type Endpoint,
  type FilterQuery,
  type PeeringInput,
  type PeerState,
  type Permission,
  type TxJob,
  type TxVerdict,
} from '@leyden/p2p'
import { limitLog } from '@leyden/runtime'
import type { TransactionOutcome } from '../broadcast.ts'
import { listenOn } from '../listen.ts'
import { openBook } from './book.ts'
import { createChainPort, createPoolPort } from './chain-port.ts'
import { captureInto } from './capture.ts'
import { createConnection, endpointOfSocket, plainHost, type PeerConnection } from './connection.ts'
import { filterMessages } from './filters.ts'
import { createOutbound, limitsFor, resolveName } from './outbound.ts'
import { permissionsFor } from './permissions.ts'
import type { PeerService, PeerServiceOptions } from './service.ts'
import { createUploadTarget } from './upload.ts'

const TICK_MS = 100
/** A turn after something has happened comes sooner than a tick. */
const SOON_MS = 5
/** Frames of one peer that are taken in a row. */
const MAX_TURN = 64
/** Blocks on their way into the chain: with more, the next ones wait in their connections. */
const MAX_TAKING_BYTES = 32 * 1024 * 1024
const SAVE_ADDRESSES_MS = 15 * 60_000
const REBROADCAST_MS = 10 * 60_000
const REBROADCAST_SPREAD_MS = 5 * 60_000

type Live = { readonly connection: PeerConnection; readonly state: PeerState; readonly name: string; pumping: boolean }

const verdictOf = ({ tx, status, rejection }: TransactionOutcome): TxVerdict => {
  if (status === 'accepted') return { tx, accepted: true }
  const reason = rejection?.reason ?? ''
  const text = rejection?.detail === undefined ? reason : `${reason}, ${rejection.detail}`
  return { tx, accepted: false, kind: rejection?.kind ?? 'policy', reason: text }
}

const withoutWitness = (block: Block): Block => ({
  header: block.header,
  transactions: block.transactions.map((tx) => ({ ...tx, inputs: tx.inputs.map((input) => ({ ...input, witness: [] })) })),
})

/** Serves the network. Throws PortTaken. */
export const listenForPeers = async (options: PeerServiceOptions): Promise<PeerService> => {
  const { engine, clock, datadir } = options
  const { network, tree } = engine
  const log = limitLog(options.log, () => Date.now())
  const now = (): number => clock.now()
  const seconds = (): number => Math.floor(now() / 1000)
  const random = (): number => {
    const [a, b] = [options.random.bytes(4), options.random.bytes(3)]
    return (new DataView(a.buffer, a.byteOffset).getUint32(0) * 2 ** 21 + (Number(bytesToBigintLE(b)) & 0x1f_ffff)) / 2 ** 53
  }
  const freshNonce = (): bigint => bytesToBigintLE(options.random.bytes(8))
  const secret = options.random.bytes(32)
  const keyedHash = (text: string): bigint => bytesToBigintLE(hmacSha256(secret, utf8Encode(text)).subarray(0, 8))
  const book = openBook({
    datadir,
    now: seconds,
    random,
    freshKey: () => options.random.bytes(32),
    deterministic: options.deterministicBook,
    log: options.log,
  })
  const { addrman, bans } = book
  /** Of blocks on their way into the chain. */
  let takingBytes = 0
  const upload = createUploadTarget(options.maxUploadBytes, now)
  const isPruning = engine.storage().pruning !== 'off'
  const services =
    SERVICE.witness |
    SERVICE.networkLimited |
    (isPruning ? 0n : SERVICE.network) |
    (options.servesFilters ? SERVICE.compactFilters : 0n)
  const chain = createChainPort({
    engine,
    hasRoom: () => takingBytes < MAX_TAKING_BYTES,
    now,
    minimumWork: options.minimumWork,
    maxTipAge: options.maxTipAge,
  })
  const peering = createPeering(
    {
      chain,
      pool: createPoolPort(engine, now),
      now,
      random,
      freshNonce,
      keyedHash,
      addrman,
      bans,
      uploadTargetReached: (historical) => upload.reached(historical),
    },
    {
      services,
      userAgent: options.userAgent,
      blocksOnly: options.blocksOnly,
      peerTimeout: options.peerTimeout,
      maxOrphans: options.maxOrphans,
      ownAddress: undefined,
      usesAddressBook: options.usesAddressBook,
    },
  )
  const limits = limitsFor(options.maxConnections)
  const capture = options.capturesMessages ? captureInto(join(datadir, 'message_capture'), now, options.log) : undefined
  const live = new Map<number, Live>()
  const dialling = new Set<Socket>()
  /** Bytes of connections that have ended. */
  const past = { received: 0, sent: 0 }
  const background = new Set<Promise<void>>()
  let nextId = 0
  let closing = false
  let active = options.isNetworkActive
  let soon: NodeJS.Timeout | undefined

  const inBackground = (work: Promise<void>): void => {
    const done = work
      .catch((error: unknown) => options.log.error({ error: String(error) }, 'a peer could not be answered'))
      .finally(() => background.delete(done))
    background.add(done)
  }

  const step = (input: PeeringInput): void => {
    const effects = stepPeering(peering, input)
    for (const effect of effects) carryOut(effect)
    if ('peer' in input && typeof input.peer === 'number') {
      const one = live.get(input.peer)
      if (one !== undefined) pump(one)
    }
    tickSoon()
  }

  const tickSoon = (): void => {
    if (soon !== undefined || closing) return
    soon = setTimeout(() => {
      soon = undefined
      tick()
    }, SOON_MS)
  }

  const traffic = (id: number): { readonly sentAt: number; readonly receivedAt: number } =>
    live.get(id)?.connection ?? { sentAt: 0, receivedAt: 0 }

  let ticked = 0
  const tick = (): void => {
    ticked = Date.now()
    for (const effect of stepPeering(peering, { type: 'tick', traffic })) carryOut(effect)
    for (const one of live.values()) pump(one)
  }

  const carryOut = (effect: Effect): void => {
    switch (effect.type) {
      case 'send': {
        const one = live.get(effect.peer)
        one?.connection.send(effect.message)
        if (one?.connection.isFull === true) one.state.sendPaused = true
        return
      }
      case 'close':
        return end(effect.peer, effect.reason)
      case 'log':
        if (effect.level === 'debug') options.log.debug({}, effect.text)
        else log[effect.level]({}, effect.text)
        return
      case 'takeBlock':
        return takeBlock(effect.peer, effect.block)
      case 'takeTransactions':
        return inBackground(takeTransactions(effect.peer, effect.transactions, effect.job))
      case 'readBlock':
        return inBackground(readBlock(effect.peer, effect.hash, effect.witness))
      case 'readFilters':
        return inBackground(readFilters(effect.peer, effect.query))
      default:
    }
  }

  /** Lets the machine take frames of a peer, as long as it wants them. */
  const pump = (one: Live): void => {
    if (one.pumping) return
    one.pumping = true
    for (let taken = 0; taken < MAX_TURN && !one.state.closing; taken++) {
      const frame = one.connection.next()
      const wants = canTake(peering, one.state)
      if (frame === undefined || wants === 'none') break
      if (wants === 'block' && (frame.problem !== undefined || frame.command !== 'block')) break
      one.connection.shift()
      if (frame.problem !== undefined) {
        options.log.debug({}, `${frame.problem}, peer=${one.state.id}`)
        continue
      }
      takeFrame(one, frame.command, frame.payload)
      if (taken === MAX_TURN - 1) setImmediate(() => pump(one))
    }
    one.pumping = false
  }

  const takeFrame = ({ state }: Live, command: string, payload: Uint8Array): void => {
    const size = payload.length
    try {
      const message = decodePayload(command, payload)
      step({ type: 'message', peer: state.id, message, size })
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error
      const detail = error.code === 'truncated' ? `end of data: ${error.message}` : error.message
      step({ type: 'undecodable', peer: state.id, command, size, detail })
    }
  }

  /** Several blocks are on their way into the chain at once, so that none waits for the disk to confirm the one before. */
  const takeBlock = (peer: number, block: Block): void => {
    const hash = blockHash(block.header)
    const bytes = block.transactions.reduce((sum, tx) => sum + txTotalSize(tx), 0)
    takingBytes += bytes
    const work = engine.submitBlock(block).then((outcome) => {
      takingBytes -= bytes
      const reason = outcome.status === 'rejected' ? outcome.violation.reason : undefined
      if (reason !== undefined) log.warn({ peer, hash, reason }, 'block refused')
      const taken = outcome.status === 'connected' || outcome.status === 'side'
      step({ type: 'blockTaken', peer, verdict: { hash, taken, ...(reason === undefined ? {} : { reason }) } })
    })
    inBackground(work)
  }

  const takeTransactions = async (peer: number, transactions: readonly Tx[], job: TxJob): Promise<void> => {
    const outcomes =
      job.purpose === 'package'
        ? await engine.submitTransactions(transactions, { asPackage: true, durable: false })
        : [await engine.submitTransaction(transactions[0] as Tx, { durable: false })]
    step({ type: 'transactionsTaken', peer, verdicts: outcomes.map(verdictOf), job })
  }

  /** The last one: a new block is asked for by many. */
  let served: { readonly hash: BlockHash; readonly witness: boolean; readonly payload: Uint8Array } | undefined
  const readBlock = async (peer: number, hash: BlockHash, witness: boolean): Promise<void> => {
    if (served?.hash !== hash || served.witness !== witness) {
      const stored = await engine.blockBytes(hash)
      const payload = stored === undefined || witness ? stored : encodeBlock(withoutWitness(decodeBlock(stored)))
      served = payload === undefined ? undefined : { hash, witness, payload }
      return step({ type: 'blockRead', peer, hash, payload })
    }
    step({ type: 'blockRead', peer, hash, payload: served.payload })
  }

  const readFilters = async (peer: number, query: FilterQuery): Promise<void> =>
    step({ type: 'filtersRead', peer, messages: await filterMessages(engine, query) })

  const end = (id: number, reason: string): void => {
    const one = live.get(id)
    if (one === undefined) return
    live.delete(id)
    past.received += one.connection.bytesReceived
    past.sent += one.connection.bytesSent
    one.connection.close()
    log.debug({}, `disconnecting peer=${id} (${reason})`)
    step({ type: 'disconnected', peer: id })
    outbound.lost(one.name)
  }

  type Arrival = {
    readonly name: string
    readonly endpoint: Endpoint | undefined
    readonly type: ConnectionType
    readonly permissions: ReadonlySet<Permission>
    readonly preferEvict: boolean
  }
  const open = (socket: Socket, { name, endpoint, type, permissions, preferEvict }: Arrival): void => {
    const id = nextId++
    const connection = createConnection(socket, network.magic, now, options.buffers, {
      capture: capture?.(endpointOfSocket(plainHost(socket.remoteAddress), socket.remotePort)),
      onReady() {
        const one = live.get(id)
        if (one !== undefined) pump(one)
      },
      onEnd: (reason) => {
        options.log.debug({}, `${reason}, peer=${id}`)
        end(id, reason)
      },
      onDrain() {
        const one = live.get(id)
        if (one === undefined) return
        one.state.sendPaused = false
        step({ type: 'drained', peer: id })
      },
      onSent: (bytes) => upload.sent(bytes),
    })
    const ourServices = permissions.has('bloomfilter') ? services | SERVICE.bloom : services
    const peer = {
      id,
      type,
      permissions,
      endpoint,
      name,
      nonce: freshNonce(),
      connectedAt: now(),
      ourServices,
      preferEvict,
      local: connection.local,
    }
    const effects = stepPeering(peering, { type: 'connected', peer })
    live.set(id, { connection, state: peering.peers.get(id) as PeerState, name, pumping: false })
    for (const effect of effects) carryOut(effect)
  }

  const isConnected = (name: string): boolean => [...live.values()].some((one) => one.name === name)

  const dial = async (name: string, known: Endpoint | undefined, type: ConnectionType): Promise<void> => {
    const target =
      known === undefined
        ? await resolveName(name, network.port)
        : { host: addressText(known), port: known.port, endpoint: known }
    const { endpoint } = target
    if (closing || !active) throw new Error('the network is not active')
    if (endpoint !== undefined && type !== 'manual' && (isBanned(bans, endpoint, seconds()) || isDiscouraged(bans, endpoint)))
      throw new Error(`${name} is banned`)
    const permissions = permissionsFor(endpoint, 'outbound', options.grants)
    await new Promise<void>((resolve, reject) => {
      const socket = connect({ host: target.host, port: target.port, timeout: options.dialTimeoutMs })
      dialling.add(socket)
      const fail = (error: Error): void => {
        dialling.delete(socket)
        socket.destroy()
        reject(new Error(`cannot reach ${name}: ${error.message}`))
      }
      socket.once('error', fail)
      socket.once('timeout', () => fail(new Error('no answer')))
      socket.once('connect', () => {
        dialling.delete(socket)
        socket.setTimeout(0)
        socket.off('error', fail)
        open(socket, { name, endpoint, type, permissions, preferEvict: false })
        resolve()
      })
    })
  }

  const evict = (): boolean => {
    const candidates = [...live.values()]
      .filter(({ state }) => state.type === 'inbound' && !state.permissions.has('noban') && !state.closing)
      .map(({ state }) => ({
        id: state.id,
        connectedAt: state.connectedAt,
        minPing: state.ping.least ?? Infinity,
        lastBlockAt: state.lastBlockAt,
        lastTransactionAt: state.lastTransactionAt,
        servesBlocks: servesBlocks(state),
        relaysTransactions: state.txRelay?.relays ?? false,
        hasBloomFilter: false,
        keyedGroup: state.endpoint === undefined ? '' : keyedHash(`group ${groupOf(state.endpoint).join('.')}`).toString(16),
        preferEvict: state.preferEvict,
        isLocal: state.endpoint !== undefined && isLocal(state.endpoint),
        network: state.endpoint === undefined ? '' : networkName(state.endpoint),
      }))
    const victim = selectToEvict(candidates)
    if (victim === undefined) return false
    log.debug({}, `selected inbound connection for eviction, disconnecting peer=${victim}`)
    end(victim, 'evicted')
    return true
  }

  const accept = (socket: Socket): void => {
    socket.on('error', () => undefined)
    const address = parseAddress(plainHost(socket.remoteAddress), options.cjdns)
    const name = endpointOfSocket(plainHost(socket.remoteAddress), socket.remotePort)
    const permissions = permissionsFor(address, 'inbound', options.grants)
    const drop = (why: string): void => {
      log.debug({}, `connection from ${name} dropped${why}`)
      socket.destroy()
    }
    if (!active || closing) return drop(': not accepting new connections')
    const isTrusted = permissions.has('noban')
    if (address !== undefined && !isTrusted && isBanned(bans, address, seconds())) return drop(' (banned)')
    const inbound = [...live.values()].filter(({ state }) => state.type === 'inbound').length
    const discouraged = address !== undefined && isDiscouraged(bans, address)
    if (inbound + 1 >= limits.inbound && discouraged && !isTrusted) return drop(' (discouraged)')
    if (inbound >= limits.inbound && !evict()) return drop(' (full)')
    const endpoint = address === undefined ? undefined : { ...address, port: socket.remotePort ?? 0 }
    open(socket, { name, endpoint, type: 'inbound', permissions, preferEvict: discouraged })
  }

  const outbound = createOutbound({
    peering,
    addrman,
    bans,
    dial,
    isConnected,
    isActive: () => active,
    now,
    random,
    networkName: network.name,
    defaultPort: network.port,
    maxFullRelay: limits.fullRelay,
    maxBlockRelay: limits.blockRelay,
    usesAddressBook: options.usesAddressBook,
    usesSeeds: options.usesSeeds,
    log,
  })

  /** Follows the active chain block by block, behind the tip: transactions of blocks need not be asked for any more. */
  let followed: HeaderEntry = engine.tipEntry()
  let following = Promise.resolve()
  const follow = (): void => {
    following = following.then(async () => {
      const tip = engine.tipEntry()
      if (tip === followed || closing) return
      const fork = forkPoint(followed, tip)
      if (fork !== followed) step({ type: 'blockDisconnected' })
      followed = tip
      if (chain.isInitialDownload()) return
      for (let height = fork.height + 1; height <= tip.height; height++) {
        const block = await engine.blockByHash((ancestorAt(tip, height) as HeaderEntry).hash)
        if (block !== undefined) step({ type: 'blockConnected', block })
      }
    })
    inBackground(following)
  }
  const unsubscribe = engine.subscribe((event) => {
    if (closing) return
    if (event.type === 'transactionSeen') return step({ type: 'transactionAdded', tx: event.tx })
    step({ type: 'tipChanged' })
    follow()
  })

  const servers: Server[] = []
  const closeServers = (): Promise<unknown> =>
    Promise.all(servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))))
  let bound = 0
  for (const { host, port } of options.listen ? options.addresses : []) {
    const server = createServer(accept)
    try {
      const got = await listenOn(server, 'P2P', host, port)
      if (servers.length === 0) bound = got
    } catch (error) {
      unsubscribe()
      await closeServers()
      throw error
    }
    server.on('error', (error) => options.log.error({ error: String(error) }, 'the P2P port'))
    servers.push(server)
  }
  const ticker = setInterval(() => {
    if (Date.now() - ticked >= TICK_MS / 2) tick()
    outbound.tick()
  }, TICK_MS)
  const saver = setInterval(() => book.saveAddresses(), SAVE_ADDRESSES_MS)
  let rebroadcastAt = now() + REBROADCAST_MS + random() * REBROADCAST_SPREAD_MS
  const rebroadcaster = setInterval(() => {
    if (now() < rebroadcastAt) return
    rebroadcastAt = now() + REBROADCAST_MS + random() * REBROADCAST_SPREAD_MS
    for (const id of engine.pool.unbroadcast) {
      const entry = engine.pool.entries.get(id)
      if (entry !== undefined) step({ type: 'rebroadcast', tx: entry.tx })
    }
  }, 1000)

  const connectionsOf = (type: ConnectionType): number => [...live.values()].filter(({ state }) => state.type === type).length

  return {
    port: bound,
    hasten(seconds) {
      rebroadcastAt -= seconds * 1000
    },
    book,
    services,
    cjdns: options.cjdns,
    blocksOnly: options.blocksOnly,
    banSeconds: options.banSeconds,
    peers: () =>
      [...live.values()].map(({ state, connection }) => ({
        state,
        connection,
        network: state.endpoint === undefined ? 'not_publicly_routable' : networkName(state.endpoint),
      })),
    async connect(name, type) {
      if (!isConnected(name)) await dial(name, undefined, type)
    },
    hasPlace(type) {
      if (type === 'outbound-full-relay') return connectionsOf(type) < limits.fullRelay
      return type !== 'block-relay-only' || connectionsOf(type) < limits.blockRelay
    },
    add: (name) => outbound.add(name),
    remove: (name) => outbound.remove(name),
    added: () =>
      outbound.added().map((name) => {
        const one = [...live.values()].find((other) => other.name === name)
        const endpoint = one?.state.endpoint
        return { name, connectedTo: one === undefined ? undefined : endpoint === undefined ? name : endpointText(endpoint) }
      }),
    disconnectByName(name) {
      const one = [...live.values()].find((other) => other.name === name)
      if (one !== undefined) end(one.state.id, 'disconnected by the operator')
      return one !== undefined
    },
    disconnectById(id) {
      const known = live.has(id)
      end(id, 'disconnected by the operator')
      return known
    },
    disconnectSubnet(subnet) {
      for (const { state } of live.values())
        if (state.endpoint !== undefined && subnetMatches(subnet, state.endpoint)) end(state.id, 'banned by the operator')
    },
    setActive(wanted) {
      options.log.info({}, `SetNetworkActive: ${wanted}`)
      active = wanted
      if (!wanted) for (const id of live.keys()) end(id, 'the network is off')
    },
    isActive: () => active,
    isInitialDownload: () => chain.isInitialDownload(),
    ping() {
      for (const { state } of live.values()) state.ping.queued = true
      tickSoon()
    },
    traffic() {
      const connections = [...live.values()].map(({ connection }) => connection)
      return {
        received: connections.reduce((sum, { bytesReceived }) => sum + bytesReceived, past.received),
        sent: connections.reduce((sum, { bytesSent }) => sum + bytesSent, past.sent),
      }
    },
    upload: () => upload.state(),
    sendRaw(id, command, payload) {
      const one = live.get(id)
      one?.connection.send({ type: 'raw', command, payload })
      return one !== undefined
    },
    fetchBlock(id, hash) {
      const entry = tree.entries.get(hash)
      if (entry === undefined) return 'Block header missing'
      const problem = fetchOne(peering, id, entry)
      tickSoon()
      return problem
    },
    timeOffset() {
      const offsets = [...live.values()]
        .filter(({ state }) => state.type !== 'inbound' && state.theirs !== undefined)
        .map(({ state }) => state.timeOffset)
        .sort((a, b) => a - b)
      return offsets.length < 5 ? 0 : (offsets[Math.floor(offsets.length / 2)] ?? 0)
    },
    orphans: () => peering.orphanage.all(),
    async close() {
      closing = true
      clearInterval(ticker)
      clearInterval(saver)
      clearInterval(rebroadcaster)
      clearTimeout(soon)
      unsubscribe()
      outbound.close()
      const stopped = closeServers()
      for (const socket of dialling) socket.destroy()
      for (const id of live.keys()) end(id, 'we stop')
      await Promise.all(background)
      await stopped
      book.saveAddresses()
      book.saveBans()
    },
  }
}
