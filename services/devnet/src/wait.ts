/** Waiting for what other processes do. */
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

export interface WaitOptions {
  readonly timeoutMs?: number
  readonly everyMs?: number
  readonly signal?: AbortSignal
}

/**
 * Asks until `check` answers something that is not undefined or false, and gives that. A check that throws counts as "not yet".
 * Rejects after `timeoutMs` (a minute) with `what`, and what the last check said.
 */
export const waitFor = async <T>(
  what: string,
  check: () => Promise<T | undefined | false> | T | undefined | false,
  { timeoutMs = 60_000, everyMs = 60, signal }: WaitOptions = {},
): Promise<T> => {
  const end = performance.now() + timeoutMs
  let last = ''
  for (;;) {
    signal?.throwIfAborted()
    try {
      const found = await check()
      if (found !== undefined && found !== false) return found
      last = ''
    } catch (error) {
      last = ` (${error instanceof Error ? error.message : String(error)})`
    }
    if (performance.now() > end) throw new Error(`waited ${timeoutMs / 1000} s for this in vain: ${what}${last}`)
    await pause(everyMs)
  }
}
