/**
 * A node restored from an old copy of its data publishes a revoked commitment: the other side takes every output of it.
 * The safeguard against this (a node that learns from its peer that it is behind does not close) is out of the way because the peer is
 * not there when the old copy is told to force close.
 */
import { cpSync, renameSync, rmSync } from 'node:fs'
import { unwrap } from '@leyden/api/client'
import type { LightningNode } from '@leyden/devnet-service'
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
  type Secret,
  secret,
  settled,
  waitFor,
  walletTxids,
  type World,
} from './world.ts'

const CAPACITY_SAT = 2_000_000
const PUSH_MSAT = 800_000_000

describe('a revoked commitment', () => {
  let world: World
  let alice: LightningNode
  let bob: LightningNode

  beforeAll(async () => {
    world = await createWorld()
    ;[alice, bob] = await Promise.all([world.node('alice'), world.node('bob')])
    await world.fund(alice, bob)
  })
  afterAll(() => world?.close())

  const settle = (node: LightningNode, { paymentHash, preimage }: Secret) =>
    unwrap(node.client.v1.invoices[':paymentHash'].settle.$post({ param: { paymentHash }, json: { preimage } }))

  for (const stage of ['as it is', 'with an HTLC transaction on top'] as const)
    it(`${stage} costs the cheat every output, HTLCs of both directions among them`, async () => {
      const channel = await world.channel(alice, bob, { capacitySat: CAPACITY_SAT, pushMsat: PUSH_MSAT })
      const funding = channel.fundingTxid as string
      // The state that will be revoked: alice has most of the money, and an HTLC hangs in each direction.
      const toBob = secret()
      const toAlice = secret()
      const outgoing = await payLater(alice, (await holdInvoice(bob, 150_000_000, toBob)).bolt11)
      await invoiceStatus(bob, toBob.paymentHash, 'accepted')
      const incoming = await payLater(bob, (await holdInvoice(alice, 90_000_000, toAlice)).bolt11)
      await invoiceStatus(alice, toAlice.paymentHash, 'accepted')
      await channelWhere(alice, funding, 'two HTLCs', ({ htlcs }) => htlcs.length === 2)
      await channelWhere(bob, funding, 'two HTLCs', ({ htlcs }) => htlcs.length === 2)

      await alice.daemon.stop()
      rmSync(`${alice.datadir}.old`, { recursive: true, force: true })
      cpSync(alice.datadir, `${alice.datadir}.old`, { recursive: true })
      await alice.daemon.start()
      await channelWhere(alice, funding, 'the peer again', ({ peer }) => peer.connected)
      await settle(bob, toBob)
      await settle(alice, toAlice)
      expect((await paymentEnd(alice, outgoing.id)).status).toBe('succeeded')
      expect((await paymentEnd(bob, incoming.id)).status).toBe('succeeded')
      expect((await pay(alice, (await invoice(bob, 700_000_000)).bolt11)).status).toBe('succeeded')
      await settled([alice, bob], funding)
      const now = await channelOf(alice, funding)
      expect(now.localMsat).toBe(CAPACITY_SAT * 1000 - PUSH_MSAT - 150_000_000 + 90_000_000 - 700_000_000)

      const bobBefore = await confirmedSat(bob)
      await alice.daemon.stop()
      await bob.daemon.stop()
      rmSync(alice.datadir, { recursive: true })
      renameSync(`${alice.datadir}.old`, alice.datadir)
      await alice.daemon.start()
      const old = await channelOf(alice, funding)
      expect(old.localMsat).toBe(CAPACITY_SAT * 1000 - PUSH_MSAT - 150_000_000)
      await unwrap(
        alice.client.v1.channels[':channelId'].close.$post({ param: { channelId: old.channelId }, json: { force: true } }),
      )
      await waitFor('the old commitment in the mempool', async () => (await world.rpc.mempool()).length > 0)
      await world.mine(1)
      // The cheat has the preimage of an HTLC: its claim is as revoked as the rest.
      if (stage !== 'as it is') {
        await settle(alice, toAlice)
        await waitFor('the HTLC transaction', async () => (await world.rpc.mempool()).length > 0)
        await world.mine(1)
      }
      await bob.daemon.start()
      await channelWhere(bob, funding, 'the cheat seen', ({ state }) => state === 'closing')
      const blocks = await mineUntil(
        world,
        'the channel closed at bob',
        async () => (await channelOf(bob, funding)).state === 'closed',
        60,
      )
      expect(blocks).toBeLessThan(30)
      await waitFor('nothing unconfirmed', async () => (await onchain(bob)).unconfirmedSat === 0)

      const books = await readBooks(world.rpc)
      const commitment = spenderOf(books, funding, channel.fundingVout as number)
      if (commitment === undefined) throw new Error('no commitment on the chain')
      const claims = claimsOf(books, commitment, await walletTxids(bob))
      const ofCommitment = claims.entries.filter(({ tx }) => tx.inputs.some(({ outpoint }) => outpoint.txid === commitment.txid))
      expect(ofCommitment.length === claims.entries.length).toBe(stage === 'as it is')
      expect(claims.takenSat - claims.anchorsSat).toBe(CAPACITY_SAT - commitment.feeSat - 2 * ANCHOR_SAT)
      expect(await confirmedSat(bob)).toBe(bobBefore + claims.takenSat - claims.feesSat)
      expect((await channelOf(bob, funding)).closeKind).toMatch(/revoked/i)
      // The payments of the time after the copy stay what they were at bob.
      expect((await paymentEnd(bob, incoming.id)).status).toBe('succeeded')
    })

  it('is not published by a node that its peer tells that it is behind: the peer closes, and nothing is lost', async () => {
    const channel = await world.channel(alice, bob, { capacitySat: CAPACITY_SAT, pushMsat: PUSH_MSAT })
    const funding = channel.fundingTxid as string
    await alice.daemon.stop()
    rmSync(`${alice.datadir}.old`, { recursive: true, force: true })
    cpSync(alice.datadir, `${alice.datadir}.old`, { recursive: true })
    await alice.daemon.start()
    await channelWhere(alice, funding, 'the peer again', ({ peer }) => peer.connected)
    expect((await pay(alice, (await invoice(bob, 300_000_000)).bolt11)).status).toBe('succeeded')
    expect((await pay(bob, (await invoice(alice, 20_000_000)).bolt11)).status).toBe('succeeded')
    await settled([alice, bob], funding)
    const latest = await channelOf(alice, funding)
    await alice.daemon.stop()
    rmSync(alice.datadir, { recursive: true })
    renameSync(`${alice.datadir}.old`, alice.datadir)
    await alice.daemon.start()
    const before = { alice: await confirmedSat(alice), bob: await confirmedSat(bob) }

    await waitFor("bob's commitment", async () => (await world.rpc.mempool()).length > 0)
    await mineUntil(
      world,
      'the channel closed at both ends',
      async () => {
        const states = await Promise.all([alice, bob].map(async (node) => (await channelOf(node, funding)).state))
        return states.every((state) => state === 'closed')
      },
      300,
      4,
    )
    for (const node of [alice, bob]) await waitFor('nothing unconfirmed', async () => (await onchain(node)).unconfirmedSat === 0)
    const books = await readBooks(world.rpc)
    const commitment = spenderOf(books, funding, channel.fundingVout as number)
    if (commitment === undefined) throw new Error('no commitment on the chain')
    const ofAlice = claimsOf(books, commitment, await walletTxids(alice))
    const ofBob = claimsOf(books, commitment, await walletTxids(bob))
    expect(ofAlice.takenSat - ofAlice.anchorsSat).toBe(latest.localMsat / 1000 - commitment.feeSat - 2 * ANCHOR_SAT)
    expect(ofBob.takenSat - ofBob.anchorsSat).toBe(latest.remoteMsat / 1000)
    expect(await confirmedSat(alice)).toBe(before.alice + ofAlice.takenSat - ofAlice.feesSat)
    expect(await confirmedSat(bob)).toBe(before.bob + ofBob.takenSat - ofBob.feesSat)
  })
})
