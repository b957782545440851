/**
 * Bitcoin Core beside our ledgers: started on regtest in a directory of its own, spoken to by JSON-RPC, joined to ours by P2P.
 * LEYDEN_BITCOIND is the path of the program, version 28.1; without it these tests are skipped. v1 transport, no wallet.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLedgerNode, createLedgerRpc, freePort, type LedgerNode, type LedgerRpc, waitFor } from '@leyden/devnet-service'

const program = process.env['LEYDEN_BITCOIND']

/** Whether there is a bitcoind to compare with. */
export const bitcoindInstalled: boolean = program !== undefined && existsSync(program)
if (!bitcoindInstalled) process.stdout.write('interop with bitcoind is skipped: LEYDEN_BITCOIND names no program\n')

export interface Bitcoind {
  readonly rpc: LedgerRpc
  /** `127.0.0.1:18444` */
  readonly p2p: string
  stop(): Promise<void>
}

/** Peers are told transactions at once (`noban`), not after a random while. */
export const startBitcoind = async (datadir: string, args: readonly string[] = []): Promise<Bitcoind> => {
  mkdirSync(datadir, { recursive: true })
  const rpcPort = await freePort()
  const p2p = `127.0.0.1:${await freePort()}`
  const wanted = ['-server=1', '-listen=1', '-v2transport=0', '-txindex=1', '-blockfilterindex=1']
  const quiet = ['-dnsseed=0', '-fixedseeds=0', '-discover=0', '-listenonion=0', '-natpmp=0', '-printtoconsole=0']
  const places = [`-datadir=${datadir}`, `-rpcport=${rpcPort}`, `-bind=${p2p}`, '-whitelist=in,out,noban@127.0.0.1']
  const child: ChildProcess = spawn(program as string, ['-regtest', ...wanted, ...quiet, ...places, ...args], { stdio: 'ignore' })
  let ended = false
  const exited = new Promise<void>((resolve) => {
    const end = (): void => {
      ended = true
      resolve()
    }
    child.once('close', end)
    child.once('error', end)
  })
  const rpc = createLedgerRpc(`http://127.0.0.1:${rpcPort}`, join(datadir, 'regtest', '.cookie'))
  await waitFor('bitcoind answers', () => (ended ? true : rpc.height().then(() => true)))
  if (ended) throw new Error(`bitcoind ended at once: see ${join(datadir, 'regtest', 'debug.log')}`)
  return {
    rpc,
    p2p,
    async stop() {
      if (!ended) child.kill('SIGTERM')
      await exited
    },
  }
}

/** Ledgers and a bitcoind that end together. LEYDEN_KEEP=1 keeps their directories. */
export interface Pair {
  readonly core: Bitcoind
  readonly ours: readonly LedgerNode[]
  close(): Promise<void>
}

/** So many of our ledgers as processes, and one bitcoind. Nobody knows anybody yet. */
export const startPair = async (
  count: number,
  { coreArgs = [], ourArgs = [] }: { readonly coreArgs?: readonly string[]; readonly ourArgs?: readonly string[] } = {},
): Promise<Pair> => {
  const directory = mkdtempSync(join(tmpdir(), 'leyden-bitcoind-'))
  const ours: LedgerNode[] = []
  let core: Bitcoind | undefined
  const close = async (): Promise<void> => {
    await Promise.all([core?.stop(), ...ours.map(({ daemon }) => daemon.stop())])
    if (process.env['LEYDEN_KEEP'] === undefined) rmSync(directory, { recursive: true, force: true })
    else process.stderr.write(`kept: ${directory}\n`)
  }
  try {
    core = await startBitcoind(join(directory, 'bitcoind'), coreArgs)
    for (let i = 0; i < count; i++) {
      const node = createLedgerNode({
        datadir: join(directory, `ledger-${i}`),
        rpcPort: await freePort(),
        p2pPort: await freePort(),
        linkPort: await freePort(),
        args: ourArgs,
      })
      ours.push(node)
      await node.daemon.start()
    }
    return { core, ours, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** All of these have the block as their best. */
export const inSync = (nodes: readonly LedgerRpc[], hash: string, timeoutMs = 60_000): Promise<true> =>
  waitFor(
    `all have ${hash}`,
    async () => {
      const tips = await Promise.all(nodes.map((rpc) => rpc.bestHash()))
      return tips.every((tip) => tip === hash)
    },
    { timeoutMs },
  )

interface CoinSet {
  readonly height: number
  readonly bestblock: string
  readonly txouts: number
  readonly total_amount: number
  readonly hash_serialized_3?: string
  readonly muhash?: string
}

/** What can be said of the whole chain state in a few words, equal where the state is. */
export const stateOf = async (rpc: LedgerRpc, withMempool = true): Promise<unknown> => {
  const serialized = await rpc.call<CoinSet>('gettxoutsetinfo')
  const { muhash } = await rpc.call<CoinSet>('gettxoutsetinfo', 'muhash')
  const { height, bestblock, txouts, total_amount, hash_serialized_3 } = serialized
  const coins = { height, bestblock, txouts, total_amount, hash_serialized_3, muhash }
  return withMempool ? { ...coins, mempool: [...(await rpc.mempool())].sort() } : coins
}
