/**
 * Scripts as bytes: building, reading, the standard output forms, numbers on the stack, signature operations.
 * BIP 16, BIP 141, BIP 341, BIP 62 (minimal pushes). Running scripts is interpreter.ts.
 * buildScript pushes minimally, as MINIMALDATA asks; pushBytes always writes a length, as FindAndDelete and P2SH-P2WSH need.
 */
import { concat, DecodeError, equalBytes } from '@leyden/codec'
import { hash160, sha256 } from '@leyden/crypto'
import { OP } from './opcode.ts'

export { isOpSuccess, OP, opcodeName } from './opcode.ts'

export const MAX_SCRIPT_SIZE = 10_000
export const MAX_SCRIPT_ELEMENT_SIZE = 520
export const MAX_PUBKEYS_PER_MULTISIG = 20

/** An opcode, bytes to push, or a number to push. */
export type ScriptPart = number | Uint8Array | bigint

/** One step of a script. `data` is there for every push of bytes, OP_0 included (empty). */
export type ScriptItem = { readonly opcode: number; readonly data?: Uint8Array }

const NO_BYTES = new Uint8Array(0)

/** Little-endian with a sign bit, shortest form, empty for zero. */
export const encodeScriptNum = (n: number | bigint): Uint8Array => {
  if (typeof n === 'number' && !Number.isSafeInteger(n)) throw new RangeError(`not an integer: ${n}`)
  const negative = n < 0
  const out: number[] = []
  if (typeof n === 'number') for (let rest = Math.abs(n); rest > 0; rest = Math.floor(rest / 256)) out.push(rest % 256)
  else for (let rest = negative ? -n : n; rest > 0n; rest >>= 8n) out.push(Number(rest & 0xffn))
  if (out.length === 0) return NO_BYTES
  const last = out.length - 1
  if (out[last]! & 0x80) out.push(negative ? 0x80 : 0)
  else if (negative) out[last]! |= 0x80
  return Uint8Array.from(out)
}

/**
 * A number from the stack: at most `maxBytes` (4; 5 for lock times), of the shortest form when `minimal`.
 * Throws DecodeError 'out_of_range' or 'not_canonical'.
 */
export const decodeScriptNum = (bytes: Uint8Array, maxBytes = 4, minimal = true): number => {
  const length = bytes.length
  if (length > maxBytes) throw new DecodeError('out_of_range', `script number of ${length} bytes`)
  if (length === 0) return 0
  const top = bytes[length - 1]!
  if (minimal && (top & 0x7f) === 0 && (length === 1 || (bytes[length - 2]! & 0x80) === 0))
    throw new DecodeError('not_canonical', 'script number is not minimal')
  let n = top & 0x7f
  for (let i = length - 2; i >= 0; i--) n = n * 256 + bytes[i]!
  return top & 0x80 && n !== 0 ? -n : n
}

/** Push of bytes behind their length, never shortened to OP_1..OP_16. */
export const pushBytes = (data: Uint8Array): Uint8Array => {
  const n = data.length
  if (n < OP.OP_PUSHDATA1) return concat(Uint8Array.of(n), data)
  if (n <= 0xff) return concat(Uint8Array.of(OP.OP_PUSHDATA1, n), data)
  if (n <= 0xffff) return concat(Uint8Array.of(OP.OP_PUSHDATA2, n & 0xff, n >> 8), data)
  return concat(Uint8Array.of(OP.OP_PUSHDATA4, n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, n >>> 24), data)
}

/** The shortest push of bytes: OP_0, OP_1NEGATE, OP_1..OP_16 where they say the same. */
export const pushMinimal = (data: Uint8Array): Uint8Array => {
  if (data.length === 1) {
    const byte = data[0]!
    if (byte >= 1 && byte <= 16) return Uint8Array.of(OP.OP_1 - 1 + byte)
    if (byte === 0x81) return Uint8Array.of(OP.OP_1NEGATE)
  }
  return pushBytes(data)
}

