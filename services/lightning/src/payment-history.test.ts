/** Lists of payments by time over a store in memory: live and ended ones, pages, records that move, and a store of before. */
import { Msat } from '@leyden/bitcoin'
import { PaymentHash } from '@leyden/lnwire'
import type { Payment } from '@leyden/payment'
import { createDrive, Disk, type Kind, keyRange, memoryStore, recordKind, waking } from '@leyden/runtime'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { NodeEffect } from './node-effect.ts'
import { createHistory, historyKey } from './payment-history.ts'
import { PAYMENT_HISTORY, paymentKind } from './payments.ts'
import { systemClock } from './system.ts'

const hashOf = (n: number): PaymentHash => PaymentHash(n.toString(16).padStart(64, '0'))
const paymentOf = (n: number, createdAtMs: number, status: Payment['status']): Payment => ({
  paymentHash: hashOf(n),
  payee: `02${'11'.repeat(32)}` as Payment['payee'],
  invoice: 'lnbcrt1qqqq',
  amountMsat: Msat(1n),
  maxFeeMsat: Msat(5n),
  createdAtMs,
  attempts: [],
  nextAttempt: 1,
  status,
})

const open = async (disk: Disk, kind: Kind<Payment> = paymentKind) => {
  const store = memoryStore(disk)
  const drive = createDrive<NodeEffect>({
    store,
    kinds: [kind as unknown as Kind<unknown>],
    clock: systemClock,
    release: () => undefined,
    onFault: (fault) => {
      throw fault
    },
  })
  await drive.load()
  const history = createHistory(PAYMENT_HISTORY, kind, { store, drive })
  return {
    drive,
    history,
    put: (payment: Payment): Promise<void> =>
      drive.submit(
        (batch) => {
          history.place(batch, batch.get(kind, payment.paymentHash), payment)
          batch.set(kind, payment.paymentHash, payment)
        },
        [waking(kind, payment.paymentHash)],
      ),
    hashes: async (limit: number) => {
      const pages: PaymentHash[][] = []
      for (let cursor: string | null | undefined; cursor !== null;) {
        const page = await history.page({ limit, cursor })
        if (page === undefined) throw new Error('no page')
        pages.push(page.data.map(({ paymentHash }) => paymentHash))
        cursor = page.nextCursor
      }
      return pages
    },
  }
}

describe('a list by time', () => {
  it('has live and ended ones, the newest first, and after a restart as well', async () => {
    const disk = new Disk()
    const { put } = await open(disk)
    for (const [n, at, status] of [
      [1, 10, 'succeeded'],
      [2, 30, 'inFlight'],
      [3, 20, 'failed'],
      [4, 30, 'failed'],
      [5, 5.25, 'inFlight'],
    ] as const)
      await put(paymentOf(n, at, status))
    const { drive, hashes } = await open(disk)
    expect(drive.states(paymentKind).size).toBe(2)
    const order = [4, 2, 3, 1, 5].map(hashOf)
    expect(await hashes(2)).toEqual([order.slice(0, 2), order.slice(2, 4), order.slice(4)])
    expect(await hashes(5)).toEqual([order])
    expect(await hashes(50)).toEqual([order])
  })

  it('of nothing is one empty page, and what is no cursor has none', async () => {
    const { history, hashes } = await open(new Disk())
    expect(await hashes(5)).toEqual([[]])
    for (const cursor of ['', 'x', hashOf(1), `1-${hashOf(1)}x`, `-1-${hashOf(1)}`, `1e3-${hashOf(1)}`])
      expect(await history.page({ limit: 5, cursor })).toBeUndefined()
  })

  it('moves a payment that is tried again to its new time; a cursor goes on from where it was', async () => {
    const { put, history, hashes } = await open(new Disk())
    for (const n of [1, 2, 3, 4]) await put(paymentOf(n, n, 'failed'))
    const first = await history.page({ limit: 2 })
    expect(first?.data.map(({ paymentHash }) => paymentHash)).toEqual([4, 3].map(hashOf))
    await put(paymentOf(3, 9, 'inFlight'))
    await put(paymentOf(3, 9, 'succeeded'))
    const second = await history.page({ limit: 2, cursor: first?.nextCursor ?? '' })
    expect(second?.data.map(({ paymentHash }) => paymentHash)).toEqual([2, 1].map(hashOf))
    expect(await hashes(9)).toEqual([[3, 4, 2, 1].map(hashOf)])
  })

  it('shows each once, whatever the times and pages are', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(6), { maxLength: 20 }), fc.integer({ min: 1, max: 7 }), async (times, limit) => {
        const { put, hashes } = await open(new Disk())
        for (const [n, at] of times.entries()) await put(paymentOf(n, at, n % 3 === 0 ? 'inFlight' : 'failed'))
        const order = times.map((at, n) => ({ at, n })).toSorted((a, b) => b.at - a.at || b.n - a.n)
        expect((await hashes(limit)).flat()).toEqual(order.map(({ n }) => hashOf(n)))
      }),
      { numRuns: 40 },
    )
  })

  it('is made for a store of before, which has none, and made once', async () => {
    const disk = new Disk()
    const before = recordKind<Payment>(paymentKind.name, 2)
    const old = await open(disk, before)
    await old.drive.submit((batch) => {
      for (let n = 0; n < 2300; n++) batch.set(before, hashOf(n), paymentOf(n, n, n < 100 ? 'inFlight' : 'failed'))
    })
    const { drive, history, hashes } = await open(disk)
    expect(await hashes(50)).toEqual([[]])
    await history.complete()
    expect(drive.states(paymentKind).size).toBe(100)
    expect((await hashes(50)).flat()).toEqual(Array.from({ length: 2300 }, (_, n) => hashOf(2299 - n)))
    disk.apply([{ key: historyKey(PAYMENT_HISTORY, paymentOf(7, 7, 'failed')), value: undefined }])
    await (await open(disk)).history.complete()
    expect(disk.page(keyRange(PAYMENT_HISTORY), 9999)).toHaveLength(2299)
  })
})
