/**
 * Blocks and their headers: shape, bytes, hash, merkle trees, weight, witness commitment. BIP 141 § Commitment structure.
 * Rules are in consensus/. Only the form is checked when decoding: any block that consensus could accept decodes.
 * A merkle root alone does not name a list of transactions (CVE-2012-2459): see merkleTree's `mutated`.
 */
import { compactSize, concat, DecodeError, equalBytes, Reader, Writer, type Codec } from '@leyden/codec'
import { sha256d } from '@leyden/crypto'
import { blockHashFromBytes, blockHashToBytes, hashFromHex, hashToHex, type BlockHash, type Txid, type Wtxid } from './ids.ts'
import { compactSizeLength, txBaseSize, txCodec, txTotalSize, type Tx } from './tx.ts'

/** 80 bytes. `version` is an int32, `time` (seconds), `bits` and `nonce` are uint32; `merkleRoot` is hex in display order. */
export type BlockHeader = {
  readonly version: number
  readonly previousHash: BlockHash
  readonly merkleRoot: string
  readonly time: number
  readonly bits: number
  readonly nonce: number
}

export type Block = { readonly header: BlockHeader; readonly transactions: readonly Tx[] }

export const HEADER_BYTES = 80

/** Smallest transaction: no inputs, no outputs. */
const MIN_TX_BYTES = 10

const readHeader = (r: Reader): BlockHeader => ({
  version: r.u32le() | 0,
  previousHash: blockHashFromBytes(r.bytes(32)),
  merkleRoot: hashToHex(r.bytes(32)),
  time: r.u32le(),
  bits: r.u32le(),
  nonce: r.u32le(),
})

const writeHeader = (w: Writer, header: BlockHeader): void => {
  w.u32le(header.version >>> 0)
  w.bytes(blockHashToBytes(header.previousHash))
  w.bytes(hashFromHex(header.merkleRoot))
  w.u32le(header.time)
  w.u32le(header.bits)
  w.u32le(header.nonce)
}

export const headerCodec: Codec<BlockHeader> = { encode: writeHeader, decode: readHeader }

export const blockCodec: Codec<Block> = {
  encode: (w, block) => {
    writeHeader(w, block.header)
    compactSize.encode(w, block.transactions.length)
    for (const tx of block.transactions) txCodec.encode(w, tx)
  },
  decode: (r) => {
    const header = readHeader(r)
    const count = compactSize.decode(r)
    if (count * MIN_TX_BYTES > r.remaining) throw new DecodeError('truncated', `transactions: count ${count} does not fit`)
    const transactions: Tx[] = []
    for (let i = 0; i < count; i++) transactions.push(txCodec.decode(r))
    return { header, transactions }
  },
}

const toBytes = <T>(codec: Codec<T>, value: T, capacity: number): Uint8Array => {
  const w = new Writer(capacity)
  codec.encode(w, value)
  return w.finish()
}

const fromBytes = <T>(codec: Codec<T>, bytes: Uint8Array): T => {
  const r = new Reader(bytes)
  const value = codec.decode(r)
  r.expectEnd()
  return value
}

/** 80 bytes. */
export const encodeHeader = (header: BlockHeader): Uint8Array => toBytes(headerCodec, header, HEADER_BYTES)
/** Exactly 80 bytes. Throws DecodeError. */
export const decodeHeader = (bytes: Uint8Array): BlockHeader => fromBytes(headerCodec, bytes)
export const encodeBlock = (block: Block): Uint8Array => toBytes(blockCodec, block, blockTotalSize(block))
/** Whole input. Throws DecodeError. No size limit but consensus (checkBlock) applies. */
export const decodeBlock = (bytes: Uint8Array): Block => fromBytes(blockCodec, bytes)

const hashes = new WeakMap<BlockHeader, BlockHash>()

/** Double SHA-256 of the header, display order. */
export const blockHash = (header: BlockHeader): BlockHash => {
  let hash = hashes.get(header)
  if (hash === undefined) {
    hash = blockHashFromBytes(sha256d(encodeHeader(header)))
    hashes.set(header, hash)
  }
  return hash
}

/**
 * Root of the tree over hashes in internal order, and whether two equal neighbours were paired on any level: then a
 * longer list with repeated transactions has the same root, and the list must not be judged by the root (CVE-2012-2459).
 * No leaves: 32 zero bytes.
 */
