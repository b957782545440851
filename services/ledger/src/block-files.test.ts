import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { networks, type BlockHash } from '@leyden/bitcoin'
import { openBlockFiles, recordChecksum, scanRecords, type BlockFiles, type FileFacts, type Place } from './block-files.ts'
import { diskDirectory, type Directory } from './directory.ts'
import { FileDisk } from './memory-directory.ts'

const { magic } = networks.regtest
const hashOf = (n: number): BlockHash => n.toString(16).padStart(64, '0') as BlockHash
const bytesOf = (n: number, length = 300): Uint8Array => Uint8Array.from({ length }, (_, i) => (n * 31 + i) & 255)

let path: string
beforeAll(() => {
  path = mkdtempSync(join(tmpdir(), 'leyden-blocks-'))
})
afterAll(() => rmSync(path, { recursive: true }))

const filesIn = (directory: Directory, known: ReadonlyMap<number, FileFacts> = new Map()): Promise<BlockFiles> =>
  openBlockFiles({ directory, magic, maxFileBytes: 1000 }, known)

describe.each([
  ['on a disk', (name: string): Directory => diskDirectory(join(path, name))],
  ['in memory', (): Directory => new FileDisk().open()],
])('block files %s', (_, make) => {
  it('give back what was appended, before and after it is durable, in files of bounded size', async () => {
    const directory = make('give')
    const files = await filesIn(directory)
    const blocks: Place[] = []
    const undos: Place[] = []
    for (let n = 0; n < 7; n++) {
      blocks.push(files.appendBlock(hashOf(n), n, bytesOf(n)))
      undos.push(files.appendUndo(blocks[n]!, hashOf(n), bytesOf(n, 40)))
      if (n === 3) await files.persist()
    }
    expect(blocks.map(({ file }) => file)).toEqual([0, 0, 0, 1, 1, 1, 2])
    const readAll = async (from: BlockFiles): Promise<void> => {
      for (let n = 0; n < 7; n++) {
        expect(await from.read('block', blocks[n]!, hashOf(n))).toEqual(bytesOf(n))
        expect(await from.read('undo', undos[n]!, hashOf(n))).toEqual(bytesOf(n, 40))
      }
    }
    await readAll(files)
    expect(files.unwritten).toBeGreaterThan(0)
    await files.persist()
    expect(files.unwritten).toBe(0)
    await readAll(files)
    await readAll(await filesIn(directory, files.facts))
    expect(files.facts.get(1)).toEqual({ blockBytes: 936, undoBytes: 156, blocks: 3, lowest: 3, highest: 5 })
    expect(files.size()).toBe(7 * (312 + 52))
    await directory.close()
  })

  it('are cut to what the index knows, and files that it does not know go', async () => {
    const directory = make('cut')
    const files = await filesIn(directory)
    const first = files.appendBlock(hashOf(1), 1, bytesOf(1))
    await files.persist()
    const known = new Map(files.facts)
    for (let n = 2; n < 6; n++) files.appendUndo(files.appendBlock(hashOf(n), n, bytesOf(n)), hashOf(n), bytesOf(n))
    await files.persist()
    expect(await directory.list()).toHaveLength(4)
    const again = await filesIn(directory, known)
    expect(await directory.list()).toEqual([{ name: 'blk00000.dat', size: 312 }])
    expect(await again.read('block', first, hashOf(1))).toEqual(bytesOf(1))
    const next = again.appendBlock(hashOf(9), 2, bytesOf(9))
    await again.persist()
    expect(await again.read('block', next, hashOf(9))).toEqual(bytesOf(9))
    await directory.close()
  })

  it('that lack what the index knows are a clear fault', async () => {
    const directory = make('lack')
    const files = await filesIn(directory)
    files.appendBlock(hashOf(1), 1, bytesOf(1))
    await files.persist()
    await directory.truncate('blk00000.dat', 100)
    await expect(filesIn(directory, files.facts)).rejects.toThrow(
      /blk00000\.dat: it has 100 bytes where 312 were written.*--reindex/,
    )
    await directory.close()
  })

  it('can be read from end to end around what is damaged', async () => {
    const directory = make('scan')
    const files = await filesIn(directory)
    const places = [1, 2, 3].map((n) => files.appendBlock(hashOf(n), n, bytesOf(n)))
    await files.persist()
    await directory.write('blk00000.dat', places[1]!.offset + 5, Uint8Array.of(0xff, 0xfe))
    const found = []
    for await (const { bytes, offset, checksum } of scanRecords(directory, 'blk00000.dat', magic))
      found.push([offset, [1, 2, 3].find((n) => recordChecksum(hashOf(n), bytes) === checksum)])
    expect(found).toEqual([
      [places[0]!.offset, 1],
      [places[1]!.offset, undefined],
      [places[2]!.offset, 3],
    ])
    await directory.close()
  })
})

