import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BlockHeight, FeeratePerKw, Msat, Sat, Txid } from '@leyden/bitcoin'
import { hexToBytes } from '@leyden/codec'
import { ALL_CHANNELS, type ChannelId, PaymentHash, Preimage, ShortChannelId } from '@leyden/lnwire'
import type { ChannelInput, ChannelMessage } from './input.ts'
import { resume, step } from './step.ts'
import { checkAgreement, hashOf, Pair, preimageOf } from './testing.ts'
import { receiveCommitmentSigned } from './commit.ts'

const signature = new Uint8Array(64).fill(2)

/** One message of each type, well-formed and out of the blue. */
const messagesFor = (pair: Pair): Readonly<Record<ChannelMessage['type'], ChannelMessage>> => {
  const { channelId, temporaryChannelId, local } = pair.bob.channel
  const point = local.fundingPubkey
  const open = pair.alice.sent.find((message) => message.type === 'open_channel')
  if (open?.type !== 'open_channel') throw new Error('no open_channel')
  const { chainHash: _, fundingSatoshis: __, pushMsat: ___, feeratePerKw: ____, channelFlags: _____, ...terms } = open
  const scripts = {
    closerScriptpubkey: pair.bob.channel.destinationScript,
    closeeScriptpubkey: pair.alice.channel.destinationScript,
  }
  const closing = { channelId, ...scripts, feeSatoshis: Sat(1_000n), locktime: 0, closerAndCloseeOutputs: signature }
  return {
    open_channel: open,
    accept_channel: { ...terms, type: 'accept_channel', minimumDepth: 3 },
    funding_created: {
      type: 'funding_created',
      temporaryChannelId,
      fundingTxid: Txid('44'.repeat(32)),
      fundingOutputIndex: 0,
      signature,
    },
    funding_signed: { type: 'funding_signed', channelId, signature },
    channel_ready: { type: 'channel_ready', channelId, secondPerCommitmentPoint: point },
    shutdown: { type: 'shutdown', channelId, scriptpubkey: pair.bob.channel.destinationScript },
    closing_signed: { type: 'closing_signed', channelId, feeSatoshis: Sat(700n), signature },
    closing_complete: { type: 'closing_complete', ...closing },
    closing_sig: { type: 'closing_sig', ...closing },
    stfu: { type: 'stfu', channelId, initiator: 1 },
    update_add_htlc: {
      type: 'update_add_htlc',
      channelId,
      id: 0n,
      amountMsat: Msat(5_000_000n),
      paymentHash: hashOf(50),
      cltvExpiry: BlockHeight(400),
      onionRoutingPacket: new Uint8Array(1366),
    },
    update_fulfill_htlc: { type: 'update_fulfill_htlc', channelId, id: 0n, paymentPreimage: Preimage('00'.repeat(32)) },
    update_fail_htlc: { type: 'update_fail_htlc', channelId, id: 0n, reason: new Uint8Array(3) },
    update_fail_malformed_htlc: {
      type: 'update_fail_malformed_htlc',
      channelId,
      id: 0n,
      failureCode: 0xc005,
      sha256OfOnion: new Uint8Array(32),
    },
    commitment_signed: { type: 'commitment_signed', channelId, signature, htlcSignatures: [] },
    revoke_and_ack: {
      type: 'revoke_and_ack',
      channelId,
      perCommitmentSecret: hexToBytes('01'.repeat(32)),
      nextPerCommitmentPoint: point,
    },
    update_fee: { type: 'update_fee', channelId, feeratePerKw: FeeratePerKw(1_500) },
    channel_reestablish: {
      type: 'channel_reestablish',
      channelId,
      nextCommitmentNumber: 1n,
      nextRevocationNumber: 0n,
      yourLastPerCommitmentSecret: new Uint8Array(32),
      myCurrentPerCommitmentPoint: point,
    },
    announcement_signatures: {
      type: 'announcement_signatures',
      channelId,
      shortChannelId: ShortChannelId(7n),
      nodeSignature: signature,
      bitcoinSignature: signature,
    },
    error: { type: 'error', channelId, data: hexToBytes('6f68') },
    warning: { type: 'warning', channelId, data: hexToBytes('6f68') },
  }
}

