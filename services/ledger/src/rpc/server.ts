/**
 * JSON-RPC over HTTP, as bitcoind answers it: 1.0 errors come with an HTTP status, 2.0 errors and batches with 200.
 * Bitcoin Core 28.1 httprpc.cpp, rpc/request.cpp, rpc/server.cpp. Who may call: user and password of the cookie or of the
 * configuration, compared in constant time.
 */
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { isAuthorized, type Credentials } from '../credentials.ts'
import type { Log } from '@leyden/runtime'
import { Arguments, RPC, RpcError } from './call.ts'
import { chainMethods } from './chain-methods.ts'
import { jsonText, type Json } from './json-text.ts'
import { mempoolMethods } from './mempool-methods.ts'
import type { Method, Methods, RpcContext } from './method.ts'
import { miningMethods } from './mining-methods.ts'
import { nodeMethods } from './node-methods.ts'
import { rawMethods } from './raw-methods.ts'
import { scanMethods } from './scan-methods.ts'
import { utilMethods } from './util-methods.ts'
import { waitMethods } from './wait-methods.ts'

/** A block in hex is at most 8 MB. */
const MAX_BODY_BYTES = 32 * 1024 * 1024
const MAX_BATCH = 10_000
const WRONG_PASSWORD_DELAY_MS = 250

const help: Method = {
  params: ['command'],
  about: 'What there is to call.',
  run(_context, args) {
    const name = args.string(0, '')
    if (name === '') return [...methods.keys()].sort().map(usage).join('\n')
    if (!methods.has(name)) return `help: unknown command: ${name.slice(0, 100)}`
    return `${usage(name)}\n\n${(methods.get(name) as Method).about}`
  },
}

const table: Methods = {
  ...chainMethods,
  ...mempoolMethods,
  ...miningMethods,
  ...nodeMethods,
  ...rawMethods,
  ...scanMethods,
  ...utilMethods,
  ...waitMethods,
  help,
}
const methods: ReadonlyMap<string, Method> = new Map(Object.entries(table))

const usage = (name: string): string =>
  [name, ...(methods.get(name)?.params ?? []).map((param) => `( ${param.split('|')[0]} )`)].join(' ')

type Request = {
  readonly version: 'v1' | 'v2'
  /** Absent in a notification. */
  readonly id: Json | undefined
  readonly method: string
  readonly params: unknown
}

const reply = ({ version, id }: Pick<Request, 'version' | 'id'>, result: Json, error: RpcError | undefined): Json => {
  const told = error === undefined ? null : { code: error.code, message: error.message }
  const tail = id === undefined ? {} : { id }
  if (version === 'v1') return { result: error === undefined ? result : null, error: told, ...tail }
  return { jsonrpc: '2.0', ...(error === undefined ? { result } : { error: told }), ...tail }
}

const parseRequest = (
  value: unknown,
): Request | { readonly broken: RpcError; readonly id: Json | undefined; readonly version: 'v1' | 'v2' } => {
  const broken = (
    message: string,
    id: Json | undefined = null,
    version: 'v1' | 'v2' = 'v1',
    code: number = RPC.invalidRequest,
  ) => ({
    broken: new RpcError(code, message),
    id,
    version,
  })
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return broken('Invalid Request object')
  const { id, jsonrpc, method, params } = value as { id?: Json; jsonrpc?: unknown; method?: unknown; params?: unknown }
  const version = jsonrpc === '2.0' ? 'v2' : 'v1'
  if (jsonrpc !== undefined && jsonrpc !== null) {
    if (typeof jsonrpc !== 'string') return broken('jsonrpc field must be a string', id)
    if (jsonrpc !== '1.0' && jsonrpc !== '1.1' && jsonrpc !== '2.0') return broken('JSON-RPC version not supported', id)
  }
  if (method === undefined || method === null) return broken('Missing method', id, version)
  if (typeof method !== 'string') return broken('Method must be a string', id, version)
  return { version, id: version === 'v1' ? (id ?? null) : id, method, params }
}

const argumentsOf = (name: string, method: Method, params: unknown): Arguments => {
  const text = `${usage(name)}\n\n${method.about}`
  if (params === undefined || params === null) return new Arguments([], method.params, text)
  if (Array.isArray(params)) {
    if (params.length > method.params.length) throw new RpcError(RPC.misc, 'too many parameters')
    return new Arguments(params, method.params, text)
  }
  if (typeof params !== 'object') throw new RpcError(RPC.invalidRequest, 'Params must be an array or object')
  const values: unknown[] = []
  const given = Object.entries(params)
  // The positional ones first, whatever the order of the names.
  for (const [name, value] of given.toSorted(([a], [b]) => Number(b === 'args') - Number(a === 'args'))) {
    if (name === 'args' && Array.isArray(value)) {
      value.forEach((one, at) => (values[at] = one))
      continue
    }
    const at = method.params.findIndex((param) => param.split('|').includes(name))
    if (at < 0) throw new RpcError(RPC.invalidParameter, `Unknown named parameter ${name.slice(0, 100)}`)
    if (values[at] !== undefined)
      throw new RpcError(
        RPC.invalidParameter,
        `Parameter ${name.slice(0, 100)} specified twice both as positional and named argument`,
      )
    values[at] = value
  }
  return new Arguments(values, method.params, text)
}

