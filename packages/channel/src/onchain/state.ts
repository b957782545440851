/**
 * What a channel knows about its end on the chain. Plain data, stored with the channel. BOLT 5.
 * Facts only: which transaction spent the funding output, the outputs of it that concern us, who spent those, and what we bid.
 * Every fact carries the height that it was seen at, so a reorg takes it back by height alone (S14, S15). What to do follows from
 * the facts and is never stored: claims are derived again at each block and after a restart.
 */
import { unreachable } from '@leyden/codec'
import type { BlockHash, BlockHeight, FeeratePerKw, Msat, Outpoint, Sat, Tx, Txid } from '@leyden/bitcoin'
import type { PaymentHash } from '@leyden/lnwire'
import type { CloseKind, Side } from '../state.ts'

/**
 * What spent the funding output. `remoteSigned`: theirs that we signed, before they revoked its predecessor.
 * `future`: theirs, with a number that we do not know: we have lost data. `unknown`: nothing that we can name.
 */
export type SpendKind = 'mutual' | 'local' | 'remote' | 'remoteSigned' | 'revoked' | 'future' | 'unknown'

/** The confirmed transaction that spent the funding output. */
export interface FundingSpend {
  readonly kind: SpendKind
  readonly tx: Tx
  readonly txid: Txid
  readonly height: BlockHeight
  readonly hash: BlockHash
  /** Of a commitment: its number and the point of its keys. */
  readonly number?: number
  readonly perCommitmentPoint?: Uint8Array
}

/** An HTLC as an output or a claim refers to it; `(offeredBy, id)` names it (S4). */
export interface HtlcRef {
  readonly offeredBy: Side
  readonly id: bigint
  readonly amountMsat: Msat
  readonly paymentHash: PaymentHash
  readonly cltvExpiry: BlockHeight
}

/** How an output can become ours. */
export type ClaimPath =
  /** Our to_local and our second stage: with our delayed key, after the delay. */
  | { readonly by: 'delay'; readonly delayBlocks: number }
  /** to_remote of their commitment: with our payment key. */
  | { readonly by: 'payment' }
  /** An HTLC of our commitment: by its HTLC transaction, which the remote has signed. `secondScript` is the witness script of its output. */
  | {
      readonly by: 'htlcTransaction'
      readonly tx: Tx
      readonly remoteSignature: Uint8Array
      readonly secondScript: Uint8Array
    }
  /** An HTLC of their commitment: by a transaction of ours, with its preimage or after its expiry. */
  | { readonly by: 'htlcKey' }
  /** Anything of a commitment that they revoked. `secondScript` of an HTLC: where their HTLC transaction pays to. */
  | { readonly by: 'revocation'; readonly of: 'toLocal' | 'htlc'; readonly secondScript: Uint8Array }

/** Who spent an output and by which branch of its script. */
export interface OutputSpend {
  readonly txid: Txid
  readonly height: BlockHeight
  readonly by: Side
  readonly branch: 'delay' | 'payment' | 'success' | 'timeout' | 'preimage' | 'expired' | 'revocation' | 'other'
}

/** An output that concerns us: of the commitment, or of a second-stage transaction. */
export interface OnchainOutput {
  readonly outpoint: Outpoint
  readonly valueSat: Sat
  /** Height of the transaction that made it. */
  readonly createdAt: BlockHeight
  /** Empty where the output is P2WPKH. */
  readonly witnessScript: Uint8Array
  readonly path: ClaimPath
  readonly htlc?: HtlcRef
  readonly spent?: OutputSpend
}

export interface Onchain {
  /** Our own commitment is to be published until something spends the funding output. */
  readonly forced: boolean
  readonly spend?: FundingSpend
  /** Spent the funding output until a reorg; published again. */
  readonly displaced?: Tx
  readonly outputs: readonly OnchainOutput[]
  /** What we bid for each claim, by its id; it never falls, whatever happens in between (S8). */
  readonly bids: Readonly<Record<string, FeeratePerKw>>
  /** Preimages that the owner gave for HTLCs that we received, by HTLC id. */
  readonly preimages: readonly { readonly htlcId: bigint; readonly preimage: Uint8Array }[]
  /** The last transaction that the owner was told of as closing the channel. */
  readonly toldClosing?: Txid
}

export const NO_ONCHAIN: Onchain = { forced: false, outputs: [], bids: {}, preimages: [] }

/** How the owner sees an end. */
export const closeKindOf = (kind: SpendKind): CloseKind => {
  switch (kind) {
    case 'mutual':
    case 'local':
    case 'revoked':
      return kind
    case 'remote':
    case 'remoteSigned':
    case 'future':
    case 'unknown':
      return 'remote'
    default:
      return unreachable(kind)
  }
}
