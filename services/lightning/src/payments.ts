/**
 * Payments inside the drive: what channels tell goes to the payment machine, what it wants goes back to channels, in the same commit.
 * The wiring between `payment` and `channel`, which do not know each other, and the graph that routes are found in.
 * Payments and invoices that have ended leave memory: a job that may need one asks for it, and who only reads waits for the store.
 */
import { type Channel, capacityNow, channelKind } from '@leyden/channel'
import { type BlockHeight, chainHash, Msat, type Network } from '@leyden/bitcoin'
import { bytesToHex, packRecord, unpackRecord, unreachable } from '@leyden/codec'
import { ecdsaSignRecoverable, sha256 } from '@leyden/crypto'
import { type ChannelId, type NodeId, PaymentHash, type ShortChannelId } from '@leyden/lnwire'
import {
  type ChannelCommand,
  type ChannelEvent,
  type ChannelView,
  createInvoice,
  DEFAULT_PAYMENT_POLICY,
  forgetForwards,
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
import {
  type Batch,
  type Cancel,
  type Clock,
  type Drive,
  key,
  type Random,
  recordKind,
  type Store,
  waking,
  type Waking,
} from '@leyden/runtime'
import type { Channels, OwnerEffect } from './channels.ts'
import type { EventLog } from './events.ts'
import type { GossipNode } from './gossip.ts'
import { noteMade } from './idempotency.ts'
import type { Log } from './log.ts'
import type { NodeEffect } from './node-effect.ts'
import type { RelayPolicy } from './node.ts'
import { createHistory, type Page, type PageWish } from './payment-history.ts'

export const paymentKind = recordKind<Payment>(PAYMENT_RECORD.name, PAYMENT_RECORD.version, PAYMENT_RECORD)
export const invoiceKind = recordKind<InvoiceRecord>(INVOICE_RECORD.name, INVOICE_RECORD.version, INVOICE_RECORD)
export const forwardKind = recordKind<Forward>(FORWARD_RECORD.name, FORWARD_RECORD.version)
export const paymentKinds = [paymentKind, invoiceKind, forwardKind] as const
export const PAYMENT_HISTORY = 'payment-time'
export const INVOICE_HISTORY = 'invoice-time'

/** What the API's caller wants to find again with an invoice. A row of its own, which is never changed. */
export interface InvoiceNote {
  readonly metadata?: Readonly<Record<string, string>> | undefined
  readonly externalId?: string | undefined
}
const NOTE_VERSION = 1
const noteKey = (hash: string): Uint8Array => key('invoice-note', hash, '')

const TICK_MS = 1_000
const MAX_ROUTE_HINTS = 4
/** BOLT 11 § min_final_cltv_expiry_delta: 18 by default; more leaves room to go to the chain with a preimage. */
const MIN_FINAL_CLTV_EXPIRY_DELTA = 24
/** No new attempt of a payment begins after so long. */
const PAYMENT_TIMEOUT_MS = 60_000

export interface PaymentsOptions {
  readonly store: Store
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
  /** Before the first job: brings a store of before into shape. */
  prepare(): Promise<void>
  resume(batch: Batch<NodeEffect>): void
  /** What `resume` needs though it may have ended: what HTLCs of channels name. */
  readonly resumed: readonly Waking[]
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
  /** A payment, live or ended. */
  payment(hash: string): Promise<Payment | undefined>
  /** An invoice, live or ended, as the API's caller sees it. */
  findInvoice(hash: string): Promise<NotedInvoice | undefined>
  /** A page of all; undefined: not a cursor of this list. */
  payments(wish: PageWish): Promise<Page<Payment> | undefined>
  invoices(wish: PageWish): Promise<Page<NotedInvoice> | undefined>
  /** Those in flight. */
  livePayments(): ReadonlyMap<string, Payment>
  /** Those that are open, or accepted. */
  liveInvoices(): ReadonlyMap<string, InvoiceRecord>
  /** HTLCs that came in and went on, by channel and id of the incoming one, until that is gone. */
  forwards(): ReadonlyMap<string, Forward>
}

export interface NotedInvoice {
  readonly invoice: InvoiceRecord
  readonly note?: InvoiceNote | undefined
}

const recordsOf = (batch: Batch<NodeEffect>): PaymentRecords => ({
  payment: (hash) => batch.get(paymentKind, hash),
  invoice: (hash) => batch.get(invoiceKind, hash),
  forward: (key) => batch.get(forwardKind, key),
  *livePayments() {
    for (const [, payment] of batch.all(paymentKind)) if (payment.status === 'inFlight') yield payment
  },
  *liveInvoices() {
    for (const [, invoice] of batch.all(invoiceKind)) if (!INVOICE_RECORD.rests(invoice)) yield invoice
  },
  *forwards() {
    for (const [, forward] of batch.all(forwardKind)) yield forward
  },
})

export const createPayments = (options: PaymentsOptions): Payments => {
  const { store, drive, clock, random, log, network, nodeId, gossip, events, channels } = options
  const paymentHistory = createHistory(PAYMENT_HISTORY, paymentKind, { store, drive })
  const invoiceHistory = createHistory(INVOICE_HISTORY, invoiceKind, { store, drive })
  const scores = emptyScores()
  const waiting = new Map<PaymentHash, Set<() => void>>()
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
      if (write.kind === 'payment') {
        paymentHistory.place(batch, batch.get(paymentKind, write.id), write.record)
        batch.set(paymentKind, write.id, write.record)
      } else if (write.kind === 'invoice') {
        invoiceHistory.place(batch, batch.get(invoiceKind, write.id), write.record)
        batch.set(invoiceKind, write.id, write.record)
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
    const outcome = stepPayments(recordsOf(batch), input, env(batch))
    if (isRefusal(outcome)) return outcome
    apply(batch, outcome)
    return undefined
  }

  /** Whether an HTLC that came in is still in its channel. */
  const isReceived = (batch: Batch<NodeEffect>, channelId: ChannelId, htlcId: bigint): boolean => {
    const channel = batch.get(channelKind, channelId)
    if (channel === undefined || channel.phase.name === 'closed') return false
    return channel.htlcs.some((htlc) => htlc.offeredBy === 'remote' && htlc.id === htlcId)
  }

  const tick = (): void => {
    if (stopped) return
    drive
      .submit((batch) => {
        perform(batch, { from: 'clock', type: 'tick' })
        apply(
          batch,
          forgetForwards(recordsOf(batch), (channelId, htlcId) => isReceived(batch, channelId, htlcId)),
        )
      })
      .then(
        () => {
          if (!stopped) cancelTick = clock.setTimer(TICK_MS, tick)
        },
        () => undefined, // stopped
      )
  }

  const invoiceAfter = (hash: PaymentHash, input: PaymentInput): Promise<InvoiceRecord | PaymentRefusal> =>
    drive.submit(
      (batch): InvoiceRecord | PaymentRefusal => {
        const refused = perform(batch, input)
        if (refused !== undefined) return refused
        const record = batch.get(invoiceKind, hash)
        if (record === undefined) throw new Error('an invoice is gone')
        return record
      },
      [waking(invoiceKind, hash)],
    )

  const noted = async (invoice: InvoiceRecord): Promise<NotedInvoice> => {
    const row = await store.get(noteKey(invoice.paymentHash))
    return row === undefined ? { invoice } : { invoice, note: (unpackRecord(row) as { readonly state: InvoiceNote }).state }
  }

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
    async prepare() {
      await paymentHistory.complete()
      await invoiceHistory.complete()
    },
    get resumed() {
      const named: Waking[] = []
      for (const channel of drive.states(channelKind).values()) {
        if (channel.phase.name === 'closed') continue
        for (const { offeredBy, origin, paymentHash } of channel.htlcs)
          if (offeredBy === 'remote') named.push(waking(invoiceKind, paymentHash))
          else if (origin?.kind === 'payment') named.push(waking(paymentKind, origin.paymentId))
      }
      return named
    },
    resume(batch) {
      const all: Channel[] = []
      for (const [, channel] of batch.all(channelKind)) if (channel.phase.name !== 'closed') all.push(channel)
      const outcome = reconcile(recordsOf(batch), all, env(batch))
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
      return drive.submit(
        (batch): Payment | PaymentRefusal => {
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
        },
        [waking(paymentKind, invoice.paymentHash)],
      )
    },
    async ended(hash, ms) {
      // in memory: in flight, and between this look and the wait below nothing can happen
      if (!drive.states(paymentKind).has(hash) || ms <= 0) return drive.stored(paymentKind, hash)
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
      return drive.stored(paymentKind, hash)
    },
    invoice({ amountMsat, description, expirySeconds, hold, metadata, externalId, reference }) {
      const preimage = hold === undefined ? random.bytes(32) : undefined
      const paymentSecret = random.bytes(32)
      const paymentHash = preimage === undefined ? hold?.paymentHash : PaymentHash(bytesToHex(sha256(preimage)))
      return drive.submit(
        (batch): InvoiceRecord | PaymentRefusal => {
          const made = createInvoice(
            recordsOf(batch),
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
            batch.put(
              noteKey(made.invoice.paymentHash),
              packRecord({
                version: NOTE_VERSION,
                state: { ...(metadata === undefined ? {} : { metadata }), ...(externalId === undefined ? {} : { externalId }) },
              }),
            )
          return made.invoice
        },
        paymentHash === undefined ? [] : [waking(invoiceKind, paymentHash)],
      )
    },
    settle: (hash, preimage) => invoiceAfter(hash, { from: 'owner', type: 'settleInvoice', paymentHash: hash, preimage }),
    cancel: (hash) => invoiceAfter(hash, { from: 'owner', type: 'cancelInvoice', paymentHash: hash }),
    payment: (hash) => drive.stored(paymentKind, hash),
    async findInvoice(hash) {
      const invoice = await drive.stored(invoiceKind, hash)
      return invoice === undefined ? undefined : noted(invoice)
    },
    payments: (wish) => paymentHistory.page(wish),
    async invoices(wish) {
      const page = await invoiceHistory.page(wish)
      return page === undefined ? undefined : { ...page, data: await Promise.all(page.data.map(noted)) }
    },
    livePayments: () => drive.states(paymentKind),
    liveInvoices: () => drive.states(invoiceKind),
    forwards: () => drive.states(forwardKind),
  }
}
