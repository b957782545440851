#!/usr/bin/env node
// One LDK 0.1 (WASM) Lightning node, driven by JSON lines on stdin/stdout.
// See README.md for the protocol. stdout carries nothing but JSON lines; LDK's
// own log and everything else goes to stderr.
import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import crypto from 'node:crypto'
import readline from 'node:readline'
import { createRequire } from 'node:module'
import { parseArgs } from 'node:util'

// The bindings print ("Loaded LDK-Java Bindings ...", and Rust panic messages) with
// console.log, which would corrupt the protocol on stdout. Must be set before they load.
const recentStderr = []
console.log = (...a) => {
  recentStderr.push(a.join(' '))
  if (recentStderr.length > 40) recentStderr.shift()
  console.error(...a)
}

const ldk = await import('lightningdevkit')
const { WitnessVersion } = await import('lightningdevkit/structs/CommonBase.mjs') // not exported from the index
const { NodeLDKNet } = await import('lightningdevkit-node-net')
const {
  hex,
  unhex,
  revHex,
  sha256,
  parseBlock,
  parseHeader,
  parseTx,
  serializeTx,
  parsePsbt,
  P2wpkhKey,
  scriptToAddress,
  addressToScript,
} = await import('./lib/bitcoin.mjs')
const { decodeFeatures, featureString } = await import('./lib/features.mjs')

// ---- options ---------------------------------------------------------------
const { values: o } = parseArgs({
  options: {
    rpc: { type: 'string', default: process.env.LDK_RPC },
    listen: { type: 'string', default: process.env.LDK_LISTEN ?? '127.0.0.1:0' },
    seed: { type: 'string', default: process.env.LDK_SEED ?? 'ldk-peer' },
    network: { type: 'string', default: 'regtest' },
    alias: { type: 'string', default: process.env.LDK_ALIAS ?? 'ldk-peer' },
    log: { type: 'string', default: process.env.LDK_LOG ?? 'warn' }, // gossip|trace|debug|info|warn|error|off
    'no-anchors': { type: 'boolean', default: process.env.LDK_NO_ANCHORS === '1' },
    'accept-0conf': { type: 'boolean', default: false },
    'reject-inbound': { type: 'boolean', default: false },
    'no-upfront-shutdown': { type: 'boolean', default: false },
    'scid-privacy': { type: 'boolean', default: false },
    'no-onion-messages': { type: 'boolean', default: false },
    'no-gossip': { type: 'boolean', default: false },
    'min-depth': { type: 'string', default: '1' },
    'to-self-delay': { type: 'string', default: '144' }, // LDK refuses less than 144
    'max-htlcs': { type: 'string', default: '483' },
    'reserve-ppm': { type: 'string', default: '10000' },
    'forward-delay-ms': { type: 'string', default: '0' },
    'poll-ms': { type: 'string', default: '200' },
    'tick-ms': { type: 'string', default: '60000' },
    fees: { type: 'string', default: '{}' }, // JSON, see FEES below (sat per 1000 weight)
    help: { type: 'boolean', short: 'h', default: false },
  },
})
if (o.help || !o.rpc) {
  console.error(
    'usage: ldk-peer.mjs --rpc http://user:pass@127.0.0.1:18443 [--listen 127.0.0.1:9735] [--seed hex32|text] [--no-anchors] [--log info] ... (see README.md)',
  )
  process.exit(o.help ? 0 : 2)
}
const NETWORKS = {
  regtest: ldk.Network.LDKNetwork_Regtest,
  bitcoin: ldk.Network.LDKNetwork_Bitcoin,
  testnet: ldk.Network.LDKNetwork_Testnet,
  signet: ldk.Network.LDKNetwork_Signet,
}
const network = NETWORKS[o.network]
if (network === undefined) throw new Error(`unknown network ${o.network}`)
const seed = /^[0-9a-fA-F]{64}$/.test(o.seed) ? unhex(o.seed) : new Uint8Array(sha256(Buffer.from(o.seed)))
const wallet = new P2wpkhKey(sha256(Buffer.concat([Buffer.from('ldk-peer on-chain wallet'), seed])))

// ---- output ------------------------------------------------------------------
const jsonable = (_k, v) =>
  typeof v === 'bigint'
    ? v <= Number.MAX_SAFE_INTEGER && v >= -Number.MAX_SAFE_INTEGER
      ? Number(v)
      : v.toString()
    : v instanceof Uint8Array
      ? hex(v)
      : v
const out = (x) => process.stdout.write(JSON.stringify(x, jsonable) + '\n')
const emit = (event, fields = {}) => out({ event, ...fields })
function fatal(where, e) {
  emit('fatal', { where, error: String(e?.stack ?? e), recent: recentStderr.slice(-8) })
  // A Rust panic leaves the WASM instance unusable: nothing to save, so stop. (Flush first.)
  process.stdout.write('', () => process.exit(70))
  setTimeout(() => process.exit(70), 500)
}
process.on('uncaughtException', (e) => fatal('uncaughtException', e))
process.on('unhandledRejection', (e) => fatal('unhandledRejection', e))

// ---- helpers over the bindings -----------------------------------------------
const enumName = (e, v, prefix) => {
  const n = e[v]
  return typeof n === 'string' ? n.replace(prefix, '') : v
}
const opt = (x) => (x && 'some' in x ? x.some : null) // Option_*_Some -> value
const ctor = (x) => (x == null ? String(x) : x.constructor.name)
function errText(e) {
  if (e == null) return 'error (no detail from the bindings)'
  if (typeof e === 'string' || typeof e === 'number') return String(e)
  const parts = [ctor(e)]
  for (const k of ['err', 'feerate', 'creation_error'])
    if (e[k] !== undefined) parts.push(typeof e[k] === 'object' ? errText(e[k]) : String(e[k]))
  if (typeof e.get_err === 'function') parts.push(e.get_err())
  else if (typeof e.to_str === 'function') {
    try {
      parts.push(e.to_str())
    } catch {
      /* not every type really has one */
    }
  }
  return parts.join(': ')
}
function unwrap(r, what) {
  if (!r.is_ok()) throw new Error(`${what}: ${errText(r.err)}`)
  return r.res
}
const some64 = (v) => (v == null ? ldk.Option_u64Z.constructor_none() : ldk.Option_u64Z.constructor_some(BigInt(v)))
const bytes32 = (h, what) => {
  const b = unhex(h)
  if (b.length !== 32) throw new Error(`${what} must be 32 bytes`)
  return b
}
const pubkeyArg = (h) => {
  const b = unhex(h)
  if (b.length !== 33) throw new Error('pubkey must be 33 bytes')
  return b
}
const chanIdHex = (c) => (c ? hex(c.get_a()) : null)
const outpointStr = (p) => (p ? `${revHex(p.get_txid())}:${p.get_index()}` : null) // get_txid() is in internal byte order
const chanTypeStr = (t) => (t ? featureString(t.le_flags()) : null)
// bindings bug: u128 go in little-endian but are read back big-endian (decodeUint128), so flip on the way out.
const fixU128 = (v) => {
  let r = 0n
  for (let i = 0; i < 16; i++) {
    r = (r << 8n) | (v & 0xffn)
    v >>= 8n
  }
  return r
}

// ---- WASM ----------------------------------------------------------------------
let wasmMemory = null
{
  const orig = WebAssembly.instantiate
  WebAssembly.instantiate = async (...a) => {
    const r = await orig(...a)
    wasmMemory = (r.instance ?? r).exports.memory
    return r
  }
  const require = createRequire(import.meta.url)
  await ldk.initializeWasmFromBinary(fs.readFileSync(require.resolve('lightningdevkit/liblightningjs.wasm')))
  WebAssembly.instantiate = orig
}

