/** Rows of the list of disclosed failures that concern on-chain resolution, by their ids; S5, S6 and S11 are in revoked.test.ts. */
import { packRecord, unpackRecord } from '@leyden/codec'
import { Sat, txid, txWeight, type Tx } from '@leyden/bitcoin'
import { describe, expect, test } from 'vitest'
import type { Publication } from '../effect.ts'
import type { Channel } from '../state.ts'
import { signClosing, signedClosing, simpleClosing } from '../transactions/closing-tx.ts'
import { fundingOutputScript } from '../transactions/scripts.ts'
import { resumeOnchain } from './resolution.ts'
import type { Onchain } from './state.ts'
import {
  aliceCommitment,
  balanceOf,
  bobCommitment,
  bobHtlcTransaction,
  bobPastCommitment,
  close,
  destinationOf,
  envOf,
  fullySigned,
  isClosed,
  makeWorld,
  mine,
  mineUntil,
  outcomes,
  preimageOf,
  reveal,
  run,
  see,
  START_HEIGHT,
  transactionsOf,
  unmine,
  type SceneHtlc,
  type World,
} from './testbed.ts'

const offered = (id: bigint, more: Partial<SceneHtlc> = {}): SceneHtlc => ({
  from: 'alice',
  id,
  sat: 50_000,
  expiry: START_HEIGHT + 50,
  preimage: 0x10 + Number(id),
  ...more,
})
const received = (id: bigint, more: Partial<SceneHtlc> = {}): SceneHtlc => ({
  ...offered(id),
  from: 'bob',
  preimage: 0x40 + Number(id),
  ...more,
})

const claims = (world: World): Publication[] => [...world.alice.publications.values()]
const claimOfHtlc = (world: World, id: bigint, offeredBy: 'local' | 'remote'): Publication | undefined => {
  const output = world.alice.channel.onchain?.outputs.find(({ htlc }) => htlc?.id === id && htlc.offeredBy === offeredBy)
  return output && claims(world).find(({ tx }) => tx.inputs[0]?.outpoint.vout === output.outpoint.vout)
}
const feeOf = ({ tx, spentValuesSat }: Publication): bigint =>
  spentValuesSat.reduce((a, b) => a + b, 0n) - tx.outputs.reduce((sum, { value }) => sum + value, 0n)

/** A transaction that shows a preimage somewhere in its witness. */
const showing = (world: World, preimage: number): Tx => ({
  version: 2,
  inputs: [{ outpoint: world.funding, scriptSig: new Uint8Array(0), sequence: 0, witness: [preimageOf(preimage)] }],
  outputs: [],
  lockTime: 0x2000_0000,
})

describe('S1: a preimage counts against HTLCs of every commitment', () => {
  test.each([
    ['irrevocable', offered(0n)],
    ['only in the commitment that they have not revoked for yet', offered(0n, { stage: 1, inBobFrom: 8 })],
    ['in both of theirs, not in ours', offered(0n, { stage: 2, inBobFrom: 7 })],
    ['in ours, our revocation of the one before owed', offered(0n, { stage: 3 })],
    ['too small for an output', offered(0n, { sat: 50 })],
  ])('%s', (_, htlc) => {
    const world = makeWorld({ format: 'anchors', htlcs: [htlc] })
    see(world, 'alice', showing(world, htlc.preimage))
    expect(outcomes(world.alice)).toEqual(['fulfilled 0'])
    see(world, 'alice', showing(world, htlc.preimage))
    expect(outcomes(world.alice)).toEqual(['fulfilled 0'])
  })
})

