import { describe, expect, it } from 'vitest'
import { packRecord } from '@leyden/codec'
import { FeeratePerKw } from '@leyden/bitcoin'
import { fund, walletKind, type KindWrite, type Wallet } from './index.ts'
import { connect, connectMany, disconnect, foreignScript, incoming, keys, ok, output, own, START, walletWith } from './testing.ts'

const apply = (rows: ReadonlyMap<string, Uint8Array>, writes: readonly KindWrite[]): Map<string, Uint8Array> => {
  const next = new Map(rows)
  for (const { suffix, value } of writes)
    if (value === undefined) next.delete(suffix)
    else next.set(suffix, value)
  return next
}
const sorted = (rows: ReadonlyMap<string, Uint8Array>) => [...rows].sort(([a], [b]) => (a < b ? -1 : 1))
const store = (...wallets: readonly Wallet[]) => {
  let rows = new Map<string, Uint8Array>()
  let before: Wallet | undefined
  for (const wallet of wallets) {
    rows = apply(rows, walletKind.diff(before, wallet))
    before = wallet
  }
  return rows
}

const full = (): Wallet => {
  const start = connect(walletWith([90_000n, 50_000n], 'p2tr'))
  const sent = ok(
    fund(start, keys, {
      outputs: [output(60_000n, foreignScript('s'))],
      feeratePerKw: FeeratePerKw(700),
      label: 'rent',
      lockId: 'channel',
      nowMs: 12,
    }),
  )
  return connect(sent.wallet, [incoming('x', output(7000n, own('p2wpkh', 4)))])
}

describe('the wallet as rows', () => {
  it('loads what it stored', () => {
    const wallet = full()
    expect(walletKind.load('0', sorted(store(START, wallet)))).toEqual(wallet)
    expect(walletKind.load('0', sorted(store(START)))).toEqual(START)
  })

  it('writes for a block without our transactions a head and a block, and drops the oldest', () => {
    const wallet = connectMany(full(), 150)
    const writes = walletKind.diff(wallet, connect(wallet))
    expect(writes.map(({ suffix, value }) => [suffix.split('/')[0], value === undefined])).toEqual([
      ['head', false],
      ['block', false],
      ['block', true],
    ])
  })

  it('writes nothing for nothing, and for a transaction its row', () => {
    const wallet = full()
    expect(walletKind.diff(wallet, { ...wallet })).toEqual([])
    const next = connect(wallet, [incoming('y', output(7000n, own('p2wpkh', 4)))])
    expect(walletKind.diff(wallet, next).filter(({ suffix }) => suffix.startsWith('tx/'))).toHaveLength(1)
  })

  it('follows a reorganisation', () => {
    const wallet = full()
    const other = connect(disconnect(wallet), [], 'other')
    expect(walletKind.load('0', sorted(store(wallet, disconnect(wallet), other)))).toEqual(other)
  })

  it('deletes every row of a wallet that is no more', () => {
    const wallet = full()
    expect(apply(store(wallet), walletKind.diff(wallet, undefined)).size).toBe(0)
    expect(walletKind.diff(undefined, undefined)).toEqual([])
  })

  it('throws on rows that are damaged, missing or newer', () => {
    const rows = store(full())
    const changed = (suffix: string, value: Uint8Array | undefined) => sorted(apply(rows, [{ suffix, value }]))
    expect(() => walletKind.load('0', changed('head', undefined))).toThrow(/head/)
    expect(() => walletKind.load('0', changed('head', packRecord({ version: 2 })))).toThrow(/version 2/)
    expect(() => walletKind.load('0', changed('other', new Uint8Array(1)))).toThrow(/unknown row/)
    const [first, second] = [...rows].filter(([suffix]) => suffix.startsWith('tx/'))
    expect(() => walletKind.load('0', changed(first![0], second![1]))).toThrow(/another transaction/)
    expect(() => walletKind.load('0', changed(first![0], second![1].slice(0, 20)))).toThrow(/record|truncated/)
  })
})
