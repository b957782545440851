/**
 * Invariant 3, end to end: over random lives of a channel, run by the real machine with its stored rows, every commitment that a side
 * ever signed for itself is recognised by the other, and of each revoked one every output but the anchors is claimed validly.
 */
import { STANDARD_SCRIPT_FLAGS, verifyTx, type Tx, BlockHash, BlockHeight } from '@leyden/bitcoin'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { loadPast } from '../record.ts'
import { step } from '../step.ts'
import { Pair, otherName, sortedRows, withoutFeatures, type Name } from '../testing.ts'
import { localCommitment } from '../transactions/commitment.ts'
import { signedLocalCommitment } from '../transactions/signatures.ts'
import { ANCHOR_SAT } from '../transactions/weight.ts'

const NAMES = ['alice', 'bob'] as const

type Move =
  | { readonly do: 'offer'; readonly by: Name; readonly msat: bigint; readonly expiry: number }
  | { readonly do: 'remove'; readonly by: Name; readonly which: number; readonly fulfil: boolean }
  | { readonly do: 'flush' | 'deliver'; readonly by: Name }
  | { readonly do: 'settle' | 'reconnect' }

const by = fc.constantFrom<Name>(...NAMES)
const move: fc.Arbitrary<Move> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('offer' as const),
      by,
      msat: fc.constantFrom(100_000n, 2_000_000n, 2_000_999n, 30_000_000n),
      expiry: fc.constantFrom(150, 151),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('remove' as const), by, which: fc.nat(5), fulfil: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('flush' as const), by }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('deliver' as const), by }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('settle' as const, 'reconnect' as const) }) },
)

/** Does what the move says; payment hashes repeat, so that HTLCs are alike (S4). */
const make = (pair: Pair, each: Move): void => {
  switch (each.do) {
    case 'offer':
      pair.offer(each.by, each.msat, Number(pair.node(each.by).channel.nextLocalHtlcId % 2n), pair.height + each.expiry)
      return
    case 'remove': {
      const told = pair.told(each.by, 'htlcCommitted')
      const chosen = told[each.which]
      if (chosen === undefined) return
      const { id } = chosen.htlc
      if (each.fulfil) pair.fulfill(each.by, id, Number(id % 2n))
      else pair.fail(each.by, id)
      return
    }
    case 'flush':
      pair.flush(each.by)
      return
    case 'deliver':
      pair.deliver(each.by)
      return
    case 'settle':
      pair.settle()
      return
    case 'reconnect':
      pair.disconnect()
      pair.connect()
  }
}

/** The commitment that a side could publish now. */
const publishable = (pair: Pair, name: Name): { number: number; tx: Tx } => {
  const { channel, env } = pair.node(name)
  const [active] = channel.active
  const built = localCommitment(channel, active!, 'local', env.signer)
  return { number: built.terms.number, tx: signedLocalCommitment(channel, active!, built, env.signer)! }
}

/** What the victim makes of a commitment of the other side in the next block. */
const confront = (pair: Pair, victim: Name, tx: Tx) => {
  const { channel, env } = pair.node(victim)
  const height = BlockHeight(pair.height + 1)
  const { state, effects } = step(
    channel,
    {
      from: 'chain',
      type: 'blockConnected',
      height,
      hash: BlockHash('ab'.repeat(32)),
      transactions: [{ tx, txIndex: 1 }],
      past: loadPast(channel.channelId, sortedRows(pair.node(victim))),
    },
    { ...env, height },
  )
  const { spend, outputs } = state.onchain!
  const worth = tx.outputs.filter(({ value }) => value !== ANCHOR_SAT)
  const errors = effects.flatMap((effect) => {
    if (effect.type !== 'publish') return []
    const claim = effect.publication.tx
    const prevouts = claim.inputs.map(({ outpoint }) => tx.outputs[outpoint.vout]!)
    const error = verifyTx(claim, prevouts, STANDARD_SCRIPT_FLAGS)
    return error === undefined ? [] : [error]
  })
  return {
    kind: spend!.kind,
    claimed: outputs.length,
    outputs: worth.length,
    published: effects.filter(({ type }) => type === 'publish').length,
    errors,
  }
}

test.each([
  ['anchors', withoutFeatures()],
  ['static_remotekey', withoutFeatures('option_anchors')],
] as const)('every state of every life can be answered (%s)', (format, features) => {
  fc.assert(
    fc.property(fc.array(move, { minLength: 30, maxLength: 80 }), (moves) => {
      const pair = new Pair({ features, check: false }).open()
      expect(pair.alice.channel.type.format).toBe(format)
      const states: Record<Name, Map<number, Tx>> = { alice: new Map(), bob: new Map() }
      const note = () => {
        for (const name of NAMES) {
          const { number, tx } = publishable(pair, name)
          states[name].set(number, tx)
        }
      }
      note()
      for (const each of moves) {
        make(pair, each)
        note()
      }
      for (const cheater of NAMES) {
        const victim = otherName(cheater)
        const { remoteCommitmentNumber } = pair.node(victim).channel
        for (const [number, tx] of states[cheater]) {
          const { kind, claimed, outputs, published, errors } = confront(pair, victim, tx)
          const isRevoked = number < remoteCommitmentNumber
          expect({ isRevoked: kind === 'revoked', isCurrent: kind === 'remote' || kind === 'remoteSigned', errors }).toEqual({
            isRevoked,
            isCurrent: !isRevoked,
            errors: [],
          })
          expect([claimed, published]).toEqual(isRevoked ? [outputs, outputs] : [claimed, published])
        }
      }
    }),
    { numRuns: 4 },
  )
})
