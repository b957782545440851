/**
 * What payments say to channels and hear from them. The shapes are those of a channel's inputs and effects, so that whoever wires the
 * two passes them through as they are: `command` is a channel's owner input, `event` one of its owner effects.
 * An HTLC is named by channel and id, never by hash or amount.
 */
import type { BlockHeight, Msat } from '@leyden/bitcoin'
import type { ChannelId, NodeId, PaymentHash, ShortChannelId } from '@leyden/lnwire'
import type { OwnPolicy } from '@leyden/routing'

/** Who made us offer an HTLC; comes back with the outcome. */
export type HtlcOrigin =
  | { readonly kind: 'payment'; readonly paymentId: string; readonly attempt: number }
  | { readonly kind: 'relay'; readonly channelId: ChannelId; readonly htlcId: bigint }

/** An HTLC that we received and that is irrevocably committed. */
export interface CommittedHtlc {
  readonly id: bigint
  readonly amountMsat: Msat
  readonly paymentHash: PaymentHash
  readonly cltvExpiry: BlockHeight
  readonly onion: Uint8Array
  readonly pathKey?: Uint8Array
}

/** Why an HTLC that we offered is gone without a preimage. */
export type HtlcFailure =
  | { readonly kind: 'remote'; readonly reason: Uint8Array }
  | { readonly kind: 'malformed'; readonly failureCode: number; readonly sha256OfOnion: Uint8Array }
  | { readonly kind: 'onchain' }
  | { readonly kind: 'neverSent' }

export type ChannelCommand =
  | {
      readonly from: 'owner'
      readonly type: 'offerHtlc'
      readonly amountMsat: Msat
      readonly paymentHash: PaymentHash
      readonly cltvExpiry: BlockHeight
      readonly onion: Uint8Array
      readonly origin: HtlcOrigin
    }
  | { readonly from: 'owner'; readonly type: 'fulfillHtlc'; readonly htlcId: bigint; readonly preimage: Uint8Array }
  | { readonly from: 'owner'; readonly type: 'failHtlc'; readonly htlcId: bigint; readonly reason: Uint8Array }
  | {
      readonly from: 'owner'
      readonly type: 'failMalformedHtlc'
      readonly htlcId: bigint
      readonly failureCode: number
      readonly sha256OfOnion: Uint8Array
    }

export type ChannelEvent =
  /** `failNow`: it must be failed, whatever is known about it. */
  | { readonly type: 'htlcCommitted'; readonly htlc: CommittedHtlc; readonly failNow?: 'dust_exposure' | 'funding_conflicted' }
  | {
      readonly type: 'htlcFulfilled'
      readonly htlcId: bigint
      readonly origin: HtlcOrigin
      readonly preimage: Uint8Array
    }
  | { readonly type: 'htlcFailed'; readonly htlcId: bigint; readonly origin: HtlcOrigin; readonly failure: HtlcFailure }
  | { readonly type: 'offerRefused'; readonly origin: HtlcOrigin; readonly refusal: { readonly code: string } }

/** A channel as payments see it now. */
export interface ChannelView {
  readonly channelId: ChannelId
  readonly remoteNodeId: NodeId
  /** All ids that an onion may name it by: the real one and our alias. The first is used for paths. */
  readonly shortChannelIds: readonly ShortChannelId[]
  /** The peer is there and the channel takes HTLCs. */
  readonly usable: boolean
  /** The most that we could offer now. */
  readonly canSendMsat: Msat
  /** The least that the remote takes. */
  readonly htlcMinimumMsat: Msat
  /** What we ask for to forward over it. */
  readonly policy: OwnPolicy
  /** What we asked for until lately, and still accept. BOLT 7 § HTLC Fees. */
  readonly olderPolicies?: readonly OwnPolicy[]
  /** Our latest channel_update, type first, for failures. */
  readonly channelUpdate?: Uint8Array
}

/** An HTLC in a channel's record, as `reconcile` reads it. */
export interface HtlcRow {
  readonly offeredBy: 'local' | 'remote'
  readonly id: bigint
  readonly amountMsat: Msat
  readonly paymentHash: PaymentHash
  readonly cltvExpiry: BlockHeight
  readonly onion: Uint8Array
  readonly pathKey?: Uint8Array
  readonly origin?: HtlcOrigin
  /** 4: irrevocable. */
  readonly stage: 0 | 1 | 2 | 3 | 4
  readonly removal?:
    | { readonly kind: 'fulfilled'; readonly preimage: Uint8Array }
    | { readonly kind: 'failed'; readonly reason: Uint8Array }
    | { readonly kind: 'malformed'; readonly failureCode: number; readonly sha256OfOnion: Uint8Array }
  readonly removalStage?: 0 | 1 | 2 | 3 | 4
}
