import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { unreachable } from '@leyden/codec'
import { Txid, type Tx } from '@leyden/bitcoin'
import {
  abandon,
  balance,
  commitHeld,
  connectBlock,
  disconnectBlock,
  findTransaction,
  fund,
  heldTransactions,
  isRefusal,
  listAddresses,
  listCoins,
  listTransactions,
  newAddress,
  pendingTransactions,
  releaseHeld,
  seeTransaction,
  labelTransaction,
  walletKind,
  type Wallet,
} from './index.ts'
import {
  blockHashOf,
  blockOf,
  checkWallet,
  coinbase,
  connect,
  connectMany,
  disconnect,
  foreignScript,
  hashOf,
  idOf,
  incoming,
  keys,
  ok,
  output,
  own,
  START,
  walletWith,
} from './testing.ts'
import { FeeratePerKw } from '@leyden/bitcoin'

const see = (wallet: Wallet, tx: Tx, nowMs = 5000): Wallet => seeTransaction(wallet, keys, tx, nowMs).wallet
const send = (wallet: Wallet, valueSat: bigint, more: object = {}) =>
  ok(
    fund(wallet, keys, {
      outputs: [output(valueSat, foreignScript('shop'))],
      feeratePerKw: FeeratePerKw(1000),
      nowMs: 1000,
      ...more,
    }),
  )

describe('following the chain', () => {
  it('counts what is paid to us, in the mempool and in a block', () => {
    const tx = incoming('alice', output(1000n, foreignScript('x')), output(70_000n, own('p2tr', 3)))
    const seen = seeTransaction(START, keys, tx, 42)
    expect(seen.events).toEqual([{ type: 'transactionSeen', txid: idOf(tx) }])
    expect(balance(seen.wallet)).toMatchObject({ unconfirmedSat: 70_000n, confirmedSat: 0n, spendableSat: 0n })
    const mined = ok(connectBlock(seen.wallet, keys, blockOf(101, [coinbase(101, foreignScript('miner')), tx])))
    expect(mined.events).toEqual([{ type: 'transactionConfirmed', txid: idOf(tx) }])
    expect(balance(mined.wallet)).toEqual({
      confirmedSat: 70_000n,
      unconfirmedSat: 0n,
      lockedSat: 0n,
      immatureSat: 0n,
      spendableSat: 70_000n,
    })
    expect(findTransaction(connect(mined.wallet), idOf(tx))).toMatchObject({
      status: 'confirmed',
      netSat: 70_000n,
      confirmations: 2,
      blockHeight: 101,
      seenAtMs: 42,
    })
    expect(mined.wallet.branches['p2tr/0']).toEqual({ next: 0, used: 4 })
    checkWallet(mined.wallet)
  })

  it('leaves a wallet as it is when nothing is ours, but for the tip', () => {
    const tx = incoming('bob', output(5000n, foreignScript('carol')))
    expect(seeTransaction(START, keys, tx, 1).wallet).toBe(START)
    const after = connect(START, [tx])
    expect(after.transactions).toBe(START.transactions)
    expect(after.tip.height).toBe(101)
  })

  it('takes a block once and refuses one that does not follow', () => {
    const tx = incoming('alice', output(70_000n, own()))
    const block = blockOf(101, [tx])
    const { wallet } = ok(connectBlock(START, keys, block))
    expect(ok(connectBlock(wallet, keys, block))).toEqual({ wallet, events: [] })
    expect(ok(connectBlock(connect(wallet), keys, block)).events).toEqual([])
    for (const other of [
      blockOf(101, [], 'another'),
      blockOf(103, []),
      { ...blockOf(102, []), previousHash: blockHashOf('another') },
    ])
      expect(connectBlock(wallet, keys, other)).toMatchObject({ kind: 'refusal', code: 'out_of_order' })
    expect(disconnectBlock(wallet, { height: wallet.tip.height, hash: blockHashOf('another') })).toMatchObject({
      code: 'out_of_order',
    })
  })

  it('finds outputs whose index is far on, one gap after the other', () => {
    const near = incoming('near', output(10_000n, own('p2wpkh', 19)))
    const far = incoming('far', output(20_000n, own('p2wpkh', 39)))
    expect(balance(connect(START, [far])).confirmedSat).toBe(0n)
    expect(balance(connect(START, [near, far])).confirmedSat).toBe(30_000n)
  })

  it('spends a coinbase only when a hundred blocks are on it, itself counted', () => {
    const mined = connect(START, [coinbase(101, own())])
    expect(balance(mined)).toMatchObject({ immatureSat: 50_0000_0000n, spendableSat: 0n, confirmedSat: 0n })
    const almost = connectMany(mined, 98)
    expect(balance(almost).spendableSat).toBe(0n)
    expect(
      fund(almost, keys, { outputs: [output(1000n, foreignScript('a'))], feeratePerKw: FeeratePerKw(250), nowMs: 0 }),
    ).toMatchObject({
      code: 'insufficient_balance',
    })
    // The next block would be the 100th after it: consensus lets it spend
    const mature = connect(almost)
    expect(balance(mature)).toMatchObject({ immatureSat: 0n, spendableSat: 50_0000_0000n })
    expect(send(mature, 1000n).tx.inputs).toHaveLength(1)
  })

  it('forgets a coinbase whose block left the chain, with what we made of it', () => {
    const mature = connectMany(connect(START, [coinbase(101, own())]), 99)
    let { wallet, tx } = send(mature, 1_000_000n)
    for (let i = 0; i < 100; i++) wallet = disconnect(wallet)
    expect(wallet.coins.size).toBe(0)
    expect(findTransaction(wallet, idOf(tx))?.status).toBe('dropped')
    expect(pendingTransactions(wallet)).toEqual([])
    checkWallet(wallet)
  })

  it('goes below its first block, and on from there', () => {
    const below = disconnect(START)
    expect(below.tip).toEqual({ height: 99 })
    expect(connect(below, [], 'new').tip.height).toBe(100)
  })

  it('remembers only so many blocks', () => {
    expect(connectMany(START, 200).recent).toHaveLength(144)
  })
})

