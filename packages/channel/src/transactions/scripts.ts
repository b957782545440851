/**
 * The witness scripts of BOLT 3 and the witnesses that spend them. Output scripts are their P2WSH.
 * BOLT 3 § Funding Transaction Output, § Commitment Transaction Outputs, § HTLC-Timeout and HTLC-Success Transactions.
 * Keys are from the view of the commitment's holder (keys.ts). Signatures come as 64 bytes and leave as DER with their type.
 */
import { compareBytes, concat } from '@leyden/codec'
import { derFromCompact, hash160, ripemd160 } from '@leyden/crypto'
import { buildScript, multisigScript, OP, p2wpkhOf, p2wshOf, pushBytes, SIGHASH, type TxOutput } from '@leyden/bitcoin'
import type { CommitmentFormat } from '../state.ts'
import type { CommitmentKeys } from './keys.ts'

type Witness = readonly Uint8Array[]

const EMPTY = new Uint8Array(0)
const ONE = Uint8Array.of(1)

/** 2-of-2 of the funding keys, the lesser first. */
export const fundingScript = (a: Uint8Array, b: Uint8Array): Uint8Array =>
  multisigScript(2, compareBytes(a, b) <= 0 ? [a, b] : [b, a])

/** What a funding transaction pays to: the P2WSH of {@link fundingScript}. */
export const fundingOutputScript = (a: Uint8Array, b: Uint8Array): Uint8Array => p2wshOf(fundingScript(a, b))

/** To the holder after a delay, or to the other with the revocation key. Also the output of HTLC transactions. */
export const toLocalScript = (keys: CommitmentKeys, toSelfDelayBlocks: number): Uint8Array =>
  buildScript(
    OP.OP_IF,
    keys.revocation,
    OP.OP_ELSE,
    BigInt(toSelfDelayBlocks),
    OP.OP_CHECKSEQUENCEVERIFY,
    OP.OP_DROP,
    keys.delayed,
    OP.OP_ENDIF,
    OP.OP_CHECKSIG,
  )

/** The other's balance under anchors: its key after one block. */
export const toRemoteScript = (otherPayment: Uint8Array): Uint8Array =>
  buildScript(otherPayment, OP.OP_CHECKSIGVERIFY, 1n, OP.OP_CHECKSEQUENCEVERIFY)

/** Output script of to_remote. */
export const toRemoteOutputScript = (format: CommitmentFormat, otherPayment: Uint8Array): Uint8Array =>
  format === 'anchors' ? p2wshOf(toRemoteScript(otherPayment)) : p2wpkhOf(otherPayment)

/** The owner of the funding key at once, anyone after 16 blocks. */
export const anchorScript = (fundingPubkey: Uint8Array): Uint8Array =>
  buildScript(fundingPubkey, OP.OP_CHECKSIG, OP.OP_IFDUP, OP.OP_NOTIF, 16n, OP.OP_CHECKSEQUENCEVERIFY, OP.OP_ENDIF)

const oneBlockIfAnchors = (format: CommitmentFormat): (number | bigint)[] =>
  format === 'anchors' ? [1n, OP.OP_CHECKSEQUENCEVERIFY, OP.OP_DROP] : []

/** What the HTLC scripts of one commitment have in common: a commitment may have hundreds of them. */
interface HtlcScriptParts {
  readonly format: CommitmentFormat
  /** Around the hash of an offered HTLC. */
  readonly offered: readonly [Uint8Array, Uint8Array]
  /** Around hash and expiry of a received one. */
  readonly received: readonly [Uint8Array, Uint8Array, Uint8Array]
}

const makeParts = (format: CommitmentFormat, keys: CommitmentKeys): HtlcScriptParts => {
  const head = [
    OP.OP_DUP,
    OP.OP_HASH160,
    hash160(keys.revocation),
    OP.OP_EQUAL,
    OP.OP_IF,
    OP.OP_CHECKSIG,
    OP.OP_ELSE,
    keys.otherHtlc,
    OP.OP_SWAP,
    OP.OP_SIZE,
    32n,
    OP.OP_EQUAL,
  ]
  const both = [2n, OP.OP_SWAP, keys.holderHtlc, 2n, OP.OP_CHECKMULTISIG]
  const end = [OP.OP_CHECKSIG, OP.OP_ENDIF, ...oneBlockIfAnchors(format), OP.OP_ENDIF]
  return {
    format,
    offered: [
      buildScript(...head, OP.OP_NOTIF, OP.OP_DROP, ...both, OP.OP_ELSE, OP.OP_HASH160),
      buildScript(OP.OP_EQUALVERIFY, ...end),
    ],
    received: [
      buildScript(...head, OP.OP_IF, OP.OP_HASH160),
      buildScript(OP.OP_EQUALVERIFY, ...both, OP.OP_ELSE, OP.OP_DROP),
      buildScript(OP.OP_CHECKLOCKTIMEVERIFY, OP.OP_DROP, ...end),
    ],
  }
}

