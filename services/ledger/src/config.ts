/**
 * Configuration of the ledger: flags over environment (LEYDEN_LEDGER_*) over DATADIR/ledger.json over defaults. Checked once, at start.
 */
import { existsSync, readFileSync } from 'node:fs'
import { BlockList } from 'node:net'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { decodeAddress, findNetwork, isAddressProblem, networks } from '@leyden/bitcoin'
import { DEFAULT_BAN_SECONDS, MAX_ORPHANS } from '@leyden/p2p'
import { z } from 'zod'
import { parseHashedUser } from './credentials.ts'
import { mempoolConfigProblem, mempoolShape } from './mempool-config.ts'
import { addSubnet } from './subnet.ts'

const port = z.coerce.number().int().min(0).max(65_535)
const words = (value: unknown): unknown => (typeof value === 'string' ? value.split(',').filter((part) => part !== '') : value)
const flag = z.preprocess(
  (value) => (value === 'true' || value === '1' ? true : value === 'false' || value === '0' ? false : value),
  z.boolean(),
)
const list = z.preprocess(words, z.array(z.string().regex(/^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$/, 'host:port')).max(64))

export const configSchema = z
  .strictObject({
    network: z.enum(Object.keys(networks) as [keyof typeof networks]).default('regtest'),
    /** A network of one's own, in place of `network`. */
    networkFile: z.string().min(1).optional(),
    /** With network signet: another challenge than the public one's, hex. */
    signetChallenge: z
      .string()
      .regex(/^([0-9a-fA-F]{2}){1,252}$/, 'a script of 1 to 252 bytes in hex')
      .optional(),
    /** WIF keys with which this daemon signs blocks, where blocks are signed. */
    signingKeys: z.preprocess(words, z.array(z.string().max(60)).max(20)).default([]),
    /** Name of the store's directory in the data directory. */
    store: z
      .string()
      .regex(/^[a-z]{1,20}$/)
      .default('chain'),
    /** Memory for the cache of coins, MiB: bitcoind's -dbcache. */
    dbCacheMib: z.coerce.number().int().min(4).max(16_384).default(256),
    /** 0 keeps every block; 1 deletes old ones when told to (pruneblockchain); 550 and more whenever the files are larger, MiB. */
    pruneMib: z.coerce.number().int().min(0).max(2_000_000_000).default(0),
    /** Block files of 64 KiB, and shorter chains are pruned. For tests. */
    fastPrune: flag.default(false),
    /** Where block files are kept; default: blocks in the data directory. */
    blocksDir: z.string().min(1).optional(),
    /** Files with blocks to take before anything else. */
    loadBlock: z.preprocess(words, z.array(z.string().min(1))).default([]),
    /** Build the chain again from the block files alone; for one start. */
    reindex: flag.default(false),
    /** Build coins and indices again from the blocks in the index; for one start. */
    reindexChainstate: flag.default(false),
    /** An index of transactions, so that any of them can be asked for. Not with pruneMib. Default: yes unless blocks are pruned. */
    txIndex: flag.optional(),
    /** An index of figures about all coins after each block. */
    coinStatsIndex: flag.default(false),
    /** An index of the filters of BIP 158. */
    blockFilterIndex: flag.default(true),
    /** Addresses (`host` or `host:port`) where RPC listens, the first the link's too. Anything but loopback lets others try passwords. */
    rpcBind: z.preprocess(words, z.array(z.string().min(1)).min(1).max(16)).default(['127.0.0.1']),
    /** Networks that may connect to RPC besides this machine. */
    rpcAllowIp: z
      .preprocess(words, z.array(z.string().refine((text) => addSubnet(new BlockList(), text), 'an address or a network')))
      .default([]),
    /** Defaults are bitcoind's of the network; 0 takes a free port. */
    rpcPort: port.optional(),
    /** Addresses (`host` or `host:port`) where peers may connect. */
    p2pBind: z.preprocess(words, z.array(z.string().min(1)).min(1).max(16)).default(['127.0.0.1']),
    p2pPort: port.optional(),
    /** Whether peers may connect to us. */
    listen: flag.default(true),
    /** Comments in the user agent, BIP 14. */
    uaComment: z
      .preprocess(words, z.array(z.string().regex(/^[A-Za-z0-9 .,;_?@-]*$/, 'letters, digits and .,;_?@- only')))
      .default([]),
    /** Whether channel services may connect. */
    link: flag.default(true),
    /** Default: the RPC port and 2. */
    linkPort: port.optional(),
    /** Only on regtest: `name@height`, from which height a rule holds (bip34, dersig, cltv, csv, segwit). For tests. */
    activationHeights: z.preprocess(words, z.array(z.string()).max(20)).default([]),
    /** The clock stands still at this time, seconds since 1970; 0 lets it run. For tests. */
    mockTime: z.coerce.number().int().min(0).max(0xffff_ffff).default(0),
    rpcUser: z
      .string()
      .max(100)
      .regex(/^[^:]*$/, 'without a colon')
      .optional(),
    rpcPassword: z.string().min(1).max(200).optional(),
    /** Further users with hashed passwords: `user:salt$hash`, as bitcoind's rpcauth. */
    rpcAuth: z
      .preprocess(words, z.array(z.string().refine((text) => parseHashedUser(text) !== undefined, 'user:salt$hash')))
      .default([]),
    /** What users may call: `user:call,call`. */
    rpcWhitelist: z.array(z.string()).default([]),
    /** Whether users without a whitelist may call nothing; default: when there is any. */
    rpcWhitelistDefault: flag.optional(),
    /** Default: .cookie in the data directory. */
    rpcCookieFile: z.string().min(1).optional(),
    /** Who may read the cookie. */
    rpcCookiePerms: z.enum(['owner', 'group', 'all']).default('owner'),
    /** Calls that run at once, calls that wait beyond, seconds of silence after which a connection is closed. */
    rpcThreads: z.coerce.number().int().min(1).max(1024).default(16),
    rpcWorkQueue: z.coerce.number().int().min(1).max(65_536).default(64),
    rpcServerTimeout: z.coerce.number().int().min(1).max(2_000_000).default(30),
    /** Peers to stay connected to, and to no others. */
    connect: list.default([]),
    /** Peers to stay connected to, beside those that are found. */
    addNode: z.preprocess(words, z.array(z.string().min(1).max(256)).max(256)).default([]),
    /** Find peers in the address book, where no peers to connect to are named; never on regtest. */
    findPeers: flag.default(true),
    /** Ask the public networks' DNS seeds when the address book is empty. */
    dnsSeed: flag.default(true),
    networkActive: flag.default(true),
    /** Write the messages of peers into `message_capture` in the data directory. */
    captureMessages: flag.default(false),
    maxConnections: z.coerce.number().int().min(0).max(10_000).default(125),
    /** Bytes that may be uploaded in a day, 0 for no limit: near its end old blocks are served no longer. */
    maxUploadTarget: z.coerce.number().int().min(0).default(0),
    /** Seconds without a handshake or a first message after which a peer is closed. */
    peerTimeout: z.coerce.number().int().min(1).max(1_000_000_000).default(60),
    /** Milliseconds for a connection to come about. */
    dialTimeout: z.coerce.number().int().min(1).max(600_000).default(5000),
    /** Give block filters to light clients (BIP 157); needs blockFilterIndex. */
    peerBlockFilters: flag.default(false),
    /** Seconds of a ban that says nothing else. */
    banTime: z.coerce.number().int().min(1).default(DEFAULT_BAN_SECONDS),
    /** Take and relay no transactions of peers, but of those that may. */
    blocksOnly: flag.default(false),
    /** What peers may do by their address: `noban,relay@10.0.0.0/8`. */
    whitelist: z
      .preprocess(
        (value) => (typeof value === 'string' ? value.split(/\s+/).filter((part) => part !== '') : value),
        z.array(z.string().max(200)).max(256),
      )
      .default([]),
    /** What peers may do that connect to us: `noban,relay`. */
    bindPermissions: z.string().max(200).default(''),
    /** Whether entries of the whitelist without permissions mean relay (default: yes, but with blocksOnly) and forcerelay as well. */
    whitelistRelay: flag.optional(),
    whitelistForceRelay: flag.default(false),
    /** Transactions kept whose parents are not here. */
    maxOrphans: z.coerce.number().int().min(0).max(10_000).default(MAX_ORPHANS),
    /** In 1000 bytes, for each peer: what waits to be taken, and what waits to be read by it. */
    maxReceiveBuffer: z.coerce.number().int().min(1).max(1_000_000).default(5000),
    maxSendBuffer: z.coerce.number().int().min(1).max(1_000_000).default(1000),
    /** Work that a chain must have before its blocks are fetched, hex; default: the network's. */
    minimumChainWork: z
      .string()
      .regex(/^(0x)?[0-9a-fA-F]{1,64}$/, 'up to 64 hex digits')
      .optional(),
    /** Scripts at and below this block need not run: a hash, or 0 for none; default: the network's. */
    assumeValid: z
      .string()
      .regex(/^(0x)?[0-9a-fA-F]{1,64}$/, 'up to 64 hex digits')
      .optional(),
    /** Seconds: with an older tip the ledger is still catching up. */
    maxTipAge: z.coerce.number().int().min(1).default(86_400),
    /** Addresses of fc00::/8 are of the CJDNS network. */
    cjdnsReachable: flag.default(false),
    /** `addrman`: an address book whose places are the same everywhere. For tests. */
    testOptions: z.preprocess(words, z.array(z.string().max(50)).max(20)).default([]),
    /** With blockEvery: mines a block every so many seconds to this address. */
    minerAddress: z.string().optional(),
    blockEvery: z.coerce.number().min(0.05).max(86_400).optional(),
    /** Memory for signatures and transactions that are known to be valid. */
    scriptCacheMib: z.coerce.number().int().min(1).max(1024).default(32),
    /** Threads that run scripts, the main one included: 0 all cores, below 0 all but so many. */
    scriptThreads: z.coerce.number().int().min(-256).max(256).default(0),
    ...mempoolShape,
    /** Whether bitcoind's REST interface is served on the RPC port, without a password. */
    rest: flag.default(false),
    /** What is published over ZeroMQ, and where: `tcp://host:port` or `ipc://path`. */
    zmq: z
      .array(
        z.strictObject({
          topic: z.enum(['hashblock', 'hashtx', 'rawblock', 'rawtx', 'sequence']),
          address: z.string(),
          hwm: z.number().int().min(0).default(1000),
        }),
      )
      .max(64)
      .default([]),
    /** Commands run by the system's shell; `%s` in blockNotify is the hash of the new block. */
    blockNotify: z.string().min(1).optional(),
    startupNotify: z.string().min(1).optional(),
    shutdownNotify: z.string().min(1).optional(),
    /** The ledger stops when the chain has this height; 0 for never. For tests. */
    stopAtHeight: z.coerce.number().int().min(0).default(0),
    logLevel: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
  })
  .check((context) => {
    const { network, networkFile, signetChallenge, rpcUser, rpcPassword, minerAddress, blockEvery } = context.value
    const { pruneMib, txIndex, fastPrune } = context.value
    const complain = (path: string, message: string): void =>
      void context.issues.push({ code: 'custom', path: [path], message, input: context.value })
    if (pruneMib !== 0 && txIndex === true) complain('pruneMib', 'Prune mode is incompatible with -txindex.')
    if (pruneMib > 1 && pruneMib < 550 && !fastPrune)
      complain('pruneMib', 'Prune configured below the minimum of 550 MiB. Please use a higher number.')
    if ((rpcUser === undefined) !== (rpcPassword === undefined)) complain('rpcUser', 'rpcUser and rpcPassword belong together')
    if ((minerAddress === undefined) !== (blockEvery === undefined))
      complain('minerAddress', 'minerAddress and blockEvery belong together')
    if (networkFile !== undefined && network !== 'regtest')
      complain('networkFile', 'a network file is a network of its own: leave out network')
    if (signetChallenge !== undefined && (network !== 'signet' || networkFile !== undefined))
      complain('signetChallenge', 'needs network signet; a network file holds its challenge in blocks.challenge')
    const mempool = mempoolConfigProblem(context.value, network)
    if (mempool !== undefined) complain('maxMempool', mempool)
    const parameters = networkFile === undefined ? findNetwork(network) : undefined
    if (minerAddress === undefined || parameters === undefined) return
    const script = decodeAddress(minerAddress, parameters)
    if (isAddressProblem(script)) complain('minerAddress', script.detail)
  })

