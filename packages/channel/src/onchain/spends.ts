/**
 * Taking facts from confirmed transactions: what spent the funding output, and what spent the outputs that came of it.
 * BOLT 5 § Unilateral Close Handling, § Revoked Transaction Close Handling.
 */
import { unreachable } from '@leyden/codec'
import { outpointKey, txid, type BlockHash, type BlockHeight, type Tx } from '@leyden/bitcoin'
import type { ChannelEnv } from '../env.ts'
import type { Active, Channel, PastHtlc, Side } from '../state.ts'
import { other } from '../transactions/spec.ts'
import { classify, type Classified } from './classify.ts'
import { localOutputs, secondStageOutputs } from './local.ts'
import { remoteOutputs, toRemoteOutputs } from './remote.ts'
import { revokedOutputs } from './revoked.ts'
import { NO_ONCHAIN, type FundingSpend, type Onchain, type OnchainOutput, type OutputSpend } from './state.ts'

/** Where in the chain a transaction is. */
export interface Place {
  readonly height: BlockHeight
  readonly hash: BlockHash
}

const factsOf = (
  channel: Channel,
  active: Active,
  tx: Tx,
  found: Classified,
  past: readonly PastHtlc[],
  height: BlockHeight,
): { readonly outputs: OnchainOutput[]; readonly number?: number; readonly perCommitmentPoint?: Uint8Array } => {
  switch (found.kind) {
    case 'mutual':
      return { outputs: [] }
    case 'local':
    case 'remote':
    case 'remoteSigned': {
      const { number, keys } = found.built.terms
      const outputs =
        found.kind === 'local' ? localOutputs(active, found.built, height) : remoteOutputs(channel, found.built, height)
      return { outputs, number, perCommitmentPoint: keys.perCommitmentPoint }
    }
    case 'revoked': {
      const { number, perCommitmentPoint } = found
      return { outputs: revokedOutputs(channel, { tx, number, perCommitmentPoint }, past, height), number, perCommitmentPoint }
    }
    case 'future':
      return { outputs: toRemoteOutputs(channel, tx, height), number: found.number }
    case 'unknown':
      return { outputs: toRemoteOutputs(channel, tx, height) }
    default:
      return unreachable(found)
  }
}

/** The channel knowing that `tx` spent its funding output. Whatever was known of another spend is void: only one can be in the chain. */
export const fundingSpent = (
  channel: Channel,
  active: Active,
  tx: Tx,
  place: Place,
  past: readonly PastHtlc[],
  env: ChannelEnv,
): Channel => {
  const { displaced: _, ...onchain } = channel.onchain ?? NO_ONCHAIN
  const found = classify(channel, active, tx, env.signer)
  const { outputs, ...commitment } = factsOf(channel, active, tx, found, past, place.height)
  const spend: FundingSpend = { kind: found.kind, tx, txid: txid(tx), ...place, ...commitment }
  return { ...channel, phase: { name: 'closing' }, onchain: { ...onchain, spend, outputs } }
}

/** By the shape of the witness that BOLT 3 prescribes: an outpoint alone does not say who spent it (S17). `holder` has the commitment. */
const spentBy = (output: OnchainOutput, witness: readonly Uint8Array[], holder: Side): Pick<OutputSpend, 'by' | 'branch'> => {
  const { path, htlc } = output
  if (path.by === 'payment') return { by: 'local', branch: 'payment' }
  if (htlc === undefined) {
    const branch = witness.length !== 3 ? 'other' : witness[1]!.length === 0 ? 'delay' : 'revocation'
    return branch === 'delay' ? { by: holder, branch } : { by: other(holder), branch }
  }
  if (witness.length === 5) return { by: holder, branch: witness[3]!.length === 32 ? 'success' : 'timeout' }
  const middle = witness.length === 3 ? witness[1]!.length : undefined
  const branch = middle === 0 ? 'expired' : middle === 32 ? 'preimage' : middle === 33 ? 'revocation' : 'other'
  return { by: other(holder), branch }
}

/** How the outputs of an HTLC transaction are claimed by us, if they are. */
const secondStagePath = (
  output: OnchainOutput,
  channel: Channel,
): { path: OnchainOutput['path']; script: Uint8Array } | undefined => {
  const { path } = output
  if (path.by === 'htlcTransaction')
    return { path: { by: 'delay', delayBlocks: channel.local.toSelfDelayBlocks }, script: path.secondScript }
  if (path.by === 'revocation' && path.of === 'htlc')
    return { path: { by: 'revocation', of: 'toLocal', secondScript: path.secondScript }, script: path.secondScript }
  return undefined
}

/** The channel knowing which of its outputs `tx` spent, and which new ones came of it. The same channel when none. */
export const outputsSpent = (channel: Channel, tx: Tx, { height }: Place): Channel => {
  const { onchain } = channel
  if (onchain?.spend === undefined || onchain.outputs.length === 0) return channel
  const holder: Side = onchain.spend.kind === 'local' ? 'local' : 'remote'
  const witnesses = new Map(tx.inputs.map(({ outpoint, witness }) => [outpointKey(outpoint), witness]))
  const made: OnchainOutput[] = []
  let changed = false
  const outputs = onchain.outputs.map((output) => {
    const witness = witnesses.get(outpointKey(output.outpoint))
    if (witness === undefined) return output
    changed = true
    const spent: OutputSpend = { txid: txid(tx), height, ...spentBy(output, witness, holder) }
    const second = spent.branch === 'success' || spent.branch === 'timeout' ? secondStagePath(output, channel) : undefined
    if (second !== undefined)
      made.push(...secondStageOutputs(tx, second.script, height, second.path, [...onchain.outputs, ...made]))
    return { ...output, spent }
  })
  return changed ? { ...channel, onchain: { ...onchain, outputs: [...outputs, ...made] } } : channel
}

/** The facts without those of blocks from `height` on. Bids, preimages and what the owner was told stay. */
export const withoutBlocksFrom = (channel: Channel, height: BlockHeight): Channel => {
  const { onchain } = channel
  if (onchain === undefined) return channel
  const { spend, ...rest } = onchain
  if (spend !== undefined && spend.height >= height) {
    const gone: Onchain =
      spend.kind === 'local' || spend.kind === 'revoked'
        ? { ...rest, outputs: [], forced: channel.fellBehind !== true }
        : { ...rest, outputs: [], ...(spend.kind === 'unknown' ? {} : { displaced: spend.tx }) }
    return { ...channel, onchain: gone }
  }
  const outputs = onchain.outputs
    .filter(({ createdAt }) => createdAt < height)
    .map((output) => {
      if (output.spent === undefined || output.spent.height < height) return output
      const { spent: _, ...unspent } = output
      return unspent
    })
  return { ...channel, onchain: { ...onchain, outputs } }
}
