import { describe, expect, it } from 'vitest'
import { FeeratePerKw, type Tx } from '@leyden/bitcoin'
import {
  balance,
  findTransaction,
  fund,
  incomingInDoubt,
  listTransactions,
  missTransaction,
  pendingTransactions,
  RECENT_BLOCKS,
  seeTransaction,
  walletKind,
  type Wallet,
} from './index.ts'
import {
  blockHashOf,
  checkWallet,
  connect as connectOne,
  connectMany,
  disconnect as disconnectOne,
  foreignScript,
  idOf,
  incoming,
  keys,
  ok,
  output,
  own,
  START,
  walletWith,
} from './testing.ts'

const checked = (wallet: Wallet): Wallet => {
  checkWallet(wallet)
  const rows = walletKind.diff(undefined, wallet).map(({ suffix, value }) => [suffix, value as Uint8Array] as const)
  expect(walletKind.load('', rows).transactions).toEqual(wallet.transactions)
  return wallet
}
const connect = (wallet: Wallet, transactions: readonly Tx[] = [], salt = ''): Wallet =>
  checked(connectOne(wallet, transactions, salt))
const disconnect = (wallet: Wallet): Wallet => checked(disconnectOne(wallet))
const see = (wallet: Wallet, tx: Tx): Wallet => seeTransaction(wallet, keys, tx, 5000).wallet
const spending = (parent: Tx, ...outputs: Tx['outputs']): Tx => ({
  ...incoming('child', ...outputs),
  inputs: [{ ...incoming('child').inputs[0]!, outpoint: { txid: idOf(parent), vout: 0 } }],
})
const sums = (wallet: Wallet) => {
  const { confirmedSat, unconfirmedSat } = balance(wallet)
  return { confirmedSat, unconfirmedSat }
}
const statuses = (wallet: Wallet) => listTransactions(wallet).map(({ txid, status, replacedBy }) => [txid, status, replacedBy])

/** What somebody sends us, and what he spends instead. */
const payment = incoming('alice', output(70_000n, own()))
const rival = incoming('alice', output(70_000n, foreignScript('alice')))

describe('a payment to us whose input another transaction in the chain spends', () => {
  it('counts no more, and says so; it counts again when that leaves the chain', () => {
    const seen = see(START, payment)
    const lost = connect(seen, [rival])
    expect(sums(lost)).toEqual({ confirmedSat: 0n, unconfirmedSat: 0n })
    expect(statuses(lost)).toEqual([[idOf(payment), 'dropped', idOf(rival)]])
    expect(sums(disconnect(lost))).toEqual({ confirmedSat: 0n, unconfirmedSat: 70_000n })
    expect(findTransaction(disconnect(lost), idOf(payment))).toMatchObject({ status: 'pending' })
  })

  it('was in the chain before a reorganisation: the same', () => {
    const gone = disconnect(connect(START, [payment]))
    const lost = connect(connect(gone, [], 'b'), [rival], 'b')
    expect(statuses(lost)).toEqual([[idOf(payment), 'dropped', idOf(rival)]])
    const back = connect(disconnect(lost), [payment], 'c')
    expect(sums(back)).toEqual({ confirmedSat: 70_000n, unconfirmedSat: 0n })
    expect(findTransaction(back, idOf(payment))?.replacedBy).toBeUndefined()
  })

  it('is not taken from the mempool meanwhile: what is in the chain wins', () => {
    const lost = connect(see(START, payment), [rival])
    expect(sums(see(lost, payment)).unconfirmedSat).toBe(0n)
    expect(sums(see(disconnect(lost), rival)).unconfirmedSat).toBe(0n)
  })

  it('had lost in the mempool already: then it is known why, and it does not come back by itself', () => {
    const lost = connect(see(see(START, payment), rival), [rival])
    expect(statuses(lost)).toEqual([[idOf(payment), 'dropped', idOf(rival)]])
    expect(sums(disconnect(lost)).unconfirmedSat).toBe(0n)
  })

  it('is not forgotten; what was replaced by another that pays us is', () => {
    const bumped = incoming('alice', output(69_000n, own()))
    const other = incoming('bob', output(50_000n, own('p2wpkh', 1)))
    const otherRival = incoming('bob', output(50_000n, foreignScript('bob')))
    const lost = connect(see(see(START, payment), other), [bumped, otherRival])
    const later = connectMany(lost, 2 * RECENT_BLOCKS)
    expect(new Set(statuses(later).map(([id]) => id))).toEqual(new Set([idOf(bumped), idOf(other)]))
  })
})

