/**
 * The log port: structured lines. And a log that strangers cannot fill a disk with: so many lines a minute, then silence and the number
 * of what was left out. For what peers and clients cause; what a service itself has to say is not limited.
 */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

const MINUTE_MS = 60_000

/** At most `perMinute` lines. `now` in milliseconds. */
export const limitLog = (log: Log, now: () => number, perMinute = 120): Log => {
  let began = now()
  let lines = 0
  const limited =
    (level: keyof Log) =>
    (fields: object, message: string): void => {
      if (now() - began >= MINUTE_MS) {
        if (lines > perMinute) log.warn({ lines: lines - perMinute }, 'log lines were left out')
        began = now()
        lines = 0
      }
      if (++lines <= perMinute) log[level](fields, message)
    }
  return { debug: limited('debug'), info: limited('info'), warn: limited('warn'), error: limited('error') }
}
