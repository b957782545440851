/**
 * Opening channels: what the wallet, the peer and the API have to do with each other until both sides have signed.
 * BOLT 2 § Channel Establishment v1. Coins are locked from the moment that the transaction is made, and spent from the moment that the
 * peer's signature is durable: not before, and in the same commit.
 */
import {
  acceptChannel,
  type Channel,
  type ChannelEnv,
  channelKind,
  type ChannelType,
  isRefusal as isChannelRefusal,
  isViolation,
  openChannel,
  type OpenRequest,
} from '@leyden/channel'
import { type Sat, txid, type Tx } from '@leyden/bitcoin'
import { bytesToHex, utf8Encode } from '@leyden/codec'
import { ChannelId, type Features, type MessageOfType, type NodeId, ShortChannelId } from '@leyden/lnwire'
import { type Batch, type Clock, type Drive, type Random, recordKind } from '@leyden/runtime'
import {
  commitHeld,
  fund,
  heldTransactions,
  isRefusal,
  newAddress,
  releaseHeld,
  walletKind,
  type WalletKeys,
} from '@leyden/wallet'
import { type Channels, isLive, type OwnerEffect, type Publish } from './channels.ts'
import { noteMade } from './idempotency.ts'
import type { Log } from './log.ts'
import type { NodeEffect } from './node-effect.ts'
import { Refused } from './refused.ts'
import { reserveSat } from './reserve.ts'

/** Numbers that are handed out once. */
export const countersKind = recordKind<{ readonly nextKeyIndex: number }>('counters', 1)

const ONLY = ''
/** Unfunded channels that peers may have with us at once: each, and all together (S53). */
const MAX_UNFUNDED_PER_PEER = 4
const MAX_UNFUNDED = 100
const OPEN_TIMEOUT_MS = 60_000
/** What we open is of this format where the peer can. */
const NEW_TYPE: ChannelType = { format: 'anchors', scidAlias: false, zeroConf: false }

export interface OpeningsOptions {
  readonly drive: Drive<NodeEffect>
  readonly clock: Clock
  readonly random: Random
  /** For what peers cause. */
  readonly peerLog: Log
  readonly keys: WalletKeys
  readonly channels: Pick<Channels, 'add' | 'step'>
  readonly env: (batch: Batch<NodeEffect>) => ChannelEnv
  /** What holds between us and a connected peer. */
  negotiated(nodeId: NodeId): Features | undefined
  session(nodeId: NodeId): number | undefined
  /** Why nothing can be opened now. */
  notSynced(): string | undefined
}

export interface Openings {
  /** We open. Resolves when both sides have signed and the funding transaction is on its way. Rejects with {@link Refused}. */
  open(nodeId: NodeId, request: OpenRequest & { readonly reference?: string }): Promise<Channel>
  /** They open. */
  receive(batch: Batch<NodeEffect>, nodeId: NodeId, message: MessageOfType<'open_channel'>): void
  /** The channel wants its funding transaction. */
  fund(batch: Batch<NodeEffect>, channel: Channel, effect: Extract<OwnerEffect, { type: 'fundingNeeded' }>): void
  /** The funding transaction will not be used. */
  release(batch: Batch<NodeEffect>, tx: Tx | undefined): void
  /** What the funding transaction needs has been taken by another. */
  conflicted(channel: Channel, effect: Extract<OwnerEffect, { type: 'fundingConflicted' }>): void
  /** A channel publishes: if it is its funding transaction, its coins are spent from now on, and who asked for the channel has it. */
  published(batch: Batch<NodeEffect>, effect: Publish): void
  /** The channel has ended before it was open. */
  ended(batch: Batch<NodeEffect>, channel: Channel): void
  /** After a start: transactions that no channel waits for any more are given up. */
  resume(batch: Batch<NodeEffect>): void
  /** What must stay in the wallet for fees of channels (reserve.ts), with a new one of that capacity. */
  keepSat(batch: Batch<NodeEffect> | undefined, newCapacitySat?: Sat): bigint
}

const isOpening = (channel: Channel): boolean =>
  channel.phase.name === 'awaitingAccept' ||
  channel.phase.name === 'awaitingFunding' ||
  channel.phase.name === 'awaitingFundingCreated' ||
  channel.phase.name === 'awaitingFundingSigned' ||
  channel.phase.name === 'awaitingReady'

