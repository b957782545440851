/**
 * A set that forgets. Two generations: when the newer is full the older goes at once, so that the last `max` members at least are
 * known and twice as many at most are held. Bitcoin Core uses rolling Bloom filters to the same end; this one has no false positives.
 */
export interface Recent {
  /** Members held, never more than twice `max`. */
  readonly size: number
  has(member: string): boolean
  add(member: string): void
  clear(): void
}

export const createRecent = (max: number): Recent => {
  let newer = new Set<string>()
  let older = new Set<string>()
  return {
    get size() {
      return newer.size + older.size
    },
    has: (member) => newer.has(member) || older.has(member),
    add(member) {
      newer.add(member)
      if (newer.size < max) return
      older = newer
      newer = new Set()
    },
    clear() {
      newer = new Set()
      older = new Set()
    },
  }
}
