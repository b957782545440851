/**
 * HTLC-success and HTLC-timeout: how the holder of a commitment spends its HTLC outputs.
 * BOLT 3 § HTLC-Timeout and HTLC-Success Transactions; BOLT 5 § Generation of HTLC Transactions.
 * Under anchors the transaction pays no fee and the other side signs only its first input and output, so that inputs can be added.
 */
import { forkSighashType, Sat, SIGHASH, sighashV0, txid, type Tx } from '@leyden/bitcoin'
import type { CommitmentFormat } from '../state.ts'
import { unsignedInput, type BuiltCommitment, type BuiltHtlc } from './commitment.ts'
import { htlcTransactionWitness } from './scripts.ts'
import { htlcTransactionFee } from './weight.ts'

/** What the side that is not the holder signs with. */
export const otherSighashType = (format: CommitmentFormat): number =>
  format === 'anchors' ? SIGHASH.single | SIGHASH.anyoneCanPay : SIGHASH.all

/** HTLC-timeout for an offered HTLC, HTLC-success for a received one. Unsigned. */
export const htlcTransaction = (commitment: BuiltCommitment, { htlc, outputIndex, valueSat }: BuiltHtlc): Tx => {
  const { format, spec } = commitment.terms
  return {
    version: 2,
    inputs: [unsignedInput({ txid: txid(commitment.tx), vout: outputIndex }, format === 'anchors' ? 1 : 0)],
    outputs: [
      {
        value: Sat(valueSat - htlcTransactionFee(format, htlc.direction, spec.feeratePerKw)),
        scriptPubKey: commitment.toLocalOutputScript,
      },
    ],
    lockTime: htlc.direction === 'offered' ? htlc.cltvExpiry : 0,
  }
}

/** What the other side of the holder signs of an HTLC transaction. 32 bytes. */
export const otherHtlcSighash = (commitment: BuiltCommitment, built: BuiltHtlc, tx: Tx = htlcTransaction(commitment, built)) =>
  sighashV0(
    tx,
    0,
    built.witnessScript,
    built.valueSat,
    forkSighashType(otherSighashType(commitment.terms.format), commitment.terms.forkId ?? 0),
  )

/** What the holder signs: everything. With anchors call it when the wallet's inputs are in. `inputIndex` is where the HTLC is spent. */
export const holderHtlcSighash = (
  built: Pick<BuiltHtlc, 'witnessScript' | 'valueSat'>,
  tx: Tx,
  inputIndex = 0,
  forkId = 0,
): Uint8Array => sighashV0(tx, inputIndex, built.witnessScript, built.valueSat, forkSighashType(SIGHASH.all, forkId))

/** Witness of an HTLC transaction; `preimage` makes it a success. */
export const htlcWitness = (
  format: CommitmentFormat,
  built: BuiltHtlc,
  signatures: { readonly other: Uint8Array; readonly holder: Uint8Array },
  preimage: Uint8Array | undefined,
): readonly Uint8Array[] =>
  htlcTransactionWitness(signatures.other, otherSighashType(format), signatures.holder, preimage, built.witnessScript)

/** The transaction with the witness of one of its inputs. */
export const withWitness = (tx: Tx, inputIndex: number, witness: readonly Uint8Array[]): Tx => ({
  ...tx,
  inputs: tx.inputs.map((input, i) => (i === inputIndex ? { ...input, witness } : input)),
})
