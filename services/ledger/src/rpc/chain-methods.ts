/** The chain: Bitcoin Core rpc/blockchain.cpp, and what of rpc/rawtransaction.cpp reads it. */
import { bytesToHex } from '@leyden/codec'
import {
  encodeBlock,
  encodeHeader,
  encodeTx,
  outpointKey,
  txid,
  type Block,
  type BlockHash,
  type Coin,
  type Network,
  type Tx,
} from '@leyden/bitcoin'
import { ancestorAt, leaves, medianTimePast, type HeaderEntry } from '@leyden/ledger'
import type { LedgerEngine } from '../engine.ts'
import { RPC, RpcError } from './call.ts'
import { btc } from './json-text.ts'
import { blockJson, chainWorkHex, confirmations, difficulty, headerJson, scriptJson, txJson, type Json } from './json.ts'
import type { Methods } from './method.ts'

/** Bitcoin Core's names of the networks. */
export const chainName = ({ name }: Network): string => (name === 'mainnet' ? 'main' : name)

export const entryOf = ({ tree }: LedgerEngine, hash: BlockHash): HeaderEntry => {
  const entry = tree.entries.get(hash)
  if (entry === undefined) throw new RpcError(RPC.invalidAddressOrKey, 'Block not found')
  return entry
}

export const bodyOf = async (engine: LedgerEngine, entry: HeaderEntry): Promise<Block> => {
  const block = await engine.blockByHash(entry.hash)
  if (block === undefined)
    throw new RpcError(
      RPC.misc,
      engine.blockData(entry) === 'pruned' ? 'Block not available (pruned data)' : 'Block not found on disk',
    )
  return block
}

/** As entryOf, in the words of getrawtransaction. */
const blockOf = ({ tree }: LedgerEngine, hash: BlockHash): HeaderEntry => {
  const entry = tree.entries.get(hash)
  if (entry === undefined) throw new RpcError(RPC.invalidAddressOrKey, 'Block hash not found')
  return entry
}

/** Coins that each transaction of a block spends, coinbase left out. */
export const spentBy = async (engine: LedgerEngine, block: Block, hash: BlockHash): Promise<ReadonlyMap<Tx, readonly Coin[]>> => {
  const undo = await engine.undo(hash)
  const spent = new Map<Tx, readonly Coin[]>()
  if (undo === undefined) return spent
  let at = 0
  for (const tx of block.transactions.slice(1)) {
    spent.set(tx, undo.slice(at, at + tx.inputs.length))
    at += tx.inputs.length
  }
  return spent
}

const blockAnswer = async (engine: LedgerEngine, entry: HeaderEntry, verbosity: number): Promise<Json> => {
  const block = await bodyOf(engine, entry)
  if (verbosity <= 0) return bytesToHex((await engine.blockBytes(entry.hash)) ?? encodeBlock(block))
  if (verbosity === 1) return blockJson(engine, entry, block, block.transactions.map(txid))
  const spent = await spentBy(engine, block, entry.hash)
  const transactions = block.transactions.map((tx) => txJson(tx, engine.network, spent.get(tx), verbosity >= 3))
  return blockJson(engine, entry, block, transactions)
}

type Located = { readonly tx: Tx; readonly entry?: HeaderEntry; readonly block?: Block }

const locate = async (engine: LedgerEngine, id: ReturnType<typeof txid>, within: HeaderEntry | undefined): Promise<Located> => {
  if (within !== undefined) {
    const block = await engine.blockByHash(within.hash)
    if (block === undefined) throw new RpcError(RPC.misc, 'Block not available')
    const tx = block.transactions.find((one) => txid(one) === id)
    if (tx !== undefined) return { tx, entry: within, block }
    throw new RpcError(
      RPC.invalidAddressOrKey,
      'No such transaction found in the provided block. Use gettransaction for wallet transactions.',
    )
  }
  const waiting = engine.pool.entries.get(id)
  if (waiting !== undefined) return { tx: waiting.tx }
  const position = await engine.position(id)
  const entry = position === undefined ? undefined : engine.tree.entries.get(position.blockHash)
  const block = entry === undefined ? undefined : await engine.blockByHash(entry.hash)
  const tx = position === undefined ? undefined : block?.transactions[position.index]
  if (tx !== undefined && entry !== undefined && block !== undefined) return { tx, entry, block }
  const index = engine.indexes().find(({ name }) => name === 'txindex')
  const what =
    index === undefined
      ? 'No such mempool transaction. Use -txindex or provide a block hash to enable blockchain transaction queries'
      : index.synced
        ? 'No such mempool or blockchain transaction'
        : 'No such mempool transaction. Blockchain transactions are still in the process of being indexed'
  throw new RpcError(RPC.invalidAddressOrKey, `${what}. Use gettransaction for wallet transactions.`)
}

