/**
 * The cheapest path from us to a payee: Dijkstra from the target, because fees and expiries add up backwards.
 * BOLT 7 § HTLC Fees: the fee of a node is on what it forwards, and is set by the end of the channel that forwards.
 * A label says: to bring the payment to the target from here, so much has to arrive here, with so many blocks left.
 * Our own channels are given as they are now; what the graph says about them is not used.
 */
import { MAX_MONEY, Msat } from '@leyden/bitcoin'
import type { NodeId, ShortChannelId } from '@leyden/lnwire'
import type { Graph } from '../gossip/graph.ts'
import { delayPrice, forwardingFee, HOP_PRICE } from './cost.ts'
import { edgeKey, type EdgePolicy, type LocalEdge, MAX_HOPS, type Route, type RouteHint, type RouteHop } from './route.ts'

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
  /** Price of an edge beyond its fee, in msat for comparison: score.ts. */
  readonly penalty?: (key: string, amountMsat: number) => number
  /** What we know better than the graph about an edge: score.ts. */
  readonly learnt?: (key: string) => EdgePolicy | undefined
  readonly maxHops?: number
}

/** How the payment goes on from a node. */
interface Label {
  readonly node: NodeId
  readonly cost: number
  /** Of the HTLC that has to arrive at the node. */
  readonly amountMsat: bigint
  readonly cltvDelta: number
  readonly feeMsat: bigint
  readonly totalFeeMsat: bigint
  readonly hops: number
  /** The channel to the next node; undefined at the target. */
  readonly via: ShortChannelId | undefined
  readonly next: Label | undefined
}

/** Binary heap by cost. */
class Heap {
  readonly #items: Label[] = []

  push(label: Label): void {
    const items = this.#items
    let at = items.length
    items.push(label)
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = items[parent] as Label
      if (above.cost <= label.cost) break
      items[at] = above
      at = parent
    }
    items[at] = label
  }

  pop(): Label | undefined {
    const items = this.#items
    const top = items[0]
    const last = items.pop()
    if (last === undefined || items.length === 0) return top
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= items.length) break
      if (child + 1 < items.length && (items[child + 1] as Label).cost < (items[child] as Label).cost) child++
      const below = items[child] as Label
      if (below.cost >= last.cost) break
      items[at] = below
      at = child
    }
    items[at] = last
    return top
  }
}

/** A channel into a node, as its far end asks for. */
interface Hop {
  readonly from: NodeId
  readonly shortChannelId: ShortChannelId
  readonly policy: EdgePolicy
}

/** A hint tells no limits. */
const UNLIMITED = { enabled: true, htlcMinimumMsat: Msat(0n), htlcMaximumMsat: Msat(MAX_MONEY * 1000n) }

const hintEdges = (target: NodeId, hints: readonly RouteHint[]): Map<NodeId, Hop[]> => {
  const into = new Map<NodeId, Hop[]>()
  for (const hint of hints)
    hint.forEach((hop, i) => {
      const to = hint[i + 1]?.nodeId ?? target
      const edges = into.get(to) ?? []
      edges.push({ from: hop.nodeId, shortChannelId: hop.shortChannelId, policy: { ...hop, ...UNLIMITED } })
      into.set(to, edges)
    })
  return into
}

/**
 * The cheapest route by fee, locked time and past failures, within the limits; undefined when there is none.
 * Paying oneself has no route.
 */
