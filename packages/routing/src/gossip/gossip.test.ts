/** BOLT 7: what is accepted, kept, relayed, asked for and answered; the vectors of the extended queries; our own announcements. */
import { BlockHeight, Msat, multisigScript, p2wshOf, Sat, Txid } from '@leyden/bitcoin'
import { concat, DecodeError, hexToBytes } from '@leyden/codec'
import { ecdsaSign, pointFromSecret, sha256 } from '@leyden/crypto'
import {
  ChannelId,
  type ChannelUpdate,
  decodeMessage,
  encodeMessage,
  formatScid,
  MESSAGE_FLAG_DONT_FORWARD,
  type Message,
  type NodeId,
  nodeIdFromPoint,
  scid,
  type ShortChannelId,
} from '@leyden/lnwire'
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import {
  buildChannelAnnouncement,
  buildChannelUpdate,
  buildNodeAnnouncement,
  channelAnnouncementHash,
  type OwnPolicy,
} from './announce.ts'
import { applyAnnouncement, applyUpdate } from './graph.ts'
import { restoreOwn, routeHints } from './own.ts'
import { loadGossip } from './rows.ts'
import {
  DEFAULT_LIMITS,
  emptyGossip,
  type FundingLookup,
  type Gossip,
  type GossipEffect,
  type GossipEnv,
  type GossipInput,
  type GossipMessage,
  type OwnChannel,
} from './state.ts'
import { resumeGossip, stepGossip } from './step.ts'
import { crc32c } from './sync.ts'
import { checkChannelAnnouncement, fundingScript } from './validate.ts'

const secretOf = (name: string): Uint8Array => sha256(new TextEncoder().encode(name))
interface Key {
  readonly secret: Uint8Array
  readonly point: Uint8Array
  readonly id: NodeId
  readonly sign: (hash: Uint8Array) => Uint8Array
}
const keyOf = (name: string): Key => {
  const secret = secretOf(name)
  const point = pointFromSecret(secret)
  return { secret, point, id: nodeIdFromPoint(point), sign: (hash) => ecdsaSign(hash, secret) }
}
const [us, alice, bob, carol] = [keyOf('us'), keyOf('alice'), keyOf('bob'), keyOf('carol')]
const chainHash = new Uint8Array(32).fill(6)
const NOW = 1_700_000_000

const announcementOf = (id: ShortChannelId, a: Key, b: Key, chain = chainHash) => {
  const fields = { chainHash: chain, shortChannelId: id, features: new Uint8Array(0) }
  const [fundingA, fundingB] = [keyOf(`${a.id} funds ${id}`), keyOf(`${b.id} funds ${id}`)]
  const sideA = { nodeId: a.id, bitcoinKey: fundingA.point }
  const sideB = { nodeId: b.id, bitcoinKey: fundingB.point }
  const hash = channelAnnouncementHash(fields, sideA, sideB)
  const signed = (side: typeof sideA, key: Key, funding: Key) => ({
    ...side,
    nodeSignature: key.sign(hash),
    bitcoinSignature: funding.sign(hash),
  })
  const sides = { a: signed(sideA, a, fundingA), b: signed(sideB, b, fundingB) }
  return { ...buildChannelAnnouncement(fields, sides.a, sides.b), sides, script: fundingScript(fundingA.point, fundingB.point) }
}
const policy: OwnPolicy = {
  enabled: true,
  cltvExpiryDelta: 40,
  feeBaseMsat: 1000,
  feeProportionalMillionths: 100,
  htlcMinimumMsat: Msat(1n),
  htlcMaximumMsat: Msat(1_000_000n),
}
const updateOf = (id: ShortChannelId, from: Key, to: Key, timestamp = NOW, more: Partial<OwnPolicy> = {}, isPrivate = false) =>
  buildChannelUpdate(
    {
      chainHash,
      shortChannelId: id,
      localNodeId: from.id,
      remoteNodeId: to.id,
      timestamp,
      policy: { ...policy, ...more },
      private: isPrivate,
    },
    from.sign,
  )
const nodeOf = (key: Key, timestamp = NOW, alias = 'node') =>
  buildNodeAnnouncement(
    key.id,
    { alias, rgbColor: Uint8Array.of(1, 2, 3), addresses: [], features: new Uint8Array(0) },
    timestamp,
    key.sign,
  )

const env: GossipEnv = {
  chainHash,
  localNodeId: us.id,
  now: NOW,
  height: BlockHeight(1000),
  sign: us.sign,
  acceptUnverified: false,
  limits: { ...DEFAULT_LIMITS, flushSeconds: 0 },
}
const step = (gossip: Gossip, input: GossipInput, more: Partial<GossipEnv> = {}): readonly GossipEffect[] =>
  stepGossip(gossip, input, { ...env, ...more })
const from = (peer: Key, signed: { readonly message: Message; readonly raw: Uint8Array }): GossipInput => ({
  from: 'peer',
  type: 'message',
  peer: peer.id,
  message: signed.message as GossipMessage,
  raw: signed.raw,
})
const say = (message: GossipMessage) => ({ message, raw: encodeMessage(message) })
const connected = (peer: Key, queries = false): GossipInput => ({ from: 'peer', type: 'connected', peer: peer.id, queries })
const tick: GossipInput = { from: 'clock', type: 'tick' }
const unspent = (scriptPubKey: Uint8Array, confirmations = 6): FundingLookup => ({
  status: 'unspent',
  outpoint: { txid: Txid('ab'.repeat(32)), vout: 1 },
  scriptPubKey,
  valueSat: Sat(1_000_000n),
  confirmations,
})
const sentTo = (peer: Key, effects: readonly GossipEffect[]): readonly Message[] =>
  effects.flatMap((effect) => {
    if (effect.type !== 'send' || effect.peer !== peer.id) return []
    const message = decodeMessage(effect.raw)
    if (message instanceof DecodeError || message.type === 'unknown') throw new Error('sent what does not decode')
    return [message]
  })
