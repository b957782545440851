/**
 * The node's own rules, over simulated disks and lines and a chain that the test makes: what becomes of a broadcast is the test's to say.
 * What a whole network does is in test/sim.
 */
import { chainHash, FeeratePerKw, Msat } from '@leyden/bitcoin'
import { encodeAddress, outpointKey, Sat, type Tx, Txid, txid } from '@leyden/bitcoin'
import { bytesToHex } from '@leyden/codec'
import type { BroadcastResult } from '@leyden/link'
import { ChannelId, encodeChannelType, nodeIdFromPoint, type OpenChannel } from '@leyden/lnwire'
import { decodeInvoice, isInvoiceProblem } from '@leyden/payment'
import { createWalletKeys } from '@leyden/wallet'
import { describe, expect, it } from 'vitest'
import type { Node } from './node.ts'
import { ELSEWHERE, makeWorld, named, network, open, pointOf, SECOND, seedOf, walletOf } from './testing.ts'

const address = encodeAddress(ELSEWHERE, network) as string

const openMessage = (n: number): OpenChannel & { readonly type: 'open_channel' } => ({
  type: 'open_channel',
  chainHash: chainHash(network),
  temporaryChannelId: ChannelId(bytesToHex(named(`temporary ${n}`))),
  fundingSatoshis: Sat(500_000n),
  pushMsat: Msat(0n),
  dustLimitSatoshis: Sat(354n),
  maxHtlcValueInFlightMsat: Msat(500_000_000n),
  channelReserveSatoshis: Sat(5_000n),
  htlcMinimumMsat: Msat(1n),
  feeratePerKw: FeeratePerKw(500),
  toSelfDelay: 144,
  maxAcceptedHtlcs: 30,
  fundingPubkey: pointOf(`funding ${n}`),
  revocationBasepoint: pointOf(`revocation ${n}`),
  paymentBasepoint: pointOf(`payment ${n}`),
  delayedPaymentBasepoint: pointOf(`delayed ${n}`),
  htlcBasepoint: pointOf(`htlc ${n}`),
  firstPerCommitmentPoint: pointOf(`first ${n}`),
  channelFlags: 0,
  channelType: encodeChannelType({ commitment: 'anchors', scidAlias: false, zeroconf: false }),
})

describe('a broadcast', () => {
  it('S20: that is not taken, for whatever reason, is made again with every block', async () => {
    const { chain, mine, node, wait } = makeWorld()
    const alice = await node('alice', [1_000_000n, 500_000n])
    const bob = await node('bob')
    await wait(alice.connect(bob.nodeId, 'bob:1'))
    const { channelId } = await wait(alice.open(bob.nodeId, open(400_000n)))
    await mine(3)
    const commitment = alice.channels().get(channelId)!
    expect(commitment.phase.name).toBe('normal')
    const answers: readonly (BroadcastResult | Error)[] = [
      new Error('socket hang up'),
      { ok: false, reason: 'an error that nobody has heard of', permanent: false },
      { ok: false, reason: 'txn-mempool-conflict', permanent: true },
      { ok: false, reason: 'away', permanent: false },
    ]
    chain.answer = () => answers[0] as Error
    const sent = await wait(walletOf(alice).send({ address, amountSat: 50_000 }, undefined))
    await wait(alice.close(channelId, { force: true }))
    const funding = outpointKey(commitment.active[0]!.funding.outpoint)
    const closes = (tx: Tx): boolean => tx.inputs.some(({ outpoint }) => outpointKey(outpoint) === funding)
    for (const answer of answers) {
      chain.answer = () => answer
      chain.broadcasts.length = 0
      await mine()
      const asked = chain.broadcasts.filter(({ by }) => by === 'alice')
      expect(asked.filter(({ ids }) => ids.includes(Txid(sent.txid))).length).toBe(1)
      expect(asked.filter(({ transactions }) => transactions.some(closes)).length).toBe(1)
    }
    // bob has published his own commitment: of the two only one can be mined
    chain.answer = (by) => (by === 'alice' ? { ok: true } : { ok: false, reason: 'away', permanent: false })
    await mine(2)
    expect((await walletOf(alice).transaction(sent.txid)).status).toBe('confirmed')
    expect(alice.channels().get(channelId)?.onchain?.spend?.kind).toBe('local')
  })
})

