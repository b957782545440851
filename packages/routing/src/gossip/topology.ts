/**
 * The graph as numbers, for searches: nodes by dense index and, into each node, the edges that can be used now, side by side. BOLT 7.
 * graph.ts alone changes it, with every change of its own: that touches the edges of one channel, or of one node, never all.
 * What is not in here: edges without a policy, disabled ones, those of spent or unusable channels, those that an unusable node speaks for.
 * Limits are Float64: exact below 2^53 msat (90,071 BTC), rounded above. search.ts counts its route again in bigint, from the graph.
 */
import type { NodeId, ShortChannelId } from '@leyden/lnwire'

/** What a search asks of an edge. */
export interface EdgeTerms {
  readonly cltvExpiryDelta: number
  readonly feeBaseMsat: number
  readonly feeProportionalMillionths: number
  /** Numbers of msat, for comparison. */
  readonly leastMsat: number
  readonly mostMsat: number
}

/** An edge of a pool is eight 32-bit words: four numbers and two limits of 64 bits. Half a cache line. */
export const EDGE_WORDS = 8
export const [FROM, DELAY, FEE_BASE, FEE_RATE] = [0, 1, 2, 3]
/** The same in units of 64 bits. */
export const EDGE_LIMITS = 4
export const [LEAST, MOST] = [2, 3]

const larger = <T extends Int32Array | Uint32Array | Uint8Array>(array: T, length: number): T => {
  const grown = new (array.constructor as new (length: number) => T)(length)
  grown.set(array)
  return grown
}

/** Edges by place. */
export class EdgePool {
  #capacity: number
  words: Uint32Array
  limits: Float64Array
  /** Place -> the owner's name of the edge: twice the slot of its channel, and its direction. */
  names: Int32Array

  constructor(capacity: number) {
    this.#capacity = capacity
    const memory = new ArrayBuffer(capacity * EDGE_WORDS * 4)
    this.words = new Uint32Array(memory)
    this.limits = new Float64Array(memory)
    this.names = new Int32Array(capacity)
  }

  get capacity(): number {
    return this.#capacity
  }

  /** Makes room for so many edges; keeps those that are there. */
  reserve(capacity: number): void {
    if (capacity <= this.#capacity) return
    const memory = new ArrayBuffer(capacity * EDGE_WORDS * 4)
    const words = new Uint32Array(memory)
    words.set(this.words)
    this.#capacity = capacity
    this.words = words
    this.limits = new Float64Array(memory)
    this.names = larger(this.names, capacity)
  }

  set(place: number, name: number, from: number, terms: EdgeTerms): void {
    const word = place * EDGE_WORDS
    this.words[word + FROM] = from
    this.words[word + DELAY] = terms.cltvExpiryDelta
    this.words[word + FEE_BASE] = terms.feeBaseMsat
    this.words[word + FEE_RATE] = terms.feeProportionalMillionths
    this.limits[place * EDGE_LIMITS + LEAST] = terms.leastMsat
    this.limits[place * EDGE_LIMITS + MOST] = terms.mostMsat
    this.names[place] = name
  }

  /** Copies `count` edges of a pool (this one or another) from `start` on to `place`. */
  copy(source: EdgePool, start: number, count: number, place: number): void {
    this.words.set(source.words.subarray(start * EDGE_WORDS, (start + count) * EDGE_WORDS), place * EDGE_WORDS)
    this.names.set(source.names.subarray(start, start + count), place)
  }
}

const FIRST_ROOM = 2
const LEAST_CAPACITY = 8

export class Topology {
  /** Blocks of edges by the node that they lead to. */
  pool = new EdgePool(LEAST_CAPACITY)
  /** By node: place of the first edge into it, how many there are, and for how many its block has room. */
  starts = new Int32Array(LEAST_CAPACITY)
  counts = new Int32Array(LEAST_CAPACITY)
  #rooms = new Int32Array(LEAST_CAPACITY)
  /** By slot: the two halves of the short_channel_id. */
  high = new Uint32Array(LEAST_CAPACITY)
  low = new Uint32Array(LEAST_CAPACITY)
  /** By name: the node that the edge begins at, and the edge's place in the pool, -1 when it is not there. */
  #froms = new Int32Array(2 * LEAST_CAPACITY)
  #places = new Int32Array(2 * LEAST_CAPACITY)
  /** Undefined: free. */
  readonly #ids: (NodeId | undefined)[] = []
  readonly #freeNodes: number[] = []
  #slots = 0
  readonly #freeSlots: number[] = []
  /** End of the last block, and places before it that belong to no block. */
  #end = 0
  #wasted = 0

  /** Indices of nodes are below it. */
  get nodeLimit(): number {
    return this.#ids.length
  }

  nodeId(node: number): NodeId {
    const id = this.#ids[node]
    if (id === undefined) throw new RangeError(`no node ${node}`)
    return id
  }

