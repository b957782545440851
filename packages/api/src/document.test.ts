/** The OpenAPI document: it must agree with the routes, and a generator must be able to read it. */
import { describe, expect, it } from 'vitest'
import { PROBLEM_CODES } from './problem.ts'
import { testApi } from './testing.ts'

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }
interface Operation {
  readonly operationId: string
  readonly tags: readonly string[]
  readonly summary: string
  readonly parameters?: readonly {
    readonly name: string
    readonly in: string
    readonly required?: boolean
    readonly schema: Json
  }[]
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Json }>> }
  readonly responses: Readonly<
    Record<string, { readonly description: string; readonly content?: Record<string, { schema: Json }> }>
  >
  readonly security?: readonly Json[]
}
interface Document {
  readonly openapi: string
  readonly info: { readonly title: string; readonly version: string }
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly securitySchemes: Json }
  readonly security: Json
}

const read = async (): Promise<Document> => (await (await testApi().call('GET', '/openapi.json')).json()) as Document
const operations = (document: Document) =>
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ name: `${method.toUpperCase()} ${path}`, path, operation })),
  )

const ROUTES = [
  'DELETE /v1/peers/{nodeId}',
  'GET /health',
  'GET /openapi.json',
  'GET /ready',
  'GET /v1/addresses',
  'GET /v1/balance',
  'GET /v1/channels',
  'GET /v1/channels/{channelId}',
  'GET /v1/events',
  'GET /v1/fees',
  'GET /v1/graph',
  'GET /v1/invoices',
  'GET /v1/invoices/{paymentHash}',
  'GET /v1/node',
  'GET /v1/payments',
  'GET /v1/payments/{id}',
  'GET /v1/peers',
  'GET /v1/transactions',
  'GET /v1/transactions/{txid}',
  'GET /v1/utxos',
  'POST /v1/addresses',
  'POST /v1/channels',
  'POST /v1/channels/{channelId}/close',
  'POST /v1/decode',
  'POST /v1/invoices',
  'POST /v1/invoices/{paymentHash}/cancel',
  'POST /v1/invoices/{paymentHash}/settle',
  'POST /v1/payments',
  'POST /v1/peers',
  'POST /v1/transactions',
]
const MOVES_MONEY = [
  'POST /v1/channels',
  'POST /v1/channels/{channelId}/close',
  'POST /v1/invoices',
  'POST /v1/payments',
  'POST /v1/transactions',
]

