/**
 * The wallet as plain data. Transactions are the truth; coins follow from them and are kept beside them for speed (coins.ts).
 * Never changed in place: every function takes a wallet and gives another one.
 */
import type { BlockHash, BlockHeight, Outpoint, Sat, Tx, Txid } from '@leyden/bitcoin'
import { COINBASE_MATURITY, isCoinbase } from '@leyden/bitcoin'
import { branchName, freshIndex, type AddressKind, type Branches, type KeyPath, type WalletKeys } from './keys.ts'

export type BlockCursor = { readonly height: BlockHeight; readonly hash: BlockHash }

/** The block that the wallet has taken last. `hash` is unknown after a reorganisation that reached below the wallet's first block. */
export type Tip = { readonly height: BlockHeight; readonly hash?: BlockHash }

/** An output of the transaction that is ours. */
export type Credit = { readonly vout: number; readonly path: KeyPath }
/** An input of the transaction that spends a coin of ours. */
export type Debit = { readonly input: number; readonly valueSat: Sat; readonly path: KeyPath }

/** A transaction that gives to us or takes from us. */
export interface WalletTx {
  readonly txid: Txid
  readonly tx: Tx
  /** Where it is in the chain; absent while it is not. `index` is its place in the block, `time` the block's, in seconds. */
  readonly block?: { readonly height: BlockHeight; readonly hash: BlockHash; readonly index: number; readonly time: number }
  /** Milliseconds since 1970: when the wallet made or first saw it. */
  readonly seenAtMs: number
  readonly credits: readonly Credit[]
  readonly debits: readonly Debit[]
  /** Known when every input is ours, or was described to us. */
  readonly feeSat?: Sat
  readonly label?: string
  /** The caller's own id for it. */
  readonly reference?: string
  /** Made for somebody who relies on its id: it is never replaced. */
  readonly lockId?: string
  /** Not to be broadcast yet: its coins are locked, its outputs do not exist yet. */
  readonly held?: true
  /** An attempt to raise the fee of somebody's transaction; the next attempt of that id replaces it. */
  readonly bump?: string
  /**
   * A transaction that is not ours and that this one needs (cpfp): when another spends its inputs, this one can never be mined.
   * `mined`: it has been in the chain, and whoever made us pay for it may have stopped to broadcast the two.
   */
  readonly parent?: { readonly txid: Txid; readonly inputs: readonly Outpoint[]; readonly mined?: true }
  /** The height at which it lost against a conflicting transaction, or was abandoned. It counts no more, unless it gets mined. */
  readonly dropped?: BlockHeight
  /**
   * In the chain: what it, or one that it stands on, wants to spend is spent by this transaction. It is dropped then, and as long as
   * that stays in the chain it can never be mined.
   */
  readonly conflict?: { readonly txid: Txid; readonly height: BlockHeight }
}

/** An output of ours that no transaction in the chain spends. */
export interface Coin {
  readonly outpoint: Outpoint
  readonly valueSat: Sat
  readonly path: KeyPath
  /** Absent while unconfirmed. */
  readonly height?: BlockHeight
  readonly coinbase: boolean
  /** An unconfirmed or held transaction that spends it. */
  readonly spentBy?: Txid
}

export interface Wallet {
  readonly tip: Tip
  /** The last blocks, oldest first, to the tip. */
  readonly recent: readonly BlockCursor[]
  readonly branches: Branches
  readonly transactions: ReadonlyMap<Txid, WalletTx>
  /** By outpointKey. */
  readonly coins: ReadonlyMap<string, Coin>
}

/** A wallet that has nothing; `birthday` is the block after which its first coin may come. */
export const emptyWallet = (birthday: BlockCursor): Wallet => ({
  tip: birthday,
  recent: [birthday],
  branches: {
    'p2wpkh/0': { next: 0, used: 0 },
    'p2wpkh/1': { next: 0, used: 0 },
    'p2tr/0': { next: 0, used: 0 },
    'p2tr/1': { next: 0, used: 0 },
  },
  transactions: new Map(),
  coins: new Map(),
})

/** Takes the next unused path of a branch. */
export const takePath = (branches: Branches, kind: AddressKind, change: 0 | 1): { branches: Branches; path: KeyPath } => {
  const name = branchName({ kind, change })
  const index = freshIndex(branches[name])
  return { branches: { ...branches, [name]: { ...branches[name], next: index + 1 } }, path: { kind, change, index } }
}

/** An address that was never handed out before. */
export const newAddress = (
  wallet: Wallet,
  keys: WalletKeys,
  kind: AddressKind = 'p2wpkh',
): { wallet: Wallet; address: string; scriptPubKey: Uint8Array; path: KeyPath } => {
  const { branches, path } = takePath(wallet.branches, kind, 0)
  return {
    wallet: { ...wallet, branches },
    address: keys.address(path),
    scriptPubKey: keys.scriptPubKey(path),
    path,
  }
}

/** Neither in the chain nor dropped: it may get in. */
export const isPending = (record: WalletTx): boolean => record.block === undefined && record.dropped === undefined

/** Whether the next block may spend it. Consensus: COINBASE_MATURITY. */
export const isMature = (coin: Coin, tip: Tip): boolean =>
  !coin.coinbase || (coin.height !== undefined && tip.height + 1 - coin.height >= COINBASE_MATURITY)

/** 1 in the tip, 0 while unconfirmed. */
export const confirmationsOf = (height: BlockHeight | undefined, tip: Tip): number =>
  height === undefined ? 0 : tip.height - height + 1

/** The coin that a credit of a recorded transaction makes. */
export const coinOf = (record: WalletTx, { vout, path }: Credit, spentBy?: Txid): Coin => {
  const output = record.tx.outputs[vout]
  if (output === undefined) throw new Error(`${record.txid}: no output ${vout}`)
  return {
    outpoint: { txid: record.txid, vout },
    valueSat: output.value,
    path,
    ...(record.block === undefined ? {} : { height: record.block.height }),
    coinbase: isCoinbase(record.tx),
    ...(spentBy === undefined ? {} : { spentBy }),
  }
}
