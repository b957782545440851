import { describe, expect, it } from 'vitest'
import { blockHash, type BlockHash, type BlockHeader } from '@leyden/bitcoin'
import { DOWNLOAD_WINDOW, MAX_IN_FLIGHT } from './download.ts'
import { INV, SERVICE } from './message.ts'
import { canTake } from './step.ts'
import { NO_WORK, START_MS, blockOf, chainOn, headerOn, world } from './testing.ts'

type World = ReturnType<typeof world>
const TIME = START_MS / 1000
const headersOf = (w: World, count: number, tag = 0): BlockHeader[] => chainOn(w.chain.genesis.hash, count, TIME - count, tag)
const sayHeaders = (w: World, peer: number, headers: readonly BlockHeader[]): void => w.say(peer, { type: 'headers', headers })
/** Blocks asked of each peer since the last look. */
const asked = (w: World, ...peers: number[]): BlockHash[][] => {
  const effects = w.take()
  return peers.map((id) =>
    w
      .sent(id, effects)
      .flatMap((message) =>
        message.type === 'getdata'
          ? message.items.flatMap(({ kind, hash }) => (kind === INV.witnessBlock ? [hash as BlockHash] : []))
          : [],
      ),
  )
}
/** Gives the machine a block and the chain's consent. */
const giveBlock = (w: World, peer: number, header: BlockHeader): void => {
  w.say(peer, { type: 'block', block: blockOf(header) })
  for (const effect of w.take())
    if (effect.type === 'takeBlock') {
      const hash = blockHash(effect.block.header)
      w.chain.store(hash)
      w.step({ type: 'blockTaken', peer, verdict: { hash, taken: true } })
      w.step({ type: 'tipChanged' })
    }
}
const closed = (w: World): string[] =>
  w.take().flatMap((effect) => (effect.type === 'close' ? [`${effect.peer}: ${effect.reason}`] : []))

