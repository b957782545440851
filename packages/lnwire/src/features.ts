/**
 * Feature bits: the table, vectors, negotiation, channel types. BOLT 9, BOLT 1 § The init Message.
 * A feature is a pair of bits: even says required, odd optional. What a vector holds beyond our table is reduced to one fact, its
 * lowest unknown even bit, because unknown odd bits mean nothing and the vector may be 64 kB long.
 * Features that BOLT 9 calls ASSUMED are set for older peers and count as negotiated even when the peer leaves them out.
 * Anchors with fees on HTLC transactions (bits 20/21) are absent on purpose: SIGHASH_SINGLE lets a peer take those fees.
 */
import { equalBytes } from '@leyden/codec'

/** Where a vector stands: BOLT 9 columns I, N, C, 9. */
export type FeatureContext = 'init' | 'node' | 'channel' | 'invoice'

type Entry = {
  /** The even bit. */
  readonly bit: number
  readonly contexts: readonly FeatureContext[]
  readonly dependencies?: readonly string[]
  readonly assumed?: true
}

const IN = ['init', 'node'] as const
const IN9 = ['init', 'node', 'invoice'] as const

/** BOLT 9's table. */
const TABLE = {
  option_data_loss_protect: { bit: 0, contexts: IN, assumed: true },
  option_upfront_shutdown_script: { bit: 4, contexts: IN },
  gossip_queries: { bit: 6, contexts: IN },
  var_onion_optin: { bit: 8, contexts: IN9, assumed: true },
  gossip_queries_ex: { bit: 10, contexts: IN },
  option_static_remotekey: { bit: 12, contexts: IN, assumed: true },
  payment_secret: { bit: 14, contexts: IN9, assumed: true },
  basic_mpp: { bit: 16, contexts: IN9, dependencies: ['payment_secret'] },
  option_support_large_channel: { bit: 18, contexts: IN },
  option_anchors: { bit: 22, contexts: IN },
  option_route_blinding: { bit: 24, contexts: IN9 },
  option_shutdown_anysegwit: { bit: 26, contexts: IN },
  option_dual_fund: { bit: 28, contexts: IN },
  option_quiesce: { bit: 34, contexts: IN },
  option_attribution_data: { bit: 36, contexts: IN9 },
  option_onion_messages: { bit: 38, contexts: IN },
  option_provide_storage: { bit: 42, contexts: IN },
  option_channel_type: { bit: 44, contexts: IN, assumed: true },
  option_scid_alias: { bit: 46, contexts: IN },
  option_payment_metadata: { bit: 48, contexts: ['invoice'] },
  option_zeroconf: { bit: 50, contexts: IN, dependencies: ['option_scid_alias'] },
  option_simple_close: { bit: 60, contexts: IN, dependencies: ['option_shutdown_anysegwit'] },
  option_splice: { bit: 62, contexts: IN },
} as const satisfies { readonly [name: string]: Entry }

/** A feature by the name of BOLT 9. */
export type FeatureName = keyof typeof TABLE
export type FeatureLevel = 'optional' | 'required'

/** What a feature vector says. */
export type Features = {
  readonly known: { readonly [N in FeatureName]?: FeatureLevel | undefined }
  /** Lowest even bit that is not in the table, if there is one. */
  readonly unknownEven?: number | undefined
}

const entries: readonly (readonly [FeatureName, Entry])[] = Object.entries(TABLE) as [FeatureName, Entry][]
const byBit = new Map(entries.map(([name, { bit }]) => [bit, name]))

export const NO_FEATURES: Features = { known: {} }

/** The even (required) bit of a feature. */
export const featureBit = (name: FeatureName): number => TABLE[name].bit

/** Reads a vector. Any bytes are one. If both bits of a pair are set, required wins. BOLT 9 § Requirements. */
export const decodeFeatures = (vector: Uint8Array): Features => {
  const known: { [N in FeatureName]?: FeatureLevel } = {}
  let unknownEven: number | undefined
  for (let bit = 0; bit < vector.length * 8; bit++) {
    const byte = vector[vector.length - 1 - (bit >> 3)] ?? 0
    if (byte === 0) bit |= 7
    else if ((byte >> (bit & 7)) & 1) {
      const name = byBit.get(bit & ~1)
      if (name !== undefined) known[name] ??= bit % 2 === 0 ? 'required' : 'optional'
      else if (bit % 2 === 0) unknownEven ??= bit
    }
  }
  return unknownEven === undefined ? { known } : { known, unknownEven }
}

/** The shortest vector of the known features; empty for none. */
export const encodeFeatures = (features: Features): Uint8Array => {
  const bits = entries.flatMap(([name, { bit }]) => {
    const level = features.known[name]
    return level === undefined ? [] : [level === 'required' ? bit : bit + 1]
  })
  const vector = new Uint8Array(bits.length === 0 ? 0 : (Math.max(...bits) >> 3) + 1)
  for (const bit of bits) {
    const at = vector.length - 1 - (bit >> 3)
    vector[at] = (vector[at] ?? 0) | (1 << (bit & 7))
  }
  return vector
}

