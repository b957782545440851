/**
 * What a search remembers: a label for each node that it has reached, and a heap of nodes by cost. Typed arrays that serve one search
 * after the other: a search allocates nothing here unless the graph has grown.
 * A label says: to bring the payment to the target from here, so much has to arrive here, with so many blocks left.
 */

/** No node can be improved below it: so it is kept out. */
export const CLOSED = -1

export class Labels {
  #capacity = 0
  /** Msat, for comparison; Infinity: not reached. */
  cost = new Float64Array(0)
  /** Of the HTLC that has to arrive. Msat. */
  amount = new Float64Array(0)
  /** Blocks above the present height. */
  delay = new Int32Array(0)
  hops = new Int32Array(0)
  /** The edge that leads on. */
  via = new Int32Array(0)
  /** The node that it leads to. */
  next = new Int32Array(0)
  /** What a search notes of a node. */
  marks = new Uint8Array(0)

  /** Forgets all labels, for nodes below `nodes`. */
  begin(nodes: number): void {
    if (nodes > this.#capacity) {
      const capacity = nodes + (nodes >> 2)
      this.#capacity = capacity
      this.cost = new Float64Array(capacity)
      this.amount = new Float64Array(capacity)
      this.delay = new Int32Array(capacity)
      this.hops = new Int32Array(capacity)
      this.via = new Int32Array(capacity)
      this.next = new Int32Array(capacity)
      this.marks = new Uint8Array(capacity)
    }
    // a memset of some hundred kilobytes: cheaper than a look at the age of every label
    this.cost.fill(Infinity, 0, nodes)
    this.marks.fill(0, 0, nodes)
  }
}

const FIRST_CAPACITY = 1024

/** Four children to a node: half as deep as a binary heap, and siblings share a cache line. */
export class Heap {
  #costs = new Float64Array(FIRST_CAPACITY)
  #nodes = new Int32Array(FIRST_CAPACITY)
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Of the top. */
  get cost(): number {
    return this.#costs[0] as number
  }

  clear(): void {
    this.#size = 0
  }

  push(cost: number, node: number): void {
    let at = this.#size++
    if (at === this.#costs.length) this.#grow()
    const costs = this.#costs
    const nodes = this.#nodes
    while (at > 0) {
      const parent = (at - 1) >> 2
      const above = costs[parent] as number
      if (above <= cost) break
      costs[at] = above
      nodes[at] = nodes[parent] as number
      at = parent
    }
    costs[at] = cost
    nodes[at] = node
  }

  /** Takes the cheapest node off; there must be one. */
  pop(): number {
    const costs = this.#costs
    const nodes = this.#nodes
    const top = nodes[0] as number
    const size = --this.#size
    const cost = costs[size] as number
    const node = nodes[size] as number
    let at = 0
    for (;;) {
      const first = 4 * at + 1
      if (first >= size) break
      const end = Math.min(first + 4, size)
      let child = first
      let least = costs[first] as number
      for (let i = first + 1; i < end; i++) {
        const other = costs[i] as number
        if (other < least) {
          least = other
          child = i
        }
      }
      if (least >= cost) break
      costs[at] = least
      nodes[at] = nodes[child] as number
      at = child
    }
    costs[at] = cost
    nodes[at] = node
    return top
  }

  #grow(): void {
    const costs = new Float64Array(2 * this.#costs.length)
    costs.set(this.#costs)
    this.#costs = costs
    const nodes = new Int32Array(2 * this.#nodes.length)
    nodes.set(this.#nodes)
    this.#nodes = nodes
  }
}