// ---- bitcoind RPC ----------------------------------------------------------------
const rpcUrl = new URL(o.rpc)
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 })
const auth =
  'Basic ' + Buffer.from(`${decodeURIComponent(rpcUrl.username)}:${decodeURIComponent(rpcUrl.password)}`).toString('base64')
function rpc(method, ...params) {
  const body = JSON.stringify({ jsonrpc: '1.0', id: 'ldk', method, params })
  return new Promise((resolve, reject) => {
    const req = http.request(
      {
        agent,
        host: rpcUrl.hostname,
        port: rpcUrl.port,
        path: rpcUrl.pathname || '/',
        method: 'POST',
        headers: { authorization: auth, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
      },
      (res) => {
        const chunks = []
        res.on('data', (c) => chunks.push(c))
        res.on('error', reject)
        res.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          let j
          try {
            j = JSON.parse(text)
          } catch {
            return reject(new Error(`${method}: HTTP ${res.statusCode} ${text.slice(0, 200)}`))
          }
          if (j.error) {
            const e = new Error(`${method}: ${j.error.message ?? JSON.stringify(j.error)}`)
            e.code = j.error.code
            return reject(e)
          }
          resolve(j.result)
        })
      },
    )
    req.on('error', reject)
    req.setTimeout(30000, () => req.destroy(new Error(`${method}: timed out`)))
    req.end(body)
  })
}

// ---- the traits LDK asks us to implement --------------------------------------------
// None of these may throw (an exception unwinds through WASM frames and leaves LDK's
// RefCell "locks" held) and none may call back into the ChannelManager. Booleans come back as 0/1: hence the `!!`.
const FEES = {
  max: 25000,
  urgent: 2500,
  minAnchor: 253,
  minNonAnchor: 253,
  anchor: 500,
  nonAnchor: 1000,
  closeMin: 253,
  sweep: 500,
  ...JSON.parse(o.fees),
}
const CT = ldk.ConfirmationTarget
const feeKey = {
  [CT.LDKConfirmationTarget_MaximumFeeEstimate]: 'max',
  [CT.LDKConfirmationTarget_UrgentOnChainSweep]: 'urgent',
  [CT.LDKConfirmationTarget_MinAllowedAnchorChannelRemoteFee]: 'minAnchor',
  [CT.LDKConfirmationTarget_MinAllowedNonAnchorChannelRemoteFee]: 'minNonAnchor',
  [CT.LDKConfirmationTarget_AnchorChannelFee]: 'anchor',
  [CT.LDKConfirmationTarget_NonAnchorChannelFee]: 'nonAnchor',
  [CT.LDKConfirmationTarget_ChannelCloseMinimum]: 'closeMin',
  [CT.LDKConfirmationTarget_OutputSpendingFee]: 'sweep',
}
const feeEstimator = ldk.FeeEstimator.new_impl({ get_est_sat_per_1000_weight: (t) => FEES[feeKey[t]] ?? 1000 })

const LEVELS = { gossip: 0, trace: 1, debug: 2, info: 3, warn: 4, error: 5, off: 9 }
let logLevel = LEVELS[o.log] ?? 4
const logger = ldk.Logger.new_impl({
  log(record) {
    const level = record.get_level()
    if (level < logLevel) return
    const tag = Object.keys(LEVELS)[level] ?? level
    process.stderr.write(
      `${(performance.now() / 1000).toFixed(3)} ${tag} ${record.get_module_path()}:${record.get_line()} ${record.get_args()}\n`,
    )
  },
})

let broadcastQueue = Promise.resolve()
const stats = { broadcasts: 0, storeWrites: 0, pumps: 0 }
function broadcast(raw, source) {
  stats.broadcasts++
  const tx = parseTx(raw)
  const job = broadcastQueue.then(async () => {
    try {
      await rpc('sendrawtransaction', hex(raw))
      emit('broadcast', { txid: tx.txid, ok: true, source, hex: hex(raw) })
      return { ok: true, txid: tx.txid }
    } catch (e) {
      // -27: already in a block; "already in mempool" variants. Both are fine.
      const known = e.code === -27 || /already/i.test(e.message)
      emit('broadcast', { txid: tx.txid, ok: known, source, error: e.message, hex: hex(raw) })
      return { ok: known, txid: tx.txid, error: e.message }
    }
  })
  broadcastQueue = job
  return job
}
const broadcaster = ldk.BroadcasterInterface.new_impl({
  broadcast_transactions(txs) {
    for (const t of txs) broadcast(t, 'ldk')
  }, // queued: nothing async may run here
})

// Monitors: LDK's own MonitorUpdatingPersister over a Map. A Persist written in JS works too, but the bindings
// clone the whole ChannelMonitor into every callback, and only JS garbage collection frees the clone.
const store = new Map() // "primary/secondary/key" -> bytes; in memory only
const storeKey = (a, b, k) => `${a}/${b}/${k}`
const okNone = () => ldk.Result_NoneIOErrorZ.constructor_ok()
const kvStore = ldk.KVStore.new_impl({
  read(a, b, k) {
    const v = store.get(storeKey(a, b, k))
    return v
      ? ldk.Result_CVec_u8ZIOErrorZ.constructor_ok(v)
      : ldk.Result_CVec_u8ZIOErrorZ.constructor_err(ldk.IOError.LDKIOError_NotFound)
  },
  write(a, b, k, buf) {
    stats.storeWrites++
    store.set(storeKey(a, b, k), buf)
    return okNone()
  },
  remove(a, b, k) {
    store.delete(storeKey(a, b, k))
    return okNone()
  },
  list(a, b) {
    const p = storeKey(a, b, '')
    return ldk.Result_CVec_StrZIOErrorZ.constructor_ok(
      [...store.keys()].filter((k) => k.startsWith(p)).map((k) => k.slice(p.length)),
    )
  },
})

const walletUtxos = new Map() // "txid:vout" -> { txidLE, vout, value, height }
const walletSource = ldk.WalletSource.new_impl({
  list_confirmed_utxos() {
    try {
      return ldk.Result_CVec_UtxoZNoneZ.constructor_ok(
        [...walletUtxos.values()].map((u) =>
          ldk.Utxo.constructor_new(
            ldk.OutPoint.constructor_new(new Uint8Array(u.txidLE), u.vout),
            ldk.TxOut.constructor_new(u.value, new Uint8Array(wallet.script)),
            113n, // empty scriptSig (4 WU) + P2WPKH witness (109 WU)
          ),
        ),
      )
    } catch (e) {
      emit('wallet_error', { where: 'list_confirmed_utxos', error: String(e) })
      return ldk.Result_CVec_UtxoZNoneZ.constructor_err()
    }
  },
  get_change_script: () => ldk.Result_CVec_u8ZNoneZ.constructor_ok(new Uint8Array(wallet.script)),
  sign_psbt(psbt) {
    try {
      const { tx, prevouts } = parsePsbt(psbt)
      wallet.signInputs(tx, prevouts)
      return ldk.Result_TransactionNoneZ.constructor_ok(new Uint8Array(serializeTx(tx)))
    } catch (e) {
      emit('wallet_error', { where: 'sign_psbt', error: String(e), psbt: hex(psbt) })
      return ldk.Result_TransactionNoneZ.constructor_err()
    }
  },
})

