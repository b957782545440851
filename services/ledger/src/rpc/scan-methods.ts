/** What reads much of the chain: Bitcoin Core rpc/blockchain.cpp (UTXO set, statistics, filters, verification). */
import { createHash } from 'node:crypto'
import { bytesToHex, DecodeError } from '@leyden/codec'
import {
  blockHash,
  decodeMerkleProof,
  emptyKnowledge,
  encodeMerkleProof,
  outpointKey,
  Txid,
  txid,
  type Block,
  type BlockHash,
  type Coin,
  type Knowledge,
  type MerkleProof,
  type Outpoint,
} from '@leyden/bitcoin'
import { ancestorAt, checkBlockBody, connectBlock, isViolation, type HeaderEntry } from '@leyden/ledger'
import { bogoSize, coinBytes, NO_FIGURES, type CoinFigures } from '../coin-stats.ts'
import type { LedgerEngine } from '../engine.ts'
import { blockStats } from './block-stats.ts'
import { parseHash, parseHexBytes, RPC, RpcError, type Arguments } from './call.ts'
import { bodyOf, entryOf, spentBy } from './chain-methods.ts'
import { outputDescriptor, scriptsOf } from './descriptor.ts'
import { btc, type Json } from './json-text.ts'
import type { Methods } from './method.ts'
import { MUHASH_EMPTY, muHashFinish, muHashInsert } from '../muhash.ts'

const invalid = (message: string): RpcError => new RpcError(RPC.invalidParameter, message)

/** A block by its hash or by its height on the active chain. */
const hashOrHeight = (engine: LedgerEngine, args: Arguments, at: number): HeaderEntry => {
  const given = args.raw(at)
  if (typeof given !== 'number') return entryOf(engine, args.blockHash(at))
  const height = args.int(at)
  const tip = engine.tipEntry()
  if (height < 0) throw invalid(`Target block height ${height} is negative`)
  if (height > tip.height) throw invalid(`Target block height ${height} after current tip ${tip.height}`)
  return ancestorAt(tip, height) as HeaderEntry
}

const shown = (hash: Uint8Array): string => bytesToHex(Uint8Array.from(hash).reverse())

const utxoStats = async (engine: LedgerEngine, hashType: string): Promise<Json> => {
  const sha = createHash('sha256')
  let product = MUHASH_EMPTY
  let last: string | undefined
  const totals = { outputs: 0, transactions: 0, bogo: 0, disk: 0, amount: 0n }
  const tip = await engine.scanCoins((outpoint, coin) => {
    totals.outputs++
    if (outpoint.txid !== last) totals.transactions++
    last = outpoint.txid
    totals.bogo += bogoSize(coin)
    totals.disk += bogoSize(coin) + 12
    totals.amount += coin.output.value
    if (hashType === 'hash_serialized_3') sha.update(coinBytes(outpoint, coin))
    if (hashType === 'muhash') product = muHashInsert(product, coinBytes(outpoint, coin))
    return true
  })
  return {
    height: tip.height,
    bestblock: tip.hash,
    txouts: totals.outputs,
    bogosize: totals.bogo,
    ...(hashType === 'hash_serialized_3' ? { hash_serialized_3: shown(createHash('sha256').update(sha.digest()).digest()) } : {}),
    ...(hashType === 'muhash' ? { muhash: shown(muHashFinish(product)) } : {}),
    total_amount: btc(totals.amount),
    transactions: totals.transactions,
    disk_size: totals.disk,
  }
}

/** The same from the index, after any block, and what that block did. */
const indexedStats = async (engine: LedgerEngine, hashType: string, entry: HeaderEntry): Promise<Json> => {
  const stats = await engine.coinStats(entry.hash)
  const before = entry.parent === undefined ? NO_FIGURES : await engine.coinStats(entry.parent.hash)
  if (stats === undefined || before === undefined) throw new RpcError(RPC.internal, 'Unable to read UTXO set')
  const inBlock = (name: Exclude<keyof CoinFigures, 'outputs' | 'bogoSize'>): Json => btc(stats[name] - before[name])
  return {
    height: entry.height,
    bestblock: entry.hash,
    txouts: stats.outputs,
    bogosize: stats.bogoSize,
    ...(hashType === 'muhash' ? { muhash: shown(stats.muhash) } : {}),
    total_amount: btc(stats.amount),
    total_unspendable_amount: btc(stats.unspendable),
    block_info: {
      prevout_spent: inBlock('prevoutsSpent'),
      coinbase: inBlock('coinbase'),
      new_outputs_ex_coinbase: inBlock('newOutputs'),
      unspendable: inBlock('unspendable'),
      unspendables: {
        genesis_block: inBlock('unspendableGenesis'),
        bip30: inBlock('unspendableBip30'),
        scripts: inBlock('unspendableScripts'),
        unclaimed_rewards: inBlock('unclaimed'),
      },
    },
  }
}

type Scan = { progress: number; aborted: boolean }
const scans = new WeakMap<LedgerEngine, Scan>()

type Needles = { readonly scripts: ReadonlySet<string>; readonly knowledge: Knowledge }