const typesTo = (peer: Key, effects: readonly GossipEffect[]): readonly string[] => sentTo(peer, effects).map(({ type }) => type)
const warnings = (effects: readonly GossipEffect[]): readonly string[] =>
  effects.flatMap((effect) => (effect.type === 'warn' ? [effect.violation.code] : []))

const ID = scid(100, 1, 0)
/** A network where alice told us of a channel between bob and carol, with both updates. */
const known = (): Gossip => {
  const gossip = emptyGossip()
  step(gossip, connected(alice))
  const announcement = announcementOf(ID, bob, carol)
  step(gossip, from(alice, announcement))
  step(gossip, { from: 'chain', type: 'funding', shortChannelId: ID, found: unspent(announcement.script) })
  step(gossip, from(alice, updateOf(ID, bob, carol)))
  step(gossip, from(alice, updateOf(ID, carol, bob)))
  return gossip
}

describe('announcements of channels', () => {
  it('wait for the ledger, then stand in the graph with their capacity, stored and watched', () => {
    const gossip = emptyGossip()
    step(gossip, connected(alice))
    const announcement = announcementOf(ID, bob, carol)
    expect(step(gossip, from(alice, announcement))).toStrictEqual([{ to: 'chain', type: 'lookupFunding', shortChannelId: ID }])
    expect(gossip.graph.channels.size).toBe(0)
    const effects = step(gossip, { from: 'chain', type: 'funding', shortChannelId: ID, found: unspent(announcement.script) })
    expect(effects.map(({ type }) => type)).toStrictEqual(['rows', 'watch', 'graphChanged'])
    expect(gossip.graph.channels.get(ID)).toMatchObject({ capacitySat: 1_000_000n, usable: true })
    expect([...gossip.graph.nodes.keys()].toSorted()).toStrictEqual([bob.id, carol.id].toSorted())
    expect(step(gossip, from(alice, announcement))).toStrictEqual([])
  })

  it('that come before the blocks that they speak of wait for them, with their updates', () => {
    const gossip = emptyGossip()
    step(gossip, connected(alice))
    const early = scid(env.height - 3, 1, 0)
    const announcement = announcementOf(early, bob, carol)
    expect(step(gossip, from(alice, announcement))).toStrictEqual([])
    step(gossip, from(alice, updateOf(early, bob, carol)))
    expect(step(gossip, { from: 'clock', type: 'tick' })).toStrictEqual([])
    const later = { ...env, height: BlockHeight(env.height + 2) }
    expect(stepGossip(gossip, { from: 'clock', type: 'tick' }, later)).toStrictEqual([
      { to: 'chain', type: 'lookupFunding', shortChannelId: early },
    ])
    stepGossip(gossip, { from: 'chain', type: 'funding', shortChannelId: early, found: unspent(announcement.script) }, later)
    expect(gossip.graph.channels.get(early)?.policies.filter((policy) => policy !== undefined)).toHaveLength(1)
  })

  it('with any wrong signature end the connection', () => {
    const { message } = announcementOf(ID, bob, carol)
    for (const field of ['nodeSignature1', 'nodeSignature2', 'bitcoinSignature1', 'bitcoinSignature2'] as const) {
      const gossip = emptyGossip()
      step(gossip, connected(alice))
      const forged = { ...message, [field]: message.nodeSignature1.map((byte, i) => (i === 40 ? byte ^ 1 : byte)) }
      expect(warnings(step(gossip, from(alice, say(forged))))).toStrictEqual(['bad_signature'])
      expect(gossip.pending.size).toBe(0)
    }
  })

  it('are signed over every byte, also behind what we know', () => {
    const { message, raw } = announcementOf(ID, bob, carol)
    expect(checkChannelAnnouncement(message, raw)).toBe(undefined)
    expect(checkChannelAnnouncement(message, concat(raw, Uint8Array.of(1)))).toMatchObject({ code: 'bad_signature' })
  })

  it('have their nodes in order', () => {
    const { message } = announcementOf(ID, bob, carol)
    const swapped = { ...message, nodeId1: message.nodeId2, nodeId2: message.nodeId1 }
    expect(checkChannelAnnouncement(swapped, encodeMessage(swapped))).toMatchObject({ code: 'nodes_not_ordered' })
  })

  it('S24: are dropped when the output pays to something else, does not exist, or cannot be looked up', () => {
    const answers: readonly FundingLookup[] = [
      unspent(p2wshOf(multisigScript(2, [bob.point, carol.point]))),
      { status: 'missing' },
      { status: 'unknown' },
    ]
    for (const found of answers) {
      const gossip = emptyGossip()
      step(gossip, connected(alice))
      step(gossip, from(alice, announcementOf(ID, bob, carol)))
      expect(step(gossip, { from: 'chain', type: 'funding', shortChannelId: ID, found })).toStrictEqual([])
      expect(gossip.graph.channels.size).toBe(0)
      // not looked up again and again
      expect(step(gossip, from(alice, announcementOf(ID, bob, carol)))).toStrictEqual([])
    }
  })

  it('are believed without a look only where the policy says so', () => {
    const gossip = emptyGossip()
    step(gossip, connected(alice))
    step(gossip, from(alice, announcementOf(ID, bob, carol)))
    step(gossip, { from: 'chain', type: 'funding', shortChannelId: ID, found: { status: 'unknown' } }, { acceptUnverified: true })
    expect(gossip.graph.channels.get(ID)?.capacitySat).toBe(undefined)
    expect(gossip.graph.channels.size).toBe(1)
  })

  it('of another chain, or too young, are ignored', () => {
    const gossip = emptyGossip()
    step(gossip, connected(alice))
    expect(step(gossip, from(alice, announcementOf(ID, bob, carol, new Uint8Array(32))))).toStrictEqual([])
    expect(step(gossip, from(alice, announcementOf(scid(1000, 1, 0), bob, carol)))).toStrictEqual([])
  })

  it('S59: only so many wait for the ledger', () => {
    const gossip = emptyGossip()
    const limits = { ...env.limits, maxPending: 3 }
    step(gossip, connected(alice))
    for (let i = 0; i < 6; i++) step(gossip, from(alice, announcementOf(scid(100, i, 0), bob, carol)), { limits })
    expect(gossip.pending.size).toBe(3)
  })

  it('know the funding script of BOLT 3 (appendix B)', () => {
    const local = hexToBytes('023da092f6980e58d2c037173180e9a465476026ee50f96695963e8efe436f54eb')
    const remote = hexToBytes('030e9f7b623d2ccc7c9bd44d66d5ce21ce504c0acf6385a132cec6d3c39fa711c1')
    const script = multisigScript(2, [local, remote])
    expect(script).toStrictEqual(
      hexToBytes(
        '5221023da092f6980e58d2c037173180e9a465476026ee50f96695963e8efe436f54eb21030e9f7b623d2ccc7c9bd44d66d5ce21ce504c0acf6385a132cec6d3c39fa711c152ae',
      ),
    )
    expect(fundingScript(remote, local)).toStrictEqual(p2wshOf(script))
  })
})

