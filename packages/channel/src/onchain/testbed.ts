/**
 * For tests of this folder only, not part of the door: two channels that mirror each other, and a chain that takes a transaction only
 * when the script interpreter, the lock times and the amounts allow it.
 * A publication that the chain would refuse, other than for being a double spend, throws: the machine must never make one.
 */
import { bytesToHex } from '@leyden/codec'
import { ecdsaSign, pointFromSecret, sha256 } from '@leyden/crypto'
import {
  BlockHash,
  BlockHeight,
  FeeratePerKw,
  isFinalTx,
  Msat,
  networks,
  outpointKey,
  p2pkhOf,
  p2wpkh,
  p2wpkhOf,
  Sat,
  sequenceLocks,
  sequenceLocksMet,
  SIGHASH,
  sighashV0,
  STANDARD_SCRIPT_FLAGS,
  txid,
  Txid,
  txWeight,
  verifyTx,
  type Outpoint,
  type Tx,
  type TxOutput,
} from '@leyden/bitcoin'
import { channelIdFromOutpoint, nodeIdFromPoint, PaymentHash, ShortChannelId } from '@leyden/lnwire'
import type { ChannelEffect, Publication } from '../effect.ts'
import type { ChannelEnv, Signer } from '../env.ts'
import { defaultPolicy } from '../policy.ts'
import type { Active, Channel, CommitmentFormat, Htlc, Party, PastHtlc, Stage } from '../state.ts'
import {
  buildCommitment,
  localCommitment,
  pastRemoteTerms,
  remoteCommitment,
  type BuiltCommitment,
} from '../transactions/commitment.ts'
import { holderHtlcSighash, htlcTransaction, htlcWitness, otherHtlcSighash, withWitness } from '../transactions/htlc-tx.ts'
import { createSigner } from '../transactions/keys.ts'
import { fundingOutputScript, fundingWitness } from '../transactions/scripts.ts'
import { EMPTY_REVOCATIONS, insertSecret, type RevocationStore } from '../transactions/shachain.ts'
import { commitmentSighash, signRemoteCommitment } from '../transactions/signatures.ts'
import type { SpecHtlc } from '../transactions/spec.ts'
import { isViolation } from '../violations.ts'
import { signAnchorSpend, type WalletPublication } from './anchor-spend.ts'
import {
  forceClose,
  onchainBlock,
  onchainDisconnect,
  onchainPreimage,
  onchainSeen,
  watched,
  type OnchainNext,
} from './resolution.ts'

export const START_HEIGHT = 1_000
const CAPACITY = Sat(1_000_000n)
const KEY_INDEX = 4
export const ALICE_NUMBER = 5
export const BOB_NUMBER = 7
/** Any: the lock times of commitments are of 1987. */
const BLOCK_TIME = 1_700_000_000
const WALLET_SECRET = new Uint8Array(32).fill(0x77)
const WALLET_SCRIPT = p2wpkhOf(pointFromSecret(WALLET_SECRET))
const WALLET_COIN = Sat(1_000_000n)

export type Name = 'alice' | 'bob'

/** An HTLC of the scene. Irrevocable unless a stage is given. `preimage` is a byte that is repeated 32 times. */
export interface SceneHtlc {
  readonly from: Name
  readonly id: bigint
  readonly sat: number
  readonly expiry: number
  readonly preimage: number
  readonly stage?: Stage
  readonly inBobFrom?: number
}

export interface Scene {
  readonly format: CommitmentFormat
  readonly htlcs?: readonly SceneHtlc[]
  /** Settled balances, HTLCs that are pending still with who offered them. */
  readonly aliceSat?: bigint
  readonly feeratePerKw?: number
}

export interface Peer {
  readonly name: Name
  readonly signer: Signer
  channel: Channel
  claimFeerate: number
  minimumFeerate: number
  past: readonly PastHtlc[]
  readonly owner: (ChannelEffect & { to: 'owner' })[]
  /** The latest of each id. Cleared at each block: what is not published again is given up. */
  readonly publications: Map<string, Publication>
}

