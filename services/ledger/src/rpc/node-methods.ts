/** The node itself: Bitcoin Core rpc/net.cpp, rpc/server.cpp, and addresses from rpc/output_script.cpp. */
import { bytesToHex } from '@leyden/codec'
import {
  classifyScript,
  decodeAddress,
  encodeAddress,
  isAddressProblem,
  witnessProgram,
  type AddressProblem,
  type Network,
} from '@leyden/bitcoin'
import { INCREMENTAL_FEERATE_PER_KVB, MIN_RELAY_FEERATE_PER_KVB } from '@leyden/ledger'
import { RPC, RpcError } from './call.ts'
import { btc } from './json-text.ts'
import type { Methods } from './method.ts'

/** The release of Bitcoin Core whose answers these are; the user agent says who we are. */
const CORE_VERSION = 280_100
const PROTOCOL_VERSION = 70_016

/** Longer than that the server does not stay open. */
const MAX_STOP_WAIT_MS = 10_000

const seconds = (ms: number): number => Math.floor(ms / 1000)

/** Bitcoin Core protocol.cpp, serviceFlagToStr. */
const SERVICES: readonly (readonly [number, string])[] = [
  [0, 'NETWORK'],
  [2, 'BLOOM'],
  [3, 'WITNESS'],
  [6, 'COMPACT_FILTERS'],
  [10, 'NETWORK_LIMITED'],
  [11, 'P2P_V2'],
]
const serviceNames = (services: bigint): string[] =>
  SERVICES.flatMap(([bit, name]) => (((services >> BigInt(bit)) & 1n) === 1n ? [name] : []))

const SCRIPT_ADDRESSES: ReadonlySet<string> = new Set(['p2sh', 'p2wsh', 'p2tr', 'p2a'])

/** Base58 has no 0, O, I and l. */
const BASE58 = /^[1-9A-HJ-NP-Za-km-z]*$/

/** Why a text is no address: in Bitcoin Core's words where base58 is meant, in ours for bech32. */
const addressError = (text: string, { problem, detail }: AddressProblem, { bech32Prefix }: Network): string => {
  if (text.toLowerCase().startsWith(bech32Prefix)) return detail
  if (!BASE58.test(text) || text.length > 100) return 'Invalid or unsupported Segwit (Bech32) or Base58 encoding.'
  if (problem === 'wrong_network') return 'Invalid or unsupported Base58-encoded address.'
  return 'Invalid checksum or length of Base58 address (P2PKH or P2SH)'
}

/** A bad address is the caller's fault. */
const connecting = async (work: Promise<void>): Promise<void> => {
  try {
    await work
  } catch (error) {
    if (error instanceof RangeError) throw new RpcError(RPC.invalidParameter, error.message)
    throw error
  }
}

