/** What the HTTP layer lets through to the wallet, and how it refuses the rest. */
import { describe, expect, it, vi } from 'vitest'
import { Problem, PROBLEM_CODES, type ProblemBody } from './problem.ts'
import { HASH, NODE_ID, testApi, TOKEN } from './testing.ts'

/** Waits for what must come, however slow the machine. */
const soon = <T>(check: () => T | Promise<T>): Promise<T> => vi.waitFor(check, 15_000)

/** The problem of an answer, after checking that it is one. */
const problemOf = async (response: Response): Promise<ProblemBody> => {
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  const body = (await response.json()) as ProblemBody
  expect(body.status).toBe(response.status)
  expect(body).toMatchObject({
    type: `urn:leyden:problem:${body.code}`,
    title: expect.any(String),
    retryable: expect.any(Boolean),
  })
  expect(PROBLEM_CODES).toContain(body.code)
  expect(body.detail.length).toBeGreaterThan(0)
  return body
}

/** Pointer and message of each bad field. */
const refusal = async (response: Response) => {
  const body = await problemOf(response)
  expect(body).toMatchObject({ status: 400, code: 'invalid_request' })
  return Object.fromEntries((body.errors ?? []).map(({ pointer, message }) => [pointer, message]))
}

describe('authentication', () => {
  it('asks for a token on every route under /v1, known or not', async () => {
    const { call, wallet } = testApi()
    for (const path of ['/v1/node', '/v1/payments', '/v1/events', '/v1/nothing']) {
      const answer = await call('GET', path, { headers: { authorization: undefined } })
      expect(answer.headers.get('www-authenticate')).toBe('Bearer')
      expect(await problemOf(answer)).toMatchObject({ status: 401, code: 'unauthenticated' })
    }
    expect(wallet.calls).toEqual([])
  })

  it('refuses a wrong token, another scheme and a token that cannot be one, without repeating them', async () => {
    const { call } = testApi()
    const wrong = 'b6'.repeat(32)
    for (const authorization of [
      `Bearer ${wrong}`,
      `Basic ${wrong}`,
      `Bearer ${wrong} ${wrong}`,
      'Bearer ',
      `Bearer ${'x'.repeat(500)}`,
    ]) {
      const answer = await call('GET', '/v1/node', { headers: { authorization } })
      const text = await answer.clone().text()
      expect(await problemOf(answer)).toMatchObject({ status: 401, code: 'unauthenticated' })
      expect(text).not.toContain(wrong)
    }
  })

  it('checks the token before the body', async () => {
    const { call } = testApi()
    const answer = await call('POST', '/v1/payments', { raw: '{', headers: { authorization: undefined } })
    expect(answer.status).toBe(401)
  })

  it('takes the scheme in any case', async () => {
    const { call } = testApi()
    expect((await call('GET', '/v1/node', { headers: { authorization: `bearer ${TOKEN}` } })).status).toBe(200)
  })

  it('needs none for health, readiness and the document', async () => {
    const { call } = testApi()
    const open = { headers: { authorization: undefined } }
    expect(await (await call('GET', '/health', open)).json()).toEqual({ status: 'ok', uptimeSeconds: 7 })
    const ready = await call('GET', '/ready', open)
    expect([ready.status, await ready.json()]).toEqual([503, { ready: false, reason: 'syncing' }])
    expect((await call('GET', '/openapi.json', open)).status).toBe(200)
  })

  it('lets no answer of the wallet be cached', async () => {
    const { call } = testApi()
    expect((await call('GET', '/v1/balance')).headers.get('cache-control')).toBe('no-store')
    expect((await call('GET', '/v1/nothing')).headers.get('cache-control')).toBe('no-store')
  })
})

