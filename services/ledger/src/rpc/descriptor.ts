/**
 * Output descriptors, as far as they name one script: raw(), addr(), and the keys that a script shows by itself (pk, multi, rawtr).
 * BIP 380 (checksum), BIP 385 (raw, addr), BIP 381, BIP 383, BIP 386. Bitcoin Core script/descriptor.cpp, InferDescriptor.
 * Descriptors that derive scripts from keys are not here.
 */
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { classifyScript, decodeAddress, encodeAddress, isAddressProblem, type Network } from '@leyden/bitcoin'
import { isValidPublicKey, isValidXOnly } from '@leyden/crypto'
import { RPC, RpcError } from './call.ts'

const INPUT_CHARS = '0123456789()[],\'/*abcdefgh@:$%{}IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~ijklmnopqrstuvwxyzABCDEFGH`#"\\ '
const CHECKSUM_CHARS = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'
const GENERATOR = [0xf5dee51989n, 0xa9fdca3312n, 0x1bab10e32dn, 0x3706b1677an, 0x644d626ffdn]

const polymod = (checksum: bigint, value: number): bigint => {
  const top = checksum >> 35n
  let next = ((checksum & 0x7ffffffffn) << 5n) ^ BigInt(value)
  GENERATOR.forEach((generator, i) => {
    if (((top >> BigInt(i)) & 1n) === 1n) next ^= generator
  })
  return next
}

/** The eight characters behind `#`; undefined when the text has a character that no descriptor has. BIP 380. */
export const descriptorChecksum = (text: string): string | undefined => {
  let checksum = 1n
  let group = 0
  let count = 0
  for (const char of text) {
    const position = INPUT_CHARS.indexOf(char)
    if (position < 0) return undefined
    checksum = polymod(checksum, position & 31)
    group = group * 3 + (position >> 5)
    if (++count === 3) {
      checksum = polymod(checksum, group)
      group = 0
      count = 0
    }
  }
  if (count > 0) checksum = polymod(checksum, group)
  for (let i = 0; i < 8; i++) checksum = polymod(checksum, 0)
  checksum ^= 1n
  return Array.from({ length: 8 }, (_, i) => CHECKSUM_CHARS[Number((checksum >> BigInt(5 * (7 - i))) & 31n)]).join('')
}

export const withChecksum = (text: string): string => `${text}#${descriptorChecksum(text)}`

/** What the script says by itself, without its checksum. */
export const describeScript = (script: Uint8Array, network: Network): string => {
  const form = classifyScript(script)
  if (form.type === 'p2pk' && isValidPublicKey(form.point)) return `pk(${bytesToHex(form.point)})`
  if (form.type === 'multisig' && form.points.every((point) => isValidPublicKey(point)))
    return `multi(${[form.required, ...form.points.map((point) => bytesToHex(point))].join(',')})`
  if (form.type === 'p2tr' && isValidXOnly(form.outputKey)) return `rawtr(${bytesToHex(form.outputKey)})`
  const address = encodeAddress(script, network)
  return address === undefined ? `raw(${bytesToHex(script)})` : `addr(${address})`
}

export const outputDescriptor = (script: Uint8Array, network: Network): string => withChecksum(describeScript(script, network))

export type ParsedDescriptor = {
  readonly script: Uint8Array
  readonly text: string
  readonly checksum: string
  readonly solvable: boolean
}

const refuse = (message: string): never => {
  throw new RpcError(RPC.invalidAddressOrKey, message)
}

/** Script of `raw(hex)` or `addr(address)`, its checksum checked when there is one. Throws RpcError as bitcoind does. */
export const parseDescriptor = (given: string, network: Network): ParsedDescriptor => {
  const [text = '', stated, more] = given.split('#')
  if (more !== undefined) refuse("Multiple '#' symbols")
  const checksum = descriptorChecksum(text) ?? refuse('Invalid characters in payload')
  if (stated !== undefined && stated.length !== 8) refuse(`Expected 8 character checksum, not ${stated.length} characters`)
  if (stated !== undefined && stated !== checksum)
    refuse(`Provided checksum '${stated}' does not match computed checksum '${checksum}'`)
  const [, name, inside = ''] = /^(\w+)\((.*)\)$/.exec(text) ?? []
  if (name === 'raw') {
    if (!/^([0-9a-fA-F]{2})*$/.test(inside)) refuse('Raw script is not hex')
    return { script: hexToBytes(inside.toLowerCase()), text: `raw(${inside.toLowerCase()})`, checksum, solvable: false }
  }
  if (name === 'addr') {
    const script = decodeAddress(inside, network)
    if (isAddressProblem(script)) return refuse('Address is not valid')
    return { script, text: `addr(${encodeAddress(script, network)})`, checksum, solvable: false }
  }
  return refuse(`'${text.slice(0, 100)}' is not a descriptor that this node reads: raw() and addr() are`)
}
