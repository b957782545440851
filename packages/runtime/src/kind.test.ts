import { packRecord } from '@leyden/codec'
import { describe, expect, it } from 'vitest'
import { recordKind } from './kind.ts'

type Person = { readonly name: string; readonly balance: bigint; readonly tag?: Uint8Array | undefined }
const kind = recordKind<Person>('person', 2, {
  migrate(version, old) {
    if (version !== 1) throw new Error(`version ${version}`)
    return { name: (old as { name: string }).name, balance: 0n }
  },
})

describe('recordKind', () => {
  it('stores and loads a state', () => {
    const state: Person = { name: 'Ada', balance: 2n ** 63n, tag: Uint8Array.of(1, 2) }
    const [row] = kind.diff(undefined, state)
    expect(row?.suffix).toBe('')
    expect(kind.load('1', [['', row?.value as Uint8Array]])).toEqual(state)
  })

  it('writes nothing when nothing changed, and deletes what ended', () => {
    const state: Person = { name: 'Ada', balance: 1n }
    expect(kind.diff(state, state)).toEqual([])
    expect(kind.diff(state, undefined)).toEqual([{ suffix: '', value: undefined }])
    expect(kind.diff(undefined, undefined)).toEqual([])
  })

  it('migrates an older version and refuses a newer one', () => {
    expect(kind.load('1', [['', packRecord({ version: 1, state: { name: 'Bob' } })]])).toEqual({ name: 'Bob', balance: 0n })
    expect(() => kind.load('1', [['', packRecord({ version: 3, state: {} })]])).toThrow('newer program')
  })

  it('keeps a state that rests in fewer bytes, where it can', () => {
    const small = recordKind<Person>('person', 2, {
      rests: ({ balance }) => balance === 0n,
      resting: {
        pack: ({ name, tag }) => (tag === undefined ? name : undefined),
        unpack: (packed) => ({ name: packed as string, balance: 0n }),
      },
    })
    const sizeOf = (state: Person): number => {
      const [row] = small.diff(undefined, state)
      expect(small.load('1', [['', row?.value as Uint8Array]])).toStrictEqual(state)
      return row?.value?.length ?? 0
    }
    const [bytes, live] = [sizeOf({ name: 'Ada', balance: 0n }), sizeOf({ name: 'Ada', balance: 1n })]
    expect(bytes).toBeLessThan(live)
    expect(sizeOf({ name: 'Ada', balance: 0n, tag: Uint8Array.of(1) })).toBeGreaterThan(bytes)
    expect(() => kind.load('1', [['', packRecord({ version: 2, packed: 'Ada' })]])).toThrow('nothing to unpack')
  })

  it('a damaged or foreign row is a fault', () => {
    expect(() => kind.load('1', [['', packRecord(5)]])).toThrow('not a versioned record')
    expect(() => kind.load('1', [['x', packRecord({ version: 2, state: {} })]])).toThrow('one belongs')
    expect(() => kind.load('1', [['', Uint8Array.of(0xc7, 0xff)]])).toThrow('truncated')
  })
})
