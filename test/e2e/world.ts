/**
 * A world of its own for an end-to-end test: a ledger and Lightning nodes as real processes, each with a fresh data directory and ports
 * that are free, spoken to as users do: HTTP with the typed client, JSON-RPC. LEYDEN_KEEP=1 keeps the directories of a run.
 */
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Channel, type Invoice, type Payment, unwrap } from '@leyden/api/client'
import {
  awaitGraph,
  awaitTip,
  confirmChannel,
  createLedgerNode,
  createLightningNode,
  freePort,
  fund,
  type LedgerNode,
  type LedgerRpc,
  type LightningNode,
  openChannel,
  type Plan,
  waitFor,
} from '@leyden/devnet-service'

export interface World {
  readonly directory: string
  readonly ledger: LedgerNode
  readonly rpc: LedgerRpc
  readonly nodes: readonly LightningNode[]
  /** A node that runs. */
  node(
    name: string,
    options?: { readonly args?: readonly string[]; readonly env?: Readonly<Record<string, string>> },
  ): Promise<LightningNode>
  /** Mines, and waits until every running node has seen it. */
  mine(blocks: number): Promise<void>
  /** Coins for each of these that has none. */
  fund(...nodes: readonly LightningNode[]): Promise<void>
  /** An announced channel, confirmed and usable at both ends. */
  channel(from: LightningNode, to: LightningNode, plan: Plan): Promise<Channel>
  close(): Promise<void>
}

/** `ledgerSettings`: what the ledger finds in its `ledger.json`. */
export const createWorld = async (ledgerSettings?: Readonly<Record<string, unknown>>): Promise<World> => {
  const directory = mkdtempSync(join(tmpdir(), 'leyden-e2e-'))
  if (ledgerSettings !== undefined) {
    mkdirSync(join(directory, 'ledger'))
    writeFileSync(join(directory, 'ledger', 'ledger.json'), JSON.stringify(ledgerSettings))
  }
  const ledger = createLedgerNode({
    datadir: join(directory, 'ledger'),
    rpcPort: await freePort(),
    p2pPort: await freePort(),
    linkPort: await freePort(),
  })
  const { rpc } = ledger
  const nodes: LightningNode[] = []
  const running = (): LightningNode[] => nodes.filter((node) => node.daemon.running)
  const world: World = {
    directory,
    ledger,
    rpc,
    nodes,
    async node(name, options = {}) {
      const node = createLightningNode({
        name,
        datadir: join(directory, name),
        apiPort: await freePort(),
        peerPort: await freePort(),
        ledger,
        ...options,
      })
      nodes.push(node)
      await node.daemon.start()
      return node
    },
    async mine(blocks) {
      await rpc.mine(blocks)
      await awaitTip(rpc, running())
    },
    fund: (...list) => fund(rpc, list),
    async channel(from, to, plan) {
      const { fundingTxid } = await openChannel(from, to, plan)
      await confirmChannel(rpc, [from, to], fundingTxid as string)
      return await channelOf(from, fundingTxid as string)
    },
    async close() {
      await Promise.all(nodes.map((node) => node.daemon.stop()))
      await ledger.daemon.stop()
      if (process.env['LEYDEN_KEEP'] === undefined) rmSync(directory, { recursive: true, force: true })
      else process.stderr.write(`kept: ${directory}\n`)
    },
  }
  try {
    await ledger.daemon.start()
    await rpc.mine(1)
  } catch (error) {
    await world.close()
    throw error
  }
  return world
}

export const channelsOf = async (node: LightningNode): Promise<readonly Channel[]> =>
  (await unwrap(node.client.v1.channels.$get({ query: { limit: '500' } }))).data

/** The channel with this funding transaction. */
export const channelOf = async (node: LightningNode, fundingTxid: string): Promise<Channel> => {
  const found = (await channelsOf(node)).find((channel) => channel.fundingTxid === fundingTxid)
  if (found === undefined) throw new Error(`${node.name} has no channel of ${fundingTxid}`)
  return found
}

export const onchain = async (node: LightningNode) => (await unwrap(node.client.v1.balance.$get())).onchain

/** All coins of the wallet, whatever their age; nothing may be pending. */
export const confirmedSat = async (node: LightningNode): Promise<number> => {
  const { confirmedSat: confirmed, immatureSat, unconfirmedSat } = await onchain(node)
  if (unconfirmedSat !== 0) throw new Error(`${node.name} has ${unconfirmedSat} sat unconfirmed`)
  return confirmed + immatureSat
}

