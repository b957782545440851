#!/usr/bin/env node
/** The ledger daemon: `leyden-ledger`. Configuration, start, signals; everything else is daemon.ts. */
import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineCommand, runCommand, showUsage } from 'citty'
import { pino } from 'pino'
import { ConfigError, defaultDatadir, loadConfig } from './config.ts'
import { MEMPOOL_HELP } from './mempool-config.ts'
import { startLedger } from './daemon.ts'
import { PEER_HELP } from './p2p/help.ts'
import { newKeyCommand, newNetworkCommand } from './new-network.ts'
import { Stopping } from './warmup.ts'

/** Each flag is also known by its name in lower case, as bitcoind writes them. */
const text = (name: string, description: string, valueHint: string) =>
  ({ type: 'string', description, valueHint, ...(name === name.toLowerCase() ? {} : { alias: [name.toLowerCase()] }) }) as const

const flagsOf = (help: typeof MEMPOOL_HELP | typeof PEER_HELP) =>
  Object.fromEntries(Object.entries(help).map(([name, [hint, about]]) => [name, text(name, about, hint)]))

const args = {
  datadir: text('datadir', `where the chain is kept (default ${defaultDatadir()})`, 'path'),
  network: text('network', 'regtest, signet, testnet4 or mainnet (default regtest)', 'name'),
  networkFile: text('networkFile', 'a network of your own, from new-network', 'path'),
  signetChallenge: text('signetChallenge', 'with --network signet: another challenge than the public one', 'hex'),
  signingKeys: text('signingKeys', 'WIF keys that sign blocks (better in the file or the environment)', 'key,key'),
  dbCacheMib: text('dbCacheMib', 'memory for the cache of coins (default 256)', 'MiB'),
  pruneMib: text(
    'pruneMib',
    '0 keeps all blocks, 1 prunes when told to, from 550 on the size of the block files (default 0)',
    'MiB',
  ),
  blocksDir: text('blocksDir', 'where block files are kept (default: blocks in the data directory)', 'path'),
  loadBlock: text('loadBlock', 'files with blocks to take first, separated by commas', 'path'),
  reindex: text('reindex', 'build everything again from the block files', 'true|false'),
  reindexChainstate: text('reindexChainstate', 'build coins and indices again from the blocks', 'true|false'),
  txIndex: text('txIndex', 'keep an index of transactions (default true, unless blocks are pruned)', 'true|false'),
  coinStatsIndex: text(
    'coinStatsIndex',
    'keep an index of figures about all coins after each block (default false)',
    'true|false',
  ),
  blockFilterIndex: text('blockFilterIndex', 'keep an index of block filters, BIP 158 (default true)', 'true|false'),
  rpcBind: text('rpcBind', 'addresses for RPC, the first for the link too (default 127.0.0.1)', 'host[:port]'),
  rpcAllowIp: text('rpcAllowIp', 'networks that may connect to RPC besides this machine, separated by commas', 'ip[/bits]'),
  rpcPort: text('rpcPort', 'port of JSON-RPC (default 18443 on regtest)', 'port'),
  p2pBind: text('p2pBind', 'address for peers (default 127.0.0.1)', 'address'),
  p2pPort: text('p2pPort', 'port for peers (default 18444 on regtest)', 'port'),
  linkPort: text('linkPort', 'port of the link for channel services (default: RPC port + 2)', 'port'),
  rpcUser: text('rpcUser', 'user for JSON-RPC beside the cookie file', 'name'),
  rpcPassword: text('rpcPassword', 'its password (better in the file or the environment)', 'password'),
  rpcAuth: text('rpcAuth', 'further users with hashed passwords, separated by commas', 'user:salt$hash'),
  rpcCookieFile: text('rpcCookieFile', 'where the cookie is (default: .cookie in the data directory)', 'path'),
  rest: text('rest', "serve bitcoind's REST interface, without a password (default false)", 'true|false'),
  blockNotify: text('blockNotify', 'command for each new block; %s in it is its hash', 'command'),
  startupNotify: text('startupNotify', 'command at the start', 'command'),
  shutdownNotify: text('shutdownNotify', 'command at the end', 'command'),
  connect: text('connect', 'peers to stay connected to, and to no others, separated by commas', 'host:port'),
  minerAddress: text('minerAddress', 'mine to this address, with --block-every', 'address'),
  blockEvery: text('blockEvery', 'mine a block every so many seconds', 'seconds'),
  assumeValid: text('assumeValid', "scripts at and below this block need not run; 0 runs all (default: the network's)", 'hash'),
  scriptCacheMib: text('scriptCacheMib', 'memory for known signatures and scripts (default 32)', 'MiB'),
  scriptThreads: text('scriptThreads', 'threads that run scripts; 0 all cores, below 0 all but so many (default 0)', 'number'),
  ...flagsOf(PEER_HELP),
  ...flagsOf(MEMPOOL_HELP),
  logLevel: text('logLevel', 'debug, info, warn, error or silent (default info)', 'level'),
} as const

