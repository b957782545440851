/**
 * What happened: transactions and addresses for people, and the transactions that still have to get into the chain.
 */
import type { BlockHeight, Sat, Tx, Txid } from '@leyden/bitcoin'
import { isSigned } from './coins.ts'
import { conflictsOf, pendingSpenders } from './draft.ts'
import { branchName, type AddressKind, type BranchName, type WalletKeys } from './keys.ts'
import { confirmationsOf, isPending, type Wallet, type WalletTx } from './state.ts'

export type TransactionStatus = 'held' | 'pending' | 'confirmed' | 'dropped'

export interface TransactionView {
  readonly txid: Txid
  readonly status: TransactionStatus
  /** What the wallet gained, fee included where we paid it: negative for a send. Not a Sat: it has a sign. */
  readonly netSat: bigint
  readonly feeSat?: Sat
  readonly blockHeight?: BlockHeight
  /** Seconds since 1970, of the block. */
  readonly blockTime?: number
  readonly confirmations: number
  readonly label?: string
  readonly reference?: string
  readonly lockId?: string
  readonly bump?: string
  /** Of a dropped one: the transaction in the chain that took what it, or one that it stands on, would have spent. */
  readonly replacedBy?: Txid
  readonly seenAtMs: number
  readonly tx: Tx
}

export const statusOf = (record: WalletTx): TransactionStatus => {
  if (record.block !== undefined) return 'confirmed'
  if (record.dropped !== undefined) return 'dropped'
  return record.held === undefined ? 'pending' : 'held'
}

export const netSat = (record: WalletTx): bigint =>
  record.credits.reduce((sum, { vout }) => sum + (record.tx.outputs[vout]?.value ?? 0n), 0n) -
  record.debits.reduce((sum, { valueSat }) => sum + valueSat, 0n)

export const viewOf = (wallet: Wallet, record: WalletTx): TransactionView => ({
  txid: record.txid,
  status: statusOf(record),
  netSat: netSat(record),
  ...(record.feeSat === undefined ? {} : { feeSat: record.feeSat }),
  ...(record.block === undefined ? {} : { blockHeight: record.block.height, blockTime: record.block.time }),
  confirmations: confirmationsOf(record.block?.height, wallet.tip),
  ...(record.label === undefined ? {} : { label: record.label }),
  ...(record.reference === undefined ? {} : { reference: record.reference }),
  ...(record.lockId === undefined ? {} : { lockId: record.lockId }),
  ...(record.bump === undefined ? {} : { bump: record.bump }),
  ...(record.conflict === undefined ? {} : { replacedBy: record.conflict.txid }),
  seenAtMs: record.seenAtMs,
  tx: record.tx,
})

/** A total order, newest first: what is not in the chain, then by place in the chain; equal times by id. */
const newestFirst = (a: WalletTx, b: WalletTx): number => {
  const byHeight = (b.block?.height ?? Infinity) - (a.block?.height ?? Infinity)
  if (a.block?.height !== b.block?.height) return byHeight
  if (a.block !== undefined && b.block !== undefined) return b.block.index - a.block.index
  return b.seenAtMs - a.seenAtMs || (a.txid < b.txid ? -1 : 1)
}

/** All transactions, newest first, dropped ones too. */
export const listTransactions = (wallet: Wallet): readonly TransactionView[] =>
  [...wallet.transactions.values()].sort(newestFirst).map((record) => viewOf(wallet, record))

export const findTransaction = (wallet: Wallet, id: Txid): TransactionView | undefined => {
  const record = wallet.transactions.get(id)
  return record === undefined ? undefined : viewOf(wallet, record)
}

/** An address that was handed out. */
export interface AddressView {
  readonly address: string
  readonly kind: AddressKind
  readonly index: number
  /** Whether any transaction that counts pays to it. */
  readonly used: boolean
}

/** Receiving addresses, of each kind the newest first. */
export const listAddresses = (wallet: Wallet, keys: WalletKeys): readonly AddressView[] => {
  const used = new Set<string>()
  for (const record of wallet.transactions.values())
    if (record.dropped === undefined) for (const { path } of record.credits) used.add(`${branchName(path)}/${path.index}`)
  const views: AddressView[] = []
  for (const name of ['p2wpkh/0', 'p2tr/0'] as const satisfies readonly BranchName[]) {
    const kind = name === 'p2tr/0' ? 'p2tr' : 'p2wpkh'
    const { next, used: seen } = wallet.branches[name]
    for (let index = Math.max(next, seen) - 1; index >= 0; index--)
      views.push({
        address: keys.address({ kind, change: 0, index }),
        kind,
        index,
        used: used.has(`${name}/${index}`),
      })
  }
  return views
}

/** Whoever bumps broadcasts the attempts, a child together with its parent. When that is mined he may stop: then it is our turn. */
const isLeftToUs = ({ bump, parent, tx }: WalletTx): boolean => bump === undefined || (parent?.mined === true && isSigned(tx))

/**
 * Our own pending transactions, parents before children, to be broadcast again and again. Held ones are not among them, nor are
 * attempts to bump, but for a child whose parent is mined.
 */
export const pendingTransactions = (wallet: Wallet): readonly Tx[] => {
  const wanted = [...wallet.transactions.values()].filter(
    (record) => isPending(record) && record.held === undefined && isLeftToUs(record) && record.debits.length > 0,
  )
  const byId = new Map(wanted.map((record) => [record.txid, record]))
  const ordered = new Set<WalletTx>()
  const visit = (record: WalletTx): void => {
    if (ordered.has(record)) return
    for (const { outpoint } of record.tx.inputs) {
      const parent = byId.get(outpoint.txid)
      if (parent !== undefined) visit(parent)
    }
    ordered.add(record)
  }
  for (const record of wanted.sort((a, b) => a.seenAtMs - b.seenAtMs || (a.txid < b.txid ? -1 : 1))) visit(record)
  return [...ordered].map(({ tx }) => tx)
}

/** Anyone can send us many small amounts that never confirm: of more than so many only the greatest are asked about. */
const MOST_IN_DOUBT = 100

/**
 * Payments of others that are not in the chain, the greatest first: pending ones, and those that have lost to what we do not know. What they stand on is
 * not ours, so the blocks alone do not tell whether they can still be mined: ask the ledger, and give its answer to missTransaction or
 * seeTransaction. Bitcoin Core too counts only what is in its mempool.
 */
export const incomingInDoubt = (wallet: Wallet): readonly Tx[] => {
  const spenders = pendingSpenders(wallet)
  return [...wallet.transactions.values()]
    .filter(({ block, conflict, debits, bump }) => block === undefined && conflict === undefined && debits.length === 0 && !bump)
    .filter(({ tx }) => conflictsOf(spenders, tx).length === 0)
    .sort((a, b) => (netSat(a) === netSat(b) ? (a.txid < b.txid ? -1 : 1) : netSat(a) > netSat(b) ? -1 : 1))
    .slice(0, MOST_IN_DOUBT)
    .map(({ tx }) => tx)
}

/** Transactions whose coins are locked and which were not broadcast: after a start, ask whoever holds them. */
export const heldTransactions = (wallet: Wallet): readonly { readonly txid: Txid; readonly lockId?: string }[] =>
  [...wallet.transactions.values()]
    .filter((record) => isPending(record) && record.held !== undefined)
    .map(({ txid, lockId }) => (lockId === undefined ? { txid } : { txid, lockId }))
