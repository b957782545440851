/**
 * The ledger as one running thing: store, engine, JSON-RPC, link, P2P, miner. It owns every resource and closes them in reverse.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { BlockHash, decodeAddress, isAddressProblem, signBlock, ZERO_HASH, type Network } from '@leyden/bitcoin'
import { createScriptCache, type Assumption } from '@leyden/ledger'
import type { Log } from '@leyden/runtime'
import { lmdbStore } from '@leyden/runtime/store/lmdb'
import { withActivationHeights } from './activation.ts'
import { completeConfig, ConfigError, type LedgerConfig, type LedgerConfigInput } from './config.ts'
import { writeCookie } from './cookie.ts'
import type { IndexName } from './chain-indexes.ts'
import { diskDirectory } from './directory.ts'
import { parseHashedUser, whitelistOf, type Credentials } from './credentials.ts'
import { createLedgerEngine, type LedgerEngine } from './engine.ts'
import { listenForLinks } from './link-server.ts'
import { hostAndPort, PortTaken, type HostAndPort } from './listen.ts'
import { loadBlocks } from './load-blocks.ts'
import { policyOf, templateLimitsOf } from './mempool-config.ts'
import { mempoolFileStore } from './mempool-file.ts'
import { runCommand } from './notify.ts'
import { networkOf, signersOf } from './network.ts'
import { useNativeHashes } from './native-hash.ts'
import type { Pruning } from './prune.ts'
import { minimumWorkOf, peerOptionsOf } from './p2p/options.ts'
import { listenForPeers } from './p2p/server.ts'
import type { PeerService } from './p2p/service.ts'
import type { LogCategories } from './rpc/method.ts'
import { createRpcServer, type RpcServer } from './rpc/server.ts'
import { createScriptPool, scriptThreadsOf } from './script-pool.ts'
import { addSubnet, localSubnets } from './subnet.ts'
import { startZmq } from './zmq/notifications.ts'
import { nextTurn, settableClock, systemClock, systemRandom } from './system.ts'
import { announced, followTip } from './tip-news.ts'
import { createWarmup, Stopping } from './warmup.ts'

export const VERSION = '0.1.0'

/**
 * BIP 14: the layer below comes first. Bitcoin Core's version stands there because clients read it in getnetworkinfo to know which calls
 * there are: LND takes what begins otherwise for an old bitcoind, and sends parameters of that time.
 */
export const userAgentOf = (comments: readonly string[]): string =>
  `/Satoshi:28.1.0/Leyden:${VERSION}${comments.length === 0 ? '' : `(${comments.join('; ')})`}/`

