/** The node itself: Bitcoin Core rpc/net.cpp, rpc/server.cpp, and addresses from rpc/output_script.cpp. */
import { bytesToHex } from '@leyden/codec'
import { classifyScript, decodeAddress, encodeAddress, isAddressProblem, witnessProgram } from '@leyden/bitcoin'
import { INCREMENTAL_FEERATE_PER_KVB, MIN_RELAY_FEERATE_PER_KVB } from '@leyden/ledger'
import { RPC, RpcError } from './call.ts'
import { btc } from './json-text.ts'
import type { Methods } from './method.ts'

/** The release of Bitcoin Core whose answers these are; the user agent says who we are. */
const CORE_VERSION = 280_100
const PROTOCOL_VERSION = 70_016

const seconds = (ms: number): number => Math.floor(ms / 1000)

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
        inbound: peer.inbound,
        version: peer.version,
        subver: peer.userAgent,
        startingheight: peer.startHeight,
        conntime: seconds(peer.connectedAt),
      })),
  },
  addnode: {
    params: ['node', 'command'],
    about: 'Connects to a peer: add (and keep trying), onetry, or remove.',
    async run({ connectPeer, disconnectPeer }, args) {
      const address = args.string(0)
      const command = args.string(1)
      if (command === 'remove') {
        if (!disconnectPeer(address))
          throw new RpcError(-24, 'Error: Node could not be removed. It has not been added previously.')
        return null
      }
      if (command !== 'add' && command !== 'onetry') throw new RpcError(RPC.invalidParameter, 'addnode: add, remove or onetry')
      try {
        await connectPeer(address, command === 'onetry')
      } catch (error) {
        if (error instanceof RangeError) throw new RpcError(RPC.invalidParameter, error.message)
        throw error
      }
      return null
    },
  },
  disconnectnode: {
    params: ['address'],
    about: 'Ends the connection to a peer.',
    run({ disconnectPeer }, args) {
      if (!disconnectPeer(args.string(0))) throw new RpcError(-29, 'Node not found in connected nodes')
      return null
    },
  },
  validateaddress: {
    params: ['address'],
    about: 'Whether a text is an address of this network, and of what.',
    run({ engine }, args) {
      const address = args.string(0)
      const script = decodeAddress(address, engine.network)
      if (isAddressProblem(script)) return { isvalid: false, error_locations: [], error: script.detail }
      const program = witnessProgram(script)
      const { type } = classifyScript(script)
      return {
        isvalid: true,
        address: encodeAddress(script, engine.network) ?? address,
        scriptPubKey: bytesToHex(script),
        isscript: type === 'p2sh' || type === 'p2wsh' || type === 'p2tr' || type === 'p2a',
        iswitness: program !== undefined,
        ...(program === undefined ? {} : { witness_version: program.version, witness_program: bytesToHex(program.program) }),
      }
    },
  },
  getzmqnotifications: { params: [], about: 'There are none.', run: () => [] },
  uptime: { params: [], about: 'Seconds since the start.', run: ({ now, startedAtMs }) => seconds(now() - startedAtMs) },
  stop: {
    params: [],
    about: 'Ends the ledger in an orderly way.',
    run({ stop }) {
      stop()
      return 'Leyden ledger stopping'
    },
  },
}
