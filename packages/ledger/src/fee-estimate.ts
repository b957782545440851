/**
 * What fee rate confirms within so many blocks, read from the blocks and the mempool as they are: the price is the floor unless blocks
 * are full or the mempool holds more than the next blocks can take. It needs no past of our own, which fee-estimator.ts does.
 * Rates in satoshi per 1000 virtual bytes.
 * A block of which a tenth is empty would have taken any transaction at the floor: only fuller ones say that more was needed.
 */
import { blockWeight, txVsize, type Block } from '@leyden/bitcoin'
import { feeratePerKvb } from './fee-rate.ts'
import { minFeeratePerKvb } from './mempool-room.ts'
import type { Mempool } from './mempool.ts'

const MAX_BLOCK_WEIGHT = 4_000_000
const FULL_BLOCK_WEIGHT = 0.9 * MAX_BLOCK_WEIGHT

/** How many blocks are remembered. */
export const FEE_HISTORY_BLOCKS = 144

/** What one block says about fees: its weight, and the rate that a tenth of its bytes paid no more than. */
export type BlockFees = { readonly weight: number; readonly lowFeeratePerKvb: number }

/** `fees` of the block's transactions, coinbase left out. */
export const blockFees = (block: Block, fees: readonly bigint[]): BlockFees => {
  const rates = block.transactions.slice(1).map((tx, i) => {
    const vsize = txVsize(tx)
    return { vsize, rate: feeratePerKvb(fees[i] ?? 0n, vsize) }
  })
  rates.sort((a, b) => a.rate - b.rate)
  const tenth = rates.reduce((n, { vsize }) => n + vsize, 0) / 10
  let sum = 0
  let low = 0
  for (const { vsize, rate } of rates) {
    low = rate
    sum += vsize
    if (sum >= tenth) break
  }
  return { weight: blockWeight(block), lowFeeratePerKvb: low }
}

/** The least rate that would have been enough, whenever in the recent past one had begun to wait for `target` blocks. */
const fromHistory = (history: readonly BlockFees[], target: number): number => {
  const needed = history
    .slice(-Math.max(12, 2 * target))
    .map(({ weight, lowFeeratePerKvb }) => (weight >= FULL_BLOCK_WEIGHT ? lowFeeratePerKvb : 0))
  let enough = 0
  for (let from = 0; from + target <= needed.length; from++)
    enough = Math.max(enough, Math.min(...needed.slice(from, from + target)))
  return enough
}

const fromMempool = (pool: Mempool, target: number): number => {
  const room = (target * FULL_BLOCK_WEIGHT) / 4
  if (pool.vsize <= room) return 0
  const rated = [...pool.entries.values()].map(({ vsize, modifiedFee, ancestorFee, ancestorVsize }) => ({
    vsize,
    rate: Math.min(feeratePerKvb(ancestorFee, ancestorVsize), feeratePerKvb(modifiedFee, vsize)),
  }))
  rated.sort((a, b) => b.rate - a.rate)
  let sum = 0
  for (const { vsize, rate } of rated) {
    sum += vsize
    if (sum > room) return rate + 1
  }
  return 0
}

/** Rate for a confirmation within `target` blocks (1 to 1008), never under what the mempool takes now (seconds). `history`: oldest first. */
export const estimateFeerate = (pool: Mempool, history: readonly BlockFees[], target: number, now: number): number =>
  Math.ceil(Math.max(minFeeratePerKvb(pool, now), fromHistory(history, target), fromMempool(pool, target)))
