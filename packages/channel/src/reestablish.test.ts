import { describe, expect, it } from 'vitest'
import { FeeratePerKw } from '@leyden/bitcoin'
import { hexToBytes } from '@leyden/codec'
import type { ChannelReestablish } from '@leyden/lnwire'
import { capacityNow } from './balances.ts'
import { channelKind } from './record.ts'
import { asStored, checkAgreement, type Name, otherName, Pair, preimageOf, sortedRows, withoutFeatures } from './testing.ts'

/** Which side's message is delivered next. */
type Order = 'alternate' | 'aliceFirst' | 'bobFirst' | 'late'

/** HTLCs both ways, a fee update, fulfils and failures. Calls `cut` after each message that was delivered. */
const scenario = (pair: Pair, order: Order, cut: (delivered: number) => void): void => {
  let delivered = 0
  const done = new Set<string>()
  const resolve = (name: Name): void => {
    for (const { htlc } of pair.told(name, 'htlcCommitted')) {
      if (done.has(`${name}/${htlc.id}`)) continue
      done.add(`${name}/${htlc.id}`)
      const n = (name === 'bob' ? 0 : 10) + Number(htlc.id)
      if (htlc.id === 1n) pair.fail(name, htlc.id)
      else pair.act(name, { from: 'owner', type: 'fulfillHtlc', htlcId: htlc.id, preimage: preimageOf(n) })
    }
  }
  const one = (name: Name): boolean => {
    if (!pair.deliver(name)) return false
    delivered += 1
    cut(delivered)
    return true
  }
  const flushBoth = (): boolean => [pair.flush('alice'), pair.flush('bob')].includes(true)
  for (const n of [0, 1]) {
    pair.offer('alice', 5_000_000n + BigInt(n), n)
    pair.offer('bob', 3_000_000n + BigInt(n), 10 + n)
  }
  if (order === 'late') {
    // What one side sends crosses what the other sends: signatures are in flight both ways.
    pair.flush('alice')
    pair.flush('bob')
  }
  for (let round = 0; round < 2_000; round++) {
    let moved = false
    if (round === 2) pair.act('alice', { from: 'owner', type: 'updateFee', feeratePerKw: FeeratePerKw(1_400) })
    if (order === 'aliceFirst') moved = one('alice') || one('bob')
    else if (order === 'bobFirst') moved = one('bob') || one('alice')
    else moved = [one('alice'), one('bob')].includes(true)
    resolve('alice')
    resolve('bob')
    if (order !== 'late' || round % 3 === 0 || !moved) moved = flushBoth() || moved
    if (!moved) return
  }
  throw new Error('the scenario does not end')
}

const expectDone = (pair: Pair): void => {
  checkAgreement(pair)
  for (const name of ['alice', 'bob'] as const) {
    const node = pair.node(name)
    expect(node.channel.htlcs).toEqual([])
    expect(node.channel.feeUpdates).toEqual([])
    expect(node.told.filter((effect) => effect.type === 'violated')).toEqual([])
    expect(pair.told(name, 'htlcCommitted')).toHaveLength(2)
    expect(pair.told(name, 'htlcFulfilled')).toHaveLength(1)
    expect(pair.told(name, 'htlcFailed')).toHaveLength(1)
  }
  const alice = 700_000_000n - 5_000_000n + 3_000_000n
  expect(pair.balances('alice')).toEqual({ local: alice, remote: 1_000_000_000n - alice })
}

describe('S40: a connection cut after any single message', () => {
  const cases = [
    ['alternate', {}, 0, 1],
    ['aliceFirst', { features: withoutFeatures('option_anchors') }, 0, 2],
    ['bobFirst', {}, 1, 2],
    ['late', { features: withoutFeatures('option_anchors') }, 0, 1],
  ] as const
  // In two of the orders every other message: the two mirror each other.
  it.each(cases)('resumes where it was (%s)', (order, options, first, step) => {
    const opened = new Pair(options).open()
    const whole = opened.copy()
    let messages = 0
    scenario(whole, order, (delivered) => (messages = delivered))
    expectDone(whole)
    expect(messages).toBeGreaterThan(20)
    for (let at: number = first; at <= messages; at += step) {
      const pair = opened.copy()
      const crash = at % 3
      scenario(pair, order, (delivered) => {
        if (delivered !== at) return
        pair.disconnect()
        if (crash === 1) pair.restart('alice')
        if (crash === 2) pair.restart('bob')
        pair.connect()
      })
      expectDone(pair)
    }
  })

  it('S40: while the channel opens, and as often as it likes', () => {
    for (let at = 0; at <= 4; at++) {
      const pair = new Pair()
      const tx = pair.fund()
      if (at === 0) pair.disconnect()
      pair.mine([tx], 3)
      for (let i = 0; i < at; i++) pair.deliver(i % 2 === 0 ? 'alice' : 'bob')
      if (at !== 0) pair.disconnect()
      pair.restart('alice')
      pair.restart('bob')
      pair.connect()
      pair.settle()
      expect(pair.alice.channel.phase.name).toBe('normal')
      expect(pair.bob.channel.phase.name).toBe('normal')
      expect(pair.told('alice', 'ready')).toHaveLength(1)
      pair.offer('alice', 1_000_000n, 1)
      pair.settle()
      checkAgreement(pair)
    }
  })
})