describe('S2, S3: an HTLC whose preimage is known is never failed', () => {
  test('S2: not when their commitment lacks it', () => {
    const world = makeWorld({ format: 'anchors', htlcs: [offered(0n, { stage: 1, inBobFrom: 8 })] })
    mine(world, [fullySigned(world, bobCommitment(world, 'remote'))])
    see(world, 'alice', showing(world, 0x10))
    run(world, () => isClosed(world.alice), ['alice'])
    expect(outcomes(world.alice)).toEqual(['fulfilled 0'])
  })
  test('S3: not when our own commitment holds it and we time it out', () => {
    const world = makeWorld({ format: 'anchors', htlcs: [offered(0n), offered(1n, { sat: 60 })] })
    close(world, 'alice')
    see(world, 'alice', showing(world, 0x10))
    see(world, 'alice', showing(world, 0x11))
    run(world, () => isClosed(world.alice), ['alice'])
    expect(outcomes(world.alice)).toEqual(['fulfilled 0', 'fulfilled 1'])
  })
  test('S2: a fulfilment that came before the close, and was told, stays', () => {
    const world = makeWorld({ format: 'anchors', htlcs: [offered(0n)] })
    const [htlc] = world.alice.channel.htlcs
    world.alice.channel = { ...world.alice.channel, htlcs: [{ ...htlc!, told: true }] }
    close(world, 'alice')
    run(world, () => isClosed(world.alice), ['alice'])
    expect(outcomes(world.alice)).toEqual([])
  })
})

describe('S4: HTLCs are told apart by their id', () => {
  test('of twins, only the one that the owner fulfilled is claimed', () => {
    const world = makeWorld({ format: 'anchors', htlcs: [received(0n), received(1n, { preimage: 0x40 })] })
    close(world, 'bob')
    reveal(world, 'alice', 1n, 0x40)
    mine(world, transactionsOf(world, world.bob))
    expect(claimOfHtlc(world, 1n, 'remote')).toBeDefined()
    expect(claimOfHtlc(world, 0n, 'remote')).toBeUndefined()
    run(world)
    expect(outcomes(world.bob)).toEqual(['fulfilled 0', 'fulfilled 1'])
  })
  test('S23: a preimage that does not fit, or for an HTLC that is not there, is not used', () => {
    const world = makeWorld({ format: 'anchors', htlcs: [received(0n)] })
    close(world, 'bob')
    mine(world, transactionsOf(world, world.bob))
    expect(reveal(world, 'alice', 0n, 0x41)).toEqual([])
    expect(reveal(world, 'alice', 1n, 0x40)).toEqual([])
    expect(world.alice.channel.onchain?.preimages).toEqual([])
  })
})

test.each(['alice', 'bob'] as const)(
  'S7: a preimage that comes after other claims were mined claims its HTLC at once (%s closed)',
  (closer) => {
    const world = makeWorld({ format: 'anchors', htlcs: [received(0n), received(1n), received(2n)] })
    close(world, closer)
    reveal(world, 'alice', 0n, 0x40)
    mine(world, transactionsOf(world, world[closer]))
    mine(world, transactionsOf(world, world.alice))
    const effects = reveal(world, 'alice', 2n, 0x42)
    expect(effects.map(({ type }) => type)).toEqual(['publish'])
    mine(world, transactionsOf(world, world.alice))
    expect(
      world.alice.channel.onchain?.outputs.filter(({ htlc, spent }) => htlc !== undefined && spent !== undefined).length,
    ).toBe(2)
    run(world)
    expect(outcomes(world.bob)).toEqual(['failed 1 onchain', 'fulfilled 0', 'fulfilled 2'])
  },
)

describe('S8: a bid never falls', () => {
  const start = () => {
    const world = makeWorld({ format: 'anchors', htlcs: [received(0n)] })
    close(world, 'bob')
    reveal(world, 'alice', 0n, 0x40)
    world.alice.claimFeerate = 3_000
    mine(world, transactionsOf(world, world.bob))
    return world
  }
  const bid = (world: World) => claimOfHtlc(world, 0n, 'remote')?.feeratePerKw
  test('when the market does', () => {
    const world = start()
    expect(bid(world)).toBe(3_000)
    world.alice.claimFeerate = 300
    mine(world)
    expect(bid(world)).toBe(3_000)
    world.alice.claimFeerate = 3_100
    mine(world)
    // less than a replacement has to pay more
    expect(bid(world)).toBe(3_000)
    world.alice.claimFeerate = 3_250
    mine(world)
    expect(bid(world)).toBe(3_250)
  })
  test('when the commitment goes and comes back', () => {
    const world = start()
    world.alice.claimFeerate = 300
    const commitment = world.mined[0]!
    unmine(world)
    mine(world)
    expect(claims(world).map(({ tx }) => txid(tx))).toEqual([txid(commitment)])
    mine(world, [commitment])
    expect(bid(world)).toBe(3_000)
  })
})

