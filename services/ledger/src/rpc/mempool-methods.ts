/** Transactions that wait, and fees: Bitcoin Core rpc/mempool.cpp, rpc/fees.cpp. */
import { isUnspendable, outpointKey, Txid, txid, txVsize, txWeight, wtxid, type Tx } from '@leyden/bitcoin'
import {
  INCREMENTAL_FEERATE_PER_KVB,
  inOrder,
  MIN_RELAY_FEERATE_PER_KVB,
  minFeeratePerKvb,
  withAncestors,
  withDescendants,
  type MempoolEntry,
  type Rejection,
} from '@leyden/ledger'
import { MAX_PACKAGE_COUNT } from '../broadcast.ts'
import type { LedgerEngine, TransactionOutcome } from '../engine.ts'
import { parseHash, parseTx, RPC, RpcError, type Arguments } from './call.ts'
import { btc, type Json } from './json-text.ts'
import { mempoolEntryJson } from './json.ts'
import type { Methods } from './method.ts'

/** Bitcoin per 1000 virtual bytes. */
const btcPerKvb = (satPerKvb: number): Json => btc(BigInt(Math.floor(satPerKvb)))

/** The message of a refusal: reason, and what more there is to say. */
const message = ({ reason, detail }: Rejection): string =>
  detail === undefined || reason.includes('script-verify-flag') ? reason : `${reason}, ${detail}`

const FEE_TOO_HIGH = 'Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)'

const checkBurn = (tx: Tx, maxBurn: bigint): void => {
  if (tx.outputs.some(({ value, scriptPubKey }) => isUnspendable(scriptPubKey) && value > maxBurn))
    throw new RpcError(RPC.verify, 'Unspendable output exceeds maximum configured by user (maxburnamount)')
}

const throwRefusal = (refusal: Rejection): never => {
  if (refusal.reason === 'max-fee-exceeded') throw new RpcError(RPC.verify, FEE_TOO_HIGH)
  if (refusal.reason === 'txn-already-known')
    throw new RpcError(RPC.verifyAlreadyInUtxoSet, 'Transaction outputs already in utxo set')
  throw new RpcError(refusal.kind === 'missing' ? RPC.verify : RPC.verifyRejected, message(refusal))
}

const inUtxoSet = async (engine: LedgerEngine, tx: Tx): Promise<boolean> => {
  const id = txid(tx)
  for (let vout = 0; vout < tx.outputs.length; vout++) if (await engine.isUnspent({ txid: id, vout })) return true
  return false
}

const feesJson = ({ fee, vsize, wtxid: id }: MempoolEntry): Json => ({
  base: btc(fee),
  'effective-feerate': btcPerKvb((Number(fee) * 1000) / vsize),
  'effective-includes': [id],
})

const testJson = ({ tx, txid: id, status, rejection, entry }: TransactionOutcome): Json => ({
  txid: id,
  wtxid: wtxid(tx),
  ...(status === 'accepted' && entry !== undefined
    ? { allowed: true, vsize: entry.vsize, fees: feesJson(entry) }
    : {
        allowed: false,
        'reject-reason': rejection?.kind === 'missing' ? 'missing-inputs' : (rejection?.reason ?? 'unknown'),
      }),
})

/** Bitcoin Core policy/packages.h. */
const MAX_PACKAGE_WEIGHT = 404_000

/** What is wrong with a list of transactions as such. Bitcoin Core policy/packages.cpp, IsWellFormedPackage. */
const packageProblem = (transactions: readonly Tx[]): string | undefined => {
  if (transactions.reduce((sum, tx) => sum + txWeight(tx), 0) > MAX_PACKAGE_WEIGHT) return 'package-too-large'
  const later = new Set(transactions.map(txid))
  if (later.size < transactions.length) return 'package-contains-duplicates'
  for (const tx of transactions) {
    if (tx.inputs.some(({ outpoint }) => later.has(outpoint.txid))) return 'package-not-sorted'
    later.delete(txid(tx))
  }
  const spent = transactions.flatMap(({ inputs }) => inputs.map(({ outpoint }) => outpointKey(outpoint)))
  return new Set(spent).size < spent.length ? 'conflict-in-package' : undefined
}

/** Of several, a refusal leaves the others unjudged; too high a fee only those after it. */
const testPackageJson = (outcomes: readonly TransactionOutcome[]): Json => {
  const failed = outcomes.findIndex(({ status }) => status !== 'accepted')
  const tooHigh = outcomes[failed]?.rejection?.reason === 'max-fee-exceeded'
  return outcomes.map((outcome, i) => {
    const unjudged = failed >= 0 && (i > failed || (i < failed && !tooHigh))
    return unjudged ? { txid: outcome.txid, wtxid: wtxid(outcome.tx) } : testJson(outcome)
  })
}

