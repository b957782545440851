/**
 * What the node does for its wallet beside giving it the chain: tells of its transactions, and after each block broadcasts again what
 * still has to be mined. With payments of others that is a question too: what they stand on is not ours, so only the ledger knows
 * whether they can still come. Those whose inputs it does not find count no more, until it takes them again.
 */
import { type Tx, txid } from '@leyden/bitcoin'
import type { BroadcastResult } from '@leyden/link'
import type { Batch, Clock, Drive } from '@leyden/runtime'
import {
  type Changed,
  incomingInDoubt,
  missTransaction,
  pendingTransactions,
  seeTransaction,
  type Wallet,
  type WalletEvent,
  walletKind,
  type WalletKeys,
} from '@leyden/wallet'
import type { EventLog } from './events.ts'
import type { NodeEffect } from './node-effect.ts'

const ONLY = ''
/** Bitcoin Core's reject name, which the ledger keeps to: an input is unknown or spent. */
const INPUT_IS_GONE = 'bad-txns-inputs-missingorspent'

const EVENTS = {
  transactionSeen: 'transaction.seen',
  transactionConfirmed: 'transaction.confirmed',
  transactionReorged: 'transaction.reorged',
  transactionReplaced: 'transaction.replaced',
} as const

export interface WalletUpkeepOptions {
  readonly drive: Drive<NodeEffect>
  readonly clock: Clock
  readonly keys: WalletKeys
  readonly events: EventLog
}

export const createWalletUpkeep = ({ drive, clock, keys, events }: WalletUpkeepOptions) => {
  const tell = (batch: Batch<NodeEffect>, changes: readonly WalletEvent[], after: Wallet): void => {
    for (const { type, txid: id } of changes) {
      const record = after.transactions.get(id)
      // Of attempts to raise a fee each replaces the one before: that is no news.
      if (type === 'transactionReplaced' && (record?.dropped === undefined || record.bump !== undefined)) continue
      const { block, conflict } = record ?? {}
      events.append(batch, EVENTS[type], {
        txid: id,
        ...(block === undefined ? {} : { blockHeight: block.height }),
        ...(conflict === undefined ? {} : { replacedBy: conflict.txid }),
      })
    }
  }

  const change = (wallet: Wallet, tx: Tx, result: BroadcastResult): Changed | undefined => {
    const record = wallet.transactions.get(txid(tx))
    if (record === undefined || record.debits.length > 0) return undefined
    if (result.ok) return record.dropped === undefined ? undefined : seeTransaction(wallet, keys, tx, clock.now())
    return result.reason === INPUT_IS_GONE ? missTransaction(wallet, record.txid) : undefined
  }

  return {
    tell,
    afterBlock(batch: Batch<NodeEffect>): void {
      const wallet = batch.get(walletKind, ONLY)
      if (wallet === undefined) return
      for (const tx of [...pendingTransactions(wallet), ...incomingInDoubt(wallet)])
        batch.emit({ to: 'chain', type: 'broadcast', transactions: [tx], label: 'wallet' })
    },
    /** What the ledger says to a broadcast. */
    answered(
      { transactions, label }: Pick<NodeEffect & { type: 'broadcast' }, 'transactions' | 'label'>,
      result: BroadcastResult,
    ): void {
      const [tx] = transactions
      const now = drive.states(walletKind).get(ONLY)
      if (label !== 'wallet' || tx === undefined || now === undefined) return
      const before = change(now, tx, result)
      if (before === undefined || before.wallet === now) return
      const take = (batch: Batch<NodeEffect>): void => {
        const wallet = batch.get(walletKind, ONLY)
        const changed = wallet === undefined ? undefined : change(wallet, tx, result)
        if (changed === undefined || changed.wallet === wallet) return
        batch.set(walletKind, ONLY, changed.wallet)
        tell(batch, changed.events, changed.wallet)
      }
      // A node that stops asks again after its next start.
      drive.submit(take).catch(() => undefined)
    },
  }
}