describe('a damaged record', () => {
  it('is never given: the fault names the file, the place and what to do', async () => {
    const directory = diskDirectory(join(path, 'damage'))
    const files = await filesIn(directory)
    const place = files.appendBlock(hashOf(1), 1, bytesOf(1))
    await files.persist()
    const file = join(path, 'damage', 'blk00000.dat')
    const whole = readFileSync(file)
    for (const at of [0, 4, 8, 150, 307, 308, 311]) {
      const damaged = Buffer.from(whole)
      damaged[at]! ^= 1
      writeFileSync(file, damaged)
      await expect(files.read('block', place, hashOf(1))).rejects.toThrow(
        /damaged: .*blk00000\.dat: the block at byte 8 .*Check the disk.*--reindex/,
      )
    }
    writeFileSync(file, whole)
    expect(await files.read('block', place, hashOf(1))).toEqual(bytesOf(1))
    await expect(files.read('block', place, hashOf(2))).rejects.toThrow('is not what was written')
    await directory.close()
  })
})

describe('a disk', () => {
  it('that is full or fails loses nothing that was appended: the next attempt writes it', async () => {
    const disk = new FileDisk()
    const files = await filesIn(disk.open())
    const places: Place[] = []
    for (let n = 0; n < 5; n++) {
      places.push(files.appendBlock(hashOf(n), n, bytesOf(n)))
      disk.failWrites(1)
      await expect(files.persist()).rejects.toThrow(/ENOSPC|EIO/)
      expect(await files.read('block', places[n]!, hashOf(n))).toEqual(bytesOf(n))
    }
    await files.persist()
    const again = await filesIn(disk.open(), files.facts)
    for (let n = 0; n < 5; n++) expect(await again.read('block', places[n]!, hashOf(n))).toEqual(bytesOf(n))
  })

  it('that lost power shows synced bytes, and torn ones only behind them', async () => {
    const disk = new FileDisk()
    const files = await filesIn(disk.open())
    const first = files.appendBlock(hashOf(1), 1, bytesOf(1))
    await files.persist()
    const known = new Map(files.facts)
    files.appendBlock(hashOf(2), 2, bytesOf(2))
    disk.crashAt(2, () => undefined) // written, not synced
    void files.persist()
    await new Promise((resolve) => setTimeout(resolve, 1))
    const after = disk.open()
    expect(await after.list()).toEqual([{ name: 'blk00000.dat', size: 312 + 156 }])
    const again = await filesIn(after, known)
    expect(await after.list()).toEqual([{ name: 'blk00000.dat', size: 312 }])
    expect(await again.read('block', first, hashOf(1))).toEqual(bytesOf(1))
  })

  it.runIf(process.platform === 'linux')('keeps few files open, and none after close', async () => {
    const directory = diskDirectory(join(path, 'many'))
    const targetOf = (fd: string): string => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`)
      } catch {
        return '' // the one that listed them
      }
    }
    const ours = (): string[] => readdirSync('/proc/self/fd').filter((fd) => targetOf(fd).includes(join(path, 'many')))
    for (let n = 0; n < 60; n++) await directory.write(`blk${String(n).padStart(5, '0')}.dat`, 0, bytesOf(n))
    expect(ours().length).toBeLessThan(40)
    await directory.close()
    expect(ours()).toEqual([])
    await expect(directory.read('blk00000.dat', 0, 1)).rejects.toThrow('is closed')
  })
})
