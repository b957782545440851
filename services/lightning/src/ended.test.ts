/** Payments and invoices that have ended: out of memory, found as before, and as final as before. */
import { Msat } from '@leyden/bitcoin'
import { bytesToHex, hexToBytes, packRecord } from '@leyden/codec'
import { sha256 } from '@leyden/crypto'
import { decodeInvoice, type Invoice, isInvoiceProblem, type Payment } from '@leyden/payment'
import { key, keyRange, recordKind } from '@leyden/runtime'
import { describe, expect, it } from 'vitest'
import { identityKind } from './identity.ts'
import type { Node } from './node.ts'
import { invoiceKind } from './payments.ts'
import { makeWorld, named, open, SECOND, walletOf } from './testing.ts'

const AMOUNT = 5_000_000

const read = (text: string): Invoice => {
  const invoice = decodeInvoice(text)
  if (isInvoiceProblem(invoice)) throw new Error(invoice.problem)
  return invoice
}

/** alice, who can pay bob over a channel of theirs. */
const pair = async () => {
  const world = makeWorld()
  const { mine, node, wait } = world
  const alice = await node('alice', [1_000_000n])
  const bob = await node('bob')
  await wait(alice.connect(bob.nodeId, 'bob:1'))
  await wait(alice.open(bob.nodeId, open(400_000n, 100_000_000n)))
  await mine(3)
  return { ...world, alice, bob }
}
const list = { limit: 50 }

describe('a payment that has succeeded', () => {
  it('is in the store alone: found by id, in the list, by its reference, and never paid again, after a restart as well', async () => {
    const { alice, bob, node, wait, sim } = await pair()
    const made = await wait(walletOf(bob).createInvoice({ amountMsat: AMOUNT, description: 'tea' }, undefined))
    const paid = await wait(walletOf(alice).pay({ to: made.bolt11 }, 20, 'once'))
    expect(paid).toMatchObject({
      status: 'succeeded',
      description: 'tea',
      amountMsat: AMOUNT,
      attempts: [{ status: 'succeeded' }],
    })
    expect(sim.disk('alice').page(keyRange('payment'), 9)).toEqual([])
    const check = async (payer: Node): Promise<void> => {
      expect(payer.payments.livePayments().size).toBe(0)
      const wallet = walletOf(payer)
      expect(await wait(wallet.payment(paid.id))).toEqual(paid)
      expect(await wait(wallet.payments(list))).toEqual({ data: [paid], nextCursor: null })
      expect(await wait(payer.payments.ended(read(made.bolt11).paymentHash, 5 * SECOND))).toMatchObject({ status: 'succeeded' })
      await expect(wait(wallet.pay({ to: made.bolt11 }, 20, 'twice'))).rejects.toMatchObject({ code: 'already_paid' })
      expect(await wait(wallet.pay({ to: made.bolt11 }, 20, 'once'))).toEqual(paid)
      await expect(wait(wallet.payment('00'.repeat(32)))).rejects.toMatchObject({ code: 'not_found' })
      expect(await wait(wallet.payments(list))).toEqual({ data: [paid], nextCursor: null })
    }
    await check(alice)
    await check(await node('alice'))
  })

  it('of a store of before is moved to those that rest, with its place in the list', async () => {
    const { alice, bob, node, wait, sim, faults } = await pair()
    const made = await wait(walletOf(bob).createInvoice({ amountMsat: AMOUNT, description: 'tea' }, undefined))
    const paid = await wait(walletOf(alice).pay({ to: made.bolt11 }, 20, undefined))
    const record = (await wait(alice.payments.payment(paid.id))) as Payment
    const plan = { paymentSecret: named('secret'), seed: named('seed'), routeHints: [], minFinalCltvExpiryDelta: 18 }
    const more = { ...plan, maxCltvDelta: 2016, invoiceExpiresAt: 5, deadlineMs: 5 }
    const disk = sim.disk('alice')
    const gone = ['resting', 'payment-time', 'complete'].flatMap((part) => disk.page(keyRange(part), 99))
    disk.apply(gone.map(([rowKey]) => ({ key: rowKey, value: undefined })))
    const { nodeId } = alice
    disk.apply([{ key: key('identity', '', ''), value: packRecord({ version: 1, state: { nodeId, network: 'regtest' } }) }])
    disk.apply([{ key: key('payment', paid.id, ''), value: packRecord({ version: 1, state: { ...record, ...more } }) }])
    const wallet = walletOf(await node('alice'))
    expect([disk.page(keyRange('payment'), 99).length, disk.page(keyRange('resting', 'payment'), 99).length]).toEqual([0, 1])
    expect(await wait(wallet.payments(list))).toEqual({ data: [paid], nextCursor: null })
    await expect(wait(wallet.pay({ to: made.bolt11 }, 20, undefined))).rejects.toMatchObject({ code: 'already_paid' })
    expect(faults).toEqual([])
    // a program that would not see it refuses the store
    const identity = disk.read(key('identity', '', '')) as Uint8Array
    expect(() => recordKind('identity', 1).load('', [['', identity]])).toThrow('newer program')
    expect(identityKind.load('', [['', identity]])).toEqual({ nodeId, network: 'regtest' })
  })
})

