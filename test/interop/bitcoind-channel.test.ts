/**
 * A Lightning network on our ledger with a bitcoind among the ledger's peers: it takes every transaction of a channel's life into its
 * mempool, every block, and stands where the ledger stands; and blocks that it mines itself confirm them as well.
 */
import { join } from 'node:path'
import { unwrap } from '@leyden/api/client'
import { type LightningNode, waitFor } from '@leyden/devnet-service'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { channelWhere, createWorld, invoice, pay, type World } from '../e2e/world.ts'
import { type Bitcoind, bitcoindInstalled, inSync, startBitcoind, stateOf } from './bitcoind.ts'

describe.skipIf(!bitcoindInstalled)('a channel beside bitcoind', () => {
  let world: World
  let core: Bitcoind
  let alice: LightningNode
  let carol: LightningNode
  let funding: string
  const agree = async (): Promise<void> => {
    await inSync([core.rpc, world.rpc], await world.rpc.bestHash())
    expect(await stateOf(core.rpc)).toEqual(await stateOf(world.rpc))
  }
  /** Once bitcoind has it in its mempool, bitcoind mines it. */
  const confirm = async (txid: string): Promise<void> => {
    await waitFor(`bitcoind has ${txid}`, () => core.rpc.call('getmempoolentry', txid).then(() => true))
    const tip = (await core.rpc.mine(6)).at(-1) as string
    await inSync([world.rpc], tip)
  }

  beforeAll(async () => {
    world = await createWorld()
    core = await startBitcoind(join(world.directory, 'bitcoind'))
    await core.rpc.call('addnode', world.ledger.p2p, 'add')
    ;[alice, carol] = await Promise.all([world.node('alice'), world.node('carol')])
    await world.fund(alice)
  })
  afterAll(async () => {
    await core?.stop()
    await world?.close()
  })

  it('is opened, paid over and closed, in blocks of either', async () => {
    await agree()
    const opened = await unwrap(
      alice.client.v1.channels.$post(
        { json: { uri: await carol.uri(), capacitySat: 1_000_000 } },
        { headers: { 'idempotency-key': 'open' } },
      ),
    )
    const { fundingTxid } = await channelWhere(alice, opened.fundingTxid as string, 'a funding transaction', () => true)
    funding = fundingTxid as string
    await confirm(funding)
    for (const node of [alice, carol]) await channelWhere(node, funding, 'a channel in use', ({ state }) => state === 'normal')
    await pay(alice, (await invoice(carol, 250_000_000)).bolt11)
    await unwrap(alice.client.v1.channels[':channelId'].close.$post({ param: { channelId: opened.channelId }, json: {} }))
    await channelWhere(alice, funding, 'a closing transaction', ({ closeTxid }) => closeTxid !== undefined)
    const spent = await waitFor('the closing transaction at bitcoind', async () => {
      const vout = await core.rpc.call<{ vout: { n: number; value: number }[] }>('getrawtransaction', funding, 1)
      const n = vout.vout.find(({ value }) => value === 0.01)?.n
      const [spending] = await core.rpc.call<{ spendingtxid?: string }[]>('gettxspendingprevout', [{ txid: funding, vout: n }])
      return spending?.spendingtxid
    })
    await confirm(spent)
    for (const node of [alice, carol]) await channelWhere(node, funding, 'a closed channel', ({ state }) => state === 'closed')
    await agree()
    expect(await core.rpc.call('getmempoolinfo')).toMatchObject({ size: 0 })
  })
})
