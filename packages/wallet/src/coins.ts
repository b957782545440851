/**
 * Following the chain and the mempool: which transactions are ours, and which of them count.
 * What is in the chain always wins: a pending transaction that conflicts with it is dropped, with all that spend from it, and its
 * coins come back. In the mempool the newer one wins, but an attempt of ours that was replaced before does not come back by itself.
 * A held transaction (a channel's funding before the peer has signed) locks its coins, and its outputs are no one's yet.
 */
import { isCoinbase, outpointKey, txid, type BlockHash, type BlockHeight, type Sat, type Tx, type Txid } from '@leyden/bitcoin'
import {
  conflictsOf,
  defeat,
  drop,
  enter,
  forget,
  hopefulSpenders,
  openDraft,
  pendingSpenders,
  revive,
  seal,
  shareOf,
  unconfirm,
  type Changed,
  type Draft,
  type Share,
} from './draft.ts'
import type { WalletKeys } from './keys.ts'
import { refusal, type Refusal } from './refusal.ts'
import { isPending, type Wallet, type WalletTx } from './state.ts'

/** How many of the last blocks the wallet remembers, and for how many it keeps what was dropped. */
export const RECENT_BLOCKS = 144

/** A block as the wallet takes it. `time` is the header's, in seconds; `previousHash`, when given, must be the tip's hash. */
export type ConnectedBlock = {
  readonly height: BlockHeight
  readonly hash: BlockHash
  readonly previousHash?: BlockHash
  readonly time: number
  readonly transactions: readonly Tx[]
}

/** What the wallet adds to a transaction that it made itself. */
export type Making = Pick<WalletTx, 'feeSat' | 'label' | 'reference' | 'lockId' | 'held' | 'bump' | 'parent'>

const isOurs = ({ credits, debits }: Share): boolean => credits.length > 0 || debits.length > 0

/** The fee, where every input is ours. */
const feeOfShare = (tx: Tx, { debits }: Share): Sat | undefined => {
  if (debits.length !== tx.inputs.length) return undefined
  const spent = debits.reduce((sum, { valueSat }) => sum + valueSat, 0n)
  return (spent - tx.outputs.reduce((sum, { value }) => sum + value, 0n)) as Sat
}

const newcomer = (seenAtMs: number): Pick<WalletTx, 'seenAtMs'> & Partial<WalletTx> => ({ seenAtMs })

/** Enters a transaction, new or known, and drops what conflicts with it. */
const record = (
  draft: Draft,
  tx: Tx,
  share: Share,
  at: { readonly block?: NonNullable<WalletTx['block']>; readonly nowMs: number },
  making: Making = {},
): void => {
  const id = txid(tx)
  const known = draft.transactions.get(id)
  for (const conflict of conflictsOf(draft.spenders, tx)) drop(draft, conflict)
  const { dropped: _, held: __, conflict: ___, ...kept } = known ?? newcomer(at.nowMs)
  const feeSat = kept.feeSat ?? feeOfShare(tx, share)
  const next: WalletTx = {
    ...kept,
    ...(feeSat === undefined ? {} : { feeSat }),
    ...making,
    txid: id,
    tx,
    credits: share.credits,
    debits: share.debits,
    ...(at.block === undefined ? {} : { block: at.block }),
  }
  enter(draft, next, share)
}

/** Enters a transaction that the wallet has just made. */
export const recordOwn = (draft: Draft, keys: WalletKeys, tx: Tx, nowMs: number, making: Making): void =>
  record(draft, tx, shareOf(draft, keys, tx), { nowMs }, making)

/** Pending transactions with a parent that is not ours. */
const childrenOf = (wallet: Wallet): readonly WalletTx[] => {
  const ids = new Set(pendingSpenders(wallet).values())
  return [...ids].map((id) => wallet.transactions.get(id)!).filter(({ parent }) => parent !== undefined)
}

/** Transactions that were hoped for and that a mined one makes impossible: it takes what they, or their parent, would spend. */
const defeatedBy = (wallet: Wallet, tx: Tx): readonly Txid[] => {
  const hopes = hopefulSpenders(wallet)
  if (hopes.size === 0) return []
  const id = txid(tx)
  const found = new Set(tx.inputs.flatMap(({ outpoint }) => hopes.get(outpointKey(outpoint)) ?? []))
  return [...found].filter((one) => one !== id && wallet.transactions.get(one)?.parent?.txid !== id)
}

const markMined = (draft: Draft, id: Txid): void => {
  const record = draft.transactions.get(id)
  if (record?.parent !== undefined) draft.transactions.set(id, { ...record, parent: { ...record.parent, mined: true } })
}

/**
 * The next block. A block that was taken before (same height and hash) changes nothing; any other that does not follow the tip is
 * refused as `out_of_order`: disconnect first.
 */
