/**
 * `npm start`: a regtest ledger and the Lightning nodes alice, bob and carol, funded and connected. Prints one table, and `ready` when
 * alice can pay carol. Runs until Ctrl-C; the data stays for the next start unless it comes with --reset.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { isAbsolute, join, relative, resolve } from 'node:path'
import { networkFromText } from '@leyden/bitcoin/network-file'
import { defineCommand, runMain } from 'citty'
import { type Daemon, describeExit, type Exit } from './daemon.ts'
import { lockDatadir } from './lock.ts'
import { createLedgerNode, createLightningNode, type LedgerNode, type LightningNode, type OwnNetwork } from './nodes.ts'
import { isPortTaken } from './port.ts'
import { awaitUsable, DEVNET_PLAN, prepare } from './prepare.ts'
import { createProgress, type Progress, table } from './progress.ts'
import { pause } from './wait.ts'

const NAMES = ['alice', 'bob', 'carol'] as const
const RPC_PORT = 18_443
const P2P_PORT = 18_444
const LINK_PORT = 18_445
const FIRST_API_PORT = 9741
const FIRST_PEER_PORT = 9841

/** A daemon that keeps dying is not started for ever. */
const MAX_RESTARTS = 3
const RESTART_WINDOW_MS = 60_000
const RESTART_PAUSE_MS = 1000

/** A mistake of the user, told in one line. */
class StartError extends Error {
  override name = 'StartError'
}

interface Settings {
  readonly datadir: string
  readonly reset: boolean
  readonly blockEverySeconds: number
  readonly portOffset: number
  readonly showLogs: boolean
  readonly own: OwnNetwork | undefined
}

/** Throws {@link StartError} that names the file and each field that is wrong. */
const readOwnNetwork = (path: string): OwnNetwork => {
  const file = resolve(path)
  if (!existsSync(file)) throw new StartError(`--network-file: there is no ${file}: make one with leyden-ledger new-network`)
  const network = networkFromText(readFileSync(file, 'utf8'))
  if ('name' in network) return { file, network }
  throw new StartError(network.map((line) => `${file}: ${line}`).join('\n'))
}

const SIGNING_KEYS = 'LEYDEN_LEDGER_SIGNING_KEYS'

const whole = (text: string, flag: string, max: number): number => {
  if (!/^\d{1,9}$/.test(text) || Number(text) > max) throw new StartError(`--${flag}: a whole number from 0 to ${max}`)
  return Number(text)
}

const shown = (path: string): string => {
  const short = relative(process.cwd(), path)
  return short === '' || short.startsWith('..') || isAbsolute(short) ? path : short
}

const checkPorts = async (ports: Readonly<Record<string, number>>): Promise<void> => {
  const taken: string[] = []
  for (const [what, port] of Object.entries(ports)) if (await isPortTaken(port)) taken.push(`${port} (${what})`)
  if (taken.length > 0)
    throw new StartError(
      `in use by another process: port ${taken.join(', ')}. Is another devnet or a bitcoind running? Stop it, or move this one with --port-offset`,
    )
}

/** What an earlier start has done. */
const isPrepared = (datadir: string): boolean => {
  const file = join(datadir, 'state.json')
  return existsSync(file) && (JSON.parse(readFileSync(file, 'utf8')) as { prepared?: boolean }).prepared === true
}

/** Starts a daemon again when it dies by itself, three times a minute at the most. */
const createKeeper = (progress: Progress, giveUp: (error: Error) => void) => {
  const deaths = new Map<string, number[]>()
  return (daemon: () => Daemon, exit: Exit, stopping: () => boolean): void => {
    const { name } = daemon()
    if (stopping()) return
    progress.note(`${name} ${describeExit(exit)}`)
    const now = performance.now()
    const recent = (deaths.get(name) ?? []).filter((at) => now - at < RESTART_WINDOW_MS)
    recent.push(now)
    deaths.set(name, recent)
    if (recent.length > MAX_RESTARTS) return giveUp(new StartError(`${name} died ${recent.length} times within a minute`))
    progress.note(`starting ${name} again`)
    void (async () => {
      await pause(RESTART_PAUSE_MS)
      if (stopping()) return
      try {
        await daemon().start()
        progress.note(`${name} is back`)
      } catch (error) {
        giveUp(error instanceof Error ? error : new Error(String(error)))
      }
    })()
  }
}

