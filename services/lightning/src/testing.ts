/**
 * For the tests of the node: nodes over simulated disks and lines, and a chain that the test makes: what becomes of a broadcast is the
 * test's to say.
 */
import {
  blockHash,
  type Block,
  BlockHash,
  BlockHeight,
  chainHash,
  FeeratePerKw,
  merkleRoot,
  Msat,
  networks,
  p2wpkhOf,
  Sat,
  type Tx,
  Txid,
  txid,
} from '@leyden/bitcoin'
import { bytesToHex, concat } from '@leyden/codec'
import { pointFromSecret, sha256 } from '@leyden/crypto'
import type { BroadcastResult, ChainCursor, ChainSource, OnChainEvent } from '@leyden/link'
import { type Message, offeredFeatures } from '@leyden/lnwire'
import { createSimulation, type SimHost, type Simulation } from '@leyden/runtime'
import { createWalletKeys } from '@leyden/wallet'
import type { Log } from './log.ts'
import { createNode, type Node } from './node.ts'
import { createPeers, type Peers } from './peers.ts'
import { createWalletService } from './wallet-service.ts'

export const network = networks.regtest
export const SECOND = 1000
export const named = (text: string): Uint8Array => sha256(new TextEncoder().encode(text))
export const pointOf = (text: string): Uint8Array => pointFromSecret(named(text))
export const seedOf = (name: string): Uint8Array => concat(named(`${name} 1`), named(`${name} 2`))
export const ELSEWHERE = p2wpkhOf(pointOf('elsewhere'))

/** A chain without proof of work: who follows it trusts its ledger. */
const makeChain = () => {
  let tip: ChainCursor = { height: BlockHeight(200), hash: BlockHash('00'.repeat(32)) }
  const consumers: OnChainEvent[] = []
  const pool = new Map<Txid, Tx>()
  const output = (value: bigint, scriptPubKey: Uint8Array) => ({ value: Sat(value), scriptPubKey })
  const spend = (id: string, outputs: Tx['outputs']): Tx => ({
    version: 2,
    inputs: [{ outpoint: { txid: Txid(id), vout: 0 }, scriptSig: new Uint8Array(2), sequence: 0, witness: [] }],
    outputs,
    lockTime: 0,
  })
  const chain = {
    /** What each node asked for, oldest first. */
    broadcasts: [] as { readonly by: string; readonly ids: readonly Txid[]; readonly transactions: readonly Tx[] }[],
    /** What becomes of it. */
    /** What is taken is in the next block. */
    keep: true,
    async see(tx: Tx) {
      for (const onEvent of consumers) await onEvent({ type: 'transactionSeen', tx })
    },
    answer: ((): BroadcastResult => ({ ok: true })) as (by: string) => BroadcastResult | Error,
    source: (by: string): ChainSource => ({
      start(_, onEvent) {
        consumers.push(onEvent)
        void onEvent({ type: 'synced', tip })
      },
      async broadcast(transactions) {
        chain.broadcasts.push({ by, ids: transactions.map(txid), transactions })
        const answer = chain.answer(by)
        if (answer instanceof Error) throw answer
        if (answer.ok && chain.keep) for (const tx of transactions) pool.set(txid(tx), tx)
        return answer
      },
      fees: async () => ({
        feeratePerKw: { 2: FeeratePerKw(1000), 6: FeeratePerKw(500), 12: FeeratePerKw(300), 144: FeeratePerKw(253) },
        minimumFeeratePerKw: FeeratePerKw(253),
      }),
      findOutput: async () => undefined,
      stop: async () => undefined,
    }),
    async mine(more: readonly Tx[] = []) {
      const height = BlockHeight(tip.height + 1)
      const coinbase = spend('00'.repeat(32), [output(BigInt(height), ELSEWHERE)])
      const transactions = [coinbase, ...more, ...pool.values()]
      pool.clear()
      const block: Block = {
        header: {
          version: 4,
          previousHash: tip.hash,
          merkleRoot: merkleRoot(transactions.map(txid)),
          time: 1_700_000_000 + height,
          bits: 0x207fffff,
          nonce: 0,
        },
        transactions,
      }
      tip = { height, hash: blockHash(block.header) }
      for (const onEvent of consumers) {
        await onEvent({ type: 'blockConnected', ...tip, block })
        await onEvent({ type: 'synced', tip })
      }
    },
    pay: (name: string, amounts: readonly bigint[]): Tx => {
      const keys = createWalletKeys(seedOf(name), network)
      return spend(
        bytesToHex(named(`coins of ${name}`)),
        amounts.map((amount, index) => output(amount, keys.scriptPubKey({ kind: 'p2wpkh', change: 0, index }))),
      )
    },
  }
  return chain
}

