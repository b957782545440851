/**
 * The end of a channel on the chain: the door that the channel's step calls. BOLT 5.
 * A block brings facts (spends.ts, preimage.ts); from the facts follow what the owner is told (outcome.ts) and what is published
 * (publications.ts). Nothing here waits for a peer: from the moment that the funding output is spent the chain alone decides.
 */
import { bytesToHex } from '@leyden/codec'
import { sha256 } from '@leyden/crypto'
import { outpointKey, txid, type Outpoint, type Tx } from '@leyden/bitcoin'
import type { ChannelEffect } from '../effect.ts'
import type { ChannelEnv } from '../env.ts'
import type { ChannelInput } from '../input.ts'
import { MAX_CLOSING_TRANSACTIONS } from '../policy.ts'
import type { Channel, CloseKind } from '../state.ts'
import { violation } from '../violations.ts'
import { classify, fundingSpentBy } from './classify.ts'
import { mustGoOnChain } from './deadlines.ts'
import { settle, tellNeverSent } from './outcome.ts'
import { learnPreimages } from './preimage.ts'
import { publications, rebid } from './publications.ts'
import { fundingSpent, outputsSpent, withoutBlocksFrom, type Place } from './spends.ts'
import { closeKindOf, NO_ONCHAIN, type SpendKind } from './state.ts'

export interface OnchainNext {
  readonly channel: Channel
  readonly effects: readonly ChannelEffect[]
}

type BlockConnected = ChannelInput & { readonly type: 'blockConnected' }
type BlockDisconnected = ChannelInput & { readonly type: 'blockDisconnected' }

/**
 * Outputs to be watched: the funding output until the end, all that came of it until it is spent beyond a reorg, and what the funding
 * transaction spends (funding-loss.ts).
 */
export const watched = (channel: Channel): Outpoint[] => {
  if (channel.phase.name === 'closed') return []
  return [
    ...channel.active.map(({ funding }) => funding.outpoint),
    ...(channel.onchain?.outputs ?? []).map(({ outpoint }) => outpoint),
    ...(channel.fundingInputs ?? []),
  ]
}

const publishAll = (channel: Channel, env: ChannelEnv): ChannelEffect[] =>
  publications(channel, env).map((publication) => ({ to: 'chain', type: 'publish', publication }))

const watchNew = (before: Channel, after: Channel): ChannelEffect[] => {
  const known = new Set(watched(before).map(outpointKey))
  const outpoints = watched(after).filter((outpoint) => !known.has(outpointKey(outpoint)))
  return outpoints.length === 0 ? [] : [{ to: 'chain', type: 'watch', outpoints }]
}

/** Tells the owner once which transaction is closing the channel, and what is wrong with it. */
const tellClosing = (channel: Channel, how: CloseKind, tx: Tx): OnchainNext => {
  const onchain = channel.onchain ?? NO_ONCHAIN
  if (onchain.toldClosing === txid(tx)) return { channel, effects: [] }
  return {
    channel: { ...channel, onchain: { ...onchain, toldClosing: txid(tx) } },
    effects: [{ to: 'owner', type: 'closing', how, tx }],
  }
}

/** BOLT 5 § General Requirements: the user is warned of what should not have happened. */
const warningOf = (kind: SpendKind, tx: Tx): ChannelEffect[] => {
  const code =
    kind === 'revoked'
      ? 'revoked_commitment_published'
      : kind === 'future'
        ? 'unknown_later_commitment_published'
        : kind === 'unknown'
          ? 'unknown_spend_of_funding'
          : undefined
  return code === undefined ? [] : [{ to: 'owner', type: 'violated', violation: violation(code, { txid: txid(tx) }, 'ignore') }]
}

/**
 * Publishes our latest commitment and leaves the rest to the chain. Nothing is published when the peer proved that we are behind
 * (its commitment is awaited instead), or when nothing is signed yet; what is on chain already stays.
 */
export const forceClose = (channel: Channel, env: ChannelEnv): OnchainNext => {
  const onchain = channel.onchain ?? NO_ONCHAIN
  const isSigned = channel.active.some(({ remoteSignature }) => remoteSignature !== undefined)
  if (channel.phase.name === 'closed' || onchain.spend !== undefined || onchain.forced || !isSigned)
    return { channel, effects: [] }
  if (channel.fellBehind === true)
    return { channel: channel.phase.name === 'closing' ? channel : { ...channel, phase: { name: 'closing' } }, effects: [] }
  const closing = rebid({ ...channel, phase: { name: 'closing' }, onchain: { ...onchain, forced: true } }, env)
  const never = tellNeverSent(closing)
  const published = publishAll(never.channel, env)
  const own = published.flatMap((effect) =>
    effect.type === 'publish' && effect.publication.id.endsWith('/commitment') ? [effect.publication.tx] : [],
  )[0]
  const told = own === undefined ? { channel: never.channel, effects: [] } : tellClosing(never.channel, 'local', own)
  return { channel: told.channel, effects: [...never.effects, ...told.effects, ...published] }
}