const run = async ({ datadir, reset, blockEverySeconds, portOffset, showLogs, own }: Settings): Promise<void> => {
  const progress = createProgress(process.stdout)
  const unlock = lockDatadir(datadir)
  const abort = new AbortController()
  let failure: Error | undefined
  const stop = (error?: Error): void => {
    failure ??= error
    abort.abort()
  }
  const stopping = (): boolean => abort.signal.aborted
  let ledger: LedgerNode | undefined
  let nodes: readonly LightningNode[] = []
  const onSignal = (): void => {
    if (stopping()) {
      for (const daemon of [...nodes.map((node) => node.daemon), ...(ledger === undefined ? [] : [ledger.daemon])])
        void daemon.kill()
      return
    }
    progress.note('stopping (again to force)')
    stop()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)

  try {
    const ports = {
      'ledger RPC': RPC_PORT + portOffset,
      'ledger P2P': P2P_PORT + portOffset,
      'ledger link': LINK_PORT + portOffset,
      ...Object.fromEntries(NAMES.map((name, i) => [`${name} API`, FIRST_API_PORT + i + portOffset])),
      ...Object.fromEntries(NAMES.map((name, i) => [`${name} peers`, FIRST_PEER_PORT + i + portOffset])),
    }
    await checkPorts(ports)
    if (reset)
      for (const name of ['ledger', ...NAMES, 'devnet.json', 'state.json'])
        rmSync(join(datadir, name), { recursive: true, force: true })
    const keep = createKeeper(progress, stop)
    const signingKeys = own === undefined ? undefined : process.env[SIGNING_KEYS]
    const common = (name: string, daemon: () => Daemon) => ({
      datadir: join(datadir, name),
      own,
      onCrash: (exit: Exit) => keep(daemon, exit, stopping),
      ...(showLogs ? { onLine: (line: string) => progress.note(`[${name}] ${line}`) } : {}),
    })
    const theLedger: LedgerNode = createLedgerNode({
      ...common('ledger', () => theLedger.daemon),
      rpcPort: ports['ledger RPC'],
      p2pPort: ports['ledger P2P'],
      linkPort: ports['ledger link'],
      ...(signingKeys === undefined ? {} : { env: { [SIGNING_KEYS]: signingKeys } }),
    })
    ledger = theLedger
    const { rpc } = theLedger
    nodes = NAMES.map((name, i) => {
      const node: LightningNode = createLightningNode({
        ...common(name, () => node.daemon),
        name,
        apiPort: FIRST_API_PORT + i + portOffset,
        peerPort: FIRST_PEER_PORT + i + portOffset,
        ledger: theLedger,
      })
      return node
    })

    // All at once: a node waits for its ledger. The first block makes the tip recent: with none the chain is as old as its genesis.
    await progress.step(`starting the ledger, ${NAMES.join(', ')}`, async () => {
      const onLedger = theLedger.daemon.start().then(async () => ((await rpc.height()) === 0 ? await rpc.mine(1) : undefined))
      await Promise.all([onLedger, ...nodes.map((node) => node.daemon.start())])
    })
    const reachable = await Promise.all(nodes.map(async (node) => ({ node, uri: await node.uri() })))
    const devnetFile = join(datadir, 'devnet.json')
    writeFileSync(
      devnetFile,
      `${JSON.stringify(
        {
          ...Object.fromEntries(
            reachable.map(({ node, uri }) => [node.name, { url: node.url, tokenFile: node.tokenFile, peerUri: uri }]),
          ),
          ledger: { url: rpc.url, tokenFile: theLedger.cookieFile, p2p: theLedger.p2p, link: theLedger.link },
        },
        null,
        2,
      )}\n`,
      { mode: 0o600 },
    )
    if (!isPrepared(datadir)) {
      await prepare(rpc, nodes, DEVNET_PLAN, progress, abort.signal)
      writeFileSync(join(datadir, 'state.json'), `${JSON.stringify({ prepared: true })}\n`)
    }
    const usable = await progress.step('waiting for the channels and the graph', () => awaitUsable(rpc, nodes, abort.signal))
    if (blockEverySeconds > 0) mineEvery(theLedger, blockEverySeconds, progress, abort.signal)

    progress.note('')
    progress.note(
      table([
        ['', 'URL', 'token file', 'peers reach it at'],
        ...reachable.map(({ node, uri }) => [node.name, node.url, shown(node.tokenFile), uri]),
        ['ledger', `${rpc.url} (JSON-RPC)`, shown(theLedger.cookieFile), theLedger.p2p],
      ]),
    )
    progress.note(
      `\n  ${blockEverySeconds > 0 ? `a block every ${blockEverySeconds} s` : 'no blocks by themselves'}; the logs are ${shown(join(datadir, '*', 'log'))}; Ctrl-C stops it all\n`,
    )
    if (!usable)
      progress.note('  there is no route from alice to carol: channels were closed or are empty. --reset gives a fresh network\n')
    progress.note('ready')
    await new Promise<void>((resolve) => {
      if (stopping()) resolve()
      else abort.signal.addEventListener('abort', () => resolve())
    })
  } catch (error) {
    if (!stopping()) failure = error instanceof Error ? error : new Error(String(error))
    abort.abort()
  } finally {
    await Promise.all(nodes.map((node) => node.daemon.stop()))
    await ledger?.daemon.stop()
    unlock()
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, onSignal)
  }
  if (failure !== undefined) throw failure
}

