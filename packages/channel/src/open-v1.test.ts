import { describe, expect, it } from 'vitest'
import { BlockHeight, chainHash, FeeratePerKw, Msat, networks, p2wpkhOf, Sat, type Tx, Txid } from '@leyden/bitcoin'
import { hexToBytes } from '@leyden/codec'
import { pointFromSecret } from '@leyden/crypto'
import {
  type AcceptChannel,
  ChannelId,
  encodeChannelType,
  type FundingCreated,
  type FundingSigned,
  type OpenChannel,
  ShortChannelId,
} from '@leyden/lnwire'
import type { ChannelMessage } from './input.ts'
import { acceptChannel, openChannel, type Opening } from './open-v1.ts'
import { defaultPolicy } from './policy.ts'
import { checkAgreement, type Name, Pair, withoutFeatures } from './testing.ts'
import { isRefusal, isViolation } from './violations.ts'

const message = <T extends ChannelMessage['type']>(pair: Pair, from: Name, type: T): Extract<ChannelMessage, { type: T }> => {
  const found = pair.node(from).sent.find((sent) => sent.type === type)
  if (found === undefined) throw new Error(`no ${type}`)
  return found as Extract<ChannelMessage, { type: T }>
}

const opening = (pair: Pair): Opening => ({
  remoteNodeId: pair.alice.env.nodeId,
  features: pair.features,
  keyIndex: 30,
  localAlias: ShortChannelId(5n),
  destinationScript: p2wpkhOf(pointFromSecret(hexToBytes('07'.repeat(32)))),
})

const receive = (pair: Pair, name: Name, what: ChannelMessage) => pair.act(name, { from: 'peer', type: 'message', message: what })
const codes = (pair: Pair, name: Name): readonly string[] => pair.told(name, 'violated').map((effect) => effect.violation.code)

