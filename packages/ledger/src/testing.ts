/**
 * A chain in memory for the tests of this package: coins in a Map, blocks mined with real proof of work, outputs that anyone may
 * spend with a real script (P2WSH of OP_TRUE).
 */
import {
  blockHash,
  buildScript,
  networks,
  OP,
  outpointKey,
  p2wshOf,
  Sat,
  txid,
  type Block,
  type BlockHash,
  type Coin,
  type Network,
  type Outpoint,
  type Tx,
} from '@leyden/bitcoin'
import { acceptTransaction, coinsOfInterest, type AcceptContext, type Verdict } from './accept.ts'
import { coinsNeeded, type CoinChanges, type Undo } from './coin.ts'
import { checkBlockBody, connectBlock, disconnectBlock, type ConnectedBlock } from './connect.ts'
import { addHeader, createHeaderTree, placeHeader, type HeaderEntry, type HeaderTree } from './header-tree.ts'
import { createMempool, type Mempool, type MempoolEntry } from './mempool.ts'
import { buildBlock, findNonce } from './miner.ts'
import { DEFAULT_POLICY, type MempoolPolicy } from './policy.ts'
import { isViolation, type BlockViolation } from './violation.ts'

/** Script that any witness of it alone satisfies. */
export const TRUE_SCRIPT: Uint8Array = buildScript(OP.OP_TRUE)
/** Output script of which TRUE_SCRIPT is the witness script. */
export const ANYONE: Uint8Array = p2wshOf(TRUE_SCRIPT)

export type Spend = Outpoint & { readonly sequence?: number; readonly witness?: readonly Uint8Array[] }

/** A transaction from outputs that anyone may spend to such outputs of these amounts. */
export const pay = (
  from: readonly Spend[],
  amounts: readonly (bigint | number)[],
  fields: { version?: number; lockTime?: number; scriptPubKey?: Uint8Array } = {},
): Tx => ({
  version: fields.version ?? 2,
  inputs: from.map(({ txid, vout, sequence, witness }) => ({
    outpoint: { txid, vout },
    scriptSig: new Uint8Array(0),
    sequence: sequence ?? 0xffff_fffd,
    witness: witness ?? [TRUE_SCRIPT],
  })),
  outputs: amounts.map((value) => ({ value: Sat(BigInt(value)), scriptPubKey: fields.scriptPubKey ?? ANYONE })),
  lockTime: fields.lockTime ?? 0,
})

export const outputOf = (tx: Tx, vout = 0): Outpoint => ({ txid: txid(tx), vout })

export type ToyChain = {
  readonly network: Network
  readonly tree: HeaderTree
  readonly coins: Map<string, Coin>
  readonly blocks: Map<BlockHash, Block>
  readonly undo: Map<BlockHash, Undo>
  tip: HeaderEntry
  extraNonce: number
}

export const toyChain = (network: Network = networks.regtest): ToyChain => {
  const tree = createHeaderTree(network, network.genesis.header)
  return { network, tree, coins: new Map(), blocks: new Map(), undo: new Map(), tip: tree.genesis, extraNonce: 0 }
}

export type MineOptions = {
  readonly parent?: HeaderEntry
  readonly fees?: bigint
  readonly now?: number
  readonly change?: (block: Block) => Block
}

/** A block with proof of work, not yet on the chain. `change` may spoil it before the work is done. */
export const mine = (chain: ToyChain, transactions: readonly Tx[] = [], options: MineOptions = {}): Block => {
  const parent = options.parent ?? chain.tip
  const block = buildBlock({
    network: chain.network,
    parent,
    now: options.now ?? parent.header.time + 600,
    transactions,
    fees: options.fees ?? 0n,
    scriptPubKey: ANYONE,
    extraNonce: chain.extraNonce++,
  })
  return findNonce(options.change?.(block) ?? block) as Block
}

const applyChanges = (coins: Map<string, Coin>, { created, spent }: CoinChanges): void => {
  for (const outpoint of spent) coins.delete(outpointKey(outpoint))
  for (const [outpoint, coin] of created) coins.set(outpointKey(outpoint), coin)
}

/** The coins among these that exist. */
export const viewOf = (coins: ReadonlyMap<string, Coin>, wanted: readonly Outpoint[]): Map<string, Coin> => {
  const view = new Map<string, Coin>()
  for (const outpoint of wanted) {
    const coin = coins.get(outpointKey(outpoint))
    if (coin !== undefined) view.set(outpointKey(outpoint), coin)
  }
  return view
}

/** Adds the header of a block and keeps its body. Throws when the header breaks a rule. */
export const place = (chain: ToyChain, block: Block): HeaderEntry => {
  const entry = placeHeader(chain.tree, block.header, block.header.time)
  if (isViolation(entry)) throw new Error(entry.reason)
  addHeader(chain.tree, entry)
  chain.blocks.set(blockHash(block.header), block)
  return entry
}