const mineEvery = ({ rpc }: LedgerNode, seconds: number, progress: Progress, signal: AbortSignal): void => {
  const timer = setInterval(() => {
    rpc.mine(1).catch((error: unknown) => {
      if (!signal.aborted) progress.note(`no block: ${error instanceof Error ? error.message : String(error)}`)
    })
  }, seconds * 1000)
  signal.addEventListener('abort', () => clearInterval(timer))
}

const main = defineCommand({
  meta: {
    name: 'npm start --',
    version: '0.1.0',
    description: 'A Lightning network of your own: a regtest ledger and the nodes alice, bob and carol, funded and connected',
  },
  args: {
    datadir: { type: 'string', description: 'where its data is kept', default: '.leyden' },
    reset: { type: 'boolean', description: 'begin with a fresh network; what was there is deleted', default: false },
    blockEvery: { type: 'string', description: 'seconds between blocks; 0: none by themselves', default: '10' },
    portOffset: { type: 'string', description: 'added to every port, for a second devnet beside the first', default: '0' },
    networkFile: {
      type: 'string',
      description: `a network of your own in place of regtest (from leyden-ledger new-network); signs blocks with ${SIGNING_KEYS}`,
    },
    log: { type: 'boolean', description: 'show the logs of the daemons', default: false },
  },
  run: async ({ args }) => {
    try {
      const datadir = resolve(args.datadir)
      mkdirSync(datadir, { recursive: true, mode: 0o700 })
      chmodSync(datadir, 0o700)
      await run({
        datadir,
        reset: args.reset,
        blockEverySeconds: whole(args.blockEvery, 'block-every', 86_400),
        portOffset: whole(args.portOffset, 'port-offset', 40_000),
        showLogs: args.log,
        own: args.networkFile === undefined ? undefined : readOwnNetwork(args.networkFile),
      })
    } catch (error) {
      process.stderr.write(`${(error as Error).message}\n`)
      process.exitCode = 1
    }
  },
})

await runMain(main)
