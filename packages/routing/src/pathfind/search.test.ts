/** BOLT 7 § Routing Example, then what a route must be whatever the graph. */
import { BlockHeight, Msat, Sat } from '@leyden/bitcoin'
import {
  type ChannelAnnouncement,
  type ChannelUpdate,
  type NodeAnnouncement,
  NodeId,
  type ShortChannelId,
  scid,
} from '@leyden/lnwire'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { applyAnnouncement, applyNode, applySpend, applyUpdate, emptyGraph, type Graph } from '../gossip/graph.ts'
import { forwardingFee } from './cost.ts'
import { type Edge, edgeKey, type EdgePolicy, type LocalEdge, MAX_HOPS, type Route, routeEdges } from './route.ts'
import { emptyScores, recordFailure, recordSuccess } from './score.ts'
import { findRoute, type RouteRequest } from './search.ts'

const node = (n: number): NodeId => NodeId(`02${n.toString(16).padStart(64, '0')}`)
const zero = new Uint8Array(64)

interface Terms {
  readonly cltv?: number
  readonly base?: number
  readonly rate?: number
  readonly min?: bigint
  readonly max?: bigint
  readonly disabled?: boolean
}

const addChannel = (
  graph: Graph,
  id: ShortChannelId,
  a: NodeId,
  b: NodeId,
  terms: readonly [Terms | undefined, Terms | undefined],
  capacitySat = 10_000_000n,
): void => {
  const [node1, node2] = a < b ? [a, b] : [b, a]
  const message = {
    type: 'channel_announcement',
    features: new Uint8Array(0),
    shortChannelId: id,
    nodeId1: node1,
    nodeId2: node2,
  } as unknown as ChannelAnnouncement
  applyAnnouncement(graph, message, zero, { capacitySat: Sat(capacitySat), heardAt: 1 })
  terms.forEach((term, i) => {
    if (term === undefined) return
    const from = i === 0 ? a : b
    const update: ChannelUpdate = {
      type: 'channel_update',
      signature: zero,
      chainHash: zero.slice(0, 32),
      shortChannelId: id,
      timestamp: 1,
      messageFlags: 1,
      channelFlags: (from === node1 ? 0 : 1) | (term.disabled === true ? 2 : 0),
      cltvExpiryDelta: term.cltv ?? 10,
      htlcMinimumMsat: Msat(term.min ?? 0n),
      feeBaseMsat: term.base ?? 0,
      feeProportionalMillionths: term.rate ?? 0,
      htlcMaximumMsat: Msat(term.max ?? capacitySat * 1000n),
    }
    applyUpdate(graph, update, zero)
  })
}

/** A bit that no BOLT 9 gives a meaning, required. */
const UNKNOWN_FEATURE = new Uint8Array(100).fill(1, 0, 1)
const announceNode = (graph: Graph, nodeId: NodeId, features: Uint8Array, timestamp = 1): void => {
  const message = { type: 'node_announcement', features, timestamp, nodeId } as unknown as NodeAnnouncement
  applyNode(graph, message, zero)
}

const local = (id: ShortChannelId, peer: NodeId, canSendMsat = 1_000_000_000n): LocalEdge => ({
  shortChannelId: id,
  peer,
  canSendMsat: Msat(canSendMsat),
  htlcMinimumMsat: Msat(1n),
})

const [A, B, C, D] = [node(1), node(2), node(3), node(4)]
const terms = {
  A: { cltv: 10, base: 100, rate: 1000 },
  B: { cltv: 20, base: 200, rate: 2000 },
  C: { cltv: 30, base: 300, rate: 3000 },
  D: { cltv: 40, base: 400, rate: 4000 },
}
const [AB, AD, BC, DC] = [scid(1, 1, 1), scid(1, 2, 1), scid(1, 3, 1), scid(1, 4, 1)]
const example = (): Graph => {
  const graph = emptyGraph()
  addChannel(graph, AB, A, B, [terms.A, terms.B])
  addChannel(graph, AD, A, D, [terms.A, terms.D])
  addChannel(graph, BC, B, C, [terms.B, terms.C])
  addChannel(graph, DC, D, C, [terms.D, terms.C])
  return graph
}
const request: RouteRequest = {
  source: A,
  target: C,
  amountMsat: Msat(4_999_999n),
  finalCltvDelta: 18 + 42,
  maxFeeMsat: Msat(100_000n),
  maxCltvDelta: 2016,
  localEdges: [local(AB, B), local(AD, D)],
}