describe('blocks', () => {
  it('come from several peers at once, sixteen from each, none twice, within the window', () => {
    const w = world()
    const headers = headersOf(w, 100)
    const hashes = headers.map(blockHash)
    w.chain.state.initialDownload = true
    for (const id of [1, 2, 3]) w.greet(id, 'outbound-full-relay')
    w.take()
    for (const id of [1, 2, 3]) sayHeaders(w, id, headers)
    w.tick()
    const runs = [1, 2, 3].map((id) => [...w.peering.peers.get(id)!.inFlight.keys()])
    expect(runs.map(({ length }) => length)).toEqual([MAX_IN_FLIGHT, MAX_IN_FLIGHT, MAX_IN_FLIGHT])
    expect(new Set(runs.flat())).toEqual(new Set(hashes.slice(0, 48)))
    w.take()
    giveBlock(w, 1, headers[0]!)
    w.tick()
    expect(w.peering.blocksInFlight.size).toBe(48)
    expect(w.peering.blocksInFlight.has(hashes[48]!)).toBe(true)
  })

  it('on their way into the chain are not asked for again', () => {
    const w = world()
    const headers = headersOf(w, 2)
    w.greet(1, 'outbound-full-relay')
    sayHeaders(w, 1, headers)
    w.tick()
    w.take()
    w.say(1, { type: 'block', block: blockOf(headers[0]!) })
    w.tick()
    expect(asked(w, 1)).toEqual([[]])
  })

  it('B10: a peer that alone holds up the window is closed after two seconds, and the next is given more time', () => {
    const w = world()
    const headers = headersOf(w, DOWNLOAD_WINDOW + 50)
    w.chain.state.initialDownload = true
    for (const id of [1, 2]) w.greet(id, 'outbound-full-relay')
    for (const id of [1, 2]) sayHeaders(w, id, headers)
    w.tick()
    const slow = w.peering.blocksInFlight.get(blockHash(headers[0]!))!
    const quick = slow === 1 ? 2 : 1
    // The quick one gives all that it is asked for, until the window ends.
    for (let turns = 0; turns < 100; turns++) {
      const { inFlight } = w.peering.peers.get(quick)!
      if (inFlight.size === 0) break
      const run = [...inFlight.values()]
      for (const { header } of run) giveBlock(w, quick, header)
      w.tick()
    }
    expect(w.peering.peers.get(slow)!.stallingSince).toBeGreaterThan(0)
    w.take()
    w.tick(1999)
    expect(closed(w)).toEqual([])
    w.tick(2)
    expect(closed(w)).toEqual([`${slow}: block download stalled`])
    expect(w.peering.stallingTimeout).toBe(4000)
    w.step({ type: 'disconnected', peer: slow })
    w.tick()
    expect(w.peering.peers.get(quick)!.inFlight.has(blockHash(headers[0]!))).toBe(true)
    const run = [...w.peering.peers.get(quick)!.inFlight.values()]
    for (const { header } of run) giveBlock(w, quick, header)
    expect(w.peering.stallingTimeout).toBeLessThan(4000)
  })

  it('that do not come in the time of a block cost the connection, and go to another peer', () => {
    const w = world()
    const headers = headersOf(w, 1)
    w.greet(1, 'outbound-full-relay')
    w.greet(2, 'outbound-full-relay')
    for (const id of [1, 2]) sayHeaders(w, id, headers)
    w.tick()
    expect(w.peering.blocksInFlight.get(blockHash(headers[0]!))).toBe(1)
    w.take()
    w.tick(600_001)
    expect(closed(w)).toEqual(['1: timeout downloading a block'])
    w.step({ type: 'disconnected', peer: 1 })
    w.tick()
    expect(w.peering.blocksInFlight.get(blockHash(headers[0]!))).toBe(2)
  })

  it('near the tip are asked of who announced them at once', () => {
    const w = world()
    const [first] = headersOf(w, 1)
    w.chain.add(first!)
    w.chain.store(blockHash(first!))
    w.greet(1)
    w.take()
    const next = headerOn(blockHash(first!), TIME)
    sayHeaders(w, 1, [next])
    expect(asked(w, 1)).toEqual([[blockHash(next)]])
  })

  it('that nobody asked for are taken when they may become the tip, and not otherwise', () => {
    const w = world()
    w.greet(1)
    const main = headersOf(w, 3)
    for (const header of main) {
      w.chain.add(header)
      w.chain.store(blockHash(header))
    }
    w.take()
    const [stale] = headersOf(w, 1, 9)
    w.say(1, { type: 'block', block: blockOf(stale!) })
    const next = headerOn(blockHash(main[2]!), TIME)
    w.say(1, { type: 'block', block: blockOf(next) })
    expect(w.take().flatMap((effect) => (effect.type === 'takeBlock' ? [effect.block.header] : []))).toEqual([next])
  })

  it('that nobody asked for are all taken when they come faster than they can be connected', () => {
    const w = world()
    w.greet(1)
    const headers = headersOf(w, 700)
    for (const header of headers.slice(0, 400)) w.say(1, { type: 'block', block: blockOf(header) })
    expect(w.take().filter(({ type }) => type === 'takeBlock')).toHaveLength(400)
    for (const header of headers.slice(400)) w.chain.add(header)
    // Too far ahead of all that is under way.
    w.say(1, { type: 'block', block: blockOf(headers[699]!) })
    expect(w.take().filter(({ type }) => type === 'takeBlock')).toHaveLength(0)
    // What stands on a block that is missing moves no tip.
    const [missing, ...others] = headersOf(w, 400, 5)
    w.chain.add(missing!)
    for (const header of others) w.say(1, { type: 'block', block: blockOf(header) })
    expect(w.take().filter(({ type }) => type === 'takeBlock')).toHaveLength(287)
  })

  it('wait in their connection while the chain has no room for more', () => {
    const w = world()
    const headers = headersOf(w, 2)
    const peer = w.greet(1, 'outbound-full-relay')
    sayHeaders(w, 1, headers)
    w.tick()
    w.say(1, { type: 'block', block: blockOf(headers[0]!) })
    expect(canTake(w.peering, peer)).toBe('block')
    w.chain.state.room = false
    expect(canTake(w.peering, peer)).toBe('none')
    w.step({ type: 'blockTaken', peer: 1, verdict: { hash: blockHash(headers[0]!), taken: true } })
    expect(canTake(w.peering, peer)).toBe('any')
  })
})

