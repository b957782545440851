/**
 * Making a block: coinbase, witness commitment, header, and proof of work where it is cheap (regtest).
 * BIP 34 (height first in the coinbase), BIP 141 (commitment), BIP 94 (no time warp). Bitcoin Core 28.1 node/miner.cpp (CreateNewBlock).
 */
import { bigintToBytesBE, concat } from '@leyden/codec'
import { sha256d } from '@leyden/crypto'
import {
  blockVersionAt,
  coinbaseHeightScript,
  difficultyInterval,
  encodeHeader,
  encodeScriptNum,
  MAX_TIMEWARP_SECONDS,
  merkleRoot,
  nextWorkRequired,
  NULL_VOUT,
  pushBytes,
  Sat,
  SEQUENCE_FINAL,
  subsidy,
  targetFromBits,
  Txid,
  txid,
  witnessCommitment,
  witnessCommitmentScript,
  wtxid,
  ZERO_HASH,
  type Block,
  type Network,
  type Tx,
} from '@leyden/bitcoin'
import { headerAt, medianTimePast, type HeaderEntry } from './header-tree.ts'

export type BlockPlan = {
  readonly network: Network
  readonly parent: HeaderEntry
  /** Our clock, seconds. */
  readonly now: number
  /** Parents before children, no coinbase. */
  readonly transactions: readonly Tx[]
  readonly fees: bigint
  /** Where subsidy and fees go. */
  readonly scriptPubKey: Uint8Array
  /** Instead of the version that signals nothing. */
  readonly version?: number
  /** Makes coinbases differ that would otherwise be the same; 0 in blocks as bitcoind makes them. */
  readonly extraNonce: number
}

/** The least time that a block after `parent` may carry, and not before now. Seconds. */
export const blockTime = (network: Network, parent: HeaderEntry, now: number): number => {
  const startsPeriod = (parent.height + 1) % difficultyInterval(network) === 0
  const noWarp = network.enforceBip94 && startsPeriod ? parent.header.time - MAX_TIMEWARP_SECONDS : 0
  return Math.max(now, medianTimePast(parent) + 1, noWarp)
}

const buildCoinbase = ({ network, parent, transactions, fees, scriptPubKey, extraNonce }: BlockPlan): Tx => {
  const height = parent.height + 1
  const reserved = new Uint8Array(32)
  const value = Sat(subsidy(height, network) + fees)
  const outpoint = { txid: Txid(ZERO_HASH), vout: NULL_VOUT }
  const scriptSig = concat(coinbaseHeightScript(height), pushBytes(encodeScriptNum(extraNonce)))
  const bare: Tx = {
    version: 2,
    inputs: [{ outpoint, scriptSig, sequence: SEQUENCE_FINAL, witness: [] }],
    outputs: [{ value, scriptPubKey }],
    lockTime: 0,
  }
  if (height < network.segwitHeight) return bare
  const commitment = witnessCommitment([wtxid(bare), ...transactions.map(wtxid)], reserved)
  return {
    ...bare,
    inputs: [{ outpoint, scriptSig, sequence: SEQUENCE_FINAL, witness: [reserved] }],
    outputs: [...bare.outputs, { value: Sat(0n), scriptPubKey: witnessCommitmentScript(commitment) }],
  }
}

/** A block without proof of work yet. */
export const buildBlock = (plan: BlockPlan): Block => {
  const { network, parent, now } = plan
  const transactions = [buildCoinbase(plan), ...plan.transactions]
  const time = blockTime(network, parent, now)
  const header = {
    version: plan.version ?? blockVersionAt(network, parent.height + 1),
    previousHash: parent.hash,
    merkleRoot: merkleRoot(transactions.map(txid)),
    time,
    bits: nextWorkRequired(network, parent, time, (height) => headerAt(parent, height)),
    nonce: 0,
  }
  return { header, transactions }
}

const NONCE_OFFSET = 76

/** Looks for a nonce, the first one tried being `from`; undefined when `maxTries` hashes do not suffice. */
export const findNonce = (block: Block, maxTries = 1_000_000, from = 0): Block | undefined => {
  const target = targetFromBits(block.header.bits)
  if (target === undefined) return undefined
  const limit = bigintToBytesBE(target, 32)
  const bytes = encodeHeader(block.header)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let nonce = from; nonce < from + maxTries && nonce <= 0xffff_ffff; nonce++) {
    view.setUint32(NONCE_OFFSET, nonce, true)
    if (isAtMost(sha256d(bytes), limit)) return { ...block, header: { ...block.header, nonce } }
  }
  return undefined
}

/** Whether a hash in internal order is, as a number, at most `limit` (most significant byte first). */
const isAtMost = (hash: Uint8Array, limit: Uint8Array): boolean => {
  for (let i = 0; i < 32; i++) {
    const difference = (hash[31 - i] as number) - (limit[i] as number)
    if (difference !== 0) return difference < 0
  }
  return true
}