describe('Host and Origin', () => {
  const hosts = { good: ['127.0.0.1:9740', 'localhost', 'LOCALHOST:1', '[::1]:9740', 'wallet.example:9740', '[fe80::1]:9740'] }
  const bad = ['evil.example', '127.0.0.1.evil.example', 'localhost@evil.example', 'evil.example/127.0.0.1', '127.0.0.1:port', '']

  it('serves loopback and what is allowed', async () => {
    const { call } = testApi({ allowedHosts: ['wallet.example', 'fe80::1'] })
    for (const host of hosts.good)
      expect([host, (await call('GET', '/v1/node', { headers: { host } })).status]).toEqual([host, 200])
  })

  it('refuses other names, also for what needs no token (DNS rebinding)', async () => {
    const { call } = testApi({ allowedHosts: [''] })
    for (const host of bad)
      for (const path of ['/v1/node', '/health'])
        expect(Object.keys(await refusal(await call('GET', path, { headers: { host } })))).toEqual(['header/host'])
  })

  it('refuses pages from elsewhere, and pages without an origin', async () => {
    const { call } = testApi()
    for (const origin of ['http://127.0.0.1:9740', 'http://localhost'])
      expect((await call('GET', '/v1/node', { headers: { origin } })).status).toBe(200)
    for (const origin of ['https://evil.example', 'null', 'chrome-extension://localhost', 'http://localhost.evil.example'])
      expect(Object.keys(await refusal(await call('GET', '/v1/node', { headers: { origin } })))).toEqual(['header/origin'])
  })
})

describe('bodies', () => {
  it('names what is wrong with a body, and gives nothing to the wallet', async () => {
    const { call, wallet } = testApi()
    const json = { 'content-type': 'application/json' }
    expect(await refusal(await call('POST', '/v1/decode', { raw: '{"text": secret-words', headers: json }))).toEqual({
      '': 'malformed JSON',
    })
    expect(await refusal(await call('POST', '/v1/decode', { raw: new Uint8Array([0x22, 0xff, 0x22]), headers: json }))).toEqual({
      '': 'not UTF-8',
    })
    for (const body of [[], null, 'text', 5]) {
      const errors = await refusal(await call('POST', '/v1/decode', { body }))
      expect(Object.keys(errors)).toEqual([''])
    }
    expect(wallet.calls).toEqual([])
  })

  it('asks for a Content-Type of JSON where there is a body', async () => {
    const { call, wallet } = testApi()
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonp', '']) {
      const answer = await call('POST', '/v1/decode', { raw: '{"text":"x"}', headers: { 'content-type': type } })
      expect(await refusal(answer)).toEqual({
        'header/content-type': 'the body must be JSON: send "Content-Type: application/json"',
      })
    }
    expect(wallet.calls).toEqual([])
    const answer = await call('POST', '/v1/decode', {
      raw: '{"text":"x"}',
      headers: { 'content-type': 'Application/JSON ; charset=utf-8' },
    })
    expect(answer.status).toBe(200)
  })

  it('takes no body, an empty body and {} alike where all fields are optional', async () => {
    const { call, wallet } = testApi()
    for (const options of [{}, { raw: '' }, { raw: ' \n', headers: { 'content-type': 'application/json' } }, { body: {} }]) {
      expect((await call('POST', '/v1/addresses', options)).status).toBe(201)
      expect((await call('POST', `/v1/channels/${HASH}/close`, options)).status).toBe(202)
      expect((await call('POST', `/v1/invoices/${HASH}/cancel`, options)).status).toBe(200)
    }
    expect(wallet.calls.slice(-3)).toEqual([
      ['newAddress', 'p2wpkh'],
      ['closeChannel', HASH, { force: false }],
      ['cancelInvoice', HASH],
    ])
  })

  it('asks for what is missing when there is no body', async () => {
    const { call } = testApi()
    expect(Object.keys(await refusal(await call('POST', '/v1/payments')))).toEqual(['/to'])
  })

  it('refuses a body over 64 KiB, with and without its length', async () => {
    const { call, wallet } = testApi()
    const raw = JSON.stringify({ text: 'x'.repeat(64 * 1024) })
    const headers = { 'content-type': 'application/json' }
    const sized = await call('POST', '/v1/decode', { raw, headers: { ...headers, 'content-length': String(raw.length) } })
    expect((await problemOf(sized)).detail).toContain('65536 bytes')
    expect(await problemOf(await call('POST', '/v1/decode', { raw, headers }))).toMatchObject({ code: 'invalid_request' })
    expect(wallet.calls).toEqual([])
  })

  it('survives deep nesting and names that mean something to JavaScript', async () => {
    const { call } = testApi()
    const headers = { 'content-type': 'application/json' }
    const deep = `{"text":${'['.repeat(30_000)}${']'.repeat(30_000)}}`
    expect(Object.keys(await refusal(await call('POST', '/v1/decode', { raw: deep, headers })))).toEqual(['/text'])
    const proto = await call('POST', '/v1/decode', { raw: '{"text":"x","__proto__":{"admin":true}}', headers })
    expect([200, 400]).toContain(proto.status)
    expect(({} as { admin?: boolean }).admin).toBeUndefined()
  })
})

