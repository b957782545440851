/**
 * What a Lightning node that we did not write must see of our ledger and do with our node, whoever wrote it: two of them and two nodes of
 * ours on one ledger. A driver (lnd.ts, cln.ts) says how it is spoken to; the scenarios are the same for all.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { unwrap } from '@leyden/api/client'
import { awaitGraph, freePort, type LightningNode, NOBODY } from '@leyden/devnet-service'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { claimsOf, readBooks, spenderOf } from '../e2e/books.ts'
import {
  channelOf,
  channelsOf,
  channelWhere,
  confirmedSat,
  createWorld,
  holdInvoice,
  invoice,
  invoiceStatus,
  onchain,
  pay,
  payLater,
  paymentEnd,
  secret,
  settled,
  sha256,
  waitFor,
  walletTxids,
  type World,
} from '../e2e/world.ts'

/** What a stranger says of a channel. */
export interface StrangerChannel {
  readonly usable: boolean
  readonly anchors: boolean
  /** HTLCs in flight. */
  readonly htlcs: number
}

export interface StrangerPayment {
  readonly preimage: string
  readonly feeMsat: number
}

/** A node that we did not write. Its fee for relaying is {@link RELAY_FEE_MSAT}, its delay on our outputs {@link DELAY_BLOCKS}. */
export interface Stranger {
  readonly name: string
  readonly nodeId: string
  /** `host:port` for peers. */
  readonly address: string
  readonly running: boolean
  /** Whether it has seen the block of this hash at this height, and nothing above. */
  isAt(height: number, hash: string): Promise<boolean>
  newAddress(): Promise<string>
  /** Confirmed coins that can be spent. */
  walletSat(): Promise<number>
  /** Connects to a node of ours, if it is not. */
  connect(node: LightningNode): Promise<void>
  /** Opens an announced channel; the funding transaction's id. */
  open(nodeId: string, sat: number, pushSat: number): Promise<string>
  /** By the id of its funding transaction; undefined when it is being closed or gone. */
  channel(fundingTxid: string): Promise<StrangerChannel | undefined>
  /** Begins to close; `force`: alone, at once. */
  close(fundingTxid: string, force: boolean): Promise<void>
  invoice(msat: number): Promise<{ readonly bolt11: string; readonly paymentHash: string }>
  /** Pays, and resolves at the end: undefined when it failed. */
  pay(bolt11: string): Promise<StrangerPayment | undefined>
  /** Channel policies in its graph, two for a channel. */
  policies(): Promise<number>
  start(): Promise<void>
  stop(): Promise<void>
  kill(): Promise<void>
}

export const RELAY_FEE_MSAT = 1000
export const DELAY_BLOCKS = 144
const CAPACITY_SAT = 1_000_000
const PUSH_SAT = 400_000
const COINS = 3
/** Not a whole coinbase: Core Lightning v26.06 counts a fee rate that has no room in 32 bits, and ends, when it bumps by 50 BTC. */
const COIN_SAT = 10_000_000
const TRAFFIC_BLOCKS = 60

/** A program of others as a child process whose words go to a file. */
export const childOf = (program: string, args: readonly string[], logFile: string) => {
  let child: ChildProcess | undefined
  let exited: Promise<void> = Promise.resolve()
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child?.kill(signal)
    await exited
  }
  return {
    get running(): boolean {
      return child !== undefined
    },
    /** Starts it, and waits until `isReady` says so. Rejects when it ends before. */
    async start(isReady: () => Promise<boolean>): Promise<void> {
      mkdirSync(dirname(logFile), { recursive: true })
      const started = spawn(program, [...args], { stdio: ['ignore', 'pipe', 'pipe'] })
      const log = createWriteStream(logFile, { flags: 'a' })
      started.stdout.pipe(log, { end: false })
      started.stderr.pipe(log, { end: false })
      child = started
      exited = new Promise((resolve) => {
        const ended = (): void => {
          child = undefined
          log.end()
          resolve()
        }
        started.once('close', ended)
        started.once('error', ended)
      })
      const settledOrGone = async (): Promise<boolean> => child === undefined || (await isReady())
      try {
        await waitFor(`${program} serves`, settledOrGone, { timeoutMs: 90_000, everyMs: 200 })
      } catch (error) {
        await end('SIGKILL')
        throw error
      }
      if (child === undefined) throw new Error(`${program} ended at once: see ${logFile}`)
    },
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
  }
}