/** What getblockchaininfo tells of the block files. */
const storageJson = (engine: LedgerEngine): { [name: string]: Json } => {
  const { bytes, pruning, prunedHeight } = engine.storage()
  const size = { size_on_disk: bytes, pruned: pruning !== 'off' }
  if (pruning === 'off') return size
  const known = {
    ...size,
    pruneheight: prunedHeight === undefined ? 0 : prunedHeight + 1,
    automatic_pruning: pruning !== 'manual',
  }
  return pruning === 'manual' ? known : { ...known, prune_target_size: pruning.targetBytes }
}

/** Older blocks may bear times that are later. Bitcoin Core chain.h, TIMESTAMP_WINDOW. */
const TIMESTAMP_WINDOW_SECONDS = 7200
/** No height is larger, no time is less. */
const LEAST_TIME = 1_000_000_000

/** The lowest block of the active chain that has this time, or any block before it has. */
const heightOfTime = (engine: LedgerEngine, time: number): number => {
  const tip = engine.tipEntry()
  for (let height = 0; height <= tip.height; height++)
    if ((ancestorAt(tip, height) as HeaderEntry).header.time >= time) return height
  throw new RpcError(RPC.invalidParameter, 'Could not find block with at least the specified timestamp.')
}

/** Transactions of the chain up to blocks that were asked for. */
const counted = new WeakMap<HeaderEntry, number>()

const transactionsUpTo = (engine: LedgerEngine, entry: HeaderEntry): number => {
  let sum = 0
  let at: HeaderEntry | undefined = entry
  for (; at !== undefined; at = at.parent) {
    const known = counted.get(at)
    if (known !== undefined) {
      sum += known
      break
    }
    sum += engine.transactionCount(at) ?? 0
  }
  counted.set(entry, sum)
  return sum
}

