/**
 * Seeded randomness: xoshiro128** (Blackman and Vigna), seeded through splitmix32. 32-bit integer arithmetic only, so every machine
 * and browser gives the same sequence. For simulation and tests; never for a secret.
 */
import type { Random } from '../ports.ts'

export interface SeededRandom extends Random {
  /** The next 32 bits, unsigned. */
  u32(): number
  /** An integer from 0 to `count` - 1; `count` from 1 to 2^32. */
  below(count: number): number
  /** True `share` of the time (0 to 1). */
  chance(share: number): boolean
  /** One of the items; there must be one. */
  pick<T>(items: readonly T[]): T
  /** An independent sequence. The same name on the same sequence at the same point gives the same one. */
  fork(name: string): SeededRandom
}

const rotateLeft = (x: number, bits: number): number => (x << bits) | (x >>> (32 - bits))

/** splitmix32: spreads any seed over the whole state. */
const splitmix = (seed: number): (() => number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x9e3779b9) >>> 0
    let z = state
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
    return (z ^ (z >>> 15)) >>> 0
  }
}

/** FNV-1a of the UTF-16 units, 32 bits. */
const hashText = (text: string): number => {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash >>> 0
}

/** The sequence of a seed (an integer; its low 32 bits count). */
export const seededRandom = (seed: number): SeededRandom => {
  const fill = splitmix(seed)
  let [a, b, c, d] = [fill(), fill(), fill(), fill()]
  const u32 = (): number => {
    const result = Math.imul(rotateLeft(Math.imul(b, 5), 7), 9) >>> 0
    const t = b << 9
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= t
    d = rotateLeft(d, 11)
    return result
  }
  const below = (count: number): number => {
    if (!Number.isInteger(count) || count < 1 || count > 0x1_0000_0000) throw new RangeError(`no integer below ${count}`)
    const limit = 0x1_0000_0000 - (0x1_0000_0000 % count)
    for (;;) {
      const draw = u32()
      if (draw < limit) return draw % count
    }
  }
  return {
    u32,
    below,
    chance: (share) => u32() < share * 0x1_0000_0000,
    pick: (items) => {
      if (items.length === 0) throw new RangeError('nothing to pick from')
      return items[below(items.length)] as (typeof items)[number]
    },
    bytes: (length) => Uint8Array.from({ length }, () => u32() & 0xff),
    fork: (name) => seededRandom(u32() ^ hashText(name)),
  }
}