const needlesOf = ({ network }: LedgerEngine, args: Arguments): Needles => {
  const knowledge = emptyKnowledge()
  const scripts = args.array(1).flatMap((item) => scriptsOf(item, network, knowledge))
  return { scripts: new Set(scripts.map(bytesToHex)), knowledge }
}

const scan = async (engine: LedgerEngine, { scripts, knowledge }: Needles, state: Scan): Promise<Json> => {
  const found: { readonly outpoint: Outpoint; readonly coin: Coin; readonly hex: string }[] = []
  let count = 0
  const tip = await engine.scanCoins((outpoint, coin) => {
    count++
    const hex = bytesToHex(coin.output.scriptPubKey)
    if (scripts.has(hex)) found.push({ outpoint, coin, hex })
    if (count % 256 === 0)
      state.progress = Math.round((parseInt(outpoint.txid.slice(-4).replace(/(..)(..)/, '$2$1'), 16) * 100) / 65_536)
    return !state.aborted
  })
  return {
    success: !state.aborted,
    txouts: count,
    height: tip.height,
    bestblock: tip.hash,
    unspents: found.map(({ outpoint, coin, hex }) => ({
      txid: outpoint.txid,
      vout: outpoint.vout,
      scriptPubKey: hex,
      desc: outputDescriptor(coin.output.scriptPubKey, engine.network, knowledge),
      amount: btc(coin.output.value),
      coinbase: coin.coinbase,
      height: coin.height,
      blockhash: (ancestorAt(tip, coin.height) as HeaderEntry).hash,
      confirmations: tip.height - coin.height + 1,
    })),
    total_amount: btc(found.reduce((sum, { coin }) => sum + coin.output.value, 0n)),
  }
}

/** Whether a block of the active chain still passes: 1 its own rules, 2 its undo data, 3 its scripts and amounts over that data. */
const passes = async (engine: LedgerEngine, entry: HeaderEntry, level: number): Promise<boolean> => {
  const block = await engine.blockByHash(entry.hash)
  if (block === undefined) return false
  const { parent } = entry
  if (level < 1 || parent === undefined) return true
  if (checkBlockBody(block, engine.network, parent) !== undefined) return false
  if (level < 2) return true
  const undo = await engine.undo(entry.hash)
  const spends = block.transactions.slice(1).flatMap(({ inputs }) => inputs.map(({ outpoint }) => outpoint))
  if (undo?.length !== spends.length) return false
  if (level < 3) return true
  const own = new Set(block.transactions.map(txid))
  const view = new Map(
    spends.flatMap((outpoint, i) => (own.has(outpoint.txid) ? [] : [[outpointKey(outpoint), undo[i] as Coin] as const])),
  )
  return !isViolation(connectBlock(block, { network: engine.network, entry, view }))
}

const spentLists = async (engine: LedgerEngine, block: Block, entry: HeaderEntry): Promise<(readonly Coin[])[]> => {
  const spent = await spentBy(engine, block, entry.hash)
  return block.transactions.slice(1).map((tx) => {
    const coins = spent.get(tx)
    if (coins === undefined)
      throw new RpcError(
        RPC.misc,
        "Undo data expected but can't be read. This could be due to disk corruption or a conflict with a pruning event.",
      )
    return coins
  })
}

const readProof = (bytes: Uint8Array): MerkleProof | undefined => {
  try {
    return decodeMerkleProof(bytes)
  } catch (error) {
    if (error instanceof DecodeError) throw new RpcError(RPC.misc, error.message)
    throw error
  }
}

/** Outputs of a transaction that are looked for: a block has no room for more. */
const MAX_OUTPUTS = 10_000

/** The block of one of these transactions: of one with an unspent output, else of the first that the index knows. */
const blockOf = async (engine: LedgerEngine, ids: readonly Txid[]): Promise<BlockHash | undefined> => {
  for (const id of ids) {
    const position = await engine.position(id)
    if (position !== undefined) return position.blockHash
  }
  for (const id of ids)
    for (let vout = 0; vout < MAX_OUTPUTS; vout++) {
      const coin = await engine.coin({ txid: id, vout })
      if (coin !== undefined) return ancestorAt(engine.tipEntry(), coin.height)?.hash
    }
  return undefined
}