// ---- the node ------------------------------------------------------------------------
const start = await rpc('getblockchaininfo')
const startHeader = parseHeader(Buffer.from(await rpc('getblockheader', start.bestblockhash, false), 'hex'))
let startHeight = start.blocks
const nowSecs = Math.floor(Date.now() / 1000)

const keys = ldk.KeysManager.constructor_new(seed, BigInt(nowSecs), (Date.now() % 1000) * 1e6)
const entropy = keys.as_EntropySource(),
  signer = keys.as_NodeSigner(),
  signerProvider = keys.as_SignerProvider(),
  outputSpender = keys.as_OutputSpender()
const persister = ldk.MonitorUpdatingPersister.constructor_new(
  kvStore,
  logger,
  500n,
  entropy,
  signerProvider,
  broadcaster,
  feeEstimator,
)
const chainMonitor = ldk.ChainMonitor.constructor_new(
  ldk.Option_FilterZ.constructor_none(),
  broadcaster,
  logger,
  feeEstimator,
  persister.as_Persist(),
)
const graph = ldk.NetworkGraph.constructor_new(network, logger)
const scorer = ldk.ProbabilisticScorer.constructor_new(
  ldk.ProbabilisticScoringDecayParameters.constructor_default(),
  graph,
  logger,
)
const lockScore = ldk.MultiThreadedLockableScore.constructor_new(scorer.as_Score())
const router = ldk.DefaultRouter.constructor_new(
  graph,
  logger,
  entropy,
  lockScore.as_LockableScore(),
  ldk.ProbabilisticScoringFeeParameters.constructor_default(),
)
const msgRouter = ldk.DefaultMessageRouter.constructor_new(graph, entropy)

/** A UserConfig from the command line, with per-`open` overrides. Getters return copies, so set what was got. */
function userConfig({ isPublic = false, anchors = !o['no-anchors'] } = {}) {
  const c = ldk.UserConfig.constructor_default()
  const hs = c.get_channel_handshake_config()
  hs.set_announce_for_forwarding(isPublic)
  hs.set_negotiate_anchors_zero_fee_htlc_tx(anchors)
  hs.set_minimum_depth(Number(o['min-depth']))
  hs.set_our_to_self_delay(Number(o['to-self-delay']))
  hs.set_our_max_accepted_htlcs(Number(o['max-htlcs']))
  hs.set_max_inbound_htlc_value_in_flight_percent_of_channel(100)
  hs.set_their_channel_reserve_proportional_millionths(Number(o['reserve-ppm']))
  hs.set_commit_upfront_shutdown_pubkey(!o['no-upfront-shutdown'])
  hs.set_negotiate_scid_privacy(o['scid-privacy'])
  c.set_channel_handshake_config(hs)
  const lim = c.get_channel_handshake_limits()
  lim.set_force_announced_channel_preference(false) // take public and private channels alike
  lim.set_max_funding_satoshis(2_100_000_000_000_000n) // default: 2^24 - 1, although the feature bit says large channels
  lim.set_trust_own_funding_0conf(true)
  c.set_channel_handshake_limits(lim)
  c.set_accept_forwards_to_priv_channels(true)
  c.set_accept_inbound_channels(true)
  c.set_manually_accept_inbound_channels(true) // LDK refuses inbound anchor channels otherwise
  return c
}
const params = ldk.ChainParameters.constructor_new(
  network,
  ldk.BestBlock.constructor_new(Uint8Array.from(Buffer.from(start.bestblockhash, 'hex')).reverse(), start.blocks),
)
// `current_timestamp`: this build has no clock; LDK's idea of now is max(this, block times seen).
const chanMan = ldk.ChannelManager.constructor_new(
  feeEstimator,
  chainMonitor.as_Watch(),
  broadcaster,
  router.as_Router(),
  msgRouter.as_MessageRouter(),
  logger,
  entropy,
  signer,
  signerProvider,
  userConfig(),
  params,
  Math.max(nowSecs, startHeader.time),
)
const ignorer = ldk.IgnoringMessageHandler.constructor_new()
const gossip = ldk.P2PGossipSync.constructor_new(graph, ldk.Option_UtxoLookupZ.constructor_none(), logger)
const onion = ldk.OnionMessenger.constructor_new(
  entropy,
  signer,
  logger,
  chanMan.as_NodeIdLookUp(),
  msgRouter.as_MessageRouter(),
  chanMan.as_OffersMessageHandler(),
  chanMan.as_AsyncPaymentsMessageHandler(),
  chanMan.as_DNSResolverMessageHandler(),
  ignorer.as_CustomOnionMessageHandler(),
)
const peerMan = ldk.PeerManager.constructor_new(
  chanMan.as_ChannelMessageHandler(),
  o['no-gossip'] ? ignorer.as_RoutingMessageHandler() : gossip.as_RoutingMessageHandler(),
  o['no-onion-messages'] ? ignorer.as_OnionMessageHandler() : onion.as_OnionMessageHandler(),
  ignorer.as_CustomMessageHandler(),
  nowSecs,
  entropy.get_secure_random_bytes(),
  logger,
  signer,
)
const bumpWallet = ldk.Wallet.constructor_new(walletSource, logger)
const bumpHandler = ldk.BumpTransactionEventHandler.constructor_new(
  broadcaster,
  bumpWallet.as_CoinSelectionSource(),
  signerProvider,
  logger,
)
const nodeId = hex(chanMan.get_our_node_id())

// lightningdevkit-node-net 0.1.0 never clears its "socket is full" flag on 'drain': once one
// write() returns false (16 KiB queued) that connection never sends again. Same class, flag cleared;
// also: one pump per batch of reads, and errors with a reason.
class Net extends NodeLDKNet {
  get_descriptor(socket) {
    const index = this.descriptor_count
    this.descriptor_count += 1n
    socket.setNoDelay(true)
    let waiting = false,
      gone = false
    const pm = this.peer_manager
    const descriptor = ldk.SocketDescriptor.new_impl({
      send_data(data, resumeRead) {
        if (resumeRead) socket.resume()
        if (waiting || socket.destroyed) return 0
        if (!socket.write(data)) waiting = true
        return data.length // node queued all of it, whatever write() returned
      },
      disconnect_socket() {
        socket.destroy()
      },
      eq: (other) => other.hash() === index,
      hash: () => index,
    })
    const closed = () => {
      if (gone) return
      gone = true
      pm.socket_disconnected(descriptor)
      schedulePump()
    }
    socket.on('drain', () => {
      waiting = false
      if (!pm.write_buffer_space_avail(descriptor).is_ok()) socket.destroy()
    })
    socket.on('data', (data) => {
      const r = pm.read_event(descriptor, data)
      if (!r.is_ok()) socket.destroy()
      else if (r.res) socket.pause()
      schedulePump()
    })
    socket.on('close', closed)
    socket.on('error', closed)
    return descriptor
  }
  connect_peer(host, port, pubkey) {
    return new Promise((resolve, reject) => {
      const sock = net.connect(port, host)
      sock.once('error', (e) => reject(new Error(`connect ${host}:${port}: ${e.message}`)))
      sock.once('connect', () => {
        const d = this.get_descriptor(sock)
        const r = peerMan.new_outbound_connection(pubkey, d, NodeLDKNet.get_addr_from_socket(sock))
        if (!r.is_ok()) {
          sock.destroy()
          return reject(new Error('LDK refused the outbound connection (already connected, or duplicate descriptor)'))
        }
        d.send_data(r.res, true)
        resolve(sock)
      })
    })
  }
}
const netHandler = new Net(peerMan)

