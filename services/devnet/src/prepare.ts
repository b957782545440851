/**
 * What turns four fresh daemons into a network in which alice can pay carol: coins for each node, channels alice-bob and bob-carol with
 * money on both sides, announced. Every step looks first at what is there, so that a start that was interrupted can go on.
 */
import { type Channel, unwrap } from '@leyden/api/client'
import type { LedgerRpc } from './ledger-rpc.ts'
import type { LightningNode } from './nodes.ts'
import type { Progress } from './progress.ts'
import { waitFor } from './wait.ts'

const COINBASES_EACH = 2
/** BOLT 7: a channel is announced after this many confirmations. */
export const ANNOUNCE_DEPTH = 6
const COINBASE_MATURITY = 100
const BLOCKS_AT_ONCE = 10

export interface Plan {
  readonly capacitySat: number
  readonly pushMsat: number
}

export const DEVNET_PLAN: Plan = { capacitySat: 5_000_000, pushMsat: 2_000_000_000 }

const channelsOf = async (node: LightningNode): Promise<readonly Channel[]> =>
  (await unwrap(node.client.v1.channels.$get({ query: { limit: '500' } }))).data

const isOver = (channel: Channel): boolean => channel.state === 'closing' || channel.state === 'closed'

/** Waits until each node has seen the ledger's tip. */
export const awaitTip = async (rpc: LedgerRpc, nodes: readonly LightningNode[], signal?: AbortSignal): Promise<void> => {
  for (const node of nodes)
    await waitFor(
      `${node.name} at the ledger's tip`,
      async () => {
        const height = await rpc.height()
        const { blockHeight, synced } = await unwrap(node.client.v1.node.$get())
        return synced && blockHeight >= height
      },
      signal === undefined ? {} : { signal },
    )
}

/** Mines coins to each node that never had any, and lets them mature. */
export const fund = async (
  rpc: LedgerRpc,
  nodes: readonly LightningNode[],
  { detail = () => {}, signal }: { detail?: (text: string) => void; signal?: AbortSignal } = {},
): Promise<void> => {
  await awaitTip(rpc, nodes, signal)
  const onchain = async (node: LightningNode) => (await unwrap(node.client.v1.balance.$get())).onchain
  let immature = false
  for (const node of nodes) {
    signal?.throwIfAborted()
    const { confirmedSat, unconfirmedSat, lockedSat, immatureSat } = await onchain(node)
    if (confirmedSat + unconfirmedSat + lockedSat > 0 || (await channelsOf(node)).length > 0) continue
    immature = true
    if (immatureSat > 0) continue
    const { address } = await unwrap(node.client.v1.addresses.$post({ json: { type: 'p2wpkh' } }))
    await rpc.mine(COINBASES_EACH, address)
  }
  if (!immature) return
  for (let mined = 0; mined < COINBASE_MATURITY; mined += BLOCKS_AT_ONCE) {
    signal?.throwIfAborted()
    detail(`block ${mined}/${COINBASE_MATURITY}`)
    await rpc.mine(BLOCKS_AT_ONCE)
  }
  await awaitTip(rpc, nodes, signal)
  for (const node of nodes)
    await waitFor(
      `coins of ${node.name}`,
      async () => (await onchain(node)).spendableSat > 0,
      signal === undefined ? {} : { signal },
    )
}

/** The channel between two nodes that is open or opening, as `from` sees it. Opens it when there is none. */
export const openChannel = async (
  from: LightningNode,
  to: LightningNode,
  { capacitySat, pushMsat }: Plan,
  signal?: AbortSignal,
): Promise<Channel> => {
  const nodeId = await to.nodeId()
  const present = (await channelsOf(from)).find((channel) => channel.peer.nodeId === nodeId && !isOver(channel))
  const id =
    present?.channelId ??
    (await unwrap(from.client.v1.channels.$post({ json: { uri: await to.uri(), capacitySat, pushMsat, announce: true } })))
      .channelId
  // Its id changes when the funding transaction is known.
  return await waitFor(
    `the funding transaction of ${from.name} and ${to.name}`,
    async () => {
      const all = (await channelsOf(from)).filter((channel) => channel.peer.nodeId === nodeId && !isOver(channel))
      return (
        all.find((channel) => channel.channelId === id && channel.fundingTxid !== undefined) ??
        all.find((channel) => channel.fundingTxid !== undefined)
      )
    },
    signal === undefined ? {} : { signal },
  )
}

