/**
 * Opening a channel: open_channel, accept_channel, funding_created, funding_signed. BOLT 2 § Channel Establishment v1.
 * channel_ready and the depth that it waits for are in depth.ts.
 * Each field of a Party binds the side that it belongs to: what a message *asks of its receiver* (reserve, delay) goes into the
 * receiver's Party. Nothing is broadcast before the other side has signed the first commitment, and that signature is durable.
 */
import { equalBytes } from '@leyden/codec'
import {
  chainHash,
  forkIdAt,
  Msat,
  outpointKey,
  Sat,
  type FeeratePerKw,
  type Tx,
  txid,
  type Txid,
  ZERO_HASH,
} from '@leyden/bitcoin'
import {
  type AcceptChannel,
  ANNOUNCE_CHANNEL,
  type ChannelId,
  channelIdFromOutpoint,
  decodeChannelType,
  encodeChannelType,
  type Features,
  type FundingCreated,
  type FundingSigned,
  hasFeature,
  type NodeId,
  type OpenChannel,
  type ShortChannelId,
} from '@leyden/lnwire'
import { leftAfterFee, reserveMsat } from './balances.ts'
import type { ChannelEnv, ChannelPolicy } from './env.ts'
import type { OpenRequest } from './input.ts'
import { next, type Next, publishWhole, send } from './next.ts'
import {
  depthFor,
  feerateBounds,
  LARGE_CHANNEL_SAT,
  MAX_ACCEPTED_HTLCS,
  MAX_DUST_LIMIT_SAT,
  MAX_MINIMUM_DEPTH_BLOCKS,
  MAX_RESERVE_DIVISOR,
  MIN_DUST_LIMIT_SAT,
  MIN_IN_FLIGHT_MSAT,
} from './policy.ts'
import type { Active, Channel, ChannelType, Party } from './state.ts'
import { isShutdownScript } from './shutdown-script.ts'
import { localCommitment, remoteCommitment } from './transactions/commitment.ts'
import { fundingOutputScript } from './transactions/scripts.ts'
import { EMPTY_REVOCATIONS } from './transactions/shachain.ts'
import { checkLocalSignatures, signRemoteCommitment } from './transactions/signatures.ts'
import { specOf } from './transactions/spec.ts'
import { isViolation, refusal, type Refusal, violation, type Violation } from './violations.ts'

/** What the node gives to a new channel. */
export interface Opening {
  readonly remoteNodeId: NodeId
  /** What holds between the two (lnwire's `negotiateFeatures`). */
  readonly features: Features
  /** Never used for another channel, whatever became of that. */
  readonly keyIndex: number
  /** Random, unrelated to any scid, unique on this node. */
  readonly localAlias: ShortChannelId
  /** Of our wallet. */
  readonly destinationScript: Uint8Array
}

const NO_POINT = new Uint8Array(0)

/** What we put into our half of the agreement; the reserve and the delay are the other's to set. */
const localParty = (env: ChannelEnv, opening: Opening): Party => {
  const { policy, signer } = env
  return {
    ...signer.basepoints(opening.keyIndex),
    dustLimitSat: policy.dustLimitSat,
    maxHtlcValueInFlightMsat: policy.maxHtlcValueInFlightMsat,
    maxAcceptedHtlcs: policy.maxAcceptedHtlcs,
    htlcMinimumMsat: policy.htlcMinimumMsat,
    reserveSat: Sat(0n),
    toSelfDelayBlocks: 0,
  }
}

/** The reserve that we ask of the other side: a share of the capacity, never below either dust limit. */
const reserveFor = (policy: ChannelPolicy, capacitySat: Sat, dustLimitsSat: readonly Sat[]): Sat => {
  const share = (capacitySat * BigInt(policy.reserveMillionths)) / 1_000_000n
  return Sat(dustLimitsSat.reduce<bigint>((reserve, dust) => (dust > reserve ? dust : reserve), share))
}

/** Nobody could use commitments of before a fork after it: until its height there are no channels. */
const isForkAhead = ({ network, height }: ChannelEnv): boolean => network.fork !== undefined && height + 1 < network.fork.height

const forkOf = ({ network, height }: ChannelEnv): Pick<Channel, 'forkId'> => {
  const forkId = forkIdAt(network, height + 1)
  return forkId === 0 ? {} : { forkId }
}

