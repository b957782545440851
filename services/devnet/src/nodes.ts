/**
 * The two kinds of nodes that a network is made of, each as a daemon with a client for it. Used by the devnet and by end-to-end tests.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createClient, unwrap } from '@leyden/api/client'
import type { Network } from '@leyden/bitcoin'
import { createDaemon, type Daemon, type DaemonOptions, type Exit } from './daemon.ts'
import { createLedgerRpc, type LedgerRpc } from './ledger-rpc.ts'

const HOST = '127.0.0.1'

/** A network of one's own: its file, and what is in it. */
export interface OwnNetwork {
  readonly file: string
  readonly network: Network
}

const networkFlag = (own: OwnNetwork | undefined): string =>
  own === undefined ? '--network=regtest' : `--networkFile=${own.file}`

interface Common {
  readonly datadir: string
  /** Regtest when left out. */
  readonly own?: OwnNetwork | undefined
  readonly logFile?: string
  readonly env?: Readonly<Record<string, string>>
  /** More flags for the daemon. */
  readonly args?: readonly string[]
  readonly onLine?: (line: string) => void
  readonly onCrash?: (exit: Exit) => void
}

/** The program of a service: its source inside the workspace, else what was built. */
const programOf = (service: string, file: string): URL => {
  const door = import.meta.resolve(service)
  return new URL(door.endsWith('.ts') ? `./${file}.ts` : `./${file}.js`, door)
}

const daemonOf = (name: string, program: URL, args: readonly string[], common: Common): Daemon => {
  const options: DaemonOptions = {
    name,
    program,
    args: [...args, ...(common.args ?? [])],
    logFile: common.logFile ?? join(common.datadir, 'log'),
    ...(common.env === undefined ? {} : { env: common.env }),
    ...(common.onLine === undefined ? {} : { onLine: common.onLine }),
    ...(common.onCrash === undefined ? {} : { onCrash: common.onCrash }),
  }
  return createDaemon(options)
}

export interface LedgerOptions extends Common {
  readonly rpcPort: number
  readonly p2pPort: number
  readonly linkPort: number
}

export interface LedgerNode {
  readonly daemon: Daemon
  readonly rpc: LedgerRpc
  readonly cookieFile: string
  /** `ws://127.0.0.1:18445` */
  readonly link: string
  /** `127.0.0.1:18444` */
  readonly p2p: string
}

export const createLedgerNode = (options: LedgerOptions): LedgerNode => {
  const { datadir, rpcPort, p2pPort, linkPort } = options
  const cookieFile = join(datadir, '.cookie')
  return {
    daemon: daemonOf(
      'ledger',
      programOf('@leyden/ledger-service', 'main'),
      [
        `--datadir=${datadir}`,
        networkFlag(options.own),
        `--rpcport=${rpcPort}`,
        `--p2pport=${p2pPort}`,
        `--linkport=${linkPort}`,
      ],
      options,
    ),
    rpc: createLedgerRpc(`http://${HOST}:${rpcPort}/`, cookieFile, options.own?.network),
    cookieFile,
    link: `ws://${HOST}:${linkPort}`,
    p2p: `${HOST}:${p2pPort}`,
  }
}

export interface LightningOptions extends Common {
  readonly name: string
  readonly apiPort: number
  readonly peerPort: number
  readonly ledger: Pick<LedgerNode, 'link' | 'cookieFile'>
}

export type Client = ReturnType<typeof createClient>

export interface LightningNode {
  readonly name: string
  readonly daemon: Daemon
  readonly datadir: string
  /** `http://127.0.0.1:9741` */
  readonly url: string
  readonly tokenFile: string
  /** `127.0.0.1:9841` */
  readonly peerAddress: string
  /** Reads the token at each request: it is new at each start of the node. */
  readonly client: Client
  /** `nodeid@host:port`, asked of the node once. */
  uri(): Promise<string>
  nodeId(): Promise<string>
}

export const createLightningNode = (options: LightningOptions): LightningNode => {
  const { name, datadir, apiPort, peerPort, ledger } = options
  const url = `http://${HOST}:${apiPort}`
  const tokenFile = join(datadir, 'api.cookie')
  const client = createClient({
    baseUrl: url,
    token: '',
    fetch: (input, init) => {
      const headers = new Headers(init?.headers)
      headers.set('authorization', `Bearer ${readFileSync(tokenFile, 'utf8').trim()}`)
      return fetch(input, { ...init, headers })
    },
  })
  let known: string | undefined
  const nodeId = async (): Promise<string> => (known ??= (await unwrap(client.v1.node.$get())).nodeId)
  return {
    name,
    daemon: daemonOf(
      name,
      programOf('@leyden/lightning-service', 'cli'),
      [
        'start',
        `--datadir=${datadir}`,
        networkFlag(options.own),
        `--alias=${name}`,
        `--listen=${HOST}:${peerPort}`,
        `--announce=${HOST}:${peerPort}`,
        `--api=${HOST}:${apiPort}`,
        `--ledger=${ledger.link}`,
        `--ledgerCookie=${ledger.cookieFile}`,
      ],
      options,
    ),
    datadir,
    url,
    tokenFile,
    peerAddress: `${HOST}:${peerPort}`,
    client,
    nodeId,
    uri: async () => `${await nodeId()}@${HOST}:${peerPort}`,
  }
}
