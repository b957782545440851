/**
 * Block files: blocks as they came in blk00000.dat and on, what they spent in rev00000.dat and on, appended and never changed.
 * A record is: the network's magic (recordMagic), the length (u32 LE), the bytes, and CRC-32 (u32 LE) of block hash and bytes: what another
 * program that reads bitcoind's block files can read too. The index in the store names each record by its place.
 * An append is in memory until `persist`, which makes everything durable; only then may a row that names it be written.
 * What no row names is cut off at the next start, so a torn end cannot be met.
 */
import { crc32 } from 'node:zlib'
import { concat, Writer } from '@leyden/codec'
import { blockHash, blockHashToBytes, findNetwork, type BlockHash, type Network } from '@leyden/bitcoin'
import type { Directory } from './directory.ts'

/** Where a record's bytes are. */
export type Place = { readonly file: number; readonly offset: number; readonly length: number }

/** What the index knows of a pair of files: bytes that count, number of blocks, and from which to which height they are. */
export type FileFacts = {
  readonly blockBytes: number
  readonly undoBytes: number
  readonly blocks: number
  readonly lowest: number
  readonly highest: number
}

export type RecordKind = 'block' | 'undo'

/** A file that is not as it was written. */
export class DamagedFile extends Error {
  constructor(file: string, detail: string) {
    super(
      `the data directory is damaged: ${file}: ${detail}. Check the disk (and the memory) of this machine; ` +
        `then start once with --reindex, which builds everything again from the blocks that are whole and asks peers for the rest`,
    )
    this.name = 'DamagedFile'
  }
}

/**
 * What a record begins with: the magic of a public network. On a network of one's own it comes from the genesis block, which a fork
 * shares with the ledger whose files it may take over, and not its magic.
 */
export const recordMagic = (network: Network): Uint8Array =>
  findNetwork(network.name) === undefined ? blockHashToBytes(blockHash(network.genesis.header)).subarray(0, 4) : network.magic

/** Bitcoin Core blockstorage.h, MAX_BLOCKFILE_SIZE. */
const MAX_FILE_BYTES = 128 * 1024 * 1024
const HEAD_BYTES = 8
const TAIL_BYTES = 4
/** Read at once when a file is read from end to end. */
const SCAN_BYTES = 4 * 1024 * 1024
/** More is no block, whatever the length field says. */
const MAX_RECORD_BYTES = 4_000_000

const nameOf = (kind: RecordKind, file: number): string =>
  `${kind === 'block' ? 'blk' : 'rev'}${String(file).padStart(5, '0')}.dat`
const NAME = /^(blk|rev)(\d{5,})\.dat$/

const checksum = (hash: BlockHash, bytes: Uint8Array): number => crc32(bytes, crc32(blockHashToBytes(hash)))

/** Bytes of a record beside its contents. */
export const RECORD_OVERHEAD = HEAD_BYTES + TAIL_BYTES

type Waiting = { readonly offset: number; readonly chunks: Uint8Array[]; bytes: number }

export interface BlockFiles {
  /** Facts of every pair of files. */
  readonly facts: ReadonlyMap<number, FileFacts>
  /** Bytes that are not durable yet. */
  readonly unwritten: number
  /** Bytes of all files. */
  size(): number
  appendBlock(hash: BlockHash, height: number, bytes: Uint8Array): Place
  /** Beside the block, in the file of the same number. */
  appendUndo(block: Place, hash: BlockHash, bytes: Uint8Array): Place
  /** Throws {@link DamagedFile} unless the record is as it was written. */
  read(kind: RecordKind, place: Place, hash: BlockHash): Promise<Uint8Array>
  /** The pairs whose facts have changed since the last call. */
  takeChanged(): number[]
  /** Takes that back: what was given could not be stored. */
  markChanged(files: readonly number[]): void
  /** Makes everything durable that was appended before the call. After a rejection nothing is lost: the next call tries again. */
  persist(): Promise<void>
  /** Leaves the pair out of the facts; the files go with `remove`, when the store says so too. Not for the pair that is written. */
  drop(file: number): void
  remove(file: number): Promise<void>
  /** The pair that is appended to. */
  readonly current: number
}

export type BlockFilesOptions = {
  readonly directory: Directory
  readonly magic: Uint8Array
  readonly maxFileBytes?: number | undefined
}

