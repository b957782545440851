/**
 * Taproot outputs with scripts: hashes of leaves and branches, the tree, control blocks. BIP 341, BIP 342.
 * Tweaking keys is crypto's; spending is interpreter.ts. A key without scripts needs none of this: crypto's taprootTweakPoint.
 */
import { compactSize, compareBytes, concat, encode } from '@leyden/codec'
import { taggedHash, taprootTweakPoint } from '@leyden/crypto'
import { p2tr } from './script.ts'

/** BIP 342. */
export const TAPSCRIPT_LEAF_VERSION = 0xc0

/** `leafVersion` is even; left out it is that of tapscript. */
export type TapLeaf = { readonly script: Uint8Array; readonly leafVersion?: number }
export type TapTree = TapLeaf | readonly [TapTree, TapTree]

/** BIP 341: hash of a leaf of the script tree. */
export const tapLeafHash = (script: Uint8Array, leafVersion: number = TAPSCRIPT_LEAF_VERSION): Uint8Array =>
  taggedHash('TapLeaf', Uint8Array.of(leafVersion), encode(compactSize, script.length), script)

/** BIP 341: hash of a branch; the order of the two does not matter. */
export const tapBranchHash = (a: Uint8Array, b: Uint8Array): Uint8Array =>
  compareBytes(a, b) < 0 ? taggedHash('TapBranch', a, b) : taggedHash('TapBranch', b, a)

/** Bytes of the control block of a leaf: its version and parity, the internal key, the path from the leaf up. */
export const controlBlock = (
  internalKey: Uint8Array,
  parity: 0 | 1,
  path: readonly Uint8Array[],
  leafVersion: number = TAPSCRIPT_LEAF_VERSION,
): Uint8Array => concat(Uint8Array.of(leafVersion | parity), internalKey, ...path)

/** One way to spend an output by script. Its witness: the script's arguments, `script`, `controlBlock`. */
export type TapSpend = {
  readonly script: Uint8Array
  readonly leafVersion: number
  readonly leafHash: Uint8Array
  readonly controlBlock: Uint8Array
}

type Walked = { readonly leaf: TapLeaf; readonly hash: Uint8Array; readonly path: readonly Uint8Array[] }

const isLeaf = (tree: TapTree): tree is TapLeaf => 'script' in tree

const walk = (tree: TapTree): { hash: Uint8Array; leaves: readonly Walked[] } => {
  if (isLeaf(tree)) {
    const hash = tapLeafHash(tree.script, tree.leafVersion)
    return { hash, leaves: [{ leaf: tree, hash, path: [] }] }
  }
  const left = walk(tree[0])
  const right = walk(tree[1])
  const under = (side: { leaves: readonly Walked[] }, sibling: Uint8Array): Walked[] =>
    side.leaves.map((one) => ({ ...one, path: [...one.path, sibling] }))
  return { hash: tapBranchHash(left.hash, right.hash), leaves: [...under(left, right.hash), ...under(right, left.hash)] }
}

/** Root over a tree of scripts, 32 bytes. */
export const tapTreeRoot = (tree: TapTree): Uint8Array => walk(tree).hash

/** Output of an internal key (x-only) and a tree: its script, its key, and a spend for each leaf from left to right. */
export const taprootOutput = (
  internalKey: Uint8Array,
  tree?: TapTree,
): {
  readonly scriptPubKey: Uint8Array
  readonly outputKey: Uint8Array
  readonly parity: 0 | 1
  readonly merkleRoot: Uint8Array | undefined
  readonly spends: readonly TapSpend[]
} => {
  const walked = tree === undefined ? undefined : walk(tree)
  const { xonly, parity } = taprootTweakPoint(internalKey, walked?.hash)
  const spends = (walked?.leaves ?? []).map(({ leaf, hash, path }) => {
    const leafVersion = leaf.leafVersion ?? TAPSCRIPT_LEAF_VERSION
    return {
      script: leaf.script,
      leafVersion,
      leafHash: hash,
      controlBlock: controlBlock(internalKey, parity, path, leafVersion),
    }
  })
  return { scriptPubKey: p2tr(xonly), outputKey: xonly, parity, merkleRoot: walked?.hash, spends }
}
