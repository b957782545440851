/**
 * One channel, whole: what is agreed, what is pending, what is on chain. Plain immutable data; record.ts stores it.
 * BOLT 2 § Normal Operation gives every update five stages; from them and the settled balances each commitment is derived
 * (transactions/spec.ts). There is no list of commitments' contents to keep in step, and no copy per state.
 * What is not here: secrets (env.signer holds them, we keep `keyIndex`), sockets, payments (an HTLC has an opaque `origin`).
 */

import type { BlockHash, BlockHeight, FeeratePerKw, Msat, Outpoint, Sat, Tx, Txid } from '@leyden/bitcoin'
import type { ChannelId, NodeId, PaymentHash, ShortChannelId } from '@leyden/lnwire'
import type { Onchain } from './onchain/state.ts'
import type { RevocationStore } from './transactions/shachain.ts'

/** Which of the two peers; always from our own view. */
export type Side = 'local' | 'remote'

/** The commitment formats that we speak. `anchors` is anchors with zero-fee HTLC transactions (bit 22); bit 20 is refused (S12). */
export type CommitmentFormat = 'static_remotekey' | 'anchors'

/** BOLT 2 § The open_channel Message, channel_type. */
export interface ChannelType {
  readonly format: CommitmentFormat
  readonly scidAlias: boolean
  readonly zeroConf: boolean
}

/** The points that one side contributes to all its commitments. 33-byte compressed. BOLT 3 § Key Derivation. */
export interface Basepoints {
  readonly fundingPubkey: Uint8Array
  readonly revocationBasepoint: Uint8Array
  readonly paymentBasepoint: Uint8Array
  readonly delayedPaymentBasepoint: Uint8Array
  readonly htlcBasepoint: Uint8Array
}

/** One side's half of the opening agreement. Each field binds *the side that it belongs to*, whoever asked for it. */
export interface Party extends Basepoints {
  /** Outputs below it are not made on this side's own commitment. */
  readonly dustLimitSat: Sat
  /** The most that HTLCs which this side *receives* may be worth together. */
  readonly maxHtlcValueInFlightMsat: Msat
  /** The most HTLCs that this side *receives* at once. */
  readonly maxAcceptedHtlcs: number
  /** The least HTLC that this side receives. */
  readonly htlcMinimumMsat: Msat
  /** What this side must keep (the other side asked for it). */
  readonly reserveSat: Sat
  /** The delay on this side's own to_local (the other side asked for it). */
  readonly toSelfDelayBlocks: number
  /** Where this side's part must go at a cooperative close, if it said so in advance. */
  readonly upfrontShutdownScript?: Uint8Array
}

/**
 * How far an update proposed by X to Y has come. BOLT 2 § Normal Operation.
 * 0 proposed · 1 in Y's latest commitment · 2 Y has revoked the one before · 3 in X's latest commitment · 4 X has revoked the one before: irrevocable.
 */
export type Stage = 0 | 1 | 2 | 3 | 4

/** Who made us offer an HTLC. Opaque here; the owner gets it back with the outcome (S47, S48). */
export type HtlcOrigin =
  | { readonly kind: 'payment'; readonly paymentId: string; readonly attempt: number }
  | { readonly kind: 'relay'; readonly channelId: ChannelId; readonly htlcId: bigint }

/** How an HTLC ends. Proposed by the side that received the HTLC. */
export type Removal =
  | { readonly kind: 'fulfilled'; readonly preimage: Uint8Array }
  | { readonly kind: 'failed'; readonly reason: Uint8Array }
  | { readonly kind: 'malformed'; readonly failureCode: number; readonly sha256OfOnion: Uint8Array }

/** One HTLC. `(offeredBy, id)` names it; hash and amount never do (S4). */
export interface Htlc {
  readonly offeredBy: Side
  readonly id: bigint
  readonly amountMsat: Msat
  readonly paymentHash: PaymentHash
  readonly cltvExpiry: BlockHeight
  /** 1,366 bytes. */
  readonly onion: Uint8Array
  readonly pathKey?: Uint8Array
  /** Of ours only. */
  readonly origin?: HtlcOrigin
  readonly stage: Stage
  /** The number of the first remote commitment that contained it; set when it enters one. */
  readonly inRemoteFrom?: number
  /** The number of the first remote commitment that does not contain it any more; set when its removal is signed. */
  readonly outOfRemoteFrom?: number
  readonly removal?: Removal
  readonly removalStage?: Stage
  /** The owner has been told `htlcCommitted` (received ones) or the outcome (offered ones); it is never told twice. */
  readonly told?: boolean
}

