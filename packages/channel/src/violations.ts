/**
 * What a peer can do wrong and what our own caller can ask in vain; and how each wrong is answered.
 * BOLT 1 § The error and warning Messages; BOLT 2 says at each rule whether to warn, to fail the channel or to disconnect.
 */
/** A rule that the peer broke, with what we saw. The sentence is made where it is shown. */
export interface Violation {
  readonly kind: 'violation'
  readonly code: string
  readonly data: Readonly<Record<string, unknown>>
  readonly answer: Answer
}

/** `warn`: send a warning and go on. `disconnect`: warn and drop the connection. `fail`: send an error and go to the chain. */
export type Answer = 'ignore' | 'warn' | 'disconnect' | 'fail'

/** What our own caller asked for cannot be had now. */
export interface Refusal {
  readonly kind: 'refusal'
  readonly code: string
  readonly data: Readonly<Record<string, unknown>>
}

export const violation = (code: string, data: Readonly<Record<string, unknown>> = {}, answer: Answer = 'fail'): Violation => ({
  kind: 'violation',
  code,
  data,
  answer,
})

export const refusal = (code: string, data: Readonly<Record<string, unknown>> = {}): Refusal => ({ kind: 'refusal', code, data })

export const isViolation = (value: unknown): value is Violation =>
  typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'violation'

export const isRefusal = (value: unknown): value is Refusal =>
  typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'refusal'
