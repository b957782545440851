/**
 * What our own caller asked for and cannot have now. A value, never thrown; the sentence is made where it is shown.
 * The same shape as in the other packages, so that a service treats all refusals alike.
 */

export type RefusalCode =
  /** Not a mnemonic of BIP 39: wrong words, count or checksum. */
  | 'invalid_mnemonic'
  /** No outputs, or with `all` not exactly one. */
  | 'invalid_outputs'
  /** An output that the network would not relay; `minimumSat` is the least that it must hold. */
  | 'dust_output'
  /** The coins that may be spent now do not cover amount and fee. */
  | 'insufficient_balance'
  /** They would, but what is to be kept for fee bumping would be touched. */
  | 'reserve_needed'
  /** The fee would be above the limit given. */
  | 'over_budget'
  /** More weight than the network relays in one transaction. */
  | 'too_large'
  /** A coin was asked for that is not ours, spent or locked. */
  | 'coin_unavailable'
  | 'unknown_transaction'
  | 'already_confirmed'
  /** Replaced or abandoned before. */
  | 'no_longer_valid'
  /** A later transaction of ours spends from it. */
  | 'has_descendants'
  /** Others rely on its id (a channel's funding), or it is not ours alone. */
  | 'not_replaceable'
  /** The parent pays the wanted rate by itself. */
  | 'not_needed'
  /** The block is not the next one. */
  | 'out_of_order'

export interface Refusal {
  readonly kind: 'refusal'
  readonly code: RefusalCode
  readonly data: Readonly<Record<string, unknown>>
}

export const refusal = (code: RefusalCode, data: Readonly<Record<string, unknown>> = {}): Refusal => ({
  kind: 'refusal',
  code,
  data,
})

export const isRefusal = (value: unknown): value is Refusal =>
  typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'refusal'
