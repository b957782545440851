/**
 * Making a network file: fresh magic, a genesis block with its proof of work done, sound choices for what is not said.
 * `leyden-ledger new-network`; `leyden-ledger new-key` makes a key for one who signs blocks. What the fields mean: specs/own-network.md.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { isValidPoint, pointFromSecret, randomBytes, randomSecret } from '@leyden/crypto'
import {
  blockHash,
  encodeWif,
  genesisBlock,
  MAX_FORK_ID,
  multisigScript,
  networks,
  NO_KEY,
  Sat,
  type Network,
} from '@leyden/bitcoin'
import { networkFromFile, type NetworkFile } from '@leyden/bitcoin/network-file'
import { findNonce } from '@leyden/ledger'
import { defineCommand } from 'citty'
import { ConfigError } from './config.ts'
import { readNetworkFile } from './network.ts'

const text = (description: string, valueHint: string) => ({ type: 'string', description, valueHint }) as const

/** Flags of new-network, in citty's form. */
const args = {
  name: text('its name: lower-case letters, digits, hyphens', 'name'),
  out: text('where the file goes (default NAME.json)', 'path'),
  blockInterval: text('seconds between blocks (default 600)', 'seconds'),
  signers: text(
    'public keys of those who make the blocks, separated by commas (from new-key); without it blocks have work',
    'key,key',
  ),
  threshold: text('how many of them must sign a block (default: more than half)', 'n'),
  subsidy: text('new satoshis in each block (default 5000000000)', 'satoshis'),
  halving: text('blocks after which that halves, or never (default 210000)', 'blocks'),
  proofOfWorkLimit: text('the least work, as compact bits (default 207fffff where blocks are signed, else 1f00ffff)', 'bits'),
  p2pPort: text('port for peers (default: one at random)', 'port'),
  rpcPort: text('port of JSON-RPC (default: the next)', 'port'),
  text: text('what the genesis block says (default: name and time)', 'text'),
  forkOf: text('make a fork of the network of this file: the same but for name, magic, ports, prefixes and signatures', 'path'),
  forkHeight: text('the first block of the fork', 'height'),
} as const

type Given = { readonly [name in keyof typeof args]?: string | undefined }

const flagOf = (name: string): string => `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`

const numberOf = (given: Given, name: keyof Given, fallback: number): number => {
  const value = given[name]
  if (value === undefined) return fallback
  if (!/^\d{1,10}$/.test(value)) throw new ConfigError(`${flagOf(name)}: must be a whole number, not ${value}`)
  return Number(value)
}

/** OP_16. */
const MAX_SIGNERS = 16

const challengeOf = ({ signers, ...given }: Given): string | undefined => {
  if (signers === undefined) {
    if (given.threshold !== undefined) throw new ConfigError('--threshold: says how many of the --signers sign: give them too')
    return undefined
  }
  const keys = signers.split(',').map((one) => one.trim().toLowerCase())
  for (const key of keys)
    if (!/^0[23][0-9a-f]{64}$/.test(key) || !isValidPoint(hexToBytes(key)))
      throw new ConfigError(`--signers: ${key} is no public key: 66 hex digits, as new-key prints them`)
  if (new Set(keys).size !== keys.length) throw new ConfigError('--signers: a key stands there twice')
  if (keys.length > MAX_SIGNERS) throw new ConfigError(`--signers: at most ${MAX_SIGNERS} keys fit in a challenge`)
  const threshold = numberOf({ threshold: given.threshold }, 'threshold', Math.floor(keys.length / 2) + 1)
  if (threshold < 1 || threshold > keys.length)
    throw new ConfigError(`--threshold: must be 1 to ${keys.length}, the number of signers`)
  return bytesToHex(multisigScript(threshold, keys.map(hexToBytes)))
}

/** Letters only, since an amount follows it in an invoice. */
const prefixOf = (name: string): string => {
  const letters = name.replaceAll(/[^a-z]/g, '').slice(0, 20)
  return letters.length < 2 || letters === 'bc' ? `${letters}net` : letters
}

/** Not ASCII, so that nothing else is taken for it. */
const freshMagic = (): string => bytesToHex(randomBytes(4).map((byte) => byte | 0x80))

/** A whole number below a limit of at most three bytes, each as likely as the others to one in a million. */
const randomBelow = (limit: number): number => Number(BigInt(`0x${bytesToHex(randomBytes(8))}`) % BigInt(limit))

const portsOf = (given: Given): { p2p: number; rpc: number } => {
  const p2p = numberOf(given, 'p2pPort', 20_000 + 4 * randomBelow(3000))
  return { p2p, rpc: numberOf(given, 'rpcPort', p2p + 1) }
}

