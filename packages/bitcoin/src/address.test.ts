import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { base58 } from '@scure/base'
import { describe, expect, it } from 'vitest'
import { decodeAddress, encodeAddress, isAddressProblem } from './address.ts'
import { networks, type Network } from './networks.ts'
import { P2A } from './script.ts'
import { decodeWif, encodeWif } from './wif.ts'

const root = process.env['LEYDEN_VECTORS'] ?? fileURLToPath(new URL('../../../../shared/vectors', import.meta.url))
const absent = !existsSync(`${root}/bitcoin-core`)
if (absent) process.stderr.write('address vectors skipped: no LEYDEN_VECTORS\n')
const load = <T>(name: string): T[] => JSON.parse(readFileSync(`${root}/bitcoin-core/${name}.json`, 'utf8')) as T[]

/** `test` (testnet3) has the prefixes of testnet4. */
const networkOf = (chain: string): Network =>
  ({ main: networks.mainnet, test: networks.testnet4, testnet4: networks.testnet4, signet: networks.signet })[chain] ??
  networks.regtest

describe.skipIf(absent)('vectors of Bitcoin Core (skipped without LEYDEN_VECTORS)', () => {
  it('key_io_valid.json: addresses and private keys, both directions', () => {
    const rows =
      load<[string, string, { chain: string; isPrivkey: boolean; isCompressed?: boolean; tryCaseFlip?: boolean }]>('key_io_valid')
    for (const [text, hex, { chain, isCompressed }] of rows.filter(([, , { isPrivkey }]) => isPrivkey)) {
      const network = networkOf(chain)
      expect(decodeWif(text, network)).toEqual({ secret: hexToBytes(hex), compressed: isCompressed })
      expect(encodeWif(hexToBytes(hex), network, isCompressed)).toBe(text)
      expect(isAddressProblem(decodeAddress(text, network))).toBe(true)
    }
    for (const [text, hex, { chain, tryCaseFlip }] of rows.filter(([, , { isPrivkey }]) => !isPrivkey)) {
      const network = networkOf(chain)
      expect(decodeAddress(text, network)).toEqual(hexToBytes(hex))
      expect(encodeAddress(hexToBytes(hex), network)).toBe(text)
      const flipped = text === text.toLowerCase() ? text.toUpperCase() : text.toLowerCase()
      expect(isAddressProblem(decodeAddress(flipped, network))).toBe(tryCaseFlip !== true)
      expect(decodeWif(text, network)).toHaveProperty('problem')
    }
    expect(rows.length).toBeGreaterThan(50)
  })

  it('key_io_invalid.json: neither address nor private key of any network', () => {
    const rows = load<[string]>('key_io_invalid')
    for (const [text] of rows) {
      for (const network of Object.values(networks)) {
        expect(decodeAddress(text, network)).toHaveProperty('problem')
        expect(decodeWif(text, network)).toHaveProperty('problem')
      }
    }
    expect(rows.length).toBeGreaterThan(50)
  })

  it('base58_encode_decode.json: the base58 under our addresses', () => {
    for (const [hex, text] of load<[string, string]>('base58_encode_decode')) {
      expect(base58.encode(hexToBytes(hex))).toBe(text)
      expect(bytesToHex(base58.decode(text))).toBe(hex)
    }
  })
})

describe('addresses', () => {
  it('names the network of an address from elsewhere', () => {
    const program = hexToBytes(`0014${'ab'.repeat(20)}`)
    const main = encodeAddress(program, networks.mainnet)!
    expect(decodeAddress(main, networks.regtest)).toMatchObject({ problem: 'wrong_network' })
    const legacy = encodeAddress(hexToBytes(`a914${'ab'.repeat(20)}87`), networks.mainnet)!
    expect(decodeAddress(legacy, networks.regtest)).toMatchObject({ problem: 'wrong_network' })
    expect(decodeWif(encodeWif(new Uint8Array(32).fill(1), networks.mainnet), networks.regtest)).toMatchObject({
      problem: 'wrong_network',
    })
  })
  it('says that a broken checksum is invalid', () => {
    expect(decodeAddress('bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq', networks.regtest)).toMatchObject({ problem: 'invalid' })
    expect(decodeAddress('', networks.regtest)).toMatchObject({ problem: 'invalid' })
    expect(decodeAddress('x'.repeat(100_000), networks.regtest)).toMatchObject({ problem: 'invalid' })
  })
  it('has an address for an anchor and none for other scripts', () => {
    expect(encodeAddress(P2A, networks.mainnet)).toBe('bc1pfeessrawgf')
    expect(encodeAddress(Uint8Array.of(0x51), networks.mainnet)).toBeUndefined()
  })
})
