/**
 * Random courses of a close between two honest sides: who publishes, when preimages come, which transactions miners take, reorgs short
 * of the safe depth. Whatever happens, every transaction is valid, the channel ends, and every HTLC has one outcome that the chain bears out.
 */
import { outpointKey } from '@leyden/bitcoin'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { CommitmentFormat } from '../state.ts'
import {
  close,
  isClosed,
  makeWorld,
  mine,
  outcomes,
  reveal,
  START_HEIGHT,
  transactionsOf,
  unmine,
  type SceneHtlc,
  type World,
} from './testbed.ts'

const FORMATS: readonly CommitmentFormat[] = ['static_remotekey', 'anchors']

const htlc = fc.record({
  fromAlice: fc.boolean(),
  sat: fc.constantFrom(100, 2_000, 20_000, 60_000),
  expiry: fc.integer({ min: 8, max: 60 }),
  /** Blocks after which the receiver learns the preimage, if ever. */
  learnt: fc.option(fc.integer({ min: 0, max: 50 }), { nil: undefined }),
  /** Shared hashes make twins. */
  preimage: fc.integer({ min: 1, max: 4 }),
})
const course = fc.record({
  format: fc.constantFrom(...FORMATS),
  htlcs: fc.array(htlc, { maxLength: 6 }),
  closers: fc.constantFrom(['alice'] as const, ['bob'] as const, ['alice', 'bob'] as const),
  /** A block takes what is offered when its bit is set, in one order or the other. */
  takes: fc.array(fc.record({ all: fc.boolean(), bobFirst: fc.boolean() }), { minLength: 10, maxLength: 30 }),
  reorgs: fc.array(fc.record({ at: fc.integer({ min: 3, max: 60 }), depth: fc.integer({ min: 1, max: 5 }) }), { maxLength: 3 }),
})

/** Whether the receiver has an HTLC of `offerer` in the chain as it now is. */
const isTakenByReceiver = (world: World, offerer: 'alice' | 'bob', id: bigint): boolean => {
  const { onchain } = world[offerer].channel
  const output = onchain?.outputs.find((each) => each.htlc?.offeredBy === 'local' && each.htlc.id === id)
  const isUnspent = output !== undefined && world.coins.has(outpointKey(output.outpoint))
  return output?.spent?.by === 'remote' && !isUnspent
}

test('every course of a close ends, with one outcome for each HTLC', () => {
  fc.assert(
    fc.property(course, ({ format, htlcs, closers, takes, reorgs }) => {
      const scene = htlcs.map(({ fromAlice, sat, expiry, preimage }, i): SceneHtlc => ({
        from: fromAlice ? 'alice' : 'bob',
        id: BigInt(i),
        sat,
        expiry: START_HEIGHT + expiry,
        preimage,
      }))
      const world = makeWorld({ format, htlcs: scene })
      for (const name of closers) close(world, name)
      const pending = [...reorgs]
      for (let i = 0; !(isClosed(world.alice) && isClosed(world.bob)); i++) {
        expect(i).toBeLessThan(300)
        for (const [n, { fromAlice, learnt, preimage }] of htlcs.entries())
          if (learnt === i) reveal(world, fromAlice ? 'bob' : 'alice', BigInt(n), preimage)
        const { all, bobFirst } = takes[i % takes.length]!
        const peers = bobFirst ? [world.bob, world.alice] : [world.alice, world.bob]
        // in the end miners take everything, else a course might have no end
        mine(world, all || i > 120 ? peers.flatMap((peer) => transactionsOf(world, peer)) : [])
        const reorg = pending[0]
        if (
          reorg !== undefined &&
          reorg.at <= i &&
          world.blocks.length > reorg.depth &&
          !isClosed(world.alice) &&
          !isClosed(world.bob)
        ) {
          pending.shift()
          unmine(world, reorg.depth)
        }
      }
      for (const name of ['alice', 'bob'] as const) {
        const own = scene.filter(({ from }) => from === name)
        const told = outcomes(world[name])
        expect(told.map((outcome) => outcome.split(' ')[1]).sort()).toEqual(own.map(({ id }) => String(id)).sort())
        const taken = own.filter(({ id }) => isTakenByReceiver(world, name, id)).map(({ id }) => `fulfilled ${id}`)
        expect(told).toEqual(expect.arrayContaining(taken))
      }
    }),
    { numRuns: 25 },
  )
})
