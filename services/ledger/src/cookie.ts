/** The cookie file: a password of this run that whoever can read the data directory may use, as bitcoind's `.cookie`. */
import { chmodSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { bytesToHex } from '@leyden/codec'
import { randomBytes } from '@leyden/crypto'

const USER = '__cookie__'

export type Cookie = { readonly credentials: string; readonly path: string; remove(): void }

const MODES = { owner: 0o600, group: 0o640, all: 0o644 } as const

/** Writes a new cookie, readable by its owner only unless told otherwise; it is never there half written. */
export const writeCookie = (path: string, readableBy: keyof typeof MODES): Cookie => {
  const credentials = `${USER}:${bytesToHex(randomBytes(32))}`
  const temporary = `${path}.tmp`
  rmSync(temporary, { force: true })
  writeFileSync(temporary, credentials, { mode: 0o600, flag: 'wx' })
  chmodSync(temporary, MODES[readableBy])
  renameSync(temporary, path)
  return { credentials, path, remove: () => rmSync(path, { force: true }) }
}
