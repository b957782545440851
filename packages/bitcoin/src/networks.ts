/**
 * Parameters of the networks: regtest (the default), signet, testnet4, mainnet. Bitcoin Core kernel/chainparams.cpp,
 * BIP 94 (testnet4), BIP 325 (signet), BIP 32 and SLIP 44 (key versions, coin types), SLIP 173 (bech32 prefixes).
 * A network of one's own is a copy with other fields (customNetwork) or comes from a file (network-file.ts).
 * No seeds and no hosts here: finding peers is not consensus.
 */
import { bytesToHex, concat, hexToBytes, utf8Encode, Writer } from '@leyden/codec'
import { sha256, sha256d, taggedHash } from '@leyden/crypto'
import { blockHash, merkleRoot, type Block } from './block.ts'
import { BlockHash, blockHashFromBytes, blockHashToBytes, Txid, ZERO_HASH } from './ids.ts'
import { OP } from './opcode.ts'
import { buildScript, pushBytes } from './script.ts'
import { compactSizeLength, NULL_VOUT, SEQUENCE_FINAL, txid, type Tx } from './tx.ts'
import { Sat } from './units.ts'

export type Network = {
  readonly name: string
  /** Four bytes that begin every P2P message. */
  readonly magic: Uint8Array
  readonly genesis: Block
  /** P2P and JSON-RPC, as Bitcoin Core's defaults. */
  readonly port: number
  readonly rpcPort: number
  /** `bc`, `tb`, `bcrt`. */
  readonly bech32Prefix: string
  readonly pubkeyHashPrefix: number
  readonly scriptHashPrefix: number
  readonly wifPrefix: number
  /** BOLT 11, after `ln`. */
  readonly bolt11Prefix: string
  /** Version bytes of BIP 32 extended keys. */
  readonly bip32: { readonly public: number; readonly private: number }
  /** Hardened second step of a BIP 44 path. */
  readonly coinType: number
  readonly powLimit: bigint
  /** New coins of a block before the first halving. 50 BTC unless said otherwise. */
  readonly initialSubsidy?: Sat
  /** Infinity: it never halves. */
  readonly subsidyHalvingInterval: number
  readonly targetTimespanSeconds: number
  readonly targetSpacingSeconds: number
  /** Testnets: a block 20 minutes after its parent may have the least difficulty. */
  readonly allowMinDifficultyBlocks: boolean
  readonly noRetargeting: boolean
  /** BIP 94: retarget from the first block of the period, no time warp. */
  readonly enforceBip94: boolean
  /** Heights from which rules hold. P2SH, witness and taproot hold from genesis, but for the blocks of scriptExceptions. */
  readonly bip34Height: number
  /** The block at bip34Height, where coinbases before it may repeat: on its chain BIP 30 need not be asked for a long time. */
  readonly bip34Hash?: BlockHash
  readonly bip65Height: number
  readonly bip66Height: number
  readonly csvHeight: number
  readonly segwitHeight: number
  /** Blocks that were mined against later rules: the rules that hold for them. */
  readonly scriptExceptions: ReadonlyMap<BlockHash, readonly ('p2sh' | 'witness' | 'taproot')[]>
  /** BIP 30: heights of the two blocks whose coinbases repeat earlier ones. */
  readonly bip30Exceptions: ReadonlyMap<number, BlockHash>
  /** BIP 325: script that every block but the genesis must satisfy. */
  readonly signetChallenge?: Uint8Array
  /** Work of a chain that was known when this was written: one with less is not worth fetching. */
  readonly minimumChainWork?: bigint
  /** A block known to be valid when this was written: scripts at and below it need not run. */
  readonly assumeValid?: BlockHash | undefined
  /** A fork of an older ledger: from this height on, signatures and headers commit to the id. specs/decisions/0008-fork-ids.md. */
  readonly fork?: NetworkFork
}

/** `id` is 1 to MAX_FORK_ID, `height` that of the first block of the fork's own. */
export type NetworkFork = { readonly id: number; readonly height: number }

const GENESIS_TEXT = 'The Times 03/Jan/2009 Chancellor on brink of second bailout for banks'
const GENESIS_KEY =
  '04678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5f'

/** No point of the curve. */
export const NO_KEY = '00'.repeat(33)

