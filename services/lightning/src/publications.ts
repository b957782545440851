/**
 * Getting a channel's transactions into the chain: as they are, completed with coins of the wallet, or with a child that pays for
 * them. BOLT 5; BOLT 3 § to_local_anchor. A channel asks again every block until it is content, so nothing here is stored: what the
 * wallet spends on a bump is in the wallet's own record, in the same commit.
 */
import {
  ANCHOR_INPUT_WEIGHT,
  type ChannelEffect,
  channelKind,
  type Publication,
  signAnchorSpend,
  type Signer,
} from '@leyden/channel'
import { p2wshOf, Sat, type Tx, txid, txWeight } from '@leyden/bitcoin'
import type { Batch, Clock } from '@leyden/runtime'
import {
  completeBump,
  cpfp,
  findReliedOn,
  fundForeign,
  isRefusal,
  type Refusal,
  releaseBump,
  type Wallet,
  walletKind,
  type WalletKeys,
} from '@leyden/wallet'
import type { Log } from './log.ts'
import type { NodeEffect } from './node-effect.ts'

type Publish = Extract<ChannelEffect, { type: 'publish' }>

const ONLY = ''
const ANCHOR_VALUE = Sat(330n)

export interface PublicationsOptions {
  readonly clock: Clock
  readonly log: Log
  readonly keys: WalletKeys
  readonly signer: Signer
}

const replaceInput = (tx: Tx, index: number, witness: readonly Uint8Array[]): Tx => ({
  ...tx,
  inputs: tx.inputs.map((input, i) => (i === index ? { ...input, witness } : input)),
})

export const createPublications = ({ clock, log, keys, signer }: PublicationsOptions) => {
  /** Publications asked for since the last block, and in the block before. */
  let asked = new Set<string>()
  let earlier = new Set<string>()

  const broadcast = (batch: Batch<NodeEffect>, transactions: readonly Tx[], label: string): void =>
    batch.emit({ to: 'chain', type: 'broadcast', transactions, label })

  const cannotPay = (publication: Publication, refusal: Refusal): void =>
    log.warn(
      { channelId: publication.channelId, publication: publication.id, reason: refusal.code, deadline: publication.deadline },
      refusal.code === 'insufficient_balance'
        ? 'no confirmed coins to pay for a transaction that has to be mined: send some to the wallet'
        : 'a transaction that has to be mined cannot be paid for',
    )

  const publishHtlc = (batch: Batch<NodeEffect>, wallet: Wallet, publication: Publication & { readonly kind: 'htlc' }): void => {
    const value = publication.spentValuesSat[0]
    if (value === undefined) throw new Error(`publication ${publication.id} does not say what it spends`)
    const commitment = batch.get(channelKind, publication.channelId)?.onchain?.spend?.tx
    const bumped = fundForeign(wallet, keys, {
      id: publication.id,
      tx: publication.tx,
      spent: [{ value, scriptPubKey: p2wshOf(publication.witnessScript) }],
      witnessWeights: [publication.weight - txWeight(publication.tx) - 2],
      ...(commitment === undefined
        ? {}
        : { parent: { txid: txid(commitment), inputs: commitment.inputs.map(({ outpoint }) => outpoint) } }),
      feeratePerKw: publication.feeratePerKw,
      maxFeeSat: publication.budgetSat,
      label: 'HTLC claim',
      nowMs: clock.now(),
    })
    if (isRefusal(bumped)) return bumped.code === 'already_confirmed' ? undefined : cannotPay(publication, bumped)
    const tx = replaceInput(bumped.tx, 0, signAnchorSpend(publication, bumped.tx, 0, bumped.spent, signer))
    batch.set(walletKind, ONLY, completeBump(bumped.wallet, keys, tx, clock.now()))
    broadcast(batch, [tx], publication.id)
  }

  const publishAnchor = (
    batch: Batch<NodeEffect>,
    wallet: Wallet,
    publication: Publication & { readonly kind: 'anchor' },
  ): void => {
    const parent = publication.tx
    const bumped = cpfp(wallet, keys, {
      id: publication.id,
      parent: {
        txid: txid(parent),
        weight: txWeight(parent),
        feeSat: publication.parentFeeSat,
        inputs: parent.inputs.map(({ outpoint }) => outpoint),
      },
      anchor: {
        outpoint: { txid: txid(parent), vout: publication.anchorIndex },
        output: { value: ANCHOR_VALUE, scriptPubKey: p2wshOf(publication.anchorScript) },
        witnessWeight: ANCHOR_INPUT_WEIGHT - 4 * 41,
      },
      feeratePerKw: publication.feeratePerKw,
      maxFeeSat: publication.budgetSat,
      label: 'fee of a commitment',
      nowMs: clock.now(),
    })
    if (isRefusal(bumped)) {
      if (bumped.code !== 'not_needed' && bumped.code !== 'already_confirmed') cannotPay(publication, bumped)
      return broadcast(batch, [parent], publication.id)
    }
    const child = replaceInput(bumped.tx, 0, signAnchorSpend(publication, bumped.tx, 0, bumped.spent, signer))
    batch.set(walletKind, ONLY, completeBump(bumped.wallet, keys, child, clock.now()))
    broadcast(batch, [parent, child], publication.id)
  }

  const publish = (batch: Batch<NodeEffect>, { publication }: Publish): void => {
    asked.add(publication.id)
    const wallet = batch.get(walletKind, ONLY)
    if (wallet === undefined) return broadcast(batch, [publication.tx], publication.id)
    if (publication.kind === 'whole')
      return broadcast(batch, [findReliedOn(wallet, publication.tx) ?? publication.tx], publication.id)
    if (publication.kind === 'htlc') return publishHtlc(batch, wallet, publication)
    return publishAnchor(batch, wallet, publication)
  }

  return {
    publish,
    /** After all channels have seen a block: what none of them asked for again is withdrawn, and its coins are free. */
    afterBlock(batch: Batch<NodeEffect>): void {
      const before = batch.get(walletKind, ONLY)
      if (before === undefined) return
      let wallet = before
      for (const record of before.transactions.values())
        if (record.bump !== undefined && !asked.has(record.bump) && !earlier.has(record.bump))
          wallet = releaseBump(wallet, record.bump)
      if (wallet !== before) batch.set(walletKind, ONLY, wallet)
      earlier = asked
      asked = new Set()
    },
  }
}
