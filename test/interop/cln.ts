/**
 * Core Lightning as a stranger: run on the world's ledger as on a bitcoind, spoken to over its socket. LEYDEN_CLN is the path of
 * `lightningd` (in the tree that it was built in, or installed), LEYDEN_BITCOIN_CLI that of Bitcoin Core's `bitcoin-cli`, through which it
 * asks the ledger; without them these tests are skipped.
 */
import { existsSync } from 'node:fs'
import { connect as connectSocket } from 'node:net'
import { join } from 'node:path'
import { freePort } from '@leyden/devnet-service'
import { childOf, DELAY_BLOCKS, RELAY_FEE_MSAT, type StartStranger, type Stranger } from './stranger.ts'

const program = process.env['LEYDEN_CLN'] ?? ''
const bitcoinCli = process.env['LEYDEN_BITCOIN_CLI'] ?? ''

/** Whether there is a Core Lightning to meet. */
export const clnInstalled: boolean = existsSync(program) && existsSync(bitcoinCli)
if (!clnInstalled)
  process.stdout.write('interop with Core Lightning is skipped: LEYDEN_CLN and LEYDEN_BITCOIN_CLI name no programs\n')

interface ClnChannel {
  readonly peer_id: string
  readonly state: string
  readonly peer_connected: boolean
  readonly reestablished?: boolean
  readonly channel_id: string
  readonly funding_txid?: string
  readonly channel_type?: { readonly names: readonly string[] }
  readonly htlcs?: readonly object[]
}

/** One call over the socket. Rejects with Core Lightning's words. */
const callOver = <T>(socketPath: string, method: string, params: object): Promise<T> =>
  new Promise((resolve, reject) => {
    const socket = connectSocket(socketPath)
    let text = ''
    socket.setEncoding('utf8')
    socket.on('error', reject)
    socket.on('close', () => reject(new Error(`${method}: the socket was closed`)))
    socket.on('data', (chunk: string) => {
      text += chunk
      if (!text.includes('\n\n')) return
      socket.removeAllListeners('close')
      socket.end()
      const answer = JSON.parse(text) as { result?: T; error?: { message: string } }
      if (answer.error === undefined) resolve(answer.result as T)
      else reject(new Error(`${method}: ${answer.error.message}`))
    })
    socket.write(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }))
  })

/** A Core Lightning in step with the world's ledger. */
export const startCln: StartStranger = async (world, name) => {
  const directory = join(world.directory, name)
  const rpc = new URL(world.rpc.credentialsUrl())
  const address = `127.0.0.1:${await freePort()}`
  const child = childOf(
    program,
    [
      `--lightning-dir=${directory}`,
      '--network=regtest',
      `--addr=${address}`,
      `--bitcoin-cli=${bitcoinCli}`,
      `--bitcoin-datadir=${directory}`,
      `--bitcoin-rpcconnect=${rpc.hostname}`,
      `--bitcoin-rpcport=${rpc.port}`,
      `--bitcoin-rpcuser=${rpc.username}`,
      `--bitcoin-rpcpassword=${rpc.password}`,
      '--developer',
      '--dev-bitcoind-poll=1',
      '--dev-fast-gossip',
      '--dev-fast-reconnect',
      '--disable-dns',
      '--funding-confirms=3',
      `--watchtime-blocks=${DELAY_BLOCKS}`,
      `--fee-base=${RELAY_FEE_MSAT}`,
      '--fee-per-satoshi=0',
      '--log-level=debug',
      `--alias=${name}`,
    ],
    join(directory, 'log'),
  )
  const call = <T>(method: string, params: object = {}): Promise<T> =>
    callOver<T>(join(directory, 'regtest', 'lightning-rpc'), method, params)
  const channel = async (fundingTxid: string): Promise<ClnChannel | undefined> => {
    const { channels } = await call<{ channels: readonly ClnChannel[] }>('listpeerchannels')
    return channels.find(({ funding_txid: id }) => id === fundingTxid)
  }
  type Info = { id: string; blockheight: number; warning_bitcoind_sync?: string; warning_lightningd_sync?: string }
  const info = (): Promise<Info> => call<Info>('getinfo')
  const start = (): Promise<void> => child.start(async () => (await info()).blockheight > 0)

  await start()
  let label = 0
  const cln: Stranger = {
    name,
    nodeId: (await info()).id,
    address,
    get running() {
      return child.running
    },
    async isAt(height) {
      const { blockheight, warning_bitcoind_sync: behind, warning_lightningd_sync: catching } = await info()
      return blockheight === height && behind === undefined && catching === undefined
    },
    newAddress: async () => (await call<{ bech32: string }>('newaddr', { addresstype: 'bech32' })).bech32,
    async walletSat() {
      const { outputs } = await call<{ outputs: readonly { status: string; amount_msat: number }[] }>('listfunds')
      return outputs.reduce((sum, { status, amount_msat: msat }) => sum + (status === 'confirmed' ? msat / 1000 : 0), 0)
    },
    async connect(node) {
      const [host, port] = node.peerAddress.split(':') as [string, string]
      await call('connect', { id: await node.nodeId(), host, port: Number(port) })
    },
    open: async (peer, sat, pushSat) =>
      (await call<{ txid: string }>('fundchannel', { id: peer, amount: sat, push_msat: pushSat * 1000, announce: true })).txid,
    async channel(fundingTxid) {
      const found = await channel(fundingTxid)
      if (found === undefined || !/^CHANNELD_|^DUALOPEND_/.test(found.state)) return undefined
      return {
        usable: found.state === 'CHANNELD_NORMAL' && found.peer_connected && found.reestablished !== false,
        anchors: found.channel_type?.names.includes('anchors/even') === true,
        htlcs: found.htlcs?.length ?? 0,
      }
    },
    async close(fundingTxid, force) {
      const { channel_id: id, peer_id: peer } = (await channel(fundingTxid)) as ClnChannel
      if (force) await call('dev-fail', { id: peer })
      else await call('close', { id })
    },
    async invoice(msat) {
      const description = `${name} ${++label}`
      type Made = { bolt11: string; payment_hash: string }
      const made = await call<Made>('invoice', { amount_msat: msat, label: description, description })
      return { bolt11: made.bolt11, paymentHash: made.payment_hash }
    },
    async pay(bolt11) {
      type Paid = { payment_preimage: string; amount_msat: number; amount_sent_msat: number }
      try {
        const paid = await call<Paid>('pay', { bolt11 })
        return { preimage: paid.payment_preimage, feeMsat: paid.amount_sent_msat - paid.amount_msat }
      } catch {
        return undefined
      }
    },
    policies: async () => (await call<{ channels: readonly object[] }>('listchannels')).channels.length,
    start,
    stop: () => child.stop(),
    kill: () => child.kill(),
  }
  return cln
}
