/** The peers, their addresses and their bans: Bitcoin Core rpc/net.cpp, and getblockfrompeer of rpc/blockchain.cpp. */
import { hexToBytes } from '@leyden/codec'
import {
  addressText,
  ban,
  isBanned,
  isSubnetBanned,
  isValidAddress,
  listBans,
  networkName,
  parseAddress,
  parseSubnet,
  PERMISSIONS,
  PUBLIC_NETWORKS,
  SERVICE,
  singleAddress,
  subnetText,
  unban,
  type AddrmanEntry,
  type ConnectionType,
  type NetAddress,
  type PublicNetwork,
  type Subnet,
} from '@leyden/p2p'
import type { PeerService, PeerView } from '../p2p/service.ts'
import { isHex, RPC, RpcError, type Arguments } from './call.ts'
import { btc, type Json } from './json-text.ts'
import type { Method, Methods } from './method.ts'

/** The release of Bitcoin Core whose answers these are; the user agent says who we are. */
const CORE_VERSION = 280_100
const PROTOCOL_VERSION = 70_016
const MAX_COMMAND_LENGTH = 12

const seconds = (ms: number): number => Math.floor(ms / 1000)

/** Bitcoin Core protocol.cpp, serviceFlagToStr. */
const SERVICE_NAMES: Readonly<Record<number, string>> = {
  0: 'NETWORK',
  2: 'BLOOM',
  3: 'WITNESS',
  6: 'COMPACT_FILTERS',
  10: 'NETWORK_LIMITED',
  11: 'P2P_V2',
}
const serviceNames = (services: bigint): string[] =>
  Array.from({ length: 64 }, (_, bit) => bit)
    .filter((bit) => ((services >> BigInt(bit)) & 1n) === 1n)
    .map((bit) => SERVICE_NAMES[bit] ?? `UNKNOWN[2^${bit}]`)

const servicesHex = (services: bigint): string => services.toString(16).padStart(16, '0')

const byCommand = (totals: ReadonlyMap<string, number>): Json =>
  Object.fromEntries([...totals].sort(([a], [b]) => (a < b ? -1 : 1)))

const pingsOf = ({ state }: PeerView, now: number): { readonly [name: string]: Json } => {
  const { ping } = state
  const wait = ping.nonce === 0n ? 0 : now - ping.startedAt
  return {
    ...(ping.last === undefined || ping.last <= 0 ? {} : { pingtime: ping.last / 1000 }),
    ...(ping.least === undefined ? {} : { minping: ping.least / 1000 }),
    ...(wait > 0 ? { pingwait: wait / 1000 } : {}),
  }
}

const peerJson = (view: PeerView, now: number): Json => {
  const { state, connection, network } = view
  return {
    id: state.id,
    addr: state.name,
    addrbind: connection.local,
    network,
    services: servicesHex(state.services),
    servicesnames: serviceNames(state.services),
    relaytxes: state.txRelay?.relays ?? false,
    lastsend: seconds(connection.sentAt),
    lastrecv: seconds(connection.receivedAt),
    last_transaction: seconds(state.lastTransactionAt),
    last_block: seconds(state.lastBlockAt),
    bytessent: connection.bytesSent,
    bytesrecv: connection.bytesReceived,
    conntime: seconds(state.connectedAt),
    timeoffset: state.timeOffset,
    ...pingsOf(view, now),
    version: state.theirs?.version ?? 0,
    subver: state.theirs?.userAgent ?? '',
    inbound: state.type === 'inbound',
    bip152_hb_to: false,
    bip152_hb_from: state.highBandwidthFrom,
    startingheight: state.theirs?.startHeight ?? -1,
    presynced_headers: state.presync?.phase === 'presync' ? state.presync.height : -1,
    synced_headers: state.best?.height ?? -1,
    synced_blocks: state.lastCommon?.height ?? -1,
    inflight: [...state.inFlight.values()].map(({ height }) => height),
    addr_relay_enabled: state.addressRelay !== undefined,
    addr_processed: state.addressesProcessed,
    addr_rate_limited: state.addressesLimited,
    permissions: PERMISSIONS.filter((permission) => state.permissions.has(permission)),
    minfeefilter: btc(state.txRelay?.feeFilterPerKvb ?? 0n),
    bytessent_per_msg: byCommand(connection.sentByCommand),
    bytesrecv_per_msg: byCommand(connection.receivedByCommand),
    connection_type: state.type,
    transport_protocol_type: 'v1',
    session_id: '',
  }
}

const refuseV2 = (args: Arguments, at: number, problem: string): void => {
  if (args.has(at) && args.bool(at)) throw new RpcError(RPC.invalidParameter, problem)
}

