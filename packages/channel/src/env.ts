/**
 * What a step may know besides state and input: plain data and a pure signer. No clock, no randomness, no I/O.
 */
import type { BlockHeight, FeeratePerKw, Msat, Network, Sat } from '@leyden/bitcoin'
import type { ChannelId, NodeId } from '@leyden/lnwire'
import type { Basepoints } from './state.ts'

/** Which secret of a channel signs. BOLT 3 § Key Derivation. */
export type KeyUse =
  | { readonly key: 'funding' }
  /** payment_basepoint itself: to_remote under option_static_remotekey. */
  | { readonly key: 'payment' }
  | { readonly key: 'htlc' | 'delayed'; readonly perCommitmentPoint: Uint8Array }
  | { readonly key: 'revocation'; readonly perCommitmentSecret: Uint8Array }

/** Holds the secrets of all channels of a node; deterministic from the seed, so that a restart signs the same. */
export interface Signer {
  basepoints(keyIndex: number): Basepoints
  /** Point of our commitment `number` (0 is the first). */
  perCommitmentPoint(keyIndex: number, number: number): Uint8Array
  /** The secret that revokes our commitment `number`. Called only for what has been superseded. */
  releaseSecret(keyIndex: number, number: number): Uint8Array
  /** 64-byte compact low-S signature of a 32-byte hash. */
  sign(keyIndex: number, use: KeyUse, hash: Uint8Array): Uint8Array
  /** The public key that `use` signs with. */
  publicKey(keyIndex: number, use: KeyUse): Uint8Array
  /** Signature by the node key over a gossip hash. */
  signNode(hash: Uint8Array): Uint8Array
}

/** A channel of at most so much needs so many confirmations. */
export interface DepthStep {
  readonly mostSat: Sat
  readonly blocks: number
}

/** Limits and wishes of the operator, with safe defaults in `defaultPolicy`. */
export interface ChannelPolicy {
  readonly dustLimitSat: Sat
  readonly maxHtlcValueInFlightMsat: Msat
  readonly maxAcceptedHtlcs: number
  readonly htlcMinimumMsat: Msat
  readonly toSelfDelayBlocks: number
  readonly maxToSelfDelayBlocks: number
  /** Reserve that we ask of the remote, as a share of the capacity in millionths (never below the dust limits). */
  readonly reserveMillionths: number
  /** Confirmations of a channel that a peer funds. */
  readonly minimumDepthBlocks: number
  /** Confirmations by value, in its place: ascending, the first step that the capacity fits under counts. Above the last: refused. */
  readonly depthSteps?: readonly DepthStep[]
  readonly minFundingSat: Sat
  readonly maxFundingSat: Sat
  /** S27, S28. */
  readonly maxDustExposureMsat: Msat
  /** An HTLC that we received and know the preimage of goes to the chain so many blocks before it expires. BOLT 2 § cltv_expiry_delta Selection. */
  readonly fulfillDeadlineBlocks: number
  /** We go to the chain so many blocks after one that we offered has expired. */
  readonly timeoutGraceBlocks: number
  /** On-chain facts count as final after so many confirmations. */
  readonly safeDepthBlocks: number
}

export interface ChannelEnv {
  readonly network: Network
  readonly nodeId: NodeId
  readonly height: BlockHeight
  /** What we think a commitment needs, and what a claim needs to be mined soon. */
  readonly feerates: {
    readonly commitment: FeeratePerKw
    readonly close: FeeratePerKw
    readonly claim: FeeratePerKw
    readonly minimum: FeeratePerKw
  }
  readonly signer: Signer
  readonly policy: ChannelPolicy
  /** Whether another channel of this node has, or ever had, this id, temporary or final (S26). */
  readonly isTaken?: (id: ChannelId) => boolean
}
