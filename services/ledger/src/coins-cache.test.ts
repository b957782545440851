import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { outpointKey, Sat, txidFromBytes, type Coin, type Outpoint, type Txid } from '@leyden/bitcoin'
import { Disk, key, memoryStore, type Write } from '@leyden/runtime'
import { coinWrite, readCoins } from './chain-rows.ts'
import { createCoinsCache } from './coins-cache.ts'
import { createRowBuffer } from './row-buffer.ts'

const at = (n: number): Outpoint => ({ txid: n.toString(16).padStart(64, '0') as Txid, vout: n % 3 })
const coin = (n: number): Coin => ({
  output: { value: Sat(BigInt(n)), scriptPubKey: Uint8Array.of(n & 255) },
  height: n,
  coinbase: false,
})

describe('the cache of coins', () => {
  it('writes nothing of a coin that was made and spent in it', async () => {
    const cache = createCoinsCache(memoryStore(), 10_000)
    cache.connect(
      {
        created: [
          [at(1), coin(1)],
          [at(2), coin(2)],
        ],
        spent: [],
      },
      false,
    )
    cache.connect({ created: [], spent: [at(1)] }, false)
    expect([...cache.freeze()]).toHaveLength(1)
    cache.landed()
    expect(await cache.read([at(1), at(2)])).toEqual(new Map([[outpointKey(at(2)), coin(2)]]))
  })

  it('does not keep the block in memory whose outputs it holds', async () => {
    const cache = createCoinsCache(memoryStore(), 10_000)
    const block = new Uint8Array(1_000_000)
    const held = { ...coin(1), output: { value: Sat(1n), scriptPubKey: block.subarray(5, 30) } }
    cache.connect({ created: [[at(1), held]], spent: [] }, false)
    const [found] = (await cache.read([at(1)])).values()
    expect(found).toEqual(held)
    expect(found?.output.scriptPubKey.buffer.byteLength).toBe(25)
  })

  it('is bounded: of what the store has too, the oldest goes', async () => {
    const disk = new Disk()
    const store = memoryStore(disk)
    const cache = createCoinsCache(store, 20_000)
    for (let n = 0; n < 500; n++) cache.connect({ created: [[at(n), coin(n)]], spent: [] }, false)
    expect(cache.dirtyBytes).toBeGreaterThan(200_000)
    await store.write([...cache.freeze()])
    cache.landed()
    expect(cache.dirtyBytes).toBe(0)
    expect(cache.bytes).toBeLessThanOrEqual(20_000)
    expect((await cache.read([at(0), at(499)])).size).toBe(2)
    expect(cache.bytes).toBeLessThanOrEqual(20_000)
  })

  it('keeps coins under the keys that the store orders by txid and output', () => {
    const txid = fc
      .uint8Array({ minLength: 32, maxLength: 32 })
      .map((bytes) => Uint8Array.from(bytes, (byte) => (byte < 128 ? 0 : byte)))
    fc.assert(
      fc.property(txid, fc.integer({ min: 0, max: 100_000 }), (id, vout) => {
        expect(coinWrite({ txid: txidFromBytes(id), vout }, undefined).key).toEqual(key('coin', id, vout))
      }),
    )
  })

  type Step = { readonly type: 'create' | 'spend' | 'restore' | 'read' | 'freeze' | 'land' | 'fail'; readonly n: number }
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 6, arbitrary: fc.record({ type: fc.constantFrom('create', 'spend', 'restore', 'read'), n: fc.nat(5) }) },
    { weight: 3, arbitrary: fc.record({ type: fc.constantFrom('freeze', 'land', 'fail'), n: fc.constant(0) }) },
  )

  it('shows at any time what a plain map shows, and so does the store after a flush, whatever failed before', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const store = memoryStore()
        const cache = createCoinsCache(store, 2000)
        const model = new Map<number, Coin>()
        let frozen: Write[] | undefined
        let height = 10
        const shown: (readonly [Coin | undefined, Coin | undefined])[] = []
        const land = async (): Promise<void> => {
          if (frozen === undefined) return
          await store.write(frozen)
          cache.landed()
          frozen = undefined
        }
        for (const move of steps) {
          if (move.type === 'freeze') frozen ??= [...cache.freeze()]
          else if (move.type === 'land') await land()
          else if (move.type === 'fail') {
            if (frozen !== undefined) cache.failed()
            frozen = undefined
          } else if (move.type === 'read') {
            const coins = await cache.read([at(move.n)])
            shown.push([coins.get(outpointKey(at(move.n))), model.get(move.n)])
          } else if (move.type === 'spend') {
            if (!model.delete(move.n)) continue
            cache.connect({ created: [], spent: [at(move.n)] }, false)
          } else if (!model.has(move.n)) {
            const made = coin(height++)
            model.set(move.n, made)
            const changes = { created: [[at(move.n), made] as const], spent: [] }
            if (move.type === 'create') cache.connect(changes, false)
            else cache.disconnect(changes)
          }
        }
        expect(shown.map(([ours]) => ours)).toEqual(shown.map(([, theirs]) => theirs))
        await land()
        frozen = [...cache.freeze()]
        await land()
        const names = [0, 1, 2, 3, 4, 5]
        expect(await readCoins(store, names.map(at))).toEqual(names.map((n) => model.get(n)))
        expect(cache.dirtyBytes).toBe(0)
      }),
      { numRuns: 300 },
    )
  })
})

describe('rows that wait', () => {
  it('are seen before they land, come back after a failure, and the newest holds', async () => {
    const store = memoryStore()
    const rows = createRowBuffer(store)
    const [key, other] = [Uint8Array.of(1), Uint8Array.of(2)]
    rows.put([{ key, value: Uint8Array.of(1) }])
    const first = rows.freeze()
    rows.put([{ key: other, value: Uint8Array.of(2) }])
    expect(await rows.get(key)).toEqual(Uint8Array.of(1))
    rows.put([{ key, value: undefined }])
    expect(await rows.get(key)).toBeUndefined()
    expect(first).toHaveLength(1)
    rows.failed()
    expect(await rows.get(key)).toBeUndefined()
    await store.write(rows.freeze())
    rows.landed()
    expect(await store.get(other)).toEqual(Uint8Array.of(2))
    expect(await rows.get(key)).toBeUndefined()
    expect(rows.dirtyBytes).toBe(0)
  })
})
