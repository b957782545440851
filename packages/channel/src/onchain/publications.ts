/**
 * What has to get into the chain now. It follows from the facts in `onchain` and from our bids; nothing of it is stored, so it is the
 * same after a restart. Everything is published again at each block until it, or something else in its place, is confirmed (S9, S20).
 * BOLT 5 § Failing a Channel.
 */
import { BlockHeight, FeeratePerKw, Sat, type Tx } from '@leyden/bitcoin'
import type { Publication } from '../effect.ts'
import type { ChannelEnv, ChannelPolicy, Signer } from '../env.ts'
import type { Channel } from '../state.ts'
import { localCommitment, type BuiltCommitment } from '../transactions/commitment.ts'
import { anchorScript } from '../transactions/scripts.ts'
import { signedLocalCommitment } from '../transactions/signatures.ts'
import { COMMITMENT_WEIGHT, HTLC_OUTPUT_WEIGHT } from '../transactions/weight.ts'
import { nextBid } from './bump.ts'
import { claimId, claimOf, publicationOf, type Claim } from './claim.ts'
import { closingPublications, spendPublication } from './mutual.ts'
import { preimageFor } from './preimage.ts'
import type { Onchain } from './state.ts'

/** Name of the bid for our own commitment and the child that pays for it. */
const COMMITMENT_BID = 'commitment'

/** A child with one wallet input and one change output, about: what the package weighs beside the commitment. */
const CHILD_WEIGHT = 700

/** Claims that can be made on the present tip. S18: an output that is spent in the chain is left alone. */
const openClaims = (channel: Channel, onchain: Onchain, policy: ChannelPolicy, signer: Signer): Claim[] => {
  const { spend } = onchain
  if (spend === undefined) return []
  return onchain.outputs.flatMap((output) => {
    if (output.spent !== undefined) return []
    const claim = claimOf(channel, spend, output, policy, signer)
    return claim !== undefined && channel.height >= claim.from ? [claim] : []
  })
}

/** What a claim pays that nobody can change any more: an HTLC transaction that the remote has signed whole. */
const fixedFeerate = (channel: Channel, claim: Claim): FeeratePerKw | undefined => {
  if (claim.how === 'direct' || channel.type.format === 'anchors') return undefined
  const feeSat = claim.output.valueSat - claim.tx.outputs.reduce((sum, { value }) => sum + value, 0n)
  return FeeratePerKw(Number((feeSat * 1000n) / BigInt(claim.weight)))
}

/** One P2WPKH input and one P2WPKH output, about: what the wallet adds to an HTLC transaction that pays no fee itself. */
const WALLET_SHARE_WEIGHT = 272 + 124

/** What the fee of a claim is paid for. */
const paidWeight = (channel: Channel, claim: Claim): number =>
  claim.how === 'htlcTransaction' && channel.type.format === 'anchors' ? claim.weight + WALLET_SHARE_WEIGHT : claim.weight

const bidFor = (channel: Channel, claim: Claim, previous: FeeratePerKw | undefined, env: ChannelEnv): FeeratePerKw | undefined =>
  fixedFeerate(channel, claim) ??
  nextBid({
    previous,
    market: env.feerates.claim,
    minimum: env.feerates.minimum,
    budgetSat: claim.budgetSat,
    weight: paidWeight(channel, claim),
    ...(claim.deadline === undefined
      ? { blocksLeft: undefined }
      : { blocksLeft: claim.deadline - channel.height, blocksGiven: claim.deadline - claim.from }),
  })

/** Whether fees leave something of a claim. */
export const isWorthClaiming = (channel: Channel, claim: Claim, onchain: Onchain, env: ChannelEnv): boolean =>
  fixedFeerate(channel, claim) !== undefined ||
  onchain.bids[claimId(claim.output)] !== undefined ||
  claim.budgetSat * 1000n >= BigInt(env.feerates.minimum) * BigInt(paidWeight(channel, claim))

interface OwnCommitment {
  readonly built: BuiltCommitment
  readonly tx: Tx
  readonly budgetSat: Sat
  readonly deadline?: BlockHeight
}