export const connectBlock = (wallet: Wallet, keys: WalletKeys, block: ConnectedBlock): Changed | Refusal => {
  const { tip } = wallet
  if (wallet.recent.some(({ height, hash }) => height === block.height && hash === block.hash)) return { wallet, events: [] }
  if (
    block.height !== tip.height + 1 ||
    (block.previousHash !== undefined && tip.hash !== undefined && block.previousHash !== tip.hash)
  )
    return refusal('out_of_order', { tip, height: block.height, hash: block.hash })

  let draft: Draft | undefined
  const open = (): Draft => (draft ??= openDraft(wallet))
  const children = childrenOf(wallet)
  block.transactions.forEach((tx, index) => {
    const { height, hash, time } = block
    for (const loser of defeatedBy(wallet, tx)) defeat(open(), loser, { txid: txid(tx), height })
    const share = shareOf(draft ?? wallet, keys, tx)
    if (isOurs(share)) {
      record(open(), tx, share, { block: { height, hash, index, time }, nowMs: time * 1000 })
      open().events.push({ type: 'transactionConfirmed', txid: txid(tx) })
    }
    for (const child of children) if (child.parent?.txid === txid(tx)) markMined(open(), child.txid)
  })
  // Once in so many blocks: looking through all transactions each time would be for nothing
  if (block.height % RECENT_BLOCKS === 0 && hasStale(wallet, block.height)) prune(open(), block.height)

  const cursor = { height: block.height, hash: block.hash }
  const sealed = draft === undefined ? wallet : seal(draft)
  return {
    wallet: { ...sealed, tip: cursor, recent: [...wallet.recent, cursor].slice(-RECENT_BLOCKS) },
    events: draft?.events ?? [],
  }
}

/**
 * What was dropped is forgotten after a while, but for what somebody else made impossible: it has been told of, and must not vanish
 * without a word. An earlier attempt of ours, or one that was replaced by another that pays us, is no such thing.
 */
const isStale = ({ transactions }: Pick<Wallet, 'transactions'>, record: WalletTx, height: number): boolean => {
  const { dropped, conflict, bump } = record
  if (dropped === undefined || dropped + RECENT_BLOCKS > height) return false
  return conflict === undefined || bump !== undefined || transactions.has(conflict.txid)
}

const hasStale = (wallet: Wallet, height: number): boolean => {
  for (const record of wallet.transactions.values()) if (isStale(wallet, record, height)) return true
  return false
}

const prune = (draft: Draft, height: number): void => {
  const stale = [...draft.transactions.values()].filter((record) => isStale(draft, record, height))
  for (const record of stale) draft.transactions.delete(record.txid)
}

/**
 * The tip is no longer in the chain. Its transactions are pending again, but for its coinbase. Another block than the tip is refused
 * as `out_of_order`. What the block's own had made impossible stays dropped, because they are in the mempool again and still win; what
 * those of others had made impossible counts again, until the mempool or the chain says otherwise.
 */
export const disconnectBlock = (
  wallet: Wallet,
  block: { readonly height: BlockHeight; readonly hash: BlockHash },
): Changed | Refusal => {
  const { tip } = wallet
  if (tip.height !== block.height || (tip.hash !== undefined && tip.hash !== block.hash))
    return refusal('out_of_order', { tip, height: block.height, hash: block.hash })
  const recent = wallet.recent.filter(({ height }) => height < block.height)
  const below = recent.at(-1)
  const height = (tip.height - 1) as BlockHeight
  const base: Wallet = { ...wallet, tip: below?.height === height ? below : { height }, recent }
  const leaving = [...wallet.transactions.values()]
    .filter((record) => record.block?.height === block.height)
    .sort((a, b) => b.block!.index - a.block!.index)
  const isRevived = [...wallet.transactions.values()].some(({ conflict }) => conflict?.height === block.height)
  if (leaving.length === 0 && !isRevived) return { wallet: base, events: [] }
  const draft = openDraft(base)
  for (const record of leaving) unconfirm(draft, record, isCoinbase(record.tx))
  if (isRevived) revive(draft, block.height)
  return { wallet: seal(draft), events: draft.events }
}

/** Whether it spends what is gone: a coin of ours that is spent in the chain or does not count, or what a mined one of ours spends. */
const spendsWhatIsGone = (wallet: Wallet, tx: Tx, { debits }: Share): boolean => {
  if (debits.some(({ input }) => !wallet.coins.has(outpointKey(tx.inputs[input]!.outpoint)))) return true
  if (debits.length === tx.inputs.length) return false
  const wanted = new Set(tx.inputs.map(({ outpoint }) => outpointKey(outpoint)))
  for (const { block, tx: mined } of wallet.transactions.values())
    if (block !== undefined && mined.inputs.some(({ outpoint }) => wanted.has(outpointKey(outpoint)))) return true
  return false
}

