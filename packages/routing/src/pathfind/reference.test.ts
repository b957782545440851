/**
 * The search against a plain one: the same rule (the cheapest label is settled, then followed backwards) over the graph's own records, in
 * bigint, with nothing left out, no arrays and no heap. Both must give the same route, whatever the graph has been through.
 */
import { BlockHeight, MAX_MONEY, Msat, Sat } from '@leyden/bitcoin'
import {
  type ChannelAnnouncement,
  type ChannelUpdate,
  type NodeAnnouncement,
  NodeId,
  scid,
  type ShortChannelId,
} from '@leyden/lnwire'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  applyAnnouncement,
  applyNode,
  applySpend,
  applyUpdate,
  type Direction,
  emptyGraph,
  type Graph,
  removeChannel,
} from '../gossip/graph.ts'
import { blockPrice, CHEAPEST, FEWEST_BLOCKS, FEWEST_HOPS, forwardingFee, LEAST_FEE, type Weights } from './cost.ts'
import { type Edge, edgeKey, type EdgePolicy, type LocalEdge, MAX_HOPS, type Route, type RouteHop } from './route.ts'
import { edgeNumbers, emptyScores, penalty, recordFailure } from './score.ts'
import { findRoute, type RouteRequest } from './search.ts'

const zero = new Uint8Array(64)
const node = (n: number): NodeId => NodeId(`02${n.toString(16).padStart(64, '0')}`)

// ---- the plain search

interface PlainEdge extends Edge {
  readonly policy: EdgePolicy
  readonly mostMsat: bigint
  /** Our own: the price of a hop, no fee. */
  readonly ours: boolean
}

const plainEdges = (graph: Graph, request: RouteRequest): readonly PlainEdge[] => {
  const { source, target, experience } = request
  const told = (edge: Edge): EdgePolicy | undefined => {
    const one = experience?.scores.learnt.get(edgeKey(edge))
    return one !== undefined && (experience?.nowMs ?? 0) - one.atMs < 3_600_000 ? one.policy : undefined
  }
  const edges: PlainEdge[] = []
  for (const { shortChannelId, peer, canSendMsat, htlcMinimumMsat } of request.localEdges) {
    const policy = { ...FREE, htlcMinimumMsat, htlcMaximumMsat: canSendMsat }
    edges.push({ shortChannelId, from: source, to: peer, policy, mostMsat: canSendMsat, ours: true })
  }
  for (const hint of request.hints ?? [])
    hint.forEach((hop, i) => {
      const edge = { shortChannelId: hop.shortChannelId, from: hop.nodeId, to: hint[i + 1]?.nodeId ?? target }
      const policy = told(edge) ?? { ...FREE, ...hop }
      if (edge.from !== source) edges.push({ ...edge, policy, mostMsat: policy.htlcMaximumMsat, ours: false })
    })
  for (const channel of graph.channels.values())
    for (const direction of [0, 1] as const) {
      const [from, to] = direction === 0 ? [channel.node1, channel.node2] : [channel.node2, channel.node1]
      const edge = { shortChannelId: channel.shortChannelId, from, to }
      const said = channel.policies[direction]
      if (said === undefined || !channel.usable || channel.spentAt !== undefined || from === source) continue
      if (graph.nodes.get(from)?.usable === false || (to !== target && graph.nodes.get(to)?.usable === false)) continue
      const policy = told(edge) ?? said
      const capacityMsat = (channel.capacitySat ?? MAX_MONEY) * 1000n
      const mostMsat = capacityMsat < policy.htlcMaximumMsat ? capacityMsat : policy.htlcMaximumMsat
      edges.push({ ...edge, policy, mostMsat, ours: false })
    }
  return edges.filter(
    (edge) =>
      edge.policy.enabled && request.ignoredEdges?.has(edgeKey(edge)) !== true && request.ignoredNodes?.has(edge.from) !== true,
  )
}

