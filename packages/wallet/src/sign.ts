/**
 * Signing inputs of ours. BIP 143 for P2WPKH (SIGHASH_ALL), BIP 341 for P2TR by its key path (SIGHASH_DEFAULT): both sign every input
 * and every output, so the transaction must be complete but for witnesses. Deterministic: RFC 6979 nonces, no auxiliary randomness.
 */
import { concat } from '@leyden/codec'
import { derFromCompact, ecdsaSignLowR, hash160, schnorrSign, taprootTweakSecret } from '@leyden/crypto'
import {
  forkIdAt,
  forkSighashType,
  p2pkh,
  SIGHASH,
  sighashCache,
  sighashTaproot,
  sighashV0,
  type SighashCache,
  type Tx,
  type TxOutput,
} from '@leyden/bitcoin'
import { unreachable } from '@leyden/codec'
import type { KeyPath, WalletKeys } from './keys.ts'

/** BIP 340 § Default Signing allows zeros: the nonce is then a hash of key and message. */
const NO_AUX = new Uint8Array(32)

const witnessOf = (
  tx: Tx,
  index: number,
  spent: readonly TxOutput[],
  path: KeyPath,
  keys: WalletKeys,
  forkId: number,
  cache: SighashCache,
): readonly Uint8Array[] => {
  const output = spent[index]
  if (output === undefined) throw new RangeError(`input ${index}: the output that it spends is unknown`)
  switch (path.kind) {
    case 'p2wpkh': {
      const point = keys.point(path)
      const hash = sighashV0(tx, index, p2pkh(hash160(point)), output.value, forkSighashType(SIGHASH.all, forkId), cache)
      const signature = derFromCompact(ecdsaSignLowR(hash, keys.secret(path)))
      return [concat(signature, Uint8Array.of(SIGHASH.all)), point]
    }
    case 'p2tr': {
      const hash = sighashTaproot(tx, index, spent, forkSighashType(SIGHASH.default, forkId), { cache })
      return [schnorrSign(hash, taprootTweakSecret(keys.secret(path)), NO_AUX)]
    }
    default:
      return unreachable(path.kind)
  }
}

/**
 * The transaction with witnesses for the inputs that have a path; others stay as they are. `spent` are the outputs that all inputs
 * spend, in their order. `tip` is the height of the last block: the fork of the next one is signed for. Throws RangeError when an
 * output is missing.
 */
export const signInputs = (
  tx: Tx,
  spent: readonly TxOutput[],
  paths: readonly (KeyPath | undefined)[],
  keys: WalletKeys,
  tip: number,
): Tx => {
  const forkId = forkIdAt(keys.network, tip + 1)
  const cache = sighashCache(tx)
  return {
    ...tx,
    inputs: tx.inputs.map((input, index) => {
      const path = paths[index]
      return path === undefined ? input : { ...input, witness: witnessOf(tx, index, spent, path, keys, forkId, cache) }
    }),
  }
}
