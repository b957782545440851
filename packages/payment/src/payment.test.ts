/**
 * Payments through a small network: real onions, invoices and searches; channels are lists of HTLCs that pass at once or when told.
 * Then one example per rule of the final and the forwarding node, and what a restart finds.
 */
import { BlockHeight, Msat } from '@leyden/bitcoin'
import { bytesToHex, hexToBytes, packRecord, unpackRecord } from '@leyden/codec'
import { ecdsaSign, ecdsaSignRecoverable, pointFromSecret, sha256 } from '@leyden/crypto'
import { ChannelId, type NodeId, nodeIdFromPoint, PaymentHash, scid, type ShortChannelId } from '@leyden/lnwire'
import { buildFailure, buildOnion, encodeHopPayload, type Failure, unwrapFailure } from '@leyden/onion'
import { buildChannelUpdate, emptyGraph, findRoute, type HintHop, type OwnPolicy, type Route } from '@leyden/routing'
import { isDeepStrictEqual } from 'node:util'
import { describe, expect, it } from 'vitest'
import { decodeInvoice, type Invoice } from './bolt11.ts'
import type { ChannelCommand, ChannelEvent, ChannelView, HtlcOrigin, HtlcRow } from './channel-port.ts'
import { type PaymentInput, reconcile, stepPayments } from './dispatch.ts'
import {
  DEFAULT_PAYMENT_POLICY,
  isRefusal,
  type Outcome,
  type PaymentEffect,
  type PaymentEnv,
  type PaymentPolicy,
  type PaymentRefusal,
} from './env.ts'
import { createInvoice, type InvoiceRequest } from './receive.ts'
import { type Forward, INVOICE_RECORD, type InvoiceRecord, type Payment, PAYMENT_RECORD, type PaymentRecords } from './records.ts'

interface RestingRecord<T> {
  readonly rests: (record: T) => boolean
  readonly resting: { readonly pack: (record: T) => unknown; readonly unpack: (packed: unknown, id: string) => T }
}

const bytes32 = (name: string): Uint8Array => sha256(new TextEncoder().encode(name))

/** One direction pair of HTLCs between two nodes. */
interface Link {
  readonly channelId: ChannelId
  readonly shortChannelId: ShortChannelId
  readonly ends: readonly [string, string]
  readonly capacity: Map<string, bigint>
  usable: boolean
  nextId: bigint
  /** Ids are per offerer on a real channel; here one counter serves both. */
  readonly htlcs: Map<bigint, HtlcRow & { readonly by: string }>
}

interface TestNode {
  readonly name: string
  readonly secret: Uint8Array
  readonly id: NodeId
  readonly payments: Map<string, Payment>
  readonly invoices: Map<string, InvoiceRecord>
  readonly forwards: Map<string, Forward>
  readonly events: PaymentEffect[]
  readonly policy: OwnPolicy
}

const POLICY: OwnPolicy = {
  enabled: true,
  cltvExpiryDelta: 40,
  feeBaseMsat: 1000,
  feeProportionalMillionths: 100,
  htlcMinimumMsat: Msat(1n),
  htlcMaximumMsat: Msat(1_000_000_000n),
}
const MAX = Msat(10_000_000n)

class Net {
  now = 1_700_000_000_000
  height = 1000
  policy: PaymentPolicy = DEFAULT_PAYMENT_POLICY
  readonly nodes = new Map<string, TestNode>()
  readonly links: Link[] = []
  /** Inputs that wait for delivery, oldest first. */
  readonly queue: { readonly to: string; readonly input: PaymentInput }[] = []
  /** HTLCs whose offer is held back from the receiver. */
  hold = false
  /** Routes that replace the search. */
  route: ((from: string, query: Parameters<PaymentEnv['findRoute']>[0]) => Route | undefined) | undefined
  /** Policies that payers believe in, by link and name of the forwarding end; otherwise the true one. */
  readonly believed = new Map<string, OwnPolicy>()

  node(name: string, policy: Partial<OwnPolicy> = {}): this {
    const secret = bytes32(name)
    const id = nodeIdFromPoint(pointFromSecret(secret))
    this.nodes.set(name, {
      name,
      secret,
      id,
      payments: new Map(),
      invoices: new Map(),
      forwards: new Map(),
      events: [],
      policy: { ...POLICY, ...policy },
    })
    return this
  }

  link(a: string, b: string, capacityMsat = 1_000_000_000n): Link {
    const n = this.links.length + 1
    const link: Link = {
      channelId: ChannelId(n.toString(16).padStart(64, '0')),
      shortChannelId: scid(500, n, 0),
      ends: [a, b],
      capacity: new Map([
        [a, capacityMsat],
        [b, capacityMsat],
      ]),
      usable: true,
      nextId: 0n,
      htlcs: new Map(),
    }
    this.links.push(link)
    return link
  }

  get(name: string): TestNode {
    const found = this.nodes.get(name)
    if (found === undefined) throw new Error(name)
    return found
  }

  private linkOf(channelId: ChannelId): Link {
    const found = this.links.find((link) => link.channelId === channelId)
    if (found === undefined) throw new Error('no link')
    return found
  }

  other(link: Link, name: string): string {
    return link.ends[0] === name ? link.ends[1] : link.ends[0]
  }

  views(name: string): ChannelView[] {
    const node = this.get(name)
    return this.links
      .filter(({ ends }) => ends.includes(name))
      .map((link) => ({
        channelId: link.channelId,
        remoteNodeId: this.get(this.other(link, name)).id,
        shortChannelIds: [link.shortChannelId, scid(0, 77, Number(link.nextId % 1n))],
        usable: link.usable,
        canSendMsat: Msat(link.capacity.get(name) ?? 0n),
        htlcMinimumMsat: Msat(1n),
        policy: node.policy,
        channelUpdate: this.updateOf(link, name),
      }))
  }

  updateOf(link: Link, name: string): Uint8Array {
    const node = this.get(name)
    return buildChannelUpdate(
      {
        chainHash: new Uint8Array(32),
        shortChannelId: link.shortChannelId,
        localNodeId: node.id,
        remoteNodeId: this.get(this.other(link, name)).id,
        timestamp: 1_700_000_000,
        policy: node.policy,
        private: false,
      },
      (hash) => ecdsaSign(hash, node.secret),
    ).raw
  }

  /** The network as hints: every link in both directions, at the policies that are believed in. */
  private hints(target: NodeId): HintHop[][] {
    return this.links.flatMap((link) =>
      link.ends.map((from): HintHop[] => {
        const policy = this.believed.get(`${link.shortChannelId}/${from}`) ?? this.get(from).policy
        const hop: HintHop = { nodeId: this.get(from).id, shortChannelId: link.shortChannelId, ...policy }
        const to = this.get(this.other(link, from)).id
        return to === target ? [hop] : [hop, { ...hop, nodeId: to, shortChannelId: scid(1, 1, 1), feeBaseMsat: 4_000_000_000 }]
      }),
    )
  }

  env(name: string): PaymentEnv {
    const node = this.get(name)
    return {
      nodeId: node.id,
      nodeSecret: node.secret,
      signInvoice: (hash) => ecdsaSignRecoverable(hash, node.secret),
      invoicePrefix: 'bcrt',
      height: BlockHeight(this.height),
      nowMs: this.now,
      policy: this.policy,
      channels: () => this.views(name),
      findChannel: (id) => this.views(name).find((view) => view.shortChannelIds.includes(id)),
      findRoute: (query) =>
        this.route === undefined
          ? findRoute(emptyGraph(), { ...query, source: node.id, hints: [...query.hints, ...this.hints(query.target)] })
          : this.route(name, query),
    }
  }