describe('S9: replacement cycling', () => {
  test('claims are published again at every block', () => {
    const world = makeWorld({ format: 'anchors', htlcs: [offered(0n, { expiry: START_HEIGHT + 3 })] })
    close(world, 'alice')
    mine(world, transactionsOf(world, world.alice))
    mineUntil(world, START_HEIGHT + 3)
    for (let i = 0; i < 5; i++) {
      expect(claimOfHtlc(world, 0n, 'local')).toBeDefined()
      mine(world)
    }
  })
  test('a preimage is taken from the mempool before it is replaced', () => {
    const world = makeWorld({ format: 'static_remotekey', htlcs: [offered(0n)] })
    const built = bobCommitment(world, 'remote')
    mine(world, [fullySigned(world, built)])
    see(world, 'alice', bobHtlcTransaction(world, built, 0n, 0x10))
    expect(outcomes(world.alice)).toEqual(['fulfilled 0'])
  })
})

describe('S10, S16: fees stay within the budget', () => {
  test.each(['alice', 'bob'] as const)('S16: an HTLC is claimed on the commitment of %s, for at most half of it', (closer) => {
    const world = makeWorld({ format: 'anchors', htlcs: [received(0n, { expiry: START_HEIGHT + 20 })] })
    close(world, closer)
    reveal(world, 'alice', 0n, 0x40)
    mine(world, transactionsOf(world, world[closer]))
    world.alice.claimFeerate = 1_000_000
    mineUntil(world, START_HEIGHT + 19)
    const claim = claimOfHtlc(world, 0n, 'remote')
    expect(claim).toMatchObject({ budgetSat: 25_000n, deadline: START_HEIGHT + 20 })
    // on her own commitment the HTLC transaction itself pays nothing: the wallet does, and gets the budget
    expect(feeOf(claim!)).toBeLessThanOrEqual(closer === 'alice' ? 0n : 25_000n)
    mine(world, transactionsOf(world, world.alice))
    expect(claimOfHtlc(world, 0n, 'remote')).toBeUndefined()
  })
  test('S10: the bid rises to the budget at the deadline, and no further', () => {
    const world = makeWorld({ format: 'anchors', htlcs: [received(0n, { expiry: START_HEIGHT + 40 })] })
    close(world, 'bob')
    reveal(world, 'alice', 0n, 0x40)
    mine(world, transactionsOf(world, world.bob))
    const fees: bigint[] = []
    while (world.height < START_HEIGHT + 60) {
      mine(world)
      fees.push(feeOf(claimOfHtlc(world, 0n, 'remote')!))
    }
    expect(fees).toEqual([...fees].sort((a, b) => (a < b ? -1 : 1)))
    expect(fees[0]).toBeLessThan(1_000n)
    expect(fees.at(-1)).toBeGreaterThan(24_900n)
    expect(fees.at(-1)).toBeLessThanOrEqual(25_000n)
  })
  test('what is not worth its fee is left, and the channel still ends', () => {
    const world = makeWorld({ format: 'anchors', htlcs: [offered(0n, { sat: 400 })] })
    close(world, 'bob')
    run(world, () => isClosed(world.alice), ['bob', 'alice'])
    expect(outcomes(world.alice)).toEqual(['failed 0 onchain'])
  })
})

