/**
 * Routes, and what a search is asked. BOLT 7 § HTLC Fees, § Recommendations for Routing; BOLT 11 `r`.
 * Amounts and expiries are those of the HTLC that *arrives* at the node of a hop. Expiries are blocks above the present height.
 */
import type { Msat } from '@leyden/bitcoin'
import type { NodeId, ShortChannelId } from '@leyden/lnwire'

/** One channel of a hint: from `nodeId` towards the payee. */
export interface HintHop {
  readonly nodeId: NodeId
  readonly shortChannelId: ShortChannelId
  readonly feeBaseMsat: number
  readonly feeProportionalMillionths: number
  readonly cltvExpiryDelta: number
}

/** From a public node to the payee, in order. */
export type RouteHint = readonly HintHop[]

/** A channel of our own that an HTLC could leave by. */
export interface LocalEdge {
  readonly shortChannelId: ShortChannelId
  readonly peer: NodeId
  /** The most that it can carry now. */
  readonly canSendMsat: Msat
  /** The least that the remote accepts. */
  readonly htlcMinimumMsat: Msat
}

export interface RouteHop {
  /** The channel that leads to the node. */
  readonly shortChannelId: ShortChannelId
  readonly nodeId: NodeId
  /** Of the HTLC that arrives there. */
  readonly amountMsat: Msat
  readonly cltvExpiryDelta: number
  /** What this node keeps; zero at the last. */
  readonly feeMsat: Msat
}

export interface Route {
  readonly hops: readonly RouteHop[]
  /** What leaves us. */
  readonly totalAmountMsat: Msat
  readonly totalFeeMsat: Msat
  readonly totalCltvDelta: number
}

/** One direction of a channel: `from` is the end that forwards over it. */
export interface Edge {
  readonly shortChannelId: ShortChannelId
  readonly from: NodeId
  readonly to: NodeId
}

/** What the end of an edge asks for. */
export interface EdgePolicy {
  readonly enabled: boolean
  readonly cltvExpiryDelta: number
  readonly feeBaseMsat: number
  readonly feeProportionalMillionths: number
  readonly htlcMinimumMsat: Msat
  readonly htlcMaximumMsat: Msat
}

/** Key of an edge for sets and scores. One end decides the direction. */
export const edgeKey = (edge: Pick<Edge, 'shortChannelId' | 'from'>): string => `${edge.shortChannelId}/${edge.from}`

/** The edges that a route runs over, from `source`. */
export const routeEdges = (source: NodeId, route: Route): readonly Edge[] =>
  route.hops.map((hop, i) => ({
    shortChannelId: hop.shortChannelId,
    from: route.hops[i - 1]?.nodeId ?? source,
    to: hop.nodeId,
  }))

/** The most hops that a search gives: an onion holds about 20 of the usual size (S68). */
export const MAX_HOPS = 20
