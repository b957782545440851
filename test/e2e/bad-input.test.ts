/**
 * Bad input to the wallet API: every endpoint refuses with problem+json, a code, and the field where there is one; nothing has changed
 * afterwards. One table; a row is a rule.
 */
import { readFileSync } from 'node:fs'
import { type ProblemBody, type ProblemCode, PROBLEM_CODES, unwrap } from '@leyden/api/client'
import { networks } from '@leyden/bitcoin'
import { ecdsaSignRecoverable, sha256 as hashOf } from '@leyden/crypto'
import { utf8Encode } from '@leyden/codec'
import { type LightningNode, pause } from '@leyden/devnet-service'
import { PaymentHash } from '@leyden/lnwire'
import { decodeInvoice, encodeInvoice, type Invoice } from '@leyden/payment'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  channelOf,
  channelsOf,
  createWorld,
  holdInvoice,
  invoice,
  invoiceStatus,
  pay,
  secret,
  settled,
  type World,
} from './world.ts'

const CAPACITY_SAT = 1_000_000
const TOO_LARGE = 9_007_199_254_740_992
const UNKNOWN_HASH = '11'.repeat(32)
/** A point of the curve: the generator. Nobody listens there. */
const UNKNOWN_NODE = '0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798'
/** P2WPKH of BIP 173's examples: mainnet. */
const MAINNET_ADDRESS = 'bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4'
const REGTEST_ADDRESS = 'bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080'

interface Row {
  readonly name: string
  readonly method?: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  /** Sent as JSON; a string is sent as it is. */
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  readonly status: number
  readonly code: ProblemCode
  /** One of `errors[].pointer`. */
  readonly pointer?: string
}

