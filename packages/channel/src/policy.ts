/**
 * The operator's safe defaults, and the bounds on what a peer may ask for that BOLT 2 leaves to the receiver's judgement
 * ("unreasonably large", "too small"). BOLT 2 § The open_channel Message, § The accept_channel Message, § Updating Fees.
 */
import { FeeratePerKw, Msat, Sat } from '@leyden/bitcoin'
import type { ChannelEnv, ChannelPolicy } from './env.ts'

export const defaultPolicy: ChannelPolicy = {
  dustLimitSat: Sat(354n),
  maxHtlcValueInFlightMsat: Msat(100_000_000_000n),
  maxAcceptedHtlcs: 483,
  htlcMinimumMsat: Msat(1n),
  toSelfDelayBlocks: 144,
  maxToSelfDelayBlocks: 2_016,
  reserveMillionths: 10_000,
  minimumDepthBlocks: 3,
  minFundingSat: Sat(20_000n),
  maxFundingSat: Sat(1_000_000_000n),
  maxDustExposureMsat: Msat(50_000_000n),
  fulfillDeadlineBlocks: 18,
  timeoutGraceBlocks: 2,
  safeDepthBlocks: 6,
}

/** Confirmations of a channel of that capacity; undefined when no number is enough. */
export const depthFor = ({ minimumDepthBlocks, depthSteps }: ChannelPolicy, capacitySat: Sat): number | undefined =>
  depthSteps === undefined ? minimumDepthBlocks : depthSteps.find(({ mostSat }) => capacitySat <= mostSat)?.blocks

/** BOLT 2 § The open_channel Message: funding below this without option_support_large_channel. */
export const LARGE_CHANNEL_SAT = 16_777_216n
/** BOLT 2 § The open_channel Message. */
export const MAX_ACCEPTED_HTLCS = 483
/** BOLT 2 § The open_channel Message: the least dust limit, that of an unknown segwit version. */
export const MIN_DUST_LIMIT_SAT = 354n
/** A greater dust limit of the peer turns our HTLCs into fees. LDK and CLN use up to 546; BOLT 3 § Dust Limits wants room above. */
export const MAX_DUST_LIMIT_SAT = 1_000n
/** The greatest part of the capacity that we let a peer ask for as our reserve. */
export const MAX_RESERVE_DIVISOR = 5n
/** The least in-flight limit of a peer that is worth a channel. */
export const MIN_IN_FLIGHT_MSAT = 1_000_000n
/** The most confirmations that we wait for at a peer's wish. */
export const MAX_MINIMUM_DEPTH_BLOCKS = 144
/** Consensus: outputs of a coinbase transaction cannot be spent before. BOLT 2 § The channel_ready Message (S25). */
export const COINBASE_DEPTH_BLOCKS = 100
/** BOLT 2 § The channel_ready Message: what is not funded by then is forgotten. */
export const FUNDING_TIMEOUT_BLOCKS = 2_016
/** BOLT 7 § The announcement_signatures Message; 6 by custom and in BOLT 7 § channel_announcement. */
export const ANNOUNCE_DEPTH_BLOCKS = 6
/** BOLT 2 § Adding an HTLC: cltv_expiry is a height. */
export const CLTV_LIMIT = 500_000_000
/** How far ahead an HTLC that we offer may expire (S67). BOLT 4 § Failure Messages, expiry_too_far. */
export const MAX_CLTV_AHEAD_BLOCKS = 2_016
/** Each replaces the one before; a peer that wants more is asked to wait for one to confirm (S41). */
export const MAX_CLOSING_TRANSACTIONS = 10

/** A peer's feerate may be so many times our own estimate. */
const MAX_FEERATE_MULTIPLE = 10
/** And it may always be this (100 sat/vbyte): estimates differ most where they are low. */
const MAX_FEERATE_FLOOR = 25_000

/** The bounds within which we accept a commitment feerate of the peer (S28). */
export const feerateBounds = (env: ChannelEnv): { readonly least: FeeratePerKw; readonly most: FeeratePerKw } => ({
  least: env.feerates.minimum,
  most: FeeratePerKw(Math.min(0xffff_ffff, Math.max(MAX_FEERATE_FLOOR, env.feerates.commitment * MAX_FEERATE_MULTIPLE))),
})