/** A channel in each phase and link, on Alice's side. */
const situations: Readonly<Record<string, () => Pair>> = {
  awaitingAccept: () => new Pair(),
  awaitingFunding: () => {
    const pair = new Pair()
    pair.deliver('bob')
    return pair
  },
  awaitingFundingSigned: () => {
    const pair = new Pair()
    pair.deliver('bob')
    pair.act('alice', { from: 'owner', type: 'funded', tx: pair.fundingTx(), outputIndex: 1 })
    return pair
  },
  awaitingReady: () => {
    const pair = new Pair()
    pair.fund()
    return pair
  },
  normal: () => new Pair({ announce: true }).open(),
  reestablishing: () => {
    const pair = new Pair().open()
    pair.disconnect()
    pair.connect()
    return pair
  },
  offline: () => {
    const pair = new Pair().open()
    pair.disconnect()
    return pair
  },
  shuttingDown: () => {
    const pair = new Pair().open()
    pair.act('alice', { from: 'owner', type: 'close' })
    return pair
  },
  'closing together': () => {
    const pair = new Pair().open()
    pair.act('alice', { from: 'owner', type: 'close' })
    pair.settle()
    return pair
  },
  'closing by force': () => {
    const pair = new Pair().open()
    pair.act('alice', { from: 'owner', type: 'forceClose', reason: 'test' })
    return pair
  },
  closed: () => {
    const pair = new Pair()
    pair.disconnect()
    return pair
  },
}

/** What the answer is: `-` nothing at all, `ok` taken, else the code and how it ended. */
const answerTo = (pair: Pair, message: ChannelMessage): string => {
  const before = pair.alice.channel
  const { state, effects } = step(before, { from: 'peer', type: 'message', message }, pair.alice.env)
  const told = effects.find((effect) => effect.to === 'owner' && effect.type === 'violated')
  if (told?.type === 'violated') return `${told.violation.code} ${told.violation.answer}`
  if (state === before && effects.length === 0) return '-'
  return 'ok'
}

describe('S69: every message in every phase', () => {
  const rows = Object.entries(situations).map(([name, make]) => {
    const pair = make()
    const messages = messagesFor(pair)
    const answers = Object.fromEntries(Object.entries(messages).map(([type, message]) => [type, answerTo(pair, message)]))
    return [name, answers] as const
  })

  it('has the answer that the table says', () => {
    expect(Object.fromEntries(rows)).toMatchSnapshot()
  })

  it('is never taken where BOLT 2 does not let it come', () => {
    const taken: Readonly<Record<string, readonly string[]>> = {
      awaitingAccept: ['accept_channel', 'error', 'warning'],
      awaitingFunding: ['error', 'warning'],
      awaitingFundingSigned: ['error', 'warning'],
      closed: ['channel_reestablish'],
      offline: ['error', 'warning'],
    }
    const wrong = rows.flatMap(([name, answers]) => {
      const allowed = taken[name]
      const ok = Object.entries(answers).filter(([, answer]) => answer === 'ok')
      return allowed === undefined ? [] : ok.filter(([type]) => !allowed.includes(type)).map(([type]) => `${name} ${type}`)
    })
    expect(wrong).toEqual([])
  })
})

