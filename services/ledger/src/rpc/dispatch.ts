/**
 * JSON-RPC without its transport: a text in, what to answer out. 1.0 errors come with an HTTP status, 2.0 errors and batches with 200.
 * Bitcoin Core 28.1 httprpc.cpp, rpc/request.cpp, rpc/server.cpp.
 */
import type { Log } from '@leyden/runtime'
import { RPC, RpcError } from './call.ts'
import { blockSigningMethods } from './block-signing-methods.ts'
import { chainMethods } from './chain-methods.ts'
import { filterMethods } from './filter-methods.ts'
import { duplicateName } from './json-names.ts'
import { jsonText, type Json } from './json-text.ts'
import { mempoolMethods } from './mempool-methods.ts'
import type { ActiveCall, Method, Methods, RpcContext, Starting } from './method.ts'
import { miningMethods } from './mining-methods.ts'
import { networkMethods } from './network-methods.ts'
import { nodeMethods, STOPPING } from './node-methods.ts'
import { psbtMethods } from './psbt-methods.ts'
import { rawMethods } from './raw-methods.ts'
import { scanMethods } from './scan-methods.ts'
import { argumentsOf, conversionsOf, helpOf, signatureOf, usageOf, type Signature } from './signature.ts'
import { utilMethods } from './util-methods.ts'
import { waitMethods } from './wait-methods.ts'

const MAX_BATCH = 10_000

const capitalized = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

const help: Method = {
  params: ['command'],
  about: 'What there is to call, or how one call is called.',
  run(_context, args) {
    const name = args.string(0, '')
    const names = [...calls.keys()].sort()
    if (name === 'dump_all_command_conversions') return names.flatMap((one) => conversionsOf((calls.get(one) as Call).signature))
    if (name !== '') {
      const call = calls.get(name)
      return call === undefined ? `help: unknown command: ${name.slice(0, 100)}` : helpOf(call.signature)
    }
    const shown = names.map((one) => (calls.get(one) as Call).signature).filter(({ category }) => category !== 'hidden')
    const categories = [...new Set(shown.map(({ category }) => category))].sort()
    return categories
      .map((category) => {
        const lines = shown.filter((one) => one.category === category).map(usageOf)
        return [`== ${capitalized(category)} ==`, ...lines].join('\n')
      })
      .join('\n\n')
  },
}

const table: Methods = {
  ...blockSigningMethods,
  ...chainMethods,
  ...mempoolMethods,
  ...filterMethods,
  ...miningMethods,
  ...networkMethods,
  ...nodeMethods,
  ...psbtMethods,
  ...rawMethods,
  ...scanMethods,
  ...utilMethods,
  ...waitMethods,
  help,
}
type Call = { readonly method: Method; readonly signature: Signature }
const calls: ReadonlyMap<string, Call> = new Map(
  Object.entries(table).map(([name, method]) => [name, { method, signature: signatureOf(name, method) }]),
)

type Version = 'v1' | 'v2'
type Request = {
  readonly version: Version
  /** Absent where none was given; a 2.0 request without one is a notification. */
  readonly id: Json | undefined
  readonly method: string
  readonly params: unknown
}
type Broken = { readonly broken: RpcError; readonly id: Json | undefined; readonly version: Version }

const reply = ({ version, id }: Pick<Request, 'version' | 'id'>, result: Json | RpcError): Json => {
  const tail = id === undefined ? {} : { id }
  if (result instanceof RpcError) {
    const error = { code: result.code, message: result.message }
    return version === 'v1' ? { result: null, error, ...tail } : { jsonrpc: '2.0', error, ...tail }
  }
  return version === 'v1' ? { result, error: null, ...tail } : { jsonrpc: '2.0', result, ...tail }
}

const parseRequest = (value: unknown): Request | Broken => {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
  const fields = (isObject ? value : {}) as { id?: Json; jsonrpc?: unknown; method?: unknown; params?: unknown }
  const { id, jsonrpc, method, params } = fields
  const version = jsonrpc === '2.0' ? 'v2' : 'v1'
  const broken = (message: string): Broken => ({ broken: new RpcError(RPC.invalidRequest, message), id, version })
  if (!isObject) return { ...broken('Invalid Request object'), id: null }
  if (jsonrpc !== undefined && jsonrpc !== null) {
    if (typeof jsonrpc !== 'string') return broken('jsonrpc field must be a string')
    if (jsonrpc !== '1.0' && jsonrpc !== '2.0') return broken('JSON-RPC version not supported')
  }
  if (method === undefined || method === null) return broken('Missing method')
  if (typeof method !== 'string') return broken('Method must be a string')
  if (params !== undefined && params !== null && typeof params !== 'object') return broken('Params must be an array or object')
  return { version, id, method, params }
}