/** The coinbase says `text` (up to 91 bytes) and pays to a key that nobody can use. */
export const genesisBlock = (
  time: number,
  nonce: number,
  bits: number,
  text = GENESIS_TEXT,
  key = GENESIS_KEY,
  value = Sat(5_000_000_000n),
): Block => {
  const coinbase: Tx = {
    version: 1,
    inputs: [
      {
        outpoint: { txid: Txid(ZERO_HASH), vout: NULL_VOUT },
        scriptSig: concat(pushBytes(hexToBytes('ffff001d')), pushBytes(Uint8Array.of(4)), pushBytes(utf8Encode(text))),
        sequence: SEQUENCE_FINAL,
        witness: [],
      },
    ],
    outputs: [{ value, scriptPubKey: buildScript(hexToBytes(key), OP.OP_CHECKSIG) }],
    lockTime: 0,
  }
  const header = { version: 1, previousHash: BlockHash(ZERO_HASH), merkleRoot: merkleRoot([txid(coinbase)]), time, bits, nonce }
  return { header, transactions: [coinbase] }
}

const TESTNET_PREFIXES = {
  bech32Prefix: 'tb',
  pubkeyHashPrefix: 111,
  scriptHashPrefix: 196,
  wifPrefix: 239,
  bip32: { public: 0x043587cf, private: 0x04358394 },
  coinType: 1,
} as const

const FROM_THE_START = { bip34Height: 1, bip65Height: 1, bip66Height: 1, csvHeight: 1, segwitHeight: 1 } as const
const NO_EXCEPTIONS = { scriptExceptions: new Map<never, never>(), bip30Exceptions: new Map<never, never>() } as const
const TWO_WEEKS = { targetTimespanSeconds: 14 * 24 * 3600, targetSpacingSeconds: 600 } as const
const MAIN_POW_LIMIT = (1n << 224n) - 1n

const mainnet: Network = {
  name: 'mainnet',
  minimumChainWork: 0x88e186b70e0862c193ec44d6n,
  assumeValid: BlockHash('000000000000000000011c5890365bdbe5d25b97ce0057589acaef4f1a57263f'), // 856,760
  magic: hexToBytes('f9beb4d9'),
  genesis: genesisBlock(1231006505, 2083236893, 0x1d00ffff),
  port: 8333,
  rpcPort: 8332,
  bech32Prefix: 'bc',
  pubkeyHashPrefix: 0,
  scriptHashPrefix: 5,
  wifPrefix: 128,
  bolt11Prefix: 'bc',
  bip32: { public: 0x0488b21e, private: 0x0488ade4 },
  coinType: 0,
  powLimit: MAIN_POW_LIMIT,
  subsidyHalvingInterval: 210_000,
  ...TWO_WEEKS,
  allowMinDifficultyBlocks: false,
  noRetargeting: false,
  enforceBip94: false,
  bip34Height: 227_931,
  bip34Hash: BlockHash('000000000000024b89b42a942fe0d9fea3bb44ab7bd1b19115dd6a759c0808b8'),
  bip65Height: 388_381,
  bip66Height: 363_725,
  csvHeight: 419_328,
  segwitHeight: 481_824,
  scriptExceptions: new Map([
    [BlockHash('00000000000002dc756eebf4f49723ed8d30cc28a5f108eb94b1ba88ac4f9c22'), []],
    [BlockHash('0000000000000000000f14c35b2d841e986ab5441de8c585d5ffe55ea1e395ad'), ['p2sh', 'witness'] as const],
  ]),
  bip30Exceptions: new Map([
    [91_842, BlockHash('00000000000a4d0a398161ffc163c503763b1f4360639393e0e4c8e300e0caec')],
    [91_880, BlockHash('00000000000743f190a18c5577a3c2d2a1f610ae9601ac046a38084ccb7cd721')],
  ]),
}

const testnet4: Network = {
  name: 'testnet4',
  minimumChainWork: 0x5faa15d02e6202f3ban,
  assumeValid: BlockHash('000000005be348057db991fa5d89fe7c4695b667cfb311391a8db374b6f681fd'), // 39,550
  magic: hexToBytes('1c163f28'),
  genesis: genesisBlock(
    1714777860,
    393743547,
    0x1d00ffff,
    '03/May/2024 000000000000000000001ebd58c244970b3aa9d783bb001011fbe8ea8e98e00e',
    NO_KEY,
  ),
  port: 48333,
  rpcPort: 48332,
  ...TESTNET_PREFIXES,
  bolt11Prefix: 'tb',
  powLimit: MAIN_POW_LIMIT,
  subsidyHalvingInterval: 210_000,
  ...TWO_WEEKS,
  allowMinDifficultyBlocks: true,
  noRetargeting: false,
  enforceBip94: true,
  ...FROM_THE_START,
  ...NO_EXCEPTIONS,
}

const encodeUint32 = (n: number): Uint8Array => {
  const w = new Writer(4)
  w.u32le(n)
  return w.finish()
}