interface Coin {
  readonly output: TxOutput
  readonly height: number
}

export interface World {
  height: number
  readonly alice: Peer
  readonly bob: Peer
  readonly funding: Outpoint
  readonly coins: Map<string, Coin>
  readonly blocks: {
    readonly height: number
    readonly hash: BlockHash
    readonly txs: readonly Tx[]
    readonly undo: Map<string, Coin | undefined>
  }[]
  /** Every transaction ever mined here. */
  readonly mined: Tx[]
  forks: number
  mints: number
}

export const preimageOf = (byte: number): Uint8Array => new Uint8Array(32).fill(byte)
const hashOf = (byte: number) => PaymentHash(bytesToHex(sha256(preimageOf(byte))))
export const destinationOf = (name: Name): Uint8Array => p2wpkh(new Uint8Array(20).fill(name === 'alice' ? 0xaa : 0xbb))

const partyOf = (signer: Signer, toSelfDelayBlocks: number): Party => ({
  ...signer.basepoints(KEY_INDEX),
  dustLimitSat: Sat(354n),
  maxHtlcValueInFlightMsat: Msat(1_000_000_000n),
  maxAcceptedHtlcs: 30,
  htlcMinimumMsat: Msat(1n),
  reserveSat: Sat(10_000n),
  toSelfDelayBlocks,
})

const htlcFor = (name: Name, htlc: SceneHtlc): Htlc => {
  const offeredBy = htlc.from === name ? 'local' : 'remote'
  return {
    offeredBy,
    id: htlc.id,
    amountMsat: Msat(BigInt(htlc.sat) * 1000n),
    paymentHash: hashOf(htlc.preimage),
    cltvExpiry: BlockHeight(htlc.expiry),
    onion: new Uint8Array(0),
    stage: htlc.stage ?? 4,
    inRemoteFrom: htlc.inBobFrom ?? 6,
    ...(offeredBy === 'local' ? { origin: { kind: 'payment', paymentId: `p${htlc.id}`, attempt: 0 } } : {}),
    ...(offeredBy === 'remote' ? { told: true } : {}),
  }
}

const revokedUpTo = (signer: Signer, count: number): RevocationStore => {
  let store = EMPTY_REVOCATIONS
  for (let n = 0; n < count; n++) {
    const next = insertSecret(store, n, signer.releaseSecret(KEY_INDEX, n))
    if (isViolation(next)) throw new Error(next.code)
    store = next
  }
  return store
}