/** Mines until both ends hold the channel for normal. */
export const confirmChannel = async (
  rpc: LedgerRpc,
  ends: readonly LightningNode[],
  fundingTxid: string,
  signal?: AbortSignal,
): Promise<void> => {
  const options = signal === undefined ? {} : { signal }
  const first = ends[0] as LightningNode
  const seen = async (): Promise<Channel | undefined> =>
    (await channelsOf(first)).find((channel) => channel.fundingTxid === fundingTxid)
  await waitFor(
    'the funding transaction in the mempool',
    async () => (await rpc.mempool()).includes(fundingTxid) || ((await seen())?.confirmations ?? 0) > 0,
    options,
  )
  const missing = ANNOUNCE_DEPTH - ((await seen())?.confirmations ?? 0)
  if (missing > 0) await rpc.mine(missing)
  await awaitTip(rpc, ends, signal)
  for (const node of ends)
    await waitFor(
      `the channel at ${node.name}`,
      async () =>
        (await channelsOf(node)).some(
          (channel) =>
            channel.fundingTxid === fundingTxid && channel.state === 'normal' && channel.announced && channel.peer.connected,
        ),
      options,
    )
}

/** Waits until `node` knows this many announced channels, with the policies of both ends. */
export const awaitGraph = (node: LightningNode, channels: number, signal?: AbortSignal): Promise<true> =>
  waitFor(
    `the graph of ${node.name}`,
    async () => {
      const graph = await unwrap(node.client.v1.graph.$get())
      return graph.channels >= channels && graph.policies >= 2 * channels ? true : undefined
    },
    signal === undefined ? {} : { signal },
  )

/** All of it, for nodes in a row: each funded, each with a channel to the next. */
export const prepare = async (
  rpc: LedgerRpc,
  nodes: readonly LightningNode[],
  plan: Plan,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> => {
  const names = nodes.map((node) => node.name).join(', ')
  await progress.step(`mining coins for ${names}`, (detail) => fund(rpc, nodes, { detail, signal }))
  const fundings: { readonly ends: readonly [LightningNode, LightningNode]; readonly txid: string }[] = []
  for (const [i, from] of nodes.entries()) {
    const to = nodes[i + 1]
    if (to === undefined) break
    const channel = await progress.step(`opening a channel ${from.name}-${to.name}`, () => openChannel(from, to, plan, signal))
    fundings.push({ ends: [from, to], txid: channel.fundingTxid as string })
  }
  await progress.step('confirming the channels', async () => {
    for (const { ends, txid } of fundings) await confirmChannel(rpc, ends, txid, signal)
  })
}

/** Waits until every channel that is open is usable again: peers connected, as after a restart. False: no route was there to begin with. */
export const awaitUsable = async (rpc: LedgerRpc, nodes: readonly LightningNode[], signal: AbortSignal): Promise<boolean> => {
  await awaitTip(rpc, nodes, signal)
  let links = 0
  for (const [i, node] of nodes.entries()) {
    const next = nodes[i + 1]
    const nextId = await next?.nodeId()
    const channels = await waitFor(
      `the channels of ${node.name}`,
      async () => {
        const normal = (await channelsOf(node)).filter((channel) => channel.state === 'normal')
        return normal.every((channel) => channel.peer.connected) && normal
      },
      { signal },
    )
    if (channels.some((channel) => channel.peer.nodeId === nextId && channel.canSendMsat > 0)) links++
  }
  if (links < nodes.length - 1) return false
  await awaitGraph(nodes[0] as LightningNode, nodes.length - 1, signal)
  return true
}
