/** debug.log: a line of text per event, `time message name=value ...`, as people and tools expect it beside a bitcoind. */
import { openSync, writeSync } from 'node:fs'
import type { Log } from '@leyden/runtime'

export type DebugLogOptions = {
  /** No file without a path. */
  readonly path: string | undefined
  readonly console: boolean
  /** Debug lines as well. */
  readonly debug: boolean
}

const shown = (value: unknown): string => {
  if (typeof value === 'string') return /^[^\s"]+$/.test(value) ? value : JSON.stringify(value)
  return typeof value === 'bigint' ? String(value) : (JSON.stringify(value) ?? 'undefined')
}

/** Opens the file to append to it. Throws what the file system says. */
export const openDebugLog = ({ path, console, debug }: DebugLogOptions): Log => {
  const file = path === undefined ? undefined : openSync(path, 'a', 0o600)
  const write = (level: string, fields: object, message: string): void => {
    const rest = Object.entries(fields).map(([name, value]) => ` ${name}=${shown(value)}`)
    const line = `${new Date().toISOString()} ${level}${message}${rest.join('')}\n`
    try {
      if (file !== undefined) writeSync(file, line)
      if (console) writeSync(1, line)
    } catch {
      // A disk too full for the log must not end the ledger.
    }
  }
  return {
    debug: (fields, message) => (debug ? write('[debug] ', fields, message) : undefined),
    info: (fields, message) => write('', fields, message),
    warn: (fields, message) => write('[warning] ', fields, message),
    error: (fields, message) => write('[error] ', fields, message),
  }
}
