/**
 * Races between an attacker and everybody else, over the ledger engine itself: two engines on memory stores, one that the honest
 * miners and the victim share, one on which the attacker mines in secret. Chance alone decides who finds the next block; the blocks
 * are regtest blocks with real work, and the engine that must reorganise is told nothing but these blocks.
 * As in Rosenfeld's model (packages/ledger/src/confirmations.ts) he begins with one block of his own, shows his chain when the victim
 * has its confirmations and his is longer, and then gives up as soon as he is too far behind.
 */
import {
  buildScript,
  networks,
  OP,
  p2wshOf,
  Sat,
  txid,
  type Block,
  type BlockHash,
  type BlockHeight,
  type Tx,
} from '@leyden/bitcoin'
import { bytesToHex } from '@leyden/codec'
import { createLedgerEngine, FileDisk, type LedgerEngine } from '@leyden/ledger-service'
import { keyRange, memoryStore, type Clock, type SeededRandom, type Store } from '@leyden/runtime'

const network = networks.regtest
const START_MS = 1_750_000_000_000
/** One block on average, whoever finds it. */
const BLOCK_MS = 600_000
/** A coinbase may be spent in the hundredth block after it: consensus. */
const MATURITY = 100
const BASE_BLOCKS = 110
/** Then a new ledger begins, before the halvings of regtest (every 150 blocks) leave nothing to fight for. */
const LEDGER_BLOCKS = 900
const FEE = 1000n

/** What anyone may spend; three of them, so that it shows whose an output is. */
const HONEST_SCRIPT = buildScript(OP.OP_1)
const ATTACKER_SCRIPT = buildScript(OP.OP_2)
const CHANNEL_SCRIPT = buildScript(OP.OP_3)
const HONEST = p2wshOf(HONEST_SCRIPT)
const ATTACKER = p2wshOf(ATTACKER_SCRIPT)
const CHANNEL = p2wshOf(CHANNEL_SCRIPT)

export type Attack = {
  /** Of the work, 0 to 1. */
  readonly share: number
  /** That the victim waits for, at least 1. */
  readonly confirmations: number
  /** Blocks. */
  readonly giveUpBehind: number
}

export type Race = {
  readonly won: boolean
  /** Blocks that the victim's ledger had to take back. */
  readonly depth: number
  readonly mined: number
}

export type Races = {
  readonly victim: LedgerEngine
  readonly attacker: LedgerEngine
  /** Plays one; throws when the ledger does not do what it must. */
  play(attack: Attack): Promise<Race>
  /** The UTXO set of the victim's ledger, as stored. */
  coins(): Promise<ReadonlyMap<string, string>>
  close(): Promise<void>
}

const must = (holds: boolean, what: string): void => {
  if (!holds) throw new Error(`the ledger is wrong: ${what}`)
}

/** The rows of all unspent outputs, in hex. */
export const coinsOf = async (store: Store): Promise<ReadonlyMap<string, string>> => {
  const coins = new Map<string, string>()
  for await (const [key, value] of store.range(keyRange('coin'))) coins.set(bytesToHex(key), bytesToHex(value))
  return coins
}

const sameCoins = (one: ReadonlyMap<string, string>, other: ReadonlyMap<string, string>): boolean =>
  one.size > 0 && one.size === other.size && [...one].every(([key, value]) => other.get(key) === value)

const blockOf = async (engine: LedgerEngine, hash: BlockHash): Promise<Block> => {
  const block = await engine.blockByHash(hash)
  if (block === undefined) throw new Error(`no block ${hash}`)
  return block
}

/** Spends the first output of a coinbase, whoever mined it. */
const spend = (coinbase: Tx, scriptPubKey: Uint8Array): Tx => {
  const [output] = coinbase.outputs
  if (output === undefined) throw new Error('a coinbase without outputs')
  const mined = bytesToHex(output.scriptPubKey) === bytesToHex(HONEST) ? HONEST_SCRIPT : ATTACKER_SCRIPT
  return {
    version: 2,
    inputs: [
      { outpoint: { txid: txid(coinbase), vout: 0 }, scriptSig: new Uint8Array(0), sequence: 0xffff_fffd, witness: [mined] },
    ],
    outputs: [{ value: Sat(output.value - FEE), scriptPubKey }],
    lockTime: 0,
  }
}

