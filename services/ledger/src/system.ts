/** The machine's own clock and randomness, as ports. */
import { randomBytes } from '@leyden/crypto'
import type { Clock, Random } from '@leyden/runtime'

export const systemClock: Clock = {
  now: () => Date.now(),
  setTimer(delayMs, fn) {
    const timer = setTimeout(fn, delayMs)
    return () => clearTimeout(timer)
  },
}

/** A clock whose time can be set to stand still at a moment; 0 lets it run again. Timers go on by the clock beneath. */
export const settableClock = (clock: Clock): Clock & { setTime(ms: number): void } => {
  let stopped = 0
  return {
    now: () => (stopped === 0 ? clock.now() : stopped),
    setTimer: (delayMs, fn) => clock.setTimer(delayMs, fn),
    setTime(ms) {
      stopped = ms
    },
  }
}

/** Resolves after whatever else waits has had its turn. */
export const nextTurn = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve)
  })

export const systemRandom: Random = { bytes: (length) => randomBytes(length) }
