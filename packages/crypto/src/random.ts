/** Randomness: the platform's generator and nothing else. */
import { CryptoError } from './error.ts'
import { isValidSecret } from './scalar.ts'

/** Web Crypto § getRandomValues: no more than this in one call. */
const MAX_RANDOM_BYTES = 65_536

/** `length` bytes of `crypto.getRandomValues`, at most 65,536. */
export const randomBytes = (length: number): Uint8Array => {
  if (!Number.isSafeInteger(length) || length < 0 || length > MAX_RANDOM_BYTES)
    throw new CryptoError('invalid_length', `${length} random bytes`)
  return globalThis.crypto.getRandomValues(new Uint8Array(length))
}

/** A uniform secret key: 32 bytes, 1 to n-1. */
export const randomSecret = (): Uint8Array => {
  for (;;) {
    const secret = randomBytes(32)
    if (isValidSecret(secret)) return secret
  }
}