const FREE: EdgePolicy = {
  enabled: true,
  feeBaseMsat: 0,
  feeProportionalMillionths: 0,
  cltvExpiryDelta: 0,
  htlcMinimumMsat: Msat(0n),
  htlcMaximumMsat: Msat(MAX_MONEY * 1000n),
}

interface PlainLabel {
  readonly node: NodeId
  readonly cost: number
  readonly amount: bigint
  readonly delay: number
  readonly fee: bigint
  readonly hops: readonly RouteHop[]
  readonly via: ShortChannelId
}

const costOver = (request: RouteRequest, weights: Weights, edge: PlainEdge, here: PlainLabel, fee: bigint): number => {
  const perBlock = blockPrice(weights, Number(here.amount))
  const price = edge.ours
    ? here.cost + weights.hop
    : here.cost + Number(fee) * weights.fee + edge.policy.cltvExpiryDelta * perBlock + weights.hop
  if (request.experience === undefined || weights.past === 0) return price
  const { high, low, direction } = edgeNumbers(edge)
  return price + penalty(request.experience.scores, high, low, direction, Number(here.amount), request.experience.nowMs)
}

/** All are tried: that no limit left anything out is for the search to know. */
const plainSearch = (graph: Graph, request: RouteRequest): Route | undefined => {
  for (const weights of [CHEAPEST, LEAST_FEE, FEWEST_BLOCKS, FEWEST_HOPS]) {
    const route = plainWalk(graph, request, weights)
    if (route !== undefined) return route
  }
  return undefined
}

const plainWalk = (graph: Graph, request: RouteRequest, weights: Weights): Route | undefined => {
  const { source, target, amountMsat, finalCltvDelta, maxFeeMsat, maxCltvDelta } = request
  if (source === target || request.ignoredNodes?.has(target) === true || finalCltvDelta > maxCltvDelta) return undefined
  const edges = plainEdges(graph, request)
  const open = new Map<NodeId, PlainLabel>()
  const done = new Set<NodeId>()
  const start = { cost: 0, amount: amountMsat, delay: finalCltvDelta, fee: 0n, hops: [], via: scid(0, 0, 0) }
  open.set(target, { node: target, ...start })
  for (;;) {
    let here: PlainLabel | undefined
    for (const label of open.values()) if (here === undefined || label.cost < here.cost) here = label
    if (here === undefined) return undefined
    if (here.node === source)
      return {
        hops: here.hops,
        totalAmountMsat: Msat(here.amount),
        totalFeeMsat: Msat(here.amount - amountMsat),
        totalCltvDelta: here.delay,
      }
    open.delete(here.node)
    done.add(here.node)
    if (here.hops.length >= (request.maxHops ?? MAX_HOPS)) continue
    for (const edge of edges) {
      if (edge.to !== here.node || done.has(edge.from)) continue
      if (here.amount < edge.policy.htlcMinimumMsat || here.amount > edge.mostMsat) continue
      const fee = BigInt(edge.policy.feeBaseMsat) + (here.amount * BigInt(edge.policy.feeProportionalMillionths)) / 1_000_000n
      const amount = here.amount + fee
      const delay = here.delay + edge.policy.cltvExpiryDelta
      if (amount - amountMsat > maxFeeMsat || delay > maxCltvDelta) continue
      const cost = costOver(request, weights, edge, here, fee)
      const known = open.get(edge.from)
      if (known !== undefined && (known.cost < cost || (known.cost === cost && known.via <= edge.shortChannelId))) continue
      const hop: RouteHop = {
        shortChannelId: edge.shortChannelId,
        nodeId: here.node,
        amountMsat: Msat(here.amount),
        cltvExpiryDelta: here.delay,
        feeMsat: Msat(here.fee),
      }
      open.set(edge.from, { node: edge.from, cost, amount, delay, fee, hops: [hop, ...here.hops], via: edge.shortChannelId })
    }
  }
}

// ---- graphs that have been through something

