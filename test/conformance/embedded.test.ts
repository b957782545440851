/**
 * A ledger and two nodes in one process, by the doors that embedders use: what the API says of a channel adds up in every state, and
 * what is in the way of a start is said in words.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Channel, createClient, unwrap } from '@leyden/api/client'
import { decodeAddress, isAddressProblem, networks } from '@leyden/bitcoin'
import { waitFor } from '@leyden/devnet-service'
import { startLedger } from '@leyden/ledger-service'
import { loadConfig, type Running, silentLog, startLightning } from '@leyden/lightning-service'
import { afterAll, describe, expect, it } from 'vitest'

const directory = mkdtempSync(join(tmpdir(), 'leyden-embedded-'))
const closing: (() => Promise<void>)[] = []
afterAll(async () => {
  for (const close of closing.toReversed()) await close()
  rmSync(directory, { recursive: true, force: true })
})

const ledger = await startLedger({ datadir: join(directory, 'ledger'), rpcPort: 0, p2pPort: 0, linkPort: 0, logLevel: 'silent' })
closing.push(() => ledger.stop())

const configOf = (name: string, flags: Record<string, string> = {}) =>
  loadConfig(
    {
      datadir: join(directory, name),
      alias: name,
      listen: '127.0.0.1:0',
      api: '127.0.0.1:0',
      ledger: ledger.linkUrl,
      ledgerCookie: ledger.cookieFile,
      ...flags,
    },
    {},
  )
const nodeOf = async (name: string) => {
  const running: Running = await startLightning(configOf(name), silentLog)
  closing.push(() => running.stop())
  const client = createClient({ baseUrl: running.url, token: readFileSync(running.tokenFile, 'utf8').trim() })
  await waitFor(`${name} in step`, async () => (await unwrap(client.v1.node.$get())).synced)
  const channel = async (): Promise<Channel> => {
    const { data } = await unwrap(client.v1.channels.$get({ query: {} }))
    expect(data.length).toBe(1)
    return data[0] as Channel
  }
  return { ...running, client, channel }
}
const mine = async (blocks: number, address: string): Promise<void> => {
  const script = decodeAddress(address, networks.regtest)
  if (isAddressProblem(script)) throw new Error(script.detail)
  await ledger.engine.generateToAddress(blocks, script)
}

const sum = (list: readonly { readonly amountMsat: number }[]): number => list.reduce((total, one) => total + one.amountMsat, 0)
const outgoing = (channel: Channel) => channel.htlcs.filter(({ direction }) => direction === 'outgoing')
const incoming = (channel: Channel) => channel.htlcs.filter(({ direction }) => direction === 'incoming')

/** Every millisatoshi of the channel is somebody's, and every one of ours can be sent or is held for a reason. */
const expectToAddUp = (channel: Channel): void => {
  const { localMsat, remoteMsat, capacitySat, canSendMsat, held, htlcs } = channel
  expect(localMsat + remoteMsat + sum(htlcs)).toBe(capacitySat * 1000)
  expect(canSendMsat + sum(held)).toBe(localMsat + sum(outgoing(channel)))
  for (const { amountMsat, reason } of held) expect([amountMsat > 0, reason.length > 10]).toEqual([true, true])
}

