/**
 * What must hold at every moment of every run (the invariants of the design), seen from outside of the nodes: on what they hold in
 * memory, on what is on their disks, and on each message at the moment at which it leaves.
 */
import { type Channel, channelKind, createSigner, specOf, type Which } from '@leyden/channel'
import { type Tx, txid } from '@leyden/bitcoin'
import { bytesToHex, equalBytes, unpackRecord } from '@leyden/codec'
import { sha256 } from '@leyden/crypto'
import { invoiceKind, type Node, paymentKind } from '@leyden/lightning-service'
import type { ChannelId, Message } from '@leyden/lnwire'
import type { Forward } from '@leyden/payment'
import { decodeKey, type Disk, keyRange, type Kind } from '@leyden/runtime'
import { hexToBytes } from '@leyden/codec'
import { createWalletKeys } from '@leyden/wallet'
import { type Name, NAMES, network, seedOf, type World } from './world.ts'

const ALL = Number.MAX_SAFE_INTEGER

const rowsOnDisk = (world: World, name: Name, kind: string, id: string): (readonly [string, Uint8Array])[] =>
  world.sim
    .disk(name)
    .page(keyRange(kind, id), ALL)
    .map(([rowKey, value]) => [String(decodeKey(rowKey)[2]), value] as const)

/** A channel as a restart would find it. */
export const channelOnDisk = (world: World, name: Name, id: string): Channel | undefined => {
  const rows = rowsOnDisk(world, name, channelKind.name, id)
  return rows.length === 0 ? undefined : channelKind.load(id, rows)
}

const recordOnDisk = (world: World, name: Name, kind: string, id: string): unknown => {
  const row = rowsOnDisk(world, name, kind, id)[0]
  return row === undefined ? undefined : (unpackRecord(row[1]) as { state: unknown }).state
}

const signers = new Map<Name, ReturnType<typeof createSigner>>()
const signerOf = (name: Name): ReturnType<typeof createSigner> => {
  let signer = signers.get(name)
  if (signer === undefined) {
    const keys = createWalletKeys(seedOf(name), network)
    signers.set(name, (signer = createSigner(keys.channelSeed, keys.nodeSecret)))
  }
  return signer
}

/** Invariant 2 (and 4, for failures): what a message implies is on the disk when it leaves. */
const checkMessage = (world: World, name: Name, message: Message): void => {
  if (!('channelId' in message) && message.type !== 'funding_created') return
  const id = message.type === 'funding_created' ? undefined : (message as { channelId: ChannelId }).channelId
  const fail = (why: string): void => world.fail(`${name} sends ${message.type} (${id}) ${why}`)
  const channel = id === undefined ? undefined : channelOnDisk(world, name, id)
  const htlc = (offeredBy: 'local' | 'remote', htlcId: bigint) =>
    channel?.htlcs.find((one) => one.offeredBy === offeredBy && one.id === htlcId)
  switch (message.type) {
    case 'funding_signed':
      if (channel?.active[0]?.remoteSignature === undefined) fail('before their signature is stored')
      return
    case 'channel_ready':
    case 'channel_reestablish':
      if (channel === undefined) fail('for a channel that is not stored')
      return
    case 'update_add_htlc':
      if (htlc('local', message.id) === undefined) fail(`of HTLC ${message.id} that is not stored`)
      return
    case 'update_fulfill_htlc': {
      const removal = htlc('remote', message.id)?.removal
      if (removal?.kind !== 'fulfilled' || bytesToHex(removal.preimage) !== message.paymentPreimage)
        fail(`of HTLC ${message.id} whose preimage is not stored`)
      return
    }
    case 'update_fail_htlc':
    case 'update_fail_malformed_htlc':
      if (htlc('remote', message.id)?.removal === undefined) fail(`of HTLC ${message.id} whose failure is not stored`)
      return checkFailure(world, name, message.channelId, message.id, fail)
    case 'commitment_signed':
      if (channel?.awaitingRevocation === undefined) fail('before it is stored that a revocation is due')
      return
    case 'revoke_and_ack': {
      if (channel === undefined) return fail('for a channel that is not stored')
      const signer = signerOf(name)
      const newest = channel.localCommitmentNumber
      const revoked = newest - 1
      if (revoked < 0 || !equalBytes(message.perCommitmentSecret, signer.releaseSecret(channel.keyIndex, revoked)))
        fail(`with a secret that does not belong to commitment ${revoked}, the one before the stored one`)
      if (!equalBytes(message.nextPerCommitmentPoint, signer.perCommitmentPoint(channel.keyIndex, newest + 1)))
        fail(`with a point that does not belong to commitment ${newest + 1}`)
      return
    }
    case 'shutdown':
      if (channel?.closing?.sent !== true) fail('before it is stored')
      return
    case 'closing_signed':
    case 'closing_complete':
    case 'closing_sig':
      if (channel === undefined || (channel.phase.name !== 'shuttingDown' && channel.phase.name !== 'closing'))
        fail(`in phase ${channel?.phase.name}`)
      return
    default:
  }
}

