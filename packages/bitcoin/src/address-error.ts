/**
 * Why a text is no address, in bitcoind's words, and where its mistakes are when there are one or two. BIP 173 § Error locations;
 * Bitcoin Core key_io.cpp, DecodeDestination, and bech32.cpp, LocateErrors. Here the places are found from a table of what each wrong
 * character does to the checksum, not by algebra.
 */
import { createBase58check } from '@scure/base'
import { sha256 } from '@leyden/crypto'
import type { Network } from './networks.ts'

export type AddressError = { readonly error: string; readonly locations: readonly number[] }

const CHARSET = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'
const GENERATOR = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3]
const MAX_LENGTH = 90
const CHECKSUM_LENGTH = 6
/** BIP 173, BIP 350. */
const CONSTANTS = [
  ['Bech32', 1],
  ['Bech32m', 0x2bc830a3],
] as const

const polymod = (values: readonly number[], start = 1): number => {
  let checksum = start
  for (const value of values) {
    const top = checksum >>> 25
    checksum = ((checksum & 0x1ff_ffff) << 5) ^ value
    GENERATOR.forEach((generator, i) => {
      if (((top >>> i) & 1) === 1) checksum ^= generator
    })
  }
  return checksum >>> 0
}

const expand = (prefix: string): readonly number[] => {
  const codes = Array.from(prefix, (char) => char.charCodeAt(0))
  return [...codes.map((code) => code >> 5), 0, ...codes.map((code) => code & 31)]
}

/** Positions in the data, one or two, where other characters would make the rest of the division zero. */
const findMistakes = (residue: number, length: number): readonly number[] => {
  // What each mistake adds: the division is linear, so it depends on the place and the difference alone.
  const effects = new Map<number, number>()
  for (let position = length - 1; position >= 0; position--)
    for (let difference = 1; difference < 32; difference++) {
      const after = Array.from({ length: length - 1 - position }, () => 0)
      effects.set(polymod([difference, ...after], 0), position)
    }
  const single = effects.get(residue)
  if (single !== undefined) return [single]
  for (const [effect, position] of effects) {
    const other = effects.get((effect ^ residue) >>> 0)
    if (other !== undefined && other !== position) return [position, other].sort((a, b) => a - b)
  }
  return []
}

const locate = (text: string): AddressError => {
  if (text.length > MAX_LENGTH)
    return {
      error: 'Bech32 string too long',
      locations: Array.from({ length: text.length - MAX_LENGTH }, (_, i) => MAX_LENGTH + i),
    }
  const isMixed = /[a-z]/.test(text) && /[A-Z]/.test(text)
  const firstIsLower = /[a-z]/.exec(text)?.index ?? text.length
  const firstIsUpper = /[A-Z]/.exec(text)?.index ?? text.length
  const wrongCase = firstIsLower < firstIsUpper ? /[A-Z]/ : /[a-z]/
  const odd = Array.from(text).flatMap((char, i) => (char < '!' || char > '~' || (isMixed && wrongCase.test(char)) ? [i] : []))
  if (odd.length > 0) return { error: 'Invalid character or mixed case', locations: odd }
  const separator = text.lastIndexOf('1')
  if (separator < 0) return { error: 'Missing separator', locations: [] }
  if (separator === 0 || separator + CHECKSUM_LENGTH >= text.length)
    return { error: 'Invalid separator position', locations: [separator] }
  const lower = text.toLowerCase()
  const values = Array.from(lower.slice(separator + 1), (char) => CHARSET.indexOf(char))
  const unknown = values.indexOf(-1)
  if (unknown >= 0) return { error: 'Invalid Base 32 character', locations: [separator + 1 + unknown] }
  const remainder = polymod([...expand(lower.slice(0, separator)), ...values])
  let best: AddressError = { error: 'Invalid checksum', locations: [] }
  for (const [name, constant] of CONSTANTS) {
    const found = findMistakes((remainder ^ constant) >>> 0, values.length)
    if (found.length > 0 && (best.locations.length === 0 || found.length < best.locations.length))
      best = { error: `Invalid ${name} checksum`, locations: found.map((at) => separator + 1 + at) }
  }
  return best
}

/** Bytes of groups of five bits; undefined where what is left over is not zero. */
const bytesOf = (words: readonly number[]): number | undefined => {
  const bits = words.length * 5
  const left = bits % 8
  const last = words.at(-1) ?? 0
  return left >= 5 || (last & ((1 << left) - 1)) !== 0 ? undefined : (bits - left) / 8
}

const bech32Error = (text: string, { bech32Prefix }: Network): AddressError => {
  const lower = text.toLowerCase()
  const separator = lower.lastIndexOf('1')
  const prefix = lower.slice(0, separator)
  const values = Array.from(lower.slice(separator + 1), (char) => CHARSET.indexOf(char))
  const isWhole =
    text.length <= MAX_LENGTH &&
    (text === lower || text === text.toUpperCase()) &&
    separator > 0 &&
    values.length >= CHECKSUM_LENGTH &&
    !values.includes(-1)
  const remainder = isWhole ? polymod([...expand(prefix), ...values]) : 0
  const encoding = isWhole ? CONSTANTS.find(([, constant]) => constant === remainder)?.[0] : undefined
  if (encoding === undefined) return locate(text)
  const told = (error: string): AddressError => ({ error, locations: [] })
  const data = values.slice(0, -CHECKSUM_LENGTH)
  const [version] = data
  if (version === undefined) return told('Empty Bech32 data section')
  if (prefix !== bech32Prefix)
    return told(`Invalid or unsupported prefix for Segwit (Bech32) address (expected ${bech32Prefix}, got ${prefix}).`)
  if (version === 0 && encoding !== 'Bech32') return told('Version 0 witness address must use Bech32 checksum')
  if (version !== 0 && encoding !== 'Bech32m') return told('Version 1+ witness address must use Bech32m checksum')
  const size = bytesOf(data.slice(1))
  if (size === undefined) return told('Invalid padding in Bech32 data section')
  const unit = size === 1 ? 'byte' : 'bytes'
  if (version === 0) return told(`Invalid Bech32 v0 address program size (${size} ${unit}), per BIP141`)
  if (version > 16) return told('Invalid Bech32 address witness version')
  return told(`Invalid Bech32 address program size (${size} ${unit})`)
}

const base58check = createBase58check(sha256)

/** Base58 has no 0, O, I and l. */
const BASE58 = /^[1-9A-HJ-NP-Za-km-z]*$/
const MAX_BASE58_LENGTH = 137

/** Of a text that is no address of this network. */
export const addressError = (text: string, network: Network): AddressError => {
  if (text.toLowerCase().startsWith(network.bech32Prefix)) return bech32Error(text, network)
  let bytes: Uint8Array | undefined
  try {
    bytes = text.length > MAX_BASE58_LENGTH ? undefined : base58check.decode(text)
  } catch {
    bytes = undefined
  }
  const told = (error: string): AddressError => ({ error, locations: [] })
  if (bytes !== undefined && bytes.length <= 21) {
    const isOurs = bytes[0] === network.pubkeyHashPrefix || bytes[0] === network.scriptHashPrefix
    return told(isOurs ? 'Invalid length for Base58 address (P2PKH or P2SH)' : 'Invalid or unsupported Base58-encoded address.')
  }
  return told(
    BASE58.test(text) && text.length <= MAX_BASE58_LENGTH
      ? 'Invalid checksum or length of Base58 address (P2PKH or P2SH)'
      : 'Invalid or unsupported Segwit (Bech32) or Base58 encoding.',
  )
}