const subnetOf = (text: string, cjdns: boolean): Subnet => {
  const parsed = text.includes('/') ? parseSubnet(text) : parseAddress(text, cjdns)
  if (parsed !== undefined && 'mask' in parsed) return parsed
  if (parsed !== undefined && isValidAddress(parsed)) return singleAddress(parsed)
  throw new RpcError(RPC.invalidIpOrSubnet, 'Error: Invalid IP/Subnet')
}

const addBan = (peers: PeerService, subnet: Subnet, isRange: boolean, args: Arguments, now: number): void => {
  const { bans } = peers.book
  if (isRange ? isSubnetBanned(bans, subnet, now) : isBanned(bans, subnet.address, now))
    throw new RpcError(RPC.nodeAlreadyAdded, 'Error: IP/Subnet already banned')
  const time = args.integer(2, 0)
  const absolute = args.bool(3, false)
  if (absolute && time < now) throw new RpcError(RPC.invalidParameter, 'Error: Absolute timestamp is in the past')
  const until = time <= 0 ? now + peers.banSeconds : absolute ? time : now + time
  ban(bans, subnet, until, now)
  peers.disconnectSubnet(subnet)
}

const networkArgument = (name: string): PublicNetwork => {
  const found = PUBLIC_NETWORKS.find((one) => one === name.toLowerCase() || (one === 'onion' && name.toLowerCase() === 'tor'))
  if (found === undefined) throw new RpcError(RPC.invalidParameter, `Network not recognized: ${name}`)
  return found
}

const tableJson = (entries: readonly AddrmanEntry[]): Json =>
  Object.fromEntries(
    entries.map(({ endpoint, source, services, time, bucket, position }) => [
      `${bucket}/${position}`,
      {
        address: addressText(endpoint),
        port: endpoint.port,
        services: Number(services),
        time,
        network: networkName(endpoint),
        source: addressText(source),
        source_network: networkName(source),
      },
    ]),
  )

const TEST_CONNECTIONS = new Set<string>(['outbound-full-relay', 'block-relay-only', 'addr-fetch', 'feeler'])
const isTestConnection = (type: string): type is ConnectionType => TEST_CONNECTIONS.has(type)

const infoMethods: Methods = {
  getnetworkinfo: {
    params: [],
    about: 'State of the P2P network. Networks: (ipv4, ipv6, onion, i2p, cjdns).',
    run({ peers, userAgent, engine }) {
      const all = peers.peers()
      const inbound = all.filter(({ state }) => state.type === 'inbound').length
      const active = peers.isActive()
      return {
        version: CORE_VERSION,
        subversion: userAgent,
        protocolversion: PROTOCOL_VERSION,
        localservices: servicesHex(peers.services),
        localservicesnames: serviceNames(peers.services),
        localrelay: !peers.blocksOnly,
        timeoffset: peers.timeOffset(),
        networkactive: active,
        connections: all.length,
        connections_in: inbound,
        connections_out: all.length - inbound,
        networks: PUBLIC_NETWORKS.map((name) => {
          const reachable = name === 'ipv4' || name === 'ipv6' || (name === 'cjdns' && peers.cjdns)
          return { name, limited: !reachable, reachable, proxy: '', proxy_randomize_credentials: false }
        }),
        relayfee: btc(BigInt(engine.pool.policy.minRelayFeeratePerKvb)),
        incrementalfee: btc(BigInt(engine.pool.policy.incrementalFeeratePerKvb)),
        localaddresses: [],
        warnings: [],
      }
    },
  },
  getconnectioncount: { params: [], about: 'Number of peers.', run: ({ peers }) => peers.peers().length },
  getpeerinfo: {
    params: [],
    about: 'The peers. Networks: (ipv4, ipv6, onion, i2p, cjdns, not_publicly_routable).',
    run: ({ peers, now }) => peers.peers().map((view) => peerJson(view, now())),
  },
  getnettotals: {
    params: [],
    about: 'Bytes sent to and received from peers.',
    run({ peers }) {
      const { received, sent } = peers.traffic()
      const { target, reached, servesHistorical, bytesLeft, secondsLeft } = peers.upload()
      return {
        totalbytesrecv: received,
        totalbytessent: sent,
        timemillis: Date.now(),
        uploadtarget: {
          timeframe: 86_400,
          target,
          target_reached: reached,
          serve_historical_blocks: servesHistorical,
          bytes_left_in_cycle: bytesLeft,
          time_left_in_cycle: secondsLeft,
        },
      }
    },
  },
  ping: {
    params: [],
    about: 'Sends a ping to every peer.',
    run({ peers }) {
      peers.ping()
      return null
    },
  },
}

