/**
 * Resources and requests of the wallet API, declared once: validator, OpenAPI and client types come from here.
 * Amounts are JSON integers with the unit in the name, up to 2^53-1; bytes lower-case hex; times RFC 3339. Unknown fields are refused.
 */
import { hexToBytes, utf8Encode } from '@leyden/codec'
import { isValidPoint } from '@leyden/crypto'
import { z } from 'zod'
import { PROBLEM_CODES } from './problem.ts'

const hexOf = (bytes: number, what: string) =>
  z.string().regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`), `${what}: ${2 * bytes} lower-case hex digits`)

const amount = z.int().min(0)
const positive = z.int().min(1)
/** Satoshi that a request names: no more than there will ever be. */
const satoshi = positive.max(2_100_000_000_000_000)
export const hash32 = hexOf(32, 'a hash or id')
const NODE_ID = /^0[23][0-9a-f]{64}$/
export const nodeId = z.string().regex(NODE_ID, 'a node id: 66 lower-case hex digits that begin with 02 or 03')
const onCurve = (id: string): boolean => !NODE_ID.test(id) || isValidPoint(hexToBytes(id))
const NOT_ON_CURVE = { message: 'no node has this id: it is not a point on the curve' }
const inRange = (port: number): boolean => port >= 1 && port <= 65_535
/** The node id of a request. */
const realNodeId = nodeId.refine(onCurve, NOT_ON_CURVE)
export const peerUri = z
  .string()
  .max(400)
  .regex(/^0[23][0-9a-f]{64}@(\[[0-9a-fA-F:]+\]|(ws:)?[^@:[\]\s]+):\d{1,5}$/, 'nodeid@host:port')
  .refine((uri) => onCurve(uri.slice(0, 66)), NOT_ON_CURVE)
  .refine((uri) => inRange(Number(uri.slice(uri.lastIndexOf(':') + 1))), { message: 'a port is 1 to 65535' })
const time = z.iso.datetime()
const feeratePerVbyte = z.number().min(1).max(10_000)

export const problemBody = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  code: z.enum(PROBLEM_CODES as [string, ...string[]]),
  retryable: z.boolean(),
  errors: z.array(z.object({ pointer: z.string(), message: z.string() })).optional(),
})

/** `{data, nextCursor}`, newest first. */
export const page = <T extends z.ZodType>(item: T) => z.object({ data: z.array(item), nextCursor: z.string().nullable() })
export const pageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(500).default(50),
  cursor: z.string().max(200).optional(),
})
export type PageQuery = z.output<typeof pageQuery>

// path parameters
export const txidParam = z.strictObject({ txid: hexOf(32, 'a transaction id') })
export const nodeIdParam = z.strictObject({ nodeId })
export const channelIdParam = z.strictObject({ channelId: hexOf(32, 'a channel id') })
export const paymentHashParam = z.strictObject({ paymentHash: hexOf(32, 'a payment hash') })
export const paymentIdParam = z.strictObject({ id: z.string().regex(/^[\w-]{1,128}$/, 'the id of a payment') })

// system
export const health = z.object({ status: z.literal('ok'), uptimeSeconds: amount })
export const ready = z.object({ ready: z.boolean(), reason: z.string().optional() })
export const node = z.object({
  nodeId,
  alias: z.string(),
  network: z.string(),
  blockHeight: amount,
  synced: z.boolean(),
  addresses: z.array(z.string()),
  features: z.array(z.string()),
  version: z.string(),
})
export type Node = z.infer<typeof node>

// on-chain
export const balance = z.object({
  onchain: z.object({
    confirmedSat: amount,
    unconfirmedSat: amount,
    lockedSat: amount,
    immatureSat: amount,
    spendableSat: amount,
  }),
  channels: z.object({ localMsat: amount, remoteMsat: amount, pendingMsat: amount, canSendMsat: amount, canReceiveMsat: amount }),
  /** In closing transactions, on the way back to the wallet. */
  closingSat: amount,
})
export type Balance = z.infer<typeof balance>
export const newAddress = z.strictObject({ type: z.enum(['p2wpkh', 'p2tr']).default('p2wpkh') })
export const address = z.object({ address: z.string(), type: z.enum(['p2wpkh', 'p2tr']), index: amount, used: z.boolean() })
export type Address = z.infer<typeof address>
export const utxo = z.object({
  txid: hash32,
  vout: amount,
  valueSat: amount,
  address: z.string(),
  confirmations: amount,
  lockedBy: z.string().optional(),
})
export type Utxo = z.infer<typeof utxo>
export const sendTransaction = z
  .strictObject({
    address: z.string().min(1).max(200),
    amountSat: satoshi.optional(),
    all: z.literal(true).optional(),
    feeratePerVbyte: feeratePerVbyte.optional(),
  })
  .refine((body) => (body.amountSat === undefined) !== (body.all === undefined), {
    message: 'give either amountSat or all',
    path: ['amountSat'],
  })
export type SendTransaction = z.output<typeof sendTransaction>
export const transaction = z.object({
  txid: hash32,
  /** `replaced`: another transaction has taken what it, or one that it stands on, would spend. It does not count, unless it gets mined. */
  status: z.enum(['pending', 'confirmed', 'replaced']),
  /** What the wallet gained, fee included when we paid it; negative for a send. Of a replaced one: would have. */
  netSat: z.int(),
  feeSat: amount.optional(),
  blockHeight: amount.optional(),
  confirmations: amount,
  label: z.string().optional(),
  /** Of a replaced one: the transaction in the chain that took its place, when the wallet has seen it. */
  replacedBy: hash32.optional(),
  seenAt: time,
  hex: z.string(),
})
export type Transaction = z.infer<typeof transaction>
export const fees = z.object({
  fastPerVbyte: z.number(),
  normalPerVbyte: z.number(),
  slowPerVbyte: z.number(),
  minimumPerVbyte: z.number(),
})
export type Fees = z.infer<typeof fees>

// peers
export const connectPeer = z.strictObject({ uri: peerUri })
export const peer = z.object({
  nodeId,
  alias: z.string().optional(),
  address: z.string().optional(),
  connected: z.boolean(),
  inbound: z.boolean(),
  channels: amount,
  features: z.array(z.string()),
})
export type Peer = z.infer<typeof peer>

// channels
export const openChannel = z
  .strictObject({
    uri: peerUri.optional(),
    nodeId: realNodeId.optional(),
    capacitySat: satoshi,
    pushMsat: amount.optional(),
    announce: z.boolean().default(true),
    feeratePerVbyte: feeratePerVbyte.optional(),
  })
  .refine((body) => (body.uri === undefined) !== (body.nodeId === undefined), {
    message: 'give either uri or nodeId',
    path: ['uri'],
  })
export type OpenChannel = z.output<typeof openChannel>
export const closeChannel = z.strictObject({
  force: z.boolean().default(false),
  address: z.string().min(1).max(200).optional(),
  feeratePerVbyte: feeratePerVbyte.optional(),
})
export type CloseChannel = z.output<typeof closeChannel>
export const channelHtlc = z.object({
  direction: z.enum(['outgoing', 'incoming']),
  id: amount,
  amountMsat: amount,
  paymentHash: hash32,
  cltvExpiry: amount,
})
export const channel = z.object({
  channelId: hash32,
  shortChannelId: z.string().optional(),
  peer: z.object({ nodeId, alias: z.string().optional(), connected: z.boolean() }),
  state: z.enum(['opening', 'normal', 'shuttingDown', 'closing', 'closed']),
  /** The exact phase of BOLT 2 and 5, for those who want it. */
  detail: z.string(),
  capacitySat: amount,
  localMsat: amount,
  remoteMsat: amount,
  canSendMsat: amount,
  canReceiveMsat: amount,
  localReserveSat: amount,
  remoteReserveSat: amount,
  /** Why each satoshi that cannot be spent is held. */
  held: z.array(z.object({ amountMsat: amount, reason: z.string() })),
  htlcs: z.array(channelHtlc),
  fundingTxid: hash32.optional(),
  fundingVout: amount.optional(),
  confirmations: amount,
  /** Another transaction in the chain takes what the funding needs: nothing of the channel counts, and at this height it ends for good. */
  fundingConflict: z.object({ txid: hash32, height: amount, finalAtHeight: amount }).optional(),
  feeratePerKw: amount,
  announced: z.boolean(),
  opener: z.enum(['local', 'remote']),
  channelType: z.string(),
  /** The transaction that closes it: the one in the chain, else the last that was agreed on, published or seen. */
  closeTxid: hash32.optional(),
  closeKind: z.string().optional(),
  error: z.string().optional(),
})
export type Channel = z.infer<typeof channel>

// receive
export const createInvoice = z.strictObject({
  amountMsat: positive.optional(),
  description: z
    .string()
    .max(639)
    .refine((text) => utf8Encode(text).length <= 639, { message: 'at most 639 bytes of UTF-8' })
    .default(''),
  expirySeconds: z.int().min(1).max(31_536_000).optional(),
  hold: z.strictObject({ paymentHash: hash32 }).optional(),
  metadata: z.record(z.string().max(64), z.string().max(1000)).optional(),
  externalId: z.string().max(200).optional(),
})
export type CreateInvoice = z.output<typeof createInvoice>
export const settleInvoice = z.strictObject({ preimage: hash32 })
export const invoice = z.object({
  paymentHash: hash32,
  bolt11: z.string(),
  status: z.enum(['open', 'accepted', 'settled', 'expired', 'canceled']),
  amountMsat: amount.optional(),
  receivedMsat: amount.optional(),
  description: z.string(),
  hold: z.boolean(),
  preimage: hash32.optional(),
  createdAt: time,
  expiresAt: time,
  settledAt: time.optional(),
  metadata: z.record(z.string(), z.string()).optional(),
  externalId: z.string().optional(),
})
export type Invoice = z.infer<typeof invoice>

// send
export const createPayment = z.strictObject({
  to: z.string().min(1).max(7089),
  amountMsat: positive.optional(),
  maxFeeMsat: amount.optional(),
  maxDelayBlocks: positive.max(2016).optional(),
})
export type CreatePayment = z.output<typeof createPayment>
export const attempt = z.object({
  status: z.enum(['inFlight', 'succeeded', 'failed']),
  amountMsat: amount,
  feeMsat: amount,
  hops: z.array(z.object({ nodeId, shortChannelId: z.string(), amountMsat: amount, feeMsat: amount })),
  failureCode: z.string().optional(),
  failingHop: amount.optional(),
})
export const payment = z.object({
  id: z.string(),
  paymentHash: hash32,
  status: z.enum(['inFlight', 'succeeded', 'failed']),
  amountMsat: amount,
  feeMsat: amount.optional(),
  preimage: hash32.optional(),
  destination: nodeId,
  description: z.string().optional(),
  attempts: z.array(attempt),
  failure: z.object({ code: z.string(), detail: z.string() }).optional(),
  createdAt: time,
  endedAt: time.optional(),
})
export type Payment = z.infer<typeof payment>
export const decodeRequest = z.strictObject({ text: z.string().min(1).max(7089) })
export const decoded = z.union([
  z.object({
    kind: z.literal('bolt11'),
    network: z.string(),
    paymentHash: hash32,
    amountMsat: amount.optional(),
    description: z.string().optional(),
    descriptionHash: hash32.optional(),
    payee: nodeId,
    createdAt: time,
    expiresAt: time,
    expired: z.boolean(),
    minFinalCltvExpiryDelta: amount,
    features: z.array(z.string()),
    routeHints: amount,
  }),
  z.object({ kind: z.literal('address'), network: z.string(), address: z.string(), type: z.string() }),
  z.object({ kind: z.literal('node'), nodeId, uri: z.string().optional() }),
])
export type Decoded = z.infer<typeof decoded>

// network
export const graphSummary = z.object({ nodes: amount, channels: amount, policies: amount })
export type GraphSummary = z.infer<typeof graphSummary>

// events
export const EVENT_TYPES = [
  'invoice.created',
  'invoice.accepted',
  'invoice.settled',
  'invoice.expired',
  'invoice.canceled',
  'payment.inFlight',
  'payment.succeeded',
  'payment.failed',
  'channel.opening',
  'channel.ready',
  'channel.closing',
  'channel.closed',
  'peer.connected',
  'peer.disconnected',
  'transaction.seen',
  'transaction.confirmed',
  'transaction.reorged',
  'transaction.replaced',
  'chain.tip',
] as const
export type EventType = (typeof EVENT_TYPES)[number]
export const event = z.object({
  id: z.string(),
  type: z.enum(EVENT_TYPES),
  createdAt: time,
  data: z.record(z.string(), z.unknown()),
})
/** Ids of events are decimal and grow. */
export const eventId = z.string().regex(/^\d{1,15}$/, 'the id of an event')
export const eventsQuery = z.strictObject({ after: eventId.optional() })
export type ApiEvent = z.infer<typeof event>
