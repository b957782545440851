/**
 * The cheapest path from us to a payee: Dijkstra from the target, because fees and expiries add up backwards.
 * BOLT 7 § HTLC Fees: the fee of a node is on what it forwards, and is set by the end of the channel that forwards.
 * Our own channels are given as they are now; what the graph says about them is not used.
 * The loop counts in numbers, over typed arrays: exact below 2^53 msat (see `expand`). The route that it finds is counted again in bigint
 * from the policies themselves, and what does not hold then is no route. Of routes of one cost the ids decide, not the order of arrival.
 */
import { MAX_MONEY, Msat } from '@leyden/bitcoin'
import type { NodeId, ShortChannelId } from '@leyden/lnwire'
import { type Graph, mostOver } from '../gossip/graph.ts'
import { DELAY, EDGE_LIMITS, EDGE_WORDS, EdgePool, FEE_BASE, FEE_RATE, FROM, LEAST, MOST } from '../gossip/topology.ts'
import { blockPrice, CHEAPEST, FEWEST_BLOCKS, FEWEST_HOPS, forwardingFee, LEAST_FEE, type Weights } from './cost.ts'
import { CLOSED, Heap, Labels } from './labels.ts'
import { edgeKey, type EdgePolicy, type LocalEdge, MAX_HOPS, type Route, type RouteHint, type RouteHop } from './route.ts'
import { edgeNumbers, learntPolicies, penalty, type Scores } from './score.ts'

export interface RouteRequest {
  readonly source: NodeId
  readonly target: NodeId
  /** What the target is to get. */
  readonly amountMsat: Msat
  /** Blocks that the target wants to have left. */
  readonly finalCltvDelta: number
  readonly maxFeeMsat: Msat
  /** The most blocks that our HTLC may be locked for. */
  readonly maxCltvDelta: number
  readonly localEdges: readonly LocalEdge[]
  readonly hints?: readonly RouteHint[]
  /** Keys of edges (edgeKey) that must not be used. */
  readonly ignoredEdges?: ReadonlySet<string>
  readonly ignoredNodes?: ReadonlySet<NodeId>
  /** What past attempts say: prices beyond the fees, and policies that we know better than the graph. */
  readonly experience?: { readonly scores: Scores; readonly nowMs: number }
  readonly maxHops?: number
}

/** What the loop looks up of an edge by its place. */
interface Edges {
  readonly pool: EdgePool
  /** By slot (half the name): the short_channel_id. */
  readonly high: Uint32Array
  readonly low: Uint32Array
}

/** An edge for this search alone: of a hint, or of the graph with the policy that its end told us. */
interface Extra {
  readonly shortChannelId: ShortChannelId
  readonly from: number
  readonly to: number
  readonly high: number
  readonly low: number
  readonly direction: 0 | 1
  readonly policy: EdgePolicy
  readonly mostMsat: bigint
}

/** Marks of a node: it is the peer of a channel of ours; extra edges lead to it; edges of the graph do not count here. */
const [LOCAL, EXTRA, APART] = [1, 2, 4]

/** A search under way. */
interface Walk {
  readonly graph: Graph
  readonly request: RouteRequest
  readonly source: number
  readonly target: number
  /** Nodes that the graph does not know, numbered after those that it knows. */
  readonly strangers: readonly NodeId[]
  /** Nodes that no path goes through: ourselves, and those to be avoided. */
  readonly closed: readonly number[]
  readonly maxAmount: number
  readonly topology: Edges
  /** By the node that they lead to. */
  readonly extras: readonly Extra[]
  readonly extraEdges: Edges
  readonly extraBlocks: ReadonlyMap<number, { readonly first: number; readonly end: number }>
  /** Places in the topology that are not used. */
  readonly skipped: ReadonlySet<number>
  readonly local: ReadonlyMap<number, readonly LocalEdge[]>
  weights: Weights
  /** A limit left something out. */
  cut: boolean
  /** The cheapest way found from the source: what costs more is not followed. */
  bound: number
  first: LocalEdge | undefined
  firstPeer: number
}

// One search at a time, and nothing in them outlives it.
const labels = new Labels()
const heap = new Heap()