describe('a payment that has failed', () => {
  it('may be tried again, by a new record with new attempts, in one place of the list', async () => {
    const { alice, bob, node, wait } = await pair()
    const first = await wait(walletOf(bob).createInvoice({ amountMsat: 1_000, description: '' }, undefined))
    const made = await wait(walletOf(bob).createInvoice({ amountMsat: AMOUNT, description: '' }, undefined))
    await wait(walletOf(bob).cancelInvoice(made.paymentHash))
    const failed = await wait(walletOf(alice).pay({ to: made.bolt11 }, 20, undefined))
    expect(failed).toMatchObject({ status: 'failed', failure: { code: 'payee_refused' } })
    await wait(walletOf(alice).pay({ to: first.bolt11 }, 20, undefined))
    const again = await node('alice')
    await wait(again.connect(bob.nodeId, 'bob:1'))
    const wallet = walletOf(again)
    const ids = async (): Promise<string[]> => (await wait(wallet.payments(list))).data.map(({ id }) => id)
    expect(await ids()).toEqual([first.paymentHash, failed.id])
    const second = await wait(wallet.pay({ to: made.bolt11 }, 20, undefined))
    expect(second).toMatchObject({ id: failed.id, status: 'failed', attempts: [{ status: 'failed' }] })
    expect(await ids()).toEqual([failed.id, first.paymentHash])
    expect((await wait(again.payments.payment(failed.id)))?.attempts[0]?.number).toBe(1)
  })
})

