/**
 * Turning an output into a transaction that claims it. BOLT 5, one claim per output; BOLT 3 for scripts and witnesses.
 * Claims are not joined: a joint one can be pinned or broken by whoever may spend one of its inputs (S6), and every output keeps
 * its own deadline and its own bid (S8).
 * Under anchors an HTLC transaction of ours pays no fee: its publication leaves inputs, change and the last signature to the wallet.
 */
import { unreachable } from '@leyden/codec'
import {
  BlockHeight,
  feeForWeight,
  forkSighashType,
  outpointKey,
  p2pkhOf,
  Sat,
  SIGHASH,
  sighashV0,
  txWeight,
  type FeeratePerKw,
  type Tx,
} from '@leyden/bitcoin'
import type { Publication } from '../effect.ts'
import type { ChannelPolicy, KeyUse, Signer } from '../env.ts'
import type { Channel } from '../state.ts'
import { unsignedInput } from '../transactions/commitment.ts'
import { holderHtlcSighash, otherSighashType, withWitness } from '../transactions/htlc-tx.ts'
import {
  delayedWitness,
  expiredWitness,
  htlcTransactionWitness,
  preimageWitness,
  revokedDelayedWitness,
  revokedHtlcWitness,
  toRemoteWitness,
} from '../transactions/scripts.ts'
import { findSecret } from '../transactions/shachain.ts'
import { dustThreshold, HTLC_SUCCESS_WEIGHT, HTLC_TIMEOUT_WEIGHT } from '../transactions/weight.ts'
import { preimageFor } from './preimage.ts'
import type { FundingSpend, OnchainOutput } from './state.ts'

/** Signals replacement and no relative lock. BIP 125. */
const SEQUENCE_RBF = 0xffff_fffd

/** A DER signature of the greatest length without its type, to weigh a claim before it is signed. */
const LONGEST_SIGNATURE = (() => {
  const compact = new Uint8Array(64)
  compact[0] = 0x80
  compact[32] = 0x80
  return compact
})()

/** How one output is spent by a transaction that holds nothing else. */
interface Direct {
  readonly sequence: number
  readonly lockTime: number
  readonly use: KeyUse
  readonly scriptCode: Uint8Array
  readonly witness: (signature: Uint8Array) => readonly Uint8Array[]
}

/** A claim that can be made, from some height on. */
export type Claim = {
  readonly output: OnchainOutput
  /** The first tip on which a node accepts it. */
  readonly from: BlockHeight
  readonly deadline?: BlockHeight
  readonly weight: number
  readonly budgetSat: Sat
} & (
  | { readonly how: 'direct'; readonly direct: Direct }
  | {
      readonly how: 'htlcTransaction'
      readonly tx: Tx
      readonly remoteSignature: Uint8Array
      readonly preimage?: Uint8Array
    }
)

const directTx = (output: OnchainOutput, direct: Direct, valueSat: Sat, destination: Uint8Array): Tx => ({
  version: 2,
  inputs: [unsignedInput(output.outpoint, direct.sequence)],
  outputs: [{ value: valueSat, scriptPubKey: destination }],
  lockTime: direct.lockTime,
})

const directWeight = (output: OnchainOutput, direct: Direct, destination: Uint8Array): number =>
  txWeight(withWitness(directTx(output, direct, Sat(0n), destination), 0, direct.witness(LONGEST_SIGNATURE)))

/** The key that a commitment's point gives us. */
const pointOf = (spend: FundingSpend): Uint8Array => {
  if (spend.perCommitmentPoint === undefined) throw new Error('an output of a commitment without a point')
  return spend.perCommitmentPoint
}

/** The witness and locks of a claim by our own transaction; undefined while we may not make one. */
const directOf = (channel: Channel, spend: FundingSpend, output: OnchainOutput, signer: Signer): Direct | undefined => {
  const { path, htlc, witnessScript } = output
  const anchors = channel.type.format === 'anchors'
  const afterOne = anchors ? 1 : SEQUENCE_RBF
  switch (path.by) {
    case 'delay':
      return {
        sequence: path.delayBlocks,
        lockTime: 0,
        use: { key: 'delayed', perCommitmentPoint: pointOf(spend) },
        scriptCode: witnessScript,
        witness: (signature) => delayedWitness(signature, witnessScript),
      }
    case 'payment': {
      const { paymentBasepoint } = channel.local
      return {
        sequence: afterOne,
        lockTime: 0,
        use: { key: 'payment' },
        scriptCode: anchors ? witnessScript : p2pkhOf(paymentBasepoint),
        witness: (signature) => toRemoteWitness(channel.type.format, signature, paymentBasepoint),
      }
    }
    case 'htlcKey': {
      if (htlc === undefined) return undefined
      const preimage = htlc.offeredBy === 'remote' ? preimageFor(channel, htlc.id) : undefined
      if (htlc.offeredBy === 'remote' && preimage === undefined) return undefined
      return {
        sequence: afterOne,
        lockTime: htlc.offeredBy === 'local' ? htlc.cltvExpiry : 0,
        use: { key: 'htlc', perCommitmentPoint: pointOf(spend) },
        scriptCode: witnessScript,
        witness: (signature) =>
          preimage === undefined ? expiredWitness(signature, witnessScript) : preimageWitness(signature, preimage, witnessScript),
      }
    }
    case 'revocation': {
      const perCommitmentSecret = spend.number === undefined ? undefined : findSecret(channel.revocations, spend.number)
      if (perCommitmentSecret === undefined) throw new Error('a revoked commitment without its secret')
      const use: KeyUse = { key: 'revocation', perCommitmentSecret }
      return {
        sequence: SEQUENCE_RBF,
        lockTime: 0,
        use,
        scriptCode: witnessScript,
        witness: (signature) =>
          path.of === 'htlc'
            ? revokedHtlcWitness(signature, signer.publicKey(channel.keyIndex, use), witnessScript)
            : revokedDelayedWitness(signature, witnessScript),
      }
    }
    case 'htlcTransaction':
      return undefined
    default:
      return unreachable(path)
  }
}

