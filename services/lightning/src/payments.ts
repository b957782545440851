/**
 * Payments inside the drive: what channels tell goes to the payment machine, what it wants goes back to channels, in the same commit.
 * The wiring between `payment` and `channel`, which do not know each other, and the graph that routes are found in.
 */
import { type Channel, capacityNow, channelKind } from '@leyden/channel'
import { type BlockHeight, chainHash, Msat, type Network } from '@leyden/bitcoin'
import { unreachable } from '@leyden/codec'
import { ecdsaSignRecoverable } from '@leyden/crypto'
import type { NodeId, PaymentHash, ShortChannelId } from '@leyden/lnwire'
import {
  type ChannelCommand,
  type ChannelEvent,
  type ChannelView,
  createInvoice,
  DEFAULT_PAYMENT_POLICY,
  type Forward,
  FORWARD_RECORD,
  type Invoice,
  INVOICE_RECORD,
  type InvoiceRecord,
  isRefusal,
  type Outcome,
  type Payment,
  PAYMENT_RECORD,
  type PaymentEffect,
  type PaymentEnv,
  type PaymentInput,
  type PaymentRecords,
  type PaymentRefusal,
  reconcile,
  stepPayments,
} from '@leyden/payment'
import { emptyScores, findRoute, learnPolicy, recordFailure, recordSuccess, routeHints } from '@leyden/routing'
import { type Batch, type Cancel, type Clock, type Drive, type Random, recordKind } from '@leyden/runtime'
import type { Channels, OwnerEffect } from './channels.ts'
import type { EventLog } from './events.ts'
import type { GossipNode } from './gossip.ts'
import { noteMade } from './idempotency.ts'
import type { Log } from './log.ts'
import type { NodeEffect } from './node-effect.ts'
import type { RelayPolicy } from './node.ts'

export const paymentKind = recordKind<Payment>(PAYMENT_RECORD.name, PAYMENT_RECORD.version)
export const invoiceKind = recordKind<InvoiceRecord>(INVOICE_RECORD.name, INVOICE_RECORD.version)
export const forwardKind = recordKind<Forward>(FORWARD_RECORD.name, FORWARD_RECORD.version)
/** What the API's caller wants to find again with an invoice. */
export interface InvoiceNote {
  readonly metadata?: Readonly<Record<string, string>>
  readonly externalId?: string
}
export const invoiceNoteKind = recordKind<InvoiceNote>('invoice-note', 1)
export const paymentKinds = [paymentKind, invoiceKind, forwardKind, invoiceNoteKind] as const

const TICK_MS = 1_000
const MAX_ROUTE_HINTS = 4
/** BOLT 11 § min_final_cltv_expiry_delta: 18 by default; more leaves room to go to the chain with a preimage. */
const MIN_FINAL_CLTV_EXPIRY_DELTA = 24
/** No new attempt of a payment begins after so long. */
const PAYMENT_TIMEOUT_MS = 60_000

export interface PaymentsOptions {
  readonly drive: Drive<NodeEffect>
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly network: Network
  readonly nodeId: NodeId
  readonly nodeSecret: Uint8Array
  readonly relay: RelayPolicy
  readonly gossip: GossipNode
  readonly events: EventLog
  readonly channels: Channels
  height(): BlockHeight
}

export interface InvoiceWish extends InvoiceNote {
  readonly amountMsat?: Msat
  readonly description: string
  readonly expirySeconds: number
  readonly hold?: { readonly paymentHash: PaymentHash }
  /** See idempotency.ts. */
  readonly reference?: string
}