describe('updates', () => {
  it('count when newer and signed by the end that speaks', () => {
    const gossip = known()
    const channel = gossip.graph.channels.get(ID)
    const side = bob.id < carol.id ? 0 : 1
    expect(channel?.policies[side]).toMatchObject({ feeBaseMsat: 1000, enabled: true })
    step(gossip, from(alice, updateOf(ID, bob, carol, NOW + 1, { feeBaseMsat: 7, enabled: false })))
    expect(channel?.policies[side]).toMatchObject({ feeBaseMsat: 7, enabled: false })
    expect(step(gossip, from(alice, updateOf(ID, bob, carol, NOW + 1, { feeBaseMsat: 8 })))).toStrictEqual([])
    expect(step(gossip, from(alice, updateOf(ID, bob, carol, NOW, { feeBaseMsat: 9 })))).toStrictEqual([])
    expect(channel?.policies[side]?.feeBaseMsat).toBe(7)
    const { message } = updateOf(ID, bob, carol, NOW + 2)
    expect(warnings(step(gossip, from(alice, say({ ...message, feeBaseMsat: 1 }))))).toStrictEqual(['bad_signature'])
  })

  it('S58: with timestamp 0 are no messages', () => {
    const { raw } = updateOf(ID, bob, carol)
    const zeroed = raw.slice()
    zeroed.fill(0, 2 + 64 + 32 + 8, 2 + 64 + 32 + 8 + 4)
    expect(decodeMessage(zeroed)).toBeInstanceOf(DecodeError)
  })

  it('far in the future or older than two weeks are dropped', () => {
    const gossip = known()
    expect(step(gossip, from(alice, updateOf(ID, bob, carol, NOW + 2 * 86_400)))).toStrictEqual([])
    expect(step(gossip, from(alice, updateOf(ID, bob, carol, NOW - 1_209_601)), { now: NOW })).toStrictEqual([])
  })

  it('flooding from one direction is cut off without a verification', () => {
    const gossip = known()
    let taken = 0
    for (let i = 1; i <= 30; i++) taken += step(gossip, from(alice, updateOf(ID, bob, carol, NOW + i))).length > 0 ? 1 : 0
    expect(taken).toBe(11)
    expect(step(gossip, from(alice, updateOf(ID, bob, carol, NOW + 100)), { now: NOW + 120 })).not.toStrictEqual([])
  })

  it('and node announcements that come before the ledger has answered are held', () => {
    const gossip = emptyGossip()
    step(gossip, connected(alice))
    const announcement = announcementOf(ID, bob, carol)
    step(gossip, from(alice, announcement))
    step(gossip, from(alice, updateOf(ID, bob, carol)))
    step(gossip, from(alice, nodeOf(carol)))
    step(gossip, { from: 'chain', type: 'funding', shortChannelId: ID, found: unspent(announcement.script) })
    expect(gossip.graph.channels.get(ID)?.policies.filter(Boolean)).toHaveLength(1)
    expect(gossip.graph.nodes.get(carol.id)?.announcement?.timestamp).toBe(NOW)
  })
})

describe('node announcements', () => {
  it('count for nodes with a channel, when newer and signed', () => {
    const gossip = known()
    expect(step(gossip, from(alice, nodeOf(alice)))).toStrictEqual([])
    step(gossip, from(alice, nodeOf(bob, NOW, 'bob')))
    expect(gossip.graph.nodes.get(bob.id)?.announcement?.timestamp).toBe(NOW)
    expect(step(gossip, from(alice, nodeOf(bob, NOW, 'bobby')))).toStrictEqual([])
    const { message } = nodeOf(bob, NOW + 1)
    expect(warnings(step(gossip, from(alice, say({ ...message, alias: new Uint8Array(32) }))))).toStrictEqual(['bad_signature'])
  })
})

