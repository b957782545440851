/**
 * Errors of the wallet API: RFC 9457 problem+json with a closed set of codes. The status follows from the code.
 */

/** Code -> [HTTP status, title, whether the same request may succeed later]. */
const CODES = {
  invalid_request: [400, 'Invalid request', false],
  unauthenticated: [401, 'Not authenticated', false],
  payment_required: [402, 'Payment required', false],
  insufficient_scope: [403, 'Token lacks the scope', false],
  budget_exceeded: [403, 'Budget exceeded', false],
  not_found: [404, 'Not found', false],
  conflict: [409, 'Conflict', false],
  already_paid: [409, 'Already paid', false],
  in_flight: [409, 'Payment in flight', true],
  invoice_expired: [410, 'Invoice expired', false],
  idempotency_mismatch: [422, 'Idempotency key used for another request', false],
  insufficient_balance: [422, 'Insufficient balance', true],
  no_route: [422, 'No route', true],
  fee_too_high: [422, 'Fee too high', false],
  peer_offline: [422, 'Peer offline', true],
  channel_busy: [422, 'Channel busy', true],
  rate_limited: [429, 'Too many requests', true],
  internal: [500, 'Internal error', false],
  syncing: [503, 'Not in step with the ledger', true],
} as const satisfies Record<string, readonly [status: number, title: string, retryable: boolean]>

/** Why a request was refused. */
export type ProblemCode = keyof typeof CODES

/** One bad field: a JSON pointer into the body (or `query/name`, `path/name`), and what is wrong with it. */
export interface FieldError {
  readonly pointer: string
  readonly message: string
}

/** A refusal on its way out. `detail` says what happened and what to do; it never repeats secrets or whole inputs. */
export class Problem extends Error {
  readonly code: ProblemCode
  readonly errors: readonly FieldError[]
  constructor(code: ProblemCode, detail: string, errors: readonly FieldError[] = []) {
    super(detail)
    this.name = 'Problem'
    this.code = code
    this.errors = errors
  }
  get status(): (typeof CODES)[ProblemCode][0] {
    return CODES[this.code][0]
  }
  /** The body, `application/problem+json`. */
  toJSON(): ProblemBody {
    const [status, title, retryable] = CODES[this.code]
    return {
      type: `urn:leyden:problem:${this.code}`,
      title,
      status,
      detail: this.message,
      code: this.code,
      retryable,
      ...(this.errors.length > 0 ? { errors: this.errors } : {}),
    }
  }
}

export interface ProblemBody {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: ProblemCode
  readonly retryable: boolean
  readonly errors?: readonly FieldError[]
}

export const PROBLEM_CODES = Object.keys(CODES) as readonly ProblemCode[]

/** A bad field as a problem. */
export const badField = (pointer: string, message: string): Problem =>
  new Problem('invalid_request', `${pointer}: ${message}`, [{ pointer, message }])
