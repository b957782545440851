#!/usr/bin/env node
/** The ledger daemon: `leyden-ledger`. Configuration, start, signals; everything else is daemon.ts. */
import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineCommand, runMain } from 'citty'
import { pino } from 'pino'
import { ConfigError, defaultDatadir, loadConfig } from './config.ts'
import { startLedger } from './daemon.ts'

const text = (description: string, valueHint: string) => ({ type: 'string', description, valueHint }) as const

const command = defineCommand({
  meta: {
    name: 'leyden-ledger',
    version: '0.1.0',
    description:
      'A Bitcoin base-layer node: validates the chain, keeps the mempool, mines on regtest, speaks bitcoind’s JSON-RPC and P2P. ' +
      'Settings may also stand in DATADIR/ledger.json (blockEvery) or in the environment (LEYDEN_LEDGER_BLOCK_EVERY).',
  },
  args: {
    datadir: text(`where the chain is kept (default ${defaultDatadir()})`, 'path'),
    network: text('regtest, signet, testnet4 or mainnet (default regtest)', 'name'),
    rpcbind: text('address for RPC and link (default 127.0.0.1)', 'address'),
    rpcport: text('port of JSON-RPC (default 18443 on regtest)', 'port'),
    p2pbind: text('address for peers (default 127.0.0.1)', 'address'),
    p2pport: text('port for peers (default 18444 on regtest)', 'port'),
    linkport: text('port of the link for channel services (default: RPC port + 2)', 'port'),
    rpcuser: text('user for JSON-RPC beside the cookie file', 'name'),
    rpcpassword: text('its password', 'password'),
    connect: text('peers to stay connected to, separated by commas', 'host:port'),
    'miner-address': text('mine to this address, with --block-every', 'address'),
    'block-every': text('mine a block every so many seconds', 'seconds'),
    loglevel: text('debug, info, warn, error or silent (default info)', 'level'),
  },
  async run({ args }) {
    const flags = {
      datadir: args.datadir,
      network: args.network,
      rpcBind: args.rpcbind,
      rpcPort: args.rpcport,
      p2pBind: args.p2pbind,
      p2pPort: args.p2pport,
      linkPort: args.linkport,
      rpcUser: args.rpcuser,
      rpcPassword: args.rpcpassword,
      connect: args.connect,
      minerAddress: args['miner-address'],
      blockEvery: args['block-every'],
      logLevel: args.loglevel,
    }
    const config = loadConfig(flags, process.env)
    const log = pino({ level: config.logLevel, base: { service: 'ledger' } }, pino.destination({ dest: 2, sync: true }))
    const ledger = await startLedger(config, log)
    const stop = (signal: NodeJS.Signals): void => {
      log.info({ signal }, 'stopping')
      void ledger.stop()
    }
    process.once('SIGTERM', stop)
    process.once('SIGINT', stop)
    await ledger.stopped
    log.info({}, 'stopped')
  },
})

const EXPECTED = new Set(['ConfigError', 'PortTaken', 'StoreInUse', 'StoreMismatch'])

/** Runs the command line; a mistake of the caller's ends in one line and exit code 1. */
export const main = async (argv: readonly string[]): Promise<void> => {
  try {
    const { run } = command
    if (argv.includes('--help') || argv.includes('-h') || argv.includes('--version')) {
      await runMain(command, { rawArgs: [...argv] })
      return
    }
    if (run === undefined) throw new ConfigError('nothing to run')
    const { runCommand } = await import('citty')
    await runCommand(command, { rawArgs: [...argv] })
  } catch (error) {
    const known = error instanceof Error && (EXPECTED.has(error.name) || error.name === 'CLIError')
    process.stderr.write(
      `leyden-ledger: ${known ? error.message : String(error instanceof Error ? (error.stack ?? error) : error)}\n`,
    )
    process.exitCode = 1
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  await main(process.argv.slice(2))
