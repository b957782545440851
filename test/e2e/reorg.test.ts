/**
 * A reorg of six blocks that takes a funding transaction off the chain and puts it back: the channel lives through it.
 */
import { awaitTip, type LightningNode, NOBODY, openChannel } from '@leyden/devnet-service'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { channelOf, channelWhere, createWorld, invoice, pay, settled, waitFor, type World } from './world.ts'

const CAPACITY_SAT = 1_000_000
const PUSH_MSAT = 300_000_000
/** Another script of nobody's (P2WSH of OP_2), so that the new blocks differ from the old. */
const ELSEWHERE = 'raw(00208c2574892063f995fdf756bce07f46c1a5193e54cd52837ed91e32008ccf41ac)'

describe('a reorg of six blocks', () => {
  let world: World
  let alice: LightningNode
  let bob: LightningNode

  beforeAll(async () => {
    world = await createWorld()
    ;[alice, bob] = await Promise.all([world.node('alice'), world.node('bob')])
    await world.fund(alice, bob)
  })
  afterAll(() => world?.close())

  it('takes out the funding transaction and puts it back; the channel goes on', async () => {
    const channel = await world.channel(alice, bob, { capacitySat: CAPACITY_SAT, pushMsat: PUSH_MSAT })
    const funding = channel.fundingTxid as string
    expect((await pay(alice, (await invoice(bob, 10_000_000)).bolt11)).status).toBe('succeeded')
    await settled([alice, bob], funding)
    const balance = (await channelOf(alice, funding)).localMsat

    const tip = await world.rpc.height()
    const { confirmations } = await channelOf(alice, funding)
    expect(confirmations).toBe(6)
    const out = await world.rpc.call<string>('getblockhash', tip - confirmations + 1)
    await world.rpc.call('invalidateblock', out)
    expect(await world.rpc.height()).toBe(tip - 6)
    expect(await world.rpc.mempool()).toContain(funding)
    // Seven blocks without it: the chain that wins has no such channel.
    for (let i = 0; i < 7; i++) await world.rpc.call('generateblock', ELSEWHERE, [])
    await awaitTip(world.rpc, [alice, bob])
    for (const node of [alice, bob]) {
      const gone = await channelWhere(
        node,
        funding,
        'a funding transaction that is not confirmed',
        (now) => now.confirmations === 0,
      )
      expect(gone.localMsat + gone.remoteMsat).toBe(CAPACITY_SAT * 1000)
      expect(['opening', 'normal']).toContain(gone.state)
    }
    expect(await world.rpc.mempool()).toContain(funding)

    // It comes back in another block.
    await world.rpc.mine(1, NOBODY)
    await world.mine(5)
    for (const node of [alice, bob]) {
      const back = await channelWhere(
        node,
        funding,
        'a channel that is back',
        (now) => now.state === 'normal' && now.confirmations === 6,
      )
      expect(back.peer.connected).toBe(true)
    }
    expect((await channelOf(alice, funding)).localMsat).toBe(balance)
    const scids = await waitFor('one short channel id', async () => {
      const [a, b] = await Promise.all([alice, bob].map((node) => channelOf(node, funding)))
      return a?.shortChannelId !== undefined && a.shortChannelId === b?.shortChannelId && [a.shortChannelId]
    })
    expect(scids[0]?.startsWith(`${tip - 6 + 8}x`)).toBe(true)
    expect((await pay(alice, (await invoice(bob, 5_000_000)).bolt11)).status).toBe('succeeded')
    expect((await pay(bob, (await invoice(alice, 1_000_001)).bolt11)).status).toBe('succeeded')
    await settled([alice, bob], funding)
    expect((await channelOf(alice, funding)).localMsat).toBe(balance - 5_000_000 + 1_000_001)
  })

  it('before the channel is ready only delays it', async () => {
    const carol = await world.node('carol')
    const opened = await openChannel(alice, carol, { capacitySat: CAPACITY_SAT, pushMsat: 0 })
    const funding = opened.fundingTxid as string
    await waitFor('the funding transaction', async () => (await world.rpc.mempool()).includes(funding))
    await world.mine(2)
    const tip = await world.rpc.height()
    await world.rpc.call('invalidateblock', await world.rpc.call<string>('getblockhash', tip - 1))
    for (let i = 0; i < 3; i++) await world.rpc.call('generateblock', ELSEWHERE, [])
    await awaitTip(world.rpc, [alice, bob, carol])
    await channelWhere(
      carol,
      funding,
      'no confirmations',
      ({ confirmations, state }) => confirmations === 0 && state === 'opening',
    )
    await world.mine(3)
    for (const node of [alice, carol]) await channelWhere(node, funding, 'a normal channel', ({ state }) => state === 'normal')
    expect((await pay(alice, (await invoice(carol, 1000)).bolt11)).status).toBe('succeeded')
  })
})