const packageJson = (outcomes: readonly TransactionOutcome[]): Json => {
  const entries = new Map(outcomes.flatMap(({ entry }) => (entry === undefined ? [] : [[entry.txid, entry] as const])))
  const results = outcomes.map(({ tx, txid: id, status, rejection, entry, pairedWith }): [string, Json] => {
    const head = { txid: id }
    if (status === 'rejected' || entry === undefined)
      return [wtxid(tx), { ...head, error: rejection === undefined ? 'unknown' : message(rejection) }]
    if (status === 'known') {
      const other = entry.wtxid === wtxid(tx) ? {} : { 'other-wtxid': entry.wtxid }
      return [wtxid(tx), { ...head, ...other, vsize: entry.vsize, fees: { base: btc(entry.fee) } }]
    }
    const members = (pairedWith ?? [id]).map((one) => entries.get(one)).filter((member) => member !== undefined)
    const fee = members.reduce((sum, member) => sum + member.fee, 0n)
    const vsize = members.reduce((sum, member) => sum + member.vsize, 0)
    const fees = {
      base: btc(entry.fee),
      'effective-feerate': btcPerKvb((Number(fee) * 1000) / vsize),
      'effective-includes': members.map((member) => member.wtxid),
    }
    return [wtxid(tx), { ...head, vsize: entry.vsize, fees }]
  })
  return {
    package_msg: outcomes.every(({ status }) => status !== 'rejected') ? 'success' : 'transaction failed',
    'tx-results': Object.fromEntries(results),
    'replaced-transactions': [...new Set(outcomes.flatMap(({ replaced }) => replaced))],
  }
}

const entryOf = ({ pool }: LedgerEngine, args: Arguments): MempoolEntry => {
  const entry = pool.entries.get(args.txid(0, 'parameter 1'))
  if (entry === undefined) throw new RpcError(RPC.invalidAddressOrKey, 'Transaction not in mempool')
  return entry
}

/** The others that hang together with an entry, parents first: ids, or everything about each. */
const related = (engine: LedgerEngine, args: Arguments, find: typeof withAncestors): Json => {
  const entry = entryOf(engine, args)
  const verbose = args.bool(1, false)
  const found = find(engine.pool, [entry.txid])
  found.delete(entry.txid)
  const others = inOrder(engine.pool, found.values())
  if (!verbose) return others.map((other) => other.txid)
  return Object.fromEntries(others.map((other) => [other.txid, mempoolEntryJson(engine, other)]))
}

