/**
 * A network of one's own from one file: everything that members must agree on, in JSON. specs/own-network.md explains the fields.
 * A file is read whole or refused: unknown fields too, because a rule that one member's program does not know would split the ledger.
 * Reading only; services/ledger makes such files.
 */
import { bytesToHex, hexToBytes, utf8Encode } from '@leyden/codec'
import { z } from 'zod'
import { blockHash } from './block.ts'
import { meetsProofOfWork, targetFromBits } from './consensus/header.ts'
import { MAX_FORK_ID } from './script-rules.ts'
import { customNetwork, genesisBlock, networks, NO_KEY, type Network } from './networks.ts'
import { classifyScript } from './script.ts'
import { MAX_MONEY, Sat } from './units.ts'

const STANDARD = Object.values<Network>(networks)

const whole = (least: number, most: number) =>
  z.int({ error: `must be a whole number from ${least} to ${most}` }).check((context) => {
    const { value } = context
    if (value < least || value > most)
      context.issues.push({ code: 'custom', message: `must be a whole number from ${least} to ${most}`, input: value })
  })
const word = (pattern: RegExp, error: string) => z.string({ error }).regex(pattern, { error })
const hex = (bytes: number) => word(new RegExp(`^[0-9a-f]{${2 * bytes}}$`), `must be ${2 * bytes} lower-case hex digits`)
const port = whole(1, 65_535)
const height = whole(0, 2_147_483_647)
const version = whole(0, 255)
const flag = z.boolean({ error: 'must be true or false' })
const bits = hex(4).refine((text) => targetFromBits(parseInt(text, 16)) !== undefined, {
  error: 'must be a compact target above 0, such as 207fffff',
})

const section = <Shape extends z.ZodRawShape>(shape: Shape) =>
  z.strictObject(shape, {
    error: (issue) => {
      if (issue.code === 'unrecognized_keys')
        return `unknown field ${issue.keys.join(', ')}: known here are ${Object.keys(shape).join(', ')}`
      return issue.input === undefined ? 'is missing' : 'must be an object'
    },
  })

/** The fields of a network file. Bytes are lower-case hex, amounts satoshis in digits, times seconds. */
export const networkFileSchema = section({
  name: word(/^[a-z][a-z0-9-]{1,31}$/, 'must be 2 to 32 lower-case letters, digits or hyphens, a letter first').refine(
    (name) => !STANDARD.some((network) => network.name === name),
    { error: 'is the name of a public network: choose another' },
  ),
  magic: hex(4).refine((magic) => !STANDARD.some((network) => bytesToHex(network.magic) === magic), {
    error: 'is that of a public network: choose four other bytes',
  }),
  genesis: section({
    text: z
      .string({ error: 'must be a text' })
      .refine((text) => text !== '' && utf8Encode(text).length <= 91, { error: 'must be a text of 1 to 91 bytes' }),
    time: whole(0, 0xffff_ffff),
    bits,
    nonce: whole(0, 0xffff_ffff),
  }),
  ports: section({ p2p: port, rpc: port }),
  addresses: section({
    bech32: word(/^[a-z][a-z0-9]{1,19}$/, 'must be 2 to 20 lower-case letters or digits, a letter first'),
    pubkeyHash: version,
    scriptHash: version,
    wif: version,
    bolt11: word(/^[a-z]{2,20}$/, 'must be 2 to 20 lower-case letters'),
    bip32: section({ public: hex(4), private: hex(4) }),
    coinType: whole(0, 0x7fff_ffff),
  }),
  blocks: section({
    intervalSeconds: whole(1, 86_400),
    /** Compact form of the greatest target, the least work. */
    proofOfWorkLimit: bits,
    retarget: z.union(
      [
        z.literal('none'),
        section({
          timespanSeconds: whole(1, 31_536_000),
          minDifficulty: flag.default(false),
          bip94: flag.default(true),
        }),
      ],
      { error: 'must be "none" or { "timespanSeconds": n, "minDifficulty": false, "bip94": true }' },
    ),
    /** BIP 325: the script that whoever makes a block must satisfy. */
    challenge: word(/^([0-9a-f]{2}){1,1000}$/, 'must be a script of 1 to 1000 bytes in lower-case hex').optional(),
  }),
  subsidy: section({
    initialSat: word(/^[1-9]\d{0,15}$/, 'must be satoshis in digits and quotes, at least "1"').refine(
      (sat) => BigInt(sat) <= MAX_MONEY,
      { error: `must be at most ${MAX_MONEY}` },
    ),
    halvingBlocks: z.union([z.literal('never'), whole(1, 2_147_483_647)], {
      error: 'must be "never" or a whole number of blocks',
    }),
  }),
  activation: section({
    bip34: height.default(1),
    bip65: height.default(1),
    bip66: height.default(1),
    csv: height.default(1),
    segwit: height.default(1),
  }).default({ bip34: 1, bip65: 1, bip66: 1, csv: 1, segwit: 1 }),
  fork: section({ id: whole(1, MAX_FORK_ID), height: whole(1, 2_147_483_647) }).optional(),
})

