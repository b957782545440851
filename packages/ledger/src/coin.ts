/**
 * Unspent outputs ("coins"), views of some of them, and what a block does to them.
 * A view holds exactly the coins that one step may touch: the edge loads what `coinsNeeded` names, the step never asks a database.
 */
import { compactSize, DecodeError, Reader, Writer } from '@leyden/codec'
import { isUnspendable, Sat, txid, type Block, type Coin, type Outpoint, type Tx } from '@leyden/bitcoin'

/** Coins by `outpointKey`. A needed key that is not there is a coin that does not exist. */
export type CoinView = ReadonlyMap<string, Coin>

/** What to write: coins that appear and coins that go. An output made and spent by the same block is in neither. */
export type CoinChanges = {
  readonly created: readonly (readonly [Outpoint, Coin])[]
  readonly spent: readonly Outpoint[]
}

/** The coins that a block spent, in the order of its inputs (coinbase left out). Enough to take the block back. */
export type Undo = readonly Coin[]

const writeCoin = (w: Writer, coin: Coin): void => {
  w.u32le(coin.height * 2 + (coin.coinbase ? 1 : 0))
  w.u64le(coin.output.value)
}

/** The first twelve bytes of a coin: a flush writes hundreds of thousands, so they are made in one place. */
const head = new Uint8Array(12)
const headView = new DataView(head.buffer)

/** 12 bytes and the script: height and coinbase flag in one u32, the amount, the script to the end. */
export const encodeCoin = ({ output, height, coinbase }: Coin): Uint8Array => {
  headView.setUint32(0, height * 2 + (coinbase ? 1 : 0), true)
  headView.setBigUint64(4, output.value, true)
  const out = new Uint8Array(12 + output.scriptPubKey.length)
  out.set(head)
  out.set(output.scriptPubKey, 12)
  return out
}

const readCoin = (r: Reader, scriptLength: (r: Reader) => number): Coin => {
  const head = r.u32le()
  const value = Sat(r.u64le())
  const scriptPubKey = r.bytes(scriptLength(r)).slice()
  return { output: { value, scriptPubKey }, height: head >>> 1, coinbase: (head & 1) === 1 }
}

/** Reverse of encodeCoin. Throws DecodeError or RangeError on damaged bytes. */
export const decodeCoin = (bytes: Uint8Array): Coin => readCoin(new Reader(bytes), (r) => r.remaining)

export const encodeUndo = (undo: Undo): Uint8Array => {
  const w = new Writer(64 * undo.length + 8)
  compactSize.encode(w, undo.length)
  for (const coin of undo) {
    writeCoin(w, coin)
    compactSize.encode(w, coin.output.scriptPubKey.length)
    w.bytes(coin.output.scriptPubKey)
  }
  return w.finish()
}

/** Reverse of encodeUndo. Throws DecodeError or RangeError on damaged bytes. */
export const decodeUndo = (bytes: Uint8Array): Undo => {
  const r = new Reader(bytes)
  const count = compactSize.decode(r)
  if (count * 13 > r.remaining) throw new DecodeError('truncated', `undo of ${count} coins`)
  const coins: Coin[] = []
  for (let i = 0; i < count; i++) coins.push(readCoin(r, (r) => compactSize.decode(r)))
  r.expectEnd()
  return coins
}

/** The coins that the outputs of a transaction become, those that nobody can ever spend left out. */
export const coinsOf = (tx: Tx, height: number, coinbase: boolean): (readonly [Outpoint, Coin])[] => {
  const id = txid(tx)
  const coins: (readonly [Outpoint, Coin])[] = []
  tx.outputs.forEach((output, vout) => {
    if (!isUnspendable(output.scriptPubKey))
      coins.push([
        { txid: id, vout },
        { output, height, coinbase },
      ])
  })
  return coins
}

/**
 * What a block spends and does not make itself; with `own`, also the outputs that it makes, for who must know whether they are there
 * already. Some may stand in it twice.
 */
export const coinsNeeded = (block: Block, own = true): Outpoint[] => {
  const needed: Outpoint[] = []
  const made = new Set(block.transactions.map(txid))
  block.transactions.forEach((tx, index) => {
    if (index > 0) for (const { outpoint } of tx.inputs) if (!made.has(outpoint.txid)) needed.push(outpoint)
    if (!own) return
    const id = txid(tx)
    tx.outputs.forEach((_, vout) => needed.push({ txid: id, vout }))
  })
  return needed
}