describe('the wallet of a node', () => {
  it('S46: keeps a reserve for every channel with anchors', async () => {
    const { mine, node, wait } = makeWorld()
    const alice = await node('alice', [1_000_000n])
    const bob = await node('bob')
    await wait(alice.connect(bob.nodeId, 'bob:1'))
    expect([alice.keepSat(), bob.keepSat()]).toEqual([0n, 0n])
    for (const channels of [1n, 2n]) {
      await wait(alice.open(bob.nodeId, open(200_000n)))
      await mine(3)
      // whoever opened it: both may have to pay for the commitment
      expect([alice.keepSat(), bob.keepSat()]).toEqual([channels * 10_000n, channels * 10_000n])
    }
    const { confirmedSat, spendableSat } = (await walletOf(alice).balance()).onchain
    expect(spendableSat).toBe(confirmedSat - 20_000)
    const send = (amountSat: number) =>
      wait(walletOf(alice).send({ address, amountSat, feeratePerVbyte: 1 }, undefined)).then(
        () => 'sent',
        (error: unknown) => (error as Error).message,
      )
    expect(await send(spendableSat)).toContain('needed for the fees of open channels')
    expect(await send(spendableSat - 1_000)).toBe('sent')
  })

  it.each([
    ['two sends', ['send', 'send']],
    ['two openings', ['open', 'open']],
    ['an opening and a send', ['open', 'send']],
  ] as const)('B12: %s at once never spend a coin twice', async (_, what) => {
    const { chain, mine, node, wait } = makeWorld()
    const alice = await node('alice', [1_000_000n])
    const bob = await node('bob')
    await wait(alice.connect(bob.nodeId, 'bob:1'))
    const wallet = walletOf(alice)
    const results = await wait(
      Promise.allSettled(
        what.map((one): Promise<unknown> =>
          one === 'open' ? alice.open(bob.nodeId, open(600_000n)) : wallet.send({ address, amountSat: 600_000 }, undefined),
        ),
      ),
    )
    expect(results.filter(({ status }) => status === 'fulfilled').length).toBe(1)
    await mine()
    const spent = new Map<string, Txid>()
    for (const { transactions } of chain.broadcasts)
      for (const tx of transactions)
        for (const { outpoint } of tx.inputs) {
          const key = outpointKey(outpoint)
          expect(spent.get(key) ?? txid(tx)).toBe(txid(tx))
          spent.set(key, txid(tx))
        }
  })

  it('B12: payments at once never send more than the channel has', async () => {
    const { mine, node, wait, sim } = makeWorld()
    const alice = await node('alice', [1_000_000n])
    const bob = await node('bob')
    await wait(alice.connect(bob.nodeId, 'bob:1'))
    const { channelId } = await wait(alice.open(bob.nodeId, open(200_000n)))
    await mine(3)
    const made = await Promise.all(
      [1, 2, 3].map(async () => {
        const record = await wait(
          bob.payments.invoice({ amountMsat: Msat(80_000_000n), description: 'three', expirySeconds: 3600 }),
        )
        const invoice = 'text' in record ? decodeInvoice(record.text) : undefined
        if (invoice === undefined || isInvoiceProblem(invoice)) throw new Error('no invoice')
        return invoice
      }),
    )
    await wait(Promise.all(made.map((invoice) => alice.payments.pay(invoice, { maxFeeMsat: Msat(0n) }))))
    await sim.run({ forMs: 5 * SECOND })
    const ends = (await wait(alice.payments.payments({ limit: 9 })))?.data.map(({ status }) => status) ?? []
    expect(ends.toSorted()).toEqual(['failed', 'succeeded', 'succeeded'])
    expect(alice.channels().get(channelId)?.htlcs).toEqual([])
  })
})