export const createOpenings = (options: OpeningsOptions): Openings => {
  const { drive, clock, random, peerLog, keys, channels, env } = options
  /** Who waits for a channel to be open: by temporary id. */
  const waiting = new Map<ChannelId, (result: Channel | Refused) => void>()

  const answer = (batch: Batch<NodeEffect>, id: ChannelId, result: Channel | Refused): void => {
    const resolve = waiting.get(id)
    if (resolve === undefined) return
    waiting.delete(id)
    batch.afterCommit(() => resolve(result))
  }

  const keepSat = (batch: Batch<NodeEffect> | undefined, newCapacitySat?: Sat): bigint => {
    const all = batch === undefined ? drive.states(channelKind).entries() : batch.all(channelKind)
    const live: Pick<Channel, 'capacitySat' | 'type'>[] = []
    for (const [, channel] of all) if (isLive(channel)) live.push(channel)
    if (newCapacitySat !== undefined) live.push({ capacitySat: newCapacitySat, type: NEW_TYPE })
    return reserveSat(live)
  }

  /** Below the scid of any real block, so that the two are never confused: block 0 is the genesis. */
  const newAlias = (): ShortChannelId => ShortChannelId(BigInt(`0x${bytesToHex(random.bytes(5))}`) | (1n << 39n))

  /** What a new channel gets from the node: a key index, never given to two channels, and an address. `undo` when there is to be none. */
  const give = (batch: Batch<NodeEffect>, remoteNodeId: NodeId, features: Features) => {
    const counters = batch.get(countersKind, ONLY)
    const before = batch.get(walletKind, ONLY)
    if (before === undefined) return undefined
    const keyIndex = counters?.nextKeyIndex ?? 0
    batch.set(countersKind, ONLY, { nextKeyIndex: keyIndex + 1 })
    const { wallet, scriptPubKey } = newAddress(before, keys, 'p2wpkh')
    batch.set(walletKind, ONLY, wallet)
    const given = { remoteNodeId, features, keyIndex, localAlias: newAlias(), destinationScript: scriptPubKey }
    const undo = (): void => {
      batch.set(countersKind, ONLY, counters)
      batch.set(walletKind, ONLY, before)
    }
    return { given, undo }
  }

  const begin = (
    batch: Batch<NodeEffect>,
    nodeId: NodeId,
    features: Features,
    temporaryChannelId: ChannelId,
    { reference, ...request }: OpenRequest & { readonly reference?: string },
  ): Refused | undefined => {
    const before = batch.get(walletKind, ONLY)
    if (before === undefined) return new Refused('syncing', 'the wallet has not seen the chain yet')
    // Before anybody is asked: can we pay for it?
    const trial = fund(before, keys, {
      outputs: [{ value: request.capacitySat, scriptPubKey: new Uint8Array(34).fill(1) }],
      feeratePerKw: request.fundingFeeratePerKw,
      keepSat: keepSat(batch, request.capacitySat),
      nowMs: clock.now(),
    })
    if (isRefusal(trial) && (trial.code === 'insufficient_balance' || trial.code === 'reserve_needed'))
      return new Refused(trial.code, 'the wallet cannot pay for this channel', trial.data)
    const started = give(batch, nodeId, features)
    if (started === undefined) return new Refused('syncing', 'the wallet has not seen the chain yet')
    const opened = openChannel(request, { ...started.given, temporaryChannelId }, env(batch))
    if (isChannelRefusal(opened)) {
      started.undo()
      return new Refused(opened.code, opened.code, opened.data)
    }
    channels.add(batch, opened.channel, opened.effects)
    noteMade(batch, reference, { keyIndex: started.given.keyIndex })
    return undefined
  }

  return {
    async open(nodeId, request) {
      const reason = options.notSynced()
      if (reason !== undefined) throw new Refused('syncing', reason)
      const features = options.negotiated(nodeId)
      if (features === undefined)
        throw new Refused('peer_offline', 'the peer is not connected: connect to it first, or name its address')
      const temporaryChannelId = ChannelId(bytesToHex(random.bytes(32)))
      const done = new Promise<Channel | Refused>((resolve) => waiting.set(temporaryChannelId, resolve))
      const refused = await drive.submit((batch) => begin(batch, nodeId, features, temporaryChannelId, request))
      if (refused !== undefined) {
        waiting.delete(temporaryChannelId)
        throw refused
      }
      const cancel = clock.setTimer(OPEN_TIMEOUT_MS, () => {
        const resolve = waiting.get(temporaryChannelId)
        waiting.delete(temporaryChannelId)
        const text = 'the peer did not answer in time; the channel may still come up: see the list of channels'
        resolve?.(new Refused('peer_offline', text))
      })
      const result = await done
      cancel()
      if (result instanceof Refused) throw result
      return result
    },

    receive(batch, nodeId, message) {
      const refuse = (text: string): void =>
        batch.emit({
          to: 'peer',
          type: 'send',
          nodeId,
          session: options.session(nodeId),
          message: { type: 'error', channelId: message.temporaryChannelId, data: utf8Encode(text) },
        })
      const features = options.negotiated(nodeId)
      if (features === undefined) return
      let unfunded = 0
      let theirs = 0
      for (const [, channel] of batch.all(channelKind)) {
        if (channel.role !== 'accepter' || !isOpening(channel) || channel.active[0]?.funding.confirmed !== undefined) continue
        unfunded++
        if (channel.remoteNodeId === nodeId) theirs++
      }
      if (theirs >= MAX_UNFUNDED_PER_PEER || unfunded >= MAX_UNFUNDED) return refuse('too many channels wait for their funding')
      if (options.notSynced() !== undefined) return refuse('not in step with the chain: try again later')
      const started = give(batch, nodeId, features)
      if (started === undefined) return refuse('not ready')
      const accepted = acceptChannel(message, started.given, env(batch))
      if (isViolation(accepted)) {
        started.undo()
        peerLog.info({ peer: nodeId, violation: accepted.code }, 'a channel was refused')
        return refuse(accepted.code)
      }
      channels.add(batch, accepted.channel, accepted.effects)
    },

    fund(batch, channel, { scriptPubKey, amountSat, feeratePerKw }) {
      const before = batch.get(walletKind, ONLY)
      const funded =
        before === undefined
          ? undefined
          : fund(before, keys, {
              outputs: [{ value: amountSat, scriptPubKey }],
              feeratePerKw,
              keepSat: keepSat(batch),
              lockId: channel.temporaryChannelId,
              label: 'channel opening',
              nowMs: clock.now(),
            })
      if (funded === undefined || isRefusal(funded)) {
        const code = funded?.code ?? 'syncing'
        const refused = new Refused(code, 'the wallet could not fund the channel', funded?.data ?? {})
        answer(batch, channel.temporaryChannelId, refused)
        channels.step(batch, channel.channelId, { from: 'owner', type: 'fundingFailed', detail: code })
        return
      }
      batch.set(walletKind, ONLY, funded.wallet)
      const outputIndex = funded.tx.outputs.findIndex(
        (output) => output.value === amountSat && bytesToHex(output.scriptPubKey) === bytesToHex(scriptPubKey),
      )
      channels.step(batch, channel.channelId, { from: 'owner', type: 'funded', tx: funded.tx, outputIndex })
    },

    release(batch, tx) {
      const before = batch.get(walletKind, ONLY)
      if (before === undefined || tx === undefined) return
      const after = releaseHeld(before, txid(tx))
      if (!isRefusal(after)) batch.set(walletKind, ONLY, after)
    },

    conflicted({ channelId, remoteNodeId: peer, role, active }, { conflict, finalAtHeight }) {
      const fundingTxid = active[0]?.funding.outpoint.txid
      const data = { channelId, peer, role, fundingTxid, conflict: conflict.txid, height: conflict.height, finalAtHeight }
      peerLog.warn(data, 'the funding of a channel was spent twice: unless a reorganisation brings it back, the channel ends')
    },

    published(batch, { publication }) {
      const channel = batch.get(channelKind, publication.channelId)
      const before = batch.get(walletKind, ONLY)
      if (before === undefined || channel?.fundingTx === undefined) return
      const id = txid(channel.fundingTx)
      if (id !== txid(publication.tx)) return
      const after = commitHeld(before, id)
      if (!isRefusal(after) && after !== before) batch.set(walletKind, ONLY, after)
      answer(batch, channel.temporaryChannelId, channel)
    },

    ended(batch, channel) {
      const text = channel.error ?? 'the peer went away before the channel was open'
      answer(batch, channel.temporaryChannelId, new Refused('peer_refused', text))
    },

    resume(batch) {
      const held = batch.get(walletKind, ONLY)
      if (held === undefined) return
      for (const { txid: id, lockId } of heldTransactions(held)) {
        let isWanted = false
        for (const [, channel] of batch.all(channelKind))
          if (channel.temporaryChannelId === lockId && isOpening(channel)) isWanted = true
        const current = batch.get(walletKind, ONLY)
        const after = isWanted || current === undefined ? undefined : releaseHeld(current, id)
        if (after !== undefined && !isRefusal(after)) batch.set(walletKind, ONLY, after)
      }
    },

    keepSat,
  }
}
