import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { bytesToHex } from '@leyden/codec'
import { captureInto } from './capture.ts'

const root = mkdtempSync(join(tmpdir(), 'leyden-capture-'))
afterAll(() => rmSync(root, { recursive: true }))
const warned: string[] = []
const log = { debug: () => {}, info: () => {}, error: () => {}, warn: (_: object, text: string) => void warned.push(text) }

it('messages of a peer are appended to a file of each direction, in a directory of its address', () => {
  const capture = captureInto(root, () => 0x1234, log)('[::1]:18444')
  capture('recv', 'ping', Uint8Array.of(1, 2, 3))
  capture('recv', 'verack', new Uint8Array(0))
  capture('sent', 'pong', Uint8Array.of(9))
  const read = (name: string): string => bytesToHex(readFileSync(join(root, '[__1]_18444', name)))
  const time = '20 1b 47 00 00 00 00 00'.replaceAll(' ', '')
  expect(read('msgs_recv.dat')).toBe(
    `${time}70696e670000000000000000030000000102 03${time}76657261636b00000000000000000000`.replaceAll(' ', ''),
  )
  expect(read('msgs_sent.dat')).toBe(`${time}706f6e6700000000000000000100000009`)
})

it('what cannot be written is told in the log, and stays inside of its directory', () => {
  const file = join(root, 'file')
  writeFileSync(file, '')
  captureInto(file, () => 0, log)('a:1')('sent', 'ping', new Uint8Array(0))
  expect(warned).toEqual(['a message was not captured'])
  captureInto(join(root, 'in'), () => 0, log)('../../up:1')('sent', 'ping', new Uint8Array(0))
  expect(readdirSync(join(root, 'in'))).toEqual(['.._.._up_1'])
})