export const mempoolMethods: Methods = {
  sendrawtransaction: {
    params: ['hexstring', 'maxfeerate', 'maxburnamount'],
    about: 'Takes a transaction into the mempool and tells the peers.',
    async run({ engine }, args) {
      const tx = parseTx(args.string(0))
      const maxFeeratePerKvb = args.maxFeerate(1)
      checkBurn(tx, args.amount(2, 0n))
      if (engine.pool.entries.has(txid(tx))) return txid(tx)
      const outcome = await engine.submitTransaction(tx, maxFeeratePerKvb === undefined ? {} : { maxFeeratePerKvb })
      if (outcome.status !== 'rejected') return outcome.txid
      if (await inUtxoSet(engine, tx)) throw new RpcError(RPC.verifyAlreadyInUtxoSet, 'Transaction outputs already in utxo set')
      return throwRefusal(outcome.rejection as Rejection)
    },
  },
  testmempoolaccept: {
    params: ['rawtxs', 'maxfeerate'],
    about: 'Whether the mempool would take these transactions.',
    async run({ engine }, args) {
      const transactions = args.transactions(0, 1, MAX_PACKAGE_COUNT)
      const maxFeeratePerKvb = args.maxFeerate(1)
      const problem = transactions.length > 1 ? packageProblem(transactions) : undefined
      if (problem !== undefined) return transactions.map((tx) => ({ txid: txid(tx), wtxid: wtxid(tx), 'package-error': problem }))
      const options = { dryRun: true, ...(maxFeeratePerKvb === undefined ? {} : { maxFeeratePerKvb }) }
      return testPackageJson(await engine.submitTransactions(transactions, options))
    },
  },
  submitpackage: {
    params: ['package', 'maxfeerate', 'maxburnamount'],
    about: 'Takes a child with its parents into the mempool; the child may pay for them.',
    async run({ engine }, args) {
      const transactions = args.transactions(0, 2, MAX_PACKAGE_COUNT)
      const maxFeeratePerKvb = args.maxFeerate(1)
      const maxBurn = args.amount(2, 0n)
      for (const tx of transactions) checkBurn(tx, maxBurn)
      const child = transactions.at(-1) as Tx
      const parents = new Set(child.inputs.map(({ outpoint }) => outpoint.txid))
      if (transactions.slice(0, -1).some((tx) => !parents.has(txid(tx))))
        throw new RpcError(RPC.verify, 'package topology disallowed. not child-with-parents or parents depend on each other.')
      const options = { asPackage: true, ...(maxFeeratePerKvb === undefined ? {} : { maxFeeratePerKvb }) }
      return packageJson(await engine.submitTransactions(transactions, options))
    },
  },
  getrawmempool: {
    params: ['verbose', 'mempool_sequence'],
    about: 'What waits: ids, or everything about each.',
    run({ engine }, args) {
      const entries = inOrder(engine.pool)
      const verbose = args.bool(0, false)
      if (args.bool(1, false))
        throw new RpcError(
          RPC.invalidParameter,
          verbose ? 'Verbose results cannot contain mempool sequence values.' : 'This node keeps no mempool sequence values.',
        )
      if (!verbose) return entries.map((entry) => entry.txid)
      return Object.fromEntries(entries.map((entry) => [entry.txid, mempoolEntryJson(engine, entry)]))
    },
  },
  getmempoolinfo: {
    params: [],
    about: 'State of the mempool.',
    run({ engine: { pool } }) {
      const bytes = [...pool.entries.values()].reduce((sum, { tx }) => sum + txVsize(tx), 0)
      return {
        loaded: true,
        size: pool.entries.size,
        bytes,
        usage: bytes * 4,
        total_fee: btc(pool.fees),
        maxmempool: pool.maxVsize * 4,
        mempoolminfee: btcPerKvb(minFeeratePerKvb(pool)),
        minrelaytxfee: btcPerKvb(MIN_RELAY_FEERATE_PER_KVB),
        incrementalrelayfee: btcPerKvb(INCREMENTAL_FEERATE_PER_KVB),
        unbroadcastcount: 0,
        fullrbf: true,
      }
    },
  },
  getmempoolancestors: {
    params: ['txid', 'verbose'],
    about: 'What a transaction that waits stands on in the mempool.',
    run: ({ engine }, args) => related(engine, args, withAncestors),
  },
  getmempooldescendants: {
    params: ['txid', 'verbose'],
    about: 'What in the mempool stands on a transaction that waits.',
    run: ({ engine }, args) => related(engine, args, withDescendants),
  },
  getmempoolentry: {
    params: ['txid'],
    about: 'Everything about a transaction that waits.',
    run: ({ engine }, args) => mempoolEntryJson(engine, entryOf(engine, args)),
  },
  gettxspendingprevout: {
    params: ['outputs'],
    about: 'Which transactions that wait spend these outputs.',
    run({ engine }, args) {
      return args.array(0).map((value) => {
        const { txid: id, vout } = (value ?? {}) as { txid?: unknown; vout?: unknown }
        if (typeof id !== 'string' || typeof vout !== 'number') throw new RpcError(RPC.type, 'Missing or wrong txid or vout')
        if (!Number.isSafeInteger(vout) || vout < 0)
          throw new RpcError(RPC.invalidParameter, 'Invalid parameter, vout cannot be negative')
        const outpoint = { txid: Txid(parseHash(id, 'txid')), vout }
        const spender = engine.pool.spenders.get(outpointKey(outpoint))
        return { ...outpoint, ...(spender === undefined ? {} : { spendingtxid: spender }) }
      })
    },
  },
  estimatesmartfee: {
    params: ['conf_target', 'estimate_mode'],
    about: 'Fee rate, in bitcoin per 1000 virtual bytes, to be confirmed within so many blocks.',
    run({ engine }, args) {
      const target = args.int(0)
      const mode = args.string(1, 'economical').toLowerCase()
      if (target < 1 || target > 1008) throw new RpcError(RPC.invalidParameter, 'Invalid conf_target, must be between 1 and 1008')
      if (!['unset', 'economical', 'conservative'].includes(mode))
        throw new RpcError(
          RPC.invalidParameter,
          'Invalid estimate_mode parameter, must be one of: "unset", "economical", "conservative"',
        )
      return { feerate: btcPerKvb(engine.estimateFeeratePerKvb(target)), blocks: target }
    },
  },
}