describe('forgetting', () => {
  it('a channel whose funding is spent is not told any more, and goes after 72 blocks; a reorganisation brings it back', () => {
    const gossip = known()
    step(gossip, { from: 'chain', type: 'fundingSpent', shortChannelId: ID, height: BlockHeight(1000) })
    step(gossip, tick, { height: BlockHeight(1071) })
    expect(gossip.graph.channels.get(ID)?.spentAt).toBe(1000)
    step(gossip, { from: 'chain', type: 'fundingUnspent', shortChannelId: ID })
    expect(gossip.graph.channels.get(ID)?.spentAt).toBe(undefined)
    step(gossip, { from: 'chain', type: 'fundingSpent', shortChannelId: ID, height: BlockHeight(1001) })
    const effects = step(gossip, tick, { height: BlockHeight(1073), now: NOW + 1000 })
    expect(gossip.graph.channels.size + gossip.graph.nodes.size).toBe(0)
    expect(effects.filter(({ type }) => type === 'unwatch')).toHaveLength(1)
  })

  it('a channel goes when one of its ends has said nothing for two weeks', () => {
    const gossip = known()
    step(gossip, from(alice, updateOf(ID, bob, carol, NOW + 1_000_000)), { now: NOW + 1_000_000 })
    step(gossip, tick, { now: NOW + 1_209_600 })
    expect(gossip.graph.channels.size).toBe(1)
    step(gossip, tick, { now: NOW + 1_209_600 + 601 })
    expect(gossip.graph.channels.size).toBe(0)
  })

  it('nothing that is stored: rows give the same graph', () => {
    const rows = new Map<string, Uint8Array>()
    const keep = (effects: readonly GossipEffect[]): void => {
      for (const effect of effects)
        if (effect.type === 'rows')
          for (const { suffix, value } of effect.rows) {
            if (value === undefined) rows.delete(suffix)
            else rows.set(suffix, value)
          }
    }
    const gossip = emptyGossip()
    const announcement = announcementOf(ID, bob, carol)
    keep(step(gossip, connected(alice)))
    keep(step(gossip, from(alice, announcement)))
    keep(step(gossip, { from: 'chain', type: 'funding', shortChannelId: ID, found: unspent(announcement.script) }))
    keep(step(gossip, from(alice, updateOf(ID, bob, carol))))
    keep(step(gossip, from(alice, nodeOf(bob))))
    const loaded = loadGossip(rows).gossip
    const { rates: _, ...channel } = gossip.graph.channels.get(ID) ?? { rates: undefined }
    expect(loaded.graph.channels.get(ID)).toMatchObject(channel)
    expect(loaded.graph.nodes.get(bob.id)?.announcement?.raw).toStrictEqual(nodeOf(bob).raw)
    expect(resumeGossip(loaded)).toMatchObject([{ to: 'chain', type: 'watch', shortChannelId: ID }])
    keep(step(gossip, { from: 'chain', type: 'fundingSpent', shortChannelId: ID, height: BlockHeight(900) }))
    expect(loadGossip(rows).gossip.graph.channels.get(ID)?.spentAt).toBe(900)
    keep(step(gossip, tick))
    expect(rows.size).toBe(0)
  })
})

describe('relaying', () => {
  const filter = (first: number, range = 0xffff_ffff): GossipMessage => ({
    type: 'gossip_timestamp_filter',
    chainHash,
    firstTimestamp: first,
    timestampRange: range,
  })

  it('goes to those who asked, not to who told us, the announcement first', () => {
    const gossip = known()
    step(gossip, connected(bob))
    step(gossip, connected(carol))
    gossip.fresh.clear()
    step(gossip, from(carol, say(filter(NOW + 5))))
    step(gossip, from(alice, say(filter(NOW + 5))))
    const more = announcementOf(scid(200, 1, 0), alice, bob)
    step(gossip, from(alice, more))
    step(gossip, { from: 'chain', type: 'funding', shortChannelId: scid(200, 1, 0), found: unspent(more.script) })
    step(gossip, from(alice, updateOf(scid(200, 1, 0), alice, bob, NOW + 10)))
    const effects = step(gossip, tick)
    expect(typesTo(carol, effects)).toStrictEqual(['channel_announcement', 'channel_update'])
    expect(typesTo(bob, effects)).toStrictEqual([])
    expect(typesTo(alice, effects)).toStrictEqual([])
  })

  it('gives the past that a filter lets through', () => {
    const gossip = known()
    step(gossip, from(alice, nodeOf(bob)))
    expect(typesTo(alice, step(gossip, from(alice, say(filter(NOW)))))).toStrictEqual([
      'channel_announcement',
      'channel_update',
      'channel_update',
      'node_announcement',
    ])
    expect(typesTo(alice, step(gossip, from(alice, say(filter(NOW, 0)))))).toStrictEqual([])
    expect(typesTo(alice, step(gossip, from(alice, say(filter(NOW - 50, 50)))))).toStrictEqual([])
  })

  it('S56: leaves in chunks, as the peer takes them, within its budget', () => {
    const gossip = emptyGossip()
    step(gossip, connected(alice))
    for (let i = 0; i < 10; i++) {
      const announcement = announcementOf(scid(100, i, 0), bob, carol)
      step(gossip, from(alice, announcement))
      step(gossip, { from: 'chain', type: 'funding', shortChannelId: scid(100, i, 0), found: unspent(announcement.script) })
      step(gossip, from(alice, updateOf(scid(100, i, 0), bob, carol)))
    }
    const limits = { ...env.limits, sendChunk: 4, sendBurst: 10, sendPerSecond: 1 }
    step(gossip, connected(carol), { limits })
    const first = step(gossip, from(carol, say(filter(NOW))), { limits })
    expect(typesTo(carol, first)).toHaveLength(4)
    expect(typesTo(carol, step(gossip, { from: 'peer', type: 'writable', peer: carol.id }, { limits }))).toHaveLength(4)
    expect(typesTo(carol, step(gossip, { from: 'peer', type: 'writable', peer: carol.id }, { limits }))).toHaveLength(2)
    expect(typesTo(carol, step(gossip, { from: 'peer', type: 'writable', peer: carol.id }, { limits }))).toHaveLength(0)
    expect(typesTo(carol, step(gossip, tick, { limits, now: NOW + 4 }))).toHaveLength(4)
  })
})

