/**
 * A Lightning node, whole: ports in, machines wired, nothing of the outside world. The simulation runs this very file.
 *
 *   peer message ──► channels.step ──► peer (send)  · chain (publish) · owner ──► payments ──► channels.step …
 *   block ─────────► wallet, channels, payments, gossip                        └► events, gossip
 *
 * Every arrow inside one job is one durable commit of the drive; what goes to peers and chain leaves after it.
 */
import {
  acceptChannel,
  type Channel,
  type ChannelEnv,
  channelKind,
  type ChannelMessage,
  type ChannelPolicy,
  createSigner,
  defaultPolicy,
  isRefusal as isChannelRefusal,
  isViolation,
  loadPast,
  openChannel,
  type OpenRequest,
  PAST_PREFIX,
  type Refusal,
  resume,
} from '@leyden/channel'
import { type BlockHeight, chainHash, type FeeratePerKw, Msat, type Network } from '@leyden/bitcoin'
import { bytesToHex, unreachable, utf8Encode } from '@leyden/codec'
import { isValidPoint, pointFromSecret } from '@leyden/crypto'
import type { ChainSource, FeeEstimates } from '@leyden/link'
import {
  ALL_CHANNELS,
  ChannelId,
  type Features,
  featuresIn,
  encodeFeatures,
  type Message,
  negotiateFeatures,
  type NodeAddress,
  type NodeId,
  nodeIdFromPoint,
  nodeIdToPoint,
  offeredFeatures,
  printable,
  ShortChannelId,
} from '@leyden/lnwire'
import {
  type Batch,
  type Clock,
  createDrive,
  decodeKey,
  type Drive,
  key,
  type Kind,
  limitLog,
  type Net,
  type Random,
  recordKind,
  type Store,
} from '@leyden/runtime'
import {
  commitHeld,
  createWalletKeys,
  fund,
  heldTransactions,
  isRefusal,
  newAddress,
  pendingTransactions,
  releaseHeld,
  type Wallet,
  type WalletEvent,
  walletKind,
  type WalletKeys,
} from '@leyden/wallet'
import { txid, type Tx } from '@leyden/bitcoin'
import { createChain, type Chain } from './chain.ts'
import { type Channels, channelsOf, createChannels, isLive, type OwnerEffect, type Publish } from './channels.ts'
import { createEventLog, eventCounterKind, type EventLog } from './events.ts'
import { createGossip, type GossipNode, warning } from './gossip.ts'
import { noteMade } from './idempotency.ts'
import type { Log } from './log.ts'
import type { NodeEffect } from './node-effect.ts'
import { createPayments, type Payments, paymentKinds } from './payments.ts'
import { createPeers, type PeerInfo, type Peers } from './peers.ts'
import { createPublications } from './publications.ts'

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
  readonly policy?: Partial<ChannelPolicy>
}

/** Asked for in vain. `code` is of a wallet's or channel's refusal, or the peer's own words. */
export class Refused extends Error {
  readonly code: string
  readonly data: Readonly<Record<string, unknown>>
  constructor(code: string, detail: string, data: Readonly<Record<string, unknown>> = {}) {
    super(detail)
    this.name = 'Refused'
    this.code = code
    this.data = data
  }
}

/** Numbers that are handed out once, and idempotent answers. */
interface Counters {
  readonly nextKeyIndex: number
}
const countersKind = recordKind<Counters>('counters', 1)
/** Whose data this is: channels cannot be used with another seed or on another network. */
const identityKind = recordKind<{ readonly nodeId: NodeId; readonly network: string }>('identity', 1)
/** A peer that we have channels with, and where it was reached. */
interface KnownPeer {
  readonly addresses: readonly string[]
}
const peerKind = recordKind<KnownPeer>('peer', 1)

const ONLY = ''
/** Unfunded channels that peers may have with us at once: each, and all together (S53). */
const MAX_UNFUNDED_PER_PEER = 4
const MAX_UNFUNDED = 100
const OPEN_TIMEOUT_MS = 60_000
/** Kept on chain per channel, to raise fees with when it must be (S46). */
const RESERVE_PER_CHANNEL_SAT = 10_000n
const MAX_RESERVE_SAT = 100_000n

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
  wallet(): Wallet | undefined
  channels(): ReadonlyMap<string, Channel>
  /** What must stay in the wallet for fees of channels, with `more` new ones. */
  keepSat(more?: number): bigint
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