  /** What channels say finds no record that rests: it is in memory no more. */
  records(name: string, wakes = true): PaymentRecords {
    const { payments, invoices, forwards } = this.get(name)
    const seen = <T>(record: T | undefined, rests: (record: T) => boolean): T | undefined =>
      record !== undefined && !wakes && rests(record) ? undefined : record
    return {
      payment: (hash) => seen(payments.get(hash), PAYMENT_RECORD.rests),
      invoice: (hash) => seen(invoices.get(hash), INVOICE_RECORD.rests),
      forward: (key) => forwards.get(key),
      livePayments: () => [...payments.values()].filter(({ status }) => status === 'inFlight'),
      liveInvoices: () => [...invoices.values()].filter(({ status }) => status === 'open' || status === 'accepted'),
      forwards: () => forwards.values(),
    }
  }

  /** Stores as the store does: whatever a record cannot keep shows. */
  apply(name: string, outcome: Outcome): void {
    const node = this.get(name)
    for (const write of outcome.writes) {
      const again = <T>(record: T): T => {
        const copy = unpackRecord(packRecord(record)) as T
        if (!isDeepStrictEqual(packRecord(copy), packRecord(record))) throw new Error('the store changed a record')
        return copy
      }
      const kept = <T>(id: string, record: T, { rests, resting }: RestingRecord<T>): T => {
        if (!rests(record)) return again(record)
        const packed = resting.pack(record)
        if (packed === undefined) throw new Error('a record that rests does not fit its shape')
        const copy = resting.unpack(again(packed), id)
        expect(copy).toStrictEqual(record)
        return copy
      }
      if (write.kind === 'payment') node.payments.set(write.id, kept(write.id, write.record, PAYMENT_RECORD))
      else if (write.kind === 'invoice') node.invoices.set(write.id, kept(write.id, write.record, INVOICE_RECORD))
      else if (write.record === undefined) node.forwards.delete(write.id)
      else node.forwards.set(write.id, again(write.record))
    }
    for (const effect of outcome.effects) {
      if (effect.to === 'channel') this.command(name, effect.channelId, effect.command)
      else node.events.push(effect)
    }
  }

  step(name: string, input: PaymentInput): Outcome | PaymentRefusal {
    const outcome = stepPayments(this.records(name, input.from === 'owner'), input, this.env(name))
    if (!isRefusal(outcome)) this.apply(name, outcome)
    return outcome
  }

  private tell(to: string, channelId: ChannelId, event: ChannelEvent): void {
    this.queue.push({ to, input: { from: 'channel', channelId, event } })
  }

  command(name: string, channelId: ChannelId, command: ChannelCommand): void {
    const link = this.linkOf(channelId)
    const peer = this.other(link, name)
    if (command.type === 'offerHtlc') {
      const left = (link.capacity.get(name) ?? 0n) - command.amountMsat
      if (!link.usable || left < 0n) {
        this.tell(name, channelId, { type: 'offerRefused', origin: command.origin, refusal: { code: 'offline' } })
        return
      }
      link.capacity.set(name, left)
      const { from: _, type: __, ...offer } = command
      const id = link.nextId++
      link.htlcs.set(id, { ...offer, offeredBy: 'local', id, stage: 4, by: name })
      const { origin: ___, ...htlc } = offer
      if (!this.hold) this.tell(peer, channelId, { type: 'htlcCommitted', htlc: { id, ...htlc } })
      return
    }
    const htlc = link.htlcs.get(command.htlcId)
    if (htlc?.origin === undefined || htlc.by !== peer || htlc.removal !== undefined)
      throw new Error(`${name}: ${command.type} for an HTLC that is not there`)
    const { origin } = htlc
    const credit = (to: string): void => {
      link.capacity.set(to, (link.capacity.get(to) ?? 0n) + htlc.amountMsat)
    }
    link.htlcs.delete(command.htlcId)
    if (command.type === 'fulfillHtlc') {
      if (bytesToHex(sha256(command.preimage)) !== htlc.paymentHash) throw new Error('wrong preimage')
      credit(name)
      this.tell(peer, channelId, { type: 'htlcFulfilled', htlcId: htlc.id, origin, preimage: command.preimage })
      return
    }
    credit(peer)
    const failure =
      command.type === 'failHtlc'
        ? { kind: 'remote' as const, reason: command.reason }
        : { kind: 'malformed' as const, failureCode: command.failureCode, sha256OfOnion: command.sha256OfOnion }
    this.tell(peer, channelId, { type: 'htlcFailed', htlcId: htlc.id, origin, failure })
  }

  /** Delivers until nothing is left. */
  run(): void {
    for (let next = this.queue.shift(); next !== undefined; next = this.queue.shift()) this.step(next.to, next.input)
  }

  invoice(name: string, request: Partial<InvoiceRequest> = {}): Invoice {
    const made = createInvoice(
      this.records(name),
      {
        amountMsat: Msat(1_000_000n),
        description: 'tea',
        expirySeconds: 3600,
        minFinalCltvExpiryDelta: 18,
        preimage: bytes32(`preimage ${this.get(name).invoices.size}`),
        hold: false,
        paymentSecret: bytes32('secret'),
        routeHints: [],
        ...request,
      },
      this.env(name),
    )
    if (isRefusal(made)) throw new Error(made.code)
    this.apply(name, made)
    const decoded = decodeInvoice(made.invoice.text)
    if ('problem' in decoded) throw new Error(decoded.problem)
    return decoded
  }

  pay(
    name: string,
    invoice: Invoice,
    more: { amountMsat?: Msat; maxFeeMsat?: Msat; timeoutMs?: number } = {},
  ): Outcome | PaymentRefusal {
    return this.step(name, {
      from: 'owner',
      type: 'pay',
      request: { invoice, maxFeeMsat: MAX, timeoutMs: 60_000, seed: bytes32(`seed ${this.now}`), ...more },
    })
  }

  payment(name: string, invoice: Invoice): Payment {
    const found = this.get(name).payments.get(invoice.paymentHash)
    if (found === undefined) throw new Error('no payment')
    return found
  }
}

/** a - b - c */
const line = (policy: Partial<OwnPolicy> = {}): Net => {
  const net = new Net().node('a').node('b', policy).node('c')
  net.link('a', 'b')
  net.link('b', 'c')
  return net
}
/** a - b - d and a - c - d; c is dearer. */
const diamond = (): Net => {
  const net = new Net().node('a').node('b').node('c', { feeBaseMsat: 2000 }).node('d')
  net.link('a', 'b')
  net.link('a', 'c')
  net.link('b', 'd')
  net.link('c', 'd')
  return net
}
const capacities = (net: Net): readonly (readonly bigint[])[] =>
  net.links.map(({ capacity }) => [...capacity.values()].map((n) => n - 1_000_000_000n))
const codes = (payment: Payment): readonly (string | undefined)[] => payment.attempts.map(({ failure }) => failure?.code)

