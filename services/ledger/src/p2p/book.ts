/**
 * What the peering machine keeps over restarts: the address book (peers.dat, ours and not Bitcoin Core's) and the ban list
 * (banlist.json, as Bitcoin Core writes it). A file that cannot be read is made anew: nothing in it is dear.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { concat, equalBytes, packRecord, unpackRecord } from '@leyden/codec'
import { sha256d } from '@leyden/crypto'
import { banRows, createAddrman, createBanList, type Addrman, type AddrmanRow, type BanList } from '@leyden/p2p'
import type { Log } from '@leyden/runtime'

const KEY_BYTES = 32
const CHECKSUM_BYTES = 4
const MAX_ROWS = 100_000

type BookRecord = { readonly key: Uint8Array; readonly rows: readonly AddrmanRow[] }

const isRecord = (value: unknown): value is BookRecord => {
  if (typeof value !== 'object' || value === null) return false
  const { key, rows } = value as Partial<BookRecord>
  return key instanceof Uint8Array && key.length === KEY_BYTES && Array.isArray(rows) && rows.length <= MAX_ROWS
}

/** Puts a file in place whole, or leaves the old one. */
const replaceFile = (path: string, data: Uint8Array | string): void => {
  writeFileSync(`${path}.new`, data, { mode: 0o600 })
  renameSync(`${path}.new`, path)
}

const readBook = (path: string): BookRecord | undefined => {
  const bytes = new Uint8Array(readFileSync(path))
  const body = bytes.subarray(CHECKSUM_BYTES)
  if (!equalBytes(bytes.subarray(0, CHECKSUM_BYTES), sha256d(body).subarray(0, CHECKSUM_BYTES))) return undefined
  const record = unpackRecord(body)
  return isRecord(record) ? record : undefined
}

export type Book = { readonly addrman: Addrman; readonly bans: BanList; saveAddresses(): void; saveBans(): void }

export type BookOptions = {
  readonly datadir: string
  /** Seconds. */
  readonly now: () => number
  readonly random: () => number
  readonly freshKey: () => Uint8Array
  /** The same buckets on every node: for tests. */
  readonly deterministic: boolean
  readonly log: Log
}

export const openBook = ({ datadir, now, random, freshKey, deterministic, log }: BookOptions): Book => {
  const peersPath = join(datadir, 'peers.dat')
  const bansPath = join(datadir, 'banlist.json')
  let record: BookRecord | undefined
  if (existsSync(peersPath)) {
    try {
      record = readBook(peersPath)
    } catch {
      record = undefined
    }
    if (record === undefined) log.warn({ path: peersPath }, 'the address book is damaged: it begins anew')
  } else log.info({}, `Creating peers.dat because the file was not found ("${peersPath}")`)
  const fixedKey = new Uint8Array(KEY_BYTES)
  fixedKey[0] = 1
  const key = deterministic ? fixedKey : (record?.key ?? freshKey())
  const addrman = createAddrman({ key, random, rows: record?.rows ?? [] })

  let rows: readonly Readonly<Record<string, unknown>>[] | undefined
  if (existsSync(bansPath)) {
    try {
      const file = JSON.parse(readFileSync(bansPath, 'utf8')) as { readonly banned_nets?: unknown }
      if (Array.isArray(file.banned_nets))
        rows = file.banned_nets.filter((row) => typeof row === 'object' && row !== null).slice(0, MAX_ROWS) as Record<
          string,
          unknown
        >[]
    } catch {
      rows = undefined
    }
  }
  if (rows === undefined) log.info({}, 'Recreating the banlist database')
  const bans = createBanList(rows ?? [])
  const book: Book = {
    addrman,
    bans,
    saveAddresses() {
      try {
        const body = packRecord({ key, rows: addrman.rows() })
        replaceFile(peersPath, concat(sha256d(body).subarray(0, CHECKSUM_BYTES), body))
      } catch (error) {
        log.warn({ error: String(error) }, 'the address book could not be written')
      }
    },
    saveBans() {
      try {
        replaceFile(bansPath, `${JSON.stringify({ banned_nets: banRows(bans, now()) }, null, 2)}\n`)
      } catch (error) {
        log.warn({ error: String(error) }, 'the ban list could not be written')
      }
    },
  }
  book.saveAddresses()
  book.saveBans()
  return book
}
