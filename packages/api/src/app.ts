/**
 * The routes of the wallet API, declared once: each names its schema, and validator, OpenAPI and typed client follow from it.
 * No socket here; a service serves the app.
 */
import { sha256 } from '@leyden/crypto'
import { bytesToHex, utf8Encode } from '@leyden/codec'
import { type Context, Hono, type TypedResponse } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { HTTPException } from 'hono/http-exception'
import { streamSSE } from 'hono/streaming'
import { describeRoute, openAPIRouteHandler, resolver, validator } from 'hono-openapi'
import type { z } from 'zod'
import { badField, Problem } from './problem.ts'
import * as s from './schema.ts'
import { bearer, sameHost } from './security.ts'
import type { IdempotentAnswer, WalletService } from './service.ts'

const HEARTBEAT_MS = 15_000
const MAX_BODY_BYTES = 64 * 1024
const MAX_WAIT_SECONDS = 120

export interface ApiOptions {
  readonly service: WalletService
  readonly version: string
  /** Hostnames besides loopback under which the API is reached. */
  readonly allowedHosts?: readonly string[]
  /** A fault behind a request, for the log. The caller sees only that there was one. */
  readonly onFault?: (error: unknown) => void
}

const problemResponse = (problem: Problem): Response =>
  new Response(JSON.stringify(problem), {
    status: problem.status,
    headers: {
      'content-type': 'application/problem+json',
      ...(problem.code === 'unauthenticated' ? { 'www-authenticate': 'Bearer' } : {}),
    },
  })

interface Issue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
  readonly keys?: readonly string[]
}

const pointerOf = (target: string, issue: Issue): string => {
  const path = (issue.path ?? []).map((part) => String(typeof part === 'object' ? part.key : part))
  if (issue.keys?.[0] !== undefined) path.push(issue.keys[0])
  return target === 'json' ? `/${path.join('/')}` : `${target}/${path.join('/')}`
}

/** A validator that answers problem+json, names the fields and never echoes the input. */
const valid = <Target extends 'json' | 'query' | 'param', Schema extends z.ZodType>(target: Target, schema: Schema) =>
  validator(target, schema, (result) => {
    if (result.success) return
    const errors = result.error.map((issue) => ({
      pointer: pointerOf(target, issue as Issue),
      message: (issue as Issue).message,
    }))
    throw new Problem('invalid_request', errors.map((error) => `${error.pointer}: ${error.message}`).join('; '), errors)
  })

const problemContent = { 'application/problem+json': { schema: resolver(s.problemBody) } }

/** What a route is for, in the document. */
const doc = (tag: string, summary: string, schema: z.ZodType | undefined, status = 200) =>
  describeRoute({
    tags: [tag],
    summary,
    responses: {
      [status]: {
        description: 'OK',
        ...(schema === undefined ? {} : { content: { 'application/json': { schema: resolver(schema) } } }),
      },
      default: { description: 'A refusal', content: problemContent },
    },
  })

const json = <T>(body: T, status: number, headers: Record<string, string> = {}): Response & TypedResponse<T> =>
  Response.json(body, { status, headers }) as Response & TypedResponse<T>

/** Runs a money-moving request under its Idempotency-Key, if it has one. */
const once = async <T>(
  c: Context,
  service: WalletService,
  body: unknown,
  run: (reference: string | undefined) => Promise<IdempotentAnswer & { readonly body: T }>,
): Promise<Response & TypedResponse<T>> => {
  const key = c.req.header('idempotency-key')
  if (key === undefined) {
    const answer = await run(undefined)
    return json(answer.body, answer.status)
  }
  if (!/^[!-~]{1,200}$/.test(key)) throw badField('header/idempotency-key', '1 to 200 printable characters')
  const fingerprint = bytesToHex(sha256(utf8Encode(`${c.req.method} ${c.req.path}\n${JSON.stringify(body)}`)))
  const answer = await service.idempotent(key, fingerprint, () => run(key))
  return json(answer.body as T, answer.status, answer.replayed ? { 'idempotency-replayed': 'true' } : {})
}

