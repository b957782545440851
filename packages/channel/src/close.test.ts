import { describe, expect, it } from 'vitest'
import { FeeratePerKw, P2A, p2wpkhOf, Sat, type Tx, txid } from '@leyden/bitcoin'
import { hexToBytes } from '@leyden/codec'
import { pointFromSecret } from '@leyden/crypto'
import type { ClosingComplete, ClosingSigned } from '@leyden/lnwire'
import type { ChannelMessage } from './input.ts'
import { MAX_CLOSING_TRANSACTIONS } from './policy.ts'
import { isShutdownScript } from './shutdown-script.ts'
import { closingFee } from './transactions/closing-tx.ts'
import { checkFundingSpend, type Name, otherName, Pair, withoutFeatures } from './testing.ts'

const legacy = withoutFeatures('option_simple_close')
const close = (pair: Pair, name: Name, more: { feeratePerKw?: FeeratePerKw; scriptPubKey?: Uint8Array } = {}) =>
  pair.act(name, { from: 'owner', type: 'close', ...more })
const codes = (pair: Pair, name: Name): readonly string[] => pair.told(name, 'violated').map((effect) => effect.violation.code)
const closings = (pair: Pair, name: Name): readonly Tx[] => pair.node(name).channel.closing?.transactions ?? []
const say = (pair: Pair, to: Name, message: ChannelMessage) => pair.act(to, { from: 'peer', type: 'message', message })
const lastOf = <T extends ChannelMessage['type']>(pair: Pair, from: Name, type: T): Extract<ChannelMessage, { type: T }> => {
  const found = pair.node(from).sent.findLast((sent) => sent.type === type)
  if (found === undefined) throw new Error(`no ${type}`)
  return found as Extract<ChannelMessage, { type: T }>
}
const wallet = (n: number): Uint8Array => p2wpkhOf(pointFromSecret(new Uint8Array(32).fill(n)))

describe('shutdown', () => {
  it('takes the forms of BOLT 2 and no other', () => {
    const all = { anySegwit: true, simpleClose: true }
    const none = { anySegwit: false, simpleClose: false }
    const hex = hexToBytes
    expect(isShutdownScript(wallet(1), none)).toBe(true)
    expect(isShutdownScript(hex(`0020${'00'.repeat(32)}`), none)).toBe(true)
    expect(isShutdownScript(hex(`5120${'00'.repeat(32)}`), none)).toBe(false)
    expect(isShutdownScript(hex(`5120${'00'.repeat(32)}`), all)).toBe(true)
    expect(isShutdownScript(P2A, all)).toBe(true)
    expect(isShutdownScript(hex(`0010${'00'.repeat(16)}`), all)).toBe(false)
    expect(isShutdownScript(hex(`76a914${'00'.repeat(20)}88ac`), all)).toBe(false)
    expect(isShutdownScript(hex(`6a06${'00'.repeat(6)}`), all)).toBe(true)
    expect(isShutdownScript(hex(`6a06${'00'.repeat(6)}`), none)).toBe(false)
    expect(isShutdownScript(hex(`6a05${'00'.repeat(5)}`), all)).toBe(false)
    expect(isShutdownScript(hex(`6a4c50${'00'.repeat(80)}`), all)).toBe(true)
    expect(isShutdownScript(hex(`6a4c51${'00'.repeat(81)}`), all)).toBe(false)
    expect(isShutdownScript(hex(`6a4b${'00'.repeat(74)}`), all)).toBe(false)
  })

  it('waits until what we proposed is signed', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    close(pair, 'alice')
    expect(pair.sentTypes('alice')).not.toContain('shutdown')
    pair.flush('alice')
    expect(pair.sentTypes('alice').slice(-2)).toEqual(['commitment_signed', 'shutdown'])
  })

  it('S44: to a script of no known form is warned of and ignored', () => {
    const pair = new Pair().open()
    const { channelId } = pair.alice.channel
    say(pair, 'alice', { type: 'shutdown', channelId, scriptpubkey: hexToBytes('6a') })
    expect(codes(pair, 'alice')).toEqual(['shutdown_script_invalid'])
    expect(pair.alice.channel.phase.name).toBe('normal')
    expect(pair.sentTypes('alice').at(-1)).toBe('warning')
  })

  it('to another script than the one promised at the opening ends the connection', () => {
    const pair = new Pair().open()
    const { remote, channelId } = pair.alice.channel
    pair.alice.channel = { ...pair.alice.channel, remote: { ...remote, upfrontShutdownScript: wallet(3) } }
    say(pair, 'alice', { type: 'shutdown', channelId, scriptpubkey: wallet(4) })
    expect(codes(pair, 'alice')).toEqual(['shutdown_script_changed'])
    expect(pair.alice.disconnects).toBe(1)
  })

  it('is answered, and no HTLC may follow it', () => {
    const pair = new Pair().open()
    close(pair, 'alice')
    pair.deliver('alice')
    expect(pair.sentTypes('bob')).toContain('shutdown')
    pair.offer('bob', 1_000_000n, 1)
    expect(pair.told('bob', 'offerRefused').map((effect) => effect.refusal.code)).toEqual(['channel_not_usable'])
    say(pair, 'bob', {
      type: 'update_add_htlc',
      channelId: pair.bob.channel.channelId,
      id: 0n,
      amountMsat: 1_000_000n as never,
      paymentHash: '00'.repeat(32) as never,
      cltvExpiry: 300 as never,
      onionRoutingPacket: new Uint8Array(1366),
    })
    expect(codes(pair, 'bob')).toEqual(['add_after_shutdown'])
  })

  it('before channel_ready closes a channel that nobody has used', () => {
    const pair = new Pair({ features: legacy })
    pair.fund()
    close(pair, 'bob')
    pair.settle()
    expect(closings(pair, 'alice')).toHaveLength(1)
  })

  it('to a script that is not allowed is refused to the owner', () => {
    const pair = new Pair().open()
    close(pair, 'alice', { scriptPubKey: hexToBytes('51') })
    expect(pair.told('alice', 'refused').map((effect) => effect.refusal.code)).toEqual(['script_not_allowed'])
    expect(pair.alice.channel.phase.name).toBe('normal')
  })
})