/**
 * Opens the files that the index knows. What is there beyond it is cut off, files that it does not name are deleted.
 * Throws {@link DamagedFile} when something is missing.
 */
export const openBlockFiles = async (options: BlockFilesOptions, known: ReadonlyMap<number, FileFacts>): Promise<BlockFiles> => {
  const { directory, magic, maxFileBytes = MAX_FILE_BYTES } = options
  const facts = new Map(known)
  const there = new Map((await directory.list()).filter(({ name }) => NAME.test(name)).map(({ name, size }) => [name, size]))
  const expected = new Map<string, number>()
  for (const [file, { blockBytes, undoBytes }] of facts) {
    expected.set(nameOf('block', file), blockBytes)
    if (undoBytes > 0) expected.set(nameOf('undo', file), undoBytes)
  }
  for (const [name, size] of expected) {
    const found = there.get(name) ?? 0
    if (found < size) throw new DamagedFile(`${directory.path}/${name}`, `it has ${found} bytes where ${size} were written`)
    if (found > size) await directory.truncate(name, size)
  }
  for (const name of there.keys()) if (!expected.has(name)) await directory.remove(name)

  let current = Math.max(0, ...facts.keys())
  const changed = new Set<number>()
  /** Appended since the last `persist` began; being made durable. */
  let waiting = new Map<string, Waiting>()
  const writing = new Map<string, Waiting>()
  /** Contents of records that are not durable, by file and place. */
  const fresh = new Map<string, Uint8Array>()
  let unwritten = 0

  const append = (kind: RecordKind, file: number, at: number, hash: BlockHash, bytes: Uint8Array): Place => {
    const name = nameOf(kind, file)
    const head = new Writer(HEAD_BYTES)
    head.bytes(magic)
    head.u32le(bytes.length)
    const tail = new Writer(TAIL_BYTES)
    tail.u32le(checksum(hash, bytes))
    const part = waiting.get(name) ?? { offset: at, chunks: [], bytes: 0 }
    waiting.set(name, part)
    part.chunks.push(head.finish(), bytes, tail.finish())
    part.bytes += bytes.length + RECORD_OVERHEAD
    unwritten += bytes.length + RECORD_OVERHEAD
    changed.add(file)
    const place = { file, offset: at + HEAD_BYTES, length: bytes.length }
    fresh.set(`${name}:${place.offset}`, bytes)
    return place
  }
  const EMPTY: FileFacts = { blockBytes: 0, undoBytes: 0, blocks: 0, lowest: Number.MAX_SAFE_INTEGER, highest: 0 }

  return {
    facts,
    get unwritten() {
      return unwritten
    },
    get current() {
      return current
    },
    size: () => [...facts.values()].reduce((sum, { blockBytes, undoBytes }) => sum + blockBytes + undoBytes, 0),
    appendBlock(hash, height, bytes) {
      // Checksums are not counted: so a file ends with the block with which bitcoind's would.
      const { blockBytes, blocks } = facts.get(current) ?? EMPTY
      if (blocks > 0 && blockBytes - TAIL_BYTES * blocks + bytes.length + HEAD_BYTES >= maxFileBytes) current++
      const before = facts.get(current) ?? EMPTY
      const place = append('block', current, before.blockBytes, hash, bytes)
      facts.set(current, {
        ...before,
        blockBytes: before.blockBytes + bytes.length + RECORD_OVERHEAD,
        blocks: before.blocks + 1,
        lowest: Math.min(before.lowest, height),
        highest: Math.max(before.highest, height),
      })
      return place
    },
    appendUndo({ file }, hash, bytes) {
      const before = facts.get(file)
      if (before === undefined) throw new RangeError(`no block file ${file}`)
      const place = append('undo', file, before.undoBytes, hash, bytes)
      facts.set(file, { ...before, undoBytes: before.undoBytes + bytes.length + RECORD_OVERHEAD })
      return place
    },
    async read(kind, { file, offset, length }, hash) {
      const name = nameOf(kind, file)
      const held = fresh.get(`${name}:${offset}`)
      if (held !== undefined) return held
      const record = await directory.read(name, offset - HEAD_BYTES, length + RECORD_OVERHEAD)
      const at = `${directory.path}/${name}`
      if (record.length < length + RECORD_OVERHEAD) throw new DamagedFile(at, `it ends inside the ${kind} at byte ${offset}`)
      const view = new DataView(record.buffer, record.byteOffset, record.length)
      const bytes = record.subarray(HEAD_BYTES, HEAD_BYTES + length)
      if (
        magic.some((byte, i) => record[i] !== byte) ||
        view.getUint32(4, true) !== length ||
        view.getUint32(HEAD_BYTES + length, true) !== checksum(hash, bytes)
      )
        throw new DamagedFile(at, `the ${kind} at byte ${offset} is not what was written`)
      return bytes
    },
    takeChanged() {
      const files = [...changed]
      changed.clear()
      return files
    },
    markChanged(files) {
      for (const file of files) changed.add(file)
    },
    async persist() {
      for (const [name, { offset, chunks, bytes }] of waiting) {
        const part = writing.get(name) ?? { offset, chunks: [], bytes: 0 }
        part.chunks.push(...chunks)
        part.bytes += bytes
        writing.set(name, part)
      }
      waiting = new Map()
      for (const [name, { offset, chunks }] of writing) {
        await directory.write(name, offset, concat(...chunks))
        await directory.sync(name)
      }
      for (const [name, { offset, chunks, bytes }] of writing) {
        unwritten -= bytes
        let at = offset
        for (const [i, chunk] of chunks.entries()) {
          if (i % 3 === 1) fresh.delete(`${name}:${at}`)
          at += chunk.length
        }
      }
      writing.clear()
    },
    drop(file) {
      if (file === current) throw new RangeError('the block file that is written cannot be dropped')
      facts.delete(file)
      changed.add(file)
    },
    async remove(file) {
      await directory.remove(nameOf('block', file))
      await directory.remove(nameOf('undo', file))
    },
  }
}