/** RFC 7240 `Prefer: wait=30`, in seconds; 0 without it. */
const preferredWait = (c: Context): number => {
  const wait = /(?:^|[,;\s])wait=(\d{1,6})/.exec(c.req.header('prefer') ?? '')?.[1]
  return wait === undefined ? 0 : Math.min(Number(wait), MAX_WAIT_SECONDS)
}

export const createApi = ({ service, version, allowedHosts = [], onFault }: ApiOptions) => {
  const v1 = new Hono()
    .use(bearer(service))
    .get('/node', doc('system', 'This node', s.node), async (c) => c.json(await service.node()))
    // on-chain
    .get('/balance', doc('on-chain', 'Balances, on chain and in channels', s.balance), async (c) =>
      c.json(await service.balance()),
    )
    .post('/addresses', doc('on-chain', 'A new address', s.address, 201), valid('json', s.newAddress), async (c) =>
      c.json(await service.newAddress(c.req.valid('json').type), 201),
    )
    .get('/addresses', doc('on-chain', 'Addresses given out', s.page(s.address)), valid('query', s.pageQuery), async (c) =>
      c.json(await service.addresses(c.req.valid('query'))),
    )
    .get('/utxos', doc('on-chain', 'Unspent outputs', s.page(s.utxo)), async (c) => c.json(await service.utxos()))
    .get('/fees', doc('on-chain', 'Fee rates of the moment', s.fees), async (c) => c.json(await service.fees()))
    .post('/transactions', doc('on-chain', 'Send on chain', s.transaction, 201), valid('json', s.sendTransaction), (c) => {
      const body = c.req.valid('json')
      return once(c, service, body, async (reference) => ({ status: 201, body: await service.send(body, reference) }))
    })
    .get('/transactions', doc('on-chain', 'Transactions', s.page(s.transaction)), valid('query', s.pageQuery), async (c) =>
      c.json(await service.transactions(c.req.valid('query'))),
    )
    .get('/transactions/:txid', doc('on-chain', 'One transaction', s.transaction), async (c) =>
      c.json(await service.transaction(c.req.param('txid'))),
    )
    // peers
    .post('/peers', doc('peers', 'Connect to a peer', s.peer, 201), valid('json', s.connectPeer), async (c) =>
      c.json(await service.connectPeer(c.req.valid('json').uri), 201),
    )
    .get('/peers', doc('peers', 'Peers', s.page(s.peer)), async (c) => c.json(await service.peers()))
    .delete('/peers/:nodeId', doc('peers', 'Disconnect from a peer', undefined, 204), async (c) => {
      await service.disconnectPeer(c.req.param('nodeId'))
      return c.body(null, 204)
    })
    // channels
    .post('/channels', doc('channels', 'Open a channel', s.channel, 201), valid('json', s.openChannel), (c) => {
      const body = c.req.valid('json')
      return once(c, service, body, async (reference) => ({ status: 201, body: await service.openChannel(body, reference) }))
    })
    .get('/channels', doc('channels', 'Channels', s.page(s.channel)), valid('query', s.pageQuery), async (c) =>
      c.json(await service.channels(c.req.valid('query'))),
    )
    .get('/channels/:channelId', doc('channels', 'One channel', s.channel), async (c) =>
      c.json(await service.channel(c.req.param('channelId'))),
    )
    .post(
      '/channels/:channelId/close',
      doc('channels', 'Close a channel', s.channel, 202),
      valid('json', s.closeChannel),
      (c) => {
        const body = c.req.valid('json')
        return once(c, service, body, async () => ({
          status: 202,
          body: await service.closeChannel(c.req.param('channelId'), body),
        }))
      },
    )
    // receive
    .post('/invoices', doc('receive', 'Create an invoice', s.invoice, 201), valid('json', s.createInvoice), (c) => {
      const body = c.req.valid('json')
      return once(c, service, body, async () => ({ status: 201, body: await service.createInvoice(body) }))
    })
    .get('/invoices', doc('receive', 'Invoices', s.page(s.invoice)), valid('query', s.pageQuery), async (c) =>
      c.json(await service.invoices(c.req.valid('query'))),
    )
    .get('/invoices/:paymentHash', doc('receive', 'One invoice', s.invoice), async (c) =>
      c.json(await service.invoice(c.req.param('paymentHash'))),
    )
    .post(
      '/invoices/:paymentHash/settle',
      doc('receive', 'Settle a held invoice', s.invoice),
      valid('json', s.settleInvoice),
      async (c) => c.json(await service.settleInvoice(c.req.param('paymentHash'), c.req.valid('json').preimage)),
    )
    .post('/invoices/:paymentHash/cancel', doc('receive', 'Cancel an invoice', s.invoice), async (c) =>
      c.json(await service.cancelInvoice(c.req.param('paymentHash'))),
    )
    // send
    .post(
      '/payments',
      doc('send', 'Pay; 202 while in flight, see `Prefer: wait=30`', s.payment, 202),
      valid('json', s.createPayment),
      (c) => {
        const body = c.req.valid('json')
        return once(c, service, body, async () => {
          const payment = await service.pay(body, preferredWait(c))
          return { status: payment.status === 'inFlight' ? 202 : 200, body: payment }
        })
      },
    )
    .get('/payments', doc('send', 'Payments', s.page(s.payment)), valid('query', s.pageQuery), async (c) =>
      c.json(await service.payments(c.req.valid('query'))),
    )
    .get('/payments/:id', doc('send', 'One payment', s.payment), async (c) => c.json(await service.payment(c.req.param('id'))))
    .post('/decode', doc('send', 'What a payment text says', s.decoded), valid('json', s.decodeRequest), async (c) =>
      c.json(await service.decode(c.req.valid('json').text)),
    )
    // network
    .get('/graph', doc('network', 'The channel graph as this node knows it', s.graphSummary), async (c) =>
      c.json(await service.graph()),
    )
    // events
    .get('/events', doc('events', 'Server-sent events, resumable by Last-Event-ID or ?after=', undefined), (c) => {
      const after = c.req.header('last-event-id') ?? c.req.query('after')
      if (after !== undefined && !/^\d{1,16}$/.test(after)) throw badField('query/after', 'an event id')
      return streamSSE(c, async (stream) => {
        const abort = new AbortController()
        stream.onAbort(() => abort.abort())
        const heartbeat = setInterval(() => void stream.write(': heartbeat\n\n'), HEARTBEAT_MS)
        try {
          await stream.write(': open\n\n')
          for await (const event of service.events(after, abort.signal))
            await stream.writeSSE({ id: event.id, event: event.type, data: JSON.stringify(event) })
        } finally {
          clearInterval(heartbeat)
        }
      })
    })

  const app = new Hono()
    .use(sameHost(allowedHosts))
    .use(
      bodyLimit({
        maxSize: MAX_BODY_BYTES,
        onError: () => {
          throw new Problem('invalid_request', `the body is larger than ${MAX_BODY_BYTES} bytes`)
        },
      }),
    )
    .get('/health', doc('system', 'The process is alive', s.health), (c) =>
      c.json({ status: 'ok' as const, uptimeSeconds: service.uptimeSeconds() }),
    )
    .get('/ready', doc('system', 'The node is in step with the ledger', s.ready), (c) => {
      const state = service.ready()
      return c.json(state, state.ready ? 200 : 503)
    })
    .route('/v1', v1)

  app.get(
    '/openapi.json',
    openAPIRouteHandler(app, {
      documentation: {
        openapi: '3.1.0',
        info: { title: 'Leyden wallet API', version, description: 'A Lightning node: channels, payments and the chain wallet.' },
        components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
        security: [{ token: [] }],
      },
    }),
  )
  app.notFound(() => problemResponse(new Problem('not_found', 'no such endpoint; /openapi.json lists them')))
  app.onError((error) => {
    if (error instanceof Problem) return problemResponse(error)
    if (error instanceof HTTPException && error.status < 500)
      return problemResponse(new Problem('invalid_request', error.message.slice(0, 200)))
    onFault?.(error)
    return problemResponse(new Problem('internal', 'the node met a fault; its log has the details'))
  })
  return app
}

export type Api = ReturnType<typeof createApi>
