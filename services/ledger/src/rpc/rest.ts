/**
 * bitcoind's REST interface (`-rest`): what everyone may read, by GET, in json, hex or bin. Bitcoin Core 28.1 rest.cpp. No password is asked
 * for; who may connect is the server's. What JSON-RPC answers too is asked there.
 */
import { bytesToHex, compactSize, hexToBytes, Reader, Writer } from '@leyden/codec'
import {
  BlockHash,
  encodeHeader,
  outpointKey,
  Txid,
  writeOutput,
  writeVarBytes,
  type Outpoint,
  type TxOutput,
} from '@leyden/bitcoin'
import type { HeaderEntry } from '@leyden/ledger'
import type { LedgerEngine } from '../engine.ts'
import { RPC, RpcError } from './call.ts'
import { btc, jsonText, type Json } from './json-text.ts'
import { scriptJson } from './json.ts'
import type { Starting } from './method.ts'

export type RestReply = { readonly status: number; readonly text?: string; readonly bytes?: Uint8Array; readonly type: string }

/** What REST may use. */
export type RestOptions = {
  readonly engine: LedgerEngine
  readonly call: (method: string, params: readonly Json[]) => Promise<Json | RpcError>
}

/** bitcoind's limits. */
const MAX_HEADERS = 2000
const MAX_OUTPOINTS = 15
/** A coin that only the mempool has. Bitcoin Core txmempool.h, MEMPOOL_HEIGHT. */
const MEMPOOL_HEIGHT = 0x7fff_ffff

const FORMATS = ['bin', 'hex', 'json'] as const
type Format = (typeof FORMATS)[number] | ''

class RestError extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

const bad = (message: string): RestError => new RestError(400, message)
const notFound = (message: string): RestError => new RestError(404, message)

type Request = {
  readonly parts: readonly string[]
  readonly format: Format
  readonly query: (name: string) => string | undefined
  readonly body: Uint8Array
}

const json = (value: Json): RestReply => ({ status: 200, text: `${jsonText(value)}\n`, type: 'application/json' })

/** In the format that is asked for; `only` where there is no other. */
const answer = async (
  { format }: Request,
  bytes: (() => Uint8Array | Promise<Uint8Array>) | undefined,
  value: () => Json | Promise<Json>,
): Promise<RestReply> => {
  if (format === 'json') return json(await value())
  if (bytes !== undefined && format === 'bin') return { status: 200, bytes: await bytes(), type: 'application/octet-stream' }
  if (bytes !== undefined && format === 'hex') return { status: 200, text: `${bytesToHex(await bytes())}\n`, type: 'text/plain' }
  throw notFound(`output format not found (available: ${bytes === undefined ? 'json' : '.bin, .hex, .json'})`)
}

const hashOf = (text: string): string => {
  if (!/^[0-9a-fA-F]{64}$/.test(text)) throw bad(`Invalid hash: ${text}`)
  return text.toLowerCase()
}

const countOf = (text: string): number => {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : 0
  if (count < 1 || count > MAX_HEADERS)
    throw bad(`Header count is invalid or out of acceptable range (1-${MAX_HEADERS}): ${text}`)
  return count
}

/** So many headers of the active chain from a block on; none when it is not in it. */
const headersFrom = (engine: LedgerEngine, hash: string, count: number): HeaderEntry[] => {
  const first = engine.tree.entries.get(BlockHash(hash))
  if (first === undefined || !engine.isActive(first)) return []
  const headers: HeaderEntry[] = []
  for (let height: number = first.height; headers.length < count; height++) {
    const at = engine.hashAtHeight(height as HeaderEntry['height'])
    const entry = at === undefined ? undefined : engine.tree.entries.get(at)
    if (entry === undefined) break
    headers.push(entry)
  }
  return headers
}

const concatenated = (list: readonly Uint8Array[]): Uint8Array => {
  const writer = new Writer()
  for (const bytes of list) writer.bytes(bytes)
  return writer.finish()
}

