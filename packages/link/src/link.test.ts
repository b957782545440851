import {
  type Block,
  type BlockHash,
  type BlockHeader,
  blockHash,
  BlockHeight,
  FeeratePerKw,
  merkleRoot,
  type Outpoint,
  outpointKey,
  Sat,
  type Tx,
  txid,
  Txid,
  ZERO_HASH,
} from '@leyden/bitcoin'
import { packRecord } from '@leyden/codec'
import { describe, expect, it } from 'vitest'
import { linkClient } from './client.ts'
import {
  type BroadcastResult,
  type ChainCursor,
  type ChainEvent,
  type ChainSource,
  type FeeEstimates,
  type LedgerEvent,
  type LedgerSource,
  LinkAway,
} from './contract.ts'
import { decodeClientFrame, decodeServerFrame, encodeClientFrame, encodeServerFrame, MAX_FRAME_BYTES } from './frames.ts'
import { inProcessChain } from './inprocess.ts'
import { HEARTBEAT_MS, type LineEnd, type LinkClock } from './line.ts'
import { linkServer } from './server.ts'

const FEES: FeeEstimates = {
  feeratePerKw: { 2: FeeratePerKw(5000), 6: FeeratePerKw(3000), 12: FeeratePerKw(1000), 144: FeeratePerKw(253) },
  minimumFeeratePerKw: FeeratePerKw(253),
}

const makeTx = (tag: number): Tx => ({
  version: 2,
  inputs: [
    {
      outpoint: { txid: Txid(tag.toString(16).padStart(64, '0')), vout: 0 },
      scriptSig: new Uint8Array(),
      sequence: 0,
      witness: [],
    },
  ],
  outputs: [{ value: Sat(BigInt(tag)), scriptPubKey: Uint8Array.of(0x51) }],
  lockTime: 0,
})

/** A chain of well-formed blocks without proof of work: link checks how blocks hang together, not what they are worth. */
const makeChain = () => {
  const headers = new Map<BlockHash, { height: BlockHeight; header: BlockHeader }>()
  const blocks = new Map<BlockHash, Block>()
  const listeners = new Set<(event: LedgerEvent) => void>()
  const mempool: Tx[] = []
  const spent = new Set<string>()
  const broadcasts: (readonly Tx[])[] = []
  let results: BroadcastResult = { ok: true }
  let active: BlockHash[] = []
  let nextTag = 1

  const tell = (event: LedgerEvent): void => {
    for (const listener of listeners) listener(event)
  }
  const mineOn = (below: readonly BlockHash[]): BlockHash => {
    const transactions = [makeTx(nextTag++)]
    const header: BlockHeader = {
      version: 4,
      previousHash: below.at(-1) ?? (ZERO_HASH as BlockHash),
      merkleRoot: merkleRoot(transactions.map(txid)),
      time: 1_700_000_000 + nextTag,
      bits: 0x207fffff,
      nonce: 0,
    }
    const hash = blockHash(header)
    headers.set(hash, { height: BlockHeight(below.length), header })
    blocks.set(hash, { header, transactions })
    return hash
  }
  active = [mineOn([])]

  const at = (height: number): ChainCursor => ({ height: BlockHeight(height), hash: active[height] as BlockHash })
  const source: LedgerSource = {
    tip: () => at(active.length - 1),
    hashAtHeight: (height) => active[height],
    headerByHash: (hash) => headers.get(hash),
    blockByHash: async (hash) => blocks.get(hash),
    mempool: () => mempool,
    isUnspent: async (outpoint: Outpoint) => !spent.has(outpointKey(outpoint)),
    subscribe(onEvent) {
      listeners.add(onEvent)
      return () => listeners.delete(onEvent)
    },
    async broadcast(transactions) {
      broadcasts.push(transactions)
      return results
    },
    fees: () => FEES,
  }
  return {
    source,
    at,
    blocks,
    headers,
    mempool,
    spent,
    broadcasts,
    listeners,
    genesis: active[0] as BlockHash,
    answer: (result: BroadcastResult) => {
      results = result
    },
    mine(count: number) {
      for (let n = 0; n < count; n++) {
        active = [...active, mineOn(active)]
        tell({ type: 'tipChanged' })
      }
    },
    /** Replaces the topmost `depth` blocks by `depth + 1` others, in one change. */
    reorg(depth: number) {
      let branch = active.slice(0, active.length - depth)
      for (let n = 0; n <= depth; n++) branch = [...branch, mineOn(branch)]
      active = branch
      tell({ type: 'tipChanged' })
    },
    /** The chain up to a height and nothing above. */
    shorten(height: number) {
      active = active.slice(0, height + 1)
      tell({ type: 'tipChanged' })
    },
    /** Blocks `top` to `top - count`, newest first. */
    recent: (top: number, count: number) => Array.from({ length: count }, (_, n) => at(top - 1 - n)),
    see(tx: Tx) {
      mempool.push(tx)
      tell({ type: 'transactionSeen', tx })
    },
  }
}
type Chain = ReturnType<typeof makeChain>

