/**
 * What the wallet has: sums, coins, which coins may be spent now.
 * Every satoshi of a coin is in exactly one of confirmed, unconfirmed, locked and immature; spendable is another view of the same.
 */
import { outpointKey, type Outpoint, type Sat, type Txid } from '@leyden/bitcoin'
import type { AddressKind, KeyPath, WalletKeys } from './keys.ts'
import { confirmationsOf, isMature, isPending, type Coin, type Wallet, type WalletTx } from './state.ts'

export interface Balance {
  /** In the chain, free, and for a coinbase old enough. */
  readonly confirmedSat: Sat
  /** Outputs of pending transactions: change of ours and what others are sending. */
  readonly unconfirmedSat: Sat
  /** Coins that a held transaction spends; they come back when it is released. */
  readonly lockedSat: Sat
  /** Coinbases that the next block may not spend yet. */
  readonly immatureSat: Sat
  /** What `fund` may use now: confirmed, and change of our own pending transactions; less what is kept. */
  readonly spendableSat: Sat
}

/** Transactions of ours alone, which nobody else can replace; not somebody's bump, which the next attempt replaces. */
const isTrusted = (record: WalletTx): boolean =>
  isPending(record) && record.held === undefined && record.bump === undefined && record.debits.length === record.tx.inputs.length

/** Bitcoin Core relays 25 in a chain of unconfirmed transactions: a few fewer leave room for a bump. */
const MAX_PENDING_ANCESTORS = 20

/**
 * Whether a pending transaction and all that it stands on are trusted, and are not too many. After a reorganisation a payment of ours
 * may stand on what somebody else was paying, and may spend otherwise now: its change is not to be built on.
 */
const isWellFounded = (wallet: Pick<Wallet, 'transactions'>, id: Txid, seen: Set<Txid> = new Set()): boolean => {
  const record = wallet.transactions.get(id)
  if (record === undefined || !isPending(record) || seen.has(id)) return true
  seen.add(id)
  if (!isTrusted(record) || seen.size > MAX_PENDING_ANCESTORS) return false
  return record.tx.inputs.every(({ outpoint }) => isWellFounded(wallet, outpoint.txid, seen))
}

const isSpendable = (wallet: Pick<Wallet, 'transactions' | 'tip'>, coin: Coin, minConfirmations: number): boolean => {
  if (coin.spentBy !== undefined || !isMature(coin, wallet.tip)) return false
  if (coin.height !== undefined) return confirmationsOf(coin.height, wallet.tip) >= minConfirmations
  return minConfirmations === 0 && isWellFounded(wallet, coin.outpoint.txid)
}

/** Greatest first; equal ones by outpoint, so that the same wallet always answers the same. */
const byValue = (a: Coin, b: Coin): number => {
  if (a.valueSat !== b.valueSat) return a.valueSat > b.valueSat ? -1 : 1
  return outpointKey(a.outpoint) < outpointKey(b.outpoint) ? -1 : 1
}

/** Coins that a transaction made now may spend, greatest first. With 0 confirmations change of our own pending ones counts too. */
export const spendableCoins = (wallet: Pick<Wallet, 'transactions' | 'tip' | 'coins'>, minConfirmations = 0): readonly Coin[] =>
  [...wallet.coins.values()].filter((coin) => isSpendable(wallet, coin, minConfirmations)).sort(byValue)

/** `keepSat` is what must stay for fee bumping: it is taken off the spendable sum. */
export const balance = (wallet: Wallet, keepSat = 0n): Balance => {
  let confirmed = 0n
  let unconfirmed = 0n
  let locked = 0n
  let immature = 0n
  let spendable = 0n
  for (const coin of wallet.coins.values()) {
    const spender = coin.spentBy === undefined ? undefined : wallet.transactions.get(coin.spentBy)
    if (spender !== undefined) {
      if (spender.held !== undefined) locked += coin.valueSat
      continue
    }
    if (isSpendable(wallet, coin, 0)) spendable += coin.valueSat
    if (coin.height === undefined) {
      if (wallet.transactions.get(coin.outpoint.txid)?.held === undefined) unconfirmed += coin.valueSat
    } else if (isMature(coin, wallet.tip)) confirmed += coin.valueSat
    else immature += coin.valueSat
  }
  return {
    confirmedSat: confirmed as Sat,
    unconfirmedSat: unconfirmed as Sat,
    lockedSat: locked as Sat,
    immatureSat: immature as Sat,
    spendableSat: (spendable > keepSat ? spendable - keepSat : 0n) as Sat,
  }
}

/** An unspent coin for people. */
export interface CoinView {
  readonly outpoint: Outpoint
  readonly valueSat: Sat
  readonly address: string
  readonly kind: AddressKind
  readonly path: KeyPath
  readonly confirmations: number
  readonly mature: boolean
  /** The name under which a held transaction locks it. */
  readonly lockedBy?: string
}

/** Coins that exist now: free ones and locked ones; not those that a broadcast transaction spends. Greatest first. */
export const listCoins = (wallet: Wallet, keys: WalletKeys): readonly CoinView[] => {
  const views: CoinView[] = []
  for (const coin of [...wallet.coins.values()].sort(byValue)) {
    const spender = coin.spentBy === undefined ? undefined : wallet.transactions.get(coin.spentBy)
    if (spender !== undefined && spender.held === undefined) continue
    if (wallet.transactions.get(coin.outpoint.txid)?.held !== undefined) continue
    views.push({
      outpoint: coin.outpoint,
      valueSat: coin.valueSat,
      address: keys.address(coin.path),
      kind: coin.path.kind,
      path: coin.path,
      confirmations: confirmationsOf(coin.height, wallet.tip),
      mature: isMature(coin, wallet.tip),
      ...(spender === undefined ? {} : { lockedBy: spender.lockId ?? spender.txid }),
    })
  }
  return views
}
