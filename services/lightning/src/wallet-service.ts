/**
 * The wallet API's service over a node: each endpoint asks the node and shows what it answers as a resource.
 * Here the node's refusals get their sentences: what happened and what to do.
 */
import { badField, Problem, type ProblemCode, type WalletService } from '@leyden/api'
import type * as r from '@leyden/api'
import { capacityNow } from '@leyden/channel'
import { bytesToHex, hexToBytes, utf8Encode } from '@leyden/codec'
import {
  classifyScript,
  decodeAddress,
  encodeTx,
  FeeratePerKw,
  isAddressProblem,
  Msat,
  networks,
  type Network,
  Sat,
  Txid,
} from '@leyden/bitcoin'
import { equalConstantTime, sha256 } from '@leyden/crypto'
import { aliasText, ChannelId, NodeId, PaymentHash, type Features } from '@leyden/lnwire'
import { decodeInvoice, type Invoice, invoiceExpiry, isInvoiceProblem, type PaymentRefusal } from '@leyden/payment'
import { announcedNode } from '@leyden/routing'
import {
  balance,
  findTransaction,
  fund,
  isRefusal,
  listAddresses,
  listCoins,
  listTransactions,
  newAddress,
  type Refusal,
  type TransactionView,
  type Wallet,
  walletKind,
} from '@leyden/wallet'
import { channelResource, jsonInteger } from './channel-resource.ts'
import { isLive } from './channels.ts'
import { createIdempotency, findMade } from './idempotency.ts'
import type { Node } from './node.ts'
import type { Page } from './payment-history.ts'
import { descriptionOf, invoiceResource, paymentResource, timeOf } from './payment-resource.ts'
import type { NotedInvoice } from './payments.ts'
import { Refused } from './refused.ts'

const ONLY = ''
const DEFAULT_EXPIRY_SECONDS = 3600
/** Without a limit of the caller: 1 % of the amount, and at least this. */
const LEAST_MAX_FEE_MSAT = 5_000n
const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER)

export interface WalletServiceOptions {
  readonly token: string
  readonly version: string
  readonly listening: readonly string[]
}

// ---- sentences

const SENTENCES: Readonly<Record<string, readonly [ProblemCode, string, pointer?: string]>> = {
  // wallet
  insufficient_balance: [
    'insufficient_balance',
    'the wallet has not enough confirmed coins for the amount and its fee: see GET /v1/balance',
  ],
  reserve_needed: ['insufficient_balance', 'what would be left is needed for the fees of open channels: send less'],
  dust_output: ['invalid_request', 'the amount is too small for the network to relay', '/amountSat'],
  invalid_outputs: ['invalid_request', 'the outputs do not fit', '/amountSat'],
  too_large: ['invalid_request', 'the transaction would be too large to relay: send less at once', '/amountSat'],
  over_budget: ['fee_too_high', 'the fee would be higher than allowed'],
  // opening
  capacity_too_small: ['invalid_request', 'the capacity is below the least that is allowed', '/capacitySat'],
  capacity_too_large: ['invalid_request', 'the capacity is above the most that is allowed', '/capacitySat'],
  capacity_below_fee: ['invalid_request', 'the capacity does not even pay the commitment fee', '/capacitySat'],
  capacity_below_reserve: ['invalid_request', 'the capacity is too small: neither side would have its reserve', '/capacitySat'],
  fork_ahead: ['conflict', 'the ledger is about to fork, and no channel would survive it: open channels after the fork'],
  push_exceeds_capacity: ['invalid_request', 'more would be pushed than the channel holds', '/pushMsat'],
  peer_offline: ['peer_offline', 'the peer cannot be reached'],
  peer_refused: ['conflict', 'the peer refused the channel'],
  own_node: ['invalid_request', 'that is this node itself', '/uri'],
  invalid_node_id: ['invalid_request', 'the node id is not a point of the curve', '/uri'],
  syncing: ['syncing', 'the node is not in step with the ledger yet: try again'],
  funding_conflicted: [
    'conflict',
    'another transaction has taken what the funding transaction needs (fundingConflict of the channel): nothing of it can be mined, and it must not be forgotten while a reorganisation may bring it back. It ends by itself',
  ],
  not_found: ['not_found', 'there is no such channel'],
  // payments
  already_paid: ['already_paid', 'this payment hash has been paid'],
  already_in_flight: ['in_flight', 'a payment of this hash is under way: see GET /v1/payments/{paymentHash}'],
  own_invoice: ['invalid_request', 'the invoice is of this node itself', '/to'],
  invoice_expired: ['invoice_expired', 'the invoice has expired: ask for a new one'],
  wrong_network: ['invalid_request', 'the invoice is of another network', '/to'],
  amount_missing: ['invalid_request', 'the invoice names no amount: give amountMsat', '/amountMsat'],
  amount_too_small: ['invalid_request', "the amount must be the invoice's, or up to twice as much", '/amountMsat'],
  hash_in_use: ['conflict', 'there is an invoice with this payment hash', '/hold/paymentHash'],
  wrong_preimage: ['invalid_request', 'the preimage does not hash to the payment hash', '/preimage'],
  invoice_not_found: ['not_found', 'there is no such invoice'],
  invoice_not_accepted: ['conflict', 'nobody has paid this invoice yet, or it has ended: only an accepted one can be settled'],
  invoice_ended: ['conflict', 'the invoice has ended'],
}

