#!/usr/bin/env node
/**
 * The ledger daemon in bitcoind's place: `leyden-bitcoind`. Its options, its bitcoin.conf, its files where tools look for them
 * (.cookie, bitcoind.pid, debug.log), its messages when it does not start. What an option sets is bitcoind/options.ts.
 */
import { existsSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { findNetwork, networks, signetMagic } from '@leyden/bitcoin'
import { checkSettings } from './bitcoind/check.ts'
import { openDebugLog, type DebugLog } from './bitcoind/debug-log.ts'
import { configOf, OPTIONS } from './bitcoind/options.ts'
import { InitError, PROGRAM, readSettings, type ChainName, type Settings } from './bitcoind/settings.ts'
import { CookieError } from './cookie.ts'
import { FutureTip, startLedger, userAgentOf, VERSION } from './daemon.ts'
import { IndexBehindPruned } from './open-chain.ts'
import { Stopping } from './warmup.ts'

const NETWORKS: Readonly<Record<ChainName, 'mainnet' | 'testnet4' | 'signet' | 'regtest' | undefined>> = {
  main: 'mainnet',
  test: undefined,
  testnet4: 'testnet4',
  signet: 'signet',
  regtest: 'regtest',
}

const helpText = (): string => {
  const rows = Object.entries(OPTIONS)
    .filter(([, { about }]) => about !== undefined)
    .map(([name, { hint, about }]) => `  -${name}${hint === undefined ? '' : `=${hint}`}\n       ${about}\n`)
  return `Usage:  leyden-bitcoind [options]\n\nOptions:\n\n${rows.join('\n')}\nThe other options of bitcoind 28 are taken and change nothing.\n`
}

const openLog = (settings: Settings): { readonly debugLog: DebugLog; readonly logPath: string | undefined } => {
  const logPath = settings.path('debuglogfile', 'debug.log', true)
  const wanted = settings.list('debug')
  let debugLog: DebugLog
  try {
    debugLog = openDebugLog({
      path: logPath,
      console: settings.bool('printtoconsole') ?? true,
      fresh: settings.bool('shrinkdebugfile') ?? wanted.length === 0,
    })
  } catch {
    throw new InitError(`Could not open debug log file ${logPath}`)
  }
  if (!wanted.some((name) => name === '0' || name === 'none')) for (const name of wanted) debugLog.categories.set(name, true)
  for (const name of settings.list('debugexclude')) debugLog.categories.set(name, false)
  return { debugLog, logPath }
}

/** The challenge of a signet of one's own, undefined for the public one's. Bitcoin Core chainparams.cpp, ReadSigNetArgs. */
const signetChallengeOf = (settings: Settings): Uint8Array | undefined => {
  const given = settings.list('signetchallenge')
  if (given.length > 1) throw new InitError('-signetchallenge cannot be multiple values.')
  const [hex] = given
  if (hex === undefined) return undefined
  if (!/^(?:[0-9a-fA-F]{2})+$/.test(hex)) throw new InitError(`-signetchallenge must be hex, not '${hex}'.`)
  return hexToBytes(hex.toLowerCase())
}

/** Data that Bitcoin Core wrote: not ours to write into. */
const isForeign = (chainDir: string): boolean => existsSync(join(chainDir, 'chainstate', 'CURRENT'))

const run = async (words: readonly string[]): Promise<void> => {
  const settings = readSettings(words)
  for (const notice of settings.notices) process.stderr.write(`${notice}\n`)
  const given = (name: string): boolean => settings.text(name) !== undefined
  if (given('version')) return void process.stdout.write(`${PROGRAM} version v${VERSION}\n`)
  if (['?', 'h', 'help', 'help-debug'].some(given))
    return void process.stdout.write(`${PROGRAM} version v${VERSION}\n\n${helpText()}`)
  const name = NETWORKS[settings.chain]
  const network = name === undefined ? undefined : findNetwork(name)
  if (name === undefined || network === undefined) throw new InitError(`the chain ${settings.chain} is not supported`)
  const challenge = name === 'signet' ? (signetChallengeOf(settings) ?? networks.signet.signetChallenge) : undefined
  const { chainDir } = settings
  if (isForeign(chainDir))
    throw new InitError(`The data directory ${chainDir} belongs to Bitcoin Core: choose another one with -datadir`)
  const { debugLog, logPath } = openLog(settings)
  const { log } = debugLog
  log.info({}, `${PROGRAM} version v${VERSION}`)
  log.info({}, `Using data directory ${chainDir}`)
  log.info({}, `Config file: ${settings.configFile}${existsSync(settings.configFile) ? '' : ' (not found, skipping)'}`)
  for (const line of settings.told) log.info({}, line)
  if (challenge !== undefined) log.info({}, `Signet derived magic (message start): ${bytesToHex(signetMagic(challenge))}`)
  checkSettings(settings, userAgentOf)
  for (const warning of settings.warnings) {
    process.stderr.write(`Warning: ${warning}\n`)
    log.warn({}, warning)
  }
  const pidFile = settings.path('pid', 'bitcoind.pid', true)
  const end = new AbortController()
  const stop = (): void => end.abort()
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  let isHeld = false
  try {
    const ledger = await startLedger({ ...configOf(settings, network.port), network: name, datadir: chainDir }, log, {
      signal: end.signal,
      logCategories: debugLog.categories,
      ...(logPath === undefined ? {} : { logPath }),
      onHeld() {
        isHeld = true
        if (pidFile !== undefined) writeFileSync(pidFile, `${process.pid}\n`)
      },
    })
    await ledger.stopped
  } catch (error) {
    if (!(error instanceof Stopping)) throw error
  } finally {
    process.off('SIGTERM', stop)
    process.off('SIGINT', stop)
    if (isHeld && pidFile !== undefined) rmSync(pidFile, { force: true })
  }
  log.info({}, 'Shutdown: done')
}

const alreadyRunning = (words: readonly string[]): string =>
  `Cannot obtain a lock on data directory ${readSettings(words).chainDir}. ${PROGRAM} is probably already running.`

/** Runs the command line; the exit code is set. */
export const bitcoind = async (words: readonly string[]): Promise<void> => {
  try {
    await run(words)
  } catch (error) {
    process.exitCode = 1
    if (error instanceof InitError) {
      const details = error.details.length === 0 ? '' : `:\n${error.details.map((detail) => `- ${detail}`).join('\n')}`
      process.stderr.write(`Error: ${error.message}${details}\n`)
      return
    }
    if (error instanceof Error && error.name === 'StoreInUse') {
      process.stderr.write(`Error: ${alreadyRunning(words)}\n`)
      return
    }
    if (error instanceof CookieError) {
      process.stderr.write('Error: Unable to start HTTP server. See debug log for details.\n')
      return
    }
    if (error instanceof FutureTip) {
      process.stderr.write(`: ${error.message}\nPlease restart with -reindex or -reindex-chainstate to recover.\n`)
      return
    }
    if (error instanceof IndexBehindPruned) {
      const more = 'A fatal internal error occurred, see debug.log for details: Failed to start indexes, shutting down..'
      process.stderr.write(`Error: ${error.message}\nError: ${more}\n`)
      return
    }
    const isExpected = error instanceof Error && ['ConfigError', 'PortTaken', 'StoreMismatch'].includes(error.name)
    process.stderr.write(`Error: ${error instanceof Error ? (isExpected ? error.message : error.stack) : String(error)}\n`)
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  await bitcoind(process.argv.slice(2))
