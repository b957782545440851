import { beforeEach, describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { buildScript, OP, outpointKey, p2wshOf, Sat, txid, wtxid, type Outpoint, type Tx } from '@leyden/bitcoin'
import { acceptPackage, testTogether } from './accept-package.ts'
import { acceptTransaction } from './accept.ts'
import { minFeeratePerKvb, trimMempool } from './mempool-room.ts'
import {
  inOrder,
  linkChildren,
  prioritise,
  removeForBlock,
  withAncestors,
  withDescendants,
  type Mempool,
  type MempoolEntry,
  type MempoolListener,
} from './mempool.ts'
import type { MempoolPolicy } from './policy.ts'
import { grow, NOW, outputOf, pay, told, toyChain, toyPool, TRUE_SCRIPT, type ToyChain, type ToyPool } from './testing.ts'

const SUBSIDY = 5_000_000_000n

let toy: ToyPool
let chain: ToyChain
let pool: Mempool
/** Coinbases that may be spent. */
let ripe: readonly Tx[]
const context: ToyPool['context'] = (transactions, extra) => toy.context(transactions, extra)
const judge: ToyPool['judge'] = (tx, extra) => toy.judge(tx, extra)
const add: ToyPool['add'] = (tx, extra) => toy.add(tx, extra)
const entryOf: ToyPool['entryOf'] = (tx) => toy.entryOf(tx)
const spend: ToyPool['spend'] = (...args) => toy.spend(...args)
const chainOn: ToyPool['on'] = (...args) => toy.on(...args)
const ids = (): string[] => inOrder(pool.entries.values()).map((entry) => entry.txid)
/** Begins again with an empty pool. */
const begin = (policy: Partial<MempoolPolicy> = {}): void => {
  toy = toyPool(base, baseCoinbases, policy)
  ;({ chain, pool } = toy)
}

const base = toyChain()
const baseCoinbases = grow(base, 140)
beforeEach(() => {
  begin()
  ripe = baseCoinbases.slice(0, 41)
})

describe('a transaction', () => {
  it('enters when it is valid in the next block and pays its way', () => {
    const tx = add(spend(0, 1000))
    expect(ids()).toEqual([txid(tx)])
    expect(pool.entries.get(txid(tx))).toMatchObject({ fee: 1000n, height: 140, time: NOW })
    expect(pool.vsize).toBe(pool.entries.get(txid(tx))!.vsize)
    expect(pool.fees).toBe(1000n)
  })

  it('must be well formed', () => {
    expect(judge({ ...spend(0, 1000), outputs: [] })).toBe('bad-txns-vout-empty')
    const outpoint = outputOf(ripe[0]!)
    expect(judge(pay([outpoint, outpoint], [1000n]))).toBe('bad-txns-inputs-duplicate')
    expect(judge(ripe[0]!)).toBe('coinbase')
  })

  it('must be standard in form', () => {
    expect(judge(spend(0, 1000, { version: 4 }))).toBe('version')
    expect(judge(spend(0, 1000, { version: 0 }))).toBe('version')
    expect(judge(spend(0, 1000, { scriptPubKey: buildScript(OP.OP_TRUE) }))).toBe('scriptpubkey')
    const withScriptSig = (scriptSig: Uint8Array): Tx => {
      const tx = spend(0, 1000)
      return { ...tx, inputs: [{ ...tx.inputs[0]!, scriptSig }] }
    }
    expect(judge(withScriptSig(buildScript(OP.OP_DUP)))).toBe('scriptsig-not-pushonly')
    expect(judge(withScriptSig(new Uint8Array(1651)))).toBe('scriptsig-size')
    const data = (length: number) => ({ value: Sat(0n), scriptPubKey: buildScript(OP.OP_RETURN, new Uint8Array(length).fill(7)) })
    expect(judge({ ...spend(0, 1000), outputs: [...spend(0, 1000).outputs, data(80)] })).toBe('ok')
    expect(judge({ ...spend(0, 1000), outputs: [...spend(0, 1000).outputs, data(81)] })).toBe('scriptpubkey')
    expect(judge({ ...spend(0, 1000), outputs: [...spend(0, 1000).outputs, data(1), data(2)] })).toBe('multi-op-return')
  })

  it('B6: must not be as small as a node of a merkle tree (CVE-2017-12842)', () => {
    const tiny = { ...spend(0, 1000), outputs: [{ value: Sat(0n), scriptPubKey: buildScript(OP.OP_RETURN) }] }
    expect(judge(tiny)).toBe('tx-size-small')
  })

  it('must not leave dust that it pays for', () => {
    const with2 = (value: bigint): Tx => ({
      ...spend(0, 1000),
      outputs: [...spend(0, 2000).outputs, { value: Sat(value), scriptPubKey: p2wshOf(TRUE_SCRIPT) }],
    })
    expect(judge(with2(329n))).toBe('dust')
    expect(judge(with2(330n))).toBe('ok')
  })

  it('must spend what is there', () => {
    expect(judge(pay([{ ...outputOf(ripe[0]!), vout: 5 }], [1000n]))).toBe('bad-txns-inputs-missingorspent')
    const tx = spend(0, 1000)
    grow(chain, 1, [tx], 1000n)
    expect(judge(tx)).toBe('txn-already-known')
    expect(judge(spend(0, 2000))).toBe('bad-txns-inputs-missingorspent')
  })

  it('must not take more than it is given', () => {
    expect(judge(pay([outputOf(ripe[0]!)], [SUBSIDY + 1n]))).toBe('bad-txns-in-belowout')
  })

  it('must leave a coinbase alone until the next block may spend it', () => {
    const next = baseCoinbases[41]!
    const tx = pay([outputOf(next)], [1000n])
    expect(judge(tx)).toBe('bad-txns-premature-spend-of-coinbase')
    grow(chain, 1)
    expect(judge(tx)).toBe('ok')
  })

  it('must be final in the next block', () => {
    expect(judge(spend(0, 1000, { lockTime: 141 }))).toBe('non-final')
    expect(judge(spend(0, 1000, { lockTime: 140 }))).toBe('ok')
  })

  it('must have waited as long as its inputs ask, an unconfirmed parent counting as of the next block', () => {
    const locked = (sequence: number, outpoint: Outpoint): Tx => pay([{ ...outpoint, sequence }], [1_000_000n])
    expect(judge(locked(140, outputOf(ripe[0]!)))).toBe('ok')
    expect(judge(locked(141, outputOf(ripe[0]!)))).toBe('non-BIP68-final')
    const parent = add(spend(1, 1000))
    expect(judge(locked(1, outputOf(parent)))).toBe('non-BIP68-final')
    expect(judge(locked(0, outputOf(parent)))).toBe('ok')
  })

  it('must pay the relay fee', () => {
    const vsize = pool.vsize === 0 ? add(spend(1, 1000)) && pool.vsize : 0
    const answer = acceptTransaction(pool, spend(0, vsize - 1), context([spend(0, vsize - 1)]))
    expect(answer).toMatchObject({ rejection: { reason: 'min relay fee not met', detail: `${vsize - 1} < ${vsize}` } })
    expect(judge(spend(0, vsize))).toBe('ok')
    expect(judge(spend(0, 0), { fromBlock: true })).toBe('ok')
  })

  it('must have scripts that pass', () => {
    const tx = spend(0, 1000)
    const wrong = { ...tx, inputs: [{ ...tx.inputs[0]!, witness: [buildScript(OP.OP_0)] }] }
    expect(judge(wrong)).toBe('mandatory-script-verify-flag-failed (Witness program hash mismatch)')
    const lazy = buildScript(OP.OP_IF, OP.OP_1, OP.OP_ENDIF)
    const funding = add(spend(1, 1000, { scriptPubKey: p2wshOf(lazy) }))
    const notMinimal = pay([{ ...outputOf(funding), witness: [Uint8Array.of(2), lazy] }], [1000n])
    expect(judge(notMinimal)).toBe('non-mandatory-script-verify-flag (OP_IF/NOTIF argument must be minimal)')
    expect(judge(pay([{ ...outputOf(funding), witness: [Uint8Array.of(1), lazy] }], [1000n]))).toBe('ok')
  })

  it('must not be stuffed with witness', () => {
    const tx = spend(0, 1000)
    const stuffed = { ...tx, inputs: [{ ...tx.inputs[0]!, witness: [new Uint8Array(81), TRUE_SCRIPT] }] }
    expect(judge(stuffed)).toBe('bad-witness-nonstandard')
  })

  it('is known when it comes again', () => {
    const tx = add(spend(0, 1000))
    expect(judge(tx)).toBe('txn-already-in-mempool')
    const drop = buildScript(OP.OP_DROP, OP.OP_TRUE)
    const funding = add(spend(1, 1000, { scriptPubKey: p2wshOf(drop) }))
    const first = add(pay([{ ...outputOf(funding), witness: [Uint8Array.of(1), drop] }], [1000n]))
    const other = { ...first, inputs: [{ ...first.inputs[0]!, witness: [Uint8Array.of(2), drop] }] }
    expect(wtxid(other)).not.toBe(wtxid(first))
    expect(judge(other)).toBe('txn-same-nonwitness-data-in-mempool')
  })
})

describe('a replacement', () => {
  it('takes the place of what it conflicts with and of all that stands on it', () => {
    const first = add(spend(0, 1000))
    add(chainOn(first, 1000))
    const better = spend(0, 5000)
    const answer = acceptTransaction(pool, better, context([better]))
    expect(answer).toMatchObject({ status: 'accepted', replaced: [{ txid: txid(first) }, {}] })
    expect(ids()).toEqual([txid(better)])
  })

  it('needs no signal from what it replaces', () => {
    const first = pay([{ ...outputOf(ripe[0]!), sequence: 0xffff_ffff }], [SUBSIDY - 1000n])
    add(first)
    expect(judge(spend(0, 5000))).toBe('ok')
  })

  it('pays a better rate, more than all that goes, and for its own relay', () => {
    const first = add(spend(0, 1000))
    const { vsize } = pool.entries.get(txid(first))!
    expect(judge(spend(0, 1000, {}, 2))).toBe('insufficient fee')
    expect(judge(spend(0, 1000 + vsize - 1))).toBe('insufficient fee')
    expect(judge(spend(0, 1000 + vsize))).toBe('ok')
    add(chainOn(first, 10_000))
    expect(judge(spend(0, 1000 + vsize))).toBe('insufficient fee')
    expect(judge(spend(0, 11_000 + vsize))).toBe('ok')
  })

  it('that is worse than several is told the one whose id comes first, byte by byte', () => {
    const rivals = [0, 1, 2, 3, 4].map((from) => add(spend(from, 10_000 + 1000 * from)))
    const poor = pay(
      [0, 1, 2, 3, 4].map((from) => outputOf(ripe[from]!)),
      [5n * SUBSIDY - 1000n],
    )
    const answer = acceptTransaction(pool, poor, context([poor]))
    const bytesOf = (id: string) => Buffer.from(id, 'hex').toReversed()
    const [first] = rivals.map(txid).toSorted((a, b) => Buffer.compare(bytesOf(a), bytesOf(b)))
    const { modifiedFee, vsize } = pool.entries.get(first!)!
    const rate = (Number((modifiedFee * 1000n) / BigInt(vsize)) / 1e8).toFixed(8)
    expect(answer).toMatchObject({ status: 'rejected', rejection: { detail: expect.stringMatching(`<= old feerate ${rate} `) } })
  })

  it('adds no unconfirmed input', () => {
    add(spend(0, 1000))
    const other = add(spend(1, 1000))
    const mixed = pay([outputOf(ripe[0]!), outputOf(other)], [2n * SUBSIDY - 50_000n])
    expect(judge(mixed)).toBe('replacement-adds-unconfirmed')
  })

  it('does not spend what it replaces', () => {
    const first = add(spend(0, 1000, {}, 2))
    const both = pay([outputOf(ripe[0]!), outputOf(first, 1)], [SUBSIDY])
    expect(judge(both)).toBe('bad-txns-spends-conflicting-tx')
  })

  it('pushes out at most 100', () => {
    const parents = Array.from({ length: 5 }, (_, n) => add(spend(n, 30_000, {}, 24)))
    for (const parent of parents) for (let vout = 0; vout < 20; vout++) add(chainOn(parent, 1000, vout))
    const all = pay(
      ripe.slice(0, 5).map((tx) => outputOf(tx)),
      [5n * SUBSIDY - 100_000_000n],
    )
    expect(judge(all)).toBe('too many potential replacements')
  })
})

describe('chains of unconfirmed transactions', () => {
  it('are at most 25 long', () => {
    let last = add(spend(0, 1000))
    for (let i = 1; i < 25; i++) last = add(chainOn(last, 1000))
    expect(judge(chainOn(last, 1000))).toBe('too-long-mempool-chain')
  })

  it('fan out at most 25 wide, and one small child of a lone parent more (the carve-out of anchors)', () => {
    const parent = add(spend(0, 10_000, {}, 30))
    for (let vout = 0; vout < 24; vout++) add(chainOn(parent, 1000, vout))
    const grandchild = chainOn(pool.entries.get([...pool.entries.keys()].at(-1)!)!.tx, 1000)
    expect(judge(grandchild)).toBe('too-long-mempool-chain')
    add(chainOn(parent, 1000, 24))
    expect(judge(chainOn(parent, 1000, 25))).toBe('too-long-mempool-chain')
  })
})

describe('version 3 (BIP 431)', () => {
  const v3 = { version: 3 }
  it('has one child, of version 3, small; and spends only its like', () => {
    const parent = add(spend(0, 200, v3, 2))
    expect(judge(chainOn(parent, 5000))).toBe('TRUC-violation')
    const child = add(chainOn(parent, 5000, 0, v3))
    expect(judge(chainOn(child, 5000, 0, v3))).toBe('TRUC-violation')
    const plain = add(spend(1, 1000))
    expect(judge(chainOn(plain, 5000, 0, v3))).toBe('TRUC-violation')
  })

  it('lets another child take the place of the one by paying more', () => {
    const parent = add(spend(0, 200, v3, 2))
    const first = add(chainOn(parent, 1000, 0, v3))
    expect(judge(chainOn(parent, 1000, 1, v3))).toBe('insufficient fee (including sibling eviction)')
    add(chainOn(parent, 5000, 1, v3))
    expect(pool.entries.has(txid(first))).toBe(false)
    expect(pool.entries.size).toBe(2)
  })
})

describe('a parent that pays nothing with a child that pays for both', () => {
  const pair = (parent: Tx, child: Tx) => acceptPackage(pool, [parent, child], context([parent, child]))

  it('enters as a pair', () => {
    const parent = spend(0, 0, { version: 3 })
    const child = chainOn(parent, 5000, 0, { version: 3 })
    expect(judge(parent)).toBe('min relay fee not met')
    const { problem, verdicts } = pair(parent, child)
    expect(problem).toBe(undefined)
    const { vsize } = entryOf(parent)
    const rate = Math.floor(5_000_000 / (vsize + entryOf(child).vsize))
    const both = { status: 'accepted', effectiveFeeratePerKvb: rate, effectiveIncludes: [wtxid(parent), wtxid(child)] }
    expect([...verdicts.values()]).toMatchObject([both, both])
    expect(ids()).toEqual([txid(parent), txid(child)])
  })

  it('pays for what the parent replaces', () => {
    const rival = add(spend(0, 2000))
    const parent = spend(0, 1000)
    expect(judge(parent)).toBe('insufficient fee')
    expect(pair(parent, chainOn(parent, 1100)).problem).toMatchObject({
      reason: 'package RBF failed: insufficient anti-DoS fees',
    })
    expect(ids()).toEqual([txid(rival)])
    expect(pair(parent, chainOn(parent, 5000)).verdicts.get(wtxid(parent))).toMatchObject({ replaced: [{ txid: txid(rival) }] })
    expect(pool.entries.has(txid(rival))).toBe(false)
  })

  it('must be parent and child, and pay enough together', () => {
    const parent = spend(0, 0, { version: 3 })
    const poor = chainOn(parent, 10, 0, { version: 3 })
    const { problem, verdicts } = pair(parent, poor)
    expect(problem).toEqual({ kind: 'transaction', reason: 'transaction failed' })
    expect(told(verdicts.get(wtxid(poor)))).toBe('min relay fee not met')
    expect(pair(parent, spend(1, 5000)).problem).toMatchObject({ reason: 'package-not-child-with-parents' })
    expect(pool.entries.size).toBe(0)
  })
})

describe('a connected block', () => {
  it('takes out what it holds and what conflicts with it, and leaves children in', () => {
    const mined = add(spend(0, 1000))
    const child = add(chainOn(mined, 1000))
    const loser = add(spend(1, 1000))
    const orphaned = add(chainOn(loser, 1000))
    const { confirmed, conflicted } = removeForBlock(pool, [mined, spend(1, 777)], NOW)
    expect(confirmed.map((entry) => entry.txid)).toEqual([txid(mined)])
    expect(conflicted.map((entry) => entry.txid)).toEqual([txid(loser), txid(orphaned)])
    expect(ids()).toEqual([txid(child)])
    expect(entryOf(child)).toMatchObject({ parents: new Set(), ancestorCount: 1, ancestorFee: 1000n })
  })
})

describe('room', () => {
  it('is made by letting the cheapest packages go, and asking more of newcomers', () => {
    for (let n = 0; n < 5; n++) add(spend(n, 1000 * (n + 1)))
    const [cheap] = [...pool.entries.values()]
    Object.assign(pool.policy, { maxBytes: pool.memory - 1 })
    expect(trimMempool(pool, NOW).map((entry) => entry.txid)).toEqual([cheap!.txid])
    const price = Math.floor(1_000_000 / cheap!.vsize) + 1000
    expect(minFeeratePerKvb(pool, NOW)).toBe(price)
    expect(judge(spend(0, 1000))).toBe('mempool min fee not met')
    // The price stays until a block comes, then it halves: here every three hours, for the pool is nearly empty.
    expect(minFeeratePerKvb(pool, NOW + 10_000_000)).toBe(price)
    Object.assign(pool.policy, { maxBytes: 300_000_000 })
    removeForBlock(pool, [], NOW)
    expect(minFeeratePerKvb(pool, NOW + 3 * 3600)).toBe(Math.round(price / 2))
    expect(minFeeratePerKvb(pool, NOW + 48 * 3600)).toBe(1000)
    expect(pool.rollingFeeratePerKvb).toBe(0)
  })

  it('is not made by letting a poor parent of a rich child go', () => {
    const parent = add(spend(0, 200))
    const child = add(chainOn(parent, 50_000))
    const middle = add(spend(1, 1000))
    Object.assign(pool.policy, { maxBytes: pool.memory - 1 })
    trimMempool(pool, NOW)
    expect(pool.entries.has(txid(middle))).toBe(false)
    expect(ids()).toEqual([txid(parent), txid(child)])
  })

  it('refuses a newcomer that would be the first to go', () => {
    for (let n = 0; n < 3; n++) add(spend(n, 5000))
    Object.assign(pool.policy, { maxBytes: pool.memory })
    expect(told(acceptTransaction(pool, spend(4, 1000), context([spend(4, 1000)])))).toBe('mempool full')
    expect(pool.entries.size).toBe(3)
  })

  it('is made after two weeks', () => {
    const old = add(spend(0, 1000))
    const child = add(chainOn(old, 1000), { now: NOW + 1_000_000 })
    expect(trimMempool(pool, NOW + 336 * 3600)).toEqual([])
    expect(trimMempool(pool, NOW + 336 * 3600 + 1).map((entry) => entry.txid)).toEqual([txid(old), txid(child)])
  })
})

/** What every entry must carry, counted anew. */
const expectSums = (): void => {
  const total = { vsize: 0, fees: 0n }
  const spent = new Map<string, MempoolEntry>()
  for (const entry of pool.entries.values()) {
    total.vsize += entry.vsize
    total.fees += entry.fee
    for (const { outpoint } of entry.tx.inputs) {
      expect(spent.has(outpointKey(outpoint))).toBe(false)
      spent.set(outpointKey(outpoint), entry)
    }
    const above = [...withAncestors([entry])]
    const below = [...withDescendants([entry])]
    const sum = (all: readonly MempoolEntry[]): bigint => all.reduce((fees, { modifiedFee }) => fees + modifiedFee, 0n)
    const size = (all: readonly MempoolEntry[]): number => all.reduce((n, { vsize }) => n + vsize, 0)
    expect(entry).toMatchObject({
      ancestorCount: above.length,
      ancestorVsize: size(above),
      ancestorFee: sum(above),
      ancestorSigopCost: above.reduce((n, { sigopCost }) => n + sigopCost, 0),
      descendantCount: below.length,
      descendantVsize: size(below),
      descendantFee: sum(below),
      modifiedFee: entry.fee + (pool.deltas.get(entry.txid) ?? 0n),
    })
    const parents = entry.tx.inputs.flatMap(({ outpoint }) => pool.entries.get(outpoint.txid) ?? [])
    expect(new Set(entry.parents)).toEqual(new Set(parents))
    for (const parent of parents) expect(parent.children.has(entry)).toBe(true)
  }
  expect({ vsize: pool.vsize, fees: pool.fees }).toEqual(total)
  expect(pool.spenders.size).toBe(spent.size)
  for (const [key, entry] of spent) expect(pool.spenders.get(key)).toBe(entry)
  const rates = [...pool.entries.values()].map(({ keepRate }) => keepRate)
  if (rates.length > 0) expect(pool.evictionOrder.first?.keepRate).toBe(Math.min(...rates))
  const times = [...pool.entries.values()].map(({ time }) => time)
  if (times.length > 0) expect(pool.ageOrder.first?.time).toBe(Math.min(...times))
}

describe('the pool as a whole', () => {
  it('keeps sums, links, orders and spenders right whatever happens', () => {
    const step = fc.record({ coin: fc.nat(5), fee: fc.integer({ min: 100, max: 60_000 }), on: fc.nat(20), what: fc.nat(11) })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        begin()
        for (const [at, { coin, fee, on, what }] of steps.entries()) {
          const entries = [...pool.entries.values()]
          const parent = entries[on % Math.max(1, entries.length)]
          if (what === 9 && parent !== undefined) {
            const first = inOrder(entries).slice(0, 2)
            removeForBlock(
              pool,
              first.map(({ tx }) => tx),
              NOW,
            )
          } else if (what === 10 && parent !== undefined) prioritise(pool, parent.txid, BigInt(fee) - 30_000n)
          else {
            const tx =
              parent === undefined || what < 4
                ? spend(coin, fee, {}, 2)
                : chainOn(parent.tx, fee, what % parent.tx.outputs.length)
            if (tx.outputs.some(({ value }) => value < 1000n)) continue
            acceptTransaction(pool, tx, context([tx], { now: NOW + ((at * 7) % 5) }))
          }
          expectSums()
        }
        expect(pool.entries.size).toBeLessThanOrEqual(steps.length)
      }),
      { numRuns: 40 },
    )
  })

  it('links what comes back from a lost block with what stands on it', () => {
    const parent = spend(0, 1000, {}, 3)
    const middle = chainOn(parent, 2000)
    const coins = [parent, middle].flatMap((tx) =>
      tx.outputs.map((output, vout) => [outpointKey(outputOf(tx, vout)), { output, height: 140, coinbase: false }] as const),
    )
    const confirmed = new Map([...chain.coins, ...coins])
    const child = chainOn(middle, 3000)
    const other = chainOn(parent, 4000, 1)
    for (const tx of [child, other]) expect(told(acceptTransaction(pool, tx, context([tx], { view: confirmed })))).toBe('ok')
    for (const tx of [parent, middle]) add(tx, { fromBlock: true })
    linkChildren(pool, [entryOf(parent), entryOf(middle)])
    expectSums()
    expect(entryOf(child)).toMatchObject({ ancestorCount: 3, ancestorFee: 6000n })
    expect(entryOf(parent)).toMatchObject({ descendantCount: 4, descendantFee: 10_000n })
  })

  it('tells of every change, with a number that counts them', () => {
    const changes: string[] = []
    const listener: MempoolListener = {
      added: (entry, sequence) => void changes.push(`${sequence} + ${entry.fee}`),
      removed: (entry, reason, sequence) => void changes.push(`${sequence} - ${entry.fee} ${reason}`),
    }
    Object.assign(pool, { listener })
    const first = add(spend(0, 1000))
    add(chainOn(first, 2000))
    add(spend(0, 9000))
    removeForBlock(pool, [spend(0, 9000)], NOW)
    expect(changes).toEqual(['1 + 1000', '2 + 2000', '3 - 1000 replaced', '4 - 2000 replaced', '5 + 9000', '6 - 9000 block'])
    expect(pool.sequence).toBe(7)
  })
})

describe('a list of transactions that is only tested', () => {
  it('is judged member by member, each on those before, and replaces nothing', () => {
    const parent = spend(0, 1000)
    const child = chainOn(parent, 1000)
    const test = (...list: Tx[]) => testTogether(pool, list, context(list))
    expect([...test(parent, child).verdicts.values()].map(told)).toEqual(['ok', 'ok'])
    expect(pool.entries.size).toBe(0)
    expect(test(child, parent).problem).toMatchObject({ kind: 'policy', reason: 'package-not-sorted' })
    expect(test(parent, parent).problem).toMatchObject({ reason: 'package-contains-duplicates' })
    expect(test(parent, spend(0, 2000)).problem).toMatchObject({ reason: 'conflict-in-package' })
    add(spend(0, 500))
    expect(told(test(spend(1, 1000), parent).verdicts.get(wtxid(parent)))).toBe('bip125-replacement-disallowed')
  })
})
