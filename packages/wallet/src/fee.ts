/**
 * Weights, fees and dust. BIP 141 (weight), Bitcoin Core policy/policy.cpp (dust), BIP 125 (replacement).
 * Our signatures have a known greatest size (low R, low S: 71 bytes with the type; Schnorr: 64), so weights are exact up to a byte
 * or two of an ECDSA signature that comes out shorter.
 */
import { compactSizeLength, isUnspendable, outputLength, Sat, witnessLength, witnessProgram } from '@leyden/bitcoin'
import type { FeeratePerKw, TxInput, TxOutput } from '@leyden/bitcoin'
import type { AddressKind } from './keys.ts'

/** Bitcoin Core's MAX_STANDARD_TX_WEIGHT: heavier transactions are not relayed. */
export const MAX_STANDARD_WEIGHT = 400_000

/** One satoshi per virtual byte: Core's default for relay and for what a replacement must add (BIP 125 rule 4). */
export const RELAY_FEERATE_PER_KW = 250

/** Outpoint, empty script, sequence. */
const INPUT_BASE_WEIGHT = 4 * (36 + 1 + 4)

/** Witness with its count: DER signature of 70 bytes and its type, key; or a Schnorr signature. */
const WITNESS_WEIGHT: Readonly<Record<AddressKind, number>> = { p2wpkh: 1 + (1 + 71) + (1 + 33), p2tr: 1 + (1 + 64) }

/** What spending a coin of ours adds to a transaction. */
export const inputWeight = (kind: AddressKind): number => INPUT_BASE_WEIGHT + WITNESS_WEIGHT[kind]

export const outputWeight = (output: TxOutput): number => 4 * outputLength(output)

/** An input that is not ours, with the weight of its witness (its count included) where that is not there yet. */
export const foreignInputWeight = (input: TxInput, witnessWeight = witnessLength(input.witness)): number =>
  4 * (40 + compactSizeLength(input.scriptSig.length) + input.scriptSig.length) + witnessWeight

/** Version, lock time, counts and the witness marker: what is neither input nor output. */
export const overheadWeight = (inputCount: number, outputCount: number): number =>
  4 * (8 + compactSizeLength(inputCount) + compactSizeLength(outputCount)) + 2

/** Satoshi for a weight, rounded up: never below the rate. */
export const feeOf = (feeratePerKw: number, weight: number): bigint => (BigInt(feeratePerKw) * BigInt(weight) + 999n) / 1000n

/** The rate that a fee makes, rounded down. */
export const feerateOf = (feeSat: bigint, weight: number): FeeratePerKw =>
  Number((feeSat * 1000n) / BigInt(weight)) as FeeratePerKw

/** Core's DUST_RELAY_TX_FEE: 3 satoshi per byte of the output and of the input that will spend it. */
const DUST_SAT_PER_BYTE = 3
const WITNESS_SPEND_BYTES = 32 + 4 + 1 + 26 + 4
const LEGACY_SPEND_BYTES = 148

/** The least that an output of this script must hold to be relayed. Core's GetDustThreshold. */
export const dustLimit = (scriptPubKey: Uint8Array): Sat => {
  if (isUnspendable(scriptPubKey)) return Sat(0n)
  const spend = witnessProgram(scriptPubKey) === undefined ? LEGACY_SPEND_BYTES : WITNESS_SPEND_BYTES
  return Sat(BigInt(DUST_SAT_PER_BYTE * (outputLength({ value: Sat(0n), scriptPubKey }) + spend)))
}
