/** Block filters, BIP 158: Bitcoin Core rpc/blockchain.cpp, getblockfilter and scanblocks. They come from the index of filters. */
import { bytesToHex, equalBytes } from '@leyden/codec'
import { emptyKnowledge, filterMatches } from '@leyden/bitcoin'
import { ancestorAt, type HeaderEntry } from '@leyden/ledger'
import type { StoredFilter } from '../chain-rows.ts'
import type { LedgerEngine } from '../engine.ts'
import { RPC, RpcError, type Arguments } from './call.ts'
import { bodyOf, entryOf, spentBy } from './chain-methods.ts'
import { scriptsOf } from './descriptor.ts'
import type { Json } from './json-text.ts'
import type { Methods } from './method.ts'

const checkType = (args: Arguments, at: number): void => {
  if (args.string(at, 'basic') !== 'basic') throw new RpcError(RPC.invalidAddressOrKey, 'Unknown filtertype')
}

const checkIndex = (engine: LedgerEngine): void => {
  if (!engine.indexes().some(({ name }) => name === 'basic block filter index'))
    throw new RpcError(RPC.misc, 'Index is not enabled for filtertype basic')
}

/** The filter of a block from the index, with its header. */
const filterOf = async (engine: LedgerEngine, entry: HeaderEntry): Promise<StoredFilter> => {
  const found = await engine.filter(entry.hash)
  if (found !== undefined) return found
  if (!engine.isActive(entry))
    throw new RpcError(RPC.invalidAddressOrKey, 'Filter not found. Block was not connected to active chain.')
  throw new RpcError(RPC.misc, 'Filter not found. Block filters are still in the process of being indexed.')
}

/** `progress` in percent. */
type Scan = { progress: number; height: number; aborted: boolean }
const scans = new WeakMap<LedgerEngine, Scan>()

/** Blocks after which others have their turn. */
const TURN_BLOCKS = 200

/** Whether a block creates or spends an output of one of the scripts. */
const touches = async (engine: LedgerEngine, entry: HeaderEntry, scripts: readonly Uint8Array[]): Promise<boolean> => {
  const block = await bodyOf(engine, entry)
  const isOne = (script: Uint8Array): boolean => scripts.some((one) => equalBytes(one, script))
  if (block.transactions.some(({ outputs }) => outputs.some(({ scriptPubKey }) => isOne(scriptPubKey)))) return true
  const spent = await spentBy(engine, block, entry.hash)
  return [...spent.values()].some((coins) => coins.some(({ output }) => isOne(output.scriptPubKey)))
}

const scan = async (
  engine: LedgerEngine,
  state: Scan,
  range: { readonly first: HeaderEntry; readonly last: HeaderEntry },
  scripts: readonly Uint8Array[],
  exactly: boolean,
): Promise<Json> => {
  const { first, last } = range
  const relevant: string[] = []
  let height = first.height
  for (; height <= last.height && !state.aborted; height++) {
    const entry = ancestorAt(last, height) as HeaderEntry
    const filter = await engine.filter(entry.hash)
    if (filter !== undefined && scripts.length > 0 && filterMatches(filter.filter, entry.hash, scripts)) {
      if (!exactly || (await touches(engine, entry, scripts))) relevant.push(entry.hash)
    }
    state.height = height
    state.progress = Math.floor((100 * (height - first.height + 1)) / (last.height - first.height + 1))
    if (height % TURN_BLOCKS === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  return {
    from_height: first.height,
    to_height: Math.min(height, last.height),
    relevant_blocks: relevant,
    completed: !state.aborted,
  }
}

export const filterMethods: Methods = {
  getblockfilter: {
    params: ['blockhash', 'filtertype'],
    about: 'The basic filter of a block (BIP 158) and its header.',
    async run({ engine }, args) {
      const hash = args.blockHash(0)
      checkType(args, 1)
      checkIndex(engine)
      const { filter, header } = await filterOf(engine, entryOf(engine, hash))
      return { filter: bytesToHex(filter), header: bytesToHex(Uint8Array.from(header).reverse()) }
    },
  },
  scanblocks: {
    params: ['action', 'scanobjects', 'start_height', 'stop_height', 'filtertype', 'options'],
    about: 'The blocks whose filters match scripts of descriptors: start, status or abort.',
    async run({ engine }, args) {
      const action = args.string(0)
      const running = scans.get(engine)
      if (action === 'status')
        return running === undefined ? null : { progress: running.progress, current_height: running.height }
      if (action === 'abort') {
        if (running !== undefined) running.aborted = true
        return running !== undefined
      }
      if (action !== 'start') throw new RpcError(RPC.invalidParameter, `Invalid action '${action.slice(0, 100)}'`)
      if (running !== undefined)
        throw new RpcError(RPC.invalidParameter, 'Scan already in progress, use action "abort" or "status"')
      checkType(args, 4)
      checkIndex(engine)
      const tip = engine.tipEntry()
      const at = (index: number, fallback: number): HeaderEntry | undefined => {
        const height = args.int(index, fallback)
        return height < 0 || height > tip.height ? undefined : ancestorAt(tip, height)
      }
      const first = at(2, 0)
      if (first === undefined) throw new RpcError(RPC.misc, 'Invalid start_height')
      const last = at(3, tip.height)
      if (last === undefined || last.height < first.height) throw new RpcError(RPC.misc, 'Invalid stop_height')
      const knowledge = emptyKnowledge()
      const scripts = args.array(1).flatMap((item) => scriptsOf(item, engine.network, knowledge))
      const exactly = args.object(5)['filter_false_positives'] === true
      const state: Scan = { progress: 0, height: first.height, aborted: false }
      scans.set(engine, state)
      try {
        return await scan(engine, state, { first, last }, scripts, exactly)
      } finally {
        scans.delete(engine)
      }
    },
  },
}