  shortChannelId(slot: number): ShortChannelId {
    return ((BigInt(this.high[slot] ?? 0) << 32n) | BigInt(this.low[slot] ?? 0)) as ShortChannelId
  }

  /** Place of an edge in the pool until the next change, -1 when it cannot be used. */
  placeOf(slot: number, direction: 0 | 1): number {
    return this.#places[2 * slot + direction] ?? -1
  }

  addNode(id: NodeId): number {
    const node = this.#freeNodes.pop() ?? this.#ids.length
    this.#ids[node] = id
    if (node >= this.starts.length) {
      this.starts = larger(this.starts, 2 * node)
      this.counts = larger(this.counts, 2 * node)
      this.#rooms = larger(this.#rooms, 2 * node)
    }
    return node
  }

  /** A node that has no channel any more. */
  removeNode(node: number): void {
    this.#wasted += this.#rooms[node] as number
    this.starts[node] = 0
    this.counts[node] = 0
    this.#rooms[node] = 0
    this.#ids[node] = undefined
    this.#freeNodes.push(node)
  }

  /** A channel between two nodes, without edges yet. Gives its slot. */
  addChannel(id: ShortChannelId, node1: number, node2: number): number {
    const slot = this.#freeSlots.pop() ?? this.#slots++
    if (slot >= this.high.length) {
      this.high = larger(this.high, 2 * slot)
      this.low = larger(this.low, 2 * slot)
      this.#froms = larger(this.#froms, 4 * slot)
      this.#places = larger(this.#places, 4 * slot)
    }
    this.high[slot] = Number(id >> 32n)
    this.low[slot] = Number(id & 0xffff_ffffn)
    this.#froms[2 * slot] = node1
    this.#froms[2 * slot + 1] = node2
    this.#places[2 * slot] = -1
    this.#places[2 * slot + 1] = -1
    return slot
  }

  removeChannel(slot: number): void {
    this.remove(slot, 0)
    this.remove(slot, 1)
    this.#freeSlots.push(slot)
  }

  /** Adds an edge or changes its terms. */
  put(slot: number, direction: 0 | 1, terms: EdgeTerms): void {
    const name = 2 * slot + direction
    const known = this.#places[name] as number
    // before the pool is looked at: it may be another one afterwards
    const place = known === -1 ? this.#newPlace(name) : known
    this.pool.set(place, name, this.#froms[name] as number, terms)
  }

  /** Takes an edge out, if it is in. The last one of its block takes its place. */
  remove(slot: number, direction: 0 | 1): void {
    const name = 2 * slot + direction
    const place = this.#places[name] as number
    if (place === -1) return
    this.#places[name] = -1
    const to = this.#froms[name ^ 1] as number
    const count = (this.counts[to] as number) - 1
    this.counts[to] = count
    const last = (this.starts[to] as number) + count
    if (last === place) return
    this.pool.copy(this.pool, last, 1, place)
    this.#places[this.pool.names[place] as number] = place
  }

  #newPlace(name: number): number {
    const to = this.#froms[name ^ 1] as number
    const count = this.counts[to] as number
    if (count === this.#rooms[to]) this.#enlarge(to)
    this.counts[to] = count + 1
    const place = (this.starts[to] as number) + count
    this.#places[name] = place
    return place
  }

  /** Twice the room for edges into a node, at the end of the pool. */
  #enlarge(to: number): void {
    const before = this.#rooms[to] as number
    const room = Math.max(FIRST_ROOM, 2 * before)
    if (this.#end + room > this.pool.capacity) this.#makeRoom(room)
    const count = this.counts[to] as number
    this.#move(this.pool, to, count, this.#end)
    this.#rooms[to] = room
    this.#wasted += before
    this.#end += room
  }

  /** The edges into a node, from a pool (this one or the one before) to another place of this one. */
  #move(source: EdgePool, to: number, count: number, place: number): void {
    const start = this.starts[to] as number
    this.pool.copy(source, start, count, place)
    this.starts[to] = place
    for (let i = 0; i < count; i++) this.#places[this.pool.names[place + i] as number] = place + i
  }

  /** A larger pool; or a tidy one, when a third of it was left behind by blocks that moved. So a place costs constant time, spread out. */
  #makeRoom(room: number): void {
    if (this.#wasted * 3 < this.#end) return this.pool.reserve(Math.max(2 * this.pool.capacity, this.#end + room))
    const before = this.pool
    this.pool = new EdgePool(before.capacity + room)
    this.#end = 0
    this.#wasted = 0
    for (let node = 0; node < this.#ids.length; node++) {
      const count = this.counts[node] as number
      this.#move(before, node, count, this.#end)
      this.#rooms[node] = count
      this.#end += count
    }
  }
}
