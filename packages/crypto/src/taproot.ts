/** Taproot output keys: BIP 341 § Constructing and spending Taproot outputs. The merkle tree itself is not here. */
import { equalBytes } from '@leyden/codec'
import { CryptoError, expectLength } from './error.ts'
import { taggedHash } from './hash.ts'
import {
  isValidSecret,
  pointFromSecret,
  pointFromXOnly,
  pointTweakAdd,
  secretAdd,
  secretNegate,
  xOnlyFromPoint,
} from './point.ts'

/** An output key: 32-byte x and the parity of its y, which the control block carries. */
export type TaprootOutputKey = { readonly xonly: Uint8Array; readonly parity: 0 | 1 }

/** x-only key + tweak times G. `invalid_scalar` where the tweak is not below n, `no_result` at infinity. BIP 341 § Script validation. */
export const xOnlyTweakAdd = (xOnly: Uint8Array, tweak: Uint8Array): TaprootOutputKey => {
  const point = pointTweakAdd(pointFromXOnly(xOnly), tweak)
  return { xonly: xOnlyFromPoint(point), parity: point[0] === 3 ? 1 : 0 }
}

const tapTweak = (xOnly: Uint8Array, merkleRoot: Uint8Array | undefined): Uint8Array => {
  if (merkleRoot === undefined) return taggedHash('TapTweak', xOnly)
  expectLength(merkleRoot, 32, 'merkle root')
  return taggedHash('TapTweak', xOnly, merkleRoot)
}

/** The output key of an internal key: with a merkle root of scripts, or without any. Throws {@link CryptoError} on an invalid key. */
export const taprootTweakPoint = (xOnly: Uint8Array, merkleRoot?: Uint8Array): TaprootOutputKey =>
  xOnlyTweakAdd(xOnly, tapTweak(xOnly, merkleRoot))

/** The secret that signs for `taprootTweakPoint` of the secret's own x-only key. */
export const taprootTweakSecret = (secret: Uint8Array, merkleRoot?: Uint8Array): Uint8Array => {
  if (!isValidSecret(secret)) throw new CryptoError('invalid_secret', 'taproot tweak')
  const point = pointFromSecret(secret)
  const even = point[0] === 2 ? secret : secretNegate(secret)
  return secretAdd(even, tapTweak(xOnlyFromPoint(point), merkleRoot))
}

/** Whether the output key is the internal key plus tweak times G, with that parity. False on any invalid key or tweak. */
export const xOnlyTweakAddCheck = (output: Uint8Array, parity: number, internal: Uint8Array, tweak: Uint8Array): boolean => {
  try {
    const expected = xOnlyTweakAdd(internal, tweak)
    return expected.parity === parity && equalBytes(expected.xonly, output)
  } catch (error) {
    if (error instanceof CryptoError) return false
    throw error
  }
}