const blank = (env: ChannelEnv, opening: Opening) => ({
  remoteNodeId: opening.remoteNodeId,
  localNodeId: env.nodeId,
  keyIndex: opening.keyIndex,
  simpleClose: hasFeature(opening.features, 'option_simple_close'),
  anySegwit: hasFeature(opening.features, 'option_shutdown_anysegwit'),
  openedAtHeight: env.height,
  ...forkOf(env),
  active: [],
  feeUpdates: [],
  htlcs: [],
  nextLocalHtlcId: 0n,
  nextRemoteHtlcId: 0n,
  localCommitmentNumber: 0,
  remoteCommitmentNumber: 0,
  revocations: EMPTY_REVOCATIONS,
  localAlias: opening.localAlias,
  destinationScript: opening.destinationScript,
  height: env.height,
  link: 'online' as const,
})

const wireType = (type: ChannelType): Uint8Array =>
  encodeChannelType({ commitment: type.format, scidAlias: type.scidAlias, zeroconf: type.zeroConf })

/** What both opening messages say about their sender. */
const termsOf = (env: ChannelEnv, channel: Pick<Channel, 'local' | 'remote' | 'keyIndex' | 'type'>) => {
  const { local, remote } = channel
  return {
    dustLimitSatoshis: local.dustLimitSat,
    maxHtlcValueInFlightMsat: local.maxHtlcValueInFlightMsat,
    channelReserveSatoshis: remote.reserveSat,
    htlcMinimumMsat: local.htlcMinimumMsat,
    toSelfDelay: remote.toSelfDelayBlocks,
    maxAcceptedHtlcs: local.maxAcceptedHtlcs,
    fundingPubkey: local.fundingPubkey,
    revocationBasepoint: local.revocationBasepoint,
    paymentBasepoint: local.paymentBasepoint,
    delayedPaymentBasepoint: local.delayedPaymentBasepoint,
    htlcBasepoint: local.htlcBasepoint,
    firstPerCommitmentPoint: env.signer.perCommitmentPoint(channel.keyIndex, 0),
    // Empty: we bind ourselves to no script, so that the owner can choose one when it closes.
    upfrontShutdownScript: new Uint8Array(0),
    channelType: wireType(channel.type),
  }
}

/** Anchors where both can, else static_remotekey. The alias variant only for channels that are not announced. */
const wantedType = (features: Features, announce: boolean): ChannelType => ({
  format: hasFeature(features, 'option_anchors') ? 'anchors' : 'static_remotekey',
  scidAlias: !announce && hasFeature(features, 'option_scid_alias'),
  zeroConf: false,
})

/** We open. The reply comes as an input; what is asked for in vain is refused. BOLT 2 § The open_channel Message, sender. */
export const openChannel = (
  request: OpenRequest,
  opening: Opening & { readonly temporaryChannelId: ChannelId },
  env: ChannelEnv,
): Next | Refusal => {
  const { policy } = env
  const { features, temporaryChannelId } = opening
  const { capacitySat, pushMsat, announce } = request
  if (env.isTaken?.(temporaryChannelId)) return refusal('channel_id_taken')
  if (isForkAhead(env)) return refusal('fork_ahead')
  if (capacitySat < policy.minFundingSat) return refusal('capacity_too_small', { least: policy.minFundingSat })
  if (capacitySat > policy.maxFundingSat) return refusal('capacity_too_large', { most: policy.maxFundingSat })
  if (capacitySat >= LARGE_CHANNEL_SAT && !hasFeature(features, 'option_support_large_channel'))
    return refusal('capacity_too_large', { most: LARGE_CHANNEL_SAT - 1n })
  if (pushMsat > capacitySat * 1000n) return refusal('push_exceeds_capacity')
  const local = localParty(env, opening)
  const remote: Party = {
    fundingPubkey: NO_POINT,
    revocationBasepoint: NO_POINT,
    paymentBasepoint: NO_POINT,
    delayedPaymentBasepoint: NO_POINT,
    htlcBasepoint: NO_POINT,
    dustLimitSat: Sat(0n),
    maxHtlcValueInFlightMsat: Msat(0n),
    maxAcceptedHtlcs: 0,
    htlcMinimumMsat: Msat(0n),
    reserveSat: reserveFor(policy, capacitySat, [local.dustLimitSat, Sat(MIN_DUST_LIMIT_SAT)]),
    toSelfDelayBlocks: policy.toSelfDelayBlocks,
  }
  const channel: Channel = {
    ...blank(env, opening),
    channelId: temporaryChannelId,
    temporaryChannelId,
    role: 'opener',
    type: wantedType(features, announce),
    announce,
    phase: { name: 'awaitingAccept' },
    local,
    remote,
    capacitySat,
    pushMsat,
    minimumDepthBlocks: policy.minimumDepthBlocks,
    fundingFeeratePerKw: request.fundingFeeratePerKw,
    feeratePerKw: env.feerates.commitment,
  }
  const leftMsat = initialLeft(channel)
  if (leftMsat.local < 0n) return refusal('capacity_below_fee')
  if (!someoneHasReserve(channel, leftMsat)) return refusal('capacity_below_reserve')
  return next(
    channel,
    send({
      type: 'open_channel',
      chainHash: chainHash(env.network),
      temporaryChannelId,
      fundingSatoshis: capacitySat,
      pushMsat,
      feeratePerKw: channel.feeratePerKw,
      channelFlags: announce ? ANNOUNCE_CHANNEL : 0,
      ...termsOf(env, channel),
    }),
  )
}

