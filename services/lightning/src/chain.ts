/**
 * The chain inside the drive: each block, each reorganisation, each transaction seen is one commit for the wallet and every channel.
 * The wallet's tip is the node's cursor: what a commit has taken is never missed and never taken twice.
 */
import { channelKind, type PastHtlc } from '@leyden/channel'
import { type Block, type BlockHash, type BlockHeight, FeeratePerKw, type Tx } from '@leyden/bitcoin'
import type { ChainCursor, ChainEvent, ChainSource, FeeEstimates } from '@leyden/link'
import type { ChannelId } from '@leyden/lnwire'
import type { Batch, Cancel, Clock, Drive } from '@leyden/runtime'
import {
  connectBlock,
  disconnectBlock,
  emptyWallet,
  isRefusal,
  seeTransaction,
  type Wallet,
  type WalletEvent,
  walletKind,
  type WalletKeys,
} from '@leyden/wallet'
import { type Channels, isLive } from './channels.ts'
import type { Log } from './log.ts'
import type { NodeEffect } from './node-effect.ts'

/** How often fee rates are asked for when no block asks. */
const FEES_EVERY_MS = 60_000
const ONLY = ''

export interface ChainOptions {
  readonly source: ChainSource
  readonly drive: Drive<NodeEffect>
  readonly clock: Clock
  readonly log: Log
  readonly keys: WalletKeys
  readonly channels: Channels
  /** Rows of the past of a channel, to punish a revoked commitment with. */
  loadPast(channelId: ChannelId): Promise<readonly PastHtlc[]>
  onWallet(batch: Batch<NodeEffect>, events: readonly WalletEvent[], wallet: Wallet): void
  /** After all channels have seen the block, in the same commit. */
  onBlock(batch: Batch<NodeEffect>, block: Block, height: BlockHeight): void
  onTip(batch: Batch<NodeEffect>, tip: ChainCursor): void
  onUnblock(batch: Batch<NodeEffect>, height: BlockHeight): void
}

export interface Chain {
  start(): void
  /** The height that the node has taken; 0 before the first word of the ledger. */
  height(): BlockHeight
  /** In step with the ledger, as far as we know. */
  synced(): boolean
  fees(): FeeEstimates
  /** The label of the chain's state for people. */
  reason(): string | undefined
  stop(): Promise<void>
}

/** Before the ledger has answered: the least that anybody relays, a cautious guess for the rest. */
const UNKNOWN_FEES: FeeEstimates = {
  feeratePerKw: { 2: FeeratePerKw(2500), 6: FeeratePerKw(1250), 12: FeeratePerKw(500), 144: FeeratePerKw(253) },
  minimumFeeratePerKw: FeeratePerKw(253),
}