export type LedgerConfig = z.output<typeof configSchema> & { readonly datadir: string }
/** What startLedger takes: everything has a default but the directory. */
export type LedgerConfigInput = z.input<typeof configSchema> & { readonly datadir: string }

/** A mistake in the configuration, in words for its author. */
export class ConfigError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'ConfigError'
  }
}

const KEYS = Object.keys(configSchema.shape) as (keyof typeof configSchema.shape)[]
const envName = (key: string): string => `LEYDEN_LEDGER_${key.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`

export const defaultDatadir = (): string => join(homedir(), '.leyden', 'ledger')

type Sources = Readonly<Record<string, string>>

const check = (settings: Readonly<Record<string, unknown>>, sources: Sources, datadir: string): LedgerConfig => {
  const result = configSchema.safeParse(settings)
  if (result.success) return { ...result.data, datadir }
  const lines = result.error.issues.map(({ path, message }) => {
    const name = String(path[0] ?? '')
    return `${name} (from ${sources[name] ?? 'defaults'}): ${message}`
  })
  throw new ConfigError(lines.join('\n'))
}

/** Fills in the defaults. Throws {@link ConfigError}. */
export const completeConfig = ({ datadir, ...settings }: LedgerConfigInput): LedgerConfig => check(settings, {}, resolve(datadir))

