/**
 * Sets that forget: two generations, and when the newer is full the older goes at once, so that the last `max` members at least are
 * known. One keeps its members; the other keeps bits (a Bloom filter, as Bitcoin Core's rolling ones), so that what a peer may make us
 * remember costs the same whatever it sends, and takes a stranger for a member once in a million.
 */
export interface Recent {
  /** Members taken in, never more than twice `max`. */
  readonly size: number
  has(member: string): boolean
  add(member: string): void
  clear(): void
}

/** Exact. */
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

/** For one false member in a million: so many bits for each, and so many of them set. */
const BITS_PER_MEMBER = 29
const HASHES = 20

type Generation = { readonly bits: Uint8Array; count: number }

/** Two hashes of a text under a secret: nobody outside can make members collide. FNV-1a's steps. */
const hashOf = (text: string, seed: number): number => {
  let hash = (0x811c_9dc5 ^ seed) >>> 0
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x0100_0193)
  hash ^= hash >>> 15
  hash = Math.imul(hash, 0x2c1b_3c6d)
  hash ^= hash >>> 13
  return hash >>> 0
}

/** In constant memory. `random` uniform in [0, 1). */
export const createRecentFilter = (max: number, random: () => number): Recent => {
  const bytes = Math.ceil((max * BITS_PER_MEMBER) / 8)
  const bits = bytes * 8
  const seeds = [Math.floor(random() * 2 ** 32), Math.floor(random() * 2 ** 32)] as const
  // Made when the first member comes: most peers never have one.
  let newer: Generation | undefined
  let older: Generation | undefined
  const places = (member: string): number[] => {
    const first = hashOf(member, seeds[0])
    const second = (hashOf(member, seeds[1]) | 1) >>> 0
    return Array.from({ length: HASHES }, (_, i) => (first + i * second + i * i) % bits)
  }
  const holds = (generation: Generation | undefined, at: readonly number[]): boolean =>
    generation !== undefined && at.every((bit) => ((generation.bits[bit >> 3] as number) & (1 << (bit & 7))) !== 0)
  return {
    get size() {
      return (newer?.count ?? 0) + (older?.count ?? 0)
    },
    has(member) {
      if (newer === undefined && older === undefined) return false
      const at = places(member)
      return holds(newer, at) || holds(older, at)
    },
    add(member) {
      newer ??= { bits: new Uint8Array(bytes), count: 0 }
      const at = places(member)
      if (holds(newer, at)) return
      for (const bit of at) newer.bits[bit >> 3] = (newer.bits[bit >> 3] as number) | (1 << (bit & 7))
      newer.count++
      if (newer.count < max) return
      older = newer
      newer = undefined
    },
    clear() {
      newer = undefined
      older = undefined
    },
  }
}