/** Alice opened; her latest commitment has number 5, Bob's 7 (and 8 is signed when an HTLC of hers has stage 1). */
export const makeWorld = (scene: Scene): World => {
  const signers = {
    alice: createSigner(new Uint8Array(32).fill(1), new Uint8Array(32).fill(11)),
    bob: createSigner(new Uint8Array(32).fill(2), new Uint8Array(32).fill(22)),
  }
  const parties = { alice: partyOf(signers.alice, 10), bob: partyOf(signers.bob, 12) }
  const funding: Outpoint = { txid: Txid('fd'.repeat(32)), vout: 0 }
  const htlcs = scene.htlcs ?? []
  const aliceMsat = (scene.aliceSat ?? 600_000n) * 1000n
  const isPending = htlcs.some(({ stage }) => stage === 1)
  const nodeIds = {
    alice: nodeIdFromPoint(signers.alice.basepoints(0).fundingPubkey),
    bob: nodeIdFromPoint(signers.bob.basepoints(0).fundingPubkey),
  }
  const unsigned = (name: Name): Channel => {
    const theirs = name === 'alice' ? 'bob' : 'alice'
    const numbers = name === 'alice' ? [ALICE_NUMBER, BOB_NUMBER] : [BOB_NUMBER + (isPending ? 1 : 0), ALICE_NUMBER]
    const remotePoint = (n: number) => signers[theirs].perCommitmentPoint(KEY_INDEX, n)
    const channelId = channelIdFromOutpoint(funding.txid, funding.vout)
    return {
      channelId,
      temporaryChannelId: channelId,
      remoteNodeId: nodeIds[theirs],
      localNodeId: nodeIds[name],
      role: name === 'alice' ? 'opener' : 'accepter',
      type: { format: scene.format, scidAlias: false, zeroConf: false },
      announce: false,
      keyIndex: KEY_INDEX,
      simpleClose: true,
      anySegwit: true,
      openedAtHeight: BlockHeight(START_HEIGHT - 100),
      phase: { name: 'normal' },
      local: parties[name],
      remote: parties[theirs],
      capacitySat: CAPACITY,
      pushMsat: Msat(0n),
      minimumDepthBlocks: 3,
      active: [
        {
          funding: {
            outpoint: funding,
            capacitySat: CAPACITY,
            confirmed: { height: BlockHeight(900), txIndex: 1, blockHash: BlockHash('90'.repeat(32)), coinbase: false },
          },
          localMsat: Msat(name === 'alice' ? aliceMsat : CAPACITY * 1000n - aliceMsat),
          remoteMsat: Msat(name === 'bob' ? aliceMsat : CAPACITY * 1000n - aliceMsat),
          remoteHtlcSignatures: [],
        },
      ],
      feeratePerKw: FeeratePerKw(scene.feeratePerKw ?? 500),
      feeUpdates: [],
      htlcs: htlcs.map((htlc) => htlcFor(name, htlc)),
      nextLocalHtlcId: 100n,
      nextRemoteHtlcId: 100n,
      localCommitmentNumber: numbers[0]!,
      remoteCommitmentNumber: numbers[1]!,
      remotePoint: remotePoint(numbers[1]!),
      remoteNextPoint: remotePoint(numbers[1]! + 1),
      ...(isPending && name === 'alice' ? { awaitingRevocation: { afterLocalNumber: ALICE_NUMBER } } : {}),
      revocations: revokedUpTo(signers[theirs], numbers[1]!),
      localAlias: ShortChannelId(1n),
      destinationScript: destinationOf(name),
      height: BlockHeight(START_HEIGHT),
      link: 'online',
    }
  }
  const drafts = { alice: unsigned('alice'), bob: unsigned('bob') }
  const signed = (name: Name): Channel => {
    const theirs = name === 'alice' ? 'bob' : 'alice'
    const view = drafts[theirs]
    const which = name === 'bob' && isPending ? 'remoteSigned' : 'remote'
    const point = which === 'remoteSigned' ? view.remoteNextPoint! : view.remotePoint!
    const built = remoteCommitment(view, view.active[0]!, which, point)
    const { signature, htlcSignatures } = signRemoteCommitment(view, built, signers[theirs])
    const active: Active = { ...drafts[name].active[0]!, remoteSignature: signature, remoteHtlcSignatures: htlcSignatures }
    return { ...drafts[name], active: [active] }
  }
  const peer = (name: Name): Peer => ({
    name,
    signer: signers[name],
    channel: signed(name),
    claimFeerate: 1_000,
    minimumFeerate: 253,
    past: [],
    owner: [],
    publications: new Map(),
  })
  const fundingOutput = {
    value: CAPACITY,
    scriptPubKey: fundingOutputScript(parties.alice.fundingPubkey, parties.bob.fundingPubkey),
  }
  return {
    height: START_HEIGHT,
    alice: peer('alice'),
    bob: peer('bob'),
    funding,
    coins: new Map([[outpointKey(funding), { output: fundingOutput, height: START_HEIGHT - 50 }]]),
    blocks: [],
    mined: [],
    forks: 0,
    mints: 0,
  }
}

