/** Why bytes were not accepted. A closed list: callers answer by code, never by text. */
export type DecodeErrorCode =
  | 'truncated'
  | 'trailing'
  | 'not_canonical'
  | 'out_of_range'
  | 'too_large'
  | 'invalid'
  | 'unknown_even_type'
  | 'unordered'

/** Bytes that no decoder should accept. The only thing that a decoder throws. */
export class DecodeError extends Error {
  readonly code: DecodeErrorCode
  constructor(code: DecodeErrorCode, detail: string) {
    super(`${code}: ${detail}`)
    this.name = 'DecodeError'
    this.code = code
  }
}
