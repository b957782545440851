/**
 * Putting a block on the chain and taking it back: what happens to the coins, or the rule that the block breaks.
 * Bitcoin Core validation.cpp, ConnectBlock and DisconnectBlock; BIP 30, 68, 113, 141.
 * The rules come in two parts: coins (`connectCoins`), and the scripts that spend them, which may run elsewhere (script-checks.ts).
 * Nothing may be written before both have passed.
 */
import {
  checkBlock,
  checkBlockAt,
  checkCoinbaseAmount,
  checkTxInputs,
  enforcesBip30,
  isMutation,
  MAX_BLOCK_SIGOPS_COST,
  MAX_MONEY,
  outpointKey,
  Sat,
  scriptFlagsAt,
  sequenceLocks,
  sequenceLocksMet,
  sigOpsCost,
  txid,
  wtxid,
  type Block,
  type BlockError,
  type Coin,
  type Network,
  type Outpoint,
  type Tx,
  type Wtxid,
} from '@leyden/bitcoin'
import { coinsOf, type CoinChanges, type CoinView, type Undo } from './coin.ts'
import { ancestorAt, medianTimePast, type HeaderEntry } from './header-tree.ts'
import { checkScripts, scriptViolation, type ScriptChecks } from './script-checks.ts'
import { blockViolation, isViolation, type BlockViolation } from './violation.ts'

const violationOf = (broken: BlockError | undefined): BlockViolation | undefined =>
  broken === undefined ? undefined : blockViolation(broken, undefined, isMutation(broken))

/**
 * Rules of a block by itself. They come before the header finds its place, and a block that breaks one is not remembered as bad:
 * its header may never have been taken.
 */
export const checkBlockAlone = (block: Block, network: Network): BlockViolation | undefined =>
  violationOf(checkBlock(block, network))

/** Rules of a block that need no coins: by itself, then at its height above `parent`. */
export const checkBlockBody = (block: Block, network: Network, parent: HeaderEntry): BlockViolation | undefined =>
  checkBlockAlone(block, network) ?? checkBlockAbove(block, network, parent)

/** Rules of a block at its height above `parent`, after checkBlockAlone. */
export const checkBlockAbove = (block: Block, network: Network, parent: HeaderEntry): BlockViolation | undefined =>
  violationOf(checkBlockAt(block, network, { height: parent.height + 1, medianTimePast: medianTimePast(parent) }))

/** BIP 68: whether a block on top of `parent` may hold the transaction. */
export const sequenceLocksPass = (tx: Tx, coins: readonly Coin[], parent: HeaderEntry): boolean => {
  const locks = sequenceLocks(
    tx,
    coins.map(({ height }) => height),
    (height) => medianTimePast(ancestorAt(parent, height) as HeaderEntry),
  )
  return sequenceLocksMet(locks, parent.height + 1, medianTimePast(parent))
}

export type ConnectContext = {
  readonly network: Network
  /** The block's own entry; its parent is the tip. */
  readonly entry: HeaderEntry
  /** What `coinsNeeded` names. */
  readonly view: CoinView
  /** Transactions whose scripts are known to pass under stricter flags than any block's. */
  readonly scriptsPassed?: (id: Wtxid) => boolean
}

export type ConnectedBlock = {
  readonly changes: CoinChanges
  readonly undo: Undo
  /** Fee of each transaction, coinbase left out. */
  readonly fees: readonly Sat[]
}

/** A block that has passed every rule but those of its scripts. */
export type CoinsConnected = ConnectedBlock & {
  /** What must pass too before the block is valid. */
  readonly scripts: ScriptChecks
}

/** Coins while a block is being worked on: the view, and on top of it what the block has made (a coin) or spent (undefined). */
type Overlay = {
  readonly view: CoinView
  readonly touched: Map<string, { readonly outpoint: Outpoint; readonly coin: Coin | undefined }>
}

const coinIn = ({ view, touched }: Overlay, key: string): Coin | undefined => {
  const change = touched.get(key)
  return change === undefined ? view.get(key) : change.coin
}

const changesOf = ({ view, touched }: Overlay): CoinChanges => {
  const created: (readonly [Outpoint, Coin])[] = []
  const spent: Outpoint[] = []
  for (const [key, { outpoint, coin }] of touched) {
    if (coin !== undefined) created.push([outpoint, coin])
    else if (view.has(key)) spent.push(outpoint)
  }
  return { created, spent }
}

