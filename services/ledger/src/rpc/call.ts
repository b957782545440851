/**
 * One JSON-RPC call: its errors, and its arguments by position or by name, checked as Bitcoin Core checks them.
 * Codes: Bitcoin Core rpc/protocol.h.
 */
import { hexToBytes } from '@leyden/codec'
import { BlockHash, decodeTx, MAX_MONEY, Txid, type Tx } from '@leyden/bitcoin'

export const RPC = {
  misc: -1,
  type: -3,
  invalidAddressOrKey: -5,
  invalidParameter: -8,
  notConnected: -9,
  nodeAlreadyAdded: -23,
  nodeNotAdded: -24,
  nodeNotConnected: -29,
  invalidIpOrSubnet: -30,
  nodeCapacityReached: -34,
  inWarmup: -28,
  database: -20,
  deserialization: -22,
  verify: -25,
  verifyRejected: -26,
  verifyAlreadyInUtxoSet: -27,
  invalidRequest: -32600,
  methodNotFound: -32601,
  internal: -32603,
  invalidParams: -32602,
  parse: -32700,
} as const

/** What a caller is told. */
export class RpcError extends Error {
  readonly code: number
  constructor(code: number, message: string) {
    super(message)
    this.name = 'RpcError'
    this.code = code
  }
}

export const kindOf = (value: unknown): string => {
  if (value === null || value === undefined) return 'null'
  if (Array.isArray(value)) return 'array'
  const kind = typeof value
  return kind === 'boolean' ? 'bool' : kind
}

const HASH = /^[0-9a-fA-F]{64}$/
/** Bytes in hex, none included. Not one expression: on megabytes of text a repeated group overflows the stack. */
export const isHex = (text: string): boolean => text.length % 2 === 0 && !/[^0-9a-fA-F]/.test(text)

/** A JSON value of a hash. `name` is the parameter's. */
export const parseHash = (value: string, name: string): string => {
  if (HASH.test(value)) return value.toLowerCase()
  throw new RpcError(
    RPC.invalidParameter,
    value.length === 64
      ? `${name} must be hexadecimal string (not '${value}')`
      : `${name} must be of length 64 (not ${value.length}, for '${value.slice(0, 100)}')`,
  )
}

/** A whole transaction in hex. */
export const parseTx = (hex: unknown, problem = 'TX decode failed. Make sure the tx has at least one input.'): Tx => {
  if (typeof hex !== 'string' || hex === '' || !isHex(hex)) throw new RpcError(RPC.deserialization, problem)
  try {
    const tx = decodeTx(hexToBytes(hex))
    if (tx.inputs.length > 0) return tx
  } catch {
    // Not a transaction: told below.
  }
  throw new RpcError(RPC.deserialization, problem)
}

/** A JSON value of bytes in hex. */
export const parseHexBytes = (value: unknown, name: string): Uint8Array => {
  if (typeof value === 'string' && isHex(value)) return hexToBytes(value.toLowerCase())
  throw new RpcError(RPC.invalidParameter, `${name} must be hexadecimal string (not '${String(value).slice(0, 100)}')`)
}

/** Bitcoin amounts come as numbers or strings of at most eight decimals. Satoshi. */
export const parseAmount = (value: unknown): bigint => {
  if (typeof value !== 'number' && typeof value !== 'string') throw new RpcError(RPC.type, 'Amount is not a number or string')
  const text = typeof value === 'number' ? value.toFixed(8) : value
  const match = /^-?(\d{1,8})(?:\.(\d{1,8}))?$/.exec(text)
  if (match === null || (typeof value === 'number' && Number(text) !== value)) throw new RpcError(RPC.type, 'Invalid amount')
  const sat = BigInt(match[1] as string) * 100_000_000n + BigInt((match[2] ?? '').padEnd(8, '0'))
  if (text.startsWith('-') || sat > MAX_MONEY) throw new RpcError(RPC.type, 'Amount out of range')
  return sat
}

/** The arguments of a call. A missing or null one takes the default where there is one. */
export class Arguments {
  readonly #values: readonly unknown[]
  readonly #names: readonly string[]
  readonly #usage: string

  /** `usage` answers a call that leaves out what it must give. Names with `|` are known by each of them. */
  constructor(values: readonly unknown[], names: readonly string[], usage = 'missing parameter') {
    this.#usage = usage
    this.#values = values
    this.#names = names
  }

