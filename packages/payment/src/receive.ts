/**
 * Being paid: invoices, the checks of the final node, parts, held payments. BOLT 4 § Accepting and Forwarding a Payment (final node),
 * § Basic Multi-Part Payments, § Failure Messages; BOLT 11 payee.
 * A preimage leaves only for our own invoice, with its secret, for at least its amount (S23). Whoever lacks any of it is told
 * the same: incorrect_or_unknown_payment_details, and learns nothing about which invoices exist.
 * A held payment is given back in time: never does a channel go to the chain because the owner did not decide.
 */
import { type BlockHeight, Msat } from '@leyden/bitcoin'
import { bytesToHex, equalBytes, hexToBytes } from '@leyden/codec'
import { equalConstantTime, sha256 } from '@leyden/crypto'
import { offeredFeatures, PaymentHash, Preimage } from '@leyden/lnwire'
import { buildFailure, type Failure, type FinalPayload } from '@leyden/onion'
import type { RouteHint } from '@leyden/routing'
import { encodeInvoice } from './bolt11.ts'
import type { ChannelCommand, CommittedHtlc } from './channel-port.ts'
import { NOTHING, type Outcome, type PaymentEffect, type PaymentEnv, type PaymentRefusal, refusal } from './env.ts'
import type { InvoiceRecord, PaymentRecords, ReceivedPart } from './records.ts'
import type { ChannelId } from '@leyden/lnwire'

/** The owner wants to be paid. */
export interface InvoiceRequest {
  readonly amountMsat?: Msat
  /** One of the two; at most 639 bytes. The hash has 32. */
  readonly description?: string
  readonly descriptionHash?: Uint8Array
  readonly expirySeconds: number
  readonly minFinalCltvExpiryDelta: number
  /** Ours to give; absent for a hold invoice by `paymentHash`. 32 bytes, random and secret. */
  readonly preimage?: Uint8Array
  readonly paymentHash?: PaymentHash
  readonly hold: boolean
  /** 32 fresh random bytes. */
  readonly paymentSecret: Uint8Array
  readonly routeHints: readonly RouteHint[]
  readonly fallbackScripts?: readonly Uint8Array[]
}

const stored = (invoice: InvoiceRecord): Outcome['writes'] => [{ kind: 'invoice', id: invoice.paymentHash, record: invoice }]
const changed = (invoice: InvoiceRecord): PaymentEffect => ({ to: 'owner', type: 'invoiceChanged', invoice })

const toChannel = (channelId: ChannelId, command: ChannelCommand): PaymentEffect => ({ to: 'channel', channelId, command })

/** Fails an HTLC with a failure of our own making. */
export const failWith = (channelId: ChannelId, htlcId: bigint, sharedSecret: Uint8Array, failure: Failure): PaymentEffect =>
  toChannel(channelId, { from: 'owner', type: 'failHtlc', htlcId, reason: buildFailure(sharedSecret, failure) })

/** The answer to everything that a stranger must not tell apart. */
const unknownDetails = (amountMsat: Msat, height: BlockHeight): Failure => ({
  type: 'incorrect_or_unknown_payment_details',
  htlcMsat: amountMsat,
  height,
})

/** Signs an invoice and remembers it. @throws RangeError on fields that do not fit an invoice. */
export const createInvoice = (
  records: PaymentRecords,
  request: InvoiceRequest,
  env: PaymentEnv,
): (Outcome & { readonly invoice: InvoiceRecord }) | PaymentRefusal => {
  const { preimage } = request
  if (preimage !== undefined && preimage.length !== 32) throw new RangeError('preimage')
  const paymentHash = preimage === undefined ? request.paymentHash : PaymentHash(bytesToHex(sha256(preimage)))
  if (paymentHash === undefined) throw new RangeError('an invoice needs a preimage or a hash')
  if (preimage === undefined && !request.hold) throw new RangeError('without a preimage an invoice can only be held')
  if (records.invoice(paymentHash) !== undefined) return refusal('hash_in_use', { paymentHash })
  const timestamp = Math.floor(env.nowMs / 1000)
  const text = encodeInvoice(
    {
      prefix: env.invoicePrefix,
      ...(request.amountMsat === undefined ? {} : { amountMsat: request.amountMsat }),
      timestamp,
      paymentHash,
      paymentSecret: request.paymentSecret,
      ...(request.description === undefined ? {} : { description: request.description }),
      ...(request.descriptionHash === undefined ? {} : { descriptionHash: request.descriptionHash }),
      expirySeconds: request.expirySeconds,
      minFinalCltvExpiryDelta: request.minFinalCltvExpiryDelta,
      routeHints: request.routeHints,
      features: offeredFeatures('invoice'),
      fallbackScripts: request.fallbackScripts ?? [],
    },
    env.signInvoice,
  )
  const invoice: InvoiceRecord = {
    paymentHash,
    ...(preimage === undefined ? {} : { preimage: Preimage(bytesToHex(preimage)) }),
    hold: request.hold,
    text,
    ...(request.amountMsat === undefined ? {} : { amountMsat: request.amountMsat }),
    ...(request.description === undefined ? {} : { description: request.description }),
    paymentSecret: request.paymentSecret,
    minFinalCltvExpiryDelta: request.minFinalCltvExpiryDelta,
    createdAtMs: env.nowMs,
    expiresAt: timestamp + request.expirySeconds,
    status: 'open',
    parts: [],
  }
  return { invoice, writes: stored(invoice), effects: [changed(invoice)] }
}