describe('headers', () => {
  it('are asked of one peer while far behind, and of the next when that one does not answer', () => {
    const w = world()
    w.chain.state.initialDownload = true
    w.tick(30 * 3_600_000)
    w.greet(1, 'outbound-full-relay')
    w.greet(2, 'outbound-full-relay')
    const effects = w.take()
    const begun = [1, 2].filter((id) => w.sent(id, effects).some(({ type }) => type === 'getheaders'))
    expect(begun).toEqual([1])
    w.tick(16 * 60_000)
    expect(closed(w)).toEqual(['1: timeout downloading headers'])
  })

  it('B9: of a chain with too little work are not kept, however many they are', () => {
    const w = world()
    w.chain.state.minimumWork = 50_000n
    w.greet(1)
    const entries = w.chain.entries.size
    let headers = chainOn(w.chain.genesis.hash, 2000, TIME - 10_000)
    for (let i = 0; i < 5; i++) {
      sayHeaders(w, 1, headers)
      headers = chainOn(blockHash(headers.at(-1)!), 2000, TIME - 10_000)
    }
    expect(w.chain.entries.size).toBe(entries)
    expect(w.peering.peers.get(1)!.presync!.commitments.length).toBeLessThan(20)
    sayHeaders(w, 1, headers.slice(0, 3))
    expect(w.peering.peers.get(1)!.presync).toBeUndefined()
    expect(w.chain.entries.size).toBe(entries)
  })

  it('of a long chain are counted first, and kept when they come a second time', () => {
    const w = world()
    w.chain.state.minimumWork = 9000n
    w.greet(1)
    const headers = chainOn(w.chain.genesis.hash, 5000, TIME - 10_000)
    const parts = [headers.slice(0, 2000), headers.slice(2000, 4000), headers.slice(4000)]
    for (const part of parts) sayHeaders(w, 1, part)
    expect(w.chain.entries.size).toBe(1)
    for (const part of parts) sayHeaders(w, 1, part)
    expect(w.chain.entries.size).toBe(5001)
    expect(w.peering.peers.get(1)!.best?.height).toBe(5000)
  })

  it('that differ the second time are not kept', () => {
    const w = world()
    w.chain.state.minimumWork = 9000n
    w.greet(1)
    const real = chainOn(w.chain.genesis.hash, 5000, TIME - 10_000)
    const other = chainOn(w.chain.genesis.hash, 4000, TIME - 10_000, 7)
    for (const part of [real.slice(0, 2000), real.slice(2000, 4000), real.slice(4000)]) sayHeaders(w, 1, part)
    for (const part of [other.slice(0, 2000), other.slice(2000)]) sayHeaders(w, 1, part)
    expect(w.chain.entries.size).toBe(1)
  })

  it('without work or out of order cost the connection; those that connect to nothing are asked about', () => {
    const bad: readonly ((w: World) => BlockHeader[])[] = [
      (w) => [{ ...headerOn(w.chain.genesis.hash, TIME), nonce: NO_WORK }],
      (w) => [headersOf(w, 2)[1]!, headersOf(w, 2)[0]!],
    ]
    for (const make of bad) {
      const w = world()
      const peer = w.greet(1)
      sayHeaders(w, 1, make(w))
      expect(peer.closing).toBe(true)
    }
    const w = world()
    const peer = w.greet(1)
    peer.askedHeadersAt = 0
    w.take()
    sayHeaders(w, 1, [headersOf(w, 2)[1]!])
    expect(peer.closing).toBe(false)
    expect(w.sent(1).map(({ type }) => type)).toContain('getheaders')
  })

  it('end an outbound peer whose chain stays behind ours', () => {
    const w = world()
    const peer = w.greet(1, 'block-relay-only')
    for (const header of headersOf(w, 3)) {
      w.chain.add(header)
      w.chain.store(blockHash(header))
    }
    w.tick()
    w.tick(20 * 60_000 + 1)
    w.take()
    w.tick(2 * 60_000 + 1)
    expect(peer.closing).toBe(true)
  })
})

