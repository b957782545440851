/**
 * Taking blocks from a file (-loadblock): one of bitcoind's, of ours, or what linearize wrote; anything with magic, length and block.
 * They may stand in any order: one that comes before its parent waits for it.
 */
import { existsSync, statSync } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { DecodeError } from '@leyden/codec'
import { blockHash, decodeBlock, type Block, type BlockHash } from '@leyden/bitcoin'
import type { Log } from '@leyden/runtime'
import { recordMagic, scanRecords } from './block-files.ts'
import { diskDirectory } from './directory.ts'
import type { LedgerEngine } from './engine.ts'
import { NO_STARTUP, type Progress, type Startup } from './warmup.ts'

/** Handed to the chain and not settled: enough for one flush to take many. */
const MAX_OUTSTANDING = 64

const decode = (bytes: Uint8Array): Block | undefined => {
  try {
    return decodeBlock(bytes)
  } catch (error) {
    if (error instanceof DecodeError || error instanceof RangeError) return undefined
    throw error
  }
}

/**
 * Resolves when every block of the file has been taken or refused. Throws when the ledger cannot write, Stopping when it is to be
 * left off.
 */
export const loadBlocks = async (engine: LedgerEngine, file: string, log: Log, startup: Startup = NO_STARTUP): Promise<void> => {
  const path = resolve(file)
  if (!existsSync(path)) return log.warn({ path }, 'could not open blocks file')
  const directory = diskDirectory(dirname(path))
  const { size } = statSync(path)
  let read = 0
  const progress = (): Progress => ({ done: read, of: size, unit: 'bytes' })
  startup.begin({ doing: `Importing blocks from ${basename(path)}`, progress, isLong: true })
  /** By the parent. */
  const early = new Map<BlockHash, Block[]>()
  const sent = new Set<BlockHash>()
  const outstanding: Promise<unknown>[] = []
  let connected = 0
  let broken = 0
  const submit = async (block: Block): Promise<void> => {
    sent.add(blockHash(block.header))
    const taken = engine.submitBlock(block).then(({ status }) => {
      if (status === 'connected') connected++
    })
    taken.catch(() => undefined)
    outstanding.push(taken)
    if (outstanding.length >= MAX_OUTSTANDING) await outstanding.shift()
  }
  try {
    for await (const { bytes, offset } of scanRecords(directory, basename(path), recordMagic(engine.network))) {
      startup.check()
      read = offset
      const block = decode(bytes)
      if (block === undefined) {
        broken++
        continue
      }
      const { previousHash } = block.header
      if (!sent.has(previousHash) && engine.tree.entries.get(previousHash)?.stored !== true) {
        early.set(previousHash, [...(early.get(previousHash) ?? []), block])
        continue
      }
      const ready = [block]
      for (let next = ready.pop(); next !== undefined; next = ready.pop()) {
        await submit(next)
        const hash = blockHash(next.header)
        ready.push(...(early.get(hash) ?? []))
        early.delete(hash)
      }
    }
    for (const one of outstanding) await one
  } finally {
    await directory.close()
  }
  log.info(
    { path, connected, broken, loose: [...early.values()].flat().length, height: engine.tip().height },
    'blocks file loaded',
  )
}