describe('answering queries', () => {
  const ask = (ids: readonly ShortChannelId[], flags?: readonly number[]): GossipMessage => ({
    type: 'query_short_channel_ids',
    chainHash,
    shortChannelIds: ids,
    ...(flags === undefined ? {} : { queryFlags: flags }),
  })
  const END = { type: 'reply_short_channel_ids_end', chainHash, fullInformation: 1 }

  it('ids: announcement, updates, nodes, then the end', () => {
    const gossip = known()
    step(gossip, from(alice, nodeOf(bob)))
    step(gossip, from(alice, nodeOf(carol)))
    const answer = sentTo(alice, step(gossip, from(alice, say(ask([ID, scid(1, 1, 1)])))))
    expect(answer.map(({ type }) => type)).toStrictEqual([
      'channel_announcement',
      'channel_update',
      'channel_update',
      'node_announcement',
      'node_announcement',
      'reply_short_channel_ids_end',
    ])
    expect(answer.at(-1)).toStrictEqual(END)
  })

  it('ids with flags: what they say', () => {
    const gossip = known()
    step(gossip, from(alice, nodeOf(bob)))
    const typesFor = (flag: number): readonly string[] => typesTo(alice, step(gossip, from(alice, say(ask([ID], [flag])))))
    expect(typesFor(1)).toStrictEqual(['channel_announcement', 'reply_short_channel_ids_end'])
    expect(typesFor(6)).toStrictEqual(['channel_update', 'channel_update', 'reply_short_channel_ids_end'])
    expect(typesFor(8 + 16)).toStrictEqual(['node_announcement', 'reply_short_channel_ids_end'])
    expect(warnings(step(gossip, from(alice, say(ask([ID], [1, 2])))))).toStrictEqual(['flags_do_not_match_ids'])
  })

  it('S61: an id that is asked for many times is answered once', () => {
    const gossip = known()
    const ids = Array.from({ length: 8000 }, () => ID)
    expect(typesTo(alice, step(gossip, from(alice, say(ask(ids)))))).toHaveLength(4)
  })

  it('S61: one query at a time, and not without end', () => {
    const gossip = known()
    const limits = { ...env.limits, sendChunk: 1 }
    step(gossip, from(alice, say(ask([ID], [7]))), { limits })
    expect(warnings(step(gossip, from(alice, say(ask([ID]))), { limits }))).toStrictEqual(['query_while_answering'])
    for (let i = 0; i < 3; i++) step(gossip, tick, { limits })
    let refused = 0
    for (let i = 0; i < 100; i++) refused += warnings(step(gossip, from(alice, say(ask([ID]))))).length
    expect(refused).toBe(41)
  })

  it('ranges: ids in order, with timestamps and checksums where wanted', () => {
    const gossip = known()
    const query = (first: number, count: number, flags?: number): readonly Message[] =>
      sentTo(
        alice,
        step(
          gossip,
          from(
            alice,
            say({
              type: 'query_channel_range',
              chainHash,
              firstBlocknum: first,
              numberOfBlocks: count,
              ...(flags === undefined ? {} : { queryOptionFlags: flags }),
            }),
          ),
        ),
      )
    expect(query(0, 100)).toMatchObject([{ firstBlocknum: 0, numberOfBlocks: 100, syncComplete: 1, shortChannelIds: [] }])
    expect(query(0, 101)).toMatchObject([{ shortChannelIds: [ID] }])
    expect(query(0, 0xffff_ffff)).toMatchObject([{ shortChannelIds: [ID], syncComplete: 1 }])
    expect(query(100, 1, 3)).toMatchObject([
      { shortChannelIds: [ID], timestamps: [{ timestampNodeId1: NOW, timestampNodeId2: NOW }], checksums: [{}] },
    ])
  })

  it('S60: many ids make many replies, each within the size of a message', () => {
    const gossip = emptyGossip()
    step(gossip, connected(alice))
    const announcement = announcementOf(ID, bob, carol)
    const update = updateOf(ID, bob, carol)
    for (let i = 0; i < 7000; i++) {
      const id = scid(i < 4000 ? 100 : 100 + i, i, 0)
      applyAnnouncement(gossip.graph, { ...announcement.message, shortChannelId: id }, announcement.raw, { heardAt: NOW })
      applyUpdate(gossip.graph, { ...update.message, shortChannelId: id }, update.raw)
    }
    const message: GossipMessage = {
      type: 'query_channel_range',
      chainHash,
      firstBlocknum: 0,
      numberOfBlocks: 1_000_000,
      queryOptionFlags: 3,
    }
    const replies = sentTo(alice, step(gossip, from(alice, say(message)))) as Extract<Message, { type: 'reply_channel_range' }>[]
    expect(replies.map((reply) => reply.syncComplete)).toStrictEqual([0, 0, 1])
    expect(replies.flatMap((reply) => reply.shortChannelIds)).toHaveLength(7000)
    replies.forEach((reply, i) => {
      expect(reply.firstBlocknum).toBeGreaterThanOrEqual(replies[i - 1]?.firstBlocknum ?? 0)
      for (const id of reply.shortChannelIds) {
        expect(Number(id >> 40n)).toBeGreaterThanOrEqual(reply.firstBlocknum)
        expect(Number(id >> 40n)).toBeLessThan(reply.firstBlocknum + reply.numberOfBlocks)
      }
    })
    const last = replies.at(-1)
    expect((last?.firstBlocknum ?? 0) + (last?.numberOfBlocks ?? 0)).toBe(1_000_000)
  })

  it('checksums are CRC32C (RFC 3720 B.4)', () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa)
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43)
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e)
  })
})

