/**
 * An opener that cheats: a coin that the funding transaction of a channel spends is spent by a block of its own, sometimes in the place of
 * a block that had the funding already. The node itself knows nothing of it: another program with the same seed did it.
 * Only channels that neither side can use yet: what is lost by one that was trusted too early is lost.
 */
import { FeeratePerKw, outpointKey, Sat, type Tx, txid } from '@leyden/bitcoin'
import type { Channel } from '@leyden/channel'
import type { LedgerEngine } from '@leyden/ledger-service'
import { connectBlock, createWalletKeys, emptyWallet, fund, isRefusal, type Wallet } from '@leyden/wallet'
import { catchUp, MAX_REORG, type Story } from './actions.ts'
import { BANK_SCRIPT, type Name, NAMES, network, seedOf, type World } from './world.ts'

const isUnused = ({ phase }: Channel): boolean => phase.name === 'awaitingReady' && !phase.localReady && !phase.remoteReady

/** What the wallet of a node is by the chain alone, up to a height. */
const walletAt = async (world: World, engine: LedgerEngine, name: Name, height: number): Promise<Wallet> => {
  const keys = createWalletKeys(seedOf(name), network)
  const first = world.bank.length
  type Height = ReturnType<LedgerEngine['tip']>['height']
  let wallet = emptyWallet({ height: first as Height, hash: engine.hashAtHeight(first as Height)! })
  for (let at = first + 1; at <= height; at++) {
    const hash = engine.hashAtHeight(at as Height)!
    const block = await engine.blockByHash(hash)
    const { time } = block!.header
    const next = connectBlock(wallet, keys, { height: at as Height, hash, time, transactions: block!.transactions })
    if (isRefusal(next)) throw new Error(`block ${at}: ${next.code}`)
    wallet = next.wallet
  }
  return wallet
}

/** A transaction of the same coin back to its owner; undefined where the coin is not in the chain. */
const rivalOf = (wallet: Wallet, name: Name, { inputs }: Tx): Tx | undefined => {
  const coin = inputs.map(({ outpoint }) => wallet.coins.get(outpointKey(outpoint))).find((found) => found !== undefined)
  if (coin === undefined) return undefined
  const keys = createWalletKeys(seedOf(name), network)
  const scriptPubKey = keys.scriptPubKey({ kind: 'p2wpkh', change: 0, index: 0 })
  const made = fund(wallet, keys, {
    inputs: [coin.outpoint],
    outputs: [{ value: Sat(1_000n), scriptPubKey }],
    feeratePerKw: FeeratePerKw(1_000),
    minConfirmations: 1,
    nowMs: 0,
  })
  return isRefusal(made) ? undefined : made.tx
}

/** Spends a funding twice, if there is one to be spent so. */
export const doubleSpend = async (world: World, story: Story): Promise<void> => {
  await catchUp(world, story, 0)
  const engine = world.engine()
  if (engine === undefined) return
  const { height } = engine.tip()
  story.highest = Math.max(story.highest, height)
  for (const name of NAMES)
    for (const [id, channel] of world.node(name)?.channels() ?? []) {
      const twin = NAMES.map((one) => (one === name ? undefined : world.node(one)?.channels().get(id))).find((one) => one)
      const { fundingTx, active, role } = channel
      if (role !== 'opener' || fundingTx === undefined || twin === undefined || !isUnused(channel) || !isUnused(twin)) continue
      const at = active[0]?.funding.confirmed?.height ?? height + 1
      const depth = height - at + 1
      if (depth > MAX_REORG - (story.highest - height)) continue
      const rival = rivalOf(await walletAt(world, engine, name, at - 1), name, fundingTx)
      if (rival === undefined) continue
      world.say(`${name} spends the funding of ${id.slice(0, 8)} twice, ${depth} blocks deep, with ${txid(rival).slice(0, 8)}`)
      const work = async (): Promise<void> => {
        if (depth > 0) await engine.invalidateBlock(engine.hashAtHeight(at as typeof height)!)
        await engine.generateBlock(BANK_SCRIPT, [rival])
        if (depth > 0) await engine.generateToAddress(depth, BANK_SCRIPT)
      }
      await world.wait(work(), 'spend twice')
      return
    }
}