export const merkleTree = (leaves: readonly Uint8Array[]): { root: Uint8Array; mutated: boolean } => {
  if (leaves.length === 0) return { root: new Uint8Array(32), mutated: false }
  // One piece of memory for all levels, each written over the one below it; room for the copy of a last hash without a neighbour
  const hashes = new Uint8Array(32 * (leaves.length + 1))
  leaves.forEach((leaf, i) => hashes.set(leaf, 32 * i))
  let mutated = false
  for (let count = leaves.length; count > 1; count = (count + 1) >>> 1) {
    if (count % 2 === 1) hashes.copyWithin(32 * count, 32 * (count - 1), 32 * count)
    for (let i = 0; i < count; i += 2) {
      const pair = hashes.subarray(32 * i, 32 * (i + 2))
      if (i + 1 < count && equalBytes(pair.subarray(0, 32), pair.subarray(32))) mutated = true
      hashes.set(sha256d(pair), 16 * i)
    }
  }
  return { root: hashes.slice(0, 32), mutated }
}

/** Root over ids (txids for the header, wtxids for the witness root), as display hex. */
export const merkleRoot = (ids: readonly (Txid | Wtxid)[]): string => hashToHex(merkleTree(ids.map(hashFromHex)).root)

/** Hashes that lead from leaf `index` to the root, internal order, leaf level first. */
export const merkleBranch = (leaves: readonly Uint8Array[], index: number): Uint8Array[] => {
  const branch: Uint8Array[] = []
  let level = [...leaves]
  for (let at = index; level.length > 1; at >>>= 1) {
    branch.push(level[at ^ 1] ?? level[at]!)
    const next: Uint8Array[] = []
    for (let i = 0; i < level.length; i += 2) next.push(sha256d(concat(level[i]!, level[i + 1] ?? level[i]!)))
    level = next
  }
  return branch
}

/**
 * Root implied by a leaf and its branch, or undefined when a node on the left equals its right neighbour: such a branch
 * claims a position that does not exist (the duplicated last leaf), so it proves nothing about the position.
 */
export const merkleRootFromBranch = (leaf: Uint8Array, index: number, branch: readonly Uint8Array[]): Uint8Array | undefined => {
  let hash = leaf
  let at = index
  for (const sibling of branch) {
    const isRight = at % 2 === 1
    if (isRight && sibling.every((byte, i) => byte === hash[i])) return undefined
    hash = sha256d(isRight ? concat(sibling, hash) : concat(hash, sibling))
    at = Math.floor(at / 2)
  }
  return at === 0 ? hash : undefined
}

/** Bytes without any witness. */
export const blockBaseSize = (block: Block): number =>
  block.transactions.reduce((n, tx) => n + txBaseSize(tx), HEADER_BYTES + compactSizeLength(block.transactions.length))

/** Bytes of encodeBlock(block). */
export const blockTotalSize = (block: Block): number =>
  block.transactions.reduce((n, tx) => n + txTotalSize(tx), HEADER_BYTES + compactSizeLength(block.transactions.length))

/** BIP 141 weight. */
export const blockWeight = (block: Block): number => blockBaseSize(block) * 3 + blockTotalSize(block)

/** First bytes of the script of the commitment output: OP_RETURN, push of 36, 0xaa21a9ed. */
const COMMITMENT_PREFIX = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed]

/** Index of the last output of a coinbase that holds a witness commitment, or undefined. */
export const findWitnessCommitmentIndex = (coinbase: Tx): number | undefined => {
  const index = coinbase.outputs.findLastIndex(
    ({ scriptPubKey }) => scriptPubKey.length >= 38 && COMMITMENT_PREFIX.every((byte, at) => scriptPubKey[at] === byte),
  )
  return index < 0 ? undefined : index
}

/** The committed 32 bytes in a coinbase, from its last matching output, or undefined. */
export const findWitnessCommitment = (coinbase: Tx): Uint8Array | undefined => {
  const index = findWitnessCommitmentIndex(coinbase)
  return index === undefined ? undefined : coinbase.outputs[index]!.scriptPubKey.slice(6, 38)
}

/**
 * The 32 bytes that a block with these transactions commits to: the root over wtxids, the coinbase counted as zero,
 * hashed with the reserved value of the coinbase's witness.
 */
export const witnessCommitment = (wtxids: readonly Wtxid[], reservedValue: Uint8Array): Uint8Array => {
  const leaves = wtxids.map((id, i) => (i === 0 ? new Uint8Array(32) : hashFromHex(id)))
  return sha256d(concat(merkleTree(leaves).root, reservedValue))
}

/** Output script that carries a witness commitment. */
export const witnessCommitmentScript = (commitment: Uint8Array): Uint8Array =>
  concat(Uint8Array.from(COMMITMENT_PREFIX), commitment)
