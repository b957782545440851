/**
 * Proofs that transactions are in a block: a header and the part of its merkle tree that leads to them. BIP 37 § Partial Merkle branch
 * format; Bitcoin Core merkleblock.cpp. The tree is walked depth first, a bit for each node: whether a wanted leaf is below.
 */
import { compactSize, concat, DecodeError, equalBytes, Reader, Writer } from '@leyden/codec'
import { sha256d } from '@leyden/crypto'
import { headerCodec, merkleTree, type Block, type BlockHeader } from './block.ts'
import { hashFromHex, txidFromBytes, type Txid } from './ids.ts'
import { txid } from './tx.ts'

/** A block of the greatest weight holds no more transactions of the least (60 bytes without witness). */
const MAX_TRANSACTIONS = 4_000_000 / 240

const widthAt = (count: number, height: number): number => Math.ceil(count / 2 ** height)

const heightOf = (count: number): number => {
  let height = 0
  while (widthAt(count, height) > 1) height++
  return height
}

/** Bytes of a `merkleblock`: the header, and the branches to the given transactions. Those that the block has not are left out. */
export const encodeMerkleProof = (block: Block, wanted: ReadonlySet<Txid>): Uint8Array => {
  const ids = block.transactions.map(txid)
  const leaves = ids.map(hashFromHex)
  const bits: boolean[] = []
  const hashes: Uint8Array[] = []
  const walk = (height: number, at: number): void => {
    const from = at * 2 ** height
    const to = Math.min(ids.length, from + 2 ** height)
    const leads = ids.slice(from, to).some((id) => wanted.has(id))
    bits.push(leads)
    if (height === 0 || !leads) {
      hashes.push(nodeHash(leaves.slice(from, to), height))
      return
    }
    walk(height - 1, at * 2)
    if (at * 2 + 1 < widthAt(ids.length, height - 1)) walk(height - 1, at * 2 + 1)
  }
  walk(heightOf(ids.length), 0)
  const w = new Writer()
  headerCodec.encode(w, block.header)
  w.u32le(ids.length)
  compactSize.encode(w, hashes.length)
  for (const hash of hashes) w.bytes(hash)
  const packed = new Uint8Array(Math.ceil(bits.length / 8))
  bits.forEach((bit, i) => {
    if (bit) packed[i >> 3]! |= 1 << (i & 7)
  })
  compactSize.encode(w, packed.length)
  w.bytes(packed)
  return w.finish()
}

/** Hash of the node at `height` over these leaves; where the last are missing the branch hangs on itself up to that height. */
const nodeHash = (leaves: readonly Uint8Array[], height: number): Uint8Array => {
  let hash = merkleTree(leaves).root
  for (let reached = heightOf(leaves.length); reached < height; reached++) hash = sha256d(concat(hash, hash))
  return hash
}

/** What a proof says: it holds only when `header` is that of a block of `count` transactions on the chain. */
export type MerkleProof = { readonly header: BlockHeader; readonly count: number; readonly txids: readonly Txid[] }

/** The proof when its branches lead to the header's merkle root, else undefined. Throws DecodeError on bytes of another form. */
export const decodeMerkleProof = (bytes: Uint8Array): MerkleProof | undefined => {
  const r = new Reader(bytes)
  const header = headerCodec.decode(r)
  const count = r.u32le()
  const hashCount = compactSize.decode(r)
  if (hashCount * 32 > r.remaining) throw new DecodeError('truncated', 'merkle proof: hashes')
  const hashes = Array.from({ length: hashCount }, () => r.bytes(32))
  const packed = r.bytes(compactSize.decode(r))
  r.expectEnd()
  if (count === 0 || count > MAX_TRANSACTIONS || hashCount > count || packed.length * 8 < hashCount) return undefined
  const found: Uint8Array[] = []
  let [bit, used] = [0, 0]
  let broken = false
  const walk = (height: number, at: number): Uint8Array => {
    const byte = packed[bit >> 3]
    if (byte === undefined) {
      broken = true
      return new Uint8Array(32)
    }
    const leads = ((byte >> (bit++ & 7)) & 1) === 1
    if (height === 0 || !leads) {
      const hash = hashes[used++]
      if (hash === undefined) broken = true
      else if (height === 0 && leads) found.push(hash)
      return hash ?? new Uint8Array(32)
    }
    const left = walk(height - 1, at * 2)
    if (at * 2 + 1 >= widthAt(count, height - 1)) return sha256d(concat(left, left))
    const right = walk(height - 1, at * 2 + 1)
    // Two equal neighbours claim a leaf that does not exist (CVE-2012-2459).
    if (equalBytes(left, right)) broken = true
    return sha256d(concat(left, right))
  }
  const root = walk(heightOf(count), 0)
  const complete = !broken && used === hashes.length && Math.ceil(bit / 8) === packed.length
  if (!complete || !equalBytes(root, hashFromHex(header.merkleRoot))) return undefined
  return { header, count, txids: found.map(txidFromBytes) }
}