/** What leaves: a status of HTTP, and text unless there is none. */
export type Answer = { readonly status: number; readonly text?: string }

export type Dispatch = {
  /** Answers a text; `allowed` are the calls that the caller may make. Never throws. */
  answer(body: string, allowed: ReadonlySet<string> | undefined): Promise<Answer>
  /** One call of our own. */
  call(method: string, params: readonly Json[]): Promise<Json | RpcError>
}

const failed = (
  error: RpcError,
  status: number,
  request: Pick<Request, 'version' | 'id'> = { version: 'v1', id: null },
): Answer => ({
  status,
  text: jsonText(reply(request, error)),
})

const httpStatus = ({ code }: RpcError): number => {
  if (code === RPC.invalidRequest) return 400
  return code === RPC.methodNotFound ? 404 : 500
}

const isNamed = (params: unknown): boolean => typeof params === 'object' && params !== null && !Array.isArray(params)

const methodOf = (value: unknown): unknown =>
  typeof value === 'object' && value !== null ? (value as { method?: unknown }).method : undefined

/** Of a call that comes while the ledger starts. Bitcoin Core answers `stop` by the same error, but is out of what we call long soon. */
const answerEarly = (method: string, { status, obeysStop, stop }: Starting): Json | RpcError => {
  if (method !== 'stop' || !obeysStop()) return new RpcError(RPC.inWarmup, status())
  stop()
  return STOPPING
}

/** Runs calls; `open` gives what they may use, or what there is before. A fault of ours is told as an error, and logged. */
export const createDispatch = (open: () => RpcContext | Starting, log: Log): Dispatch => {
  const active = new Set<ActiveCall>()

  const execute = async ({ method: name, params }: Request, body?: string): Promise<Json | RpcError> => {
    const opened = open()
    if ('obeysStop' in opened) return answerEarly(name, opened)
    const context = { ...opened, active }
    const call = calls.get(name)
    if (call === undefined) return new RpcError(RPC.methodNotFound, 'Method not found')
    const twice = body !== undefined && isNamed(params) ? duplicateName(body, ['params']) : undefined
    if (twice !== undefined)
      return new RpcError(RPC.invalidParameter, `Parameter ${twice.slice(0, 100)} specified multiple times`)
    const entry = { method: name, since: performance.now() }
    active.add(entry)
    try {
      // So that all that a method reads is of one moment. Where the disk fails, what is durable is still told.
      await context.engine.settled().catch(() => undefined)
      const duplicate = (at: number, named: string): string | undefined =>
        body === undefined ? undefined : duplicateName(body, ['params', isNamed(params) ? named : String(at)])
      return await call.method.run({ ...context, duplicate }, argumentsOf(call.signature, params))
    } catch (error) {
      if (error instanceof RpcError) return error
      log.error({ method: name, error: String(error) }, 'RPC call failed')
      return new RpcError(RPC.misc, error instanceof Error ? error.message : String(error))
    } finally {
      active.delete(entry)
    }
  }

  const batch = async (items: readonly unknown[]): Promise<Answer> => {
    if (items.length > MAX_BATCH) return failed(new RpcError(RPC.invalidRequest, 'Batch too large'), 400)
    const replies: string[] = []
    for (const item of items) {
      const request = parseRequest(item)
      const result = 'broken' in request ? request.broken : await execute(request)
      const isSilent = request.version === 'v2' && request.id === undefined
      if (!isSilent) replies.push(jsonText(reply(request, result)))
    }
    return replies.length === 0 && items.length > 0 ? { status: 204 } : { status: 200, text: `[${replies.join(',')}]` }
  }

  const answer: Dispatch['answer'] = async (body, allowed) => {
    let value: unknown
    try {
      value = JSON.parse(body)
    } catch {
      return failed(new RpcError(RPC.parse, 'Parse error'), 500)
    }
    if (allowed !== undefined) {
      const wanted = (Array.isArray(value) ? value : [value]).map(methodOf)
      if (wanted.some((method) => typeof method !== 'string' || !allowed.has(method))) return { status: 403 }
    }
    if (Array.isArray(value)) return batch(value)
    if (typeof value !== 'object' || value === null) return failed(new RpcError(RPC.parse, 'Top-level object parse error'), 500)
    const request = parseRequest(value)
    if ('broken' in request) return failed(request.broken, 400, request)
    const result = await execute(request, body)
    if (request.version === 'v2' && request.id === undefined) return { status: 204 }
    const status = result instanceof RpcError && request.version === 'v1' ? httpStatus(result) : 200
    return { status, text: jsonText(reply(request, result)) }
  }

  return { answer, call: (method, params) => execute({ version: 'v2', id: null, method, params }) }
}