export const envOf = (world: World, peer: Peer): ChannelEnv => ({
  network: networks.regtest,
  nodeId: peer.channel.localNodeId,
  height: BlockHeight(world.height),
  feerates: {
    commitment: FeeratePerKw(500),
    close: FeeratePerKw(500),
    claim: FeeratePerKw(peer.claimFeerate),
    minimum: FeeratePerKw(peer.minimumFeerate),
  },
  signer: peer.signer,
  policy: defaultPolicy,
})

/** Takes what a step gave: the channel, what the owner hears, what is to be published. Returns the effects. */
export const take = (peer: Peer, next: OnchainNext): readonly ChannelEffect[] => {
  peer.channel = next.channel
  for (const effect of next.effects) {
    if (effect.to === 'owner') peer.owner.push(effect)
    if (effect.type === 'publish') peer.publications.set(effect.publication.id, effect.publication)
  }
  return next.effects
}

export const close = (world: World, name: Name): readonly ChannelEffect[] =>
  take(world[name], forceClose(world[name].channel, envOf(world, world[name])))

export const reveal = (world: World, name: Name, htlcId: bigint, preimage: number): readonly ChannelEffect[] =>
  take(world[name], onchainPreimage(world[name].channel, { htlcId, preimage: preimageOf(preimage) }, envOf(world, world[name])))

export const see = (world: World, name: Name, tx: Tx): readonly ChannelEffect[] =>
  take(world[name], onchainSeen(world[name].channel, tx, envOf(world, world[name])))

/** A confirmed coin of a wallet. */
const mint = (world: World): { outpoint: Outpoint; output: TxOutput } => {
  const outpoint = { txid: Txid((++world.mints).toString(16).padStart(64, 'c')), vout: 0 }
  const output = { value: WALLET_COIN, scriptPubKey: WALLET_SCRIPT }
  world.coins.set(outpointKey(outpoint), { output, height: START_HEIGHT - 50 })
  return { outpoint, output }
}

/** As the wallet completes a publication: adds a coin and change, signs its own input, has the channel sign the channel's. */
const complete = (world: World, peer: Peer, publication: WalletPublication): Tx[] => {
  const coin = mint(world)
  const { tx, kind, feeratePerKw, budgetSat } = publication
  const anchor =
    kind === 'anchor'
      ? { outpoint: { txid: txid(tx), vout: publication.anchorIndex }, output: tx.outputs[publication.anchorIndex]! }
      : undefined
  const spent =
    anchor?.output ??
    world.coins.get(outpointKey(tx.inputs[0]!.outpoint))?.output ??
    world.coins.get(outpointKey(coin.outpoint))!.output
  const walletInput = { outpoint: coin.outpoint, scriptSig: new Uint8Array(0), sequence: 0xffff_fffd, witness: [] }
  const base: Tx =
    anchor === undefined ? tx : { version: 2, inputs: [{ ...walletInput, outpoint: anchor.outpoint }], outputs: [], lockTime: 0 }
  const prevouts = [spent, coin.output]
  const paysIn = spent.value + coin.output.value - base.outputs.reduce((sum, { value }) => sum + value, 0n)
  const build = (feeSat: bigint): Tx => ({
    ...base,
    inputs: [base.inputs[0]!, walletInput],
    outputs: [...base.outputs, { value: Sat(paysIn - feeSat), scriptPubKey: WALLET_SCRIPT }],
  })
  const sign = (unsigned: Tx): Tx => {
    const hash = sighashV0(unsigned, 1, p2pkhOf(pointFromSecret(WALLET_SECRET)), coin.output.value, SIGHASH.all)
    const der = signatureOf(ecdsaSign(hash, WALLET_SECRET))
    const mine = withWitness(unsigned, 1, [der, pointFromSecret(WALLET_SECRET)])
    return withWitness(mine, 0, signAnchorSpend(publication, mine, 0, prevouts, peer.signer))
  }
  const packageWeight = txWeight(sign(build(0n))) + (anchor === undefined ? 0 : txWeight(tx))
  const paidByParent = publication.kind === 'anchor' ? publication.parentFeeSat : 0n
  const wanted = (BigInt(feeratePerKw) * BigInt(packageWeight)) / 1000n - paidByParent
  const completed = sign(build(wanted > budgetSat ? budgetSat : wanted))
  return anchor === undefined ? [completed] : [tx, completed]
}

