/**
 * Addresses: base58check (P2PKH, P2SH), bech32 (witness version 0, BIP 173), bech32m (versions 1 to 16, BIP 350).
 * signet and testnet4 share their prefixes: an address does not tell them apart.
 * A bare P2PK output has no address.
 */
import { bech32, bech32m, createBase58check } from '@scure/base'
import { sha256 } from '@leyden/crypto'
import { networks, type Network } from './networks.ts'
import { classifyScript, p2pkh, p2sh, witnessProgram } from './script.ts'

const base58check = createBase58check(sha256)

/** Why a text is not an address of this network; `detail` is a sentence for people. */
export type AddressProblem = { readonly problem: 'wrong_network' | 'invalid'; readonly detail: string }

const problem = (kind: AddressProblem['problem'], detail: string): AddressProblem => ({ problem: kind, detail })

const encodeWitness = (version: number, program: Uint8Array, prefix: string): string => {
  const coder = version === 0 ? bech32 : bech32m
  return coder.encode(prefix, [version, ...coder.toWords(program)])
}

/** The address of an output script, undefined where it has none. Unknown witness versions have one. */
export const encodeAddress = (scriptPubKey: Uint8Array, network: Network): string | undefined => {
  const form = classifyScript(scriptPubKey)
  if (form.type === 'p2pkh') return base58check.encode(Uint8Array.of(network.pubkeyHashPrefix, ...form.hash))
  if (form.type === 'p2sh') return base58check.encode(Uint8Array.of(network.scriptHashPrefix, ...form.hash))
  if (form.type === 'nonstandard') return undefined
  const program = witnessProgram(scriptPubKey)
  return program === undefined ? undefined : encodeWitness(program.version, program.program, network.bech32Prefix)
}

const otherNetwork = (network: Network, matches: (other: Network) => boolean): string | undefined =>
  Object.values<Network>(networks).find((other) => other.name !== network.name && matches(other))?.name

/** BIP 173: mixed case is refused, an address has at most 90 characters. */
const MAX_BECH32_LENGTH = 90

const decodeBech32 = (text: string): { prefix: string; version: number; program: Uint8Array } | string => {
  if (text.length > MAX_BECH32_LENGTH) return 'the address is too long'
  for (const [coder, isVersion] of [
    [bech32, (version: number) => version === 0],
    [bech32m, (version: number) => version >= 1 && version <= 16],
  ] as const) {
    const decoded = coder.decodeUnsafe(text, MAX_BECH32_LENGTH)
    if (decoded === undefined) continue
    const version = decoded.words[0]
    if (version === undefined || !isVersion(version)) return 'the checksum does not fit the witness version'
    const program = coder.fromWordsUnsafe(decoded.words.slice(1))
    if (program === undefined) return 'the padding is wrong'
    if (program.length < 2 || program.length > 40) return 'the witness program must have 2 to 40 bytes'
    if (version === 0 && program.length !== 20 && program.length !== 32) return 'a version 0 program must have 20 or 32 bytes'
    return { prefix: decoded.prefix, version, program: Uint8Array.from(program) }
  }
  return 'the checksum is wrong'
}

const looksLikeBech32 = (text: string): boolean => {
  const lower = text.toLowerCase()
  return Object.values<Network>(networks).some((network) => lower.startsWith(`${network.bech32Prefix}1`))
}

const fromBech32 = (text: string, network: Network): Uint8Array | AddressProblem => {
  const decoded = decodeBech32(text)
  if (typeof decoded === 'string') return problem('invalid', decoded)
  if (decoded.prefix !== network.bech32Prefix) {
    const other = otherNetwork(network, ({ bech32Prefix }) => bech32Prefix === decoded.prefix)
    return other === undefined
      ? problem('invalid', 'the prefix belongs to no known network')
      : problem('wrong_network', `an address of ${other}, not of ${network.name}`)
  }
  const opcode = decoded.version === 0 ? 0 : 0x50 + decoded.version
  return Uint8Array.of(opcode, decoded.program.length, ...decoded.program)
}

const base58Bytes = (text: string): Uint8Array | undefined => {
  if (text.length > 50) return undefined // 21 bytes and checksum take at most 35 characters
  try {
    return base58check.decode(text)
  } catch {
    return undefined
  }
}

/** Output script of an address of this network, or why it is none. Never throws. */
export const decodeAddress = (address: string, network: Network): Uint8Array | AddressProblem => {
  if (looksLikeBech32(address) || address.toLowerCase().startsWith(`${network.bech32Prefix}1`))
    return fromBech32(address, network)
  const bytes = base58Bytes(address)
  if (bytes === undefined || bytes.length !== 21) return problem('invalid', 'not an address')
  const [prefix] = bytes
  const hash = bytes.subarray(1)
  if (prefix === network.pubkeyHashPrefix) return p2pkh(hash)
  if (prefix === network.scriptHashPrefix) return p2sh(hash)
  const other = otherNetwork(network, (one) => prefix === one.pubkeyHashPrefix || prefix === one.scriptHashPrefix)
  return other === undefined
    ? problem('invalid', 'the prefix belongs to no known network')
    : problem('wrong_network', `an address of ${other}, not of ${network.name}`)
}

export const isAddressProblem = (value: Uint8Array | AddressProblem): value is AddressProblem => !(value instanceof Uint8Array)
