/**
 * How a channel is stored: rows that change together stand together, so that a step writes what it changed and no more.
 * `terms` what the opening agreed on · `head` numbers, balances, where it stands · `signatures` the remote's for our commitment ·
 * `revocations` · `end` closing and on-chain state · `htlc/<side>/<id>` one HTLC without its onion · `onion/<side>/<id>` written once ·
 * `past/<side>/<id>` what a revoked commitment may contain, kept to the end of the channel and never loaded with it.
 * The connection is not stored: a loaded channel is offline, and what the remote had proposed and not signed is gone.
 */
import { packRecord, unpackRecord } from '@leyden/codec'
import { offline } from './next.ts'
import type { Active, Channel, Htlc, PastHtlc } from './state.ts'

/** The shape of runtime's record kind, which finds it by shape. */
export interface ChannelKind {
  readonly name: string
  load(id: string, rows: readonly (readonly [suffix: string, value: Uint8Array])[]): Channel
  diff(before: Channel | undefined, after: Channel | undefined): readonly ChannelWrite[]
}

export type ChannelWrite = { readonly suffix: string; readonly value: Uint8Array | undefined }

/** Of every row. A newer one is refused; an older one gets its migration here when there is one. */
const VERSION = 1

/** The row that holds each field. `apart`: in rows of their own, or not stored at all (the connection). */
const ROW_OF = {
  channelId: 'terms',
  temporaryChannelId: 'terms',
  remoteNodeId: 'terms',
  localNodeId: 'terms',
  role: 'terms',
  type: 'terms',
  announce: 'terms',
  keyIndex: 'terms',
  openedAtHeight: 'terms',
  local: 'terms',
  remote: 'terms',
  capacitySat: 'terms',
  pushMsat: 'terms',
  minimumDepthBlocks: 'terms',
  forkId: 'terms',
  fundingFeeratePerKw: 'terms',
  fundingTx: 'terms',
  fundingInputs: 'terms',
  localAlias: 'terms',
  destinationScript: 'terms',
  simpleClose: 'head',
  anySegwit: 'head',
  phase: 'head',
  feeratePerKw: 'head',
  feeUpdates: 'head',
  nextLocalHtlcId: 'head',
  nextRemoteHtlcId: 'head',
  localCommitmentNumber: 'head',
  remoteCommitmentNumber: 'head',
  remotePoint: 'head',
  remoteNextPoint: 'head',
  awaitingRevocation: 'head',
  shortChannelId: 'head',
  remoteAlias: 'head',
  announcement: 'head',
  error: 'head',
  height: 'head',
  fellBehind: 'head',
  fundingConflict: 'head',
  closing: 'end',
  onchain: 'end',
  active: 'apart',
  htlcs: 'apart',
  revocations: 'apart',
  link: 'apart',
} as const satisfies Readonly<Record<keyof Channel, 'terms' | 'head' | 'end' | 'apart'>>

type Field = keyof Channel

const fieldsOf = (row: 'terms' | 'head' | 'end'): readonly Field[] =>
  (Object.keys(ROW_OF) as Field[]).filter((field) => ROW_OF[field] === row)

const TERMS = fieldsOf('terms')
const HEAD = fieldsOf('head')
const END = fieldsOf('end')

const pick = (source: Channel, fields: readonly Field[]): Record<string, unknown> =>
  Object.fromEntries(fields.flatMap((field) => (source[field] === undefined ? [] : [[field, source[field]]])))

const changed = (before: Channel | undefined, after: Channel, fields: readonly (keyof Channel)[]): boolean =>
  before === undefined || fields.some((field) => before[field] !== after[field])

const pack = (value: unknown): Uint8Array => packRecord({ v: VERSION, value })

const unpack = (id: string, suffix: string, row: Uint8Array): unknown => {
  const stored = unpackRecord(row)
  if (typeof stored !== 'object' || stored === null || !('v' in stored) || !('value' in stored))
    throw new Error(`channel ${id}: row ${suffix} is no record`)
  if (stored.v !== VERSION)
    throw new Error(`channel ${id}: row ${suffix} has version ${String(stored.v)}, this program knows ${VERSION}`)
  return stored.value
}

/** Ids are padded, so that rows come back in the order of arrival of each side. */
const nameOf = (htlc: Pick<Htlc, 'offeredBy' | 'id'>): string => `${htlc.offeredBy}/${htlc.id.toString().padStart(20, '0')}`

const balances = ({ funding, localMsat, remoteMsat }: Active) => ({ funding, localMsat, remoteMsat })
const signatures = ({ remoteSignature, remoteHtlcSignatures }: Active) => ({
  ...(remoteSignature === undefined ? {} : { remoteSignature }),
  remoteHtlcSignatures,
})

const sameBalances = (a: Active | undefined, b: Active): boolean =>
  a !== undefined && a.funding === b.funding && a.localMsat === b.localMsat && a.remoteMsat === b.remoteMsat
const sameSignatures = (a: Active | undefined, b: Active): boolean =>
  a !== undefined && a.remoteSignature === b.remoteSignature && a.remoteHtlcSignatures === b.remoteHtlcSignatures

/** What a revoked commitment may contain of an HTLC that has left; undefined if it was in none. */
const pastOf = (htlc: Htlc, remoteCommitmentNumber: number): PastHtlc | undefined => {
  const { offeredBy, id, amountMsat, paymentHash, cltvExpiry, inRemoteFrom, outOfRemoteFrom } = htlc
  if (inRemoteFrom === undefined) return undefined
  const last = (outOfRemoteFrom ?? remoteCommitmentNumber + 1) - 1
  return { offeredBy, id, amountMsat, paymentHash, cltvExpiry, first: inRemoteFrom, last }
}

