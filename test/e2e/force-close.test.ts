/**
 * A force close with HTLCs pending in both directions: in each, one whose preimage becomes known and one that times out. Each side ends
 * with exactly what it is due, and not before the delays are over.
 */
import { unwrap } from '@leyden/api/client'
import type { LightningNode } from '@leyden/devnet-service'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ANCHOR_SAT, type Books, claimsOf, type Entry, readBooks, spenderOf } from './books.ts'
import {
  channelOf,
  channelWhere,
  confirmedSat,
  createWorld,
  holdInvoice,
  invoiceOf,
  invoiceStatus,
  mineUntil,
  onchain,
  payLater,
  paymentEnd,
  type Secret,
  secret,
  waitFor,
  walletTxids,
  type World,
} from './world.ts'

const CAPACITY_SAT = 2_000_000
const PUSH_MSAT = 900_000_000
/** to_self_delay that our nodes ask of each other. */
const DELAY_BLOCKS = 144
/** More than any delay and expiry here together. */
const MOST_BLOCKS = 700

interface Held extends Secret {
  readonly msat: number
  readonly paymentId: string
}

describe('a force close', () => {
  let world: World
  let alice: LightningNode
  let bob: LightningNode

  beforeAll(async () => {
    world = await createWorld()
    ;[alice, bob] = await Promise.all([world.node('alice'), world.node('bob')])
    await world.fund(alice, bob)
  })
  afterAll(() => world?.close())

  /** A payment that the payee holds. */
  const held = async (payer: LightningNode, payee: LightningNode, msat: number): Promise<Held> => {
    const one = secret()
    const { bolt11 } = await holdInvoice(payee, msat, one)
    const { id } = await payLater(payer, bolt11)
    await invoiceStatus(payee, one.paymentHash, 'accepted')
    return { ...one, msat, paymentId: id }
  }

  const settle = (node: LightningNode, { paymentHash, preimage }: Secret) =>
    unwrap(node.client.v1.invoices[':paymentHash'].settle.$post({ param: { paymentHash }, json: { preimage } }))

  /** Blocks from the commitment to the sweep of the output of this value. */
  const delayOf = (books: Books, commitment: Entry, valueSat: number): number => {
    const vout = commitment.tx.outputs.findIndex(({ value }) => Number(value) === valueSat)
    const sweep = spenderOf(books, commitment.txid, vout)
    if (sweep === undefined) throw new Error(`the output of ${valueSat} sat is not swept`)
    return sweep.height - commitment.height
  }

  for (const [closerName, otherName] of [
    ['alice', 'bob'],
    ['bob', 'alice'],
  ] as const)
    it(`by ${closerName}, who ${closerName === 'alice' ? 'opened the channel' : 'did not open it'}, gives each side what it is due`, async () => {
      const byName = { alice, bob }
      const closer = byName[closerName]
      const other = byName[otherName]
      const channel = await world.channel(alice, bob, { capacitySat: CAPACITY_SAT, pushMsat: PUSH_MSAT })
      const funding = channel.fundingTxid as string
      const start = { alice: await confirmedSat(alice), bob: await confirmedSat(bob) }

      const toBob = [await held(alice, bob, 110_000_000), await held(alice, bob, 70_000_000)] as const
      const toAlice = [await held(bob, alice, 60_000_000), await held(bob, alice, 40_000_000)] as const
      const pending = await channelWhere(alice, funding, 'four HTLCs', ({ htlcs }) => htlcs.length === 4)
      expect(pending.localMsat).toBe(CAPACITY_SAT * 1000 - PUSH_MSAT - 180_000_000)
      expect(pending.remoteMsat).toBe(PUSH_MSAT - 100_000_000)
      await channelWhere(bob, funding, 'four HTLCs', ({ htlcs }) => htlcs.length === 4)

      const closing = await unwrap(
        closer.client.v1.channels[':channelId'].close.$post({ param: { channelId: channel.channelId }, json: { force: true } }),
      )
      expect(closing.state).toBe('closing')
      const [commitmentTxid] = await waitFor('the commitment transaction', async () => {
        const pool = await world.rpc.mempool()
        return pool.length > 0 && pool
      })
      expect(commitmentTxid).toMatch(/^[0-9a-f]{64}$/)
      await world.mine(1)
      for (const node of [alice, bob])
        await channelWhere(node, funding, 'a channel that is closing', ({ state }) => state === 'closing')

      // The preimages of one HTLC in each direction become known only now: they must be claimed on the chain.
      await settle(bob, toBob[0])
      await settle(alice, toAlice[0])
      await mineUntil(
        world,
        'the channel closed at both ends',
        async () => {
          const states = await Promise.all([alice, bob].map(async (node) => (await channelOf(node, funding)).state))
          return states.every((state) => state === 'closed')
        },
        MOST_BLOCKS,
        2,
      )
      for (const node of [alice, bob])
        await waitFor(`nothing unconfirmed at ${node.name}`, async () => (await onchain(node)).unconfirmedSat === 0)

      // Every payment ended, the way its HTLC did.
      expect(await paymentEnd(alice, toBob[0].paymentId)).toMatchObject({
        status: 'succeeded',
        preimage: toBob[0].preimage,
        feeMsat: 0,
      })
      expect(await paymentEnd(alice, toBob[1].paymentId)).toMatchObject({ status: 'failed' })
      expect(await paymentEnd(bob, toAlice[0].paymentId)).toMatchObject({
        status: 'succeeded',
        preimage: toAlice[0].preimage,
        feeMsat: 0,
      })
      expect(await paymentEnd(bob, toAlice[1].paymentId)).toMatchObject({ status: 'failed' })
      expect((await invoiceOf(bob, toBob[0].paymentHash)).status).toBe('settled')
      expect((await invoiceOf(bob, toBob[1].paymentHash)).status).not.toBe('settled')

      const books = await readBooks(world.rpc)
      const commitment = spenderOf(books, funding, channel.fundingVout as number)
      if (commitment === undefined) throw new Error('no commitment on the chain')
      const txids = { alice: await walletTxids(alice), bob: await walletTxids(bob) }
      const claims = { alice: claimsOf(books, commitment, txids.alice), bob: claimsOf(books, commitment, txids.bob) }
      const openerPaysSat = commitment.feeSat + 2 * ANCHOR_SAT
      const due = {
        alice: pending.localMsat / 1000 - openerPaysSat + (toAlice[0].msat + toBob[1].msat) / 1000,
        bob: pending.remoteMsat / 1000 + (toBob[0].msat + toAlice[1].msat) / 1000,
      }
      expect(claims.alice.takenSat - claims.alice.anchorsSat).toBe(due.alice)
      expect(claims.bob.takenSat - claims.bob.anchorsSat).toBe(due.bob)
      expect(await confirmedSat(alice)).toBe(start.alice + claims.alice.takenSat - claims.alice.feesSat)
      expect(await confirmedSat(bob)).toBe(start.bob + claims.bob.takenSat - claims.bob.feesSat)
      // Whoever published the commitment waits for its delay; the other side does not. (Told of the error, the other side publishes its
      // own commitment; which of the two is mined is a race.)
      const delays = [
        delayOf(books, commitment, pending.localMsat / 1000 - openerPaysSat),
        delayOf(books, commitment, pending.remoteMsat / 1000),
      ].toSorted((x, y) => x - y)
      expect(delays[0]).toBeLessThan(DELAY_BLOCKS)
      expect(delays[1]).toBeGreaterThanOrEqual(DELAY_BLOCKS)
      expect((await channelOf(other, funding)).closeTxid).toBe(commitment.txid)
    })
})
