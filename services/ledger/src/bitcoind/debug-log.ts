/** debug.log: a line of text per event, `time message name=value ...`, as people and tools expect it beside a bitcoind. */
import { openSync, writeSync } from 'node:fs'
import type { Log } from '@leyden/runtime'
import type { LogCategories } from '../rpc/method.ts'

/** Bitcoin Core's, logging.cpp. A file of settings names them; here any of them lets debug lines be written. */
export const LOG_CATEGORIES = (
  'addrman bench blockstorage cmpctblock coindb estimatefee http i2p ipc leveldb libevent lock mempool mempoolrej net proxy prune qt rand ' +
  'reindex rpc scan selectcoins tor txpackages txreconciliation validation walletdb zmq'
)
  .split(' ')
  .sort()

export type DebugLogOptions = {
  /** No file without a path. */
  readonly path: string | undefined
  readonly console: boolean
  /** Begin the file anew. */
  readonly fresh: boolean
}

export type DebugLog = { readonly log: Log; readonly categories: LogCategories }

const shown = (value: unknown): string => {
  if (typeof value === 'string') return /^[^\s"]+$/.test(value) ? value : JSON.stringify(value)
  return typeof value === 'bigint' ? String(value) : (JSON.stringify(value) ?? 'undefined')
}

/** Opens the file to append to it. Throws what the file system says. */
export const openDebugLog = ({ path, console, fresh }: DebugLogOptions): DebugLog => {
  const file = path === undefined ? undefined : openSync(path, fresh ? 'w' : 'a', 0o600)
  const on = new Map(LOG_CATEGORIES.map((name) => [name, false]))
  const isDebug = (): boolean => [...on.values()].includes(true)
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
    log: {
      debug: (fields, message) => (isDebug() ? write('[debug] ', fields, message) : undefined),
      info: (fields, message) => write('', fields, message),
      warn: (fields, message) => write('[warning] ', fields, message),
      error: (fields, message) => write('[error] ', fields, message),
    },
    categories: {
      all: () => Object.fromEntries(on),
      set(name, value) {
        const names = ['', '1', 'all'].includes(name) ? LOG_CATEGORIES : [name]
        if (!names.every((one) => on.has(one))) return false
        for (const one of names) on.set(one, value)
        return true
      },
    },
  }
}