const problemOf = (code: string, data: Readonly<Record<string, unknown>>, detail?: string): Problem => {
  const [problem, sentence, pointer] = SENTENCES[code] ?? ['conflict', detail ?? code]
  const numbers = Object.entries(data)
    .filter(([, value]) => typeof value === 'bigint' || typeof value === 'number')
    .map(([name, value]) => `${name} ${String(value)}`)
  const words = `${SENTENCES[code] !== undefined && detail !== undefined && detail !== code && code.startsWith('peer_') ? `${sentence}: ${detail}` : sentence}${numbers.length > 0 ? ` (${numbers.join(', ')})` : ''}`
  return pointer === undefined ? new Problem(problem, words) : new Problem(problem, words, [{ pointer, message: sentence }])
}

const refused = (error: unknown): never => {
  if (error instanceof Refused) throw problemOf(error.code, error.data, error.message)
  throw error
}
const walletRefusal = ({ code, data }: Refusal): never => {
  throw problemOf(code, data)
}
const paymentRefusal = ({ code, data }: PaymentRefusal): never => {
  throw problemOf(code, data)
}

// ---- small conversions

const kwOf = (perVbyte: number): FeeratePerKw => FeeratePerKw(Math.max(253, Math.ceil(perVbyte * 250)))
const perVbyteOf = (perKw: number): number => Math.ceil(perKw / 2.5) / 100
const namesOf = ({ known }: Features): string[] =>
  Object.entries(known).flatMap(([name, level]) => (level === undefined ? [] : [name]))
const isPaymentRefusal = (value: object): value is PaymentRefusal => 'kind' in value && value.kind === 'refusal'

const parseUri = (uri: string): { nodeId: NodeId; address: string } => {
  const at = uri.indexOf('@')
  return { nodeId: NodeId(uri.slice(0, at)), address: uri.slice(at + 1) }
}

const parseHash = (text: string, pointer: string): string => {
  if (!/^[0-9a-f]{64}$/.test(text)) throw badField(pointer, '64 lower-case hex digits')
  return text
}

/** Newest first, by a key that never repeats; the cursor is the last key shown. */
const pageOf = <T>(
  items: readonly T[],
  keyOf: (item: T) => string,
  { limit, cursor }: r.PageQuery,
): { data: T[]; nextCursor: string | null } => {
  let start = 0
  if (cursor !== undefined) {
    const at = items.findIndex((item) => keyOf(item) === cursor)
    if (at < 0) throw badField('query/cursor', 'not a cursor of this list')
    start = at + 1
  }
  const data = items.slice(start, start + limit)
  const last = data.at(-1)
  return { data, nextCursor: start + limit < items.length && last !== undefined ? keyOf(last) : null }
}

const transactionResource = (view: TransactionView): r.Transaction => ({
  txid: view.txid,
  status: view.status === 'confirmed' ? 'confirmed' : view.status === 'dropped' ? 'replaced' : 'pending',
  netSat: Number(view.netSat),
  ...(view.feeSat === undefined ? {} : { feeSat: jsonInteger(view.feeSat) }),
  ...(view.blockHeight === undefined ? {} : { blockHeight: view.blockHeight }),
  confirmations: view.confirmations,
  ...(view.label === undefined ? {} : { label: view.label }),
  ...(view.replacedBy === undefined ? {} : { replacedBy: view.replacedBy }),
  seenAt: timeOf(view.seenAtMs),
  hex: bytesToHex(encodeTx(view.tx)),
})

