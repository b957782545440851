/**
 * One door for everything that reaches payments: what channels say, what the owner wants, time.
 * Records and effects of a step belong into one commit with the channels' own: then a restart finds both, or neither.
 * `reconcile` is for the start: it goes through the channels' HTLCs and does what one side knows and the other does not. It decides on
 * nothing that was decided before.
 */
import { hexToBytes, unreachable } from '@leyden/codec'
import { sha256 } from '@leyden/crypto'
import { type ChannelId, PaymentHash } from '@leyden/lnwire'
import { INVALID_ONION_BLINDING, peelOnion, readHopPayload } from '@leyden/onion'
import type { ChannelEvent, CommittedHtlc, HtlcFailure, HtlcOrigin, HtlcRow } from './channel-port.ts'
import { isRefusal, NOTHING, type Outcome, type PaymentEffect, type PaymentEnv, type PaymentRefusal } from './env.ts'
import { cancelInvoice, failWith, receiveFinal, settleInvoice, tickInvoice } from './receive.ts'
import { type Forward, forwardKey, type InvoiceRecord, type Payment, type PaymentRecords, type RecordWrite } from './records.ts'
import { forgetForwards, forwardFailed, forwardFulfilled, relayHtlc } from './relay.ts'
import { attemptFailed, attemptFulfilled, pay, type PayRequest } from './send.ts'

export type PaymentInput =
  | { readonly from: 'channel'; readonly channelId: ChannelId; readonly event: ChannelEvent }
  | { readonly from: 'owner'; readonly type: 'pay'; readonly request: PayRequest }
  | {
      readonly from: 'owner'
      readonly type: 'settleInvoice'
      readonly paymentHash: PaymentHash
      readonly preimage?: Uint8Array
    }
  | { readonly from: 'owner'; readonly type: 'cancelInvoice'; readonly paymentHash: PaymentHash }
  /** Every second or so. */
  | { readonly from: 'clock'; readonly type: 'tick' }
  | { readonly from: 'chain'; readonly type: 'block' }

/** A received HTLC is ours to decide on: final, to be forwarded, or unreadable. */
const htlcCommitted = (
  records: PaymentRecords,
  channelId: ChannelId,
  htlc: CommittedHtlc,
  env: PaymentEnv,
  failNow?: 'dust_exposure' | 'funding_conflicted',
): Outcome => {
  const malformed = (failureCode: number, sha256OfOnion: Uint8Array): Outcome => ({
    writes: [],
    effects: [
      {
        to: 'channel',
        channelId,
        command: { from: 'owner', type: 'failMalformedHtlc', htlcId: htlc.id, failureCode, sha256OfOnion },
      },
    ],
  })
  // we hand out no blinded paths, so nobody can rightly ask us to be on one
  if (htlc.pathKey !== undefined) return malformed(INVALID_ONION_BLINDING, sha256(htlc.onion))
  const peeled = peelOnion(htlc.onion, env.nodeSecret, hexToBytes(htlc.paymentHash))
  if (peeled.kind === 'malformed') return malformed(peeled.failureCode, peeled.sha256OfOnion)
  const { sharedSecret } = peeled
  // BOLT 2 § Bounding exposure to trimmed in-flight HTLCs, or the channel that it came in may be worth nothing
  if (failNow !== undefined) {
    const failure = { type: 'temporary_channel_failure', channelUpdate: new Uint8Array(0) } as const
    return { writes: [], effects: [failWith(channelId, htlc.id, sharedSecret, failure)] }
  }
  const payload = readHopPayload(peeled.payload, { final: peeled.kind === 'final', hasPathKey: false })
  switch (payload.kind) {
    case 'invalid': {
      const failure = { type: 'invalid_onion_payload', tlvType: payload.tlvType, offset: 0 } as const
      return { writes: [], effects: [failWith(channelId, htlc.id, sharedSecret, failure)] }
    }
    case 'blinded_final':
    case 'blinded_forward': {
      const failure = { type: 'invalid_onion_blinding', sha256OfOnion: sha256(htlc.onion) } as const
      return { writes: [], effects: [failWith(channelId, htlc.id, sharedSecret, failure)] }
    }
    case 'final':
      return receiveFinal(records, channelId, htlc, payload, sharedSecret, env)
    case 'forward':
      if (peeled.kind !== 'forward') return NOTHING
      return relayHtlc(records, channelId, htlc, { payload, nextPacket: peeled.nextPacket, sharedSecret }, env)
    default:
      return unreachable(payload)
  }
}

