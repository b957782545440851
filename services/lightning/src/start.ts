/**
 * The daemon: configuration, store, chain, node, HTTP, signals; closed in reverse.
 */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { backendName, randomBytes, selfTest } from '@leyden/crypto'
import { bytesToHex } from '@leyden/codec'
import { lmdbStore } from '@leyden/runtime/store/lmdb'
import { type ArgsDef, type CommandDef, defineCommand } from 'citty'
import { pino } from 'pino'
import { chainLink } from './chain-link.ts'
import { type Config, ConfigError, loadConfig } from './config.ts'
import { defaultDatadir } from './datadir.ts'
import { serveHttp } from './http.ts'
import type { Log } from './log.ts'
import { depthOf } from './funding-depth.ts'
import { useNativeCrypto } from './native-crypto.ts'
import { networkOf } from './network.ts'
import { createNode } from './node.ts'
import { loadSeed } from './seed-file.ts'
import { systemClock, systemRandom } from './system.ts'
import { tcpNet } from './tcp.ts'
import { createWalletService } from './wallet-service.ts'
import { withWebSocket } from './websocket.ts'

export const VERSION = '0.1.0'

export interface Running {
  /** `http://host:port` of the wallet API. */
  readonly url: string
  readonly nodeId: string
  /** Where peers reach it, port included. */
  readonly listening: readonly string[]
  readonly tokenFile: string
  /** Rejects when the node met a fault and had to stop. */
  readonly failed: Promise<never>
  stop(): Promise<void>
}

/** Starts a node in this process. Rejects with a message for the operator when something stands in the way. */
export const startLightning = async (config: Config, log: Log): Promise<Running> => {
  selfTest()
  useNativeCrypto()
  mkdirSync(config.datadir, { recursive: true, mode: 0o700 })
  const network = networkOf(config)
  const closing: (() => Promise<void> | void)[] = []
  const stop = async (): Promise<void> => {
    for (const close of closing.splice(0).toReversed()) await close()
  }
  try {
    const store = lmdbStore({ path: join(config.datadir, 'db') })
    closing.push(() => store.close())
    const { seed, created } = loadSeed(config.datadir, systemRandom)
    if (created) log.warn({ file: join(config.datadir, 'seed') }, 'a new seed was made: copy its words to a safe place')
    const chain = chainLink({ url: config.ledger, cookieFile: config.ledgerCookie, network, log })
    closing.push(() => chain.stop())
    let fail: (error: unknown) => void = () => undefined
    const failed = new Promise<never>((_, reject) => {
      fail = reject
    })
    failed.catch(() => undefined)
    const ports = { store, clock: systemClock, random: systemRandom, net: withWebSocket(tcpNet()), chain, log, onFault: fail }
    const node = await createNode(ports, {
      network,
      seed,
      alias: config.alias,
      announce: config.announce,
      relay: {
        feeBaseMsat: config.feeBaseMsat,
        feeProportionalMillionths: config.feeProportionalMillionths,
        cltvExpiryDelta: config.cltvExpiryDelta,
      },
      ...depthOf(config, network),
    })
    closing.push(() => node.stop())
    const listening: string[] = []
    for (const address of [...config.listen, ...config.listenWebsocket.map((one) => `ws:${one}`)])
      listening.push(await node.listen(address))
    const token = bytesToHex(randomBytes(32))
    const service = createWalletService(node, { token, version: VERSION, listening })
    const http = await serveHttp({ service, address: config.api, allowedHosts: config.apiHosts, version: VERSION, log })
    closing.push(() => http.stop())
    const tokenFile = join(config.datadir, 'api.cookie')
    writeFileSync(tokenFile, `${token}\n`, { mode: 0o600 })
    chmodSync(tokenFile, 0o600)
    log.info({ url: http.url, nodeId: node.nodeId, listening, tokenFile, curves: backendName, version: VERSION }, 'ready')
    return { url: http.url, nodeId: node.nodeId, listening, tokenFile, failed, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

const args = {
  datadir: { type: 'string', description: 'directory of seed, database and token', valueHint: defaultDatadir() },
  network: { type: 'string', description: 'regtest, signet, testnet4 or mainnet', valueHint: 'regtest' },
  networkFile: { type: 'string', description: "a network of your own: the ledger's network file", valueHint: 'path' },
  alias: { type: 'string', description: 'the name that others see' },
  listen: {
    type: 'string',
    description: 'where peers connect over TCP: host:port, several with commas',
    valueHint: '127.0.0.1:9735',
  },
  listenWebsocket: { type: 'string', description: 'where peers connect over WebSocket' },
  announce: { type: 'string', description: 'addresses to announce to the network' },
  api: { type: 'string', description: 'where the wallet API listens', valueHint: '127.0.0.1:9740' },
  apiHosts: { type: 'string', description: 'more hostnames under which the API may be called' },
  ledger: { type: 'string', description: "the ledger's link", valueHint: 'ws://127.0.0.1:18445' },
  ledgerCookie: { type: 'string', description: "the ledger's .cookie file" },
  logLevel: { type: 'string', description: 'debug, info, warn, error or silent', valueHint: 'info' },
  feeBaseMsat: { type: 'string', description: 'base fee for forwarding' },
  feeProportionalMillionths: { type: 'string', description: 'proportional fee for forwarding' },
  cltvExpiryDelta: { type: 'string', description: 'blocks that forwarding takes' },
  minimumDepth: { type: 'string', description: 'confirmations that a channel needs (default: by its value, on regtest 3)' },
  attackerPercent: { type: 'string', description: 'the most work that one attacker may have, in percent', valueHint: '10' },
  maxLossSat: { type: 'string', description: 'what a channel may lose on average to him', valueHint: '10000' },
} as const satisfies ArgsDef

/** `leyden start`: runs until a signal, a fault, or a reason not to start. */
export const startCommand: CommandDef<typeof args> = defineCommand({
  meta: {
    description: 'run the node. Settings come from flags, LEYDEN_* variables, DATADIR/leyden.json, defaults, in this order',
  },
  args,
  run: async ({ args: flags }) => {
    let running: Running | undefined
    try {
      const config = loadConfig(flags, process.env)
      const lines = pino.destination({ dest: 1, sync: true })
      lines.on('error', () => undefined) // a disk too full for the log must not end the node
      const log = pino({ level: config.logLevel, base: null, timestamp: pino.stdTimeFunctions.isoTime }, lines)
      running = await startLightning(config, {
        debug: (data, message) => log.debug(data, message),
        info: (data, message) => log.info(data, message),
        warn: (data, message) => log.warn(data, message),
        error: (data, message) => log.error(data, message),
      })
    } catch (error) {
      process.stderr.write(`${error instanceof ConfigError ? `configuration: ${error.message}` : (error as Error).message}\n`)
      process.exit(1)
    }
    const signal = new Promise<string>((resolve) => {
      // Ctrl-C reaches us twice, from the terminal and from the launcher: once only must not cut the stop short.
      for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => resolve(name))
    })
    const code = await Promise.race([signal, running.failed]).then(
      () => 0,
      (fault: unknown) => {
        process.stderr.write(
          `the node stopped before anything wrong could leave it: ${(fault as Error).stack ?? String(fault)}\n`,
        )
        return 70
      },
    )
    await running.stop()
    process.exit(code)
  },
})