describe('the routing example of BOLT 7', () => {
  it('A pays C through B', () => {
    expect(findRoute(example(), request)).toStrictEqual({
      hops: [
        { shortChannelId: AB, nodeId: B, amountMsat: 5_010_198n, cltvExpiryDelta: 20 + 18 + 42, feeMsat: 10_199n },
        { shortChannelId: BC, nodeId: C, amountMsat: 4_999_999n, cltvExpiryDelta: 18 + 42, feeMsat: 0n },
      ],
      totalAmountMsat: 5_010_198n,
      totalFeeMsat: 10_199n,
      totalCltvDelta: 80,
    })
  })

  it('A pays C through D when B is out', () => {
    const route = findRoute(example(), { ...request, ignoredNodes: new Set([B]) })
    expect(route?.hops[0]).toStrictEqual({
      shortChannelId: AD,
      nodeId: D,
      amountMsat: 5_020_398n,
      cltvExpiryDelta: 40 + 18 + 42,
      feeMsat: 20_399n,
    })
  })

  it('B pays C directly, without a fee', () => {
    const route = findRoute(example(), { ...request, source: B, localEdges: [local(BC, C)] })
    expect(route).toStrictEqual({
      hops: [{ shortChannelId: BC, nodeId: C, amountMsat: 4_999_999n, cltvExpiryDelta: 60, feeMsat: 0n }],
      totalAmountMsat: 4_999_999n,
      totalFeeMsat: 0n,
      totalCltvDelta: 60,
    })
  })
})

describe('limits', () => {
  it('finds nothing over the fee or the delay that the payer allows', () => {
    expect(findRoute(example(), { ...request, maxFeeMsat: Msat(10_198n) })).toBe(undefined)
    expect(findRoute(example(), { ...request, maxCltvDelta: 79 })).toBe(undefined)
    expect(findRoute(example(), { ...request, maxCltvDelta: 80, maxFeeMsat: Msat(10_199n) })).not.toBe(undefined)
  })

  it('does not leave by a channel of ours that cannot carry amount and fee', () => {
    const narrow = [local(AB, B, 5_010_197n), local(AD, D, 0n)]
    expect(findRoute(example(), { ...request, localEdges: narrow })).toBe(undefined)
    expect(findRoute(example(), { ...request, localEdges: [local(AB, B, 5_010_198n)] })).not.toBe(undefined)
  })

  it('takes no channel that is disabled, too small, too big, closed, or of unknown features', () => {
    const routeWith = (change: (graph: Graph) => void): Route | undefined => {
      const graph = emptyGraph()
      addChannel(graph, AB, A, B, [terms.A, terms.B])
      change(graph)
      return findRoute(graph, request)
    }
    expect(routeWith((graph) => addChannel(graph, BC, B, C, [{ disabled: true }, {}]))).toBe(undefined)
    expect(routeWith((graph) => addChannel(graph, BC, B, C, [{ min: 5_000_000n }, {}]))).toBe(undefined)
    expect(routeWith((graph) => addChannel(graph, BC, B, C, [{ max: 4_999_998n }, {}]))).toBe(undefined)
    expect(routeWith((graph) => addChannel(graph, BC, B, C, [{ max: 2n ** 50n }, {}], 4999n))).toBe(undefined)
    expect(routeWith((graph) => addChannel(graph, BC, B, C, [undefined, {}]))).toBe(undefined)
    expect(
      routeWith((graph) => {
        addChannel(graph, BC, B, C, [{}, {}])
        applySpend(graph, BC, BlockHeight(5))
      }),
    ).toBe(undefined)
    expect(
      routeWith((graph) => {
        addChannel(graph, BC, B, C, [{}, {}])
        announceNode(graph, B, UNKNOWN_FEATURE)
      }),
    ).toBe(undefined)
    expect(routeWith((graph) => addChannel(graph, BC, B, C, [{}, {}]))).not.toBe(undefined)
  })

  it('S68: gives no route that is longer than an onion', () => {
    const graph = emptyGraph()
    for (let i = 1; i <= 30; i++) addChannel(graph, scid(2, i, 0), node(i), node(i + 1), [{}, {}])
    const from = (target: number): Route | undefined =>
      findRoute(graph, { ...request, source: node(1), target: node(target), localEdges: [local(scid(2, 1, 0), node(2))] })
    expect(from(MAX_HOPS + 1)?.hops).toHaveLength(MAX_HOPS)
    expect(from(MAX_HOPS + 2)).toBe(undefined)
  })

  it('has no route to ourselves, and none through ourselves', () => {
    expect(findRoute(example(), { ...request, target: A })).toBe(undefined)
    const graph = emptyGraph()
    addChannel(graph, AB, A, B, [{}, {}])
    addChannel(graph, AD, A, D, [{}, {}])
    expect(findRoute(graph, { ...request, target: D, localEdges: [local(AB, B)] })).toBe(undefined)
  })
})

