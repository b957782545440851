/**
 * Expected weights, the fees that follow from them, and which outputs are too small to exist.
 * BOLT 3 § Fee Calculation, § Trimmed Outputs, § Dust Limits.
 * One rule of trimming serves building, accepting and counting dust: a second one would differ near the limit (S29, S30).
 */
import { unreachable } from '@leyden/codec'
import { classifyScript, feeForWeight, Sat, type FeeratePerKw } from '@leyden/bitcoin'
import type { CommitmentFormat } from '../state.ts'
import type { CommitmentSpec, SpecHtlc } from './spec.ts'

/** Without HTLCs. BOLT 3 § Fee Calculation. */
export const COMMITMENT_WEIGHT: Readonly<Record<CommitmentFormat, number>> = { static_remotekey: 724, anchors: 1124 }
export const HTLC_OUTPUT_WEIGHT = 172
export const HTLC_TIMEOUT_WEIGHT: Readonly<Record<CommitmentFormat, number>> = { static_remotekey: 663, anchors: 666 }
export const HTLC_SUCCESS_WEIGHT: Readonly<Record<CommitmentFormat, number>> = { static_remotekey: 703, anchors: 706 }

/** BOLT 3 § to_local_anchor and to_remote_anchor Output. */
export const ANCHOR_SAT: Sat = Sat(330n)

/** Fee of the HTLC transaction of an output: success for a received HTLC, timeout for an offered one. Zero under anchors. */
export const htlcTransactionFee = (format: CommitmentFormat, direction: SpecHtlc['direction'], feeratePerKw: FeeratePerKw): Sat =>
  format === 'anchors'
    ? Sat(0n)
    : feeForWeight(feeratePerKw, (direction === 'offered' ? HTLC_TIMEOUT_WEIGHT : HTLC_SUCCESS_WEIGHT)[format])

/** The least HTLC that has an output on a commitment: what pays its HTLC transaction and leaves the dust limit. */
export const trimThreshold = (
  format: CommitmentFormat,
  direction: SpecHtlc['direction'],
  feeratePerKw: FeeratePerKw,
  dustLimitSat: Sat,
): Sat => Sat(dustLimitSat + htlcTransactionFee(format, direction, feeratePerKw))

/** Whether an HTLC has no output on a commitment of this feerate whose holder has this dust limit. Equal to the limit is kept. */
export const isTrimmed = (
  format: CommitmentFormat,
  htlc: { readonly direction: SpecHtlc['direction']; readonly amountMsat: bigint },
  feeratePerKw: FeeratePerKw,
  dustLimitSat: Sat,
): boolean => htlc.amountMsat / 1000n < trimThreshold(format, htlc.direction, feeratePerKw, dustLimitSat)

/** The HTLCs of a commitment that have an output, in no order of outputs. */
export const untrimmedHtlcs = (format: CommitmentFormat, spec: CommitmentSpec, dustLimitSat: Sat): readonly SpecHtlc[] =>
  spec.htlcs.filter((htlc) => !isTrimmed(format, htlc, spec.feeratePerKw, dustLimitSat))

/** The base fee for a number of HTLC outputs, which the opener pays. Anchors' values are not in it. */
export const commitmentFee = (format: CommitmentFormat, feeratePerKw: FeeratePerKw, htlcOutputs: number): Sat =>
  feeForWeight(feeratePerKw, COMMITMENT_WEIGHT[format] + HTLC_OUTPUT_WEIGHT * htlcOutputs)

/** What the opener's balance must bear besides its own output: base fee and, under anchors, both anchors. */
export const openerCost = (format: CommitmentFormat, feeratePerKw: FeeratePerKw, htlcOutputs: number): Sat =>
  Sat(commitmentFee(format, feeratePerKw, htlcOutputs) + (format === 'anchors' ? 2n * ANCHOR_SAT : 0n))

/** {@link openerCost} of what a commitment contains. */
export const openerCostOf = (format: CommitmentFormat, spec: CommitmentSpec, dustLimitSat: Sat): Sat =>
  openerCost(format, spec.feeratePerKw, untrimmedHtlcs(format, spec, dustLimitSat).length)

/** Below it nodes do not relay an output with this script. BOLT 3 § Dust Limits. */
export const dustThreshold = (scriptPubKey: Uint8Array): Sat => {
  const form = classifyScript(scriptPubKey)
  switch (form.type) {
    case 'op_return':
      return Sat(0n)
    case 'p2wpkh':
      return Sat(294n)
    case 'p2wsh':
    case 'p2tr':
      return Sat(330n)
    case 'p2a':
      return Sat(240n)
    case 'p2sh':
      return Sat(540n)
    case 'witness_unknown':
      return Sat(354n)
    case 'p2pkh':
    case 'p2pk':
    case 'multisig':
    case 'nonstandard':
      return Sat(546n)
    default:
      return unreachable(form)
  }
}
