import { describe, expect, it } from 'vitest'
import { BlockHeight, FeeratePerKw, Msat } from '@leyden/bitcoin'
import { bytesToHex } from '@leyden/codec'
import { Preimage, type UpdateAddHtlc } from '@leyden/lnwire'
import { capacityNow } from './balances.ts'
import type { ChannelMessage } from './input.ts'
import { checkAgreement, hashOf, type Name, Pair, type PairOptions, preimageOf, withoutFeatures } from './testing.ts'

const refusals = (pair: Pair, name: Name): readonly string[] =>
  pair.told(name, 'offerRefused').map((effect) => effect.refusal.code)
const codes = (pair: Pair, name: Name): readonly string[] => pair.told(name, 'violated').map((effect) => effect.violation.code)

const addFrom = (pair: Pair, change: Partial<UpdateAddHtlc> = {}): UpdateAddHtlc => ({
  type: 'update_add_htlc',
  channelId: pair.bob.channel.channelId,
  id: 0n,
  amountMsat: Msat(10_000_000n),
  paymentHash: hashOf(1),
  cltvExpiry: BlockHeight(300),
  onionRoutingPacket: new Uint8Array(1366),
  ...change,
})
const receiveAdd = (pair: Pair, change: Partial<UpdateAddHtlc> = {}) =>
  pair.act('bob', { from: 'peer', type: 'message', message: addFrom(pair, change) })

describe('offering an HTLC', () => {
  const cases: readonly (readonly [string, PairOptions, (pair: Pair) => void, string])[] = [
    ['of nothing', {}, (pair) => pair.offer('alice', 0n, 1), 'amount_below_minimum'],
    [
      'below the minimum of the receiver',
      { bobPolicy: { htlcMinimumMsat: Msat(5_000n) } },
      (pair) => pair.offer('alice', 4_999n, 1),
      'amount_below_minimum',
    ],
    ['that has expired', {}, (pair) => pair.offer('alice', 1_000_000n, 1, pair.height), 'expiry_too_soon'],
    ['that expires in a month', {}, (pair) => pair.offer('alice', 1_000_000n, 1, pair.height + 2_017), 'expiry_too_far'],
    ['S67: whose expiry is a time', {}, (pair) => pair.offer('alice', 1_000_000n, 1, 500_000_000), 'expiry_too_far'],
    ['beyond the balance', {}, (pair) => pair.offer('bob', 300_000_000n, 1), 'insufficient_balance'],
    ['that breaks into the reserve', {}, (pair) => pair.offer('bob', 290_000_001n, 1), 'insufficient_balance'],
    [
      'over the number that the receiver takes',
      { bobPolicy: { maxAcceptedHtlcs: 2 } },
      (pair) => [1, 2, 3].forEach((n) => pair.offer('alice', 1_000_000n, n)),
      'too_many_htlcs',
    ],
    [
      'over the sum that the receiver takes',
      { bobPolicy: { maxHtlcValueInFlightMsat: Msat(5_000_000n) } },
      (pair) => [1, 2].forEach((n) => pair.offer('alice', 3_000_000n, n)),
      'too_much_in_flight',
    ],
    [
      'S27: over the dust exposure',
      { policy: { maxDustExposureMsat: Msat(500_000n) }, feeratePerKw: 253 },
      (pair) => [1, 2].forEach((n) => pair.offer('alice', 300_000n, n)),
      'dust_exposure',
    ],
    [
      'while the peer is away',
      {},
      (pair) => {
        pair.disconnect()
        pair.offer('alice', 1_000_000n, 1)
      },
      'peer_offline',
    ],
    [
      'while the channel closes',
      {},
      (pair) => {
        pair.act('alice', { from: 'owner', type: 'close' })
        pair.offer('alice', 1_000_000n, 1)
      },
      'channel_not_usable',
    ],
  ]
  it.each(cases)('is refused: %s', (_, options, act, code) => {
    const pair = new Pair(options).open()
    act(pair)
    const name: Name = refusals(pair, 'alice').length > 0 ? 'alice' : 'bob'
    expect(refusals(pair, name)).toEqual([code])
    const before = pair.node(name).channel.htlcs.length
    pair.settle()
    expect(pair.node(name).channel.htlcs.length).toBe(before)
  })

  it('keeps the opener a fee spike buffer: twice the feerate and one more HTLC', () => {
    const pair = new Pair({ pushMsat: 0n, feeratePerKw: 2_500 }).open()
    const { sendableMsat } = capacityNow(pair.alice.channel)
    // 1,000,000 - 10,000 reserve - 660 anchors - (1124 + 2 * 172) at 5,000 sat/kw
    expect(sendableMsat).toBe((1_000_000n - 10_000n - 660n - 7_340n) * 1000n)
    pair.offer('alice', sendableMsat + 1n, 1)
    expect(refusals(pair, 'alice')).toEqual(['insufficient_balance'])
    pair.offer('alice', sendableMsat, 2)
    pair.settle()
    checkAgreement(pair)
    expect(pair.told('bob', 'htlcCommitted')).toHaveLength(1)
    // The buffer is what lets the opener take an HTLC after it has spent all.
    pair.fulfill('bob', 0n, 2)
    pair.settle()
    pair.offer('bob', 50_000_000n, 3)
    pair.settle()
    checkAgreement(pair)
    expect(pair.told('alice', 'htlcCommitted')).toHaveLength(1)
  })

  it('sends up to what it says it can, to the last millisatoshi, without a reserve breach', () => {
    for (const features of [undefined, withoutFeatures('option_anchors')])
      for (const name of ['alice', 'bob'] as const) {
        const pair = new Pair(features === undefined ? {} : { features }).open()
        pair.offer(name, capacityNow(pair.node(name).channel).sendableMsat, 1)
        pair.settle()
        checkAgreement(pair)
        expect(refusals(pair, name)).toEqual([])
        expect(codes(pair, name === 'alice' ? 'bob' : 'alice')).toEqual([])
      }
  })

  it('S4: tells two with the same hash and amount apart by id', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    pair.offer('alice', 5_000_000n, 1)
    pair.settle()
    checkAgreement(pair)
    pair.fail('bob', 1n)
    pair.settle()
    expect(pair.told('alice', 'htlcFailed').map((effect) => effect.htlcId)).toEqual([1n])
    pair.fulfill('bob', 0n, 1)
    pair.settle()
    checkAgreement(pair)
    expect(pair.told('alice', 'htlcFulfilled').map((effect) => effect.htlcId)).toEqual([0n])
  })

  it('S30: keeps an HTLC of exactly the trim threshold as an output', () => {
    for (const [amountSat, outputs] of [
      [354n, 1],
      [353n, 0],
    ] as const) {
      const pair = new Pair().open()
      pair.offer('alice', amountSat * 1000n, 1)
      pair.settle()
      checkAgreement(pair)
      expect(pair.bob.channel.active[0]?.remoteHtlcSignatures).toHaveLength(outputs)
    }
  })
})