export const sha256 = (hex: string): string => createHash('sha256').update(Buffer.from(hex, 'hex')).digest('hex')

export interface Secret {
  readonly preimage: string
  readonly paymentHash: string
}

export const secret = (): Secret => {
  const preimage = randomBytes(32).toString('hex')
  return { preimage, paymentHash: sha256(preimage) }
}

export const invoice = (node: LightningNode, amountMsat: number | undefined, description = ''): Promise<Invoice> =>
  unwrap(node.client.v1.invoices.$post({ json: { description, ...(amountMsat === undefined ? {} : { amountMsat }) } }))

export const holdInvoice = (node: LightningNode, amountMsat: number, { paymentHash }: Secret): Promise<Invoice> =>
  unwrap(node.client.v1.invoices.$post({ json: { amountMsat, description: 'held', hold: { paymentHash } } }))

export const invoiceOf = (node: LightningNode, paymentHash: string): Promise<Invoice> =>
  unwrap(node.client.v1.invoices[':paymentHash'].$get({ param: { paymentHash } }))

/** Pays and waits for the end. */
export const pay = (
  node: LightningNode,
  bolt11: string,
  more: { readonly amountMsat?: number; readonly maxFeeMsat?: number } = {},
): Promise<Payment> =>
  unwrap(node.client.v1.payments.$post({ json: { to: bolt11, ...more } }, { headers: { prefer: 'wait=60' } }))

/** Pays without waiting. */
export const payLater = (node: LightningNode, bolt11: string): Promise<Payment> =>
  unwrap(node.client.v1.payments.$post({ json: { to: bolt11 } }))

export const paymentOf = (node: LightningNode, id: string): Promise<Payment> =>
  unwrap(node.client.v1.payments[':id'].$get({ param: { id } }))

/** Waits until a payment has ended. */
export const paymentEnd = (node: LightningNode, id: string, timeoutMs = 60_000): Promise<Payment> =>
  waitFor(
    `the end of a payment of ${node.name}`,
    async () => {
      const payment = await paymentOf(node, id)
      return payment.status === 'inFlight' ? undefined : payment
    },
    { timeoutMs },
  )

/** Waits until the invoice has this status. */
export const invoiceStatus = (node: LightningNode, paymentHash: string, status: Invoice['status']): Promise<Invoice> =>
  waitFor(`an invoice of ${node.name} that is ${status}`, async () => {
    const found = await invoiceOf(node, paymentHash)
    return found.status === status ? found : undefined
  })

/** Waits until nothing is pending in a channel, at both ends. */
export const settled = async (ends: readonly LightningNode[], fundingTxid: string): Promise<void> => {
  for (const end of ends)
    await waitFor(`no HTLCs at ${end.name}`, async () => (await channelOf(end, fundingTxid)).htlcs.length === 0)
}

/** Waits until the channel shows what is asked for; in vain, it says how the channel stands. */
export const channelWhere = (
  node: LightningNode,
  fundingTxid: string,
  what: string,
  check: (channel: Channel) => boolean,
  timeoutMs = 60_000,
): Promise<Channel> =>
  waitFor(
    `${what} at ${node.name}`,
    async () => {
      const channel = await channelOf(node, fundingTxid)
      if (!check(channel)) throw new Error(`it is ${JSON.stringify(channel)}`)
      return channel
    },
    { timeoutMs },
  )

/** Mines block by block (a few at once) until `done`, and fails after `most` blocks. */
export const mineUntil = async (
  world: World,
  what: string,
  done: () => Promise<boolean>,
  most: number,
  atOnce = 1,
): Promise<number> => {
  for (let mined = 0; ; mined += atOnce) {
    // What a node does with a block comes a moment after it has seen it.
    const found = await waitFor(what, done, { timeoutMs: 250, everyMs: 50 }).catch(() => false)
    if (found) return mined
    if (mined >= most) throw new Error(`mined ${mined} blocks in vain for this: ${what}`)
    await world.mine(atOnce)
  }
}

export { awaitGraph, waitFor }

/** The ids of every transaction that the wallet of a node knows. */
export const walletTxids = async (node: LightningNode): Promise<ReadonlySet<string>> => {
  const found = new Set<string>()
  let cursor: string | null = null
  do {
    const query: { limit: string; cursor?: string } = { limit: '500', ...(cursor === null ? {} : { cursor }) }
    const page = await unwrap(node.client.v1.transactions.$get({ query }))
    for (const { txid } of page.data) found.add(txid)
    cursor = page.nextCursor
  } while (cursor !== null)
  return found
}