describe('an invoice that has ended', () => {
  it('is found and listed with its note, keeps its hash, and cannot end otherwise', async () => {
    const { alice, bob, node, wait, sim } = await pair()
    const wish = { description: 'held', externalId: 'order 7', metadata: { table: '4' } }
    const preimage = named('preimage')
    const hold = { paymentHash: bytesToHex(sha256(preimage)) }
    const held = await wait(walletOf(bob).createInvoice({ ...wish, amountMsat: AMOUNT, hold }, 'made'))
    const canceled = await wait(walletOf(bob).createInvoice({ amountMsat: AMOUNT, description: 'no' }, undefined))
    await wait(walletOf(bob).cancelInvoice(canceled.paymentHash))
    await wait(alice.payments.pay(read(held.bolt11), { maxFeeMsat: Msat(0n) }))
    const paying = alice.payments.ended(read(held.bolt11).paymentHash, 30 * SECOND)
    await sim.run({ forMs: 2 * SECOND })
    expect((await wait(walletOf(bob).invoice(held.paymentHash))).status).toBe('accepted')
    const settled = await wait(walletOf(bob).settleInvoice(held.paymentHash, bytesToHex(preimage)))
    expect(settled).toMatchObject({ ...wish, status: 'settled', receivedMsat: AMOUNT, preimage: bytesToHex(preimage) })
    expect(await wait(paying)).toMatchObject({ status: 'succeeded' })
    const check = async (payee: Node): Promise<void> => {
      expect(payee.payments.liveInvoices().size).toBe(0)
      const wallet = walletOf(payee)
      expect(await wait(wallet.invoice(held.paymentHash))).toEqual(settled)
      const { data } = await wait(wallet.invoices(list))
      expect(data.map(({ paymentHash, status }) => [paymentHash, status])).toEqual([
        [canceled.paymentHash, 'canceled'],
        [held.paymentHash, 'settled'],
      ])
      expect(data[1]).toEqual(settled)
      expect(await wait(wallet.settleInvoice(held.paymentHash, bytesToHex(preimage)))).toEqual(settled)
      expect((await wait(wallet.cancelInvoice(canceled.paymentHash))).status).toBe('canceled')
      expect(await wait(wallet.createInvoice({ ...wish, amountMsat: AMOUNT, hold }, 'made'))).toEqual(settled)
      for (const refused of [
        () => wallet.cancelInvoice(held.paymentHash),
        () => wallet.settleInvoice(canceled.paymentHash, '00'.repeat(32)),
        () => wallet.createInvoice({ description: '', hold }, undefined),
      ])
        await expect(wait(refused())).rejects.toMatchObject({ code: expect.stringMatching(/conflict|invalid_request/) as string })
      expect(payee.payments.liveInvoices().size).toBe(0)
    }
    await check(bob)
    await check(await node('bob'))
  })

  it('is asked for by a start, where its HTLC still waits: what was settled is claimed', async () => {
    const { alice, bob, node, wait, sim } = await pair()
    const preimage = named('preimage')
    const hold = { paymentHash: bytesToHex(sha256(preimage)) }
    const held = await wait(walletOf(bob).createInvoice({ description: '', amountMsat: AMOUNT, hold }, undefined))
    await wait(alice.payments.pay(read(held.bolt11), { maxFeeMsat: Msat(0n) }))
    await sim.run({ forMs: 2 * SECOND })
    await wait(
      bob.drive.submit((batch) => {
        const invoice = batch.get(invoiceKind, held.paymentHash)
        if (invoice?.status !== 'accepted') throw new Error('it is not held')
        batch.set(invoiceKind, held.paymentHash, { ...invoice, status: 'settled', preimage: bytesToHex(preimage) as never })
      }),
    )
    const again = await node('bob')
    expect([...again.channels().values()][0]?.htlcs[0]?.removal).toEqual({ kind: 'fulfilled', preimage })
    await wait(again.connect(alice.nodeId, 'alice:1'))
    expect(await wait(alice.payments.ended(read(held.bolt11).paymentHash, 30 * SECOND))).toMatchObject({ status: 'succeeded' })
  })
})

describe('a forward', () => {
  it('is forgotten when its HTLC has gone, without a restart', async () => {
    const { alice, bob, node, wait, mine, sim, chain } = await pair()
    const carol = await node('carol')
    await mine(1, [chain.pay('bob', [900_000n])])
    await wait(bob.connect(carol.nodeId, 'carol:1'))
    await wait(bob.open(carol.nodeId, open(400_000n)))
    await mine(3)
    const preimage = named('preimage')
    const hold = { paymentHash: bytesToHex(sha256(preimage)) }
    const held = await wait(walletOf(carol).createInvoice({ description: '', amountMsat: AMOUNT, hold }, undefined))
    const invoice = read(held.bolt11)
    expect(invoice.routeHints.length).toBe(1)
    await wait(alice.payments.pay(invoice, { maxFeeMsat: Msat(100_000n) }))
    await sim.run({ forMs: 5 * SECOND })
    expect([...bob.payments.forwards().values()].map(({ status }) => status)).toEqual(['offered'])
    await wait(carol.payments.settle(invoice.paymentHash, preimage))
    expect(await wait(alice.payments.ended(invoice.paymentHash, 30 * SECOND))).toMatchObject({ status: 'succeeded' })
    await sim.run({ forMs: 5 * SECOND })
    expect(bob.payments.forwards().size).toBe(0)
    expect(sim.disk('bob').page(keyRange('forward'), 9)).toEqual([])
    expect(hexToBytes((await wait(alice.payments.payment(invoice.paymentHash)))?.preimage ?? '')).toEqual(preimage)
  })
})
