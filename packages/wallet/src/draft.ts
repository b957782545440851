/**
 * A wallet being changed: copies that one function works on, then seals. Nobody outside this package sees one.
 * The rules that hold after every step: a coin exists for each credit of a transaction that counts (chain or pending), unless a
 * transaction in the chain spends it; `spentBy` names the pending one that does; two transactions that count never spend the same outpoint.
 */
import { outpointKey, sameOutpoint, txid, type BlockHeight, type Outpoint, type Tx, type Txid } from '@leyden/bitcoin'
import { branchName, type Branches, type KeyPath, type WalletKeys } from './keys.ts'
import {
  coinOf,
  isPending,
  type BlockCursor,
  type Coin,
  type Credit,
  type Debit,
  type Tip,
  type Wallet,
  type WalletTx,
} from './state.ts'

/** What the wallet's owner may want to hear. */
export type WalletEvent = {
  readonly type: 'transactionSeen' | 'transactionConfirmed' | 'transactionReorged' | 'transactionReplaced'
  readonly txid: Txid
}

export type Changed = { readonly wallet: Wallet; readonly events: readonly WalletEvent[] }

export type Draft = {
  tip: Tip
  recent: readonly BlockCursor[]
  branches: Branches
  readonly transactions: Map<Txid, WalletTx>
  readonly coins: Map<string, Coin>
  /** outpointKey -> pending transaction that spends it, ours or not. */
  readonly spenders: Map<string, Txid>
  readonly events: WalletEvent[]
}

const spendersOfMap = new WeakMap<ReadonlyMap<Txid, WalletTx>, ReadonlyMap<string, Txid>>()

/** Every outpoint that a pending transaction of the wallet spends. Made once per set of transactions. */
export const pendingSpenders = ({ transactions }: Pick<Wallet, 'transactions'>): ReadonlyMap<string, Txid> => {
  const known = spendersOfMap.get(transactions)
  if (known !== undefined) return known
  const spenders = new Map<string, Txid>()
  for (const record of transactions.values())
    if (isPending(record)) for (const { outpoint } of record.tx.inputs) spenders.set(outpointKey(outpoint), record.txid)
  spendersOfMap.set(transactions, spenders)
  return spenders
}

export const openDraft = (wallet: Wallet): Draft => ({
  ...wallet,
  transactions: new Map(wallet.transactions),
  coins: new Map(wallet.coins),
  spenders: new Map(pendingSpenders(wallet)),
  events: [],
})

/** The draft as a wallet. It must not be changed any more. */
export const seal = ({ tip, recent, branches, transactions, coins, spenders }: Draft): Wallet => {
  spendersOfMap.set(transactions, spenders)
  return { tip, recent, branches, transactions, coins }
}

const put = (draft: Draft, record: WalletTx): void => {
  remove(draft, record.txid)
  draft.transactions.set(record.txid, record)
  if (isPending(record)) for (const { outpoint } of record.tx.inputs) draft.spenders.set(outpointKey(outpoint), record.txid)
}

const remove = (draft: Draft, id: Txid): void => {
  const record = draft.transactions.get(id)
  if (record === undefined) return
  for (const { outpoint } of record.tx.inputs) {
    const key = outpointKey(outpoint)
    if (draft.spenders.get(key) === id) draft.spenders.delete(key)
  }
  draft.transactions.delete(id)
}

/** What of a transaction is ours. `branches` are those after seeing its outputs: the watched range may have grown. */
export type Share = { readonly credits: readonly Credit[]; readonly debits: readonly Debit[]; readonly branches: Branches }

const afterUse = (branches: Branches, path: KeyPath): Branches => {
  const name = branchName(path)
  const branch = branches[name]
  return path.index < branch.used ? branches : { ...branches, [name]: { ...branch, used: path.index + 1 } }
}

/** The credit that an outpoint is, and the record that made it. */
export const findCredit = (
  { transactions }: Pick<Wallet, 'transactions'>,
  outpoint: Outpoint,
): { record: WalletTx; credit: Credit } | undefined => {
  const record = transactions.get(outpoint.txid)
  const credit = record?.credits.find(({ vout }) => vout === outpoint.vout)
  return record === undefined || credit === undefined ? undefined : { record, credit }
}

