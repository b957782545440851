/**
 * Channels inside the drive: steps one, stores it, and sends each of its effects where it belongs.
 * Effects to the peer and the chain go out in order with the commit; those to the owner are dealt with in the same commit, after
 * them, so that what they cause (a fulfil, a forward) never overtakes what implied it.
 * Decides nothing about payments: `owner` does (payments.ts).
 */
import {
  type Channel,
  type ChannelEffect,
  type ChannelEnv,
  type ChannelInput,
  channelKind,
  loadPast,
  needsFlush,
  PAST_PREFIX,
  type PastHtlc,
  step,
  watched,
} from '@leyden/channel'
import { outpointKey, type Tx, txid, type Txid } from '@leyden/bitcoin'
import type { ChannelId, NodeId } from '@leyden/lnwire'
import { type Batch, decodeKey, key, type Store } from '@leyden/runtime'
import type { NodeEffect } from './node-effect.ts'

export type OwnerEffect = Extract<ChannelEffect, { to: 'owner' }>
export type Publish = Extract<ChannelEffect, { type: 'publish' }>

export interface ChannelsOptions {
  env(batch: Batch<NodeEffect>): ChannelEnv
  /** What a channel tells its owner. `channel` is its state after the step. */
  owner(batch: Batch<NodeEffect>, channel: Channel, effect: OwnerEffect): void
  publish(batch: Batch<NodeEffect>, effect: Publish): void
  /** The connection that the jobs so far have seen; undefined: there is none. */
  session(nodeId: NodeId): number | undefined
}

export interface Channels {
  /** False: there is no such channel (any more). */
  step(batch: Batch<NodeEffect>, channelId: ChannelId, input: ChannelInput): boolean
  /** Takes a channel that was just made, and its first effects. */
  add(batch: Batch<NodeEffect>, channel: Channel, effects: readonly ChannelEffect[]): void
  /** Effects of `resume`, after a start. */
  perform(batch: Batch<NodeEffect>, channel: Channel, effects: readonly ChannelEffect[]): void
  /** The settle hook of the drive: each channel that was touched signs what is pending, once. */
  settle(batch: Batch<NodeEffect>): void
  /**
   * The transactions that concern a channel, in their order: one that spends what it watches, one that is its funding, and one that
   * spends an output of such a one in the same list.
   */
  concerned(
    batch: Batch<NodeEffect>,
    transactions: readonly Tx[],
  ): ReadonlyMap<ChannelId, readonly { readonly tx: Tx; readonly txIndex: number }[]>
}

export const isLive = (channel: Channel): boolean => channel.phase.name !== 'closed'

export const channelsOf = (batch: Batch<NodeEffect>, nodeId: NodeId): Channel[] => {
  const found: Channel[] = []
  for (const [, channel] of batch.all(channelKind)) if (channel.remoteNodeId === nodeId && isLive(channel)) found.push(channel)
  return found
}

