/**
 * What else an LDK peer does: channels without anchors, payments in parts, private channels with hints, failures that pass through us,
 * and a coordinated close to an address of our choice.
 */
import { unwrap } from '@leyden/api/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { claimsOf, readBooks, resolutionOf, spenderOf } from '../e2e/books.ts'
import {
  channelOf,
  confirmedSat,
  holdInvoice,
  invoice,
  invoiceStatus,
  onchain,
  pay,
  payLater,
  paymentEnd,
  secret,
  settled,
  waitFor,
  walletTxids,
} from '../e2e/world.ts'
import { createMeeting, type Ldk, ldkChannel, ldkInstalled, ldkInvoice, ldkMsat, type Meeting } from './peer.ts'

const CAPACITY_SAT = 500_000
const DELAY_BLOCKS = 144

describe.skipIf(!ldkInstalled)('LDK without anchors', () => {
  let meeting: Meeting
  let ldk: Ldk
  beforeAll(async () => {
    meeting = await createMeeting({ plain: ['--no-anchors'] })
    ldk = meeting.ldks[0] as Ldk
  })
  afterAll(() => meeting?.close())

  for (const opener of ['ldk', 'ours'] as const)
    it(`gets static_remotekey channels when ${opener} opens; a force close resolves their HTLCs`, async () => {
      const { ours, world } = meeting
      const funding =
        opener === 'ldk'
          ? await meeting.openFrom(ldk, { sat: CAPACITY_SAT, pushMsat: 200_000_000, public: true })
          : await meeting.openTo(ldk, CAPACITY_SAT, 200_000_000)
      const opened = await channelOf(ours, funding)
      expect(opened.channelType).toContain('static_remotekey')
      expect((await ldkChannel(ldk, funding))?.channelType).not.toContain('anchors')

      expect((await pay(ours, (await ldkInvoice(ldk, 10_000_000)).bolt11)).status).toBe('succeeded')
      const back = await invoice(ours, 4_000_000)
      await ldk.cmd('pay', { bolt11: back.bolt11, wait: true })
      await settled([ours], funding)
      expect((await channelOf(ours, funding)).localMsat).toBe(opened.localMsat - 6_000_000)

      // One HTLC in each direction hangs; the outgoing one will be fulfilled, the incoming one as well.
      const toThem = await ldkInvoice(ldk, 30_000_000, { hold: true, minFinalCltv: 60 })
      const payment = await payLater(ours, toThem.bolt11)
      await ldk.event('payment_claimable', (event) => event['paymentHash'] === toThem.paymentHash)
      const toUs = secret()
      const held = await holdInvoice(ours, 20_000_000, toUs)
      const { minFinalCltv } = (await ldk.cmd('decode', { bolt11: held.bolt11 })) as { minFinalCltv: number }
      await ldk.cmd('pay', { bolt11: held.bolt11, retries: 0, maxCltvDelta: minFinalCltv + 39 })
      await invoiceStatus(ours, toUs.paymentHash, 'accepted')
      const channel = await channelOf(ours, funding)
      expect(channel.htlcs.length).toBe(2)

      const before = await confirmedSat(ours)
      await unwrap(
        ours.client.v1.channels[':channelId'].close.$post({ param: { channelId: channel.channelId }, json: { force: true } }),
      )
      await waitFor('the commitment transaction', async () => (await world.rpc.mempool()).length > 0)
      await meeting.mine(1)
      await ldk.cmd('claim', { paymentHash: toThem.paymentHash })
      await unwrap(
        ours.client.v1.invoices[':paymentHash'].settle.$post({
          param: { paymentHash: toUs.paymentHash },
          json: { preimage: toUs.preimage },
        }),
      )
      for (let mined = 0; (await channelOf(ours, funding)).state !== 'closed'; mined += 4) {
        expect(mined).toBeLessThan(4 * DELAY_BLOCKS)
        await meeting.mine(4)
      }
      await waitFor('nothing unconfirmed', async () => (await onchain(ours)).unconfirmedSat === 0)
      expect(await paymentEnd(ours, payment.id)).toMatchObject({ status: 'succeeded' })
      await ldk.event('payment_sent', (event) => event['paymentHash'] === toUs.paymentHash)

      const books = await readBooks(world.rpc)
      const commitment = spenderOf(books, funding, channel.fundingVout as number)
      if (commitment === undefined) throw new Error('no commitment on the chain')
      const claims = claimsOf(books, commitment, await walletTxids(ours))
      // Without anchors an HTLC transaction of our own commitment pays its fee out of the HTLC.
      const htlcFeeSat = resolutionOf(books, commitment)
        .filter(
          ({ tx, txid }) =>
            tx.inputs.length === 1 &&
            tx.outputs.length === 1 &&
            tx.outputs[0]?.scriptPubKey.length === 34 &&
            claims.entries.some((entry) => entry.tx.inputs.some(({ outpoint }) => outpoint.txid === txid)),
        )
        .reduce((sum, { feeSat }) => sum + feeSat, 0)
      expect(claims.takenSat + htlcFeeSat).toBe(channel.localMsat / 1000 - (opener === 'ours' ? commitment.feeSat : 0) + 20_000)
      expect((await confirmedSat(ours)) - before).toBe(claims.takenSat - claims.feesSat)
    })
})