describe('/openapi.json', () => {
  it('is OpenAPI 3.1 and has every route, each with its own name', async () => {
    const document = await read()
    expect(document.openapi).toMatch(/^3\.1\.\d$/)
    expect(document.info).toMatchObject({ title: 'Leyden wallet API', version: '0.1.0' })
    const found = operations(document)
    expect(found.map(({ name }) => name).toSorted()).toEqual(ROUTES)
    expect(new Set(found.map(({ operation }) => operation.operationId)).size).toBe(ROUTES.length)
    for (const { operation } of found) {
      expect(operation.tags.length).toBe(1)
      expect(operation.summary).not.toBe('')
    }
  })

  it('asks for the token everywhere but where none is needed', async () => {
    const document = await read()
    expect(document.components.securitySchemes).toEqual({ token: { type: 'http', scheme: 'bearer' } })
    expect(document.security).toEqual([{ token: [] }])
    const open = operations(document).filter(({ operation }) => operation.security !== undefined)
    expect(open.map(({ name, operation }) => [name, operation.security])).toEqual([
      ['GET /health', []],
      ['GET /ready', []],
      ['GET /openapi.json', []],
    ])
  })

  it('describes every parameter of a path, and the headers', async () => {
    for (const { name, path, operation } of operations(await read())) {
      const inPath = (operation.parameters ?? []).filter((one) => one.in === 'path')
      const wanted = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1])
      expect([name, inPath.map((one) => one.name)]).toEqual([name, wanted])
      for (const one of inPath)
        expect(one).toMatchObject({ required: true, schema: { type: 'string', pattern: expect.any(String) } })
      const headers = (operation.parameters ?? []).filter((one) => one.in === 'header').map((one) => one.name)
      expect([name, headers.includes('Idempotency-Key')]).toEqual([name, MOVES_MONEY.includes(name)])
      expect(headers.includes('Prefer')).toBe(name === 'POST /v1/payments')
      expect(headers.includes('Last-Event-ID')).toBe(name === 'GET /v1/events')
    }
  })

  it('describes bodies and answers, refusals included', async () => {
    for (const { name, operation } of operations(await read())) {
      const body = operation.requestBody?.content['application/json']?.schema
      const wantsBody = name.startsWith('POST') && !name.endsWith('/cancel')
      expect([name, body !== undefined]).toEqual([name, wantsBody])
      expect(body ?? { type: 'object', additionalProperties: false }).toMatchObject({
        type: 'object',
        additionalProperties: false,
      })
      const { default: refusal, ...good } = operation.responses
      expect(refusal?.content?.['application/problem+json']?.schema).toMatchObject({
        properties: { code: { enum: [...PROBLEM_CODES] } },
      })
      expect(Object.keys(good).length).toBeGreaterThan(0)
      expect(Object.keys(good).filter((status) => !/^(2\d\d|503)$/.test(status))).toEqual([])
      for (const [status, { content }] of Object.entries(good))
        expect([name, status, content !== undefined]).toEqual([name, status, status !== '204' && name !== 'GET /openapi.json'])
    }
  })

  it('B13: has no place for a seed or a secret key, neither in what it takes nor in what it gives', async () => {
    const names = new Set<string>()
    const walk = (node: Json): void => {
      if (Array.isArray(node)) for (const one of node as readonly Json[]) walk(one)
      else if (typeof node === 'object' && node !== null)
        for (const [name, value] of Object.entries(node)) {
          if (name === 'properties' && typeof value === 'object') for (const one of Object.keys(value ?? {})) names.add(one)
          walk(value)
        }
    }
    walk((await read()) as unknown as Json)
    expect(names.size).toBeGreaterThan(50)
    // a preimage is the receipt of a payment
    expect([...names].filter((name) => /seed|secret|mnemonic|words|private|xprv|wif|^key$|token|macaroon/i.test(name))).toEqual(
      [],
    )
  })

  it('points only at what is in it', async () => {
    const document = (await read()) as unknown as Json
    const at = (pointer: string): Json | undefined =>
      pointer
        .slice(2)
        .split('/')
        .reduce<Json | undefined>(
          (node, part) => (node as Record<string, Json> | undefined)?.[part.replaceAll('~1', '/').replaceAll('~0', '~')],
          document,
        )
    const refs: string[] = []
    const walk = (node: Json): void => {
      if (Array.isArray(node)) for (const one of node as readonly Json[]) walk(one)
      else if (typeof node === 'object' && node !== null)
        for (const [key, value] of Object.entries(node))
          if (key === '$ref') refs.push(value as string)
          else walk(value)
    }
    walk(document)
    expect(refs.filter((ref) => !ref.startsWith('#/') || at(ref) === undefined)).toEqual([])
  })

  it('has schemas of JSON Schema types alone', async () => {
    const types = new Set(['object', 'array', 'string', 'integer', 'number', 'boolean', 'null'])
    const wrong: string[] = []
    const walk = (schema: Json, where: string): void => {
      if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) {
        wrong.push(`${where}: not a schema`)
        return
      }
      const one = schema as { readonly [key: string]: Json }
      for (const type of [one['type'] ?? []].flat())
        if (!types.has(type as string)) wrong.push(`${where}: ${JSON.stringify(type)}`)
      for (const [key, value] of Object.entries((one['properties'] ?? {}) as Record<string, Json>)) walk(value, `${where}.${key}`)
      if (one['items'] !== undefined) walk(one['items'], `${where}[]`)
      for (const key of ['anyOf', 'oneOf', 'allOf'])
        for (const [i, value] of ((one[key] ?? []) as readonly Json[]).entries()) walk(value, `${where}.${key}${i}`)
    }
    for (const { name, operation } of operations(await read())) {
      for (const { name: parameter, schema } of operation.parameters ?? []) walk(schema, `${name} ${parameter}`)
      for (const { schema } of Object.values(operation.requestBody?.content ?? {})) walk(schema, `${name} body`)
      for (const [status, { content = {} }] of Object.entries(operation.responses))
        for (const { schema } of Object.values(content)) walk(schema, `${name} ${status}`)
    }
    expect(wrong).toEqual([])
  })
})