describe('hints', () => {
  const E = node(5)
  const F = node(6)
  it('lead over channels that the graph does not know, fees and expiry counted', () => {
    const hint = [
      { nodeId: C, shortChannelId: scid(9, 1, 0), feeBaseMsat: 1000, feeProportionalMillionths: 100, cltvExpiryDelta: 50 },
      { nodeId: E, shortChannelId: scid(9, 2, 0), feeBaseMsat: 7, feeProportionalMillionths: 0, cltvExpiryDelta: 9 },
    ]
    const route = findRoute(example(), { ...request, target: F, hints: [hint] })
    expect(route?.hops.map((hop) => [hop.nodeId, hop.amountMsat, hop.cltvExpiryDelta])).toStrictEqual([
      [B, 5_000_006n + 1500n + 200n + 10_003n, 60 + 9 + 50 + 20],
      [C, 5_000_006n + 1500n, 60 + 9 + 50],
      [E, 5_000_006n, 60 + 9],
      [F, 4_999_999n, 60],
    ])
  })

  it('are not needed for a channel of our own to the payee', () => {
    const route = findRoute(emptyGraph(), { ...request, target: F, localEdges: [local(scid(0, 0, 7), F)] })
    expect(route?.hops).toHaveLength(1)
  })
})

describe('scores', () => {
  it('a failed edge is avoided for a while, and for good when it is ignored', () => {
    const scores = emptyScores()
    const over = (nowMs: number): NodeId | undefined =>
      findRoute(example(), { ...request, experience: { scores, nowMs } })?.hops[0]?.nodeId
    expect(over(0)).toBe(B)
    recordFailure(scores, { shortChannelId: BC, from: B, to: C }, request.amountMsat, 0)
    expect(over(0)).toBe(D)
    expect(over(24 * 3_600_000)).toBe(B)
    recordSuccess(scores, { shortChannelId: BC, from: B, to: C }, request.amountMsat)
    expect(over(1)).toBe(B)
    const ignoredEdges = new Set([edgeKey({ shortChannelId: BC, from: B })])
    expect(findRoute(example(), { ...request, ignoredEdges })?.hops[0]?.nodeId).toBe(D)
  })

  it('what a node says after a refusal counts more than the graph', () => {
    const edge: Edge = { shortChannelId: BC, from: B, to: C }
    const policy: EdgePolicy = {
      enabled: true,
      cltvExpiryDelta: 25,
      feeBaseMsat: 11_000,
      feeProportionalMillionths: 0,
      htlcMinimumMsat: Msat(0n),
      htlcMaximumMsat: Msat(5_000_000n),
    }
    const routeWith = (learnt: EdgePolicy, change: Partial<RouteRequest> = {}): Route | undefined => {
      const scores = emptyScores()
      scores.learnt.set(edgeKey(edge), { edge, policy: learnt, atMs: 0 })
      return findRoute(example(), { ...request, ...change, experience: { scores, nowMs: 1 } })
    }
    expect(routeWith(policy)).toMatchObject({ totalFeeMsat: 11_000n, totalCltvDelta: 85 })
    expect(routeWith({ ...policy, enabled: false })?.hops[0]?.nodeId).toBe(D)
    expect(routeWith({ ...policy, htlcMaximumMsat: Msat(4_999_998n) })?.hops[0]?.nodeId).toBe(D)
    expect(routeWith(policy, { ignoredEdges: new Set([edgeKey(edge)]) })?.hops[0]?.nodeId).toBe(D)
  })
})