describe('an HTLC of the remote', () => {
  const cases: readonly (readonly [string, PairOptions, Partial<UpdateAddHtlc>, string])[] = [
    ['with a skipped id', {}, { id: 1n }, 'htlc_id_skipped'],
    ['of nothing', {}, { amountMsat: Msat(0n) }, 'htlc_below_minimum'],
    ['below our minimum', { bobPolicy: { htlcMinimumMsat: Msat(1_000n) } }, { amountMsat: Msat(999n) }, 'htlc_below_minimum'],
    ['whose expiry is a time', {}, { cltvExpiry: BlockHeight(500_000_000) }, 'cltv_expiry_is_a_time'],
    ['that it cannot afford', {}, { amountMsat: Msat(700_000_000n) }, 'reserve_breached'],
    ['S31: that leaves no fee above its reserve', {}, { amountMsat: Msat(690_000_000n) }, 'reserve_breached'],
    ['S34: of all the money in the world', {}, { amountMsat: Msat(2_100_000_000_000_000_000n) }, 'too_much_in_flight'],
    ['over our in-flight limit', { bobPolicy: { maxHtlcValueInFlightMsat: Msat(5_000_000n) } }, {}, 'too_much_in_flight'],
  ]
  it.each(cases)('ends the connection: %s', (_, options, change, code) => {
    const pair = new Pair(options).open()
    receiveAdd(pair, change)
    expect(codes(pair, 'bob')).toEqual([code])
    expect(pair.bob.disconnects).toBe(1)
    expect(pair.bob.channel.phase.name).toBe('normal')
    expect(pair.bob.channel.htlcs).toEqual([])
  })

  it('over our number of HTLCs ends the connection', () => {
    const pair = new Pair({ bobPolicy: { maxAcceptedHtlcs: 1 } }).open()
    receiveAdd(pair)
    receiveAdd(pair, { id: 1n })
    expect(codes(pair, 'bob')).toEqual(['too_many_htlcs'])
  })

  it('S27: over the dust exposure is accepted, and must be failed once it is committed', () => {
    const pair = new Pair({ bobPolicy: { maxDustExposureMsat: Msat(500_000n) } }).open()
    for (const n of [1, 2, 3]) pair.offer('alice', 200_000n, n)
    pair.offer('alice', 1_000_000n, 4)
    pair.settle()
    expect(pair.told('bob', 'htlcCommitted').map((effect) => [effect.htlc.id, effect.failNow])).toEqual([
      [0n, undefined],
      [1n, undefined],
      [2n, 'dust_exposure'],
      [3n, undefined],
    ])
  })

  it('reaches the owner only after the second revocation', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    pair.flush('alice')
    pair.deliver('alice') // update_add_htlc
    pair.deliver('alice') // commitment_signed
    pair.deliver('bob') // revoke_and_ack
    pair.flush('bob')
    pair.deliver('bob') // commitment_signed
    expect(pair.told('bob', 'htlcCommitted')).toEqual([])
    pair.deliver('alice') // revoke_and_ack
    expect(pair.told('bob', 'htlcCommitted')).toHaveLength(1)
  })
})

