/** BOLT 4: onions built and peeled, hop payloads, failures, route blinding. */
export {
  blindedAmountToForward,
  type BlindedHop,
  type BlindedPath,
  buildBlindedPath,
  encodeRecipientData,
  type PaymentRelay,
  type RecipientData,
  unblind,
  type Unblinded,
} from './blinded-path.ts'
export {
  BADONION,
  decodeFailure,
  encodeFailure,
  type Failure,
  failureCode,
  failureFromMalformed,
  type FailureType,
  NODE,
  PERM,
  type UnknownFailure,
  UPDATE,
} from './failure-message.ts'
export { buildFailure, type ReturnedFailure, unwrapFailure, wrapFailure } from './failure-packet.ts'
export {
  type BlindedFinalPayload,
  type BlindedForwardPayload,
  encodeHopPayload,
  type FinalPayload,
  type ForwardPayload,
  type HopPayload,
  type InvalidPayload,
  readHopPayload,
} from './hop-payload.ts'
export {
  blindedSecret,
  buildOnion,
  INVALID_ONION_BLINDING,
  INVALID_ONION_HMAC,
  INVALID_ONION_KEY,
  INVALID_ONION_VERSION,
  type Onion,
  ONION_PACKET_BYTES,
  ONION_PAYLOADS_BYTES,
  type OnionHop,
  onionPayloadsBytes,
  type OnionProblem,
  type Peeled,
  peelOnion,
} from './sphinx.ts'
