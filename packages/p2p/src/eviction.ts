/**
 * Which inbound connection gives way to a newcomer when all places are taken. Bitcoin Core node/eviction.cpp: several kinds of
 * merit are protected, each hard to fake for one who wants to fill all places, and of the rest the newest of the most crowded
 * group of addresses goes.
 */

export type EvictionCandidate = {
  readonly id: number
  /** Milliseconds since 1970. */
  readonly connectedAt: number
  /** Milliseconds, infinite when never measured. */
  readonly minPing: number
  /** When it last gave us one that was new, 0 for never. */
  readonly lastBlockAt: number
  readonly lastTransactionAt: number
  readonly servesBlocks: boolean
  readonly relaysTransactions: boolean
  readonly hasBloomFilter: boolean
  /** The group of its address under a secret key: who sits in a protected group cannot be known from outside. */
  readonly keyedGroup: string
  /** Discouraged addresses go first. */
  readonly preferEvict: boolean
  readonly isLocal: boolean
  readonly network: string
}

type Order = (a: EvictionCandidate, b: EvictionCandidate) => number
const flag = (value: boolean): number => (value ? 1 : 0)

/** Better ones last. */
const byGroup: Order = (a, b) => (a.keyedGroup < b.keyedGroup ? -1 : flag(a.keyedGroup > b.keyedGroup))
const byPing: Order = (a, b) => (a.minPing === b.minPing ? 0 : b.minPing - a.minPing)
const byAge: Order = (a, b) => b.connectedAt - a.connectedAt
const byBlock: Order = (a, b) => a.lastBlockAt - b.lastBlockAt || flag(a.servesBlocks) - flag(b.servesBlocks) || byAge(a, b)
const byTransaction: Order = (a, b) =>
  a.lastTransactionAt - b.lastTransactionAt ||
  flag(a.relaysTransactions) - flag(b.relaysTransactions) ||
  flag(b.hasBloomFilter) - flag(a.hasBloomFilter) ||
  byAge(a, b)
const byBlocksOnly: Order = (a, b) =>
  flag(b.relaysTransactions) - flag(a.relaysTransactions) ||
  a.lastBlockAt - b.lastBlockAt ||
  flag(a.servesBlocks) - flag(b.servesBlocks) ||
  byAge(a, b)

/** All but the best `count`, of which only those that `applies` to are spared. */
const withoutBest = (
  candidates: readonly EvictionCandidate[],
  order: Order,
  count: number,
  applies: (candidate: EvictionCandidate) => boolean = () => true,
): EvictionCandidate[] => {
  const sorted = [...candidates].sort(order)
  const border = sorted.length - Math.min(count, sorted.length)
  return sorted.filter((candidate, i) => i < border || !applies(candidate))
}

/** Half of what is left stays by age, half of that reserved for networks that few use. */
const protectByRatio = (candidates: readonly EvictionCandidate[]): EvictionCandidate[] => {
  let left = [...candidates]
  const total = Math.floor(candidates.length / 2)
  const reserved = Math.floor(total / 2)
  const kinds = [
    (one: EvictionCandidate) => one.network === 'cjdns',
    (one: EvictionCandidate) => one.network === 'i2p',
    (one: EvictionCandidate) => one.isLocal,
    (one: EvictionCandidate) => one.network === 'onion',
  ]
    .map((belongs) => ({ belongs, count: candidates.filter(belongs).length }))
    .sort((a, b) => a.count - b.count)
  let spared = 0
  while (spared < reserved) {
    const present = kinds.filter(({ count }) => count > 0)
    if (present.length === 0) break
    const each = Math.max(1, Math.floor((reserved - spared) / present.length))
    const before = spared
    for (const kind of present) {
      const rest = withoutBest(left, (a, b) => flag(kind.belongs(a)) - flag(kind.belongs(b)) || byAge(a, b), each, kind.belongs)
      const delta = left.length - rest.length
      left = rest
      spared += delta
      kind.count -= delta
      if (spared >= reserved) break
    }
    if (spared === before) break
  }
  return withoutBest(left, byAge, total - spared)
}

/** The one to close; undefined when all are protected. Candidates are inbound and without the noban permission. */
export const selectToEvict = (candidates: readonly EvictionCandidate[]): number | undefined => {
  let left = withoutBest(candidates, byGroup, 4)
  left = withoutBest(left, byPing, 8)
  left = withoutBest(left, byTransaction, 4)
  left = withoutBest(left, byBlocksOnly, 8, (one) => !one.relaysTransactions && one.servesBlocks)
  left = withoutBest(left, byBlock, 4)
  left = protectByRatio(left)
  if (left.some(({ preferEvict }) => preferEvict)) left = left.filter(({ preferEvict }) => preferEvict)
  const groups = new Map<string, EvictionCandidate[]>()
  for (const candidate of [...left].sort(byAge))
    groups.set(candidate.keyedGroup, [...(groups.get(candidate.keyedGroup) ?? []), candidate])
  let crowded: readonly EvictionCandidate[] = []
  for (const group of groups.values()) {
    const newest = group[0]?.connectedAt ?? 0
    if (group.length > crowded.length || (group.length === crowded.length && newest > (crowded[0]?.connectedAt ?? 0)))
      crowded = group
  }
  return crowded[0]?.id
}