describe('a peer that sends anything at all', () => {
  const amount = fc
    .oneof(fc.constantFrom(0n, 1n, 5_000_000n, 2_100_000_000_000_000_000n), fc.bigInt(0n, 1_000_000_000n))
    .map(Msat)
  const sat = fc.oneof(fc.constantFrom(0n, 354n, 2_100_000_000_000_000n), fc.bigInt(0n, 2_000_000n)).map(Sat)
  const id = fc.oneof(fc.bigInt(0n, 3n), fc.constant(2n ** 64n - 1n))
  const hex32 = fc.constantFrom(hashOf(1), hashOf(2), '00'.repeat(32))
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
  const script = fc.oneof(fc.uint8Array({ maxLength: 60 }), fc.constant(hexToBytes(`0014${'11'.repeat(20)}`)))
  const anything = (pair: Pair): fc.Arbitrary<ChannelMessage> => {
    const channelId: ChannelId = pair.alice.channel.channelId
    const point = fc.constantFrom(pair.bob.channel.local.fundingPubkey, pair.bob.channel.local.htlcBasepoint)
    const number = fc.oneof(fc.bigInt(0n, 4n), fc.constant(2n ** 64n - 1n))
    const table = messagesFor(pair)
    return fc.oneof(
      fc.constantFrom(...Object.values(table)),
      fc.record({
        type: fc.constant('update_add_htlc' as const),
        channelId: fc.constant(channelId),
        id,
        amountMsat: amount,
        paymentHash: hex32.map((hash) => PaymentHash(hash)),
        cltvExpiry: fc.integer({ min: 0, max: 0xffff_ffff }).map(BlockHeight),
        onionRoutingPacket: fc.constant(new Uint8Array(1366)),
      }),
      fc.record({
        type: fc.constant('update_fulfill_htlc' as const),
        channelId: fc.constant(channelId),
        id,
        paymentPreimage: fc.constantFrom(...[1, 2].map((n) => Preimage(Buffer.from(preimageOf(n)).toString('hex')))),
      }),
      fc.record({
        type: fc.constant('update_fail_htlc' as const),
        channelId: fc.constant(channelId),
        id,
        reason: fc.uint8Array({ maxLength: 300 }),
      }),
      fc.record({
        type: fc.constant('update_fee' as const),
        channelId: fc.constant(channelId),
        feeratePerKw: fc.integer({ min: 0, max: 0xffff_ffff }).map(FeeratePerKw),
      }),
      fc.record({
        type: fc.constant('commitment_signed' as const),
        channelId: fc.constant(channelId),
        signature: bytes(64),
        htlcSignatures: fc.array(bytes(64), { maxLength: 3 }),
      }),
      fc.record({
        type: fc.constant('revoke_and_ack' as const),
        channelId: fc.constant(channelId),
        perCommitmentSecret: bytes(32),
        nextPerCommitmentPoint: point,
      }),
      fc.record({ type: fc.constant('shutdown' as const), channelId: fc.constant(channelId), scriptpubkey: script }),
      fc.record({
        type: fc.constant('closing_signed' as const),
        channelId: fc.constant(channelId),
        feeSatoshis: sat,
        signature: bytes(64),
      }),
      fc.record({
        type: fc.constant('closing_complete' as const),
        channelId: fc.constant(channelId),
        closerScriptpubkey: script,
        closeeScriptpubkey: script,
        feeSatoshis: sat,
        locktime: fc.nat(),
        closerAndCloseeOutputs: bytes(64),
      }),
      fc.record({
        type: fc.constant('channel_reestablish' as const),
        channelId: fc.constant(channelId),
        nextCommitmentNumber: number,
        nextRevocationNumber: number,
        yourLastPerCommitmentSecret: bytes(32),
        myCurrentPerCommitmentPoint: point,
      }),
      fc.record({
        type: fc.constant('error' as const),
        channelId: fc.constantFrom(channelId, ALL_CHANNELS),
        data: fc.uint8Array({ maxLength: 2_000 }),
      }),
    )
  }
  const owner: fc.Arbitrary<ChannelInput> = fc.constantFrom<ChannelInput>(
    { from: 'owner', type: 'flush' },
    { from: 'owner', type: 'close' },
    { from: 'peer', type: 'disconnected' },
    { from: 'owner', type: 'fulfillHtlc', htlcId: 0n, preimage: preimageOf(1) },
    { from: 'chain', type: 'feerate', commitmentFeeratePerKw: FeeratePerKw(3_000) },
  )

  it('makes no step throw, and no balance negative', () => {
    expect.assertions(150)
    const made = Object.values(situations).map((make) => make())
    const start = made.map((pair) => pair.alice.channel)
    fc.assert(
      fc.property(
        fc.nat(made.length - 1).chain((at) =>
          fc.tuple(
            fc.constant(at),
            fc.array(
              fc.oneof(
                {
                  weight: 4,
                  arbitrary: anything(made[at] as Pair).map((message): ChannelInput => ({
                    from: 'peer',
                    type: 'message',
                    message,
                  })),
                },
                { weight: 1, arbitrary: owner },
              ),
              { maxLength: 12 },
            ),
          ),
        ),
        ([at, inputs]) => {
          const pair = made[at] as Pair
          pair.alice.channel = start[at] as Pair['alice']['channel']
          for (const input of inputs) pair.act('alice', input)
          expect(resume(pair.alice.channel, pair.alice.env)).toBeInstanceOf(Array)
        },
      ),
      { numRuns: 150 },
    )
  })
})

