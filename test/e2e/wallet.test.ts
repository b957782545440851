/**
 * The wallet on the chain and the events, by the API: coins of both kinds of addresses, sends that are exact, sending everything, and a
 * durable log of events that a reader can leave and come back to.
 */
import { readFileSync } from 'node:fs'
import { type ApiEvent, unwrap } from '@leyden/api/client'
import type { LightningNode } from '@leyden/devnet-service'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readBooks } from './books.ts'
import { confirmedSat, createWorld, invoice, onchain, pay, settled, waitFor, type World } from './world.ts'

describe('the wallet', () => {
  let world: World
  let alice: LightningNode
  let bob: LightningNode

  beforeAll(async () => {
    world = await createWorld()
    ;[alice, bob] = await Promise.all([world.node('alice'), world.node('bob')])
    await world.fund(alice)
  })
  afterAll(() => world?.close())

  const address = async (node: LightningNode, type: 'p2wpkh' | 'p2tr'): Promise<string> =>
    (await unwrap(node.client.v1.addresses.$post({ json: { type } }))).address
  const send = (node: LightningNode, json: Parameters<typeof node.client.v1.transactions.$post>[0]['json'], key?: string) =>
    unwrap(node.client.v1.transactions.$post({ json }, key === undefined ? {} : { headers: { 'idempotency-key': key } }))

  it('pays to both kinds of addresses, exactly, at the rate that was asked for', async () => {
    const start = await confirmedSat(alice)
    const rent = { address: await address(bob, 'p2wpkh'), amountSat: 1_000_001, feeratePerVbyte: 5 }
    const first = await send(alice, rent, 'rent')
    expect((await send(alice, rent, 'rent')).txid).toBe(first.txid)
    const second = await send(alice, { address: await address(bob, 'p2tr'), amountSat: 2_000_002 })
    expect(first).toMatchObject({ status: 'pending', confirmations: 0, netSat: -1_000_001 - (first.feeSat as number) })
    await waitFor('both at bob', async () => (await onchain(bob)).unconfirmedSat === 3_000_003)
    expect(await world.rpc.mempool()).toEqual(expect.arrayContaining([first.txid, second.txid]))
    await world.mine(1)
    expect(await confirmedSat(bob)).toBe(3_000_003)
    expect(await confirmedSat(alice)).toBe(start - 3_000_003 - (first.feeSat as number) - (second.feeSat as number))
    const books = await readBooks(world.rpc)
    expect(books.entries.get(first.txid)?.feeSat).toBe(first.feeSat)
    const shown = await unwrap(alice.client.v1.transactions[':txid'].$get({ param: { txid: first.txid } }))
    expect(shown).toMatchObject({ status: 'confirmed', confirmations: 1 })
    const { weight } = await world.rpc.call<{ weight: number }>('getrawtransaction', first.txid, 1)
    const perVbyte = ((first.feeSat as number) * 4) / weight
    expect(perVbyte).toBeGreaterThanOrEqual(5)
    expect(perVbyte).toBeLessThan(5.1)
    expect((await unwrap(bob.client.v1.utxos.$get())).data.map(({ valueSat }) => valueSat).toSorted((a, b) => a - b)).toEqual([
      1_000_001, 2_000_002,
    ])
  })

  it('sends everything', async () => {
    const back = await address(alice, 'p2tr')
    const before = await confirmedSat(alice)
    const all = await send(bob, { address: back, all: true, feeratePerVbyte: 2 })
    await world.mine(1)
    expect(await confirmedSat(bob)).toBe(0)
    expect(await confirmedSat(alice)).toBe(before + 3_000_003 - (all.feeSat as number))
    expect((await unwrap(bob.client.v1.utxos.$get())).data).toEqual([])
    await expect(send(bob, { address: back, amountSat: 10_000 })).rejects.toMatchObject({ code: 'insufficient_balance' })
  })

  it('lists page by page, newest first', async () => {
    const to = await address(bob, 'p2wpkh')
    const sent: string[] = []
    for (let i = 0; i < 5; i++) sent.push((await send(alice, { address: to, amountSat: 20_000 + i })).txid)
    const seen: string[] = []
    let cursor: string | null = null
    do {
      const query: { limit: string; cursor?: string } = { limit: '2', ...(cursor === null ? {} : { cursor }) }
      const page = await unwrap(alice.client.v1.transactions.$get({ query }))
      expect(page.data.length).toBeLessThanOrEqual(2)
      seen.push(...page.data.map(({ txid }) => txid))
      cursor = page.nextCursor
    } while (cursor !== null)
    expect(new Set(seen).size).toBe(seen.length)
    expect(seen.slice(0, 5)).toEqual(sent.toReversed())
    await world.mine(1)
    expect(await confirmedSat(bob)).toBe(100_010)
  })

  it('tells what happens in a log that can be left and taken up again', async () => {
    const token = readFileSync(alice.tokenFile, 'utf8').trim()
    /** Reads server-sent events until `enough`. */
    const read = async (query: string, headers: Record<string, string>, enough: (events: readonly ApiEvent[]) => boolean) => {
      const abort = new AbortController()
      const timer = setTimeout(() => abort.abort(new Error('no such event')), 30_000)
      const events: ApiEvent[] = []
      const response = await fetch(`${alice.url}/v1/events${query}`, {
        headers: { authorization: `Bearer ${token}`, ...headers },
        signal: abort.signal,
      })
      expect(response.headers.get('content-type')).toContain('text/event-stream')
      let rest = ''
      const decoder = new TextDecoder()
      for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
        const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) if (line.startsWith('data: ')) events.push(JSON.parse(line.slice(6)) as ApiEvent)
        if (enough(events)) break
      }
      clearTimeout(timer)
      return events
    }
    const { fundingTxid } = await world.channel(alice, bob, { capacitySat: 500_000, pushMsat: 100_000_000 })
    const paid = await invoice(bob, 30_000)
    await pay(alice, paid.bolt11)
    const got = await invoice(alice, 40_000)
    await pay(bob, got.bolt11)
    await settled([alice, bob], fundingTxid as string)

    const all = await read('?after=0', {}, (events) => events.some(({ type }) => type === 'invoice.settled'))
    const ids = all.map(({ id }) => Number(id))
    expect(ids).toEqual(ids.map((_, i) => (ids[0] as number) + i))
    const types = new Set(all.map(({ type }) => type))
    for (const type of [
      'chain.tip',
      'peer.connected',
      'channel.opening',
      'channel.ready',
      'payment.inFlight',
      'payment.succeeded',
      'invoice.created',
      'invoice.settled',
      'transaction.seen',
      'transaction.confirmed',
    ] as const)
      expect([...types]).toContain(type)
    const succeeded = all.find(({ type }) => type === 'payment.succeeded')
    expect(succeeded?.data['paymentHash']).toBe(paid.paymentHash)

    // From where a reader left, by header and by query, across a restart of the node.
    const middle = all[Math.floor(all.length / 2)] as ApiEvent
    const rest = all.slice(all.indexOf(middle) + 1)
    await alice.daemon.stop()
    await alice.daemon.start()
    const fresh = readFileSync(alice.tokenFile, 'utf8').trim()
    expect(fresh).not.toBe(token)
    const resumed = await fetch(`${alice.url}/v1/events`, {
      headers: { authorization: `Bearer ${fresh}`, 'last-event-id': middle.id },
      signal: AbortSignal.timeout(30_000),
    })
    let text = ''
    for await (const chunk of resumed.body as unknown as AsyncIterable<Uint8Array>) {
      text += Buffer.from(chunk).toString()
      if (text.split('data: ').length > rest.length) break
    }
    const again = [...text.matchAll(/^data: (.*)$/gm)].map((match) => JSON.parse(match[1] as string) as ApiEvent)
    expect(again.slice(0, rest.length)).toEqual(rest)
  })
})
