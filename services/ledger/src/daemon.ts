/**
 * The ledger as one running thing: store, engine, JSON-RPC, link, P2P, miner. It owns every resource and closes them in reverse.
 */
import { mkdirSync } from 'node:fs'
import type { Server } from 'node:http'
import { join } from 'node:path'
import { createAdaptorServer } from '@hono/node-server'
import { decodeAddress, isAddressProblem, signBlock, type Network } from '@leyden/bitcoin'
import { limitLog, type Log } from '@leyden/runtime'
import { lmdbStore } from '@leyden/runtime/store/lmdb'
import { withActivationHeights } from './activation.ts'
import { completeConfig, ConfigError, type LedgerConfig, type LedgerConfigInput } from './config.ts'
import { writeCookie } from './cookie.ts'
import { createLedgerEngine, type LedgerEngine } from './engine.ts'
import { listenForLinks } from './link-server.ts'
import { listenOn } from './listen.ts'
import { networkOf, signersOf } from './network.ts'
import { listenForPeers } from './p2p-server.ts'
import { createRpcApp } from './rpc/server.ts'
import { useNativeHashes } from './native-hash.ts'
import { createScriptPool, scriptThreadsOf } from './script-pool.ts'
import { settableClock, systemClock, systemRandom } from './system.ts'

export const VERSION = '0.1.0'

/** BIP 14. */
const userAgentOf = (comments: readonly string[]): string =>
  `/Leyden:${VERSION}${comments.length === 0 ? '' : `(${comments.join('; ')})`}/`

export type RunningLedger = {
  readonly engine: LedgerEngine
  readonly rpcUrl: string
  readonly rpcPort: number
  /** '' and 0 when no channel service may connect. */
  readonly linkUrl: string
  readonly linkPort: number
  readonly p2pPort: number
  /** The file of the token for RPC and link, and what is in it (`user:password`). */
  readonly cookieFile: string
  readonly credentials: string
  /** Resolves when it has stopped, by `stop` or by RPC. */
  readonly stopped: Promise<void>
  /** Closes everything in order; what was acknowledged is on disk. */
  stop(): Promise<void>
}

const SILENT: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

const hostInUrl = (host: string): string => (host.includes(':') ? `[${host}]` : host === '0.0.0.0' ? '127.0.0.1' : host)

/** Mines a block every so often, as long as it runs. */
const startMiner = (
  engine: LedgerEngine,
  { minerAddress, blockEvery }: LedgerConfig,
  network: Network,
  log: Log,
): (() => void) => {
  if (minerAddress === undefined || blockEvery === undefined) return () => undefined
  const script = decodeAddress(minerAddress, network)
  if (isAddressProblem(script)) throw new ConfigError(script.detail)
  let busy = false
  const timer = setInterval(() => {
    if (busy) return
    busy = true
    engine
      .generateToAddress(1, script)
      .catch((error: unknown) => log.warn({ error: String(error) }, 'no block mined'))
      .finally(() => {
        busy = false
      })
  }, blockEvery * 1000)
  return () => clearInterval(timer)
}

/** Starts a ledger. Throws ConfigError, StoreInUse, StoreMismatch, PortTaken: each says what to do. Nothing stays open then. */
export const startLedger = async (input: LedgerConfigInput, log: Log = SILENT): Promise<RunningLedger> => {
  const config = completeConfig(input)
  const network = withActivationHeights(networkOf(config), config.activationHeights)
  const signers = signersOf(config, network)
  const { datadir } = config
  const closers: (() => Promise<void> | void)[] = []
  const closeAll = async (): Promise<void> => {
    for (const close of closers.reverse()) {
      try {
        await close()
      } catch (error) {
        log.error({ error: String(error) }, 'while stopping')
      }
    }
    closers.length = 0
  }
  try {
    mkdirSync(datadir, { recursive: true, mode: 0o700 })
    useNativeHashes()
    const store = lmdbStore({ path: join(datadir, config.store) })
    closers.push(() => store.close())
    const clock = settableClock(systemClock)
    clock.setTime(config.mockTime * 1000)
    const userAgent = userAgentOf(config.uaComment)
    const scripts = createScriptPool({ threads: scriptThreadsOf(config.scriptThreads), log })
    closers.push(() => scripts.close())
    const engine = await createLedgerEngine({
      store,
      network,
      clock,
      random: systemRandom,
      log,
      checkScripts: scripts.check,
      ...(signers.length === 0 ? {} : { signBlock: (block) => signBlock(block, signers, network) }),
    })
    closers.push(() => engine.close())
    const cookie = writeCookie(datadir)
    closers.push(() => cookie.remove())
    const { rpcUser, rpcPassword } = config
    const credentials = [cookie.credentials, ...(rpcUser === undefined ? [] : [`${rpcUser}:${rpcPassword}`])]

    const peers = await listenForPeers({
      engine,
      host: config.p2pBind,
      port: config.p2pPort ?? network.port,
      listen: config.listen,
      userAgent,
      log,
    })
    closers.push(() => peers.close())

    const rpcPort = config.rpcPort ?? network.rpcPort
    const linkPort = config.linkPort ?? (rpcPort === 0 ? 0 : rpcPort + 2)
    const link = config.link
      ? await listenForLinks({ engine, credentials, host: config.rpcBind, port: linkPort, log })
      : undefined
    closers.push(() => link?.close())

    let stopping: Promise<void> | undefined
    let tellStopped: () => void = () => undefined
    const stopped = new Promise<void>((resolve) => {
      tellStopped = resolve
    })
    const stop = (): Promise<void> => (stopping ??= closeAll().finally(() => tellStopped()))

    const app = createRpcApp(
      {
        engine,
        now: () => clock.now(),
        setTime: (ms) => clock.setTime(ms),
        startedAtMs: systemClock.now(),
        userAgent,
        peers: () => peers.peers(),
        connectPeer: (address, once) => peers.connect(address, once),
        disconnectPeer: (address) => peers.disconnect(address),
        disconnectPeerById: (id) => peers.disconnectById(id),
        addedPeers: () => peers.added(),
        pingPeers: () => peers.ping(),
        traffic: () => peers.traffic(),
        stop: () => void systemClock.setTimer(50, () => void stop()),
      },
      credentials,
      limitLog(log, () => systemClock.now()),
    )
    const http = createAdaptorServer({ fetch: app.fetch }) as Server
    const boundRpc = await listenOn(http, 'RPC', config.rpcBind, rpcPort)
    closers.push(
      () =>
        new Promise<void>((resolve) => {
          http.close(() => resolve())
          http.closeIdleConnections()
          setTimeout(() => http.closeAllConnections(), 500).unref()
        }),
    )
    closers.push(startMiner(engine, config, network, log))
    for (const address of config.connect) void peers.connect(address, false)

    const host = hostInUrl(config.rpcBind)
    const running: RunningLedger = {
      engine,
      rpcUrl: `http://${host}:${boundRpc}`,
      rpcPort: boundRpc,
      linkUrl: link === undefined ? '' : `ws://${host}:${link.port}/link`,
      linkPort: link?.port ?? 0,
      p2pPort: peers.port,
      cookieFile: cookie.path,
      credentials: cookie.credentials,
      stopped,
      stop,
    }
    log.info({ network: network.name, rpc: running.rpcUrl, link: running.linkUrl, p2p: running.p2pPort, datadir }, 'ready')
    return running
  } catch (error) {
    await closeAll()
    throw error
  }
}