/** Invariant 4: an incoming HTLC is failed only when its outgoing twin is irrevocably gone and no preimage is known. */
const checkFailure = (world: World, name: Name, channelId: ChannelId, htlcId: bigint, fail: (why: string) => void): void => {
  const forward = recordOnDisk(world, name, 'forward', `${channelId}/${htlcId}`) as Forward | undefined
  if (forward === undefined) return
  if (forward.preimage !== undefined) fail(`of HTLC ${htlcId} whose preimage is known`)
  const outgoing = channelOnDisk(world, name, forward.outgoing.channelId)
  const twin = outgoing?.htlcs.find(
    ({ origin }) => origin?.kind === 'relay' && origin.channelId === channelId && origin.htlcId === htlcId,
  )
  if (twin === undefined || twin.told === true || outgoing?.phase.name === 'closed') return
  fail(`of HTLC ${htlcId} while ${twin.id} of ${forward.outgoing.channelId} is still there`)
}

/** States are never changed in place: what has been checked once need not be checked again. */
const checked = new WeakSet<object>()
const isNew = (state: object): boolean => {
  if (checked.has(state)) return false
  checked.add(state)
  return true
}

/** Rows of ended records as they were when they were checked, by their ids, and the disk's batches until then. By disk and kind. */
const checkedRows = new WeakMap<Disk, Map<string, { batches: number; readonly rows: Map<string, Uint8Array> }>>()

/** Records that have changed since the last look: live ones in memory, ended ones on the disk. */
const changedSince = function* <T extends object>(
  world: World,
  name: Name,
  kind: Kind<T>,
  live: ReadonlyMap<string, T>,
): Generator<readonly [string, T]> {
  for (const [id, state] of live) if (isNew(state)) yield [id, state]
  const disk = world.sim.disk(name)
  let known = checkedRows.get(disk)
  if (known === undefined) checkedRows.set(disk, (known = new Map()))
  let last = known.get(kind.name)
  if (last === undefined) known.set(kind.name, (last = { batches: -1, rows: new Map() }))
  if (last.batches === disk.batches) return
  last.batches = disk.batches
  for (const [rowKey, value] of disk.page(keyRange('resting', kind.name), ALL)) {
    const id = String(decodeKey(rowKey)[2])
    const before = last.rows.get(id)
    if (before !== undefined && equalBytes(before, value)) continue
    if (live.has(id)) {
      last.batches = -1 // its end is on the disk, and nobody has been told yet: the next look sees it
      continue
    }
    last.rows.set(id, value)
    yield [id, kind.load(id, [['', value]])]
  }
}

const agreed = new WeakMap<Channel, Channel>()

