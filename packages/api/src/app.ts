/**
 * The routes of the wallet API, declared once: each names its schema, and validator, OpenAPI and typed client follow from it.
 * No socket here; a service serves the app.
 */
import { type Context, Hono } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { streamSSE } from 'hono/streaming'
import { describeRoute, openAPIRouteHandler, resolver } from 'hono-openapi'
import type { z } from 'zod'
import { badField, Problem } from './problem.ts'
import { jsonBody, limitBody, noFields, once, preferredWait, valid } from './request.ts'
import * as s from './schema.ts'
import { bearer, sameHost } from './security.ts'
import type { WalletService } from './service.ts'

const HEARTBEAT_MS = 15_000

export interface ApiOptions {
  readonly service: WalletService
  readonly version: string
  /** Hostnames besides loopback under which the API is reached. */
  readonly allowedHosts?: readonly string[]
  /** Ends the event streams: the server is stopping. */
  readonly stopping?: AbortSignal
  /** A fault behind a request, for the log. The caller sees only that there was one. */
  readonly onFault?: (error: unknown) => void
}

const problemResponse = (problem: Problem): Response =>
  new Response(JSON.stringify(problem), {
    status: problem.status,
    headers: {
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      ...(problem.code === 'unauthenticated' ? { 'www-authenticate': 'Bearer' } : {}),
    },
  })

const problemContent = { 'application/problem+json': { schema: resolver(s.problemBody) } }

const IDEMPOTENCY_KEY = {
  name: 'Idempotency-Key',
  in: 'header',
  description: 'Same key and same body: the stored answer, with Idempotency-Replayed: true',
  schema: { type: 'string', pattern: '^[!-~]{1,200}$' },
} as const
const PREFER = {
  name: 'Prefer',
  in: 'header',
  description: '`wait=30` waits up to 30 seconds for the outcome (120 at the most)',
  schema: { type: 'string' },
} as const
const LAST_EVENT_ID = {
  name: 'Last-Event-ID',
  in: 'header',
  description: 'The last event that the caller has; goes before ?after=',
  schema: { type: 'string', pattern: '^[0-9]{1,15}$' },
} as const

interface Doc {
  readonly status?: number | readonly number[]
  readonly parameters?: readonly (typeof IDEMPOTENCY_KEY | typeof PREFER | typeof LAST_EVENT_ID)[]
  readonly mediaType?: string
  /** Needs no token. */
  readonly open?: boolean
}

/** What a route is for, in the document. */
const doc = (tag: string, summary: string, schema: z.ZodType | undefined, options: Doc = {}) => {
  const { status = 200, parameters = [], mediaType = 'application/json', open = false } = options
  const answer = {
    description: 'OK',
    ...(schema === undefined ? {} : { content: { [mediaType]: { schema: resolver(schema) } } }),
  }
  return describeRoute({
    tags: [tag],
    summary,
    ...(parameters.length === 0 ? {} : { parameters: parameters.map((parameter) => ({ ...parameter })) }),
    ...(open ? { security: [] } : {}),
    responses: {
      ...Object.fromEntries([status].flat().map((one) => [one, answer])),
      default: { description: 'A refusal', content: problemContent },
    },
  })
}
const moves = (status: number | readonly number[]): Doc => ({ status, parameters: [IDEMPOTENCY_KEY] })

/** The event that the caller has last, from the header that browsers send by themselves, else from the query. */
const lastEvent = (c: Context, after: string | undefined): string | undefined => {
  const header = c.req.header('last-event-id')
  if (header === undefined || header === '') return after
  if (!s.eventId.safeParse(header).success) throw badField('header/last-event-id', 'the id of an event')
  return header
}