/** Puts a block on the tip, all rules checked; the rule that it breaks, with nothing changed. */
export const connect = (chain: ToyChain, block: Block): ConnectedBlock | BlockViolation => {
  const entry = placeHeader(chain.tree, block.header, block.header.time)
  if (isViolation(entry)) return entry
  const broken = checkBlockBody(block, chain.network, chain.tip)
  if (broken !== undefined) return broken
  const result = connectBlock(block, { network: chain.network, entry, view: viewOf(chain.coins, coinsNeeded(block)) })
  if (isViolation(result)) return result
  applyChanges(chain.coins, result.changes)
  addHeader(chain.tree, entry)
  entry.stored = true
  chain.blocks.set(entry.hash, block)
  chain.undo.set(entry.hash, result.undo)
  chain.tip = entry
  return result
}

export const disconnect = (chain: ToyChain): void => {
  const { hash, height, parent } = chain.tip
  applyChanges(chain.coins, disconnectBlock(chain.blocks.get(hash) as Block, chain.undo.get(hash) as Undo, height))
  chain.tip = parent as HeaderEntry
}

/** Mines and connects so many blocks; their coinbases. Throws when one is refused. */
export const grow = (chain: ToyChain, count: number, transactions: readonly Tx[] = [], fees = 0n): Tx[] => {
  const coinbases: Tx[] = []
  for (let i = 0; i < count; i++) {
    const block = mine(chain, i === 0 ? transactions : [], { fees: i === 0 ? fees : 0n })
    const result = connect(chain, block)
    if (isViolation(result)) throw new Error(`${result.reason} ${result.detail ?? ''}`)
    coinbases.push(block.transactions[0] as Tx)
  }
  return coinbases
}

export const NOW = 1_700_000_000
const SUBSIDY = 5_000_000_000n

/** A mempool on a chain with coinbases that may be spent. */
export type ToyPool = {
  readonly chain: ToyChain
  readonly pool: Mempool
  context(transactions: readonly Tx[], extra?: Partial<AcceptContext>): AcceptContext
  /** The reason of a refusal, or `ok`; nothing changes. */
  judge(tx: Tx, extra?: Partial<AcceptContext>): string
  /** Takes a transaction. Throws when it is refused. */
  add(tx: Tx, extra?: Partial<AcceptContext>): Tx
  entryOf(tx: Tx): MempoolEntry
  /** Spends coinbase `n` and pays a fee. */
  spend(n: number, fee: bigint | number, fields?: Parameters<typeof pay>[2], outputs?: number): Tx
  /** Spends an output and pays a fee. */
  on(parent: Tx, fee: bigint | number, vout?: number, fields?: Parameters<typeof pay>[2]): Tx
}

/** What a verdict says in a word. */
export const told = (verdict: Verdict | undefined): string =>
  verdict?.status === 'rejected' ? verdict.rejection.reason : verdict === undefined ? 'unjudged' : 'ok'

/** `from`: a chain that has grown, and its coinbases; it does not change. */
export const toyPool = (from: ToyChain, coinbases: readonly Tx[], policy: Partial<MempoolPolicy> = {}): ToyPool => {
  const chain = { ...from, coins: new Map(from.coins) }
  const pool = createMempool({ ...DEFAULT_POLICY, ...policy })
  const context = (transactions: readonly Tx[], extra: Partial<AcceptContext> = {}): AcceptContext => ({
    network: chain.network,
    tip: chain.tip,
    view: viewOf(chain.coins, coinsOfInterest(transactions)),
    now: NOW,
    ...extra,
  })
  return {
    chain,
    pool,
    context,
    judge: (tx, extra = {}) => told(acceptTransaction(pool, tx, context([tx], { ...extra, testOnly: true }))),
    add(tx, extra = {}) {
      const verdict = acceptTransaction(pool, tx, context([tx], extra))
      if (verdict.status === 'rejected') throw new Error(`${verdict.rejection.reason} ${verdict.rejection.detail ?? ''}`)
      return tx
    },
    entryOf: (tx) => pool.entries.get(txid(tx)) as MempoolEntry,
    spend(n, fee, fields = {}, outputs = 1) {
      const left = SUBSIDY - BigInt(fee)
      const share = left / BigInt(outputs)
      const amounts = Array.from({ length: outputs }, (_, i) => (i === 0 ? left - share * BigInt(outputs - 1) : share))
      return pay([outputOf(coinbases[n] as Tx)], amounts, fields)
    },
    on: (parent, fee, vout = 0, fields = {}) =>
      pay([outputOf(parent, vout)], [(parent.outputs[vout]?.value ?? 0n) - BigInt(fee)], fields),
  }
}