/** Few values, so that costs are often equal; mostly such that a payment passes. */
const often = <T>(usual: readonly T[], rare: readonly T[]): fc.Arbitrary<T> =>
  fc.oneof({ arbitrary: fc.constantFrom(...usual), weight: 12 }, { arbitrary: fc.constantFrom(...rare), weight: 1 })
const policyArbitrary: fc.Arbitrary<EdgePolicy> = fc.record({
  enabled: often([true], [false]),
  cltvExpiryDelta: often([10, 40], [0, 144, 65_535]),
  feeBaseMsat: often([0, 1000], [1, 4_294_967_295]),
  feeProportionalMillionths: often([0, 1000], [1, 999, 1_000_001, 4_294_967_295]),
  htlcMinimumMsat: often([0n], [1000n, 1_000_000n]).map(Msat),
  htlcMaximumMsat: often([10_000_000_000n, MAX_MONEY * 1000n], [1_000_000n]).map(Msat),
})
const number = fc.integer({ min: 1, max: 9 })
const changeArbitrary = fc.oneof(
  {
    arbitrary: fc.record({ kind: fc.constant('add' as const), id: fc.nat(30), a: number, b: number, small: fc.boolean() }),
    weight: 3,
  },
  {
    arbitrary: fc.record({
      kind: fc.constant('update' as const),
      id: fc.nat(30),
      direction: fc.constantFrom<Direction>(0, 1),
      policy: policyArbitrary,
    }),
    weight: 8,
  },
  fc.record({ kind: fc.constant('remove' as const), id: fc.nat(30) }),
  fc.record({ kind: fc.constant('spend' as const), id: fc.nat(30), spent: often([false], [true]) }),
  fc.record({ kind: fc.constant('node' as const), n: number, usable: often([true], [false]) }),
)
type Change = typeof changeArbitrary extends fc.Arbitrary<infer T> ? T : never

const idOf = (n: number): ShortChannelId => scid(700_000 + (n % 3), n, n & 1)
/** A required bit that no BOLT 9 gives a meaning. */
const UNKNOWN = new Uint8Array(100).fill(1, 0, 1)

let clock = 0
const change = (graph: Graph, one: Change): void => {
  clock++
  switch (one.kind) {
    case 'add': {
      if (one.a === one.b) return
      const [nodeId1, nodeId2] = [node(Math.min(one.a, one.b)), node(Math.max(one.a, one.b))]
      const message = { features: new Uint8Array(0), shortChannelId: idOf(one.id), nodeId1, nodeId2 } as ChannelAnnouncement
      applyAnnouncement(graph, message, zero, { heardAt: 1, ...(one.small ? { capacitySat: Sat(5000n) } : {}) })
      return
    }
    case 'update': {
      const { enabled, ...terms } = one.policy
      const channelFlags = one.direction | (enabled ? 0 : 2)
      applyUpdate(graph, { ...terms, shortChannelId: idOf(one.id), timestamp: clock, channelFlags } as ChannelUpdate, zero)
      return
    }
    case 'remove':
      removeChannel(graph, idOf(one.id))
      return
    case 'spend':
      applySpend(graph, idOf(one.id), one.spent ? BlockHeight(5) : undefined)
      return
    case 'node': {
      const features = one.usable ? new Uint8Array(0) : UNKNOWN
      applyNode(graph, { nodeId: node(one.n), timestamp: clock, features } as NodeAnnouncement, zero)
      return
    }
  }
}
const graphOf = (changes: readonly Change[]): Graph => {
  const graph = emptyGraph()
  for (const one of changes) change(graph, one)
  return graph
}