describe('asking', () => {
  const reply = (
    ids: readonly ShortChannelId[],
    more: { first?: number; count?: number; complete?: number } = {},
  ): GossipMessage => ({
    type: 'reply_channel_range',
    chainHash,
    firstBlocknum: more.first ?? 0,
    numberOfBlocks: more.count ?? 10_000,
    syncComplete: more.complete ?? 1,
    shortChannelIds: ids,
  })
  const END: GossipMessage = { type: 'reply_short_channel_ids_end', chainHash, fullInformation: 1 }

  it('begins with a filter and a range, then asks for what is missing, one query in flight', () => {
    const gossip = known()
    const hello = sentTo(bob, step(gossip, connected(bob, true)))
    expect(hello).toMatchObject([
      { type: 'gossip_timestamp_filter', firstTimestamp: NOW - 3600 },
      { type: 'query_channel_range', firstBlocknum: 0, numberOfBlocks: 2000 },
    ])
    const limits = { ...env.limits, queryBatch: 2 }
    const ids = [scid(10, 1, 0), scid(10, 2, 0), scid(11, 1, 0)]
    const asked = sentTo(bob, step(gossip, from(bob, say(reply([...ids, ID, scid(2_000, 1, 1)]))), { limits }))
    expect(asked).toMatchObject([{ type: 'query_short_channel_ids', shortChannelIds: ids.slice(0, 2) }])
    expect(typesTo(bob, step(gossip, tick, { limits }))).toStrictEqual([])
    expect(sentTo(bob, step(gossip, from(bob, say(END)), { limits }))).toMatchObject([{ shortChannelIds: ids.slice(2) }])
    expect(typesTo(bob, step(gossip, from(bob, say(END)), { limits }))).toStrictEqual([])
  })

  it('an update of an unknown channel makes us ask for it', () => {
    const gossip = known()
    step(gossip, connected(bob, true))
    const asked = sentTo(bob, step(gossip, from(bob, updateOf(scid(300, 1, 0), bob, carol))))
    expect(asked).toMatchObject([{ type: 'query_short_channel_ids', shortChannelIds: [scid(300, 1, 0)] }])
  })

  it('a peer that does not answer is asked no more', () => {
    const gossip = known()
    step(gossip, connected(bob, true))
    step(gossip, tick, { now: NOW + 61 })
    expect(step(gossip, from(bob, updateOf(scid(300, 1, 0), bob, carol, NOW + 61)), { now: NOW + 61 })).toStrictEqual([])
  })

  it('S59 S60: unwanted replies and endless ids leave no trace', () => {
    const gossip = known()
    step(gossip, connected(bob, true))
    const limits = { ...env.limits, maxWanted: 5, queryBatch: 1 }
    const many = Array.from({ length: 100 }, (_, i) => scid(10, i, 0))
    step(gossip, from(bob, say(reply(many))), { limits })
    expect(gossip.peers.get(bob.id)?.wanted.size).toBeLessThanOrEqual(5)
    const before = gossip.peers.get(bob.id)?.wanted.size
    step(gossip, from(bob, say(reply([scid(20, 1, 0)]))), { limits })
    expect(gossip.peers.get(bob.id)?.wanted.size).toBe(before)
  })

  it('only the first peers are subscribed to; another takes the place of one that leaves', () => {
    const gossip = emptyGossip()
    const limits = { ...env.limits, syncPeers: 1 }
    expect(typesTo(alice, step(gossip, connected(alice), { limits }))).toStrictEqual(['gossip_timestamp_filter'])
    expect(typesTo(bob, step(gossip, connected(bob), { limits }))).toStrictEqual([])
    const effects = step(gossip, { from: 'peer', type: 'disconnected', peer: alice.id }, { limits })
    expect(typesTo(bob, effects)).toStrictEqual(['gossip_timestamp_filter'])
  })
})