export const createChain = (options: ChainOptions): Chain => {
  const { source, drive, clock, log, keys, channels } = options
  let fees = UNKNOWN_FEES
  let away: string | undefined = 'not connected to the ledger yet'
  let caughtUp = false
  let cancelFees: Cancel | undefined
  let stopped = false

  const wallet = (): Wallet | undefined => drive.states(walletKind).get(ONLY)

  const refreshFees = async (): Promise<void> => {
    try {
      const next = await source.fees()
      const before = fees.feeratePerKw[6]
      fees = next
      if (before !== next.feeratePerKw[6] && !stopped)
        await drive.submit((batch) => {
          for (const [id, channel] of batch.all(channelKind))
            if (isLive(channel))
              channels.step(batch, id as ChannelId, {
                from: 'chain',
                type: 'feerate',
                commitmentFeeratePerKw: next.feeratePerKw[6],
              })
        })
    } catch (error) {
      log.debug({ error: String(error) }, 'no fee rates from the ledger')
    }
  }
  const scheduleFees = (): void => {
    if (stopped) return
    cancelFees = clock.setTimer(FEES_EVERY_MS, () => {
      void refreshFees().then(scheduleFees)
    })
  }

  const connect = async (height: BlockHeight, hash: BlockHash, block: Block): Promise<void> => {
    // A spent funding output needs the rows of the past: read before the job, whose work is synchronous.
    const past = new Map<ChannelId, readonly PastHtlc[]>()
    const concerned = await drive.submit((batch) => [...channels.concerned(batch, block.transactions).keys()])
    for (const id of concerned) past.set(id, await options.loadPast(id))
    await drive.submit((batch) => {
      const before = batch.get(walletKind, ONLY)
      if (before === undefined) return
      const changed = connectBlock(before, keys, {
        height,
        hash,
        previousHash: block.header.previousHash,
        time: block.header.time,
        transactions: block.transactions,
      })
      if (isRefusal(changed)) throw new Error(`block ${height} ${hash} does not follow ${JSON.stringify(changed.data)}`)
      batch.set(walletKind, ONLY, changed.wallet)
      const relevant = channels.concerned(batch, block.transactions)
      for (const [, channel] of batch.all(channelKind)) {
        if (!isLive(channel)) continue
        const id = channel.channelId
        const rows = past.get(id)
        const funding = channel.active[0]?.funding
        const fundingConflict =
          funding === undefined || funding.confirmed !== undefined
            ? undefined
            : changed.wallet.transactions.get(funding.outpoint.txid)?.conflict
        channels.step(batch, id, {
          from: 'chain',
          type: 'blockConnected',
          height,
          hash,
          transactions: relevant.get(id) ?? [],
          ...(rows === undefined ? {} : { past: rows }),
          ...(fundingConflict === undefined ? {} : { fundingConflict }),
        })
      }
      options.onWallet(batch, changed.events, changed.wallet)
      options.onBlock(batch, block, height)
    })
  }

  const disconnect = (height: BlockHeight, hash: BlockHash): Promise<void> =>
    drive.submit((batch) => {
      const before = batch.get(walletKind, ONLY)
      if (before === undefined) return
      const changed = disconnectBlock(before, { height, hash })
      if (isRefusal(changed)) throw new Error(`block ${height} ${hash} is not the tip: ${JSON.stringify(changed.data)}`)
      batch.set(walletKind, ONLY, changed.wallet)
      for (const [id, channel] of batch.all(channelKind))
        if (isLive(channel)) channels.step(batch, id as ChannelId, { from: 'chain', type: 'blockDisconnected', height, hash })
      options.onWallet(batch, changed.events, changed.wallet)
      options.onUnblock(batch, height)
    })

  const seen = (tx: Tx): Promise<void> =>
    drive.submit((batch) => {
      const before = batch.get(walletKind, ONLY)
      if (before === undefined) return
      const changed = seeTransaction(before, keys, tx, clock.now())
      if (changed.wallet !== before) batch.set(walletKind, ONLY, changed.wallet)
      for (const id of channels.concerned(batch, [tx]).keys())
        channels.step(batch, id, { from: 'chain', type: 'transactionSeen', tx })
      options.onWallet(batch, changed.events, changed.wallet)
    })

  const synced = async (tip: ChainCursor): Promise<void> => {
    await refreshFees()
    await drive.submit((batch) => {
      if (batch.get(walletKind, ONLY) === undefined) batch.set(walletKind, ONLY, emptyWallet(tip))
      options.onTip(batch, tip)
    })
    if (!caughtUp) log.info({ height: tip.height, hash: tip.hash }, 'in step with the ledger')
    caughtUp = true
    away = undefined
  }

  const onEvent = async (event: ChainEvent): Promise<void> => {
    if (stopped) return
    switch (event.type) {
      case 'blockConnected':
        caughtUp = caughtUp && away === undefined
        return await connect(event.height, event.hash, event.block)
      case 'blockDisconnected':
        log.warn({ height: event.height, hash: event.hash }, 'a block left the chain')
        return await disconnect(event.height, event.hash)
      case 'transactionSeen':
        return await seen(event.tx)
      case 'synced':
        return await synced(event.tip)
      case 'away':
        if (away === undefined) log.warn({ reason: event.reason }, 'the ledger is away')
        away = event.reason
        caughtUp = false
        return
      case 'back':
        log.info({}, 'the ledger is back')
        return
    }
  }

  return {
    start() {
      scheduleFees()
      const known = wallet()
      const guarded = (event: ChainEvent): Promise<void> =>
        onEvent(event).catch((error: unknown) => {
          if (!stopped) log.error({ event: event.type, error: String(error) }, 'an event of the chain could not be taken')
        })
      if (known === undefined) return source.start(undefined, guarded)
      const [cursor, ...recent] = known.recent.toReversed() as ChainCursor[]
      source.start(cursor, guarded, recent)
    },
    height: () => wallet()?.tip.height ?? (0 as BlockHeight),
    synced: () => caughtUp && away === undefined,
    fees: () => fees,
    reason: () => (away !== undefined ? `the ledger is away: ${away}` : caughtUp ? undefined : 'catching up with the ledger'),
    async stop() {
      stopped = true
      cancelFees?.()
      await source.stop()
    },
  }
}
