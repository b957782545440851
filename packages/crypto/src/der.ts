/**
 * DER signatures: strict as BIP 66 (without its trailing sighash byte), and lax as the parser that consensus kept for older blocks.
 * Both parsers give 64-byte compact signatures. Low S is not asked here (ecdsa.ts).
 */
import { concat } from '@leyden/codec'
import { expectLength } from './error.ts'
import { isScalar } from './scalar.ts'

const SEQUENCE = 0x30
const INTEGER = 0x02
/** BIP 66: 72 bytes are the longest two positive 33-byte integers can take, 8 the shortest. */
const MIN_BYTES = 8
const MAX_BYTES = 72

/** Whether this is one strict DER integer that is not negative and has no padding; `end` is the index behind it. */
const strictInteger = (der: Uint8Array, at: number): { start: number; end: number } | undefined => {
  const length = der[at + 1]
  if (der[at] !== INTEGER || length === undefined || length === 0) return undefined
  const start = at + 2
  const end = start + length
  if (end > der.length) return undefined
  const first = der[start] as number
  if (first >= 0x80) return undefined
  if (length > 1 && first === 0 && (der[start + 1] as number) < 0x80) return undefined
  return { start, end }
}

type Span = { start: number; end: number }

const strictSpans = (der: Uint8Array): { r: Span; s: Span } | undefined => {
  if (der.length < MIN_BYTES || der.length > MAX_BYTES) return undefined
  if (der[0] !== SEQUENCE || der[1] !== der.length - 2) return undefined
  const r = strictInteger(der, 2)
  if (r === undefined) return undefined
  const s = strictInteger(der, r.end)
  return s !== undefined && s.end === der.length ? { r, s } : undefined
}

/** Whether the encoding obeys BIP 66. The numbers may still be out of range: such a signature is well formed and invalid. */
export const isStrictDer = (der: Uint8Array): boolean => strictSpans(der) !== undefined

/** R and S at their places in 64 bytes; undefined where one is not below n. Leading zeros are dropped. */
const compact = (der: Uint8Array, r: Span, s: Span): Uint8Array | undefined => {
  const out = new Uint8Array(64)
  for (const [index, span] of [r, s].entries()) {
    let { start } = span
    while (start < span.end && der[start] === 0) start++
    if (span.end - start > 32) return undefined
    out.set(der.subarray(start, span.end), 32 * index + 32 - (span.end - start))
    if (!isScalar(out.subarray(32 * index, 32 * index + 32))) return undefined
  }
  return out
}

/** 64 bytes; undefined where it is not strict DER or R or S is not below n. BIP 66. */
export const compactFromDer = (der: Uint8Array): Uint8Array | undefined => {
  const spans = strictSpans(der)
  return spans && compact(der, spans.r, spans.s)
}

/** A BER length at `at`: short form, or long form of up to eight bytes. Undefined where it runs out or cannot fit. */
const laxLength = (der: Uint8Array, at: number): { length: number; next: number } | undefined => {
  const first = der[at]
  if (first === undefined) return undefined
  let next = at + 1
  if (first < 0x80) return { length: first, next }
  const count = first - 0x80
  if (count > der.length - next) return undefined
  const end = next + count
  while (next < end && der[next] === 0) next++
  if (end - next >= 4) return undefined
  let length = 0
  for (; next < end; next++) length = length * 256 + (der[next] as number)
  return { length, next }
}

const laxInteger = (der: Uint8Array, at: number): Span | undefined => {
  if (der[at] !== INTEGER) return undefined
  const size = laxLength(der, at + 1)
  if (size === undefined || size.length > der.length - size.next) return undefined
  return { start: size.next, end: size.next + size.length }
}

/**
 * 64 bytes of a signature in the lax form of consensus before BIP 66: the length of the sequence is not looked at, integers may have
 * padding, be empty or negative (taken as positive), and bytes may follow. Undefined where even this fails, or R or S is not below n
 * (Core continues with a zero signature there, which no key verifies).
 */
export const compactFromDerLax = (der: Uint8Array): Uint8Array | undefined => {
  if (der[0] !== SEQUENCE) return undefined
  const at = laxSequenceBody(der)
  if (at === undefined) return undefined
  const r = laxInteger(der, at)
  if (r === undefined) return undefined
  const s = laxInteger(der, r.end)
  return s && compact(der, r, s)
}

/** Where the body begins: only the number of length bytes counts, not the length they spell. */
const laxSequenceBody = (der: Uint8Array): number | undefined => {
  const first = der[1]
  if (first === undefined) return undefined
  if (first < 0x80) return 2
  const count = first - 0x80
  return count > der.length - 2 ? undefined : 2 + count
}

/** Strict DER of a 64-byte compact signature, at most 72 bytes. No sighash byte. */
export const derFromCompact = (signature: Uint8Array): Uint8Array => {
  expectLength(signature, 64, 'signature')
  const r = integerBody(signature.subarray(0, 32))
  const s = integerBody(signature.subarray(32, 64))
  return concat(Uint8Array.of(SEQUENCE, 4 + r.length + s.length, INTEGER, r.length), r, Uint8Array.of(INTEGER, s.length), s)
}

/** The shortest big-endian form, with a zero before a set top bit. */
const integerBody = (bytes: Uint8Array): Uint8Array => {
  let start = 0
  while (start < bytes.length - 1 && bytes[start] === 0) start++
  const short = bytes.subarray(start)
  return (short[0] as number) >= 0x80 ? concat(Uint8Array.of(0), short) : short
}
