/**
 * How much may be uploaded in a day. Bitcoin Core net.cpp (OutboundTargetReached): near the end of the allowance old blocks are no
 * longer served, so that what is left suffices for new ones.
 */
const CYCLE_MS = 24 * 3_600_000
const MAX_BLOCK_BYTES = 4_000_000
const BLOCK_INTERVAL_MS = 600_000

export type UploadState = {
  readonly target: number
  readonly reached: boolean
  readonly servesHistorical: boolean
  readonly bytesLeft: number
  readonly secondsLeft: number
}

export interface UploadTarget {
  sent(bytes: number): void
  reached(historical: boolean): boolean
  state(): UploadState
}

/** `target` in bytes, 0 for none. `now` in milliseconds. */
export const createUploadTarget = (target: number, now: () => number): UploadTarget => {
  let began = 0
  let used = 0
  const left = (): number => (began === 0 ? CYCLE_MS : Math.max(0, began + CYCLE_MS - now()))
  const reached = (historical: boolean): boolean => {
    if (target === 0) return false
    if (!historical) return used >= target
    const kept = Math.floor(left() / BLOCK_INTERVAL_MS) * MAX_BLOCK_BYTES
    return kept >= target || used >= target - kept
  }
  return {
    sent(bytes) {
      if (began + CYCLE_MS < now()) {
        began = now()
        used = 0
      }
      used += bytes
    },
    reached,
    state: () => ({
      target,
      reached: reached(false),
      servesHistorical: !reached(true),
      bytesLeft: target === 0 ? 0 : Math.max(0, target - used),
      secondsLeft: target === 0 ? 0 : Math.floor(left() / 1000),
    }),
  }
}
