/**
 * One measurement of the ledger in a process of its own, so that neither memory nor compiled code of another stands in it. Arguments: what
 * to measure, full blocks of the chain, threads, data directory. The answer goes to the parent: ledger.ts.
 */
import { performance } from 'node:perf_hooks'
import {
  blockHash,
  decodeBlock,
  networks,
  outpointKey,
  Sat,
  scriptFlagsAt,
  txid,
  type Block,
  type BlockHeader,
  type Outpoint,
} from '@leyden/bitcoin'
import {
  ecdsaSign,
  ecdsaVerify,
  pointFromSecret,
  schnorrSign,
  schnorrVerify,
  sha256,
  xOnlyFromPoint,
  xOnlyTweakAdd,
} from '@leyden/crypto'
import { addHeader, buildBlock, createHeaderTree, findNonce, isViolation, placeHeader, type ScriptChecks } from '@leyden/ledger'
import { createScriptPool, startLedger, type RunningLedger } from '@leyden/ledger-service'
import { benchChain, curveWorkOf, FIRST_HEIGHT } from './chain.ts'

/** What a measurement tells. `count`: how many of its thing it did. */
export type Measured = { readonly ms: number; readonly count: number; readonly cpuMs: number; readonly peakBytes: number }

const silent = (): void => undefined
const SILENT = { debug: silent, info: silent, warn: silent, error: silent }

const [what = '', blocksText = '1', threadsText = '1', datadir = ''] = process.argv.slice(2)
const fullBlocks = Number(blocksText)
const threads = Number(threadsText)

const IN_FLIGHT = 4

const timed = async (count: number, run: () => Promise<void> | void): Promise<Measured> => {
  const cpu = process.cpuUsage()
  const start = performance.now()
  await run()
  const ms = performance.now() - start
  const { user, system } = process.cpuUsage(cpu)
  return { ms, count, cpuMs: (user + system) / 1000, peakBytes: process.resourceUsage().maxRSS * 1024 }
}

const open = (): Promise<RunningLedger> =>
  startLedger({
    datadir,
    network: 'regtest',
    rpcPort: 0,
    p2pPort: 0,
    linkPort: 0,
    scriptThreads: threads,
  })

const blocksOf = (from: number, to: number): Block[] => benchChain(fullBlocks).slice(from, to).map(decodeBlock)
const prelude = (): Block[] => blocksOf(0, FIRST_HEIGHT - 1)

const submit = async ({ engine }: RunningLedger, block: Block): Promise<void> => {
  const outcome = await engine.submitBlock(block)
  if (outcome.status !== 'connected') throw new Error(JSON.stringify(outcome))
}

