/**
 * What is stored: one record per payment that we make, per invoice that we gave out, per HTLC that we forward. Plain versioned data.
 * A payment and an invoice are named by their payment hash, a forward by channel and id of the HTLC that came in.
 * A hash names at most one payment of ours, so it cannot be paid twice.
 */
import type { BlockHeight, Msat } from '@leyden/bitcoin'
import type { ChannelId, NodeId, PaymentHash, Preimage, ShortChannelId } from '@leyden/lnwire'
import type { Route, RouteHint } from '@leyden/routing'

export type PaymentFailureCode =
  | 'no_route'
  | 'timed_out'
  | 'invoice_expired'
  | 'too_many_attempts'
  /** The payee does not know the invoice, or not with this amount or secret. */
  | 'payee_refused'
  | 'route_too_long'

/** One HTLC that we sent, or tried to. */
export interface Attempt {
  /** Never used again for this payment hash. */
  readonly number: number
  readonly channelId: ChannelId
  readonly route: Route
  readonly status: 'inFlight' | 'succeeded' | 'failed'
  readonly startedAtMs: number
  readonly endedAtMs?: number
  /** One for each hop; kept while a failure may come back. */
  readonly sharedSecrets?: readonly Uint8Array[]
  readonly failure?: AttemptFailure
}

export interface AttemptFailure {
  /** A name of BOLT 4, or `unreadable`, `onchain`, `neverSent`, `refused`. */
  readonly code: string
  /** The hop that failed it, 0 is our peer; absent when nobody can tell, or it never left. */
  readonly hop?: number
  /** What not to use again for this payment. */
  readonly avoidEdges: readonly string[]
  readonly avoidNodes: readonly NodeId[]
}

export interface Payment {
  readonly paymentHash: PaymentHash
  readonly payee: NodeId
  readonly invoice: string
  readonly amountMsat: Msat
  readonly maxFeeMsat: Msat
  /** The most blocks that an attempt may lock our money for. */
  readonly maxCltvDelta: number
  readonly paymentSecret: Uint8Array
  readonly metadata?: Uint8Array
  readonly routeHints: readonly RouteHint[]
  readonly minFinalCltvExpiryDelta: number
  /** Seconds since 1970. */
  readonly invoiceExpiresAt: number
  /** 32 random bytes: the session keys of all attempts follow from it. Secret. */
  readonly seed: Uint8Array
  readonly createdAtMs: number
  /** No attempt begins after it. */
  readonly deadlineMs: number
  readonly attempts: readonly Attempt[]
  readonly nextAttempt: number
  readonly status: 'inFlight' | 'succeeded' | 'failed'
  readonly endedAtMs?: number
  readonly preimage?: Preimage
  /** Paid on top of the amount. */
  readonly feeMsat?: Msat
  readonly failure?: PaymentFailureCode
}

/** One HTLC that pays an invoice, or a part of it. */
export interface ReceivedPart {
  readonly channelId: ChannelId
  readonly htlcId: bigint
  readonly amountMsat: Msat
  readonly totalMsat: Msat
  readonly cltvExpiry: BlockHeight
  readonly sharedSecret: Uint8Array
  readonly receivedAtMs: number
}

export interface InvoiceRecord {
  readonly paymentHash: PaymentHash
  /** Absent only for a hold invoice whose preimage somebody else has. Secret until it is settled. */
  readonly preimage?: Preimage
  /** Accepted payments wait for `settleInvoice` or `cancelInvoice`. */
  readonly hold: boolean
  readonly text: string
  readonly amountMsat?: Msat
  readonly description?: string
  readonly paymentSecret: Uint8Array
  readonly minFinalCltvExpiryDelta: number
  readonly createdAtMs: number
  /** Seconds since 1970. */
  readonly expiresAt: number
  /** `open` also while parts arrive. `accepted`: paid in full and held. */
  readonly status: 'open' | 'accepted' | 'settled' | 'expired' | 'canceled'
  readonly parts: readonly ReceivedPart[]
  readonly receivedMsat?: Msat
  readonly endedAtMs?: number
}

/** An HTLC that came in and went on. */
export interface Forward {
  readonly incoming: {
    readonly channelId: ChannelId
    readonly htlcId: bigint
    readonly amountMsat: Msat
    readonly cltvExpiry: BlockHeight
    /** Wraps the failure on its way back. */
    readonly sharedSecret: Uint8Array
  }
  readonly outgoing: {
    readonly channelId: ChannelId
    readonly shortChannelId: ShortChannelId
    readonly amountMsat: Msat
    readonly cltvExpiry: BlockHeight
  }
  readonly paymentHash: PaymentHash
  readonly status: 'offered' | 'fulfilled' | 'failed'
  readonly preimage?: Preimage
  /** What went back, until the HTLC is gone. */
  readonly reason?: Uint8Array
  readonly createdAtMs: number
  readonly endedAtMs?: number
}

export const forwardKey = (channelId: ChannelId, htlcId: bigint): string => `${channelId}/${htlcId}`

/** Names and versions for the store: `recordKind(name, version)` of runtime. */
export const PAYMENT_RECORD = { name: 'payment', version: 1 } as const
export const INVOICE_RECORD = { name: 'invoice', version: 1 } as const
export const FORWARD_RECORD = { name: 'forward', version: 1 } as const

/** The records as they are. `live*` give at least those that have not ended. */
export interface PaymentRecords {
  payment(hash: PaymentHash): Payment | undefined
  invoice(hash: PaymentHash): InvoiceRecord | undefined
  forward(key: string): Forward | undefined
  livePayments(): Iterable<Payment>
  liveInvoices(): Iterable<InvoiceRecord>
  /** All, also those that have ended. */
  forwards(): Iterable<Forward>
}

/** A record to be stored, under its name; undefined deletes. */
export type RecordWrite =
  | { readonly kind: 'payment'; readonly id: PaymentHash; readonly record: Payment }
  | { readonly kind: 'invoice'; readonly id: PaymentHash; readonly record: InvoiceRecord }
  | { readonly kind: 'forward'; readonly id: string; readonly record: Forward | undefined }
