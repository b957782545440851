/**
 * Preimages: which we may use, and which a transaction shows. BOLT 5 § HTLC Output Handling.
 * An HTLC that we received is claimed only with the preimage that the owner gave for it, by its id: a preimage that we happen to
 * know from elsewhere is not ours to reveal (S23). An HTLC that we offered is settled by any preimage of its hash, wherever it is seen.
 */
import { bytesToHex } from '@leyden/codec'
import { sha256 } from '@leyden/crypto'
import type { Tx } from '@leyden/bitcoin'
import type { ChannelEffect } from '../effect.ts'
import type { Channel } from '../state.ts'

/** The preimage that the owner gave for an HTLC that we received. */
export const preimageFor = (channel: Channel, htlcId: bigint): Uint8Array | undefined => {
  const given = channel.onchain?.preimages.find((known) => known.htlcId === htlcId)?.preimage
  if (given !== undefined) return given
  const removal = channel.htlcs.find((htlc) => htlc.offeredBy === 'remote' && htlc.id === htlcId)?.removal
  return removal?.kind === 'fulfilled' ? removal.preimage : undefined
}

/**
 * Takes from a transaction every preimage of HTLCs that we offered, whichever commitment they are in (S1), and tells the owner. Told
 * HTLCs are never failed afterwards (S2, S3). All HTLCs of the hash are settled by it: it is good for each of them upstream.
 */
export const learnPreimages = (
  channel: Channel,
  tx: Tx,
): { readonly channel: Channel; readonly effects: readonly ChannelEffect[] } => {
  const waiting = channel.htlcs.filter(({ offeredBy, told }) => offeredBy === 'local' && told !== true)
  if (waiting.length === 0) return { channel, effects: [] }
  const hashes = new Set<string>(waiting.map(({ paymentHash }) => paymentHash))
  const found = new Map<string, Uint8Array>()
  for (const item of tx.inputs.flatMap((input) => input.witness)) {
    if (item.length !== 32) continue
    const hash = bytesToHex(sha256(item))
    if (hashes.has(hash)) found.set(hash, item)
  }
  if (found.size === 0) return { channel, effects: [] }
  const effects: ChannelEffect[] = []
  const htlcs = channel.htlcs.map((htlc) => {
    const preimage = found.get(htlc.paymentHash)
    if (htlc.offeredBy !== 'local' || htlc.told === true || preimage === undefined) return htlc
    if (htlc.origin !== undefined)
      effects.push({ to: 'owner', type: 'htlcFulfilled', htlcId: htlc.id, origin: htlc.origin, preimage })
    return { ...htlc, told: true }
  })
  return { channel: { ...channel, htlcs }, effects }
}
