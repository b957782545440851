/**
 * What reaches a channel, by the side that it comes `from`.
 */
import type { BlockHash, BlockHeight, FeeratePerKw, Msat, Sat, Tx } from '@leyden/bitcoin'
import type { Features, MessageOfType, PaymentHash } from '@leyden/lnwire'
import type { FundingConflict, HtlcOrigin, PastHtlc } from './state.ts'

/** The messages that one channel sends and receives. BOLT 2, BOLT 7 § The announcement_signatures Message, BOLT 1 § error and warning. */
export type ChannelMessage = MessageOfType<
  | 'open_channel'
  | 'accept_channel'
  | 'funding_created'
  | 'funding_signed'
  | 'channel_ready'
  | 'shutdown'
  | 'closing_signed'
  | 'closing_complete'
  | 'closing_sig'
  | 'stfu'
  | 'update_add_htlc'
  | 'update_fulfill_htlc'
  | 'update_fail_htlc'
  | 'update_fail_malformed_htlc'
  | 'commitment_signed'
  | 'revoke_and_ack'
  | 'update_fee'
  | 'channel_reestablish'
  | 'announcement_signatures'
  | 'error'
  | 'warning'
>

export type ChannelInput =
  /** The peer is there, init is exchanged. `remoteFeatures` is what holds between the two (lnwire's `negotiateFeatures`). */
  | { readonly from: 'peer'; readonly type: 'connected'; readonly remoteFeatures: Features }
  | { readonly from: 'peer'; readonly type: 'disconnected' }
  | { readonly from: 'peer'; readonly type: 'message'; readonly message: ChannelMessage }
  /** The wallet made the funding transaction, signed, not sent. Answers the effect `fundingNeeded`. */
  | { readonly from: 'owner'; readonly type: 'funded'; readonly tx: Tx; readonly outputIndex: number }
  | { readonly from: 'owner'; readonly type: 'fundingFailed'; readonly detail: string }
  | {
      readonly from: 'owner'
      readonly type: 'offerHtlc'
      readonly amountMsat: Msat
      readonly paymentHash: PaymentHash
      readonly cltvExpiry: BlockHeight
      readonly onion: Uint8Array
      readonly pathKey?: Uint8Array
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
  | { readonly from: 'owner'; readonly type: 'updateFee'; readonly feeratePerKw: FeeratePerKw }
  | { readonly from: 'owner'; readonly type: 'close'; readonly scriptPubKey?: Uint8Array; readonly feeratePerKw?: FeeratePerKw }
  | { readonly from: 'owner'; readonly type: 'forceClose'; readonly reason: string }
  /** All inputs of this moment are in: sign what is pending. The driver sends it once per group of inputs to each channel that was touched. */
  | { readonly from: 'owner'; readonly type: 'flush' }
  /** A block of the best chain. `transactions` are those that confirm one of ours or spend an output that we watch (channel.watched). */
  | {
      readonly from: 'chain'
      readonly type: 'blockConnected'
      readonly height: BlockHeight
      readonly hash: BlockHash
      readonly transactions: readonly { readonly tx: Tx; readonly txIndex: number }[]
      /** Rows of the past, given when a transaction of this block spends the funding output. */
      readonly past?: readonly PastHtlc[]
      /** The wallet's word on the funding transaction, where it has made that: what it stands on may be gone too. */
      readonly fundingConflict?: FundingConflict
    }
  | { readonly from: 'chain'; readonly type: 'blockDisconnected'; readonly height: BlockHeight; readonly hash: BlockHash }
  /** In the mempool: a watched output is being spent. Preimages are taken from it at once (S9). */
  | { readonly from: 'chain'; readonly type: 'transactionSeen'; readonly tx: Tx }
  | { readonly from: 'chain'; readonly type: 'feerate'; readonly commitmentFeeratePerKw: FeeratePerKw }

/** What the owner asks for to open a channel. */
export interface OpenRequest {
  readonly capacitySat: Sat
  readonly pushMsat: Msat
  readonly announce: boolean
  readonly fundingFeeratePerKw: FeeratePerKw
}
