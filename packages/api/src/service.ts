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

/** `reference` is the request's Idempotency-Key, where it has one; see {@link WalletService.idempotent}. */
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
  createInvoice(request: s.CreateInvoice, reference: string | undefined): Promise<s.Invoice>
  invoices(query: s.PageQuery): Promise<Page<s.Invoice>>
  invoice(paymentHash: string): Promise<s.Invoice>
  settleInvoice(paymentHash: string, preimage: string): Promise<s.Invoice>
  cancelInvoice(paymentHash: string): Promise<s.Invoice>
  /** Resolves when the payment is durable and in flight, or, with `waitSeconds`, when it has ended or the time is over. */
  pay(request: s.CreatePayment, waitSeconds: number, reference: string | undefined): Promise<s.Payment>
  payments(query: s.PageQuery): Promise<Page<s.Payment>>
  payment(id: string): Promise<s.Payment>
  decode(text: string): Promise<s.Decoded>
  graph(): Promise<s.GraphSummary>
  /** Events after `after` (exclusive; undefined: from now on), then live ones, until `signal` aborts; ends then, without an error. */
  events(after: string | undefined, signal: AbortSignal): AsyncIterable<s.ApiEvent>
  /**
   * Runs `run` at most once at a time for a key, and never again once its answer is stored. `fingerprint` is of method, path and body.
   * - First call: runs, stores the answer durably, gives it with `replayed: false`.
   * - Answer stored, same fingerprint: gives it with `replayed: true`; `run` is not called.
   * - Answer stored or run under way, other fingerprint: throws the Problem `idempotency_mismatch`.
   * - Run under way, same fingerprint: throws the Problem `in_flight`; the caller tries again.
   * - `run` rejects: nothing was changed and nothing is stored; the rejection goes on, and the key is free.
   * Answers live at least a day; that of a payment as long as the payment.
   *
   * A crash between what `run` did and the storing of its answer leaves a key without answer. `run` therefore passes the key on as
   * `reference` to `send`, `openChannel`, `pay` and `createInvoice`: these write it in the commit that makes the transaction, channel,
   * payment or invoice, and when called again with a reference that is written there already they do nothing new and give what is
   * there. So the second call, after the restart, runs again and has the same effect: none but the answer. (`closeChannel` needs no
   * reference: closing what is being closed gives the channel.)
   */
  idempotent(
    key: string,
    fingerprint: string,
    run: () => Promise<IdempotentAnswer>,
  ): Promise<IdempotentAnswer & { replayed: boolean }>
}
