import { describe, expect, it } from 'vitest'
import { addressError } from './address-error.ts'
import { networks } from './networks.ts'

describe('what is wrong with an address', () => {
  /** From Bitcoin Core's rpc_invalid_address_message.py. */
  it.each([
    ['bcrt1q049edschfnwystcqnsvyfpj23mpsg3jcedq9xv', 'Invalid Bech32 checksum', [9]],
    ['bcrt1qax9suht3qv95sw33xavx8crpxduefdrsvgsklu', 'Invalid Bech32 checksum', [22, 43]],
    ['BCRT1QPLMTZKC2XHARPPZDLNPAQL78RSHJ68U32RAH7R', 'Invalid Bech32 checksum', [38]],
    ['bcrtq049ldschfnwystcqnsvyfpj23mpsg3jcedq9xv', 'Missing separator', []],
    ['bcrt1q04oldschfnwystcqnsvyfpj23mpsg3jcedq9xv', 'Invalid Base 32 character', [8]],
    ['bcrt1q04Oldschfnwystcqnsvyfpj23mpsg3jcedq9xv', 'Invalid character or mixed case', [8]],
    ['bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kqqq5k3my', 'Invalid Bech32 v0 address program size (21 bytes), per BIP141', []],
    [
      'bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqdmchcc',
      'Version 1+ witness address must use Bech32m checksum',
      [],
    ],
    ['mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJJfn', 'Invalid checksum or length of Base58 address (P2PKH or P2SH)', []],
    ['17VZNX1SN5NtKa8UQFxwQbFeFc3iqRYhem', 'Invalid or unsupported Base58-encoded address.', []],
    ['asfah14i8fajz0123f', 'Invalid or unsupported Segwit (Bech32) or Base58 encoding.', []],
  ])('%s: %s', (text, error, locations) => {
    expect(addressError(text, networks.regtest)).toEqual({ error, locations })
  })
})
