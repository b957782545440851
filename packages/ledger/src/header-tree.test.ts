import { describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { blockHash, BlockHash, networks, type BlockHeader } from '@leyden/bitcoin'
import {
  addHeader,
  ancestorAt,
  bestHeader,
  bestStored,
  descendsFrom,
  failureOf,
  forkPoint,
  leaves,
  locator,
  medianTimePast,
  pardonOf,
  placeHeader,
  planReorg,
  type HeaderEntry,
} from './header-tree.ts'
import { findNonce } from './miner.ts'
import { mine, place, toyChain, type ToyChain } from './testing.ts'
import { isViolation } from './violation.ts'

/** A tree of headers: each number says on which of the headers so far the next one stands. */
const plant = (picks: readonly number[]): { chain: ToyChain; entries: HeaderEntry[] } => {
  const chain = toyChain()
  const entries = [chain.tree.genesis]
  for (const pick of picks) {
    const parent = entries[pick % entries.length]!
    const entry = place(chain, mine(chain, [], { parent }))
    entry.stored = true
    entry.order = entries.length
    entries.push(entry)
  }
  return { chain, entries }
}
const picks = fc.array(fc.nat(1000), { maxLength: 40 })
const walkTo = (entry: HeaderEntry, height: number): HeaderEntry => {
  let at = entry
  while (at.height > height) at = at.parent!
  return at
}

describe('the tree', () => {
  it('finds every ancestor that a walk finds', () => {
    fc.assert(
      fc.property(picks, ([...list]) => {
        const { entries } = plant(list.map((pick, i) => (pick % 3 === 0 ? pick : i)))
        for (const entry of entries)
          for (let height = 0; height <= entry.height; height++) expect(ancestorAt(entry, height)).toBe(walkTo(entry, height))
      }),
      { numRuns: 20 },
    )
  })

  it('plans a way between any two tips: down to where they part, then up', () => {
    fc.assert(
      fc.property(picks, fc.nat(1000), fc.nat(1000), (list, a, b) => {
        const { entries } = plant(list)
        const [from, to] = [entries[a % entries.length]!, entries[b % entries.length]!]
        const { fork, disconnect, connect } = planReorg(from, to)
        expect(forkPoint(from, to)).toBe(fork)
        let at = from
        for (const entry of disconnect) {
          expect(entry).toBe(at)
          at = at.parent!
        }
        expect(at).toBe(fork)
        for (const entry of connect) {
          expect(entry.parent).toBe(at)
          at = entry
        }
        expect(at).toBe(to)
        expect(disconnect.filter((entry) => descendsFrom(to, entry))).toEqual([])
      }),
      { numRuns: 50 },
    )
  })

  it('prefers more work, and of equal work what came first', () => {
    const { chain, entries } = plant([0, 0, 1, 2])
    expect(bestStored(chain.tree)).toBe(entries[3])
    entries[3]!.order = 9
    expect(bestStored(chain.tree)).toBe(entries[4])
    entries[4]!.stored = false
    expect(bestStored(chain.tree)).toBe(entries[3])
    const longer = place(chain, mine(chain, [], { parent: entries[4]! }))
    expect(bestHeader(chain.tree)).toBe(longer)
    expect(leaves(chain.tree)).toEqual([entries[3], longer])
  })

  it('marks what stands on a bad block, and pardons it again', () => {
    const { chain, entries } = plant([0, 1, 2, 1])
    for (const [entry, failed] of failureOf(chain.tree, entries[2]!)) entry.failed = failed
    expect(entries.map(({ failed }) => failed)).toEqual(['none', 'none', 'self', 'ancestor', 'none'])
    expect(bestStored(chain.tree)).toBe(entries[4])
    const child = mine(chain, [], { parent: entries[3]! })
    expect(placeHeader(chain.tree, child.header, child.header.time)).toMatchObject({ reason: 'bad-prevblk' })
    for (const [entry, failed] of pardonOf(chain.tree, entries[3]!)) entry.failed = failed
    expect(entries.every(({ failed }) => failed === 'none')).toBe(true)
    expect(bestStored(chain.tree)).toBe(entries[3])
  })

  it('gives a locator that begins at the entry, thins out and ends at genesis', () => {
    const { chain, entries } = plant(Array.from({ length: 40 }, (_, i) => i))
    const hashes = locator(entries.at(-1)!)
    const heights = hashes.map((hash) => chain.tree.entries.get(hash)!.height)
    expect(heights.slice(0, 12)).toEqual([40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 28])
    expect(heights.at(-1)).toBe(0)
  })

  it('takes the median of the last eleven times (BIP 113)', () => {
    const chain = toyChain()
    const genesis = chain.tree.genesis.header.time
    const spans = [5000, 100, 4000, 3000, 6000]
    for (const span of spans) chain.tip = place(chain, mine(chain, [], { now: genesis + span }))
    const times = [0, ...spans].map((_, height) => ancestorAt(chain.tip, height)!.header.time).sort((a, b) => a - b)
    expect(medianTimePast(chain.tip)).toBe(times[3])
  })
})

describe('a header', () => {
  const chain = toyChain()
  chain.tip = place(chain, mine(chain))
  const now = chain.tip.header.time + 10_000
  const judge = (change: Partial<BlockHeader>, work = true): string => {
    const block = mine(chain, [], { now })
    const header = { ...block.header, ...change }
    const worked = work ? findNonce({ ...block, header })!.header : header
    const answer = placeHeader(chain.tree, worked, now)
    return isViolation(answer) ? answer.reason : 'ok'
  }

  it('is placed when it follows the rules', () => expect(judge({})).toBe('ok'))
  it('needs a parent that we know', () => expect(judge({ previousHash: BlockHash('11'.repeat(32)) })).toBe('prev-blk-not-found'))
  it('needs its work', () => {
    const block = mine(chain, [], { now })
    const idle = Array.from({ length: 100 }, (_, nonce) => ({ ...block.header, nonce })).find(
      (header) => BigInt(`0x${blockHash(header)}`) > networks.regtest.powLimit,
    )!
    expect(placeHeader(chain.tree, idle, now)).toMatchObject({ reason: 'high-hash' })
    // Nobody is asked about a parent for free.
    const orphan = Array.from({ length: 100 }, (_, nonce) => ({ ...idle, previousHash: BlockHash('11'.repeat(32)), nonce })).find(
      (header) => BigInt(`0x${blockHash(header)}`) > networks.regtest.powLimit,
    )!
    expect(placeHeader(chain.tree, orphan, now)).toMatchObject({ reason: 'high-hash' })
  })
  it('needs the right difficulty', () => expect(judge({ bits: 0x207ffffe })).toBe('bad-diffbits'))
  it('must be later than the median of the past', () => expect(judge({ time: medianTimePast(chain.tip) })).toBe('time-too-old'))
  it('must not be more than two hours ahead', () => expect(judge({ time: now + 7201 })).toBe('time-too-new'))
  it('must have a version of today (BIP 34, 65, 66)', () => {
    expect(judge({ version: 1 })).toBe('bad-version(0x00000001)')
    expect(judge({ version: 3 })).toBe('bad-version(0x00000003)')
    expect(judge({ version: 4 })).toBe('ok')
  })
  it('is known when it comes again', () => {
    const block = mine(chain, [], { now })
    const entry = place(chain, block)
    expect(placeHeader(chain.tree, block.header, now)).toBe(entry)
    entry.failed = 'self'
    expect(placeHeader(chain.tree, block.header, now)).toMatchObject({ reason: 'duplicate' })
    addHeader(chain.tree, entry)
  })
})