/** Our latest commitment, what its confirmation may cost and by when it is needed. */
const ownCommitment = (channel: Channel, policy: ChannelPolicy, signer: Signer): OwnCommitment | undefined => {
  const active = channel.active.at(-1)
  if (active === undefined) return undefined
  const built = localCommitment(channel, active, 'local', signer)
  const tx = signedLocalCommitment(channel, active, built, signer)
  if (tx === undefined) return undefined
  const urgent = built.htlcs.filter(({ htlc }) => htlc.direction === 'offered' || preimageFor(channel, htlc.id) !== undefined)
  const deadlines = urgent.map(({ htlc }) =>
    htlc.direction === 'offered' ? htlc.cltvExpiry + policy.fulfillDeadlineBlocks : htlc.cltvExpiry,
  )
  const htlcs = urgent.reduce((sum, { valueSat }) => sum + valueSat, 0n)
  const toLocal = built.toLocalIndex === undefined ? 0n : (built.tx.outputs[built.toLocalIndex]?.value ?? 0n)
  return {
    built,
    tx,
    budgetSat: Sat(htlcs / 2n + toLocal / 10n),
    ...(deadlines.length === 0 ? {} : { deadline: BlockHeight(Math.min(...deadlines)) }),
  }
}

const commitmentWeight = ({ built }: OwnCommitment): number =>
  COMMITMENT_WEIGHT[built.terms.format] + HTLC_OUTPUT_WEIGHT * built.htlcs.length

const commitmentBid = (channel: Channel, own: OwnCommitment, previous: FeeratePerKw | undefined, env: ChannelEnv) =>
  nextBid({
    previous,
    market: env.feerates.claim,
    minimum: env.feerates.minimum,
    budgetSat: own.budgetSat,
    weight: commitmentWeight(own) + CHILD_WEIGHT,
    blocksLeft: own.deadline === undefined ? undefined : own.deadline - channel.height,
  })

/**
 * Our commitment, with its anchor where that is needed to reach the bid. Not before its funding is in the chain: an opener that never
 * publishes it would have coins of ours tied up in a child that cannot be mined.
 */
const commitmentPublication = (channel: Channel, own: OwnCommitment, bid: FeeratePerKw | undefined): Publication => {
  const { built, tx, budgetSat, deadline } = own
  const paid = FeeratePerKw(Number((built.feeSat * 1000n) / BigInt(commitmentWeight(own))))
  const common = {
    id: `${channel.channelId}/${COMMITMENT_BID}`,
    channelId: channel.channelId,
    tx,
    spentValuesSat: [channel.capacitySat],
    ...(deadline === undefined ? {} : { deadline }),
    budgetSat,
  }
  const isFunded = channel.active.at(-1)?.funding.confirmed !== undefined
  if (!isFunded || built.holderAnchorIndex === undefined || bid === undefined || bid <= paid)
    return { ...common, kind: 'whole', feeratePerKw: paid }
  return {
    ...common,
    kind: 'anchor',
    feeratePerKw: bid,
    anchorIndex: built.holderAnchorIndex,
    anchorScript: anchorScript(channel.local.fundingPubkey),
    keyIndex: channel.keyIndex,
    ...(channel.forkId === undefined ? {} : { forkId: channel.forkId }),
    parentFeeSat: built.feeSat,
  }
}

/** The channel with its bids as they should be on the present tip; the same channel when none moved. */
export const rebid = (channel: Channel, env: ChannelEnv): Channel => {
  const { onchain } = channel
  if (onchain === undefined) return channel
  const bids: Record<string, FeeratePerKw> = { ...onchain.bids }
  for (const claim of openClaims(channel, onchain, env.policy, env.signer)) {
    const id = claimId(claim.output)
    const bid = bidFor(channel, claim, bids[id], env)
    if (bid !== undefined) bids[id] = bid
  }
  const own = onchain.forced && onchain.spend === undefined ? ownCommitment(channel, env.policy, env.signer) : undefined
  const bid = own && commitmentBid(channel, own, bids[COMMITMENT_BID], env)
  if (bid !== undefined) bids[COMMITMENT_BID] = bid
  return Object.entries(bids).every(([id, rate]) => onchain.bids[id] === rate)
    ? channel
    : { ...channel, onchain: { ...onchain, bids } }
}

/** All that has to get into the chain now, at the bids that are stored. */
export const publications = (channel: Channel, env: ChannelEnv): Publication[] => {
  if (channel.phase.name === 'closed') return []
  const { onchain } = channel
  if (onchain?.spend !== undefined) {
    const { spend } = onchain
    return openClaims(channel, onchain, env.policy, env.signer).flatMap((claim) => {
      const bid = onchain.bids[claimId(claim.output)]
      return bid === undefined ? [] : [publicationOf(channel, spend, claim, bid, env.signer)]
    })
  }
  const closings = closingPublications(channel)
  const own = onchain?.forced === true ? ownCommitment(channel, env.policy, env.signer) : undefined
  const displaced = onchain?.displaced === undefined ? undefined : spendPublication(channel, onchain.displaced)
  return [
    ...closings,
    ...(displaced === undefined || closings.some(({ id }) => id === displaced.id) ? [] : [displaced]),
    ...(own === undefined ? [] : [commitmentPublication(channel, own, onchain?.bids[COMMITMENT_BID])]),
  ]
}