describe('conflicts', () => {
  it('drops what conflicts with a block, with its descendants, and gives the coins back', () => {
    const start = walletWith([100_000n])
    const first = send(start, 30_000n)
    const second = send(first.wallet, 20_000n)
    expect(second.tx.inputs[0]?.outpoint.txid).toBe(first.txid)
    const thief: Tx = { ...incoming('thief', output(90_000n, own('p2wpkh', 5))), inputs: first.tx.inputs }
    const { wallet, events } = ok(connectBlock(second.wallet, keys, blockOf(102, [thief])))
    expect(events.map(({ type }) => type)).toEqual(['transactionReplaced', 'transactionReplaced', 'transactionConfirmed'])
    expect(balance(wallet)).toMatchObject({ confirmedSat: 90_000n, unconfirmedSat: 0n })
    expect([first, second].map(({ txid }) => findTransaction(wallet, txid)?.status)).toEqual(['dropped', 'dropped'])
    expect(pendingTransactions(wallet)).toEqual([])
    checkWallet(wallet)
  })

  it('drops what conflicts with a block by an input that is not ours, and frees our coins', () => {
    const start = walletWith([100_000n])
    const shared = incoming('htlc', output(10_000n, foreignScript('delayed')))
    const joint: Tx = { ...shared, inputs: [...shared.inputs, send(start, 1000n).tx.inputs[0]!] }
    const pending = see(start, joint)
    expect(balance(pending).confirmedSat).toBe(0n)
    const rival: Tx = { ...shared, outputs: [output(9_000n, foreignScript('peer'))] }
    // Seen in the mempool it is no reason to give up; in a block it is
    expect(see(pending, rival)).toBe(pending)
    const after = connect(pending, [rival])
    expect(balance(after).confirmedSat).toBe(100_000n)
    checkWallet(after)
  })

  it('follows a sender who replaces a payment to us', () => {
    const first = incoming('alice', output(50_000n, own()))
    const better = incoming('alice', output(40_000n, own()))
    const elsewhere = incoming('alice', output(40_000n, foreignScript('bob')))
    const replaced = see(see(START, first), better)
    expect(balance(replaced).unconfirmedSat).toBe(40_000n)
    // An old one that comes once more does not win
    expect(see(replaced, first)).toBe(replaced)
    expect(balance(see(replaced, elsewhere)).unconfirmedSat).toBe(0n)
    // But what is mined does
    const mined = connect(replaced, [first])
    expect(balance(mined)).toMatchObject({ confirmedSat: 50_000n, unconfirmedSat: 0n })
    checkWallet(mined)
  })

  it('ignores what conflicts with the chain', () => {
    const start = walletWith([100_000n])
    const sent = send(start, 30_000n)
    const mined = connect(sent.wallet, [sent.tx])
    const late: Tx = { ...sent.tx, outputs: [output(99_000n, own())] }
    expect(see(mined, late)).toBe(mined)
    expect(see(mined, sent.tx)).toBe(mined)
  })

  it('forgets dropped transactions after a day of blocks', () => {
    const first = incoming('alice', output(50_000n, own()))
    const replaced = see(see(START, first), incoming('alice', output(40_000n, own())))
    const later = connectMany(replaced, 2 * 144)
    expect(later.transactions.has(idOf(first))).toBe(false)
    expect(later.transactions.size).toBe(1)
  })
})