/** The tip on which a claim is accepted: locks are met in the block after it. BIP 65, BIP 112. */
const availableFrom = (channel: Channel, output: OnchainOutput): BlockHeight => {
  const { path, htlc, createdAt } = output
  const relative = path.by === 'delay' ? path.delayBlocks : path.by === 'revocation' || channel.type.format !== 'anchors' ? 0 : 1
  const absolute = htlc?.offeredBy === 'local' && path.by !== 'revocation' ? htlc.cltvExpiry : 0
  return BlockHeight(Math.max(createdAt + Math.max(0, relative - 1), absolute))
}

/** When somebody else can take the output, or when an HTLC upstream begins to hurt. */
const deadlineOf = (channel: Channel, output: OnchainOutput, policy: ChannelPolicy): BlockHeight | undefined => {
  const { path, htlc, createdAt } = output
  if (path.by === 'revocation') return BlockHeight(createdAt + channel.remote.toSelfDelayBlocks)
  if (htlc === undefined) return undefined
  return BlockHeight(htlc.offeredBy === 'remote' ? htlc.cltvExpiry : htlc.cltvExpiry + policy.fulfillDeadlineBlocks)
}

/** Half of what is claimed may go to fees; all of what a cheater leaves. An output must stay above dust. */
const budgetOf = (output: OnchainOutput, destination: Uint8Array): Sat => {
  const share = output.path.by === 'revocation' ? output.valueSat : Sat(output.valueSat / 2n)
  if (output.path.by === 'htlcTransaction') return share
  const aboveDust = output.valueSat - dustThreshold(destination)
  return aboveDust < 0n ? Sat(0n) : aboveDust < share ? Sat(aboveDust) : share
}

/** How to claim an output of ours; undefined while we cannot: no preimage, or nothing to claim. */
export const claimOf = (
  channel: Channel,
  spend: FundingSpend,
  output: OnchainOutput,
  policy: ChannelPolicy,
  signer: Signer,
): Claim | undefined => {
  const deadline = deadlineOf(channel, output, policy)
  const common = {
    output,
    from: availableFrom(channel, output),
    ...(deadline === undefined ? {} : { deadline }),
    budgetSat: budgetOf(output, channel.destinationScript),
  }
  const { path, htlc } = output
  if (path.by !== 'htlcTransaction') {
    const direct = directOf(channel, spend, output, signer)
    return direct && { ...common, how: 'direct', direct, weight: directWeight(output, direct, channel.destinationScript) }
  }
  if (htlc === undefined) return undefined
  const { tx, remoteSignature } = path
  const { format } = channel.type
  if (htlc.offeredBy === 'local')
    return { ...common, how: 'htlcTransaction', tx, remoteSignature, weight: HTLC_TIMEOUT_WEIGHT[format] }
  const preimage = preimageFor(channel, htlc.id)
  return preimage && { ...common, how: 'htlcTransaction', tx, remoteSignature, preimage, weight: HTLC_SUCCESS_WEIGHT[format] }
}

/** Names a claim over all its bids. */
export const claimId = (output: OnchainOutput): string => outpointKey(output.outpoint)

const signDirect = (channel: Channel, claim: Claim & { how: 'direct' }, feeratePerKw: FeeratePerKw, signer: Signer): Tx => {
  const { output, direct, weight } = claim
  const fee = feeForWeight(feeratePerKw, weight)
  const tx = directTx(output, direct, Sat(output.valueSat - fee), channel.destinationScript)
  const hash = sighashV0(tx, 0, direct.scriptCode, output.valueSat, forkSighashType(SIGHASH.all, channel.forkId ?? 0))
  return withWitness(tx, 0, direct.witness(signer.sign(channel.keyIndex, direct.use, hash)))
}

/** The transaction of a claim at a bid, ready for the chain or for the wallet. */
export const publicationOf = (
  channel: Channel,
  spend: FundingSpend,
  claim: Claim,
  feeratePerKw: FeeratePerKw,
  signer: Signer,
): Publication => {
  const { output, deadline, budgetSat } = claim
  const common = {
    id: `${channel.channelId}/${claimId(output)}`,
    channelId: channel.channelId,
    spentValuesSat: [output.valueSat],
    feeratePerKw,
    ...(deadline === undefined ? {} : { deadline }),
    budgetSat,
  }
  if (claim.how === 'direct') return { ...common, kind: 'whole', tx: signDirect(channel, claim, feeratePerKw, signer) }
  const { tx, remoteSignature, preimage } = claim
  const perCommitmentPoint = pointOf(spend)
  if (channel.type.format === 'anchors')
    return {
      ...common,
      kind: 'htlc',
      tx,
      keyIndex: channel.keyIndex,
      ...(channel.forkId === undefined ? {} : { forkId: channel.forkId }),
      perCommitmentPoint,
      witnessScript: output.witnessScript,
      remoteSignature,
      ...(preimage === undefined ? {} : { preimage }),
      weight: claim.weight,
    }
  const hash = holderHtlcSighash(output, tx, 0, channel.forkId)
  const signature = signer.sign(channel.keyIndex, { key: 'htlc', perCommitmentPoint }, hash)
  const type = otherSighashType(channel.type.format)
  const witness = htlcTransactionWitness(remoteSignature, type, signature, preimage, output.witnessScript)
  return { ...common, kind: 'whole', tx: withWitness(tx, 0, witness) }
}
