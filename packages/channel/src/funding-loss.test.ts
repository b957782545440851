import { describe, expect, it } from 'vitest'
import { BlockHeight, type Tx, txid, Txid } from '@leyden/bitcoin'
import { capacityNow } from './balances.ts'
import { resume } from './step.ts'
import { type Name, Pair, preimageOf } from './testing.ts'

/** Spends what the funding transaction spends, for something else. */
const rivalOf = (funding: Tx): Tx => ({ ...funding, outputs: funding.outputs.slice(0, 1) })

const states = (pair: Pair): readonly string[] =>
  (['alice', 'bob'] as const).map((name) => {
    const { phase } = pair.node(name).channel
    return phase.name === 'closed' ? phase.how : phase.name
  })

/** So many blocks later: of those between nobody is told. */
const later = (pair: Pair, blocks: number): void => {
  pair.height += blocks - 1
  pair.mine()
}

/** What is published from here on. */
const published = (pair: Pair, name: Name, act: () => void): number => {
  pair.node(name).published.clear()
  act()
  return pair.node(name).published.size
}

describe('a funding transaction that was spent twice before it confirmed', () => {
  it('S72: leaves the channel as it is until the other one is six deep, then the opener ends it and says so', () => {
    const pair = new Pair()
    const funding = pair.fund()
    const rival = rivalOf(funding)
    expect(published(pair, 'alice', () => pair.mine([rival], 5))).toBe(0)
    expect(states(pair)).toEqual(['awaitingReady', 'awaitingReady'])
    const conflict = { txid: txid(rival), height: 101 }
    expect(pair.alice.channel.fundingConflict).toEqual(conflict)
    expect(pair.told('alice', 'fundingConflicted')).toEqual([
      { to: 'owner', type: 'fundingConflicted', conflict, finalAtHeight: 106 },
    ])
    pair.restart('alice')
    expect(pair.alice.channel.fundingConflict).toEqual(conflict)
    expect(resume(pair.alice.channel, pair.alice.env).filter(({ type }) => type === 'publish')).toEqual([])
    pair.alice.channel = { ...pair.alice.channel, link: 'online' }
    pair.mine()
    expect(pair.alice.channel.phase).toEqual({ name: 'closed', how: 'fundingLost' })
    expect(pair.told('alice', 'fundingReleased')).toEqual([{ to: 'owner', type: 'fundingReleased', tx: funding }])
    expect(pair.told('alice', 'closed')).toEqual([{ to: 'owner', type: 'closed', how: 'fundingLost' }])
    expect(pair.sentTypes('alice').at(-1)).toBe('error')
    expect(published(pair, 'alice', () => pair.mine([], 3))).toBe(0)
  })

  it('ends no sooner than the funding itself had to be deep, where that is more', () => {
    const pair = new Pair({ policy: { minimumDepthBlocks: 12 } })
    pair.mine([rivalOf(pair.fund())], 11)
    expect(states(pair)).toEqual(['awaitingReady', 'awaitingReady'])
    pair.mine()
    expect(pair.alice.channel.phase).toEqual({ name: 'closed', how: 'fundingLost' })
  })

  it('comes back with a reorganisation: it is published again, and the channel opens', () => {
    const pair = new Pair()
    const funding = pair.fund()
    pair.mine([rivalOf(funding)], 5)
    pair.unmine(5)
    expect(pair.alice.channel.fundingConflict).toBeUndefined()
    expect(published(pair, 'alice', () => pair.mine())).toBe(1)
    pair.mine([funding], 3)
    pair.settle()
    expect(states(pair)).toEqual(['normal', 'normal'])
  })

  it('is known from the wallet where not its inputs but what they came from is gone', () => {
    const pair = new Pair()
    pair.fund()
    const fundingConflict = { txid: Txid('77'.repeat(32)), height: BlockHeight(101) }
    const block = (height: number) =>
      pair.act('alice', {
        from: 'chain',
        type: 'blockConnected',
        height: BlockHeight(height),
        hash: pair.blocks[0]?.hash ?? (txid(pair.fundingTx()) as never),
        transactions: [],
        fundingConflict,
      })
    for (let height = 101; height <= 105; height++) block(height)
    expect(pair.alice.channel).toMatchObject({ phase: { name: 'awaitingReady' }, fundingConflict })
    block(106)
    expect(pair.alice.channel.phase).toEqual({ name: 'closed', how: 'fundingLost' })
  })

  it('ends at the accepter too, who saw it in the mempool and so knows its inputs', () => {
    const pair = new Pair()
    const funding = pair.fund()
    pair.act('bob', { from: 'chain', type: 'transactionSeen', tx: funding })
    pair.disconnect()
    pair.mine([rivalOf(funding)], 6)
    expect(states(pair)).toEqual(['fundingLost', 'fundingLost'])
    expect(pair.told('bob', 'fundingReleased')).toEqual([])
  })

  it("ends at an accepter who never saw it: with the opener's error where nothing is its own", () => {
    const pair = new Pair({ pushMsat: 0n })
    pair.mine([rivalOf(pair.fund())], 6)
    pair.settle()
    expect(states(pair)).toEqual(['fundingLost', 'abandoned'])
  })

  it('S72: ends at an accepter who was given something after two weeks, whatever the opener says', () => {
    const pair = new Pair({ check: false })
    pair.mine([rivalOf(pair.fund())], 6)
    pair.settle()
    expect(states(pair)).toEqual(['fundingLost', 'closing'])
    later(pair, 2_009)
    expect(states(pair)).toEqual(['fundingLost', 'closing'])
    pair.mine()
    expect(states(pair)).toEqual(['fundingLost', 'neverFunded'])
  })

  it('cannot be closed meanwhile: the owner is told why, and when it ends', () => {
    const pair = new Pair()
    const rival = rivalOf(pair.fund())
    pair.mine([rival], 2)
    pair.act('alice', { from: 'owner', type: 'forceClose', reason: 'wanted' })
    pair.act('alice', { from: 'owner', type: 'close' })
    expect(states(pair)).toEqual(['awaitingReady', 'awaitingReady'])
    const data = { conflict: txid(rival), finalAtHeight: 106 }
    expect(pair.told('alice', 'refused')).toMatchObject([
      { command: 'forceClose', refusal: { code: 'funding_conflicted', data } },
      { command: 'close', refusal: { code: 'funding_conflicted', data } },
    ])
  })
})

