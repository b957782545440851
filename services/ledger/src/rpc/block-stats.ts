/** Figures about one block. Bitcoin Core rpc/blockchain.cpp, getblockstats. Amounts in satoshi, rates in satoshi per virtual byte. */
import {
  hasWitness,
  isUnspendable,
  MAX_MONEY,
  outputLength,
  subsidy,
  txTotalSize,
  txWeight,
  type Block,
  type Coin,
  type Network,
} from '@leyden/bitcoin'
import { medianTimePast, type HeaderEntry } from '@leyden/ledger'
import type { Json } from './json-text.ts'

/** Outpoint, height and coinbase flag of a coin in Bitcoin Core's memory. */
const PER_COIN_OVERHEAD = 41
const SHARES = [0.1, 0.25, 0.5, 0.75, 0.9]

const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  if (sorted.length === 0) return 0
  if (sorted.length % 2 === 1) return sorted[middle] as number
  return Math.trunc(((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2)
}

/** Rates below which so many shares of the weight are. */
const percentiles = (rates: readonly { readonly rate: number; readonly weight: number }[], total: number): number[] => {
  const sorted = rates.toSorted((a, b) => a.rate - b.rate || a.weight - b.weight)
  return SHARES.map((share) => {
    let sum = 0
    return sorted.find(({ weight }) => (sum += weight) >= total * share)?.rate ?? sorted.at(-1)?.rate ?? 0
  })
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
const largest = (values: readonly number[]): number => values.reduce((most, value) => Math.max(most, value), 0)
const least = (values: readonly number[]): number =>
  values.length === 0 ? 0 : values.reduce((low, value) => Math.min(low, value), Number(MAX_MONEY))

/** `spent`: the coins of each transaction but the coinbase. */
export const blockStats = (
  block: Block,
  spent: readonly (readonly Coin[])[],
  entry: HeaderEntry,
  network: Network,
): { readonly [name: string]: Json } => {
  const outputs = block.transactions.flatMap((tx) => tx.outputs)
  const kept = entry.height === 0 ? [] : outputs.filter(({ scriptPubKey }) => !isUnspendable(scriptPubKey))
  const coinSize = (output: (typeof outputs)[number]): number => outputLength(output) + PER_COIN_OVERHEAD
  const freed = sum(spent.flat().map(({ output }) => coinSize(output)))
  const rest = block.transactions.slice(1).map((tx, i) => {
    const paidIn = (spent[i] ?? []).reduce((total, { output }) => total + output.value, 0n)
    const out = tx.outputs.reduce((total, { value }) => total + value, 0n)
    const weight = txWeight(tx)
    const fee = Number(paidIn - out)
    return {
      size: txTotalSize(tx),
      weight,
      fee,
      rate: Math.trunc((fee * 4) / weight),
      out: Number(out),
      witness: hasWitness(tx),
      inputs: tx.inputs.length,
    }
  })
  const count = rest.length
  const sizes = rest.map(({ size }) => size)
  const fees = rest.map(({ fee }) => fee)
  const rates = rest.map(({ rate }) => rate)
  const segwit = rest.filter(({ witness }) => witness)
  const weight = sum(rest.map((tx) => tx.weight))
  const inputs = sum(rest.map((tx) => tx.inputs))
  const fee = sum(fees)
  return {
    avgfee: count === 0 ? 0 : Math.trunc(fee / count),
    avgfeerate: weight === 0 ? 0 : Math.trunc((fee * 4) / weight),
    avgtxsize: count === 0 ? 0 : Math.trunc(sum(sizes) / count),
    blockhash: entry.hash,
    feerate_percentiles: percentiles(rest, weight),
    height: entry.height,
    ins: inputs,
    maxfee: largest(fees),
    maxfeerate: largest(rates),
    maxtxsize: largest(sizes),
    medianfee: median(fees),
    mediantime: medianTimePast(entry),
    mediantxsize: median(sizes),
    minfee: least(fees),
    minfeerate: least(rates),
    mintxsize: least(sizes),
    outs: outputs.length,
    subsidy: Number(subsidy(entry.height, network)),
    swtotal_size: sum(segwit.map(({ size }) => size)),
    swtotal_weight: sum(segwit.map((tx) => tx.weight)),
    swtxs: segwit.length,
    time: entry.header.time,
    total_out: sum(rest.map(({ out }) => out)),
    total_size: sum(sizes),
    total_weight: weight,
    totalfee: fee,
    txs: block.transactions.length,
    utxo_increase: outputs.length - inputs,
    utxo_size_inc: sum(outputs.map(coinSize)) - freed,
    utxo_increase_actual: kept.length - inputs,
    utxo_size_inc_actual: sum(kept.map(coinSize)) - freed,
  }
}