/** The only entry of `active` before anything happened. */
const firstActive = (channel: Channel, fundingTxid: Txid, vout: number): Active => {
  const opener = channel.capacitySat * 1000n - channel.pushMsat
  const [localMsat, remoteMsat] = channel.role === 'opener' ? [opener, channel.pushMsat] : [channel.pushMsat, opener]
  return {
    funding: { outpoint: { txid: fundingTxid, vout }, capacitySat: channel.capacitySat },
    localMsat: Msat(localMsat),
    remoteMsat: Msat(remoteMsat),
    remoteHtlcSignatures: [],
  }
}

/** What both have after the first commitment's fee. No HTLCs, so the holder does not matter. */
const initialLeft = (channel: Channel): Record<'local' | 'remote', bigint> => {
  const active = firstActive(channel, ZERO_HASH as Txid, 0)
  return leftAfterFee(channel, specOf(channel, active, 'local'), 'local')
}

/** BOLT 2: fail if to_local and to_remote of the first commitment are both at or below the reserve. */
const someoneHasReserve = (channel: Channel, leftMsat: Record<'local' | 'remote', bigint>): boolean => {
  const { local, remote } = channel
  const reserve = Sat(local.reserveSat > remote.reserveSat ? local.reserveSat : remote.reserveSat) * 1000n
  return leftMsat.local > reserve || leftMsat.remote > reserve
}

/** What a peer says about itself in either opening message. BOLT 2 § The open_channel Message, receiver; the same for accept_channel. */
const checkTerms = (
  message: OpenChannel | AcceptChannel,
  ours: { readonly capacitySat: Sat; readonly dustLimitSat: Sat; readonly anySegwit: boolean; readonly simpleClose: boolean },
  policy: ChannelPolicy,
): Violation | undefined => {
  const { dustLimitSatoshis: dust, channelReserveSatoshis: reserve, maxAcceptedHtlcs, toSelfDelay } = message
  if (toSelfDelay > policy.maxToSelfDelayBlocks)
    return violation('to_self_delay_too_large', { most: policy.maxToSelfDelayBlocks, got: toSelfDelay })
  if (maxAcceptedHtlcs > MAX_ACCEPTED_HTLCS || maxAcceptedHtlcs === 0)
    return violation('max_accepted_htlcs_out_of_range', { got: maxAcceptedHtlcs })
  if (dust < MIN_DUST_LIMIT_SAT || dust > MAX_DUST_LIMIT_SAT) return violation('dust_limit_out_of_range', { got: dust })
  if (reserve < ours.dustLimitSat) return violation('reserve_below_dust_limit', { dust: ours.dustLimitSat, got: reserve })
  if (reserve > ours.capacitySat / MAX_RESERVE_DIVISOR) return violation('reserve_too_large', { got: reserve })
  if (message.htlcMinimumMsat * 10n > ours.capacitySat * 1000n)
    return violation('htlc_minimum_too_large', { got: message.htlcMinimumMsat })
  if (message.maxHtlcValueInFlightMsat < MIN_IN_FLIGHT_MSAT || message.maxHtlcValueInFlightMsat < message.htlcMinimumMsat)
    return violation('max_htlc_value_in_flight_too_small', { got: message.maxHtlcValueInFlightMsat })
  const script = message.upfrontShutdownScript
  if (script !== undefined && script.length > 0 && !isShutdownScript(script, ours))
    return violation('upfront_shutdown_script_invalid')
  return undefined
}