describe('a payment', () => {
  it('goes through a node in between, which keeps its fee', () => {
    const net = line()
    const invoice = net.invoice('c')
    net.pay('a', invoice)
    net.run()
    expect(net.payment('a', invoice)).toMatchObject({
      status: 'succeeded',
      feeMsat: 1100n,
      preimage: bytesToHex(bytes32('preimage 0')),
    })
    expect(net.get('c').invoices.get(invoice.paymentHash)).toMatchObject({ status: 'settled', receivedMsat: 1_000_000n })
    expect([...net.get('b').forwards.values()]).toMatchObject([{ status: 'fulfilled' }])
    expect(capacities(net)).toStrictEqual([
      [-1_001_100n, 1_001_100n],
      [-1_000_000n, 1_000_000n],
    ])
    expect(net.payment('a', invoice).attempts[0]?.sharedSecrets).toBe(undefined)
  })

  it('goes to a peer without a fee', () => {
    const net = line()
    const invoice = net.invoice('b')
    net.pay('a', invoice)
    net.run()
    expect(net.payment('a', invoice)).toMatchObject({ status: 'succeeded', feeMsat: 0n })
  })

  it('tries another path after a failure, and says what it learnt', () => {
    const net = diamond()
    net.links[2]?.capacity.set('b', 0n)
    const invoice = net.invoice('d')
    net.pay('a', invoice)
    net.run()
    const payment = net.payment('a', invoice)
    expect(payment.status).toBe('succeeded')
    expect(codes(payment)).toStrictEqual(['temporary_channel_failure', undefined])
    expect(payment.feeMsat).toBe(2100n)
    const [edges] = net.get('a').events.filter((event) => event.to === 'owner' && event.type === 'edges')
    expect(edges).toMatchObject({
      outcomes: [
        { passed: true, edge: { from: net.get('a').id } },
        { passed: false, edge: { from: net.get('b').id, to: net.get('d').id }, amountMsat: 1_000_000n },
      ],
    })
  })

  it('that fails everywhere ends once, and nobody has lost anything', () => {
    const net = diamond()
    net.links[2]?.capacity.set('b', 0n)
    net.links[3]?.capacity.set('c', 0n)
    const invoice = net.invoice('d')
    net.pay('a', invoice)
    net.run()
    expect(net.payment('a', invoice)).toMatchObject({ status: 'failed', failure: 'no_route' })
    expect(net.payment('a', invoice).attempts).toHaveLength(2)
    expect(net.links[0]?.capacity.get('a')).toBe(1_000_000_000n)
    const ends = net
      .get('a')
      .events.filter((event) => event.to === 'owner' && event.type === 'paymentChanged' && event.payment.status === 'failed')
    expect(ends).toHaveLength(1)
  })

  it('without a path, over the fee, or after its time, ends at once', () => {
    const net = line()
    const invoice = net.invoice('c')
    net.pay('a', invoice, { maxFeeMsat: Msat(1099n) })
    expect(net.payment('a', invoice)).toMatchObject({ status: 'failed', failure: 'no_route', attempts: [] })
    net.pay('a', invoice, { timeoutMs: 0 })
    expect(net.payment('a', invoice)).toMatchObject({ status: 'failed', failure: 'timed_out' })
  })

  it('keeps to the delay that its owner allows, on every path', () => {
    const net = diamond()
    net.links[2]?.capacity.set('b', 0n)
    const invoice = net.invoice('d')
    const policy = net.policy
    net.policy = { ...policy, maxCltvDelta: 61 }
    net.pay('a', invoice)
    net.policy = policy
    expect(net.payment('a', invoice)).toMatchObject({ plan: { maxCltvDelta: 61 }, attempts: [{ route: { totalCltvDelta: 61 } }] })
    const dear = net.get('c')
    net.nodes.set('c', { ...dear, policy: { ...dear.policy, cltvExpiryDelta: 41 } })
    net.run()
    expect(net.payment('a', invoice)).toMatchObject({ status: 'failed', failure: 'no_route' })
    expect(net.payment('a', invoice).attempts).toHaveLength(1)
  })

  it('what its owner hears comes in order, also when a channel refuses at once', () => {
    const net = line()
    const invoice = net.invoice('c')
    const outcome = net.pay('a', invoice) as Outcome
    expect(outcome.effects.map((effect) => (effect.to === 'owner' ? effect.type : effect.command.type))).toStrictEqual([
      'paymentChanged',
      'offerHtlc',
    ])
  })

  it('stops after so many attempts', () => {
    const net = diamond()
    net.policy = { ...net.policy, maxAttempts: 1 }
    net.links[2]?.capacity.set('b', 0n)
    const invoice = net.invoice('d')
    net.pay('a', invoice)
    net.run()
    expect(net.payment('a', invoice)).toMatchObject({ status: 'failed', failure: 'too_many_attempts' })
  })

  it('that the payee refuses is not tried again', () => {
    const net = diamond()
    const invoice = net.invoice('d')
    net.step('d', { from: 'owner', type: 'cancelInvoice', paymentHash: invoice.paymentHash })
    net.pay('a', invoice)
    net.run()
    expect(net.payment('a', invoice)).toMatchObject({ status: 'failed', failure: 'payee_refused' })
    expect(codes(net.payment('a', invoice))).toStrictEqual(['incorrect_or_unknown_payment_details'])
  })

  it('a hash is paid at most once: not while it is under way, not after', () => {
    const net = line()
    const invoice = net.invoice('c', { hold: true })
    net.pay('a', invoice)
    expect(net.pay('a', invoice)).toMatchObject({ code: 'already_in_flight' })
    net.run()
    expect(net.pay('a', invoice)).toMatchObject({ code: 'already_in_flight' })
    net.step('c', { from: 'owner', type: 'settleInvoice', paymentHash: invoice.paymentHash })
    net.run()
    expect(net.pay('a', invoice)).toMatchObject({ code: 'already_paid' })
    expect(net.payment('a', invoice).attempts).toHaveLength(1)
  })

  it('that has failed may be tried anew, with attempts of other numbers and onions', () => {
    const net = line()
    const link = net.links[1]
    link?.capacity.set('b', 0n)
    const invoice = net.invoice('c')
    net.pay('a', invoice)
    net.run()
    expect(net.payment('a', invoice).status).toBe('failed')
    link?.capacity.set('b', 1_000_000_000n)
    net.now += 1000
    net.pay('a', invoice)
    net.run()
    expect(net.payment('a', invoice)).toMatchObject({ status: 'succeeded', attempts: [{ number: 1 }] })
  })

  it('takes another channel when the first refuses the offer', () => {
    const net = diamond()
    const invoice = net.invoice('d')
    const first = net.links[0]
    const views = net.views.bind(net)
    net.views = (name) => views(name).map((view) => ({ ...view, usable: true }))
    if (first) first.usable = false
    net.pay('a', invoice)
    net.run()
    expect(codes(net.payment('a', invoice))).toStrictEqual(['refused', undefined])
    expect(net.payment('a', invoice).status).toBe('succeeded')
  })

  it('pays a fee that a node has raised, once it has said so', () => {
    const net = line({ feeBaseMsat: 5000 })
    net.believed.set(`${net.links[1]?.shortChannelId}/b`, POLICY)
    const invoice = net.invoice('c')
    net.pay('a', invoice)
    net.step('b', net.queue.shift()?.input as PaymentInput)
    // the owner gives the update in the failure to the scores: here the payer believes it from now on
    net.believed.clear()
    net.run()
    expect(codes(net.payment('a', invoice))).toStrictEqual(['fee_insufficient', undefined])
    expect(net.payment('a', invoice)).toMatchObject({ status: 'succeeded', feeMsat: 5100n })
    const told = net.get('a').events.flatMap((event) => (event.to === 'owner' && event.type === 'edges' ? event.outcomes : []))
    expect(told.find(({ passed }) => !passed)).toMatchObject({ channelUpdate: net.updateOf(net.links[1] as Link, 'b') })
  })

  it('is not tried for ever against a node that refuses what it asks for', () => {
    const net = line({ feeBaseMsat: 5000 })
    net.believed.set(`${net.links[1]?.shortChannelId}/b`, POLICY)
    const invoice = net.invoice('c')
    net.pay('a', invoice)
    net.run()
    expect(codes(net.payment('a', invoice))).toStrictEqual(['fee_insufficient', 'fee_insufficient'])
    expect(net.payment('a', invoice)).toMatchObject({ status: 'failed', failure: 'no_route' })
  })

  it('S64: a failure that nobody on the route can have made is nobody`s, and crashes nothing', () => {
    const net = diamond()
    const invoice = net.invoice('d')
    for (const reason of [new Uint8Array(0), new Uint8Array(292).fill(1), new Uint8Array(5000)]) {
      net.now += 1000
      net.pay('a', invoice)
      net.queue.length = 0
      const attempt = net.payment('a', invoice).attempts.at(-1)
      const origin: HtlcOrigin = { kind: 'payment', paymentId: invoice.paymentHash, attempt: attempt?.number ?? 0 }
      net.hold = true
      net.step('a', {
        from: 'channel',
        channelId: attempt?.channelId as ChannelId,
        event: { type: 'htlcFailed', htlcId: 0n, origin, failure: { kind: 'remote', reason } },
      })
      expect(net.payment('a', invoice).attempts.find(({ number }) => number === attempt?.number)).toMatchObject({
        status: 'failed',
        failure: { code: 'unreadable' },
      })
      const next = net.payment('a', invoice).attempts.at(-1)
      const again: HtlcOrigin = { ...origin, attempt: next?.number ?? 0 }
      net.step('a', {
        from: 'channel',
        channelId: next?.channelId as ChannelId,
        event: { type: 'htlcFailed', htlcId: 0n, origin: again, failure: { kind: 'onchain' } },
      })
      expect(net.payment('a', invoice).status).toBe('failed')
    }
  })

  it('S48: an outcome counts only for the attempt that it names', () => {
    const net = diamond()
    net.links[2]?.capacity.set('b', 0n)
    const invoice = net.invoice('d', { hold: true })
    net.pay('a', invoice)
    net.run()
    const before = net.payment('a', invoice)
    expect(before.attempts.map(({ status }) => status)).toStrictEqual(['failed', 'inFlight'])
    const late = (attempt: number): void => {
      net.step('a', {
        from: 'channel',
        channelId: net.links[0]?.channelId as ChannelId,
        event: {
          type: 'htlcFailed',
          htlcId: 0n,
          origin: { kind: 'payment', paymentId: invoice.paymentHash, attempt },
          failure: { kind: 'onchain' },
        },
      })
    }
    late(0)
    late(7)
    expect(net.payment('a', invoice)).toStrictEqual(before)
  })

  it('a preimage of something else is none', () => {
    const net = line()
    const invoice = net.invoice('c', { hold: true })
    net.pay('a', invoice)
    net.run()
    net.step('a', {
      from: 'channel',
      channelId: net.links[0]?.channelId as ChannelId,
      event: {
        type: 'htlcFulfilled',
        htlcId: 0n,
        origin: { kind: 'payment', paymentId: invoice.paymentHash, attempt: 0 },
        preimage: bytes32('guess'),
      },
    })
    expect(net.payment('a', invoice).status).toBe('inFlight')
  })

  it('S68: a route that does not fit into an onion is not tried; a shorter one is', () => {
    const net = line()
    const invoice = { ...net.invoice('c'), metadata: new Uint8Array(1180) }
    net.pay('a', invoice)
    expect(net.payment('a', invoice)).toMatchObject({ status: 'failed', failure: 'route_too_long', attempts: [] })
    net.link('a', 'c')
    net.now += 1000
    net.route = (from, query) => {
      net.route = undefined
      const long = net
        .env(from)
        .findRoute({ ...query, ignoredEdges: new Set([`${net.links[2]?.shortChannelId}/${net.get('a').id}`]) })
      expect(long?.hops).toHaveLength(2)
      return long
    }
    net.pay('a', invoice)
    expect(net.payment('a', invoice).attempts[0]?.route.hops).toHaveLength(1)
  })

  it('S68: 25 hops crash nothing', () => {
    const net = line()
    const invoice = net.invoice('c')
    net.route = (from, query) => {
      const found = findRoute(emptyGraph(), { ...query, source: net.get(from).id, target: net.get('b').id })
      const [hop] = found?.hops ?? []
      return found && hop && query.maxHops >= 25 - 5 ? { ...found, hops: Array.from({ length: 25 }, () => hop) } : undefined
    }
    net.pay('a', invoice)
    expect(net.payment('a', invoice).status).toBe('failed')
  })

  it('is refused before it begins when it makes no sense', () => {
    const net = line()
    const invoice = net.invoice('c')
    expect(net.pay('c', invoice)).toMatchObject({ code: 'own_invoice' })
    expect(net.pay('a', { ...invoice, prefix: 'bc' })).toMatchObject({ code: 'wrong_network' })
    expect(net.pay('a', invoice, { amountMsat: Msat(999_999n) })).toMatchObject({ code: 'amount_too_small' })
    expect(net.pay('a', invoice, { amountMsat: Msat(2_000_001n) })).toMatchObject({ code: 'amount_too_small' })
    const { amountMsat: _, ...open } = invoice
    expect(net.pay('a', open)).toMatchObject({ code: 'amount_missing' })
    net.now += 3_600_000
    expect(net.pay('a', invoice)).toMatchObject({ code: 'invoice_expired' })
    expect(net.get('a').payments.size).toBe(0)
  })

  it('of an amount that the payer chooses', () => {
    const net = line()
    const made = net.invoice('c', { preimage: bytes32('x') })
    const record = net.get('c').invoices.get(made.paymentHash) as InvoiceRecord
    const { amountMsat: _, ...open } = record
    net.get('c').invoices.set(made.paymentHash, open)
    const { amountMsat: __, ...invoice } = made
    net.pay('a', invoice, { amountMsat: Msat(123_456n) })
    net.run()
    expect(net.get('c').invoices.get(made.paymentHash)).toMatchObject({ status: 'settled', receivedMsat: 123_456n })
  })
})