const reversed = (hex: string): Uint8Array => hexToBytes(hex).reverse()

type Handler = (options: RestOptions, request: Request) => Promise<RestReply>

/** What a call answers; a call that is refused is an answer of this status. */
const asked = async ({ call }: RestOptions, status: number, method: string, ...params: readonly Json[]): Promise<Json> => {
  const result = await call(method, params)
  if (result instanceof RpcError) throw new RestError(status, result.message)
  return result
}

const block =
  (verbosity: number): Handler =>
  async (options, request) => {
    const [given = ''] = request.parts
    const hash = hashOf(given)
    const entry = options.engine.tree.entries.get(BlockHash(hash))
    if (entry === undefined) throw notFound(`${given} not found`)
    const read = async (): Promise<Uint8Array> => {
      const bytes = await options.engine.blockBytes(entry.hash)
      if (bytes === undefined) throw notFound(`${given} not available (pruned data)`)
      return bytes
    }
    return answer(request, read, () => asked(options, 404, 'getblock', hash, verbosity))
  }

const headers: Handler = (options, request) => {
  const { parts, query } = request
  if (parts.length > 2 || parts[0] === '') throw bad('Invalid URI format. Expected /rest/headers/<hash>.<ext>?count=<count>')
  const [count, given] = parts.length === 2 ? (parts as [string, string]) : [query('count') ?? '5', parts[0] ?? '']
  const number = countOf(count)
  const list = headersFrom(options.engine, hashOf(given), number)
  return answer(
    request,
    () => concatenated(list.map(({ header }) => encodeHeader(header))),
    () => Promise.all(list.map(({ hash }) => asked(options, 404, 'getblockheader', hash))),
  )
}

const checkFilter = (engine: LedgerEngine, type: string): void => {
  if (type !== 'basic') throw bad(`Unknown filtertype ${type}`)
  if (!engine.indexes().some(({ name }) => name === 'basic block filter index'))
    throw bad(`Index is not enabled for filtertype ${type}`)
}

const filterHeaders: Handler = async (options, request) => {
  const { parts, query } = request
  const [type = '', second = '', third] = parts
  if (parts.length < 2 || parts.length > 3)
    throw bad('Invalid URI format. Expected /rest/blockfilterheaders/<filtertype>/<blockhash>.<ext>?count=<count>')
  const count = countOf(third === undefined ? (query('count') ?? '5') : second)
  const hash = hashOf(third ?? second)
  checkFilter(options.engine, type)
  const found: Uint8Array[] = []
  for (const entry of headersFrom(options.engine, hash, count)) {
    const filter = await options.engine.filter(entry.hash)
    if (filter === undefined) throw notFound('Filter not found. Block filters are still in the process of being indexed.')
    found.push(filter.header)
  }
  return answer(
    request,
    () => concatenated(found),
    () => found.map((header) => bytesToHex(Uint8Array.from(header).reverse())),
  )
}

const filter: Handler = async (options, request) => {
  const { parts } = request
  const [type = '', given = ''] = parts
  if (parts.length !== 2) throw bad('Invalid URI format. Expected /rest/blockfilter/<filtertype>/<blockhash>')
  const hash = hashOf(given)
  checkFilter(options.engine, type)
  if (!options.engine.tree.entries.has(BlockHash(hash))) throw notFound(`${given} not found`)
  const found = await options.engine.filter(BlockHash(hash))
  if (found === undefined) throw notFound('Filter not found. Block filters are still in the process of being indexed.')
  const bytes = (): Uint8Array => {
    const writer = new Writer()
    writer.u8(0)
    writer.bytes(reversed(hash))
    writeVarBytes(writer, found.filter)
    return writer.finish()
  }
  return answer(request, bytes, () => ({ filter: bytesToHex(found.filter) }))
}

const transaction: Handler = async (options, request) => {
  const [given = ''] = request.parts
  const hash = hashOf(given)
  const result = await options.call('getrawtransaction', [hash, request.format === 'json' ? 1 : 0])
  if (result instanceof RpcError) throw notFound(result.code === RPC.invalidAddressOrKey ? `${given} not found` : result.message)
  return answer(
    request,
    () => hexToBytes(result as string),
    () => result,
  )
}

