import { Sat } from '@leyden/bitcoin'
import type { ChannelType } from '@leyden/channel'
import { describe, expect, it } from 'vitest'
import { reserveSat } from './reserve.ts'

const channels = (count: number, capacitySat: bigint, format: ChannelType['format'] = 'anchors') =>
  Array.from({ length: count }, () => ({
    capacitySat: Sat(capacitySat),
    type: { format, scidAlias: false, zeroConf: false },
  }))

describe('the reserve for fees', () => {
  it('S46: grows with every channel that has anchors, beyond ten too', () => {
    expect([0, 1, 10, 11, 1000].map((count) => reserveSat(channels(count, 2_000_000n)))).toEqual([
      0n,
      10_000n,
      100_000n,
      110_000n,
      10_000_000n,
    ])
  })

  it('is above 100,000 sat no more than a hundredth of what the channels hold', () => {
    expect(reserveSat(channels(30, 20_000n))).toBe(100_000n)
    expect(reserveSat(channels(30, 500_000n))).toBe(150_000n)
    expect(reserveSat([...channels(30, 500_000n), ...channels(1, 10_000_000n)])).toBe(250_000n)
  })

  it('is nothing for channels whose commitments pay for themselves', () => {
    expect(reserveSat(channels(30, 1_000_000n, 'static_remotekey'))).toBe(0n)
  })
})
