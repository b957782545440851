import { describe, expect, it } from 'vitest'
import { networks } from '@leyden/bitcoin'
import { withActivationHeights } from './activation.ts'

const { regtest, testnet4 } = networks

describe('activation heights', () => {
  it('move the rules of regtest', () => {
    expect(withActivationHeights(regtest, [])).toBe(regtest)
    expect(withActivationHeights(regtest, ['bip34@2', 'dersig@102', 'cltv@111', 'csv@432', 'segwit@0'])).toEqual({
      ...regtest,
      bip34Height: 2,
      bip66Height: 102,
      bip65Height: 111,
      csvHeight: 432,
      segwitHeight: 0,
    })
  })
  it('are refused when they say nothing, and on networks that others share', () => {
    expect(() => withActivationHeights(regtest, ['segwit'])).toThrow('Invalid format (segwit) for -testactivationheight')
    expect(() => withActivationHeights(regtest, ['segwit@x'])).toThrow('Invalid height value (segwit@x)')
    expect(() => withActivationHeights(regtest, ['segwit@-1'])).toThrow('Invalid height value')
    expect(() => withActivationHeights(regtest, ['segwit@2147483647'])).toThrow('Invalid height value')
    expect(() => withActivationHeights(regtest, ['bip31@1'])).toThrow('Invalid name (bip31@1)')
    expect(() => withActivationHeights(testnet4, ['csv@5'])).toThrow('testnet4')
  })
})