describe.skipIf(!ldkInstalled)('LDK', () => {
  let meeting: Meeting
  let payer: Ldk
  let payee: Ldk
  beforeAll(async () => {
    meeting = await createMeeting({ payer: [], payee: ['--no-upfront-shutdown'] })
    ;[payer, payee] = meeting.ldks as [Ldk, Ldk]
  })
  afterAll(() => meeting?.close())

  it('pays us in parts over two channels, all of which we wait for', async () => {
    const { ours } = meeting
    const fundings = [
      await meeting.openFrom(payer, { sat: CAPACITY_SAT, public: true }),
      await meeting.openFrom(payer, { sat: CAPACITY_SAT, public: true }),
    ]
    const bill = await invoice(ours, 700_000_000)
    await payer.cmd('pay', { bolt11: bill.bolt11, wait: true, maxParts: 2, retries: 3 })
    expect((await invoiceStatus(ours, bill.paymentHash, 'settled')).receivedMsat).toBe(700_000_000)
    for (const funding of fundings) await settled([ours], funding)
    const parts = await Promise.all(fundings.map(async (funding) => (await channelOf(ours, funding)).localMsat))
    expect(parts.reduce((sum, part) => sum + part, 0)).toBe(700_000_000)
    expect(Math.min(...parts)).toBeGreaterThan(0)
  })

  it('behind a private channel is found by the hints of its invoice', async () => {
    const { ours } = meeting
    const funding = await meeting.openFrom(payee, { sat: CAPACITY_SAT, pushMsat: 250_000_000, public: false })
    expect(await channelOf(ours, funding)).toMatchObject({ announced: false })
    const direct = await pay(ours, (await ldkInvoice(payee, 5_000_000)).bolt11)
    expect(direct).toMatchObject({ status: 'succeeded', feeMsat: 0 })
    // The payer knows the way to us only; the invoice tells the rest.
    const bill = await ldkInvoice(payee, 50_000_000)
    expect(((await payer.cmd('decode', { bolt11: bill.bolt11 })) as { routeHints: number }).routeHints).toBeGreaterThan(0)
    const before = (await channelOf(ours, funding)).localMsat
    await payer.cmd('pay', { bolt11: bill.bolt11, wait: true, retries: 3 })
    await settled([ours], funding)
    expect((await channelOf(ours, funding)).localMsat).toBe(before - 50_000_000)
    expect(await ldkMsat(payee, funding)).toBe(CAPACITY_SAT * 1000 - before + 50_000_000)

    // And the other way round: our invoice has hints for our private channels.
    const back = await invoice(ours, 6_000_000)
    await payee.cmd('pay', { bolt11: back.bolt11, wait: true })
    expect((await invoiceStatus(ours, back.paymentHash, 'settled')).receivedMsat).toBe(6_000_000)
  })

  it('reads the failure of a payee behind us, and ours', async () => {
    const { ours } = meeting
    const refused = await ldkInvoice(payee, 7_000_000, { hold: true })
    await payer.cmd('pay', { bolt11: refused.bolt11, retries: 0 })
    await payee.event('payment_claimable', (event) => event['paymentHash'] === refused.paymentHash)
    await payee.cmd('fail', { paymentHash: refused.paymentHash })
    const path = await payer.event('payment_path_failed', (event) => event['paymentHash'] === refused.paymentHash)
    expect(path).toMatchObject({ permanent: true })
    await payer.event('payment_failed', (event) => event['paymentHash'] === refused.paymentHash)

    // More than the channel behind us can carry: we fail it, and say which channel it was.
    expect((await pay(ours, (await ldkInvoice(payee, 150_000_000)).bolt11)).status).toBe('succeeded')
    const large = await ldkInvoice(payee, 100_000_000)
    await payer.cmd('pay', { bolt11: large.bolt11, retries: 0, maxParts: 1 })
    expect(await payer.event('payment_path_failed', (event) => event['paymentHash'] === large.paymentHash)).toMatchObject({
      permanent: false,
    })
    await payer.event('payment_failed', (event) => event['paymentHash'] === large.paymentHash)
    for (const { fundingTxid } of (await unwrap(ours.client.v1.channels.$get({ query: {} }))).data)
      await settled([ours], fundingTxid as string)
  })

  it('closes to the address that each side names', async () => {
    const { ours, world } = meeting
    const [channel] = (await unwrap(ours.client.v1.channels.$get({ query: {} }))).data.filter(
      ({ peer }) => peer.nodeId === payee.nodeId,
    )
    if (channel?.fundingTxid === undefined) throw new Error('no channel')
    const { address } = await unwrap(ours.client.v1.addresses.$post({ json: { type: 'p2tr' } }))
    await unwrap(
      ours.client.v1.channels[':channelId'].close.$post({
        param: { channelId: channel.channelId },
        json: { address, feeratePerVbyte: 3 },
      }),
    )
    await payee.event('channel_closed')
    await waitFor('the closing transaction', async () => (await world.rpc.mempool()).length > 0)
    await meeting.mine(6)
    await waitFor('closed', async () => (await channelOf(ours, channel.fundingTxid as string)).state === 'closed')
    const books = await readBooks(world.rpc)
    const closing = spenderOf(books, channel.fundingTxid, channel.fundingVout as number)
    const ourSat = Math.floor(channel.localMsat / 1000)
    const p2tr = closing?.tx.outputs.filter(({ scriptPubKey }) => scriptPubKey[0] === 0x51)
    expect(p2tr?.map(({ value }) => Number(value))).toEqual([ourSat])
  })
})