/** A hint tells no limits. */
const UNLIMITED = { enabled: true, htlcMinimumMsat: Msat(0n), htlcMaximumMsat: Msat(MAX_MONEY * 1000n) }

/** The place of the edge that an edgeKey names, -1 when the graph has none that can be used. */
const placeOfKey = (graph: Graph, key: string): number => {
  const [id = '', from] = key.split('/')
  const channel = /^\d{1,20}$/.test(id) ? graph.channels.get(BigInt(id) as ShortChannelId) : undefined
  if (channel === undefined || (from !== channel.node1 && from !== channel.node2)) return -1
  return graph.topology.placeOf(channel.slot, from === channel.node1 ? 0 : 1)
}

/** The edges besides the graph's, sorted by where they lead, and the places in the graph that they stand for or that must not be used. */
const extrasOf = (graph: Graph, request: RouteRequest, numberOf: (id: NodeId) => number) => {
  const { ignoredEdges, experience } = request
  const skipped = new Set<number>()
  for (const key of ignoredEdges ?? []) skipped.add(placeOfKey(graph, key))
  const extras: Extra[] = []
  const learnt = new Map(
    (experience === undefined ? [] : learntPolicies(experience.scores, experience.nowMs)).map((one) => [edgeKey(one.edge), one]),
  )
  const add = (
    edge: { shortChannelId: ShortChannelId; from: NodeId; to: NodeId },
    policy: EdgePolicy,
    mostMsat: bigint,
  ): void => {
    if (!policy.enabled || ignoredEdges?.has(edgeKey(edge)) === true) return
    const { shortChannelId, from, to } = edge
    extras.push({ shortChannelId, from: numberOf(from), to: numberOf(to), ...edgeNumbers(edge), policy, mostMsat })
  }
  for (const hint of request.hints ?? [])
    hint.forEach((hop, i) => {
      const edge = { shortChannelId: hop.shortChannelId, from: hop.nodeId, to: hint[i + 1]?.nodeId ?? request.target }
      const policy = learnt.get(edgeKey(edge))?.policy ?? { ...hop, ...UNLIMITED }
      add(edge, policy, policy.htlcMaximumMsat)
    })
  for (const { edge, policy } of learnt.values()) {
    const channel = graph.channels.get(edge.shortChannelId)
    if (channel === undefined || !channel.usable || channel.spentAt !== undefined) continue
    const direction = channel.node1 === edge.from ? 0 : 1
    const [from, to] = direction === 0 ? [channel.node1, channel.node2] : [channel.node2, channel.node1]
    if (from !== edge.from || channel.policies[direction] === undefined) continue
    if (graph.nodes.get(from)?.usable !== true || (to !== request.target && graph.nodes.get(to)?.usable !== true)) continue
    skipped.add(graph.topology.placeOf(channel.slot, direction))
    add({ shortChannelId: edge.shortChannelId, from, to }, policy, mostOver(channel, policy.htlcMaximumMsat))
  }
  return { extras: extras.toSorted((a, b) => a.to - b.to), skipped }
}

const NO_EDGES: Edges = { pool: new EdgePool(0), high: new Uint32Array(0), low: new Uint32Array(0) }

/** The edges as the loop wants them. An edge's place is its slot. */
const poolOf = (extras: readonly Extra[]): Edges => {
  if (extras.length === 0) return NO_EDGES
  const pool = new EdgePool(extras.length)
  extras.forEach(({ from, direction, policy, mostMsat }, i) =>
    pool.set(i, 2 * i + direction, from, {
      cltvExpiryDelta: policy.cltvExpiryDelta,
      feeBaseMsat: policy.feeBaseMsat,
      feeProportionalMillionths: policy.feeProportionalMillionths,
      leastMsat: Number(policy.htlcMinimumMsat),
      mostMsat: Number(mostMsat),
    }),
  )
  return { pool, high: Uint32Array.from(extras, ({ high }) => high), low: Uint32Array.from(extras, ({ low }) => low) }
}

