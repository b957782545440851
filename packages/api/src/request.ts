/**
 * What a request says (path, query, headers, body), each part against its schema. A mistake becomes a problem that names the field
 * and never repeats what was sent; every POST may leave its body out where all fields are optional.
 */
import { utf8Encode, bytesToHex } from '@leyden/codec'
import { sha256 } from '@leyden/crypto'
import type { Context, MiddlewareHandler, TypedResponse } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { validator } from 'hono-openapi'
import type { z } from 'zod'
import { badField, type FieldError, Problem } from './problem.ts'
import type { IdempotentAnswer, WalletService } from './service.ts'

const MAX_BODY_BYTES = 64 * 1024
const MAX_WAIT_SECONDS = 120
/** Mistakes told at once, and characters of one name: an answer stays small, whatever was sent. */
const MAX_ERRORS = 16
const MAX_NAME = 64
const MAX_DETAIL = 1000

interface Issue {
  readonly code?: string
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
  readonly keys?: readonly string[]
}

/** RFC 6901. */
const escaped = (name: string): string => {
  const short = name.length > MAX_NAME ? `${name.slice(0, MAX_NAME)}...` : name
  return short.replaceAll('~', '~0').replaceAll('/', '~1')
}

const PREFIX = { json: '', query: 'query', param: 'path' } as const

const errorsOf = (target: keyof typeof PREFIX, issue: Issue): FieldError[] => {
  const path = (issue.path ?? []).map((part) => escaped(String(typeof part === 'object' ? part.key : part)))
  const pointer = [PREFIX[target], ...path].join('/')
  if (issue.code === 'unrecognized_keys')
    return (issue.keys ?? []).map((key) => ({ pointer: `${pointer}/${escaped(key)}`, message: 'unknown field' }))
  return [{ pointer, message: issue.message }]
}

/** A validator of one part of the request. */
export const valid = <Target extends 'json' | 'query' | 'param', Schema extends z.ZodType>(target: Target, schema: Schema) =>
  validator(target, schema, (result) => {
    if (result.success) return
    const errors = result.error.flatMap((issue) => errorsOf(target, issue as Issue)).slice(0, MAX_ERRORS)
    const detail = errors.map(({ pointer, message }) => `${pointer === '' ? 'the body' : pointer}: ${message}`).join('; ')
    throw new Problem('invalid_request', detail.slice(0, MAX_DETAIL), errors)
  })

const tooLarge = (): never => {
  throw new Problem('invalid_request', `the body is larger than ${MAX_BODY_BYTES} bytes`)
}
const limitStream = bodyLimit({ maxSize: MAX_BODY_BYTES, onError: tooLarge })

/** Refuses bodies over 64 KiB. A length that is told is believed: HTTP carries no more than that. */
export const limitBody: MiddlewareHandler = async (c, next) => {
  const length = c.req.header('content-length')
  if (length === undefined || c.req.header('transfer-encoding') !== undefined) return await limitStream(c, next)
  if (!(Number(length) <= MAX_BODY_BYTES)) tooLarge()
  return await next()
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** The JSON text of a body; of none, that of an empty object. */
const textOf = (bytes: ArrayBuffer): string => {
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    throw badField('', 'not UTF-8')
  }
  if (/^\s*$/.test(text)) return '{}'
  try {
    JSON.parse(text)
  } catch {
    throw badField('', 'malformed JSON') // the parser's own words would repeat the body
  }
  return text
}

/** Reads the body of a request that may have one: JSON, said to be JSON; none at all is `{}`. */
export const jsonBody: MiddlewareHandler = async (c, next) => {
  if (!['POST', 'PUT', 'PATCH'].includes(c.req.method)) return await next()
  const bytes = await c.req.arrayBuffer()
  const type = (c.req.header('content-type') ?? '').split(';', 1)[0]?.trim() ?? ''
  const isJson = /^application\/([\w.-]+\+)?json$/i.test(type)
  if (bytes.byteLength > 0 && !isJson)
    throw badField('header/content-type', 'the body must be JSON: send "Content-Type: application/json"')
  const text = textOf(bytes)
  if (text === '{}') {
    // The validator reads the request itself: give it one that says what ours means.
    const headers = new Headers(c.req.raw.headers)
    headers.set('content-type', 'application/json')
    c.req.raw = new Request(c.req.raw, { method: c.req.method, headers, body: text })
  }
  // What is cached here is a promise, whatever its type says.
  c.req.bodyCache = { text: Promise.resolve(text) as unknown as string }
  return await next()
}

/** For a POST that takes no fields: refuses any. */
export const noFields: MiddlewareHandler = async (c, next) => {
  const body: unknown = await c.req.json()
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw badField('', 'an empty object, or no body')
  const [name] = Object.keys(body)
  if (name !== undefined) throw badField(`/${escaped(name)}`, 'unknown field')
  return await next()
}

/** An answer that the typed client knows the shape of. */
const json = <T>(body: T, status: number, headers: Record<string, string> = {}): Response & TypedResponse<T> =>
  // Not Response.json: a server may put a Response of its own in the place of the platform's, which writes a text without a stream.
  new Response(JSON.stringify(body), {
    status,
    headers: { 'content-type': 'application/json', ...headers },
  }) as Response & TypedResponse<T>

/** Runs a money-moving request under its Idempotency-Key, if it has one; see {@link WalletService.idempotent}. */
export const once = async <T>(
  c: Context,
  service: Pick<WalletService, 'idempotent'>,
  body: unknown,
  run: (reference: string | undefined) => Promise<IdempotentAnswer & { readonly body: T }>,
): Promise<Response & TypedResponse<T>> => {
  const key = c.req.header('idempotency-key')
  if (key === undefined) {
    const answer = await run(undefined)
    return json(answer.body, answer.status)
  }
  if (!/^[!-~]{1,200}$/.test(key)) throw badField('header/idempotency-key', '1 to 200 printable ASCII characters')
  const fingerprint = bytesToHex(sha256(utf8Encode(`${c.req.method} ${c.req.path}\n${JSON.stringify(body)}`)))
  const answer = await service.idempotent(key, fingerprint, () => run(key))
  return json(answer.body as T, answer.status, answer.replayed ? { 'idempotency-replayed': 'true' } : {})
}

/** RFC 7240 `Prefer: wait=30`, in seconds, at most 120; 0 without it. What it cannot read it ignores, as the RFC says. */
export const preferredWait = (c: Context): number => {
  const wait = /(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?(?=$|[,;\s])/i.exec(c.req.header('prefer') ?? '')?.[1]
  return wait === undefined ? 0 : Math.min(Number(wait), MAX_WAIT_SECONDS)
}