/** The bitwise OR of two vectors: init has two for historical reasons. */
export const combineVectors = (a: Uint8Array, b: Uint8Array): Uint8Array => {
  const out = new Uint8Array(Math.max(a.length, b.length))
  out.set(a, out.length - a.length)
  b.forEach((byte, i) => {
    const at = out.length - b.length + i
    out[at] = (out[at] ?? 0) | byte
  })
  return out
}

/** Whether the feature is set, either way. */
export const hasFeature = (features: Features, name: FeatureName): boolean => features.known[name] !== undefined

/** The first feature whose dependency is not set, or undefined. One level suffices: every set feature is looked at. */
export const findMissingDependency = (
  features: Features,
): { readonly feature: FeatureName; readonly dependency: FeatureName } | undefined => {
  for (const [feature, entry] of entries) {
    if (!hasFeature(features, feature)) continue
    for (const dependency of (entry.dependencies ?? []) as readonly FeatureName[])
      if (!hasFeature(features, dependency) && !('assumed' in TABLE[dependency])) return { feature, dependency }
  }
  return undefined
}

/** Why two vectors do not go together. */
export type FeatureProblem =
  | { readonly problem: 'unknown_required'; readonly bit: number }
  | { readonly problem: 'missing_dependency'; readonly feature: FeatureName; readonly dependency: FeatureName }

/**
 * What holds between two peers: what both offer, what we require (a peer that lacks it has hung up), and what is assumed of everybody;
 * or why we have to close: the remote requires what we do not offer, or left out a dependency. BOLT 1 § The init Message.
 */
export const negotiateFeatures = (local: Features, remote: Features): Features | FeatureProblem => {
  for (const [name, { bit }] of entries)
    if (remote.known[name] === 'required' && !hasFeature(local, name) && !('assumed' in TABLE[name]))
      return { problem: 'unknown_required', bit }
  if (remote.unknownEven !== undefined) return { problem: 'unknown_required', bit: remote.unknownEven }
  const missing = findMissingDependency(remote)
  if (missing !== undefined) return { problem: 'missing_dependency', ...missing }
  const known: { [N in FeatureName]?: FeatureLevel } = {}
  for (const [name] of entries) {
    const ours = local.known[name]
    const theirs = remote.known[name]
    if (ours === 'required' || 'assumed' in TABLE[name] || (ours !== undefined && theirs !== undefined))
      known[name] = ours === 'required' || theirs === 'required' ? 'required' : 'optional'
  }
  return { known }
}

/** What this implementation offers, context aside. */
const OFFERED: Features = {
  known: {
    option_data_loss_protect: 'required',
    option_upfront_shutdown_script: 'optional',
    gossip_queries: 'optional',
    var_onion_optin: 'required',
    option_static_remotekey: 'required',
    payment_secret: 'required',
    basic_mpp: 'optional',
    option_support_large_channel: 'optional',
    option_anchors: 'optional',
    option_shutdown_anysegwit: 'optional',
    option_channel_type: 'optional',
    option_scid_alias: 'optional',
    option_simple_close: 'optional',
  },
}

/** The part of `features` that belongs into a context. BOLT 9 column Context. */
export const featuresIn = (features: Features, context: FeatureContext): Features => ({
  known: Object.fromEntries(
    entries.flatMap(([name, entry]) => {
      const level = features.known[name]
      return level !== undefined && entry.contexts.includes(context) ? [[name, level]] : []
    }),
  ),
})

/** What we set in a context. */
export const offeredFeatures = (context: FeatureContext): Features => featuresIn(OFFERED, context)

/** A channel type that we can run. BOLT 2 § Defined Channel Types. */
export type ChannelType = {
  readonly commitment: 'static_remotekey' | 'anchors'
  readonly scidAlias: boolean
  readonly zeroconf: boolean
}

/** The vector of a channel type: even bits only. */
export const encodeChannelType = (type: ChannelType): Uint8Array =>
  encodeFeatures({
    known: {
      option_static_remotekey: 'required',
      ...(type.commitment === 'anchors' ? { option_anchors: 'required' } : {}),
      ...(type.scidAlias ? { option_scid_alias: 'required' } : {}),
      ...(type.zeroconf ? { option_zeroconf: 'required' } : {}),
    },
  })

/** The channel type of exactly this vector; undefined for every other, nonzero-fee anchors (bit 20) included. */
export const decodeChannelType = (vector: Uint8Array): ChannelType | undefined => {
  const features = decodeFeatures(vector)
  const type: ChannelType = {
    commitment: hasFeature(features, 'option_anchors') ? 'anchors' : 'static_remotekey',
    scidAlias: hasFeature(features, 'option_scid_alias'),
    zeroconf: hasFeature(features, 'option_zeroconf'),
  }
  return equalBytes(encodeChannelType(type), vector) ? type : undefined
}