const FREE = {
  enabled: true,
  feeBaseMsat: 0,
  feeProportionalMillionths: 0,
  cltvExpiryDelta: 0,
  htlcMinimumMsat: Msat(0n),
  htlcMaximumMsat: Msat(0n),
}

describe('whatever the graph', () => {
  const world = fc.record({
    edges: fc.array(
      fc.record({
        a: fc.integer({ min: 1, max: 12 }),
        b: fc.integer({ min: 1, max: 12 }),
        capacity: fc.bigInt(1n, 100_000n),
        one: fc.option(termsArbitrary(), { nil: undefined }),
        two: fc.option(termsArbitrary(), { nil: undefined }),
      }),
      { minLength: 5, maxLength: 60 },
    ),
    amount: fc.bigInt(1n, 20_000_000n),
    maxFee: fc.bigInt(0n, 100_000n),
    maxCltv: fc.integer({ min: 18, max: 500 }),
  })
  function termsArbitrary() {
    return fc.record({
      cltv: fc.integer({ min: 0, max: 144 }),
      base: fc.integer({ min: 0, max: 5000 }),
      rate: fc.integer({ min: 0, max: 20_000 }),
      min: fc.bigInt(0n, 1_000_000n),
      max: fc.bigInt(0n, 100_000_000n),
      disabled: fc.boolean(),
    })
  }

  it('every hop of a route gets what it asks for, counted forwards from the sender', () => {
    let found = 0
    fc.assert(
      fc.property(world, ({ edges, amount, maxFee, maxCltv }) => {
        const graph = emptyGraph()
        const localEdges: LocalEdge[] = []
        edges.forEach(({ a, b, capacity, one, two }, i) => {
          if (a === b) return
          addChannel(graph, scid(3, i, 0), node(a), node(b), [one, two], capacity)
          if (a === 1 || b === 1) localEdges.push(local(scid(3, i, 0), node(a === 1 ? b : a), capacity * 1000n))
        })
        const asked: RouteRequest = {
          source: node(1),
          target: node(12),
          amountMsat: Msat(amount),
          finalCltvDelta: 18,
          maxFeeMsat: Msat(maxFee),
          maxCltvDelta: maxCltv,
          localEdges,
        }
        const route = findRoute(graph, asked)
        if (route === undefined) return
        found++
        let carried: bigint = route.totalAmountMsat
        let delta = route.totalCltvDelta
        const first = localEdges.find((edge) => edge.shortChannelId === route.hops[0]?.shortChannelId)
        expect(first?.canSendMsat).toBeGreaterThanOrEqual(carried)
        routeEdges(node(1), route).forEach((edge, i) => {
          const channel = graph.channels.get(edge.shortChannelId)
          const hop = route.hops[i]
          if (channel === undefined || hop === undefined) throw new Error('a hop over nothing')
          expect([channel.node1, channel.node2].toSorted()).toStrictEqual([edge.from, edge.to].toSorted())
          // at our own channel nobody asks for anything
          const policy = i === 0 ? FREE : channel.policies[channel.node1 === edge.from ? 0 : 1]
          expect({
            enabled: policy?.enabled,
            fee: carried - hop.amountMsat,
            blocks: delta - hop.cltvExpiryDelta,
            withinLimits:
              i === 0 || (hop.amountMsat >= (policy?.htlcMinimumMsat ?? 0n) && hop.amountMsat <= (policy?.htlcMaximumMsat ?? 0n)),
          }).toStrictEqual({
            enabled: true,
            fee: policy && forwardingFee(policy, hop.amountMsat),
            blocks: policy?.cltvExpiryDelta,
            withinLimits: true,
          })
          carried = hop.amountMsat
          delta = hop.cltvExpiryDelta
        })
        expect({ carried, delta }).toStrictEqual({ carried: amount, delta: 18 })
        expect(route.totalAmountMsat - amount).toBe(route.totalFeeMsat)
        expect(route.totalFeeMsat).toBeLessThanOrEqual(maxFee)
        expect(route.totalCltvDelta).toBeLessThanOrEqual(maxCltv)
        expect(new Set(route.hops.map((hop) => hop.nodeId)).size).toBe(route.hops.length)
      }),
      { numRuns: 600 },
    )
    expect(found).toBeGreaterThan(3)
  })
})