/** Numbers for everything that the request names. */
const prepare = (graph: Graph, request: RouteRequest): Walk => {
  const { topology } = graph
  const strangers: NodeId[] = []
  const numbers = new Map<NodeId, number>()
  const numberOf = (id: NodeId): number => {
    const known = graph.nodes.get(id)?.index ?? numbers.get(id)
    if (known !== undefined) return known
    const number = topology.nodeLimit + strangers.length
    strangers.push(id)
    numbers.set(id, number)
    return number
  }
  const [source, target] = [numberOf(request.source), numberOf(request.target)]
  const { extras, skipped } = extrasOf(graph, request, numberOf)
  const local = new Map<number, LocalEdge[]>()
  for (const edge of request.localEdges) {
    if (request.ignoredEdges?.has(edgeKey({ shortChannelId: edge.shortChannelId, from: request.source })) === true) continue
    const peer = numberOf(edge.peer)
    const edges = local.get(peer)
    if (edges === undefined) local.set(peer, [edge])
    else edges.push(edge)
  }
  const extraBlocks = new Map<number, { first: number; end: number }>()
  extras.forEach(({ to }, i) => extraBlocks.set(to, { first: extraBlocks.get(to)?.first ?? i, end: i + 1 }))

  const closed = [source]
  for (const id of request.ignoredNodes ?? []) {
    const node = graph.nodes.get(id)?.index ?? numbers.get(id)
    if (node !== undefined) closed.push(node)
  }
  return {
    graph,
    request,
    source,
    target,
    strangers,
    closed,
    maxAmount: Number(request.amountMsat + request.maxFeeMsat),
    topology,
    extras,
    extraEdges: poolOf(extras),
    extraBlocks,
    skipped,
    local,
    weights: CHEAPEST,
    cut: false,
    bound: Infinity,
    first: undefined,
    firstPeer: -1,
  }
}

const mark = (node: number, bit: number): void => {
  labels.marks[node] = (labels.marks[node] as number) | bit
}

/** Forgets the walk before. */
const begin = (walk: Walk, weights: Weights): void => {
  const { graph, source, target } = walk
  const { topology } = graph
  walk.weights = weights
  walk.cut = false
  walk.bound = Infinity
  walk.first = undefined
  labels.begin(topology.nodeLimit + walk.strangers.length)
  heap.clear()
  for (const node of walk.closed) labels.cost[node] = CLOSED
  for (const peer of walk.local.keys()) mark(peer, LOCAL)
  for (const to of walk.extraBlocks.keys()) mark(to, EXTRA)
  for (const { from } of walk.extras)
    // the graph leads to no such node: only a hint can
    if (from < topology.nodeLimit && from !== target && from !== source && !graph.nodes.get(topology.nodeId(from))?.usable)
      mark(from, APART)
}

/** Whether of two edges with the same cost the first is taken. */
const isBefore = (a: Edges, placeA: number, b: Edges, placeB: number): boolean => {
  const [slotA, slotB] = [(a.pool.names[placeA] as number) >> 1, (b.pool.names[placeB] as number) >> 1]
  const [highA, highB] = [a.high[slotA] as number, b.high[slotB] as number]
  return highA < highB || (highA === highB && (a.low[slotA] as number) < (b.low[slotB] as number))
}

/** Undefined when it says nothing about prices, or they do not count. */
const experienceOf = ({ request: { experience }, weights }: Walk): RouteRequest['experience'] =>
  weights.past > 0 && experience !== undefined && experience.scores.failed.size > 0 ? experience : undefined

const MILLION = 1_000_000

/**
 * Follows edges backwards, from the node that they lead to.
 * Exact below 2^53 msat: with amount = millions * 1,000,000 + rest, the fee of BOLT 7 is base + millions * rate + floor(rest * rate / 1,000,000).
 * The rate has 32 bits and the rest is below 2^20, so the last product is below 2^52; a quotient of integers below 2^53 never rounds up to the
 * next integer. If `millions * rate` is not exact it is over 2^53, and so over every limit.
 */
