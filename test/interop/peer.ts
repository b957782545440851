/**
 * LDK peers in a world: started on the world's ledger, given coins, connected, with channels funded from coins that are nobody's.
 */
import { existsSync } from 'node:fs'
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { decodeBlock, encodeTx, OP, Sat, SEQUENCE_FINAL, type Tx, txid } from '@leyden/bitcoin'
import { type LedgerRpc, type LightningNode, NOBODY, RpcError } from '@leyden/devnet-service'
import { unwrap } from '@leyden/api/client'
import { channelWhere, createWorld, waitFor, type World } from '../e2e/world.ts'
import type { LdkEvent, LdkPeer as Ldk } from './ldk/client.mjs'

export type { Ldk, LdkEvent }

/** Whether `npm ci --prefix test/interop/ldk` has been run. */
export const ldkInstalled = existsSync(new URL('./ldk/node_modules/lightningdevkit', import.meta.url))
if (!ldkInstalled) process.stdout.write('interop with LDK is skipped: run "npm ci --prefix test/interop/ldk" first\n')

const FUNDING_FEE_SAT = 1000n
const COINBASE_MATURITY = 100
const NOBODY_SCRIPT = Uint8Array.of(OP.OP_1)

/** A transaction that pays `valueSat` to a script from a mature coinbase of nobody's. Not sent. */
const payFromNobody = async (rpc: LedgerRpc, scriptPubKey: Uint8Array, valueSat: bigint): Promise<Tx> => {
  const tip = await rpc.height()
  const pending = new Set<string>()
  for (let height = tip - COINBASE_MATURITY + 1; height > 0; height--) {
    const block = decodeBlock(hexToBytes(await rpc.call<string>('getblock', await rpc.call('getblockhash', height), 0)))
    const coinbase = block.transactions[0] as Tx
    const id = txid(coinbase)
    if (pending.has(id)) continue
    const output = await rpc.call<{ value: number; scriptPubKey: { address?: string } } | null>('gettxout', id, 0, true)
    if (output === null || output.scriptPubKey.address !== NOBODY) continue
    const coin = coinbase.outputs[0] as Tx['outputs'][number]
    const change = coin.value - valueSat - FUNDING_FEE_SAT
    if (change < 1000n) continue
    return {
      version: 2,
      lockTime: 0,
      inputs: [
        { outpoint: { txid: id, vout: 0 }, scriptSig: new Uint8Array(0), sequence: SEQUENCE_FINAL, witness: [NOBODY_SCRIPT] },
      ],
      outputs: [
        { value: Sat(valueSat), scriptPubKey },
        { value: Sat(change), scriptPubKey: coin.scriptPubKey },
      ],
    }
  }
  throw new Error(`no coin of ${valueSat} sat: mine more blocks to nobody`)
}

/** An LDK node on the world's ledger. It ends with `stop`. */
const startLdk = async (world: World, name: string, args: readonly string[] = []): Promise<Ldk> => {
  const { LdkPeer } = await import('./ldk/client.mjs')
  return await LdkPeer.start({
    rpc: world.rpc.credentialsUrl(),
    name,
    args,
    stderr: process.env['LEYDEN_LDK_LOG'] === undefined ? 'ignore' : 'inherit',
  })
}

/** Mines, and waits until all have seen it. */
const mineFor = async (world: World, ldks: readonly Ldk[], blocks: number): Promise<void> => {
  await world.mine(blocks)
  const height = await world.rpc.height()
  for (const ldk of ldks) await ldk.cmd('sync', { height })
}

/** Gives LDK's wallet coins that are mature, for fee bumping. */
const giveCoins = async (world: World, ldk: Ldk): Promise<void> => {
  const { scriptHex } = (await ldk.cmd('wallet')) as { scriptHex: string }
  for (let i = 0; i < 3; i++) await send(world.rpc, await payFromNobody(world.rpc, hexToBytes(scriptHex), 10_000_000n))
}

const send = async (rpc: LedgerRpc, tx: Tx): Promise<string> =>
  await rpc.call<string>('sendrawtransaction', bytesToHex(encodeTx(tx)))

export const connect = async (ldk: Ldk, node: LightningNode): Promise<void> => {
  const [host, port] = node.peerAddress.split(':') as [string, string]
  await ldk.cmd('connect', { pubkey: await node.nodeId(), host, port: Number(port) })
}

export interface LdkOpen {
  readonly sat: number
  readonly pushMsat?: number
  readonly public?: boolean
}

/** LDK opens a channel to `pubkey`, to whom it is connected; the funding transaction is in the mempool when it resolves, and this is its id. */
const ldkOpens = async (world: World, ldk: Ldk, pubkey: string, open: LdkOpen): Promise<string> => {
  await ldk.cmd('open', { pubkey, ...open })
  const ready = await ldk.event('funding_generation_ready')
  const tx = await payFromNobody(world.rpc, hexToBytes(String(ready['scriptHex'])), BigInt(open.sat))
  await ldk.cmd('funding_tx', { tempChannelId: ready['tempChannelId'], hex: bytesToHex(encodeTx(tx)) })
  const sent = await ldk.event('broadcast', (event) => event['txid'] === txid(tx))
  if (sent['ok'] !== true) throw new RpcError('sendrawtransaction', -25, String(sent['error']))
  return txid(tx)
}

