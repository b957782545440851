import { describe, expect, it } from 'vitest'
import { Txid, ZERO_HASH } from '@leyden/bitcoin'
import { scid, ShortChannelId } from '@leyden/lnwire'
import { depthOf } from './depth.ts'
import { checkAgreement, Pair } from './testing.ts'

describe('channel_ready', () => {
  it('waits for the agreed depth', () => {
    const pair = new Pair()
    const tx = pair.fund()
    pair.mine([tx], 2)
    pair.settle()
    expect(pair.sentTypes('bob')).not.toContain('channel_ready')
    pair.mine()
    pair.settle()
    expect(pair.alice.channel.phase.name).toBe('normal')
    expect(pair.told('alice', 'ready')).toEqual([{ to: 'owner', type: 'ready', shortChannelId: scid(101, 1, 1) }])
    expect(pair.alice.channel.remoteAlias).toBe(ShortChannelId(222n))
  })

  it('S25: waits for 100 blocks where a coinbase funds it', () => {
    const pair = new Pair()
    pair.deliver('bob')
    const plain = pair.fundingTx()
    const tx = {
      ...plain,
      inputs: plain.inputs.map((input) => ({ ...input, outpoint: { txid: Txid(ZERO_HASH), vout: 0xffff_ffff } })),
    }
    pair.act('alice', { from: 'owner', type: 'funded', tx, outputIndex: 1 })
    pair.settle()
    pair.mine([tx], 99)
    pair.settle()
    expect(pair.bob.channel.phase.name).toBe('awaitingReady')
    pair.mine()
    pair.settle()
    expect(pair.bob.channel.phase.name).toBe('normal')
  })

  it('S69: a second one changes the alias and nothing else', () => {
    const pair = new Pair().open()
    const ready = pair.alice.sent.find((message) => message.type === 'channel_ready')
    if (ready?.type !== 'channel_ready') throw new Error('no channel_ready')
    const point = pair.bob.channel.remoteNextPoint
    const { secondPerCommitmentPoint } = { secondPerCommitmentPoint: pair.bob.channel.local.fundingPubkey }
    pair.act('bob', {
      from: 'peer',
      type: 'message',
      message: { ...ready, secondPerCommitmentPoint, shortChannelId: ShortChannelId(999n) },
    })
    expect(pair.bob.channel.remoteAlias).toBe(999n)
    expect(pair.bob.channel.remoteNextPoint).toEqual(point)
    expect(pair.told('bob', 'ready')).toHaveLength(1)
  })

  it('comes before our own depth is reached and is remembered', () => {
    const pair = new Pair()
    const tx = pair.fund()
    const block = { height: 101, hash: pair.blocks[0]?.hash ?? blockHash(1), transactions: [tx] }
    pair.connectBlock('alice', block)
    pair.connectBlock('alice', { height: 102, hash: blockHash(2), transactions: [] })
    pair.connectBlock('alice', { height: 103, hash: blockHash(3), transactions: [] })
    pair.settle()
    expect(pair.bob.channel.phase).toEqual({ name: 'awaitingReady', localReady: false, remoteReady: true })
    pair.restart('bob')
    expect(pair.bob.channel.phase).toEqual({ name: 'awaitingReady', localReady: false, remoteReady: true })
  })
})

import { BlockHash } from '@leyden/bitcoin'
const blockHash = (n: number): BlockHash => BlockHash(n.toString(16).padStart(64, '0'))

describe('a reorg', () => {
  it('of the funding transaction un-confirms it; the channel stays usable, and gets another scid', () => {
    const pair = new Pair().open()
    const [tx] = pair.unmine(3)
    if (tx === undefined) throw new Error('no funding transaction')
    expect(depthOf(pair.alice.channel)).toBe(0)
    expect(pair.alice.channel.phase.name).toBe('normal')
    pair.offer('alice', 1_000_000n, 1)
    pair.settle()
    checkAgreement(pair)
    pair.mine()
    pair.mine([tx])
    expect(pair.alice.channel.shortChannelId).toBe(scid(102, 1, 1))
    expect(pair.told('alice', 'ready').map((effect) => effect.shortChannelId)).toEqual([scid(101, 1, 1), scid(102, 1, 1)])
    expect(pair.told('alice', 'closing')).toEqual([])
    // While it is in no block, the opener publishes it again.
    expect([...pair.alice.published.values()]).toContainEqual(tx)
  })
})

