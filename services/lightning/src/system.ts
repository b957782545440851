/** The real ports: the system's clock, randomness from the crypto door (getRandomValues alone, B15). */
import { randomBytes } from '@leyden/crypto'
import type { Clock, Random } from '@leyden/runtime'

export const systemClock: Clock = {
  now: () => Date.now(),
  setTimer(delayMs, fn) {
    const timer = setTimeout(fn, delayMs)
    return () => clearTimeout(timer)
  },
}

export const systemRandom: Random = { bytes: (length) => randomBytes(length) }
