/**
 * A Lightning node, whole: ports in, machines wired, nothing of the outside world. The simulation runs this very file.
 *
 *   peer message ──► channels.step ──► peer (send)  · chain (publish) · owner ──► payments ──► channels.step …
 *   block ─────────► wallet, channels, payments, gossip                        └► events, gossip
 *
 * Every arrow inside one job is one durable commit of the drive; what goes to peers and chain leaves after it.
 */
import {
  type Channel,
  type ChannelEnv,
  channelKind,
  type ChannelPolicy,
  type DepthStep,
  createSigner,
  defaultPolicy,
  type OpenRequest,
  type Refusal,
  resume,
} from '@leyden/channel'
import { type BlockHeight, chainHash, type FeeratePerKw, findNetwork, Msat, type Network, txid } from '@leyden/bitcoin'
import { isValidPoint, pointFromSecret } from '@leyden/crypto'
import type { ChainSource, FeeEstimates } from '@leyden/link'
import {
  type ChannelId,
  type Features,
  featuresIn,
  encodeFeatures,
  negotiateFeatures,
  type NodeId,
  nodeIdFromPoint,
  nodeIdToPoint,
  offeredFeatures,
} from '@leyden/lnwire'
import {
  type Batch,
  type Clock,
  createDrive,
  type Drive,
  type Kind,
  limitLog,
  type Net,
  type Random,
  recordKind,
  type Store,
} from '@leyden/runtime'
import { createWalletKeys, type Wallet, walletKind, type WalletKeys } from '@leyden/wallet'
import { createChain, type Chain } from './chain.ts'
import { type Channels, channelsOf, createChannels, isLive, type OwnerEffect, readPast } from './channels.ts'
import { createEventLog, eventCounterKind, type EventLog } from './events.ts'
import { addressOf, createGossip, type GossipNode, warning } from './gossip.ts'
import type { Log } from './log.ts'
import type { NodeEffect } from './node-effect.ts'
import { createInbox } from './inbox.ts'
import { countersKind, createOpenings, type Openings } from './openings.ts'
import { Refused } from './refused.ts'
import { createPayments, type Payments, paymentKinds } from './payments.ts'
import { createPeers, type PeerInfo, type Peers } from './peers.ts'
import { createPublications } from './publications.ts'
import { createWalletUpkeep } from './wallet-upkeep.ts'
import { checkIdentity, identityKind, identityOf } from './identity.ts'

/** What the node takes from the world. */
export interface NodePorts {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly net: Net
  readonly chain: ChainSource
  readonly log: Log
  /** A bug or a damaged store: nothing has left since. The process should end. */
  readonly onFault: (fault: unknown) => void
}

/** What we ask for to forward payments. */
export interface RelayPolicy {
  readonly feeBaseMsat: number
  readonly feeProportionalMillionths: number
  readonly cltvExpiryDelta: number
}

export interface NodeConfig {
  readonly network: Network
  /** 64 bytes of BIP 39. */
  readonly seed: Uint8Array
  readonly alias: string
  /** `host:port` for node_announcement. */
  readonly announce: readonly string[]
  readonly relay: RelayPolicy
  readonly minimumDepthBlocks: number
  /** In its place, by value, on this height. */
  readonly depthSteps?: (height: BlockHeight) => readonly DepthStep[]
  readonly policy?: Partial<ChannelPolicy>
}

/** A peer that we have channels with, and where it was reached. */
interface KnownPeer {
  readonly addresses: readonly string[]
}
const peerKind = recordKind<KnownPeer>('peer', 1)

const ONLY = ''
export interface Node {
  readonly nodeId: NodeId
  readonly network: Network
  readonly alias: string
  readonly features: Features
  readonly drive: Drive<NodeEffect>
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly keys: WalletKeys
  readonly peers: Peers
  readonly gossip: GossipNode
  readonly chain: Chain
  readonly events: EventLog
  readonly payments: Payments
  readonly relay: RelayPolicy
  readonly policy: ChannelPolicy
  wallet(): Wallet | undefined
  channels(): ReadonlyMap<string, Channel>
  /** What must stay in the wallet for fees of channels. */
  keepSat(): bigint
  /** Resolves with the address that was taken, its port filled in. */
  listen(address: string): Promise<string>
  /** Connects and remembers the address. */
  connect(nodeId: NodeId, address: string): Promise<PeerInfo>
  /** Resolves when both sides have signed and the funding transaction is on its way. Rejects with {@link Refused}. */
  open(nodeId: NodeId, request: OpenRequest & { readonly reference?: string }): Promise<Channel>
  /** Resolves when it is begun. Rejects with {@link Refused}. */
  close(
    channelId: ChannelId,
    how: { readonly force: boolean; readonly scriptPubKey?: Uint8Array; readonly feeratePerKw?: FeeratePerKw },
  ): Promise<Channel>
  stop(): Promise<void>
}