describe('a funding transaction that was confirmed, left with a reorganisation and was spent twice then', () => {
  const lose = (pair: Pair, blocks = 3): Tx => {
    const [funding] = pair.unmine(blocks)
    if (funding === undefined) throw new Error('no funding transaction')
    const rival = rivalOf(funding)
    pair.mine([rival])
    return rival
  }

  it('is published again by both, as long as nothing is in its way', () => {
    const pair = new Pair().open()
    const [funding] = pair.unmine(3)
    for (const name of ['alice', 'bob'] as const) expect(published(pair, name, () => pair.mine())).toBe(1)
    expect([...pair.bob.published.values()]).toEqual([funding])
  })

  it('S72: carries nothing any more: nothing is offered, and what comes in must fail', () => {
    const pair = new Pair().open()
    lose(pair)
    expect(capacityNow(pair.bob.channel)).toEqual({ sendableMsat: 0n, receivableMsat: 0n })
    pair.offer('bob', 1_000_000n, 1)
    expect(pair.told('bob', 'offerRefused')).toMatchObject([{ refusal: { code: 'funding_conflicted' } }])
    // A peer that does not know, or pretends not to.
    const { fundingConflict: _, ...blind } = pair.alice.channel
    pair.alice.channel = blind
    pair.offer('alice', 2_000_000n, 2)
    pair.settle()
    expect(pair.told('bob', 'htlcCommitted')).toMatchObject([{ failNow: 'funding_conflicted', htlc: { amountMsat: 2_000_000n } }])
  })

  it('S72: fails what was offered only when it is final, and not what a preimage has come for', () => {
    const pair = new Pair().open()
    pair.offer('bob', 1_000_000n, 1)
    pair.offer('bob', 2_000_000n, 2)
    pair.settle()
    lose(pair)
    pair.mine([], 4)
    pair.fulfill('alice', 1n, 2)
    pair.settle()
    expect(pair.told('bob', 'htlcFailed')).toEqual([])
    expect(pair.told('bob', 'htlcFulfilled')).toMatchObject([{ htlcId: 1n, preimage: preimageOf(2) }])
    expect(states(pair)).toEqual(['normal', 'normal'])
    pair.mine()
    expect(states(pair)).toEqual(['fundingLost', 'fundingLost'])
    expect(pair.told('bob', 'htlcFailed')).toMatchObject([{ htlcId: 0n, failure: { kind: 'onchain' } }])
    expect(pair.told('bob', 'htlcFulfilled')).toHaveLength(1)
  })

  it('ends a channel that was closing by force, which publishes its commitment again only if the funding can come back', () => {
    const pair = new Pair().open()
    const [funding] = pair.unmine(3)
    if (funding === undefined) throw new Error('no funding transaction')
    pair.act('bob', { from: 'owner', type: 'forceClose', reason: 'wanted' })
    expect(published(pair, 'bob', () => pair.mine([rivalOf(funding)]))).toBe(0)
    pair.unmine()
    expect(published(pair, 'bob', () => pair.mine())).toBe(2)
    pair.mine([rivalOf(funding)], 6)
    expect(states(pair)).toEqual(['fundingLost', 'fundingLost'])
  })

  it('publishes no closing transaction either, which was being negotiated', () => {
    const pair = new Pair().open()
    pair.act('bob', { from: 'owner', type: 'close' })
    lose(pair)
    for (const name of ['alice', 'bob'] as const) expect(published(pair, name, () => pair.settle())).toBe(0)
    expect(states(pair)).toEqual(['closing', 'closing'])
    pair.mine([], 5)
    expect(states(pair)).toEqual(['fundingLost', 'fundingLost'])
  })

  it('is forgotten two weeks after it left, where nobody knows why, by an accepter who has nothing in it', () => {
    for (const pushMsat of [0n, 300_000_000n]) {
      const pair = new Pair({ pushMsat, check: false }).open()
      pair.unmine(3)
      later(pair, 2_016)
      expect(pair.bob.channel.phase.name).toBe('normal')
      pair.mine()
      expect(states(pair)).toEqual(['normal', pushMsat === 0n ? 'fundingLost' : 'normal'])
    }
  })
})
