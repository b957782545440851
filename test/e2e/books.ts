/**
 * Book-keeping over the ledger's chain: which transactions there are, what each paid, and who spent what. It knows no node's opinion.
 */
import { hexToBytes } from '@leyden/codec'
import { type Block, decodeBlock, isCoinbase, outpointKey, type Tx, txid } from '@leyden/bitcoin'
import type { LedgerRpc } from '@leyden/devnet-service'

export interface Entry {
  readonly tx: Tx
  readonly txid: string
  readonly height: number
  /** Zero for a coinbase. */
  readonly feeSat: number
}

export interface Books {
  readonly entries: ReadonlyMap<string, Entry>
  /** `txid:vout` -> the transaction that spends it. */
  readonly spends: ReadonlyMap<string, Entry>
}

const cache = new Map<string, Block>()

const blockOf = async (rpc: LedgerRpc, hash: string): Promise<Block> => {
  const known = cache.get(hash)
  if (known !== undefined) return known
  const block = decodeBlock(hexToBytes(await rpc.call<string>('getblock', hash, 0)))
  cache.set(hash, block)
  return block
}

/** Reads the whole active chain. */
export const readBooks = async (rpc: LedgerRpc): Promise<Books> => {
  const entries = new Map<string, Entry>()
  const spends = new Map<string, Entry>()
  const tip = await rpc.height()
  for (let height = 1; height <= tip; height++) {
    const block = await blockOf(rpc, await rpc.call('getblockhash', height))
    for (const tx of block.transactions) {
      let feeSat = 0
      if (!isCoinbase(tx)) {
        const spent = tx.inputs.reduce((sum, { outpoint }) => {
          const output = entries.get(outpoint.txid)?.tx.outputs[outpoint.vout]
          if (output === undefined) throw new Error(`${outpointKey(outpoint)} is not on the chain`)
          return sum + Number(output.value)
        }, 0)
        feeSat = spent - tx.outputs.reduce((sum, output) => sum + Number(output.value), 0)
      }
      const entry = { tx, txid: txid(tx) as string, height, feeSat }
      entries.set(entry.txid, entry)
      if (!isCoinbase(tx)) for (const input of tx.inputs) spends.set(outpointKey(input.outpoint), entry)
    }
  }
  return { entries, spends }
}

export const spenderOf = (books: Books, id: string, vout: number): Entry | undefined => books.spends.get(`${id}:${vout}`)

/** BOLT 3 § to_local_anchor and to_remote_anchor. */
export const ANCHOR_SAT = 330

/** The transactions after a commitment that resolve its outputs, and those of its HTLC transactions: not what wallets do later. */
export const resolutionOf = (books: Books, commitment: Entry): readonly Entry[] => {
  const found = new Map<string, Entry>()
  for (const [vout] of commitment.tx.outputs.entries()) {
    const first = spenderOf(books, commitment.txid, vout)
    if (first === undefined) continue
    found.set(first.txid, first)
    for (const [at, output] of first.tx.outputs.entries()) {
      // An HTLC transaction pays to a P2WSH (0020 and 32 bytes) again; wallets here have no such addresses.
      if (output.scriptPubKey.length !== 34 || output.scriptPubKey[0] !== 0) continue
      const second = spenderOf(books, first.txid, at)
      if (second !== undefined) found.set(second.txid, second)
    }
  }
  return [...found.values()]
}

export interface Claims {
  /** Value taken out of the commitment, or of a revoked HTLC transaction of the other side. */
  readonly takenSat: number
  /** How much of it were anchors. */
  readonly anchorsSat: number
  /** What these transactions paid to miners. */
  readonly feesSat: number
  readonly entries: readonly Entry[]
}

/** What one side took out of a commitment, by the transactions that its wallet knows. Its balance must have changed by taken - fees. */
export const claimsOf = (books: Books, commitment: Entry, walletTxids: ReadonlySet<string>): Claims => {
  const resolution = new Map(resolutionOf(books, commitment).map((entry) => [entry.txid, entry]))
  const mine = [...resolution.values()].filter((entry) => walletTxids.has(entry.txid))
  let takenSat = 0
  let anchorsSat = 0
  let feesSat = 0
  for (const entry of mine) {
    feesSat += entry.feeSat
    for (const { outpoint } of entry.tx.inputs) {
      const from = outpoint.txid === commitment.txid ? commitment : resolution.get(outpoint.txid)
      if (from === undefined || (from !== commitment && walletTxids.has(from.txid))) continue
      const valueSat = Number(from.tx.outputs[outpoint.vout]?.value)
      takenSat += valueSat
      if (from === commitment && valueSat === ANCHOR_SAT) anchorsSat += valueSat
    }
    for (const [vout, output] of entry.tx.outputs.entries()) {
      const next = spenderOf(books, entry.txid, vout)
      if (next !== undefined && resolution.has(next.txid) && !walletTxids.has(next.txid)) takenSat -= Number(output.value)
    }
  }
  return { takenSat, anchorsSat, feesSat, entries: mine }
}
