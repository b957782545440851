/**
 * What a channel does, by the side that it goes `to`. Nothing leaves before the state that implies it is durable (runtime/drive).
 */
import type { FeeratePerKw, Msat, Outpoint, Sat, Tx } from '@leyden/bitcoin'
import type { BlockHeight } from '@leyden/bitcoin'
import type { ChannelId, PaymentHash, ShortChannelId } from '@leyden/lnwire'
import type { ChannelMessage } from './input.ts'
import type { CloseKind, FundingConflict, HtlcOrigin } from './state.ts'
import type { Refusal, Violation } from './violations.ts'

export type ChannelEffect =
  | { readonly to: 'peer'; readonly type: 'send'; readonly message: ChannelMessage }
  /** After a warning or error that ends the connection. */
  | { readonly to: 'peer'; readonly type: 'disconnect' }
  /** Make a signed transaction with an output of `amountSat` to `scriptPubKey` and answer `funded`. */
  | {
      readonly to: 'owner'
      readonly type: 'fundingNeeded'
      readonly scriptPubKey: Uint8Array
      readonly amountSat: Sat
      readonly feeratePerKw: FeeratePerKw
    }
  /** The funding transaction will never be used: its coins are free. */
  | { readonly to: 'owner'; readonly type: 'fundingReleased'; readonly tx?: Tx }
  /** A transaction in the chain takes an input of the funding transaction: told once. When it is `finalAtHeight`, the channel ends. */
  | {
      readonly to: 'owner'
      readonly type: 'fundingConflicted'
      readonly conflict: FundingConflict
      readonly finalAtHeight: BlockHeight
    }
  /** The id has changed from the temporary one; the record moves. */
  | { readonly to: 'owner'; readonly type: 'opening'; readonly fundingOutpoint: Outpoint }
  /** The channel can be used; again when a reorganisation has moved the funding transaction and so changed the scid. */
  | { readonly to: 'owner'; readonly type: 'ready'; readonly shortChannelId?: ShortChannelId }
  /** Buried enough to be announced, and all four signatures are here. Again when the scid has changed. */
  | {
      readonly to: 'owner'
      readonly type: 'announceable'
      readonly shortChannelId: ShortChannelId
      readonly remoteNodeSignature: Uint8Array
      readonly remoteBitcoinSignature: Uint8Array
      readonly localNodeSignature: Uint8Array
      readonly localBitcoinSignature: Uint8Array
    }
  /**
   * A received HTLC is irrevocably committed: decide on it. Told once. With `failNow` it must be failed, whatever is known about it:
   * its preimage must not be revealed. BOLT 2 § Bounding exposure to trimmed in-flight HTLCs; funding-loss.ts.
   */
  | {
      readonly to: 'owner'
      readonly type: 'htlcCommitted'
      readonly failNow?: 'dust_exposure' | 'funding_conflicted'
      readonly htlc: {
        readonly id: bigint
        readonly amountMsat: Msat
        readonly paymentHash: PaymentHash
        readonly cltvExpiry: BlockHeight
        readonly onion: Uint8Array
        readonly pathKey?: Uint8Array
      }
    }
  /** A preimage for an HTLC that we offered, off chain or on. May come before the removal is irrevocable; told once. */
  | {
      readonly to: 'owner'
      readonly type: 'htlcFulfilled'
      readonly htlcId: bigint
      readonly origin: HtlcOrigin
      readonly preimage: Uint8Array
    }
  /** An HTLC that we offered is irrevocably gone without a preimage. `reason` is the peer's failure packet; without one we make our own. */
  | {
      readonly to: 'owner'
      readonly type: 'htlcFailed'
      readonly htlcId: bigint
      readonly origin: HtlcOrigin
      readonly failure:
        | { readonly kind: 'remote'; readonly reason: Uint8Array }
        | { readonly kind: 'malformed'; readonly failureCode: number; readonly sha256OfOnion: Uint8Array }
        | { readonly kind: 'onchain' }
        | { readonly kind: 'neverSent' }
    }
  /** `offerHtlc` could not be done; nothing has changed. */
  | { readonly to: 'owner'; readonly type: 'offerRefused'; readonly origin: HtlcOrigin; readonly refusal: Refusal }
  /** Another command could not be done. */
  | { readonly to: 'owner'; readonly type: 'refused'; readonly command: string; readonly refusal: Refusal }
  | { readonly to: 'owner'; readonly type: 'closing'; readonly how: CloseKind; readonly tx?: Tx }
  | { readonly to: 'owner'; readonly type: 'closed'; readonly how: CloseKind }
  /** The peer broke a rule; for the log. */
  | { readonly to: 'owner'; readonly type: 'violated'; readonly violation: Violation }
  /** Get this into the chain; repeated every block until it is, or is replaced. See Publication. */
  | { readonly to: 'chain'; readonly type: 'publish'; readonly publication: Publication }
  /** Tell the channel when one of these is spent (blocks and mempool). */
  | { readonly to: 'chain'; readonly type: 'watch'; readonly outpoints: readonly Outpoint[] }

/**
 * A transaction to get mined before `deadline`. `id` is stable over bumps. The same id at the same feerate is the same wish: what was
 * made of it is sent again. After a block, what is not published again is not wanted any more.
 * `whole` pays its own fee. `htlc` is a second-stage transaction of an anchor channel, signed SINGLE|ANYONECANPAY: the wallet adds
 * inputs and change. `anchor` is a commitment whose local anchor the wallet spends to raise the package's feerate.
 */
export type Publication = {
  readonly id: string
  readonly channelId: ChannelId
  readonly tx: Tx
  /** Spent outputs of `tx`, in order, when they are ours to sign or to check. */
  readonly spentValuesSat: readonly Sat[]
  readonly feeratePerKw: FeeratePerKw
  readonly deadline?: BlockHeight
  /** The most that fees may take of what is at stake (S10, S16). */
  readonly budgetSat: Sat
  /** What our signature of the channel's input must commit to besides. */
  readonly forkId?: number
} & (
  | { readonly kind: 'whole' }
  | {
      readonly kind: 'htlc'
      /** What onchain/anchor-spend.ts needs to sign the HTLC's input once the wallet's inputs and change are in. */
      readonly keyIndex: number
      readonly perCommitmentPoint: Uint8Array
      readonly witnessScript: Uint8Array
      readonly remoteSignature: Uint8Array
      readonly preimage?: Uint8Array
      /** Of `tx` with its witness, before the wallet adds anything. It pays no fee itself. */
      readonly weight: number
    }
  | {
      readonly kind: 'anchor'
      readonly anchorIndex: number
      readonly anchorScript: Uint8Array
      readonly keyIndex: number
      readonly parentFeeSat: Sat
    }
)