const readFile = (path: string): Readonly<Record<string, unknown>> => {
  if (!existsSync(path)) return {}
  let file: unknown
  try {
    file = JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new ConfigError(`${path} is not JSON: ${(error as Error).message}`)
  }
  if (typeof file !== 'object' || file === null || Array.isArray(file)) throw new ConfigError(`${path} is not a JSON object`)
  for (const name of Object.keys(file))
    if (!(KEYS as string[]).includes(name))
      throw new ConfigError(`${path}: unknown setting "${name}"; known are ${KEYS.join(', ')}`)
  return file as Record<string, unknown>
}

/** The configuration in force. Throws {@link ConfigError} naming the setting, where it came from, and what is wrong. */
export const loadConfig = (
  flags: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
): LedgerConfig => {
  const given = flags['datadir']
  const datadir = resolve(typeof given === 'string' ? given : (env['LEYDEN_LEDGER_DATADIR'] ?? defaultDatadir()))
  const path = join(datadir, 'ledger.json')
  const file = readFile(path)
  const settings: Record<string, unknown> = {}
  const sources: Record<string, string> = {}
  for (const key of KEYS) {
    const candidates: readonly (readonly [unknown, string])[] = [
      [flags[key], `--${key}`],
      [env[envName(key)], envName(key)],
      [file[key], path],
    ]
    const found = candidates.find(([value]) => value !== undefined)
    if (found === undefined) continue
    settings[key] = found[0]
    sources[key] = found[1]
  }
  return check(settings, sources, datadir)
}