const blockHashByHeight: Handler = async ({ engine }, request) => {
  const [given = ''] = request.parts
  if (!/^\d{1,9}$/.test(given)) throw bad(`Invalid height: ${given}`)
  const hash = engine.hashAtHeight(Number(given) as HeaderEntry['height'])
  if (hash === undefined) throw notFound('Block height out of range')
  if (request.format === 'hex') return { status: 200, text: `${hash}\n`, type: 'text/plain' }
  return answer(
    request,
    () => reversed(hash),
    () => ({ blockhash: hash }),
  )
}

const chainInfo: Handler = (options, request) => answer(request, undefined, () => asked(options, 500, 'getblockchaininfo'))

const deploymentInfo: Handler = (options, request) => {
  const [given] = request.parts
  if (given === undefined || given === '') return answer(request, undefined, () => asked(options, 400, 'getdeploymentinfo'))
  const hash = hashOf(given)
  if (!options.engine.tree.entries.has(BlockHash(hash))) throw bad('Block not found')
  return answer(request, undefined, () => asked(options, 400, 'getdeploymentinfo', hash))
}

const flagOf = (request: Request, name: string, fallback: boolean): boolean => {
  const given = request.query(name)
  if (given === undefined) return fallback
  if (given !== 'true' && given !== 'false') throw bad(`The "${name}" query parameter must be either "true" or "false".`)
  return given === 'true'
}

const mempool: Handler = (options, request) => {
  const [what] = request.parts
  if (what === 'info') return answer(request, undefined, () => asked(options, 500, 'getmempoolinfo'))
  if (what !== 'contents') throw bad('Invalid URI format. Expected /rest/mempool/<info|contents>.json')
  const verbose = flagOf(request, 'verbose', true)
  const sequence = flagOf(request, 'mempool_sequence', false)
  if (verbose && sequence) throw bad('Verbose results cannot contain mempool sequence values. (hint: set "verbose=false")')
  return answer(request, undefined, () => asked(options, 500, 'getrawmempool', verbose, sequence))
}

type Asked = { readonly outpoints: readonly Outpoint[]; readonly withMempool: boolean }

/** From the address, `txid-n/txid-n`, or from the body: a flag and outpoints in bytes. */
const outpointsOf = ({ parts, format, body }: Request): Asked => {
  const [first] = parts
  const words = (first === 'checkmempool' ? parts.slice(1) : parts).filter((word) => word !== '')
  const outpoints = words.map((word) => {
    const match = /^([0-9a-fA-F]{64})-(\d{1,10})$/.exec(word)
    if (match === null || Number(match[2]) > 0xffff_ffff) throw bad('Parse error')
    return { txid: Txid((match[1] as string).toLowerCase()), vout: Number(match[2]) }
  })
  if (format === 'json' || body.length === 0) {
    if (outpoints.length === 0) throw bad('Error: empty request')
    return { outpoints, withMempool: first === 'checkmempool' }
  }
  if (outpoints.length > 0) throw bad('Combination of URI scheme inputs and raw post data is not allowed')
  try {
    const text = format === 'hex' ? hexToBytes(Buffer.from(body).toString('latin1').trim()) : body
    const reader = new Reader(text)
    const withMempool = reader.u8() !== 0
    const count = compactSize.decode(reader)
    if (count > MAX_OUTPOINTS) throw bad(`Error: max outpoints exceeded (max: ${MAX_OUTPOINTS}, tried: ${count})`)
    const list = Array.from({ length: count }, () => ({
      txid: Txid(bytesToHex(reader.bytes(32).reverse())),
      vout: reader.u32le(),
    }))
    return { outpoints: list, withMempool }
  } catch (error) {
    if (error instanceof RestError) throw error
    throw bad('Parse error')
  }
}

