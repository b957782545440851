import { Msat } from '@leyden/bitcoin'
import { PaymentHash } from '@leyden/lnwire'
import { describe, expect, it } from 'vitest'
import { forwardKey, type Forward, type Payment, PAYMENT_RECORD, type PaymentPlan, type PaymentRecords } from './records.ts'
import { forgetForwards } from './relay.ts'

const plan: PaymentPlan = {
  maxCltvDelta: 2016,
  paymentSecret: new Uint8Array(32).fill(1),
  routeHints: [],
  minFinalCltvExpiryDelta: 18,
  invoiceExpiresAt: 1_700_003_600,
  seed: new Uint8Array(32).fill(2),
  deadlineMs: 1_700_000_060_000,
}
const attempt = {
  number: 0,
  channelId: 'c'.repeat(64),
  route: { hops: [], totalAmountMsat: Msat(1n), totalFeeMsat: Msat(0n), totalCltvDelta: 18 },
  status: 'failed',
  startedAtMs: 1,
} as unknown as Payment['attempts'][number]
const failed = { ...attempt, failure: { code: 'temporary_node_failure', hop: 0, avoidEdges: ['x'], avoidNodes: [] } }
const payment: Payment = {
  paymentHash: PaymentHash('ab'.repeat(32)),
  payee: `02${'11'.repeat(32)}` as Payment['payee'],
  invoice: 'lnbcrt1',
  amountMsat: Msat(1n),
  maxFeeMsat: Msat(5n),
  createdAtMs: 1_700_000_000_000,
  attempts: [failed],
  nextAttempt: 1,
  status: 'inFlight',
}

describe('the record of a payment', () => {
  it('of the first version keeps its plan while it is in flight', () => {
    expect(PAYMENT_RECORD.migrate(1, { ...payment, ...plan })).toStrictEqual({ ...payment, plan })
    const metadata = Uint8Array.of(7)
    expect(PAYMENT_RECORD.migrate(1, { ...payment, ...plan, metadata })).toStrictEqual({
      ...payment,
      plan: { ...plan, metadata },
    })
  })

  it('of the first version loses what only attempts need once it has ended', () => {
    const ended = { ...payment, status: 'failed', failure: 'no_route', endedAtMs: 5 } as const
    const without = { ...attempt, failure: { code: 'temporary_node_failure', hop: 0 } }
    expect(PAYMENT_RECORD.migrate(1, { ...ended, ...plan })).toStrictEqual({ ...ended, attempts: [without] })
  })

  it('rests when it has ended, and not before', () => {
    expect(
      [payment, { ...payment, status: 'failed' }, { ...payment, status: 'succeeded' }].map((one) =>
        PAYMENT_RECORD.rests(one as Payment),
      ),
    ).toEqual([false, true, true])
  })
})

describe('forwards that have ended', () => {
  it('go when their HTLC has gone, and stay as long as it may ask again', () => {
    const forwardOf = (htlcId: bigint, status: Forward['status']): Forward =>
      ({ incoming: { channelId: 'aa', htlcId }, status }) as unknown as Forward
    const all = [forwardOf(1n, 'offered'), forwardOf(2n, 'fulfilled'), forwardOf(3n, 'failed'), forwardOf(4n, 'fulfilled')]
    const records = {
      forwards: () => all,
      forward: (key: string) => all.find(({ incoming }) => forwardKey(incoming.channelId, incoming.htlcId) === key),
    } as unknown as PaymentRecords
    expect(forgetForwards(records, (_, htlcId) => htlcId === 4n)).toStrictEqual({
      writes: ['aa/2', 'aa/3'].map((id) => ({ kind: 'forward', id, record: undefined })),
      effects: [],
    })
  })
})
