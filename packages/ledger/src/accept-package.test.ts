import { beforeEach, describe, expect, it } from 'vitest'
import { P2A, Sat, txid, wtxid, type Tx } from '@leyden/bitcoin'
import { acceptPackage, isChildWithParentsTree, packageProblem, testTogether } from './accept-package.ts'
import { prioritise } from './mempool.ts'
import { DEFAULT_POLICY, type MempoolPolicy } from './policy.ts'
import { grow, outputOf, pay, told, toyChain, toyPool, type ToyPool } from './testing.ts'

const base = toyChain()
const coinbases = grow(base, 140)
let toy: ToyPool
const begin = (policy: Partial<MempoolPolicy> = {}): void => {
  toy = toyPool(base, coinbases, policy)
}
beforeEach(() => begin())

const send = (...list: Tx[]) => acceptPackage(toy.pool, list, toy.context(list))
const summary = (...list: Tx[]): string[] => {
  const { problem, verdicts } = send(...list)
  return [problem?.reason ?? 'success', ...list.map((tx) => told(verdicts.get(wtxid(tx))))]
}

describe('the shape of a package', () => {
  it('is at most 25 transactions and 404,000 weight, each once, parents first, none beside another for the same output', () => {
    const parent = toy.spend(0, 1000)
    const child = toy.on(parent, 1000)
    expect(packageProblem([parent, child])).toBe(undefined)
    expect(packageProblem(Array.from({ length: 26 }, (_, n) => toy.spend(n, 1000)))).toBe('package-too-many-transactions')
    const big = (n: number) =>
      pay(
        [outputOf(coinbases[n] as Tx)],
        Array.from({ length: 1300 }, () => 1000n),
      )
    expect(packageProblem([big(0), big(1)])).toBe('package-too-large')
    expect(packageProblem([child, parent])).toBe('package-not-sorted')
    expect(packageProblem([parent, parent])).toBe('package-contains-duplicates')
    expect(packageProblem([parent, toy.spend(0, 2000)])).toBe('conflict-in-package')
  })

  it('is a child with its parents, none of which spends from another where that is asked', () => {
    const [a, b] = [toy.spend(0, 1000, {}, 2), toy.spend(1, 1000)]
    const child = pay([outputOf(a), outputOf(b)], [1000n])
    expect(isChildWithParentsTree([a, b, child])).toBe(true)
    expect(isChildWithParentsTree([a, toy.spend(2, 1000), child])).toBe(false)
    const middle = toy.on(a, 1000, 1)
    const last = pay([outputOf(a), outputOf(middle)], [1000n])
    expect(isChildWithParentsTree([a, middle, last])).toBe(false)
    expect(isChildWithParentsTree([a])).toBe(false)
  })

  it('has all parents of the child that are not confirmed, unless it is our own', () => {
    const other = toy.add(toy.spend(1, 1000))
    const parent = toy.spend(0, 0, { version: 2 })
    const child = pay([outputOf(parent), outputOf(other)], [9_999_000_000n])
    expect(summary(parent, child)[0]).toBe('package-not-child-with-unconfirmed-parents')
    const fine = toy.spend(0, 1000)
    const bumping = pay([outputOf(fine), outputOf(other)], [9_999_000_000n])
    const verdict = acceptPackage(toy.pool, [fine, bumping], toy.context([fine, bumping], { ownPackage: true }))
    expect(verdict.problem).toBe(undefined)
  })
})

describe('a package', () => {
  it('lets in each member that can stand by itself, whatever becomes of the others', () => {
    const good = toy.spend(0, 1000)
    const bad = { ...toy.spend(1, 1000), version: 4 }
    const child = pay([outputOf(good), outputOf(bad)], [1000n])
    expect(summary(good, bad, child)).toEqual(['transaction failed', 'ok', 'version', 'bad-txns-inputs-missingorspent'])
    expect(toy.pool.entries.has(txid(good))).toBe(true)
  })

  it('does not let a parent pay for its child', () => {
    const parent = toy.spend(0, 100_000)
    const child = toy.on(parent, 10)
    expect(summary(parent, child)).toEqual(['transaction failed', 'ok', 'min relay fee not met'])
  })

  it('does not lift the relay floor of a member that is not of version 3', () => {
    const parent = toy.spend(0, 0)
    expect(summary(parent, toy.on(parent, 100_000))[1]).toBe('min relay fee not met')
    const restricted = toy.spend(0, 0, { version: 3 })
    expect(summary(restricted, toy.on(restricted, 100_000, 0, { version: 3 }))).toEqual(['success', 'ok', 'ok'])
  })

  it('counts what was here already, and says which witness is', () => {
    const parent = toy.add(toy.spend(0, 1000))
    const child = toy.on(parent, 1000)
    const { verdicts } = send(parent, child)
    expect([parent, child].map((tx) => verdicts.get(wtxid(tx))?.status)).toEqual(['known', 'accepted'])
  })

  it('counts fees as the owner has changed them', () => {
    const parent = toy.spend(0, 0, { version: 3 })
    const child = toy.on(parent, 0, 0, { version: 3 })
    expect(summary(parent, child)[0]).toBe('transaction failed')
    prioritise(toy.pool, txid(child), 5000n)
    expect(summary(parent, child)[0]).toBe('success')
    expect(toy.pool.fees).toBe(0n)
  })

  it('costs no more than the caller is willing to pay', () => {
    const parent = toy.spend(0, 1000)
    const child = toy.on(parent, 5_000_000)
    const { verdicts } = acceptPackage(toy.pool, [parent, child], toy.context([parent, child], { maxFeeratePerKvb: 10_000_000 }))
    expect(told(verdicts.get(wtxid(child)))).toBe('max feerate exceeded')
  })

  it('that is too poor for a full pool leaves it as it was', () => {
    for (let n = 5; n < 9; n++) toy.add(toy.spend(n, 20_000))
    Object.assign(toy.pool.policy, { maxBytes: toy.pool.memory })
    const parent = toy.spend(0, 150)
    const child = toy.on(parent, 500)
    expect(summary(parent, child)).toEqual(['transaction failed', 'mempool full', 'mempool full'])
    expect(toy.pool.entries.size).toBe(4)
  })

  it('stays within the limits of chains, counted as one', () => {
    let last = toy.add(toy.spend(0, 1000, {}, 2))
    for (let i = 0; i < 22; i++) last = toy.add(toy.on(last, 1000))
    const [a, b] = [toy.on(last, 1000), toy.spend(1, 1000)]
    const child = pay([outputOf(a), outputOf(b)], [1000n])
    const { problem } = testTogether(toy.pool, [a, b, child], toy.context([a, b, child]))
    expect(problem).toMatchObject({
      reason: 'package-mempool-limits',
      detail: 'possibly too many unconfirmed ancestors [limit: 25]',
    })
  })
})