/** The same public network as it would be after a restart: nothing of what it has been through. */
const again = (graph: Graph): Graph => {
  const fresh = emptyGraph()
  for (const channel of [...graph.channels.values()].toReversed()) {
    const message = {
      features: new Uint8Array(0),
      shortChannelId: channel.shortChannelId,
      nodeId1: channel.node1,
      nodeId2: channel.node2,
    } as ChannelAnnouncement
    const { heardAt, capacitySat, spentAt } = channel
    const found = {
      heardAt,
      ...(capacitySat === undefined ? {} : { capacitySat }),
      ...(spentAt === undefined ? {} : { spentAt }),
    }
    applyAnnouncement(fresh, message, zero, found)
    channel.policies.forEach((policy, direction) => {
      if (policy === undefined) return
      const channelFlags = direction | (policy.enabled ? 0 : 2)
      applyUpdate(fresh, { ...policy, shortChannelId: channel.shortChannelId, channelFlags } as unknown as ChannelUpdate, zero)
    })
  }
  for (const { id, announcement, usable } of graph.nodes.values())
    if (announcement !== undefined)
      applyNode(fresh, { ...announcement, nodeId: id, features: usable ? new Uint8Array(0) : UNKNOWN }, zero)
  return fresh
}

const requestArbitrary = fc.record({
  amount: often([1000n, 500_000n, 2_999_999n, 2n ** 52n], [1n, 1_000_001n]),
  maxFee: often([20_000n, 2n ** 51n], [0n, 1000n, 2500n]),
  maxCltvDelta: often([2016], [18, 100, 200_000]),
  maxHops: often([MAX_HOPS], [2, 4]),
  target: fc.integer({ min: 2, max: 12 }),
  local: fc.array(fc.record({ peer: fc.integer({ min: 2, max: 10 }), least: fc.constantFrom(0n, 2000n), wide: fc.boolean() }), {
    minLength: 1,
    maxLength: 4,
  }),
  hints: fc.array(
    fc.array(fc.record({ from: fc.integer({ min: 1, max: 11 }), policy: policyArbitrary, id: fc.nat(40) }), {
      minLength: 1,
      maxLength: 2,
    }),
    { maxLength: 2 },
  ),
  failed: fc.array(fc.record({ id: fc.nat(30), direction: fc.boolean(), amount: fc.bigInt(1n, 6_000_000n) }), { maxLength: 4 }),
  learnt: fc.array(fc.record({ id: fc.nat(30), direction: fc.boolean(), policy: policyArbitrary, old: fc.boolean() }), {
    maxLength: 2,
  }),
  ignored: fc.array(fc.record({ id: fc.nat(40), from: fc.integer({ min: 1, max: 10 }) }), { maxLength: 3 }),
  ignoredNodes: fc.array(fc.integer({ min: 2, max: 12 }), { maxLength: 1 }),
})
type Drawn = typeof requestArbitrary extends fc.Arbitrary<infer T> ? T : never

const NOW_MS = 10_000_000
const requestOf = (graph: Graph, drawn: Drawn): RouteRequest => {
  const scores = emptyScores()
  const edgeOf = (id: number, direction: boolean): Edge | undefined => {
    const channel = graph.channels.get(idOf(id))
    if (channel === undefined) return undefined
    const [from, to] = direction ? [channel.node1, channel.node2] : [channel.node2, channel.node1]
    return { shortChannelId: channel.shortChannelId, from, to }
  }
  for (const { id, direction, amount } of drawn.failed) {
    const edge = edgeOf(id, direction)
    if (edge !== undefined) recordFailure(scores, edge, Msat(amount), NOW_MS - 1_000_000)
  }
  for (const { id, direction, policy, old } of drawn.learnt) {
    const edge = edgeOf(id, direction)
    if (edge !== undefined) scores.learnt.set(edgeKey(edge), { edge, policy, atMs: old ? 0 : NOW_MS - 1000 })
  }
  return {
    source: node(1),
    target: node(drawn.target),
    amountMsat: Msat(drawn.amount),
    finalCltvDelta: 18,
    maxFeeMsat: Msat(drawn.maxFee),
    maxCltvDelta: drawn.maxCltvDelta,
    maxHops: drawn.maxHops,
    localEdges: drawn.local.map(({ peer, least, wide }, i): LocalEdge => ({
      shortChannelId: scid(900_000, i, 0),
      peer: node(peer),
      canSendMsat: Msat(wide ? MAX_MONEY * 1000n : 3_000_000n),
      htlcMinimumMsat: Msat(least),
    })),
    // a hint of two hops with one node twice, or with us in it, is nonsense that an invoice can hold
    hints: drawn.hints.map((hint) =>
      hint.map(({ from, policy, id }) => ({
        nodeId: node(from),
        shortChannelId: scid(800_000, id, 0),
        feeBaseMsat: policy.feeBaseMsat,
        feeProportionalMillionths: policy.feeProportionalMillionths,
        cltvExpiryDelta: policy.cltvExpiryDelta,
      })),
    ),
    ignoredEdges: new Set([
      'x/y',
      ...drawn.ignored.map(({ id, from }) =>
        edgeKey({ shortChannelId: id > 30 ? scid(900_000, id - 31, 0) : idOf(id), from: node(from) }),
      ),
    ]),
    ignoredNodes: new Set(drawn.ignoredNodes.map(node)),
    experience: { scores, nowMs: NOW_MS },
  }
}