describe('bad input', () => {
  let world: World
  let alice: LightningNode
  let bob: LightningNode
  let token: string
  let channelId: string
  const texts = {
    expired: '',
    paid: '',
    paidHash: '',
    own: '',
    ownHash: '',
    open: '',
    otherNetwork: '',
    noAmount: '',
    held: '',
    heldHash: '',
  }

  beforeAll(async () => {
    world = await createWorld()
    ;[alice, bob] = await Promise.all([world.node('alice'), world.node('bob')])
    await world.fund(alice)
    const channel = await world.channel(alice, bob, { capacitySat: CAPACITY_SAT, pushMsat: 100_000_000 })
    channelId = channel.channelId
    const paid = await invoice(bob, 1_000_000)
    texts.paid = paid.bolt11
    texts.paidHash = paid.paymentHash
    await pay(alice, paid.bolt11)
    await settled([alice, bob], channel.fundingTxid as string)
    const expired = await unwrap(
      bob.client.v1.invoices.$post({ json: { amountMsat: 1000, description: 'short', expirySeconds: 1 } }),
    )
    texts.expired = expired.bolt11
    const own = await invoice(alice, 1000)
    texts.own = own.bolt11
    texts.ownHash = own.paymentHash
    texts.open = (await invoice(bob, 2000)).bolt11
    texts.noAmount = (await invoice(bob, undefined)).bolt11
    const kept = secret()
    texts.held = (await holdInvoice(alice, 3000, kept)).bolt11
    texts.heldHash = kept.paymentHash
    const key = hashOf(utf8Encode('a node of another network'))
    texts.otherNetwork = encodeInvoice(
      {
        prefix: networks.mainnet.bolt11Prefix,
        amountMsat: 1000n as never,
        timestamp: Math.floor(Date.now() / 1000),
        paymentHash: PaymentHash(UNKNOWN_HASH),
        paymentSecret: hashOf(key),
        description: 'elsewhere',
        expirySeconds: 3600,
        minFinalCltvExpiryDelta: 40,
        routeHints: [],
        features: (decodeInvoice(texts.open) as Invoice).features,
        fallbackScripts: [],
      },
      (hash) => ecdsaSignRecoverable(hash, key),
    )
    token = readFileSync(alice.tokenFile, 'utf8').trim()
    await pause(2100)
  })
  afterAll(() => world?.close())

  const request = async ({
    method = 'POST',
    path,
    body,
    headers = {},
  }: Pick<Row, 'method' | 'path' | 'body' | 'headers'>): Promise<Response> => {
    const url = `${alice.url}${path.replace('{channelId}', channelId).replace('{own}', texts.ownHash).replace('{held}', texts.heldHash)}`
    return await fetch(url, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
  }

  /** Everything that a request could have changed. */
  const snapshot = async (): Promise<unknown> => {
    const { client } = alice
    const query = { query: { limit: '500' } }
    return {
      balance: await unwrap(client.v1.balance.$get()),
      channels: await channelsOf(alice),
      invoices: await unwrap(client.v1.invoices.$get(query)),
      payments: await unwrap(client.v1.payments.$get(query)),
      transactions: (await unwrap(client.v1.transactions.$get(query))).data.map(({ txid }) => txid),
      addresses: await unwrap(client.v1.addresses.$get(query)),
      peers: await unwrap(client.v1.peers.$get()),
    }
  }

  const check = async (row: Row): Promise<void> => {
    const response = await request(row)
    const text = await response.text()
    expect(`${response.status} ${text}`).toMatch(new RegExp(`^${row.status} `))
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    const problem = JSON.parse(text) as ProblemBody
    expect(problem).toMatchObject({ code: row.code, status: row.status })
    expect(PROBLEM_CODES).toContain(problem.code)
    expect(problem.detail.length).toBeGreaterThan(5)
    expect(problem.title.length).toBeGreaterThan(3)
    if (row.pointer !== undefined) expect(problem.errors?.map(({ pointer }) => pointer)).toContain(row.pointer)
    // A token is never echoed, nor a whole input.
    expect(text).not.toContain(token)
  }

  /** Amounts that are none, for a field of a body that is good otherwise. */
  const amounts = (path: string, body: Readonly<Record<string, unknown>>, field: string): Row[] =>
    (
      [
        ['negative', -1],
        ['fractional', 0.5],
        ['a text', '1000'],
        ['above 2^53-1', TOO_LARGE],
        ['null', null],
      ] as const
    ).map(([what, value]) => ({
      name: `${field} of ${path} that is ${what}`,
      path,
      body: { ...body, [field]: value },
      status: 400,
      code: 'invalid_request',
      pointer: `/${field}`,
    }))

  const bodies: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
    '/v1/addresses': {},
    '/v1/transactions': { address: REGTEST_ADDRESS, amountSat: 10_000 },
    '/v1/peers': { uri: `${UNKNOWN_NODE}@127.0.0.1:1` },
    '/v1/channels': { nodeId: UNKNOWN_NODE, capacitySat: 100_000 },
    '/v1/channels/{channelId}/close': {},
    '/v1/invoices': { amountMsat: 1000, description: 'x' },
    '/v1/invoices/{own}/settle': { preimage: UNKNOWN_HASH },
    '/v1/payments': { to: 'lnbcrt1' },
    '/v1/decode': { text: 'x' },
  }

  const rows: Row[] = [
    // what every body has in common
    ...Object.entries(bodies).flatMap(([path, body]): Row[] => [
      { name: `malformed JSON to ${path}`, path, body: '{"a": ', status: 400, code: 'invalid_request' },
      { name: `JSON that is no object to ${path}`, path, body: [1], status: 400, code: 'invalid_request' },
      {
        name: `an unknown field to ${path}`,
        path,
        body: { ...body, surprise: 1 },
        status: 400,
        code: 'invalid_request',
        pointer: '/surprise',
      },
    ]),
    // lists
    ...['/v1/addresses', '/v1/transactions', '/v1/channels', '/v1/invoices', '/v1/payments'].flatMap((path): Row[] =>
      ['limit=0', 'limit=501', 'limit=x', 'cursor=nowhere'].map((query) => ({
        name: `${query} of ${path}`,
        method: 'GET',
        path: `${path}?${query}`,
        status: 400,
        code: 'invalid_request',
        pointer: `query/${query.split('=')[0]}`,
      })),
    ),
    // ids
    ...(['/v1/transactions/', '/v1/channels/', '/v1/invoices/', '/v1/payments/'] as const).flatMap((path): Row[] => [
      { name: `an unknown id in ${path}`, method: 'GET', path: `${path}${UNKNOWN_HASH}`, status: 404, code: 'not_found' },
      { name: `an id that is none in ${path}`, method: 'GET', path: `${path}xyz`, status: 400, code: 'invalid_request' },
    ]),
    { name: 'an endpoint that is not there', method: 'GET', path: '/v1/nothing', status: 404, code: 'not_found' },
    { name: 'a method that an endpoint has not', method: 'DELETE', path: '/v1/node', status: 404, code: 'not_found' },
    {
      name: 'an event id that is none',
      method: 'GET',
      path: '/v1/events?after=x',
      status: 400,
      code: 'invalid_request',
      pointer: 'query/after',
    },
    { name: 'a body of 100 kB', path: '/v1/decode', body: { text: 'x'.repeat(100_000) }, status: 400, code: 'invalid_request' },

    // addresses
    {
      name: 'an address type',
      path: '/v1/addresses',
      body: { type: 'p2pkh' },
      status: 400,
      code: 'invalid_request',
      pointer: '/type',
    },
    // transactions
    ...amounts('/v1/transactions', { address: REGTEST_ADDRESS }, 'amountSat'),
    {
      name: 'neither an amount nor all',
      path: '/v1/transactions',
      body: { address: REGTEST_ADDRESS },
      status: 400,
      code: 'invalid_request',
      pointer: '/amountSat',
    },
    {
      name: 'an amount and all',
      path: '/v1/transactions',
      body: { address: REGTEST_ADDRESS, amountSat: 1000, all: true },
      status: 400,
      code: 'invalid_request',
      pointer: '/amountSat',
    },
    {
      name: 'an amount of dust',
      path: '/v1/transactions',
      body: { address: REGTEST_ADDRESS, amountSat: 100 },
      status: 400,
      code: 'invalid_request',
      pointer: '/amountSat',
    },
    {
      name: 'more than there is',
      path: '/v1/transactions',
      body: { address: REGTEST_ADDRESS, amountSat: 2_000_000_000_000 },
      status: 422,
      code: 'insufficient_balance',
    },
    {
      name: 'more than there will ever be',
      path: '/v1/transactions',
      body: { address: REGTEST_ADDRESS, amountSat: 9_007_199_254_740_991 },
      status: 400,
      code: 'invalid_request',
      pointer: '/amountSat',
    },
    {
      name: 'an address of another network',
      path: '/v1/transactions',
      body: { address: MAINNET_ADDRESS, amountSat: 10_000 },
      status: 400,
      code: 'invalid_request',
      pointer: '/address',
    },
    {
      name: 'an address with a wrong checksum',
      path: '/v1/transactions',
      body: { address: REGTEST_ADDRESS.replace(/0$/, '2'), amountSat: 10_000 },
      status: 400,
      code: 'invalid_request',
      pointer: '/address',
    },
    ...[0, -1, 20_000, 'fast'].map((feeratePerVbyte): Row => ({
      name: `a fee rate of ${feeratePerVbyte}`,
      path: '/v1/transactions',
      body: { address: REGTEST_ADDRESS, amountSat: 10_000, feeratePerVbyte },
      status: 400,
      code: 'invalid_request',
      pointer: '/feeratePerVbyte',
    })),
    {
      name: 'an Idempotency-Key of control characters',
      path: '/v1/transactions',
      body: { address: REGTEST_ADDRESS, amountSat: 10_000 },
      headers: { 'idempotency-key': 'a b' },
      status: 400,
      code: 'invalid_request',
      pointer: 'header/idempotency-key',
    },

    // peers
    {
      name: 'a uri without a port',
      path: '/v1/peers',
      body: { uri: `${UNKNOWN_NODE}@127.0.0.1` },
      status: 400,
      code: 'invalid_request',
      pointer: '/uri',
    },
    {
      name: 'a node id that is not a point',
      path: '/v1/peers',
      body: { uri: `02${'ff'.repeat(32)}@127.0.0.1:1` },
      status: 400,
      code: 'invalid_request',
      pointer: '/uri',
    },
    {
      name: 'a peer that is not there',
      path: '/v1/peers',
      body: { uri: `${UNKNOWN_NODE}@127.0.0.1:1` },
      status: 422,
      code: 'peer_offline',
    },
    { name: 'a peer that is not connected', method: 'DELETE', path: `/v1/peers/${UNKNOWN_NODE}`, status: 404, code: 'not_found' },
    {
      name: 'a node id that is none',
      method: 'DELETE',
      path: '/v1/peers/xyz',
      status: 400,
      code: 'invalid_request',
      pointer: 'path/nodeId',
    },

    // channels
    ...amounts('/v1/channels', { nodeId: UNKNOWN_NODE }, 'capacitySat'),
    ...amounts('/v1/channels', { nodeId: UNKNOWN_NODE, capacitySat: 100_000 }, 'pushMsat'),
    {
      name: 'neither uri nor node id',
      path: '/v1/channels',
      body: { capacitySat: 100_000 },
      status: 400,
      code: 'invalid_request',
      pointer: '/uri',
    },
    {
      name: 'an unknown peer',
      path: '/v1/channels',
      body: { nodeId: UNKNOWN_NODE, capacitySat: 100_000 },
      status: 422,
      code: 'peer_offline',
    },
    {
      name: 'a node id in capitals',
      path: '/v1/channels',
      body: { nodeId: UNKNOWN_NODE.toUpperCase(), capacitySat: 100_000 },
      status: 400,
      code: 'invalid_request',
      pointer: '/nodeId',
    },
    {
      name: 'a capacity below the least',
      path: '/v1/channels',
      body: { nodeId: '{bob}', capacitySat: 1000 },
      status: 400,
      code: 'invalid_request',
      pointer: '/capacitySat',
    },
    {
      name: 'a capacity above the most',
      path: '/v1/channels',
      body: { nodeId: '{bob}', capacitySat: 2_000_000_000 },
      status: 400,
      code: 'invalid_request',
      pointer: '/capacitySat',
    },
    {
      name: 'a capacity above the balance',
      path: '/v1/channels',
      body: { nodeId: '{bob}', capacitySat: 900_000_000_000 },
      status: 422,
      code: 'insufficient_balance',
    },
    {
      name: 'more pushed than the capacity',
      path: '/v1/channels',
      body: { nodeId: '{bob}', capacitySat: 100_000, pushMsat: 100_000_001 },
      status: 400,
      code: 'invalid_request',
      pointer: '/pushMsat',
    },
    { name: 'closing an unknown channel', path: `/v1/channels/${UNKNOWN_HASH}/close`, body: {}, status: 404, code: 'not_found' },
    {
      name: 'closing to an address of another network',
      path: '/v1/channels/{channelId}/close',
      body: { address: MAINNET_ADDRESS },
      status: 400,
      code: 'invalid_request',
      pointer: '/address',
    },
    {
      name: 'a forced close to an address',
      path: '/v1/channels/{channelId}/close',
      body: { force: true, address: REGTEST_ADDRESS },
      status: 400,
      code: 'invalid_request',
      pointer: '/address',
    },

    // invoices
    ...amounts('/v1/invoices', { description: '' }, 'amountMsat'),
    {
      name: 'an invoice over nothing',
      path: '/v1/invoices',
      body: { amountMsat: 0 },
      status: 400,
      code: 'invalid_request',
      pointer: '/amountMsat',
    },
    ...amounts('/v1/invoices', { description: '' }, 'expirySeconds'),
    {
      name: 'a description of 640 bytes in fewer characters',
      path: '/v1/invoices',
      body: { description: 'ü'.repeat(320) },
      status: 400,
      code: 'invalid_request',
      pointer: '/description',
    },
    {
      name: 'a payment hash that is none',
      path: '/v1/invoices',
      body: { hold: { paymentHash: 'xyz' } },
      status: 400,
      code: 'invalid_request',
      pointer: '/hold/paymentHash',
    },
    {
      name: 'a payment hash that an invoice has',
      path: '/v1/invoices',
      body: { amountMsat: 5, hold: { paymentHash: '{held}' } },
      status: 409,
      code: 'conflict',
      pointer: '/hold/paymentHash',
    },
    {
      name: 'settling an unknown invoice',
      path: `/v1/invoices/${UNKNOWN_HASH}/settle`,
      body: { preimage: UNKNOWN_HASH },
      status: 404,
      code: 'not_found',
    },
    {
      name: 'settling with a wrong preimage',
      path: '/v1/invoices/{held}/settle',
      body: { preimage: UNKNOWN_HASH },
      status: 400,
      code: 'invalid_request',
      pointer: '/preimage',
    },
    { name: 'cancelling an unknown invoice', path: `/v1/invoices/${UNKNOWN_HASH}/cancel`, status: 404, code: 'not_found' },

    // payments
    ...amounts('/v1/payments', { to: '{noAmount}' }, 'amountMsat'),
    ...amounts('/v1/payments', { to: '{open}' }, 'maxFeeMsat'),
    ...amounts('/v1/payments', { to: '{open}' }, 'maxDelayBlocks'),
    {
      name: 'paying nothing that can be paid',
      path: '/v1/payments',
      body: { to: 'money' },
      status: 400,
      code: 'invalid_request',
      pointer: '/to',
    },
    {
      name: 'a broken invoice',
      path: '/v1/payments',
      body: { to: '{broken}' },
      status: 400,
      code: 'invalid_request',
      pointer: '/to',
    },
    {
      name: 'an invoice of another network',
      path: '/v1/payments',
      body: { to: '{otherNetwork}' },
      status: 400,
      code: 'invalid_request',
      pointer: '/to',
    },
    { name: 'an expired invoice', path: '/v1/payments', body: { to: '{expired}' }, status: 410, code: 'invoice_expired' },
    {
      name: 'an invoice of our own',
      path: '/v1/payments',
      body: { to: '{own}' },
      status: 400,
      code: 'invalid_request',
      pointer: '/to',
    },
    { name: 'an invoice that was paid', path: '/v1/payments', body: { to: '{paid}' }, status: 409, code: 'already_paid' },
    {
      name: 'an invoice without an amount, and none given',
      path: '/v1/payments',
      body: { to: '{noAmount}' },
      status: 400,
      code: 'invalid_request',
      pointer: '/amountMsat',
    },
    {
      name: "less than the invoice's amount",
      path: '/v1/payments',
      body: { to: '{open}', amountMsat: 1999 },
      status: 400,
      code: 'invalid_request',
      pointer: '/amountMsat',
    },
    {
      name: 'a text that says nothing',
      path: '/v1/decode',
      body: { text: 'hello' },
      status: 400,
      code: 'invalid_request',
      pointer: '/text',
    },
    {
      name: 'decoding a broken invoice',
      path: '/v1/decode',
      body: { text: '{broken}' },
      status: 400,
      code: 'invalid_request',
      pointer: '/text',
    },

    // who asks
    {
      name: 'a Host that is not ours',
      method: 'GET',
      path: '/v1/node',
      headers: { origin: 'http://evil.example' },
      status: 400,
      code: 'invalid_request',
      pointer: 'header/origin',
    },
  ]

  /** Names in braces stand for what is known only when the world is. */
  const filled = async (row: Row): Promise<Row> => {
    if (row.body === undefined) return row
    const names: Readonly<Record<string, string>> = {
      ...texts,
      held: texts.heldHash,
      broken: texts.open.replace(/.$/, texts.open.endsWith('q') ? 'p' : 'q'),
      bob: await bob.nodeId(),
    }
    const json = typeof row.body === 'string' ? row.body : JSON.stringify(row.body)
    const body = json.replaceAll(/\{(\w+)\}/g, (whole, name: string) => names[name] ?? whole)
    return { ...row, body }
  }

  it('is refused, row by row, and changes nothing', async () => {
    const before = await snapshot()
    const wrong: string[] = []
    for (const row of rows) {
      try {
        await check(await filled(row))
      } catch (error) {
        wrong.push(`${row.name}: ${(error as Error).message.split('\n')[0]}`)
      }
    }
    expect(wrong).toEqual([])
    expect(await snapshot()).toEqual(before)
  })

  it('without a token, or with a wrong one, gets nothing from any endpoint', async () => {
    const document = (await (await fetch(`${alice.url}/openapi.json`)).json()) as {
      paths: Record<string, Record<string, unknown>>
    }
    const endpoints = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => ({ path, method: method.toUpperCase() })),
    )
    expect(endpoints.length).toBeGreaterThan(25)
    const open = new Set(['GET /health', 'GET /ready', 'GET /openapi.json'])
    for (const { path, method } of endpoints) {
      const url = `${alice.url}${path.replaceAll(/\{\w+\}/g, UNKNOWN_HASH)}`
      for (const headers of [{}, { authorization: 'Bearer 00' }, { authorization: token }, { authorization: `Basic ${token}` }]) {
        const response = await fetch(url, { method, headers })
        const got = `${method} ${path}: ${response.status}`
        expect(got).toBe(`${method} ${path}: ${open.has(`${method} ${path}`) ? 200 : 401}`)
        if (open.has(`${method} ${path}`)) continue
        expect(response.headers.get('content-type')).toBe('application/problem+json')
        expect(response.headers.get('www-authenticate')).toBe('Bearer')
        expect(await response.json()).toMatchObject({ code: 'unauthenticated' })
      }
    }
  })

  it('has every POST of the document in its table', async () => {
    const document = (await (await fetch(`${alice.url}/openapi.json`)).json()) as {
      paths: Record<string, Record<string, unknown>>
    }
    const posts = Object.entries(document.paths).flatMap(([path, methods]) => (Object.hasOwn(methods, 'post') ? [path] : []))
    const covered = rows.map(({ path }) => path).map((path) => path.replaceAll(/\{\w+\}|[0-9a-f]{64}/g, '*'))
    expect(posts.map((path) => path.replaceAll(/\{\w+\}/g, '*')).filter((path) => !covered.includes(path))).toEqual([])
  })

  it('refuses a key used for another request, and replays the answer of the same', async () => {
    const headers = { 'idempotency-key': 'one-payment' }
    const first = await request({ path: '/v1/payments', body: { to: texts.open }, headers: { ...headers, prefer: 'wait=30' } })
    expect(first.status).toBe(200)
    const answer = await first.text()
    const again = await request({ path: '/v1/payments', body: { to: texts.open }, headers: { ...headers, prefer: 'wait=30' } })
    expect(again.status).toBe(200)
    expect(again.headers.get('idempotency-replayed')).toBe('true')
    expect(await again.text()).toBe(answer)
    const payments = (await unwrap(alice.client.v1.payments.$get({ query: {} }))).data
    await check({
      name: '',
      path: '/v1/payments',
      body: { to: texts.noAmount, amountMsat: 5 },
      headers,
      status: 422,
      code: 'idempotency_mismatch',
    })
    expect((await unwrap(alice.client.v1.payments.$get({ query: {} }))).data).toEqual(payments)
  })

  it('cannot settle or cancel an invoice at the wrong time', async () => {
    // {own} is open: nobody has paid it.
    await check({
      name: '',
      path: '/v1/invoices/{own}/settle',
      body: { preimage: UNKNOWN_HASH },
      status: 400,
      code: 'invalid_request',
      pointer: '/preimage',
    })
    const paid = await invoice(alice, 1000)
    await pay(bob, paid.bolt11)
    await invoiceStatus(alice, paid.paymentHash, 'settled')
    await check({ name: '', path: `/v1/invoices/${paid.paymentHash}/cancel`, status: 409, code: 'conflict' })
    expect((await invoiceStatus(alice, paid.paymentHash, 'settled')).receivedMsat).toBe(1000)
  })

  it('pays more than twice the amount of an invoice to nobody', async () => {
    const twice = await invoice(bob, 5000)
    await check({
      name: '',
      path: '/v1/payments',
      body: { to: twice.bolt11, amountMsat: 10_001 },
      status: 400,
      code: 'invalid_request',
      pointer: '/amountMsat',
    })
    expect((await invoiceStatus(bob, twice.paymentHash, 'open')).receivedMsat).toBeUndefined()
  })

  it('leaves the channel usable', async () => {
    const { fundingTxid } = (await channelsOf(alice))[0] as { fundingTxid?: string }
    expect((await pay(alice, (await invoice(bob, 1000)).bolt11)).status).toBe('succeeded')
    expect((await channelOf(alice, fundingTxid as string)).state).toBe('normal')
  })
})