describe.each([
  ['legacy', legacy],
  ['simple', withoutFeatures()],
] as const)('closing together (%s)', (kind, features) => {
  const expectClosed = (pair: Pair): void => {
    for (const name of ['alice', 'bob'] as const) {
      expect(pair.node(name).channel.phase.name).toBe('closing')
      expect(codes(pair, name)).toEqual([])
      expect(closings(pair, name)).toHaveLength(kind === 'legacy' ? 1 : 2)
      for (const tx of closings(pair, name)) {
        checkFundingSpend(pair.node(name).channel, tx)
        expect(tx.outputs).toHaveLength(2)
        expect([...pair.node(name).published.values()].map(txid)).toContain(txid(tx))
      }
    }
    expect(closings(pair, 'alice').map(txid).sort()).toEqual(closings(pair, 'bob').map(txid).sort())
  }

  it.each(['alice', 'bob'] as const)('starts with %s, pays each its balance and ends on the chain', (name) => {
    const pair = new Pair({ features }).open()
    close(pair, name, { feeratePerKw: FeeratePerKw(1_000) })
    pair.settle()
    expectClosed(pair)
    const [tx] = closings(pair, 'alice')
    if (tx === undefined) throw new Error('no closing transaction')
    expect(tx.outputs.map(({ value }) => value).reduce((a, b) => a + b, 0n)).toBeLessThan(1_000_000n)
    pair.mine([tx], 5)
    expect(pair.alice.channel.phase.name).toBe('closing')
    pair.mine()
    expect(pair.alice.channel.phase).toEqual({ name: 'closed', how: 'mutual' })
    expect(pair.told('bob', 'closed')).toEqual([{ to: 'owner', type: 'closed', how: 'mutual' }])
    expect(pair.told('alice', 'closing').every((effect) => effect.how === 'mutual')).toBe(true)
  })

  it('waits for the HTLCs to drain', () => {
    const pair = new Pair({ features }).open()
    pair.offer('alice', 5_000_000n, 1)
    pair.offer('bob', 6_000_000n, 2)
    pair.settle()
    close(pair, 'alice')
    pair.settle()
    expect(closings(pair, 'alice')).toEqual([])
    pair.fulfill('bob', 0n, 1)
    pair.settle()
    pair.fail('alice', 0n)
    pair.settle()
    expectClosed(pair)
  })

  it('no update_fee comes between the removal of the last HTLC and the closing transaction', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    pair.settle()
    close(pair, 'bob')
    pair.settle()
    pair.fail('bob', 0n)
    pair.flush('bob')
    while (pair.deliver('bob'));
    const { feeratePerKw } = pair.alice.channel
    pair.act('alice', { from: 'chain', type: 'feerate', commitmentFeeratePerKw: FeeratePerKw(feeratePerKw * 4) })
    expect(pair.sentTypes('alice')).not.toContain('update_fee')
    pair.settle()
    expect([...codes(pair, 'alice'), ...codes(pair, 'bob')]).toEqual([])
    expect(pair.alice.channel.phase.name).toBe('closing')
  })

  it('goes on where a reorganisation takes the funding out meanwhile', () => {
    const pair = new Pair().open()
    pair.offer('alice', 5_000_000n, 1)
    pair.flush('alice')
    close(pair, 'bob')
    const undone = pair.unmine(pair.blocks.length)
    pair.settle()
    expect([...codes(pair, 'alice'), ...codes(pair, 'bob')]).toEqual([])
    pair.mine(undone, 6)
    pair.fulfill('bob', 0n, 1)
    pair.settle()
    expect(pair.alice.channel.phase.name).toBe('closing')
    expect(closings(pair, 'alice').length).toBeGreaterThan(0)
  })

  it('by both at once', () => {
    const pair = new Pair({ features }).open()
    close(pair, 'alice')
    close(pair, 'bob')
    pair.settle()
    expectClosed(pair)
    expect(pair.sentTypes('alice').filter((type) => type === 'shutdown')).toHaveLength(1)
  })

  it('S40: goes on after a cut at any message, with restarts', () => {
    for (let at = 0; at <= 9; at++) {
      const pair = new Pair({ features }).open()
      pair.offer('alice', 5_000_000n, 1)
      pair.settle()
      close(pair, at % 2 === 0 ? 'alice' : 'bob')
      pair.fulfill('bob', 0n, 1)
      let delivered = 0
      for (let round = 0; round < 100 && delivered < at; round++) {
        for (const name of ['alice', 'bob'] as const) if (delivered < at && pair.deliver(name)) delivered += 1
        pair.flush('alice')
        pair.flush('bob')
      }
      pair.disconnect()
      pair.restart(at % 3 === 0 ? 'alice' : 'bob')
      pair.connect()
      pair.settle()
      for (const name of ['alice', 'bob'] as const) {
        expect(codes(pair, name)).toEqual([])
        expect(pair.node(name).channel.phase.name).toBe('closing')
      }
      const [alice, bob] = [closings(pair, 'alice').map(txid), closings(pair, 'bob').map(txid)]
      expect(alice.some((id) => bob.includes(id))).toBe(true)
      // Cut again, when all is signed: nothing new happens.
      pair.disconnect()
      pair.connect()
      pair.settle()
      expect(codes(pair, 'alice')).toEqual([])
      expect(codes(pair, 'bob')).toEqual([])
    }
  })

  it('can be overtaken by force', () => {
    const pair = new Pair({ features }).open()
    close(pair, 'alice')
    pair.settle()
    pair.act('alice', { from: 'owner', type: 'forceClose', reason: 'it does not confirm' })
    expect([...pair.alice.published.keys()].some((id) => id.endsWith('/commitment'))).toBe(true)
  })

  it('leaves out an output that is dust', () => {
    const pair = new Pair({ features, pushMsat: 200_000n }).open()
    close(pair, 'alice')
    pair.settle()
    // With option_simple_close Bob's dust pays for his own: it is all that it is good for.
    expect(closings(pair, 'alice').map((tx) => tx.outputs.length)).toEqual(kind === 'legacy' ? [1] : [1, 1])
    for (const tx of closings(pair, 'alice')) checkFundingSpend(pair.alice.channel, tx)
    expect(codes(pair, 'bob')).toEqual([])
  })

  it('S69: a message about it that comes too early ends the connection', () => {
    const pair = new Pair({ features }).open()
    const { channelId } = pair.alice.channel
    close(pair, 'alice')
    pair.deliver('alice')
    say(pair, 'bob', { type: 'closing_signed', channelId, feeSatoshis: Sat(500n), signature: new Uint8Array(64) })
    expect(codes(pair, 'bob')).toHaveLength(1)
    expect(pair.bob.channel.phase.name).not.toBe('closed')
  })
})

