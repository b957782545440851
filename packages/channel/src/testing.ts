/**
 * Two channels, a wire between them and a small chain: what the tests of this package run on. Everything real but the network.
 * Each step stores its rows and each message goes through the wire's codec, so every test is also one of record.ts and of lnwire.
 */
import { bytesToHex, hexToBytes } from '@leyden/codec'
import {
  BlockHash,
  BlockHeight,
  FeeratePerKw,
  Msat,
  networks,
  outpointKey,
  p2wpkhOf,
  Sat,
  STANDARD_SCRIPT_FLAGS,
  type Tx,
  txid,
  Txid,
  verifyInput,
} from '@leyden/bitcoin'
import { pointFromSecret, sha256 } from '@leyden/crypto'
import {
  ChannelId,
  decodeMessage,
  encodeMessage,
  type Features,
  negotiateFeatures,
  nodeIdFromPoint,
  offeredFeatures,
  PaymentHash,
  ShortChannelId,
} from '@leyden/lnwire'
import type { ChannelEffect } from './effect.ts'
import type { ChannelEnv, ChannelPolicy } from './env.ts'
import type { ChannelInput, ChannelMessage } from './input.ts'
import { watched } from './onchain/resolution.ts'
import { acceptChannel, openChannel } from './open-v1.ts'
import { needsFlush } from './commit.ts'
import { offline } from './next.ts'
import { defaultPolicy } from './policy.ts'
import { channelKind } from './record.ts'
import { step } from './step.ts'
import type { Channel, HtlcOrigin } from './state.ts'
import { localCommitment, remoteCommitment } from './transactions/commitment.ts'
import { createSigner } from './transactions/keys.ts'
import { fundingOutputScript } from './transactions/scripts.ts'
import { signedLocalCommitment } from './transactions/signatures.ts'
import { specOf, type Which } from './transactions/spec.ts'
import { isRefusal, isViolation } from './violations.ts'

export type Name = 'alice' | 'bob'
export const otherName = (name: Name): Name => (name === 'alice' ? 'bob' : 'alice')

export type OwnerEffect = Extract<ChannelEffect, { to: 'owner' }>
export type OwnerEffectOf<T extends OwnerEffect['type']> = Extract<OwnerEffect, { type: T }>

export interface TestNode {
  readonly name: Name
  env: ChannelEnv
  channel: Channel
  /** Told to the owner, all of it, in order. */
  readonly told: OwnerEffect[]
  /** Published, by id: the latest. */
  readonly published: Map<string, Tx>
  /** Sent and not delivered. */
  readonly outbox: Uint8Array[]
  /** What it sent since the start, decoded. */
  readonly sent: ChannelMessage[]
  readonly rows: Map<string, Uint8Array>
  disconnects: number
  /** Bytes written by the last step. */
  written: number
}

export interface PairOptions {
  readonly capacitySat?: bigint
  readonly pushMsat?: bigint
  readonly announce?: boolean
  readonly features?: Features
  readonly policy?: Partial<ChannelPolicy>
  readonly bobPolicy?: Partial<ChannelPolicy>
  readonly feeratePerKw?: number
  /** Commitments are built after each step, not only their contents summed. Costs time. */
  readonly check?: boolean
}

const seedOf = (text: string): Uint8Array => sha256(new TextEncoder().encode(text))

export const withoutFeatures = (...names: readonly (keyof Features['known'])[]): Features => {
  const known = { ...offeredFeatures('init').known }
  for (const name of names) delete known[name]
  return { known }
}

const makeNode = (name: Name, policy: Partial<ChannelPolicy>, feeratePerKw: number): Omit<TestNode, 'channel'> => {
  const nodeSecret = seedOf(`${name} node`)
  const signer = createSigner(seedOf(`${name} channels`), nodeSecret)
  const env: ChannelEnv = {
    network: networks.regtest,
    nodeId: nodeIdFromPoint(pointFromSecret(nodeSecret)),
    height: BlockHeight(100),
    feerates: {
      commitment: FeeratePerKw(feeratePerKw),
      close: FeeratePerKw(1000),
      claim: FeeratePerKw(feeratePerKw),
      minimum: FeeratePerKw(253),
    },
    signer,
    policy: { ...defaultPolicy, ...policy },
  }
  return { name, env, told: [], published: new Map(), outbox: [], sent: [], rows: new Map(), disconnects: 0, written: 0 }
}

const blockHashAt = (height: number, branch: number): BlockHash =>
  BlockHash(bytesToHex(seedOf(`block ${height} of branch ${branch}`)))

/** A preimage and its hash, by number. */
export const preimageOf = (n: number): Uint8Array => seedOf(`preimage ${n}`)
export const hashOf = (n: number): PaymentHash => PaymentHash(bytesToHex(sha256(preimageOf(n))))