describe('removing an HTLC', () => {
  const committed = (): Pair => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    pair.settle()
    return pair
  }
  const say = (pair: Pair, message: ChannelMessage) => pair.act('alice', { from: 'peer', type: 'message', message })

  it('tells a preimage at once, a failure when it is irrevocable', () => {
    const pair = committed()
    pair.fulfill('bob', 0n, 1)
    pair.deliver('bob')
    expect(pair.told('alice', 'htlcFulfilled').map((effect) => effect.preimage)).toEqual([preimageOf(1)])
    const failing = committed()
    failing.fail('bob', 0n)
    failing.deliver('bob')
    failing.flush('bob')
    failing.deliver('bob')
    expect(failing.told('alice', 'htlcFailed')).toEqual([])
    failing.settle()
    expect(failing.told('alice', 'htlcFailed')).toHaveLength(1)
  })

  it('S2: never tells a failure of what was fulfilled, even when the remote takes its word back', () => {
    const pair = committed()
    pair.fulfill('bob', 0n, 1)
    pair.deliver('bob')
    pair.disconnect()
    expect(pair.alice.channel.htlcs[0]?.removal).toBeUndefined()
    pair.connect()
    pair.bob.outbox.splice(1)
    pair.deliver('bob')
    const { channelId } = pair.alice.channel
    say(pair, { type: 'update_fail_htlc', channelId, id: 0n, reason: new Uint8Array(2) })
    const [told] = pair.alice.channel.htlcs
    expect(told?.told).toBe(true)
    expect(pair.told('alice', 'htlcFulfilled')).toHaveLength(1)
    expect(pair.told('alice', 'htlcFailed')).toEqual([])
  })

  it('S42: is done once, however often it is asked for', () => {
    const pair = committed()
    pair.fulfill('bob', 0n, 1)
    pair.fulfill('bob', 0n, 1)
    pair.fail('bob', 0n)
    expect(pair.sentTypes('bob').filter((type) => type.startsWith('update_f'))).toEqual(['update_fulfill_htlc'])
    expect(pair.told('bob', 'refused').map((effect) => effect.refusal.code)).toEqual(['htlc_already_removed'])
    pair.settle()
    pair.fulfill('bob', 0n, 1)
    expect(pair.told('bob', 'refused').map((effect) => effect.refusal.code)).toEqual(['htlc_already_removed', 'htlc_unknown'])
    checkAgreement(pair)
  })

  it('S2: lets a preimage replace a failure that the remote has not seen', () => {
    const pair = committed()
    pair.disconnect()
    pair.fail('bob', 0n)
    pair.fulfill('bob', 0n, 1)
    pair.connect()
    pair.settle()
    expect(pair.told('alice', 'htlcFulfilled')).toHaveLength(1)
    expect(pair.told('alice', 'htlcFailed')).toEqual([])
  })

  it('S23: with a preimage that does not fit is refused to the owner', () => {
    const pair = committed()
    pair.fulfill('bob', 0n, 2)
    expect(pair.told('bob', 'refused').map((effect) => effect.refusal.code)).toEqual(['preimage_wrong'])
  })

  it('by the remote is checked', () => {
    const wrong = (message: Parameters<typeof say>[1], code: string): void => {
      const pair = committed()
      say(pair, message)
      expect(codes(pair, 'alice')).toEqual([code])
      expect(pair.alice.disconnects).toBe(1)
    }
    const { channelId } = committed().alice.channel
    const paymentPreimage = Preimage(bytesToHex(preimageOf(1)))
    wrong({ type: 'update_fulfill_htlc', channelId, id: 1n, paymentPreimage }, 'htlc_unknown')
    wrong({ type: 'update_fulfill_htlc', channelId, id: 0n, paymentPreimage: Preimage('00'.repeat(32)) }, 'preimage_wrong')
    wrong({ type: 'update_fail_htlc', channelId, id: 7n, reason: new Uint8Array(0) }, 'htlc_unknown')
    wrong(
      { type: 'update_fail_malformed_htlc', channelId, id: 0n, failureCode: 0x4005, sha256OfOnion: new Uint8Array(32) },
      'badonion_missing',
    )
    const twice = committed()
    say(twice, { type: 'update_fulfill_htlc', channelId, id: 0n, paymentPreimage })
    say(twice, { type: 'update_fail_htlc', channelId, id: 0n, reason: new Uint8Array(0) })
    expect(codes(twice, 'alice')).toEqual(['htlc_already_removed'])
  })

  it('by the remote before it is irrevocable ends the connection', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    pair.flush('alice')
    const { channelId } = pair.alice.channel
    say(pair, { type: 'update_fulfill_htlc', channelId, id: 0n, paymentPreimage: Preimage(bytesToHex(preimageOf(1))) })
    expect(codes(pair, 'alice')).toEqual(['htlc_unknown'])
  })

  it('as malformed reaches the owner with its code', () => {
    const pair = committed()
    pair.act('bob', {
      from: 'owner',
      type: 'failMalformedHtlc',
      htlcId: 0n,
      failureCode: 0xc006,
      sha256OfOnion: new Uint8Array(32),
    })
    pair.settle()
    expect(pair.told('alice', 'htlcFailed').map((effect) => effect.failure)).toEqual([
      { kind: 'malformed', failureCode: 0xc006, sha256OfOnion: new Uint8Array(32) },
    ])
  })
})