/** Two ledgers that agree, with coins to fight for. */
export const openRaces = async (random: SeededRandom): Promise<Races> => {
  let now = START_MS
  const clock: Clock = { now: () => now, setTimer: () => () => undefined }
  const stores = { victim: memoryStore(), attacker: memoryStore() }
  const victim = await createLedgerEngine({ store: stores.victim, directory: new FileDisk().open(), network, clock })
  const attacker = await createLedgerEngine({ store: stores.attacker, directory: new FileDisk().open(), network, clock })
  for (const hash of await victim.generateToAddress(BASE_BLOCKS, HONEST)) await attacker.submitBlock(await blockOf(victim, hash))

  /** Gives one side the blocks of the other: it must stay where it is until these are more, and then follow. */
  const show = async (to: LedgerEngine, blocks: readonly Block[], against: number): Promise<void> => {
    for (const [i, block] of blocks.entries()) {
      const { status } = await to.submitBlock(block)
      must(status === (i < against ? 'side' : 'connected'), `block ${i + 1} against ${against} is ${status}`)
    }
  }
  const play = async ({ share, confirmations, giveUpBehind }: Attack): Promise<Race> => {
    const fork = victim.tip()
    must(attacker.tip().hash === fork.hash, 'the sides begin apart')
    const prize = victim.hashAtHeight((fork.height + 1 - MATURITY) as BlockHeight)
    const [coinbase] = (await blockOf(victim, prize as BlockHash)).transactions
    const [funding, theft] = [spend(coinbase as Tx, CHANNEL), spend(coinbase as Tx, ATTACKER)]
    const honest: Block[] = []
    const own: Block[] = []
    const mineHonest = async (): Promise<void> => {
      if (honest.length === 0) must((await victim.submitTransaction(funding)).status === 'accepted', 'the funding is refused')
      const [hash] = await victim.generateToAddress(1, HONEST)
      honest.push(await blockOf(victim, hash as BlockHash))
    }
    const mineOwn = async (): Promise<void> => {
      own.push(await attacker.generateBlock(ATTACKER, own.length === 0 ? [theft] : []))
    }
    now += BLOCK_MS
    await mineOwn()
    const confirmed = (): boolean => honest.length >= confirmations
    while (!(confirmed() && (own.length > honest.length || honest.length - own.length >= giveUpBehind))) {
      now += BLOCK_MS
      await (random.chance(share) ? mineOwn() : mineHonest())
    }
    const channel = { txid: txid(funding), vout: 0 }
    must(victim.tip().height === fork.height + honest.length, 'it moved before it was shown anything')
    must(await victim.isUnspent(channel), 'the funding was confirmed and is not there')
    const won = own.length > honest.length
    if (won) await show(victim, own, honest.length)
    else await show(attacker, honest, own.length)
    must(victim.tip().hash === attacker.tip().hash, 'the sides end apart')
    must((await victim.isUnspent(channel)) === !won, 'the funding is there when it should not be')
    must((await victim.isUnspent({ txid: txid(theft), vout: 0 })) === won, 'the theft is there when it should not be')
    must(victim.mempool().length === 0 && attacker.mempool().length === 0, 'what lost is still waiting')
    must(sameCoins(await coinsOf(stores.victim), await coinsOf(stores.attacker)), 'the UTXO sets differ')
    return { won, depth: won ? honest.length : 0, mined: honest.length + own.length }
  }
  return {
    victim,
    attacker,
    play,
    coins: () => coinsOf(stores.victim),
    async close() {
      await Promise.all([victim.close(), attacker.close()])
    },
  }
}

/** A ledger without a history: given every block of the victim's best chain, what UTXO set does it come to? */
export const replayedCoins = async (engine: LedgerEngine): Promise<ReadonlyMap<string, string>> => {
  const store = memoryStore()
  const clock: Clock = { now: () => Number.MAX_SAFE_INTEGER / 2, setTimer: () => () => undefined }
  const fresh = await createLedgerEngine({ store, directory: new FileDisk().open(), network, clock })
  for (let height = 1; height <= engine.tip().height; height++) {
    const block = await blockOf(engine, engine.hashAtHeight(height as BlockHeight) as BlockHash)
    must((await fresh.submitBlock(block)).status === 'connected', `block ${height} is refused`)
  }
  await fresh.close()
  return coinsOf(store)
}

export type Score = {
  readonly races: number
  readonly won: number
  readonly mined: number
  readonly deepest: number
}

/** Plays so many races; the same sequence gives the same ones. */
export const playRaces = async (attack: Attack, count: number, random: SeededRandom): Promise<Score> => {
  let [won, mined, deepest] = [0, 0, 0]
  let races = await openRaces(random)
  for (let i = 0; i < count; i++) {
    if (races.victim.tip().height > LEDGER_BLOCKS) {
      await races.close()
      races = await openRaces(random)
    }
    const race = await races.play(attack)
    if (race.won) won++
    mined += race.mined
    deepest = Math.max(deepest, race.depth)
  }
  await races.close()
  return { races: count, won, mined, deepest }
}