export const findRoute = (graph: Graph, request: RouteRequest): Route | undefined => {
  const { source, target, ignoredEdges, ignoredNodes, penalty, maxFeeMsat, maxCltvDelta } = request
  const maxHops = request.maxHops ?? MAX_HOPS
  if (source === target || request.amountMsat === 0n || request.finalCltvDelta > maxCltvDelta) return undefined
  if (ignoredNodes?.has(target)) return undefined

  const localInto = new Map<NodeId, LocalEdge[]>()
  for (const edge of request.localEdges) {
    const edges = localInto.get(edge.peer) ?? []
    edges.push(edge)
    localInto.set(edge.peer, edges)
  }
  const hinted = hintEdges(target, request.hints ?? [])

  const best = new Map<NodeId, number>()
  const done = new Set<NodeId>()
  const heap = new Heap()
  const improve = (label: Label): void => {
    if (label.cost >= (best.get(label.node) ?? Infinity)) return
    best.set(label.node, label.cost)
    heap.push(label)
  }

  improve({
    node: target,
    cost: 0,
    amountMsat: request.amountMsat,
    cltvDelta: request.finalCltvDelta,
    feeMsat: 0n,
    totalFeeMsat: 0n,
    hops: 0,
    via: undefined,
    next: undefined,
  })

  for (let label = heap.pop(); label !== undefined; label = heap.pop()) {
    if (done.has(label.node)) continue
    done.add(label.node)
    if (label.node === source) return toRoute(label)
    if (label.hops >= maxHops) continue
    const here = label
    const { amountMsat } = here
    const amount = Number(amountMsat)

    for (const edge of localInto.get(here.node) ?? []) {
      if (amountMsat > edge.canSendMsat || amountMsat < edge.htlcMinimumMsat) continue
      const key = edgeKey({ shortChannelId: edge.shortChannelId, from: source })
      if (ignoredEdges?.has(key)) continue
      improve({
        ...here,
        node: source,
        cost: here.cost + (penalty?.(key, amount) ?? 0),
        feeMsat: 0n,
        hops: here.hops + 1,
        via: edge.shortChannelId,
        next: here,
      })
    }

    const relax = (hop: Hop): void => {
      if (hop.from === source || done.has(hop.from) || ignoredNodes?.has(hop.from)) return
      const key = edgeKey(hop)
      if (ignoredEdges?.has(key)) return
      const policy = request.learnt?.(key) ?? hop.policy
      if (!policy.enabled || amountMsat < policy.htlcMinimumMsat || amountMsat > policy.htlcMaximumMsat) return
      const cltvDelta = here.cltvDelta + policy.cltvExpiryDelta
      if (cltvDelta > maxCltvDelta) return
      const feeMsat = forwardingFee(policy, amountMsat)
      const totalFeeMsat = here.totalFeeMsat + feeMsat
      if (totalFeeMsat > maxFeeMsat) return
      improve({
        node: hop.from,
        cost:
          here.cost + Number(feeMsat) + delayPrice(amount, policy.cltvExpiryDelta) + HOP_PRICE + (penalty?.(key, amount) ?? 0),
        amountMsat: amountMsat + feeMsat,
        cltvDelta,
        feeMsat,
        totalFeeMsat,
        hops: here.hops + 1,
        via: hop.shortChannelId,
        next: here,
      })
    }

    for (const hop of hinted.get(here.node) ?? []) relax(hop)
    const node = graph.nodes.get(here.node)
    if (node === undefined || (!node.usable && here.node !== target)) continue
    for (const channel of node.channels) {
      if (!channel.usable || channel.spentAt !== undefined) continue
      const direction = channel.node2 === here.node ? 0 : 1
      const policy = channel.policies[direction]
      if (policy === undefined) continue
      if (channel.capacitySat !== undefined && amountMsat > channel.capacitySat * 1000n) continue
      const from = direction === 0 ? channel.node1 : channel.node2
      if (graph.nodes.get(from)?.usable === false) continue
      relax({ from, shortChannelId: channel.shortChannelId, policy })
    }
  }
  return undefined
}

const toRoute = (start: Label): Route => {
  const hops: RouteHop[] = []
  for (let label = start; label.next !== undefined && label.via !== undefined; label = label.next)
    hops.push({
      shortChannelId: label.via,
      nodeId: label.next.node,
      amountMsat: Msat(label.next.amountMsat),
      cltvExpiryDelta: label.next.cltvDelta,
      feeMsat: Msat(label.next.feeMsat),
    })
  return {
    hops,
    totalAmountMsat: Msat(start.amountMsat),
    totalFeeMsat: Msat(start.totalFeeMsat),
    totalCltvDelta: start.cltvDelta,
  }
}
