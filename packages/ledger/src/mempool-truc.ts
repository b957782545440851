/**
 * Topologically restricted transactions: version 3, at most one parent or one child unconfirmed, the child small (BIP 431).
 * Bitcoin Core 28.1 policy/truc_policy.cpp. A reorganisation may break the topology: nothing is removed for it.
 */
import { compareBytes } from '@leyden/codec'
import { txid, txidToBytes, wtxid, type Tx } from '@leyden/bitcoin'
import type { MempoolEntry } from './mempool.ts'
import { TRUC_VERSION } from './policy.ts'

const TRUC_MAX_VSIZE = 10_000
const TRUC_CHILD_MAX_VSIZE = 1000
/** Itself and one more, above as below. */
const TRUC_MAX_ANCESTORS = 2
const TRUC_MAX_DESCENDANTS = 2

/** `sibling`: the one other child of its parent, which it may replace although they spend nothing in common. */
export type TrucViolation = { readonly detail: string; readonly sibling?: MempoolEntry }

const isTruc = ({ version }: Tx): boolean => version === TRUC_VERSION
const named = (tx: Tx): string => `${txid(tx)} (wtxid=${wtxid(tx)})`

/** As Bitcoin Core walks them, so that of several wrong ones the same is named: by the bytes of the txid. */
const inOrderOfIds = (entries: ReadonlySet<MempoolEntry>): readonly MempoolEntry[] =>
  [...entries].sort((a, b) => compareBytes(txidToBytes(a.txid), txidToBytes(b.txid)))

const mixed = (tx: Tx, parent: Tx): string | undefined => {
  if (isTruc(tx) === isTruc(parent)) return undefined
  return isTruc(tx)
    ? `version=3 tx ${named(tx)} cannot spend from non-version=3 tx ${named(parent)}`
    : `non-version=3 tx ${named(tx)} cannot spend from version=3 tx ${named(parent)}`
}

const tooManyDescendants = (parent: Tx): string => `tx ${named(parent)} would exceed descendant count limit`
const tooManyAncestors = (tx: Tx): string => `tx ${named(tx)} would have too many ancestors`
const tooBig = (tx: Tx, vsize: number): string =>
  `version=3 tx ${named(tx)} is too big: ${vsize} > ${TRUC_MAX_VSIZE} virtual bytes`
const tooBigChild = (tx: Tx, vsize: number): string =>
  `version=3 child tx ${named(tx)} is too big: ${vsize} > ${TRUC_CHILD_MAX_VSIZE} virtual bytes`

/** One newcomer against what it stands on in the pool. `conflicts` are going to leave if it enters. */
export const checkTruc = (
  tx: Tx,
  vsize: number,
  ancestors: ReadonlySet<MempoolEntry>,
  conflicts: ReadonlySet<MempoolEntry>,
): TrucViolation | undefined => {
  for (const ancestor of inOrderOfIds(ancestors)) {
    const detail = mixed(tx, ancestor.tx)
    if (detail !== undefined) return { detail }
  }
  if (!isTruc(tx)) return undefined
  if (vsize > TRUC_MAX_VSIZE) return { detail: tooBig(tx, vsize) }
  if (ancestors.size + 1 > TRUC_MAX_ANCESTORS) return { detail: tooManyAncestors(tx) }
  const [parent] = ancestors
  if (parent === undefined) return undefined
  if (vsize > TRUC_CHILD_MAX_VSIZE) return { detail: tooBigChild(tx, vsize) }
  const children = [...parent.children]
  if (parent.descendantCount + 1 <= TRUC_MAX_DESCENDANTS || children.some((child) => conflicts.has(child))) return undefined
  const [sibling] = children
  const evictable = parent.descendantCount === 2 && sibling?.ancestorCount === 2
  return { detail: tooManyDescendants(parent.tx), ...(evictable ? { sibling } : {}) }
}

/** One member of a package, parents first, of which all have passed checkTruc alone. What is wrong, or nothing. */
export const checkTrucInPackage = (
  tx: Tx,
  vsize: number,
  transactions: readonly Tx[],
  ancestors: ReadonlySet<MempoolEntry>,
): string | undefined => {
  const spent = new Set(tx.inputs.map(({ outpoint }) => outpoint.txid))
  const parents = transactions.slice(0, transactions.indexOf(tx)).filter((other) => spent.has(txid(other)))
  if (!isTruc(tx)) {
    const restricted = [...ancestors].find((ancestor) => isTruc(ancestor.tx))?.tx ?? parents.find(isTruc)
    return restricted === undefined ? undefined : mixed(tx, restricted)
  }
  if (vsize > TRUC_MAX_VSIZE) return tooBig(tx, vsize)
  if (ancestors.size + parents.length + 1 > TRUC_MAX_ANCESTORS) return tooManyAncestors(tx)
  const [inPool] = ancestors
  const parent = inPool?.tx ?? parents[0]
  if (parent === undefined) return undefined
  if (vsize > TRUC_CHILD_MAX_VSIZE) return tooBigChild(tx, vsize)
  const wrong = mixed(tx, parent)
  if (wrong !== undefined) return wrong
  for (const other of transactions) {
    if (other === tx) continue
    for (const { outpoint } of other.inputs) {
      if (outpoint.txid === txid(parent)) return tooManyDescendants(parent)
      if (outpoint.txid === txid(tx)) return tooManyAncestors(other)
    }
  }
  return inPool !== undefined && inPool.descendantCount > 1 ? tooManyDescendants(parent) : undefined
}