/** Runs one call. Never throws: a fault of ours is told as an internal error, and logged. */
type Active = Set<{ readonly method: string; readonly since: number }>

const execute = async (
  context: RpcContext & { readonly active: Active },
  log: Log,
  { method: name, params }: Request,
): Promise<Json | RpcError> => {
  const method = methods.get(name)
  if (method === undefined) return new RpcError(RPC.methodNotFound, 'Method not found')
  const call = { method: name, since: context.now() }
  context.active.add(call)
  try {
    return await method.run(context, argumentsOf(name, method, params))
  } catch (error) {
    if (error instanceof RpcError) return error
    log.error({ method: name, error: String(error) }, 'RPC call failed')
    return new RpcError(RPC.misc, error instanceof Error ? error.message : String(error))
  } finally {
    context.active.delete(call)
  }
}

const httpStatus = (error: RpcError): 400 | 404 | 500 => {
  if (error.code === RPC.invalidRequest) return 400
  return error.code === RPC.methodNotFound ? 404 : 500
}

/** The HTTP application; the caller serves it. */
export const createRpcApp = (options: RpcContext, credentials: Credentials, log: Log): Hono => {
  const app = new Hono()
  const context = { ...options, active: new Set() as Active }
  const answer = async (body: string): Promise<{ readonly status: 200 | 204 | 400 | 404 | 500; readonly json?: Json }> => {
    let value: unknown
    try {
      value = JSON.parse(body)
    } catch {
      return { status: 500, json: reply({ version: 'v1', id: null }, null, new RpcError(RPC.parse, 'Parse error')) }
    }
    if (Array.isArray(value)) {
      if (value.length > MAX_BATCH)
        return {
          status: 400,
          json: reply({ version: 'v1', id: null }, null, new RpcError(RPC.invalidRequest, 'Batch too large')),
        }
      const replies: Json[] = []
      for (const item of value) {
        const request = parseRequest(item)
        if ('broken' in request) {
          replies.push(reply(request, null, request.broken))
          continue
        }
        const result = await execute(context, log, request)
        const silent = request.version === 'v2' && request.id === undefined
        if (!silent) replies.push(result instanceof RpcError ? reply(request, null, result) : reply(request, result, undefined))
      }
      return replies.length === 0 && value.length > 0 ? { status: 204 } : { status: 200, json: replies }
    }
    if (typeof value !== 'object' || value === null)
      return {
        status: 500,
        json: reply({ version: 'v1', id: null }, null, new RpcError(RPC.parse, 'Top-level object parse error')),
      }
    const request = parseRequest(value)
    if ('broken' in request) return { status: 400, json: reply(request, null, request.broken) }
    const result = await execute(context, log, request)
    if (request.version === 'v2' && request.id === undefined) return { status: 204 }
    if (!(result instanceof RpcError)) return { status: 200, json: reply(request, result, undefined) }
    return { status: request.version === 'v2' ? 200 : httpStatus(result), json: reply(request, null, result) }
  }

  app.use(bodyLimit({ maxSize: MAX_BODY_BYTES }))
  app.all('*', async (c) => {
    if (c.req.method !== 'POST') return c.text('JSONRPC server handles only POST requests', 405)
    const header = c.req.header('authorization')
    if (!isAuthorized(header, credentials)) {
      if (header !== undefined) {
        log.warn({}, 'RPC call with a wrong password')
        await new Promise((resolve) => setTimeout(resolve, WRONG_PASSWORD_DELAY_MS))
      }
      return c.body(null, 401, { 'WWW-Authenticate': 'Basic realm="jsonrpc"' })
    }
    if (c.req.path !== '/') return c.body(null, 404)
    const { status, json } = await answer(await c.req.text())
    if (json === undefined) return c.body(null, 204)
    return c.body(`${jsonText(json)}\n`, status as 200, { 'Content-Type': 'application/json' })
  })
  app.onError((error, c) => {
    log.error({ error: String(error) }, 'RPC request failed')
    return c.body(null, 500)
  })
  return app
}
