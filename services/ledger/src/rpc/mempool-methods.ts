/** What waits: Bitcoin Core 28.1 rpc/mempool.cpp, and calls that belong to it. */
import { outpointKey, Txid } from '@leyden/bitcoin'
import { inOrder, minFeeratePerKvb, withAncestors, withDescendants, type MempoolEntry } from '@leyden/ledger'
import type { LedgerEngine } from '../engine.ts'
import { kindOf, parseHash, RPC, RpcError, type Arguments } from './call.ts'
import { feeMethods } from './fee-methods.ts'
import { btc, type Json } from './json-text.ts'
import { mempoolEntryJson } from './json.ts'
import type { Methods } from './method.ts'
import { transactionMethods } from './transaction-methods.ts'

const rate = (satPerKvb: number): Json => btc(BigInt(satPerKvb))

const entryOf = ({ pool }: LedgerEngine, args: Arguments): MempoolEntry => {
  const entry = pool.entries.get(args.txid(0, 'parameter 1'))
  if (entry === undefined) throw new RpcError(RPC.invalidAddressOrKey, 'Transaction not in mempool')
  return entry
}

/** The others that hang together with an entry: ids, or everything about each. */
const related = (engine: LedgerEngine, args: Arguments, find: typeof withAncestors): Json => {
  const verbose = args.bool(1, false)
  const entry = entryOf(engine, args)
  const found = find([entry])
  found.delete(entry)
  const others = inOrder(found)
  if (!verbose) return others.map((other) => other.txid)
  return Object.fromEntries(others.map((other) => [other.txid, mempoolEntryJson(engine, other)]))
}

const spentOutput = (value: unknown): { txid: Txid; vout: number } => {
  if (kindOf(value) !== 'object')
    throw new RpcError(RPC.type, `JSON value of type ${kindOf(value)} is not of expected type object`)
  const fields = value as Readonly<Record<string, unknown>>
  for (const [name, kind] of [
    ['txid', 'string'],
    ['vout', 'number'],
  ] as const) {
    if (fields[name] === undefined) throw new RpcError(RPC.type, `Missing ${name}`)
    if (kindOf(fields[name]) !== kind)
      throw new RpcError(RPC.type, `JSON value of type ${kindOf(fields[name])} for field ${name} is not of expected type ${kind}`)
  }
  for (const name of Object.keys(fields))
    if (name !== 'txid' && name !== 'vout') throw new RpcError(RPC.type, `Unexpected key ${name}`)
  const vout = fields['vout'] as number
  const txid = Txid(parseHash(fields['txid'] as string, 'txid'))
  if (!Number.isSafeInteger(vout) || vout > 0x7fff_ffff) throw new RpcError(RPC.misc, 'JSON integer out of range')
  if (vout < 0) throw new RpcError(RPC.invalidParameter, 'Invalid parameter, vout cannot be negative')
  return { txid, vout }
}

export const mempoolMethods: Methods = {
  ...transactionMethods,
  ...feeMethods,
  getrawmempool: {
    params: ['verbose', 'mempool_sequence'],
    about: 'What waits: ids, or everything about each.',
    run({ engine }, args) {
      const verbose = args.bool(0, false)
      const withSequence = args.bool(1, false)
      if (verbose && withSequence)
        throw new RpcError(RPC.invalidParameter, 'Verbose results cannot contain mempool sequence values.')
      const entries = inOrder(engine.pool.entries.values())
      if (verbose) return Object.fromEntries(entries.map((entry) => [entry.txid, mempoolEntryJson(engine, entry)]))
      const txids = entries.map((entry) => entry.txid)
      return withSequence ? { txids, mempool_sequence: engine.pool.sequence } : txids
    },
  },
  getmempoolinfo: {
    params: [],
    about: 'State of the mempool.',
    run({ engine, now }) {
      const { pool } = engine
      const { policy } = pool
      return {
        loaded: true,
        size: pool.entries.size,
        bytes: pool.vsize,
        usage: pool.memory,
        total_fee: btc(pool.fees),
        maxmempool: policy.maxBytes,
        mempoolminfee: rate(minFeeratePerKvb(pool, Math.floor(now() / 1000))),
        minrelaytxfee: rate(policy.minRelayFeeratePerKvb),
        incrementalrelayfee: rate(policy.incrementalFeeratePerKvb),
        unbroadcastcount: pool.unbroadcast.size,
        fullrbf: policy.fullRbf,
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
      const outputs = args.array(0)
      if (outputs.length === 0) throw new RpcError(RPC.invalidParameter, 'Invalid parameter, outputs are missing')
      return outputs.map(spentOutput).map((outpoint) => {
        const spender = engine.pool.spenders.get(outpointKey(outpoint))
        return { ...outpoint, ...(spender === undefined ? {} : { spendingtxid: spender.txid }) }
      })
    },
  },
  savemempool: {
    params: [],
    about: "Writes the mempool into mempool.dat of the data directory, in Bitcoin Core's format.",
    async run({ mempoolFile }) {
      try {
        await mempoolFile.save()
      } catch {
        throw new RpcError(RPC.misc, 'Unable to dump mempool to disk')
      }
      return { filename: mempoolFile.path }
    },
  },
  importmempool: {
    params: ['filepath', 'options'],
    about: "Takes the transactions of a file in Bitcoin Core's format (mempool.dat) into the mempool.",
    async run({ mempoolFile }, args) {
      const path = args.string(0)
      const options = args.object(1)
      const flag = (name: string, fallback: boolean): boolean => {
        const value = options[name] ?? fallback
        if (typeof value !== 'boolean')
          throw new RpcError(RPC.type, `JSON value of type ${kindOf(value)} for field ${name} is not of expected type bool`)
        return value
      }
      const wanted = {
        useCurrentTime: flag('use_current_time', true),
        applyDeltas: flag('apply_fee_delta_priority', false),
        applyUnbroadcast: flag('apply_unbroadcast_set', false),
      }
      try {
        await mempoolFile.load(path, wanted)
      } catch {
        throw new RpcError(RPC.misc, 'Unable to import mempool file, see debug.log for details.')
      }
      return {}
    },
  },
}