describe('our own channels', () => {
  const CHANNEL = ChannelId('cc'.repeat(32))
  const own: OwnChannel = {
    channelId: CHANNEL,
    remoteNodeId: alice.id,
    capacitySat: Sat(1_000_000n),
    localAlias: scid(0, 0, 11),
    remoteAlias: scid(0, 0, 22),
    policy,
  }
  const OWN_ID = scid(500, 1, 0)

  it('that are private are told to the peer alone, by its alias, not to be passed on', () => {
    const gossip = emptyGossip()
    step(gossip, connected(alice))
    step(gossip, connected(bob))
    const effects = step(gossip, { from: 'owner', type: 'ownChannel', channel: own })
    const [update] = sentTo(alice, effects) as ChannelUpdate[]
    expect(update).toMatchObject({ shortChannelId: scid(0, 0, 22), feeBaseMsat: 1000 })
    expect((update?.messageFlags ?? 0) & MESSAGE_FLAG_DONT_FORWARD).toBe(MESSAGE_FLAG_DONT_FORWARD)
    expect(typesTo(bob, effects)).toStrictEqual([])
    // the same policy needs no new signature; another one does; a peer that comes back hears it again
    expect(step(gossip, { from: 'owner', type: 'ownChannel', channel: own })).toStrictEqual([])
    const changed = step(gossip, {
      from: 'owner',
      type: 'ownChannel',
      channel: { ...own, policy: { ...policy, feeBaseMsat: 5 } },
    })
    expect(sentTo(alice, changed)).toMatchObject([{ feeBaseMsat: 5, timestamp: NOW + 1 }])
    step(gossip, { from: 'peer', type: 'disconnected', peer: alice.id })
    expect(typesTo(alice, step(gossip, connected(alice)))).toContain('channel_update')
  })

  it('the remote says what it asks for: kept for the hints of invoices', () => {
    const gossip = emptyGossip()
    step(gossip, connected(alice))
    step(gossip, { from: 'owner', type: 'ownChannel', channel: own })
    expect(routeHints(gossip)).toStrictEqual([])
    const update = updateOf(scid(0, 0, 11), alice, us, NOW, { cltvExpiryDelta: 33 }, true)
    const effects = step(gossip, from(alice, update))
    expect(effects).toMatchObject([
      { type: 'rows' },
      { type: 'remotePolicy', channelId: CHANNEL, policy: { cltvExpiryDelta: 33 } },
    ])
    const hints = [
      [
        {
          nodeId: alice.id,
          shortChannelId: scid(0, 0, 22),
          feeBaseMsat: 1000,
          feeProportionalMillionths: 100,
          cltvExpiryDelta: 33,
        },
      ],
    ]
    expect(routeHints(gossip)).toStrictEqual(hints)
    // and after a restart
    const rows = effects.flatMap((effect) => (effect.type === 'rows' ? effect.rows : []))
    const loaded = loadGossip(rows.flatMap(({ suffix, value }) => (value === undefined ? [] : [[suffix, value] as const])))
    restoreOwn(loaded.gossip, own, loaded.own)
    expect(routeHints(loaded.gossip)).toStrictEqual(hints)
    // from anybody else it is worth nothing
    const forged = updateOf(scid(0, 0, 11), bob, us, NOW + 1)
    expect(
      warnings(
        step(gossip, from(alice, { message: { ...forged.message, channelFlags: update.message.channelFlags }, raw: forged.raw })),
      ),
    ).toStrictEqual(['bad_signature'])
  })

  const announce = (gossip: Gossip): readonly GossipEffect[] => {
    const built = announcementOf(OWN_ID, us, alice)
    const { nodeId: _, ...local } = built.sides.a
    const { nodeId: __, ...remote } = built.sides.b
    const outpoint = { txid: Txid('cd'.repeat(32)), vout: 0 }
    return step(gossip, { from: 'owner', type: 'announce', channelId: CHANNEL, shortChannelId: OWN_ID, outpoint, local, remote })
  }

  it('that both have signed are announced to everybody, with update and node', () => {
    const gossip = emptyGossip()
    step(gossip, connected(alice))
    step(gossip, connected(bob))
    step(gossip, {
      from: 'owner',
      type: 'nodeInfo',
      info: {
        alias: 'us ⚡ with a name that is much too long for it',
        rgbColor: Uint8Array.of(0, 0, 0),
        addresses: [{ type: 'ipv4', host: '127.0.0.1', port: 9735 }],
        features: Uint8Array.of(2),
      },
    })
    step(gossip, { from: 'owner', type: 'ownChannel', channel: own })
    const effects = announce(gossip)
    expect(typesTo(bob, effects)).toStrictEqual(['channel_announcement', 'channel_update', 'node_announcement'])
    const [, update] = sentTo(bob, effects) as [Message, ChannelUpdate]
    expect(update).toMatchObject({ shortChannelId: OWN_ID, messageFlags: 1 })
    expect(effects.filter(({ type }) => type === 'watch')).toHaveLength(1)
    expect(routeHints(gossip)).toStrictEqual([])
    // another node takes all three
    const other = emptyGossip()
    step(other, connected(us), { localNodeId: bob.id })
    for (const message of sentTo(bob, effects)) step(other, from(us, say(message as GossipMessage)), { localNodeId: bob.id })
    const found = unspent(announcementOf(OWN_ID, us, alice).script)
    const accepted = step(other, { from: 'chain', type: 'funding', shortChannelId: OWN_ID, found }, { localNodeId: bob.id })
    expect(warnings(accepted)).toStrictEqual([])
    expect(other.graph.nodes.get(us.id)?.announcement).not.toBe(undefined)
    expect(other.graph.channels.get(OWN_ID)?.policies.filter(Boolean)).toHaveLength(1)
  })

  it('with a wrong signature of the remote are not announced', () => {
    const gossip = emptyGossip()
    step(gossip, connected(alice))
    step(gossip, { from: 'owner', type: 'ownChannel', channel: own })
    const built = announcementOf(OWN_ID, us, alice)
    const effects = step(gossip, {
      from: 'owner',
      type: 'announce',
      channelId: CHANNEL,
      shortChannelId: OWN_ID,
      outpoint: { txid: Txid('cd'.repeat(32)), vout: 0 },
      local: built.sides.a,
      remote: { ...built.sides.b, nodeSignature: new Uint8Array(64).fill(1) },
    })
    expect(warnings(effects)).toStrictEqual(['bad_signature'])
    expect(gossip.graph.channels.size).toBe(0)
  })

  it('that the remote announced first get our update all the same', () => {
    const gossip = emptyGossip()
    step(gossip, connected(alice))
    step(gossip, { from: 'owner', type: 'ownChannel', channel: own })
    const built = announcementOf(OWN_ID, us, alice)
    step(gossip, from(alice, built))
    step(gossip, { from: 'chain', type: 'funding', shortChannelId: OWN_ID, found: unspent(built.script) })
    expect(typesTo(alice, announce(gossip))).toStrictEqual(['channel_update'])
  })

  it('keep what the remote said of them before we announced them, whether the ledger has answered or not', () => {
    const built = announcementOf(OWN_ID, us, alice)
    const found: GossipInput = { from: 'chain', type: 'funding', shortChannelId: OWN_ID, found: unspent(built.script) }
    for (const answered of [false, true]) {
      const gossip = emptyGossip()
      step(gossip, connected(alice))
      step(gossip, connected(bob))
      step(gossip, { from: 'owner', type: 'ownChannel', channel: { ...own, shortChannelId: OWN_ID } })
      step(gossip, from(alice, built))
      step(gossip, from(alice, updateOf(OWN_ID, alice, us, NOW, { feeBaseMsat: 77 })))
      step(gossip, from(alice, nodeOf(alice)))
      if (answered) step(gossip, found)
      announce(gossip)
      if (!answered) step(gossip, found)
      expect(
        gossip.graph.channels
          .get(OWN_ID)
          ?.policies.map((one) => one?.feeBaseMsat)
          .toSorted(),
      ).toStrictEqual([1000, 77])
      expect(gossip.graph.nodes.get(alice.id)?.announcement).not.toBe(undefined)
      // and who asked for gossip hears of it
      step(gossip, from(bob, say({ type: 'gossip_timestamp_filter', chainHash, firstTimestamp: 0, timestampRange: 0xffff_ffff })))
      const heard = [...sentTo(bob, step(gossip, tick))].filter(({ type }) => type === 'channel_update') as ChannelUpdate[]
      expect(heard.map(({ feeBaseMsat }) => feeBaseMsat)).toContain(77)
    }
  })

  it('are not spoken of publicly by what the remote said in private', () => {
    const gossip = emptyGossip()
    step(gossip, connected(alice))
    step(gossip, { from: 'owner', type: 'ownChannel', channel: { ...own, shortChannelId: OWN_ID } })
    step(gossip, from(alice, updateOf(OWN_ID, alice, us, NOW, {}, true)))
    announce(gossip)
    expect(gossip.graph.channels.get(OWN_ID)?.policies.filter(Boolean)).toHaveLength(1)
  })

  it('are signed again before others would prune them, and never taken from somebody else', () => {
    const gossip = emptyGossip()
    step(gossip, connected(alice))
    step(gossip, { from: 'owner', type: 'ownChannel', channel: own })
    announce(gossip)
    const later = NOW + env.limits.refreshSeconds + 1
    expect(sentTo(alice, step(gossip, tick, { now: later }))).toMatchObject([{ type: 'channel_update', timestamp: later }])
    expect(step(gossip, from(alice, updateOf(OWN_ID, us, alice, later + 5, { feeBaseMsat: 0 })), { now: later })).toStrictEqual(
      [],
    )
    step(gossip, tick, { now: NOW + 3_000_000 })
    expect(gossip.graph.channels.size).toBe(1)
  })

  it('that are closed leave no rows', () => {
    const gossip = emptyGossip()
    step(gossip, { from: 'owner', type: 'ownChannel', channel: own })
    expect(step(gossip, { from: 'owner', type: 'ownChannelClosed', channelId: CHANNEL })).toMatchObject([{ type: 'rows' }])
    expect(gossip.own.size).toBe(0)
  })
})