const settle = async (): Promise<void> => {
  for (let n = 0; n < 60; n++)
    await new Promise<void>((resolve) => {
      setImmediate(resolve)
    })
}

const handClock = () => {
  const timers = new Set<{ readonly fn: () => void; readonly delayMs: number }>()
  const clock: LinkClock = {
    setTimer(delayMs, fn) {
      const timer = { fn, delayMs }
      timers.add(timer)
      return () => timers.delete(timer)
    },
  }
  return {
    clock,
    timers,
    /** Lets every timer that is due at a heartbeat fire once. */
    beat: (): void => {
      const due = [...timers].filter(({ delayMs }) => delayMs <= HEARTBEAT_MS)
      for (const timer of due) if (timers.delete(timer)) timer.fn()
    },
  }
}

/** Two ends of a transport: messages arrive in order, a turn later, and none after a close. */
const pipe = () => {
  const ends: { client?: LineEnd; server?: LineEnd } = {}
  const log: string[] = []
  const frames = { toClient: [] as Uint8Array[], toServer: [] as Uint8Array[] }
  let isOpen = true
  const close = (reason: string): void => {
    if (!isOpen) return
    isOpen = false
    log.push(reason)
    setImmediate(() => {
      ends.client?.closed(reason)
      ends.server?.closed(reason)
    })
  }
  const line = (to: 'client' | 'server', sent: Uint8Array[]) => ({
    send(frame: Uint8Array) {
      sent.push(frame)
      setImmediate(() => {
        if (isOpen) ends[to]?.receive(frame)
      })
    },
    close,
  })
  return { ends, log, frames, close, forClient: line('server', frames.toServer), forServer: line('client', frames.toClient) }
}

type Consumer = { readonly events: string[]; blocks: ChainCursor[]; take: (event: ChainEvent) => Promise<void> }

/** Takes events slowly, checks that each fits the one before, and writes them down in short. */
const makeConsumer = (cursor?: ChainCursor): Consumer => {
  const consumer: Consumer = {
    events: [],
    blocks: cursor === undefined ? [] : [cursor],
    async take(event) {
      await Promise.resolve()
      const top = consumer.blocks.at(-1)
      switch (event.type) {
        case 'blockConnected':
          if (top !== undefined) expect([event.height, event.block.header.previousHash]).toEqual([top.height + 1, top.hash])
          expect(blockHash(event.block.header)).toBe(event.hash)
          consumer.blocks.push({ height: event.height, hash: event.hash })
          consumer.events.push(`+${event.height}`)
          break
        case 'blockDisconnected':
          expect({ height: event.height, hash: event.hash }).toEqual(top)
          consumer.blocks.pop()
          consumer.events.push(`-${event.height}`)
          break
        case 'synced':
          if (top === undefined) consumer.blocks.push(event.tip)
          else expect(event.tip).toEqual(top)
          consumer.events.push(`=${event.tip.height}`)
          break
        case 'transactionSeen':
          consumer.events.push(`tx ${event.tx.outputs[0]?.value}`)
          break
        case 'away':
          consumer.events.push(`away ${event.reason}`)
          break
        case 'back':
          consumer.events.push('back')
          break
      }
    },
  }
  return consumer
}

