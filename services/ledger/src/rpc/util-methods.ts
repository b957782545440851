/** Tools: Bitcoin Core rpc/node.cpp, rpc/server.cpp, rpc/signmessage.cpp, rpc/output_script.cpp. */
import { bytesToHex, compactSize, concat, encode, equalBytes, hexToBytes, utf8Encode } from '@leyden/codec'
import {
  classifyScript,
  decodeAddress,
  emptyKnowledge,
  encodeAddress,
  expandDescriptor,
  hasPrivateKeys,
  isAddressProblem,
  isRanged,
  isSolvable,
  MAX_PUBKEYS_PER_MULTISIG,
  MAX_SCRIPT_ELEMENT_SIZE,
  multisigScript,
  withChecksum,
} from '@leyden/bitcoin'
import { ecdsaRecover, ecdsaSignRecoverable, hash160, isValidPublicKey, pointUncompress, sha256d } from '@leyden/crypto'
import { LOG_CATEGORIES } from '../bitcoind/debug-log.ts'
import { kindOf, RPC, RpcError } from './call.ts'
import { readDescriptor, readRange, scriptOfDescriptor } from './descriptor.ts'
import type { Json } from './json-text.ts'
import type { Method, Methods } from './method.ts'
import { readKey } from './raw-methods.ts'

const varString = (text: string): Uint8Array => {
  const bytes = utf8Encode(text)
  return concat(encode(compactSize, bytes.length), bytes)
}

/** What a signed message signs. Bitcoin Core common/signmessage.cpp. */
const messageHash = (message: string): Uint8Array => sha256d(concat(varString('Bitcoin Signed Message:\n'), varString(message)))

/** First byte of a signature: this, the recovery id, and 4 for a compressed key. BIP 137. */
const SIGNATURE_HEADER = 27

const readPublicKey = (value: unknown): Uint8Array => {
  if (typeof value !== 'string')
    throw new RpcError(RPC.type, `JSON value of type ${kindOf(value)} is not of expected type string`)
  const refuse = (why: string): RpcError => new RpcError(RPC.invalidAddressOrKey, `Pubkey "${value.slice(0, 200)}" ${why}`)
  if (!/^(?:[0-9a-fA-F]{2})+$/.test(value)) throw refuse('must be a hex string')
  if (value.length !== 66 && value.length !== 130) throw refuse('must have a length of either 33 or 65 bytes')
  const point = hexToBytes(value.toLowerCase())
  if (!isValidPublicKey(point)) throw refuse('must be cryptographically valid.')
  return point
}

const MAX_MOCK_TIME = 9_223_372_036

const echo: Method = {
  params: Array.from({ length: 10 }, (_, i) => `arg${i}`),
  about: 'Gives back the arguments.',
  run: (_context, args) => [...args.all()].map((value) => (value ?? null) as Json),
}

