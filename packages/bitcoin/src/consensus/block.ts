/**
 * Rules of a block: by itself (checkBlock) and at its height (checkBlockAt). Bitcoin Core validation.cpp; BIP 34, 113, 141, 325.
 * Not here: headers (header.ts), coins and scripts (tx.ts, interpreter.ts; the ledger runs them).
 * A `mutated` reason says that these bytes are not the block that its hash names: refuse the bytes, never the hash
 * (CVE-2012-2459; witness data is not in the hash either).
 */
import { equalBytes } from '@leyden/codec'
import { blockBaseSize, blockWeight, findWitnessCommitment, merkleTree, witnessCommitment, type Block } from '../block.ts'
import { hashFromHex, hashToHex, type BlockHash } from '../ids.ts'
import type { Network } from '../networks.ts'
import { pushMinimal } from '../script.ts'
import { encodeScriptNum } from '../script.ts'
import { hasWitness, isCoinbase, txid, wtxid, type Tx } from '../tx.ts'
import type { Sat } from '../units.ts'
import { checkProofOfWork, type HeaderError } from './header.ts'
import { MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT, subsidy, WITNESS_SCALE_FACTOR } from './rules.ts'
import { checkSignetSolution } from './signet.ts'
import { checkTx, isFinalTx, legacySigOps, type TxError } from './tx.ts'

/** Bytes that do not belong to the block hash. */
export type BlockMutation =
  | 'bad-txnmrklroot'
  | 'bad-txns-duplicate'
  | 'bad-witness-nonce-size'
  | 'bad-witness-merkle-match'
  | 'unexpected-witness'

export type BlockError =
  | BlockMutation
  | HeaderError
  | TxError
  | 'bad-signet-blksig'
  | 'bad-blk-length'
  | 'bad-cb-missing'
  | 'bad-cb-multiple'
  | 'bad-blk-sigops'
  | 'bad-txns-nonfinal'
  | 'bad-cb-height'
  | 'bad-blk-weight'

const MUTATIONS: ReadonlySet<string> = new Set<BlockMutation>([
  'bad-txnmrklroot',
  'bad-txns-duplicate',
  'bad-witness-nonce-size',
  'bad-witness-merkle-match',
  'unexpected-witness',
])

/** Whether the reason condemns only these bytes: the block of that hash may still be good when another peer sends it. */
export const isMutation = (error: BlockError): error is BlockMutation => MUTATIONS.has(error)

/** A block never changes: what it has passed once it need not pass again. Peers, the chain and the miner all ask. */
const passedRoot = new WeakSet<Block>()
const passedCommitment = new WeakSet<Block>()
const passedAlone = new WeakMap<Block, Network>()

/** Root in the header against the transactions, and no repeated ones (CVE-2012-2459). */
export const checkMerkleRoot = (block: Block): BlockMutation | undefined => {
  if (passedRoot.has(block)) return undefined
  const { root, mutated } = merkleTree(block.transactions.map((tx) => hashFromHex(txid(tx))))
  if (hashToHex(root) !== block.header.merkleRoot) return 'bad-txnmrklroot'
  if (mutated) return 'bad-txns-duplicate'
  passedRoot.add(block)
  return undefined
}

/** What needs no context: proof of work (unless `withProofOfWork` is false), merkle root, sizes, coinbase, checkTx of each. */
export const checkBlock = (block: Block, network: Network, withProofOfWork = true): BlockError | undefined => {
  if (passedAlone.get(block) === network) return undefined
  if (withProofOfWork) {
    const work = checkProofOfWork(block.header, network)
    if (work !== undefined) return work
    if (network.signetChallenge !== undefined && !checkSignetSolution(block, network)) return 'bad-signet-blksig'
  }
  const merkle = checkMerkleRoot(block)
  if (merkle !== undefined) return merkle
  const { transactions } = block
  if (
    transactions.length === 0 ||
    transactions.length * WITNESS_SCALE_FACTOR > MAX_BLOCK_WEIGHT ||
    blockBaseSize(block) * WITNESS_SCALE_FACTOR > MAX_BLOCK_WEIGHT
  )
    return 'bad-blk-length'
  if (!isCoinbase(transactions[0]!)) return 'bad-cb-missing'
  let sigOps = 0
  for (const [i, tx] of transactions.entries()) {
    if (i > 0 && isCoinbase(tx)) return 'bad-cb-multiple'
  }
  for (const tx of transactions) {
    const error = checkTx(tx)
    if (error !== undefined) return error
    sigOps += legacySigOps(tx)
  }
  if (sigOps * WITNESS_SCALE_FACTOR > MAX_BLOCK_SIGOPS_COST) return 'bad-blk-sigops'
  if (withProofOfWork) passedAlone.set(block, network)
  return undefined
}

