/**
 * What the payment machines may know besides records and input, and what they give back. No clock, no randomness: both are in here.
 */
import type { BlockHeight } from '@leyden/bitcoin'
import type { ChannelId, NodeId, ShortChannelId } from '@leyden/lnwire'
import type { Edge, Route, RouteRequest } from '@leyden/routing'
import type { SignInvoice } from './bolt11.ts'
import type { ChannelCommand, ChannelView } from './channel-port.ts'
import type { Forward, InvoiceRecord, Payment, RecordWrite } from './records.ts'

export interface PaymentPolicy {
  /** The most blocks that an HTLC of ours, or one that we forward or receive, may be locked for. BOLT 4: 2016 by custom (S67). */
  readonly maxCltvDelta: number
  /** Added to what a payee asks for: blocks may come while the payment is on its way. */
  readonly finalCltvSlack: number
  readonly maxAttempts: number
  /** Parts that have not become whole for so long are failed. BOLT 4 § Basic Multi-Part Payments: at least 60 seconds. */
  readonly mppTimeoutMs: number
  readonly maxParts: number
  /** Held payments are given back when they come so near to their expiry: before the channel has to go to the chain. */
  readonly holdFailBlocks: number
  /** An HTLC that expires so soon is not forwarded. */
  readonly minRelayExpiryBlocks: number
}

export const DEFAULT_PAYMENT_POLICY: PaymentPolicy = {
  maxCltvDelta: 2016,
  finalCltvSlack: 3,
  maxAttempts: 25,
  mppTimeoutMs: 60_000,
  maxParts: 100,
  holdFailBlocks: 12,
  minRelayExpiryBlocks: 6,
}

/** What a search is asked for a payment; the owner adds graph, source, scores. */
export type RouteQuery = Pick<
  RouteRequest,
  'target' | 'amountMsat' | 'finalCltvDelta' | 'maxFeeMsat' | 'maxCltvDelta' | 'localEdges'
> &
  Required<Pick<RouteRequest, 'hints' | 'ignoredEdges' | 'ignoredNodes' | 'maxHops'>>

export interface PaymentEnv {
  readonly nodeId: NodeId
  /** Opens onions. */
  readonly nodeSecret: Uint8Array
  readonly signInvoice: SignInvoice
  /** BOLT 11 prefix of our network. */
  readonly invoicePrefix: string
  readonly height: BlockHeight
  readonly nowMs: number
  readonly policy: PaymentPolicy
  readonly channels: () => Iterable<ChannelView>
  readonly findChannel: (shortChannelId: ShortChannelId) => ChannelView | undefined
  readonly findRoute: (query: RouteQuery) => Route | undefined
}

/** What our own caller asked for cannot be had now. */
export interface PaymentRefusal {
  readonly kind: 'refusal'
  readonly code: PaymentRefusalCode
  readonly data: Readonly<Record<string, unknown>>
}

export type PaymentRefusalCode =
  | 'already_paid'
  | 'already_in_flight'
  | 'own_invoice'
  | 'invoice_expired'
  | 'wrong_network'
  | 'amount_missing'
  | 'amount_too_small'
  | 'hash_in_use'
  | 'wrong_preimage'
  | 'invoice_not_found'
  | 'invoice_not_accepted'
  | 'invoice_ended'

export const refusal = (code: PaymentRefusalCode, data: Readonly<Record<string, unknown>> = {}): PaymentRefusal => ({
  kind: 'refusal',
  code,
  data,
})

/** What an attempt taught about an edge: for the scores of routing. */
export type EdgeOutcome =
  | { readonly passed: true; readonly edge: Edge; readonly amountMsat: RouteRequest['amountMsat'] }
  | {
      readonly passed: false
      readonly edge: Edge
      readonly amountMsat: RouteRequest['amountMsat']
      /** Inside of the failure. Not verified: `learnPolicy` of routing does. */
      readonly channelUpdate?: Uint8Array
    }

export type PaymentEffect =
  | { readonly to: 'channel'; readonly channelId: ChannelId; readonly command: ChannelCommand }
  | { readonly to: 'owner'; readonly type: 'paymentChanged'; readonly payment: Payment }
  | { readonly to: 'owner'; readonly type: 'invoiceChanged'; readonly invoice: InvoiceRecord }
  /** A forward has begun or ended. */
  | { readonly to: 'owner'; readonly type: 'forwardChanged'; readonly forward: Forward }
  | { readonly to: 'owner'; readonly type: 'edges'; readonly outcomes: readonly EdgeOutcome[] }

/** Records to store and effects to release after that. */
export interface Outcome {
  readonly writes: readonly RecordWrite[]
  readonly effects: readonly PaymentEffect[]
}

export const NOTHING: Outcome = { writes: [], effects: [] }

export const isRefusal = (value: Outcome | PaymentRefusal): value is PaymentRefusal => 'kind' in value