export const utilMethods: Methods = {
  setmocktime: {
    params: ['timestamp'],
    about: 'Lets the clock stand still at a time in seconds, 0 lets it run (regtest only).',
    run({ engine, setTime }, args) {
      if (engine.network.name !== 'regtest')
        throw new RpcError(RPC.misc, 'setmocktime is for regression testing (-regtest mode) only')
      const time = args.raw(0)
      if (typeof time !== 'number') args.int(0)
      if (!Number.isSafeInteger(time)) throw new RpcError(RPC.misc, 'JSON integer out of range')
      const seconds = time as number
      if (seconds < 0 || seconds > MAX_MOCK_TIME)
        throw new RpcError(RPC.invalidParameter, `Mocktime must be in the range [0, ${MAX_MOCK_TIME}], not ${seconds}.`)
      setTime(seconds * 1000)
      return null
    },
  },
  mockscheduler: {
    params: ['delta_time'],
    about: 'Lets what is due within so many seconds happen now (regtest only).',
    run({ engine, peers }, args) {
      if (engine.network.name !== 'regtest')
        throw new RpcError(RPC.misc, 'mockscheduler is for regression testing (-regtest mode) only')
      const seconds = args.integer(0)
      if (seconds <= 0 || seconds > 3600) throw new RpcError(RPC.misc, 'delta_time must be between 1 and 3600 seconds (1 hr)')
      peers.hasten(seconds)
      return null
    },
  },
  getmemoryinfo: {
    params: ['mode'],
    about: 'Memory that is locked against swapping: none.',
    run(_context, args) {
      const mode = args.string(0, 'stats')
      if (mode === 'mallocinfo') throw new RpcError(RPC.invalidParameter, 'mallocinfo mode not available')
      if (mode !== 'stats') throw new RpcError(RPC.invalidParameter, `unknown mode ${mode.slice(0, 100)}`)
      return { locked: { used: 0, free: 0, total: 0, locked: 0, chunks_used: 0, chunks_free: 0 } }
    },
  },
  getrpcinfo: {
    params: [],
    about: 'Calls under way, with their microseconds.',
    run: ({ active, logPath }) => ({
      active_commands: [...active].map(({ method, since }) => ({
        method,
        duration: Math.round((performance.now() - since) * 1000),
      })),
      logpath: logPath,
    }),
  },
  logging: {
    params: ['include', 'exclude'],
    about: `The categories of the debug log, and which are on: while one is, debug lines are written. \
In the lists, valid logging categories are: ${LOG_CATEGORIES.join(', ')}`,
    run({ logCategories }, args) {
      for (const [at, on] of [true, false].entries()) {
        for (const name of args.has(at) ? args.array(at) : []) {
          if (typeof name !== 'string')
            throw new RpcError(RPC.type, `JSON value of type ${kindOf(name)} is not of expected type string`)
          if (!logCategories.set(name, on))
            throw new RpcError(RPC.invalidParameter, `unknown logging category ${name.slice(0, 100)}`)
        }
      }
      return logCategories.all()
    },
  },
  echo,
  echojson: echo,
  getdescriptorinfo: {
    params: ['descriptor'],
    about: 'What a descriptor is, and its text without private keys and with its checksum.',
    run({ engine: { network } }, args) {
      const { descriptor, checksum, text } = readDescriptor(args.string(0), network)
      return {
        descriptor: text,
        checksum,
        isrange: isRanged(descriptor),
        issolvable: isSolvable(descriptor),
        hasprivatekeys: hasPrivateKeys(descriptor),
      }
    },
  },
  createmultisig: {
    params: ['nrequired', 'keys', 'address_type'],
    about: 'The address of a script that wants so many signatures of these keys, the script, and its descriptor.',
    run({ engine: { network } }, args) {
      const required = args.int(0)
      const points = args.array(1).map(readPublicKey)
      const type = args.string(2, 'legacy')
      if (!['legacy', 'p2sh-segwit', 'bech32', 'bech32m'].includes(type))
        throw new RpcError(RPC.invalidAddressOrKey, `Unknown address type '${type.slice(0, 100)}'`)
      if (type === 'bech32m')
        throw new RpcError(RPC.invalidAddressOrKey, 'createmultisig cannot create bech32m multisig addresses')
      const invalid = (message: string): RpcError => new RpcError(RPC.invalidParameter, message)
      if (required < 1) throw invalid('a multisignature address must require at least one key to redeem')
      if (points.length < required)
        throw invalid(`not enough keys supplied (got ${points.length} keys, but need at least ${required} to redeem)`)
      if (points.length > MAX_PUBKEYS_PER_MULTISIG)
        throw invalid(
          `Number of keys involved in the multisignature address creation > ${MAX_PUBKEYS_PER_MULTISIG}\nReduce the number`,
        )
      const inner = multisigScript(required, points)
      const used = points.every(({ length }) => length === 33) ? type : 'legacy'
      if (used === 'legacy' && inner.length > MAX_SCRIPT_ELEMENT_SIZE)
        throw invalid(`redeemScript exceeds size limit: ${inner.length} > ${MAX_SCRIPT_ELEMENT_SIZE}`)
      const multi = `multi(${[required, ...points.map(bytesToHex)].join(',')})`
      const text = { legacy: `sh(${multi})`, 'p2sh-segwit': `sh(wsh(${multi}))`, bech32: `wsh(${multi})` }[used] as string
      const script = scriptOfDescriptor(text, network)
      const warnings = ['Unable to make chosen address type, please ensure no uncompressed public keys are present.']
      return {
        address: encodeAddress(script, network) as string,
        redeemScript: bytesToHex(inner),
        descriptor: withChecksum(text),
        ...(used === type ? {} : { warnings }),
      }
    },
  },
  deriveaddresses: {
    params: ['descriptor', 'range'],
    about:
      'The addresses that a descriptor makes; of one with a wildcard those of the positions in the range, last or [first, last].',
    run({ engine: { network } }, args) {
      const range = args.has(1) ? readRange(args.raw(1)) : undefined
      const { descriptor } = readDescriptor(args.string(0), network, true)
      const ranged = isRanged(descriptor)
      if (!ranged && range !== undefined)
        throw new RpcError(RPC.invalidParameter, 'Range should not be specified for an un-ranged descriptor')
      if (ranged && range === undefined)
        throw new RpcError(RPC.invalidParameter, 'Range must be specified for a ranged descriptor')
      const { first, last } = range ?? { first: 0, last: 0 }
      const addresses: string[] = []
      for (let position = first; position <= last; position++) {
        const scripts = expandDescriptor(descriptor, position, emptyKnowledge())
        if (scripts === undefined) throw new RpcError(RPC.invalidAddressOrKey, 'Cannot derive script without private keys')
        for (const script of scripts) {
          const address = encodeAddress(script, network)
          if (address !== undefined) addresses.push(address)
          // A key alone has no address; beside others of a combo it is left out.
          else if (scripts.length === 1 || classifyScript(script).type !== 'p2pk')
            throw new RpcError(RPC.invalidAddressOrKey, 'Descriptor does not have a corresponding address')
        }
      }
      return addresses
    },
  },
  signmessagewithprivkey: {
    params: ['privkey', 'message'],
    about: 'Signs a text with a private key.',
    run({ engine }, args) {
      const text = args.string(0)
      const message = args.string(1)
      const { secret, compressed } = readKey(engine, text)
      const { signature, recoveryId } = ecdsaSignRecoverable(messageHash(message), secret)
      const head = Uint8Array.of(SIGNATURE_HEADER + recoveryId + (compressed ? 4 : 0))
      return Buffer.from(concat(head, signature)).toString('base64')
    },
  },
  verifymessage: {
    params: ['address', 'signature', 'message'],
    about: 'Whether the key of an address signed a text.',
    run({ engine }, args) {
      const [address, signature, message] = [args.string(0), args.string(1), args.string(2)]
      const script = decodeAddress(address, engine.network)
      if (isAddressProblem(script)) throw new RpcError(RPC.invalidAddressOrKey, 'Invalid address')
      const form = classifyScript(script)
      if (form.type !== 'p2pkh') throw new RpcError(RPC.type, 'Address does not refer to key')
      const bytes = Buffer.from(signature, 'base64')
      if (bytes.toString('base64') !== signature) throw new RpcError(RPC.type, 'Malformed base64 encoding')
      const head = (bytes[0] ?? 0) - SIGNATURE_HEADER
      if (bytes.length !== 65 || head < 0) return false
      const point = ecdsaRecover(Uint8Array.from(bytes.subarray(1)), head & 3, messageHash(message))
      if (point === undefined) return false
      return equalBytes(hash160((head & 4) === 0 ? pointUncompress(point) : point), form.hash)
    },
  },
}