describe('a funding that never comes', () => {
  it('S53: is forgotten by who accepted after 2,016 blocks', () => {
    const pair = new Pair({ check: false })
    pair.fund()
    pair.mine([], 2_015)
    expect(pair.bob.channel.phase.name).toBe('awaitingReady')
    pair.mine()
    expect(pair.bob.channel.phase).toEqual({ name: 'closed', how: 'neverFunded' })
    expect(pair.alice.channel.phase.name).toBe('awaitingReady')
  })
})

describe('announcement_signatures', () => {
  it('are exchanged after six confirmations, and verified', () => {
    const pair = new Pair({ announce: true }).open()
    pair.mine([], 2)
    pair.settle()
    expect(pair.sentTypes('alice')).not.toContain('announcement_signatures')
    pair.mine()
    pair.settle()
    const [alice] = pair.told('alice', 'announceable')
    const [bob] = pair.told('bob', 'announceable')
    expect(alice?.shortChannelId).toBe(scid(101, 1, 1))
    expect(alice?.remoteNodeSignature).toEqual(bob?.localNodeSignature)
    expect(alice?.localBitcoinSignature).toEqual(bob?.remoteBitcoinSignature)
    expect(pair.told('alice', 'announceable')).toHaveLength(1)
  })

  it('are not sent for a channel that is not to be announced', () => {
    const pair = new Pair().open()
    pair.mine([], 6)
    pair.settle()
    expect(pair.sentTypes('alice')).not.toContain('announcement_signatures')
  })

  it('S69: that come early are kept', () => {
    const pair = new Pair({ announce: true }).open()
    for (let height = 104; height <= 106; height++)
      pair.connectBlock('alice', { height, hash: blockHash(height), transactions: [] })
    pair.settle()
    expect(pair.told('bob', 'announceable')).toEqual([])
    for (let height = 104; height <= 106; height++)
      pair.connectBlock('bob', { height, hash: blockHash(height), transactions: [] })
    pair.settle()
    expect(pair.told('bob', 'announceable')).toHaveLength(1)
    expect(pair.told('alice', 'announceable')).toHaveLength(1)
  })

  it('that were lost are sent again, and the exchange ends', () => {
    const pair = new Pair({ announce: true }).open()
    pair.mine([], 3)
    pair.disconnect()
    pair.restart('alice')
    pair.connect()
    pair.settle()
    expect(pair.told('alice', 'announceable')).toHaveLength(1)
    expect(pair.told('bob', 'announceable')).toHaveLength(1)
    pair.disconnect()
    pair.alice.sent.length = 0
    pair.connect()
    pair.settle()
    expect(pair.sentTypes('alice')).not.toContain('announcement_signatures')
  })

  it('with a wrong signature end the connection; for another scid they are warned of', () => {
    const pair = new Pair({ announce: true }).open()
    const { channelId } = pair.alice.channel
    const signatures = { nodeSignature: new Uint8Array(64).fill(1), bitcoinSignature: new Uint8Array(64).fill(1) }
    const say = (shortChannelId: ShortChannelId) =>
      pair.act('alice', {
        from: 'peer',
        type: 'message',
        message: { type: 'announcement_signatures', channelId, shortChannelId, ...signatures },
      })
    say(scid(5, 5, 5))
    expect(pair.alice.disconnects).toBe(0)
    say(scid(101, 1, 1))
    expect(pair.alice.disconnects).toBe(1)
    expect(pair.told('alice', 'violated').map((effect) => effect.violation.code)).toEqual([
      'announcement_of_other_channel',
      'announcement_signature_invalid',
    ])
  })

  it('start again for the new place after a reorg', () => {
    const pair = new Pair({ announce: true }).open()
    pair.mine([], 3)
    pair.settle()
    const [tx] = pair.unmine(6)
    if (tx === undefined) throw new Error('no funding transaction')
    pair.mine()
    pair.mine([tx], 6)
    pair.settle()
    expect(pair.told('alice', 'announceable').map((effect) => effect.shortChannelId)).toEqual([scid(101, 1, 1), scid(102, 1, 1)])
  })
})