describe('open_channel', () => {
  const cases: readonly (readonly [string, Partial<OpenChannel>, string])[] = [
    ['of another chain', { chainHash: hexToBytes('22'.repeat(32)) }, 'chain_unknown'],
    ['S69: without a channel type', { channelType: undefined as never }, 'channel_type_missing'],
    ['of an unknown type', { channelType: hexToBytes('01') }, 'channel_type_unknown'],
    ['S12: of anchors with fees on HTLC transactions', { channelType: hexToBytes('101000') }, 'channel_type_unknown'],
    [
      'without confirmations',
      { channelType: encodeChannelType({ commitment: 'anchors', scidAlias: true, zeroconf: true }) },
      'zeroconf_refused',
    ],
    [
      'that is announced under an alias only',
      { channelFlags: 1, channelType: encodeChannelType({ commitment: 'anchors', scidAlias: true, zeroconf: false }) },
      'channel_type_alias_announced',
    ],
    ['that is too small', { fundingSatoshis: Sat(19_999n), pushMsat: Msat(0n) }, 'funding_too_small'],
    ['that is too large', { fundingSatoshis: Sat(1_000_000_001n) }, 'funding_too_large'],
    ['S34: of all the money in the world', { fundingSatoshis: Sat(2_100_000_000_000_000n) }, 'funding_too_large'],
    ['S33: that pushes more than it funds', { pushMsat: Msat(1_000_000_001n) }, 'push_exceeds_funding'],
    ['with too long a delay for us', { toSelfDelay: 2_017 }, 'to_self_delay_too_large'],
    ['with too many HTLCs', { maxAcceptedHtlcs: 484 }, 'max_accepted_htlcs_out_of_range'],
    ['with no HTLCs', { maxAcceptedHtlcs: 0 }, 'max_accepted_htlcs_out_of_range'],
    ['with a feerate that never confirms', { feeratePerKw: FeeratePerKw(252) }, 'feerate_out_of_range'],
    ['S34: with an absurd feerate', { feeratePerKw: FeeratePerKw(0xffff_ffff) }, 'feerate_out_of_range'],
    [
      'S32: with a dust limit above the reserve',
      { dustLimitSatoshis: Sat(900n), channelReserveSatoshis: Sat(800n) },
      'dust_limit_above_reserve',
    ],
    ['S32: with a reserve below our dust limit', { channelReserveSatoshis: Sat(353n) }, 'reserve_below_dust_limit'],
    ['with a dust limit that does not relay', { dustLimitSatoshis: Sat(353n) }, 'dust_limit_out_of_range'],
    ['with a dust limit that eats our HTLCs', { dustLimitSatoshis: Sat(1_001n) }, 'dust_limit_out_of_range'],
    ['with too large a reserve', { channelReserveSatoshis: Sat(200_001n) }, 'reserve_too_large'],
    ['with too large an HTLC minimum', { htlcMinimumMsat: Msat(100_000_001n) }, 'htlc_minimum_too_large'],
    ['with too small an in-flight limit', { maxHtlcValueInFlightMsat: Msat(999_999n) }, 'max_htlc_value_in_flight_too_small'],
    ['with a closing script of no known form', { upfrontShutdownScript: hexToBytes('51') }, 'upfront_shutdown_script_invalid'],
    ['whose opener cannot pay the fee', { pushMsat: Msat(999_000_000n) }, 'funding_below_fee'],
    [
      'where neither side has the reserve',
      {
        fundingSatoshis: Sat(20_000n),
        pushMsat: Msat(4_000_000n),
        feeratePerKw: FeeratePerKw(12_000),
        channelReserveSatoshis: Sat(4_000n),
      },
      'funding_below_reserve',
    ],
  ]
  it.each(cases)('is refused: %s', (_, change, code) => {
    const pair = new Pair()
    const open = { ...message(pair, 'alice', 'open_channel'), ...change }
    if (change.channelType === undefined && 'channelType' in change) delete (open as { channelType?: unknown }).channelType
    const answer = acceptChannel(open, opening(pair), pair.bob.env)
    expect(isViolation(answer) ? answer.code : 'accepted').toBe(code)
  })

  it('S26: is refused when its temporary id is in use', () => {
    const pair = new Pair()
    const answer = acceptChannel(message(pair, 'alice', 'open_channel'), opening(pair), { ...pair.bob.env, isTaken: () => true })
    expect(isViolation(answer) ? answer.code : 'accepted').toBe('temporary_channel_id_taken')
  })

  it('is refused from 2^24 satoshi on without option_support_large_channel', () => {
    const features = withoutFeatures('option_support_large_channel')
    const pair = new Pair({ features })
    const open = { ...message(pair, 'alice', 'open_channel'), fundingSatoshis: Sat(16_777_216n) }
    const answer = acceptChannel(open, opening(pair), pair.bob.env)
    expect(isViolation(answer) ? answer.code : 'accepted').toBe('funding_too_large')
  })

  it('gets the confirmations that its value needs, and is refused where no number is enough', () => {
    const depthSteps = [
      { mostSat: Sat(200_000n), blocks: 3 },
      { mostSat: Sat(1_000_000n), blocks: 7 },
    ]
    const asked = (capacitySat: bigint): number | string => {
      const pair = new Pair({ capacitySat, pushMsat: 0n })
      const answer = acceptChannel(message(pair, 'alice', 'open_channel'), opening(pair), {
        ...pair.bob.env,
        policy: { ...defaultPolicy, depthSteps },
      })
      return isViolation(answer) ? answer.code : answer.channel.minimumDepthBlocks
    }
    expect([100_000n, 200_000n, 200_001n, 1_000_000n, 1_000_001n].map(asked)).toEqual([3, 3, 7, 7, 'funding_too_large'])
    const pair = new Pair({ capacitySat: 500_000n, pushMsat: 0n, policy: { depthSteps } })
    receive(pair, 'alice', message(pair, 'bob', 'accept_channel'))
    expect(pair.alice.channel.minimumDepthBlocks).toBe(7)
  })

  it('is refused before a fork that is ahead, and remembers the fork after it', () => {
    const pair = new Pair()
    const at = (height: number) => {
      const network = { ...networks.regtest, fork: { id: 9, height: 200 } }
      const env = { ...pair.bob.env, network, height: BlockHeight(height) }
      const open = { ...message(pair, 'alice', 'open_channel'), chainHash: chainHash(network) }
      const answer = acceptChannel(open, opening(pair), env)
      return isViolation(answer) ? answer.code : answer.channel.forkId
    }
    expect([at(198), at(199)]).toEqual(['fork_ahead', 9])
  })

  it('asks for anchors where both can, else for static_remotekey', () => {
    expect(new Pair().open().bob.channel.type).toEqual({ format: 'anchors', scidAlias: true, zeroConf: false })
    expect(new Pair({ announce: true }).open().bob.channel.type).toEqual({ format: 'anchors', scidAlias: false, zeroConf: false })
    const old = new Pair({ features: withoutFeatures('option_anchors', 'option_scid_alias') }).open()
    expect(old.bob.channel.type).toEqual({ format: 'static_remotekey', scidAlias: false, zeroConf: false })
    checkAgreement(old)
  })
})