export const createNode = async (ports: NodePorts, config: NodeConfig): Promise<Node> => {
  const { store, clock, random, log } = ports
  /** For what peers cause, who must not fill the disk with it (S70). */
  const peerLog = limitLog(log, () => clock.now())
  const { network } = config
  const keys = createWalletKeys(config.seed, network)
  const nodeId = nodeIdFromPoint(pointFromSecret(keys.nodeSecret))
  const signer = createSigner(keys.channelSeed, keys.nodeSecret)
  const features = offeredFeatures('init')
  const policy: ChannelPolicy = { ...defaultPolicy, minimumDepthBlocks: config.minimumDepthBlocks, ...config.policy }
  let stopping = false

  // ---- the drive, and where its effects go

  const release = (effect: NodeEffect): void => {
    switch (effect.type) {
      case 'send':
        return peers.send(effect.nodeId, effect.message, effect.session)
      case 'sendRaw':
        return peers.sendRaw(effect.nodeId, effect.raw)
      case 'disconnect':
        return peers.disconnect(effect.nodeId, effect.session)
      case 'broadcast':
        ports.chain.broadcast(effect.transactions).then(
          (result) => {
            upkeep.answered(effect, result)
            const ids = effect.transactions.map((tx) => txid(tx))
            // A failure is never the end: who wants it in the chain asks again with every block (S20).
            if (result.ok) log.debug({ txids: ids, label: effect.label }, 'broadcast')
            else
              log.info({ txids: ids, label: effect.label, reason: result.reason }, 'a broadcast was not taken; it is tried again')
          },
          (error: unknown) => log.info({ label: effect.label, error: String(error) }, 'a broadcast failed; it is tried again'),
        )
    }
  }

  const drive = createDrive<NodeEffect>({
    store,
    kinds: [
      walletKind,
      channelKind,
      identityKind,
      countersKind,
      peerKind,
      eventCounterKind,
      ...paymentKinds,
    ] as unknown as readonly Kind<unknown>[],
    clock,
    release,
    settle: (batch) => channels.settle(batch),
    onFault: (fault) => {
      log.error({ fault: fault instanceof Error ? (fault.stack ?? fault.message) : String(fault) }, 'a fault: the node stops')
      ports.onFault(fault)
    },
    onStall: ({ error, attempts, retryMs }) =>
      log.error(
        { error: String(error), attempts, retryMs },
        'the disk does not take writes: nothing leaves the node until it does. Is it full?',
      ),
    onRecovered: () => log.warn({}, 'the disk takes writes again'),
  })
  const events = createEventLog(store, clock, () => drive.states(eventCounterKind).get(ONLY)?.last ?? 0)
  await drive.load()
  const identity = drive.states(identityKind).get(ONLY)
  checkIdentity(identity, identityOf(nodeId, network))

  const wallet = (): Wallet | undefined => drive.states(walletKind).get(ONLY)
  const allChannels = (): ReadonlyMap<string, Channel> => drive.states(channelKind)

  // ---- channels

  const feeratesFrom = ({ feeratePerKw, minimumFeeratePerKw }: FeeEstimates): ChannelEnv['feerates'] => ({
    commitment: feeratePerKw[6],
    close: feeratePerKw[12],
    claim: feeratePerKw[2],
    minimum: minimumFeeratePerKw,
  })

  const policyAt = (height: BlockHeight): ChannelPolicy =>
    config.depthSteps === undefined ? policy : { ...policy, depthSteps: config.depthSteps(height) }
  const heightIn = (batch: Batch<NodeEffect>): BlockHeight => batch.get(walletKind, ONLY)?.tip.height ?? (0 as BlockHeight)

  const env = (batch: Batch<NodeEffect>): ChannelEnv => ({
    network,
    nodeId,
    height: heightIn(batch),
    feerates: feeratesFrom(chain.fees()),
    signer,
    policy: policyAt(heightIn(batch)),
    isTaken: (id) => {
      if (batch.get(channelKind, id) !== undefined) return true
      for (const [, channel] of batch.all(channelKind)) if (channel.temporaryChannelId === id) return true
      return false
    },
  })

  const tellChannel = (
    batch: Batch<NodeEffect>,
    type: 'channel.opening' | 'channel.ready' | 'channel.closing' | 'channel.closed',
    channel: Channel,
  ): void =>
    events.append(batch, type, {
      channelId: channel.channelId,
      nodeId: channel.remoteNodeId,
      capacitySat: Number(channel.capacitySat),
      ...(channel.phase.name === 'closed' ? { how: channel.phase.how } : {}),
    })

  const ownChannel = (batch: Batch<NodeEffect>, channel: Channel): void => {
    if (channel.phase.name !== 'normal') return
    const own = {
      channelId: channel.channelId,
      remoteNodeId: channel.remoteNodeId,
      capacitySat: channel.capacitySat,
      ...(channel.shortChannelId === undefined ? {} : { shortChannelId: channel.shortChannelId }),
      ...(channel.remoteAlias === undefined ? {} : { remoteAlias: channel.remoteAlias }),
      localAlias: channel.localAlias,
      policy: {
        enabled: true,
        cltvExpiryDelta: config.relay.cltvExpiryDelta,
        feeBaseMsat: config.relay.feeBaseMsat,
        feeProportionalMillionths: config.relay.feeProportionalMillionths,
        htlcMinimumMsat: channel.remote.htlcMinimumMsat,
        htlcMaximumMsat: Msat(
          channel.remote.maxHtlcValueInFlightMsat < channel.capacitySat * 1000n
            ? channel.remote.maxHtlcValueInFlightMsat
            : channel.capacitySat * 1000n,
        ),
      },
    }
    batch.afterCommit(() => gossip.own(own))
  }

  const owner = (batch: Batch<NodeEffect>, channel: Channel, effect: OwnerEffect): void => {
    switch (effect.type) {
      case 'fundingNeeded':
        return openings.fund(batch, channel, effect)
      case 'fundingReleased':
        return openings.release(batch, effect.tx)
      case 'fundingConflicted':
        return openings.conflicted(channel, effect)
      case 'opening':
        return tellChannel(batch, 'channel.opening', channel)
      case 'ready':
        tellChannel(batch, 'channel.ready', channel)
        log.info({ channelId: channel.channelId, peer: channel.remoteNodeId }, 'channel ready')
        return ownChannel(batch, channel)
      case 'announceable': {
        const { funding } = channel.active[0] ?? {}
        if (funding === undefined) return undefined
        ownChannel(batch, channel)
        return batch.afterCommit(() =>
          gossip.input({
            from: 'owner',
            type: 'announce',
            channelId: channel.channelId,
            shortChannelId: effect.shortChannelId,
            outpoint: funding.outpoint,
            local: {
              bitcoinKey: channel.local.fundingPubkey,
              nodeSignature: effect.localNodeSignature,
              bitcoinSignature: effect.localBitcoinSignature,
            },
            remote: {
              bitcoinKey: channel.remote.fundingPubkey,
              nodeSignature: effect.remoteNodeSignature,
              bitcoinSignature: effect.remoteBitcoinSignature,
            },
          }),
        )
      }
      case 'closing':
        log.info({ channelId: channel.channelId, how: effect.how }, 'channel closing')
        tellChannel(batch, 'channel.closing', channel)
        return batch.afterCommit(() => gossip.input({ from: 'owner', type: 'ownChannelClosed', channelId: channel.channelId }))
      case 'closed':
        log.info({ channelId: channel.channelId, how: effect.how }, 'channel closed')
        tellChannel(batch, 'channel.closed', channel)
        openings.ended(batch, channel)
        return batch.afterCommit(() => {
          gossip.input({ from: 'owner', type: 'ownChannelClosed', channelId: channel.channelId })
          keepPeers()
        })
      case 'violated':
        return peerLog.warn(
          { channelId: channel.channelId, peer: channel.remoteNodeId, violation: effect.violation.code },
          'the peer broke a rule',
        )
      case 'refused':
        log.info({ channelId: channel.channelId, command: effect.command, reason: effect.refusal.code }, 'a command was refused')
        if (effect.command === refusedCommand?.command) refusedCommand.refusal = effect.refusal
        return undefined
      case 'htlcCommitted':
      case 'htlcFulfilled':
      case 'htlcFailed':
      case 'offerRefused':
        return payments.fromChannel(batch, channel, effect)
    }
  }
  /** Set while a command of the API is stepped: a refusal of it is its answer. */
  let refusedCommand: { command: string; refusal: Refusal | undefined } | undefined

  const publications = createPublications({ clock, log, keys, signer })
  /** Connections as the jobs see them, which run behind the sockets. */
  const sessions = new Map<NodeId, number>()
  const session = (remote: NodeId): number | undefined => sessions.get(remote)
  const channels: Channels = createChannels({
    env,
    owner,
    session,
    publish(batch, effect) {
      openings.published(batch, effect)
      publications.publish(batch, effect)
    },
  })

  const openings: Openings = createOpenings({
    drive,
    clock,
    random,
    peerLog,
    keys,
    channels,
    env,
    session,
    negotiated(remote) {
      const info = peers.info(remote)
      const negotiated = info === undefined ? undefined : negotiateFeatures(features, info.features)
      return negotiated === undefined || 'problem' in negotiated ? undefined : negotiated
    },
    notSynced: () => (chain.synced() ? undefined : (chain.reason() ?? 'not in step with the ledger')),
  })

  // ---- peers

  const atPeer = (remote: NodeId, job: (batch: Batch<NodeEffect>) => void): void => {
    drive.submit(job).catch((error: unknown) => {
      if (!stopping) log.error({ peer: remote, error: String(error) }, 'the connection of a peer could not be taken')
    })
  }

  const hasChannelWith = (remote: NodeId): boolean => {
    for (const channel of allChannels().values()) if (channel.remoteNodeId === remote && isLive(channel)) return true
    return false
  }

  const peers: Peers = createPeers({
    net: ports.net,
    clock,
    random,
    log: peerLog,
    nodeSecret: keys.nodeSecret,
    features,
    chainHash: chainHash(network),
    isKnown: hasChannelWith,
    onReady(remote, remoteFeatures, session) {
      gossip.input({ from: 'peer', type: 'connected', peer: remote, queries: remoteFeatures.known.gossip_queries !== undefined })
      atPeer(remote, (batch) => {
        sessions.set(remote, session)
        events.append(batch, 'peer.connected', { nodeId: remote })
        for (const channel of channelsOf(batch, remote))
          channels.step(batch, channel.channelId, { from: 'peer', type: 'connected', remoteFeatures })
      })
    },
    onMessage: (remote, message, raw) => inbox(remote, message, raw),
    onClosed(remote) {
      gossip.input({ from: 'peer', type: 'disconnected', peer: remote })
      atPeer(remote, (batch) => {
        sessions.delete(remote)
        events.append(batch, 'peer.disconnected', { nodeId: remote })
        for (const channel of channelsOf(batch, remote))
          channels.step(batch, channel.channelId, { from: 'peer', type: 'disconnected' })
      })
    },
  })

  /** Peers with a live channel are dialled again and again, where we know an address; the others no more. */
  const keepPeers = (): void => {
    for (const [id, { addresses }] of drive.states(peerKind))
      if (hasChannelWith(id as NodeId)) peers.keep(id as NodeId, addresses)
      else peers.forget(id as NodeId)
  }

  // ---- gossip, chain, payments

  const gossip: GossipNode = await createGossip({
    store,
    drive,
    clock,
    source: ports.chain,
    log,
    network,
    nodeId,
    // BOLT 7 § Rebroadcasting wants 60 seconds between batches; networks of a few nodes need not wait.
    limits: network.name === 'regtest' || findNetwork(network.name) === undefined ? { flushSeconds: 1 } : {},
    sign: (hash) => signer.signNode(hash),
    height: () => chain.height(),
    send: (to, raw) => peers.sendRaw(to, raw),
    warn(to, text, close) {
      peers.send(to, warning(text))
      if (close) peers.disconnect(to)
    },
  })

  const inbox = createInbox({ drive, peerLog, channels, openings, gossip, session })

  const upkeep = createWalletUpkeep({ drive, clock, keys, events })

  const chain: Chain = createChain({
    source: ports.chain,
    drive,
    clock,
    log,
    keys,
    channels,
    loadPast: (channelId) => readPast(store, channelId),
    onWallet: upkeep.tell,
    onBlock(batch, block, height) {
      payments.block(batch)
      publications.afterBlock(batch)
      batch.afterCommit(() => gossip.block(block.transactions, height))
      upkeep.afterBlock(batch)
    },
    onUnblock: (batch, height) => batch.afterCommit(() => gossip.unblock(height)),
    onTip: (batch, tip) => events.append(batch, 'chain.tip', { height: tip.height, hash: tip.hash }),
  })

  const payments: Payments = createPayments({
    store,
    drive,
    clock,
    random,
    log,
    network,
    nodeId,
    nodeSecret: keys.nodeSecret,
    relay: config.relay,
    gossip,
    events,
    channels,
    height: () => chain.height(),
  })

  // ---- after a start: re-arm, never re-decide

  await payments.prepare()
  await drive.submit((batch) => {
    batch.set(identityKind, ONLY, { ...(identity ?? identityOf(nodeId, network)) }) // in the present version, each time
    for (const [, channel] of batch.all(channelKind)) {
      if (!isLive(channel)) continue
      channels.perform(batch, channel, resume(channel, env(batch)))
      // A channel that was still being opened is given up.
      channels.step(batch, channel.channelId, { from: 'peer', type: 'disconnected' })
      ownChannel(batch, channel)
    }
    openings.resume(batch)
    payments.resume(batch)
  }, payments.resumed)
  const addresses = config.announce.map(addressOf).filter((address) => address !== undefined)
  gossip.start()
  gossip.input({
    from: 'owner',
    type: 'nodeInfo',
    info: {
      alias: config.alias,
      rgbColor: Uint8Array.from([0x5b, 0x3d, 0x8f]),
      addresses,
      features: encodeFeatures(featuresIn(offeredFeatures('node'), 'node')),
    },
  })
  chain.start()
  payments.start()
  keepPeers()

  const remember = (remote: NodeId, address: string): Promise<void> =>
    drive.submit((batch) => {
      const known = batch.get(peerKind, remote)?.addresses ?? []
      if (known[0] !== address)
        batch.set(peerKind, remote, { addresses: [address, ...known.filter((one) => one !== address)].slice(0, 4) })
    })

  return {
    nodeId,
    network,
    alias: config.alias,
    features,
    drive,
    store,
    clock,
    random,
    keys,
    peers,
    gossip,
    chain,
    events,
    payments,
    relay: config.relay,
    policy,
    wallet,
    channels: allChannels,
    keepSat: () => openings.keepSat(undefined),
    async listen(address) {
      return (await peers.listen(address)).address
    },
    async connect(remote, address) {
      if (remote === nodeId) throw new Refused('own_node', 'that is this node itself')
      if (!isValidPoint(nodeIdToPoint(remote))) throw new Refused('invalid_node_id', 'the node id is not a point of the curve')
      const info = await peers.connect(remote, address).catch((error: unknown) => {
        throw new Refused('peer_offline', error instanceof Error ? error.message : String(error))
      })
      await remember(remote, address)
      return info
    },
    async open(remote, request) {
      const channel = await openings.open(remote, request)
      keepPeers()
      return channel
    },
    async close(channelId, how) {
      const result = await drive.submit((batch): Channel | Refused => {
        if (batch.get(channelKind, channelId) === undefined) return new Refused('not_found', 'no such channel')
        refusedCommand = { command: how.force ? 'forceClose' : 'close', refusal: undefined }
        channels.step(
          batch,
          channelId,
          how.force
            ? { from: 'owner', type: 'forceClose', reason: 'asked for by the operator' }
            : {
                from: 'owner',
                type: 'close',
                ...(how.scriptPubKey === undefined ? {} : { scriptPubKey: how.scriptPubKey }),
                ...(how.feeratePerKw === undefined ? {} : { feeratePerKw: how.feeratePerKw }),
              },
        )
        const { refusal } = refusedCommand
        refusedCommand = undefined
        if (refusal !== undefined) return new Refused(refusal.code, refusal.code, refusal.data)
        return batch.get(channelKind, channelId) ?? new Refused('not_found', 'no such channel')
      })
      if (result instanceof Refused) throw result
      return result
    },
    async stop() {
      stopping = true
      events.close()
      payments.stop()
      gossip.stop()
      await chain.stop()
      await peers.stop()
      await drive.stop()
    },
  }
}
