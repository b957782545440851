/**
 * A payment alice -> bob -> carol whose second hop ends on the chain: bob gets the preimage from carol's claim and is paid by alice off
 * chain; and when carol is gone, bob takes his HTLC back on the chain before he fails alice's. The channel alice-bob lives through both.
 */
import { unwrap } from '@leyden/api/client'
import { awaitGraph, type LightningNode } from '@leyden/devnet-service'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ANCHOR_SAT, claimsOf, readBooks, spenderOf } from './books.ts'
import {
  channelOf,
  channelWhere,
  confirmedSat,
  createWorld,
  holdInvoice,
  invoice,
  invoiceStatus,
  mineUntil,
  onchain,
  pay,
  payLater,
  paymentEnd,
  paymentOf,
  secret,
  settled,
  waitFor,
  walletTxids,
  type World,
} from './world.ts'

const PLAN = { capacitySat: 2_000_000, pushMsat: 500_000_000 }
const AMOUNT_MSAT = 120_000_000
const FEE_MSAT = 1000 + (AMOUNT_MSAT * 100) / 1_000_000

describe('a relayed payment that ends on the chain', () => {
  let world: World
  let alice: LightningNode
  let bob: LightningNode
  let carol: LightningNode
  let left: string

  beforeAll(async () => {
    world = await createWorld()
    ;[alice, bob, carol] = await Promise.all([world.node('alice'), world.node('bob'), world.node('carol')])
    await world.fund(alice, bob, carol)
    left = (await world.channel(alice, bob, PLAN)).fundingTxid as string
  })
  afterAll(() => world?.close())

  const openRight = async () => {
    const channel = await world.channel(bob, carol, PLAN)
    await awaitGraph(alice, 2)
    return channel
  }

  it('is paid to the relay with the preimage that the payee shows on the chain', async () => {
    const right = await openRight()
    const funding = right.fundingTxid as string
    const before = (await channelOf(bob, left)).localMsat
    const one = secret()
    const { id } = await payLater(alice, (await holdInvoice(carol, AMOUNT_MSAT, one)).bolt11)
    await invoiceStatus(carol, one.paymentHash, 'accepted')
    await unwrap(
      carol.client.v1.channels[':channelId'].close.$post({ param: { channelId: right.channelId }, json: { force: true } }),
    )
    await waitFor('the commitment transaction', async () => (await world.rpc.mempool()).length > 0)
    await world.mine(1)
    await channelWhere(bob, funding, 'a channel that is closing', ({ state }) => state === 'closing')
    expect((await paymentOf(alice, id)).status).toBe('inFlight')
    await unwrap(
      carol.client.v1.invoices[':paymentHash'].settle.$post({
        param: { paymentHash: one.paymentHash },
        json: { preimage: one.preimage },
      }),
    )
    await mineUntil(world, 'the payment', async () => (await paymentOf(alice, id)).status !== 'inFlight', 20)
    expect(await paymentOf(alice, id)).toMatchObject({ status: 'succeeded', preimage: one.preimage, feeMsat: FEE_MSAT })
    await settled([alice, bob], left)
    expect((await channelOf(bob, left)).localMsat).toBe(before + AMOUNT_MSAT + FEE_MSAT)
    expect((await channelOf(bob, left)).state).toBe('normal')
    await mineUntil(
      world,
      'the channel closed at both ends',
      async () => {
        const states = await Promise.all([bob, carol].map(async (node) => (await channelOf(node, funding)).state))
        return states.every((state) => state === 'closed')
      },
      400,
      4,
    )
    expect((await invoiceStatus(carol, one.paymentHash, 'settled')).receivedMsat).toBe(AMOUNT_MSAT)
  })

  it('is taken back on the chain when the payee is gone, and only then failed', async () => {
    const right = await openRight()
    const funding = right.fundingTxid as string
    const before = { left: (await channelOf(bob, left)).localMsat, wallet: await confirmedSat(bob) }
    const one = secret()
    const { id } = await payLater(alice, (await holdInvoice(carol, AMOUNT_MSAT, one)).bolt11)
    await invoiceStatus(carol, one.paymentHash, 'accepted')
    const pending = await channelWhere(bob, funding, 'the HTLC', ({ htlcs }) => htlcs.length === 1)
    await carol.daemon.stop()

    await mineUntil(world, 'bob on the chain', async () => (await channelOf(bob, funding)).state === 'closing', 200, 2)
    const expiry = pending.htlcs[0]?.cltvExpiry as number
    expect(await world.rpc.height()).toBeGreaterThanOrEqual(expiry)
    expect((await paymentOf(alice, id)).status).toBe('inFlight')
    await mineUntil(world, 'the end of the payment', async () => (await paymentOf(alice, id)).status !== 'inFlight', 60)
    expect(await paymentEnd(alice, id)).toMatchObject({ status: 'failed' })
    await settled([alice, bob], left)
    expect(await channelOf(bob, left)).toMatchObject({ state: 'normal', localMsat: before.left })

    await mineUntil(world, 'the channel closed at bob', async () => (await channelOf(bob, funding)).state === 'closed', 400, 4)
    await waitFor('nothing unconfirmed', async () => (await onchain(bob)).unconfirmedSat === 0)
    const books = await readBooks(world.rpc)
    const commitment = spenderOf(books, funding, right.fundingVout as number)
    if (commitment === undefined) throw new Error('no commitment on the chain')
    const claims = claimsOf(books, commitment, await walletTxids(bob))
    const due = (pending.localMsat + AMOUNT_MSAT) / 1000 - commitment.feeSat - 2 * ANCHOR_SAT
    expect(claims.takenSat - claims.anchorsSat).toBe(due)
    expect((await confirmedSat(bob)) - before.wallet).toBe(claims.takenSat - claims.feesSat)

    // The channel with alice goes on.
    expect((await pay(alice, (await invoice(bob, 1_000_000)).bolt11)).status).toBe('succeeded')
    await carol.daemon.start()
  })
})