describe('S50: retransmission is a function of the stored state', () => {
  it('signs exactly the same commitment again', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    pair.flush('alice')
    const first = pair.alice.sent.at(-1)
    pair.disconnect()
    pair.restart('alice')
    pair.connect()
    pair.deliver('bob')
    const again = pair.alice.sent.filter((message) => message.type === 'commitment_signed')
    expect(again).toHaveLength(2)
    expect(again[1]).toEqual(first)
    pair.settle()
    checkAgreement(pair)
  })

  /** Alice's signature and revocation are both lost; `signedFirst` says which she sent first. */
  const bothLost = (signedFirst: boolean): Pair => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    pair.offer('bob', 6_000_000n, 2)
    pair.flush('bob')
    const toAlice = (): void => {
      pair.deliver('bob')
      pair.deliver('bob')
    }
    if (signedFirst) {
      pair.flush('alice')
      toAlice()
    } else {
      toAlice()
      pair.flush('alice')
    }
    const [last, before] = [pair.alice.sent.at(-1)?.type, pair.alice.sent.at(-2)?.type]
    expect([before, last]).toEqual(
      signedFirst ? ['commitment_signed', 'revoke_and_ack'] : ['revoke_and_ack', 'commitment_signed'],
    )
    pair.disconnect()
    pair.alice.sent.length = 0
    pair.connect()
    pair.deliver('bob')
    return pair
  }

  it.each([
    [true, ['channel_reestablish', 'update_add_htlc', 'commitment_signed', 'revoke_and_ack']],
    [false, ['channel_reestablish', 'revoke_and_ack', 'update_add_htlc', 'commitment_signed']],
  ])('keeps the order of commitment_signed and revoke_and_ack (signed first: %s)', (signedFirst, types) => {
    const pair = bothLost(signedFirst)
    expect(pair.sentTypes('alice')).toEqual(types)
    pair.settle()
    checkAgreement(pair)
    expect(pair.told('alice', 'violated')).toEqual([])
    expect(pair.told('bob', 'violated')).toEqual([])
  })

  it('proposes again what was not signed, and forgets what the remote had not signed', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    pair.offer('bob', 6_000_000n, 2)
    pair.deliver('alice')
    pair.deliver('bob')
    expect(pair.alice.channel.htlcs).toHaveLength(2)
    pair.disconnect()
    expect(pair.alice.channel.htlcs.map((htlc) => htlc.offeredBy)).toEqual(['local'])
    expect(pair.alice.channel.nextRemoteHtlcId).toBe(0n)
    pair.connect()
    pair.settle()
    checkAgreement(pair)
    expect(pair.alice.channel.htlcs).toHaveLength(2)
  })

  it('fails an offer that nobody signed once it has expired offline, and moves the later ones up', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1, pair.height + 3)
    pair.offer('alice', 6_000_000n, 2)
    pair.disconnect()
    pair.mine([], 3)
    expect(pair.told('alice', 'htlcFailed')).toEqual([
      {
        to: 'owner',
        type: 'htlcFailed',
        htlcId: 0n,
        origin: { kind: 'payment', paymentId: '1', attempt: 0 },
        failure: { kind: 'neverSent' },
      },
    ])
    pair.connect()
    pair.settle()
    checkAgreement(pair)
    expect(pair.told('bob', 'htlcCommitted').map((effect) => [effect.htlc.id, effect.htlc.amountMsat])).toEqual([
      [0n, 6_000_000n],
    ])
  })

  it('S31: drops an unsigned offer for which no room is left, instead of breaking the rules with it', () => {
    const pair = new Pair({ feeratePerKw: 2_500, pushMsat: 400_000_000n }).open()
    pair.offer('alice', capacityNow(pair.alice.channel).sendableMsat, 0)
    for (let n = 1; n <= 14; n++) pair.offer('bob', 5_000_000n, n)
    pair.flush('bob')
    while (pair.deliver('bob'));
    // Alice has accepted Bob's HTLCs, whose outputs she pays for, and has not signed her own.
    pair.disconnect()
    pair.connect()
    pair.settle()
    checkAgreement(pair)
    expect(pair.told('bob', 'violated')).toEqual([])
    expect(pair.told('alice', 'htlcFailed').map((effect) => effect.failure)).toEqual([{ kind: 'neverSent' }])
    expect(pair.told('alice', 'htlcCommitted')).toHaveLength(14)
    pair.offer('alice', 1_000_000n, 20)
    pair.settle()
    expect(pair.told('bob', 'htlcCommitted').map((effect) => effect.htlc.id)).toEqual([0n])
  })

  it('sends a removal that was asked for while the remote was away', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    pair.settle()
    pair.disconnect()
    pair.fulfill('bob', 0n, 1)
    pair.restart('bob')
    pair.connect()
    pair.settle()
    checkAgreement(pair)
    expect(pair.told('alice', 'htlcFulfilled')).toHaveLength(1)
    expect(pair.balances('bob').local).toBe(305_000_000n)
  })
})