export type NetworkFile = z.input<typeof networkFileSchema>
type Checked = z.output<typeof networkFileSchema>

/** What the fields say together. */
const contradictions = (file: Checked, network: Network): string[] => {
  const { addresses, blocks, genesis, activation, fork } = file
  const found: string[] = []
  const genesisTarget = targetFromBits(parseInt(genesis.bits, 16)) as bigint
  if (genesisTarget > network.powLimit)
    found.push('genesis.bits: asks for less work than blocks.proofOfWorkLimit: use the same value')
  else if (!meetsProofOfWork(blockHash(network.genesis.header), network.genesis.header.bits, network))
    found.push('genesis.nonce: the hash of this genesis block does not meet genesis.bits: make the file with new-network')
  if (addresses.pubkeyHash === addresses.scriptHash) found.push('addresses.scriptHash: must differ from addresses.pubkeyHash')
  if (addresses.bip32.public === addresses.bip32.private)
    found.push('addresses.bip32.private: must differ from addresses.bip32.public')
  if (addresses.bech32 === 'bc' || addresses.bolt11 === 'bc')
    found.push(`addresses.${addresses.bech32 === 'bc' ? 'bech32' : 'bolt11'}: "bc" belongs to Bitcoin: choose another prefix`)
  if (blocks.retarget !== 'none' && blocks.retarget.timespanSeconds < blocks.intervalSeconds)
    found.push('blocks.retarget.timespanSeconds: must be at least blocks.intervalSeconds')
  if (file.ports.p2p === file.ports.rpc) found.push('ports.rpc: must differ from ports.p2p')
  if (blocks.challenge !== undefined) {
    const { type } = classifyScript(hexToBytes(blocks.challenge))
    // BIP 325 checks without taproot: such a challenge would ask for nothing.
    if (!['p2pk', 'p2pkh', 'multisig', 'p2wpkh', 'p2wsh', 'p2sh'].includes(type))
      found.push('blocks.challenge: must be a key, a multisig, or a hash of either (no taproot): see new-network --signers')
  }
  if (fork !== undefined && fork.height < Math.max(activation.bip34, activation.bip65, activation.bip66))
    found.push(
      'fork.height: must not be below activation.bip34, bip65 and bip66: older programs would take the blocks of the fork',
    )
  return found
}

const networkOf = (file: Checked): Network => {
  const { genesis, addresses, blocks, subsidy, activation, fork } = file
  const { retarget, challenge } = blocks
  const number = (text: string): number => parseInt(text, 16)
  const initialSubsidy = Sat(BigInt(subsidy.initialSat))
  return customNetwork(networks.regtest, {
    name: file.name,
    magic: hexToBytes(file.magic),
    genesis: genesisBlock(genesis.time, genesis.nonce, number(genesis.bits), genesis.text, NO_KEY, initialSubsidy),
    port: file.ports.p2p,
    rpcPort: file.ports.rpc,
    bech32Prefix: addresses.bech32,
    pubkeyHashPrefix: addresses.pubkeyHash,
    scriptHashPrefix: addresses.scriptHash,
    wifPrefix: addresses.wif,
    bolt11Prefix: addresses.bolt11,
    bip32: { public: number(addresses.bip32.public), private: number(addresses.bip32.private) },
    coinType: addresses.coinType,
    powLimit: targetFromBits(number(blocks.proofOfWorkLimit)) as bigint,
    initialSubsidy,
    subsidyHalvingInterval: subsidy.halvingBlocks === 'never' ? Infinity : subsidy.halvingBlocks,
    targetSpacingSeconds: blocks.intervalSeconds,
    targetTimespanSeconds: retarget === 'none' ? blocks.intervalSeconds * 2016 : retarget.timespanSeconds,
    allowMinDifficultyBlocks: retarget !== 'none' && retarget.minDifficulty,
    noRetargeting: retarget === 'none',
    enforceBip94: retarget !== 'none' && retarget.bip94,
    bip34Height: activation.bip34,
    bip65Height: activation.bip65,
    bip66Height: activation.bip66,
    csvHeight: activation.csv,
    segwitHeight: activation.segwit,
    ...(challenge === undefined ? {} : { signetChallenge: hexToBytes(challenge) }),
    ...(fork === undefined ? {} : { fork }),
  })
}

/** The same from the text of a file. */
export const networkFromText = (text: string): Network | readonly string[] => {
  let content: unknown
  try {
    content = JSON.parse(text)
  } catch (error) {
    return [`is not JSON: ${(error as Error).message}`]
  }
  return networkFromFile(content)
}

/** The network of a file's content (parsed JSON), or what is wrong with it, a line for each field: its name, and what to do. */
export const networkFromFile = (content: unknown): Network | readonly string[] => {
  const result = networkFileSchema.safeParse(content)
  if (!result.success)
    return result.error.issues.map(({ path, message }) => (path.length === 0 ? message : `${path.join('.')}: ${message}`))
  const network = networkOf(result.data)
  const wrong = contradictions(result.data, network)
  return wrong.length > 0 ? wrong : network
}
