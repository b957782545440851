import { bytesToHex, hexToBytes } from '@leyden/codec'
import { describe, expect, it } from 'vitest'
import { decodeAddress, encodeAddress } from './address.ts'
import { blockHash } from './block.ts'
import { subsidy } from './consensus/rules.ts'
import { difficultyInterval, meetsProofOfWork } from './consensus/header.ts'
import { networkFromFile, type NetworkFile } from './network-file.ts'
import { chainHash, consensusDigest, customSignet, genesisBlock, ledgerId, networks, NO_KEY, type Network } from './networks.ts'
import { p2wpkh } from './script.ts'
import { Sat } from './units.ts'

const GENESIS = { text: 'harbour, a ledger of three', time: 1_750_000_000, bits: '207fffff' }
const nonceFor = (text: string, initialSat: bigint): number => {
  for (let nonce = 0; ; nonce++) {
    const { header } = genesisBlock(GENESIS.time, nonce, 0x207fffff, text, NO_KEY, Sat(initialSat))
    if (meetsProofOfWork(blockHash(header), header.bits, networks.regtest)) return nonce
  }
}

const FILE: NetworkFile = {
  name: 'harbour',
  magic: 'c1d2e3f4',
  genesis: { ...GENESIS, nonce: nonceFor(GENESIS.text, 700n) },
  ports: { p2p: 28_555, rpc: 28_554 },
  addresses: {
    bech32: 'harbour',
    pubkeyHash: 100,
    scriptHash: 101,
    wif: 102,
    bolt11: 'harbour',
    bip32: { public: '043587cf', private: '04358394' },
    coinType: 1,
  },
  blocks: { intervalSeconds: 30, proofOfWorkLimit: '207fffff', retarget: { timespanSeconds: 3000 } },
  subsidy: { initialSat: '700', halvingBlocks: 10 },
}

const read = (changes: object): Network => {
  const network = networkFromFile({ ...FILE, ...changes })
  if (!('name' in network)) throw new Error(network.join('\n'))
  return network
}
/** What is told about a file with these changes. */
const told = (changes: object): string => {
  const answer = networkFromFile({ ...FILE, ...changes })
  return 'name' in answer ? 'ok' : answer.join('\n')
}