const signatureOf = (compact: Uint8Array): Uint8Array =>
  fundingWitness({ pubkey: Uint8Array.of(0), signature: compact }, { pubkey: Uint8Array.of(1), signature: compact })[1]!

/** What the publications of a peer come to on the wire. */
export const transactionsOf = (world: World, peer: Peer): Tx[] =>
  [...peer.publications.values()].flatMap((publication) =>
    publication.kind === 'whole' ? [publication.tx] : complete(world, peer, publication),
  )

/** Whether the next block can have it; throws when it is invalid for any other reason than inputs that are not there. */
const isAcceptable = (coins: ReadonlyMap<string, Coin>, tx: Tx, height: number): boolean => {
  const spent = tx.inputs.map(({ outpoint }) => coins.get(outpointKey(outpoint)))
  const found = spent.filter((coin) => coin !== undefined)
  if (found.length !== tx.inputs.length) return false
  const prevouts = found.map(({ output }) => output)
  const error = verifyTx(tx, prevouts, STANDARD_SCRIPT_FLAGS)
  if (error !== undefined) throw new Error(`invalid input ${error.inputIndex} of ${txid(tx)}: ${error.error}`)
  if (!isFinalTx(tx, height, BLOCK_TIME)) throw new Error(`${txid(tx)} is not final in block ${height}`)
  const locks = sequenceLocks(
    tx,
    found.map((coin) => coin.height),
    () => 0,
  )
  if (!sequenceLocksMet(locks, height, 0)) throw new Error(`${txid(tx)} has a relative lock in block ${height}`)
  const paid = (outputs: readonly TxOutput[]) => outputs.reduce((sum, { value }) => sum + value, 0n)
  if (paid(tx.outputs) > paid(prevouts)) throw new Error(`${txid(tx)} makes money`)
  return true
}

/** Connects a block with the transactions that fit, and gives each peer those that concern it. */
export const mine = (world: World, txs: readonly Tx[] = [], only?: Name): void => {
  world.height += 1
  const { height } = world
  const undo = new Map<string, Coin | undefined>()
  const included: Tx[] = []
  for (const tx of txs) {
    if (!isAcceptable(world.coins, tx, height)) continue
    for (const { outpoint } of tx.inputs) {
      const key = outpointKey(outpoint)
      if (!undo.has(key)) undo.set(key, world.coins.get(key))
      world.coins.delete(key)
    }
    for (const [vout, output] of tx.outputs.entries()) {
      const key = outpointKey({ txid: txid(tx), vout })
      if (!undo.has(key)) undo.set(key, undefined)
      world.coins.set(key, { output, height })
    }
    included.push(tx)
  }
  world.mined.push(...included)
  const hash = BlockHash((world.forks * 1_000_000 + height).toString(16).padStart(64, '0'))
  world.blocks.push({ height, hash, txs: included, undo })
  for (const peer of [world.alice, world.bob]) {
    if (only !== undefined && peer.name !== only) continue
    const keys = new Set(watched(peer.channel).map(outpointKey))
    const transactions: { tx: Tx; txIndex: number }[] = []
    for (const [txIndex, tx] of included.entries()) {
      if (!tx.inputs.some(({ outpoint }) => keys.has(outpointKey(outpoint)))) continue
      transactions.push({ tx, txIndex })
      for (const vout of tx.outputs.keys()) keys.add(outpointKey({ txid: txid(tx), vout }))
    }
    peer.publications.clear()
    const spendsFunding = transactions.some(({ tx }) =>
      tx.inputs.some(({ outpoint }) => outpointKey(outpoint) === outpointKey(world.funding)),
    )
    const block = { from: 'chain', type: 'blockConnected', height: BlockHeight(height), hash, transactions } as const
    take(peer, onchainBlock(peer.channel, { ...block, ...(spendsFunding ? { past: peer.past } : {}) }, envOf(world, peer)))
  }
}