const knownParts = new WeakMap<CommitmentKeys, HtlcScriptParts>()
const partsOf = (format: CommitmentFormat, keys: CommitmentKeys): HtlcScriptParts => {
  let parts = knownParts.get(keys)
  if (parts?.format !== format) knownParts.set(keys, (parts = makeParts(format, keys)))
  return parts
}

/** HTLC that the holder offered. `paymentHash` is 32 bytes. */
export const offeredHtlcScript = (format: CommitmentFormat, keys: CommitmentKeys, paymentHash: Uint8Array): Uint8Array => {
  const [head, end] = partsOf(format, keys).offered
  return concat(head, pushBytes(ripemd160(paymentHash)), end)
}

/** HTLC that the holder received. */
export const receivedHtlcScript = (
  format: CommitmentFormat,
  keys: CommitmentKeys,
  paymentHash: Uint8Array,
  cltvExpiry: number,
): Uint8Array => {
  const [head, middle, end] = partsOf(format, keys).received
  return concat(head, pushBytes(ripemd160(paymentHash)), middle, buildScript(BigInt(cltvExpiry)), end)
}

/** DER and the sighash type, as a witness wants it. */
export const witnessSignature = (signature: Uint8Array, sighashType: number = SIGHASH.all): Uint8Array =>
  concat(derFromCompact(signature), Uint8Array.of(sighashType))

/** Both signatures in the order of the keys. */
export const fundingWitness = (
  a: { readonly pubkey: Uint8Array; readonly signature: Uint8Array },
  b: { readonly pubkey: Uint8Array; readonly signature: Uint8Array },
): Witness => {
  const [first, second] = compareBytes(a.pubkey, b.pubkey) <= 0 ? [a, b] : [b, a]
  return [EMPTY, witnessSignature(first.signature), witnessSignature(second.signature), fundingScript(a.pubkey, b.pubkey)]
}

/** `0 <remotehtlcsig> <localhtlcsig> <preimage or nothing>`. Under anchors the other signs SINGLE|ANYONECANPAY, the holder ALL. */
export const htlcTransactionWitness = (
  otherSignature: Uint8Array,
  otherSighashType: number,
  holderSignature: Uint8Array,
  preimage: Uint8Array | undefined,
  script: Uint8Array,
): Witness => [
  EMPTY,
  witnessSignature(otherSignature, otherSighashType),
  witnessSignature(holderSignature),
  preimage ?? EMPTY,
  script,
]

/** to_local and second-stage outputs, by the holder, after the delay. */
export const delayedWitness = (signature: Uint8Array, script: Uint8Array): Witness => [witnessSignature(signature), EMPTY, script]

/** to_local and second-stage outputs, by the other, with the revocation key. */
export const revokedDelayedWitness = (signature: Uint8Array, script: Uint8Array): Witness => [
  witnessSignature(signature),
  ONE,
  script,
]

/** Either HTLC output, with the revocation key. */
export const revokedHtlcWitness = (signature: Uint8Array, revocation: Uint8Array, script: Uint8Array): Witness => [
  witnessSignature(signature),
  revocation,
  script,
]

/** By the other: an offered HTLC with its preimage. */
export const preimageWitness = (signature: Uint8Array, preimage: Uint8Array, script: Uint8Array): Witness => [
  witnessSignature(signature),
  preimage,
  script,
]

/** By the other: a received HTLC after its expiry. */
export const expiredWitness = (signature: Uint8Array, script: Uint8Array): Witness => [witnessSignature(signature), EMPTY, script]

/** to_remote. */
export const toRemoteWitness = (format: CommitmentFormat, signature: Uint8Array, otherPayment: Uint8Array): Witness =>
  format === 'anchors' ? [witnessSignature(signature), toRemoteScript(otherPayment)] : [witnessSignature(signature), otherPayment]

export const anchorWitness = (signature: Uint8Array, script: Uint8Array): Witness => [witnessSignature(signature), script]

/** Order of outputs: value, then script. Expiries of equal HTLC outputs are compared by commitment.ts. BOLT 3 § Transaction Output Ordering. */
export const compareOutputs = (a: TxOutput, b: TxOutput): number =>
  a.value === b.value ? compareBytes(a.scriptPubKey, b.scriptPubKey) : a.value < b.value ? -1 : 1
