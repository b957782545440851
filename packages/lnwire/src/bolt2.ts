/**
 * Channel messages: establishment v1, close, normal operation, reestablish, quiescence.
 * BOLT 2. Message names and field order are the spec's.
 * Points are checked to be on the curve, amounts to be at most 21 million BTC: what decodes is safe to calculate with, but whether it
 * is acceptable is the channel's question. Interactive transactions, v2 establishment and splicing are not here.
 */
import { array, bytes, type Infer, message, restBytes, sized, struct, u16, u32, u64, u8 } from '@leyden/codec'
import {
  blockHeight,
  chainHash,
  channelId,
  feeratePerKw,
  htlcId,
  msat,
  msatLimit,
  paymentHash,
  preimage,
  sat,
  shortChannelId,
  signature,
  txid,
  validPoint,
} from './primitives.ts'

/** The channel flags byte of open_channel, bit 0. */
export const ANNOUNCE_CHANNEL = 1
/** Bit 0 of `nextFunding.retransmitFlags`. */
export const RETRANSMIT_COMMITMENT_SIGNED = 1
/** Bit 0 of `myCurrentFundingLocked.retransmitFlags`. */
export const RETRANSMIT_ANNOUNCEMENT_SIGNATURES = 1

/** Longest list of HTLC signatures: 483 HTLCs of each side. BOLT 2 § The open_channel Message, max_accepted_htlcs. */
const MAX_HTLC_SIGNATURES = 966
/** No script that we could accept is longer than a witness program; the cap leaves room to answer a wrong one with a reason. */
const MAX_SCRIPT = 10_000
const script = sized(u16, MAX_SCRIPT)

const openingTlvs = { upfrontShutdownScript: [0, restBytes], channelType: [1, restBytes] } as const

/** BOLT 2 § The open_channel Message. */
export const openChannel = message(
  32,
  'open_channel',
  {
    chainHash,
    temporaryChannelId: channelId,
    fundingSatoshis: sat,
    pushMsat: msat,
    dustLimitSatoshis: sat,
    maxHtlcValueInFlightMsat: msatLimit,
    channelReserveSatoshis: sat,
    htlcMinimumMsat: msat,
    feeratePerKw,
    toSelfDelay: u16,
    maxAcceptedHtlcs: u16,
    fundingPubkey: validPoint,
    revocationBasepoint: validPoint,
    paymentBasepoint: validPoint,
    delayedPaymentBasepoint: validPoint,
    htlcBasepoint: validPoint,
    firstPerCommitmentPoint: validPoint,
    channelFlags: u8,
  },
  openingTlvs,
)
export type OpenChannel = Infer<typeof openChannel>

/** BOLT 2 § The accept_channel Message. */
export const acceptChannel = message(
  33,
  'accept_channel',
  {
    temporaryChannelId: channelId,
    dustLimitSatoshis: sat,
    maxHtlcValueInFlightMsat: msatLimit,
    channelReserveSatoshis: sat,
    htlcMinimumMsat: msat,
    minimumDepth: u32,
    toSelfDelay: u16,
    maxAcceptedHtlcs: u16,
    fundingPubkey: validPoint,
    revocationBasepoint: validPoint,
    paymentBasepoint: validPoint,
    delayedPaymentBasepoint: validPoint,
    htlcBasepoint: validPoint,
    firstPerCommitmentPoint: validPoint,
  },
  openingTlvs,
)
export type AcceptChannel = Infer<typeof acceptChannel>

/** BOLT 2 § The funding_created Message. */
export const fundingCreated = message(34, 'funding_created', {
  temporaryChannelId: channelId,
  fundingTxid: txid,
  fundingOutputIndex: u16,
  signature,
})
export type FundingCreated = Infer<typeof fundingCreated>

/** BOLT 2 § The funding_signed Message. */
export const fundingSigned = message(35, 'funding_signed', { channelId, signature })
export type FundingSigned = Infer<typeof fundingSigned>

/** BOLT 2 § The channel_ready Message. */
export const channelReady = message(
  36,
  'channel_ready',
  { channelId, secondPerCommitmentPoint: validPoint },
  { shortChannelId: [1, shortChannelId] },
)
export type ChannelReady = Infer<typeof channelReady>

/** BOLT 2 § Closing Initiation: shutdown. */
export const shutdown = message(38, 'shutdown', { channelId, scriptpubkey: script })
export type Shutdown = Infer<typeof shutdown>