describe('data loss', () => {
  /** Bob as he was, stored, when Alice had paid him once; she has paid twice more since. */
  const behind = (): Pair => {
    const pair = new Pair().open()
    const pay = (n: number): void => {
      pair.offer('alice', 5_000_000n, n)
      pair.settle()
      pair.fulfill('bob', BigInt(n), n)
      pair.settle()
    }
    pay(0)
    const rows = sortedRows(pair.bob)
    pay(1)
    pay(2)
    pair.disconnect()
    pair.bob.channel = channelKind.load(pair.bob.channel.channelId, rows)
    return pair
  }

  it('S22: a peer that proves to be ahead keeps us from publishing; it is asked to close', () => {
    const pair = behind()
    pair.bob.published.clear()
    pair.connect()
    pair.deliver('alice')
    expect(pair.bob.channel.fellBehind).toBe(true)
    expect(pair.bob.channel.phase.name).toBe('closing')
    expect([...pair.bob.published.keys()].filter((id) => id.endsWith('/commitment'))).toEqual([])
    expect(pair.sentTypes('bob').at(-1)).toBe('error')
    // Not even when the owner insists.
    pair.act('bob', { from: 'owner', type: 'forceClose', reason: 'test' })
    expect([...pair.bob.published.keys()].filter((id) => id.endsWith('/commitment'))).toEqual([])
    pair.settle()
    expect(pair.alice.channel.phase.name).toBe('closing')
    expect([...pair.alice.published.keys()].some((id) => id.endsWith('/commitment'))).toBe(true)
  })

  const reestablishOf = (pair: Pair, name: Name): ChannelReestablish => {
    const message = pair.node(name).sent.findLast((sent) => sent.type === 'channel_reestablish')
    if (message?.type !== 'channel_reestablish') throw new Error('no channel_reestablish')
    return message
  }

  it.each([
    ['that only says it is ahead', { nextRevocationNumber: 50n }, 'revocation_number_wrong'],
    ['with an impossible number', { nextRevocationNumber: 2n ** 64n - 1n }, 'revocation_number_wrong'],
    ['with a wrong secret', { yourLastPerCommitmentSecret: hexToBytes('01'.repeat(32)) }, 'last_secret_wrong'],
    ['with commitment number 0', { nextCommitmentNumber: 0n }, 'commitment_number_zero'],
    ['that expects a commitment that we never signed', { nextCommitmentNumber: 9n }, 'commitment_number_wrong'],
  ] as const)('S22: a peer %s cannot freeze funds: we close with our own commitment', (_, change, code) => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 0)
    pair.settle()
    pair.disconnect()
    pair.connect()
    const lie = { ...reestablishOf(pair, 'alice'), ...change }
    pair.act('bob', { from: 'peer', type: 'message', message: lie })
    expect(pair.told('bob', 'violated').map((effect) => effect.violation.code)).toEqual([code])
    expect(pair.bob.channel.fellBehind).toBeUndefined()
    expect([...pair.bob.published.keys()].some((id) => id.endsWith('/commitment'))).toBe(true)
  })

  it('retransmits the error of a failed channel and ignores the rest', () => {
    const pair = new Pair().open()
    pair.act('alice', { from: 'owner', type: 'forceClose', reason: 'no more' })
    pair.disconnect()
    pair.alice.sent.length = 0
    pair.connect()
    expect(pair.sentTypes('alice')).toEqual(['error'])
  })
})

describe('while reestablishing', () => {
  it('takes nothing but channel_reestablish, and that only once', () => {
    const pair = new Pair().open()
    pair.disconnect()
    pair.connect()
    const { channelId } = pair.alice.channel
    pair.act('alice', {
      from: 'peer',
      type: 'message',
      message: { type: 'update_fee', channelId, feeratePerKw: FeeratePerKw(500) },
    })
    expect(pair.told('alice', 'violated').map((effect) => effect.violation.code)).toEqual(['out_of_order'])
    expect(pair.alice.disconnects).toBe(1)
    expect(pair.alice.channel.phase.name).toBe('normal')
    pair.disconnect()
    pair.connect()
    pair.settle()
    const message = pair.node(otherName('alice')).sent.findLast((sent) => sent.type === 'channel_reestablish')
    if (message === undefined) throw new Error('no channel_reestablish')
    pair.act('alice', { from: 'peer', type: 'message', message })
    expect(pair.alice.disconnects).toBe(2)
  })

  it('is stored as offline', () => {
    const pair = new Pair().open()
    const stored = channelKind.load(pair.alice.channel.channelId, sortedRows(pair.alice))
    expect(stored).toEqual(asStored(pair.alice.channel))
    expect(stored.link).toBe('offline')
  })
})