type Form = {
  readonly source: ChainSource
  /** Breaks the line and makes another; nothing where there is none. */
  readonly breakLine: () => Promise<void>
}
const inProcess = (chain: Chain): Form => ({ source: inProcessChain(chain.source), breakLine: async () => undefined })

const overFrames = (chain: Chain, window?: number) => {
  const { clock, timers, beat } = handClock()
  const client = linkClient({ genesis: chain.genesis, clock })
  let present = pipe()
  const connect = (): void => {
    const made = pipe()
    present = made
    made.ends.server = linkServer({
      source: chain.source,
      genesis: chain.genesis,
      line: made.forServer,
      clock,
      ...(window === undefined ? {} : { maxBlocksInFlight: window }),
    })
    made.ends.client = client.attach(made.forClient)
  }
  connect()
  return {
    source: client as ChainSource,
    client,
    connect,
    timers,
    beat,
    present: () => present,
    breakLine: async (): Promise<void> => {
      present.close('line broke')
      await settle()
      connect()
      await settle()
    },
  }
}

const forms: readonly (readonly [string, (chain: Chain) => Form])[] = [
  ['in process', inProcess],
  ['over frames', overFrames],
]

describe.each(forms)('the chain %s', (name, open) => {
  const wire = name === 'over frames'

  it('starts a new node at the tip, then gives every block and says when it has caught up', async () => {
    const chain = makeChain()
    chain.mine(5)
    const { source } = open(chain)
    const consumer = makeConsumer()
    source.start(undefined, consumer.take)
    expect(consumer.events).toEqual([])
    await settle()
    chain.mine(1)
    await settle()
    expect(consumer.events).toEqual(['=5', '+6', '=6'])
    await source.stop()
  })

  it('goes on from a cursor, through a reorganisation of depth 3, a break and another one during the break', async () => {
    const chain = makeChain()
    chain.mine(5)
    const form = open(chain)
    const consumer = makeConsumer(chain.at(2))
    form.source.start(chain.at(2), consumer.take, chain.recent(2, 2))
    await settle()
    expect(consumer.events.splice(0)).toEqual(['+3', '+4', '+5', '=5'])
    chain.reorg(3)
    await settle()
    expect(consumer.events.splice(0)).toEqual(['-5', '-4', '-3', '+3', '+4', '+5', '+6', '=6'])
    await form.breakLine()
    const afterBreak = wire ? ['away line broke', 'back', '=6'] : []
    expect(consumer.events.splice(0)).toEqual(afterBreak)
    const broken = form.breakLine()
    chain.reorg(2)
    await broken
    await settle()
    const events = consumer.events.filter((event) => event !== 'back' && !event.startsWith('away'))
    expect(events).toEqual(['-6', '-5', '+5', '+6', '+7', '=7'])
    expect(consumer.blocks.at(-1)).toEqual(chain.at(7))
    await form.source.stop()
    chain.mine(1)
    await settle()
    expect(consumer.events.at(-1)).toBe('=7')
    expect(chain.listeners.size).toBe(0)
  })

  it('a restart below a reorganisation disconnects what the consumer has, deeper than what it remembers', async () => {
    for (const remembered of [0, 1, 2, 8]) {
      const chain = makeChain()
      chain.mine(10)
      const [cursor, recent] = [chain.at(10), chain.recent(10, remembered)]
      const blocks = Array.from({ length: 11 }, (_, n) => chain.at(n))
      chain.reorg(4)
      const { source } = open(chain)
      const consumer = makeConsumer()
      consumer.blocks = blocks
      source.start(cursor, consumer.take, recent)
      await settle()
      expect(consumer.events).toEqual(['-10', '-9', '-8', '-7', '+7', '+8', '+9', '+10', '+11', '=11'])
      await source.stop()
    }
  })

  it('a ledger that has forgotten the old branch finds the fork in what the consumer remembers', async () => {
    const chain = makeChain()
    chain.mine(10)
    const [cursor, recent] = [chain.at(10), chain.recent(10, 5)]
    const blocks = Array.from({ length: 11 }, (_, n) => chain.at(n))
    chain.reorg(3)
    for (const block of blocks.slice(8)) chain.headers.delete(block.hash)
    const { source } = open(chain)
    const consumer = makeConsumer()
    consumer.blocks = blocks
    source.start(cursor, consumer.take, recent)
    await settle()
    expect(consumer.events).toEqual(['-10', '-9', '-8', '+8', '+9', '+10', '+11', '=11'])
    await source.stop()
  })

  it('says that it is away when no common block is known, and moves nothing', async () => {
    const [chain, other] = [makeChain(), makeChain()]
    chain.mine(3)
    other.mine(3)
    other.reorg(2)
    const { source } = open(chain)
    const consumer = makeConsumer(other.at(4))
    source.start(other.at(4), consumer.take)
    await settle()
    expect(consumer.events).toEqual(['away unknown_chain'])
    chain.mine(1)
    await settle()
    expect(consumer.events).toEqual(['away unknown_chain'])
    await source.stop()
  })

  it('waits for a ledger that is behind the consumer instead of undoing blocks', async () => {
    const chain = makeChain()
    chain.mine(6)
    const [cursor, recent] = [chain.at(6), chain.recent(6, 6)]
    chain.shorten(4)
    const { source } = open(chain)
    const consumer = makeConsumer(cursor)
    consumer.blocks = [...recent.toReversed(), cursor]
    source.start(cursor, consumer.take, recent)
    await settle()
    expect(consumer.events).toEqual(['away behind'])
    chain.reorg(0)
    await settle()
    expect(consumer.events).toEqual(['away behind', 'back', '-6', '-5', '+5', '=5'])
    await source.stop()
  })

  it('a block that the ledger has not stored holds the chain until it has it', async () => {
    const chain = makeChain()
    chain.mine(3)
    const { hash } = chain.at(2)
    const block = chain.blocks.get(hash) as Block
    chain.blocks.delete(hash)
    const { source } = open(chain)
    const consumer = makeConsumer(chain.at(0))
    source.start(chain.at(0), consumer.take)
    await settle()
    expect(consumer.events).toEqual(['+1', 'away missing_block'])
    chain.blocks.set(hash, block)
    chain.mine(1)
    await settle()
    expect(consumer.events.slice(2)).toEqual(['back', '+2', '+3', '+4', '=4'])
    await source.stop()
  })

  it('a block that cannot be read holds the chain, and a long memory is cut to what a hello may carry', async () => {
    const chain = makeChain()
    chain.mine(400)
    let broken = true
    const source: LedgerSource = {
      ...chain.source,
      blockByHash: (hash) => (broken ? Promise.reject(new Error('bad sector')) : chain.source.blockByHash(hash)),
    }
    const form = open({ ...chain, source })
    const consumer = makeConsumer(chain.at(399))
    form.source.start(chain.at(399), consumer.take, chain.recent(399, 399))
    await settle()
    expect(consumer.events).toEqual(['away unreadable_block'])
    broken = false
    chain.mine(1)
    await settle()
    expect(consumer.events.slice(1)).toEqual(['back', '+400', '+401', '=401'])
    await form.source.stop()
  })

  it('shows the mempool once caught up, then what enters it', async () => {
    const chain = makeChain()
    chain.see(makeTx(1001))
    chain.see(makeTx(1002))
    const form = open(chain)
    const consumer = makeConsumer(chain.at(0))
    form.source.start(chain.at(0), consumer.take)
    await settle()
    chain.see(makeTx(1003))
    chain.mine(1)
    await settle()
    expect(consumer.events.toSorted()).toEqual(['+1', '=0', '=1', 'tx 1001', 'tx 1002', 'tx 1003'])
    expect(consumer.events.slice(0, 3)).toEqual(['=0', 'tx 1001', 'tx 1002'])
    await form.source.stop()
  })

  it('hands over broadcasts, their results, fees and outputs', async () => {
    const chain = makeChain()
    chain.mine(2)
    const { source } = open(chain)
    source.start(undefined, () => undefined)
    await settle()
    const [parent, child] = [makeTx(2001), makeTx(2002)]
    expect(await source.broadcast([parent, child])).toEqual({ ok: true })
    expect(chain.broadcasts.map((transactions) => transactions.map(txid))).toEqual([[txid(parent), txid(child)]])
    chain.answer({ ok: false, reason: 'min relay fee not met', permanent: false })
    expect(await source.broadcast([parent])).toEqual({ ok: false, reason: 'min relay fee not met', permanent: false })
    expect(await source.fees()).toEqual(FEES)
    const tx = chain.blocks.get(chain.at(2).hash)?.transactions[0] as Tx
    const position = { height: BlockHeight(2), transactionIndex: 0, vout: 0 }
    const found = { outpoint: { txid: txid(tx), vout: 0 }, output: tx.outputs[0], unspent: true }
    expect(await source.findOutput(position)).toEqual(found)
    chain.spent.add(outpointKey(found.outpoint))
    expect(await source.findOutput(position)).toEqual({ ...found, unspent: false })
    for (const none of [
      { ...position, vout: 1 },
      { ...position, transactionIndex: 1 },
      { ...position, height: BlockHeight(9) },
    ])
      expect(await source.findOutput(none)).toBeUndefined()
    await source.stop()
  })

  it('is started once', async () => {
    const { source } = open(makeChain())
    source.start(undefined, () => undefined)
    expect(() => source.start(undefined, () => undefined)).toThrow('once')
    await source.stop()
  })
})