/** What has been seen to end must stay as it ended. */
interface Memory {
  readonly ended: Map<string, string>
  readonly told: Set<string>
  /** Forwards that were fulfilled; their records go when the HTLCs are gone. */
  readonly earned: Map<string, { readonly name: Name; readonly forward: Forward }>
}
const memories = new WeakMap<World, Memory>()
const memoryOf = (world: World): Memory => {
  let memory = memories.get(world)
  if (memory === undefined) memories.set(world, (memory = { ended: new Map(), told: new Set(), earned: new Map() }))
  return memory
}

/** Puts the checks into a node that has just started. */
export const observe = (world: World, name: Name, node: Node): void => {
  const { peers } = node
  const send = peers.send.bind(peers)
  peers.send = (to, message, session) => {
    if (peers.info(to) !== undefined) checkMessage(world, name, message)
    const peer = NAMES.find((one) => world.idOf(one) === to) ?? to
    const { channelId: id, id: htlcId } = message as { channelId?: string; id?: bigint }
    if (id !== undefined) world.say(`${name} > ${peer} ${id.slice(0, 8)} ${message.type} ${htlcId ?? ''}`)
    send(to, message, session)
  }
}

const WHICH: readonly Which[] = ['local', 'remote', 'remoteSigned']

/** Invariant 1, on one side. */
const checkBalances = (world: World, name: Name, channel: Channel): void => {
  for (const active of channel.active)
    for (const which of WHICH) {
      const spec = specOf(channel, active, which)
      const htlcs = spec.htlcs.reduce((sum, { amountMsat }) => sum + amountMsat, 0n)
      const all = spec.toLocalMsat + spec.toRemoteMsat + htlcs
      if (all !== channel.capacitySat * 1000n || spec.toLocalMsat < 0n || spec.toRemoteMsat < 0n)
        world.fail(
          `${name} ${channel.channelId} ${which}: ${spec.toLocalMsat} + ${spec.toRemoteMsat} + ${htlcs} of ${channel.capacitySat} sat`,
        )
    }
}

const describe = (channel: Channel, which: Which, mirrored: boolean): string => {
  const spec = specOf(channel, channel.active[0]!, which)
  const [ours, theirs] = mirrored ? [spec.toRemoteMsat, spec.toLocalMsat] : [spec.toLocalMsat, spec.toRemoteMsat]
  const htlcs = spec.htlcs
    .map(({ direction, id, amountMsat, paymentHash }) => `${direction} ${id} ${amountMsat} ${paymentHash.slice(0, 8)}`)
    .toSorted()
  return `${ours} ${theirs} ${spec.feeratePerKw} ${htlcs.join(', ')}`
}

const isInUse = ({ phase }: Channel): boolean => phase.name === 'normal' || phase.name === 'shuttingDown'

/** Invariant 1, on both sides: each commitment of one is what the other signed. `holder` holds it. */
const checkAgreement = (world: World, name: Name, holder: Channel, signer: Channel): void => {
  if (!isInUse(holder) || !isInUse(signer) || agreed.get(holder) === signer) return
  agreed.set(holder, signer)
  const ahead = holder.localCommitmentNumber - signer.remoteCommitmentNumber
  if (ahead !== 0 && !(ahead === 1 && signer.awaitingRevocation !== undefined))
    return world.fail(
      `${name} ${holder.channelId} is at commitment ${holder.localCommitmentNumber}, the peer takes it to be at ${signer.remoteCommitmentNumber}`,
    )
  const held = describe(holder, 'local', false)
  const signed = describe(signer, ahead === 0 ? 'remote' : 'remoteSigned', false)
  if (held !== signed)
    world.fail(`${name} ${holder.channelId} #${holder.localCommitmentNumber} holds ${held}, the peer signed ${signed}`)
}

/** The forwards of a node that were fulfilled. */
export const earnings = (world: World, name: Name): { readonly name: Name; readonly forward: Forward }[] =>
  [...memoryOf(world).earned.values()].filter((one) => one.name === name)

/** Says once what has ended. */
const tell = (world: World, text: string, endedAtMs: number | undefined): void => {
  const { told } = memoryOf(world)
  const id = `${text} ${endedAtMs}`
  if (told.has(id)) return
  told.add(id)
  world.say(text)
}