/** number: an opcode (0 to 255); Uint8Array: its shortest push; bigint: the shortest push of that number. */
export const buildScript = (...parts: readonly ScriptPart[]): Uint8Array =>
  concat(
    ...parts.map((part) => {
      if (typeof part === 'bigint') return pushMinimal(encodeScriptNum(part))
      if (typeof part !== 'number') return pushMinimal(part)
      if (!Number.isInteger(part) || part < 0 || part > 0xff) throw new RangeError(`not an opcode: ${part}`)
      return Uint8Array.of(part)
    }),
  )

/** Where readOp leaves what it read: the pushed bytes are [from, to), the next opcode is at `next`. */
export type OpCursor = { opcode: number; from: number; to: number; next: number }

/** Reads the opcode at `at` into `op`. False when a push runs past the end (the script is malformed from here). */
export const readOp = (script: Uint8Array, at: number, op: OpCursor): boolean => {
  const opcode = script[at]!
  let from = at + 1
  let size = 0
  if (opcode < OP.OP_PUSHDATA1) size = opcode
  else if (opcode <= OP.OP_PUSHDATA4) {
    const width = opcode === OP.OP_PUSHDATA1 ? 1 : opcode === OP.OP_PUSHDATA2 ? 2 : 4
    if (from + width > script.length) return false
    for (let i = width - 1; i >= 0; i--) size = size * 256 + script[from + i]!
    from += width
  }
  if (from + size > script.length) return false
  op.opcode = opcode
  op.from = from
  op.to = from + size
  op.next = op.to
  return true
}

/** Every step of a script; bytes are views. Throws DecodeError 'truncated' when a push runs past the end. */
export const parseScript = (script: Uint8Array): ScriptItem[] => {
  const items: ScriptItem[] = []
  const op: OpCursor = { opcode: 0, from: 0, to: 0, next: 0 }
  for (let at = 0; at < script.length; at = op.next) {
    if (!readOp(script, at, op)) throw new DecodeError('truncated', 'push past the end of the script')
    items.push(
      op.opcode <= OP.OP_PUSHDATA4 ? { opcode: op.opcode, data: script.subarray(op.from, op.to) } : { opcode: op.opcode },
    )
  }
  return items
}

/** Only pushes (OP_RESERVED counts as one), and well formed. */
export const isPushOnly = (script: Uint8Array): boolean => {
  const op: OpCursor = { opcode: 0, from: 0, to: 0, next: 0 }
  for (let at = 0; at < script.length; at = op.next) {
    if (!readOp(script, at, op) || op.opcode > OP.OP_16) return false
  }
  return true
}

/** OP_DUP OP_HASH160 hash OP_EQUALVERIFY OP_CHECKSIG. */
export const p2pkh = (hash20: Uint8Array): Uint8Array =>
  buildScript(OP.OP_DUP, OP.OP_HASH160, sizedBytes(hash20, 20), OP.OP_EQUALVERIFY, OP.OP_CHECKSIG)
/** BIP 16. */
export const p2sh = (hash20: Uint8Array): Uint8Array => buildScript(OP.OP_HASH160, sizedBytes(hash20, 20), OP.OP_EQUAL)
/** BIP 141, version 0, 20 bytes. */
export const p2wpkh = (hash20: Uint8Array): Uint8Array => buildScript(OP.OP_0, sizedBytes(hash20, 20))
/** BIP 141, version 0, 32 bytes. */
export const p2wsh = (hash32: Uint8Array): Uint8Array => buildScript(OP.OP_0, sizedBytes(hash32, 32))
/** BIP 341, the tweaked output key. */
export const p2tr = (outputKey32: Uint8Array): Uint8Array => buildScript(OP.OP_1, sizedBytes(outputKey32, 32))
/** Pay to anchor: OP_1 <4e73>, spendable by anyone. */
export const P2A: Uint8Array = Uint8Array.of(0x51, 0x02, 0x4e, 0x73)

export const p2pkhOf = (point: Uint8Array): Uint8Array => p2pkh(hash160(point))
export const p2shOf = (redeemScript: Uint8Array): Uint8Array => p2sh(hash160(redeemScript))
/** From a compressed key. */
export const p2wpkhOf = (point33: Uint8Array): Uint8Array => p2wpkh(hash160(sizedBytes(point33, 33)))
export const p2wshOf = (witnessScript: Uint8Array): Uint8Array => p2wsh(sha256(witnessScript))