/** What LDK says of a channel. */
export interface LdkChannel {
  readonly channelId: string
  readonly funding: string | null
  readonly scid: number | string | null
  readonly usable: boolean
  readonly channelType: string
  readonly outboundMsat: number
  readonly ourReserveSat: number
  readonly htlcs: readonly {
    readonly dir: 'in' | 'out'
    readonly paymentHash: string
    readonly msat: number
    readonly expiry: number
  }[]
}

export const ldkChannel = async (ldk: Ldk, fundingTxid: string): Promise<LdkChannel | undefined> =>
  ((await ldk.cmd('channels')) as LdkChannel[]).find((channel) => channel.funding?.startsWith(`${fundingTxid}:`))

/** LDK's balance in a channel without HTLCs: what it can send, and its reserve. */
export const ldkMsat = async (ldk: Ldk, fundingTxid: string): Promise<number> => {
  const channel = await ldkChannel(ldk, fundingTxid)
  if (channel === undefined) throw new Error(`${ldk.name} has no channel of ${fundingTxid}`)
  return channel.outboundMsat + channel.ourReserveSat * 1000
}

export interface LdkInvoice {
  readonly bolt11: string
  readonly paymentHash: string
}

/** `hold`: it is not claimed until `claim` or `fail`. LDK wants at least 24 blocks for `minFinalCltv`. */
export const ldkInvoice = (
  ldk: Ldk,
  msat: number,
  options: { readonly hold?: boolean; readonly minFinalCltv?: number } = {},
): Promise<LdkInvoice> => ldk.cmd('invoice', { msat, ...options }) as Promise<LdkInvoice>

/** One node of ours and LDK peers around it, all with coins. */
export interface Meeting {
  readonly world: World
  readonly ours: LightningNode
  readonly ourId: string
  readonly ldks: readonly Ldk[]
  /** Mines, and waits until all have seen it. */
  mine(blocks: number): Promise<void>
  /** Confirms a funding transaction, and waits until both ends can use the channel. */
  usable(ldk: Ldk, fundingTxid: string, announced?: boolean): Promise<void>
  /** LDK opens a channel to us; usable when it resolves, with its funding transaction. */
  openFrom(ldk: Ldk, open: LdkOpen): Promise<string>
  /** We open a channel to LDK; the same. */
  openTo(ldk: Ldk, capacitySat: number, pushMsat: number): Promise<string>
  close(): Promise<void>
}

export const createMeeting = async (peers: Readonly<Record<string, readonly string[]>>): Promise<Meeting> => {
  const world = await createWorld()
  const ldks: Ldk[] = []
  try {
    const ours = await world.node('ours')
    const ourId = await ours.nodeId()
    await world.fund(ours)
    for (const [name, args] of Object.entries(peers)) ldks.push(await startLdk(world, name, args))
    const mine = (blocks: number): Promise<void> => mineFor(world, ldks, blocks)
    await mine(20)
    for (const ldk of ldks) await giveCoins(world, ldk)
    await mine(1)
    const usable = async (ldk: Ldk, fundingTxid: string, announced = true): Promise<void> => {
      await waitFor('the funding transaction', async () => (await world.rpc.mempool()).includes(fundingTxid))
      await mine(6)
      await channelWhere(
        ours,
        fundingTxid,
        'a normal channel',
        ({ state, announced: told }) => state === 'normal' && told === announced,
      )
      await waitFor(`a usable channel at ${ldk.name}`, async () => (await ldkChannel(ldk, fundingTxid))?.usable)
    }
    return {
      world,
      ours,
      ourId,
      ldks,
      mine,
      usable,
      async openFrom(ldk, open) {
        await waitFor('a connection', () => connect(ldk, ours).then(() => true))
        const fundingTxid = await ldkOpens(world, ldk, ourId, open)
        await usable(ldk, fundingTxid, open.public === true)
        return fundingTxid
      },
      async openTo(ldk, capacitySat, pushMsat) {
        const uri = `${ldk.nodeId}@127.0.0.1:${ldk.port}`
        await unwrap(ours.client.v1.channels.$post({ json: { uri, capacitySat, pushMsat } }))
        const fundingTxid = await waitFor('the funding transaction', async () => {
          const { data } = await unwrap(ours.client.v1.channels.$get({ query: {} }))
          return data.find(
            ({ peer, state, confirmations }) => peer.nodeId === ldk.nodeId && state === 'opening' && confirmations === 0,
          )?.fundingTxid
        })
        await usable(ldk, fundingTxid)
        return fundingTxid
      },
      async close() {
        for (const ldk of ldks) await ldk.stop()
        await world.close()
      },
    }
  } catch (error) {
    for (const ldk of ldks) await ldk.stop()
    await world.close()
    throw error
  }
}