const remoteParty = (message: OpenChannel | AcceptChannel, asked: Pick<Party, 'reserveSat' | 'toSelfDelayBlocks'>): Party => ({
  fundingPubkey: message.fundingPubkey,
  revocationBasepoint: message.revocationBasepoint,
  paymentBasepoint: message.paymentBasepoint,
  delayedPaymentBasepoint: message.delayedPaymentBasepoint,
  htlcBasepoint: message.htlcBasepoint,
  dustLimitSat: message.dustLimitSatoshis,
  maxHtlcValueInFlightMsat: message.maxHtlcValueInFlightMsat,
  maxAcceptedHtlcs: message.maxAcceptedHtlcs,
  htlcMinimumMsat: message.htlcMinimumMsat,
  reserveSat: asked.reserveSat,
  toSelfDelayBlocks: asked.toSelfDelayBlocks,
  ...(message.upfrontShutdownScript !== undefined && message.upfrontShutdownScript.length > 0
    ? { upfrontShutdownScript: message.upfrontShutdownScript }
    : {}),
})

/** The type that an open_channel asks for, if it suits. BOLT 2 § The open_channel Message, receiver. */
const acceptableType = (message: OpenChannel, features: Features, announce: boolean): ChannelType | Violation => {
  if (message.channelType === undefined) return violation('channel_type_missing')
  const type = decodeChannelType(message.channelType)
  if (type === undefined) return violation('channel_type_unknown')
  if (type.commitment === 'anchors' && !hasFeature(features, 'option_anchors')) return violation('channel_type_not_negotiated')
  if (type.scidAlias && !hasFeature(features, 'option_scid_alias')) return violation('channel_type_not_negotiated')
  if (type.scidAlias && announce) return violation('channel_type_alias_announced')
  // We would have to trust the opener not to double-spend.
  if (type.zeroconf) return violation('zeroconf_refused')
  return { format: type.commitment, scidAlias: type.scidAlias, zeroConf: false }
}

/** They open. The channel, or why we will not have it: the answer is an error that names the temporary id. */
export const acceptChannel = (message: OpenChannel, opening: Opening, env: ChannelEnv): Next | Violation => {
  const { policy } = env
  const { features } = opening
  const { temporaryChannelId, fundingSatoshis: capacitySat, pushMsat, feeratePerKw } = message
  const announce = (message.channelFlags & ANNOUNCE_CHANNEL) !== 0
  if (env.isTaken?.(temporaryChannelId)) return violation('temporary_channel_id_taken')
  if (!equalBytes(message.chainHash, chainHash(env.network))) return violation('chain_unknown')
  if (isForkAhead(env)) return violation('fork_ahead')
  if (hasFeature(features, 'option_dual_fund')) return violation('v1_after_dual_fund')
  const type = acceptableType(message, features, announce)
  if (isViolation(type)) return type
  if (capacitySat >= LARGE_CHANNEL_SAT && !hasFeature(features, 'option_support_large_channel'))
    return violation('funding_too_large', { most: LARGE_CHANNEL_SAT - 1n, got: capacitySat })
  if (capacitySat < policy.minFundingSat) return violation('funding_too_small', { least: policy.minFundingSat, got: capacitySat })
  if (capacitySat > policy.maxFundingSat) return violation('funding_too_large', { most: policy.maxFundingSat, got: capacitySat })
  const depthBlocks = depthFor(policy, capacitySat)
  if (depthBlocks === undefined)
    return violation('funding_too_large', { most: policy.depthSteps?.at(-1)?.mostSat ?? 0n, got: capacitySat })
  if (pushMsat > capacitySat * 1000n) return violation('push_exceeds_funding', { got: pushMsat })
  const { least, most } = feerateBounds(env)
  if (feeratePerKw < least || feeratePerKw > most) return violation('feerate_out_of_range', { least, most, got: feeratePerKw })
  const local: Party = {
    ...localParty(env, opening),
    reserveSat: message.channelReserveSatoshis,
    toSelfDelayBlocks: message.toSelfDelay,
  }
  const start = blank(env, opening)
  const { anySegwit, simpleClose } = start
  const wrong = checkTerms(message, { capacitySat, dustLimitSat: local.dustLimitSat, anySegwit, simpleClose }, policy)
  if (wrong !== undefined) return wrong
  if (message.dustLimitSatoshis > message.channelReserveSatoshis)
    return violation('dust_limit_above_reserve', { got: message.dustLimitSatoshis })
  const channel: Channel = {
    ...start,
    channelId: temporaryChannelId,
    temporaryChannelId,
    role: 'accepter',
    type,
    announce,
    phase: { name: 'awaitingFundingCreated' },
    local,
    remote: remoteParty(message, {
      reserveSat: reserveFor(policy, capacitySat, [local.dustLimitSat, message.dustLimitSatoshis]),
      toSelfDelayBlocks: policy.toSelfDelayBlocks,
    }),
    capacitySat,
    pushMsat,
    minimumDepthBlocks: Math.max(1, depthBlocks),
    feeratePerKw,
    remotePoint: message.firstPerCommitmentPoint,
  }
  const leftMsat = initialLeft(channel)
  if (leftMsat.remote < 0n) return violation('funding_below_fee')
  if (!someoneHasReserve(channel, leftMsat)) return violation('funding_below_reserve')
  return next(
    channel,
    send({
      type: 'accept_channel',
      temporaryChannelId,
      minimumDepth: channel.minimumDepthBlocks,
      ...termsOf(env, channel),
    }),
  )
}