const unspent: Handler = async ({ engine }, request) => {
  const { outpoints, withMempool } = outpointsOf(request)
  if (outpoints.length > MAX_OUTPOINTS)
    throw bad(`Error: max outpoints exceeded (max: ${MAX_OUTPOINTS}, tried: ${outpoints.length})`)
  const { height, hash } = engine.tip()
  const found: { readonly height: number; readonly output: TxOutput }[] = []
  const bits: boolean[] = []
  for (const outpoint of outpoints) {
    const isSpent = withMempool && engine.pool.spenders.has(outpointKey(outpoint))
    const waiting = withMempool ? engine.pool.entries.get(outpoint.txid)?.tx.outputs[outpoint.vout] : undefined
    const coin = waiting === undefined ? await engine.coin(outpoint) : { height: MEMPOOL_HEIGHT, output: waiting }
    const isThere = coin !== undefined && !isSpent
    bits.push(isThere)
    if (isThere) found.push({ height: coin.height, output: coin.output })
  }
  const bytes = (): Uint8Array => {
    const writer = new Writer()
    writer.u32le(height)
    writer.bytes(reversed(hash))
    const bitmap = new Uint8Array(Math.ceil(bits.length / 8))
    bits.forEach((bit, i) => {
      if (bit) bitmap[i >> 3] = (bitmap[i >> 3] as number) | (1 << (i & 7))
    })
    writeVarBytes(writer, bitmap)
    compactSize.encode(writer, found.length)
    for (const one of found) {
      writer.u32le(0)
      writer.u32le(one.height)
      writeOutput(writer, one.output)
    }
    return writer.finish()
  }
  return answer(request, bytes, () => ({
    chainHeight: height,
    chaintipHash: hash,
    bitmap: bits.map(Number).join(''),
    utxos: found.map((one) => ({
      height: one.height,
      value: btc(one.output.value),
      scriptPubKey: scriptJson(one.output.scriptPubKey, engine.network),
    })),
  }))
}

const HANDLERS: readonly (readonly [prefix: string, handler: Handler])[] = [
  ['tx/', transaction],
  ['block/notxdetails/', block(1)],
  ['block/', block(3)],
  ['blockfilter/', filter],
  ['blockfilterheaders/', filterHeaders],
  ['chaininfo', chainInfo],
  ['mempool/', mempool],
  ['headers/', headers],
  ['getutxos', unspent],
  ['deploymentinfo', deploymentInfo],
  ['blockhashbyheight/', blockHashByHeight],
]

/** The answer to a request for `/rest/...`, from an open ledger or one that starts; undefined when there is nothing of that name. Never throws. */
export const answerRest = async (
  options: RestOptions | Pick<Starting, 'status'>,
  url: string,
  body: Uint8Array,
): Promise<RestReply | undefined> => {
  const [path = '', search = ''] = url.slice('/rest/'.length).split('?', 2)
  const [prefix, handler] = HANDLERS.find(([name]) => path.startsWith(name)) ?? []
  if (prefix === undefined || handler === undefined) return undefined
  try {
    if ('status' in options) throw new RestError(503, `Service temporarily unavailable: ${options.status()}`)
    if (/%(?![0-9a-fA-F]{2})/.test(url)) throw bad('URI parsing failed, it likely contained RFC 3986 invalid characters')
    const dot = path.lastIndexOf('.')
    const suffix = dot < 0 ? '' : path.slice(dot + 1)
    const format = FORMATS.find((name) => name === suffix) ?? ''
    const rest = (dot < 0 ? path : path.slice(0, dot)).slice(prefix.length).replace(/^\//, '')
    const query = new URLSearchParams(search)
    return await handler(options, { parts: rest.split('/'), format, query: (name) => query.get(name) ?? undefined, body })
  } catch (error) {
    if (error instanceof RestError) return { status: error.status, text: `${error.message}\r\n`, type: 'text/plain' }
    return { status: 500, text: `${error instanceof Error ? error.message : String(error)}\r\n`, type: 'text/plain' }
  }
}