/** An update_fee, proposed by the opener. At most one per stage is kept (S43). */
export interface FeeUpdate {
  readonly feeratePerKw: FeeratePerKw
  readonly stage: Stage
}

/** A funding output that holds the channel. The list has one entry until splicing or RBF. */
export interface Funding {
  readonly outpoint: Outpoint
  readonly capacitySat: Sat
  /** Where it is in the chain. */
  readonly confirmed?: {
    readonly height: BlockHeight
    readonly txIndex: number
    readonly blockHash: BlockHash
    readonly coinbase: boolean
  }
  /** Where a reorganisation has taken it out of the chain; absent while it is there, or was never. */
  readonly leftAtHeight?: BlockHeight
}

/** A transaction in the chain that takes what the funding transaction, or one that it stands on, needs: while it is there, that cannot be. */
export interface FundingConflict {
  readonly txid: Txid
  readonly height: BlockHeight
}

/** What is signed for one funding. Balances are *settled*: HTLCs that are pending are deducted by transactions/spec.ts. */
export interface Active {
  readonly funding: Funding
  readonly localMsat: Msat
  readonly remoteMsat: Msat
  /** The remote's signatures for our latest commitment: 64 bytes, and one per untrimmed HTLC in output order. */
  readonly remoteSignature?: Uint8Array
  readonly remoteHtlcSignatures: readonly Uint8Array[]
}

/** Where the opening stands, then the life, then the end. */
export type Phase =
  /** We sent open_channel. `pending` is what we asked for. */
  | { readonly name: 'awaitingAccept' }
  /** We got accept_channel; the wallet is to make a transaction that pays `fundingScript`. */
  | { readonly name: 'awaitingFunding' }
  /** We accepted. */
  | { readonly name: 'awaitingFundingCreated' }
  /** We sent funding_created. */
  | { readonly name: 'awaitingFundingSigned' }
  /** Both have signed; waiting for depth and channel_ready of both. */
  | { readonly name: 'awaitingReady'; readonly localReady: boolean; readonly remoteReady: boolean }
  | { readonly name: 'normal' }
  /** shutdown sent or received; HTLCs drain; then the closing transaction is negotiated. */
  | { readonly name: 'shuttingDown' }
  /** A closing or commitment transaction is published or seen; `onchain` resolves it. */
  | { readonly name: 'closing' }
  | { readonly name: 'closed'; readonly how: CloseKind }

/** `fundingLost`: its funding transaction can never be mined (any more): see funding-loss.ts. */
export type CloseKind = 'mutual' | 'local' | 'remote' | 'revoked' | 'neverFunded' | 'abandoned' | 'fundingLost'

/** Cooperative close under way. BOLT 2 § Channel Close. */
export interface Closing {
  /** What our shutdown says, and theirs said last. */
  readonly localScript?: Uint8Array
  readonly remoteScript?: Uint8Array
  /** Our shutdown has been sent, on this connection or an earlier one: after a reconnect it is sent again. */
  readonly sent: boolean
  /** Theirs came on this connection: negotiation restarts from it. */
  readonly received: boolean
  /** The feerate that the owner wants for it. */
  readonly feeratePerKw?: FeeratePerKw
  /** Legacy negotiation: our last offer, and theirs, of this connection. */
  readonly lastOfferSat?: Sat
  readonly remoteOfferSat?: Sat
  /** A closing_complete of ours is due: at the start, and when the owner wants another feerate or script. */
  readonly wantsOffer: boolean
  /** Our closing_complete of this connection that waits for its closing_sig. */
  readonly offer?: ClosingOffer
  /** Fully signed candidates, the latest last: with option_simple_close there can be several (at most MAX_CLOSING_TRANSACTIONS). */
  readonly transactions: readonly Tx[]
}

/** What a closing_complete says besides signatures. */
export interface ClosingOffer {
  readonly closerScript: Uint8Array
  readonly closeeScript: Uint8Array
  readonly feeSat: Sat
  readonly lockTime: number
}

