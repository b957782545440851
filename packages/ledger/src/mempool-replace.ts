/**
 * Replacement: what a newcomer, or a parent with its child, must pay to take the place of what spends the same outputs.
 * Bitcoin Core 28.1 policy/rbf.cpp, validation.cpp (ReplacementChecks, PackageMempoolChecks), txmempool.cpp (CalculateChunksForRBF).
 * BIP 125 rules 2 to 5, a better rate than each that is replaced directly, and for packages a better fee rate diagram.
 */
import { txid, type Tx, type Txid } from '@leyden/bitcoin'
import { amountText, feeForVsize, feeratePerKvb, feerateText } from './fee-rate.ts'
import { byTxid, withDescendants, type Mempool, type MempoolEntry } from './mempool.ts'
import { rejection, type Rejection } from './violation.ts'

const MAX_REPLACED = 100

/** Who wants to enter: `modifiedFee` and `vsize` are those of all of them together. */
export type Replacement = {
  /** The one that errors are told of. */
  readonly tx: Tx
  readonly modifiedFee: bigint
  readonly vsize: number
  /** What spends the same outputs. */
  readonly conflicts: ReadonlySet<MempoolEntry>
}

const countProblem = ({ tx, conflicts }: Replacement): string | undefined => {
  let count = 0
  for (const rival of byTxid(conflicts)) {
    count += rival.descendantCount
    if (count > MAX_REPLACED)
      return `rejecting replacement ${txid(tx)}; too many potential replacements (${count} > ${MAX_REPLACED})\n`
  }
  return undefined
}

const feeProblem = (pool: Mempool, { tx, modifiedFee, vsize }: Replacement, lost: bigint): string | undefined => {
  if (modifiedFee < lost)
    return `rejecting replacement ${txid(tx)}, less fees than conflicting txs; ${amountText(modifiedFee)} < ${amountText(lost)}`
  const step = feeForVsize(pool.policy.incrementalFeeratePerKvb, vsize)
  if (modifiedFee - lost < step)
    return `rejecting replacement ${txid(tx)}, not enough additional fees to relay; ${amountText(modifiedFee - lost)} < ${amountText(step)}`
  return undefined
}

const newUnconfirmed = (pool: Mempool, tx: Tx, replaced: ReadonlySet<MempoolEntry>): string | undefined => {
  const before = new Set<Txid>()
  for (const rival of replaced) for (const { outpoint } of rival.tx.inputs) before.add(outpoint.txid)
  const at = tx.inputs.findIndex(({ outpoint }) => !before.has(outpoint.txid) && pool.entries.has(outpoint.txid))
  return at < 0 ? undefined : `replacement ${txid(tx)} adds unconfirmed input, idx ${at}`
}

const feesOf = (entries: Iterable<MempoolEntry>): bigint => {
  let fees = 0n
  for (const { modifiedFee } of entries) fees += modifiedFee
  return fees
}

/** All that one newcomer pushes out, or why it may not. `siblingEviction`: one of the conflicts is a sibling (mempool-truc.ts). */
export const checkReplacement = (
  pool: Mempool,
  replacement: Replacement,
  siblingEviction: boolean,
): ReadonlySet<MempoolEntry> | Rejection => {
  const { tx, modifiedFee, vsize, conflicts } = replacement
  const note = siblingEviction ? ' (including sibling eviction)' : ''
  const rate = feeratePerKvb(modifiedFee, vsize)
  for (const rival of byTxid(conflicts)) {
    const rivalRate = feeratePerKvb(rival.modifiedFee, rival.vsize)
    if (rate > rivalRate) continue
    const detail = `rejecting replacement ${txid(tx)}; new feerate ${feerateText(rate)} <= old feerate ${feerateText(rivalRate)}`
    return rejection('fee', `insufficient fee${note}`, detail)
  }
  const tooMany = countProblem(replacement)
  if (tooMany !== undefined) return rejection('policy', `too many potential replacements${note}`, tooMany)
  const replaced = withDescendants(conflicts)
  const unconfirmed = newUnconfirmed(pool, tx, replaced)
  if (unconfirmed !== undefined) return rejection('policy', `replacement-adds-unconfirmed${note}`, unconfirmed)
  const poor = feeProblem(pool, replacement, feesOf(replaced))
  return poor === undefined ? replaced : rejection('fee', `insufficient fee${note}`, poor)
}

/** A part of the mempool that is mined as one. */
type Chunk = { readonly fee: bigint; readonly vsize: number }

/** Higher rate first. */
const byRate = (a: Chunk, b: Chunk): number => {
  const difference = b.fee * BigInt(a.vsize) - a.fee * BigInt(b.vsize)
  return difference < 0n ? -1 : difference > 0n ? 1 : a.vsize - b.vsize
}