/** Path, a good body, and bad ones with the pointer that each must get. */
const BODIES: readonly [path: string, good: Record<string, unknown>, bad: readonly [Record<string, unknown>, string][]][] = [
  [
    '/v1/addresses',
    { type: 'p2tr' },
    [
      [{ type: 'p2sh' }, '/type'],
      [{ type: 5 }, '/type'],
    ],
  ],
  [
    '/v1/transactions',
    { address: 'bcrt1q', amountSat: 5000, feeratePerVbyte: 1.5 },
    [
      [{ address: '' }, '/address'],
      [{ address: 'a'.repeat(201) }, '/address'],
      [{ amountSat: -1 }, '/amountSat'],
      [{ amountSat: 0 }, '/amountSat'],
      [{ amountSat: 0.5 }, '/amountSat'],
      [{ amountSat: '5000' }, '/amountSat'],
      [{ amountSat: 2 ** 53 }, '/amountSat'],
      [{ amountSat: 2_100_000_000_000_001 }, '/amountSat'],
      [{ all: true }, '/amountSat'],
      [{ amountSat: undefined }, '/amountSat'],
      [{ amountSat: undefined, all: false }, '/all'],
      [{ feeratePerVbyte: 0.5 }, '/feeratePerVbyte'],
      [{ feeratePerVbyte: 10_001 }, '/feeratePerVbyte'],
    ],
  ],
  [
    '/v1/peers',
    { uri: `${NODE_ID}@[::1]:9735` },
    [
      [{ uri: NODE_ID }, '/uri'],
      [{ uri: `${NODE_ID}@host` }, '/uri'],
      [{ uri: `${NODE_ID}@host:70000` }, '/uri'],
      [{ uri: `${NODE_ID}@host:0` }, '/uri'],
      [{ uri: `05${NODE_ID.slice(2)}@host:1` }, '/uri'],
      [{ uri: `02${'00'.repeat(31)}05@host:1` }, '/uri'],
    ],
  ],
  [
    '/v1/channels',
    { nodeId: NODE_ID, capacitySat: 100_000, pushMsat: 0, announce: false, feeratePerVbyte: 2 },
    [
      [{ nodeId: NODE_ID.toUpperCase() }, '/nodeId'],
      [{ nodeId: `02${'00'.repeat(31)}05` }, '/nodeId'],
      [{ nodeId: undefined }, '/uri'],
      [{ uri: `${NODE_ID}@127.0.0.1:9735` }, '/uri'],
      [{ capacitySat: undefined }, '/capacitySat'],
      [{ capacitySat: 1.5 }, '/capacitySat'],
      [{ capacitySat: -5 }, '/capacitySat'],
      [{ capacitySat: 2 ** 53 }, '/capacitySat'],
      [{ pushMsat: -1 }, '/pushMsat'],
      [{ pushMsat: 2 ** 53 }, '/pushMsat'],
      [{ announce: 'yes' }, '/announce'],
    ],
  ],
  [
    `/v1/channels/${HASH}/close`,
    { force: true, address: 'bcrt1q', feeratePerVbyte: 1 },
    [
      [{ force: 1 }, '/force'],
      [{ address: 5 }, '/address'],
      [{ feeratePerVbyte: null }, '/feeratePerVbyte'],
    ],
  ],
  [
    '/v1/invoices',
    {
      amountMsat: 1,
      description: 'tea',
      expirySeconds: 60,
      hold: { paymentHash: HASH },
      metadata: { order: '7' },
      externalId: 'x',
    },
    [
      [{ amountMsat: 0 }, '/amountMsat'],
      [{ amountMsat: -1 }, '/amountMsat'],
      [{ amountMsat: 1.25 }, '/amountMsat'],
      [{ amountMsat: 2 ** 53 }, '/amountMsat'],
      [{ description: 'x'.repeat(640) }, '/description'],
      [{ description: '\u20bf'.repeat(220) }, '/description'],
      [{ expirySeconds: 0 }, '/expirySeconds'],
      [{ hold: {} }, '/hold/paymentHash'],
      [{ hold: { paymentHash: HASH.toUpperCase() } }, '/hold/paymentHash'],
      [{ hold: { paymentHash: HASH, preimage: HASH } }, '/hold/preimage'],
      [{ metadata: { order: 7 } }, '/metadata/order'],
      [{ metadata: { 'a/b~c': 7 } }, '/metadata/a~1b~0c'],
      [{ metadata: 'x' }, '/metadata'],
      [{ externalId: 'x'.repeat(201) }, '/externalId'],
    ],
  ],
  [
    `/v1/invoices/${HASH}/settle`,
    { preimage: HASH },
    [
      [{ preimage: HASH.slice(2) }, '/preimage'],
      [{ preimage: undefined }, '/preimage'],
    ],
  ],
  [
    '/v1/payments',
    { to: 'lnbcrt1', amountMsat: 1000, maxFeeMsat: 0, maxDelayBlocks: 144 },
    [
      [{ to: '' }, '/to'],
      [{ to: undefined }, '/to'],
      [{ amountMsat: -1 }, '/amountMsat'],
      [{ amountMsat: 0.1 }, '/amountMsat'],
      [{ amountMsat: 2 ** 53 }, '/amountMsat'],
      [{ amountMsat: Number.MAX_VALUE }, '/amountMsat'],
      [{ maxFeeMsat: -1 }, '/maxFeeMsat'],
      [{ maxFeeMsat: 2 ** 53 }, '/maxFeeMsat'],
      [{ maxDelayBlocks: 2017 }, '/maxDelayBlocks'],
    ],
  ],
  ['/v1/decode', { text: 'lnbcrt1' }, [[{ text: '' }, '/text']]],
]

