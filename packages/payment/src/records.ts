/**
 * What is stored: one record per payment that we make, per invoice that we gave out, per HTLC that we forward. Plain versioned data.
 * A payment and an invoice are named by their payment hash, a forward by channel and id of the HTLC that came in.
 * A hash names at most one payment of ours, so it cannot be paid twice.
 */
import type { BlockHeight, Msat } from '@leyden/bitcoin'
import type { ChannelId, NodeId, PaymentHash, Preimage, ShortChannelId } from '@leyden/lnwire'
import type { Route, RouteHint } from '@leyden/routing'
import { pack, type Shape, unpack } from './compact.ts'

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
  /** What not to use again for this payment; as long as it goes on. */
  readonly avoidEdges?: readonly string[]
  readonly avoidNodes?: readonly NodeId[]
}

/** What attempts are made from. */
export interface PaymentPlan {
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
  /** No attempt begins after it. */
  readonly deadlineMs: number
}

export interface Payment {
  readonly paymentHash: PaymentHash
  readonly payee: NodeId
  readonly invoice: string
  readonly amountMsat: Msat
  readonly maxFeeMsat: Msat
  /** Present while it is in flight. */
  readonly plan?: PaymentPlan
  readonly createdAtMs: number
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

/** A payment as the first version had it: its plan among its own fields, and kept for ever. */
type PaymentV1 = Omit<Payment, 'plan'> & PaymentPlan

/** A payment that has ended: without what only attempts need. */
export const withoutPlan = (ended: Payment): Payment => {
  const { plan: _, ...payment } = ended
  const attempts = payment.attempts.map((attempt) => {
    if (attempt.failure === undefined) return attempt
    const { code, hop } = attempt.failure
    return { ...attempt, failure: { code, ...(hop === undefined ? {} : { hop }) } }
  })
  return { ...payment, attempts }
}

const migratePayment = (_version: number, old: unknown): Payment => {
  const {
    maxCltvDelta,
    paymentSecret,
    metadata,
    routeHints,
    minFinalCltvExpiryDelta,
    invoiceExpiresAt,
    seed,
    deadlineMs,
    ...payment
  } = old as PaymentV1
  const rest = { maxCltvDelta, paymentSecret, routeHints, minFinalCltvExpiryDelta, invoiceExpiresAt, seed, deadlineMs }
  const plan: PaymentPlan = metadata === undefined ? rest : { ...rest, metadata }
  return payment.status === 'inFlight' ? { ...payment, plan } : withoutPlan(payment)
}

const ROUTE: Shape = [
  [
    'hops',
    {
      list: [
        ['shortChannelId', 'plain'],
        ['nodeId', 'hex'],
        ['amountMsat', 'plain'],
        ['cltvExpiryDelta', 'plain'],
        ['feeMsat', 'plain'],
      ],
    },
  ],
  ['totalAmountMsat', 'plain'],
  ['totalFeeMsat', 'plain'],
  ['totalCltvDelta', 'plain'],
]
const ENDED_PAYMENT: Shape = [
  ['payee', 'hex'],
  ['invoice', 'bech32'],
  ['amountMsat', 'plain'],
  ['maxFeeMsat', 'plain'],
  ['createdAtMs', 'plain'],
  [
    'attempts',
    {
      list: [
        ['number', 'plain'],
        ['channelId', 'hex'],
        ['route', { record: ROUTE }],
        ['status', 'plain'],
        ['startedAtMs', 'plain'],
        ['endedAtMs', 'plain'],
        ['failure', 'plain'],
      ],
    },
  ],
  ['nextAttempt', 'plain'],
  ['status', 'plain'],
  ['endedAtMs', 'plain'],
  ['preimage', 'hex'],
  ['feeMsat', 'plain'],
  ['failure', 'plain'],
]
const ENDED_INVOICE: Shape = [
  ['preimage', 'hex'],
  ['hold', 'plain'],
  ['text', 'bech32'],
  ['amountMsat', 'plain'],
  ['description', 'plain'],
  ['paymentSecret', 'plain'],
  ['minFinalCltvExpiryDelta', 'plain'],
  ['createdAtMs', 'plain'],
  ['expiresAt', 'plain'],
  ['status', 'plain'],
  [
    'parts',
    {
      list: [
        ['channelId', 'hex'],
        ['htlcId', 'plain'],
        ['amountMsat', 'plain'],
        ['totalMsat', 'plain'],
        ['cltvExpiry', 'plain'],
        ['sharedSecret', 'plain'],
        ['receivedAtMs', 'plain'],
      ],
    },
  ],
  ['receivedMsat', 'plain'],
  ['endedAtMs', 'plain'],
]
/** Without the hash, which is the record's id. */
const packedAs = <T extends { readonly paymentHash: PaymentHash }>(shape: Shape) => ({
  pack(ended: T): unknown {
    const { paymentHash: _, ...record } = ended
    return pack(shape, record)
  },
  unpack: (packed: unknown, id: string): T => ({ paymentHash: id, ...unpack(shape, packed) }) as unknown as T,
})

/** For the store: what `recordKind` of runtime takes. A record that rests has ended: nothing is to be done about it any more. */
export const PAYMENT_RECORD = {
  name: 'payment',
  version: 2,
  migrate: migratePayment,
  rests: ({ status }: Payment): boolean => status !== 'inFlight',
  resting: packedAs<Payment>(ENDED_PAYMENT),
} as const
export const INVOICE_RECORD = {
  name: 'invoice',
  version: 1,
  rests: ({ status }: InvoiceRecord): boolean => status !== 'open' && status !== 'accepted',
  resting: packedAs<InvoiceRecord>(ENDED_INVOICE),
} as const
/** None rests: a forward goes when its HTLC has gone (`forgetForwards`). */
export const FORWARD_RECORD = { name: 'forward', version: 1 } as const

/** The records as they are. `live*` give at least those that have not ended. */
export interface PaymentRecords {
  /** One that has ended need be given only to `pay`. */
  payment(hash: PaymentHash): Payment | undefined
  /** One that has ended need be given only to `createInvoice`, `settleInvoice`, `cancelInvoice` and `reconcile`. */
  invoice(hash: PaymentHash): InvoiceRecord | undefined
  forward(key: string): Forward | undefined
  livePayments(): Iterable<Payment>
  liveInvoices(): Iterable<InvoiceRecord>
  /** All, also those that have ended and whose HTLC is still there. */
  forwards(): Iterable<Forward>
}

/** A record to be stored, under its name; undefined deletes. */
export type RecordWrite =
  | { readonly kind: 'payment'; readonly id: PaymentHash; readonly record: Payment }
  | { readonly kind: 'invoice'; readonly id: PaymentHash; readonly record: InvoiceRecord }
  | { readonly kind: 'forward'; readonly id: string; readonly record: Forward | undefined }
