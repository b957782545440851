/**
 * Building commitment transactions from what they contain. BOLT 3 § Commitment Transaction, § Commitment Transaction Construction.
 * `holder` is whose commitment it is; `local` and `remote` in the spec's output names are the holder and the other.
 * Which balances and HTLCs are in it is spec.ts. A balance that the fee eats up just has no output: whether the opener can pay is
 * the caller's check.
 */
import { bytesToBigintBE, concat, hexToBytes, unreachable } from '@leyden/codec'
import { sha256 } from '@leyden/crypto'
import { p2wshOf, Sat, type Outpoint, type Tx, type TxInput, type TxOutput } from '@leyden/bitcoin'
import type { Signer } from '../env.ts'
import type { Active, Channel, CommitmentFormat, Party, Side } from '../state.ts'
import { commitmentKeys, type CommitmentKeys } from './keys.ts'
import {
  anchorScript,
  compareOutputs,
  fundingScript,
  offeredHtlcScript,
  receivedHtlcScript,
  toLocalScript,
  toRemoteOutputScript,
} from './scripts.ts'
import { specOf, type CommitmentSpec, type SpecHtlc, type Which } from './spec.ts'
import { ANCHOR_SAT, openerCostOf, untrimmedHtlcs } from './weight.ts'

/** All that a commitment transaction follows from. */
export interface CommitmentTerms {
  readonly format: CommitmentFormat
  readonly holder: Side
  readonly holderParty: Party
  readonly otherParty: Party
  readonly holderIsOpener: boolean
  readonly funding: { readonly outpoint: Outpoint; readonly capacitySat: Sat }
  readonly number: number
  readonly keys: CommitmentKeys
  readonly spec: CommitmentSpec
  readonly forkId?: number | undefined
}

/** An HTLC that has an output. */
export interface BuiltHtlc {
  readonly htlc: SpecHtlc
  readonly outputIndex: number
  readonly valueSat: Sat
  readonly witnessScript: Uint8Array
}

export interface BuiltCommitment {
  readonly terms: CommitmentTerms
  /** Unsigned. */
  readonly tx: Tx
  /** Of the funding output: what both sign. */
  readonly fundingScript: Uint8Array
  /** In the order of outputs, which is the order of htlc_signatures. */
  readonly htlcs: readonly BuiltHtlc[]
  readonly trimmed: readonly SpecHtlc[]
  readonly toLocalScript: Uint8Array
  /** Its output script: that of to_local, and of what HTLC transactions pay to. */
  readonly toLocalOutputScript: Uint8Array
  readonly toLocalIndex?: number
  readonly toRemoteIndex?: number
  readonly holderAnchorIndex?: number
  readonly otherAnchorIndex?: number
  /** What miners get: base fee, trimmed outputs and what was rounded off. */
  readonly feeSat: Sat
}

/** The lower 48 bits of `SHA256(opener's payment_basepoint || accepter's payment_basepoint)`. BOLT 3 § Commitment Transaction. */
export const obscuringFactor = (openerPaymentBasepoint: Uint8Array, accepterPaymentBasepoint: Uint8Array): bigint =>
  bytesToBigintBE(sha256(concat(openerPaymentBasepoint, accepterPaymentBasepoint)).subarray(26))

/** A channel's obscuring factor. */
export const obscuringFactorOf = (channel: Pick<Channel, 'role' | 'local' | 'remote'>): bigint => {
  const { local, remote } = channel
  return channel.role === 'opener'
    ? obscuringFactor(local.paymentBasepoint, remote.paymentBasepoint)
    : obscuringFactor(remote.paymentBasepoint, local.paymentBasepoint)
}

const LOW_24 = 0xff_ffffn

/** Sequence and locktime that carry an obscured commitment number. */
export const numberFields = (number: number, factor: bigint): { readonly sequence: number; readonly lockTime: number } => {
  const obscured = BigInt(number) ^ factor
  return {
    sequence: Number(0x8000_0000n | (obscured >> 24n)),
    lockTime: Number(0x2000_0000n | (obscured & LOW_24)),
  }
}