describe('fields', () => {
  it.each(BODIES)('of POST %s', async (path, good, bad) => {
    const { call, wallet } = testApi()
    for (const [change, pointer] of bad)
      expect([change, Object.keys(await refusal(await call('POST', path, { body: { ...good, ...change } })))]).toEqual([
        change,
        [pointer],
      ])
    expect(await refusal(await call('POST', path, { body: { ...good, surplus: 1, more: 2 } }))).toEqual({
      '/surplus': 'unknown field',
      '/more': 'unknown field',
    })
    expect(wallet.calls).toEqual([])
    const answer = await call('POST', path, { body: good })
    expect(answer.status).toBeLessThan(300)
    expect(wallet.calls.length).toBe(1)
  })

  it('takes the largest amounts to the millisatoshi', async () => {
    const { call, wallet } = testApi()
    const amountMsat = Number.MAX_SAFE_INTEGER
    expect((await call('POST', '/v1/payments', { body: { to: 'x', amountMsat } })).status).toBe(202)
    expect(wallet.calls).toEqual([['pay', { to: 'x', amountMsat }, 0, undefined]])
    const raw = '{"to":"x","amountMsat":9007199254740993}'
    const answer = await call('POST', '/v1/payments', { raw, headers: { 'content-type': 'application/json' } })
    expect(Object.keys(await refusal(answer))).toEqual(['/amountMsat'])
  })

  it('refuses fields of cancel, which has none', async () => {
    const { call } = testApi()
    const path = `/v1/invoices/${HASH}/cancel`
    expect(await refusal(await call('POST', path, { body: { force: true } }))).toEqual({ '/force': 'unknown field' })
    expect(Object.keys(await refusal(await call('POST', path, { body: [] })))).toEqual([''])
  })

  it.each([
    ['GET', '/v1/transactions/xyz', 'path/txid'],
    ['GET', `/v1/transactions/${HASH.toUpperCase()}`, 'path/txid'],
    ['DELETE', '/v1/peers/abc', 'path/nodeId'],
    ['GET', '/v1/channels/1x2x3', 'path/channelId'],
    ['POST', '/v1/channels/1x2x3/close', 'path/channelId'],
    ['GET', '/v1/invoices/..%2f..', 'path/paymentHash'],
    ['POST', '/v1/invoices/x/settle', 'path/paymentHash'],
    ['POST', '/v1/invoices/x/cancel', 'path/paymentHash'],
    ['GET', '/v1/payments/a%20b', 'path/id'],
    ['GET', '/v1/payments/%ff', 'path/id'],
    ['GET', '/v1/payments?limit=0', 'query/limit'],
    ['GET', '/v1/payments?limit=501', 'query/limit'],
    ['GET', '/v1/payments?limit=ten', 'query/limit'],
    ['GET', '/v1/payments?limit=1.5', 'query/limit'],
    ['GET', '/v1/payments?limit=', 'query/limit'],
    ['GET', '/v1/payments?limit=5&limit=6', 'query/limit'],
    ['GET', `/v1/channels?cursor=${'x'.repeat(201)}`, 'query/cursor'],
    ['GET', '/v1/invoices?page=2', 'query/page'],
    ['GET', '/v1/events?after=x', 'query/after'],
    ['GET', '/v1/events?after=-1', 'query/after'],
    ['GET', '/v1/events?after=9999999999999999', 'query/after'],
  ])('%s %s: %s', async (method, path, pointer) => {
    const { call, wallet } = testApi()
    expect(Object.keys(await refusal(await call(method, path)))).toEqual([pointer])
    expect(wallet.calls).toEqual([])
  })

  it('lists fifty from the start unless told otherwise', async () => {
    const { call, wallet } = testApi()
    await call('GET', '/v1/payments')
    await call('GET', '/v1/payments?limit=2&cursor=c')
    expect(wallet.calls).toEqual([
      ['payments', { limit: 50 }],
      ['payments', { limit: 2, cursor: 'c' }],
    ])
  })
})

