import { bytesToHex } from '@leyden/codec'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { pack, type Shape, unpack } from './compact.ts'

const SHAPE: Shape = [
  ['hash', 'hex'],
  ['text', 'bech32'],
  [
    'many',
    {
      list: [
        ['n', 'plain'],
        ['id', 'hex'],
      ],
    },
  ],
  ['inner', { record: [['big', 'plain']] }],
]
const hex = fc.uint8Array({ maxLength: 40 }).map(bytesToHex)
const record = fc.record(
  {
    hash: hex,
    text: fc
      .tuple(
        fc.constantFrom('lnbc1', 'lntb20m1', '', '1'),
        fc.array(fc.constantFrom(...Array.from('qpzry9x8gf2tvdw0s3jn54khce6mua7l'))),
      )
      .map(([start, data]) => start + data.join('')),
    many: fc.array(fc.record({ n: fc.integer(), id: hex }, { requiredKeys: [], noNullPrototype: true })),
    inner: fc.record({ big: fc.bigInt() }, { requiredKeys: [], noNullPrototype: true }),
  },
  { requiredKeys: [], noNullPrototype: true },
)

describe('records in few bytes', () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(record, (one) => {
        expect(unpack(SHAPE, pack(SHAPE, one))).toStrictEqual(one)
      }),
    )
  })

  it('an invoice takes five bits for a character', () => {
    const packed = pack([['text', 'bech32']], { text: `lnbcrt10n1${'q'.repeat(80)}` })
    expect(packed).toEqual([['lnbcrt10n1', 80, new Uint8Array(50)]])
  })

  it.each([
    ['a field that the shape has not', { hash: 'ab', other: 1 }],
    ['upper case', { hash: 'AB' }],
    ['half a byte', { hash: 'abc' }],
    ['a character that no invoice has', { text: 'lnbc1b' }],
    ['upper case in an invoice', { text: 'LNBC1QQ' }],
    ['a list that is none', { many: 'x' }],
    ['one of a list that does not fit', { many: [{ n: 1 }, { m: 1 }] }],
    ['a field that is there and undefined', { hash: undefined }],
    ['null where it would be taken for absent', { many: [{ n: null }] }],
    ['no record', 'ab'],
  ])('%s is not packed', (_, value) => {
    expect(pack(SHAPE, value)).toBeUndefined()
  })

  it('a field that was added at the end of a shape is absent from what was packed before', () => {
    expect(unpack([...SHAPE, ['new', 'plain']], pack(SHAPE, { hash: 'ab' }))).toStrictEqual({ hash: 'ab' })
  })
})
