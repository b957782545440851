import { HDKey } from '@scure/bip32'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bytesToHex, equalBytes, hexToBytes } from '@leyden/codec'
import { xOnlyFromPoint } from '@leyden/crypto'
import { networks } from '@leyden/bitcoin'
import { createWalletKeys, GAP_LIMIT, type KeyPath } from './index.ts'
import { ABANDON, keys, own, seed, START } from './testing.ts'

const mainnet = createWalletKeys(seed, networks.mainnet)

describe('BIP 32', () => {
  it('test vector 1', () => {
    const root = HDKey.fromMasterSeed(hexToBytes('000102030405060708090a0b0c0d0e0f'), networks.mainnet.bip32)
    expect(root.publicExtendedKey).toBe(
      'xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8',
    )
    expect(root.derive("m/0'/1/2'/2/1000000000").publicExtendedKey).toBe(
      'xpub6H1LXWLaKsWFhvm6RVpEL9P4KfRZSW7abD2ttkWP3SSQvnyA8FSVqNTEcYFgJS2UaFcxupHiYkro49S8yGasTvXEYBVPamhGW6cFJodrTHy',
    )
  })

  it('derives the last steps as the library does, public and secret', () => {
    const account = HDKey.fromMasterSeed(seed, networks.regtest.bip32).derive("m/84'/1'/0'")
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0x7fff_ffff }), fc.constantFrom(0, 1), (index, change) => {
        const expected = account.deriveChild(change).deriveChild(index)
        const path: KeyPath = { kind: 'p2wpkh', change: change === 1 ? 1 : 0, index }
        const fresh = createWalletKeysOnce()
        expect(fresh.point(path)).toEqual(expected.publicKey)
        expect(fresh.secret(path)).toEqual(expected.privateKey)
      }),
      { numRuns: 20 },
    )
  })

  it('refuses hardened and broken indexes', () => {
    for (const index of [-1, 0x8000_0000, 1.5]) expect(() => keys.point({ kind: 'p2tr', change: 0, index })).toThrow(RangeError)
  })
})

let once: ReturnType<typeof createWalletKeys> | undefined
const createWalletKeysOnce = () => (once ??= createWalletKeys(seed, networks.regtest))

describe('BIP 84', () => {
  it.each([
    [0, 0, '0330d54fd0dd420a6e5f8d3624f5f3482cae350f79d5f0753bf5beef9c2d91af3c', 'bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu'],
    [0, 1, '03e775fd51f0dfb8cd865d9ff1cca2a158cf651fe997fdc9fee9c1d3b5e995ea77', 'bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g'],
    [1, 0, '03025324888e429ab8e3dbaf1f7802648b9cd01e9b418485c5fa4c1b9b5700e1a6', 'bc1q8c6fshw2dlwun7ekn9qwf37cu2rn755upcp6el'],
  ] as const)('derives m/84h/0h/0h/%i/%i', (change, index, point, address) => {
    expect(bytesToHex(mainnet.point({ kind: 'p2wpkh', change, index }))).toBe(point)
    expect(mainnet.address({ kind: 'p2wpkh', change, index })).toBe(address)
  })
})

describe('BIP 86', () => {
  it('derives the account', () => {
    expect(mainnet.accountPublicKey('p2tr')).toBe(
      'xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3VCECoY49yfdDEHGCtMMj92pReUsQ',
    )
  })
  it.each([
    [
      0,
      0,
      'cc8a4bc64d897bddc5fbc2f670f7a8ba0b386779106cf1223c6fc5d7cd6fc115',
      'bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr',
    ],
    [
      0,
      1,
      '83dfe85a3151d2517290da461fe2815591ef69f2b18a2ce63f01697a8b313145',
      'bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh',
    ],
    [
      1,
      0,
      '399f1b2f4393f29a18c937859c5dd8a77350103157eb880f02e8c08214277cef',
      'bc1p3qkhfews2uk44qtvauqyr2ttdsw7svhkl9nkm9s9c3x4ax5h60wqwruhk7',
    ],
  ] as const)('derives m/86h/0h/0h/%i/%i', (change, index, internalKey, address) => {
    expect(bytesToHex(xOnlyFromPoint(mainnet.point({ kind: 'p2tr', change, index })))).toBe(internalKey)
    expect(mainnet.address({ kind: 'p2tr', change, index })).toBe(address)
  })
})

describe('Lightning secrets', () => {
  it('come from hardened paths, differ by network and from each other, and stay the same', () => {
    const root = HDKey.fromMasterSeed(seed, networks.regtest.bip32)
    expect(keys.nodeSecret).toEqual(root.derive("m/9735'/1'/0'").privateKey)
    expect(keys.channelSeed).toEqual(root.derive("m/9735'/1'/1'").privateKey)
    expect(equalBytes(keys.nodeSecret, mainnet.nodeSecret)).toBe(false)
    expect(equalBytes(keys.nodeSecret, keys.channelSeed)).toBe(false)
  })

  it('are of 32 bytes', () => {
    expect(ABANDON.split(' ')).toHaveLength(12)
    expect([keys.nodeSecret.length, keys.channelSeed.length]).toEqual([32, 32])
  })
})

describe('finding our scripts', () => {
  it('watches so many beyond the last one that is known, and no more, whatever was derived before', () => {
    const last: KeyPath = { kind: 'p2tr', change: 1, index: GAP_LIMIT - 1 }
    const beyond: KeyPath = { ...last, index: GAP_LIMIT }
    expect(keys.findPath(keys.scriptPubKey(last), START.branches)).toEqual(last)
    expect(keys.findPath(keys.scriptPubKey(beyond), START.branches)).toBeUndefined()
    const grown = { ...START.branches, 'p2tr/1': { next: 0, used: 1 } }
    expect(keys.findPath(keys.scriptPubKey(beyond), grown)).toEqual(beyond)
  })

  it('does not take a script of the same program but another form', () => {
    const script = own()
    expect(keys.findPath(script.slice(0, 21), START.branches)).toBeUndefined()
    expect(keys.findPath(Uint8Array.of(0x51, ...script.slice(1)), START.branches)).toBeUndefined()
  })
})