export class Pair {
  readonly alice: TestNode
  readonly bob: TestNode
  height = 100
  branch = 0
  readonly blocks: { height: number; hash: BlockHash; transactions: Tx[] }[] = []
  readonly features: Features
  readonly check: boolean
  connected = true

  constructor(options: PairOptions = {}) {
    const feerate = options.feeratePerKw ?? 1000
    const alice = makeNode('alice', options.policy ?? {}, feerate)
    const bob = makeNode('bob', options.bobPolicy ?? options.policy ?? {}, feerate)
    this.check = options.check ?? false
    const offered = options.features ?? offeredFeatures('init')
    const negotiated = negotiateFeatures(offered, offered)
    if ('problem' in negotiated) throw new Error('features')
    this.features = negotiated
    const temporaryChannelId = ChannelId(bytesToHex(seedOf('temporary')))
    const opened = openChannel(
      {
        capacitySat: Sat(options.capacitySat ?? 1_000_000n),
        pushMsat: Msat(options.pushMsat ?? 300_000_000n),
        announce: options.announce ?? false,
        fundingFeeratePerKw: FeeratePerKw(500),
      },
      {
        remoteNodeId: bob.env.nodeId,
        features: negotiated,
        keyIndex: 7,
        temporaryChannelId,
        localAlias: ShortChannelId(111n),
        destinationScript: p2wpkhOf(pointFromSecret(seedOf('alice wallet'))),
      },
      alice.env,
    )
    if (isRefusal(opened)) throw new Error(opened.code)
    this.alice = { ...alice, channel: opened.channel }
    const [open] = opened.effects
    if (open?.type !== 'send' || open.message.type !== 'open_channel') throw new Error('no open_channel')
    this.alice.sent.push(open.message)
    const accepted = acceptChannel(
      open.message,
      {
        remoteNodeId: alice.env.nodeId,
        features: negotiated,
        keyIndex: 9,
        localAlias: ShortChannelId(222n),
        destinationScript: p2wpkhOf(pointFromSecret(seedOf('bob wallet'))),
      },
      bob.env,
    )
    if (isViolation(accepted)) throw new Error(accepted.code)
    this.bob = { ...bob, channel: accepted.channel }
    this.store(this.alice, undefined, this.alice.channel)
    this.store(this.bob, undefined, this.bob.channel)
    this.release(this.bob, accepted.effects)
  }

  node(name: Name): TestNode {
    return name === 'alice' ? this.alice : this.bob
  }

  private store(node: TestNode, before: Channel | undefined, after: Channel): void {
    const writes =
      before !== undefined && before.channelId !== after.channelId
        ? [...channelKind.diff(before, undefined), ...channelKind.diff(undefined, after)]
        : channelKind.diff(before, after)
    node.written = 0
    for (const { suffix, value } of writes) {
      node.written += suffix.length + (value?.length ?? 0)
      if (value === undefined) node.rows.delete(suffix)
      else node.rows.set(suffix, value)
    }
  }

  private release(node: TestNode, effects: readonly ChannelEffect[]): void {
    for (const effect of effects) {
      if (effect.to === 'owner') node.told.push(effect)
      else if (effect.type === 'publish') node.published.set(effect.publication.id, effect.publication.tx)
      else if (effect.type === 'send') {
        node.sent.push(effect.message)
        if (this.connected) node.outbox.push(encodeMessage(effect.message))
      } else if (effect.type === 'disconnect') node.disconnects += 1
    }
  }

  /** One input for one side. */
  act(name: Name, input: ChannelInput): readonly ChannelEffect[] {
    const node = this.node(name)
    const { state, effects } = step(node.channel, input, node.env)
    this.store(node, node.channel, state)
    node.channel = state
    this.release(node, effects)
    checkBalances(state, this.check ? node.env : undefined)
    return effects
  }

  /** Delivers one message that `from` sent. False when there is none. */
  deliver(from: Name): boolean {
    const raw = this.node(from).outbox.shift()
    if (raw === undefined) return false
    const message = decodeMessage(raw)
    if (!('type' in message) || message.type === 'unknown') throw new Error('not a message')
    this.act(otherName(from), { from: 'peer', type: 'message', message: message as ChannelMessage })
    return true
  }

  flush(name: Name): boolean {
    if (!needsFlush(this.node(name).channel)) return false
    this.act(name, { from: 'owner', type: 'flush' })
    return true
  }

  /** Delivers and signs until nothing moves. */
  settle(): void {
    for (let i = 0; ; i++) {
      if (i > 10_000) throw new Error('the two never come to rest')
      const moved = [this.deliver('alice'), this.deliver('bob'), this.flush('alice'), this.flush('bob')]
      if (!moved.includes(true)) return
    }
  }

