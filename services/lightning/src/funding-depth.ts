/**
 * How many confirmations a channel needs that somebody else funds, by its value: specs/security-model.md, on the network in force.
 * Only an accepter is at risk: what we fund ourselves nobody can spend twice but we.
 */
import { type BlockHeight, Sat, subsidy, type Network } from '@leyden/bitcoin'
import type { DepthStep } from '@leyden/channel'
import { confirmationSteps } from '@leyden/ledger'
import type { Config } from './config.ts'
import type { NodeConfig } from './node.ts'

/** Blocks of regtest are made at will: no number of them says anything, and tests should not wait. */
const REGTEST_DEPTH = 3

/** Whether what blocks bring keeps anyone from attacking: not where they are signed, nor where coins are worth nothing. */
const hasReward = ({ name, signetChallenge }: Network): boolean => signetChallenge === undefined && name !== 'testnet4'

type Wishes = Pick<Config, 'minimumDepth' | 'attackerPercent' | 'maxLossSat'>

/** What the node is told: one depth for all where the operator says so, else steps that follow the subsidy. */
export const depthOf = (
  { minimumDepth, attackerPercent, maxLossSat }: Wishes,
  network: Network,
): Pick<NodeConfig, 'minimumDepthBlocks' | 'depthSteps'> => {
  if (minimumDepth !== undefined) return { minimumDepthBlocks: minimumDepth }
  if (network.name === 'regtest') return { minimumDepthBlocks: REGTEST_DEPTH }
  const rule = { attackerShare: attackerPercent / 100, maxLossSat: Sat(BigInt(maxLossSat)) }
  let last: { readonly rewardSat: Sat | undefined; readonly steps: readonly DepthStep[] } | undefined
  const depthSteps = (height: BlockHeight): readonly DepthStep[] => {
    const rewardSat = hasReward(network) ? subsidy(height + 1, network) : undefined
    if (last === undefined || last.rewardSat !== rewardSat)
      last = { rewardSat, steps: confirmationSteps(rewardSat === undefined ? rule : { ...rule, rewardSat }) }
    return last.steps
  }
  return { minimumDepthBlocks: REGTEST_DEPTH, depthSteps }
}