const mutualClose = (world: World): Tx => {
  const { channel } = world.alice
  const { funding } = channel.active[0]!
  const unsigned = simpleClosing({
    outpoint: funding.outpoint,
    closer: { msat: 600_000_000n, scriptPubKey: destinationOf('alice') },
    closee: { msat: 400_000_000n, scriptPubKey: destinationOf('bob') },
    feeSat: Sat(1_000n),
    lockTime: 0,
    outputs: 'closer_and_closee_outputs',
  })!
  const bobSignature = signClosing(world.bob.channel, funding, unsigned, world.bob.signer)
  return signedClosing(channel, funding, unsigned, bobSignature, world.alice.signer)
}

describe('S13: a cooperative close is watched until it is buried', () => {
  const start = () => {
    const world = makeWorld({ format: 'anchors' })
    const tx = mutualClose(world)
    const closing: Channel['closing'] = {
      sent: true,
      received: true,
      wantsOffer: false,
      transactions: [tx],
      localScript: destinationOf('alice'),
      remoteScript: destinationOf('bob'),
    }
    world.alice.channel = { ...world.alice.channel, closing }
    return { world, tx }
  }
  test('it ends after six confirmations', () => {
    const { world, tx } = start()
    mine(world)
    expect(claims(world).map((each) => txid(each.tx))).toEqual([txid(tx)])
    mine(world, transactionsOf(world, world.alice))
    mineUntil(world, world.height + 4)
    expect(isClosed(world.alice)).toBe(false)
    mine(world)
    expect(world.alice.channel.phase).toEqual({ name: 'closed', how: 'mutual' })
    expect(balanceOf(world, 'alice')).toBe(599_000n)
  })
  test('a reorg that puts a revoked commitment in its place is punished', () => {
    const { world, tx } = start()
    mine(world, [tx])
    mineUntil(world, world.height + 3)
    unmine(world, 4)
    mine(world, [fullySigned(world, bobPastCommitment(world, 2, { bobSat: 800_000n }))])
    run(world, () => isClosed(world.alice), ['alice'])
    expect(world.alice.channel.phase).toEqual({ name: 'closed', how: 'revoked' })
    expect(balanceOf(world, 'alice')).toBeGreaterThan(995_000n)
  })
  test('one that Bob mined and we only signed is known by where it pays to', () => {
    const { world, tx } = start()
    world.alice.channel = { ...world.alice.channel, closing: { ...world.alice.channel.closing!, transactions: [] } }
    mine(world, [tx])
    expect(world.alice.channel.onchain?.spend?.kind).toBe('mutual')
  })
})

describe('S14, S15: reorgs', () => {
  test('S14: to another commitment, with HTLCs pending', () => {
    const world = makeWorld({ format: 'anchors', htlcs: [offered(0n), offered(1n), received(5n)] })
    reveal(world, 'alice', 5n, 0x45)
    const theirs = bobCommitment(world, 'remote')
    mine(world, [fullySigned(world, theirs)])
    mine(world, [...transactionsOf(world, world.alice), bobHtlcTransaction(world, theirs, 0n, 0x10)])
    expect(outcomes(world.alice)).toEqual(['fulfilled 0'])
    unmine(world, 2)
    expect(world.alice.channel.onchain?.outputs).toEqual([])
    mine(world, [fullySigned(world, aliceCommitment(world))])
    expect(world.alice.channel.onchain?.spend?.kind).toBe('local')
    run(world)
    expect(outcomes(world.alice)).toEqual(['failed 1 onchain', 'fulfilled 0'])
    expect(world.alice.channel.phase).toEqual({ name: 'closed', how: 'local' })
    // her balance, what timed out, what she fulfilled; HTLC 0 as well, because nobody claimed it in this chain
    expect(balanceOf(world, 'alice')).toBeGreaterThan(645_000n)
  })
  test('S15, S19: deep, through claims of different heights: all that was undone is claimed again', () => {
    const htlcs = [offered(0n, { expiry: START_HEIGHT + 6 }), offered(1n, { expiry: START_HEIGHT + 9 }), received(0n)]
    const world = makeWorld({ format: 'anchors', htlcs })
    reveal(world, 'alice', 0n, 0x40)
    close(world, 'alice')
    run(world, () => world.height === START_HEIGHT + 14, ['alice'])
    const spent = () => world.alice.channel.onchain!.outputs.filter((output) => output.spent !== undefined).length
    expect(spent()).toBeGreaterThan(3)
    unmine(world, 13)
    expect(spent()).toBe(0)
    expect(world.alice.channel.onchain?.spend?.kind).toBe('local')
    run(world, () => isClosed(world.alice), ['alice'])
    expect(outcomes(world.alice)).toEqual(['failed 0 onchain', 'failed 1 onchain'])
    expect(balanceOf(world, 'alice')).toBeGreaterThan(645_000n)
  })
  test('an HTLC is failed only when the claim is six deep', () => {
    const world = makeWorld({ format: 'anchors', htlcs: [offered(0n, { expiry: START_HEIGHT + 3 })] })
    close(world, 'alice')
    mine(world, transactionsOf(world, world.alice))
    mineUntil(world, START_HEIGHT + 3)
    mine(world, transactionsOf(world, world.alice))
    for (let depth = 1; depth < 6; depth++) {
      expect(outcomes(world.alice)).toEqual([])
      mine(world)
    }
    expect(outcomes(world.alice)).toEqual(['failed 0 onchain'])
  })
})