/** BOLT 2 § The accept_channel Message, receiver. The wallet is asked for the funding transaction. */
export const receiveAccept = (channel: Channel, message: AcceptChannel, env: ChannelEnv): Next | Violation => {
  const { capacitySat, anySegwit, simpleClose } = channel
  if (message.channelType === undefined) return violation('channel_type_missing')
  if (!equalBytes(message.channelType, wireType(channel.type))) return violation('channel_type_changed')
  if (message.minimumDepth > MAX_MINIMUM_DEPTH_BLOCKS)
    return violation('minimum_depth_too_large', { most: MAX_MINIMUM_DEPTH_BLOCKS, got: message.minimumDepth })
  const wrong = checkTerms(message, { capacitySat, dustLimitSat: channel.local.dustLimitSat, anySegwit, simpleClose }, env.policy)
  if (wrong !== undefined) return wrong
  const { reserveSat, toSelfDelayBlocks } = channel.remote
  if (message.dustLimitSatoshis > reserveSat)
    return violation('dust_limit_above_reserve', { reserve: reserveSat, got: message.dustLimitSatoshis })
  const agreed: Channel = {
    ...channel,
    phase: { name: 'awaitingFunding' },
    local: { ...channel.local, reserveSat: message.channelReserveSatoshis, toSelfDelayBlocks: message.toSelfDelay },
    remote: remoteParty(message, { reserveSat, toSelfDelayBlocks }),
    // Without option_zeroconf one confirmation is the least, whatever they ask for.
    minimumDepthBlocks: Math.max(1, message.minimumDepth),
    remotePoint: message.firstPerCommitmentPoint,
  }
  const leftMsat = initialLeft(agreed)
  if (leftMsat.local < 0n || !someoneHasReserve(agreed, leftMsat))
    return violation('reserve_too_large', { got: reserveMsat(agreed, 'local') })
  return next(agreed, {
    to: 'owner',
    type: 'fundingNeeded',
    scriptPubKey: fundingOutputScript(agreed.local.fundingPubkey, agreed.remote.fundingPubkey),
    amountSat: capacitySat,
    feeratePerKw: channel.fundingFeeratePerKw ?? env.feerates.claim,
  })
}

/** Whether output `vout` of a transaction is this channel's funding output: the amount and the script, not only the txid (S24). */
export const isFundedBy = (channel: Channel, tx: Tx, vout: number): boolean => {
  const output = tx.outputs[vout]
  return (
    output !== undefined &&
    output.value === channel.capacitySat &&
    equalBytes(output.scriptPubKey, fundingOutputScript(channel.local.fundingPubkey, channel.remote.fundingPubkey))
  )
}