describe('closing_signed', () => {
  /** Both have said shutdown; Alice has made her first offer. */
  const offered = (change: Partial<ClosingSigned> = {}): { readonly pair: Pair; readonly offer: ClosingSigned } => {
    const pair = new Pair({ features: legacy }).open()
    close(pair, 'bob')
    pair.deliver('bob')
    pair.deliver('alice')
    return { pair, offer: { ...lastOf(pair, 'alice', 'closing_signed'), ...change } }
  }

  it('with a wrong signature ends the connection', () => {
    const { pair, offer } = offered({ signature: new Uint8Array(64).fill(1) })
    say(pair, 'bob', offer)
    expect(codes(pair, 'bob')).toEqual(['closing_signature_invalid'])
    expect(closings(pair, 'bob')).toEqual([])
  })

  it('at a fee that does not relay is met with one that does, within the range of the opener', () => {
    const pair = new Pair({ features: legacy }).open()
    pair.alice.env = { ...pair.alice.env, feerates: { ...pair.alice.env.feerates, minimum: FeeratePerKw(100) } }
    close(pair, 'alice', { feeratePerKw: FeeratePerKw(150) })
    pair.settle()
    const answer = lastOf(pair, 'bob', 'closing_signed')
    expect(answer.feeSatoshis).toBe(closingFee(FeeratePerKw(253), [wallet(1), wallet(2)]))
    expect(closings(pair, 'alice')).toHaveLength(1)
  })

  it('of a range that has nothing in common with ours is warned of', () => {
    const pair = new Pair({ features: legacy }).open()
    pair.alice.env = { ...pair.alice.env, feerates: { ...pair.alice.env.feerates, minimum: FeeratePerKw(100) } }
    close(pair, 'alice', { feeratePerKw: FeeratePerKw(100) })
    pair.settle()
    expect(codes(pair, 'bob')).toEqual(['closing_ranges_apart'])
    expect(closings(pair, 'alice')).toEqual([])
  })

  it('without a range is met half-way, strictly between', () => {
    const pair = new Pair({ features: legacy }).open()
    // Alice knows no ranges: hers is cut off the wire, so is Bob's.
    close(pair, 'alice', { feeratePerKw: FeeratePerKw(1_000) })
    pair.alice.env = { ...pair.alice.env, feerates: { ...pair.alice.env.feerates, close: FeeratePerKw(1_000) } }
    pair.bob.env = {
      ...pair.bob.env,
      feerates: { ...pair.bob.env.feerates, minimum: FeeratePerKw(4_000), close: FeeratePerKw(4_000) },
    }
    const strip = (message: ChannelMessage): ChannelMessage => {
      if (message.type !== 'closing_signed') return message
      const { feeRange: _, ...plain } = message
      return plain
    }
    const fees: bigint[] = []
    for (let round = 0; round < 50; round++) {
      let moved = false
      for (const name of ['alice', 'bob'] as const) {
        if (pair.node(name).outbox.shift() === undefined) continue
        moved = true
        const message = pair.node(name).sent.at(-1 - pair.node(name).outbox.length)
        if (message === undefined) continue
        if (message.type === 'closing_signed') fees.push(message.feeSatoshis)
        say(pair, otherName(name), strip(message))
      }
      if (!moved) break
    }
    expect(codes(pair, 'alice')).toEqual([])
    expect(codes(pair, 'bob')).toEqual([])
    expect(closings(pair, 'alice')).toHaveLength(1)
    expect(closings(pair, 'bob').map(txid)).toEqual(closings(pair, 'alice').map(txid))
    expect(fees.length).toBeGreaterThan(2)
  })
})

