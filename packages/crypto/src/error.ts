/**
 * The one error of this package. It means a wrong argument or a broken backend: a fault of ours, never an answer to a peer.
 * What a peer chose (a signature, a point) is tested with a function that returns a boolean or undefined.
 */

/** Why an operation was refused. `no_result`: the sum is the point at infinity or zero. */
export type CryptoErrorCode =
  | 'invalid_length'
  | 'invalid_secret'
  | 'invalid_point'
  | 'invalid_scalar'
  | 'no_result'
  | 'unknown_backend'
  | 'self_test_failed'

/** Thrown on bad arguments. Its message names sizes and the operation, never the bytes. */
export class CryptoError extends Error {
  readonly code: CryptoErrorCode

  constructor(code: CryptoErrorCode, detail: string) {
    super(`${code}: ${detail}`)
    this.name = 'CryptoError'
    this.code = code
  }
}

/** Throws {@link CryptoError} `invalid_length` unless `bytes` is a Uint8Array of that length. */
export const expectLength = (bytes: Uint8Array, length: number, what: string): void => {
  if (!(bytes instanceof Uint8Array) || bytes.length !== length)
    throw new CryptoError('invalid_length', `${what} has ${bytes?.length} bytes, expected ${length}`)
}