describe('update_fee', () => {
  const fee = (pair: Pair, feeratePerKw: number) =>
    pair.act('alice', { from: 'owner', type: 'updateFee', feeratePerKw: FeeratePerKw(feeratePerKw) })
  const receiveFee = (pair: Pair, name: Name, feeratePerKw: number) =>
    pair.act(name, {
      from: 'peer',
      type: 'message',
      message: { type: 'update_fee', channelId: pair.alice.channel.channelId, feeratePerKw: FeeratePerKw(feeratePerKw) },
    })

  it('changes the feerate of both commitments', () => {
    const pair = new Pair().open()
    fee(pair, 2_000)
    pair.settle()
    checkAgreement(pair)
    expect(pair.alice.channel.feeratePerKw).toBe(2_000)
    expect(pair.bob.channel.feeratePerKw).toBe(2_000)
    expect(pair.bob.channel.feeUpdates).toEqual([])
  })

  it('S43: replaces what is not signed yet', () => {
    const pair = new Pair().open()
    for (let i = 0; i < 1_000; i++) receiveFee(pair, 'bob', 1_000 + i)
    expect(pair.bob.channel.feeUpdates).toEqual([{ feeratePerKw: 1_999, stage: 0 }])
    for (const feerate of [1_100, 1_200, 1_300]) fee(pair, feerate)
    pair.settle()
    checkAgreement(pair)
    expect(pair.bob.channel.feeratePerKw).toBe(1_300)
  })

  it('follows the estimate with hysteresis, and only where we pay', () => {
    const pair = new Pair().open()
    const moved = (name: Name, feerate: number) =>
      pair.act(name, { from: 'chain', type: 'feerate', commitmentFeeratePerKw: FeeratePerKw(feerate) })
    moved('alice', 1_249)
    moved('alice', 501)
    moved('bob', 5_000)
    pair.settle()
    expect(pair.alice.channel.feeratePerKw).toBe(1_000)
    moved('alice', 1_250)
    pair.settle()
    expect(pair.bob.channel.feeratePerKw).toBe(1_250)
    moved('alice', 100)
    pair.settle()
    expect(pair.bob.channel.feeratePerKw).toBe(253)
    checkAgreement(pair)
    expect(pair.told('alice', 'refused')).toEqual([])
  })

  it('S31: is refused where the opener cannot pay it above its reserve', () => {
    const pair = new Pair({ pushMsat: 980_000_000n, capacitySat: 1_000_000n, feeratePerKw: 1_000 }).open()
    fee(pair, 8_000)
    pair.settle()
    expect(pair.told('alice', 'refused').map((effect) => effect.refusal.code)).toEqual([])
    fee(pair, 8_400)
    expect(pair.told('alice', 'refused').map((effect) => effect.refusal.code)).toEqual(['insufficient_balance'])
    receiveFee(pair, 'bob', 9_000)
    expect(codes(pair, 'bob')).toEqual(['fee_not_affordable'])
    expect(pair.bob.disconnects).toBe(1)
  })

  it('from who does not pay ends the connection', () => {
    const pair = new Pair().open()
    receiveFee(pair, 'alice', 2_000)
    expect(codes(pair, 'alice')).toEqual(['fee_from_accepter'])
    pair.act('bob', { from: 'owner', type: 'updateFee', feeratePerKw: FeeratePerKw(2_000) })
    expect(pair.told('bob', 'refused').map((effect) => effect.refusal.code)).toEqual(['not_opener'])
  })

  it('S28: beyond all reason ends the connection', () => {
    for (const [feerate, fails] of [
      [25_000, false],
      [25_001, true],
      [252, true],
    ] as const) {
      const pair = new Pair({ capacitySat: 10_000_000n }).open()
      receiveFee(pair, 'bob', feerate)
      expect(codes(pair, 'bob')).toEqual(fails ? ['feerate_out_of_range'] : [])
      expect(pair.bob.channel.feeUpdates).toHaveLength(fails ? 0 : 1)
    }
  })

  it('S28: what the opener pays above its own estimate counts as exposure', () => {
    for (const [estimate, code] of [
      [10_000, []],
      [1_000, ['dust_exposure']],
    ] as const) {
      const options = { feeratePerKw: 10_000, policy: { maxDustExposureMsat: Msat(10_200_000n) } }
      const pair = new Pair({ capacitySat: 10_000_000n, ...options }).open()
      pair.alice.env = { ...pair.alice.env, feerates: { ...pair.alice.env.feerates, commitment: FeeratePerKw(estimate) } }
      // 1124 weight at 9,000 sat/kw above the estimate are 10,116 sat
      pair.offer('alice', 300_000n, 1)
      expect(refusals(pair, 'alice')).toEqual(code)
    }
  })

  it('S27: that turns too many HTLCs into dust ends the connection without anchors', () => {
    const options = { features: withoutFeatures('option_anchors'), policy: { maxDustExposureMsat: Msat(1_000_000n) } }
    const pair = new Pair(options).open()
    for (const n of [1, 2, 3]) pair.offer('alice', 3_000_000n, n)
    pair.settle()
    receiveFee(pair, 'bob', 6_000)
    expect(codes(pair, 'bob')).toEqual(['dust_exposure'])
    expect(pair.bob.channel.feeUpdates).toEqual([])
    const own = new Pair(options).open()
    for (const n of [1, 2, 3]) own.offer('alice', 3_000_000n, n)
    own.settle()
    fee(own, 6_000)
    expect(own.told('alice', 'refused').map((effect) => effect.refusal.code)).toEqual(['dust_exposure'])
  })
})