/** What changed, told by identity first: a step leaves most HTLCs as they are. */
const htlcWrites = (before: Channel | undefined, after: Channel): ChannelWrite[] => {
  if (before?.htlcs === after.htlcs) return []
  const writes: ChannelWrite[] = []
  const kept = new Set(after.htlcs)
  const known = new Set(before?.htlcs)
  const replaced = new Map(before?.htlcs.filter((htlc) => !kept.has(htlc)).map((htlc) => [nameOf(htlc), htlc]))
  for (const htlc of after.htlcs) {
    if (known.has(htlc)) continue
    const name = nameOf(htlc)
    const previous = replaced.get(name)
    replaced.delete(name)
    const { onion, ...small } = htlc
    writes.push({ suffix: `htlc/${name}`, value: pack(small) })
    if (previous?.onion !== onion) writes.push({ suffix: `onion/${name}`, value: pack(onion) })
  }
  for (const [name, htlc] of replaced) {
    writes.push({ suffix: `htlc/${name}`, value: undefined }, { suffix: `onion/${name}`, value: undefined })
    const past = pastOf(htlc, after.remoteCommitmentNumber)
    if (past !== undefined) writes.push({ suffix: `past/${name}`, value: pack(past) })
  }
  return writes
}

/** Every row that there is, or was: HTLC ids count up from 0, so the past rows are known by number. */
const deletions = (before: Channel): ChannelWrite[] => [
  ...['terms', 'head', 'signatures', 'revocations', 'end'].map((suffix) => ({ suffix, value: undefined })),
  ...before.htlcs.flatMap((htlc) => [
    { suffix: `htlc/${nameOf(htlc)}`, value: undefined },
    { suffix: `onion/${nameOf(htlc)}`, value: undefined },
  ]),
  ...pastNames('local', before.nextLocalHtlcId),
  ...pastNames('remote', before.nextRemoteHtlcId),
]

const pastNames = (offeredBy: Htlc['offeredBy'], nextId: bigint): ChannelWrite[] => {
  const writes: ChannelWrite[] = []
  for (let id = 0n; id < nextId; id++) writes.push({ suffix: `past/${nameOf({ offeredBy, id })}`, value: undefined })
  return writes
}

const diff = (before: Channel | undefined, after: Channel | undefined): readonly ChannelWrite[] => {
  if (before === after) return []
  if (after === undefined) return before === undefined ? [] : deletions(before)
  const writes: ChannelWrite[] = []
  const balancesChanged =
    before?.active.length !== after.active.length || after.active.some((active, i) => !sameBalances(before.active[i], active))
  if (changed(before, after, TERMS)) writes.push({ suffix: 'terms', value: pack(pick(after, TERMS)) })
  if (balancesChanged || changed(before, after, HEAD))
    writes.push({ suffix: 'head', value: pack({ ...pick(after, HEAD), active: after.active.map(balances) }) })
  if (
    before?.active.length !== after.active.length ||
    after.active.some((active, i) => !sameSignatures(before.active[i], active))
  )
    writes.push({ suffix: 'signatures', value: pack(after.active.map(signatures)) })
  if (changed(before, after, ['revocations'])) writes.push({ suffix: 'revocations', value: pack(after.revocations) })
  if (changed(before, after, END)) writes.push({ suffix: 'end', value: pack(pick(after, END)) })
  return [...writes, ...htlcWrites(before, after)]
}

const load = (id: string, rows: readonly (readonly [string, Uint8Array])[]): Channel => {
  const parts = new Map<string, unknown>()
  const htlcs: Omit<Htlc, 'onion'>[] = []
  for (const [suffix, row] of rows) {
    if (suffix.startsWith('past/')) continue
    const value = unpack(id, suffix, row)
    if (suffix.startsWith('htlc/')) htlcs.push(value as Htlc)
    else parts.set(suffix, value)
  }
  const part = (name: string): unknown => {
    const value = parts.get(name)
    if (value === undefined) throw new Error(`channel ${id}: row ${name} is missing`)
    return value
  }
  const { active, ...head } = part('head') as { active: ReturnType<typeof balances>[]; nextRemoteHtlcId: bigint }
  const signed = part('signatures') as ReturnType<typeof signatures>[]
  const stored = {
    ...(part('terms') as object),
    ...head,
    ...(part('end') as object),
    revocations: part('revocations'),
    active: active.map((balance, i) => ({ ...balance, ...signed[i] })),
    // Proposed, never signed, dropped when an earlier restart loaded it: its row stays until the id is used again.
    htlcs: htlcs
      .filter((htlc) => htlc.offeredBy === 'local' || htlc.id < head.nextRemoteHtlcId)
      .map((htlc) => ({ ...htlc, onion: part(`onion/${nameOf(htlc)}`) as Uint8Array })),
    link: 'offline',
  }
  return offline(stored as unknown as Channel)
}

/** Rows of all channels: see the head of this file. Moving a channel to its final id is a deletion and a new one, in one batch. */
export const channelKind: ChannelKind = { name: 'channel', load, diff }

/** The past rows of a channel, from its rows. Read only when a transaction spends the funding output. */
export const loadPast = (id: string, rows: readonly (readonly [suffix: string, value: Uint8Array])[]): readonly PastHtlc[] =>
  rows.filter(([suffix]) => suffix.startsWith('past/')).map(([suffix, row]) => unpack(id, suffix, row) as PastHtlc)

/** Suffixes of the past rows begin with it. */
export const PAST_PREFIX = 'past/'