describe('a network file', () => {
  it('becomes a network with its own genesis, subsidy, difficulty, prefixes and rules from the start', () => {
    const network = read({})
    expect(network).toMatchObject({
      name: 'harbour',
      port: 28_555,
      rpcPort: 28_554,
      csvHeight: 1,
      segwitHeight: 1,
      enforceBip94: true,
    })
    expect(bytesToHex(network.magic)).toBe('c1d2e3f4')
    expect([difficultyInterval(network), network.noRetargeting, network.allowMinDifficultyBlocks]).toEqual([100, false, false])
    expect([0, 9, 10, 25].map((height) => subsidy(height, network))).toEqual([700n, 700n, 350n, 175n])
    expect(blockHash(network.genesis.header)).not.toBe(blockHash(networks.regtest.genesis.header))
    const script = p2wpkh(new Uint8Array(20))
    const address = encodeAddress(script, network) as string
    expect(address.startsWith('harbour1')).toBe(true)
    expect(decodeAddress(address, network)).toEqual(script)
    expect(decodeAddress(address, networks.regtest)).toHaveProperty('problem')
  })

  it('may leave out retargeting, halving and proof of work that means anything', () => {
    const challenge = `5121${'02'.repeat(33)}51ae`
    const network = read({
      blocks: { intervalSeconds: 5, proofOfWorkLimit: '207fffff', retarget: 'none', challenge },
      subsidy: { initialSat: '700', halvingBlocks: 'never' },
    })
    expect([network.noRetargeting, network.signetChallenge && bytesToHex(network.signetChallenge)]).toEqual([true, challenge])
    expect([0, 2_000_000_000].map((height) => subsidy(height, network))).toEqual([700n, 700n])
  })

  it.each<[object, string]>([
    [{ nmae: 'x' }, 'unknown field nmae: known here are name, magic,'],
    [{ name: 'Bad Name' }, 'name: must be 2 to 32 lower-case letters'],
    [{ name: 'mainnet' }, 'name: is the name of a public network'],
    [{ magic: 'f9beb4d9' }, 'magic: is that of a public network'],
    [{ magic: 'c1d2e3' }, 'magic: must be 8 lower-case hex digits'],
    [{ genesis: undefined }, 'genesis: is missing'],
    [{ genesis: { ...FILE.genesis, text: '' } }, 'genesis.text: must be a text of 1 to 91 bytes'],
    [{ genesis: { ...FILE.genesis, bits: '1d00ffff' } }, 'genesis.nonce: the hash of this genesis block does not meet'],
    [{ genesis: { ...FILE.genesis, bits: '2100ffff' } }, 'genesis.bits: asks for less work than'],
    [{ genesis: { ...FILE.genesis, hash: '00' } }, 'genesis: unknown field hash: known here are text, time, bits, nonce'],
    [{ ports: { p2p: 70_000, rpc: 1 } }, 'ports.p2p: must be a whole number from 1 to 65535'],
    [{ ports: { p2p: 1, rpc: 1 } }, 'ports.rpc: must differ from ports.p2p'],
    [{ addresses: { ...FILE.addresses, bolt11: 'b2' } }, 'addresses.bolt11: must be 2 to 20 lower-case letters'],
    [{ addresses: { ...FILE.addresses, bech32: 'bc' } }, 'addresses.bech32: "bc" belongs to Bitcoin'],
    [{ addresses: { ...FILE.addresses, scriptHash: 100 } }, 'addresses.scriptHash: must differ from addresses.pubkeyHash'],
    [{ blocks: { ...FILE.blocks, retarget: 'sometimes' } }, 'blocks.retarget: must be "none" or {'],
    [
      { blocks: { ...FILE.blocks, retarget: { timespanSeconds: 29 } } },
      'blocks.retarget.timespanSeconds: must be at least blocks.interval',
    ],
    [{ blocks: { ...FILE.blocks, challenge: `5120${'02'.repeat(32)}` } }, 'blocks.challenge: must be a key, a multisig'],
    [{ blocks: { ...FILE.blocks, challenge: '51' } }, 'blocks.challenge: must be a key, a multisig'],
    [{ subsidy: { initialSat: 700, halvingBlocks: 10 } }, 'subsidy.initialSat: must be satoshis in digits and quotes'],
    [{ subsidy: { initialSat: '9900000000000000', halvingBlocks: 10 } }, 'subsidy.initialSat: must be at most 2100000000000000'],
    [{ subsidy: { initialSat: '700', halvingBlocks: 0.5 } }, 'subsidy.halvingBlocks: must be "never" or a whole number'],
    [{ fork: { id: 2 ** 21, height: 5 } }, 'fork.id: must be a whole number from 1 to 2097151'],
    [{ activation: { bip65: 9 }, fork: { id: 1, height: 5 } }, 'fork.height: must not be below activation.bip34'],
  ])('is refused with the field and what to do: %j', (changes, expected) => {
    expect(told(changes)).toContain(expected)
  })

  it('is refused as a whole when it is no object', () => {
    for (const content of [null, 'harbour', [], 5]) expect(networkFromFile(content)).toEqual(['must be an object'])
    expect(networkFromFile(undefined)).toEqual(['is missing'])
  })
})

describe('what tells ledgers apart', () => {
  it('is the genesis hash, and for a fork its id as well', () => {
    const { regtest } = networks
    expect(ledgerId(regtest)).toBe(blockHash(regtest.genesis.header))
    const [base, one, two] = [read({}), read({ fork: { id: 1, height: 5 } }), read({ fork: { id: 2, height: 5 } })]
    expect(new Set([regtest, base, one, two].map((network) => bytesToHex(chainHash(network)))).size).toBe(4)
    expect(consensusDigest(one)).toBe(consensusDigest(base))
  })

  it('is every rule that decides which blocks are valid', () => {
    const others = [
      { blocks: { ...FILE.blocks, intervalSeconds: 31 } },
      { blocks: { ...FILE.blocks, retarget: 'none' } },
      { blocks: { ...FILE.blocks, retarget: { timespanSeconds: 3000, bip94: false } } },
      { blocks: { ...FILE.blocks, retarget: { timespanSeconds: 3000, minDifficulty: true } } },
      { subsidy: { ...FILE.subsidy, halvingBlocks: 11 } },
      { activation: { csv: 2 } },
    ]
    expect(new Set([{}, ...others].map((changes) => consensusDigest(read(changes)))).size).toBe(1 + others.length)
    expect(consensusDigest(read({ ports: { p2p: 1, rpc: 2 }, magic: 'c1d2e3f5' }))).toBe(consensusDigest(read({})))
  })
})

describe('a signet of one’s own', () => {
  it('has the magic of its challenge', () => {
    // BIP 325: the first four bytes of the double SHA-256 of the challenge with its length before it
    const network = customSignet(hexToBytes('51'))
    expect(network.magic).not.toEqual(networks.signet.magic)
    expect(bytesToHex(customSignet(networks.signet.signetChallenge as Uint8Array).magic)).toBe('0a03cf40')
    expect([network.genesis, network.powLimit]).toEqual([networks.signet.genesis, networks.signet.powLimit])
  })
})
