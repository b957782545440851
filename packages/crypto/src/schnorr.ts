/** Schnorr signatures over secp256k1: BIP 340. Keys are x-only, 32 bytes. */
import { backend } from './backend.ts'
import { CryptoError, expectLength } from './error.ts'
import { isValidSecret } from './scalar.ts'

/**
 * 64-byte signature of a message, 32 bytes by convention. `aux` is 32 bytes of randomness: zeros are safe, fresh ones guard against
 * side channels. Throws {@link CryptoError} on an invalid secret. BIP 340 § Default Signing.
 */
export const schnorrSign = (message: Uint8Array, secret: Uint8Array, aux: Uint8Array): Uint8Array => {
  expectLength(aux, 32, 'aux')
  if (!isValidSecret(secret)) throw new CryptoError('invalid_secret', 'schnorr signing')
  return backend.schnorrSign(message, secret, aux)
}

/** Whether the signature is valid. A signature or key of a wrong length is not. BIP 340 § Verification. */
export const schnorrVerify = (signature: Uint8Array, message: Uint8Array, xOnly: Uint8Array): boolean => {
  if (signature.length !== 64 || xOnly.length !== 32) return false
  try {
    return backend.schnorrVerify(signature, message, xOnly)
  } catch {
    return false
  }
}
