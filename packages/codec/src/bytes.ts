/**
 * Bytes, hex and big integers. The one place that calls bigint-buffer: it checks neither sign nor width, we do.
 */
import { toBigIntBE, toBigIntLE, toBufferBE, toBufferLE } from 'bigint-buffer'
import { DecodeError } from './decode-error.ts'

/** Character codes of the digits. */
const DIGITS = Array.from('0123456789abcdef', (digit) => digit.charCodeAt(0))
/** Bytes whose digits become one text at once: a call has a limit of arguments. */
const HEX_PIECE = 1024

const nibble = (code: number): number => {
  if (code >= 48 && code <= 57) return code - 48
  if (code >= 97 && code <= 102) return code - 87
  if (code >= 65 && code <= 70) return code - 55
  return -1
}

/** Hex of either case to bytes. Throws {@link DecodeError} on an odd length or another character. */
export const hexToBytes = (hex: string): Uint8Array => {
  if (hex.length % 2 !== 0) throw new DecodeError('invalid', 'hex of odd length')
  const out = new Uint8Array(hex.length / 2)
  for (let i = 0; i < out.length; i++) {
    const high = nibble(hex.charCodeAt(2 * i))
    const low = nibble(hex.charCodeAt(2 * i + 1))
    if (high < 0 || low < 0) throw new DecodeError('invalid', 'not hex')
    out[i] = high * 16 + low
  }
  return out
}

/** Lower-case hex. */
export const bytesToHex = (bytes: Uint8Array): string => {
  let out = ''
  for (let start = 0; start < bytes.length; start += HEX_PIECE) {
    // flat text: a sum of pairs would be a chain that is only made flat when it is looked at
    const codes: number[] = []
    const end = Math.min(start + HEX_PIECE, bytes.length)
    for (let i = start; i < end; i++) {
      const byte = bytes[i] as number
      codes.push(DIGITS[byte >> 4] as number, DIGITS[byte & 15] as number)
    }
    out += String.fromCharCode(...codes)
  }
  return out
}

/** The parts, one after the other, in a new array. */
export const concat = (...parts: readonly Uint8Array[]): Uint8Array => {
  let length = 0
  for (const part of parts) length += part.length
  const out = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** Whether both hold the same bytes. Not constant-time: secrets are compared in `crypto`. */
export const equalBytes = (a: Uint8Array, b: Uint8Array): boolean => {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

/** Lexicographic order: negative, zero or positive. */
export const compareBytes = (a: Uint8Array, b: Uint8Array): number => {
  const shared = Math.min(a.length, b.length)
  for (let i = 0; i < shared; i++) {
    const d = (a[i] as number) - (b[i] as number)
    if (d !== 0) return d
  }
  return a.length - b.length
}

/** A reversed copy. */
export const reverse = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes).reverse()

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** UTF-8 bytes of a string. */
export const utf8Encode = (text: string): Uint8Array => encoder.encode(text)

/** The string that UTF-8 bytes spell. Throws {@link DecodeError} where they spell none. */
export const utf8Decode = (bytes: Uint8Array): string => {
  try {
    return decoder.decode(bytes)
  } catch {
    throw new DecodeError('invalid', 'not UTF-8')
  }
}

const checkWidth = (n: bigint, width: number): void => {
  if (!Number.isInteger(width) || width < 0) throw new RangeError(`width ${width}`)
  if (n < 0n) throw new RangeError('negative integer')
  if (n >> BigInt(8 * width) !== 0n) throw new RangeError(`integer wider than ${width} bytes`)
}

const plain = (buffer: Uint8Array): Uint8Array => new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length)

/** `n` in exactly `width` bytes, most significant first. Throws RangeError when negative or too wide. */
export const bigintToBytesBE = (n: bigint, width: number): Uint8Array => {
  checkWidth(n, width)
  return width === 0 ? new Uint8Array(0) : plain(toBufferBE(n, width))
}

/** `n` in exactly `width` bytes, least significant first. Throws RangeError when negative or too wide. */
export const bigintToBytesLE = (n: bigint, width: number): Uint8Array => {
  checkWidth(n, width)
  return width === 0 ? new Uint8Array(0) : plain(toBufferLE(n, width))
}

/** The unsigned integer that the bytes spell, most significant first; 0n for none. */
export const bytesToBigintBE = (bytes: Uint8Array): bigint => (bytes.length === 0 ? 0n : toBigIntBE(bytes))

/** The unsigned integer that the bytes spell, least significant first; 0n for none. */
export const bytesToBigintLE = (bytes: Uint8Array): bigint => (bytes.length === 0 ? 0n : toBigIntLE(bytes))