describe('version 3 in a package (BIP 431)', () => {
  const v3 = { version: 3 }
  const problemOf = (...list: Tx[]): string | undefined => testTogether(toy.pool, list, toy.context(list)).problem?.detail

  it('is one parent with one child, both of version 3, the child of at most 1000 virtual bytes', () => {
    const parent = toy.spend(0, 1000, v3, 3)
    expect(problemOf(parent, toy.on(parent, 1000, 0, v3))).toBe(undefined)
    expect(problemOf(parent, toy.on(parent, 1000))).toMatch(/^non-version=3 tx \w+ \(wtxid=\w+\) cannot spend from version=3 tx/)
    const plain = toy.spend(1, 1000)
    expect(problemOf(plain, toy.on(plain, 1000, 0, v3))).toMatch(/^version=3 tx \w+ .* cannot spend from non-version=3 tx/)
    expect(problemOf(parent, toy.on(parent, 1000, 0, v3), toy.on(parent, 1000, 1, v3))).toMatch(
      /would exceed descendant count limit/,
    )
    const child = toy.on(parent, 1000, 0, v3)
    expect(problemOf(parent, child, toy.on(child, 1000, 0, v3))).toMatch(/would have too many ancestors/)
    const wide = pay(
      [outputOf(parent)],
      Array.from({ length: 30 }, () => 10_000n),
      v3,
    )
    expect(problemOf(parent, wide)).toMatch(/^version=3 child tx \w+ \(wtxid=\w+\) is too big: \d+ > 1000 virtual bytes$/)
  })

  it('counts a child that waits already', () => {
    const parent = toy.add(toy.spend(0, 1000, v3, 3))
    toy.add(toy.on(parent, 1000, 0, v3))
    const other = toy.on(parent, 1000, 1, v3)
    const { verdicts } = testTogether(toy.pool, [other, toy.spend(1, 1000)], toy.context([other, toy.spend(1, 1000)]))
    expect(told(verdicts.get(wtxid(other)))).toBe('TRUC-violation')
  })
})

describe('ephemeral dust', () => {
  const anchored = (n: number, fee: number, value = 0n): Tx => {
    const tx = toy.spend(n, BigInt(fee) + value, { version: 3 })
    return { ...tx, outputs: [...tx.outputs, { value: Sat(value), scriptPubKey: P2A }] }
  }
  const sweep = (parent: Tx, spent: number[], fee = 2000): Tx => {
    const total = spent.reduce((sum, vout) => sum + (parent.outputs[vout]?.value ?? 0n), 0n)
    const tx = pay(
      spent.map((vout) => outputOf(parent, vout)),
      [total - BigInt(fee)],
      { version: 3 },
    )
    return { ...tx, inputs: tx.inputs.map((input) => (input.outpoint.vout === 1 ? { ...input, witness: [] } : input)) }
  }

  it('is let in with a child that spends it, by a parent that pays nothing', () => {
    const parent = anchored(0, 0)
    expect(summary(parent, sweep(parent, [0, 1]))).toEqual(['success', 'ok', 'ok'])
    expect(toy.judge(anchored(1, 5000))).toBe('dust')
    const valued = anchored(2, 0, 239n)
    expect(summary(valued, sweep(valued, [0, 1]))[0]).toBe('success')
  })

  it('must be spent by whatever spends from its parent', () => {
    const parent = anchored(0, 0)
    expect(summary(parent, sweep(parent, [0]))).toEqual(['unspent-dust', 'min relay fee not met', 'missing-ephemeral-spends'])
    expect(toy.pool.entries.size).toBe(0)
    expect(summary(parent, sweep(parent, [0, 1]))[0]).toBe('success')
    expect(toy.judge(sweep(parent, [0], 90_000))).toBe('missing-ephemeral-spends')
    expect(toy.judge(sweep(parent, [0, 1], 90_000))).toBe('ok')
  })

  it('may be replaced away, and its parent then waits for another child', () => {
    const parent = anchored(0, 0)
    send(parent, sweep(parent, [0, 1]))
    toy.add(sweep(parent, [1, 0], 90_000))
    expect(toy.pool.entries.size).toBe(2)
  })

  it('is of no interest where any form is taken', () => {
    begin({ requireStandard: false })
    const parent = anchored(0, 5000)
    expect(toy.judge(parent)).toBe('ok')
    expect(DEFAULT_POLICY.requireStandard).toBe(true)
  })
})