describe('an invoice that is held', () => {
  const held = (): { net: Net; invoice: Invoice } => {
    const net = line()
    const invoice = net.invoice('c', { hold: true })
    net.pay('a', invoice)
    net.run()
    return { net, invoice }
  }
  const status = (net: Net, invoice: Invoice): string | undefined => net.get('c').invoices.get(invoice.paymentHash)?.status

  it('is accepted, then settled by its owner', () => {
    const { net, invoice } = held()
    expect(status(net, invoice)).toBe('accepted')
    net.step('c', { from: 'owner', type: 'settleInvoice', paymentHash: invoice.paymentHash })
    net.run()
    expect(status(net, invoice)).toBe('settled')
    expect(net.payment('a', invoice).status).toBe('succeeded')
    expect(net.step('c', { from: 'owner', type: 'settleInvoice', paymentHash: invoice.paymentHash })).toMatchObject({
      effects: [],
    })
    expect(net.step('c', { from: 'owner', type: 'cancelInvoice', paymentHash: invoice.paymentHash })).toMatchObject({
      code: 'invoice_ended',
    })
  })

  it('is accepted, then canceled: the payer has everything back', () => {
    const { net, invoice } = held()
    net.step('c', { from: 'owner', type: 'cancelInvoice', paymentHash: invoice.paymentHash })
    net.run()
    expect(net.payment('a', invoice)).toMatchObject({ status: 'failed', failure: 'payee_refused' })
    expect(capacities(net)).toStrictEqual([
      [0n, 0n],
      [0n, 0n],
    ])
    expect(net.step('c', { from: 'owner', type: 'settleInvoice', paymentHash: invoice.paymentHash })).toMatchObject({
      code: 'invoice_not_accepted',
    })
  })

  it('is given back before its HTLC expires, so that no channel has to close', () => {
    const { net, invoice } = held()
    const part = net.get('c').invoices.get(invoice.paymentHash)?.parts[0]
    expect(part?.cltvExpiry).toBe(1000 + 18 + 3)
    net.height = (part?.cltvExpiry ?? 0) - net.policy.holdFailBlocks - 1
    net.step('c', { from: 'chain', type: 'block' })
    expect(status(net, invoice)).toBe('accepted')
    net.height++
    net.step('c', { from: 'chain', type: 'block' })
    net.run()
    expect(status(net, invoice)).toBe('canceled')
    expect(net.payment('a', invoice).status).toBe('failed')
  })

  it('may be made for a hash whose preimage somebody else has', () => {
    const net = line()
    const preimage = bytes32('theirs')
    const base = { expirySeconds: 60, minFinalCltvExpiryDelta: 18, paymentSecret: bytes32('s'), routeHints: [], description: '' }
    const request: InvoiceRequest = {
      ...base,
      hold: true,
      paymentHash: PaymentHash(bytesToHex(sha256(preimage))),
      amountMsat: Msat(5n),
    }
    const made = createInvoice(net.records('c'), request, net.env('c'))
    if (isRefusal(made)) throw new Error('refused')
    net.apply('c', made)
    const invoice = decodeInvoice(made.invoice.text) as Invoice
    net.pay('a', invoice)
    net.run()
    const settle = (given?: Uint8Array): Outcome | PaymentRefusal =>
      net.step('c', {
        from: 'owner',
        type: 'settleInvoice',
        paymentHash: invoice.paymentHash,
        ...(given === undefined ? {} : { preimage: given }),
      })
    expect(settle()).toMatchObject({ code: 'wrong_preimage' })
    expect(settle(bytes32('no'))).toMatchObject({ code: 'wrong_preimage' })
    settle(preimage)
    net.run()
    expect(net.payment('a', invoice).preimage).toBe(bytesToHex(preimage))
    expect(createInvoice(net.records('c'), request, net.env('c'))).toMatchObject({ code: 'hash_in_use' })
  })

  it('and never paid expires', () => {
    const net = line()
    const invoice = net.invoice('c', { hold: true })
    net.now += 3_600_000
    net.step('c', { from: 'clock', type: 'tick' })
    expect(status(net, invoice)).toBe('expired')
  })
})