export const shareOf = (view: Pick<Wallet, 'transactions' | 'branches'>, keys: WalletKeys, tx: Tx): Share => {
  let { branches } = view
  const credits: Credit[] = []
  tx.outputs.forEach((output, vout) => {
    const path = keys.findPath(output.scriptPubKey, branches)
    if (path === undefined) return
    credits.push({ vout, path })
    branches = afterUse(branches, path)
  })
  const debits: Debit[] = []
  tx.inputs.forEach(({ outpoint }, input) => {
    const found = findCredit(view, outpoint)
    if (found === undefined) return
    const { valueSat } = coinOf(found.record, found.credit)
    debits.push({ input, valueSat, path: found.credit.path })
  })
  return { credits, debits, branches }
}

/** The pending transactions of the wallet that spend what `tx` spends. */
export const conflictsOf = (spenders: ReadonlyMap<string, Txid>, tx: Tx): Txid[] => {
  if (spenders.size === 0) return []
  const own = txid(tx)
  const found = new Set<Txid>()
  for (const { outpoint } of tx.inputs) {
    const spender = spenders.get(outpointKey(outpoint))
    if (spender !== undefined && spender !== own) found.add(spender)
  }
  return [...found]
}

/**
 * Outpoints that transactions which are not in the chain spend, or would if they could: those that are dropped too, for which it
 * matters whether they may still come. Those that are known to be impossible are left out. Made once per set of transactions.
 */
const hopesOfMap = new WeakMap<ReadonlyMap<Txid, WalletTx>, ReadonlyMap<string, readonly Txid[]>>()
export const hopefulSpenders = ({ transactions }: Pick<Wallet, 'transactions'>): ReadonlyMap<string, readonly Txid[]> => {
  const known = hopesOfMap.get(transactions)
  if (known !== undefined) return known
  const hopes = new Map<string, Txid[]>()
  for (const { block, conflict, tx, txid: id, parent } of transactions.values()) {
    if (block !== undefined || conflict !== undefined) continue
    for (const outpoint of [...tx.inputs.map((input) => input.outpoint), ...(parent?.inputs ?? [])]) {
      const key = outpointKey(outpoint)
      const others = hopes.get(key)
      if (others === undefined) hopes.set(key, [id])
      else others.push(id)
    }
  }
  hopesOfMap.set(transactions, hopes)
  return hopes
}

/** A transaction in the chain has taken what this one needs: it is dropped, and it and all that stand on it are impossible. */
export const defeat = (draft: Draft, id: Txid, conflict: NonNullable<WalletTx['conflict']>): void => {
  const record = draft.transactions.get(id)
  if (record === undefined || record.block !== undefined || record.conflict !== undefined) return
  drop(draft, id, conflict.height)
  const dropped = draft.transactions.get(id)
  if (dropped !== undefined) draft.transactions.set(id, { ...dropped, conflict })
  const children = [...draft.transactions.values()].filter(({ tx }) => tx.inputs.some(({ outpoint }) => outpoint.txid === id))
  for (const child of children) defeat(draft, child.txid, conflict)
}

/**
 * What was impossible because of a block that has left the chain counts again, unless another that is pending has its place: whoever
 * broadcast it may do so again. What had lost before that block, or stands on something that counts no more, stays dropped.
 */
export const revive = (draft: Draft, height: BlockHeight): void => {
  const back = new Map<Txid, WalletTx>()
  for (const record of draft.transactions.values())
    if (record.conflict !== undefined && record.conflict.height >= height) back.set(record.txid, record)
  const visit = (record: WalletTx): void => {
    if (!back.delete(record.txid)) return
    const { conflict, ...hopeful } = record
    draft.transactions.set(record.txid, hopeful)
    const parents = record.tx.inputs.map(({ outpoint }) => draft.transactions.get(outpoint.txid))
    for (const parent of parents) {
      const first = parent === undefined ? undefined : back.get(parent.txid)
      if (first !== undefined) visit(first)
    }
    const lostBefore = record.dropped !== conflict?.height
    const isBaseless = record.tx.inputs.some(({ outpoint }) => draft.transactions.get(outpoint.txid)?.dropped !== undefined)
    if (lostBefore || isBaseless || conflictsOf(draft.spenders, record.tx).length > 0) return
    const { dropped: _, ...counting } = hopeful
    enter(draft, counting, draft)
    draft.events.push({ type: 'transactionSeen', txid: record.txid })
  }
  for (const record of back.values()) visit(record)
}