export interface World {
  readonly sim: Simulation
  readonly chain: ReturnType<typeof makeChain>
  readonly lines: string[]
  readonly faults: unknown[]
  readonly wait: <T>(work: Promise<T>) => Promise<T>
  readonly mine: (blocks?: number, more?: readonly Tx[]) => Promise<void>
  /** One that runs crashes, and is started again. */
  readonly node: (name: string, coins?: readonly bigint[]) => Promise<Node>
  readonly stranger: (name: string) => { readonly host: SimHost; readonly peers: Peers; readonly heard: Message[] }
}

export const makeWorld = (seed = 1): World => {
  const sim = createSimulation(seed, { leastDelayMs: 1, mostDelayMs: 20, mostWriteMs: 30 })
  const chain = makeChain()
  const lines: string[] = []
  const faults: unknown[] = []
  const hosts = new Map<string, SimHost>()
  const text = (_: string, value: unknown): unknown =>
    value instanceof Uint8Array ? bytesToHex(value) : typeof value === 'bigint' ? String(value) : value
  const line = (data: object, message: string): void => void lines.push(`${message} ${JSON.stringify(data, text)}`)
  const log: Log = { debug: line, info: line, warn: line, error: line }
  const wait = async <T>(work: Promise<T>): Promise<T> => {
    let over = false
    const noted = work.finally(() => {
      over = true
    })
    noted.catch(() => undefined)
    await sim.run({ until: () => over, forMs: 120 * SECOND })
    if (!over) throw new Error('it does not end')
    return await noted
  }
  const mine = async (blocks = 1, more: readonly Tx[] = []): Promise<void> => {
    for (let i = 0; i < blocks; i++) {
      await wait(chain.mine(i === 0 ? more : []))
      await sim.run({ forMs: SECOND })
    }
  }
  return {
    sim,
    chain,
    lines,
    faults,
    wait,
    mine,
    async node(name, coins = []) {
      hosts.get(name)?.crash()
      const host = sim.boot(name)
      hosts.set(name, host)
      const { store, clock, random, net } = host
      const ports = { store, clock, random, net, chain: chain.source(name), log, onFault: (fault: unknown) => faults.push(fault) }
      const relay = { feeBaseMsat: 1000, feeProportionalMillionths: 100, cltvExpiryDelta: 40 }
      const node = await wait(
        createNode(ports, { network, seed: seedOf(name), alias: name, announce: [], relay, minimumDepthBlocks: 1 }),
      )
      await wait(node.listen(`${name}:1`))
      await sim.run({ forMs: SECOND })
      if (coins.length > 0) await mine(1, [chain.pay(name, coins)])
      return node
    },
    stranger(name) {
      const host = sim.boot(name)
      const heard: Message[] = []
      const peers = createPeers({
        ...host,
        log,
        nodeSecret: named(name),
        features: offeredFeatures('init'),
        chainHash: chainHash(network),
        isKnown: () => true,
        onReady: () => undefined,
        onMessage: async (_, message) => void heard.push(message),
        onClosed: () => undefined,
      })
      return { host, peers, heard }
    },
  }
}

export const open = (amountSat: bigint, pushMsat = 0n) => ({
  capacitySat: Sat(amountSat),
  pushMsat: Msat(pushMsat),
  announce: false,
  fundingFeeratePerKw: FeeratePerKw(500),
})
export const walletOf = (node: Node) => createWalletService(node, { token: 'token', version: '1', listening: [] })