/** The wallet has made the transaction: sign the remote's first commitment. A wrong transaction is a fault of ours: it throws. */
export const sendFundingCreated = (channel: Channel, tx: Tx, outputIndex: number, env: ChannelEnv): Next => {
  if (!isFundedBy(channel, tx, outputIndex)) throw new Error(`output ${outputIndex} does not fund channel ${channel.channelId}`)
  const fundingTxid = txid(tx)
  const active = firstActive(channel, fundingTxid, outputIndex)
  const point = pointOf(channel.remotePoint)
  const { signature } = signRemoteCommitment(channel, remoteCommitment(channel, active, 'remote', point), env.signer)
  const funded: Channel = {
    ...channel,
    channelId: channelIdFromOutpoint(fundingTxid, outputIndex),
    phase: { name: 'awaitingFundingSigned' },
    fundingTx: tx,
    active: [active],
  }
  return next(
    funded,
    { to: 'owner', type: 'opening', fundingOutpoint: active.funding.outpoint },
    send({
      type: 'funding_created',
      temporaryChannelId: channel.temporaryChannelId,
      fundingTxid,
      fundingOutputIndex: outputIndex,
      signature,
    }),
  )
}

const pointOf = (point: Uint8Array | undefined): Uint8Array => {
  if (point === undefined) throw new Error('a commitment point is missing')
  return point
}

/** BOLT 2 § The funding_created Message, recipient. S26, S35. */
export const receiveFundingCreated = (channel: Channel, message: FundingCreated, env: ChannelEnv): Next | Violation => {
  const { fundingTxid, fundingOutputIndex } = message
  if (fundingTxid === ZERO_HASH) return violation('funding_txid_zero')
  const channelId = channelIdFromOutpoint(fundingTxid, fundingOutputIndex)
  if (env.isTaken?.(channelId))
    return violation('channel_id_taken', { outpoint: outpointKey({ txid: fundingTxid, vout: fundingOutputIndex }) })
  const unsigned = firstActive(channel, fundingTxid, fundingOutputIndex)
  const wrong = checkLocalSignatures(channel, localCommitment(channel, unsigned, 'local', env.signer), {
    signature: message.signature,
    htlcSignatures: [],
  })
  if (wrong !== undefined) return wrong
  const active: Active = { ...unsigned, remoteSignature: message.signature }
  const built = remoteCommitment(channel, active, 'remote', pointOf(channel.remotePoint))
  const { signature } = signRemoteCommitment(channel, built, env.signer)
  const signed: Channel = {
    ...channel,
    channelId,
    phase: { name: 'awaitingReady', localReady: false, remoteReady: false },
    active: [active],
  }
  return next(
    signed,
    { to: 'owner', type: 'opening', fundingOutpoint: active.funding.outpoint },
    { to: 'chain', type: 'watch', outpoints: [active.funding.outpoint] },
    send({ type: 'funding_signed', channelId, signature }),
  )
}

/** BOLT 2 § The funding_signed Message, recipient: from here on the funds can be had back, so the transaction goes out. */
export const receiveFundingSigned = (channel: Channel, message: FundingSigned, env: ChannelEnv): Next | Violation => {
  const [unsigned] = channel.active
  const { fundingTx } = channel
  if (unsigned === undefined || fundingTx === undefined) throw new Error('funding_signed is awaited without a funding')
  const wrong = checkLocalSignatures(channel, localCommitment(channel, unsigned, 'local', env.signer), {
    signature: message.signature,
    htlcSignatures: [],
  })
  if (wrong !== undefined) return wrong
  const active: Active = { ...unsigned, remoteSignature: message.signature }
  return next(
    { ...channel, phase: { name: 'awaitingReady', localReady: false, remoteReady: false }, active: [active] },
    { to: 'chain', type: 'watch', outpoints: [active.funding.outpoint] },
    publishWhole(channel, fundingTx, fundingFeerate(channel, env)),
  )
}

/** What the wallet paid for the funding transaction. */
export const fundingFeerate = (channel: Channel, env: ChannelEnv): FeeratePerKw =>
  channel.fundingFeeratePerKw ?? env.feerates.claim
