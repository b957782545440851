import { describe, expect, it } from 'vitest'
import { BlockHash, BlockHeight } from '@leyden/bitcoin'
import { ChannelId } from '@leyden/lnwire'
import { channelKind, loadPast } from './record.ts'
import { asStored, Pair, sortedRows } from './testing.ts'

describe('the rows of a channel', () => {
  it('give it back, offline', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    pair.offer('bob', 6_000_000n, 2)
    pair.settle()
    pair.fulfill('bob', 0n, 1)
    for (const name of ['alice', 'bob'] as const) {
      const node = pair.node(name)
      const loaded = channelKind.load(node.channel.channelId, sortedRows(node))
      expect(loaded).toEqual(asStored(node.channel))
      expect(loaded.link).toBe('offline')
      // Loaded and written again they are the same rows.
      expect(channelKind.diff(loaded, loaded)).toEqual([])
    }
  })

  it('forget a proposal that was never signed, over any number of restarts', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    pair.offer('alice', 6_000_000n, 2)
    pair.deliver('alice')
    pair.deliver('alice')
    expect(pair.bob.channel.nextRemoteHtlcId).toBe(2n)
    for (let restart = 0; restart < 3; restart++) {
      pair.restart('bob')
      pair.act('bob', {
        from: 'chain',
        type: 'blockConnected',
        height: BlockHeight(pair.bob.channel.height + 1),
        hash: BlockHash('00'.repeat(32)),
        transactions: [],
      })
      expect(pair.bob.channel.nextRemoteHtlcId).toBe(0n)
      expect(pair.bob.channel.htlcs).toEqual([])
    }
    pair.disconnect()
    pair.connect()
    pair.settle()
    expect(pair.told('bob', 'htlcCommitted').map(({ htlc }) => htlc.id)).toEqual([0n, 1n])
  })

  it('of an add with 483 HTLCs in flight take about 2 KB', () => {
    const pair = new Pair({ capacitySat: 10_000_000n, pushMsat: 0n, check: false }).open()
    for (let n = 0; n < 482; n++) pair.offer('alice', 1_000_000n, n)
    pair.settle()
    pair.offer('alice', 1_000_000n, 999)
    expect(pair.told('alice', 'offerRefused')).toEqual([])
    expect(pair.alice.channel.htlcs).toHaveLength(483)
    expect(pair.alice.written).toBeLessThan(2_600)
  })

  it('write the onion of an HTLC once', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    pair.flush('alice')
    expect(pair.alice.written).toBeLessThan(1_300)
    expect([...pair.alice.rows.keys()].filter((suffix) => suffix.startsWith('onion/'))).toHaveLength(1)
  })

  it('keep of a past HTLC in which remote commitments it was, and nothing else', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    pair.settle()
    pair.offer('bob', 6_000_000n, 2)
    pair.settle()
    pair.fulfill('bob', 0n, 1)
    pair.settle()
    pair.fail('alice', 0n)
    pair.settle()
    const rows = sortedRows(pair.alice)
    expect(rows.filter(([suffix]) => suffix.startsWith('htlc/') || suffix.startsWith('onion/'))).toEqual([])
    const past = loadPast(pair.alice.channel.channelId, rows)
    expect(past.map(({ offeredBy, id, first, last }) => ({ offeredBy, id, first, last }))).toEqual([
      { offeredBy: 'local', id: 0n, first: 1, last: 2 },
      { offeredBy: 'remote', id: 0n, first: 2, last: 3 },
    ])
    expect(channelKind.load(pair.alice.channel.channelId, rows).htlcs).toEqual([])
  })

  it('move to the final id, and go with the channel', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    pair.settle()
    pair.fulfill('bob', 0n, 1)
    pair.settle()
    const left = new Map(pair.alice.rows)
    for (const { suffix, value } of channelKind.diff(pair.alice.channel, undefined)) {
      expect(value).toBeUndefined()
      left.delete(suffix)
    }
    expect([...left.keys()]).toEqual([])
    const moved = channelKind.diff(undefined, { ...pair.alice.channel, channelId: ChannelId('66'.repeat(32)) })
    expect(moved.map(({ suffix }) => suffix)).toEqual(['terms', 'head', 'signatures', 'revocations', 'end'])
  })

  it('S52: that are damaged, missing or of a newer version are a fault, not a channel', () => {
    const pair = new Pair().open()
    const rows = sortedRows(pair.alice)
    const { channelId } = pair.alice.channel
    for (const suffix of ['terms', 'head', 'signatures', 'revocations', 'end']) {
      expect(() =>
        channelKind.load(
          channelId,
          rows.filter(([name]) => name !== suffix),
        ),
      ).toThrow(suffix)
      const cut = rows.map(([name, value]) => [name, name === suffix ? value.slice(0, value.length - 1) : value] as const)
      expect(() => channelKind.load(channelId, cut)).toThrow(Error)
    }
  })
})