const expand = (walk: Walk, edges: Edges, first: number, end: number, extra: boolean, here: number): void => {
  const { maxAmount, skipped, topology, weights } = walk
  const { maxCltvDelta } = walk.request
  const experience = experienceOf(walk)
  const { words, limits, names } = edges.pool
  const { cost: costs, amount: amounts, delay: delays, marks } = labels
  const { starts, counts } = walk.graph.topology
  const graphWords = topology.pool.words
  const hereCost = costs[here] as number
  const amount = amounts[here] as number
  const hereDelay = delays[here] as number
  const hops = (labels.hops[here] as number) + 1
  const perBlock = blockPrice(weights, amount)
  const millions = Math.floor(amount / MILLION)
  const rest = amount - millions * MILLION
  for (let place = first; place < end; place++) {
    if (amount < (limits[place * EDGE_LIMITS + LEAST] as number) || amount > (limits[place * EDGE_LIMITS + MOST] as number)) {
      walk.cut = true
      continue
    }
    const word = place * EDGE_WORDS
    const rate = words[word + FEE_RATE] as number
    const fee = (words[word + FEE_BASE] as number) + millions * rate + Math.floor((rest * rate) / MILLION)
    const blocks = words[word + DELAY] as number
    if (amount + fee > maxAmount || hereDelay + blocks > maxCltvDelta) {
      walk.cut = true
      continue
    }
    let cost = hereCost + fee * weights.fee + blocks * perBlock + weights.hop
    if (cost + weights.hop > walk.bound) continue
    const from = words[word + FROM] as number
    const before = costs[from] as number
    if (cost > before) continue
    // more than half of all nodes have one channel: from them it only goes back
    if (marks[from] === 0) {
      const ways = counts[from] as number
      if (ways === 0 || (ways === 1 && graphWords[(starts[from] as number) * EDGE_WORDS + FROM] === here)) continue
    }
    if (!extra && skipped.size > 0 && skipped.has(place)) continue
    if (experience !== undefined) {
      const name = names[place] as number
      const { scores, nowMs } = experience
      cost += penalty(scores, edges.high[name >> 1] as number, edges.low[name >> 1] as number, name & 1, amount, nowMs)
      if (cost > before || cost + weights.hop > walk.bound) continue
    }
    if (cost === before) {
      const via = labels.via[from] as number
      // a node that was expanded costs no more than this one: its label stays
      if (before <= hereCost) continue
      if (!isBefore(edges, place, via < 0 ? walk.extraEdges : topology, via < 0 ? ~via : via)) continue
    } else heap.push(cost, from)
    costs[from] = cost
    amounts[from] = amount + fee
    delays[from] = hereDelay + blocks
    labels.hops[from] = hops
    labels.via[from] = extra ? ~place : place
    labels.next[from] = here
  }
}

/** Leaves by a channel of ours, if that is the cheapest way from the source so far. */
const leave = (walk: Walk, peer: number): void => {
  const { source } = walk.request
  const experience = experienceOf(walk)
  const amount = labels.amount[peer] as number
  for (const edge of walk.local.get(peer) ?? []) {
    if (amount > Number(edge.canSendMsat) || amount < Number(edge.htlcMinimumMsat)) {
      walk.cut = true
      continue
    }
    let cost = (labels.cost[peer] as number) + walk.weights.hop
    if (experience !== undefined) {
      const { high, low, direction } = edgeNumbers({ shortChannelId: edge.shortChannelId, from: source, to: edge.peer })
      cost += penalty(experience.scores, high, low, direction, amount, experience.nowMs)
    }
    if (cost > walk.bound) continue
    if (cost === walk.bound && walk.first !== undefined && walk.first.shortChannelId <= edge.shortChannelId) continue
    walk.bound = cost
    walk.first = edge
    walk.firstPeer = peer
  }
}

/** From the target to the source, by these weights. */
const search = (walk: Walk, weights: Weights): Route | undefined => {
  const { request, target } = walk
  const { topology } = walk.graph
  const maxHops = request.maxHops ?? MAX_HOPS
  begin(walk, weights)
  labels.cost[target] = 0
  labels.amount[target] = Number(request.amountMsat)
  labels.delay[target] = request.finalCltvDelta
  labels.hops[target] = 0
  heap.push(0, target)
  while (heap.size > 0) {
    const { cost } = heap
    const node = heap.pop()
    if (cost + weights.hop > walk.bound) break
    // a cheaper label came after this one
    if (cost > (labels.cost[node] as number)) continue
    if ((labels.hops[node] as number) >= maxHops) {
      walk.cut = true
      continue
    }
    const marks = labels.marks[node] as number
    if ((marks & LOCAL) !== 0) leave(walk, node)
    if ((marks & EXTRA) !== 0) {
      const block = walk.extraBlocks.get(node)
      if (block !== undefined) expand(walk, walk.extraEdges, block.first, block.end, true, node)
    }
    if (node >= topology.nodeLimit || (marks & APART) !== 0) continue
    const first = topology.starts[node] as number
    expand(walk, topology, first, first + (topology.counts[node] as number), false, node)
  }
  return routeOf(walk)
}