describe('closing_complete', () => {
  const offered = (): { readonly pair: Pair; readonly offer: ClosingComplete } => {
    const pair = new Pair().open()
    close(pair, 'alice')
    pair.deliver('alice')
    pair.deliver('bob')
    pair.alice.outbox.length = 0
    return { pair, offer: lastOf(pair, 'alice', 'closing_complete') }
  }
  const wrong = (change: Partial<ClosingComplete>, code: string): void => {
    const { pair, offer } = offered()
    say(pair, 'bob', { ...offer, ...change })
    expect(codes(pair, 'bob')).toEqual([code])
    expect(closings(pair, 'bob')).toEqual([])
  }

  it('S44: is checked by who signs', () => {
    wrong({ feeSatoshis: Sat(700_001n) }, 'closing_fee_too_large')
    wrong({ closeeScriptpubkey: wallet(9) }, 'closing_script_outdated')
    wrong({ closerScriptpubkey: hexToBytes('51') }, 'closing_script_invalid')
    wrong({ closerAndCloseeOutputs: new Uint8Array(64).fill(1) }, 'closing_signature_invalid')
    wrong({ locktime: 5 }, 'closing_signature_invalid')
    const { pair, offer } = offered()
    const { closerAndCloseeOutputs: _, closerOutputOnly: __, ...bare } = offer
    say(pair, 'bob', bare)
    expect(codes(pair, 'bob')).toEqual(['closing_signature_missing'])
  })

  it('of who has more offers both forms; of who has less, only the one with both outputs', () => {
    const pair = new Pair().open()
    close(pair, 'alice')
    pair.settle()
    const alice = lastOf(pair, 'alice', 'closing_complete')
    const bob = lastOf(pair, 'bob', 'closing_complete')
    expect([alice.closerOutputOnly, alice.closeeOutputOnly, alice.closerAndCloseeOutputs].map((s) => s !== undefined)).toEqual([
      true,
      false,
      true,
    ])
    expect([bob.closerOutputOnly, bob.closeeOutputOnly, bob.closerAndCloseeOutputs].map((s) => s !== undefined)).toEqual([
      false,
      false,
      true,
    ])
  })

  it('closing_sig is checked by who asked', () => {
    const { pair } = offered()
    const { channelId, closing } = pair.alice.channel
    const offer = closing?.offer
    if (offer === undefined) throw new Error('no offer')
    const sig: ChannelMessage = {
      type: 'closing_sig',
      channelId,
      closerScriptpubkey: offer.closerScript,
      closeeScriptpubkey: offer.closeeScript,
      feeSatoshis: offer.feeSat,
      locktime: 0,
      closerAndCloseeOutputs: new Uint8Array(64).fill(1),
    }
    const before = pair.alice.channel
    const say1 = (message: ChannelMessage): string | undefined => {
      pair.alice.channel = before
      say(pair, 'alice', message)
      return codes(pair, 'alice').at(-1)
    }
    expect(say1(sig)).toBe('closing_signature_invalid')
    expect(say1({ ...sig, feeSatoshis: Sat(1n) })).toBe('closing_sig_for_other_offer')
    expect(say1({ ...sig, closerOutputOnly: new Uint8Array(64) })).toBe('closing_sig_count')
    expect(say1({ ...sig, closeeOutputOnly: new Uint8Array(64) })).toBe('closing_sig_count')
  })

  it('S41: replaces the one before at a higher fee, but not without end', () => {
    const pair = new Pair().open()
    close(pair, 'alice')
    pair.settle()
    for (let i = 0; i < 20; i++) {
      close(pair, 'alice', { feeratePerKw: FeeratePerKw(1_100 + 100 * i) })
      pair.settle()
    }
    expect(closings(pair, 'bob').length).toBe(MAX_CLOSING_TRANSACTIONS)
    expect(pair.alice.channel.closing?.transactions.length).toBe(MAX_CLOSING_TRANSACTIONS)
    for (const tx of closings(pair, 'bob')) checkFundingSpend(pair.bob.channel, tx)
    expect(codes(pair, 'bob')).toEqual([])
  })

  it('S41: a peer that wants more of them is asked to wait', () => {
    const pair = new Pair().open()
    close(pair, 'alice')
    pair.settle()
    for (let i = 0; i < 15; i++) {
      // alice forgets how many there were
      const { closing } = pair.alice.channel
      if (closing !== undefined)
        pair.alice.channel = { ...pair.alice.channel, closing: { ...closing, transactions: closing.transactions.slice(-1) } }
      close(pair, 'alice', { feeratePerKw: FeeratePerKw(1_100 + 100 * i) })
      pair.settle()
    }
    expect(pair.bob.channel.closing?.transactions.length).toBe(MAX_CLOSING_TRANSACTIONS)
    expect(new Set(codes(pair, 'bob'))).toEqual(new Set(['too_many_closing_transactions']))
  })

  it('published by the peer before its signature has come is agreed on, and the talk goes on', () => {
    const { pair, offer } = offered()
    say(pair, 'bob', offer)
    const [published] = closings(pair, 'bob')
    if (published === undefined) throw new Error('bob signed nothing')
    pair.act('alice', { from: 'chain', type: 'transactionSeen', tx: published })
    expect(closings(pair, 'alice')).toEqual([published])
    expect(pair.alice.channel.phase.name).toBe('closing')
    pair.settle()
    expect(codes(pair, 'alice')).toEqual([])
    // closing_sig came for what was there, and the offer of bob was signed too.
    expect(pair.alice.channel.closing?.offer).toBeUndefined()
    expect(closings(pair, 'alice').length).toBe(2)
    expect(new Set(closings(pair, 'bob').map(txid))).toEqual(new Set(closings(pair, 'alice').map(txid)))
    expect(pair.told('alice', 'closing').length).toBe(2)
  })

  it('pays to another script when the owner asks for one', () => {
    const pair = new Pair().open()
    close(pair, 'alice')
    pair.settle()
    close(pair, 'alice', { scriptPubKey: wallet(8) })
    pair.settle()
    expect(codes(pair, 'bob')).toEqual([])
    const last = closings(pair, 'bob').at(-1)
    expect(last?.outputs.some((output) => Buffer.from(output.scriptPubKey).equals(wallet(8)))).toBe(true)
  })
})