/** BIP 141 § Commitment structure. `expected`: segwit holds at this height. */
export const checkWitnessCommitment = (block: Block, expected: boolean): BlockMutation | undefined => {
  const coinbase = block.transactions[0]
  const committed = expected && coinbase !== undefined ? findWitnessCommitment(coinbase) : undefined
  if (coinbase === undefined || committed === undefined)
    return block.transactions.some(hasWitness) ? 'unexpected-witness' : undefined
  const reserved = coinbase.inputs[0]?.witness ?? []
  if (reserved.length !== 1 || reserved[0]!.length !== 32) return 'bad-witness-nonce-size'
  if (passedCommitment.has(block)) return undefined
  if (!equalBytes(witnessCommitment(block.transactions.map(wtxid), reserved[0]!), committed)) return 'bad-witness-merkle-match'
  passedCommitment.add(block)
  return undefined
}

/**
 * The block with a reserved value of zero in its coinbase, where it commits to witnesses and its maker left that out. The value is not
 * in the hash, so who hands in a block without it means the same block (Bitcoin Core, UpdateUncommittedBlockStructures).
 */
export const withReservedValue = (block: Block): Block => {
  const [coinbase, ...rest] = block.transactions
  if (coinbase === undefined || hasWitness(coinbase) || findWitnessCommitment(coinbase) === undefined) return block
  const inputs = coinbase.inputs.map((input, i) => (i === 0 ? { ...input, witness: [new Uint8Array(32)] } : input))
  return { ...block, transactions: [{ ...coinbase, inputs }, ...rest] }
}

/** BIP 34: what a coinbase's script begins with. */
export const coinbaseHeightScript = (height: number): Uint8Array => pushMinimal(encodeScriptNum(height))

const beginsWithHeight = (coinbase: Tx, height: number): boolean => {
  const expected = coinbaseHeightScript(height)
  return equalBytes(coinbase.inputs[0]!.scriptSig.subarray(0, expected.length), expected)
}

/**
 * Rules at a height, for a block that passed checkBlock: final transactions, BIP 34, witness commitment, weight.
 * `medianTimePast` is that of the block before.
 */
export const checkBlockAt = (
  block: Block,
  network: Network,
  at: { readonly height: number; readonly medianTimePast: number },
): BlockError | undefined => {
  const cutoff = at.height >= network.csvHeight ? at.medianTimePast : block.header.time
  if (!block.transactions.every((tx) => isFinalTx(tx, at.height, cutoff))) return 'bad-txns-nonfinal'
  if (at.height >= network.bip34Height && !beginsWithHeight(block.transactions[0]!, at.height)) return 'bad-cb-height'
  const witness = checkWitnessCommitment(block, at.height >= network.segwitHeight)
  if (witness !== undefined) return witness
  return blockWeight(block) > MAX_BLOCK_WEIGHT ? 'bad-blk-weight' : undefined
}

/** The coinbase may take at most the subsidy and the fees of the block. */
export const checkCoinbaseAmount = (coinbase: Tx, height: number, fees: Sat, network: Network): 'bad-cb-amount' | undefined => {
  const taken = coinbase.outputs.reduce((sum, output) => sum + output.value, 0n)
  return taken > subsidy(height, network) + fees ? 'bad-cb-amount' : undefined
}

/**
 * Whether a block at this height must be checked for transactions that repeat one with unspent outputs (BIP 30). Where BIP 34
 * holds from the first block nothing can repeat. Where it came late, it made repeats impossible from then to height 1,983,702, on the chain whose block at that height (`bip34Block`,
 * undefined for a block at or below it) is the one that the network names. The two old repeats are named by the network too.
 */
export const enforcesBip30 = (network: Network, height: number, hash: BlockHash, bip34Block: BlockHash | undefined): boolean => {
  if (network.bip34Height <= 1) return false
  if (height >= BIP34_IMPLIES_BIP30_LIMIT) return true
  if (network.bip30Exceptions.get(height) === hash) return false
  return network.bip34Hash === undefined || bip34Block !== network.bip34Hash
}

/** From here on a coinbase of before BIP 34 may repeat by its height alone. Bitcoin Core validation.cpp. */
const BIP34_IMPLIES_BIP30_LIMIT = 1_983_702