// ---- pump: messages out, events in, until quiet -------------------------------------------
const eventQueue = []
const eventHandler = ldk.EventHandler.new_impl({
  handle_event(e) {
    eventQueue.push(e)
    return ldk.Result_NoneReplayEventZ.constructor_ok()
  },
})
const eventProviders = [chanMan.as_EventsProvider(), chainMonitor.as_EventsProvider(), onion.as_EventsProvider()]
const forwardDelay = Number(o['forward-delay-ms'])
let pumping = false,
  pumpScheduled = false,
  forwardsDue = false
function schedulePump() {
  if (!pumpScheduled) {
    pumpScheduled = true
    setImmediate(() => {
      pumpScheduled = false
      pump()
    })
  }
}
function pump() {
  if (pumping) return schedulePump()
  pumping = true
  stats.pumps++
  try {
    for (;;) {
      if (forwardsDue) {
        forwardsDue = false
        chanMan.process_pending_htlc_forwards()
      }
      for (const p of eventProviders) p.process_pending_events(eventHandler)
      if (!eventQueue.length) break
      for (let e; (e = eventQueue.shift());) handleEvent(e)
    }
    peerMan.process_events()
  } finally {
    pumping = false
  }
}

const pendingOpens = new Map() // tempChannelId -> counterparty
const heldHashes = new Set() // payment hashes not to claim by ourselves
const claimable = new Map() // payment hash -> preimage (held payments)
const spendable = [] // { bytes, kind, sat, outpoint, channelId, swept }
const payWaiters = new Map() // payment id hex -> { resolve, reject }
let autoClaim = true,
  autoSweepScript = null,
  userChannelCounter = 1n

function describeSpendable(d) {
  const n = ctor(d).replace('SpendableOutputDescriptor_', '')
  if (n === 'StaticOutput') return { kind: n, sat: d.output.value, outpoint: outpointStr(d.outpoint) }
  const x = n === 'DelayedPaymentOutput' ? d.delayed_payment_output : d.static_payment_output
  return {
    kind: n,
    sat: x.get_output().value,
    outpoint: outpointStr(x.get_outpoint()),
    ...(n === 'DelayedPaymentOutput' ? { toSelfDelay: x.get_to_self_delay() } : {}),
  }
}
function finishPayment(idHex, ok, detail) {
  const w = payWaiters.get(idHex)
  if (!w) return
  payWaiters.delete(idHex)
  ok ? w.resolve(detail) : w.reject(new Error(`payment failed: ${detail.reason}`))
}
function handleEvent(e) {
  const type = ctor(e).replace('Event_', '')
  switch (type) {
    case 'FundingGenerationReady': {
      const id = chanIdHex(e.temporary_channel_id)
      pendingOpens.set(id, e.counterparty_node_id)
      return emit('funding_generation_ready', {
        tempChannelId: id,
        pubkey: e.counterparty_node_id,
        sat: e.channel_value_satoshis,
        scriptHex: e.output_script,
        address: scriptToAddress(e.output_script, o.network),
        userChannelId: fixU128(e.user_channel_id),
      })
    }
    case 'OpenChannelRequest': {
      const id = e.temporary_channel_id,
        cp = e.counterparty_node_id
      const f = {
        tempChannelId: chanIdHex(id),
        pubkey: cp,
        sat: e.funding_satoshis,
        pushMsat: e.channel_negotiation_type.push_msat ?? null,
        negotiation: ctor(e.channel_negotiation_type),
        public: !!e.is_announced,
        channelType: chanTypeStr(e.channel_type),
      }
      if (o['reject-inbound']) {
        chanMan.force_close_without_broadcasting_txn(id, cp, 'inbound channels are off')
        return emit('channel_open_rejected', f)
      }
      const uid = userChannelCounter++
      const accept = (zero) =>
        zero ? chanMan.accept_inbound_channel_from_trusted_peer_0conf(id, cp, uid) : chanMan.accept_inbound_channel(id, cp, uid)
      const r = accept(o['accept-0conf'])
      return emit(r.is_ok() ? 'channel_open_accepted' : 'channel_open_refused', {
        ...f,
        zeroConf: o['accept-0conf'],
        ...(r.is_ok() ? {} : { error: errText(r.err) }),
      })
    }
    case 'ChannelPending':
      return emit('channel_pending', {
        channelId: chanIdHex(e.channel_id),
        formerTempChannelId: chanIdHex(e.former_temporary_channel_id),
        pubkey: e.counterparty_node_id,
        funding: outpointStr(e.funding_txo),
        channelType: chanTypeStr(e.channel_type),
        userChannelId: fixU128(e.user_channel_id),
      })
    case 'ChannelReady':
      return emit('channel_ready', {
        channelId: chanIdHex(e.channel_id),
        pubkey: e.counterparty_node_id,
        channelType: chanTypeStr(e.channel_type),
        userChannelId: fixU128(e.user_channel_id),
      })
    case 'ChannelClosed':
      return emit('channel_closed', {
        channelId: chanIdHex(e.channel_id),
        pubkey: e.counterparty_node_id,
        reason: ctor(e.reason).replace('ClosureReason_', ''),
        detail: e.reason.to_str(),
        funding: outpointStr(e.channel_funding_txo),
        lastLocalMsat: opt(e.last_local_balance_msat),
      })
    case 'PaymentClaimable': {
      const h = hex(e.payment_hash)
      const preimage = opt(e.purpose.preimage())
      const f = {
        paymentHash: h,
        msat: e.amount_msat,
        purpose: ctor(e.purpose).replace('PaymentPurpose_', ''),
        claimDeadline: opt(e.claim_deadline),
        channelId: chanIdHex(e.via_channel_id),
      }
      if (autoClaim && !heldHashes.has(h) && preimage) {
        chanMan.claim_funds(preimage)
        return undefined
      }
      if (preimage) claimable.set(h, preimage)
      return emit('payment_claimable', { ...f, preimageKnown: !!preimage })
    }
    case 'PaymentClaimed':
      return emit('payment_received', {
        paymentHash: e.payment_hash,
        msat: e.amount_msat,
        purpose: ctor(e.purpose).replace('PaymentPurpose_', ''),
        htlcs: e.htlcs.length,
      })
    case 'PaymentSent': {
      const d = { paymentHash: hex(e.payment_hash), preimage: hex(e.payment_preimage), feeMsat: opt(e.fee_paid_msat) }
      finishPayment(hex(opt(e.payment_id) ?? new Uint8Array()), true, d)
      return emit('payment_sent', d)
    }
    case 'PaymentFailed': {
      const r = opt(e.reason)
      const d = {
        paymentId: hex(e.payment_id),
        paymentHash: opt(e.payment_hash),
        reason: r === null ? null : enumName(ldk.PaymentFailureReason, r, 'LDKPaymentFailureReason_'),
      }
      finishPayment(d.paymentId, false, d)
      return emit('payment_failed', d)
    }
    case 'PaymentPathSuccessful':
      return undefined
    case 'PaymentPathFailed': {
      const f = e.failure
      return emit('payment_path_failed', {
        paymentHash: e.payment_hash,
        permanent: !!e.payment_failed_permanently,
        scid: opt(e.short_channel_id),
        failure: ctor(f),
        detail: f.err ? errText(f.err) : null,
      })
    }
    case 'PendingHTLCsForwardable':
      if (forwardDelay > 0)
        setTimeout(() => {
          forwardsDue = true
          pump()
        }, forwardDelay)
      else forwardsDue = true
      return undefined
    case 'PaymentForwarded':
      return emit('payment_forwarded', {
        feeMsat: opt(e.total_fee_earned_msat),
        onchain: !!e.claim_from_onchain_tx,
        outMsat: opt(e.outbound_amount_forwarded_msat),
        from: chanIdHex(e.prev_channel_id),
        to: chanIdHex(e.next_channel_id),
      })
    case 'HTLCHandlingFailed':
      return emit('htlc_handling_failed', {
        from: chanIdHex(e.prev_channel_id),
        why: ctor(e.failed_next_destination).replace('HTLCDestination_', ''),
      })
    case 'SpendableOutputs': {
      const outs = e.outputs.map((d) => ({
        bytes: d.write(),
        swept: null,
        channelId: chanIdHex(e.channel_id),
        ...describeSpendable(d),
      }))
      spendable.push(...outs)
      emit('spendable_outputs', {
        channelId: chanIdHex(e.channel_id),
        outputs: outs.map(({ bytes, swept, channelId, ...x }) => x),
      })
      if (autoSweepScript) setImmediate(() => sweep(autoSweepScript).catch((err) => emit('sweep_failed', { error: err.message })))
      return undefined
    }
    case 'BumpTransaction': {
      const b = e.bump_transaction,
        kind = ctor(b).replace('BumpTransactionEvent_', '')
      const f =
        kind === 'ChannelClose'
          ? {
              commitmentTxid: parseTx(b.commitment_tx).txid,
              commitmentFeeSat: b.commitment_tx_fee_satoshis,
              targetSatPerKw: b.package_target_feerate_sat_per_1000_weight,
              pendingHtlcs: b.pending_htlcs.length,
            }
          : { htlcs: b.htlc_descriptors.length, targetSatPerKw: b.target_feerate_sat_per_1000_weight, locktime: b.tx_lock_time }
      emit('bump_transaction', {
        kind,
        channelId: chanIdHex(b.channel_id),
        walletSat: walletBalance(),
        walletUtxos: walletUtxos.size,
        ...f,
      })
      // Needs confirmed coins at our wallet address (`wallet`); without them LDK logs an error, and for
      // ChannelClose still broadcasts nothing itself, so send the commitment transaction alone.
      if (kind === 'ChannelClose' && walletUtxos.size === 0)
        broadcast(b.commitment_tx, 'commitment without anchor bump (empty wallet)')
      else bumpHandler.handle_event(b)
      return undefined
    }
    case 'DiscardFunding':
      return emit('discard_funding', { channelId: chanIdHex(e.channel_id) })
    case 'FundingTxBroadcastSafe':
      return emit('funding_tx_broadcast_safe', { channelId: chanIdHex(e.channel_id) })
    case 'ConnectionNeeded':
      return emit('connection_needed', { pubkey: e.node_id })
    default:
      return emit('other', { type })
  }
}