const sumOf = (parts: readonly ReceivedPart[]): bigint => parts.reduce((sum, part) => sum + part.amountMsat, 0n)

/** Parts already here are those of one payer that agrees with itself. */
const isWhole = (parts: readonly ReceivedPart[]): boolean => {
  const [first] = parts
  return first !== undefined && sumOf(parts) >= first.totalMsat
}

const fulfil = (part: ReceivedPart, preimage: Preimage): PaymentEffect =>
  toChannel(part.channelId, { from: 'owner', type: 'fulfillHtlc', htlcId: part.htlcId, preimage: hexToBytes(preimage) })

const settle = (invoice: InvoiceRecord, preimage: Preimage, env: PaymentEnv): Outcome => {
  const settled: InvoiceRecord = {
    ...invoice,
    preimage,
    status: 'settled',
    receivedMsat: Msat(sumOf(invoice.parts)),
    endedAtMs: env.nowMs,
  }
  return { writes: stored(settled), effects: [...settled.parts.map((part) => fulfil(part, preimage)), changed(settled)] }
}

/** Gives the parts back. `next` is what becomes of the invoice. */
const giveBack = (
  invoice: InvoiceRecord,
  next: Pick<InvoiceRecord, 'status'> & { readonly endedAtMs?: number },
  failure: (part: ReceivedPart) => Failure,
): Outcome => {
  const { receivedMsat: _, ...rest } = invoice
  const record: InvoiceRecord = { ...rest, ...next, parts: next.status === 'open' ? [] : invoice.parts }
  const effects = invoice.parts.map((part) => failWith(part.channelId, part.htlcId, part.sharedSecret, failure(part)))
  return { writes: stored(record), effects: [...effects, changed(record)] }
}

/** A problem of the HTLC or the onion, in the order of BOLT 4; undefined: it pays the invoice, or a part of it. */
const findProblem = (
  invoice: InvoiceRecord | undefined,
  htlc: CommittedHtlc,
  payload: FinalPayload,
  env: PaymentEnv,
): { readonly failure: Failure } | undefined => {
  const unknown = { failure: unknownDetails(htlc.amountMsat, env.height) }
  const { paymentData } = payload
  if (htlc.amountMsat < payload.amtToForward)
    return { failure: { type: 'final_incorrect_htlc_amount', incomingHtlcAmt: htlc.amountMsat } }
  if (htlc.cltvExpiry < payload.outgoingCltvValue)
    return { failure: { type: 'final_incorrect_cltv_expiry', cltvExpiry: htlc.cltvExpiry } }
  if (paymentData === undefined || invoice === undefined) return unknown
  // S23: the secret comes before everything that depends on the invoice
  if (!equalConstantTime(hexToBytes(paymentData.paymentSecret), invoice.paymentSecret)) return unknown
  if (invoice.status !== 'open' || env.nowMs >= invoice.expiresAt * 1000) return unknown
  const { totalMsat } = paymentData
  if (totalMsat === 0n || htlc.amountMsat === 0n) return unknown
  const wanted = invoice.amountMsat
  if (wanted !== undefined && (totalMsat < wanted || totalMsat > 2n * wanted)) return unknown
  // S67: bounded at both ends
  if (htlc.cltvExpiry < env.height + invoice.minFinalCltvExpiryDelta) return unknown
  if (htlc.cltvExpiry > env.height + env.policy.maxCltvDelta) return unknown
  if (invoice.parts.some((part) => part.totalMsat !== totalMsat)) return unknown
  if (invoice.parts.length >= env.policy.maxParts) return unknown
  // one HTLC may be up to twice what is wanted, but no more: nobody gives so much away on purpose
  if (sumOf(invoice.parts) + htlc.amountMsat > 2n * totalMsat) return unknown
  return undefined
}

const isPart =
  (channelId: ChannelId, htlcId: bigint) =>
  (part: ReceivedPart): boolean =>
    part.channelId === channelId && part.htlcId === htlcId