export interface Payments {
  fromChannel(batch: Batch<NodeEffect>, channel: Channel, effect: OwnerEffect & ChannelEvent): void
  block(batch: Batch<NodeEffect>): void
  resume(batch: Batch<NodeEffect>): void
  start(): void
  stop(): void
  /** Resolves when it is durable and under way; with the record as it is then. */
  pay(
    invoice: Invoice,
    options: {
      readonly amountMsat?: Msat
      readonly maxFeeMsat: Msat
      readonly maxDelayBlocks?: number
      readonly reference?: string
    },
  ): Promise<Payment | PaymentRefusal>
  /** Resolves when the payment has ended, or after `ms`, with the record as it is then. */
  ended(hash: PaymentHash, ms: number): Promise<Payment | undefined>
  invoice(wish: InvoiceWish): Promise<InvoiceRecord | PaymentRefusal>
  settle(hash: PaymentHash, preimage: Uint8Array): Promise<InvoiceRecord | PaymentRefusal>
  cancel(hash: PaymentHash): Promise<InvoiceRecord | PaymentRefusal>
  payments(): ReadonlyMap<string, Payment>
  invoices(): ReadonlyMap<string, InvoiceRecord>
  /** HTLCs that came in and went on, by channel and id of the incoming one. */
  forwards(): ReadonlyMap<string, Forward>
  note(hash: PaymentHash): InvoiceNote | undefined
}

const isLiveInvoice = (invoice: InvoiceRecord | undefined): invoice is InvoiceRecord =>
  invoice?.status === 'open' || invoice?.status === 'accepted'

/** `liveInvoices` are the hashes of all live invoices, and maybe of some that have ended. */
const recordsOf = (batch: Batch<NodeEffect>, liveInvoices: Set<string>): PaymentRecords => ({
  payment: (hash) => batch.get(paymentKind, hash),
  invoice: (hash) => batch.get(invoiceKind, hash),
  forward: (key) => batch.get(forwardKind, key),
  *livePayments() {
    for (const [, payment] of batch.all(paymentKind)) if (payment.status === 'inFlight') yield payment
  },
  *liveInvoices() {
    for (const hash of liveInvoices) {
      const invoice = batch.get(invoiceKind, hash)
      if (isLiveInvoice(invoice)) yield invoice
      else liveInvoices.delete(hash)
    }
  },
  *forwards() {
    for (const [, forward] of batch.all(forwardKind)) yield forward
  },
})

