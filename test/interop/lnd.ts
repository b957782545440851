/**
 * LND as a stranger: run on the world's ledger as on a bitcoind, spoken to by its REST API. LEYDEN_LND is the path of the program `lnd`,
 * built with the tags invoicesrpc, routerrpc, walletrpc and signrpc; without it these tests are skipped.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '@leyden/devnet-service'
import { childOf, DELAY_BLOCKS, RELAY_FEE_MSAT, type StartStranger, type Stranger } from './stranger.ts'

const program = process.env['LEYDEN_LND'] ?? ''

/** Whether there is an LND to meet. */
export const lndInstalled: boolean = existsSync(program)
if (!lndInstalled) process.stdout.write('interop with LND is skipped: LEYDEN_LND names no program\n')

interface LndChannel {
  readonly active: boolean
  /** `txid:vout` of the funding output. */
  readonly channel_point: string
  readonly commitment_type: string
  readonly pending_htlcs: readonly object[]
}

const toHex = (base64: string): string => Buffer.from(base64, 'base64').toString('hex')

const problemOf = (answer: unknown): string | undefined => {
  const { message, error } = answer as { message?: string; error?: string | { message?: string } }
  return message ?? (typeof error === 'string' ? error : error?.message)
}

/** An LND in step with the world's ledger. */
export const startLnd: StartStranger = async (world, name, publishers) => {
  const directory = join(world.directory, name)
  const rpc = new URL(world.rpc.credentialsUrl())
  const address = `127.0.0.1:${await freePort()}`
  const restPort = await freePort()
  const child = childOf(
    program,
    [
      `--lnddir=${directory}`,
      '--bitcoin.regtest',
      '--bitcoin.node=bitcoind',
      `--bitcoind.rpchost=${rpc.host}`,
      `--bitcoind.rpcuser=${rpc.username}`,
      `--bitcoind.rpcpass=${rpc.password}`,
      ...(publishers === undefined
        ? ['--bitcoind.rpcpolling', '--bitcoind.blockpollinginterval=200ms', '--bitcoind.txpollinginterval=200ms']
        : [`--bitcoind.zmqpubrawblock=${publishers.block}`, `--bitcoind.zmqpubrawtx=${publishers.tx}`]),
      '--bitcoin.defaultchanconfs=3',
      `--bitcoin.defaultremotedelay=${DELAY_BLOCKS}`,
      `--bitcoin.basefee=${RELAY_FEE_MSAT}`,
      '--bitcoin.feerate=0',
      `--listen=${address}`,
      `--rpclisten=127.0.0.1:${await freePort()}`,
      `--restlisten=127.0.0.1:${restPort}`,
      '--noseedbackup',
      '--no-macaroons',
      '--no-rest-tls',
      '--nobootstrap',
      '--trickledelay=50',
      '--debuglevel=debug',
      `--alias=${name}`,
    ],
    join(directory, 'log'),
  )
  const request = async (method: string, path: string, body?: object): Promise<Response> =>
    await fetch(`http://127.0.0.1:${restPort}${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  const call = async <T>(method: 'GET' | 'POST', path: string, body?: object): Promise<T> => {
    const response = await request(method, path, body)
    const answer: unknown = await response.json()
    if (!response.ok) throw new Error(`${name} ${method} ${path}: ${problemOf(answer) ?? response.status}`)
    return answer as T
  }
  /** The first line of an answer that comes in lines. */
  const first = async <T>(method: 'POST' | 'DELETE', path: string, body?: object): Promise<T> => {
    const response = await request(method, path, body)
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    const decoder = new TextDecoder()
    let text = ''
    while (!text.includes('\n')) {
      const { done, value } = await reader.read()
      if (done) break
      text += decoder.decode(value, { stream: true })
    }
    await reader.cancel()
    const answer = JSON.parse(text.split('\n')[0] as string) as { result?: T }
    const problem = problemOf(answer)
    if (problem !== undefined) throw new Error(`${name} ${method} ${path}: ${problem}`)
    return answer.result as T
  }
  const channel = async (fundingTxid: string): Promise<LndChannel | undefined> => {
    const { channels } = await call<{ channels: readonly LndChannel[] }>('GET', '/v1/channels')
    return channels.find(({ channel_point: point }) => point.startsWith(`${fundingTxid}:`))
  }
  const start = (): Promise<void> =>
    child.start(async () => (await call<{ state: string }>('GET', '/v1/state')).state === 'SERVER_ACTIVE')

  await start()
  const { identity_pubkey: nodeId } = await call<{ identity_pubkey: string }>('GET', '/v1/getinfo')
  const lnd: Stranger = {
    name,
    nodeId,
    address,
    get running() {
      return child.running
    },
    async isAt(height, hash) {
      const info = await call<{ block_height: number; block_hash: string; synced_to_chain: boolean }>('GET', '/v1/getinfo')
      return info.block_height === height && info.block_hash === hash && info.synced_to_chain
    },
    newAddress: async () => (await call<{ address: string }>('GET', '/v1/newaddress?type=WITNESS_PUBKEY_HASH')).address,
    walletSat: async () => Number((await call<{ confirmed_balance: string }>('GET', '/v1/balance/blockchain')).confirmed_balance),
    async connect(node) {
      const addr = { pubkey: await node.nodeId(), host: node.peerAddress }
      await call('POST', '/v1/peers', { addr, perm: false, timeout: '10' }).catch((error: unknown) => {
        if (!String(error).includes('already connected')) throw error
      })
    },
    async open(peer, sat, pushSat) {
      const { funding_txid_bytes: id } = await call<{ funding_txid_bytes: string }>('POST', '/v1/channels', {
        node_pubkey_string: peer,
        local_funding_amount: String(sat),
        push_sat: String(pushSat),
        sat_per_vbyte: '2',
      })
      return Buffer.from(id, 'base64').reverse().toString('hex')
    },
    async channel(fundingTxid) {
      const found = await channel(fundingTxid)
      if (found === undefined) return undefined
      return { usable: found.active, anchors: found.commitment_type === 'ANCHORS', htlcs: found.pending_htlcs.length }
    },
    async close(fundingTxid, force) {
      const [txid, vout] = ((await channel(fundingTxid))?.channel_point ?? '').split(':') as [string, string]
      const how = force ? 'force=true' : 'sat_per_vbyte=2'
      await first('DELETE', `/v1/channels/${txid}/${vout}?no_wait=true&${how}`)
    },
    async invoice(msat) {
      type Added = { payment_request: string; r_hash: string }
      const added = await call<Added>('POST', '/v1/invoices', { value_msat: String(msat) })
      return { bolt11: added.payment_request, paymentHash: toHex(added.r_hash) }
    },
    async pay(bolt11) {
      type Paid = { status: string; payment_preimage: string; fee_msat: string }
      const {
        status,
        payment_preimage: preimage,
        fee_msat: feeMsat,
      } = await first<Paid>('POST', '/v2/router/send', {
        payment_request: bolt11,
        timeout_seconds: 60,
        fee_limit_msat: '100000',
        no_inflight_updates: true,
      })
      return status === 'SUCCEEDED' ? { preimage, feeMsat: Number(feeMsat) } : undefined
    },
    async policies() {
      type Edge = { node1_policy: object | null; node2_policy: object | null }
      const { edges } = await call<{ edges: readonly Edge[] }>('GET', '/v1/graph')
      return edges.flatMap(({ node1_policy: a, node2_policy: b }) => [a, b]).filter((policy) => policy !== null).length
    },
    start,
    stop: () => child.stop(),
    kill: () => child.kill(),
  }
  return lnd
}