// ---- chain --------------------------------------------------------------------------------
const listeners = [chainMonitor.as_Listen(), chanMan.as_Listen()]
const chain = [{ hash: startHeader.hash, height: startHeight, header: startHeader.header, undo: [] }]
const tip = () => chain[chain.length - 1]
function connectBlock(raw, height) {
  const block = parseBlock(raw)
  for (const l of listeners) l.block_connected(raw, height)
  const undo = []
  for (const tx of block.txs) {
    for (const i of tx.vin) {
      const k = `${revHex(i.txidLE)}:${i.vout}`,
        u = walletUtxos.get(k)
      if (u) {
        walletUtxos.delete(k)
        undo.push([k, u])
      }
    }
    tx.vout.forEach((v, n) => {
      if (!v.script.equals(wallet.script)) return
      const k = `${tx.txid}:${n}`
      walletUtxos.set(k, { txidLE: Buffer.from(tx.txid, 'hex').reverse(), vout: n, value: v.value, height })
      undo.push([k, null])
      emit('wallet_received', { outpoint: k, sat: v.value, height })
    })
  }
  chain.push({ hash: block.hash, height, header: block.header, undo })
}
function disconnectTip() {
  const b = chain.pop()
  for (const l of listeners) l.block_disconnected(new Uint8Array(b.header), b.height)
  for (const [k, u] of b.undo.reverse()) {
    if (u) walletUtxos.set(k, u)
    else walletUtxos.delete(k)
  }
  emit('block_disconnected', { height: b.height, hash: b.hash })
}
let syncing = null,
  rpcDown = false
const heightWaiters = []
async function syncOnce() {
  const best = await rpc('getbestblockhash')
  if (best === tip().hash) return
  // Walk back to a block we know; keep the blocks we fetch, in order.
  const add = []
  let h = best
  const known = new Map(chain.map((b, i) => [b.hash, i]))
  while (!known.has(h)) {
    const raw = new Uint8Array(Buffer.from(await rpc('getblock', h, 0), 'hex'))
    add.push(raw)
    h = parseHeader(Buffer.from(raw.buffer, 0, 80)).prev
    if (/^0+$/.test(h)) throw new Error('reorganisation below the block this node started at')
  }
  const keep = known.get(h)
  while (chain.length - 1 > keep) disconnectTip()
  // getblock(0) gives no height: it is our ancestor's plus one, and so on.
  for (const raw of add.reverse()) connectBlock(raw, tip().height + 1)
  emit('block', { height: tip().height, hash: tip().hash, connected: add.length })
  pump()
  for (let i = heightWaiters.length - 1; i >= 0; i--)
    if (tip().height >= heightWaiters[i].height) heightWaiters.splice(i, 1)[0].resolve()
}
/** One sync at a time; a second caller gets the one under way plus one more, so that it sees the present tip. */
function sync() {
  const run = async () => {
    try {
      await syncOnce()
      if (rpcDown) {
        rpcDown = false
        emit('rpc_up')
      }
    } catch (e) {
      if (e instanceof WebAssembly.RuntimeError) return fatal('block', e)
      if (!rpcDown) {
        rpcDown = true
        emit('rpc_error', { error: e.message })
      }
    }
  }
  return (syncing = (syncing ?? Promise.resolve()).then(run))
}
;(async function poll() {
  for (;;) {
    await sync()
    await new Promise((r) => setTimeout(r, Number(o['poll-ms'])))
  }
})()

// ---- peers -----------------------------------------------------------------------------------
const peersNow = () => new Map(peerMan.list_peers().map((p) => [hex(p.get_counterparty_node_id()), p]))
let lastPeers = new Set()
function checkPeers() {
  const now = peersNow()
  for (const [k, p] of now)
    if (!lastPeers.has(k))
      emit('peer_connected', {
        pubkey: k,
        inbound: !!p.get_is_inbound_connection(),
        features: featureString(p.get_init_features().le_flags()),
      })
  for (const k of lastPeers) if (!now.has(k)) emit('peer_disconnected', { pubkey: k })
  lastPeers = new Set(now.keys())
}
setInterval(() => {
  pump()
  checkPeers()
}, 100)
setInterval(() => {
  chanMan.timer_tick_occurred()
  chainMonitor.rebroadcast_pending_claims()
  pump()
}, Number(o['tick-ms']))

const [host, portStr] = (() => {
  const i = o.listen.lastIndexOf(':')
  return i < 0 ? ['127.0.0.1', o.listen] : [o.listen.slice(0, i), o.listen.slice(i + 1)]
})()
try {
  await netHandler.bind_listener(host, Number(portStr))
} catch (e) {
  emit('fatal', { where: 'listen', error: `cannot listen on ${o.listen}` })
  process.exit(1)
}
const listenPort = netHandler.servers[0].address().port