export const scanMethods: Methods = {
  getblockstats: {
    params: ['hash_or_height', 'stats'],
    about: 'Figures about a block: fees, sizes, outputs.',
    async run({ engine }, args) {
      const entry = hashOrHeight(engine, args, 0)
      const wanted = args.has(1) ? args.array(1).map(String) : []
      const block = await bodyOf(engine, entry)
      const all = blockStats(block, await spentLists(engine, block, entry), entry, engine.network)
      if (wanted.length === 0) return all
      return Object.fromEntries(
        [...new Set(wanted)].sort().map((name): [string, Json] => {
          const value = Object.hasOwn(all, name) ? all[name] : undefined
          if (value === undefined) throw invalid(`Invalid selected statistic '${name.slice(0, 100)}'`)
          return [name, value]
        }),
      )
    },
  },
  gettxoutsetinfo: {
    params: ['hash_type', 'hash_or_height', 'use_index'],
    about: 'Figures about all unspent outputs, with a hash of them: hash_serialized_3, muhash or none.',
    run({ engine }, args) {
      const type = args.string(0, 'hash_serialized_3')
      if (!['hash_serialized_3', 'muhash', 'none'].includes(type))
        throw invalid(`'${type.slice(0, 100)}' is not a valid hash_type`)
      const index = engine.indexes().find(({ name }) => name === 'coinstatsindex')
      const wantsIndex = args.bool(2, true)
      if (args.has(1)) {
        if (index === undefined) throw invalid('Querying specific block heights requires coinstatsindex')
        if (type === 'hash_serialized_3') throw invalid('hash_serialized_3 hash type cannot be queried for a specific block')
        if (!wantsIndex) throw invalid('Cannot set use_index to false when querying for a specific block')
      }
      const entry = args.has(1) ? hashOrHeight(engine, args, 1) : engine.tipEntry()
      if (wantsIndex && index !== undefined && !index.synced && entry.height > index.height)
        throw new RpcError(
          RPC.internal,
          `Unable to get data because coinstatsindex is still syncing. Current height: ${index.height}`,
        )
      return wantsIndex && index !== undefined && type !== 'hash_serialized_3'
        ? indexedStats(engine, type, entry)
        : utxoStats(engine, type)
    },
  },
  scantxoutset: {
    params: ['action', 'scanobjects'],
    about: 'Unspent outputs of raw(hex) and addr(address): start, status or abort.',
    async run({ engine }, args) {
      const action = args.string(0)
      const running = scans.get(engine)
      if (action === 'status') return running === undefined ? null : { progress: running.progress }
      if (action === 'abort') {
        if (running !== undefined) running.aborted = true
        return running !== undefined
      }
      if (action !== 'start') throw invalid(`Invalid action '${action.slice(0, 100)}'`)
      if (running !== undefined) throw invalid('Scan already in progress, use action "abort" or "status"')
      if (!args.has(1)) throw new RpcError(RPC.misc, 'scanobjects argument is required for the start action')
      const state: Scan = { progress: 0, aborted: false }
      const needles = needlesOf(engine, args)
      scans.set(engine, state)
      try {
        return await scan(engine, needles, state)
      } finally {
        scans.delete(engine)
      }
    },
  },
  gettxoutproof: {
    params: ['txids', 'blockhash'],
    about: 'Proof in hex that transactions are in one block.',
    async run({ engine }, args) {
      const list = args.array(0).map((id) => Txid(parseHash(String(id), 'txid')))
      const [first] = list
      if (first === undefined) throw invalid("Parameter 'txids' cannot be empty")
      const twice = list.find((id, i) => list.indexOf(id) < i)
      if (twice !== undefined) throw invalid(`Invalid parameter, duplicated txid: ${twice}`)
      const hash = args.has(1) ? args.blockHash(1) : await blockOf(engine, list)
      if (hash === undefined) throw new RpcError(RPC.invalidAddressOrKey, 'Transaction not yet in block')
      const block = await bodyOf(engine, entryOf(engine, hash))
      const held = new Set(block.transactions.map(txid))
      if (!list.every((id) => held.has(id)))
        throw new RpcError(RPC.invalidAddressOrKey, 'Not all transactions found in specified or retrieved block')
      return bytesToHex(encodeMerkleProof(block, new Set(list)))
    },
  },
  verifytxoutproof: {
    params: ['proof'],
    about: 'The transactions that a proof shows to be in a block of the chain; none when it proves nothing.',
    async run({ engine }, args) {
      const proof = readProof(parseHexBytes(args.string(0), 'proof'))
      if (proof === undefined) return []
      const entry = engine.tree.entries.get(blockHash(proof.header))
      if (entry === undefined || !engine.isActive(entry)) throw new RpcError(RPC.invalidAddressOrKey, 'Block not found in chain')
      const block = await bodyOf(engine, entry)
      return block.transactions.length === proof.count ? proof.txids : []
    },
  },
  getindexinfo: {
    params: ['index_name'],
    about: 'State of the indices that are kept.',
    run({ engine }, args) {
      const wanted = args.string(0, '')
      return Object.fromEntries(
        engine
          .indexes()
          .filter(({ name }) => wanted === '' || name === wanted)
          .map(({ name, height, synced }) => [name, { synced, best_block_height: height }]),
      )
    },
  },
  verifychain: {
    params: ['checklevel', 'nblocks'],
    about: 'Checks the last blocks again: 0 read, 1 their own rules, 2 undo data, 3 and 4 scripts and amounts.',
    async run({ engine }, args) {
      const level = args.int(0, 3)
      const asked = args.int(1, 6)
      const tip = engine.tipEntry()
      const count = asked <= 0 || asked > tip.height ? tip.height : asked
      let entry: HeaderEntry | undefined = tip
      for (let i = 0; i < count && entry !== undefined; i++, entry = entry.parent)
        if (!(await passes(engine, entry, level))) return false
      return true
    },
  },
}