describe('two nodes in one process', () => {
  it('shows a channel that adds up in every state', async () => {
    const [alice, bob] = await Promise.all([nodeOf('alice'), nodeOf('bob')])
    const { address } = await unwrap(alice.client.v1.addresses.$post({ json: {} }))
    await mine(2, address)
    const nowhere = (await unwrap(bob.client.v1.addresses.$post({ json: {} }))).address
    await mine(100, nowhere)
    await waitFor('coins', async () => (await unwrap(alice.client.v1.balance.$get())).onchain.spendableSat > 0)
    await waitFor('bob in step', async () => (await unwrap(bob.client.v1.node.$get())).blockHeight === 102)

    const opened = await unwrap(
      alice.client.v1.channels.$post({
        json: { uri: `${bob.nodeId}@${bob.listening[0]}`, capacitySat: 1_000_000, pushMsat: 200_000_000 },
      }),
    )
    expect(opened.state).toBe('opening')
    await waitFor('the funding transaction', () => Promise.resolve(ledger.engine.pool.entries.size > 0))
    for (const node of [alice, bob]) {
      const channel = await node.channel()
      expect(channel).toMatchObject({ state: 'opening', canSendMsat: 0, canReceiveMsat: 0, capacitySat: 1_000_000 })
      expectToAddUp(channel)
    }
    await mine(6, nowhere)
    for (const node of [alice, bob])
      await waitFor('normal', async () => {
        const { state, confirmations } = await node.channel()
        return state === 'normal' && confirmations === 6
      })
    const [atAlice, atBob] = [await alice.channel(), await bob.channel()]
    expect(atAlice).toMatchObject({ opener: 'local', localMsat: 800_000_000, remoteMsat: 200_000_000, confirmations: 6 })
    expect(atBob).toMatchObject({ opener: 'remote', localMsat: 200_000_000, remoteMsat: 800_000_000 })
    expect([atAlice.canSendMsat, atAlice.canReceiveMsat]).toEqual([atBob.canReceiveMsat, atBob.canSendMsat])
    expectToAddUp(atAlice)
    expectToAddUp(atBob)

    const paymentHash = 'ab'.repeat(32)
    const { bolt11 } = await unwrap(
      bob.client.v1.invoices.$post({ json: { amountMsat: 5_000_000, description: 'held', hold: { paymentHash } } }),
    )
    await unwrap(alice.client.v1.payments.$post({ json: { to: bolt11 } }))
    await waitFor(
      'the held payment',
      async () => (await unwrap(bob.client.v1.invoices[':paymentHash'].$get({ param: { paymentHash } }))).status === 'accepted',
    )
    const [paying, paid] = [await alice.channel(), await bob.channel()]
    expect([sum(outgoing(paying)), sum(incoming(paid)), sum(incoming(paying)), sum(outgoing(paid))]).toEqual([
      5_000_000, 5_000_000, 0, 0,
    ])
    expectToAddUp(paying)
    expectToAddUp(paid)
    await unwrap(bob.client.v1.invoices[':paymentHash'].cancel.$post({ param: { paymentHash } }))
    await waitFor('the end of it', async () => (await alice.channel()).htlcs.length === 0)
    expect((await alice.channel()).localMsat).toBe(800_000_000)

    await unwrap(alice.client.v1.channels[':channelId'].close.$post({ param: { channelId: atAlice.channelId }, json: {} }))
    await waitFor('the closing transaction', () => Promise.resolve(ledger.engine.pool.entries.size > 0))
    const closing = await alice.channel()
    expect(closing).toMatchObject({ state: 'closing', canSendMsat: 0, closeTxid: expect.stringMatching(/^[0-9a-f]{64}$/) })
    expectToAddUp(closing)
    await mine(6, nowhere)
    await waitFor('closed', async () => (await alice.channel()).state === 'closed')
    expect(await alice.channel()).toMatchObject({ held: [], canSendMsat: 0, canReceiveMsat: 0 })
  })

  it('does not start over the data of another, nor on a port that is taken, and says so', async () => {
    const carol = await nodeOf('carol')
    await expect(startLightning(configOf('carol'), silentLog)).rejects.toThrow('db is already open in this process')
    const taken = carol.listening[0] as string
    await expect(startLightning(configOf('dave', { listen: taken }), silentLog)).rejects.toThrow(
      `${taken} is taken by another process`,
    )
    const api = new URL(carol.url).host
    await expect(startLightning(configOf('dave', { api }), silentLog)).rejects.toThrow(`the API address ${api} is taken`)
    const dave = await nodeOf('dave') // nothing of the attempts is left
    expect((await unwrap(dave.client.v1.node.$get())).alias).toBe('dave')
  })
})
