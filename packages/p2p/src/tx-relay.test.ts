import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { txid, wtxid, type Tx } from '@leyden/bitcoin'
import { INV } from './message.ts'
import { someTxid, spending, world } from './testing.ts'
import { MAX_TO_SEND } from './tx-announce.ts'
import { MAX_ANNOUNCEMENTS } from './tx-download.ts'

type World = ReturnType<typeof world>
const announce = (w: World, peer: number, ...ids: string[]): void =>
  w.say(peer, { type: 'inv', items: ids.map((hash) => ({ kind: INV.wtx, hash })) })
/** What was asked of a peer. */
const asked = (w: World, peer: number): string[] =>
  w.sent(peer).flatMap((message) => (message.type === 'getdata' ? message.items.map(({ hash }) => hash) : []))
/** The mempool's answer to the transactions that are being judged. */
const answer = (w: World, accepted: boolean, kind?: 'missing' | 'fee' | 'consensus' | 'policy'): Tx[] => {
  const judged = w.take().flatMap((effect) => (effect.type === 'takeTransactions' ? [effect] : []))
  for (const { peer, transactions, job } of judged) {
    if (accepted) for (const tx of transactions) w.accept(tx)
    const verdict = { accepted, ...(kind === undefined ? {} : { kind }) }
    w.step({ type: 'transactionsTaken', peer, job, verdicts: transactions.map((tx) => ({ tx, ...verdict })) })
  }
  return judged.flatMap(({ transactions }) => transactions)
}

describe('transactions of others', () => {
  it('are asked of a chosen peer at once, of others two seconds later, and of the next when the first is late', () => {
    const w = world()
    w.greet(1)
    w.greet(2, 'outbound-full-relay')
    w.take()
    announce(w, 1, someTxid(1), someTxid(2))
    announce(w, 2, someTxid(1))
    expect(asked(w, 2)).toEqual([someTxid(1)])
    w.tick(2000)
    expect(asked(w, 1)).toEqual([someTxid(2)])
    w.tick(60_000)
    expect(asked(w, 1)).toEqual([someTxid(1)])
  })

  it('that are known, refused or confirmed are not asked for', () => {
    const w = world()
    w.greet(1, 'outbound-full-relay')
    const [known, refused, confirmed] = [
      spending({ txid: someTxid(1) }),
      spending({ txid: someTxid(2) }),
      spending({ txid: someTxid(3) }),
    ]
    w.accept(known)
    w.say(1, { type: 'tx', tx: refused })
    answer(w, false, 'policy')
    w.step({ type: 'blockConnected', block: { header: w.chain.genesis.header, transactions: [confirmed] } })
    w.take()
    announce(w, 1, wtxid(known), wtxid(refused), wtxid(confirmed))
    w.tick(10_000)
    expect(asked(w, 1)).toEqual([])
  })

  it('that break a rule of consensus cost their sender the connection, unless it is trusted', () => {
    for (const [permissions, closed] of [
      [[], true],
      [['noban'], false],
    ] as const) {
      const w = world()
      const peer = w.greet(1, 'inbound', { permissions })
      w.take()
      w.say(1, { type: 'tx', tx: spending({ txid: someTxid(1) }) })
      answer(w, false, 'consensus')
      expect(peer.closing).toBe(closed)
    }
  })

  it('whose parents are unknown wait for them, and are judged again when they come', () => {
    const w = world()
    w.greet(1, 'outbound-full-relay')
    w.take()
    const parent = spending({ txid: someTxid(1) })
    const child = spending({ txid: txid(parent) })
    w.say(1, { type: 'tx', tx: child })
    answer(w, false, 'missing')
    w.tick(2000)
    expect(asked(w, 1)).toEqual([txid(parent)])
    w.say(1, { type: 'tx', tx: parent })
    expect(answer(w, true)).toEqual([parent])
    expect(answer(w, true)).toEqual([child])
    expect(w.peering.orphanage.size).toBe(0)
  })

  it('that pay too little alone are tried with a child that waits for them, once', () => {
    const w = world()
    w.greet(1, 'outbound-full-relay')
    w.take()
    const parent = spending({ txid: someTxid(1) })
    const child = spending({ txid: txid(parent) })
    w.say(1, { type: 'tx', tx: child })
    answer(w, false, 'missing')
    w.say(1, { type: 'tx', tx: parent })
    expect(answer(w, false, 'fee')).toEqual([parent])
    expect(answer(w, false, 'fee')).toEqual([parent, child])
    w.say(1, { type: 'tx', tx: parent })
    expect(answer(w, false, 'fee')).toEqual([])
  })

  it('are refused with one of their parents, and not kept as orphans', () => {
    const w = world()
    w.greet(1, 'outbound-full-relay')
    w.take()
    const parent = spending({ txid: someTxid(1) }, 0, 1, 0)
    w.say(1, { type: 'tx', tx: parent })
    answer(w, false, 'policy')
    w.say(1, { type: 'tx', tx: spending({ txid: txid(parent) }) })
    answer(w, false, 'missing')
    expect(w.peering.orphanage.size).toBe(0)
    w.step({ type: 'tipChanged' })
    expect(w.peering.rejects.size).toBeGreaterThan(0)
  })

  it('are not wanted over a connection for blocks alone, or with blocksOnly', () => {
    const w = world({ blocksOnly: true })
    const peer = w.greet(1)
    announce(w, 1, someTxid(1))
    expect(peer.closing).toBe(true)
    const trusted = w.greet(2, 'inbound', { permissions: ['relay'] })
    announce(w, 2, someTxid(1))
    expect(trusted.closing).toBe(false)
  })
})