const repeatsCoin = (overlay: Overlay, tx: Tx): boolean => {
  const id = txid(tx)
  return tx.outputs.some((_, vout) => coinIn(overlay, outpointKey({ txid: id, vout })) !== undefined)
}

/**
 * What connecting the block does if its scripts pass too, or why it may not be. For a block that passed checkBlockBody.
 * The genesis block makes no coins and is never connected.
 */
export const connectCoins = (block: Block, context: ConnectContext): CoinsConnected | BlockViolation => {
  const { network, entry, view, scriptsPassed } = context
  const { height, hash, parent } = entry
  if (parent === undefined) throw new RangeError('the genesis block cannot be connected')
  const overlay: Overlay = { view, touched: new Map() }
  const bip34Block = ancestorAt(parent, network.bip34Height)?.hash
  if (enforcesBip30(network, height, hash, bip34Block) && block.transactions.some((tx) => repeatsCoin(overlay, tx)))
    return blockViolation('bad-txns-BIP30')
  const flags = scriptFlagsAt(network, height, hash)
  const undo: Coin[] = []
  const fees: Sat[] = []
  const pending: number[] = []
  let total = 0n
  let sigOps = 0
  for (const [index, tx] of block.transactions.entries()) {
    const coinbase = index === 0
    const coins = coinbase ? [] : tx.inputs.map(({ outpoint }) => coinIn(overlay, outpointKey(outpoint)))
    const prevouts = coins.flatMap((coin) => (coin === undefined ? [] : [coin.output]))
    if (!coinbase) {
      const paid = checkTxInputs(tx, coins, height)
      if (typeof paid === 'string') return blockViolation(paid, `tx ${txid(tx)}`)
      total += paid.fee
      if (total > MAX_MONEY) return blockViolation('bad-txns-accumulated-fee-outofrange')
      fees.push(paid.fee)
      const present = coins as readonly Coin[]
      if (height >= network.csvHeight && !sequenceLocksPass(tx, present, parent))
        return blockViolation('bad-txns-nonfinal', `tx ${txid(tx)}`)
      undo.push(...present)
    }
    sigOps += sigOpsCost(tx, prevouts, flags)
    if (sigOps > MAX_BLOCK_SIGOPS_COST) return blockViolation('bad-blk-sigops')
    if (!coinbase && scriptsPassed?.(wtxid(tx)) !== true) pending.push(index)
    if (!coinbase) for (const { outpoint } of tx.inputs) overlay.touched.set(outpointKey(outpoint), { outpoint, coin: undefined })
    for (const [outpoint, coin] of coinsOf(tx, height, coinbase)) overlay.touched.set(outpointKey(outpoint), { outpoint, coin })
  }
  const greedy = checkCoinbaseAmount(block.transactions[0] as Tx, height, Sat(total), network)
  if (greedy !== undefined) return blockViolation(greedy)
  return { changes: changesOf(overlay), undo, fees, scripts: { block, undo, flags, pending } }
}

/** Coins and scripts at once, in this thread. */
export const connectBlock = (block: Block, context: ConnectContext): ConnectedBlock | BlockViolation => {
  const connected = connectCoins(block, context)
  if (isViolation(connected)) return connected
  const failed = checkScripts(connected.scripts)
  return failed === undefined ? connected : scriptViolation(connected.scripts, failed)
}

/** What taking the block back does to the coins. Throws RangeError when the undo data is not this block's. */
export const disconnectBlock = (block: Block, undo: Undo, height: number): CoinChanges => {
  const touched: Overlay['touched'] = new Map()
  // What the block itself made stands for the view: an output of it that it also spent must end as gone.
  const made = new Map(
    block.transactions.flatMap((tx, index) => coinsOf(tx, height, index === 0)).map((row) => [outpointKey(row[0]), row[1]]),
  )
  let at = undo.length
  for (const [index, tx] of [...block.transactions.entries()].reverse()) {
    const id = txid(tx)
    tx.outputs.forEach((_, vout) => {
      const outpoint = { txid: id, vout }
      if (made.has(outpointKey(outpoint))) touched.set(outpointKey(outpoint), { outpoint, coin: undefined })
    })
    if (index === 0) break
    for (const { outpoint } of tx.inputs.toReversed()) {
      const coin = undo[--at]
      if (coin === undefined) throw new RangeError('undo data is shorter than the block')
      touched.set(outpointKey(outpoint), { outpoint, coin })
    }
  }
  if (at !== 0) throw new RangeError('undo data is longer than the block')
  return changesOf({ view: made, touched })
}
