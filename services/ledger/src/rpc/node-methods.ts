/** The node itself: Bitcoin Core rpc/server.cpp, and addresses from rpc/output_script.cpp. Its peers are in network-methods.ts. */
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
import type { Methods } from './method.ts'

/** Longer than that the server does not stay open. */
const MAX_STOP_WAIT_MS = 10_000

const seconds = (ms: number): number => Math.floor(ms / 1000)

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

export const nodeMethods: Methods = {
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