describe('a session', () => {
  it('stays within the window: no more blocks in flight than the consumer has room for', async () => {
    const chain = makeChain()
    chain.mine(20)
    const { client, present } = overFrames(chain, 3)
    let release: (() => void) | undefined
    const taken: number[] = []
    client.start(chain.at(0), (event) => {
      if (event.type !== 'blockConnected') return undefined
      taken.push(event.height)
      return new Promise((resolve) => {
        release = resolve
      })
    })
    const blocksSent = (): number =>
      present().frames.toClient.filter((f) => decodeServerFrame(f).type === 'blockConnected').length
    await settle()
    expect([blocksSent(), taken]).toEqual([3, [1]])
    release?.()
    await settle()
    expect([blocksSent(), taken]).toEqual([4, [1, 2]])
    const stopped = client.stop()
    release?.()
    await stopped
    expect(taken).toEqual([1, 2])
  })

  it('drops what a broken line had delivered but the consumer had not taken, and asks for it again', async () => {
    const chain = makeChain()
    chain.mine(6)
    const { client, breakLine, present } = overFrames(chain)
    const consumer = makeConsumer(chain.at(0))
    let release: (() => void) | undefined
    client.start(chain.at(0), async (event) => {
      await consumer.take(event)
      if (event.type === 'blockConnected' && event.height === 2)
        await new Promise<void>((resolve) => {
          release = resolve
        })
    })
    await settle()
    await breakLine()
    expect(consumer.events).toEqual(['+1', '+2'])
    expect(present().frames.toServer).toEqual([]) // no hello while an event is being taken
    release?.()
    await settle()
    expect(consumer.events).toEqual(['+1', '+2', 'away line broke', 'back', '+3', '+4', '+5', '+6', '=6'])
    await client.stop()
  })

  it('without a line: away at once, questions fail, and all is well when one comes', async () => {
    const chain = makeChain()
    const form = overFrames(chain)
    form.present().close('never came up')
    await settle()
    const consumer = makeConsumer()
    form.client.start(undefined, consumer.take)
    expect(await form.client.broadcast([makeTx(1)])).toEqual({ ok: false, reason: 'away', permanent: false })
    await expect(form.client.fees()).rejects.toBeInstanceOf(LinkAway)
    form.connect()
    await settle()
    expect(consumer.events).toEqual(['away not connected', 'back', '=0'])
    const lost = form.client.findOutput({ height: BlockHeight(0), transactionIndex: 0, vout: 0 }).catch((error: unknown) => error)
    form.present().close('cut')
    expect(await lost).toBeInstanceOf(LinkAway)
    await form.client.stop()
  })

  it('a later connection takes the place of an earlier one', async () => {
    const form = overFrames(makeChain())
    const consumer = makeConsumer()
    form.client.start(undefined, consumer.take)
    await settle()
    const first = form.present()
    form.connect()
    await settle()
    expect(first.log).toEqual(['a newer connection took its place'])
    expect(consumer.events).toEqual(['=0', 'away a newer connection took its place', 'back', '=0'])
    await form.client.stop()
  })

  it('both ends close a line that has gone silent, and keep one that has not', async () => {
    const form = overFrames(makeChain())
    form.client.start(undefined, () => undefined)
    await settle()
    const live = form.present()
    for (let n = 0; n < 6; n++) {
      form.beat()
      await settle()
    }
    expect(live.log).toEqual([])
    delete live.ends.client
    delete live.ends.server
    for (let n = 0; n < 4; n++) {
      form.beat()
      await settle()
    }
    expect(live.log).toEqual(['silent'])
    expect(form.timers.size).toBe(0)
    await form.client.stop()
  })

  it('the server closes a client that never says hello', async () => {
    const chain = makeChain()
    const { clock, beat } = handClock()
    const made = pipe()
    made.ends.server = linkServer({ source: chain.source, genesis: chain.genesis, line: made.forServer, clock })
    beat()
    expect(made.log).toEqual(['no hello'])
  })

  const serve = (chain: Chain) => {
    const made = pipe()
    const server = linkServer({ source: chain.source, genesis: chain.genesis, line: made.forServer, clock: handClock().clock })
    made.ends.server = server
    const hello = encodeClientFrame({ type: 'hello', version: 1, genesis: chain.genesis, cursor: undefined, recent: [] })
    return { made, server, hello }
  }

  it('the server refuses another version and another network', () => {
    const chain = makeChain()
    for (const [version, genesis, reason] of [
      [2, chain.genesis, 'version 1 is spoken here'],
      [1, 'ab'.repeat(32) as BlockHash, 'wrong_network'],
    ] as const) {
      const { made, server } = serve(chain)
      server.receive(encodeClientFrame({ type: 'hello', version, genesis, cursor: undefined, recent: [] }))
      expect(made.log).toEqual([reason])
      expect(made.frames.toClient.map(decodeServerFrame)).toEqual([{ type: 'refused', reason }])
    }
  })

  it('S55: the server ends a session on bytes that no client sends, and nothing else', () => {
    const chain = makeChain()
    const cases: readonly (readonly [string, Uint8Array])[] = [
      ['not a record', Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff)],
      ['not an object', packRecord([1])],
      ['an unknown type', packRecord({ type: 'sudo' })],
      ['a negative count', packRecord({ type: 'ack', seq: -1 })],
      ['an ack of what was not sent', encodeClientFrame({ type: 'ack', seq: 1000 })],
      [
        'a package too large',
        packRecord({ type: 'broadcast', id: 1, transactions: Array.from({ length: 26 }, () => new Uint8Array(60)) }),
      ],
      ['a transaction that is none', packRecord({ type: 'broadcast', id: 1, transactions: [Uint8Array.of(1)] })],
      [
        'a height out of range',
        packRecord({ type: 'findOutput', id: 1, position: { height: 2 ** 40, transactionIndex: 0, vout: 0 } }),
      ],
      ['a frame over the cap', new Uint8Array(MAX_FRAME_BYTES + 1)],
      ['a second hello', serve(chain).hello],
    ]
    for (const [what, bytes] of cases) {
      const { made, server, hello } = serve(chain)
      server.receive(hello)
      expect([what, made.log]).toEqual([what, []])
      server.receive(bytes)
      expect([what, made.log.length]).toEqual([what, 1])
      server.receive(hello)
      expect([what, made.log.length]).toEqual([what, 1])
    }
    const { made, server } = serve(chain)
    server.receive(encodeClientFrame({ type: 'fees', id: 1 }))
    expect(made.log).toEqual(['hello comes first'])
  })

  it('B11: the client never shows its consumer a step that does not follow, nor transactions that a block does not have', async () => {
    const chain = makeChain()
    chain.mine(4)
    const block = (height: number) => ({
      height: BlockHeight(height),
      block: chain.blocks.get(chain.at(height).hash) as Block,
    })
    const below = chain.at(1).hash
    const next = block(3)
    const cases = [
      { type: 'blockConnected', seq: 1, ...next, block: { ...next.block, transactions: block(4).block.transactions } },
      { type: 'blockConnected', seq: 1, ...next, block: { ...next.block, transactions: [] } },
      { type: 'blockConnected', seq: 1, ...block(4) },
      { type: 'blockConnected', seq: 1, height: BlockHeight(3), block: block(4).block },
      { type: 'blockDisconnected', seq: 1, ...chain.at(1), previous: below },
      { type: 'blockDisconnected', seq: 1, ...chain.at(2), previous: chain.at(0).hash },
      { type: 'synced', seq: 1, tip: chain.at(4) },
    ] as const
    for (const frame of cases) {
      const client = linkClient({ genesis: chain.genesis, clock: handClock().clock })
      const made = pipe()
      const end = client.attach(made.forClient)
      const consumer = makeConsumer()
      client.start(chain.at(2), consumer.take, [chain.at(1)])
      end.receive(encodeServerFrame({ type: 'welcome', version: 1 }))
      end.receive(encodeServerFrame(frame))
      await settle()
      expect(made.log).toHaveLength(1)
      expect(consumer.events).toEqual([`away ${made.log[0]}`])
      await client.stop()
    }
  })

  it('the client ends a session that speaks before its welcome, or floods', async () => {
    const chain = makeChain()
    const attach = () => {
      const client = linkClient({ genesis: chain.genesis, clock: handClock().clock })
      const made = pipe()
      const end = client.attach(made.forClient)
      client.start(chain.at(0), () => new Promise<void>(() => undefined))
      return { made, end }
    }
    const early = attach()
    early.end.receive(encodeServerFrame({ type: 'back', seq: 1 }))
    expect(early.made.log).toEqual(['welcome comes first'])
    const flood = attach()
    flood.end.receive(encodeServerFrame({ type: 'welcome', version: 1 }))
    for (let seq = 1; seq < 2100; seq++) flood.end.receive(encodeServerFrame({ type: 'back', seq }))
    expect(flood.made.log).toEqual(['more events than the window allows'])
  })
})