const connectionMethods: Methods = {
  addnode: {
    params: ['node', 'command', 'v2transport'],
    about: 'Connects to a peer: add (and keep trying), onetry, or remove.',
    async run({ peers }, args) {
      const name = args.string(0)
      const command = args.string(1)
      if (command !== 'add' && command !== 'onetry' && command !== 'remove')
        throw new RpcError(RPC.misc, 'addnode "node" "command" ( v2transport )\n\nThe command is add, remove or onetry.')
      refuseV2(args, 2, 'Error: v2transport requested but not enabled (see -v2transport)')
      if (command === 'remove') {
        if (!peers.remove(name))
          throw new RpcError(RPC.nodeNotAdded, 'Error: Node could not be removed. It has not been added previously.')
      } else if (command === 'add') {
        if (!peers.add(name)) throw new RpcError(RPC.nodeAlreadyAdded, 'Error: Node already added')
      } else {
        // As bitcoind: that nobody answers is no error of the call.
        await peers.connect(name, 'manual').catch(() => undefined)
      }
      return null
    },
  },
  addconnection: {
    params: ['address', 'connection_type', 'v2transport'],
    about: 'Connects to a peer once, as a connection of a type (regtest only).',
    async run({ peers, engine }, args) {
      const [address, type] = [args.string(0), args.string(1).trim()]
      if (engine.network.name !== 'regtest')
        throw new RpcError(RPC.misc, 'addconnection is for regression testing (-regtest mode) only.')
      if (!isTestConnection(type))
        throw new RpcError(RPC.invalidParameter, 'addconnection "address" "connection_type" v2transport: an unknown type')
      refuseV2(args, 2, 'Error: Adding v2transport connections requires -v2transport init flag to be set.')
      if (!peers.hasPlace(type))
        throw new RpcError(RPC.nodeCapacityReached, 'Error: Already at capacity for specified connection type.')
      await peers.connect(address, type).catch(() => undefined)
      return { address, connection_type: type }
    },
  },
  disconnectnode: {
    params: ['address', 'nodeid'],
    about: 'Ends the connection to a peer, by its address or by its id.',
    run({ peers }, args) {
      const byId = args.has(1) && (!args.has(0) || args.raw(0) === '')
      if (!byId && (args.has(1) || !args.has(0)))
        throw new RpcError(RPC.invalidParams, 'Only one of address and nodeid should be provided.')
      const done = byId ? peers.disconnectById(args.int(1)) : peers.disconnectByName(args.string(0))
      if (!done) throw new RpcError(RPC.nodeNotConnected, 'Node not found in connected nodes')
      return null
    },
  },
  getaddednodeinfo: {
    params: ['node'],
    about: 'The peers that addnode added.',
    run({ peers }, args) {
      const wanted = args.has(0) ? args.string(0) : undefined
      const found = peers.added().filter(({ name }) => wanted === undefined || name === wanted)
      if (wanted !== undefined && found.length === 0) throw new RpcError(RPC.nodeNotAdded, 'Error: Node has not been added.')
      return found.map(({ name, connectedTo }) => ({
        addednode: name,
        connected: connectedTo !== undefined,
        addresses: connectedTo === undefined ? [] : [{ address: connectedTo, connected: 'outbound' }],
      }))
    },
  },
  setnetworkactive: {
    params: ['state'],
    about: 'Turns the network on or off.',
    run({ peers }, args) {
      peers.setActive(args.bool(0))
      return peers.isActive()
    },
  },
  sendmsgtopeer: {
    params: ['peer_id', 'msg_type', 'msg'],
    about: 'Sends any bytes as a message: for tests.',
    run({ peers }, args) {
      const id = args.int(0)
      const command = args.string(1)
      if (command.length > MAX_COMMAND_LENGTH)
        throw new RpcError(RPC.invalidParameter, `Error: msg_type too long, max length is ${MAX_COMMAND_LENGTH}`)
      const hex = args.string(2)
      if (!isHex(hex)) throw new RpcError(RPC.invalidParameter, 'Error parsing input for msg')
      if (!peers.sendRaw(id, command, hexToBytes(hex.toLowerCase())))
        throw new RpcError(RPC.misc, 'Error: Could not send message to peer')
      return {}
    },
  },
  getblockfrompeer: {
    params: ['blockhash', 'peer_id'],
    about: 'Asks a peer for a block whose header we have.',
    run({ peers, engine }, args) {
      const hash = args.blockHash(0)
      const id = args.int(1)
      const entry = engine.tree.entries.get(hash)
      if (entry === undefined) throw new RpcError(RPC.misc, 'Block header missing')
      if (engine.storage().pruning !== 'off' && entry.height > engine.tip().height)
        throw new RpcError(
          RPC.misc,
          'In prune mode, only blocks that the node has already synced previously can be fetched from a peer',
        )
      if (engine.blockData(entry) === 'here') throw new RpcError(RPC.misc, 'Block already downloaded')
      const problem = peers.fetchBlock(id, hash)
      if (problem !== undefined) throw new RpcError(RPC.misc, problem)
      return {}
    },
  },
}