  /** The wallet's funding transaction: one input that nobody checks, the funding output at index 1. */
  fundingTx(): Tx {
    const needed = this.alice.told.find((effect) => effect.type === 'fundingNeeded')
    if (needed === undefined) throw new Error('no funding is needed')
    return {
      version: 2,
      inputs: [
        {
          outpoint: { txid: Txid('11'.repeat(32)), vout: 0 },
          scriptSig: new Uint8Array(0),
          sequence: 0xffff_fffd,
          witness: [Uint8Array.of(1)],
        },
      ],
      outputs: [
        { value: Sat(5_000n), scriptPubKey: p2wpkhOf(pointFromSecret(seedOf('change'))) },
        { value: needed.amountSat, scriptPubKey: needed.scriptPubKey },
      ],
      lockTime: 0,
    }
  }

  /** Up to where both wait for depth. */
  fund(): Tx {
    this.deliver('bob')
    const tx = this.fundingTx()
    this.act('alice', { from: 'owner', type: 'funded', tx, outputIndex: 1 })
    this.settle()
    return tx
  }

  /** A block with these transactions, for both. */
  mine(transactions: readonly Tx[] = [], blocks = 1): void {
    for (let i = 0; i < blocks; i++) {
      this.height += 1
      const hash = blockHashAt(this.height, this.branch)
      const block = { height: this.height, hash, transactions: i === 0 ? [...transactions] : [] }
      this.blocks.push(block)
      for (const name of ['alice', 'bob'] as const) this.connectBlock(name, block)
    }
  }

  connectBlock(name: Name, block: { height: number; hash: BlockHash; transactions: readonly Tx[] }): void {
    const node = this.node(name)
    const height = BlockHeight(block.height)
    node.env = { ...node.env, height }
    const known = new Set(watched(node.channel).map(outpointKey))
    const fundingTxid = node.channel.active[0]?.funding.outpoint.txid
    const transactions = block.transactions
      .map((tx, txIndex) => ({ tx, txIndex: txIndex + 1 }))
      .filter(({ tx }) => txid(tx) === fundingTxid || tx.inputs.some((input) => known.has(outpointKey(input.outpoint))))
    this.act(name, { from: 'chain', type: 'blockConnected', height, hash: block.hash, transactions, past: [] })
  }

  /** Takes blocks away; the next ones are of another branch. */
  unmine(blocks = 1): Tx[] {
    const gone: Tx[] = []
    for (let i = 0; i < blocks; i++) {
      const block = this.blocks.pop()
      if (block === undefined) throw new Error('no block to take away')
      gone.push(...block.transactions)
      for (const name of ['alice', 'bob'] as const)
        this.act(name, { from: 'chain', type: 'blockDisconnected', height: BlockHeight(block.height), hash: block.hash })
      this.height -= 1
    }
    this.branch += 1
    return gone
  }

  /** Another pair in exactly this state, which goes its own way. */
  copy(): Pair {
    const twin = (node: TestNode): TestNode => ({
      ...node,
      told: [...node.told],
      published: new Map(node.published),
      outbox: [...node.outbox],
      sent: [...node.sent],
      rows: new Map(node.rows),
    })
    const copied = Object.create(Pair.prototype) as Pair
    return Object.assign(copied, this, { alice: twin(this.alice), bob: twin(this.bob), blocks: [...this.blocks] })
  }

  /** Both in normal operation. */
  open(): this {
    const tx = this.fund()
    this.mine([tx], this.alice.env.policy.minimumDepthBlocks)
    this.settle()
    return this
  }

  disconnect(): void {
    this.connected = false
    for (const name of ['alice', 'bob'] as const) {
      this.node(name).outbox.length = 0
      this.act(name, { from: 'peer', type: 'disconnected' })
    }
  }

  connect(): void {
    this.connected = true
    for (const name of ['alice', 'bob'] as const)
      this.act(name, { from: 'peer', type: 'connected', remoteFeatures: this.features })
  }

  /** The process is gone and comes back: what is in the rows is all that there is. */
  restart(name: Name): void {
    const node = this.node(name)
    const stored = channelKind.load(node.channel.channelId, sortedRows(node))
    node.channel = stored
  }

  offer(from: Name, amountMsat: bigint, n: number, cltvExpiry = this.height + 200): readonly ChannelEffect[] {
    const origin: HtlcOrigin = { kind: 'payment', paymentId: `${n}`, attempt: 0 }
    return this.act(from, {
      from: 'owner',
      type: 'offerHtlc',
      amountMsat: Msat(amountMsat),
      paymentHash: hashOf(n),
      cltvExpiry: BlockHeight(cltvExpiry),
      onion: new Uint8Array(1366).fill(n & 0xff),
      origin,
    })
  }

  fulfill(by: Name, htlcId: bigint, n: number): readonly ChannelEffect[] {
    return this.act(by, { from: 'owner', type: 'fulfillHtlc', htlcId, preimage: preimageOf(n) })
  }