describe('a channel whose funding is spent twice', () => {
  const lose = async () => {
    const world = makeWorld()
    const { chain, mine, node, wait } = world
    const alice = await node('alice', [1_000_000n, 300_000n])
    const bob = await node('bob')
    await wait(alice.connect(bob.nodeId, 'bob:1'))
    chain.answer = () => ({ ok: false, reason: 'mempool full', permanent: false })
    const opened = await wait(alice.open(bob.nodeId, open(400_000n)))
    const [input] = opened.fundingTx!.inputs
    const rival: Tx = { ...opened.fundingTx!, inputs: [input!], outputs: [{ value: Sat(1_000n), scriptPubKey: ELSEWHERE }] }
    const wallet = walletOf(alice)
    return { ...world, alice, bob, wallet, opened, rival, mine, wait }
  }

  it('shows what has happened, cannot be closed, and ends when it is final, its coins free and nothing broadcast for it', async () => {
    const { alice, bob, chain, faults, lines, mine, opened, rival, sim, wait, wallet } = await lose()
    const { channelId } = opened
    expect((await wallet.balance()).channels.localMsat).toBe(400_000_000)
    await mine(1, [rival])
    const height = alice.chain.height()
    const fundingConflict = { txid: txid(rival), height, finalAtHeight: height + 5 }
    expect(await wallet.channel(channelId)).toMatchObject({ state: 'opening', fundingConflict, canSendMsat: 0 })
    expect(lines.filter((line) => line.includes('spent twice') && line.includes(txid(rival)))).toHaveLength(1)
    const { channels, onchain } = await wallet.balance()
    expect([channels.localMsat, onchain.unconfirmedSat, onchain.confirmedSat]).toEqual([0, 0, 300_000])
    for (const force of [true, false]) {
      const refused = await wait(wallet.closeChannel(channelId, { force })).catch((error: unknown) => error as Error)
      expect(refused).toMatchObject({ code: 'conflict', message: expect.stringContaining(`finalAtHeight ${height + 5}`) })
    }
    await mine(4)
    expect((await wallet.channel(channelId)).state).toBe('opening')
    chain.broadcasts.length = 0
    await mine(2)
    await sim.run({ forMs: SECOND })
    expect(await wallet.channel(channelId)).toMatchObject({
      state: 'closed',
      closeKind: 'fundingLost',
      detail: 'closed: fundingLost',
    })
    expect(bob.channels().get(channelId)?.phase).toEqual({ name: 'closed', how: 'abandoned' })
    expect(chain.broadcasts).toEqual([])
    const funding = opened.active[0]!.funding.outpoint.txid
    const { data } = await wallet.transactions({ limit: 50 })
    expect(data.find((one) => one.txid === funding)).toMatchObject({ status: 'replaced', replacedBy: txid(rival) })
    expect(faults).toEqual([])
  })
})

describe('a channel whose funding does not confirm', () => {
  it.each([0n, 50_000_000n])(
    'is not forgotten when it is closed by force, unless nothing of it is ours: %s msat pushed',
    async (pushMsat) => {
      const { chain, mine, node, wait } = makeWorld()
      const alice = await node('alice', [1_000_000n])
      const bob = await node('bob')
      await wait(alice.connect(bob.nodeId, 'bob:1'))
      chain.keep = false
      const { channelId } = await wait(alice.open(bob.nodeId, open(400_000n, pushMsat)))
      const stateOf = async (of: Node): Promise<string> => (await walletOf(of).channel(channelId)).detail
      await mine(3)
      await wait(walletOf(bob).closeChannel(channelId, { force: true }))
      await mine()
      expect([await stateOf(alice), await stateOf(bob)]).toEqual(['closing', pushMsat === 0n ? 'closed: abandoned' : 'closing'])
      expect((await walletOf(alice).balance()).closingSat).toBe(400_000 - Number(pushMsat) / 1000)
      // It may still come: then a commitment follows it.
      chain.keep = true
      await mine(3)
      expect(alice.channels().get(channelId)?.onchain?.spend?.kind).toMatch(/local|remote/)
    },
  )
})

describe('a channel that a peer opens with what it spends otherwise', () => {
  it('ends at the accepter who has seen the funding in the mempool, though something was pushed to it', async () => {
    const { chain, mine, node, wait } = makeWorld()
    const alice = await node('alice', [1_000_000n])
    const bob = await node('bob')
    await wait(alice.connect(bob.nodeId, 'bob:1'))
    chain.keep = false
    const { channelId, fundingTx } = await wait(alice.open(bob.nodeId, open(400_000n, 50_000_000n)))
    await wait(chain.see(fundingTx!))
    await wait(alice.stop())
    const rival: Tx = { ...fundingTx!, outputs: [{ value: Sat(1_000n), scriptPubKey: ELSEWHERE }] }
    await mine(1, [rival])
    expect(bob.channels().get(channelId)).toMatchObject({
      phase: { name: 'awaitingReady' },
      fundingConflict: { txid: txid(rival) },
    })
    await mine(5)
    expect(bob.channels().get(channelId)?.phase).toEqual({ name: 'closed', how: 'fundingLost' })
  })
})