test('S17: an output of our commitment that they spent with the preimage is not taken for our own HTLC transaction', () => {
  const world = makeWorld({ format: 'anchors', htlcs: [offered(0n)] })
  close(world, 'alice')
  reveal(world, 'bob', 0n, 0x10)
  mine(world, transactionsOf(world, world.alice))
  mine(world, transactionsOf(world, world.bob))
  const output = world.alice.channel.onchain!.outputs.find(({ htlc }) => htlc?.id === 0n)!
  expect(output.spent).toMatchObject({ by: 'remote', branch: 'preimage' })
  expect(world.alice.channel.onchain!.outputs.filter(({ createdAt }) => createdAt === world.height)).toEqual([])
  expect(outcomes(world.alice)).toEqual(['fulfilled 0'])
})

test('S18: a claim that is confirmed is bumped no more, whatever the market does', () => {
  const world = makeWorld({ format: 'anchors', htlcs: [received(0n)] })
  close(world, 'bob')
  reveal(world, 'alice', 0n, 0x40)
  mine(world, transactionsOf(world, world.bob))
  mine(world, transactionsOf(world, world.alice))
  const bids = world.alice.channel.onchain?.bids
  world.alice.claimFeerate = 50_000
  mine(world)
  expect(claims(world)).toEqual([])
  expect(world.alice.channel.onchain?.bids).toEqual(bids)
})

test('S21: the deadline of a claim survives a reorg and a restart', () => {
  const world = makeWorld({ format: 'anchors', htlcs: [received(0n)] })
  close(world, 'alice')
  reveal(world, 'alice', 0n, 0x40)
  const [commitment] = transactionsOf(world, world.alice)
  mine(world, [commitment!])
  const before = claimOfHtlc(world, 0n, 'remote')
  expect(before?.deadline).toBe(START_HEIGHT + 50)
  unmine(world)
  mine(world)
  mine(world, [commitment!])
  expect(claimOfHtlc(world, 0n, 'remote')?.deadline).toBe(START_HEIGHT + 50)
  const stored = unpackRecord(packRecord(world.alice.channel.onchain)) as Onchain
  expect(stored).toEqual(world.alice.channel.onchain)
  const effects = resumeOnchain({ ...world.alice.channel, onchain: stored }, envOf(world, world.alice))
  const published = effects.flatMap((effect) => (effect.type === 'publish' ? [effect.publication] : []))
  expect(published).toEqual(claims(world))
  expect(effects[0]).toMatchObject({ type: 'watch' })
})

describe('S22: who has fallen behind', () => {
  test('publishes nothing of its own', () => {
    const world = makeWorld({ format: 'anchors' })
    world.alice.channel = { ...world.alice.channel, fellBehind: true }
    expect(close(world, 'alice').filter(({ to }) => to === 'chain')).toEqual([])
    mine(world)
    expect(claims(world)).toEqual([])
  })
  test('a peer that only claims it changes nothing', () => {
    const world = makeWorld({ format: 'anchors' })
    close(world, 'alice')
    expect(claims(world).length).toBe(1)
  })
})

