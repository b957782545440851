/**
 * What the routes need of a wallet: one method an endpoint, resources in and out, a {@link Problem} thrown to refuse.
 * services/lightning implements it over the node; nothing here knows how.
 */
import type * as s from './schema.ts'

export interface Page<T> {
  readonly data: T[]
  readonly nextCursor: string | null
}

/** A stored answer of a money-moving request. */
export interface IdempotentAnswer {
  readonly status: number
  readonly body: unknown
}

export interface WalletService {
  /** Whether `token` is the admin token. Compared in constant time. */
  authenticate(token: string): boolean
  ready(): { ready: boolean; reason?: string }
  uptimeSeconds(): number
  node(): Promise<s.Node>
  balance(): Promise<s.Balance>
  newAddress(type: 'p2wpkh' | 'p2tr'): Promise<s.Address>
  addresses(query: s.PageQuery): Promise<Page<s.Address>>
  utxos(): Promise<Page<s.Utxo>>
  fees(): Promise<s.Fees>
  send(request: s.SendTransaction, reference: string | undefined): Promise<s.Transaction>
  transactions(query: s.PageQuery): Promise<Page<s.Transaction>>
  transaction(txid: string): Promise<s.Transaction>
  connectPeer(uri: string): Promise<s.Peer>
  peers(): Promise<Page<s.Peer>>
  disconnectPeer(nodeId: string): Promise<void>
  openChannel(request: s.OpenChannel, reference: string | undefined): Promise<s.Channel>
  channels(query: s.PageQuery): Promise<Page<s.Channel>>
  channel(channelId: string): Promise<s.Channel>
  closeChannel(channelId: string, request: s.CloseChannel): Promise<s.Channel>
  createInvoice(request: s.CreateInvoice): Promise<s.Invoice>
  invoices(query: s.PageQuery): Promise<Page<s.Invoice>>
  invoice(paymentHash: string): Promise<s.Invoice>
  settleInvoice(paymentHash: string, preimage: string): Promise<s.Invoice>
  cancelInvoice(paymentHash: string): Promise<s.Invoice>
  /** Resolves when the payment is durable and in flight, or, with `waitSeconds`, when it has ended or the time is over. */
  pay(request: s.CreatePayment, waitSeconds: number): Promise<s.Payment>
  payments(query: s.PageQuery): Promise<Page<s.Payment>>
  payment(id: string): Promise<s.Payment>
  decode(text: string): Promise<s.Decoded>
  graph(): Promise<s.GraphSummary>
  /** Events after `after` (exclusive; undefined: from now on), then live ones, until `signal` aborts. */
  events(after: string | undefined, signal: AbortSignal): AsyncIterable<s.ApiEvent>
  /** Runs `run` once for a key; `fingerprint` is of the request's body. See api/idempotency. */
  idempotent(
    key: string,
    fingerprint: string,
    run: () => Promise<IdempotentAnswer>,
  ): Promise<IdempotentAnswer & { replayed: boolean }>
}
