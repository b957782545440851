import { describe, expect, it } from 'vitest'
import { DecodeError, hexToBytes } from '@leyden/codec'
import { txid } from '@leyden/bitcoin'
import { decodeMempoolFile, encodeMempoolFile, fileOf, type MempoolFile } from './mempool-file.ts'
import { prioritise } from './mempool.ts'
import { grow, NOW, toyChain, toyPool } from './testing.ts'

const base = toyChain()
const coinbases = grow(base, 110)

const sample = (): MempoolFile => {
  const toy = toyPool(base, coinbases)
  const parent = toy.add(toy.spend(0, 1000))
  const child = toy.add(toy.on(parent, 2000))
  prioritise(toy.pool, txid(child), -500n)
  prioritise(toy.pool, txid(toy.spend(1, 1)), 7000n)
  toy.pool.unbroadcast.add(txid(child))
  return fileOf(toy.pool)
}

describe('the file of a mempool', () => {
  it('holds what waits, what was added to fees, and what nobody has asked for', () => {
    const file = sample()
    expect(file.transactions.map(({ time, delta }) => [time, delta])).toEqual([
      [NOW, 0n],
      [NOW, -500n],
    ])
    for (const key of [new Uint8Array(0), Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)]) {
      const again = decodeMempoolFile(encodeMempoolFile(file, key))
      expect(again.transactions.map(({ tx }) => txid(tx))).toEqual(file.transactions.map(({ tx }) => txid(tx)))
      expect(again.transactions.map(({ delta }) => delta)).toEqual([0n, -500n])
      expect([...again.deltas]).toEqual([...file.deltas])
      expect([...again.unbroadcast]).toEqual([...file.unbroadcast])
    }
  })

  it('of an empty pool is Bitcoin Core 28.1 byte for byte', () => {
    const empty = { transactions: [], deltas: new Map(), unbroadcast: new Set() } as unknown as MempoolFile
    expect(encodeMempoolFile(empty, new Uint8Array(0))).toEqual(
      hexToBytes('0100000000000000 0000000000000000 0000'.replaceAll(' ', '')),
    )
    const key = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)
    // The mask goes by the offset in the file: the count begins at 17, so with the second byte of the key.
    expect(encodeMempoolFile(empty, key)).toEqual(
      hexToBytes('0200000000000000 08 0102030405060708 0203040506070801 0203'.replaceAll(' ', '')),
    )
  })

  it('is refused when it is cut short, too long, or of another version', () => {
    const bytes = encodeMempoolFile(sample(), new Uint8Array(0))
    expect(() => decodeMempoolFile(bytes.slice(0, -1))).toThrow(DecodeError)
    expect(() => decodeMempoolFile(Uint8Array.of(...bytes, 0))).toThrow(DecodeError)
    expect(() => decodeMempoolFile(Uint8Array.of(9, ...bytes.slice(1)))).toThrow('unknown version 9')
    expect(() => decodeMempoolFile(Uint8Array.of(...bytes.slice(0, 8), 255, 255, 255, 255, 255, 255, 255, 255))).toThrow(
      'do not fit',
    )
  })
})
