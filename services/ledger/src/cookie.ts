/** The cookie file: a password of this run that whoever can read the data directory may use, as bitcoind's `.cookie`. */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bytesToHex } from '@leyden/codec'
import { randomBytes } from '@leyden/crypto'

const USER = '__cookie__'

export type Cookie = { readonly credentials: string; readonly path: string; remove(): void }

/** Writes a new cookie, readable by its owner only. */
export const writeCookie = (datadir: string): Cookie => {
  const path = join(datadir, '.cookie')
  const credentials = `${USER}:${bytesToHex(randomBytes(32))}`
  rmSync(path, { force: true })
  writeFileSync(path, credentials, { mode: 0o600, flag: 'wx' })
  return { credentials, path, remove: () => rmSync(path, { force: true }) }
}
