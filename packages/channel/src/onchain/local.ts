/**
 * Outputs of our own commitment. BOLT 5 § Unilateral Close Handling: Local Commitment Transaction.
 * to_local waits for its delay. HTLCs go through their HTLC transaction, whose output waits for the same delay.
 */
import { outpointKey, p2wshOf, txid, type BlockHeight, type Tx } from '@leyden/bitcoin'
import { equalBytes } from '@leyden/codec'
import type { Active } from '../state.ts'
import type { BuiltCommitment, BuiltHtlc } from '../transactions/commitment.ts'
import { htlcTransaction } from '../transactions/htlc-tx.ts'
import type { HtlcRef, OnchainOutput } from './state.ts'

/** The HTLC behind an output, named from our own view. */
export const htlcRefOf = (built: BuiltCommitment, { htlc }: BuiltHtlc): HtlcRef => {
  const { direction, id, amountMsat, paymentHash, cltvExpiry } = htlc
  const { holder } = built.terms
  const offeredBy = direction === 'offered' ? holder : holder === 'local' ? 'remote' : 'local'
  return { offeredBy, id, amountMsat, paymentHash, cltvExpiry }
}

/** What our commitment holds for us. */
export const localOutputs = (active: Active, built: BuiltCommitment, createdAt: BlockHeight): OnchainOutput[] => {
  const id = txid(built.tx)
  const outputs: OnchainOutput[] = []
  const toLocal = built.toLocalIndex === undefined ? undefined : built.tx.outputs[built.toLocalIndex]
  if (built.toLocalIndex !== undefined && toLocal !== undefined)
    outputs.push({
      outpoint: { txid: id, vout: built.toLocalIndex },
      valueSat: toLocal.value,
      createdAt,
      witnessScript: built.toLocalScript,
      path: { by: 'delay', delayBlocks: built.terms.holderParty.toSelfDelayBlocks },
    })
  for (const [i, htlc] of built.htlcs.entries()) {
    const remoteSignature = active.remoteHtlcSignatures[i]
    if (remoteSignature === undefined) throw new Error('a signed commitment lacks a signature of an HTLC')
    outputs.push({
      outpoint: { txid: id, vout: htlc.outputIndex },
      valueSat: htlc.valueSat,
      createdAt,
      witnessScript: htlc.witnessScript,
      path: {
        by: 'htlcTransaction',
        tx: htlcTransaction(built, htlc),
        remoteSignature,
        secondScript: built.toLocalScript,
      },
      htlc: htlcRefOf(built, htlc),
    })
  }
  return outputs
}

/**
 * Outputs of a second-stage transaction that pay to `secondScript`: every one of them, because a transaction may join several HTLCs
 * (S11). `path` says how they are claimed.
 */
export const secondStageOutputs = (
  tx: Tx,
  secondScript: Uint8Array,
  createdAt: BlockHeight,
  path: OnchainOutput['path'],
  known: readonly OnchainOutput[],
): OnchainOutput[] => {
  const scriptPubKey = p2wshOf(secondScript)
  const keys = new Set(known.map((output) => outpointKey(output.outpoint)))
  return tx.outputs.flatMap((output, vout): OnchainOutput[] => {
    const outpoint = { txid: txid(tx), vout }
    return equalBytes(output.scriptPubKey, scriptPubKey) && !keys.has(outpointKey(outpoint))
      ? [{ outpoint, valueSat: output.value, createdAt, witnessScript: secondScript, path }]
      : []
  })
}