/** k of n, keys in the given order: 1 to 20 keys. */
export const multisigScript = (required: number, points: readonly Uint8Array[]): Uint8Array => {
  if (required < 1 || required > points.length || points.length > MAX_PUBKEYS_PER_MULTISIG)
    throw new RangeError(`multisig ${required} of ${points.length}`)
  return buildScript(BigInt(required), ...points, BigInt(points.length), OP.OP_CHECKMULTISIG)
}

const sizedBytes = (bytes: Uint8Array, length: number): Uint8Array => {
  if (bytes.length !== length) throw new RangeError(`expected ${length} bytes, got ${bytes.length}`)
  return bytes
}

/** BIP 141: version 0 to 16 and a program of 2 to 40 bytes, or undefined when the script is not one. */
export const witnessProgram = (script: Uint8Array): { version: number; program: Uint8Array } | undefined => {
  if (script.length < 4 || script.length > 42) return undefined
  const first = script[0]!
  if (first !== 0 && (first < OP.OP_1 || first > OP.OP_16)) return undefined
  if (script[1]! + 2 !== script.length) return undefined
  return { version: first === 0 ? 0 : first - OP.OP_1 + 1, program: script.subarray(2) }
}

/** BIP 16: OP_HASH160 <20 bytes> OP_EQUAL, byte for byte. */
export const isP2sh = (script: Uint8Array): boolean =>
  script.length === 23 && script[0] === OP.OP_HASH160 && script[1] === 20 && script[22] === OP.OP_EQUAL

/** Can never be spent: OP_RETURN first, or longer than any script that runs. Such outputs stay out of the UTXO set. */
export const isUnspendable = (script: Uint8Array): boolean => script[0] === OP.OP_RETURN || script.length > MAX_SCRIPT_SIZE

/** What an output script is. Bytes are views. `witness_unknown` is a valid program whose rules do not exist yet. */
export type ScriptClass =
  | { readonly type: 'p2pk'; readonly point: Uint8Array }
  | { readonly type: 'p2pkh' | 'p2sh' | 'p2wpkh'; readonly hash: Uint8Array }
  | { readonly type: 'p2wsh'; readonly hash: Uint8Array }
  | { readonly type: 'p2tr'; readonly outputKey: Uint8Array }
  | { readonly type: 'p2a' }
  | { readonly type: 'multisig'; readonly required: number; readonly points: readonly Uint8Array[] }
  | { readonly type: 'op_return' }
  | { readonly type: 'witness_unknown'; readonly version: number; readonly program: Uint8Array }
  | { readonly type: 'nonstandard' }

const looksLikePoint = (bytes: Uint8Array | undefined): bytes is Uint8Array =>
  bytes !== undefined &&
  ((bytes.length === 33 && (bytes[0] === 2 || bytes[0] === 3)) ||
    (bytes.length === 65 && (bytes[0] === 4 || bytes[0] === 6 || bytes[0] === 7)))

/** The number that an item pushes in its shortest form, from 1 on; 0 for anything else. */
const smallNumber = ({ opcode, data }: ScriptItem): number => {
  if (opcode >= OP.OP_1 && opcode <= OP.OP_16) return opcode - OP.OP_1 + 1
  return data?.length === 1 && (data[0] as number) > 16 && (data[0] as number) < 0x80 ? (data[0] as number) : 0
}

const classifyMultisig = (script: Uint8Array): ScriptClass | undefined => {
  let items: ScriptItem[]
  try {
    items = parseScript(script)
  } catch {
    return undefined
  }
  const count = items.length - 3
  const required = smallNumber(items[0]!)
  if (count < 1 || count > MAX_PUBKEYS_PER_MULTISIG || smallNumber(items.at(-2)!) !== count) return undefined
  if (required < 1 || required > count) return undefined
  const points = items.slice(1, -2).map((item) => item.data)
  return points.every(looksLikePoint) ? { type: 'multisig', required, points } : undefined
}