/** Takes a pending transaction, and all that spend from it, out of account. Its coins come back. */
export const drop = (draft: Draft, id: Txid, height: BlockHeight = draft.tip.height): void => {
  const record = draft.transactions.get(id)
  if (record === undefined || !isPending(record)) return
  for (let vout = 0; vout < record.tx.outputs.length; vout++) {
    const child = draft.spenders.get(outpointKey({ txid: id, vout }))
    if (child !== undefined) drop(draft, child, height)
  }
  put(draft, { ...record, dropped: height })
  withdraw(draft, record)
  draft.events.push({ type: 'transactionReplaced', txid: id })
}

/** Forgets a pending transaction altogether, as if it had never been made. */
export const forget = (draft: Draft, id: Txid): void => {
  const record = draft.transactions.get(id)
  drop(draft, id)
  remove(draft, id)
  if (record !== undefined) withdraw(draft, record)
}

const withdraw = (draft: Draft, record: WalletTx): void => {
  for (const { input } of record.debits) {
    const key = outpointKey(record.tx.inputs[input]!.outpoint)
    const coin = draft.coins.get(key)
    if (coin?.spentBy !== record.txid) continue
    const { spentBy: _, ...free } = coin
    draft.coins.set(key, free)
  }
  for (const { vout } of record.credits) draft.coins.delete(outpointKey({ txid: record.txid, vout }))
}

/** Puts a record in the place of its older self, with its coins. What it conflicts with must have been dropped. */
export const enter = (draft: Draft, record: WalletTx, share: Pick<Share, 'branches'>): void => {
  put(draft, record)
  draft.branches = share.branches
  for (const { input } of record.debits) {
    const key = outpointKey(record.tx.inputs[input]!.outpoint)
    const coin = draft.coins.get(key)
    if (coin === undefined) continue
    if (record.block === undefined) draft.coins.set(key, { ...coin, spentBy: record.txid })
    else draft.coins.delete(key)
  }
  for (const credit of record.credits) {
    const key = outpointKey({ txid: record.txid, vout: credit.vout })
    draft.coins.set(key, coinOf(record, credit, draft.spenders.get(key)))
  }
}

/** Takes a transaction out of the chain: a coinbase is gone, any other is pending again. Its block must be the tip. */
export const unconfirm = (draft: Draft, record: WalletTx, coinbase: boolean): void => {
  for (const conflict of conflictsOf(draft.spenders, record.tx)) drop(draft, conflict)
  const { block: _, ...pending } = record
  put(draft, pending)
  for (const { input } of pending.debits) {
    const { outpoint } = record.tx.inputs[input]!
    const found = findCredit(draft, outpoint)
    if (found !== undefined) draft.coins.set(outpointKey(outpoint), coinOf(found.record, found.credit, record.txid))
  }
  for (const credit of pending.credits) {
    const key = outpointKey({ txid: record.txid, vout: credit.vout })
    draft.coins.set(key, coinOf(pending, credit, draft.spenders.get(key)))
  }
  if (coinbase) forget(draft, record.txid)
  draft.events.push({ type: 'transactionReorged', txid: record.txid })
}

/** All coins that follow from the transactions: what the map of coins must hold. */
export const deriveCoins = (transactions: ReadonlyMap<Txid, WalletTx>): ReadonlyMap<string, Coin> => {
  const mined = new Set<string>()
  for (const record of transactions.values())
    if (record.block !== undefined) for (const { outpoint } of record.tx.inputs) mined.add(outpointKey(outpoint))
  const spenders = pendingSpenders({ transactions })
  const coins = new Map<string, Coin>()
  for (const record of transactions.values()) {
    if (record.dropped !== undefined) continue
    for (const credit of record.credits) {
      const key = outpointKey({ txid: record.txid, vout: credit.vout })
      if (!mined.has(key)) coins.set(key, coinOf(record, credit, spenders.get(key)))
    }
  }
  return coins
}

/** Whether both spend and pay the same in these leading places. */
export const samePrefix = (a: Tx, b: Tx, inputCount: number, outputCount: number): boolean =>
  a.version === b.version &&
  a.lockTime === b.lockTime &&
  a.inputs.length >= inputCount &&
  a.outputs.length >= outputCount &&
  a.inputs.slice(0, inputCount).every((input, i) => {
    const other = b.inputs[i]
    return other !== undefined && sameOutpoint(input.outpoint, other.outpoint) && input.sequence === other.sequence
  }) &&
  a.outputs.slice(0, outputCount).every((output, i) => {
    const other = b.outputs[i]
    return other?.value === output.value && sameScript(output.scriptPubKey, other.scriptPubKey)
  })

const sameScript = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i])