  #name(at: number): string {
    return (this.#names[at] ?? String(at + 1)).split('|')[0] as string
  }

  #wrongType(at: number, expected: string): RpcError {
    if (at >= this.#values.length) return new RpcError(RPC.misc, this.#usage)
    const got = kindOf(this.#values[at])
    const what = `    "Position ${at + 1} (${this.#name(at)})": "JSON value of type ${got} is not of expected type ${expected}"`
    return new RpcError(RPC.type, `Wrong type passed:\n{\n${what}\n}`)
  }

  has(at: number): boolean {
    return this.#values[at] !== undefined && this.#values[at] !== null
  }

  raw(at: number): unknown {
    return this.#values[at]
  }

  string(at: number, fallback?: string): string {
    const value = this.has(at) ? this.#values[at] : fallback
    if (typeof value !== 'string') throw this.#wrongType(at, 'string')
    return value
  }

  bool(at: number, fallback?: boolean): boolean {
    const value = this.has(at) ? this.#values[at] : fallback
    if (typeof value !== 'boolean') throw this.#wrongType(at, 'bool')
    return value
  }

  /** Of 64 bits in Bitcoin Core: any that a number holds exactly. */
  integer(at: number, fallback?: number): number {
    const value = this.has(at) ? this.#values[at] : fallback
    if (typeof value !== 'number') throw this.#wrongType(at, 'number')
    if (!Number.isSafeInteger(value)) throw new RpcError(RPC.misc, 'JSON integer out of range')
    return value
  }

  int(at: number, fallback?: number): number {
    const value = this.has(at) ? this.#values[at] : fallback
    if (typeof value !== 'number') throw this.#wrongType(at, 'number')
    if (!Number.isSafeInteger(value) || Math.abs(value) > 0x7fff_ffff) throw new RpcError(RPC.misc, 'JSON integer out of range')
    return value
  }

  /** Any number. */
  number(at: number, fallback?: number): number {
    const value = this.has(at) ? this.#values[at] : fallback
    if (typeof value !== 'number') throw this.#wrongType(at, 'number')
    return value
  }

  /** As given, for callers that echo. */
  all(): readonly unknown[] {
    return this.#values
  }

  /** A number, or a boolean that stands for 0 or 1, as older callers send. */
  verbosity(at: number, fallback: number): number {
    const value = this.#values[at]
    return typeof value === 'boolean' ? Number(value) : this.int(at, fallback)
  }

  array(at: number): readonly unknown[] {
    const value = this.#values[at]
    if (!Array.isArray(value)) throw this.#wrongType(at, 'array')
    return value
  }

  object(at: number): Readonly<Record<string, unknown>> {
    const value = this.has(at) ? this.#values[at] : {}
    if (kindOf(value) !== 'object') throw this.#wrongType(at, 'object')
    return value as Record<string, unknown>
  }

  /** `name`: what an error calls it, where that is not the parameter's name. */
  blockHash(at: number, name = this.#name(at)): BlockHash {
    return BlockHash(parseHash(this.string(at), name))
  }

  txid(at: number, name = this.#name(at)): Txid {
    return Txid(parseHash(this.string(at), name))
  }

  /** Satoshi. */
  amount(at: number, fallback: bigint): bigint {
    return this.has(at) ? parseAmount(this.#values[at]) : fallback
  }

  /** Satoshi per 1000 virtual bytes; 0 in the call means no limit, which is undefined here. */
  maxFeerate(at: number): number | undefined {
    const rate = this.amount(at, 10_000_000n)
    if (rate >= 100_000_000n)
      throw new RpcError(RPC.invalidParameter, 'Fee rates larger than or equal to 1BTC/kvB are not accepted')
    return rate === 0n ? undefined : Number(rate)
  }

  /** Raw transactions in hex. */
  transactions(at: number, least: number, most: number): Tx[] {
    const list = this.array(at)
    if (list.length < least || list.length > most)
      throw new RpcError(RPC.invalidParameter, `Array must contain between ${least} and ${most} transactions.`)
    return list.map((hex) => {
      if (typeof hex !== 'string') throw this.#wrongType(at, 'string')
      return parseTx(hex, `TX decode failed: ${hex.slice(0, 200)} Make sure the tx has at least one input.`)
    })
  }
}