/** BOLT 2 § Legacy Closing Negotiation: closing_signed. */
export const closingSigned = message(
  39,
  'closing_signed',
  { channelId, feeSatoshis: sat, signature },
  { feeRange: [1, struct({ minFeeSatoshis: sat, maxFeeSatoshis: sat })] },
)
export type ClosingSigned = Infer<typeof closingSigned>

const closingFields = {
  channelId,
  closerScriptpubkey: script,
  closeeScriptpubkey: script,
  feeSatoshis: sat,
  locktime: u32,
}
const closingTlvs = {
  closerOutputOnly: [1, signature],
  closeeOutputOnly: [2, signature],
  closerAndCloseeOutputs: [3, signature],
} as const

/** BOLT 2 § Closing Negotiation: closing_complete and closing_sig. */
export const closingComplete = message(40, 'closing_complete', closingFields, closingTlvs)
export type ClosingComplete = Infer<typeof closingComplete>

/** BOLT 2 § Closing Negotiation: closing_complete and closing_sig. */
export const closingSig = message(41, 'closing_sig', closingFields, closingTlvs)
export type ClosingSig = Infer<typeof closingSig>

/** BOLT 2 § Channel Quiescence. */
export const stfu = message(2, 'stfu', { channelId, initiator: u8 })
export type Stfu = Infer<typeof stfu>

/** Hold times (20 u32, in units of 100 ms) and 210 truncated HMACs of 4 bytes. BOLT 4 § Attribution data. */
export const attributionData = struct({ htlcHoldTimes: bytes(80), truncatedHmacs: bytes(840) })
export type AttributionData = Infer<typeof attributionData>

/** BOLT 2 § Adding an HTLC. */
export const updateAddHtlc = message(
  128,
  'update_add_htlc',
  { channelId, id: htlcId, amountMsat: msat, paymentHash, cltvExpiry: blockHeight, onionRoutingPacket: bytes(1366) },
  { pathKey: [0, validPoint] },
)
export type UpdateAddHtlc = Infer<typeof updateAddHtlc>

/** BOLT 2 § Removing an HTLC. */
export const updateFulfillHtlc = message(
  130,
  'update_fulfill_htlc',
  { channelId, id: htlcId, paymentPreimage: preimage },
  { attributionData: [1, attributionData] },
)
export type UpdateFulfillHtlc = Infer<typeof updateFulfillHtlc>

/** BOLT 2 § Removing an HTLC. `reason` is an encrypted failure packet of BOLT 4. */
export const updateFailHtlc = message(
  131,
  'update_fail_htlc',
  { channelId, id: htlcId, reason: sized(u16, 65_535) },
  { attributionData: [1, attributionData] },
)
export type UpdateFailHtlc = Infer<typeof updateFailHtlc>

/** BOLT 2 § Removing an HTLC. */
export const updateFailMalformedHtlc = message(135, 'update_fail_malformed_htlc', {
  channelId,
  id: htlcId,
  sha256OfOnion: bytes(32),
  failureCode: u16,
})
export type UpdateFailMalformedHtlc = Infer<typeof updateFailMalformedHtlc>

/** BOLT 2 § Committing Updates So Far. */
export const commitmentSigned = message(
  132,
  'commitment_signed',
  { channelId, signature, htlcSignatures: array(signature, u16, MAX_HTLC_SIGNATURES) },
  { fundingTxid: [1, txid] },
)
export type CommitmentSigned = Infer<typeof commitmentSigned>

/** BOLT 2 § Completing the Transition to the Updated State. */
export const revokeAndAck = message(133, 'revoke_and_ack', {
  channelId,
  perCommitmentSecret: bytes(32),
  nextPerCommitmentPoint: validPoint,
})
export type RevokeAndAck = Infer<typeof revokeAndAck>

/** BOLT 2 § Updating Fees. */
export const updateFee = message(134, 'update_fee', { channelId, feeratePerKw })
export type UpdateFee = Infer<typeof updateFee>

/** BOLT 2 § Message Retransmission. */
export const channelReestablish = message(
  136,
  'channel_reestablish',
  {
    channelId,
    nextCommitmentNumber: u64,
    nextRevocationNumber: u64,
    yourLastPerCommitmentSecret: bytes(32),
    myCurrentPerCommitmentPoint: validPoint,
  },
  {
    nextFunding: [1, struct({ nextFundingTxid: txid, retransmitFlags: u8 })],
    myCurrentFundingLocked: [5, struct({ myCurrentFundingLockedTxid: txid, retransmitFlags: u8 })],
  },
)
export type ChannelReestablish = Infer<typeof channelReestablish>