export interface Publishers {
  /** ZeroMQ addresses of raw blocks and raw transactions. */
  readonly block: string
  readonly tx: string
}

/** Starts a stranger on the world's ledger. The first of a world learns of blocks from the publishers if it can, the second asks. */
export type StartStranger = (world: World, name: string, publishers: Publishers | undefined) => Promise<Stranger>

/** The scenarios, inside of a `describe`. They go on from what those before them left. */
export const meetStrangers = (kind: string, start: StartStranger): void => {
  let world: World
  let ours: LightningNode
  /** Ours too, behind each stranger. */
  let carol: LightningNode
  let one: Stranger
  let two: Stranger
  /** Funding transactions of the channels: the first stranger opened one, we the other. */
  let first: string
  let second: string

  const strangers = (): Stranger[] => [one, two].filter((stranger) => stranger?.running)
  const mine = async (blocks: number): Promise<void> => {
    await world.mine(blocks)
    const [height, hash] = [await world.rpc.height(), await world.rpc.bestHash()]
    for (const stranger of strangers())
      await waitFor(`${stranger.name} at block ${height}`, () => stranger.isAt(height, hash), { everyMs: 100 })
  }
  const usable = async (node: LightningNode, stranger: Stranger, funding: string): Promise<void> => {
    await waitFor('the funding transaction', async () => (await world.rpc.mempool()).includes(funding))
    await mine(6)
    await channelWhere(node, funding, 'a normal channel', ({ state, announced }) => state === 'normal' && announced)
    await waitFor(`a usable channel at ${stranger.name}`, async () => (await stranger.channel(funding))?.usable)
  }
  const openFrom = async (stranger: Stranger): Promise<string> => {
    await stranger.connect(ours)
    const funding = await stranger.open(await ours.nodeId(), CAPACITY_SAT, PUSH_SAT)
    await usable(ours, stranger, funding)
    return funding
  }
  const openTo = async (node: LightningNode, stranger: Stranger): Promise<string> => {
    const uri = `${stranger.nodeId}@${stranger.address}`
    const known = new Set((await channelsOf(node)).map(({ fundingTxid }) => fundingTxid))
    await unwrap(node.client.v1.channels.$post({ json: { uri, capacitySat: CAPACITY_SAT, pushMsat: PUSH_SAT * 1000 } }))
    const opening = async (): Promise<string | undefined> =>
      (await channelsOf(node)).find(({ state, fundingTxid }) => state === 'opening' && !known.has(fundingTxid))?.fundingTxid
    const funding = await waitFor('the funding transaction', opening)
    await usable(node, stranger, funding)
    return funding
  }
  /** What we have in a channel in which nothing is pending, at either end. */
  const ourMsat = async (stranger: Stranger, funding: string): Promise<number> => {
    await settled([ours], funding)
    await waitFor(`no HTLCs at ${stranger.name}`, async () => (await stranger.channel(funding))?.htlcs === 0)
    return (await channelOf(ours, funding)).localMsat
  }
  /** Everybody is connected again. */
  const together = async (): Promise<void> => {
    await mine(1)
    for (const stranger of [one, two])
      for (const node of [ours, carol]) await waitFor('a connection', () => stranger.connect(node).then(() => true))
    for (const [stranger, funding] of [
      [one, first],
      [two, second],
    ] as const)
      await waitFor(`a usable channel at ${stranger.name}`, async () => (await stranger.channel(funding))?.usable)
    await channelWhere(ours, first, 'a peer that is back', ({ peer }) => peer.connected)
    await channelWhere(ours, second, 'a peer that is back', ({ peer }) => peer.connected)
  }
  const settle = (node: LightningNode, { paymentHash, preimage }: { paymentHash: string; preimage: string }): Promise<unknown> =>
    unwrap(node.client.v1.invoices[':paymentHash'].settle.$post({ param: { paymentHash }, json: { preimage } }))
  const cancel = (node: LightningNode, paymentHash: string): Promise<unknown> =>
    unwrap(node.client.v1.invoices[':paymentHash'].cancel.$post({ param: { paymentHash } }))

  const send = (address: string, amountSat: number): Promise<unknown> =>
    unwrap(ours.client.v1.transactions.$post({ json: { address, amountSat, feeratePerVbyte: 10 } }))
  /** A transaction in each of so many blocks, so that the ledger can tell a fee rate: a stranger may go by it. */
  const traffic = async (): Promise<void> => {
    for (let i = 0; i < TRAFFIC_BLOCKS; i++) {
      await send(NOBODY, 10_000)
      await mine(1)
    }
    expect(await world.rpc.call('estimatesmartfee', 6)).toHaveProperty('feerate')
  }

  beforeAll(async () => {
    const publishers = { block: `tcp://127.0.0.1:${await freePort()}`, tx: `tcp://127.0.0.1:${await freePort()}` }
    world = await createWorld({
      zmq: [
        { topic: 'rawblock', address: publishers.block },
        { topic: 'rawtx', address: publishers.tx },
      ],
    })
    ours = await world.node('ours')
    carol = await world.node('carol')
    await world.fund(ours, carol)
    one = await start(world, `${kind}1`, publishers)
    two = await start(world, `${kind}2`, undefined)
    await traffic()
    for (const stranger of [one, two]) for (let i = 0; i < COINS; i++) await send(await stranger.newAddress(), COIN_SAT)
    await mine(1)
  }, 240_000)
  afterAll(async () => {
    for (const stranger of strangers()) await stranger.stop()
    await world?.close()
  })

  it('follows our ledger, through a reorganisation too, and finds its coins', async () => {
    for (const stranger of [one, two]) await waitFor('coins', async () => (await stranger.walletSat()) === COINS * COIN_SAT)
    const fork = await world.rpc.call<string>('getblockhash', (await world.rpc.height()) - 2)
    await world.rpc.call('invalidateblock', fork)
    await mine(4)
    for (const stranger of [one, two]) expect(await stranger.walletSat()).toBe(COINS * COIN_SAT)
  })

  it('opens a channel to us, with anchors', async () => {
    first = await openFrom(one)
    const channel = await channelOf(ours, first)
    expect(channel).toMatchObject({ opener: 'remote', capacitySat: CAPACITY_SAT, localMsat: PUSH_SAT * 1000 })
    expect(channel.channelType).toContain('anchors')
    expect(await one.channel(first)).toMatchObject({ anchors: true })
  })

  it('takes a channel from us, with anchors', async () => {
    second = await openTo(ours, two)
    const channel = await channelOf(ours, second)
    expect(channel).toMatchObject({ opener: 'local', remoteMsat: PUSH_SAT * 1000 })
    expect(channel.channelType).toContain('anchors')
    expect(await two.channel(second)).toMatchObject({ anchors: true })
  })

  it('is paid, and pays, exactly', async () => {
    for (const [stranger, funding] of [
      [one, first],
      [two, second],
    ] as const) {
      const before = await ourMsat(stranger, funding)
      const theirs = await stranger.invoice(12_345_678)
      const payment = await pay(ours, theirs.bolt11)
      expect(payment).toMatchObject({ status: 'succeeded', amountMsat: 12_345_678, feeMsat: 0 })
      expect(sha256(payment.preimage as string)).toBe(theirs.paymentHash)
      const our = await invoice(ours, 2_345_001)
      const sent = await stranger.pay(our.bolt11)
      expect(sent?.feeMsat).toBe(0)
      expect(sha256(sent?.preimage as string)).toBe(our.paymentHash)
      expect((await invoiceStatus(ours, our.paymentHash, 'settled')).receivedMsat).toBe(2_345_001)
      expect(await ourMsat(stranger, funding)).toBe(before - 12_345_678 + 2_345_001)
    }
  })

  it('has a payment failed by us', async () => {
    const before = await ourMsat(one, first)
    const held = secret()
    const our = await holdInvoice(ours, 6_000_000, held)
    const paying = one.pay(our.bolt11)
    await invoiceStatus(ours, held.paymentHash, 'accepted')
    await cancel(ours, held.paymentHash)
    expect(await paying).toBeUndefined()
    expect(await ourMsat(one, first)).toBe(before)
  })

  it('pays another of its kind through us', async () => {
    const [inbound, outbound] = [await ourMsat(one, first), await ourMsat(two, second)]
    await waitFor(`both channels in the graph of ${one.name}`, async () => (await one.policies()) === 4)
    const { bolt11 } = await two.invoice(20_000_000)
    const feeMsat = 1000 + (20_000_000 * 100) / 1_000_000
    expect((await one.pay(bolt11))?.feeMsat).toBe(feeMsat)
    expect(await ourMsat(one, first)).toBe(inbound + 20_000_000 + feeMsat)
    expect(await ourMsat(two, second)).toBe(outbound - 20_000_000)
  })

  it('relays our payments, and their failures', async () => {
    for (const stranger of [one, two]) await openTo(carol, stranger)
    await awaitGraph(ours, 4)
    for (const [stranger, funding, other] of [
      [one, first, two],
      [two, second, one],
    ] as const) {
      await other.stop()
      const before = await ourMsat(stranger, funding)
      const payment = await pay(ours, (await invoice(carol, 30_000_000)).bolt11)
      expect(payment).toMatchObject({ status: 'succeeded', feeMsat: RELAY_FEE_MSAT })
      const held = secret()
      const later = await payLater(ours, (await holdInvoice(carol, 10_000_000, held)).bolt11)
      await invoiceStatus(carol, held.paymentHash, 'accepted')
      await cancel(carol, held.paymentHash)
      expect(await paymentEnd(ours, later.id)).toMatchObject({
        status: 'failed',
        attempts: [{ failureCode: 'incorrect_or_unknown_payment_details' }],
      })
      expect(await ourMsat(stranger, funding)).toBe(before - 30_000_000 - RELAY_FEE_MSAT)
      await other.start()
      await together()
    }
  })

  it('comes back when either process was killed in the middle of payments, and they end', async () => {
    for (const victim of ['ours', 'theirs'] as const) {
      const [inbound, outbound] = [await ourMsat(one, first), await ourMsat(two, second)]
      const [theirs, kept] = [secret(), secret()]
      const payment = await payLater(ours, (await holdInvoice(carol, 7_000_000, theirs)).bolt11)
      await invoiceStatus(carol, theirs.paymentHash, 'accepted')
      const our = await holdInvoice(ours, 3_000_000, kept)
      const paying = one.pay(our.bolt11).catch(() => undefined)
      await invoiceStatus(ours, kept.paymentHash, 'accepted')
      const killed = victim === 'ours' ? [ours.daemon] : [one, two]
      for (const process of killed) await process.kill()
      for (const process of killed) await process.start()
      await together()
      await settle(ours, kept)
      await settle(carol, theirs)
      expect(await paymentEnd(ours, payment.id)).toMatchObject({ status: 'succeeded', feeMsat: RELAY_FEE_MSAT })
      await invoiceStatus(ours, kept.paymentHash, 'settled')
      await paying
      const after = (await ourMsat(one, first)) + (await ourMsat(two, second))
      expect(after).toBe(inbound + outbound - 7_000_000 - RELAY_FEE_MSAT + 3_000_000)
    }
  })

  it('closes a channel with us, whoever asks', async () => {
    for (const [stranger, funding, asks] of [
      [one, first, 'they'],
      [two, second, 'we'],
    ] as const) {
      await ourMsat(stranger, funding)
      const channel = await channelOf(ours, funding)
      const walletBefore = await confirmedSat(ours)
      const param = { channelId: channel.channelId }
      if (asks === 'we') await unwrap(ours.client.v1.channels[':channelId'].close.$post({ param, json: {} }))
      else await stranger.close(funding, false)
      await waitFor('the closing transaction', async () => (await world.rpc.mempool()).length > 0)
      await mine(1)
      await channelWhere(ours, funding, 'a closing channel', ({ closeTxid }) => closeTxid !== undefined)
      await mine(6)
      await channelWhere(ours, funding, 'a closed channel', ({ state }) => state === 'closed')
      const closing = spenderOf(await readBooks(world.rpc), funding, channel.fundingVout as number)
      expect(closing?.tx.outputs.length).toBe(2)
      const [ourSat, theirSat] = [Math.floor(channel.localMsat / 1000), Math.floor(channel.remoteMsat / 1000)]
      const ourFee = channel.opener === 'local' ? (closing?.feeSat as number) - (CAPACITY_SAT - ourSat - theirSat) : 0
      expect((await confirmedSat(ours)) - walletBefore).toBe(ourSat - ourFee)
      await waitFor(`a channel that ${stranger.name} has closed`, async () => (await stranger.channel(funding)) === undefined)
    }
  })

  /** A channel with an HTLC in each direction that will be fulfilled, and one that will not. Carol holds what goes to them. */
  const withHtlcs = async (stranger: Stranger, openedBy: 'them' | 'us') => {
    const funding = openedBy === 'them' ? await openFrom(stranger) : await openTo(ours, stranger)
    const toThem = [secret(), secret()] as const
    const payments: string[] = []
    for (const [i, hold] of toThem.entries()) {
      const { bolt11 } = await holdInvoice(carol, (5 - i) * 10_000_000, hold)
      payments.push((await payLater(ours, bolt11)).id)
      await invoiceStatus(carol, hold.paymentHash, 'accepted')
    }
    const toUs = [secret(), secret()] as const
    const theirPayments: Promise<StrangerPayment | undefined>[] = []
    for (const [i, hold] of toUs.entries()) {
      const { bolt11 } = await holdInvoice(ours, (3 - i) * 10_000_000, hold)
      theirPayments.push(stranger.pay(bolt11).catch(() => undefined))
      await invoiceStatus(ours, hold.paymentHash, 'accepted')
      await mine(1)
    }
    await waitFor('four HTLCs at theirs', async () => (await stranger.channel(funding))?.htlcs === 4)
    const channel = await channelWhere(ours, funding, 'four HTLCs', ({ htlcs }) => htlcs.length === 4)
    return { funding, channel, toThem, toUs, payments, theirPayments }
  }

  for (const closer of ['us', 'them'] as const)
    it(`resolves a force close by ${closer} with HTLCs pending in both directions`, { timeout: 400_000 }, async () => {
      const stranger = closer === 'us' ? one : two
      // The only way to carol is the one that will be closed.
      const other = closer === 'us' ? two : one
      await other.stop()
      const { funding, channel, toThem, toUs, payments, theirPayments } = await withHtlcs(
        stranger,
        closer === 'us' ? 'them' : 'us',
      )
      const walletBefore = await confirmedSat(ours)
      const param = { channelId: channel.channelId }
      if (closer === 'us') await unwrap(ours.client.v1.channels[':channelId'].close.$post({ param, json: { force: true } }))
      else await stranger.close(funding, true)
      await waitFor('the commitment transaction', async () => (await world.rpc.mempool()).length > 0)
      await mine(1)
      // One of each direction is fulfilled on chain, the others time out.
      await settle(carol, toThem[0])
      await cancel(carol, toThem[1].paymentHash)
      await settle(ours, toUs[0])
      let mined = 0
      while ((await channelOf(ours, funding)).state !== 'closed') {
        expect(mined, 'blocks until the channel was closed').toBeLessThan(4 * DELAY_BLOCKS)
        await mine(4)
        mined += 4
      }
      await mine(6)
      await waitFor('nothing unconfirmed', async () => (await onchain(ours)).unconfirmedSat === 0)
      expect(await paymentEnd(ours, payments[0] as string)).toMatchObject({ status: 'succeeded', feeMsat: RELAY_FEE_MSAT })
      expect(await paymentEnd(ours, payments[1] as string)).toMatchObject({ status: 'failed' })
      expect((await theirPayments[0])?.preimage).toBe(toUs[0].preimage)
      expect(await theirPayments[1]).toBeUndefined()
      const books = await readBooks(world.rpc)
      const commitment = spenderOf(books, funding, channel.fundingVout as number)
      if (commitment === undefined) throw new Error('no commitment on the chain')
      const claims = claimsOf(books, commitment, await walletTxids(ours))
      const openerPays = channel.opener === 'local' ? commitment.feeSat + 660 : 0
      const due = channel.localMsat / 1000 - openerPays + 30_000 + (40_000 + RELAY_FEE_MSAT / 1000)
      expect(claims.takenSat - claims.anchorsSat).toBe(due)
      expect((await confirmedSat(ours)) - walletBefore).toBe(claims.takenSat - claims.feesSat)
      await other.start()
      await mine(1)
    })
}