/** The standard form of an output script. Bitcoin Core script/solver.cpp. */
export const classifyScript = (script: Uint8Array): ScriptClass => {
  const program = witnessProgram(script)
  if (program !== undefined) {
    const { version, program: bytes } = program
    if (version === 0 && bytes.length === 20) return { type: 'p2wpkh', hash: bytes }
    if (version === 0 && bytes.length === 32) return { type: 'p2wsh', hash: bytes }
    if (version === 0) return { type: 'nonstandard' }
    if (version === 1 && bytes.length === 32) return { type: 'p2tr', outputKey: bytes }
    if (equalBytes(script, P2A)) return { type: 'p2a' }
    return { type: 'witness_unknown', version, program: bytes }
  }
  if (isP2sh(script)) return { type: 'p2sh', hash: script.subarray(2, 22) }
  if (
    script.length === 25 &&
    script[0] === OP.OP_DUP &&
    script[1] === OP.OP_HASH160 &&
    script[2] === 20 &&
    script[23] === OP.OP_EQUALVERIFY &&
    script[24] === OP.OP_CHECKSIG
  )
    return { type: 'p2pkh', hash: script.subarray(3, 23) }
  if (script[0] === OP.OP_RETURN) return isPushOnly(script.subarray(1)) ? { type: 'op_return' } : { type: 'nonstandard' }
  const last = script[script.length - 1]
  const size = script[0]
  if (last === OP.OP_CHECKSIG && size !== undefined && size + 2 === script.length && looksLikePoint(script.subarray(1, 1 + size)))
    return { type: 'p2pk', point: script.subarray(1, 1 + size) }
  return (last === OP.OP_CHECKMULTISIG ? classifyMultisig(script) : undefined) ?? { type: 'nonstandard' }
}

/**
 * Signature operations of a script, up to where it is malformed. `accurate` counts the keys of a multisig from the
 * number before it (P2SH, witness); without it each counts 20.
 */
export const countSigOps = (script: Uint8Array, accurate: boolean): number => {
  const op: OpCursor = { opcode: 0, from: 0, to: 0, next: 0 }
  let count = 0
  let previous: number = OP.OP_INVALIDOPCODE
  for (let at = 0; at < script.length; at = op.next) {
    if (!readOp(script, at, op)) break
    if (op.opcode === OP.OP_CHECKSIG || op.opcode === OP.OP_CHECKSIGVERIFY) count += 1
    else if (op.opcode === OP.OP_CHECKMULTISIG || op.opcode === OP.OP_CHECKMULTISIGVERIFY)
      count += accurate && previous >= OP.OP_1 && previous <= OP.OP_16 ? previous - OP.OP_1 + 1 : MAX_PUBKEYS_PER_MULTISIG
    previous = op.opcode
  }
  return count
}

/** Bytes of the last push of a push-only script (the redeem script of a P2SH input), or undefined. */
export const lastPush = (script: Uint8Array): Uint8Array | undefined => {
  if (script.length === 0 || !isPushOnly(script)) return undefined
  const op: OpCursor = { opcode: 0, from: 0, to: 0, next: 0 }
  for (let at = 0; at < script.length; at = op.next) readOp(script, at, op)
  return script.subarray(op.from, op.to)
}

/**
 * Removes every occurrence of `needle` that begins at an opcode, as legacy signature checks do with the signature.
 * Returns the same array when there is none.
 */
export const findAndDelete = (script: Uint8Array, needle: Uint8Array): Uint8Array => {
  if (needle.length === 0 || needle.length > script.length) return script
  const matches = (at: number): boolean => {
    if (at + needle.length > script.length) return false
    for (let i = 0; i < needle.length; i++) if (script[at + i] !== needle[i]) return false
    return true
  }
  const kept: Uint8Array[] = []
  const op: OpCursor = { opcode: 0, from: 0, to: 0, next: 0 }
  let keepFrom = 0
  let at = 0
  let found = false
  for (;;) {
    const here = at
    while (matches(at)) {
      at += needle.length
      found = true
    }
    if (at !== here) {
      kept.push(script.subarray(keepFrom, here))
      keepFrom = at
    }
    if (at >= script.length || !readOp(script, at, op)) break
    at = op.next
  }
  if (!found) return script
  kept.push(script.subarray(keepFrom))
  return concat(...kept)
}