const RUNS: Readonly<Record<string, () => Promise<Measured>>> = {
  /** From the bytes of the blocks to blocks connected and durable. The first is not counted: with it threads start and code is compiled. */
  async connect() {
    const ledger = await open()
    for (const block of [...prelude(), ...blocksOf(FIRST_HEIGHT - 1, FIRST_HEIGHT)]) await submit(ledger, block)
    const full = benchChain(fullBlocks).slice(FIRST_HEIGHT)
    const measured = await timed(full.length, async () => {
      // As they come from peers: a few on their way at once, so that none waits for the disk to confirm the one before
      const underWay: Promise<void>[] = []
      for (const bytes of full) {
        if (underWay.length === IN_FLIGHT) await underWay.shift()
        underWay.push(submit(ledger, decodeBlock(bytes)))
      }
      await Promise.all(underWay)
    })
    await ledger.stop()
    return measured
  },

  /** The scripts alone, blocks and spent outputs in memory; the first block not counted. */
  async scripts() {
    const ledger = await open()
    const checks: ScriptChecks[] = []
    for (const block of blocksOf(FIRST_HEIGHT - 1, FIRST_HEIGHT - 1 + fullBlocks)) {
      const hash = blockHash(block.header)
      const undo = await ledger.engine.undo(hash)
      if (undo === undefined) throw new Error('no undo data')
      const flags = scriptFlagsAt(networks.regtest, FIRST_HEIGHT, hash)
      checks.push({ block, undo, flags, pending: block.transactions.map((_, i) => i).slice(1) })
    }
    await ledger.stop()
    const pool = createScriptPool({ threads, log: SILENT })
    await pool.check(checks.shift() as ScriptChecks)
    const measured = await timed(
      checks.reduce((n, { undo }) => n + undo.length, 0),
      async () => {
        for (const each of checks) if ((await pool.check(each)) !== undefined) throw new Error('a script failed')
      },
    )
    await pool.close()
    return measured
  },

  /** The curve operations of those scripts and nothing else, a share of them: `threads` processes make the whole. */
  async curve() {
    const work = curveWorkOf(fullBlocks)
    const samples = Array.from({ length: 500 }, (_, i) => {
      const secret = sha256(Uint8Array.of(1, i & 7))
      const hash = sha256(Uint8Array.of(2, i & 255, i >> 8))
      const point = pointFromSecret(secret)
      return {
        hash,
        point,
        xOnly: xOnlyFromPoint(point),
        ecdsa: ecdsaSign(hash, secret),
        schnorr: schnorrSign(hash, secret, new Uint8Array(32)),
      }
    })
    const each = (count: number, run: (sample: (typeof samples)[number]) => unknown): void => {
      for (let i = 0; i < count / threads; i++) if (run(samples[i % samples.length]!) === false) throw new Error('invalid')
    }
    const all = (scale: number): void => {
      each(work.ecdsa * scale, ({ ecdsa, hash, point }) => ecdsaVerify(ecdsa, hash, point))
      each(work.schnorr * scale, ({ schnorr, hash, xOnly }) => schnorrVerify(schnorr, hash, xOnly))
      each(work.tweak * scale, ({ xOnly, hash }) => xOnlyTweakAdd(xOnly, hash))
    }
    all(0.02)
    return timed((work.ecdsa + work.schnorr) / threads, () => all(1))
  },

  /** Transactions of two blocks, each accepted and durable; those of the second spend those of the first. */
  async mempool() {
    const ledger = await open()
    for (const block of prelude()) await submit(ledger, block)
    const transactions = blocksOf(FIRST_HEIGHT - 1, FIRST_HEIGHT + 1).flatMap((block) => block.transactions.slice(1))
    const measured = await timed(transactions.length, async () => {
      const outcomes = await Promise.all(transactions.map((tx) => ledger.engine.submitTransaction(tx)))
      const refused = outcomes.find(({ status }) => status !== 'accepted')
      if (refused !== undefined) throw new Error(JSON.stringify(refused.rejection))
    })
    // And the block with the first half of them: nothing of it is checked again
    const [block] = blocksOf(FIRST_HEIGHT - 1, FIRST_HEIGHT)
    await submit(ledger, block as Block)
    await ledger.stop()
    return measured
  },

  async headers() {
    const network = networks.regtest
    const tree = createHeaderTree(network, network.genesis.header)
    const headers: BlockHeader[] = []
    let parent = tree.genesis
    for (let i = 0; i < 2000 * Math.min(fullBlocks, 10); i++) {
      const plan = { network, parent, now: parent.header.time + 600, transactions: [], fees: 0n, extraNonce: 0 }
      const { header } = findNonce(buildBlock({ ...plan, scriptPubKey: new Uint8Array(0) })) as Block
      const entry = placeHeader(tree, header, header.time)
      if (isViolation(entry)) throw new Error(entry.reason)
      addHeader(tree, entry)
      headers.push({ ...header })
      parent = entry
    }
    const ledger = await open()
    const measured = await timed(headers.length, () => {
      for (let at = 0; at < headers.length; at += 2000) {
        const answer = ledger.engine.submitHeaders(headers.slice(at, at + 2000))
        if (isViolation(answer)) throw new Error(answer.reason)
      }
    })
    await ledger.stop()
    return measured
  },

  /** Coins that exist, in no order, one after the other. */
  async coins() {
    const ledger = await open()
    const [last] = blocksOf(FIRST_HEIGHT - 2 + fullBlocks, FIRST_HEIGHT - 1 + fullBlocks)
    const outpoints = (last as Block).transactions
      .slice(1)
      .flatMap((tx): Outpoint[] => tx.outputs.map((_, vout) => ({ txid: txid(tx), vout })))
      .sort((a, b) => (outpointKey(a) < outpointKey(b) ? -1 : 1))
    const rounds = 5
    const measured = await timed(rounds * outpoints.length, async () => {
      for (let i = 0; i < rounds; i++)
        for (const outpoint of outpoints)
          if ((await ledger.engine.coin(outpoint))?.output.value === Sat(0n)) throw new Error('an empty coin')
    })
    await ledger.stop()
    return measured
  },

  async start() {
    let ledger: RunningLedger | undefined
    const measured = await timed(1, async () => {
      ledger = await open()
    })
    await ledger?.stop()
    return measured
  },
}

const run = RUNS[what]
if (run === undefined) throw new Error(`unknown measurement ${what}`)
const measured = await run()
process.send?.(measured)
process.disconnect?.()
