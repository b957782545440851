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
  SEQUENCE_LOCKTIME_DISABLE_FLAG,
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
  type TxInput,
  type TxOutput,
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
  if (tx.version < 2 || tx.inputs.every(({ sequence }) => (sequence & SEQUENCE_LOCKTIME_DISABLE_FLAG) !== 0)) return true
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
  /** What `coinsNeeded` names, the block's own outputs among it where `mayRepeatCoins`. */
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

/** Coins while a block is being worked on: the view, and over it what the block has made and not spent, and what it has spent. */
class Overlay {
  readonly #view: CoinView
  readonly #made = new Map<string, readonly [Outpoint, Coin]>()
  readonly #spent = new Map<string, Outpoint>()

  constructor(view: CoinView) {
    this.#view = view
  }

  get(key: string): Coin | undefined {
    const made = this.#made.get(key)
    if (made !== undefined) return made[1]
    return this.#spent.has(key) ? undefined : this.#view.get(key)
  }

  spend(key: string, outpoint: Outpoint): void {
    this.#made.delete(key)
    this.#spent.set(key, outpoint)
  }

  make(key: string, row: readonly [Outpoint, Coin]): void {
    this.#spent.delete(key)
    this.#made.set(key, row)
  }

  changes(): CoinChanges {
    const spent: Outpoint[] = []
    for (const [key, outpoint] of this.#spent) if (this.#view.has(key)) spent.push(outpoint)
    return { created: [...this.#made.values()], spent }
  }
}

const repeatsCoin = (coins: Overlay, tx: Tx): boolean => {
  const id = txid(tx)
  return tx.outputs.some((_, vout) => coins.get(outpointKey({ txid: id, vout })) !== undefined)
}

/** Whether BIP 30 asks of the block that none of its transactions repeats one with unspent outputs. */
const asksBip30 = (network: Network, { height, hash, parent }: HeaderEntry): boolean =>
  enforcesBip30(network, height, hash, parent === undefined ? undefined : ancestorAt(parent, network.bip34Height)?.hash)

/** Whether the outputs that a block makes may be there already. Where not, nobody need look. */
export const mayRepeatCoins = (network: Network, entry: HeaderEntry): boolean =>
  asksBip30(network, entry) || network.bip30Exceptions.get(entry.height) === entry.hash

/**
 * What connecting the block does if its scripts pass too, or why it may not be. For a block that passed checkBlockBody.
 * The genesis block makes no coins and is never connected.
 */
export const connectCoins = (block: Block, context: ConnectContext): CoinsConnected | BlockViolation => {
  const { network, entry, view, scriptsPassed } = context
  const { height, hash, parent } = entry
  if (parent === undefined) throw new RangeError('the genesis block cannot be connected')
  const coins = new Overlay(view)
  if (asksBip30(network, entry) && block.transactions.some((tx) => repeatsCoin(coins, tx)))
    return blockViolation('bad-txns-BIP30')
  const flags = scriptFlagsAt(network, height, hash)
  const undo: Coin[] = []
  const fees: Sat[] = []
  const pending: number[] = []
  let total = 0n
  let sigOps = 0
  for (const [index, tx] of block.transactions.entries()) {
    const coinbase = index === 0
    const prevouts: TxOutput[] = []
    if (!coinbase) {
      const spent: (Coin | undefined)[] = []
      const keys: string[] = []
      for (const { outpoint } of tx.inputs) {
        const key = outpointKey(outpoint)
        const coin = coins.get(key)
        keys.push(key)
        spent.push(coin)
        if (coin !== undefined) prevouts.push(coin.output)
      }
      const paid = checkTxInputs(tx, spent, height)
      if (typeof paid === 'string') return blockViolation(paid, `tx ${txid(tx)}`)
      total += paid.fee
      if (total > MAX_MONEY) return blockViolation('bad-txns-accumulated-fee-outofrange')
      fees.push(paid.fee)
      const present = spent as readonly Coin[]
      if (height >= network.csvHeight && !sequenceLocksPass(tx, present, parent))
        return blockViolation('bad-txns-nonfinal', `tx ${txid(tx)}`)
      for (const coin of present) undo.push(coin)
      keys.forEach((key, i) => coins.spend(key, (tx.inputs[i] as TxInput).outpoint))
    }
    sigOps += sigOpsCost(tx, prevouts, flags)
    if (sigOps > MAX_BLOCK_SIGOPS_COST) return blockViolation('bad-blk-sigops')
    if (!coinbase && scriptsPassed?.(wtxid(tx)) !== true) pending.push(index)
    for (const row of coinsOf(tx, height, coinbase)) coins.make(outpointKey(row[0]), row)
  }
  const greedy = checkCoinbaseAmount(block.transactions[0] as Tx, height, Sat(total), network)
  if (greedy !== undefined) return blockViolation(greedy)
  return { changes: coins.changes(), undo, fees, scripts: { block, undo, flags, pending } }
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
  // What the block itself made stands for the view: an output of it that it also spent must end as gone.
  const made = new Map(
    block.transactions.flatMap((tx, index) => coinsOf(tx, height, index === 0)).map((row) => [outpointKey(row[0]), row[1]]),
  )
  const coins = new Overlay(made)
  let at = undo.length
  for (const [index, tx] of [...block.transactions.entries()].reverse()) {
    const id = txid(tx)
    tx.outputs.forEach((_, vout) => {
      const outpoint = { txid: id, vout }
      const key = outpointKey(outpoint)
      if (made.has(key)) coins.spend(key, outpoint)
    })
    if (index === 0) break
    for (const { outpoint } of tx.inputs.toReversed()) {
      const coin = undo[--at]
      if (coin === undefined) throw new RangeError('undo data is shorter than the block')
      coins.make(outpointKey(outpoint), [outpoint, coin])
    }
  }
  if (at !== 0) throw new RangeError('undo data is longer than the block')
  return coins.changes()
}