export const createPayments = (options: PaymentsOptions): Payments => {
  const { drive, clock, random, log, network, nodeId, gossip, events, channels } = options
  const scores = emptyScores()
  const waiting = new Map<PaymentHash, Set<() => void>>()
  /** Asked for every second, where a million may have ended. */
  const liveInvoices = new Set<string>()
  for (const [hash, invoice] of drive.states(invoiceKind)) if (isLiveInvoice(invoice)) liveInvoices.add(hash)
  let cancelTick: Cancel | undefined
  let stopped = false

  // ---- what payments may know

  const viewOf = (channel: Channel): ChannelView => {
    const own = gossip.state.own.get(channel.channelId)
    const ids = [channel.shortChannelId, channel.localAlias].filter((id): id is ShortChannelId => id !== undefined)
    return {
      channelId: channel.channelId,
      remoteNodeId: channel.remoteNodeId,
      shortChannelIds: ids,
      usable: channel.phase.name === 'normal' && channel.link === 'online',
      canSendMsat: Msat(capacityNow(channel).sendableMsat),
      htlcMinimumMsat: channel.remote.htlcMinimumMsat,
      policy: own?.policy ?? {
        enabled: true,
        ...options.relay,
        htlcMinimumMsat: channel.remote.htlcMinimumMsat,
        htlcMaximumMsat: Msat(channel.capacitySat * 1000n),
      },
      ...(own?.localUpdate === undefined ? {} : { channelUpdate: own.localUpdate.raw }),
    }
  }

  const env = (batch: Batch<NodeEffect>): PaymentEnv => {
    const views = function* (): IterableIterator<ChannelView> {
      for (const [, channel] of batch.all(channelKind)) if (channel.phase.name !== 'closed') yield viewOf(channel)
    }
    return {
      nodeId,
      nodeSecret: options.nodeSecret,
      signInvoice: (hash) => ecdsaSignRecoverable(hash, options.nodeSecret),
      invoicePrefix: network.bolt11Prefix,
      height: options.height(),
      nowMs: clock.now(),
      policy: DEFAULT_PAYMENT_POLICY,
      channels: views,
      findChannel(shortChannelId) {
        for (const [, channel] of batch.all(channelKind))
          if (
            channel.phase.name !== 'closed' &&
            (channel.shortChannelId === shortChannelId || channel.localAlias === shortChannelId)
          )
            return viewOf(channel)
        return undefined
      },
      findRoute: (query) =>
        findRoute(gossip.state.graph, { ...query, source: nodeId, experience: { scores, nowMs: clock.now() } }),
    }
  }

  // ---- what payments do

  const tellPayment = (batch: Batch<NodeEffect>, payment: Payment): void => {
    const data = { paymentHash: payment.paymentHash, amountMsat: Number(payment.amountMsat) }
    switch (payment.status) {
      case 'inFlight':
        if (payment.attempts.length === 1) events.append(batch, 'payment.inFlight', data)
        return
      case 'succeeded':
        events.append(batch, 'payment.succeeded', {
          ...data,
          ...(payment.feeMsat === undefined ? {} : { feeMsat: Number(payment.feeMsat) }),
          ...(payment.preimage === undefined ? {} : { preimage: payment.preimage }),
        })
        break
      case 'failed':
        events.append(batch, 'payment.failed', { ...data, ...(payment.failure === undefined ? {} : { code: payment.failure }) })
        break
    }
    batch.afterCommit(() => {
      const listeners = waiting.get(payment.paymentHash)
      waiting.delete(payment.paymentHash)
      for (const listener of listeners ?? []) listener()
    })
  }

  const tellInvoice = (batch: Batch<NodeEffect>, invoice: InvoiceRecord): void => {
    if (invoice.status === 'open') return
    events.append(batch, `invoice.${invoice.status}`, {
      paymentHash: invoice.paymentHash,
      ...(invoice.receivedMsat === undefined ? {} : { receivedMsat: Number(invoice.receivedMsat) }),
    })
  }

  const command = (batch: Batch<NodeEffect>, effect: Extract<PaymentEffect, { to: 'channel' }>): void => {
    const input: ChannelCommand = effect.command
    if (channels.step(batch, effect.channelId, input)) return
    if (input.type !== 'offerHtlc') return
    perform(batch, {
      from: 'channel',
      channelId: effect.channelId,
      event: { type: 'offerRefused', origin: input.origin, refusal: { code: 'channel_gone' } },
    })
  }

  const apply = (batch: Batch<NodeEffect>, { writes, effects }: Outcome): void => {
    for (const write of writes) {
      if (write.kind === 'payment') batch.set(paymentKind, write.id, write.record)
      else if (write.kind === 'invoice') {
        batch.set(invoiceKind, write.id, write.record)
        if (isLiveInvoice(write.record)) liveInvoices.add(write.id)
      } else batch.set(forwardKind, write.id, write.record)
    }
    for (const effect of effects) {
      if (effect.to === 'channel') command(batch, effect)
      else if (effect.type === 'paymentChanged') tellPayment(batch, effect.payment)
      else if (effect.type === 'invoiceChanged') tellInvoice(batch, effect.invoice)
      else if (effect.type === 'edges')
        for (const outcome of effect.outcomes) {
          if (outcome.passed) recordSuccess(scores, outcome.edge, outcome.amountMsat)
          else {
            recordFailure(scores, outcome.edge, outcome.amountMsat, clock.now())
            if (outcome.channelUpdate !== undefined)
              learnPolicy(scores, outcome.edge, outcome.channelUpdate, chainHash(network), clock.now())
          }
        }
    }
  }

  const perform = (batch: Batch<NodeEffect>, input: PaymentInput): PaymentRefusal | undefined => {
    const outcome = stepPayments(recordsOf(batch, liveInvoices), input, env(batch))
    if (isRefusal(outcome)) return outcome
    apply(batch, outcome)
    return undefined
  }

  const tick = (): void => {
    if (stopped) return
    drive
      .submit((batch) => {
        perform(batch, { from: 'clock', type: 'tick' })
      })
      .then(
        () => {
          if (!stopped) cancelTick = clock.setTimer(TICK_MS, tick)
        },
        () => undefined, // stopped
      )
  }

  const invoiceAfter = (hash: PaymentHash, input: PaymentInput): Promise<InvoiceRecord | PaymentRefusal> =>
    drive.submit((batch): InvoiceRecord | PaymentRefusal => {
      const refused = perform(batch, input)
      if (refused !== undefined) return refused
      const record = batch.get(invoiceKind, hash)
      if (record === undefined) throw new Error('an invoice is gone')
      return record
    })

  return {
    fromChannel(batch, channel, effect) {
      const event = effect as ChannelEvent
      switch (event.type) {
        case 'htlcCommitted':
        case 'htlcFulfilled':
        case 'htlcFailed':
        case 'offerRefused':
          perform(batch, { from: 'channel', channelId: channel.channelId, event })
          return
        default:
          unreachable(event)
      }
    },
    block(batch) {
      perform(batch, { from: 'chain', type: 'block' })
    },
    resume(batch) {
      const all: Channel[] = []
      for (const [, channel] of batch.all(channelKind)) if (channel.phase.name !== 'closed') all.push(channel)
      const outcome = reconcile(recordsOf(batch, liveInvoices), all, env(batch))
      for (const orphan of outcome.orphans)
        log.warn({ kind: orphan.kind, id: orphan.id }, 'a record without its HTLC; the chain decides')
      apply(batch, outcome)
    },
    start: tick,
    stop() {
      stopped = true
      cancelTick?.()
    },
    pay(invoice, { amountMsat, maxFeeMsat, maxDelayBlocks, reference }) {
      const seed = random.bytes(32)
      return drive.submit((batch): Payment | PaymentRefusal => {
        const refused = perform(batch, {
          from: 'owner',
          type: 'pay',
          request: {
            invoice,
            maxFeeMsat,
            timeoutMs: PAYMENT_TIMEOUT_MS,
            seed,
            ...(amountMsat === undefined ? {} : { amountMsat }),
            ...(maxDelayBlocks === undefined ? {} : { maxCltvDelta: maxDelayBlocks }),
          },
        })
        if (refused !== undefined) return refused
        const record = batch.get(paymentKind, invoice.paymentHash)
        if (record === undefined) throw new Error('a payment that was just made is gone')
        noteMade(batch, reference, { paymentHash: invoice.paymentHash })
        return record
      })
    },
    async ended(hash, ms) {
      const now = (): Payment | undefined => drive.states(paymentKind).get(hash)
      if (now()?.status !== 'inFlight' || ms <= 0) return now()
      await new Promise<void>((resolve) => {
        const listeners = waiting.get(hash) ?? new Set()
        waiting.set(hash, listeners)
        const cancel = clock.setTimer(ms, () => {
          listeners.delete(done)
          resolve()
        })
        const done = (): void => {
          cancel()
          resolve()
        }
        listeners.add(done)
      })
      return now()
    },
    invoice({ amountMsat, description, expirySeconds, hold, metadata, externalId, reference }) {
      const preimage = hold === undefined ? random.bytes(32) : undefined
      const paymentSecret = random.bytes(32)
      return drive.submit((batch): InvoiceRecord | PaymentRefusal => {
        const made = createInvoice(
          recordsOf(batch, liveInvoices),
          {
            description,
            expirySeconds,
            minFinalCltvExpiryDelta: MIN_FINAL_CLTV_EXPIRY_DELTA,
            hold: hold !== undefined,
            paymentSecret,
            routeHints: routeHints(gossip.state).slice(0, MAX_ROUTE_HINTS),
            ...(amountMsat === undefined ? {} : { amountMsat }),
            ...(preimage === undefined ? {} : { preimage }),
            ...(hold === undefined ? {} : { paymentHash: hold.paymentHash }),
          },
          env(batch),
        )
        if ('kind' in made) return made
        apply(batch, made)
        events.append(batch, 'invoice.created', { paymentHash: made.invoice.paymentHash })
        noteMade(batch, reference, { paymentHash: made.invoice.paymentHash })
        if (metadata !== undefined || externalId !== undefined)
          batch.set(invoiceNoteKind, made.invoice.paymentHash, {
            ...(metadata === undefined ? {} : { metadata }),
            ...(externalId === undefined ? {} : { externalId }),
          })
        return made.invoice
      })
    },
    settle: (hash, preimage) => invoiceAfter(hash, { from: 'owner', type: 'settleInvoice', paymentHash: hash, preimage }),
    cancel: (hash) => invoiceAfter(hash, { from: 'owner', type: 'cancelInvoice', paymentHash: hash }),
    payments: () => drive.states(paymentKind),
    invoices: () => drive.states(invoiceKind),
    forwards: () => drive.states(forwardKind),
    note: (hash) => drive.states(invoiceNoteKind).get(hash),
  }
}