/** BIP 325: the magic follows from the challenge. */
export const signetMagic = (challenge: Uint8Array): Uint8Array => {
  if (compactSizeLength(challenge.length) !== 1) throw new RangeError('signet challenge is too long')
  return sha256d(concat(Uint8Array.of(challenge.length), challenge)).slice(0, 4)
}

const SIGNET_CHALLENGE = hexToBytes(
  '512103ad5e0edad18cb1f0fc0d28a3d4f1f3e445640337489abb10404f2d1e086be430210359ef5021964fe22d6f8e05b2463c9540ce96883fe3b278760f048f5189f2e6c452ae',
)

const signet: Network = {
  name: 'signet',
  minimumChainWork: 0x25dbd66e58fn,
  assumeValid: BlockHash('0000014aad1d58dddcb964dd749b073374c6306e716b22f573a2efe68d414539'), // 208,800
  magic: signetMagic(SIGNET_CHALLENGE),
  genesis: genesisBlock(1598918400, 52613770, 0x1e0377ae),
  port: 38333,
  rpcPort: 38332,
  ...TESTNET_PREFIXES,
  bolt11Prefix: 'tbs',
  powLimit: 0x377aen << 216n,
  subsidyHalvingInterval: 210_000,
  ...TWO_WEEKS,
  allowMinDifficultyBlocks: false,
  noRetargeting: false,
  enforceBip94: false,
  ...FROM_THE_START,
  ...NO_EXCEPTIONS,
  signetChallenge: SIGNET_CHALLENGE,
}

const regtest: Network = {
  name: 'regtest',
  magic: hexToBytes('fabfb5da'),
  genesis: genesisBlock(1296688602, 2, 0x207fffff),
  port: 18444,
  rpcPort: 18443,
  ...TESTNET_PREFIXES,
  bech32Prefix: 'bcrt',
  bolt11Prefix: 'bcrt',
  powLimit: (1n << 255n) - 1n,
  subsidyHalvingInterval: 150,
  targetTimespanSeconds: 24 * 3600,
  targetSpacingSeconds: 600,
  allowMinDifficultyBlocks: true,
  noRetargeting: true,
  enforceBip94: true,
  ...FROM_THE_START,
  segwitHeight: 0,
  ...NO_EXCEPTIONS,
}

export const networks = { regtest, signet, testnet4, mainnet } as const

/** A network of one's own. Give it at least a name and a magic; a genesis block of its own keeps its Lightning apart. */
export const customNetwork = (base: Network, fields: Partial<Network> & Pick<Network, 'name' | 'magic'>): Network => ({
  ...base,
  minimumChainWork: 0n,
  assumeValid: undefined,
  ...fields,
})

/** The network of that name, or undefined. */
export const findNetwork = (name: string): Network | undefined =>
  Object.values<Network>(networks).find((network) => network.name === name)

/** A signet of one's own: another challenge, and the magic that follows from it. Throws RangeError on a challenge that is too long. */
export const customSignet = (challenge: Uint8Array): Network =>
  customNetwork(signet, { name: 'signet', magic: signetMagic(challenge), signetChallenge: challenge })

/**
 * BOLT 0 chain_hash: the hash of the genesis block, 32 bytes in internal order. On a fork its id is hashed in, so that nodes of the two
 * ledgers open no channels with each other.
 */
export const chainHash = ({ genesis, fork }: Network): Uint8Array => {
  const hash = blockHashToBytes(blockHash(genesis.header))
  return fork === undefined ? hash : taggedHash('LeydenForkChain', concat(hash, encodeUint32(fork.id)))
}

/** What tells this ledger from every other: {@link chainHash} in the form of a block hash. */
export const ledgerId = (network: Network): BlockHash => blockHashFromBytes(chainHash(network))

/**
 * 32 bytes in hex over everything that decides which blocks are valid, but for a fork (its height comes later): two networks that
 * differ in it cannot share a chain.
 */
export const consensusDigest = (network: Network): string => {
  const { genesis, powLimit, subsidyHalvingInterval, targetTimespanSeconds, targetSpacingSeconds, signetChallenge } = network
  const fields = [
    blockHash(genesis.header),
    powLimit.toString(16),
    String(network.initialSubsidy ?? 5_000_000_000n),
    String(subsidyHalvingInterval),
    targetTimespanSeconds,
    targetSpacingSeconds,
    network.allowMinDifficultyBlocks,
    network.noRetargeting,
    network.enforceBip94,
    network.bip34Height,
    network.bip65Height,
    network.bip66Height,
    network.csvHeight,
    network.segwitHeight,
    signetChallenge === undefined ? '' : bytesToHex(signetChallenge),
  ]
  return bytesToHex(sha256(utf8Encode(JSON.stringify(fields))))
}
