import { describe, expect, it } from 'vitest'
import { bytesToHex } from '@leyden/codec'
import { encodeAddress } from '../address.ts'
import { networks } from '../networks.ts'
import { withChecksum } from './checksum.ts'
import { descriptorText, hasPrivateKeys, isRanged, isSolvable, parseDescriptor } from './descriptor.ts'
import { emptyKnowledge, expandDescriptor } from './expand.ts'
import { decodeExtendedKey, derivePath, encodeExtendedPublicKey, HARDENED } from './extended-key.ts'
import { inferDescriptor } from './infer.ts'

const { mainnet, regtest } = networks

const scripts = (text: string, position = 0, network = mainnet): string[] | undefined =>
  expandDescriptor(parseDescriptor(text, network).descriptor, position, emptyKnowledge())?.map(bytesToHex)
const textOf = (text: string, network = mainnet): string => descriptorText(parseDescriptor(text, network).descriptor, network)

describe('extended keys', () => {
  it('are derived as in the first vector of BIP 32', () => {
    const seed = 'xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi'
    const root = decodeExtendedKey(seed, mainnet)!
    const texts = [[], [HARDENED], [HARDENED, 1]].map((path) => encodeExtendedPublicKey(derivePath(root, path)!, mainnet))
    expect(texts).toEqual([
      'xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8',
      'xpub68Gmy5EdvgibQVfPdqkBBCHxA5htiqg55crXYuXoQRKfDBFA1WEjWgP6LHhwBZeNK1VTsfTFUHCdrfp1bgwQ9xv5ski8PX9rL2dZXvgGDnw',
      'xpub6ASuArnXKPbfEwhqN6e3mwBcDTgzisQN1wXN9BJcM47sSikHjJf3UFHKkNAWbWMiGj7Wf5uMash7SyYq527Hqck2AxYysAA7xmALppuCkwQ',
    ])
    expect(derivePath({ ...root, secret: undefined }, [HARDENED])).toBeUndefined()
    expect(decodeExtendedKey(texts[0]!, regtest)).toBeUndefined()
    expect(decodeExtendedKey(`${texts[0]!.slice(0, -1)}9`, mainnet)).toBeUndefined()
  })
})