export type RunningLedger = {
  readonly engine: LedgerEngine
  readonly peers: PeerService
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

/** How far ahead of the clock a block may be. Bitcoin Core chain.h, MAX_FUTURE_BLOCK_TIME. */
const MAX_FUTURE_BLOCK_SECONDS = 2 * 60 * 60

/** The chain's last block is from a time that has not come: the clock is wrong, or was. */
export class FutureTip extends Error {
  constructor() {
    super(
      "The block database contains a block which appears to be from the future. This may be due to your computer's date and time being " +
        "set incorrectly. Only rebuild the block database if you are sure that your computer's date and time are correct.",
    )
    this.name = 'FutureTip'
  }
}

export type StartOptions = {
  /** What JSON-RPC may tell and change of the log. */
  readonly logPath?: string
  readonly logCategories?: LogCategories
  /** Ends the ledger in an orderly way, at whatever point of its start or life. */
  readonly signal?: AbortSignal
  /** The data directory is ours now. */
  readonly onHeld?: () => void
}
const NO_CATEGORIES: LogCategories = { all: () => ({}), set: () => false }

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

/** Programs that read bitcoind's block files look for the key of its obfuscation there: ours is none. Bitcoin Core blockstorage.cpp. */
const markUnobfuscated = (blocksDir: string): void => {
  const file = join(blocksDir, 'xor.dat')
  if (!existsSync(file)) writeFileSync(file, new Uint8Array(8))
}

/** Blocks above which a chain may be pruned. Bitcoin Core kernel/chainparams.cpp, nPruneAfterHeight. */
const pruneAfterHeight = ({ fastPrune }: LedgerConfig, { name }: Network): number =>
  name === 'mainnet' ? 100_000 : fastPrune ? 100 : 1000

const MIB = 1024 * 1024

const storageOptions = (config: LedgerConfig, network: Network) => {
  const { pruneMib, fastPrune, dbCacheMib, coinStatsIndex, blockFilterIndex, txIndex = pruneMib === 0 } = config
  const indexes: IndexName[] = []
  if (txIndex) indexes.push('txindex')
  if (coinStatsIndex) indexes.push('coinstatsindex')
  if (blockFilterIndex) indexes.push('basic block filter index')
  const pruning: Pruning = pruneMib === 0 ? 'off' : pruneMib === 1 ? 'manual' : { targetBytes: pruneMib * MIB }
  return {
    cacheBytes: dbCacheMib * MIB,
    indexes,
    pruning,
    rebuild: config.reindex ? ('everything' as const) : config.reindexChainstate ? ('chainstate' as const) : undefined,
    pruneAfterHeight: pruneAfterHeight(config, network),
    ...(fastPrune ? { maxFileBytes: 64 * 1024 } : {}),
  }
}

/** Blocks whose scripts need not run: the owner's word, else the network's. */
const assumptionOf = (config: LedgerConfig, network: Network): { assumption?: Assumption } => {
  const given = config.assumeValid?.replace(/^0x/, '').toLowerCase().padStart(64, '0')
  const block = given === undefined ? network.assumeValid : BlockHash(given)
  if (block === undefined || block === ZERO_HASH) return {}
  return { assumption: { block, minimumWork: minimumWorkOf(config, network) } }
}

/** What was learnt about fees is written down so often. */
const SAVE_FEES_MS = 3600_000

/** So that a crash loses little of what was learnt. */
const startSaving = (engine: LedgerEngine, log: Log): (() => void) => {
  const saving = setInterval(() => {
    engine.saveFees().catch((error: unknown) => log.warn({ error: String(error) }, 'fee estimates could not be written'))
  }, SAVE_FEES_MS)
  return () => clearInterval(saving)
}

/** Opens the addresses of JSON-RPC; the port of the first. Of several, any but the first may be missing. Throws PortTaken. */
const listenForCalls = async (rpc: RpcServer, addresses: readonly HostAndPort[], log: Log): Promise<number> => {
  const ports: number[] = []
  for (const [i, { host, port }] of addresses.entries()) {
    try {
      ports.push(await rpc.listen(host, port))
    } catch (error) {
      if (addresses.length === 1 || (error instanceof PortTaken && host === addresses[0]?.host)) throw error
      log.warn({ host, port, error: String(error) }, 'RPC does not listen there')
      if (i === addresses.length - 1 && ports.length === 0) throw error
    }
  }
  return ports[0] as number
}

/**
 * Starts a ledger. JSON-RPC is there first, and says what is going on until all is. Throws ConfigError, StoreInUse, StoreMismatch,
 * PortTaken: each says what to do; Stopping when it was told to end before it had started. Nothing stays open then.
 */
export const startLedger = async (
  input: LedgerConfigInput,
  log: Log = SILENT,
  given: StartOptions = {},
): Promise<RunningLedger> => {
  const config = completeConfig(input)
  const network = withActivationHeights(networkOf(config), config.activationHeights)
  const signers = signersOf(config, network)
  const { datadir } = config
  const closers: (() => Promise<void> | void)[] = []
  const closeAll = async (): Promise<void> => {
    for (let close = closers.pop(); close !== undefined; close = closers.pop()) {
      try {
        await close()
      } catch (error) {
        log.error({ error: String(error) }, 'while stopping')
      }
    }
  }
  const startedAtMs = systemClock.now()
  const stopping = new AbortController()
  const warmup = createWarmup(stopping.signal)
  let isReady = false
  let end: Promise<void> | undefined
  let tellStopped: () => void = () => undefined
  const stopped = new Promise<void>((resolve) => {
    tellStopped = resolve
  })
  const endAll = async (): Promise<void> => {
    if (config.shutdownNotify !== undefined) await runCommand(config.shutdownNotify, '', log)
    await closeAll()
  }
  /** Before it is ready, whatever the start is at notices and leaves off. */
  const stop = (): Promise<void> => {
    stopping.abort()
    return isReady ? (end ??= endAll().finally(() => tellStopped())) : stopped
  }
  const onSignal = (): void => void stop()
  if (given.signal?.aborted === true) stopping.abort()
  given.signal?.addEventListener('abort', onSignal)
  closers.push(() => given.signal?.removeEventListener('abort', onSignal))
  try {
    warmup.check()
    mkdirSync(datadir, { recursive: true, mode: 0o700 })
    useNativeHashes()
    const store = lmdbStore({ path: join(datadir, config.store) })
    closers.push(() => store.close())
    given.onHeld?.()
    const cookie = writeCookie(resolve(datadir, config.rpcCookieFile ?? '.cookie'), config.rpcCookiePerms)
    closers.push(() => cookie.remove())
    const { rpcUser, rpcPassword } = config
    const credentials: Credentials = {
      pairs: [cookie.credentials, ...(rpcUser === undefined ? [] : [`${rpcUser}:${rpcPassword}`])],
      hashed: config.rpcAuth.flatMap((text) => parseHashedUser(text) ?? []),
    }
    const rpcPort = config.rpcPort ?? network.rpcPort
    const addresses = config.rpcBind.map((address) => hostAndPort(address, rpcPort))
    const [{ host: firstHost }] = addresses as [HostAndPort]
    const allowed = localSubnets()
    for (const subnet of config.rpcAllowIp) addSubnet(allowed, subnet)
    const rpc = createRpcServer({
      starting: { ...warmup, stop: () => void stop() },
      credentials,
      whitelist: whitelistOf(config.rpcWhitelist, config.rpcWhitelistDefault),
      allowed,
      threads: config.rpcThreads,
      workQueue: config.rpcWorkQueue,
      timeoutMs: config.rpcServerTimeout * 1000,
      rest: config.rest,
      log,
    })
    closers.push(() => rpc.close())
    const boundRpc = await listenForCalls(rpc, addresses, log)
    const host = hostInUrl(firstHost)
    const rpcUrl = `http://${host}:${boundRpc}`
    log.info({ rpc: rpcUrl }, 'JSON-RPC is there, and answers once the chain is open')

    const clock = settableClock(systemClock)
    clock.setTime(config.mockTime * 1000)
    const userAgent = userAgentOf(config.uaComment)
    const scriptCache = createScriptCache(config.scriptCacheMib * 1024 * 1024, systemRandom.bytes(32))
    const scripts = createScriptPool({ threads: scriptThreadsOf(config.scriptThreads), log, known: scriptCache.shared })
    closers.push(() => scripts.close())
    const blocksDir = resolve(datadir, config.blocksDir ?? 'blocks')
    const directory = diskDirectory(blocksDir)
    markUnobfuscated(blocksDir)
    closers.push(() => directory.close())
    const engine = await createLedgerEngine({
      store,
      directory,
      network,
      clock,
      log,
      checkScripts: scripts.check,
      policy: policyOf(config),
      template: templateLimitsOf(config),
      persistMempool: config.persistMempool,
      acceptStaleFees: config.acceptStaleFeeEstimates,
      blockVersion: network.noRetargeting ? config.blockVersion : undefined,
      signBlock: (block) => signBlock(block, signers, network),
      scriptCache,
      breathe: nextTurn,
      startup: warmup,
      ...assumptionOf(config, network),
      ...storageOptions(config, network),
    })
    closers.push(() => engine.close())
    for (const file of config.loadBlock) await loadBlocks(engine, file, log, warmup)
    const mempoolFile = mempoolFileStore(engine, join(datadir, config.mempoolFile ?? 'mempool.dat'), systemRandom, () =>
      clock.now(),
    )
    if (config.persistMempool && config.mempoolFile !== undefined) {
      await mempoolFile.loadOwn(log, warmup)
      closers.push(() => mempoolFile.save())
    }
    closers.push(startSaving(engine, log))
    if (engine.tipEntry().header.time > clock.now() / 1000 + MAX_FUTURE_BLOCK_SECONDS) throw new FutureTip()
    warmup.check()
    warmup.begin({ doing: 'Starting network threads' })
    const peers = await listenForPeers({
      engine,
      clock,
      random: systemRandom,
      datadir,
      log,
      userAgent,
      minimumWork: minimumWorkOf(config, network),
      ...peerOptionsOf(config, network),
    })
    closers.push(() => peers.close())

    const linkPort = config.linkPort ?? (rpcPort === 0 ? 0 : rpcPort + 2)
    const link = config.link ? await listenForLinks({ engine, credentials, host: firstHost, port: linkPort, log }) : undefined
    closers.push(() => link?.close())

    const zmq = await startZmq({
      engine,
      wanted: config.zmq,
      isInitialDownload: () => peers.isInitialDownload(),
      log,
    })
    closers.push(() => zmq.close())

    warmup.check()
    // It closes before what its calls use, and in a start that fails after it.
    closers.push(() => rpc.close())
    rpc.open({
      engine,
      mempoolFile,
      now: () => clock.now(),
      setTime: (ms) => clock.setTime(ms),
      startedAtMs,
      userAgent,
      peers,
      stop: () => void stop(),
      signers,
      stopping: stopping.signal,
      zmq: zmq.notifications,
      logPath: given.logPath ?? '',
      logCategories: given.logCategories ?? NO_CATEGORIES,
    })
    isReady = true
    closers.push(startMiner(engine, config, network, log))
    closers.push(
      followTip(engine, (news) => {
        const { blockNotify, stopAtHeight } = config
        if (blockNotify !== undefined && !peers.isInitialDownload())
          for (const { hash } of announced(news)) void runCommand(blockNotify, hash, log)
        if (stopAtHeight > 0 && engine.tip().height >= stopAtHeight) void stop()
      }),
    )
    if (config.startupNotify !== undefined) void runCommand(config.startupNotify, '', log)
    for (const name of [...config.connect, ...config.addNode]) peers.add(name)

    const running: RunningLedger = {
      engine,
      peers,
      rpcUrl,
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
    if (error instanceof Stopping) await endAll()
    else await closeAll()
    tellStopped()
    throw error
  }
}
