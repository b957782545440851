/**
 * Figures about all coins after each block (-coinstatsindex): how many, what they are worth, where the rest of the subsidy went, and
 * MuHash of them. Bitcoin Core index/coinstatsindex.cpp, kernel/coinstats.cpp.
 * A row per block, by its hash, with the figures since the genesis block; so a block that left the chain keeps its own.
 */
import { packRecord, unpackRecord, Writer } from '@leyden/codec'
import {
  blockHashToBytes,
  isUnspendable,
  subsidy,
  txid,
  writeOutpoint,
  writeOutput,
  type Block,
  type BlockHash,
  type Coin,
  type Network,
  type Outpoint,
} from '@leyden/bitcoin'
import type { HeaderEntry, Undo } from '@leyden/ledger'
import { key, type Store, type Write } from '@leyden/runtime'
import { MUHASH_EMPTY, muHashFromBytes, muHashInsert, muHashOf, muHashToBytes } from './muhash.ts'

/** Amounts in satoshi, from the genesis block up to and with the block. */
export type CoinFigures = {
  readonly outputs: number
  readonly bogoSize: number
  readonly amount: bigint
  readonly subsidy: bigint
  readonly unspendable: bigint
  readonly prevoutsSpent: bigint
  readonly newOutputs: bigint
  readonly coinbase: bigint
  readonly unspendableGenesis: bigint
  readonly unspendableBip30: bigint
  readonly unspendableScripts: bigint
  readonly unclaimed: bigint
}
type Row = CoinFigures & { readonly product: Uint8Array; readonly removed: Uint8Array }

export const NO_FIGURES: CoinFigures = {
  outputs: 0,
  bogoSize: 0,
  amount: 0n,
  subsidy: 0n,
  unspendable: 0n,
  prevoutsSpent: 0n,
  newOutputs: 0n,
  coinbase: 0n,
  unspendableGenesis: 0n,
  unspendableBip30: 0n,
  unspendableScripts: 0n,
  unclaimed: 0n,
}

/** As the hashes of the UTXO set take a coin. Bitcoin Core kernel/coinstats.cpp, TxOutSer. */
export const coinBytes = (outpoint: Outpoint, { output, height, coinbase }: Coin): Uint8Array => {
  const w = new Writer(64 + output.scriptPubKey.length)
  writeOutpoint(w, outpoint)
  w.u32le(height * 2 + (coinbase ? 1 : 0))
  writeOutput(w, output)
  return w.finish()
}

/** Bytes of a coin's fields beside its script, the same whatever the database. Bitcoin Core GetBogoSize. */
export const bogoSize = ({ output }: Coin): number => 50 + output.scriptPubKey.length

/** Blocks of the main network whose coinbase was made again before it was spent (BIP 30). Bitcoin Core validation.cpp. */
const OVERWRITTEN: ReadonlySet<string> = new Set([
  '00000000000271a2dc26e7667f8419f2e15416dc6955e5a6c6cdf3f2574dd08e', // 91722
  '00000000000af0aed4792b1acee3d966af36cf5def14935db8de83d6f9306f2f', // 91812
])

const statsKey = (hash: BlockHash): Uint8Array => key('coinstats', blockHashToBytes(hash))

const readRow = async (rows: Pick<Store, 'get'>, hash: BlockHash): Promise<Row | undefined> => {
  const row = await rows.get(statsKey(hash))
  return row === undefined ? undefined : (unpackRecord(row) as Row)
}

export type CoinStats = CoinFigures & { readonly muhash: Uint8Array }

/** From what may know rows that are not in the store yet. The hash takes milliseconds. */
export const readCoinStats = async (rows: Pick<Store, 'get'>, hash: BlockHash): Promise<CoinStats | undefined> => {
  const row = await readRow(rows, hash)
  if (row === undefined) return undefined
  const { product, removed, ...figures } = row
  return { ...figures, muhash: muHashOf(muHashFromBytes(product), muHashFromBytes(removed)) }
}

/** The row of a block above that of its parent. */
export const coinStatsWrite = async (
  rows: Pick<Store, 'get'>,
  network: Network,
  { hash, height, parent }: HeaderEntry,
  block: Block,
  undo: Undo,
): Promise<Write> => {
  const before = parent === undefined ? undefined : await readRow(rows, parent.hash)
  if (before === undefined && parent !== undefined)
    throw new Error(`the data directory is damaged: the coin statistics below block ${hash} are missing`)
  const sum = { ...(before ?? NO_FIGURES) }
  let product = before === undefined ? MUHASH_EMPTY : muHashFromBytes(before.product)
  let removed = before === undefined ? MUHASH_EMPTY : muHashFromBytes(before.removed)
  const reward = subsidy(height, network)
  sum.subsidy += reward
  const lose = (amount: bigint, why: 'unspendableGenesis' | 'unspendableBip30' | 'unspendableScripts' | 'unclaimed'): void => {
    sum.unspendable += amount
    sum[why] += amount
  }
  if (parent === undefined) lose(reward, 'unspendableGenesis')
  let spent = 0
  for (const [index, tx] of parent === undefined ? [] : block.transactions.entries()) {
    const coinbase = index === 0
    if (coinbase && OVERWRITTEN.has(hash)) {
      lose(reward, 'unspendableBip30')
      continue
    }
    for (const [vout, output] of tx.outputs.entries()) {
      if (isUnspendable(output.scriptPubKey)) {
        lose(output.value, 'unspendableScripts')
        continue
      }
      const coin = { output, height, coinbase }
      product = muHashInsert(product, coinBytes({ txid: txid(tx), vout }, coin))
      sum[coinbase ? 'coinbase' : 'newOutputs'] += output.value
      sum.outputs++
      sum.amount += output.value
      sum.bogoSize += bogoSize(coin)
    }
    if (coinbase) continue
    for (const { outpoint } of tx.inputs) {
      const coin = undo[spent++]
      if (coin === undefined) throw new RangeError('undo data is shorter than the block')
      removed = muHashInsert(removed, coinBytes(outpoint, coin))
      sum.prevoutsSpent += coin.output.value
      sum.outputs--
      sum.amount -= coin.output.value
      sum.bogoSize -= bogoSize(coin)
    }
  }
  lose(sum.prevoutsSpent + sum.subsidy - (sum.newOutputs + sum.coinbase + sum.unspendable), 'unclaimed')
  const row: Row = { ...sum, product: muHashToBytes(product), removed: muHashToBytes(removed) }
  return { key: statsKey(hash), value: packRecord(row) }
}