describe('descriptors', () => {
  /** From the test vectors of BIP 381, 382, 383, 384 and 386. */
  it.each([
    [
      'pk(L4rK1yDtCWekvXuE6oXD9jCYfFNV2cWRpVuPLBcCU2z8TrisoyY1)',
      ['2103a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bdac'],
    ],
    [
      'pkh([deadbeef/1/2h/3/4h]03a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bd)',
      ['76a9149a1c78a507689f6f54b847ad1cef1e614ee23f1e88ac'],
    ],
    [
      'wpkh(03a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bd)',
      ['00149a1c78a507689f6f54b847ad1cef1e614ee23f1e'],
    ],
    [
      'sh(wpkh(03a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bd))',
      ['a91484ab21b1b2fd065d4504ff693d832434b6108d7b87'],
    ],
    [
      'combo(03a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bd)',
      [
        '2103a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bdac',
        '76a9149a1c78a507689f6f54b847ad1cef1e614ee23f1e88ac',
        '00149a1c78a507689f6f54b847ad1cef1e614ee23f1e',
        'a91484ab21b1b2fd065d4504ff693d832434b6108d7b87',
      ],
    ],
    [
      'tr(a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bd)',
      ['512077aab6e066f8a7419c5ab714c12c67d25007ed55a43cadcacb4d7a970a093f11'],
    ],
    [
      'tr(a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bd,pk(669b8afcec803a0d323e9a17f3ea8e68e8abe5a278020a929adbec52421adbd0))',
      ['512017cf18db381d836d8923b1bdb246cfcd818da1a9f0e6e7907f187f0b2f937754'],
    ],
  ])('%s makes its scripts', (text, expected) => {
    expect(scripts(text)).toEqual(expected)
  })

  it('with a wildcard make a script for each position; hardened steps need a secret', () => {
    const xprv = 'tprv8ZgxMBicQKsPd7Uf69XL1XwhmjHopUGep8GuEiJDZmbQz6o58LninorQAfcKZWARbtRtfnLcJ5MQ2AtHcQJCCRUcMRvmDUjyEmNUWwx8UbK'
    const { descriptor } = parseDescriptor(`pkh(${xprv}/1/1/*)`, regtest)
    const made = expandDescriptor(descriptor, 1, emptyKnowledge())!
    // Of Bitcoin Core's rpc_scantxoutset.py.
    expect(encodeAddress(made[0]!, regtest)).toBe('mxp7w7j8S1Aq6L8StS2PqVvtt4HGxXEvdy')
    expect([isRanged(descriptor), hasPrivateKeys(descriptor), isSolvable(descriptor)]).toEqual([true, true, true])
    const open = descriptorText(descriptor, regtest)
    expect(open).toMatch(/^pkh\(tpub[^/]+\/1\/1\/\*\)$/)
    expect(scripts(open, 1, regtest)).toEqual(made.map(bytesToHex))
    expect(scripts(open.replace('*', '*h'), 0, regtest)).toBeUndefined()
    expect(
      encodeAddress(
        expandDescriptor(parseDescriptor(`pkh(${xprv}/0'/0'/*')`, regtest).descriptor, 0, emptyKnowledge())![0]!,
        regtest,
      ),
    ).toBe('mkHV1C6JLheLoUSSZYk7x3FH5tnx9bu7yc')
  })

  it('are found again from what they made', () => {
    const key = '03a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bd'
    const origin = `[deadbeef/1/2h]${key}`
    const other = '02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5'
    const xOnly = `[deadbeef/1/2h]${key.slice(2)}`
    for (const text of [
      `pkh(${origin})`,
      `wpkh(${origin})`,
      `sh(wpkh(${origin}))`,
      `wsh(multi(1,${origin},[00000000]${other}))`,
      `sh(wsh(pkh(${origin})))`,
      `tr(${xOnly},{pk(${xOnly}),multi_a(1,${xOnly},${xOnly})})`,
    ]) {
      const knowledge = emptyKnowledge()
      const [script] = expandDescriptor(parseDescriptor(text, mainnet).descriptor, 0, knowledge)!
      expect(inferDescriptor(script!, mainnet, knowledge)).toBe(text)
      expect(inferDescriptor(script!, mainnet, emptyKnowledge())).toMatch(/^(addr|rawtr)\(/)
    }
  })

  it('show what they were told, without secrets, hardened steps marked as the author does', () => {
    const key = '03a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bd'
    for (const text of [
      `sortedmulti(1,[00112233/1'/2]${key},${key})`,
      `addr(bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4)`,
      'raw(00ff)',
      `rawtr(${key.slice(2)})`,
    ])
      expect(textOf(text)).toBe(text)
    expect(textOf('pkh(L4rK1yDtCWekvXuE6oXD9jCYfFNV2cWRpVuPLBcCU2z8TrisoyY1)')).toBe(`pkh(${key})`)
  })

  it('are refused in the words of Bitcoin Core', () => {
    const key = '03a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc82b8b56ac1c540c5bd'
    const cases: readonly (readonly [string, string])[] = [
      ['', "'' is not a valid descriptor function"],
      [`wsh(wpkh(${key}))`, 'Can only have wpkh() at top level or inside sh()'],
      [`wsh(sh(pk(${key})))`, 'Can only have sh() at top level'],
      ['sh(03)', 'A function is needed within P2SH'],
      ['pkh()', 'pkh(): No key provided'],
      [`wpkh(04${'00'.repeat(64)})`, `wpkh(): Pubkey '04${'00'.repeat(64)}' is invalid`],
      [`pkh([aabbccdd/1/4294967296]${key})`, "pkh(): Key path value '4294967296' is not a valid uint32"],
      [`pkh([aabbccdd/2147483648]${key})`, 'pkh(): Key path value 2147483648 is out of range'],
      [`pkh([aabbccd]${key})`, 'pkh(): Fingerprint is not 4 bytes (7 characters instead of 8 characters)'],
      [
        `multi(2,${key})`,
        'Multisig threshold cannot be larger than the number of keys; threshold is 2 but only 1 keys specified',
      ],
      [`multi(a,${key})`, "Multi threshold 'a' is not valid"],
      [`pkh(${key})#00000000`, "Provided checksum '00000000' does not match computed checksum"],
      [`pkh(${key})#1234567`, 'Expected 8 character checksum, not 7 characters'],
      ['pk(é)', 'Invalid characters in payload'],
      [`tr(${key.slice(2)},{pk(${key}),pk(${key})`, 'is not a valid descriptor function'],
      [`tr(${key.slice(2)},{pk(${key})})`, "tr(): expected ',' after script expression"],
    ]
    for (const [text, message] of cases) expect(() => parseDescriptor(text, mainnet)).toThrow(message)
    expect(() => parseDescriptor(`pkh(${key})`, mainnet, true)).toThrow('Missing checksum')
    expect(parseDescriptor(withChecksum(`pkh(${key})`), mainnet, true).descriptor.type).toBe('pkh')
  })
})
