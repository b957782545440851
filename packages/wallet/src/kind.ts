/**
 * The wallet as rows: one for the head, one per transaction, one per recent block. A block that has nothing of ours writes two.
 * Coins are not stored: they follow from the transactions (draft.ts), so the two can never disagree.
 * The shape is that of runtime's Kind, which drives anything of this shape.
 */
import { equalBytes, packRecord, unpackRecord } from '@leyden/codec'
import { BlockHash, BlockHeight, decodeTx, encodeTx, Txid, txid } from '@leyden/bitcoin'
import { deriveCoins } from './draft.ts'
import type { Branches } from './keys.ts'
import type { BlockCursor, Tip, Wallet, WalletTx } from './state.ts'

export type KindWrite = { readonly suffix: string; readonly value: Uint8Array | undefined }
export type KindRow = readonly [suffix: string, value: Uint8Array]

export interface WalletKind {
  readonly name: 'wallet'
  load(id: string, rows: readonly KindRow[]): Wallet
  diff(before: Wallet | undefined, after: Wallet | undefined): readonly KindWrite[]
}

const VERSION = 1
const HEAD = 'head'
const BLOCK = 'block/'
const TRANSACTION = 'tx/'

type Head = { readonly version: number; readonly tip: Tip; readonly branches: Branches }
type StoredTx = Omit<WalletTx, 'tx' | 'txid'> & { readonly tx: Uint8Array }

const packHead = ({ tip, branches }: Wallet): Uint8Array => packRecord({ version: VERSION, tip, branches } satisfies Head)

const packTx = (record: WalletTx): Uint8Array => {
  const { txid: _, tx, ...rest } = record
  return packRecord({ ...rest, tx: encodeTx(tx) } satisfies StoredTx)
}

const loadTx = (suffix: string, value: Uint8Array): WalletTx => {
  const { tx: bytes, ...rest } = unpackRecord(value) as StoredTx
  const tx = decodeTx(bytes)
  if (suffix !== TRANSACTION + txid(tx)) throw new Error(`wallet: the row ${suffix} holds another transaction`)
  return { ...rest, txid: txid(tx), tx }
}

const blockSuffix = (height: number): string => BLOCK + String(height).padStart(10, '0')

const diffTransactions = (before: Wallet['transactions'], after: Wallet['transactions']): KindWrite[] => {
  if (before === after) return []
  const writes: KindWrite[] = []
  for (const [id, record] of after)
    if (before.get(id) !== record) writes.push({ suffix: TRANSACTION + id, value: packTx(record) })
  for (const id of before.keys()) if (!after.has(id)) writes.push({ suffix: TRANSACTION + id, value: undefined })
  return writes
}

const diffBlocks = (before: readonly BlockCursor[], after: readonly BlockCursor[]): KindWrite[] => {
  if (before === after) return []
  const old = new Map(before.map(({ height, hash }) => [height, hash]))
  const writes: KindWrite[] = []
  for (const { height, hash } of after) {
    if (old.get(height) !== hash) writes.push({ suffix: blockSuffix(height), value: packRecord(hash) })
    old.delete(height)
  }
  for (const height of old.keys()) writes.push({ suffix: blockSuffix(height), value: undefined })
  return writes
}

export const walletKind: WalletKind = {
  name: 'wallet',
  load(id, rows) {
    let head: Head | undefined
    const recent: BlockCursor[] = []
    const transactions = new Map<Txid, WalletTx>()
    for (const [suffix, value] of rows) {
      if (suffix === HEAD) head = unpackRecord(value) as Head
      else if (suffix.startsWith(BLOCK))
        recent.push({
          height: BlockHeight(Number(suffix.slice(BLOCK.length))),
          hash: BlockHash(unpackRecord(value) as string),
        })
      else if (suffix.startsWith(TRANSACTION)) transactions.set(Txid(suffix.slice(TRANSACTION.length)), loadTx(suffix, value))
      else throw new Error(`wallet ${id}: unknown row ${suffix}`)
    }
    if (head === undefined) throw new Error(`wallet ${id}: the head row is missing`)
    if (head.version !== VERSION)
      throw new Error(`wallet ${id}: version ${head.version} is not known (this program knows ${VERSION})`)
    recent.sort((a, b) => a.height - b.height)
    return { tip: head.tip, recent, branches: head.branches, transactions, coins: deriveCoins(transactions) }
  },
  diff(before, after) {
    if (after === undefined) {
      if (before === undefined) return []
      return [
        { suffix: HEAD, value: undefined },
        ...before.recent.map(({ height }) => ({ suffix: blockSuffix(height), value: undefined })),
        ...[...before.transactions.keys()].map((id) => ({ suffix: TRANSACTION + id, value: undefined })),
      ]
    }
    const head = packHead(after)
    const sameHead = before !== undefined && equalBytes(packHead(before), head)
    return [
      ...(sameHead ? [] : [{ suffix: HEAD, value: head }]),
      ...diffBlocks(before?.recent ?? [], after.recent),
      ...diffTransactions(before?.transactions ?? new Map<Txid, WalletTx>(), after.transactions),
    ]
  },
}
