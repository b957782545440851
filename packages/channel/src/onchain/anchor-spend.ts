/**
 * Our signature on transactions that a wallet completed: the child that spends our anchor, and HTLC transactions of anchor channels.
 * BOLT 3 § to_local_anchor; BOLT 5 § Generation of HTLC Transactions: the remote's signature covers its pair of input and output only,
 * ours must cover everything, else anyone could attach more.
 */
import { equalBytes } from '@leyden/codec'
import { forkSighashType, outpointKey, sameOutpoint, SIGHASH, sighashV0, txid, type Tx, type TxOutput } from '@leyden/bitcoin'
import type { Publication } from '../effect.ts'
import type { Signer } from '../env.ts'
import { otherSighashType } from '../transactions/htlc-tx.ts'
import { anchorWitness, htlcTransactionWitness } from '../transactions/scripts.ts'
import { ANCHOR_SAT } from '../transactions/weight.ts'

/** Weight of an input that spends an anchor, witness included: 41 bytes, then count, signature of 73 bytes and script of 40. BOLT 3. */
export const ANCHOR_INPUT_WEIGHT = 4 * 41 + 1 + 1 + 73 + 1 + 40

/** A publication that the wallet must complete. */
export type WalletPublication = Publication & { readonly kind: 'anchor' | 'htlc' }

/**
 * Witness for the input of `tx` that is the channel's: the anchor of `publication.tx`, or the HTLC. `spentOutputs` are those of all
 * inputs of `tx`, in order. Throws RangeError when the transaction is not what the publication asks for: signing it would be a fault.
 */
export const signAnchorSpend = (
  publication: WalletPublication,
  tx: Tx,
  inputIndex: number,
  spentOutputs: readonly TxOutput[],
  signer: Signer,
): readonly Uint8Array[] => {
  const input = tx.inputs[inputIndex]
  const spent = spentOutputs[inputIndex]
  if (input === undefined || spent === undefined) throw new RangeError(`no input ${inputIndex}`)
  const type = forkSighashType(SIGHASH.all, publication.forkId ?? 0)
  if (publication.kind === 'anchor') {
    const anchor = { txid: txid(publication.tx), vout: publication.anchorIndex }
    if (!sameOutpoint(input.outpoint, anchor)) throw new RangeError(`not the anchor: ${outpointKey(input.outpoint)}`)
    const hash = sighashV0(tx, inputIndex, publication.anchorScript, ANCHOR_SAT, type)
    return anchorWitness(signer.sign(publication.keyIndex, { key: 'funding' }, hash), publication.anchorScript)
  }
  const { keyIndex, perCommitmentPoint, witnessScript, remoteSignature, preimage } = publication
  const [asked, paid] = [publication.tx.inputs[0]!, publication.tx.outputs[0]!]
  const output = tx.outputs[inputIndex]
  if (!sameOutpoint(input.outpoint, asked.outpoint) || input.sequence !== asked.sequence)
    throw new RangeError(`not the HTLC: ${outpointKey(input.outpoint)}`)
  if (tx.lockTime !== publication.tx.lockTime || tx.version !== publication.tx.version)
    throw new RangeError('locks or version of the HTLC transaction were changed')
  if (output === undefined || output.value !== paid.value || !equalBytes(output.scriptPubKey, paid.scriptPubKey))
    throw new RangeError('the output of the HTLC was changed')
  const hash = sighashV0(tx, inputIndex, witnessScript, spent.value, type)
  const signature = signer.sign(keyIndex, { key: 'htlc', perCommitmentPoint }, hash)
  return htlcTransactionWitness(remoteSignature, otherSighashType('anchors'), signature, preimage, witnessScript)
}