// ---- commands -----------------------------------------------------------------------------------
const walletBalance = () => [...walletUtxos.values()].reduce((s, u) => s + u.value, 0n)
function findChannel(idHex) {
  const c = chanMan.list_channels().find((x) => chanIdHex(x.get_channel_id()) === idHex)
  if (!c) throw new Error(`no channel ${idHex}`)
  return c
}
function channelInfo(c) {
  const cp = c.get_counterparty()
  const htlc = (x, dir) => ({
    dir,
    id: dir === 'in' ? x.get_htlc_id() : opt(x.get_htlc_id()),
    msat: x.get_amount_msat(),
    expiry: x.get_cltv_expiry(),
    paymentHash: x.get_payment_hash(),
    dust: !!x.get_is_dust(),
  })
  const st = opt(c.get_channel_shutdown_state())
  return {
    channelId: chanIdHex(c.get_channel_id()),
    pubkey: cp.get_node_id(),
    funding: outpointStr(c.get_funding_txo()),
    scid: opt(c.get_short_channel_id()),
    scidAliasOurs: opt(c.get_inbound_scid_alias()),
    scidAliasTheirs: opt(c.get_outbound_scid_alias()),
    sat: c.get_channel_value_satoshis(),
    userChannelId: fixU128(c.get_user_channel_id()),
    channelType: chanTypeStr(c.get_channel_type()),
    outbound: !!c.get_is_outbound(),
    public: !!c.get_is_announced(),
    ready: !!c.get_is_channel_ready(),
    usable: !!c.get_is_usable(),
    confirmations: opt(c.get_confirmations()),
    confirmationsRequired: opt(c.get_confirmations_required()),
    outboundMsat: c.get_outbound_capacity_msat(),
    inboundMsat: c.get_inbound_capacity_msat(),
    nextOutboundHtlcLimitMsat: c.get_next_outbound_htlc_limit_msat(),
    nextOutboundHtlcMinimumMsat: c.get_next_outbound_htlc_minimum_msat(),
    ourReserveSat: opt(c.get_unspendable_punishment_reserve()),
    theirReserveSat: cp.get_unspendable_punishment_reserve(),
    feerateSatPerKw: opt(c.get_feerate_sat_per_1000_weight()),
    toSelfDelay: opt(c.get_force_close_spend_delay()),
    shutdown: st === null ? null : enumName(ldk.ChannelShutdownState, st, 'LDKChannelShutdownState_'),
    htlcs: [
      ...c.get_pending_inbound_htlcs().map((x) => htlc(x, 'in')),
      ...c.get_pending_outbound_htlcs().map((x) => htlc(x, 'out')),
    ],
  }
}
async function sweep(script, satPerKw = FEES.sweep) {
  const todo = spendable.filter((s) => !s.swept)
  if (!todo.length) return { swept: 0 }
  const descriptors = todo.map((s) => unwrap(ldk.SpendableOutputDescriptor.constructor_read(s.bytes), 'descriptor'))
  const raw = unwrap(
    outputSpender.spend_spendable_outputs(descriptors, [], new Uint8Array(script), satPerKw, ldk.Option_u32Z.constructor_none()),
    'spend_spendable_outputs',
  )
  const tx = parseTx(raw)
  for (const s of todo) s.swept = tx.txid
  const r = await broadcast(raw, 'sweep')
  if (!r.ok) {
    for (const s of todo) s.swept = null
    throw new Error(r.error)
  }
  emit('swept', {
    txid: tx.txid,
    outputs: todo.length,
    inSat: todo.reduce((a, s) => a + s.sat, 0n),
    outSat: tx.vout.reduce((a, v) => a + v.value, 0n),
  })
  return { txid: tx.txid, swept: todo.length, hex: hex(raw) }
}
const retryOf = (c) => ldk.Retry.constructor_attempts(c.retries ?? 3) // no clock in this build, hence no Retry::Timeout
function trackPayment(c, idHex, result) {
  if (!c.wait) return result
  return new Promise((resolve, reject) => payWaiters.set(idHex, { resolve: (d) => resolve({ ...result, ...d }), reject }))
}
const sendFailure = (r, what) => {
  if (!r.is_ok()) throw new Error(`${what}: ${enumName(ldk.RetryableSendFailure, r.err, 'LDKRetryableSendFailure_')}`)
  return r.res
}