const absorb = (state: OnchainNext, tx: Tx, place: Place, input: BlockConnected, env: ChannelEnv): OnchainNext => {
  const learnt = learnPreimages(state.channel, tx)
  const active = fundingSpentBy(learnt.channel, tx)
  const isNew = active !== undefined && learnt.channel.onchain?.spend?.txid !== txid(tx)
  if (!isNew) return { channel: outputsSpent(learnt.channel, tx, place), effects: [...state.effects, ...learnt.effects] }
  const spent = fundingSpent(learnt.channel, active, tx, place, input.past ?? [], env)
  const { kind } = spent.onchain!.spend!
  const told = tellClosing(spent, closeKindOf(kind), tx)
  return {
    channel: told.channel,
    effects: [...state.effects, ...learnt.effects, ...told.effects, ...(told.effects.length === 0 ? [] : warningOf(kind, tx))],
  }
}

/** A block of the best chain, for a channel whose funding is known. Its transactions come in the order of the block. */
export const onchainBlock = (channel: Channel, input: BlockConnected, env: ChannelEnv): OnchainNext => {
  const { height, hash, transactions } = input
  if (channel.phase.name === 'closed') return { channel, effects: [] }
  const seen = transactions.reduce<OnchainNext>((state, { tx }) => absorb(state, tx, { height, hash }, input, env), {
    channel: { ...channel, height },
    effects: [],
  })
  const settled = settle(seen.channel, env)
  const watch = watchNew(channel, settled.channel)
  const effects = [...seen.effects, ...settled.effects, ...watch]
  const isUndecided = settled.channel.phase.name === 'closing' && settled.channel.onchain?.spend === undefined
  if (
    isUndecided &&
    settled.channel.onchain?.forced !== true &&
    mustGoOnChain(settled.channel, height, env.policy) !== undefined
  ) {
    const forced = forceClose(settled.channel, env)
    return { channel: forced.channel, effects: [...effects, ...forced.effects] }
  }
  const bid = rebid(settled.channel, env)
  return { channel: bid, effects: [...effects, ...publishAll(bid, env)] }
}

/** A block has left the best chain: what it held is no fact any more. What follows is published with the next block. */
export const onchainDisconnect = (channel: Channel, input: BlockDisconnected, _env: ChannelEnv): OnchainNext =>
  channel.phase.name === 'closed' ? { channel, effects: [] } : { channel: withoutBlocksFrom(channel, input.height), effects: [] }

/**
 * A closing transaction that reached the mempool before the peer's signature reached us: it has both signatures, so it is agreed on, and
 * the two may still talk about a better one.
 */
const agreedBySight = (channel: Channel, tx: Tx): Channel => {
  const { closing } = channel
  if (closing === undefined || closing.transactions.length >= MAX_CLOSING_TRANSACTIONS) return channel
  if (closing.transactions.some((known) => txid(known) === txid(tx))) return channel
  return { ...channel, closing: { ...closing, transactions: [...closing.transactions, tx] } }
}

/** In the mempool: preimages are taken at once (S9); a spend of the funding output ends the use of the channel. */
export const onchainSeen = (channel: Channel, tx: Tx, env: ChannelEnv): OnchainNext => {
  if (channel.phase.name === 'closed') return { channel, effects: [] }
  const learnt = learnPreimages(channel, tx)
  const active = fundingSpentBy(channel, tx)
  if (active === undefined || channel.onchain?.spend !== undefined) return learnt
  const { kind } = classify(channel, active, tx, env.signer)
  const closing: Channel = { ...learnt.channel, phase: { name: 'closing' } }
  const told = tellClosing(kind === 'mutual' ? agreedBySight(closing, tx) : closing, closeKindOf(kind), tx)
  return {
    channel: told.channel,
    effects: [...learnt.effects, ...told.effects, ...(told.effects.length === 0 ? [] : warningOf(kind, tx))],
  }
}

/**
 * A preimage from the owner for an HTLC that we received: it is claimed with it now, if it is there to be claimed (S7). One that does
 * not fit the HTLC is not kept.
 */
export const onchainPreimage = (
  channel: Channel,
  { htlcId, preimage }: { readonly htlcId: bigint; readonly preimage: Uint8Array },
  env: ChannelEnv,
): OnchainNext => {
  const onchain = channel.onchain ?? NO_ONCHAIN
  const htlc = channel.htlcs.find(({ offeredBy, id }) => offeredBy === 'remote' && id === htlcId)
  const isKnown = onchain.preimages.some((known) => known.htlcId === htlcId)
  if (htlc === undefined || isKnown || bytesToHex(sha256(preimage)) !== htlc.paymentHash) return { channel, effects: [] }
  const before = new Set(publications(channel, env).map(({ id }) => id))
  const preimages = [...onchain.preimages, { htlcId, preimage }]
  const bid = rebid({ ...channel, onchain: { ...onchain, preimages } }, env)
  const effects = publishAll(bid, env).filter((effect) => effect.type === 'publish' && !before.has(effect.publication.id))
  return { channel: bid, effects }
}

/** After a restart: watch and publish what has to be, as it was. */
export const resumeOnchain = (channel: Channel, env: ChannelEnv): readonly ChannelEffect[] => {
  const outpoints = watched(channel)
  return [...(outpoints.length === 0 ? [] : [{ to: 'chain', type: 'watch', outpoints } as const]), ...publishAll(channel, env)]
}