export const createApi = ({ service, version, allowedHosts = [], stopping, onFault }: ApiOptions) => {
  const v1 = new Hono()
    .use(bearer(service))
    .use(async (c, next) => {
      await next()
      c.res.headers.set('cache-control', 'no-store')
    })
    .use(jsonBody)
    .get('/node', doc('system', 'This node', s.node), async (c) => c.json(await service.node()))
    // on-chain
    .get('/balance', doc('on-chain', 'Balances, on chain and in channels', s.balance), async (c) =>
      c.json(await service.balance()),
    )
    .post('/addresses', doc('on-chain', 'A new address', s.address, { status: 201 }), valid('json', s.newAddress), async (c) =>
      c.json(await service.newAddress(c.req.valid('json').type), 201),
    )
    .get('/addresses', doc('on-chain', 'Addresses given out', s.page(s.address)), valid('query', s.pageQuery), async (c) =>
      c.json(await service.addresses(c.req.valid('query'))),
    )
    .get('/utxos', doc('on-chain', 'Unspent outputs', s.page(s.utxo)), async (c) => c.json(await service.utxos()))
    .get('/fees', doc('on-chain', 'Fee rates of the moment', s.fees), async (c) => c.json(await service.fees()))
    .post('/transactions', doc('on-chain', 'Send on chain', s.transaction, moves(201)), valid('json', s.sendTransaction), (c) => {
      const body = c.req.valid('json')
      return once(c, service, body, async (reference) => ({ status: 201, body: await service.send(body, reference) }))
    })
    .get('/transactions', doc('on-chain', 'Transactions', s.page(s.transaction)), valid('query', s.pageQuery), async (c) =>
      c.json(await service.transactions(c.req.valid('query'))),
    )
    .get('/transactions/:txid', doc('on-chain', 'One transaction', s.transaction), valid('param', s.txidParam), async (c) =>
      c.json(await service.transaction(c.req.valid('param').txid)),
    )
    // peers
    .post('/peers', doc('peers', 'Connect to a peer', s.peer, { status: 201 }), valid('json', s.connectPeer), async (c) =>
      c.json(await service.connectPeer(c.req.valid('json').uri), 201),
    )
    .get('/peers', doc('peers', 'Peers', s.page(s.peer)), async (c) => c.json(await service.peers()))
    .delete(
      '/peers/:nodeId',
      doc('peers', 'Disconnect from a peer', undefined, { status: 204 }),
      valid('param', s.nodeIdParam),
      async (c) => {
        await service.disconnectPeer(c.req.valid('param').nodeId)
        return c.body(null, 204)
      },
    )
    // channels
    .post('/channels', doc('channels', 'Open a channel', s.channel, moves(201)), valid('json', s.openChannel), (c) => {
      const body = c.req.valid('json')
      return once(c, service, body, async (reference) => ({ status: 201, body: await service.openChannel(body, reference) }))
    })
    .get('/channels', doc('channels', 'Channels', s.page(s.channel)), valid('query', s.pageQuery), async (c) =>
      c.json(await service.channels(c.req.valid('query'))),
    )
    .get('/channels/:channelId', doc('channels', 'One channel', s.channel), valid('param', s.channelIdParam), async (c) =>
      c.json(await service.channel(c.req.valid('param').channelId)),
    )
    .post(
      '/channels/:channelId/close',
      doc('channels', 'Close a channel', s.channel, moves(202)),
      valid('param', s.channelIdParam),
      valid('json', s.closeChannel),
      (c) => {
        const body = c.req.valid('json')
        return once(c, service, body, async () => ({
          status: 202,
          body: await service.closeChannel(c.req.valid('param').channelId, body),
        }))
      },
    )
    // receive
    .post('/invoices', doc('receive', 'Create an invoice', s.invoice, moves(201)), valid('json', s.createInvoice), (c) => {
      const body = c.req.valid('json')
      return once(c, service, body, async (reference) => ({
        status: 201,
        body: await service.createInvoice(body, reference),
      }))
    })
    .get('/invoices', doc('receive', 'Invoices', s.page(s.invoice)), valid('query', s.pageQuery), async (c) =>
      c.json(await service.invoices(c.req.valid('query'))),
    )
    .get('/invoices/:paymentHash', doc('receive', 'One invoice', s.invoice), valid('param', s.paymentHashParam), async (c) =>
      c.json(await service.invoice(c.req.valid('param').paymentHash)),
    )
    .post(
      '/invoices/:paymentHash/settle',
      doc('receive', 'Settle a held invoice', s.invoice),
      valid('param', s.paymentHashParam),
      valid('json', s.settleInvoice),
      async (c) => c.json(await service.settleInvoice(c.req.valid('param').paymentHash, c.req.valid('json').preimage)),
    )
    .post(
      '/invoices/:paymentHash/cancel',
      doc('receive', 'Cancel an invoice', s.invoice),
      valid('param', s.paymentHashParam),
      noFields,
      async (c) => c.json(await service.cancelInvoice(c.req.valid('param').paymentHash)),
    )
    // send
    .post(
      '/payments',
      doc('send', 'Pay; 202 while in flight, see `Prefer: wait=30`', s.payment, {
        status: [200, 202],
        parameters: [IDEMPOTENCY_KEY, PREFER],
      }),
      valid('json', s.createPayment),
      (c) => {
        const body = c.req.valid('json')
        return once(c, service, body, async (reference) => {
          const payment = await service.pay(body, preferredWait(c), reference)
          return { status: payment.status === 'inFlight' ? 202 : 200, body: payment }
        })
      },
    )
    .get('/payments', doc('send', 'Payments', s.page(s.payment)), valid('query', s.pageQuery), async (c) =>
      c.json(await service.payments(c.req.valid('query'))),
    )
    .get('/payments/:id', doc('send', 'One payment', s.payment), valid('param', s.paymentIdParam), async (c) =>
      c.json(await service.payment(c.req.valid('param').id)),
    )
    .post('/decode', doc('send', 'What a payment text says', s.decoded), valid('json', s.decodeRequest), async (c) =>
      c.json(await service.decode(c.req.valid('json').text)),
    )
    // network
    .get('/graph', doc('network', 'The channel graph as this node knows it', s.graphSummary), async (c) =>
      c.json(await service.graph()),
    )
    // events
    .get(
      '/events',
      doc('events', 'Server-sent events, resumable; over WebSocket on the same path', s.event, {
        mediaType: 'text/event-stream',
        parameters: [LAST_EVENT_ID],
      }),
      valid('query', s.eventsQuery),
      (c) => {
        const after = lastEvent(c, c.req.valid('query').after)
        if (c.req.method === 'HEAD') return c.body(null)
        return streamSSE(c, async (stream) => {
          const abort = new AbortController()
          stream.onAbort(() => abort.abort())
          const signal = stopping === undefined ? abort.signal : AbortSignal.any([abort.signal, stopping])
          const heartbeat = setInterval(() => void stream.write(': heartbeat\n\n'), HEARTBEAT_MS)
          try {
            await stream.write(': open\n\n')
            for await (const event of service.events(after, signal))
              await stream.writeSSE({ id: event.id, event: event.type, data: JSON.stringify(event) })
          } catch (error) {
            onFault?.(error) // the caller sees the stream end, and resumes
          } finally {
            clearInterval(heartbeat)
          }
        })
      },
    )

  const app = new Hono()
    .use(sameHost(allowedHosts))
    .use(limitBody)
    .get('/health', doc('system', 'The process is alive', s.health, { open: true }), (c) =>
      c.json({ status: 'ok' as const, uptimeSeconds: service.uptimeSeconds() }),
    )
    .get('/ready', doc('system', 'The node is in step with the ledger', s.ready, { status: [200, 503], open: true }), (c) => {
      const state = service.ready()
      return c.json(state, state.ready ? 200 : 503)
    })
    .route('/v1', v1)

  app.get(
    '/openapi.json',
    doc('system', 'This document', undefined, { open: true }),
    openAPIRouteHandler(app, {
      documentation: {
        openapi: '3.1.0',
        info: { title: 'Leyden wallet API', version, description: 'A Lightning node: channels, payments and the chain wallet.' },
        components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
        security: [{ token: [] }],
      },
      defaultValidationErrorResponse: false,
      excludeStaticFile: false,
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
