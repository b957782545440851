import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { concat } from '@leyden/codec'
import { encodeBlock, networks, type Block, type BlockHash } from '@leyden/bitcoin'
import { memoryStore, type Log } from '@leyden/runtime'
import { diskDirectory, type Directory } from './directory.ts'
import { createLedgerEngine, type LedgerEngine } from './engine.ts'
import { loadBlocks } from './load-blocks.ts'
import { FileDisk } from './memory-directory.ts'
import { ANYONE, virtualClock } from './testing.ts'

const network = networks.regtest
let path: string
beforeAll(() => {
  path = mkdtempSync(join(tmpdir(), 'leyden-load-'))
})
afterAll(() => rmSync(path, { recursive: true }))

const open = (directory: Directory = new FileDisk().open()): Promise<LedgerEngine> =>
  createLedgerEngine({ store: memoryStore(), directory, network, clock: virtualClock() })
const silent: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

it('takes the blocks of our own files, and of files as bitcoind writes them, in any order and around rubbish', async () => {
  const directory = diskDirectory(join(path, 'ours'))
  const source = await open(directory)
  const hashes = await source.generateToAddress(150, ANYONE)
  const blocks = await Promise.all(hashes.map(async (hash: BlockHash) => (await source.blockByHash(hash)) as Block))
  await source.close()
  await directory.close()

  const ours = await open()
  await loadBlocks(ours, join(path, 'ours', 'blk00000.dat'), silent)
  expect(ours.tip()).toEqual(source.tip())

  const lengthOf = (bytes: Uint8Array): Uint8Array => new Uint8Array(Uint32Array.of(bytes.length).buffer)
  const records = blocks.toReversed().flatMap((block) => {
    const bytes = encodeBlock(block)
    return [network.magic, lengthOf(bytes), bytes]
  })
  const rubbish = Uint8Array.of(...network.magic, 1, 2, 3)
  writeFileSync(join(path, 'theirs.dat'), concat(rubbish, ...records, new Uint8Array(1000)))
  const theirs = await open()
  await loadBlocks(theirs, join(path, 'theirs.dat'), silent)
  expect(theirs.tip()).toEqual(source.tip())

  const lines: string[] = []
  await loadBlocks(theirs, join(path, 'nowhere.dat'), { ...silent, warn: (_, text) => lines.push(text) })
  expect(lines).toEqual(['could not open blocks file'])
})
