/**
 * One transaction that waits, and the sums over what it stands on and what stands on it. The sums are kept by mempool.ts with
 * every change, so that nobody has to walk for them. Bitcoin Core 28.1 kernel/mempool_entry.h.
 * Memory is counted as Bitcoin Core counts it, so that a limit in megabytes means the same number of transactions here and there.
 */
import { SEQUENCE_LOCKTIME_DISABLE_FLAG, txid, txWeight, wtxid, type Sat, type Tx, type Txid, type Wtxid } from '@leyden/bitcoin'
import { policyVsize } from './policy.ts'

export type MempoolEntry = {
  readonly tx: Tx
  readonly txid: Txid
  readonly wtxid: Wtxid
  /** What it pays itself. */
  readonly fee: Sat
  readonly weight: number
  /** Virtual bytes as policy counts them. */
  readonly vsize: number
  readonly sigopCost: number
  /** When it came, seconds. */
  readonly time: number
  /** Height of the tip when it came. */
  readonly height: number
  /** The pool's count of changes when it came; 0 for one that was in a block before. */
  readonly sequence: number
  /** A confirmed coinbase is among what it spends: a lower tip may make that immature. */
  readonly spendsCoinbase: boolean
  /** Bytes, its links not counted. */
  readonly memory: number
  /** Transactions in the pool that it spends from, and that spend from it. */
  parents: ReadonlySet<MempoolEntry>
  children: ReadonlySet<MempoolEntry>
  /** The fee as miner and limits see it: with what the owner has added or taken. May be negative. */
  modifiedFee: bigint
  /** Sums over itself and all in the pool that it stands on; fees as modified. */
  ancestorCount: number
  ancestorVsize: number
  ancestorFee: bigint
  ancestorSigopCost: number
  /** Sums over itself and all in the pool that stand on it. */
  descendantCount: number
  descendantVsize: number
  descendantFee: bigint
  /** Higher stays longer when room is made: the better of its own rate and that with its descendants. */
  keepRate: number
  /** Where it is in the pool's heaps. */
  evictionSlot: number
  ageSlot: number
}

/** What acceptance found out about a transaction. */
export type EntryFacts = {
  readonly tx: Tx
  readonly fee: Sat
  readonly modifiedFee: bigint
  readonly sigopCost: number
  readonly bytesPerSigop: number
  readonly time: number
  readonly height: number
  readonly sequence: number
  readonly spendsCoinbase: boolean
}

export const NO_ENTRIES: ReadonlySet<MempoolEntry> = new Set()

/** An entry that is in no pool yet. */
export const createEntry = (facts: EntryFacts): MempoolEntry => {
  const { tx, fee, modifiedFee, sigopCost, bytesPerSigop, time, height, sequence, spendsCoinbase } = facts
  const weight = txWeight(tx)
  const vsize = policyVsize(weight, sigopCost, bytesPerSigop)
  return {
    tx,
    txid: txid(tx),
    wtxid: wtxid(tx),
    fee,
    weight,
    vsize,
    sigopCost,
    time,
    height,
    sequence,
    spendsCoinbase,
    memory: entryMemory(tx),
    parents: NO_ENTRIES,
    children: NO_ENTRIES,
    modifiedFee,
    ancestorCount: 1,
    ancestorVsize: vsize,
    ancestorFee: modifiedFee,
    ancestorSigopCost: sigopCost,
    descendantCount: 1,
    descendantVsize: vsize,
    descendantFee: modifiedFee,
    keepRate: 0,
    evictionSlot: -1,
    ageSlot: -1,
  }
}

/** A relative lock (BIP 68) that a lower tip may close again. */
export const hasRelativeLock = ({ version, inputs }: Tx): boolean =>
  version >= 2 && inputs.some(({ sequence }) => (sequence & SEQUENCE_LOCKTIME_DISABLE_FLAG) === 0)

/** What an allocation of so many bytes takes (Bitcoin Core memusage.h, 64 bits). */
const allocated = (bytes: number): number => (bytes === 0 ? 0 : Math.floor((bytes + 31) / 16) * 16)

/** Sizes of Bitcoin Core's structures on 64 bits, allocated. */
const ENTRY_BYTES = allocated(288 + 15 * 8)
const TX_BYTES = allocated(128) + allocated(24)
const SPENT_OUTPUT_BYTES = allocated(32 + 16)
const RANDOM_ORDER_BYTES = 16
/** Scripts up to this length lie inside the input or output. */
const INLINE_SCRIPT_BYTES = 28

/** One side of a link between two entries. */
export const LINK_BYTES: number = allocated(32 + 8)

const scriptMemory = ({ length }: Uint8Array): number => (length > INLINE_SCRIPT_BYTES ? allocated(length) : 0)

/** Bytes that an entry takes without its links. */
export const entryMemory = ({ inputs, outputs }: Tx): number => {
  let bytes = ENTRY_BYTES + TX_BYTES + RANDOM_ORDER_BYTES + allocated(inputs.length * 96) + allocated(outputs.length * 40)
  for (const { scriptSig, witness } of inputs) {
    bytes += SPENT_OUTPUT_BYTES + scriptMemory(scriptSig) + allocated(witness.length * 24)
    for (const item of witness) bytes += allocated(item.length)
  }
  for (const { scriptPubKey } of outputs) bytes += scriptMemory(scriptPubKey)
  return bytes
}
