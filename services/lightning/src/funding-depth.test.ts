import { BlockHeight, customNetwork, networks, Sat, type Network } from '@leyden/bitcoin'
import { describe, expect, it } from 'vitest'
import { depthOf } from './funding-depth.ts'

const wishes = { minimumDepth: undefined, attackerPercent: 10, maxLossSat: 10_000 }
const own = (fields: Partial<Network>): Network =>
  customNetwork(networks.regtest, { name: 'harbour', magic: Uint8Array.of(1, 2, 3, 4), ...fields })
/** The depth of a channel of this value; undefined: none is enough. */
const depth = (network: Network, value: bigint, more: Partial<typeof wishes> = {}, height = 1): number | undefined => {
  const { depthSteps, minimumDepthBlocks } = depthOf({ ...wishes, ...more }, network)
  return depthSteps === undefined
    ? minimumDepthBlocks
    : depthSteps(BlockHeight(height)).find(({ mostSat }) => value <= mostSat)?.blocks
}

describe('the confirmations that we ask of a channel', () => {
  const values = [20_000n, 500_000n, 1_000_000n, 5_000_000n, 16_777_215n, 100_000_000n]

  it('are those of the security model on the main network', () => {
    expect(values.map((value) => depth(networks.mainnet, value, {}, 900_000))).toEqual([3, 3, 4, 5, 6, 8])
  })

  it('follow the operator: another attacker, another loss, or one number for all', () => {
    expect(depth(networks.mainnet, 1_000_000n, { attackerPercent: 30 }, 900_000)).toBe(20)
    expect(depth(networks.mainnet, 100_000_000n, { maxLossSat: 100_000 }, 900_000)).toBe(6)
    expect(values.map((value) => depth(networks.mainnet, value, { minimumDepth: 2 as never }))).toEqual(values.map(() => 2))
  })

  it('are three on regtest, whatever the value', () => {
    expect(depth(networks.regtest, 1_000_000_000n)).toBe(3)
  })

  it('grow on a ledger of one’s own as its blocks bring less, until none is enough', () => {
    const network = own({ initialSubsidy: Sat(10_000n), subsidyHalvingInterval: 10 })
    expect([1, 10, 20, 60].map((height) => depth(network, 1_000_000n, {}, height))).toEqual([6, 6, 7, 9])
    expect(depth(network, 1_000_000n, {}, 200)).toBeUndefined()
  })

  it('do not depend on rewards where blocks are signed', () => {
    const network = own({ initialSubsidy: Sat(1n), signetChallenge: Uint8Array.of(0x51) })
    expect(depth(network, 1_000_000n)).toBe(4)
  })
})