describe('a payment of a stranger', () => {
  it('that the ledger finds no inputs for counts no more, until it takes it again', async () => {
    const { chain, mine, node, wait } = makeWorld()
    const alice = await node('alice')
    await mine()
    const wallet = walletOf(alice)
    const payment = chain.pay('alice', [70_000n])
    await wait(chain.see(payment))
    const unconfirmed = async (): Promise<number> => (await wallet.balance()).onchain.unconfirmedSat
    const status = async (): Promise<string> => (await wallet.transaction(txid(payment))).status
    // Refused for another reason: it may still come.
    chain.answer = () => ({ ok: false, reason: 'min relay fee not met', permanent: false })
    await mine()
    expect([await unconfirmed(), await status()]).toEqual([70_000, 'pending'])
    chain.answer = () => ({ ok: false, reason: 'bad-txns-inputs-missingorspent', permanent: false })
    await mine()
    expect([await unconfirmed(), await status()]).toEqual([0, 'replaced'])
    chain.answer = () => ({ ok: true })
    chain.keep = false
    await mine()
    expect([await unconfirmed(), await status()]).toEqual([70_000, 'pending'])
    chain.keep = true
    await mine(2)
    expect([await unconfirmed(), await status()]).toEqual([0, 'confirmed'])
  })
})

describe('strangers', () => {
  it('S53: one has four unfunded channels with us at the most', async () => {
    const { faults, node, sim, stranger, wait } = makeWorld()
    const alice = await node('alice')
    const mallory = stranger('mallory')
    await wait(mallory.peers.connect(alice.nodeId, 'alice:1'))
    for (let n = 0; n < 6; n++) mallory.peers.send(alice.nodeId, openMessage(n))
    await sim.run({ forMs: 2 * SECOND })
    const types = mallory.heard.map(({ type }) => type)
    expect(types.filter((type) => type === 'accept_channel').length).toBe(4)
    expect(types.filter((type) => type === 'error').length).toBe(2)
    expect([alice.channels().size, faults]).toEqual([4, []])
  })

  it('S54: openings and connections are taken in their order, however they race', async () => {
    for (let seed = 1; seed <= 5; seed++) {
      const { faults, lines, node, sim, stranger, wait } = makeWorld(seed)
      const alice = await node('alice')
      const mallory = stranger('mallory')
      const id = nodeIdFromPoint(pointOf('mallory'))
      for (let n = 0; n < 4; n++) {
        mallory.heard.length = 0
        await wait(mallory.peers.connect(alice.nodeId, 'alice:1'))
        for (const one of [2 * n, 2 * n + 1]) mallory.peers.send(alice.nodeId, openMessage(one))
        // The line breaks before, while, or after the disk has what was asked for on it.
        await sim.run({ forMs: seed * n * 7 })
        mallory.peers.disconnect(alice.nodeId)
      }
      await wait(mallory.peers.connect(alice.nodeId, 'alice:1'))
      mallory.heard.length = 0
      mallory.peers.send(alice.nodeId, openMessage(100))
      await sim.run({ forMs: 5 * SECOND })
      // Of the earlier connections nothing is left, and the last one has an answer to its own question only.
      const answers = mallory.heard.filter(({ type }) => type === 'accept_channel' || type === 'error')
      expect(answers).toMatchObject([{ type: 'accept_channel', temporaryChannelId: openMessage(100).temporaryChannelId }])
      const live = [...alice.channels().values()].filter(({ phase }) => phase.name !== 'closed')
      expect(live.map(({ temporaryChannelId }) => temporaryChannelId)).toEqual([openMessage(100).temporaryChannelId])
      expect(alice.peers.info(id)?.nodeId).toBe(id)
      expect([faults, lines.filter((line) => line.includes('could not be taken'))]).toEqual([[], []])
    }
  })

  it('S70: words of a peer are logged in printable characters, on one line, and not without end', async () => {
    const { lines, node, sim, stranger, wait } = makeWorld()
    const alice = await node('alice')
    const mallory = stranger('mallory')
    await wait(mallory.peers.connect(alice.nodeId, 'alice:1'))
    const words = 'level=error\n\u001b[31m paid \u202e\u2028 '.repeat(1000)
    for (const type of ['warning', 'error'] as const)
      mallory.peers.send(alice.nodeId, {
        type,
        channelId: ChannelId('00'.repeat(32)),
        data: new TextEncoder().encode(words),
      })
    await sim.run({ forMs: SECOND })
    const told = lines.filter((line) => line.includes('level=error'))
    expect(told.length).toBe(2)
    for (const line of told) {
      expect(line).toMatch(/^[ -~]*$/)
      expect(line).not.toMatch(/\\[nu]/)
      expect(line.length).toBeLessThan(1000)
    }
  })

  it('S70: cannot fill the log', async () => {
    const { lines, node, sim, stranger, wait } = makeWorld()
    const alice = await node('alice')
    const mallory = stranger('mallory')
    await wait(mallory.peers.connect(alice.nodeId, 'alice:1'))
    const flood = async (): Promise<number> => {
      lines.length = 0
      const data = new TextEncoder().encode('noise')
      for (let i = 0; i < 1000; i++)
        mallory.peers.send(alice.nodeId, { type: 'warning', channelId: ChannelId('00'.repeat(32)), data })
      await sim.run({ forMs: 5 * SECOND })
      expect(alice.peers.list().length).toBe(1)
      return lines.filter((line) => line.includes('noise')).length
    }
    expect(await flood()).toBeLessThanOrEqual(120)
    await sim.run({ forMs: 60 * SECOND })
    expect(await flood()).toBeGreaterThan(100)
    expect(lines.filter((line) => line.includes('left out')).length).toBe(1)
  })
})