describe('held transactions', () => {
  const start = walletWith([100_000n, 50_000n])

  it('lock their coins, are not broadcast, and their change is not there yet', () => {
    const { wallet, txid } = send(start, 80_000n, { lockId: 'channel 1' })
    expect(balance(wallet)).toEqual({
      confirmedSat: 50_000n,
      unconfirmedSat: 0n,
      lockedSat: 100_000n,
      immatureSat: 0n,
      spendableSat: 50_000n,
    })
    expect(pendingTransactions(wallet)).toEqual([])
    expect(heldTransactions(wallet)).toEqual([{ txid, lockId: 'channel 1' }])
    expect(listCoins(wallet, keys).map(({ valueSat, lockedBy }) => [valueSat, lockedBy])).toEqual([
      [100_000n, 'channel 1'],
      [50_000n, undefined],
    ])
    expect(findTransaction(wallet, txid)?.status).toBe('held')
    checkWallet(wallet)
  })

  it('are pending when committed', () => {
    const { wallet, txid, tx } = send(start, 80_000n, { lockId: 'channel 1' })
    const committed = ok(commitHeld(wallet, txid))
    expect(pendingTransactions(committed)).toEqual([tx])
    expect(balance(committed)).toMatchObject({ lockedSat: 0n, confirmedSat: 50_000n })
    expect(balance(committed).unconfirmedSat).toBeGreaterThan(0n)
    expect(commitHeld(committed, txid)).toBe(committed)
    expect(abandon(committed, txid)).toMatchObject({ code: 'not_replaceable' })
    expect(releaseHeld(committed, txid)).toMatchObject({ code: 'not_replaceable' })
  })

  it('are pending when the mempool or a block has them', () => {
    const { wallet, tx } = send(start, 80_000n, { lockId: 'channel 1' })
    expect(heldTransactions(see(wallet, tx))).toEqual([])
    const mined = connect(wallet, [tx])
    expect(heldTransactions(mined)).toEqual([])
    checkWallet(mined)
  })

  it('leave nothing behind when released', () => {
    const { wallet, txid } = send(start, 80_000n, { lockId: 'channel 1' })
    const released = ok(releaseHeld(wallet, txid))
    expect(released.transactions).toEqual(start.transactions)
    expect(released.coins).toEqual(start.coins)
    expect(releaseHeld(released, txid)).toMatchObject({ code: 'unknown_transaction' })
  })
})

describe('giving up', () => {
  it('frees the coins of a pending transaction; it counts again if it is mined', () => {
    const start = walletWith([100_000n])
    const { wallet, txid, tx } = send(start, 30_000n)
    const { wallet: without } = ok(abandon(wallet, txid))
    expect(balance(without)).toEqual(balance(start))
    expect(pendingTransactions(without)).toEqual([])
    const mined = connect(without, [tx])
    expect(findTransaction(mined, txid)?.status).toBe('confirmed')
    expect(abandon(mined, txid)).toMatchObject({ code: 'already_confirmed' })
    expect(abandon(start, Txid(hashOf('nothing')))).toMatchObject({ code: 'unknown_transaction' })
    checkWallet(mined)
  })
})

