/** The chain and the mempool as the peering machine sees them. */
import {
  bitsFromTarget,
  blockHash,
  checkMerkleRoot,
  checkWitnessCommitment,
  difficultyInterval,
  isCoinbase,
  meetsProofOfWork,
  targetFromBits,
  txBaseSize,
  workFromBits,
  type Block,
  type Network,
  type Txid,
  type Wtxid,
} from '@leyden/bitcoin'
import {
  ancestorAt,
  forkPoint,
  isViolation,
  locator,
  medianTimePast,
  minFeeratePerKvb,
  type HeaderEntry,
  type MempoolEntry,
} from '@leyden/ledger'
import type { ChainEntry, ChainPort, PoolPort } from '@leyden/p2p'
import type { LedgerEngine } from '../engine.ts'

/** A merkle tree can pass a transaction of this size off as two of its nodes (CVE-2017-12842). */
const FORGEABLE_BYTES = 64

const mutationOf = (block: Block, segwit: boolean): string | undefined => {
  const root = checkMerkleRoot(block)
  if (root !== undefined) return root === 'bad-txnmrklroot' ? `${root}, hashMerkleRoot mismatch` : root
  const [coinbase] = block.transactions
  if (coinbase === undefined || !isCoinbase(coinbase))
    return block.transactions.some((tx) => txBaseSize(tx) === FORGEABLE_BYTES) ? 'a transaction of 64 bytes' : undefined
  return checkWitnessCommitment(block, segwit)
}

/** Bitcoin Core pow.cpp, PermittedDifficultyTransition: a factor of four at a retarget, nothing between. */
const mayFollow = (network: Network, height: number, before: number, bits: number): boolean => {
  if (network.allowMinDifficultyBlocks) return true
  if (height % difficultyInterval(network) !== 0) return before === bits
  const [old, claimed] = [targetFromBits(before), targetFromBits(bits)]
  if (old === undefined || claimed === undefined) return false
  const bounded = (target: bigint): bigint =>
    targetFromBits(bitsFromTarget(target > network.powLimit ? network.powLimit : target)) ?? network.powLimit
  return claimed <= bounded(old * 4n) && claimed >= bounded(old / 4n)
}

export type ChainPortOptions = {
  readonly engine: LedgerEngine
  /** Whether the chain may be given more blocks before it has answered. */
  readonly hasRoom: () => boolean
  readonly now: () => number
  readonly minimumWork: bigint
  /** Seconds: with an older tip we are still far behind. */
  readonly maxTipAge: number
}

const whole = (entry: ChainEntry): HeaderEntry => entry as HeaderEntry

export const createChainPort = ({ engine, hasRoom, now, minimumWork, maxTipAge }: ChainPortOptions): ChainPort => {
  const { tree, network } = engine
  let caughtUp = false
  return {
    minimumWork,
    spacing: network.targetSpacingSeconds,
    find: (hash) => tree.entries.get(hash),
    tip: () => engine.tipEntry(),
    bestHeader: () => engine.bestHeaderEntry(),
    isActive: (entry) => engine.isActive(whole(entry)),
    activeAt(height) {
      const tip = engine.tipEntry()
      return height > tip.height ? undefined : ancestorAt(tip, height)
    },
    ancestor: (entry, height) => ancestorAt(whole(entry), height),
    fork: (a, b) => forkPoint(whole(a), whole(b)),
    locator: (entry) => locator(whole(entry)),
    hasBody: (entry) => engine.blockData(whole(entry)) === 'here',
    canServe: (entry) => engine.blockData(whole(entry)) === 'here',
    isComplete: (entry) => whole(entry).stored,
    isInvalid: (entry) => whole(entry).failed !== 'none',
    isInitialDownload() {
      const tip = engine.tipEntry()
      caughtUp ||= tip.chainWork >= minimumWork && tip.header.time >= now() / 1000 - maxTipAge
      return !caughtUp
    },
    hasRoom,
    workOf: (header) => workFromBits(header.bits),
    meetsTarget: (header) => meetsProofOfWork(blockHash(header), header.bits, network),
    mayFollow: (height, before, bits) => mayFollow(network, height, before, bits),
    medianTime: (entry) => medianTimePast(whole(entry)),
    submitHeaders(headers) {
      const answer = engine.submitHeaders(headers)
      return isViolation(answer) ? { reason: answer.reason } : answer
    },
    mutation: (block, parent) => mutationOf(block, parent.height + 1 >= network.segwitHeight),
  }
}

/** `now` in milliseconds. */
export const createPoolPort = (engine: LedgerEngine, now: () => number): PoolPort => {
  const { pool } = engine
  return {
    byTxid: (id) => pool.entries.get(id as Txid),
    byWtxid(id) {
      const found = pool.wtxids.get(id as Wtxid)
      return found === undefined ? undefined : pool.entries.get(found)
    },
    all: () => [...pool.entries.values()],
    compare(a, b) {
      const [first, second] = [a as MempoolEntry, b as MempoolEntry]
      const byFee = Number(second.modifiedFee * BigInt(first.vsize) - first.modifiedFee * BigInt(second.vsize))
      return first.ancestorCount - second.ancestorCount || byFee
    },
    minFeeratePerKvb: () => minFeeratePerKvb(pool, Math.floor(now() / 1000)),
    minRelayFeeratePerKvb: () => pool.policy.minRelayFeeratePerKvb,
    spread: (id) => engine.reached(id as Txid),
  }
}