/** Of the file with blocks. */
export const blockFileName = (file: number): string => nameOf('block', file)

/** The numbers of the block files in a directory, in order. */
export const blockFileNumbers = async (directory: Directory): Promise<number[]> =>
  (await directory.list())
    .map(({ name }) => NAME.exec(name))
    .filter((match) => match?.[1] === 'blk')
    .map((match) => Number(match?.[2]))
    .sort((a, b) => a - b)

export type ScannedRecord = { readonly bytes: Uint8Array; readonly offset: number; readonly checksum: number | undefined }

/**
 * Every record of a file that can be made out, in order: it looks for the magic, as bitcoind does, so damage costs only what it hits.
 * The checksum is for the caller to hold against {@link recordChecksum}; a file of bitcoind has none, and something else in its place.
 */
export async function* scanRecords(directory: Directory, name: string, magic: Uint8Array): AsyncIterable<ScannedRecord> {
  let position = 0
  let held: Uint8Array = new Uint8Array(0)
  const have = async (count: number): Promise<boolean> => {
    if (held.length >= count) return true
    const more = await directory.read(name, position + held.length, Math.max(SCAN_BYTES, count - held.length))
    if (more.length > 0) held = held.length === 0 ? more : concat(held, more)
    return held.length >= count
  }
  const skip = (count: number): void => {
    held = held.subarray(count)
    position += count
  }
  const [m0, m1, m2, m3] = magic
  while (await have(HEAD_BYTES)) {
    if (held[0] !== m0 || held[1] !== m1 || held[2] !== m2 || held[3] !== m3) {
      const next = held.indexOf(m0 as number, 1)
      skip(next === -1 ? held.length : next)
      continue
    }
    const length = new DataView(held.buffer, held.byteOffset).getUint32(4, true)
    if (length < 81 || length > MAX_RECORD_BYTES || !(await have(HEAD_BYTES + length))) {
      skip(1)
      continue
    }
    const bytes = held.slice(HEAD_BYTES, HEAD_BYTES + length)
    const hasTail = await have(RECORD_OVERHEAD + length)
    const tail = hasTail ? new DataView(held.buffer, held.byteOffset + HEAD_BYTES + length).getUint32(0, true) : undefined
    yield { bytes, offset: position + HEAD_BYTES, checksum: tail }
    // The checksum may hold anything, a magic too: only its absence is told by what follows.
    skip(HEAD_BYTES + length)
  }
}

/** What stands behind a record of this block. */
export const recordChecksum = checksum
