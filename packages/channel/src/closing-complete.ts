/**
 * option_simple_close: each side offers a closing transaction that it pays for, the other signs it.
 * BOLT 2 § Closing Negotiation: closing_complete and closing_sig; BOLT 3 § Closing Transaction.
 * Each agreed transaction may replace the one before; there is a limit on how often a peer may have that (S41).
 */
import { equalBytes } from '@leyden/codec'
import { FeeratePerKw, Sat, type Tx } from '@leyden/bitcoin'
import type { ClosingComplete, ClosingSig } from '@leyden/lnwire'
import { agree, balancesOf, closingOf } from './closing-agreed.ts'
import type { ChannelEnv } from './env.ts'
import { next, type Next, send } from './next.ts'
import { MAX_CLOSING_TRANSACTIONS } from './policy.ts'
import { isShutdownScript } from './shutdown-script.ts'
import type { Channel, ClosingOffer, Side } from './state.ts'
import { closingFee, isClosingSigned, signClosing, signedClosing, simpleClosing } from './transactions/closing-tx.ts'
import { dustThreshold } from './transactions/weight.ts'
import { violation, type Violation } from './violations.ts'

type Outputs = Parameters<typeof simpleClosing>[0]['outputs']
type Signatures = Pick<ClosingComplete, 'closerOutputOnly' | 'closeeOutputOnly' | 'closerAndCloseeOutputs'>

const FIELDS = {
  closer_output_only: 'closerOutputOnly',
  closee_output_only: 'closeeOutputOnly',
  closer_and_closee_outputs: 'closerAndCloseeOutputs',
} as const satisfies Record<Outputs, keyof Signatures>

const build = (channel: Channel, closer: Side, offer: ClosingOffer, outputs: Outputs): Tx | undefined => {
  const { funding, localMsat, remoteMsat } = balancesOf(channel)
  const [closerMsat, closeeMsat] = closer === 'local' ? [localMsat, remoteMsat] : [remoteMsat, localMsat]
  return simpleClosing({
    outpoint: funding.outpoint,
    closer: { msat: closerMsat, scriptPubKey: offer.closerScript },
    closee: { msat: closeeMsat, scriptPubKey: offer.closeeScript },
    feeSat: offer.feeSat,
    lockTime: offer.lockTime,
    outputs,
  })
}

const isDust = (sat: bigint, scriptPubKey: Uint8Array): boolean => sat < dustThreshold(scriptPubKey)

/** Which forms of our transaction we sign: the lesser side may leave its own output out, and dust must be. */
const offeredOutputs = (channel: Channel, offer: ClosingOffer): readonly Outputs[] => {
  const { localMsat, remoteMsat } = balancesOf(channel)
  const ownIsDust = isDust(localMsat / 1000n - offer.feeSat, offer.closerScript)
  const theirsIsDust = isDust(remoteMsat / 1000n, offer.closeeScript)
  if (localMsat < remoteMsat) return ownIsDust ? (theirsIsDust ? [] : ['closee_output_only']) : ['closer_and_closee_outputs']
  if (theirsIsDust) return ownIsDust ? [] : ['closer_output_only']
  return ownIsDust ? ['closer_and_closee_outputs'] : ['closer_output_only', 'closer_and_closee_outputs']
}

const without = (channel: Channel, offer: ClosingOffer | undefined): Channel => {
  const { offer: _, ...closing } = closingOf(channel).closing
  return { ...channel, closing: { ...closing, wantsOffer: false, ...(offer === undefined ? {} : { offer }) } }
}

/** Our offer, if we can pay for one that relays. */
export const sendClosingComplete = (channel: Channel, env: ChannelEnv): Next => {
  const { closing, localScript, remoteScript } = closingOf(channel)
  const { localMsat } = balancesOf(channel)
  const scripts = [localScript, remoteScript]
  const least = closingFee(env.feerates.minimum, scripts)
  const ideal = closingFee(FeeratePerKw(Math.max(env.feerates.minimum, closing.feeratePerKw ?? env.feerates.close)), scripts)
  const balanceSat = localMsat / 1000n
  const feeSat = Sat(ideal < balanceSat ? ideal : balanceSat)
  // The other side can pay, or the owner closes alone.
  if (feeSat < least || closing.transactions.length >= MAX_CLOSING_TRANSACTIONS) return next(without(channel, undefined))
  const offer: ClosingOffer = { closerScript: localScript, closeeScript: remoteScript, feeSat, lockTime: 0 }
  const { funding } = balancesOf(channel)
  const signatures: { -readonly [F in keyof Signatures]: Signatures[F] } = {}
  for (const outputs of offeredOutputs(channel, offer)) {
    const tx = build(channel, 'local', offer, outputs)
    if (tx !== undefined) signatures[FIELDS[outputs]] = signClosing(channel, funding, tx, env.signer)
  }
  if (Object.keys(signatures).length === 0) return next(without(channel, undefined))
  return next(
    without(channel, offer),
    send({
      type: 'closing_complete',
      channelId: channel.channelId,
      closerScriptpubkey: localScript,
      closeeScriptpubkey: remoteScript,
      feeSatoshis: feeSat,
      locktime: offer.lockTime,
      ...signatures,
    }),
  )
}

