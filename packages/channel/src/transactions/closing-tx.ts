/**
 * Closing transactions, both kinds, and their signatures. BOLT 3 § Legacy Closing Transaction, § Closing Transaction.
 * Which fee and which of the variants to offer is BOLT 2 (close.ts).
 */
import {
  forkSighashType,
  OP,
  outputLength,
  Sat,
  SEQUENCE_FINAL,
  SIGHASH,
  sighashV0,
  type FeeratePerKw,
  feeForWeight,
  type Outpoint,
  type Tx,
  type TxOutput,
} from '@leyden/bitcoin'
import { ecdsaVerify } from '@leyden/crypto'
import type { Signer } from '../env.ts'
import type { Channel, Funding } from '../state.ts'
import { unsignedInput } from './commitment.ts'
import { withWitness } from './htlc-tx.ts'
import { compareOutputs, fundingScript, fundingWitness } from './scripts.ts'

/** BOLT 3 § Closing Transaction: signals replacement. */
const SEQUENCE_RBF = 0xffff_fffd

/** Weight without outputs: version, locktime, counts, the funding input and its witness with 73-byte signatures. BOLT 3 Appendix A. */
const CLOSING_BASE_WEIGHT = 4 * (4 + 1 + 41 + 1 + 4) + 2 + 222

/** Expected weight of a closing transaction that pays to these scripts. */
export const closingWeight = (scripts: readonly Uint8Array[]): number =>
  CLOSING_BASE_WEIGHT + scripts.reduce((sum, scriptPubKey) => sum + 4 * outputLength({ value: Sat(0n), scriptPubKey }), 0)

/** Fee of a closing transaction that pays to these scripts. */
export const closingFee = (feeratePerKw: FeeratePerKw, scripts: readonly Uint8Array[]): Sat =>
  feeForWeight(feeratePerKw, closingWeight(scripts))

const closingTx = (outpoint: Outpoint, sequence: number, lockTime: number, outputs: readonly TxOutput[]): Tx => ({
  version: 2,
  inputs: [unsignedInput(outpoint, sequence)],
  outputs: [...outputs].sort(compareOutputs),
  lockTime,
})

/** For closing_signed: the opener pays, outputs below `dustLimitSat` are left out. Undefined when the opener cannot pay or nothing is left. */
export const legacyClosing = (terms: {
  readonly outpoint: Outpoint
  readonly opener: { readonly msat: bigint; readonly scriptPubKey: Uint8Array }
  readonly accepter: { readonly msat: bigint; readonly scriptPubKey: Uint8Array }
  readonly feeSat: Sat
  /** Of the side that builds: the other may disagree, and its signature shows it. */
  readonly dustLimitSat: Sat
}): Tx | undefined => {
  const { opener, accepter, feeSat, dustLimitSat } = terms
  const openerSat = opener.msat / 1000n - feeSat
  if (openerSat < 0n) return undefined
  const outputs = [
    { value: Sat(openerSat), scriptPubKey: opener.scriptPubKey },
    { value: Sat(accepter.msat / 1000n), scriptPubKey: accepter.scriptPubKey },
  ].filter(({ value }) => value >= dustLimitSat && value > 0n)
  return outputs.length === 0 ? undefined : closingTx(terms.outpoint, SEQUENCE_FINAL, 0, outputs)
}

const isOpReturn = (scriptPubKey: Uint8Array): boolean => scriptPubKey[0] === OP.OP_RETURN

/** For closing_complete and closing_sig: the closer pays. Undefined when it cannot, or nothing is left. */
export const simpleClosing = (terms: {
  readonly outpoint: Outpoint
  readonly closer: { readonly msat: bigint; readonly scriptPubKey: Uint8Array }
  readonly closee: { readonly msat: bigint; readonly scriptPubKey: Uint8Array }
  readonly feeSat: Sat
  readonly lockTime: number
  readonly outputs: 'closer_output_only' | 'closee_output_only' | 'closer_and_closee_outputs'
}): Tx | undefined => {
  const { closer, closee, feeSat } = terms
  const closerSat = closer.msat / 1000n - feeSat
  if (closerSat < 0n) return undefined
  const output = (scriptPubKey: Uint8Array, sat: bigint): TxOutput => ({
    value: isOpReturn(scriptPubKey) ? Sat(0n) : Sat(sat),
    scriptPubKey,
  })
  const outputs = [
    ...(terms.outputs === 'closee_output_only' ? [] : [output(closer.scriptPubKey, closerSat)]),
    ...(terms.outputs === 'closer_output_only' ? [] : [output(closee.scriptPubKey, closee.msat / 1000n)]),
  ]
  return closingTx(terms.outpoint, SEQUENCE_RBF, terms.lockTime, outputs)
}

/** What both sign. 32 bytes. */
export const closingSighash = (channel: Channel, funding: Funding, tx: Tx): Uint8Array =>
  sighashV0(
    tx,
    0,
    fundingScript(channel.local.fundingPubkey, channel.remote.fundingPubkey),
    funding.capacitySat,
    forkSighashType(SIGHASH.all, channel.forkId ?? 0),
  )

/** Our signature, 64 bytes. */
export const signClosing = (channel: Channel, funding: Funding, tx: Tx, signer: Signer): Uint8Array =>
  signer.sign(channel.keyIndex, { key: 'funding' }, closingSighash(channel, funding, tx))

/** Whether the remote's signature is good for this transaction. */
export const isClosingSigned = (channel: Channel, funding: Funding, tx: Tx, remoteSignature: Uint8Array): boolean =>
  ecdsaVerify(remoteSignature, closingSighash(channel, funding, tx), channel.remote.fundingPubkey)

/** The transaction with both signatures. */
export const signedClosing = (channel: Channel, funding: Funding, tx: Tx, remoteSignature: Uint8Array, signer: Signer): Tx =>
  withWitness(
    tx,
    0,
    fundingWitness(
      { pubkey: channel.local.fundingPubkey, signature: signClosing(channel, funding, tx, signer) },
      { pubkey: channel.remote.fundingPubkey, signature: remoteSignature },
    ),
  )
