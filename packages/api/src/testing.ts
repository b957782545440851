/**
 * For the tests of the HTTP layer: a wallet in memory that keeps what it is told, without keys, chain or peers. What a route does to a
 * request can be seen by what arrives here.
 */
import { createApi, type ApiOptions } from './app.ts'
import { Problem } from './problem.ts'
import type { ApiEvent, Channel, EventType, Invoice, Payment } from './schema.ts'
import type { IdempotentAnswer, WalletService } from './service.ts'

export const TOKEN = 'a5'.repeat(32)
/** The generator of the curve: the id of the node whose secret is 1. */
export const NODE_ID = '0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798'
export const HASH = 'ab'.repeat(32)
const AT = '2026-01-01T00:00:00.000Z'

export const channel = (fields: Partial<Channel> = {}): Channel => ({
  channelId: HASH,
  peer: { nodeId: NODE_ID, connected: true },
  state: 'normal',
  detail: 'normal',
  capacitySat: 100_000,
  localMsat: 60_000_000,
  remoteMsat: 40_000_000,
  canSendMsat: 59_000_000,
  canReceiveMsat: 39_000_000,
  localReserveSat: 1000,
  remoteReserveSat: 1000,
  held: [{ amountMsat: 1_000_000, reason: 'reserve' }],
  htlcs: [],
  confirmations: 3,
  feeratePerKw: 253,
  announced: true,
  opener: 'local',
  channelType: 'anchors',
  ...fields,
})

export const payment = (fields: Partial<Payment> = {}): Payment => ({
  id: 'p1',
  paymentHash: HASH,
  status: 'inFlight',
  amountMsat: 1000,
  destination: NODE_ID,
  attempts: [],
  createdAt: AT,
  ...fields,
})

const invoice = (fields: Partial<Invoice> = {}): Invoice => ({
  paymentHash: HASH,
  bolt11: 'lnbcrt1',
  status: 'open',
  description: '',
  hold: false,
  createdAt: AT,
  expiresAt: AT,
  ...fields,
})

/** One call that reached the wallet: its method, then its arguments. */
type Call = readonly [method: string, ...args: unknown[]]

export interface MemoryWallet extends WalletService {
  readonly calls: Call[]
  publish(type: EventType, data?: Record<string, unknown>): void
  /** How many readers wait for events. */
  readonly readers: () => number
  /** What a method does in place of its own work. */
  readonly fail: Map<string, unknown>
  /** Lets `pay` end. */
  finish: (status: Payment['status']) => void
  hold: boolean
}