describe('our transactions', () => {
  it('are announced later, by the id that the peer uses, and only given when announced before', () => {
    const w = world()
    w.greet(1)
    w.tick(1)
    const tx = spending({ txid: someTxid(1) })
    w.accept(tx)
    w.take()
    w.say(1, { type: 'getdata', items: [{ kind: INV.wtx, hash: wtxid(tx) }] })
    expect(w.sent(1)).toContainEqual({ type: 'notfound', items: [{ kind: INV.wtx, hash: wtxid(tx) }] })
    w.tick(60_000)
    expect(w.sent(1)).toContainEqual({ type: 'inv', items: [{ kind: INV.wtx, hash: wtxid(tx) }] })
    w.say(1, { type: 'getdata', items: [{ kind: INV.wtx, hash: wtxid(tx) }] })
    expect(w.sent(1)).toContainEqual({ type: 'tx', tx })
  })

  it('are announced to nobody who has them, or asks for higher fees', () => {
    const w = world()
    w.greet(1)
    w.greet(2)
    w.tick(1)
    const tx = spending({ txid: someTxid(1) })
    announce(w, 1, wtxid(tx))
    w.say(2, { type: 'feefilter', feeratePerKvb: 100_001n })
    w.accept(tx)
    w.take()
    w.tick(60_000)
    const effects = w.take()
    expect([1, 2].map((id) => w.sent(id, effects).filter(({ type }) => type === 'inv'))).toEqual([[], []])
    w.accept(spending({ txid: someTxid(2) }))
    w.say(2, { type: 'feefilter', feeratePerKvb: 100_000n })
    w.take()
    w.tick(60_000)
    expect(w.sent(2).filter(({ type }) => type === 'inv')).toHaveLength(1)
  })
})

describe('a flood', () => {
  it('B7: of announcements, requests and transactions leaves no queue beyond its cap (CVE-2018-17145)', () => {
    const many = (from: number, count: number) =>
      Array.from({ length: count }, (_, i) => ({ kind: INV.wtx, hash: someTxid(from * 1_000_003 + i) }))
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            what: fc.constantFrom('inv', 'getdata', 'tx', 'headers', 'tick', 'relay' as const),
            peer: fc.integer({ min: 1, max: 3 }),
            n: fc.nat(1000),
          }),
          { maxLength: 25 },
        ),
        (acts) => {
          const w = world()
          const peers = [1, 2, 3].map((id) => w.greet(id, id === 1 ? 'outbound-full-relay' : 'inbound'))
          peers[2]!.sendPaused = true
          for (const { what, peer, n } of acts) {
            if (what === 'inv') w.say(peer, { type: 'inv', items: many(n, 4000) })
            if (what === 'getdata' && peers[peer - 1]!.getdata.length === 0)
              w.say(peer, { type: 'getdata', items: many(n, 50_000) })
            if (what === 'tx') w.say(peer, { type: 'tx', tx: spending({ txid: someTxid(n + 1) }, n) })
            if (what === 'relay') w.accept(spending({ txid: someTxid(n + 1) }, n))
            if (what === 'tick') w.tick(n)
            if (what === 'tx') answer(w, false, 'missing')
            for (const { id, getdata, txRelay, toAnnounce, toInv } of peers) {
              expect(w.peering.requests.count(id)).toBeLessThanOrEqual(MAX_ANNOUNCEMENTS + 1)
              expect(getdata.length).toBeLessThanOrEqual(50_000)
              expect(txRelay!.toSend.size).toBeLessThanOrEqual(MAX_TO_SEND)
              expect(txRelay!.known.size).toBeLessThanOrEqual(100_000)
              expect(toAnnounce.length + toInv.length).toBeLessThanOrEqual(50_009)
            }
            expect(w.peering.orphanage.size).toBeLessThanOrEqual(100)
          }
        },
      ),
      { numRuns: 8 },
    )
  })
})