describe('an invoice', () => {
  it('expires by itself, also one that a restart finds', async () => {
    const { node, sim, wait } = makeWorld()
    const bob = await node('bob')
    for (const expirySeconds of [5, 30, 3600]) await wait(bob.payments.invoice({ description: '', expirySeconds }))
    await sim.run({ forMs: 10 * SECOND })
    const states = async (one: Node): Promise<string[]> =>
      ((await one.payments.invoices({ limit: 9 }))?.data ?? []).map(({ invoice }) => invoice.status).toSorted()
    expect(await states(bob)).toEqual(['expired', 'open', 'open'])
    const again = await node('bob')
    expect(await states(again)).toEqual(['expired', 'open', 'open'])
    await sim.run({ forMs: 30 * SECOND })
    expect(await states(again)).toEqual(['expired', 'expired', 'open'])
  })
})

describe('the log', () => {
  it('S70: has no seed, no key, no payment secret and no preimage, at any level', async () => {
    const { lines, mine, node, sim, wait } = makeWorld()
    const alice = await node('alice', [1_000_000n])
    const bob = await node('bob')
    await wait(alice.connect(bob.nodeId, 'bob:1'))
    const { channelId } = await wait(alice.open(bob.nodeId, open(400_000n, 100_000_000n)))
    await mine(3)
    const record = await wait(bob.payments.invoice({ amountMsat: Msat(5_000_000n), description: 'secrets', expirySeconds: 3600 }))
    const invoice = 'text' in record ? decodeInvoice(record.text) : undefined
    if (invoice === undefined || isInvoiceProblem(invoice)) throw new Error('no invoice')
    await wait(alice.payments.pay(invoice, { maxFeeMsat: Msat(0n) }))
    await sim.run({ forMs: 2 * SECOND })
    await wait(alice.close(channelId, { force: true }))
    await mine(3)
    const preimage = (await wait(alice.payments.payment(invoice.paymentHash)))?.preimage
    expect(preimage).toMatch(/^[0-9a-f]{64}$/)
    const secrets = [
      preimage as string,
      bytesToHex(invoice.paymentSecret),
      ...['alice', 'bob'].flatMap((name) => {
        const keys = createWalletKeys(seedOf(name), network)
        return [seedOf(name).subarray(0, 32), keys.nodeSecret, keys.channelSeed].map(bytesToHex)
      }),
    ]
    expect(lines.length).toBeGreaterThan(10)
    for (const secret of secrets) expect(lines.filter((line) => line.includes(secret.slice(0, 16)))).toEqual([])
  })
})
