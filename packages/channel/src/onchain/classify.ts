/**
 * Which transaction spent the funding output. BOLT 5 § Commitment Transaction, § Unilateral Close, § Revoked Transaction Close.
 * Current commitments are recognised by txid: we can build each of them. A revoked one is recognised by the number that it carries
 * (BOLT 3 § Commitment Transaction), because we keep no copy of it.
 */
import { equalBytes } from '@leyden/codec'
import { pointFromSecret } from '@leyden/crypto'
import { outpointKey, txid, type Tx, type TxOutput } from '@leyden/bitcoin'
import type { Signer } from '../env.ts'
import type { Active, Channel } from '../state.ts'
import {
  commitmentNumberOf,
  localCommitment,
  numberIn,
  obscuringFactorOf,
  remoteCommitment,
  type BuiltCommitment,
} from '../transactions/commitment.ts'
import { findSecret } from '../transactions/shachain.ts'

export type Classified =
  | { readonly kind: 'mutual' }
  | { readonly kind: 'local' | 'remote' | 'remoteSigned'; readonly built: BuiltCommitment }
  | { readonly kind: 'revoked'; readonly number: number; readonly perCommitmentPoint: Uint8Array }
  | { readonly kind: 'future'; readonly number: number }
  | { readonly kind: 'unknown' }

/** The funding that a transaction spends, if it spends one of the channel's. */
export const fundingSpentBy = (channel: Channel, tx: Tx): Active | undefined => {
  const spent = new Set(tx.inputs.map((input) => outpointKey(input.outpoint)))
  return channel.active.find((active) => spent.has(outpointKey(active.funding.outpoint)))
}

/** Every commitment that could be published without breaking a promise. At most three. */
const validCommitments = (
  channel: Channel,
  active: Active,
  signer: Signer,
): { kind: 'local' | 'remote' | 'remoteSigned'; built: BuiltCommitment }[] => {
  const { remotePoint, remoteNextPoint } = channel
  return [
    { kind: 'local' as const, built: localCommitment(channel, active, 'local', signer) },
    ...(remotePoint === undefined
      ? []
      : [{ kind: 'remote' as const, built: remoteCommitment(channel, active, 'remote', remotePoint) }]),
    ...(channel.awaitingRevocation === undefined || remoteNextPoint === undefined
      ? []
      : [{ kind: 'remoteSigned' as const, built: remoteCommitment(channel, active, 'remoteSigned', remoteNextPoint) }]),
  ]
}

/**
 * Whether a transaction that is no commitment is a cooperative close. Our key signs nothing else that spends the funding output, so
 * it is one if it pays to us, or to nobody but those that the two named.
 */
const isMutual = (channel: Channel, tx: Tx): boolean => {
  const { closing, local, remote, destinationScript } = channel
  const paysTo = (scripts: readonly (Uint8Array | undefined)[]) => (output: TxOutput) =>
    scripts.some((script) => script !== undefined && equalBytes(script, output.scriptPubKey))
  const ours = [closing?.localScript, local.upfrontShutdownScript, destinationScript]
  const theirs = [closing?.remoteScript, remote.upfrontShutdownScript]
  return tx.outputs.some(paysTo(ours)) || tx.outputs.every(paysTo([...ours, ...theirs]))
}

/** What a transaction is that spends `active`'s funding output. */
export const classify = (channel: Channel, active: Active, tx: Tx, signer: Signer): Classified => {
  const id = txid(tx)
  if (channel.closing?.transactions.some((candidate) => txid(candidate) === id) === true) return { kind: 'mutual' }
  const number = commitmentNumberOf(tx, obscuringFactorOf(channel))
  if (number === undefined) return isMutual(channel, tx) ? { kind: 'mutual' } : { kind: 'unknown' }
  const valid = validCommitments(channel, active, signer).find(({ built }) => txid(built.tx) === id)
  if (valid !== undefined) return valid
  if (number > numberIn(channel, 'remoteSigned')) return { kind: 'future', number }
  const secret = number < channel.remoteCommitmentNumber ? findSecret(channel.revocations, number) : undefined
  return secret === undefined ? { kind: 'unknown' } : { kind: 'revoked', number, perCommitmentPoint: pointFromSecret(secret) }
}