describe('what stands on a transaction that has become impossible', () => {
  it('goes with it and comes back with it, whoever made it', () => {
    const start = see(walletWith([10_000n]), payment)
    const swept = spending(payment, output(60_000n, own('p2wpkh', 2)))
    const both = see(start, swept)
    expect(sums(both)).toEqual({ confirmedSat: 10_000n, unconfirmedSat: 60_000n })
    const lost = connect(both, [rival])
    expect(sums(lost)).toEqual({ confirmedSat: 10_000n, unconfirmedSat: 0n })
    expect(findTransaction(lost, idOf(swept))).toMatchObject({ status: 'dropped', replacedBy: idOf(rival) })
    expect(sums(disconnect(lost))).toEqual({ confirmedSat: 10_000n, unconfirmedSat: 60_000n })
  })

  it('is a transaction of ours: it is not broadcast any more, and its other coins are free', () => {
    const start = connect(connect(START, [incoming('bob', output(30_000n, own('p2wpkh', 1)))]), [payment])
    const request = { outputs: [output(90_000n, foreignScript('shop'))], feeratePerKw: FeeratePerKw(253), nowMs: 1 }
    const funded = ok(fund(start, keys, request))
    const gone = disconnect(funded.wallet)
    expect(pendingTransactions(gone)).toEqual([funded.tx])
    const lost = connect(gone, [rival], 'b')
    expect(pendingTransactions(lost)).toEqual([])
    expect(lost.transactions.get(funded.txid)?.conflict).toEqual({ txid: idOf(rival), height: lost.tip.height })
    expect(balance(lost).spendableSat).toBe(30_000n)
    expect(pendingTransactions(disconnect(lost))).toEqual([funded.tx])
  })

  it('does not come back where its coins have been spent again', () => {
    const start = connect(connect(START, [incoming('bob', output(30_000n, own('p2wpkh', 1)))]), [payment])
    const request = { outputs: [output(90_000n, foreignScript('shop'))], feeratePerKw: FeeratePerKw(253), nowMs: 1 }
    const funded = ok(fund(start, keys, request))
    const lost = connect(disconnect(funded.wallet), [rival], 'b')
    const again = ok(fund(lost, keys, { ...request, outputs: [output(20_000n, foreignScript('shop'))] }))
    const back = disconnect(again.wallet)
    expect(pendingTransactions(back)).toEqual([again.tx])
    expect(findTransaction(back, funded.txid)?.status).toBe('dropped')
    expect(findTransaction(back, idOf(payment))?.status).toBe('pending')
  })
})

describe('change of ours that stands on a payment of somebody else', () => {
  it('is spendable as long as that is in the chain, and not when a reorganisation has taken it out', () => {
    const start = connect(START, [payment])
    const request = { outputs: [output(20_000n, foreignScript('shop'))], feeratePerKw: FeeratePerKw(253), nowMs: 1 }
    const { wallet, feeSat } = ok(fund(start, keys, request))
    expect(balance(wallet).spendableSat).toBe(50_000n - feeSat)
    const gone = disconnect(wallet)
    expect(balance(gone)).toMatchObject({ spendableSat: 0n, unconfirmedSat: 50_000n - feeSat })
    expect(balance(connect(gone, [payment], 'b')).spendableSat).toBe(50_000n - feeSat)
  })
})

describe('payments to ask the ledger about', () => {
  it('are those that wait and those that were missed, the greatest first, but not what a pending one replaces', () => {
    const other = incoming('bob', output(50_000n, own('p2wpkh', 1)))
    const bumped = incoming('alice', output(69_000n, own()))
    const seen = see(see(START, payment), other)
    expect(incomingInDoubt(seen)).toEqual([payment, other])
    const missed = missTransaction(seen, idOf(other)).wallet
    checkWallet(missed)
    expect(balance(missed).unconfirmedSat).toBe(70_000n)
    expect(incomingInDoubt(missed)).toEqual([payment, other])
    expect(incomingInDoubt(see(missed, bumped))).toEqual([bumped, other])
    expect(incomingInDoubt(connect(missed, [rival]))).toEqual([other])
    const sent = ok(
      fund(walletWith([50_000n]), keys, { outputs: [output(20_000n, own())], feeratePerKw: FeeratePerKw(253), nowMs: 1 }),
    )
    expect(missTransaction(sent.wallet, sent.txid).wallet).toBe(sent.wallet)
    expect(incomingInDoubt(sent.wallet)).toEqual([])
  })
})

describe('a block that takes nothing of ours', () => {
  it('changes no transaction', () => {
    const seen = see(START, payment)
    const next = connect(seen, [incoming('somebody', output(1n, foreignScript('else')))])
    expect(next.transactions).toBe(seen.transactions)
    expect(next.tip.hash).not.toBe(blockHashOf('100'))
  })
})