const paymentOf = (records: PaymentRecords, origin: Extract<HtlcOrigin, { kind: 'payment' }>): Payment | undefined =>
  records.payment(PaymentHash(origin.paymentId))
const forwardOf = (records: PaymentRecords, origin: Extract<HtlcOrigin, { kind: 'relay' }>): Forward | undefined =>
  records.forward(forwardKey(origin.channelId, origin.htlcId))

const htlcFulfilled = (records: PaymentRecords, origin: HtlcOrigin, preimage: Uint8Array, env: PaymentEnv): Outcome =>
  origin.kind === 'payment'
    ? attemptFulfilled(paymentOf(records, origin), origin.attempt, preimage, env)
    : forwardFulfilled(forwardOf(records, origin), preimage, env)

const htlcFailed = (
  records: PaymentRecords,
  origin: HtlcOrigin,
  failure: HtlcFailure | { readonly kind: 'refused' },
  env: PaymentEnv,
): Outcome =>
  origin.kind === 'payment'
    ? attemptFailed(paymentOf(records, origin), origin.attempt, failure, env)
    : forwardFailed(forwardOf(records, origin), failure, env)

const channelEvent = (records: PaymentRecords, channelId: ChannelId, event: ChannelEvent, env: PaymentEnv): Outcome => {
  switch (event.type) {
    case 'htlcCommitted':
      return htlcCommitted(records, channelId, event.htlc, env, event.failNow)
    case 'htlcFulfilled':
      return htlcFulfilled(records, event.origin, event.preimage, env)
    case 'htlcFailed':
      return htlcFailed(records, event.origin, event.failure, env)
    case 'offerRefused':
      return htlcFailed(records, event.origin, { kind: 'refused' }, env)
    default:
      return unreachable(event)
  }
}

const join = (outcomes: Iterable<Outcome>): Outcome => {
  const writes: RecordWrite[] = []
  const effects: PaymentEffect[] = []
  for (const outcome of outcomes) {
    writes.push(...outcome.writes)
    effects.push(...outcome.effects)
  }
  return { writes, effects }
}

/** Takes one input. `records` are as of now; the answer's writes make them as of then. */
export const stepPayments = (records: PaymentRecords, input: PaymentInput, env: PaymentEnv): Outcome | PaymentRefusal => {
  if (input.from === 'channel') return channelEvent(records, input.channelId, input.event, env)
  switch (input.type) {
    case 'pay':
      return pay(records, input.request, env)
    case 'settleInvoice':
      return settleInvoice(records, input.paymentHash, input.preimage, env)
    case 'cancelInvoice':
      return cancelInvoice(records, input.paymentHash, env)
    case 'tick':
    case 'block':
      return join([...records.liveInvoices()].map((invoice) => tickInvoice(invoice, env)))
    default:
      return unreachable(input)
  }
}

/** Records over others: what `writes` changed, and the rest as before. */
const overlay = (records: PaymentRecords): { readonly records: PaymentRecords; readonly apply: (outcome: Outcome) => void } => {
  const payments = new Map<string, Payment>()
  const invoices = new Map<string, InvoiceRecord>()
  const forwards = new Map<string, Forward | undefined>()
  return {
    records: {
      payment: (hash) => payments.get(hash) ?? records.payment(hash),
      invoice: (hash) => invoices.get(hash) ?? records.invoice(hash),
      forward: (key) => (forwards.has(key) ? forwards.get(key) : records.forward(key)),
      livePayments: () => records.livePayments(),
      liveInvoices: () => records.liveInvoices(),
      forwards: () => records.forwards(),
    },
    apply(outcome) {
      for (const write of outcome.writes) {
        if (write.kind === 'payment') payments.set(write.id, write.record)
        else if (write.kind === 'invoice') invoices.set(write.id, write.record)
        else forwards.set(write.id, write.record)
      }
    },
  }
}

