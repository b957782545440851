import { blockHash, networks, txid, type Block, type BlockHash, type BlockHeader, type Tx } from '@leyden/bitcoin'
import {
  addHeader,
  buildBlock,
  createHeaderTree,
  findNonce,
  placeHeader,
  type HeaderEntry,
  type ScriptChecker,
} from '@leyden/ledger'
import { Disk, memoryStore } from '@leyden/runtime'
import { describe, expect, it } from 'vitest'
import { createLedgerEngine, type LedgerEngine, type LedgerEngineOptions } from './engine.ts'
import { FileDisk } from './memory-directory.ts'
import { ANYONE, outputOf, pay, virtualClock } from './testing.ts'

const network = networks.regtest
const SUBSIDY = 5_000_000_000n

const open = (options: Partial<LedgerEngineOptions> = {}): Promise<LedgerEngine> =>
  createLedgerEngine({
    store: memoryStore(new Disk()),
    directory: new FileDisk().open(),
    network,
    clock: virtualClock(),
    ...options,
  })
const blockOf = async (engine: LedgerEngine, hash: BlockHash): Promise<Block> => (await engine.blockByHash(hash)) as Block
const coinbasesOf = (engine: LedgerEngine, hashes: readonly BlockHash[]): Promise<Tx[]> =>
  Promise.all(hashes.map(async (hash) => (await blockOf(engine, hash)).transactions[0] as Tx))
const spend = (coinbase: Tx): Tx => pay([outputOf(coinbase)], [SUBSIDY - 1000n])

describe('scripts', () => {
  it('that passed in the mempool are not run again in the block, by whatever checks blocks', async () => {
    const asked: (readonly number[])[] = []
    const checkScripts: ScriptChecker = async ({ pending }) => {
      asked.push(pending)
      return undefined
    }
    const engine = await open({ checkScripts })
    const hashes = await engine.generateToAddress(103, ANYONE)
    const coinbases = await coinbasesOf(engine, hashes.slice(0, 3))
    asked.length = 0
    const [known, unknown, other] = coinbases.map((coinbase) => spend(coinbase)) as [Tx, Tx, Tx]
    await engine.submitTransaction(known)
    await engine.submitTransaction(other, { dryRun: true })
    await engine.generateBlock(ANYONE, [unknown, known, other])
    // Once to try the block, once to connect it
    expect(asked).toEqual([
      [1, 3],
      [1, 3],
    ])
    asked.length = 0
    await engine.invalidateBlock(engine.tip().hash)
    expect(engine.mempool()).toHaveLength(3)
    await engine.generateBlock(ANYONE, [unknown, known, other])
    expect(asked).toEqual([[], []])
    await engine.close()
  })

  it('of a block that is assumed valid do not run, once two weeks of headers lie on it', async () => {
    const source = await open()
    const [coinbase] = await coinbasesOf(source, await source.generateToAddress(101, ANYONE))
    const stolen = pay([{ ...outputOf(coinbase!), witness: [Uint8Array.of(0)] }], [SUBSIDY - 1000n])
    const tree = createHeaderTree(network, network.genesis.header)
    const headers: BlockHeader[] = []
    const blocks: Block[] = []
    let parent = tree.genesis
    const add = (header: BlockHeader): void => {
      headers.push(header)
      parent = placeHeader(tree, header, header.time) as HeaderEntry
      addHeader(tree, parent)
    }
    for (let height = 1; height <= source.tip().height; height++) {
      blocks.push(await blockOf(source, source.hashAtHeight(height as never) as BlockHash))
      add(blocks.at(-1)!.header)
    }
    const onTip = (transactions: readonly Tx[], fees: bigint): Block => {
      const plan = { network, parent, now: parent.header.time + 1, transactions, fees, extraNonce: 0 }
      return findNonce(buildBlock({ ...plan, scriptPubKey: ANYONE })) as Block
    }
    const bad = onTip([stolen], 1000n)
    const assumption = { block: blockHash(bad.header), minimumWork: 0n }
    add(bad.header)
    for (let i = 0; i < 2017; i++) add(onTip([], 0n).header)
    const outcomeWith = async (count: number, options: Partial<LedgerEngineOptions>): Promise<string> => {
      const engine = await open(options)
      expect(engine.submitHeaders(headers.slice(0, count))).toMatchObject({ height: count })
      for (const block of blocks) await engine.submitBlock(block)
      const outcome = await engine.submitBlock(bad)
      expect(await engine.isUnspent(outputOf(stolen))).toBe(outcome.status === 'connected')
      await engine.close()
      return outcome.status
    }
    expect(await outcomeWith(headers.length, { assumption })).toBe('connected')
    expect(await outcomeWith(headers.length - 1, { assumption })).toBe('rejected')
    expect(await outcomeWith(headers.length, {})).toBe('rejected')
  })

  it('that a checker refuses leave everything as it was', async () => {
    let refuse = false
    const checkScripts: ScriptChecker = async () => (refuse ? { txIndex: 1, inputIndex: 0, error: 'EVAL_FALSE' } : undefined)
    const engine = await open({ checkScripts })
    const [coinbase] = (await coinbasesOf(engine, await engine.generateToAddress(101, ANYONE))) as [Tx]
    const tx = spend(coinbase)
    const block = await engine.generateBlock(ANYONE, [tx], false)
    refuse = true
    expect(await engine.submitBlock(block)).toMatchObject({
      status: 'rejected',
      violation: {
        reason: expect.stringMatching(/^mandatory-script-verify-flag-failed \(Script evaluated without error/),
        detail: `tx ${txid(tx)} input 0`,
      },
    })
    expect(engine.tip().height).toBe(101)
    expect(await engine.isUnspent(outputOf(tx))).toBe(false)
    expect(await engine.isUnspent(outputOf(coinbase))).toBe(true)
    await engine.close()
  })
})
