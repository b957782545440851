/**
 * kill -9 of each process in turn while payments run alice -> bob -> carol: all come back, no channel closes, every payment ends once,
 * nothing is lost and nothing is paid twice.
 */
import { createHash } from 'node:crypto'
import { type Payment, Problem, unwrap } from '@leyden/api/client'
import { awaitGraph, type LightningNode, pause } from '@leyden/devnet-service'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  channelOf,
  channelWhere,
  createWorld,
  invoice,
  invoiceOf,
  pay,
  paymentOf,
  settled,
  sha256,
  waitFor,
  type World,
} from './world.ts'

const PLAN = { capacitySat: 2_000_000, pushMsat: 500_000_000 }
const FIRST_MSAT = 1_000_000
const WORKERS = 4
/** More rounds look for what only happens rarely. */
const ROUNDS = Number(process.env['LEYDEN_KILL_ROUNDS'] ?? 1)

describe('kill -9', () => {
  let world: World
  let alice: LightningNode
  let bob: LightningNode
  let carol: LightningNode
  let left: string
  let right: string

  beforeAll(async () => {
    world = await createWorld()
    ;[alice, bob, carol] = await Promise.all([world.node('alice'), world.node('bob'), world.node('carol')])
    await world.fund(alice, bob)
    left = (await world.channel(alice, bob, PLAN)).fundingTxid as string
    right = (await world.channel(bob, carol, PLAN)).fundingTxid as string
    await awaitGraph(alice, 2)
    await pay(alice, (await invoice(carol, 1_000)).bolt11)
    await settled([alice, bob], left)
    await settled([bob, carol], right)
  })
  afterAll(() => world?.close())

  /** Asks until there is an answer: the process may be gone at any time. A refusal is an answer. */
  const insist = <T>(what: string, ask: () => Promise<T>): Promise<T> =>
    waitFor(
      what,
      async () => {
        try {
          return { value: await ask() }
        } catch (error) {
          // No channel can be used for the moment: alice knows no way, or bob is away.
          if (
            error instanceof Problem &&
            !error.code.match(/no_route|peer_offline|channel_busy|syncing|insufficient_balance|in_flight/)
          )
            throw error
          return undefined
        }
      },
      { timeoutMs: 120_000, everyMs: 100 },
    ).then(({ value }) => value)

  it(
    'of every process in turn leaves all money and all channels in place',
    async () => {
      const before = { left: await channelOf(alice, left), right: await channelOf(carol, right) }
      const stop = new AbortController()
      let next = 0
      const done: { readonly paymentHash: string; readonly payment: Payment }[] = []

      /** One payment after the other; the key makes each POST safe to repeat. */
      const worker = async (): Promise<void> => {
        while (!stop.signal.aborted) {
          const amountMsat = FIRST_MSAT + next++
          const { bolt11, paymentHash } = await insist('an invoice', () => invoice(carol, amountMsat))
          const key = createHash('sha256').update(bolt11).digest('hex')
          const begun = await insist('a payment', () =>
            unwrap(
              alice.client.v1.payments.$post(
                { json: { to: bolt11 } },
                { headers: { 'idempotency-key': key, prefer: 'wait=20' } },
              ),
            ),
          )
          const payment = await insist('its end', async () => {
            const found = await paymentOf(alice, begun.id)
            if (found.status === 'inFlight') throw new Error('in flight')
            return found
          })
          done.push({ paymentHash, payment })
        }
      }
      const workers = Array.from({ length: WORKERS }, worker)
      const victims = [bob, alice, carol, bob].map((node) => node.daemon)
      victims.splice(2, 0, world.ledger.daemon)
      for (const victim of Array.from({ length: ROUNDS }, () => victims).flat()) {
        const count = done.length
        await waitFor('payments', () => done.length > count + 2, { timeoutMs: 120_000 })
        await pause(Math.random() * 30)
        const exit = await victim.kill()
        expect(exit?.signal).toBe('SIGKILL')
        await pause(300)
        await victim.start()
        for (const node of [alice, bob, carol]) {
          await channelWhere(node, node === carol ? right : left, 'a connected channel', ({ peer }) => peer.connected, 90_000)
          await waitFor(`${node.name} in step`, async () => (await unwrap(node.client.v1.node.$get())).synced, {
            timeoutMs: 90_000,
          })
        }
      }
      stop.abort()
      await Promise.all(workers)
      await settled([alice, bob], left)
      await settled([bob, carol], right)

      for (const [node, funding] of [
        [alice, left],
        [bob, left],
        [bob, right],
        [carol, right],
      ] as const)
        expect((await channelOf(node, funding)).state).toBe('normal')

      // Each payment ended once; the payee has the money of those that succeeded, and of no other.
      const each = done.filter(({ payment }) => payment.status === 'succeeded').map(({ payment }) => payment)
      expect(each.length).toBeGreaterThan(victims.length)
      for (const payment of each) {
        expect(sha256(payment.preimage as string)).toBe(payment.paymentHash)
        expect(payment.feeMsat).toBe(1000 + Math.floor((payment.amountMsat * 100) / 1_000_000))
      }
      const outcomes = await Promise.all(
        done.map(async ({ paymentHash, payment }) => {
          const { status, receivedMsat } = await invoiceOf(carol, paymentHash)
          return { paid: payment.status === 'succeeded' && payment.amountMsat, received: status === 'settled' && receivedMsat }
        }),
      )
      expect(outcomes.filter(({ paid, received }) => paid !== received)).toEqual([])
      const sentMsat = each.reduce((sum, payment) => sum + payment.amountMsat, 0)
      const feesMsat = each.reduce((sum, payment) => sum + (payment.feeMsat as number), 0)
      expect(new Set(done.map(({ payment }) => payment.id)).size).toBe(done.length)
      expect((await channelOf(alice, left)).localMsat).toBe(before.left.localMsat - sentMsat - feesMsat)
      expect((await channelOf(carol, right)).localMsat).toBe(before.right.localMsat + sentMsat)
      expect((await channelOf(bob, left)).localMsat).toBe(before.left.remoteMsat + sentMsat + feesMsat)
      expect((await channelOf(bob, right)).localMsat).toBe(before.right.remoteMsat - sentMsat)
    },
    400_000 * ROUNDS,
  )
})