describe('a small HTLC of an anchor channel', () => {
  test('is bid for as far as the budget pays for what the wallet has to add, too', () => {
    const world = makeWorld({ format: 'anchors', htlcs: [offered(0n, { sat: 900, expiry: START_HEIGHT + 5 })] })
    close(world, 'alice')
    mine(world, transactionsOf(world, world.alice))
    while (world.height < START_HEIGHT + 10) mine(world)
    const claim = claimOfHtlc(world, 0n, 'local')
    expect(claim).toMatchObject({ kind: 'htlc', budgetSat: Sat(450n) })
    const { weight } = claim as Publication & { readonly kind: 'htlc' }
    expect(claim!.feeratePerKw * (weight + 396)).toBeLessThanOrEqual(450_000)
  })
})

describe('our own commitment', () => {
  test('is bumped through its anchor towards the deadline, within the budget', () => {
    const world = makeWorld({ format: 'anchors', htlcs: [received(0n, { expiry: START_HEIGHT + 25 })] })
    reveal(world, 'alice', 0n, 0x40)
    close(world, 'alice')
    const rates: number[] = []
    while (world.height < START_HEIGHT + 25) {
      const [publication] = claims(world)
      expect(publication).toMatchObject({ kind: 'anchor', deadline: START_HEIGHT + 25 })
      rates.push(publication!.feeratePerKw)
      mine(world)
    }
    expect(rates).toEqual([...rates].sort((a, b) => a - b))
    expect(rates[0]).toBe(1_000)
    const [last] = claims(world)
    const [parent, child] = transactionsOf(world, world.alice)
    const fee = (BigInt(last!.feeratePerKw) * BigInt(txWeight(parent!) + txWeight(child!))) / 1_000n
    expect(fee).toBeGreaterThan(last!.budgetSat / 2n)
    mine(world, [parent!, child!])
    expect(world.alice.channel.onchain?.spend?.kind).toBe('local')
  })
  test('pays its own way when its feerate is enough', () => {
    const world = makeWorld({ format: 'anchors', feeratePerKw: 2_000 })
    close(world, 'alice')
    expect(claims(world)).toMatchObject([{ kind: 'whole' }])
  })
  test('closing again does nothing; the owner hears of each transaction once', () => {
    const world = makeWorld({ format: 'static_remotekey' })
    close(world, 'alice')
    expect(close(world, 'alice')).toEqual([])
    mine(world, transactionsOf(world, world.alice))
    expect(world.alice.owner.map(({ type }) => type)).toEqual(['closing'])
  })
  test('HTLCs that nobody ever signed fail at once', () => {
    const world = makeWorld({ format: 'anchors', htlcs: [offered(0n, { stage: 0 })] })
    close(world, 'alice')
    expect(outcomes(world.alice)).toEqual(['failed 0 neverSent'])
  })
  test('a deadline that passes while a close hangs in the mempool makes us publish ours', () => {
    const world = makeWorld({ format: 'anchors', htlcs: [offered(0n, { expiry: START_HEIGHT + 4 })] })
    see(world, 'alice', fullySigned(world, bobCommitment(world, 'remote')))
    expect(world.alice.channel.phase.name).toBe('closing')
    mineUntil(world, START_HEIGHT + 5)
    expect(claims(world)).toEqual([])
    mine(world)
    expect(claims(world)).toMatchObject([{ kind: 'anchor', tx: { inputs: [{ outpoint: world.funding }] } }])
  })
})

test('the funding script of the scene is that of both keys', () => {
  const world = makeWorld({ format: 'anchors' })
  const { local, remote } = world.alice.channel
  expect([...world.coins.values()][0]?.output.scriptPubKey).toEqual(
    fundingOutputScript(local.fundingPubkey, remote.fundingPubkey),
  )
})