const vectors = new URL(
  `${process.env['LEYDEN_VECTORS'] ?? '../../../../../shared/vectors'}/bolts/bolt07-extended-queries.json`,
  import.meta.url,
)
const hasVectors = existsSync(vectors)

describe.skipIf(!hasVectors)(`the vectors of the extended queries${hasVectors ? '' : ' (skipped: no vectors)'}`, () => {
  interface Vector {
    readonly hex: string
    readonly msg: { readonly type: string; readonly shortChannelIds?: { readonly array: readonly string[] } }
  }
  const all = hasVectors ? (JSON.parse(readFileSync(vectors, 'utf8')) as readonly Vector[]) : []
  const isCompressed = ({ msg }: Vector): boolean => JSON.stringify(msg).includes('"COMPRESSED_ZLIB"')
  const named = (vector: Vector, i: number) => [`${vector.msg.type} ${i}`, vector] as const

  it.each(all.filter((vector) => !isCompressed(vector)).map(named))('%s', (_name, { hex, msg }) => {
    const message = decodeMessage(hexToBytes(hex)) as Message
    expect(encodeMessage(message)).toStrictEqual(hexToBytes(hex))
    const ids = 'shortChannelIds' in message ? message.shortChannelIds : undefined
    expect(ids?.map(formatScid)).toStrictEqual(msg.shortChannelIds?.array)
  })

  it.each(all.filter(isCompressed).map(named))('S60: refuses zlib: %s', (_name, { hex }) => {
    expect(decodeMessage(hexToBytes(hex))).toBeInstanceOf(DecodeError)
  })
})