const own = (given: Given, name: string, nowSeconds: number): NetworkFile => {
  const challenge = challengeOf(given)
  const limit = given.proofOfWorkLimit ?? (challenge === undefined ? '1f00ffff' : '207fffff')
  const interval = numberOf(given, 'blockInterval', 600)
  const { halving = '210000', subsidy = '5000000000' } = given
  const prefix = prefixOf(name)
  const test = networks.testnet4
  const hex32 = (n: number): string => n.toString(16).padStart(8, '0')
  return {
    name,
    magic: freshMagic(),
    genesis: {
      text: given.text ?? `${name} ${new Date(nowSeconds * 1000).toISOString()}`,
      time: nowSeconds,
      bits: limit,
      nonce: 0,
    },
    ports: portsOf(given),
    addresses: {
      bech32: prefix,
      pubkeyHash: test.pubkeyHashPrefix,
      scriptHash: test.scriptHashPrefix,
      wif: test.wifPrefix,
      bolt11: prefix,
      bip32: { public: hex32(test.bip32.public), private: hex32(test.bip32.private) },
      coinType: test.coinType,
    },
    blocks: {
      intervalSeconds: interval,
      proofOfWorkLimit: limit,
      // Where blocks are signed their work means nothing, so there is nothing to adapt.
      retarget: challenge === undefined ? { timespanSeconds: interval * 2016, minDifficulty: false, bip94: true } : 'none',
      ...(challenge === undefined ? {} : { challenge }),
    },
    subsidy: {
      initialSat: subsidy,
      halvingBlocks: halving === 'never' ? 'never' : numberOf({ halving }, 'halving', 0),
    },
  }
}

const mined = (file: NetworkFile): NetworkFile => {
  const { time, bits, text: says } = file.genesis
  const subsidy = /^\d{1,16}$/.test(file.subsidy.initialSat) ? BigInt(file.subsidy.initialSat) : 0n
  const block = genesisBlock(time, 0, parseInt(bits, 16) >>> 0, says, NO_KEY, Sat(subsidy))
  const nonce = findNonce(block, 0xffff_ffff)?.header.nonce ?? 0
  return { ...file, genesis: { ...file.genesis, nonce } }
}

const forked = (given: Given, name: string, path: string): NetworkFile => {
  readNetworkFile(path) // told in its own words when it is not one
  const base = JSON.parse(readFileSync(path, 'utf8')) as NetworkFile
  if (given.forkHeight === undefined) throw new ConfigError('--fork-height: say at which height the fork begins')
  if (base.fork !== undefined) throw new ConfigError(`--fork-of: ${path} is of a fork itself: fork the ledger that it came from`)
  const prefix = prefixOf(name)
  return {
    ...base,
    name,
    magic: freshMagic(),
    ports: portsOf(given),
    addresses: { ...base.addresses, bech32: prefix, bolt11: prefix },
    fork: { id: 1 + randomBelow(MAX_FORK_ID), height: numberOf(given, 'forkHeight', 0) },
  }
}

/** A complete file for these flags. Throws {@link ConfigError} that names a flag or a field. */
export const newNetworkFile = (given: Given, nowSeconds: number): { readonly file: NetworkFile; readonly network: Network } => {
  const { name, forkOf } = given
  if (name === undefined) throw new ConfigError('--name: give the network a name')
  const file = forkOf === undefined ? mined(own(given, name, nowSeconds)) : forked(given, name, forkOf)
  const network = networkFromFile(file)
  if ('name' in network) return { file, network }
  throw new ConfigError(network.join('\n'))
}

const known = new Set(Object.keys(args).flatMap((name) => [`--${name}`, flagOf(name)]))

export const newNetworkCommand = defineCommand({
  meta: {
    name: 'leyden-ledger new-network',
    description: 'Writes the file of a network of your own. Every member starts its ledger with --network-file and this file.',
  },
  args,
  run({ args: given, rawArgs }) {
    const unknown = rawArgs.find((word) => word.startsWith('-') && !known.has(word.split('=', 1)[0] as string))
    if (unknown !== undefined) throw new ConfigError(`unknown flag ${unknown}: new-network --help lists what there is`)
    const { file, network } = newNetworkFile(given, Math.floor(Date.now() / 1000))
    const path = given.out ?? `${file.name}.json`
    try {
      writeFileSync(path, `${JSON.stringify(file, undefined, 2)}\n`, { flag: 'wx' })
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      throw new ConfigError(code === 'EEXIST' ? `--out: ${path} is there already` : `--out: ${message}`)
    }
    process.stdout.write(
      `${path}: network ${file.name}, genesis ${blockHash(network.genesis.header)}\n` +
        `Give the file to every member; each starts with: leyden-ledger --network-file ${path}\n`,
    )
  },
})

export const newKeyCommand = defineCommand({
  meta: { name: 'leyden-ledger new-key', description: 'Makes the key of one who signs blocks.' },
  args: {},
  run() {
    const secret = randomSecret()
    process.stdout.write(
      `public key:  ${bytesToHex(pointFromSecret(secret))}   for new-network --signers\n` +
        `signing key: ${encodeWif(secret, networks.testnet4)}   keep it secret; for LEYDEN_LEDGER_SIGNING_KEYS\n`,
    )
  },
})