describe('problems', () => {
  it('never repeats what was sent', async () => {
    const { call } = testApi()
    const secret = 'abandon-zoo'
    const bodies = [
      ['/v1/invoices', { amountMsat: secret, description: { secret }, metadata: { k: { secret } } }],
      [`/v1/invoices/${HASH}/settle`, { preimage: secret }],
      ['/v1/payments', { to: { secret }, maxFeeMsat: secret }],
      ['/v1/addresses', { type: secret }],
    ] as const
    for (const [path, body] of bodies) {
      const answer = await call('POST', path, { body, headers: { 'idempotency-key': 'k' } })
      expect(answer.status).toBe(400)
      expect(await answer.text()).not.toContain(secret)
    }
    const text = await (await call('POST', '/v1/decode', { raw: secret, headers: { 'content-type': 'application/json' } })).text()
    expect(text).not.toContain(secret)
  })

  it('stays small however many fields are wrong and however long their names are', async () => {
    const { call } = testApi()
    const body = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`${i}${'n'.repeat(150)}`, 1]))
    const answer = await call('POST', '/v1/decode', { body })
    const text = await answer.clone().text()
    expect(text.length).toBeLessThan(4000)
    expect((await problemOf(answer)).errors?.length).toBeLessThanOrEqual(16)
  })

  it('tells a refusal of the wallet with its code', async () => {
    const { call, wallet } = testApi()
    wallet.fail.set('pay', new Problem('insufficient_balance', 'you have 5 sat; open a channel'))
    const answer = await call('POST', '/v1/payments', { body: { to: 'x' } })
    expect(await problemOf(answer)).toEqual({
      type: 'urn:leyden:problem:insufficient_balance',
      title: 'Insufficient balance',
      status: 422,
      detail: 'you have 5 sat; open a channel',
      code: 'insufficient_balance',
      retryable: true,
    })
  })

  it('has the status of the contract for each code', () => {
    const statuses = Object.fromEntries(PROBLEM_CODES.map((code) => [code, new Problem(code, 'x').status]))
    expect(statuses).toEqual({
      invalid_request: 400,
      unauthenticated: 401,
      payment_required: 402,
      insufficient_scope: 403,
      budget_exceeded: 403,
      not_found: 404,
      conflict: 409,
      already_paid: 409,
      in_flight: 409,
      invoice_expired: 410,
      idempotency_mismatch: 422,
      insufficient_balance: 422,
      no_route: 422,
      fee_too_high: 422,
      peer_offline: 422,
      channel_busy: 422,
      rate_limited: 429,
      internal: 500,
      syncing: 503,
    })
  })

  it('hides a fault from the caller and shows it to the log', async () => {
    const onFault = vi.fn<(error: unknown) => void>()
    const { call, wallet } = testApi({ onFault })
    const fault = new Error('disk: /private/path')
    wallet.fail.set('balance', fault)
    const answer = await call('GET', '/v1/balance')
    expect(await answer.clone().text()).not.toContain('private')
    expect(await problemOf(answer)).toMatchObject({ status: 500, code: 'internal' })
    expect(onFault.mock.calls).toEqual([[fault]])
  })

  it('knows no other routes and methods', async () => {
    const { call } = testApi()
    for (const [method, path] of [
      ['GET', '/'],
      ['GET', '/v1'],
      ['GET', '/v1/nothing'],
      ['PUT', '/v1/node'],
      ['DELETE', '/v1/payments/p1'],
      ['POST', '/health'],
    ] as const)
      expect(await problemOf(await call(method, path))).toMatchObject({ status: 404, code: 'not_found' })
  })
})