/**
 * The cheapest route by fee, locked time and past failures, within the limits; undefined when none was found.
 * A node has one label, the cheapest: what leads on from it may break a limit that a dearer one would have kept. So when there is no route, but
 * a limit left something out, those are looked for that go easy on one limit each.
 * Paying oneself has no route.
 */
export const findRoute = (graph: Graph, request: RouteRequest): Route | undefined => {
  const { source, target, amountMsat, ignoredNodes } = request
  if (source === target || amountMsat === 0n || request.finalCltvDelta > request.maxCltvDelta) return undefined
  if (ignoredNodes?.has(target) === true) return undefined
  const walk = prepare(graph, request)
  for (const weights of [CHEAPEST, LEAST_FEE, FEWEST_BLOCKS, FEWEST_HOPS]) {
    const route = search(walk, weights)
    if (route !== undefined || !walk.cut) return route
  }
  return undefined
}

/** An edge of a route, from the source on. */
interface Step {
  readonly shortChannelId: ShortChannelId
  readonly to: NodeId
  /** Undefined: a channel of ours, by which nobody takes a fee. */
  readonly policy: EdgePolicy | undefined
  readonly mostMsat: bigint
}

const stepsOf = ({ graph, request, target, strangers, extras, first, firstPeer }: Walk): readonly Step[] => {
  const { topology } = graph
  if (first === undefined) return []
  const steps: Step[] = [{ shortChannelId: first.shortChannelId, to: first.peer, policy: undefined, mostMsat: first.canSendMsat }]
  for (let node = firstPeer; node !== target; node = labels.next[node] as number) {
    const via = labels.via[node] as number
    const next = labels.next[node] as number
    const to = next < topology.nodeLimit ? topology.nodeId(next) : (strangers[next - topology.nodeLimit] ?? request.target)
    if (via < 0) {
      const extra = extras[~via]
      if (extra === undefined) return []
      steps.push({ shortChannelId: extra.shortChannelId, to, policy: extra.policy, mostMsat: extra.mostMsat })
      continue
    }
    const name = topology.pool.names[via] as number
    const channel = graph.channels.get(topology.shortChannelId(name >> 1))
    const policy = channel?.policies[name & 1]
    if (channel === undefined || policy === undefined) return []
    steps.push({ shortChannelId: channel.shortChannelId, to, policy, mostMsat: mostOver(channel, policy.htlcMaximumMsat) })
  }
  return steps
}

/** The route counted in bigint, from the target back to us, every limit checked. */
const routeOf = (walk: Walk): Route | undefined => {
  const { amountMsat, finalCltvDelta, maxFeeMsat, maxCltvDelta } = walk.request
  const hops: RouteHop[] = []
  let amount: bigint = amountMsat
  let delay = finalCltvDelta
  let fee = Msat(0n)
  for (const { shortChannelId, to, policy, mostMsat } of stepsOf(walk).toReversed()) {
    if (amount > mostMsat || amount < (policy?.htlcMinimumMsat ?? walk.first?.htlcMinimumMsat ?? 0n)) return undefined
    hops.push({ shortChannelId, nodeId: to, amountMsat: Msat(amount), cltvExpiryDelta: delay, feeMsat: fee })
    fee = policy === undefined ? Msat(0n) : forwardingFee(policy, amount)
    amount += fee
    delay += policy?.cltvExpiryDelta ?? 0
    if (amount - amountMsat > maxFeeMsat || delay > maxCltvDelta) return undefined
  }
  if (hops.length === 0) return undefined
  return {
    hops: hops.toReversed(),
    totalAmountMsat: Msat(amount),
    totalFeeMsat: Msat(amount - amountMsat),
    totalCltvDelta: delay,
  }
}