describe('frames', () => {
  it('come back as they were', () => {
    const chain = makeChain()
    chain.mine(1)
    const block = chain.blocks.get(chain.at(1).hash) as Block
    const tx = makeTx(7)
    const found = { outpoint: { txid: txid(tx), vout: 3 }, output: tx.outputs[0] as Tx['outputs'][number], unspent: false }
    const server = [
      { type: 'welcome', version: 1 },
      { type: 'refused', reason: 'no' },
      { type: 'ping' },
      { type: 'blockConnected', seq: 1, height: BlockHeight(1), block },
      { type: 'blockDisconnected', seq: 2, ...chain.at(1), previous: chain.genesis },
      { type: 'transactionSeen', seq: 3, tx },
      { type: 'synced', seq: 4, tip: chain.at(1) },
      { type: 'away', seq: 5, reason: 'x' },
      { type: 'back', seq: 6 },
      { type: 'broadcastResult', id: 1, result: { ok: false, reason: 'txn-mempool-conflict', permanent: true } },
      { type: 'feesResult', id: 2, fees: FEES },
      { type: 'findOutputResult', id: 3, found },
      { type: 'findOutputResult', id: 4, found: undefined },
      { type: 'failed', id: 5, reason: 'busy' },
    ] as const
    for (const frame of server) expect(decodeServerFrame(encodeServerFrame(frame))).toEqual(frame)
    const client = [
      { type: 'hello', version: 1, genesis: chain.genesis, cursor: chain.at(1), recent: [chain.at(0)] },
      { type: 'ack', seq: 1 },
      { type: 'ping' },
      { type: 'broadcast', id: 1, transactions: [tx, tx] },
      { type: 'fees', id: 2 },
      { type: 'findOutput', id: 3, position: { height: BlockHeight(5), transactionIndex: 2, vout: 1 } },
    ] as const
    for (const frame of client) expect(decodeClientFrame(encodeClientFrame(frame))).toEqual(frame)
  })
})