export const chainMethods: Methods = {
  getblockchaininfo: {
    params: [],
    about: 'State of the chain.',
    run(context) {
      const { engine } = context
      const tip = engine.tipEntry()
      const best = engine.bestHeaderEntry()
      return {
        chain: chainName(engine.network),
        blocks: tip.height,
        headers: best.height,
        bestblockhash: tip.hash,
        difficulty: difficulty(tip.header.bits),
        time: tip.header.time,
        mediantime: medianTimePast(tip),
        verificationprogress: best.height === 0 ? 1 : Math.min(1, tip.height / best.height),
        initialblockdownload: context.peers.isInitialDownload(),
        chainwork: chainWorkHex(tip.chainWork),
        ...storageJson(engine),
        warnings: [],
      }
    },
  },
  getblockcount: { params: [], about: 'Height of the tip.', run: ({ engine }) => engine.tip().height },
  getbestblockhash: { params: [], about: 'Hash of the tip.', run: ({ engine }) => engine.tip().hash },
  getdifficulty: { params: [], about: 'Difficulty of the tip.', run: ({ engine }) => difficulty(engine.tipEntry().header.bits) },
  getblockhash: {
    params: ['height'],
    about: 'Hash of the block at a height of the active chain.',
    run({ engine }, args) {
      const hash = engine.hashAtHeight(args.int(0) as ReturnType<LedgerEngine['tip']>['height'])
      if (hash === undefined) throw new RpcError(RPC.invalidParameter, 'Block height out of range')
      return hash
    },
  },
  getblockheader: {
    params: ['blockhash', 'verbose'],
    about: 'A header: as JSON, or its 80 bytes in hex when verbose is false.',
    run({ engine }, args) {
      const hash = args.blockHash(0, 'hash')
      const verbose = args.bool(1, true)
      const entry = entryOf(engine, hash)
      return verbose ? headerJson(engine, entry, engine.transactionCount(entry) ?? 0) : bytesToHex(encodeHeader(entry.header))
    },
  },
  getblock: {
    params: ['blockhash', 'verbosity|verbose'],
    about: 'A block: 0 in hex, 1 with txids, 2 with transactions, 3 with what they spend.',
    run({ engine }, args) {
      const hash = args.blockHash(0)
      const verbosity = args.verbosity(1, 1)
      return blockAnswer(engine, entryOf(engine, hash), verbosity)
    },
  },
  getchaintips: {
    params: [],
    about: 'The ends of all branches.',
    run({ engine }) {
      const { tree } = engine
      // The active tip is one also when headers or bad blocks stand on it.
      return [...new Set([engine.tipEntry(), ...leaves(tree)])]
        .sort((a, b) => b.height - a.height)
        .map((entry) => {
          let below = entry
          while (!engine.isActive(below)) below = below.parent as HeaderEntry
          const valid = engine.isValidated(entry) ? 'valid-fork' : 'valid-headers'
          const failed = entry.failed === 'none' ? (entry.stored ? valid : 'headers-only') : 'invalid'
          return {
            height: entry.height,
            hash: entry.hash,
            branchlen: entry.height - below.height,
            status: entry === engine.tipEntry() ? 'active' : failed,
          }
        })
    },
  },
  getrawtransaction: {
    params: ['txid', 'verbosity|verbose', 'blockhash'],
    about: 'A transaction of the mempool or of the active chain: 0 in hex, 1 as JSON, 2 with fee and what it spends.',
    async run({ engine }, args) {
      const id = args.txid(0, 'parameter 1')
      const verbosity = args.verbosity(1, 0)
      const within = args.has(2) ? blockOf(engine, args.blockHash(2, 'parameter 3')) : undefined
      if (txid(engine.network.genesis.transactions[0] as Tx) === id)
        throw new RpcError(
          RPC.invalidAddressOrKey,
          'The genesis block coinbase is not considered an ordinary transaction and cannot be retrieved',
        )
      const { tx, entry, block } = await locate(engine, id, within)
      if (verbosity <= 0) return bytesToHex(encodeTx(tx))
      const spent =
        verbosity >= 2 && entry !== undefined && block !== undefined ? await spentBy(engine, block, entry.hash) : undefined
      return {
        ...(within === undefined ? {} : { in_active_chain: engine.isActive(within) }),
        ...txJson(tx, engine.network, spent?.get(tx), true),
        ...(entry === undefined
          ? {}
          : {
              blockhash: entry.hash,
              confirmations: Math.max(0, confirmations(engine, entry)),
              time: entry.header.time,
              blocktime: entry.header.time,
            }),
      }
    },
  },
  gettxout: {
    params: ['txid', 'n', 'include_mempool'],
    about: 'An unspent output, null when there is none.',
    async run({ engine }, args) {
      const outpoint = { txid: args.txid(0), vout: args.int(1) }
      const withMempool = args.bool(2, true)
      if (outpoint.vout < 0 || outpoint.vout > 0xffff_ffff) throw new RpcError(RPC.misc, 'JSON integer out of range')
      const { pool } = engine
      if (withMempool && pool.spenders.has(outpointKey(outpoint))) return null
      const confirmed = await engine.coin(outpoint)
      const waiting = withMempool ? pool.entries.get(outpoint.txid)?.tx.outputs[outpoint.vout] : undefined
      const output = confirmed?.output ?? waiting
      if (output === undefined) return null
      const tip = engine.tip()
      return {
        bestblock: tip.hash,
        confirmations: confirmed === undefined ? 0 : tip.height - confirmed.height + 1,
        value: btc(output.value),
        scriptPubKey: scriptJson(output.scriptPubKey, engine.network),
        coinbase: confirmed?.coinbase ?? false,
      }
    },
  },
  pruneblockchain: {
    params: ['height'],
    about:
      'Deletes old blocks up to a height, or up to a time in seconds since 1970; the answer is the last height that is gone.',
    async run({ engine }, args) {
      const { pruning, pruneAfterHeight } = engine.storage()
      if (pruning === 'off') throw new RpcError(RPC.misc, 'Cannot prune blocks because node is not in prune mode.')
      const given = args.int(0)
      if (given < 0) throw new RpcError(RPC.invalidParameter, 'Negative block height.')
      const height = given > LEAST_TIME ? heightOfTime(engine, given - TIMESTAMP_WINDOW_SECONDS) : given
      const tip = engine.tipEntry()
      if (tip.height < pruneAfterHeight) throw new RpcError(RPC.misc, 'Blockchain is too short for pruning.')
      if (height > tip.height) throw new RpcError(RPC.invalidParameter, 'Blockchain is shorter than the attempted prune height.')
      await engine.prune(height)
      return engine.storage().prunedHeight ?? -1
    },
  },
  invalidateblock: {
    params: ['blockhash'],
    about: 'Treats a block as if it broke a rule.',
    async run({ engine }, args) {
      const entry = entryOf(engine, args.blockHash(0))
      if (entry === engine.tree.genesis) throw new RpcError(RPC.invalidParameter, 'The genesis block cannot be invalidated')
      await engine.invalidateBlock(entry.hash)
      return null
    },
  },
  reconsiderblock: {
    params: ['blockhash'],
    about: 'Takes back what invalidateblock did.',
    async run({ engine }, args) {
      await engine.reconsiderBlock(entryOf(engine, args.blockHash(0)).hash)
      return null
    },
  },
  preciousblock: {
    params: ['blockhash'],
    about: 'Treats a block as if it had come before others of as much work.',
    async run({ engine }, args) {
      await engine.preferBlock(entryOf(engine, args.blockHash(0)).hash)
      return null
    },
  },
  getchaintxstats: {
    params: ['nblocks', 'blockhash'],
    about:
      'How many transactions the chain has, and the last blocks of it up to one (a month of them by default), and their rate.',
    run({ engine }, args) {
      const last = args.has(1) ? entryOf(engine, args.blockHash(1)) : engine.tipEntry()
      if (!engine.isActive(last)) throw new RpcError(RPC.invalidParameter, 'Block is not in main chain')
      const month = Math.floor((30 * 24 * 60 * 60) / engine.network.targetSpacingSeconds)
      const count = args.has(0) ? args.int(0) : Math.max(0, Math.min(month, last.height - 1))
      if (count < 0 || (count > 0 && count >= last.height))
        throw new RpcError(RPC.invalidParameter, "Invalid block count: should be between 0 and the block's height - 1")
      const first = ancestorAt(last, last.height - count) as HeaderEntry
      const all = transactionsUpTo(engine, last)
      const interval = medianTimePast(last) - medianTimePast(first)
      const inWindow = all - transactionsUpTo(engine, first)
      return {
        time: last.header.time,
        txcount: all,
        window_final_block_hash: last.hash,
        window_final_block_height: last.height,
        window_block_count: count,
        ...(count === 0 ? {} : { window_interval: interval, window_tx_count: inWindow }),
        ...(count === 0 || interval <= 0 ? {} : { txrate: Number((inWindow / interval).toPrecision(16)) }),
      }
    },
  },
  getdeploymentinfo: {
    params: ['blockhash'],
    about: 'Since which height rules hold.',
    run({ engine }, args) {
      const entry = args.has(0) ? entryOf(engine, args.blockHash(0)) : engine.tipEntry()
      const { bip34Height, bip65Height, bip66Height, csvHeight, segwitHeight } = engine.network
      const heights = {
        bip34: bip34Height,
        bip66: bip66Height,
        bip65: bip65Height,
        csv: csvHeight,
        segwit: segwitHeight,
        taproot: 0,
      }
      return {
        hash: entry.hash,
        height: entry.height,
        deployments: Object.fromEntries(
          Object.entries(heights).map(([name, height]) => [name, { type: 'buried', active: entry.height + 1 >= height, height }]),
        ),
      }
    },
  },
}