describe('our own wish', () => {
  const ask = (change: { capacitySat?: bigint; pushMsat?: bigint; isTaken?: () => boolean }) => {
    const pair = new Pair()
    const answer = openChannel(
      {
        capacitySat: Sat(change.capacitySat ?? 100_000n),
        pushMsat: Msat(change.pushMsat ?? 0n),
        announce: false,
        fundingFeeratePerKw: FeeratePerKw(500),
      },
      { ...opening(pair), temporaryChannelId: ChannelId('33'.repeat(32)) },
      { ...pair.alice.env, ...(change.isTaken === undefined ? {} : { isTaken: change.isTaken }) },
    )
    return isRefusal(answer) ? answer.code : 'opened'
  }
  it('is refused where BOLT 2 forbids it', () => {
    expect(ask({})).toBe('opened')
    expect(ask({ capacitySat: 19_999n })).toBe('capacity_too_small')
    expect(ask({ capacitySat: defaultPolicy.maxFundingSat + 1n })).toBe('capacity_too_large')
    expect(ask({ pushMsat: 100_000_001n })).toBe('push_exceeds_capacity')
    expect(ask({ pushMsat: 99_000_000n })).toBe('capacity_below_fee')
    expect(ask({ isTaken: () => true })).toBe('channel_id_taken')
  })
})

describe('accept_channel', () => {
  const cases: readonly (readonly [string, Partial<AcceptChannel>, string])[] = [
    ['S69: without a channel type', { channelType: undefined as never }, 'channel_type_missing'],
    [
      'of another type',
      { channelType: encodeChannelType({ commitment: 'static_remotekey', scidAlias: false, zeroconf: false }) },
      'channel_type_changed',
    ],
    ['that wants too many confirmations', { minimumDepth: 145 }, 'minimum_depth_too_large'],
    ['S32: with a dust limit above the reserve that we ask', { dustLimitSatoshis: Sat(1_001n) }, 'dust_limit_out_of_range'],
    ['S32: with a reserve below our dust limit', { channelReserveSatoshis: Sat(353n) }, 'reserve_below_dust_limit'],
    ['with too long a delay', { toSelfDelay: 3_000 }, 'to_self_delay_too_large'],
  ]
  it.each(cases)('fails the opening: %s', (_, change, code) => {
    const pair = new Pair()
    const accept = { ...message(pair, 'bob', 'accept_channel'), ...change }
    if (change.channelType === undefined && 'channelType' in change) delete (accept as { channelType?: unknown }).channelType
    receive(pair, 'alice', accept)
    expect(codes(pair, 'alice')).toEqual([code])
    expect(pair.alice.channel.phase).toEqual({ name: 'closed', how: 'neverFunded' })
    expect(pair.sentTypes('alice').at(-1)).toBe('error')
    expect(message(pair, 'alice', 'error').channelId).toBe(pair.alice.channel.temporaryChannelId)
  })

  it('S32: with a dust limit above the reserve that we ask of a small channel', () => {
    const pair = new Pair({ capacitySat: 40_000n, pushMsat: 0n })
    receive(pair, 'alice', { ...message(pair, 'bob', 'accept_channel'), dustLimitSatoshis: Sat(600n) })
    expect(codes(pair, 'alice')).toEqual(['dust_limit_above_reserve'])
  })

  it('waits for one confirmation at least, whatever the peer asks', () => {
    const pair = new Pair()
    receive(pair, 'alice', { ...message(pair, 'bob', 'accept_channel'), minimumDepth: 0 })
    expect(pair.alice.channel.minimumDepthBlocks).toBe(1)
  })
})

