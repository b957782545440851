import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { ban, isBanned, parseAddress, parseSubnet } from '@leyden/p2p'
import type { Log } from '@leyden/runtime'
import { openBook, type Book } from './book.ts'

const NOW = 1_750_000_000
let datadir = ''
const lines: string[] = []
const write = (_fields: object, message: string): void => void lines.push(message)
const log: Log = { debug: write, info: write, warn: write, error: write }
const open = (): Book =>
  openBook({
    datadir,
    now: () => NOW,
    random: () => 0.5,
    freshKey: () => Uint8Array.from({ length: 32 }, (_, i) => i),
    deterministic: false,
    log,
  })
beforeEach(() => {
  datadir = mkdtempSync(join(tmpdir(), 'leyden-book-'))
  lines.length = 0
})
afterEach(() => rmSync(datadir, { recursive: true }))

it('addresses and bans are there after a restart', () => {
  const book = open()
  const endpoint = { ...parseAddress('1.2.3.4')!, port: 8333 }
  book.addrman.add([{ endpoint, services: 9n, time: NOW }], endpoint, 0, NOW)
  ban(book.bans, parseSubnet('10.0.0.0/8')!, NOW + 100, NOW)
  book.saveAddresses()
  book.saveBans()
  lines.length = 0
  const again = open()
  expect(again.addrman.rows()).toEqual(book.addrman.rows())
  expect(isBanned(again.bans, parseAddress('10.1.1.1')!, NOW)).toBe(true)
  expect(lines).toEqual([])
  expect(JSON.parse(readFileSync(join(datadir, 'banlist.json'), 'utf8'))).toEqual({
    banned_nets: [{ address: '10.0.0.0/8', ban_created: NOW, banned_until: NOW + 100, version: 1 }],
  })
})

it('files that are missing or damaged are made anew, and that is told', () => {
  open()
  expect(lines.map((line) => line.slice(0, 22))).toEqual(['Creating peers.dat bec', 'Recreating the banlist'])
  writeFileSync(join(datadir, 'peers.dat'), Uint8Array.of(1, 2, 3))
  writeFileSync(join(datadir, 'banlist.json'), '{"banned_nets": [5, {"address": 7}, ')
  lines.length = 0
  const book = open()
  expect(lines).toEqual(['the address book is damaged: it begins anew', 'Recreating the banlist database'])
  expect([book.addrman.rows(), [...book.bans.bans]]).toEqual([[], []])
  expect(existsSync(join(datadir, 'peers.dat'))).toBe(true)
})