const commands = {
  info: () => ({
    nodeId,
    alias: o.alias,
    host,
    port: listenPort,
    network: o.network,
    height: tip().height,
    blockHash: tip().hash,
    ldkHeight: chanMan.current_best_block().get_height(),
    peers: peersNow().size,
    channels: chanMan.list_channels().length,
    usable: chanMan.list_usable_channels().length,
    anchors: !o['no-anchors'],
    fees: FEES,
    wallet: { address: scriptToAddress(wallet.script, o.network), sat: walletBalance(), utxos: walletUtxos.size },
    stats: {
      ...stats,
      wasmMiB: wasmMemory ? Math.round(wasmMemory.buffer.byteLength / 1048576) : null,
      rssMiB: Math.round(process.memoryUsage().rss / 1048576),
      cpuMs: Math.round(process.cpuUsage().user / 1000 + process.cpuUsage().system / 1000),
    },
  }),
  /** What this node puts in its feature vectors (init = what a peer sees: the union of all handlers). */
  features: () => {
    const dummy = new Uint8Array(33)
    dummy.set(chanMan.get_our_node_id())
    const init = chanMan.as_ChannelMessageHandler().provided_init_features(dummy)
    const hs = { channelManager: init.le_flags() }
    if (!o['no-gossip']) hs.gossip = gossip.as_RoutingMessageHandler().provided_init_features(dummy).le_flags()
    if (!o['no-onion-messages']) hs.onion = onion.as_OnionMessageHandler().provided_init_features(dummy).le_flags()
    const union = new Uint8Array(32)
    for (const f of Object.values(hs))
      f.forEach((b, i) => {
        union[i] |= b
      })
    return {
      init: decodeFeatures(union),
      initString: featureString(union),
      byHandler: Object.fromEntries(Object.entries(hs).map(([k, v]) => [k, featureString(v)])),
      node: featureString(chanMan.node_features().le_flags()),
      channelTypesKnown: featureString(chanMan.channel_type_features().le_flags()),
    }
  },
  async connect({ pubkey, host: h = '127.0.0.1', port, timeoutMs = 10000 }) {
    if (peersNow().has(pubkey)) return { alreadyConnected: true }
    const sock = await netHandler.connect_peer(h, Number(port), pubkeyArg(pubkey))
    const end = performance.now() + timeoutMs
    while (!peersNow().has(pubkey)) {
      if (sock.destroyed) throw new Error('the connection was closed during the handshake or the init exchange')
      if (performance.now() > end) throw new Error('handshake timed out')
      await new Promise((r) => setTimeout(r, 5))
    }
    checkPeers()
    return { features: featureString(peersNow().get(pubkey).get_init_features().le_flags()) }
  },
  disconnect({ pubkey }) {
    peerMan.disconnect_by_node_id(pubkeyArg(pubkey))
    pump()
    checkPeers()
    return {}
  },
  peers: () =>
    [...peersNow()].map(([k, p]) => ({
      pubkey: k,
      inbound: !!p.get_is_inbound_connection(),
      features: featureString(p.get_init_features().le_flags()),
    })),
  open({ pubkey, sat, pushMsat = 0, public: isPublic = false, anchors, userChannelId }) {
    // create_channel itself accepts a peer it once knew, and sends open_channel whenever that one comes back
    if (!peersNow().has(pubkey)) throw new Error('not connected to this peer')
    const uid = userChannelId === undefined ? userChannelCounter++ : BigInt(userChannelId)
    const id = unwrap(
      chanMan.create_channel(
        pubkeyArg(pubkey),
        BigInt(sat),
        BigInt(pushMsat),
        uid,
        null,
        userConfig({ isPublic, anchors: anchors ?? !o['no-anchors'] }),
      ),
      'create_channel',
    )
    pump()
    return { tempChannelId: chanIdHex(id), userChannelId: uid }
  },
  funding_tx({ tempChannelId, hex: h }) {
    const cp = pendingOpens.get(tempChannelId)
    if (!cp) throw new Error(`no funding is awaited for ${tempChannelId}`)
    unwrap(
      chanMan.funding_transaction_generated(ldk.ChannelId.constructor_new(bytes32(tempChannelId, 'tempChannelId')), cp, unhex(h)),
      'funding_transaction_generated',
    )
    pendingOpens.delete(tempChannelId)
    pump()
    return { txid: parseTx(unhex(h)).txid }
  },
  channels: () => chanMan.list_channels().map(channelInfo),
  invoice({ msat, description = '', expirySecs = 3600, hold = false, minFinalCltv }) {
    const d = ldk.Bolt11InvoiceDescription.constructor_direct(unwrap(ldk.Description.constructor_new(description), 'description'))
    const inv = unwrap(
      chanMan.create_bolt11_invoice(
        some64(msat),
        d,
        ldk.Option_u32Z.constructor_some(expirySecs),
        minFinalCltv == null ? ldk.Option_u16Z.constructor_none() : ldk.Option_u16Z.constructor_some(minFinalCltv),
        ldk.Option_ThirtyTwoBytesZ.constructor_none(),
      ),
      'create_bolt11_invoice',
    )
    const h = hex(inv.payment_hash())
    if (hold) heldHashes.add(h)
    return { bolt11: inv.to_str(), paymentHash: h, paymentSecret: inv.payment_secret() }
  },
  decode({ bolt11 }) {
    const inv = unwrap(ldk.Bolt11Invoice.constructor_from_str(bolt11), 'bolt11')
    return {
      paymentHash: inv.payment_hash(),
      payee: inv.get_payee_pub_key(),
      msat: opt(inv.amount_milli_satoshis()),
      timestamp: inv.duration_since_epoch(),
      expirySecs: inv.expiry_time(),
      minFinalCltv: inv.min_final_cltv_expiry_delta(),
      routeHints: inv.route_hints().length,
      features: inv.features() ? featureString(inv.features().le_flags()) : null,
    }
  },
  pay(c) {
    const inv = unwrap(ldk.Bolt11Invoice.constructor_from_str(c.bolt11), 'bolt11')
    const hasAmount = opt(inv.amount_milli_satoshis()) !== null
    const r = hasAmount
      ? ldk.UtilMethods.constructor_payment_parameters_from_invoice(inv)
      : ldk.UtilMethods.constructor_payment_parameters_from_variable_amount_invoice(inv, BigInt(c.msat))
    const p = unwrap(r, 'payment_parameters_from_invoice')
    const h = inv.payment_hash()
    const rp = p.get_c()
    if (c.maxFeeMsat !== undefined) rp.set_max_total_routing_fee_msat(some64(c.maxFeeMsat))
    const pp = rp.get_payment_params() // a copy, as all getters give
    if (c.maxParts !== undefined) pp.set_max_path_count(c.maxParts)
    // LDK adds a random "shadow" offset of up to 432 blocks to the CLTV; a small limit here rules it out.
    if (c.maxCltvDelta !== undefined) pp.set_max_total_cltv_expiry_delta(c.maxCltvDelta)
    rp.set_payment_params(pp)
    const w = trackPayment(c, hex(h), { paymentHash: hex(h) })
    try {
      sendFailure(chanMan.send_payment(h, p.get_b(), h, rp, retryOf(c)), 'send_payment')
    } catch (e) {
      payWaiters.delete(hex(h))
      throw e
    }
    schedulePump()
    return w
  },
  keysend(c) {
    const preimage = new Uint8Array(crypto.randomBytes(32)),
      id = new Uint8Array(sha256(preimage))
    const rp = ldk.RouteParameters.constructor_from_payment_params_and_value(
      ldk.PaymentParameters.constructor_for_keysend(pubkeyArg(c.pubkey), c.minFinalCltv ?? 40, false),
      BigInt(c.msat),
    )
    const w = trackPayment(c, hex(id), { paymentHash: hex(id) })
    try {
      sendFailure(
        chanMan.send_spontaneous_payment(
          ldk.Option_ThirtyTwoBytesZ.constructor_some(preimage),
          ldk.RecipientOnionFields.constructor_spontaneous_empty(),
          id,
          rp,
          retryOf(c),
        ),
        'send_spontaneous_payment',
      )
    } catch (e) {
      payWaiters.delete(hex(id))
      throw e
    }
    schedulePump()
    return w
  },
  claim({ paymentHash }) {
    const p = claimable.get(paymentHash)
    if (!p) throw new Error('no held payment with this hash')
    claimable.delete(paymentHash)
    heldHashes.delete(paymentHash)
    chanMan.claim_funds(p)
    pump()
    return { preimage: p }
  },
  fail({ paymentHash }) {
    claimable.delete(paymentHash)
    chanMan.fail_htlc_backwards(bytes32(paymentHash, 'paymentHash'))
    pump()
    return {}
  },
  abandon({ paymentHash }) {
    chanMan.abandon_payment(bytes32(paymentHash, 'paymentHash'))
    pump()
    return {}
  },
  offer({ msat, description = '' }) {
    const b = unwrap(chanMan.create_offer_builder(ldk.Option_u64Z.constructor_none()), 'create_offer_builder (bolt12)')
    if (msat != null) b.amount_msats(BigInt(msat))
    b.description(description)
    const of = unwrap(b.build(), 'offer')
    return { offer: of.to_str(), paths: of.paths().length }
  },
  pay_offer(c) {
    const of = unwrap(ldk.Offer.constructor_from_str(c.offer), 'offer')
    const id = new Uint8Array(crypto.randomBytes(32))
    const w = trackPayment(c, hex(id), { paymentId: hex(id) })
    const r = chanMan.pay_for_offer(
      of,
      ldk.Option_u64Z.constructor_none(),
      some64(c.msat),
      ldk.Option_StrZ.constructor_none(),
      id,
      retryOf(c),
      ldk.Option_u64Z.constructor_none(),
    )
    if (!r.is_ok()) {
      payWaiters.delete(hex(id))
      throw new Error(`pay_for_offer: ${enumName(ldk.Bolt12SemanticError, r.err, 'LDKBolt12SemanticError_')}`)
    }
    pump()
    return w
  },
  close({ channelId, force = false, satPerKw, script }) {
    const c = findChannel(channelId),
      id = c.get_channel_id(),
      cp = c.get_counterparty().get_node_id()
    if (force) unwrap(chanMan.force_close_broadcasting_latest_txn(id, cp, 'ldk-peer: close {force:true}'), 'force_close')
    else if (satPerKw !== undefined || script)
      unwrap(
        chanMan.close_channel_with_feerate_and_script(
          id,
          cp,
          satPerKw === undefined ? ldk.Option_u32Z.constructor_none() : ldk.Option_u32Z.constructor_some(satPerKw),
          script ? shutdownScript(script) : null,
        ),
        'close_channel',
      )
    else unwrap(chanMan.close_channel(id, cp), 'close_channel')
    pump()
    return {}
  },
  async sweep({ address, auto, satPerKw }) {
    const script = address ? addressToScript(address) : wallet.script
    if (auto !== undefined) autoSweepScript = auto ? script : null
    return sweep(script, satPerKw)
  },
  spendable: () => spendable.map(({ bytes, ...x }) => x),
  balances: () =>
    chainMonitor.get_claimable_balances([]).map((b) => ({
      kind: ctor(b).replace('Balance_', ''),
      sat: b.claimable_amount_satoshis(),
      height: b.confirmation_height ?? b.claimable_height ?? b.timeout_height ?? b.expiry_height ?? null,
    })),
  wallet: () => ({
    address: scriptToAddress(wallet.script, o.network),
    scriptHex: hex(wallet.script),
    sat: walletBalance(),
    utxos: [...walletUtxos].map(([k, u]) => ({ outpoint: k, sat: u.value, height: u.height })),
  }),
  payments: () =>
    chanMan.list_recent_payments().map((p) => ({ state: ctor(p).replace('RecentPaymentDetails_', ''), paymentId: p.payment_id })),
  /**
   * The latest holder commitment transaction (and anything LDK would broadcast with it), signed, NOT sent: take one,
   * make a payment, send the old one, and the peer must punish. Works on a deserialised copy of the monitor, because
   * the real one refuses updates once it has given its transaction out. The bindings have no direct call for this.
   */
  commitment_tx({ channelId }) {
    const fund = outpointStr(findChannel(channelId).get_funding_txo())
    const copy = unwrap(persister.read_channel_monitor_with_updates(fund.replace(':', '_')), 'monitor copy').get_b()
    const txs = []
    const capture = ldk.BroadcasterInterface.new_impl({
      broadcast_transactions(t) {
        txs.push(...t)
      },
    })
    const events = []
    const capEvents = ldk.EventHandler.new_impl({
      handle_event(e) {
        events.push(e)
        return ldk.Result_NoneReplayEventZ.constructor_ok()
      },
    })
    copy.broadcast_latest_holder_commitment_txn(capture, feeEstimator, logger)
    copy.process_pending_events(capEvents, logger)
    // Anchor channels: the commitment comes inside a BumpTransaction event instead.
    for (const e of events) if (e.bump_transaction?.commitment_tx) txs.push(e.bump_transaction.commitment_tx)
    return { txs: [...new Set(txs.map(hex))].map((h) => ({ txid: parseTx(unhex(h)).txid, hex: h })), events: events.map(ctor) }
  },
  async broadcast({ hex: h }) {
    const r = await broadcast(unhex(h), 'command')
    if (!r.ok) throw new Error(r.error)
    return r
  },
  set({ fees, autoClaim: ac, log }) {
    if (fees)
      for (const [k, v] of Object.entries(fees)) {
        if (!(k in FEES)) throw new Error(`no such fee: ${k}`)
        FEES[k] = v
      }
    if (ac !== undefined) autoClaim = ac
    if (log !== undefined) {
      if (!(log in LEVELS)) throw new Error(`no such level: ${log}`)
      logLevel = LEVELS[log]
    }
    return { fees: FEES, autoClaim, logLevel }
  },
  tick() {
    chanMan.timer_tick_occurred()
    peerMan.timer_tick_occurred()
    chainMonitor.rebroadcast_pending_claims()
    pump()
    return {}
  },
  announce({ addresses = [] }) {
    const alias = new Uint8Array(32)
    alias.set(Buffer.from(o.alias).subarray(0, 32))
    peerMan.broadcast_node_announcement(
      new Uint8Array([0x4c, 0x44, 0x4b]),
      alias,
      addresses.map((a) => NodeLDKNet.v4_addr_from_ip(a.split(':')[0], Number(a.split(':')[1]))),
    )
    pump()
    return {}
  },
  graph() {
    const g = graph.read_only()
    try {
      return {
        nodes: g.list_nodes().map((n) => {
          const i = opt(g.node(n)?.get_announcement_info())
          return {
            pubkey: hex(n.as_slice()),
            alias: i ? Buffer.from(i.alias().get_a()).toString().replace(/\0+$/, '') : null,
            addresses: i ? i.addresses().length : 0,
            features: i ? featureString(i.features().le_flags()) : null,
          }
        }),
        channels: g.list_channels().map((scid) => {
          const c = g.channel(scid)
          return {
            scid,
            node1: hex(c.get_node_one().as_slice()),
            node2: hex(c.get_node_two().as_slice()),
            updates: [c.get_one_to_two(), c.get_two_to_one()].filter(Boolean).length,
          }
        }),
      }
    } finally {
      g.free()
    } // holding it would make the next graph update panic
  },
  /** Syncs now; with `height`, waits until LDK is there. */
  async sync({ height, timeoutMs = 60000 } = {}) {
    await sync()
    if (height !== undefined && tip().height < height) {
      await Promise.race([
        new Promise((resolve) => heightWaiters.push({ height, resolve })),
        new Promise((_r, rej) =>
          setTimeout(() => rej(new Error(`not at height ${height} after ${timeoutMs} ms (at ${tip().height})`)), timeoutMs),
        ),
      ])
    }
    return { height: tip().height, hash: tip().hash }
  },
  stop() {
    setImmediate(shutdown)
    return {}
  },
}
function shutdownScript(s) {
  const b = addressToScript(s)
  const program = (v) =>
    ldk.ShutdownScript.constructor_new_witness_program(ldk.WitnessProgram.constructor_new(b.slice(2), new WitnessVersion(v)))
  if (b[0] === 0 && b.length === 22) return ldk.ShutdownScript.constructor_new_p2wpkh(b.slice(2))
  if (b[0] === 0 && b.length === 34) return ldk.ShutdownScript.constructor_new_p2wsh(b.slice(2))
  if (b[0] > 0x50 && b[0] <= 0x60) return unwrap(program(b[0] - 0x50), 'shutdown script')
  throw new Error('LDK takes only witness programs as shutdown scripts')
}
let stopping = false
async function shutdown() {
  if (stopping) return
  stopping = true
  try {
    netHandler.stop()
  } catch {
    /* going anyway */
  }
  await Promise.race([broadcastQueue, new Promise((r) => setTimeout(r, 2000))])
  emit('stopped')
  process.stdout.write('', () => process.exit(0))
}
process.on('SIGTERM', shutdown)
process.on('SIGINT', shutdown)

const rl = readline.createInterface({ input: process.stdin })
rl.on('line', async (line) => {
  if (!line.trim()) return
  let c
  try {
    c = JSON.parse(line)
  } catch (e) {
    return out({ id: null, error: `bad JSON: ${e.message}` })
  }
  const { id = null, cmd, ...args } = c
  try {
    if (!Object.hasOwn(commands, cmd)) throw new Error(`unknown command ${cmd}; known: ${Object.keys(commands).join(' ')}`)
    out({ id, result: await commands[cmd](args) })
  } catch (e) {
    if (e instanceof WebAssembly.RuntimeError) return fatal(`command ${cmd}`, e) // a Rust panic
    out({ id, error: e.message ?? String(e) })
  }
})
rl.on('close', shutdown) // stdin closed: our parent is gone

emit('ready', {
  nodeId,
  host,
  port: listenPort,
  height: tip().height,
  hash: tip().hash,
  wallet: scriptToAddress(wallet.script, o.network),
  anchors: !o['no-anchors'],
})
