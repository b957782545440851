import { beforeEach, describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { buildScript, OP, outpointKey, p2wshOf, Sat, txid, wtxid, type Outpoint, type Tx } from '@leyden/bitcoin'
import {
  acceptPair,
  acceptTransaction,
  applyAcceptance,
  coinsOfInterest,
  revertAcceptance,
  type AcceptContext,
} from './accept.ts'
import {
  applyBlockRemoval,
  createMempool,
  inOrder,
  minFeeratePerKvb,
  planBlockRemoval,
  removeExpired,
  totalOf,
  trimToSize,
  type Mempool,
} from './mempool.ts'
import { grow, outputOf, pay, toyChain, TRUE_SCRIPT, type ToyChain } from './testing.ts'
import { isRejection } from './violation.ts'

const SUBSIDY = 5_000_000_000n
const NOW = 1_700_000_000

let chain: ToyChain
let pool: Mempool
/** Coinbases that may be spent, and one that may not. */
let ripe: Tx[]
const context = (transactions: readonly Tx[], extra: Partial<AcceptContext> = {}): AcceptContext => ({
  network: chain.network,
  tip: chain.tip,
  view: new Map(
    coinsOfInterest(transactions).flatMap((outpoint) => {
      const coin = chain.coins.get(outpointKey(outpoint))
      return coin === undefined ? [] : [[outpointKey(outpoint), coin] as const]
    }),
  ),
  now: NOW,
  ...extra,
})
const judge = (tx: Tx, extra: Partial<AcceptContext> = {}): string => {
  const answer = acceptTransaction(pool, tx, context([tx], extra))
  return isRejection(answer) ? answer.reason : 'ok'
}
const add = (tx: Tx, extra: Partial<AcceptContext> = {}): Tx => {
  const answer = acceptTransaction(pool, tx, context([tx], extra))
  if (isRejection(answer)) throw new Error(`${answer.reason} ${answer.detail ?? ''}`)
  applyAcceptance(pool, answer)
  return tx
}
const ids = (): string[] => inOrder(pool).map((entry) => entry.txid)
/** Spends coinbase `n` and pays a fee. */
const spend = (n: number, fee: bigint | number, fields: Parameters<typeof pay>[2] = {}, outputs = 1): Tx => {
  const left = SUBSIDY - BigInt(fee)
  const share = left / BigInt(outputs)
  const amounts = Array.from({ length: outputs }, (_, i) => (i === 0 ? left - share * BigInt(outputs - 1) : share))
  return pay([outputOf(ripe[n]!)], amounts, fields)
}
const chainOn = (parent: Tx, fee: bigint | number, vout = 0, fields: Parameters<typeof pay>[2] = {}): Tx =>
  pay([outputOf(parent, vout)], [parent.outputs[vout]!.value - BigInt(fee)], fields)

const base = toyChain()
const baseCoinbases = grow(base, 140)
beforeEach(() => {
  chain = { ...base, coins: new Map(base.coins) }
  ripe = baseCoinbases.slice(0, 41)
  pool = createMempool()
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

  it('must not leave dust', () => {
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
    expect(answer).toMatchObject({ reason: 'min relay fee not met', detail: `${vsize - 1} < ${vsize}` })
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
    expect(answer).toMatchObject({ accepted: true, replaced: [{ txid: txid(first) }, {}] })
    add(better)
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
    expect(judge(chainOn(parent, 1000, 1, v3))).toBe('insufficient fee')
    add(chainOn(parent, 5000, 1, v3))
    expect(pool.entries.has(txid(first))).toBe(false)
    expect(pool.entries.size).toBe(2)
  })
})

describe('a parent that pays nothing with a child that pays for both', () => {
  const pair = (parent: Tx, child: Tx) => acceptPair(pool, parent, child, context([parent, child]))

  it('enters as a pair', () => {
    const parent = spend(0, 0, { version: 3 })
    const child = chainOn(parent, 5000, 0, { version: 3 })
    expect(judge(parent)).toBe('min relay fee not met')
    const answer = pair(parent, child)
    expect(answer).toMatchObject({ accepted: true, added: [{ txid: txid(parent) }, { txid: txid(child) }], replaced: [] })
    expect(pool.entries.size).toBe(0)
    if (!isRejection(answer)) applyAcceptance(pool, answer)
    expect(ids()).toEqual([txid(parent), txid(child)])
  })

  it('pays for what the parent replaces', () => {
    const rival = add(spend(0, 2000, {}, 2))
    const parent = spend(0, 1000)
    expect(judge(parent)).toBe('insufficient fee')
    expect(pair(parent, chainOn(parent, 1100))).toMatchObject({ reason: 'insufficient fee' })
    expect(pair(parent, chainOn(parent, 5000))).toMatchObject({ replaced: [{ txid: txid(rival) }] })
    expect(ids()).toEqual([txid(rival)])
  })

  it('must be parent and child, and pay enough together', () => {
    const parent = spend(0, 0, { version: 3 })
    expect(pair(parent, chainOn(parent, 10, 0, { version: 3 }))).toMatchObject({ kind: 'fee' })
    expect(pair(parent, spend(1, 5000))).toMatchObject({ reason: 'package-not-child-with-parents' })
    expect(pool.entries.size).toBe(0)
  })
})

describe('a connected block', () => {
  it('takes out what it holds and what conflicts with it, and leaves children in', () => {
    const mined = add(spend(0, 1000))
    const child = add(chainOn(mined, 1000))
    const loser = add(spend(1, 1000))
    const orphaned = add(chainOn(loser, 1000))
    const plan = planBlockRemoval(pool, [mined, spend(1, 777)])
    expect(plan.confirmed.map((entry) => entry.txid)).toEqual([txid(mined)])
    expect(plan.conflicted.map((entry) => entry.txid)).toEqual([txid(loser), txid(orphaned)])
    applyBlockRemoval(pool, plan)
    expect(ids()).toEqual([txid(child)])
    expect(pool.entries.get(txid(child))!.parents.size).toBe(0)
  })
})

describe('room', () => {
  it('is made by letting the cheapest packages go, and asking more of newcomers', () => {
    for (let n = 0; n < 5; n++) add(spend(n, 1000 * (n + 1)))
    const small = { ...pool, maxVsize: pool.vsize - 1 }
    const cheap = [...pool.entries.keys()][0]
    expect(trimToSize(small).map((entry) => entry.txid)).toEqual([cheap])
    expect(minFeeratePerKvb(small)).toBeGreaterThan(minFeeratePerKvb(createMempool()))
    const answer = acceptTransaction(small, spend(0, 1000), context([spend(0, 1000)]))
    expect(answer).toMatchObject({ kind: 'fee', reason: 'mempool min fee not met' })
    for (let i = 0; i < 20; i++) applyBlockRemoval(small, { confirmed: [], conflicted: [] })
    expect(minFeeratePerKvb(small)).toBe(1000)
  })

  it('is made after two weeks', () => {
    const old = add(spend(0, 1000))
    const child = add(chainOn(old, 1000), { now: NOW + 1_000_000 })
    expect(removeExpired(pool, NOW + 336 * 3600)).toEqual([])
    expect(removeExpired(pool, NOW + 336 * 3600 + 1).map((entry) => entry.txid)).toEqual([txid(old), txid(child)])
  })
})

describe('the pool as a whole', () => {
  it('keeps sums, links and spenders right whatever happens, and a reverted acceptance leaves no trace', () => {
    const step = fc.record({ coin: fc.nat(5), fee: fc.integer({ min: 100, max: 60_000 }), on: fc.nat(20), what: fc.nat(9) })
    const shape = (): unknown => ({
      vsize: pool.vsize,
      fees: pool.fees,
      entries: [...pool.entries.values()]
        .map((entry) => [entry.txid, [...entry.parents].sort(), [...entry.children].sort()])
        .sort((a, b) => String(a[0]).localeCompare(String(b[0]))),
      spenders: [...pool.spenders].sort((a, b) => a[0].localeCompare(b[0])),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
        pool = createMempool()
        for (const { coin, fee, on, what } of steps) {
          const entries = [...pool.entries.values()]
          const parent = entries[on % Math.max(1, entries.length)]
          if (what === 9 && parent !== undefined) {
            applyBlockRemoval(
              pool,
              planBlockRemoval(
                pool,
                inOrder(pool)
                  .slice(0, 2)
                  .map(({ tx }) => tx),
              ),
            )
            continue
          }
          const tx =
            parent === undefined || what < 4 ? spend(coin, fee, {}, 2) : chainOn(parent.tx, fee, what % parent.tx.outputs.length)
          if (tx.outputs.some(({ value }) => value < 1000n)) continue
          const answer = acceptTransaction(pool, tx, context([tx]))
          if (isRejection(answer)) continue
          const before = shape()
          applyAcceptance(pool, answer)
          const after = shape()
          revertAcceptance(pool, answer)
          expect(shape()).toEqual(before)
          applyAcceptance(pool, answer)
          expect(shape()).toEqual(after)
        }
        const { fee, vsize } = totalOf(pool.entries.values())
        expect([pool.fees, pool.vsize]).toEqual([fee, vsize])
        const spent = new Map<string, string>()
        for (const { tx, txid: id, parents } of pool.entries.values()) {
          for (const { outpoint } of tx.inputs) {
            expect(spent.has(outpointKey(outpoint))).toBe(false)
            spent.set(outpointKey(outpoint), id)
          }
          const inPool = new Set(tx.inputs.map(({ outpoint }) => outpoint.txid).filter((one) => pool.entries.has(one)))
          expect(new Set(parents)).toEqual(inPool)
        }
        expect(new Map(pool.spenders)).toEqual(spent)
      }),
      { numRuns: 30 },
    )
  })
})