describe('committing', () => {
  const codes = (pair: Pair, name: 'alice' | 'bob') => pair.told(name, 'violated').map((effect) => effect.violation.code)
  const say = (pair: Pair, message: ChannelMessage) => pair.act('bob', { from: 'peer', type: 'message', message })

  it('never signs what is already signed, nor twice before a revocation', () => {
    const pair = new Pair().open()
    expect(pair.flush('alice')).toBe(false)
    pair.offer('alice', 1_000_000n, 1)
    expect(pair.flush('alice')).toBe(true)
    pair.offer('alice', 1_000_000n, 2)
    expect(pair.flush('alice')).toBe(false)
    pair.act('alice', { from: 'owner', type: 'flush' })
    expect(pair.sentTypes('alice').filter((type) => type === 'commitment_signed')).toHaveLength(1)
    pair.settle()
    checkAgreement(pair)
    expect(pair.flush('alice')).toBe(false)
  })

  it('many updates under one signature', () => {
    const pair = new Pair().open()
    for (let n = 0; n < 40; n++) pair.offer('alice', 1_000_000n + BigInt(n), n)
    pair.settle()
    checkAgreement(pair)
    expect(pair.sentTypes('alice').filter((type) => type === 'commitment_signed')).toHaveLength(1)
    expect(pair.told('bob', 'htlcCommitted')).toHaveLength(40)
  })

  it('S23: a wrong or missing signature fails the channel', () => {
    for (const change of ['signature', 'htlc', 'count'] as const) {
      const pair = new Pair().open()
      pair.offer('alice', 5_000_000n, 1)
      pair.flush('alice')
      pair.deliver('alice')
      const signed = pair.alice.sent.at(-1)
      if (signed?.type !== 'commitment_signed') throw new Error('no commitment_signed')
      say(pair, {
        ...signed,
        ...(change === 'signature' ? { signature } : { htlcSignatures: change === 'htlc' ? [signature] : [] }),
      })
      expect(codes(pair, 'bob')).toEqual([
        change === 'signature'
          ? 'commitment_signature_invalid'
          : change === 'htlc'
            ? 'htlc_signature_invalid'
            : 'htlc_signature_count',
      ])
      // Bob keeps and publishes what he had before.
      expect(pair.bob.channel.localCommitmentNumber).toBe(0)
      expect(pair.bob.channel.phase.name).toBe('closing')
      expect(pair.sentTypes('bob')).not.toContain('revoke_and_ack')
    }
  })

  it('S39: a signature for another funding is ignored', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    pair.flush('alice')
    pair.deliver('alice')
    const signed = pair.alice.sent.at(-1)
    if (signed?.type !== 'commitment_signed') throw new Error('no commitment_signed')
    const answer = receiveCommitmentSigned(pair.bob.channel, { ...signed, fundingTxid: Txid('55'.repeat(32)) }, pair.bob.env)
    expect(answer).toEqual({ channel: pair.bob.channel, effects: [] })
  })

  it('a revocation that nobody waits for ends the connection, a wrong one fails the channel', () => {
    const pair = new Pair().open()
    const { channelId, local } = pair.bob.channel
    const wrong = {
      type: 'revoke_and_ack',
      channelId,
      perCommitmentSecret: hexToBytes('01'.repeat(32)),
      nextPerCommitmentPoint: local.fundingPubkey,
    } as const
    say(pair, wrong)
    expect(codes(pair, 'bob')).toEqual(['revocation_unexpected'])
    const waiting = new Pair().open()
    waiting.offer('bob', 1_000_000n, 1)
    waiting.flush('bob')
    say(waiting, wrong)
    expect(codes(waiting, 'bob')).toEqual(['revocation_secret_wrong'])
    expect(waiting.bob.channel.phase.name).toBe('closing')
  })
})