describe('Idempotency-Key', () => {
  const key = { 'idempotency-key': 'order-7' }
  const body = { to: 'lnbcrt1', amountMsat: 5 }

  it('gives the stored answer to the same request, and runs nothing', async () => {
    const { call, wallet } = testApi()
    const first = await call('POST', '/v1/payments', { body, headers: key })
    const second = await call('POST', '/v1/payments', { body: { amountMsat: 5, to: 'lnbcrt1' }, headers: key })
    expect([first.status, first.headers.get('idempotency-replayed')]).toEqual([202, null])
    expect([second.status, second.headers.get('idempotency-replayed')]).toEqual([202, 'true'])
    expect(await second.json()).toEqual(await first.json())
    expect(wallet.calls).toEqual([['pay', body, 0, 'order-7']])
  })

  it('refuses the key with another body or on another route', async () => {
    const { call, wallet } = testApi()
    await call('POST', '/v1/payments', { body, headers: key })
    for (const [path, other] of [
      ['/v1/payments', { ...body, amountMsat: 6 }],
      ['/v1/invoices', {}],
      [`/v1/channels/${HASH}/close`, undefined],
    ] as const)
      expect(await problemOf(await call('POST', path, { body: other, headers: key }))).toMatchObject({
        status: 422,
        code: 'idempotency_mismatch',
      })
    expect(wallet.calls.length).toBe(1)
  })

  it('answers 409 while the first request runs', async () => {
    const { call, wallet } = testApi()
    wallet.hold = true
    const first = call('POST', '/v1/payments', { body, headers: { ...key, prefer: 'wait=30' } })
    await soon(() => expect(wallet.calls.length).toBe(1))
    const second = await call('POST', '/v1/payments', { body, headers: key })
    expect(await problemOf(second)).toMatchObject({ status: 409, retryable: true })
    wallet.finish('succeeded')
    expect((await first).status).toBe(200)
    expect(wallet.calls.length).toBe(1)
  })

  it('keeps the key free after a refusal', async () => {
    const { call, wallet } = testApi()
    wallet.fail.set('pay', new Problem('no_route', 'no path'))
    expect((await call('POST', '/v1/payments', { body, headers: key })).status).toBe(422)
    wallet.fail.clear()
    const again = await call('POST', '/v1/payments', { body, headers: key })
    expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([202, null])
  })

  it('names the operation for everything that it makes', async () => {
    const { call, wallet } = testApi()
    await call('POST', '/v1/transactions', { body: { address: 'x', all: true }, headers: { 'idempotency-key': 'a' } })
    await call('POST', '/v1/channels', { body: { nodeId: NODE_ID, capacitySat: 9 }, headers: { 'idempotency-key': 'b' } })
    await call('POST', '/v1/invoices', { headers: { 'idempotency-key': 'c' } })
    expect(wallet.calls.map((args) => [args[0], args.at(-1)])).toEqual([
      ['send', 'a'],
      ['openChannel', 'b'],
      ['createInvoice', 'c'],
    ])
  })

  it('refuses a key that is empty, too long or not printable', async () => {
    const { call } = testApi()
    for (const bad of ['', 'x'.repeat(201), 'a b', 'caf\u00e9'])
      expect(
        Object.keys(await refusal(await call('POST', '/v1/payments', { body, headers: { 'idempotency-key': bad } }))),
      ).toEqual(['header/idempotency-key'])
  })
})

describe('Prefer', () => {
  it.each([
    ['wait=30', 30],
    ['respond-async, wait=10', 10],
    ['WAIT="5"', 5],
    ['wait=99999', 120],
    ['wait=-5', 0],
    ['wait=3.5', 0],
    ['await=5', 0],
    ['respond-async', 0],
  ])('%s waits %i s', async (prefer, seconds) => {
    const { call, wallet } = testApi()
    const answer = await call('POST', '/v1/payments', { body: { to: 'x' }, headers: { prefer } })
    expect(wallet.calls).toEqual([['pay', { to: 'x' }, seconds, undefined]])
    expect(answer.status).toBe(seconds > 0 ? 200 : 202)
  })
})
