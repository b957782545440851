/** The node itself: Bitcoin Core rpc/server.cpp, and addresses from rpc/output_script.cpp. Its peers are in network-methods.ts. */
import { bytesToHex } from '@leyden/codec'
import { addressError, classifyScript, decodeAddress, encodeAddress, isAddressProblem, witnessProgram } from '@leyden/bitcoin'
import type { Methods } from './method.ts'

/** Longer than that the server does not stay open. */
const MAX_STOP_WAIT_MS = 10_000

/** What `stop` answers. */
export const STOPPING = 'Leyden ledger stopping'

const seconds = (ms: number): number => Math.floor(ms / 1000)

const SCRIPT_ADDRESSES: ReadonlySet<string> = new Set(['p2sh', 'p2wsh', 'p2tr', 'p2a'])

export const nodeMethods: Methods = {
  validateaddress: {
    params: ['address'],
    about: 'Return information about the given bitcoin address.',
    run({ engine }, args) {
      const address = args.string(0)
      const script = decodeAddress(address, engine.network)
      if (isAddressProblem(script)) {
        const { error, locations } = addressError(address, engine.network)
        return { isvalid: false, error_locations: locations, error }
      }
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
  getzmqnotifications: {
    params: [],
    about: 'What is published over ZeroMQ, and where.',
    run: ({ zmq }) => zmq.map(({ topic, address, hwm }) => ({ type: `pub${topic}`, address, hwm })),
  },
  uptime: { params: [], about: 'Seconds since the start.', run: ({ now, startedAtMs }) => seconds(now()) - seconds(startedAtMs) },
  stop: {
    params: ['wait'],
    about: 'Ends the ledger in an orderly way.',
    async run({ stop }, args) {
      const wait = args.int(0, 0)
      stop()
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, Math.min(wait, MAX_STOP_WAIT_MS)))
      return STOPPING
    },
  },
}