/** An HTLC straight to c, over its channel with b, as any sender could make it. */
const direct = (
  net: Net,
  invoice: Invoice,
  more: {
    readonly amountMsat?: bigint
    readonly told?: bigint
    readonly totalMsat?: bigint
    readonly secret?: Uint8Array
    readonly cltvExpiry?: number
    readonly toldCltv?: number
    readonly noPaymentData?: true
    readonly payload?: Uint8Array
  } = {},
): { readonly failure: Failure | undefined; readonly events: readonly ChannelEvent[] } => {
  const amountMsat = Msat(more.amountMsat ?? 1_000_000n)
  const cltvExpiry = BlockHeight(more.cltvExpiry ?? 1018)
  const payload =
    more.payload ??
    encodeHopPayload({
      kind: 'final',
      amtToForward: Msat(more.told ?? amountMsat),
      outgoingCltvValue: BlockHeight(more.toldCltv ?? cltvExpiry),
      ...(more.noPaymentData
        ? {}
        : {
            paymentData: {
              paymentSecret: bytesToHex(more.secret ?? invoice.paymentSecret),
              totalMsat: Msat(more.totalMsat ?? 1_000_000n),
            },
          }),
    })
  const built = buildOnion({
    sessionKey: bytes32(`session ${net.links[1]?.nextId}`),
    hops: [{ nodeId: net.get('c').id, payload }],
    associatedData: hexToBytes(invoice.paymentHash),
  })
  if ('problem' in built) throw new Error(built.problem)
  net.command('b', net.links[1]?.channelId as ChannelId, {
    from: 'owner',
    type: 'offerHtlc',
    amountMsat,
    paymentHash: invoice.paymentHash,
    cltvExpiry,
    onion: built.packet,
    origin: { kind: 'relay', channelId: ChannelId('ff'.repeat(32)), htlcId: 9n },
  })
  const toC = net.queue.shift()
  if (toC) net.step('c', toC.input)
  const events = net.queue.splice(0).flatMap(({ input }) => (input.from === 'channel' ? [input.event] : []))
  const failed = events.find((event) => event.type === 'htlcFailed')
  const reason = failed?.failure.kind === 'remote' ? failed.failure.reason : undefined
  return { failure: reason && unwrapFailure(built.sharedSecrets, reason)?.failure, events }
}

