/**
 * Signatures over commitments: made for the remote's, checked for ours, put together when ours is published.
 * BOLT 2 § Committing Updates So Far; BOLT 3 § Commitment Transaction.
 * The remote's signatures are the only thing about our commitment that cannot be derived again: state.ts keeps them in `active`.
 */
import { forkSighashType, SIGHASH, sighashV0, type Tx } from '@leyden/bitcoin'
import { ecdsaVerify } from '@leyden/crypto'
import type { Signer } from '../env.ts'
import type { Active, Channel } from '../state.ts'
import { violation, type Violation } from '../violations.ts'
import type { BuiltCommitment } from './commitment.ts'
import { otherHtlcSighash, withWitness } from './htlc-tx.ts'
import { fundingWitness } from './scripts.ts'

/** What commitment_signed carries: 64 bytes each. */
export interface CommitmentSignatures {
  readonly signature: Uint8Array
  /** One per HTLC output, in output order. */
  readonly htlcSignatures: readonly Uint8Array[]
}

/** What both sign of a commitment. 32 bytes. */
export const commitmentSighash = (built: BuiltCommitment): Uint8Array =>
  sighashV0(
    built.tx,
    0,
    built.fundingScript,
    built.terms.funding.capacitySat,
    forkSighashType(SIGHASH.all, built.terms.forkId ?? 0),
  )

/** Our signatures for a commitment of the remote. */
export const signRemoteCommitment = (channel: Channel, built: BuiltCommitment, signer: Signer): CommitmentSignatures => {
  const { perCommitmentPoint } = built.terms.keys
  return {
    signature: signer.sign(channel.keyIndex, { key: 'funding' }, commitmentSighash(built)),
    htlcSignatures: built.htlcs.map((htlc) =>
      signer.sign(channel.keyIndex, { key: 'htlc', perCommitmentPoint }, otherHtlcSighash(built, htlc)),
    ),
  }
}

/** Whether the remote's signatures make this commitment of ours spendable, HTLCs included. S23: high S is refused. */
export const checkLocalSignatures = (
  channel: Channel,
  built: BuiltCommitment,
  { signature, htlcSignatures }: CommitmentSignatures,
): Violation | undefined => {
  if (!ecdsaVerify(signature, commitmentSighash(built), channel.remote.fundingPubkey))
    return violation('commitment_signature_invalid', { number: built.terms.number })
  if (htlcSignatures.length !== built.htlcs.length)
    return violation('htlc_signature_count', { expected: built.htlcs.length, got: htlcSignatures.length })
  for (const [i, htlc] of built.htlcs.entries())
    if (!ecdsaVerify(htlcSignatures[i]!, otherHtlcSighash(built, htlc), built.terms.keys.otherHtlc))
      return violation('htlc_signature_invalid', { number: built.terms.number, index: i })
  return undefined
}

/** Our latest commitment, fully signed; undefined before the remote has signed one. `built` is `localCommitment(…, 'local')`. */
export const signedLocalCommitment = (
  channel: Channel,
  active: Active,
  built: BuiltCommitment,
  signer: Signer,
): Tx | undefined => {
  if (active.remoteSignature === undefined) return undefined
  return withWitness(
    built.tx,
    0,
    fundingWitness(
      {
        pubkey: channel.local.fundingPubkey,
        signature: signer.sign(channel.keyIndex, { key: 'funding' }, commitmentSighash(built)),
      },
      { pubkey: channel.remote.fundingPubkey, signature: active.remoteSignature },
    ),
  )
}