const addressOf = (text: string): NodeAddress | undefined => {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  const host = match?.[1] ?? match?.[2]
  if (host === undefined || !(port > 0 && port < 65_536)) return undefined
  const isIpv4 = /^\d{1,3}(\.\d{1,3}){3}$/.test(host)
  return { type: match?.[1] !== undefined ? 'ipv6' : isIpv4 ? 'ipv4' : host.endsWith('.onion') ? 'tor_v3' : 'dns', host, port }
}

const isOpening = (channel: Channel): boolean =>
  channel.phase.name === 'awaitingAccept' ||
  channel.phase.name === 'awaitingFunding' ||
  channel.phase.name === 'awaitingFundingCreated' ||
  channel.phase.name === 'awaitingFundingSigned' ||
  channel.phase.name === 'awaitingReady'

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
  if (identity !== undefined && (identity.nodeId !== nodeId || identity.network !== network.name))
    throw new Error(
      identity.network === network.name
        ? `the data are of node ${identity.nodeId}, the seed is of node ${nodeId}: put the seed back that belongs to these data`
        : `the data are of ${identity.network}, the node was started for ${network.name}: choose another data directory`,
    )

  const wallet = (): Wallet | undefined => drive.states(walletKind).get(ONLY)
  const allChannels = (): ReadonlyMap<string, Channel> => drive.states(channelKind)

  // ---- channels

  const feeratesFrom = ({ feeratePerKw, minimumFeeratePerKw }: FeeEstimates): ChannelEnv['feerates'] => ({
    commitment: feeratePerKw[6],
    close: feeratePerKw[12],
    claim: feeratePerKw[2],
    minimum: minimumFeeratePerKw,
  })

  const env = (batch: Batch<NodeEffect>): ChannelEnv => ({
    network,
    nodeId,
    height: batch.get(walletKind, ONLY)?.tip.height ?? (0 as BlockHeight),
    feerates: feeratesFrom(chain.fees()),
    signer,
    policy,
    isTaken: (id) => {
      if (batch.get(channelKind, id) !== undefined) return true
      for (const [, channel] of batch.all(channelKind)) if (channel.temporaryChannelId === id) return true
      return false
    },
  })

  /** Who waits for a channel to be open: by temporary id. */
  const opening = new Map<ChannelId, (result: Channel | Refused) => void>()
  const answerOpen = (batch: Batch<NodeEffect>, id: ChannelId, result: Channel | Refused): void => {
    const answer = opening.get(id)
    if (answer === undefined) return
    opening.delete(id)
    batch.afterCommit(() => answer(result))
  }

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

  const fundChannel = (
    batch: Batch<NodeEffect>,
    channel: Channel,
    effect: Extract<OwnerEffect, { type: 'fundingNeeded' }>,
  ): void => {
    const before = batch.get(walletKind, ONLY)
    const funded =
      before === undefined
        ? undefined
        : fund(before, keys, {
            outputs: [{ value: effect.amountSat, scriptPubKey: effect.scriptPubKey }],
            feeratePerKw: effect.feeratePerKw,
            keepSat: keepSat(batch),
            lockId: channel.temporaryChannelId,
            label: 'channel opening',
            nowMs: clock.now(),
          })
    if (funded === undefined || isRefusal(funded)) {
      const code = funded?.code ?? 'syncing'
      answerOpen(
        batch,
        channel.temporaryChannelId,
        new Refused(code, 'the wallet could not fund the channel', funded?.data ?? {}),
      )
      channels.step(batch, channel.channelId, { from: 'owner', type: 'fundingFailed', detail: code })
      return
    }
    batch.set(walletKind, ONLY, funded.wallet)
    const outputIndex = funded.tx.outputs.findIndex(
      (output) => output.value === effect.amountSat && bytesToHex(output.scriptPubKey) === bytesToHex(effect.scriptPubKey),
    )
    channels.step(batch, channel.channelId, { from: 'owner', type: 'funded', tx: funded.tx, outputIndex })
  }

  const releaseFunding = (batch: Batch<NodeEffect>, tx: Tx | undefined): void => {
    const before = batch.get(walletKind, ONLY)
    if (before === undefined || tx === undefined) return
    const after = releaseHeld(before, txid(tx))
    if (!isRefusal(after)) batch.set(walletKind, ONLY, after)
  }

  const owner = (batch: Batch<NodeEffect>, channel: Channel, effect: OwnerEffect): void => {
    switch (effect.type) {
      case 'fundingNeeded':
        return fundChannel(batch, channel, effect)
      case 'fundingReleased':
        return releaseFunding(batch, effect.tx)
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
        answerOpen(
          batch,
          channel.temporaryChannelId,
          new Refused('peer_refused', channel.error ?? 'the peer went away before the channel was open'),
        )
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
  /** The first publication of a funding transaction: the peer has signed, so its coins are spent from now on. */
  const publish = (batch: Batch<NodeEffect>, effect: Publish): void => {
    const channel = batch.get(channelKind, effect.publication.channelId)
    const before = batch.get(walletKind, ONLY)
    if (before !== undefined && channel?.fundingTx !== undefined && txid(channel.fundingTx) === txid(effect.publication.tx)) {
      const after = commitHeld(before, txid(channel.fundingTx))
      if (!isRefusal(after) && after !== before) batch.set(walletKind, ONLY, after)
      answerOpen(batch, channel.temporaryChannelId, channel)
    }
    publications.publish(batch, effect)
  }

  /** Connections as the jobs see them, which run behind the sockets. */
  const sessions = new Map<NodeId, number>()
  const channels: Channels = createChannels({ env, owner, publish, session: (remote) => sessions.get(remote) })

  const keepSat = (batch: Batch<NodeEffect> | undefined, more = 0): bigint => {
    let anchors = more
    const all = batch === undefined ? allChannels().entries() : batch.all(channelKind)
    for (const [, channel] of all) if (isLive(channel) && channel.type.format === 'anchors') anchors++
    const reserve = BigInt(anchors) * RESERVE_PER_CHANNEL_SAT
    return reserve < MAX_RESERVE_SAT ? reserve : MAX_RESERVE_SAT
  }

  // ---- peers

  const newAlias = (): ShortChannelId => {
    // Below any real block height's scid so that the two are never confused: block 0 is the genesis.
    const bytes = random.bytes(5)
    return ShortChannelId(BigInt(`0x${bytesToHex(bytes)}`) | (1n << 39n))
  }

  /** What a new channel gets from the node: a key index, never given to two channels, and an address. `undo` when there is to be none. */
  const newOpening = (batch: Batch<NodeEffect>, remoteNodeId: NodeId, negotiated: Features) => {
    const counters = batch.get(countersKind, ONLY)
    const before = batch.get(walletKind, ONLY)
    if (before === undefined) return undefined
    const keyIndex = counters?.nextKeyIndex ?? 0
    batch.set(countersKind, ONLY, { nextKeyIndex: keyIndex + 1 })
    const { wallet: after, scriptPubKey } = newAddress(before, keys, 'p2wpkh')
    batch.set(walletKind, ONLY, after)
    const given = { remoteNodeId, features: negotiated, keyIndex, localAlias: newAlias(), destinationScript: scriptPubKey }
    const undo = (): void => {
      batch.set(countersKind, ONLY, counters)
      batch.set(walletKind, ONLY, before)
    }
    return { given, undo }
  }

  const negotiatedWith = (remote: NodeId): Features | undefined => {
    const info = peers.info(remote)
    if (info === undefined) return undefined
    const negotiated = negotiateFeatures(features, info.features)
    return 'problem' in negotiated ? undefined : negotiated
  }

  const receiveOpen = (batch: Batch<NodeEffect>, remote: NodeId, message: Extract<Message, { type: 'open_channel' }>): void => {
    const refuse = (text: string): void =>
      batch.emit({
        to: 'peer',
        type: 'send',
        nodeId: remote,
        session: sessions.get(remote),
        message: { type: 'error', channelId: message.temporaryChannelId, data: utf8Encode(text) },
      })
    const negotiated = negotiatedWith(remote)
    if (negotiated === undefined) return
    let unfunded = 0
    let theirs = 0
    for (const [, channel] of batch.all(channelKind)) {
      if (channel.role !== 'accepter' || !isOpening(channel) || channel.active[0]?.funding.confirmed !== undefined) continue
      unfunded++
      if (channel.remoteNodeId === remote) theirs++
    }
    if (theirs >= MAX_UNFUNDED_PER_PEER || unfunded >= MAX_UNFUNDED) return refuse('too many channels wait for their funding')
    if (!chain.synced()) return refuse('not in step with the chain: try again later')
    const opening = newOpening(batch, remote, negotiated)
    if (opening === undefined) return refuse('not ready')
    const accepted = acceptChannel(message, opening.given, env(batch))
    if (isViolation(accepted)) {
      opening.undo()
      peerLog.info({ peer: remote, violation: accepted.code }, 'a channel was refused')
      return refuse(accepted.code)
    }
    channels.add(batch, accepted.channel, accepted.effects)
  }

  /** The channel that a message names, if it is the peer's. */
  const channelFor = (batch: Batch<NodeEffect>, remote: NodeId, id: ChannelId): Channel | undefined => {
    const channel = batch.get(channelKind, id)
    return channel?.remoteNodeId === remote ? channel : undefined
  }

  const toChannel = (batch: Batch<NodeEffect>, remote: NodeId, id: ChannelId, message: ChannelMessage): void => {
    if (channelFor(batch, remote, id) !== undefined) {
      channels.step(batch, id, { from: 'peer', type: 'message', message })
      return
    }
    if (message.type === 'error' || message.type === 'warning') return
    // BOLT 2 § Message Retransmission: a channel that we do not know is told so; everything else about it is ignored.
    if (message.type === 'channel_reestablish')
      batch.emit({
        to: 'peer',
        type: 'send',
        nodeId: remote,
        session: sessions.get(remote),
        message: { type: 'error', channelId: id, data: utf8Encode('no such channel') },
      })
  }

  const receiveError = (
    batch: Batch<NodeEffect>,
    remote: NodeId,
    message: Extract<Message, { type: 'error' | 'warning' }>,
  ): void => {
    peerLog.warn(
      { peer: remote, channelId: message.channelId, text: printable(message.data) },
      `the peer sent ${message.type === 'error' ? 'an error' : 'a warning'}`,
    )
    if (message.channelId !== ALL_CHANNELS) return toChannel(batch, remote, message.channelId, message)
    for (const channel of channelsOf(batch, remote))
      channels.step(batch, channel.channelId, { from: 'peer', type: 'message', message })
  }

  const onMessage = async (remote: NodeId, message: Message, raw: Uint8Array): Promise<void> => {
    switch (message.type) {
      case 'channel_announcement':
      case 'channel_update':
      case 'node_announcement':
      case 'query_short_channel_ids':
      case 'reply_short_channel_ids_end':
      case 'query_channel_range':
      case 'reply_channel_range':
      case 'gossip_timestamp_filter':
        gossip.input({ from: 'peer', type: 'message', peer: remote, message, raw })
        return
      case 'open_channel':
        return await drive.submit((batch) => receiveOpen(batch, remote, message))
      case 'accept_channel':
      case 'funding_created':
        return await drive.submit((batch) => toChannel(batch, remote, message.temporaryChannelId, message))
      case 'error':
      case 'warning':
        return await drive.submit((batch) => receiveError(batch, remote, message))
      case 'channel_ready':
      case 'channel_reestablish':
      case 'funding_signed':
      case 'shutdown':
      case 'closing_signed':
      case 'closing_complete':
      case 'closing_sig':
      case 'stfu':
      case 'update_add_htlc':
      case 'update_fulfill_htlc':
      case 'update_fail_htlc':
      case 'update_fail_malformed_htlc':
      case 'update_fee':
      case 'commitment_signed':
      case 'revoke_and_ack':
      case 'announcement_signatures':
        return await drive.submit((batch) => toChannel(batch, remote, message.channelId, message))
      // Handled by the connection, or of features that we do not offer.
      case 'init':
      case 'ping':
      case 'pong':
      case 'peer_storage':
      case 'peer_storage_retrieval':
        return
      default:
        return unreachable(message)
    }
  }

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
    onMessage,
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
    // BOLT 7 § Rebroadcasting wants 60 seconds between batches; a test network of a few nodes need not wait.
    limits: network.name === 'regtest' ? { flushSeconds: 1 } : {},
    sign: (hash) => signer.signNode(hash),
    height: () => chain.height(),
    send: (to, raw) => peers.sendRaw(to, raw),
    warn(to, text, close) {
      peers.send(to, warning(text))
      if (close) peers.disconnect(to)
    },
  })

  const tellWallet = (batch: Batch<NodeEffect>, changes: readonly WalletEvent[], after: Wallet): void => {
    const types = {
      transactionSeen: 'transaction.seen',
      transactionConfirmed: 'transaction.confirmed',
      transactionReorged: 'transaction.reorged',
    } as const
    for (const { type, txid: id } of changes) {
      if (type === 'transactionReplaced') continue
      const height = after.transactions.get(id)?.block?.height
      events.append(batch, types[type], { txid: id, ...(height === undefined ? {} : { blockHeight: height }) })
    }
  }

  const chain: Chain = createChain({
    source: ports.chain,
    drive,
    clock,
    log,
    keys,
    channels,
    async loadPast(channelId) {
      const rows: (readonly [string, Uint8Array])[] = []
      const from = key(channelKind.name, channelId, PAST_PREFIX)
      for await (const [rowKey, value] of store.range({ gte: from, lt: key(channelKind.name, channelId, 'past0') }))
        rows.push([String(decodeKey(rowKey)[2]), value])
      return loadPast(channelId, rows)
    },
    onWallet: tellWallet,
    onBlock(batch, block, height) {
      payments.block(batch)
      publications.afterBlock(batch)
      batch.afterCommit(() => gossip.block(block.transactions, height))
      for (const tx of pendingTransactions(batch.get(walletKind, ONLY) as Wallet))
        batch.emit({ to: 'chain', type: 'broadcast', transactions: [tx], label: 'wallet' })
    },
    onTip: (batch, tip) => events.append(batch, 'chain.tip', { height: tip.height, hash: tip.hash }),
    onFees: () => undefined,
  })

  const payments: Payments = createPayments({
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

  await drive.submit((batch) => {
    if (identity === undefined) batch.set(identityKind, ONLY, { nodeId, network: network.name })
    for (const [, channel] of batch.all(channelKind)) {
      if (!isLive(channel)) continue
      channels.perform(batch, channel, resume(channel, env(batch)))
      // A channel that was still being opened is given up.
      channels.step(batch, channel.channelId, { from: 'peer', type: 'disconnected' })
      ownChannel(batch, channel)
    }
    const held = batch.get(walletKind, ONLY)
    if (held !== undefined)
      for (const { txid: id, lockId } of heldTransactions(held)) {
        const waits = [...batch.all(channelKind)].some(
          ([, channel]) => channel.temporaryChannelId === lockId && isOpening(channel),
        )
        const current = batch.get(walletKind, ONLY)
        const after = waits || current === undefined ? undefined : releaseHeld(current, id)
        if (after !== undefined && !isRefusal(after)) batch.set(walletKind, ONLY, after)
      }
    payments.resume(batch)
  })
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
    wallet,
    channels: allChannels,
    keepSat: (more) => keepSat(undefined, more),
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
    async open(remote, { reference, ...request }) {
      if (!chain.synced()) throw new Refused('syncing', chain.reason() ?? 'not in step with the ledger')
      const negotiated = negotiatedWith(remote)
      if (negotiated === undefined)
        throw new Refused('peer_offline', 'the peer is not connected: connect to it first, or name its address')
      const temporaryChannelId = ChannelId(bytesToHex(random.bytes(32)))
      const done = new Promise<Channel | Refused>((resolve) => opening.set(temporaryChannelId, resolve))
      const refusal = await drive.submit((batch): Refused | undefined => {
        const before = batch.get(walletKind, ONLY)
        if (before === undefined) return new Refused('syncing', 'the wallet has not seen the chain yet')
        // Before anybody is asked: can we pay for it?
        const trial = fund(before, keys, {
          outputs: [{ value: request.capacitySat, scriptPubKey: new Uint8Array(34).fill(1) }],
          feeratePerKw: request.fundingFeeratePerKw,
          keepSat: keepSat(batch, 1),
          nowMs: clock.now(),
        })
        if (isRefusal(trial) && (trial.code === 'insufficient_balance' || trial.code === 'reserve_needed'))
          return new Refused(trial.code, 'the wallet cannot pay for this channel', trial.data)
        const started = newOpening(batch, remote, negotiated)
        if (started === undefined) return new Refused('syncing', 'the wallet has not seen the chain yet')
        const { given, undo } = started
        const opened = openChannel(request, { ...given, temporaryChannelId }, env(batch))
        if (isChannelRefusal(opened)) {
          undo()
          return new Refused(opened.code, opened.code, opened.data)
        }
        channels.add(batch, opened.channel, opened.effects)
        noteMade(batch, reference, { keyIndex: given.keyIndex })
        return undefined
      })
      if (refusal !== undefined) {
        opening.delete(temporaryChannelId)
        throw refusal
      }
      const cancel = clock.setTimer(OPEN_TIMEOUT_MS, () => {
        const answer = opening.get(temporaryChannelId)
        opening.delete(temporaryChannelId)
        answer?.(
          new Refused('peer_offline', 'the peer did not answer in time; the channel may still come up: see the list of channels'),
        )
      })
      const result = await done
      cancel()
      if (result instanceof Refused) throw result
      keepPeers()
      return result
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