describe('the final node', () => {
  const unknown = { type: 'incorrect_or_unknown_payment_details', htlcMsat: 1_000_000n, height: 1000 }
  const fresh = (request: Partial<InvoiceRequest> = {}): { net: Net; invoice: Invoice } => {
    const net = line()
    return { net, invoice: net.invoice('c', request) }
  }
  const attempt = (more: Parameters<typeof direct>[2]): Failure | undefined => {
    const { net, invoice } = fresh()
    const { failure, events } = direct(net, invoice, more)
    expect(events.map(({ type }) => type)).toStrictEqual(['htlcFailed'])
    expect(net.get('c').invoices.get(invoice.paymentHash)).toMatchObject({ status: 'open', parts: [] })
    return failure
  }

  it('takes exactly what is asked for, and up to twice as much', () => {
    for (const amountMsat of [1_000_000n, 2_000_000n]) {
      const { net, invoice } = fresh()
      expect(direct(net, invoice, { amountMsat, totalMsat: amountMsat }).events).toMatchObject([{ type: 'htlcFulfilled' }])
      expect(net.get('c').invoices.get(invoice.paymentHash)?.receivedMsat).toBe(amountMsat)
    }
  })

  it('S23: gives its preimage only for the right secret', () => {
    expect(attempt({ secret: bytes32('guess') })).toStrictEqual(unknown)
    expect(attempt({ noPaymentData: true })).toStrictEqual(unknown)
  })

  it('S23: gives its preimage only for the right amount', () => {
    expect(attempt({ amountMsat: 999_999n, totalMsat: 999_999n })).toMatchObject({ type: unknown.type })
    expect(attempt({ amountMsat: 2_000_001n, totalMsat: 2_000_001n })).toMatchObject({ type: unknown.type })
    // an HTLC of less than the onion says
    expect(attempt({ amountMsat: 999_999n, told: 1_000_000n })).toStrictEqual({
      type: 'final_incorrect_htlc_amount',
      incomingHtlcAmt: 999_999n,
    })
  })

  it('S23: never gives a preimage of its own for an HTLC that it is asked to forward', () => {
    const net = new Net().node('a').node('b').node('c')
    net.link('a', 'b')
    net.link('b', 'c')
    const invoice = net.invoice('b')
    const payload = encodeHopPayload({
      kind: 'forward',
      amtToForward: Msat(1_000_000n),
      outgoingCltvValue: BlockHeight(1060),
      shortChannelId: scid(9, 9, 9),
    })
    const built = buildOnion({
      sessionKey: bytes32('probe'),
      hops: [
        { nodeId: net.get('b').id, payload },
        { nodeId: net.get('c').id, payload },
      ],
      associatedData: hexToBytes(invoice.paymentHash),
    })
    if ('problem' in built) throw new Error(built.problem)
    net.command('a', net.links[0]?.channelId as ChannelId, {
      from: 'owner',
      type: 'offerHtlc',
      amountMsat: Msat(2_000_000n),
      paymentHash: invoice.paymentHash,
      cltvExpiry: BlockHeight(1100),
      onion: built.packet,
      origin: { kind: 'payment', paymentId: invoice.paymentHash, attempt: 0 },
    })
    net.step('b', net.queue.shift()?.input as PaymentInput)
    expect(net.queue.map(({ input }) => input.from === 'channel' && input.event.type)).toStrictEqual(['htlcFailed'])
    expect(net.get('b').invoices.get(invoice.paymentHash)?.status).toBe('open')
  })

  it('S71: refuses what is expired, unknown, canceled or paid already, all the same', () => {
    const { net, invoice } = fresh()
    direct(net, invoice)
    expect(direct(net, invoice).failure).toStrictEqual(unknown)
    const late = fresh()
    late.net.now += 3_600_000
    expect(direct(late.net, late.invoice).failure).toStrictEqual(unknown)
    const canceled = fresh()
    canceled.net.step('c', { from: 'owner', type: 'cancelInvoice', paymentHash: canceled.invoice.paymentHash })
    expect(direct(canceled.net, canceled.invoice).failure).toStrictEqual(unknown)
    const other = fresh()
    other.net.get('c').invoices.clear()
    expect(direct(other.net, other.invoice).failure).toStrictEqual(unknown)
  })

  it('S67: bounds the expiry at both ends', () => {
    expect(attempt({ cltvExpiry: 1017 })).toStrictEqual(unknown)
    expect(attempt({ cltvExpiry: 1000 + 2017 })).toStrictEqual(unknown)
    expect(attempt({ cltvExpiry: 1018, toldCltv: 1019 })).toStrictEqual({ type: 'final_incorrect_cltv_expiry', cltvExpiry: 1018 })
    const { net, invoice } = fresh()
    expect(direct(net, invoice, { cltvExpiry: 1000 + 2016 }).events).toMatchObject([{ type: 'htlcFulfilled' }])
  })

  it('answers an onion that is no TLV stream, and one with unknown even types', () => {
    expect(attempt({ payload: Uint8Array.of(1, 2, 3) })).toMatchObject({ type: 'invalid_onion_payload' })
    expect(attempt({ payload: Uint8Array.of(2, 1, 5, 100, 0) })).toMatchObject({ type: 'invalid_onion_payload' })
  })

  it('waits for all parts and takes them together', () => {
    const { net, invoice } = fresh()
    expect(direct(net, invoice, { amountMsat: 400_000n }).events).toStrictEqual([])
    expect(direct(net, invoice, { amountMsat: 500_000n }).events).toStrictEqual([])
    const { events } = direct(net, invoice, { amountMsat: 100_000n })
    expect(events.map(({ type }) => type)).toStrictEqual(['htlcFulfilled', 'htlcFulfilled', 'htlcFulfilled'])
    expect(net.get('c').invoices.get(invoice.paymentHash)).toMatchObject({ status: 'settled', receivedMsat: 1_000_000n })
  })

  it('parts must agree on the total', () => {
    const { net, invoice } = fresh()
    direct(net, invoice, { amountMsat: 400_000n })
    expect(direct(net, invoice, { amountMsat: 600_000n, totalMsat: 1_000_001n }).failure).toMatchObject({ type: unknown.type })
    expect(net.get('c').invoices.get(invoice.paymentHash)?.parts).toHaveLength(1)
  })

  it('fails parts that stay alone for a minute; the invoice can be paid after that', () => {
    const { net, invoice } = fresh()
    direct(net, invoice, { amountMsat: 400_000n })
    net.now += 59_999
    expect(net.step('c', { from: 'clock', type: 'tick' })).toMatchObject({ effects: [] })
    net.now += 1
    net.step('c', { from: 'clock', type: 'tick' })
    expect(net.queue.splice(0)).toMatchObject([{ input: { event: { type: 'htlcFailed' } } }])
    expect(net.get('c').invoices.get(invoice.paymentHash)).toMatchObject({ status: 'open', parts: [] })
    expect(direct(net, invoice).events).toMatchObject([{ type: 'htlcFulfilled' }])
  })

  it('takes no more parts than it can count', () => {
    const { net, invoice } = fresh()
    net.policy = { ...net.policy, maxParts: 2 }
    direct(net, invoice, { amountMsat: 1n })
    direct(net, invoice, { amountMsat: 1n })
    expect(direct(net, invoice, { amountMsat: 1n }).failure).toMatchObject({ type: unknown.type })
  })
})