export const memoryWallet = (): MemoryWallet => {
  const calls: Call[] = []
  const fail = new Map<string, unknown>()
  const log: ApiEvent[] = []
  const waiting = new Set<() => void>()
  const answers = new Map<string, { fingerprint: string; answer: IdempotentAnswer | undefined }>()
  let readers = 0
  const took = async <T>(result: T, ...call: Call): Promise<T> => {
    calls.push(call)
    const failure = fail.get(call[0])
    if (failure !== undefined) throw failure
    return result
  }
  const listOf = <T>(...data: T[]) => ({ data, nextCursor: null })
  const wallet: MemoryWallet = {
    calls,
    fail,
    hold: false,
    finish: () => undefined,
    readers: () => readers,
    publish(type, data = {}) {
      log.push({ id: String(log.length + 1), type, createdAt: AT, data })
      for (const wake of waiting) wake()
    },
    authenticate: (token) => token === TOKEN,
    ready: () => ({ ready: false, reason: 'syncing' }),
    uptimeSeconds: () => 7,
    node: () =>
      took(
        {
          nodeId: NODE_ID,
          alias: 'a',
          network: 'regtest',
          blockHeight: 1,
          synced: true,
          addresses: [],
          features: [],
          version: '0',
        },
        'node',
      ),
    balance: () =>
      took(
        {
          onchain: { confirmedSat: 1, unconfirmedSat: 0, lockedSat: 0, immatureSat: 0, spendableSat: 1 },
          channels: { localMsat: 0, remoteMsat: 0, pendingMsat: 0, canSendMsat: 0, canReceiveMsat: 0 },
          closingSat: 0,
        },
        'balance',
      ),
    newAddress: (type) => took({ address: 'bcrt1q', type, index: 0, used: false }, 'newAddress', type),
    addresses: (query) => took(listOf(), 'addresses', query),
    utxos: () => took(listOf(), 'utxos'),
    fees: () => took({ fastPerVbyte: 3, normalPerVbyte: 2, slowPerVbyte: 1, minimumPerVbyte: 1 }, 'fees'),
    send: (request, reference) =>
      took(
        { txid: HASH, status: 'pending' as const, netSat: -1, confirmations: 0, seenAt: AT, hex: '00' },
        'send',
        request,
        reference,
      ),
    transactions: (query) => took(listOf(), 'transactions', query),
    transaction: (txid) =>
      took({ txid, status: 'confirmed' as const, netSat: 1, confirmations: 1, seenAt: AT, hex: '00' }, 'transaction', txid),
    connectPeer: (uri) =>
      took({ nodeId: NODE_ID, connected: true, inbound: false, channels: 0, features: [] }, 'connectPeer', uri),
    peers: () => took(listOf(), 'peers'),
    disconnectPeer: (nodeId) => took(undefined, 'disconnectPeer', nodeId),
    openChannel: (request, reference) => took(channel({ state: 'opening' }), 'openChannel', request, reference),
    channels: (query) => took(listOf(channel()), 'channels', query),
    channel: (channelId) => took(channel({ channelId }), 'channel', channelId),
    closeChannel: (channelId, request) => took(channel({ state: 'shuttingDown' }), 'closeChannel', channelId, request),
    createInvoice: (request, reference) =>
      took(invoice({ description: request.description }), 'createInvoice', request, reference),
    invoices: (query) => took(listOf(invoice()), 'invoices', query),
    invoice: (paymentHash) => took(invoice({ paymentHash }), 'invoice', paymentHash),
    settleInvoice: (paymentHash, preimage) => took(invoice({ status: 'settled' }), 'settleInvoice', paymentHash, preimage),
    cancelInvoice: (paymentHash) => took(invoice({ status: 'canceled' }), 'cancelInvoice', paymentHash),
    async pay(request, waitSeconds, reference) {
      await took(undefined, 'pay', request, waitSeconds, reference)
      if (!wallet.hold) return payment({ status: waitSeconds > 0 ? 'succeeded' : 'inFlight' })
      return await new Promise((resolve) => {
        wallet.finish = (status) => resolve(payment({ status }))
      })
    },
    payments: (query) => took(listOf(payment()), 'payments', query),
    payment: (id) => took(payment({ id }), 'payment', id),
    decode: (text) => took({ kind: 'address' as const, network: 'regtest', address: text, type: 'p2wpkh' }, 'decode', text),
    graph: () => took({ nodes: 0, channels: 0, policies: 0 }, 'graph'),
    async *events(after, signal) {
      calls.push(['events', after])
      const failure = fail.get('events')
      if (failure !== undefined) throw failure
      let last = after === undefined ? log.length : Number(after)
      readers++
      try {
        while (!signal.aborted) {
          const next = log[last]
          if (next !== undefined) {
            last++
            yield next
          } else
            await new Promise<void>((resolve) => {
              waiting.add(resolve)
              signal.addEventListener('abort', () => resolve())
            })
        }
      } finally {
        readers--
      }
    },
    async idempotent(key, fingerprint, run) {
      const known = answers.get(key)
      if (known !== undefined) {
        if (known.fingerprint !== fingerprint) throw new Problem('idempotency_mismatch', 'the key was used for another request')
        if (known.answer === undefined) throw new Problem('in_flight', 'the first request with this key is still running')
        return { ...known.answer, replayed: true }
      }
      answers.set(key, { fingerprint, answer: undefined })
      try {
        const answer = await run()
        answers.set(key, { fingerprint, answer })
        return { ...answer, replayed: false }
      } catch (error) {
        answers.delete(key)
        throw error
      }
    },
  }
  return wallet
}

/** An app over a fresh wallet, and a caller that has its token. */
export const testApi = (options: Partial<ApiOptions> = {}) => {
  const wallet = memoryWallet()
  const app = createApi({ service: wallet, version: '0.1.0', ...options })
  const call = async (
    method: string,
    path: string,
    options: { body?: unknown; raw?: BodyInit; headers?: Record<string, string | undefined> } = {},
  ) => {
    const headers = new Headers({ authorization: `Bearer ${TOKEN}` })
    if (options.body !== undefined) headers.set('content-type', 'application/json')
    for (const [name, value] of Object.entries(options.headers ?? {}))
      if (value === undefined) headers.delete(name)
      else headers.set(name, value)
    const body = options.raw ?? (options.body === undefined ? undefined : JSON.stringify(options.body))
    return await app.request(path, { method, headers, ...(body === undefined ? {} : { body }) })
  }
  return { wallet, app, call }
}
