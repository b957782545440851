/** The graph in numbers follows the graph: after any changes it holds the edges that can be used, and only those, with their terms. */
import { BlockHeight, Msat, Sat } from '@leyden/bitcoin'
import { type ChannelAnnouncement, type ChannelUpdate, type NodeAnnouncement, NodeId, scid } from '@leyden/lnwire'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  applyAnnouncement,
  applyNode,
  applySpend,
  applyUpdate,
  emptyGraph,
  type Graph,
  removeChannel,
  speakerOf,
} from './graph.ts'
import { DELAY, EDGE_LIMITS, EDGE_WORDS, FEE_BASE, FEE_RATE, FROM, LEAST, MOST } from './topology.ts'

const zero = new Uint8Array(64)
const node = (n: number): NodeId => NodeId(`02${n.toString(16).padStart(64, '0')}`)
const UNKNOWN_FEATURE = new Uint8Array(100).fill(1, 0, 1)

/** `channel/direction from>to` and terms, from the numbers. */
const held = ({ topology, nodes }: Graph): readonly string[] => {
  const edges: string[] = []
  for (const { id, index } of nodes.values()) {
    expect(topology.nodeId(index)).toBe(id)
    const start = topology.starts[index] ?? 0
    for (let place = start; place < start + (topology.counts[index] ?? 0); place++) {
      const name = topology.pool.names[place] ?? -1
      const [slot, direction] = [name >> 1, (name & 1) as 0 | 1]
      expect(topology.placeOf(slot, direction)).toBe(place)
      const words = [DELAY, FEE_BASE, FEE_RATE].map((at) => topology.pool.words[place * EDGE_WORDS + at])
      const limits = [LEAST, MOST].map((at) => topology.pool.limits[place * EDGE_LIMITS + at])
      const from = topology.nodeId(topology.pool.words[place * EDGE_WORDS + FROM] ?? -1)
      edges.push(`${topology.shortChannelId(slot)}/${direction} ${from}>${id} ${words.join()} ${limits.join()}`)
    }
  }
  return edges.toSorted()
}

/** The same from the graph. */
const wanted = ({ channels, nodes }: Graph): readonly string[] =>
  [...channels.values()]
    .flatMap((channel) =>
      ([0, 1] as const).flatMap((direction) => {
        const policy = channel.policies[direction]
        const from = speakerOf(channel, direction)
        const to = speakerOf(channel, direction === 0 ? 1 : 0)
        if (policy?.enabled !== true || channel.spentAt !== undefined || !channel.usable) return []
        if (nodes.get(from)?.usable !== true) return []
        const words = [policy.cltvExpiryDelta, policy.feeBaseMsat, policy.feeProportionalMillionths]
        const most = Math.min(Number(policy.htlcMaximumMsat), Number((channel.capacitySat ?? 10n ** 15n) * 1000n))
        return [
          `${channel.shortChannelId}/${direction} ${from}>${to} ${words.join()} ${[Number(policy.htlcMinimumMsat), most].join()}`,
        ]
      }),
    )
    .toSorted()

const changes = fc.array(
  fc.record({
    kind: fc.constantFrom('add', 'add', 'update', 'update', 'update', 'update', 'remove', 'spend', 'node'),
    id: fc.nat(60),
    a: fc.nat(12),
    b: fc.nat(12),
    n: fc.nat(0xffff),
    on: fc.boolean(),
  }),
  { minLength: 50, maxLength: 600, size: 'max' },
)

describe('the topology', () => {
  it('holds the usable edges after any changes', () => {
    let most = 0
    fc.assert(
      fc.property(changes, (drawn) => {
        const graph = emptyGraph()
        drawn.forEach(({ kind, id, a, b, n, on }, i) => {
          const shortChannelId = scid(1, id, id & 1)
          if (kind === 'add' && a !== b)
            applyAnnouncement(
              graph,
              {
                shortChannelId,
                features: n % 8 === 0 ? UNKNOWN_FEATURE : new Uint8Array(0),
                nodeId1: node(Math.min(a, b)),
                nodeId2: node(Math.max(a, b)),
              } as ChannelAnnouncement,
              zero,
              { heardAt: 1, ...(on ? { capacitySat: Sat(BigInt(n)) } : {}) },
            )
          else if (kind === 'update')
            applyUpdate(
              graph,
              {
                shortChannelId,
                timestamp: i + 1,
                channelFlags: (a & 1) | (b === 0 ? 2 : 0),
                cltvExpiryDelta: n,
                feeBaseMsat: 0xffff_ffff - n,
                feeProportionalMillionths: 0xffff_0000 + n,
                htlcMinimumMsat: Msat(BigInt(n)),
                htlcMaximumMsat: Msat(BigInt(n) ** 2n),
              } as ChannelUpdate,
              zero,
            )
          else if (kind === 'remove') removeChannel(graph, shortChannelId)
          else if (kind === 'spend') applySpend(graph, shortChannelId, on ? BlockHeight(7) : undefined)
          else if (kind === 'node') {
            const message = { nodeId: node(a), timestamp: i + 1, features: b < 4 ? UNKNOWN_FEATURE : new Uint8Array(0) }
            applyNode(graph, message as unknown as NodeAnnouncement, zero)
          }
        })
        const edges = held(graph)
        most = Math.max(most, edges.length)
        expect(edges).toStrictEqual(wanted(graph))
      }),
      { numRuns: 200 },
    )
    expect(most).toBeGreaterThan(15)
  })

  it('takes no more memory when channels come and go', () => {
    const graph = emptyGraph()
    const announce = (id: number): void => {
      const shortChannelId = scid(1, id, 0)
      const ends = { nodeId1: node(id % 50), nodeId2: node(50 + (id % 49)) }
      applyAnnouncement(graph, { shortChannelId, features: zero, ...ends } as ChannelAnnouncement, zero, { heardAt: 1 })
      for (const channelFlags of [0, 1])
        applyUpdate(
          graph,
          {
            shortChannelId,
            timestamp: 1,
            channelFlags,
            cltvExpiryDelta: 1,
            feeBaseMsat: 2,
            feeProportionalMillionths: 3,
            htlcMinimumMsat: 0n,
            htlcMaximumMsat: 4n,
          } as ChannelUpdate,
          zero,
        )
    }
    for (let id = 0; id < 1000; id++) announce(id)
    const sizeOf = () => [graph.topology.nodeLimit, graph.topology.high.length]
    const before = sizeOf()
    const { capacity } = graph.topology.pool
    for (let id = 1000; id < 8000; id++) {
      removeChannel(graph, scid(1, id - 1000, 0))
      announce(id)
    }
    expect(sizeOf()).toStrictEqual(before)
    expect(graph.topology.pool.capacity).toBeLessThanOrEqual(4 * capacity)
    expect(held(graph)).toStrictEqual(wanted(graph))
  })
})