export const createWalletService = (node: Node, { token, version, listening }: WalletServiceOptions): WalletService => {
  const startedMs = node.clock.now()
  const tokenHash = sha256(utf8Encode(token))
  const { network, keys, drive } = node
  const known: readonly Network[] = [network, ...Object.values(networks).filter((one) => one !== network)]

  const wallet = (): Wallet => {
    const found = node.wallet()
    if (found === undefined) throw new Problem('syncing', 'the wallet has not seen the chain yet: is the ledger running?')
    return found
  }
  const height = () => node.chain.height()
  const aliasOf = (id: NodeId): string | undefined => {
    const announcement = announcedNode(node.gossip.state.graph, id)
    return announcement === undefined ? undefined : aliasText(announcement.alias)
  }
  const scriptOf = (address: string, pointer: string): Uint8Array => {
    const script = decodeAddress(address, network)
    if (isAddressProblem(script))
      throw badField(
        pointer,
        script.problem === 'wrong_network' ? `an address of another network; this node is on ${network.name}` : 'not an address',
      )
    return script
  }
  const channelView = (id: string): r.Channel => {
    const channel = node.channels().get(id)
    if (channel === undefined) throw new Problem('not_found', 'there is no such channel')
    return channelResource(channel, {
      height: height(),
      policy: node.policy,
      connected: node.peers.info(channel.remoteNodeId) !== undefined,
      alias: aliasOf(channel.remoteNodeId),
    })
  }
  const invoiceView = (found: NotedInvoice): r.Invoice => invoiceResource(found, node.clock.now())
  const findInvoice = async (hash: string): Promise<NotedInvoice> => {
    const found = await node.payments.findInvoice(parseHash(hash, 'path/paymentHash'))
    if (found === undefined) throw new Problem('not_found', 'there is no such invoice')
    return found
  }
  /** A page, or why there is none. */
  const shown = <T, R>(page: Page<T> | undefined, show: (record: T) => R): { data: R[]; nextCursor: string | null } => {
    if (page === undefined) throw badField('query/cursor', 'not a cursor of this list')
    return { data: page.data.map(show), nextCursor: page.nextCursor }
  }
  const peerView = (id: NodeId): r.Peer => {
    const info = node.peers.info(id)
    let channels = 0
    for (const channel of node.channels().values()) if (channel.remoteNodeId === id && isLive(channel)) channels++
    const alias = aliasOf(id)
    return {
      nodeId: id,
      ...(alias === undefined ? {} : { alias }),
      ...(info === undefined ? {} : { address: info.address }),
      connected: info !== undefined,
      inbound: info?.inbound ?? false,
      channels,
      features: info === undefined ? [] : namesOf(info.features),
    }
  }
  const invoiceOf = (text: string, pointer: string): Invoice => {
    const trimmed = text.trim().replace(/^lightning:/i, '')
    const invoice = decodeInvoice(trimmed, { networks: known })
    if (isInvoiceProblem(invoice)) throw badField(pointer, `not a BOLT 11 invoice: ${invoice.problem}`)
    return invoice
  }

  return {
    authenticate: (given) => equalConstantTime(sha256(utf8Encode(given)), tokenHash),
    ready: () => {
      const reason = drive.stalled ? 'the disk does not take writes' : node.chain.reason()
      return reason === undefined ? { ready: true } : { ready: false, reason }
    },
    uptimeSeconds: () => Math.floor((node.clock.now() - startedMs) / 1000),
    node: async () => ({
      nodeId: node.nodeId,
      alias: node.alias,
      network: network.name,
      blockHeight: height(),
      synced: node.chain.synced(),
      addresses: listening.map((address) => `${node.nodeId}@${address}`),
      features: namesOf(node.features),
      version,
    }),

    // on-chain
    async balance() {
      const onchain = balance(wallet(), node.keepSat())
      let localMsat = 0n
      let remoteMsat = 0n
      let pendingMsat = 0n
      let canSendMsat = 0n
      let canReceiveMsat = 0n
      let closingMsat = 0n
      for (const channel of node.channels().values()) {
        const [active] = channel.active
        // Where its funding cannot be, there is nothing in a channel: the opener has its coins.
        if (active === undefined || channel.phase.name === 'closed' || channel.fundingConflict !== undefined) continue
        const offered = (side: 'local' | 'remote'): bigint =>
          channel.htlcs.filter((htlc) => htlc.offeredBy === side).reduce((sum, htlc) => sum + htlc.amountMsat, 0n)
        const ours = active.localMsat - offered('local')
        if (channel.phase.name === 'closing') {
          closingMsat += ours
          continue
        }
        localMsat += ours
        remoteMsat += active.remoteMsat - offered('remote')
        pendingMsat += offered('local') + offered('remote')
        const now = capacityNow(channel)
        canSendMsat += now.sendableMsat
        canReceiveMsat += now.receivableMsat
      }
      return {
        onchain: {
          confirmedSat: jsonInteger(onchain.confirmedSat),
          unconfirmedSat: jsonInteger(onchain.unconfirmedSat),
          lockedSat: jsonInteger(onchain.lockedSat),
          immatureSat: jsonInteger(onchain.immatureSat),
          spendableSat: jsonInteger(onchain.spendableSat),
        },
        channels: {
          localMsat: jsonInteger(localMsat),
          remoteMsat: jsonInteger(remoteMsat),
          pendingMsat: jsonInteger(pendingMsat),
          canSendMsat: jsonInteger(canSendMsat),
          canReceiveMsat: jsonInteger(canReceiveMsat),
        },
        closingSat: jsonInteger(closingMsat / 1000n),
      }
    },
    async newAddress(type) {
      wallet()
      return await drive.submit((batch) => {
        const before = batch.get(walletKind, ONLY) as Wallet
        const { wallet: after, address, path } = newAddress(before, keys, type)
        batch.set(walletKind, ONLY, after)
        return { address, type, index: path.index, used: false }
      })
    },
    async addresses(query) {
      const views = listAddresses(wallet(), keys).map(({ address, kind, index, used }) => ({ address, type: kind, index, used }))
      return pageOf(views, (view) => view.address, query)
    },
    async utxos() {
      const data = listCoins(wallet(), keys).map((coin) => ({
        txid: coin.outpoint.txid as string,
        vout: coin.outpoint.vout,
        valueSat: jsonInteger(coin.valueSat),
        address: coin.address,
        confirmations: coin.confirmations,
        ...(coin.lockedBy === undefined ? {} : { lockedBy: coin.lockedBy }),
      }))
      return { data, nextCursor: null }
    },
    async fees() {
      const { feeratePerKw, minimumFeeratePerKw } = node.chain.fees()
      return {
        fastPerVbyte: perVbyteOf(feeratePerKw[2]),
        normalPerVbyte: perVbyteOf(feeratePerKw[6]),
        slowPerVbyte: perVbyteOf(feeratePerKw[144]),
        minimumPerVbyte: perVbyteOf(minimumFeeratePerKw),
      }
    },
    async send({ address, amountSat, all, feeratePerVbyte }, reference) {
      const sent = reference === undefined ? undefined : listTransactions(wallet()).find((view) => view.reference === reference)
      if (sent !== undefined) return transactionResource(sent)
      if (!node.chain.synced()) throw new Problem('syncing', node.chain.reason() ?? 'not in step with the ledger')
      const scriptPubKey = scriptOf(address, '/address')
      const feeratePerKw = feeratePerVbyte === undefined ? node.chain.fees().feeratePerKw[6] : kwOf(feeratePerVbyte)
      const funded = await drive.submit((batch) => {
        const before = batch.get(walletKind, ONLY) as Wallet
        const result = fund(before, keys, {
          outputs: [{ value: Sat(BigInt(amountSat ?? 0)), scriptPubKey }],
          feeratePerKw,
          ...(all === undefined ? {} : { all }),
          keepSat: node.keepSat(),
          nowMs: node.clock.now(),
          ...(reference === undefined ? {} : { reference }),
        })
        if (isRefusal(result)) return result
        batch.set(walletKind, ONLY, result.wallet)
        batch.emit({ to: 'chain', type: 'broadcast', transactions: [result.tx], label: 'send' })
        node.events.append(batch, 'transaction.seen', { txid: result.txid })
        return result
      })
      if (isRefusal(funded)) return walletRefusal(funded)
      return transactionResource(findTransaction(wallet(), funded.txid) as TransactionView)
    },
    async transactions(query) {
      // Held ones have not happened yet, and of attempts to raise a fee the last one counts.
      const isShown = (view: TransactionView): boolean =>
        view.status !== 'held' && (view.status !== 'dropped' || view.bump === undefined)
      const views = listTransactions(wallet()).filter(isShown)
      const { data, nextCursor } = pageOf(views, (view) => view.txid, query)
      return { data: data.map(transactionResource), nextCursor }
    },
    async transaction(txid) {
      const view = findTransaction(wallet(), Txid(parseHash(txid, 'path/txid')))
      if (view === undefined) throw new Problem('not_found', 'the wallet has no such transaction')
      return transactionResource(view)
    },

    // peers
    async connectPeer(uri) {
      const { nodeId, address } = parseUri(uri)
      await node.connect(nodeId, address).catch(refused)
      return peerView(nodeId)
    },
    async peers() {
      const ids = new Set(node.peers.list().map((info) => info.nodeId))
      for (const channel of node.channels().values()) if (isLive(channel)) ids.add(channel.remoteNodeId)
      return { data: [...ids].map(peerView), nextCursor: null }
    },
    async disconnectPeer(id) {
      if (!/^0[23][0-9a-f]{64}$/.test(id)) throw badField('path/nodeId', '66 lower-case hex digits')
      if (node.peers.info(id as NodeId) === undefined) throw new Problem('not_found', 'no such peer is connected')
      node.peers.disconnect(id as NodeId)
    },

    // channels
    async openChannel({ uri, nodeId: named, capacitySat, pushMsat, announce, feeratePerVbyte }, reference) {
      const { keyIndex } = await findMade(node.store, reference)
      const made = [...node.channels().values()].find((channel) => channel.keyIndex === keyIndex)
      if (made !== undefined) return channelView(made.channelId)
      const { nodeId, address } = uri === undefined ? { nodeId: named as NodeId, address: undefined } : parseUri(uri)
      if (address !== undefined) await node.connect(nodeId, address).catch(refused)
      const channel = await node
        .open(nodeId, {
          capacitySat: Sat(BigInt(capacitySat)),
          pushMsat: Msat(BigInt(pushMsat ?? 0)),
          announce,
          fundingFeeratePerKw: feeratePerVbyte === undefined ? node.chain.fees().feeratePerKw[6] : kwOf(feeratePerVbyte),
          ...(reference === undefined ? {} : { reference }),
        })
        .catch(refused)
      return channelView(channel.channelId)
    },
    async channels(query) {
      const all = [...node.channels().values()].toSorted((a, b) => b.keyIndex - a.keyIndex)
      const { data, nextCursor } = pageOf(all, (channel) => channel.channelId, query)
      return { data: data.map((channel) => channelView(channel.channelId)), nextCursor }
    },
    channel: async (channelId) => channelView(parseHash(channelId, 'path/channelId')),
    async closeChannel(channelId, { force, address, feeratePerVbyte }) {
      const id = ChannelId(parseHash(channelId, 'path/channelId'))
      if (force && address !== undefined) throw badField('/address', 'a forced close pays to the wallet of this node')
      await node
        .close(id, {
          force,
          ...(address === undefined ? {} : { scriptPubKey: scriptOf(address, '/address') }),
          ...(feeratePerVbyte === undefined ? {} : { feeratePerKw: kwOf(feeratePerVbyte) }),
        })
        .catch(refused)
      return channelView(id)
    },

    // receive
    async createInvoice({ amountMsat, description, expirySeconds, hold, metadata, externalId }, reference) {
      const made = (await findMade(node.store, reference)).paymentHash
      if (made !== undefined) return invoiceView(await findInvoice(made))
      if (utf8Encode(description).length > 639) throw badField('/description', 'at most 639 bytes of UTF-8')
      const record = await node.payments.invoice({
        description,
        expirySeconds: expirySeconds ?? DEFAULT_EXPIRY_SECONDS,
        ...(amountMsat === undefined ? {} : { amountMsat: Msat(BigInt(amountMsat)) }),
        ...(hold === undefined ? {} : { hold: { paymentHash: PaymentHash(hold.paymentHash) } }),
        ...(metadata === undefined ? {} : { metadata }),
        ...(externalId === undefined ? {} : { externalId }),
        ...(reference === undefined ? {} : { reference }),
      })
      const note = metadata === undefined && externalId === undefined ? undefined : { metadata, externalId }
      return isPaymentRefusal(record) ? paymentRefusal(record) : invoiceView({ invoice: record, note })
    },
    invoices: async (query) => shown(await node.payments.invoices(query), invoiceView),
    invoice: async (hash) => invoiceView(await findInvoice(hash)),
    async settleInvoice(hash, preimage) {
      const { invoice, note } = await findInvoice(hash)
      const record = await node.payments.settle(invoice.paymentHash, hexToBytes(preimage))
      return isPaymentRefusal(record) ? paymentRefusal(record) : invoiceView({ invoice: record, note })
    },
    async cancelInvoice(hash) {
      const { invoice, note } = await findInvoice(hash)
      const record = await node.payments.cancel(invoice.paymentHash)
      return isPaymentRefusal(record) ? paymentRefusal(record) : invoiceView({ invoice: record, note })
    },

    // send
    async pay({ to, amountMsat, maxFeeMsat, maxDelayBlocks }, waitSeconds, reference) {
      const invoice = invoiceOf(to, '/to')
      const amount = amountMsat === undefined ? invoice.amountMsat : Msat(BigInt(amountMsat))
      if (amount !== undefined && amount > MAX_SAFE) throw badField('/to', 'the amount is above 2^53-1')
      const onePercent = (amount ?? 0n) / 100n
      const limit =
        maxFeeMsat === undefined ? (onePercent > LEAST_MAX_FEE_MSAT ? onePercent : LEAST_MAX_FEE_MSAT) : BigInt(maxFeeMsat)
      const made = (await findMade(node.store, reference)).paymentHash
      const begun =
        (made === undefined ? undefined : await node.payments.payment(made)) ??
        (await node.payments.pay(invoice, {
          maxFeeMsat: Msat(limit),
          ...(amountMsat === undefined ? {} : { amountMsat: Msat(BigInt(amountMsat)) }),
          ...(maxDelayBlocks === undefined ? {} : { maxDelayBlocks }),
          ...(reference === undefined ? {} : { reference }),
        }))
      if (isPaymentRefusal(begun)) return paymentRefusal(begun)
      const ended = await node.payments.ended(invoice.paymentHash, waitSeconds * 1000)
      return paymentResource(ended ?? begun, invoice.description)
    },
    payments: async (query) =>
      shown(await node.payments.payments(query), (payment) => paymentResource(payment, descriptionOf(payment))),
    async payment(id) {
      const record = await node.payments.payment(parseHash(id, 'path/id'))
      if (record === undefined) throw new Problem('not_found', 'there is no such payment')
      return paymentResource(record, descriptionOf(record))
    },
    async decode(text) {
      const trimmed = text.trim()
      const uri = /^(0[23][0-9a-f]{64})(?:@(.+))?$/.exec(trimmed)
      if (uri?.[1] !== undefined) return { kind: 'node', nodeId: uri[1], ...(uri[2] === undefined ? {} : { uri: trimmed }) }
      if (/^(lightning:)?ln/i.test(trimmed)) {
        const invoice = invoiceOf(trimmed, '/text')
        const expiresAt = invoiceExpiry(invoice) * 1000
        return {
          kind: 'bolt11',
          network: known.find((one) => one.bolt11Prefix === invoice.prefix)?.name ?? invoice.prefix,
          paymentHash: invoice.paymentHash,
          ...(invoice.amountMsat === undefined ? {} : { amountMsat: jsonInteger(invoice.amountMsat) }),
          ...(invoice.description === undefined ? {} : { description: invoice.description }),
          ...(invoice.descriptionHash === undefined ? {} : { descriptionHash: bytesToHex(invoice.descriptionHash) }),
          payee: invoice.payee,
          createdAt: timeOf(invoice.timestamp * 1000),
          expiresAt: timeOf(expiresAt),
          expired: node.clock.now() >= expiresAt,
          minFinalCltvExpiryDelta: invoice.minFinalCltvExpiryDelta,
          features: namesOf(invoice.features),
          routeHints: invoice.routeHints.length,
        }
      }
      for (const one of known) {
        const script = decodeAddress(trimmed, one)
        if (!isAddressProblem(script))
          return { kind: 'address', network: one.name, address: trimmed, type: classifyScript(script).type }
      }
      throw badField('/text', 'neither an invoice, an address nor a node id')
    },
    async graph() {
      const { channels, nodes } = node.gossip.state.graph
      let policies = 0
      for (const channel of channels.values()) policies += channel.policies.filter((policy) => policy !== undefined).length
      return { nodes: nodes.size, channels: channels.size, policies }
    },
    events: (after, signal) => node.events.read(after, signal),
    idempotent: createIdempotency(node),
  }
}
