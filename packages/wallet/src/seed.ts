/**
 * From words to a seed. BIP 39, English words.
 * No randomness here: whoever makes a new wallet gives the entropy. Keys of the seed are in keys.ts.
 */
import { entropyToMnemonic, mnemonicToSeedSync, validateMnemonic } from '@scure/bip39'
import { wordlist } from '@scure/bip39/wordlists/english.js'
import { refusal, type Refusal } from './refusal.ts'

/** The words of 16, 20, 24, 28 or 32 bytes of entropy: 12 to 24 of them, apart by one space. Throws RangeError on another length. */
export const mnemonicFromEntropy = (entropy: Uint8Array): string => {
  if (![16, 20, 24, 28, 32].includes(entropy.length)) throw new RangeError(`entropy of ${entropy.length} bytes`)
  return entropyToMnemonic(entropy, wordlist)
}

/** As a person may type it: any case, any white space. */
const normalize = (mnemonic: string): string => mnemonic.normalize('NFKD').trim().toLowerCase().split(/\s+/).join(' ')

/** Whether words, count and checksum are right. BIP 39 § Generating the mnemonic. */
export const isValidMnemonic = (mnemonic: string): boolean => validateMnemonic(normalize(mnemonic), wordlist)

/** The 64 bytes that BIP 32 starts from. The passphrase is free text; another one is another wallet. BIP 39 § From mnemonic to seed. */
export const seedFromMnemonic = (mnemonic: string, passphrase = ''): Uint8Array | Refusal =>
  isValidMnemonic(mnemonic) ? mnemonicToSeedSync(normalize(mnemonic), passphrase) : refusal('invalid_mnemonic')
