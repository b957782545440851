/**
 * A channel's life by the API: opened, confirmed, paid over in both directions, closed cooperatively, every satoshi where it belongs.
 */
import { unwrap } from '@leyden/api/client'
import type { LightningNode } from '@leyden/devnet-service'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readBooks, spenderOf } from './books.ts'
import {
  channelOf,
  channelsOf,
  channelWhere,
  confirmedSat,
  createWorld,
  holdInvoice,
  invoice,
  invoiceOf,
  invoiceStatus,
  pay,
  payLater,
  paymentEnd,
  secret,
  settled,
  sha256,
  waitFor,
  type World,
} from './world.ts'

const CAPACITY_SAT = 1_000_000

describe('a channel', () => {
  let world: World
  let alice: LightningNode
  let carol: LightningNode
  let funding: string
  const before = { alice: 0, carol: 0 }

  beforeAll(async () => {
    world = await createWorld()
    ;[alice, carol] = await Promise.all([world.node('alice'), world.node('carol')])
    await world.fund(alice, carol)
    before.alice = await confirmedSat(alice)
    before.carol = await confirmedSat(carol)
  })
  afterAll(() => world?.close())

  it('opens by one request, and is there for good once confirmed', async () => {
    const opened = await unwrap(
      alice.client.v1.channels.$post(
        { json: { uri: await carol.uri(), capacitySat: CAPACITY_SAT } },
        { headers: { 'idempotency-key': 'open-1' } },
      ),
    )
    expect(opened).toMatchObject({
      state: 'opening',
      capacitySat: CAPACITY_SAT,
      localMsat: CAPACITY_SAT * 1000,
      remoteMsat: 0,
      opener: 'local',
      peer: { nodeId: await carol.nodeId(), connected: true },
    })
    funding = await waitFor('the funding transaction', async () => (await channelsOf(alice))[0]?.fundingTxid)
    await waitFor('it in the mempool', async () => (await world.rpc.mempool()).includes(funding))
    expect((await channelOf(alice, funding)).canSendMsat).toBe(0)
    await world.mine(2)
    expect((await channelOf(alice, funding)).state).toBe('opening')
    await world.mine(1)
    for (const node of [alice, carol]) await channelWhere(node, funding, 'a normal channel', ({ state }) => state === 'normal')
    await world.mine(3)
    for (const node of [alice, carol]) {
      const channel = await channelWhere(node, funding, 'an announced channel', ({ announced }) => announced)
      expect(channel.channelType).toContain('anchors')
      expect(channel.shortChannelId).toMatch(/^\d+x\d+x\d+$/)
    }
    const both = await Promise.all([alice, carol].map((node) => channelOf(node, funding)))
    expect(both[0]?.channelId).toBe(both[1]?.channelId)
    expect(both[0]?.shortChannelId).toBe(both[1]?.shortChannelId)
  })

  it('says why each satoshi is held', async () => {
    const channel = await channelOf(alice, funding)
    const heldMsat = channel.held.reduce((sum, { amountMsat }) => sum + amountMsat, 0)
    expect(channel.canSendMsat + heldMsat).toBe(channel.localMsat)
    expect(channel.held.every(({ reason }) => reason.length > 10)).toBe(true)
  })

  it('carries payments in both directions, exact to the millisatoshi', async () => {
    const one = await invoice(carol, 123_456_789, 'one')
    const first = await pay(alice, one.bolt11)
    expect(first).toMatchObject({
      status: 'succeeded',
      amountMsat: 123_456_789,
      feeMsat: 0,
      destination: await carol.nodeId(),
      description: 'one',
    })
    expect(sha256(first.preimage as string)).toBe(one.paymentHash)
    expect(await invoiceOf(carol, one.paymentHash)).toMatchObject({
      status: 'settled',
      receivedMsat: 123_456_789,
      preimage: first.preimage,
    })

    const two = await invoice(alice, 23_456_001, 'two')
    expect(await pay(carol, two.bolt11)).toMatchObject({ status: 'succeeded', amountMsat: 23_456_001, feeMsat: 0 })
    const open = await invoice(alice, undefined, 'the payer chooses')
    expect(await pay(carol, open.bolt11, { amountMsat: 7 })).toMatchObject({ status: 'succeeded', amountMsat: 7 })
    expect((await invoiceOf(alice, open.paymentHash)).receivedMsat).toBe(7)

    await settled([alice, carol], funding)
    const localMsat = CAPACITY_SAT * 1000 - 123_456_789 + 23_456_001 + 7
    expect(await channelOf(alice, funding)).toMatchObject({ localMsat, remoteMsat: CAPACITY_SAT * 1000 - localMsat })
    expect(await channelOf(carol, funding)).toMatchObject({ localMsat: CAPACITY_SAT * 1000 - localMsat, remoteMsat: localMsat })
  })

  it('carries many payments at once in both directions', async () => {
    const start = (await channelOf(alice, funding)).localMsat
    const amounts = Array.from({ length: 20 }, (_, i) => 1_000_000 + i)
    const results = await Promise.all([
      ...amounts.map(async (amountMsat) => pay(alice, (await invoice(carol, amountMsat)).bolt11)),
      ...amounts.map(async (amountMsat) => pay(carol, (await invoice(alice, amountMsat)).bolt11)),
    ])
    expect(results.map(({ status }) => status)).toEqual(results.map(() => 'succeeded'))
    await settled([alice, carol], funding)
    expect((await channelOf(alice, funding)).localMsat).toBe(start)
  })

  it('closes cooperatively, and the balances are on the chain', async () => {
    const channel = await channelOf(alice, funding)
    const theirs = await channelOf(carol, funding)
    const closing = await unwrap(
      alice.client.v1.channels[':channelId'].close.$post({ param: { channelId: channel.channelId }, json: {} }),
    )
    expect(['shuttingDown', 'closing']).toContain(closing.state)
    await channelWhere(carol, funding, 'a closing transaction', ({ closeTxid }) => closeTxid !== undefined)
    await waitFor('it in the mempool', async () => (await world.rpc.mempool()).length > 0)
    await world.mine(6)
    for (const node of [alice, carol]) await channelWhere(node, funding, 'a closed channel', ({ state }) => state === 'closed')

    const books = await readBooks(world.rpc)
    const opening = books.entries.get(funding)
    const spend = spenderOf(books, funding, channel.fundingVout as number)
    expect(spend?.tx.outputs.length).toBe(2)
    expect((await channelOf(alice, funding)).closeTxid).toBe(spend?.txid)
    const aliceSat = Math.floor(channel.localMsat / 1000)
    const carolSat = Math.floor(theirs.localMsat / 1000)
    // option_simple_close: each side offers a transaction whose fee it pays itself, and one of the two is mined. What is below a
    // satoshi goes to the miner.
    const closingFeeSat = (spend?.feeSat as number) - (CAPACITY_SAT - aliceSat - carolSat)
    expect(closingFeeSat).toBeGreaterThan(0)
    const gained = {
      alice: (await confirmedSat(alice)) - before.alice + CAPACITY_SAT + (opening?.feeSat as number),
      carol: (await confirmedSat(carol)) - before.carol,
    }
    expect([
      { alice: aliceSat - closingFeeSat, carol: carolSat },
      { alice: aliceSat, carol: carolSat - closingFeeSat },
    ]).toContainEqual(gained)
  })

  it('that is to be closed waits for its HTLCs, takes no new ones, and then closes', async () => {
    const channel = await world.channel(alice, carol, { capacitySat: CAPACITY_SAT, pushMsat: 300_000_000 })
    const txid = channel.fundingTxid as string
    const start = { alice: await confirmedSat(alice), carol: await confirmedSat(carol) }
    const one = secret()
    const { id } = await payLater(alice, (await holdInvoice(carol, 50_000_000, one)).bolt11)
    await invoiceStatus(carol, one.paymentHash, 'accepted')
    const closing = await unwrap(
      alice.client.v1.channels[':channelId'].close.$post({ param: { channelId: channel.channelId }, json: {} }),
    )
    expect(closing.state).toBe('shuttingDown')
    await channelWhere(carol, txid, 'a channel that shuts down', ({ state }) => state === 'shuttingDown')
    expect((await pay(alice, (await invoice(carol, 1000)).bolt11)).status).toBe('failed')
    // A restart in the middle changes nothing.
    await carol.daemon.kill()
    await carol.daemon.start()
    await channelWhere(carol, txid, 'the peer again', ({ peer }) => peer.connected)
    expect(await world.rpc.mempool()).toEqual([])
    await unwrap(
      carol.client.v1.invoices[':paymentHash'].settle.$post({
        param: { paymentHash: one.paymentHash },
        json: { preimage: one.preimage },
      }),
    )
    expect(await paymentEnd(alice, id)).toMatchObject({ status: 'succeeded', preimage: one.preimage })
    await waitFor('the closing transaction', async () => (await world.rpc.mempool()).length > 0)
    await world.mine(6)
    for (const node of [alice, carol]) await channelWhere(node, txid, 'a closed channel', ({ state }) => state === 'closed')
    const books = await readBooks(world.rpc)
    const spend = spenderOf(books, txid, channel.fundingVout as number)
    const gained = { alice: (await confirmedSat(alice)) - start.alice, carol: (await confirmedSat(carol)) - start.carol }
    expect(gained.alice + gained.carol).toBe(CAPACITY_SAT - (spend?.feeSat as number))
    expect([350_000, 350_000 - (spend?.feeSat as number)]).toContain(gained.carol)
  })
})