describe('errors', () => {
  it('of the peer fail the channel, without an answer', () => {
    const pair = new Pair().open()
    const { channelId } = pair.alice.channel
    const sent = pair.alice.sent.length
    pair.act('alice', { from: 'peer', type: 'message', message: { type: 'error', channelId, data: hexToBytes('1b5b6f') } })
    expect(pair.alice.channel.phase.name).toBe('closing')
    expect(pair.alice.channel.error).toBe('?[o')
    expect(pair.alice.sent.length).toBe(sent)
    expect([...pair.alice.published.keys()].some((name) => name.endsWith('/commitment'))).toBe(true)
  })

  it('answer a channel_reestablish for what is over', () => {
    const pair = new Pair().open()
    const { channelId } = pair.alice.channel
    pair.alice.channel = { ...pair.alice.channel, phase: { name: 'closed', how: 'neverFunded' } }
    pair.disconnect()
    pair.connect()
    pair.settle()
    expect(pair.alice.sent.at(-1)).toMatchObject({ type: 'error', channelId })
    expect(pair.bob.channel.phase.name).toBe('closing')
  })

  it('tie up no coins of the wallet in a channel whose funding is not in the chain', () => {
    const pair = new Pair({ pushMsat: 100_000_000n })
    pair.fund()
    const dear = (of: Pair): void => {
      of.bob.env = { ...of.bob.env, feerates: { ...of.bob.env.feerates, claim: FeeratePerKw(5_000) } }
    }
    dear(pair)
    const published = pair.act('bob', { from: 'owner', type: 'forceClose', reason: 'test' })
    expect(published.flatMap((effect) => (effect.type === 'publish' ? [effect.publication.kind] : []))).toEqual(['whole'])
    const funded = new Pair({ pushMsat: 100_000_000n }).open()
    dear(funded)
    const bumped = funded.act('bob', { from: 'owner', type: 'forceClose', reason: 'test' })
    expect(bumped.flatMap((effect) => (effect.type === 'publish' ? [effect.publication.kind] : []))).toEqual(['anchor'])
  })

  it('warnings change nothing', () => {
    const pair = new Pair().open()
    const before = pair.alice.channel
    const { channelId } = before
    pair.act('alice', { from: 'peer', type: 'message', message: { type: 'warning', channelId, data: hexToBytes('6f68') } })
    expect(pair.alice.channel).toBe(before)
  })
})

describe('deadlines', () => {
  it('an offered HTLC that expires without an answer closes the channel', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1, pair.height + 5)
    pair.settle()
    pair.mine([], 6)
    expect(pair.alice.channel.phase.name).toBe('normal')
    pair.mine()
    expect(pair.alice.channel.phase.name).toBe('closing')
    expect(pair.alice.channel.error).toBe('offered_htlc_expired')
    expect(pair.sentTypes('alice').at(-1)).toBe('error')
  })

  it('a preimage that the peer does not take goes to the chain in time', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1, pair.height + 40)
    pair.settle()
    pair.disconnect()
    pair.fulfill('bob', 0n, 1)
    pair.mine([], 21)
    expect(pair.bob.channel.phase.name).toBe('normal')
    pair.mine()
    expect(pair.bob.channel.phase.name).toBe('closing')
    expect(pair.bob.channel.error).toBe('received_htlc_expiring')
  })
})

describe('resume', () => {
  it('watches the funding output and publishes what is not mined', () => {
    const pair = new Pair()
    const tx = pair.fund()
    const outpoints = [
      ...pair.alice.channel.active.map(({ funding }) => funding.outpoint),
      ...tx.inputs.map((input) => input.outpoint),
    ]
    pair.restart('alice')
    expect(resume(pair.alice.channel, pair.alice.env)).toEqual([
      { to: 'chain', type: 'watch', outpoints },
      expect.objectContaining({ to: 'chain', type: 'publish', publication: expect.objectContaining({ tx }) }),
    ])
    pair.mine([tx])
    expect(resume(pair.alice.channel, pair.alice.env)).toEqual([{ to: 'chain', type: 'watch', outpoints }])
  })
})