/** What keeps a conflict from being one of at most two linked transactions, the only shape whose chunks are known at once. */
const topologyProblem = (conflict: MempoolEntry): string | undefined => {
  const { ancestorCount, descendantCount, txid: id } = conflict
  if (ancestorCount > 2) return `${id} has ${ancestorCount - 1} ancestors, max 1 allowed`
  if (descendantCount > 2) return `${id} has ${descendantCount - 1} descendants, max 1 allowed`
  if (ancestorCount > 1 && descendantCount > 1) return `${id} has both ancestor and descendant, exceeding cluster limit of 2`
  const [child] = conflict.children
  if (child !== undefined && child.ancestorCount > 2) return `${id} is not the only parent of child ${child.txid}`
  const [parent] = conflict.parents
  if (parent !== undefined && parent.descendantCount > 2) return `${id} is not the only child of parent ${parent.txid}`
  return undefined
}

const chunksBefore = (replaced: ReadonlySet<MempoolEntry>): Chunk[] => {
  const chunks: Chunk[] = []
  for (const entry of replaced) {
    if (entry.descendantCount > 1) continue // counted with its child
    const alone = { fee: entry.modifiedFee, vsize: entry.vsize }
    const whole = { fee: entry.ancestorFee, vsize: entry.ancestorVsize }
    if (entry.ancestorCount === 1) chunks.push(alone)
    else if (alone.fee * BigInt(whole.vsize) > whole.fee * BigInt(alone.vsize)) chunks.push(whole)
    else chunks.push({ fee: whole.fee - alone.fee, vsize: whole.vsize - alone.vsize }, alone)
  }
  return chunks.sort(byRate)
}

/** Fees that the chunks, best first, bring within so many virtual bytes, as a fraction over `scale`. */
type Point = { readonly vsize: number; readonly fee: bigint }

const diagram = (chunks: readonly Chunk[]): Point[] => {
  const points: Point[] = [{ vsize: 0, fee: 0n }]
  let at: Point = { vsize: 0, fee: 0n }
  for (const { fee, vsize } of chunks) {
    at = { vsize: at.vsize + vsize, fee: at.fee + fee }
    points.push(at)
  }
  return points
}

/** -1, 0 or 1: whether the diagram is below, on or above the point. Beyond its end a diagram runs flat. */
const sideOf = (points: readonly Point[], { vsize, fee }: Point): -1 | 0 | 1 => {
  const right = points.findIndex((point) => point.vsize >= vsize)
  const end = points.at(-1) as Point
  const b = right < 0 ? end : (points[right] as Point)
  const a = right <= 0 ? b : (points[right - 1] as Point)
  const width = BigInt(b.vsize - a.vsize)
  // Height of the diagram at `vsize`, times `width`, against `fee` times `width`.
  const height = width === 0n ? b.fee : a.fee * width + (b.fee - a.fee) * BigInt(vsize - a.vsize)
  const other = width === 0n ? fee : fee * width
  return height < other ? -1 : height > other ? 1 : 0
}

/** Whether `after` is nowhere below `before` and somewhere above it. */
export const improvesDiagram = (before: readonly Chunk[], after: readonly Chunk[]): boolean => {
  const old = diagram(before)
  const fresh = diagram(after)
  let better = false
  for (const point of old) {
    const side = sideOf(fresh, point)
    if (side < 0) return false
    if (side > 0) better = true
  }
  for (const point of fresh) {
    const side = sideOf(old, point)
    if (side > 0) return false
    if (side < 0) better = true
  }
  return better
}

export type PackageReplacement = Replacement & {
  /** Of the parent alone. */
  readonly parentFee: bigint
  readonly parentVsize: number
}

/** All that a parent with its child, neither of them on anything in the pool, push out; or why they may not: reason and detail. */
export const checkPackageReplacement = (
  pool: Mempool,
  replacement: PackageReplacement,
): ReadonlySet<MempoolEntry> | { readonly reason: string; readonly detail: string } => {
  const { modifiedFee, vsize, parentFee, parentVsize, conflicts } = replacement
  const no = (reason: string, detail: string) => ({ reason: `package RBF failed: ${reason}`, detail })
  const tooMany = countProblem(replacement)
  if (tooMany !== undefined) return no('too many potential replacements', tooMany)
  const replaced = withDescendants(conflicts)
  const poor = feeProblem(pool, replacement, feesOf(replaced))
  if (poor !== undefined) return no('insufficient anti-DoS fees', poor)
  const rate = feeratePerKvb(modifiedFee, vsize)
  const parentRate = feeratePerKvb(parentFee, parentVsize)
  if (rate <= parentRate)
    return no(
      'package feerate is less than or equal to parent feerate',
      `package feerate ${feerateText(rate)} <= parent feerate is ${feerateText(parentRate)}`,
    )
  for (const conflict of byTxid(conflicts)) {
    const problem = topologyProblem(conflict)
    if (problem !== undefined) return no(problem, '')
  }
  const after: Chunk[] = [{ fee: modifiedFee, vsize }]
  for (const { parents } of conflicts) {
    const [parent] = parents
    if (parent !== undefined && !replaced.has(parent)) after.push({ fee: parent.modifiedFee, vsize: parent.vsize })
  }
  if (!improvesDiagram(chunksBefore(replaced), after.sort(byRate)))
    return no('insufficient feerate: does not improve feerate diagram', '')
  return replaced
}