describe('what we tell', () => {
  const grow = (w: World, count: number): BlockHeader[] => {
    const headers = chainOn(w.chain.tip().hash, count, TIME)
    for (const header of headers) {
      w.chain.add(header)
      w.chain.store(blockHash(header))
    }
    w.step({ type: 'tipChanged' })
    w.take()
    return headers
  }

  it('of a new block goes by headers to who asked for that and has its parent, by inv to others', () => {
    const w = world()
    for (const id of [1, 2]) w.greet(id)
    w.say(1, { type: 'sendheaders' })
    w.say(1, { type: 'getheaders', version: 0, hashes: [w.chain.genesis.hash], stop: w.chain.genesis.hash })
    const [header] = grow(w, 1)
    w.tick()
    const effects = w.take()
    expect(w.sent(1, effects)).toContainEqual({ type: 'headers', headers: [header] })
    expect(w.sent(2, effects)).toContainEqual({ type: 'inv', items: [{ kind: INV.block, hash: blockHash(header!) }] })
  })

  it('of more blocks than eight is the last alone', () => {
    const w = world()
    w.greet(1)
    w.say(1, { type: 'sendheaders' })
    const headers = grow(w, 9)
    w.tick()
    expect(w.sent(1)).toContainEqual({ type: 'inv', items: [{ kind: INV.block, hash: blockHash(headers[8]!) }] })
  })

  it('is what was asked for: headers after the locator, blocks as they are read, one after the other', () => {
    const w = world()
    const peer = w.greet(1)
    const headers = grow(w, 3)
    w.say(1, { type: 'getheaders', version: 0, hashes: [blockHash(headers[0]!)], stop: blockHash(headers[1]!) })
    expect(w.sent(1)).toContainEqual({ type: 'headers', headers: [headers[1]] })
    w.say(1, { type: 'getdata', items: headers.map((header) => ({ kind: INV.witnessBlock, hash: blockHash(header) })) })
    expect(peer.getdata).toHaveLength(2)
    const payload = Uint8Array.of(1)
    w.take()
    for (const header of headers) w.step({ type: 'blockRead', peer: 1, hash: blockHash(header), payload })
    expect(w.sent(1).filter(({ type }) => type === 'raw')).toHaveLength(3)
    expect(peer.getdata).toEqual([])
  })

  it('waits while the peer does not read', () => {
    const w = world()
    const peer = w.greet(1)
    const headers = grow(w, 2)
    w.take()
    peer.sendPaused = true
    w.say(1, { type: 'getdata', items: headers.map((header) => ({ kind: INV.witnessBlock, hash: blockHash(header) })) })
    expect(w.take().filter(({ type }) => type === 'readBlock')).toEqual([])
    peer.sendPaused = false
    w.step({ type: 'drained', peer: 1 })
    expect(w.take().filter(({ type }) => type === 'readBlock')).toHaveLength(1)
  })

  it('does not show how far a pruned node goes back', () => {
    const w = world()
    const peer = w.connect(1)
    Object.assign(peer, { ourServices: SERVICE.networkLimited | SERVICE.witness })
    w.say(1, w.version())
    w.say(1, { type: 'verack' })
    const headers = grow(w, 300)
    w.say(1, { type: 'getdata', items: [{ kind: INV.witnessBlock, hash: blockHash(headers[0]!) }] })
    expect(peer.closing).toBe(true)
  })
})