/** Disconnects the last block. Its transactions are not offered again by the chain itself. */
export const unmine = (world: World, count = 1): void => {
  for (let i = 0; i < count; i++) {
    const block = world.blocks.pop()
    if (block === undefined) throw new Error('no block')
    for (const [key, coin] of block.undo) {
      if (coin === undefined) world.coins.delete(key)
      else world.coins.set(key, coin)
    }
    world.height -= 1
    for (const peer of [world.alice, world.bob]) {
      peer.publications.clear()
      const input = { from: 'chain', type: 'blockDisconnected', height: BlockHeight(block.height), hash: block.hash } as const
      take(peer, onchainDisconnect(peer.channel, input, envOf(world, peer)))
    }
  }
  world.forks += 1
}

/** Blocks with all that both publish, until `done` or, by default, both are closed. */
export const run = (
  world: World,
  done = (): boolean => isClosed(world.alice) && isClosed(world.bob),
  names: readonly Name[] = ['alice', 'bob'],
): void => {
  for (let i = 0; i < 400; i++) {
    if (done()) return
    mine(
      world,
      names.flatMap((name) => transactionsOf(world, world[name])),
    )
  }
  throw new Error('still not done after 400 blocks')
}

export const mineUntil = (world: World, height: number, txs: () => readonly Tx[] = () => []): void => {
  while (world.height < height) mine(world, txs())
}

export const isClosed = (peer: Peer): boolean => peer.channel.phase.name === 'closed'

/** What a peer has got out of it on the chain. */
export const balanceOf = (world: World, name: Name): bigint => {
  const script = bytesToHex(destinationOf(name))
  let sum = 0n
  for (const { output } of world.coins.values()) if (bytesToHex(output.scriptPubKey) === script) sum += output.value
  return sum
}

/** What the owner heard of HTLCs that it offered: `fulfilled 3`, `failed 4 onchain`. */
export const outcomes = (peer: Peer): string[] =>
  peer.owner
    .flatMap((effect) =>
      effect.type === 'htlcFulfilled'
        ? [`fulfilled ${effect.htlcId}`]
        : effect.type === 'htlcFailed'
          ? [`failed ${effect.htlcId} ${effect.failure.kind}`]
          : [],
    )
    .sort()

/** A commitment with the signatures of both. */
export const fullySigned = (world: World, built: BuiltCommitment): Tx => {
  const hash = commitmentSighash(built)
  const half = ({ signer }: Peer) => ({
    pubkey: signer.basepoints(KEY_INDEX).fundingPubkey,
    signature: signer.sign(KEY_INDEX, { key: 'funding' }, hash),
  })
  return withWitness(built.tx, 0, fundingWitness(half(world.alice), half(world.bob)))
}

/** Bob's commitment as Alice can build it: 'remote' or 'remoteSigned'. */
export const bobCommitment = (world: World, which: 'remote' | 'remoteSigned'): BuiltCommitment => {
  const { channel } = world.alice
  return remoteCommitment(
    channel,
    channel.active[0]!,
    which,
    which === 'remote' ? channel.remotePoint! : channel.remoteNextPoint!,
  )
}

export const aliceCommitment = (world: World): BuiltCommitment =>
  localCommitment(world.alice.channel, world.alice.channel.active[0]!, 'local', world.alice.signer)

