/** Payments and invoices as the wallet API shows them. */
import type * as r from '@leyden/api'
import { formatScid } from '@leyden/lnwire'
import { decodeInvoice, isInvoiceProblem, type Payment } from '@leyden/payment'
import { jsonInteger } from './channel-resource.ts'
import type { NotedInvoice } from './payments.ts'

export const timeOf = (ms: number): string => new Date(ms).toISOString()

/** It was paid, so its network was ours, whatever that is called: letters up to the amount. */
export const descriptionOf = (payment: Payment): string | undefined => {
  const bolt11Prefix = /^ln([a-z]+)/i.exec(payment.invoice)?.[1]?.toLowerCase() ?? ''
  const invoice = decodeInvoice(payment.invoice, { networks: [{ bolt11Prefix }] })
  return isInvoiceProblem(invoice) ? undefined : invoice.description
}

export const paymentResource = (payment: Payment, description: string | undefined): r.Payment => ({
  id: payment.paymentHash,
  paymentHash: payment.paymentHash,
  status: payment.status,
  amountMsat: jsonInteger(payment.amountMsat),
  ...(payment.feeMsat === undefined ? {} : { feeMsat: jsonInteger(payment.feeMsat) }),
  ...(payment.preimage === undefined ? {} : { preimage: payment.preimage }),
  destination: payment.payee,
  ...(description === undefined ? {} : { description }),
  attempts: payment.attempts.map((attempt) => ({
    status: attempt.status,
    amountMsat: jsonInteger(attempt.route.totalAmountMsat),
    feeMsat: jsonInteger(attempt.route.totalFeeMsat),
    hops: attempt.route.hops.map((hop) => ({
      nodeId: hop.nodeId,
      shortChannelId: formatScid(hop.shortChannelId),
      amountMsat: jsonInteger(hop.amountMsat),
      feeMsat: jsonInteger(hop.feeMsat),
    })),
    ...(attempt.failure === undefined ? {} : { failureCode: attempt.failure.code }),
    ...(attempt.failure?.hop === undefined ? {} : { failingHop: attempt.failure.hop }),
  })),
  ...(payment.failure === undefined ? {} : { failure: { code: payment.failure, detail: FAILURES[payment.failure] } }),
  createdAt: timeOf(payment.createdAtMs),
  ...(payment.endedAtMs === undefined ? {} : { endedAt: timeOf(payment.endedAtMs) }),
})

const FAILURES: Readonly<Record<NonNullable<Payment['failure']>, string>> = {
  no_route: 'no path with enough capacity within the fee limit was found, or all that there were failed: see attempts',
  timed_out: 'no attempt succeeded in time; nothing was paid',
  invoice_expired: 'the invoice expired before an attempt succeeded; ask for a new one',
  too_many_attempts: 'many attempts failed; nothing was paid. Try later',
  payee_refused: 'the payee does not know this invoice any more, or not with this amount; ask for a new one',
  route_too_long: 'the payee can be reached only over more hops than a payment can make',
}

/** `nowMs`: an open invoice may have expired a moment before that is recorded. */
export const invoiceResource = ({ invoice, note }: NotedInvoice, nowMs: number): r.Invoice => {
  const overdue = invoice.status === 'open' && nowMs >= invoice.expiresAt * 1000
  return {
    paymentHash: invoice.paymentHash,
    bolt11: invoice.text,
    status: overdue && invoice.parts.length === 0 ? 'expired' : invoice.status,
    ...(invoice.amountMsat === undefined ? {} : { amountMsat: jsonInteger(invoice.amountMsat) }),
    ...(invoice.receivedMsat === undefined ? {} : { receivedMsat: jsonInteger(invoice.receivedMsat) }),
    description: invoice.description ?? '',
    hold: invoice.hold,
    ...(invoice.status === 'settled' && invoice.preimage !== undefined ? { preimage: invoice.preimage } : {}),
    createdAt: timeOf(invoice.createdAtMs),
    expiresAt: timeOf(invoice.expiresAt * 1000),
    ...(invoice.status === 'settled' && invoice.endedAtMs !== undefined ? { settledAt: timeOf(invoice.endedAtMs) } : {}),
    ...(note?.metadata === undefined ? {} : { metadata: { ...note.metadata } }),
    ...(note?.externalId === undefined ? {} : { externalId: note.externalId }),
  }
}