describe('lists', () => {
  it('names, orders and counts transactions', () => {
    const start = walletWith([100_000n])
    const { wallet, txid, feeSat } = send(start, 30_000n, { label: 'rent', reference: 'order-7' })
    const [newest, oldest] = listTransactions(wallet)
    expect(newest).toMatchObject({
      txid,
      status: 'pending',
      netSat: -30_000n - feeSat,
      feeSat,
      label: 'rent',
      reference: 'order-7',
    })
    expect(oldest).toMatchObject({ status: 'confirmed', netSat: 100_000n, confirmations: 1 })
    expect(oldest?.feeSat).toBeUndefined()
    const renamed = ok(labelTransaction(wallet, txid, 'rent of May'))
    expect(findTransaction(renamed, txid)?.label).toBe('rent of May')
    expect(findTransaction(ok(labelTransaction(renamed, txid, '')), txid)).not.toHaveProperty('label')
  })

  it('gives each address once, and says which were used', () => {
    const first = newAddress(START, keys)
    const second = newAddress(first.wallet, keys)
    const third = newAddress(second.wallet, keys, 'p2tr')
    expect(new Set([first.address, second.address, third.address]).size).toBe(3)
    const paid = connect(third.wallet, [incoming('a', output(10_000n, second.scriptPubKey))])
    expect(listAddresses(paid, keys)).toEqual([
      { address: second.address, kind: 'p2wpkh', index: 1, used: true },
      { address: first.address, kind: 'p2wpkh', index: 0, used: false },
      { address: third.address, kind: 'p2tr', index: 0, used: false },
    ])
    expect(newAddress(paid, keys).path.index).toBe(2)
  })

  it('broadcasts parents before children', () => {
    const start = walletWith([100_000n])
    const first = send(start, 30_000n, { nowMs: 9000 })
    const second = send(first.wallet, 20_000n, { nowMs: 8000 })
    expect(pendingTransactions(second.wallet)).toEqual([first.tx, second.tx])
  })
})

/** Steps of a random life: what comes in, what goes out, blocks with some of it, and blocks that leave. */
type Step = { kind: 'incoming' | 'rival' | 'send' | 'hold' | 'mine' | 'mineRival' | 'undo' | 'abandon'; n: number; value: number }
const steps = fc.array(
  fc.record({
    kind: fc.constantFrom<Step['kind']>(
      'incoming',
      'incoming',
      'rival',
      'send',
      'send',
      'hold',
      'mine',
      'mine',
      'mineRival',
      'undo',
      'abandon',
    ),
    n: fc.nat(1000),
    value: fc.integer({ min: 1000, max: 100_000 }),
  }),
  { maxLength: 30 },
)

const pendingOf = (wallet: Wallet) =>
  [...wallet.transactions.values()].filter(({ block, dropped }) => block === undefined && dropped === undefined)

const live = (wallet: Wallet, { kind, n, value }: Step, at: number): Wallet => {
  const script = own(n % 2 === 0 ? 'p2wpkh' : 'p2tr', n % 15)
  const pending = pendingOf(wallet)
  const some = pending[n % Math.max(1, pending.length)]
  switch (kind) {
    case 'incoming':
      return see(wallet, incoming(`sender ${n % 7}`, output(BigInt(value), script)))
    case 'rival':
      return some === undefined ? wallet : see(wallet, { ...some.tx, outputs: [output(BigInt(value), script)] })
    case 'send':
    case 'hold': {
      const made = fund(wallet, keys, {
        outputs: [output(BigInt(value), n % 5 === 0 ? script : foreignScript(`to ${n}`))],
        feeratePerKw: FeeratePerKw(300),
        nowMs: at,
        ...(kind === 'hold' ? { lockId: `lock ${at}` } : {}),
      })
      return isRefusal(made) ? wallet : made.wallet
    }
    case 'mine': {
      // Parents before children, as blocks have them
      const mined = new Set<string>()
      const chosen: Tx[] = []
      for (const record of pending) {
        const parents = record.tx.inputs.map(({ outpoint }) => outpoint.txid)
        if (pending.some(({ txid }) => parents.includes(txid) && !mined.has(txid)) || (n + chosen.length) % 3 === 0) continue
        mined.add(record.txid)
        chosen.push(record.tx)
      }
      return connect(
        wallet,
        [coinbase(wallet.tip.height + 1, n % 2 === 0 ? script : foreignScript('m'), String(at)), ...chosen],
        String(at),
      )
    }
    case 'mineRival':
      return some === undefined
        ? wallet
        : connect(
            wallet,
            [{ ...some.tx, outputs: [output(BigInt(value), script)] }].filter(({ inputs }) =>
              // A block may not spend what is not in the chain
              inputs.every(({ outpoint }) => pending.every(({ txid }) => txid !== outpoint.txid)),
            ),
            String(at),
          )
    case 'undo':
      return wallet.tip.height > 100 ? disconnect(wallet) : wallet
    case 'abandon': {
      if (some === undefined || some.held !== undefined || some.lockId !== undefined) return wallet
      return ok(abandon(wallet, some.txid)).wallet
    }
    default:
      return unreachable(kind)
  }
}