export interface Channel {
  /** Temporary until the funding outpoint is known. */
  readonly channelId: ChannelId
  readonly temporaryChannelId: ChannelId
  readonly remoteNodeId: NodeId
  readonly localNodeId: NodeId
  readonly role: 'opener' | 'accepter'
  readonly type: ChannelType
  readonly announce: boolean
  /** Which keys of the signer are this channel's. Never reused. */
  readonly keyIndex: number
  /** option_simple_close was negotiated. Renewed at each connection. */
  readonly simpleClose: boolean
  /** option_shutdown_anysegwit was negotiated. Renewed at each connection. */
  readonly anySegwit: boolean
  /** When it was opened: what is not funded 2,016 blocks later is forgotten. BOLT 2 § The channel_ready Message. */
  readonly openedAtHeight: BlockHeight
  readonly phase: Phase
  readonly local: Party
  /** Complete from accept_channel / open_channel on. */
  readonly remote: Party
  readonly capacitySat: Sat
  readonly pushMsat: Msat
  /** The confirmations that we, and they, wait for. */
  readonly minimumDepthBlocks: number
  /** The fork (its id) that every signature of the channel commits to. */
  readonly forkId?: number
  /** What the owner wanted to pay for the funding transaction, where we open. */
  readonly fundingFeeratePerKw?: FeeratePerKw
  /** The funding transaction, until it is buried (rebroadcast). The accepter has it from the block that it came in. */
  readonly fundingTx?: Tx
  /** What the funding transaction spends, once known. The accepter sees it in the mempool or in its block. */
  readonly fundingInputs?: readonly Outpoint[]
  readonly fundingConflict?: FundingConflict
  readonly active: readonly Active[]

  /** The feerate that is irrevocable; `feeUpdates` holds what is on the way. */
  readonly feeratePerKw: FeeratePerKw
  readonly feeUpdates: readonly FeeUpdate[]
  /** Offered and received, in order of arrival, until their removal is irrevocable. */
  readonly htlcs: readonly Htlc[]
  readonly nextLocalHtlcId: bigint
  readonly nextRemoteHtlcId: bigint

  /** Number of our latest signed commitment, and of theirs that they have revoked up to. */
  readonly localCommitmentNumber: number
  readonly remoteCommitmentNumber: number
  /** Point of the remote's current commitment, and of its next one. 33 bytes. */
  readonly remotePoint?: Uint8Array
  readonly remoteNextPoint?: Uint8Array
  /** We sent commitment_signed for remoteCommitmentNumber + 1 and wait for the revocation. `afterLocalNumber` orders the retransmission. */
  readonly awaitingRevocation?: { readonly afterLocalNumber: number }
  readonly revocations: RevocationStore

  readonly shortChannelId?: ShortChannelId
  /** Our alias for the remote, and theirs for us. */
  readonly localAlias: ShortChannelId
  readonly remoteAlias?: ShortChannelId
  /** Signatures of the channel announcement for `shortChannelId`. BOLT 7 § The announcement_signatures Message. */
  readonly announcement?: {
    /** Ours went out on this connection. */
    readonly sent: boolean
    readonly remoteNodeSignature?: Uint8Array
    readonly remoteBitcoinSignature?: Uint8Array
    /** The owner has been told `announceable`. */
    readonly told?: boolean
  }
  readonly closing?: Closing
  readonly onchain?: Onchain
  /** The wallet's script that every on-chain claim and our shutdown pays to. */
  readonly destinationScript: Uint8Array
  /** The error that we sent or received, if one ended the channel. */
  readonly error?: string
  /** The chain as this channel has seen it. */
  readonly height: BlockHeight
  /** The peer proved that it is ahead of us: we must not broadcast our commitment (S3-like, BOLT 2 data loss). */
  readonly fellBehind?: boolean
  /** The connection. Not stored: a loaded channel is offline. */
  readonly link: Link
}

/** Offline; channel_reestablish sent and waited for; or in step. `quiet` counts messages that wait. */
export type Link = 'offline' | 'reestablishing' | 'online'

/** One row of what a revoked remote commitment may contain: written when an HTLC leaves, read only when one is published. */
export interface PastHtlc {
  readonly offeredBy: Side
  readonly id: bigint
  readonly amountMsat: Msat
  readonly paymentHash: PaymentHash
  readonly cltvExpiry: BlockHeight
  /** It was in every remote commitment from the first to the last of these numbers. */
  readonly first: number
  readonly last: number
}