/** The number that a commitment carries, or undefined when a transaction is not shaped like one. */
export const commitmentNumberOf = (tx: Tx, factor: bigint): number | undefined => {
  const [input] = tx.inputs
  if (tx.inputs.length !== 1 || input === undefined) return undefined
  if (input.sequence >>> 24 !== 0x80 || tx.lockTime >>> 24 !== 0x20) return undefined
  return Number(((BigInt(input.sequence & 0xff_ffff) << 24n) | BigInt(tx.lockTime & 0xff_ffff)) ^ factor)
}

/** An input without a witness yet. */
export const unsignedInput = (outpoint: Outpoint, sequence: number): TxInput => ({
  outpoint,
  scriptSig: new Uint8Array(0),
  sequence,
  witness: [],
})

type Draft = TxOutput & { readonly as: 'toLocal' | 'toRemote' | 'holderAnchor' | 'otherAnchor' | BuiltHtlc }

const htlcOf = (draft: Draft): BuiltHtlc | undefined => (typeof draft.as === 'object' ? draft.as : undefined)

/** Equal HTLC outputs by expiry; those that are equal in that too by id, so that the result never depends on the order of arrival. */
const compareDrafts = (a: Draft, b: Draft): number => {
  const byOutput = compareOutputs(a, b)
  const [left, right] = [htlcOf(a)?.htlc, htlcOf(b)?.htlc]
  if (byOutput !== 0 || left === undefined || right === undefined) return byOutput
  return left.cltvExpiry - right.cltvExpiry || (left.id < right.id ? -1 : 1)
}

const htlcDraft = (terms: CommitmentTerms, htlc: SpecHtlc): Draft => {
  const hash = hexToBytes(htlc.paymentHash)
  const witnessScript =
    htlc.direction === 'offered'
      ? offeredHtlcScript(terms.format, terms.keys, hash)
      : receivedHtlcScript(terms.format, terms.keys, hash, htlc.cltvExpiry)
  const value = Sat(htlc.amountMsat / 1000n)
  return {
    value,
    scriptPubKey: p2wshOf(witnessScript),
    as: { htlc, outputIndex: -1, valueSat: value, witnessScript },
  }
}

const floorSat = (msat: bigint): bigint => (msat < 0n ? -1n : msat / 1000n)

export const buildCommitment = (terms: CommitmentTerms): BuiltCommitment => {
  const { format, holderParty, otherParty, holderIsOpener, spec, keys, funding } = terms
  const dustLimitSat = holderParty.dustLimitSat
  const untrimmed = untrimmedHtlcs(format, spec, dustLimitSat)
  const cost = openerCostOf(format, spec, dustLimitSat)
  const toLocal = floorSat(spec.toLocalMsat) - (holderIsOpener ? cost : 0n)
  const toRemote = floorSat(spec.toRemoteMsat) - (holderIsOpener ? 0n : cost)
  const localScript = toLocalScript(keys, holderParty.toSelfDelayBlocks)
  const localOutputScript = p2wshOf(localScript)
  const hasToLocal = toLocal >= dustLimitSat
  const hasToRemote = toRemote >= dustLimitSat

  const drafts: Draft[] = untrimmed.map((htlc) => htlcDraft(terms, htlc))
  if (hasToLocal) drafts.push({ value: Sat(toLocal), scriptPubKey: localOutputScript, as: 'toLocal' })
  if (hasToRemote)
    drafts.push({ value: Sat(toRemote), scriptPubKey: toRemoteOutputScript(format, keys.otherPayment), as: 'toRemote' })
  if (format === 'anchors') {
    const anchor = (party: Party, as: Draft['as']): Draft => ({
      value: ANCHOR_SAT,
      scriptPubKey: p2wshOf(anchorScript(party.fundingPubkey)),
      as,
    })
    if (hasToLocal || untrimmed.length > 0) drafts.push(anchor(holderParty, 'holderAnchor'))
    if (hasToRemote || untrimmed.length > 0) drafts.push(anchor(otherParty, 'otherAnchor'))
  }
  drafts.sort(compareDrafts)

  const [opener, accepter] = holderIsOpener ? [holderParty, otherParty] : [otherParty, holderParty]
  const { sequence, lockTime } = numberFields(terms.number, obscuringFactor(opener.paymentBasepoint, accepter.paymentBasepoint))
  const tx: Tx = {
    version: 2,
    inputs: [unsignedInput(funding.outpoint, sequence)],
    outputs: drafts.map(({ value, scriptPubKey }) => ({ value, scriptPubKey })),
    lockTime,
  }
  const indexOf = <K extends string>(key: K, as: Draft['as']): { readonly [P in K]?: number } => {
    const index = drafts.findIndex((draft) => draft.as === as)
    return index < 0 ? {} : ({ [key]: index } as { readonly [P in K]?: number })
  }
  return {
    terms,
    tx,
    fundingScript: fundingScript(holderParty.fundingPubkey, otherParty.fundingPubkey),
    htlcs: drafts.flatMap((draft, outputIndex) => {
      const built = htlcOf(draft)
      return built === undefined ? [] : [{ ...built, outputIndex }]
    }),
    trimmed: spec.htlcs.filter((htlc) => !untrimmed.includes(htlc)),
    toLocalScript: localScript,
    toLocalOutputScript: localOutputScript,
    ...indexOf('toLocalIndex', 'toLocal'),
    ...indexOf('toRemoteIndex', 'toRemote'),
    ...indexOf('holderAnchorIndex', 'holderAnchor'),
    ...indexOf('otherAnchorIndex', 'otherAnchor'),
    feeSat: Sat(funding.capacitySat - drafts.reduce((sum, draft) => sum + draft.value, 0n)),
  }
}

