/**
 * A closing transaction that both have signed: it is published, and from here on the chain decides which one is mined.
 * BOLT 2 § Channel Close; watching it is onchain/mutual.ts.
 */
import { type Tx, txid } from '@leyden/bitcoin'
import type { Channel, Closing } from './state.ts'
import type { ChannelEffect } from './effect.ts'
import { next, type Next } from './next.ts'
import { closingPublications } from './onchain/mutual.ts'
import { NO_ONCHAIN } from './onchain/state.ts'

/** The terms of a close that is under way; a fault where there are none. */
export const closingOf = (
  channel: Channel,
): { readonly closing: Closing; readonly localScript: Uint8Array; readonly remoteScript: Uint8Array } => {
  const { closing } = channel
  if (closing?.localScript === undefined || closing.remoteScript === undefined)
    throw new Error(`channel ${channel.channelId} has no scripts to close to`)
  return { closing, localScript: closing.localScript, remoteScript: closing.remoteScript }
}

/** The funding output and the balances that a closing transaction shares out. */
export const balancesOf = (channel: Channel) => {
  const [active] = channel.active
  if (active === undefined) throw new Error(`channel ${channel.channelId} has no funding`)
  return active
}

/** Takes a transaction with both signatures: published, and the owner is told. Messages that go with it come first. */
export const agree = (channel: Channel, tx: Tx, ...messages: readonly ChannelEffect[]): Next => {
  const { closing } = closingOf(channel)
  const id = txid(tx)
  if (closing.transactions.some((known) => txid(known) === id)) return next(channel, ...messages)
  const agreed: Channel = {
    ...channel,
    phase: { name: 'closing' },
    closing: { ...closing, transactions: [...closing.transactions, tx] },
    onchain: { ...(channel.onchain ?? NO_ONCHAIN), toldClosing: id },
  }
  const publication = closingPublications(agreed).at(-1)
  return next(
    agreed,
    ...messages,
    ...(publication === undefined ? [] : [{ to: 'chain', type: 'publish', publication } as const]),
    { to: 'owner', type: 'closing', how: 'mutual', tx },
  )
}