/** What `reconcile` found that no restart explains: for the log. Nothing was done about it. */
export interface Orphan {
  readonly kind: 'payment' | 'forward'
  readonly id: string
}

/**
 * After a restart, before channels reconnect: brings records and channels into step.
 * - A received HTLC that is committed and has no outcome is decided on now; one that was decided gets the same answer.
 * - The outcome of an HTLC that we offered is delivered again.
 * - Forwards that have ended and whose HTLC is gone are deleted: nobody can ask for them any more.
 */
export const reconcile = (
  records: PaymentRecords,
  channels: Iterable<{ readonly channelId: ChannelId; readonly htlcs: readonly HtlcRow[] }>,
  env: PaymentEnv,
): Outcome & { readonly orphans: readonly Orphan[] } => {
  const outcomes: Outcome[] = []
  const view = overlay(records)
  const received = new Set<string>()
  const offered = new Set<string>()
  const take = (outcome: Outcome | PaymentRefusal): void => {
    if (isRefusal(outcome)) return
    view.apply(outcome)
    outcomes.push(outcome)
    for (const effect of outcome.effects)
      if (effect.to === 'channel' && 'htlcId' in effect.command) answered.add(forwardKey(effect.channelId, effect.command.htlcId))
  }
  const all = [...channels]
  // what the first pass has answered: the rows do not show it yet
  const answered = new Set<string>()
  // outcomes first: an incoming HTLC is then answered with what its outgoing twin has said
  for (const { htlcs } of all)
    for (const htlc of htlcs) {
      const { origin, removal } = htlc
      if (htlc.offeredBy !== 'local' || origin === undefined) continue
      offered.add(originKey(origin))
      if (removal?.kind === 'fulfilled') take(htlcFulfilled(view.records, origin, removal.preimage, env))
      else if (removal !== undefined && htlc.removalStage === 4)
        take(
          htlcFailed(view.records, origin, removal.kind === 'failed' ? { kind: 'remote', reason: removal.reason } : removal, env),
        )
    }
  for (const { channelId, htlcs } of all)
    for (const htlc of htlcs) {
      if (htlc.offeredBy !== 'remote') continue
      const key = forwardKey(channelId, htlc.id)
      received.add(key)
      if (answered.has(key)) continue
      if (htlc.stage === 4 && htlc.removal === undefined) take(htlcCommitted(view.records, channelId, htlc, env))
    }
  const orphans: Orphan[] = []
  for (const forward of records.forwards()) {
    const key = forwardKey(forward.incoming.channelId, forward.incoming.htlcId)
    if (view.records.forward(key)?.status !== 'offered') continue
    if (!offered.has(originKey({ kind: 'relay', channelId: forward.incoming.channelId, htlcId: forward.incoming.htlcId })))
      if (received.has(key)) orphans.push({ kind: 'forward', id: key })
  }
  take(forgetForwards(view.records, (channelId, htlcId) => received.has(forwardKey(channelId, htlcId))))
  for (const payment of records.livePayments()) {
    const now = view.records.payment(payment.paymentHash)
    const attempt = now?.status === 'inFlight' ? now.attempts.find(({ status }) => status === 'inFlight') : undefined
    if (attempt === undefined) continue
    const key = originKey({ kind: 'payment', paymentId: payment.paymentHash, attempt: attempt.number })
    const isNew = !payment.attempts.some(({ number }) => number === attempt.number)
    if (!isNew && !offered.has(key)) orphans.push({ kind: 'payment', id: payment.paymentHash })
  }
  return { ...join(outcomes), orphans }
}

const originKey = (origin: HtlcOrigin): string =>
  origin.kind === 'payment' ? `p/${origin.paymentId}/${origin.attempt}` : `r/${forwardKey(origin.channelId, origin.htlcId)}`
