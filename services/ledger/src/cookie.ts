/** The cookie file: a password of this run that whoever can read the data directory may use, as bitcoind's `.cookie`. */
import { chmodSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { bytesToHex } from '@leyden/codec'
import { randomBytes } from '@leyden/crypto'

const USER = '__cookie__'

export type Cookie = { readonly credentials: string; readonly path: string; remove(): void }

const MODES = { owner: 0o600, group: 0o640, all: 0o644 } as const

/** The cookie cannot be written; the message says where and why. */
export class CookieError extends Error {
  constructor(path: string, detail: string) {
    super(`cannot write the cookie ${path}: ${detail}`)
    this.name = 'CookieError'
  }
}

/** Writes a new cookie, readable by its owner only unless told otherwise; it is never there half written. Throws CookieError. */
export const writeCookie = (path: string, readableBy: keyof typeof MODES): Cookie => {
  const credentials = `${USER}:${bytesToHex(randomBytes(32))}`
  const temporary = `${path}.tmp`
  try {
    rmSync(temporary, { force: true })
    writeFileSync(temporary, credentials, { mode: 0o600, flag: 'wx' })
    chmodSync(temporary, MODES[readableBy])
    renameSync(temporary, path)
  } catch (error) {
    throw new CookieError(path, (error as Error).message)
  }
  return { credentials, path, remove: () => rmSync(path, { force: true }) }
}