/** The number that a commitment of this channel has. */
export const numberIn = (
  channel: Pick<Channel, 'localCommitmentNumber' | 'remoteCommitmentNumber' | 'awaitingRevocation'>,
  which: Which,
): number => {
  switch (which) {
    case 'local':
      return channel.localCommitmentNumber
    case 'localNext':
      return channel.localCommitmentNumber + 1
    case 'remote':
      return channel.remoteCommitmentNumber
    case 'remoteSigned':
      return channel.remoteCommitmentNumber + (channel.awaitingRevocation === undefined ? 0 : 1)
    case 'remoteNext':
      return channel.remoteCommitmentNumber + 1
    default:
      return unreachable(which)
  }
}

const termsOf = (
  channel: Channel,
  active: Active,
  holder: Side,
  contents: { readonly number: number; readonly spec: CommitmentSpec; readonly point: Uint8Array },
): CommitmentTerms => {
  const [holderParty, otherParty] = holder === 'local' ? [channel.local, channel.remote] : [channel.remote, channel.local]
  return {
    format: channel.type.format,
    holder,
    holderParty,
    otherParty,
    holderIsOpener: (channel.role === 'opener') === (holder === 'local'),
    funding: active.funding,
    number: contents.number,
    keys: commitmentKeys(holderParty, otherParty, contents.point),
    spec: contents.spec,
    forkId: channel.forkId,
  }
}

/** Ours: the latest, or the one that a commitment_signed come now would make. */
export const localCommitment = (
  channel: Channel,
  active: Active,
  which: 'local' | 'localNext',
  signer: Signer,
): BuiltCommitment => {
  const number = numberIn(channel, which)
  const point = signer.perCommitmentPoint(channel.keyIndex, number)
  return buildCommitment(termsOf(channel, active, 'local', { number, spec: specOf(channel, active, which), point }))
}

/** Theirs. `point` is `remotePoint` for 'remote', and for 'remoteSigned' when we await no revocation; else `remoteNextPoint`. */
export const remoteCommitment = (
  channel: Channel,
  active: Active,
  which: 'remote' | 'remoteSigned' | 'remoteNext',
  point: Uint8Array,
): BuiltCommitment =>
  buildCommitment(
    termsOf(channel, active, 'remote', { number: numberIn(channel, which), spec: specOf(channel, active, which), point }),
  )

/** Theirs with given contents: an old one that they revoked, or one whose contents we have lost. */
export const pastRemoteTerms = (
  channel: Channel,
  active: Active,
  contents: { readonly number: number; readonly spec: CommitmentSpec; readonly point: Uint8Array },
): CommitmentTerms => termsOf(channel, active, 'remote', contents)
