/** Heights from which rules hold, moved on regtest for tests: bitcoind's -testactivationheight (chainparams.cpp). */
import type { Network } from '@leyden/bitcoin'
import { ConfigError } from './config.ts'

const FIELDS = {
  bip34: 'bip34Height',
  dersig: 'bip66Height',
  cltv: 'bip65Height',
  csv: 'csvHeight',
  segwit: 'segwitHeight',
} as const satisfies Record<string, keyof Network>

const MAX_HEIGHT = 2 ** 31 - 2

/** The network with `name@height` applied. Throws {@link ConfigError} in bitcoind's words. */
export const withActivationHeights = (network: Network, list: readonly string[]): Network => {
  if (list.length === 0) return network
  if (network.name !== 'regtest') throw new ConfigError(`activationHeights: the rules of ${network.name} hold when they hold`)
  const heights: Partial<Record<(typeof FIELDS)[keyof typeof FIELDS], number>> = {}
  for (const item of list) {
    const [name, text] = item.includes('@') ? (item.split('@', 2) as [string, string]) : [item, undefined]
    if (text === undefined) throw new ConfigError(`Invalid format (${item}) for -testactivationheight=name@height.`)
    const height = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN
    if (!(height >= 0 && height <= MAX_HEIGHT))
      throw new ConfigError(`Invalid height value (${item}) for -testactivationheight=name@height.`)
    const field = Object.entries(FIELDS).find(([known]) => known === name)?.[1]
    if (field === undefined) throw new ConfigError(`Invalid name (${item}) for -testactivationheight=name@height.`)
    heights[field] = height
  }
  return { ...network, ...heights }
}