  fail(by: Name, htlcId: bigint): readonly ChannelEffect[] {
    return this.act(by, { from: 'owner', type: 'failHtlc', htlcId, reason: hexToBytes('f0f1') })
  }

  told<T extends OwnerEffect['type']>(name: Name, type: T): readonly OwnerEffectOf<T>[] {
    return this.node(name).told.filter((effect): effect is OwnerEffectOf<T> => effect.type === type)
  }

  sentTypes(name: Name): readonly string[] {
    return this.node(name).sent.map((message) => message.type)
  }

  balances(name: Name): { readonly local: bigint; readonly remote: bigint } {
    const active = this.node(name).channel.active[0]
    if (active === undefined) throw new Error('no funding')
    return { local: active.localMsat, remote: active.remoteMsat }
  }
}

export const sortedRows = (node: TestNode): readonly (readonly [string, Uint8Array])[] =>
  [...node.rows].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))

/** The channel as a restart would find it, with HTLCs in the order in which rows come. */
export const asStored = (channel: Channel): Channel => {
  const gone = offline(channel)
  const name = (htlc: Channel['htlcs'][number]): string => `${htlc.offeredBy}/${htlc.id.toString().padStart(20, '0')}`
  return { ...gone, htlcs: [...gone.htlcs].sort((a, b) => (name(a) < name(b) ? -1 : 1)) }
}

/** Invariant 1 at every commitment of both sides that this side knows. Throws where it does not hold. */
export const checkBalances = (channel: Channel, env?: ChannelEnv): void => {
  for (const active of channel.active) {
    const capacityMsat = active.funding.capacitySat * 1000n
    const which: Which[] = channel.remotePoint === undefined ? ['local'] : ['local', 'remote', 'remoteSigned']
    for (const each of which) {
      const spec = specOf(channel, active, each)
      const inHtlcs = spec.htlcs.reduce((sum, htlc) => sum + htlc.amountMsat, 0n)
      if (spec.toLocalMsat < 0n || spec.toRemoteMsat < 0n) throw new Error(`negative balance in ${each}`)
      if (spec.toLocalMsat + spec.toRemoteMsat + inHtlcs !== capacityMsat)
        throw new Error(`${each}: ${spec.toLocalMsat} + ${spec.toRemoteMsat} + ${inHtlcs} is not ${capacityMsat}`)
      const built = env === undefined ? undefined : buildOf(channel, each, env)
      if (built === undefined) continue
      const outputs = built.tx.outputs.reduce((sum, output) => sum + output.value, 0n)
      if (outputs + built.feeSat !== active.funding.capacitySat) throw new Error(`${each}: outputs and fee are not the capacity`)
    }
  }
}

/** A commitment as this side builds it; undefined where the remote's point is not known. */
export const buildOf = (channel: Channel, which: Which, env: ChannelEnv) => {
  const [active] = channel.active
  if (active === undefined) return undefined
  if (which === 'local' || which === 'localNext') return localCommitment(channel, active, which, env.signer)
  const point =
    which === 'remote' || (which === 'remoteSigned' && channel.awaitingRevocation === undefined)
      ? channel.remotePoint
      : channel.remoteNextPoint
  return point === undefined ? undefined : remoteCommitment(channel, active, which, point)
}

/** Both hold the same commitments, and each one's own is signed so that the chain takes it. Throws where it is not so. */
export const checkAgreement = (pair: Pair): void => {
  for (const name of ['alice', 'bob'] as const) {
    const node = pair.node(name)
    const peer = pair.node(otherName(name))
    const own = buildOf(node.channel, 'local', node.env)
    const theirs = buildOf(peer.channel, 'remote', peer.env)
    if (own === undefined || theirs === undefined || txid(own.tx) !== txid(theirs.tx))
      throw new Error(`the two do not agree on ${name}'s commitment`)
    const [active] = node.channel.active
    const tx = active === undefined ? undefined : signedLocalCommitment(node.channel, active, own, node.env.signer)
    if (tx === undefined) throw new Error(`${name} has no signed commitment`)
    checkFundingSpend(node.channel, tx)
  }
}

/** The interpreter takes a spend of the funding output. */
export const checkFundingSpend = (channel: Channel, tx: Tx): void => {
  const [active] = channel.active
  const tx0 = channel.capacitySat
  if (active === undefined) throw new Error('no funding')
  const error = verifyInput({
    tx,
    inputIndex: 0,
    prevouts: [{ value: tx0, scriptPubKey: fundingScriptOf(channel) }],
    flags: STANDARD_SCRIPT_FLAGS,
  })
  if (error !== undefined) throw new Error(`script: ${error}`)
}

const fundingScriptOf = (channel: Channel): Uint8Array =>
  fundingOutputScript(channel.local.fundingPubkey, channel.remote.fundingPubkey)