describe('any life of a wallet', () => {
  it('keeps its rules, keeps its sums, and survives being stored, after every step', () => {
    fc.assert(
      fc.property(steps, (life) => {
        let wallet = walletWith([60_000n, 40_000n], 'p2tr')
        let rows = new Map<string, Uint8Array>()
        let stored: Wallet | undefined
        life.forEach((step, at) => {
          wallet = live(wallet, step, at)
          checkWallet(wallet)
          for (const { suffix, value } of walletKind.diff(stored, wallet))
            if (value === undefined) rows.delete(suffix)
            else rows.set(suffix, value)
          stored = wallet
        })
        const sums = balance(wallet)
        const counted = sums.confirmedSat + sums.unconfirmedSat + sums.lockedSat + sums.immatureSat
        expect(sums.spendableSat).toBeLessThanOrEqual(counted)
        if (stored === undefined) return
        expect(
          walletKind.load(
            '0',
            [...rows].sort(([a], [b]) => (a < b ? -1 : 1)),
          ),
        ).toEqual(wallet)
      }),
      { numRuns: 80 },
    )
  })

  it('takes a block back: as if its transactions had only been seen', () => {
    fc.assert(
      fc.property(steps, fc.nat(1000), (life, n) => {
        let wallet = walletWith([60_000n, 40_000n])
        life.forEach((step, at) => (wallet = live(wallet, step, at)))
        const fresh = incoming(`fresh ${n}`, output(12_345n, own('p2wpkh', 2)))
        const there = pendingOf(wallet).filter(
          ({ tx, held }) =>
            held === undefined &&
            tx.inputs.every(
              ({ outpoint }) =>
                wallet.transactions.get(outpoint.txid)?.block !== undefined || !wallet.transactions.has(outpoint.txid),
            ),
        )
        const transactions = [coinbase(1, own('p2tr', 1), 'back'), ...there.map(({ tx }) => tx), fresh]
        const height = wallet.tip.height + 1
        const block = blockOf(height, transactions, 'back')
        const back = disconnect(ok(connectBlock(wallet, keys, block)).wallet)
        const expected = see(wallet, fresh, block.time * 1000)
        expect(back.coins).toEqual(expected.coins)
        expect(back.transactions).toEqual(expected.transactions)
        expect(back.tip).toEqual(expected.tip)
        expect(back.recent).toEqual(expected.recent.slice(back.recent.length === expected.recent.length ? 0 : 1))
      }),
      { numRuns: 80 },
    )
  })

  it('takes six blocks back and comes to the same on another branch with the same transactions', () => {
    let wallet = walletWith([300_000n])
    const sent: Tx[] = []
    for (let i = 0; i < 6; i++) {
      const made = send(wallet, 10_000n + BigInt(i))
      sent.push(made.tx)
      wallet = connect(made.wallet, [made.tx])
    }
    const before = balance(wallet)
    for (let i = 0; i < 6; i++) wallet = disconnect(wallet)
    expect(pendingTransactions(wallet)).toEqual(sent)
    checkWallet(wallet)
    wallet = connect(wallet, sent, 'other')
    expect(balance(wallet)).toEqual(before)
    checkWallet(wallet)
  })
})