/** Their transaction: they pay, we sign. BOLT 2, receiver of closing_complete. */
export const receiveClosingComplete = (channel: Channel, message: ClosingComplete, env: ChannelEnv): Next | Violation => {
  const { closing, localScript } = closingOf(channel)
  const { funding, localMsat, remoteMsat } = balancesOf(channel)
  const { closerScriptpubkey: closerScript, closeeScriptpubkey: closeeScript, feeSatoshis: feeSat, locktime: lockTime } = message
  if (feeSat > remoteMsat / 1000n) return violation('closing_fee_too_large', { feeSat }, 'disconnect')
  if (!equalBytes(closeeScript, localScript)) return violation('closing_script_outdated', {}, 'disconnect')
  if (!isShutdownScript(closerScript, channel)) return violation('closing_script_invalid', {}, 'disconnect')
  const upfront = channel.remote.upfrontShutdownScript
  if (upfront !== undefined && !equalBytes(closerScript, upfront)) return violation('shutdown_script_changed', {}, 'disconnect')
  if (closing.transactions.length >= MAX_CLOSING_TRANSACTIONS)
    return violation('too_many_closing_transactions', { most: MAX_CLOSING_TRANSACTIONS }, 'warn')
  const offer: ClosingOffer = { closerScript, closeeScript, feeSat, lockTime }
  const outputs: Outputs = isDust(localMsat / 1000n, closeeScript)
    ? 'closer_output_only'
    : message.closerAndCloseeOutputs !== undefined
      ? 'closer_and_closee_outputs'
      : 'closee_output_only'
  const signature = message[FIELDS[outputs]]
  if (signature === undefined) return violation('closing_signature_missing', { outputs }, 'disconnect')
  const tx = build(channel, 'remote', offer, outputs)
  if (tx === undefined || !isClosingSigned(channel, funding, tx, signature))
    return violation('closing_signature_invalid', { outputs }, 'disconnect')
  const known: Channel = { ...channel, closing: { ...closing, remoteScript: closerScript } }
  return agree(
    known,
    signedClosing(channel, funding, tx, signature, env.signer),
    send({
      type: 'closing_sig',
      channelId: channel.channelId,
      closerScriptpubkey: closerScript,
      closeeScriptpubkey: closeeScript,
      feeSatoshis: feeSat,
      locktime: lockTime,
      [FIELDS[outputs]]: signClosing(channel, funding, tx, env.signer),
    }),
  )
}

/** Their signature for our offer. BOLT 2, receiver of closing_sig. */
export const receiveClosingSig = (channel: Channel, message: ClosingSig, env: ChannelEnv): Next | Violation => {
  const { closing } = closingOf(channel)
  const { offer } = closing
  const { funding } = balancesOf(channel)
  if (offer === undefined) return violation('closing_sig_unasked', {}, 'disconnect')
  if (
    message.feeSatoshis !== offer.feeSat ||
    message.locktime !== offer.lockTime ||
    !equalBytes(message.closerScriptpubkey, offer.closerScript) ||
    !equalBytes(message.closeeScriptpubkey, offer.closeeScript)
  )
    return violation('closing_sig_for_other_offer', {}, 'disconnect')
  const given = offeredOutputs(channel, offer).filter((outputs) => message[FIELDS[outputs]] !== undefined)
  const present = Object.values(FIELDS).filter((field) => message[field] !== undefined)
  const [outputs] = given
  if (outputs === undefined || given.length !== 1 || present.length !== 1) return violation('closing_sig_count', {}, 'disconnect')
  const signature = message[FIELDS[outputs]]
  const tx = build(channel, 'local', offer, outputs)
  if (signature === undefined || tx === undefined || !isClosingSigned(channel, funding, tx, signature))
    return violation('closing_signature_invalid', { outputs }, 'disconnect')
  const { offer: _, ...answered } = closing
  return agree({ ...channel, closing: answered }, signedClosing(channel, funding, tx, signature, env.signer))
}
