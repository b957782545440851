/**
 * Random interleavings of everything that two honest sides can do, with crashes between any two steps. Invariants 1 and 5 of the
 * design; persistence round trip at every step (S38, S50).
 */
import { FeeratePerKw } from '@leyden/bitcoin'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { channelKind } from './record.ts'
import {
  asStored,
  checkAgreement,
  hashOf as hashOfNumber,
  type Name,
  otherName,
  Pair,
  preimageOf,
  sortedRows,
  withoutFeatures,
} from './testing.ts'

type Command =
  | { readonly do: 'offer'; readonly by: Name; readonly amountMsat: bigint }
  | { readonly do: 'resolve'; readonly by: Name; readonly pick: number; readonly how: 'fulfill' | 'fail' | 'malformed' }
  | { readonly do: 'fee'; readonly feeratePerKw: number }
  | { readonly do: 'deliver' | 'flush'; readonly by: Name; readonly times: number }
  | { readonly do: 'reconnect' }
  | { readonly do: 'restart'; readonly by: Name }
  | { readonly do: 'settle' }

const by = fc.constantFrom<Name>('alice', 'bob')
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('offer' as const),
      by,
      amountMsat: fc.oneof(fc.bigInt(1n, 400_000n), fc.bigInt(400_000n, 80_000_000n), fc.bigInt(1n, 600_000_000n)),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('resolve' as const),
      by,
      pick: fc.nat(20),
      how: fc.constantFrom('fulfill' as const, 'fulfill' as const, 'fail' as const, 'malformed' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('fee' as const), feeratePerKw: fc.integer({ min: 253, max: 9_000 }) }) },
  { weight: 12, arbitrary: fc.record({ do: fc.constant('deliver' as const), by, times: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('flush' as const), by, times: fc.constant(1) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('reconnect' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const), by }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('settle' as const) }) },
)

/** What the two should own in the end, from what was told. */
class Ledger {
  next = 0
  alice: bigint
  readonly total: bigint

  readonly pair: Pair

  constructor(pair: Pair) {
    this.pair = pair
    const { local, remote } = pair.balances('alice')
    this.alice = local
    this.total = local + remote
  }

  /** HTLCs that `name` has been told of and has not resolved. */
  readonly resolved = new Set<string>()

  received(name: Name) {
    return this.pair.told(name, 'htlcCommitted').filter((effect) => !this.resolved.has(`${name}/${effect.htlc.id}`))
  }
}

const numberOf = (pair: Pair, hash: string): number => {
  for (let n = 0; n < 10_000; n++) if (hashes(n) === hash) return n
  throw new Error(`no preimage in ${pair.height}`)
}
const known: string[] = []
const hashes = (n: number): string => (known[n] ??= hashOfNumber(n))

const run = (pair: Pair, commands: readonly Command[]): void => {
  const ledger = new Ledger(pair)
  const reconnect = (): void => {
    pair.disconnect()
    pair.connect()
  }
  const resolve = (name: Name, pick: number, how: 'fulfill' | 'fail' | 'malformed'): void => {
    const waiting = ledger.received(name)
    const effect = waiting[pick % Math.max(1, waiting.length)]
    if (effect === undefined) return
    const { id, paymentHash } = effect.htlc
    ledger.resolved.add(`${name}/${id}`)
    if (how === 'fulfill') {
      pair.act(name, { from: 'owner', type: 'fulfillHtlc', htlcId: id, preimage: preimageOf(numberOf(pair, paymentHash)) })
      ledger.alice += (name === 'alice' ? 1n : -1n) * effect.htlc.amountMsat
    } else if (how === 'fail') pair.fail(name, id)
    else
      pair.act(name, {
        from: 'owner',
        type: 'failMalformedHtlc',
        htlcId: id,
        failureCode: 0xc005,
        sha256OfOnion: new Uint8Array(32),
      })
  }
  const compareRows = (): void => {
    for (const name of ['alice', 'bob'] as const) {
      const node = pair.node(name)
      expect(channelKind.load(node.channel.channelId, sortedRows(node))).toEqual(asStored(node.channel))
    }
  }
  for (const each of commands) {
    switch (each.do) {
      case 'offer':
        pair.offer(each.by, each.amountMsat, ledger.next++)
        break
      case 'resolve':
        resolve(each.by, each.pick, each.how)
        break
      case 'fee':
        pair.act('alice', { from: 'owner', type: 'updateFee', feeratePerKw: FeeratePerKw(each.feeratePerKw) })
        break
      case 'deliver':
        for (let i = 0; i < each.times; i++) pair.deliver(each.by)
        break
      case 'flush':
        pair.flush(each.by)
        break
      case 'reconnect':
        reconnect()
        break
      case 'restart':
        pair.disconnect()
        pair.restart(each.by)
        pair.connect()
        break
      case 'settle':
        pair.settle()
        checkAgreement(pair)
        break
    }
    compareRows()
  }
  pair.settle()
  checkAgreement(pair)
  for (const name of ['alice', 'bob'] as const)
    while (ledger.received(name).length > 0) resolve(name, 0, ledger.resolved.size % 2 === 0 ? 'fulfill' : 'fail')
  pair.settle()
  checkAgreement(pair)
  for (const name of ['alice', 'bob'] as const) {
    const node = pair.node(name)
    expect(node.channel.phase.name).toBe('normal')
    expect(node.channel.htlcs).toEqual([])
    expect(node.told.filter((effect) => effect.type === 'violated')).toEqual([])
    expect(node.disconnects).toBe(0)
    // Every HTLC that was not refused has one outcome, and its receiver heard of it once.
    const failed = pair.told(name, 'htlcFailed')
    const outcomes = [...pair.told(name, 'htlcFulfilled'), ...failed]
    const ids = outcomes.map((effect) => (effect.origin.kind === 'payment' ? effect.origin.paymentId : ''))
    expect(new Set(ids).size).toBe(ids.length)
    const committed = pair.told(otherName(name), 'htlcCommitted').map((effect) => effect.htlc.id)
    expect(new Set(committed).size).toBe(committed.length)
    const neverSent = failed.filter((effect) => effect.failure.kind === 'neverSent')
    expect(outcomes.length - neverSent.length).toBe(committed.length)
  }
  expect(pair.balances('alice')).toEqual({ local: ledger.alice, remote: ledger.total - ledger.alice })
  expect(pair.balances('bob')).toEqual({ local: ledger.total - ledger.alice, remote: ledger.alice })
}

describe('random interleavings', () => {
  it.each([
    ['anchors', {}],
    ['static_remotekey', { features: withoutFeatures('option_anchors') }],
    ['a channel that is hardly large enough', { capacitySat: 40_000n, pushMsat: 15_000_000n }],
  ] as const)('S38 S50: of honest sides keep every invariant (%s)', (_, options) => {
    const opened = new Pair({ ...options, check: true }).open()
    const property = fc.property(fc.array(command, { minLength: 5, maxLength: 60 }), (commands) => {
      run(opened.copy(), commands)
    })
    const found = fc.check(property, { numRuns: Number(process.env['LEYDEN_RUNS'] ?? 8) })
    expect(found.failed ? fc.defaultReportMessage(found) : undefined).toBeUndefined()
  })
})
