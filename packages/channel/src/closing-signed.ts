/**
 * The legacy negotiation of the closing transaction. BOLT 2 § Legacy Closing Negotiation: closing_signed.
 * The opener pays, so it names a range; the accepter takes what relays. A peer that sends no range is met half-way, each step
 * strictly between the last two offers. It restarts with every connection.
 */
import { equalBytes } from '@leyden/codec'
import { FeeratePerKw, Sat, type Tx } from '@leyden/bitcoin'
import type { ClosingSigned } from '@leyden/lnwire'
import { agree, balancesOf, closingOf } from './closing-agreed.ts'
import type { ChannelEnv } from './env.ts'
import type { ChannelMessage } from './input.ts'
import { next, type Next, send } from './next.ts'
import type { Channel } from './state.ts'
import { closingFee, isClosingSigned, legacyClosing, signClosing, signedClosing } from './transactions/closing-tx.ts'
import { dustThreshold } from './transactions/weight.ts'
import { violation, type Violation } from './violations.ts'

interface FeeRange {
  readonly least: Sat
  readonly most: Sat
}

/** What we would pay, or take, for the closing transaction. */
const wanted = (channel: Channel, env: ChannelEnv): FeeRange & { readonly ideal: Sat } => {
  const { closing, localScript, remoteScript } = closingOf(channel)
  const { localMsat, remoteMsat } = balancesOf(channel)
  const openerSat = (channel.role === 'opener' ? localMsat : remoteMsat) / 1000n
  const clamp = (sat: bigint): Sat => Sat(sat < openerSat ? sat : openerSat)
  const feeOf = (feerate: FeeratePerKw): bigint => closingFee(feerate, [localScript, remoteScript])
  const ideal = closing.feeratePerKw ?? env.feerates.close
  const least = feeOf(FeeratePerKw(Math.min(env.feerates.minimum, ideal)))
  const most = channel.role === 'opener' ? feeOf(FeeratePerKw(ideal * 2)) : openerSat
  return { least: clamp(least), ideal: clamp(feeOf(ideal)), most: clamp(most) }
}

const build = (channel: Channel, feeSat: Sat, dustLimitSat: Sat): Tx | undefined => {
  const { localScript, remoteScript } = closingOf(channel)
  const { localMsat, remoteMsat, funding } = balancesOf(channel)
  const local = { msat: localMsat, scriptPubKey: localScript }
  const remote = { msat: remoteMsat, scriptPubKey: remoteScript }
  const [opener, accepter] = channel.role === 'opener' ? [local, remote] : [remote, local]
  return legacyClosing({ outpoint: funding.outpoint, opener, accepter, feeSat, dustLimitSat })
}

/** What the peer may have signed: outputs left out by its dust limit, by ours, or its own by choice. BOLT 3 § Legacy Closing Transaction. */
const variants = (channel: Channel, feeSat: Sat): readonly Tx[] => {
  const { remoteScript } = closingOf(channel)
  const full = [build(channel, feeSat, channel.remote.dustLimitSat), build(channel, feeSat, channel.local.dustLimitSat)].filter(
    (tx) => tx !== undefined,
  )
  const without = full.map((tx): Tx => ({
    ...tx,
    outputs: tx.outputs.filter((output) => !equalBytes(output.scriptPubKey, remoteScript)),
  }))
  return [...full, ...without.filter((tx) => tx.outputs.length > 0)]
}

const offer = (channel: Channel, tx: Tx, feeSat: Sat, range: FeeRange, env: ChannelEnv): ChannelMessage => ({
  type: 'closing_signed',
  channelId: channel.channelId,
  feeSatoshis: feeSat,
  signature: signClosing(channel, balancesOf(channel).funding, tx, env.signer),
  feeRange: { minFeeSatoshis: range.least, maxFeeSatoshis: range.most },
})

const withOffer = (channel: Channel, lastOfferSat: Sat): Channel => ({
  ...channel,
  closing: { ...closingOf(channel).closing, lastOfferSat, wantsOffer: false },
})

const propose = (channel: Channel, feeSat: Sat, range: FeeRange, env: ChannelEnv): Next | Violation => {
  const tx = build(channel, feeSat, channel.local.dustLimitSat)
  if (tx === undefined) return violation('closing_impossible', { feeSat })
  return next(withOffer(channel, feeSat), send(offer(channel, tx, feeSat, range, env)))
}