export const createChannels = (options: ChannelsOptions): Channels => {
  const touched = new Set<ChannelId>()
  /** Watched outpoints and funding txids -> channels; derived, and thrown away when it may have changed. */
  let index: { readonly spends: Map<string, Set<ChannelId>>; readonly fundings: Map<Txid, Set<ChannelId>> } | undefined

  const forget = (): void => {
    index = undefined
  }

  const buildIndex = (batch: Batch<NodeEffect>): NonNullable<typeof index> => {
    const spends = new Map<string, Set<ChannelId>>()
    const fundings = new Map<Txid, Set<ChannelId>>()
    const note = <K>(map: Map<K, Set<ChannelId>>, key: K, id: ChannelId): void => {
      const set = map.get(key)
      if (set === undefined) map.set(key, new Set([id]))
      else set.add(id)
    }
    for (const [, channel] of batch.all(channelKind)) {
      if (!isLive(channel)) continue
      for (const outpoint of watched(channel)) note(spends, outpointKey(outpoint), channel.channelId)
      for (const { funding } of channel.active) note(fundings, funding.outpoint.txid, channel.channelId)
    }
    return { spends, fundings }
  }

  const perform = (batch: Batch<NodeEffect>, channel: Channel, effects: readonly ChannelEffect[]): void => {
    const owner: OwnerEffect[] = []
    const nodeId = channel.remoteNodeId
    const session = options.session(nodeId)
    for (const effect of effects) {
      switch (effect.type) {
        case 'send':
          if (session !== undefined) batch.emit({ to: 'peer', type: 'send', nodeId, session, message: effect.message })
          break
        case 'disconnect':
          if (session !== undefined) batch.emit({ to: 'peer', type: 'disconnect', nodeId, session })
          break
        case 'publish':
          options.publish(batch, effect)
          break
        case 'watch':
          forget()
          break
        default:
          owner.push(effect)
      }
    }
    for (const effect of owner) options.owner(batch, channel, effect)
  }

  const store = (batch: Batch<NodeEffect>, before: Channel | undefined, after: Channel): void => {
    if (before !== undefined && before.channelId !== after.channelId) batch.set(channelKind, before.channelId, undefined)
    batch.set(channelKind, after.channelId, after)
    touched.add(after.channelId)
    if (
      before === undefined ||
      before.channelId !== after.channelId ||
      before.active !== after.active ||
      before.phase !== after.phase ||
      before.onchain !== after.onchain ||
      before.fundingInputs !== after.fundingInputs
    )
      forget()
  }

  const stepChannel = (batch: Batch<NodeEffect>, channelId: ChannelId, input: ChannelInput): boolean => {
    const before = batch.get(channelKind, channelId)
    if (before === undefined) return false
    const { state: after, effects } = step(before, input, options.env(batch))
    if (after !== before) store(batch, before, after)
    perform(batch, after, effects)
    return true
  }

  return {
    step: stepChannel,
    add(batch, channel, effects) {
      store(batch, undefined, channel)
      perform(batch, channel, effects)
    },
    perform,
    settle(batch) {
      // A flush may let another channel be touched (a forward that was waiting): go on until none is.
      while (touched.size > 0) {
        const ids = [...touched]
        touched.clear()
        for (const id of ids) {
          const channel = batch.get(channelKind, id)
          if (channel !== undefined && needsFlush(channel)) stepChannel(batch, id, { from: 'owner', type: 'flush' })
        }
      }
    },
    concerned(batch, transactions) {
      index ??= buildIndex(batch)
      const found = new Map<ChannelId, { tx: Tx; txIndex: number }[]>()
      const inList = new Map<string, Set<ChannelId>>()
      transactions.forEach((tx, txIndex) => {
        const id = txid(tx)
        const ids = new Set(index?.fundings.get(id))
        for (const input of tx.inputs) {
          const outpoint = outpointKey(input.outpoint)
          for (const spender of index?.spends.get(outpoint) ?? []) ids.add(spender)
          for (const spender of inList.get(outpoint) ?? []) ids.add(spender)
        }
        if (ids.size === 0) return
        tx.outputs.forEach((_, vout) => inList.set(outpointKey({ txid: id, vout }), ids))
        for (const channelId of ids) {
          const list = found.get(channelId)
          if (list === undefined) found.set(channelId, [{ tx, txIndex }])
          else list.push({ tx, txIndex })
        }
      })
      return found
    },
  }
}

/** The rows of a channel's past, to punish a revoked commitment with. */
export const readPast = async (store: Store, channelId: ChannelId): Promise<readonly PastHtlc[]> => {
  const rows: (readonly [string, Uint8Array])[] = []
  const from = key(channelKind.name, channelId, PAST_PREFIX)
  for await (const [rowKey, value] of store.range({ gte: from, lt: key(channelKind.name, channelId, 'past0') }))
    rows.push([String(decodeKey(rowKey)[2]), value])
  return loadPast(channelId, rows)
}
