/**
 * Closing together: shutdown, and when the closing transaction can be negotiated. BOLT 2 § Closing Initiation: shutdown.
 * The negotiation itself is closing-signed.ts (legacy) or closing-complete.ts (option_simple_close). Scripts of the peer are checked
 * here and in each closing_complete (S44). What is signed is published at once and stays watched: see onchain/.
 */
import { equalBytes } from '@leyden/codec'
import type { Shutdown } from '@leyden/lnwire'
import { sendClosingComplete } from './closing-complete.ts'
import { sendFirstClosingSigned } from './closing-signed.ts'
import type { ChannelEnv } from './env.ts'
import { failChannel } from './failure.ts'
import type { ChannelInput } from './input.ts'
import { next, type Next, refused, send } from './next.ts'
import { isShutdownScript } from './shutdown-script.ts'
import type { Channel, Closing } from './state.ts'
import { isViolation, refusal, violation, type Violation } from './violations.ts'

type Close = Extract<ChannelInput, { type: 'close' }>

/** Nothing is pending on either commitment: only the closing transaction is left to sign. */
export const isDrained = (channel: Channel): boolean =>
  channel.htlcs.length === 0 && channel.feeUpdates.length === 0 && channel.awaitingRevocation === undefined

/**
 * Whether the two may still talk about closing transactions: from the first shutdown on, and after one is published until something
 * spends the funding output for good or we go to the chain.
 */
export const isNegotiating = (channel: Channel): boolean =>
  channel.phase.name === 'shuttingDown' ||
  (channel.phase.name === 'closing' &&
    (channel.closing?.transactions.length ?? 0) > 0 &&
    channel.onchain?.spend === undefined &&
    channel.onchain?.forced !== true)

const startClosing = (channel: Channel): Closing => ({
  localScript: channel.local.upfrontShutdownScript ?? channel.destinationScript,
  sent: false,
  received: false,
  wantsOffer: true,
  transactions: [],
})

/** The owner wants the channel closed together with the peer; asked again, at another feerate or to another script. */
export const closeChannel = (channel: Channel, close: Close, env: ChannelEnv): Next => {
  const no = (code: string): Next => refused(channel, 'close', refusal(code))
  const { phase } = channel
  const again = isNegotiating(channel)
  if (!again && phase.name !== 'normal' && phase.name !== 'awaitingReady') return no('channel_not_usable')
  const started = channel.closing ?? startClosing(channel)
  const script = close.scriptPubKey
  if (script !== undefined && !isShutdownScript(script, channel)) return no('script_not_allowed')
  const upfront = channel.local.upfrontShutdownScript
  if (script !== undefined && upfront !== undefined && !equalBytes(script, upfront)) return no('script_is_fixed')
  const localScript = script ?? started.localScript ?? channel.destinationScript
  if (!isShutdownScript(localScript, channel)) return no('script_not_allowed')
  if (again && !channel.simpleClose && started.sent && script !== undefined) return no('script_is_fixed')
  // A script that changes under an unanswered closing_complete would not be the one that it named.
  if (started.offer !== undefined && script !== undefined) return no('closing_in_progress')
  const closing: Closing = {
    ...started,
    localScript,
    wantsOffer: true,
    ...(close.feeratePerKw === undefined ? {} : { feeratePerKw: close.feeratePerKw }),
  }
  const asked: Channel = { ...channel, closing, phase: again ? phase : { name: 'shuttingDown' } }
  return progress(asked, env)
}

/** BOLT 2 § Closing Initiation: shutdown, receiver. */
export const receiveShutdown = (channel: Channel, message: Shutdown, env: ChannelEnv): Next | Violation => {
  const script = message.scriptpubkey
  if (!isShutdownScript(script, channel)) return violation('shutdown_script_invalid', {}, 'warn')
  const upfront = channel.remote.upfrontShutdownScript
  if (upfront !== undefined && !equalBytes(script, upfront)) return violation('shutdown_script_changed', {}, 'disconnect')
  if (channel.htlcs.some((htlc) => htlc.offeredBy === 'remote' && htlc.stage === 0))
    return violation('shutdown_with_updates_pending', {}, 'disconnect')
  const started = channel.closing ?? startClosing(channel)
  if (started.received)
    return started.remoteScript !== undefined && equalBytes(started.remoteScript, script)
      ? next(channel)
      : violation('shutdown_repeated', {}, 'disconnect')
  const { phase } = channel
  return progress(
    {
      ...channel,
      closing: { ...started, remoteScript: script, received: true },
      phase: phase.name === 'closing' ? phase : { name: 'shuttingDown' },
    },
    env,
  )
}

export const shutdownMessage = (channel: Channel, scriptpubkey: Uint8Array) =>
  ({ type: 'shutdown', channelId: channel.channelId, scriptpubkey }) as const

/** Whether an update of ours waits for our signature: shutdown must not come between. */
const hasUnsigned = (channel: Channel): boolean =>
  channel.htlcs.some((htlc) => (htlc.offeredBy === 'local' ? htlc.stage === 0 : htlc.removalStage === 0)) ||
  (channel.role === 'opener' && channel.feeUpdates.some(({ stage }) => stage === 0))

/** Does what is due of the close: our shutdown, then our first word about the closing transaction. Called after every step. */
export const progress = (channel: Channel, env: ChannelEnv): Next => {
  if (channel.link !== 'online' || channel.closing === undefined || !isNegotiating(channel)) return next(channel)
  const { closing } = channel
  const { localScript } = closing
  if (!closing.sent) {
    if (localScript === undefined || hasUnsigned(channel)) return next(channel)
    const sent: Channel = { ...channel, closing: { ...closing, sent: true } }
    const more = progress(sent, env)
    return next(more.channel, send(shutdownMessage(channel, localScript)), ...more.effects)
  }
  if (!closing.received || !isDrained(channel)) return next(channel)
  if (channel.simpleClose)
    return closing.wantsOffer && closing.offer === undefined ? sendClosingComplete(channel, env) : next(channel)
  const first =
    channel.role === 'opener' && closing.lastOfferSat === undefined ? sendFirstClosingSigned(channel, env) : next(channel)
  // Nothing but dust is left, or the opener cannot pay: no closing transaction can be made.
  return isViolation(first) ? failChannel(channel, first.code, env) : first
}

/** Whether a message about the closing transaction may come now. */
export const checkNegotiation = (channel: Channel, wanted: 'legacy' | 'simple'): Violation | undefined => {
  const { closing } = channel
  if (!isNegotiating(channel) || closing === undefined || !closing.sent || !closing.received || !isDrained(channel))
    return violation('closing_too_early', {}, 'disconnect')
  if (channel.simpleClose !== (wanted === 'simple')) return violation('closing_not_negotiated', {}, 'disconnect')
  return undefined
}