describe('the forwarding node', () => {
  interface Ask {
    readonly amountMsat?: bigint
    readonly forwardMsat?: bigint
    readonly cltvExpiry?: number
    readonly outgoing?: number
    readonly id?: ShortChannelId
    readonly htlcId?: bigint
    readonly hash?: string
    readonly failNow?: 'dust_exposure'
  }
  /** What b does with an HTLC from a that asks to go on to c. */
  const relay = (net: Net, ask: Ask = {}): { readonly outcome: Outcome; readonly failure: Failure | undefined } => {
    const paymentHash = PaymentHash(ask.hash ?? bytesToHex(sha256(bytes32('relayed'))))
    const built = buildOnion({
      sessionKey: bytes32('relay'),
      hops: [
        {
          nodeId: net.get('b').id,
          payload: encodeHopPayload({
            kind: 'forward',
            amtToForward: Msat(ask.forwardMsat ?? 1_000_000n),
            outgoingCltvValue: BlockHeight(ask.outgoing ?? 1060),
            shortChannelId: ask.id ?? (net.links[1]?.shortChannelId as ShortChannelId),
          }),
        },
        { nodeId: net.get('c').id, payload: Uint8Array.of(2, 0) },
      ],
      associatedData: hexToBytes(paymentHash),
    })
    if ('problem' in built) throw new Error(built.problem)
    const outcome = net.step('b', {
      from: 'channel',
      channelId: net.links[0]?.channelId as ChannelId,
      event: {
        type: 'htlcCommitted',
        htlc: {
          id: ask.htlcId ?? 0n,
          amountMsat: Msat(ask.amountMsat ?? 1_001_100n),
          paymentHash,
          cltvExpiry: BlockHeight(ask.cltvExpiry ?? 1100),
          onion: built.packet,
        },
        ...(ask.failNow === undefined ? {} : { failNow: ask.failNow }),
      },
    }) as Outcome
    const [effect] = outcome.effects
    const reason = effect?.to === 'channel' && effect.command.type === 'failHtlc' ? effect.command.reason : undefined
    return { outcome, failure: reason && unwrapFailure(built.sharedSecrets, reason)?.failure }
  }
  /** b, with an HTLC of a in its channel, so that it can be failed. */
  const ready = (policy: Partial<OwnPolicy> = {}): Net => {
    const net = line(policy)
    net.command = (name, channelId, command) => {
      net.get(name).events.push({ to: 'channel', channelId, command })
    }
    return net
  }
  const commands = (net: Net): readonly ChannelCommand[] =>
    net.get('b').events.flatMap((event) => (event.to === 'channel' ? [event.command] : []))

  it('S27: fails what the channel says would expose it to too much dust', () => {
    expect(relay(ready(), { failNow: 'dust_exposure' }).failure).toMatchObject({ type: 'temporary_channel_failure' })
  })

  it('forwards what pays its fee and leaves it its blocks', () => {
    const net = ready()
    expect(relay(net).outcome.effects[1]).toMatchObject({
      channelId: net.links[1]?.channelId,
      command: {
        type: 'offerHtlc',
        amountMsat: 1_000_000n,
        cltvExpiry: 1060,
        origin: { kind: 'relay', channelId: net.links[0]?.channelId, htlcId: 0n },
      },
    })
  })

  it('refuses too low a fee, too few blocks, too small and too large an amount, with its update', () => {
    const update = (net: Net): Uint8Array => net.updateOf(net.links[1] as Link, 'b')
    const net = ready()
    expect(relay(net, { amountMsat: 1_001_099n }).failure).toStrictEqual({
      type: 'fee_insufficient',
      htlcMsat: 1_001_099n,
      channelUpdate: update(net),
    })
    expect(relay(net, { amountMsat: 999_999n }).failure).toMatchObject({ type: 'fee_insufficient' })
    expect(relay(net, { cltvExpiry: 1099 }).failure).toStrictEqual({
      type: 'incorrect_cltv_expiry',
      cltvExpiry: 1099,
      channelUpdate: update(net),
    })
    const strict = ready({ htlcMinimumMsat: Msat(1_000_001n) })
    expect(relay(strict).failure).toStrictEqual({
      type: 'amount_below_minimum',
      htlcMsat: 1_001_100n,
      channelUpdate: update(strict),
    })
    expect(relay(ready({ htlcMaximumMsat: Msat(999_999n) })).failure).toMatchObject({ type: 'temporary_channel_failure' })
    expect(relay(ready({ enabled: false })).failure).toMatchObject({ type: 'channel_disabled' })
  })

  it('keeps accepting what it asked for until lately', () => {
    const net = ready({ feeBaseMsat: 50_000 })
    expect(relay(net).failure).toMatchObject({ type: 'fee_insufficient' })
    const views = net.views.bind(net)
    net.views = (name) => views(name).map((view) => ({ ...view, olderPolicies: [POLICY] }))
    expect(relay(net).outcome.effects[1]).toMatchObject({ command: { type: 'offerHtlc' } })
  })

  it('S63: refuses unknown, offline, full channels, and the way back', () => {
    const net = ready()
    expect(relay(net, { id: scid(9, 9, 9) }).failure).toStrictEqual({ type: 'unknown_next_peer' })
    expect(relay(net, { id: net.links[0]?.shortChannelId as ShortChannelId }).failure).toMatchObject({
      type: 'temporary_channel_failure',
    })
    const [, next] = net.links
    next?.capacity.set('b', 999_999n)
    expect(relay(net).failure).toMatchObject({ type: 'temporary_channel_failure' })
    next?.capacity.set('b', 1_000_000n)
    if (next) next.usable = false
    expect(relay(net).failure).toMatchObject({ type: 'temporary_channel_failure' })
  })

  it('S67: refuses what expires too soon, and what is locked for too long', () => {
    const net = ready()
    expect(relay(net, { outgoing: 1006 }).failure).toMatchObject({ type: 'expiry_too_soon' })
    expect(relay(net, { outgoing: 1007 }).outcome.effects[1]).toMatchObject({ command: { type: 'offerHtlc' } })
    expect(relay(net, { cltvExpiry: 3017, htlcId: 5n }).failure).toStrictEqual({ type: 'expiry_too_far' })
  })

  it('S47: the same HTLC again makes no second offer', () => {
    const net = ready()
    relay(net)
    expect(relay(net).outcome).toStrictEqual({ writes: [], effects: [] })
    expect(commands(net).filter(({ type }) => type === 'offerHtlc')).toHaveLength(1)
  })

  const outcomeOf = (
    net: Net,
    event: { htlcId?: bigint; preimage?: Uint8Array; reason?: Uint8Array; kind?: 'onchain' | 'neverSent' },
  ): Outcome => {
    const origin: HtlcOrigin = { kind: 'relay', channelId: net.links[0]?.channelId as ChannelId, htlcId: event.htlcId ?? 0n }
    const failure =
      event.reason === undefined ? { kind: event.kind ?? 'onchain' } : { kind: 'remote' as const, reason: event.reason }
    return net.step('b', {
      from: 'channel',
      channelId: net.links[1]?.channelId as ChannelId,
      event:
        event.preimage === undefined
          ? { type: 'htlcFailed', htlcId: 0n, origin, failure }
          : { type: 'htlcFulfilled', htlcId: 0n, origin, preimage: event.preimage },
    }) as Outcome
  }

  it('S48: an outcome goes to the HTLC that it names, though another has the same hash and amount', () => {
    const net = ready()
    relay(net, { htlcId: 3n })
    relay(net, { htlcId: 4n })
    outcomeOf(net, { htlcId: 4n, preimage: bytes32('relayed') })
    expect(commands(net).at(-1)).toStrictEqual({ from: 'owner', type: 'fulfillHtlc', htlcId: 4n, preimage: bytes32('relayed') })
    outcomeOf(net, { htlcId: 3n })
    expect(commands(net).at(-1)).toMatchObject({ type: 'failHtlc', htlcId: 3n })
    expect([...net.get('b').forwards.values()].map(({ status }) => status)).toStrictEqual(['failed', 'fulfilled'])
  })

  it('S2: a failure after the preimage fails nothing upstream', () => {
    const net = ready()
    relay(net)
    outcomeOf(net, { preimage: bytes32('relayed') })
    for (const kind of ['onchain', 'neverSent'] as const)
      expect(outcomeOf(net, { kind })).toStrictEqual({ writes: [], effects: [] })
    expect(outcomeOf(net, { reason: new Uint8Array(292) })).toStrictEqual({ writes: [], effects: [] })
    expect(commands(net).map(({ type }) => type)).toStrictEqual(['offerHtlc', 'fulfillHtlc'])
  })

  it('S2: a preimage after the failure is still claimed', () => {
    const net = ready()
    relay(net)
    outcomeOf(net, {})
    outcomeOf(net, { preimage: bytes32('relayed') })
    expect(commands(net).map(({ type }) => type)).toStrictEqual(['offerHtlc', 'failHtlc', 'fulfillHtlc'])
  })

  it('a preimage goes back once, and only the right one', () => {
    const net = ready()
    relay(net)
    expect(outcomeOf(net, { preimage: bytes32('wrong') })).toStrictEqual({ writes: [], effects: [] })
    outcomeOf(net, { preimage: bytes32('relayed') })
    expect(outcomeOf(net, { preimage: bytes32('relayed') })).toStrictEqual({ writes: [], effects: [] })
  })
})

