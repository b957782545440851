/** That what it signs is valid is shown by every close under anchors (testbed.ts); here is what it refuses to sign. */
import { BlockHeight, Sat, type Tx, type TxOutput } from '@leyden/bitcoin'
import { expect, test } from 'vitest'
import { signAnchorSpend, type WalletPublication } from './anchor-spend.ts'
import { close, makeWorld, mine, START_HEIGHT, transactionsOf, type World } from './testbed.ts'

const publicationOf = (world: World, kind: 'anchor' | 'htlc'): WalletPublication => {
  const found = [...world.alice.publications.values()].find((each) => each.kind === kind)
  if (found === undefined) throw new Error(`no ${kind}`)
  return found as WalletPublication
}
const spentFor = (world: World, publication: WalletPublication): TxOutput[] => [
  { value: publication.spentValuesSat[0]!, scriptPubKey: new Uint8Array(0) },
  { value: Sat(10_000n), scriptPubKey: world.alice.channel.destinationScript },
]

test('an HTLC transaction keeps what the remote has signed', () => {
  const htlc = { from: 'alice', id: 0n, sat: 50_000, expiry: START_HEIGHT + 1, preimage: 0x10 } as const
  const world = makeWorld({ format: 'anchors', htlcs: [htlc] })
  close(world, 'alice')
  mine(world, transactionsOf(world, world.alice))
  const publication = publicationOf(world, 'htlc')
  const { tx } = publication
  const sign = (changed: Partial<Tx>) => () =>
    signAnchorSpend(publication, { ...tx, ...changed }, 0, spentFor(world, publication), world.alice.signer)
  expect(sign({})).not.toThrow()
  expect(sign({ lockTime: BlockHeight(0) })).toThrow(RangeError)
  expect(sign({ outputs: [{ ...tx.outputs[0]!, value: Sat(1n) }] })).toThrow(RangeError)
  expect(sign({ outputs: [] })).toThrow(RangeError)
  expect(sign({ inputs: [{ ...tx.inputs[0]!, sequence: 0 }] })).toThrow(RangeError)
  expect(sign({ inputs: [{ ...tx.inputs[0]!, outpoint: world.funding }] })).toThrow(RangeError)
})

test('only the anchor is spent with the funding key', () => {
  const world = makeWorld({ format: 'anchors' })
  close(world, 'alice')
  const publication = publicationOf(world, 'anchor')
  const steal: Tx = {
    version: 2,
    inputs: [{ outpoint: world.funding, scriptSig: new Uint8Array(0), sequence: 0, witness: [] }],
    outputs: [{ value: Sat(1_000n), scriptPubKey: world.alice.channel.destinationScript }],
    lockTime: 0,
  }
  expect(() => signAnchorSpend(publication, steal, 0, spentFor(world, publication), world.alice.signer)).toThrow('not the anchor')
})