/** The fee of a closing transaction that was agreed on before: after a reconnect it is offered again as it was. */
const agreedFee = (channel: Channel): Sat | undefined => {
  const tx = channel.closing?.transactions.at(-1)
  if (tx === undefined) return undefined
  const { funding, localMsat, remoteMsat } = balancesOf(channel)
  const spent = tx.outputs.reduce((sum, output) => sum + output.value, 0n)
  // Outputs that were left out as dust are no part of the fee that closing_signed names: find the fee that builds this transaction.
  const most = funding.capacitySat - spent
  for (const fee of [most, most - localMsat / 1000n, most - remoteMsat / 1000n])
    if (fee >= 0n && variants(channel, Sat(fee)).some((candidate) => sameOutputs(candidate, tx))) return Sat(fee)
  return undefined
}

const sameOutputs = (a: Tx, b: Tx): boolean =>
  a.outputs.length === b.outputs.length &&
  a.outputs.every((output, i) => {
    const twin = b.outputs[i]
    return twin !== undefined && twin.value === output.value && equalBytes(twin.scriptPubKey, output.scriptPubKey)
  })

/** The opener's first offer of this connection. */
export const sendFirstClosingSigned = (channel: Channel, env: ChannelEnv): Next | Violation => {
  const range = wanted(channel, env)
  return propose(channel, agreedFee(channel) ?? range.ideal, range, env)
}

/** BOLT 2 § Legacy Closing Negotiation, receiver. */
export const receiveClosingSigned = (channel: Channel, message: ClosingSigned, env: ChannelEnv): Next | Violation => {
  const { closing } = closingOf(channel)
  const { funding } = balancesOf(channel)
  const feeSat = message.feeSatoshis
  const tx = variants(channel, feeSat).find((candidate) => isClosingSigned(channel, funding, candidate, message.signature))
  if (tx === undefined) return violation('closing_signature_invalid', { feeSat }, 'disconnect')
  if (tx.outputs.some((output) => output.value < dustThreshold(output.scriptPubKey)))
    return violation('closing_output_dust', { feeSat })
  const signed = (): Tx => signedClosing(channel, funding, tx, message.signature, env.signer)
  const { lastOfferSat, remoteOfferSat } = closing
  if (feeSat === lastOfferSat) return agree(channel, signed())
  const own = wanted(channel, env)
  // Who does not pay takes what they can pay; least is what relays.
  const range: FeeRange = { least: own.least, most: own.most }
  const accept = (): Next => {
    const answered = withOffer(channel, feeSat)
    return agree(answered, signed(), send(offer(answered, tx, feeSat, range, env)))
  }
  if (agreedFee(channel) === feeSat) return accept()
  const theirs = message.feeRange
  if (theirs !== undefined) {
    const least = theirs.minFeeSatoshis > range.least ? theirs.minFeeSatoshis : range.least
    const most = theirs.maxFeeSatoshis < range.most ? theirs.maxFeeSatoshis : range.most
    if (least > most) return violation('closing_ranges_apart', { ours: range.least, theirs: theirs.maxFeeSatoshis }, 'warn')
    if (feeSat >= least && feeSat <= most) {
      if (channel.role === 'accepter' && lastOfferSat !== undefined)
        return violation('closing_fee_changed', { feeSat, lastOfferSat })
      return accept()
    }
    if (channel.role === 'opener') return violation('closing_fee_outside_range', { feeSat, least, most })
    if (lastOfferSat !== undefined) return violation('closing_fee_changed', { feeSat, lastOfferSat })
    return propose(channel, feeSat < least ? least : most, range, env)
  }
  if (feeSat >= range.least && feeSat <= range.most) return accept()
  if (lastOfferSat === undefined) return propose(noted(channel, feeSat), own.ideal, range, env)
  if (remoteOfferSat !== undefined && !isBetween(feeSat, lastOfferSat, remoteOfferSat))
    return violation('closing_fee_not_between', { feeSat, lastOfferSat, remoteOfferSat }, 'disconnect')
  const middle = Sat((feeSat + lastOfferSat) / 2n)
  // Nothing lies between neighbours: take theirs.
  return isBetween(middle, feeSat, lastOfferSat) ? propose(noted(channel, feeSat), middle, range, env) : accept()
}

const noted = (channel: Channel, remoteOfferSat: Sat): Channel => ({
  ...channel,
  closing: { ...closingOf(channel).closing, remoteOfferSat },
})

const isBetween = (fee: bigint, a: bigint, b: bigint): boolean => (a < b ? fee > a && fee < b : fee > b && fee < a)