/** Invariants 3 and 5 on records. */
const checkEnds = (world: World, name: Name, node: Node): void => {
  const { ended } = memoryOf(world)
  const once = (what: string, end: string): void => {
    if (name === world.stale) return
    const before = ended.get(what)
    if (before !== undefined && before !== end) world.fail(`${what} ended in ${before}, and now in ${end}`)
    ended.set(what, end)
  }
  for (const [hash, payment] of changedSince(world, name, paymentKind, node.payments.livePayments())) {
    const what = `${name} payment ${hash}`
    const end = `${payment.status} ${payment.preimage ?? ''}`
    if (payment.status !== 'inFlight')
      tell(
        world,
        `${what.slice(0, 22)} ${payment.status} ${payment.failure ?? ''} ${payment.attempts.map(({ failure }) => failure?.code ?? '').join(' ')}`,
        payment.endedAtMs,
      )
    if (payment.status === 'succeeded') {
      once(what, end)
      if (payment.preimage === undefined || bytesToHex(sha256(hexToBytes(payment.preimage))) !== hash)
        world.fail(`${what} has no preimage`)
      if ((payment.feeMsat ?? 0n) > payment.maxFeeMsat)
        world.fail(`${what} paid ${payment.feeMsat} of at most ${payment.maxFeeMsat}`)
    } else if (ended.get(what) !== undefined && name !== world.stale)
      world.fail(`${what} had ended in ${ended.get(what)}, and now is ${end}`)
    const alive = payment.attempts.filter(({ status }) => status === 'inFlight').length
    if (alive > 1) world.fail(`${what} has ${alive} attempts in flight`)
  }
  for (const [hash, invoice] of changedSince(world, name, invoiceKind, node.payments.liveInvoices())) {
    if (invoice.status === 'open' || invoice.status === 'accepted') continue
    once(`${name} invoice ${hash}`, `${invoice.status} ${invoice.receivedMsat ?? ''}`)
  }
  for (const [id, forward] of node.payments.forwards())
    if (isNew(forward) && forward.status === 'fulfilled') memoryOf(world).earned.set(`${name} ${id}`, { name, forward })
  for (const [id, channel] of node.channels()) {
    if (!isNew(channel)) continue
    if (channel.active.length > 0 && channel.phase.name !== 'closing' && channel.phase.name !== 'closed')
      checkBalances(world, name, channel)
    if (channel.phase.name === 'closed') once(`${name} channel ${id}`, channel.phase.how)
    if (world.stale !== undefined && (name === world.stale || channel.remoteNodeId === world.idOf(world.stale))) continue
    const kind = channel.onchain?.spend?.kind
    if (kind === 'revoked' || kind === 'future' || kind === 'unknown')
      world.fail(`${name} ${id}: a ${kind} commitment is in the chain`)
    if (channel.fellBehind === true) world.fail(`${name} ${id} fell behind`)
  }
}

/** All that can be checked between two events. */
export const check = (world: World): void => {
  for (const name of NAMES) {
    const node = world.node(name)
    if (node === undefined) continue
    for (const [, channel] of node.channels()) {
      if (channel.phase.name === 'closed' || channel.active.length === 0) continue
      for (const other of NAMES) {
        if (world.idOf(other) !== channel.remoteNodeId) continue
        if (name === world.stale || other === world.stale) continue
        const twin = world.node(other)?.channels().get(channel.channelId)
        if (twin !== undefined && twin.active.length > 0) checkAgreement(world, name, channel, twin)
      }
    }
    checkEnds(world, name, node)
  }
}

/** For the trace. */
export const noteBroadcast = (world: World, name: Name, transactions: readonly Tx[]): void => {
  const ids = transactions.map((tx) => txid(tx).slice(0, 8))
  tell(world, `${name} broadcasts ${ids.join(' ')}`, undefined)
}