export const nodeMethods: Methods = {
  getnetworkinfo: {
    params: [],
    about: 'State of the P2P network.',
    run({ peers, userAgent }) {
      const all = peers()
      const inbound = all.filter((peer) => peer.inbound).length
      return {
        version: CORE_VERSION,
        subversion: userAgent,
        protocolversion: PROTOCOL_VERSION,
        localservices: '0000000000000409',
        localservicesnames: ['NETWORK', 'WITNESS', 'NETWORK_LIMITED'],
        localrelay: true,
        timeoffset: 0,
        networkactive: true,
        connections: all.length,
        connections_in: inbound,
        connections_out: all.length - inbound,
        networks: [{ name: 'ipv4', limited: false, reachable: true, proxy: '', proxy_randomize_credentials: false }],
        relayfee: btc(BigInt(MIN_RELAY_FEERATE_PER_KVB)),
        incrementalfee: btc(BigInt(INCREMENTAL_FEERATE_PER_KVB)),
        localaddresses: [],
        warnings: [],
      }
    },
  },
  getconnectioncount: { params: [], about: 'Number of peers.', run: ({ peers }) => peers().length },
  getpeerinfo: {
    params: [],
    about: 'The peers.',
    run: ({ peers }) =>
      peers().map((peer) => ({
        id: peer.id,
        addr: peer.address,
        network: peer.address.startsWith('[') ? 'ipv6' : 'ipv4',
        services: peer.services.toString(16).padStart(16, '0'),
        servicesnames: serviceNames(peer.services),
        relaytxes: peer.relaysTransactions,
        lastsend: seconds(peer.lastSentAt),
        lastrecv: seconds(peer.lastReceivedAt),
        last_transaction: seconds(peer.lastTransactionAt),
        last_block: seconds(peer.lastBlockAt),
        bytessent: peer.bytesSent,
        bytesrecv: peer.bytesReceived,
        conntime: seconds(peer.connectedAt),
        timeoffset: 0,
        version: peer.version,
        subver: peer.userAgent,
        inbound: peer.inbound,
        bip152_hb_to: false,
        bip152_hb_from: false,
        startingheight: peer.startHeight,
        presynced_headers: -1,
        synced_headers: peer.syncedHeaders,
        synced_blocks: peer.syncedBlocks,
        addr_relay_enabled: false,
        addr_processed: 0,
        addr_rate_limited: 0,
        permissions: [],
        connection_type: peer.inbound ? 'inbound' : 'manual',
        transport_protocol_type: 'v1',
        session_id: '',
      })),
  },
  addnode: {
    params: ['node', 'command', 'v2transport'],
    about: 'Connects to a peer: add (and keep trying), onetry, or remove.',
    async run({ connectPeer, disconnectPeer, addedPeers }, args) {
      const address = args.string(0)
      const command = args.string(1)
      if (args.bool(2, false))
        throw new RpcError(RPC.invalidParameter, 'Error: v2transport requested but not enabled (see -v2transport)')
      if (command === 'remove') {
        if (!disconnectPeer(address))
          throw new RpcError(RPC.nodeNotAdded, 'Error: Node could not be removed. It has not been added previously.')
        return null
      }
      if (command !== 'add' && command !== 'onetry')
        throw new RpcError(RPC.misc, 'addnode "node" "command": add, remove or onetry')
      if (command === 'add' && addedPeers().some((one) => one.address === address))
        throw new RpcError(RPC.nodeAlreadyAdded, 'Error: Node already added')
      await connecting(connectPeer(address, command === 'onetry'))
      return null
    },
  },
  addconnection: {
    params: ['address', 'connection_type', 'v2transport'],
    about: 'Connects to a peer once, as outbound-full-relay (regtest only).',
    async run({ connectPeer, engine }, args) {
      const [address, type, v2] = [args.string(0), args.string(1).trim(), args.bool(2)]
      if (engine.network.name !== 'regtest')
        throw new RpcError(RPC.misc, 'addconnection is for regression testing (-regtest mode) only.')
      if (type !== 'outbound-full-relay')
        throw new RpcError(RPC.invalidParameter, 'addconnection "address" "connection_type" v2transport: outbound-full-relay')
      if (v2)
        throw new RpcError(
          RPC.invalidParameter,
          'Error: Adding v2transport connections requires -v2transport init flag to be set.',
        )
      await connecting(connectPeer(address, true))
      return { address, connection_type: type }
    },
  },
  disconnectnode: {
    params: ['address', 'nodeid'],
    about: 'Ends the connection to a peer, by its address or by its id.',
    run({ disconnectPeer, disconnectPeerById }, args) {
      if (args.has(1) && args.has(0) && args.string(0) !== '')
        throw new RpcError(RPC.invalidParams, 'Only one of address and nodeid should be provided.')
      if (!args.has(1) && !args.has(0))
        throw new RpcError(RPC.invalidParams, 'Only one of address and nodeid should be provided.')
      const done = args.has(1) ? disconnectPeerById(args.int(1)) : disconnectPeer(args.string(0))
      if (!done) throw new RpcError(RPC.nodeNotConnected, 'Node not found in connected nodes')
      return null
    },
  },
  getnodeaddresses: {
    params: ['count', 'network'],
    about: 'Addresses of other nodes: none are collected.',
    run(_context, args) {
      if (args.int(0, 1) < 0) throw new RpcError(RPC.invalidParameter, 'Address count out of range')
      return []
    },
  },
  ping: {
    params: [],
    about: 'Sends a ping to every peer.',
    run({ pingPeers }) {
      pingPeers()
      return null
    },
  },
  getaddednodeinfo: {
    params: ['node'],
    about: 'The peers that addnode added.',
    run({ addedPeers }, args) {
      const node = args.has(0) ? args.string(0) : undefined
      const found = addedPeers().filter(({ address }) => node === undefined || address === node)
      if (node !== undefined && found.length === 0) throw new RpcError(RPC.nodeNotAdded, 'Error: Node has not been added.')
      return found.map(({ address, connected }) => ({
        addednode: address,
        connected,
        addresses: connected ? [{ address, connected: 'outbound' }] : [],
      }))
    },
  },
  getnettotals: {
    params: [],
    about: 'Bytes sent to and received from peers.',
    run({ traffic, now }) {
      const { received, sent } = traffic()
      return {
        totalbytesrecv: received,
        totalbytessent: sent,
        timemillis: now(),
        uploadtarget: {
          timeframe: 86_400,
          target: 0,
          target_reached: false,
          serve_historical_blocks: true,
          bytes_left_in_cycle: 0,
          time_left_in_cycle: 0,
        },
      }
    },
  },
  validateaddress: {
    params: ['address'],
    about: 'Whether a text is an address of this network, and of what.',
    run({ engine }, args) {
      const address = args.string(0)
      const script = decodeAddress(address, engine.network)
      if (isAddressProblem(script))
        return { isvalid: false, error_locations: [], error: addressError(address, script, engine.network) }
      const program = witnessProgram(script)
      const { type } = classifyScript(script)
      return {
        isvalid: true,
        address: encodeAddress(script, engine.network) ?? address,
        scriptPubKey: bytesToHex(script),
        ...(type === 'witness_unknown' ? {} : { isscript: SCRIPT_ADDRESSES.has(type) }),
        iswitness: program !== undefined,
        ...(program === undefined || type === 'p2a'
          ? {}
          : { witness_version: program.version, witness_program: bytesToHex(program.program) }),
      }
    },
  },
  getzmqnotifications: { params: [], about: 'There are none.', run: () => [] },
  uptime: { params: [], about: 'Seconds since the start.', run: ({ now, startedAtMs }) => seconds(now()) - seconds(startedAtMs) },
  stop: {
    params: ['wait'],
    about: 'Ends the ledger in an orderly way.',
    async run({ stop }, args) {
      const wait = args.int(0, 0)
      stop()
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, Math.min(wait, MAX_STOP_WAIT_MS)))
      return 'Leyden ledger stopping'
    },
  },
}