/**
 * A transaction in the mempool. Seeing one again changes nothing, but a held one is held no more, and one that lacked a witness
 * gets it. What conflicts with a transaction in the chain is ignored.
 */
export const seeTransaction = (wallet: Wallet, keys: WalletKeys, tx: Tx, nowMs: number): Changed => {
  const same: Changed = { wallet, events: [] }
  if (isCoinbase(tx)) return same
  const known = wallet.transactions.get(txid(tx))
  if (known?.block !== undefined || known?.conflict !== undefined) return same
  const share = shareOf(wallet, keys, tx)
  const conflicts = conflictsOf(pendingSpenders(wallet), tx)
  if (known !== undefined && known.dropped === undefined) {
    if (known.held === undefined && isSigned(known.tx)) return same
  } else if ((known !== undefined && conflicts.length > 0) || (isOurs(share) && spendsWhatIsGone(wallet, tx, share))) return same

  if (known === undefined && !isOurs(share)) {
    // Not ours: it can only have replaced what somebody was going to pay us. Our own attempts wait for the chain's word
    const lost = conflicts.filter((id) => wallet.transactions.get(id)!.debits.length === 0)
    if (lost.length === 0) return same
    const draft = openDraft(wallet)
    for (const id of lost) drop(draft, id)
    return { wallet: seal(draft), events: draft.events }
  }
  const draft = openDraft(wallet)
  record(draft, tx, share, { nowMs })
  if (known === undefined || known.dropped !== undefined || known.held !== undefined)
    draft.events.push({ type: 'transactionSeen', txid: txid(tx) })
  return { wallet: seal(draft), events: draft.events }
}

/** What a payment to us spends is not there: it counts no more until it is seen again or gets mined. Only for what is not of our making. */
export const missTransaction = (wallet: Wallet, id: Txid): Changed => {
  const known = wallet.transactions.get(id)
  if (known === undefined || !isPending(known) || known.debits.length > 0) return { wallet, events: [] }
  const draft = openDraft(wallet)
  drop(draft, id)
  return { wallet: seal(draft), events: draft.events }
}

/** Whether no input lacks what it needs: ours and those of Lightning all have a witness. */
export const isSigned = (tx: Tx): boolean => tx.inputs.every((input) => input.witness.length > 0 || input.scriptSig.length > 0)

/** The held transaction may be broadcast from now on: it counts as pending. */
export const commitHeld = (wallet: Wallet, id: Txid): Wallet | Refusal => {
  const known = wallet.transactions.get(id)
  if (known === undefined) return refusal('unknown_transaction', { txid: id })
  if (known.held === undefined) return wallet
  const { held: _, ...rest } = known
  const transactions = new Map(wallet.transactions)
  transactions.set(id, rest)
  return { ...wallet, transactions }
}

/** The held transaction will never be broadcast: it is forgotten and its coins are free. Refused when it is held no more. */
export const releaseHeld = (wallet: Wallet, id: Txid): Wallet | Refusal => {
  const known = wallet.transactions.get(id)
  if (known === undefined) return refusal('unknown_transaction', { txid: id })
  if (known.block !== undefined) return refusal('already_confirmed', { txid: id })
  if (known.held === undefined) return refusal('not_replaceable', { txid: id })
  const draft = openDraft(wallet)
  forget(draft, id)
  return seal(draft)
}

/**
 * Gives a pending transaction up: its coins are free, it is not broadcast again. It may still get mined where it was seen before;
 * then it counts. Never for a transaction whose id others rely on.
 */
export const abandon = (wallet: Wallet, id: Txid): Changed | Refusal => {
  const known = wallet.transactions.get(id)
  if (known === undefined) return refusal('unknown_transaction', { txid: id })
  if (known.block !== undefined) return refusal('already_confirmed', { txid: id })
  if (known.lockId !== undefined) return refusal('not_replaceable', { txid: id })
  if (!isPending(known)) return { wallet, events: [] }
  const draft = openDraft(wallet)
  drop(draft, id)
  return { wallet: seal(draft), events: draft.events }
}

/** Names a transaction for people; an empty text takes the name away. */
export const labelTransaction = (wallet: Wallet, id: Txid, label: string): Wallet | Refusal => {
  const known = wallet.transactions.get(id)
  if (known === undefined) return refusal('unknown_transaction', { txid: id })
  const { label: _, ...rest } = known
  const transactions = new Map(wallet.transactions)
  transactions.set(id, label === '' ? rest : { ...rest, label })
  return { ...wallet, transactions }
}