describe('the funding', () => {
  it('is not published before the remote has signed', () => {
    const pair = new Pair()
    pair.deliver('bob')
    const tx = pair.fundingTx()
    pair.act('alice', { from: 'owner', type: 'funded', tx, outputIndex: 1 })
    expect(pair.alice.published.size).toBe(0)
    pair.settle()
    expect([...pair.alice.published.values()]).toEqual([tx])
    expect(pair.alice.channel.channelId).toBe(pair.bob.channel.channelId)
    expect(pair.told('alice', 'opening')).toHaveLength(1)
    expect(pair.told('bob', 'opening')).toHaveLength(1)
  })

  it('is released when the peer goes away before it has signed', () => {
    const pair = new Pair()
    pair.deliver('bob')
    const tx = pair.fundingTx()
    pair.act('alice', { from: 'owner', type: 'funded', tx, outputIndex: 1 })
    pair.disconnect()
    expect(pair.alice.channel.phase).toEqual({ name: 'closed', how: 'neverFunded' })
    expect(pair.told('alice', 'fundingReleased')).toEqual([{ to: 'owner', type: 'fundingReleased', tx }])
  })

  it('is released when the wallet comes too late', () => {
    const pair = new Pair()
    pair.deliver('bob')
    const tx = pair.fundingTx()
    pair.disconnect()
    pair.act('alice', { from: 'owner', type: 'funded', tx, outputIndex: 1 })
    expect(pair.told('alice', 'fundingReleased').at(-1)?.tx).toEqual(tx)
  })

  it('that the wallet could not make ends the opening with an error', () => {
    const pair = new Pair()
    pair.deliver('bob')
    pair.act('alice', { from: 'owner', type: 'fundingFailed', detail: 'no coins' })
    expect(pair.alice.channel.phase).toEqual({ name: 'closed', how: 'neverFunded' })
    pair.settle()
    expect(pair.bob.channel.phase).toEqual({ name: 'closed', how: 'neverFunded' })
  })

  const created = (change: Partial<FundingCreated>, isTaken = false): Pair => {
    const pair = new Pair()
    pair.deliver('bob')
    pair.act('alice', { from: 'owner', type: 'funded', tx: pair.fundingTx(), outputIndex: 1 })
    pair.bob.env = { ...pair.bob.env, isTaken: () => isTaken }
    receive(pair, 'bob', { ...message(pair, 'alice', 'funding_created'), ...change })
    return pair
  }
  it('S35: with an all-zero txid is refused', () => {
    expect(codes(created({ fundingTxid: Txid('00'.repeat(32)) }), 'bob')).toEqual(['funding_txid_zero'])
  })
  it('S26: at an outpoint that another channel has is refused', () => {
    expect(codes(created({}, true), 'bob')).toEqual(['channel_id_taken'])
  })
  it('with a wrong signature of the opener is refused', () => {
    const pair = created({ signature: new Uint8Array(64).fill(1) })
    expect(codes(pair, 'bob')).toEqual(['commitment_signature_invalid'])
    expect(pair.bob.channel.phase.name).toBe('closed')
  })
  it('with a wrong signature of the accepter is never published', () => {
    const pair = new Pair()
    pair.deliver('bob')
    pair.act('alice', { from: 'owner', type: 'funded', tx: pair.fundingTx(), outputIndex: 1 })
    pair.deliver('alice')
    const signed: FundingSigned = { ...message(pair, 'bob', 'funding_signed'), signature: new Uint8Array(64).fill(1) }
    receive(pair, 'alice', signed)
    expect(codes(pair, 'alice')).toEqual(['commitment_signature_invalid'])
    expect(pair.alice.published.size).toBe(0)
    expect(pair.told('alice', 'fundingReleased')).toHaveLength(1)
  })

  it('S24: of another amount or script, however right its txid, makes no channel', () => {
    for (const wrong of ['amount', 'script'] as const) {
      const pair = new Pair()
      pair.deliver('bob')
      const good = pair.fundingTx()
      const output = good.outputs[1]
      if (output === undefined) throw new Error('no output')
      const bad: Tx = {
        ...good,
        outputs: [
          ...good.outputs.slice(0, 1),
          wrong === 'amount'
            ? { ...output, value: Sat(output.value - 1n) }
            : { ...output, scriptPubKey: hexToBytes('0014'.padEnd(44, '0')) },
        ],
      }
      // The opener lies: it signs for an outpoint that does not hold what it says.
      pair.bob.channel = { ...pair.bob.channel }
      pair.act('alice', { from: 'owner', type: 'funded', tx: good, outputIndex: 1 })
      pair.settle()
      const [active] = pair.bob.channel.active
      if (active === undefined) throw new Error('no funding')
      const lied = { ...active, funding: { ...active.funding, outpoint: { txid: Txid(txidOf(bad)), vout: 1 } } }
      pair.bob.channel = { ...pair.bob.channel, active: [lied] }
      pair.connectBlock('bob', { height: 101, hash: hashOfBlock, transactions: [bad] })
      expect(codes(pair, 'bob')).toEqual(['funding_output_wrong'])
      expect(pair.sentTypes('bob')).not.toContain('channel_ready')
    }
  })
})

import { BlockHash, txid } from '@leyden/bitcoin'
const txidOf = (tx: Tx): string => txid(tx)
const hashOfBlock = BlockHash('ab'.repeat(32))