const banMethods: Methods = {
  setban: {
    params: ['subnet', 'command', 'bantime', 'absolute'],
    about: 'Bans an address or a range of them, or ends the ban.',
    run({ peers, now }, args) {
      const text = args.string(0)
      const command = args.string(1, '')
      if (command !== 'add' && command !== 'remove')
        throw new RpcError(RPC.misc, 'setban "subnet" "command" ( bantime absolute )\n\nThe command is add or remove.')
      const subnet = subnetOf(text, peers.cjdns)
      if (command === 'add') addBan(peers, subnet, text.includes('/'), args, seconds(now()))
      else if (!unban(peers.book.bans, subnet))
        throw new RpcError(
          RPC.invalidIpOrSubnet,
          'Error: Unban failed. Requested address/subnet was not previously manually banned.',
        )
      peers.book.saveBans()
      return null
    },
  },
  listbanned: {
    params: [],
    about: 'The bans.',
    run({ peers, now }) {
      const time = seconds(now())
      return listBans(peers.book.bans, time).map(({ subnet, createdAt, until }) => ({
        address: subnetText(subnet),
        ban_created: createdAt,
        banned_until: until,
        ban_duration: until - createdAt,
        time_remaining: until - time,
      }))
    },
  },
  clearbanned: {
    params: [],
    about: 'Ends all bans.',
    run({ peers }) {
      peers.book.bans.bans.clear()
      peers.book.saveBans()
      return null
    },
  },
}

const port16 = (args: Arguments, at: number): number => {
  const value = args.int(at)
  if (value < 0 || value > 65_535) throw new RpcError(RPC.misc, 'JSON integer out of range')
  return value
}

const addPeerAddress: Method = {
  params: ['address', 'port', 'tried'],
  about: 'Adds an address to the address book: for tests.',
  run({ peers, now }, args) {
    const text = args.string(0)
    const port = port16(args, 1)
    const tried = args.bool(2, false)
    const address: NetAddress | undefined = parseAddress(text, peers.cjdns)
    if (address === undefined) return { success: false }
    const { addrman } = peers.book
    const endpoint = { ...address, port }
    const time = seconds(now())
    const added = addrman.add([{ endpoint, services: SERVICE.network | SERVICE.witness, time }], address, 0, time)
    if (added === 0) return { error: 'failed-adding-to-new', success: false }
    if (tried && !addrman.good(endpoint, time)) return { error: 'failed-adding-to-tried', success: false }
    return { success: true }
  },
}

const addressMethods: Methods = {
  addpeeraddress: addPeerAddress,
  getnodeaddresses: {
    params: ['count', 'network'],
    about: 'Addresses of other nodes.',
    run({ peers, now }, args) {
      const count = args.int(0, 1)
      if (count < 0) throw new RpcError(RPC.invalidParameter, 'Address count out of range')
      const network = args.has(1) ? networkArgument(args.string(1)) : undefined
      return peers.book.addrman.sample(count, 0, seconds(now()), network).map(({ endpoint, services, time }) => ({
        time,
        services: Number(services),
        address: addressText(endpoint),
        port: endpoint.port,
        network: networkName(endpoint),
      }))
    },
  },
  getaddrmaninfo: {
    params: [],
    about: 'How many addresses are known, per network and table.',
    run({ peers }) {
      const { addrman } = peers.book
      const json = (network?: PublicNetwork): Json => {
        const { new: heard, tried } = addrman.count(network)
        return { new: heard, tried, total: heard + tried }
      }
      return { ...Object.fromEntries(PUBLIC_NETWORKS.map((network) => [network, json(network)])), all_networks: json() }
    },
  },
  getrawaddrman: {
    params: [],
    about: 'Every entry of the address book with its place: for tests.',
    run({ peers }) {
      const { addrman } = peers.book
      return { new: tableJson(addrman.table(false)), tried: tableJson(addrman.table(true)) }
    },
  },
}

export const networkMethods: Methods = { ...infoMethods, ...connectionMethods, ...banMethods, ...addressMethods }