/** A commitment of Bob's past: what he had and which HTLCs were in it. */
export const bobPastCommitment = (
  world: World,
  number: number,
  { bobSat, htlcs = [] }: { bobSat: bigint; htlcs?: readonly SceneHtlc[] },
): BuiltCommitment => {
  const { channel } = world.alice
  const specHtlcs = htlcs.map((htlc): SpecHtlc => {
    const { id, amountMsat, paymentHash, cltvExpiry } = htlcFor('bob', htlc)
    return { direction: htlc.from === 'bob' ? 'offered' : 'received', id, amountMsat, paymentHash, cltvExpiry }
  })
  const inHtlcs = specHtlcs.reduce((sum, { amountMsat }) => sum + amountMsat, 0n)
  const spec = {
    toLocalMsat: bobSat * 1000n,
    toRemoteMsat: CAPACITY * 1000n - bobSat * 1000n - inHtlcs,
    feeratePerKw: channel.feeratePerKw,
    htlcs: specHtlcs,
  }
  const point = world.bob.signer.perCommitmentPoint(KEY_INDEX, number)
  return buildCommitment(pastRemoteTerms(channel, channel.active[0]!, { number, spec, point }))
}

/** Rows of the past for HTLCs that were in Bob's commitments `first` to `last`. */
export const pastRows = (htlcs: readonly SceneHtlc[], first: number, last: number): PastHtlc[] =>
  htlcs.map((htlc) => {
    const { offeredBy, id, amountMsat, paymentHash, cltvExpiry } = htlcFor('alice', htlc)
    return { offeredBy, id, amountMsat, paymentHash, cltvExpiry, first, last }
  })

/** Bob's HTLC transaction for an output of a commitment of his, signed by both; under anchors without anything to pay its fee. */
export const bobHtlcTransaction = (world: World, built: BuiltCommitment, id: bigint, preimage?: number): Tx => {
  const htlc = built.htlcs.find((each) => each.htlc.id === id)
  if (htlc === undefined) throw new Error(`no output for HTLC ${id}`)
  const { perCommitmentPoint } = built.terms.keys
  const tx = htlcTransaction(built, htlc)
  const use = { key: 'htlc', perCommitmentPoint } as const
  const signatures = {
    other: world.alice.signer.sign(KEY_INDEX, use, otherHtlcSighash(built, htlc, tx)),
    holder: world.bob.signer.sign(KEY_INDEX, use, holderHtlcSighash(htlc, tx)),
  }
  return withWitness(
    tx,
    0,
    htlcWitness(built.terms.format, htlc, signatures, preimage === undefined ? undefined : preimageOf(preimage)),
  )
}

/** Several HTLC transactions of Bob joined in one, as anchors allow: input and output of each stay a pair. */
export const bobJoinedHtlcTransactions = (
  world: World,
  built: BuiltCommitment,
  claims: readonly (readonly [id: bigint, preimage?: number])[],
): Tx => {
  const { perCommitmentPoint } = built.terms.keys
  const parts = claims.map(([id, preimage]) => {
    const htlc = built.htlcs.find((each) => each.htlc.id === id)!
    return { htlc, tx: htlcTransaction(built, htlc), preimage: preimage === undefined ? undefined : preimageOf(preimage) }
  })
  const joined: Tx = {
    version: 2,
    lockTime: Math.max(...parts.map(({ tx }) => tx.lockTime)),
    inputs: parts.map(({ tx }) => tx.inputs[0]!),
    outputs: parts.map(({ tx }) => tx.outputs[0]!),
  }
  return parts.reduce((tx, { htlc, tx: alone, preimage }, i) => {
    const use = { key: 'htlc', perCommitmentPoint } as const
    const signatures = {
      other: world.alice.signer.sign(KEY_INDEX, use, otherHtlcSighash(built, htlc, alone)),
      holder: world.bob.signer.sign(KEY_INDEX, use, holderHtlcSighash(htlc, joined, i)),
    }
    return withWitness(tx, i, htlcWitness('anchors', htlc, signatures, preimage))
  }, joined)
}

/** The mined transaction that spent an output. */
export const spenderOf = (world: World, outpoint: Outpoint): Tx | undefined =>
  world.mined.find((tx) => tx.inputs.some((input) => outpointKey(input.outpoint) === outpointKey(outpoint)))
