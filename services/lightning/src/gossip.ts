/**
 * The gossip machine and the world: what it reads and writes of the store, the chain and the peers. BOLT 7.
 * It holds no money and is stepped outside of the drive's jobs; its rows go through the drive all the same, so that one place writes.
 */
import { BlockHeight, chainHash, type Network, outpointKey, type Tx } from '@leyden/bitcoin'
import type { ChainSource } from '@leyden/link'
import { ALL_CHANNELS, type NodeAddress, type NodeId, scidParts, type ShortChannelId } from '@leyden/lnwire'
import {
  DEFAULT_LIMITS,
  type Gossip,
  type GossipEffect,
  type GossipEnv,
  type GossipInput,
  type GossipLimits,
  gossipLoader,
  type OwnChannel,
  restoreOwn,
  resumeGossip,
  stepGossip,
} from '@leyden/routing'
import { type Cancel, type Clock, decodeKey, type Drive, key, keyRange, type Store } from '@leyden/runtime'
import { utf8Encode } from '@leyden/codec'
import type { Log } from './log.ts'
import type { NodeEffect } from './node-effect.ts'

const ROWS = 'gossip'
const TICK_MS = 1_000
/** Spends that a reorganisation may take out again are remembered for so many blocks. */
const REMEMBERED_BLOCKS = 144

export interface GossipOptions {
  readonly store: Store
  readonly drive: Drive<NodeEffect>
  readonly clock: Clock
  readonly source: ChainSource
  readonly log: Log
  readonly network: Network
  readonly nodeId: NodeId
  readonly sign: (hash: Uint8Array) => Uint8Array
  readonly limits?: Partial<GossipLimits>
  height(): BlockHeight
  send(nodeId: NodeId, raw: Uint8Array): void
  warn(nodeId: NodeId, text: string, close: boolean): void
}

export interface GossipNode {
  readonly state: Gossip
  input(input: GossipInput): void
  /** Our channel as gossip should know it; brings back what was stored about it the first time. */
  own(channel: OwnChannel): void
  /** Spends of announced fundings in a block. */
  block(transactions: readonly Tx[], height: BlockHeight): void
  unblock(height: BlockHeight): void
  start(): void
  stop(): void
}

export const createGossip = async (options: GossipOptions): Promise<GossipNode> => {
  const { store, drive, clock, source, log, network } = options
  const loader = gossipLoader()
  for await (const [rowKey, value] of store.range(keyRange(ROWS))) loader.row(String(decodeKey(rowKey)[1]), value)
  const { gossip: state, own: stored } = loader.done()
  const watched = new Map<string, ShortChannelId>()
  const spentAt = new Map<BlockHeight, ShortChannelId[]>()
  let cancel: Cancel | undefined
  let stopped = false

  const env = (): GossipEnv => ({
    chainHash: chainHash(network),
    localNodeId: options.nodeId,
    now: Math.floor(clock.now() / 1000),
    height: options.height(),
    sign: options.sign,
    acceptUnverified: network.name === 'regtest',
    limits: { ...DEFAULT_LIMITS, ...options.limits },
  })

  const lookUp = async (shortChannelId: ShortChannelId): Promise<void> => {
    const { block, tx, output } = scidParts(shortChannelId)
    try {
      const found = await source.findOutput({ height: BlockHeight(block), transactionIndex: tx, vout: output })
      if (stopped) return
      input({
        from: 'chain',
        type: 'funding',
        shortChannelId,
        found:
          found === undefined || !found.unspent
            ? { status: 'missing' }
            : {
                status: 'unspent',
                outpoint: found.outpoint,
                scriptPubKey: found.output.scriptPubKey,
                valueSat: found.output.value,
                confirmations: Math.max(0, options.height() - block + 1),
              },
      })
    } catch (error) {
      log.debug({ error: String(error) }, 'a funding output could not be looked up')
      if (!stopped) input({ from: 'chain', type: 'funding', shortChannelId, found: { status: 'unknown' } })
    }
  }

  const perform = (effects: readonly GossipEffect[]): void => {
    for (const effect of effects) {
      switch (effect.type) {
        case 'send':
          options.send(effect.peer, effect.raw)
          break
        case 'warn':
          options.warn(effect.peer, `${effect.violation.code}: ${effect.violation.detail}`, effect.close)
          break
        case 'rows':
          drive
            .submit((batch) => {
              for (const { suffix, value } of effect.rows) batch.put(key(ROWS, suffix), value)
            })
            .catch(() => undefined) // stopped: it will be told again
          break
        case 'lookupFunding':
          void lookUp(effect.shortChannelId)
          break
        case 'watch':
          watched.set(outpointKey(effect.outpoint), effect.shortChannelId)
          break
        case 'unwatch':
          watched.delete(outpointKey(effect.outpoint))
          break
        case 'graphChanged':
        case 'remotePolicy':
          break
      }
    }
  }

  const input = (one: GossipInput): void => perform(stepGossip(state, one, env()))

  const tick = (): void => {
    if (stopped) return
    input({ from: 'clock', type: 'tick' })
    cancel = clock.setTimer(TICK_MS, tick)
  }

  return {
    state,
    input,
    own(channel) {
      if (!state.own.has(channel.channelId)) restoreOwn(state, channel, stored)
      input({ from: 'owner', type: 'ownChannel', channel })
    },
    block(transactions, height) {
      for (const tx of transactions)
        for (const { outpoint } of tx.inputs) {
          const shortChannelId = watched.get(outpointKey(outpoint))
          if (shortChannelId === undefined) continue
          const list = spentAt.get(height)
          if (list === undefined) spentAt.set(height, [shortChannelId])
          else list.push(shortChannelId)
          input({ from: 'chain', type: 'fundingSpent', shortChannelId, height })
        }
      spentAt.delete((height - REMEMBERED_BLOCKS) as BlockHeight)
    },
    unblock(height) {
      for (const shortChannelId of spentAt.get(height) ?? []) input({ from: 'chain', type: 'fundingUnspent', shortChannelId })
      spentAt.delete(height)
    },
    start() {
      perform(resumeGossip(state))
      tick()
    },
    stop() {
      stopped = true
      cancel?.()
    },
  }
}

/** A warning to a peer, in words. BOLT 1 § The error and warning Messages. */
export const warning = (text: string) => ({ type: 'warning' as const, channelId: ALL_CHANNELS, data: utf8Encode(text) })

/** `host:port` as node_announcement writes it; undefined: no such thing. BOLT 7 § The node_announcement Message. */
export const addressOf = (text: string): NodeAddress | undefined => {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  const host = match?.[1] ?? match?.[2]
  if (host === undefined || !(port > 0 && port < 65_536)) return undefined
  const isIpv4 = /^\d{1,3}(\.\d{1,3}){3}$/.test(host)
  return { type: match?.[1] !== undefined ? 'ipv6' : isIpv4 ? 'ipv4' : host.endsWith('.onion') ? 'tor_v3' : 'dns', host, port }
}
