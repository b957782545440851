import { describe, expect, it } from 'vitest'
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { isRefusal, isValidMnemonic, mnemonicFromEntropy, seedFromMnemonic } from './index.ts'

/** BIP 39 § Test vectors (python-mnemonic's vectors.json): entropy, words, seed with the passphrase TREZOR. */
const VECTORS = [
  [
    '00000000000000000000000000000000',
    'abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about',
    'c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04',
  ],
  [
    '7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f',
    'legal winner thank year wave sausage worth useful legal winner thank yellow',
    '2e8905819b8723fe2c1d161860e5ee1830318dbf49a83bd451cfb8440c28bd6fa457fe1296106559a3c80937a1c1069be3a3a5bd381ee6260e8d9739fce1f607',
  ],
  [
    'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
    'zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo vote',
    'dd48c104698c30cfe2b6142103248622fb7bb0ff692eebb00089b32d22484e1613912f0a5b694407be899ffd31ed3992c456cdf60f5d4564b8ba3f05a69890ad',
  ],
] as const

describe('BIP 39', () => {
  it.each(VECTORS)('makes the words and the seed of %s', (entropy, words, seed) => {
    expect(mnemonicFromEntropy(hexToBytes(entropy))).toBe(words)
    expect(bytesToHex(seedFromMnemonic(words, 'TREZOR') as Uint8Array)).toBe(seed)
  })

  it('takes words as people type them', () => {
    const typed = `  ${VECTORS[1][1].toUpperCase().replaceAll(' ', '\n ')} `
    expect(isValidMnemonic(typed)).toBe(true)
    expect(seedFromMnemonic(typed, 'TREZOR')).toEqual(hexToBytes(VECTORS[1][2]))
  })

  it.each([
    ['a wrong checksum', 'abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon'],
    ['a word that is none', 'abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon leyden'],
    ['too few words', 'abandon about'],
    ['nothing', ''],
  ])('refuses %s', (_, words) => {
    const refused = seedFromMnemonic(words)
    expect(isRefusal(refused) && refused.code).toBe('invalid_mnemonic')
  })

  it('refuses entropy of a length that BIP 39 does not know', () => {
    expect(() => mnemonicFromEntropy(new Uint8Array(15))).toThrow(RangeError)
    expect(() => mnemonicFromEntropy(new Uint8Array(64))).toThrow(RangeError)
  })
})