const command = defineCommand({
  meta: {
    name: 'leyden-ledger',
    version: '0.1.0',
    description:
      'A Bitcoin base-layer node: validates the chain, keeps the mempool, mines on regtest, speaks the JSON-RPC of bitcoind and P2P. ' +
      'leyden-ledger new-network and new-key make a network of your own. ' +
      'Settings may also stand in DATADIR/ledger.json ("blockEvery") or in the environment (LEYDEN_LEDGER_BLOCK_EVERY).',
  },
  args,
  async run({ args: given, rawArgs }) {
    const unknown = rawArgs.find((word) => !isKnown(word.split('=', 1)[0] as string) && word.startsWith('-'))
    if (unknown !== undefined) throw new ConfigError(`unknown flag ${unknown}: --help lists what there is`)
    if (given._.length > 0) throw new ConfigError(`unexpected argument ${given._[0]}`)
    const config = loadConfig(
      Object.fromEntries(Object.keys(args).map((name) => [name, given[name as keyof typeof args]])),
      process.env,
    )
    const lines = pino.destination({ dest: 1, sync: true })
    lines.on('error', () => undefined) // a disk too full for the log must not end the ledger
    const log = pino({ level: config.logLevel, base: { service: 'ledger' } }, lines)
    const end = new AbortController()
    const stop = (signal: NodeJS.Signals): void => {
      log.info({ signal }, 'stopping')
      end.abort()
    }
    process.on('SIGTERM', stop)
    process.on('SIGINT', stop)
    try {
      const ledger = await startLedger(config, log, { signal: end.signal })
      await ledger.stopped
    } catch (error) {
      if (!(error instanceof Stopping)) throw error
    } finally {
      process.off('SIGTERM', stop)
      process.off('SIGINT', stop)
    }
    log.info({}, 'stopped')
  },
})

const kebab = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
const FLAGS = new Set(Object.keys(args).flatMap((name) => [name, name.toLowerCase(), kebab(name)].map((flag) => `--${flag}`)))
const isKnown = (flag: string): boolean => FLAGS.has(flag)

/** Mistakes of whoever starts it, told in one line. */
const EXPECTED = new Set(['ConfigError', 'CookieError', 'FutureTip', 'PortTaken', 'StoreInUse', 'StoreMismatch', 'CLIError'])

/** Runs one command with what follows its name. */
const run = async (argv: readonly string[]): Promise<void> => {
  const asksHelp = argv.includes('--help') || argv.includes('-h')
  const [first, ...rest] = argv
  if (first === 'new-network') {
    if (asksHelp) return showUsage(newNetworkCommand)
    await runCommand(newNetworkCommand, { rawArgs: rest })
  } else if (first === 'new-key') {
    if (asksHelp) return showUsage(newKeyCommand)
    await runCommand(newKeyCommand, { rawArgs: rest })
  } else {
    if (asksHelp) return showUsage(command)
    await runCommand(command, { rawArgs: [...argv] })
  }
}

/** Runs the command line. */
export const main = async (argv: readonly string[]): Promise<void> => {
  if (argv.includes('--version')) return void process.stdout.write('0.1.0\n')
  try {
    await run(argv)
  } catch (error) {
    const isExpected = error instanceof Error && EXPECTED.has(error.name)
    const told =
      isExpected || !(error instanceof Error)
        ? String(error instanceof Error ? error.message : error)
        : (error.stack ?? error.message)
    process.stderr.write(`leyden-ledger: ${told}\n`)
    process.exitCode = 1
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  await main(process.argv.slice(2))
