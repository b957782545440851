/**
 * Why a block or a transaction is not taken. The reasons are Bitcoin Core's reject names, which its RPC and other nodes show.
 */

/** A broken rule of consensus. `mutated`: the header may be innocent, another body may belong to it (CVE-2012-2459). */
export type BlockViolation = {
  readonly violation: true
  readonly reason: string
  readonly detail?: string
  readonly mutated?: boolean
}

export const blockViolation = (reason: string, detail?: string, mutated = false): BlockViolation => ({
  violation: true,
  reason,
  ...(detail === undefined ? {} : { detail }),
  ...(mutated ? { mutated } : {}),
})

export const isViolation = (value: object): value is BlockViolation => 'violation' in value

/**
 * What kind of refusal, by what the sender can do about it: `consensus` never valid, `policy` not by our rules, `conflict` already
 * there or spent by another, `missing` an input is unknown, `premature` not yet, `fee` more would do (also in a package),
 * `inputs` what it spends is not by our rules, whatever its witness, `stripped` only its witness is missing.
 */
export type RejectionKind = 'consensus' | 'policy' | 'conflict' | 'missing' | 'premature' | 'fee' | 'inputs' | 'stripped'

/** The mempool does not take a transaction. */
export type Rejection = {
  readonly rejected: true
  readonly kind: RejectionKind
  readonly reason: string
  readonly detail?: string
}

export const rejection = (kind: RejectionKind, reason: string, detail?: string): Rejection => ({
  rejected: true,
  kind,
  reason,
  ...(detail === undefined ? {} : { detail }),
})

export const isRejection = (value: object): value is Rejection => 'rejected' in value