/** An HTLC whose onion says that we are its end. */
export const receiveFinal = (
  records: PaymentRecords,
  channelId: ChannelId,
  htlc: CommittedHtlc,
  payload: FinalPayload,
  sharedSecret: Uint8Array,
  env: PaymentEnv,
): Outcome => {
  const invoice = records.invoice(htlc.paymentHash)
  const known = invoice?.parts.find(isPart(channelId, htlc.id))
  if (invoice !== undefined && known !== undefined) return answerAgain(invoice, known, env)
  const problem = findProblem(invoice, htlc, payload, env)
  if (problem !== undefined || invoice === undefined) {
    const failure = problem?.failure ?? unknownDetails(htlc.amountMsat, env.height)
    return { writes: [], effects: [failWith(channelId, htlc.id, sharedSecret, failure)] }
  }
  const part: ReceivedPart = {
    channelId,
    htlcId: htlc.id,
    amountMsat: htlc.amountMsat,
    totalMsat: payload.paymentData?.totalMsat ?? htlc.amountMsat,
    cltvExpiry: htlc.cltvExpiry,
    sharedSecret,
    receivedAtMs: env.nowMs,
  }
  const next: InvoiceRecord = { ...invoice, parts: [...invoice.parts, part] }
  if (!isWhole(next.parts)) return { writes: stored(next), effects: [] }
  if (!next.hold && next.preimage !== undefined) return settle(next, next.preimage, env)
  const accepted: InvoiceRecord = { ...next, status: 'accepted', receivedMsat: Msat(sumOf(next.parts)) }
  return { writes: stored(accepted), effects: [changed(accepted)] }
}

/** The same HTLC again: what was decided on it is said again, nothing is decided anew. */
const answerAgain = (invoice: InvoiceRecord, part: ReceivedPart, env: PaymentEnv): Outcome => {
  if (invoice.status === 'settled' && invoice.preimage !== undefined)
    return { writes: [], effects: [fulfil(part, invoice.preimage)] }
  if (invoice.status === 'canceled' || invoice.status === 'expired')
    return {
      writes: [],
      effects: [failWith(part.channelId, part.htlcId, part.sharedSecret, unknownDetails(part.amountMsat, env.height))],
    }
  return NOTHING
}

/** The owner of a held payment takes it. `preimage` only where the invoice was made without. */
export const settleInvoice = (
  records: PaymentRecords,
  hash: PaymentHash,
  preimage: Uint8Array | undefined,
  env: PaymentEnv,
): Outcome | PaymentRefusal => {
  const invoice = records.invoice(hash)
  if (invoice === undefined) return refusal('invoice_not_found', { paymentHash: hash })
  if (preimage !== undefined && !equalBytes(sha256(preimage), hexToBytes(hash))) return refusal('wrong_preimage')
  if (invoice.status === 'settled') return NOTHING
  if (invoice.status !== 'accepted') return refusal('invoice_not_accepted', { status: invoice.status })
  const known = preimage === undefined ? invoice.preimage : Preimage(bytesToHex(preimage))
  return known === undefined ? refusal('wrong_preimage') : settle(invoice, known, env)
}

/** The owner takes an invoice back: what was held goes back to the payer. */
export const cancelInvoice = (records: PaymentRecords, hash: PaymentHash, env: PaymentEnv): Outcome | PaymentRefusal => {
  const invoice = records.invoice(hash)
  if (invoice === undefined) return refusal('invoice_not_found', { paymentHash: hash })
  if (invoice.status === 'canceled') return NOTHING
  if (invoice.status === 'settled' || invoice.status === 'expired') return refusal('invoice_ended', { status: invoice.status })
  return giveBack(invoice, { status: 'canceled', endedAtMs: env.nowMs }, (part) => unknownDetails(part.amountMsat, env.height))
}

/** Time has passed, or a block came. */
export const tickInvoice = (invoice: InvoiceRecord, env: PaymentEnv): Outcome => {
  if (invoice.status !== 'open' && invoice.status !== 'accepted') return NOTHING
  const expired = env.nowMs >= invoice.expiresAt * 1000
  const [first] = invoice.parts
  if (first === undefined) {
    if (!expired) return NOTHING
    const record: InvoiceRecord = { ...invoice, status: 'expired', endedAtMs: env.nowMs }
    return { writes: stored(record), effects: [changed(record)] }
  }
  const soonest = Math.min(...invoice.parts.map((part) => part.cltvExpiry))
  if (invoice.status === 'accepted') {
    if (env.height + env.policy.holdFailBlocks < soonest) return NOTHING
    return giveBack(invoice, { status: 'canceled', endedAtMs: env.nowMs }, (part) => unknownDetails(part.amountMsat, env.height))
  }
  const late = env.nowMs - first.receivedAtMs >= env.policy.mppTimeoutMs || env.height + env.policy.holdFailBlocks >= soonest
  if (!late) return NOTHING
  return giveBack(invoice, expired ? { status: 'expired', endedAtMs: env.nowMs } : { status: 'open' }, () => ({
    type: 'mpp_timeout',
  }))
}