const world = fc.record({ changes: fc.array(changeArbitrary, { minLength: 120, maxLength: 300 }), drawn: requestArbitrary })

describe('the search', () => {
  it('gives the route that a plain search in bigint gives, and none where that gives none', () => {
    let found = 0
    fc.assert(
      fc.property(world, ({ changes, drawn }) => {
        const graph = graphOf(changes)
        const request = requestOf(graph, drawn)
        const plain = plainSearch(graph, request)
        if ((plain?.hops.length ?? 0) > 2) found++
        expect(findRoute(graph, request)).toStrictEqual(plain)
      }),
      { numRuns: 500 },
    )
    expect(found).toBeGreaterThan(15)
  })

  it('does not depend on what the graph has been through, nor on the searches before', () => {
    fc.assert(
      fc.property(world, ({ changes, drawn }) => {
        const graph = graphOf(changes)
        const request = requestOf(graph, drawn)
        const route = findRoute(graph, request)
        expect(findRoute(again(graph), request)).toStrictEqual(route)
        expect(findRoute(graph, request)).toStrictEqual(route)
      }),
      { numRuns: 300 },
    )
  })

  const pairs = fc.array(fc.record({ a: number, b: number, prices: fc.tuple(fc.nat(300), fc.nat(300)) }), {
    minLength: 8,
    maxLength: 30,
  })
  type Pairs = typeof pairs extends fc.Arbitrary<infer T> ? T : never
  const graphOfPairs = (drawn: Pairs, termsOf: (price: number) => Partial<EdgePolicy>): Graph => {
    const graph = emptyGraph()
    drawn.forEach(({ a, b, prices }, id) => {
      change(graph, { kind: 'add', id, a, b, small: false })
      for (const direction of [0, 1] as const)
        change(graph, { kind: 'update', id, direction, policy: { ...FREE, ...termsOf(prices[direction]) } })
    })
    return graph
  }
  /** The least sum from node 2 to node 9, not through node 1, by as many rounds as there are nodes. Bellman and Ford. */
  const leastSum = (drawn: Pairs, costOf: (price: number) => number): number => {
    const least = new Map<number, number>([[9, 0]])
    for (let round = 0; round < 9; round++)
      for (const { a, b, prices } of drawn)
        for (const direction of [0, 1] as const) {
          const [from, to] = a < b === (direction === 0) ? [a, b] : [b, a]
          const over = (least.get(to) ?? Infinity) + costOf(prices[direction])
          if (from !== 1) least.set(from, Math.min(least.get(from) ?? Infinity, over))
        }
    return least.get(2) ?? Infinity
  }
  const fromTwo: RouteRequest = {
    source: node(1),
    target: node(9),
    amountMsat: Msat(100_000_000n),
    finalCltvDelta: 18,
    maxFeeMsat: Msat(1_000_000n),
    maxCltvDelta: 200_000,
    localEdges: [
      { shortChannelId: scid(900_000, 0, 0), peer: node(2), canSendMsat: FREE.htlcMaximumMsat, htlcMinimumMsat: Msat(0n) },
    ],
  }

  it('finds the cheapest of all paths when fees do not depend on the amount and nothing else is in the way', () => {
    fc.assert(
      fc.property(pairs, (drawn) => {
        const route = findRoute(
          graphOfPairs(drawn, (feeBaseMsat) => ({ feeBaseMsat })),
          fromTwo,
        )
        const cost = route === undefined ? Infinity : Number(route.totalFeeMsat) + (route.hops.length - 1) * CHEAPEST.hop
        expect(cost).toBe(leastSum(drawn, (price) => price + CHEAPEST.hop))
      }),
      { numRuns: 300 },
    )
  })

  it('finds a path within a limit when there is one, though the cheapest breaks it', () => {
    fc.assert(
      fc.property(pairs, fc.integer({ min: 1, max: 6 }), fc.integer({ min: 18, max: 800 }), (drawn, maxHops, maxCltvDelta) => {
        // what is short is dear
        const byFee = graphOfPairs(drawn, (price) => ({ feeBaseMsat: 100 * price }))
        const hops = leastSum(drawn, () => 1) + 1
        expect(findRoute(byFee, { ...fromTwo, maxHops }) !== undefined).toBe(hops <= maxHops)
        const byDelay = graphOfPairs(drawn, (price) => ({ cltvExpiryDelta: price, feeBaseMsat: 100 * (300 - price) }))
        const delay = leastSum(drawn, (price) => price) + 18
        expect(findRoute(byDelay, { ...fromTwo, maxCltvDelta }) !== undefined).toBe(delay <= maxCltvDelta)
        const maxFeeMsat = Msat(BigInt(maxCltvDelta))
        const byBoth = graphOfPairs(drawn, (price) => ({ cltvExpiryDelta: 300 - price, feeBaseMsat: price }))
        const fee = leastSum(drawn, (price) => price)
        expect(findRoute(byBoth, { ...fromTwo, maxFeeMsat }) !== undefined).toBe(fee <= maxCltvDelta)
      }),
      { numRuns: 300 },
    )
  })

  it('counts amounts of 2^53 msat and more exactly too', () => {
    const graph = emptyGraph()
    const policy = { ...FREE, feeBaseMsat: 1, feeProportionalMillionths: 7 }
    for (const [id, a, b] of [
      [0, 2, 3],
      [1, 3, 9],
    ] as const) {
      change(graph, { kind: 'add', id, a, b, small: false })
      change(graph, { kind: 'update', id, direction: 0, policy })
    }
    const amount = 2n ** 60n + 1n
    const fee = forwardingFee(policy, amount)
    const request: RouteRequest = {
      source: node(1),
      target: node(9),
      amountMsat: Msat(amount),
      finalCltvDelta: 18,
      maxFeeMsat: Msat(amount / 1000n),
      maxCltvDelta: 2016,
      localEdges: [
        { shortChannelId: scid(900_000, 0, 0), peer: node(2), canSendMsat: FREE.htlcMaximumMsat, htlcMinimumMsat: Msat(0n) },
      ],
    }
    expect(findRoute(graph, request)).toStrictEqual(plainSearch(graph, request))
    expect(findRoute(graph, request)?.hops[1]?.amountMsat).toBe(amount + fee)
    const total = fee + forwardingFee(policy, amount + fee)
    expect(findRoute(graph, { ...request, maxFeeMsat: Msat(total) })?.totalFeeMsat).toBe(total)
    expect(findRoute(graph, { ...request, maxFeeMsat: Msat(total - 1n) })).toBe(undefined)
  })
})