describe('after a restart', () => {
  const rowsOf = (net: Net, name: string): { channelId: ChannelId; htlcs: HtlcRow[] }[] =>
    net.links
      .filter(({ ends }) => ends.includes(name))
      .map((link) => ({
        channelId: link.channelId,
        htlcs: [...link.htlcs.values()].map(({ by, origin, ...htlc }): HtlcRow => {
          return by === name
            ? { ...htlc, offeredBy: 'local', ...(origin === undefined ? {} : { origin }) }
            : { ...htlc, offeredBy: 'remote' }
        }),
      }))
  const restart = (net: Net, name: string): ReturnType<typeof reconcile> => {
    const outcome = reconcile(net.records(name), rowsOf(net, name), net.env(name))
    net.apply(name, outcome)
    return outcome
  }

  it('S47: an HTLC that came in just before is decided on, once', () => {
    const net = line()
    const invoice = net.invoice('c')
    net.pay('a', invoice)
    net.queue.length = 0
    restart(net, 'b')
    restart(net, 'b')
    expect(net.links[1]?.htlcs.size).toBe(1)
    net.queue.length = 0
    restart(net, 'c')
    net.run()
    expect(net.payment('a', invoice).status).toBe('succeeded')
    expect(capacities(net)[1]).toStrictEqual([-1_000_000n, 1_000_000n])
  })

  it('an outcome that the channel knows and the record does not is taken', () => {
    const net = line()
    const invoice = net.invoice('c', { hold: true })
    net.pay('a', invoice)
    net.run()
    const preimage = bytes32('preimage 0')
    const link = net.links[1]
    const [id, row] = [...(link?.htlcs ?? [])][0] ?? []
    if (link && id !== undefined && row) link.htlcs.set(id, { ...row, removal: { kind: 'fulfilled', preimage } })
    restart(net, 'b')
    net.run()
    expect(net.payment('a', invoice).status).toBe('succeeded')
    expect([...net.get('b').forwards.values()]).toMatchObject([{ status: 'fulfilled' }])
  })

  it('a removal that is not irrevocable yet is no outcome; one that is, is', () => {
    const net = line()
    const invoice = net.invoice('c', { hold: true })
    net.pay('a', invoice)
    net.run()
    const link = net.links[1] as Link
    const [id, row] = [...link.htlcs][0] as [bigint, HtlcRow & { by: string }]
    const removal = { kind: 'failed', reason: buildFailure(bytes32('x'), { type: 'mpp_timeout' }) } as const
    link.htlcs.set(id, { ...row, removal, removalStage: 3 })
    restart(net, 'b')
    expect([...net.get('b').forwards.values()]).toMatchObject([{ status: 'offered' }])
    link.htlcs.set(id, { ...row, removal, removalStage: 4 })
    restart(net, 'b')
    net.run()
    expect([...net.get('b').forwards.values()]).toMatchObject([{ status: 'failed' }])
    expect(net.payment('a', invoice).status).toBe('failed')
  })

  it('a settled invoice whose HTLC is still there is fulfilled again; what was held stays held', () => {
    const net = line()
    const invoice = net.invoice('c', { hold: true })
    net.pay('a', invoice)
    net.run()
    expect(restart(net, 'c').effects).toStrictEqual([])
    const command = net.command.bind(net)
    net.command = () => undefined
    net.step('c', { from: 'owner', type: 'settleInvoice', paymentHash: invoice.paymentHash })
    net.command = command
    restart(net, 'c')
    net.run()
    expect(net.payment('a', invoice).status).toBe('succeeded')
  })

  it('S49: parts that were taken are all claimed, in whatever order their channels finish, through two restarts', () => {
    for (const first of [0, 1]) {
      const net = new Net().node('b').node('c')
      const links = [net.link('b', 'c'), net.link('b', 'c')] as const
      const invoice = net.invoice('c')
      // Each channel has one part; c takes both, and dies before either channel has its preimage.
      const command = net.command.bind(net)
      const part = (link: Link): void => {
        const payload = encodeHopPayload({
          kind: 'final',
          amtToForward: Msat(500_000n),
          outgoingCltvValue: BlockHeight(1018),
          paymentData: { paymentSecret: bytesToHex(invoice.paymentSecret), totalMsat: Msat(1_000_000n) },
        })
        const built = buildOnion({
          sessionKey: bytes32(`part ${link.channelId}`),
          hops: [{ nodeId: net.get('c').id, payload }],
          associatedData: hexToBytes(invoice.paymentHash),
        })
        if ('problem' in built) throw new Error(built.problem)
        command('b', link.channelId, {
          from: 'owner',
          type: 'offerHtlc',
          amountMsat: Msat(500_000n),
          paymentHash: invoice.paymentHash,
          cltvExpiry: BlockHeight(1018),
          onion: built.packet,
          origin: { kind: 'relay', channelId: ChannelId('ff'.repeat(32)), htlcId: 9n },
        })
      }
      links.forEach(part)
      net.command = () => undefined
      for (const { to, input } of net.queue.splice(0)) net.step(to, input)
      expect(net.get('c').invoices.get(invoice.paymentHash)?.status).toBe('settled')
      const claimed = (): number => links.filter(({ htlcs }) => htlcs.size === 0).length
      // After the first restart only one channel gets as far as its preimage, after the second the other.
      net.command = (name, channelId, what) => {
        if (channelId === links[first]?.channelId) command(name, channelId, what)
      }
      restart(net, 'c')
      expect(claimed()).toBe(1)
      net.command = command
      restart(net, 'c')
      expect(claimed()).toBe(2)
      expect(net.queue.map(({ input }) => input.from === 'channel' && input.event.type)).toStrictEqual([
        'htlcFulfilled',
        'htlcFulfilled',
      ])
    }
  })

  it('forwards that are over are forgotten, and what nothing explains is named', () => {
    const net = line()
    net.pay('a', net.invoice('c'))
    net.run()
    expect(net.get('b').forwards.size).toBe(1)
    expect(restart(net, 'b').orphans).toStrictEqual([])
    expect(net.get('b').forwards.size).toBe(0)
    const invoice = net.invoice('c', { hold: true })
    net.pay('a', invoice)
    net.run()
    net.links[1]?.htlcs.clear()
    expect(restart(net, 'b').orphans).toMatchObject([{ kind: 'forward' }])
    net.links[0]?.htlcs.clear()
    expect(restart(net, 'a').orphans).toStrictEqual([{ kind: 'payment', id: invoice.paymentHash }])
    expect(net.payment('a', invoice).status).toBe('inFlight')
  })
})
